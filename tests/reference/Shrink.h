// A failing program made smaller, crudely: parts are left out as long as it fails in the same way.
#pragma once
#include "tests/reference/Generate.h"
#include <functional>

namespace hw::reference {

Generated shrink(const Generated &program, int seconds, const std::function<bool(const Generated &)> &stillFails);

} // namespace hw::reference
