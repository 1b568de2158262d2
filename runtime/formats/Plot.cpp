// From a plot to its files: PlotFigure says what is shown, PlotData writes its numbers, PlotScript what gnuplot is to
// do with them (PlotStyle and PlotLegend how it looks), and gnuplot draws.
#include "runtime/formats/Plot.h"
#include "runtime/formats/PlotData.h"
#include "runtime/formats/PlotFigure.h"
#include "runtime/formats/PlotScript.h"
#include "runtime/formats/Process.h"
#include "runtime/formats/Streams.h"
#include "runtime/formats/Text.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

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

/// Whether a picture ends as its format has it, and so is complete.
bool isWhole(int folder, const std::string &picture, std::string_view ending) {
  const int fd = openat(folder, picture.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0)
    return false;
  char last[64] = {};
  const off_t size = lseek(fd, 0, SEEK_END);
  const ssize_t got = pread(fd, last, sizeof last, std::max<off_t>(size - static_cast<off_t>(sizeof last), 0));
  close(fd);
  std::string_view text(last, static_cast<size_t>(std::max<ssize_t>(got, 0)));
  while (text.ends_with('\n'))
    text.remove_suffix(1);
  return text.ends_with(ending);
}

/// Runs gnuplot in the folder of `script`, a file's name. What was in the way, as "gnuplot ..." goes on; empty if the
/// pictures are drawn.
std::string runGnuplot(const OutDir &out, const std::string &script, const std::string &svg, const std::string &png) {
  // Where it hung once it may hang at every figure: the next ones are given less time, until one is drawn.
  static std::atomic<int> patience = 120; // seconds
  const int seconds = patience;
  // -d: no start-up files, which could come from the folder.
  const ProcessResult result = runProcess({"gnuplot", "-d", script}, out.descriptor(), seconds);
  if (result.missing || (result.started && result.status == 127))
    return fmt::format("cannot be run ({}): install it with 'apt install gnuplot-nox'",
                       result.started ? firstLine(result.output) : result.output);
  if (!result.started)
    return fmt::format("cannot be started: {}", result.output);
  patience = result.timedOut ? 10 : 120;
  if (result.timedOut)
    return fmt::format("took more than {} seconds", seconds);
  if (result.signal)
    return fmt::format("was ended by signal {} ({})", result.signal, strsignal(result.signal));
  if (result.status != 0)
    return fmt::format("failed: {}", firstLine(result.output));
  using namespace std::string_view_literals;
  if (!isWhole(out.descriptor(), svg, "</svg>") || !isWhole(out.descriptor(), png, "IEND\xAE\x42\x60\x82"sv))
    return fmt::format("left no whole picture: {}", firstLine(result.output));
  return "";
}

} // namespace

PlotFiles drawPlot(OutDir &out, const PlotSpec &spec, const PlotNote &givenNote) {
  PlotNote note = givenNote ? givenNote : [](const std::string &sentence) { tell("note: {}", sentence); };
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
  const std::string svg = out.makeWay(spec.title, ".svg"), png = out.makeWay(spec.title, ".png");
  if (std::string trouble = runGnuplot(out, script, svg, png); !trouble.empty()) {
    out.remove(spec.title, ".svg"); // a part of a picture is none
    out.remove(spec.title, ".png");
    note(fmt::format("{} is not drawn, for gnuplot {}; its data and script are in {}", figure.place(), trouble,
                     inQuotes(out.path(), 300)));
    return files;
  }
  files.svg = out.path(spec.title, ".svg");
  files.png = out.path(spec.title, ".png");
  return files;
}

} // namespace hw
