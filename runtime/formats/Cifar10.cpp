#include "runtime/formats/Cifar10.h"
#include "runtime/formats/ByteReader.h"

#include <cstring>
#include <filesystem>
#include <functional>

namespace hw {

namespace {

constexpr int64_t pixels = 3 * 32 * 32;
constexpr int64_t record = 1 + pixels;

constexpr const char *binaryVersion = "take CIFAR-10's binary version, data_batch_1.bin to data_batch_5.bin and "
                                      "test_batch.bin";

/// The records of a file, of which the format says no more than their length.
int64_t recordsOf(const ByteReader &file) {
  if (file.isGzip())
    fail("{} is compressed, and CIFAR-10's files are read as they lie: unpack it with gunzip, or an archive with "
         "tar xzf",
         file.place());
  const uint64_t bytes = file.fileSize();
  if (bytes == 0)
    fail("{} is empty; copy the file again", file.place());
  if (bytes % record != 0)
    fail("{} has {} bytes, which is not a whole number of CIFAR-10's records of {}: it is truncated or in another "
         "format; copy the file again, or {}",
         file.place(), bytes, record, binaryVersion);
  return static_cast<int64_t>(bytes / record);
}

void append(Cifar10Part &part, const std::string &path) {
  const int64_t count = recordsOf(ByteReader(path));
  part.files.push_back({path, count});
  part.count += count;
}

/// Hands every record to `take` with its number in the part.
void eachRecord(const Cifar10Part &part, const std::function<void(int64_t, const uint8_t *)> &take) {
  std::vector<uint8_t> block(64 * record);
  int64_t number = 0;
  for (const auto &[path, count] : part.files) {
    ByteReader file(path);
    if (const int64_t now = recordsOf(file); now != count)
      fail("{} changed while it was in use: it had {} records and now has {}; start again", file.place(), count, now);
    for (int64_t done = 0; done < count;) {
      const int64_t records = std::min<int64_t>(64, count - done);
      file.readExactly(block.data(), records * record, "its records");
      for (int64_t i = 0; i < records; ++i)
        take(number++, &block[i * record]);
      done += records;
    }
  }
}

} // namespace

Cifar10Set cifar10(const std::string &folder) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored))
    fail("cifar10({0}) finds no folder {0}; {1}, and name the folder that has them", inQuotes(folder), binaryVersion);
  auto add = [&](Cifar10Part &part, const std::string &name) {
    const fs::path path = fs::path(folder) / name;
    if (!fs::exists(path, ignored))
      fail("cifar10({0}) finds no {1} in {0}; {2}, and name the folder that has them", inQuotes(folder), name,
           binaryVersion);
    append(part, path.string());
  };
  Cifar10Set set;
  for (int batch = 1; batch <= 5; ++batch)
    add(set.train, fmt::format("data_batch_{}.bin", batch));
  add(set.test, "test_batch.bin");
  return set;
}

Cifar10Part cifar10File(const std::string &path) {
  Cifar10Part part;
  append(part, path);
  return part;
}

Tensor readImages(const Cifar10Part &part) {
  Tensor images(DType::u8, {part.count, 3, 32, 32}, inQuotes(part.files.front().path));
  eachRecord(part, [&](int64_t number, const uint8_t *bytes) {
    std::memcpy(images.data() + number * pixels, bytes + 1, pixels);
  });
  return images;
}

Tensor readLabels(const Cifar10Part &part) {
  Tensor labels(DType::u8, {part.count}, inQuotes(part.files.front().path));
  eachRecord(part, [&](int64_t number, const uint8_t *bytes) { labels.as<uint8_t>()[number] = bytes[0]; });
  // Told by file: that is what a person can look at.
  int64_t at = 0;
  for (const auto &[path, count] : part.files)
    for (int64_t i = 0; i < count; ++i, ++at)
      if (const int label = labels.as<uint8_t>()[at]; label > 9)
        fail("{} has the label {} for image {}, but the ten classes are 0 to 9; it is damaged or in another format: {}",
             inQuotes(path), label, i, binaryVersion);
  return labels;
}

} // namespace hw
