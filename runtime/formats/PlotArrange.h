// Where the marks of a figure stand: categories and bars side by side, the bins of histograms, the scan lines of grids.
#pragma once

#include "runtime/formats/PlotFigure.h"

namespace hw::plot {

/// `figure` has its series with rows as they came from `spec`; afterwards as they are drawn. `categorical`: x is a
/// category, be it written as a number. Throws hw::Error if histograms or grids are on such an axis.
void arrange(Figure &figure, const PlotSpec &spec, bool categorical, const PlotNote &note);

} // namespace hw::plot
