// study-hoist: what a study region computes from nothing of its own moves before the region's op, so that it is
// computed once.
//
//   before:  study.for ... { %h = hw.exp %outer ... }        after:  %h = hw.exp %outer;  study.for ... { ... }
//
// Constants, iotas, broadcasts and reshapes are cheaper to redo than to keep: they move only where something that moves
// reads them.
#include "ir/Slice.h"
#include "passes/Passes.h"

using namespace mlir;
using namespace hw;

namespace {

class RegionHoister {
public:
  explicit RegionHoister(Region &region) : region(region) {}

  void run() {
    for (Operation &op : llvm::make_early_inc_range(region.front())) {
      if (!isa<HwDialect>(op.getDialect()) || !llvm::all_of(op.getOperands(), [&](Value v) { return isInvariant(v); }))
        continue;
      if (isCheap(&op))
        cheap.insert(&op);
      else
        move(&op);
    }
  }

private:
  bool isInvariant(Value value) {
    Operation *op = value.getDefiningOp();
    return cheap.contains(op) || !region.isAncestor(value.getParentRegion());
  }

  /// With the cheap ops that it reads, which move first.
  void move(Operation *op) {
    for (Value operand : op->getOperands()) {
      SmallVector<Operation *> chain; // a cheap op has one operand at most
      for (Operation *next = operand.getDefiningOp(); next && cheap.erase(next);
           next = next->getNumOperands() ? next->getOperand(0).getDefiningOp() : nullptr)
        chain.push_back(next);
      for (Operation *next : llvm::reverse(chain))
        next->moveBefore(region.getParentOp());
    }
    op->moveBefore(region.getParentOp());
  }

  Region &region;
  llvm::SmallPtrSet<Operation *, 16> cheap;
};

struct Hoist : PassWrapper<Hoist, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(Hoist)
  StringRef getArgument() const final { return "study-hoist"; }
  StringRef getDescription() const final {
    return "Move what a study region computes from nothing of its own before it";
  }

  void runOnOperation() final {
    // Inner regions first, so that an op moves out through all the levels it can.
    getOperation().walk<WalkOrder::PostOrder>([](Operation *op) {
      if (isa<study::StudyDialect>(op->getDialect()))
        for (Region &region : op->getRegions())
          if (!region.empty())
            RegionHoister(region).run();
    });
  }
};

} // namespace

std::unique_ptr<Pass> hw::createHoistPass() { return std::make_unique<Hoist>(); }
