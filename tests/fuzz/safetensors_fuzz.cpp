#include "runtime/formats/Safetensors.h"
#include "tests/fuzz/Fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  return hw::fuzz::readAsFile(data, size, [=](const std::string &path) {
    const hw::SafetensorsFile file(path);
    uint64_t bytes = 0;
    for (const auto &entry : file.entries()) {
      hw::fuzz::require(file.find(entry.name) == &entry, "a tensor is found by its name");
      bytes += file.read(entry).byteSize();
    }
    hw::fuzz::require(bytes <= size, "the tensors lie within the file");
  });
}
