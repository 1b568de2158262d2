// study-together: parts of a study that need nothing of each other are said to be so, that they may run at the same
// time.
//
//   before:  %a = study.train ...            after:  study.together ({ %a = study.train ...; study.save %a }, {
//            study.save %a                             %b = study.train ...; study.save %b })
//            %b = study.train ...
//            study.save %b
//
// Rows keep the order of the program: so a part is made of neighbours, and what reads a table stands outside. With a
// part goes the arithmetic that only it needs. A run-time loop that carries nothing is marked `independent` likewise.
#include "ir/Slice.h"
#include "passes/Passes.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace hw;

namespace {

bool isArithmetic(Operation *op) { return isa<HwDialect>(op->getDialect()); }

/// What takes time: a part has one of these at least.
bool isRun(Operation *op) { return isa<study::TrainOp, study::ForOp, study::BatchesOp>(op); }

/// Whether `op` touches nothing that another part could: it reads no table but a training's own, draws nothing, and
/// says nothing to the terminal.
bool keepsToItself(Operation *op) {
  llvm::StringSet<> own;
  op->walk([&](study::RecordOp record) {
    if (record.getHidden())
      own.insert(record.getTable());
  });
  return !op->walk([&](Operation *inner) {
              bool fine = TypeSwitch<Operation *, bool>(inner)
                              .Case([&](study::ReduceOp reduce) { return own.contains(reduce.getTable()); })
                              .Case([&](study::ClearOp clear) { return own.contains(clear.getTable()); })
                              .Case([&](study::SaveOp save) { return save.getFormat() != "csv"; })
                              .Case<study::DatasetOp, study::PlotOp, study::GradcheckOp, study::BenchOp>(
                                  [](Operation *) { return false; })
                              .Default(true);
              return fine ? WalkResult::advance() : WalkResult::interrupt();
            }).wasInterrupted();
}

/// Whether no two turns write the same file: names carry the loop's variable.
bool savesByTurn(study::ForOp loop) {
  return !loop.walk([&](study::SaveOp save) {
                return llvm::is_contained(save.getOperands(), loop.getBody().getArgument(0)) ? WalkResult::advance()
                                                                                             : WalkResult::interrupt();
              })
              .wasInterrupted();
}

/// Finds the parts of one block.
class BlockGrouper {
public:
  explicit BlockGrouper(Block &block) : block(block) {}

  void run() {
    for (Operation &op : llvm::make_early_inc_range(block)) {
      if (isSource(&op))
        continue;
      if (isArithmetic(&op)) {
        if (Needed needed = partsNeeded(&op); needed != none)
          neededBy[&op] = needed;
        continue;
      }
      if (!keepsToItself(&op) || op.hasTrait<OpTrait::IsTerminator>()) {
        close(&op);
        continue;
      }
      Needed needed = partsNeeded(&op);
      if (needed != none && needed + 1 != Needed(parts.size())) {
        close(&op);
        needed = none;
      }
      bool begins = needed == none && isRun(&op);
      if (savesAgain(&op, begins ? parts.size() : parts.size() - 1)) {
        close(&op);
        savesAgain(&op, 0);
      }
      if (begins)
        parts.emplace_back();
      if (parts.empty())
        continue;
      parts.back().push_back(&op);
      partOf[&op] = unsigned(parts.size()) - 1;
    }
  }

private:
  /// The number of the one part whose results an op is computed from, or one of these.
  using Needed = int64_t;
  static constexpr Needed none = -1, several = -2;

  Needed partsNeeded(Operation *op) {
    Needed needed = none;
    if (partOf.empty())
      return needed;
    for (Value input : inputsOf(op)) {
      Operation *producer = input.getDefiningOp();
      if (!producer)
        continue;
      Needed from = none;
      if (auto part = partOf.find(producer); part != partOf.end())
        from = part->second;
      else if (auto at = neededBy.find(producer); at != neededBy.end())
        from = at->second;
      if (from != none)
        needed = needed == none || needed == from ? from : several;
    }
    return needed;
  }

  /// Whether `op`, in the part of that number, writes a file that another part has written: the last one stays.
  bool savesAgain(Operation *op, size_t part) {
    bool again = false;
    op->walk([&](study::SaveOp save) { again |= saved.try_emplace(save.getName(), part).first->second != part; });
    return again && !parts.empty();
  }

  /// The parts so far end before `next`; two and more become one op there.
  void close(Operation *next) {
    if (parts.size() > 1) {
      takeArithmetic(next);
      build(next);
    }
    parts.clear();
    partOf.clear();
    neededBy.clear();
    saved.clear();
  }

  /// The part that alone reads what `op` computes, if there is one.
  std::optional<unsigned> onlyReader(Operation *op) {
    std::optional<unsigned> reader;
    for (Operation *user : op->getUsers()) {
      auto part = partOf.find(block.findAncestorOpInBlock(*user));
      if (part == partOf.end() || (reader && *reader != part->second))
        return std::nullopt;
      reader = part->second;
    }
    return reader;
  }

  /// Arithmetic goes with the part that alone reads it; what it reads of that part's must go with it in any case.
  void takeArithmetic(Operation *next) {
    for (Operation *op = next->getPrevNode(); op; op = op->getPrevNode()) {
      if (!isArithmetic(op))
        continue;
      std::optional<unsigned> part = onlyReader(op);
      if (!part && isRead(op))
        if (auto at = neededBy.find(op); at != neededBy.end() && at->second != several)
          part = unsigned(at->second);
      if (part)
        partOf[op] = *part;
    }
  }
  /// Whether a part reads it.
  bool isRead(Operation *op) {
    return llvm::any_of(op->getUsers(),
                        [&](Operation *user) { return partOf.contains(block.findAncestorOpInBlock(*user)); });
  }

  void build(Operation *next) {
    SmallVector<SmallVector<Operation *>> members(parts.size());
    SmallVector<Operation *> after; // arithmetic on results that no part reads
    for (Operation &op : llvm::make_range(block.begin(), next->getIterator()))
      if (auto part = partOf.find(&op); part != partOf.end())
        members[part->second].push_back(&op);
      else if (neededBy.contains(&op))
        after.push_back(&op);

    SmallVector<Value> escaping;
    SmallVector<Type> types;
    SmallVector<size_t> ends; // of each part's values in `escaping`
    for (auto [part, ops] : llvm::enumerate(members)) {
      for (Operation *op : ops)
        for (Value result : op->getResults())
          if (llvm::any_of(result.getUsers(), [&](Operation *user) { return !isIn(part, user); })) {
            escaping.push_back(result);
            types.push_back(result.getType());
          }
      ends.push_back(escaping.size());
    }

    OpBuilder builder(next);
    auto together = study::TogetherOp::create(builder, parts.front().front()->getLoc(), types, unsigned(parts.size()));
    for (auto [value, result] : llvm::zip_equal(escaping, together.getResults())) {
      unsigned part = partOf.lookup(value.getDefiningOp());
      value.replaceUsesWithIf(result, [&](OpOperand &use) { return !isIn(part, use.getOwner()); });
    }
    size_t first = 0;
    for (auto [region, ops, end] : llvm::zip_equal(together.getBranches(), members, ends)) {
      Block &body = region.emplaceBlock();
      for (Operation *op : ops)
        op->moveBefore(&body, body.end());
      repeatCheap(body);
      builder.setInsertionPointToEnd(&body);
      study::YieldOp::create(builder, together.getLoc(), ArrayRef(escaping).slice(first, end - first));
      first = end;
    }
    Operation *last = together;
    for (Operation *op : after) {
      op->moveAfter(last);
      last = op;
    }
  }

  bool isIn(unsigned part, Operation *user) {
    auto at = partOf.find(block.findAncestorOpInBlock(*user));
    return at != partOf.end() && at->second == part;
  }

  /// What is cheap and shared with other parts is computed by each of them.
  void repeatCheap(Block &body) {
    llvm::MapVector<Operation *, Operation *> copies;
    for (Operation &op : llvm::make_early_inc_range(body))
      for (OpOperand &operand : op.getOpOperands()) {
        Operation *producer = operand.get().getDefiningOp();
        if (!producer || producer->getBlock() == &body || !isCheap(producer))
          continue;
        Operation *&copy = copies[producer];
        if (!copy) {
          copy = producer->clone();
          body.push_front(copy);
        }
        operand.set(copy->getResult(0));
      }
  }

  Block &block;
  SmallVector<SmallVector<Operation *>> parts; // what each does, without its arithmetic
  llvm::DenseMap<Operation *, unsigned> partOf;
  llvm::DenseMap<Operation *, Needed> neededBy; // of arithmetic that is computed from parts' results
  llvm::StringMap<size_t> saved;                // of a file's name, the part
};

struct Together : PassWrapper<Together, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(Together)
  StringRef getArgument() const final { return "study-together"; }
  StringRef getDescription() const final { return "Say which parts of a study need nothing of each other"; }

  void runOnOperation() final {
    if (auto study = getOperation().lookupSymbol<func::FuncOp>("study"))
      group(study.getBody().front());
  }

  /// Of loops within a loop, too: those within a training are left alone.
  void group(Block &block) {
    for (auto loop : block.getOps<study::ForOp>()) {
      group(loop.getBody().front());
      loop.setIndependent(loop.getInits().empty() && keepsToItself(loop) && savesByTurn(loop));
    }
    BlockGrouper(block).run();
  }
};

} // namespace

std::unique_ptr<Pass> hw::createTogetherPass() { return std::make_unique<Together>(); }
