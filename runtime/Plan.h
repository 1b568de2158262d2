// The plan as the interpreter walks it: JSON (docs/design.md, "The plan") read once into nodes that hold addresses, so
// that a step costs a few pointer reads.
#pragma once

#include "runtime/Abi.h"
#include "runtime/Table.h"
#include "runtime/formats/Tensor.h"

#include <nlohmann/json_fwd.hpp>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace hw::runtime {

/// A place in the arena.
struct Slot {
  hw_dtype type = HW_F32;
  Shape shape;
  int64_t count = 1; ///< elements
  uint64_t bytes = 0;
  std::byte *data = nullptr;

  /// Element `i` as a number.
  double at(int64_t i = 0) const;
  /// Writes element `i`.
  void set(double value, int64_t i = 0);
  bool isFloat() const { return type == HW_F32 || type == HW_F64; }
};

/// The plan's name of an element type ("ui8"), and how a file calls it. There is no file type for ui64.
const char *typeName(hw_dtype type);
uint64_t typeSize(hw_dtype type);
std::optional<DType> fileType(hw_dtype type);

struct Node;
using Body = std::vector<std::unique_ptr<Node>>;

enum class NodeKind {
  call,
  copy,
  dataset,
  loop,
  together,
  train,
  batches,
  eigh,
  gradcheck,
  record,
  reduce,
  clear,
  save,
  plot,
  stop,
  checkpoint
};

struct Node {
  explicit Node(NodeKind kind) : kind(kind) {}
  virtual ~Node() = default;
  NodeKind kind;
  std::string where; ///< "file.hw:12:3", or empty
};

/// A compiled function and the addresses it takes: arguments, then results.
struct CallNode : Node {
  CallNode() : Node(NodeKind::call) {}
  hw_function function = nullptr;
  const hw_entry *entry = nullptr;
  std::vector<void *> addresses;
  std::vector<const Slot *> reads, writes; ///< the slots at these addresses
  std::string bench;                       ///< not empty: only there for `hwc bench`, which times it under this name
};

struct CopyNode : Node {
  CopyNode() : Node(NodeKind::copy) {}
  Slot *from, *to;
};

struct DatasetNode : Node {
  DatasetNode() : Node(NodeKind::dataset) {}
  Slot *slot;
  std::string type, path, part; ///< `type` is the JSON's `kind`
  int64_t classes = 0;
};

/// A node that runs in turns: those of a loop, or a branch each.
struct TurnsNode : Node {
  using Node::Node;
  /// Slots from number `own` to before `ownEnd` are written and read by one turn alone, which needs nothing of the
  /// others. None: turns have to run one after another.
  size_t own = 0, ownEnd = 0;
  size_t number = 0; ///< in Plan::independent
  bool isIndependent() const { return ownEnd > own; }
};

struct ForNode : TurnsNode {
  ForNode() : TurnsNode(NodeKind::loop) {}
  std::string variable;
  Slot *index, *from, *to;
  Body body;
};

struct TogetherNode : TurnsNode {
  TogetherNode() : TurnsNode(NodeKind::together) {}
  std::vector<Body> branches;
};

struct Carried {
  Slot *slot;
  std::string name;
  std::string role; ///< weight, state, optimiser, variable
};

struct Every {
  int64_t period = 1;
  bool epochs = true; ///< else steps
  Slot *epoch, *step;
  Body body;
};

/// The step again, unfused: results[0] is the index in `operations` of the first one whose result is not finite, or -1.
struct Diagnosis {
  std::unique_ptr<CallNode> call;
  Slot *result = nullptr;
  struct Operation {
    std::string name, where;
  };
  std::vector<Operation> operations;
};

/// What `bench` times of a training beside its step.
struct BenchCase {
  std::string name;
  std::unique_ptr<CallNode> call;
};

struct TrainNode : Node {
  TrainNode() : Node(NodeKind::train) {}
  std::string label;
  int64_t rows = 0, batch = 0;
  bool ordered = false, epochs = true;
  Slot *count, *seed, *epoch, *step;
  Slot *rowIndices = nullptr, *tailIndices = nullptr, *loss = nullptr, *tailLoss = nullptr;
  Body body, tail;
  std::vector<Every> every;
  std::vector<Carried> carried;
  Diagnosis diagnose, diagnoseTail;
  std::vector<BenchCase> bench;

  bool hasTail() const { return batch > 0 && rows % batch != 0; }
  int64_t stepsPerEpoch() const { return batch > 0 ? (rows + batch - 1) / batch : 1; }
};

struct BatchesNode : Node {
  BatchesNode() : Node(NodeKind::batches) {}
  struct Result {
    bool mean; ///< else concat
    Slot *slot, *from, *tailFrom = nullptr;
    std::vector<double> sum; ///< of a mean
  };
  int64_t rows = 0, batch = 0;
  Slot *rowIndices = nullptr, *tailIndices = nullptr;
  Body body, tail;
  std::vector<Result> results;
};

struct EighNode : Node {
  EighNode() : Node(NodeKind::eigh) {}
  Slot *matrix, *values, *vectors = nullptr; ///< no vectors: nothing reads them
};

/// A function of slots: write `arguments`, run `body`, read `results`.
struct Region {
  std::vector<Slot *> arguments, results;
  Body body;
};

struct GradcheckNode : Node {
  GradcheckNode() : Node(NodeKind::gradcheck) {}
  Table *table;
  std::vector<std::pair<size_t, double>> keys; ///< cell and value: the variables of the loops around
  std::vector<std::string> names;
  std::vector<Slot *> weights;
  Region loss, gradient, product;
};

struct RecordNode : Node {
  RecordNode() : Node(NodeKind::record) {}
  struct Item {
    size_t cell = 0;   ///< where in a row it starts
    int64_t width = 1; ///< cells
    Slot *slot = nullptr;
    bool eachRow = false; ///< the slot's dimension 0 is the record's rows
    bool seconds = false; ///< the clock
    double value = 0;     ///< of a constant: a number, or the text's number in the table
    bool asText = false;  ///< a number in a column of texts
  };
  Table *table;
  int64_t rows = 0;
  std::vector<Item> items;
};

struct ReduceNode : Node {
  ReduceNode() : Node(NodeKind::reduce) {}
  Reduction reduction;
  Table *table;
  const Table::Column *column;
  Slot *slot;
};

struct ClearNode : Node {
  ClearNode() : Node(NodeKind::clear) {}
  Table *table;
};

struct LoopValue {
  std::string name;
  Slot *slot;
};

struct SaveNode : Node {
  SaveNode() : Node(NodeKind::save) {}
  std::string name, format;
  std::vector<Slot *> slots;
  std::vector<std::string> names;
  std::vector<LoopValue> loops;
  Table *table = nullptr;
  const Table::Column *column = nullptr;
};

/// An expression of a mark: a column of a table, or one element of a vector column.
struct FigureColumn {
  const Table *table = nullptr;
  const Table::Column *column = nullptr;
  int64_t element = 0;
  std::string name;
};

struct FigureMark {
  std::string kind;
  std::vector<FigureColumn> values, over;
  std::vector<std::string> by;
  std::optional<FigureColumn> label;
  bool right = false;
};

struct FigureSpec {
  std::string title;
  std::vector<std::string> per;
  bool logX = false, logY = false;
  std::vector<FigureMark> marks;
};

struct PlotNode : Node {
  PlotNode() : Node(NodeKind::plot) {}
  FigureSpec spec;
  std::vector<LoopValue> loops;
};

struct StopNode : Node {
  StopNode() : Node(NodeKind::stop) {}
  Slot *slot;
};

struct Setting {
  std::string name;
  double value = 0;
  Slot *slot = nullptr; ///< none if nothing at run time reads it
  bool fixed = false;
};

/// A plan in memory. Slots have addresses once `bind` gave them an arena.
struct Plan {
  std::string name, precision;
  std::string identity; ///< a hash of the module that was compiled, settings that are not fixed aside
  bool quick = false;
  uint64_t arena = 0, scratch = 0;
  std::vector<Slot> slots;
  std::vector<uint64_t> offsets;
  std::vector<Setting> settings;
  std::string nets; ///< JSON, for run.json
  std::vector<std::unique_ptr<Table>> tables;
  std::vector<std::string> figures; ///< titles, for --help
  std::vector<std::string> files;   ///< what `save` writes, for --help
  Body body;
  std::vector<TurnsNode *> independent;           ///< those whose turns may run at the same time
  std::shared_ptr<const nlohmann::json> document; ///< until the body is read
};

/// Reads the head of a program's plan (all but the body, and slots have no addresses yet): enough for --help. Throws
/// where it is not a plan.
Plan readPlanHead(const hw_program &program);
/// Gives slots their addresses in `arena`, which has plan.arena bytes.
void placeSlots(Plan &plan, std::byte *arena);
/// Reads the body, whose calls hold the addresses of slots: these must have been placed.
void readPlanBody(const hw_program &program, Plan &plan);

} // namespace hw::runtime
