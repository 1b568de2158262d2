#include "frontend/Source.h"

#include "runtime/formats/Inputs.h"
#include "runtime/formats/Text.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace hw {

Source::Source(std::string name, std::string text) : name_(std::move(name)), text_(std::move(text)) {
  lineStarts_.push_back(0);
  for (uint32_t at = 0; at < text_.size();) {
    if (text_[at] == '\n')
      lineStarts_.push_back(at + 1);
    const uint32_t end = at + std::max(1u, utf8Length(text_, at));
    while (++at < end)
      continuations_.push_back(at);
  }
}

namespace {

/// Reads at most text.size() bytes, whatever the path is: a pipe or a device may never end. False, and errno set, if it
/// cannot be read.
bool readSome(int fd, std::string &text) {
  constexpr int patience = 10; // seconds for someone to open a pipe for writing
  size_t size = 0;
  bool hasWriter = false;
  for (int waited = 0; size < text.size();) {
    const ssize_t got = read(fd, text.data() + size, text.size() - size);
    struct stat info;
    if (got > 0)
      size += static_cast<size_t>(got), hasWriter = true;
    else if (got < 0 && errno == EAGAIN) { // someone has it open
      hasWriter = true;
      pollfd waiting{fd, POLLIN, 0};
      poll(&waiting, 1, -1);
    } else if (got < 0 && errno != EINTR)
      return false;
    else if (got == 0 && (hasWriter || fstat(fd, &info) != 0 || !S_ISFIFO(info.st_mode)))
      break;
    else if (got == 0) {
      if (++waited > patience * 20) {
        errno = ETIMEDOUT;
        return false;
      }
      usleep(50'000);
    }
  }
  text.resize(size);
  return true;
}

} // namespace

std::unique_ptr<Source> Source::load(const std::string &path, std::string &error) {
  const std::string shown = escaped(path, false);
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    error = fmt::format("cannot read `{}`: {}", shown, std::strerror(errno));
    if (stat((path + ".hw").c_str(), &info) == 0)
      error += fmt::format("; did you mean `{}.hw`?", shown);
    return nullptr;
  }
  if (S_ISDIR(info.st_mode)) {
    error = fmt::format("cannot read `{}`: it is a folder; name a `.hw` file", shown);
    return nullptr;
  }
  // Without waiting for a pipe's writer to come.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  std::string text(maxBytes + 1, '\0');
  const bool isRead = fd >= 0 && readSome(fd, text);
  const int reason = errno;
  if (fd >= 0)
    close(fd);
  if (!isRead) {
    error = fmt::format("cannot read `{}`: {}", shown,
                        reason == ETIMEDOUT ? "it is a pipe that no one writes to" : std::strerror(reason));
    return nullptr;
  }
  rememberInput(path, "the model file");
  if (text.size() > maxBytes) {
    error =
        fmt::format("`{}` is larger than {} MiB: that is no model file; put data into a file of its own and read it "
                    "with `csv` or `npy`",
                    shown, maxBytes >> 20);
    return nullptr;
  }
  return std::make_unique<Source>(path, std::move(text));
}

Source::Position Source::position(uint32_t offset) const {
  offset = std::min<uint32_t>(offset, static_cast<uint32_t>(text_.size()));
  auto next = std::upper_bound(lineStarts_.begin(), lineStarts_.end(), offset);
  unsigned line = static_cast<unsigned>(next - lineStarts_.begin());
  // Asked for with every operation, and a line may be as long as a file: its characters are not counted anew.
  uint32_t start = lineStarts_[line - 1];
  auto inside = std::upper_bound(continuations_.begin(), continuations_.end(), offset) -
                std::lower_bound(continuations_.begin(), continuations_.end(), start);
  return {line, offset - start - static_cast<unsigned>(inside) + 1};
}

std::string_view Source::line(unsigned number) const {
  uint32_t begin = lineStarts_[number - 1];
  size_t end = number < lineStarts_.size() ? lineStarts_[number] - 1 : text_.size();
  std::string_view result = std::string_view(text_).substr(begin, end - begin);
  if (!result.empty() && result.back() == '\r')
    result.remove_suffix(1);
  return result;
}

std::string SourceRange::str() const {
  if (!source)
    return "<built in>";
  auto [line, column] = source->position(begin);
  return fmt::format("{}:{}:{}", source->name(), line, column);
}

// RFC 3629, table 3-7 of the Unicode standard: no overlong forms, no surrogates, nothing beyond U+10FFFF.
unsigned utf8Length(std::string_view text, size_t at) {
  auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  auto continues = [&](size_t i, unsigned low = 0x80, unsigned high = 0xBF) {
    return byte(i) >= low && byte(i) <= high;
  };
  unsigned first = byte(at);
  if (at < text.size() && first < 0x80)
    return 1;
  if (first >= 0xC2 && first <= 0xDF)
    return continues(at + 1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    unsigned low = first == 0xE0 ? 0xA0 : 0x80, high = first == 0xED ? 0x9F : 0xBF;
    return continues(at + 1, low, high) && continues(at + 2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    unsigned low = first == 0xF0 ? 0x90 : 0x80, high = first == 0xF4 ? 0x8F : 0xBF;
    return continues(at + 1, low, high) && continues(at + 2) && continues(at + 3) ? 4 : 0;
  }
  return 0;
}

} // namespace hw
