// Which values of a batch can be put together: those of each sample by itself are joined, and means over samples are
// averaged, through whatever is affine. The mean of anything else over batches is another number than that of the
// whole.
#include "frontend/elaborate/Batches.h"

#include <cmath>

using namespace mlir;

namespace hw::lang {

namespace {

constexpr const char *some = "it takes some of the samples, or puts them in another order";
constexpr const char *nonlinear = "what follows a mean over the samples is not linear in it";
constexpr const char *across = "samples are compared with each other, or with a mean over the batch";
constexpr const char *places = "it depends on the places of the samples in their batch";
constexpr const char *drawn = "random numbers are drawn for the places of the samples in their batch";
constexpr const char *gradientOfRows = "a derivative with respect to samples depends on how many a batch has";

FromSamples mixed(const char *why, Operation *op) { return {FromSamples::Mixed, 0, 1, why, op}; }
bool isSummed(const FromSamples &f) { return f.kind == FromSamples::Mean || f.kind == FromSamples::Sum; }

bool isLinear(Operation *op) { // in all of its operands at once
  return isa<AddOp, SubOp, NegOp, BroadcastOp, ReduceSumOp, ReshapeOp, TransposeOp, ReverseOp, SliceOp, PadOp, ConcatOp,
             WindowSumOp, WindowSpreadOp, StopGradientOp>(op) ||
         (isa<CastOp>(op) && llvm::isa<FloatType>(elementOf(op->getOperand(0))) &&
          llvm::isa<FloatType>(elementOf(op->getResult(0))));
}

} // namespace

SampleFlow::SampleFlow(Block &block, int64_t samples) : samples(samples) {
  for (Value argument : block.getArguments())
    known[argument] = {FromSamples::PerRow};
  for (Operation &op : block)
    visit(&op);
}

bool SampleFlow::hasSamples(Value value) const {
  return llvm::any_of(shapeOf(value), [&](int64_t size) { return size % samples == 0; });
}

void SampleFlow::visit(Operation *op) {
  FromSamples flow = result(op);
  for (Value value : op->getResults())
    known[value] = flow;
}

FromSamples SampleFlow::result(Operation *op) {
  if (auto iota = dyn_cast<IotaOp>(op))
    return shapeOf(iota.getResult())[iota.getDim()] % samples == 0 ? mixed(places, op) : FromSamples{};
  if (isa<RandomBitsOp>(op) && hasSamples(op->getResult(0)))
    return mixed(drawn, op);
  // Rows of a matrix of derivatives, whose row number depends on no sample: they are as what the body yields.
  if (auto rows = dyn_cast<study::BatchesOp>(op); rows && rows.getNumResults() == 1 && rows.getTail().empty()) {
    Block &body = rows.getBody().front();
    for (Operation &inner : body)
      visit(&inner);
    FromSamples flow = of(body.getTerminator()->getOperand(0));
    return flow.kind == FromSamples::PerRow ? mixed(across, op) : flow;
  }
  SmallVector<FromSamples> operands;
  bool rows = false, summed = false;
  auto add = [&](Value value) {
    operands.push_back(of(value));
    rows |= operands.back().kind == FromSamples::PerRow;
    summed |= isSummed(operands.back());
    return operands.back().kind != FromSamples::Mixed;
  };
  for (Value operand : op->getOperands())
    if (!add(operand))
      return operands.back();
  for (Region &region : op->getRegions())
    region.walk([&](Operation *inner) {
      for (Value operand : inner->getOperands())
        add(operand);
    });
  if (!op->getRegions().empty() && (rows || summed))
    return mixed(nonlinear, op);
  if (auto reduce = dyn_cast<ReduceSumOp>(op)) {
    // Of a constant too: it has as many elements as there are samples.
    const FromSamples &x = operands[0];
    for (int64_t dim : reduce.getDims())
      if (shapeOf(reduce.getOperand())[dim] % samples == 0)
        return summed ? mixed(nonlinear, op) : FromSamples{FromSamples::Sum};
    if (!rows)
      return x;
    return {FromSamples::PerRow, x.axis - llvm::count_if(reduce.getDims(), [&](int64_t d) { return d < x.axis; }),
            x.each};
  }
  if (auto dot = dyn_cast<DotGeneralOp>(op))
    return contraction(dot);
  if (!rows && !summed)
    return {};

  if (auto grad = dyn_cast<GradOp>(op))
    return derivative(op, grad.getOf(), grad.getWrt(), {});
  if (auto vjp = dyn_cast<VjpOp>(op))
    return derivative(op, vjp.getOf(), vjp.getWrt(), vjp.getCotangents());
  if (auto jvp = dyn_cast<JvpOp>(op))
    return derivative(op, jvp.getOf(), jvp.getWrt(), jvp.getTangents());
  if (summed) {
    if (rows)
      return mixed(across, op);
    if (isLinear(op)) {
      // Terms of one kind; a constant is its own mean, but not its own sum.
      FromSamples::Kind kind = FromSamples::Constant;
      for (const FromSamples &f : operands)
        if (f.kind != FromSamples::Constant) {
          if (kind != FromSamples::Constant && kind != f.kind)
            return mixed(nonlinear, op);
          kind = f.kind;
        }
      if (kind == FromSamples::Sum && isa<AddOp, SubOp, ConcatOp>(op) &&
          llvm::any_of(operands, [](const FromSamples &f) { return f.kind == FromSamples::Constant; }))
        return mixed(nonlinear, op);
      return {kind};
    }
    if (isa<MulOp>(op) && (operands[0].kind == FromSamples::Constant || operands[1].kind == FromSamples::Constant))
      return isSummed(operands[0]) ? operands[0] : operands[1];
    if (isa<DivOp>(op) && operands[1].kind == FromSamples::Constant) {
      // A sum over its number of samples is a mean.
      auto constant = op->getOperand(1).getDefiningOp<ConstantOp>();
      auto value = constant ? llvm::dyn_cast<DenseElementsAttr>(constant.getValue()) : DenseElementsAttr();
      if (operands[0].kind == FromSamples::Sum && value && value.isSplat() &&
          llvm::isa<FloatType>(value.getElementType())) {
        double count = value.getSplatValue<APFloat>().convertToDouble();
        // As near as f32 comes to it.
        const double each = count / double(samples);
        if (each > 0.5 && std::fabs(each - std::round(each)) <= 1e-6 * each)
          return {FromSamples::Mean};
      }
      return operands[0];
    }
    if (isa<SelectOp>(op) && operands[0].kind == FromSamples::Constant && operands[1].kind == operands[2].kind)
      return operands[1];
    if (isa<LuSolveOp, TriangularSolveOp>(op) && operands[0].kind == FromSamples::Constant)
      return operands[1];
    if (isa<GatherOp>(op) && operands[1].kind == FromSamples::Constant)
      return operands[0];
    return mixed(nonlinear, op);
  }

  // Each sample by itself.
  if (op->hasTrait<OpTrait::Elementwise>())
    return elementwise(op);
  if (auto reshapeOp = dyn_cast<ReshapeOp>(op))
    return reshape(reshapeOp);
  FromSamples x = operands[0];
  if (auto concat = dyn_cast<ConcatOp>(op)) {
    FromSamples joined = elementwise(op);
    return joined.kind == FromSamples::PerRow && joined.axis == int64_t(concat.getDim()) ? mixed(some, op) : joined;
  }
  if (auto gather = dyn_cast<GatherOp>(op)) {
    const int64_t rank = typeOf(gather.getIndices()).getRank();
    if (x.kind == FromSamples::Constant)
      return operands[1];
    if (operands[1].kind == FromSamples::Constant && x.axis > 0)
      return {FromSamples::PerRow, x.axis - 1 + rank, x.each};
    return mixed(some, op);
  }
  if (isa<ConvOp>(op))
    return operands[1].kind == FromSamples::Constant && x.axis == 0 ? x : mixed(across, op);
  if (auto pool = dyn_cast<PoolGatherOp>(op))
    return elementwise(op).kind == FromSamples::PerRow &&
                   x.axis < typeOf(pool.getOperand()).getRank() - int64_t(pool.getWindow().size())
               ? x
               : mixed(across, op);
  if (operands.size() != 1)
    return mixed(across, op);
  Value operand = op->getOperand(0);
  if (auto broadcast = dyn_cast<BroadcastOp>(op))
    return {FromSamples::PerRow, broadcast.getDims()[x.axis], x.each};
  if (auto transpose = dyn_cast<TransposeOp>(op))
    return {FromSamples::PerRow, llvm::find(transpose.getPermutation(), x.axis) - transpose.getPermutation().begin(),
            x.each};
  if (auto reverse = dyn_cast<ReverseOp>(op))
    return llvm::is_contained(reverse.getDims(), x.axis) ? mixed(some, op) : x;
  if (auto slice = dyn_cast<SliceOp>(op))
    return slice.getStart()[x.axis] == 0 && slice.getLimit()[x.axis] == shapeOf(operand)[x.axis] &&
                   slice.getStride()[x.axis] == 1
               ? x
               : mixed(some, op);
  if (auto pad = dyn_cast<PadOp>(op))
    return shapeOf(operand)[x.axis] == shapeOf(pad.getResult())[x.axis] ? x : mixed(some, op);
  if (auto max = dyn_cast<ReduceMaxOp>(op)) {
    if (int64_t(max.getDim()) == x.axis)
      return mixed(across, op);
    return {FromSamples::PerRow, x.axis - (int64_t(max.getDim()) < x.axis), x.each};
  }
  auto pooled = [&](size_t window) { return x.axis < typeOf(operand).getRank() - int64_t(window); };
  if (auto pool = dyn_cast<MaxPoolOp>(op))
    return pooled(pool.getWindow().size()) ? x : mixed(across, op);
  if (auto pool = dyn_cast<WindowSumOp>(op))
    return pooled(pool.getWindow().size()) ? x : mixed(across, op);
  return mixed(across, op);
}

// All with samples have them along the same axis. (Also of operands whose shapes differ in other axes alone.)
FromSamples SampleFlow::elementwise(Operation *op) {
  FromSamples flow;
  for (Value operand : op->getOperands()) {
    FromSamples f = of(operand);
    if (f.kind == FromSamples::Constant)
      continue;
    if (flow.kind == FromSamples::PerRow && (f.axis != flow.axis || f.each != flow.each))
      return mixed(across, op);
    flow = f;
  }
  return flow;
}

FromSamples SampleFlow::contraction(DotGeneralOp op) {
  FromSamples sides[2] = {of(op.getLhs()), of(op.getRhs())};
  ArrayRef<int64_t> batch[2] = {op.getLhsBatch(), op.getRhsBatch()};
  ArrayRef<int64_t> contract[2] = {op.getLhsContract(), op.getRhsContract()};
  SmallVector<int64_t> free[2] = {op.lhsFree(), op.rhsFree()};
  const bool contractsSamples =
      llvm::any_of(contract[0], [&](int64_t dim) { return shapeOf(op.getLhs())[dim] % samples == 0; });
  if (isSummed(sides[0]) || isSummed(sides[1])) {
    if (contractsSamples)
      return mixed(nonlinear, op);
    if (sides[0].kind == FromSamples::Constant || sides[1].kind == FromSamples::Constant)
      return isSummed(sides[0]) ? sides[0] : sides[1];
    return mixed(sides[0].kind == FromSamples::PerRow || sides[1].kind == FromSamples::PerRow ? across : nonlinear, op);
  }
  // Where an operand's samples are in the result; -1: contracted.
  auto place = [&](int side) -> int64_t {
    const int64_t axis = sides[side].axis;
    if (auto *it = llvm::find(batch[side], axis); it != batch[side].end())
      return it - batch[side].begin();
    if (llvm::is_contained(contract[side], axis))
      return -1;
    return int64_t(batch[side].size()) + (side ? int64_t(free[0].size()) : 0) +
           (llvm::find(free[side], axis) - free[side].begin());
  };
  std::optional<int64_t> at;
  int64_t each = 1;
  for (int side : {0, 1}) {
    if (sides[side].kind != FromSamples::PerRow)
      continue;
    int64_t here = place(side);
    if (at && (*at != here || each != sides[side].each))
      return mixed(across, op);
    at = here;
    each = sides[side].each;
  }
  if (contractsSamples)
    return {FromSamples::Sum};
  return at ? FromSamples{FromSamples::PerRow, *at, each} : FromSamples{};
}

// Elements keep their order, so the samples stay outermost of what belongs to them.
FromSamples SampleFlow::reshape(ReshapeOp op) {
  FromSamples x = of(op.getOperand());
  auto before = [](ArrayRef<int64_t> shape, size_t axis) {
    int64_t product = 1;
    for (int64_t size : shape.take_front(axis))
      product *= size;
    return product;
  };
  ArrayRef<int64_t> to = shapeOf(op.getResult());
  const int64_t outer = before(shapeOf(op.getOperand()), x.axis);
  for (size_t axis = 0; axis < to.size(); ++axis)
    if (to[axis] % samples == 0 && before(to, axis) == outer)
      return {FromSamples::PerRow, int64_t(axis), to[axis] / samples};
  return mixed(across, op);
}

// Of a mean, with respect to what does not depend on the samples, and along such: a mean again.
FromSamples SampleFlow::derivative(Operation *op, ValueRange values, ValueRange wrt, ValueRange along) {
  for (Value v : wrt)
    if (of(v).kind != FromSamples::Constant)
      return mixed(of(v).kind == FromSamples::PerRow ? gradientOfRows : nonlinear, op);
  FromSamples flow;
  for (Value v : values) {
    FromSamples f = of(v);
    if (f.kind == FromSamples::Constant)
      continue;
    if (flow.kind != FromSamples::Constant && (f.kind != flow.kind || f.axis != flow.axis || f.each != flow.each))
      return mixed(across, op);
    flow = f;
  }
  for (Value v : along)
    if (of(v).kind != FromSamples::Constant) {
      // What is pulled back to the weights from each sample is summed up there.
      if (isa<VjpOp>(op) && flow.kind == FromSamples::PerRow && of(v).kind == FromSamples::PerRow)
        return {FromSamples::Sum};
      return mixed(nonlinear, op);
    }
  if (isa<VjpOp>(op) && flow.kind == FromSamples::PerRow)
    return {FromSamples::Sum};
  return flow;
}

} // namespace hw::lang
