// What the one who compiles may choose.
#pragma once
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

} // namespace hw::backend
