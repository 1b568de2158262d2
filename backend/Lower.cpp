// From a fusion plan to steps over placed buffers: donations, partial sums, liveness.
#include "backend/Arena.h"
#include "backend/Steps.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace hw;
using namespace hw::backend;

namespace {

class Lowering {
public:
  Lowering(Block &block, ArrayRef<int64_t> donations, const Target &target, const FusionOptions &options)
      : block(block), donations(donations), target(target), plan(planFusion(block, options)) {}

  StepList run() {
    makeBuffers();
    placeResults();
    plan.sort();
    stashArguments();
    for (unsigned number : plan.order)
      lower(plan.units[number]);
    for (auto [value, result] : copies)
      copy(stashed.contains(result) ? stashed[result] : buffers.lookup(value), result, value.getLoc());
    count();
    placeScratch();
    return std::move(list);
  }

  /// See `lowerDiagnosis`.
  StepList diagnose(SmallVectorImpl<Operation *> &operations) {
    isCold = true;
    makeBuffers();
    int flag = addBuffer({Buffer::Result, DType::I32, 1, 0, 0, {}, -1, -1});
    fill(flag, 0xFF, block.getTerminator()->getLoc());
    for (unsigned number : plan.order) {
      const Unit &unit = plan.units[number];
      lower(unit);
      Value value = unit.roots[0].dest;
      if (!isFloat(dtypeOf(elementOf(value))) || isa<PadOp, ConcatOp>(unit.roots[0].op) || unit.kind == Unit::Fill ||
          isMasked(value))
        continue;
      Step step(Step::Check, unit.roots[0].op->getLoc());
      step.inputs = {bufferOf(value)};
      step.output = flag;
      step.ordinal = int32_t(operations.size());
      operations.push_back(unit.roots[0].op);
      list.steps.push_back(std::move(step));
    }
    count();
    placeScratch();
    return std::move(list);
  }

private:
  /// Used where another value may be chosen instead: log(x) in where(x > 0, log(x), 0). What is chosen is looked at.
  static bool isMasked(Value value) {
    return !value.use_empty() && llvm::all_of(value.getUsers(), [&](Operation *user) {
      return isa<SelectOp>(user) && user->getOperand(0) != value;
    });
  }

  int addBuffer(Buffer buffer) {
    list.buffers.push_back(buffer);
    return int(list.buffers.size()) - 1;
  }
  int scratch(DType type, int64_t elements) { return addBuffer({Buffer::Scratch, type, elements, 0, 0, {}, -1, -1}); }
  int bufferOf(Value value) { return buffers.lookup(value); }

  void makeBuffers() {
    for (BlockArgument argument : block.getArguments())
      buffers[argument] = addBuffer({Buffer::Argument,
                                     dtypeOf(elementOf(argument)),
                                     typeOf(argument).getNumElements(),
                                     argument.getArgNumber(),
                                     0,
                                     {},
                                     -1,
                                     -1});
    for (Operation &op : block)
      for (Value result : op.getResults())
        if (isDenseConstant(result))
          buffers[result] = addBuffer(
              {Buffer::Constant, dtypeOf(elementOf(result)), typeOf(result).getNumElements(), 0, 0, result, -1, -1});
        else if (plan.isStored(result))
          buffers[result] = scratch(dtypeOf(elementOf(result)), typeOf(result).getNumElements());
  }

  /// Where each result is written: its own place from the start, where a donated argument's readers allow it, else
  /// scratch and a copy at the end.
  void placeResults() {
    llvm::DenseSet<Value> placed;
    auto results = block.getTerminator()->getOperands();
    SmallVector<int> argumentOf(results.size(), -1);
    for (auto [argument, result] : llvm::enumerate(donations))
      if (result >= 0)
        argumentOf[result] = int(argument);
    for (auto [number, value] : llvm::enumerate(results)) {
      int place = addBuffer(
          {Buffer::Result, dtypeOf(elementOf(value)), typeOf(value).getNumElements(), unsigned(number), 0, {}, -1, -1});
      bool isOurs = plan.isStored(value) && placed.insert(value).second;
      if (isOurs && (argumentOf[number] < 0 || takesOver(block.getArgument(argumentOf[number]), value)))
        buffers[value] = place;
      else
        copies.push_back({value, place});
    }
  }

  /// An argument that is returned, but whose own memory another result takes over, is copied away first.
  void stashArguments() {
    for (auto &[value, place] : copies) {
      auto argument = dyn_cast<BlockArgument>(value);
      if (!argument || donations[argument.getArgNumber()] < 0 ||
          donations[argument.getArgNumber()] == list.buffers[place].number)
        continue;
      int stash = scratch(dtypeOf(elementOf(value)), typeOf(value).getNumElements());
      copy(buffers.lookup(value), stash, value.getLoc());
      stashed[place] = stash;
    }
  }

  /// Whether `result` can be written over `argument`: every unit that reads the argument must come before the writers,
  /// or read it exactly where it writes. Adds the order it needs.
  bool takesOver(Value argument, Value result) {
    auto &writers = plan.producers[result];
    SmallVector<unsigned> readers;
    for (auto [number, unit] : llvm::enumerate(plan.units))
      if (readsOf(unit).contains(argument))
        readers.push_back(number);
    if (writers.size() != 1) {
      // Several writers: all readers before all of them.
      for (unsigned reader : readers)
        for (unsigned writer : writers)
          if (reader == writer || plan.reaches(writer, reader))
            return false;
    }
    for (unsigned reader : readers)
      for (unsigned writer : writers)
        if (reader != writer && plan.reaches(writer, reader))
          return false;
    for (unsigned writer : writers)
      if (llvm::is_contained(readers, writer) && !readsInPlace(plan.units[writer], argument, result))
        return false;
    // A later result of the same kind must not find its order contradicted: edges are added as we go, and asked for
    // above.
    for (unsigned reader : readers)
      for (unsigned writer : writers)
        if (reader != writer)
          plan.units[writer].after.insert(reader);
    return true;
  }

  llvm::SetVector<Value> readsOf(const Unit &unit) {
    Unit copy = unit;
    llvm::erase_if(copy.roots, [](const RootSpec &root) { return !root.source; });
    return plan.reads(copy);
  }

  bool readsInPlace(const Unit &unit, Value argument, Value result) {
    if (unit.kind == Unit::Library || unit.external)
      return false;
    if (unit.kind == Unit::Contract)
      for (Value operand : unit.op->getOperands())
        if (viewOf(operand, [](Value) {}).base == argument)
          return false;
    Kernel kernel = trace(plan, unit, [&](Value value) { return bufferOf(value); });
    int from = bufferOf(argument), to = bufferOf(result);
    for (const Root &root : kernel.roots) {
      if (kernel.buffers[root.buffer] != to)
        continue;
      if (root.kind != RootKind::Store)
        return false;
      for (const Node &node : kernel.nodes)
        if (node.op == Opcode::Load && kernel.buffers[node.buffer] == from &&
            (!node.index.dynamic.empty() || node.index.constant != root.address.constant ||
             node.index.coefficients != root.address.coefficients))
          return false;
    }
    return typeOf(argument).getElementType() == typeOf(result).getElementType();
  }

  void lower(const Unit &unit) {
    auto number = [&](Value value) { return bufferOf(value); };
    switch (unit.kind) {
    case Unit::Loops: {
      Step step(Step::Loops, unit.roots[0].op->getLoc(), unit.op);
      step.kernel = trace(plan, unit, number);
      if (step.kernel.points() == 0 && !unit.reduced)
        return; // nothing to write
      collapse(step.kernel);
      if (isCold)
        scheduleCold(step.kernel);
      else
        schedule(step.kernel, target.vectorBytes);
      splitSums(std::move(step));
      return;
    }
    case Unit::Contract: {
      auto dot = cast<DotGeneralOp>(unit.op);
      if (unit.external)
        return external(unit, dot);
      Step step(Step::Contract, dot.getLoc(), dot);
      step.kernel = trace(plan, unit, number);
      step.product = productOf(dot);
      if (step.kernel.points() == 0)
        return; // nothing to write
      step.tiling = tile(step.product, step.kernel, target);
      if (isCold) { // small code: one row by one vector, on one thread
        step.tiling.rows = step.tiling.vectors = 1;
        step.tiling.rowTiles = step.product.m;
        step.tiling.perTask = step.product.batch * step.product.m;
        step.kernel.schedule.count = 1;
        step.kernel.schedule.isCold = true;
      }
      step.inputs = {bufferOf(step.product.a), bufferOf(step.product.b)};
      list.flops +=
          2.0 * double(step.product.batch) * double(step.product.m) * double(step.product.n) * double(step.product.k);
      list.steps.push_back(std::move(step));
      return;
    }
    case Unit::Library: {
      Step step(Step::Library, unit.op->getLoc(), unit.op);
      step.output = bufferOf(unit.roots[0].dest);
      for (Value operand : unit.op->getOperands())
        step.inputs.push_back(bufferOf(operand));
      auto shape = shapeOf(unit.op->getOperand(0));
      double n = double(shape.back());
      list.flops += double(typeOf(unit.op->getOperand(0)).getNumElements()) * n * 2 / 3;
      list.steps.push_back(std::move(step));
      return;
    }
    case Unit::Fill:
      fill(bufferOf(unit.roots[0].dest), 0, unit.op->getLoc());
      return;
    }
  }

  void external(const Unit &unit, DotGeneralOp dot) {
    ExternalPattern pattern =
        unit.roots[0].dest == dot.getResult() ? ExternalPattern{{}, 0, dot.getResult()} : matchExternal(dot);
    Step step(Step::External, dot.getLoc(), dot);
    step.product = productOf(dot);
    step.activation = pattern.activation;
    step.output = bufferOf(pattern.result);
    step.inputs = {bufferOf(step.product.a), bufferOf(step.product.b), pattern.bias ? bufferOf(pattern.bias) : -1};
    list.flops +=
        2.0 * double(step.product.batch) * double(step.product.m) * double(step.product.n) * double(step.product.k);
    list.steps.push_back(std::move(step));
  }

  /// Tasks that split a sum leave partial sums, [task, kept...]; a second kernel adds them in the order of tasks.
  void splitSums(Step step) {
    Kernel &kernel = step.kernel;
    if (!kernel.schedule.splitsReduction) {
      list.steps.push_back(std::move(step));
      return;
    }
    SmallVector<int64_t, 4> keptSizes;
    SmallVector<int> keptAt(kernel.domain.size(), -1);
    for (size_t dim = 0; dim < kernel.domain.size(); ++dim)
      if (!(kernel.reduced >> dim & 1)) {
        keptAt[dim] = int(keptSizes.size());
        keptSizes.push_back(kernel.domain[dim]);
      }
    auto strides = stridesOf(keptSizes);
    int64_t kept = 1;
    for (int64_t size : keptSizes)
      kept *= size;
    Kernel combine;
    combine.domain.push_back(kernel.schedule.count);
    combine.domain.append(keptSizes.begin(), keptSizes.end());
    combine.reduced = 1;
    size_t rank = combine.domain.size();
    for (Root &root : kernel.roots) {
      if (root.kind != RootKind::Sum)
        continue;
      DType type = kernel.bufferTypes[root.buffer];
      int target = kernel.buffers[root.buffer], partial = scratch(type, kept * kernel.schedule.count);
      Linear final(rank), from(rank);
      final.constant = root.address.constant;
      from.coefficients[0] = kept;
      Linear to(kernel.domain.size());
      for (size_t dim = 0; dim < kernel.domain.size(); ++dim)
        if (keptAt[dim] >= 0) {
          final.coefficients[keptAt[dim] + 1] = root.address.coefficients[dim];
          from.coefficients[keptAt[dim] + 1] = to.coefficients[dim] = strides[keptAt[dim]];
        }
      kernel.buffers[root.buffer] = partial; // sums have their buffers to themselves
      root.address = to;
      Node load{Opcode::Load, type, {}, from};
      load.buffer = combine.bufferIndex(partial, type);
      int node = combine.add(std::move(load));
      combine.roots.push_back({RootKind::Sum, node, combine.bufferIndex(target, type), final});
    }
    Location loc = step.loc;
    list.steps.push_back(std::move(step));
    collapse(combine);
    schedule(combine, target.vectorBytes);
    // The partial sums are few: never split them again.
    if (combine.schedule.splitsReduction)
      combine.schedule.count = 1, combine.schedule.parallelDim = -1, combine.schedule.splitsReduction = false;
    Step sum(Step::Loops, loc);
    sum.kernel = std::move(combine);
    list.steps.push_back(std::move(sum));
  }

  void fill(int buffer, uint8_t byte, Location loc) {
    Step step(Step::Fill, loc);
    step.output = buffer;
    step.fill = byte;
    list.steps.push_back(std::move(step));
  }

  void copy(int from, int to, Location loc) {
    Step step(Step::Copy, loc);
    step.inputs = {from};
    step.output = to;
    list.steps.push_back(std::move(step));
  }

  void touch(int buffer, int step) {
    if (buffer < 0)
      return;
    Buffer &b = list.buffers[buffer];
    if (b.firstStep < 0)
      b.firstStep = step;
    b.lastStep = step;
  }

  void count() {
    for (auto [number, step] : llvm::enumerate(list.steps)) {
      llvm::SmallSetVector<int, 8> used;
      used.insert(step.kernel.buffers.begin(), step.kernel.buffers.end());
      used.insert(step.inputs.begin(), step.inputs.end());
      used.insert(step.output);
      for (int buffer : used)
        if (buffer >= 0) {
          touch(buffer, int(number));
          list.bytes += double(list.buffers[buffer].bytes());
        }
      if (step.kind == Step::Loops || step.kind == Step::Contract)
        for (const Node &node : step.kernel.nodes) {
          double times = 1;
          for (auto [dim, size] : llvm::enumerate(step.kernel.domain))
            times *= node.dims >> dim & 1 ? double(size) : 1.0;
          bool isArithmetic =
              node.op == Opcode::Add || node.op == Opcode::Sub || node.op == Opcode::Mul || node.op == Opcode::Div;
          list.flops += isArithmetic && isFloat(node.type) ? times : 0;
        }
      for (const Root &root : step.kernel.roots)
        list.flops += root.kind == RootKind::Sum ? double(step.kernel.points()) : 0;
    }
  }

  void placeScratch() {
    std::vector<Interval> intervals;
    std::vector<size_t> numbers;
    for (auto [number, buffer] : llvm::enumerate(list.buffers))
      if (buffer.place == Buffer::Scratch) {
        intervals.push_back({buffer.bytes(), buffer.firstStep, buffer.lastStep});
        numbers.push_back(number);
      }
    list.scratch = placeIntervals(intervals);
    for (auto [interval, number] : llvm::zip_equal(intervals, numbers))
      list.buffers[number].offset = interval.offset;
  }

  /// Scalar loops, on one thread.
  static void scheduleCold(Kernel &kernel) {
    kernel.schedule = {};
    kernel.schedule.isCold = true;
  }

  Block &block;
  bool isCold = false;
  ArrayRef<int64_t> donations;
  const Target &target;
  FusionPlan plan;
  StepList list;
  llvm::DenseMap<Value, int> buffers;
  SmallVector<std::pair<Value, int>> copies; // to results, at the end
  llvm::DenseMap<int, int> stashed;          // of a result's buffer, where its argument was copied to
};

} // namespace

StepList hw::backend::lowerFunction(Block &block, ArrayRef<int64_t> donations, const Target &target,
                                    const FusionOptions &options) {
  prepare(block, options.externalProducts);
  return Lowering(block, donations, target, options).run();
}

StepList hw::backend::lowerDiagnosis(Block &block, const Target &target, SmallVectorImpl<Operation *> &operations) {
  FusionOptions options;
  options.fuse = options.externalProducts = false;
  prepare(block, false);
  return Lowering(block, {}, target, options).diagnose(operations);
}

std::string StepList::print() const {
  std::string text;
  llvm::raw_string_ostream os(text);
  auto describe = [&](int number) {
    const Buffer &b = buffers[number];
    static const char *places[] = {"argument ", "result ", "scratch +", "constant "};
    os << places[b.place] << (b.place == Buffer::Scratch ? b.offset : int64_t(b.number)) << ": " << b.elements << " "
       << nameOf(b.type);
  };
  os << "scratch " << scratch << " bytes\n";
  for (auto [number, step] : llvm::enumerate(steps)) {
    static const char *kinds[] = {"loops", "product", "oneDNN product", "library", "fill", "copy", "check"};
    os << "step " << number << ": " << kinds[step.kind];
    if (step.op)
      os << " " << step.op->getName();
    const Product &p = step.product;
    if (step.kind == Step::Contract || step.kind == Step::External)
      os << " " << p.batch << " x " << p.m << "x" << p.n << "x" << p.k << " strides a " << p.aStride[0] << ","
         << p.aStride[1] << "," << p.aStride[2] << " b " << p.bStride[0] << "," << p.bStride[1] << "," << p.bStride[2];
    if (step.kind == Step::Contract)
      os << " tiles of " << step.tiling.rows << " rows x " << step.tiling.vectors << " vectors";
    os << "\n";
    for (int input : step.inputs)
      if (input >= 0)
        os << "  reads ", describe(input), os << "\n";
    if (step.output >= 0)
      os << "  writes ", describe(step.output), os << "\n";
    for (auto [at, buffer] : llvm::enumerate(step.kernel.buffers))
      os << "  b" << at << " = ", describe(buffer), os << "\n";
    if (step.kind == Step::Loops || step.kind == Step::Contract)
      os << step.kernel.print();
  }
  return text;
}
