#include "runtime/Marks.h"

#include "runtime/Threads.h"

#include <algorithm>
#include <utility>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace hw::runtime {

//---- the clock -------------------------------------------------------------------------------------------------------

#if defined(__x86_64__)
/// Whether the CPU promises a counter that neither its frequency nor sleep changes: CPUID 8000'0007h, EDX bit 8.
static bool counterIsClock() {
  unsigned a, b, c, d;
  return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & 1u << 8);
}
static const bool useCounter = counterIsClock();
#endif

uint64_t readTicks() {
#if defined(__x86_64__)
  if (useCounter)
    return __builtin_ia32_rdtsc();
#endif
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

double Marks::secondsPerTick() const {
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - startTime).count();
  return seconds / static_cast<double>(std::max<uint64_t>(readTicks() - startTicks, 1));
}

//---- what is told ----------------------------------------------------------------------------------------------------

Marks *Marks::active = nullptr;

Marks::Marks(const hw_program &program, size_t events)
    : program(program), threads(static_cast<size_t>(hw::threads())), calls(program.entry_count),
      keepsEvents(events > 0) {
  size_t sums = 0;
  for (uint64_t i = 0; i < program.entry_count; ++i) {
    firstSum.push_back(sums);
    sums += program.entries[i].step_count;
  }
  for (Thread &thread : threads) {
    thread.sums.resize(sums);
    thread.events.resize(events / threads.size());
  }
  if (keepsEvents)
    spanEvents.reserve(timelineSpans);
  startTime = std::chrono::steady_clock::now();
  startTicks = readTicks();
  active = this;
}

Marks::~Marks() { active = nullptr; }

/// The time since the thread's latest mark is that of the step it is in, if any.
void Marks::charge(Thread &thread, uint64_t now) {
  const uint64_t passed = now - std::exchange(thread.last, now);
  if (thread.depth == 0)
    return;
  const size_t sum = thread.open[std::min(thread.depth, deepest) - 1].sum;
  if (!std::exchange(thread.allThreads, false))
    thread.sums[sum].ticks += passed;
  else
    for (Thread &each : threads)
      each.sums[sum].ticks += passed;
}

void Marks::mark(int64_t entry, int64_t step, int64_t number, bool isEnd) {
  const uint64_t now = readTicks();
  Thread &thread = threads[static_cast<size_t>(number)];
  charge(thread, now);
  if (!isEnd) {
    const size_t sum = firstSum[static_cast<size_t>(entry)] + static_cast<size_t>(step);
    ++thread.sums[sum].count;
    if (thread.depth < deepest)
      thread.open[thread.depth] = {sum, static_cast<int32_t>(entry), static_cast<int32_t>(step), now};
    ++thread.depth;
  } else if (thread.depth > 0 && --thread.depth < deepest) {
    const Open &open = thread.open[thread.depth];
    keep(thread, {open.begin, now, open.entry, open.step});
  }
}

void Marks::onAllThreads() { threads[0].allThreads = true; }

void Marks::beginCall(const hw_entry *entry) {
  openCall = {readTicks(), 0, static_cast<int32_t>(entry - program.entries), -1};
}

void Marks::endCall() {
  openCall.end = readTicks();
  Calls &sum = calls[static_cast<size_t>(openCall.entry)];
  if (sum.count++ == 0)
    sum.first = openCall.begin;
  sum.ticks += openCall.end - openCall.begin;
  keep(threads[0], openCall);
}

void Marks::keep(Thread &thread, const Event &event) {
  if (!keepsEvents)
    return;
  if (thread.used == thread.events.size())
    full.store(true, std::memory_order_relaxed);
  if (full.load(std::memory_order_relaxed))
    ++thread.dropped;
  else
    thread.events[thread.used++] = event;
}

int64_t Marks::beginSpan(const char *kind, std::string_view name, int64_t number) {
  if (!keepsEvents)
    return -1;
  if (spanEvents.size() == timelineSpans) {
    ++droppedSpans;
    return -1;
  }
  spanEvents.push_back({readTicks(), 0, kind, std::string(name), number});
  return static_cast<int64_t>(spanEvents.size()) - 1;
}

void Marks::endSpan(int64_t span) { spanEvents[static_cast<size_t>(span)].end = readTicks(); }

//---- what was told ---------------------------------------------------------------------------------------------------

std::vector<Marks::EntryTime> Marks::times() const {
  const double scale = secondsPerTick();
  std::vector<size_t> order;
  for (size_t i = 0; i < calls.size(); ++i)
    if (calls[i].count > 0)
      order.push_back(i);
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return calls[a].first < calls[b].first; });
  std::vector<EntryTime> result;
  for (const size_t i : order) {
    const hw_entry &entry = program.entries[i];
    EntryTime time{&entry, calls[i].count, scale * static_cast<double>(calls[i].ticks), {}};
    time.steps.resize(entry.step_count);
    for (size_t s = 0; s < entry.step_count; ++s)
      for (const Thread &thread : threads) {
        const Sum &sum = thread.sums[firstSum[i] + s];
        const double seconds = scale * static_cast<double>(sum.ticks);
        time.steps[s].seconds += seconds;
        time.steps[s].longest = std::max(time.steps[s].longest, seconds);
        time.steps[s].count += sum.count;
      }
    result.push_back(std::move(time));
  }
  return result;
}

void Marks::reset() {
  for (Thread &thread : threads)
    std::fill(thread.sums.begin(), thread.sums.end(), Sum());
  std::fill(calls.begin(), calls.end(), Calls());
}

int64_t Marks::dropped() const {
  int64_t sum = droppedSpans;
  for (const Thread &thread : threads)
    sum += thread.dropped;
  return sum;
}

} // namespace hw::runtime

extern "C" void hw_mark(int64_t entry, int64_t step, int64_t thread, int32_t is_end) {
  if (hw::runtime::Marks *marks = hw::runtime::Marks::current())
    marks->mark(entry, step, thread, is_end != 0);
}
