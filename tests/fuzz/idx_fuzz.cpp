#include "runtime/formats/Idx.h"
#include "tests/fuzz/Fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  return hw::fuzz::readAsFile(data, size, [](const std::string &path) {
    const hw::TensorHeader header = hw::readIdxHeader(path);
    const hw::Tensor tensor = hw::readIdx(path);
    hw::fuzz::require(hw::TensorHeader{tensor.dtype(), tensor.shape()} == header, "the data is what its header says");
  });
}
