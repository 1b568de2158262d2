// Places buffers that are not needed at the same time in the same memory.
#pragma once
#include <cstdint>
#include <vector>

namespace hw::backend {

/// In use from step `first` to step `last`, both included; first < 0: never.
struct Interval {
  int64_t bytes;
  int first, last;
  int64_t offset = 0; // the answer
};

/// Gives each interval an offset, 64-byte aligned, so that no two that overlap in time overlap in memory; returns the
/// total. First fit, the largest first.
int64_t placeIntervals(std::vector<Interval> &intervals);

} // namespace hw::backend
