// Schedules, and the sums that are split over tasks.
#pragma once
#include "backend/Target.h"
#include "backend/steps/Steps.h"

namespace hw::backend {

/// Of a product whose sum is going to be complete only later: its result goes to memory as it is, and what the epilogue
/// made of it becomes a step that is to run then. None if there was nothing but the store.
std::optional<Step> detachEpilogue(StepList &list, Stage &product);

/// Chooses loops, register tiles, tiles and tasks of every region, and adds the steps that complete split sums.
void scheduleSteps(StepList &list, const Target &target);

} // namespace hw::backend
