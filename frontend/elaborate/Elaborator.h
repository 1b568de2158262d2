// The elaborator: one object a file. Its methods live beside each other by subject:
//   Statements.cpp   what a statement does          Train.cpp     train, minimize, every
//   Expressions.cpp  what an expression is          Data.cpp      data sets, `on`
//   Calls.cpp        functions and instances        Record.cpp    record, save, plot
//   Arithmetic.cpp   numbers, tensors, weights      Derivatives.cpp
//   Builtins.cpp     the table of primitives        Check.cpp     gradcheck and bench
//   Rows.cpp         a column's batch
#pragma once

#include "frontend/elaborate/Elaborate.h"
#include "frontend/elaborate/Value.h"
#include "ir/Precision.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/ScopeExit.h"

#include <cmath>
#include <functional>

namespace hw::lang {

// An error on its way to the statement that recovers from it.
struct Failure {
  std::optional<Diagnostic> diagnostic; // empty: something poisoned was used, and its error was reported before
};

// What the whole program may take is used up: nothing recovers from this.
struct Exhausted {
  Diagnostic diagnostic;
};

// A run-time loop's variable was needed as a number while compiling: the loop with this id is elaborated again,
// unrolled.
struct NeedUnroll {
  unsigned loop;
  SourceRange range;
};

struct Scope {
  enum Type { File, Function, Block, Turn };
  Scope *parent;
  Type type;
  std::map<std::string, Val> names;
  bool holdsColumns = false; // of a data set
};

// The evaluation of one net (or optimiser): where `param` and `state` find their values.
struct NetContext {
  enum Mode { Init, Apply, Optimiser } mode;
  std::shared_ptr<NetCode> code;   // Init, and an optimiser's first evaluation, fill it
  std::vector<Val> values;         // as code->parameters
  bool filling = false;            // parameters and states are being made
  std::map<std::string, Val> next; // s' = ...
  Val seed;                        // null in an optimiser
  bool training = false;
  int trained = -1;   // which of the step's nets
  std::string prefix; // of a part of a net
  std::string inputs; // their shapes, as in "[N, 1, 28, 28]"
  SourceRange cut;    // the `init` that evaluates with two samples of more
  mlir::Type element;
  std::map<const Token *, std::string> tokens;
  NetSummary *summary = nullptr;
};

// One evaluation of an instance's code.
struct Frame {
  NetContext *net = nullptr;
  std::string path;
  std::map<std::string, unsigned> counts;    // instances so far, by function
  std::set<std::string> used;                // names of instances
  unsigned randoms = 0;                      // random calls so far
  std::map<std::string, std::string> states; // local name -> full name
};

// In the initialiser of a `param` or `state`: shape and key of a random call are implied.
struct ImpliedRandom {
  std::vector<int64_t> shape;
  bool hasShape = false;
  mlir::Type element;
  std::string path;
  unsigned calls = 0;
};

struct LoopVariable {
  std::string name;
  Val value;
  std::string label;     // static: as tables show it
  std::string fileLabel; // static: as a file's name carries it
  mlir::Value ssa;       // run-time: tensor<f64>
};

struct TableInfo {
  std::vector<std::string> columns; // loop variables and clocks, then items
  size_t keys = 0;                  // how many of the first kind
};

// What has to be undone when a loop is elaborated twice.
struct Progress {
  std::map<std::string, TableInfo> tables;
  std::vector<NetSummary> nets;
  std::map<std::string, uint32_t> savedNames; // and the statement's place
  unsigned hidden = 0;
};

struct Args {
  std::vector<Val> positional;
  std::map<std::string, Val> keywords; // those given
  std::vector<SourceRange> ranges;     // of the positional ones, where known
  SourceRange range;                   // of the call
  Val keyword(const std::string &name) const;
};

// A training step being elaborated, once as a trial and then for each batch size.
struct Step {
  const ast::Train *stmt = nullptr;
  struct TrainedNet {
    std::string name;
    std::shared_ptr<const Net> net;     // at the weights before the update
    std::map<size_t, mlir::Value> next; // by index into net->values
    std::map<size_t, SourceRange> by;   // who updates it
  };
  std::vector<TrainedNet> nets;
  struct Optimiser {
    std::string name; // "adam"
    std::shared_ptr<NetCode> code;
    std::vector<Val> values; // its state
    std::vector<Val> next;
  };
  std::vector<Optimiser> optimisers; // one a `minimize`
  struct Evaluation {                // of a trained net that changes state
    int trained;
    std::map<size_t, Val> next;
    std::vector<mlir::Value> outputs;
  };
  std::vector<Evaluation> evaluations;
  std::vector<Val> objectives;
  std::vector<const ast::Every *> everies;
  bool trial = false;
  size_t loopDepth = 0;
};

class Elaborator;
struct Builtin {
  std::string signature; // "sum(x, axis = None, keepdims = False)"
  std::string doc;
  Val (*apply)(Elaborator &, Args &);
  // from the signature:
  std::string name = {};
  std::vector<std::string> positional = {};
  unsigned required = 0; // positional arguments that must be given
  bool variadic = false;
  std::map<std::string, std::string> keywords = {}; // name -> default, as text
};
const std::map<std::string, Builtin> &builtins();

enum class Bin { Add, Sub, Mul, Div, Pow, Min, Max, Lt, Le, Gt, Ge, Eq, Ne, And, Or };

class Elaborator {
public:
  Elaborator(const ast::Module &file, Diagnostics &diagnostics, mlir::MLIRContext &context,
             const ElaborateOptions &options);
  std::optional<Elaborated> run();

  //===-- Errors ------------------------------------------------------------------------------------------------===//
  [[noreturn]] void fail(SourceRange range, std::string message, std::string help = {});
  [[noreturn]] void fail(std::string message, std::string help = {}) {
    fail(here, std::move(message), std::move(help));
  }
  [[noreturn]] void exhaust(std::string message, std::string help);
  Diagnostic diagnose(SourceRange range, std::string message, std::string help);
  void report(const Failure &failure);
  // The best match for an unknown name among `candidates`, as a help text, or "".
  std::string nearest(const std::string &name, const std::vector<std::string> &candidates);

  //===-- Statements --------------------------------------------------------------------------------------------===//
  // Runs statements; true if one returned (the value is in `returned`).
  bool runBlock(const ast::Block &block, Scope::Type type = Scope::Block);
  bool runStatements(const std::vector<ast::StmtPtr> &statements);
  bool runStatement(const ast::Stmt &stmt);
  // Counts what is elaborated: a statement, an expression, a round of a loop, also of one whose body is empty.
  void countSteps() {
    if (++statements > 3'000'000)
      exhaust("this program unrolls to more than 3 million statements and expressions", unrollHelp);
  }
  void runAssign(const ast::Assign &stmt);
  void runFor(const ast::For &stmt, size_t clause, bool &didReturn);
  bool runBody(const ast::For &stmt, size_t clause);
  bool runUnrolled(const ast::For &stmt, size_t clause, const Val &iterable);
  void runLoop(const ast::For &stmt, size_t clause, const Val &iterable);
  bool runIf(const ast::If &stmt);
  void runFn(const ast::Fn &stmt);
  void runState(const ast::StateAssign &stmt);
  void addSetting(const ast::Name &name, Val &value);
  void poison(const ast::Stmt &stmt);
  void explainPipe(Failure &failure, const ast::Expr &right);
  void pushLoop(const std::string &name, const Val &value, size_t index);
  void runParam(const ast::Name &name, const ast::Expr *shape, const ast::Expr &init, bool trainable,
                SourceRange range);
  void runData(const ast::Data &stmt);
  void runTrain(const ast::Train &stmt);
  void runMinimize(const ast::Minimize &stmt);
  void runEvery(const ast::Every &stmt);
  void runStop(const ast::StopWhen &stmt);
  void runRecord(const ast::Record &stmt);
  void runSave(const ast::Save &stmt);
  void runPlot(const ast::Plot &stmt);
  bool takesApart(const std::vector<ast::Name> &names, const Val &value, SourceRange range);

  void define(const std::string &name, Val value) { scope->names[name] = std::move(value); }
  // Rebinds a visible outer name, else defines a local one.
  void assign(const std::string &name, Val value);
  Scope *findScope(const std::string &name, Scope *from);
  Val lookup(const std::string &name); // null if unknown
  std::vector<std::string> visibleNames();
  // The names of the surroundings that a block assigns to.
  std::vector<std::string> rebound(const ast::Block &block);

  //===-- Expressions -------------------------------------------------------------------------------------------===//
  Val eval(const ast::Expr &expr);
  Val evalUnbounded(const ast::Expr &expr); // eval, before the result is found to be of a bearable size
  Val evalRef(const std::string &name, SourceRange range);
  Val evalBinary(const ast::Binary &expr);
  Val evalIndex(const ast::Index &expr);
  Val evalField(const ast::Field &expr);
  Val evalComprehension(const ast::Comprehension &expr);
  Val evalOn(const ast::On &expr);
  Val evalCall(const ast::Call &expr);

  //===-- Calls -------------------------------------------------------------------------------------------------===//
  Val call(const Val &callee, std::vector<Val> args, SourceRange range, std::map<std::string, Val> keywords = {},
           std::vector<SourceRange> ranges = {}, const std::string &boundTo = {}, bool piped = false);
  Val applyBuiltin(const Builtin &builtin, Args &arguments);
  Val callFn(const Fn &fn, std::vector<Val> args, SourceRange range);
  Val callObjective(const Objective &objective, const Val &weights, SourceRange range);
  Val applyNet(const Net &net, std::vector<Val> args, SourceRange range);
  Val init(Args &args);
  Val evaluateRoot(NetContext &net, const std::string &path, const Val &fn, std::vector<Val> args, SourceRange range);
  bool isStateful(const ast::Fn &fn);
  bool isStateful(const Fn &fn) { return fn.decl && isStateful(*fn.decl); }
  std::string newPath(const std::string &base, bool bound);

  //===-- Numbers, tensors --------------------------------------------------------------------------------------===//
  // A size in a shape, as a number.
  Val sizeNumber(double size) {
    auto n = std::make_shared<Number>();
    n->known = size;
    n->samples = sampleProbe && std::fmod(size, double(sampleProbe)) == 0;
    return n;
  }
  mlir::Location loc();
  mlir::Type f64() { return builder.getF64Type(); }
  mlir::Type programFloat() { return options.f64 ? builder.getF64Type() : mlir::Type(builder.getF32Type()); }
  // The type that numbers, and tensors made of numbers alone, take here: what they meet decides (`Meeting`); what meets
  // nothing is kept in the program's.
  mlir::Type defaultFloat() { return meeting ? meeting : programFloat(); }
  // `value` in the type that a place has in which it is kept: a column, a parameter, a loop's variable. The language
  // says so, and `roundTrips` does not mind it.
  mlir::Value kept(mlir::Value value, mlir::Type element);
  mlir::Value kept(const Val &value, llvm::ArrayRef<int64_t> shape, mlir::Type element);
  mlir::RankedTensorType tensorType(llvm::ArrayRef<int64_t> shape, mlir::Type element);
  mlir::Value scalar(const Number &number); // tensor<f64>; boolean: tensor<i1>
  void notOfSamples(const Number &number);
  mlir::Value scalarF64(const Val &value); // a number or a rank-0 tensor, as tensor<f64>
  mlir::Value splat(llvm::ArrayRef<int64_t> shape, mlir::Type element, double value);
  mlir::Value cast(mlir::Value value, mlir::Type element);
  /// The value as whole numbers of an integer type, from 0 to `count` - 1, or with `fromEnd` from -count, counted from
  /// the end: known to be, or checked by the run. What `i32` made of floats is taken as it was before.
  mlir::Value whole(mlir::Value value, int64_t count, bool fromEnd, mlir::Type element, const std::string &what,
                    const std::string &outside);
  mlir::Value broadcastTo(mlir::Value value, llvm::ArrayRef<int64_t> shape);
  mlir::Value reshape(mlir::Value value, llvm::ArrayRef<int64_t> shape);
  Val rowAt(const Tensor &whole, int64_t i); // whole[i], of its kind
  mlir::Value binaryOp(Bin op, mlir::Value lhs, mlir::Value rhs);
  mlir::Value reduceSum(mlir::Value value, llvm::ArrayRef<int64_t> dims);
  // A tensor of this shape (null: the number's or tensor's own) and element type.
  mlir::Value asTensor(const Val &value, mlir::Type element, const char *what = "a tensor");
  mlir::Value asTensor(const Val &value, llvm::ArrayRef<int64_t> shape, mlir::Type element);
  // The tensor behind a value: numbers become rank 0 f64, lists of numbers vectors.
  mlir::Value tensorOf(const Val &value, const char *what);
  mlir::Value floatTensorOf(const Val &value, const char *what); // masks, bytes and classes become numbers
  bool isFloat(mlir::Value value) { return llvm::isa<mlir::FloatType>(elementOf(value)); }
  std::vector<int64_t> broadcastShape(llvm::ArrayRef<int64_t> a, llvm::ArrayRef<int64_t> b, const char *what);
  Val binary(Bin op, const Val &lhs, const Val &rhs);
  Val binaryNumbers(Bin op, const Number &lhs, const Number &rhs);
  Val unary(const std::string &name, const Val &value);
  Val logicalNot(const Val &value);
  Val matmul(const Val &lhs, const Val &rhs);
  Val where(const Val &condition, const Val &yes, const Val &no);
  Val mapWeights(const Val &weights, const std::function<mlir::Value(mlir::Value)> &f);

  // Static values. `what` names the use: "a shape".
  double known(const Val &value, const std::string &what);
  int64_t knownInt(const Val &value, const std::string &what);
  bool knownBool(const Val &value, const std::string &what);
  std::vector<int64_t> knownShape(const Val &value);
  std::vector<int64_t> knownAxes(const Val &value, int64_t rank, bool &all);
  int64_t knownAxis(const Val &value, int64_t rank);
  std::string knownString(const Val &value, const std::string &what);

  // The tensors in a value, in a fixed order, and the value with others in their place.
  void flatten(const Val &value, std::vector<mlir::Value> &to);
  Val unflatten(const Val &like, llvm::ArrayRef<mlir::Value> &values, const std::set<unsigned> &loops);
  // The tensors of `value`, of the types that flatten(like) has. `name` is for the message if they cannot have them.
  // A variable keeps its type, so f64 for f32 is an error; what is `stored` (weights, states) takes the place's type.
  std::vector<mlir::Value> flattenLike(const Val &value, const Val &like, llvm::ArrayRef<mlir::Type> types,
                                       const std::string &name, SourceRange range, bool stored = false);
  bool carriable(const Val &value);

  //===-- Derivatives -------------------------------------------------------------------------------------------===//
  std::vector<mlir::Value> differentiable(const Val &value, const char *function);
  Val like(const Val &shape, llvm::ArrayRef<mlir::Value> values); // the values in the form of a net's weights, a tensor
  mlir::Value exactly(const Val &value, const char *what);        // the tensor, numbers and what is made of them in f64
  Val derivative(const Val &wrt, llvm::ArrayRef<mlir::Value> values, const Val &of, mlir::Type element);
  mlir::Value scalarLoss(const Val &value, const char *function);
  void requireFunction(llvm::ArrayRef<mlir::Value> of, llvm::ArrayRef<mlir::Value> wrt, const Args &args,
                       const char *function); // that `of` is a function of `wrt`, the arguments of `function`
  // Runs the body of `train` once in the current block; the scope of the turn is `turn`.
  void runStep(Step &into, const Data &data, mlir::Value rows, mlir::Value epochValue, mlir::Value stepValue,
               const std::function<void()> &then);
  mlir::Value stepLoss(const Step &step);
  void gradcheckTrain(const ast::Train &stmt, const std::vector<std::shared_ptr<const Net>> &nets, const Data &data,
                      int64_t batch, const std::string &label);
  void benchTrain(const ast::Train &stmt, const std::vector<std::shared_ptr<const Net>> &nets, const Data &data,
                  int64_t batch, const std::string &label);
  void checkGradient(mlir::Value loss, llvm::ArrayRef<mlir::Value> weights, llvm::ArrayRef<std::string> names,
                     const std::string &table);
  Val gradient(const Args &args);
  Val hessianProduct(const Operator &op, const Val &v);
  Val denseMatrix(const Operator &op);
  Val jacobian(const Args &args);
  Val gradcheck(Args &args);
  // v [n] cut into tensors shaped as `like`.
  std::vector<mlir::Value> cut(mlir::Value flat, llvm::ArrayRef<mlir::Value> like, mlir::Type element = {});
  mlir::Value flat(llvm::ArrayRef<mlir::Value> values);
  std::vector<mlir::Value> vectorLike(const Val &v, llvm::ArrayRef<mlir::Value> wrt, const char *what,
                                      mlir::Type element = {});

  //===-- Random ------------------------------------------------------------------------------------------------===//
  Val random(Args &args);
  mlir::Value randomTensor(llvm::ArrayRef<int64_t> shape, mlir::Type element, mlir::Value key, uint32_t site);
  mlir::Value key(const Val &seed);

  //===-- Data --------------------------------------------------------------------------------------------------===//
  std::string dataPath(const std::string &path);
  Val dataset(const std::string &kind, const std::string &path);
  mlir::Value rowsOf(mlir::Value whole,
                     mlir::Value rows); // whole[rows], computed from the bytes of a file where it can
  Val columnRows(const DataColumn &column, mlir::Value rows);
  Val columnWhole(const DataColumn &column) {
    return column.exact ? weak(column.exact) : tensor(column.whole, column.classes);
  }
  Val addTo(Data &data, const std::string &name, const Val &value);
  Val sliceData(const Data &data, int64_t start, int64_t stop, const std::string &text);
  const Data &dataOf(const Val &value, SourceRange range);
  void defineColumns(const Data &data, mlir::Value rows, SourceRange range);
  // Evaluates `items` over batches of a data set: study.batches.
  std::vector<Val> inBatches(const Data &data, int64_t batch, SourceRange range,
                             const std::function<std::vector<Val>()> &items, std::vector<bool> &perRow);

  //===-- Records -----------------------------------------------------------------------------------------------===//
  void recordTable(const std::string &table, const std::vector<std::pair<std::string, Val>> &items, int64_t rows,
                   const std::vector<bool> &perRow, bool hidden, SourceRange range);
  std::string fileName(const std::string &name);
  std::vector<LoopVariable> runtimeLoops();

  //===-- State -------------------------------------------------------------------------------------------------===//
  const ast::Module &file;
  Diagnostics &diagnostics;
  const ElaborateOptions options;
  mlir::OpBuilder builder;
  mlir::OwningOpRef<mlir::ModuleOp> module;

  Scope *scope = nullptr;
  std::map<std::string, Val> functions, prelude; // fns of the file, of the prelude
  std::map<std::string, Val> globals;            // top-level scalars, which fns see
  std::map<std::string, const ast::Quick *> quick;
  std::vector<Setting> settings;
  std::map<std::string, size_t> settingIndex;

  Frame *frame = nullptr;
  ImpliedRandom *implied = nullptr;
  Step *step = nullptr; // in the body of `train`
  bool inEvery = false;
  bool trainingStep = false;
  Val randomStep; // Number, or null outside training
  std::vector<LoopVariable> loops;
  std::vector<std::pair<std::string, Val>> clocks; // epoch, step
  Progress progress;
  unsigned nextLoop = 0;
  unsigned inFunction = 0;
  int64_t sampleProbe = 0; // a batch size that nothing else has, while looking for the axis of the samples
  unsigned meanDepth = 0;
  int64_t lastBatch = 0; // rows of an epoch's last batch, while its step is elaborated
  mlir::Type meeting;    // see defaultFloat

  struct CallSite {
    const ast::Fn *fn;
    SourceRange range;
  };
  std::vector<CallSite> calls;
  SourceRange here; // the innermost place in the user's file
  Val returned;
  std::string boundTo;   // the name that the call under evaluation is assigned to
  std::string tableName; // likewise, for a table that a builtin makes
  std::map<const ast::Fn *, int> statefulness;
  size_t operations = 0, statements = 0;
  static constexpr const char *unrollHelp =
      "write long loops as `for i in 1..n`, and use `i` in no shape and no `if`: such a loop is not unrolled";
  std::set<std::pair<uint32_t, std::string>> reported;
  // Statements that failed so far. More than errors: one that is elaborated twice reports its error once, and one that
  // uses what failed before reports none. What its body failed in is half built, and must not be gone on with.
  size_t failures = 0;
  std::set<std::string> recorded; // the names of all tables of the file
  std::set<std::string> unsure;   // of those that a failed statement would have recorded
};

// Sets a variable for a scope's duration.
template <typename T> class Restore {
public:
  Restore(T &variable, T value) : variable(variable), old(std::move(variable)) { variable = std::move(value); }
  explicit Restore(T &variable) : variable(variable), old(variable) {}
  ~Restore() { variable = std::move(old); }
  Restore(const Restore &) = delete;

private:
  T &variable;
  T old;
};

// While one operation looks at its operands: these decide which type numbers and weak tensors take in it. If all are
// weak, they are f64, and so is the result, which is weak again.
class Meeting {
public:
  // Bytes, masks and labels are of the program's type in arithmetic; what only moves elements leaves them as they are.
  enum Whole { AreNumbers, AreIndices };
  Meeting(Elaborator &e, llvm::ArrayRef<Val> operands, Whole whole = AreNumbers);
  Val settle(const Val &result) const;
  bool allWeak() const { return !strong; }

private:
  void add(const Val &value);
  Elaborator &e;
  mlir::Type strong;
  bool hasWeak = false, hasWhole = false;
  Restore<mlir::Type> restore;
};

class ScopeGuard {
public:
  ScopeGuard(Elaborator &e, Scope::Type type, Scope *parent)
      : scope{parent, type, {}, false}, restore(e.scope, &scope) {}
  ScopeGuard(Elaborator &e, Scope::Type type) : ScopeGuard(e, type, e.scope) {}
  Scope scope;

private:
  Restore<Scope *> restore;
};

// Calls f for every expression, statement in a tree.
void walk(const ast::Expr &expr, const std::function<void(const ast::Expr &)> &f);
void walk(const ast::Stmt &stmt, const std::function<void(const ast::Stmt &)> &onStmt,
          const std::function<void(const ast::Expr &)> &onExpr);

// A stable 31-bit hash (FNV-1a) of a path: the site of a random call.
uint32_t siteOf(const std::string &path);

} // namespace hw::lang
