#include "runtime/formats/Process.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <string_view>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

namespace hw {

namespace {

/// PATH's absolute entries.
std::string searchPath() {
  const char *given = std::getenv("PATH");
  std::string path;
  for (std::string_view rest = given ? given : "/usr/local/bin:/usr/bin:/bin"; !rest.empty();) {
    const size_t end = std::min(rest.find(':'), rest.size());
    if (const std::string_view entry = rest.substr(0, end); entry.starts_with('/'))
      path += (path.empty() ? "" : ":") + std::string(entry);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return path;
}

/// Where a program lies. Empty, and errno set, if it is nowhere.
std::string findProgram(const std::string &name, const std::string &path) {
  if (name.find('/') != std::string::npos)
    return name;
  int error = ENOENT;
  for (size_t at = 0; at < path.size();) {
    const size_t end = std::min(path.find(':', at), path.size());
    const std::string file = path.substr(at, end - at) + "/" + name;
    struct stat info;
    if (stat(file.c_str(), &info) == 0 && S_ISREG(info.st_mode)) {
      if (faccessat(AT_FDCWD, file.c_str(), X_OK, AT_EACCESS) == 0)
        return file;
      error = errno;
    }
    at = end + 1;
  }
  errno = error;
  return "";
}

/// Files that gnuplot and gcc read, write or load where these say so.
bool isHandedOn(std::string_view variable) {
  for (const char *prefix :
       {"PATH=", "GNUTERM=", "GNUPLOT_", "GNUHELP=", "FIT_", "GCC_", "COMPILER_PATH=", "LIBRARY_PATH=",
        "DEPENDENCIES_OUTPUT=", "SUNPRO_DEPENDENCIES=", "COLLECT_", "LD_RUN_PATH=", "LDEMULATION=", "GNUTARGET="})
    if (variable.starts_with(prefix))
      return false;
  return true;
}

std::vector<char *> pointers(const std::vector<std::string> &words) {
  std::vector<char *> list;
  for (const std::string &word : words)
    list.push_back(const_cast<char *>(word.c_str()));
  list.push_back(nullptr);
  return list;
}

} // namespace

ProcessResult runProcess(const std::vector<std::string> &arguments, int folder, double seconds,
                         const std::vector<std::string> &settings, const std::function<bool()> &stop) {
  ProcessResult result;
  const std::string path = searchPath(), program = findProgram(arguments[0], path);
  if (program.empty()) {
    result.missing = errno == ENOENT;
    result.output = std::strerror(errno);
    return result;
  }
  std::vector<std::string> environment = {"PATH=" + path};
  for (char **variable = environ; *variable; ++variable)
    if (isHandedOn(*variable) && std::none_of(settings.begin(), settings.end(), [&](const std::string &setting) {
          return std::string_view(*variable).starts_with(setting.substr(0, setting.find('=') + 1));
        }))
      environment.push_back(*variable);
  environment.insert(environment.end(), settings.begin(), settings.end());

  int pipes[2];
  if (pipe2(pipes, O_CLOEXEC | O_NONBLOCK) != 0) {
    result.output = std::strerror(errno);
    return result;
  }
  fcntl(pipes[1], F_SETFL, 0); // it writes as to any pipe
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, pipes[1], 1);
  posix_spawn_file_actions_adddup2(&actions, pipes[1], 2);
  posix_spawn_file_actions_addfchdir_np(&actions, folder);
  // In a group of its own: Ctrl-C is for us, who finish the figure before we stop. Signals are as any program finds
  // them.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t usual, none;
  sigemptyset(&none);
  sigemptyset(&usual);
  sigaddset(&usual, SIGPIPE);
  sigaddset(&usual, SIGXFSZ);
  posix_spawnattr_setsigdefault(&attributes, &usual);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  pid_t child;
  const int error = posix_spawn(&child, program.c_str(), &actions, &attributes, pointers(arguments).data(),
                                pointers(environment).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  close(pipes[1]);
  if (error != 0) {
    close(pipes[0]);
    result.missing = error == ENOENT;
    result.output = std::strerror(error);
    return result;
  }
  result.started = true;

  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  // Readable when the child has ended. It may close its streams and go on, or leave children who keep them open.
  const int ended = static_cast<int>(syscall(SYS_pidfd_open, child, 0));
  pollfd waiting[] = {{pipes[0], POLLIN, 0}, {ended, POLLIN, 0}}; // poll() overlooks negative descriptors
  const auto take = [&] {
    char buffer[4096];
    ssize_t got;
    while ((got = read(pipes[0], buffer, sizeof buffer)) > 0 || (got < 0 && errno == EINTR))
      if (got > 0 && result.output.size() < 1 << 16)
        result.output.append(buffer, static_cast<size_t>(got));
    if (got == 0)
      waiting[0].fd = -1;
  };
  int status = 0;
  for (;;) {
    const pid_t who = waitpid(child, &status, WNOHANG);
    take();
    if (who == child || (who < 0 && errno != EINTR))
      break;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
    result.timedOut = left <= 0;
    result.stopped = stop && stop();
    if (result.timedOut || result.stopped) {
      kill(-child, SIGKILL);
      while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
      }
      take();
      break;
    }
    poll(waiting, 2, static_cast<int>(std::min<long long>(left, ended < 0 ? 20 : 100)));
  }
  close(pipes[0]);
  if (ended >= 0)
    close(ended);
  result.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + result.signal;
  return result;
}

} // namespace hw
