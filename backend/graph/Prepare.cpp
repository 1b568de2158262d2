// Rewrites of an entry function before it is planned.
#include "backend/graph/Prepare.h"
#include "backend/Cost.h"
#include "backend/graph/Decompose.h"
#include "backend/graph/Layouts.h"
#include "backend/graph/Pooling.h"
#include "backend/graph/Rewrite.h"
#include "backend/graph/View.h"
#include "backend/steps/Elementwise.h"

using namespace mlir;
using namespace hw;
using namespace hw::backend;

//===--------------------------------------------------------------------------------------------------------------===//
// Rewrites
//===--------------------------------------------------------------------------------------------------------------===//

namespace {

/// x > 0 where max(x, 0) exists: max(x, 0) > 0 says the same, for NaN too, and x need not be kept for it. (x <= 0
/// likewise, but for NaN: both are false.)
void readRectified(Block &block) {
  for (MaxOp max : llvm::to_vector(block.getOps<MaxOp>())) {
    Value x = isZero(max.getRhs()) ? max.getLhs() : isZero(max.getLhs()) ? max.getRhs() : Value();
    if (!x)
      continue;
    for (Operation *user : llvm::to_vector(x.getUsers())) {
      auto compare = dyn_cast<CompareOp>(user);
      if (!compare || !max->isBeforeInBlock(compare))
        continue;
      StringRef predicate = compare.getPredicate();
      bool isLeft = compare.getLhs() == x && isZero(compare.getRhs()) && (predicate == "gt" || predicate == "le");
      bool isRight = compare.getRhs() == x && isZero(compare.getLhs()) && (predicate == "lt" || predicate == "ge");
      if (isLeft)
        compare.getLhsMutable().assign(max.getResult());
      else if (isRight)
        compare.getRhsMutable().assign(max.getResult());
    }
  }
}

/// A position in a window is a small number, and the gradient wants one for each result: kept as a byte.
void narrowPositions(Block &block) {
  for (MaxPoolOp pool : llvm::to_vector(block.getOps<MaxPoolOp>())) {
    if (ShapedType::getNumElements(pool.getWindow()) > 128 || pool.getIndex().use_empty())
      continue;
    OpBuilder builder(pool->getContext());
    builder.setInsertionPointAfter(pool);
    auto type = typeOf(pool.getIndex());
    auto narrow = CastOp::create(builder, pool.getLoc(), type.clone(builder.getIntegerType(8)), pool.getIndex());
    narrow->setAttr("hw.keep", builder.getUnitAttr());
    auto wide = CastOp::create(builder, pool.getLoc(), type, narrow);
    pool.getIndex().replaceAllUsesExcept(wide, narrow);
  }
}

/// Nobody looks further back than this many values, so that a sum behind a long program takes no longer than others.
constexpr size_t mostSeen = 200;

/// The factors of a product, through selections against zero: sum(select(m, a b, 0)) is a sum of a, b under the mask m.
struct Factors {
  SmallVector<Value> masks, values;
  SmallVector<Value> inner; // products and selections that were looked through

  /// False where there are too many of them.
  bool collect(Value product) {
    SmallVector<Value> work{product};
    while (!work.empty()) {
      Value value = work.pop_back_val();
      if (auto mul = value.getDefiningOp<MulOp>()) {
        inner.push_back(value);
        work.append({mul.getRhs(), mul.getLhs()});
      } else if (auto select = value.getDefiningOp<SelectOp>(); select && isZero(select->getOperand(2))) {
        inner.push_back(value);
        masks.push_back(select->getOperand(0));
        work.push_back(select->getOperand(1));
      } else {
        values.push_back(value);
      }
      if (inner.size() > mostSeen)
        return false;
    }
    return true;
  }
};

/// Of which operand's value `value` shows the same along all of `dims`, or null.
Value constantAlong(Value value, ArrayRef<int64_t> dims) {
  auto broadcast = value.getDefiningOp<BroadcastOp>();
  if (!broadcast || llvm::any_of(broadcast.getDims(), [&](int64_t dim) { return llvm::is_contained(dims, dim); }))
    return {};
  return broadcast.getOperand();
}

/// An argument of the function, in whatever shape.
bool isArgument(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (!isa<ReshapeOp, TransposeOp, BroadcastOp>(op))
      return false;
    value = op->getOperand(0);
  }
  return true;
}

/// Whether `value` may be made elementwise of what is the same along all of `dims`.
bool maybeSameAlong(Value value, ArrayRef<int64_t> dims) {
  llvm::SetVector<Value> values;
  values.insert(value);
  for (size_t at = 0; at < std::min(values.size(), mostSeen); ++at) {
    Operation *op = values[at].getDefiningOp();
    if (constantAlong(values[at], dims) || (isa_and_nonnull<ConstantOp>(op) && !isDenseConstant(values[at])))
      continue;
    if (!op || !elementwiseOp(op))
      return false;
    values.insert(op->operand_begin(), op->operand_end());
  }
  return true;
}

/// sum(a v) = v sum(a), where v is the same for all terms: one multiplication a sum in place of one a term. A mask that
/// is the same for all terms too may guard v, as in where(n > 0, a / n, 0): there v must stay behind it.
void takeOutFactors(Block &block) {
  for (ReduceSumOp sum : llvm::to_vector(block.getOps<ReduceSumOp>())) {
    if (!isa<FloatType>(elementOf(sum.getResult())))
      continue;
    Factors factors;
    if (!factors.collect(sum.getOperand()))
      continue;
    // Where a part is wanted as it is, by a product above all, nothing is gained.
    bool isOwn = llvm::all_of(factors.inner, [](Value value) {
      return llvm::all_of(value.getUsers(), [](Operation *user) { return isa<MulOp, SelectOp, ReduceSumOp>(user); });
    });
    SmallVector<Value> inside, outside;
    for (Value value : factors.values) {
      Value factor = constantAlong(value, sum.getDims());
      // A mask may leave nothing of a sum whose factor is infinite, as the mean of no values: only arguments come out.
      bool comesOut = factor && (factors.masks.empty() || isArgument(factor));
      (comesOut ? outside : inside).push_back(value);
    }
    bool isGuarded = llvm::any_of(factors.masks, [&](Value mask) { return maybeSameAlong(mask, sum.getDims()); });
    if (!isOwn || isGuarded || outside.empty() || inside.empty())
      continue;
    OpBuilder builder(sum);
    Location loc = sum.getLoc();
    // What varies along fewer dimensions comes first: it is computed in an outer loop.
    llvm::stable_sort(inside, [](Value a, Value b) {
      return bool(a.getDefiningOp<BroadcastOp>()) > bool(b.getDefiningOp<BroadcastOp>());
    });
    Value term = inside[0];
    for (Value value : ArrayRef(inside).drop_front())
      term = MulOp::create(builder, loc, term, value);
    for (Value mask : llvm::reverse(factors.masks)) {
      auto zero = DenseElementsAttr::get(typeOf(term), builder.getZeroAttr(elementOf(term)));
      term = SelectOp::create(builder, loc, mask, term, ConstantOp::create(builder, loc, zero));
    }
    Value result = ReduceSumOp::create(builder, loc, term, sum.getDims());
    for (Value value : outside) {
      auto broadcast = value.getDefiningOp<BroadcastOp>();
      SmallVector<int64_t> dims; // with those that are summed left out
      for (int64_t dim : broadcast.getDims())
        dims.push_back(dim - llvm::count_if(sum.getDims(), [&](int64_t summed) { return summed < dim; }));
      Value factor = BroadcastOp::create(builder, loc, typeOf(result), broadcast.getOperand(), dims);
      result = MulOp::create(builder, loc, result, factor);
    }
    sum.getResult().replaceAllUsesWith(result);
    sum.erase();
  }
}

/// `value` with its dimensions in the order of the groups, each group merged into one dimension (none for an empty
/// group).
Value grouped(OpBuilder &builder, Location loc, Value value, ArrayRef<SmallVector<int64_t>> groups) {
  SmallVector<int64_t> permutation, shape;
  for (const auto &group : groups) {
    int64_t size = 1;
    for (int64_t dim : group) {
      permutation.push_back(dim);
      size *= shapeOf(value)[dim];
    }
    if (!group.empty())
      shape.push_back(size);
  }
  if (!llvm::is_sorted(permutation))
    value = TransposeOp::create(builder, loc, value, permutation);
  auto type = RankedTensorType::get(shape, elementOf(value));
  return type == value.getType() ? value : ReshapeOp::create(builder, loc, type, value).getResult();
}

DotGeneralOp flatten(OpBuilder &builder, DotGeneralOp dot) {
  auto list = [](ArrayRef<int64_t> dims) { return SmallVector<int64_t>(dims); };
  size_t most =
      std::max({dot.getLhsBatch().size(), dot.getLhsContract().size(), dot.lhsFree().size(), dot.rhsFree().size()});
  if (most <= 1)
    return dot;
  Location loc = dot.getLoc();
  Value lhs = grouped(builder, loc, dot.getLhs(), {list(dot.getLhsBatch()), dot.lhsFree(), list(dot.getLhsContract())});
  Value rhs = grouped(builder, loc, dot.getRhs(), {list(dot.getRhsBatch()), list(dot.getRhsContract()), dot.rhsFree()});
  SmallVector<int64_t> batch, lhsContract, rhsContract;
  if (!dot.getLhsBatch().empty())
    batch.push_back(0);
  if (!dot.getLhsContract().empty()) {
    lhsContract.push_back(shapeOf(lhs).size() - 1);
    rhsContract.push_back(batch.size());
  }
  auto flat = DotGeneralOp::create(builder, loc, lhs, rhs, batch, batch, lhsContract, rhsContract);
  Value result = flat.getResult();
  if (result.getType() != dot.getType())
    result = ReshapeOp::create(builder, loc, dot.getType(), result);
  dot.getResult().replaceAllUsesWith(result);
  dot.erase();
  return flat;
}

/// Generated products read rows of b as vectors: another orientation is turned first (b is the smaller side as a rule).
void pack(OpBuilder &builder, DotGeneralOp dot) {
  Product p = productOf(dot);
  if (p.nDim < 0 || p.bStride[2] == 1 || p.n == 1)
    return;
  Value rhs = dot.getRhs();
  SmallVector<int64_t> permutation(dot.getRhsBatch());
  permutation.append(dot.getRhsContract().begin(), dot.getRhsContract().end());
  permutation.append(dot.rhsFree());
  auto packed = TransposeOp::create(builder, dot.getLoc(), rhs, permutation);
  packed->setAttr("hw.pack", builder.getUnitAttr());
  SmallVector<int64_t> batch, contract;
  if (!dot.getRhsBatch().empty())
    batch.push_back(0);
  if (!dot.getRhsContract().empty())
    contract.push_back(batch.size());
  auto turned = DotGeneralOp::create(builder, dot.getLoc(), dot.getLhs(), packed, dot.getLhsBatch(), batch,
                                     dot.getLhsContract(), contract);
  dot.getResult().replaceAllUsesWith(turned.getResult());
  dot.erase();
}

} // namespace

void hw::backend::prepare(Block &block, Products products, const Target &target) {
  for (auto stop : llvm::to_vector(block.getOps<StopGradientOp>())) {
    stop.getResult().replaceAllUsesWith(stop.getOperand());
    stop.erase();
  }
  // Of IR that no derivative was expanded in.
  for (Operation &op : llvm::make_early_inc_range(block))
    if (isa<ScaleOp, UnscaleOp>(op)) {
      OpBuilder builder(&op);
      Location loc = op.getLoc();
      Value x = op.getOperand(0), y = op.getOperand(1), zero = ConstantOp::splat(builder, loc, x.getType(), 0);
      Value result = isa<ScaleOp>(op) ? MulOp::create(builder, loc, x.getType(), x, y).getResult()
                                      : DivOp::create(builder, loc, x.getType(), x, y).getResult();
      Value isNonzero = CompareOp::create(builder, loc, "ne", x, zero);
      op.getResult(0).replaceAllUsesWith(SelectOp::create(builder, loc, x.getType(), isNonzero, result, zero));
      op.erase();
    }
  readRectified(block);
  poolFirst(block);
  chooseLayouts(block, products, target);
  narrowPositions(block);
  eraseDead(block); // what the rewrites left unused
}

void hw::backend::prepareLoops(Block &block, Products products) {
  decompose(block);
  takeOutFactors(block);
  for (DotGeneralOp dot : llvm::to_vector(block.getOps<DotGeneralOp>())) {
    OpBuilder builder(dot);
    DotGeneralOp flat = flatten(builder, dot);
    builder.setInsertionPoint(flat);
    if (!goesToLibrary(flat, products))
      pack(builder, flat);
  }
  eraseDead(block);
}
