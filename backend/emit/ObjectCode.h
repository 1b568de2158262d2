// LLVM's part: a short pass pipeline (the code is vectorised and scheduled already), object and assembly.
#pragma once
#include "backend/Target.h"
#include <llvm/IR/Module.h>

namespace hw::backend {

struct ObjectOptions {
  bool wantIR = false, wantAssembly = false;
};
struct ObjectResult {
  std::string object, ir, assembly;
};
/// Optimises the module and generates code.
std::optional<ObjectResult> emitObject(llvm::Module &module, const Target &target, const ObjectOptions &options,
                                       std::string &error);

} // namespace hw::backend
