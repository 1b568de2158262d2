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
// Weights of a product with flattened activations lie in the order of these. What reads or makes weights in a layout
// stands behind a `to_layout` or before a `from_layout`; a `from_layout` moves down through arithmetic until it meets a
// `to_layout` and both go. What is left becomes copies.
#include "backend/graph/Layouts.h"
#include "backend/Cost.h"
#include "backend/graph/Epilogue.h"
#include "backend/graph/Rewrite.h"
#include "backend/graph/View.h"
#include "backend/steps/Elementwise.h"
#include "ir/Expr.h"
#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "mlir/IR/Dominance.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/CSE.h"
#include "runtime/Abi.h"

using namespace mlir;
using namespace hw;
using namespace hw::backend;

namespace {

using Dims = SmallVector<int64_t>;

/// The transposition that makes the value if it is there for channels to come last, and is to move; or null.
TransposeOp movingOf(Value value) {
  auto transpose = value.getDefiningOp<TransposeOp>();
  return transpose && transpose->hasAttr("hw.moving") ? transpose : TransposeOp();
}

bool isFlattening(ArrayRef<int64_t> from, ArrayRef<int64_t> to) {
  return from.size() > 2 && to.size() == 2 && from[0] == to[0];
}
bool isPlain(DotGeneralOp dot) {
  return dot.getLhsContract().size() == 1 && dot.getLhsBatch().empty() && shapeOf(dot.getLhs()).size() == 2 &&
         shapeOf(dot.getRhs()).size() == 2;
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
      if (auto to = dyn_cast<ToLayoutOp>(op))
        expand(to);
      else if (auto from = dyn_cast<FromLayoutOp>(op))
        expand(from);
    }
    IRRewriter rewriter(builder.getContext());
    DominanceInfo dominance;
    eliminateCommonSubExpressions(rewriter, dominance, block.getParentOp());
  }

private:
  //===-- Convolutions --------------------------------------------------------------------------------------------===//

  int64_t blockSize() const { return weightBlock(target); }
  LayoutAttr blocks(Value weights, bool turned) {
    return blockLayout(builder.getContext(), shapeOf(weights), blockSize(), turned);
  }

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
    Value weights = ToLayoutOp::create(builder, op.getLoc(), op.getWeights(), blocks(op.getWeights(), false));
    replaceByLast(
        op, call(op, lastType(op.getType()), toLast(op.getInput()), weights, shapeOf(op.getWeights())).getResult());
  }
  void convolve(ConvBackwardDataOp op) {
    Value weights = ToLayoutOp::create(builder, op.getLoc(), op.getWeights(), blocks(op.getWeights(), true));
    replaceByLast(
        op, call(op, lastType(op.getType()), weights, toLast(op.getOutput()), shapeOf(op.getWeights())).getResult());
  }
  void convolve(ConvBackwardWeightsOp op) {
    LayoutAttr layout = blocks(op.getWeights(), false);
    Value gradient = call(op, typeOf(op.getWeights()).clone(layout.shape()), toLast(op.getInput()),
                          toLast(op.getOutput()), shapeOf(op.getWeights()))
                         .getResult();
    op.getResult().replaceAllUsesWith(
        FromLayoutOp::create(builder, op.getLoc(), op.getType(), gradient, layout).getResult());
    op->erase();
  }

  /// A bias, and tanh or logistic, are added by oneDNN. relu is not: oneDNN's may turn NaN into 0, so that a ruined
  /// network would go on with zeros. Ours rides in the loop that reads it next, pooling as a rule.
  void absorb(ConvolutionOp op) {
    if (op.getKind() != HW_FORWARD)
      return;
    Epilogue pattern = matchEpilogue(op.getResult());
    if (pattern.result == op.getResult())
      return;
    if (pattern.bias)
      op.getBiasMutable().assign(pattern.bias);
    op.setActivation(pattern.activation);
    op->moveBefore(pattern.result.getDefiningOp());
    pattern.result.replaceAllUsesWith(op.getResult());
  }

  //===-- Transpositions ------------------------------------------------------------------------------------------===//

  Value moving(Location loc, Value value, ArrayRef<int64_t> permutation) {
    auto transpose = TransposeOp::create(builder, loc, value, permutation);
    transpose->setAttr("hw.moving", builder.getUnitAttr());
    return transpose;
  }

  /// The value with dimension permutation[i] as its dimension i, at no cost where that can be had.
  Value ordered(Value value, ArrayRef<int64_t> permutation) {
    if (isIdentityPermutation(permutation))
      return value;
    Location loc = value.getLoc();
    Dims shape = applyPermutation(shapeOf(value), permutation);
    auto type = typeOf(value).clone(shape);
    if (TransposeOp before = movingOf(value))
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
      auto weights =
          llvm::find_if(op.getOperands(), [](Value operand) { return bool(operand.getDefiningOp<FromLayoutOp>()); });
      auto activations = llvm::find_if(op.getOperands(), [](Value operand) { return bool(movingOf(operand)); });
      if (auto dot = dyn_cast<DotGeneralOp>(op))
        sinkFlat(dot);
      else if (auto to = dyn_cast<ToLayoutOp>(op))
        to.getResult().replaceAllUsesWith(inLayout(to.getOperand(), to.getLayout()));
      else if (weights != op.operand_end())
        sinkStored(&op, (*weights).getDefiningOp<FromLayoutOp>().getLayout());
      else if (activations != op.operand_end())
        sinkThrough(&op, movingOf(*activations).getPermutation());
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
    Value original = movingOf(sum.getOperand()).getOperand();
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

  //===-- Flattening ----------------------------------------------------------------------------------------------===//

  /// A product of flattened activations sums over pixels and channels, or keeps them: in which order is all the same if
  /// the other side, or the result, has them in it too. Those are weights, and small.
  void sinkFlat(DotGeneralOp dot) {
    for (unsigned side : {0u, 1u}) {
      Value activations = flattenedIn(dot, side);
      TransposeOp transpose = activations ? movingOf(activations) : TransposeOp();
      if (!transpose || transpose.getPermutation()[0] != 0)
        continue;
      Location loc = dot.getLoc();
      Dims permutation = invertPermutationVector(transpose.getPermutation());
      auto layoutOfWeights = [&](Value weights, int64_t dim) {
        return flatLayout(builder.getContext(), shapeOf(weights), dim, shapeOf(activations), permutation);
      };
      Value operands[2] = {dot.getLhs(), dot.getRhs()};
      operands[side] = ReshapeOp::create(builder, loc, operands[side].getType(), transpose.getOperand());
      int64_t contract[2] = {dot.getLhsContract()[0], dot.getRhsContract()[0]};
      if (contract[side] == 1) {
        Value &weights = operands[1 - side];
        weights = flatInLayout(weights, layoutOfWeights(weights, contract[1 - side]));
      }
      Value result = DotGeneralOp::create(builder, loc, operands[0], operands[1], dot.getLhsBatch(), dot.getRhsBatch(),
                                          dot.getLhsContract(), dot.getRhsContract());
      if (contract[side] == 0) { // pixels and channels are kept: it is the gradient in the weights
        LayoutAttr layout = layoutOfWeights(result, side);
        result = ReshapeOp::create(builder, loc, typeOf(result).clone(layout.shape()), result);
        result = FromLayoutOp::create(builder, loc, dot.getType(), result, layout);
      }
      dot.getResult().replaceAllUsesWith(result);
      return;
    }
  }

  /// reshape(dot(x, w)) from [N, K] to [N, C, S...], in another order, as the product with w in that order. All who
  /// read it read that: there is one product.
  Value unflattened(ReshapeOp reshape, ArrayRef<int64_t> permutation) {
    auto dot = reshape.getOperand().getDefiningOp<DotGeneralOp>();
    auto shape = shapeOf(reshape);
    if (!dot || permutation[0] != 0 || !isPlain(dot) || !isFlattening(shape, shapeOf(dot)))
      return {};
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPoint(reshape);
    Value weights = dot.getRhs();
    weights =
        flatInLayout(weights, flatLayout(builder.getContext(), shapeOf(weights), dot.rhsFree()[0], shape, permutation));
    Value product = DotGeneralOp::create(builder, dot.getLoc(), dot.getLhs(), weights, dot.getLhsBatch(),
                                         dot.getRhsBatch(), dot.getLhsContract(), dot.getRhsContract());
    auto type = typeOf(reshape).clone(applyPermutation(shape, permutation));
    Value result = ReshapeOp::create(builder, reshape.getLoc(), type, product);
    reshape.getResult().replaceAllUsesWith(moving(reshape.getLoc(), result, invertPermutationVector(permutation)));
    return result;
  }

  /// A product's weights in the layout, as a matrix again.
  Value flatInLayout(Value weights, LayoutAttr layout) {
    return ReshapeOp::create(builder, weights.getLoc(), weights.getType(), inLayout(weights, layout));
  }

  //===-- Weights -------------------------------------------------------------------------------------------------===//

  /// The tensor as the layout stores it, out of how it is stored already if that can be.
  Value inLayout(Value tensor, LayoutAttr layout) {
    auto from = tensor.getDefiningOp<FromLayoutOp>();
    LayoutAttr before = from ? from.getLayout() : LayoutAttr();
    if (before == layout)
      return from.getOperand();
    if (!before || before.getPadded() != layout.getPadded() || before.getSplit() != layout.getSplit())
      return ToLayoutOp::create(builder, tensor.getLoc(), tensor, layout);
    Dims order = applyPermutation(invertPermutationVector(before.getOrder()), layout.getOrder());
    auto turned = TransposeOp::create(builder, tensor.getLoc(), from.getOperand(), order);
    turned->setAttr("hw.pack", builder.getUnitAttr());
    return turned;
  }

  /// Arithmetic on tensors that are stored in one layout, and what has one value for all of them, is done on what is
  /// stored.
  void sinkStored(Operation *op, LayoutAttr layout) {
    if (!elementwiseOp(op))
      return;
    SmallVector<Value> operands;
    for (Value operand : op->getOperands()) {
      auto from = operand.getDefiningOp<FromLayoutOp>();
      if (from && from.getLayout() == layout)
        operands.push_back(from.getOperand());
      else if (Value same = uniform(builder, operand, layout.shape()))
        operands.push_back(same);
      else
        return;
    }
    Operation *copy = builder.clone(*op);
    copy->setOperands(operands);
    Value tensor = op->getResult(0), result = copy->getResult(0);
    result.setType(typeOf(tensor).clone(layout.shape()));
    tensor.replaceAllUsesWith(FromLayoutOp::create(builder, op->getLoc(), tensor.getType(),
                                                   filledUp(result, shapeOf(tensor), layout), layout));
  }

  /// What is stored of a tensor of this shape, filled up with zeros: the op that computed it need not have kept them.
  Value filledUp(Value stored, ArrayRef<int64_t> shape, LayoutAttr layout) {
    Site site{builder, stored.getLoc()};
    Expr value(site, stored), inside(site);
    Dims place = invertPermutationVector(layout.getOrder());
    for (auto [size, padded, parts] : llvm::zip_equal(shape, layout.getPadded(), layout.parts())) {
      if (size == padded)
        continue;
      Expr index(site);
      for (int64_t part : parts)
        index = double(layout.getSplit()[part]) * index + indexAlong(value, place[part]);
      Expr mask = index < index.splat(double(size));
      inside = inside ? inside & mask : mask;
    }
    return inside ? select(inside, value, Expr(site)).get() : stored;
  }

  void expand(ToLayoutOp op) {
    LayoutAttr layout = op.getLayout();
    Value value = op.getOperand();
    Dims none(layout.getPadded().size(), 0), missing;
    for (auto [whole, size] : llvm::zip_equal(layout.getPadded(), shapeOf(value)))
      missing.push_back(whole - size);
    if (layout.getPadded() != shapeOf(value))
      value = PadOp::create(builder, op.getLoc(), value, none, missing, none);
    value = ReshapeOp::create(builder, op.getLoc(), typeOf(value).clone(layout.getSplit()), value);
    op.getResult().replaceAllUsesWith(TransposeOp::create(builder, op.getLoc(), value, layout.getOrder()).getResult());
    op.erase();
  }

  void expand(FromLayoutOp op) {
    LayoutAttr layout = op.getLayout();
    auto shape = shapeOf(op.getResult());
    Value value =
        TransposeOp::create(builder, op.getLoc(), op.getOperand(), invertPermutationVector(layout.getOrder()));
    value = ReshapeOp::create(builder, op.getLoc(), typeOf(value).clone(layout.getPadded()), value);
    if (layout.getPadded() != shape)
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

LayoutAttr hw::backend::blockLayout(MLIRContext *context, ArrayRef<int64_t> weights, int64_t size, bool turned) {
  auto blocks = [&](int64_t channels) { return (channels + size - 1) / size; };
  Dims padded(weights), split{blocks(weights[0]), size}, order{0};
  if (weights[1] <= 3 && !turned) { // the input channels stay together
    split.push_back(weights[1]);
  } else {
    split.append({blocks(weights[1]), size});
    order.push_back(2);
    padded[1] = split[2] * size;
  }
  padded[0] = split[0] * size;
  int64_t out = 1, in = int64_t(split.size()) - 1; // the dimensions within a block
  split.append(weights.begin() + 2, weights.end());
  llvm::append_range(order, llvm::seq<int64_t>(in + 1, split.size()));
  if (turned)
    std::swap(in, out);
  order.append({in, out});
  return LayoutAttr::get(context, padded, split, order);
}

LayoutAttr hw::backend::flatLayout(MLIRContext *context, ArrayRef<int64_t> weights, int64_t dim,
                                   ArrayRef<int64_t> activations, ArrayRef<int64_t> permutation) {
  Dims split(weights.take_front(dim)), order = llvm::to_vector(llvm::seq<int64_t>(0, dim));
  llvm::append_range(split, activations.drop_front());
  int64_t rest = int64_t(split.size());
  llvm::append_range(split, weights.drop_front(dim + 1));
  for (int64_t part : permutation.drop_front())
    order.push_back(dim + part - 1);
  llvm::append_range(order, llvm::seq<int64_t>(rest, split.size()));
  return LayoutAttr::get(context, weights, split, order);
}

Dims hw::backend::channelsLast(int64_t rank) {
  Dims result{0};
  llvm::append_range(result, llvm::seq<int64_t>(2, rank));
  result.push_back(1);
  return result;
}

Value hw::backend::flattenedIn(DotGeneralOp dot, unsigned side) {
  auto flat = dot->getOperand(side).getDefiningOp<ReshapeOp>();
  bool isFlat = flat && isPlain(dot) && isFlattening(shapeOf(flat.getOperand()), shapeOf(flat));
  return isFlat ? flat.getOperand() : Value();
}

void hw::backend::chooseLayouts(Block &block, Products products, const Target &target) {
  Layouts(block, products, target).run();
}
