#include "backend/graph/View.h"
#include "backend/dialect/Dialect.h"
#include "backend/graph/Decompose.h"
#include "backend/steps/Elementwise.h"

using namespace mlir;
using namespace hw;
using namespace hw::backend;

llvm::SmallVector<int64_t, 4> hw::backend::stridesOf(ArrayRef<int64_t> shape) {
  llvm::SmallVector<int64_t, 4> strides(shape.size(), 1);
  for (size_t dim = shape.size(); dim-- > 1;)
    strides[dim - 1] = strides[dim] * shape[dim];
  return strides;
}

Value hw::backend::reshapedBase(Value value) {
  while (auto reshape = value.getDefiningOp<ReshapeOp>())
    value = reshape.getOperand();
  return value;
}

bool hw::backend::differInUnits(ArrayRef<int64_t> a, ArrayRef<int64_t> b) {
  auto isUnit = [](int64_t size) { return size == 1; };
  SmallVector<int64_t> x(a), y(b);
  llvm::erase_if(x, isUnit);
  llvm::erase_if(y, isUnit);
  return x == y;
}

bool hw::backend::isDenseConstant(Value value) {
  auto constant = value.getDefiningOp<ConstantOp>();
  auto elements = constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : DenseElementsAttr();
  return constant && !(elements && elements.isSplat());
}

bool hw::backend::isInlinable(Operation *op) {
  return elementwiseOp(op) || isa<BroadcastOp, TransposeOp, SliceOp, ReverseOp, ReshapeOp, WindowsOp, GatherOp, IotaOp,
                                  ConstantOp, RandomBitsOp, StopGradientOp>(op);
}

View hw::backend::viewOf(Value value, llvm::function_ref<void(Value)> force) {
  SmallVector<Operation *> views; // on the way to the base
  View view;
  while (view.base == Value()) {
    Operation *op = value.getDefiningOp();
    bool isView =
        isa_and_nonnull<TransposeOp, SliceOp, ReshapeOp>(op) || (isa_and_nonnull<BroadcastOp>(op) && isPart(op));
    if (!isView || op->hasAttr("hw.pack")) {
      view = {value, 0, stridesOf(shapeOf(value))};
    } else if (isa<ReshapeOp>(op) && !differInUnits(shapeOf(op->getOperand(0)), shapeOf(value))) {
      view = {reshapedBase(value), 0, stridesOf(shapeOf(value))};
    } else {
      views.push_back(op);
      value = op->getOperand(0);
    }
  }
  force(view.base);
  for (Operation *op : llvm::reverse(views)) {
    auto inner = std::exchange(view.strides, {});
    if (auto broadcast = dyn_cast<BroadcastOp>(op)) {
      view.strides.assign(shapeOf(broadcast.getResult()).size(), 0);
      for (auto [dim, stride] : llvm::zip_equal(broadcast.getDims(), inner))
        view.strides[dim] = stride;
    } else if (auto transpose = dyn_cast<TransposeOp>(op)) {
      for (int64_t dim : transpose.getPermutation())
        view.strides.push_back(inner[dim]);
    } else if (auto slice = dyn_cast<SliceOp>(op)) {
      for (auto [start, stride, step] : llvm::zip_equal(slice.getStart(), slice.getStride(), inner)) {
        view.offset += start * step;
        view.strides.push_back(stride * step);
      }
    } else {
      size_t at = 0;
      auto from = shapeOf(op->getOperand(0));
      for (int64_t size : shapeOf(op->getResult(0))) {
        while (size != 1 && from[at] == 1)
          ++at;
        view.strides.push_back(size == 1 ? 0 : inner[at++]);
      }
    }
  }
  return view;
}
