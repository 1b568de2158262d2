// hw-simplify: contractions into the shape that fuses best.
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "passes/Passes.h"

using namespace mlir;
using namespace hw;

namespace {

struct Simplify : PassWrapper<Simplify, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(Simplify)
  StringRef getArgument() const final { return "hw-simplify"; }
  StringRef getDescription() const final { return "Put contractions into the shape that fuses best"; }
  void runOnOperation() final {}
};

} // namespace

std::unique_ptr<Pass> hw::createSimplifyPass() { return std::make_unique<Simplify>(); }
