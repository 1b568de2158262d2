#include "passes/Pipeline.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"
#include "passes/Passes.h"

using namespace hw;

void hw::buildDerivativePipeline(mlir::OpPassManager &pm) {
  // The language's derivatives become arithmetic.
  pm.addPass(createExpandDerivativesPass());
  // Tidy: fold, share, and put contractions into the shape that fuses best.
  pm.addPass(mlir::createCanonicalizerPass());
  pm.addPass(mlir::createCSEPass());
  pm.addPass(createSimplifyPass());
  pm.addPass(mlir::createCanonicalizerPass());
  pm.addPass(mlir::createCSEPass());
}

void hw::buildOutlinePipeline(mlir::OpPassManager &pm, std::unique_ptr<mlir::Pass> layouts) {
  // What a loop computes anew each time from nothing of its own leaves it.
  pm.addPass(createHoistPass());
  pm.addPass(mlir::createCSEPass());
  // What may run at the same time is set apart.
  pm.addPass(createTogetherPass());
  if (layouts)
    pm.addPass(std::move(layouts));
  // The graph becomes a plan and entry points.
  pm.addPass(createOutlinePass());
}

void hw::buildPipeline(mlir::OpPassManager &pm) {
  buildDerivativePipeline(pm);
  buildOutlinePipeline(pm, nullptr);
}

void hw::registerPasses() {
  mlir::registerPass(createExpandDerivativesPass);
  mlir::registerPass(createSimplifyPass);
  mlir::registerPass(createHoistPass);
  mlir::registerPass(createTogetherPass);
  mlir::registerPass(createOutlinePass);
  mlir::PassPipelineRegistration<>("hw-pipeline", "The compiler's passes up to the backend", buildPipeline);
  mlir::PassPipelineRegistration<>("hw-derivatives", "The compiler's passes up to `emit --stage derivatives`",
                                   buildDerivativePipeline);
}
