// run.json: what was run, how, on what, and how it ended.
#pragma once

#include "runtime/Study.h"

#include <string>
#include <vector>

namespace hw::runtime {

struct RunFacts {
  std::vector<std::string> command;
  std::string started; ///< UTC, ISO 8601
  double loadSeconds = 0, seconds = 0;
  std::string status; ///< finished, interrupted, failed
  std::string error;
};

void writeRunJson(OutDir &out, const Program &program, const Study *study, const RunFacts &facts);

} // namespace hw::runtime
