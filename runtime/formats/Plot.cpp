// From a plot to its files: PlotFigure says what is shown, PlotData writes its numbers, PlotScript what gnuplot is to
// do with them (PlotStyle and PlotLegend how it looks), and gnuplot draws.
#include "runtime/formats/Plot.h"
#include "runtime/formats/PlotData.h"
#include "runtime/formats/PlotFigure.h"
#include "runtime/formats/PlotScript.h"
#include "runtime/formats/Process.h"
#include "runtime/formats/Text.h"

#include <algorithm>
#include <cstdio>

namespace hw {

namespace {

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

/// Runs gnuplot in the folder of `script`, a file's name. What was in the way, as "gnuplot ..." goes on; empty if the
/// pictures are drawn.
std::string runGnuplot(const OutDir &out, const std::string &script) {
  constexpr double patience = 120; // seconds
  // -d: no start-up files, which could come from the folder.
  const ProcessResult result = runProcess({"gnuplot", "-d", script}, out.descriptor(), patience);
  if (!result.started || result.status == 127)
    return fmt::format("cannot be run ({}): install it with 'apt install gnuplot-nox'",
                       result.started ? firstLine(result.output) : result.output);
  if (result.timedOut)
    return fmt::format("took more than {} seconds", patience);
  if (result.status != 0)
    return fmt::format("failed: {}", firstLine(result.output));
  return "";
}

} // namespace

PlotFiles drawPlot(OutDir &out, const PlotSpec &spec, const PlotNote &givenNote) {
  PlotNote note =
      givenNote ? givenNote : [](const std::string &sentence) { std::fprintf(stderr, "note: %s\n", sentence.c_str()); };
  const plot::Figure figure = plot::buildFigure(spec, note);
  if (figure.series.empty())
    note(fmt::format("{} has nothing to show", figure.place()));

  PlotFiles files;
  plot::writeData(out, figure);
  files.csv = out.path(spec.title, ".plot.csv");
  const std::string script = out.fileName(spec.title, ".gp");
  AtomicFile file = out.create(spec.title, ".gp");
  file.write(plot::writeScript(figure, script.substr(0, script.size() - 3), note));
  file.commit();
  files.script = out.path(spec.title, ".gp");

  // gnuplot would follow a link of these names.
  out.makeWay(spec.title, ".svg");
  out.makeWay(spec.title, ".png");
  if (std::string trouble = runGnuplot(out, script); !trouble.empty()) {
    note(fmt::format("{} is not drawn, for gnuplot {}; its data and script are in {}", figure.place(), trouble,
                     inQuotes(out.path(), 300)));
    return files;
  }
  files.svg = out.path(spec.title, ".svg");
  files.png = out.path(spec.title, ".png");
  return files;
}

} // namespace hw
