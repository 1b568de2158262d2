// hw-simplify: rewrites that are a choice for speed. Before and after of each stand at its pattern; folds that always
// hold are in ir/HwFold.cpp.
//
// A contraction over nothing, or with a vector, is no matrix product: as a multiplication (and a sum) it fuses with its
// neighbours and reads memory once. Transposes become dimension numbers of the contraction that reads or made them.
#include "ir/Expr.h"
#include "ir/Slice.h"
#include "mlir/IR/Dominance.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "passes/Passes.h"

using namespace mlir;
using namespace hw;

namespace {

template <class Op, auto apply> struct Rewrite : OpRewritePattern<Op> {
  using OpRewritePattern<Op>::OpRewritePattern;
  LogicalResult matchAndRewrite(Op op, PatternRewriter &rewriter) const override { return apply(op, rewriter); }
};

int64_t sizeOf(Value value, ArrayRef<int64_t> dims) {
  int64_t size = 1;
  for (int64_t dim : dims)
    size *= shapeOf(value)[dim];
  return size;
}

Value reshaped(OpBuilder &builder, Location loc, Value value, ArrayRef<int64_t> shape) {
  auto type = typeOf(value).clone(shape);
  return type == value.getType() ? value : ReshapeOp::create(builder, loc, type, value).getResult();
}

//===--------------------------------------------------------------------------------------------------------------===//
// Contractions
//===--------------------------------------------------------------------------------------------------------------===//

/// Repeats `value` into `shape`: its dimension kept[i] becomes dimension to[i] of the result; its other dimensions have
/// size 1.
Value spread(OpBuilder &builder, Location loc, Value value, ArrayRef<int64_t> kept, ArrayRef<int64_t> to,
             ArrayRef<int64_t> shape) {
  SmallVector<std::pair<int64_t, int64_t>> order; // (dimension of the result, of the value)
  for (auto [from, dim] : llvm::zip_equal(kept, to))
    order.emplace_back(dim, from);
  llvm::sort(order);
  SmallVector<int64_t> permutation, dims, sizes;
  for (auto [dim, from] : order) {
    permutation.push_back(from);
    dims.push_back(dim);
    sizes.push_back(shapeOf(value)[from]);
  }
  for (int64_t dim = 0; dim < typeOf(value).getRank(); ++dim)
    if (!llvm::is_contained(kept, dim))
      permutation.push_back(dim);
  if (!llvm::is_sorted(permutation))
    value = TransposeOp::create(builder, loc, value, permutation);
  value = reshaped(builder, loc, value, sizes);
  auto type = typeOf(value).clone(shape);
  return type == value.getType() ? value : BroadcastOp::create(builder, loc, type, value, dims).getResult();
}

/// dot_general with one contracted element: a multiplication of both, repeated to the result's shape.
LogicalResult outerProduct(DotGeneralOp op, PatternRewriter &rewriter) {
  if (sizeOf(op.getLhs(), op.getLhsContract()) != 1)
    return failure();
  int64_t batches = op.getLhsBatch().size(), lefts = op.lhsFree().size();
  auto side = [&](Value value, ArrayRef<int64_t> batch, ArrayRef<int64_t> free, int64_t first) {
    SmallVector<int64_t> kept(batch), to = llvm::to_vector(llvm::seq<int64_t>(0, batches));
    kept.append(free.begin(), free.end());
    llvm::append_range(to, llvm::seq<int64_t>(first, first + free.size()));
    return spread(rewriter, op.getLoc(), value, kept, to, shapeOf(op.getResult()));
  };
  Value left = side(op.getLhs(), op.getLhsBatch(), op.lhsFree(), batches);
  Value right = side(op.getRhs(), op.getRhsBatch(), op.rhsFree(), batches + lefts);
  rewriter.replaceOpWithNewOp<MulOp>(op, op.getType(), left, right);
  return success();
}

/// dot_general where one side is a vector (a batch): a multiplication in the other's shape and a sum over the
/// contracted dimensions.
LogicalResult vectorProduct(DotGeneralOp op, PatternRewriter &rewriter) {
  bool rightIsVector = sizeOf(op.getRhs(), op.rhsFree()) == 1, leftIsVector = sizeOf(op.getLhs(), op.lhsFree()) == 1;
  if (!leftIsVector && !rightIsVector)
    return failure();
  Value matrix = rightIsVector ? op.getLhs() : op.getRhs(), vector = rightIsVector ? op.getRhs() : op.getLhs();
  ArrayRef<int64_t> matrixBatch = rightIsVector ? op.getLhsBatch() : op.getRhsBatch();
  ArrayRef<int64_t> vectorBatch = rightIsVector ? op.getRhsBatch() : op.getLhsBatch();
  ArrayRef<int64_t> matrixContract = rightIsVector ? op.getLhsContract() : op.getRhsContract();
  ArrayRef<int64_t> vectorContract = rightIsVector ? op.getRhsContract() : op.getLhsContract();
  SmallVector<int64_t> kept(vectorBatch), to(matrixBatch);
  llvm::append_range(kept, vectorContract);
  llvm::append_range(to, matrixContract);
  Value repeated = spread(rewriter, op.getLoc(), vector, kept, to, shapeOf(matrix));
  Value product = MulOp::create(rewriter, op.getLoc(), matrix.getType(), matrix, repeated);
  SmallVector<int64_t> summed(matrixContract);
  llvm::sort(summed);
  Value sum = summed.empty() ? product : ReduceSumOp::create(rewriter, op.getLoc(), product, summed).getResult();
  // What is left stands in the matrix's order: bring the batch dimensions to the front.
  SmallVector<int64_t> permutation, rest = rightIsVector ? op.lhsFree() : op.rhsFree();
  auto position = [&](int64_t dim) { return dim - llvm::count_if(summed, [&](int64_t gone) { return gone < dim; }); };
  for (int64_t dim : matrixBatch)
    permutation.push_back(position(dim));
  for (int64_t dim : rest)
    permutation.push_back(position(dim));
  if (!llvm::is_sorted(permutation))
    sum = TransposeOp::create(rewriter, op.getLoc(), sum, permutation);
  rewriter.replaceOp(op, reshaped(rewriter, op.getLoc(), sum, shapeOf(op.getResult())));
  return success();
}

/// dot_general(transpose(x), y) reads x itself, if that leaves the order of its free dimensions.
LogicalResult absorbTranspose(DotGeneralOp op, PatternRewriter &rewriter) {
  auto source = [](Value value, ArrayRef<int64_t> batch, ArrayRef<int64_t> free, ArrayRef<int64_t> contract,
                   SmallVector<int64_t> &newBatch, SmallVector<int64_t> &newContract) -> Value {
    auto transpose = value.getDefiningOp<TransposeOp>();
    auto moved = [&](ArrayRef<int64_t> dims) {
      return llvm::map_to_vector(dims, [&](int64_t dim) { return transpose ? transpose.getPermutation()[dim] : dim; });
    };
    if (transpose && !llvm::is_sorted(moved(free)))
      transpose = nullptr;
    newBatch = moved(batch);
    newContract = moved(contract);
    return transpose ? transpose.getOperand() : Value();
  };
  SmallVector<int64_t> lhsBatch, rhsBatch, lhsContract, rhsContract;
  Value lhs = source(op.getLhs(), op.getLhsBatch(), op.lhsFree(), op.getLhsContract(), lhsBatch, lhsContract);
  Value rhs = source(op.getRhs(), op.getRhsBatch(), op.rhsFree(), op.getRhsContract(), rhsBatch, rhsContract);
  if (!lhs && !rhs)
    return failure();
  rewriter.replaceOpWithNewOp<DotGeneralOp>(op, lhs ? lhs : op.getLhs(), rhs ? rhs : op.getRhs(), lhsBatch, rhsBatch,
                                            lhsContract, rhsContract);
  return success();
}

/// transpose(dot_general(x, y)) that puts y's free dimensions before x's is dot_general(y, x).
LogicalResult swapFactors(TransposeOp op, PatternRewriter &rewriter) {
  auto dot = op.getOperand().getDefiningOp<DotGeneralOp>();
  if (!dot || !dot->hasOneUse())
    return failure();
  int64_t batches = dot.getLhsBatch().size(), lefts = dot.lhsFree().size(), rights = dot.rhsFree().size();
  SmallVector<int64_t> swapped = llvm::to_vector(llvm::seq<int64_t>(0, batches));
  llvm::append_range(swapped, llvm::seq<int64_t>(batches + lefts, batches + lefts + rights));
  llvm::append_range(swapped, llvm::seq<int64_t>(batches, batches + lefts));
  if (op.getPermutation() != ArrayRef(swapped))
    return failure();
  rewriter.replaceOpWithNewOp<DotGeneralOp>(op, dot.getRhs(), dot.getLhs(), dot.getRhsBatch(), dot.getLhsBatch(),
                                            dot.getRhsContract(), dot.getLhsContract());
  return success();
}

//===--------------------------------------------------------------------------------------------------------------===//
// Elementwise
//===--------------------------------------------------------------------------------------------------------------===//

bool isSplat(Value value) {
  auto constant = value.getDefiningOp<ConstantOp>();
  auto elements = constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : nullptr;
  return elements && elements.isSplat();
}

/// f(move(x), move(y), splats) = move(f(x, y, splats)) for a broadcast (less arithmetic) or a reshape (out of the way
/// of fusion).
template <class Move> LogicalResult moveDown(Operation *op, PatternRewriter &rewriter) {
  Move first;
  for (Value operand : op->getOperands()) {
    auto move = operand.getDefiningOp<Move>();
    if (!move && isSplat(operand))
      continue;
    if (!move || (first && (shapeOf(move.getOperand()) != shapeOf(first.getOperand()))))
      return failure();
    if constexpr (std::is_same_v<Move, BroadcastOp>)
      if (first && move.getDims() != first.getDims())
        return failure();
    first = first ? first : move;
  }
  if (!first)
    return failure();
  auto shape = shapeOf(first.getOperand());
  SmallVector<Value> operands;
  for (Value operand : op->getOperands()) {
    if (auto move = operand.getDefiningOp<Move>()) {
      operands.push_back(move.getOperand());
      continue;
    }
    auto elements = cast<DenseElementsAttr>(operand.getDefiningOp<ConstantOp>().getValue());
    auto type = typeOf(operand).clone(shape);
    operands.push_back(ConstantOp::create(rewriter, op->getLoc(), type, elements.resizeSplat(type)));
  }
  OperationState state(op->getLoc(), op->getName(), operands, typeOf(op->getResult(0)).clone(shape), op->getAttrs());
  Operation *moved = rewriter.create(state);
  if constexpr (std::is_same_v<Move, BroadcastOp>)
    rewriter.replaceOpWithNewOp<BroadcastOp>(op, op->getResult(0).getType(), moved->getResult(0), first.getDims());
  else
    rewriter.replaceOpWithNewOp<ReshapeOp>(op, op->getResult(0).getType(), moved->getResult(0));
  return success();
}

struct MoveDown : RewritePattern {
  explicit MoveDown(MLIRContext *context) : RewritePattern(MatchAnyOpTypeTag(), 1, context) {}
  LogicalResult matchAndRewrite(Operation *op, PatternRewriter &rewriter) const override {
    if (!op->hasTrait<OpTrait::Elementwise>() || !isa_and_nonnull<HwDialect>(op->getDialect()))
      return failure();
    return success(succeeded(moveDown<BroadcastOp>(op, rewriter)) || succeeded(moveDown<ReshapeOp>(op, rewriter)));
  }
};

/// Numbers are f64, and what is made of them alone too, until they meet f32. Where they are only made, chosen or
/// counted the f64 need not be.
LogicalResult narrowAtSource(CastOp op, PatternRewriter &rewriter) {
  if (!elementOf(op.getResult()).isF32() || !elementOf(op.getOperand()).isF64())
    return failure();
  Operation *source = op.getOperand().getDefiningOp();
  if (!source)
    return failure();
  auto narrow = [&](Value value) -> Value { return rewriter.createOrFold<CastOp>(op.getLoc(), op.getType(), value); };
  if (auto iota = llvm::dyn_cast<IotaOp>(source)) {
    rewriter.replaceOpWithNewOp<IotaOp>(op, op.getType(), iota.getDim());
    return success();
  }
  if (auto whole = llvm::dyn_cast<CastOp>(source); whole && !llvm::isa<FloatType>(elementOf(whole.getOperand()))) {
    rewriter.replaceOp(op, narrow(whole.getOperand()));
    return success();
  }
  if (auto select = llvm::dyn_cast<SelectOp>(source); select && select->hasOneUse()) {
    rewriter.replaceOpWithNewOp<SelectOp>(op, op.getType(), select.getMask(), narrow(select.getOnTrue()),
                                          narrow(select.getOnFalse()));
    return success();
  }
  return failure();
}

/// x > c where there is max(x, c): max(x, c) > c, so that x need not be kept. (NaN: false either way.)
LogicalResult compareMaximum(CompareOp op, PatternRewriter &rewriter) {
  if (op.getPredicate() != "gt" || op.getLhs().getDefiningOp<MaxOp>())
    return failure();
  for (Operation *user : op.getLhs().getUsers()) {
    auto maximum = dyn_cast<MaxOp>(user);
    if (!maximum || maximum->getBlock() != op->getBlock() || maximum.getLhs() != op.getLhs() ||
        maximum.getRhs() != op.getRhs())
      continue;
    if (!maximum->isBeforeInBlock(op))
      continue;
    rewriter.modifyOpInPlace(op, [&] { op.getLhsMutable().assign(maximum.getResult()); });
    return success();
  }
  return failure();
}

/// sum(reshape(x)) where the reshape only adds or drops dimensions of size 1: a sum over x's own dimensions.
LogicalResult sumOfReshape(ReduceSumOp op, PatternRewriter &rewriter) {
  auto reshape = op.getOperand().getDefiningOp<ReshapeOp>();
  if (!reshape)
    return failure();
  auto in = shapeOf(reshape.getOperand()), out = shapeOf(op.getOperand());
  SmallVector<int64_t> summed;
  size_t j = 0;
  for (size_t i = 0; i < in.size(); ++i) {
    if (in[i] == 1)
      continue;
    while (j < out.size() && out[j] == 1)
      ++j;
    if (j == out.size() || out[j] != in[i])
      return failure();
    if (llvm::is_contained(op.getDims(), int64_t(j)))
      summed.push_back(i);
    ++j;
  }
  for (; j < out.size(); ++j)
    if (out[j] != 1)
      return failure();
  Value sum = rewriter.createOrFold<ReduceSumOp>(op.getLoc(), reshape.getOperand(), summed);
  rewriter.replaceOp(op, reshaped(rewriter, op.getLoc(), sum, shapeOf(op.getResult())));
  return success();
}

//===--------------------------------------------------------------------------------------------------------------===//
// Evaluations over the same batches
//===--------------------------------------------------------------------------------------------------------------===//

/// Two study.batches of a block over the same rows, neither computed from the other, become one where the first stood,
/// so that what they share (a loss's forward pass and its gradient's) is computed once. The pure ops that the second
/// reads move before it.
bool mergeBatches(study::BatchesOp first, study::BatchesOp second) {
  if (first.getRows() != second.getRows() || first.getBatch() != second.getBatch() || !isMemoryEffectFree(first) ||
      !isMemoryEffectFree(second))
    return false;
  Block *block = first->getBlock();
  llvm::SetVector<Operation *> moves;
  auto isThere = [&](Value value) {
    Operation *op = value.getParentBlock() == block ? value.getDefiningOp() : nullptr;
    return !op || op->isBeforeInBlock(first) || moves.contains(op);
  };
  llvm::SetVector<Value> inputs = inputsOf(second);
  for (Operation *op : flowInto(inputs.getArrayRef())) {
    if (op->getBlock() != block || op->isBeforeInBlock(first))
      continue;
    if (!isPure(op) || !llvm::all_of(inputsOf(op), isThere))
      return false;
    moves.insert(op);
  }
  if (!llvm::all_of(inputs, isThere))
    return false;
  for (Operation *op : moves)
    op->moveBefore(first);

  OpBuilder builder(first);
  SmallVector<Type> types(first.getResultTypes());
  llvm::append_range(types, second.getResultTypes());
  SmallVector<Attribute> combine(first.getCombine().begin(), first.getCombine().end());
  llvm::append_range(combine, second.getCombine());
  auto merged = study::BatchesOp::create(builder, builder.getFusedLoc({first.getLoc(), second.getLoc()}), types,
                                         first.getRowsAttr(), first.getBatchAttr(), builder.getArrayAttr(combine));
  for (auto [one, two, to] : llvm::zip(first->getRegions(), second->getRegions(), merged->getRegions())) {
    if (one.empty())
      continue;
    to.takeBody(one);
    Block &body = to.front(), &other = two.front();
    SmallVector<Value> yields(body.getTerminator()->getOperands());
    llvm::append_range(yields, other.getTerminator()->getOperands());
    for (auto [mine, theirs] : llvm::zip_equal(body.getArguments(), other.getArguments()))
      theirs.replaceAllUsesWith(mine);
    for (Value &value : yields)
      if (auto argument = dyn_cast<BlockArgument>(value); argument && argument.getOwner() == &other)
        value = body.getArgument(argument.getArgNumber());
    Operation *yield = body.getTerminator();
    other.getTerminator()->erase();
    body.getOperations().splice(yield->getIterator(), other.getOperations());
    yield->setOperands(yields);
  }
  first->replaceAllUsesWith(merged->getResults().take_front(first.getNumResults()));
  second->replaceAllUsesWith(merged->getResults().drop_front(first.getNumResults()));
  first->erase();
  second->erase();
  return true;
}

void mergeBatches(Operation *root) {
  root->walk([](Block *block) {
    for (bool changed = true; changed;) {
      changed = false;
      SmallVector<study::BatchesOp> all(block->getOps<study::BatchesOp>());
      for (size_t i = 0; i < all.size() && !changed; ++i)
        for (size_t j = i + 1; j < all.size() && !changed; ++j)
          changed = mergeBatches(all[i], all[j]);
    }
  });
}

struct Simplify : PassWrapper<Simplify, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(Simplify)
  StringRef getArgument() const final { return "hw-simplify"; }
  StringRef getDescription() const final {
    return "Put contractions and elementwise ops into the shape that fuses best";
  }

  void runOnOperation() final {
    mergeBatches(getOperation());
    RewritePatternSet patterns(&getContext());
    patterns.add<Rewrite<DotGeneralOp, absorbTranspose>, Rewrite<TransposeOp, swapFactors>>(&getContext(),
                                                                                            /*benefit=*/3);
    patterns.add<Rewrite<DotGeneralOp, outerProduct>>(&getContext(), /*benefit=*/2);
    patterns.add<Rewrite<DotGeneralOp, vectorProduct>, Rewrite<CastOp, narrowAtSource>,
                 Rewrite<CompareOp, compareMaximum>, Rewrite<ReduceSumOp, sumOfReshape>, MoveDown>(&getContext());
    for (RegisteredOperationName name : getContext().getRegisteredOperations())
      if (isa<HwDialect>(name.getDialect()))
        name.getCanonicalizationPatterns(patterns, &getContext());
    GreedyRewriteConfig config;
    config.setRegionSimplificationLevel(GreedySimplifyRegionLevel::Disabled);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns), config)))
      signalPassFailure();
  }
};

} // namespace

std::unique_ptr<Pass> hw::createSimplifyPass() { return std::make_unique<Simplify>(); }
