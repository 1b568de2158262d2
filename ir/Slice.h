// What a value was computed from.
#pragma once
#include "ir/Dialects.h"
#include "llvm/ADT/SetVector.h"

namespace hw {

/// Reads from outside the program: has its value before anything runs.
bool isSource(mlir::Operation *op);

/// Cheaper to redo where it is read than to keep.
bool isCheap(mlir::Operation *op);

/// The values an op reads: its operands, then what its regions capture.
llvm::SetVector<mlir::Value> inputsOf(mlir::Operation *op);

/// The ops that `roots` are computed from, each before those that use it. Does not look into regions, nor behind the
/// values `from`, nor behind a `study.train`, which cuts the flow of derivatives, nor behind the ops that `ends` names.
llvm::SetVector<mlir::Operation *> flowInto(mlir::ValueRange roots, mlir::ValueRange from = {},
                                            llvm::function_ref<bool(mlir::Operation *)> ends = nullptr);

/// Those of them that depend on `from`.
llvm::SmallVector<mlir::Operation *> flowBetween(mlir::ValueRange from, mlir::ValueRange roots);

/// Whether any of `from` reaches `of` along the data flow (so that "no flow" can be told from a derivative that is
/// zero).
bool reaches(mlir::ValueRange from, mlir::Value of);

/// A derivative that differentiates through a value, from its own variables by way of it.
struct DerivativeThrough {
  DerivativeOpInterface derivative;
  mlir::Value value;
};
/// One that differentiates through any of `values` and that `of` has a derivative by, if there is one. What it gives
/// depends on how the value is computed, so that it is no function of the value.
std::optional<DerivativeThrough> derivativeThrough(mlir::ValueRange values, mlir::ValueRange of);

} // namespace hw
