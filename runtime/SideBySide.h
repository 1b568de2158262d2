// Turns of a plan that need nothing of each other, each on a thread of its own.
//
// A *lane* is a walk like the study's, on one thread: it has the plan once more, in which the slots and tables of a
// turn are its own. The study's thread deals the turns to lanes in order, appends the rows of those that have ended in
// the same order, and writes checkpoints while all lanes rest at safe points. So files, rows and errors are those of
// turns that run one after another, and every bit is that of a run on one thread.
#pragma once

#include "runtime/Study.h"

#include <atomic>
#include <condition_variable>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace hw::runtime {

/// How many lanes run the `turns` turns of an independent node on `threads` threads: one a thread, within some memory;
/// or 0 if an estimate says that they are done sooner one after another, each on all threads.
int lanesFor(const Plan &plan, const TurnsNode &node, int64_t turns, int threads);

class Team;

/// What a turn leaves.
struct TurnOutcome {
  std::vector<std::unique_ptr<Table>> tables; ///< as the plan has them
  std::vector<TrainReport> reports;
  std::exception_ptr error;
};

/// One turn after another, beside other lanes.
class Lane : public Walk {
public:
  /// `node`: of the plan of `program`.
  Lane(Team &team, std::unique_ptr<Program> program, TurnsNode &node, const StudyOptions &options);

private:
  friend class Team;

  void safePoint() override;
  void askCheckpoint() override;
  void awaitEarlier() override;

  /// Turn number `number` is the next, within the loops `around` that the study is in.
  void begin(int64_t number, const std::vector<const ForNode *> &around);
  /// It goes on where a checkpoint was written; `around` are the study's frames.
  void goOn(const WalkState &state, const CheckpointFile &checkpoint, const std::vector<FrameState> &around);
  void keep(WalkState &state, Checkpoint &checkpoint, const std::vector<FrameState> &around) const;
  PlaceInPlan place(std::vector<FrameState> around, const std::vector<FrameState> &inside,
                    const std::string &where) const;
  /// What the turn left, which is over.
  TurnOutcome outcome();

  Team &team;
  const std::unique_ptr<Program> owner;
  TurnsNode &node;
  int64_t turn = -1; // none
  bool isResting = false;
};

class Team {
public:
  /// `count` lanes for turns of `node`, of the study's plan.
  Team(Study &study, TurnsNode &node, int count);
  ~Team();
  bool isFor(const TurnsNode &node, int count) const;

  /// Runs the turns from number `frame.at` to before `turns`, which it counts up as their rows are appended; those that
  /// `checkpoint`, if there is one, has in it from where they were. Throws what the first turn that fails throws.
  void run(Frame &frame, int64_t turns, const CheckpointFile *checkpoint);

  /// While it lives all lanes rest at safe points.
  class Pause {
  public:
    explicit Pause(Team &team);
    ~Pause();
    Pause(const Pause &) = delete;
    Pause &operator=(const Pause &) = delete;

  private:
    Team &team;
  };
  /// Adds the turns that have begun and are not in the study's tables yet. During a pause.
  void keep(std::vector<WalkState> &turns, Checkpoint &checkpoint);

private:
  friend class Lane;
  struct Cancelled {}; // thrown in a lane: an earlier turn has failed

  void askForNames(const Body &body);
  void goOn(const CheckpointFile &checkpoint);

  void work(Lane &lane);
  bool claim(Lane &lane);
  void rest(Lane &lane);
  void awaitEarlier(Lane &lane);
  void fails(int64_t turn);
  void leaveIfOver(const Lane &lane);

  /// Waits a little, and appends what turns have left that have ended, in order. False if there are no more to wait
  /// for.
  bool append();
  void append(const TurnOutcome &outcome);
  void stop();

  Study &study;
  TurnsNode &node;
  std::vector<std::unique_ptr<Lane>> lanes;
  std::vector<std::thread> threads;

  std::mutex mutex; // of all below, and of the lanes' `turn` and `isResting`
  std::condition_variable changed, released;
  int64_t at = 0, next = 0, end = 0; // the first turn that is not appended; the first that has not begun
  std::map<int64_t, TurnOutcome> outcomes;
  std::atomic<int64_t> failed = INT64_MAX; // the first turn that has failed
  std::atomic<bool> isPausing = false;
  bool isStopping = false;
};

} // namespace hw::runtime
