// The linearisation (jvp) of every op of the dialect, a row an op.
//
// x and y are the operands, z is the result, d the tangent of an operand; the row gives the tangent of z. Every row is
// linear in d and uses only ops that Transpose.cpp transposes, so that vjp = transpose of linearise. A rule may use z:
// what the primal computed is there to be used. `scale(d, g)` is d g and `unscale(d, g)`
// d / g, but 0 where d is, whatever g: what `where` leaves out stays out (Scale.cpp).
#include "ir/Expr.h"
#include "mlir/IR/IRMapping.h"
#include "passes/Passes.h"
#include <numbers>

using namespace mlir;
using namespace hw;

namespace {

using Tangents = ArrayRef<Expr>;

/// Attaches `rule(op, tangents) -> tangent of result 0` to Op.
template <class Op, auto rule> void general(MLIRContext *context) {
  struct Model : LinearizeOpInterface::ExternalModel<Model, Op> {
    LogicalResult linearize(Operation *op, OpBuilder &builder, ArrayRef<Value> tangents,
                            SmallVectorImpl<Value> &results) const {
      Site site{builder, op->getLoc()};
      SmallVector<Expr> d;
      for (Value tangent : tangents)
        d.emplace_back(site, tangent);
      results.assign(op->getNumResults(), Value());
      if (llvm::any_of(d, [](const Expr &tangent) { return bool(tangent); }))
        results[0] = rule(llvm::cast<Op>(op), Tangents(d)).get();
      return success();
    }
  };
  Op::template attachInterface<Model>(*context);
}

/// z = f(x): `row(d, x, z)`.
template <class Op, auto row> void unary(MLIRContext *context) {
  general<Op, [](Op op, Tangents d) {
    const Site &site = d[0].at();
    return row(d[0], Expr(site, op.getOperand()), Expr(site, op.getResult()));
  }>(context);
}

/// z = f(x, y): `dx(d, x, y, z) + dy(d, x, y, z)`, each only where its tangent is not a structural zero.
template <class Op, auto dx, auto dy> void binary(MLIRContext *context) {
  general<Op, [](Op op, Tangents d) {
    const Site &site = d[0].at();
    Expr x(site, op.getLhs()), y(site, op.getRhs()), z(site, op.getResult());
    return (d[0] ? dx(d[0], x, y, z) : d[0]) + (d[1] ? dy(d[1], x, y, z) : d[1]);
  }>(context);
}

/// The derivative is zero, or (a source) there is no operand to differentiate in.
template <class Op> Expr zeroRow(Op, Tangents d) { return Expr(d[0].at()); }
template <class... Ops> void zero(MLIRContext *context) { (general<Ops, zeroRow<Ops>>(context), ...); }

/// The same op on another operand `index`, the others held.
Expr withOperand(Operation *op, unsigned index, Expr d) {
  if (!d)
    return d;
  IRMapping mapping;
  Operation *copy = d.at().builder.clone(*op, mapping);
  copy->setOperand(index, d.get());
  return {d.at(), copy->getResult(0)};
}

/// Linear in operand 0.
template <class Op> Expr linearRow(Op op, Tangents d) { return withOperand(op, 0, d[0]); }
template <class... Ops> void linear(MLIRContext *context) { (general<Ops, linearRow<Ops>>(context), ...); }

/// Linear in operand 0 and in operand 1.
template <class Op> Expr bilinearRow(Op op, Tangents d) { return withOperand(op, 0, d[0]) + withOperand(op, 1, d[1]); }
template <class... Ops> void bilinear(MLIRContext *context) { (general<Ops, bilinearRow<Ops>>(context), ...); }

/// 1 / sqrt(x^2 + 1), without x^2 where that could overflow: |t| / sqrt(1 + t^2) with t = 1 / x.
Expr inverseHypotenuse(Expr x) {
  Expr isLarge = abs(x) > x.splat(1);
  Expr t = select(isLarge, 1 / x, x), r = 1 / sqrt(t * t + 1);
  return select(isLarge, abs(t) * r, r);
}

Expr selectRow(SelectOp op, Tangents d) { return select(Expr(d[0].at(), op.getMask()), d[1], d[2]); }

Expr castRow(CastOp op, Tangents d) {
  Type to = elementOf(op.getResult());
  return llvm::isa<FloatType>(to) ? cast(d[0], to) : Expr(d[0].at());
}

Expr concatRow(ConcatOp op, Tangents d) {
  const Site &site = d[0].at();
  SmallVector<Value> parts;
  for (auto [part, tangent] : llvm::zip_equal(op.getOperands(), d))
    parts.push_back(tangent ? tangent.get() : Expr(site, part).splat(0).get());
  return Expr(site).make<ConcatOp>(parts, op.getDim());
}

/// The tangent of the element that was the largest of each window.
Expr maxPoolRow(MaxPoolOp op, Tangents d) {
  return d[0].make<PoolGatherOp>(op.getValue().getType(), d[0].get(), op.getIndex(), op.getWindow(), op.getStride(),
                                 op.getLow(), op.getHigh());
}

/// The tangent of the element that was the largest: sum(where(i == index, d, 0)).
Expr reduceMaxRow(ReduceMaxOp op, Tangents d) {
  auto dim = int64_t(op.getDim());
  Expr at = indexAlong(d[0], dim), index(d[0].at(), op.getIndex());
  SmallVector<int64_t> kept;
  for (int64_t i = 0; i < d[0].rank(); ++i)
    if (i != dim)
      kept.push_back(i);
  return reduceSum(select(at == broadcast(index, at.type(), kept), d[0], Expr(d[0].at())), dim);
}

/// dL = L Phi(L^-1 dA L^-T), Phi taking the lower triangle with its diagonal halved
/// (Murray 2016, "Differentiation of the Cholesky decomposition", eq. 8). Only A's lower triangle is read, so dA is its
/// symmetric completion.
Expr choleskyRow(CholeskyOp op, Tangents d) {
  const Site &site = d[0].at();
  Expr l(site, op.getResult());
  Expr da = lowerTriangle(d[0]) + transposed(lowerTriangle(d[0], /*diagonal=*/false));
  auto solve = [&](Expr b) { return b.make<TriangularSolveOp>(b.type(), l.get(), b.get(), false); };
  Expr s = solve(transposed(solve(da)));
  Expr row = indexAlong(s, s.rank() - 2), column = indexAlong(s, s.rank() - 1);
  return matmul(l, select(row == column, 0.5 * s, lowerTriangle(s, /*diagonal=*/false)));
}

/// T X = B: T dX = dB - dT X; T^T X = B: T^T dX = dB - dT^T X. Of T and dT the lower triangle.
Expr triangularSolveRow(TriangularSolveOp op, Tangents d) {
  Expr x(d[0].at(), op.getResult());
  Expr dt = lowerTriangle(d[0]);
  return withOperand(op, 1, d[1] - matmul(op.getTransposed() ? transposed(dt) : dt, x));
}

/// A X = B: A dX = dB - dA X.
Expr luSolveRow(LuSolveOp op, Tangents d) {
  return withOperand(op, 1, d[1] - matmul(d[0], Expr(d[0].at(), op.getResult())));
}

/// A = V diag(l) V^T. With M = V^T dA V: dl = diag(M), and dV = V (F . M), F_ij = 1 / (l_j - l_i) off the diagonal and
/// 0 on it (Magnus 1985, "On differentiating eigenvalues and eigenvectors", theorem 1). Only A's symmetric part is
/// read.
struct EighRule : LinearizeOpInterface::ExternalModel<EighRule, study::EighOp> {
  LogicalResult linearize(Operation *op, OpBuilder &builder, ArrayRef<Value> tangents,
                          SmallVectorImpl<Value> &results) const {
    Site site{builder, op->getLoc()};
    Expr da(site, tangents[0]), l(site, op->getResult(0)), v(site, op->getResult(1));
    da = 0.5 * (da + transposed(da));
    Expr m = matmul(transposed(v), matmul(da, v));
    Expr isDiagonal = indexAlong(m, 0) == indexAlong(m, 1);
    Expr gap = broadcast(l, m.type(), {1}) - broadcast(l, m.type(), {0});
    Expr dl = reduceSum(select(isDiagonal, m, Expr(site)), 0);
    Expr dv = matmul(v, select(isDiagonal, Expr(site), m / select(isDiagonal, gap.splat(1), gap)));
    results.assign({dl.get(), dv.get()});
    return success();
  }
};

void attach(MLIRContext *context, HwDialect *) {
  using E = Expr;
  constexpr double twoOverSqrtPi = 1.1283791670955126;
  // clang-format off
  // Elementwise, one operand: the row (d, x, z).
  unary<NegOp,      [](E d, E x, E z) { return -d; }>(context);
  unary<ExpOp,      [](E d, E x, E z) { return scale(d, z); }>(context);
  unary<Expm1Op,    [](E d, E x, E z) { return scale(d, z + 1); }>(context);
  unary<LogOp,      [](E d, E x, E z) { return unscale(d, x); }>(context);
  unary<Log1pOp,    [](E d, E x, E z) { return unscale(d, x + 1); }>(context);
  unary<Log2Op,     [](E d, E x, E z) { return unscale(1 / std::numbers::ln2 * d, x); }>(context);
  unary<Log10Op,    [](E d, E x, E z) { return unscale(1 / std::numbers::ln10 * d, x); }>(context);
  unary<SqrtOp,     [](E d, E x, E z) { return unscale(d, 2 * z); }>(context);
  unary<SinOp,      [](E d, E x, E z) { return scale(d, cos(x)); }>(context);
  unary<CosOp,      [](E d, E x, E z) { return -scale(d, sin(x)); }>(context);
  unary<TanhOp,     [](E d, E x, E z) { return scale(d, 1 - z * z); }>(context);
  unary<SinhOp,     [](E d, E x, E z) { return scale(d, cosh(x)); }>(context);
  unary<CoshOp,     [](E d, E x, E z) { return scale(d, sinh(x)); }>(context);
  unary<LogisticOp, [](E d, E x, E z) { return scale(d, z * (1 - z)); }>(context);
  unary<ErfOp,      [](E d, E x, E z) { return scale(d, twoOverSqrtPi * exp(-(x * x))); }>(context);
  unary<AsinhOp,    [](E d, E x, E z) { return scale(d, inverseHypotenuse(x)); }>(context);
  unary<AbsOp,      [](E d, E x, E z) { return scale(d, sign(x)); }>(context);

  // Elementwise, two operands: the rows (d, x, y, z) of either.
  binary<AddOp, [](E d, E x, E y, E z) { return d; },
                [](E d, E x, E y, E z) { return d; }>(context);
  binary<SubOp, [](E d, E x, E y, E z) { return d; },
                [](E d, E x, E y, E z) { return -d; }>(context);
  binary<MulOp, [](E d, E x, E y, E z) { return scale(d, y); },
                [](E d, E x, E y, E z) { return scale(d, x); }>(context);
  binary<ScaleOp, [](E d, E x, E y, E z) { return scale(d, y); },
                  [](E d, E x, E y, E z) { return scale(x, d); }>(context);
  binary<UnscaleOp, [](E d, E x, E y, E z) { return unscale(d, y); },
                    [](E d, E x, E y, E z) { return -scale(z, unscale(d, y)); }>(context);
  binary<DivOp, [](E d, E x, E y, E z) { return unscale(d, y); },
                [](E d, E x, E y, E z) { return -scale(d, z / y); }>(context);
  // y x^(y-1), where 0 * 0^-1 is 0 (so is y x^1); x^y log x, and 0 at x = 0.
  binary<PowOp, [](E d, E x, E y, E z) { return scale(d, y * pow(x, select((x == 0) & (y == 0), y.splat(1), y - 1))); },
                [](E d, E x, E y, E z) { return scale(d, select(x == 0, z.splat(0), z * log(x))); }>(context);
  // x > y exactly where z > y: so x need not be kept for the derivative. At a tie the derivative goes to y.
  binary<MaxOp, [](E d, E x, E y, E z) { return select(z > y, d, E(d.at())); },
                [](E d, E x, E y, E z) { return select(z > y, E(d.at()), d); }>(context);
  binary<MinOp, [](E d, E x, E y, E z) { return select(z < y, d, E(d.at())); },
                [](E d, E x, E y, E z) { return select(z < y, E(d.at()), d); }>(context);
  general<SelectOp, selectRow>(context);
  general<CastOp, castRow>(context);
  zero<SignOp, FloorOp, StopGradientOp, CompareOp, AndOp, OrOp, NotOp, RandomBitsOp, ConstantOp, IotaOp, WholeOp>(context);

  // Movement, contraction, convolution, pooling, index.
  linear<BroadcastOp, ReduceSumOp, ReshapeOp, TransposeOp, ReverseOp, SliceOp, PadOp, GatherOp, ScatterAddOp>(context);
  linear<PoolGatherOp, PoolScatterOp, WindowSumOp, WindowSpreadOp>(context);
  bilinear<DotGeneralOp, ConvOp, ConvBackwardDataOp, ConvBackwardWeightsOp>(context);
  general<ConcatOp, concatRow>(context);
  general<MaxPoolOp, maxPoolRow>(context);
  general<ReduceMaxOp, reduceMaxRow>(context);

  // Dense linear algebra: implicit differentiation.
  general<CholeskyOp, choleskyRow>(context);
  general<TriangularSolveOp, triangularSolveRow>(context);
  general<LuSolveOp, luSolveRow>(context);
  // clang-format on
}

} // namespace

void hw::registerLinearizeModels(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *context, HwDialect *dialect) { attach(context, dialect); });
  registry.addExtension(
      +[](MLIRContext *context, study::StudyDialect *) { study::EighOp::attachInterface<EighRule>(*context); });
}
