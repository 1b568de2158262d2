// The proof, pair by pair of accesses to the same memory: which of the two is meant to come first, and does it?
#include "backend/steps/VerifySteps.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include <algorithm>

using namespace hw::backend;
using llvm::SmallVector;

namespace {

/// An address: constant + sum of coefficient * index, in elements.
struct Form {
  struct Term {
    int64_t size, coefficient; // of the loop; indices are 0 .. size - 1
  };
  SmallVector<Term, 6> terms;
  int64_t constant = 0;
  SmallVector<std::pair<int64_t, int64_t>, 1> dynamic; // scale, largest value; the least one is 0
  int range = -1;                                      // the term of the loop that tasks and tiles split

  bool isEmpty() const {
    return llvm::any_of(terms, [](const Term &term) { return term.size <= 0; });
  }
  /// The smallest and the largest address; without the range's term, those within a row.
  std::pair<int64_t, int64_t> bounds(bool withRange = true) const {
    int64_t low = constant, high = constant;
    for (auto [at, term] : llvm::enumerate(terms))
      if (withRange || int(at) != range)
        (term.coefficient < 0 ? low : high) += term.coefficient * (term.size - 1);
    for (auto [scale, most] : dynamic)
      (scale < 0 ? low : high) += scale * most;
    return {low, high};
  }
  /// Whether no two points have the same address: by size, each coefficient passes over all that smaller ones reach.
  bool isInjective() const {
    SmallVector<std::pair<int64_t, int64_t>, 6> steps; // |coefficient|, size
    for (const Term &term : terms)
      if (term.size > 1)
        steps.push_back({std::abs(term.coefficient), term.size});
    llvm::sort(steps);
    int64_t reach = 0;
    for (auto [step, size] : steps) {
      if (step <= reach)
        return false;
      reach += step * (size - 1);
    }
    return dynamic.empty();
  }
  bool operator==(const Form &other) const {
    return constant == other.constant && dynamic.empty() && other.dynamic.empty() &&
           llvm::equal(terms, other.terms, [](const Term &a, const Term &b) {
             return a.size == b.size && (a.coefficient == b.coefficient || a.size == 1);
           });
  }
};

/// Whether sum of coefficient * d over the terms, each d within +-(size - 1), can be `wanted`. Terms by size, the
/// largest coefficient last.
bool canDiffer(llvm::ArrayRef<std::pair<int64_t, int64_t>> steps, int64_t wanted) {
  if (steps.empty())
    return wanted == 0;
  int64_t rest = 0;
  for (auto [step, size] : steps.drop_back())
    rest += step * (size - 1);
  auto [step, size] = steps.back();
  if (step == 0)
    return canDiffer(steps.drop_back(), wanted);
  int64_t low = std::max(-(size - 1), llvm::divideFloorSigned(wanted - rest + step - 1, step)),
          high = std::min(size - 1, llvm::divideFloorSigned(wanted + rest, step));
  if (high - low > 64)
    return true;
  for (int64_t d = low; d <= high; ++d)
    if (canDiffer(steps.drop_back(), wanted - d * step))
      return true;
  return false;
}

/// Whether no address of the one is an address of the other.
bool areDisjoint(const Form &a, const Form &b) {
  auto [aLow, aHigh] = a.bounds();
  auto [bLow, bHigh] = b.bounds();
  if (aHigh < bLow || bHigh < aLow)
    return true;
  if (!a.dynamic.empty() || !b.dynamic.empty() || a.terms.size() != b.terms.size())
    return false;
  SmallVector<std::pair<int64_t, int64_t>, 6> steps;
  for (auto [x, y] : llvm::zip_equal(a.terms, b.terms)) {
    if (x.size != y.size || x.coefficient != y.coefficient)
      return false;
    steps.push_back({std::abs(x.coefficient), x.size});
  }
  llvm::sort(steps);
  return !canDiffer(steps, a.constant - b.constant);
}

/// One place in the list that reads or writes a buffer.
struct Access {
  enum Kind {
    Load,    // of a kernel or an epilogue
    Operand, // of a product
    Store,   // once at each point
    Sum,     // or maximum: once for each point of the kept dimensions, when the others have run
    Scatter, // adds at each point
    Zero,    // what a task does to its part of a sum before its first stage
    Whole    // of a step that is no region
  } kind;
  int buffer;
  bool isWrite;
  unsigned step;
  int stage;           // -1: before the first stage
  Form form;           // not Zero, Whole
  int root = -1;       // Load: the one that it is made for, at the latest, -1: before all of them; Store: which it is
  bool isPart = false; // goes to the task's own part of a sum
};

class Verifier {
public:
  explicit Verifier(const StepList &list) : list(list), phaseOf(list.steps.size(), -1) {}

  std::optional<std::string> run() {
    readPhases();
    checkDonations();
    for (unsigned number = 0; number < list.steps.size() && error.empty(); ++number)
      collect(number);
    if (error.empty())
      checkOrder();
    if (error.empty())
      checkScratch();
    if (error.empty())
      return std::nullopt;
    return error;
  }

private:
  //===-- Sentences -----------------------------------------------------------------------------------------------===//

  /// The first one counts.
  template <class... Parts> void wrong(const char *format, Parts &&...parts) {
    if (error.empty())
      error = llvm::formatv(format, std::forward<Parts>(parts)...).str();
  }
  std::string nameOf(int buffer) const {
    static const char *places[] = {"argument", "result", "scratch buffer", "constant", "buffer of a tile"};
    const Buffer &b = list.buffers[buffer];
    bool isNumbered = b.place == Buffer::Argument || b.place == Buffer::Result;
    return llvm::formatv("{0} {1}", places[b.place], isNumbered ? int64_t(b.number) : int64_t(buffer));
  }
  std::string nameOf(unsigned step, int stage) const {
    const Step &s = list.steps[step];
    if (s.kind != Step::Region || stage < 0 || s.stages.size() < 2)
      return llvm::formatv("step {0} ({1})", step, s.title());
    return llvm::formatv("stage {0} of step {1} ({2})", stage, step, s.stages[size_t(stage)].title());
  }
  std::string nameOf(const Access &access) const { return nameOf(access.step, access.stage); }

  //===-- What is the same memory, and when steps run -------------------------------------------------------------===//

  void readPhases() {
    for (auto [phase, numbers] : llvm::enumerate(list.phases))
      for (unsigned number : numbers) {
        if (number >= list.steps.size() || phaseOf[number] >= 0)
          return wrong("step {0} is in several phases, or there is none of that number", number);
        phaseOf[number] = int(phase);
      }
    for (auto [number, phase] : llvm::enumerate(phaseOf))
      if (phase < 0)
        wrong("step {0} is in no phase", number);
  }

  void checkDonations() {
    llvm::DenseSet<int> taken;
    for (auto [result, argument] : list.sameMemory) {
      const Buffer &to = list.buffers[result], &from = list.buffers[argument];
      if (to.place != Buffer::Result || from.place != Buffer::Argument || to.type != from.type ||
          to.elements != from.elements)
        wrong("{0} cannot take over {1}: they are not of one type", nameOf(result), nameOf(argument));
      if (!taken.insert(argument).second)
        wrong("two results take over {0}", nameOf(argument));
    }
  }

  /// The argument, of a result that takes it over; else the buffer itself.
  int memoryOf(int buffer) const {
    auto at = list.sameMemory.find(buffer);
    return at == list.sameMemory.end() ? buffer : at->second;
  }

  //===-- What a step touches -------------------------------------------------------------------------------------===//

  void add(Access access) {
    if (access.buffer < 0 || size_t(access.buffer) >= list.buffers.size())
      return wrong("{0} touches a buffer that there is not", nameOf(access));
    const Buffer &b = list.buffers[access.buffer];
    if (access.isWrite && (b.place == Buffer::Argument || b.place == Buffer::Constant))
      return wrong("{0} writes {1}", nameOf(access), nameOf(access.buffer));
    accesses[memoryOf(access.buffer)].push_back(std::move(access));
  }

  void collect(unsigned number) {
    const Step &step = list.steps[number];
    if (step.kind == Step::Region)
      return collectRegion(number);
    if (step.kind == Step::External) {
      if (step.inputs.size() < 2 || step.outputs.size() != 1)
        return wrong("{0} wants two operands and a result", nameOf(number, 0));
      for (bool isA : {true, false})
        checkBounds(operandOf(step.product, isA, Role::None), step.inputs[isA ? 0 : 1], number, 0);
    }
    if (step.kind == Step::Copy && (list.buffers[step.inputs[0]].elements != list.buffers[step.outputs[0]].elements ||
                                    list.buffers[step.inputs[0]].type != list.buffers[step.outputs[0]].type))
      return wrong("{0} copies between buffers of different types", nameOf(number, 0));
    if (step.kind == Step::Map)
      checkMap(number);
    for (int input : step.inputs)
      if (input >= 0)
        add({Access::Whole, input, false, number, 0, {}});
    for (int output : step.outputs)
      add({Access::Whole, output, true, number, 0, {}});
  }

  static Form operandOf(const Product &p, bool isA, Role range) {
    Form form;
    const int64_t *strides = isA ? p.aStride : p.bStride;
    form.constant = isA ? p.aOffset : p.bOffset;
    // Batch, rows, columns, contracted.
    form.terms = {{p.batch, strides[0]},
                  {p.m, isA ? strides[1] : 0},
                  {p.n, isA ? 0 : strides[2]},
                  {p.k, isA ? strides[2] : strides[1]}};
    form.range = int(range) - int(Role::Batch);
    return form;
  }

  /// An address of a kernel. `dims`: the loops that count.
  Form formOf(const Kernel &kernel, const Linear &linear, int range, uint64_t dims = ~uint64_t{0}) const {
    Form form;
    form.constant = linear.constant;
    form.range = range;
    for (auto [dim, coefficient] : llvm::enumerate(linear.coefficients))
      form.terms.push_back(
          {dims >> dim & 1 ? kernel.domain[dim] : std::min<int64_t>(kernel.domain[dim], 1), coefficient});
    for (auto [node, scale] : linear.dynamic)
      // An index that is not clamped may be anything.
      form.dynamic.push_back(
          {scale, kernel.nodes[node].op == Opcode::Clamp ? int64_t(kernel.nodes[node].bits) : int64_t{1} << 32});
    return form;
  }

  /// How many elements there are to address.
  int64_t elementsOf(int buffer, const Step &step) const {
    const Buffer &b = list.buffers[buffer];
    return b.place == Buffer::Local ? step.extent * b.rowElements : b.elements;
  }

  void checkBounds(const Form &form, int buffer, unsigned number, int stage, int64_t elements = -1) {
    if (form.isEmpty())
      return;
    if (elements < 0)
      elements = elementsOf(buffer, list.steps[number]);
    auto [low, high] = form.bounds();
    if (low < 0 || high >= elements)
      wrong("{0} touches elements {1} to {2} of {3}, which has {4}", nameOf(number, stage), low, high, nameOf(buffer),
            elements);
  }

  /// Whether `form` is row i of `row` elements wherever the range stands at i.
  static bool staysInRow(const Form &form, int64_t row) {
    if (form.range < 0 || form.terms[size_t(form.range)].coefficient != row || !form.dynamic.empty())
      return false;
    auto [low, high] = form.bounds(false);
    return low >= 0 && high < row;
  }

  static bool runsWhole(const Step &step) { return step.tasks() == 1 && step.tile >= step.chunk; }

  void collectRegion(unsigned number) {
    const Step &step = list.steps[number];
    if (step.tile < 1 || step.chunk < 1 || (step.tile < step.chunk && step.chunk % step.tile))
      return wrong("{0}: tiles do not fill tasks", nameOf(number, 0));
    llvm::DenseMap<int, const Step::Partial *> parts;
    for (const Step::Partial &partial : step.partials) {
      if (!parts.try_emplace(partial.buffer, &partial).second)
        wrong("{0} has two sums in {1}", nameOf(number, -1), nameOf(partial.buffer));
      if (list.buffers[partial.buffer].elements != partial.elements * step.tasks())
        wrong("{0}: {1} has no part for each task", nameOf(number, -1), nameOf(partial.buffer));
      if (partial.startsAtZero)
        add({Access::Zero, partial.buffer, true, number, -1, {}, -1, true});
    }
    for (auto [stage, each] : llvm::enumerate(step.stages))
      collectStage(number, int(stage), each, parts);
  }

  void collectStage(unsigned number, int at, const Stage &stage,
                    const llvm::DenseMap<int, const Step::Partial *> &parts) {
    const Step &step = list.steps[number];
    const Kernel &kernel = stage.kernel;
    const Product &p = stage.product;
    const Schedule &schedule = kernel.schedule;
    bool isProduct = stage.kind == Stage::Contract, isSumOfTasks = isProduct && stage.tiling.range == Role::Contracted;
    int range = schedule.rangeDim;
    int64_t extent = range < 0 ? 1 : kernel.domain[range], quantum = 1;
    if (isProduct) {
      auto [dim, size, block] =
          std::array<std::tuple<int, int64_t, int64_t>, 5>{{{-1, 1, 1},
                                                            {p.batchDim, p.batch, 1},
                                                            {p.mDim, p.m, stage.tiling.rows},
                                                            {p.nDim, p.n, stage.tiling.columns()},
                                                            {-1, p.k, 1}}}[size_t(stage.tiling.range)];
      range = dim, extent = size, quantum = block;
    } else if (range >= 0) {
      // The tail of vectors is that of the dimension, where ranges are whole vectors.
      if (range == schedule.vectorDim && schedule.quantum % schedule.lanes == 0)
        quantum = schedule.lanes;
      if (range == schedule.blockDim)
        quantum = schedule.lanes;
    }
    // Where a task begins, or a tile, and what it overruns at its end.
    if (!runsWhole(step) && (range < 0 && !isSumOfTasks))
      return wrong("{0}: every task runs all of it", nameOf(number, at));
    if ((range >= 0 || isSumOfTasks) && extent != step.extent)
      return wrong("{0} runs over {1} in place of {2}", nameOf(number, at), step.extent, extent);
    if ((step.tasks() > 1 && step.chunk % quantum) || (step.tile < step.chunk && step.tile % quantum))
      return wrong("{0}: tasks of {1} in tiles of {2} begin within blocks of {3}", nameOf(number, at), step.chunk,
                   step.tile, quantum);

    auto addForm = [&](Access::Kind kind, int buffer, bool isWrite, Form form, int root, bool isPart) {
      checkBounds(form, buffer, number, at, isPart ? parts.at(buffer)->elements : -1);
      if (list.buffers[buffer].place == Buffer::Local && !form.isEmpty() &&
          !staysInRow(form, list.buffers[buffer].rowElements))
        wrong("{0} touches {1} elsewhere than in its row", nameOf(number, at), nameOf(buffer));
      add({kind, buffer, isWrite, number, at, std::move(form), root, isPart});
    };
    if (isProduct) {
      if (stage.operands.size() != 2)
        return wrong("{0} wants two operands", nameOf(number, at));
      for (bool isA : {true, false})
        addForm(Access::Operand, stage.operands[isA ? 0 : 1], false, operandOf(p, isA, stage.tiling.range), -1, false);
    }
    bool isEmpty = kernel.points() == 0;
    SmallVector<unsigned> wanted = kernel.firstRoots();
    for (auto [node, each] : llvm::enumerate(kernel.nodes))
      if (each.op == Opcode::Load && !isEmpty)
        addForm(Access::Load, kernel.buffers[each.buffer], false, formOf(kernel, each.index, range),
                llvm::is_contained(kernel.firstLoads, int(node)) ? -1 : int(wanted[node]), false);
    for (auto [place, root] : llvm::enumerate(kernel.roots)) {
      bool isSum = root.kind == RootKind::Sum || root.kind == RootKind::Max;
      bool overRange = isSumOfTasks || (isSum && range >= 0 && kernel.reduced >> range & 1);
      // An address of a sum does not depend on what is summed over.
      Form form = formOf(kernel, root.address, range, isSum ? ~kernel.reduced : ~uint64_t{0});
      for (auto [dim, coefficient] : llvm::enumerate(root.address.coefficients))
        if (isSum && kernel.reduced >> dim & 1 && coefficient && kernel.domain[dim] > 1)
          wrong("{0}: the place of a sum depends on what is summed", nameOf(number, at));
      for (int index : {root.buffer, root.indexBuffer}) {
        if (index < 0)
          continue;
        int buffer = kernel.buffers[index];
        auto part = parts.find(buffer);
        bool isPart = part != parts.end();
        if (root.kind == RootKind::Scatter ? !scattersApart(form, step) : !form.isEmpty() && !form.isInjective())
          wrong("{0} may write an element of {1} at two points", nameOf(number, at), nameOf(buffer));
        checkSum(step, stage, root, overRange, isPart ? part->second : nullptr, number, at, buffer);
        addForm(isSum                            ? Access::Sum
                : root.kind == RootKind::Scatter ? Access::Scatter
                                                 : Access::Store,
                buffer, true, form, int(place), isPart && overRange);
      }
    }
  }

  /// Points that add to one element are one task's: the range walks within what an index chooses.
  static bool scattersApart(const Form &form, const Step &step) {
    if (step.tasks() == 1)
      return true;
    Form inner = form;
    inner.dynamic.clear();
    inner.constant = 0;
    llvm::erase_if(inner.terms, [](const Form::Term &term) { return term.coefficient == 0; });
    auto [low, high] = inner.bounds();
    return form.range >= 0 && form.terms[size_t(form.range)].coefficient && inner.isInjective() &&
           llvm::all_of(form.dynamic, [&](auto &term) { return std::abs(term.first) > high - low; });
  }

  /// That a sum over the range goes on from tile to tile, and starts where it should.
  void checkSum(const Step &step, const Stage &stage, const Root &root, bool overRange, const Step::Partial *part,
                unsigned number, int at, int buffer) {
    const Schedule &schedule = stage.kernel.schedule;
    bool inTiles = stage.kind == Stage::Contract && root.kind == RootKind::Sum; // added to memory tile by tile
    bool goesOn = inTiles || (schedule.accumulates && (root.kind == RootKind::Sum || stage.kind == Stage::Contract));
    if (overRange && root.kind == RootKind::Max && !runsWhole(step))
      return wrong("{0}: tasks have a maximum of their own each", nameOf(number, at));
    if (overRange && step.tasks() > 1 && !part)
      return wrong("{0}: all tasks sum into {1}", nameOf(number, at), nameOf(buffer));
    if (overRange && step.tile < step.chunk && !goesOn)
      return wrong("{0}: the sum of a tile overwrites that of the tile before in {1}", nameOf(number, at),
                   nameOf(buffer));
    if (goesOn && !(part && part->startsAtZero))
      return wrong("{0} adds to what is in {1} already", nameOf(number, at), nameOf(buffer));
    if (part && !overRange && step.tasks() > 1)
      return wrong("{0} writes parts of {1} that are another task's", nameOf(number, at), nameOf(buffer));
  }

  void checkMap(unsigned number) {
    const Step &step = list.steps[number];
    const StepList &body = *step.body;
    if (auto inner = verifySteps(body))
      return wrong("{0}: {1}", nameOf(number, 0), *inner);
    for (const Step &each : body.steps)
      if (each.isParallel())
        wrong("{0}: a step of its body has several tasks", nameOf(number, 0));
    for (const Buffer &b : body.buffers) {
      auto part = [&](llvm::ArrayRef<int> outside, unsigned at, bool isSplit, int64_t parts) {
        int64_t elements = list.buffers[outside[at]].elements;
        if (isSplit ? b.elements * parts != elements : b.elements != elements)
          wrong("{0}: its body's buffers are not parts of those outside", nameOf(number, 0));
      };
      if (b.place == Buffer::Argument && b.number < step.inputs.size())
        part(step.inputs, b.number, step.mapped[b.number], step.extent);
      if (b.place == Buffer::Result && b.number < step.outputs.size())
        part(step.outputs, b.number, true, step.summed[b.number] ? step.tasks() : step.extent);
    }
    if (body.scratchOfOne() > list.threadScratch)
      wrong("{0}: its body needs more scratch than a thread has", nameOf(number, 0));
  }

  //===-- Pairs ---------------------------------------------------------------------------------------------------===//

  void checkOrder() {
    for (auto &[memory, all] : accesses) {
      // As meant: by steps, by stages, what is read before what is written.
      llvm::stable_sort(all, [](const Access &a, const Access &b) {
        return std::tuple(a.step, a.stage, a.isWrite) < std::tuple(b.step, b.stage, b.isWrite);
      });
      llvm::DenseMap<int, unsigned> firstWrite;
      for (auto [at, access] : llvm::enumerate(all))
        if (access.isWrite)
          firstWrite.try_emplace(access.buffer, unsigned(at));
      for (auto [at, access] : llvm::enumerate(all)) {
        const Buffer &b = list.buffers[access.buffer];
        auto written = firstWrite.find(access.buffer);
        bool isGiven = b.place == Buffer::Argument || b.place == Buffer::Constant || b.elements == 0;
        if (!access.isWrite && !isGiven && (written == firstWrite.end() || written->second > at))
          return wrong("{0} reads {1} before anything has written it", nameOf(access), nameOf(access.buffer));
      }
      SmallVector<const Access *> before, writes;
      for (const Access &now : all) {
        for (const Access *other : now.isWrite ? before : writes)
          if (error.empty())
            checkPair(*other, now);
        before.push_back(&now);
        if (now.isWrite)
          writes.push_back(&now);
      }
    }
    for (auto [number, b] : llvm::enumerate(list.buffers)) {
      auto at = accesses.find(memoryOf(int(number)));
      bool isWritten =
          at != accesses.end() && llvm::any_of(at->second, [&, number = int(number)](const Access &access) {
            return access.isWrite && access.buffer == number;
          });
      if (b.place == Buffer::Result && b.elements > 0 && !isWritten)
        wrong("nothing writes {0}", nameOf(int(number)));
    }
  }

  /// Two accesses to one memory, at least one of them a write; `first` is meant to come before `second`.
  void checkPair(const Access &first, const Access &second) {
    // What the second one reads must be what it means.
    if (first.isWrite && !second.isWrite && first.buffer != second.buffer)
      return wrong("{0} reads {1} after {2} has stored {3} over it", nameOf(second), nameOf(second.buffer),
                   nameOf(first), nameOf(first.buffer));
    if (!first.isWrite && second.isWrite && first.buffer == second.buffer && !isOneStage(first, second))
      return wrong("{0} reads {1} before {2} writes it", nameOf(first), nameOf(first.buffer), nameOf(second));
    if (first.step != second.step) {
      if (phaseOf[first.step] >= phaseOf[second.step])
        wrong("{0} and {1} touch the same memory ({2}, {3}), but the one does not end before the other begins",
              nameOf(first), nameOf(second), nameOf(first.buffer), nameOf(second.buffer));
      return;
    }
    if (first.form.isEmpty() || second.form.isEmpty())
      return;
    const Step &step = list.steps[first.step];
    if (step.kind != Step::Region)
      return checkWhole(step, first, second);
    if (first.kind == Access::Zero || second.kind == Access::Zero)
      return checkZero(first, second);
    if (first.stage != second.stage)
      return checkStages(step, first, second);
    checkPoints(first, second);
  }

  static bool isOneStage(const Access &a, const Access &b) { return a.step == b.step && a.stage == b.stage; }

  void checkWhole(const Step &step, const Access &first, const Access &second) {
    bool isInPlace = step.kind == Step::Copy && step.inputs.size() == 1 && step.outputs.size() == 1;
    if (!isInPlace)
      wrong("{0} reads {1} and writes {2}, which are the same memory", nameOf(first), nameOf(first.buffer),
            nameOf(second.buffer));
  }

  /// A part of a sum is set to zero, then the one stage whose sum it is adds to it.
  void checkZero(const Access &first, const Access &second) {
    if (!second.isPart && second.kind != Access::Sum)
      wrong("{0} touches {1}, which is set to zero as {2}", nameOf(second), nameOf(second.buffer),
            nameOf(first.buffer));
    if (!second.isWrite || first.buffer != second.buffer)
      wrong("{0} reads {1} after it was set to zero", nameOf(second), nameOf(second.buffer));
  }

  /// On a tile all stages run before the next tile begins, and tasks run at the same time: what two stages touch must
  /// lie in the same row, unless there is one tile of all rows.
  void checkStages(const Step &step, const Access &first, const Access &second) {
    if (first.isPart || second.isPart)
      return wrong("{0} and {1} touch a sum that is not complete", nameOf(first), nameOf(second));
    if (runsWhole(step))
      return;
    auto rowOf = [](const Access &access) {
      return access.form.range < 0 ? 0 : access.form.terms[size_t(access.form.range)].coefficient;
    };
    int64_t row = rowOf(first);
    if (!staysInRow(first.form, row) || !staysInRow(second.form, row))
      wrong("{0} and {1} touch the same memory ({2}, {3}) in different rows", nameOf(first), nameOf(second),
            nameOf(first.buffer), nameOf(second.buffer));
  }

  /// Points of a stage run in any order, at the same time too. At a point the first loads come first, then one root
  /// after another; a load is made at the latest by the root that wants it.
  void checkPoints(const Access &first, const Access &second) {
    if (areDisjoint(first.form, second.form))
      return;
    auto same = [&] { return llvm::formatv("{0} and {1}", nameOf(first.buffer), nameOf(second.buffer)).str(); };
    if (first.isWrite)
      return wrong("{0} stores two values to the same memory ({1})", nameOf(first), same());
    if (first.kind != Access::Load || second.kind != Access::Store || first.buffer == second.buffer)
      return wrong("{0} reads and writes the same memory ({1})", nameOf(first), same());
    if (!(first.form == second.form) || !second.form.isInjective())
      return wrong("{0} reads and writes the same memory ({1}) at different elements", nameOf(first), same());
    if (first.root > second.root)
      wrong("{0} stores {1} before it has loaded {2}, which is the same memory", nameOf(first), nameOf(second.buffer),
            nameOf(first.buffer));
  }

  //===-- Scratch -------------------------------------------------------------------------------------------------===//

  struct Life {
    int64_t from, to; // bytes
    int first, last;  // phases, or stages
    int buffer;
  };

  void checkLives(SmallVector<Life> &lives, int64_t size, const char *what) {
    llvm::sort(lives, [](const Life &a, const Life &b) {
      return std::tuple(a.from, a.buffer) < std::tuple(b.from, b.buffer);
    });
    SmallVector<const Life *> open;
    for (const Life &life : lives) {
      if (life.from < 0 || life.to > size)
        return wrong("{0} lies outside of the {1}", nameOf(life.buffer), what);
      llvm::erase_if(open, [&](const Life *other) { return other->to <= life.from; });
      for (const Life *other : open)
        if (other->last >= life.first && life.last >= other->first)
          return wrong("{0} and {1} are in use at the same time in the same place of the {2}", nameOf(other->buffer),
                       nameOf(life.buffer), what);
      open.push_back(&life);
    }
  }

  void checkScratch() {
    SmallVector<Life> lives;
    std::map<unsigned, SmallVector<Life>> tiles; // by step
    for (auto &[memory, all] : accesses) {
      const Buffer &b = list.buffers[memory];
      if (b.elements == 0)
        continue;
      if (b.place == Buffer::Scratch) {
        Life life{b.offset, b.offset + b.bytes(), INT32_MAX, -1, memory};
        for (const Access &access : all) {
          life.first = std::min(life.first, phaseOf[access.step]);
          life.last = std::max(life.last, phaseOf[access.step]);
        }
        lives.push_back(life);
      } else if (b.place == Buffer::Local) {
        unsigned step = all[0].step;
        int64_t bytes = std::min(list.steps[step].tile, list.steps[step].extent) * b.rowElements * bytesOf(b.type);
        Life life{b.offset, b.offset + bytes, INT32_MAX, -1, memory};
        for (const Access &access : all) {
          if (access.step != step)
            return wrong("{0} is of one step, but {1} touches it", nameOf(memory), nameOf(access));
          life.first = std::min(life.first, access.stage);
          life.last = std::max(life.last, access.stage);
        }
        tiles[step].push_back(life);
      }
    }
    checkLives(lives, list.scratch, "scratch");
    for (auto &[step, own] : tiles)
      checkLives(own, list.threadScratch, "scratch of a thread");
  }

  const StepList &list;
  std::vector<int> phaseOf;
  std::map<int, std::vector<Access>> accesses; // by memory
  std::string error;
};

} // namespace

std::optional<std::string> hw::backend::verifySteps(const StepList &list) { return Verifier(list).run(); }
