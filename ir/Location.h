// Places in the model file, as text.
#pragma once
#include "mlir/IR/Location.h"
#include <string>

namespace hw {

/// "file.hw:12:3", or nothing.
std::string locationText(mlir::Location location);

} // namespace hw
