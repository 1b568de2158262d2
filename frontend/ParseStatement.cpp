// Statements, blocks, and what happens after an error.
#include "frontend/ParserImpl.h"

#include <deque>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <numeric>
#include <utility>

namespace hw {

using namespace ast;

namespace {

// The word among `candidates` that `word` was likely meant to be, by the least number of letters inserted,
// left out, changed or swapped with their neighbour (optimal string alignment); empty if none is near.
template <typename Range> std::string_view nearest(std::string_view word, const Range &candidates) {
  std::string_view best;
  size_t bestDistance = word.size() <= 4 ? 2 : 3; // exclusive
  for (std::string_view candidate : candidates) {
    if (std::max(word.size(), candidate.size()) - std::min(word.size(), candidate.size()) >= bestDistance)
      continue;                                                   // nor does a long word cost anything
    std::vector<size_t> before, above, row(candidate.size() + 1); // rows i - 2, i - 1, i
    std::iota(row.begin(), row.end(), size_t(0));
    for (size_t i = 1; i <= word.size(); ++i) {
      before = std::exchange(above, row);
      row[0] = i;
      for (size_t j = 1; j <= candidate.size(); ++j) {
        row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (word[i - 1] != candidate[j - 1])});
        if (i > 1 && j > 1 && word[i - 1] == candidate[j - 2] && word[i - 2] == candidate[j - 1])
          row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    if (row.back() < bestDistance)
      bestDistance = row.back(), best = candidate;
  }
  return best;
}

constexpr std::string_view statementWords[] = {"fn",   "for",        "if",       "return", "param", "state",
                                               "data", "train",      "minimize", "every",  "stop",  "record",
                                               "save", "checkpoint", "quick",    "plot"};

struct MarkWord {
  std::string_view word;
  MarkKind kind;
};
constexpr MarkWord markWords[] = {{"line", MarkKind::Line},           {"points", MarkKind::Points},
                                  {"contour", MarkKind::Contour},     {"surface", MarkKind::Surface},
                                  {"histogram", MarkKind::Histogram}, {"bars", MarkKind::Bars}};

// How a statement of another language is said here.
struct ForeignWord {
  std::string_view word;
  std::string_view help;
};
constexpr ForeignWord foreignWords[] = {
    {"def", "a function is `fn f(x) = …` or `fn f(x) { … return … }`"},
    {"function", "a function is `fn f(x) = …` or `fn f(x) { … return … }`"},
    {"func", "a function is `fn f(x) = …` or `fn f(x) { … return … }`"},
    {"lambda", "functions have names: `fn f(x) = …`"},
    {"class", "a layer is a function with `param` in it: `fn layer(x) { param w: [3] = zeros; return w * x }`"},
    {"let", "a value is named by `x = …` alone"},
    {"var", "a value is named by `x = …` alone"},
    {"const", "a value is named by `x = …` alone"},
    {"val", "a value is named by `x = …` alone"},
    {"elif", "write `else if`"},
    {"elseif", "write `else if`"},
    {"while", "loops are `for i in 1..n { … }`, and `train … { stop when … }`"},
    {"break", "a training ends early by `stop when …`"},
    {"continue", "choose what happens by `if` or `where`"},
    {"import", "the prelude is always there, and a model is one file"},
    {"from", "the prelude is always there, and a model is one file"},
    {"using", "the prelude is always there, and a model is one file"},
    {"print", "a value is kept by `record TABLE: name = …` or `save name`"},
    {"end", "a block ends with `}`"},
    {"pass", "a block may be empty"},
};

} // namespace

std::vector<StmtPtr> Parser::parseFile() {
  std::vector<StmtPtr> statements;
  try {
    while (true) {
      parseStatementsInto(statements, nullptr, nullptr);
      if (at(Tok::End))
        return statements;
      if (missingOpen)
        --missingOpen;
      else
        report(peek().range, "this `}` closes nothing").help("remove it, or look for a `{` that is missing above");
      take();
    }
  } catch (GiveUp) {
    return statements;
  }
}

// Statements up to the `}` that closes `open` (not taken), or to the end of the file.
void Parser::parseStatementsInto(std::vector<StmtPtr> &into, const Token *open, const Token *owner) {
  while (true) {
    while (accept(Tok::Semicolon))
      ;
    if (at(Tok::End) || at(Tok::RBrace))
      return;
    size_t first = pos;
    peek().startsStatement = true;
    if (open && owner->newlineBefore && peek().newlineBefore && !suspect && columnOf(peek()) <= columnOf(*owner)) {
      suspect = peek().range;
      suspectOpen = open->range;
    }
    try {
      into.push_back(parseStatement());
      expectStatementEnd();
    } catch (SyntaxError) {
      recover(first);
    }
  }
}

unsigned Parser::columnOf(const Token &token) { return token.range.source->position(token.range.begin).column; }

void Parser::expectStatementEnd() {
  if (atStatementEnd()) {
    accept(Tok::Semicolon);
    return;
  }
  constexpr std::string_view expected = "the end of the statement";
  switch (peek().kind) {
  case Tok::Assign:
    fail(expected, "a comparison is written `==`; an assignment is a statement of its own");
  case Tok::Comma:
    fail(expected, "several values stand in brackets here: `(a, b)` or `[a, b]`");
  case Tok::RParen:
  case Tok::RBracket:
    fail(expected, fmt::format("no bracket is open for this `{}` to close", peek().text()));
  case Tok::Colon:
    fail(expected, "blocks stand in braces: `{ … }`");
  case Tok::LBrace:
    fail(expected, "only `fn`, `for`, `if`, `else`, `data`, `train`, `every` and `plot` have a block");
  case Tok::If:
    fail(expected, "a value is chosen by `where(condition, a, b)`");
  case Tok::For:
    fail(expected, "a list that a loop makes stands in brackets: `[f(i) for i in 1..10]`");
  case Tok::Prime:
    fail(expected, "`name'` is written only to give a state its next value: `name' = …`");
  default:
    fail(expected, "statements are separated by a newline or `;`; is an operator or a comma missing?");
  }
}

// Skips what is left of the statement that began at token `first`. A block on the way is parsed for errors of its own,
// which also keeps the braces in step.
void Parser::recover(size_t first) {
  brackets = 0;
  int depth = 0;
  for (size_t i = first; i < pos; ++i) {
    Tok kind = tokens[i].kind;
    depth += kind == Tok::LParen || kind == Tok::LBracket;
    depth -= kind == Tok::RParen || kind == Tok::RBracket;
    depth = std::max(depth, 0);
  }
  unsigned column = columnOf(tokens[first]);
  bool isPlot = tokens[first].kind == Tok::Name && tokens[first].text() == "plot";
  while (!at(Tok::End) && !at(Tok::RBrace)) {
    const Token &token = peek();
    if (accept(Tok::Semicolon))
      return;
    if (token.newlineBefore && pos > first) {
      bool closer = token.kind == Tok::RParen || token.kind == Tok::RBracket;
      // Inside an open bracket a line that stands no deeper than the statement is most likely the next one.
      if (depth > 0
              ? columnOf(token) <= column && !closer
              : !at(Tok::Pipe) && !at(Tok::LBrace) && (!continuesLine(previous().kind) || peek(1).kind == Tok::Assign))
        return;
    }
    if (at(Tok::LBrace)) {
      do {
        if (isPlot) {
          skipBraces();
        } else {
          const Token &open = take();
          std::vector<StmtPtr> ignored;
          Level level(*this);
          parseStatementsInto(ignored, &open, &tokens[first]);
          if (at(Tok::End))
            return;
          take();
        }
        if (at(Tok::Else))
          while (!at(Tok::LBrace) && !at(Tok::End) && !at(Tok::RBrace) && !at(Tok::Semicolon))
            take();
      } while (at(Tok::LBrace));
      return;
    }
    depth += at(Tok::LParen) || at(Tok::LBracket);
    depth -= (at(Tok::RParen) || at(Tok::RBracket)) && depth > 0;
    take();
  }
}

void Parser::skipBraces() {
  int depth = 0;
  do {
    depth += at(Tok::LBrace);
    depth -= at(Tok::RBrace);
    take();
  } while (depth > 0 && !at(Tok::End));
}

// After the statements of a block: its `}`.
void Parser::expectBlockEnd(const Token &open) {
  if (accept(Tok::RBrace))
    return;
  // Only the file's end stops parseStatementsInto elsewhere. One message for all the blocks open there.
  if (!unclosedReported) {
    unclosedReported = true;
    Diagnostic &added = report(suspect ? suspectOpen : open.range, "this `{` is never closed");
    if (suspect)
      added.note(suspect, "this line stands no deeper than the statement with the `{`: is a `}` missing before it?");
    added.help("add the missing `}`");
  }
  throw SyntaxError();
}

void Parser::failNoBlock(std::string_view expected, std::string help) {
  ++missingOpen;
  if (at(Tok::Assign) && continues())
    help = "`=` assigns; a comparison is written `==`";
  if (at(Tok::Colon) && continues())
    help = "blocks stand in braces, not after a colon: `{ … }`";
  fail(expected, std::move(help));
}

Block Parser::parseBlock(const Token &owner, std::string_view after) {
  if (!at(Tok::LBrace))
    failNoBlock(fmt::format("`{{` {}", after));
  size_t first = pos;
  const Token &open = take();
  Block block;
  parseStatementsInto(block.statements, &open, &owner);
  expectBlockEnd(open);
  block.range = since(first);
  return block;
}

std::unique_ptr<Block> Parser::parseBlockPtr(const Token &owner, std::string_view after) {
  return std::make_unique<Block>(parseBlock(owner, after));
}

// A name that is followed by `=`, `,` or `'` is a target, whatever statement the word begins elsewhere.
bool Parser::assignmentAhead() {
  const Token &next = peek(1);
  return at(Tok::Name) && !next.newlineBefore &&
         (next.kind == Tok::Assign || next.kind == Tok::Comma || next.kind == Tok::Prime);
}

StmtPtr Parser::parseStatement() {
  Level level(*this);
  size_t first = pos;
  StmtPtr statement = parseKeywordStatement();
  if (!statement)
    failNoStatement();
  statement->range = since(first);
  return statement;
}

StmtPtr Parser::parseKeywordStatement() {
  switch (peek().kind) {
  case Tok::Fn:
    return parseFn();
  case Tok::For:
    return parseFor();
  case Tok::If:
    return parseIf();
  case Tok::Return:
    return parseReturn();
  case Tok::Name:
    break;
  default:
    return nullptr;
  }
  if (assignmentAhead())
    return peek(1).kind == Tok::Prime ? parseStateAssign() : parseAssign();

  struct Rule {
    std::string_view word;
    StmtPtr (Parser::*parse)();
  };
  static constexpr Rule rules[] = {{"param", &Parser::parseParam<Param>}, {"state", &Parser::parseParam<State>},
                                   {"data", &Parser::parseData},          {"train", &Parser::parseTrain},
                                   {"minimize", &Parser::parseMinimize},  {"every", &Parser::parseEvery},
                                   {"stop", &Parser::parseStop},          {"record", &Parser::parseRecord},
                                   {"save", &Parser::parseSave},          {"checkpoint", &Parser::parseCheckpoint},
                                   {"quick", &Parser::parseQuick},        {"plot", &Parser::parsePlot}};
  for (const Rule &rule : rules)
    if (peek().text() == rule.word)
      return (this->*rule.parse)();
  return nullptr;
}

// Nothing that begins a statement. Says what was likely meant.
void Parser::failNoStatement() {
  if (at(Tok::Else))
    failAt(peek().range, "this `else` belongs to no `if`", "`else` stands right after the `}` of an `if`'s block");
  const Token first = peek();
  if (first.kind == Tok::Name) {
    std::string_view word = first.text();
    for (const ForeignWord &f : foreignWords)
      if (word == f.word && !(peek(1).kind == Tok::Dot && !peek(1).newlineBefore))
        failAt(first.range, fmt::format("there is no statement `{}`", word), std::string(f.help));
    const Token &next = peek(1);
    bool wordFollows = !next.newlineBefore && (next.kind == Tok::Name || next.kind == Tok::String ||
                                               next.kind == Tok::Number || next.kind == Tok::Colon);
    if (wordFollows && next.text() != "on") {
      std::string_view meant = nearest(word, statementWords);
      failAt(first.range, fmt::format("there is no statement `{}`", word),
             meant.empty() ? fmt::format("a value is named by `{} = …`", word)
                           : fmt::format("did you mean `{}`?", meant));
    }
  }
  if (pos > 0 && continuesLine(first.kind) && first.kind != Tok::LParen && first.kind != Tok::LBracket)
    failAt(first.range, fmt::format("a statement cannot begin with `{}`", first.text()),
           "to go on with an expression, end the line above with the operator; only `|>` may begin a line");

  ExprPtr value = parseExpr();
  if (at(Tok::Assign) && continues()) {
    if (value->kind == ExprKind::Index)
      failAt(value->range, "a part of a value cannot be assigned to: values do not change in place",
             "build the new value: `where(condition, a, b)`, `[… for i in a..b]`");
    if (const auto *field = as<Field>(value))
      failAt(value->range, "a field cannot be assigned to: values do not change in place",
             fmt::format("a column is replaced in a copy: `data b = a {{ {} = … }}`", field->field.text));
    if (value->kind == ExprKind::Call)
      failAt(value->range, "a call cannot be assigned to",
             fmt::format("a function is defined by `fn {} = …`", value->range.text()));
    if (value->kind == ExprKind::Tuple)
      failAt(value->range, "the names on the left of `=` stand without brackets", "write `a, b = …`");
    failAt(value->range, fmt::format("{} cannot be assigned to", describe(value->kind)), "the left of `=` is a name");
  }
  if (!atStatementEnd())
    expectStatementEnd();
  if (const auto *binary = as<Binary>(value); binary && binary->op == BinaryOp::Eq)
    failAt(value->range, "this comparison is not used", "an assignment is written with one `=`");
  failAt(value->range, "this value is not used", "name it, `v = …`; or keep it, `record TABLE: v = …` or `save v = …`");
}

// NAMES = EXPRS
StmtPtr Parser::parseAssign() {
  auto node = std::make_unique<Assign>(peek().range);
  node->targets = parseNames("the name of a value");
  if (at(Tok::Prime))
    failAt(peek().range, "a state's next value is assigned alone", "write one `name' = …` a line");
  expect(Tok::Assign, "after the names");
  if (peek().newlineBefore && at(Tok::Name) && peek(1).kind == Tok::Assign)
    failAt(foundRange(), "expected an expression, found the end of the line",
           fmt::format("the line ends after `=`, and `{} = …` is the next statement", peek().text()));
  node->values = parseExprs();
  size_t names = node->targets.size(), values = node->values.size();
  if (values != 1 && values != names)
    report(node->values.front()->range.to(node->values.back()->range),
           fmt::format("{} name{} on the left of `=`, {} values on the right", names, names == 1 ? "" : "s", values))
        .help("give one value for each name, or one value that holds them all");
  checkDistinct(node->targets, std::identity(), "`{}` is assigned twice by one statement",
                "use two names, or `_` for what is not needed");
  return node;
}

// NAME' = EXPR
StmtPtr Parser::parseStateAssign() {
  auto node = std::make_unique<StateAssign>(peek().range);
  node->target = parseName("the name of a state");
  take();
  if (at(Tok::Comma))
    failAt(peek().range, "a state's next value is assigned alone", "write one `name' = …` a line");
  expect(Tok::Assign, "after the state");
  node->value = parseExpr();
  return node;
}

// fn NAME(PARAMS) (= EXPR | BLOCK)
StmtPtr Parser::parseFn() {
  const Token &owner = take();
  auto node = std::make_unique<Fn>(owner.range);
  node->name = parseName("the name of the function");
  peek().tight = true;
  Token open = expect(Tok::LParen, "and the parameters after the function's name");
  {
    Bracket bracket(*this);
    while (!at(Tok::RParen)) {
      Parameter parameter{parseName("the name of a parameter"), nullptr};
      if (at(Tok::Colon))
        fail("`,`, `=` or `)` after the parameter", "parameters have no types: shapes are inferred at each call");
      if (accept(Tok::Assign))
        parameter.defaultValue = parseExpr();
      if (!parameter.defaultValue && !node->parameters.empty() && node->parameters.back().defaultValue)
        report(parameter.name.range, "a parameter without a default stands after one with a default")
            .help("put it before the first `name = value`");
      node->parameters.push_back(std::move(parameter));
      if (!accept(Tok::Comma))
        break;
    }
    expectClose(open, Tok::RParen, "the parameters");
    checkDistinct(node->parameters, &Parameter::name, "two parameters are called `{}`", "rename one of the two");
  }
  if (at(Tok::Assign) && continues()) {
    take();
    node->value = parseExpr();
  } else if (at(Tok::LBrace)) {
    node->body = parseBlockPtr(owner, "");
  } else {
    failNoBlock("`= …` or `{ … }` after the parameters");
  }
  return node;
}

// param NAME [: SHAPE] = EXPR, and the same with `state`
template <typename Node> StmtPtr Parser::parseParam() {
  auto node = std::make_unique<Node>(take().range);
  node->name = parseName(node->kind == StmtKind::Param ? "the name of the parameter" : "the name of the state");
  if (at(Tok::Colon) && continues()) {
    take();
    node->shape = parseOr();
  }
  expect(Tok::Assign, "and the first value");
  node->init = parseExpr();
  return node;
}

// return EXPRS
StmtPtr Parser::parseReturn() {
  auto node = std::make_unique<Return>(take().range);
  if (atStatementEnd())
    fail("a value after `return`", "a function is pure: what it computes is what it returns");
  node->values = parseExprs();
  return node;
}

// data NAME [= EXPR] [BLOCK]
StmtPtr Parser::parseData() {
  const Token &owner = take();
  auto node = std::make_unique<Data>(owner.range);
  node->name = parseName("the name of the data");
  if (at(Tok::Assign) && continues()) {
    take();
    node->base = parseExpr();
  }
  if (at(Tok::LBrace)) {
    node->columns = parseBlockPtr(owner, "");
    for (const StmtPtr &column : node->columns->statements)
      if (column->kind != StmtKind::Assign)
        report(column->range, "the block of `data` holds columns only, each `name = …`")
            .help("compute it before the `data` statement");
  }
  if (!node->base && !node->columns)
    failNoBlock("`= …` or `{ … }` after the name of the data");
  return node;
}

// for NAMES in EXPR, … BLOCK
StmtPtr Parser::parseFor() {
  const Token &owner = take();
  auto node = std::make_unique<For>(owner.range);
  if (at(Tok::LParen))
    fail("the name of a loop variable", "a loop is written `for i in 1..10 { … }`, without brackets");
  node->clauses.push_back(parseForClause());
  std::deque<Level> levels; // each further clause is a loop in the one before
  while (accept(Tok::Comma)) {
    levels.emplace_back(*this);
    node->clauses.push_back(parseForClause());
  }
  std::vector<const Name *> variables;
  for (const ForClause &clause : node->clauses)
    for (const Name &name : clause.names)
      variables.push_back(&name);
  checkDistinct(variables, "two loop variables are called `{}`", "rename one of the two");
  node->body = parseBlock(owner, "and the loop's body");
  return node;
}

// if EXPR BLOCK [else (BLOCK | if …)]
StmtPtr Parser::parseIf() {
  const Token &owner = peek();
  auto node = std::make_unique<If>(owner.range);
  while (true) {
    take(); // `if`
    If::Branch branch;
    branch.condition = parseExpr();
    branch.body = parseBlock(owner, "after the condition");
    node->branches.push_back(std::move(branch));
    if (!accept(Tok::Else))
      return node;
    if (!at(Tok::If))
      break;
  }
  node->elseBody = parseBlockPtr(owner, "or `if` after `else`");
  return node;
}

Unit Parser::parseUnit() {
  if (acceptWord("epochs"))
    return Unit::Epochs;
  if (acceptWord("steps"))
    return Unit::Steps;
  if (continues() && (atWord("epoch") || atWord("step")))
    fail("`epochs` or `steps`", fmt::format("write `{}s`, for one too", peek().text()));
  fail("`epochs` or `steps` after the number", "write `for 10 epochs`, or with a setting `for n epochs`");
}

// train NAMES on SOURCE for EXPR (epochs | steps) BLOCK
StmtPtr Parser::parseTrain() {
  const Token &owner = take();
  auto node = std::make_unique<Train>(owner.range);
  node->nets = parseNames("the name of a net");
  checkDistinct(node->nets, std::identity(), "`{}` stands here twice", "a net is trained once a step: remove one");
  constexpr const char *example = "write `train net on d batch 32 for 10 epochs { … }`";
  if (!acceptWord("on"))
    fail("`on` and the data to train on", example);
  node->source = parseSource();
  if (!at(Tok::For) || !continues())
    fail("`for` and how long to train", example);
  take();
  node->duration = parseOr();
  node->unit = parseUnit();
  node->body = parseBlock(owner, "and what a step does");
  return node;
}

// minimize EXPR [over EXPR] with EXPR
StmtPtr Parser::parseMinimize() {
  auto node = std::make_unique<Minimize>(take().range);
  node->objective = parseExpr();
  if (acceptWord("over"))
    node->over = parseExpr();
  if (!acceptWord("with"))
    fail("`with` and an optimiser", "write `minimize loss with adam(lr = 1e-3)`");
  node->optimizer = parseExpr();
  return node;
}

// every (epoch | step | EXPR (epochs | steps)) BLOCK
StmtPtr Parser::parseEvery() {
  const Token &owner = take();
  auto node = std::make_unique<Every>(owner.range);
  bool epoch = atWord("epoch"),
       bare = peek(1).kind == Tok::LBrace || peek(1).kind == Tok::Colon || peek(1).newlineBefore;
  bool plain = (epoch || atWord("step")) && bare;
  if (plain) {
    node->unit = epoch ? Unit::Epochs : Unit::Steps;
    take();
  } else {
    if ((atWord("epochs") || atWord("steps")) && bare)
      fail("`epoch`, `step` or a number",
           fmt::format("write `every {}`, or `every 10 {}`", atWord("epochs") ? "epoch" : "step", peek().text()));
    node->interval = parseOr();
    node->unit = parseUnit();
  }
  node->body = parseBlock(owner, "and what is done then");
  return node;
}

// stop when EXPR
StmtPtr Parser::parseStop() {
  auto node = std::make_unique<StopWhen>(take().range);
  expectWord("when", "and a condition");
  node->condition = parseExpr();
  return node;
}

// ITEMS = NAME [= EXPR], …
std::vector<Item> Parser::parseItems() {
  std::vector<Item> items;
  do {
    bool named = at(Tok::Name) && continues();
    const Token &next = peek(1);
    bool alone = named && (next.kind == Tok::Assign || next.kind == Tok::Comma || next.kind == Tok::Semicolon ||
                           next.kind == Tok::RBrace || next.kind == Tok::End || next.newlineBefore);
    if (!alone && continues() && !at(Tok::Semicolon) && !at(Tok::RBrace) && !at(Tok::End)) {
      ExprPtr value = parseExpr();
      if (value->kind == ExprKind::Ref && !atStatementEnd())
        expectStatementEnd(); // `a b`: says what is missing
      failAt(value->range, "a value that is not a name alone needs one",
             fmt::format("write `name = {}`", value->range.text()));
    }
    Item item{parseName("the name of a value"), nullptr};
    if (at(Tok::Assign)) {
      take();
      item.value = parseExpr();
    }
    items.push_back(std::move(item));
  } while (continues() && accept(Tok::Comma));
  checkDistinct(items, &Item::name, "`{}` stands here twice", "rename one of the two");
  return items;
}

// record NAME [on SOURCE]: ITEMS
StmtPtr Parser::parseRecord() {
  auto node = std::make_unique<Record>(take().range);
  node->table = parseName("the name of a table");
  if (acceptWord("on"))
    node->source = std::make_unique<DataSource>(parseSource());
  if (!at(Tok::Colon) || !continues())
    fail("`:` and what to record",
         fmt::format("write `record {}: loss, acc = accuracy(out, label)`", node->table.text));
  take();
  node->items = parseItems();
  return node;
}

// save ITEMS
StmtPtr Parser::parseSave() {
  auto node = std::make_unique<Save>(take().range);
  node->items = parseItems();
  return node;
}

StmtPtr Parser::parseCheckpoint() { return std::make_unique<Checkpoint>(take().range); }

// quick NAME = EXPR
StmtPtr Parser::parseQuick() {
  auto node = std::make_unique<Quick>(take().range);
  node->name = parseName("the name of a setting");
  expect(Tok::Assign, "and the value for a quick run");
  node->value = parseExpr();
  return node;
}

// plot STRING [on NAME] [per NAMES] { MARKS }
StmtPtr Parser::parsePlot() {
  const Token &owner = take();
  auto node = std::make_unique<Plot>(owner.range);
  if (!at(Tok::String) || !continues())
    fail("the plot's title, a string", "write `plot \"loss\" on curve { line loss over epoch }`");
  node->title = parseString();
  if (acceptWord("on"))
    node->table = std::make_unique<Name>(parseName("the name of a table"));
  if (acceptWord("per"))
    node->per = parseNames("the name of a column");
  if (!at(Tok::LBrace))
    failNoBlock("`{` and what to draw", "write `plot \"loss\" on curve { line loss over epoch }`");
  const Token &open = take();
  size_t errors = diagnostics.errorCount();
  parseMarksInto(node->marks);
  expectBlockEnd(open);
  if (node->marks.empty() && diagnostics.errorCount() == errors)
    report(open.range.to(previous().range), "this plot draws nothing")
        .help("write for example `{ line loss over epoch }`");
  return node;
}

void Parser::parseMarksInto(std::vector<Mark> &into) {
  while (true) {
    while (accept(Tok::Semicolon))
      ;
    if (at(Tok::End) || at(Tok::RBrace))
      return;
    size_t first = pos;
    peek().startsStatement = true;
    try {
      into.push_back(parseMark());
      expectStatementEnd();
    } catch (SyntaxError) {
      // A statement in the place of a mark: the `}` of the plot is missing.
      recover(first);
    }
  }
}

// MARK = KIND EXPR [over EXPRS] [by NAMES] [label EXPR] [right] | log (x | y)
Mark Parser::parseMark() {
  size_t first = pos;
  Mark mark{};
  if (atWord("log")) {
    take();
    if (!atWord("x") && !atWord("y"))
      fail("`x` or `y` after `log`", "`log y` makes the y axis logarithmic");
    mark.kind = take().text() == "x" ? MarkKind::LogX : MarkKind::LogY;
    mark.range = since(first);
    return mark;
  }
  const MarkWord *word =
      std::find_if(std::begin(markWords), std::end(markWords), [&](const MarkWord &w) { return atWord(w.word); });
  if (word == std::end(markWords)) {
    std::string help = "the marks are `line`, `points`, `contour`, `surface`, `histogram`, `bars`, `log x` and `log y`";
    if (at(Tok::Name)) {
      std::vector<std::string_view> words;
      for (const MarkWord &w : markWords)
        words.push_back(w.word);
      if (std::string_view meant = nearest(peek().text(), words); !meant.empty())
        help = fmt::format("did you mean `{}`? {}", meant, help);
    }
    if (at(Tok::Error))
      throw SyntaxError();
    failAt(peek().range, fmt::format("expected a mark, found `{}`", peek().text()), help);
  }
  mark.kind = word->kind;
  take();
  mark.value = parseExpr();
  auto once = [&](bool given, std::string_view clause) {
    if (given)
      report(previous().range, fmt::format("`{}` stands twice in one mark", clause)).help("keep one of the two");
  };
  while (true) {
    if (acceptWord("over")) {
      once(!mark.over.empty(), "over");
      mark.over = parseExprs();
    } else if (acceptWord("by")) {
      once(!mark.by.empty(), "by");
      mark.by = parseNames("the name of a column");
    } else if (acceptWord("label")) {
      once(mark.label != nullptr, "label");
      mark.label = parseExpr();
    } else if (acceptWord("right")) {
      once(mark.right, "right");
      mark.right = true;
    } else {
      break;
    }
  }
  if (at(Tok::Name) && continues()) {
    constexpr std::string_view clauses[] = {"over", "by", "label", "right"};
    std::string_view meant = nearest(peek().text(), clauses);
    fail("`over`, `by`, `label`, `right` or the end of the mark",
         meant.empty() ? "" : fmt::format("did you mean `{}`?", meant));
  }
  if (at(Tok::Comma) && continues())
    fail("the end of the mark", "draw several values with several marks, separated by `;` or a newline");
  mark.range = since(first);
  return mark;
}

} // namespace hw
