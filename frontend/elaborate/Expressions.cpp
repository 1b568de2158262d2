// What expressions are.
#include "frontend/elaborate/Elaborator.h"

#include <cmath>

using namespace mlir;

namespace hw::lang {

// Lists and strings that grow round by round double their size with each: what they hold is bounded where it is made,
// so that nothing which walks over a value needs a bound of its own.
Val Elaborator::eval(const ast::Expr &expr) {
  Val value = evalUnbounded(expr);
  if (auto *l = as<List>(value)) {
    if (l->depth > 100)
      fail(expr.range, "these lists are nested more than 100 deep");
    if (l->leaves > 1'000'000)
      fail(expr.range, "this list holds more than 1 million values", "a tensor holds more: `zeros([n])`, `linspace`");
  } else if (auto *s = as<String>(value); s && s->text.size() > 1'000'000) {
    fail(expr.range, "this string is longer than 1 million bytes");
  }
  return value;
}

Val Elaborator::evalUnbounded(const ast::Expr &expr) {
  Restore<SourceRange> place(here);
  if (expr.range.source == file.source)
    here = expr.range;
  if (expr.kind != ast::ExprKind::Call)
    boundTo.clear();
  countSteps();
  using ast::as;
  using ast::ExprKind;
  switch (expr.kind) {
  case ExprKind::Number:
    return number(as<ast::Number>(expr)->value);
  case ExprKind::String:
    return string(as<ast::String>(expr)->value);
  case ExprKind::Bool:
    return boolean(as<ast::Bool>(expr)->value);
  case ExprKind::None:
    return none();
  case ExprKind::Ref:
    return evalRef(as<ast::Ref>(expr)->name, expr.range);
  case ExprKind::List:
  case ExprKind::Tuple: {
    bool tuple = expr.kind == ExprKind::Tuple;
    std::vector<Val> items;
    for (const ast::ExprPtr &e : tuple ? as<ast::Tuple>(expr)->elements : as<ast::List>(expr)->elements)
      items.push_back(eval(*e));
    return list(std::move(items), tuple);
  }
  case ExprKind::Comprehension:
    return evalComprehension(*as<ast::Comprehension>(expr));
  case ExprKind::Unary: {
    auto *u = as<ast::Unary>(expr);
    Val operand = eval(*u->operand);
    return u->op == ast::UnaryOp::Negate ? unary("neg", operand) : logicalNot(operand);
  }
  case ExprKind::Binary:
    return evalBinary(*as<ast::Binary>(expr));
  case ExprKind::Call:
    return evalCall(*as<ast::Call>(expr));
  case ExprKind::Index:
    return evalIndex(*as<ast::Index>(expr));
  case ExprKind::Field:
    return evalField(*as<ast::Field>(expr));
  case ExprKind::On:
    return evalOn(*as<ast::On>(expr));
  }
  return none();
}

Val Elaborator::evalRef(const std::string &name, SourceRange range) {
  if (Val value = lookup(name)) {
    if (value->kind == Kind::Poison)
      throw Failure{};
    return value;
  }
  if (name == "training")
    return boolean(frame && frame->net->training);
  if (name == "pi")
    return number(M_PI);
  if (name == "inf")
    return number(INFINITY);
  if (name == "nan")
    return number(NAN);
  if (auto it = builtins().find(name); it != builtins().end()) {
    auto fn = std::make_shared<Fn>();
    fn->builtin = &it->second;
    return fn;
  }
  if (!inFunction && progress.tables.count(name)) {
    auto table = std::make_shared<Table>();
    table->name = name;
    return table;
  }
  // `hwc gradcheck` records nothing, nor does what has an error: what reads a table is passed over.
  if ((options.mode == ElaborateOptions::Gradcheck && recorded.count(name)) || unsure.count(name))
    throw Failure{};
  // Of many errors the first are shown: no search through all names for each of the others.
  std::string help = diagnostics.errorCount() < Diagnostics::maxShown ? nearest(name, visibleNames()) : "";
  if (inFunction && calls.back().fn->range.source == file.source) {
    for (Scope *s = scope; s; s = s->parent)
      if (s->type == Scope::Function && help.empty())
        help = "a fn sees its arguments, other fns and the file's top-level numbers: pass it as an argument";
  }
  if ((name == "epoch" || name == "step") && help.empty())
    help = "`epoch` and `step` exist inside `train` only";
  for (Scope *s = scope; s && help.empty(); s = s->parent)
    if (s->holdsColumns) {
      std::vector<std::string> known;
      for (auto &[column, value] : s->names)
        known.push_back("`" + column + "`");
      help = "here there are " + llvm::join(known, ", ");
    }
  fail(range, "unknown name `" + name + "`", help);
}

// `x |> linear(784, 10)` is likely to fail inside of `linear`, as 784 has become its x.
void Elaborator::explainPipe(Failure &failure, const ast::Expr &right) {
  auto *call = ast::as<ast::Call>(right);
  auto *callee = call ? ast::as<ast::Ref>(call->callee) : nullptr;
  Val fn = callee ? lookup(callee->name) : nullptr;
  if (!failure.diagnostic || !fn || !as<Fn>(fn))
    return;
  std::vector<std::string> inputs = lacking(*as<Fn>(fn));
  if (!inputs.empty() && call->args.size() == inputs.size())
    failure.diagnostic->help("`|>` gives `" + callee->name + "` its " + inputs[0] +
                             ", so leave that away in the brackets; what has a default goes by name");
}

Val Elaborator::evalBinary(const ast::Binary &expr) {
  using ast::BinaryOp;
  if (expr.op == BinaryOp::Pipe) {
    Val value = eval(*expr.lhs);
    Val fn;
    try {
      fn = eval(*expr.rhs);
    } catch (Failure &failure) {
      explainPipe(failure, *expr.rhs);
      throw;
    }
    SourceRange range = expr.rhs->range;
    Restore<SourceRange> place(here);
    if (range.source == file.source)
      here = range;
    return call(fn, {value}, range, {}, {expr.lhs->range}, {}, true);
  }
  Val lhs = eval(*expr.lhs), rhs = eval(*expr.rhs);
  switch (expr.op) {
  case BinaryOp::Or:
    return binary(Bin::Or, lhs, rhs);
  case BinaryOp::And:
    return binary(Bin::And, lhs, rhs);
  case BinaryOp::Lt:
    return binary(Bin::Lt, lhs, rhs);
  case BinaryOp::Le:
    return binary(Bin::Le, lhs, rhs);
  case BinaryOp::Gt:
    return binary(Bin::Gt, lhs, rhs);
  case BinaryOp::Ge:
    return binary(Bin::Ge, lhs, rhs);
  case BinaryOp::Eq:
    return binary(Bin::Eq, lhs, rhs);
  case BinaryOp::Ne:
    return binary(Bin::Ne, lhs, rhs);
  case BinaryOp::Range: {
    for (const Val &v : {lhs, rhs})
      if (!as<Number>(v))
        fail("a range goes from a number to a number, found " + describe(v));
    auto range = std::make_shared<Range>();
    range->first = lhs;
    range->last = rhs;
    return range;
  }
  case BinaryOp::Add:
    return binary(Bin::Add, lhs, rhs);
  case BinaryOp::Sub:
    return binary(Bin::Sub, lhs, rhs);
  case BinaryOp::Mul:
    return binary(Bin::Mul, lhs, rhs);
  case BinaryOp::Div:
    return binary(Bin::Div, lhs, rhs);
  case BinaryOp::MatMul:
    return matmul(lhs, rhs);
  case BinaryOp::Pow:
    return binary(Bin::Pow, lhs, rhs);
  case BinaryOp::Pipe:
    break;
  }
  return none();
}

Val Elaborator::evalCall(const ast::Call &expr) {
  std::string bound = std::exchange(boundTo, {});
  Val callee = eval(*expr.callee);
  std::vector<Val> args;
  std::vector<SourceRange> ranges;
  for (const ast::ExprPtr &e : expr.args) {
    args.push_back(eval(*e));
    ranges.push_back(e->range);
  }
  std::map<std::string, Val> keywords;
  for (const ast::KeywordArg &k : expr.keywords)
    keywords[k.name.text] = eval(*k.value);
  Restore<std::string> named(tableName, bound);
  return call(callee, std::move(args), expr.range, std::move(keywords), std::move(ranges), bound);
}

//===-- Indexing ------------------------------------------------------------------------------------------------===//

// A list that is a tensor where one is wanted.
static bool isStack(const Val &value) {
  auto *list = as<List>(value);
  return list && !list->tuple && !list->items.empty() && llvm::all_of(list->items, [](const Val &item) {
           return as<Number>(item) || as<Tensor>(item) || isStack(item);
         });
}

Val Elaborator::evalIndex(const ast::Index &expr) {
  Val base = eval(*expr.base);
  auto bound = [&](const ast::ExprPtr &e, int64_t otherwise) {
    if (!e)
      return otherwise;
    Val v = eval(*e);
    return v->kind == Kind::None ? otherwise : knownInt(v, "the bound of a slice");
  };
  // start, stop within 0..size as NumPy clips them
  auto slice = [&](const ast::IndexItem &item, int64_t size, int64_t &start, int64_t &stop, int64_t &step) {
    step = bound(item.step, 1);
    if (step == 0)
      fail(item.range, "a slice's step cannot be 0");
    auto clip = [&](int64_t v, int64_t low, int64_t high) {
      v = v < 0 ? v + size : v;
      return std::min(std::max(v, low), high);
    };
    if (step > 0) {
      start = clip(bound(item.start, 0), 0, size);
      stop = clip(bound(item.stop, size), 0, size);
    } else {
      start = item.start ? clip(bound(item.start, 0), -1, size - 1) : size - 1;
      stop = item.stop ? clip(bound(item.stop, 0), -1, size - 1) : -1;
    }
  };

  // What stands at an index, evaluated once.
  std::vector<Val> indices(expr.items.size());
  for (auto [item, index] : llvm::zip_equal(expr.items, indices))
    if (item.kind == ast::IndexItem::At)
      index = eval(*item.index);
  // A list of numbers or of tensors becomes a tensor where a tensor's index is meant.
  auto isListIndex = [&] {
    if (expr.items.size() != 1)
      return false;
    const ast::IndexItem &item = expr.items[0];
    auto *n = as<Number>(indices[0]);
    return item.kind == ast::IndexItem::Slice || (item.kind == ast::IndexItem::At && n && n->known);
  };
  if (isStack(base) && !isListIndex())
    base = tensor(tensorOf(base, "a list that is indexed as a tensor"));

  if (auto *l = as<List>(base)) {
    if (expr.items.size() != 1)
      fail("a list of other things than numbers and tensors has one axis");
    const ast::IndexItem &item = expr.items[0];
    int64_t size = l->items.size();
    if (item.kind == ast::IndexItem::At) {
      int64_t i = knownInt(indices[0], "the index into a list");
      if (i < -size || i >= size)
        fail(item.range, "index " + std::to_string(i) + " is outside a list of " + std::to_string(size));
      return l->items[i < 0 ? i + size : i];
    }
    if (item.kind != ast::IndexItem::Slice)
      fail(item.range, "a list takes an index or a slice");
    int64_t start, stop, step;
    slice(item, size, start, stop, step);
    std::vector<Val> items;
    for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step)
      items.push_back(l->items[i]);
    return list(std::move(items));
  }
  if (auto *d = as<Data>(base)) {
    dataOf(base, expr.base->range);
    if (expr.items.size() != 1 || expr.items[0].kind != ast::IndexItem::Slice)
      fail("a data set takes a slice of its rows, `d[0:100]`");
    int64_t start, stop, step;
    slice(expr.items[0], d->rows, start, stop, step);
    if (step != 1)
      fail(expr.items[0].range, "a data set's slice has no step");
    if (expr.items[0].stop)
      if (int64_t wanted = bound(expr.items[0].stop, 0); wanted > d->rows)
        fail(expr.items[0].range, d->name + " has " + std::to_string(d->rows) +
                                      " rows, and this slice wants rows up to " + std::to_string(wanted));
    return sliceData(*d, start, stop, std::string(expr.range.text()));
  }
  if (!as<Tensor>(base))
    fail(describe(base) + " cannot be indexed", as<Weights>(base) || as<Net>(base) ? "`flat(w)` is a vector" : "");

  auto *t = as<Tensor>(base);
  Value v = t->ssa;
  int64_t rank = typeOf(v).getRank(), used = 0;
  bool ellipsis = false;
  for (const ast::IndexItem &item : expr.items) {
    used += item.kind == ast::IndexItem::At || item.kind == ast::IndexItem::Slice;
    ellipsis = ellipsis || item.kind == ast::IndexItem::Ellipsis;
  }
  if (used > rank)
    fail(std::to_string(used) + " indices into " + describe(base));
  // First all slices and single indices by one slice op, then gathers, then the new shape.
  SmallVector<int64_t> start(rank, 0), limit(shapeOf(v)), stride(rank, 1), shape, reversed;
  struct Gather {
    int64_t axis; // of the result
    Value indices;
  };
  std::vector<Gather> gathers;
  int64_t axis = 0;
  auto keep = [&](int64_t count) {
    for (; count > 0; --count, ++axis)
      shape.push_back(shapeOf(v)[axis]);
  };
  for (auto [item, index] : llvm::zip_equal(expr.items, indices)) {
    switch (item.kind) {
    case ast::IndexItem::NewAxis:
      shape.push_back(1);
      break;
    case ast::IndexItem::Ellipsis:
      keep(rank - used);
      break;
    case ast::IndexItem::Slice: {
      int64_t size = shapeOf(v)[axis], from, to, step;
      slice(item, size, from, to, step);
      int64_t count = step > 0 ? (to - from + step - 1) / step : (from - to - step - 1) / -step;
      if (count < 1)
        fail(item.range,
             "this slice of axis " + std::to_string(axis) + ", of size " + std::to_string(size) + ", is empty");
      if (step < 0) {
        reversed.push_back(axis);
        // from, from + step, ... ; ascending from the last of them
        start[axis] = from + (count - 1) * step;
        limit[axis] = from + 1;
        stride[axis] = -step;
      } else {
        start[axis] = from;
        limit[axis] = to;
        stride[axis] = step;
      }
      shape.push_back(count);
      ++axis;
      break;
    }
    case ast::IndexItem::At: {
      auto *n = as<Number>(index);
      int64_t size = shapeOf(v)[axis];
      if (n && !n->boolean && n->known) {
        int64_t i = knownInt(index, "an index");
        if (i < -size || i >= size)
          fail(item.range,
               "index " + std::to_string(i) + " is outside axis " + std::to_string(axis) + " of " + describe(base));
        start[axis] = i < 0 ? i + size : i;
        limit[axis] = start[axis] + 1;
        ++axis; // and no axis in the shape
        break;
      }
      Value rows;
      auto *l = as<List>(index);
      if (l && llvm::all_of(l->items, [](const Val &one) { return as<Number>(one) && as<Number>(one)->known; })) {
        std::vector<int32_t> values;
        for (const Val &one : l->items) {
          int64_t i = knownInt(one, "an index");
          if (i < -size || i >= size)
            fail(item.range,
                 "index " + std::to_string(i) + " is outside axis " + std::to_string(axis) + " of " + describe(base));
          values.push_back(int32_t(i < 0 ? i + size : i));
        }
        if (values.empty())
          fail(item.range, "an index by an empty list gives nothing");
        auto type = RankedTensorType::get({int64_t(values.size())}, builder.getI32Type());
        rows = ConstantOp::create(builder, loc(), type, DenseElementsAttr::get(type, ArrayRef<int32_t>(values)));
      } else {
        rows = tensorOf(index, "an index");
        if (elementOf(rows).isInteger(1))
          fail(item.range, "an index by a mask has a shape that only the run knows",
               "choose with `where(mask, a, b)`, or weigh with the mask: `sum(where(mask, x, 0))`");
        // (A list of numbers that only the run knows is a tensor of floats.)
        if (isFloat(rows) && !n && !l)
          fail(item.range, "an index is a whole number or a tensor of labels, found " + describe(index),
               "`i32(x)` makes whole numbers of numbers");
        auto *labels = as<Tensor>(index);
        if (labels && labels->classes && labels->classes <= size) // each is an index
          rows = cast(rows, builder.getI32Type());
        else
          rows = whole(rows, size, true, builder.getI32Type(), "index",
                       "axis " + std::to_string(axis) + " of " + describe(base));
      }
      gathers.push_back({int64_t(shape.size()), rows});
      shape.push_back(size); // for now
      ++axis;
      break;
    }
    }
  }
  keep(rank - axis);
  if (start != SmallVector<int64_t>(rank, 0) || limit != SmallVector<int64_t>(shapeOf(v)) ||
      stride != SmallVector<int64_t>(rank, 1))
    v = SliceOp::create(builder, loc(), v, start, limit, stride);
  if (!reversed.empty())
    v = ReverseOp::create(builder, loc(), v.getType(), v, reversed);
  v = reshape(v, shape);
  if (gathers.size() > 1)
    fail("only one axis at a time can be indexed by a list or by labels", "write `x[rows][:, columns]`");
  for (const Gather &g : gathers) {
    // The gathered axis goes first and back again.
    SmallVector<int64_t> order{g.axis};
    for (int64_t i = 0; i < int64_t(shape.size()); ++i)
      if (i != g.axis)
        order.push_back(i);
    if (g.axis)
      v = TransposeOp::create(builder, loc(), v, order);
    v = GatherOp::create(builder, loc(), v, g.indices);
    if (g.axis) {
      int64_t extra = typeOf(g.indices).getRank();
      SmallVector<int64_t> back;
      for (int64_t i = 0; i < g.axis; ++i)
        back.push_back(extra + i);
      for (int64_t i = 0; i < extra; ++i)
        back.push_back(i);
      for (int64_t i = g.axis; i + 1 < int64_t(shape.size()); ++i)
        back.push_back(extra + i);
      v = TransposeOp::create(builder, loc(), v, back);
    }
  }
  return t->weak ? weak(v) : tensor(v, t->classes);
}

//===-- Fields --------------------------------------------------------------------------------------------------===//

Val Elaborator::evalField(const ast::Field &expr) {
  Val base = eval(*expr.base);
  const std::string &field = expr.field.text;
  auto shapeList = [&](ArrayRef<int64_t> shape) {
    std::vector<Val> sizes;
    for (int64_t s : shape)
      sizes.push_back(sizeNumber(double(s)));
    return list(std::move(sizes));
  };
  auto unknown = [&](std::vector<std::string> names) -> Val {
    std::string known;
    for (const std::string &name : names)
      known += (known.empty() ? "" : ", ") + name;
    std::string help = nearest(field, names);
    if (functions.count(field) || prelude.count(field) || builtins().count(field))
      help = "a function is called by its name: `x |> " + field + "(...)`";
    fail(expr.field.range, describe(base) + " has no `" + field + "`" + (known.empty() ? "" : "; it has " + known),
         help);
  };
  if (isStack(base) && (field == "shape" || field == "size" || field == "ndim" || field == "T"))
    base = tensor(tensorOf(base, "a list that is read as a tensor"));
  switch (base->kind) {
  case Kind::Poison:
    throw Failure{};
  case Kind::Tensor: {
    Value v = as<Tensor>(base)->ssa;
    if (field == "shape")
      return shapeList(shapeOf(v));
    if (field == "size")
      return sizeNumber(double(typeOf(v).getNumElements()));
    if (field == "ndim")
      return number(double(typeOf(v).getRank()));
    if (field == "T") {
      SmallVector<int64_t> order;
      for (int64_t i = typeOf(v).getRank(); i-- > 0;)
        order.push_back(i);
      if (order.size() < 2)
        return base;
      v = TransposeOp::create(builder, loc(), v, order);
      return as<Tensor>(base)->weak ? weak(v) : tensor(v, as<Tensor>(base)->classes);
    }
    return unknown({"shape", "size", "ndim", "T"});
  }
  case Kind::Number:
    if (field == "shape")
      return list({});
    if (field == "size")
      return number(1);
    if (field == "ndim")
      return number(0);
    break;
  case Kind::List:
  case Kind::Range:
    fail(expr.field.range, describe(base) + " has no `" + field + "`", "its length is `len(...)`");
  case Kind::Weights: {
    auto *w = as<Weights>(base);
    if (field == "size")
      return number(double(w->size()));
    std::vector<std::string> names{"size"};
    for (const Weights::Entry &entry : w->entries) {
      if (entry.name == field)
        return tensor(entry.ssa);
      names.push_back(entry.name);
    }
    return unknown(names);
  }
  case Kind::Data: {
    auto *d = as<Data>(base);
    if (auto *column = d->find(field))
      return columnWhole(*column);
    if (auto it = d->parts.find(field); it != d->parts.end())
      return it->second;
    if (field == "rows" && !d->columns.empty())
      return number(double(d->rows));
    std::vector<std::string> names;
    for (const DataColumn &c : d->columns)
      names.push_back(c.name);
    for (auto &[name, part] : d->parts)
      names.push_back(name);
    if (!d->columns.empty())
      names.push_back("rows");
    return unknown(names);
  }
  case Kind::Net: {
    auto *net = as<Net>(base);
    const NetCode &code = *net->code;
    if (field == "weights") {
      auto w = std::make_shared<Weights>();
      for (size_t i = 0; i < code.parameters.size(); ++i)
        if (code.parameters[i].trainable)
          w->entries.push_back({code.parameters[i].name, as<Tensor>(net->values[i])->ssa});
      return w;
    }
    if (field == "seed")
      return net->seed;
    if (auto it = code.index.find(field); it != code.index.end())
      return net->values[it->second];
    // A layer is a net.
    if (auto it = code.layers.find(field); it != code.layers.end()) {
      auto part = std::make_shared<NetCode>();
      auto result = std::make_shared<Net>();
      part->element = code.element;
      part->fn = it->second;
      part->prefix = code.prefix + field + ".";
      std::string inner = field + ".";
      for (size_t i = 0; i < code.parameters.size(); ++i)
        if (code.parameters[i].name.starts_with(inner)) {
          ParameterInfo info = code.parameters[i];
          info.name = info.name.substr(inner.size());
          part->index[info.name] = part->parameters.size();
          part->parameters.push_back(info);
          result->values.push_back(net->values[i]);
        }
      for (auto &[path, fn] : code.layers)
        if (path.starts_with(inner))
          part->layers[path.substr(inner.size())] = fn;
      result->code = part;
      result->seed = net->seed;
      result->trained = net->trained;
      return result;
    }
    std::vector<std::string> names{"weights", "seed"};
    for (auto &[path, fn] : code.layers)
      if (!path.empty() && path.find('.') == std::string::npos)
        names.push_back(path);
    for (const ParameterInfo &p : code.parameters)
      if (p.name.find('.') == std::string::npos)
        names.push_back(p.name);
    return unknown(names);
  }
  case Kind::Table: {
    auto *t = as<Table>(base);
    auto &columns = progress.tables[t->name].columns;
    if (!llvm::is_contained(columns, field))
      return unknown(columns);
    auto column = std::make_shared<Column>();
    column->table = t->name;
    column->column = field;
    column->display = t->name + "." + field;
    return column;
  }
  default:
    break;
  }
  fail(expr.field.range, describe(base) + " has no fields, so no `" + field + "`");
}

//===-- Comprehensions ------------------------------------------------------------------------------------------===//

Val Elaborator::evalComprehension(const ast::Comprehension &expr) {
  Val iterable = eval(*expr.clause.iterable);
  std::vector<Val> items;
  int64_t count = 0;
  if (auto *l = as<List>(iterable)) {
    items = l->items;
  } else if (auto *r = as<Range>(iterable)) {
    int64_t first = knownInt(r->first, "the start of a comprehension's range");
    int64_t last = knownInt(r->last, "the end of a comprehension's range");
    count = last - first + 1;
    if (count < 1 || count > 1000000)
      fail(expr.clause.range, "a comprehension over " + std::to_string(count) + " numbers");
    if (count <= 10000)
      for (int64_t i = first; i <= last; ++i)
        items.push_back(number(double(i)));
  } else {
    fail(expr.clause.range, "a comprehension goes over a list or a range, found " + describe(iterable));
  }
  auto bind = [&](const Val &value) {
    if (expr.clause.names.size() == 1) {
      define(expr.clause.names[0].text, value);
      return;
    }
    auto *l = as<List>(value);
    if (!l || l->items.size() != expr.clause.names.size())
      fail(expr.clause.range, "this takes " + std::to_string(expr.clause.names.size()) +
                                  " values from each element, found " + describe(value));
    for (size_t i = 0; i < l->items.size(); ++i)
      define(expr.clause.names[i].text, l->items[i]);
  };
  // Many turns are a loop that carries the results, few are unrolled: so are those that a derivative passes through.
  if (as<Range>(iterable) && count > 16 && !inFunction && !step) {
    unsigned id = nextLoop++;
    Value first = scalarF64(as<Range>(iterable)->first);
    Progress before = progress;
    // The element's shape, from a copy that is thrown away.
    std::vector<int64_t> shape;
    Type element;
    bool allWeak = false;
    try {
      {
        OpBuilder::InsertionGuard guard(builder);
        Block scratch;
        builder.setInsertionPointToEnd(&scratch);
        ScopeGuard scopeGuard(*this, Scope::Block);
        bind(runtime(splat({}, f64(), 0), {id}));
        Val value = eval(*expr.element);
        Meeting meet(*this, {value});
        allWeak = meet.allWeak();
        Value v = floatTensorOf(value, "a comprehension's elements");
        shape.assign(shapeOf(v).begin(), shapeOf(v).end());
        element = elementOf(v);
      }
      shape.insert(shape.begin(), count);
      Value empty = splat(shape, element, 0);
      Value from = splat({}, f64(), 0), to = splat({}, f64(), double(count - 1));
      auto op = study::ForOp::create(builder, loc(), TypeRange{empty.getType()}, from, to, ValueRange{empty},
                                     expr.clause.names[0].text);
      OpBuilder::InsertionGuard guard(builder);
      Block *block = &op.getBody().emplaceBlock();
      Value index = block->addArgument(RankedTensorType::get({}, f64()), loc());
      Value all = block->addArgument(empty.getType(), loc());
      builder.setInsertionPointToEnd(block);
      ScopeGuard scopeGuard(*this, Scope::Block);
      bind(runtime(binaryOp(Bin::Add, first, index), {id}));
      Value v = asTensor(eval(*expr.element), element);
      // all[index] = v, as a select: the loop's turns cost far more
      Value places = IotaOp::create(builder, loc(), RankedTensorType::get({count}, f64()), 0);
      Value mask = binaryOp(Bin::Eq, places, broadcastTo(index, {count}));
      mask = BroadcastOp::create(builder, loc(), RankedTensorType::get(shape, builder.getI1Type()), mask,
                                 ArrayRef<int64_t>{0});
      Value next = SelectOp::create(builder, loc(), all.getType(), mask, broadcastTo(v, shape), all);
      study::YieldOp::create(builder, loc(), ValueRange{next});
      return allWeak ? weak(op.getResult(0)) : tensor(op.getResult(0));
    } catch (const NeedUnroll &need) {
      if (need.loop != id)
        throw;
      progress = std::move(before);
    }
  }
  if (as<Range>(iterable) && count > 10000)
    fail(expr.clause.range, "this comprehension would be unrolled " + std::to_string(count) + " times",
         "at most 10000 are");
  std::vector<Val> results;
  for (const Val &item : items) {
    ScopeGuard guard(*this, Scope::Block);
    bind(item);
    results.push_back(eval(*expr.element));
  }
  return list(std::move(results));
}

} // namespace hw::lang
