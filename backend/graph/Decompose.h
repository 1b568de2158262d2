// Convolution and pooling as sums and selections over windows.
#pragma once
#include "ir/Dialects.h"

namespace hw::backend {

/// Rewrites every convolution and pooling of the block into padding, views of windows, elementwise ops and sums, which
/// become one loop nest each: for f64, and for what no library does better.
void decompose(mlir::Block &block);

/// Whether the op is a part of what an op was decomposed into: computed where it is used, even where every op's result
/// is to be kept. (The terms of a convolution's sum would take more memory than there is.)
bool isPart(mlir::Operation *op);

} // namespace hw::backend
