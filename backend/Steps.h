// One entry function as a list of steps over buffers: what is left to do is to generate code for each.
#pragma once
#include "backend/Contraction.h"

namespace hw::backend {

struct Buffer {
  enum Place { Argument, Result, Scratch, Constant } place;
  DType type;
  int64_t elements;
  unsigned number = 0;               // of the argument or result
  int64_t offset = 0;                // in scratch
  mlir::Value constant;              // the value of a dense constant
  int firstStep = -1, lastStep = -1; // when it is in use
  int64_t bytes() const { return elements * bytesOf(type); }
};

struct Step {
  enum Kind { Loops, Contract, External, Library, Fill, Copy, Check } kind;
  Kernel kernel;                    // Loops; Contract: the epilogue
  Product product;                  // Contract, External
  Tiling tiling;                    // Contract
  int32_t activation = 0;           // External
  mlir::Operation *op = nullptr;    // Library
  llvm::SmallVector<int, 3> inputs; // buffers; Contract: a, b; External: a, b, bias or -1
  int output = -1;                  // Fill, Copy, Library, External, Check
  uint8_t fill = 0;                 // Fill: every byte
  int32_t ordinal = 0;              // Check: what `output` becomes where inputs[0] is not finite and it is -1
  mlir::Location loc;               // of the op it is named after

  Step(Kind kind, mlir::Location loc, mlir::Operation *op = nullptr) : kind(kind), op(op), loc(loc) {}
};

struct StepList {
  std::vector<Buffer> buffers;
  std::vector<Step> steps;
  int64_t scratch = 0; // bytes
  double flops = 0, bytes = 0;
  std::string print() const;
};

/// Plans and lowers the entry function. `donations[i]` is the result that may take over the buffer of argument i, or
/// -1.
StepList lowerFunction(mlir::Block &block, llvm::ArrayRef<int64_t> donations, const Target &target,
                       const FusionOptions &options);

/// The twin of an entry function for finding the first NaN: every op on its own, in program order, and after each that
/// gives floats a check. Its one result, an i32, is the number in `operations` of the first op with a result that is
/// not finite, or -1. The function is not to be run often: its loops are scalar, which makes them small.
StepList lowerDiagnosis(mlir::Block &block, const Target &target, llvm::SmallVectorImpl<mlir::Operation *> &operations);

/// Builds the kernel that computes the roots of a unit; `bufferOf` numbers values in memory.
Kernel trace(const FusionPlan &plan, const Unit &unit, llvm::function_ref<int(mlir::Value)> bufferOf);

} // namespace hw::backend
