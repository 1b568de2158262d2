// How long GNU OpenMP's threads spin at a barrier before they sleep. Its default (300,000 turns, some milliseconds) is
// for a machine that does nothing else: where another process has one of the cores, the thread that spins keeps the one
// it waits for from running, and a step of some hundred microseconds takes tens of milliseconds. 2,000 turns bridge the
// gaps between our parallel regions and cost nothing on a free machine (docs/backend.md has the figures).
//
// libgomp reads the environment when it is loaded, long before main(), and has no other way to be told. An executable's
// .preinit_array runs before that, but also before libc, which then takes the environment that the kernel passed: so a
// variable can be added by executing oneself once more, there, before anything was set up. This header belongs in the
// file that has main(). Whoever sets one of the variables is obeyed.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <unistd.h>

namespace hw {

inline void shortSpin(int, char **argv, char **environment) {
  size_t count = 0;
  for (; environment[count]; ++count)
    for (const char *name : {"GOMP_SPINCOUNT=", "OMP_WAIT_POLICY="})
      if (!std::strncmp(environment[count], name, std::strlen(name)))
        return;
  auto **longer = static_cast<char **>(__builtin_alloca((count + 2) * sizeof(char *)));
  std::copy(environment, environment + count, longer);
  longer[count] = const_cast<char *>("GOMP_SPINCOUNT=2000");
  longer[count + 1] = nullptr;
  ::execve("/proc/self/exe", argv,
           longer); // returns only if it fails: then threads spin longer, and all else is as ever
}

__attribute__((section(".preinit_array"), used)) static void (*const shortSpinFirst)(int, char **, char **) = shortSpin;

} // namespace hw
