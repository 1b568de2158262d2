// From step to step, weights lie as what reads them wants them.
#pragma once
#include "backend/Options.h"
#include "mlir/Pass/Pass.h"

namespace hw::backend {

/// weight-layouts, on a study that is not outlined yet: a training carries the weights of oneDNN's convolutions, and of
/// products with flattened activations of theirs, in the layouts (see hwb.layout) that these read, and with them what
/// its steps compute elementwise together with them, an optimiser's moments.
///
///   before:  train(%w) { ^(%v): conv(%x, %v) ... yield %next }
///   after:   train(to_layout(%w)) { ^(%b): conv(%x, from_layout(%b)) ... yield to_layout(%next) }, and from_layout
///            wherever else it is read
///
/// So a step turns no weights around. Everyone else still reads them in their own order.
std::unique_ptr<mlir::Pass> createWeightLayoutsPass(const CompileOptions &options);

} // namespace hw::backend
