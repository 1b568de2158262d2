// Whether a finished plan computes what its module says, though slots share memory.
#pragma once
#include "ir/Dialects.h"
#include <optional>
#include <string>

namespace hw::backend {

/// Walks the plan beside the outlined module, and keeps account of which value lies in which slot: what a node reads
/// must be the very value that its op names. Loops are walked until nothing changes any more, as if they ran any number
/// of turns. Trusts nothing of what made the plan but the order of nodes. A sentence if something is wrong.
std::optional<std::string> verifyPlan(mlir::ModuleOp module, llvm::StringRef plan);

} // namespace hw::backend
