// train, minimize, every, stop when; and evaluating nets, whose state a step commits.
#include "frontend/elaborate/Elaborator.h"
#include "ir/Slice.h"

using namespace mlir;

namespace hw::lang {

Val Elaborator::applyNet(const Net &net, std::vector<Val> args, SourceRange range) {
  NetContext context;
  context.mode = NetContext::Apply;
  context.code = std::const_pointer_cast<NetCode>(net.code); // only read: nothing is being filled
  context.values = net.values;
  context.seed = net.seed;
  context.training = net.trained >= 0 && trainingStep;
  context.prefix = net.code->prefix;
  context.element = net.code->element;
  Val result = evaluateRoot(context, "", net.code->fn, std::move(args), range);
  if (context.training && step && !context.next.empty()) {
    Step::Evaluation evaluation;
    evaluation.trained = net.trained;
    const NetCode &whole = *step->nets[net.trained].net->code;
    for (auto &[name, value] : context.next)
      evaluation.next[whole.index.at(context.prefix + name)] = value;
    flatten(result, evaluation.outputs);
    step->evaluations.push_back(std::move(evaluation));
  }
  return result;
}

//===-- minimize ------------------------------------------------------------------------------------------------===//

void Elaborator::runMinimize(const ast::Minimize &stmt) {
  if (!step)
    fail(stmt.range, "`minimize` belongs in `train`", "`train net on d for 100 epochs { minimize loss with adam() }`");
  if (loops.size() != step->loopDepth)
    fail(stmt.range, "`minimize` stands directly in `train`, not in a loop there",
         "sum up what is minimised: `minimize a + b with ...`");
  Val objective = eval(*stmt.objective);
  Value e = tensorOf(objective, "something to minimise");
  if (!isFloat(e) || as<Number>(objective))
    fail(stmt.objective->range, "`minimize` takes a number that depends on the weights, found " + describe(objective));

  // W: all trained nets, or what `over` says.
  struct Place {
    size_t net, index;
  };
  std::vector<Place> places;
  auto all = std::make_shared<Weights>();
  std::map<void *, Place> whose;
  for (size_t n = 0; n < step->nets.size(); ++n) {
    const Step::TrainedNet &trained = step->nets[n];
    for (size_t i = 0; i < trained.net->values.size(); ++i) {
      if (!trained.net->code->parameters[i].trainable)
        continue;
      Value v = as<Tensor>(trained.net->values[i])->ssa;
      whose[v.getAsOpaquePointer()] = {n, i};
      std::string name = trained.net->code->parameters[i].name;
      all->entries.push_back({step->nets.size() > 1 ? trained.name + "." + name : name, v});
    }
  }
  auto weights = all;
  if (stmt.over) {
    Val over = eval(*stmt.over);
    weights = std::make_shared<Weights>();
    for (Value v : differentiable(over, "minimize ... over")) {
      auto it = whose.find(v.getAsOpaquePointer());
      if (it == whose.end())
        fail(stmt.over->range,
             "`over` takes weights of what is trained here, as they are: a net, a layer, `net.weights` or "
             "`select(net.weights, ...)`");
      for (const Weights::Entry &entry : all->entries)
        if (entry.ssa == v)
          weights->entries.push_back(entry);
    }
  }
  std::vector<Value> w;
  for (const Weights::Entry &entry : weights->entries) {
    Place place = whose.at(entry.ssa.getAsOpaquePointer());
    Step::TrainedNet &trained = step->nets[place.net];
    if (auto it = trained.by.find(place.index); it != trained.by.end())
      fail(stmt.range, "`" + entry.name + "` is already updated by another `minimize`",
           "`over` says which weights each of them updates");
    places.push_back(place);
    w.push_back(entry.ssa);
  }
  for (Place place : places)
    step->nets[place.net].by[place.index] = stmt.range;
  {
    Restore<SourceRange> at(here);
    here = stmt.objective->range;
    if (!reaches(w, e))
      fail("what is minimised does not depend on the weights of `" +
               (stmt.over ? std::string(stmt.over->range.text()) : step->nets[0].name) + "`",
           "compute it in this step from the net that is trained: `mse(" + step->nets[0].name + "(x), y)`");
  }

  // The optimiser: a function that lacks the objective and the weights.
  Val optimiser = eval(*stmt.optimizer);
  auto *fn = as<Fn>(optimiser);
  const size_t open = fn ? lacking(*fn).size() : 0;
  if (open != 2)
    fail(stmt.optimizer->range,
         "an optimiser is a function of the objective and the weights, found " + describe(optimiser) +
             (fn && fn->decl ? ", which lacks " + std::to_string(open) + (open == 1 ? " argument" : " arguments") : ""),
         open < 2 && fn && fn->decl && !fn->tail.empty()
             ? "what has a default goes by name: `with " + fn->name() + "(lr = 1e-3)`"
             : "`with adam(lr = 1e-3)`, or your own `fn descent(f, w, lr = 0.1) = w - lr * grad(f(w), w)`");
  auto f = std::make_shared<Fn>();
  f->objective = std::make_shared<Objective>(Objective{objective, w});

  size_t k = step->objectives.size();
  NetContext context;
  context.mode = NetContext::Optimiser;
  context.filling = step->trial;
  context.element = builder.getF32Type();
  for (Value v : w)
    if (elementOf(v).isF64())
      context.element = f64();
  if (step->trial) {
    context.code = std::make_shared<NetCode>();
    step->optimisers.push_back({fn->name(), context.code, {}, {}});
  } else {
    context.code = step->optimisers[k].code;
    context.values = step->optimisers[k].values;
  }
  step->objectives.push_back(objective);
  Val result;
  {
    Restore<SourceRange> at(here);
    here = stmt.optimizer->range;
    result = evaluateRoot(context, "", optimiser, {f, weights}, stmt.optimizer->range);
    if (!as<Weights>(result))
      fail("an optimiser returns the next weights, and `" + fn->name() + "` returned " + describe(result));
  }
  std::vector<Type> types;
  for (Value v : w)
    types.push_back(v.getType());
  std::vector<Value> next =
      flattenLike(result, weights, types, "what `" + fn->name() + "` returns", stmt.optimizer->range, true);
  for (size_t i = 0; i < places.size(); ++i)
    step->nets[places[i].net].next[places[i].index] = next[i];
  Step::Optimiser &slot = step->optimisers[k];
  if (step->trial)
    slot.values = context.values;
  slot.next = slot.values;
  for (auto &[name, value] : context.next)
    slot.next[slot.code->index.at(name)] = value;
}

void Elaborator::runEvery(const ast::Every &stmt) {
  if (!step)
    fail(stmt.range, inEvery ? "`every` does not nest" : "`every` belongs in `train`",
         inEvery ? "write the two blocks beside each other in `train`" : "");
  if (loops.size() != step->loopDepth)
    fail(stmt.range, "`every` stands directly in `train`, not in a loop there", "put the loop into the block");
  step->everies.push_back(&stmt);
}

void Elaborator::runStop(const ast::StopWhen &stmt) {
  if (!inEvery)
    fail(stmt.range, "`stop when` belongs in an `every` block of `train`", "`every epoch { stop when ... }`");
  Val condition = eval(*stmt.condition);
  Value mask;
  if (auto *n = as<Number>(condition); n && n->boolean)
    mask = scalar(*n);
  else if (auto *t = as<Tensor>(condition); t && elementOf(t->ssa).isInteger(1) && shapeOf(t->ssa).empty())
    mask = t->ssa;
  else
    fail(stmt.condition->range, "`stop when` takes a truth value, found " + describe(condition),
         "compare: `stop when bad >= 5`");
  study::StopOp::create(builder, loc(), mask);
}

//===-- train ---------------------------------------------------------------------------------------------------===//

void Elaborator::runStep(Step &into, const Data &data, Value rows, Value epochValue, Value stepValue,
                         const std::function<void()> &then) {
  ScopeGuard turn(*this, Scope::Turn);
  Restore<Step *> restoreStep(step, &into);
  Restore<bool> training(trainingStep, true);
  Restore<bool> notEvery(inEvery, false);
  Val epochNumber = runtime(epochValue), stepNumber = runtime(stepValue);
  Restore<Val> restoreRandom(randomStep, stepNumber);
  Restore<std::vector<std::pair<std::string, Val>>> restoreClocks(
      clocks, std::vector<std::pair<std::string, Val>>{{"epoch", epochNumber}, {"step", stepNumber}});
  defineColumns(data, rows, into.stmt->source.data->range);
  for (Step::TrainedNet &trained : into.nets) {
    if (scope->names.count(trained.name))
      fail(into.stmt->source.data->range,
           "the column `" + trained.name + "` of " + data.name + " hides the net that is trained");
    define(trained.name, trained.net);
  }
  define("epoch", epochNumber);
  define("step", stepNumber);
  into.loopDepth = loops.size();
  runStatements(into.stmt->body.statements);
  then();
}

// What the progress bar shows and what is watched for NaN: the sum of what is minimised; of a vector (least squares)
// its mean square.
Value Elaborator::stepLoss(const Step &of) {
  Value sum;
  for (const Val &objective : of.objectives) {
    Value v = as<Tensor>(objective)->ssa;
    if (int64_t n = typeOf(v).getNumElements(); typeOf(v).getRank()) {
      SmallVector<int64_t> dims;
      for (int64_t i = 0; i < typeOf(v).getRank(); ++i)
        dims.push_back(i);
      v = reduceSum(binaryOp(Bin::Mul, v, v), dims);
      v = binaryOp(Bin::Div, v, splat({}, elementOf(v), double(n)));
    }
    if (sum && elementOf(sum) != elementOf(v))
      sum = cast(sum, f64()), v = cast(v, f64());
    sum = sum ? binaryOp(Bin::Add, sum, v) : v;
  }
  return sum;
}

namespace {

// Copies what computes `values` out of a block that is thrown away.
std::vector<Value> copyOut(Elaborator &e, Block &from, ArrayRef<Value> values, const std::string &optimiser) {
  IRMapping mapping;
  std::function<void(Value)> visit = [&](Value v) {
    if (mapping.contains(v))
      return;
    if (auto argument = llvm::dyn_cast<BlockArgument>(v)) {
      if (argument.getOwner() == &from)
        e.fail("the first state of `" + optimiser + "` depends on the batch, but it is made before there is one",
               "a `state` starts from the weights and the arguments: `state m = 0 * w`");
      return;
    }
    Operation *op = v.getDefiningOp();
    if (op->getBlock() != &from)
      return;
    for (Value operand : op->getOperands())
      visit(operand);
    for (Region &region : op->getRegions())
      region.walk([&](Operation *inner) {
        for (Value operand : inner->getOperands())
          if (operand.getParentBlock() == &from)
            visit(operand);
      });
    e.builder.clone(*op, mapping);
  };
  std::vector<Value> results;
  for (Value v : values) {
    visit(v);
    results.push_back(mapping.lookupOrDefault(v));
  }
  return results;
}

// The names assigned in a train's body outside of its `every` blocks.
void assignedInStep(const std::vector<ast::StmtPtr> &statements, std::set<std::string> &names) {
  for (const ast::StmtPtr &s : statements) {
    if (auto *a = ast::as<ast::Assign>(s))
      for (const ast::Name &target : a->targets)
        names.insert(target.text);
    if (auto *i = ast::as<ast::If>(s)) {
      for (const ast::If::Branch &branch : i->branches)
        assignedInStep(branch.body.statements, names);
      if (i->elseBody)
        assignedInStep(i->elseBody->statements, names);
    }
    if (auto *f = ast::as<ast::For>(s))
      assignedInStep(f->body.statements, names);
  }
}

} // namespace

void Elaborator::runTrain(const ast::Train &stmt) {
  if (step)
    fail(stmt.range, "`train` does not nest in a step; it may stand in an `every` block");
  SourceRange trainHere = here;
  // The nets, the data, how long.
  std::vector<std::shared_ptr<const Net>> initial;
  for (const ast::Name &name : stmt.nets) {
    Val value = evalRef(name.text, name.range);
    if (!as<Net>(value))
      fail(name.range, "`train` takes nets, and `" + name.text + "` is " + describe(value),
           "make one: `" + name.text + " = init(f, x, seed = 1)`");
    initial.push_back(std::static_pointer_cast<const Net>(value));
  }
  Val source = eval(*stmt.source.data);
  const Data &data = dataOf(source, stmt.source.data->range);
  int64_t batch = 0;
  if (stmt.source.batch) {
    Val b = eval(*stmt.source.batch);
    Restore<SourceRange> at(here);
    here = stmt.source.batch->range;
    batch = knownInt(b, "a batch size");
    if (batch < 1)
      fail("a batch has at least one row, found " + std::to_string(batch));
    batch = std::min(batch, data.rows);
  }
  Val duration = eval(*stmt.duration);
  if (auto *n = as<Number>(duration); n && n->known && !(*n->known >= 0 && *n->known < 9e15))
    fail(stmt.duration->range, "a training lasts for a number of " + std::string(ast::spelling(stmt.unit)) +
                                   ", found " + numberText(*n->known));
  Value count = scalarF64(duration);
  Type scalarType = RankedTensorType::get({}, f64());
  Type rowsType = RankedTensorType::get({batch}, builder.getI32Type());

  // A trial: which weights change, which states the optimisers keep, which `every` blocks there are.
  Step trial;
  trial.stmt = &stmt;
  trial.trial = true;
  for (size_t i = 0; i < initial.size(); ++i) {
    auto net = std::make_shared<Net>(*initial[i]);
    net->trained = int(i);
    trial.nets.push_back({stmt.nets[i].text, net, {}, {}});
  }
  std::map<std::string, bool> stepScalars; // assigned in the step: whether it is a scalar
  std::set<std::string> stepNames;
  assignedInStep(stmt.body.statements, stepNames);
  size_t failuresBefore = failures;
  std::vector<std::set<size_t>> changed(initial.size());
  auto commits = [&](const Step &s, const std::function<void(int, size_t, const Val &)> &f) {
    for (const Step::Evaluation &evaluation : s.evaluations) {
      bool minimised = false;
      for (const Val &objective : s.objectives)
        minimised = minimised || reaches(evaluation.outputs, as<Tensor>(objective)->ssa);
      if (minimised)
        for (auto &[index, value] : evaluation.next)
          f(evaluation.trained, index, value);
    }
  };
  std::vector<std::vector<Value>> optimiserInits;
  std::vector<std::vector<Val>> optimiserLikes;
  {
    Value zero = splat({}, f64(), 0);
    Progress before = progress;
    Block scratch;
    {
      OpBuilder::InsertionGuard guard(builder);
      Value rows;
      if (batch)
        rows = scratch.addArgument(rowsType, loc());
      builder.setInsertionPointToEnd(&scratch);
      runStep(trial, data, rows, zero, zero, [&] {
        for (const std::string &name : stepNames) {
          auto it = scope->names.find(name);
          if (it == scope->names.end())
            continue;
          auto *t = as<Tensor>(it->second);
          stepScalars[name] = as<Number>(it->second) || (t && shapeOf(t->ssa).empty());
        }
      });
    }
    progress = std::move(before);
    if (failures != failuresBefore)
      throw Failure{}; // reported in the body
    if (trial.objectives.empty())
      fail(stmt.range, "this `train` minimises nothing", "add `minimize loss with adam(lr = 1e-3)` to its body");
    for (size_t n = 0; n < trial.nets.size(); ++n)
      for (auto &[index, value] : trial.nets[n].next)
        changed[n].insert(index);
    commits(trial, [&](int net, size_t index, const Val &) { changed[net].insert(index); });
    for (Step::Optimiser &optimiser : trial.optimisers) {
      std::vector<Value> values;
      std::vector<Val> likes;
      for (const Val &state : optimiser.values) {
        std::vector<Value> parts;
        flatten(state, parts);
        parts = copyOut(*this, scratch, parts, optimiser.name);
        values.insert(values.end(), parts.begin(), parts.end());
        ArrayRef<Value> rest = parts;
        likes.push_back(unflatten(state, rest, {}));
      }
      optimiserInits.push_back(std::move(values));
      optimiserLikes.push_back(std::move(likes));
    }
  }

  std::string label;
  for (const ast::Name &name : stmt.nets)
    label += (label.empty() ? "" : ", ") + name.text;
  std::string inLoops;
  for (const LoopVariable &loop : loops)
    if (!loop.ssa)
      inLoops += (inLoops.empty() ? "" : ", ") + loop.name + " = " + loop.label;
  if (!inLoops.empty())
    label += " (" + inLoops + ")";
  if (options.mode == ElaborateOptions::Gradcheck) {
    gradcheckTrain(stmt, initial, data, batch, label);
    return;
  }
  if (options.mode == ElaborateOptions::Bench)
    benchTrain(stmt, initial, data, batch, label);

  // Variables that `every` blocks rebind.
  std::vector<std::string> variables;
  for (const ast::Every *every : trial.everies)
    for (const std::string &name : rebound(every->body)) {
      if (stepNames.count(name) || llvm::is_contained(variables, name))
        continue;
      bool isNet = false;
      for (size_t n = 0; n < initial.size(); ++n)
        if (stmt.nets[n].text == name) {
          isNet = true;
          for (size_t i = 0; i < initial[n]->values.size(); ++i)
            changed[n].insert(i);
        }
      if (isNet)
        continue;
      Val value = lookup(name);
      if (value->kind == Kind::Poison)
        throw Failure{};
      if (!carriable(value))
        fail(every->range, "an `every` block rebinds `" + name + "`, which is " + describe(value) +
                               ": only numbers, tensors, weights and nets can change while a program runs");
      variables.push_back(name);
    }

  // What the loop carries.
  std::vector<Value> inits;
  std::vector<Attribute> names, roles;
  auto carry = [&](Value v, const std::string &name, const char *role) {
    inits.push_back(v);
    names.push_back(builder.getStringAttr(name));
    roles.push_back(builder.getStringAttr(role));
  };
  for (size_t n = 0; n < initial.size(); ++n)
    for (size_t i : changed[n]) {
      const ParameterInfo &p = initial[n]->code->parameters[i];
      carry(as<Tensor>(initial[n]->values[i])->ssa, stmt.nets[n].text + "." + p.name, p.trainable ? "weight" : "state");
    }
  for (size_t k = 0; k < trial.optimisers.size(); ++k) {
    const Step::Optimiser &optimiser = trial.optimisers[k];
    std::string prefix = optimiser.name + (trial.optimisers.size() > 1 ? std::to_string(k + 1) : "") + ".";
    for (size_t i = 0; i < optimiser.values.size(); ++i) {
      const std::string &name = optimiser.code->parameters[i].name;
      std::vector<Value> parts;
      flatten(optimiserLikes[k][i], parts);
      auto *w = as<Weights>(optimiserLikes[k][i]);
      for (size_t j = 0; j < parts.size(); ++j)
        carry(parts[j],
              prefix + name +
                  (w                  ? "." + w->entries[j].name
                   : parts.size() > 1 ? "." + std::to_string(j)
                                      : ""),
              "optimiser");
    }
  }
  std::map<std::string, Val> before;
  for (const std::string &name : variables) {
    before[name] = lookup(name);
    std::vector<Value> parts;
    flatten(before[name], parts);
    auto *net = as<Net>(before[name]);
    auto *w = as<Weights>(before[name]);
    for (size_t j = 0; j < parts.size(); ++j) {
      std::string part;
      if (net)
        part = "." + (j < net->values.size() ? net->code->parameters[j].name : "seed");
      else if (w)
        part = "." + w->entries[j].name;
      else if (parts.size() > 1)
        part = "." + std::to_string(j);
      carry(parts[j], name + part, "variable");
    }
  }
  std::vector<Type> types;
  for (Value v : inits)
    types.push_back(v.getType());

  std::vector<int64_t> periods;
  std::vector<Attribute> units;
  for (const ast::Every *every : trial.everies) {
    int64_t period = 1;
    if (every->interval) {
      Val interval = eval(*every->interval);
      Restore<SourceRange> at(here);
      here = every->interval->range;
      period = knownInt(interval, "the interval of `every`");
      if (period < 1)
        fail("the interval of `every` is at least 1, found " + std::to_string(period));
    }
    periods.push_back(period);
    units.push_back(builder.getStringAttr(ast::spelling(every->unit)));
  }
  here = trainHere;
  Value seed = scalarF64(initial[0]->seed);
  auto op =
      study::TrainOp::create(builder, loc(), TypeRange(types), count, ValueRange(inits), data.rows, batch,
                             stmt.source.ordered, ast::spelling(stmt.unit), seed, label, builder.getArrayAttr(names),
                             builder.getArrayAttr(roles), periods, builder.getArrayAttr(units), trial.everies.size());

  // Carried values as the language sees them.
  auto netsFrom = [&](ValueRange values, bool trained) {
    std::vector<std::shared_ptr<const Net>> nets;
    size_t at = 0;
    for (size_t n = 0; n < initial.size(); ++n) {
      auto net = std::make_shared<Net>(*initial[n]);
      net->trained = trained ? int(n) : -1;
      for (size_t i : changed[n])
        net->values[i] = tensor(values[at++]);
      nets.push_back(net);
    }
    return nets;
  };
  size_t weightCount = 0, optimiserCount = 0;
  for (auto &set : changed)
    weightCount += set.size();
  for (auto &values : optimiserInits)
    optimiserCount += values.size();
  auto bindVariables = [&](ValueRange values) {
    std::vector<Value> all(values.begin(), values.end());
    ArrayRef<Value> rest = ArrayRef<Value>(all).drop_front(weightCount + optimiserCount);
    for (const std::string &name : variables)
      findScope(name, scope)->names[name] = unflatten(before[name], rest, {});
  };
  llvm::scope_exit unbind([&] {
    for (auto &[name, value] : before)
      findScope(name, scope)->names[name] = value;
  });

  // The step's scalars that an `every` block reads: a hidden table each.
  std::vector<std::string> hiddenTables;
  std::vector<std::vector<std::string>> hiddenColumns;
  for (const ast::Every *every : trial.everies) {
    std::vector<std::string> columns;
    for (const ast::StmtPtr &s : every->body.statements)
      walk(
          *s, [](const ast::Stmt &) {},
          [&](const ast::Expr &e) {
            if (auto *ref = ast::as<ast::Ref>(e))
              if (auto it = stepScalars.find(ref->name);
                  it != stepScalars.end() && it->second && !llvm::is_contained(columns, ref->name))
                columns.push_back(ref->name);
          });
    hiddenTables.push_back("#" + std::to_string(++progress.hidden));
    hiddenColumns.push_back(std::move(columns));
  }

  auto fillStep = [&](Region &region, int64_t size) {
    OpBuilder::InsertionGuard guard(builder);
    Block *block = &region.emplaceBlock();
    Value epochValue = block->addArgument(scalarType, loc()), stepValue = block->addArgument(scalarType, loc());
    Value rows;
    if (batch)
      rows = block->addArgument(RankedTensorType::get({size}, builder.getI32Type()), loc());
    size_t leading = block->getNumArguments();
    for (Type type : types)
      block->addArgument(type, loc());
    ValueRange carried = block->getArguments().drop_front(leading);
    builder.setInsertionPointToEnd(block);
    bindVariables(carried);
    Step real;
    real.stmt = &stmt;
    auto nets = netsFrom(carried, true);
    for (size_t n = 0; n < nets.size(); ++n)
      real.nets.push_back({stmt.nets[n].text, nets[n], {}, {}});
    std::vector<Value> optimiserArgs(carried.begin() + weightCount, carried.begin() + weightCount + optimiserCount);
    ArrayRef<Value> rest = optimiserArgs;
    for (size_t k = 0; k < trial.optimisers.size(); ++k) {
      Step::Optimiser optimiser{trial.optimisers[k].name, trial.optimisers[k].code, {}, {}};
      for (const Val &likeState : optimiserLikes[k])
        optimiser.values.push_back(unflatten(likeState, rest, {}));
      real.optimisers.push_back(std::move(optimiser));
    }
    runStep(real, data, rows, epochValue, stepValue, [&] {
      for (size_t k = 0; k < hiddenTables.size(); ++k) {
        std::vector<std::pair<std::string, Val>> items;
        for (const std::string &name : hiddenColumns[k])
          items.push_back({name, scope->names.at(name)});
        if (!items.empty())
          recordTable(hiddenTables[k], items, 0, {}, true, here);
      }
    });
    if (failures != failuresBefore)
      throw Failure{};
    here = trainHere;
    std::vector<std::map<size_t, Value>> next(initial.size());
    for (size_t n = 0; n < real.nets.size(); ++n)
      next[n] = real.nets[n].next;
    commits(real, [&](int net, size_t index, const Val &value) { next[net][index] = as<Tensor>(value)->ssa; });
    std::vector<Value> yields;
    for (size_t n = 0; n < initial.size(); ++n)
      for (size_t i : changed[n]) {
        auto it = next[n].find(i);
        yields.push_back(it != next[n].end() ? it->second : as<Tensor>(real.nets[n].net->values[i])->ssa);
      }
    for (const Step::Optimiser &optimiser : real.optimisers)
      for (const Val &state : optimiser.next)
        flatten(state, yields);
    for (size_t i = weightCount + optimiserCount; i < types.size(); ++i)
      yields.push_back(carried[i]);
    yields.push_back(stepLoss(real));
    study::YieldOp::create(builder, loc(), ValueRange(yields));
  };
  fillStep(op.getStep(), batch);
  if (batch && data.rows % batch) {
    Restore<int64_t> last(lastBatch, data.rows % batch);
    fillStep(op.getTail(), data.rows % batch);
  }

  for (size_t k = 0; k < trial.everies.size(); ++k) {
    const ast::Every &every = *trial.everies[k];
    OpBuilder::InsertionGuard guard(builder);
    here = every.range;
    Block *block = &op.getEvery()[k].emplaceBlock();
    Val epochNumber = runtime(block->addArgument(scalarType, loc()));
    Val stepNumber = runtime(block->addArgument(scalarType, loc()));
    for (Type type : types)
      block->addArgument(type, loc());
    ValueRange carried = block->getArguments().drop_front(2);
    builder.setInsertionPointToEnd(block);
    bindVariables(carried);
    auto nets = netsFrom(carried, false);
    std::vector<Val> outerNets;
    for (size_t n = 0; n < nets.size(); ++n) {
      Scope *s = findScope(stmt.nets[n].text, scope);
      outerNets.push_back(s->names[stmt.nets[n].text]);
      s->names[stmt.nets[n].text] = nets[n];
    }
    llvm::scope_exit restoreNets([&] {
      for (size_t n = 0; n < nets.size(); ++n)
        findScope(stmt.nets[n].text, scope)->names[stmt.nets[n].text] = outerNets[n];
    });
    {
      ScopeGuard columns(*this, Scope::Block);
      Restore<Step *> noStep(step, nullptr);
      Restore<bool> notTraining(trainingStep, false);
      Restore<bool> within(inEvery, true);
      Restore<Val> restoreRandom(randomStep, stepNumber);
      Restore<std::vector<std::pair<std::string, Val>>> restoreClocks(
          clocks, std::vector<std::pair<std::string, Val>>{{"epoch", epochNumber}, {"step", stepNumber}});
      define("epoch", epochNumber);
      define("step", stepNumber);
      for (const std::string &name : hiddenColumns[k]) {
        auto column = std::make_shared<Column>();
        column->table = hiddenTables[k];
        column->column = name;
        column->display = name;
        define(name, column);
      }
      runBlock(every.body);
    }
    if (failures != failuresBefore)
      throw Failure{};
    here = every.range;
    std::vector<Value> yields;
    for (size_t n = 0; n < nets.size(); ++n) {
      Val now = lookup(stmt.nets[n].text);
      auto *net = as<Net>(now);
      if (!net || net->code->index != initial[n]->code->index)
        fail(every.range, "`" + stmt.nets[n].text + "` is being trained and cannot become " + describe(now));
      for (size_t i : changed[n])
        yields.push_back(as<Tensor>(net->values[i])->ssa);
    }
    for (size_t i = 0; i < optimiserCount; ++i)
      yields.push_back(carried[weightCount + i]);
    ArrayRef<Type> rest = ArrayRef<Type>(types).drop_front(weightCount + optimiserCount);
    for (const std::string &name : variables) {
      std::vector<Value> old;
      flatten(before[name], old);
      auto values = flattenLike(lookup(name), before[name], rest.take_front(old.size()), "`" + name + "`", every.range);
      rest = rest.drop_front(old.size());
      yields.insert(yields.end(), values.begin(), values.end());
    }
    if (!hiddenColumns[k].empty())
      study::ClearOp::create(builder, loc(), hiddenTables[k]);
    study::YieldOp::create(builder, loc(), ValueRange(yields));
  }

  unbind.release();
  bindVariables(op.getResults());
  auto nets = netsFrom(op.getResults(), false);
  for (size_t n = 0; n < nets.size(); ++n)
    findScope(stmt.nets[n].text, scope)->names[stmt.nets[n].text] = nets[n];
}

} // namespace hw::lang
