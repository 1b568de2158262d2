// Random model files, from a seed: what the compiled program does with them is compared with the interpreter.
#pragma once
#include <cstdint>
#include <string>

namespace hw::reference {

struct Generated {
  std::string text; ///< the model file, a statement a line
  bool f64 = false; ///< to be compiled with --f64
  int threads = 1;
  std::string cpu; ///< to be compiled for; empty: this machine's
  enum { automatic, library, generated } products = automatic;
};

/// The program of a seed: loops and `every` blocks that rebind several variables, optimisers with states, trainings in
/// batches, records of old and new values. Values stay bounded, and no loop enlarges a difference: each expression's
/// bound and Lipschitz constant are known as it is written, and what a loop carries is scaled to a constant of 1.
Generated generate(uint64_t seed);

} // namespace hw::reference
