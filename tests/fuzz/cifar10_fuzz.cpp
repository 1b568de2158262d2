#include "runtime/formats/Cifar10.h"
#include "tests/fuzz/Fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  return hw::fuzz::readAsFile(data, size, [](const std::string &path) {
    const hw::Cifar10Part part = hw::cifar10File(path);
    hw::fuzz::require(hw::readImages(part).shape() == hw::Shape{part.count, 3, 32, 32}, "an image a record");
    const hw::Tensor labels = hw::readLabels(part);
    for (int64_t i = 0; i < part.count; ++i)
      hw::fuzz::require(labels.as<uint8_t>()[i] < 10, "labels are in range");
  });
}
