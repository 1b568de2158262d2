// What of a module is f32 by itself, and what was only rounded to it.
#include "ir/Precision.h"

using namespace mlir;

namespace hw {

namespace {

/// Of what a value was made. A later one prevails where several meet.
enum Origin { Numbers, Rounded, Native };

class Origins {
public:
  Origin of(Value value) {
    if (auto known = origins.find(value); known != origins.end())
      return known->second;
    // Arguments of blocks: what a loop carries, a batch's rows.
    return llvm::isa<RankedTensorType>(value.getType()) ? itself(value) : Numbers;
  }

  void visit(Operation *op) {
    Origin origin = Numbers;
    for (Value operand : op->getOperands())
      if (llvm::isa<RankedTensorType>(operand.getType()))
        origin = std::max(origin, of(operand));
    for (Value result : op->getResults()) {
      if (!llvm::isa<RankedTensorType>(result.getType()))
        continue;
      const bool isF32 = elementOf(result).isF32();
      if (op->hasAttr(keptAttribute))
        origins[result] = isF32 ? Native : origin;
      else if (llvm::isa<CastOp>(op) && isF32 && elementOf(op->getOperand(0)).isF64())
        origins[result] = std::max(origin, Rounded);
      else if (llvm::isa<ConstantOp>(op))
        origins[result] = isF32 ? Rounded : Numbers;
      else if (llvm::isa<IotaOp>(op) || (llvm::isa<HwDialect>(op->getDialect()) && !llvm::isa<RandomBitsOp>(op)))
        origins[result] = origin;
      else // a file, random bits, a training
        origins[result] = std::max(origin, itself(result));
    }
  }

private:
  /// Bytes, labels and masks are numbers of the program's type in arithmetic, so what they become is no rounding.
  static Origin itself(Value value) { return elementOf(value).isF64() ? Numbers : Native; }
  llvm::DenseMap<Value, Origin> origins;
};

} // namespace

std::vector<Operation *> roundTrips(ModuleOp module) {
  Origins origins;
  std::vector<Operation *> found;
  module.walk<WalkOrder::PreOrder>([&](Operation *op) {
    if (llvm::isa<CastOp>(op) && elementOf(op->getResult(0)).isF64() && elementOf(op->getOperand(0)).isF32() &&
        origins.of(op->getOperand(0)) == Rounded)
      found.push_back(op);
    origins.visit(op);
  });
  return found;
}

void eraseKept(ModuleOp module) {
  module.walk([](Operation *op) { op->removeAttr(keptAttribute); });
}

} // namespace hw
