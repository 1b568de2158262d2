// Tensor arithmetic that builds hw ops, so that a derivative rule in C++ reads as its formula.
#pragma once
#include "ir/Dialects.h"

namespace hw {

/// Where the ops of a rule go.
struct Site {
  mlir::OpBuilder &builder;
  mlir::Location loc;
};

/// A tensor value under construction. A null value is a structural zero: adding it or multiplying by it emits nothing.
/// Operands of an operator have the same type.
class Expr {
public:
  Expr(const Site &site, mlir::Value value = {}) : site(&site), value(value) {}
  explicit operator bool() const { return bool(value); }
  mlir::Value get() const { return value; }
  const Site &at() const { return *site; }
  mlir::RankedTensorType type() const { return typeOf(value); }
  llvm::ArrayRef<int64_t> shape() const { return shapeOf(value); }
  int64_t rank() const { return type().getRank(); }

  template <class Op, class... Args> Expr make(Args &&...args) const {
    return {*site, Op::create(site->builder, site->loc, std::forward<Args>(args)...)->getResult(0)};
  }
  /// The constant `number` in this tensor's type.
  Expr splat(double number) const {
    return {*site, ConstantOp::splat(site->builder, site->loc, value.getType(), number)};
  }

private:
  const Site *site;
  mlir::Value value;
};

inline Expr operator-(Expr x) { return x ? x.make<NegOp>(x.get().getType(), x.get()) : x; }
inline Expr operator+(Expr x, Expr y) { return !x ? y : !y ? x : x.make<AddOp>(x.get().getType(), x.get(), y.get()); }
inline Expr operator-(Expr x, Expr y) { return !y ? x : !x ? -y : x.make<SubOp>(x.get().getType(), x.get(), y.get()); }
inline Expr operator*(Expr x, Expr y) { return !x ? x : !y ? y : x.make<MulOp>(x.get().getType(), x.get(), y.get()); }
/// d g, and 0 where d is: a tangent or cotangent d times a local derivative g, which may be infinite.
inline Expr scale(Expr d, Expr g) { return !d ? d : d.make<ScaleOp>(d.get().getType(), d.get(), g.get()); }
/// d / g, and 0 where d is.
inline Expr unscale(Expr d, Expr g) { return !d ? d : d.make<UnscaleOp>(d.get().getType(), d.get(), g.get()); }
inline Expr operator/(Expr x, Expr y) { return !x ? x : x.make<DivOp>(x.get().getType(), x.get(), y.get()); }
inline Expr operator+(Expr x, double y) { return x + x.splat(y); }
inline Expr operator-(Expr x, double y) { return x - x.splat(y); }
inline Expr operator-(double x, Expr y) { return y.splat(x) - y; }
inline Expr operator/(double x, Expr y) { return y.splat(x) / y; }
inline Expr operator*(double x, Expr y) { return !y ? y : y * y.splat(x); }

inline Expr exp(Expr x) { return x.make<ExpOp>(x.get().getType(), x.get()); }
inline Expr log(Expr x) { return x.make<LogOp>(x.get().getType(), x.get()); }
inline Expr sqrt(Expr x) { return x.make<SqrtOp>(x.get().getType(), x.get()); }
inline Expr sin(Expr x) { return x.make<SinOp>(x.get().getType(), x.get()); }
inline Expr cos(Expr x) { return x.make<CosOp>(x.get().getType(), x.get()); }
inline Expr sinh(Expr x) { return x.make<SinhOp>(x.get().getType(), x.get()); }
inline Expr cosh(Expr x) { return x.make<CoshOp>(x.get().getType(), x.get()); }
inline Expr abs(Expr x) { return x.make<AbsOp>(x.get().getType(), x.get()); }
inline Expr sign(Expr x) { return x.make<SignOp>(x.get().getType(), x.get()); }
inline Expr pow(Expr x, Expr y) { return x.make<PowOp>(x.get().getType(), x.get(), y.get()); }

/// Masks: elementwise comparison.
inline Expr compare(llvm::StringRef predicate, Expr x, Expr y) {
  return x.make<CompareOp>(predicate, x.get(), y.get());
}
inline Expr operator>(Expr x, Expr y) { return compare("gt", x, y); }
inline Expr operator<(Expr x, Expr y) { return compare("lt", x, y); }
inline Expr operator>=(Expr x, Expr y) { return compare("ge", x, y); }
inline Expr operator==(Expr x, Expr y) { return compare("eq", x, y); }
inline Expr operator==(Expr x, double y) { return compare("eq", x, x.splat(y)); }

inline Expr operator&(Expr mask, Expr other) { return mask.make<AndOp>(mask.get().getType(), mask.get(), other.get()); }
inline Expr operator|(Expr mask, Expr other) { return mask.make<OrOp>(mask.get().getType(), mask.get(), other.get()); }
inline Expr isNaN(Expr x) { return compare("ne", x, x); }

/// `x` where the mask holds, else `y`; zero if both are.
inline Expr select(Expr mask, Expr x, Expr y) {
  if (!x && !y)
    return x;
  Expr onTrue = x ? x : y.splat(0), onFalse = y ? y : x.splat(0);
  return onTrue.make<SelectOp>(onTrue.get().getType(), mask.get(), onTrue.get(), onFalse.get());
}

/// Element type conversion.
inline Expr cast(Expr x, mlir::Type element) { return x ? x.make<CastOp>(x.type().clone(element), x.get()) : x; }
inline Expr reduceSum(Expr x, llvm::ArrayRef<int64_t> dims) { return x ? x.make<ReduceSumOp>(x.get(), dims) : x; }
inline Expr broadcast(Expr x, mlir::Type type, llvm::ArrayRef<int64_t> dims) {
  return x ? x.make<BroadcastOp>(type, x.get(), dims) : x;
}

/// Exchanges the two last dimensions of [..., m, n].
inline Expr transposed(Expr x) {
  if (!x)
    return x;
  auto permutation = llvm::to_vector(llvm::seq<int64_t>(0, x.rank()));
  std::swap(permutation[x.rank() - 1], permutation[x.rank() - 2]);
  return x.make<TransposeOp>(x.get(), permutation);
}

/// Matrix product [..., m, k] x [..., k, n] -> [..., m, n], leading dimensions batched.
inline Expr matmul(Expr x, Expr y) {
  if (!x || !y)
    return !x ? x : y;
  auto batch = llvm::to_vector(llvm::seq<int64_t>(0, x.rank() - 2));
  return x.make<DotGeneralOp>(x.get(), y.get(), batch, batch, llvm::ArrayRef<int64_t>{x.rank() - 1},
                              llvm::ArrayRef<int64_t>{x.rank() - 2});
}

/// The index along `dim` of every element of a tensor of this one's shape, i32.
inline Expr indexAlong(Expr x, int64_t dim) {
  auto type = x.type().clone(mlir::IntegerType::get(x.get().getContext(), 32));
  return x.make<IotaOp>(type, dim);
}

/// The lower triangle of [..., n, n], with or without the diagonal; zero above.
inline Expr lowerTriangle(Expr x, bool diagonal = true) {
  if (!x)
    return x;
  Expr row = indexAlong(x, x.rank() - 2), column = indexAlong(x, x.rank() - 1);
  return select(diagonal ? row >= column : row > column, x, Expr(x.at()));
}

} // namespace hw
