#include "runtime/Study.h"

#include "runtime/LinearAlgebra.h"
#include "runtime/Marks.h"
#include "runtime/formats/Npy.h"
#include "runtime/formats/Safetensors.h"
#include "runtime/formats/Text.h"

#include <cmath>
#include <csignal>
#include <cstring>
#include <optional>

namespace hw::runtime {

//---- signals ---------------------------------------------------------------------------------------------------------

static volatile std::sig_atomic_t signalled = 0;

static void onSignal(int number) {
  signalled = 1;
  // The second one ends the program at once.
  std::signal(number, SIG_DFL);
}

void catchSignals() {
  struct sigaction action{};
  action.sa_handler = onSignal;
  action.sa_flags = SA_RESTART; // a file being written is not torn
  for (int number : {SIGINT, SIGTERM})
    sigaction(number, &action, nullptr);
}
bool wasInterrupted() { return signalled != 0; }
void clearInterrupt() { signalled = 0; }

static void checkInterrupt() {
  if (signalled)
    throw Interrupted();
}

//---- the walk --------------------------------------------------------------------------------------------------------

Study::Study(Program &program, StudyOptions options)
    : program(program), options(std::move(options)), start(Clock::now()), lastWrite(start) {}
Study::~Study() = default;

void Study::run() {
  // A missing file should not end a run that is hours old. (It is read when the plan gets there: its slot may serve
  // others before.)
  for (const auto &node : program.plan.body)
    if (node->kind == NodeKind::dataset)
      checkDataset(static_cast<const DatasetNode &>(*node), options.data, csv);
  run(program.plan.body);
}

/// How a timeline calls a node that takes its time; null for the others, and for those that say so themselves.
static const char *spanOf(NodeKind kind) {
  switch (kind) {
  case NodeKind::dataset:
    return "data";
  case NodeKind::batches:
    return "batches";
  case NodeKind::dense:
    return "columns";
  case NodeKind::eigvals:
    return "eigvals";
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

void Study::run(Node &node) {
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
    return loop(static_cast<ForNode &>(node));
  case NodeKind::train:
    return train(static_cast<TrainNode &>(node));
  case NodeKind::batches:
    return batches(static_cast<BatchesNode &>(node));
  case NodeKind::dense:
    return dense(static_cast<DenseNode &>(node));
  case NodeKind::eigvals:
    return eigvals(static_cast<EigvalsNode &>(node));
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
  }
}

void Study::note(const std::string &line) {
  if (options.progress && !replaying)
    options.progress->print(line);
}

void Study::loop(ForNode &node) {
  const double from = node.from->at(), to = node.to->at();
  // The bounds are whole numbers as a rule; a hair of rounding in a computed bound shall not cost the last turn.
  const double turns = std::floor(to - from + 1e-9) + 1;
  if (!(turns < 9e15))
    fail("{}the loop over {} runs from {} to {}: both must be finite", node.where.empty() ? "" : node.where + ": ",
         node.variable, shortest(from), shortest(to));
  loops.push_back(&node);
  for (int64_t i = 0; i < static_cast<int64_t>(turns); ++i) {
    node.index->set(from + static_cast<double>(i));
    run(node.body);
    checkInterrupt();
  }
  loops.pop_back();
}

void Study::batches(BatchesNode &node) {
  const int64_t full = node.rows / node.batch, tail = node.rows % node.batch;
  for (auto &result : node.results)
    std::fill(result.sum.begin(), result.sum.end(), 0.0);
  for (int64_t batch = 0; batch < full + (tail ? 1 : 0); ++batch) {
    const bool isTail = batch == full;
    const int64_t rows = isTail ? tail : node.batch;
    if (Slot *indices = isTail ? node.tailIndices : node.rowIndices) {
      auto *index = reinterpret_cast<int32_t *>(indices->data);
      for (int64_t i = 0; i < rows; ++i)
        index[i] = static_cast<int32_t>(batch * node.batch + i);
    }
    run(isTail ? node.tail : node.body);
    for (auto &result : node.results) {
      const Slot &from = isTail ? *result.tailFrom : *result.from;
      if (result.mean)
        for (size_t i = 0; i < result.sum.size(); ++i)
          result.sum[i] += from.at(static_cast<int64_t>(i)) * static_cast<double>(rows);
      else
        std::memcpy(result.slot->data + static_cast<uint64_t>(batch) * result.from->bytes, from.data, from.bytes);
    }
    checkInterrupt();
  }
  for (auto &result : node.results)
    for (size_t i = 0; i < result.sum.size(); ++i)
      result.slot->set(result.sum[i] / static_cast<double>(node.rows), static_cast<int64_t>(i));
}

void Study::dense(DenseNode &node) {
  const int64_t columns = node.input->count, rows = node.output->count;
  const uint64_t size = typeSize(node.output->type);
  // Some columns are collected, then written row by row: single elements a row apart would each cost a cache line.
  constexpr int64_t block = 16;
  std::vector<std::byte> collected(static_cast<size_t>(std::min(block, columns)) * node.output->bytes);
  std::memset(node.input->data, 0, node.input->bytes);
  for (int64_t first = 0; first < columns; first += block) {
    const int64_t width = std::min(block, columns - first);
    for (int64_t j = 0; j < width; ++j) {
      node.input->set(1, first + j);
      run(node.body);
      node.input->set(0, first + j);
      std::memcpy(collected.data() + static_cast<uint64_t>(j) * node.output->bytes, node.output->data,
                  node.output->bytes);
      checkInterrupt();
    }
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < width; ++j)
        std::memcpy(node.result->data + static_cast<uint64_t>(i * columns + first + j) * size,
                    collected.data() + static_cast<uint64_t>(j) * node.output->bytes + static_cast<uint64_t>(i) * size,
                    size);
  }
}

void Study::eigvals(EigvalsNode &node) {
  const int64_t n = node.to->count;
  const bool isF64 = node.from->type == HW_F64;
  const double asymmetry = symmetricEigenvalues(isF64, n, node.from->data, node.to->data);
  if (asymmetry > (isF64 ? 1e-6 : 1e-2))
    fail("{}eigvals wants a symmetric matrix, but here A and its transpose differ by {:.2g} of A's largest element: "
         "take the "
         "symmetric part, 0.5 * (A + A.T), if that is what you mean",
         node.where.empty() ? "" : node.where + ": ", asymmetry);
}

void Study::record(RecordNode &node) {
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

//---- what leaves the program -----------------------------------------------------------------------------------------

void Study::writeTables(bool close) {
  lastWrite = Clock::now();
  if (!options.out)
    return;
  for (const auto &table : program.plan.tables) {
    if (table->hidden())
      continue;
    auto &file = files[table.get()];
    if (!file)
      file = std::make_unique<CsvWriter>(*options.out, table->name(), table->cellNames());
    table->write(*file);
    close ? file->close() : file->flush();
  }
}

std::string loopSuffix(const std::vector<LoopValue> &loops) {
  std::string suffix;
  for (const LoopValue &loop : loops)
    suffix += fmt::format("-{}={}", loop.name, shortest(loop.slot->at()));
  return suffix;
}

static TensorRef tensorOf(const Slot &slot) { return {*fileType(slot.type), slot.shape, slot.data}; }

void Study::save(SaveNode &node) {
  if (!options.out || replaying)
    return;
  const std::string name = node.name + loopSuffix(node.loops);
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

void Study::plot(PlotNode &node) {
  if (!options.out || replaying)
    return;
  drawFigures(node, *options.out, [this](const std::string &line) { note(line); });
}

void Study::train(TrainNode &node) { Training(*this, node).run(); }

} // namespace hw::runtime
