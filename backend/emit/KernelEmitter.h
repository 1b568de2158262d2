// Kernels to LLVM IR.
#pragma once
#include "backend/emit/Point.h"

namespace hw::backend {

/// Emits `void name(ptr frame, i64 low, i64 high)`: the scheduled kernel, from `low` to `high` along its range
/// dimension. `frame` is an array of the buffers' addresses.
llvm::Function *emitKernel(llvm::Module &module, const Target &target, const Kernel &kernel, llvm::StringRef name);

/// An internal function of that type, with the target's attributes, and a builder at its start; FP contraction is on.
llvm::Function *createTask(llvm::Module &module, const Target &target, llvm::StringRef name, Builder &b);
void setTargetAttributes(llvm::Function &function, const Target &target);
/// The addresses in `frame`.
llvm::SmallVector<llvm::Value *, 8> loadFrame(Builder &b, llvm::Value *frame, size_t count);

} // namespace hw::backend
