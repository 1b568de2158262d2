// Errors as a person reads them: the place, the line, a caret, and the likely fix.
//
//   fit.hw:3:8: error: expected `{` after the condition, found `=`
//      |
//    3 |   if n = 3 {
//      |        ^
//      = help: `=` assigns; a comparison is written `==`
#pragma once

#include "frontend/Source.h"

#include <deque>
#include <string>
#include <vector>

namespace hw {

enum class Severity { Error, Warning };

struct Diagnostic {
  struct Note {
    SourceRange range; // may be nowhere
    std::string message;
  };

  Severity severity = Severity::Error;
  SourceRange range;
  std::string message;
  std::vector<Note> notes;
  std::vector<std::string> helps;

  // Another place that matters: "the `(` is opened here", "called from here".
  Diagnostic &note(SourceRange where, std::string text);
  Diagnostic &note(std::string text) { return note({}, std::move(text)); }
  // The likely fix, as an imperative sentence.
  Diagnostic &help(std::string text);
};

class Diagnostics {
public:
  // At most this many are printed; the rest are counted.
  static constexpr size_t maxShown = 20;

  // The reference stays valid, to add notes and help:  diags.error(range, "…").help("…");
  Diagnostic &error(SourceRange range, std::string message);
  Diagnostic &warning(SourceRange range, std::string message);

  bool hasErrors() const { return errors_ != 0; }
  size_t errorCount() const { return errors_; }
  bool empty() const { return all_.empty(); }
  // In the order in which they were reported.
  const std::deque<Diagnostic> &all() const { return all_; }

  // Sorted by file and place, at most maxShown, each ending with a newline. With `color`, ANSI colours.
  std::string render(bool color = false) const;
  static std::string render(const Diagnostic &diagnostic, bool color = false);

private:
  std::deque<Diagnostic> all_;
  size_t errors_ = 0;
};

} // namespace hw
