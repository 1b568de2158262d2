#include "backend/Target.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/MC/MCSubtargetInfo.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Target/TargetOptions.h"
#include "llvm/TargetParser/Host.h"
#include "llvm/TargetParser/SubtargetFeature.h"
#include "llvm/TargetParser/X86TargetParser.h"

using namespace hw::backend;

std::unique_ptr<llvm::TargetMachine> hw::backend::createMachine(const Target &target, std::string &error) {
  static bool isInitialised = [] {
    llvm::InitializeNativeTarget();
    llvm::InitializeNativeTargetAsmPrinter();
    llvm::InitializeNativeTargetAsmParser();
    return true;
  }();
  (void)isInitialised;
  llvm::Triple triple("x86_64-unknown-linux-gnu");
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
