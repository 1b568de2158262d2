// `hwc fmt`: one canonical layout.
#pragma once

#include "frontend/Diagnostics.h"

#include <optional>
#include <string>

namespace hw {

// The text of `source` in canonical layout, or nothing if it does not parse (the errors are in `diagnostics`).
//
// Indentation is two spaces; operators but `^` and `..` stand between spaces; a statement has a line of its own, except
// in a block that was written on one line and fits 120 columns. Breaks inside a statement stay where they were written.
// Comments stay, and so does one of several empty lines. Formatting twice changes nothing, and the tree stays the same.
std::optional<std::string> formatSource(const Source &source, Diagnostics &diagnostics);

} // namespace hw
