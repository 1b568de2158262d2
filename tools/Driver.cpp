#include "tools/Driver.h"

#include "backend/graph/WeightLayouts.h"
#include "ir/Dialects.h"
#include "passes/Passes.h"
#include "passes/Pipeline.h"
#include "runtime/formats/Streams.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Pass/PassManager.h"

#include "llvm/Support/MD5.h"
#include "llvm/Support/raw_ostream.h"

#include <cstdio>
#include <filesystem>
#include <unistd.h>

namespace hw {

Driver::Driver(Request request) : request_(std::move(request)) {}
Driver::~Driver() = default;

std::string Driver::stem() const {
  const std::filesystem::path path(request_.path);
  const std::string stem = path.stem().string();
  // Of "...hw" the stem is a folder.
  return stem == "." || stem == ".." ? path.filename().string() : stem;
}

/// Prints what has been found since the last time, and says whether the stage went well.
bool Driver::report() {
  if (request_.report)
    request_.report(diagnostics_);
  else if (!diagnostics_.empty())
    put(stderr, diagnostics_.render(isatty(2)));
  bool ok = !diagnostics_.hasErrors();
  diagnostics_ = Diagnostics();
  return ok;
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
  // An op that breaks its own rules (emitOpError begins with its name) was made by the compiler, not by the user.
  std::string text = diagnostic.str();
  if (!text.empty() && text.front() == '\'')
    text = "the compiler made something wrong of this, which is a fault of its own: please report it (" + text + ")";
  Diagnostic &error = diagnostics_.error(rangeOf(diagnostic.getLocation()), text);
  for (mlir::Diagnostic &note : diagnostic.getNotes())
    error.note(rangeOf(note.getLocation()), note.str());
}

bool Driver::parse() {
  std::string error;
  source_ = Source::load(request_.path, error);
  if (!source_) {
    tell("hwc: {}", error);
    return false;
  }
  tree_ = parseModule(*source_, diagnostics_);
  return report();
}

bool Driver::elaborate() {
  if (!parse())
    return false;
  mlir::DialectRegistry registry;
  registry.insert<HwDialect, study::StudyDialect, mlir::func::FuncDialect>();
  registerTransformInterfaces(registry);
  context_ = std::make_unique<mlir::MLIRContext>(registry, mlir::MLIRContext::Threading::DISABLED);
  context_->loadAllAvailableDialects();
  context_->printOpOnDiagnostic(false); // users see their own file, not the compiler's
  elaborated_ = hw::elaborate(*tree_, diagnostics_, *context_, request_.elaborate);
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

/// Runs a late stage; MLIR's diagnostics become ours, and a failure never goes without a sentence.
bool Driver::late(const char *failed, llvm::function_ref<bool()> stage) {
  bool ok;
  {
    mlir::ScopedDiagnosticHandler handler(context_.get(), [&](mlir::Diagnostic &diagnostic) {
      reportLate(diagnostic);
      return mlir::success();
    });
    ok = stage();
  }
  if (!ok && !diagnostics_.hasErrors())
    diagnostics_.error({}, std::string("the compiler could not ") + failed +
                               " this file, and did not say why: please report it");
  return report() && ok;
}

bool Driver::runPasses(llvm::function_ref<void(mlir::OpPassManager &)> build) {
  return late("transform", [&] {
    mlir::PassManager passes(context_.get());
    build(passes);
    return mlir::succeeded(passes.run(module()));
  });
}

bool Driver::differentiate() { return elaborate() && runPasses(buildDerivativePipeline); }

bool Driver::outline() {
  return differentiate() && runPasses([&](mlir::OpPassManager &passes) {
           buildOutlinePipeline(passes, backend::createWeightLayoutsPass(request_.backend));
         });
}

/// What tells two programs apart, for checkpoints: a hash of the module without places in the source, so that a comment
/// makes no difference, and without the settings that a run can still change; and of what chooses other arithmetic.
static std::string identityOf(mlir::ModuleOp module, const backend::CompileOptions &options) {
  mlir::OwningOpRef<mlir::ModuleOp> bare = module.clone();
  (*bare)->removeAttr("hw.settings");
  bare->walk([](study::SettingOp op) { op.setValue(llvm::APFloat(0.0)); });
  std::string text;
  llvm::raw_string_ostream(text) << *bare << int(options.products);
  llvm::MD5 hash;
  hash.update(text);
  return hash.final().digest().str().str();
}

bool Driver::generate(backend::CompileOptions options) {
  options.name = stem();
  options.quick = request_.elaborate.quick;
  options.precision = request_.elaborate.f64 ? "f64" : "f32";
  return late("generate code for", [&] {
    // Of a copy, as the backend rewrites what it compiles.
    mlir::OwningOpRef<mlir::ModuleOp> copy = module().clone();
    (*copy)->setAttr("hw.identity", mlir::StringAttr::get(context_.get(), identityOf(module(), options)));
    compiled_ = backend::compileModule(*copy, options);
    return compiled_.has_value();
  });
}

} // namespace hw
