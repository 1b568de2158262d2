// The formatter prints the tokens, not the tree: comments and the writer's line breaks lie between tokens. The parser
// has marked what a token alone does not say: where statements begin, which `-` is a sign, which `(` calls.
#include "frontend/Format.h"

#include "frontend/ParserImpl.h"

namespace hw {

namespace {

constexpr size_t maxColumns = 120;
constexpr unsigned indentWidth = 2;

size_t columns(std::string_view text) {
  size_t count = 0;
  for (unsigned char c : text)
    count += (c & 0xC0) != 0x80; // not a continuation byte of UTF-8
  return count;
}

// Whether a space stands between two tokens of one line.
bool spaced(const Token &before, const Token &after) {
  // Dots that would run together into another token: `1. ..5`, `1.. .5`.
  if (before.text().back() == '.' && after.text().front() == '.')
    return true;
  switch (before.kind) {
  case Tok::LParen:
  case Tok::LBracket:
  case Tok::Dot:
  case Tok::Caret:
  case Tok::DotDot:
    return false;
  case Tok::Minus:
    if (before.prefix)
      return false;
    break;
  case Tok::Colon:
    if (before.tight)
      return false;
    break;
  default:
    break;
  }
  switch (after.kind) {
  case Tok::RParen:
  case Tok::RBracket:
  case Tok::Comma:
  case Tok::Semicolon:
  case Tok::Colon:
  case Tok::Dot:
  case Tok::Prime:
  case Tok::Caret:
  case Tok::DotDot:
    return before.kind == Tok::Comma && after.kind == Tok::Colon; // a[0, :]
  case Tok::RBrace:
    return before.kind != Tok::LBrace;
  default:
    return !after.tight;
  }
}

class Formatter {
public:
  explicit Formatter(const TokenList &list) : tokens(list.tokens), comments(list.comments) {}

  std::string run() {
    statements(0, 0);
    if (!out.empty())
      out += '\n';
    return std::move(out);
  }

private:
  const std::vector<Token> &tokens;
  const std::vector<Comment> &comments;
  std::string out;
  size_t nextComment = 0;

  bool hasComments(size_t token) const { return nextComment < comments.size() && comments[nextComment].token == token; }

  void newline(unsigned indent) {
    if (!out.empty())
      out += '\n';
    out.append(indent, ' ');
  }

  size_t column() const {
    size_t last = out.rfind('\n');
    return columns(std::string_view(out).substr(last == std::string::npos ? 0 : last + 1));
  }

  // Prints the comments that stand before a token, and returns whether there were any (so that a line has ended).
  // With `keepBlanks`, between statements, an empty line before a comment is kept.
  bool printComments(size_t token, unsigned indent, bool keepBlanks, bool first = false) {
    bool any = false;
    for (; hasComments(token); ++nextComment, any = true) {
      const Comment &comment = comments[nextComment];
      if (comment.ownLine) {
        if (keepBlanks && comment.blankBefore && !(first && !any))
          out += '\n';
        newline(indent);
      } else {
        out += "  ";
      }
      out += comment.range.text();
    }
    return any;
  }

  // Where the statement that begins at a token ends (not included), and its blocks' outermost braces.
  struct Extent {
    size_t end;
    size_t firstOpen = 0, lastClose = 0; // 0: no block
  };
  Extent extent(size_t begin) const {
    Extent e{begin};
    for (int depth = 0;; ++e.end) {
      Tok kind = tokens[e.end].kind;
      if (kind == Tok::End)
        return e;
      if (depth == 0 &&
          (kind == Tok::RBrace || kind == Tok::Semicolon || (e.end > begin && tokens[e.end].startsStatement)))
        return e;
      if (kind == Tok::LBrace && depth++ == 0 && !e.firstOpen)
        e.firstOpen = e.end;
      if (kind == Tok::RBrace && --depth == 0)
        e.lastClose = e.end;
    }
  }

  // The tokens [begin, end), known to hold no break and no comment, on one line.
  std::string flat(size_t begin, size_t end) const {
    std::string line;
    size_t last = end; // none yet
    for (size_t i = begin; i < end; ++i) {
      if (tokens[i].kind == Tok::Semicolon || droppedComma(i))
        continue;
      if (last != end) {
        if (tokens[i].startsStatement && tokens[last].kind != Tok::LBrace)
          line += "; ";
        else if (spaced(tokens[last], tokens[i]))
          line += ' ';
      }
      line += tokens[i].text();
      last = i;
    }
    return line;
  }

  bool isClosing(size_t i) const { return tokens[i].kind == Tok::RParen || tokens[i].kind == Tok::RBracket; }

  // A trailing comma is kept only before a bracket that closes on a line of its own.
  bool droppedComma(size_t i) const {
    const Token &next = tokens[std::min(i + 1, tokens.size() - 1)];
    return tokens[i].kind == Tok::Comma && (next.kind == Tok::RParen || next.kind == Tok::RBracket) &&
           !next.newlineBefore;
  }

  // The blocks of a statement go on its line if they were written so.
  bool blocksOnOneLine(const Extent &e) const {
    size_t firstComment = nextComment;
    while (firstComment < comments.size() && comments[firstComment].token <= e.firstOpen)
      ++firstComment;
    if (firstComment < comments.size() && comments[firstComment].token <= e.lastClose)
      return false;
    bool empty = true;
    for (size_t i = e.firstOpen + 1; i < e.lastClose; ++i)
      empty &= tokens[i].kind == Tok::Semicolon;
    if (empty)
      return true;
    for (size_t i = e.firstOpen + 1; i <= e.lastClose; ++i)
      if (tokens[i].newlineBefore)
        return false;
    return column() + columns(flat(e.firstOpen, e.end)) <= maxColumns;
  }

  // Statements from token `i` to the `}` or the end of the file that stops them, each on a line; returns that place.
  size_t statements(size_t i, unsigned indent) {
    bool first = true;
    while (true) {
      while (tokens[i].kind == Tok::Semicolon) {
        printComments(i, indent, true, first);
        ++i;
      }
      bool atEnd = tokens[i].kind == Tok::End || tokens[i].kind == Tok::RBrace;
      bool any = printComments(i, indent, true, first);
      if (atEnd)
        return i;
      if (tokens[i].blankBefore && (any || !first))
        out += '\n';
      newline(indent);
      i = statement(i, indent);
      first = false;
    }
  }

  size_t statement(size_t begin, unsigned indent) {
    Extent e = extent(begin);
    // How far brackets indent a line: one step for each line that opened some which are still open.
    std::vector<size_t> openLines;
    size_t line = 0;
    size_t last = e.end; // the token printed last; none yet
    for (size_t i = begin; i < e.end; ++i) {
      const Token &token = tokens[i];
      if (droppedComma(i) && !hasComments(i + 1))
        continue;
      bool closes = isClosing(i);
      if (closes && !openLines.empty())
        openLines.pop_back();
      bool brace = token.kind == Tok::LBrace || token.kind == Tok::RBrace || token.kind == Tok::Else;
      // A line of several closing brackets stands where the first of what they close began.
      size_t open = openLines.size();
      for (size_t k = i + 1; closes && open && isClosing(k) && !tokens[k].newlineBefore; ++k)
        --open;
      unsigned steps = 0;
      for (size_t k = 0; k < open; ++k)
        steps += k == 0 || openLines[k] != openLines[k - 1];
      unsigned lineIndent = indent + indentWidth * (brace || closes ? steps : std::max(steps, 1u));

      bool broken = i > begin && printComments(i, brace ? indent : lineIndent, false);
      if (i > begin && (broken || (token.newlineBefore && !brace))) {
        newline(lineIndent);
        ++line;
      } else if (last != e.end && spaced(tokens[last], token)) {
        out += ' ';
      }

      if (i == e.firstOpen && e.firstOpen && blocksOnOneLine(e)) {
        out += flat(i, e.end);
        return e.end;
      }
      out += token.text();
      last = i;
      if (token.kind == Tok::LBrace) {
        size_t close = statements(i + 1, indent + indentWidth);
        newline(indent);
        out += '}';
        last = i = close;
      }
      if (token.kind == Tok::LParen || token.kind == Tok::LBracket)
        openLines.push_back(line);
    }
    return e.end;
  }
};

} // namespace

std::optional<std::string> formatSource(const Source &source, Diagnostics &diagnostics) {
  size_t before = diagnostics.errorCount();
  TokenList list = tokenize(source, diagnostics);
  Parser(list, diagnostics).parseFile();
  if (diagnostics.errorCount() != before)
    return std::nullopt;
  return Formatter(list).run();
}

} // namespace hw
