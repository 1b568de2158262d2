// study-outline: the arithmetic between the steps of a plan becomes entry points.
//
//   before:  study.train ... { hw ops; study.record; hw ops; study.yield }
//   after:   study.train ... { %r:2 = func.call @fit_step(...); study.record; study.yield }
//            func.func private @fit_step(...) { hw ops }
//
// In every block the hw ops become functions, as few as data dependence allows: one is called where a study op first
// needs a value that is not there yet, and takes with it all the arithmetic of the block whose operands are there by
// then. Constants, iotas, broadcasts and reshapes are repeated in each function that reads them. Afterwards study
// regions hold study ops and calls only.
//
// Functions carry `hw.entry`, a name for people. An argument whose buffer result r may take over (the i-th carried
// value of a loop, used by no one after the call, whose next value is that result) carries `hw.donate = r`.
#include "ir/Slice.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/SymbolTable.h"
#include "passes/Passes.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace hw;

namespace {

/// Ops of hw, and what a backend added to them.
bool isArithmetic(Operation *op) { return !isa<study::StudyDialect, func::FuncDialect>(op->getDialect()); }

/// Cheaper to redo than to keep: cloned into each function that reads it, never passed.
bool isRepeatable(Value value) { return value.getDefiningOp() && isCheap(value.getDefiningOp()); }

/// Where the carried values of a loop's region start among its arguments, or none for other regions.
std::optional<unsigned> firstCarried(Region &region) {
  if (isa<study::ForOp>(region.getParentOp()))
    return 1;
  if (auto train = dyn_cast<study::TrainOp>(region.getParentOp()))
    return train.firstCarried(region);
  return std::nullopt;
}

/// A name for a region of a study op: "fit.step", "fit.every0", "for run", ...
std::string nameOf(Region &region, StringRef outer, unsigned ordinal) {
  Operation *op = region.getParentOp();
  auto within = [&](const Twine &name) { return outer.empty() ? name.str() : (outer + "." + name).str(); };
  auto numbered = [&](StringRef name) { return within(name + Twine(ordinal)); };
  return TypeSwitch<Operation *, std::string>(op)
      .Case([&](study::TrainOp train) {
        std::string label = within(train.getLabel());
        if (&region == &train.getStep())
          return label + ".step";
        if (&region == &train.getTail())
          return label + ".tail";
        return label + ".every" + std::to_string(region.getRegionNumber() - 2);
      })
      .Case([&](study::ForOp loop) { return within(loop.getVariable()); })
      .Case([&](study::BatchesOp) { return numbered("batches") + (region.getRegionNumber() ? ".tail" : ""); })
      .Case([&](study::GradcheckOp check) {
        return numbered("gradcheck") + (&region == &check.getLoss()       ? ".loss"
                                        : &region == &check.getGradient() ? ".gradient"
                                                                          : ".product");
      })
      .Case([&](study::BenchOp bench) { return within(bench.getName()); })
      .Default([&](Operation *) { return numbered(op->getName().stripDialect()); });
}

class BlockOutliner {
public:
  BlockOutliner(Block &block, std::string name, bool numbered, ModuleOp module, SymbolTable &symbols)
      : block(block), name(std::move(name)), numbered(numbered), module(module), symbols(symbols) {}

  void run() {
    // Sources go first: whatever depends on them alone can be one function.
    Operation *first = nullptr;
    for (Operation &op : llvm::make_early_inc_range(block))
      if (isSource(&op)) {
        if (first)
          op.moveAfter(first);
        else
          op.moveBefore(&block, block.begin());
        first = &op;
      }
    findArithmetic();
    countWaiting();
    for (Operation *step : steps) {
      if (llvm::any_of(inputsOf(step), [&](Value input) { return isPending(input); }))
        emitBefore(step);
      arrive(step);
    }
    for (Operation *op : llvm::reverse(arithmetic))
      op->erase();
    if (std::optional<unsigned> carried = firstCarried(*block.getParent()))
      for (auto call : block.getOps<func::CallOp>())
        donate(call, *carried);
  }

private:
  /// Sorts the block's ops into steps of the plan and arithmetic, of which what no step needs is dropped.
  void findArithmetic() {
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block))) {
      if (!isArithmetic(&op)) {
        steps.push_back(&op);
        continue;
      }
      if (op.use_empty())
        op.erase();
      else
        arithmetic.push_back(&op);
    }
    std::reverse(steps.begin(), steps.end());
    std::reverse(arithmetic.begin(), arithmetic.end());
    // A repeatable value that only arithmetic reads is cloned into its readers.
    for (auto [number, op] : llvm::enumerate(arithmetic)) {
      position[op] = unsigned(number);
      if (llvm::any_of(op->getUsers(), [&](Operation *user) { return !isArithmetic(user); }) ||
          !isRepeatable(op->getResult(0)))
        pending.insert(op);
    }
  }

  bool isPending(Value value) { return value.getDefiningOp() && pending.contains(value.getDefiningOp()); }

  /// For each arithmetic op, how many of its operands are not there yet.
  void countWaiting() {
    for (Operation *op : arithmetic) {
      unsigned &count = waiting[op];
      for (Value operand : op->getOperands())
        if (Operation *producer = operand.getDefiningOp(); producer && producer->getBlock() == &block)
          count += !there.contains(producer);
      if (!count)
        makeReady(op);
    }
  }

  /// What `op` computes is there: so is what waited for that alone.
  void arrive(Operation *op) {
    SmallVector<Operation *> arrived{op};
    while (!arrived.empty())
      for (OpOperand &use : arrived.pop_back_val()->getUses())
        if (auto at = waiting.find(use.getOwner()); at != waiting.end() && --at->second == 0) {
          makeReady(use.getOwner());
          arrived.push_back(use.getOwner());
        }
  }

  /// All that `op` reads is there before the next step: the next function computes it, or its readers repeat it.
  void makeReady(Operation *op) {
    there.insert(op);
    if (pending.contains(op))
      ready.push_back(op);
  }

  /// What has to be passed for the group to be computed: what it reads, through what it repeats.
  llvm::SetVector<Value> argumentsOf(const llvm::SetVector<Operation *> &group) {
    llvm::SetVector<Value> arguments;
    llvm::DenseSet<Value> seen;
    SmallVector<Value> work;
    for (Operation *op : group) {
      work.append(op->operand_begin(), op->operand_end());
      std::reverse(work.begin(), work.end());
      while (!work.empty()) {
        Value value = work.pop_back_val();
        Operation *producer = value.getDefiningOp();
        if ((producer && group.contains(producer)) || !seen.insert(value).second)
          continue;
        if (isRepeatable(value))
          work.append(producer->operand_begin(), producer->operand_end());
        else
          arguments.insert(value);
      }
    }
    return arguments;
  }

  /// Whether something outside the group's function reads this result of the group. What repeats it (a broadcast) is
  /// followed to its own readers.
  bool isRead(Value result, const llvm::SetVector<Operation *> &group) {
    if (isRepeatable(result))
      return llvm::any_of(result.getUsers(), [](Operation *user) { return !isArithmetic(user); });
    SmallVector<Value> work{result};
    while (!work.empty()) {
      Value value = work.pop_back_val();
      for (Operation *user : value.getUsers()) {
        if (!isArithmetic(user)) {
          if (value == result || !pending.contains(value.getDefiningOp()))
            return true;
        } else if (isRepeatable(user->getResult(0))) {
          work.push_back(user->getResult(0));
        } else if (!group.contains(user)) {
          return true;
        }
      }
    }
    return false;
  }

  /// All that is there by now and not computed yet becomes a function, called before `step`.
  void emitBefore(Operation *step) {
    llvm::sort(ready, [&](Operation *a, Operation *b) { return position.lookup(a) < position.lookup(b); });
    llvm::SetVector<Operation *> group(ready.begin(), ready.end());
    ready.clear();

    llvm::SetVector<Value> arguments = argumentsOf(group);
    SmallVector<Value> results;
    for (Operation *op : group)
      for (Value result : op->getResults())
        if (isRead(result, group))
          results.push_back(result);

    func::FuncOp function = declare(arguments.getArrayRef(), results, step->getLoc());
    OpBuilder builder = OpBuilder::atBlockBegin(function.addEntryBlock());
    IRMapping mapping;
    mapping.map(arguments.getArrayRef(), function.getArguments());
    for (Operation *op : group)
      clone(builder, op, mapping);
    func::ReturnOp::create(builder, step->getLoc(),
                           llvm::map_to_vector(results, [&](Value v) { return mapping.lookup(v); }));

    builder.setInsertionPoint(step);
    auto call = func::CallOp::create(builder, step->getLoc(), function, arguments.getArrayRef());
    for (auto [result, value] : llvm::zip_equal(results, call.getResults()))
      result.replaceUsesWithIf(
          value, [&](OpOperand &use) { return !isRepeatable(use.get()) || !isArithmetic(use.getOwner()); });
    for (Operation *op : group)
      pending.erase(op);
  }

  /// With the repeatable values that it reads.
  void clone(OpBuilder &builder, Operation *op, IRMapping &mapping) {
    SmallVector<Operation *> work{op};
    while (!work.empty()) {
      const size_t size = work.size();
      Operation *next = work.back();
      for (Value operand : llvm::reverse(next->getOperands()))
        if (!mapping.contains(operand))
          work.push_back(operand.getDefiningOp());
      if (work.size() > size)
        continue;
      work.pop_back();
      if (!next->getNumResults() || !mapping.contains(next->getResult(0)))
        builder.clone(*next, mapping);
    }
  }

  func::FuncOp declare(ValueRange arguments, ValueRange results, Location loc) {
    std::string entry = numbered ? name + std::to_string(count) : count ? name + "." + std::to_string(count) : name;
    ++count;
    std::string symbol = entry;
    for (char &c : symbol)
      if (!llvm::isAlnum(c))
        c = '_';
    OpBuilder builder(module.getContext());
    auto type = builder.getFunctionType(arguments.getTypes(), results.getTypes());
    auto function = func::FuncOp::create(builder, loc, symbol, type);
    function.setPrivate();
    function->setAttr("hw.entry", builder.getStringAttr(entry));
    symbols.insert(function);
    return function;
  }

  /// Marks the call's arguments whose buffers its results may take over.
  void donate(func::CallOp call, unsigned firstCarried) {
    auto function = symbols.lookup<func::FuncOp>(call.getCallee());
    Operation *yield = block.getTerminator();
    llvm::SmallDenseSet<unsigned> taken;
    for (auto [index, operand] : llvm::enumerate(call.getOperands())) {
      auto argument = dyn_cast<BlockArgument>(operand);
      if (!argument || argument.getOwner() != &block || argument.getArgNumber() < firstCarried)
        continue;
      auto next = dyn_cast<OpResult>(yield->getOperand(argument.getArgNumber() - firstCarried));
      if (!next || next.getOwner() != call || !taken.insert(next.getResultNumber()).second)
        continue;
      bool last = llvm::all_of(argument.getUses(), [&](OpOperand &use) {
        Operation *user = block.findAncestorOpInBlock(*use.getOwner());
        return user == call ? use.getOperandNumber() == index : user->isBeforeInBlock(call);
      });
      if (last)
        function.setArgAttr(index, "hw.donate",
                            IntegerAttr::get(IntegerType::get(call.getContext(), 64), next.getResultNumber()));
    }
  }

  Block &block;
  std::string name;
  bool numbered;
  ModuleOp module;
  SymbolTable &symbols;
  SmallVector<Operation *> steps, arithmetic;
  llvm::SmallPtrSet<Operation *, 32> pending; // not computed by a function yet, though something needs it
  llvm::SmallPtrSet<Operation *, 32> there;   // arithmetic whose operands are there
  SmallVector<Operation *> ready;             // those of them that are pending
  llvm::DenseMap<Operation *, unsigned> waiting, position;
  unsigned count = 0;
};

struct Outline : PassWrapper<Outline, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(Outline)
  StringRef getArgument() const final { return "study-outline"; }
  StringRef getDescription() const final { return "Make the arithmetic between the steps of a plan into entry points"; }
  void getDependentDialects(DialectRegistry &registry) const final { registry.insert<func::FuncDialect>(); }

  void runOnOperation() final {
    auto study = getOperation().lookupSymbol<func::FuncOp>("study");
    if (!study)
      return;
    for (Operation &op : study.getOps())
      if (isa<DerivativeOpInterface>(op)) {
        op.emitError("needs hw-expand-derivatives first");
        return signalPassFailure();
      }
    SymbolTable symbols(getOperation());
    outline(study.getBody(), "", symbols);
  }

  /// Inner regions first: what they take of the outside are then real values, and no longer what can be repeated.
  void outline(Region &region, const std::string &name, SymbolTable &symbols) {
    llvm::StringMap<unsigned> ordinals;
    for (Operation &op : region.front()) {
      if (!op.getNumRegions())
        continue;
      unsigned ordinal = ordinals[op.getName().getStringRef()]++;
      for (Region &inner : op.getRegions())
        if (!inner.empty())
          outline(inner, isa<study::TogetherOp>(op) ? name : nameOf(inner, name, ordinal), symbols);
    }
    bool top = name.empty();
    BlockOutliner(region.front(), top ? "study" : name, top, getOperation(), symbols).run();
  }
};

} // namespace

std::unique_ptr<Pass> hw::createOutlinePass() { return std::make_unique<Outline>(); }
