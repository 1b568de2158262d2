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

struct Unit {
  double seconds;
  const char *name;
};

/// Such that a step takes at least ten of it.
Unit unitFor(double seconds) {
  return seconds < 1e-5 ? Unit{1e-9, "ns"} : seconds < 1e-2 ? Unit{1e-6, "\u00b5s"} : Unit{1e-3, "ms"};
}

struct Row {
  std::string time, share, threads, flop, byte, flopRate, byteRate, limit, roof, location, kernel;
};

class Printer {
public:
  Printer(const Profile &profile, const Limits &limits, double peak)
      : profile(profile), limits(limits), peak(peak), steps(static_cast<double>(profile.steps)),
        unit(unitFor(profile.seconds / steps)) {}

  std::string print() {
    rows.push_back({unit.name, "%", "threads", "flop", "byte", "GFLOP/s", "GB/s", "limit", "", "location", "kernel"});
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
    Row &row = add(time.seconds / profile.threads, oneLine(step.name));
    row.location = oneLine(step.location);
    row.flop = si(flops / steps);
    row.byte = si(bytes / steps);
    row.threads = row.flopRate = row.byteRate = row.limit = "-";
    if (time.longest > 0) {
      // The machine's rates while the kernel runs: a thread that has no part in it lowers them.
      row.threads = fmt::format("{:.1f}", time.seconds / time.longest);
      row.flopRate = rate(flops / time.longest);
      row.byteRate = rate(bytes / time.longest);
      row.limit = percent(calls * least.seconds / time.longest);
    }
    if (least.seconds > 0)
      row.roof = least.memory ? "memory" : "compute";
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
    add(std::max(entrySeconds - kernelSeconds, 0.0), "(threads wait: launches, barriers)");
    add(std::max(profile.seconds - entrySeconds, 0.0), "(between calls: batches, records)");
    Row &sum = add(profile.seconds, fmt::format("{}, the quickest {} in a row", profile.name, profile.steps));
    sum.flop = si(allFlops / steps);
    sum.byte = si(allBytes / steps);
    sum.flopRate = rate(allFlops / profile.seconds);
    sum.byteRate = rate(allBytes / profile.seconds);
    sum.limit = percent(leastSeconds / profile.seconds);
  }

  /// A row of `seconds` of all steps.
  Row &add(double seconds, std::string name) {
    Row &row = rows.emplace_back();
    row.time = fmt::format("{:.2f}", seconds / steps / unit.seconds);
    row.share = fmt::format("{:.1f}", 100 * seconds / profile.seconds);
    row.kernel = std::move(name);
    return row;
  }
  static std::string rate(double perSecond) { return perSecond > 0 ? fmt::format("{:.1f}", perSecond * 1e-9) : "-"; }
  static std::string percent(double part) { return part > 0 ? fmt::format("{:.0f} %", 100 * part) : "-"; }

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
  const Unit unit;
  double kernelSeconds = 0, allFlops = 0, allBytes = 0, leastSeconds = 0;
  std::vector<Row> rows;
};

} // namespace

std::string kernelTable(const Profile &profile, const Limits &limits, double peak) {
  return Printer(profile, limits, peak).print();
}

std::string describeDuration(double seconds) {
  const Unit unit = unitFor(seconds);
  return fmt::format("{:.1f} {}", seconds / unit.seconds, unit.name);
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
