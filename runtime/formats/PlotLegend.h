// The legend of a figure: which corner, or side, has room for it.
#pragma once

#include "runtime/formats/PlotStyle.h"

namespace hw::plot {

/// gnuplot's command for the legend of a figure without grids, a line. Its title is the script's variable `by_`.
std::string legendCommand(const Figure &figure, const Style &style);

} // namespace hw::plot
