#include "runtime/formats/ByteReader.h"
#include "runtime/formats/Inputs.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

namespace hw {

struct ByteReader::State {
  std::string place;
  int fd = -1;
  uint64_t fileSize = 0;
  uint64_t position = 0;
  bool gzip = false;
  bool inflating = false; // inside a gzip member
  bool ended = false;     // the last member's checksum was right and nothing follows
  z_stream stream{};
  unsigned char buffer[1 << 16];

  ~State() {
    if (gzip)
      inflateEnd(&stream);
    if (fd >= 0)
      close(fd);
  }

  size_t readFile(void *to, size_t n) {
    for (;;) {
      ssize_t got = ::read(fd, to, std::min<size_t>(n, 1u << 30));
      if (got >= 0)
        return static_cast<size_t>(got);
      if (errno != EINTR)
        fail("{} cannot be read: {}", place, std::strerror(errno));
    }
  }

  bool refill() {
    if (stream.avail_in == 0) {
      stream.next_in = buffer;
      stream.avail_in = static_cast<uInt>(readFile(buffer, sizeof buffer));
    }
    return stream.avail_in != 0;
  }

  size_t readGzip(void *to, size_t n) {
    stream.next_out = static_cast<Bytef *>(to);
    size_t left = n;
    while (left && !ended) {
      if (!inflating) { // a gzip file is one or more members
        if (!refill()) {
          ended = true;
          break;
        }
        if (*stream.next_in != 0x1f)
          fail("{} has bytes after the end of its gzip data: it is damaged; make the file again", place);
        inflateReset(&stream);
        inflating = true;
      }
      if (!refill())
        fail("{} is truncated: its gzip data ends early; copy the file again", place);
      stream.avail_out = static_cast<uInt>(std::min<size_t>(left, 1u << 30));
      uInt before = stream.avail_out;
      int status = inflate(&stream, Z_NO_FLUSH);
      left -= before - stream.avail_out;
      if (status == Z_STREAM_END)
        inflating = false;
      else if (status != Z_OK && status != Z_BUF_ERROR)
        fail("{} is damaged: its gzip data is wrong ({}); copy the file again", place,
             stream.msg ? stream.msg : zError(status));
    }
    return n - left;
  }
};

ByteReader::ByteReader(const std::string &path, bool gunzip, Whose whose) : state(std::make_unique<State>()) {
  State &s = *state;
  s.place = inQuotes(path);
  if (path.empty())
    fail("a data file has an empty name; give its path");
  if (path.find('\0') != std::string::npos)
    fail("the data file {} has a NUL byte in its name; correct the path", s.place);
  s.fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); // not to wait for the writer of a pipe
  if (s.fd < 0) {
    if (errno == ENOENT)
      fail("there is no file {}; check the path, or give the folder of the data with --data", s.place);
    fail("{} cannot be opened: {}", s.place, std::strerror(errno));
  }
  struct stat info;
  if (fstat(s.fd, &info) != 0)
    fail("{} cannot be read: {}", s.place, std::strerror(errno));
  if (S_ISDIR(info.st_mode))
    fail("{} is a folder where a data file is wanted; name a file in it", s.place);
  if (!S_ISREG(info.st_mode))
    fail("{} is not an ordinary file; copy its contents into one", s.place);
  s.fileSize = static_cast<uint64_t>(info.st_size);
  if (whose == Whose::users)
    rememberInput(path, "a file");

  unsigned char magic[2];
  bool compressed = gunzip && s.fileSize >= 2 && pread(s.fd, magic, 2, 0) == 2 && magic[0] == 0x1f && magic[1] == 0x8b;
  if (compressed) {
    if (inflateInit2(&s.stream, 15 + 16) != Z_OK)
      fail("{} cannot be decompressed: no memory for zlib", s.place);
    s.gzip = true;
  }
}

ByteReader::~ByteReader() = default;

bool ByteReader::isGzip() const { return state->gzip; }
const std::string &ByteReader::place() const { return state->place; }
uint64_t ByteReader::fileSize() const { return state->fileSize; }
uint64_t ByteReader::position() const { return state->position; }

size_t ByteReader::read(void *to, size_t n) {
  State &s = *state;
  size_t total = 0;
  if (s.gzip)
    total = s.readGzip(to, n);
  else
    while (total < n) {
      size_t got = s.readFile(static_cast<char *>(to) + total, n - total);
      if (got == 0)
        break;
      total += got;
    }
  s.position += total;
  return total;
}

void ByteReader::readExactly(void *to, size_t n, const char *what) {
  size_t got = read(to, n);
  if (got != n)
    fail("{} is truncated: {} should take {} but only {} are there; copy the file again", state->place, what,
         humanBytes(n), humanBytes(got));
}

void ByteReader::expectRemaining(uint64_t n, const std::string &what) const {
  const State &s = *state;
  if (s.gzip) {
    if (n / 1032 > s.fileSize + 64)
      fail("{} claims {}, {}, which its {} of gzip data cannot hold: its header is damaged; make the file again",
           s.place, what, humanBytes(n), humanBytes(s.fileSize));
    return;
  }
  uint64_t there = s.fileSize > s.position ? s.fileSize - s.position : 0;
  if (there < n)
    fail("{} is truncated: its header says {}, which is {}, but {} follow; copy the file again", s.place, what,
         humanBytes(n), humanBytes(there));
  if (there > n)
    fail("{} has {} after its data: its header says {}, which is {}, but {} follow; make the file again", s.place,
         humanBytes(there - n), what, humanBytes(n), humanBytes(there));
}

void ByteReader::expectEnd(const std::string &what) {
  char extra;
  if (read(&extra, 1) != 0)
    fail("{} has more data than the {} its header says; make the file again", state->place, what);
}

} // namespace hw
