// Bounds of what a tensor can hold, found from how it is computed.
#pragma once
#include "mlir/IR/Value.h"
#include <optional>

namespace hw {

/// No element is below `low`, above `high`, or NaN; `whole`: all are whole numbers.
struct Range {
  double low, high;
  bool whole;
};

/// None where nothing is known, as of a float that comes from outside. Looks at some hundred operations at most.
std::optional<Range> rangeOf(mlir::Value value);

} // namespace hw
