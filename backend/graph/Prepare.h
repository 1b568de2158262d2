// The rewrites of an entry function, in their order.
#pragma once
#include "backend/Options.h"
#include "backend/Target.h"
#include "ir/Dialects.h"

namespace hw::backend {

/// Rewrites of an entry function as a whole: masks `x > 0` of values that are also rectified read the rectified value,
/// so that x need not be kept; pooling's masks and sums are taken at the pooled size; layouts are chosen.
void prepare(mlir::Block &block, Products products, const Target &target);
/// Then, of the function and of what became the body of a map: convolutions and pooling that no library does become
/// loops, and every dot_general gets at most one batch, free and contracted dimension a side and operands that the
/// chosen way can read.
void prepareLoops(mlir::Block &block, Products products);

} // namespace hw::backend
