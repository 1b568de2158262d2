// Folding and canonicalisation of hw ops: what holds whatever surrounds an op. (What is a choice for speed is in
// passes/Simplify.cpp.)
//
// Not to be run before derivatives are expanded: y = x + 0 folds to x, and then d/dy would be d/dx.
#include "ir/Dialects.h"
#include "ir/Ranges.h"
#include "llvm/ADT/APSInt.h"
#include <cmath>

using namespace mlir;
using namespace hw;

namespace {

/// Larger constants than this are not computed at compile time, unless all elements are equal.
constexpr int64_t foldLimit = 4096;

//===--------------------------------------------------------------------------------------------------------------===//
// Constants as numbers
//===--------------------------------------------------------------------------------------------------------------===//

DenseElementsAttr dense(Attribute attribute) { return llvm::dyn_cast_if_present<DenseElementsAttr>(attribute); }

/// The elements of a constant, or the one element of a splat. A float exactly; an integer as far as it fits (ui64 does
/// not above 2^53: such are not folded).
std::optional<SmallVector<double>> numbersOf(DenseElementsAttr attr) {
  SmallVector<double> numbers;
  auto add = [&](auto range) { // of APFloat or APInt
    for (const auto &value : range) {
      if constexpr (std::is_same_v<std::decay_t<decltype(value)>, llvm::APFloat>) {
        llvm::APFloat wide = value;
        bool lossy;
        wide.convert(llvm::APFloat::IEEEdouble(), llvm::APFloat::rmNearestTiesToEven, &lossy);
        numbers.push_back(wide.convertToDouble());
      } else {
        bool isUnsigned = attr.getElementType().isUnsignedInteger() || attr.getElementType().isInteger(1);
        numbers.push_back(isUnsigned ? double(value.getZExtValue()) : double(value.getSExtValue()));
      }
    }
  };
  if (llvm::isa<FloatType>(attr.getElementType())) {
    if (attr.isSplat())
      add(ArrayRef(attr.getSplatValue<llvm::APFloat>()));
    else
      add(attr.getValues<llvm::APFloat>());
  } else {
    if (attr.isSplat())
      add(ArrayRef(attr.getSplatValue<llvm::APInt>()));
    else
      add(attr.getValues<llvm::APInt>());
    for (double number : numbers)
      if (std::abs(number) >= 9007199254740992.0)
        return std::nullopt;
  }
  return numbers;
}

/// A constant of `type` with these elements, or (one number) all equal to it. Integers wrap around.
DenseElementsAttr constantOf(Type type, ArrayRef<double> numbers) {
  auto tensor = llvm::cast<ShapedType>(type);
  Type element = tensor.getElementType();
  if (element.isF64())
    return DenseElementsAttr::get(tensor, numbers);
  if (element.isF32()) {
    SmallVector<float> narrow(numbers.begin(), numbers.end());
    return DenseElementsAttr::get(tensor, ArrayRef(narrow));
  }
  SmallVector<llvm::APInt> integers;
  for (double number : numbers)
    integers.push_back(llvm::APInt(64, uint64_t(int64_t(number))).trunc(element.getIntOrFloatBitWidth()));
  return DenseElementsAttr::get(tensor, integers);
}

bool isIntegral(Type type) { return llvm::isa<IntegerType>(llvm::cast<ShapedType>(type).getElementType()); }

/// Whether integer results computed in double are exact, so that wrapping them is right.
bool isExact(ArrayRef<double> numbers) {
  return llvm::all_of(numbers, [](double number) { return std::abs(number) < 9007199254740992.0; });
}

/// f elementwise over constants: of splats a splat, of small ones all elements. In double, then rounded once.
template <class F> OpFoldResult mapConstants(Type type, ArrayRef<Attribute> operands, F f) {
  SmallVector<SmallVector<double>> inputs;
  size_t count = 1;
  for (Attribute operand : operands) {
    DenseElementsAttr attr = dense(operand);
    if (!attr || (!attr.isSplat() && attr.getNumElements() > foldLimit))
      return {};
    auto numbers = numbersOf(attr);
    if (!numbers)
      return {};
    count = attr.isSplat() ? count : numbers->size();
    inputs.push_back(std::move(*numbers));
  }
  if (llvm::cast<ShapedType>(type).getNumElements() == 0)
    return {};
  SmallVector<double> results;
  for (size_t i = 0; i < count; ++i) {
    auto at = [&](size_t k) { return inputs[k].size() == 1 ? inputs[k][0] : inputs[k][i]; };
    if constexpr (std::is_invocable_v<F, double>)
      results.push_back(f(at(0)));
    else if constexpr (std::is_invocable_v<F, double, double>)
      results.push_back(f(at(0), at(1)));
    else
      results.push_back(f(at(0), at(1), at(2)));
  }
  if (isIntegral(type) && !isExact(results))
    return {};
  return constantOf(type, results);
}

/// The number that all elements of a constant are equal to.
std::optional<double> splatOf(Attribute attribute) {
  DenseElementsAttr attr = dense(attribute);
  if (!attr || !attr.isSplat())
    return std::nullopt;
  auto numbers = numbersOf(attr);
  return numbers ? std::optional((*numbers)[0]) : std::nullopt;
}

std::optional<double> splatOf(Value value) {
  auto constant = value.getDefiningOp<ConstantOp>();
  return constant ? splatOf(constant.getValue()) : std::nullopt;
}

bool isSplat(Attribute attribute, double number) { return splatOf(attribute) == number; }

} // namespace

OpFoldResult ConstantOp::fold(FoldAdaptor) { return getValue(); }

//===--------------------------------------------------------------------------------------------------------------===//
// Elementwise
//===--------------------------------------------------------------------------------------------------------------===//

#define UNARY(Op, formula)                                                                                             \
  OpFoldResult Op::fold(FoldAdaptor adaptor) {                                                                         \
    return mapConstants(getType(), adaptor.getOperands(), [](double x) -> double { return formula; });                 \
  }
UNARY(ExpOp, std::exp(x))
UNARY(Expm1Op, std::expm1(x))
UNARY(LogOp, std::log(x))
UNARY(Log1pOp, std::log1p(x))
UNARY(Log2Op, std::log2(x))
UNARY(Log10Op, std::log10(x))
UNARY(SqrtOp, std::sqrt(x))
UNARY(SinOp, std::sin(x))
UNARY(CosOp, std::cos(x))
UNARY(TanhOp, std::tanh(x))
UNARY(SinhOp, std::sinh(x))
UNARY(CoshOp, std::cosh(x))
UNARY(LogisticOp, 1 / (1 + std::exp(-x)))
UNARY(ErfOp, std::erf(x))
UNARY(AsinhOp, std::asinh(x))
UNARY(AbsOp, std::abs(x))
UNARY(SignOp, x > 0 ? 1 : x < 0 ? -1 : x)
UNARY(FloorOp, std::floor(x))
UNARY(StopGradientOp, x)
#undef UNARY

OpFoldResult NegOp::fold(FoldAdaptor adaptor) {
  if (auto inner = getOperand().getDefiningOp<NegOp>())
    return inner.getOperand();
  return mapConstants(getType(), adaptor.getOperands(), [](double x) { return -x; });
}

OpFoldResult NotOp::fold(FoldAdaptor adaptor) {
  if (auto inner = getOperand().getDefiningOp<NotOp>())
    return inner.getOperand();
  return mapConstants(getType(), adaptor.getOperands(), [](double x) -> double { return x == 0; });
}

OpFoldResult AddOp::fold(FoldAdaptor adaptor) {
  if (isSplat(adaptor.getRhs(), 0))
    return getLhs();
  if (isSplat(adaptor.getLhs(), 0))
    return getRhs();
  return mapConstants(getType(), adaptor.getOperands(), [](double x, double y) { return x + y; });
}

OpFoldResult SubOp::fold(FoldAdaptor adaptor) {
  if (isSplat(adaptor.getRhs(), 0))
    return getLhs();
  return mapConstants(getType(), adaptor.getOperands(), [](double x, double y) { return x - y; });
}

// x * 0 is not folded: it is NaN where x is infinite or NaN.
OpFoldResult MulOp::fold(FoldAdaptor adaptor) {
  if (isSplat(adaptor.getRhs(), 1))
    return getLhs();
  if (isSplat(adaptor.getLhs(), 1))
    return getRhs();
  return mapConstants(getType(), adaptor.getOperands(), [](double x, double y) { return x * y; });
}

OpFoldResult ScaleOp::fold(FoldAdaptor adaptor) {
  if (isSplat(adaptor.getRhs(), 1))
    return getLhs();
  if (isSplat(adaptor.getLhs(), 1))
    return getRhs();
  return mapConstants(getType(), adaptor.getOperands(), [](double x, double y) { return x == 0 ? 0 : x * y; });
}

OpFoldResult UnscaleOp::fold(FoldAdaptor adaptor) {
  if (isSplat(adaptor.getRhs(), 1))
    return getLhs();
  return mapConstants(getType(), adaptor.getOperands(), [](double x, double y) { return x == 0 ? 0 : x / y; });
}

OpFoldResult DivOp::fold(FoldAdaptor adaptor) {
  if (isSplat(adaptor.getRhs(), 1))
    return getLhs();
  if (isIntegral(getType()))
    return {};
  return mapConstants(getType(), adaptor.getOperands(), [](double x, double y) { return x / y; });
}

OpFoldResult PowOp::fold(FoldAdaptor adaptor) {
  if (isSplat(adaptor.getRhs(), 1))
    return getLhs();
  if (isSplat(adaptor.getRhs(), 0))
    return constantOf(getType(), 1.0);
  return mapConstants(getType(), adaptor.getOperands(), [](double x, double y) { return std::pow(x, y); });
}

OpFoldResult MinOp::fold(FoldAdaptor adaptor) {
  if (getLhs() == getRhs())
    return getLhs();
  return mapConstants(getType(), adaptor.getOperands(),
                      [](double x, double y) { return x < y || std::isnan(x) ? x : y; });
}

OpFoldResult MaxOp::fold(FoldAdaptor adaptor) {
  if (getLhs() == getRhs())
    return getLhs();
  return mapConstants(getType(), adaptor.getOperands(),
                      [](double x, double y) { return x > y || std::isnan(x) ? x : y; });
}

OpFoldResult CompareOp::fold(FoldAdaptor adaptor) {
  StringRef predicate = getPredicate();
  return mapConstants(getType(), {adaptor.getLhs(), adaptor.getRhs()}, [&](double x, double y) -> double {
    return predicate == "eq"   ? x == y
           : predicate == "ne" ? x != y
           : predicate == "lt" ? x < y
           : predicate == "le" ? x <= y
           : predicate == "gt" ? x > y
                               : x >= y;
  });
}

OpFoldResult AndOp::fold(FoldAdaptor adaptor) {
  if (getLhs() == getRhs() || isSplat(adaptor.getRhs(), 1) || isSplat(adaptor.getLhs(), 0))
    return getLhs();
  if (isSplat(adaptor.getLhs(), 1) || isSplat(adaptor.getRhs(), 0))
    return getRhs();
  return mapConstants(getType(), adaptor.getOperands(), [](double x, double y) -> double { return x != 0 && y != 0; });
}

OpFoldResult OrOp::fold(FoldAdaptor adaptor) {
  if (getLhs() == getRhs() || isSplat(adaptor.getRhs(), 0) || isSplat(adaptor.getLhs(), 1))
    return getLhs();
  if (isSplat(adaptor.getLhs(), 0) || isSplat(adaptor.getRhs(), 1))
    return getRhs();
  return mapConstants(getType(), adaptor.getOperands(), [](double x, double y) -> double { return x != 0 || y != 0; });
}

OpFoldResult SelectOp::fold(FoldAdaptor adaptor) {
  if (getOnTrue() == getOnFalse())
    return getOnTrue();
  if (auto mask = splatOf(adaptor.getMask()))
    return *mask != 0 ? getOnTrue() : getOnFalse();
  return mapConstants(getType(), adaptor.getOperands(),
                      [](double mask, double x, double y) { return mask != 0 ? x : y; });
}

OpFoldResult CastOp::fold(FoldAdaptor adaptor) {
  if (getOperand().getType() == getType())
    return getOperand();
  Type to = hw::elementOf(getResult());
  bool fromFloat = llvm::isa<FloatType>(hw::elementOf(getOperand()));
  // f32 -> f64 -> f32 changes nothing.
  if (auto inner = getOperand().getDefiningOp<CastOp>())
    if (inner.getOperand().getType() == getType() && to.isF32() && hw::elementOf(getOperand()).isF64())
      return inner.getOperand();
  return mapConstants(getType(), adaptor.getOperands(), [&](double x) -> double {
    if (llvm::isa<FloatType>(to))
      return x;
    if (to.isInteger(1))
      return x != 0;
    if (std::isnan(x))
      return 0;
    if (!fromFloat)
      return x; // constantOf wraps
    // Truncates towards zero and saturates.
    unsigned bits = to.getIntOrFloatBitWidth();
    bool isUnsigned = to.isUnsignedInteger();
    double low = isUnsigned ? 0 : -std::ldexp(1.0, bits - 1), high = std::ldexp(1.0, isUnsigned ? bits : bits - 1) - 1;
    return std::trunc(std::min(std::max(x, low), high));
  });
}

namespace {

/// A pattern from a lambda `(op, rewriter) -> LogicalResult`.
template <class Op, auto apply> struct Rewrite : OpRewritePattern<Op> {
  using OpRewritePattern<Op>::OpRewritePattern;
  LogicalResult matchAndRewrite(Op op, PatternRewriter &rewriter) const override { return apply(op, rewriter); }
};

/// Puts a constant on the right.
template <class Op> LogicalResult constantRight(Op op, PatternRewriter &rewriter) {
  if (!op.getLhs().template getDefiningOp<ConstantOp>() || op.getRhs().template getDefiningOp<ConstantOp>())
    return failure();
  rewriter.replaceOpWithNewOp<Op>(op, op.getType(), op.getRhs(), op.getLhs());
  return success();
}

/// -(x c) = x (-c); -(x - y) = y - x.
LogicalResult negPattern(NegOp op, PatternRewriter &rewriter) {
  if (auto product = op.getOperand().getDefiningOp<MulOp>();
      product && product->hasOneUse() && product.getRhs().getDefiningOp<ConstantOp>()) {
    Value minus = rewriter.createOrFold<NegOp>(op.getLoc(), op.getType(), product.getRhs());
    rewriter.replaceOpWithNewOp<MulOp>(op, op.getType(), product.getLhs(), minus);
    return success();
  }
  if (auto difference = op.getOperand().getDefiningOp<SubOp>(); difference && difference->hasOneUse()) {
    rewriter.replaceOpWithNewOp<SubOp>(op, op.getType(), difference.getRhs(), difference.getLhs());
    return success();
  }
  return failure();
}

/// x + x = 2 x; x + -y = x - y.
LogicalResult addPattern(AddOp op, PatternRewriter &rewriter) {
  if (op.getLhs() == op.getRhs() && !isIntegral(op.getType())) {
    Value two = ConstantOp::splat(rewriter, op.getLoc(), op.getType(), 2);
    rewriter.replaceOpWithNewOp<MulOp>(op, op.getType(), op.getLhs(), two);
    return success();
  }
  for (int i : {0, 1})
    if (auto negated = op->getOperand(i).getDefiningOp<NegOp>()) {
      rewriter.replaceOpWithNewOp<SubOp>(op, op.getType(), op->getOperand(1 - i), negated.getOperand());
      return success();
    }
  return failure();
}

/// x - -y = x + y; 0 - x = -x.
LogicalResult subPattern(SubOp op, PatternRewriter &rewriter) {
  if (auto negated = op.getRhs().getDefiningOp<NegOp>()) {
    rewriter.replaceOpWithNewOp<AddOp>(op, op.getType(), op.getLhs(), negated.getOperand());
    return success();
  }
  if (splatOf(op.getLhs()) == 0.0) {
    rewriter.replaceOpWithNewOp<NegOp>(op, op.getType(), op.getRhs());
    return success();
  }
  return failure();
}

/// Whether a constant's numbers are neither 0, infinite nor NaN, and have all their bits.
bool isNormal(DenseElementsAttr elements) {
  auto isFine = [](const llvm::APFloat &x) { return x.isNormal(); };
  return elements.isSplat() ? isFine(elements.getSplatValue<llvm::APFloat>())
                            : llvm::all_of(elements.getValues<llvm::APFloat>(), isFine);
}

/// x * -1 = -x; (-x) y = -(x y), so that signs meet and cancel; (x a) b = x (a b) for constants a, b.
LogicalResult mulPattern(MulOp op, PatternRewriter &rewriter) {
  if (splatOf(op.getRhs()) == -1.0) {
    rewriter.replaceOpWithNewOp<NegOp>(op, op.getType(), op.getLhs());
    return success();
  }
  if (auto b = op.getRhs().getDefiningOp<ConstantOp>()) {
    if (auto negated = op.getLhs().getDefiningOp<NegOp>()) {
      Value minus = rewriter.createOrFold<NegOp>(op.getLoc(), op.getType(), b.getResult());
      rewriter.replaceOpWithNewOp<MulOp>(op, op.getType(), negated.getOperand(), minus);
      return success();
    }
    auto inner = op.getLhs().getDefiningOp<MulOp>();
    auto a = inner ? inner.getRhs().getDefiningOp<ConstantOp>() : nullptr;
    if (a && !isIntegral(op.getType())) {
      auto folded = mapConstants(op.getType(), {a.getValue(), b.getValue()}, [](double x, double y) { return x * y; });
      auto both = dense(llvm::dyn_cast_if_present<Attribute>(folded));
      if (!both || !isNormal(both)) // a b may leave the range where (x a) b does not
        return failure();
      Value factor = ConstantOp::create(rewriter, op.getLoc(), op.getType(), both);
      rewriter.replaceOpWithNewOp<MulOp>(op, op.getType(), inner.getLhs(), factor);
      return success();
    }
    return failure();
  }
  for (int i : {0, 1})
    if (auto negated = op->getOperand(i).getDefiningOp<NegOp>()) {
      Value product = MulOp::create(rewriter, op.getLoc(), op.getType(), negated.getOperand(), op->getOperand(1 - i));
      rewriter.replaceOpWithNewOp<NegOp>(op, op.getType(), product);
      return success();
    }
  return failure();
}

/// x / c = x (1 / c) where 1 / c is exact (c is a power of two); (-x) / y = -(x / y).
LogicalResult divPattern(DivOp op, PatternRewriter &rewriter) {
  if (isIntegral(op.getType()))
    return failure();
  int exponent;
  if (auto c = splatOf(op.getRhs());
      c && std::isfinite(*c) && std::abs(std::frexp(*c, &exponent)) == 0.5 && std::abs(exponent) < 100) {
    Value reciprocal = ConstantOp::splat(rewriter, op.getLoc(), op.getType(), 1 / *c);
    rewriter.replaceOpWithNewOp<MulOp>(op, op.getType(), op.getLhs(), reciprocal);
    return success();
  }
  if (auto negated = op.getLhs().getDefiningOp<NegOp>()) {
    Value quotient = DivOp::create(rewriter, op.getLoc(), op.getType(), negated.getOperand(), op.getRhs());
    rewriter.replaceOpWithNewOp<NegOp>(op, op.getType(), quotient);
    return success();
  }
  return failure();
}

/// Powers that cost a few multiplications or a root.
LogicalResult powPattern(PowOp op, PatternRewriter &rewriter) {
  std::optional<double> y = splatOf(op.getRhs());
  if (!y)
    return failure();
  Value x = op.getLhs();
  Type type = op.getType();
  double magnitude = std::abs(*y);
  // Of the reciprocal, whose power leaves the range where the result does.
  bool isReciprocal = *y < 0 && magnitude == std::floor(magnitude) && magnitude <= 4;
  if (isReciprocal)
    x = DivOp::create(rewriter, op.getLoc(), type, ConstantOp::splat(rewriter, op.getLoc(), type, 1), x);
  auto times = [&](Value a, Value b) -> Value { return MulOp::create(rewriter, op.getLoc(), type, a, b); };
  auto root = [&]() -> Value { return SqrtOp::create(rewriter, op.getLoc(), type, x); };
  Value power;
  if (magnitude == 1)
    power = x;
  else if (magnitude == 2)
    power = times(x, x);
  else if (magnitude == 3)
    power = times(times(x, x), x);
  else if (magnitude == 4)
    power = times(x, x), power = times(power, power);
  else if (magnitude == 0.5)
    power = root();
  else if (magnitude == 1.5)
    power = times(x, root());
  else
    return failure();
  if (*y < 0 && !isReciprocal) {
    Value one = ConstantOp::splat(rewriter, op.getLoc(), type, 1);
    power = DivOp::create(rewriter, op.getLoc(), type, one, power);
  }
  rewriter.replaceOp(op, power);
  return success();
}

} // namespace

void NegOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *context) {
  patterns.add<Rewrite<NegOp, negPattern>>(context);
}
void AddOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *context) {
  patterns.add<Rewrite<AddOp, constantRight<AddOp>>, Rewrite<AddOp, addPattern>>(context);
}
void SubOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *context) {
  patterns.add<Rewrite<SubOp, subPattern>>(context);
}
void MulOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *context) {
  patterns.add<Rewrite<MulOp, constantRight<MulOp>>, Rewrite<MulOp, mulPattern>>(context);
}
void DivOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *context) {
  patterns.add<Rewrite<DivOp, divPattern>>(context);
}
void PowOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *context) {
  patterns.add<Rewrite<PowOp, powPattern>>(context);
}

//===--------------------------------------------------------------------------------------------------------------===//
// Movement
//===--------------------------------------------------------------------------------------------------------------===//

namespace {

/// A splat stays one under any movement.
OpFoldResult moveSplat(Attribute operand, Type type) {
  DenseElementsAttr attr = dense(operand);
  return attr && attr.isSplat() && !attr.empty() ? OpFoldResult(attr.resizeSplat(llvm::cast<ShapedType>(type)))
                                                 : OpFoldResult();
}

/// Whether two shapes are the same but for dimensions of size 1; then a change between them is a reshape.
bool sameWithoutUnits(ArrayRef<int64_t> a, ArrayRef<int64_t> b) {
  auto notUnit = [](int64_t size) { return size != 1; };
  return llvm::equal(llvm::make_filter_range(a, notUnit), llvm::make_filter_range(b, notUnit));
}

} // namespace

OpFoldResult BroadcastOp::fold(FoldAdaptor adaptor) {
  if (getOperand().getType() == getType())
    return getOperand();
  return moveSplat(adaptor.getOperand(), getType());
}

OpFoldResult ReduceSumOp::fold(FoldAdaptor adaptor) {
  if (getDims().empty())
    return getOperand();
  int64_t count = 1;
  for (int64_t dim : getDims())
    count *= shapeOf(getOperand())[dim];
  if (auto number = splatOf(adaptor.getOperand()); number && getType().getNumElements() > 0 && !isIntegral(getType()))
    return constantOf(getType(), *number * double(count));
  return {};
}

OpFoldResult ReshapeOp::fold(FoldAdaptor adaptor) {
  if (getOperand().getType() == getType())
    return getOperand();
  if (auto inner = getOperand().getDefiningOp<ReshapeOp>()) {
    getOperandMutable().assign(inner.getOperand());
    return getResult();
  }
  if (DenseElementsAttr attr = dense(adaptor.getOperand()))
    return attr.reshape(llvm::cast<ShapedType>(getType()));
  return {};
}

OpFoldResult TransposeOp::fold(FoldAdaptor adaptor) {
  if (llvm::is_sorted(getPermutation()))
    return getOperand();
  if (auto inner = getOperand().getDefiningOp<TransposeOp>()) {
    SmallVector<int64_t> both;
    for (int64_t dim : getPermutation())
      both.push_back(inner.getPermutation()[dim]);
    setPermutation(both);
    getOperandMutable().assign(inner.getOperand());
    return getResult();
  }
  return moveSplat(adaptor.getOperand(), getType());
}

OpFoldResult SliceOp::fold(FoldAdaptor adaptor) {
  if (getOperand().getType() == getType())
    return getOperand();
  // Exactly one of the parts of a concat.
  if (auto concat = getOperand().getDefiningOp<ConcatOp>()) {
    int64_t offset = 0, joined = concat.getDim();
    for (Value part : concat.getOperands()) {
      int64_t size = shapeOf(part)[joined];
      bool whole = part.getType() == getType() && llvm::all_of(getStride(), [](int64_t stride) { return stride == 1; });
      for (auto [dim, start, limit] : llvm::enumerate(getStart(), getLimit()))
        whole &= int64_t(dim) == joined ? start == offset && limit == offset + size
                                        : start == 0 && limit == shapeOf(part)[dim];
      if (whole)
        return part;
      offset += size;
    }
  }
  return moveSplat(adaptor.getOperand(), getType());
}

/// Windows of one element each, at every element.
template <class Op> static OpFoldResult foldWindows(Op op) {
  bool isSingle = llvm::all_of(op.getWindow(), [](int64_t size) { return size == 1; });
  return isSingle && op.getOperand().getType() == op.getType() ? OpFoldResult(op.getOperand()) : OpFoldResult();
}
OpFoldResult WindowSumOp::fold(FoldAdaptor) { return foldWindows(*this); }
OpFoldResult WindowSpreadOp::fold(FoldAdaptor) { return foldWindows(*this); }

OpFoldResult ConcatOp::fold(FoldAdaptor) {
  return getOperands().size() == 1 ? OpFoldResult(getOperands()[0]) : OpFoldResult();
}

/// Of constants; what is outside stays, for the run to say so.
OpFoldResult WholeOp::fold(FoldAdaptor adaptor) {
  double count = double(getCount());
  bool allInside = true;
  auto folded = mapConstants(getType(), adaptor.getOperand(), [&](double x) {
    double whole = getCut() ? std::trunc(x) : x;
    if (getFromEnd() && whole < 0)
      whole += count;
    allInside &= whole >= 0 && whole < count && whole == std::trunc(whole);
    return allInside ? whole : 0;
  });
  return allInside ? folded : OpFoldResult();
}

OpFoldResult PadOp::fold(FoldAdaptor) {
  return getOperand().getType() == getType() ? OpFoldResult(getOperand()) : OpFoldResult();
}

namespace {

/// broadcast(broadcast(x)) is one; one that only adds dimensions of size 1 is a reshape.
LogicalResult broadcastPattern(BroadcastOp op, PatternRewriter &rewriter) {
  if (auto inner = op.getOperand().getDefiningOp<BroadcastOp>()) {
    SmallVector<int64_t> dims;
    for (int64_t dim : inner.getDims())
      dims.push_back(op.getDims()[dim]);
    rewriter.replaceOpWithNewOp<BroadcastOp>(op, op.getType(), inner.getOperand(), dims);
    return success();
  }
  if (typeOf(op.getOperand()).getNumElements() == op.getType().getNumElements() &&
      sameWithoutUnits(shapeOf(op.getOperand()), shapeOf(op.getResult()))) {
    rewriter.replaceOpWithNewOp<ReshapeOp>(op, op.getType(), op.getOperand());
    return success();
  }
  return failure();
}

/// Sums of sums are one; along what a broadcast repeated, a sum is a product; of dimensions of size 1, a reshape.
LogicalResult reduceSumPattern(ReduceSumOp op, PatternRewriter &rewriter) {
  auto in = shapeOf(op.getOperand());
  if (llvm::all_of(op.getDims(), [&](int64_t dim) { return in[dim] == 1; })) {
    rewriter.replaceOpWithNewOp<ReshapeOp>(op, op.getType(), op.getOperand());
    return success();
  }
  if (auto inner = op.getOperand().getDefiningOp<ReduceSumOp>(); inner && inner->hasOneUse()) {
    SmallVector<int64_t> dims(inner.getDims()), kept;
    for (int64_t dim = 0; dim < typeOf(inner.getOperand()).getRank(); ++dim)
      if (!llvm::is_contained(inner.getDims(), dim))
        kept.push_back(dim);
    for (int64_t dim : op.getDims())
      dims.push_back(kept[dim]);
    llvm::sort(dims);
    rewriter.replaceOpWithNewOp<ReduceSumOp>(op, inner.getOperand(), dims);
    return success();
  }
  auto broadcast = op.getOperand().getDefiningOp<BroadcastOp>();
  if (!broadcast || isIntegral(op.getType()))
    return failure();
  double count = 1;
  SmallVector<int64_t> summed, dims; // of the broadcast's operand, and where what is left of it ends up
  for (int64_t dim : op.getDims()) {
    auto at = llvm::find(broadcast.getDims(), dim);
    if (at == broadcast.getDims().end())
      count *= in[dim];
    else
      summed.push_back(at - broadcast.getDims().begin());
  }
  if (count == 1 && summed.size() == op.getDims().size())
    return failure();
  for (auto [i, dim] : llvm::enumerate(broadcast.getDims()))
    if (!llvm::is_contained(summed, int64_t(i)))
      dims.push_back(dim - llvm::count_if(op.getDims(), [&, dim = dim](int64_t gone) { return gone < dim; }));
  Value sum = rewriter.createOrFold<ReduceSumOp>(op.getLoc(), broadcast.getOperand(), summed);
  Value factor = ConstantOp::splat(rewriter, op.getLoc(), sum.getType(), count);
  Value scaled = rewriter.createOrFold<MulOp>(op.getLoc(), sum.getType(), sum, factor);
  rewriter.replaceOp(op, rewriter.createOrFold<BroadcastOp>(op.getLoc(), op.getType(), scaled, dims));
  return success();
}

/// A permutation that only moves dimensions of size 1 is a reshape; that of a broadcast is a broadcast if it keeps the
/// operand's order.
LogicalResult transposePattern(TransposeOp op, PatternRewriter &rewriter) {
  SmallVector<int64_t> order;
  for (int64_t dim : op.getPermutation())
    if (shapeOf(op.getOperand())[dim] != 1)
      order.push_back(dim);
  if (llvm::is_sorted(order)) {
    rewriter.replaceOpWithNewOp<ReshapeOp>(op, op.getType(), op.getOperand());
    return success();
  }
  if (auto broadcast = op.getOperand().getDefiningOp<BroadcastOp>()) {
    SmallVector<int64_t> dims;
    for (int64_t dim : broadcast.getDims())
      dims.push_back(llvm::find(op.getPermutation(), dim) - op.getPermutation().begin());
    if (llvm::is_sorted(dims)) {
      rewriter.replaceOpWithNewOp<BroadcastOp>(op, op.getType(), broadcast.getOperand(), dims);
      return success();
    }
  }
  return failure();
}

/// What is within the bounds by how it is computed needs no look at the numbers.
LogicalResult wholePattern(WholeOp op, PatternRewriter &rewriter) {
  auto range = rangeOf(op.getOperand());
  if (!range || range->low < 0 || !(range->whole || op.getCut()) || std::trunc(range->high) >= double(op.getCount()))
    return failure();
  if (op.getOperand().getType() == op.getType())
    rewriter.replaceOp(op, op.getOperand());
  else
    rewriter.replaceOpWithNewOp<CastOp>(op, op.getType(), op.getOperand());
  return success();
}

} // namespace

void WholeOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *context) {
  patterns.add<Rewrite<WholeOp, wholePattern>>(context);
}
void BroadcastOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *context) {
  patterns.add<Rewrite<BroadcastOp, broadcastPattern>>(context);
}
void ReduceSumOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *context) {
  patterns.add<Rewrite<ReduceSumOp, reduceSumPattern>>(context);
}
void TransposeOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *context) {
  patterns.add<Rewrite<TransposeOp, transposePattern>>(context);
}
