// Running a compiled program from a command line: what `hwc run`, `hwc gradcheck` and executables share.
#pragma once

#include "runtime/Abi.h"

#include <string>
#include <utility>
#include <vector>

namespace CLI {
class App;
}

namespace hw {

struct RunFlags {
  std::vector<std::string> set; ///< "rate=1e-3"
  int threads = 0;              ///< 0: one a core
  std::string data = ".";
  std::string out;   ///< empty: out/<name>
  std::string trace; ///< file for a timeline; empty: none
  bool force = false, resume = false, quiet = false;
  double checkpoint = 30; ///< seconds from one checkpoint to the next
};

enum class RunMode {
  executable, ///< fixed settings refuse --set, and say how to rebuild
  run,        ///< `hwc run`: it compiled with --set's values, so fixed settings have them already
  gradcheck   ///< prints gradcheck tables; writes no files; fails if an entry is off
};

/// Declares --set, --threads, --data, --out, --force, --resume, --checkpoint, --trace, --quiet.
void addRunFlags(CLI::App &app, RunFlags &flags);

/// "name=value" as a pair. Throws one sentence if it is not one, or the value is not a number.
std::pair<std::string, double> parseSetting(const std::string &text);

/// What --help ends with: settings with their values, tables, figures, files.
std::string describeProgram(const hw_program &program);

/// Runs `program`; errors go to stderr as one sentence. Returns the exit status: 0, 1 after an error, 130 after Ctrl-C,
/// 143 after SIGTERM.
/// `command`: argv, for run.json. Threads are set for the process: one program at a time.
int runProgram(const hw_program &program, const RunFlags &flags, RunMode mode, const std::vector<std::string> &command);

/// The same with the command line of an executable: also --help and --version.
int runExecutable(const hw_program &program, int argc, char **argv);

} // namespace hw
