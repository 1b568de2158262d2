// Matrix products, and the register tiles that they are generated in.
#pragma once
#include "backend/steps/Kernel.h"
#include "ir/Dialects.h"

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

} // namespace hw::backend
