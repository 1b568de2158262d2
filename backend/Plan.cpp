#include "backend/Plan.h"
std::optional<hw::backend::Plan> hw::backend::makePlan(mlir::ModuleOp module, const PlanInput &input) {
  return Plan{"{}", 0};
}
