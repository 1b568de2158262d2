// Data sets: where their columns come from, slices, and evaluating over them (`on`).
#include "frontend/elaborate/Elaborator.h"

#include "runtime/formats/Csv.h"
#include "runtime/formats/Idx.h"
#include "runtime/formats/Npy.h"

#include <filesystem>

using namespace mlir;

namespace hw::lang {

std::string Elaborator::dataPath(const std::string &path) {
  if (options.dataDir.empty() || std::filesystem::path(path).is_absolute())
    return path;
  return (std::filesystem::path(options.dataDir) / path).string();
}

namespace {
Type elementFor(OpBuilder &b, hw::DType dtype, const std::string &where, Elaborator &e) {
  switch (dtype) {
  case hw::DType::f32:
    return b.getF32Type();
  case hw::DType::f64:
    return b.getF64Type();
  case hw::DType::i1:
    return b.getI1Type();
  case hw::DType::i8:
    return b.getIntegerType(8);
  case hw::DType::u8:
    return b.getIntegerType(8, false);
  case hw::DType::i32:
    return b.getI32Type();
  case hw::DType::u32:
    return b.getIntegerType(32, false);
  case hw::DType::i64:
    e.fail(where + " holds 64-bit integers, which tensors here do not", "convert it: `a.astype('int32')`");
  }
  return {};
}
} // namespace

// npy and idx give a tensor; csv, mnist and fashion_mnist a data set.
Val Elaborator::dataset(const std::string &kind, const std::string &path) {
  auto op = [&](const std::string &part, ArrayRef<int64_t> shape, Type element, int64_t classes = 0) -> Value {
    return study::DatasetOp::create(builder, loc(), tensorType(shape, element), kind, path, part, classes);
  };
  try {
    if (kind == "npy" || kind == "idx") {
      hw::TensorHeader header = kind == "npy" ? hw::readNpyHeader(dataPath(path)) : hw::readIdxHeader(dataPath(path));
      Type element = elementFor(builder, header.dtype, hw::inQuotes(path), *this);
      return tensor(op("", header.shape, element));
    }
    auto data = std::make_shared<Data>();
    if (kind == "csv") {
      hw::CsvHeader header = hw::readCsvHeader(dataPath(path));
      if (header.rows < 1)
        fail("the file " + hw::inQuotes(path) + " has no rows");
      data->name = path;
      data->rows = header.rows;
      for (const std::string &name : header.names) {
        DataColumn column;
        column.name = name;
        column.base = cast(op(name, {header.rows}, f64()), defaultFloat());
        finishColumn(column, header.rows);
        data->columns.push_back(column);
      }
      return data;
    }
    hw::ImageSet set = kind == "mnist" ? hw::mnist(dataPath(path)) : hw::fashionMnist();
    data->name = kind;
    for (auto &[name, part] : {std::pair<std::string, hw::ImagePart>{"train", set.train}, {"test", set.test}}) {
      auto piece = std::make_shared<Data>();
      piece->name = kind + "." + name;
      piece->rows = part.count;
      DataColumn x, label;
      x.name = "x";
      x.pixels = true;
      x.base = op(name + ".images", {part.count, part.height, part.width}, builder.getIntegerType(8, false));
      label.name = "label";
      label.classes = 10;
      label.base = op(name + ".labels", {part.count}, builder.getIntegerType(8, false), 10);
      for (DataColumn *column : {&x, &label}) {
        finishColumn(*column, part.count);
        piece->columns.push_back(*column);
      }
      data->parts[name] = piece;
    }
    return data;
  } catch (const hw::Error &error) {
    fail(std::string("cannot read this data: ") + error.what(),
         kind == "fashion_mnist" ? "install Debian's package dataset-fashion-mnist" : "");
  }
}

// The rows of a column, transformed: bytes of an image become numbers from 0 to 1 with a channel axis, labels i32.
static Val transform(Elaborator &e, const DataColumn &column, Value rows) {
  if (column.pixels) {
    SmallVector<int64_t> shape(shapeOf(rows));
    shape.insert(shape.begin() + 1, 1);
    Value v = e.cast(rows, e.defaultFloat());
    v = e.binaryOp(Bin::Mul, v, e.splat(shapeOf(v), elementOf(v), 1.0 / 255));
    return tensor(e.reshape(v, shape));
  }
  if (column.classes)
    return tensor(e.cast(rows, e.builder.getI32Type()), column.classes);
  return tensor(rows);
}

void Elaborator::finishColumn(DataColumn &column, int64_t rows) {
  Value v = column.base;
  if (column.start || shapeOf(v)[0] != rows) {
    SmallVector<int64_t> start(typeOf(v).getRank(), 0), limit(shapeOf(v)), stride(typeOf(v).getRank(), 1);
    start[0] = column.start;
    limit[0] = column.start + rows;
    v = SliceOp::create(builder, loc(), v, start, limit, stride);
  }
  column.whole = as<Tensor>(transform(*this, column, v))->ssa;
}

Val Elaborator::columnRows(const DataColumn &column, Value rows) {
  if (!rows)
    return columnWhole(column);
  if (column.start)
    rows = binaryOp(Bin::Add, rows, splat(shapeOf(rows), builder.getI32Type(), double(column.start)));
  return transform(*this, column, GatherOp::create(builder, loc(), column.base, rows));
}

Val Elaborator::sliceData(const Data &data, int64_t start, int64_t stop, const std::string &text) {
  if (data.columns.empty())
    dataOf(std::make_shared<Data>(data), here);
  if (stop <= start)
    fail("this slice of " + data.name + " has no rows");
  auto result = std::make_shared<Data>();
  result->name = text;
  result->rows = stop - start;
  for (DataColumn column : data.columns) {
    column.start += start;
    finishColumn(column, result->rows);
    result->columns.push_back(column);
  }
  return result;
}

const Data &Elaborator::dataOf(const Val &value, SourceRange range) {
  if (value->kind == Kind::Poison)
    throw Failure{};
  auto *d = as<Data>(value);
  if (!d)
    fail(range, "expected a data set, found " + describe(value), "`data d { x = ...; y = ... }` makes one");
  if (d->columns.empty()) {
    std::string parts;
    for (auto &[name, part] : d->parts)
      parts += (parts.empty() ? "" : ", ") + d->name + "." + name;
    fail(range, d->name + " is made of parts: " + parts, "choose one of them");
  }
  return *d;
}

void Elaborator::defineColumns(const Data &data, Value rows, SourceRange range) {
  for (const DataColumn &column : data.columns) {
    if (Scope *s = findScope(column.name, scope); s && s != scope) {
      bool isColumn = s->names[column.name]->kind == Kind::Tensor && s->holdsColumns;
      if (!isColumn)
        fail(range,
             "the column `" + column.name + "` of " + data.name + " hides the `" + column.name +
                 "` that was assigned before",
             "give one of the two another name");
    }
    define(column.name, columnRows(column, rows));
  }
  scope->holdsColumns = true;
}

//===-- data ----------------------------------------------------------------------------------------------------===//

void Elaborator::runData(const ast::Data &stmt) {
  auto data = std::make_shared<Data>();
  if (stmt.base) {
    Val base = eval(*stmt.base);
    if (auto *t = as<Tensor>(base))
      fail(stmt.base->range, "expected a data set, found " + describe(base),
           typeOf(t->ssa).getRank() ? "name its column: `data " + stmt.name.text + " { x = ... }`" : "");
    auto *d = as<Data>(base);
    if (!d)
      dataOf(base, stmt.base->range);
    if (stmt.columns)
      dataOf(base, stmt.base->range);
    data->rows = d->rows;
    data->columns = d->columns;
    for (auto &[name, part] : d->parts) {
      auto copy = std::make_shared<Data>(*as<Data>(part));
      copy->name = stmt.name.text + "." + name;
      data->parts[name] = copy;
    }
  }
  data->name = stmt.name.text;
  if (stmt.columns) {
    ScopeGuard guard(*this, Scope::Block);
    auto addColumn = [&](const ast::Name &name, const Val &value, SourceRange range) {
      Restore<SourceRange> place(here);
      here = range;
      Value v = tensorOf(value, "a tensor as a column");
      if (typeOf(v).getRank() == 0)
        fail(range, "a column has an axis of samples first, found " + describe(value),
             "write `full([n, 1], ...)` for a column of one number");
      if (data->columns.empty() || (data->columns.size() == 1 && data->columns[0].name == name.text))
        data->rows = shapeOf(v)[0];
      else if (shapeOf(v)[0] != data->rows)
        fail(range, "the column `" + name.text + "` has " + std::to_string(shapeOf(v)[0]) + " rows, the others have " +
                        std::to_string(data->rows));
      DataColumn column;
      column.name = name.text;
      column.base = v;
      column.classes = as<Tensor>(value) ? as<Tensor>(value)->classes : 0;
      column.whole = v;
      for (DataColumn &old : data->columns)
        if (old.name == column.name) {
          old = column;
          define(name.text, value);
          return;
        }
      data->columns.push_back(column);
      define(name.text, value);
    };
    for (const DataColumn &column : data->columns)
      define(column.name, columnWhole(column));
    for (const ast::StmtPtr &s : stmt.columns->statements) {
      auto *assignment = ast::as<ast::Assign>(s);
      Restore<SourceRange> place(here);
      here = s->range;
      std::vector<Val> values;
      for (const ast::ExprPtr &e : assignment->values)
        values.push_back(eval(*e));
      if (values.size() != assignment->targets.size()) {
        auto *l = as<List>(values[0]);
        if (values.size() != 1 || !l || l->items.size() != assignment->targets.size())
          fail(s->range, std::to_string(assignment->targets.size()) + " columns, but " + describe(values[0]));
        values = l->items;
      }
      for (size_t i = 0; i < values.size(); ++i)
        addColumn(assignment->targets[i], values[i], s->range);
    }
    if (data->columns.empty())
      fail(stmt.range, "a data set needs a column", "`data d { x = ... }`");
  }
  define(stmt.name.text, data);
}

//===-- on ------------------------------------------------------------------------------------------------------===//

// `items` in batches: what has the axis of samples first is joined, the rest is averaged, weighted by rows. Which is
// which shows a first evaluation at a number of rows that nothing else has.
std::vector<Val> Elaborator::inBatches(const Data &data, int64_t batch, SourceRange range,
                                       const std::function<std::vector<Val>()> &items, std::vector<bool> &perRow) {
  constexpr int64_t probe = 99991; // a prime
  if (batch < 1)
    fail(range, "a batch has at least one row, found " + std::to_string(batch));
  batch = std::min(batch, data.rows);
  auto evaluate = [&](Value rows) {
    ScopeGuard guard(*this, Scope::Block);
    defineColumns(data, rows, range);
    return items();
  };
  Type i32 = builder.getI32Type();
  std::vector<Val> likes;
  perRow.clear();
  {
    OpBuilder::InsertionGuard guard(builder);
    Restore<Progress> undo(progress);
    Restore<int64_t> probing(sampleProbe, probe);
    Block scratch;
    Value rows = scratch.addArgument(RankedTensorType::get({probe}, i32), loc());
    builder.setInsertionPointToEnd(&scratch);
    for (const Val &value : evaluate(rows)) {
      if (!carriable(value) || as<Net>(value))
        fail(range, "in batches a number, a tensor or weights can be evaluated, found " + describe(value));
      bool sampled = false;
      std::vector<Value> parts;
      flatten(value, parts);
      for (Value v : parts)
        for (size_t axis = 0; axis < shapeOf(v).size(); ++axis)
          if (shapeOf(v)[axis] % probe == 0) {
            if (axis || shapeOf(v)[axis] != probe || !as<Tensor>(value))
              fail(range, "in batches the axis of the samples must come first in a result, or be averaged over",
                   "evaluate without `batch`");
            sampled = true;
          }
      perRow.push_back(sampled);
      likes.push_back(value);
    }
  }
  // The batches themselves.
  std::vector<Type> types;
  std::vector<Attribute> combine;
  std::vector<std::vector<Value>> yields;
  Region body, tail;
  auto fill = [&](Region &region, int64_t size, bool first) {
    OpBuilder::InsertionGuard guard(builder);
    Block *block = &region.emplaceBlock();
    Value rows = block->addArgument(RankedTensorType::get({size}, i32), loc());
    builder.setInsertionPointToEnd(block);
    std::vector<Value> results;
    std::vector<Val> values = evaluate(rows);
    for (size_t i = 0; i < values.size(); ++i) {
      std::vector<Value> parts;
      flatten(values[i], parts);
      for (Value v : parts) {
        if (!perRow[i] && !isFloat(v))
          v = cast(v, defaultFloat());
        results.push_back(v);
        if (first) {
          SmallVector<int64_t> shape(shapeOf(v));
          if (perRow[i])
            shape[0] = data.rows;
          types.push_back(tensorType(shape, elementOf(v)));
          combine.push_back(builder.getStringAttr(perRow[i] ? "concat" : "mean"));
        }
      }
    }
    study::YieldOp::create(builder, loc(), ValueRange(results));
    return values;
  };
  std::vector<Val> values = fill(body, batch, true);
  if (data.rows % batch)
    fill(tail, data.rows % batch, false);
  auto op = study::BatchesOp::create(builder, loc(), TypeRange(types), data.rows, batch, builder.getArrayAttr(combine));
  op.getBody().takeBody(body);
  op.getTail().takeBody(tail);
  std::vector<Value> all(op.result_begin(), op.result_end());
  ArrayRef<Value> rest = all;
  std::vector<Val> results;
  for (const Val &value : values) {
    // A mean of a truth value is a number.
    if (as<Tensor>(value) || as<Number>(value)) {
      Value v = rest.front();
      rest = rest.drop_front();
      results.push_back(as<Number>(value) ? runtime(cast(v, f64())) : tensor(v, as<Tensor>(value)->classes));
    } else {
      results.push_back(unflatten(value, rest, {}));
    }
  }
  return results;
}

Val Elaborator::evalOn(const ast::On &expr) {
  Val source = eval(*expr.source.data);
  const Data &data = dataOf(source, expr.source.data->range);
  Restore<bool> evaluation(trainingStep, false);
  if (!expr.source.batch) {
    ScopeGuard guard(*this, Scope::Block);
    defineColumns(data, {}, expr.source.data->range);
    return eval(*expr.value);
  }
  int64_t batch = knownInt(eval(*expr.source.batch), "a batch size");
  std::vector<bool> perRow;
  return inBatches(data, batch, expr.range, [&] { return std::vector<Val>{eval(*expr.value)}; }, perRow)[0];
}

} // namespace hw::lang
