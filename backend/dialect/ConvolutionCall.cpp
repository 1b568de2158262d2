#include "backend/dialect/ConvolutionCall.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace hw;
using namespace hw::backend;

hw_convolution hw::backend::convolutionOf(ConvolutionOp op) {
  hw_convolution c{};
  c.kind = int32_t(op.getKind());
  // The activations, channels-last: x, then y.
  Value x = c.kind == HW_BACKWARD_DATA ? op.getResult() : op.getFirst();
  Value y = c.kind == HW_FORWARD ? op.getResult() : op.getSecond();
  c.spatial = int32_t(op.getKernel().size());
  c.images = shapeOf(x).front();
  c.channels_in = shapeOf(x).back();
  c.channels_out = shapeOf(y).back();
  for (int32_t dim = 0; dim < c.spatial; ++dim) {
    c.input[dim] = shapeOf(x)[dim + 1];
    c.kernel[dim] = op.getKernel()[dim];
    c.output[dim] = shapeOf(y)[dim + 1];
    c.stride[dim] = op.getStride()[dim];
    c.dilation[dim] = op.getDilation()[dim];
    c.low[dim] = op.getLow()[dim];
    c.high[dim] = op.getHigh()[dim];
  }
  c.block = int32_t(op.getSize());
  c.has_bias = bool(op.getBias());
  c.activation = int32_t(op.getActivation());
  return c;
}

double hw::backend::flopsOf(const hw_convolution &c) {
  double flops = 2.0 * double(c.images) * double(c.channels_in) * double(c.channels_out);
  for (int32_t dim = 0; dim < c.spatial; ++dim)
    flops *= double(c.kernel[dim]) * double(c.output[dim]);
  return flops;
}

std::string hw::backend::titleOf(const hw_convolution &c) {
  static const char *kinds[] = {"convolution", "convolution's input gradient", "convolution's weight gradient"};
  std::string text = kinds[c.kind];
  llvm::raw_string_ostream os(text);
  auto sizes = [&](const int64_t *values) { llvm::interleave(ArrayRef(values, size_t(c.spatial)), os, "x"); };
  os << " " << c.images << "x";
  sizes(c.output);
  os << ", " << c.channels_in << " to " << c.channels_out << " channels, ";
  sizes(c.kernel);
  return text;
}
