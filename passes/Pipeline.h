// The compiler's middle as a list of passes.
#pragma once
#include "mlir/Pass/PassManager.h"

namespace hw {

/// From an elaborated module (func.func @study) to entry points and a plan. Needs `registerTransformInterfaces`.
void buildPipeline(mlir::OpPassManager &pm);

/// The same, up to where `hwc emit --stage derivatives` shows the graph: derivatives expanded and simplified, not yet
/// cut into entry points.
void buildDerivativePipeline(mlir::OpPassManager &pm);

/// The rest of it: the graph is cut into entry points and the plan between them. `layouts`, if there is one, sees the
/// whole study once more before, and may change what it carries and add pure ops of a backend's.
void buildOutlinePipeline(mlir::OpPassManager &pm, std::unique_ptr<mlir::Pass> layouts);

/// Makes every pass and the pipelines (`hw-pipeline`, `hw-derivatives`) known by name to hw-opt.
void registerPasses();

} // namespace hw
