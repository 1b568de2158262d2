// The transpose of every linear op, a row an op.
//
// For z = A x the row gives A^T c, c being the cotangent of z. An op that is linear in several operands (add,
// dot_general) has a row for each; `linear` says which of them are to be read so.
#include "ir/Expr.h"
#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "passes/Passes.h"

using namespace mlir;
using namespace hw;

namespace {

/// Attaches `rule(op, c, i) -> cotangent of operand i` to Op.
template <class Op, auto rule> void row(MLIRContext *context) {
  struct Model : TransposeOpInterface::ExternalModel<Model, Op> {
    LogicalResult transposeLinear(Operation *op, OpBuilder &builder, ArrayRef<Value> cotangents, ArrayRef<bool> linear,
                                  SmallVectorImpl<Value> &results) const {
      Site site{builder, op->getLoc()};
      results.assign(op->getNumOperands(), Value());
      if (cotangents[0])
        for (unsigned i = 0; i < op->getNumOperands(); ++i)
          if (linear[i])
            results[i] = rule(llvm::cast<Op>(op), Expr(site, cotangents[0]), i).get();
      return success();
    }
  };
  Op::template attachInterface<Model>(*context);
}

SmallVector<int64_t> complement(ArrayRef<int64_t> dims, int64_t rank) {
  SmallVector<int64_t> rest;
  for (int64_t dim = 0; dim < rank; ++dim)
    if (!llvm::is_contained(dims, dim))
      rest.push_back(dim);
  return rest;
}

Expr permuted(Expr x, ArrayRef<int64_t> permutation) {
  return isIdentityPermutation(permutation) ? x : x.make<TransposeOp>(x.get(), permutation);
}

/// Pads between and around: element i goes to start + i * stride of a dimension of the operand's size.
Expr sliceRow(SliceOp op, Expr c, unsigned) {
  SmallVector<int64_t> low(op.getStart()), high, interior;
  for (auto [size, count, start, stride] :
       llvm::zip_equal(shapeOf(op.getOperand()), c.shape(), op.getStart(), op.getStride())) {
    interior.push_back(stride - 1);
    high.push_back(size - start - (count > 0 ? (count - 1) * stride + 1 : 0));
  }
  return c.make<PadOp>(c.get(), low, high, interior);
}

Expr padRow(PadOp op, Expr c, unsigned) {
  SmallVector<int64_t> start(op.getLow()), limit, stride;
  for (auto [size, low, high, interior] : llvm::zip_equal(c.shape(), op.getLow(), op.getHigh(), op.getInterior())) {
    limit.push_back(size - high);
    stride.push_back(interior + 1);
  }
  return c.make<SliceOp>(c.get(), start, limit, stride);
}

/// The part of c that operand i was.
Expr concatRow(ConcatOp op, Expr c, unsigned i) {
  SmallVector<int64_t> start(c.rank(), 0), limit(c.shape()), stride(c.rank(), 1);
  for (Value before : op.getOperands().take_front(i))
    start[op.getDim()] += shapeOf(before)[op.getDim()];
  limit[op.getDim()] = start[op.getDim()] + shapeOf(op.getOperands()[i])[op.getDim()];
  return c.make<SliceOp>(c.get(), start, limit, stride);
}

/// c is [batch, left's free, right's free]: contract it with the other factor's free dimensions, then put the
/// dimensions where operand i has them. Of the two orders of the factors, the one that needs no such permutation.
Expr dotGeneralRow(DotGeneralOp op, Expr c, unsigned i) {
  bool left = i == 0;
  Value other = left ? op.getRhs() : op.getLhs();
  ArrayRef<int64_t> mineBatch = left ? op.getLhsBatch() : op.getRhsBatch();
  ArrayRef<int64_t> otherBatch = left ? op.getRhsBatch() : op.getLhsBatch();
  ArrayRef<int64_t> mineContract = left ? op.getLhsContract() : op.getRhsContract();
  ArrayRef<int64_t> otherContract = left ? op.getRhsContract() : op.getLhsContract();
  SmallVector<int64_t> mineFree = left ? op.lhsFree() : op.rhsFree(), otherFree = left ? op.rhsFree() : op.lhsFree();

  int64_t batches = mineBatch.size(), lefts = op.lhsFree().size(), rights = op.rhsFree().size();
  auto cBatch = llvm::to_vector(llvm::seq<int64_t>(0, batches));
  auto cContract = left ? llvm::to_vector(llvm::seq<int64_t>(batches + lefts, batches + lefts + rights))
                        : llvm::to_vector(llvm::seq<int64_t>(batches, batches + lefts));

  // Which dimension of operand i each dimension of the product is. The other's contracted dimensions come out in its
  // own order.
  SmallVector<int64_t> contracted;
  for (int64_t dim : complement({}, typeOf(other).getRank()))
    for (auto [mine, theirs] : llvm::zip_equal(mineContract, otherContract))
      if (theirs == dim)
        contracted.push_back(mine);
  auto order = [&](ArrayRef<int64_t> first, ArrayRef<int64_t> second) {
    SmallVector<int64_t> dims(mineBatch);
    dims.append(first.begin(), first.end());
    dims.append(second.begin(), second.end());
    return invertPermutationVector(dims);
  };
  SmallVector<int64_t> cFirst = order(mineFree, contracted), otherFirst = order(contracted, mineFree);
  if (llvm::is_sorted(otherFirst) && !llvm::is_sorted(cFirst))
    return c.make<DotGeneralOp>(other, c.get(), otherBatch, cBatch, otherFree, cContract);
  return permuted(c.make<DotGeneralOp>(c.get(), other, cBatch, otherBatch, cContract, otherFree), cFirst);
}

/// x, w or y = Op(a, b), with the geometry of another op of the same convolution.
template <class Op, class Like> Expr convolved(Expr c, Like op, Value like, Value a, Value b) {
  return c.make<Op>(like.getType(), a, b, op.getStride(), op.getLow(), op.getHigh(), op.getDilation(), op.getGroups());
}

/// Op(operands...) with the geometry of another op of the same pooling.
template <class Op, class Like, class... Operands> Expr pooled(Expr c, Like op, Value like, Operands... operands) {
  return c.make<Op>(like.getType(), operands..., op.getWindow(), op.getStride(), op.getLow(), op.getHigh());
}

void attach(MLIRContext *context, HwDialect *) {
  using E = Expr;
  // clang-format off
  row<NegOp,       [](NegOp op, E c, unsigned i) { return -c; }>(context);
  row<AddOp,       [](AddOp op, E c, unsigned i) { return c; }>(context);
  row<SubOp,       [](SubOp op, E c, unsigned i) { return i == 0 ? c : -c; }>(context);
  row<MulOp,       [](MulOp op, E c, unsigned i) { return c * E(c.at(), op->getOperand(1 - i)); }>(context);
  row<ScaleOp,     [](ScaleOp op, E c, unsigned i) { E x(c.at(), op.getLhs()), y(c.at(), op.getRhs());
                                                      return i == 0 ? scale(c, y) : scale(x, c); }>(context); // 0 where x is, whatever c
  row<UnscaleOp,   [](UnscaleOp op, E c, unsigned i) { return unscale(c, E(c.at(), op.getRhs())); }>(context);
  row<DivOp,       [](DivOp op, E c, unsigned i) { return c / E(c.at(), op.getRhs()); }>(context);
  row<SelectOp,    [](SelectOp op, E c, unsigned i) { E mask(c.at(), op.getMask()), zero(c.at());
                                                      return i == 1 ? select(mask, c, zero) : select(mask, zero, c); }>(context);
  row<CastOp,      [](CastOp op, E c, unsigned i) { return cast(c, elementOf(op.getOperand())); }>(context);

  row<BroadcastOp, [](BroadcastOp op, E c, unsigned i) { return reduceSum(c, complement(op.getDims(), c.rank())); }>(context);
  row<ReduceSumOp, [](ReduceSumOp op, E c, unsigned i) { auto x = typeOf(op.getOperand());
                                                         return broadcast(c, x, complement(op.getDims(), x.getRank())); }>(context);
  row<ReshapeOp,   [](ReshapeOp op, E c, unsigned i) { return c.make<ReshapeOp>(op.getOperand().getType(), c.get()); }>(context);
  row<TransposeOp, [](TransposeOp op, E c, unsigned i) { return permuted(c, invertPermutationVector(op.getPermutation())); }>(context);
  row<ReverseOp,   [](ReverseOp op, E c, unsigned i) { return c.make<ReverseOp>(c.type(), c.get(), op.getDims()); }>(context);
  row<SliceOp,     sliceRow>(context);
  row<PadOp,       padRow>(context);
  row<ConcatOp,    concatRow>(context);
  row<DotGeneralOp, dotGeneralRow>(context);

  // y = conv(x, w): each of the three is the gradient of sum(conv(x, w) * y) in one, so c stands for it in the other two.
  row<ConvOp, [](ConvOp op, E c, unsigned i) { Value x = op.getInput(), w = op.getWeights();
    return i == 0 ? convolved<ConvBackwardDataOp>(c, op, x, c.get(), w) : convolved<ConvBackwardWeightsOp>(c, op, w, x, c.get()); }>(context);
  row<ConvBackwardDataOp, [](ConvBackwardDataOp op, E c, unsigned i) { Value y = op.getOutput(), w = op.getWeights();
    return i == 0 ? convolved<ConvOp>(c, op, y, c.get(), w) : convolved<ConvBackwardWeightsOp>(c, op, w, c.get(), y); }>(context);
  row<ConvBackwardWeightsOp, [](ConvBackwardWeightsOp op, E c, unsigned i) { Value x = op.getInput(), y = op.getOutput();
    return i == 0 ? convolved<ConvBackwardDataOp>(c, op, x, y, c.get()) : convolved<ConvOp>(c, op, y, x, c.get()); }>(context);

  row<PoolGatherOp,   [](PoolGatherOp op, E c, unsigned i) { return pooled<PoolScatterOp>(c, op, op.getOperand(), c.get(), op.getIndex()); }>(context);
  row<PoolScatterOp,  [](PoolScatterOp op, E c, unsigned i) { return pooled<PoolGatherOp>(c, op, op.getUpdates(), c.get(), op.getIndex()); }>(context);
  row<WindowSumOp,    [](WindowSumOp op, E c, unsigned i) { return pooled<WindowSpreadOp>(c, op, op.getOperand(), c.get()); }>(context);
  row<WindowSpreadOp, [](WindowSpreadOp op, E c, unsigned i) { return pooled<WindowSumOp>(c, op, op.getOperand(), c.get()); }>(context);

  row<GatherOp,     [](GatherOp op, E c, unsigned i) { return c.make<ScatterAddOp>(op.getOperand().getType(), c.get(), op.getIndices()); }>(context);
  row<ScatterAddOp, [](ScatterAddOp op, E c, unsigned i) { return c.make<GatherOp>(c.get(), op.getIndices()); }>(context);

  // Linear in the right-hand side: (A^-1)^T = (A^T)^-1.
  row<TriangularSolveOp, [](TriangularSolveOp op, E c, unsigned i) {
    return c.make<TriangularSolveOp>(c.type(), op.getT(), c.get(), !op.getTransposed()); }>(context);
  row<LuSolveOp, [](LuSolveOp op, E c, unsigned i) {
    return c.make<LuSolveOp>(c.type(), transposed(E(c.at(), op.getA())).get(), c.get()); }>(context);
  // clang-format on
}

} // namespace

void hw::registerTransposeModels(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *context, HwDialect *dialect) { attach(context, dialect); });
}

void hw::registerTransformInterfaces(DialectRegistry &registry) {
  registerLinearizeModels(registry);
  registerTransposeModels(registry);
}
