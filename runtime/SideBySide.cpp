#include "runtime/SideBySide.h"

#include "runtime/Marks.h"
#include "runtime/Threads.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <system_error>

namespace hw::runtime {

//---- whether it is worth it ------------------------------------------------------------------------------------------

namespace {

/// Seconds that something takes on one thread, and on all of them.
struct Time {
  double alone = 0, split = 0;
  Time &operator+=(const Time &other) {
    alone += other.alone;
    split += other.split;
    return *this;
  }
  Time operator*(double times) const { return {times * alone, times * split}; }
};

/// By what the nodes of a turn do, as far as it is known before they run: trainings are taken for equally long.
class Estimate {
public:
  explicit Estimate(int threads) : threads(threads) {}

  Time of(const Body &body) const {
    Time time;
    for (const auto &node : body)
      time += of(*node);
    return time;
  }

private:
  static constexpr double epochs = 1000, steps = 1000, turns = 10;
  const int threads;

  Time of(const Node &node) const {
    switch (node.kind) {
    case NodeKind::call: {
      const auto &call = static_cast<const CallNode &>(node);
      return call.bench.empty() ? of(*call.entry) : Time();
    }
    case NodeKind::loop:
      return of(static_cast<const ForNode &>(node).body) * turns;
    case NodeKind::together: {
      Time time;
      for (const Body &branch : static_cast<const TogetherNode &>(node).branches)
        time += of(branch);
      return time;
    }
    case NodeKind::train: {
      const auto &train = static_cast<const TrainNode &>(node);
      const double count = train.epochs ? epochs * static_cast<double>(train.stepsPerEpoch()) : steps;
      Time time = of(train.body) * count;
      for (const Every &every : train.every) {
        const double stepsBetween = static_cast<double>(every.period * (every.epochs ? train.stepsPerEpoch() : 1));
        time += of(every.body) * (count / stepsBetween);
      }
      return time;
    }
    case NodeKind::batches: {
      const auto &batches = static_cast<const BatchesNode &>(node);
      return of(batches.body) * (static_cast<double>(batches.rows) / static_cast<double>(batches.batch));
    }
    case NodeKind::eigh: {
      const auto &eigh = static_cast<const EighNode &>(node);
      const double n = static_cast<double>(eigh.values->count);
      return same((eigh.vectors ? 3e-9 : 5e-10) * n * n * n); // on one thread in any case
    }
    default:
      return same(1e-6);
    }
  }

  /// Rates are those that steps of fully connected networks reach, within a fifth, on one core of a Zen 5; two threads
  /// were 1.5 to 1.9 times as fast on them. What they take in all cancels out, so that only their ratio counts.
  Time of(const hw_entry &entry) const {
    const double alone = entry.flops / 100e9 + entry.bytes / 40e9;
    const double share = alone / threads;
    return {alone, std::min(alone, share + std::min(0.1 * share, 2e-4) + 20e-6)};
  }
  static Time same(double seconds) { return {seconds, seconds}; }
};

/// The time until all turns have ended where each lane takes the next one when it is done.
double makespan(const std::vector<double> &turns, int lanes) {
  std::vector<double> busy(static_cast<size_t>(lanes), 0.0);
  for (double turn : turns)
    *std::min_element(busy.begin(), busy.end()) += turn;
  return *std::max_element(busy.begin(), busy.end());
}

} // namespace

int lanesFor(const Plan &plan, const TurnsNode &node, int64_t turns, int threads) {
  uint64_t first = UINT64_MAX, last = 0; // where a turn's own slots lie
  for (size_t i = node.own; i < node.ownEnd; ++i) {
    first = std::min(first, plan.offsets[i]);
    last = std::max(last, plan.offsets[i] + plan.slots[i].bytes);
  }
  // A limit of our own: with the machine's memory, the bits of oneDNN's products would depend on the machine.
  constexpr uint64_t most = uint64_t{1} << 30;
  const auto lanes = static_cast<int>(std::min<uint64_t>(
      {static_cast<uint64_t>(threads), static_cast<uint64_t>(std::max<int64_t>(turns, 0)), most / (last - first + 1)}));
  if (lanes < 2)
    return 0;
  const Estimate estimate(threads);
  std::vector<Time> times;
  if (node.kind == NodeKind::together)
    for (const Body &branch : static_cast<const TogetherNode &>(node).branches)
      times.push_back(estimate.of(branch));
  else
    times.assign(static_cast<size_t>(std::min<int64_t>(turns, 10000)),
                 estimate.of(static_cast<const ForNode &>(node).body));
  // Handing turns out and their rows back has its price too.
  constexpr double start = 200e-6, each = 10e-6;
  std::vector<double> alone;
  double split = 0;
  for (const Time &time : times) {
    alone.push_back(time.alone + each);
    split += time.split;
  }
  return start + makespan(alone, lanes) < 0.97 * split ? lanes : 0;
}

//---- a lane ----------------------------------------------------------------------------------------------------------

Lane::Lane(Team &team, std::unique_ptr<Program> program, TurnsNode &node, const StudyOptions &options)
    : Walk(*program, options), team(team), owner(std::move(program)), node(node) {}

void Lane::safePoint() {
  if (!wholes && !replaying && (team.isPausing || wasInterrupted() || turn > team.failed))
    team.rest(*this);
}
void Lane::askCheckpoint() { team.study.askCheckpoint(); }
void Lane::awaitEarlier() { team.awaitEarlier(*this); }

void Lane::begin(int64_t number, const std::vector<const ForNode *> &around) {
  turn = number;
  loops = around;
  if (node.kind == NodeKind::loop)
    loops.back() = static_cast<const ForNode *>(&node); // with this lane's variable
  stopping = replaying = false;
  wholes = 0;
}

static std::string prefixOf(int64_t turn) { return fmt::format("turn {} ", turn); }

/// What is live of the turn's own. `around` it are the study's frames.
PlaceInPlan Lane::place(std::vector<FrameState> around, const std::vector<FrameState> &inside,
                        const std::string &where) const {
  around.back().at = turn;
  around.insert(around.end(), inside.begin(), inside.end());
  PlaceInPlan place = placeInPlan(program.plan, around, where);
  std::erase_if(place.live, [&](const Slot *slot) {
    const auto number = static_cast<size_t>(slot - program.plan.slots.data());
    return number < node.own || number >= node.ownEnd;
  });
  return place;
}

void Lane::keep(WalkState &state, Checkpoint &checkpoint, const std::vector<FrameState> &around) const {
  collect(state, checkpoint, prefixOf(turn));
  const PlaceInPlan here = place(around, state.frames, "the run's place");
  const auto names = tensorNames(program.plan, here, prefixOf(turn));
  for (size_t i = 0; i < names.size(); ++i)
    keepSlot(checkpoint, names[i], *here.live[i]);
}

void Lane::goOn(const WalkState &state, const CheckpointFile &checkpoint, const std::vector<FrameState> &around) {
  restore(state, checkpoint, prefixOf(turn));
  if (state.frames.empty())
    return; // it has ended
  const PlaceInPlan here = place(around, state.frames, checkpoint.place());
  const auto names = tensorNames(program.plan, here, prefixOf(turn));
  for (size_t i = 0; i < names.size(); ++i)
    readSlot(checkpoint, names[i], *here.live[i]);
}

TurnOutcome Lane::outcome() {
  TurnOutcome outcome;
  for (auto &table : program.plan.tables)
    outcome.tables.push_back(table->takeRows());
  outcome.reports = std::exchange(reports, {});
  turn = -1;
  return outcome;
}

//---- the team --------------------------------------------------------------------------------------------------------

Team::Team(Study &study, TurnsNode &node, int count) : study(study), node(node) {
  for (int i = 0; i < count; ++i) {
    auto program = std::make_unique<Program>(study.program.descriptor);
    program->loadBeside(study.program, node);
    TurnsNode &same = *program->plan.independent.at(node.number);
    lanes.push_back(std::make_unique<Lane>(*this, std::move(program), same, study.options));
  }
}
Team::~Team() { stop(); }

bool Team::isFor(const TurnsNode &other, int count) const {
  return &node == &other && lanes.size() == static_cast<size_t>(count);
}

void Team::run(Frame &frame, int64_t turns, const CheckpointFile *checkpoint) {
  at = next = frame.at;
  end = turns;
  if (study.options.out && node.kind == NodeKind::together)
    for (const Body &branch : static_cast<const TogetherNode &>(node).branches)
      askForNames(branch);
  if (checkpoint)
    goOn(*checkpoint);
  std::exception_ptr error;
  try {
    for (auto &lane : lanes) {
      lane->Walk::start = study.start;
      threads.emplace_back([this, &lane = *lane] { work(lane); });
    }
    while (append()) {
      frame.at = at;
      study.safePoint();
    }
    const std::lock_guard lock(mutex);
    if (at < end)
      error = outcomes.at(at).error;
  } catch (const std::system_error &refused) {
    error = std::make_exception_ptr(Error(fmt::format("the system refuses {} threads for runs side by side ({}): give "
                                                      "--threads 1, or raise the limit (ulimit -u, -v)",
                                                      lanes.size(), refused.code().message())));
  } catch (...) {
    error = std::current_exception();
  }
  stop();
  frame.at = at;
  if (error)
    std::rethrow_exception(error);
}

/// So that names that differ in signs alone, which files cannot have, get their numbers in the program's order.
void Team::askForNames(const Body &body) {
  for (const auto &child : body)
    if (child->kind == NodeKind::save)
      if (const auto &save = static_cast<const SaveNode &>(*child); save.loops.empty())
        study.options.out->fileName(save.name, "." + save.format);
}

void Team::goOn(const CheckpointFile &checkpoint) {
  const auto &turns = checkpoint.state().turns;
  if (static_cast<int64_t>(turns.size()) > end - at)
    doesNotFit(checkpoint.place());
  next += static_cast<int64_t>(turns.size());
  const auto around = frameStates(study.frames);
  auto lane = lanes.begin();
  // First those that have ended, as each of the others keeps its lane.
  for (const bool hasEnded : {true, false})
    for (size_t i = 0; i < turns.size(); ++i) {
      if (turns[i].frames.empty() != hasEnded)
        continue;
      if (lane == lanes.end())
        doesNotFit(checkpoint.place());
      const int64_t turn = at + static_cast<int64_t>(i);
      (*lane)->begin(turn, study.loops);
      (*lane)->goOn(turns[i], checkpoint, around);
      if (hasEnded)
        outcomes[turn] = (*lane)->outcome();
      else
        ++lane;
    }
}

//---- on a lane's thread

void Team::work(Lane &lane) {
  lane.program.serveThisThread();
  while (claim(lane)) {
    std::exception_ptr error;
    try {
      lane.Walk::turn(lane.node, lane.turn);
    } catch (const Cancelled &) {
      return;
    } catch (...) {
      error = std::current_exception();
    }
    const std::lock_guard lock(mutex);
    if (error && !isStopping)
      fails(lane.turn);
    const int64_t turn = lane.turn;
    TurnOutcome outcome = lane.outcome();
    outcome.error = error;
    outcomes[turn] = std::move(outcome);
    changed.notify_all();
  }
}

bool Team::claim(Lane &lane) {
  std::unique_lock lock(mutex);
  if (lane.turn >= 0) // of a checkpoint
    return true;
  released.wait(lock, [&] { return !isPausing || isStopping; });
  if (isStopping || next >= end || next > failed)
    return false;
  lane.begin(next++, study.loops);
  return true;
}

void Team::fails(int64_t turn) {
  failed = std::min<int64_t>(failed, turn);
  changed.notify_all();
  released.notify_all();
}

void Team::leaveIfOver(const Lane &lane) {
  if (lane.turn > failed)
    throw Cancelled();
  if (isStopping)
    throw Interrupted();
}

void Team::rest(Lane &lane) {
  std::unique_lock lock(mutex);
  lane.isResting = true;
  changed.notify_all();
  released.wait(lock, [&] { return isStopping || lane.turn > failed || !(isPausing || wasInterrupted()); });
  lane.isResting = false;
  leaveIfOver(lane);
}

void Team::awaitEarlier(Lane &lane) {
  std::unique_lock lock(mutex);
  fails(lane.turn);
  released.wait(lock, [&] { return isStopping || lane.turn > failed || lane.turn == at; });
  leaveIfOver(lane);
}

//---- on the study's thread

bool Team::append() {
  std::unique_lock lock(mutex);
  changed.wait_for(lock, std::chrono::milliseconds(50), [&] { return outcomes.contains(at) || wasInterrupted(); });
  for (auto first = outcomes.find(at); first != outcomes.end() && !first->second.error; first = outcomes.find(at)) {
    append(first->second);
    outcomes.erase(first);
    ++at;
  }
  released.notify_all(); // for whoever awaits earlier turns
  return at < end && !outcomes.contains(at);
}

void Team::append(const TurnOutcome &outcome) {
  const auto &tables = study.program.plan.tables;
  for (size_t i = 0; i < tables.size(); ++i)
    if (!tables[i]->hidden()) // these are a training's own
      tables[i]->appendRows(*outcome.tables[i]);
  study.reports.insert(study.reports.end(), outcome.reports.begin(), outcome.reports.end());
}

void Team::stop() {
  {
    const std::lock_guard lock(mutex);
    isStopping = true;
    released.notify_all();
  }
  for (std::thread &thread : threads)
    thread.join();
  threads.clear();
  for (const auto &[turn, outcome] : outcomes)
    if (turn <= failed)
      append(outcome);
  outcomes.clear();
  failed = INT64_MAX;
  isStopping = false;
}

Team::Pause::Pause(Team &team) : team(team) {
  std::unique_lock lock(team.mutex);
  team.isPausing = true;
  team.changed.wait(lock, [&] {
    return std::all_of(team.lanes.begin(), team.lanes.end(), [&](const auto &lane) {
      return lane->isResting || lane->turn < 0 || lane->turn >= team.failed;
    });
  });
}

Team::Pause::~Pause() {
  const std::lock_guard lock(team.mutex);
  team.isPausing = false;
  team.released.notify_all();
}

void Team::keep(std::vector<WalkState> &turns, Checkpoint &checkpoint) {
  const std::lock_guard lock(mutex);
  const auto around = frameStates(study.frames);
  // What has failed does so again.
  for (int64_t turn = at; turn < std::min<int64_t>(next, failed); ++turn) {
    WalkState &state = turns.emplace_back();
    if (const auto ended = outcomes.find(turn); ended != outcomes.end()) {
      state.trainings = ended->second.reports;
      for (const auto &table : ended->second.tables)
        keepTable(state, checkpoint, prefixOf(turn), *table);
    } else
      for (const auto &lane : lanes)
        if (lane->turn == turn)
          lane->keep(state, checkpoint, around);
  }
}

} // namespace hw::runtime
