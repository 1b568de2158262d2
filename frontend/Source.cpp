#include "frontend/Source.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <fstream>
#include <sys/stat.h>

namespace hw {

Source::Source(std::string name, std::string text) : name_(std::move(name)), text_(std::move(text)) {
  lineStarts_.push_back(0);
  for (size_t i = 0; i < text_.size(); ++i)
    if (text_[i] == '\n')
      lineStarts_.push_back(static_cast<uint32_t>(i + 1));
}

std::unique_ptr<Source> Source::load(const std::string &path, std::string &error) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    error = fmt::format("cannot read `{}`: {}", path, std::strerror(errno));
    if (stat((path + ".hw").c_str(), &info) == 0)
      error += fmt::format("; did you mean `{}.hw`?", path);
    return nullptr;
  }
  if (S_ISDIR(info.st_mode)) {
    error = fmt::format("cannot read `{}`: it is a folder; name a `.hw` file", path);
    return nullptr;
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    error = fmt::format("cannot read `{}`: {}", path, std::strerror(errno));
    return nullptr;
  }
  // Read a bounded amount whatever stat said: the path may be a pipe or a device that never ends.
  std::string text(maxBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (file.bad()) {
    error = fmt::format("cannot read `{}`: {}", path, std::strerror(errno));
    return nullptr;
  }
  if (text.size() > maxBytes) {
    error =
        fmt::format("`{}` is larger than {} MiB: that is no model file; put data into a file of its own and read it "
                    "with `csv` or `npy`",
                    path, maxBytes >> 20);
    return nullptr;
  }
  return std::make_unique<Source>(path, std::move(text));
}

Source::Position Source::position(uint32_t offset) const {
  offset = std::min<uint32_t>(offset, static_cast<uint32_t>(text_.size()));
  auto next = std::upper_bound(lineStarts_.begin(), lineStarts_.end(), offset);
  unsigned line = static_cast<unsigned>(next - lineStarts_.begin());
  unsigned column = 1;
  for (uint32_t at = lineStarts_[line - 1]; at < offset;) {
    unsigned length = utf8Length(text_, at);
    at += length ? length : 1;
    if (at <= offset)
      ++column;
  }
  return {line, column};
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
