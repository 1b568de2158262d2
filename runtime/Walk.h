// The interpreter of plans: what an experiment does, in order. Arithmetic is compiled; this walks the nodes between.
#pragma once

#include "runtime/Checkpoint.h"
#include "runtime/Liveness.h"
#include "runtime/Plan.h"
#include "runtime/Program.h"
#include "runtime/Progress.h"
#include "runtime/formats/Csv.h"
#include "runtime/formats/OutDir.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace hw::runtime {

/// Ctrl-C, SIGTERM, SIGHUP (unless they are ignored, as by nohup): thrown where a run can stop, after a checkpoint if
/// it leaves any.
struct Interrupted {};
void catchSignals();
/// The signal that asks to stop, or 0.
int interruptSignal();
inline bool wasInterrupted() { return interruptSignal() != 0; }
void clearInterrupt();

/// CSV files read so far: a node takes one column.
using CsvCache = std::map<std::string, std::shared_ptr<CsvTable>>;

struct StudyOptions {
  std::string data = ".";        ///< folder that data sets' paths start from
  OutDir *out = nullptr;         ///< none: nothing is written (bench, gradcheck)
  Progress *progress = nullptr;  ///< none: silent
  bool printGradchecks = false;  ///< as a table on stdout
  double checkpointSeconds = 30; ///< from one checkpoint to the next, or longer if that would take over 1 % of the time
  bool sideBySide = true;        ///< independent turns may run at the same time, where that is faster
};

class Walk;

/// What a walk is in the middle of: a body, a loop, an evaluation, a training. Those that are alive make the place in
/// the plan that a checkpoint holds; when a run goes on from one, they start with what it says.
class Frame {
public:
  explicit Frame(Walk &walk);
  virtual ~Frame();
  Frame(const Frame &) = delete;
  Frame &operator=(const Frame &) = delete;

  int64_t at = 0, part = 0; // as in FrameState
  /// What else has to be kept, and what was; empty if this starts anew.
  virtual std::vector<double> numbers() const { return {}; }
  std::vector<double> kept;

private:
  Walk &walk;
};

/// One thread's way through a plan: the study itself, or a lane of turns that run beside others (SideBySide.h).
class Walk {
public:
  Walk(Program &program, StudyOptions options);
  virtual ~Walk();

  Program &program;
  const StudyOptions options;
  bool failedGradcheck = false; ///< an entry is off by more than 1e-6

protected:
  // For `bench`, which times these instead.
  virtual void train(TrainNode &node);
  virtual void benchCall(CallNode &) {}

  /// The turns of `node` from number `frame.at` to before `end`, which it counts up.
  virtual void runTurns(TurnsNode &node, Frame &frame, int64_t end);
  /// A place where the walk can stop and go on.
  virtual void safePoint() = 0;
  /// Asks for a checkpoint at the next safe point.
  virtual void askCheckpoint() = 0;
  /// A loss is no number: returns when what comes before in the program's order has ended, so that the first error is
  /// the one that is told.
  virtual void awaitEarlier() {}

  /// Node by node, with a safe point after each.
  void run(const Body &body);
  void turn(TurnsNode &node, int64_t number);
  /// Adds what the walk holds at its place, but for slots; tensors' names begin with `prefix`.
  void collect(WalkState &state, Checkpoint &checkpoint, const std::string &prefix) const;
  /// The other way round. Frames come to be as the walk gets there.
  void restore(const WalkState &state, const CheckpointFile &checkpoint, const std::string &prefix);

  std::vector<TrainReport> reports;
  std::vector<const ForNode *> loops; // being run, outermost first
  Clock::time_point start;            // of the run, in all its processes
  bool stopping = false;              // a `stop when` held
  bool replaying = false;             // finding a NaN: nothing leaves the program
  int wholes = 0;                     // bodies being run that are not left in between
  CsvCache csv;

  std::vector<const Frame *> frames; // alive, outermost first
  std::vector<FrameState> pending;   // of the checkpoint, until all of them are alive again

private:
  friend class Training;
  friend class Frame;

  /// Without a safe point: a step, a batch.
  void runWhole(const Body &body);
  void run(Node &node);
  void turns(TurnsNode &node);
  int64_t turnCount(const TurnsNode &node) const;
  void batches(BatchesNode &node);
  void eigh(EighNode &node);
  void gradcheck(GradcheckNode &node);
  void printGradcheck(const GradcheckNode &node, int64_t firstRow);
  void record(RecordNode &node);
  void save(SaveNode &node);
  void plot(PlotNode &node);
};

std::vector<FrameState> frameStates(const std::vector<const Frame *> &frames);
/// What a checkpoint calls its tensors, after `prefix`: what is being trained, by its name; the rest by number.
std::vector<std::string> tensorNames(const Plan &plan, const PlaceInPlan &place, const std::string &prefix);
void keepSlot(Checkpoint &checkpoint, const std::string &name, const Slot &slot);
void readSlot(const CheckpointFile &checkpoint, const std::string &name, const Slot &slot);
void keepTable(WalkState &state, Checkpoint &checkpoint, const std::string &prefix, const Table &table);

/// One execution of a `train` node, turn by turn. Everything is allocated by the constructor.
class Training {
public:
  Training(Walk &walk, TrainNode &node);

  /// Number of turns that `count` asks for.
  int64_t steps() const { return total; }
  /// Runs them, with progress, snapshots and the watch on the loss.
  void run();
  /// Turn number `step`: shuffles at an epoch's first, writes rows and clocks, runs the compiled step. Returns the
  /// loss.
  double turn(int64_t step);
  /// Writes the rows and clocks of `step` only.
  void place(int64_t step);
  int64_t epochSteps() const { return stepsPerEpoch; }

private:
  class Run;
  struct Snapshot {
    int64_t step = -1;
    std::vector<std::byte> values;
    struct Rows {
      int64_t count;
      std::vector<double> cells; // of a hidden table, whose rows may be cleared
    };
    std::vector<Rows> tables;
  };

  void turns(Run &run);
  /// For run.json and the progress: the training has ended, as `end` says.
  void report(Run &run, const char *end);
  /// What `every` reads of the steps since the last time begins empty, whatever a training before has left.
  void clearOwnTables();
  /// `every` blocks from number `part` - 1 on, if it is not 0: those before it have run.
  void runEvery(int64_t completed, int64_t &part);
  bool isTail(int64_t step) const { return node.hasTail() && step % stepsPerEpoch == stepsPerEpoch - 1; }
  void startEpoch(int64_t epoch);
  void watch();
  const Carried *notFinite() const;
  void stopIfNotFinite(Run &run);
  void takeSnapshot(int64_t step);
  void restore();
  /// State just before `step`, by replaying from the snapshot.
  void replayTo(int64_t step);
  [[noreturn]] void explain(int64_t badStep, double loss);
  [[noreturn]] void explainValue(int64_t end);
  std::string keepWeights(int64_t epochStart);
  std::string blameOf(int64_t step);
  void saveWeights(const std::string &name, int64_t step);
  std::string name() const;

  Walk &walk;
  TrainNode &node;
  int64_t stepsPerEpoch, total;
  uint64_t seed;
  std::vector<int32_t> order;
  int64_t orderEpoch = -1;
  Snapshot snapshot, fresh;
  std::vector<const Carried *> watched; ///< never infinite or nan
};

/// As far as the file's header tells, which is quick.
void checkDataset(const DatasetNode &node, const std::string &folder, CsvCache &cache);
/// Reads a data set into its slot. Throws with place and fix where the file is not
/// what it was when the program was compiled, or a label is out of range.
void loadDataset(const DatasetNode &node, const std::string &folder, CsvCache &cache);

/// The figures that `node` asks for, one for each value of `per`.
void drawFigures(const PlotNode &node, OutDir &out, const std::function<void(const std::string &)> &note);

/// "-run=3" for each loop variable: what a file's name carries in a loop.
std::string loopSuffix(const std::vector<LoopValue> &loops);

} // namespace hw::runtime
