// Room for arenas: got once when the program loads, never in a step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace hw {

/// Zeroed pages, aligned to 64 bytes at least and to huge pages where it is large. Pages cost nothing until they are
/// touched.
class Memory {
public:
  Memory() = default;
  /// Throws one sentence that opens with `what` where the machine has not as much.
  Memory(uint64_t bytes, const char *what);
  Memory(Memory &&other) noexcept { *this = std::move(other); }
  Memory &operator=(Memory &&other) noexcept {
    std::swap(base, other.base);
    std::swap(mapped, other.mapped);
    std::swap(start, other.start);
    return *this;
  }
  ~Memory();

  std::byte *data() const { return start; }

private:
  void *base = nullptr;
  uint64_t mapped = 0;
  std::byte *start = nullptr;
};

} // namespace hw
