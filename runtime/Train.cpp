// A training: turns, shuffles, `every`, and what happens when the loss is no number any more.
#include "runtime/Marks.h"
#include "runtime/Philox.h"
#include "runtime/Walk.h"
#include "runtime/formats/Safetensors.h"
#include "runtime/formats/Text.h"

#include <cmath>
#include <cstring>
#include <numeric>
#include <optional>

namespace hw::runtime {

Training::Training(Walk &walk, TrainNode &node) : walk(walk), node(node), stepsPerEpoch(node.stepsPerEpoch()) {
  const double count = node.count->at();
  const char *unit = node.epochs ? "epochs" : "steps";
  // (A hair of rounding in a computed count is none of the user's.)
  if (!(count >= 0 && count < 1e15 && std::fabs(count - std::round(count)) <= 1e-9 * std::max(count, 1.0)))
    fail("{}training '{}' is to take {} {}: a whole number from 0 is needed",
         node.where.empty() ? "" : node.where + ": ", node.label, shortest(count), unit);
  total = static_cast<int64_t>(std::llround(count)) * (node.epochs ? stepsPerEpoch : 1);
  const double number = node.seed->at(); // of a net, which `init` may have found in a setting or a file's arithmetic
  if (!(number >= 0 && number < 0x1p32 && number == std::floor(number)))
    fail("{}the seed {} is not a whole number from 0 to 4294967295", node.where.empty() ? "" : node.where + ": ",
         shortest(number));
  seed = static_cast<uint64_t>(number);
  if (node.batch > 0)
    order.resize(static_cast<size_t>(node.rows));
  uint64_t bytes = 0;
  for (const Carried &carried : node.carried)
    bytes += carried.slot->bytes;
  for (Snapshot *s : {&snapshot, &fresh}) {
    s->values.resize(bytes);
    s->tables.resize(walk.program.plan.tables.size());
  }
}

std::string Training::name() const {
  std::string result = node.label;
  for (const ForNode *loop : walk.loops)
    result += fmt::format(", {} = {}", loop->variable, shortest(loop->index->at()));
  return result;
}

//---- a turn ----------------------------------------------------------------------------------------------------------

void Training::startEpoch(int64_t epoch) {
  orderEpoch = epoch;
  std::iota(order.begin(), order.end(), 0);
  if (node.ordered)
    return;
  // Fisher and Yates, as a function of seed and epoch alone.
  PhiloxStream random(seed, static_cast<uint64_t>(epoch), shuffleTag);
  for (size_t i = order.size(); i > 1; --i)
    std::swap(order[i - 1], order[random.below(static_cast<uint32_t>(i))]);
}

void Training::place(int64_t step) {
  const int64_t epoch = step / stepsPerEpoch;
  if (node.batch > 0) {
    if (orderEpoch != epoch)
      startEpoch(epoch);
    if (const Slot *indices = isTail(step) ? node.tailIndices : node.rowIndices)
      std::memcpy(indices->data, order.data() + step % stepsPerEpoch * node.batch, indices->bytes);
  }
  node.epoch->set(static_cast<double>(epoch));
  node.step->set(static_cast<double>(step));
}

double Training::turn(int64_t step) {
  place(step);
  const bool tail = isTail(step);
  walk.runWhole(tail ? node.tail : node.body);
  const Slot *loss = tail ? node.tailLoss : node.loss;
  return loss ? loss->at() : 0;
}

void Training::runEvery(int64_t completed, int64_t &part) {
  const int64_t epochs = completed / stepsPerEpoch;
  const bool epochEnds = completed % stepsPerEpoch == 0;
  for (size_t k = part > 0 ? static_cast<size_t>(part) - 1 : 0; k < node.every.size(); ++k) {
    Every &every = node.every[k];
    if (every.epochs ? !epochEnds || epochs % every.period != 0 : completed % every.period != 0)
      continue;
    part = static_cast<int64_t>(k) + 1;
    every.epoch->set(static_cast<double>(epochs));
    every.step->set(static_cast<double>(completed));
    walk.run(every.body);
    if (walk.stopping)
      break;
  }
  part = 0;
}

//---- all turns -------------------------------------------------------------------------------------------------------

/// Of a training: its completed steps, which `every` block it is in, and three numbers.
class Training::Run : public Frame {
public:
  explicit Run(Walk &walk) : Frame(walk) {
    if (kept.empty()) {
      outerStopping = std::exchange(walk.stopping, false);
      isFresh = true;
      return;
    }
    loss = kept[0];
    start -= toDuration(kept[1]);
    outerStopping = kept[2] != 0;
  }
  std::vector<double> numbers() const override { return {loss, secondsSince(start), outerStopping ? 1.0 : 0.0}; }

  double loss = NAN;
  Clock::time_point start = Clock::now();
  bool isFresh = false;
  std::optional<TrainingProgress> progress;
  bool outerStopping = false; // a training inside `every` must not end the one around it
};

void Training::report(Run &run, const char *end) {
  if (walk.replaying)
    return;
  TrainReport r;
  r.label = node.label;
  for (const ForNode *loop : walk.loops)
    r.loops.emplace_back(loop->variable, loop->index->at());
  r.seed = node.seed->at();
  r.loss = run.loss;
  r.seconds = secondsSince(run.start);
  r.epochs = run.at / stepsPerEpoch;
  r.steps = run.at;
  r.end = end;
  walk.reports.push_back(std::move(r));
  if (run.progress)
    run.progress->end(run.at, run.at / stepsPerEpoch, run.loss, end == std::string_view("finished") ? "" : end);
}

void Training::clearOwnTables() {
  for (const Body *body : {&node.body, &node.tail})
    for (const auto &child : *body)
      if (child->kind == NodeKind::record)
        if (Table *table = static_cast<RecordNode &>(*child).table; table->hidden())
          table->truncate(0);
}

void Training::run() {
  const Span span("training", name());
  Run run(walk);
  if (run.isFresh)
    clearOwnTables();
  watch();
  if (walk.options.progress && !walk.replaying)
    run.progress.emplace(*walk.options.progress, name(), total, node.epochs ? total / stepsPerEpoch : 0, run.at);
  try {
    turns(run);
  } catch (const Interrupted &) {
    report(run, "interrupted");
    throw;
  }
  report(run, walk.stopping ? "stopped" : "finished");
  walk.stopping = run.outerStopping;
}

void Training::turns(Run &run) {
  int64_t &done = run.at;
  std::optional<Span> epoch;
  // The clock is read some fifty times a second, however long a step takes.
  double perStep = 0;
  int64_t lastLook = done, nextLook = done + 1, nextSnapshot = 0;
  auto lastTime = Clock::now();
  if (run.part > 0) // a checkpoint was written within that block
    runEvery(done, run.part);
  while (done < total && !walk.stopping) {
    const int64_t step = done;
    // The weights to go back to should the loss become NaN: at an epoch's start, and at most 1/500 of the time. After a
    // checkpoint there are none yet.
    if (!walk.replaying && (snapshot.step < 0 || (step >= nextSnapshot && step % stepsPerEpoch == 0))) {
      const auto before = Clock::now();
      stopIfNotFinite(run);
      takeSnapshot(step);
      const double cost = secondsSince(before);
      nextSnapshot = step + 1 + static_cast<int64_t>(500 * std::min(cost / std::max(perStep, 1e-7), 1e6));
      if (perStep == 0) // no step timed yet: look again soon
        nextSnapshot = std::min<int64_t>(nextSnapshot, step + 500);
    }
    if (stepsPerEpoch > 1 && step % stepsPerEpoch == 0) {
      epoch.reset(); // ends, before the next begins
      epoch.emplace("epoch", "epoch", step / stepsPerEpoch);
    }
    run.loss = turn(step);
    if (!std::isfinite(run.loss) && !walk.replaying) {
      walk.awaitEarlier();
      report(run, "not finite");
      explain(step, run.loss);
    }
    ++done;
    if (!node.every.empty())
      runEvery(done, run.part);
    if (done >= nextLook) {
      const auto now = Clock::now();
      const double passed = std::chrono::duration<double>(now - lastTime).count();
      perStep = std::max(passed / static_cast<double>(done - lastLook), 1e-8);
      // Growing slowly: a first step may be quick by chance.
      nextLook = done + std::min(std::max<int64_t>(static_cast<int64_t>(0.02 / perStep), 1), 4 * (done - lastLook));
      lastLook = done;
      lastTime = now;
      if (run.progress)
        run.progress->update(done, done / stepsPerEpoch, run.loss);
      walk.safePoint();
    } else if (wasInterrupted())
      walk.safePoint();
  }
  stopIfNotFinite(run);
}

/// What the loss does not show: the weights after the last step, the running statistics that only an evaluation reads.
void Training::stopIfNotFinite(Run &run) {
  if (walk.replaying || snapshot.step < 0 || !notFinite())
    return;
  walk.awaitEarlier();
  report(run, "not finite");
  explainValue(run.at);
}

//---- not a number ----------------------------------------------------------------------------------------------------

template <class Word, Word exponent> static bool allFinite(const std::byte *data, uint64_t bytes) {
  Word worst = 0;
  for (uint64_t i = 0; i < bytes; i += sizeof(Word)) {
    Word word;
    std::memcpy(&word, data + i, sizeof word);
    worst |= (word & exponent) == exponent;
  }
  return worst == 0;
}

static bool finite(const Slot &slot) {
  if (slot.type == HW_F32)
    return allFinite<uint32_t, 0x7F800000>(slot.data, slot.bytes);
  if (slot.type == HW_F64)
    return allFinite<uint64_t, 0x7FF0000000000000>(slot.data, slot.bytes);
  return true;
}

/// Weights; states of layers and optimisers that begin as numbers. A variable may be infinite, as the best loss so far
/// is before there is one, and so may a state that begins so.
void Training::watch() {
  watched.clear();
  for (const Carried &carried : node.carried)
    if (carried.role == "weight" || ((carried.role == "state" || carried.role == "optimiser") && finite(*carried.slot)))
      watched.push_back(&carried);
}

const Carried *Training::notFinite() const {
  for (const Carried *carried : watched)
    if (!finite(*carried->slot))
      return carried;
  return nullptr;
}

void Training::takeSnapshot(int64_t step) {
  // A snapshot that has the NaN in it would be of no use: the one before stays.
  if (snapshot.step >= 0 && notFinite())
    return;
  std::byte *to = fresh.values.data();
  for (const Carried &carried : node.carried) {
    std::memcpy(to, carried.slot->data, carried.slot->bytes);
    to += carried.slot->bytes;
  }
  for (size_t i = 0; i < fresh.tables.size(); ++i) {
    const Table &table = *walk.program.plan.tables[i];
    auto &saved = fresh.tables[i];
    saved.count = table.rows();
    saved.cells.resize(table.hidden() ? static_cast<size_t>(table.rows()) * table.width() : 0);
    if (table.hidden())
      table.copyRows(saved.cells.data());
  }
  fresh.step = step;
  std::swap(snapshot, fresh);
}

void Training::restore() {
  const std::byte *from = snapshot.values.data();
  for (const Carried &carried : node.carried) {
    std::memcpy(carried.slot->data, from, carried.slot->bytes);
    from += carried.slot->bytes;
  }
  for (size_t i = 0; i < snapshot.tables.size(); ++i) {
    Table &table = *walk.program.plan.tables[i];
    const auto &saved = snapshot.tables[i];
    if (!table.hidden()) {
      table.truncate(saved.count);
      continue;
    }
    table.truncate(0);
    table.appendRows(saved.count, saved.cells.data());
  }
}

void Training::replayTo(int64_t step) {
  restore();
  int64_t part = 0;
  for (int64_t s = snapshot.step; s < step; ++s) {
    turn(s);
    runEvery(s + 1, part);
    if (wasInterrupted())
      throw Interrupted();
  }
}

void Training::explain(int64_t badStep, double loss) {
  walk.replaying = true;
  const int64_t epoch = badStep / stepsPerEpoch, epochStart = std::max(epoch * stepsPerEpoch, snapshot.step);
  const std::string kept = keepWeights(epochStart);
  // A loss can be NaN because an update made the weights so: then that update is to blame. (After the first snapshot,
  // only finite weights are kept; so if they are not finite there, they never were.)
  restore();
  const bool finiteAtStart = !notFinite();
  const Carried *first = nullptr;
  int64_t culprit = badStep, part = 0;
  for (int64_t s = snapshot.step; finiteAtStart && s < badStep; ++s) {
    turn(s);
    if ((first = notFinite())) {
      culprit = s;
      break;
    }
    runEvery(s + 1, part);
    if (wasInterrupted())
      throw Interrupted();
  }
  std::string blame;
  if (!finiteAtStart)
    blame = ": its weights are not finite before the first step";
  else {
    blame = blameOf(culprit);
    if (first)
      blame = fmt::format(
          " after the update of step {} had made {}{}", culprit,
          first->role == "weight" ? "weights that are not finite" : fmt::format("'{}' not finite", first->name), blame);
  }
  walk.replaying = false;
  fail("{}the loss of training '{}' became {} in epoch {}, step {} (counted from 0){}{}: a smaller learning rate, "
       "clip_norm, or a guard in "
       "that operation may help",
       node.where.empty() ? "" : node.where + ": ", name(), std::isnan(loss) ? "nan" : shortest(loss), epoch, badStep,
       blame, kept);
}

/// Goes back to the start of an epoch and saves the weights there; says where they are.
std::string Training::keepWeights(int64_t epochStart) {
  replayTo(epochStart);
  if (!walk.options.out)
    return "";
  const std::string file = node.label + "-before-nan";
  saveWeights(file, epochStart);
  return fmt::format("; the weights at {} are in {}",
                     epochStart % stepsPerEpoch == 0 ? fmt::format("the start of epoch {}", epochStart / stepsPerEpoch)
                                                     : fmt::format("step {}, where the run was resumed", epochStart),
                     walk.options.out->path(file, ".safetensors"));
}

/// The first operation of a step whose result is not finite.
std::string Training::blameOf(int64_t step) {
  const Diagnosis &diagnosis = isTail(step) ? node.diagnoseTail : node.diagnose;
  if (!diagnosis.call)
    return "";
  replayTo(step);
  place(step);
  walk.program.run(*diagnosis.call);
  const double found = diagnosis.result->at();
  if (!(found >= 0 && found < static_cast<double>(diagnosis.operations.size())))
    return "";
  const auto &operation = diagnosis.operations[static_cast<size_t>(found)];
  return fmt::format("; the first operation whose result is not finite is {}{}", operation.name,
                     operation.where.empty() ? "" : " at " + operation.where);
}

/// The loss is finite, but a weight or a state is not, after some step before `end`.
void Training::explainValue(int64_t end) {
  walk.replaying = true;
  restore();
  const Carried *bad = notFinite();
  std::string when = " before the first step", blame, kept;
  if (!bad) {
    int64_t culprit = snapshot.step, part = 0;
    bool inStep = false;
    for (; culprit < end; ++culprit) {
      turn(culprit);
      bad = notFinite();
      inStep = bad != nullptr;
      if (inStep)
        break;
      runEvery(culprit + 1, part);
      if ((bad = notFinite()))
        break;
      if (wasInterrupted())
        throw Interrupted();
    }
    when = fmt::format(" in epoch {}, step {} (counted from 0)", culprit / stepsPerEpoch, culprit);
    kept = keepWeights(std::max(culprit / stepsPerEpoch * stepsPerEpoch, snapshot.step));
    blame = inStep ? blameOf(culprit) : ", in an `every` block";
  }
  walk.replaying = false;
  fail("{}'{}' of training '{}' became infinite or nan{}{}{}: a smaller learning rate, clip_norm, or a guard in that "
       "operation may help",
       node.where.empty() ? "" : node.where + ": ", bad ? bad->name : watched.front()->name, name(), when, blame, kept);
}

//---- weights ---------------------------------------------------------------------------------------------------------

void Training::saveWeights(const std::string &file, int64_t step) {
  if (!walk.options.out)
    return;
  // `save net` writes parameters without the net's name; so does this if there is only one.
  std::string prefix;
  bool common = true;
  for (const Carried &carried : node.carried) {
    if (carried.role != "weight" && carried.role != "state")
      continue;
    const std::string first = carried.name.substr(0, carried.name.find('.') + 1);
    if (prefix.empty())
      prefix = first;
    common = common && !first.empty() && first == prefix;
  }
  std::vector<NamedTensor> tensors;
  for (const Carried &carried : node.carried)
    if ((carried.role == "weight" || carried.role == "state") && fileType(carried.slot->type))
      tensors.push_back({common ? carried.name.substr(prefix.size()) : carried.name,
                         {*fileType(carried.slot->type), carried.slot->shape, carried.slot->data}});
  writeSafetensors(
      *walk.options.out, file, tensors,
      {{"training", node.label}, {"epoch", std::to_string(step / stepsPerEpoch)}, {"step", std::to_string(step)}});
}

} // namespace hw::runtime
