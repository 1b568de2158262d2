// Whether a finished list of steps computes what it says, though memory is shared.
#pragma once
#include "backend/steps/Steps.h"

namespace hw::backend {

/// Proves that no read sees a store that it must not see, and none misses one that it must. What is meant is the list
/// of steps in its order, each stage as a whole, with every buffer in memory of its own. What runs are phases of steps
/// at the same time, tasks, tiles and stages; a result that takes over an argument is the same memory, and so are
/// scratch buffers whose places overlap. It trusts nothing of what made the list but addresses and sizes, and what it
/// cannot prove counts as wrong: then it returns a sentence that says what.
std::optional<std::string> verifySteps(const StepList &list);

} // namespace hw::backend
