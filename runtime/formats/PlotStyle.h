// How the series of a figure are told apart: by colour, dash and type of point, in the legend or on a colour scale.
#pragma once

#include "runtime/formats/PlotFigure.h"

#include <array>

namespace hw::plot {

/// More groups than this share a gradient of colours and not all have a line of the legend.
constexpr size_t mostListedGroups = 12;

/// The colours of a scale, "#RRGGBB", from its low end to its high one.
std::array<std::string, 8> palette();

class Style {
public:
  /// `figure` must outlive it.
  explicit Style(const Figure &figure);

  /// What a colour scale shows, if there is one: the height of grids, else a label column, else the groups' number.
  bool scaleOfGrids() const { return gridded; }
  bool scaleOfLabels() const { return byLabel; }
  bool scaleOfGroups() const { return byGroup; }
  bool hasScale() const { return gridded || byLabel || byGroup; }
  Range scale() const { return range; }
  /// A loss around a minimum spans magnitudes: a linear scale would show a flat floor and a rim.
  bool logScale() const { return logarithmic; }

  /// Whether the legend has a line for it.
  bool listed(const Series &s) const;
  /// Of very many groups every so manieth is listed.
  size_t legendStep() const { return (figure.groups + 23) / 24; }

  /// "#RRGGBB".
  std::string colour(const Series &s) const;
  /// gnuplot's number of a dash type.
  int dash(const Series &s) const;
  /// gnuplot's number of a point type.
  int pointType(const Series &s) const;

private:
  Range findRange() const;
  bool twoWays() const;
  int shape(const Series &s) const;

  const Figure &figure;
  bool gridded = false, byLabel = false, byGroup = false, logarithmic = false;
  Range range;
};

} // namespace hw::plot
