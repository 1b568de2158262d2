// Primitives over windows: convolution and pooling.
#pragma once
#include "frontend/elaborate/Elaborator.h"

namespace hw::lang {

Val conv(Elaborator &e, Args &a);
Val kernelShape(Elaborator &e, Args &a);
Val windowMax(Elaborator &e, Args &a);
Val windowSum(Elaborator &e, Args &a);
Val pair(Elaborator &e, Args &a);

} // namespace hw::lang
