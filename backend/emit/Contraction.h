// Matrix products: the generated ones.
#pragma once
#include "backend/emit/KernelEmitter.h"
#include "backend/steps/Product.h"

namespace hw::backend {

/// Emits `void name(ptr frame, i64 low, i64 high)`; the frame's last two addresses are the operands'. Where the
/// epilogue's schedule accumulates, the product is added to what is in memory; sums over rows always are.
llvm::Function *emitContraction(llvm::Module &module, const Target &target, const Product &product,
                                const Kernel &epilogue, const Tiling &tiling, llvm::StringRef name);

} // namespace hw::backend
