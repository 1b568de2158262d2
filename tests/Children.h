// Work in processes of its own, some at a time: what dies, hangs or eats memory there is a finding like any other.
#pragma once

#include "runtime/Threads.h"
#include <CLI/CLI.hpp>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace hw::tests {

/// How a process ended.
struct Ending {
  int status = 0; ///< as waitpid gives it

  bool isTimeout() const { return WIFSIGNALED(status) && (WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGALRM); }
  int exitStatus() const { return WIFEXITED(status) ? WEXITSTATUS(status) : -1; }
  std::string text() const {
    return WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "exit status " + std::to_string(exitStatus());
  }
};

struct ChildLimits {
  unsigned seconds = 60; ///< of processor time; on the wall ten times as many, for one that sleeps or a busy machine
  size_t memory = 0;     ///< bytes of address space; 0: no limit
  std::string log;       ///< file for standard error; empty: as here
};

/// Starts `body` in a process of its own, whose exit status is what it returns. The one who starts it has no threads.
inline pid_t startChild(const ChildLimits &limits, const std::function<int()> &body) {
  std::fflush(nullptr); // or the child would write it too
  const pid_t child = fork();
  if (child < 0)
    throw std::runtime_error("no process could be made");
  if (child > 0)
    return child;
  alarm(10 * limits.seconds);
  const rlimit seconds = {limits.seconds, limits.seconds + 5};
  setrlimit(RLIMIT_CPU, &seconds);
  if (limits.memory) {
    const rlimit bytes = {limits.memory, limits.memory};
    setrlimit(RLIMIT_AS, &bytes);
  }
  if (!limits.log.empty() && !std::freopen(limits.log.c_str(), "w", stderr))
    _exit(99);
  const int status = body();
  std::fflush(nullptr);
  _exit(status);
}

inline Ending waitFor(pid_t child) {
  Ending ending;
  while (waitpid(child, &ending.status, 0) < 0 && errno == EINTR) {
  }
  return ending;
}

/// Calls `start(i)`, which gives a process, for one i after another, never more than `most` at a time, until it gives
/// nothing; and `end(i, ending)` when that process has ended.
template <class Start, class End> void eachInAChild(int most, Start start, End end) {
  std::map<pid_t, int> running;
  bool isOver = false;
  for (int next = 0; !running.empty() || !isOver;) {
    while (!isOver && int(running.size()) < most) {
      if (const std::optional<pid_t> child = start(next))
        running.emplace(*child, next++);
      else
        isOver = true;
    }
    if (running.empty())
      break;
    Ending ending;
    const auto found = running.find(waitpid(-1, &ending.status, 0));
    if (found == running.end())
      continue;
    const int which = found->second;
    running.erase(found);
    end(which, ending);
  }
}

inline std::string contentsOf(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A folder for what children write, gone at the end.
class ScratchFolder {
public:
  explicit ScratchFolder(const std::string &name)
      : path_(std::filesystem::temp_directory_path() / (name + "-" + std::to_string(getpid()))) {
    std::filesystem::create_directories(path_);
  }
  ~ScratchFolder() { std::filesystem::remove_all(path_); }
  ScratchFolder(const ScratchFolder &) = delete;
  const std::filesystem::path &path() const { return path_; }

private:
  std::filesystem::path path_;
};

/// Cases made from one seed after another: how many, for how long, how many at a time.
struct SeededRun {
  uint64_t seed = 0;
  int count = 100, jobs = availableCores(), most = 5;
  double limit = 0;

  /// `things`: what the cases are.
  void declare(CLI::App &app, const std::string &things, const std::string &thing) {
    app.add_option("--seed", seed, "of the first " + thing + "; the others follow (default: from the clock)");
    app.add_option("--count", count, things + " (default: 100)");
    app.add_option("--seconds", limit, "begin no " + thing + " after so many seconds");
    app.add_option("--jobs", jobs, things + " at a time (default: one a core)");
    app.add_option("--most", most, "begin no " + thing + " after so many that failed (default: 5)");
  }
  void begin(const char *title) {
    using namespace std::chrono;
    if (seed == 0)
      seed = uint64_t(system_clock::now().time_since_epoch() / milliseconds(1)) * 1000;
    std::printf("%s from seed %llu on\n", title, static_cast<unsigned long long>(seed));
    std::fflush(stdout);
    start = steady_clock::now();
  }
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); }
  /// Whether the i-th case is to begin, where so many have failed.
  bool goesOn(int i, int failed) const { return i < count && failed < most && (limit == 0 || seconds() < limit); }

private:
  std::chrono::steady_clock::time_point start;
};

} // namespace hw::tests
