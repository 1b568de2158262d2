#include "runtime/formats/PlotData.h"
#include "runtime/formats/Csv.h"
#include "runtime/formats/Text.h"

namespace hw::plot {

DataColumns dataColumns(const Figure &figure) {
  DataColumns columns;
  size_t last = 2;
  if (figure.hasZ)
    columns.z = ++last;
  if (figure.hasLabelNumbers())
    columns.label = ++last;
  return columns;
}

namespace {

/// Numbers come first, then words: gnuplot 5.4 loses count of the columns after a quoted cell with quotes in it.
class DataWriter {
public:
  explicit DataWriter(const Figure &figure)
      : figure(figure), columns(dataColumns(figure)), categorical(!figure.categories.empty()),
        labelTexts(figure.hasLabelTexts()) {}

  void write(AtomicFile file) {
    header();
    for (const Series &s : figure.series) {
      if (&s != &figure.series.front())
        text += "\n\n";
      const std::string name = csvCell(figure.nameOf(s));
      for (size_t i = 0; i < s.size(); ++i)
        row(s, i, name);
      if (text.size() > 1 << 20) {
        file.write(text);
        text.clear();
      }
    }
    file.write(text);
    file.commit();
  }

private:
  void header() {
    text += (categorical ? "position" : csvCell(figure.xName)) + "," + csvCell(figure.yName);
    if (columns.z)
      text += "," + csvCell(figure.zName);
    if (columns.label)
      text += "," + csvCell(figure.labelName);
    text += ",series";
    if (categorical)
      text += "," + csvCell(figure.xName);
    if (labelTexts)
      text += "," + csvCell(figure.labelName);
    text += '\n';
  }

  void row(const Series &s, size_t i, const std::string &name) {
    if (s.gap[i] || (s.gridWidth && i && i % s.gridWidth == 0))
      text += '\n';
    text += (categorical ? shortest(s.position[i]) : cellOf(s.x[i], s.xF32)) + "," + cellOf(s.y[i], s.yF32);
    if (columns.z)
      text += "," + (s.z.empty() ? "" : cellOf(s.z[i], s.zF32));
    if (columns.label)
      text += "," + (s.labelNumbers.empty() ? "" : cellOf(s.labelNumbers[i], s.labelF32));
    text += "," + name;
    if (categorical)
      text += "," + csvCell(s.xTexts[i]);
    if (labelTexts)
      text += "," + (s.labelTexts.empty() ? "" : csvCell(s.labelTexts[i]));
    text += '\n';
  }

  const Figure &figure;
  const DataColumns columns;
  const bool categorical, labelTexts;
  std::string text;
};

} // namespace

void writeData(OutDir &out, const Figure &figure) { DataWriter(figure).write(out.create(figure.title, ".plot.csv")); }

} // namespace hw::plot
