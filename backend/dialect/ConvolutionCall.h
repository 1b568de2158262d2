// A convolution as oneDNN is asked for it.
#pragma once
#include "backend/dialect/Dialect.h"
#include "runtime/Abi.h"

namespace hw::backend {

/// What the op asks of oneDNN.
hw_convolution convolutionOf(ConvolutionOp op);
/// Multiplications and additions, those with padding included.
double flopsOf(const hw_convolution &convolution);
/// E.g. "convolution 256x14x14, 32 to 48 channels, 5x5".
std::string titleOf(const hw_convolution &convolution);

} // namespace hw::backend
