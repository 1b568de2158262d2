// The clock behind hw_mark: how long each step of a compiled function takes on each thread, and, for a timeline, when.
#pragma once

#include "runtime/Abi.h"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hw::runtime {

/// A clock for the inside of a step: 10 ns a reading where the CPU's counter runs at a constant rate, 25 elsewhere. Its
/// unit is known to Marks.
uint64_t readTicks();

/// From its making until its end, what hw_mark, Program::run and Span say is kept here. One at a time in a process, as
/// hw_mark does not say who calls. Neither allocates nor locks once it is made.
class Marks {
public:
  /// How many events a timeline keeps, over all threads: some 40 MB of JSON, which browsers still open.
  static constexpr size_t timelineEvents = 200000;
  static constexpr size_t timelineSpans = 10000;

  /// For hw::threads() threads. `events`: how many to keep for a timeline; 0 keeps sums only.
  explicit Marks(const hw_program &program, size_t events = 0);
  ~Marks();
  Marks(const Marks &) = delete;
  Marks &operator=(const Marks &) = delete;

  /// Whoever listens now; null if no one does.
  static Marks *current() { return active; }

  //---- what is told ----

  /// Steps may lie within one another: time is the inner one's then.
  void mark(int64_t entry, int64_t step, int64_t thread, bool isEnd);
  /// The step that thread 0 is in runs on all threads by itself, as oneDNN's products do.
  void onAllThreads();
  void beginCall(const hw_entry *entry);
  void endCall();
  /// A span of the runtime's own (a training, an epoch). Returns what endSpan takes; -1 if there is no room.
  int64_t beginSpan(const char *kind, std::string_view name, int64_t number);
  void endSpan(int64_t span);

  //---- what was told ----

  struct StepTime {
    double seconds = 0; ///< summed over threads
    double longest = 0; ///< of the thread that was longest in it
    int64_t count = 0;  ///< pairs of marks
  };
  struct EntryTime {
    const hw_entry *entry;
    int64_t calls;
    double seconds;
    std::vector<StepTime> steps;
  };
  /// Sums since the start or the last reset(), of entries that were called, in the order of their first calls.
  std::vector<EntryTime> times() const;
  /// Forgets the sums. Events stay.
  void reset();

  struct Event {
    uint64_t begin, end;
    int32_t entry;
    int32_t step; ///< -1: the call of the entry
  };
  struct SpanEvent {
    uint64_t begin, end;
    const char *kind;
    std::string name;
    int64_t number; ///< -1: none
  };
  const hw_program &program;
  size_t threadCount() const { return threads.size(); }
  std::span<const Event> events(size_t thread) const { return {threads[thread].events.data(), threads[thread].used}; }
  const std::vector<SpanEvent> &spans() const { return spanEvents; }
  /// Events and spans for which there was no room. The first ones are kept.
  int64_t dropped() const;
  bool hasTimeline() const { return keepsEvents; }
  /// What readTicks() read at the start, and the length of its unit, measured over all the time since.
  uint64_t start() const { return startTicks; }
  double secondsPerTick() const;

private:
  // A cache line each: threads count side by side.
  struct alignas(64) Sum {
    uint64_t ticks = 0;
    int64_t count = 0;
  };
  struct Open {
    size_t sum; ///< index in `sums`
    int32_t entry, step;
    uint64_t begin;
  };
  static constexpr size_t deepest = 8; // steps within steps; below, time is the eighth's
  struct alignas(64) Thread {
    std::vector<Sum> sums; // entry by entry, step by step
    Open open[deepest];
    size_t depth = 0;
    uint64_t last = 0;       // the latest mark
    bool allThreads = false; // onAllThreads() was said since
    std::vector<Event> events;
    size_t used = 0;
    int64_t dropped = 0;
  };
  struct Calls {
    uint64_t first = 0, ticks = 0;
    int64_t count = 0;
  };

  void charge(Thread &thread, uint64_t now);
  void keep(Thread &thread, const Event &event);

  static Marks *active;
  std::vector<size_t> firstSum; // of each entry, in `sums`
  std::vector<Thread> threads;
  std::vector<Calls> calls; // of each entry
  Event openCall{};
  const bool keepsEvents;
  std::atomic<bool> full = false; // a thread has no room for events: none keeps more, so that a timeline ends at once
  std::vector<SpanEvent> spanEvents;
  int64_t droppedSpans = 0;
  std::chrono::steady_clock::time_point startTime;
  uint64_t startTicks;
};

/// Tells a timeline, where there is one, how long the runtime is at something.
class Span {
public:
  Span(const char *kind, std::string_view name, int64_t number = -1) : marks(Marks::current()) {
    span = marks ? marks->beginSpan(kind, name, number) : -1;
  }
  ~Span() {
    if (span >= 0)
      marks->endSpan(span);
  }
  Span(const Span &) = delete;
  Span &operator=(const Span &) = delete;

private:
  Marks *marks;
  int64_t span;
};

} // namespace hw::runtime
