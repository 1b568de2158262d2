// Deciding what is kept in memory and what runs together.
//
// A value is kept if something needs its address (a contraction's operand, the runtime, the caller), if it is the
// result of a reduction or contraction, or if several kernels use it and computing it again costs more than a load. The
// rest is computed inside the kernels of its users. Kept values of one domain whose dependences allow it then share a
// kernel: three sums over one array are one pass over it.
#include "backend/steps/Fusion.h"
#include "backend/Cost.h"
#include "backend/dialect/Dialect.h"
#include "backend/graph/Decompose.h"
#include "backend/graph/Epilogue.h"
#include "backend/graph/View.h"
#include "backend/steps/Elementwise.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/ADT/TypeSwitch.h"
#include <functional>
#include <queue>

using namespace mlir;
using namespace hw;
using namespace hw::backend;

/// A call of the runtime, or a map, which reads its operands as they lie in memory.
static bool isLibraryCall(Operation *op) {
  return isa<CholeskyOp, TriangularSolveOp, LuSolveOp, WholeOp, ConvolutionOp, MapOp>(op);
}

//===--------------------------------------------------------------------------------------------------------------===//
// The plan's own questions
//===--------------------------------------------------------------------------------------------------------------===//

namespace {

/// Values in memory that `root` reads; those read elsewhere than at the domain's own index are also put into `moved`.
void collectReads(const FusionPlan &plan, Value value, bool atPoint, llvm::SetVector<Value> &reads,
                  llvm::DenseSet<Value> &moved, llvm::DenseSet<std::pair<Value, char>> &seen) {
  SmallVector<std::pair<Value, bool>> stack{{value, atPoint}};
  while (!stack.empty()) {
    auto [current, here] = stack.pop_back_val();
    if (!seen.insert({current, char(here)}).second)
      continue;
    Operation *op = current.getDefiningOp();
    if (isa_and_nonnull<ConstantOp>(op) && !isDenseConstant(current))
      continue; // part of the code
    if (!op || plan.isStored(current) || isDenseConstant(current)) {
      reads.insert(current);
      if (!here)
        moved.insert(current);
      continue;
    }
    if (!isInlinable(op))
      continue; // a contraction's product, in its own epilogue
    bool staysHere = here && (elementwiseOp(op) || isa<StopGradientOp>(op));
    for (Value operand : op->getOperands())
      stack.push_back({operand, staysHere});
  }
}

void collectReads(const FusionPlan &plan, const RootSpec &root, llvm::SetVector<Value> &reads,
                  llvm::DenseSet<Value> &moved) {
  llvm::DenseSet<std::pair<Value, char>> seen;
  // A stored source is looked through once: the root computes it.
  Operation *op = root.source.getDefiningOp();
  bool computes = root.source == root.dest;
  if (!computes || !op)
    return collectReads(plan, root.source, true, reads, moved, seen);
  if (isa<DotGeneralOp>(op))
    return;
  bool staysHere = elementwiseOp(op) || isa<StopGradientOp>(op);
  for (Value operand : op->getOperands())
    collectReads(plan, operand, staysHere, reads, moved, seen);
}

} // namespace

llvm::SetVector<Value> FusionPlan::reads(const Unit &unit) const {
  llvm::SetVector<Value> reads;
  llvm::DenseSet<Value> moved;
  llvm::DenseSet<std::pair<Value, char>> seen;
  for (const RootSpec &root : unit.roots) {
    collectReads(*this, root, reads, moved);
    if (auto scatter = dyn_cast<ScatterAddOp>(root.op))
      collectReads(*this, scatter.getIndices(), false, reads, moved, seen);
  }
  // The runtime reads its operands whole, as they are stored; a contraction what they are views of.
  if (unit.kind == Unit::Library)
    for (Value operand : unit.op->getOperands())
      reads.insert(reshapedBase(operand));
  if (unit.kind == Unit::Contract)
    for (Value operand : unit.op->getOperands())
      reads.insert(viewOf(operand, [](Value) {}).base);
  if (unit.external)
    if (Value bias = matchEpilogue(cast<DotGeneralOp>(unit.op)).bias)
      reads.insert(bias);
  return reads;
}

unsigned FusionPlan::add(Unit unit) {
  units.push_back(std::move(unit));
  levels.push_back(0);
  waiting.emplace_back();
  return unsigned(units.size()) - 1;
}

void FusionPlan::wait(unsigned unit, unsigned before) {
  if (!units[unit].after.insert(before))
    return;
  waiting[before].push_back(unit);
  SmallVector<unsigned> raised{before};
  while (!raised.empty()) {
    unsigned low = raised.pop_back_val();
    for (unsigned next : waiting[low])
      if (levels[next] <= levels[low]) {
        levels[next] = levels[low] + 1;
        raised.push_back(next);
      }
  }
}

llvm::DenseSet<unsigned> FusionPlan::before(ArrayRef<unsigned> units, unsigned level) const {
  llvm::DenseSet<unsigned> found;
  SmallVector<unsigned> stack(units);
  while (!stack.empty())
    for (unsigned before : this->units[stack.pop_back_val()].after)
      if (levels[before] >= level && found.insert(before).second)
        stack.push_back(before);
  return found;
}

void FusionPlan::sort() {
  // The first unit in program order that is ready, so that values die early.
  SmallVector<unsigned> waiting(units.size(), 0);
  SmallVector<SmallVector<unsigned, 4>> next(units.size());
  std::priority_queue<unsigned, std::vector<unsigned>, std::greater<>> ready;
  for (unsigned unit = 0; unit < units.size(); ++unit) {
    waiting[unit] = units[unit].after.size();
    for (unsigned before : units[unit].after)
      next[before].push_back(unit);
    if (!waiting[unit])
      ready.push(unit);
  }
  order.clear();
  while (!ready.empty()) {
    unsigned unit = ready.top();
    ready.pop();
    order.push_back(unit);
    for (unsigned after : next[unit])
      if (--waiting[after] == 0)
        ready.push(after);
  }
}

//===--------------------------------------------------------------------------------------------------------------===//
// Planning
//===--------------------------------------------------------------------------------------------------------------===//

namespace {

class Planner {
public:
  Planner(Block &block, const FusionOptions &options) : block(block), options(options) {}

  FusionPlan run() {
    for (Operation &op : block)
      if (!op.hasTrait<OpTrait::IsTerminator>())
        ops.push_back(&op);
    storeWhatMustBe();
    boundDepth();
    if (options.fuse)
      storeWhatPays();
    for (Operation *op : ops)
      makeUnits(op);
    dropPrivate();
    plan.sort();
    return std::move(plan);
  }

private:
  void force(Value value) {
    Operation *op = value.getDefiningOp();
    if (op && !isDenseConstant(value))
      plan.stored.insert(value);
  }

  void storeWhatMustBe() {
    auto forceBase = [&](Value value) { force(value); };
    for (Operation *op : ops) {
      if (!isInlinable(op) || op->hasAttr("hw.keep") ||
          (!options.fuse && elementwiseOp(op) && !isPart(op) && isFloat(dtypeOf(elementOf(op->getResult(0))))))
        for (Value result : op->getResults())
          plan.stored.insert(result);
      if (auto dot = dyn_cast<DotGeneralOp>(op)) {
        for (Value operand : op->getOperands())
          viewOf(operand, forceBase);
        if (isExternal(dot)) {
          Epilogue pattern = matchEpilogue(dot);
          if (pattern.bias)
            force(pattern.bias);
          if (pattern.result != dot.getResult()) {
            plan.stored.erase(dot.getResult());
            plan.stored.insert(pattern.result);
            absorbed.insert(pattern.result.getDefiningOp());
          }
        }
      } else if (isLibraryCall(op)) {
        for (Value operand : op->getOperands())
          force(reshapedBase(operand));
      } else if (isPart(op) && isa<WindowsOp, BroadcastOp, ReverseOp, ReshapeOp>(op)) {
        // A convolution reads its operands again and again.
        if (Operation *producer = op->getOperand(0).getDefiningOp(); producer && !isPart(producer))
          viewOf(op->getOperand(0), forceBase);
      }
      if (auto reshape = dyn_cast<ReshapeOp>(op)) {
        Value base = reshapedBase(reshape);
        if (!differInUnits(shapeOf(base), shapeOf(reshape)) && !isUniform(base))
          force(base);
      }
    }
    for (Value result : block.getTerminator()->getOperands())
      force(result);
  }

  /// Who follows what is computed where it is used recurses: no chain of it is as long as a program may be.
  void boundDepth() {
    llvm::DenseMap<Value, unsigned> depths;
    for (Operation *op : ops) {
      if (!isInlinable(op) || plan.isStored(op->getResult(0)))
        continue;
      unsigned depth = 0;
      for (Value operand : op->getOperands())
        depth = std::max(depth, depths.lookup(operand) + 1);
      if (depth > 200 && !isPart(op))
        plan.stored.insert(op->getResult(0));
      else
        depths[op->getResult(0)] = depth;
    }
  }

  /// The same number everywhere: no memory needed, whatever the shape.
  static bool isUniform(Value value) {
    while (auto broadcast = value.getDefiningOp<BroadcastOp>()) {
      value = broadcast.getOperand();
      if (typeOf(value).getNumElements() == 1)
        return true;
    }
    return value.getDefiningOp<ConstantOp>() && !isDenseConstant(value);
  }

  /// Additions an element; a load counts as one, or as none where it serves many elements.
  static unsigned ownCost(Operation *op) {
    if (isa<RandomBitsOp>(op))
      return costOf(Opcode::Random);
    if (isa<GatherOp>(op))
      return 4;
    auto kind = elementwiseOp(op);
    return kind ? costOf(*kind) * (elementOf(op->getResult(0)).isF64() ? 2 : 1) : 0;
  }

  void storeWhatPays() {
    // Costs of computing a value where it is used, from its operands on; and how many nodes that takes.
    llvm::DenseMap<Value, unsigned> cost;
    for (Operation *op : ops) {
      if (!isInlinable(op))
        continue;
      Value result = op->getResult(0);
      unsigned total = ownCost(op), size = 1;
      for (Value operand : op->getOperands()) {
        bool isLoad = !operand.getDefiningOp() || plan.isStored(operand) || isDenseConstant(operand);
        total += isLoad ? sizeOf(operand) >= sizeOf(result) : cost.lookup(operand);
        size += isLoad ? 1 : nodes.lookup(operand);
      }
      // Code must not grow without bound where values are used again and again. (Parts share what they use again.)
      if (size > 200 && elementwiseOp(op) && !isPart(op)) {
        plan.stored.insert(result);
        total = size = 1;
      }
      bool isShared = !result.hasOneUse() && !result.use_empty();
      cost[result] = isShared && !isRecomputed(result, total) && elementwiseOp(op) ? 2 : total;
      fullCost[result] = total;
      nodes[result] = size;
    }
    for (Operation *op : llvm::reverse(ops))
      if (isInlinable(op))
        decide(op);
  }

  static bool isRecomputed(Value value, unsigned cost) {
    return prefersRecomputing(cost, sizeOf(value), bytesOf(dtypeOf(elementOf(value))));
  }

  static int64_t sizeOf(Value value) { return typeOf(value).getNumElements(); }

  unsigned classOf(ArrayRef<int64_t> domain, StringRef kind) {
    std::string key = kind.str();
    for (int64_t size : domain)
      key += "x" + std::to_string(size);
    return classes.try_emplace(key, unsigned(classes.size())).first->second;
  }

  /// Which kinds of kernels would compute the value inline, and the largest number of points of one.
  void decide(Operation *op) {
    Value value = op->getResult(0);
    auto &kernels = inlinedBy[value];
    int64_t &points = largest[value];
    for (Operation *user : value.getUsers()) {
      if (user->hasTrait<OpTrait::IsTerminator>() || isa<DotGeneralOp>(user) || isLibraryCall(user))
        continue; // these need it stored, if at all: a view's base was forced
      Value result = user->getResult(0);
      if (isInlinable(user) && !plan.isStored(result)) {
        kernels.insert(inlinedBy[result].begin(), inlinedBy[result].end());
        points = std::max(points, largest[result]);
      } else if (isInlinable(user)) {
        kernels.insert(classOf(shapeOf(result), ""));
        points = std::max(points, sizeOf(result));
      } else {
        std::string kind;
        if (auto sum = dyn_cast<ReduceSumOp>(user))
          for (int64_t dim : sum.getDims())
            kind += "r" + std::to_string(dim);
        else if (!isa<PadOp, ConcatOp>(user))
          kind = user->getName().getStringRef();
        kernels.insert(classOf(shapeOf(value), kind));
        points = std::max(points, sizeOf(value));
      }
    }
    if (plan.isStored(value)) {
      kernels.clear();
      return;
    }
    if (isa<ConstantOp, IotaOp>(op) || isUniform(value) || isPart(op))
      return;
    // A view computes nothing itself: what it shows decides.
    if (!elementwiseOp(op) && !isa<GatherOp, RandomBitsOp>(op))
      return;
    unsigned total = fullCost.lookup(value);
    bool isScalar = sizeOf(value) == 1;
    bool repeats = !isScalar && points > sizeOf(value) && total > 3;
    bool again = kernels.size() > 1 && !isRecomputed(value, total);
    if (repeats || again) {
      plan.stored.insert(value);
      kernels.clear();
    }
  }

  //===-- Units ---------------------------------------------------------------------------------------------------===//

  bool isExternal(DotGeneralOp dot) { return goesToLibrary(dot, options.products); }

  /// What oneDNN does with the product: adds a bias to each row and applies an activation, where nothing else wants
  /// what is in between.
  Epilogue matchEpilogue(DotGeneralOp dot) {
    return options.fuse ? hw::backend::matchEpilogue(dot) : Epilogue{{}, 0, dot.getResult()};
  }

  void makeUnits(Operation *op) {
    if (absorbed.contains(op))
      return;
    if (isInlinable(op)) {
      if (plan.isStored(op->getResult(0)))
        addRoot({RootKind::Store, op, op->getResult(0), op->getResult(0)}, shapeOf(op->getResult(0)), 0);
      return;
    }
    llvm::TypeSwitch<Operation *>(op)
        .Case<ReduceSumOp>([&](ReduceSumOp sum) {
          addRoot({RootKind::Sum, op, sum.getOperand(), sum.getResult()}, shapeOf(sum.getOperand()),
                  maskOf(sum.getDims()));
        })
        .Case<ReduceMaxOp>([&](ReduceMaxOp max) {
          addRoot({RootKind::Max, op, max.getOperand(), max.getValue()}, shapeOf(max.getOperand()),
                  maskOf(int64_t(max.getDim())));
        })
        .Case<PadOp>([&](PadOp pad) {
          unsigned fill = addUnit(Unit{Unit::Fill, op, {}, 0, false, {{RootKind::Store, op, {}, pad.getResult()}}, {}});
          unsigned unit =
              addRoot({RootKind::Store, op, pad.getOperand(), pad.getResult()}, shapeOf(pad.getOperand()), 0);
          plan.wait(unit, fill);
        })
        .Case<ConcatOp>([&](ConcatOp concat) {
          int64_t at = 0;
          for (Value operand : concat.getOperands()) {
            addRoot({RootKind::Store, op, operand, concat.getResult(), at}, shapeOf(operand), 0);
            at += shapeOf(operand)[concat.getDim()];
          }
        })
        .Case<ScatterAddOp>([&](ScatterAddOp scatter) {
          unsigned fill =
              addUnit(Unit{Unit::Fill, op, {}, 0, false, {{RootKind::Store, op, {}, scatter.getResult()}}, {}});
          Unit unit{Unit::Loops, op, SmallVector<int64_t, 4>(shapeOf(scatter.getUpdates())), 0, false, {}, {}};
          unit.roots.push_back({RootKind::Scatter, op, scatter.getUpdates(), scatter.getResult()});
          plan.wait(addUnit(std::move(unit)), fill);
        })
        .Case<DotGeneralOp>([&](DotGeneralOp dot) {
          Unit unit{Unit::Contract, op, SmallVector<int64_t, 4>(shapeOf(dot.getResult())), 0, false, {}, {}};
          unit.external = isExternal(dot);
          Value result = unit.external ? matchEpilogue(dot).result : Value(dot.getResult());
          unit.roots.push_back({RootKind::Store, op, unit.external ? Value() : result, result});
          addUnit(std::move(unit));
        })
        .Default([&](Operation *) {
          Unit unit{Unit::Library, op, {}, 0, false, {}, {}};
          for (Value result : op->getResults())
            unit.roots.push_back({RootKind::Store, op, {}, result});
          addUnit(std::move(unit));
        });
  }

  static uint64_t maskOf(ArrayRef<int64_t> dims) {
    uint64_t mask = 0;
    for (int64_t dim : dims)
      mask |= 1ull << dim;
    return mask;
  }

  void noteProducer(Value value, unsigned unit) {
    auto &list = plan.producers[value];
    if (!llvm::is_contained(list, unit))
      list.push_back(unit);
  }
  void noteProducers(const RootSpec &root, unsigned unit) {
    noteProducer(root.dest, unit);
    if (auto max = dyn_cast<ReduceMaxOp>(root.op))
      noteProducer(max.getIndex(), unit);
  }

  llvm::SmallSetVector<unsigned, 8> producersOf(const llvm::SetVector<Value> &values) const {
    llvm::SmallSetVector<unsigned, 8> producers;
    for (Value value : values)
      if (auto at = plan.producers.find(value); at != plan.producers.end())
        producers.insert(at->second.begin(), at->second.end());
    return producers;
  }

  void waitForProducers(unsigned unit, const llvm::SetVector<Value> &reads) {
    for (unsigned producer : producersOf(reads))
      if (producer != unit)
        plan.wait(unit, producer);
  }

  unsigned addUnit(Unit unit) {
    // The source of a library call or a filling is empty: it reads its operands whole.
    Unit readsOf = unit;
    llvm::erase_if(readsOf.roots, [](const RootSpec &root) { return !root.source; });
    llvm::SetVector<Value> reads = plan.reads(readsOf);
    unsigned number = plan.add(std::move(unit));
    waitForProducers(number, reads);
    for (const RootSpec &root : plan.units[number].roots)
      noteProducers(root, number);
    unitsOf[plan.units[number].domain].push_back(number);
    return number;
  }

  /// Into a unit of the same domain, if dependences allow, else a new one.
  unsigned addRoot(RootSpec root, ArrayRef<int64_t> domain, uint64_t reduced) {
    llvm::SetVector<Value> reads;
    llvm::DenseSet<Value> moved;
    collectReads(plan, root, reads, moved);
    // A copy laid out for a product or a convolution stands alone: it is made when it is wanted, and reads its operand
    // in an order in which no one may write over it meanwhile.
    if (options.fuse && !root.op->hasAttr("hw.pack"))
      if (std::optional<unsigned> number = unitToJoin(root, domain, reduced, reads, moved)) {
        waitForProducers(*number, reads);
        plan.units[*number].reduced |= reduced;
        plan.units[*number].roots.push_back(root);
        codeOf[*number] += nodes.lookup(root.source);
        noteProducers(root, *number);
        return *number;
      }
    Unit unit{Unit::Loops, root.op, SmallVector<int64_t, 4>(domain), reduced, false, {}, {}};
    unit.roots.push_back(root);
    unsigned number = addUnit(std::move(unit));
    codeOf[number] = nodes.lookup(root.source);
    return number;
  }

  /// The latest unit that the root joins. Who comes far behind a unit finds nothing of it in the cache any more: so not
  /// all units are asked, and the time it takes does not grow with the program.
  std::optional<unsigned> unitToJoin(const RootSpec &root, ArrayRef<int64_t> domain, uint64_t reduced,
                                     const llvm::SetVector<Value> &reads, const llvm::DenseSet<Value> &moved) {
    const llvm::SmallSetVector<unsigned, 8> producers = producersOf(reads);
    const auto &alike = unitsOf[SmallVector<int64_t, 4>(domain)];
    SmallVector<unsigned> fit;
    for (unsigned number : ArrayRef(alike).take_back(256))
      if (joins(number, root, domain, reduced, reads, moved, producers))
        fit.push_back(number);
    if (fit.empty())
      return std::nullopt;
    // A unit cannot wait for what waits for it.
    unsigned level = plan.levelOf(fit[0]);
    for (unsigned number : fit)
      level = std::min(level, plan.levelOf(number));
    const llvm::DenseSet<unsigned> before = plan.before(producers.getArrayRef(), level);
    for (unsigned number : llvm::reverse(fit))
      if (!before.contains(number))
        return number;
    return std::nullopt;
  }

  /// Whether the unit takes the root, if the order of units allows it.
  bool joins(unsigned number, const RootSpec &root, ArrayRef<int64_t> domain, uint64_t reduced,
             const llvm::SetVector<Value> &reads, const llvm::DenseSet<Value> &moved,
             const llvm::SmallSetVector<unsigned, 8> &producers) {
    const Unit &unit = plan.units[number];
    if (unit.kind == Unit::Fill || unit.kind == Unit::Library || unit.roots.size() >= 12 || unit.op->hasAttr("hw.pack"))
      return false;
    if (llvm::any_of(unit.roots, [](const RootSpec &other) { return other.kind == RootKind::Scatter; }))
      return false;
    // LLVM's time grows faster than the code of a loop.
    if (unsigned code = nodes.lookup(root.source); code > 100 && codeOf.lookup(number) + code > 600)
      return false;
    if (unit.kind == Unit::Contract && !joinsProduct(number, root, reduced, reads))
      return false;
    if (unit.reduced && reduced && unit.reduced != reduced)
      return false;
    // Sums along different kinds of roots keep their registers apart, but a maximum brings two a value.
    bool hasMax = llvm::any_of(unit.roots, [](const RootSpec &other) { return other.kind == RootKind::Max; });
    if ((hasMax && reduced) || (root.kind == RootKind::Max && unit.reduced))
      return false;
    if (llvm::all_of(domain, [](int64_t size) { return size == 1; }) && !waitsForTheSame(number, producers))
      return false; // single numbers cost nothing apart, but would wait for each other's operands
    if (!producers.contains(number))
      return true;
    // Computed at this very point: used from the register. Anything else of this unit is not there yet.
    return llvm::all_of(reads, [&](Value value) {
      auto at = plan.producers.find(value);
      return at == plan.producers.end() || !llvm::is_contained(at->second, number) ||
             (!moved.contains(value) && llvm::any_of(unit.roots, [&](const RootSpec &other) {
               return other.dest == value && other.kind == RootKind::Store && other.source == other.dest;
             }));
    });
  }

  /// Whether what the producers need to have run is what the unit waits for anyway, or the unit itself.
  bool waitsForTheSame(unsigned number, const llvm::SmallSetVector<unsigned, 8> &producers) const {
    if (producers.contains(number))
      return true;
    return producers.size() == plan.units[number].after.size() &&
           llvm::all_of(producers, [&](unsigned unit) { return plan.units[number].after.contains(unit); });
  }

  /// What a generated product's epilogue takes: elementwise computation on what is there, and sums of it over the rows.
  bool joinsProduct(unsigned number, const RootSpec &root, uint64_t reduced, const llvm::SetVector<Value> &reads) {
    const Unit &unit = plan.units[number];
    auto dot = cast<DotGeneralOp>(unit.op);
    if (unit.external ||
        llvm::none_of(reads, [&](Value value) { return llvm::is_contained(plan.producers.lookup(value), number); }))
      return false;
    bool isRowSum = root.kind == RootKind::Sum && reduced == 1 && dot.getLhsBatch().empty() && !dot.lhsFree().empty() &&
                    isFloat(dtypeOf(elementOf(root.dest)));
    return reduced ? isRowSum : root.source == root.dest;
  }

  /// Values that only their own unit uses stay in registers.
  void dropPrivate() {
    if (!options.fuse)
      return;
    llvm::DenseMap<Value, llvm::SmallSetVector<unsigned, 4>> readers;
    for (auto [number, unit] : llvm::enumerate(plan.units)) {
      Unit readsOf = unit;
      llvm::erase_if(readsOf.roots, [](const RootSpec &root) { return !root.source; });
      for (Value value : plan.reads(readsOf))
        readers[value].insert(number);
    }
    auto results = block.getTerminator()->getOperands();
    for (auto [number, unit] : llvm::enumerate(plan.units)) {
      bool isProduct = unit.kind == Unit::Contract;
      if ((unit.kind != Unit::Loops && !isProduct) || unit.external)
        continue;
      llvm::erase_if(unit.roots, [&, number = number](const RootSpec &root) {
        if (root.kind != RootKind::Store || root.source != root.dest || llvm::is_contained(results, root.dest))
          return false;
        auto &list = readers[root.dest];
        if (list.size() != 1 || list[0] != number)
          return false;
        plan.stored.erase(root.dest);
        plan.producers.erase(root.dest);
        return true;
      });
    }
  }

  Block &block;
  const FusionOptions &options;
  FusionPlan plan;
  SmallVector<Operation *> ops;
  llvm::DenseMap<Value, unsigned> fullCost;
  llvm::DenseMap<Value, unsigned> nodes;     // how many it takes to compute a value where it is used
  llvm::DenseMap<unsigned, unsigned> codeOf; // a unit's nodes, about
  llvm::DenseMap<Value, llvm::SmallDenseSet<unsigned, 4>> inlinedBy;
  llvm::DenseMap<Value, int64_t> largest;
  std::map<std::string, unsigned> classes;
  std::map<llvm::SmallVector<int64_t, 4>, SmallVector<unsigned>> unitsOf; // by domain
  llvm::DenseSet<Operation *> absorbed;                                   // into an external product
};

} // namespace

FusionPlan hw::backend::planFusion(Block &block, const FusionOptions &options) { return Planner(block, options).run(); }
