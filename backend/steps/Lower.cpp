// From a fusion plan to steps over placed buffers: donations, partial sums, liveness.
#include "backend/steps/Lower.h"
#include "backend/dialect/ConvolutionCall.h"
#include "backend/graph/Epilogue.h"
#include "backend/graph/Map.h"
#include "backend/graph/Prepare.h"
#include "backend/graph/View.h"
#include "backend/steps/Phases.h"
#include "backend/steps/Regions.h"
#include "backend/steps/Split.h"
#include "backend/steps/Trace.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace hw;
using namespace hw::backend;

namespace {

class Lowering {
public:
  Lowering(Block &block, ArrayRef<int64_t> donations, const Target &target, const FusionOptions &options)
      : block(block), donations(donations), target(target), options(options), plan(planFusion(block, options)) {}

  StepList run() {
    makeBuffers();
    placeResults();
    plan.sort();
    stashArguments();
    for (unsigned number : plan.order)
      lower(plan.units[number]);
    for (auto [value, result] : copies)
      copy(stashed.contains(result) ? stashed[result] : buffers.lookup(value), result, value.getLoc());
    formRegions(list, target);
    return finish();
  }

  /// See `lowerDiagnosis`.
  StepList diagnose(SmallVectorImpl<Operation *> &operations) {
    isCold = true;
    makeBuffers();
    int flag = addBuffer({Buffer::Result, DType::I32, 1, 0, 0, {}});
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
      step.outputs = {flag};
      step.ordinal = int32_t(operations.size());
      operations.push_back(unit.roots[0].op);
      list.steps.push_back(std::move(step));
    }
    return finish();
  }

private:
  StepList finish() {
    scheduleSteps(list, target);
    orderLoads(list);
    formPhases(list);
    placeScratch(list);
    count();
    return std::move(list);
  }

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
  int scratch(DType type, int64_t elements) { return list.addScratch(type, elements); }
  int bufferOf(Value value) { return buffers.lookup(value); }

  void makeBuffers() {
    for (BlockArgument argument : block.getArguments())
      buffers[argument] = addBuffer({Buffer::Argument,
                                     dtypeOf(elementOf(argument)),
                                     typeOf(argument).getNumElements(),
                                     argument.getArgNumber(),
                                     0,
                                     {}});
    for (Operation &op : block)
      for (Value result : op.getResults())
        if (isDenseConstant(result))
          buffers[result] =
              addBuffer({Buffer::Constant, dtypeOf(elementOf(result)), typeOf(result).getNumElements(), 0, 0, result});
        else if (plan.isStored(result))
          buffers[result] = scratch(dtypeOf(elementOf(result)), typeOf(result).getNumElements());
  }

  /// Where each result is written: its own place from the start, where a donated argument's readers allow it, else
  /// scratch and a copy at the end.
  void placeResults() {
    for (auto [number, unit] : llvm::enumerate(plan.units))
      for (Value value : readsOf(unit))
        readersOf[value].push_back(number);
    llvm::DenseSet<Value> placed;
    auto results = block.getTerminator()->getOperands();
    SmallVector<int> argumentOf(results.size(), -1);
    for (auto [argument, result] : llvm::enumerate(donations))
      if (result >= 0)
        argumentOf[result] = int(argument);
    for (auto [number, value] : llvm::enumerate(results)) {
      int place = addBuffer(
          {Buffer::Result, dtypeOf(elementOf(value)), typeOf(value).getNumElements(), unsigned(number), 0, {}});
      if (argumentOf[number] >= 0)
        list.sameMemory[place] = buffers.lookup(block.getArgument(unsigned(argumentOf[number])));
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
    SmallVector<unsigned> readers = readersOf.lookup(argument);
    unsigned level = UINT_MAX;
    for (unsigned writer : writers)
      level = std::min(level, plan.levelOf(writer));
    llvm::DenseSet<unsigned> before = plan.before(readers, level);
    for (unsigned writer : writers) {
      if (before.contains(writer))
        return false;
      // Of several writers none may read: all readers come before all of them.
      if (llvm::is_contained(readers, writer) &&
          (writers.size() != 1 || !readsInPlace(plan.units[writer], argument, result)))
        return false;
    }
    // A later result of the same kind must not find its order contradicted: edges are added as we go, and asked for
    // above.
    for (unsigned reader : readers)
      for (unsigned writer : writers)
        if (reader != writer)
          plan.wait(writer, reader);
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
      bool isPosition = root.indexBuffer >= 0 && kernel.buffers[root.indexBuffer] == to;
      if (kernel.buffers[root.buffer] != to && !isPosition)
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
      Stage stage(Stage::Loops, unit.roots[0].op->getLoc(), unit.roots[0].op);
      stage.kernel = trace(plan, unit, number);
      if (stage.kernel.points() == 0 && !unit.reduced)
        return; // nothing to write
      addRegion(std::move(stage));
      return;
    }
    case Unit::Contract: {
      auto dot = cast<DotGeneralOp>(unit.op);
      if (unit.external)
        return external(unit, dot);
      Stage stage(Stage::Contract, dot.getLoc(), dot);
      stage.kernel = trace(plan, unit, number);
      stage.product = productOf(dot);
      if (stage.kernel.points() == 0)
        return; // nothing to write
      stage.operands = {bufferOf(stage.product.a), bufferOf(stage.product.b)};
      addRegion(std::move(stage));
      return;
    }
    case Unit::Library: {
      auto map = dyn_cast<MapOp>(unit.op);
      Step step(map ? Step::Map : Step::Library, unit.op->getLoc(), unit.op);
      for (const RootSpec &root : unit.roots)
        step.outputs.push_back(bufferOf(root.dest));
      for (Value operand : unit.op->getOperands())
        step.inputs.push_back(bufferOf(reshapedBase(operand)));
      if (map) {
        step.extent = int64_t(map.getGroups());
        step.chunk = llvm::divideCeil(step.extent, int64_t(map.getParts()));
        step.mapped.assign(map.getMapped().begin(), map.getMapped().end());
        step.summed.assign(map.getSummed().begin(), map.getSummed().end());
        step.body = std::make_shared<StepList>(lowerBody(map));
        step.flops = double(step.extent) * step.body->flops;
      } else {
        step.flops = flopsOf(unit.op);
      }
      list.steps.push_back(std::move(step));
      return;
    }
    case Unit::Fill:
      fill(bufferOf(unit.roots[0].dest), 0, unit.op->getLoc());
      return;
    }
  }

  /// For one thread. What is summed over groups is added to an argument more, whose memory the sum takes over.
  StepList lowerBody(MapOp map) {
    Block &body = map.getBody().front();
    Operation *yield = body.getTerminator();
    OpBuilder builder(yield);
    SmallVector<int64_t> donations(body.getNumArguments(), -1);
    for (auto [i, isSummed] : llvm::enumerate(map.getSummed()))
      if (isSummed) {
        Value part = yield->getOperand(unsigned(i));
        Value before = body.addArgument(part.getType(), part.getLoc());
        donations.push_back(int64_t(i));
        yield->setOperand(unsigned(i), AddOp::create(builder, part.getLoc(), part.getType(), before, part));
      }
    Target alone = target;
    alone.mostTasks = 1;
    return Lowering(body, donations, alone, options).run();
  }

  void external(const Unit &unit, DotGeneralOp dot) {
    Epilogue pattern = unit.roots[0].dest == dot.getResult() ? Epilogue{{}, 0, dot.getResult()} : matchEpilogue(dot);
    Step step(Step::External, dot.getLoc(), dot);
    step.product = productOf(dot);
    step.activation = pattern.activation;
    step.outputs = {bufferOf(pattern.result)};
    step.inputs = {bufferOf(step.product.a), bufferOf(step.product.b), pattern.bias ? bufferOf(pattern.bias) : -1};
    step.flops = flopsOf(step.product);
    const Product &p = step.product;
    step.why = options.products == Products::Library
                   ? "as asked for"
                   : "its smallest matrix takes " +
                         std::to_string(4 * std::min({p.m * p.k, p.k * p.n, p.m * p.n}) >> 10) +
                         " KiB: all three are too large for generated tiles to keep one in the cache";
    list.steps.push_back(std::move(step));
  }

  void addRegion(Stage stage) {
    // Small code where it runs rarely: scalars, on one thread.
    stage.kernel.schedule.isCold = isCold;
    if (isCold && stage.kind == Stage::Loops)
      collapse(stage.kernel);
    Step step(Step::Region, stage.loc);
    step.stages.push_back(std::move(stage));
    list.steps.push_back(std::move(step));
  }

  static double flopsOf(Operation *library) {
    if (auto convolution = dyn_cast<ConvolutionOp>(library))
      return hw::backend::flopsOf(convolutionOf(convolution));
    if (isa<WholeOp>(library))
      return 0;
    Value matrix = library->getOperand(0);
    return double(typeOf(matrix).getNumElements()) * double(shapeOf(matrix).back()) * 2 / 3;
  }
  static double flopsOf(const Product &p) { return 2.0 * double(p.batch) * double(p.m) * double(p.n) * double(p.k); }

  void fill(int buffer, uint8_t byte, Location loc) {
    Step step(Step::Fill, loc);
    step.outputs = {buffer};
    step.fill = byte;
    list.steps.push_back(std::move(step));
  }

  void copy(int from, int to, Location loc) {
    Step step(Step::Copy, loc);
    step.inputs = {from};
    step.outputs = {to};
    list.steps.push_back(std::move(step));
  }

  /// Multiplications and additions, and every buffer once.
  void count() {
    auto bytesOf = [&](const StepList::Access &access) {
      double bytes = 0;
      for (const auto &set : {access.reads, access.writes})
        for (int buffer : set)
          bytes += double(list.buffers[buffer].bytes());
      return bytes;
    };
    for (Step &step : list.steps) {
      if (step.kind != Step::Region)
        step.bytes = bytesOf(list.accessOf(step));
      for (Stage &stage : step.stages) {
        stage.bytes = bytesOf(list.accessOf(stage));
        stage.flops = stage.kind == Stage::Contract ? flopsOf(stage.product) : 0;
        for (const Node &node : stage.kernel.nodes) {
          double times = 1;
          for (auto [dim, size] : llvm::enumerate(stage.kernel.domain))
            times *= node.dims >> dim & 1 ? double(size) : 1.0;
          bool isArithmetic =
              node.op == Opcode::Add || node.op == Opcode::Sub || node.op == Opcode::Mul || node.op == Opcode::Div;
          stage.flops += isArithmetic && isFloat(node.type) ? times : 0;
        }
        for (const Root &root : stage.kernel.roots)
          stage.flops += root.kind == RootKind::Sum ? double(stage.kernel.points()) : 0;
        step.flops += stage.flops;
        step.bytes += stage.bytes;
      }
      list.flops += step.flops;
      list.bytes += step.bytes;
    }
  }

  Block &block;
  bool isCold = false;
  ArrayRef<int64_t> donations;
  const Target &target;
  const FusionOptions &options;
  FusionPlan plan;
  StepList list;
  llvm::DenseMap<Value, int> buffers;
  llvm::DenseMap<Value, SmallVector<unsigned>> readersOf; // the units that read a value
  SmallVector<std::pair<Value, int>> copies;              // to results, at the end
  llvm::DenseMap<int, int> stashed;                       // of a result's buffer, where its argument was copied to
};

} // namespace

StepList hw::backend::lowerFunction(Block &block, ArrayRef<int64_t> donations, const Target &target,
                                    const FusionOptions &options) {
  prepare(block, options.products, target);
  mapGroups(block, target);
  for (MapOp map : block.getOps<MapOp>()) {
    prepareLoops(map.getBody().front(), options.products);
    hoistCopies(map);
  }
  prepareLoops(block, options.products);
  return Lowering(block, donations, target, options).run();
}

StepList hw::backend::lowerDiagnosis(Block &block, const Target &target, SmallVectorImpl<Operation *> &operations) {
  FusionOptions options;
  options.fuse = false;
  options.products = Products::Generated;
  prepare(block, options.products, target);
  prepareLoops(block, options.products);
  return Lowering(block, {}, target, options).diagnose(operations);
}
