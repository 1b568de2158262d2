// oneDNN 3, loaded when a program has matrix products for it: programs without any start faster and run without the
// library.
#pragma once

#include "runtime/Abi.h"

#include <memory>
#include <string>

namespace hw {

/// The matrix products of one program, ready to run: primitives made for the width in force, memory objects, one
/// scratchpad. hw_run_matmul serves the set that was made last.
class OneDnn {
public:
  /// Loads the library and makes every product. Throws one sentence if it is missing (with the places looked at), not
  /// version 3, or cannot do a product.
  OneDnn(const hw_matmul *matmuls, uint64_t count);
  ~OneDnn();
  OneDnn(const OneDnn &) = delete;
  OneDnn &operator=(const OneDnn &) = delete;

  void run(int64_t index, const void *a, const void *b, const void *bias, void *c);

private:
  struct State;
  std::unique_ptr<State> state;
};

/// "3.2.0" once loaded, else empty; and the file it came from.
std::string oneDnnVersion();
std::string oneDnnPath();

} // namespace hw
