// A column's batch: the rows of a tensor over all samples. What a file stores as bytes stays bytes until a step uses
// it: where a column is computed row by row from something smaller, the batch is computed from the rows of that
// instead.
//
//   %whole = cast(%bytes) * (1/255)     becomes     cast(gather(%bytes, rows)) * (1/255)
#include "frontend/elaborate/Elaborator.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

namespace hw::lang {

namespace {

bool isFullBeyondRows(SliceOp slice) {
  ArrayRef<int64_t> shape = shapeOf(slice.getOperand());
  for (size_t axis = 1; axis < shape.size(); ++axis)
    if (slice.getStart()[axis] != 0 || slice.getLimit()[axis] != shape[axis] || slice.getStride()[axis] != 1)
      return false;
  return slice.getStride()[0] == 1;
}

// A range of the rows of another tensor.
SliceOp rangeOfRows(Value v) {
  auto slice = v.getDefiningOp<SliceOp>();
  return slice && isFullBeyondRows(slice) ? slice : SliceOp();
}

// Row i of the result is computed, cheaply, from row i of each operand that is not the same for all rows.
bool isRowwise(Operation *op) {
  if (!op)
    return false;
  if (isa<CastOp, AddOp, SubOp, MulOp, DivOp, NegOp, MinOp, MaxOp, AbsOp, CompareOp, SelectOp>(op))
    return true;
  if (auto reshape = dyn_cast<ReshapeOp>(op)) {
    ArrayRef<int64_t> from = shapeOf(reshape.getOperand()), to = shapeOf(reshape.getResult());
    return !from.empty() && !to.empty() && from[0] == to[0];
  }
  if (auto broadcast = dyn_cast<BroadcastOp>(op))
    return !broadcast.getDims().empty() && broadcast.getDims()[0] == 0;
  return false;
}

bool isSameForAllRows(Value v) {
  Operation *op = v.getDefiningOp();
  if (auto constant = dyn_cast_or_null<ConstantOp>(op))
    return constant.getValue().isSplat();
  if (auto broadcast = dyn_cast_or_null<BroadcastOp>(op))
    return broadcast.getDims().empty() || broadcast.getDims()[0] != 0;
  return false;
}

int64_t bits(Value v) { return typeOf(v).getNumElements() * elementOf(v).getIntOrFloatBitWidth(); }

class Batch {
public:
  Batch(Elaborator &e, Value rows) : e(e), rows(rows) {}

  Value of(Value whole) {
    int64_t start = 0;
    while (SliceOp slice = rangeOfRows(whole)) {
      start += slice.getStart()[0];
      whole = slice.getOperand();
    }
    DenseSet<Value> seen;
    if (sourceBits(whole, seen) < bits(whole) && seen.size() <= mostCheap)
      return compute(whole, start);
    return gather(whole, start);
  }

private:
  // Computing a row anew is cheap up to so many values.
  static constexpr size_t mostCheap = 200;

  // How much would have to be kept if `v` were computed anew for each batch.
  int64_t sourceBits(Value v, DenseSet<Value> &seen) {
    if (isSameForAllRows(v) || seen.size() > mostCheap || !seen.insert(v).second)
      return 0;
    if (SliceOp slice = rangeOfRows(v))
      return sourceBits(slice.getOperand(), seen);
    if (!isRowwise(v.getDefiningOp()))
      return bits(v);
    int64_t sum = 0;
    for (Value operand : v.getDefiningOp()->getOperands())
      sum += sourceBits(operand, seen);
    return sum;
  }

  RankedTensorType atRows(Value v) {
    SmallVector<int64_t> shape(shapeOf(v));
    shape[0] = shapeOf(rows)[0];
    return e.tensorType(shape, elementOf(v));
  }

  Value gather(Value v, int64_t start) {
    Value at = rows;
    if (start)
      at = e.binaryOp(Bin::Add, rows, e.splat(shapeOf(rows), elementOf(rows), double(start)));
    return GatherOp::create(e.builder, e.loc(), v, at);
  }

  Value compute(Value v, int64_t start) {
    if (Value known = made.lookup({v, start}))
      return known;
    Value result;
    if (SliceOp slice = rangeOfRows(v)) {
      result = compute(slice.getOperand(), start + slice.getStart()[0]);
    } else if (isSameForAllRows(v)) {
      result = sameForAllRows(v.getDefiningOp());
    } else if (isRowwise(v.getDefiningOp())) {
      IRMapping operands;
      for (Value operand : v.getDefiningOp()->getOperands())
        operands.map(operand, compute(operand, start));
      Operation *copy = e.builder.clone(*v.getDefiningOp(), operands);
      copy->getResult(0).setType(atRows(v));
      result = copy->getResult(0);
    } else {
      result = gather(v, start);
    }
    made[{v, start}] = result;
    return result;
  }

  Value sameForAllRows(Operation *op) {
    if (auto constant = dyn_cast<ConstantOp>(op)) {
      auto value = cast<DenseElementsAttr>(constant.getValue());
      auto type = atRows(constant.getResult());
      return ConstantOp::create(e.builder, e.loc(), type, value.resizeSplat(type));
    }
    auto broadcast = cast<BroadcastOp>(op);
    return BroadcastOp::create(e.builder, e.loc(), atRows(broadcast.getResult()), broadcast.getOperand(),
                               broadcast.getDims());
  }

  Elaborator &e;
  Value rows;
  llvm::DenseMap<std::pair<Value, int64_t>, Value> made;
};

} // namespace

Value Elaborator::rowsOf(Value whole, Value rows) { return Batch(*this, rows).of(whole); }

} // namespace hw::lang
