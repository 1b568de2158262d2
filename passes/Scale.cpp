// hw.scale and hw.unscale become arithmetic, once nothing is left that could differentiate through them.
//
// scale(c, g) is c g, unscale(c, g) c / g, but 0 where c is. They are a multiplication and a division where the factor
// is finite, or where c is 0 only if the whole gradient is; elsewhere select(c != 0, c g, 0). So a network's backward
// pass, whose factors are finite, is what it would be without; and what `where` leaves out, log 0 or the NaN of a
// missing value, stays out of the gradient.
#include "ir/Expr.h"
#include "passes/Passes.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace hw;

namespace {

/// How many values a question looks at before it takes the careful answer.
constexpr size_t horizon = 256;

bool isMovement(Operation *op) {
  return isa<BroadcastOp, ReshapeOp, TransposeOp, ReverseOp, SliceOp, PadOp, ConcatOp, ReduceSumOp>(op);
}

/// f of all elements of a constant.
template <class F> bool allOf(ConstantOp constant, F f) {
  auto elements = dyn_cast<DenseElementsAttr>(constant.getValue());
  if (!elements || !isa<FloatType>(elements.getElementType()))
    return false;
  if (elements.isSplat())
    return f(elements.getSplatValue<APFloat>());
  return elements.getNumElements() <= 4096 && llvm::all_of(elements.getValues<APFloat>(), f);
}

bool isNumber(Value value, llvm::function_ref<bool(const APFloat &)> f) {
  auto constant = value.getDefiningOp<ConstantOp>();
  return constant && allOf(constant, f);
}
bool isNonzeroConstant(Value value) {
  return isNumber(value, [](const APFloat &x) { return x.isFiniteNonZero(); });
}

enum class Sign { Positive, Nonnegative, Any };

/// What is certain of a value's sign, NaN aside. A positive one is so by a constant (`v + eps`): its reciprocal is
/// finite.
Sign signOf(Value value, int depth = 0) {
  Operation *op = value.getDefiningOp();
  if (!op || depth > 12)
    return Sign::Any;
  auto of = [&](unsigned i) { return signOf(op->getOperand(i), depth + 1); };
  auto isNonnegative = [](Sign sign) { return sign != Sign::Any; };
  return llvm::TypeSwitch<Operation *, Sign>(op)
      .Case<ConstantOp>([&](ConstantOp constant) {
        if (allOf(constant, [](const APFloat &x) { return x.isFiniteNonZero() && !x.isNegative(); }))
          return Sign::Positive;
        return allOf(constant, [](const APFloat &x) { return !x.isNaN() && (!x.isNegative() || x.isZero()); })
                   ? Sign::Nonnegative
                   : Sign::Any;
      })
      .Case<ExpOp, LogisticOp, AbsOp>([](auto) { return Sign::Nonnegative; })
      .Case<CoshOp>([](auto) { return Sign::Positive; })
      .Case<CastOp>([&](CastOp cast) { return isa<FloatType>(elementOf(cast.getOperand())) ? of(0) : Sign::Any; })
      .Case<SqrtOp, BroadcastOp, ReshapeOp, TransposeOp, ReverseOp, SliceOp>([&](auto) { return of(0); })
      .Case<ReduceSumOp>([&](auto) { return isNonnegative(of(0)) ? Sign::Nonnegative : Sign::Any; })
      .Case<MulOp, DivOp>([&](auto) {
        if (isa<MulOp>(op) && op->getOperand(0) == op->getOperand(1))
          return Sign::Nonnegative;
        Sign x = of(0), y = of(1);
        bool isTimesConstant = llvm::any_of(op->getOperands(), isNonzeroConstant);
        return isTimesConstant ? std::max(x, y) : isNonnegative(x) && isNonnegative(y) ? Sign::Nonnegative : Sign::Any;
      })
      .Case<AddOp>([&](auto) {
        Sign x = of(0), y = of(1);
        if (x == Sign::Any || y == Sign::Any)
          return Sign::Any;
        return x == Sign::Positive || y == Sign::Positive ? Sign::Positive : Sign::Nonnegative;
      })
      .Case<MaxOp>([&](auto) { return std::min(of(0), of(1)); })
      .Case<SelectOp>([&](auto) { return std::max(of(1), of(2)); })
      .Default([](auto) { return Sign::Any; });
}

/// Whether |value| <= 1, or as large as a constant says, NaN aside.
bool isBounded(Value value, int depth = 0) {
  Operation *op = value.getDefiningOp();
  if (!op || depth > 12)
    return false;
  auto of = [&](unsigned i) { return isBounded(op->getOperand(i), depth + 1); };
  if (isa<TanhOp, LogisticOp, ErfOp, SignOp, SinOp, CosOp>(op))
    return true;
  if (auto constant = dyn_cast<ConstantOp>(op))
    return allOf(constant, [](const APFloat &x) { return x.isFinite(); });
  if (auto cast = dyn_cast<CastOp>(op))
    return !isa<FloatType>(elementOf(cast.getOperand())) || of(0);
  if (isa<NegOp, AbsOp, BroadcastOp, ReshapeOp, TransposeOp, SliceOp>(op))
    return of(0);
  if (isa<AddOp, SubOp, MulOp>(op))
    return of(0) && of(1);
  if (isa<SelectOp>(op))
    return of(1) && of(2);
  return false;
}

/// What is certain of a factor of the chain rule.
enum class Factor {
  Finite, // as far as a network is: its weights, and what its products and convolutions give
  Usual,  // it is, but for a missing value or an overflow, which a `where` may have left out
  Risky   // it has poles or grows exponentially
};

/// `overflows`: whether an infinite one counts; of a divisor it does not.
Factor classify(Value factor, bool overflows) {
  // A value that is the same along a dimension (a layer's weight) has no place for a missing one.
  using Place = std::pair<Value, unsigned>;
  llvm::SetVector<Place> places;
  places.insert({factor, 0});
  Factor result = Factor::Finite;
  auto usual = [&] { result = std::max(result, Factor::Usual); };
  for (size_t at = 0; at < places.size(); ++at) {
    auto [value, isRepeated] = places[at];
    Operation *op = value.getDefiningOp();
    if (at == horizon)
      return Factor::Risky;
    auto push = [&, isRepeated = isRepeated](Value operand) { places.insert({operand, isRepeated}); };
    if (!op) {
      if (!isRepeated)
        usual();
    } else if (auto constant = dyn_cast<ConstantOp>(op)) {
      if (!allOf(constant, [](const APFloat &x) { return x.isFinite(); }))
        return Factor::Risky;
    } else if (auto broadcast = dyn_cast<BroadcastOp>(op)) {
      places.insert({broadcast.getOperand(), 1});
    } else if (isa<DotGeneralOp, ConvOp, ConvBackwardDataOp, ConvBackwardWeightsOp, IotaOp>(op)) {
    } else if (auto cast = dyn_cast<CastOp>(op)) {
      if (isa<FloatType>(elementOf(cast.getOperand())))
        push(cast.getOperand());
    } else if (isa<MulOp, ScaleOp>(op)) {
      Value x = op->getOperand(0), y = op->getOperand(1);
      if (overflows && !isBounded(x) && !isBounded(y))
        usual();
      push(x);
      push(y);
    } else if (isa<DivOp, UnscaleOp>(op)) {
      if (!isNonzeroConstant(op->getOperand(1)) && signOf(op->getOperand(1)) != Sign::Positive)
        return Factor::Risky;
      push(op->getOperand(0));
    } else if (auto root = dyn_cast<SqrtOp>(op)) {
      if (signOf(root.getOperand()) == Sign::Any)
        return Factor::Risky;
      push(root.getOperand());
    } else if (auto exp = dyn_cast<ExpOp>(op)) {
      auto minus = exp.getOperand().getDefiningOp<NegOp>(); // e^-|x|, e^(-x x)
      if (!minus || signOf(minus.getOperand()) == Sign::Any)
        return Factor::Risky;
      auto square = minus.getOperand().getDefiningOp<MulOp>();
      push(square && square.getLhs() == square.getRhs() ? square.getLhs() : minus.getOperand());
    } else if (isa<Expm1Op, LogOp, Log1pOp, Log2Op, Log10Op, SinhOp, CoshOp, PowOp, LuSolveOp, TriangularSolveOp,
                   CholeskyOp>(op)) {
      return Factor::Risky;
    } else if (auto select = dyn_cast<SelectOp>(op)) {
      push(select.getOnTrue());
      push(select.getOnFalse());
    } else if (auto gather = dyn_cast<GatherOp>(op)) {
      push(gather.getOperand());
    } else if (isa<HwDialect>(op->getDialect())) {
      for (Value operand : op->getOperands())
        if (isa<FloatType>(elementOf(operand)))
          push(operand);
    } else if (!isRepeated) {
      usual(); // a data set's column, what a loop carries
    }
  }
  return result;
}

/// Whether elements of a cotangent may be zero because something was left out: by `where`, a relu, a slice.
bool hasHoles(Value cotangent) {
  llvm::SetVector<Value> values;
  values.insert(cotangent);
  for (size_t at = 0; at < values.size(); ++at) {
    Operation *op = values[at].getDefiningOp();
    if (at == horizon)
      return true;
    if (!op)
      continue;
    if (isa<SelectOp, PadOp, ScatterAddOp, PoolScatterOp>(op))
      return true;
    if (auto constant = dyn_cast<ConstantOp>(op)) {
      if (!allOf(constant, [](const APFloat &x) { return !x.isZero(); }))
        return true;
    } else if (isa<ScaleOp, UnscaleOp, DivOp, GatherOp, NegOp, CastOp>(op)) {
      values.insert(op->getOperand(0));
    } else if (isa<AddOp, SubOp, MulOp, WindowSumOp, WindowSpreadOp>(op) || isMovement(op)) {
      values.insert(op->operand_begin(), op->operand_end());
    }
  }
  return false;
}

/// A constant that is nowhere zero, times constants, repeated: how a mean's cotangent begins.
bool isNowhereZero(Value value) {
  Operation *op = value.getDefiningOp();
  if (!op || isa<ConstantOp>(op))
    return op && isNonzeroConstant(value);
  if (isa<BroadcastOp, ReshapeOp, NegOp>(op))
    return isNowhereZero(op->getOperand(0));
  return isa<MulOp, DivOp, ScaleOp, UnscaleOp>(op) && isNowhereZero(op->getOperand(0)) &&
         isNonzeroConstant(op->getOperand(1));
}

/// c / g; a multiplication by 1 / g where that is a constant (a mean's count): a cotangent may differ in its last bit.
/// A division of the program stays one: floor(49 / 49) is 1.
Expr quotient(Expr c, Expr g) {
  auto constant = g.get().getDefiningOp<ConstantOp>();
  auto elements = constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : nullptr;
  if (!elements || !elements.isSplat())
    return c / g;
  double reciprocal = 1 / elements.getSplatValue<APFloat>().convertToDouble();
  APFloat rounded(reciprocal);
  bool isLossy;
  rounded.convert(elements.getElementType().isF32() ? APFloat::IEEEsingle() : APFloat::IEEEdouble(),
                  APFloat::rmNearestTiesToEven, &isLossy);
  return rounded.isNormal() ? reciprocal * c : c / g;
}

} // namespace

void hw::lowerScales(Operation *root) {
  // All are decided before the first becomes a select, which would look like one of the program's.
  SmallVector<std::pair<Operation *, bool>> scales;
  root->walk([&](Operation *op) {
    if (!isa<ScaleOp, UnscaleOp>(op))
      return;
    Value c = op->getOperand(0), g = op->getOperand(1);
    bool hasPole = isa<UnscaleOp>(op) && !isNonzeroConstant(g) && signOf(g) != Sign::Positive;
    Factor factor = hasPole ? Factor::Risky : classify(g, /*overflows=*/isa<ScaleOp>(op));
    if (isa<UnscaleOp>(op) && !hasPole) // nothing grows by it: only a missing value is left
      factor = std::min(factor, Factor::Usual);
    scales.push_back({op, factor == Factor::Finite || isNowhereZero(c) || (factor == Factor::Usual && !hasHoles(c))});
  });
  for (auto [op, isPlain] : scales) {
    OpBuilder builder(op);
    Site site{builder, op->getLoc()};
    Expr c(site, op->getOperand(0)), g(site, op->getOperand(1)), result = isa<ScaleOp>(op) ? c * g : quotient(c, g);
    if (!isPlain)
      result = select(compare("ne", c, c.splat(0)), result, Expr(site));
    op->replaceAllUsesWith(ValueRange(result.get()));
    op->erase();
  }
}
