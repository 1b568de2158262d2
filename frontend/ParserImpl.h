// The parser's insides, shared by ParseExpression.cpp and ParseStatement.cpp.
//
// Recursive descent. A rule that meets what it cannot read reports it and throws SyntaxError, which the statement loop
// catches: it skips to the next statement and goes on. A newline ends a statement unless a bracket is open, the line
// ends in an operator or a comma, or the next begins with `|>`; so expression rules ask `continues()` before they take
// a token as the continuation of what they have.
#pragma once

#include "frontend/Lexer.h"
#include "frontend/Parser.h"

#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <optional>

namespace hw {

class Parser {
public:
  Parser(TokenList &list, Diagnostics &diagnostics)
      : list(list), tokens(list.tokens), diagnostics(diagnostics), firstError(diagnostics.errorCount()) {}

  // ParseStatement.cpp
  std::vector<ast::StmtPtr> parseFile();

  // ParseExpression.cpp
  ast::ExprPtr parseExpr(); // the loosest level: `E on SOURCE`
  ast::ExprPtr parseWholeExpression();

private:
  struct SyntaxError {}; // reported; the statement loop recovers
  struct GiveUp {};      // reported; no use in going on

  TokenList &list;
  std::vector<Token> &tokens;
  Diagnostics &diagnostics;
  size_t firstError;
  size_t pos = 0;
  unsigned brackets = 0; // `(` and `[` open here
  unsigned nesting = 0;  // of rules that recurse
  // Where a `}` seems to be missing: the first statement that stands no deeper than the one its block belongs to, and
  // that block's `{`.
  SourceRange suspect, suspectOpen;
  bool unclosedReported = false;
  unsigned missingOpen = 0; // blocks reported to lack their `{`, whose `}` may still come

  //===-- Tokens ----------------------------------------------------------------------------------------------===//
  Token &peek(size_t ahead = 0) { return tokens[std::min(pos + ahead, tokens.size() - 1)]; }
  const Token &previous() const { return tokens[pos ? pos - 1 : 0]; }
  bool at(Tok kind) { return peek().kind == kind; }
  bool atWord(std::string_view word) { return at(Tok::Name) && peek().text() == word; }
  Token &take();
  bool accept(Tok kind);
  bool acceptWord(std::string_view word);
  // True unless the token begins a line that is a statement of its own.
  bool continues() {
    return brackets != 0 || !peek().newlineBefore || at(Tok::Pipe) || (pos > 0 && continuesLine(previous().kind));
  }
  bool atStatementEnd();
  // The token as a message names it, and where its caret goes: a line's end is what is found before a newline.
  std::string found();
  SourceRange foundRange();

  //===-- Errors ----------------------------------------------------------------------------------------------===//
  Diagnostic &report(SourceRange range, std::string message);
  // "expected …, found …" at the current token. `help` may be empty.
  [[noreturn]] void fail(std::string_view expected, std::string help = {});
  [[noreturn]] void failAt(SourceRange range, std::string message, std::string help = {});
  Token &expect(Tok kind, std::string_view where);
  void expectWord(std::string_view word, std::string_view where);
  // The bracket that closes `open`, or an error that shows where that one stands.
  Token &expectClose(const Token &open, Tok close, std::string_view what);

  // Counts a level of recursion for as long as it lives; too many end the parse.
  struct Level {
    Parser &parser;
    explicit Level(Parser &parser);
    ~Level() { --parser.nesting; }
  };
  struct Bracket {
    Parser &parser;
    explicit Bracket(Parser &parser) : parser(parser) { ++parser.brackets; }
    ~Bracket() { --parser.brackets; }
  };

  //===-- Shared rules ----------------------------------------------------------------------------------------===//
  ast::Name parseName(std::string_view what);
  std::vector<ast::Name> parseNames(std::string_view what);
  // Reports each name that repeats an earlier one, but for `_`. `message` holds a `{}` for the name.
  void checkDistinct(const std::vector<const ast::Name *> &names, fmt::string_view message, std::string_view help);
  // The same for a list of things that each have a name, which `nameOf` finds.
  template <typename T, typename NameOf>
  void checkDistinct(const std::vector<T> &all, NameOf nameOf, fmt::string_view message, std::string_view help) {
    std::vector<const ast::Name *> names;
    names.reserve(all.size());
    for (const T &each : all)
      names.push_back(&std::invoke(nameOf, each));
    checkDistinct(names, message, help);
  }
  // The range from the token at index `first` to the last one taken.
  SourceRange since(size_t first) const { return tokens[first].range.to(previous().range); }

  //===-- Expressions -----------------------------------------------------------------------------------------===//
  ast::ExprPtr parseOr() { return parseBinary(1); }
  ast::ExprPtr parseBinary(int level);
  ast::ExprPtr parseUnary();
  ast::ExprPtr parsePower();
  ast::ExprPtr parsePostfix();
  ast::ExprPtr parsePrimary();
  ast::ExprPtr parseBracketed();
  ast::ExprPtr parseList();
  ast::ExprPtr parseCall(ast::ExprPtr callee);
  ast::ExprPtr parseIndex(ast::ExprPtr base);
  ast::IndexItem parseIndexItem();
  std::unique_ptr<ast::String> parseString();
  ast::DataSource parseSource();
  ast::ForClause parseForClause();
  std::vector<ast::ExprPtr> parseExprs();
  [[noreturn]] void failOperand();

  template <typename Node, typename... Args> std::unique_ptr<Node> make(uint32_t childHeight, Args &&...args) {
    auto node = std::make_unique<Node>(std::forward<Args>(args)...);
    setHeight(*node, childHeight);
    return node;
  }
  void setHeight(ast::Expr &node, uint32_t childHeight);

  //===-- Statements ------------------------------------------------------------------------------------------===//
  ast::StmtPtr parseStatement();
  ast::StmtPtr parseKeywordStatement();
  void parseStatementsInto(std::vector<ast::StmtPtr> &into, const Token *open, const Token *owner);
  ast::Block parseBlock(const Token &owner, std::string_view after);
  std::unique_ptr<ast::Block> parseBlockPtr(const Token &owner, std::string_view after);
  void expectStatementEnd();
  void recover(size_t first);
  void skipBraces();
  void expectBlockEnd(const Token &open);
  [[noreturn]] void failNoBlock(std::string_view expected, std::string help = {});
  bool assignmentAhead();
  [[noreturn]] void failNoStatement();
  unsigned columnOf(const Token &token);

  ast::StmtPtr parseAssign();
  ast::StmtPtr parseStateAssign();
  ast::StmtPtr parseFn();
  template <typename Node> ast::StmtPtr parseParam();
  ast::StmtPtr parseReturn();
  ast::StmtPtr parseData();
  ast::StmtPtr parseFor();
  ast::StmtPtr parseIf();
  ast::StmtPtr parseTrain();
  ast::StmtPtr parseMinimize();
  ast::StmtPtr parseEvery();
  ast::StmtPtr parseStop();
  ast::StmtPtr parseRecord();
  ast::StmtPtr parseSave();
  ast::StmtPtr parseCheckpoint();
  ast::StmtPtr parseQuick();
  ast::StmtPtr parsePlot();
  ast::Mark parseMark();
  std::vector<ast::Item> parseItems();
  void parseMarksInto(std::vector<ast::Mark> &into);
  ast::Unit parseUnit();
};

} // namespace hw
