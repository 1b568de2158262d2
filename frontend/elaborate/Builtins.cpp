// The primitives: what the compiler must know. Everything else is in prelude.hw.
#include "frontend/elaborate/Windows.h"

#include <cmath>

using namespace mlir;

namespace hw::lang {

namespace {

//===-- Reductions ----------------------------------------------------------------------------------------------===//

enum class Reduction { Sum, Mean, Max, Min };
const char *name(Reduction r) {
  static const char *const names[] = {"sum", "mean", "max", "min"};
  return names[int(r)];
}

Value finishKeepDims(Elaborator &e, Value v, ArrayRef<int64_t> from, ArrayRef<int64_t> axes, const Val &keep) {
  if (!keep || !e.knownBool(keep, "`keepdims`"))
    return v;
  SmallVector<int64_t> shape(from);
  for (int64_t axis : axes)
    shape[axis] = 1;
  return e.reshape(v, shape);
}

Val reduce(Elaborator &e, Args &a, Reduction kind) {
  const Val &x = a.positional[0];
  if (auto *c = as<Column>(x)) {
    auto op = study::ReduceOp::create(e.builder, e.loc(), RankedTensorType::get({}, e.f64()), c->table, c->column,
                                      name(kind));
    return runtime(op.getResult());
  }
  if (as<Number>(x))
    return x;
  if (as<Net>(x))
    e.fail(std::string("`") + name(kind) + "` takes numbers, found a net", "its weights are `net.weights`");
  if (as<Weights>(x)) {
    if (a.keyword("axis"))
      e.fail("weights have no axes to reduce along", "`map(f, w)` goes tensor by tensor");
    std::vector<Value> parts;
    e.flatten(x, parts);
    if (kind == Reduction::Sum || kind == Reduction::Mean) {
      Value total;
      for (Value v : parts) {
        SmallVector<int64_t> dims;
        for (int64_t i = 0; i < typeOf(v).getRank(); ++i)
          dims.push_back(i);
        Value s = e.reduceSum(v, dims);
        if (total && elementOf(total) != elementOf(s))
          total = e.cast(total, e.f64()), s = e.cast(s, e.f64());
        total = total ? e.binaryOp(Bin::Add, total, s) : s;
      }
      if (kind == Reduction::Mean)
        total = e.binaryOp(Bin::Div, total, e.splat({}, elementOf(total), double(as<Weights>(x)->size())));
      return tensor(total);
    }
    Args flat = a;
    flat.positional[0] = tensor(e.flat(parts));
    return reduce(e, flat, kind);
  }
  std::string what = std::string("a tensor, weights or a column in `") + name(kind) + "`";
  Value v = e.floatTensorOf(x, what.c_str());
  SmallVector<int64_t> from(shapeOf(v));
  bool all;
  std::vector<int64_t> axes = e.knownAxes(a.keyword("axis"), from.size(), all);
  int64_t count = 1;
  for (int64_t axis : axes) {
    count *= from[axis];
    if (e.sampleProbe && from[axis] % e.sampleProbe == 0 && kind != Reduction::Mean && !e.meanDepth)
      e.fail(std::string("a `") + name(kind) + "` over the samples cannot be put together from batches",
             "take the `mean`, or evaluate without `batch`");
  }
  if (kind == Reduction::Sum || kind == Reduction::Mean) {
    v = e.reduceSum(v, axes);
    if (kind == Reduction::Mean)
      v = e.binaryOp(Bin::Div, v, e.splat(shapeOf(v), elementOf(v), double(count)));
  } else {
    if (kind == Reduction::Min)
      v = NegOp::create(e.builder, e.loc(), v.getType(), v);
    if (all && from.size() > 1)
      v = e.reshape(v, {typeOf(v).getNumElements()});
    if (all && !from.empty())
      v = ReduceMaxOp::create(e.builder, e.loc(), v, 0).getValue();
    else
      for (size_t i = axes.size(); i-- > 0;)
        v = ReduceMaxOp::create(e.builder, e.loc(), v, axes[i]).getValue();
    if (kind == Reduction::Min)
      v = NegOp::create(e.builder, e.loc(), v.getType(), v);
  }
  return tensor(finishKeepDims(e, v, from, axes, a.keyword("keepdims")));
}

Val maxOrMin(Elaborator &e, Args &a, Reduction kind) {
  if (a.positional.size() == 1)
    return reduce(e, a, kind);
  if (a.keyword("axis") || a.keyword("keepdims"))
    e.fail(std::string("`") + name(kind) + "` of two values has no axis",
           "with one value and `axis` it reduces: `" + std::string(name(kind)) + "(x, axis = 0)`");
  return e.binary(kind == Reduction::Max ? Bin::Max : Bin::Min, a.positional[0], a.positional[1]);
}

Val argmax(Elaborator &e, Args &a) {
  Value v = e.floatTensorOf(a.positional[0], "a tensor in `argmax`");
  if (typeOf(v).getRank() == 0)
    e.fail("`argmax` takes a tensor, found " + describe(a.positional[0]));
  Val axisValue = a.keyword("axis");
  int64_t axis = 0;
  if (axisValue)
    axis = e.knownAxis(axisValue, typeOf(v).getRank());
  else
    v = e.reshape(v, {typeOf(v).getNumElements()});
  int64_t classes = shapeOf(v)[axis];
  return tensor(ReduceMaxOp::create(e.builder, e.loc(), v, axis).getIndex(), classes);
}

Val count(Elaborator &e, Args &a) {
  if (auto *c = as<Column>(a.positional[0])) {
    auto op =
        study::ReduceOp::create(e.builder, e.loc(), RankedTensorType::get({}, e.f64()), c->table, c->column, "count");
    return runtime(op.getResult());
  }
  Value v = e.tensorOf(a.positional[0], "a tensor in `count`");
  bool all;
  double n = 1;
  for (int64_t axis : e.knownAxes(a.keyword("axis"), typeOf(v).getRank(), all))
    n *= double(shapeOf(v)[axis]);
  const double values = n;
  if (Val ddof = a.keyword("ddof"); ddof && !as<None>(ddof))
    n -= e.known(ddof, "`ddof`");
  if (n <= 0)
    e.fail(e.lastBatch ? "the last batch of an epoch has " + std::to_string(e.lastBatch) +
                             (e.lastBatch == 1 ? " row" : " rows") + " here, and a variance with `ddof = " +
                             numberText(values - n) + "` takes more values than the " + numberText(values) + " of each"
                       : "a variance with `ddof = " + numberText(values - n) + "` takes more values than the " +
                             numberText(values) + " of each",
           e.lastBatch ? "choose a batch size that leaves more rows for the last batch, or none"
                       : "more samples, or axes that hold more");
  return e.sizeNumber(n);
}

Val last(Elaborator &e, Args &a) {
  auto *c = as<Column>(a.positional[0]);
  if (!c)
    e.fail("`last` takes a table's column, found " + describe(a.positional[0]), "the last of a tensor is `x[-1]`");
  auto op =
      study::ReduceOp::create(e.builder, e.loc(), RankedTensorType::get({}, e.f64()), c->table, c->column, "last");
  return runtime(op.getResult());
}

Val len(Elaborator &e, Args &a) {
  const Val &x = a.positional[0];
  if (auto *l = as<List>(x))
    return number(double(l->items.size()));
  if (auto *r = as<Range>(x))
    return e.binary(Bin::Add, e.binary(Bin::Sub, r->last, r->first), number(1));
  if (auto *d = as<Data>(x))
    return number(double(e.dataOf(x, a.range).rows)), number(double(d->rows));
  if (as<Column>(x))
    return count(e, a);
  Value v = e.tensorOf(x, "a list, a tensor or a data set in `len`");
  if (typeOf(v).getRank() == 0)
    e.fail("a number has no length");
  return e.sizeNumber(double(shapeOf(v)[0]));
}

//===-- Shapes --------------------------------------------------------------------------------------------------===//

Val reshape(Elaborator &e, Args &a) {
  Value v = e.tensorOf(a.positional[0], "a tensor in `reshape`");
  std::vector<int64_t> shape;
  int64_t unknown = -1, known = 1;
  auto *l = as<List>(a.positional[1]);
  std::vector<Val> sizes = l ? l->items : std::vector<Val>{a.positional[1]};
  for (size_t i = 0; i < sizes.size(); ++i) {
    int64_t size = e.knownInt(sizes[i], "a size in a shape");
    if (size == -1 && unknown < 0)
      unknown = i;
    else if (size < 1)
      e.fail("a size in a shape is at least 1, or once -1 for what is left; found " + std::to_string(size));
    else if (llvm::MulOverflow(known, size, known))
      e.fail("the sizes of this shape multiply to more than 2^63 elements");
    shape.push_back(size);
  }
  int64_t elements = typeOf(v).getNumElements();
  if (unknown >= 0 && known && elements % known == 0)
    shape[unknown] = elements / known;
  if (unknown >= 0 ? shape[unknown] < 1 : known != elements)
    e.fail(describe(a.positional[0]) + " has " + std::to_string(elements) + " elements and cannot take the shape " +
           shapeText(shape));
  return tensor(e.reshape(v, shape), as<Tensor>(a.positional[0]) ? as<Tensor>(a.positional[0])->classes : 0);
}

Val flatten(Elaborator &e, Args &a) {
  Value v = e.tensorOf(a.positional[0], "a tensor in `flatten`");
  if (typeOf(v).getRank() == 0)
    e.fail("`flatten` keeps axis 0, and " + describe(a.positional[0]) + " has no axes");
  int64_t n = shapeOf(v)[0];
  return tensor(e.reshape(v, {n, typeOf(v).getNumElements() / n}));
}

Val transpose(Elaborator &e, Args &a) {
  Value v = e.tensorOf(a.positional[0], "a tensor in `transpose`");
  int64_t rank = typeOf(v).getRank();
  SmallVector<int64_t> order;
  if (a.positional.size() > 1) {
    auto *l = as<List>(a.positional[1]);
    if (!l || int64_t(l->items.size()) != rank)
      e.fail("`transpose` takes an order of all " + std::to_string(rank) + " axes: `[1, 0]`");
    for (const Val &item : l->items) {
      int64_t axis = e.knownAxis(item, rank);
      if (llvm::is_contained(order, axis))
        e.fail("`transpose` names axis " + std::to_string(axis) + " twice");
      order.push_back(axis);
    }
  } else {
    for (int64_t i = rank; i-- > 0;)
      order.push_back(i);
  }
  return tensor(TransposeOp::create(e.builder, e.loc(), v, order));
}

// Tensors of a list, promoted to one element type.
std::vector<Value> tensorsOf(Elaborator &e, const Val &value, const char *function) {
  auto *l = as<List>(value);
  if (!l || l->items.empty())
    e.fail(std::string("`") + function + "` takes a list of tensors, found " + describe(value),
           std::string("`") + function + "([a, b])`");
  std::vector<Value> parts;
  Type element;
  for (const Val &item : l->items) {
    Value v = e.tensorOf(item, "a tensor in the list");
    if (as<Number>(item))
      v = e.cast(v, e.defaultFloat());
    parts.push_back(v);
    if (!element)
      element = elementOf(v);
    else if (elementOf(v) != element)
      element = elementOf(v).isF64() || element.isF64() ? e.f64() : e.defaultFloat();
  }
  for (Value &v : parts)
    v = e.cast(v, element);
  return parts;
}

Val concat(Elaborator &e, Args &a) {
  std::vector<Value> parts = tensorsOf(e, a.positional[0], "concat");
  int64_t rank = typeOf(parts[0]).getRank();
  int64_t axis = a.keyword("axis") ? e.knownAxis(a.keyword("axis"), rank) : 0;
  if (rank == 0)
    e.fail("`concat` joins tensors along an axis, and numbers have none", "`stack` makes one");
  for (Value v : parts) {
    bool fits = typeOf(v).getRank() == rank;
    for (int64_t i = 0; fits && i < rank; ++i)
      fits = i == axis || shapeOf(v)[i] == shapeOf(parts[0])[i];
    if (!fits)
      e.fail("`concat` along axis " + std::to_string(axis) + " needs equal sizes elsewhere; found " +
             shapeText(shapeOf(parts[0])) + " and " + shapeText(shapeOf(v)));
  }
  return tensor(parts.size() == 1 ? parts[0] : Value(ConcatOp::create(e.builder, e.loc(), ValueRange(parts), axis)));
}

Val stack(Elaborator &e, Args &a) {
  std::vector<Value> parts = tensorsOf(e, a.positional[0], "stack");
  int64_t rank = typeOf(parts[0]).getRank();
  int64_t axis = a.keyword("axis") ? e.knownAxis(a.keyword("axis"), rank + 1) : 0;
  for (Value v : parts)
    if (shapeOf(v) != shapeOf(parts[0]))
      e.fail("`stack` needs equal shapes; found " + shapeText(shapeOf(parts[0])) + " and " + shapeText(shapeOf(v)));
  SmallVector<int64_t> shape(shapeOf(parts[0]));
  shape.insert(shape.begin() + axis, 1);
  for (Value &v : parts)
    v = e.reshape(v, shape);
  return tensor(parts.size() == 1 ? parts[0] : Value(ConcatOp::create(e.builder, e.loc(), ValueRange(parts), axis)));
}

Val full(Elaborator &e, ArrayRef<int64_t> shape, const Val &value) {
  Type element = e.defaultFloat();
  if (auto *t = as<Tensor>(value); t && !t->weak)
    element = elementOf(t->ssa);
  return tensor(e.asTensor(value, shape, element));
}

Val linspace(Elaborator &e, Args &a) {
  int64_t n = e.knownInt(a.positional[2], "the number of points");
  if (n < 2)
    e.fail("`linspace` has at least 2 points, found " + std::to_string(n));
  auto result = std::make_shared<Tensor>();
  result->first = a.positional[0];
  result->last = a.positional[1];
  for (const Val &v : {result->first, result->last})
    if (!as<Number>(v))
      e.fail("`linspace` goes from a number to a number, found " + describe(v));
  Value places = IotaOp::create(e.builder, e.loc(), e.tensorType({n}, e.f64()), 0);
  Val step = e.binary(Bin::Div, e.binary(Bin::Sub, result->last, result->first), number(double(n - 1)));
  Val all = e.binary(Bin::Add, result->first, e.binary(Bin::Mul, step, tensor(places)));
  result->ssa = e.cast(as<Tensor>(all)->ssa, e.defaultFloat());
  return result;
}

Val arange(Elaborator &e, Args &a) {
  int64_t n = e.knownInt(a.positional[0], "the number of elements");
  if (n < 1)
    e.fail("`arange` has at least 1 element, found " + std::to_string(n));
  return tensor(IotaOp::create(e.builder, e.loc(), e.tensorType({n}, e.defaultFloat()), 0));
}

Val eye(Elaborator &e, Args &a) {
  int64_t n = e.knownInt(a.positional[0], "the size of a matrix");
  if (n < 1)
    e.fail("a matrix has at least one row, found " + std::to_string(n));
  Type i32 = e.builder.getI32Type();
  Value rows = IotaOp::create(e.builder, e.loc(), e.tensorType({n, n}, i32), 0);
  Value columns = IotaOp::create(e.builder, e.loc(), e.tensorType({n, n}, i32), 1);
  return tensor(e.cast(e.binaryOp(Bin::Eq, rows, columns), e.defaultFloat()));
}

// A net of other values: its type is theirs, f64 if any of them is.
Val netOf(Elaborator &e, const Net &like, std::vector<Val> values) {
  auto result = std::make_shared<Net>(like);
  auto code = std::make_shared<NetCode>(*like.code);
  code->element = llvm::any_of(values, [](const Val &v) { return elementOf(as<Tensor>(v)->ssa).isF64(); })
                      ? e.f64()
                      : Type(e.builder.getF32Type());
  for (Val &v : values)
    v = tensor(e.cast(as<Tensor>(v)->ssa, code->element), as<Tensor>(v)->classes);
  result->code = code;
  result->values = std::move(values);
  result->trained = -1;
  return result;
}

Val castTo(Elaborator &e, Args &a, Type element) {
  const Val &x = a.positional[0];
  if (as<Weights>(x))
    return e.mapWeights(x, [&](Value v) { return e.kept(v, element); });
  if (auto *net = as<Net>(x)) {
    std::vector<Val> values;
    for (const Val &v : net->values)
      values.push_back(tensor(e.kept(as<Tensor>(v)->ssa, element)));
    return netOf(e, *net, std::move(values));
  }
  // Numbers are f64, and are rounded once.
  Restore<Type> exact(e.meeting, e.f64());
  return tensor(e.kept(e.tensorOf(x, "a number, a tensor, weights or a net"), element));
}

//===-- Labels --------------------------------------------------------------------------------------------------===//

// The mask [..., k] of labels [...]: which class each is.
Value classMask(Elaborator &e, Value labels, int64_t k) {
  SmallVector<int64_t> shape(shapeOf(labels)), with(shapeOf(labels));
  with.push_back(1);
  shape.push_back(k);
  Type i32 = e.builder.getI32Type();
  Value classes = IotaOp::create(e.builder, e.loc(), e.tensorType(shape, i32), int64_t(shape.size() - 1));
  Value wide = e.broadcastTo(e.reshape(e.cast(labels, i32), with), shape);
  return e.binaryOp(Bin::Eq, wide, classes);
}

const Tensor &labelsOf(Elaborator &e, const Val &value, const char *function) {
  auto *t = as<Tensor>(value);
  if (!t || !t->classes)
    e.fail(std::string("`") + function + "` takes labels of class k, found " + describe(value),
           "`classes(x, k)` makes numbers 0 to k - 1 labels");
  return *t;
}

Val oneHot(Elaborator &e, Args &a) {
  const Tensor &t = labelsOf(e, a.positional[0], "one_hot");
  int64_t k = a.keyword("classes") ? e.knownInt(a.keyword("classes"), "the number of classes") : t.classes;
  if (k < t.classes)
    e.fail("labels of class " + std::to_string(t.classes) + " do not all have a place among " + std::to_string(k),
           "leave `classes` away, or give at least " + std::to_string(t.classes));
  return tensor(e.cast(classMask(e, t.ssa, k), e.defaultFloat()));
}

// x[..., label]: the element at each row's label.
Val pick(Elaborator &e, Args &a) {
  Value x = e.floatTensorOf(a.positional[0], "a tensor in `pick`");
  const Tensor &t = labelsOf(e, a.positional[1], "pick");
  int64_t rank = typeOf(x).getRank();
  if (rank != typeOf(t.ssa).getRank() + 1 || shapeOf(x).drop_back() != shapeOf(t.ssa))
    e.fail("logits " + shapeText(shapeOf(x)) + " and labels " + shapeText(shapeOf(t.ssa)) +
               " do not go together: logits are [N, k], labels [N]",
           "the net's last layer gives one column a class: `linear(" + std::to_string(t.classes) + ")`");
  if (shapeOf(x).back() != t.classes)
    e.fail("the labels are of class " + std::to_string(t.classes) + ", but the logits have " +
               std::to_string(shapeOf(x).back()) + " columns",
           "the net's last layer gives one column a class: `linear(" + std::to_string(t.classes) + ")`");
  Value mask = classMask(e, t.ssa, t.classes);
  Value zero = e.splat(shapeOf(x), elementOf(x), 0);
  Value chosen = SelectOp::create(e.builder, e.loc(), x.getType(), mask, x, zero);
  return tensor(e.reduceSum(chosen, {rank - 1}));
}

Val classes(Elaborator &e, Args &a) {
  int64_t k = e.knownInt(a.positional[1], "the number of classes");
  if (k < 1 || k > 1'000'000)
    e.fail("labels are of 1 to a million classes, found " + std::to_string(k));
  Value v = e.tensorOf(a.positional[0], "a tensor in `classes`");
  // Values from a file are checked as they are read.
  Value source = v;
  while (auto cast = source.getDefiningOp<CastOp>())
    source = cast.getOperand();
  if (auto dataset = source.getDefiningOp<study::DatasetOp>())
    return tensor(e.cast(study::DatasetOp::create(e.builder, e.loc(), dataset.getType(), dataset.getKind(),
                                                  dataset.getPath(), dataset.getPart(), k),
                         e.builder.getI32Type()),
                  k);
  return tensor(e.whole(v, k, false, e.builder.getI32Type(), "the label", "the classes 0 to " + std::to_string(k - 1)),
                k);
}

//===-- Weights -------------------------------------------------------------------------------------------------===//

Val weightsOf(Elaborator &e, const Val &value, const char *function) {
  if (as<Weights>(value))
    return value;
  if (auto *net = as<Net>(value))
    e.fail(std::string("`") + function + "` takes weights, found a net", "write `net.weights`"), (void)net;
  e.fail(std::string("`") + function + "` takes weights, found " + describe(value));
}

Val flatBuiltin(Elaborator &e, Args &a) {
  const Val &x = a.positional[0];
  if (as<Weights>(x) || (as<List>(x) && !as<List>(x)->items.empty() && as<Tensor>(as<List>(x)->items[0]))) {
    std::vector<Value> parts;
    e.flatten(x, parts);
    return tensor(e.flat(parts));
  }
  if (as<Net>(x))
    weightsOf(e, x, "flat");
  Value v = e.floatTensorOf(x, "weights or a tensor in `flat`");
  return tensor(e.reshape(v, {typeOf(v).getNumElements()}));
}

Val likeBuiltin(Elaborator &e, Args &a) {
  Val w = a.positional[1];
  std::vector<Value> like;
  if (as<Net>(w))
    like = e.differentiable(w, "like");
  else
    e.flatten(weightsOf(e, w, "like"), like);
  Value v = e.floatTensorOf(a.positional[0], "a vector in `like`");
  int64_t size = 0;
  for (Value part : like)
    size += typeOf(part).getNumElements();
  if (typeOf(v).getNumElements() != size)
    e.fail("`like` gives a vector the form of weights: these are " + std::to_string(size) +
           " numbers, the vector has " + std::to_string(typeOf(v).getNumElements()));
  return e.like(w, e.cut(e.reshape(v, {size}), like));
}

Val map(Elaborator &e, Args &a) {
  const Weights *first = nullptr;
  if (a.positional.size() < 2)
    e.fail("`map` takes a function and weights: `map(f, w)`");
  for (size_t i = 1; i < a.positional.size(); ++i) {
    auto *w = as<Weights>(weightsOf(e, a.positional[i], "map"));
    if (first && w->entries.size() != first->entries.size())
      e.fail("`map` goes over weights of one form; these have " + std::to_string(first->entries.size()) + " and " +
             std::to_string(w->entries.size()) + " tensors");
    first = first ? first : w;
  }
  auto result = std::make_shared<Weights>();
  for (size_t i = 0; i < first->entries.size(); ++i) {
    std::vector<Val> args;
    for (size_t k = 1; k < a.positional.size(); ++k)
      args.push_back(tensor(as<Weights>(a.positional[k])->entries[i].ssa));
    Value like = first->entries[i].ssa;
    Val r = e.call(a.positional[0], std::move(args), a.range);
    if (!as<Number>(r) && !as<Tensor>(r))
      e.fail("the function of `map` gives a tensor for each tensor, found " + describe(r));
    // Numbers take the type of the tensor; f64 stays so.
    auto *t = as<Tensor>(r);
    const bool stays = t && !t->weak && elementOf(t->ssa).isF64();
    result->entries.push_back({first->entries[i].name, e.asTensor(r, stays ? e.f64() : elementOf(like))});
  }
  return result;
}

Val select(Elaborator &e, Args &a) {
  auto *w = as<Weights>(weightsOf(e, a.positional[0], "select"));
  std::string wanted = e.knownString(a.positional[1], "the name in `select`");
  auto result = std::make_shared<Weights>();
  std::set<std::string> names;
  for (const Weights::Entry &entry : w->entries) {
    size_t dot = entry.name.rfind('.');
    std::string lastName = dot == std::string::npos ? entry.name : entry.name.substr(dot + 1);
    names.insert(lastName);
    if (lastName == wanted)
      result->entries.push_back(entry);
  }
  if (result->entries.empty()) {
    std::string known;
    for (const std::string &n : names)
      known += (known.empty() ? "" : ", ") + n;
    e.fail("no tensor of these weights is called `" + wanted + "`; their last names are " + known,
           e.nearest(wanted, {names.begin(), names.end()}));
  }
  return result;
}

Val at(Elaborator &e, Args &a) {
  auto *net = as<Net>(a.positional[0]);
  if (!net)
    e.fail("`at` takes a net first, found " + describe(a.positional[0]));
  std::vector<Value> old = e.differentiable(a.positional[0], "at");
  // f64 if the net or the weights are; numbers take the net's type.
  Meeting meet(e, {a.positional[0], a.positional[1]});
  Type element = e.defaultFloat();
  std::vector<Value> values = e.vectorLike(a.positional[1], old, "the weights in `at`", element);
  std::vector<Val> all = net->values;
  size_t next = 0;
  for (size_t i = 0; i < all.size(); ++i)
    if (net->code->parameters[i].trainable)
      all[i] = tensor(values[next++]);
  return netOf(e, *net, std::move(all));
}

Val mix(Elaborator &e, Args &a) {
  auto *x = as<Net>(a.positional[0]), *y = as<Net>(a.positional[1]);
  if (!x || !y || x->code->index != y->code->index)
    e.fail("`mix` takes two nets with the same parameters, found " + describe(a.positional[0]) + " and " +
           describe(a.positional[1]));
  std::vector<Val> values;
  for (size_t i = 0; i < x->values.size(); ++i) {
    // (1 - t) a + t b: exactly a at 0 and b at 1
    Val rest = e.binary(Bin::Sub, number(1), a.positional[2]);
    values.push_back(
        e.binary(Bin::Add, e.binary(Bin::Mul, rest, x->values[i]), e.binary(Bin::Mul, a.positional[2], y->values[i])));
    if (shapeOf(as<Tensor>(values[i])->ssa) != shapeOf(as<Tensor>(x->values[i])->ssa))
      e.fail("`mix` takes nets of equal shapes and a number from 0 to 1");
  }
  return netOf(e, *x, std::move(values));
}

Val sameShape(Elaborator &e, Args &a) {
  if (as<Number>(a.positional[1]))
    return a.positional[1];
  Value x = e.tensorOf(a.positional[0], "a tensor"), y = e.tensorOf(a.positional[1], "a tensor");
  if (shapeOf(x) != shapeOf(y)) {
    std::string help = "they are compared element by element, so their shapes must be equal";
    if (typeOf(x).getNumElements() == typeOf(y).getNumElements())
      help += typeOf(y).getRank() < typeOf(x).getRank() ? ": write `y[:, None]`"
                                                        : ": write `x[:, 0]` or reshape one of them";
    e.fail("prediction " + shapeText(shapeOf(x)) + " and target " + shapeText(shapeOf(y)) + " differ in shape", help);
  }
  return a.positional[1];
}

//===-- Linear algebra ------------------------------------------------------------------------------------------===//

Val solve(Elaborator &e, Args &a) {
  Value m = e.floatTensorOf(a.positional[0], "a matrix in `solve`"),
        b = e.floatTensorOf(a.positional[1], "a right side in `solve`");
  auto s = shapeOf(m);
  if (s.size() != 2 || s[0] != s[1])
    e.fail("`solve` takes a square matrix first, found " + describe(a.positional[0]));
  auto r = shapeOf(b);
  if (r.empty() || r.size() > 2 || r[0] != s[0])
    e.fail("`solve` of a matrix " + shapeText(s) + " takes a right side [" + std::to_string(s[0]) + "] or [" +
           std::to_string(s[0]) + ", k], found " + describe(a.positional[1]));
  Type element = elementOf(m).isF64() || elementOf(b).isF64() ? e.f64() : Type(e.builder.getF32Type());
  m = e.cast(m, element);
  b = e.cast(b, element);
  SmallVector<int64_t> shape(r);
  Value column = r.size() == 1 ? e.reshape(b, {r[0], 1}) : b;
  Value x = LuSolveOp::create(e.builder, e.loc(), column.getType(), m, column);
  return tensor(e.reshape(x, shape));
}

Val cholesky(Elaborator &e, Args &a) {
  Value m = e.floatTensorOf(a.positional[0], "a matrix in `cholesky`");
  auto s = shapeOf(m);
  if (s.size() != 2 || s[0] != s[1])
    e.fail("`cholesky` takes a square matrix, found " + describe(a.positional[0]));
  return tensor(CholeskyOp::create(e.builder, e.loc(), m.getType(), m));
}

Val eigvals(Elaborator &e, Args &a) {
  if (as<Operator>(a.positional[0]))
    e.fail("`eigvals` takes a matrix, found an operator", "`eigvals(dense(H))` makes its matrix first");
  Value m = e.floatTensorOf(a.positional[0], "a matrix in `eigvals`");
  auto s = shapeOf(m);
  if (s.size() != 2 || s[0] != s[1])
    e.fail("`eigvals` takes a square matrix, found " + describe(a.positional[0]));
  return tensor(study::EighOp::create(e.builder, e.loc(), m).getValues());
}

//===-- Derivatives ---------------------------------------------------------------------------------------------===//

Val hessian(Elaborator &e, Args &a) {
  Val gradient = e.gradient(a);
  auto op = std::make_shared<Operator>();
  Restore<Type> exact(e.meeting, e.f64());
  e.flatten(gradient, op->gradient);
  op->wrt = a.positional[1];
  op->weak = as<Tensor>(gradient) && as<Tensor>(gradient)->weak;
  return op;
}

Val dense(Elaborator &e, Args &a) {
  auto *op = as<Operator>(a.positional[0]);
  if (!op)
    e.fail("`dense` makes the matrix of an operator, found " + describe(a.positional[0]),
           "`dense(hessian(loss, net))`");
  return e.denseMatrix(*op);
}

Val jvp(Elaborator &e, Args &a) {
  std::vector<Value> wrt = e.differentiable(a.positional[1], "jvp");
  std::vector<Value> tangents = e.vectorLike(a.positional[2], wrt, "the tangent in `jvp`");
  std::vector<Value> of;
  if (as<Weights>(a.positional[0]))
    e.flatten(a.positional[0], of);
  else
    of.push_back(e.exactly(a.positional[0], "a tensor to differentiate in `jvp`"));
  if (!e.isFloat(of[0]))
    e.fail("`jvp` differentiates numbers, found " + describe(a.positional[0]));
  e.requireFunction(of, wrt, a, "jvp");
  std::vector<Type> types;
  for (Value v : of)
    types.push_back(v.getType());
  auto op = JvpOp::create(e.builder, e.loc(), TypeRange(types), ValueRange(of), ValueRange(wrt), ValueRange(tangents));
  Val result = e.like(a.positional[0], SmallVector<Value>(op.getResults()));
  return isWeak(a.positional[0]) ? weak(as<Tensor>(result)->ssa) : result;
}

Val vjp(Elaborator &e, Args &a) {
  std::vector<Value> wrt = e.differentiable(a.positional[1], "vjp");
  std::vector<Value> of;
  if (as<Weights>(a.positional[0]))
    e.flatten(a.positional[0], of);
  else
    of.push_back(e.exactly(a.positional[0], "a tensor to differentiate in `vjp`"));
  if (!e.isFloat(of[0]))
    e.fail("`vjp` differentiates numbers, found " + describe(a.positional[0]));
  std::vector<Value> cotangents;
  if (auto *n = as<Number>(a.positional[2]); n && typeOf(of[0]).getRank() == 0)
    cotangents = {e.asTensor(a.positional[2], shapeOf(of[0]), elementOf(of[0]))};
  else
    cotangents = e.vectorLike(a.positional[2], of, "the cotangent in `vjp`");
  e.requireFunction(of, wrt, a, "vjp");
  std::vector<Type> types;
  for (Value v : wrt)
    types.push_back(v.getType());
  auto op =
      VjpOp::create(e.builder, e.loc(), TypeRange(types), ValueRange(of), ValueRange(wrt), ValueRange(cotangents));
  return e.derivative(a.positional[1], SmallVector<Value>(op.getResults()), a.positional[0], elementOf(of[0]));
}

//===-- The table -----------------------------------------------------------------------------------------------===//

#define UNARY(NAME, DOC) {NAME "(x)", DOC, [](Elaborator &e, Args &a) { return e.unary(NAME, a.positional[0]); }}

const Builtin table[] = {
    UNARY("exp", "e^x"),
    UNARY("expm1", "e^x - 1, accurate near 0"),
    UNARY("log", "natural logarithm"),
    UNARY("log1p", "log(1 + x), accurate near 0"),
    UNARY("log2", "logarithm to base 2"),
    UNARY("log10", "logarithm to base 10"),
    UNARY("sqrt", "square root"),
    UNARY("sin", "sine of radians"),
    UNARY("cos", "cosine of radians"),
    UNARY("tanh", "hyperbolic tangent"),
    UNARY("sinh", "hyperbolic sine"),
    UNARY("cosh", "hyperbolic cosine"),
    UNARY("sigmoid", "1 / (1 + e^-x)"),
    UNARY("erf", "error function"),
    UNARY("asinh", "inverse hyperbolic sine"),
    UNARY("abs", "|x|; derivative 0 at 0"),
    UNARY("sign", "-1, 0 or 1; derivative 0"),
    UNARY("floor", "the largest whole number not above x; derivative 0"),
    UNARY("stop_gradient", "x, through which no derivative passes"),
    {"arcsinh(x)", "inverse hyperbolic sine, NumPy's name",
     [](Elaborator &e, Args &a) { return e.unary("asinh", a.positional[0]); }},
    {"same_shape(a, b)", "b, which must have a's shape or be a number: keeps a loss from broadcasting by mistake",
     sameShape},
    {"where(condition, a, b)",
     "a where the condition holds, else b; chooses numbers, tensors element by element, weights, nets",
     [](Elaborator &e, Args &a) { return e.where(a.positional[0], a.positional[1], a.positional[2]); }},
    {"sum(x, axis = None, keepdims = False)", "sum of a tensor, of weights, of a table's column",
     [](Elaborator &e, Args &a) { return reduce(e, a, Reduction::Sum); }},
    {"mean(x, axis = None, keepdims = False)", "mean of a tensor, of weights, of a table's column",
     [](Elaborator &e, Args &a) { return reduce(e, a, Reduction::Mean); }},
    {"max(x, y?, axis = None, keepdims = False)",
     "the larger of two (at a tie the derivative goes to y), or a tensor's largest",
     [](Elaborator &e, Args &a) { return maxOrMin(e, a, Reduction::Max); }},
    {"min(x, y?, axis = None, keepdims = False)", "the smaller of two, or a tensor's smallest",
     [](Elaborator &e, Args &a) { return maxOrMin(e, a, Reduction::Min); }},
    {"argmax(x, axis = None)", "index of the first largest element, a label of class k for an axis of size k", argmax},
    {"count(x, axis = None, ddof = 0)",
     "number of elements that a reduction over these axes takes in, less ddof; at least one is left", count},
    {"last(column)", "the last value of a table's column", last},
    {"len(x)", "length of a list, size of axis 0, rows of a data set or a column", len},
    {"reshape(x, shape)", "the same elements in row-major order; one size may be -1", reshape},
    {"flatten(x)", "[N, ...] to [N, rest]", flatten},
    {"transpose(x, order?)", "axes reversed, or in the order given", transpose},
    {"concat(list, axis = 0)", "tensors joined along an axis", concat},
    {"stack(list, axis = 0)", "tensors joined along a new axis", stack},
    {"conv(x, weight, stride = 1, padding = 0, dilation = 1, groups = 1)",
     "convolution (cross-correlation) of x [N, C, ...] with a weight [n, C / groups, ...] to [N, n, ...]; one setting "
     "for "
     "all axes or a list of one an axis, padding also as pairs [before, after]",
     conv},
    {"kernel_shape(x, n, size, groups = 1)",
     "[n, C / groups, size...], the shape of a convolution's weight for x [N, C, ...]", kernelShape},
    {"window_max(x, size, stride = None, padding = 0)",
     "the largest of each window of x [N, C, ...]; the derivative goes to the first one; stride is the size unless "
     "given",
     windowMax},
    {"window_sum(x, size, stride = None, padding = 0)", "the sum of each window of x [N, C, ...]", windowSum},
    {"pair(size)", "[size, size], or a list of two as it is", pair},
    {"zeros(shape)", "zeros", [](Elaborator &e, Args &a) { return full(e, e.knownShape(a.positional[0]), number(0)); }},
    {"ones(shape)", "ones", [](Elaborator &e, Args &a) { return full(e, e.knownShape(a.positional[0]), number(1)); }},
    {"full(shape, value)", "a value everywhere",
     [](Elaborator &e, Args &a) { return full(e, e.knownShape(a.positional[0]), a.positional[1]); }},
    {"linspace(first, last, count)", "equally spaced numbers, both ends included", linspace},
    {"arange(n)", "0, 1, ..., n - 1", arange},
    {"eye(n)", "the identity matrix [n, n]", eye},
    {"f32(x)", "numbers, a tensor, weights or a net in single precision",
     [](Elaborator &e, Args &a) { return castTo(e, a, e.builder.getF32Type()); }},
    {"f64(x)", "numbers, a tensor, weights or a net in double precision",
     [](Elaborator &e, Args &a) { return castTo(e, a, e.f64()); }},
    {"i32(x)", "whole numbers to index with: `x[i32(floor(t))]`; a fraction is cut off",
     [](Elaborator &e, Args &a) {
       return tensor(e.cast(e.tensorOf(a.positional[0], "a number or a tensor"), e.builder.getI32Type()));
     }},
    {"one_hot(label, classes = None)", "[...] of class k to [..., k], 1 at each label", oneHot},
    {"pick(x, label)", "[N, k] and labels [N] to [N]: the element at each row's label", pick},
    {"classes(x, k)", "whole numbers 0 to k - 1 as labels of class k; another number is an error", classes},
    {"random(shape = None, seed = None, like = None, stream = 0)",
     "uniform in [0, 1): 24 random bits in f32, 53 in f64; streams of one seed are independent",
     [](Elaborator &e, Args &a) { return e.random(a); }},
    {"flat(w)", "weights, or any tensor, as one vector", flatBuiltin},
    {"like(v, w)", "the vector v in the form and type of the weights w", likeBuiltin},
    {"map(f, w...)", "f applied tensor by tensor", map},
    {"select(w, name)", "those tensors of the weights whose last name this is", select},
    {"at(net, w)", "the net with other weights; in f64 if one of them is", at},
    {"mix(a, b, t)", "the net (1 - t) a + t b, state too; in f64 if one of them is", mix},
    {"init(f, examples..., seed = 0, from = None)", "a net: weights for f, fresh from the seed or read from a file",
     [](Elaborator &e, Args &a) { return e.init(a); }},
    {"grad(E, v)", "gradient of a scalar with respect to a net, weights, a tensor or a column",
     [](Elaborator &e, Args &a) { return e.gradient(a); }},
    {"jvp(E, v, t)", "Jacobian-vector product: E's change along t", jvp},
    {"vjp(E, v, c)", "vector-Jacobian product: c pulled back from E to v", vjp},
    {"jacobian(E, v)", "the matrix [E's size, v's size]", [](Elaborator &e, Args &a) { return e.jacobian(a); }},
    {"hessian(E, v)", "the Hessian as an operator: `H @ v`, `dense(H)`", hessian},
    {"dense(H)", "the matrix of an operator", dense},
    {"solve(A, b)", "x with A x = b, by LU with partial pivoting", solve},
    {"cholesky(A)", "lower L with L L^T = A", cholesky},
    {"eigvals(A)", "eigenvalues of a symmetric matrix, ascending", eigvals},
    {"csv(file)", "a data set with a column for each of the file's, [N]",
     [](Elaborator &e, Args &a) { return e.dataset("csv", e.knownString(a.positional[0], "a file's name")); }},
    {"npy(file)", "a tensor",
     [](Elaborator &e, Args &a) { return e.dataset("npy", e.knownString(a.positional[0], "a file's name")); }},
    {"idx(file)", "a tensor",
     [](Elaborator &e, Args &a) { return e.dataset("idx", e.knownString(a.positional[0], "a file's name")); }},
    {"mnist(folder)", "train and test with columns x [N, 1, 28, 28] from 0 to 1 and label, of class 10",
     [](Elaborator &e, Args &a) { return e.dataset("mnist", e.knownString(a.positional[0], "a folder's name")); }},
    {"cifar10(path)",
     "train and test with columns x [N, 3, 32, 32] from 0 to 1 and label, of class 10, of a folder; or those of one "
     "file",
     [](Elaborator &e, Args &a) { return e.dataset("cifar10", e.knownString(a.positional[0], "a folder's name")); }},
    {"fashion_mnist()", "as mnist, from Debian's package dataset-fashion-mnist",
     [](Elaborator &e, Args &a) { return e.dataset("fashion_mnist", ""); }},
    {"gradcheck(E, net)", "a table: gradient and Hessian-vector product against central differences, a row a parameter",
     [](Elaborator &e, Args &a) { return e.gradcheck(a); }},
};

} // namespace

const std::map<std::string, Builtin> &builtins() {
  static const std::map<std::string, Builtin> all = [] {
    std::map<std::string, Builtin> result;
    for (Builtin b : table) {
      llvm::StringRef signature = b.signature;
      auto [name, rest] = signature.split('(');
      b.name = name.str();
      SmallVector<llvm::StringRef> parts;
      rest.drop_back().split(parts, ',', -1, false);
      for (llvm::StringRef part : parts) {
        part = part.trim();
        if (part.contains('=')) {
          auto [key, value] = part.split('=');
          b.keywords[key.trim().str()] = value.trim().str();
        } else if (part.consume_back("...")) {
          b.variadic = true;
          b.positional.push_back(part.str());
        } else if (part.consume_back("?")) {
          b.positional.push_back(part.str());
        } else {
          b.positional.push_back(part.str());
          ++b.required;
        }
      }
      result[b.name] = b;
    }
    return result;
  }();
  return all;
}

//===-- Random --------------------------------------------------------------------------------------------------===//

Value Elaborator::key(const Val &seed) {
  if (auto *n = as<Number>(seed); n && n->known)
    if (*n->known != std::floor(*n->known) || *n->known < 0 || *n->known > 4294967295.0)
      fail("a seed is a whole number from 0 to 4294967295, found " + numberText(*n->known));
  if (!as<Number>(seed))
    fail("a seed is a number, found " + describe(seed));
  return whole(scalarF64(seed), int64_t(1) << 32, false, builder.getIntegerType(32, false), "the seed",
               "0 to 4294967295");
}

Value Elaborator::randomTensor(ArrayRef<int64_t> shape, Type element, Value keyValue, uint32_t site) {
  Type word = builder.getIntegerType(element.isF64() ? 64 : 32, false);
  Value stepValue = randomStep ? cast(scalar(*as<Number>(randomStep)), builder.getIntegerType(32, false))
                               : splat({}, builder.getIntegerType(32, false), 0);
  auto type = tensorType(shape, word);
  Value bits = RandomBitsOp::create(builder, loc(), type, keyValue, stepValue, int32_t(site));
  // The upper 24 (53) bits, which a float holds exactly.
  bool wide = element.isF64();
  bits = DivOp::create(builder, loc(), type, bits, splat(shape, word, wide ? 2048 : 256));
  Value v = cast(bits, element);
  return binaryOp(Bin::Mul, v, splat(shape, element, std::ldexp(1.0, wide ? -53 : -24)));
}

Val Elaborator::random(Args &args) {
  Val shapeValue = args.keyword("shape"), seed = args.keyword("seed"), likeValue = args.keyword("like");
  if (shapeValue && likeValue)
    fail("give `shape` or `like`, not both");
  uint32_t site = 0;
  if (Val stream = args.keyword("stream")) {
    int64_t n = knownInt(stream, "a stream");
    if (n < 0 || n > 4294967295)
      fail("a stream is a whole number from 0 to 4294967295, found " + std::to_string(n));
    site = uint32_t(n);
  }
  // Those of a layer, and of an optimiser, are of its type.
  Type element = frame && frame->net->element ? frame->net->element : programFloat();
  Value keyValue;
  std::vector<int64_t> shape;
  bool hasShape = false;
  if (shapeValue) {
    shape = knownShape(shapeValue);
    hasShape = true;
  }
  if (implied) {
    element = implied->element;
    if (!hasShape && implied->hasShape) {
      shape = implied->shape;
      hasShape = true;
    }
    if (!seed) {
      site = siteOf(implied->path + (implied->calls ? "#" + std::to_string(implied->calls) : ""));
      ++implied->calls;
      keyValue = key(frame->net->seed);
    }
  } else if (frame && frame->net->seed && !seed) {
    site = siteOf(frame->net->prefix + frame->path + "#" + std::to_string(frame->randoms++));
    keyValue = key(frame->net->seed);
  }
  if (seed)
    keyValue = key(seed);
  if (!keyValue)
    fail("a random call here names its seed", "add `seed = 1`; within a net's layers the net's own seed is used");
  if (likeValue) {
    if (as<Weights>(likeValue)) {
      auto result = std::make_shared<Weights>();
      for (const Weights::Entry &entry : as<Weights>(likeValue)->entries)
        result->entries.push_back({entry.name, randomTensor(shapeOf(entry.ssa), elementOf(entry.ssa), keyValue,
                                                            siteOf(entry.name + "#" + std::to_string(site)))});
      return result;
    }
    Value v = floatTensorOf(likeValue, "weights or a tensor after `like =`");
    return tensor(randomTensor(shapeOf(v), elementOf(v), keyValue, site));
  }
  if (!hasShape)
    fail("a random call here names its shape", "add `shape = [2000, 1]`");
  return tensor(randomTensor(shape, element, keyValue, site));
}

} // namespace hw::lang

namespace hw {
std::vector<std::string> builtinReference() {
  std::vector<std::string> lines;
  for (auto &[name, b] : lang::builtins())
    lines.push_back(b.signature + ": " + b.doc);
  return lines;
}
} // namespace hw
