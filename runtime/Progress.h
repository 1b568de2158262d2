// How far a training is: one line that redraws itself on a terminal, now and then a plain line elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

namespace hw::runtime {

using Clock = std::chrono::steady_clock;
inline double secondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}
inline Clock::duration toDuration(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

class Progress {
public:
  enum class Style { none, plain, bar };
  /// What suits `stream`: a bar if it is a terminal.
  static Style styleFor(std::FILE *stream, bool quiet);

  Progress(std::FILE *stream, Style style) : stream(stream), style(style) {}

  /// A training of `steps` steps starts, or goes on after `done` of them; `epochs`, or 0 if it counts in steps.
  void begin(std::string label, int64_t steps, int64_t epochs, int64_t done = 0);
  /// After `done` steps. To be called some ten times a second: see Train.cpp.
  void update(int64_t done, int64_t epoch, double loss);
  /// The training is over, for the reason given in the last words, if any.
  void end(int64_t done, int64_t epoch, double loss, const char *reason);

  /// A line of its own, above the bar if there is one.
  void print(const std::string &line);
  /// Takes the bar away.
  void clear();

private:
  std::string count(int64_t done, int64_t epoch) const;

  std::FILE *stream;
  Style style;
  std::string label;
  int64_t steps = 0, epochs = 0, first = 0;
  Clock::time_point start, lastLine, lastDraw;
  bool drawn = false;
};

} // namespace hw::runtime
