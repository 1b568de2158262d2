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
