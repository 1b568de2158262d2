// The backend's own ops, and layouts.
#pragma once
#include "ir/Dialects.h"

#include "backend/BackendDialect.h.inc"
#define GET_ATTRDEF_CLASSES
#include "backend/BackendAttrs.h.inc"
#define GET_OP_CLASSES
#include "backend/BackendOps.h.inc"

namespace hw::backend {

/// The type of `parts` tensors of this one.
mlir::Type partsOf(mlir::Type type, int64_t parts);

} // namespace hw::backend
