// The syntax tree: one struct for each form of docs/language.md, each with its place in the source.
//
// Nodes carry a `kind`, and `classof`, so both `as<Call>(e)` (below, for code with no LLVM in it) and
// llvm::dyn_cast<ast::Call>(&e) work without RTTI. Children are owned by unique_ptr and are never null unless the
// field's comment says so. A tree that parseModule returns without errors is complete: no placeholder nodes.
#pragma once

#include "frontend/Source.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace hw::ast {

// A name where it is written, be it a definition or a use.
struct Name {
  std::string text;
  SourceRange range;
};

//===-- Expressions ---------------------------------------------------------------------------------------------===//

enum class ExprKind {
  Number,        // 1e-3
  String,        // "loss, {target}"
  Bool,          // True, False
  None,          // None
  Ref,           // net
  List,          // [30, 60, 60]
  Tuple,         // (a, b)
  Comprehension, // [f(s) for s in 1..500]
  Unary,         // -x, not x
  Binary,        // a + b, a |> f, a..b, a < b, a and b
  Call,          // f(x, lr = 1e-3)
  Index,         // a[0:10, None]
  Field,         // d.label
  On,            // mse(net(x), y) on held batch 1000
};

struct Expr {
  const ExprKind kind;
  SourceRange range;          // from the first to the last character, (brackets) of its own included
  bool parenthesized = false; // written in (brackets) of its own
  uint32_t height = 1;        // of the tree; the parser bounds it, so that recursion over a tree is safe

  virtual ~Expr();

protected:
  Expr(ExprKind kind, SourceRange range) : kind(kind), range(range) {}
};
using ExprPtr = std::unique_ptr<Expr>;

struct Number : Expr {
  double value;
  bool isInteger; // written without `.` and exponent; such a number is exact (at most 2^53)
  Number(SourceRange range, double value, bool isInteger)
      : Expr(ExprKind::Number, range), value(value), isInteger(isInteger) {}
  static bool classof(const Expr *e) { return e->kind == ExprKind::Number; }
};

struct String : Expr {
  // The text cut at each `{name}`. Only some strings are templates (a plot's title); the others take `value`.
  struct Part {
    std::string text; // the literal text, or the name between the braces
    bool isName;
    SourceRange range; // of the text, or of the name alone
  };
  std::string value; // escapes resolved, `{name}` as written
  std::vector<Part> parts;
  String(SourceRange range, std::string value, std::vector<Part> parts)
      : Expr(ExprKind::String, range), value(std::move(value)), parts(std::move(parts)) {}
  static bool classof(const Expr *e) { return e->kind == ExprKind::String; }
};

struct Bool : Expr {
  bool value;
  Bool(SourceRange range, bool value) : Expr(ExprKind::Bool, range), value(value) {}
  static bool classof(const Expr *e) { return e->kind == ExprKind::Bool; }
};

struct None : Expr {
  explicit None(SourceRange range) : Expr(ExprKind::None, range) {}
  static bool classof(const Expr *e) { return e->kind == ExprKind::None; }
};

// A name that is read.
struct Ref : Expr {
  std::string name;
  Ref(SourceRange range, std::string name) : Expr(ExprKind::Ref, range), name(std::move(name)) {}
  static bool classof(const Expr *e) { return e->kind == ExprKind::Ref; }
};

struct List : Expr {
  std::vector<ExprPtr> elements;
  List(SourceRange range, std::vector<ExprPtr> elements) : Expr(ExprKind::List, range), elements(std::move(elements)) {}
  static bool classof(const Expr *e) { return e->kind == ExprKind::List; }
};

// (a, b): at least two elements. A single expression in brackets is that expression, with `parenthesized` set.
struct Tuple : Expr {
  std::vector<ExprPtr> elements;
  Tuple(SourceRange range, std::vector<ExprPtr> elements)
      : Expr(ExprKind::Tuple, range), elements(std::move(elements)) {}
  static bool classof(const Expr *e) { return e->kind == ExprKind::Tuple; }
};

// `a, b in EXPR`, of a loop or a comprehension. Several names take an element apart.
struct ForClause {
  std::vector<Name> names;
  ExprPtr iterable;
  SourceRange range;
};

struct Comprehension : Expr {
  ExprPtr element;
  ForClause clause;
  Comprehension(SourceRange range, ExprPtr element, ForClause clause)
      : Expr(ExprKind::Comprehension, range), element(std::move(element)), clause(std::move(clause)) {}
  static bool classof(const Expr *e) { return e->kind == ExprKind::Comprehension; }
};

enum class UnaryOp { Negate, Not };
std::string_view spelling(UnaryOp op);

struct Unary : Expr {
  UnaryOp op;
  ExprPtr operand;
  Unary(SourceRange range, UnaryOp op, ExprPtr operand)
      : Expr(ExprKind::Unary, range), op(op), operand(std::move(operand)) {}
  static bool classof(const Expr *e) { return e->kind == ExprKind::Unary; }
};

// Loosest first. Comparisons do not chain, `..` does not associate, `^` associates to the right, the others to the
// left.
enum class BinaryOp { Or, And, Lt, Le, Gt, Ge, Eq, Ne, Pipe, Range, Add, Sub, Mul, Div, MatMul, Pow };
std::string_view spelling(BinaryOp op);
inline bool isComparison(BinaryOp op) { return op >= BinaryOp::Lt && op <= BinaryOp::Ne; }

struct Binary : Expr {
  BinaryOp op;
  SourceRange opRange; // of the operator alone
  ExprPtr lhs, rhs;
  Binary(SourceRange range, BinaryOp op, SourceRange opRange, ExprPtr lhs, ExprPtr rhs)
      : Expr(ExprKind::Binary, range), op(op), opRange(opRange), lhs(std::move(lhs)), rhs(std::move(rhs)) {}
  static bool classof(const Expr *e) { return e->kind == ExprKind::Binary; }
};

struct KeywordArg {
  Name name;
  ExprPtr value;
};

// `f(a, b, k = c)`: positional arguments stand before keyword ones; a keyword stands once.
struct Call : Expr {
  ExprPtr callee;
  std::vector<ExprPtr> args;
  std::vector<KeywordArg> keywords;
  Call(SourceRange range, ExprPtr callee, std::vector<ExprPtr> args, std::vector<KeywordArg> keywords)
      : Expr(ExprKind::Call, range), callee(std::move(callee)), args(std::move(args)), keywords(std::move(keywords)) {}
  static bool classof(const Expr *e) { return e->kind == ExprKind::Call; }
};

// One entry between the brackets of an index, as in NumPy.
struct IndexItem {
  enum Kind {
    At,       // a[i], a[[0, 2]], a[mask]: `index`
    Slice,    // a[start:stop:step], each of which may be null
    NewAxis,  // a[None]
    Ellipsis, // a[..., 0]
  };
  Kind kind;
  SourceRange range;
  ExprPtr index;             // At only
  ExprPtr start, stop, step; // Slice only; null where left out
};

struct Index : Expr {
  ExprPtr base;
  std::vector<IndexItem> items; // at least one
  Index(SourceRange range, ExprPtr base, std::vector<IndexItem> items)
      : Expr(ExprKind::Index, range), base(std::move(base)), items(std::move(items)) {}
  static bool classof(const Expr *e) { return e->kind == ExprKind::Index; }
};

struct Field : Expr {
  ExprPtr base;
  Name field;
  Field(SourceRange range, ExprPtr base, Name field)
      : Expr(ExprKind::Field, range), base(std::move(base)), field(std::move(field)) {}
  static bool classof(const Expr *e) { return e->kind == ExprKind::Field; }
};

// SOURCE = EXPR [batch EXPR [ordered]]: rows to go through.
struct DataSource {
  ExprPtr data;
  ExprPtr batch; // null: all rows at once
  bool ordered = false;
  SourceRange range;
};

// EXPR on SOURCE.
struct On : Expr {
  ExprPtr value;
  DataSource source;
  On(SourceRange range, ExprPtr value, DataSource source)
      : Expr(ExprKind::On, range), value(std::move(value)), source(std::move(source)) {}
  static bool classof(const Expr *e) { return e->kind == ExprKind::On; }
};

//===-- Statements ----------------------------------------------------------------------------------------------===//

enum class StmtKind {
  Assign,      // a, b = c, d
  StateAssign, // m' = e
  Fn,          // fn f(x, k = 1) = e       fn f(x) { … }
  Param,       // param w: [a, b] = init
  State,       // state m: [c] = zeros
  Return,      // return a, b
  Data,        // data d = e { x = …; y = … }
  For,         // for a in e, b in f { … }
  If,          // if c { … } else if d { … } else { … }
  Train,       // train net on d batch 32 for 5 epochs { … }
  Minimize,    // minimize e over w with adam()
  Every,       // every 3 epochs { … }
  StopWhen,    // stop when e
  Record,      // record t on d: a, b = e
  Save,        // save a, b = e
  Checkpoint,  // checkpoint
  Quick,       // quick n = 3
  Plot,        // plot "…" on t per a, b { line y over x; log y }
};

struct Stmt {
  const StmtKind kind;
  SourceRange range; // of the whole statement, its blocks included

  virtual ~Stmt();

protected:
  Stmt(StmtKind kind, SourceRange range) : kind(kind), range(range) {}
};
using StmtPtr = std::unique_ptr<Stmt>;

struct Block {
  std::vector<StmtPtr> statements;
  SourceRange range; // braces included
};

// `targets = values`. Either as many values as targets, or one value that gives all of them (a tuple, a call).
struct Assign : Stmt {
  std::vector<Name> targets;
  std::vector<ExprPtr> values;
  explicit Assign(SourceRange range) : Stmt(StmtKind::Assign, range) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::Assign; }
};

struct StateAssign : Stmt {
  Name target; // without the prime
  ExprPtr value;
  explicit StateAssign(SourceRange range) : Stmt(StmtKind::StateAssign, range) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::StateAssign; }
};

struct Parameter {
  Name name;
  ExprPtr defaultValue; // null: positional. With a default: by name only; those follow the positional ones.
};

struct Fn : Stmt {
  Name name;
  std::vector<Parameter> parameters; // names are distinct
  ExprPtr value;                     // of `fn f(x) = value`; null if there is a body
  std::unique_ptr<Block> body;       // of `fn f(x) { … }`; null if there is a value
  explicit Fn(SourceRange range) : Stmt(StmtKind::Fn, range) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::Fn; }
};

struct Param : Stmt {
  Name name;
  ExprPtr shape; // null: not written
  ExprPtr init;
  explicit Param(SourceRange range) : Stmt(StmtKind::Param, range) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::Param; }
};

struct State : Stmt {
  Name name;
  ExprPtr shape; // null: not written
  ExprPtr init;
  explicit State(SourceRange range) : Stmt(StmtKind::State, range) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::State; }
};

struct Return : Stmt {
  std::vector<ExprPtr> values; // at least one
  explicit Return(SourceRange range) : Stmt(StmtKind::Return, range) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::Return; }
};

// `data NAME [= base] [{ columns }]`, at least one of the two.
struct Data : Stmt {
  Name name;
  ExprPtr base;                   // null: not written
  std::unique_ptr<Block> columns; // null: not written; holds Assign statements only
  explicit Data(SourceRange range) : Stmt(StmtKind::Data, range) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::Data; }
};

// Several clauses nest, the first outermost.
struct For : Stmt {
  std::vector<ForClause> clauses;
  Block body;
  explicit For(SourceRange range) : Stmt(StmtKind::For, range) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::For; }
};

struct If : Stmt {
  struct Branch {
    ExprPtr condition;
    Block body;
  };
  std::vector<Branch> branches;    // the `if` and each `else if`
  std::unique_ptr<Block> elseBody; // null: no `else`
  explicit If(SourceRange range) : Stmt(StmtKind::If, range) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::If; }
};

enum class Unit { Epochs, Steps };
std::string_view spelling(Unit unit);

struct Train : Stmt {
  std::vector<Name> nets;
  DataSource source;
  ExprPtr duration;
  Unit unit = Unit::Epochs;
  Block body;
  explicit Train(SourceRange range) : Stmt(StmtKind::Train, range) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::Train; }
};

struct Minimize : Stmt {
  ExprPtr objective;
  ExprPtr over; // null: all trained nets
  ExprPtr optimizer;
  explicit Minimize(SourceRange range) : Stmt(StmtKind::Minimize, range) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::Minimize; }
};

struct Every : Stmt {
  ExprPtr interval; // null: one (`every epoch`)
  Unit unit = Unit::Epochs;
  Block body;
  explicit Every(SourceRange range) : Stmt(StmtKind::Every, range) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::Every; }
};

struct StopWhen : Stmt {
  ExprPtr condition;
  explicit StopWhen(SourceRange range) : Stmt(StmtKind::StopWhen, range) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::StopWhen; }
};

// ITEM = NAME [= EXPR]: a column of a table, or a file to save.
struct Item {
  Name name;
  ExprPtr value; // null: the value that `name` has
};

struct Record : Stmt {
  Name table;
  std::unique_ptr<DataSource> source; // null: no `on`
  std::vector<Item> items;            // at least one; names are distinct
  explicit Record(SourceRange range) : Stmt(StmtKind::Record, range) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::Record; }
};

struct Save : Stmt {
  std::vector<Item> items; // at least one; names are distinct
  explicit Save(SourceRange range) : Stmt(StmtKind::Save, range) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::Save; }
};

struct Checkpoint : Stmt {
  explicit Checkpoint(SourceRange range) : Stmt(StmtKind::Checkpoint, range) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::Checkpoint; }
};

struct Quick : Stmt {
  Name name;
  ExprPtr value;
  explicit Quick(SourceRange range) : Stmt(StmtKind::Quick, range) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::Quick; }
};

enum class MarkKind { Line, Points, Contour, Surface, Histogram, Bars, LogX, LogY };
std::string_view spelling(MarkKind kind);

// One line of a plot's block. `log x` and `log y` set no other field.
struct Mark {
  MarkKind kind;
  SourceRange range;
  ExprPtr value;             // null for LogX, LogY
  std::vector<ExprPtr> over; // empty: not written
  std::vector<Name> by;
  ExprPtr label; // null: not written
  bool right = false;
};

struct Plot : Stmt {
  std::unique_ptr<String> title;
  std::unique_ptr<Name> table; // null: no `on`
  std::vector<Name> per;
  std::vector<Mark> marks; // at least one
  explicit Plot(SourceRange range) : Stmt(StmtKind::Plot, range) {}
  static bool classof(const Stmt *s) { return s->kind == StmtKind::Plot; }
};

// A file.
struct Module {
  const Source *source = nullptr;
  std::vector<StmtPtr> statements;
};

//===-- Helpers -------------------------------------------------------------------------------------------------===//

// The node as a T, or null if it is of another kind (or null itself).
template <typename T, typename Base> const T *as(const std::unique_ptr<Base> &node) {
  return node && T::classof(node.get()) ? static_cast<const T *>(node.get()) : nullptr;
}
template <typename T, typename Base> const T *as(const Base *node) {
  return node && T::classof(node) ? static_cast<const T *>(node) : nullptr;
}
template <typename T, typename Base> const T *as(const Base &node) { return as<T>(&node); }

// "a number", "a call", … for messages.
std::string_view describe(ExprKind kind);

// The tree as indented text, one node a line. Two trees print the same text exactly if they are equal up to places and
// redundant brackets.
std::string dump(const Module &module);
std::string dump(const Stmt &stmt);
std::string dump(const Expr &expr);

} // namespace hw::ast
