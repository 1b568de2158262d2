// What several rewrites need.
#pragma once
#include "ir/Dialects.h"

namespace hw::backend {

/// Whether all of the value is a constant 0.0 (or -0.0).
bool isZero(mlir::Value value);
/// One number in all of `value`: that number as a tensor of this shape; else null.
mlir::Value uniform(mlir::OpBuilder &builder, mlir::Value value, llvm::ArrayRef<int64_t> shape);

/// Erases ops without effect whose results no one uses.
void eraseDead(mlir::Block &block);

} // namespace hw::backend
