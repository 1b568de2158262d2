// The interpreter of plans: what an experiment does, in order. Arithmetic is compiled; this walks the nodes between.
#pragma once

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

/// Ctrl-C, SIGTERM: whoever runs a loop asks after each turn and throws Interrupted.
struct Interrupted {};
void catchSignals();
bool wasInterrupted();
void clearInterrupt();

/// CSV files read so far: a node takes one column.
using CsvCache = std::map<std::string, std::shared_ptr<CsvTable>>;

/// What run.json says of one training.
struct TrainReport {
  std::string label;
  std::vector<std::pair<std::string, double>> loops; ///< the run-time loops around it
  double seed = 0, loss = 0, seconds = 0;
  int64_t epochs = 0, steps = 0;
  const char *end = "finished"; ///< "stopped" (by stop when), "interrupted", "not finite"
};

struct StudyOptions {
  std::string data = ".";       ///< folder that data sets' paths start from
  OutDir *out = nullptr;        ///< none: nothing is written (bench, gradcheck)
  Progress *progress = nullptr; ///< none: silent
  bool printGradchecks = false; ///< as a table on stdout
};

class Study {
public:
  Study(Program &program, StudyOptions options);
  virtual ~Study();

  /// Runs the plan. Throws hw::Error, or Interrupted.
  void run();
  /// Writes the rows that tables hold and their files do not yet. Called while it runs, and once after it, however that
  /// ended.
  void writeTables(bool close = false);

  const std::vector<TrainReport> &trainings() const { return reports; }
  Program &program;
  const StudyOptions options;
  bool failedGradcheck = false; ///< an entry is off by more than 1e-6

protected:
  // For `bench`, which times these instead.
  virtual void train(TrainNode &node);
  virtual void benchCall(CallNode &) {}

private:
  friend class Training;

  void run(const Body &body) {
    for (const auto &node : body)
      run(*node);
  }
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

  std::vector<TrainReport> reports;
  CsvCache csv;
  std::vector<const ForNode *> loops; // being run, outermost first
  std::map<const Table *, std::unique_ptr<CsvWriter>> files;
  Clock::time_point start, lastWrite;
  bool stopping = false;  // a `stop when` held
  bool replaying = false; // finding a NaN: nothing leaves the program
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
  struct Snapshot {
    int64_t step = -1;
    std::vector<std::byte> values;
    struct Rows {
      int64_t count;
      std::vector<double> cells; // of a hidden table, whose rows may be cleared
    };
    std::vector<Rows> tables;
  };

  bool isTail(int64_t step) const { return node.hasTail() && step % stepsPerEpoch == stepsPerEpoch - 1; }
  void startEpoch(int64_t epoch);
  void runEvery(int64_t completed);
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
