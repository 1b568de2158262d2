// `hwc bench`: Google Benchmark over a program's compiled functions, then a table of each training step's kernels. In a
// library of its own, so that executables do not link it.
#pragma once

#include "runtime/Abi.h"

#include <functional>
#include <optional>
#include <string>

namespace hw {

struct BenchOptions {
  int threads = 0; ///< 0: one a core
  std::string data = ".";
  std::optional<bool> kernels; ///< the tables; not said: where Google Benchmark prints for people
  std::string trace;           ///< file for a timeline of the steps behind the tables; empty: none
};

/// Runs the plan up to each training, times there what its "bench" names (forward, gradient, hvp) and its step (all
/// calls of a turn, from the initial weights on), then skips the training. Counters: flops and bytes per second of the
/// entries' own counts. `marked` gives the same program compiled with marks, and is called once those figures are in,
/// if tables or a timeline are wanted. argv: Google Benchmark's flags (--benchmark_filter, --benchmark_format, ...).
/// Returns the exit status.
int benchProgram(const hw_program &program, const std::function<const hw_program &()> &marked,
                 const BenchOptions &options, int argc, char **argv);

} // namespace hw
