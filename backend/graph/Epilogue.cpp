#include "backend/graph/Epilogue.h"
#include "backend/graph/View.h"
#include "runtime/Abi.h"

using namespace mlir;
using namespace hw;
using namespace hw::backend;

static Operation *onlyUser(Value value) { return value.hasOneUse() ? *value.getUsers().begin() : nullptr; }

static void matchActivation(Epilogue &pattern) {
  Operation *next = onlyUser(pattern.result);
  if (isa_and_nonnull<TanhOp>(next))
    pattern.activation = HW_TANH, pattern.result = next->getResult(0);
  else if (isa_and_nonnull<LogisticOp>(next))
    pattern.activation = HW_LOGISTIC, pattern.result = next->getResult(0);
  // oneDNN's relu may turn NaN into 0, so that a ruined network would go on with zeros: max stays ours.
}

/// A library call reads its bias whole: it must be there when the product runs, which is where the product stands.
static bool isThere(Value bias, Value product) {
  Operation *made = reshapedBase(bias).getDefiningOp(), *call = product.getDefiningOp();
  return !made || made->getBlock() != call->getBlock() || made->isBeforeInBlock(call);
}

Epilogue hw::backend::matchEpilogue(Value product) {
  Epilogue pattern{{}, HW_LINEAR, product};
  int64_t rank = shapeOf(product).size();
  if (auto add = dyn_cast_or_null<AddOp>(onlyUser(product)); add && rank) {
    Value other = add.getLhs() == product ? add.getRhs() : add.getLhs();
    auto broadcast = other.getDefiningOp<BroadcastOp>();
    if (broadcast && broadcast.getDims() == ArrayRef<int64_t>{rank - 1} &&
        !(broadcast.getOperand().getDefiningOp<ConstantOp>() && !isDenseConstant(broadcast.getOperand())) &&
        isThere(broadcast.getOperand(), product)) {
      pattern.bias = broadcast.getOperand();
      pattern.result = add.getResult();
    }
  }
  matchActivation(pattern);
  return pattern;
}

Epilogue hw::backend::matchEpilogue(DotGeneralOp dot) {
  if (!dot.rhsFree().empty())
    return matchEpilogue(dot.getResult());
  Epilogue pattern{{}, HW_LINEAR, dot.getResult()}; // its last dimension is no column
  matchActivation(pattern);
  return pattern;
}
