#include "runtime/formats/PlotScript.h"
#include "runtime/formats/PlotData.h"
#include "runtime/formats/PlotLegend.h"
#include "runtime/formats/PlotStyle.h"
#include "runtime/formats/Text.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/ranges.h>
#include <utility>

namespace hw::plot {

namespace {

// --- Foreign text

/// A gnuplot string. Plain words stand in single quotes, where nothing is special. A text with anything that gnuplot
/// could take for more (quotes, backquotes, macros, braces, formats) is written in double quotes with those characters
/// as octal escapes, so that they never occur in the script. (Of four digits: after "\043" gnuplot reads one more if it
/// follows.) Doubling a single quote is documented, but gnuplot 5.4 ends a string that starts with a doubled quote, or
/// has two in a row, and takes the rest for commands.
std::string literal(std::string_view text, size_t limit = 100) {
  std::string line = oneLine(text, limit);
  // gnuplot's SVG keeps "&#x0;" for an entity, which is another text or no XML, as "]]>" is none. A space of no width
  // parts them.
  for (const std::string_view odd : {"&#", "]]>"})
    for (size_t at = 0; (at = line.find(odd, at)) != std::string::npos;)
      line.insert(++at, "\u200B");
  auto plain = [](char c) {
    return (c & 0x80) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view(" _.,:=()[]+-*/<>|?!~^").find(c) != std::string_view::npos;
  };
  if (std::all_of(line.begin(), line.end(), plain))
    return "'" + line + "'";
  std::string out = "\"";
  for (char c : line)
    out += plain(c) ? std::string(1, c) : fmt::format("\\{:04o}", static_cast<unsigned>(c));
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

/// More than 40 texts in a row cannot be read: every how many one is shown.
size_t textStep(size_t texts) { return (texts + 39) / 40; }

// --- The plot command

/// What a plot or splot command draws, in this order, from the back to the front.
using Elements = std::vector<std::string>;

/// The elements of a curve, cloud, bars or histogram. On a map they lie at `depth`, ":(number)"; elsewhere it is empty.
class SeriesElements {
public:
  SeriesElements(const Figure &figure, const Style &style, size_t index, const std::string &depth, Elements &elements)
      : s(figure.series[index]), style(style), index(index), logY(figure.logY), onMap(!depth.empty()),
        elements(elements), at("1:2" + depth), atLabelled(fmt::format("{}:{}", at, dataColumns(figure).label)) {
    // Through the palette where the palette is the legend, so that the scale is drawn and hand changes reach both.
    if (style.scaleOfGroups() && s.groupIndex >= 0)
      colour = fmt::format("lc palette cb {}", shortest(*s.groupAt));
    else
      colour = fmt::format("lc rgb '{}'", style.colour(s));
    if (style.listed(s))
      title = fmt::format("title s{} noenhanced", index);
    // A picture of 900 pixels shows no more; the data file has them all.
    constexpr size_t mostRows = 20000;
    if (s.size() > mostRows)
      every = fmt::format(" every {}", (s.size() + mostRows - 1) / mostRows);
  }

  void add() {
    switch (s.kind) {
    case MarkKind::line:
      line();
      break;
    case MarkKind::points:
      points();
      break;
    case MarkKind::bars:
      if (!onMap)
        element(fmt::format("{}:({})", at, shortest(s.barWidth)), "boxes " + colour, title);
      break;
    case MarkKind::histogram:
      if (!onMap)
        histogram();
      break;
    case MarkKind::contour:
    case MarkKind::surface:
      break; // a grid: not drawn here
    }
    if (!s.labelTexts.empty())
      texts();
  }

private:
  static constexpr const char *untitled = "notitle";

  void element(const std::string &columns, const std::string &how, const std::string &named = untitled) {
    elements.push_back(fmt::format("data index {} skip 1{} using {}{} with {}{} {}", index, every, columns, axes(), how,
                                   onMap ? " nocontour" : "", named));
  }

  const char *axes() const { return s.right ? " axes x1y2" : ""; }

  void line() {
    if (s.size() == 1)
      element(at, fmt::format("points pt {} ps 1 {}", style.pointType(s), colour), title);
    else
      element(at, fmt::format("lines lw 2 dt {} {}", style.dash(s), colour), title);
    if (!s.labelNumbers.empty())
      element(atLabelled, fmt::format("points pt 7 ps {} lc palette z", pointSize()));
  }

  void points() {
    const int type = style.pointType(s);
    if (s.labelNumbers.empty()) {
      element(at, fmt::format("points pt {} ps {} {}", type, pointSize(), colour));
      // The legend's sample of a small or faint point would not be seen: draw it from an empty one.
      if (!onMap && title != untitled)
        elements.push_back(fmt::format("NaN{} with points pt {} ps 1 {} {}", axes(), type, colour, title));
      return;
    }
    const double size = std::max(pointSize(), 0.7);
    if (std::any_of(s.labelNumbers.begin(), s.labelNumbers.end(), [](double v) { return !std::isfinite(v); }))
      element(at, fmt::format("points pt {} ps {} lc rgb '#C8C8C8'", type, size)); // off the scale
    element(atLabelled, fmt::format("points pt {} ps {} lc palette z", type, size), title);
  }

  /// The more there are, the smaller.
  double pointSize() const { return s.size() > 1000 ? 0.35 : s.size() > 200 ? 0.5 : s.size() > 40 ? 0.7 : 1.0; }

  void histogram() {
    const std::string counts = logY ? "1:($2 > 0 ? $2 : 0.5)" : at; // the scale has no zero
    element(counts, fmt::format("fillsteps {} fs transparent solid 0.35 noborder", colour), title);
    element(counts, fmt::format("steps lw 1.5 {}", colour));
  }

  /// Beside their points, from the script's array t<index>.
  void texts() {
    every.clear(); // the array counts all rows
    const size_t step = textStep(s.size());
    std::string shown = step == 1 ? fmt::format("t{}[int($0)+1]", index)
                                  : fmt::format("int($0)%{0}==0 ? t{1}[int($0)/{0}+1] : ''", step, index);
    element(fmt::format("{}:({})", at, shown), "labels offset 0,0.7 font ',9' noenhanced");
    if (s.kind == MarkKind::line && s.size() > 1)
      element(at, fmt::format("points pt 7 ps 0.7 {}", colour));
  }

  const Series &s;
  const Style &style;
  const size_t index; // in the data file
  const bool logY, onMap;
  Elements &elements;
  const std::string at, atLabelled; // columns of the data file
  std::string colour, title = untitled, every;
};

// --- The script

class ScriptWriter {
public:
  ScriptWriter(const Figure &figure, const std::string &stem) : figure(figure), style(figure), stem(stem) {
    for (size_t i = 0; i < figure.series.size(); ++i)
      (figure.series[i].isGrid() ? grids : flats).push_back(i);
    surface = figure.has(MarkKind::surface);
    panels = std::clamp<size_t>(grids.size(), 1, mostPanels);
    across = panels == 1 ? 1 : panels <= 4 ? 2 : 3;
    down = (panels + across - 1) / across;
  }

  std::string write() {
    head();
    put("\n# --- words\n");
    words();
    put("\n# --- style\n");
    axes();
    if (style.hasScale())
      colourScale();
    if (!figure.categories.empty())
      categories();
    text += grids.empty() ? legendCommand(figure, style) : "unset key\n";
    room();
    put("\n# --- figure\n");
    terminals();
    if (figure.series.empty())
      nothing();
    else if (grids.empty())
      curves();
    else
      gridPanels();
    put("  unset output\n}}\n");
    return std::move(text);
  }

  void noteWhatIsLeftOut(const PlotNote &note) const {
    if (surface && !flats.empty())
      note(fmt::format("{}: a surface shows no other marks; draw a contour to see them together", figure.place()));
    if (grids.size() > panels)
      note(fmt::format("{}: the first {} of {} groups are drawn; use `per` for a figure each", figure.place(), panels,
                       grids.size()));
  }

private:
  static constexpr size_t mostPanels = 9;

  template <class... Args> void put(fmt::format_string<Args...> format, Args &&...args) {
    fmt::format_to(std::back_inserter(text), format, std::forward<Args>(args)...);
  }

  void head() {
    text += "# A gnuplot figure. Change what you like, then run this file with gnuplot: it reads the .plot.csv of the "
            "same\n# name in its own folder and writes the .svg and .png anew.\n\n";
    put("here = ''\n"
        "if (exists('ARG0')) {{ do for [i = 1:strlen(ARG0)] {{ if (ARG0[i:i] eq '/') {{ here = ARG0[1:i] }} }} }}\n"
        "stem = {}\n"
        "data = here.stem.'.plot.csv'\n",
        literal(stem, 1000));
  }

  /// All words of the figure are variables, so that they are never part of a command.
  void words() {
    put("title_ = {}\n", literal(figure.title));
    put("x_ = {}\ny_ = {}\n", literal(figure.xName, 80), literal(figure.yName, 60));
    if (!figure.rightName.empty())
      put("right_ = {}\n", literal(figure.rightName, 60));
    if (style.scaleOfGrids())
      put("z_ = {}\n", literal(figure.zName + (style.logScale() ? " (logarithmic)" : ""), 60));
    if (style.scaleOfLabels() || style.scaleOfGroups())
      put("scale_ = {}\n", literal(style.scaleOfLabels() ? figure.labelName : figure.byName, 60));
    if (figure.groups)
      put("by_ = {}\n", literal(figure.byName, 60));
    for (size_t i = 0; i < figure.series.size(); ++i)
      put("s{} = {}\n", i, literal(figure.nameOf(figure.series[i]), 60));
    for (size_t i = 0; i < figure.series.size(); ++i)
      texts(i);
  }

  /// The texts beside a series' points: an array, since gnuplot cannot read every text from a CSV file.
  void texts(size_t i) {
    const std::vector<std::string> &all = figure.series[i].labelTexts;
    if (all.empty())
      return;
    std::vector<std::string> shown;
    for (size_t row = 0; row < all.size(); row += textStep(all.size()))
      shown.push_back(literal(all[row], 60));
    put("array t{}[{}] = [{}]\n", i, shown.size(), fmt::join(shown, ", "));
  }

  // --- style

  void axes() {
    put("set encoding utf8\n"
        "set datafile separator comma\n"
        "set border 3 lw 1 lc rgb '#666666'\n"
        "set tics nomirror textcolor rgb '#333333'\n"
        "set grid lc rgb '#E4E4E4' lt 1 lw 1\n"
        "set style fill solid 0.85 noborder\n"
        "set title title_ noenhanced\n"
        "set xlabel x_ noenhanced\n"
        "set ylabel y_ noenhanced\n"
        "set format '%g'\n");
    const bool right = !figure.rightName.empty() && grids.empty();
    if (right)
      put("set border 11\nset ytics nomirror\nset y2tics\nset y2label right_ noenhanced\n");
    if (figure.logX && figure.categories.empty())
      put("set logscale x\n");
    if (figure.logY)
      put("set logscale y\n{}", right ? "set logscale y2\n" : "");
  }

  void colourScale() {
    const std::array<std::string, 8> colours = palette();
    put("set palette defined (");
    for (size_t i = 0; i < colours.size(); ++i)
      put("{}{} '{}'", i ? ", " : "", i, colours[i]);
    put(")\nset cblabel {} noenhanced\nset colorbox\n", style.scaleOfGrids() ? "z_" : "scale_");
    put("set cbrange [{}:{}]\n", shortest(style.scale().low), shortest(style.scale().high));
  }

  void categories() {
    size_t longest = 0, count = figure.categories.size(), every = textStep(count);
    for (const std::string &c : figure.categories)
      longest = std::max(longest, countCodePoints(c));
    put("set xtics (");
    for (size_t i = 0; i < count; i += every)
      put("{}{} {}", i ? ", " : "", formatLiteral(figure.categories[i], 40), i);
    put(")");
    if (std::min<size_t>(longest, 40) * (count / every) > 80)
      put(" rotate by -35");
    put("\nset xrange [-0.6:{}]\nset grid noxtics\n", static_cast<double>(count) - 0.4);
  }

  /// Ranges that some marks and texts need.
  void room() {
    if (figure.has(MarkKind::bars) && !figure.logY)
      put("set yrange [*<0:*]\nset y2range [*<0:*]\n"); // bars start at zero, or their lengths lie
    if (figure.has(MarkKind::histogram) && figure.logY)
      put("set yrange [0.5:*]\n"); // a logarithmic axis has no zero: empty bins end on its floor
    if (figure.hasLabelTexts())
      put("set offsets graph 0.07, graph 0.07, graph 0.07, graph 0.01\n");
  }

  // --- figure

  void terminals() {
    const size_t width = panels == 1 ? 900 : 560 * across, height = panels == 1 ? 600 : 440 * down + 40;
    put("do for [format in 'svg png'] {{\n");
    for (auto [format, terminal, font] : {std::array{"svg", "svg", "sans-serif,14"}, {"png", "pngcairo", "Sans,11"}})
      put("  if (format eq '{}') {{ set terminal {} size {},{} background rgb 'white' font '{}' noenhanced }}\n",
          format, terminal, width, height, font);
    put("  set output here.stem.'.'.format\n");
  }

  void nothing() {
    put("  set xrange [1:2]; set yrange [1:2]\n"
        "  set label 1 'no data' at graph 0.5,0.5 center textcolor rgb '#888888'\n"
        "  plot 0 notitle\n");
  }

  void curves() {
    Elements elements;
    addFlats(elements, "");
    put("  plot {}\n", fmt::join(elements, ", \\\n       "));
  }

  void addFlats(Elements &elements, const std::string &depth) {
    for (size_t i : flats)
      SeriesElements(figure, style, i, depth, elements).add();
  }

  void gridPanels() {
    if (panels > 1)
      put("  set multiplot layout {},{} title title_ noenhanced\n", down, across);
    for (size_t panel = 0; panel < panels; ++panel) {
      if (panels > 1)
        put("  set title s{} noenhanced\n", grids[panel]);
      gridPanel(panel);
    }
    if (panels > 1)
      put("  unset multiplot\n");
  }

  void gridPanel(size_t panel) {
    const size_t i = grids[panel];
    const Series &s = figure.series[i];
    const bool contour = s.gridWidth && s.kind == MarkKind::contour;
    if (surface)
      viewInSpace();
    else
      viewAsMap(panel);
    put("  set autoscale xfix; set autoscale yfix\n");
    if (contour)
      contourLines(s);
    const size_t z = dataColumns(figure).z;
    const std::string height = fmt::format("data index {} skip 1 using 1:2:{}", i, z);
    Elements elements;
    if (!s.gridWidth)
      elements = {fmt::format("{}:{} with points pt 7 ps 0.8 lc palette z notitle", height, z)}; // loose rows
    else if (!contour)
      elements = {height + " with pm3d notitle"};
    else
      elements = {height + " with pm3d nocontour notitle",
                  height + " with lines nosurface lw 0.8 lc rgb '#A0FFFFFF' notitle"};
    if (!surface)
      addFlats(elements, fmt::format(":({})", shortest(style.scale().low)));
    put("  splot {}\n", fmt::join(elements, ", \\\n        "));
    if (contour)
      put("  unset contour\n");
  }

  void viewInSpace() {
    put("  set view 60,35,1.1,1.15\n  set xyplane 0\n  set zlabel z_ rotate noenhanced\n"
        "  set pm3d depthorder border lc rgb '#606060' lw 0.3\n  set border 15 lw 1\n"
        "  unset colorbox\n"); // the z axis says it
  }

  /// From above. gnuplot would leave room for a third axis: the panel is placed by hand.
  void viewAsMap(size_t panel) {
    put("  set view map\n  set border 15 lw 1\n  set tics out scale 0.5\n  unset grid\n");
    const bool single = panels == 1, legend = single && flats.size() > 1;
    const double sheet = single ? 1.0 : 0.94; // below the common title
    const double w = 1.0 / static_cast<double>(across), h = sheet / static_cast<double>(down);
    const double left = (static_cast<double>(panel % across) + (single ? 0.09 : 0.15)) * w;
    const double top = sheet - static_cast<double>(panel / across) * h;
    const double right = left + (single ? 0.73 : 0.62) * w;
    const double bottom = top - (single ? legend ? 0.82 : 0.89 : 0.84) * h;
    put("  set lmargin at screen {:.4f}; set rmargin at screen {:.4f}\n"
        "  set tmargin at screen {:.4f}; set bmargin at screen {:.4f}\n",
        left, right, top - 0.09 * h, bottom);
    if (legend)
      put("  set key at screen 0.5,0.04 center horizontal samplen 2.5 noenhanced textcolor rgb '#333333'\n");
  }

  /// Heights are evenly spread over the colour scale, which may be logarithmic.
  void contourLines(const Series &s) {
    constexpr int levels = 12;
    const auto [low, high] = style.scale();
    std::vector<std::string> heights;
    for (int level = 1; level < levels; ++level) {
      double f = static_cast<double>(level) / levels;
      heights.push_back(shortest(style.logScale() ? low * std::pow(high / low, f) : low + f * (high - low)));
    }
    // Pixels cost nothing, but SVG writes every cell: keep it below some MB.
    const size_t refine = s.size() <= 1000 ? 3 : s.size() <= 3000 ? 2 : 1;
    put("  if (format eq 'svg') {{ set pm3d interpolate {0},{0} }} else {{ set pm3d interpolate 0,0 }}\n", refine);
    if (style.logScale())
      put("  set logscale cb\n");
    put("  set contour base\n  set cntrlabel onecolor\n  set cntrparam levels discrete {}\n", fmt::join(heights, ","));
  }

  const Figure &figure;
  const Style style;
  const std::string &stem;
  std::string text;
  std::vector<size_t> grids, flats;        // series, by whether they are grids
  bool surface = false;                    // grids stand in space, else they are maps
  size_t panels = 1, across = 1, down = 1; // one panel per grid
};

} // namespace

std::string writeScript(const Figure &figure, const std::string &stem, const PlotNote &note) {
  ScriptWriter writer(figure, stem);
  writer.noteWhatIsLeftOut(note);
  return writer.write();
}

} // namespace hw::plot
