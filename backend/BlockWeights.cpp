#include "backend/BlockWeights.h"
#include "backend/CodeGen.h"
#include "backend/Cost.h"

using namespace mlir;
using namespace hw;
using namespace hw::backend;

namespace {

class Training {
public:
  Training(study::TrainOp train, int64_t size, llvm::function_ref<bool(Operation *)> isLibrary)
      : train(train), size(size), isLibrary(isLibrary), builder(train) {}

  void run() {
    for (unsigned number : choose())
      carryBlocked(number);
  }

private:
  Value carried(unsigned number) { return train.getStep().getArgument(train.firstCarried(train.getStep()) + number); }
  std::optional<unsigned> numberOf(Value value) {
    auto argument = dyn_cast<BlockArgument>(value);
    unsigned first = train.firstCarried(train.getStep());
    if (!argument || argument.getOwner() != &train.getStep().front() || argument.getArgNumber() < first ||
        argument.getArgNumber() - first >= train.getInits().size())
      return std::nullopt;
    return argument.getArgNumber() - first;
  }

  /// Weights of a convolution, and what is computed elementwise of the same values as they, or they of it.
  llvm::SetVector<unsigned> choose() {
    llvm::SetVector<unsigned> chosen;
    unsigned count = train.getInits().size();
    for (unsigned number = 0; number < count; ++number)
      for (Operation *user : carried(number).getUsers())
        if (isa<ConvOp, ConvBackwardDataOp>(user) && user->getOperand(1) == carried(number) && isLibrary(user))
          chosen.insert(number);
    if (chosen.empty())
      return chosen;
    SmallVector<llvm::SetVector<unsigned>> partners(count);
    for (unsigned number = 0; number < count; ++number)
      for (unsigned other : sourcesOf(number)) {
        partners[number].insert(other);
        partners[other].insert(number);
      }
    for (unsigned at = 0; at < chosen.size(); ++at)
      chosen.insert(partners[chosen[at]].begin(), partners[chosen[at]].end());
    return chosen;
  }

  /// The carried values that the next value of one is elementwise computed of.
  llvm::SetVector<unsigned> sourcesOf(unsigned number) {
    llvm::SetVector<unsigned> sources;
    llvm::SetVector<Value> values;
    values.insert(train.getStep().front().getTerminator()->getOperand(number));
    for (unsigned at = 0; at < values.size(); ++at) {
      if (shapeOf(values[at]) != shapeOf(carried(number)))
        continue;
      if (auto source = numberOf(values[at]))
        sources.insert(*source);
      else if (Operation *op = values[at].getDefiningOp(); op && elementwiseOp(op))
        values.insert(op->operand_begin(), op->operand_end());
    }
    return sources;
  }

  Value block(Value value) { return BlockOp::create(builder, value.getLoc(), value, size, false); }

  /// All uses read the value as `logical` again, each out of an unblock of its own: it is to be part of what reads it.
  void unblockUses(Value value, Type logical, llvm::function_ref<bool(OpOperand &)> isLeft) {
    SmallVector<OpOperand *> uses;
    for (OpOperand &use : value.getUses())
      if (!isLeft(use))
        uses.push_back(&use);
    for (OpOperand *use : uses) {
      builder.setInsertionPoint(use->getOwner());
      use->set(UnblockOp::create(builder, use->getOwner()->getLoc(), logical, value, size));
    }
  }

  void carryBlocked(unsigned number) {
    auto logical = typeOf(carried(number));
    Type blocked = logical.clone(Blocking(logical.getShape(), size, false).shape());
    builder.setInsertionPoint(train);
    OpOperand &init = train.getInitsMutable()[number];
    init.set(block(init.get()));
    for (Region &region : train->getRegions()) {
      if (region.empty())
        continue;
      BlockArgument argument = region.getArgument(train.firstCarried(region) + number);
      Operation *yield = region.front().getTerminator();
      argument.setType(blocked);
      auto isPassedOn = [&](OpOperand &use) { return use.getOwner() == yield && use.getOperandNumber() == number; };
      unblockUses(argument, logical, isPassedOn);
      builder.setInsertionPoint(yield);
      if (Value next = yield->getOperand(number); next != argument)
        yield->setOperand(number, block(next));
    }
    Value result = train.getResult(number);
    result.setType(blocked);
    unblockUses(result, logical, [](OpOperand &) { return false; });
  }

  study::TrainOp train;
  int64_t size;
  llvm::function_ref<bool(Operation *)> isLibrary;
  OpBuilder builder;
};

struct BlockWeights : PassWrapper<BlockWeights, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(BlockWeights)
  explicit BlockWeights(const CompileOptions &options) : cpu(options.cpu), products(options.products) {}
  StringRef getArgument() const final { return "block-weights"; }
  StringRef getDescription() const final {
    return "Have trainings carry the weights of oneDNN's convolutions in blocks";
  }
  void getDependentDialects(DialectRegistry &registry) const final { registry.insert<HwbDialect>(); }

  void runOnOperation() final {
    std::string error;
    auto target = chooseTarget(cpu, error);
    if (!target)
      return; // told when code is generated
    getOperation().walk([&](study::TrainOp train) {
      Training(train, weightBlock(*target), [&](Operation *op) { return goesToLibrary(op, products, *target); }).run();
    });
  }

  std::string cpu;
  Products products;
};

} // namespace

std::unique_ptr<Pass> hw::backend::createBlockWeightsPass(const CompileOptions &options) {
  return std::make_unique<BlockWeights>(options);
}
