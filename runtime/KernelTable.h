// Where a training step's time goes, as `hwc bench` prints it.
#pragma once

#include "runtime/Limits.h"
#include "runtime/Marks.h"

#include <string>
#include <vector>

namespace hw::runtime {

/// Steps of a training in a row, measured with marks.
struct Profile {
  std::string name;
  int64_t steps = 0;
  double seconds = 0; ///< of all steps together
  int threads = 1;
  std::vector<Marks::EntryTime> entries;
};

/// A row a kernel, in the order they run, then what no kernel accounts for, then the step. `peak`: flop/s of the
/// program's precision. docs/benchmarking.md explains the columns.
std::string kernelTable(const Profile &profile, const Limits &limits, double peak);

/// "12.3 µs".
std::string describeDuration(double seconds);

/// The limits in one line.
std::string describeLimits(const Limits &limits, int threads, unsigned vectorBytes);

} // namespace hw::runtime
