// The study as data: JSON that the runtime interprets (docs/design.md).
#pragma once
#include "ir/Dialects.h"
#include "llvm/ADT/StringMap.h"
#include <optional>
#include <string>

namespace hw::backend {

struct PlanInput {
  std::string name, precision;
  bool quick;
  llvm::StringMap<unsigned> entries; // of a func.func's name, its number in the descriptor
  int64_t scratch;
};

struct Plan {
  std::string json;
  int64_t arena; // bytes
};

/// Walks `@study` (if the module has one), gives every value a slot and writes the plan. Nothing on failure, after a
/// diagnostic.
std::optional<Plan> makePlan(mlir::ModuleOp module, const PlanInput &input);

} // namespace hw::backend
