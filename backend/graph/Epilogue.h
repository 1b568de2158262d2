// What oneDNN does to a result of its own before it is stored.
#pragma once
#include "ir/Dialects.h"

namespace hw::backend {

/// product → add(broadcast bias over the last dimension) → tanh or logistic, as far as nothing else uses what is
/// between.
struct Epilogue {
  mlir::Value bias;       // a vector of n, or null
  int32_t activation = 0; // hw_activation
  mlir::Value result;
};
Epilogue matchEpilogue(mlir::Value product);
Epilogue matchEpilogue(DotGeneralOp dot);

} // namespace hw::backend
