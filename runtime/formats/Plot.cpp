#include "runtime/formats/Plot.h"
#include "runtime/formats/Csv.h"
#include "runtime/formats/Process.h"
#include "runtime/formats/Text.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <fmt/ranges.h>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

namespace hw {

namespace {

// --- What is drawn

/// One curve, cloud, set of bars or grid: a block of the data file and an element of the script's plot command.
struct Series {
  MarkKind kind;
  bool right = false;
  std::string value;             // the column's name
  std::string group;             // the values of `by`, joined; empty without
  int groupIndex = -1;           // -1: not grouped
  std::optional<double> groupAt; // the only `by` column's number
  int hue = -1, tone = 0;        // of several `by` columns: the first one's value, and the others'
  int variant = 0;               // which of several value columns: dash or point type
  std::vector<double> x, y, z;   // y is the depth of a grid
  std::vector<std::string> xTexts;
  std::vector<double> labelNumbers;
  std::vector<std::string> labelTexts;
  std::vector<bool> gap;        // a value was left out before this row: do not connect
  std::vector<double> position; // on an axis of categories
  size_t gridWidth = 0;         // > 0: x.size() is a multiple, one scan line has so many rows
  bool xF32 = false, yF32 = false, zF32 = false, labelF32 = false;
  double barWidth = 0;
  bool pendingGap = false; // while rows are added

  size_t size() const { return x.size(); }
  bool isGrid() const { return kind == MarkKind::contour || kind == MarkKind::surface; }
};

struct Figure {
  const PlotSpec &spec;
  std::vector<Series> series = {};
  std::vector<std::string> categories = {}; // of x; empty if x is a number
  bool hasZ = false;
  std::string xName = {}, yName = {}, rightName = {}, zName = {}, labelName = {}, byName = {};
  size_t groups = 0, hues = 0, tones = 0;
  size_t valueNames = 0; // distinct

  /// `by widths, part`: a colour for the widths, solid and dashed for the parts.
  bool twoWays() const;
};

/// Okabe and Ito's colours for the colour-blind (https://jfly.uni-koeln.de/color/), without the yellow, which white
/// paper swallows. Black is for what is not grouped: the truth among the fits.
constexpr std::array<const char *, 7> groupColours = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                                      "#E69F00", "#56B4E9", "#8C564B"};
constexpr const char *referenceColour = "#222222";
bool Figure::twoWays() const { return tones > 1 && tones <= 4 && hues <= groupColours.size(); }

constexpr size_t mostListedGroups = 12;
constexpr size_t mostPanels = 9;
constexpr double largestDrawn = 1e300; // gnuplot's own arithmetic overflows beyond

/// matplotlib's viridis (CC0), eight of its stops.
struct Stop {
  int r, g, b;
};
constexpr std::array<Stop, 8> viridis = {Stop{68, 1, 84}, {70, 50, 127},  {54, 92, 141},  {39, 127, 142},
                                         {31, 161, 135},  {74, 194, 109}, {159, 218, 58}, {253, 231, 37}};

std::string viridisAt(double t) {
  t = std::clamp(t, 0.0, 1.0) * 0.93 * (viridis.size() - 1); // its last yellow is too light for a line
  auto i = std::min<size_t>(static_cast<size_t>(t), viridis.size() - 2);
  double f = t - static_cast<double>(i);
  auto mix = [&](int a, int b) { return static_cast<int>(std::lround(a + f * (b - a))); };
  const Stop &a = viridis[i], &b = viridis[i + 1];
  return fmt::format("#{:02X}{:02X}{:02X}", mix(a.r, b.r), mix(a.g, b.g), mix(a.b, b.b));
}

bool drawable(double v, bool logarithmic) {
  return std::isfinite(v) && std::abs(v) <= largestDrawn && !(logarithmic && v <= 0);
}

const char *kindName(MarkKind kind) {
  constexpr const char *names[] = {"line", "points", "contour", "surface", "histogram", "bars"};
  return names[static_cast<size_t>(kind)];
}

std::string cellOf(double value, bool f32) { return f32 ? shortest(static_cast<float>(value)) : shortest(value); }

/// Distinct names in order of appearance, joined.
void addName(std::string &joined, std::set<std::string> &seen, const std::string &name) {
  if (seen.insert(name).second)
    joined += (joined.empty() ? "" : ", ") + name;
}

// --- From columns to series

class FigureBuilder {
public:
  FigureBuilder(const PlotSpec &spec, const PlotNote &note) : figure{.spec = spec}, spec(spec), note(note) {
    for (const PlotColumn &column : spec.columns)
      if (!byName.emplace(column.name, &column).second)
        fail("{} has two columns called {}; rename one", place(), inQuotes(column.name, 60));
  }

  Figure build() {
    if (spec.marks.empty())
      fail("{} has no marks; add one, for example: line loss over epoch", place());
    onGrid = std::any_of(spec.marks.begin(), spec.marks.end(), [](const PlotMark &mark) {
      return mark.kind == MarkKind::contour || mark.kind == MarkKind::surface;
    });
    for (const PlotMark &mark : spec.marks)
      addMark(mark);
    if (skipped)
      note(fmt::format("{}: {} value{} left out, not finite{}", place(), skipped, skipped == 1 ? " was" : "s were",
                       spec.logX || spec.logY ? " or not positive on a logarithmic axis" : ""));
    chooseCategories();
    placeBars();
    binHistograms();
    for (Series &s : figure.series)
      if (s.isGrid())
        makeGrid(s);
    nameAxes();
    return std::move(figure);
  }

private:
  std::string place() const { return fmt::format("plot {}", inQuotes(spec.title, 100)); }

  const PlotColumn &column(const std::string &name) const {
    auto it = byName.find(name);
    if (it == byName.end())
      fail("{} refers to {}, which is no column of its table", place(), inQuotes(name, 60));
    return *it->second;
  }

  const PlotColumn &numbers(const std::string &name, MarkKind kind) const {
    const PlotColumn &c = column(name);
    if (c.isText)
      fail("{}: {} is text, but a {} needs numbers", place(), inQuotes(name, 60), kindName(kind));
    return c;
  }

  void addMark(const PlotMark &mark) {
    bool grid = mark.kind == MarkKind::contour || mark.kind == MarkKind::surface;
    if (mark.values.empty())
      fail("{} has a {} of nothing; name what it shows", place(), kindName(mark.kind));
    if (grid ? mark.over.size() != 2 : mark.over.size() > 1)
      fail("{}: a {} is drawn over {}, not over {}", place(), kindName(mark.kind), grid ? "two columns" : "one column",
           mark.over.size());
    size_t rows = column(mark.values[0]).size();
    auto sameLength = [&](const std::string &name) {
      if (column(name).size() != rows)
        fail("{}: {} has {} rows but {} has {}; draw them as two marks", place(), inQuotes(name, 60),
             column(name).size(), inQuotes(mark.values[0], 60), rows);
    };
    for (const auto *names : {&mark.values, &mark.over, &mark.by})
      std::for_each(names->begin(), names->end(), sameLength);
    if (!mark.label.empty())
      sameLength(mark.label);

    if (grid && (column(mark.over[0]).isText || column(mark.over[1]).isText))
      fail("{}: a {} needs numbers on both axes", place(), kindName(mark.kind));

    // Groups, in order of appearance over all marks, so that a group has one colour in the figure.
    struct Group {
      int index;
      std::string name;
      size_t firstRow;
      size_t rows = 0;
    };
    std::vector<Group> groups;       // of this mark
    std::vector<size_t> of(rows, 0); // row → place in groups
    std::vector<size_t> at(rows);    // row → its number in the group
    std::vector<const PlotColumn *> by;
    for (const std::string &name : mark.by)
      by.push_back(&column(name));
    std::map<std::string, size_t> seen;
    for (size_t row = 0; row < rows; ++row) {
      std::string name = by.empty() ? "" : groupName(by, row);
      auto [it, fresh] = seen.emplace(name, groups.size());
      if (fresh) {
        int index = by.empty() ? -1 : groupIndex.emplace(name, static_cast<int>(groupIndex.size())).first->second;
        groups.push_back({index, name, row});
      }
      of[row] = it->second;
      at[row] = groups[it->second].rows++;
    }
    if (!by.empty())
      addName(figure.byName, byNames, fmt::format("{}", fmt::join(mark.by, ", ")));

    for (const std::string &value : mark.values) {
      Source source{&numbers(value, mark.kind), mark.over.empty() ? nullptr : &column(mark.over[0]),
                    mark.over.size() < 2 ? nullptr : &column(mark.over[1]),
                    mark.label.empty() ? nullptr : &column(mark.label)};
      auto &known = variants[!by.empty()]; // the truth beside the fits starts its own count
      int variant = known.emplace(value, static_cast<int>(known.size())).first->second;
      size_t first = figure.series.size();
      for (const Group &group : groups) {
        Series s{};
        s.kind = mark.kind;
        s.right = mark.right && !grid;
        s.value = value;
        s.group = group.name;
        s.groupIndex = group.index;
        if (by.size() == 1 && !by[0]->isText)
          s.groupAt = by[0]->numbers[group.firstRow];
        if (!by.empty()) {
          s.hue = hues.emplace(groupName({by[0]}, group.firstRow), static_cast<int>(hues.size())).first->second;
          s.tone =
              by.size() == 1
                  ? 0
                  : tones.emplace(groupName({by.begin() + 1, by.end()}, group.firstRow), static_cast<int>(tones.size()))
                        .first->second;
        }
        s.variant = variant;
        figure.series.push_back(std::move(s));
      }
      for (size_t row = 0; row < rows; ++row)
        addRow(figure.series[first + of[row]], source, row, at[row]);
    }
    if (!mark.label.empty())
      addName(figure.labelName, labelNames, mark.label);
    if (mark.kind == MarkKind::bars || (!mark.over.empty() && column(mark.over[0]).isText))
      categorical = true;

    std::string shown = mark.kind == MarkKind::histogram ? "count" : fmt::format("{}", fmt::join(mark.values, ", "));
    if (grid)
      addName(figure.zName, zNames, shown);
    else if (mark.right)
      addName(figure.rightName, rightNames, shown);
    else if (!onGrid)
      addName(figure.yName, leftNames, shown);
    if (grid) {
      addName(figure.xName, xNames, mark.over[0]);
      addName(figure.yName, leftNames, mark.over[1]);
    } else if (onGrid) {
      // The grid's axes keep their names: what lies on it is in the same coordinates.
    } else if (mark.kind == MarkKind::histogram) {
      for (const std::string &value : mark.values)
        addName(figure.xName, xNames, value);
    } else {
      addName(figure.xName, xNames, mark.over.empty() ? "index" : mark.over[0]);
    }
  }

  std::string groupName(const std::vector<const PlotColumn *> &by, size_t row) const {
    std::string key;
    for (const PlotColumn *c : by)
      key += (key.empty() ? "" : ", ") + (c->isText ? c->texts[row] : cellOf(c->numbers[row], c->isF32));
    return key.empty() ? " " : key;
  }

  /// A mark's columns, looked up once.
  struct Source {
    const PlotColumn *value, *x, *y, *label; // x, y, label may be null
  };

  void addRow(Series &s, const Source &from, size_t row, size_t rowInGroup) {
    bool grid = s.isGrid();
    double number = from.value->numbers[row];
    double x = static_cast<double>(rowInGroup), y = number;
    std::string text;
    if (from.x && from.x->isText)
      text = from.x->texts[row].empty() ? " " : from.x->texts[row];
    else if (from.x)
      x = from.x->numbers[row];
    s.xF32 = from.x && from.x->isF32;
    s.yF32 = from.value->isF32;
    bool ok;
    if (grid) {
      y = from.y->numbers[row];
      s.yF32 = from.y->isF32;
      s.zF32 = from.value->isF32;
      ok = drawable(x, spec.logX) && drawable(y, spec.logY);
      if (ok && !drawable(number, false)) { // a hole in the grid
        number = std::numeric_limits<double>::quiet_NaN();
        ++skipped;
      }
    } else if (s.kind == MarkKind::histogram) {
      x = number;
      y = 0;
      ok = drawable(x, spec.logX);
    } else {
      // Bars stand on categories: a logarithmic x axis does not concern them.
      ok = drawable(y, spec.logY) && drawable(x, spec.logX && s.kind != MarkKind::bars);
    }
    if (!ok) {
      ++skipped;
      s.pendingGap = s.size() > 0;
      return;
    }
    s.x.push_back(x);
    s.y.push_back(y);
    if (grid)
      s.z.push_back(number);
    s.xTexts.push_back(std::move(text));
    s.gap.push_back(std::exchange(s.pendingGap, false));
    if (from.label && from.label->isText)
      s.labelTexts.push_back(from.label->texts[row]);
    else if (from.label) {
      s.labelNumbers.push_back(from.label->numbers[row]);
      s.labelF32 = from.label->isF32;
    }
  }

  void chooseCategories() {
    if (!categorical)
      return;
    std::set<std::string> seen;
    std::vector<std::pair<double, std::string>> numeric;
    for (Series &s : figure.series) {
      if (s.isGrid() || s.kind == MarkKind::histogram)
        fail("{}: a {} cannot share its x axis with text or bars; make two plots", place(), kindName(s.kind));
      for (size_t i = 0; i < s.size(); ++i) {
        if (s.xTexts[i].empty())
          s.xTexts[i] = fmt::format("{:.6g}", s.x[i]);
        else
          numericOnly = false;
        if (seen.insert(s.xTexts[i]).second)
          numeric.emplace_back(s.x[i], s.xTexts[i]);
      }
    }
    if (numericOnly)
      std::stable_sort(numeric.begin(), numeric.end(), [](auto &a, auto &b) { return a.first < b.first; });
    std::map<std::string, double> at;
    for (auto &[x, text] : numeric) {
      at[text] = static_cast<double>(figure.categories.size());
      figure.categories.push_back(text);
    }
    for (Series &s : figure.series)
      for (const std::string &text : s.xTexts)
        s.position.push_back(at[text]);
  }

  /// Bars of several series stand side by side; rows of one bar become their mean.
  void placeBars() {
    auto isBars = [](const Series &s) { return s.kind == MarkKind::bars; };
    auto count = static_cast<double>(std::count_if(figure.series.begin(), figure.series.end(), isBars));
    double index = 0;
    for (Series &s : figure.series) {
      if (!isBars(s))
        continue;
      std::map<double, std::pair<double, size_t>> sums;
      std::map<double, size_t> rows;
      for (size_t i = 0; i < s.size(); ++i) {
        sums[s.position[i]].first += s.y[i];
        sums[s.position[i]].second++;
        rows.emplace(s.position[i], i);
      }
      if (sums.size() < s.size())
        note(fmt::format("{}: several rows share a bar, which shows their mean", place()));
      Series kept = s;
      for (auto *v : {&kept.x, &kept.y, &kept.position, &kept.labelNumbers})
        v->clear();
      kept.xTexts.clear();
      kept.labelTexts.clear();
      kept.gap.assign(sums.size(), false);
      kept.barWidth = 0.8 / count;
      kept.yF32 = s.yF32 && sums.size() == s.size();
      for (auto &[position, sum] : sums) {
        kept.x.push_back(s.x[rows[position]]);
        kept.xTexts.push_back(s.xTexts[rows[position]]);
        kept.y.push_back(sum.first / static_cast<double>(sum.second));
        kept.position.push_back(position + (index - (count - 1) / 2) * kept.barWidth);
        if (!s.labelTexts.empty())
          kept.labelTexts.push_back(s.labelTexts[rows[position]]);
        if (!s.labelNumbers.empty())
          kept.labelNumbers.push_back(s.labelNumbers[rows[position]]);
      }
      s = std::move(kept);
      ++index;
    }
  }

  /// All histograms of a figure share their bins: edges, counts, and a last row at zero that closes the steps. Width by
  /// Freedman and Diaconis (1981), 2 IQR n^(-1/3), between 8 and 100 bins.
  void binHistograms() {
    std::vector<double> all;
    for (const Series &s : figure.series)
      if (s.kind == MarkKind::histogram)
        all.insert(all.end(), s.x.begin(), s.x.end());
    if (all.empty())
      return;
    auto forward = [&](double v) { return spec.logX ? std::log10(v) : v; };
    auto back = [&](double v) { return spec.logX ? std::pow(10, v) : v; };
    for (double &v : all)
      v = forward(v);
    std::sort(all.begin(), all.end());
    double low = all.front(), high = all.back();
    if (low == high) {
      double half = low == 0 ? 0.5 : std::abs(low) * 0.05;
      low -= half;
      high += half;
    }
    double spread = all[all.size() * 3 / 4] - all[all.size() / 4];
    double width = 2 * spread / std::cbrt(static_cast<double>(all.size()));
    double wanted = width > 0 ? (high - low) / width : 30;
    auto bins = static_cast<size_t>(std::clamp(std::ceil(wanted), 8.0, 100.0));
    for (Series &s : figure.series) {
      if (s.kind != MarkKind::histogram)
        continue;
      std::vector<double> counts(bins + 1, 0);
      for (double v : s.x) {
        auto bin = static_cast<size_t>((forward(v) - low) / (high - low) * static_cast<double>(bins));
        counts[std::min(bin, bins - 1)] += 1;
      }
      s.x.clear();
      for (size_t i = 0; i <= bins; ++i)
        s.x.push_back(back(low + (high - low) * static_cast<double>(i) / static_cast<double>(bins)));
      s.y = counts;
      s.xF32 = s.yF32 = false;
      s.xTexts.assign(bins + 1, "");
      s.gap.assign(bins + 1, false);
      s.labelNumbers.clear();
      s.labelTexts.clear();
    }
  }

  /// Sorts the rows into scan lines if they form a grid, holes allowed. Else they stay loose and are drawn as points.
  void makeGrid(Series &s) {
    std::vector<double> xs = s.x, ys = s.y;
    for (auto *v : {&xs, &ys}) {
      std::sort(v->begin(), v->end());
      v->erase(std::unique(v->begin(), v->end()), v->end());
    }
    std::map<std::pair<double, double>, size_t> at;
    for (size_t i = 0; i < s.size(); ++i)
      at[{s.x[i], s.y[i]}] = i; // the last row of a place counts
    if (at.size() < s.size())
      note(fmt::format("{}: several rows share a place of the {}, which shows the last", place(), kindName(s.kind)));
    if (xs.size() < 2 || ys.size() < 2 || at.size() * 2 < xs.size() * ys.size()) {
      if (s.size())
        note(fmt::format("{}: the rows form no grid over {}, so they are drawn as coloured points", place(),
                         inQuotes(fmt::format("{}", fmt::join(spec.marks[0].over, ", ")), 60)));
      return;
    }
    Series grid = s;
    for (auto *v : {&grid.x, &grid.y, &grid.z})
      v->clear();
    for (double y : ys)
      for (double x : xs) {
        auto it = at.find({x, y});
        grid.x.push_back(x);
        grid.y.push_back(y);
        grid.z.push_back(it == at.end() ? std::numeric_limits<double>::quiet_NaN() : s.z[it->second]);
      }
    grid.gridWidth = xs.size();
    grid.xTexts.assign(grid.x.size(), "");
    grid.gap.assign(grid.x.size(), false);
    grid.labelNumbers.clear();
    grid.labelTexts.clear();
    s = std::move(grid);
  }

  void nameAxes() {
    std::set<std::string> values;
    for (const Series &s : figure.series) {
      values.insert(s.value);
      figure.hasZ |= s.isGrid();
    }
    figure.valueNames = values.size();
    figure.groups = groupIndex.size();
    figure.hues = hues.size();
    figure.tones = tones.size();
    std::erase_if(figure.series, [](const Series &s) {
      return s.size() == 0 ||
             (s.isGrid() && std::none_of(s.z.begin(), s.z.end(), [](double z) { return std::isfinite(z); }));
    });
  }

  Figure figure;
  const PlotSpec &spec;
  const PlotNote &note;
  std::map<std::string, const PlotColumn *> byName;
  std::map<std::string, int> groupIndex, variants[2], hues, tones;
  std::set<std::string> byNames, labelNames, leftNames, rightNames, zNames, xNames;
  bool categorical = false, numericOnly = true, onGrid = false;
  size_t skipped = 0;
};

// --- The data file

/// Where gnuplot finds the numbers, counted from one; 0: not there.
struct Columns {
  size_t x = 1, y = 2, z = 0, label = 0;
};

std::string seriesName(const Figure &figure, const Series &s) {
  if (s.groupIndex < 0)
    return s.value;
  return figure.valueNames > 1 ? s.value + ", " + s.group : s.group;
}

/// A block per series, two blank lines between, as gnuplot's `index` wants; one blank line breaks a curve or ends a
/// scan line. Other programs' readers skip blank lines. Numbers come first, then words: gnuplot 5.4 loses count of the
/// columns after a quoted cell with quotes in it.
Columns writeData(OutDir &out, const Figure &figure) {
  Columns columns;
  size_t last = 2;
  bool categorical = !figure.categories.empty(), labelNumbers = false, labelTexts = false;
  for (const Series &s : figure.series) {
    labelNumbers |= !s.labelNumbers.empty();
    labelTexts |= !s.labelTexts.empty();
  }
  AtomicFile file = out.create(figure.spec.title, ".plot.csv");
  std::string text = (categorical ? "position" : csvCell(figure.xName)) + "," + csvCell(figure.yName);
  if (figure.hasZ) {
    columns.z = ++last;
    text += "," + csvCell(figure.zName);
  }
  if (labelNumbers) {
    columns.label = ++last;
    text += "," + csvCell(figure.labelName);
  }
  text += ",series";
  if (categorical)
    text += "," + csvCell(figure.xName);
  if (labelTexts)
    text += "," + csvCell(figure.labelName);
  text += '\n';
  bool first = true;
  for (const Series &s : figure.series) {
    if (!first)
      text += "\n\n";
    first = false;
    std::string series = csvCell(seriesName(figure, s));
    for (size_t i = 0; i < s.size(); ++i) {
      if (s.gap[i] || (s.gridWidth && i && i % s.gridWidth == 0))
        text += '\n';
      text += (categorical ? shortest(s.position[i]) : cellOf(s.x[i], s.xF32)) + "," + cellOf(s.y[i], s.yF32);
      if (figure.hasZ)
        text += "," + (s.z.empty() ? "" : cellOf(s.z[i], s.zF32));
      if (labelNumbers)
        text += "," + (s.labelNumbers.empty() ? "" : cellOf(s.labelNumbers[i], s.labelF32));
      text += "," + series;
      if (categorical)
        text += "," + csvCell(s.xTexts[i]);
      if (labelTexts)
        text += "," + (s.labelTexts.empty() ? "" : csvCell(s.labelTexts[i]));
      text += '\n';
    }
    if (text.size() > 1 << 20) {
      file.write(text);
      text.clear();
    }
  }
  file.write(text);
  file.commit();
  return columns;
}

// --- The script

/// A gnuplot string. Plain words stand in single quotes, where nothing is special. A text with anything that gnuplot
/// could take for more (quotes, backquotes, macros, braces, formats) is written in double quotes with those characters
/// as octal escapes, so that they never occur in the script: doubling a single quote is documented, but gnuplot 5.4
/// ends a string that starts with a doubled quote, or has two in a row, and takes the rest for commands.
std::string literal(std::string_view text, size_t limit = 100) {
  std::string line = oneLine(text, limit);
  auto plain = [](char c) {
    return (c & 0x80) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view(" _.,:=()[]+-*/<>|?!~^").find(c) != std::string_view::npos;
  };
  if (std::all_of(line.begin(), line.end(), plain))
    return "'" + line + "'";
  std::string out = "\"";
  for (char c : line)
    out += plain(c) ? std::string(1, c) : fmt::format("\\{:03o}", static_cast<unsigned>(c));
  return out + '"';
}

/// The same where gnuplot reads a format: the texts of tics.
std::string formatLiteral(std::string_view text, size_t limit) {
  std::string out;
  for (char c : oneLine(text, limit)) {
    if (c == '%')
      out += '%';
    out += c;
  }
  return literal(out, std::string::npos);
}

size_t displayWidth(const std::string &text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

class ScriptWriter {
public:
  ScriptWriter(const Figure &figure, const Columns &columns, std::string stem)
      : figure(figure), spec(figure.spec), columns(columns), stem(std::move(stem)) {
    for (size_t i = 0; i < figure.series.size(); ++i)
      if (figure.series[i].isGrid())
        grids.push_back(i);
      else
        flats.push_back(i);
    surface = !grids.empty() && std::any_of(grids.begin(), grids.end(),
                                            [&](size_t i) { return figure.series[i].kind == MarkKind::surface; });
    panels = std::max<size_t>(1, std::min(grids.size(), mostPanels));
    for (const Series &s : figure.series)
      colourByLabel |= !s.labelNumbers.empty();
    // Many groups told apart by one number get a scale instead of a legend.
    colourByGroup = !colourByLabel && grids.empty() && figure.groups > mostListedGroups;
    for (const Series &s : figure.series)
      if (s.groupIndex >= 0 && (!s.groupAt || !std::isfinite(*s.groupAt)))
        colourByGroup = false;
  }

  size_t drawnPanels() const { return panels; }
  bool leavesOutFlats() const { return surface && !flats.empty(); }

  std::string write() {
    head();
    words();
    text += "\n# --- style\n";
    style();
    text += "\n# --- figure\n";
    auto [width, height] = canvas();
    text += fmt::format("do for [format in 'svg png'] {{\n"
                        "  if (format eq 'svg') {{ set terminal svg size {0},{1} background rgb 'white' font "
                        "'sans-serif,14' noenhanced }}\n"
                        "  if (format eq 'png') {{ set terminal pngcairo size {0},{1} background rgb 'white' font "
                        "'Sans,11' noenhanced }}\n"
                        "  set output here.stem.'.'.format\n",
                        width, height);
    body();
    text += "  unset output\n}\n";
    return std::move(text);
  }

private:
  void head() {
    text += "# A gnuplot figure. Change what you like, then run this file with gnuplot: it reads the .plot.csv of the "
            "same\n"
            "# name in its own folder and writes the .svg and .png anew.\n\n";
    text += "here = ''\n"
            "if (exists('ARG0')) { do for [i = 1:strlen(ARG0)] { if (ARG0[i:i] eq '/') { here = ARG0[1:i] } } }\n";
    text += fmt::format("stem = {}\n", literal(stem, 1000));
    text += "data = here.stem.'.plot.csv'\n";
  }

  /// All words of the figure are variables, so that they are never part of a command.
  void words() {
    text += "\n# --- words\n";
    text += fmt::format("title_ = {}\n", literal(spec.title));
    text += fmt::format("x_ = {}\ny_ = {}\n", literal(figure.xName, 80), literal(figure.yName, 60));
    if (!figure.rightName.empty())
      text += fmt::format("right_ = {}\n", literal(figure.rightName, 60));
    if (!grids.empty())
      text += fmt::format("z_ = {}\n", literal(figure.zName + (logColour() ? " (logarithmic)" : ""), 60));
    if (colourByLabel || colourByGroup)
      text += fmt::format("scale_ = {}\n", literal(colourByLabel ? figure.labelName : figure.byName, 60));
    if (figure.groups)
      text += fmt::format("by_ = {}\n", literal(figure.byName, 60));
    for (size_t i = 0; i < figure.series.size(); ++i)
      text += fmt::format("s{} = {}\n", i, literal(seriesName(figure, figure.series[i]), 60));
    for (size_t i = 0; i < figure.series.size(); ++i)
      texts(i);
  }

  /// The texts beside a series' points: an array, since gnuplot cannot read every text from a CSV file.
  void texts(size_t i) {
    const Series &s = figure.series[i];
    if (s.labelTexts.empty())
      return;
    std::vector<std::string> shown;
    for (size_t row = 0; row < s.size(); row += textStep(s))
      shown.push_back(literal(s.labelTexts[row], 60));
    text += fmt::format("array t{}[{}] = [{}]\n", i, shown.size(), fmt::join(shown, ", "));
  }

  /// More than 40 texts cannot be read: every how many rows one is shown.
  static size_t textStep(const Series &s) { return (s.size() + 39) / 40; }

  void style() {
    text += "set encoding utf8\n"
            "set datafile separator comma\n"
            "set border 3 lw 1 lc rgb '#666666'\n"
            "set tics nomirror textcolor rgb '#333333'\n"
            "set grid lc rgb '#E4E4E4' lt 1 lw 1\n"
            "set style fill solid 0.85 noborder\n"
            "set title title_ noenhanced\n"
            "set xlabel x_ noenhanced\n"
            "set ylabel y_ noenhanced\n"
            "set format '%g'\n";
    if (!figure.rightName.empty() && grids.empty())
      text += "set border 11\nset ytics nomirror\nset y2tics\nset y2label right_ noenhanced\n";
    if (spec.logX && figure.categories.empty())
      text += "set logscale x\n";
    if (spec.logY)
      text += figure.rightName.empty() || !grids.empty() ? "set logscale y\n" : "set logscale y\nset logscale y2\n";
    if (!grids.empty() || colourByLabel || colourByGroup) {
      text += "set palette defined (";
      for (size_t i = 0; i < viridis.size(); ++i)
        text += fmt::format("{}{} '#{:02X}{:02X}{:02X}'", i ? ", " : "", i, viridis[i].r, viridis[i].g, viridis[i].b);
      text += fmt::format(")\nset cblabel {} noenhanced\nset colorbox\n", grids.empty() ? "scale_" : "z_");
      auto [low, high] = colourRange();
      text += fmt::format("set cbrange [{}:{}]\n", shortest(low), shortest(high));
    }
    categories();
    if (grids.empty())
      key();
    else
      text += "unset key\n";
    if (std::any_of(figure.series.begin(), figure.series.end(), [](auto &s) { return s.kind == MarkKind::bars; }) &&
        !spec.logY)
      text += "set yrange [*<0:*]\nset y2range [*<0:*]\n"; // bars start at zero, or their lengths lie
    if (spec.logY &&
        std::any_of(figure.series.begin(), figure.series.end(), [](auto &s) { return s.kind == MarkKind::histogram; }))
      text += "set yrange [0.5:*]\n"; // a logarithmic axis has no zero: empty bins end on its floor
    if (std::any_of(figure.series.begin(), figure.series.end(), [](auto &s) { return !s.labelTexts.empty(); }))
      text += "set offsets graph 0.07, graph 0.07, graph 0.07, graph 0.01\n"; // room for the texts
  }

  void categories() {
    if (figure.categories.empty())
      return;
    size_t longest = 0, count = figure.categories.size(), every = (count + 39) / 40;
    for (const std::string &c : figure.categories)
      longest = std::max(longest, displayWidth(c));
    text += "set xtics (";
    for (size_t i = 0; i < count; i += every)
      text += fmt::format("{}{} {}", i ? ", " : "", formatLiteral(figure.categories[i], 40), i);
    text += ")";
    if (std::min<size_t>(longest, 40) * (count / every) > 80)
      text += " rotate by -35";
    text += fmt::format("\nset xrange [-0.6:{}]\nset grid noxtics\n", static_cast<double>(count) - 0.4);
  }

  // --- the legend

  struct Range {
    double low = std::numeric_limits<double>::infinity(), high = -low;
    void add(double v) {
      low = std::min(low, v);
      high = std::max(high, v);
    }
    double at(double v) const { return high > low ? (v - low) / (high - low) : 0.5; }
  };

  double xOf(const Series &s, size_t i) const {
    if (!figure.categories.empty())
      return s.position[i];
    return spec.logX ? std::log10(s.x[i]) : s.x[i];
  }
  double yOf(const Series &s, size_t i) const { return spec.logY ? std::log10(std::max(s.y[i], 1e-300)) : s.y[i]; }

  bool listed(size_t i) const {
    const Series &s = figure.series[i];
    if (colourByGroup && s.groupIndex >= 0)
      return false;
    return s.groupIndex < 0 || figure.groups <= mostListedGroups ||
           static_cast<size_t>(s.groupIndex) % legendStep() == 0;
  }

  /// Of very many groups every so manieth is listed.
  size_t legendStep() const { return (figure.groups + 23) / 24; }

  void key() {
    size_t entries = 0, longest = 0;
    for (size_t i = 0; i < figure.series.size(); ++i)
      if (listed(i)) {
        ++entries;
        longest = std::max(longest, std::min<size_t>(60, displayWidth(seriesName(figure, figure.series[i]))));
      }
    if (entries == 0 || (figure.series.size() == 1 && figure.groups == 0)) {
      text += "unset key\n";
      return;
    }
    bool titled = figure.groups > 0 && !colourByGroup;
    if (titled)
      longest = std::max(longest, std::min<size_t>(60, displayWidth(figure.byName)));
    // Inside, in an empty corner, if there is one; else beside the figure or, if names are long, below it.
    double width = (static_cast<double>(longest) * 8 + 60) / 780,
           height = (static_cast<double>(entries + titled) * 19 + 14) / 500;
    const char *corner = width < 0.6 && height < 0.55 ? emptyCorner(width, height) : nullptr;
    if (corner)
      text += fmt::format("set key {} Left reverse opaque samplen 2.5 spacing 1.1", corner);
    else if (longest <= 26 && entries <= 26)
      text += "set key outside right top Left reverse samplen 2.5 spacing 1.1";
    else
      text += "set key outside bottom center Left reverse samplen 2.5 spacing 1.1 maxrows 8";
    if (entries > mostListedGroups)
      text += " font ',9'";
    text += " noenhanced";
    if (titled)
      text += legendStep() > 1 ? fmt::format(" title by_.' ({} of {} listed)' left",
                                             (figure.groups + legendStep() - 1) / legendStep(), figure.groups)
                               : std::string(" title by_ left");
    text += '\n';
  }

  const char *emptyCorner(double width, double height) const {
    Range x, left, right;
    for (const Series &s : figure.series)
      for (size_t i = 0; i < s.size(); ++i) {
        x.add(xOf(s, i));
        (s.right ? right : left).add(yOf(s, i));
        if (s.kind == MarkKind::bars || s.kind == MarkKind::histogram)
          (s.right ? right : left).add(spec.logY ? left.low : 0);
      }
    bool occupied[4] = {}; // right top, left top, right bottom, left bottom
    // The axes end at round numbers beyond the data: leave a margin.
    double w = width + 0.04, h = height + 0.04;
    for (const Series &s : figure.series) {
      const Range &y = s.right ? right : left;
      bool joined = s.kind == MarkKind::line || s.kind == MarkKind::histogram;
      for (size_t i = 0; i < s.size(); ++i) {
        size_t parts = joined && i ? 16 : 1;
        for (size_t part = 0; part < parts; ++part) {
          double f = parts == 1 ? 0 : static_cast<double>(part) / static_cast<double>(parts);
          double u = x.at(xOf(s, i)) * (1 - f) + (f > 0 ? f * x.at(xOf(s, i - 1)) : 0);
          double v = y.at(yOf(s, i)) * (1 - f) + (f > 0 ? f * y.at(yOf(s, i - 1)) : 0);
          bool filled = s.kind == MarkKind::bars || s.kind == MarkKind::histogram;
          occupied[0] |= u > 1 - w && v > 1 - h;
          occupied[1] |= u < w && v > 1 - h;
          occupied[2] |= u > 1 - w && (v < h || filled);
          occupied[3] |= u < w && (v < h || filled);
        }
      }
    }
    constexpr const char *names[] = {"inside right top", "inside left top", "inside right bottom",
                                     "inside left bottom"};
    for (size_t i = 0; i < 4; ++i)
      if (!occupied[i])
        return names[i];
    return nullptr;
  }

  // --- colours

  std::pair<double, double> colourRange() const {
    Range range;
    for (const Series &s : figure.series) {
      for (double z : s.z)
        if (std::isfinite(z))
          range.add(z);
      if (grids.empty()) {
        for (double v : s.labelNumbers)
          if (drawable(v, false))
            range.add(v);
        if (colourByGroup && s.groupAt)
          range.add(*s.groupAt);
      }
    }
    if (!(range.low <= range.high))
      return {0, 1};
    if (range.low == range.high) {
      double half = range.low == 0 ? 0.5 : std::abs(range.low) * 0.05;
      return {range.low - half, range.high + half};
    }
    return {range.low, range.high};
  }

  /// A loss around a minimum spans magnitudes: a linear scale would show a flat floor and a rim.
  bool logColour() const {
    if (grids.empty() || surface)
      return false;
    auto [low, high] = colourRange();
    return low > 0 && high / low > 100;
  }

  std::string colour(const Series &s) const {
    if (s.groupIndex < 0) {
      if (figure.groups > 0)
        return referenceColour;
      return groupColours[static_cast<size_t>(s.variant) % groupColours.size()];
    }
    if (figure.twoWays() && (s.kind == MarkKind::line || s.kind == MarkKind::points))
      return groupColours[static_cast<size_t>(s.hue)];
    if (figure.groups > mostListedGroups)
      return viridisAt(static_cast<double>(s.groupIndex) / static_cast<double>(figure.groups - 1));
    return groupColours[static_cast<size_t>(s.groupIndex) % groupColours.size()];
  }

  /// Through the palette where the palette is the legend, so that the scale is drawn and hand changes reach both.
  std::string colouring(const Series &s) const {
    if (colourByGroup && s.groupIndex >= 0)
      return fmt::format("lc palette cb {}", shortest(*s.groupAt));
    return fmt::format("lc rgb '{}'", colour(s));
  }

  /// What tells apart the series of one colour: 0 for the first.
  int shape(const Series &s) const {
    if (s.groupIndex < 0) // one colour a value column; all of them black beside groups
      return figure.groups ? s.variant : s.variant / static_cast<int>(groupColours.size());
    if (figure.twoWays())
      return s.tone + s.variant * static_cast<int>(figure.tones);
    int again = figure.groups > mostListedGroups ? 0 : s.groupIndex / static_cast<int>(groupColours.size());
    return s.variant + again;
  }

  int dash(const Series &s) const {
    constexpr int types[] = {1, 2, 4, 5};
    return types[shape(s) % 4];
  }

  int pointType(const Series &s) const {
    constexpr int types[] = {7, 9, 5, 13, 11}; // filled: circle, triangle, square, diamond, triangle down
    int index = colourByLabel ? std::max(s.groupIndex, 0) : shape(s); // the scale took the colour
    return types[index % 5];
  }

  // --- the plot command

  std::pair<size_t, size_t> layout() const {
    size_t across = panels == 1 ? 1 : panels <= 4 ? 2 : 3;
    return {(panels + across - 1) / across, across};
  }

  std::pair<size_t, size_t> canvas() const {
    auto [down, across] = layout();
    return panels == 1 ? std::pair<size_t, size_t>{900, 600} : std::pair<size_t, size_t>{560 * across, 440 * down + 40};
  }

  std::string source(size_t i) const { return fmt::format("data index {} skip 1", i); }

  void body() {
    if (figure.series.empty()) {
      text += "  set xrange [1:2]; set yrange [1:2]\n"
              "  set label 1 'no data' at graph 0.5,0.5 center textcolor rgb '#888888'\n"
              "  plot 0 notitle\n";
      return;
    }
    if (grids.empty()) {
      std::vector<std::string> elements;
      for (size_t i : flats)
        flat(i, elements, "");
      text += fmt::format("  plot {}\n", fmt::join(elements, ", \\\n       "));
      return;
    }
    auto [down, across] = layout();
    if (panels > 1)
      text += fmt::format("  set multiplot layout {},{} title title_ noenhanced\n", down, across);
    for (size_t panel = 0; panel < panels; ++panel) {
      if (panels > 1)
        text += fmt::format("  set title s{} noenhanced\n", grids[panel]);
      gridPanel(grids[panel], panel);
    }
    if (panels > 1)
      text += "  unset multiplot\n";
  }

  void gridPanel(size_t i, size_t panel) {
    const Series &s = figure.series[i];
    std::string at = fmt::format("{}:{}:{}", columns.x, columns.y, columns.z);
    std::vector<std::string> elements;
    auto [low, high] = colourRange();
    if (surface) {
      text += "  set view 60,35,1.1,1.15\n  set xyplane 0\n  set zlabel z_ rotate noenhanced\n"
              "  set pm3d depthorder border lc rgb '#606060' lw 0.3\n  set border 15 lw 1\n"
              "  unset colorbox\n"; // the z axis says it
    } else {
      text += "  set view map\n  set border 15 lw 1\n  set tics out scale 0.5\n  unset grid\n";
      // A map would leave room for a third axis: place it by hand.
      auto [down, across] = layout();
      size_t row = panel / across, column = panel % across;
      bool legend = flats.size() > 1 && panels == 1;
      double w = 1.0 / static_cast<double>(across), h = (panels == 1 ? 1.0 : 0.94) / static_cast<double>(down);
      double left = (static_cast<double>(column) + (panels == 1 ? 0.09 : 0.15)) * w;
      double top = (panels == 1 ? 1.0 : 0.94) - static_cast<double>(row) * h;
      text += fmt::format("  set lmargin at screen {:.4f}; set rmargin at screen {:.4f}\n"
                          "  set tmargin at screen {:.4f}; set bmargin at screen {:.4f}\n",
                          left, left + (panels == 1 ? 0.73 : 0.62) * w, top - 0.09 * h,
                          top - (legend        ? 0.82
                                 : panels == 1 ? 0.89
                                               : 0.84) *
                                    h);
      if (legend)
        text += "  set key at screen 0.5,0.04 center horizontal samplen 2.5 noenhanced textcolor rgb '#333333'\n";
    }
    text += "  set autoscale xfix; set autoscale yfix\n";
    if (!s.gridWidth) {
      elements.push_back(
          fmt::format("{} using {}:{} with points pt 7 ps 0.8 lc palette z notitle", source(i), at, columns.z));
    } else if (s.kind == MarkKind::surface) {
      elements.push_back(fmt::format("{} using {} with pm3d notitle", source(i), at));
    } else {
      constexpr int levels = 12;
      std::vector<std::string> heights;
      for (int level = 1; level < levels; ++level) {
        double f = static_cast<double>(level) / levels;
        heights.push_back(shortest(logColour() ? low * std::pow(high / low, f) : low + f * (high - low)));
      }
      // Pixels cost nothing, but SVG writes every cell: keep it below some MB.
      size_t cells = s.size(), refine = cells <= 1000 ? 3 : cells <= 3000 ? 2 : 1;
      text += fmt::format(
          "  if (format eq 'svg') {{ set pm3d interpolate {0},{0} }} else {{ set pm3d interpolate 0,0 }}\n", refine);
      if (logColour())
        text += "  set logscale cb\n";
      text += fmt::format("  set contour base\n  set cntrlabel onecolor\n  set cntrparam levels discrete {}\n",
                          fmt::join(heights, ","));
      elements.push_back(fmt::format("{} using {} with pm3d nocontour notitle", source(i), at));
      elements.push_back(
          fmt::format("{} using {} with lines nosurface lw 0.8 lc rgb '#A0FFFFFF' notitle", source(i), at));
    }
    if (!surface)
      for (size_t k : flats)
        flat(k, elements, fmt::format(":({})", shortest(low)));
    text += fmt::format("  splot {}\n", fmt::join(elements, ", \\\n        "));
    if (s.gridWidth && s.kind == MarkKind::contour)
      text += "  unset contour\n";
  }

  /// A curve, cloud, bars or histogram. `depth`: a third coordinate where the figure is a map.
  void flat(size_t i, std::vector<std::string> &elements, const std::string &depth) {
    const Series &s = figure.series[i];
    size_t x = columns.x;
    std::string at = fmt::format("{}:{}{}", x, columns.y, depth), lc = colouring(s);
    // A picture of 900 pixels shows no more; the data file has them all.
    constexpr size_t mostRows = 20000;
    std::string every = s.size() > mostRows ? fmt::format(" every {}", (s.size() + mostRows - 1) / mostRows) : "";
    std::string axes = s.right ? " axes x1y2" : "";
    std::string map = depth.empty() ? "" : " nocontour";
    std::string title = listed(i) ? fmt::format(" title s{} noenhanced", i) : " notitle";
    auto add = [&](const std::string &how, const std::string &what = "", const std::string &named = " notitle") {
      elements.push_back(fmt::format("{}{} using {}{} with {}{}{}", source(i), every, what.empty() ? at : what, axes,
                                     how, map, named));
    };
    // The legend's sample of a small or faint point would not be seen: draw it from an empty one.
    double size = s.size() > 1000 ? 0.35 : s.size() > 200 ? 0.5 : s.size() > 40 ? 0.7 : 1.0;
    std::string palette = fmt::format("{}:{}{}:{}", x, columns.y, depth, columns.label);
    switch (s.kind) {
    case MarkKind::line:
      if (s.size() == 1)
        add(fmt::format("points pt {} ps 1 {}", pointType(s), lc), "", title);
      else
        add(fmt::format("lines lw 2 dt {} {}", dash(s), lc), "", title);
      if (!s.labelNumbers.empty())
        add(fmt::format("points pt 7 ps {} lc palette z", size), palette);
      break;
    case MarkKind::points:
      if (!s.labelNumbers.empty()) {
        if (std::any_of(s.labelNumbers.begin(), s.labelNumbers.end(), [](double v) { return !std::isfinite(v); }))
          add(fmt::format("points pt {} ps {} lc rgb '#C8C8C8'", pointType(s), std::max(size, 0.7))); // off the scale
        add(fmt::format("points pt {} ps {} lc palette z", pointType(s), std::max(size, 0.7)), palette, title);
      } else {
        add(fmt::format("points pt {} ps {} {}", pointType(s), size, lc));
        if (depth.empty() && title != " notitle")
          elements.push_back(fmt::format("NaN{} with points pt {} ps 1 {}{}", axes, pointType(s), lc, title));
      }
      break;
    case MarkKind::bars:
      if (depth.empty())
        add("boxes " + lc, fmt::format("{}:{}:({})", x, columns.y, shortest(s.barWidth)), title);
      break;
    case MarkKind::histogram:
      if (depth.empty()) {
        std::string count = spec.logY ? fmt::format("{}:(${} > 0 ? ${} : 0.5)", x, columns.y, columns.y) : at;
        add(fmt::format("fillsteps {} fs transparent solid 0.35 noborder", lc), count, title);
        add(fmt::format("steps lw 1.5 {}", lc), count);
      }
      break;
    default:
      break;
    }
    if (!s.labelTexts.empty()) {
      every.clear();
      size_t step = textStep(s);
      std::string shown = step == 1 ? fmt::format("t{}[int($0)+1]", i)
                                    : fmt::format("int($0)%{0}==0 ? t{1}[int($0)/{0}+1] : ''", step, i);
      add("labels offset 0,0.7 font ',9' noenhanced", fmt::format("{}:{}{}:({})", x, columns.y, depth, shown));
      if (s.kind == MarkKind::line && s.size() > 1)
        add(fmt::format("points pt 7 ps 0.7 {}", lc));
    }
  }

  const Figure &figure;
  const PlotSpec &spec;
  Columns columns;
  std::string stem, text;
  std::vector<size_t> grids, flats;
  bool surface = false, colourByLabel = false, colourByGroup = false;
  size_t panels = 1;
};

std::string firstLine(const std::string &output) {
  for (size_t at = 0; at < output.size();) {
    size_t end = std::min(output.find('\n', at), output.size());
    std::string line = oneLine(output.substr(at, end - at), 200);
    size_t start = line.find_first_not_of(' ');
    if (start != std::string::npos && line[start] != '^') // gnuplot points at the place first
      return line.substr(start);
    at = end + 1;
  }
  return "it said nothing";
}

} // namespace

PlotFiles drawPlot(OutDir &out, const PlotSpec &spec, const PlotNote &givenNote) {
  PlotNote note =
      givenNote ? givenNote : [](const std::string &sentence) { std::fprintf(stderr, "note: %s\n", sentence.c_str()); };
  std::string place = fmt::format("plot {}", inQuotes(spec.title, 100));
  Figure figure = FigureBuilder(spec, note).build();
  if (figure.series.empty())
    note(fmt::format("{} has nothing to show", place));

  PlotFiles files;
  Columns columns = writeData(out, figure);
  files.csv = out.path(spec.title, ".plot.csv");
  std::string scriptName = out.fileName(spec.title, ".gp");
  ScriptWriter script(figure, columns, scriptName.substr(0, scriptName.size() - 3));
  AtomicFile file = out.create(spec.title, ".gp");
  file.write(script.write());
  file.commit();
  files.script = out.path(spec.title, ".gp");
  if (script.leavesOutFlats())
    note(fmt::format("{}: a surface shows no other marks; draw a contour to see them together", place));
  size_t grids = std::count_if(figure.series.begin(), figure.series.end(), [](const Series &s) { return s.isGrid(); });
  if (grids > script.drawnPanels())
    note(fmt::format("{}: the first {} of {} groups are drawn; use `per` for a figure each", place,
                     script.drawnPanels(), grids));

  // gnuplot would follow a link of these names.
  out.makeWay(spec.title, ".svg");
  out.makeWay(spec.title, ".png");
  constexpr double patience = 120; // seconds
  // -d: no start-up files, which could come from the folder.
  ProcessResult result = runProcess({"gnuplot", "-d", scriptName}, out.descriptor(), patience);
  std::string rest = fmt::format("its data and script are in {}", inQuotes(out.path(), 300));
  if (!result.started || result.status == 127)
    note(fmt::format("{} is not drawn, for gnuplot cannot be run ({}): install it with 'apt install gnuplot-nox'; {}",
                     place, result.started ? firstLine(result.output) : result.output, rest));
  else if (result.timedOut)
    note(fmt::format("{} is not drawn, for gnuplot took more than {} seconds; {}", place, patience, rest));
  else if (result.status != 0)
    note(fmt::format("{} is not drawn, for gnuplot failed: {}; {}", place, firstLine(result.output), rest));
  else {
    files.svg = out.path(spec.title, ".svg");
    files.png = out.path(spec.title, ".png");
  }
  return files;
}

} // namespace hw
