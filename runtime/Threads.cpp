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

extern "C" void hw_parallel(hw_body body, void *frame) {
  const int n = hw::threads();
  // Inside a region there are no threads left to share (and a team of one's own would oversubscribe the cores).
  if (n == 1 || omp_in_parallel()) {
    body(frame, 0, 1);
    return;
  }
#pragma omp parallel num_threads(n)
  body(frame, omp_get_thread_num(), n);
}

extern "C" void hw_barrier(int64_t threads) {
  if (threads == 1)
    return;
#pragma omp barrier
}
