// Derivatives along the data flow, and the objective as a function of the weights.
#include "frontend/elaborate/Elaborator.h"
#include "ir/Location.h"
#include "ir/Slice.h"

using namespace mlir;

namespace hw::lang {

std::vector<Value> Elaborator::differentiable(const Val &value, const char *function) {
  std::vector<Value> values;
  if (auto *net = as<Net>(value)) {
    for (size_t i = 0; i < net->values.size(); ++i)
      if (net->code->parameters[i].trainable)
        values.push_back(as<Tensor>(net->values[i])->ssa);
  } else if (as<Weights>(value)) {
    flatten(value, values);
  } else if (auto *t = as<Tensor>(value); t && isFloat(t->ssa)) {
    values.push_back(t->ssa);
  } else {
    fail(std::string("`") + function +
             "` differentiates with respect to a net, weights, a tensor or a column `d.x`, found " + describe(value),
         as<Number>(value) ? "numbers are not differentiated: make it a tensor, `full([], " + label(value) + ")`" : "");
  }
  return values;
}

Val Elaborator::like(const Val &shape, ArrayRef<Value> values) {
  auto *net = as<Net>(shape);
  if (!net && !as<Weights>(shape)) // a tensor, or a list or comprehension that became one
    return tensor(values[0]);
  auto result = std::make_shared<Weights>();
  if (net) {
    for (const ParameterInfo &p : net->code->parameters)
      if (p.trainable) {
        result->entries.push_back({p.name, values.front()});
        values = values.drop_front();
      }
  } else {
    for (const Weights::Entry &entry : as<Weights>(shape)->entries) {
      result->entries.push_back({entry.name, values.front()});
      values = values.drop_front();
    }
  }
  return result;
}

Value Elaborator::exactly(const Val &value, const char *what) {
  Restore<Type> exact(meeting, f64());
  return tensorOf(value, what);
}

// A derivative in the form of `wrt`. Numbers have no type of their own, so neither has what a derivative is taken with
// respect to if it is made of these: it then has that of E.
Val Elaborator::derivative(const Val &wrt, ArrayRef<Value> values, const Val &of, Type element) {
  if (!isWeak(wrt))
    return like(wrt, values);
  return isWeak(of) ? weak(values[0]) : tensor(cast(values[0], element));
}

Value Elaborator::scalarLoss(const Val &value, const char *function) {
  auto *t = as<Tensor>(value);
  if (!t && as<Number>(value))
    fail(std::string("`") + function + "` differentiates " + describe(value) + ", which no tensor flows into");
  Value v = exactly(value, "a scalar to differentiate");
  if (typeOf(v).getRank() != 0)
    fail(std::string("`") + function + "` differentiates a scalar, found " + describe(value),
         "reduce it first: `mean(...)` or `sum(...)`; `jacobian` takes a tensor");
  if (!isFloat(v))
    fail(std::string("`") + function + "` differentiates numbers, found " + describe(value));
  return v;
}

// E's value alone does not say what E is as a function of v: E must be computed from v, and a derivative in E must not
// differentiate through v, as then it is a function of how v is computed.
void Elaborator::requireFunction(ArrayRef<Value> of, ArrayRef<Value> wrt, const Args &args, const char *function) {
  if (llvm::none_of(of, [&](Value v) { return reaches(wrt, v); }))
    fail(std::string("no data flows from the second argument of `") + function +
             "` to the first, so there is nothing to differentiate",
         "compute the first from the second: `loss = mse(net(x), y)`, then `" + std::string(function) +
             "(loss, net)` with the same `net`; `train` cuts the flow");
  auto through = derivativeThrough(wrt, of);
  if (!through)
    return;
  std::string at = locationText(through->derivative.getLoc()), name = "its second argument";
  if (!at.empty())
    at = " at " + at;
  StringRef text = args.ranges.size() > 1 ? args.ranges[1].text() : "";
  if (!text.empty() && llvm::all_of(text, [](char c) { return llvm::isAlnum(c) || c == '_' || c == '.'; }))
    name = "`" + text.str() + "`";
  fail("`" + std::string(function) + "` cannot take " + name + " as its variable: the derivative" + at +
           " differentiates through it, so it depends on how " + name + " is computed and not on its value alone",
       "differentiate by what " + name + " is computed from, or let that derivative take " + name +
           " as its variable too; or hold it constant in both: `c = stop_gradient(...)`, then go on with `c`");
}

Val Elaborator::gradient(const Args &args) {
  const Val &of = args.positional[0], &wrt = args.positional[1];
  std::vector<Value> values = differentiable(wrt, "grad");
  Value loss = scalarLoss(of, "grad");
  requireFunction({loss}, values, args, "grad");
  std::vector<Type> types;
  for (Value v : values)
    types.push_back(v.getType());
  auto op = GradOp::create(builder, loc(), TypeRange(types), loss, ValueRange(values));
  return derivative(wrt, SmallVector<Value>(op.getResults()), of, elementOf(loss));
}

//===-- Vectors -------------------------------------------------------------------------------------------------===//

Value Elaborator::flat(ArrayRef<Value> values) {
  std::vector<Value> parts;
  Type element = elementOf(values[0]);
  for (Value v : values)
    if (elementOf(v).isF64())
      element = elementOf(v);
  for (Value v : values)
    parts.push_back(reshape(cast(v, element), {typeOf(v).getNumElements()}));
  return parts.size() == 1 ? parts[0] : Value(ConcatOp::create(builder, loc(), ValueRange(parts), 0));
}

std::vector<Value> Elaborator::cut(Value flat, ArrayRef<Value> like, Type element) {
  std::vector<Value> parts;
  int64_t at = 0;
  for (Value v : like) {
    int64_t size = typeOf(v).getNumElements();
    Value part = flat;
    if (like.size() > 1)
      part = SliceOp::create(builder, loc(), flat, ArrayRef<int64_t>{at}, ArrayRef<int64_t>{at + size},
                             ArrayRef<int64_t>{1});
    parts.push_back(cast(reshape(part, shapeOf(v)), element ? element : elementOf(v)));
    at += size;
  }
  return parts;
}

// A direction in the form of `wrt`: weights tensor by tensor, or a flat vector cut up.
std::vector<Value> Elaborator::vectorLike(const Val &v, ArrayRef<Value> wrt, const char *what, Type element) {
  Restore<Type> exact(meeting, f64());
  auto type = [&](Value like) { return element ? element : elementOf(like); };
  int64_t size = 0;
  for (Value w : wrt)
    size += typeOf(w).getNumElements();
  if (as<Weights>(v)) {
    std::vector<Value> values;
    flatten(v, values);
    bool same = values.size() == wrt.size();
    for (size_t i = 0; same && i < values.size(); ++i)
      same = shapeOf(values[i]) == shapeOf(wrt[i]);
    if (!same)
      fail(std::string(what) + " has " + std::to_string(as<Weights>(v)->size()) +
           " numbers in other tensors than the " + std::to_string(size) + " that it meets");
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = cast(values[i], type(wrt[i]));
    return values;
  }
  Value t = floatTensorOf(v, what);
  if (wrt.size() == 1 && shapeOf(t) == shapeOf(wrt[0]))
    return {cast(t, type(wrt[0]))};
  if (typeOf(t).getRank() != 1 || shapeOf(t)[0] != size)
    fail(std::string(what) + " must have the form of what it meets, or be a vector of its " + std::to_string(size) +
         " numbers; found " + describe(v));
  return cut(t, wrt, element);
}

Val Elaborator::hessianProduct(const Operator &op, const Val &v) {
  std::vector<Value> wrt = differentiable(op.wrt, "hessian");
  std::vector<Value> tangents = vectorLike(v, wrt, "the vector after `@`");
  std::vector<Type> types;
  for (Value g : op.gradient)
    types.push_back(g.getType());
  auto product =
      JvpOp::create(builder, loc(), TypeRange(types), ValueRange(op.gradient), ValueRange(wrt), ValueRange(tangents));
  if (auto *t = as<Tensor>(v); t && !as<Tensor>(op.wrt))
    return tensor(flat(SmallVector<Value>(product.getResults())));
  if (op.weak)
    return weak(product.getResult(0));
  return like(op.wrt, SmallVector<Value>(product.getResults()));
}

namespace {
// The rows f(e_0), f(e_1), ..., e_i being the i-th unit vector of [n]: [n, m]. One at a time, at run time.
Value perUnitVector(Elaborator &e, int64_t n, Type element, const std::function<Value(Value)> &f) {
  OpBuilder &builder = e.builder;
  Region body;
  Value row;
  {
    OpBuilder::InsertionGuard guard(builder);
    Block *block = &body.emplaceBlock();
    auto indices = RankedTensorType::get({n}, builder.getI32Type());
    Value i = block->addArgument(RankedTensorType::get({1}, builder.getI32Type()), e.loc());
    builder.setInsertionPointToEnd(block);
    Value places = IotaOp::create(builder, e.loc(), indices, 0);
    Value unit = e.cast(CompareOp::create(builder, e.loc(), "eq", places, e.broadcastTo(i, {n})), element);
    row = f(unit);
    row = e.reshape(row, {1, typeOf(row).getNumElements()});
    study::YieldOp::create(builder, e.loc(), ValueRange{row});
  }
  auto op = study::BatchesOp::create(builder, e.loc(), TypeRange{e.tensorType({n, shapeOf(row)[1]}, elementOf(row))}, n,
                                     1, builder.getArrayAttr({builder.getStringAttr("concat")}));
  op.getBody().takeBody(body);
  return op.getResult(0);
}
} // namespace

// Symmetric, so that its rows are its columns.
Val Elaborator::denseMatrix(const Operator &op) {
  std::vector<Value> wrt = differentiable(op.wrt, "hessian");
  int64_t size = 0;
  for (Value v : wrt)
    size += typeOf(v).getNumElements();
  Type element = elementOf(op.gradient[0]);
  for (Value v : op.gradient)
    if (elementOf(v).isF64())
      element = f64();
  Value matrix =
      perUnitVector(*this, size, element, [&](Value v) { return as<Tensor>(hessianProduct(op, tensor(v)))->ssa; });
  return op.weak ? weak(matrix) : tensor(matrix);
}

Val Elaborator::jacobian(const Args &args) {
  const Val &of = args.positional[0], &wrt = args.positional[1];
  std::vector<Value> values = differentiable(wrt, "jacobian");
  Value out;
  if (as<Weights>(of)) {
    std::vector<Value> all;
    flatten(of, all);
    out = flat(all);
  } else {
    out = exactly(of, "a tensor to differentiate");
  }
  if (!isFloat(out))
    fail("`jacobian` differentiates numbers, found " + describe(of));
  requireFunction({out}, values, args, "jacobian");
  int64_t columns = 0;
  for (Value v : values)
    columns += typeOf(v).getNumElements();
  Value transposed = perUnitVector(*this, columns, elementOf(out), [&](Value v) {
    return JvpOp::create(builder, loc(), TypeRange{out.getType()}, ValueRange{out}, ValueRange(values),
                         ValueRange(cut(v, values)))
        .getResult(0);
  });
  Value matrix = TransposeOp::create(builder, loc(), transposed, ArrayRef<int64_t>{1, 0});
  return isWeak(of) ? weak(matrix) : tensor(matrix);
}

//===-- The objective -------------------------------------------------------------------------------------------===//

// f(w): E's graph from W on, with w in W's place. f(W) is E itself, so nothing is computed twice. Derivatives that E
// holds are those of E as a function of leaves: w may have been computed from what they differentiate in, but they hold
// it constant.
Val Elaborator::callObjective(const Objective &objective, const Val &weights, SourceRange range) {
  if (!as<Weights>(weights))
    fail(range, "the objective takes weights, found " + describe(weights));
  std::vector<Value> given;
  flatten(weights, given);
  if (given.size() != objective.arguments.size())
    fail(range, "the objective takes weights of " + std::to_string(objective.arguments.size()) + " tensors, found " +
                    std::to_string(given.size()));
  if (llvm::equal(given, objective.arguments))
    return objective.value;
  IRMapping mapping;
  for (size_t i = 0; i < given.size(); ++i) {
    if (shapeOf(given[i]) != shapeOf(objective.arguments[i]))
      fail(range, "the objective takes weights of the shapes it was made for");
    if (elementOf(given[i]) != elementOf(objective.arguments[i]))
      fail(range,
           std::string("the objective takes weights of its own type, ") +
               (elementOf(objective.arguments[i]).isF64() ? "f64, found f32" : "f32, found f64"),
           elementOf(objective.arguments[i]).isF64() ? "`f64(w)`" : "`f32(w)`");
    mapping.map(objective.arguments[i], given[i]);
  }
  std::vector<Value> roots;
  flatten(objective.value, roots);
  for (Operation *op : flowBetween(objective.arguments, roots))
    builder.clone(*op, mapping)->walk([&](DerivativeOpInterface derivative) {
      derivative.getHeldMutable().append(ValueRange(given));
    });
  std::vector<Value> results;
  for (Value root : roots)
    results.push_back(mapping.lookupOrDefault(root));
  ArrayRef<Value> rest = results;
  return unflatten(objective.value, rest, {});
}

} // namespace hw::lang
