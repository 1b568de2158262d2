#include "runtime/formats/PlotArrange.h"

#include <algorithm>
#include <cmath>
#include <fmt/ranges.h>
#include <map>
#include <utility>

namespace hw::plot {

namespace {

/// Texts in order of appearance, numbers by size.
void chooseCategories(Figure &figure) {
  bool numbersOnly = true;
  std::map<std::string, double> at;
  std::vector<std::pair<double, std::string>> found;
  for (Series &s : figure.series) {
    if (s.isGrid() || s.kind == MarkKind::histogram)
      fail("{}: a {} cannot share its x axis with text or bars; make two plots", figure.place(), kindName(s.kind));
    for (size_t i = 0; i < s.size(); ++i) {
      if (s.xTexts[i].empty())
        s.xTexts[i] = fmt::format("{:.6g}", s.x[i]);
      else
        numbersOnly = false;
      if (at.emplace(s.xTexts[i], 0).second)
        found.emplace_back(s.x[i], s.xTexts[i]);
    }
  }
  if (numbersOnly)
    std::stable_sort(found.begin(), found.end(), [](auto &a, auto &b) { return a.first < b.first; });
  for (auto &[x, text] : found) {
    at[text] = static_cast<double>(figure.categories.size());
    figure.categories.push_back(text);
  }
  for (Series &s : figure.series)
    for (const std::string &text : s.xTexts)
      s.position.push_back(at[text]);
}

/// Bars of several series stand side by side; rows of one bar become their mean.
void placeBars(Figure &figure, const PlotNote &note) {
  auto isBars = [](const Series &s) { return s.kind == MarkKind::bars; };
  auto count = static_cast<double>(std::count_if(figure.series.begin(), figure.series.end(), isBars));
  double index = 0;
  for (Series &s : figure.series) {
    if (!isBars(s))
      continue;
    const Rows rows = std::exchange<Rows>(s, {});
    std::map<double, std::vector<size_t>> rowsAt; // by position
    for (size_t i = 0; i < rows.size(); ++i)
      rowsAt[rows.position[i]].push_back(i);
    if (rowsAt.size() < rows.size()) {
      note(fmt::format("{}: several rows share a bar, which shows their mean", figure.place()));
      s.yF32 = false;
    }
    s.barWidth = 0.8 / count;
    for (auto &[position, shared] : rowsAt) {
      double sum = 0;
      for (size_t i : shared)
        sum += rows.y[i];
      const size_t first = shared.front();
      s.x.push_back(rows.x[first]);
      s.y.push_back(sum / static_cast<double>(shared.size()));
      s.position.push_back(position + (index - (count - 1) / 2) * s.barWidth);
      s.xTexts.push_back(rows.xTexts[first]);
      if (!rows.labelNumbers.empty())
        s.labelNumbers.push_back(rows.labelNumbers[first]);
      if (!rows.labelTexts.empty())
        s.labelTexts.push_back(rows.labelTexts[first]);
    }
    s.gap.resize(s.size());
    ++index;
  }
}

/// All histograms of a figure share their bins: edges, counts, and a last row at zero that closes the steps. Width by
/// Freedman and Diaconis (1981), 2 IQR n^(-1/3), between 8 and 100 bins.
void binHistograms(Figure &figure) {
  auto forward = [&](double v) { return figure.logX ? std::log10(v) : v; };
  auto back = [&](double v) { return figure.logX ? std::pow(10, v) : v; };
  std::vector<double> all;
  for (const Series &s : figure.series)
    if (s.kind == MarkKind::histogram)
      std::transform(s.x.begin(), s.x.end(), std::back_inserter(all), forward);
  if (all.empty())
    return;
  std::sort(all.begin(), all.end());
  auto [low, high] = Range{all.front(), all.back()}.widened();
  double spread = all[all.size() * 3 / 4] - all[all.size() / 4];
  double width = 2 * spread / std::cbrt(static_cast<double>(all.size()));
  double wanted = width > 0 ? (high - low) / width : 30;
  auto bins = static_cast<size_t>(std::clamp(std::ceil(wanted), 8.0, 100.0));
  for (Series &s : figure.series) {
    if (s.kind != MarkKind::histogram)
      continue;
    const Rows sample = std::exchange<Rows>(s, {});
    s.xF32 = s.yF32 = false;
    s.y.resize(bins + 1);
    for (double v : sample.x) {
      auto bin = static_cast<size_t>((forward(v) - low) / (high - low) * static_cast<double>(bins));
      s.y[std::min(bin, bins - 1)] += 1;
    }
    for (size_t i = 0; i <= bins; ++i)
      s.x.push_back(back(low + (high - low) * static_cast<double>(i) / static_cast<double>(bins)));
    s.gap.resize(s.size());
  }
}

/// Sorts the rows into scan lines if they form a grid, holes allowed. Else they stay loose and are drawn as points.
void makeGrid(Series &s, const std::string &place, const std::string &axes, const PlotNote &note) {
  std::vector<double> xs = s.x, ys = s.y;
  for (auto *v : {&xs, &ys}) {
    std::sort(v->begin(), v->end());
    v->erase(std::unique(v->begin(), v->end()), v->end());
  }
  std::map<std::pair<double, double>, double> at;
  for (size_t i = 0; i < s.size(); ++i)
    at[{s.x[i], s.y[i]}] = s.z[i]; // the last row of a place counts
  if (at.size() < s.size())
    note(fmt::format("{}: several rows share a place of the {}, which shows the last", place, kindName(s.kind)));
  if (xs.size() < 2 || ys.size() < 2 || at.size() * 2 < xs.size() * ys.size()) {
    if (s.size())
      note(fmt::format("{}: the rows form no grid over {}, so they are drawn as coloured points", place,
                       inQuotes(axes, 60)));
    return;
  }
  static_cast<Rows &>(s) = {};
  for (double y : ys)
    for (double x : xs) {
      auto it = at.find({x, y});
      s.x.push_back(x);
      s.y.push_back(y);
      s.z.push_back(it == at.end() ? std::numeric_limits<double>::quiet_NaN() : it->second);
    }
  s.gridWidth = xs.size();
  s.gap.resize(s.size());
}

} // namespace

void arrange(Figure &figure, const PlotSpec &spec, bool categorical, const PlotNote &note) {
  if (categorical)
    chooseCategories(figure);
  placeBars(figure, note);
  binHistograms(figure);
  for (Series &s : figure.series)
    if (s.isGrid()) {
      const auto mark = std::find_if(spec.marks.begin(), spec.marks.end(), [&](auto &m) { return m.kind == s.kind; });
      makeGrid(s, figure.place(), fmt::format("{}", fmt::join(mark->over, ", ")), note);
    }
}

} // namespace hw::plot
