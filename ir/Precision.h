// Which casts from f64 to f32 the language asks for, and where there are others.
#pragma once
#include "ir/Dialects.h"

namespace hw {

/// On a cast from f64 to f32, and on a constant, while a file is elaborated: the language rounds here, as `f32(x)` asks
/// for it or as a place has that type.
inline constexpr llvm::StringLiteral keptAttribute = "hw.kept";

/// The casts that make f64 again of what was rounded to f32 by the way, and has met nothing that is f32 itself. A type
/// that is asked for reaches the leaves, so an elaborated module has none; after derivatives are expanded a cotangent
/// may look like one.
std::vector<mlir::Operation *> roundTrips(mlir::ModuleOp module);

/// Removes the marks, which nothing later needs.
void eraseKept(mlir::ModuleOp module);

} // namespace hw
