// Arithmetic on LLVM values, scalars and vectors alike, with hw's semantics.
#pragma once
#include "backend/Target.h"
#include "backend/steps/Kernel.h"
#include "llvm/IR/IRBuilder.h"

namespace hw::backend {

using Builder = llvm::IRBuilder<>;

/// The LLVM type of `lanes` values in registers (a scalar for 1) and in memory (i1 is a byte there).
llvm::Type *registerType(llvm::LLVMContext &context, DType type, unsigned lanes);
llvm::Type *memoryType(llvm::LLVMContext &context, DType type, unsigned lanes);

/// One elementwise op. `from` is the operands' element type, `type` the result's. Functions without an instruction are
/// polynomials (f32 exp, log, tanh, logistic) or glibc's libmvec, never a scalar call: a scalar goes through a vector.
llvm::Value *emitOp(Builder &b, const Target &target, Opcode op, DType from, DType type,
                    llvm::ArrayRef<llvm::Value *> operands, uint64_t bits);

/// x + y, of floats or integers, scalars or vectors.
llvm::Value *emitAdd(Builder &b, llvm::Value *x, llvm::Value *y);

/// Philox 4x32-10: the first word, or the first two for UI64, at `counter` (i64) and `step`, with key (`key`, `site`).
llvm::Value *emitRandom(Builder &b, DType type, llvm::Value *key, uint32_t site, llvm::Value *step,
                        llvm::Value *counter);

} // namespace hw::backend
