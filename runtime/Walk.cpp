#include "runtime/Walk.h"

#include "runtime/LinearAlgebra.h"
#include "runtime/Marks.h"
#include "runtime/formats/Npy.h"
#include "runtime/formats/Safetensors.h"
#include "runtime/formats/Text.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <cstring>
#include <set>

namespace hw::runtime {

//---- signals ---------------------------------------------------------------------------------------------------------

static std::atomic<int> signalled = 0; // any thread may get the signal
static_assert(std::atomic<int>::is_always_lock_free, "as a signal handler needs it");

static void onSignal(int number) {
  signalled = number;
  // The second one ends the program at once.
  std::signal(number, SIG_DFL);
}

void catchSignals() {
  struct sigaction action{};
  action.sa_handler = onSignal;
  action.sa_flags = SA_RESTART; // a file being written is not torn
  for (int number : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before;
    sigaction(number, nullptr, &before);
    if (before.sa_handler != SIG_IGN) // nohup, and a shell's jobs in the background
      sigaction(number, &action, nullptr);
  }
}
int interruptSignal() { return signalled; }
void clearInterrupt() { signalled = 0; }

//---- the walk --------------------------------------------------------------------------------------------------------

Walk::Walk(Program &program, StudyOptions options)
    : program(program), options(std::move(options)), start(Clock::now()) {}
Walk::~Walk() = default;

void Walk::run(const Body &body) {
  if (wholes)
    return runWhole(body);
  for (Frame frame(*this); frame.at < static_cast<int64_t>(body.size());) {
    run(*body[static_cast<size_t>(frame.at)]);
    ++frame.at;
    safePoint();
  }
}

void Walk::runWhole(const Body &body) {
  ++wholes;
  for (const auto &node : body)
    run(*node);
  --wholes;
}

/// How a timeline calls a node that takes its time; null for the others, and for those that say so themselves.
static const char *spanOf(NodeKind kind) {
  switch (kind) {
  case NodeKind::dataset:
    return "data";
  case NodeKind::batches:
    return "batches";
  case NodeKind::eigh:
    return "eigh";
  case NodeKind::gradcheck:
    return "gradcheck";
  case NodeKind::save:
    return "save";
  case NodeKind::plot:
    return "plot";
  default:
    return nullptr;
  }
}

void Walk::run(Node &node) {
  std::optional<Span> span;
  if (const char *kind = Marks::current() ? spanOf(node.kind) : nullptr)
    span.emplace(kind, node.where.empty() ? kind : fmt::format("{} {}", kind, node.where));
  switch (node.kind) {
  case NodeKind::call:
    if (auto &call = static_cast<CallNode &>(node); call.bench.empty())
      program.run(call);
    else
      benchCall(call);
    return;
  case NodeKind::copy: {
    const auto &copy = static_cast<CopyNode &>(node);
    std::memmove(copy.to->data, copy.from->data, copy.to->bytes);
    return;
  }
  case NodeKind::dataset:
    return loadDataset(static_cast<DatasetNode &>(node), options.data, csv);
  case NodeKind::loop:
  case NodeKind::together:
    return turns(static_cast<TurnsNode &>(node));
  case NodeKind::train:
    return train(static_cast<TrainNode &>(node));
  case NodeKind::batches:
    return batches(static_cast<BatchesNode &>(node));
  case NodeKind::eigh:
    return eigh(static_cast<EighNode &>(node));
  case NodeKind::gradcheck:
    return gradcheck(static_cast<GradcheckNode &>(node));
  case NodeKind::record:
    return record(static_cast<RecordNode &>(node));
  case NodeKind::reduce: {
    const auto &reduce = static_cast<ReduceNode &>(node);
    reduce.slot->set(reduce.table->reduce(reduce.reduction, *reduce.column));
    return;
  }
  case NodeKind::clear:
    return static_cast<ClearNode &>(node).table->truncate(0);
  case NodeKind::save:
    return save(static_cast<SaveNode &>(node));
  case NodeKind::plot:
    return plot(static_cast<PlotNode &>(node));
  case NodeKind::stop:
    if (static_cast<StopNode &>(node).slot->at() != 0)
      stopping = true;
    return;
  case NodeKind::checkpoint:
    return askCheckpoint(); // the safe point behind it writes
  }
}

void Walk::turns(TurnsNode &node) {
  const int64_t end = turnCount(node);
  const bool isLoop = node.kind == NodeKind::loop;
  if (isLoop)
    loops.push_back(static_cast<const ForNode *>(&node));
  {
    Frame frame(*this);
    runTurns(node, frame, end);
  }
  if (isLoop)
    loops.pop_back();
}

int64_t Walk::turnCount(const TurnsNode &node) const {
  if (node.kind == NodeKind::together)
    return static_cast<int64_t>(static_cast<const TogetherNode &>(node).branches.size());
  const auto &loop = static_cast<const ForNode &>(node);
  const double from = loop.from->at(), to = loop.to->at();
  // The bounds are whole numbers as a rule; a hair of rounding in a computed bound shall not cost the last turn.
  const double turns = std::floor(to - from + 1e-9) + 1;
  if (!(turns < 9e15))
    fail("{}the loop over {} runs from {} to {}: both must be finite", node.where.empty() ? "" : node.where + ": ",
         loop.variable, shortest(from), shortest(to));
  return static_cast<int64_t>(std::max(turns, 0.0));
}

void Walk::runTurns(TurnsNode &node, Frame &frame, int64_t end) {
  for (; frame.at < end; ++frame.at)
    turn(node, frame.at);
}

void Walk::turn(TurnsNode &node, int64_t number) {
  if (node.kind == NodeKind::together)
    return run(static_cast<TogetherNode &>(node).branches[static_cast<size_t>(number)]);
  auto &loop = static_cast<ForNode &>(node);
  loop.index->set(loop.from->at() + static_cast<double>(number));
  run(loop.body);
}

/// Of an evaluation in batches: the batch, and the sums of the means so far.
class BatchesFrame : public Frame {
public:
  BatchesFrame(Walk &walk, BatchesNode &node) : Frame(walk), node(node) {
    auto from = kept.begin();
    for (auto &result : node.results)
      for (double &sum : result.sum)
        sum = from == kept.end() ? 0 : *from++;
  }
  std::vector<double> numbers() const override {
    std::vector<double> sums;
    for (const auto &result : node.results)
      sums.insert(sums.end(), result.sum.begin(), result.sum.end());
    return sums;
  }

private:
  const BatchesNode &node;
};

void Walk::batches(BatchesNode &node) {
  const int64_t full = node.rows / node.batch, tail = node.rows % node.batch;
  for (BatchesFrame frame(*this, node); frame.at < full + (tail ? 1 : 0);) {
    const int64_t batch = frame.at;
    const bool isTail = batch == full;
    const int64_t rows = isTail ? tail : node.batch;
    if (Slot *indices = isTail ? node.tailIndices : node.rowIndices) {
      auto *index = reinterpret_cast<int32_t *>(indices->data);
      for (int64_t i = 0; i < rows; ++i)
        index[i] = static_cast<int32_t>(batch * node.batch + i);
    }
    runWhole(isTail ? node.tail : node.body);
    for (auto &result : node.results) {
      const Slot &from = isTail ? *result.tailFrom : *result.from;
      if (result.mean)
        for (size_t i = 0; i < result.sum.size(); ++i)
          result.sum[i] += from.at(static_cast<int64_t>(i)) * static_cast<double>(rows);
      else
        std::memcpy(result.slot->data + static_cast<uint64_t>(batch) * result.from->bytes, from.data, from.bytes);
    }
    ++frame.at;
    safePoint();
  }
  for (auto &result : node.results)
    for (size_t i = 0; i < result.sum.size(); ++i)
      result.slot->set(result.sum[i] / static_cast<double>(node.rows), static_cast<int64_t>(i));
}

void Walk::eigh(EighNode &node) {
  const int64_t n = node.values->count;
  const bool isF64 = node.matrix->type == HW_F64;
  const double asymmetry =
      symmetricEigensystem(isF64, n, node.matrix->data, node.values->data, node.vectors ? node.vectors->data : nullptr);
  if (asymmetry > (isF64 ? 1e-6 : 1e-2))
    fail("{}eigenvalues are of a symmetric matrix, but here A and its transpose differ by {:.2g} of A's largest "
         "element: "
         "take the symmetric part, 0.5 * (A + A.T), if that is what you mean",
         node.where.empty() ? "" : node.where + ": ", asymmetry);
}

void Walk::record(RecordNode &node) {
  Table &table = *node.table;
  const double seconds = secondsSince(start);
  for (int64_t row = 0, rows = std::max<int64_t>(node.rows, 1); row < rows; ++row) {
    double *cells = table.append();
    for (const auto &item : node.items) {
      double *cell = cells + item.cell;
      if (item.slot) {
        const int64_t first = item.eachRow ? row * item.width : 0;
        for (int64_t i = 0; i < item.width; ++i)
          cell[i] = item.slot->at(first + i);
        if (item.asText)
          for (int64_t i = 0; i < item.width; ++i)
            cell[i] =
                table.intern(item.slot->type == HW_F32 ? shortest(static_cast<float>(cell[i])) : shortest(cell[i]));
      } else {
        cell[0] = item.seconds ? seconds : item.value;
        if (item.asText)
          cell[0] = table.intern(shortest(cell[0]));
      }
    }
  }
}

//---- checkpoints -----------------------------------------------------------------------------------------------------

Frame::Frame(Walk &walk) : walk(walk) {
  const size_t depth = walk.frames.size();
  walk.frames.push_back(this);
  if (depth >= walk.pending.size())
    return;
  FrameState &state = walk.pending[depth];
  at = state.at;
  part = state.part;
  kept = std::move(state.numbers);
  if (depth + 1 == walk.pending.size())
    walk.pending.clear();
}
Frame::~Frame() { walk.frames.pop_back(); }

std::vector<FrameState> frameStates(const std::vector<const Frame *> &frames) {
  std::vector<FrameState> states;
  for (const Frame *frame : frames)
    states.push_back({frame->at, frame->part, frame->numbers()});
  return states;
}

std::vector<std::string> tensorNames(const Plan &plan, const PlaceInPlan &place, const std::string &prefix) {
  std::map<const Slot *, std::string> carried;
  std::set<std::string> taken;
  for (const TrainNode *training : place.trainings)
    for (const Carried &value : training->carried)
      if (taken.insert(value.name).second)
        carried.emplace(value.slot, value.name);
  std::vector<std::string> names;
  for (const Slot *slot : place.live) {
    const auto named = carried.find(slot);
    names.push_back(prefix +
                    (named != carried.end() ? named->second : fmt::format("slot {}", slot - plan.slots.data())));
  }
  return names;
}

/// ui64, which files do not have, is kept as the same bits of i64.
static DType checkpointType(hw_dtype type) { return fileType(type).value_or(DType::i64); }

void keepSlot(Checkpoint &checkpoint, const std::string &name, const Slot &slot) {
  std::memcpy(checkpoint.add(name, checkpointType(slot.type), slot.shape, slot.bytes), slot.data, slot.bytes);
}

void readSlot(const CheckpointFile &checkpoint, const std::string &name, const Slot &slot) {
  std::memcpy(slot.data, checkpoint.read(name, checkpointType(slot.type), slot.shape).data(), slot.bytes);
}

static std::string tableName(const std::string &prefix, const Table &table) {
  return fmt::format("{}table {}", prefix, table.name());
}

void keepTable(WalkState &state, Checkpoint &checkpoint, const std::string &prefix, const Table &table) {
  state.tables.push_back({table.name(), table.rows(), table.texts()});
  const Shape shape = {table.rows(), static_cast<int64_t>(table.width())};
  const uint64_t bytes = static_cast<uint64_t>(table.rows()) * table.width() * sizeof(double);
  table.copyRows(checkpoint.add(tableName(prefix, table), DType::f64, shape, bytes));
}

void Walk::collect(WalkState &state, Checkpoint &checkpoint, const std::string &prefix) const {
  state.frames = frameStates(frames);
  state.stopping = stopping;
  state.trainings = reports;
  for (const auto &table : program.plan.tables)
    keepTable(state, checkpoint, prefix, *table);
}

void Walk::restore(const WalkState &state, const CheckpointFile &checkpoint, const std::string &prefix) {
  pending = state.frames;
  stopping = state.stopping;
  reports = state.trainings;
  for (size_t i = 0; i < program.plan.tables.size(); ++i) {
    Table &table = *program.plan.tables[i];
    const bool isSame = i < state.tables.size() && state.tables[i].name == table.name();
    const Shape shape = {isSame ? state.tables[i].rows : -1, static_cast<int64_t>(table.width())};
    if (!elementCount(shape))
      doesNotFit(checkpoint.place());
    const Tensor rows = checkpoint.read(tableName(prefix, table), DType::f64, shape);
    table.restore(state.tables[i].rows, rows.as<double>(), state.tables[i].texts);
  }
}

//---- what leaves the program -----------------------------------------------------------------------------------------

std::string loopSuffix(const std::vector<LoopValue> &loops) {
  std::string suffix;
  for (const LoopValue &loop : loops)
    suffix += fmt::format("-{}={}", loop.name, shortest(loop.slot->at()));
  return suffix;
}

/// How many of a slot's numbers are infinite or nan.
static int64_t countNotFinite(const Slot &slot) {
  auto count = [&](auto zero) {
    const auto *numbers = reinterpret_cast<const decltype(zero) *>(slot.data);
    return std::count_if(numbers, numbers + slot.bytes / sizeof zero, [](auto x) { return !std::isfinite(x); });
  };
  return slot.type == HW_F32 ? count(0.0f) : slot.type == HW_F64 ? count(0.0) : 0;
}

static TensorRef tensorOf(const Slot &slot) { return {*fileType(slot.type), slot.shape, slot.data}; }

void Walk::save(SaveNode &node) {
  if (!options.out || replaying)
    return;
  const std::string name = node.name + loopSuffix(node.loops);
  // A file may hold what is no number, as someone wants to see it; but not without a word.
  for (size_t i = 0; i < node.slots.size() && options.progress; ++i)
    if (const int64_t bad = countNotFinite(*node.slots[i]))
      options.progress->print(
          fmt::format("warning: {}'{}' is saved with {} infinite or nan{}", node.where.empty() ? "" : node.where + ": ",
                      node.format == "npy" ? name : name + "." + node.names[i], bad, bad == 1 ? " value" : " values"));
  if (node.format == "npy")
    writeNpy(*options.out, name, tensorOf(*node.slots[0]));
  else if (node.format == "safetensors") {
    std::vector<NamedTensor> tensors;
    for (size_t i = 0; i < node.slots.size(); ++i)
      tensors.push_back({node.names[i], tensorOf(*node.slots[i])});
    writeSafetensors(*options.out, name, tensors);
  } else {
    const Table &table = *node.table;
    const size_t first = node.column ? node.column->cell : 0;
    const size_t width = node.column ? static_cast<size_t>(node.column->width) : table.width();
    for (const auto &column : table.columns())
      if ((!node.column || node.column == &column) && column.type == Table::Type::text)
        fail("{}column '{}' of table '{}' holds text, which .npy does not: it is in {}.csv",
             node.where.empty() ? "" : node.where + ": ", column.name, table.name(), table.name());
    std::vector<double> values;
    values.reserve(static_cast<size_t>(table.rows()) * width);
    for (int64_t i = 0; i < table.rows(); ++i)
      values.insert(values.end(), table.row(i) + first, table.row(i) + first + width);
    Shape shape = {table.rows()};
    if (width != 1 || !node.column)
      shape.push_back(static_cast<int64_t>(width));
    if (node.column && node.column->type == Table::Type::f32) {
      const std::vector<float> floats(values.begin(), values.end());
      writeNpy(*options.out, name, {DType::f32, shape, floats.data()});
    } else
      writeNpy(*options.out, name, {DType::f64, shape, values.data()});
  }
}

void Walk::plot(PlotNode &node) {
  if (!options.out || replaying)
    return;
  drawFigures(node, *options.out, [this](const std::string &line) {
    if (options.progress)
      options.progress->print(line);
  });
}

void Walk::train(TrainNode &node) { Training(*this, node).run(); }

} // namespace hw::runtime
