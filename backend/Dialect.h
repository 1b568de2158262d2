// The backend's own ops.
#pragma once
#include "ir/Dialects.h"

#include "backend/BackendDialect.h.inc"
#define GET_OP_CLASSES
#include "backend/BackendOps.h.inc"

namespace hw::backend {

/// The type of `parts` tensors of this one.
mlir::Type partsOf(mlir::Type type, int64_t parts);

/// The shape of weights [O, I, K...] in blocks of `size` channels: see hwb.block.
llvm::SmallVector<int64_t> blockedShape(llvm::ArrayRef<int64_t> weights, int64_t size, bool turned);

} // namespace hw::backend
