// Steps to LLVM IR: the entry functions of a program, and its descriptor.
#pragma once
#include "backend/Target.h"
#include "backend/dialect/Dialect.h"
#include "backend/steps/Steps.h"
#include "runtime/Abi.h"
#include <llvm/IR/Module.h>
#include <map>

namespace hw::backend {

/// Gathers the entry functions of a program in one LLVM module.
class ProgramEmitter {
public:
  /// `marks`: calls of hw_mark around every step.
  ProgramEmitter(llvm::LLVMContext &context, const Target &target, bool marks);

  struct Entry {
    std::string name;
    uint64_t scratch, threadScratch;
    double flops, bytes;
    struct Mark {
      std::string name, location;
      double flops, bytes;
    };
    std::vector<Mark> steps;
    llvm::Function *function; ///< names are for people: two entries may share one, and LLVM then renames the second
  };
  /// Emits `void name(ptr args, ptr scratch)`. `isRare`: it may be slow, if only it costs little to compile; such
  /// functions come last, so that no other one shares their kernels.
  void addFunction(llvm::StringRef name, const StepList &list, bool isRare = false);
  /// Emits `hw_program_descriptor`.
  void finish(llvm::StringRef plan);

  llvm::Module &getModule() { return *module; }
  std::unique_ptr<llvm::Module> takeModule() { return std::move(module); }
  const std::vector<Entry> &getEntries() const { return entries; }

private:
  class FunctionEmitter;
  llvm::Function *kernelFor(const Stage &stage, llvm::StringRef name);
  /// Numbers in the descriptor; `alone` as there.
  unsigned matmulFor(const Step &step, bool alone);
  unsigned convolutionFor(ConvolutionOp op, bool alone);
  llvm::Function *checkFunction(DType type);
  llvm::Constant *constantData(mlir::Value value);

  const Target &target;
  bool marks;
  std::unique_ptr<llvm::Module> module;
  std::vector<Entry> entries;
  std::vector<hw_matmul> matmuls;
  std::vector<hw_convolution> convolutions;
  std::map<std::string, llvm::Function *> kernels; // by what they do: layers of equal shape share code
};

} // namespace hw::backend
