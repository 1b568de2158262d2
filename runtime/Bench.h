// `hwc bench`: Google Benchmark over a program's compiled functions. In a library of its own, so that executables do
// not link it.
#pragma once

#include "runtime/Abi.h"

#include <string>

namespace hw {

struct BenchOptions {
  int threads = 0; ///< 0: one a core
  std::string data = ".";
};

/// Runs the plan up to each training, times there what its "bench" names (forward, gradient, hvp) and its step (all
/// calls of a turn, from the initial weights on), then skips the training. Counters: flops and bytes per second of the
/// entries' own counts. argv: Google Benchmark's flags (--benchmark_filter, --benchmark_format, ...). Returns the exit
/// status.
int benchProgram(const hw_program &program, const BenchOptions &options, int argc, char **argv);

} // namespace hw
