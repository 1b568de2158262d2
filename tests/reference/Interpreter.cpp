#include "tests/reference/Interpreter.h"
#include "runtime/Philox.h"
#include "llvm/ADT/TypeSwitch.h"
#include <charconv>
#include <cmath>
#include <numeric>
#include <stdexcept>

using namespace mlir;
using namespace hw;
using namespace hw::reference;

//===--------------------------------------------------------------------------------------------------------------===//
// Arithmetic
//===--------------------------------------------------------------------------------------------------------------===//

const Shared &Arithmetic::get(mlir::Value name) const {
  auto found = values.find(name);
  if (found == values.end())
    throw std::runtime_error("a value is read before it was computed");
  return found->second;
}

void Arithmetic::finish(Tensor &tensor) {
  if (rounding == Rounding::none)
    return;
  round(tensor);
  Type element = tensor.type.getElementType();
  if (rounding != Rounding::perturbed || !isa<FloatType>(element))
    return;
  // Up to two units either way; whole numbers, which count or choose, are exact in every order of operations.
  std::uniform_real_distribution<double> moves(-2, 2);
  const Number unit = element.isF32() ? 0x1p-24L : 0x1p-53L;
  for (Number &value : tensor.values)
    if (std::isfinite(value) && value != std::floor(value))
      value *= 1 + Number(moves(random)) * unit;
  round(tensor);
}

void Arithmetic::run(Operation *op) {
  auto [dialect, name] = op->getName().getStringRef().split('.');
  Rule rule = nullptr;
  if (dialect == "hw")
    rule = ruleOf(name);
  else if (auto other = others.find(op->getName().getStringRef().str()); other != others.end())
    rule = other->second;
  if (!rule)
    throw std::runtime_error(("the reference has no rule for " + op->getName().getStringRef()).str());
  SmallVector<const Tensor *> operands;
  for (mlir::Value operand : op->getOperands())
    operands.push_back(get(operand).get());
  std::vector<Tensor> results = rule(op, Operands(operands));
  for (auto [name, result] : llvm::zip_equal(op->getResults(), results)) {
    finish(result);
    values[name] = std::make_shared<const Tensor>(std::move(result));
  }
}

std::vector<Tensor> Arithmetic::run(func::FuncOp function, ArrayRef<Tensor> arguments) {
  for (auto [name, argument] : llvm::zip_equal(function.getArguments(), arguments))
    set(name, std::make_shared<const Tensor>(argument));
  for (Operation &op : function.front().without_terminator())
    run(&op);
  std::vector<Tensor> results;
  for (mlir::Value result : function.front().getTerminator()->getOperands())
    results.push_back(*get(result));
  return results;
}

//===--------------------------------------------------------------------------------------------------------------===//
// Tables
//===--------------------------------------------------------------------------------------------------------------===//

const Table::Column &Table::column(StringRef name) const {
  for (const Column &column : columns)
    if (column.name == name)
      return column;
  throw std::runtime_error(("a table has no column " + name).str());
}

std::vector<std::string> Table::cellNames() const {
  std::vector<std::string> names;
  for (const Column &column : columns)
    if (column.width == 1)
      names.push_back(column.name);
    else
      for (int64_t i = 0; i < column.width; ++i)
        names.push_back(column.name + "[" + std::to_string(i) + "]");
  return names;
}

//===--------------------------------------------------------------------------------------------------------------===//
// The study
//===--------------------------------------------------------------------------------------------------------------===//

namespace {

std::string shortest(double value) {
  char text[64];
  return std::string(text, std::to_chars(text, text + sizeof text, value).ptr);
}

/// Eigenvalues of a symmetric matrix, ascending, and its eigenvectors as columns, by Jacobi's rotations.
std::pair<std::vector<Number>, std::vector<Number>> eigen(size_t n, std::vector<Number> a) {
  std::vector<Number> v(n * n, 0);
  auto at = [n](std::vector<Number> &x, size_t i, size_t j) -> Number & { return x[i * n + j]; };
  for (size_t i = 0; i < n; ++i) {
    at(v, i, i) = 1;
    for (size_t j = 0; j < i; ++j)
      at(a, i, j) = at(a, j, i) = (at(a, i, j) + at(a, j, i)) / 2;
  }
  for (int sweep = 0; sweep < 60; ++sweep) {
    Number off = 0, all = 0;
    for (size_t i = 0; i < n; ++i)
      for (size_t j = 0; j < n; ++j)
        (i == j ? all : off) += at(a, i, j) * at(a, i, j);
    if (off <= 1e-38L * (all + off))
      break;
    for (size_t p = 0; p < n; ++p)
      for (size_t q = p + 1; q < n; ++q) {
        if (at(a, p, q) == 0)
          continue;
        const Number theta = (at(a, q, q) - at(a, p, p)) / (2 * at(a, p, q));
        const Number t = (theta >= 0 ? 1 : -1) / (std::abs(theta) + std::sqrt(theta * theta + 1));
        const Number c = 1 / std::sqrt(t * t + 1), s = t * c;
        auto turn = [&](Number &x, Number &y) {
          const Number before = x;
          x = c * x - s * y;
          y = s * before + c * y;
        };
        for (size_t k = 0; k < n; ++k)
          turn(at(a, k, p), at(a, k, q));
        for (size_t k = 0; k < n; ++k)
          turn(at(a, p, k), at(a, q, k));
        for (size_t k = 0; k < n; ++k)
          turn(at(v, k, p), at(v, k, q));
      }
  }
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](size_t i, size_t j) { return at(a, i, i) < at(a, j, j); });
  std::vector<Number> values, vectors(n * n);
  for (size_t j = 0; j < n; ++j) {
    values.push_back(at(a, order[j], order[j]));
    for (size_t i = 0; i < n; ++i)
      at(vectors, i, j) = at(v, i, order[j]);
  }
  return {std::move(values), std::move(vectors)};
}

class Study {
public:
  Study(ModuleOp module, Rounding rounding, unsigned seed) : module(module), arithmetic(rounding, seed) {}

  Outcome run() {
    module.walk([&](study::RecordOp record) { declare(record); });
    for (auto &[name, table] : outcome.tables) {
      size_t cell = 0;
      for (Table::Column &column : table.columns) {
        column.cell = cell;
        cell += size_t(column.width);
      }
    }
    auto function = module.lookupSymbol<func::FuncOp>("study");
    if (!function)
      throw std::runtime_error("the module has no study");
    run(function.front());
    return std::move(outcome);
  }

private:
  /// Everything of a block but what ends it; the values that it yields.
  std::vector<Shared> run(Block &block) {
    for (Operation &op : block.without_terminator())
      step(&op);
    std::vector<Shared> yielded;
    for (mlir::Value value : block.getTerminator()->getOperands())
      yielded.push_back(arithmetic.get(value));
    return yielded;
  }
  std::vector<Shared> get(ValueRange names) {
    std::vector<Shared> found;
    for (mlir::Value name : names)
      found.push_back(arithmetic.get(name));
    return found;
  }
  void set(ValueRange names, ArrayRef<Shared> values) {
    for (auto [name, value] : llvm::zip_equal(names, values))
      arithmetic.set(name, value);
  }
  static Tensor numberTensor(mlir::Value like, Number number) { return {typeOf(like), {number}}; }
  void setNumber(mlir::Value name, Number number) {
    arithmetic.set(name, std::make_shared<const Tensor>(numberTensor(name, number)));
  }
  /// Row numbers from..from + count - 1 of `order`, or these numbers themselves.
  void setRows(mlir::Value name, int64_t from, ArrayRef<int32_t> order = {}) {
    Tensor rows{typeOf(name), {}};
    for (int64_t i = 0; i < rows.type.getNumElements(); ++i)
      rows.values.push_back(order.empty() ? Number(from + i) : Number(order[size_t(from + i)]));
    arithmetic.set(name, std::make_shared<const Tensor>(std::move(rows)));
  }

  void step(Operation *op) {
    if (op->getName().getDialectNamespace() == "hw")
      return arithmetic.run(op);
    llvm::TypeSwitch<Operation *>(op)
        .Case<study::SettingOp>(
            [&](study::SettingOp setting) { setNumber(setting.getResult(), setting.getValue().convertToDouble()); })
        .Case<study::ForOp>([&](study::ForOp loop) { forLoop(loop); })
        .Case<study::TogetherOp>([&](study::TogetherOp together) {
          std::vector<Shared> results;
          for (Region &branch : together.getBranches())
            llvm::append_range(results, run(branch.front()));
          set(together.getResults(), results);
        })
        .Case<study::TrainOp>([&](study::TrainOp train) { training(train); })
        .Case<study::BatchesOp>([&](study::BatchesOp op) { batches(op); })
        .Case<study::EighOp>([&](study::EighOp op) {
          auto [values, vectors] =
              eigen(size_t(typeOf(op.getValues()).getNumElements()), arithmetic.get(op.getMatrix())->values);
          for (auto [name, numbers] : {std::pair{op.getValues(), &values}, {op.getVectors(), &vectors}}) {
            Tensor out{typeOf(name), std::move(*numbers)};
            round(out);
            arithmetic.set(name, std::make_shared<const Tensor>(std::move(out)));
          }
        })
        .Case<study::RecordOp>([&](study::RecordOp op) { record(op); })
        .Case<study::ReduceOp>([&](study::ReduceOp op) { setNumber(op.getResult(), double(reduced(op))); })
        .Case<study::ClearOp>([&](study::ClearOp op) { outcome.tables[op.getTable().str()].rows.clear(); })
        .Case<study::SaveOp>([&](study::SaveOp op) { save(op); })
        .Case<study::StopOp>([&](study::StopOp op) {
          if (arithmetic.number(op.getCondition()) != 0)
            isStopping = true;
        })
        .Case<study::CheckpointOp, study::PlotOp, study::BenchOp>([](auto) {})
        .Default([](Operation *op) {
          throw std::runtime_error(("the reference does not know " + op->getName().getStringRef()).str());
        });
  }

  //===-- Loops --------------------------------------------------------------------------------------------------===//

  void forLoop(study::ForOp loop) {
    double from = arithmetic.number(loop.getFrom()), to = arithmetic.number(loop.getTo());
    if (!std::isfinite(from) || !std::isfinite(to))
      throw std::runtime_error("a loop's bounds are not finite");
    std::vector<Shared> carried = get(loop.getInits());
    Block &body = loop.getBody().front();
    for (int64_t turn = 0; from + double(turn) <= to + 1e-9; ++turn) {
      setNumber(body.getArgument(0), from + double(turn));
      set(body.getArguments().drop_front(), carried);
      carried = run(body);
    }
    set(loop.getResults(), carried);
  }

  void training(study::TrainOp train) {
    const int64_t rows = train.getRows(), batch = train.getBatch();
    const int64_t perEpoch = batch > 0 ? (rows + batch - 1) / batch : 1;
    const int64_t total =
        std::llround(arithmetic.number(train.getCount())) * (train.getUnit() == "epochs" ? perEpoch : 1);
    const auto seed = uint64_t(int64_t(arithmetic.number(train.getSeed())));
    std::vector<Shared> carried = get(train.getInits());
    // What `every` reads of the steps begins empty.
    for (Region *region : {&train.getStep(), &train.getTail()})
      for (Block &block : *region)
        for (auto record : block.getOps<study::RecordOp>())
          if (record.getHidden())
            outcome.tables[record.getTable().str()].rows.clear();
    std::vector<int32_t> order(static_cast<size_t>(batch > 0 ? rows : 0));
    const bool wasStopping = std::exchange(isStopping, false);
    for (int64_t step = 0; step < total && !isStopping; ++step) {
      const int64_t epoch = step / perEpoch, inEpoch = step % perEpoch;
      if (batch > 0 && inEpoch == 0)
        shuffle(order, seed, epoch, train.getOrdered());
      const bool isTail = batch > 0 && rows % batch != 0 && inEpoch == perEpoch - 1;
      Block &body = (isTail ? train.getTail() : train.getStep()).front();
      setNumber(body.getArgument(0), Number(epoch));
      setNumber(body.getArgument(1), Number(step));
      if (batch > 0)
        setRows(body.getArgument(2), inEpoch * batch, order);
      set(body.getArguments().drop_front(batch > 0 ? 3 : 2), carried);
      carried = run(body);
      if (!std::isfinite(carried.back()->values.front()))
        throw std::runtime_error("a training's loss is no number");
      carried.pop_back();
      const int64_t done = step + 1;
      for (auto [k, region] : llvm::enumerate(train.getEvery())) {
        const int64_t period = train.getEveryPeriod()[k];
        const bool ofEpochs = cast<StringAttr>(train.getEveryUnit()[k]).getValue() == "epochs";
        if (ofEpochs ? done % perEpoch != 0 || done / perEpoch % period != 0 : done % period != 0)
          continue;
        Block &every = region.front();
        setNumber(every.getArgument(0), Number(done / perEpoch));
        setNumber(every.getArgument(1), Number(done));
        set(every.getArguments().drop_front(2), carried);
        carried = run(every);
        if (isStopping)
          break;
      }
    }
    isStopping = wasStopping;
    set(train.getResults(), carried);
  }

  static void shuffle(std::vector<int32_t> &order, uint64_t seed, int64_t epoch, bool isOrdered) {
    std::iota(order.begin(), order.end(), 0);
    if (isOrdered)
      return;
    PhiloxStream random(seed, uint64_t(epoch), shuffleTag);
    for (size_t i = order.size(); i > 1; --i)
      std::swap(order[i - 1], order[random.below(uint32_t(i))]);
  }

  void batches(study::BatchesOp op) {
    const int64_t rows = op.getRows(), batch = op.getBatch();
    std::vector<Tensor> results;
    for (mlir::Value result : op.getResults())
      results.push_back({typeOf(result), {}});
    for (int64_t from = 0; from < rows; from += batch) {
      const int64_t size = std::min(batch, rows - from);
      Block &body = (size < batch ? op.getTail() : op.getBody()).front();
      setRows(body.getArgument(0), from);
      std::vector<Shared> parts = run(body);
      for (auto [i, part] : llvm::enumerate(parts)) {
        std::vector<Number> &values = results[i].values;
        const StringRef combine = cast<StringAttr>(op.getCombine()[i]).getValue();
        if (combine == "concat") {
          values.insert(values.end(), part->values.begin(), part->values.end());
          continue;
        }
        if (combine != "mean")
          throw std::runtime_error(("the reference does not put batches together by " + combine).str());
        values.resize(part->values.size(), 0);
        for (size_t j = 0; j < values.size(); ++j)
          values[j] += part->values[j] * Number(size) / Number(rows);
      }
    }
    for (auto [name, result] : llvm::zip_equal(op.getResults(), results)) {
      round(result);
      arithmetic.set(name, std::make_shared<const Tensor>(std::move(result)));
    }
  }

  //===-- Tables and files ---------------------------------------------------------------------------------------===//

  static bool isEachRow(RankedTensorType type, int64_t rows) {
    return rows > 0 && type.getRank() > 0 && type.getDimSize(0) == rows;
  }
  static int64_t widthOf(RankedTensorType type, int64_t rows) {
    return type.getNumElements() / (isEachRow(type, rows) ? rows : 1);
  }

  void declare(study::RecordOp record) {
    Table &table = outcome.tables[record.getTable().str()];
    table.isHidden &= record.getHidden();
    auto column = [&](StringRef name) -> Table::Column & {
      for (Table::Column &column : table.columns)
        if (column.name == name)
          return column;
      return table.columns.emplace_back(Table::Column{name.str()});
    };
    for (auto name : record.getOrder().getAsRange<StringAttr>())
      column(name.getValue());
    for (auto [name, value] : llvm::zip_equal(record.getColumns().getAsRange<StringAttr>(), record.getOperands())) {
      Table::Column &c = column(name.getValue());
      c.width = std::max(c.width, widthOf(typeOf(value), int64_t(record.getRows())));
      c.isF64 |= !elementOf(value).isF32();
    }
    for (NamedAttribute constant : record.getConstants())
      column(constant.getName().getValue()).isF64 = true;
  }

  void record(study::RecordOp record) {
    Table &table = outcome.tables[record.getTable().str()];
    const auto rows = int64_t(record.getRows());
    for (int64_t row = 0; row < std::max<int64_t>(rows, 1); ++row) {
      std::vector<Table::Cell> cells(table.width(), Table::Cell(Number(NAN)));
      for (auto [name, value] : llvm::zip_equal(record.getColumns().getAsRange<StringAttr>(), record.getOperands())) {
        const Shared tensor = arithmetic.get(value);
        const int64_t width = widthOf(tensor->type, rows);
        const int64_t first = isEachRow(tensor->type, rows) ? row * width : 0;
        for (int64_t i = 0; i < width; ++i)
          cells[table.column(name.getValue()).cell + size_t(i)] = tensor->values[size_t(first + i)];
      }
      for (NamedAttribute constant : record.getConstants()) {
        Table::Cell &cell = cells[table.column(constant.getName().getValue()).cell];
        if (auto text = dyn_cast<StringAttr>(constant.getValue()))
          cell = text.getValue().str();
        else if (auto real = dyn_cast<FloatAttr>(constant.getValue()))
          cell = Number(real.getValueAsDouble());
        else if (auto integer = dyn_cast<IntegerAttr>(constant.getValue()))
          cell = Number(integer.getInt());
        else
          throw std::runtime_error("the reference has no clock");
      }
      table.rows.push_back(std::move(cells));
    }
  }

  Number reduced(study::ReduceOp op) {
    const Table &table = outcome.tables[op.getTable().str()];
    StringRef kind = op.getKind();
    if (kind == "count")
      return Number(table.rows.size());
    if (table.rows.empty())
      return kind == "sum" ? 0 : NAN;
    const Table::Column &column = table.column(op.getColumn());
    if (kind == "last")
      return std::get<Number>(table.rows.back()[column.cell]);
    Number sum = 0, least = INFINITY, largest = -INFINITY;
    for (const auto &row : table.rows)
      for (int64_t i = 0; i < column.width; ++i) {
        const Number cell = std::get<Number>(row[column.cell + size_t(i)]);
        sum += cell;
        least = std::min(least, cell);
        largest = std::max(largest, cell);
      }
    return std::isnan(sum)  ? sum
           : kind == "sum"  ? sum
           : kind == "mean" ? sum / Number(table.rows.size() * size_t(column.width))
           : kind == "min"  ? least
                            : largest;
  }

  void save(study::SaveOp op) {
    const size_t loops = op.getLoopNames().size();
    std::string name = op.getName().str();
    for (auto [loop, value] :
         llvm::zip_equal(op.getLoopNames().getAsRange<StringAttr>(), op.getOperands().take_back(loops)))
      name += "-" + loop.getValue().str() + "=" + shortest(arithmetic.number(value));
    std::vector<Shared> tensors = get(op.getOperands().drop_back(loops));
    if (op.getFormat() == "npy")
      outcome.saved[{name + ".npy", ""}] = *tensors[0];
    else if (op.getFormat() == "safetensors")
      for (auto [part, tensor] : llvm::zip_equal(op.getNames().getAsRange<StringAttr>(), tensors))
        outcome.saved[{name + ".safetensors", part.getValue().str()}] = *tensor;
    else {
      const Table &table = outcome.tables[op.getTable().str()];
      const bool isWhole = op.getColumn().empty();
      const size_t first = isWhole ? 0 : table.column(op.getColumn()).cell;
      const size_t width = isWhole ? table.width() : size_t(table.column(op.getColumn()).width);
      const bool isF64 = isWhole || table.column(op.getColumn()).isF64;
      SmallVector<int64_t> shape{int64_t(table.rows.size())};
      if (isWhole || width != 1)
        shape.push_back(int64_t(width));
      MLIRContext *context = op.getContext();
      Type element = isF64 ? Type(Float64Type::get(context)) : Type(Float32Type::get(context));
      Tensor out{RankedTensorType::get(shape, element), {}};
      for (const auto &row : table.rows)
        for (size_t i = 0; i < width; ++i)
          out.values.push_back(std::get<Number>(row[first + i]));
      outcome.saved[{name + ".npy", ""}] = std::move(out);
    }
  }

  ModuleOp module;
  Arithmetic arithmetic;
  Outcome outcome;
  bool isStopping = false;
};

} // namespace

Outcome hw::reference::interpret(ModuleOp module, Rounding rounding, unsigned seed) {
  return Study(module, rounding, seed).run();
}
