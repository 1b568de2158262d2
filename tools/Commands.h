// What each command of hwc does once its flags are read. All return the process's exit code.
#pragma once

#include "runtime/Bench.h"
#include "runtime/Main.h"
#include "tools/Driver.h"

#include <string>
#include <vector>

namespace hw {

struct BuildCommand {
  std::string output; // empty: the file's stem, in the working directory
  std::string bundle; // empty: none
};

int runCheck(const Request &request);
int runBuild(const Request &request, const BuildCommand &build);
int runRun(Request request, const RunFlags &flags, const std::vector<std::string> &command);
int runDescribe(const Request &request);
int runEmit(const Request &request, const std::string &stage, const std::string &output);
/// `rest`: Google Benchmark's flags.
int runBench(Request request, const BenchOptions &options, const std::vector<std::string> &rest);
int runGradcheck(Request request, const RunFlags &flags, const std::vector<std::string> &command);
int runFormat(const std::string &path, bool check, bool toStdout);
int runCompletion(const std::string &shell);

std::string versionText();

} // namespace hw
