// Data sets: where their columns come from, slices, and evaluating over them (`on`).
#include "frontend/elaborate/Batches.h"
#include "frontend/elaborate/Elaborator.h"

#include "runtime/formats/Cifar10.h"
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

// Labelled images in the file's own bytes: a half of a set, "train" or "test", or one file alone, "".
struct Images {
  std::string half;
  std::vector<int64_t> shape; // [N, height, width], or [N, channels, height, width]
  std::string part(const std::string &piece) const { return half.empty() ? piece : half + "." + piece; }
};

std::vector<Images> imagesOf(const std::string &kind, const std::string &path) {
  if (kind == "cifar10") {
    auto shape = [](const hw::Cifar10Part &part) { return std::vector<int64_t>{part.count, 3, 32, 32}; };
    std::filesystem::path place(path);
    std::error_code ignored;
    if (place.extension() == ".bin" || std::filesystem::is_regular_file(place, ignored))
      return {{"", shape(hw::cifar10File(path))}};
    hw::Cifar10Set set = hw::cifar10(path);
    return {{"train", shape(set.train)}, {"test", shape(set.test)}};
  }
  hw::ImageSet set = kind == "mnist" ? hw::mnist(path) : hw::fashionMnist();
  auto shape = [](const hw::ImagePart &part) { return std::vector<int64_t>{part.count, part.height, part.width}; };
  return {{"train", shape(set.train)}, {"test", shape(set.test)}};
}
} // namespace

// npy and idx give a tensor; csv a data set; mnist, fashion_mnist and cifar10 one of two parts, or a file's.
Val Elaborator::dataset(const std::string &kind, const std::string &path) {
  auto read = [&](const std::string &part, ArrayRef<int64_t> shape, Type element, int64_t classes = 0) -> Value {
    if (llvm::is_contained(shape, 0))
      fail("the file " + hw::inQuotes(path) + " has no elements: its shape is " + shapeText(shape),
           "leave it out, or fill it");
    return study::DatasetOp::create(builder, loc(), tensorType(shape, element), kind, path, part, classes);
  };
  Type byte = builder.getIntegerType(8, false);
  // Bytes become numbers from 0 to 1 with an axis of channels, labels i32.
  auto labelled = [&](const Images &images) {
    std::vector<int64_t> shape = images.shape;
    if (shape.size() == 3)
      shape.insert(shape.begin() + 1, 1);
    Value x = cast(read(images.part("images"), images.shape, byte), defaultFloat());
    x = binaryOp(Bin::Mul, x, splat(shapeOf(x), elementOf(x), 1.0 / 255));
    Value label = read(images.part("labels"), {images.shape[0]}, byte, 10);
    auto data = std::make_shared<Data>();
    data->name = images.half.empty() ? path : kind + "." + images.half;
    data->rows = images.shape[0];
    data->columns = {{"x", reshape(x, shape), 0}, {"label", cast(label, builder.getI32Type()), 10}};
    return data;
  };
  try {
    if (kind == "npy" || kind == "idx") {
      hw::TensorHeader header = kind == "npy" ? hw::readNpyHeader(dataPath(path)) : hw::readIdxHeader(dataPath(path));
      Type element = elementFor(builder, header.dtype, hw::inQuotes(path), *this);
      Value v = read("", header.shape, element);
      return tensor(options.f64 && isFloat(v) ? cast(v, f64()) : v);
    }
    auto data = std::make_shared<Data>();
    if (kind == "csv") {
      hw::CsvHeader header = hw::readCsvHeader(dataPath(path));
      if (header.rows < 1)
        fail("the file " + hw::inQuotes(path) + " has no rows");
      data->name = path;
      data->rows = header.rows;
      for (const std::string &name : header.names)
        addTo(*data, name, weak(read(name, {header.rows}, f64())));
      return data;
    }
    std::vector<Images> sets = imagesOf(kind, dataPath(path));
    if (sets.size() == 1)
      return labelled(sets[0]);
    data->name = kind;
    for (const Images &images : sets)
      data->parts[images.half] = labelled(images);
    return data;
  } catch (const hw::Error &error) {
    fail(std::string("cannot read this data: ") + error.what(),
         kind == "fashion_mnist" ? "install Debian's package dataset-fashion-mnist" : "");
  }
}

Val Elaborator::columnRows(const DataColumn &column, Value rows) {
  return rows ? tensor(rowsOf(column.whole, rows), column.classes) : columnWhole(column);
}

Val Elaborator::sliceData(const Data &data, int64_t start, int64_t stop, const std::string &text) {
  if (stop <= start)
    fail("this slice of " + data.name + " has no rows");
  auto result = std::make_shared<Data>();
  result->name = text;
  result->rows = stop - start;
  for (DataColumn column : data.columns) {
    ArrayRef<int64_t> shape = shapeOf(column.whole);
    SmallVector<int64_t> from(shape.size(), 0), limit(shape), stride(shape.size(), 1);
    from[0] = start;
    limit[0] = stop;
    column.whole = SliceOp::create(builder, loc(), column.whole, from, limit, stride);
    if (column.exact)
      column.exact = SliceOp::create(builder, loc(), column.exact, from, limit, stride);
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
    Val value = columnRows(column, rows);
    if (trainingStep && !rows) {
      // As of a batch, each column is a value of its own: derivatives by x do not follow y = f(x).
      auto whole = std::make_shared<Tensor>(*as<Tensor>(value));
      whole->ssa = StopGradientOp::create(builder, loc(), whole->ssa.getType(), whole->ssa);
      value = whole;
    }
    define(column.name, value);
  }
  scope->holdsColumns = true;
}

// A column is kept in the program's type. What it was made of, if of numbers alone, is there for who asks for f64.
Val Elaborator::addTo(Data &data, const std::string &name, const Val &value) {
  DataColumn column{name, {}, as<Tensor>(value) ? as<Tensor>(value)->classes : 0};
  Meeting meet(*this, {value}, Meeting::AreIndices);
  column.whole = tensorOf(value, "a tensor as a column");
  if (meet.allWeak() && elementOf(column.whole).isF64() && !programFloat().isF64()) {
    column.exact = column.whole;
    column.whole = kept(column.whole, programFloat());
  }
  Val result = columnWhole(column);
  for (DataColumn &old : data.columns)
    if (old.name == name) {
      old = column;
      return result;
    }
  data.columns.push_back(column);
  return result;
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
      Value v = exactly(value, "a tensor as a column");
      if (typeOf(v).getRank() == 0)
        fail(range, "a column has an axis of samples first, found " + describe(value),
             "write `full([n, 1], ...)` for a column of one number");
      if (data->columns.empty() || (data->columns.size() == 1 && data->columns[0].name == name.text))
        data->rows = shapeOf(v)[0];
      else if (shapeOf(v)[0] != data->rows)
        fail(range, "the column `" + name.text + "` has " + std::to_string(shapeOf(v)[0]) + " rows, the others have " +
                        std::to_string(data->rows));
      define(name.text, addTo(*data, name.text, value));
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
    std::vector<Val> values = evaluate(rows);
    SampleFlow flow(scratch, probe);
    for (const Val &value : values) {
      if (!carriable(value) || as<Net>(value))
        fail(range, "in batches a number, a tensor or weights can be evaluated, found " + describe(value) +
                        (as<Fn>(value) && !lacking(*as<Fn>(value)).empty()
                             ? ", which still lacks " + llvm::join(lacking(*as<Fn>(value)), ", ")
                             : ""));
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
      for (Value v : parts) {
        FromSamples from = flow.of(v);
        const bool joins = from.kind == FromSamples::PerRow && from.axis == 0 && from.each == 1;
        const bool averages = from.kind == FromSamples::Mean && !sampled;
        if (from.kind == FromSamples::Constant || (sampled ? joins : averages))
          continue;
        std::string at;
        if (from.where)
          if (auto place = llvm::dyn_cast<FileLineColLoc>(from.where->getLoc()))
            at = " (line " + std::to_string(place.getLine()) + ")";
        fail(range,
             from.kind == FromSamples::Sum
                 ? std::string("a `sum` over the samples cannot be put together from batches")
                 : std::string("this cannot be put together from batches: ") +
                       (from.kind == FromSamples::Mixed ? from.why : "the axis of the samples is not the first") + at,
             from.kind == FromSamples::Sum
                 ? "take the `mean`, or evaluate without `batch`"
                 : "evaluate without `batch`, or only the means over the samples with it, and go on from these: `m = "
                   "mean(...) on d batch 100`, then `sqrt(m)`");
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
