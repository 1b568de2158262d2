// The state of a run, as text: in a file a checksum guards it, which no fuzzer would get past.
#include "runtime/Checkpoint.h"
#include "tests/fuzz/Fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const std::string text(reinterpret_cast<const char *>(data), size);
  return hw::fuzz::count([&] {
    const auto state = hw::runtime::readCheckpointState(text, "the checkpoint 'x'");
    const std::string written = hw::runtime::writeCheckpointState(state);
    hw::fuzz::require(hw::runtime::writeCheckpointState(hw::runtime::readCheckpointState(written, "'x'")) == written,
                      "what is written reads back");
  });
}
