#include "runtime/Memory.h"

#include "runtime/formats/Error.h"

#include <sys/mman.h>
#include <unistd.h>

namespace hw {

constexpr uint64_t hugePage = 2 << 20;

Memory::Memory(uint64_t bytes, const char *what) {
  if (bytes == 0)
    bytes = 64; // an address to hand out
  const uint64_t machine =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  if (bytes > machine)
    fail("{} needs {}, but this machine has {} of memory: take a smaller batch or network", what, humanBytes(bytes),
         humanBytes(machine));
  const bool large = bytes >= 2 * hugePage;
  const uint64_t size = bytes + (large ? hugePage : 0);
  void *pages = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED)
    fail("{} needs {}, which the system refuses: close other programs, or take a smaller batch or network", what,
         humanBytes(bytes));
  base = pages;
  mapped = size;
  auto address = reinterpret_cast<uintptr_t>(pages);
  if (large) {
    address = (address + hugePage - 1) / hugePage * hugePage;
    madvise(reinterpret_cast<void *>(address), bytes / hugePage * hugePage, MADV_HUGEPAGE);
  }
  start = reinterpret_cast<std::byte *>(address);
}

Memory::~Memory() {
  if (base)
    munmap(base, mapped);
}

} // namespace hw
