// A source file, and places in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace hw {

// The text of one file with an index of its lines. Every range points into one Source, so a Source must outlive the
// tokens, the AST and the diagnostics made from it; it is neither copied nor moved.
class Source {
public:
  Source(std::string name, std::string text);
  Source(const Source &) = delete;
  Source &operator=(const Source &) = delete;

  // Reads a file. On failure returns null and sets `error` to one sentence that names the path.
  static std::unique_ptr<Source> load(const std::string &path, std::string &error);

  // Model files are small; a larger one is a mistake, and offsets are 32 bits wide.
  static constexpr size_t maxBytes = 4u << 20;

  const std::string &name() const { return name_; }
  std::string_view text() const { return text_; }

  struct Position {
    unsigned line;   // from 1
    unsigned column; // from 1, in characters (UTF-8 code points), a tab counting as one
  };
  Position position(uint32_t offset) const;

  unsigned lineCount() const { return static_cast<unsigned>(lineStarts_.size()); }
  // The text of a line (from 1) without its newline.
  std::string_view line(unsigned number) const;
  // The byte offset at which a line (from 1) begins.
  uint32_t lineStart(unsigned number) const { return lineStarts_[number - 1]; }

private:
  std::string name_;
  std::string text_;
  std::vector<uint32_t> lineStarts_;
  std::vector<uint32_t> continuations_; // the bytes that do not begin a character
};

// Bytes [begin, end) of a source. A range without a source is "nowhere" (something the compiler made up).
struct SourceRange {
  const Source *source = nullptr;
  uint32_t begin = 0;
  uint32_t end = 0;

  explicit operator bool() const { return source != nullptr; }
  std::string_view text() const { return source ? source->text().substr(begin, end - begin) : std::string_view(); }
  // `file.hw:3:7`, or "<built in>" for nowhere.
  std::string str() const;
  // The smallest range that holds both.
  SourceRange to(SourceRange last) const { return {source, begin, last.end}; }
  bool operator==(const SourceRange &) const = default;
};

// The number of bytes of the UTF-8 code point at text[at], or 0 where the bytes are not valid UTF-8.
unsigned utf8Length(std::string_view text, size_t at);

} // namespace hw
