// Data sets: from files to slots, checked against what the program was compiled for.
#include "runtime/Study.h"
#include "runtime/formats/Csv.h"
#include "runtime/formats/Idx.h"
#include "runtime/formats/Npy.h"
#include "runtime/formats/Safetensors.h"

#include <algorithm>
#include <cmath>
#include <cstring>

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

/// The images or labels that `part` names: "train.images".
struct Half {
  ImagePart part;
  bool images;
};
Half imagesOf(const DatasetNode &node, const std::string &folder) {
  const ImageSet set = node.type == "mnist" ? mnist(pathOf(node, folder)) : fashionMnist();
  return {node.part.starts_with("train") ? set.train : set.test, node.part.ends_with("images")};
}

} // namespace

void checkDataset(const DatasetNode &node, const std::string &folder, CsvCache &cache) {
  if (node.type == "csv") {
    const auto &column = csvColumn(node, folder, cache);
    checkHeader(node, folder, DType::f64, {static_cast<int64_t>(column.size())}, true);
  } else if (node.type == "npy" || node.type == "idx") {
    const std::string path = pathOf(node, folder);
    const TensorHeader header = node.type == "npy" ? readNpyHeader(path) : readIdxHeader(path);
    checkHeader(node, folder, header.dtype, header.shape, false);
  } else if (node.type == "mnist" || node.type == "fashion_mnist") {
    const Half half = imagesOf(node, folder);
    const ImagePart &part = half.part;
    checkHeader(node, folder, DType::u8, half.images ? Shape{part.count, part.height, part.width} : Shape{part.count},
                false);
  } else if (node.type == "safetensors") {
    const SafetensorsFile file(pathOf(node, folder));
    const auto *entry = file.find(node.part);
    if (!entry)
      fail("{} has no tensor {}, which the program was compiled for: build it again with this file",
           inQuotes(pathOf(node, folder)), inQuotes(node.part));
    checkHeader(node, folder, entry->header.dtype, entry->header.shape, true); // f32 into f64, and back
  } else
    fail("the program reads a data set of kind '{}', which this runtime does not know: build it again with this hwc",
         node.type);
}

void loadDataset(const DatasetNode &node, const std::string &folder, CsvCache &cache) {
  checkDataset(node, folder, cache);
  Slot &slot = *node.slot;
  if (node.type == "csv")
    convert(node, folder, csvColumn(node, folder, cache).data());
  else {
    Tensor tensor;
    if (node.type == "npy")
      tensor = readNpy(pathOf(node, folder));
    else if (node.type == "idx")
      tensor = readIdx(pathOf(node, folder));
    else if (node.type == "safetensors")
      tensor = SafetensorsFile(pathOf(node, folder)).read(node.part);
    else {
      const Half half = imagesOf(node, folder);
      tensor = half.images ? readImages(half.part) : readLabels(half.part);
    }
    // The file may have been replaced since its header was looked at.
    if (tensor.size() != slot.count)
      fail("{} changed while it was read", placeOf(node, folder));
    if (fileType(slot.type) == tensor.dtype())
      std::memcpy(slot.data, tensor.data(), slot.bytes);
    else
      switch (tensor.dtype()) {
      case DType::f32:
        convert(node, folder, tensor.as<float>());
        break;
      case DType::f64:
        convert(node, folder, tensor.as<double>());
        break;
      case DType::i1:
      case DType::u8:
        convert(node, folder, tensor.as<uint8_t>());
        break;
      case DType::i8:
        convert(node, folder, tensor.as<int8_t>());
        break;
      case DType::i32:
        convert(node, folder, tensor.as<int32_t>());
        break;
      case DType::u32:
        convert(node, folder, tensor.as<uint32_t>());
        break;
      case DType::i64:
        convert(node, folder, tensor.as<int64_t>());
        break;
      }
  }
  checkLabels(node, folder);
}

} // namespace hw::runtime
