// Matrix products: which way they are done, and the generated one.
#pragma once
#include "backend/emit/KernelEmitter.h"
#include "backend/steps/Fusion.h"

namespace hw::backend {

/// c[i, r, s] = sum over t of a[i, r, t] b[i, t, s]; strides in elements of (batch, row, column), 0 where there is no
/// such dimension.
struct Product {
  DType type = DType::F32;
  int64_t batch = 1, m = 1, n = 1, k = 1;
  int64_t aStride[3] = {}, bStride[3] = {};
  int64_t aOffset = 0, bOffset = 0;
  mlir::Value a, b;                        // what is in memory
  int batchDim = -1, mDim = -1, nDim = -1; // of the result
};

/// The product that a prepared dot_general (at most one dimension of each role) is.
Product productOf(DotGeneralOp dot);

/// product → add(broadcast bias over the last dimension) → tanh or logistic, as far as nothing else uses what is
/// between.
struct ExternalPattern {
  mlir::Value bias;       // a vector of n, or null
  int32_t activation = 0; // hw_activation
  mlir::Value result;
};
ExternalPattern matchExternal(mlir::Value product);
ExternalPattern matchExternal(DotGeneralOp dot);

/// Rewrites of an entry function as a whole: masks `x > 0` of values that are also rectified read the rectified value,
/// so that x need not be kept; pooling's masks and sums are taken at the pooled size; layouts are chosen.
void prepare(mlir::Block &block, Products products, const Target &target);
/// Then, of the function and of what became the body of a map: convolutions and pooling that no library does become
/// loops, and every dot_general gets at most one batch, free and contracted dimension a side and operands that the
/// chosen way can read.
void prepareLoops(mlir::Block &block, Products products);

/// Whether all of the value is a constant 0.0 (or -0.0).
bool isZero(mlir::Value value);
/// One number in all of `value`: that number as a tensor of this shape; else null.
mlir::Value uniform(mlir::OpBuilder &builder, mlir::Value value, llvm::ArrayRef<int64_t> shape);

/// Erases ops without effect whose results no one uses.
void eraseDead(mlir::Block &block);

/// The loops that may run over a part of their range only.
enum class Role : uint8_t { None, Batch, Rows, Columns, Contracted };
const char *nameOf(Role role);

/// A register tile: `rows` x `vectors` accumulators of `lanes` values each.
struct Tiling {
  unsigned rows = 1, vectors = 1, lanes = 1;
  bool columnsOuter = true; // a panel of b stays in the first-level cache while the rows pass by
  Role range = Role::None;  // which loop the caller gives the bounds of: rows in multiples of `rows`, columns of a tile
  int64_t longest = 0;      // of the ranges, where they are summed over
  /// Of multiply-adds, one after the other, in a sum. A block ends with as many additions as there are accumulators.
  static constexpr int64_t longestChain = 1024;
  int64_t columns() const { return int64_t(vectors) * lanes; }
  std::string print() const;
};

/// Emits `void name(ptr frame, i64 low, i64 high)`; the frame's last two addresses are the operands'. Where the
/// epilogue's schedule accumulates, the product is added to what is in memory; sums over rows always are.
llvm::Function *emitContraction(llvm::Module &module, const Target &target, const Product &product,
                                const Kernel &epilogue, const Tiling &tiling, llvm::StringRef name);

} // namespace hw::backend
