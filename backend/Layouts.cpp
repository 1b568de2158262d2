// oneDNN's convolutions read and write activations channels-last, [N, S..., C], where hw has [N, C, S...]. Each becomes
// a call between two transpositions, and transpositions then move down through what is computed from it until they meet
// another one and go: `f(transpose(x), y) = transpose(f(x, transpose'(y)))`, where f is elementwise, a sum, or pooling.
// What is left is read in its other order where it is used. So a chain of layers copies no activation.
//
// Why channels-last and not the layout in blocks of 16 channels that oneDNN prefers if asked: its rate is the same (the
// channels of a pixel are as contiguous), channels that are no multiple of 16 are not padded, so that no op has to keep
// the padding zero and 20 channels do not cost as much as 32, and every address stays linear in its indices.
//
// Weights do lie in blocks, filled up with zeros: a convolution and its weights' gradient share a layout, which the
// optimiser's arithmetic is done in as well. Only the gradient in the input wants a copy with the blocks turned.
#include "backend/Layouts.h"
#include "backend/Cost.h"
#include "mlir/IR/Dominance.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/CSE.h"
#include "passes/Expr.h"

using namespace mlir;
using namespace hw;
using namespace hw::backend;

namespace {

using Dims = SmallVector<int64_t>;

/// From [N, C, S...] to [N, S..., C]: the old dimension of each new one.
Dims channelsLast(int64_t rank) {
  Dims result{0};
  llvm::append_range(result, llvm::seq<int64_t>(2, rank));
  result.push_back(1);
  return result;
}

/// A transposition that exists because of a layout, and is to move.
TransposeOp layoutOf(Value value) {
  auto transpose = value.getDefiningOp<TransposeOp>();
  return transpose && transpose->hasAttr("hw.layout") ? transpose : TransposeOp();
}

class Layouts {
public:
  Layouts(Block &block, Products products, const Target &target)
      : block(block), products(products), target(target), builder(block.getParentOp()->getContext()) {}

  void run() {
    builder.getContext()->getOrLoadDialect<HwbDialect>();
    for (Operation &op : llvm::make_early_inc_range(block)) {
      builder.setInsertionPoint(&op);
      llvm::TypeSwitch<Operation *>(&op).Case<ConvOp, ConvBackwardDataOp, ConvBackwardWeightsOp>([&](auto convolution) {
        if (goesToLibrary(convolution, products, target))
          convolve(convolution);
      });
    }
    sink();
    eraseDead(block);
    for (ConvolutionOp op : llvm::to_vector(block.getOps<ConvolutionOp>()))
      absorb(op);
    for (Operation &op : llvm::make_early_inc_range(block)) {
      builder.setInsertionPoint(&op);
      if (auto block = dyn_cast<BlockOp>(op))
        expand(block);
      else if (auto unblock = dyn_cast<UnblockOp>(op))
        expand(unblock);
    }
    IRRewriter rewriter(builder.getContext());
    DominanceInfo dominance;
    eliminateCommonSubExpressions(rewriter, dominance, block.getParentOp());
  }

private:
  //===-- Convolutions
  //---------------------------------------------------------------------------------------------===//

  int64_t blockSize() const { return weightBlock(target); }

  template <class Op> ConvolutionOp call(Op op, Type type, Value first, Value second, ArrayRef<int64_t> weights) {
    int32_t kind = isa<ConvOp>(op) ? HW_FORWARD : isa<ConvBackwardDataOp>(op) ? HW_BACKWARD_DATA : HW_BACKWARD_WEIGHTS;
    return ConvolutionOp::create(builder, op.getLoc(), type, first, second, Value(), kind, weights.drop_front(2),
                                 op.getStride(), op.getLow(), op.getHigh(), op.getDilation(), blockSize(), HW_LINEAR);
  }
  Value toLast(Value value) { return ordered(value, channelsLast(typeOf(value).getRank())); }
  Type lastType(Type type) {
    auto tensor = cast<RankedTensorType>(type);
    return tensor.clone(applyPermutation(tensor.getShape(), channelsLast(tensor.getRank())));
  }
  /// The op's result, channels-first, out of what was made in its place.
  void replaceByLast(Operation *op, Value last) {
    Dims back = invertPermutationVector(channelsLast(typeOf(last).getRank()));
    op->getResult(0).replaceAllUsesWith(moving(op->getLoc(), last, back));
    op->erase();
  }

  void convolve(ConvOp op) {
    Value weights = BlockOp::create(builder, op.getLoc(), op.getWeights(), blockSize(), false);
    replaceByLast(
        op, call(op, lastType(op.getType()), toLast(op.getInput()), weights, shapeOf(op.getWeights())).getResult());
  }
  void convolve(ConvBackwardDataOp op) {
    Value weights = BlockOp::create(builder, op.getLoc(), op.getWeights(), blockSize(), true);
    replaceByLast(
        op, call(op, lastType(op.getType()), weights, toLast(op.getOutput()), shapeOf(op.getWeights())).getResult());
  }
  void convolve(ConvBackwardWeightsOp op) {
    auto shape = shapeOf(op.getWeights());
    Type type = typeOf(op.getWeights()).clone(Blocking(shape, blockSize(), false).shape());
    Value blocked = call(op, type, toLast(op.getInput()), toLast(op.getOutput()), shape).getResult();
    op.getResult().replaceAllUsesWith(
        UnblockOp::create(builder, op.getLoc(), op.getType(), blocked, blockSize()).getResult());
    op->erase();
  }

  /// A bias, and tanh or logistic, are added by oneDNN. relu is not: oneDNN's may turn NaN into 0, so that a ruined
  /// network would go on with zeros. Ours rides in the loop that reads it next, pooling as a rule.
  void absorb(ConvolutionOp op) {
    if (op.getKind() != HW_FORWARD)
      return;
    ExternalPattern pattern = matchExternal(op.getResult());
    if (pattern.result == op.getResult())
      return;
    if (pattern.bias)
      op.getBiasMutable().assign(pattern.bias);
    op.setActivation(pattern.activation);
    op->moveBefore(pattern.result.getDefiningOp());
    pattern.result.replaceAllUsesWith(op.getResult());
  }

  //===-- Transpositions
  //-------------------------------------------------------------------------------------------===//

  Value moving(Location loc, Value value, ArrayRef<int64_t> permutation) {
    auto transpose = TransposeOp::create(builder, loc, value, permutation);
    transpose->setAttr("hw.layout", builder.getUnitAttr());
    return transpose;
  }

  /// The value with dimension permutation[i] as its dimension i, at no cost where that can be had.
  Value ordered(Value value, ArrayRef<int64_t> permutation) {
    if (isIdentityPermutation(permutation))
      return value;
    Location loc = value.getLoc();
    Dims shape = applyPermutation(shapeOf(value), permutation);
    auto type = typeOf(value).clone(shape);
    if (TransposeOp before = layoutOf(value))
      return ordered(before.getOperand(), applyPermutation(before.getPermutation(), permutation));
    if (auto constant = value.getDefiningOp<ConstantOp>(); constant && !isDenseConstant(value))
      return ConstantOp::create(builder, loc, cast<DenseElementsAttr>(constant.getValue()).resizeSplat(type));
    if (auto iota = value.getDefiningOp<IotaOp>())
      return IotaOp::create(builder, loc, type, invertPermutationVector(permutation)[iota.getDim()]);
    if (auto broadcast = value.getDefiningOp<BroadcastOp>())
      return spread(broadcast, type, invertPermutationVector(permutation));
    if (auto reshape = value.getDefiningOp<ReshapeOp>())
      if (Value result = unflattened(reshape, permutation))
        return result;
    // Dimensions of size 1 may stand anywhere.
    Dims large;
    for (int64_t dim : permutation)
      if (shapeOf(value)[dim] != 1)
        large.push_back(dim);
    if (llvm::is_sorted(large))
      return ReshapeOp::create(builder, loc, type, value);
    return moving(loc, value, permutation);
  }

  Value spread(BroadcastOp broadcast, Type type, ArrayRef<int64_t> newDim) {
    SmallVector<std::pair<int64_t, int64_t>> dims; // of the result, of the operand
    for (auto [from, to] : llvm::enumerate(broadcast.getDims()))
      dims.push_back({newDim[to], int64_t(from)});
    llvm::sort(dims);
    Dims to, from;
    for (auto [result, operand] : dims)
      to.push_back(result), from.push_back(operand);
    return BroadcastOp::create(builder, broadcast.getLoc(), type, ordered(broadcast.getOperand(), from), to);
  }

  void sink() {
    for (Operation &op : llvm::make_early_inc_range(block)) {
      builder.setInsertionPoint(&op);
      auto found = llvm::find_if(op.getOperands(), [](Value operand) { return bool(layoutOf(operand)); });
      if (auto dot = dyn_cast<DotGeneralOp>(op))
        sinkFlat(dot);
      else if (llvm::any_of(op.getOperands(), [](Value operand) { return bool(operand.getDefiningOp<UnblockOp>()); }))
        sinkBlocks(&op);
      else if (found != op.operand_end())
        sinkThrough(&op, layoutOf(*found).getPermutation());
    }
  }

  /// `permutation`: of a transposition that makes one of the op's operands.
  void sinkThrough(Operation *op, ArrayRef<int64_t> permutation) {
    Dims back = invertPermutationVector(permutation);
    if (auto transpose = dyn_cast<TransposeOp>(op)) {
      Value result = ordered(transpose.getOperand(), transpose.getPermutation());
      transpose.getResult().replaceAllUsesWith(result);
    } else if (elementwiseOp(op) || isa<StopGradientOp>(op)) {
      rebuild(op, back, permutation, [](Operation *) {});
    } else if (auto sum = dyn_cast<ReduceSumOp>(op)) {
      sinkThrough(sum, permutation);
    } else if (isa<MaxPoolOp, PoolGatherOp, PoolScatterOp, WindowSumOp, WindowSpreadOp>(op)) {
      // Windows of one along the channels, which come last.
      size_t spatial = op->getAttrOfType<DenseI64ArrayAttr>("window").size(), rank = permutation.size();
      if (rank != spatial + 2 || ArrayRef(back) != ArrayRef(channelsLast(int64_t(rank))))
        return;
      rebuild(op, back, permutation, [&](Operation *copy) {
        for (auto [name, last] : {std::pair("window", 1), {"stride", 1}, {"low", 0}, {"high", 0}}) {
          Dims values(op->getAttrOfType<DenseI64ArrayAttr>(name).asArrayRef());
          values.push_back(last);
          copy->setAttr(name, builder.getDenseI64ArrayAttr(values));
        }
      });
    }
  }

  /// The op on operands in the order `back`, and its results brought back by `permutation`.
  void rebuild(Operation *op, ArrayRef<int64_t> back, ArrayRef<int64_t> permutation,
               llvm::function_ref<void(Operation *)> change) {
    SmallVector<Value> operands;
    for (Value operand : op->getOperands())
      operands.push_back(ordered(operand, back));
    Operation *copy = builder.clone(*op);
    copy->setOperands(operands);
    for (Value result : copy->getResults())
      result.setType(typeOf(result).clone(applyPermutation(shapeOf(result), back)));
    change(copy);
    for (auto [old, result] : llvm::zip_equal(op->getResults(), copy->getResults()))
      old.replaceAllUsesWith(moving(op->getLoc(), result, permutation));
  }

  void sinkThrough(ReduceSumOp sum, ArrayRef<int64_t> permutation) {
    // Dimension i of what is summed is the original's `permutation[i]`.
    Value original = layoutOf(sum.getOperand()).getOperand();
    Dims dims, kept, order;
    for (int64_t dim : sum.getDims())
      dims.push_back(permutation[dim]);
    llvm::sort(dims);
    for (int64_t dim = 0; dim < int64_t(permutation.size()); ++dim)
      if (!llvm::is_contained(dims, dim))
        kept.push_back(dim);
    for (int64_t from : permutation)
      if (!llvm::is_contained(dims, from))
        order.push_back(llvm::find(kept, from) - kept.begin());
    Value result = ReduceSumOp::create(builder, sum.getLoc(), original, dims);
    if (!isIdentityPermutation(order))
      result = moving(sum.getLoc(), result, order);
    sum.getResult().replaceAllUsesWith(result);
  }

  //===-- Flattening
  //-----------------------------------------------------------------------------------------------===//

  /// Dimension `dim` of [.., prod(shape), ..] in the order in which `permutation` puts the dimensions it is made of.
  Value reordered(Value value, int64_t dim, ArrayRef<int64_t> shape, ArrayRef<int64_t> permutation) {
    auto flat = shapeOf(value);
    Dims split(flat.take_front(dim)), order = llvm::to_vector(llvm::seq<int64_t>(0, dim));
    split.append(shape.begin(), shape.end());
    split.append(flat.begin() + dim + 1, flat.end());
    for (int64_t part : permutation)
      order.push_back(dim + part);
    llvm::append_range(order, llvm::seq<int64_t>(dim + shape.size(), split.size()));
    Location loc = value.getLoc();
    Value parts = ReshapeOp::create(builder, loc, typeOf(value).clone(split), value);
    Value turned = TransposeOp::create(builder, loc, parts, order);
    return ReshapeOp::create(builder, loc, value.getType(), turned);
  }

  static bool isFlattening(ArrayRef<int64_t> from, ArrayRef<int64_t> to) {
    return from.size() > 2 && to.size() == 2 && from[0] == to[0];
  }
  static bool isPlain(DotGeneralOp dot) {
    return dot.getLhsBatch().empty() && shapeOf(dot.getLhs()).size() == 2 && shapeOf(dot.getRhs()).size() == 2;
  }

  /// A product of flattened activations sums over pixels and channels, or keeps them: in which order is all the same if
  /// the other side, or the result, has them in it too. Those are weights, and small.
  void sinkFlat(DotGeneralOp dot) {
    for (unsigned side : {0u, 1u}) {
      auto flat = dot->getOperand(side).getDefiningOp<ReshapeOp>();
      TransposeOp layout = flat ? layoutOf(flat.getOperand()) : TransposeOp();
      if (!layout || layout.getPermutation()[0] != 0 || !isPlain(dot) || !isFlattening(shapeOf(layout), shapeOf(flat)))
        continue;
      Value original = layout.getOperand();
      Dims logical(shapeOf(layout).drop_front()), order, back; // of the dimensions behind the first
      for (int64_t dim : llvm::drop_begin(invertPermutationVector(layout.getPermutation())))
        order.push_back(dim - 1);
      back = invertPermutationVector(order);
      int64_t contracted = side == 0 ? dot.getLhsContract()[0] : dot.getRhsContract()[0];
      Value operands[2] = {dot.getLhs(), dot.getRhs()};
      operands[side] = ReshapeOp::create(builder, flat.getLoc(), flat.getType(), original);
      if (contracted == 1) {
        int64_t dim = side == 0 ? dot.getRhsContract()[0] : dot.getLhsContract()[0];
        operands[1 - side] = reordered(operands[1 - side], dim, logical, order);
      }
      Value result = DotGeneralOp::create(builder, dot.getLoc(), operands[0], operands[1], dot.getLhsBatch(),
                                          dot.getRhsBatch(), dot.getLhsContract(), dot.getRhsContract());
      if (contracted == 0)
        result = reordered(result, side, applyPermutation(logical, order), back);
      dot.getResult().replaceAllUsesWith(result);
      return;
    }
  }

  /// reshape(dot(x, w)) from [N, K] to [N, C, S...], in another order, as the product with w in that order.
  Value unflattened(ReshapeOp reshape, ArrayRef<int64_t> permutation) {
    auto dot = reshape.getOperand().getDefiningOp<DotGeneralOp>();
    auto shape = shapeOf(reshape);
    if (!dot || permutation[0] != 0 || !isPlain(dot) || !isFlattening(shape, shapeOf(dot)))
      return {};
    Dims order;
    for (int64_t dim : permutation.drop_front())
      order.push_back(dim - 1);
    Value weights = reordered(dot.getRhs(), dot.rhsFree()[0], shape.drop_front(), order);
    auto product = DotGeneralOp::create(builder, dot.getLoc(), dot.getLhs(), weights, dot.getLhsBatch(),
                                        dot.getRhsBatch(), dot.getLhsContract(), dot.getRhsContract());
    return ReshapeOp::create(builder, reshape.getLoc(), typeOf(reshape).clone(applyPermutation(shape, permutation)),
                             product);
  }

  //===-- Blocks
  //---------------------------------------------------------------------------------------------------===//

  /// Arithmetic on blocked weights and what has one value for all of them is done on the blocks.
  void sinkBlocks(Operation *op) {
    if (auto block = dyn_cast<BlockOp>(op))
      return reblock(block, block.getOperand().getDefiningOp<UnblockOp>().getOperand());
    if (!elementwiseOp(op))
      return;
    SmallVector<Value> operands;
    RankedTensorType blocked;
    int64_t size = 0;
    for (Value operand : op->getOperands())
      if (auto unblock = operand.getDefiningOp<UnblockOp>()) {
        blocked = typeOf(unblock.getOperand());
        size = unblock.getSize();
      }
    for (Value operand : op->getOperands()) {
      auto type = blocked.clone(elementOf(operand));
      auto constant = operand.getDefiningOp<ConstantOp>();
      auto broadcast = operand.getDefiningOp<BroadcastOp>();
      if (auto unblock = operand.getDefiningOp<UnblockOp>())
        operands.push_back(unblock.getOperand());
      else if (constant && !isDenseConstant(operand))
        operands.push_back(
            ConstantOp::create(builder, op->getLoc(), cast<DenseElementsAttr>(constant.getValue()).resizeSplat(type)));
      else if (broadcast && broadcast.getDims().empty())
        operands.push_back(
            BroadcastOp::create(builder, op->getLoc(), type, broadcast.getOperand(), ArrayRef<int64_t>()));
      else
        return;
    }
    Operation *copy = builder.clone(*op);
    copy->setOperands(operands);
    Value result = copy->getResult(0);
    result.setType(blocked.clone(elementOf(result)));
    op->getResult(0).replaceAllUsesWith(
        UnblockOp::create(builder, op->getLoc(), op->getResult(0).getType(), onlyChannels(op, result), size));
  }

  /// What was in blocks stays there, or has them turned.
  void reblock(BlockOp op, Value blocked) {
    size_t rank = shapeOf(blocked).size();
    if (op.getTurned() && rank < shapeOf(op.getOperand()).size() + 2)
      return; // the few input channels get blocks only now
    auto order = llvm::to_vector(llvm::seq<int64_t>(0, rank));
    if (op.getTurned()) {
      std::swap(order[rank - 1], order[rank - 2]);
      auto turned = TransposeOp::create(builder, op.getLoc(), blocked, order);
      turned->setAttr("hw.pack", builder.getUnitAttr());
      blocked = turned;
    }
    op.getResult().replaceAllUsesWith(blocked);
  }

  /// `blocked` with zeros where no channels are: the op need not have kept them.
  Value onlyChannels(Operation *op, Value blocked) {
    auto weights = shapeOf(op->getResult(0)), shape = shapeOf(blocked);
    Site site{builder, op->getLoc()};
    Expr value(site, blocked), inside(site);
    auto require = [&](int64_t blockDim, int64_t laneDim, int64_t channels) {
      int64_t size = shape[laneDim];
      if (shape[blockDim] * size == channels)
        return;
      Expr channel = double(size) * indexAlong(value, blockDim) + indexAlong(value, laneDim);
      Expr mask = channel < channel.splat(double(channels));
      inside = inside ? inside & mask : mask;
    };
    int64_t rank = int64_t(shape.size());
    require(0, rank - 1, weights[0]);
    if (shape.size() > weights.size() + 1) // the other layout keeps all of the few input channels together
      require(1, rank - 2, weights[1]);
    return inside ? select(inside, value, Expr(site)).get() : blocked;
  }

  void expand(BlockOp op) {
    Blocking blocking(shapeOf(op.getOperand()), op.getSize(), op.getTurned());
    Value value = op.getOperand();
    Dims none(blocking.padded.size(), 0), missing;
    for (auto [whole, size] : llvm::zip_equal(blocking.padded, shapeOf(value)))
      missing.push_back(whole - size);
    if (ArrayRef(blocking.padded) != shapeOf(value))
      value = PadOp::create(builder, op.getLoc(), value, none, missing, none);
    value = ReshapeOp::create(builder, op.getLoc(), typeOf(value).clone(blocking.split), value);
    op.getResult().replaceAllUsesWith(TransposeOp::create(builder, op.getLoc(), value, blocking.order).getResult());
    op.erase();
  }

  void expand(UnblockOp op) {
    auto shape = shapeOf(op.getResult());
    Blocking blocking(shape, op.getSize(), false);
    Value value = TransposeOp::create(builder, op.getLoc(), op.getOperand(), invertPermutationVector(blocking.order));
    value = ReshapeOp::create(builder, op.getLoc(), typeOf(value).clone(blocking.padded), value);
    if (ArrayRef(blocking.padded) != shape)
      value = SliceOp::create(builder, op.getLoc(), value, Dims(shape.size(), 0), shape, Dims(shape.size(), 1));
    op.getResult().replaceAllUsesWith(value);
    op.erase();
  }

  Block &block;
  Products products;
  const Target &target;
  OpBuilder builder;
};

} // namespace

int64_t hw::backend::weightBlock(const Target &target) { return target.vectorBytes / 4; }

void hw::backend::chooseLayouts(Block &block, Products products, const Target &target) {
  Layouts(block, products, target).run();
}

hw_convolution hw::backend::convolutionOf(ConvolutionOp op) {
  hw_convolution c{};
  c.kind = int32_t(op.getKind());
  // The activations, channels-last: x, then y.
  Value x = c.kind == HW_BACKWARD_DATA ? op.getResult() : op.getFirst();
  Value y = c.kind == HW_FORWARD ? op.getResult() : op.getSecond();
  c.spatial = int32_t(op.getKernel().size());
  c.images = shapeOf(x).front();
  c.channels_in = shapeOf(x).back();
  c.channels_out = shapeOf(y).back();
  for (int32_t dim = 0; dim < c.spatial; ++dim) {
    c.input[dim] = shapeOf(x)[dim + 1];
    c.kernel[dim] = op.getKernel()[dim];
    c.output[dim] = shapeOf(y)[dim + 1];
    c.stride[dim] = op.getStride()[dim];
    c.dilation[dim] = op.getDilation()[dim];
    c.low[dim] = op.getLow()[dim];
    c.high[dim] = op.getHigh()[dim];
  }
  c.block = int32_t(op.getSize());
  c.has_bias = bool(op.getBias());
  c.activation = int32_t(op.getActivation());
  return c;
}

double hw::backend::flopsOf(const hw_convolution &c) {
  double flops = 2.0 * double(c.images) * double(c.channels_in) * double(c.channels_out);
  for (int32_t dim = 0; dim < c.spatial; ++dim)
    flops *= double(c.kernel[dim]) * double(c.output[dim]);
  return flops;
}

std::string hw::backend::titleOf(const hw_convolution &c) {
  static const char *kinds[] = {"convolution", "convolution's input gradient", "convolution's weight gradient"};
  std::string text = kinds[c.kind];
  llvm::raw_string_ostream os(text);
  auto sizes = [&](const int64_t *values) { llvm::interleave(ArrayRef(values, size_t(c.spatial)), os, "x"); };
  os << " " << c.images << "x";
  sizes(c.output);
  os << ", " << c.channels_in << " to " << c.channels_out << " channels, ";
  sizes(c.kernel);
  return text;
}
