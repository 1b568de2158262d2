// What compiles is run for a second, in a temporary folder.
#include "runtime/Walk.h"
#include "tests/fuzz/Language.h"
#include "tools/Commands.h"

#include <csignal>
#include <ctime>
#include <filesystem>

using namespace hw;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char folder[] = "/tmp/hw_fuzz_XXXXXX";
  fuzz::require(mkdtemp(folder), "a temporary folder is made");
  // SIGTERM ends a training in good order. Before the run begins nothing heeds it, hence again and again. (It is not
  // ignored: a run leaves a signal alone that whoever started it ignores.)
  std::signal(SIGTERM, [](int) {});
  struct sigevent event = {};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGTERM;
  timer_t timer;
  fuzz::require(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0, "a timer is made");
  const int status = fuzz::compileText(data, size, [&](const Request &request) {
    const itimerspec second = {{20, 0}, {1, 0}};
    timer_settime(timer, 0, &second, nullptr);
    RunFlags flags;
    flags.out = std::string(folder) + "/out";
    flags.threads = 2;
    flags.quiet = true;
    flags.force = true;
    runtime::clearInterrupt();
    const int code = runRun(request, flags, {"hwc", "run"});
    fuzz::require(code == 0 || code == 1 || code == 143, "a run ends with one of its exit codes");
    return code != 1;
  });
  timer_delete(timer);
  std::signal(SIGTERM, SIG_DFL);
  std::filesystem::remove_all(folder);
  return status;
}
