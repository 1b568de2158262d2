#include "backend/dialect/Dialect.h"
#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace hw;
using namespace hw::backend;

#include "backend/BackendDialect.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "backend/BackendAttrs.cpp.inc"
#define GET_OP_CLASSES
#include "backend/BackendOps.cpp.inc"

void HwbDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "backend/BackendAttrs.cpp.inc"
      >();
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

SmallVector<int64_t> LayoutAttr::shape() const { return applyPermutation(getSplit(), getOrder()); }

/// See LayoutAttr::parts; none if the dimensions of `split` are no parts of those of `padded`.
static std::optional<SmallVector<SmallVector<int64_t>>> findParts(ArrayRef<int64_t> padded, ArrayRef<int64_t> split) {
  SmallVector<SmallVector<int64_t>> parts;
  size_t next = 0;
  for (int64_t size : padded) {
    SmallVector<int64_t> &mine = parts.emplace_back();
    int64_t product = 1;
    for (; product != size && next < split.size(); ++next) {
      mine.push_back(int64_t(next));
      product *= split[next];
    }
    if (product != size)
      return std::nullopt;
  }
  if (!llvm::all_of(split.drop_front(next), [](int64_t size) { return size == 1; }))
    return std::nullopt;
  return parts;
}

SmallVector<SmallVector<int64_t>> LayoutAttr::parts() const { return *findParts(getPadded(), getSplit()); }

LogicalResult LayoutAttr::verify(llvm::function_ref<InFlightDiagnostic()> emitError, ArrayRef<int64_t> padded,
                                 ArrayRef<int64_t> split, ArrayRef<int64_t> order) {
  if (!findParts(padded, split))
    return emitError() << "the dimensions of [" << split << "] are no parts of those of [" << padded << "]";
  if (order.size() != split.size() || !isPermutationVector(order))
    return emitError() << "[" << order << "] is no order of " << split.size() << " dimensions";
  return success();
}

/// That `layout` stores `tensor` as `stored`.
static LogicalResult verifyStored(Operation *op, LayoutAttr layout, Value tensor, Value stored) {
  auto shape = shapeOf(tensor), padded = layout.getPadded();
  bool fits = shape.size() == padded.size() && llvm::all_of(llvm::zip(shape, padded), [](auto sizes) {
                return std::get<0>(sizes) <= std::get<1>(sizes);
              });
  if (!fits || typeOf(tensor).clone(layout.shape()) != stored.getType())
    return op->emitOpError() << "does not store " << tensor.getType() << " as " << stored.getType();
  return success();
}

void ToLayoutOp::build(OpBuilder &builder, OperationState &state, Value operand, LayoutAttr layout) {
  build(builder, state, typeOf(operand).clone(layout.shape()), operand, layout);
}

LogicalResult ToLayoutOp::verify() { return verifyStored(*this, getLayout(), getOperand(), getResult()); }
LogicalResult FromLayoutOp::verify() { return verifyStored(*this, getLayout(), getResult(), getOperand()); }
