// The study dialect: registration and verification.
#include "ir/Dialects.h"

using namespace mlir;
using namespace hw::study;

#include "ir/StudyDialect.cpp.inc"
#define GET_OP_CLASSES
#include "ir/StudyOps.cpp.inc"

void StudyDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "ir/StudyOps.cpp.inc"
      >();
}

namespace {

/// Checks that a region's block takes `arguments` leading values of any type and then `carried`, and yields `yielded`.
LogicalResult checkRegion(Operation *op, Region &region, llvm::StringRef name, unsigned leading, TypeRange carried,
                          unsigned trailing) {
  Block &block = region.front();
  if (block.getNumArguments() != leading + carried.size())
    return op->emitOpError() << "region '" << name << "' takes " << block.getNumArguments() << " arguments, expected "
                             << leading + carried.size();
  auto yield = llvm::dyn_cast<YieldOp>(block.getTerminator());
  if (!yield)
    return op->emitOpError() << "region '" << name << "' must end in study.yield";
  if (yield.getNumOperands() != carried.size() + trailing)
    return op->emitOpError() << "region '" << name << "' yields " << yield.getNumOperands() << " values, expected "
                             << carried.size() + trailing;
  for (auto [index, type] : llvm::enumerate(carried)) {
    if (block.getArgument(leading + index).getType() != type)
      return op->emitOpError() << "region '" << name << "': carried value " << index << " is "
                               << block.getArgument(leading + index).getType() << " inside, " << type << " outside";
    if (yield.getOperand(index).getType() != type)
      return op->emitOpError() << "region '" << name << "' yields " << yield.getOperand(index).getType()
                               << " as carried value " << index << ", expected " << type;
  }
  return success();
}

} // namespace

void YieldOp::build(OpBuilder &, OperationState &) {}

LogicalResult ForOp::verify() {
  if (TypeRange(getInits()) != getResultTypes())
    return emitOpError("results must have the types of the carried values");
  return checkRegion(*this, getBody(), "body", 1, getResultTypes(), 0);
}

LogicalResult TogetherOp::verify() {
  llvm::SmallVector<Type> types;
  for (Region &branch : getBranches()) {
    auto yield = llvm::dyn_cast<YieldOp>(branch.front().getTerminator());
    if (!yield || branch.front().getNumArguments())
      return emitOpError("branches take nothing and end in study.yield");
    llvm::append_range(types, yield.getOperandTypes());
  }
  if (TypeRange(types) != getResultTypes())
    return emitOpError("results must have the types of what the branches yield");
  return success();
}

LogicalResult TrainOp::verify() {
  if (TypeRange(getInits()) != getResultTypes())
    return emitOpError("results must have the types of the carried values");
  if (getRows() < 1 || getBatch() > getRows())
    return emitOpError() << "batch of " << getBatch() << " rows out of " << getRows();
  if (getUnit() != "epochs" && getUnit() != "steps")
    return emitOpError("unit must be epochs or steps");
  if (getCarriedNames().size() != getInits().size() || getCarriedRoles().size() != getInits().size())
    return emitOpError("needs a name and a role for each carried value");
  if (getEveryPeriod().size() != getEvery().size() || getEveryUnit().size() != getEvery().size())
    return emitOpError("needs a period and a unit for each every region");
  bool needsTail = getBatch() && getRows() % getBatch();
  if (needsTail != !getTail().empty())
    return emitOpError("has a tail region exactly if batches do not divide the rows");
  if (failed(checkRegion(*this, getStep(), "step", firstCarried(getStep()), getResultTypes(), 1)) ||
      (needsTail && failed(checkRegion(*this, getTail(), "tail", firstCarried(getTail()), getResultTypes(), 1))))
    return failure();
  for (Region &region : getEvery())
    if (failed(checkRegion(*this, region, "every", firstCarried(region), getResultTypes(), 0)))
      return failure();
  return success();
}

LogicalResult BatchesOp::verify() {
  if (getRows() < 1 || getBatch() < 1 || getBatch() > getRows())
    return emitOpError() << "batch of " << getBatch() << " rows out of " << getRows();
  if (getCombine().size() != getNumResults())
    return emitOpError("needs a way to combine for each result");
  if ((getRows() % getBatch() != 0) != !getTail().empty())
    return emitOpError("has a tail region exactly if batches do not divide the rows");
  return success();
}

LogicalResult BenchOp::verify() {
  if (!llvm::equal(getBody().getArgumentTypes(), getInputs().getTypes()))
    return emitOpError() << "has a body whose arguments are not of the inputs' types";
  return success();
}

void EighOp::build(OpBuilder &builder, OperationState &state, Value matrix) {
  auto type = llvm::cast<RankedTensorType>(matrix.getType());
  build(builder, state, RankedTensorType::get({type.getDimSize(0)}, type.getElementType()), type, matrix);
}

LogicalResult EighOp::verify() {
  auto matrix = llvm::cast<RankedTensorType>(getMatrix().getType());
  auto values = llvm::cast<RankedTensorType>(getValues().getType());
  if (matrix.getRank() != 2 || matrix.getDimSize(0) != matrix.getDimSize(1) || getVectors().getType() != matrix ||
      values != RankedTensorType::get({matrix.getDimSize(0)}, matrix.getElementType()))
    return emitOpError() << "needs a square matrix, got " << matrix << " -> " << values << ", "
                         << getVectors().getType();
  return success();
}
