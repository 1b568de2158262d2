#include "runtime/Progress.h"

#include "runtime/formats/Streams.h"

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

TrainingProgress::TrainingProgress(Progress &display, const std::string &label, int64_t steps, int64_t epochs,
                                   int64_t done)
    : display(display), label(oneLine(label, 60)), steps(steps), epochs(epochs), first(done) {
  const std::lock_guard lock(display.mutex);
  display.active.push_back(this);
  display.lastDraw = {};
}

TrainingProgress::~TrainingProgress() {
  const std::lock_guard lock(display.mutex);
  std::erase(display.active, this);
}

std::string TrainingProgress::count(int64_t done, int64_t epoch) const {
  return epochs > 0 ? fmt::format("epoch {}/{}", epoch, epochs) : fmt::format("step {}/{}", done, steps);
}

void TrainingProgress::update(int64_t done, int64_t epoch, double loss) {
  if (display.style == Progress::Style::none || done <= first)
    return;
  const auto now = Clock::now();
  const double passed = std::chrono::duration<double>(now - start).count();
  const double rate = static_cast<double>(done - first) / std::max(passed, 1e-9);
  const double left = static_cast<double>(steps - done) / rate;
  std::string facts = fmt::format("{}  {}  loss {}  {}  {} left", label, count(done, epoch), lossText(loss),
                                  speed(rate), duration(left));
  const std::lock_guard lock(display.mutex);
  if (display.style == Progress::Style::plain) {
    // Every 5 seconds, but no more than some twenty lines a training.
    const double interval = std::max(5.0, 0.05 * (passed + left));
    if (std::chrono::duration<double>(now - lastLine).count() < interval)
      return;
    lastLine = now;
    put(display.stream, facts + "\n");
    std::fflush(display.stream);
    return;
  }
  if (display.active.front() != this || std::chrono::duration<double>(now - display.lastDraw).count() < 0.1)
    return;
  if (const size_t beside = display.active.size() - 1)
    facts += fmt::format("  and {} beside", beside);
  display.lastDraw = now;
  display.draw(facts, static_cast<double>(done) / static_cast<double>(std::max<int64_t>(steps, 1)));
}

void TrainingProgress::end(int64_t done, int64_t epoch, double loss, const char *reason) {
  if (display.style == Progress::Style::none)
    return;
  const double passed = secondsSince(start);
  display.print(fmt::format("{}  {}  loss {}  {:.2f} s ({}){}{}", label, count(done, epoch), lossText(loss), passed,
                            speed(static_cast<double>(done - first) / std::max(passed, 1e-9)), *reason ? ", " : "",
                            reason));
}

void Progress::draw(const std::string &facts, double share) {
  winsize size{};
  const int width = ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
  // What is not ASCII in the label may take another width: the bar is only made a little shorter or longer by it.
  const int room = width - static_cast<int>(facts.size()) - 4;
  std::string line = facts;
  if (room >= 8) {
    const int full = std::min(room, 40);
    const int filled = static_cast<int>(full * share);
    line += fmt::format("  [{}{}]", std::string(static_cast<size_t>(filled), '='),
                        std::string(static_cast<size_t>(full - filled), ' '));
  } else if (room < -3)
    line = oneLine(line, static_cast<size_t>(std::max(width - 1, 1)));
  put(stream, "\r\033[K" + line);
  std::fflush(stream);
  drawn = true;
}

void Progress::print(const std::string &line) {
  const std::lock_guard lock(mutex);
  erase();
  put(stream, escaped(line) + "\n");
  std::fflush(stream);
}

void Progress::clear() {
  const std::lock_guard lock(mutex);
  erase();
}

void Progress::erase() {
  if (drawn)
    put(stream, "\r\033[K");
  drawn = false;
}

} // namespace hw::runtime
