// Loads an object's bytes into this process: the very bytes that an executable would be linked from.
#pragma once
#include "runtime/Abi.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include <memory>
#include <string>

namespace hw::backend {

/// A function of this process that compiled code calls (hw_parallel and the others of runtime/Abi.h).
struct JitSymbol {
  const char *name;
  void *address;
};

/// Code in memory, until it is destroyed.
class LoadedProgram {
public:
  virtual ~LoadedProgram() = default;
  const hw_program *program = nullptr;
};

/// Null, and a sentence in `error`, on failure.
std::unique_ptr<LoadedProgram> loadObject(llvm::StringRef object, llvm::ArrayRef<JitSymbol> symbols,
                                          std::string &error);

} // namespace hw::backend
