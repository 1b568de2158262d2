// Regions of several stages.
#pragma once
#include "backend/Target.h"
#include "backend/steps/Steps.h"

namespace hw::backend {

/// Merges steps of one stage each into regions of several, where all walk the rows of what is passed between them, and
/// keeps what is passed in rows of a tile (Regions.cpp).
void formRegions(StepList &list, const Target &target);

} // namespace hw::backend
