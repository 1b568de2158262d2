// run.json: what was run, how, on what, and how it ended.
#pragma once

#include "runtime/Study.h"

#include <optional>
#include <string>
#include <vector>

namespace hw::runtime {

struct RunFacts {
  std::vector<std::string> command;
  std::string started; ///< UTC, ISO 8601
  double loadSeconds = 0, seconds = 0;
  int64_t resumed = 0; ///< times that it went on from a checkpoint
  std::string status;  ///< running, finished, interrupted, failed
  std::string error;
};

/// While it runs, the file only marks the folder as this program's, and need not survive a power cut.
void writeRunJson(OutDir &out, const Program &program, const Study *study, const RunFacts &facts);

/// What an earlier run left of itself in a folder.
struct RunMark {
  std::string identity, status;
};
/// None if there is no run.json, or none that a run wrote.
std::optional<RunMark> readRunMark(const std::string &folder);

} // namespace hw::runtime
