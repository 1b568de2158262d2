// A pool that deals the tasks of short phases to threads, some of which may be late.
//
// The caller does not wait for threads to arrive: it runs tasks itself, and whoever comes takes from what is left. Each
// thread has a block of neighbouring tasks of its own, so that it finds in its cache what it wrote in the phase before,
// and takes from the others' blocks when its own is done. Where another process keeps a core busy, a step so takes at
// most as long as on the cores that are left, plus a task; with a team that must be complete at every barrier
// (OpenMP's) it was seen to take 30 times as long. Results do not depend on who runs a task.
#include "runtime/Threads.h"

#include "runtime/Abi.h"
#include "runtime/formats/Error.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <sched.h>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace hw {

namespace {

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

/// Waits until `done()`: some microseconds at full speed, then giving up the core again and again.
template <class Done> void waitFor(Done done) {
  for (int turn = 0; !done(); ++turn)
    if (turn < 500)
      pause();
    else
      sched_yield();
}

/// What there is to do in a call of hw_parallel. It is free when no worker looks at it.
struct alignas(64) Job {
  std::vector<hw_phase> phases; // a copy: a worker may look at it when the caller is gone
  void *frame = nullptr;
  std::atomic<int> visitors = 0;
  /// Of a phase, on a cache line of its own: finished tasks, then the next task of each thread's block.
  struct alignas(64) Number {
    std::atomic<int64_t> value;
  };
  std::unique_ptr<Number[]> numbers;
  int64_t capacity = 0;

  void start(const hw_phase *first, int64_t count, void *newFrame, int width) {
    phases.assign(first, first + count);
    frame = newFrame;
    const int64_t needed = count * (width + 1);
    if (capacity < needed) { // the first time that a program of so many phases runs
      numbers = std::make_unique<Number[]>(size_t(needed));
      capacity = needed;
    }
    for (int64_t phase = 0; phase < count; ++phase) {
      Number *at = &numbers[size_t(phase * (width + 1))];
      at->value.store(0, std::memory_order_relaxed);
      for (int block = 0; block < width; ++block)
        at[1 + block].value.store(first[phase].tasks * block / width, std::memory_order_relaxed);
    }
  }

  void work(int thread, int width) {
    for (size_t phase = 0; phase < phases.size(); ++phase) {
      const auto [run, tasks] = phases[phase];
      Number *at = &numbers[phase * size_t(width + 1)];
      for (int turn = 0; turn < width; ++turn) {
        const int block = (thread + turn) % width;
        const int64_t end = tasks * (block + 1) / width;
        std::atomic<int64_t> &next = at[1 + block].value;
        while (next.load(std::memory_order_relaxed) < end) {
          const int64_t task = next.fetch_add(1, std::memory_order_relaxed);
          if (task >= end)
            break;
          run(frame, task, thread);
          at->value.fetch_add(1, std::memory_order_acq_rel);
        }
      }
      waitFor([at, tasks = tasks] { return at->value.load(std::memory_order_acquire) >= tasks; });
    }
  }
};

thread_local bool isInside = false; // of a task

class Pool {
public:
  explicit Pool(int width) : width(width), jobs(size_t(width) + 1) {
    try {
      for (int thread = 1; thread < width; ++thread)
        workers.emplace_back([this, thread] { serve(thread); });
    } catch (const std::system_error &error) {
      const size_t made = workers.size() + 1;
      end();
      fail("the system refuses more than {} of {} threads ({}): give --threads {}, or raise the limit (ulimit -u, -v)",
           made, width, error.code().message(), made);
    }
  }
  ~Pool() { end(); }

  void end() {
    isClosing = true;
    announce(nullptr);
    for (std::thread &worker : workers)
      worker.join();
    workers.clear();
  }

  void run(const hw_phase *phases, int64_t count, void *frame) {
    const std::lock_guard lock(callers);
    // A worker that was late for an earlier job may still be looking at it: there is one job more than workers.
    Job &job = *std::find_if(jobs.begin(), jobs.end(), [](Job &each) { return each.visitors == 0; });
    job.start(phases, count, frame, width);
    announce(&job);
    isInside = true;
    job.work(0, width);
    isInside = false;
    current.store(nullptr);
  }

private:
  void announce(Job *job) {
    current.store(job);
    ++rounds;
    rounds.notify_all();
  }

  void serve(int thread) {
    isInside = true;
    uint64_t seen = 0;
    for (;;) {
      // Steps follow each other within microseconds: look for the next one for a while before sleeping.
      for (int turn = 0; turn < 2000 && rounds.load() == seen; ++turn)
        pause();
      rounds.wait(seen);
      seen = rounds.load();
      if (isClosing)
        return;
      Job *job = current.load();
      if (!job)
        continue;
      // Announced as a visitor before the job is looked at again: if it is still the current one, it stays what it is.
      ++job->visitors;
      if (current.load() == job)
        job->work(thread, width);
      --job->visitors;
    }
  }

  const int width;
  std::vector<Job> jobs;
  std::atomic<Job *> current = nullptr;
  std::atomic<uint64_t> rounds = 0;
  std::atomic<bool> isClosing = false;
  std::mutex callers;
  std::vector<std::thread> workers;
};

int width = 0;        // 0: not set yet
Pool *pool = nullptr; // lives until the process ends, whose end does not wait for it

} // namespace

int availableCores() {
  return std::max(1, int(std::thread::hardware_concurrency()));
} // heeds taskset and cgroups' sets

void setThreads(int n) {
  n = std::max(n, 1);
  if (n == width)
    return;
  delete std::exchange(pool, nullptr);
  width = 1; // should there be no more threads
  pool = n > 1 ? new Pool(n) : nullptr;
  width = n;
}

int threads() {
  if (width == 0)
    setThreads(availableCores());
  return width;
}

void runAlone() { isInside = true; }

} // namespace hw

extern "C" void hw_parallel(const hw_phase *phases, int64_t count, void *frame) {
  if (hw::threads() > 1 && !hw::isInside) {
    hw::pool->run(phases, count, frame);
    return;
  }
  for (int64_t phase = 0; phase < count; ++phase)
    for (int64_t task = 0; task < phases[phase].tasks; ++task)
      phases[phase].run(frame, task, 0);
}
