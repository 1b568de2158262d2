// oneDNN 3, loaded when a program has matrix products or convolutions for it: programs without any start faster and run
// without the library.
#pragma once

#include "runtime/Abi.h"

#include <memory>
#include <string>

namespace hw {

/// The matrix products and convolutions of one program, ready to run: primitives made for the width in force, memory
/// objects, scratchpads; of those that run alone, a set for each thread. hw_run_matmul and hw_run_convolution are
/// served by the set that was made last, but for threads that have one of their own.
class OneDnn {
public:
  enum class Width {
    program, ///< as many threads as hw::threads()
    one      ///< for threads that call serveThisThread()
  };
  /// Loads the library and makes all that `program` lists. Throws one sentence if it is missing (with the places looked
  /// at), not version 3, or cannot do one of them.
  explicit OneDnn(const hw_program &program, Width width = Width::program);
  ~OneDnn();
  OneDnn(const OneDnn &) = delete;
  OneDnn &operator=(const OneDnn &) = delete;

  /// The set that serves this thread.
  static OneDnn &active();
  /// From now on this thread is served by this set, on this thread alone.
  void serveThisThread();

  /// See hw_run_matmul and hw_run_convolution.
  void runMatmul(int64_t index, int64_t thread, const void *a, const void *b, const void *bias, void *result);
  void runConvolution(int64_t index, int64_t thread, const void *a, const void *b, const void *bias, void *result);

  /// Whether oneDNN does convolution number `index` with its weights in a layout of its own, to and from which each
  /// call takes them.
  bool isReordered(int64_t index) const;

private:
  struct State;
  std::unique_ptr<State> state;
};

/// "3.2.0" once loaded, else empty; and the file it came from.
std::string oneDnnVersion();
std::string oneDnnPath();

} // namespace hw
