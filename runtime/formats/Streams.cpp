#include "runtime/formats/Streams.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <iostream>
#include <poll.h>
#include <unistd.h>

namespace hw {

static int outputError = 0; // errno of the first failure on standard output

void prepareProcess() {
  for (int fd = 0; fd < 3; ++fd)
    if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
      if (open("/dev/null", O_RDONLY) < 0) // the lowest number is free: this one. To write to it is an error
        _exit(1);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGCHLD, SIG_DFL); // ignored (inherited so), a child's exit status would be lost
}

static void remember() {
  if (outputError == 0)
    outputError = errno ? errno : EIO;
}

void put(std::FILE *stream, std::string_view text) {
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), stream) != text.size() && stream == stdout)
    remember();
}

int finishOutput(int status) {
  errno = 0;
  std::cout.flush();
  if (std::fflush(stdout) != 0)
    remember();
  // Libraries write there too.
  if (outputError == 0 && !std::ferror(stdout) && std::cout.good())
    return status;
  pollfd reader{1, POLLOUT, 0};
  if (outputError == EPIPE || (outputError == 0 && poll(&reader, 1, 0) == 1 && (reader.revents & POLLERR)))
    return status ? status : 128 + SIGPIPE;
  tell("error: standard output cannot be written: {}",
       outputError ? std::strerror(outputError) : "it is closed or full");
  return status ? status : 1;
}

} // namespace hw
