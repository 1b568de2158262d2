// From a path to compiled code, one stage after another: what every command of hwc shares.
#pragma once

#include "backend/Compile.h"
#include "frontend/Diagnostics.h"
#include "frontend/Parser.h"
#include "frontend/elaborate/Elaborate.h"

#include "mlir/IR/MLIRContext.h"
#include "mlir/Pass/PassManager.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace hw {

struct Request {
  std::string path;
  ElaborateOptions elaborate;
  backend::CompileOptions backend;
  /// Takes what a stage found wrong, in place of stderr: for the fuzz targets.
  std::function<void(const Diagnostics &)> report;
};

/// One compilation. Each stage runs those before it, so a command calls one of them, once; it returns false after
/// having printed what was wrong to stderr.
class Driver {
public:
  explicit Driver(Request request);
  ~Driver();

  bool parse();
  bool elaborate();
  /// Derivatives expanded and simplified: hw ops only, still inside the study.
  bool differentiate();
  /// Entry points and the plan between them.
  bool outline();
  bool compile() { return outline() && generate(request_.backend); }
  /// After outline(): compiled() with these options, of which the file's own are filled in. Can be repeated.
  bool generate(backend::CompileOptions options);

  const Source &source() const { return *source_; }
  const ast::Module &tree() const { return *tree_; }
  const Elaborated &elaborated() const { return *elaborated_; }
  mlir::ModuleOp module() { return *elaborated_->module; }
  const backend::Compiled &compiled() const { return *compiled_; }
  /// The file's stem, which names the program and its output folder.
  std::string stem() const;

private:
  bool report();
  bool late(const char *failed, llvm::function_ref<bool()> stage);
  bool runPasses(llvm::function_ref<void(mlir::OpPassManager &)> build);
  void recordSettings();
  void reportLate(mlir::Diagnostic &diagnostic);

  Request request_;
  std::unique_ptr<Source> source_;
  Diagnostics diagnostics_;
  std::optional<ast::Module> tree_;
  std::unique_ptr<mlir::MLIRContext> context_;
  std::optional<Elaborated> elaborated_;
  std::optional<backend::Compiled> compiled_;
};

} // namespace hw
