#include "runtime/formats/PlotLegend.h"
#include "runtime/formats/Text.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace hw::plot {

namespace {

bool isFilled(const Series &s) { return s.kind == MarkKind::bars || s.kind == MarkKind::histogram; }

/// Where a point lies on axes that start and end with the data, each from 0 to 1.
class Axes {
public:
  explicit Axes(const Figure &figure) : figure(figure) {
    for (const Series &s : figure.series)
      for (size_t i = 0; i < s.size(); ++i) {
        x.add(xOf(s, i));
        Range &y = s.right ? right : left;
        y.add(yOf(s, i));
        if (isFilled(s))
          y.add(figure.logY ? y.low : 0);
      }
  }

  double across(const Series &s, size_t i) const { return x.at(xOf(s, i)); }
  double up(const Series &s, size_t i) const { return (s.right ? right : left).at(yOf(s, i)); }

private:
  double xOf(const Series &s, size_t i) const {
    if (!figure.categories.empty())
      return s.position[i];
    return figure.logX ? std::log10(s.x[i]) : s.x[i];
  }
  double yOf(const Series &s, size_t i) const { return figure.logY ? std::log10(std::max(s.y[i], 1e-300)) : s.y[i]; }

  const Figure &figure;
  Range x, left, right;
};

/// In which corner a box of this size, in parts of the axes, hides no data; null: in none.
const char *emptyCorner(const Figure &figure, double width, double height) {
  constexpr const char *names[] = {"inside right top", "inside left top", "inside right bottom", "inside left bottom"};
  bool occupied[4] = {};
  // The axes end at round numbers beyond the data: leave a margin.
  const double w = width + 0.04, h = height + 0.04;
  const Axes axes(figure);
  for (const Series &s : figure.series) {
    const bool filled = isFilled(s), joined = s.kind == MarkKind::line || s.kind == MarkKind::histogram;
    for (size_t i = 0; i < s.size(); ++i) {
      const size_t parts = joined && i ? 16 : 1; // of the way back to the point before
      for (size_t part = 0; part < parts; ++part) {
        double f = static_cast<double>(part) / static_cast<double>(parts);
        double u = axes.across(s, i) * (1 - f) + (f > 0 ? f * axes.across(s, i - 1) : 0);
        double v = axes.up(s, i) * (1 - f) + (f > 0 ? f * axes.up(s, i - 1) : 0);
        occupied[0] |= u > 1 - w && v > 1 - h;
        occupied[1] |= u < w && v > 1 - h;
        occupied[2] |= u > 1 - w && (v < h || filled);
        occupied[3] |= u < w && (v < h || filled);
      }
    }
  }
  const bool *free = std::find(std::begin(occupied), std::end(occupied), false);
  return free == std::end(occupied) ? nullptr : names[free - occupied];
}

} // namespace

std::string legendCommand(const Figure &figure, const Style &style) {
  auto shownWidth = [](const std::string &text) { return std::min<size_t>(60, countCodePoints(text)); };
  size_t entries = 0, longest = 0;
  for (const Series &s : figure.series)
    if (style.listed(s)) {
      ++entries;
      longest = std::max(longest, shownWidth(figure.nameOf(s)));
    }
  if (entries == 0 || (figure.series.size() == 1 && figure.groups == 0))
    return "unset key\n";
  const bool titled = figure.groups > 0 && !style.scaleOfGroups();
  if (titled)
    longest = std::max(longest, shownWidth(figure.byName));

  // Inside, in an empty corner, if there is one; else beside the figure or, if names are long, below it.
  double width = (static_cast<double>(longest) * 8 + 60) / 780,
         height = (static_cast<double>(entries + titled) * 19 + 14) / 500;
  const char *corner = width < 0.6 && height < 0.55 ? emptyCorner(figure, width, height) : nullptr;
  std::string command;
  if (corner)
    command = fmt::format("set key {} Left reverse opaque samplen 2.5 spacing 1.1", corner);
  else if (longest <= 26 && entries <= 26)
    command = "set key outside right top Left reverse samplen 2.5 spacing 1.1";
  else
    command = "set key outside bottom center Left reverse samplen 2.5 spacing 1.1 maxrows 8";
  if (entries > mostListedGroups)
    command += " font ',9'";
  command += " noenhanced";
  const size_t step = style.legendStep();
  if (titled && step > 1)
    command += fmt::format(" title by_.' ({} of {} listed)' left", (figure.groups + step - 1) / step, figure.groups);
  else if (titled)
    command += " title by_ left";
  return command + '\n';
}

} // namespace hw::plot
