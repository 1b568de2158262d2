// Where tensors lie otherwise than row-major, because of who reads them.
#pragma once
#include "backend/Compile.h"
#include "backend/Dialect.h"
#include "runtime/Abi.h"

namespace hw::backend {

struct Target;

/// Gives the convolutions that oneDNN does (see Cost.h) to it, on channels-last activations and blocked weights, and
/// has what lies between them computed in that order too. What remains of the layouts' ops are transpositions, which
/// cost no memory of their own, and copies of weights.
void chooseLayouts(mlir::Block &block, Products products, const Target &target);

/// Channels in a block of weights: a vector of them.
int64_t weightBlock(const Target &target);

/// What the op asks of oneDNN.
hw_convolution convolutionOf(ConvolutionOp op);
/// Multiplications and additions, those with padding included.
double flopsOf(const hw_convolution &convolution);
/// E.g. "convolution 256x14x14, 32 to 48 channels, 5x5".
std::string titleOf(const hw_convolution &convolution);

} // namespace hw::backend
