#include "backend/graph/Rewrite.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

using namespace mlir;
using namespace hw;
using namespace hw::backend;

bool hw::backend::isZero(Value value) {
  while (auto broadcast = value.getDefiningOp<BroadcastOp>())
    value = broadcast.getOperand();
  auto constant = value.getDefiningOp<ConstantOp>();
  auto elements = constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : DenseElementsAttr();
  if (!elements || !elements.isSplat() || !isa<FloatType>(elements.getElementType()))
    return false;
  return elements.getSplatValue<APFloat>().isZero();
}

Value hw::backend::uniform(OpBuilder &builder, Value value, ArrayRef<int64_t> shape) {
  auto type = typeOf(value).clone(shape);
  if (auto broadcast = value.getDefiningOp<BroadcastOp>(); broadcast && broadcast.getDims().empty())
    return BroadcastOp::create(builder, value.getLoc(), type, broadcast.getOperand(), ArrayRef<int64_t>());
  auto constant = value.getDefiningOp<ConstantOp>();
  auto elements = constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : DenseElementsAttr();
  if (!elements || !elements.isSplat())
    return {};
  return ConstantOp::create(builder, value.getLoc(), elements.resizeSplat(type));
}

void hw::backend::eraseDead(Block &block) {
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
    if (isOpTriviallyDead(&op))
      op.erase();
}
