#include "runtime/formats/Text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fmt/format.h>

namespace hw {

CodePoint decodeUtf8(std::string_view text, size_t at) {
  auto byte = [&](size_t i) -> uint32_t { return static_cast<unsigned char>(text[at + i]); };
  uint32_t lead = byte(0);
  if (lead < 0x80)
    return {lead, 1, true};
  size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() - at < length)
    return {0, 1, false};
  uint32_t value = lead & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80)
      return {0, 1, false};
    value = value << 6 | (byte(i) & 0x3F);
  }
  bool overlong = (length == 3 && value < 0x800) || (length == 4 && value < 0x10000);
  bool surrogate = value >= 0xD800 && value <= 0xDFFF;
  if (overlong || surrogate || value > 0x10FFFF)
    return {0, 1, false};
  return {value, length, true};
}

bool isPrintable(uint32_t c) {
  if (c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0xAD)
    return false;
  if ((c >= 0x200B && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF)
    return false;
  return !((c & 0xFFFE) == 0xFFFE || (c >= 0xFDD0 && c <= 0xFDEF) || (c >= 0xE0000 && c <= 0xE0FFF));
}

std::string oneLine(std::string_view text, size_t limit) {
  std::string out;
  size_t count = 0;
  for (size_t at = 0; at < text.size(); ++count) {
    if (count == limit)
      return out + "…";
    CodePoint point = decodeUtf8(text, at);
    if (!point.valid)
      out += "\uFFFD";
    else if (isPrintable(point.value))
      out += text.substr(at, point.length);
    else
      out += ' ';
    at += point.length;
  }
  return out;
}

std::string escaped(std::string_view text, bool keepsLines) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = decodeUtf8(text, at);
    if (point.valid && (isPrintable(point.value) || (keepsLines && (point.value == '\n' || point.value == '\t'))))
      out += text.substr(at, point.length);
    else
      for (size_t i = 0; i < point.length; ++i)
        out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[at + i]));
    at += point.length;
  }
  return out;
}

size_t countCodePoints(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

namespace {
template <class T> std::string shortestOf(T value) {
  if (std::isnan(value))
    return "nan";
  if (std::isinf(value))
    return value > 0 ? "inf" : "-inf";
  char buffer[32];
  auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  return std::string(buffer, end);
}
} // namespace

std::string shortest(double value) { return shortestOf(value); }
std::string shortest(float value) { return shortestOf(value); }

} // namespace hw
