#include "runtime/Threads.h"

#include "runtime/Abi.h"

#include <omp.h>

namespace hw {

static int width = 0; // 0: not set yet

int availableCores() { return omp_get_num_procs(); }

void setThreads(int n) {
  width = n < 1 ? 1 : n;
  omp_set_dynamic(0);
  omp_set_num_threads(width);
}

int threads() {
  if (width == 0)
    setThreads(availableCores());
  return width;
}

} // namespace hw

extern "C" void hw_parallel(hw_task task, void *frame, int64_t count) {
  const int n = hw::threads();
  // Inside a region there are no threads left to share (and a team of one's own would oversubscribe the cores).
  if (count <= 1 || n == 1 || omp_in_parallel()) {
    for (int64_t i = 0; i < count; ++i)
      task(frame, i);
    return;
  }
  // Always the full team, even for fewer tasks: libgomp ends the threads that a smaller team does not need and would
  // have to start them again.
#pragma omp parallel num_threads(n)
  for (int64_t i = omp_get_thread_num(); i < count; i += n)
    task(frame, i);
}
