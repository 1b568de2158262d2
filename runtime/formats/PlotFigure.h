// What a figure shows, before anything says how: the columns of a plot sorted into the series of its marks, with the
// names of its axes.
#pragma once

#include "runtime/formats/Plot.h"

#include <limits>
#include <optional>

namespace hw::plot {

/// The rows of a series. Vectors that the kind of mark does not need are empty; the others are equally long.
struct Rows {
  std::vector<double> x, y, z;     // z: of a grid, whose depth is y; NaN is a hole
  std::vector<double> position;    // of x on an axis of categories
  std::vector<std::string> xTexts; // the category; empty if x is a number
  std::vector<double> labelNumbers;
  std::vector<std::string> labelTexts;
  std::vector<bool> gap; // a value was left out before this row: do not connect

  size_t size() const { return x.size(); }
};

/// One curve, cloud, set of bars or grid: a block of the data file and an element of the script's plot command.
struct Series : Rows {
  MarkKind kind = MarkKind::line;
  bool right = false;
  std::string value;             // the column's name
  int variant = 0;               // which of several value columns
  std::string group;             // the values of `by`, joined; empty without
  int groupIndex = -1;           // -1: not grouped
  std::optional<double> groupAt; // the only `by` column's number
  int hue = -1, tone = 0;        // of several `by` columns: the first one's value, and the others'
  size_t gridWidth = 0;          // > 0: size() is a multiple, one scan line has so many rows
  double barWidth = 0;           // in categories
  bool xF32 = false, yF32 = false, zF32 = false, labelF32 = false;

  bool isGrid() const { return kind == MarkKind::contour || kind == MarkKind::surface; }
};

struct Figure {
  std::string title;
  bool logX = false, logY = false;
  std::vector<Series> series = {};          // none is empty
  std::vector<std::string> categories = {}; // of x, at positions 0, 1, ...; empty if x is a number
  bool hasZ = false;
  std::string xName = {}, yName = {}, rightName = {}, zName = {}, labelName = {}, byName = {};
  size_t groups = 0, hues = 0, tones = 0, valueNames = 0; // how many distinct ones the series have

  /// What notes and errors call it.
  std::string place() const;
  /// What the legend calls a series.
  std::string nameOf(const Series &s) const;
  bool has(MarkKind kind) const;
  bool hasLabelNumbers() const;
  bool hasLabelTexts() const;
};

/// Throws hw::Error for a plot that makes no sense; notes what is left out or drawn in another way than asked for.
Figure buildFigure(const PlotSpec &spec, const PlotNote &note);

/// As a user writes it.
const char *kindName(MarkKind kind);

/// Finite, not beyond gnuplot's own arithmetic, and positive on a logarithmic axis.
bool drawable(double v, bool logarithmic = false);

/// The number as files and names show it.
std::string cellOf(double value, bool f32);

/// The numbers from `low` to `high`; none until one is added.
struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;

  void add(double v);
  bool empty() const { return low > high; }
  /// 0 at `low`, 1 at `high`.
  double at(double v) const { return high > low ? (v - low) / (high - low) : 0.5; }
  /// With room around it if it is a single number.
  Range widened() const;
};

} // namespace hw::plot
