// hw-opt: runs any pass of the project, or of MLIR's canonicalize and cse, on a file of hw and study ops.
#include "ir/Dialects.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "mlir/Transforms/Passes.h"
#include "passes/Passes.h"
#include "passes/Pipeline.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  registry.insert<hw::HwDialect, hw::study::StudyDialect, mlir::func::FuncDialect>();
  hw::registerTransformInterfaces(registry);
  hw::registerPasses();
  mlir::registerTransformsPasses();
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "hwc's passes\n", registry));
}
