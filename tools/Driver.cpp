#include "tools/Driver.h"

#include "ir/Dialects.h"
#include "passes/Passes.h"
#include "passes/Pipeline.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Pass/PassManager.h"

#include <cstdio>
#include <filesystem>
#include <unistd.h>

namespace hw {

Driver::Driver(Request request) : request_(std::move(request)) {}
Driver::~Driver() = default;

std::string Driver::stem() const { return std::filesystem::path(request_.path).stem().string(); }

bool Driver::report() {
  if (!diagnostics_.empty())
    std::fputs(diagnostics_.render(isatty(2)).c_str(), stderr);
  return !diagnostics_.hasErrors();
}

/// An error of a pass, given at the place in the user's file where the op was written (a call site, if it comes from
/// the prelude).
void Driver::reportLate(mlir::Diagnostic &diagnostic) {
  auto rangeOf = [&](mlir::Location location) {
    SourceRange range;
    location->walk([&](mlir::Location part) {
      auto place = llvm::dyn_cast<mlir::FileLineColLoc>(part);
      if (!place || place.getFilename() != source_->name() || place.getLine() < 1 ||
          place.getLine() > source_->lineCount())
        return mlir::WalkResult::advance();
      uint32_t begin = source_->lineStart(place.getLine()) + (place.getColumn() ? place.getColumn() - 1 : 0);
      range = {source_.get(), begin, begin + 1};
      return mlir::WalkResult::interrupt();
    });
    return range;
  };
  if (diagnostic.getSeverity() != mlir::DiagnosticSeverity::Error)
    return;
  Diagnostic &error = diagnostics_.error(rangeOf(diagnostic.getLocation()), diagnostic.str());
  for (mlir::Diagnostic &note : diagnostic.getNotes())
    error.note(rangeOf(note.getLocation()), note.str());
}

bool Driver::parse() {
  if (stage_ >= 1)
    return true;
  std::string error;
  source_ = Source::load(request_.path, error);
  if (!source_) {
    std::fprintf(stderr, "hwc: %s\n", error.c_str());
    return false;
  }
  tree_ = parseModule(*source_, diagnostics_);
  stage_ = 1;
  return report();
}

bool Driver::elaborate() {
  if (stage_ >= 2)
    return true;
  if (!parse())
    return false;
  mlir::DialectRegistry registry;
  registry.insert<HwDialect, study::StudyDialect, mlir::func::FuncDialect>();
  registerTransformInterfaces(registry);
  context_ = std::make_unique<mlir::MLIRContext>(registry, mlir::MLIRContext::Threading::DISABLED);
  context_->loadAllAvailableDialects();
  elaborated_ = hw::elaborate(*tree_, diagnostics_, *context_, request_.elaborate);
  stage_ = 2;
  if (!report() || !elaborated_)
    return false;
  recordSettings();
  return true;
}

/// The plan lists every setting of the file, those too that nothing uses.
void Driver::recordSettings() {
  mlir::Builder builder(context_.get());
  llvm::SmallVector<mlir::Attribute> all;
  for (const Setting &setting : elaborated_->settings)
    all.push_back(
        builder.getDictionaryAttr({builder.getNamedAttr("name", builder.getStringAttr(setting.name)),
                                   builder.getNamedAttr("value", builder.getF64FloatAttr(setting.value)),
                                   builder.getNamedAttr("fixed", builder.getBoolAttr(setting.fixed)),
                                   builder.getNamedAttr("reason", builder.getStringAttr(setting.fixedReason))}));
  module()->setAttr("hw.settings", builder.getArrayAttr(all));
}

bool Driver::runPasses(llvm::function_ref<void(mlir::OpPassManager &)> build) {
  mlir::PassManager passes(context_.get());
  build(passes);
  mlir::ScopedDiagnosticHandler handler(context_.get(), [&](mlir::Diagnostic &diagnostic) {
    reportLate(diagnostic);
    return mlir::success();
  });
  bool ok = mlir::succeeded(passes.run(module()));
  if (!ok && !diagnostics_.hasErrors())
    diagnostics_.error({}, "the compiler could not transform this file, and did not say why: please report it");
  return report() && ok;
}

bool Driver::differentiate() {
  if (stage_ >= 3)
    return true;
  if (!elaborate() || !runPasses(buildDerivativePipeline))
    return false;
  stage_ = 3;
  return true;
}

bool Driver::outline() {
  if (stage_ >= 4)
    return true;
  if (!differentiate() || !runPasses(buildOutlinePipeline))
    return false;
  stage_ = 4;
  return true;
}

bool Driver::compile() {
  if (stage_ >= 5)
    return true;
  if (!outline())
    return false;
  backend::CompileOptions options = request_.backend;
  options.name = stem();
  options.quick = request_.elaborate.quick;
  options.precision = request_.elaborate.f64 ? "f64" : "f32";
  mlir::ScopedDiagnosticHandler handler(context_.get(), [&](mlir::Diagnostic &diagnostic) {
    reportLate(diagnostic);
    return mlir::success();
  });
  auto compiled = backend::compileModule(module(), options);
  if (!compiled) {
    if (!diagnostics_.hasErrors())
      diagnostics_.error({},
                         "the compiler could not generate code for this file, and did not say why: please report it");
    report();
    return false;
  }
  compiled_ = std::move(compiled);
  stage_ = 5;
  return report();
}

} // namespace hw
