#include "passes/Slice.h"
#include "mlir/Transforms/RegionUtils.h"

using namespace mlir;
using namespace hw;

bool hw::isSource(Operation *op) { return isa<study::SettingOp, study::DatasetOp>(op); }

bool hw::isCheap(Operation *op) { return isa<ConstantOp, IotaOp, BroadcastOp, ReshapeOp>(op); }

llvm::SetVector<Value> hw::inputsOf(Operation *op) {
  llvm::SetVector<Value> inputs(op->operand_begin(), op->operand_end());
  if (op->getNumRegions())
    getUsedValuesDefinedAbove(op->getRegions(), inputs);
  return inputs;
}

llvm::SetVector<Operation *> hw::flowInto(ValueRange roots) {
  // Depth first with an explicit stack: a graph may be thousands of ops deep.
  llvm::SetVector<Operation *> order;
  llvm::SmallPtrSet<Operation *, 32> seen;
  SmallVector<std::pair<Operation *, SmallVector<Value>>> stack;
  auto enter = [&](Value value) {
    Operation *op = value.getDefiningOp();
    if (op && !isa<study::TrainOp>(op) && seen.insert(op).second)
      stack.emplace_back(op, llvm::to_vector(llvm::reverse(inputsOf(op).getArrayRef())));
  };
  for (Value root : roots) {
    enter(root);
    while (!stack.empty()) {
      if (SmallVector<Value> &left = stack.back().second; !left.empty())
        enter(left.pop_back_val());
      else
        order.insert(stack.pop_back_val().first);
    }
  }
  return order;
}

bool hw::reaches(ValueRange from, Value of) {
  llvm::SmallPtrSet<Value, 16> reached(from.begin(), from.end());
  for (Operation *op : flowInto(of))
    if (llvm::any_of(inputsOf(op), [&](Value input) { return reached.contains(input); }))
      reached.insert(op->result_begin(), op->result_end());
  return reached.contains(of);
}
