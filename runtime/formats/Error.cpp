#include "runtime/formats/Error.h"
#include "runtime/formats/Text.h"

#include <array>

namespace hw {

Error::Error(const std::string &sentence) : std::runtime_error(sentence) {}
Error::~Error() = default;

std::string inQuotes(std::string_view text, size_t limit) {
  std::string out = "'";
  size_t at = 0;
  while (at < text.size()) {
    if (at >= limit) {
      out += "…";
      break;
    }
    CodePoint point = decodeUtf8(text, at);
    if (point.valid && isPrintable(point.value))
      out += text.substr(at, point.length);
    else
      for (size_t i = 0; i < point.length; ++i)
        out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[at + i]));
    at += point.length;
  }
  return out + "'";
}

std::string humanBytes(unsigned long long bytes) {
  if (bytes < 10000)
    return fmt::format("{} byte{}", bytes, bytes == 1 ? "" : "s");
  static constexpr std::array<const char *, 6> units = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < units.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.4g} {}", value, units[unit]);
}

} // namespace hw
