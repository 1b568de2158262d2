// Runs another program, never through a shell.
#pragma once

#include <string>
#include <vector>

namespace hw {

struct ProcessResult {
  bool started = false; ///< false: there is no such program, or it may not be run; `output` says why
  bool timedOut = false;
  int status = -1;    ///< exit status; 128 + the signal's number if one ended it
  std::string output; ///< stdout and stderr together, the first 64 KiB
};

/// Runs arguments[0], found on PATH, with `arguments`, in the folder `folder` (a descriptor), reading nothing. Ends it
/// after `seconds`.
ProcessResult runProcess(const std::vector<std::string> &arguments, int folder, double seconds);

} // namespace hw
