#include "runtime/Progress.h"

#include "runtime/formats/Text.h"

#include <fmt/format.h>

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

namespace hw::runtime {

Progress::Style Progress::styleFor(std::FILE *stream, bool quiet) {
  if (quiet)
    return Style::none;
  const char *terminal = std::getenv("TERM");
  return isatty(fileno(stream)) && !(terminal && std::string_view(terminal) == "dumb") ? Style::bar : Style::plain;
}

/// "7 s", "2:05", "1:02:05".
static std::string duration(double seconds) {
  if (!(seconds < 1e8))
    return "?";
  const auto s = static_cast<int64_t>(seconds + 0.5);
  if (s < 60)
    return fmt::format("{} s", s);
  if (s < 3600)
    return fmt::format("{}:{:02}", s / 60, s % 60);
  return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

/// "2400 steps/s", "3.1 s/step".
static std::string speed(double stepsPerSecond) {
  if (stepsPerSecond >= 10)
    return fmt::format("{:.0f} steps/s", stepsPerSecond);
  if (stepsPerSecond >= 1)
    return fmt::format("{:.1f} steps/s", stepsPerSecond);
  return stepsPerSecond > 0 ? fmt::format("{:.1f} s/step", 1 / stepsPerSecond) : "";
}

static std::string lossText(double loss) { return fmt::format("{:.4g}", loss); }

void Progress::begin(std::string name, int64_t stepCount, int64_t epochCount, int64_t done) {
  label = oneLine(name, 60);
  steps = stepCount;
  epochs = epochCount;
  first = done;
  start = lastLine = Clock::now();
  lastDraw = {};
}

std::string Progress::count(int64_t done, int64_t epoch) const {
  return epochs > 0 ? fmt::format("epoch {}/{}", epoch, epochs) : fmt::format("step {}/{}", done, steps);
}

void Progress::update(int64_t done, int64_t epoch, double loss) {
  if (style == Style::none || done <= first)
    return;
  const auto now = Clock::now();
  const double passed = std::chrono::duration<double>(now - start).count();
  const double rate = static_cast<double>(done - first) / std::max(passed, 1e-9);
  const double left = static_cast<double>(steps - done) / rate;
  const std::string facts = fmt::format("{}  {}  loss {}  {}  {} left", label, count(done, epoch), lossText(loss),
                                        speed(rate), duration(left));
  if (style == Style::plain) {
    // Every 5 seconds, but no more than some twenty lines a training.
    const double interval = std::max(5.0, 0.05 * (passed + left));
    if (std::chrono::duration<double>(now - lastLine).count() < interval)
      return;
    lastLine = now;
    fmt::print(stream, "{}\n", facts);
    std::fflush(stream);
    return;
  }
  if (std::chrono::duration<double>(now - lastDraw).count() < 0.1)
    return;
  lastDraw = now;
  winsize size{};
  const int width = ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
  // What is not ASCII in the label may take another width: the bar is only made a little shorter or longer by it.
  const int room = width - static_cast<int>(facts.size()) - 4;
  std::string line = facts;
  if (room >= 8) {
    const int full = std::min(room, 40);
    const int filled =
        static_cast<int>(full * static_cast<double>(done) / static_cast<double>(std::max<int64_t>(steps, 1)));
    line += fmt::format("  [{}{}]", std::string(static_cast<size_t>(filled), '='),
                        std::string(static_cast<size_t>(full - filled), ' '));
  } else if (room < -3)
    line = oneLine(line, static_cast<size_t>(std::max(width - 1, 1)));
  fmt::print(stream, "\r\033[K{}", line);
  std::fflush(stream);
  drawn = true;
}

void Progress::end(int64_t done, int64_t epoch, double loss, const char *reason) {
  clear();
  if (style == Style::none)
    return;
  const double passed = secondsSince(start);
  fmt::print(stream, "{}  {}  loss {}  {:.2f} s ({}){}{}\n", label, count(done, epoch), lossText(loss), passed,
             speed(static_cast<double>(done - first) / std::max(passed, 1e-9)), *reason ? ", " : "", reason);
  std::fflush(stream);
}

void Progress::print(const std::string &line) {
  clear();
  fmt::print(stream, "{}\n", line);
  std::fflush(stream);
}

void Progress::clear() {
  if (drawn)
    fmt::print(stream, "\r\033[K");
  drawn = false;
}

} // namespace hw::runtime
