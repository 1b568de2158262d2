// Schedules steps, and completes the sums whose terms are spread over tasks.
//
// A task adds its part of a sum to a row of partial sums of its own. Tasks depend on sizes only, and partial sums are
// added in the order of tasks: results do not depend on the number of threads.
#include "backend/steps/Split.h"
#include "backend/Cost.h"
#include "backend/graph/View.h"

using namespace mlir;
using namespace hw;
using namespace hw::backend;

std::optional<Step> hw::backend::detachEpilogue(StepList &list, Stage &stage) {
  Kernel &kernel = stage.kernel;
  const Product &p = stage.product;
  if (kernel.roots.size() == 1 && kernel.nodes[kernel.roots[0].node].op == Opcode::Product)
    return std::nullopt;
  int sum = list.addScratch(p.type, kernel.points());
  Linear address(kernel.domain.size());
  auto strides = stridesOf(kernel.domain);
  address.coefficients.assign(strides.begin(), strides.end());
  Step rest(Step::Region, stage.loc);
  rest.stages.push_back(Stage(Stage::Loops, stage.loc, stage.op));
  rest.stages[0].kernel = rewritten(kernel, [&](Kernel &into, const Node &node) -> std::optional<int> {
    if (node.op != Opcode::Product)
      return std::nullopt;
    Node load{Opcode::Load, p.type, {}, address};
    load.buffer = into.bufferIndex(sum, p.type);
    return into.add(std::move(load));
  });
  Kernel bare;
  bare.domain = kernel.domain;
  int node = bare.add({Opcode::Product, p.type, {}, Linear(kernel.domain.size())});
  bare.roots.push_back({RootKind::Store, node, bare.bufferIndex(sum, p.type), address});
  kernel = std::move(bare);
  return rest;
}

namespace {

class Scheduler {
public:
  Scheduler(StepList &list, const Target &target) : list(list), target(target) {}

  void run() {
    std::vector<Step> waiting = std::move(list.steps);
    list.steps.clear();
    std::reverse(waiting.begin(), waiting.end());
    while (!waiting.empty()) {
      Step step = std::move(waiting.back());
      waiting.pop_back();
      if (step.kind != Step::Region) {
        list.steps.push_back(std::move(step));
        continue;
      }
      if (step.stages.size() == 1)
        if (auto rest = scheduleOne(step))
          waiting.push_back(std::move(*rest));
      for (Stage &stage : step.stages)
        boundRanges(stage, std::min(step.tile, step.chunk));
      std::vector<Step> completions = splitSums(step, waiting);
      list.steps.push_back(std::move(step));
      for (Step &completion : llvm::reverse(completions))
        waiting.push_back(std::move(completion));
    }
  }

private:
  /// Returns what is left to do behind the step.
  std::optional<Step> scheduleOne(Step &step) {
    Stage &stage = step.stages[0];
    bool isCold = stage.kernel.schedule.isCold;
    if (stage.kind == Stage::Loops && isCold)
      return std::nullopt;
    if (stage.kind == Stage::Loops) {
      collapse(stage.kernel);
      chooseLoops(stage.kernel, -1, 0, target);
      chooseTasks(step, target);
      return std::nullopt;
    }
    setTiling(stage, stage.product.m, target);
    if (isCold) {
      stage.tiling.rows = stage.tiling.vectors = 1;
      return std::nullopt;
    }
    chooseTasks(step, target);
    return stage.tiling.range == Role::Contracted ? detachEpilogue(list, stage) : std::nullopt;
  }

  /// Ranges are no longer than `longest`: how long a chain of additions one may be.
  static void boundRanges(Stage &stage, int64_t longest) {
    Schedule &s = stage.kernel.schedule;
    if (stage.kind == Stage::Contract && stage.tiling.range == Role::Contracted)
      stage.tiling.longest = longest;
    if (stage.kind == Stage::Loops && s.rangeDim >= 0 && stage.kernel.reduced >> s.rangeDim & 1)
      s.longest = longest;
  }

  /// Gives the step partial sums where it has several tasks; returns the steps that complete them.
  std::vector<Step> splitSums(Step &step, std::vector<Step> &later) {
    std::vector<Step> completions;
    int64_t tasks = step.tasks();
    for (Stage &stage : step.stages) {
      Kernel &kernel = stage.kernel;
      bool isSum = stage.kind == Stage::Contract && stage.tiling.range == Role::Contracted;
      // A product's column sums are added to memory tile by tile; others may start in registers.
      bool inTiles = stage.kind == Stage::Contract && kernel.reduced;
      bool overRange =
          stage.kind == Stage::Loops && kernel.schedule.rangeDim >= 0 && kernel.reduced >> kernel.schedule.rangeDim & 1;
      if (!isSum && !inTiles && !overRange)
        continue;
      kernel.schedule.accumulates = !inTiles && step.tile < step.chunk;
      for (Root &root : kernel.roots) {
        if (root.kind != RootKind::Sum && !isSum)
          continue;
        int sum = kernel.buffers[root.buffer];
        DType type = kernel.bufferTypes[root.buffer];
        int64_t elements = list.buffers[sum].elements;
        bool startsAtZero = inTiles || kernel.schedule.accumulates;
        // What takes over an argument's memory must not be set to zero before a stage of the region has read that.
        bool isRead = list.accessOf(step).reads.contains(list.sameMemory.lookup_or(sum, sum));
        if (tasks == 1 && !(startsAtZero && isRead)) {
          if (startsAtZero)
            step.partials.push_back({sum, elements, true});
          continue;
        }
        int partial = list.addScratch(type, elements * tasks);
        kernel.buffers[root.buffer] = partial; // sums have their buffers to themselves
        step.partials.push_back({partial, elements, startsAtZero});
        if (!forward(sum, partial, tasks, later))
          completions.push_back(complete(sum, partial, tasks, stage.loc));
      }
    }
    return completions;
  }

  /// The sum of a value's parts number `first` to `first + tasks - 1`, in pairs.
  static int sumOf(Kernel &kernel, DType type, int buffer, const Linear &address, int64_t elements, int64_t tasks,
                   int64_t first = 0) {
    if (tasks == 1) {
      Node load{Opcode::Load, type, {}, address};
      load.index.constant += first * elements;
      load.buffer = kernel.bufferIndex(buffer, type);
      return kernel.add(std::move(load));
    }
    int64_t half = tasks / 2;
    int low = sumOf(kernel, type, buffer, address, elements, half, first),
        high = sumOf(kernel, type, buffer, address, elements, tasks - half, first + half);
    return kernel.add({Opcode::Add, type, {low, high}, Linear(kernel.domain.size())});
  }

  Step complete(int sum, int partial, int64_t tasks, Location loc) {
    const Buffer &b = list.buffers[sum];
    Step step(Step::Region, loc);
    step.stages.push_back(Stage(Stage::Loops, loc, nullptr));
    Kernel &kernel = step.stages[0].kernel;
    kernel.domain.push_back(b.elements);
    int node = sumOf(kernel, b.type, partial, Linear::dim(1, 0), b.elements, tasks);
    kernel.roots.push_back({RootKind::Store, node, kernel.bufferIndex(sum, b.type), Linear::dim(1, 0)});
    return step;
  }

  /// Lets the readers of a sum add up its parts themselves, where each element is read about once.
  bool forward(int sum, int partial, int64_t tasks, std::vector<Step> &later) {
    const Buffer b = list.buffers[sum];
    if (b.place != Buffer::Scratch)
      return false;
    SmallVector<Stage *> readers;
    for (Step &step : later) {
      if (!list.accessOf(step).reads.contains(sum))
        continue;
      if (step.kind != Step::Region)
        return false;
      for (Stage &stage : step.stages) {
        if (!list.accessOf(stage).reads.contains(sum))
          continue;
        bool isOperand = llvm::is_contained(stage.operands, sum);
        if (isOperand || stage.kernel.points() > 2 * b.elements || step.stages.size() > 1)
          return false;
        readers.push_back(&stage);
      }
    }
    if (readers.size() > 2)
      return false;
    for (Stage *reader : readers)
      reader->kernel = rewritten(reader->kernel, [&](Kernel &into, const Node &node) -> std::optional<int> {
        if (node.op != Opcode::Load || reader->kernel.buffers[node.buffer] != sum)
          return std::nullopt;
        return sumOf(into, b.type, partial, node.index, b.elements, tasks);
      });
    return true;
  }

  StepList &list;
  const Target &target;
};

} // namespace

void hw::backend::scheduleSteps(StepList &list, const Target &target) { Scheduler(list, target).run(); }
