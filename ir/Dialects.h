// The hw and study dialects: the one header that code working on the IR includes.
#pragma once
#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/RegionKindInterface.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "ir/HwDialect.h.inc"
#include "ir/HwInterfaces.h.inc"
#include "ir/StudyDialect.h.inc"
#define GET_OP_CLASSES
#include "ir/HwOps.h.inc"
#define GET_OP_CLASSES
#include "ir/StudyOps.h.inc"

namespace hw {
/// Shape of a ranked tensor value.
inline llvm::ArrayRef<int64_t> shapeOf(mlir::Value value) {
  return llvm::cast<mlir::RankedTensorType>(value.getType()).getShape();
}
inline mlir::Type elementOf(mlir::Value value) {
  return llvm::cast<mlir::RankedTensorType>(value.getType()).getElementType();
}
inline mlir::RankedTensorType typeOf(mlir::Value value) { return llvm::cast<mlir::RankedTensorType>(value.getType()); }

/// How the windows of a convolution or a pooling lie along one dimension: window i begins at element i * stride - low
/// and takes `size` elements, `dilation` apart.
struct Window {
  int64_t size, stride = 1, low = 0, high = 0, dilation = 1;
  /// Windows that fit into `elements` with `low` and `high` around them.
  int64_t count(int64_t elements) const {
    int64_t room = low + elements + high - (size - 1) * dilation - 1;
    return room < 0 ? 0 : room / stride + 1;
  }
};
} // namespace hw
