// An entry function as steps.
#pragma once
#include "backend/Target.h"
#include "backend/steps/Fusion.h"
#include "backend/steps/Steps.h"

namespace hw::backend {

/// Plans and lowers the entry function. `donations[i]` is the result that may take over the buffer of argument i, or
/// -1.
StepList lowerFunction(mlir::Block &block, llvm::ArrayRef<int64_t> donations, const Target &target,
                       const FusionOptions &options);

/// The twin of an entry function for finding the first NaN: every op on its own, in program order, and after each that
/// gives floats a check. Its one result, an i32, is the number in `operations` of the first op with a result that is
/// not finite, or -1. The function is not to be run often: its loops are scalar, which makes them small.
StepList lowerDiagnosis(mlir::Block &block, const Target &target, llvm::SmallVectorImpl<mlir::Operation *> &operations);

} // namespace hw::backend
