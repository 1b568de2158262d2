// How long GNU OpenMP's threads spin at a barrier before they sleep. Its default (300,000 turns, about a millisecond)
// is for a machine that does nothing else: where another process has one of the cores, a step of some hundred
// microseconds then takes tens of milliseconds. 2,000 turns bridge the gaps between our parallel regions and cost
// nothing on a free machine (docs/backend.md has the figures).
//
// libgomp reads the environment when it is loaded, before main(); an executable's .preinit_array runs before that. So
// this header belongs in the file that has main(), once. Whoever sets one of the variables is obeyed.
#pragma once

#include <cstdlib>

namespace hw {

inline void shortSpin(int, char **, char **) {
  if (!std::getenv("OMP_WAIT_POLICY"))
    ::setenv("GOMP_SPINCOUNT", "2000", 0);
}

__attribute__((section(".preinit_array"), used)) static void (*const shortSpinFirst)(int, char **, char **) = shortSpin;

} // namespace hw
