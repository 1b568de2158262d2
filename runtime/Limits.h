// What this machine can do at best, measured: the roofs that `hwc bench` compares kernels with.
#pragma once

#include <cstdint>
#include <vector>

namespace hw::runtime {

/// Of all the program's threads together, per second.
struct Limits {
  double flopsF32 = 0, flopsF64 = 0; ///< multiply-adds, two flops each, in registers
  struct Reading {
    double bytes; ///< read over and over by all threads together
    double rate;  ///< bytes per second
  };
  std::vector<Reading> readings; ///< ascending in bytes, descending in rate: from the nearest cache to memory

  /// How fast `bytes` can be read if whatever cache can hold them does: in between the readings around it.
  double readRate(double bytes) const;
  double memoryRate() const { return readings.back().rate; }
};

/// With vectors of `vectorBytes` (64: AVX-512, 32: AVX2 and FMA, 16: SSE2), which the CPU must have. Takes some 0.2 s.
Limits measureLimits(unsigned vectorBytes);

/// The roofline (Williams, Waterman, Patterson 2009): the least time in seconds for so many flops on so many bytes at
/// `peak` flop/s, and which of the two roofs it is.
struct LeastTime {
  double seconds = 0;
  bool memory = false; ///< reading takes longer than computing
};
LeastTime leastTime(const Limits &limits, double peak, double flops, double bytes);

} // namespace hw::runtime
