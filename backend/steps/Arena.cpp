#include "backend/steps/Arena.h"
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>

namespace {

using hw::backend::Interval;

/// Placed intervals, found by when they are in use. Most are in use for a short time: those are looked up by a section
/// of the program, so that a long one is not gone through for each.
class Placed {
public:
  Placed(std::vector<Interval> &intervals) : intervals(intervals) {
    int end = 0;
    for (const Interval &interval : intervals)
      end = std::max(end, interval.last == INT32_MAX ? 0 : interval.last);
    const auto count = static_cast<size_t>(std::sqrt(double(intervals.size()))) + 1;
    length = end / int(count) + 1;
    sections.resize(count + 1);
  }

  void add(size_t number) {
    const Interval &interval = intervals[number];
    if (!isShort(interval)) {
      insert(lasting, number);
      return;
    }
    for (int at = interval.first / length; at <= interval.last / length; ++at)
      insert(sections[size_t(at)], number);
  }

  /// Those in use at the same time as this one, by offset.
  const std::vector<size_t> &besides(const Interval &interval) {
    found.clear();
    auto take = [&](const std::vector<size_t> &from) {
      for (size_t other : from)
        if (intervals[other].last >= interval.first && interval.last >= intervals[other].first)
          found.push_back(other);
    };
    take(lasting);
    const bool isAlone = found.empty();
    const int first = interval.first / length, last = std::min(interval.last / length, int(sections.size()) - 1);
    for (int at = first; at <= last; ++at)
      take(sections[size_t(at)]);
    if (!isAlone || first != last)
      std::sort(found.begin(), found.end(),
                [&](size_t a, size_t b) { return intervals[a].offset < intervals[b].offset; });
    return found;
  }

private:
  bool isShort(const Interval &interval) const { return interval.last / length - interval.first / length <= 1; }
  void insert(std::vector<size_t> &list, size_t number) {
    list.insert(std::upper_bound(list.begin(), list.end(), number,
                                 [&](size_t a, size_t b) { return intervals[a].offset < intervals[b].offset; }),
                number);
  }

  const std::vector<Interval> &intervals;
  int length;
  std::vector<std::vector<size_t>> sections; // the short ones, by offset
  std::vector<size_t> lasting, found;
};

} // namespace

int64_t hw::backend::placeIntervals(std::vector<Interval> &intervals) {
  std::vector<size_t> order(intervals.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return intervals[a].bytes > intervals[b].bytes; });
  auto padded = [](int64_t bytes) { return std::max<int64_t>((bytes + 63) / 64 * 64, 64); };
  int64_t total = 0;
  Placed placed(intervals);
  for (size_t number : order) {
    Interval &interval = intervals[number];
    if (interval.first < 0)
      continue;
    int64_t offset = 0, bytes = padded(interval.bytes);
    for (size_t other : placed.besides(interval)) {
      const Interval &there = intervals[other];
      if (offset + bytes <= there.offset)
        break;
      offset = std::max(offset, there.offset + padded(there.bytes));
    }
    interval.offset = offset;
    total = std::max(total, offset + bytes);
    placed.add(number);
  }
  return total;
}
