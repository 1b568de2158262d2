// Checkpoints: all that a run needs to go on, bit for bit, where it was. A file of the folder for results, in the
// safetensors format: the tensors that are live (by the names of what is trained, where they have one), the rows of the
// tables, and in the metadata, as JSON, whose run it is and how far it had come.
#pragma once

#include "runtime/formats/OutDir.h"
#include "runtime/formats/Safetensors.h"

#include <atomic>
#include <cstdint>
#include <exception>
#include <map>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace hw::runtime {

/// What run.json says of one training.
struct TrainReport {
  std::string label;
  std::vector<std::pair<std::string, double>> loops; ///< the run-time loops around it
  double seed = 0, loss = 0, seconds = 0;
  int64_t epochs = 0, steps = 0;
  std::string end = "finished"; ///< "stopped" (by stop when), "interrupted", "not finite"
};

/// How far a run is in one body, loop, evaluation or training; a list of them, outermost first, is a place in the plan.
struct FrameState {
  int64_t at = 0;              ///< the next node, turn, step, batch or column
  int64_t part = 0;            ///< of a training: 0 between turns, 1 + k within `every` block number k
  std::vector<double> numbers; ///< what it holds besides: see whoever makes it
  bool operator==(const FrameState &) const = default;
};

/// Whose checkpoint it is. Another program, version, machine or width would give other bits.
struct RunIdentity {
  std::string program;  ///< the plan's name
  std::string identity; ///< a hash of what was compiled
  std::string hwc, cpu, oneDnn;
  int64_t vectorBytes = 0, threads = 0;
  bool quick = false;
  std::vector<std::pair<std::string, double>> settings;
};

/// How far one walk through the plan is: the run's own, or a turn that runs beside others.
struct WalkState {
  std::vector<FrameState> frames;
  bool stopping = false; ///< a `stop when` of the innermost training held
  std::vector<TrainReport> trainings;
  struct TableRows {
    std::string name;
    int64_t rows = 0;
    std::vector<std::string> texts; ///< those that cells stand for
    bool operator==(const TableRows &) const = default;
  };
  std::vector<TableRows> tables;
};

struct CheckpointState : WalkState {
  RunIdentity run;
  std::string started;              ///< of the first process, UTC
  std::vector<std::string> command; ///< of the first process
  double seconds = 0;               ///< that all processes have taken so far
  int64_t resumed = 0;              ///< times
  int64_t sideBySide = 0;           ///< turns that ran at the same time, at most
  /// Where the innermost frame runs turns side by side: those from its `at` on that have begun. Without frames: has
  /// ended, but one before it has not.
  std::vector<WalkState> turns;
  std::vector<std::pair<std::string, std::string>> files; ///< names and extensions, as they were asked of OutDir
  std::map<std::string, uint32_t> sums; ///< CRC-32 of every tensor, and of data sets, which are read again
};

/// The state as text, and back. Reads bytes of any kind: what is not a state that `write` gave is one sentence of
/// hw::Error that opens with `place`.
std::string writeCheckpointState(const CheckpointState &state);
CheckpointState readCheckpointState(std::string_view text, const std::string &place);

uint32_t checksum(const void *data, uint64_t bytes);

/// A checkpoint in memory: a copy of what is live, to be written while the run goes on.
struct Checkpoint {
  struct Part {
    std::string name;
    DType type;
    Shape shape;
    size_t offset; ///< in `bytes`
  };
  CheckpointState state;
  std::vector<Part> parts;
  std::vector<std::byte> bytes;

  void clear();
  /// Room for a tensor, to be filled before the next is added.
  std::byte *add(std::string name, DType type, Shape shape, uint64_t size);
};

/// It is `<out>/run.checkpoint.safetensors`: no name of a model file can have that extension.
constexpr const char *checkpointName = "run", *checkpointExtension = ".checkpoint.safetensors";

/// Throws: the state is one, but not of this program.
[[noreturn]] void doesNotFit(const std::string &place);

/// Writes one checkpoint at a time on a thread of its own, whole or not at all: the one before stays until then.
class CheckpointWriter {
public:
  explicit CheckpointWriter(OutDir &out) : out(out) {}
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter &) = delete;
  CheckpointWriter &operator=(const CheckpointWriter &) = delete;

  bool isBusy() const { return busy; }
  /// Whether the last file could not be written: `wait` says why.
  bool hasFailed() const { return failed; }
  /// Waits for the file that is being written. Throws if it could not be.
  void wait();
  /// The checkpoint to fill for `start`; nothing is being written of it, as this waits.
  Checkpoint &next();
  /// Starts to write what next() gave.
  void start();

private:
  OutDir &out;
  Checkpoint checkpoint;
  std::thread thread;
  std::atomic<bool> busy = false, failed = false;
  std::exception_ptr error;
};

/// A checkpoint's file, its state checked; tensors are checked as they are read.
class CheckpointFile {
public:
  explicit CheckpointFile(const std::string &path);

  const CheckpointState &state() const { return contents; }
  const std::string &place() const { return where; }
  /// Throws if the tensor is not there, of another type or shape, or damaged.
  Tensor read(const std::string &name, DType type, const Shape &shape) const;

private:
  std::string where;
  SafetensorsFile file;
  CheckpointState contents;
};

/// Throws one sentence if a run of `mine` cannot go on from a checkpoint of `theirs`.
void checkSameRun(const RunIdentity &mine, const RunIdentity &theirs, const std::string &place);

} // namespace hw::runtime
