// A figure's numbers as a CSV file, for gnuplot and for any other program.
#pragma once

#include "runtime/formats/OutDir.h"
#include "runtime/formats/PlotFigure.h"

namespace hw::plot {

/// Columns of the data file that not every figure has, counted from one; 0: not there. 1 is x, or the position of x's
/// category, and 2 is y.
struct DataColumns {
  size_t z = 0, label = 0;
};

DataColumns dataColumns(const Figure &figure);

/// Writes `<title>.plot.csv`: a block per series, two blank lines between, as gnuplot's `index` wants; one blank line
/// breaks a curve or ends a scan line. Other programs' readers skip blank lines. Throws hw::Error if it cannot be
/// written.
void writeData(OutDir &out, const Figure &figure);

} // namespace hw::plot
