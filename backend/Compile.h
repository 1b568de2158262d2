// The backend's front door: an outlined module in, an object out.
#pragma once
#include "ir/Dialects.h"
#include <optional>
#include <string>

namespace hw::backend {

/// Who does matrix products: whom the cost function chooses (it knows sizes only), or always the same, to see what a
/// choice costs. What oneDNN cannot do (f64) is generated under `Library` too.
enum class Products { Automatic, Library, Generated };

struct CompileOptions {
  std::string cpu;  // an LLVM CPU name; empty: this machine's
  std::string name; // of the program, for the plan
  std::string precision = "f32";
  bool quick = false;
  Products products = Products::Automatic;
  bool marks = false;   // calls of hw_mark around every step: for `hwc bench` and traces
  bool diagnose = true; // twins of the training steps that find the first NaN
  /// Which stages to give as text besides: for `hwc emit`.
  bool wantKernels = false, wantIR = false, wantAssembly = false;
};

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
