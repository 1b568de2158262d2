// The backend's front door: an outlined module in, an object out.
#pragma once
#include "backend/Options.h"
#include "ir/Dialects.h"
#include <optional>
#include <string>

namespace hw::backend {

struct Compiled {
  std::string object;                // ELF, exports hw_program_descriptor
  std::string plan;                  // JSON: docs/design.md
  int64_t arena = 0, scratch = 0;    // bytes
  int64_t threadScratch = 0;         // that each thread needs besides
  int64_t diagnosisScratch = 0;      // what the search for a NaN's origin needs in place of `scratch`
  std::string kernels, ir, assembly; // if asked for
};

/// Compiles a module that `study-outline` has made. Functions are modified. On failure a diagnostic was emitted at the
/// module's or op's location.
std::optional<Compiled> compileModule(mlir::ModuleOp module, const CompileOptions &options);

} // namespace hw::backend
