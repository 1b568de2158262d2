// Where tensors lie otherwise than row-major, because of who reads them.
#pragma once
#include "backend/Options.h"
#include "backend/dialect/Dialect.h"

namespace hw::backend {

struct Target;

/// Gives the convolutions that oneDNN does (see Cost.h) to it, on channels-last activations and blocked weights, and
/// has what lies between them computed in that order too. What remains of the layouts' ops are transpositions, which
/// cost no memory of their own, and copies of weights.
void chooseLayouts(mlir::Block &block, Products products, const Target &target);

/// Channels in a block of weights: a vector of them.
int64_t weightBlock(const Target &target);

/// Weights [O, I, K...] of a convolution in blocks of B = `size` channels, as oneDNN reads them:
///   1. for I <= 3 and not `turned`: [O / B, K..., I, B of O];
///   2. else [O / B, I / B, K..., B of I, B of O], or, `turned`, [O / B, I / B, K..., B of O, B of I].
/// A convolution and the gradient in its weights share the first; the gradient in its input wants them turned.
LayoutAttr blockLayout(mlir::MLIRContext *context, llvm::ArrayRef<int64_t> weights, int64_t size, bool turned);

/// Weights whose dimension `dim` belongs to activations [N, C, S...] flattened to [N, C S...], for activations that lie
/// in the order `permutation` (the old dimension of each new one, the first in its place): [.., S..., C, ..].
LayoutAttr flatLayout(mlir::MLIRContext *context, llvm::ArrayRef<int64_t> weights, int64_t dim,
                      llvm::ArrayRef<int64_t> activations, llvm::ArrayRef<int64_t> permutation);
/// From [N, C, S...] to [N, S..., C]: the old dimension of each new one.
llvm::SmallVector<int64_t> channelsLast(int64_t rank);
/// The activations [N, C, S...] of which operand `side` (0 or 1) of a product of matrices is the flattened form
/// [N, C S...]; null if it is something else.
mlir::Value flattenedIn(DotGeneralOp dot, unsigned side);

} // namespace hw::backend
