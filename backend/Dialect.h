// The backend's own ops.
#pragma once
#include "ir/Dialects.h"
#include "mlir/Dialect/Utils/IndexingUtils.h"

#include "backend/BackendDialect.h.inc"
#define GET_OP_CLASSES
#include "backend/BackendOps.h.inc"

namespace hw::backend {

/// The type of `parts` tensors of this one.
mlir::Type partsOf(mlir::Type type, int64_t parts);

/// How hwb.block lays out weights [O, I, K...]: filled up to the shape `padded`, reshaped to `split`, permuted by
/// `order`.
struct Blocking {
  Blocking(llvm::ArrayRef<int64_t> weights, int64_t size, bool turned);
  llvm::SmallVector<int64_t> shape() const { return mlir::applyPermutation(split, order); }
  llvm::SmallVector<int64_t> padded, split, order;
};

} // namespace hw::backend
