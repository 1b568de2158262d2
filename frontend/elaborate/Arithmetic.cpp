// Arithmetic of numbers (weak f64 scalars), tensors (NumPy's broadcasting and promotion) and weights (tensor by
// tensor).
#include "frontend/elaborate/Elaborator.h"
#include "ir/Ranges.h"

#include <cmath>
#include <limits>

using namespace mlir;

namespace hw::lang {

namespace {

bool isComparison(Bin op) { return op >= Bin::Lt && op <= Bin::Ne; }
bool isLogic(Bin op) { return op == Bin::And || op == Bin::Or; }

const char *spelling(Bin op) {
  static const char *const names[] = {"+",  "-", "*",  "/",  "^",  "min", "max", "<",
                                      "<=", ">", ">=", "==", "!=", "and", "or"};
  return names[int(op)];
}

double fold(Bin op, double a, double b) {
  switch (op) {
  case Bin::Add:
    return a + b;
  case Bin::Sub:
    return a - b;
  case Bin::Mul:
    return a * b;
  case Bin::Div:
    return a / b;
  case Bin::Pow:
    return std::pow(a, b);
  case Bin::Min:
    return std::isnan(a) || std::isnan(b) ? NAN : std::min(a, b);
  case Bin::Max:
    return std::isnan(a) || std::isnan(b) ? NAN : std::max(a, b);
  case Bin::Lt:
    return a < b;
  case Bin::Le:
    return a <= b;
  case Bin::Gt:
    return a > b;
  case Bin::Ge:
    return a >= b;
  case Bin::Eq:
    return a == b;
  case Bin::Ne:
    return a != b;
  case Bin::And:
    return a != 0 && b != 0;
  case Bin::Or:
    return a != 0 || b != 0;
  }
  return 0;
}

} // namespace

Location Elaborator::loc() {
  if (++operations > 4'000'000)
    exhaust("this program unrolls to more than 4 million operations", unrollHelp);
  if (!here)
    return builder.getUnknownLoc();
  auto at = here.source->position(here.begin);
  return FileLineColLoc::get(builder.getContext(), here.source->name(), at.line, at.column);
}

RankedTensorType Elaborator::tensorType(ArrayRef<int64_t> shape, Type element) {
  if (shape.size() > 16)
    fail("a tensor has at most 16 axes, and this one would have " + std::to_string(shape.size()));
  double elements = 1;
  for (int64_t size : shape)
    elements *= double(size);
  double bytes = elements * std::max(1u, element.getIntOrFloatBitWidth() / 8);
  if (!sampleProbe && (elements > 2147483648.0 || bytes > 16.0 * (1ull << 30)))
    fail("a tensor of shape " + shapeText(shape) + " would take " + numberText(std::round(bytes / (1 << 30))) +
             " GiB; the largest has 2^31 elements and 16 GiB",
         "check the sizes; `batch` evaluates a large data set in parts");
  return RankedTensorType::get(shape, element);
}

//===-- Operations on SSA values --------------------------------------------------------------------------------===//

Value Elaborator::splat(ArrayRef<int64_t> shape, Type element, double value) {
  if (auto whole = llvm::dyn_cast<IntegerType>(element)) {
    const double size = std::ldexp(1.0, int(whole.getWidth()));
    const double least = whole.isSignless() && whole.getWidth() > 1 ? -size / 2 : 0;
    if (!(value == std::floor(value) && value >= least && value < least + size))
      fail(numberText(value) + " is none of the whole numbers from " + numberText(least) + " to " +
           numberText(least + size - 1) + " that this takes");
  }
  return ConstantOp::splat(builder, loc(), tensorType(shape, element), value);
}

Value Elaborator::scalar(const Number &n) {
  notOfSamples(n);
  if (n.ssa)
    return n.ssa;
  return splat({}, n.boolean ? Type(builder.getI1Type()) : f64(), *n.known);
}

void Elaborator::notOfSamples(const Number &n) {
  if (n.samples)
    fail("this depends on how many samples there are, so it cannot be put together from batches",
         "take the `mean`, or evaluate without `batch`");
}

Value Elaborator::scalarF64(const Val &value) {
  Restore<Type> exact(meeting, f64());
  if (auto *n = as<Number>(value))
    return cast(scalar(*n), f64());
  Value t = tensorOf(value, "a number");
  if (typeOf(t).getNumElements() != 1)
    fail("expected a number, found " + describe(value));
  return cast(reshape(t, {}), f64());
}

Value Elaborator::cast(Value value, Type element) {
  if (elementOf(value) == element)
    return value;
  if (auto constant = value.getDefiningOp<ConstantOp>())
    if (auto dense = llvm::dyn_cast<DenseElementsAttr>(constant.getValue());
        dense && dense.isSplat() && llvm::isa<FloatType>(elementOf(value)) && llvm::isa<FloatType>(element))
      return splat(shapeOf(value), element, dense.getSplatValue<APFloat>().convertToDouble());
  return CastOp::create(builder, loc(), tensorType(shapeOf(value), element), value);
}

Value Elaborator::whole(Value value, int64_t count, bool fromEnd, Type element, const std::string &what,
                        const std::string &outside) {
  bool cut = false;
  if (auto cast = value.getDefiningOp<CastOp>(); cast && isFloat(cast.getOperand()) && !isFloat(value)) {
    value = cast.getOperand(); // a cast would have made something of NaN, and of what no i32 holds
    cut = true;
  }
  double least = fromEnd ? -double(count) : 0;
  auto range = rangeOf(value);
  if (range && value.getDefiningOp<ConstantOp>()) // what a constant has is known, as it is
    for (double n : {range->low, range->high})
      if (double whole = cut ? std::trunc(n) : n; whole < least || whole > double(count) - 1)
        fail(what + " " + numberText(n) + " is outside " + outside);
  if (range && range->low >= 0 && std::trunc(range->high) < double(count) && (range->whole || cut))
    return cast(value, element);
  return WholeOp::create(builder, loc(), tensorType(shapeOf(value), element), value, count, fromEnd, cut, what,
                         outside);
}

Value Elaborator::kept(Value value, Type element) {
  if (elementOf(value) == element)
    return value;
  auto op = CastOp::create(builder, loc(), tensorType(shapeOf(value), element), value);
  if (elementOf(value).isF64() && element.isF32())
    op->setAttr(keptAttribute, builder.getUnitAttr());
  return op;
}

Value Elaborator::kept(const Val &value, ArrayRef<int64_t> shape, Type element) {
  auto *t = as<Tensor>(value);
  Type first = as<Number>(value) || as<List>(value) ? f64() : t && isFloat(t->ssa) ? elementOf(t->ssa) : element;
  return kept(asTensor(value, shape, first), element);
}

//===-- What meets ------------------------------------------------------------------------------------------------===//

Meeting::Meeting(Elaborator &e, ArrayRef<Val> operands, Whole whole) : e(e), restore(e.meeting) {
  for (const Val &operand : operands)
    add(operand);
  if (!strong && hasWhole && (whole == AreNumbers || !hasWeak))
    strong = e.programFloat();
  e.meeting = strong ? strong : e.f64();
}

void Meeting::add(const Val &value) {
  auto tensorOfType = [&](Type element) {
    if (!llvm::isa<FloatType>(element))
      hasWhole = true;
    else if (!strong || element.isF64())
      strong = element;
  };
  if (!value)
    return;
  if (auto *t = as<Tensor>(value)) {
    if (t->weak)
      hasWeak = true;
    else
      tensorOfType(elementOf(t->ssa));
  } else if (auto *w = as<Weights>(value)) {
    for (const Weights::Entry &entry : w->entries)
      tensorOfType(elementOf(entry.ssa));
  } else if (auto *net = as<Net>(value)) {
    tensorOfType(net->code->element);
  } else if (auto *l = as<List>(value)) {
    for (const Val &item : l->items)
      add(item);
  }
}

Val Meeting::settle(const Val &result) const {
  auto *t = as<Tensor>(result);
  if (strong || !t || t->weak || !elementOf(t->ssa).isF64())
    return result;
  auto settled = std::make_shared<Tensor>(*t);
  settled->weak = true;
  return settled;
}

//===-- Operations on SSA values --------------------------------------------------------------------------------===//

Value Elaborator::reshape(Value value, ArrayRef<int64_t> shape) {
  if (shapeOf(value) == shape)
    return value;
  return ReshapeOp::create(builder, loc(), tensorType(shape, elementOf(value)), value);
}

Value Elaborator::broadcastTo(Value value, ArrayRef<int64_t> shape) {
  auto from = shapeOf(value);
  if (from == shape)
    return value;
  SmallVector<int64_t> kept, dims;
  for (size_t i = 0, lead = shape.size() - from.size(); i < from.size(); ++i)
    if (from[i] == shape[lead + i]) {
      kept.push_back(from[i]);
      dims.push_back(lead + i);
    }
  value = reshape(value, kept);
  if (shapeOf(value) == shape)
    return value;
  return BroadcastOp::create(builder, loc(), tensorType(shape, elementOf(value)), value, dims);
}

Value Elaborator::reduceSum(Value value, ArrayRef<int64_t> dims) {
  if (dims.empty())
    return value;
  return ReduceSumOp::create(builder, loc(), value, dims);
}

Value Elaborator::binaryOp(Bin op, Value a, Value b) {
  Location l = loc();
  Type type = a.getType();
  switch (op) {
  case Bin::Add:
    return AddOp::create(builder, l, type, a, b);
  case Bin::Sub:
    return SubOp::create(builder, l, type, a, b);
  case Bin::Mul:
    return MulOp::create(builder, l, type, a, b);
  case Bin::Div:
    return DivOp::create(builder, l, type, a, b);
  case Bin::Pow:
    return PowOp::create(builder, l, type, a, b);
  case Bin::Min:
    return MinOp::create(builder, l, type, a, b);
  case Bin::Max:
    return MaxOp::create(builder, l, type, a, b);
  case Bin::Lt:
    return CompareOp::create(builder, l, "lt", a, b);
  case Bin::Le:
    return CompareOp::create(builder, l, "le", a, b);
  case Bin::Gt:
    return CompareOp::create(builder, l, "gt", a, b);
  case Bin::Ge:
    return CompareOp::create(builder, l, "ge", a, b);
  case Bin::Eq:
    return CompareOp::create(builder, l, "eq", a, b);
  case Bin::Ne:
    return CompareOp::create(builder, l, "ne", a, b);
  case Bin::And:
    return AndOp::create(builder, l, type, a, b);
  case Bin::Or:
    return OrOp::create(builder, l, type, a, b);
  }
  return {};
}

std::vector<int64_t> Elaborator::broadcastShape(ArrayRef<int64_t> a, ArrayRef<int64_t> b, const char *what) {
  size_t rank = std::max(a.size(), b.size());
  std::vector<int64_t> shape(rank);
  for (size_t i = 0; i < rank; ++i) {
    int64_t x = i < rank - a.size() ? 1 : a[i - (rank - a.size())];
    int64_t y = i < rank - b.size() ? 1 : b[i - (rank - b.size())];
    if (x != y && x != 1 && y != 1) {
      std::string help;
      if (a.size() == 1 && b.size() == 2 && a[0] == b[0])
        help = "to pair the rows, write `[:, None]` after the first";
      else if (b.size() == 1 && a.size() == 2 && a[0] == b[0])
        help = "to pair the rows, write `[:, None]` after the second";
      fail(std::string("the shapes ") + shapeText(a) + " and " + shapeText(b) + " do not fit together in `" + what +
               "`: sizes from the right must be equal or 1, but here are " + std::to_string(x) + " and " +
               std::to_string(y),
           help);
    }
    shape[i] = x == 1 ? y : x;
  }
  return shape;
}

//===-- The tensor behind a value -------------------------------------------------------------------------------===//

Value Elaborator::tensorOf(const Val &value, const char *what) {
  switch (value->kind) {
  case Kind::Poison:
    throw Failure{};
  case Kind::Tensor: {
    // A constant is not folded here: what is differentiated with respect to it follows the data.
    auto *t = as<Tensor>(value);
    if (!t->weak || defaultFloat().isF64())
      return t->ssa;
    return CastOp::create(builder, loc(), tensorType(shapeOf(t->ssa), defaultFloat()), t->ssa);
  }
  case Kind::Number:
    return scalar(*as<Number>(value));
  case Kind::List: {
    auto &items = as<List>(value)->items;
    if (items.empty() || as<List>(value)->tuple)
      break;
    // Numbers and weak tensors take the type of the others.
    Type outer = meeting;
    Meeting inside(*this, {value}, Meeting::AreIndices);
    if (inside.allWeak())
      meeting = outer;
    bool constant = true;
    std::vector<double> values;
    for (const Val &item : items) {
      auto *n = as<Number>(item);
      constant = constant && n && n->known && !n->ssa && !n->boolean;
      if (constant)
        values.push_back(*n->known);
    }
    if (constant) {
      auto type = tensorType({int64_t(items.size())}, defaultFloat());
      std::vector<APFloat> elements;
      for (double v : values) {
        APFloat f(v);
        bool lost;
        f.convert(llvm::cast<FloatType>(defaultFloat()).getFloatSemantics(), APFloat::rmNearestTiesToEven, &lost);
        elements.push_back(f);
      }
      return ConstantOp::create(builder, loc(), type, DenseElementsAttr::get(type, elements));
    }
    std::vector<Value> rows;
    Type element;
    for (const Val &item : items) {
      Value v = floatTensorOf(item, what);
      if (as<Number>(item))
        v = cast(v, defaultFloat());
      if (!rows.empty() && shapeOf(v) != shapeOf(rows[0]))
        fail("a list becomes a tensor only if its elements have one shape; here are " + shapeText(shapeOf(rows[0])) +
             " and " + shapeText(shapeOf(v)));
      if (!element || elementOf(v).isF64())
        element = elementOf(v);
      rows.push_back(v);
    }
    std::vector<int64_t> shape(shapeOf(rows[0]));
    shape.insert(shape.begin(), 1);
    for (Value &v : rows)
      v = reshape(cast(v, element), shape);
    return rows.size() == 1 ? rows[0] : Value(ConcatOp::create(builder, loc(), ValueRange(rows), 0));
  }
  case Kind::Net:
    fail(std::string("expected ") + what + ", found a net", "its weights are `net.weights`, its output `net(x)`");
  case Kind::Column:
    fail(std::string("expected ") + what + ", found " + describe(value) + " of a table",
         "reduce it first: `mean(...)`, `sum(...)`, `min(...)`, `max(...)` or `last(...)`");
  case Kind::Fn: {
    auto *fn = as<Fn>(value);
    std::vector<std::string> missing = lacking(*fn);
    fail(std::string("expected ") + what + ", found " + describe(value) +
             (missing.empty() ? "" : ", which still lacks " + llvm::join(missing, ", ")),
         "call it: `" + fn->name() + "(...)`, or `x |> " + fn->name() + "`");
  }
  default:
    break;
  }
  fail(std::string("expected ") + what + ", found " + describe(value));
}

Value Elaborator::floatTensorOf(const Val &value, const char *what) {
  Value v = tensorOf(value, what);
  return isFloat(v) ? v : cast(v, as<Number>(value) ? f64() : defaultFloat());
}

Value Elaborator::asTensor(const Val &value, Type element, const char *what) {
  Restore<Type> exact(meeting, llvm::isa<FloatType>(element) ? element : meeting);
  return cast(tensorOf(value, what), element);
}

Value Elaborator::asTensor(const Val &value, ArrayRef<int64_t> shape, Type element) {
  if (auto *n = as<Number>(value); n && n->known && !n->ssa) {
    notOfSamples(*n);
    return splat(shape, element, *n->known);
  }
  Value v = asTensor(value, element);
  if (broadcastShape(shapeOf(v), shape, "a shape") != std::vector<int64_t>(shape))
    fail("expected the shape " + shapeText(shape) + ", found " + shapeText(shapeOf(v)));
  return broadcastTo(v, shape);
}

//===-- Binary operations ---------------------------------------------------------------------------------------===//

Val Elaborator::binaryNumbers(Bin op, const Number &a, const Number &b) {
  auto result = std::make_shared<Number>();
  result->boolean = isComparison(op) || isLogic(op);
  result->samples = a.samples || b.samples;
  result->settings = a.settings;
  result->settings.insert(b.settings.begin(), b.settings.end());
  result->loops = a.loops;
  result->loops.insert(b.loops.begin(), b.loops.end());
  if (a.known && b.known)
    result->known = fold(op, *a.known, *b.known);
  if (a.ssa || b.ssa) {
    Value x = scalar(a), y = scalar(b);
    Type element = isLogic(op) || (isComparison(op) && a.boolean && b.boolean) ? builder.getI1Type() : f64();
    if (op == Bin::Pow && b.known && !b.ssa && *b.known == 2) {
      x = cast(x, element);
      result->ssa = binaryOp(Bin::Mul, x, x);
    } else {
      result->ssa = binaryOp(op, cast(x, element), cast(y, element));
    }
  }
  return result;
}

Val Elaborator::mapWeights(const Val &weights, const std::function<Value(Value)> &f) {
  auto result = std::make_shared<Weights>();
  for (const Weights::Entry &entry : as<Weights>(weights)->entries)
    result->entries.push_back({entry.name, f(entry.ssa)});
  return result;
}

Val Elaborator::binary(Bin op, const Val &a, const Val &b) {
  if (a->kind == Kind::Poison || b->kind == Kind::Poison)
    throw Failure{};
  if (op == Bin::Eq || op == Bin::Ne) {
    auto answer = [&](bool same) { return boolean(same == (op == Bin::Eq)); };
    if (as<String>(a) && as<String>(b))
      return answer(as<String>(a)->text == as<String>(b)->text);
    if (as<None>(a) || as<None>(b))
      return answer(a->kind == b->kind);
    if (as<Fn>(a) && as<Fn>(b))
      return answer(as<Fn>(a)->decl == as<Fn>(b)->decl && as<Fn>(a)->builtin == as<Fn>(b)->builtin);
    if (as<Data>(a) && as<Data>(b))
      return answer(as<Data>(a)->name == as<Data>(b)->name);
    if (as<String>(a) || as<String>(b) || as<Fn>(a) || as<Fn>(b))
      fail(std::string("cannot compare ") + describe(a) + " with " + describe(b));
    if (as<List>(a) && as<List>(b)) {
      auto &x = as<List>(a)->items, &y = as<List>(b)->items;
      bool same = x.size() == y.size();
      for (size_t i = 0; same && i < x.size(); ++i)
        same = knownBool(binary(Bin::Eq, x[i], y[i]), "the comparison of lists");
      return answer(same);
    }
  }
  if (op == Bin::Add) {
    if (as<String>(a) && as<String>(b))
      return string(as<String>(a)->text + as<String>(b)->text);
    if (as<List>(a) && as<List>(b)) {
      auto items = as<List>(a)->items;
      items.insert(items.end(), as<List>(b)->items.begin(), as<List>(b)->items.end());
      return list(std::move(items));
    }
  }
  auto *na = as<Number>(a), *nb = as<Number>(b);
  if (na && nb)
    return binaryNumbers(op, *na, *nb);

  if (as<Weights>(a) || as<Weights>(b)) {
    auto *wa = as<Weights>(a), *wb = as<Weights>(b);
    auto result = std::make_shared<Weights>();
    if (wa && wb && wa->entries.size() != wb->entries.size())
      fail("these weights have " + std::to_string(wa->entries.size()) + " tensors on the left and " +
           std::to_string(wb->entries.size()) + " on the right of `" + spelling(op) + "`");
    if (!wa || !wb) {
      const Val &other = wa ? b : a;
      if (auto *t = as<Tensor>(other); !as<Number>(other) && !(t && shapeOf(t->ssa).empty()))
        fail("weights meet numbers and other weights in `" + std::string(spelling(op)) + "`, not " + describe(other),
             "`like(v, w)` gives a flat vector the form of the weights w");
    }
    if (isComparison(op) || isLogic(op))
      fail("weights are not compared tensor by tensor", "compare `flat(w)`");
    for (size_t i = 0, n = (wa ? wa : wb)->entries.size(); i < n; ++i) {
      const Weights::Entry &like = (wa ? wa : wb)->entries[i];
      if (wa && wb && shapeOf(wa->entries[i].ssa) != shapeOf(wb->entries[i].ssa))
        fail("these weights differ in shape: " + wa->entries[i].name + " is " + shapeText(shapeOf(wa->entries[i].ssa)) +
             " on the left and " + shapeText(shapeOf(wb->entries[i].ssa)) + " on the right of `" + spelling(op) + "`");
      Val x = wa ? tensor(wa->entries[i].ssa) : a, y = wb ? tensor(wb->entries[i].ssa) : b;
      result->entries.push_back({like.name, as<Tensor>(binary(op, x, y))->ssa});
    }
    return result;
  }

  // Tensors. Numbers are weak.
  Meeting meet(*this, {a, b});
  std::string what = std::string("numbers or tensors on both sides of `") + spelling(op) + "`";
  Value x = na ? Value() : tensorOf(a, what.c_str()), y = nb ? Value() : tensorOf(b, what.c_str());
  auto shape = broadcastShape(x ? shapeOf(x) : ArrayRef<int64_t>(), y ? shapeOf(y) : ArrayRef<int64_t>(), spelling(op));
  Type element;
  if (isLogic(op)) {
    for (Value v : {x, y})
      if (v && !elementOf(v).isInteger(1))
        fail(std::string("`") + spelling(op) + "` combines truth values, found " + describe(v == x ? a : b));
    if ((na && !na->boolean) || (nb && !nb->boolean))
      fail(std::string("`") + spelling(op) + "` combines truth values, found " + describe(na ? a : b));
    element = builder.getI1Type();
  } else {
    // Whole values are compared as they are: as i32 where that holds both, else in f64, which holds any.
    auto isI32 = [](const Number *n, Value v) {
      if (!n)
        return !elementOf(v).isUnsignedInteger(32);
      return n->known && *n->known == std::floor(*n->known) && std::abs(*n->known) <= std::numeric_limits<int>::max();
    };
    if (isComparison(op) && (!x || !isFloat(x)) && (!y || !isFloat(y)))
      element = isI32(na, x) && isI32(nb, y) ? builder.getI32Type() : f64();
    else if ((x && elementOf(x).isF64()) || (y && elementOf(y).isF64()))
      element = f64();
    else if ((x && elementOf(x).isF32()) || (y && elementOf(y).isF32()))
      element = builder.getF32Type();
    else
      element = defaultFloat();
    if (isComparison(op)) {
      int64_t ka = as<Tensor>(a) ? as<Tensor>(a)->classes : 0, kb = as<Tensor>(b) ? as<Tensor>(b)->classes : 0;
      if (ka && kb && ka != kb)
        fail("these are of class " + std::to_string(ka) + " and of class " + std::to_string(kb) +
             ": their labels do not mean the same");
    }
  }
  if (op == Bin::Pow && nb && nb->known && !nb->ssa && shape == std::vector<int64_t>(shapeOf(x))) {
    Value base = cast(x, element);
    if (*nb->known == 1)
      return meet.settle(tensor(base));
    if (*nb->known == 2)
      return meet.settle(tensor(binaryOp(Bin::Mul, base, base)));
    if (*nb->known == 3)
      return meet.settle(tensor(binaryOp(Bin::Mul, binaryOp(Bin::Mul, base, base), base)));
    if (*nb->known == 0.5)
      return meet.settle(tensor(SqrtOp::create(builder, loc(), base.getType(), base)));
    if (*nb->known == -1)
      return meet.settle(tensor(binaryOp(Bin::Div, splat(shape, element, 1), base)));
  }
  return meet.settle(tensor(binaryOp(op, asTensor(a, shape, element), asTensor(b, shape, element))));
}

//===-- Unary operations ----------------------------------------------------------------------------------------===//

Val Elaborator::unary(const std::string &name, const Val &value) {
  struct Rule {
    double (*fold)(double);
    Value (*emit)(OpBuilder &, Location, Value);
    bool integers;
  };
#define RULE(OP, FOLD, INTEGERS)                                                                                       \
  Rule {                                                                                                               \
    [](double x) -> double { return FOLD; },                                                                           \
        [](OpBuilder &b, Location l, Value v) -> Value { return OP::create(b, l, v.getType(), v); }, INTEGERS          \
  }
  static const std::map<std::string, Rule> rules = {
      {"neg", RULE(NegOp, -x, false)},
      {"exp", RULE(ExpOp, std::exp(x), false)},
      {"expm1", RULE(Expm1Op, std::expm1(x), false)},
      {"log", RULE(LogOp, std::log(x), false)},
      {"log1p", RULE(Log1pOp, std::log1p(x), false)},
      {"log2", RULE(Log2Op, std::log2(x), false)},
      {"log10", RULE(Log10Op, std::log10(x), false)},
      {"sqrt", RULE(SqrtOp, std::sqrt(x), false)},
      {"sin", RULE(SinOp, std::sin(x), false)},
      {"cos", RULE(CosOp, std::cos(x), false)},
      {"tanh", RULE(TanhOp, std::tanh(x), false)},
      {"sinh", RULE(SinhOp, std::sinh(x), false)},
      {"cosh", RULE(CoshOp, std::cosh(x), false)},
      {"sigmoid", RULE(LogisticOp, 1 / (1 + std::exp(-x)), false)},
      {"erf", RULE(ErfOp, std::erf(x), false)},
      {"asinh", RULE(AsinhOp, std::asinh(x), false)},
      {"abs", RULE(AbsOp, std::fabs(x), false)},
      {"sign", RULE(SignOp, std::isnan(x) ? x : (x > 0) - (x < 0), false)},
      {"floor", RULE(FloorOp, std::floor(x), false)},
      {"stop_gradient", RULE(StopGradientOp, x, true)},
  };
#undef RULE
  const Rule &rule = rules.at(name);
  if (value->kind == Kind::Poison)
    throw Failure{};
  if (auto *n = as<Number>(value)) {
    auto result = std::make_shared<Number>(*n);
    result->boolean = false;
    if (n->known)
      result->known = rule.fold(*n->known);
    if (n->ssa)
      result->ssa = rule.emit(builder, loc(), cast(n->ssa, f64()));
    return result;
  }
  if (as<Weights>(value))
    return mapWeights(value, [&](Value v) { return rule.emit(builder, loc(), v); });
  std::string what = "a number, a tensor or weights in `" + (name == "neg" ? "-" : name) + "`";
  Meeting meet(*this, {value});
  if (name == "stop_gradient") {
    if (as<Net>(value)) {
      std::vector<Value> values;
      flatten(value, values);
      for (Value &v : values)
        v = rule.emit(builder, loc(), v);
      ArrayRef<Value> rest = values;
      return unflatten(value, rest, {});
    }
    auto *t = as<Tensor>(value);
    return meet.settle(tensor(rule.emit(builder, loc(), tensorOf(value, what.c_str())), t ? t->classes : 0));
  }
  return meet.settle(tensor(rule.emit(builder, loc(), floatTensorOf(value, what.c_str()))));
}

Val Elaborator::logicalNot(const Val &value) {
  if (auto *n = as<Number>(value)) {
    if (!n->boolean)
      fail("`not` takes a truth value, found " + describe(value), "compare it: `not (n == 0)`");
    auto result = std::make_shared<Number>(*n);
    if (n->known)
      result->known = *n->known == 0;
    if (n->ssa)
      result->ssa = NotOp::create(builder, loc(), n->ssa.getType(), n->ssa);
    return result;
  }
  Value v = tensorOf(value, "a truth value after `not`");
  if (!elementOf(v).isInteger(1))
    fail("`not` takes a truth value, found " + describe(value));
  return tensor(NotOp::create(builder, loc(), v.getType(), v));
}

Val Elaborator::where(const Val &condition, const Val &yes, const Val &no) {
  if (yes->kind == Kind::Poison || no->kind == Kind::Poison || condition->kind == Kind::Poison)
    throw Failure{};
  auto *c = as<Number>(condition);
  if (c && !c->boolean)
    fail("`where` takes a truth value or a mask first, found " + describe(condition), "compare it: `n > 0`");
  if (c && c->known && !c->ssa)
    return *c->known != 0 ? yes : no;
  Value mask = c ? c->ssa : tensorOf(condition, "a mask as the first argument of `where`");
  if (!elementOf(mask).isInteger(1))
    fail("`where` takes a truth value or a mask first, found " + describe(condition), "compare it: `x > 0`");
  if (as<Net>(yes) || as<Net>(no) || as<Weights>(yes) || as<Weights>(no)) {
    if (!shapeOf(mask).empty())
      fail("between nets or weights `where` chooses with one truth value, found a mask " + shapeText(shapeOf(mask)));
    std::vector<Value> a, types;
    flatten(yes, a);
    std::vector<Type> wanted;
    for (Value v : a)
      wanted.push_back(v.getType());
    std::vector<Value> b = flattenLike(no, yes, wanted, "the second choice of `where`", here);
    for (size_t i = 0; i < a.size(); ++i) {
      Value m = broadcastTo(mask, shapeOf(a[i]));
      a[i] = SelectOp::create(builder, loc(), a[i].getType(), m, a[i], b[i]);
    }
    ArrayRef<Value> rest = a;
    return unflatten(yes, rest, {});
  }
  auto *a = as<Number>(yes), *b = as<Number>(no);
  if (a && b && shapeOf(mask).empty()) { // stays a number
    auto result = std::make_shared<Number>();
    result->boolean = a->boolean && b->boolean;
    result->loops = a->loops;
    result->loops.insert(b->loops.begin(), b->loops.end());
    if (c) {
      result->loops.insert(c->loops.begin(), c->loops.end());
      if (c->known) { // of a setting
        const Number *chosen = *c->known != 0 ? a : b;
        result->known = chosen->known;
        result->settings = chosen->settings;
        result->settings.insert(c->settings.begin(), c->settings.end());
      }
    }
    Type element = result->boolean ? builder.getI1Type() : f64();
    Value x = cast(scalar(*a), element), y = cast(scalar(*b), element);
    result->ssa = SelectOp::create(builder, loc(), x.getType(), mask, x, y);
    return result;
  }
  // Tensors: as arithmetic promotes, but two masks or two labels of one class stay what they are.
  Meeting meet(*this, {yes, no});
  auto *ta = as<Tensor>(yes), *tb = as<Tensor>(no);
  Type element;
  int64_t classes = 0;
  if (ta && tb && elementOf(ta->ssa) == elementOf(tb->ssa) && !llvm::isa<FloatType>(elementOf(ta->ssa))) {
    element = elementOf(ta->ssa);
    classes = ta->classes == tb->classes ? ta->classes : 0;
  } else {
    for (const Val &v : {yes, no})
      if (!as<Number>(v)) {
        Type e = elementOf(tensorOf(v, "a number or a tensor in `where`"));
        if (!element || e.isF64() || !llvm::isa<FloatType>(element))
          element = e;
      }
    if (!element || !llvm::isa<FloatType>(element))
      element = defaultFloat();
  }
  auto shapeOfValue = [&](const Val &v) {
    return as<Number>(v) ? std::vector<int64_t>() : std::vector<int64_t>(shapeOf(tensorOf(v, "a tensor in `where`")));
  };
  auto shape = broadcastShape(shapeOfValue(yes), shapeOfValue(no), "where");
  shape = broadcastShape(shape, shapeOf(mask), "where");
  Value x = asTensor(yes, shape, element), y = asTensor(no, shape, element);
  return meet.settle(tensor(SelectOp::create(builder, loc(), x.getType(), broadcastTo(mask, shape), x, y), classes));
}

//===-- Matrix product ------------------------------------------------------------------------------------------===//

Val Elaborator::matmul(const Val &lhs, const Val &rhs) {
  if (auto *op = as<Operator>(lhs))
    return hessianProduct(*op, rhs);
  Meeting meet(*this, {lhs, rhs});
  Value a = floatTensorOf(lhs, "a matrix or a vector on the left of `@`");
  Value b = floatTensorOf(rhs, "a matrix or a vector on the right of `@`");
  Type element = elementOf(a).isF64() || elementOf(b).isF64() ? f64() : Type(builder.getF32Type());
  a = cast(a, element);
  b = cast(b, element);
  int64_t ra = typeOf(a).getRank(), rb = typeOf(b).getRank();
  if (ra == 0 || rb == 0)
    fail("`@` multiplies matrices and vectors, found " + describe(ra == 0 ? lhs : rhs), "numbers take `*`");
  int64_t ca = ra - 1, cb = rb == 1 ? 0 : rb - 2;
  if (shapeOf(a)[ca] != shapeOf(b)[cb])
    fail("`@` pairs the last axis of " + shapeText(shapeOf(a)) + " with " + (rb == 1 ? "" : "the last but one of ") +
             shapeText(shapeOf(b)) + ": " + std::to_string(shapeOf(a)[ca]) + " is not " +
             std::to_string(shapeOf(b)[cb]),
         rb == 2 && shapeOf(a)[ca] == shapeOf(b)[1] ? "the right side transposed, `.T`, would fit" : "");
  // Leading axes are a batch: broadcast them against each other.
  SmallVector<int64_t> batch;
  if (ra > 2 && rb > 2) {
    auto lead = broadcastShape(shapeOf(a).drop_back(2), shapeOf(b).drop_back(2), "@");
    auto extend = [&](Value &v) {
      SmallVector<int64_t> shape(lead.begin(), lead.end());
      shape.append(shapeOf(v).end() - 2, shapeOf(v).end());
      v = broadcastTo(v, shape);
    };
    extend(a);
    extend(b);
    for (size_t i = 0; i < lead.size(); ++i)
      batch.push_back(i);
    ca = lead.size() + 1;
    cb = lead.size();
  }
  // A matrix's transpose is contracted in place: `x @ w.T` moves nothing.
  auto peel = [](Value &v, int64_t &contracted) {
    auto t = v.getDefiningOp<TransposeOp>();
    if (t && typeOf(v).getRank() == 2 && t.getPermutation() == ArrayRef<int64_t>{1, 0}) {
      v = t.getOperand();
      contracted = 1 - contracted;
    }
  };
  peel(a, ca);
  peel(b, cb);
  Value c = DotGeneralOp::create(builder, loc(), a, b, batch, batch, {ca}, {cb});
  if (batch.empty() && rb > 2 && ra <= 2) {
    // [m, k] @ [..., k, n] came out as [m, ..., n]; NumPy wants [..., m, n].
    if (ra == 2) {
      SmallVector<int64_t> order;
      for (int64_t i = 1; i < typeOf(c).getRank() - 1; ++i)
        order.push_back(i);
      order.push_back(0);
      order.push_back(typeOf(c).getRank() - 1);
      c = TransposeOp::create(builder, loc(), c, order);
    }
  }
  return meet.settle(tensor(c));
}

//===-- Static values -------------------------------------------------------------------------------------------===//

double Elaborator::known(const Val &value, const std::string &what) {
  if (value->kind == Kind::Poison)
    throw Failure{};
  auto *n = as<Number>(value);
  if (!n) {
    if (auto *t = as<Tensor>(value); t && shapeOf(t->ssa).empty())
      fail(what + " must be known when the program is compiled, but this is computed from tensors as it runs",
           "at run time `where(condition, a, b)` chooses between values");
    fail(what + " must be a number, found " + describe(value));
  }
  if (!n->known) {
    if (!n->loops.empty())
      throw NeedUnroll{*n->loops.begin(), here};
    fail(what + " must be known when the program is compiled, but this number exists only as it runs",
         "at run time `where(condition, a, b)` chooses between values");
  }
  for (const std::string &name : n->settings) {
    Setting &setting = settings[settingIndex.at(name)];
    if (!setting.fixed) {
      setting.fixed = true;
      setting.fixedReason = what + " at " + here.str();
    }
  }
  return *n->known;
}

int64_t Elaborator::knownInt(const Val &value, const std::string &what) {
  double v = known(value, what);
  if (v != std::floor(v) || std::fabs(v) > 9e15)
    fail(what + " must be a whole number, found " + numberText(v), std::isfinite(v) ? "`floor(...)` rounds down" : "");
  return int64_t(v);
}

bool Elaborator::knownBool(const Val &value, const std::string &what) {
  if (auto *t = as<Tensor>(value))
    fail(what + " must be known when the program is compiled, but " + describe(value) + " is computed as it runs",
         shapeOf(t->ssa).empty() ? "choose between values with `where(condition, a, b)`"
                                 : "choose element by element with `where(mask, a, b)`");
  auto *n = as<Number>(value);
  if (!n || (!n->boolean && n->kind != Kind::Poison))
    fail(what + " must be a truth value, found " + describe(value), n ? "compare it: `n > 0`, `n == 1`" : "");
  return known(value, what) != 0;
}

std::string Elaborator::knownString(const Val &value, const std::string &what) {
  if (value->kind == Kind::Poison)
    throw Failure{};
  if (auto *s = as<String>(value))
    return s->text;
  fail(what + " must be a string, found " + describe(value));
}

std::vector<int64_t> Elaborator::knownShape(const Val &value) {
  std::vector<int64_t> shape;
  auto add = [&](const Val &item) {
    int64_t size = knownInt(item, "a size in a shape");
    if (size < 1)
      fail("a size in a shape must be at least 1, found " + std::to_string(size));
    shape.push_back(size);
  };
  if (auto *l = as<List>(value))
    for (const Val &item : l->items)
      add(item);
  else
    add(value);
  if (shape.size() > 16)
    fail("a tensor has at most 16 axes, found " + std::to_string(shape.size()));
  return shape;
}

int64_t Elaborator::knownAxis(const Val &value, int64_t rank) {
  int64_t axis = knownInt(value, "an axis");
  if (axis < -rank || axis >= rank)
    fail("axis " + std::to_string(axis) + " is outside a tensor of " + std::to_string(rank) +
             (rank == 1 ? " axis" : " axes"),
         rank ? "axes count from 0; -1 is the last" : "");
  return axis < 0 ? axis + rank : axis;
}

std::vector<int64_t> Elaborator::knownAxes(const Val &value, int64_t rank, bool &all) {
  std::set<int64_t> axes;
  all = !value || value->kind == Kind::None;
  if (all)
    for (int64_t i = 0; i < rank; ++i)
      axes.insert(i);
  else if (auto *l = as<List>(value))
    for (const Val &item : l->items)
      axes.insert(knownAxis(item, rank));
  else
    axes.insert(knownAxis(value, rank));
  return {axes.begin(), axes.end()};
}

//===-- Values as tuples of tensors -----------------------------------------------------------------------------===//

bool Elaborator::carriable(const Val &value) {
  switch (value->kind) {
  case Kind::Number:
  case Kind::Tensor:
  case Kind::Weights:
  case Kind::Net:
    return true;
  case Kind::List:
    return llvm::all_of(as<List>(value)->items, [&](const Val &v) { return carriable(v); });
  default:
    return false;
  }
}

void Elaborator::flatten(const Val &value, std::vector<Value> &to) {
  if (auto *n = as<Number>(value))
    to.push_back(scalar(*n));
  else if (auto *t = as<Tensor>(value))
    to.push_back(t->weak ? kept(t->ssa, defaultFloat()) : t->ssa);
  else if (auto *w = as<Weights>(value))
    for (const Weights::Entry &entry : w->entries)
      to.push_back(entry.ssa);
  else if (auto *net = as<Net>(value)) {
    for (const Val &v : net->values)
      flatten(v, to);
    flatten(net->seed, to);
  } else if (auto *l = as<List>(value))
    for (const Val &item : l->items)
      flatten(item, to);
}

Val Elaborator::unflatten(const Val &like, ArrayRef<Value> &values, const std::set<unsigned> &loops) {
  auto next = [&] {
    Value v = values.front();
    values = values.drop_front();
    return v;
  };
  if (as<Number>(like))
    return runtime(next(), loops);
  if (auto *t = as<Tensor>(like))
    return tensor(next(), t->classes);
  if (auto *w = as<Weights>(like)) {
    auto result = std::make_shared<Weights>();
    for (const Weights::Entry &entry : w->entries)
      result->entries.push_back({entry.name, next()});
    return result;
  }
  if (auto *net = as<Net>(like)) {
    auto result = std::make_shared<Net>(*net);
    for (Val &v : result->values)
      v = unflatten(v, values, loops);
    result->seed = unflatten(net->seed, values, loops);
    return result;
  }
  if (auto *l = as<List>(like)) {
    std::vector<Val> items;
    for (const Val &item : l->items)
      items.push_back(unflatten(item, values, loops));
    return list(std::move(items), l->tuple);
  }
  return like;
}

// What a carried value would lose silently: that each label is one of its classes; the fraction of a number.
static std::string lostIn(const Val &value, const Val &like) {
  auto *list = as<List>(value), *likeList = as<List>(like);
  if (list && likeList && list->items.size() == likeList->items.size())
    for (auto [item, likeItem] : llvm::zip_equal(list->items, likeList->items))
      if (std::string help = lostIn(item, likeItem); !help.empty())
        return help;
  auto *t = as<Tensor>(value), *likeTensor = as<Tensor>(like);
  if (!likeTensor)
    return "";
  int64_t classes = likeTensor->classes;
  if (classes && (!t || !t->classes || t->classes > classes))
    return "give it labels of one class before and in the loop: `classes(x, " +
           std::to_string(std::max(t ? t->classes : 0, classes)) + ")`";
  if (!classes && t && isa<FloatType>(elementOf(t->ssa)) && !isa<FloatType>(elementOf(likeTensor->ssa)))
    return "give it numbers before the loop: `1.0 * x`";
  return "";
}

/// Which of the tensors that `flatten` gives are numbers, or made of numbers alone.
static void flattenWeak(const Val &value, std::vector<bool> &to) {
  if (as<Number>(value))
    to.push_back(true);
  else if (auto *t = as<Tensor>(value))
    to.push_back(t->weak);
  else if (auto *w = as<Weights>(value))
    to.insert(to.end(), w->entries.size(), false);
  else if (auto *net = as<Net>(value)) {
    for (const Val &v : net->values)
      flattenWeak(v, to);
    flattenWeak(net->seed, to);
  } else if (auto *l = as<List>(value))
    for (const Val &item : l->items)
      flattenWeak(item, to);
}

Val Elaborator::rowAt(const Tensor &whole, int64_t i) {
  SmallVector<int64_t> start(typeOf(whole.ssa).getRank(), 0), limit(shapeOf(whole.ssa)), stride(start.size(), 1);
  start[0] = i;
  limit[0] = i + 1;
  Value row = SliceOp::create(builder, loc(), whole.ssa, start, limit, stride);
  row = reshape(row, shapeOf(row).drop_front());
  return whole.weak ? weak(row) : tensor(row, whole.classes);
}

std::vector<Value> Elaborator::flattenLike(const Val &value, const Val &like, ArrayRef<Type> types,
                                           const std::string &name, SourceRange range, bool stored) {
  // Numbers, and tensors made of numbers alone, go straight into the type of their place.
  Restore<Type> exact(meeting, f64());
  // A list is a tensor where one is wanted, and a tensor a list of its rows.
  std::vector<bool> isWeakPart;
  flattenWeak(value, isWeakPart);
  auto *items = as<List>(value), *likeItems = as<List>(like);
  if (items && as<Tensor>(like) && !items->items.empty() && llvm::all_of(items->items, [](const Val &item) {
        return as<Number>(item) || as<Tensor>(item) || as<List>(item);
      })) {
    Value whole = tensorOf(value, "a tensor");
    bool allWeak = llvm::all_of(isWeakPart, [](bool isWeak) { return isWeak; });
    return flattenLike(allWeak ? weak(whole) : tensor(whole), like, types, name, range, stored);
  }
  if (auto *t = as<Tensor>(value);
      t && likeItems && typeOf(t->ssa).getRank() && shapeOf(t->ssa)[0] == int64_t(likeItems->items.size())) {
    std::vector<Val> rows;
    for (int64_t i = 0; i < shapeOf(t->ssa)[0]; ++i)
      rows.push_back(rowAt(*t, i));
    return flattenLike(list(std::move(rows)), like, types, name, range, stored);
  }
  bool scalars = types.size() == 1 && llvm::cast<RankedTensorType>(types[0]).getRank() == 0;
  auto *net = as<Net>(value), *likeNet = as<Net>(like);
  bool sameKind = value->kind == like->kind && (!net || net->code->index == likeNet->code->index);
  std::vector<Value> values;
  if (sameKind || (scalars && (as<Number>(value) || as<Tensor>(value))))
    flatten(value, values);
  if (values.size() != types.size())
    fail(range, name + " is " + describe(like) + " and cannot become " + describe(value) +
                    (net && likeNet ? " with other parameters" : ""));
  if (std::string help = lostIn(value, like); !help.empty())
    fail(range, name + " is " + describe(like) + " and cannot become " + describe(value), help);
  for (size_t i = 0; i < values.size(); ++i) {
    auto type = llvm::cast<RankedTensorType>(types[i]);
    if (shapeOf(values[i]) != type.getShape())
      fail(range, name + " has the shape " + shapeText(type.getShape()) + " and cannot become " +
                      shapeText(shapeOf(values[i])));
    if (elementOf(values[i]).isF64() && type.getElementType().isF32() && !stored && !isWeakPart[i])
      fail(range, name + " is f32 and cannot become f64",
           "start it in f64, `f64(...)`, or keep `f32(...)` of what is new");
    values[i] = llvm::isa<FloatType>(type.getElementType()) ? kept(values[i], type.getElementType())
                                                            : cast(values[i], type.getElementType());
  }
  return values;
}

} // namespace hw::lang
