// LLVM's part: target machine, a short pass pipeline (the code is vectorised and scheduled already), object and
// assembly.
#include "backend/emit/CodeGen.h"
#include "llvm/Analysis/TargetTransformInfo.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Verifier.h"
#include "llvm/MC/MCSubtargetInfo.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/SmallVectorMemoryBuffer.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Target/TargetOptions.h"
#include "llvm/TargetParser/Host.h"
#include "llvm/TargetParser/SubtargetFeature.h"
#include "llvm/TargetParser/X86TargetParser.h"
#include "llvm/Transforms/InstCombine/InstCombine.h"
#include "llvm/Transforms/Scalar/DCE.h"
#include "llvm/Transforms/Scalar/EarlyCSE.h"
#include "llvm/Transforms/Scalar/LICM.h"
#include "llvm/Transforms/Scalar/LoopPassManager.h"
#include "llvm/Transforms/Scalar/SimplifyCFG.h"

using namespace hw::backend;

static const char *kTriple = "x86_64-unknown-linux-gnu";

static std::unique_ptr<llvm::TargetMachine> createMachine(const Target &target, std::string &error) {
  static bool isInitialised = [] {
    llvm::InitializeNativeTarget();
    llvm::InitializeNativeTargetAsmPrinter();
    llvm::InitializeNativeTargetAsmParser();
    return true;
  }();
  (void)isInitialised;
  llvm::Triple triple(kTriple);
  const llvm::Target *found = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!found)
    return nullptr;
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Standard;
  return std::unique_ptr<llvm::TargetMachine>(found->createTargetMachine(
      triple, target.cpu, target.features, options, llvm::Reloc::PIC_, std::nullopt, llvm::CodeGenOptLevel::Default));
}

std::optional<Target> hw::backend::chooseTarget(llvm::StringRef cpu, std::string &error) {
  // Asked before LLVM makes a machine of it: that aborts on a CPU of 32 bits, and warns about one it does not know.
  if (!cpu.empty() && cpu != "native" && llvm::X86::parseArchX86(cpu, /*Only64Bit=*/true) == llvm::X86::CK_None) {
    error = "LLVM does not know the 64-bit CPU '" + cpu.str() +
            "'; try native, x86-64-v4 (AVX-512), x86-64-v3 (AVX2) or x86-64";
    return std::nullopt;
  }
  Target target;
  target.cpu = cpu.empty() || cpu == "native" ? llvm::sys::getHostCPUName().str() : cpu.str();
  llvm::StringMap<bool> features;
  if (cpu.empty() || cpu == "native") {
    llvm::SubtargetFeatures list;
    for (const auto &feature : llvm::sys::getHostCPUFeatures()) {
      list.AddFeature(feature.getKey(), feature.getValue());
    }
    std::vector<std::string> sorted = list.getFeatures();
    llvm::sort(sorted); // the same object for the same machine
    target.features = llvm::join(sorted, ",");
  }
  auto machine = createMachine(target, error);
  if (!machine)
    return std::nullopt;
  const llvm::MCSubtargetInfo &info = *machine->getMCSubtargetInfo();
  bool hasAvx512 = info.checkFeatures("+avx512f,+avx512vl,+avx512bw,+avx512dq"),
       hasAvx2 = info.checkFeatures("+avx2,+fma");
  target.vectorBytes = hasAvx512 ? 64 : hasAvx2 ? 32 : 16;
  return target;
}

std::optional<ObjectResult> hw::backend::emitObject(llvm::Module &module, const Target &target,
                                                    const ObjectOptions &options, std::string &error) {
  auto machine = createMachine(target, error);
  if (!machine)
    return std::nullopt;
  module.setTargetTriple(llvm::Triple(kTriple));
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
