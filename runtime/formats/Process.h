// Runs another program, never through a shell.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace hw {

struct ProcessResult {
  bool started = false; ///< false: there is no such program, or it may not be run; `output` says why
  bool missing = false; ///< there is no such program
  bool timedOut = false, stopped = false;
  int status = -1;    ///< exit status; 128 + the signal's number if one ended it
  int signal = 0;     ///< that ended it
  std::string output; ///< stdout and stderr together, the first 64 KiB

  bool ok() const { return started && !timedOut && !stopped && status == 0; }
};

/// Runs arguments[0], found on PATH, with `arguments`, in the folder `folder` (a descriptor), reading nothing. PATH's
/// relative and empty entries do not count, neither here nor for what the program starts: the folder's files are not
/// the user's programs. Variables that make gnuplot or the compiler read or write other files are not handed on;
/// `settings`
/// ("NAME=VALUE") are. Ends it and what it started after `seconds`, or when `stop` says so.
ProcessResult runProcess(const std::vector<std::string> &arguments, int folder, double seconds,
                         const std::vector<std::string> &settings = {}, const std::function<bool()> &stop = {});

} // namespace hw
