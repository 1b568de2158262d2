// CIFAR-10's binary version (https://www.cs.toronto.edu/~kriz/cifar.html): records of 3073 bytes without a header, a
// label and then the red, green and blue planes of 32x32 pixels, row by row.
#pragma once

#include "runtime/formats/Tensor.h"

#include <string>
#include <vector>

namespace hw {

/// Images that lie in one or several files, one after the other; their number is known, they are not read yet.
struct Cifar10Part {
  struct File {
    std::string path;
    int64_t count; ///< records, from the file's length
  };
  std::vector<File> files;
  int64_t count = 0; ///< of all files
};

struct Cifar10Set {
  Cifar10Part train, test;
};

/// The published folder: data_batch_1.bin to data_batch_5.bin and test_batch.bin, each of any number of records. Looks
/// at the files' lengths only.
Cifar10Set cifar10(const std::string &folder);

/// One file of records.
Cifar10Part cifar10File(const std::string &path);

/// u8 [count, 3, 32, 32], pixels 0 to 255.
Tensor readImages(const Cifar10Part &part);
/// u8 [count]. Throws if a label is not in 0..9, with its place.
Tensor readLabels(const Cifar10Part &part);

} // namespace hw
