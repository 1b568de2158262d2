#include "runtime/Limits.h"

#include "runtime/Abi.h"
#include "runtime/Memory.h"
#include "runtime/Threads.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <ctime>
#include <numeric>
#include <sched.h>
#include <unistd.h>

namespace hw::runtime {

namespace {

//---- what one thread does --------------------------------------------------------------------------------------------

template <class T, int bytes> using Vector __attribute__((vector_size(bytes))) = T;

// More than latency x units of any CPU so far (4 x 2), and 12 fit in 16 registers.
constexpr size_t chains = 12, streams = 8;

template <class T, class V> T total(const V *vectors, size_t count) {
  T sum = 0;
  for (size_t i = 0; i < count; ++i)
    for (size_t lane = 0; lane < sizeof(V) / sizeof(T); ++lane)
      sum += vectors[i][lane];
  return sum;
}

// A function names its instruction set, so there is one of each for every width. `multiplyAdd` does 2 * chains flops a
// turn and lane, `read` reads `count` bytes, a multiple of streams * bytes, every turn. Their results are there to be
// used.
#define HW_LIMIT_LOOPS(bytes, features)                                                                                \
  template <class T> __attribute__((target(features), noinline)) T multiplyAdd##bytes(int64_t turns, T factor) {       \
    using V = Vector<T, (bytes)>;                                                                                      \
    const V f = factor - V{};                                                                                          \
    V sums[chains];                                                                                                    \
    for (size_t i = 0; i < chains; ++i)                                                                                \
      sums[i] = f * T(i);                                                                                              \
    for (int64_t turn = 0; turn < turns; ++turn)                                                                       \
      for (size_t i = 0; i < chains; ++i)                                                                              \
        sums[i] = sums[i] * f + f;                                                                                     \
    return total<T>(sums, chains);                                                                                     \
  }                                                                                                                    \
  __attribute__((target(features), noinline)) int64_t read##bytes(int64_t turns, const std::byte *data,                \
                                                                  size_t count) {                                      \
    using V = Vector<int64_t, (bytes)>;                                                                                \
    V sums[streams] = {};                                                                                              \
    for (int64_t turn = 0; turn < turns; ++turn)                                                                       \
      for (size_t at = 0; at < count; at += streams * (bytes))                                                         \
        for (size_t i = 0; i < streams; ++i)                                                                           \
          sums[i] += *reinterpret_cast<const V *>(data + at + i * (bytes));                                            \
    return total<int64_t>(sums, streams);                                                                              \
  }
#if defined(__x86_64__)
HW_LIMIT_LOOPS(64, "avx512f")
HW_LIMIT_LOOPS(32, "avx2,fma")
HW_LIMIT_LOOPS(16, "sse2")
#else
HW_LIMIT_LOOPS(16, "")
#endif
#undef HW_LIMIT_LOOPS

struct Loops {
  float (*multiplyAddF32)(int64_t turns, float factor);
  double (*multiplyAddF64)(int64_t turns, double factor);
  int64_t (*read)(int64_t turns, const std::byte *data, size_t count);
};

Loops loopsFor(unsigned vectorBytes) {
#if defined(__x86_64__)
  if (vectorBytes >= 64)
    return {multiplyAdd64<float>, multiplyAdd64<double>, read64};
  if (vectorBytes >= 32)
    return {multiplyAdd32<float>, multiplyAdd32<double>, read32};
#endif
  return {multiplyAdd16<float>, multiplyAdd16<double>, read16};
}

//---- what all do -----------------------------------------------------------------------------------------------------

/// Waits until all threads have come here `times` times.
void meet(std::atomic<int> &arrivals, int times) {
  ++arrivals;
  while (arrivals < times * threads())
    sched_yield();
}

template <class Work> void onAllThreads(const Work &work) {
  // As many tasks as threads, none of which ends before all have begun: so each thread gets one.
  struct Frame {
    const Work &work;
    std::atomic<int> begun = 0;
  } frame{work};
  const hw_phase phase{[](void *p, int64_t, int64_t thread) {
                         Frame &f = *static_cast<Frame *>(p);
                         meet(f.begun, 1);
                         f.work(thread);
                       },
                       threads()};
  hw_parallel(&phase, 1, &frame);
}

double processorTime() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// How often per second the threads together do work(thread, number) when all do it at the same time. By their
/// processor time, so that a busy machine is not taken for a slow one, and the median of some tries: the first wake
/// the vector units up, and where two threads share a core one may begin alone.
template <class Work> double ratePerSecond(const Work &work) {
  constexpr int tries = 9;
  std::vector<double> rates(static_cast<size_t>(threads()));
  std::atomic<int> arrived = 0;
  onAllThreads([&](int64_t thread) {
    std::array<double, tries> seconds;
    for (int number = 0; number < tries; ++number) {
      meet(arrived, number + 1);
      const double start = processorTime();
      work(thread, number);
      seconds[static_cast<size_t>(number)] = processorTime() - start;
    }
    std::nth_element(seconds.begin(), seconds.begin() + tries / 2, seconds.end());
    rates[static_cast<size_t>(thread)] = 1 / seconds[tries / 2];
  });
  return std::accumulate(rates.begin(), rates.end(), 0.0);
}

thread_local volatile double used; // what loops return, lest they be left out

/// Flops per second of `loop`, whose vectors have `lanes` elements.
template <class T> double peak(T (*loop)(int64_t, T), unsigned lanes) {
  constexpr int64_t turns = 1 << 17;
  const double rate = ratePerSecond([&](int64_t, int) { used = static_cast<double>(loop(turns, T(0.5))); });
  return 2.0 * chains * turns * lanes * rate;
}

/// A thread's part of the largest reading: beyond every cache, but no more than the machine has to spare.
size_t largestPart() {
  const auto free = static_cast<size_t>(sysconf(_SC_AVPHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t wish = std::max<size_t>((128 << 20) / static_cast<size_t>(threads()), 16 << 20);
  return std::max<size_t>(std::min(wish, free / 4 / static_cast<size_t>(threads())) >> 16 << 16, 1 << 16);
}

std::vector<Limits::Reading> measureReadings(int64_t (*read)(int64_t, const std::byte *, size_t)) {
  const size_t largest = largestPart();
  const Memory memory(largest * static_cast<size_t>(threads()), "measuring this machine");
  // Every thread reads what it has written: the pages are near it.
  const auto part = [&](int64_t thread) { return memory.data() + static_cast<size_t>(thread) * largest; };
  onAllThreads([&](int64_t thread) { std::fill_n(part(thread), largest, std::byte(1)); });
  std::vector<Limits::Reading> readings;
  for (size_t bytes = largest; bytes >= 8 << 10; bytes = bytes / 4 / 1024 * 1024) {
    // Of a large part each try reads a section, which the others have driven from the caches meanwhile.
    const size_t section = std::min<size_t>(bytes, largest / 8), sections = bytes / section;
    const auto turns = static_cast<int64_t>(sections > 1 ? 1 : std::max<size_t>((32 << 20) / section, 1));
    const double rate = ratePerSecond([&](int64_t thread, int number) {
      used = static_cast<double>(read(turns, part(thread) + static_cast<size_t>(number) % sections * section, section));
    });
    readings.push_back({static_cast<double>(threads()) * static_cast<double>(bytes),
                        static_cast<double>(turns) * static_cast<double>(section) * rate});
  }
  // A smaller part is never slower, but for noise.
  for (size_t i = 1; i < readings.size(); ++i)
    readings[i].rate = std::max(readings[i].rate, readings[i - 1].rate);
  std::reverse(readings.begin(), readings.end());
  return readings;
}

} // namespace

double Limits::readRate(double bytes) const {
  const auto above = std::find_if(readings.begin(), readings.end(), [&](const Reading &r) { return r.bytes >= bytes; });
  if (above == readings.begin())
    return above->rate;
  if (above == readings.end())
    return memoryRate();
  const Reading &low = *(above - 1), &high = *above;
  const double place = std::log(bytes / low.bytes) / std::log(high.bytes / low.bytes);
  return low.rate + place * (high.rate - low.rate);
}

Limits measureLimits(unsigned vectorBytes) {
  const Loops loops = loopsFor(vectorBytes);
  Limits limits;
  limits.flopsF32 = peak(loops.multiplyAddF32, vectorBytes / 4);
  limits.flopsF64 = peak(loops.multiplyAddF64, vectorBytes / 8);
  limits.readings = measureReadings(loops.read);
  return limits;
}

LeastTime leastTime(const Limits &limits, double peak, double flops, double bytes) {
  const double computing = flops / peak, reading = bytes / limits.readRate(bytes);
  return {std::max(computing, reading), reading > computing};
}

} // namespace hw::runtime
