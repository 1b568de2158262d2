// The reference of the hw dialect: each op as plain loops over tensors that are values, written from the op's
// description in HwOps.td. Nothing here is shared with the backend, and nothing is ever overwritten; what a program
// means is what this says.
#pragma once
#include "ir/Dialects.h"
#include <vector>

namespace hw::reference {

/// Wide enough for every f64, i32 and ui64 exactly, and for a result that is better than an f64.
using Number = long double;

/// Elements in row-major order.
struct Tensor {
  mlir::RankedTensorType type;
  std::vector<Number> values;
};

/// An op's operands, which may lie anywhere.
class Operands {
public:
  Operands(llvm::ArrayRef<const Tensor *> tensors) : tensors(tensors) {}
  const Tensor &operator[](size_t i) const { return *tensors[i]; }
  size_t size() const { return tensors.size(); }

private:
  llvm::ArrayRef<const Tensor *> tensors;
};

/// What an op's results are. Floats are not rounded to the element type: see `round`.
using Rule = std::vector<Tensor> (*)(mlir::Operation *op, Operands operands);

/// The rule of an op, by its name without the dialect's ("add"); null if there is none.
Rule ruleOf(llvm::StringRef name);

/// The results of an op of hw. Throws std::runtime_error for one that has no rule (a derivative not expanded).
std::vector<Tensor> evaluate(mlir::Operation *op, llvm::ArrayRef<Tensor> operands);

/// Rounds once, to the element type.
void round(Tensor &tensor);

/// The value a tensor of this element type stores for `x`: integers wrap around; floats stay as they are.
Number wrapped(mlir::Type element, __int128 x);

} // namespace hw::reference
