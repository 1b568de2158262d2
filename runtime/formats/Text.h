// UTF-8, just enough to keep foreign text out of terminals, file names and scripts where it could do harm.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace hw {

struct CodePoint {
  uint32_t value; ///< meaningless if not valid
  size_t length;  ///< bytes consumed, at least 1
  bool valid;     ///< well-formed UTF-8: no overlong form, no surrogate, at most U+10FFFF
};

/// The code point that starts at text[at]; at < text.size().
CodePoint decodeUtf8(std::string_view text, size_t at);

/// False for control characters and for those that reorder or hide text (bidirectional overrides, zero width).
bool isPrintable(uint32_t codePoint);

/// One printable line: tabs, newlines and other control characters become spaces, invalid bytes become U+FFFD; more
/// than `limit` code points are cut and end in an ellipsis.
std::string oneLine(std::string_view text, size_t limit = 10000);

/// Text for a terminal: what would act on it, reorder or hide (control characters but newline and tab, bidirectional
/// overrides, invalid bytes) is shown as "\\x1b", byte by byte.
/// `keepsLines`: newlines and tabs stay; without, as for a file's name, they are escaped too.
std::string escaped(std::string_view text, bool keepsLines = true);

/// Code points, counted by their first bytes.
size_t countCodePoints(std::string_view text);

/// The shortest decimal that reads back as the same number; "nan", "inf", "-inf".
std::string shortest(double value);
std::string shortest(float value);

} // namespace hw
