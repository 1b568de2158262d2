// What may be put together from batches.
#pragma once
#include "ir/Dialects.h"

namespace hw::lang {

// How a value of a batch depends on its samples.
struct FromSamples {
  enum Kind {
    Constant, // not at all
    PerRow,   // along `axis` lie the samples, `each` entries for one: what is computed from each by itself
    Mean,     // an affine function, the same for all batches, of a mean over the samples
    Sum,      // likewise of a sum
    Mixed,    // anything else
  } kind = Constant;
  int64_t axis = 0, each = 1;
  const char *why = ""; // of Mixed
  mlir::Operation *where = nullptr;
};

// Follows the samples through the operations of a block whose arguments have them as axis 0, `samples` of them: a
// number that divides no other size.
class SampleFlow {
public:
  SampleFlow(mlir::Block &block, int64_t samples);
  FromSamples of(mlir::Value value) const { return known.lookup(value); } // of another block: Constant

private:
  void visit(mlir::Operation *op);
  FromSamples result(mlir::Operation *op);
  FromSamples elementwise(mlir::Operation *op);
  FromSamples contraction(DotGeneralOp op);
  FromSamples reshape(ReshapeOp op);
  FromSamples derivative(mlir::Operation *op, mlir::ValueRange of, mlir::ValueRange wrt, mlir::ValueRange along);
  bool hasSamples(mlir::Value value) const; // by its shape
  int64_t samples;
  llvm::DenseMap<mlir::Value, FromSamples> known;
};

} // namespace hw::lang
