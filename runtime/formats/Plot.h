// Figures: a study's `plot` statement with its columns becomes data, a gnuplot script to restyle by hand, SVG and PNG.
#pragma once

#include "runtime/formats/OutDir.h"

#include <functional>
#include <string>
#include <vector>

namespace hw {

enum class MarkKind { line, points, contour, surface, histogram, bars };

/// A column of numbers or of text. `name` is how the user wrote it and what the axis says.
struct PlotColumn {
  std::string name;
  std::vector<double> numbers;
  std::vector<std::string> texts;
  bool isText = false;
  bool isF32 = false; ///< `numbers` came from f32: written as such, 0.1 and not 0.10000000149011612

  static PlotColumn ofNumbers(std::string name, std::vector<double> values) {
    return {std::move(name), std::move(values), {}, false, false};
  }
  static PlotColumn ofFloats(std::string name, const std::vector<float> &values) {
    return {std::move(name), std::vector<double>(values.begin(), values.end()), {}, false, true};
  }
  static PlotColumn ofTexts(std::string name, std::vector<std::string> values) {
    return {std::move(name), {}, std::move(values), true, false};
  }
  size_t size() const { return isText ? texts.size() : numbers.size(); }
};

/// One `MARK = kind values [over over] [by by] [label label] [right]`. Strings name columns; those of one mark are
/// equally long, row by row. A row belongs to the group of its `by` values; groups may differ in length.
struct PlotMark {
  MarkKind kind = MarkKind::line;
  std::vector<std::string> values; ///< y (z for contour and surface; the sample of a histogram), one series each
  std::vector<std::string> over;   ///< x: none (the row's number in its group) or one; two for contour and surface
  std::vector<std::string> by;
  std::string label;  ///< empty, or: numbers colour the points by a scale, texts stand beside them
  bool right = false; ///< against the axis on the right
};

struct PlotSpec {
  std::string title;
  std::vector<PlotMark> marks;
  bool logX = false, logY = false;
  std::vector<PlotColumn> columns; ///< the marks refer to these by name
};

struct PlotFiles {
  std::string csv, script; ///< always written
  std::string svg, png;    ///< empty if not drawn
};

/// Takes one sentence about something left out or not possible.
using PlotNote = std::function<void(const std::string &)>;

/// Writes `<title>.plot.csv` and `<title>.gp` into `out` and runs gnuplot for `<title>.svg` and `<title>.png`. Numbers
/// that are not finite, or not positive on a logarithmic axis, are left out with a note. Without gnuplot, or if it
/// fails, there is a note and no picture: a figure never ends a run. Nothing in the title, names or texts is code to
/// gnuplot or a shell. Throws hw::Error for a spec that makes no sense (a column that is not there, of another length,
/// text as y) and if a file cannot be written. `note`: by default a line on stderr.
PlotFiles drawPlot(OutDir &out, const PlotSpec &spec, const PlotNote &note = {});

} // namespace hw
