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

llvm::SetVector<Operation *> hw::flowInto(ValueRange roots, ValueRange from,
                                          llvm::function_ref<bool(Operation *)> isEnd) {
  // Depth first with an explicit stack: a graph may be thousands of ops deep.
  llvm::SetVector<Operation *> order;
  llvm::SmallPtrSet<Operation *, 32> seen;
  llvm::SmallDenseSet<Value> ends(from.begin(), from.end());
  std::vector<std::pair<Operation *, SmallVector<Value, 4>>> stack;
  auto enter = [&](Value value) {
    Operation *op = value.getDefiningOp();
    if (!op || isa<study::TrainOp>(op) || ends.contains(value) || (isEnd && isEnd(op)) || !seen.insert(op).second)
      return;
    if (op->getNumRegions())
      stack.emplace_back(op, llvm::to_vector<4>(llvm::reverse(inputsOf(op).getArrayRef())));
    else
      stack.emplace_back(op, llvm::to_vector<4>(llvm::reverse(op->getOperands())));
  };
  for (Value root : roots) {
    enter(root);
    while (!stack.empty()) {
      if (SmallVector<Value, 4> &left = stack.back().second; !left.empty())
        enter(left.pop_back_val());
      else
        order.insert(stack.back().first), stack.pop_back();
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
  // The nearest ops first: what is asked for stands there as a rule, and the rest of the program is not looked at.
  llvm::SmallDenseSet<Value> ends(from.begin(), from.end());
  llvm::SetVector<Operation *> seen;
  if (ends.contains(of))
    return true;
  auto enter = [&](Value value) {
    if (Operation *op = value.getDefiningOp(); op && !isa<study::TrainOp>(op))
      seen.insert(op);
  };
  enter(of);
  for (size_t at = 0; at < seen.size(); ++at)
    for (Value input : inputsOf(seen[at])) {
      if (ends.contains(input))
        return true;
      enter(input);
    }
  return false;
}

/// Whether the results have no tangent, whatever the operands' are.
static bool isFlat(Operation *op) { return isa<study::TrainOp, StopGradientOp, SignOp, FloorOp>(op); }

/// Visits the values that a tangent of `roots` may come from, each once. Behind a value only where `visit` says so.
static void walkTangents(ValueRange roots, llvm::function_ref<bool(Value)> visit) {
  SmallVector<Value> left(roots.begin(), roots.end());
  llvm::DenseSet<Value> seen;
  while (!left.empty()) {
    Value value = left.pop_back_val();
    if (!isa<FloatType>(elementOf(value)) || !seen.insert(value).second || !visit(value))
      continue;
    if (Operation *op = value.getDefiningOp(); op && !isFlat(op))
      llvm::append_range(left, inputsOf(op));
  }
}

/// Whether a tangent of `from` may reach `of`, on a way that does not cross what the derivative holds or starts from.
static bool carries(DerivativeOpInterface derivative, ValueRange from, ValueRange of) {
  bool found = false;
  walkTangents(of, [&](Value value) {
    found = found || llvm::is_contained(from, value);
    return !found && !llvm::is_contained(derivative.getWrt(), value) &&
           !llvm::is_contained(derivative.getHeld(), value);
  });
  return found;
}

static bool differentiatesThrough(DerivativeOpInterface derivative, Value value) {
  return !llvm::is_contained(derivative.getWrt(), value) && !llvm::is_contained(derivative.getHeld(), value) &&
         carries(derivative, derivative.getWrt(), value) && carries(derivative, value, derivative.getDifferentiated());
}

std::optional<DerivativeThrough> hw::derivativeThrough(ValueRange values, ValueRange of) {
  llvm::SetVector<Operation *> derivatives;
  walkTangents(of, [&](Value value) {
    if (llvm::is_contained(values, value))
      return false;
    if (Operation *op = value.getDefiningOp(); op && !isFlat(op))
      op->walk([&](DerivativeOpInterface derivative) { derivatives.insert(derivative); });
    return true;
  });
  for (Operation *op : derivatives)
    for (Value value : values)
      if (auto derivative = cast<DerivativeOpInterface>(op); differentiatesThrough(derivative, value))
        return DerivativeThrough{derivative, value};
  return std::nullopt;
}
