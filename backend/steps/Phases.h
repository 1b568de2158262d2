// The order of loads and of steps, and where scratch lies.
#pragma once
#include "backend/steps/Steps.h"

namespace hw::backend {

/// Notes in each kernel which loads must come before the first store of a point. Comes last of what
/// changes kernels.
void orderLoads(StepList &list);

/// Groups steps that do not depend on each other into phases, and places scratch.
void formPhases(StepList &list);
void placeScratch(StepList &list);

} // namespace hw::backend
