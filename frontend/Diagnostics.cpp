#include "frontend/Diagnostics.h"

#include "runtime/formats/Text.h"

#include <algorithm>
#include <fmt/format.h>

namespace hw {

Diagnostic &Diagnostic::note(SourceRange where, std::string text) {
  notes.push_back({where, std::move(text)});
  return *this;
}

Diagnostic &Diagnostic::help(std::string text) {
  helps.push_back(std::move(text));
  return *this;
}

Diagnostic &Diagnostics::error(SourceRange range, std::string message) {
  ++errors_;
  Diagnostic &added = all_.emplace_back();
  added.range = range;
  added.message = std::move(message);
  return added;
}

Diagnostic &Diagnostics::warning(SourceRange range, std::string message) {
  Diagnostic &added = all_.emplace_back();
  added.severity = Severity::Warning;
  added.range = range;
  added.message = std::move(message);
  return added;
}

namespace {

constexpr unsigned tabWidth = 4;
constexpr size_t excerptWidth = 120;

struct Style {
  bool color;
  std::string paint(std::string_view code, std::string_view text) const {
    return color ? fmt::format("\033[{}m{}\033[0m", code, text) : std::string(text);
  }
};

// One line of source as it is shown: tabs expanded, what a terminal would act on or not understand escaped, and the
// columns that the range covers marked. A cell is one column.
struct Excerpt {
  std::vector<std::string> cells;
  size_t begin, end; // marked cells
};

Excerpt excerpt(std::string_view line, size_t from, size_t to) {
  Excerpt result{{}, 0, 0};
  bool begun = false, ended = false;
  for (size_t at = 0; at < line.size();) {
    if (!begun && at >= from)
      result.begin = result.cells.size(), begun = true;
    if (!ended && at >= to)
      result.end = result.cells.size(), ended = true;
    const size_t length = decodeUtf8(line, at).length;
    const std::string shown = escaped(line.substr(at, length));
    if (line[at] == '\t') {
      do
        result.cells.push_back(" ");
      while (result.cells.size() % tabWidth);
    } else if (shown == line.substr(at, length)) {
      result.cells.push_back(shown);
    } else {
      for (char c : shown) // "\x1b"
        result.cells.emplace_back(1, c);
    }
    at += length;
  }
  if (!begun)
    result.begin = result.cells.size();
  if (!ended)
    result.end = result.cells.size();
  result.end = std::max(result.end, result.begin + 1); // an empty range still has a caret
  return result;
}

void renderPlace(std::string &out, const Style &style, SourceRange range, std::string_view mark) {
  const Source &source = *range.source;
  auto [number, column] = source.position(range.begin);
  uint32_t start = source.lineStart(number);
  Excerpt shown = excerpt(source.line(number), range.begin - start, range.end - start);

  // A line wider than the screen is shown around its mark.
  size_t first = 0, last = shown.cells.size();
  std::string before, after;
  if (last > excerptWidth) {
    first = shown.begin > excerptWidth / 2 ? shown.begin - excerptWidth / 2 : 0;
    last = std::min(last, first + excerptWidth);
    before = first > 0 ? "…" : "";
    after = last < shown.cells.size() ? "…" : "";
  }
  std::string text = before;
  for (size_t i = first; i < last; ++i)
    text += shown.cells[i];
  text += after;
  size_t end = std::min(shown.end, std::max(last, shown.begin + 1));
  size_t padding = shown.begin - first + (first > 0 ? 1 : 0);

  std::string label = std::to_string(number), gutter(label.size(), ' ');
  out += fmt::format(" {} {}\n", gutter, style.paint("34", "|"));
  out += fmt::format(" {} {} {}\n", style.paint("34", label), style.paint("34", "|"), text);
  out += fmt::format(" {} {} {}{}\n", gutter, style.paint("34", "|"), std::string(padding, ' '),
                     style.paint(mark, std::string(end - shown.begin, '^')));
}

} // namespace

std::string Diagnostics::render(const Diagnostic &diagnostic, bool color) {
  Style style{color};
  bool isError = diagnostic.severity == Severity::Error;
  std::string_view code = isError ? "1;31" : "1;33";
  std::string out;
  if (diagnostic.range)
    out += style.paint("1", escaped(diagnostic.range.str(), false) + ":") + " ";
  out +=
      style.paint(code, isError ? "error:" : "warning:") + " " + style.paint("1", escaped(diagnostic.message)) + "\n";
  if (diagnostic.range)
    renderPlace(out, style, diagnostic.range, code);
  for (const Diagnostic::Note &note : diagnostic.notes) {
    if (!note.range) {
      out += fmt::format("   = {} {}\n", style.paint("1", "note:"), escaped(note.message));
      continue;
    }
    out += fmt::format("{} {} {}\n", style.paint("1", escaped(note.range.str(), false) + ":"),
                       style.paint("1;36", "note:"), escaped(note.message));
    renderPlace(out, style, note.range, "1;36");
  }
  for (const std::string &help : diagnostic.helps)
    out += fmt::format("   = {} {}\n", style.paint("1;32", "help:"), escaped(help));
  return out;
}

std::string Diagnostics::render(bool color) const {
  std::vector<const Diagnostic *> sorted;
  std::vector<const Source *> files; // in the order in which they were first mentioned
  for (const Diagnostic &diagnostic : all_) {
    sorted.push_back(&diagnostic);
    if (std::find(files.begin(), files.end(), diagnostic.range.source) == files.end())
      files.push_back(diagnostic.range.source);
  }
  auto key = [&](const Diagnostic *d) {
    return std::pair(std::find(files.begin(), files.end(), d->range.source) - files.begin(), d->range.begin);
  };
  std::stable_sort(sorted.begin(), sorted.end(), [&](auto *a, auto *b) { return key(a) < key(b); });

  std::string out;
  for (size_t i = 0; i < std::min(sorted.size(), maxShown); ++i)
    out += render(*sorted[i], color);
  if (sorted.size() > maxShown)
    out += fmt::format("… and {} more\n", sorted.size() - maxShown);
  return out;
}

} // namespace hw
