// The passes over hw and study, and the transforms' rules.
#pragma once
#include "ir/Dialects.h"
#include "mlir/Pass/Pass.h"
#include <memory>

namespace hw {

/// Attaches the rules of every transform (linearisation, transpose) to the hw ops. Call before the first context is
/// made.
void registerTransformInterfaces(mlir::DialectRegistry &registry);
void registerLinearizeModels(mlir::DialectRegistry &registry);
void registerTransposeModels(mlir::DialectRegistry &registry);

/// hw.scale as multiplication and selection.
void lowerScales(mlir::Operation *root);

std::unique_ptr<mlir::Pass> createExpandDerivativesPass();
std::unique_ptr<mlir::Pass> createSimplifyPass();
std::unique_ptr<mlir::Pass> createHoistPass();
std::unique_ptr<mlir::Pass> createTogetherPass();
std::unique_ptr<mlir::Pass> createOutlinePass();

} // namespace hw
