// Work in processes of its own, some at a time: what dies, hangs or eats memory there is a finding like any other.
#pragma once

#include <csignal>
#include <cstdio>
#include <cstring>
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

} // namespace hw::tests
