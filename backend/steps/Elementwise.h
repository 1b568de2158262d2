// Elementwise ops of hw as ops of kernels.
#pragma once
#include "backend/steps/Kernel.h"
#include "ir/Dialects.h"

namespace hw::backend {

/// An elementwise op's place in the table of kernel ops.
std::optional<Opcode> elementwiseOp(mlir::Operation *op);

} // namespace hw::backend
