#include "backend/emit/ObjectCode.h"
#include "llvm/Analysis/TargetTransformInfo.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Verifier.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/SmallVectorMemoryBuffer.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Transforms/InstCombine/InstCombine.h"
#include "llvm/Transforms/Scalar/DCE.h"
#include "llvm/Transforms/Scalar/EarlyCSE.h"
#include "llvm/Transforms/Scalar/LICM.h"
#include "llvm/Transforms/Scalar/LoopPassManager.h"
#include "llvm/Transforms/Scalar/SimplifyCFG.h"

using namespace hw::backend;

std::optional<ObjectResult> hw::backend::emitObject(llvm::Module &module, const Target &target,
                                                    const ObjectOptions &options, std::string &error) {
  auto machine = createMachine(target, error);
  if (!machine)
    return std::nullopt;
  module.setTargetTriple(machine->getTargetTriple());
  module.setDataLayout(machine->createDataLayout());
  {
    llvm::raw_string_ostream os(error);
    if (llvm::verifyModule(module, &os))
      return std::nullopt;
  }
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager sccs;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder(machine.get());
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(sccs);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, sccs, modules);
  llvm::FunctionPassManager passes;
  passes.addPass(llvm::EarlyCSEPass(false));
  passes.addPass(llvm::InstCombinePass());
  passes.addPass(llvm::createFunctionToLoopPassAdaptor(llvm::LICMPass(llvm::LICMOptions()), true));
  passes.addPass(llvm::EarlyCSEPass(false));
  passes.addPass(llvm::SimplifyCFGPass());
  passes.addPass(llvm::DCEPass());
  for (llvm::Function &function : module)
    if (!function.isDeclaration() && !function.hasOptNone())
      passes.run(function, functions);

  ObjectResult result;
  if (options.wantIR) {
    llvm::raw_string_ostream os(result.ir);
    module.print(os, nullptr);
  }
  auto generate = [&](llvm::CodeGenFileType kind, std::string &into) {
    llvm::SmallVector<char, 0> bytes;
    llvm::raw_svector_ostream os(bytes);
    llvm::legacy::PassManager codegen;
    if (machine->addPassesToEmitFile(codegen, os, nullptr, kind)) {
      error = "LLVM cannot write objects for this target";
      return false;
    }
    codegen.run(module);
    into.assign(bytes.begin(), bytes.end());
    return true;
  };
  if (options.wantAssembly) {
    // Generating code changes the module: assembly is made from a copy of it.
    if (!generate(llvm::CodeGenFileType::AssemblyFile, result.assembly))
      return std::nullopt;
    return result;
  }
  if (!generate(llvm::CodeGenFileType::ObjectFile, result.object))
    return std::nullopt;
  return result;
}
