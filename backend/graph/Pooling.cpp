#include "backend/graph/Pooling.h"
#include "backend/graph/Rewrite.h"
#include "ir/Expr.h"

using namespace mlir;
using namespace hw;
using namespace hw::backend;

namespace {

/// The max-pooling whose index this scatters to, over the same windows; else null. Every index is an element's then.
MaxPoolOp poolingOf(PoolScatterOp scatter) {
  auto pool = scatter ? scatter.getIndex().getDefiningOp<MaxPoolOp>() : MaxPoolOp();
  bool isSame = pool && scatter.getIndex() == pool.getIndex() && pool.getOperand().getType() == scatter.getType() &&
                pool.getWindow() == scatter.getWindow() && pool.getStride() == scatter.getStride() &&
                pool.getLow() == scatter.getLow() && pool.getHigh() == scatter.getHigh();
  return isSame ? pool : MaxPoolOp();
}

/// Exact: what is scattered to an element of y comes from windows whose largest it is, so that each of their p is that
/// element, bit for bit, and compares like it. Elsewhere both are zero.
void maskFirst(SelectOp select) {
  auto mask = select->getOperand(0).getDefiningOp<CompareOp>();
  auto scatter = select->getOperand(1).getDefiningOp<PoolScatterOp>();
  MaxPoolOp pool = poolingOf(scatter);
  // Where the gradient is wanted without the mask as well, it would be scattered twice.
  if (!mask || !pool || !scatter->hasOneUse() || !isZero(select->getOperand(2)))
    return;
  bool isLeft = mask.getLhs() == pool.getOperand();
  if (!isLeft && mask.getRhs() != pool.getOperand())
    return;
  OpBuilder builder(select);
  Value bound = uniform(builder, isLeft ? mask.getRhs() : mask.getLhs(), shapeOf(pool.getValue()));
  if (!bound)
    return;
  Site site{builder, select.getLoc()};
  Expr p(site, pool.getValue()), other(site, bound), updates(site, scatter.getUpdates());
  Expr masked = hw::select(compare(mask.getPredicate(), isLeft ? p : other, isLeft ? other : p), updates, Expr(site));
  scatter->moveBefore(select);
  scatter.getUpdatesMutable().assign(masked.get());
  select.getResult().replaceAllUsesWith(scatter.getResult());
  select.erase();
}

/// Whether all dimensions along which the op's windows are more than single elements are among `dims`.
template <class Op> bool isAlong(Op op, ArrayRef<int64_t> dims) {
  int64_t leading = typeOf(op.getResult()).getRank() - int64_t(op.getWindow().size());
  for (auto [i, window] : llvm::enumerate(op.getWindow())) {
    bool isElement = window == 1 && op.getStride()[i] == 1 && op.getLow()[i] == 0 && op.getHigh()[i] == 0;
    if (!isElement && !llvm::is_contained(dims, leading + int64_t(i)))
      return false;
  }
  return true;
}

/// How many elements each of the op's windows has; 0 where some reach beyond the tensor and have fewer.
int64_t elementsOfEach(WindowSpreadOp op) {
  auto sizes = shapeOf(op.getResult()).take_back(op.getWindow().size()),
       counts = shapeOf(op.getOperand()).take_back(op.getWindow().size());
  int64_t elements = 1;
  for (auto [i, window] : llvm::enumerate(op.getWindow())) {
    if (op.getLow()[i] > 0 || (counts[i] - 1) * op.getStride()[i] + window > sizes[i])
      return 0;
    elements *= window;
  }
  return elements;
}

void sumFirst(ReduceSumOp sum) {
  OpBuilder builder(sum);
  Site site{builder, sum.getLoc()};
  Expr result(site);
  if (auto scatter = sum.getOperand().getDefiningOp<PoolScatterOp>()) {
    if (poolingOf(scatter) && isAlong(scatter, sum.getDims()))
      result = reduceSum({site, scatter.getUpdates()}, sum.getDims());
  } else if (auto spread = sum.getOperand().getDefiningOp<WindowSpreadOp>()) {
    int64_t elements = elementsOfEach(spread);
    if (elements && isAlong(spread, sum.getDims()))
      result = double(elements) * reduceSum({site, spread.getOperand()}, sum.getDims());
  }
  if (!result)
    return;
  sum.getResult().replaceAllUsesWith(result.get());
  sum.erase();
}

} // namespace

void hw::backend::poolFirst(Block &block) {
  for (SelectOp select : llvm::to_vector(block.getOps<SelectOp>()))
    maskFirst(select);
  for (ReduceSumOp sum : llvm::to_vector(block.getOps<ReduceSumOp>()))
    sumFirst(sum);
}
