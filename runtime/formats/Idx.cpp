#include "runtime/formats/Idx.h"
#include "runtime/formats/ByteReader.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>

namespace hw {

namespace {

struct IdxHeader {
  TensorHeader tensor{DType::u8, {}};
  size_t fileWidth = 1; // bytes of an element in the file
};

std::string describe(const TensorHeader &header) {
  return fmt::format("{} {}", dtypeName(header.dtype), shapeString(header.shape));
}

IdxHeader readHeader(ByteReader &file) {
  unsigned char magic[4];
  size_t got = file.read(magic, sizeof magic);
  if (got < sizeof magic || magic[0] != 0 || magic[1] != 0)
    fail("{} is not an IDX file: it does not start with two zero bytes, a type and a rank; name a file in MNIST's "
         "format",
         file.place());
  IdxHeader header;
  switch (magic[2]) {
  case 0x08:
    header = {{DType::u8, {}}, 1};
    break;
  case 0x09:
    header = {{DType::i8, {}}, 1};
    break;
  case 0x0B:
    header = {{DType::i32, {}}, 2};
    break;
  case 0x0C:
    header = {{DType::i32, {}}, 4};
    break;
  case 0x0D:
    header = {{DType::f32, {}}, 4};
    break;
  case 0x0E:
    header = {{DType::f64, {}}, 8};
    break;
  default:
    fail("{} has the IDX element type 0x{:02X}, which is none of 0x08, 0x09, 0x0B to 0x0E: it is damaged or in another "
         "format; name a file in MNIST's format",
         file.place(), magic[2]);
  }
  if (magic[3] == 0 || magic[3] > 16)
    fail("{} claims {} axes where an IDX file has 1 to 16: its header is damaged; copy the file again", file.place(),
         magic[3]);
  for (unsigned axis = 0; axis < magic[3]; ++axis) {
    unsigned char raw[4];
    file.readExactly(raw, 4, "an extent in its header");
    header.tensor.shape.push_back(int64_t{raw[0]} << 24 | raw[1] << 16 | raw[2] << 8 | raw[3]);
  }
  checkedByteSize(header.tensor.dtype, header.tensor.shape, file.place());
  uint64_t bytes = static_cast<uint64_t>(*elementCount(header.tensor.shape)) * header.fileWidth;
  file.expectRemaining(bytes, describe(header.tensor));
  return header;
}

template <class T> T swapped(T value) {
  if constexpr (sizeof(T) == 2)
    return __builtin_bswap16(value);
  else if constexpr (sizeof(T) == 4)
    return __builtin_bswap32(value);
  else
    return __builtin_bswap64(value);
}

template <class Word> void swapInPlace(std::byte *data, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    Word word;
    std::memcpy(&word, data + i * sizeof word, sizeof word);
    word = swapped(word);
    std::memcpy(data + i * sizeof word, &word, sizeof word);
  }
}

/// The one of MNIST's four files, under any of the names it goes by.
std::string findFile(const std::string &folder, const std::string &set, const std::string &part, const char *what,
                     const char *rank, const std::string &fix) {
  for (const char *separator : {"-", "."})
    for (const char *suffix : {"", ".gz"}) {
      std::filesystem::path path =
          std::filesystem::path(folder) / fmt::format("{}-{}{}{}-ubyte{}", part, what, separator, rank, suffix);
      std::error_code ignored;
      if (std::filesystem::exists(path, ignored))
        return path.string();
    }
  fail("{} finds neither {}-{}-{}-ubyte nor {}-{}-{}-ubyte.gz in {}; {}", set, part, what, rank, part, what, rank,
       inQuotes(folder), fix);
}

ImagePart findPart(const std::string &folder, const std::string &set, const std::string &part, const std::string &fix) {
  ImagePart result;
  result.images = findFile(folder, set, part, "images", "idx3", fix);
  result.labels = findFile(folder, set, part, "labels", "idx1", fix);
  TensorHeader images = readIdxHeader(result.images), labels = readIdxHeader(result.labels);
  if (images.dtype != DType::u8 || images.shape.size() != 3)
    fail("{} holds {}, not images as u8 [N, height, width]; put MNIST's own file there", inQuotes(result.images),
         describe(images));
  if (labels.dtype != DType::u8 || labels.shape.size() != 1)
    fail("{} holds {}, not labels as u8 [N]; put MNIST's own file there", inQuotes(result.labels), describe(labels));
  if (images.shape[0] != labels.shape[0])
    fail("{} holds {} images but {} holds {} labels; take both files from one data set", inQuotes(result.images),
         images.shape[0], inQuotes(result.labels), labels.shape[0]);
  if (*elementCount(images.shape) == 0)
    fail("{} holds no pixels, its shape is {}; put MNIST's own file there", inQuotes(result.images),
         shapeString(images.shape));
  result.count = images.shape[0];
  result.height = images.shape[1];
  result.width = images.shape[2];
  return result;
}

ImageSet findSet(const std::string &folder, const std::string &name, const std::string &fix) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder, ignored))
    fail("{} finds no folder {}; {}", name, inQuotes(folder), fix);
  ImageSet set;
  set.name = name;
  set.train = findPart(folder, name, "train", fix);
  set.test = findPart(folder, name, "t10k", fix);
  if (set.train.height != set.test.height || set.train.width != set.test.width)
    fail("{} has training images of {}x{} and test images of {}x{} pixels; take all four files from one data set", name,
         set.train.height, set.train.width, set.test.height, set.test.width);
  return set;
}

} // namespace

TensorHeader readIdxHeader(const std::string &path) {
  ByteReader file(path);
  return readHeader(file).tensor;
}

Tensor readIdx(const std::string &path) {
  ByteReader file(path);
  IdxHeader header = readHeader(file);
  Tensor tensor(header.tensor.dtype, header.tensor.shape, file.place());
  size_t bytes = static_cast<size_t>(tensor.size()) * header.fileWidth;
  file.readExactly(tensor.data(), bytes, "its data");
  file.expectEnd(describe(header.tensor));
  if (header.fileWidth == 4)
    swapInPlace<uint32_t>(tensor.data(), tensor.size());
  else if (header.fileWidth == 8)
    swapInPlace<uint64_t>(tensor.data(), tensor.size());
  else if (header.fileWidth == 2) // widened from the end, where the source is still unread
    for (int64_t i = tensor.size(); i-- > 0;) {
      uint16_t word;
      std::memcpy(&word, tensor.data() + 2 * i, 2);
      auto value = static_cast<int32_t>(static_cast<int16_t>(swapped(word)));
      std::memcpy(tensor.data() + 4 * i, &value, 4);
    }
  return tensor;
}

ImageSet mnist(const std::string &folder) {
  return findSet(folder, fmt::format("mnist({})", inQuotes(folder)),
                 "put MNIST's four files there or name the folder that has them");
}

ImageSet fashionMnist() {
  const char *named = std::getenv("HW_FASHION_MNIST");
  if (named && *named)
    return findSet(named, "fashion_mnist()",
                   "correct the environment variable HW_FASHION_MNIST, which names that folder");
  return findSet(
      "/usr/share/datasets/fashion-mnist", "fashion_mnist()",
      "install Debian's package with 'apt install dataset-fashion-mnist', or name a folder with the four files in "
      "the environment variable HW_FASHION_MNIST");
}

Tensor readImages(const ImagePart &part) {
  Tensor images = readIdx(part.images);
  if (images.dtype() != DType::u8 || images.shape() != Shape{part.count, part.height, part.width})
    fail("{} changed while it was in use: it now holds {}; start again", inQuotes(part.images),
         describe({images.dtype(), images.shape()}));
  return images;
}

Tensor readLabels(const ImagePart &part) {
  Tensor labels = readIdx(part.labels);
  if (labels.dtype() != DType::u8 || labels.shape() != Shape{part.count})
    fail("{} changed while it was in use: it now holds {}; start again", inQuotes(part.labels),
         describe({labels.dtype(), labels.shape()}));
  const uint8_t *begin = labels.as<uint8_t>(), *end = begin + labels.size();
  const uint8_t *bad = std::find_if(begin, end, [](uint8_t label) { return label > 9; });
  if (bad != end)
    fail("{} has the label {} for image {}, but the ten classes are 0 to 9; correct the file", inQuotes(part.labels),
         *bad, bad - begin);
  return labels;
}

} // namespace hw
