// Units as kernels.
#pragma once
#include "backend/steps/Fusion.h"

namespace hw::backend {

/// Builds the kernel that computes the roots of a unit; `bufferOf` numbers values in memory.
Kernel trace(const FusionPlan &plan, const Unit &unit, llvm::function_ref<int(mlir::Value)> bufferOf);

} // namespace hw::backend
