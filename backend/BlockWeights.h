// Weights of convolutions lie in blocks from step to step.
#pragma once
#include "backend/Compile.h"
#include "mlir/Pass/Pass.h"

namespace hw::backend {

/// block-weights, on a study that is not outlined yet: a training carries the weights of oneDNN's convolutions as
/// hwb.block lays them out, and with them what its steps compute elementwise together with them, an optimiser's
/// moments.
///
///   before:  train(%w) { ^(%v): conv(%x, %v) ... yield %next }
///   after:   train(block(%w)) { ^(%b): conv(%x, unblock(%b)) ... yield block(%next) }, and unblock where it is read
///
/// So a step turns no weights around. Everyone else still reads them as [O, I, K...].
std::unique_ptr<mlir::Pass> createBlockWeightsPass(const CompileOptions &options);

} // namespace hw::backend
