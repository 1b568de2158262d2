// Groups of images that a thread takes through a chain of layers, forward and backward.
#pragma once
#include "backend/dialect/Dialect.h"

namespace hw::backend {

struct Target;

/// Puts what hangs together with a convolution and works image by image into `hwb.map`s over groups of images, where
/// the whole batch exceeds the second-level cache. To be called when layouts are chosen, before convolutions become
/// loops.
void mapGroups(mlir::Block &block, const Target &target);

/// Copies of weights that the body of a map makes to read them in another order are made once, before it.
void hoistCopies(MapOp map);

} // namespace hw::backend
