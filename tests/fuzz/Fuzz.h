// What every fuzz target does: hand the bytes to a reader as a file, and let it refuse them with one clear sentence.
// Any other end (a signal, a sanitiser's finding, another exception, a sentence that could harm a terminal) is a
// finding.
#pragma once

#include "runtime/formats/Error.h"
#include "runtime/formats/Text.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

namespace hw::fuzz {

inline void require(bool holds, const char *what) {
  if (holds)
    return;
  std::fprintf(stderr, "not so: %s\n", what);
  std::abort();
}

/// A file that lives in memory only: the readers open a path and want a regular file.
class MemoryFile {
public:
  MemoryFile(const uint8_t *data, size_t size) : fd(memfd_create("input", MFD_CLOEXEC)) {
    require(fd >= 0 && write(fd, data, size) == static_cast<ssize_t>(size), "the input is written");
  }
  ~MemoryFile() { close(fd); }
  MemoryFile(const MemoryFile &) = delete;
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd); }

private:
  int fd;
};

/// Says at exit how many inputs were read to their end: a target that refuses everything tests nothing.
struct Count {
  unsigned long inputs = 0, accepted = 0;
  ~Count() { std::fprintf(stderr, "accepted %lu of %lu inputs\n", accepted, inputs); }
};

inline void requireOneClearSentence(const std::string &sentence) {
  require(!sentence.empty() && sentence.size() < 2000, "a refusal is a sentence");
  for (size_t at = 0; at < sentence.size();) {
    const CodePoint point = decodeUtf8(sentence, at);
    require(point.valid && isPrintable(point.value), "a refusal is printable, on one line");
    at += point.length;
  }
}

/// Calls `read`, which may refuse the input.
template <class Read> int count(Read read) {
  static Count count;
  ++count.inputs;
  try {
    read();
    ++count.accepted;
  } catch (const Error &error) {
    requireOneClearSentence(error.what());
  }
  return 0;
}

/// `read` takes the path of a file with these bytes.
template <class Read> int readAsFile(const uint8_t *data, size_t size, Read read) {
  const MemoryFile file(data, size);
  return count([&] { read(file.path()); });
}

} // namespace hw::fuzz
