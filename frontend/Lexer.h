// Text to tokens. What ends a statement is the parser's business: a token only knows whether it begins a line.
#pragma once

#include "frontend/Ast.h"
#include "frontend/Diagnostics.h"

#include <string>
#include <string_view>
#include <vector>

namespace hw {

enum class Tok : uint8_t {
  End,
  Error, // already reported; the parser adds nothing to it
  Number,
  String,
  Name, // a word that is not reserved, also `train`, `record`, `on`, …: those have a meaning by their place alone
  // reserved words
  Fn,
  For,
  In,
  If,
  Else,
  Return,
  And,
  Or,
  Not,
  None,
  True,
  False,
  // punctuation
  LParen,
  RParen,
  LBracket,
  RBracket,
  LBrace,
  RBrace,
  Comma,
  Semicolon,
  Colon,
  Dot,
  Ellipsis,
  Prime,
  Assign,
  // operators
  Pipe,
  DotDot,
  Plus,
  Minus,
  Star,
  Slash,
  At,
  Caret,
  Less,
  LessEqual,
  Greater,
  GreaterEqual,
  EqualEqual,
  NotEqual,
};

struct Token {
  Tok kind = Tok::End;
  SourceRange range;
  bool newlineBefore = false; // the first of its line (or the file's first)
  bool blankBefore = false;   // an empty line stands right before it
  uint32_t literal = 0;       // Number: index of its value; String: index into strings

  // What the parser found it to be, for the formatter.
  bool startsStatement = false;
  bool prefix = false; // a unary minus
  bool tight = false;  // `(` of a call, `[` of an index, `:` of a slice: no space before

  std::string_view text() const { return range.text(); }
};

struct Comment {
  SourceRange range; // from `//` to the end of the line, trailing blanks not counted
  bool ownLine;      // nothing but blanks stands before it
  bool blankBefore;  // an empty line stands right before it
  uint32_t token;    // index of the token that follows
};

struct StringLiteral {
  std::string value;
  std::vector<ast::String::Part> parts;
};

struct NumberLiteral {
  double value;
  bool isInteger;
};

struct TokenList {
  std::vector<Token> tokens; // ends with Tok::End
  std::vector<Comment> comments;
  std::vector<StringLiteral> strings;
  std::vector<NumberLiteral> numbers;
};

// Cuts the text into tokens. Reports what no token can be made of (a stray character, an unclosed string, bytes that
// are not UTF-8) and goes on with the likeliest reading.
TokenList tokenize(const Source &source, Diagnostics &diagnostics);

// The spelling of a reserved word, an operator or a punctuation mark.
std::string_view spelling(Tok kind);

// True where a line that ends in this token goes on in the next: after an operator, a comma, an opening bracket.
bool continuesLine(Tok kind);

} // namespace hw
