#include "backend/emit/Jit.h"
#include "llvm/ExecutionEngine/Orc/AbsoluteSymbols.h"
#include "llvm/ExecutionEngine/Orc/ExecutionUtils.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "llvm/Support/TargetSelect.h"

using namespace hw::backend;
namespace orc = llvm::orc;

namespace {
struct Loaded : LoadedProgram {
  std::unique_ptr<orc::LLJIT> jit;
};
} // namespace

std::unique_ptr<LoadedProgram> hw::backend::loadObject(llvm::StringRef object, llvm::ArrayRef<JitSymbol> symbols,
                                                       std::string &error) {
  llvm::InitializeNativeTarget();
  llvm::InitializeNativeTargetAsmPrinter();
  auto fail = [&](llvm::Error problem) {
    error = "cannot load the compiled program: " + llvm::toString(std::move(problem));
    return nullptr;
  };
  auto loaded = std::make_unique<Loaded>();
  // No platform: the code has no static constructors, thread locals or exceptions.
  auto jit = orc::LLJITBuilder().setPlatformSetUp(orc::setUpInactivePlatform).create();
  if (!jit)
    return fail(jit.takeError());
  loaded->jit = std::move(*jit);
  orc::JITDylib &library = loaded->jit->getMainJITDylib();
  orc::SymbolMap map;
  for (const JitSymbol &symbol : symbols)
    map[loaded->jit->mangleAndIntern(symbol.name)] = {orc::ExecutorAddr::fromPtr(symbol.address),
                                                      llvm::JITSymbolFlags::Exported};
  if (auto problem = library.define(orc::absoluteSymbols(map)))
    return fail(std::move(problem));
  // Vector mathematics is glibc's; memset and memmove are the process's.
  char prefix = loaded->jit->getDataLayout().getGlobalPrefix();
  auto mathematics = orc::DynamicLibrarySearchGenerator::Load(
      "libmvec.so.1", prefix, [](const orc::SymbolStringPtr &name) { return (*name).starts_with("_ZGV"); });
  if (!mathematics)
    return fail(mathematics.takeError());
  library.addGenerator(std::move(*mathematics));
  auto process = orc::DynamicLibrarySearchGenerator::GetForCurrentProcess(prefix, [](const orc::SymbolStringPtr &name) {
    return *name == "memset" || *name == "memmove" || *name == "memcpy";
  });
  if (!process)
    return fail(process.takeError());
  library.addGenerator(std::move(*process));
  if (auto problem = loaded->jit->addObjectFile(llvm::MemoryBuffer::getMemBufferCopy(object, "program.o")))
    return fail(std::move(problem));
  auto address = loaded->jit->lookup("hw_program_descriptor");
  if (!address)
    return fail(address.takeError());
  loaded->program = address->toPtr<const hw_program *>();
  return loaded;
}
