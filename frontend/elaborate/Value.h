// What an expression of the language can be while a file is elaborated. Objects are immutable and shared.
#pragma once

#include "frontend/Ast.h"
#include "ir/Dialects.h"

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace hw::lang {

enum class Kind {
  Poison, // of a statement that failed: using it is silent, so that one mistake gives one error
  Number,
  String,
  None,
  List,
  Range,
  Tensor,
  Fn,
  Net,
  Weights,
  Data,
  Table,
  Column,
  Operator,
};

struct Object {
  const Kind kind;
  virtual ~Object() = default;

protected:
  explicit Object(Kind kind) : kind(kind) {}
};
using Val = std::shared_ptr<const Object>;

template <typename T> const T *as(const Val &value) {
  return value && value->kind == T::classKind ? static_cast<const T *>(value.get()) : nullptr;
}

template <Kind K> struct ObjectOf : Object {
  static constexpr Kind classKind = K;
  ObjectOf() : Object(K) {}
};

struct Poison : ObjectOf<Kind::Poison> {};
struct None : ObjectOf<Kind::None> {};

struct String : ObjectOf<Kind::String> {
  std::string text;
};

// A number of the language: weak, as a Python scalar is under NumPy: it takes the type of the tensor that it meets.
struct Number : ObjectOf<Kind::Number> {
  std::optional<double> known;    // its value, where compiling knows it
  bool boolean = false;           // True, False or a comparison of numbers
  bool samples = false;           // depends on how many samples there are, while a batch is probed
  std::set<std::string> settings; // the top-level scalars that `known` depends on
  std::set<unsigned> loops;       // the run-time loops whose variable it depends on
  mlir::Value ssa;                // tensor<f64> (boolean: tensor<i1>); null: the constant `known`
};

struct List : ObjectOf<Kind::List> {
  std::vector<Val> items;
  bool tuple = false;
  unsigned depth = 1; // of lists in lists
  size_t leaves = 0;  // what a walk over all of it visits: the same list twice counts twice
};

// a..b, both included
struct Range : ObjectOf<Kind::Range> {
  Val first, last; // Numbers
};

struct Tensor : ObjectOf<Kind::Tensor> {
  mlir::Value ssa;
  bool weak = false;   // made of numbers alone: f64, and as weak as these
  int64_t classes = 0; // > 0: class numbers 0..classes-1
  // of linspace(first, last, count): a loop over it takes exact f64 values
  Val first, last;
};

struct Builtin;
struct NetContext;

// The value that `minimize` hands to its optimiser: E as a function of W. Calling it copies E's graph from W on.
struct Objective {
  Val value;                          // E
  std::vector<mlir::Value> arguments; // W, in order
};

// Marks a call outside any net, `f = linear(10)`, so that every use of f within one net shares weights.
struct Token {};

struct Fn : ObjectOf<Kind::Fn> {
  const ast::Fn *decl = nullptr; // one of these three
  const Builtin *builtin = nullptr;
  std::shared_ptr<const Objective> objective;
  std::vector<Val> tail;               // given so far: the last positional arguments
  std::map<std::string, Val> keywords; // given so far
  std::shared_ptr<const Token> token;
  const NetContext *owner = nullptr; // the net in whose evaluation this instance was made, if any
  std::string path;                  // its path there
  std::string name() const;
};

// One parameter or state of a net or an optimiser.
struct ParameterInfo {
  std::string name; // "linear2.weight"
  bool trainable = true;
};

// What `init` fixes: the code, and which parameters it has.
struct NetCode {
  Val fn;
  std::vector<ParameterInfo> parameters;
  std::map<std::string, size_t> index; // by name
  std::map<std::string, Val> layers;   // path -> Fn, for net.linear2
  mlir::Type element;                  // f32 or f64
  std::string inputs; // the shapes that `init` was given, as in "[N, 1, 28, 28]"; none in a part of a net
  std::string prefix; // of a part of a net: its path in the whole, "block1."
};

struct Net : ObjectOf<Kind::Net> {
  std::shared_ptr<const NetCode> code;
  std::vector<Val> values; // as code->parameters; Tensors
  Val seed;                // Number
  int trained = -1;        // in a training step: which of its nets this is
};

struct Weights : ObjectOf<Kind::Weights> {
  struct Entry {
    std::string name;
    mlir::Value ssa;
  };
  std::vector<Entry> entries;
  int64_t size() const;
};

// A column of a data set, over all rows. It is emitted where the data is defined; unused, it is removed.
struct DataColumn {
  std::string name;
  mlir::Value whole;
  int64_t classes;        // of labels, else 0
  mlir::Value exact = {}; // of one that is made of numbers alone: these, in f64
};

struct Data : ObjectOf<Kind::Data> {
  std::string name; // as a record shows it: "digits.test"
  int64_t rows = 0;
  std::vector<DataColumn> columns;
  std::map<std::string, Val> parts; // train, test
  const DataColumn *find(const std::string &column) const;
};

struct Table : ObjectOf<Kind::Table> {
  std::string name;
};
struct Column : ObjectOf<Kind::Column> {
  std::string table, column;
  std::string display; // as the user calls it
};

// A linear operator: the Hessian of `of`.
struct Operator : ObjectOf<Kind::Operator> {
  std::vector<mlir::Value> gradient; // of `of`, one a tensor of wrt
  Val wrt;                           // Net, Weights or Tensor
  bool weak = false;                 // as a tensor
};

Val number(double value);
Val boolean(bool value);
Val runtime(mlir::Value ssa, std::set<unsigned> loops = {});
Val tensor(mlir::Value ssa, int64_t classes = 0);
Val weak(mlir::Value ssa);     // f64
bool isWeak(const Val &value); // a tensor that is made of numbers alone
Val string(std::string text);
Val list(std::vector<Val> items, bool tuple = false);
Val none();

// "a number", "a tensor [2000, 1]", "a net", ... for messages.
std::string describe(const Val &value);
// The first arguments of a file's or the prelude's fn that it still waits for.
std::vector<std::string> lacking(const Fn &fn);
// "[2000, 1]", "a number" for a scalar's [].
std::string shapeText(llvm::ArrayRef<int64_t> shape);
// How a loop's variable is printed in tables, titles: "0.001", "sinc", "30 60 60".
std::string label(const Val &value);
// The shortest text that reads back as the same number.
std::string numberText(double value);

} // namespace hw::lang
