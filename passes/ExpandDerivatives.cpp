// hw-expand-derivatives: grad, vjp and jvp become ordinary ops, placed where the derivative op stands.
//
//   before:  %g = hw.grad %loss wrt %w
//   after:   ops that compute the gradient from what the primal computed
//
// jvp pushes tangents along the ops between `wrt` and `of` (Linearize.cpp). vjp does so with placeholders for the
// tangents, transposes the linear ops that this leaves (Transpose.cpp), last first, and erases them. Derivatives are
// expanded in program order, so those that another differentiates are ordinary ops by then. study.batches is
// differentiated by differentiating its regions; study.train cuts the flow; any other op that a tangent reaches is an
// error.
#include "ir/Expr.h"
#include "ir/Slice.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"
#include "passes/Passes.h"

using namespace mlir;
using namespace hw;

namespace {

Value zeroOf(OpBuilder &builder, Location loc, Type type) { return ConstantOp::splat(builder, loc, type, 0); }

/// Stands for a tangent that is not known yet, while linear ops are built for their transposition.
Value placeholder(OpBuilder &builder, Location loc, Type type) {
  return UnrealizedConversionCastOp::create(builder, loc, TypeRange{type}, ValueRange{}).getResult(0);
}

/// The op's regions as those of a new study.batches with other results. `yields[r]` are what region r is to yield.
study::BatchesOp replaceBatches(OpBuilder &builder, study::BatchesOp op, TypeRange types,
                                ArrayRef<SmallVector<Value>> yields, ArrayRef<Attribute> combine) {
  auto result = study::BatchesOp::create(builder, op.getLoc(), types, op.getRowsAttr(), op.getBatchAttr(),
                                         builder.getArrayAttr(combine));
  for (auto [from, to, values] : llvm::zip(op->getRegions(), result->getRegions(), yields)) {
    if (from.empty())
      continue;
    to.takeBody(from);
    to.front().getTerminator()->setOperands(values);
  }
  return result;
}

/// Pushes tangents forward. The ops it builds go to the builder's insertion point.
class Pushforward {
public:
  Pushforward(OpBuilder &builder, Operation *derivative) : builder(builder), derivative(derivative) {}

  /// Values that count as constant: no tangent reaches them but what they are seeded with.
  void hold(ValueRange values) { held.insert(values.begin(), values.end()); }
  /// Adds to the tangent of a value; a value that is computed from another with a tangent gets the sum of both.
  void seed(Value value, Value tangent) { accumulate(value, tangent); }
  /// The tangent of a value, or null where it is zero.
  Value of(Value value) const { return tangents.lookup(value); }

  LogicalResult visit(Operation *op) {
    auto inputs = inputsOf(op);
    if (llvm::none_of(inputs, [&](Value input) { return of(input); }))
      return success();
    if (auto batches = dyn_cast<study::BatchesOp>(op))
      return visitBatches(batches);
    if (op->hasTrait<OpTrait::IsTerminator>())
      return success();
    auto rule = dyn_cast<LinearizeOpInterface>(op);
    if (!rule)
      return refuse(op);
    SmallVector<Value> given = llvm::map_to_vector(op->getOperands(), [&](Value operand) { return of(operand); }),
                       results;
    if (failed(rule.linearize(builder, given, results)))
      return refuse(op);
    for (auto [result, tangent] : llvm::zip_equal(op->getResults(), results))
      if (tangent)
        add(result, tangent);
    return success();
  }

private:
  void add(Value value, Value tangent) {
    if (!held.contains(value))
      accumulate(value, tangent);
  }
  void accumulate(Value value, Value tangent) {
    Value &slot = tangents[value];
    slot = slot ? AddOp::create(builder, tangent.getLoc(), slot, tangent) : tangent;
  }

  LogicalResult refuse(Operation *op) {
    InFlightDiagnostic error = op->emitError();
    if (isa<study::ForOp>(op))
      error << "cannot differentiate through a loop that runs at run time; a loop over a literal list is unrolled, and "
               "can be";
    else
      error << "cannot differentiate through '" << op->getName() << "'";
    error.attachNote(derivative->getLoc()) << "for this derivative";
    return error;
  }

  /// The regions are repeated with the tangents of what they yield in its place: mean and concat are linear.
  LogicalResult visitBatches(study::BatchesOp op) {
    auto copy = cast<study::BatchesOp>(builder.clone(*op));
    SmallVector<SmallVector<Value>> all;
    for (Region &region : copy->getRegions()) {
      if (region.empty())
        continue;
      OpBuilder::InsertionGuard guard(builder);
      Operation *yield = region.front().getTerminator();
      builder.setInsertionPoint(yield);
      for (Operation *inner : llvm::map_to_vector(region.front().without_terminator(), [](Operation &o) { return &o; }))
        if (failed(visit(inner)))
          return failure();
      all.push_back(llvm::map_to_vector(yield->getOperands(), [&](Value value) { return of(value); }));
    }
    SmallVector<unsigned> active;
    for (unsigned i = 0; i < op.getNumResults(); ++i)
      if (llvm::any_of(all, [&](auto &region) { return bool(region[i]); }))
        active.push_back(i);
    if (active.empty()) {
      copy->erase();
      return success();
    }
    SmallVector<SmallVector<Value>> yields(copy->getNumRegions());
    SmallVector<Attribute> combine;
    SmallVector<Type> types;
    for (unsigned i : active) {
      combine.push_back(op.getCombine()[i]);
      types.push_back(op.getResult(i).getType());
    }
    for (auto [r, region] : llvm::enumerate(all)) {
      Operation *yield = copy->getRegion(r).front().getTerminator();
      OpBuilder inner(yield);
      for (unsigned i : active)
        yields[r].push_back(region[i] ? region[i] : zeroOf(inner, op.getLoc(), yield->getOperand(i).getType()));
    }
    auto result = replaceBatches(builder, copy, types, yields, combine);
    copy->erase();
    for (auto [i, tangent] : llvm::zip_equal(active, result.getResults()))
      add(op.getResult(i), tangent);
    return success();
  }

  OpBuilder &builder;
  Operation *derivative;
  llvm::DenseSet<Value> held;
  llvm::DenseMap<Value, Value> tangents;
};

/// Pulls cotangents back through linear ops. The ops it builds go to the builder's insertion point.
class Pullback {
public:
  Pullback(OpBuilder &builder, Operation *derivative) : builder(builder), derivative(derivative) {}

  void markLinear(Value value) { linear.insert(value); }
  bool isLinear(Value value) const { return linear.contains(value); }
  void add(Value value, Value cotangent) {
    if (!cotangent || !isLinear(value))
      return;
    Value &slot = cotangents[value];
    slot = slot ? AddOp::create(builder, cotangent.getLoc(), slot, cotangent) : cotangent;
  }
  Value of(Value value) const { return cotangents.lookup(value); }

  /// Those of `ops` (in order) that depend on a linear value, whose results are then linear too.
  SmallVector<Operation *> collect(ArrayRef<Operation *> ops) {
    SmallVector<Operation *> found;
    for (Operation *op : ops)
      if (llvm::any_of(inputsOf(op), [&](Value input) { return isLinear(input); })) {
        found.push_back(op);
        linear.insert(op->result_begin(), op->result_end());
      }
    return found;
  }

  LogicalResult visit(Operation *op) {
    SmallVector<Value> given = llvm::map_to_vector(op->getResults(), [&](Value result) { return of(result); }), results;
    if (llvm::none_of(given, [](Value value) { return bool(value); }))
      return success();
    if (auto batches = dyn_cast<study::BatchesOp>(op))
      return visitBatches(batches, given);
    SmallVector<bool> which = llvm::map_to_vector(op->getOperands(), [&](Value operand) { return isLinear(operand); });
    auto rule = dyn_cast<TransposeOpInterface>(op);
    if (!rule || failed(rule.transposeLinear(builder, given, which, results)))
      return derivative->emitError() << "'" << op->getName() << "' has no transpose, which this derivative needs";
    for (auto [operand, cotangent] : llvm::zip_equal(op->getOperands(), results))
      add(operand, cotangent);
    return success();
  }

private:
  /// The regions pull back instead, from the cotangents of the results to those of the linear values they capture. A
  /// mean's cotangent is every batch's, and the mean of the batches' pullbacks is the answer. Of a concatenation each
  /// batch takes its rows, and the answer is the sum over batches: the mean with a factor of rows / batch.
  LogicalResult visitBatches(study::BatchesOp op, ArrayRef<Value> given) {
    SmallVector<Value> captured;
    for (Value input : inputsOf(op))
      if (isLinear(input))
        captured.push_back(input);
    auto copy = cast<study::BatchesOp>(builder.clone(*op));
    SmallVector<SmallVector<Value>> all;
    for (Region &region : copy->getRegions()) {
      if (region.empty())
        continue;
      Block &block = region.front();
      Operation *yield = block.getTerminator();
      OpBuilder inner(&block, block.begin());
      Pullback pullback(inner, derivative);
      SmallVector<Value> standIns;
      for (Value value : captured) {
        standIns.push_back(placeholder(inner, op.getLoc(), value.getType()));
        pullback.markLinear(standIns.back());
        value.replaceUsesWithIf(standIns.back(),
                                [&](OpOperand &use) { return region.isAncestor(use.getOwner()->getParentRegion()); });
      }
      auto ops = pullback.collect(llvm::map_to_vector(block.without_terminator(), [](Operation &o) { return &o; }));
      inner.setInsertionPoint(yield);
      Value rows = block.getArgument(0);
      for (auto [i, cotangent] : llvm::enumerate(given)) {
        if (!cotangent)
          continue;
        Value value = yield->getOperand(i);
        if (cast<StringAttr>(op.getCombine()[i]).getValue() == "mean") {
          pullback.add(value, cotangent);
          continue;
        }
        int64_t count = shapeOf(rows)[0];
        if (typeOf(value).getRank() == 0 || shapeOf(value)[0] != count)
          return op->emitError() << "cannot differentiate through concatenated batches whose results do not have a row "
                                    "for each of the data";
        Site site{inner, op.getLoc()};
        Expr part = Expr(site).make<GatherOp>(cotangent, rows);
        pullback.add(value, ((double(op.getRows()) / count) * part).get());
      }
      for (Operation *linear : llvm::reverse(ops))
        if (failed(pullback.visit(linear)))
          return failure();
      all.push_back(llvm::map_to_vector(standIns, [&](Value standIn) { return pullback.of(standIn); }));
      yield->setOperands({});
      for (Operation *linear : llvm::reverse(ops))
        linear->erase();
      for (Value standIn : standIns)
        standIn.getDefiningOp()->erase();
    }
    SmallVector<Value> active;
    SmallVector<SmallVector<Value>> yields(copy->getNumRegions());
    for (auto [i, value] : llvm::enumerate(captured)) {
      if (llvm::none_of(all, [&](auto &region) { return bool(region[i]); }))
        continue;
      active.push_back(value);
      for (auto [r, region] : llvm::enumerate(all)) {
        OpBuilder inner(copy->getRegion(r).front().getTerminator());
        yields[r].push_back(region[i] ? region[i] : zeroOf(inner, op.getLoc(), value.getType()));
      }
    }
    if (!active.empty()) {
      SmallVector<Attribute> combine(active.size(), builder.getStringAttr("mean"));
      auto result = replaceBatches(builder, copy, ValueRange(active).getTypes(), yields, combine);
      for (auto [value, cotangent] : llvm::zip_equal(active, result.getResults()))
        add(value, cotangent);
    }
    copy->erase();
    return success();
  }

  OpBuilder &builder;
  Operation *derivative;
  llvm::DenseSet<Value> linear;
  llvm::DenseMap<Value, Value> cotangents;
};

/// The ops between `before` (null: from the block's start) and `end`.
SmallVector<Operation *> opsBetween(Operation *before, Operation *end) {
  SmallVector<Operation *> ops;
  for (Operation *op = before ? before->getNextNode() : &end->getBlock()->front(); op != end; op = op->getNextNode())
    ops.push_back(op);
  return ops;
}

void replaceAndErase(Operation *op, ArrayRef<Value> values) {
  op->replaceAllUsesWith(values);
  op->erase();
}

/// Where ops stand in the program, those that are not expanded yet left aside: what stands before all of a derivative's
/// `wrt` depends on none of it, and is not visited for it.
class ProgramOrder {
public:
  explicit ProgramOrder(Operation *root) {
    root->walk<WalkOrder::PreOrder>([&](Operation *op) { numbers[op] = unsigned(numbers.size()); });
  }
  /// The ops between these two stand where one stood before. Returns how many they are.
  size_t replaced(unsigned number, Operation *first, Operation *next) {
    size_t count = 0;
    for (Operation *op = first; op != next; op = op->getNextNode(), ++count)
      numbers[op] = number;
    return count;
  }
  unsigned of(Operation *op) const { return numbers.lookup(op); }
  unsigned firstOf(ValueRange values) const {
    unsigned first = UINT_MAX;
    for (Value value : values) {
      Operation *op = value.getDefiningOp();
      first = std::min(first, of(op ? op : value.getParentBlock()->getParentOp()));
    }
    return first;
  }

private:
  llvm::DenseMap<Operation *, unsigned> numbers;
};

/// The ops that `of` is computed from, but for those that cannot depend on `wrt`.
llvm::SetVector<Operation *> flowInto(ValueRange of, ValueRange wrt, const ProgramOrder &order) {
  unsigned first = order.firstOf(wrt);
  return hw::flowInto(of, {}, [&](Operation *op) { return order.of(op) < first; });
}

LogicalResult expandJvp(JvpOp op, const ProgramOrder &order) {
  OpBuilder builder(op);
  Pushforward push(builder, op);
  push.hold(op.getHeld());
  for (auto [value, tangent] : llvm::zip_equal(op.getWrt(), op.getTangents()))
    push.seed(value, tangent);
  for (Operation *inner : flowInto(op.getOf(), op.getWrt(), order))
    if (failed(push.visit(inner)))
      return failure();
  SmallVector<Value> results;
  for (Value value : op.getOf())
    results.push_back(push.of(value) ? push.of(value) : zeroOf(builder, op.getLoc(), value.getType()));
  replaceAndErase(op, results);
  return success();
}

/// Cotangents of `of` pulled back to `wrt`, for both vjp and grad.
LogicalResult expandVjp(Operation *op, ValueRange of, ValueRange wrt, ValueRange cotangents, ValueRange held,
                        const ProgramOrder &order) {
  Operation *before = op->getPrevNode();
  OpBuilder builder(op);
  Pushforward push(builder, op);
  Pullback pull(builder, op);
  push.hold(held);
  llvm::MapVector<Value, Value> standIns;
  for (Value value : wrt)
    if (!standIns.count(value)) {
      Value standIn = standIns[value] = placeholder(builder, op->getLoc(), value.getType());
      push.seed(value, standIn);
      pull.markLinear(standIn);
    }
  for (Operation *inner : flowInto(of, wrt, order))
    if (failed(push.visit(inner)))
      return failure();
  SmallVector<Operation *> built = opsBetween(before, op), linear = pull.collect(built);

  for (auto [value, cotangent] : llvm::zip_equal(of, cotangents))
    if (Value tangent = push.of(value))
      pull.add(tangent, cotangent);
  for (Operation *inner : llvm::reverse(linear))
    if (failed(pull.visit(inner)))
      return failure();
  SmallVector<Value> results;
  for (Value value : wrt) {
    Value cotangent = pull.of(standIns[value]);
    results.push_back(cotangent ? cotangent : zeroOf(builder, op->getLoc(), value.getType()));
  }
  replaceAndErase(op, results);

  for (Operation *inner : llvm::reverse(linear))
    inner->erase();
  for (auto [value, standIn] : standIns)
    standIn.getDefiningOp()->erase();
  return success();
}

LogicalResult expandGrad(GradOp op, const ProgramOrder &order) {
  OpBuilder builder(op);
  Value one = ConstantOp::splat(builder, op.getLoc(), op.getOf().getType(), 1);
  return expandVjp(op, op.getOf(), op.getWrt(), one, op.getHeld(), order);
}

struct ExpandDerivatives : PassWrapper<ExpandDerivatives, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(ExpandDerivatives)
  StringRef getArgument() const final { return "hw-expand-derivatives"; }
  StringRef getDescription() const final { return "Expand grad, vjp and jvp into ordinary ops"; }
  void getDependentDialects(DialectRegistry &registry) const final { registry.insert<HwDialect>(); }

  static constexpr size_t mostOperations = 1'000'000;

  void runOnOperation() final {
    SmallVector<Operation *> derivatives;
    getOperation().walk<WalkOrder::PreOrder>([&](Operation *op) {
      if (isa<DerivativeOpInterface>(op))
        derivatives.push_back(op);
    });
    ProgramOrder order(getOperation());
    size_t operations = 0; // that derivatives became
    for (Operation *op : derivatives) {
      // One that nothing uses need not be computed, nor be differentiable.
      if (op->use_empty()) {
        op->erase();
        continue;
      }
      Block *block = op->getBlock();
      Location place = op->getLoc();
      Operation *before = op->getPrevNode(), *next = op->getNextNode();
      unsigned number = order.of(op);
      LogicalResult done = success();
      if (auto grad = dyn_cast<GradOp>(op))
        done = expandGrad(grad, order);
      else if (auto jvp = dyn_cast<JvpOp>(op))
        done = expandJvp(jvp, order);
      else if (auto vjp = dyn_cast<VjpOp>(op))
        done = expandVjp(vjp, vjp.getOf(), vjp.getWrt(), vjp.getCotangents(), vjp.getHeld(), order);
      if (failed(done))
        return signalPassFailure();
      // Each derivative of a derivative is larger by a factor.
      operations += order.replaced(number, before ? before->getNextNode() : &block->front(), next);
      if (operations > mostOperations) {
        emitError(place) << "the derivatives of this program come to more than 1 million operations: nest them less "
                            "deep, or differentiate less at a time";
        return signalPassFailure();
      }
    }
    // Nothing is left that could differentiate through these.
    lowerScales(getOperation());
    getOperation().walk([](StopGradientOp op) { replaceAndErase(op, op.getOperand()); });
  }
};

} // namespace

std::unique_ptr<Pass> hw::createExpandDerivativesPass() { return std::make_unique<ExpandDerivatives>(); }
