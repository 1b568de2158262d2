// The machine that code is generated for.
#pragma once
#include "llvm/ADT/StringRef.h"
#include <memory>
#include <optional>
#include <string>

namespace llvm {
class TargetMachine;
}

namespace hw::backend {

/// What code is generated for.
struct Target {
  std::string cpu, features;
  unsigned vectorBytes = 64; // 64, 32 or 16
  int64_t mostTasks = 32;    // that a step is split into; 1 in what one thread runs by itself
  unsigned registers() const { return vectorBytes == 64 ? 32 : 16; }
};

/// The machine to generate for: `cpu` empty means this one. Fails with a sentence if LLVM does not know it.
std::optional<Target> chooseTarget(llvm::StringRef cpu, std::string &error);

/// LLVM's own idea of it. Null with a sentence on failure.
std::unique_ptr<llvm::TargetMachine> createMachine(const Target &target, std::string &error);

} // namespace hw::backend
