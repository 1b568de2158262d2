#include "runtime/formats/PlotFigure.h"
#include "runtime/formats/PlotArrange.h"
#include "runtime/formats/Text.h"

#include <algorithm>
#include <cmath>
#include <fmt/ranges.h>
#include <map>
#include <set>
#include <utility>

namespace hw::plot {

const char *kindName(MarkKind kind) {
  constexpr const char *names[] = {"line", "points", "contour", "surface", "histogram", "bars"};
  return names[static_cast<size_t>(kind)];
}

bool drawable(double v, bool logarithmic) {
  constexpr double largest = 1e300;
  return std::isfinite(v) && std::abs(v) <= largest && !(logarithmic && v <= 0);
}

std::string cellOf(double value, bool f32) { return f32 ? shortest(static_cast<float>(value)) : shortest(value); }

void Range::add(double v) {
  low = std::min(low, v);
  high = std::max(high, v);
}

Range Range::widened() const {
  if (low != high)
    return *this;
  double half = low == 0 ? 0.5 : std::abs(low) * 0.05;
  return {low - half, high + half};
}

std::string Figure::place() const { return fmt::format("plot {}", inQuotes(title, 100)); }

std::string Figure::nameOf(const Series &s) const {
  if (s.groupIndex < 0)
    return s.value;
  return valueNames > 1 ? s.value + ", " + s.group : s.group;
}

bool Figure::has(MarkKind kind) const {
  return std::any_of(series.begin(), series.end(), [&](const Series &s) { return s.kind == kind; });
}

bool Figure::hasLabelNumbers() const {
  return std::any_of(series.begin(), series.end(), [](const Series &s) { return !s.labelNumbers.empty(); });
}

bool Figure::hasLabelTexts() const {
  return std::any_of(series.begin(), series.end(), [](const Series &s) { return !s.labelTexts.empty(); });
}

namespace {

bool isGrid(const PlotMark &mark) { return mark.kind == MarkKind::contour || mark.kind == MarkKind::surface; }

bool showsNothing(const Series &s) {
  return s.size() == 0 ||
         (s.isGrid() && std::none_of(s.z.begin(), s.z.end(), [](double z) { return std::isfinite(z); }));
}

std::string joined(const std::vector<std::string> &names) { return fmt::format("{}", fmt::join(names, ", ")); }

/// Distinct names in order of appearance.
class Names {
public:
  void add(const std::string &name) {
    if (seen.insert(name).second)
      text += (text.empty() ? "" : ", ") + name;
  }
  const std::string &joined() const { return text; }

private:
  std::set<std::string> seen;
  std::string text;
};

/// Distinct keys, numbered in order of appearance.
class Numbering {
public:
  int of(const std::string &key) { return known.emplace(key, static_cast<int>(known.size())).first->second; }
  size_t size() const { return known.size(); }

private:
  std::map<std::string, int> known;
};

class FigureBuilder {
public:
  FigureBuilder(const PlotSpec &spec, const PlotNote &note)
      : figure{.title = spec.title, .logX = spec.logX, .logY = spec.logY}, spec(spec), note(note) {
    for (const PlotColumn &column : spec.columns)
      if (!columns.emplace(column.name, &column).second)
        fail("{} has two columns called {}; rename one", figure.place(), inQuotes(column.name, 60));
  }

  Figure build() {
    if (spec.marks.empty())
      fail("{} has no marks; add one, for example: line loss over epoch", figure.place());
    onGrid = std::any_of(spec.marks.begin(), spec.marks.end(), isGrid);
    for (const PlotMark &mark : spec.marks) {
      check(mark);
      addSeries(mark);
      nameAxes(mark);
    }
    if (skipped)
      note(fmt::format("{}: {} value{} left out, not finite{}", figure.place(), skipped,
                       skipped == 1 ? " was" : "s were",
                       spec.logX || spec.logY ? " or not positive on a logarithmic axis" : ""));
    nameAndCount();
    arrange(figure, spec, categorical, note);
    std::erase_if(figure.series, showsNothing);
    return std::move(figure);
  }

private:
  const PlotColumn &column(const std::string &name) const {
    auto it = columns.find(name);
    if (it == columns.end())
      fail("{} refers to {}, which is no column of its table", figure.place(), inQuotes(name, 60));
    return *it->second;
  }

  void check(const PlotMark &mark) const {
    const std::string place = figure.place();
    const bool grid = isGrid(mark);
    if (mark.values.empty())
      fail("{} has a {} of nothing; name what it shows", place, kindName(mark.kind));
    if (grid ? mark.over.size() != 2 : mark.over.size() > 1)
      fail("{}: a {} is drawn over {}, not over {}", place, kindName(mark.kind), grid ? "two columns" : "one column",
           mark.over.size());
    const size_t rows = column(mark.values[0]).size();
    auto sameLength = [&](const std::string &name) {
      if (column(name).size() != rows)
        fail("{}: {} has {} rows but {} has {}; draw them as two marks", place, inQuotes(name, 60), column(name).size(),
             inQuotes(mark.values[0], 60), rows);
    };
    for (const auto *names : {&mark.values, &mark.over, &mark.by})
      std::for_each(names->begin(), names->end(), sameLength);
    if (!mark.label.empty())
      sameLength(mark.label);
    if (grid && (column(mark.over[0]).isText || column(mark.over[1]).isText))
      fail("{}: a {} needs numbers on both axes", place, kindName(mark.kind));
    for (const std::string &value : mark.values)
      if (column(value).isText)
        fail("{}: {} is text, but a {} needs numbers", place, inQuotes(value, 60), kindName(mark.kind));
  }

  // --- From rows to series

  /// The rows of a mark that have the same `by` values, and what their series have in common.
  struct Group {
    Series series;
    std::vector<size_t> rows;
  };

  /// In order of appearance. Groups are numbered over all marks, so that one has the same colour in the whole figure.
  std::vector<Group> groupRows(const PlotMark &mark) {
    std::vector<const PlotColumn *> by;
    for (const std::string &name : mark.by)
      by.push_back(&column(name));
    std::vector<Group> groups;
    Numbering known;
    const size_t rows = column(mark.values[0]).size();
    for (size_t row = 0; row < rows; ++row) {
      auto index = static_cast<size_t>(known.of(by.empty() ? "" : groupName(by, row)));
      if (index == groups.size())
        groups.push_back({seriesOf(mark, by, row), {}});
      groups[index].rows.push_back(row);
    }
    return groups;
  }

  /// A series of the group that `row` starts, with no rows yet.
  Series seriesOf(const PlotMark &mark, const std::vector<const PlotColumn *> &by, size_t row) {
    Series s;
    s.kind = mark.kind;
    s.right = mark.right && !s.isGrid();
    if (by.empty())
      return s;
    s.group = groupName(by, row);
    s.groupIndex = groupNumbers.of(s.group);
    s.hue = hueNumbers.of(groupName({by[0]}, row));
    if (by.size() > 1)
      s.tone = toneNumbers.of(groupName({by.begin() + 1, by.end()}, row));
    else if (!by[0]->isText)
      s.groupAt = by[0]->numbers[row];
    return s;
  }

  static std::string groupName(const std::vector<const PlotColumn *> &by, size_t row) {
    std::string key;
    for (const PlotColumn *c : by)
      key += (key.empty() ? "" : ", ") + (c->isText ? c->texts[row] : cellOf(c->numbers[row], c->isF32));
    return key.empty() ? " " : key;
  }

  /// A mark's columns, looked up once.
  struct Source {
    const PlotColumn *value, *x, *y, *label; // null: not given
  };

  void addSeries(const PlotMark &mark) {
    const std::vector<Group> groups = groupRows(mark);
    for (const std::string &value : mark.values) {
      Source source{&column(value), mark.over.empty() ? nullptr : &column(mark.over[0]),
                    mark.over.size() < 2 ? nullptr : &column(mark.over[1]),
                    mark.label.empty() ? nullptr : &column(mark.label)};
      int variant = variantNumbers[!mark.by.empty()].of(value); // the truth beside the fits starts its own count
      for (const Group &group : groups) {
        Series &s = figure.series.emplace_back(group.series);
        s.value = value;
        s.variant = variant;
        addRows(s, source, group.rows);
      }
    }
    categorical |= mark.kind == MarkKind::bars || (!mark.over.empty() && column(mark.over[0]).isText);
  }

  void addRows(Series &s, const Source &from, const std::vector<size_t> &rows) {
    const bool grid = s.isGrid();
    s.xF32 = from.x && from.x->isF32;
    s.yF32 = grid ? from.y->isF32 : from.value->isF32;
    s.zF32 = from.value->isF32;
    s.labelF32 = from.label && from.label->isF32;
    bool gap = false;
    for (size_t i = 0; i < rows.size(); ++i) {
      const size_t row = rows[i];
      double number = from.value->numbers[row];
      double x = from.x && !from.x->isText ? from.x->numbers[row] : static_cast<double>(i), y = number;
      if (grid) {
        y = from.y->numbers[row];
      } else if (s.kind == MarkKind::histogram) {
        x = number;
        y = 1; // counted once
      }
      // What stands on categories, bars or what is over a text, no logarithmic x axis concerns.
      const bool onCategories = s.kind == MarkKind::bars || (from.x && from.x->isText);
      if (!drawable(x, spec.logX && !onCategories) || !drawable(y, spec.logY)) {
        ++skipped;
        gap = s.size() > 0;
        continue;
      }
      if (grid && !drawable(number)) {
        ++skipped;
        number = std::numeric_limits<double>::quiet_NaN();
      }
      s.x.push_back(x);
      s.y.push_back(y);
      if (grid)
        s.z.push_back(number);
      s.xTexts.push_back(from.x && from.x->isText ? nonEmpty(from.x->texts[row]) : "");
      s.gap.push_back(std::exchange(gap, false));
      if (from.label && from.label->isText)
        s.labelTexts.push_back(from.label->texts[row]);
      else if (from.label)
        s.labelNumbers.push_back(from.label->numbers[row]);
    }
  }

  static std::string nonEmpty(const std::string &text) { return text.empty() ? " " : text; }

  // --- Names and counts

  void nameAxes(const PlotMark &mark) {
    const bool histogram = mark.kind == MarkKind::histogram;
    const std::string shown = histogram ? "count" : joined(mark.values);
    if (!mark.by.empty())
      byNames.add(joined(mark.by));
    if (!mark.label.empty())
      labelNames.add(mark.label);
    if (isGrid(mark)) {
      xNames.add(mark.over[0]);
      yNames.add(mark.over[1]);
      zNames.add(shown);
      return;
    }
    if (mark.right)
      rightNames.add(shown);
    if (onGrid)
      return; // the grid's axes keep their names: what lies on it is in the same coordinates
    if (!mark.right)
      yNames.add(shown);
    if (histogram)
      for (const std::string &value : mark.values)
        xNames.add(value);
    else
      xNames.add(mark.over.empty() ? "index" : mark.over[0]);
  }

  void nameAndCount() {
    figure.xName = xNames.joined();
    figure.yName = yNames.joined();
    figure.rightName = rightNames.joined();
    figure.zName = zNames.joined();
    figure.labelName = labelNames.joined();
    figure.byName = byNames.joined();
    std::set<std::string> values;
    for (const Series &s : figure.series) {
      values.insert(s.value);
      figure.hasZ |= s.isGrid();
    }
    figure.valueNames = values.size();
    figure.groups = groupNumbers.size();
    figure.hues = hueNumbers.size();
    figure.tones = toneNumbers.size();
  }

  Figure figure;
  const PlotSpec &spec;
  const PlotNote &note;
  std::map<std::string, const PlotColumn *> columns; // by name
  Numbering groupNumbers, hueNumbers, toneNumbers;
  Numbering variantNumbers[2]; // of what is not grouped, of what is
  Names xNames, yNames, rightNames, zNames, labelNames, byNames;
  bool categorical = false, onGrid = false; // some mark's x is a category; some mark is a grid
  size_t skipped = 0;
};

} // namespace

Figure buildFigure(const PlotSpec &spec, const PlotNote &note) { return FigureBuilder(spec, note).build(); }

} // namespace hw::plot
