#include "runtime/Plan.h"

#include "runtime/formats/Error.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

namespace hw::runtime {

using Json = nlohmann::json;

//---- slots -----------------------------------------------------------------------------------------------------------

static constexpr struct {
  const char *name;
  uint64_t size;
  std::optional<DType> file;
} types[] = {
    {"f32", 4, DType::f32}, {"f64", 8, DType::f64}, {"i1", 1, DType::i1},    {"i8", 1, DType::i8},
    {"ui8", 1, DType::u8},  {"i32", 4, DType::i32}, {"ui32", 4, DType::u32}, {"ui64", 8, std::nullopt},
};

const char *typeName(hw_dtype type) { return types[type].name; }
uint64_t typeSize(hw_dtype type) { return types[type].size; }
std::optional<DType> fileType(hw_dtype type) { return types[type].file; }

template <class T> static double load(const std::byte *data, int64_t i) {
  T value;
  std::memcpy(&value, data + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return static_cast<double>(value);
}
template <class T> static void store(std::byte *data, int64_t i, double number) {
  const T value = static_cast<T>(number);
  std::memcpy(data + i * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
}

double Slot::at(int64_t i) const {
  switch (type) {
  case HW_F32:
    return load<float>(data, i);
  case HW_F64:
    return load<double>(data, i);
  case HW_I1:
  case HW_UI8:
    return load<uint8_t>(data, i);
  case HW_I8:
    return load<int8_t>(data, i);
  case HW_I32:
    return load<int32_t>(data, i);
  case HW_UI32:
    return load<uint32_t>(data, i);
  case HW_UI64:
    return load<uint64_t>(data, i);
  }
  return 0;
}

void Slot::set(double value, int64_t i) {
  switch (type) {
  case HW_F32:
    return store<float>(data, i, value);
  case HW_F64:
    return store<double>(data, i, value);
  case HW_I1:
    return store<uint8_t>(data, i, value != 0);
  case HW_UI8:
    return store<uint8_t>(data, i, value);
  case HW_I8:
    return store<int8_t>(data, i, value);
  case HW_I32:
    return store<int32_t>(data, i, value);
  case HW_UI32:
    return store<uint32_t>(data, i, value);
  case HW_UI64:
    return store<uint64_t>(data, i, value);
  }
}

//---- JSON to nodes ---------------------------------------------------------------------------------------------------

namespace {

template <class... Args> [[noreturn]] void damaged(fmt::format_string<Args...> format, Args &&...args) {
  fail("the program's plan is damaged ({}): build it again with this hwc",
       fmt::format(format, std::forward<Args>(args)...));
}

/// A number; JSON has none for what is not finite: "inf", "-inf", "nan" or null.
double number(const Json &json) {
  if (json.is_number())
    return json.get<double>();
  const std::string text = json.is_string() ? json.get<std::string>() : "nan";
  return text == "inf" ? INFINITY : text == "-inf" ? -INFINITY : NAN;
}

class Reader {
public:
  Reader(const hw_program &program, Plan &plan) : program(program), plan(plan) {}

  Body body(const Json &json) {
    Body result;
    if (json.is_null())
      return result;
    if (++depth > 1000)
      damaged("nested too deeply");
    for (const Json &node : json) {
      result.push_back(read(node));
      result.back()->where = node.value("loc", "");
    }
    --depth;
    return result;
  }

  /// Declares every table and its columns, in order of appearance, before the nodes that use them are read.
  void declareTables(const Json &json) {
    if (json.is_array()) {
      for (const Json &element : json)
        declareTables(element);
      return;
    }
    if (!json.is_object())
      return;
    const std::string op = json.value("op", "");
    if (op == "plot")
      return;
    if (op == "record")
      declareRecord(json);
    else if (op == "gradcheck") {
      Table &table = makeTable(json.at("table").get<std::string>(), json.value("hidden", false));
      for (const Json &key : json.value("keys", Json::array()))
        table.declare(key.at("name").get<std::string>(), 1,
                      key.at("value").is_string() ? Table::Type::text : Table::Type::f64);
      table.declare("parameter", 1, Table::Type::text);
      for (const char *column : {"entries", "gradient_error", "hvp_error", "at_kink"})
        table.declare(column, 1, Table::Type::f64);
    }
    for (const auto &[key, value] : json.items())
      if (value.is_structured())
        declareTables(value);
  }

  Slot *slot(const Json &json) {
    const auto index = json.get<int64_t>();
    if (index < 0 || index >= static_cast<int64_t>(plan.slots.size()))
      damaged("slot {}", index);
    return &plan.slots[static_cast<size_t>(index)];
  }

private:
  const hw_program &program;
  Plan &plan;
  int depth = 0;

  Slot *slot(const Json &node, const char *key) { return slot(node.at(key)); }
  Slot *scalar(const Json &node, const char *key) {
    Slot *result = slot(node, key);
    if (result->count < 1)
      damaged("{} is empty", key);
    return result;
  }
  Slot *optionalSlot(const Json &node, const char *key) {
    const Json value = node.value(key, Json(-1));
    return value.is_null() || value.get<int64_t>() < 0 ? nullptr : slot(value);
  }
  std::vector<Slot *> slots(const Json &json) {
    std::vector<Slot *> result;
    for (const Json &element : json)
      result.push_back(slot(element));
    return result;
  }
  /// A slot for `count` row indices.
  Slot *indices(const Json &node, const char *key, int64_t count) {
    Slot *result = optionalSlot(node, key);
    if (result && (result->type != HW_I32 || result->count != count))
      damaged("{} is not i32[{}]", key, count);
    return result;
  }

  Table &makeTable(const std::string &name, bool hidden) {
    for (auto &table : plan.tables)
      if (table->name() == name) {
        if (!hidden)
          table->show();
        return *table;
      }
    return *plan.tables.emplace_back(std::make_unique<Table>(name, hidden));
  }
  Table *table(const std::string &name) {
    for (auto &table : plan.tables)
      if (table->name() == name)
        return table.get();
    // Nothing records into it: it stays empty.
    Table &fresh = makeTable(name, true);
    fresh.finish();
    return &fresh;
  }
  const Table::Column *column(const Table &table, const std::string &name) {
    const Table::Column *found = table.find(name);
    if (!found)
      damaged("table '{}' has no column '{}'", table.name(), name);
    return found;
  }

  static bool eachRow(const Slot &slot, int64_t rows) {
    return rows > 0 && !slot.shape.empty() && slot.shape[0] == rows;
  }
  static int64_t itemWidth(const Slot &slot, int64_t rows) {
    return eachRow(slot, rows) ? slot.count / rows : slot.count;
  }

  void declareRecord(const Json &json) {
    Table &table = makeTable(json.at("table").get<std::string>(), json.value("hidden", false));
    const int64_t rows = json.value("rows", int64_t{0});
    for (const Json &name : json.value("order", Json::array()))
      table.declare(name.get<std::string>(), 1, Table::Type::unknown);
    for (const Json &column : json.at("columns")) {
      const auto name = column.at("name").get<std::string>();
      if (column.contains("slot")) {
        const Slot &source = *slot(column, "slot");
        table.declare(name, itemWidth(source, rows), source.type == HW_F32 ? Table::Type::f32 : Table::Type::f64);
      } else if (column.contains("clock"))
        table.declare(name, 1, Table::Type::f64);
      else
        table.declare(name, 1, column.at("value").is_string() ? Table::Type::text : Table::Type::f64);
    }
  }

  std::unique_ptr<CallNode> call(const Json &json) {
    auto node = std::make_unique<CallNode>();
    const auto fn = json.at("fn").get<int64_t>();
    if (fn < 0 || fn >= static_cast<int64_t>(program.entry_count))
      damaged("function {}", fn);
    node->entry = &program.entries[fn];
    node->function = node->entry->function;
    node->bench = json.value("bench", "");
    for (auto [key, list] : {std::pair{"args", &node->reads}, {"results", &node->writes}})
      for (const Slot *s : slots(json.value(key, Json::array()))) {
        node->addresses.push_back(s->data);
        list->push_back(s);
      }
    return node;
  }

  Diagnosis diagnosis(const Json &json) {
    Diagnosis result;
    if (!json.is_object())
      return result;
    result.call = call(json);
    if (const auto outs = slots(json.at("results")); !outs.empty())
      result.result = outs[0];
    else
      damaged("a diagnosis without result");
    for (const Json &operation : json.value("operations", Json::array()))
      result.operations.push_back({operation.value("name", ""), operation.value("loc", "")});
    return result;
  }

  Region region(const Json &json) { return {slots(json.at("args")), slots(json.at("results")), body(json.at("body"))}; }

  std::vector<LoopValue> loops(const Json &json) {
    std::vector<LoopValue> result;
    for (const Json &element : json.value("loops", Json::array()))
      result.push_back({element.at("name").get<std::string>(), slot(element, "slot")});
    return result;
  }

  std::unique_ptr<Node> read(const Json &json) {
    const auto op = json.at("op").get<std::string>();
    if (op == "call")
      return call(json);
    if (op == "copy") {
      auto node = std::make_unique<CopyNode>();
      node->from = slot(json, "from");
      node->to = slot(json, "to");
      if (node->from->bytes != node->to->bytes)
        damaged("a copy of {} to {} bytes", node->from->bytes, node->to->bytes);
      return node;
    }
    if (op == "dataset") {
      auto node = std::make_unique<DatasetNode>();
      node->slot = slot(json, "slot");
      node->type = json.at("kind").get<std::string>();
      node->path = json.value("path", "");
      node->part = json.value("part", "");
      node->classes = json.value("classes", int64_t{0});
      return node;
    }
    if (op == "for") {
      auto node = std::make_unique<ForNode>();
      node->variable = json.value("variable", "");
      node->index = scalar(json, "index");
      node->from = scalar(json, "from");
      node->to = scalar(json, "to");
      node->body = body(json.at("body"));
      independent(json, *node);
      return node;
    }
    if (op == "together") {
      auto node = std::make_unique<TogetherNode>();
      for (const Json &branch : json.at("branches"))
        node->branches.push_back(body(branch));
      independent(json, *node);
      return node;
    }
    if (op == "train")
      return train(json);
    if (op == "batches")
      return batches(json);
    if (op == "eigh") {
      auto node = std::make_unique<EighNode>();
      node->matrix = slot(json, "matrix");
      node->values = slot(json, "values");
      node->vectors = optionalSlot(json, "vectors");
      if (!node->matrix->isFloat() || node->matrix->type != node->values->type ||
          node->matrix->count != node->values->count * node->values->count ||
          (node->vectors && (node->vectors->type != node->matrix->type || node->vectors->count != node->matrix->count)))
        damaged("eigenvalues {} of {}", shapeString(node->values->shape), shapeString(node->matrix->shape));
      return node;
    }
    if (op == "gradcheck")
      return gradcheck(json);
    if (op == "record")
      return record(json);
    if (op == "reduce") {
      auto node = std::make_unique<ReduceNode>();
      static const std::pair<const char *, Reduction> kinds[] = {
          {"mean", Reduction::mean}, {"sum", Reduction::sum},   {"min", Reduction::min},
          {"max", Reduction::max},   {"last", Reduction::last}, {"count", Reduction::count}};
      const auto kind = json.at("kind").get<std::string>();
      const auto found = std::find_if(std::begin(kinds), std::end(kinds), [&](auto &k) { return kind == k.first; });
      if (found == std::end(kinds))
        damaged("a reduction '{}'", kind);
      node->reduction = found->second;
      node->table = table(json.at("table").get<std::string>());
      node->column = column(*node->table, json.at("column").get<std::string>());
      node->slot = scalar(json, "slot");
      return node;
    }
    if (op == "clear") {
      auto node = std::make_unique<ClearNode>();
      node->table = table(json.at("table").get<std::string>());
      return node;
    }
    if (op == "save")
      return save(json);
    if (op == "plot")
      return plot(json);
    if (op == "checkpoint")
      return std::make_unique<Node>(NodeKind::checkpoint);
    if (op == "stop") {
      auto node = std::make_unique<StopNode>();
      node->slot = scalar(json, "slot");
      return node;
    }
    damaged("an operation '{}'", op);
  }

  void independent(const Json &json, TurnsNode &node) {
    if (!json.contains("own"))
      return;
    node.own = json["own"].at(0).get<size_t>();
    node.ownEnd = json["own"].at(1).get<size_t>();
    if (node.own > node.ownEnd || node.ownEnd > plan.slots.size())
      damaged("slots {} to {} of a turn", node.own, node.ownEnd);
    node.number = plan.independent.size();
    if (node.isIndependent())
      plan.independent.push_back(&node);
  }

  std::unique_ptr<Node> train(const Json &json) {
    auto node = std::make_unique<TrainNode>();
    node->label = json.value("label", "training");
    node->rows = json.at("rows").get<int64_t>();
    node->batch = json.value("batch", int64_t{0});
    node->ordered = json.value("ordered", false);
    node->epochs = json.at("unit").get<std::string>() == "epochs";
    if (node->batch < 0 || node->batch > node->rows || node->rows > INT32_MAX)
      damaged("batches of {} in {} rows", node->batch, node->rows);
    node->count = scalar(json, "count");
    node->seed = scalar(json, "seed");
    node->epoch = scalar(json, "epoch");
    node->step = scalar(json, "step");
    node->loss = optionalSlot(json, "loss");
    node->body = body(json.at("body"));
    if (node->batch > 0)
      node->rowIndices = indices(json, "row_indices", node->batch);
    if (node->hasTail()) {
      node->tailIndices = indices(json, "tail_indices", node->rows % node->batch);
      node->tailLoss = optionalSlot(json, "loss_tail");
      node->tail = body(json.at("tail"));
    }
    for (const Json &every : json.value("every", Json::array())) {
      Every e;
      e.period = every.at("period").get<int64_t>();
      e.epochs = every.at("unit").get<std::string>() == "epochs";
      if (e.period < 1)
        damaged("every {}", e.period);
      e.epoch = scalar(every, "epoch");
      e.step = scalar(every, "step");
      e.body = body(every.at("body"));
      node->every.push_back(std::move(e));
    }
    for (const Json &carried : json.value("carried", Json::array()))
      node->carried.push_back({slot(carried, "slot"), carried.value("name", ""), carried.value("role", "variable")});
    node->diagnose = diagnosis(json.value("diagnose", Json()));
    node->diagnoseTail = diagnosis(json.value("diagnose_tail", Json()));
    for (const Json &bench : json.value("bench", Json::array()))
      node->bench.push_back({bench.at("name").get<std::string>(), call(bench)});
    return node;
  }

  std::unique_ptr<Node> batches(const Json &json) {
    auto node = std::make_unique<BatchesNode>();
    node->rows = json.at("rows").get<int64_t>();
    node->batch = json.value("batch", int64_t{0});
    if (node->batch <= 0 || node->batch > node->rows)
      node->batch = node->rows;
    if (node->rows < 1 || node->rows > INT32_MAX)
      damaged("{} rows", node->rows);
    const int64_t tail = node->rows % node->batch;
    node->rowIndices = indices(json, "row_indices", node->batch);
    node->body = body(json.at("body"));
    if (tail) {
      node->tailIndices = indices(json, "tail_indices", tail);
      node->tail = body(json.at("tail"));
    }
    for (const Json &result : json.at("results")) {
      BatchesNode::Result r;
      r.mean = result.at("combine").get<std::string>() == "mean";
      r.slot = slot(result, "slot");
      r.from = slot(result, "from");
      if (tail)
        r.tailFrom = slot(result, "tail_from");
      const uint64_t full =
          static_cast<uint64_t>(node->rows / node->batch) * r.from->bytes + (tail ? r.tailFrom->bytes : 0);
      if (r.mean ? r.slot->count != r.from->count || (tail && r.tailFrom->count != r.slot->count)
                 : full != r.slot->bytes)
        damaged("batches of {} combined to {}", shapeString(r.from->shape), shapeString(r.slot->shape));
      if (r.mean)
        r.sum.resize(static_cast<size_t>(r.slot->count));
      node->results.push_back(std::move(r));
    }
    return node;
  }

  std::unique_ptr<Node> gradcheck(const Json &json) {
    auto node = std::make_unique<GradcheckNode>();
    node->table = table(json.at("table").get<std::string>());
    for (const Json &key : json.value("keys", Json::array())) {
      const Table::Column &target = *column(*node->table, key.at("name").get<std::string>());
      const Json &value = key.at("value");
      const bool text = target.type == Table::Type::text;
      node->keys.emplace_back(
          target.cell,
          !text ? number(value)
                : node->table->intern(value.is_string() ? value.get<std::string>() : fmt::format("{}", number(value))));
    }
    node->names = json.at("names").get<std::vector<std::string>>();
    node->weights = slots(json.at("weights"));
    node->loss = region(json.at("loss"));
    node->gradient = region(json.at("gradient"));
    node->product = region(json.at("product"));
    const size_t n = node->weights.size();
    auto fits = [&](const std::vector<Slot *> &list, size_t from) {
      for (size_t i = 0; i < n; ++i)
        if (list[from + i]->type != HW_F64 || list[from + i]->count != node->weights[i]->count)
          return false;
      return true;
    };
    if (node->names.size() != n || !fits(node->weights, 0) || node->loss.arguments.size() != n ||
        node->gradient.arguments.size() != n || node->product.arguments.size() != 2 * n ||
        node->gradient.results.size() != n || node->product.results.size() != n || node->loss.results.size() != 2 ||
        !fits(node->loss.arguments, 0) || !fits(node->gradient.arguments, 0) || !fits(node->product.arguments, 0) ||
        !fits(node->product.arguments, n) || !fits(node->gradient.results, 0) || !fits(node->product.results, 0))
      damaged("a gradcheck whose parts do not fit");
    return node;
  }

  std::unique_ptr<Node> record(const Json &json) {
    auto node = std::make_unique<RecordNode>();
    node->table = table(json.at("table").get<std::string>());
    node->rows = json.value("rows", int64_t{0});
    for (const Json &entry : json.at("columns")) {
      const Table::Column &target = *column(*node->table, entry.at("name").get<std::string>());
      RecordNode::Item item;
      item.cell = target.cell;
      item.asText = target.type == Table::Type::text;
      if (entry.contains("slot")) {
        item.slot = slot(entry, "slot");
        item.eachRow = eachRow(*item.slot, node->rows);
        item.width = itemWidth(*item.slot, node->rows);
      } else if (entry.contains("clock"))
        item.seconds = true;
      else if (const Json &value = entry.at("value"); value.is_string()) {
        item.value = node->table->intern(value.get<std::string>());
        item.asText = false; // it is one already
      } else
        item.value = number(value);
      node->items.push_back(item);
    }
    return node;
  }

  std::unique_ptr<Node> save(const Json &json) {
    auto node = std::make_unique<SaveNode>();
    node->name = json.at("name").get<std::string>();
    node->format = json.at("format").get<std::string>();
    node->slots = slots(json.value("slots", Json::array()));
    node->names = json.value("names", std::vector<std::string>());
    node->loops = loops(json);
    if (node->format == "csv") {
      node->table = table(json.at("table").get<std::string>());
      if (const std::string name = json.value("column", ""); !name.empty())
        node->column = column(*node->table, name);
    } else if (node->format == "npy" ? node->slots.size() != 1 : node->names.size() != node->slots.size())
      damaged("{} tensors to save as {}", node->slots.size(), node->format);
    for (const Slot *s : node->slots)
      if (!fileType(s->type))
        fail("{}: a tensor of {} cannot be saved: cast it", json.value("loc", node->name), typeName(s->type));
    return node;
  }

  FigureColumn figureColumn(const Json &json, const std::string &on) {
    FigureColumn result;
    const Json name = json.value("table", Json());
    result.table = table(name.is_string() ? name.get<std::string>() : on);
    result.column = column(*result.table, json.at("column").get<std::string>());
    result.name = result.column->name;
    if (const Json index = json.value("index", Json()); index.is_number()) {
      result.element = index.get<int64_t>();
      if (result.element < 0)
        result.element += result.column->width;
      if (result.element < 0 || result.element >= result.column->width)
        fail("a figure wants element {} of '{}', which has {}", index.get<int64_t>(), result.name,
             result.column->width);
      if (result.column->width > 1)
        result.name += fmt::format("[{}]", result.element);
    }
    return result;
  }

  std::unique_ptr<Node> plot(const Json &json) {
    auto node = std::make_unique<PlotNode>();
    node->loops = loops(json);
    Json spec = json.at("spec");
    if (spec.is_string())
      spec = Json::parse(spec.get<std::string>());
    const Json on = spec.value("on", Json());
    const std::string onTable = on.is_string() ? on.get<std::string>() : "";
    node->spec.title = spec.at("title").get<std::string>();
    node->spec.per = spec.value("per", std::vector<std::string>());
    node->spec.logX = spec.value("logx", false);
    node->spec.logY = spec.value("logy", false);
    for (const Json &mark : spec.at("marks")) {
      FigureMark m;
      m.kind = mark.at("kind").get<std::string>();
      for (const Json &value : mark.at("y").is_array() ? mark.at("y") : Json::array({mark.at("y")}))
        m.values.push_back(figureColumn(value, onTable));
      for (const Json &over : mark.value("over", Json::array()))
        m.over.push_back(figureColumn(over, onTable));
      m.by = mark.value("by", std::vector<std::string>());
      if (const Json label = mark.value("label", Json()); label.is_object())
        m.label = figureColumn(label, onTable);
      m.right = mark.value("right", false);
      node->spec.marks.push_back(std::move(m));
    }
    return node;
  }
};

/// Runs `read`; what nlohmann's library has to object becomes a sentence.
template <class Read> auto guarded(Read &&read) {
  try {
    return read();
  } catch (const Json::exception &e) {
    damaged("{}", e.what());
  }
}

void collectNames(const Json &json, Plan &plan) {
  if (json.is_array())
    for (const Json &element : json)
      collectNames(element, plan);
  if (!json.is_object())
    return;
  const std::string op = json.value("op", "");
  auto add = [](std::vector<std::string> &list, std::string name) {
    if (std::find(list.begin(), list.end(), name) == list.end())
      list.push_back(std::move(name));
  };
  if (op == "plot") {
    Json spec = json.at("spec");
    if (spec.is_string())
      spec = Json::parse(spec.get<std::string>());
    add(plan.figures, spec.at("title").get<std::string>());
    return;
  }
  if (op == "save")
    add(plan.files, json.at("name").get<std::string>());
  for (const auto &[key, value] : json.items())
    if (value.is_structured())
      collectNames(value, plan);
}

} // namespace

Plan readPlanHead(const hw_program &program) {
  return guarded([&] {
    Plan plan;
    auto document = std::make_shared<Json>(Json::parse(program.plan, program.plan + program.plan_size));
    const Json &json = *document;
    if (json.value("version", 0) != 1)
      fail("the program's plan has version {}, but this runtime reads version 1: build the program again with this hwc",
           json.value("version", 0));
    plan.name = json.value("name", "program");
    plan.precision = json.value("precision", "f32");
    plan.quick = json.value("quick", false);
    plan.identity = json.value("identity", "");
    plan.arena = json.value("arena", uint64_t{0});
    plan.scratch = json.value("scratch", uint64_t{0});
    if (json.contains("nets"))
      plan.nets = json["nets"].dump();
    for (const Json &entry : json.value("slots", Json::array())) {
      Slot slot;
      const auto type = entry.at("type").get<std::string>();
      const auto found = std::find_if(std::begin(types), std::end(types), [&](auto &t) { return type == t.name; });
      if (found == std::end(types))
        damaged("an element type '{}'", type);
      slot.type = static_cast<hw_dtype>(found - types);
      slot.shape = entry.value("shape", Shape());
      const auto count = elementCount(slot.shape);
      const auto offset = entry.at("offset").get<uint64_t>();
      if (!count || static_cast<uint64_t>(*count) > UINT64_MAX / 16)
        damaged("a shape {}", shapeString(slot.shape));
      slot.count = *count;
      slot.bytes = static_cast<uint64_t>(*count) * typeSize(slot.type);
      if (offset > plan.arena || slot.bytes > plan.arena - offset || offset % 64 != 0)
        damaged("a slot outside the arena");
      plan.slots.push_back(std::move(slot));
      plan.offsets.push_back(offset);
    }
    Reader reader(program, plan);
    for (const Json &entry : json.value("settings", Json::array())) {
      Setting setting;
      setting.name = entry.at("name").get<std::string>();
      setting.value = number(entry.at("value"));
      setting.fixed = entry.value("fixed", false);
      if (const Json slot = entry.value("slot", Json(-1)); slot.is_number() && slot.get<int64_t>() >= 0)
        setting.slot = reader.slot(slot);
      plan.settings.push_back(std::move(setting));
    }
    reader.declareTables(json.at("body"));
    for (auto &table : plan.tables)
      table->finish();
    collectNames(json.at("body"), plan);
    plan.document = document;
    return plan;
  });
}

void placeSlots(Plan &plan, std::byte *arena) {
  for (size_t i = 0; i < plan.slots.size(); ++i)
    plan.slots[i].data = arena + plan.offsets[i];
}

void readPlanBody(const hw_program &program, Plan &plan) {
  guarded([&] {
    plan.body = Reader(program, plan).body(plan.document->at("body"));
    plan.document.reset();
  });
}

} // namespace hw::runtime
