// Expressions, loosest first:
//
//   on SOURCE          left
//   or                 left
//   and                left
//   not
//   < <= > >= == !=    do not chain
//   |>                 left
//   ..                 does not associate
//   + -                left
//   * / @              left
//   unary -
//   ^                  right; its right side may begin with `-`
//   f(…) a[…] .field
#include "frontend/ParserImpl.h"

#include <fmt/format.h>

namespace hw {

using namespace ast;

namespace {

struct Operator {
  BinaryOp op;
  int level;
};

// Levels of parseBinary. Between `and` and comparison stands `not`.
enum Precedence {
  OrLevel = 1,
  AndLevel,
  NotLevel,
  ComparisonLevel,
  PipeLevel,
  RangeLevel,
  SumLevel,
  ProductLevel,
  UnaryLevel
};

std::optional<Operator> binaryOperator(Tok kind) {
  switch (kind) {
  case Tok::Or:
    return Operator{BinaryOp::Or, OrLevel};
  case Tok::And:
    return Operator{BinaryOp::And, AndLevel};
  case Tok::Less:
    return Operator{BinaryOp::Lt, ComparisonLevel};
  case Tok::LessEqual:
    return Operator{BinaryOp::Le, ComparisonLevel};
  case Tok::Greater:
    return Operator{BinaryOp::Gt, ComparisonLevel};
  case Tok::GreaterEqual:
    return Operator{BinaryOp::Ge, ComparisonLevel};
  case Tok::EqualEqual:
    return Operator{BinaryOp::Eq, ComparisonLevel};
  case Tok::NotEqual:
    return Operator{BinaryOp::Ne, ComparisonLevel};
  case Tok::Pipe:
    return Operator{BinaryOp::Pipe, PipeLevel};
  case Tok::DotDot:
    return Operator{BinaryOp::Range, RangeLevel};
  case Tok::Plus:
    return Operator{BinaryOp::Add, SumLevel};
  case Tok::Minus:
    return Operator{BinaryOp::Sub, SumLevel};
  case Tok::Star:
    return Operator{BinaryOp::Mul, ProductLevel};
  case Tok::Slash:
    return Operator{BinaryOp::Div, ProductLevel};
  case Tok::At:
    return Operator{BinaryOp::MatMul, ProductLevel};
  default:
    return std::nullopt;
  }
}

uint32_t heightOf(const std::vector<ExprPtr> &all) {
  uint32_t height = 0;
  for (const ExprPtr &e : all)
    height = std::max(height, e->height);
  return height;
}

uint32_t heightOf(const ExprPtr &e) { return e ? e->height : 0; }

} // namespace

void Parser::setHeight(Expr &node, uint32_t childHeight) {
  node.height = childHeight + 1;
  if (node.height > maxHeight) {
    report(node.range, fmt::format("this expression is more than {} operations deep", maxHeight))
        .help("give a part of it a name of its own, or use `sum` or a loop");
    throw GiveUp();
  }
}

ExprPtr Parser::parseExpr() {
  Level level(*this);
  ExprPtr value = parseOr();
  while (atWord("on") && continues()) {
    take();
    DataSource source = parseSource();
    SourceRange range = value->range.to(source.range);
    uint32_t height = std::max({value->height, heightOf(source.data), heightOf(source.batch)});
    value = make<On>(height, range, std::move(value), std::move(source));
  }
  return value;
}

// SOURCE = EXPR [batch EXPR [ordered]]
DataSource Parser::parseSource() {
  size_t first = pos;
  DataSource source;
  source.data = parseOr();
  if (atWord("batch") && continues()) {
    take();
    if (at(Tok::Assign))
      fail("the number of samples", "write `batch 32`");
    source.batch = parseOr();
    if (atWord("ordered") && continues()) {
      take();
      source.ordered = true;
    }
  }
  source.range = since(first);
  return source;
}

ExprPtr Parser::parseBinary(int level) {
  if (level == NotLevel) {
    if (!at(Tok::Not))
      return parseBinary(ComparisonLevel);
    Level guard(*this);
    SourceRange range = take().range;
    ExprPtr operand = parseBinary(NotLevel);
    uint32_t height = operand->height;
    range = range.to(operand->range);
    return make<Unary>(height, range, UnaryOp::Not, std::move(operand));
  }
  if (level == UnaryLevel)
    return parseUnary();

  ExprPtr lhs = parseBinary(level + 1);
  bool once = false;
  while (true) {
    std::optional<Operator> found = binaryOperator(peek().kind);
    if (!found || found->level != level || !continues())
      return lhs;
    SourceRange opRange = peek().range;
    if (once && level == ComparisonLevel) {
      const auto &before = static_cast<const Binary &>(*lhs);
      take();
      ExprPtr third = parseBinary(level + 1);
      failAt(opRange, "comparisons do not chain",
             fmt::format("write `{0} {1} {2} and {2} {3} {4}`", before.lhs->range.text(), spelling(before.op),
                         before.rhs->range.text(), opRange.text(), third->range.text()));
    }
    if (once && level == RangeLevel)
      failAt(opRange, "ranges do not chain",
             "for steps other than 1 write `linspace` or a product: `[2 * i for i in 0..5]`");
    once = true;
    take();
    ExprPtr rhs = parseBinary(level + 1);
    SourceRange range = lhs->range.to(rhs->range);
    uint32_t height = std::max(lhs->height, rhs->height);
    lhs = make<Binary>(height, range, found->op, opRange, std::move(lhs), std::move(rhs));
  }
}

ExprPtr Parser::parseUnary() {
  if (!at(Tok::Minus))
    return parsePower();
  Level guard(*this);
  peek().prefix = true;
  SourceRange range = take().range;
  ExprPtr operand = parseUnary();
  uint32_t height = operand->height;
  range = range.to(operand->range);
  return make<Unary>(height, range, UnaryOp::Negate, std::move(operand));
}

ExprPtr Parser::parsePower() {
  ExprPtr base = parsePostfix();
  if (!at(Tok::Caret) || !continues())
    return base;
  Level guard(*this);
  SourceRange opRange = take().range;
  ExprPtr exponent = parseUnary();
  SourceRange range = base->range.to(exponent->range);
  uint32_t height = std::max(base->height, exponent->height);
  return make<Binary>(height, range, BinaryOp::Pow, opRange, std::move(base), std::move(exponent));
}

ExprPtr Parser::parsePostfix() {
  ExprPtr value = parsePrimary();
  while (continues()) {
    if (at(Tok::LParen)) {
      value = parseCall(std::move(value));
    } else if (at(Tok::LBracket)) {
      value = parseIndex(std::move(value));
    } else if (at(Tok::Dot)) {
      take();
      Name field = parseName("the name of a field after `.`");
      SourceRange range = value->range.to(field.range);
      uint32_t height = value->height;
      value = make<Field>(height, range, std::move(value), std::move(field));
    } else {
      break;
    }
  }
  return value;
}

ExprPtr Parser::parseCall(ExprPtr callee) {
  if (callee->kind == ExprKind::Number)
    failAt(callee->range, fmt::format("`{}` is a number: it cannot be called", callee->range.text()),
           fmt::format("a product is written `{} * (…)`", callee->range.text()));
  peek().tight = true;
  Token open = take();
  Bracket bracket(*this);
  std::vector<ExprPtr> args;
  std::vector<KeywordArg> keywords;
  uint32_t height = callee->height;
  while (!at(Tok::RParen)) {
    if (at(Tok::Name) && peek(1).kind == Tok::Assign) {
      KeywordArg keyword{parseName("a name"), nullptr};
      take();
      keyword.value = parseExpr();
      height = std::max(height, keyword.value->height);
      keywords.push_back(std::move(keyword));
    } else {
      ExprPtr arg = parseExpr();
      if (!keywords.empty())
        report(arg->range, "an argument without a name stands after one with a name")
            .help("put it before the first `name = value`");
      height = std::max(height, arg->height);
      args.push_back(std::move(arg));
    }
    if (!accept(Tok::Comma))
      break;
  }
  expectClose(open, Tok::RParen, "the arguments");
  checkDistinct(keywords, &KeywordArg::name, "`{}` is given twice", "remove one of the two");
  SourceRange range = callee->range.to(previous().range);
  return make<Call>(height, range, std::move(callee), std::move(args), std::move(keywords));
}

ExprPtr Parser::parseIndex(ExprPtr base) {
  peek().tight = true;
  Token open = take();
  Bracket bracket(*this);
  if (at(Tok::RBracket))
    failAt(open.range.to(peek().range), "an index has at least one entry", "`a[:]` is all of `a`");
  std::vector<IndexItem> items;
  uint32_t height = base->height;
  do {
    if (at(Tok::RBracket))
      break; // a trailing comma
    items.push_back(parseIndexItem());
    const IndexItem &item = items.back();
    height = std::max({height, heightOf(item.index), heightOf(item.start), heightOf(item.stop), heightOf(item.step)});
  } while (accept(Tok::Comma));
  expectClose(open, Tok::RBracket, "the index");
  SourceRange range = base->range.to(previous().range);
  return make<Index>(height, range, std::move(base), std::move(items));
}

IndexItem Parser::parseIndexItem() {
  size_t first = pos;
  IndexItem item{IndexItem::At, {}, nullptr, nullptr, nullptr, nullptr};
  auto atItemEnd = [&] { return at(Tok::Colon) || at(Tok::Comma) || at(Tok::RBracket); };
  if (at(Tok::Ellipsis)) {
    item.kind = IndexItem::Ellipsis;
    take();
  } else {
    if (!at(Tok::Colon))
      item.index = parseExpr();
    if (at(Tok::Colon)) {
      item.kind = IndexItem::Slice;
      item.start = std::move(item.index);
      peek().tight = true;
      take();
      if (!atItemEnd())
        item.stop = parseExpr();
      if (at(Tok::Colon)) {
        peek().tight = true;
        take();
        if (!atItemEnd())
          item.step = parseExpr();
      }
    } else if (item.index->kind == ExprKind::None) {
      item.kind = IndexItem::NewAxis;
      item.index = nullptr;
    }
  }
  item.range = since(first);
  return item;
}

ExprPtr Parser::parsePrimary() {
  const Token &token = peek();
  switch (token.kind) {
  case Tok::Number: {
    NumberLiteral literal = list.numbers[token.literal];
    take();
    return make<Number>(0, token.range, literal.value, literal.isInteger);
  }
  case Tok::String:
    return parseString();
  case Tok::True:
  case Tok::False:
    take();
    return make<Bool>(0, token.range, token.kind == Tok::True);
  case Tok::None:
    take();
    return make<None>(0, token.range);
  case Tok::Name:
    take();
    return make<Ref>(0, token.range, std::string(token.text()));
  case Tok::LParen:
    return parseBracketed();
  case Tok::LBracket:
    return parseList();
  default:
    failOperand();
  }
}

std::unique_ptr<String> Parser::parseString() {
  const Token &token = take();
  const StringLiteral &literal = list.strings[token.literal];
  return make<String>(0, token.range, literal.value, literal.parts);
}

// (EXPRS)
ExprPtr Parser::parseBracketed() {
  size_t first = pos;
  Token open = take();
  Bracket bracket(*this);
  if (at(Tok::RParen))
    failAt(open.range.to(peek().range), "there is nothing in these brackets", "an empty list is `[]`");
  std::vector<ExprPtr> elements;
  bool comma;
  do {
    elements.push_back(parseExpr());
    comma = accept(Tok::Comma);
  } while (comma && !at(Tok::RParen));
  bool trailing = comma && elements.size() == 1;
  expectClose(open, Tok::RParen, "this expression");
  if (trailing)
    failAt(since(first), "a tuple has at least two values", "a list of one is `[x]`");
  if (elements.size() == 1) {
    elements[0]->parenthesized = true;
    elements[0]->range = since(first);
    return std::move(elements[0]);
  }
  uint32_t height = heightOf(elements);
  return make<Tuple>(height, since(first), std::move(elements));
}

// [EXPRS] or [EXPR for NAMES in EXPR]
ExprPtr Parser::parseList() {
  size_t first = pos;
  Token open = take();
  Bracket bracket(*this);
  std::vector<ExprPtr> elements;
  while (!at(Tok::RBracket)) {
    elements.push_back(parseExpr());
    if (elements.size() == 1 && at(Tok::For)) {
      take();
      ForClause clause = parseForClause();
      if (at(Tok::For) || at(Tok::Comma))
        failAt(peek().range, "a comprehension has one loop",
               "nest a comprehension in another: `[[f(a, b) for b in B] for a in A]`");
      if (at(Tok::If))
        failAt(peek().range, "a comprehension has no filter, since every shape is known when it compiles",
               "choose with `where(condition, a, b)`");
      expectClose(open, Tok::RBracket, "the comprehension");
      uint32_t height = std::max(elements[0]->height, clause.iterable->height);
      return make<Comprehension>(height, since(first), std::move(elements[0]), std::move(clause));
    }
    if (!accept(Tok::Comma))
      break;
  }
  expectClose(open, Tok::RBracket, "the list");
  uint32_t height = heightOf(elements);
  return make<List>(height, since(first), std::move(elements));
}

// NAMES in EXPR
ForClause Parser::parseForClause() {
  size_t first = pos;
  ForClause clause;
  clause.names = parseNames("the name of a loop variable");
  if (!at(Tok::In))
    fail("`in` after the loop variable", "a loop is written `for i in 1..10`, `for a, b in pairs`");
  take();
  clause.iterable = parseOr();
  clause.range = since(first);
  return clause;
}

std::vector<ExprPtr> Parser::parseExprs() {
  std::vector<ExprPtr> all;
  do
    all.push_back(parseExpr());
  while (continues() && accept(Tok::Comma));
  return all;
}

ExprPtr Parser::parseWholeExpression() {
  try {
    ExprPtr value = parseExpr();
    if (!at(Tok::End))
      fail("the end of the value");
    return value;
  } catch (SyntaxError) {
    return nullptr;
  } catch (GiveUp) {
    return nullptr;
  }
}

// The token cannot begin an operand.
void Parser::failOperand() {
  constexpr std::string_view expected = "an expression";
  if (pos > 0 && peek().newlineBefore && brackets == 0)
    fail(expected, fmt::format("the line ends after `{}`", previous().text()));
  switch (peek().kind) {
  case Tok::Plus:
    fail(expected, "a `+` sign is not needed: leave it out");
  case Tok::Star:
  case Tok::Slash:
  case Tok::At:
  case Tok::Caret:
  case Tok::Pipe:
    fail(expected, fmt::format("`{}` takes a value on its left", peek().text()));
  case Tok::Not:
    fail(expected, "`not` binds more loosely than what stands before it: write `(not …)`");
  case Tok::If:
    fail(expected, "`if` is a statement; a value is chosen by `where(condition, a, b)`");
  case Tok::For:
    fail(expected, "`for` is a statement; a list is `[f(i) for i in 1..10]`");
  case Tok::Fn:
    fail(expected, "functions have names: write `fn f(x) = …` on a line of its own and pass `f`");
  case Tok::LBrace:
    fail(expected, "braces hold statements; a list is `[1, 2]`");
  case Tok::EqualEqual:
  case Tok::Assign:
    fail(expected, "a comparison is written `a == b`");
  default:
    fail(expected);
  }
}

} // namespace hw
