// The study as data: JSON that the runtime interprets (docs/design.md).
#pragma once
#include "ir/Dialects.h"
#include "llvm/ADT/StringMap.h"
#include <optional>
#include <string>
#include <vector>

namespace hw::backend {

/// A function that finds the first operation whose result is not finite.
struct Diagnosis {
  unsigned function; // number in the descriptor
  struct Operation {
    std::string name, location;
  };
  std::vector<Operation> operations;
};

struct PlanInput {
  std::string name, precision;
  bool quick;
  llvm::StringMap<unsigned> entries;    // of a func.func's name, its number in the descriptor
  llvm::StringMap<Diagnosis> diagnoses; // of a func.func's name, its twin
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
