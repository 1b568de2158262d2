// The gnuplot script of a figure, for gnuplot to draw and for people to restyle by hand.
#pragma once

#include "runtime/formats/PlotFigure.h"

namespace hw::plot {

/// The script that draws the data file `<stem>.plot.csv` of its own folder as `<stem>.svg` and `<stem>.png`. Nothing in
/// the figure's title, names or texts is code to gnuplot. Notes what of the figure it does not draw.
std::string writeScript(const Figure &figure, const std::string &stem, const PlotNote &note);

} // namespace hw::plot
