// How far a training is: one line that redraws itself on a terminal, now and then a plain line elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <string>
#include <vector>

namespace hw::runtime {

using Clock = std::chrono::steady_clock;
inline double secondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}
inline Clock::duration toDuration(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

class TrainingProgress;

class Progress {
public:
  enum class Style { none, plain, bar };
  /// What suits `stream`: a bar if it is a terminal.
  static Style styleFor(std::FILE *stream, bool quiet);

  Progress(std::FILE *stream, Style style) : stream(stream), style(style) {}

  /// A line of its own, above the bar if there is one.
  void print(const std::string &line);
  /// Takes the bar away.
  void clear();

private:
  friend class TrainingProgress;

  /// Redraws the bar: `facts`, then how far it is.
  void draw(const std::string &facts, double share);
  void erase();

  std::FILE *stream;
  Style style;
  std::mutex mutex;                             // of all below
  std::vector<const TrainingProgress *> active; // in the order in which they began
  Clock::time_point lastDraw;
  bool drawn = false;
};

/// One training on it. Several may be under way at once, each on a thread of its own: the bar is that of the one that
/// began first.
class TrainingProgress {
public:
  /// A training of `steps` steps starts, or goes on after `done` of them; `epochs`, or 0 if it counts in steps.
  TrainingProgress(Progress &display, const std::string &label, int64_t steps, int64_t epochs, int64_t done = 0);
  ~TrainingProgress();
  TrainingProgress(const TrainingProgress &) = delete;
  TrainingProgress &operator=(const TrainingProgress &) = delete;

  /// After `done` steps. To be called some ten times a second: see Train.cpp.
  void update(int64_t done, int64_t epoch, double loss);
  /// The training is over, for the reason given in the last words, if any.
  void end(int64_t done, int64_t epoch, double loss, const char *reason);

private:
  std::string count(int64_t done, int64_t epoch) const;

  Progress &display;
  const std::string label;
  const int64_t steps, epochs, first;
  const Clock::time_point start = Clock::now();
  Clock::time_point lastLine = start;
};

} // namespace hw::runtime
