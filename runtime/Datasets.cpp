// Data sets: from files to slots, checked against what the program was compiled for.
#include "runtime/Study.h"
#include "runtime/formats/Cifar10.h"
#include "runtime/formats/Csv.h"
#include "runtime/formats/Idx.h"
#include "runtime/formats/Npy.h"
#include "runtime/formats/Safetensors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

namespace hw::runtime {
namespace {

/// `shape` without extents of 1: a column is [N] to a file and may be [N, 1] to a program.
Shape squeezed(Shape shape) {
  shape.erase(std::remove(shape.begin(), shape.end(), 1), shape.end());
  return shape;
}

std::string pathOf(const DatasetNode &node, const std::string &folder) {
  return node.path.starts_with('/') || folder.empty() ? node.path : folder + "/" + node.path;
}

std::string placeOf(const DatasetNode &node, const std::string &folder) {
  std::string place = node.type == "fashion_mnist" ? "fashion_mnist()" : inQuotes(pathOf(node, folder));
  if (!node.part.empty())
    place += fmt::format(" ({})", node.part);
  return place;
}

void checkHeader(const DatasetNode &node, const std::string &folder, DType type, const Shape &shape, bool anyType) {
  const Slot &slot = *node.slot;
  // Whole numbers may be widened: NumPy's int64 labels, say, which are range checked below.
  const bool isFloat = type == DType::f32 || type == DType::f64;
  const bool fits = anyType || (isFloat ? fileType(slot.type) == type : !slot.isFloat());
  if (!fits || squeezed(shape) != squeezed(slot.shape))
    fail("{}the program was compiled for {} of {}, but {} has {} of {}: build it again with this file, or give the "
         "folder of the right one with --data",
         node.where.empty() ? "" : node.where + ": ", typeName(slot.type), shapeString(slot.shape),
         placeOf(node, folder), dtypeName(type), shapeString(shape));
}

template <class T> void convert(const DatasetNode &node, const std::string &folder, const T *from) {
  Slot &slot = *node.slot;
  const double low = slot.type == HW_I8 ? -128 : slot.type == HW_I32 ? -2147483648.0 : 0;
  const double high = slot.type == HW_I1     ? 1
                      : slot.type == HW_I8   ? 127
                      : slot.type == HW_UI8  ? 255
                      : slot.type == HW_I32  ? 2147483647.0
                      : slot.type == HW_UI32 ? 4294967295.0
                                             : 9007199254740992.0;
  for (int64_t i = 0; i < slot.count; ++i) {
    const auto value = static_cast<double>(from[i]);
    if (!slot.isFloat() && !(value >= low && value <= high && value == std::floor(value)))
      fail("{}: element {} is {}, which {} cannot hold", placeOf(node, folder), i, value, typeName(slot.type));
    slot.set(value, i);
  }
}

void checkLabels(const DatasetNode &node, const std::string &folder) {
  if (node.classes <= 0)
    return;
  for (int64_t i = 0; i < node.slot->count; ++i)
    if (const double label = node.slot->at(i); !(label >= 0 && label < static_cast<double>(node.classes)))
      fail("{}: label {} of element {} is not in 0..{}: check the file, or build the program for more classes",
           placeOf(node, folder), label, i, node.classes - 1);
}

const std::vector<double> &csvColumn(const DatasetNode &node, const std::string &folder, CsvCache &cache) {
  const std::string path = pathOf(node, folder);
  auto &table = cache[path];
  if (!table)
    table = std::make_shared<CsvTable>(readCsv(path));
  for (size_t i = 0; i < table->names.size(); ++i)
    if (table->names[i] == node.part)
      return table->columns[i];
  fail("{} has no column {}, which the program was compiled for: build it again with this file", inQuotes(path),
       inQuotes(node.part));
}

/// What a file holds and how to read it.
struct Source {
  TensorHeader header;
  std::function<Tensor()> read;
};

/// Images or labels of a set's half, "train.images", or of a single file, "images".
Source mnistSource(const ImageSet &set, const std::string &part) {
  const ImagePart half = part.starts_with("train") ? set.train : set.test;
  if (part.ends_with("images"))
    return {{DType::u8, {half.count, half.height, half.width}}, [half] { return readImages(half); }};
  return {{DType::u8, {half.count}}, [half] { return readLabels(half); }};
}

Source cifar10Source(const std::string &path, const std::string &part) {
  Cifar10Part images;
  if (part.find('.') == std::string::npos)
    images = cifar10File(path);
  else
    images = part.starts_with("train") ? cifar10(path).train : cifar10(path).test;
  if (part.ends_with("images"))
    return {{DType::u8, {images.count, 3, 32, 32}}, [images] { return readImages(images); }};
  return {{DType::u8, {images.count}}, [images] { return readLabels(images); }};
}

Source safetensorsSource(const std::string &path, const std::string &name) {
  auto file = std::make_shared<const SafetensorsFile>(path);
  const auto *entry = file->find(name);
  if (!entry)
    fail("{} has no tensor {}, which the program was compiled for: build it again with this file", inQuotes(path),
         inQuotes(name));
  return {entry->header, [file, entry] { return file->read(*entry); }};
}

/// Reads the header and checks it against the slot.
Source openSource(const DatasetNode &node, const std::string &folder) {
  const std::string path = pathOf(node, folder);
  Source source;
  if (node.type == "npy")
    source = {readNpyHeader(path), [path] { return readNpy(path); }};
  else if (node.type == "idx")
    source = {readIdxHeader(path), [path] { return readIdx(path); }};
  else if (node.type == "mnist")
    source = mnistSource(mnist(path), node.part);
  else if (node.type == "fashion_mnist")
    source = mnistSource(fashionMnist(), node.part);
  else if (node.type == "cifar10")
    source = cifar10Source(path, node.part);
  else if (node.type == "safetensors")
    source = safetensorsSource(path, node.part);
  else
    fail("the program reads a data set of kind '{}', which this runtime does not know: build it again with this hwc",
         node.type);
  // Weights may be read into the other precision.
  checkHeader(node, folder, source.header.dtype, source.header.shape, node.type == "safetensors");
  return source;
}

/// The file's elements as the slot's type.
void fill(const DatasetNode &node, const std::string &folder, const Tensor &tensor) {
  switch (tensor.dtype()) {
  case DType::f32:
    return convert(node, folder, tensor.as<float>());
  case DType::f64:
    return convert(node, folder, tensor.as<double>());
  case DType::i1:
  case DType::u8:
    return convert(node, folder, tensor.as<uint8_t>());
  case DType::i8:
    return convert(node, folder, tensor.as<int8_t>());
  case DType::i32:
    return convert(node, folder, tensor.as<int32_t>());
  case DType::u32:
    return convert(node, folder, tensor.as<uint32_t>());
  case DType::i64:
    return convert(node, folder, tensor.as<int64_t>());
  }
}

void checkCsv(const DatasetNode &node, const std::string &folder, const std::vector<double> &column) {
  checkHeader(node, folder, DType::f64, {static_cast<int64_t>(column.size())}, true);
}

} // namespace

void checkDataset(const DatasetNode &node, const std::string &folder, CsvCache &cache) {
  if (node.type == "csv")
    checkCsv(node, folder, csvColumn(node, folder, cache));
  else
    openSource(node, folder);
}

void loadDataset(const DatasetNode &node, const std::string &folder, CsvCache &cache) {
  Slot &slot = *node.slot;
  if (node.type == "csv") {
    const std::vector<double> &column = csvColumn(node, folder, cache);
    checkCsv(node, folder, column);
    convert(node, folder, column.data());
  } else {
    const Source source = openSource(node, folder);
    const Tensor tensor = source.read();
    // The file may have been replaced since its header was looked at.
    if (TensorHeader{tensor.dtype(), tensor.shape()} != source.header)
      fail("{} changed while it was read; start again", placeOf(node, folder));
    if (fileType(slot.type) == tensor.dtype())
      std::memcpy(slot.data, tensor.data(), slot.bytes);
    else
      fill(node, folder, tensor);
  }
  checkLabels(node, folder);
}

} // namespace hw::runtime
