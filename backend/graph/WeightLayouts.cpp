#include "backend/graph/WeightLayouts.h"
#include "backend/Cost.h"
#include "backend/graph/Layouts.h"
#include "backend/steps/Elementwise.h"

using namespace mlir;
using namespace hw;
using namespace hw::backend;

namespace {

class Training {
public:
  Training(study::TrainOp train, int64_t blockSize, llvm::function_ref<bool(Operation *)> isLibrary)
      : train(train), blockSize(blockSize), isLibrary(isLibrary), builder(train) {}

  void run() {
    for (auto [number, layout] : llvm::enumerate(choose()))
      if (layout)
        carry(unsigned(number), layout);
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

  /// Of each carried value, the layout or null: of weights, what an op of the step wants; of what is computed
  /// elementwise of the same values as they, or they of it, the same.
  SmallVector<LayoutAttr> choose() {
    unsigned count = train.getInits().size();
    SmallVector<LayoutAttr> layouts(count);
    SmallVector<SmallVector<unsigned>> partners(count);
    llvm::SetVector<unsigned> chosen;
    for (unsigned number = 0; number < count; ++number) {
      for (OpOperand &use : carried(number).getUses())
        if (LayoutAttr layout = wantedBy(use)) {
          layouts[number] = layout;
          chosen.insert(number);
        }
    }
    if (chosen.empty())
      return layouts;
    for (unsigned number = 0; number < count; ++number)
      for (unsigned other : sourcesOf(number)) {
        partners[number].push_back(other);
        partners[other].push_back(number);
      }
    for (unsigned at = 0; at < chosen.size(); ++at)
      for (unsigned other : partners[chosen[at]])
        if (chosen.insert(other))
          layouts[other] = layouts[chosen[at]];
    return layouts;
  }

  /// The layout in which the op is to read these weights; null if they are no such op's weights.
  LayoutAttr wantedBy(OpOperand &use) {
    Operation *op = use.getOwner();
    auto shape = shapeOf(use.get());
    if (isa<ConvOp, ConvBackwardDataOp>(op))
      return use.getOperandNumber() == 1 && isLibrary(op) ? blockLayout(builder.getContext(), shape, blockSize, false)
                                                          : LayoutAttr();
    auto dot = dyn_cast<DotGeneralOp>(op);
    if (!dot)
      return {};
    bool isRight = use.getOperandNumber() == 1;
    Value activations = flattenedIn(dot, isRight ? 0 : 1);
    ArrayRef<int64_t> mine = isRight ? dot.getRhsContract() : dot.getLhsContract();
    ArrayRef<int64_t> others = isRight ? dot.getLhsContract() : dot.getRhsContract();
    if (!activations || others[0] != 1 || !liesChannelsLast(activations))
      return {};
    return flatLayout(builder.getContext(), shape, mine[0], shapeOf(activations),
                      channelsLast(int64_t(shapeOf(activations).size())));
  }

  /// Whether the step will have the activations [N, C, S...] channels-last: they are made of a convolution of oneDNN's
  /// by arithmetic and pooling. Where they then are not, the weights are copied.
  bool liesChannelsLast(Value activations) {
    llvm::SetVector<Value> values;
    values.insert(activations);
    for (unsigned at = 0; at < values.size(); ++at) {
      Operation *op = values[at].getDefiningOp();
      if (isa_and_nonnull<ConvOp>(op) && isLibrary(op))
        return true;
      if (op && (elementwiseOp(op) || isa<StopGradientOp, MaxPoolOp, PoolGatherOp, WindowSumOp>(op)))
        values.insert(op->operand_begin(), op->operand_end());
    }
    return false;
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

  /// All uses read what is stored as the tensor again, each out of an op of its own: it is to be part of what reads it.
  void restoreUses(Value stored, Type tensor, LayoutAttr layout, llvm::function_ref<bool(OpOperand &)> isLeft) {
    SmallVector<OpOperand *> uses;
    for (OpOperand &use : stored.getUses())
      if (!isLeft(use))
        uses.push_back(&use);
    for (OpOperand *use : uses) {
      builder.setInsertionPoint(use->getOwner());
      use->set(FromLayoutOp::create(builder, use->getOwner()->getLoc(), tensor, stored, layout));
    }
  }

  void carry(unsigned number, LayoutAttr layout) {
    auto tensor = typeOf(carried(number));
    Type stored = tensor.clone(layout.shape());
    auto store = [&](Value value) { return ToLayoutOp::create(builder, value.getLoc(), value, layout); };
    builder.setInsertionPoint(train);
    OpOperand &init = train.getInitsMutable()[number];
    init.set(store(init.get()));
    for (Region &region : train->getRegions()) {
      if (region.empty())
        continue;
      BlockArgument argument = region.getArgument(train.firstCarried(region) + number);
      Operation *yield = region.front().getTerminator();
      argument.setType(stored);
      auto isPassedOn = [&](OpOperand &use) { return use.getOwner() == yield && use.getOperandNumber() == number; };
      restoreUses(argument, tensor, layout, isPassedOn);
      builder.setInsertionPoint(yield);
      if (Value next = yield->getOperand(number); next != argument)
        yield->setOperand(number, store(next));
    }
    Value result = train.getResult(number);
    result.setType(stored);
    restoreUses(result, tensor, layout, [](OpOperand &) { return false; });
  }

  study::TrainOp train;
  int64_t blockSize;
  llvm::function_ref<bool(Operation *)> isLibrary;
  OpBuilder builder;
};

struct WeightLayouts : PassWrapper<WeightLayouts, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(WeightLayouts)
  explicit WeightLayouts(const CompileOptions &options) : cpu(options.cpu), products(options.products) {}
  StringRef getArgument() const final { return "weight-layouts"; }
  StringRef getDescription() const final {
    return "Have trainings carry weights in the layouts that convolutions and products read";
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

std::unique_ptr<Pass> hw::backend::createWeightLayoutsPass(const CompileOptions &options) {
  return std::make_unique<WeightLayouts>(options);
}
