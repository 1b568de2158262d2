// The first byte is the size of the pieces in which the rest, a gzip file, is read.
#include "runtime/formats/ByteReader.h"
#include "tests/fuzz/Fuzz.h"

#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0)
    return 0;
  return hw::fuzz::readAsFile(data + 1, size - 1, [=](const std::string &path) {
    hw::ByteReader file(path);
    std::vector<uint8_t> piece(1 + data[0] * 16);
    uint64_t total = 0;
    while (size_t got = file.read(piece.data(), piece.size()))
      total += got;
    hw::fuzz::require(file.position() == total, "the position counts what was read");
    if (!file.isGzip())
      hw::fuzz::require(total == size - 1, "a plain file is read as it lies");
  });
}
