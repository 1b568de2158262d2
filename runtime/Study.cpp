#include "runtime/Study.h"

#include "runtime/Marks.h"
#include "runtime/SideBySide.h"
#include "runtime/Threads.h"
#include "runtime/formats/Text.h"

#include <algorithm>
#include <utility>

namespace hw::runtime {

Study::Study(Program &program, StudyOptions options)
    : Walk(program, std::move(options)), lastWrite(start),
      nextCheckpoint(start + toDuration(this->options.checkpointSeconds)) {
  if (this->options.out) {
    this->options.out->fileName(checkpointName, checkpointExtension); // the first to have its name
    writer = std::make_unique<CheckpointWriter>(*this->options.out);
  }
  for (const auto &node : program.plan.body)
    if (node->kind == NodeKind::dataset)
      data[static_cast<const DatasetNode &>(*node).slot] = {static_cast<const DatasetNode *>(node.get()), {}};
}
Study::~Study() = default;

void Study::run() {
  // A missing file should not end a run that is hours old. (It is read when the plan gets there: its slot may serve
  // others before.)
  for (const auto &[slot, source] : data)
    checkDataset(*source.node, options.data, csv);
  // Nor should one whose results would replace what it reads.
  if (options.out) {
    for (const auto &table : program.plan.tables)
      if (!table->hidden())
        options.out->refuseInputs(table->name(), ".csv");
    for (const std::string &file : program.plan.files)
      for (const char *extension : {".safetensors", ".npy"})
        options.out->refuseInputs(file, extension);
  }
  Walk::run(program.plan.body);
}

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

//---- turns side by side ----------------------------------------------------------------------------------------------

/// Turns that were under way side by side when the checkpoint was written.
static int underWay(const CheckpointFile &checkpoint) {
  const auto &turns = checkpoint.state().turns;
  const auto count =
      std::count_if(turns.begin(), turns.end(), [](const WalkState &turn) { return !turn.frames.empty(); });
  if (count > threads())
    doesNotFit(checkpoint.place());
  if (count > 1 && Marks::current())
    fail("{} has {} runs side by side, of which a timeline cannot be made: leave --trace away", checkpoint.place(),
         count);
  return static_cast<int>(count);
}

void Study::runTurns(TurnsNode &node, Frame &frame, int64_t end) {
  // Where the checkpoint's place is deeper than this frame, a turn was under way by itself.
  const bool isFree = pending.empty() && !wholes && !replaying && options.sideBySide && node.isIndependent();
  const CheckpointFile *checkpoint = isFree ? std::exchange(resumed, nullptr) : nullptr;
  int count = isFree ? lanesFor(program.plan, node, end, threads()) : 0;
  if (count > 0 && Marks::current())
    count = 1; // these have one clock a thread of the program
  if (checkpoint)
    count = std::max({count, underWay(*checkpoint), 1});
  if (count == 0)
    return Walk::runTurns(node, frame, end);
  lanes = std::max<int64_t>(lanes, count);
  if (!team || !team->isFor(node, count))
    team = std::make_unique<Team>(*this, node, count);
  team->run(frame, end, checkpoint);
}

//---- checkpoints -----------------------------------------------------------------------------------------------------

void Study::safePoint() {
  if (wholes)
    return;
  const bool isLast = wasInterrupted();
  if (writer && writer->hasFailed())
    finishCheckpoint(); // throws: a full disk is told of at once
  if (writer && !replaying) {
    const auto now = Clock::now();
    if (now - lastWrite > std::chrono::seconds(5))
      writeTables();
    if (isLast || checkpointAsked || (now >= nextCheckpoint && !writer->isBusy()))
      writeCheckpoint();
    if (isLast)
      writer->wait();
  }
  if (isLast)
    throw Interrupted();
}

void Study::writeCheckpoint() {
  const Span span("checkpoint", "checkpoint");
  std::optional<Team::Pause> pause;
  if (team)
    pause.emplace(*team);
  const auto before = Clock::now();
  Checkpoint &checkpoint = writer->next();
  collect(checkpoint);
  writer->start();
  checkpointAsked = false;
  const double least = 100 * secondsSince(before);
  nextCheckpoint = Clock::now() + toDuration(std::min(std::max(options.checkpointSeconds, least), 60.0));
}

void Study::finishCheckpoint() {
  if (writer)
    writer->wait();
}

void Study::collect(Checkpoint &checkpoint) {
  CheckpointState &state = checkpoint.state;
  state = origin;
  state.seconds = elapsed();
  state.sideBySide = lanes;
  state.files = options.out->requests();
  Walk::collect(state, checkpoint, "");
  const PlaceInPlan place = placeInPlan(program.plan, state.frames, "the run's place");
  const auto names = tensorNames(program.plan, place, "");
  for (size_t i = 0; i < names.size(); ++i) {
    const Slot &slot = *place.live[i];
    if (const auto source = data.find(&slot); source != data.end()) {
      if (!source->second.sum)
        source->second.sum = checksum(slot.data, slot.bytes);
      state.sums[names[i]] = *source->second.sum;
    } else
      keepSlot(checkpoint, names[i], slot);
  }
  if (team)
    team->keep(state.turns, checkpoint);
}

void Study::resume(const CheckpointFile &checkpoint) {
  const CheckpointState &state = checkpoint.state();
  const PlaceInPlan place = placeInPlan(program.plan, state.frames, checkpoint.place());
  const auto names = tensorNames(program.plan, place, "");
  for (size_t i = 0; i < names.size(); ++i) {
    const Slot &slot = *place.live[i];
    if (const auto source = data.find(&slot); source != data.end())
      readDataAgain(source->second, names[i], checkpoint);
    else
      readSlot(checkpoint, names[i], slot);
  }
  restore(state, checkpoint, "");
  for (const auto &[name, extension] : state.files)
    options.out->fileName(name, extension);
  if (!state.turns.empty()) {
    const auto *node = dynamic_cast<const TurnsNode *>(place.innermost);
    if (!node || !node->isIndependent())
      doesNotFit(checkpoint.place());
    resumed = &checkpoint;
  }
  lanes = state.sideBySide;
  start -= toDuration(state.seconds);
}

void Study::readDataAgain(Source &source, const std::string &name, const CheckpointFile &checkpoint) {
  const DatasetNode &node = *source.node;
  loadDataset(node, options.data, csv);
  source.sum = checksum(node.slot->data, node.slot->bytes);
  const auto &sums = checkpoint.state().sums;
  if (const auto then = sums.find(name); then == sums.end() || then->second != *source.sum)
    fail("{}the data of {} is not what it was when {} was written: bring it back, or start over with --force",
         node.where.empty() ? "" : node.where + ": ", node.path.empty() ? node.type + "()" : inQuotes(node.path),
         checkpoint.place());
}

} // namespace hw::runtime
