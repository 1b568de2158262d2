// gradcheck and bench: the graphs of a loss, its gradient and its Hessian-vector product, each by itself.
#include "frontend/elaborate/Elaborator.h"
#include "ir/Precision.h"
#include "ir/Slice.h"

#include "mlir/Interfaces/SideEffectInterfaces.h"

#include <cmath>

using namespace mlir;

namespace hw::lang {

namespace {

bool hasRegions(ArrayRef<Operation *> ops) {
  return llvm::any_of(ops, [](Operation *op) { return op->getNumRegions() > 0; });
}

// The graph from some values on, copied with others in their place, in f64 if these are.
class Copy {
public:
  Copy(Elaborator &e, ArrayRef<Operation *> path, ArrayRef<Value> from, ValueRange to) : e(e) {
    for (auto [old, value] : llvm::zip_equal(from, to))
      mapping.map(old, value);
    bool wider = llvm::any_of(llvm::zip_equal(from, to),
                              [](auto pair) { return std::get<0>(pair).getType() != std::get<1>(pair).getType(); });
    for (Operation *op : path)
      made.push_back(wider ? widened(op) : e.builder.clone(*op, mapping));
  }
  Value operator[](Value v) const { return mapping.lookupOrDefault(v); }
  std::vector<Operation *> made;

private:
  Type wide(Type type) {
    auto t = llvm::cast<RankedTensorType>(type);
    return t.getElementType().isF32() ? RankedTensorType::get(t.getShape(), e.f64()) : type;
  }

  Operation *widened(Operation *op) {
    OperationState state(op->getLoc(), op->getName());
    for (Value operand : op->getOperands()) {
      Value v = mapping.lookupOrDefault(operand);
      if (elementOf(v).isF32()) {
        v = e.cast(v, e.f64());
        if (auto cast = v.getDefiningOp<CastOp>()) // the program's own f32 numbers are what is checked
          cast->setAttr(keptAttribute, e.builder.getUnitAttr());
      }
      state.operands.push_back(v);
    }
    for (Type type : op->getResultTypes())
      state.types.push_back(wide(type));
    state.attributes = op->getAttrs();
    state.propertiesAttr = op->getPropertiesAsAttribute();
    Operation *copy = e.builder.create(state);
    mapping.map(op->getResults(), copy->getResults());
    return copy;
  }

  Elaborator &e;
  IRMapping mapping;
};

// On which side of a kink an op's operands are, or null: masks as they are, numbers in f64.
Value side(Elaborator &e, Operation *op) {
  auto zero = [&](Value v) { return e.splat(shapeOf(v), elementOf(v), 0); };
  if (auto compare = llvm::dyn_cast<CompareOp>(op))
    return compare.getResult();
  if (llvm::isa<MaxOp, MinOp>(op))
    return e.isFloat(op->getOperand(0)) ? e.binaryOp(Bin::Gt, op->getOperand(0), op->getOperand(1)) : Value();
  if (llvm::isa<AbsOp, SignOp>(op))
    return e.isFloat(op->getOperand(0)) ? e.binaryOp(Bin::Gt, op->getOperand(0), zero(op->getOperand(0))) : Value();
  if (auto floor = llvm::dyn_cast<FloorOp>(op))
    return floor->getResult(0);
  if (auto max = llvm::dyn_cast<ReduceMaxOp>(op))
    return max.getIndex();
  if (auto max = llvm::dyn_cast<MaxPoolOp>(op))
    return max.getIndex();
  return {};
}

int64_t sideElements(Operation *op) {
  return llvm::isa<CompareOp, MaxOp, MinOp, AbsOp, SignOp, FloorOp, ReduceMaxOp, MaxPoolOp>(op)
             ? typeOf(op->getResult(0)).getNumElements()
             : 0;
}

} // namespace

//===-- gradcheck -----------------------------------------------------------------------------------------------===//

// A study.gradcheck of a scalar with respect to weights: their graph is copied, in f64, into a function of the weights
// for the loss, for its gradient, for a Hessian-vector product. Beside the loss stands a fingerprint of all that has a
// kink: the outcomes of comparisons, max, min, abs, ..., added up with pseudo-random weights.
void Elaborator::checkGradient(Value loss, ArrayRef<Value> weights, ArrayRef<std::string> names,
                               const std::string &table) {
  SmallVector<Operation *> path = flowBetween(weights, loss);
  bool inF32 = elementOf(loss).isF32() || llvm::any_of(weights, [](Value w) { return elementOf(w).isF32(); });
  if (inF32 && hasRegions(path))
    fail("central differences need f64, and this loss is put together from batches in f32",
         "run with `--f64`, or evaluate without `batch`");
  // A run-time loop's variable tells the rows apart as a constant does: such a loop is unrolled.
  NamedAttrList constants;
  std::vector<std::string> keys;
  for (const LoopVariable &loop : loops) {
    if (loop.ssa)
      knownInt(loop.value, "a `gradcheck`");
    auto *n = as<Number>(loop.value);
    if (n && n->known && !n->boolean)
      constants.set(loop.name, builder.getF64FloatAttr(*n->known));
    else
      constants.set(loop.name, builder.getStringAttr(loop.label));
    if (!llvm::is_contained(keys, loop.name))
      keys.push_back(loop.name);
  }
  TableInfo &info = progress.tables[table];
  for (const std::string &key : keys)
    if (!llvm::is_contained(info.columns, key))
      info.columns.insert(info.columns.begin() + info.keys++, key);
  for (const char *column : {"parameter", "entries", "gradient_error", "hvp_error", "at_kink"})
    if (!llvm::is_contained(info.columns, column))
      info.columns.push_back(column);

  std::vector<Value> wide;
  std::vector<Type> types;
  for (Value w : weights) {
    wide.push_back(cast(w, f64()));
    types.push_back(wide.back().getType());
  }
  // frac(43758.5453 sin(i)): a weight for every element that a mask may have.
  int64_t longest = 0;
  for (Operation *op : path)
    longest = std::max(longest, sideElements(op));
  Value spread;
  if (longest) {
    auto type = tensorType({longest}, f64());
    spread = IotaOp::create(builder, loc(), type, 0);
    spread = binaryOp(Bin::Add, spread, splat({longest}, f64(), 1));
    spread = SinOp::create(builder, loc(), type, spread);
    spread = binaryOp(Bin::Mul, spread, splat({longest}, f64(), 43758.5453));
    spread = binaryOp(Bin::Sub, spread, FloorOp::create(builder, loc(), type, spread));
  }
  auto kinks = [&](ArrayRef<Operation *> ops) {
    Value total = splat({}, f64(), 0);
    double count = 0;
    for (Operation *op : ops) {
      Value v = side(*this, op);
      if (!v)
        continue;
      int64_t n = typeOf(v).getNumElements();
      v = cast(reshape(v, {n}), f64());
      Value r = spread;
      if (n < longest)
        r = SliceOp::create(builder, loc(), spread, ArrayRef<int64_t>{0}, ArrayRef<int64_t>{n}, ArrayRef<int64_t>{1});
      v = reduceSum(binaryOp(Bin::Mul, v, r), {0});
      double turn = ++count * 0.6180339887498949; // no two operations count alike
      total = binaryOp(Bin::Add, total, binaryOp(Bin::Mul, v, splat({}, f64(), 0.5 + turn - std::floor(turn))));
    }
    return total;
  };

  std::vector<Attribute> nameAttrs;
  for (const std::string &name : names)
    nameAttrs.push_back(builder.getStringAttr(name));
  auto op = study::GradcheckOp::create(builder, loc(), ValueRange(wide), table, builder.getArrayAttr(nameAttrs),
                                       constants.getDictionary(builder.getContext()), builder.getStrArrayAttr({}));
  {
    std::vector<Attribute> order;
    for (const std::string &key : keys)
      order.push_back(builder.getStringAttr(key));
    op.setKeysAttr(builder.getArrayAttr(order));
  }
  auto fill = [&](Region &region, size_t arguments, const std::function<std::vector<Value>(Copy &, ValueRange)> &body) {
    OpBuilder::InsertionGuard guard(builder);
    Block *block = &region.emplaceBlock();
    for (size_t i = 0; i < arguments; ++i)
      block->addArgument(types[i % types.size()], loc());
    builder.setInsertionPointToEnd(block);
    Copy copy(*this, path, weights, block->getArguments().take_front(types.size()));
    study::YieldOp::create(builder, loc(), ValueRange(body(copy, block->getArguments())));
  };
  fill(op.getLoss(), types.size(),
       [&](Copy &copy, ValueRange) { return std::vector<Value>{cast(copy[loss], f64()), kinks(copy.made)}; });
  auto gradients = [&](Copy &copy, ValueRange arguments) {
    ValueRange w = arguments.take_front(types.size());
    return GradOp::create(builder, loc(), TypeRange(types), copy[loss], w);
  };
  fill(op.getGradient(), types.size(), [&](Copy &copy, ValueRange arguments) {
    auto g = gradients(copy, arguments);
    return std::vector<Value>(g->result_begin(), g->result_end());
  });
  fill(op.getProduct(), 2 * types.size(), [&](Copy &copy, ValueRange arguments) {
    auto g = gradients(copy, arguments);
    auto product = JvpOp::create(builder, loc(), TypeRange(types), g->getResults(), arguments.take_front(types.size()),
                                 arguments.drop_front(types.size()));
    return std::vector<Value>(product->result_begin(), product->result_end());
  });
}

Val Elaborator::gradcheck(Args &args) {
  if (inFunction || step)
    fail("`gradcheck` makes a table, which belongs outside of functions and training steps",
         "write it after `train`: `check = gradcheck(loss, net)`");
  std::vector<Value> weights = differentiable(args.positional[1], "gradcheck");
  Value loss = scalarLoss(args.positional[0], "gradcheck");
  requireFunction({loss}, weights, args, "gradcheck");
  Val form = like(args.positional[1], weights);
  std::vector<std::string> names;
  if (auto *w = as<Weights>(form))
    for (const Weights::Entry &entry : w->entries)
      names.push_back(entry.name);
  else
    names.push_back(args.ranges.size() > 1 ? std::string(args.ranges[1].text()) : "x");
  auto table = std::make_shared<Table>();
  table->name = tableName.empty() ? "gradcheck" : tableName;
  checkGradient(loss, weights, names, table->name);
  return table;
}

// `hwc gradcheck`: instead of training, what is minimised on the first batch (all rows without `batch`) is compared.
// The nets pass through untrained.
void Elaborator::gradcheckTrain(const ast::Train &stmt, const std::vector<std::shared_ptr<const Net>> &nets,
                                const Data &data, int64_t batch, const std::string &label) {
  Step once;
  once.stmt = &stmt;
  once.trial = true;
  for (size_t i = 0; i < nets.size(); ++i) {
    auto net = std::make_shared<Net>(*nets[i]);
    net->trained = int(i);
    once.nets.push_back({stmt.nets[i].text, net, {}, {}});
  }
  Value rows;
  if (batch)
    rows = IotaOp::create(builder, loc(), tensorType({batch}, builder.getI32Type()), 0);
  Value zero = splat({}, f64(), 0);
  runStep(once, data, rows, zero, zero, [] {});
  here = stmt.range;
  std::vector<Value> weights;
  std::vector<std::string> names;
  for (const Step::TrainedNet &trained : once.nets)
    for (auto &[index, place] : trained.by) {
      weights.push_back(as<Tensor>(trained.net->values[index])->ssa);
      names.push_back((nets.size() > 1 ? trained.name + "." : "") + trained.net->code->parameters[index].name);
    }
  checkGradient(stepLoss(once), weights, names, label);
}

//===-- bench ---------------------------------------------------------------------------------------------------===//

// `hwc bench`: what is minimised on the first batch, its gradient and a Hessian-vector product (along the weights),
// each as a call of its own before the training. Objectives with batches or loops of their own are timed as steps only.
void Elaborator::benchTrain(const ast::Train &stmt, const std::vector<std::shared_ptr<const Net>> &nets,
                            const Data &data, int64_t batch, const std::string &label) {
  Value zero = splat({}, f64(), 0);
  std::vector<Value> inputs;
  for (const auto &net : nets)
    flatten(net, inputs);
  if (batch)
    inputs.push_back(IotaOp::create(builder, loc(), tensorType({batch}, builder.getI32Type()), 0));
  for (const char *kind : {"forward", "gradient", "hvp"}) {
    auto op = study::BenchOp::create(builder, loc(), ValueRange(inputs), label + "." + kind);
    OpBuilder::InsertionGuard guard(builder);
    Block *block = &op.getBody().emplaceBlock();
    for (Value v : inputs)
      block->addArgument(v.getType(), loc());
    builder.setInsertionPointToEnd(block);
    std::vector<Value> arguments(block->args_begin(), block->args_end());
    ArrayRef<Value> rest = arguments;
    Step turn;
    turn.stmt = &stmt;
    turn.trial = true;
    for (size_t i = 0; i < nets.size(); ++i) {
      auto net = std::make_shared<Net>(*as<Net>(unflatten(nets[i], rest, {})));
      net->trained = int(i);
      turn.nets.push_back({stmt.nets[i].text, net, {}, {}});
    }
    Progress before = progress;
    runStep(turn, data, batch ? arguments.back() : Value(), zero, zero, [] {});
    progress = std::move(before);
    here = stmt.range;
    std::vector<Value> weights, results;
    for (const Step::TrainedNet &trained : turn.nets)
      for (auto &[index, place] : trained.by)
        weights.push_back(as<Tensor>(trained.net->values[index])->ssa);
    Value loss = stepLoss(turn);
    if (hasRegions(flowBetween(weights, loss))) {
      op.erase();
      return;
    }
    if (llvm::StringRef(kind) == "forward") {
      results = {loss};
    } else {
      std::vector<Type> types;
      for (Value w : weights)
        types.push_back(w.getType());
      auto g = GradOp::create(builder, loc(), TypeRange(types), loss, ValueRange(weights));
      results.assign(g->result_begin(), g->result_end());
      if (llvm::StringRef(kind) == "hvp") {
        auto product =
            JvpOp::create(builder, loc(), TypeRange(types), g->getResults(), ValueRange(weights), ValueRange(weights));
        results.assign(product->result_begin(), product->result_end());
      }
    }
    study::YieldOp::create(builder, loc(), ValueRange(results));
    // What the step records, and how it goes on to new weights, is no part of it.
    for (Operation &inner : llvm::make_early_inc_range(llvm::reverse(*block)))
      if (llvm::isa<study::RecordOp>(inner) || isOpTriviallyDead(&inner))
        inner.erase();
  }
}

} // namespace hw::lang
