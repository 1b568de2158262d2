#include "backend/Compile.h"
#include "backend/emit/ObjectCode.h"
#include "backend/emit/ProgramEmitter.h"
#include "backend/plan/Plan.h"
#include "backend/plan/VerifyPlan.h"
#include "backend/steps/Lower.h"
#include "backend/steps/VerifySteps.h"
#include "ir/Location.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace hw;
using namespace hw::backend;

/// The functions that a training's step (or tail) calls for its loss.
static llvm::StringSet<> trainingSteps(ModuleOp module) {
  llvm::StringSet<> names;
  module.walk([&](study::TrainOp train) {
    for (Region *region : {&train.getStep(), &train.getTail()})
      if (!region->empty())
        if (auto call = region->front().getTerminator()->getOperands().back().getDefiningOp<func::CallOp>())
          names.insert(call.getCallee());
  });
  return names;
}

std::optional<Compiled> hw::backend::compileModule(ModuleOp module, const CompileOptions &options) {
  std::string error;
  auto target = chooseTarget(options.cpu, error);
  if (!target) {
    module.emitError(error);
    return std::nullopt;
  }
  Compiled compiled;
  llvm::LLVMContext context;
  ProgramEmitter emitter(context, *target, options.marks);
  FusionOptions fusion;
  fusion.products = options.products;

  // Better no program than one that computes something else.
  auto verify = [&](func::FuncOp function, const StepList &list) {
    std::optional<std::string> wrong = verifySteps(list);
    if (wrong)
      emitError(function.getLoc()) << "internal error: the code for '" << function.getName()
                                   << "' is not proved right: " << *wrong;
    return !wrong;
  };
  SmallVector<std::pair<func::FuncOp, func::FuncOp>> steps; // of trainings, with copies as they were
  llvm::scope_exit eraseTwins([&] {
    for (auto [function, twin] : steps)
      twin.erase();
  });
  PlanInput input{options.name, options.precision, options.quick, {}, {}, 0};
  const llvm::StringSet<> ofTrainings = trainingSteps(module);
  for (func::FuncOp function : module.getOps<func::FuncOp>()) {
    if (function.getName() == "study" || function.isDeclaration())
      continue;
    auto entry = function->getAttrOfType<StringAttr>("hw.entry");
    std::string name = (entry ? entry.getValue() : function.getName()).str();
    SmallVector<int64_t> donations;
    for (unsigned i = 0; i < function.getNumArguments(); ++i) {
      auto donated = function.getArgAttrOfType<IntegerAttr>(i, "hw.donate");
      donations.push_back(donated ? donated.getInt() : -1);
    }
    if (options.diagnose && ofTrainings.contains(function.getName()))
      steps.push_back({function, function.clone()});
    StepList list = lowerFunction(function.front(), donations, *target, fusion);
    if (options.wantKernels)
      compiled.kernels += "entry " + name + "\n" + list.print() + "\n";
    if (!verify(function, list))
      return std::nullopt;
    input.entries[function.getName().str()] = unsigned(emitter.getEntries().size());
    emitter.addFunction(name, list);
    compiled.scratch = std::max(compiled.scratch, list.scratch);
    compiled.threadScratch = std::max(compiled.threadScratch, list.threadScratch);
  }
  for (auto [function, twin] : steps) {
    SmallVector<Operation *> operations;
    StepList list = lowerDiagnosis(twin.front(), *target, operations);
    if (!verify(function, list))
      return std::nullopt;
    Diagnosis diagnosis{unsigned(emitter.getEntries().size()), {}};
    for (Operation *operation : operations)
      diagnosis.operations.push_back({operation->getName().stripDialect().str(), locationText(operation->getLoc())});
    input.diagnoses[function.getName()] = std::move(diagnosis);
    emitter.addFunction(emitter.getEntries()[input.entries[function.getName()]].name + ".diagnose", list,
                        /*isRare=*/true);
    compiled.diagnosisScratch = std::max(compiled.diagnosisScratch, list.scratch);
  }
  input.scratch = std::max(compiled.scratch, compiled.diagnosisScratch);
  auto plan = makePlan(module, input);
  if (!plan)
    return std::nullopt;
  if (std::optional<std::string> wrong = verifyPlan(module, plan->json)) {
    emitError(module.getLoc()) << "internal error: the plan is not proved right: " << *wrong;
    return std::nullopt;
  }
  compiled.plan = std::move(plan->json);
  compiled.arena = plan->arena;
  emitter.finish(compiled.plan);

  ObjectOptions stages{options.wantIR, options.wantAssembly};
  auto object = emitObject(emitter.getModule(), *target, stages, error);
  if (!object) {
    module.emitError("internal error while generating code: " + error);
    return std::nullopt;
  }
  compiled.object = std::move(object->object);
  compiled.ir = std::move(object->ir);
  compiled.assembly = std::move(object->assembly);
  return compiled;
}
