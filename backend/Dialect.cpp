#include "backend/Dialect.h"

using namespace mlir;
using namespace hw;
using namespace hw::backend;

#include "backend/BackendDialect.cpp.inc"
#define GET_OP_CLASSES
#include "backend/BackendOps.cpp.inc"

void HwbDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "backend/BackendOps.cpp.inc"
      >();
}

LogicalResult WindowsOp::verify() {
  auto in = shapeOf(getOperand()), out = shapeOf(getResult());
  size_t rank = getStride().size(), leading = in.size() - rank;
  if (rank > in.size() || getDilation().size() != rank || out.size() != in.size() + rank ||
      in.take_front(leading) != out.take_front(leading))
    return emitOpError() << "cannot show " << getOperand().getType() << " as " << getResult().getType();
  for (size_t i = 0; i < rank; ++i)
    if ((out[leading + i] - 1) * getStride()[i] + (out[in.size() + i] - 1) * getDilation()[i] >= in[leading + i])
      return emitOpError() << "reaches beyond dimension " << leading + i << " of " << getOperand().getType();
  return success();
}

LogicalResult MapOp::verify() {
  Block &body = getBody().front();
  auto yielded = body.getTerminator()->getOperands();
  if (body.getNumArguments() != getOperands().size() || getMapped().size() != getOperands().size() ||
      yielded.size() != getNumResults() || getSummed().size() != getNumResults())
    return emitOpError("needs an argument of its body for each operand, and a value for each result");
  auto times = [](Type part, int64_t groups) -> Type {
    auto tensor = cast<RankedTensorType>(part);
    SmallVector<int64_t> shape(tensor.getShape());
    if (shape.empty())
      return {};
    shape[0] *= groups;
    return tensor.clone(shape);
  };
  for (auto [i, operand] : llvm::enumerate(getOperands())) {
    Type part = body.getArgument(unsigned(i)).getType();
    if (operand.getType() != (getMapped()[i] ? times(part, int64_t(getGroups())) : part))
      return emitOpError() << "cannot hand operand " << i << " to its body";
  }
  for (auto [i, result] : llvm::enumerate(getResults())) {
    Type part = yielded[i].getType();
    if (result.getType() != (getSummed()[i] ? partsOf(part, int64_t(getParts())) : times(part, int64_t(getGroups()))))
      return emitOpError() << "cannot gather result " << i << " from its body";
  }
  return success();
}

Type hw::backend::partsOf(Type type, int64_t parts) {
  auto tensor = cast<RankedTensorType>(type);
  SmallVector<int64_t> shape{parts};
  llvm::append_range(shape, tensor.getShape());
  return tensor.clone(shape);
}

Blocking::Blocking(ArrayRef<int64_t> weights, int64_t size, bool turned) : padded(weights) {
  auto blocks = [&](int64_t channels) { return (channels + size - 1) / size; };
  split = {blocks(weights[0]), size};
  order = {0};
  if (weights[1] <= 3 && !turned) { // the input channels stay together
    split.push_back(weights[1]);
  } else {
    split.append({blocks(weights[1]), size});
    order.push_back(2);
    padded[1] = split[2] * size;
  }
  padded[0] = split[0] * size;
  int64_t out = 1, in = int64_t(split.size()) - 1; // the dimensions within a block
  llvm::append_range(order, llvm::seq<int64_t>(in + 1, in + int64_t(weights.size()) - 1));
  split.append(weights.begin() + 2, weights.end());
  if (turned)
    std::swap(in, out);
  order.append({in, out});
}

void BlockOp::build(OpBuilder &builder, OperationState &state, Value operand, int64_t size, bool turned) {
  build(builder, state, typeOf(operand).clone(Blocking(shapeOf(operand), size, turned).shape()), operand, size, turned);
}

LogicalResult BlockOp::verify() {
  if (shapeOf(getOperand()).size() < 3 ||
      ArrayRef(Blocking(shapeOf(getOperand()), getSize(), getTurned()).shape()) != shapeOf(getResult()))
    return emitOpError() << "does not make " << getResult().getType() << " of " << getOperand().getType();
  return success();
}

LogicalResult UnblockOp::verify() {
  if (shapeOf(getResult()).size() < 3 ||
      ArrayRef(Blocking(shapeOf(getResult()), getSize(), false).shape()) != shapeOf(getOperand()))
    return emitOpError() << "does not make " << getResult().getType() << " of " << getOperand().getType();
  return success();
}
