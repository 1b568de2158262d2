// The interpreter of plans: what an experiment does, in order. Arithmetic is compiled; this walks the nodes between.
#pragma once

#include "runtime/Checkpoint.h"
#include "runtime/Plan.h"
#include "runtime/Program.h"
#include "runtime/Progress.h"
#include "runtime/formats/Csv.h"
#include "runtime/formats/OutDir.h"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace hw::runtime {

/// Ctrl-C, SIGTERM: thrown where a run can stop, after a checkpoint if it leaves any.
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
};

class Study;

/// What a run is in the middle of: a body, a loop, an evaluation, a training. Those that are alive make the place in
/// the plan that a checkpoint holds; when a run goes on from one, they start with what it says.
class Frame {
public:
  explicit Frame(Study &study);
  virtual ~Frame();
  Frame(const Frame &) = delete;
  Frame &operator=(const Frame &) = delete;

  int64_t at = 0, part = 0; // as in FrameState
  /// What else has to be kept, and what was; empty if this starts anew.
  virtual std::vector<double> numbers() const { return {}; }
  std::vector<double> kept;

private:
  Study &study;
};

class Study {
public:
  Study(Program &program, StudyOptions options);
  virtual ~Study();

  /// To be called before run(), which then goes on from there. Throws where the file does not fit the program.
  void resume(const CheckpointFile &checkpoint);
  /// Runs the plan. Throws hw::Error, or Interrupted.
  void run();
  /// Writes the rows that tables hold and their files do not yet. Called while it runs, and once after it, however that
  /// ended.
  void writeTables(bool close = false);

  const std::vector<TrainReport> &trainings() const { return reports; }
  /// Whose run this is; filled in by the caller, with what else a checkpoint says of the process.
  CheckpointState origin;
  /// Seconds since the run started, in all its processes.
  double elapsed() const { return secondsSince(start); }
  /// Waits for a checkpoint that is being written. Throws if it cannot be.
  void finishCheckpoint();

  Program &program;
  const StudyOptions options;
  bool failedGradcheck = false; ///< an entry is off by more than 1e-6

protected:
  // For `bench`, which times these instead.
  virtual void train(TrainNode &node);
  virtual void benchCall(CallNode &) {}

private:
  friend class Training;
  friend class Frame;

  /// Node by node, with a chance for a checkpoint after each.
  void run(const Body &body);
  /// Without one: a step, a batch.
  void runWhole(const Body &body);
  void run(Node &node);
  void loop(ForNode &node);
  void batches(BatchesNode &node);
  void dense(DenseNode &node);
  void eigvals(EigvalsNode &node);
  void gradcheck(GradcheckNode &node);
  void printGradcheck(const GradcheckNode &node, int64_t firstRow);
  void record(RecordNode &node);
  void save(SaveNode &node);
  void plot(PlotNode &node);
  void note(const std::string &line);

  /// A place where a run can go on: writes a checkpoint if it is time or if the run was asked to stop, which it then
  /// does.
  void safePoint();
  void writeCheckpoint();
  void collect(Checkpoint &checkpoint);
  void restoreTables(const CheckpointFile &checkpoint);

  /// What a file holds is not kept in checkpoints, but read again: the slot of a data set has nothing else in it.
  struct Source {
    const DatasetNode *node = nullptr;
    std::optional<uint32_t> sum; // of the slot's bytes, once it was needed
  };
  void readDataAgain(Source &source, const std::string &name, const CheckpointFile &checkpoint);

  std::vector<TrainReport> reports;
  CsvCache csv;
  std::vector<const ForNode *> loops; // being run, outermost first
  std::map<const Table *, std::unique_ptr<CsvWriter>> files;
  Clock::time_point start, lastWrite, nextCheckpoint;
  bool stopping = false;        // a `stop when` held
  bool replaying = false;       // finding a NaN: nothing leaves the program
  bool checkpointAsked = false; // by a `checkpoint`
  int wholes = 0;               // bodies being run that are not left in between

  std::vector<const Frame *> frames;        // alive, outermost first
  std::vector<FrameState> pending;          // of the checkpoint, until all of them are alive again
  std::unique_ptr<CheckpointWriter> writer; // none if nothing is written
  std::map<const Slot *, Source> data;      // read at the top level
};

/// One execution of a `train` node, turn by turn. Everything is allocated by the constructor.
class Training {
public:
  Training(Study &study, TrainNode &node);

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
  void report(const Run &run, const char *end);
  /// `every` blocks from number `part` - 1 on, if it is not 0: those before it have run.
  void runEvery(int64_t completed, int64_t &part);
  bool isTail(int64_t step) const { return node.hasTail() && step % stepsPerEpoch == stepsPerEpoch - 1; }
  void startEpoch(int64_t epoch);
  bool weightsFinite() const;
  void takeSnapshot(int64_t step);
  void restore();
  /// State just before `step`, by replaying from the snapshot.
  void replayTo(int64_t step);
  [[noreturn]] void explain(int64_t badStep, double loss);
  void saveWeights(const std::string &name, int64_t step);
  std::string name() const;

  Study &study;
  TrainNode &node;
  int64_t stepsPerEpoch, total;
  uint64_t seed;
  std::vector<int32_t> order;
  int64_t orderEpoch = -1;
  Snapshot snapshot, fresh;
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
