// A run of a program: its plan walked from the start or from a checkpoint, and what that leaves.
#pragma once

#include "runtime/Walk.h"

namespace hw::runtime {

class Team;

class Study : public Walk {
public:
  Study(Program &program, StudyOptions options);
  ~Study() override;

  /// To be called before run(), which then goes on from there; `checkpoint` must live until then. Throws where the file
  /// does not fit the program.
  void resume(const CheckpointFile &checkpoint);
  /// Runs the plan. Throws hw::Error, or Interrupted.
  void run();
  /// Writes the rows that tables hold and their files do not yet. Called while it runs, and once after it, however that
  /// ended.
  void writeTables(bool close = false);

  const std::vector<TrainReport> &trainings() const { return reports; }
  /// How many turns ran side by side at most, or 0 if all ran one after another.
  int64_t sideBySide() const { return lanes; }
  /// Whose run this is; filled in by the caller, with what else a checkpoint says of the process.
  CheckpointState origin;
  /// Seconds since the run started, in all its processes.
  double elapsed() const { return secondsSince(start); }
  /// Waits for a checkpoint that is being written. Throws if it cannot be.
  void finishCheckpoint();

protected:
  void runTurns(TurnsNode &node, Frame &frame, int64_t end) override;
  /// Writes a checkpoint if it is time or if the run was asked to stop, which it then does; and the tables' new rows,
  /// now and then.
  void safePoint() override;
  void askCheckpoint() override { checkpointAsked = true; }

private:
  friend class Team;
  friend class Lane;

  void writeCheckpoint();
  void collect(Checkpoint &checkpoint);

  /// What a file holds is not kept in checkpoints, but read again: the slot of a data set has nothing else in it.
  struct Source {
    const DatasetNode *node = nullptr;
    std::optional<uint32_t> sum; // of the slot's bytes, once it was needed
  };
  void readDataAgain(Source &source, const std::string &name, const CheckpointFile &checkpoint);

  std::map<const Table *, std::unique_ptr<CsvWriter>> files;
  Clock::time_point lastWrite, nextCheckpoint;
  std::atomic<bool> checkpointAsked = false; // by a `checkpoint`
  std::unique_ptr<CheckpointWriter> writer;  // none if nothing is written
  std::map<const Slot *, Source> data;       // read at the top level
  int64_t lanes = 0;
  std::unique_ptr<Team> team;              // that ran turns side by side last
  const CheckpointFile *resumed = nullptr; // whose turns are to be gone on with
};

} // namespace hw::runtime
