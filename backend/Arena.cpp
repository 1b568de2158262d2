#include "backend/Arena.h"
#include <algorithm>
#include <numeric>

int64_t hw::backend::placeIntervals(std::vector<Interval> &intervals) {
  std::vector<size_t> order(intervals.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return intervals[a].bytes > intervals[b].bytes; });
  auto padded = [](int64_t bytes) { return (bytes + 63) / 64 * 64; };
  int64_t total = 0;
  std::vector<size_t> placed; // by offset
  for (size_t number : order) {
    Interval &interval = intervals[number];
    if (interval.first < 0)
      continue;
    int64_t offset = 0, bytes = std::max<int64_t>(padded(interval.bytes), 64);
    for (size_t other : placed) {
      const Interval &there = intervals[other];
      if (there.last < interval.first || interval.last < there.first)
        continue;
      if (offset + bytes <= there.offset)
        break;
      offset = std::max(offset, there.offset + std::max<int64_t>(padded(there.bytes), 64));
    }
    interval.offset = offset;
    total = std::max(total, offset + bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), offset,
                                   [&](int64_t at, size_t other) { return at < intervals[other].offset; }),
                  number);
  }
  return total;
}
