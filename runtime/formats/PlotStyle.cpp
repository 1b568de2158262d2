#include "runtime/formats/PlotStyle.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace hw::plot {

namespace {

/// Okabe and Ito's colours for the colour-blind (https://jfly.uni-koeln.de/color/), without the yellow, which white
/// paper swallows. Black is for what is not grouped: the truth among the fits.
constexpr std::array<const char *, 7> groupColours = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                                      "#E69F00", "#56B4E9", "#8C564B"};
constexpr const char *referenceColour = "#222222";

std::string groupColour(int i) { return groupColours[static_cast<size_t>(i) % groupColours.size()]; }

/// matplotlib's viridis (CC0), eight of its stops.
struct Stop {
  int r, g, b;
};
constexpr std::array<Stop, 8> viridis = {Stop{68, 1, 84}, {70, 50, 127},  {54, 92, 141},  {39, 127, 142},
                                         {31, 161, 135},  {74, 194, 109}, {159, 218, 58}, {253, 231, 37}};

std::string hex(const Stop &c) { return fmt::format("#{:02X}{:02X}{:02X}", c.r, c.g, c.b); }

/// `t` from 0 to 1.
std::string viridisAt(double t) {
  t = std::clamp(t, 0.0, 1.0) * 0.93 * (viridis.size() - 1); // its last yellow is too light for a line
  auto i = std::min<size_t>(static_cast<size_t>(t), viridis.size() - 2);
  double f = t - static_cast<double>(i);
  auto mix = [&](int a, int b) { return static_cast<int>(std::lround(a + f * (b - a))); };
  const Stop &a = viridis[i], &b = viridis[i + 1];
  return hex({mix(a.r, b.r), mix(a.g, b.g), mix(a.b, b.b)});
}

} // namespace

std::array<std::string, 8> palette() {
  std::array<std::string, 8> colours;
  std::transform(viridis.begin(), viridis.end(), colours.begin(), hex);
  return colours;
}

Style::Style(const Figure &figure) : figure(figure) {
  const std::vector<Series> &all = figure.series;
  gridded = std::any_of(all.begin(), all.end(), [](const Series &s) { return s.isGrid(); });
  byLabel = figure.hasLabelNumbers();
  // Many groups told apart by one number get a scale instead of a legend.
  byGroup = !byLabel && !gridded && figure.groups > mostListedGroups &&
            std::all_of(all.begin(), all.end(),
                        [](const Series &s) { return s.groupIndex < 0 || (s.groupAt && std::isfinite(*s.groupAt)); });
  range = findRange();
  logarithmic = gridded && !figure.has(MarkKind::surface) && range.low > 0 && range.high / range.low > 100;
}

Range Style::findRange() const {
  Range found;
  for (const Series &s : figure.series) {
    for (double z : s.z)
      if (std::isfinite(z))
        found.add(z);
    if (gridded)
      continue; // its colours are heights
    for (double label : s.labelNumbers)
      if (drawable(label))
        found.add(label);
    if (byGroup && s.groupAt)
      found.add(*s.groupAt);
  }
  return found.empty() ? Range{0, 1} : found.widened();
}

bool Style::listed(const Series &s) const {
  if (s.groupIndex < 0)
    return true;
  return !byGroup && (figure.groups <= mostListedGroups || static_cast<size_t>(s.groupIndex) % legendStep() == 0);
}

/// `by widths, part`: a colour for the widths, solid and dashed for the parts.
bool Style::twoWays() const { return figure.tones > 1 && figure.tones <= 4 && figure.hues <= groupColours.size(); }

std::string Style::colour(const Series &s) const {
  if (s.groupIndex < 0)
    return figure.groups > 0 ? referenceColour : groupColour(s.variant);
  if (twoWays() && (s.kind == MarkKind::line || s.kind == MarkKind::points))
    return groupColour(s.hue);
  if (figure.groups > mostListedGroups)
    return viridisAt(static_cast<double>(s.groupIndex) / static_cast<double>(figure.groups - 1));
  return groupColour(s.groupIndex);
}

/// What tells apart the series of one colour: 0 for the first.
int Style::shape(const Series &s) const {
  if (s.groupIndex < 0) // one colour a value column; all of them black beside groups
    return figure.groups ? s.variant : s.variant / static_cast<int>(groupColours.size());
  if (twoWays())
    return s.tone + s.variant * static_cast<int>(figure.tones);
  int again = figure.groups > mostListedGroups ? 0 : s.groupIndex / static_cast<int>(groupColours.size());
  return s.variant + again;
}

int Style::dash(const Series &s) const {
  constexpr int types[] = {1, 2, 4, 5};
  return types[shape(s) % 4];
}

int Style::pointType(const Series &s) const {
  constexpr int types[] = {7, 9, 5, 13, 11}; // filled: circle, triangle, square, diamond, triangle down
  int index = byLabel ? std::max(s.groupIndex, 0) : shape(s); // the scale took the colour
  return types[index % 5];
}

} // namespace hw::plot
