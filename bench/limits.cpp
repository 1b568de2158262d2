// The machine's limits for bench/sweep, as one line of JSON: {"f32": flop/s, "f64": flop/s, "readings": [[bytes,
// bytes/s], ...]}.
//
//     limits [THREADS]
#include "runtime/Limits.h"
#include "runtime/Threads.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdlib>
#include <vector>

int main(int argc, char **argv) {
  hw::setThreads(argc > 1 ? std::atoi(argv[1]) : hw::availableCores());
  const unsigned vectorBytes = __builtin_cpu_supports("avx512f") ? 64 : __builtin_cpu_supports("avx2") ? 32 : 16;
  const hw::runtime::Limits limits = hw::runtime::measureLimits(vectorBytes);
  std::vector<std::string> readings;
  for (const auto &reading : limits.readings)
    readings.push_back(fmt::format("[{:.0f}, {:.4g}]", reading.bytes, reading.rate));
  fmt::print("{{\"f32\": {:.4g}, \"f64\": {:.4g}, \"readings\": [{}]}}\n", limits.flopsF32, limits.flopsF64,
             fmt::join(readings, ", "));
}
