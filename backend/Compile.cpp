#include "backend/Compile.h"
#include "backend/CodeGen.h"
#include "backend/Plan.h"

using namespace mlir;
using namespace hw;
using namespace hw::backend;

std::optional<Compiled> hw::backend::compileModule(ModuleOp module, const CompileOptions &options) {
  std::string error;
  auto target = chooseTarget(options.cpu, error);
  if (!target) {
    module.emitError(error);
    return std::nullopt;
  }
  Compiled compiled;
  llvm::LLVMContext context;
  ProgramEmitter emitter(context, *target);
  FusionOptions fusion;
  fusion.externalProducts = options.externalProducts;

  PlanInput input{options.name, options.precision, options.quick, {}, {}, 0};
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
    StepList list = lowerFunction(function.front(), donations, *target, fusion);
    if (options.wantKernels)
      compiled.kernels += "entry " + name + "\n" + list.print() + "\n";
    input.entries[function.getName().str()] = unsigned(emitter.getEntries().size());
    emitter.addFunction(name, list);
    compiled.scratch = std::max(compiled.scratch, list.scratch);
  }
  input.scratch = compiled.scratch;
  auto plan = makePlan(module, input);
  if (!plan)
    return std::nullopt;
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
