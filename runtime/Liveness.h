// Which slots hold what a run will still read: what a checkpoint keeps, out of an arena that is mostly data sets and
// values of the past.
#pragma once

#include "runtime/Checkpoint.h"
#include "runtime/Plan.h"

#include <vector>

namespace hw::runtime {

struct PlaceInPlan {
  std::vector<const Slot *> live;           ///< in the plan's order
  std::vector<const TrainNode *> trainings; ///< that are being run, innermost first
  const Node *innermost = nullptr;          ///< that is being run; none between two nodes of a body
};

/// The place of `plan` that `frames` give: outermost a node of plan.body. Throws one sentence that opens with `place`
/// if there is no such place.
PlaceInPlan placeInPlan(const Plan &plan, const std::vector<FrameState> &frames, const std::string &place);

} // namespace hw::runtime
