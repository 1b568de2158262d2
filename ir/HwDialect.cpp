// The hw dialect: registration, builders that infer shapes, and verification. Folding is in HwFold.cpp.
#include "ir/Dialects.h"

using namespace mlir;
using namespace hw;

#include "ir/HwDialect.cpp.inc"
#include "ir/HwInterfaces.cpp.inc"
#define GET_OP_CLASSES
#include "ir/HwOps.cpp.inc"

void HwDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "ir/HwOps.cpp.inc"
      >();
}

Operation *HwDialect::materializeConstant(OpBuilder &builder, Attribute value, Type type, Location loc) {
  if (auto elements = llvm::dyn_cast<ElementsAttr>(value); elements && elements.getType() == type)
    return ConstantOp::create(builder, loc, type, elements);
  return nullptr;
}

namespace {

RankedTensorType withShape(Value value, ArrayRef<int64_t> shape) {
  return RankedTensorType::get(shape, elementOf(value));
}

bool contains(ArrayRef<int64_t> dims, int64_t dim) { return llvm::is_contained(dims, dim); }

/// The shape without the dimensions `dims`.
SmallVector<int64_t> without(ArrayRef<int64_t> shape, ArrayRef<int64_t> dims) {
  SmallVector<int64_t> rest;
  for (auto [dim, size] : llvm::enumerate(shape))
    if (!contains(dims, dim))
      rest.push_back(size);
  return rest;
}

LogicalResult checkResult(Operation *op, Value result, Type element, ArrayRef<int64_t> shape) {
  auto expected = RankedTensorType::get(shape, element);
  if (result.getType() != expected)
    return op->emitOpError() << "gives " << expected << ", but its result is " << result.getType();
  return success();
}

/// Dimensions must lie in 0..rank-1, without repetition (and increasing, if asked).
LogicalResult checkDims(Operation *op, ArrayRef<int64_t> dims, int64_t rank, bool increasing) {
  llvm::SmallDenseSet<int64_t> seen;
  for (auto [index, dim] : llvm::enumerate(dims)) {
    if (dim < 0 || dim >= rank)
      return op->emitOpError() << "dimension " << dim << " is outside a rank of " << rank;
    if (!seen.insert(dim).second)
      return op->emitOpError() << "names dimension " << dim << " twice";
    if (increasing && index && dims[index - 1] > dim)
      return op->emitOpError("dimensions must increase");
  }
  return success();
}

LogicalResult checkSquare(Operation *op, Value matrix) {
  auto shape = shapeOf(matrix);
  if (shape.size() < 2 || shape.back() != shape[shape.size() - 2])
    return op->emitOpError() << "needs a square matrix, got " << matrix.getType();
  return success();
}

LogicalResult checkSolve(Operation *op, Value matrix, Value rhs) {
  if (failed(checkSquare(op, matrix)))
    return failure();
  auto a = shapeOf(matrix), b = shapeOf(rhs);
  if (elementOf(matrix) != elementOf(rhs) || a.size() != b.size() || a.drop_back() != b.drop_back())
    return op->emitOpError() << "cannot solve " << matrix.getType() << " against " << rhs.getType();
  return success();
}

int64_t padded(int64_t size, int64_t low, int64_t high, int64_t interior) {
  return low + size + high + (size > 0 ? (size - 1) * interior : 0);
}

int64_t sliced(int64_t start, int64_t limit, int64_t stride) {
  return limit > start ? (limit - start + stride - 1) / stride : 0;
}

SmallVector<int64_t> dotShape(DotGeneralOp op) {
  SmallVector<int64_t> shape;
  for (int64_t dim : op.getLhsBatch())
    shape.push_back(shapeOf(op.getLhs())[dim]);
  for (int64_t dim : op.lhsFree())
    shape.push_back(shapeOf(op.getLhs())[dim]);
  for (int64_t dim : op.rhsFree())
    shape.push_back(shapeOf(op.getRhs())[dim]);
  return shape;
}

/// An attribute with an entry for each of `rank` dimensions, none below `least`.
LogicalResult checkEntries(Operation *op, StringRef name, ArrayRef<int64_t> entries, size_t rank, int64_t least) {
  if (entries.size() != rank)
    return op->emitOpError() << name << " has " << entries.size() << " entries for " << rank << " dimensions";
  for (int64_t entry : entries)
    if (entry < least)
      return op->emitOpError() << name << " cannot be " << entry;
  return success();
}

/// [N, O, R...] of x: [N, C, S...] and w: [O, C / groups, K...].
SmallVector<int64_t> convShape(Value x, Value w, ArrayRef<int64_t> stride, ArrayRef<int64_t> low,
                               ArrayRef<int64_t> high, ArrayRef<int64_t> dilation) {
  SmallVector<int64_t> shape{shapeOf(x)[0], shapeOf(w)[0]};
  for (size_t i = 0; i < stride.size(); ++i) {
    Window window{shapeOf(w)[i + 2], stride[i], low[i], high[i], dilation[i]};
    shape.push_back(window.count(shapeOf(x)[i + 2]));
  }
  return shape;
}

/// That y has the shape of the convolution of x with w, whichever of the three is the op's result.
template <class Op> LogicalResult checkConvolution(Op op, Value x, Value w, Value y) {
  auto in = shapeOf(x), kernel = shapeOf(w);
  int64_t groups = op.getGroups();
  if (in.size() < 2 || kernel.size() != in.size() || shapeOf(y).size() != in.size())
    return op.emitOpError() << "needs an input, weights and an output of one rank of at least 2, got " << x.getType()
                            << ", " << w.getType() << " and " << y.getType();
  size_t rank = in.size() - 2;
  if (failed(checkEntries(op, "stride", op.getStride(), rank, 1)) ||
      failed(checkEntries(op, "padding", op.getLow(), rank, 0)) ||
      failed(checkEntries(op, "padding", op.getHigh(), rank, 0)) ||
      failed(checkEntries(op, "dilation", op.getDilation(), rank, 1)))
    return failure();
  if (groups < 1 || in[1] % groups || kernel[0] % groups)
    return op.emitOpError() << groups << " groups do not divide " << in[1] << " channels of the input and " << kernel[0]
                            << " of the output";
  if (kernel[1] * groups != in[1])
    return op.emitOpError() << "weights for " << kernel[1] * groups << " channels cannot read an input of " << in[1];
  auto shape = convShape(x, w, op.getStride(), op.getLow(), op.getHigh(), op.getDilation());
  for (size_t i = 0; i < rank; ++i)
    if (kernel[i + 2] < 1 || shape[i + 2] < 1)
      return op.emitOpError() << "a kernel of size " << kernel[i + 2] << " does not fit dimension " << i + 2
                              << " of size " << in[i + 2] << " with its padding";
  if (elementOf(x) != elementOf(w) || y.getType() != withShape(x, shape))
    return op.emitOpError() << "convolving " << x.getType() << " with " << w.getType() << " gives "
                            << withShape(x, shape) << ", not " << y.getType();
  return success();
}

/// [B..., R...] of x: [B..., S...].
SmallVector<int64_t> pooledShape(Value x, ArrayRef<int64_t> window, ArrayRef<int64_t> stride, ArrayRef<int64_t> low,
                                 ArrayRef<int64_t> high) {
  SmallVector<int64_t> shape(shapeOf(x));
  for (size_t i = 0, first = shape.size() - window.size(); i < window.size(); ++i)
    shape[first + i] = Window{window[i], stride[i], low[i], high[i]}.count(shape[first + i]);
  return shape;
}

/// That `pooled` has the shape of a pooling of x, whichever of the two is the op's result.
template <class Op> LogicalResult checkPooling(Op op, Value x, Value pooled) {
  auto in = shapeOf(x);
  size_t rank = op.getWindow().size();
  if (rank > in.size())
    return op.emitOpError() << "has windows of " << rank << " dimensions in " << x.getType();
  if (failed(checkEntries(op, "window", op.getWindow(), rank, 1)) ||
      failed(checkEntries(op, "stride", op.getStride(), rank, 1)) ||
      failed(checkEntries(op, "padding", op.getLow(), rank, 0)) ||
      failed(checkEntries(op, "padding", op.getHigh(), rank, 0)))
    return failure();
  auto shape = pooledShape(x, op.getWindow(), op.getStride(), op.getLow(), op.getHigh());
  size_t first = in.size() - rank;
  for (size_t i = 0; i < rank; ++i) {
    int64_t count = shape[first + i], low = op.getLow()[i];
    if (count < 1)
      return op.emitOpError() << "a window of " << op.getWindow()[i] << " does not fit dimension " << first + i
                              << " of size " << in[first + i] << " with its padding";
    if (low >= op.getWindow()[i] || (count - 1) * op.getStride()[i] - low >= in[first + i])
      return op.emitOpError() << "a window of dimension " << first + i << " would lie in the padding alone";
  }
  if (shapeOf(pooled) != ArrayRef<int64_t>(shape))
    return op.emitOpError() << "pooling " << x.getType() << " gives the shape of " << withShape(x, shape) << ", not "
                            << pooled.getType();
  return success();
}

/// That two tensors differ in shape only.
LogicalResult checkElements(Operation *op, Value a, Value b) {
  if (elementOf(a) != elementOf(b))
    return op->emitOpError() << "cannot make " << b.getType() << " of " << a.getType();
  return success();
}

SmallVector<int64_t> freeDims(int64_t rank, ArrayRef<int64_t> batch, ArrayRef<int64_t> contract) {
  SmallVector<int64_t> free;
  for (int64_t dim = 0; dim < rank; ++dim)
    if (!contains(batch, dim) && !contains(contract, dim))
      free.push_back(dim);
  return free;
}

} // namespace

//===--------------------------------------------------------------------------------------------------------------===//
// Elementwise
//===--------------------------------------------------------------------------------------------------------------===//

Type CompareOp::resultType(Type operand) {
  return llvm::cast<RankedTensorType>(operand).clone(IntegerType::get(operand.getContext(), 1));
}

void CompareOp::build(OpBuilder &builder, OperationState &state, StringRef predicate, Value lhs, Value rhs) {
  build(builder, state, resultType(lhs.getType()), lhs, rhs, builder.getStringAttr(predicate));
}

LogicalResult CompareOp::verify() {
  static constexpr StringRef known[] = {"eq", "ne", "lt", "le", "gt", "ge"};
  if (!llvm::is_contained(known, getPredicate()))
    return emitOpError() << "predicate '" << getPredicate() << "' is not one of eq, ne, lt, le, gt, ge";
  return success();
}

LogicalResult SelectOp::verify() {
  if (shapeOf(getMask()) != shapeOf(getResult()))
    return emitOpError() << "mask " << getMask().getType() << " does not have the shape of " << getResult().getType();
  return success();
}

//===--------------------------------------------------------------------------------------------------------------===//
// Movement
//===--------------------------------------------------------------------------------------------------------------===//

LogicalResult BroadcastOp::verify() {
  auto in = shapeOf(getOperand()), out = shapeOf(getResult());
  if (elementOf(getOperand()) != elementOf(getResult()))
    return emitOpError("cannot change the element type");
  if (getDims().size() != in.size())
    return emitOpError() << "needs a dimension of the result for each of " << in.size();
  if (failed(checkDims(*this, getDims(), out.size(), true)))
    return failure();
  for (auto [index, dim] : llvm::enumerate(getDims()))
    if (in[index] != out[dim])
      return emitOpError() << "dimension " << index << " of size " << in[index] << " cannot become size " << out[dim];
  return success();
}

void ReduceSumOp::build(OpBuilder &builder, OperationState &state, Value operand, ArrayRef<int64_t> dims) {
  build(builder, state, withShape(operand, without(shapeOf(operand), dims)), operand,
        builder.getDenseI64ArrayAttr(dims));
}

LogicalResult ReduceSumOp::verify() {
  if (failed(checkDims(*this, getDims(), shapeOf(getOperand()).size(), true)))
    return failure();
  return checkResult(*this, getResult(), elementOf(getOperand()), without(shapeOf(getOperand()), getDims()));
}

LogicalResult ReshapeOp::verify() {
  if (elementOf(getOperand()) != elementOf(getResult()) ||
      typeOf(getOperand()).getNumElements() != typeOf(getResult()).getNumElements())
    return emitOpError() << "cannot make " << getResult().getType() << " of " << getOperand().getType();
  return success();
}

void TransposeOp::build(OpBuilder &builder, OperationState &state, Value operand, ArrayRef<int64_t> permutation) {
  SmallVector<int64_t> shape;
  for (int64_t dim : permutation)
    shape.push_back(shapeOf(operand)[dim]);
  build(builder, state, withShape(operand, shape), operand, builder.getDenseI64ArrayAttr(permutation));
}

LogicalResult TransposeOp::verify() {
  auto in = shapeOf(getOperand());
  if (getPermutation().size() != in.size() || failed(checkDims(*this, getPermutation(), in.size(), false)))
    return emitOpError() << "needs a permutation of " << in.size() << " dimensions";
  SmallVector<int64_t> shape;
  for (int64_t dim : getPermutation())
    shape.push_back(in[dim]);
  return checkResult(*this, getResult(), elementOf(getOperand()), shape);
}

LogicalResult ReverseOp::verify() { return checkDims(*this, getDims(), shapeOf(getOperand()).size(), true); }

void SliceOp::build(OpBuilder &builder, OperationState &state, Value operand, ArrayRef<int64_t> start,
                    ArrayRef<int64_t> limit, ArrayRef<int64_t> stride) {
  SmallVector<int64_t> shape;
  for (auto [first, last, by] : llvm::zip_equal(start, limit, stride))
    shape.push_back(sliced(first, last, by));
  build(builder, state, withShape(operand, shape), operand, builder.getDenseI64ArrayAttr(start),
        builder.getDenseI64ArrayAttr(limit), builder.getDenseI64ArrayAttr(stride));
}

LogicalResult SliceOp::verify() {
  auto in = shapeOf(getOperand());
  if (getStart().size() != in.size() || getLimit().size() != in.size() || getStride().size() != in.size())
    return emitOpError() << "needs a start, limit and stride for each of " << in.size() << " dimensions";
  SmallVector<int64_t> shape;
  for (auto [size, start, limit, stride] : llvm::zip_equal(in, getStart(), getLimit(), getStride())) {
    if (start < 0 || limit < start || limit > size || stride < 1)
      return emitOpError() << start << ":" << limit << ":" << stride << " is outside a size of " << size;
    shape.push_back(sliced(start, limit, stride));
  }
  return checkResult(*this, getResult(), elementOf(getOperand()), shape);
}

void PadOp::build(OpBuilder &builder, OperationState &state, Value operand, ArrayRef<int64_t> low,
                  ArrayRef<int64_t> high, ArrayRef<int64_t> interior) {
  SmallVector<int64_t> shape;
  for (auto [size, before, after, between] : llvm::zip_equal(shapeOf(operand), low, high, interior))
    shape.push_back(padded(size, before, after, between));
  build(builder, state, withShape(operand, shape), operand, builder.getDenseI64ArrayAttr(low),
        builder.getDenseI64ArrayAttr(high), builder.getDenseI64ArrayAttr(interior));
}

LogicalResult PadOp::verify() {
  auto in = shapeOf(getOperand());
  if (getLow().size() != in.size() || getHigh().size() != in.size() || getInterior().size() != in.size())
    return emitOpError() << "needs a low, high and interior for each of " << in.size() << " dimensions";
  SmallVector<int64_t> shape;
  for (auto [size, low, high, interior] : llvm::zip_equal(in, getLow(), getHigh(), getInterior())) {
    if (low < 0 || high < 0 || interior < 0)
      return emitOpError("padding cannot be negative");
    shape.push_back(padded(size, low, high, interior));
  }
  return checkResult(*this, getResult(), elementOf(getOperand()), shape);
}

void ConcatOp::build(OpBuilder &builder, OperationState &state, ValueRange operands, int64_t dim) {
  SmallVector<int64_t> shape(shapeOf(operands.front()));
  for (Value operand : operands.drop_front())
    shape[dim] += shapeOf(operand)[dim];
  build(builder, state, withShape(operands.front(), shape), operands, builder.getI64IntegerAttr(dim));
}

LogicalResult ConcatOp::verify() {
  if (getOperands().empty())
    return emitOpError("needs an operand");
  SmallVector<int64_t> shape(shapeOf(getOperands().front()));
  int64_t dim = getDim();
  if (dim < 0 || dim >= int64_t(shape.size()))
    return emitOpError() << "dimension " << dim << " is outside a rank of " << shape.size();
  for (Value operand : getOperands().drop_front()) {
    auto other = shapeOf(operand);
    if (other.size() != shape.size() || elementOf(operand) != elementOf(getOperands().front()))
      return emitOpError() << "cannot join " << operand.getType() << " to " << getOperands().front().getType();
    for (size_t i = 0; i < shape.size(); ++i)
      if (int64_t(i) != dim && other[i] != shape[i])
        return emitOpError() << "cannot join " << operand.getType() << " to " << getOperands().front().getType()
                             << " along dimension " << dim;
    shape[dim] += other[dim];
  }
  return checkResult(*this, getResult(), elementOf(getOperands().front()), shape);
}

//===--------------------------------------------------------------------------------------------------------------===//
// Contraction
//===--------------------------------------------------------------------------------------------------------------===//

SmallVector<int64_t> DotGeneralOp::lhsFree() {
  return freeDims(shapeOf(getLhs()).size(), getLhsBatch(), getLhsContract());
}

SmallVector<int64_t> DotGeneralOp::rhsFree() {
  return freeDims(shapeOf(getRhs()).size(), getRhsBatch(), getRhsContract());
}

void DotGeneralOp::build(OpBuilder &builder, OperationState &state, Value lhs, Value rhs, ArrayRef<int64_t> lhsBatch,
                         ArrayRef<int64_t> rhsBatch, ArrayRef<int64_t> lhsContract, ArrayRef<int64_t> rhsContract) {
  SmallVector<int64_t> shape;
  for (int64_t dim : lhsBatch)
    shape.push_back(shapeOf(lhs)[dim]);
  for (int64_t dim : freeDims(shapeOf(lhs).size(), lhsBatch, lhsContract))
    shape.push_back(shapeOf(lhs)[dim]);
  for (int64_t dim : freeDims(shapeOf(rhs).size(), rhsBatch, rhsContract))
    shape.push_back(shapeOf(rhs)[dim]);
  build(builder, state, withShape(lhs, shape), lhs, rhs, builder.getDenseI64ArrayAttr(lhsBatch),
        builder.getDenseI64ArrayAttr(rhsBatch), builder.getDenseI64ArrayAttr(lhsContract),
        builder.getDenseI64ArrayAttr(rhsContract));
}

LogicalResult DotGeneralOp::verify() {
  auto lhs = shapeOf(getLhs()), rhs = shapeOf(getRhs());
  if (elementOf(getLhs()) != elementOf(getRhs()))
    return emitOpError() << "cannot multiply " << getLhs().getType() << " by " << getRhs().getType();
  if (getLhsBatch().size() != getRhsBatch().size() || getLhsContract().size() != getRhsContract().size())
    return emitOpError("needs as many batch and contracted dimensions on either side");
  auto check = [&](ArrayRef<int64_t> batch, ArrayRef<int64_t> contract, int64_t rank) {
    SmallVector<int64_t> both(batch);
    both.append(contract.begin(), contract.end());
    return checkDims(*this, both, rank, false);
  };
  if (failed(check(getLhsBatch(), getLhsContract(), lhs.size())) ||
      failed(check(getRhsBatch(), getRhsContract(), rhs.size())))
    return failure();
  auto agree = [&](ArrayRef<int64_t> left, ArrayRef<int64_t> right) -> LogicalResult {
    for (auto [l, r] : llvm::zip_equal(left, right))
      if (lhs[l] != rhs[r])
        return emitOpError() << "pairs dimension " << l << " of size " << lhs[l] << " with dimension " << r
                             << " of size " << rhs[r];
    return success();
  };
  if (failed(agree(getLhsBatch(), getRhsBatch())) || failed(agree(getLhsContract(), getRhsContract())))
    return failure();
  return checkResult(*this, getResult(), elementOf(getLhs()), dotShape(*this));
}

//===--------------------------------------------------------------------------------------------------------------===//
// Convolution and pooling
//===--------------------------------------------------------------------------------------------------------------===//

void ConvOp::build(OpBuilder &builder, OperationState &state, Value input, Value weights, ArrayRef<int64_t> stride,
                   ArrayRef<int64_t> low, ArrayRef<int64_t> high, ArrayRef<int64_t> dilation, int64_t groups) {
  auto type = withShape(input, convShape(input, weights, stride, low, high, dilation));
  build(builder, state, type, input, weights, stride, low, high, dilation, groups);
}

LogicalResult ConvOp::verify() { return checkConvolution(*this, getInput(), getWeights(), getOutput()); }
LogicalResult ConvBackwardDataOp::verify() { return checkConvolution(*this, getInput(), getWeights(), getOutput()); }
LogicalResult ConvBackwardWeightsOp::verify() { return checkConvolution(*this, getInput(), getWeights(), getOutput()); }

void MaxPoolOp::build(OpBuilder &builder, OperationState &state, Value operand, ArrayRef<int64_t> window,
                      ArrayRef<int64_t> stride, ArrayRef<int64_t> low, ArrayRef<int64_t> high) {
  auto value = withShape(operand, pooledShape(operand, window, stride, low, high));
  build(builder, state, value, value.clone(builder.getI32Type()), operand, window, stride, low, high);
}

LogicalResult MaxPoolOp::verify() {
  if (failed(checkPooling(*this, getOperand(), getValue())) || failed(checkElements(*this, getOperand(), getValue())))
    return failure();
  return checkResult(*this, getIndex(), IntegerType::get(getContext(), 32), shapeOf(getValue()));
}

LogicalResult PoolGatherOp::verify() {
  if (failed(checkPooling(*this, getOperand(), getIndex())) || failed(checkElements(*this, getOperand(), getResult())))
    return failure();
  return checkResult(*this, getResult(), hw::elementOf(getOperand()), shapeOf(getIndex()));
}

LogicalResult PoolScatterOp::verify() {
  if (shapeOf(getUpdates()) != shapeOf(getIndex()))
    return emitOpError() << "has updates " << getUpdates().getType() << " for an index " << getIndex().getType();
  if (failed(checkElements(*this, getUpdates(), getResult())))
    return failure();
  return checkPooling(*this, getResult(), getUpdates());
}

void WindowSumOp::build(OpBuilder &builder, OperationState &state, Value operand, ArrayRef<int64_t> window,
                        ArrayRef<int64_t> stride, ArrayRef<int64_t> low, ArrayRef<int64_t> high) {
  build(builder, state, withShape(operand, pooledShape(operand, window, stride, low, high)), operand, window, stride,
        low, high);
}

LogicalResult WindowSumOp::verify() {
  if (failed(checkElements(*this, getOperand(), getResult())))
    return failure();
  return checkPooling(*this, getOperand(), getResult());
}

LogicalResult WindowSpreadOp::verify() {
  if (failed(checkElements(*this, getOperand(), getResult())))
    return failure();
  return checkPooling(*this, getResult(), getOperand());
}

//===--------------------------------------------------------------------------------------------------------------===//
// Index
//===--------------------------------------------------------------------------------------------------------------===//

LogicalResult WholeOp::verify() {
  auto element = cast<IntegerType>(elementOf(getResult()));
  int64_t most = element.isUnsigned() ? int64_t(1) << 32 : int64_t(1) << 31;
  if (int64_t(getCount()) < 1 || int64_t(getCount()) > most)
    return emitOpError() << "has no room for " << int64_t(getCount()) << " numbers in " << element;
  return success();
}

void GatherOp::build(OpBuilder &builder, OperationState &state, Value operand, Value indices) {
  SmallVector<int64_t> shape(shapeOf(indices));
  auto rows = shapeOf(operand).drop_front();
  shape.append(rows.begin(), rows.end());
  build(builder, state, withShape(operand, shape), operand, indices);
}

LogicalResult GatherOp::verify() {
  if (shapeOf(getOperand()).empty() || shapeOf(getOperand())[0] == 0)
    return emitOpError("needs rows to gather from");
  SmallVector<int64_t> shape(shapeOf(getIndices()));
  auto rows = shapeOf(getOperand()).drop_front();
  shape.append(rows.begin(), rows.end());
  return checkResult(*this, getResult(), elementOf(getOperand()), shape);
}

LogicalResult ScatterAddOp::verify() {
  auto updates = shapeOf(getUpdates()), indices = shapeOf(getIndices()), out = shapeOf(getResult());
  if (updates.size() < indices.size() || updates.take_front(indices.size()) != indices || out.empty() ||
      out.drop_front() != updates.drop_front(indices.size()) || elementOf(getUpdates()) != elementOf(getResult()))
    return emitOpError() << "cannot add " << getUpdates().getType() << " at " << getIndices().getType() << " into "
                         << getResult().getType();
  return success();
}

void ReduceMaxOp::build(OpBuilder &builder, OperationState &state, Value operand, int64_t dim) {
  SmallVector<int64_t> shape = without(shapeOf(operand), dim);
  build(builder, state, withShape(operand, shape), RankedTensorType::get(shape, builder.getI32Type()), operand,
        builder.getI64IntegerAttr(dim));
}

LogicalResult ReduceMaxOp::verify() {
  auto in = shapeOf(getOperand());
  int64_t dim = getDim();
  if (dim < 0 || dim >= int64_t(in.size()))
    return emitOpError() << "dimension " << dim << " is outside a rank of " << in.size();
  if (in[dim] == 0)
    return emitOpError("has nothing to take the largest of");
  SmallVector<int64_t> shape = without(in, dim);
  if (failed(checkResult(*this, getValue(), elementOf(getOperand()), shape)))
    return failure();
  return checkResult(*this, getIndex(), IntegerType::get(getContext(), 32), shape);
}

//===--------------------------------------------------------------------------------------------------------------===//
// Dense linear algebra, sources, derivatives
//===--------------------------------------------------------------------------------------------------------------===//

LogicalResult CholeskyOp::verify() { return checkSquare(*this, getOperand()); }
LogicalResult TriangularSolveOp::verify() { return checkSolve(*this, getT(), getB()); }
LogicalResult LuSolveOp::verify() { return checkSolve(*this, getA(), getB()); }

ConstantOp ConstantOp::splat(OpBuilder &builder, Location loc, Type type, double value) {
  auto tensor = llvm::cast<RankedTensorType>(type);
  Type element = tensor.getElementType();
  Attribute scalar = llvm::isa<FloatType>(element) ? Attribute(builder.getFloatAttr(element, value))
                                                   : Attribute(builder.getIntegerAttr(element, int64_t(value)));
  return create(builder, loc, tensor, DenseElementsAttr::get(tensor, scalar));
}

LogicalResult IotaOp::verify() {
  if (getDim() >= shapeOf(getResult()).size())
    return emitOpError() << "dimension " << getDim() << " is outside a rank of " << shapeOf(getResult()).size();
  return success();
}

LogicalResult RandomBitsOp::verify() {
  if (!shapeOf(getKey()).empty() || !shapeOf(getStep()).empty())
    return emitOpError("needs a scalar key and step");
  return success();
}

LogicalResult GradOp::verify() {
  if (!shapeOf(getOf()).empty())
    return emitOpError() << "needs a scalar to differentiate, got " << getOf().getType();
  if (getWrt().getTypes() != getResultTypes())
    return emitOpError("results must have the types of what it differentiates with respect to");
  return success();
}

LogicalResult VjpOp::verify() {
  if (getOf().getTypes() != getCotangents().getTypes() || getWrt().getTypes() != getResultTypes())
    return emitOpError("cotangents must have the types of `of`, results those of `wrt`");
  return success();
}

LogicalResult JvpOp::verify() {
  if (getWrt().getTypes() != getTangents().getTypes() || getOf().getTypes() != getResultTypes())
    return emitOpError("tangents must have the types of `wrt`, results those of `of`");
  return success();
}
