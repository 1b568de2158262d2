// IDX, the format of MNIST (https://yann.lecun.com/exdb/mnist/): two zero bytes, a type, a rank, big-endian extents
// and elements. Plain or gzip.
#pragma once

#include "runtime/formats/Tensor.h"

#include <string>

namespace hw {

/// What the header says, checked against the file's length. Types: 0x08 u8, 0x09 i8, 0x0B short (widened to i32), 0x0C
/// i32, 0x0D f32, 0x0E f64.
TensorHeader readIdxHeader(const std::string &path);
Tensor readIdx(const std::string &path);

/// Half of a data set of labelled images; the shapes are known, the data is not read yet.
struct ImagePart {
  std::string images; ///< path of u8 [count, height, width]
  std::string labels; ///< path of u8 [count]
  int64_t count = 0, height = 0, width = 0;
};

struct ImageSet {
  std::string name; ///< "mnist('data/mnist')", to open a sentence with
  ImagePart train, test;
};

/// MNIST from a folder with its four files, named as published (train-images-idx3-ubyte) or as some tools unpack them
/// (train-images.idx3-ubyte), each plain or with .gz. Reads headers only and checks that they fit together. Never looks
/// anywhere else.
ImageSet mnist(const std::string &folder);

/// Fashion-MNIST from Debian's package dataset-fashion-mnist (/usr/share/datasets/fashion-mnist), or from the folder
/// that the environment variable HW_FASHION_MNIST names.
ImageSet fashionMnist();

/// u8 [count, height, width], pixels 0 to 255.
Tensor readImages(const ImagePart &part);
/// u8 [count]. Throws if a label is not in 0..9, with its place.
Tensor readLabels(const ImagePart &part);

} // namespace hw
