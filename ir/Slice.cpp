#include "ir/Slice.h"
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

llvm::SetVector<Operation *> hw::flowInto(ValueRange roots, ValueRange from) {
  // Depth first with an explicit stack: a graph may be thousands of ops deep.
  llvm::SetVector<Operation *> order;
  llvm::SmallPtrSet<Operation *, 32> seen;
  llvm::SmallDenseSet<Value> ends(from.begin(), from.end());
  SmallVector<std::pair<Operation *, SmallVector<Value>>> stack;
  auto enter = [&](Value value) {
    Operation *op = value.getDefiningOp();
    if (op && !isa<study::TrainOp>(op) && !ends.contains(value) && seen.insert(op).second)
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

SmallVector<Operation *> hw::flowBetween(ValueRange from, ValueRange roots) {
  llvm::SmallDenseSet<Value> reached(from.begin(), from.end());
  SmallVector<Operation *> order;
  for (Operation *op : flowInto(roots, from))
    if (llvm::any_of(inputsOf(op), [&](Value input) { return reached.contains(input); })) {
      reached.insert(op->result_begin(), op->result_end());
      order.push_back(op);
    }
  return order;
}

bool hw::reaches(ValueRange from, Value of) {
  SmallVector<Operation *> path = flowBetween(from, of);
  return llvm::is_contained(from, of) || llvm::is_contained(path, of.getDefiningOp());
}
