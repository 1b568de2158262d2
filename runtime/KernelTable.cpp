#include "runtime/KernelTable.h"

#include "runtime/formats/Text.h"

#include <fmt/format.h>

#include <algorithm>

namespace hw::runtime {

namespace {

/// Three digits and an SI prefix: "7.20M"; "-" for nothing.
std::string si(double value) {
  if (!(value > 0))
    return "-";
  const char *const prefixes[] = {"", "k", "M", "G", "T", "P"};
  size_t prefix = 0;
  while (value >= 999.5 && prefix + 1 < std::size(prefixes))
    value /= 1000, ++prefix;
  const int decimals = prefix == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f}{}", value, decimals, prefixes[prefix]);
}

struct Row {
  std::string time, share, threads, flop, byte, flopRate, byteRate, limit, roof, location, kernel;
};

class Printer {
public:
  Printer(const Profile &profile, const Limits &limits, double peak)
      : profile(profile), limits(limits), peak(peak), steps(static_cast<double>(profile.steps)),
        inMilliseconds(profile.seconds / steps >= 0.01) {}

  std::string print() {
    rows.push_back({inMilliseconds ? "ms" : "\u00b5s", "%", "threads", "flop", "byte", "GFLOP/s", "GB/s", "limit", "",
                    "location", "kernel"});
    for (const Marks::EntryTime &entry : profile.entries)
      for (uint64_t i = 0; i < entry.entry->step_count; ++i)
        kernel(entry.entry->steps[i], entry.steps[i], static_cast<double>(entry.calls));
    rest();
    shortenLocations();
    return aligned();
  }

private:
  void kernel(const hw_step &step, const Marks::StepTime &time, double calls) {
    const double flops = calls * step.flops, bytes = calls * step.bytes;
    const LeastTime least = leastTime(limits, peak, step.flops, step.bytes);
    // Rates are those of the machine while the kernel runs: a thread that has no part in it lowers them.
    const bool ran = time.longest > 0;
    rows.push_back(
        {duration(time.seconds / profile.threads), share(time.seconds / profile.threads),
         ran ? fmt::format("{:.1f}", time.seconds / time.longest) : "-", si(flops / steps), si(bytes / steps),
         ran ? rate(flops / time.longest) : "-", ran ? rate(bytes / time.longest) : "-",
         ran && least.seconds > 0 ? fmt::format("{:.0f} %", 100 * calls * least.seconds / time.longest) : "-",
         least.seconds == 0 ? ""
         : least.memory     ? "memory"
                            : "compute",
         oneLine(step.location), oneLine(step.name)});
    kernelSeconds += time.seconds / profile.threads;
    allFlops += flops;
    allBytes += bytes;
    leastSeconds += calls * least.seconds;
  }

  /// What is no kernel's time, and the sum.
  void rest() {
    double entrySeconds = 0;
    for (const Marks::EntryTime &entry : profile.entries)
      entrySeconds += entry.seconds;
    const double waiting = std::max(entrySeconds - kernelSeconds, 0.0);
    const double outside = std::max(profile.seconds - entrySeconds, 0.0);
    rows.push_back(
        {duration(waiting), share(waiting), "", "", "", "", "", "", "", "", "(threads wait: launches, barriers)"});
    rows.push_back(
        {duration(outside), share(outside), "", "", "", "", "", "", "", "", "(between calls: batches, records)"});
    rows.push_back({duration(profile.seconds), share(profile.seconds), "", si(allFlops / steps), si(allBytes / steps),
                    rate(allFlops / profile.seconds), rate(allBytes / profile.seconds),
                    fmt::format("{:.0f} %", 100 * leastSeconds / profile.seconds), "", "", profile.name});
  }

  /// Where all kernels come from one file, its name stands in the column's title alone: "fit.hw", then "3:10".
  void shortenLocations() {
    std::string file;
    for (size_t i = 1; i < rows.size(); ++i) {
      const std::string &where = rows[i].location; // "file:line:column"
      if (where.empty())
        continue;
      const size_t end = where.rfind(':', where.rfind(':') - 1);
      if (end == std::string::npos || (!file.empty() && where.substr(0, end) != file))
        return;
      file = where.substr(0, end);
    }
    for (Row &row : rows)
      if (&row != &rows.front() && !row.location.empty())
        row.location.erase(0, file.size() + 1);
    if (!file.empty())
      rows.front().location = file.substr(file.rfind('/') + 1);
  }

  /// Of one step.
  std::string duration(double seconds) const {
    return fmt::format("{:.2f}", seconds / steps * (inMilliseconds ? 1e3 : 1e6));
  }
  std::string share(double seconds) const { return fmt::format("{:.1f}", 100 * seconds / profile.seconds); }
  static std::string rate(double perSecond) { return perSecond > 0 ? fmt::format("{:.1f}", perSecond * 1e-9) : "-"; }

  std::string aligned() const {
    constexpr std::string Row::*numbers[] = {&Row::time, &Row::share,    &Row::threads,  &Row::flop,
                                             &Row::byte, &Row::flopRate, &Row::byteRate, &Row::limit};
    constexpr std::string Row::*words[] = {&Row::roof, &Row::location};
    std::vector<std::string> lines(rows.size());
    auto column = [&](std::string Row::*cell, char alignment, const char *gap) {
      size_t width = 0;
      for (const Row &row : rows)
        width = std::max(width, (row.*cell).size());
      for (size_t i = 0; i < rows.size(); ++i)
        lines[i] += alignment == '>' ? fmt::format("{}{:>{}}", gap, rows[i].*cell, width)
                                     : fmt::format("{}{:<{}}", gap, rows[i].*cell, width);
    };
    for (const auto cell : numbers)
      column(cell, '>', cell == numbers[0] ? "" : "  ");
    column(words[0], '<', " ");
    column(words[1], '<', "  ");
    std::string text;
    for (size_t i = 0; i < rows.size(); ++i)
      text += lines[i] + "  " + rows[i].kernel + "\n";
    return text;
  }

  const Profile &profile;
  const Limits &limits;
  const double peak, steps;
  const bool inMilliseconds;
  double kernelSeconds = 0, allFlops = 0, allBytes = 0, leastSeconds = 0;
  std::vector<Row> rows;
};

} // namespace

std::string kernelTable(const Profile &profile, const Limits &limits, double peak) {
  return Printer(profile, limits, peak).print();
}

std::string describeLimits(const Limits &limits, int threads, unsigned vectorBytes) {
  const auto giga = [](double value) { return value * 1e-9; };
  return fmt::format(
      "limits measured: {:.0f} GFLOP/s of f32, {:.0f} of f64; reading {:.0f} GB/s from memory, up to {:.0f} "
      "from the caches ({} thread{}, vectors of {} bytes)\n",
      giga(limits.flopsF32), giga(limits.flopsF64), giga(limits.memoryRate()), giga(limits.readings.front().rate),
      threads, threads == 1 ? "" : "s", vectorBytes);
}

} // namespace hw::runtime
