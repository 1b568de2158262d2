// What all rules share: tokens, errors, entry points.
#include "frontend/ParserImpl.h"

#include <fmt/format.h>
#include <unordered_map>

namespace hw {

using namespace ast;

Token &Parser::take() {
  Token &token = tokens[pos];
  if (token.kind != Tok::End)
    ++pos;
  return token;
}

bool Parser::accept(Tok kind) {
  if (!at(kind))
    return false;
  take();
  return true;
}

bool Parser::acceptWord(std::string_view word) {
  if (!atWord(word) || !continues())
    return false;
  take();
  return true;
}

bool Parser::atStatementEnd() {
  return at(Tok::End) || at(Tok::Semicolon) || at(Tok::RBrace) || (peek().newlineBefore && !continues());
}

std::string Parser::found() {
  const Token &token = peek();
  if (token.newlineBefore && brackets == 0 && pos > 0)
    return "the end of the line";
  switch (token.kind) {
  case Tok::End:
    return "the end of the file";
  case Tok::String:
    return "a string";
  case Tok::Number:
    return fmt::format("the number `{}`", token.text());
  default:
    return fmt::format("`{}`", token.text());
  }
}

SourceRange Parser::foundRange() {
  const Token &token = peek();
  if (pos > 0 && ((token.newlineBefore && brackets == 0) || token.kind == Tok::End)) {
    SourceRange last = previous().range;
    return {last.source, last.end, last.end};
  }
  return token.range;
}

Diagnostic &Parser::report(SourceRange range, std::string message) {
  Diagnostic &added = diagnostics.error(range, std::move(message));
  if (diagnostics.errorCount() >= firstError + 100)
    throw GiveUp();
  return added;
}

void Parser::fail(std::string_view expected, std::string help) {
  if (at(Tok::Error)) // the lexer has said what is wrong
    throw SyntaxError();
  failAt(foundRange(), fmt::format("expected {}, found {}", expected, found()), std::move(help));
}

void Parser::failAt(SourceRange range, std::string message, std::string help) {
  Diagnostic &added = report(range, std::move(message));
  if (!help.empty())
    added.help(std::move(help));
  throw SyntaxError();
}

Token &Parser::expect(Tok kind, std::string_view where) {
  if (!at(kind) || !continues())
    fail(fmt::format("`{}` {}", spelling(kind), where));
  return take();
}

void Parser::expectWord(std::string_view word, std::string_view where) {
  if (!acceptWord(word))
    fail(fmt::format("`{}` {}", word, where));
}

Token &Parser::expectClose(const Token &open, Tok close, std::string_view what) {
  if (at(close))
    return take();
  if (at(Tok::Error))
    throw SyntaxError();
  const Source &source = *open.range.source;
  bool unclosed = at(Tok::End) || at(Tok::LBrace) || at(Tok::RBrace) || at(Tok::Semicolon) || at(Tok::For) ||
                  at(Tok::Return) || at(Tok::Fn) || (peek().newlineBefore && !continuesLine(previous().kind));
  bool otherLine = source.position(open.range.begin).line != source.position(peek().range.begin).line;
  if (unclosed && otherLine) {
    // The caret belongs to the bracket; where the parser noticed is a note.
    Diagnostic &added = report(open.range, fmt::format("this `{}` is never closed", spelling(open.kind)));
    if (!at(Tok::End))
      added.note(peek().range, fmt::format("`{}` or `,` was expected before this", spelling(close)));
    added.help(fmt::format("close {} with `{}`", what, spelling(close)));
    throw SyntaxError();
  }
  std::string help;
  if (at(Tok::Colon))
    help = "a named argument is `name = value`";
  else if (at(Tok::Assign))
    help = "a comparison is written `==`; a named argument is `name = value`";
  else if (at(Tok::RParen) || at(Tok::RBracket))
    help = fmt::format("`{}` is closed by `{}`", spelling(open.kind), spelling(close));
  else if (at(Tok::Name) || at(Tok::Number) || at(Tok::String))
    help = "is a comma or an operator missing?";
  Diagnostic &added =
      report(foundRange(), fmt::format("expected `,` or `{}` after {}, found {}", spelling(close), what, found()));
  if (otherLine)
    added.note(open.range, fmt::format("the `{}` is here", spelling(open.kind)));
  if (!help.empty())
    added.help(help);
  throw SyntaxError();
}

Parser::Level::Level(Parser &parser) : parser(parser) {
  if (++parser.nesting <= maxNesting)
    return;
  --parser.nesting; // the destructor of a half-made object does not run
  parser.report(parser.peek().range, fmt::format("this is nested more than {} levels deep", maxNesting))
      .help("give a part of it a name of its own, or move it into a function");
  throw GiveUp();
}

Name Parser::parseName(std::string_view what) {
  if (!at(Tok::Name) || !(continues() || peek().startsStatement)) {
    bool reserved = peek().kind >= Tok::Fn && peek().kind <= Tok::False && continues();
    fail(what, reserved ? fmt::format("`{}` is a reserved word: choose another name", peek().text()) : "");
  }
  const Token &token = take();
  return {std::string(token.text()), token.range};
}

std::vector<Name> Parser::parseNames(std::string_view what) {
  std::vector<Name> names;
  do
    names.push_back(parseName(what));
  while (continues() && accept(Tok::Comma));
  return names;
}

void Parser::checkDistinct(const std::vector<const Name *> &names, fmt::string_view message, std::string_view help) {
  std::unordered_map<std::string_view, const Name *> seen;
  for (const Name *name : names)
    if (auto [first, isNew] = seen.emplace(name->text, name); !isNew && name->text != "_")
      report(name->range, fmt::vformat(message, fmt::make_format_args(name->text)))
          .note(first->second->range, "the first is here")
          .help(std::string(help));
}

Module parseTokens(const Source &source, TokenList &list, Diagnostics &diagnostics) {
  Module module;
  module.source = &source;
  module.statements = Parser(list, diagnostics).parseFile();
  return module;
}

Module parseModule(const Source &source, Diagnostics &diagnostics) {
  TokenList list = tokenize(source, diagnostics);
  return parseTokens(source, list, diagnostics);
}

ExprPtr parseExpression(const Source &source, Diagnostics &diagnostics) {
  size_t before = diagnostics.errorCount();
  TokenList list = tokenize(source, diagnostics);
  ExprPtr value = Parser(list, diagnostics).parseWholeExpression();
  return diagnostics.errorCount() == before ? std::move(value) : nullptr;
}

} // namespace hw
