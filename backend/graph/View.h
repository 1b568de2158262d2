// Ops that compute nothing: what they make of a value that lies in memory.
#pragma once
#include "ir/Dialects.h"

namespace hw::backend {

/// A stored value as a strided array: what a contraction reads without a copy.
struct View {
  mlir::Value base;
  int64_t offset = 0;
  llvm::SmallVector<int64_t, 4> strides;
};
/// The view that transposes, slices and reshapes (and, in a decomposed op, broadcasts) make of a stored value, or of
/// one that `force` is asked to store.
View viewOf(mlir::Value value, llvm::function_ref<void(mlir::Value)> force);

/// Row-major strides.
llvm::SmallVector<int64_t, 4> stridesOf(llvm::ArrayRef<int64_t> shape);
/// Through a chain of reshapes.
mlir::Value reshapedBase(mlir::Value value);
/// Whether two shapes differ in dimensions of size 1 only.
bool differInUnits(llvm::ArrayRef<int64_t> a, llvm::ArrayRef<int64_t> b);
/// A constant that has to lie in memory.
bool isDenseConstant(mlir::Value value);
/// Whether the op is computed point by point where it is used (elementwise, a view, a source), and so needs no memory.
bool isInlinable(mlir::Operation *op);

} // namespace hw::backend
