// What a program means: an interpreter of the study, op after op in program order, over tensors that are values. It
// plans nothing, shares no memory and overwrites nothing, so that what the compiler does to save time and memory can
// be compared with it.
#pragma once
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "tests/reference/Ops.h"
#include <map>
#include <memory>
#include <random>
#include <string>
#include <variant>

namespace hw::reference {

/// A tensor of many users, which none can change.
using Shared = std::shared_ptr<const Tensor>;

/// How results of floating-point ops are rounded: to their type; not at all; or to their type and then moved by some
/// units in the last place at random, which shows how much a program makes of its rounding errors.
enum class Rounding { toType, none, perturbed };

/// Arithmetic: values of one function, and ops run on them.
class Arithmetic {
public:
  explicit Arithmetic(Rounding rounding = Rounding::toType, unsigned seed = 1) : rounding(rounding), random(seed) {}

  /// Rules beside hw's, by the op's whole name ("hwb.to_layout").
  std::map<std::string, Rule> others;

  void set(mlir::Value name, Shared value) { values[name] = std::move(value); }
  const Shared &get(mlir::Value name) const;
  double number(mlir::Value name) const { return double(get(name)->values.front()); }
  void run(mlir::Operation *op);
  /// All of a function that has arithmetic only.
  std::vector<Tensor> run(mlir::func::FuncOp function, llvm::ArrayRef<Tensor> arguments);

private:
  void finish(Tensor &tensor);

  Rounding rounding;
  std::mt19937_64 random;
  llvm::DenseMap<mlir::Value, Shared> values;
};

/// A recorded table. A cell is a number, or a text, or NaN where a row has none.
struct Table {
  struct Column {
    std::string name;
    int64_t width = 1;
    bool isF64 = false;
    size_t cell = 0; ///< the first in a row
  };
  using Cell = std::variant<Number, std::string>;
  bool isHidden = true;
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;

  const Column &column(llvm::StringRef name) const;
  size_t width() const { return columns.empty() ? 0 : columns.back().cell + size_t(columns.back().width); }
  /// "name", or "name[0]", "name[1]", ...
  std::vector<std::string> cellNames() const;
};

/// What a run leaves.
struct Outcome {
  std::map<std::string, Table> tables;
  /// By file and tensor: {"net.safetensors", "linear1.weight"}; of a .npy, the tensor has no name.
  std::map<std::pair<std::string, std::string>, Tensor> saved;
};

/// Runs the `study` of a module whose derivatives are expanded and that is not outlined. Throws std::runtime_error
/// where the run would end in an error, and for what the reference does not know: data from files, gradcheck.
Outcome interpret(mlir::ModuleOp module, Rounding rounding = Rounding::toType, unsigned seed = 1);

} // namespace hw::reference
