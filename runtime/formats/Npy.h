// NumPy's .npy (https://numpy.org/neps/nep-0001-npy-format.html): versions 1, 2 and 3, plain or gzip.
#pragma once

#include "runtime/formats/Tensor.h"

#include <string>

namespace hw {

class OutDir;

/// What the header says, checked against the file's length. float32, float64, bool, int8, uint8, int32, uint32, int64
/// in little endian; others (float16, objects, strings, structures, big endian) are an error that says how to convert.
TensorHeader readNpyHeader(const std::string &path);

/// The whole array in row-major order; Fortran order is converted.
Tensor readNpy(const std::string &path);

/// Writes version 1.0 through a temporary file and a rename: a reader sees the old file or the new one.
void writeNpy(const std::string &path, const TensorRef &tensor);
/// The same into a run's folder, as `<name>.npy`. Returns the path written.
std::string writeNpy(OutDir &out, const std::string &name, const TensorRef &tensor);

} // namespace hw
