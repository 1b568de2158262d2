// record, save, plot: what a run leaves.
#include "frontend/elaborate/Elaborator.h"

#include <nlohmann/json.hpp>

using namespace mlir;

namespace hw::lang {

std::vector<LoopVariable> Elaborator::runtimeLoops() {
  std::vector<LoopVariable> result;
  for (const LoopVariable &loop : loops)
    if (loop.ssa)
      result.push_back(loop);
  return result;
}

// A file's name carries the loop variables: "kept-widths=2".
std::string Elaborator::fileName(const std::string &name) {
  std::string result = name;
  for (const LoopVariable &loop : loops)
    if (!loop.ssa)
      result += "-" + loop.name + "=" + loop.fileLabel;
  for (char &c : result)
    if (!isalnum(static_cast<unsigned char>(c)) && !strchr("-_=+., ", c) && static_cast<unsigned char>(c) < 128)
      c = '_';
  return result;
}

//===-- record --------------------------------------------------------------------------------------------------===//

// `rows` > 0: items with `perRow` give a row each sample.
void Elaborator::recordTable(const std::string &table, const std::vector<std::pair<std::string, Val>> &items,
                             int64_t rows, const std::vector<bool> &perRow, bool hidden, SourceRange range) {
  TableInfo &info = progress.tables[table];
  std::vector<Value> operands;
  std::vector<Attribute> columns;
  NamedAttrList constants;
  std::set<std::string> itemNames;
  for (auto &[name, value] : items)
    itemNames.insert(name);
  auto key = [&](const std::string &name) {
    if (!llvm::is_contained(info.columns, name))
      info.columns.insert(info.columns.begin() + info.keys++, name);
  };
  auto operand = [&](const std::string &name, Value v) {
    operands.push_back(v);
    columns.push_back(builder.getStringAttr(name));
  };
  if (!hidden) {
    std::set<std::string> seen = itemNames;
    for (size_t i = loops.size(); i-- > 0;) { // an inner loop's variable hides an outer one's
      const LoopVariable &loop = loops[i];
      if (!seen.insert(loop.name).second)
        continue;
      if (loop.ssa)
        operand(loop.name, loop.ssa);
      else if (auto *n = as<Number>(loop.value); n && n->known && !n->boolean)
        constants.set(loop.name, builder.getF64FloatAttr(*n->known));
      else
        constants.set(loop.name, builder.getStringAttr(loop.label));
    }
    for (const LoopVariable &loop : loops)
      if (!itemNames.count(loop.name))
        key(loop.name);
    for (auto &[name, value] : clocks)
      if (!itemNames.count(name)) {
        operand(name, scalar(*as<Number>(value)));
        key(name);
      }
  }
  for (auto &[name, value] : items) {
    if (!llvm::is_contained(info.columns, name))
      info.columns.push_back(name);
    if (auto *s = as<String>(value)) {
      constants.set(name, builder.getStringAttr(s->text));
      continue;
    }
    if (as<None>(value)) { // the third clock, which the run reads as it writes the row
      constants.set(name, builder.getUnitAttr());
      continue;
    }
    Value v;
    if (as<Weights>(value)) {
      std::vector<Value> parts;
      flatten(value, parts);
      v = flat(parts);
    } else {
      v = tensorOf(value, "a number or a tensor to record");
    }
    operand(name, v);
  }
  // Values of one row beside values of many: repeated if scalar, else not possible.
  if (rows)
    for (size_t i = 0; i < items.size(); ++i)
      if (!perRow[i] && !as<String>(items[i].second))
        if (auto *t = as<Tensor>(items[i].second); t && typeOf(t->ssa).getRank())
          fail(range,
               "`" + items[i].first + "`, " + describe(items[i].second) + ", has not the " + std::to_string(rows) +
                   " rows of what it is recorded with",
               "record it in a table of its own");
  // A row of constants is a step of the plan all the same, and takes as much memory as many operations.
  operations += 50;
  study::RecordOp::create(builder, loc(), table, ValueRange(operands), builder.getArrayAttr(columns),
                          constants.getDictionary(builder.getContext()), builder.getArrayAttr({}), rows, hidden);
}

void Elaborator::runRecord(const ast::Record &stmt) {
  const std::string &table = stmt.table.text;
  if (Scope *s = findScope(table, scope); s && s->names[table]->kind != Kind::Poison)
    fail(stmt.table.range, "`" + table + "` is " + describe(s->names[table]) + ", so no table can have this name");
  auto evaluate = [&] {
    std::vector<Val> values;
    for (const ast::Item &item : stmt.items) {
      if (!item.value && item.name.text == "seconds" && !lookup("seconds")) {
        values.push_back(none());
        continue;
      }
      values.push_back(item.value ? eval(*item.value) : evalRef(item.name.text, item.name.range));
      if (auto *t = as<Tensor>(values.back()); t && !stmt.source && typeOf(t->ssa).getNumElements() > 10'000'000)
        fail(item.name.range,
             "`" + item.name.text + "` would make " + std::to_string(typeOf(t->ssa).getNumElements()) + " columns");
    }
    return values;
  };
  std::vector<Val> values;
  std::vector<bool> perRow(stmt.items.size(), false);
  int64_t rows = 0;
  if (!stmt.source) {
    values = evaluate();
  } else {
    Val source = eval(*stmt.source->data);
    const Data &data = dataOf(source, stmt.source->data->range);
    Restore<bool> evaluation(trainingStep, false);
    if (stmt.source->batch) {
      int64_t batch = knownInt(eval(*stmt.source->batch), "a batch size");
      values = inBatches(data, batch, stmt.source->range, evaluate, perRow);
    } else {
      ScopeGuard guard(*this, Scope::Block);
      defineColumns(data, {}, stmt.source->data->range);
      values = evaluate();
      for (size_t i = 0; i < values.size(); ++i)
        if (auto *t = as<Tensor>(values[i]))
          perRow[i] = typeOf(t->ssa).getRank() > 0 && shapeOf(t->ssa)[0] == data.rows;
    }
    if (llvm::is_contained(perRow, true))
      rows = data.rows;
  }
  std::vector<std::pair<std::string, Val>> items;
  for (size_t i = 0; i < values.size(); ++i)
    items.push_back({stmt.items[i].name.text, values[i]});
  recordTable(table, items, rows, perRow, false, stmt.range);
}

//===-- save ----------------------------------------------------------------------------------------------------===//

void Elaborator::runSave(const ast::Save &stmt) {
  if (step)
    fail(stmt.range, "`save` in every step would overwrite its file each time",
         "put it into an `every` block or after `train`");
  for (const ast::Item &item : stmt.items) {
    Val value = item.value ? eval(*item.value) : evalRef(item.name.text, item.name.range);
    std::string name = fileName(item.name.text);
    auto [it, fresh] = progress.savedNames.insert({name, item.name.range.begin});
    if (!fresh && it->second != item.name.range.begin)
      fail(item.name.range, "another `save` already writes `" + name + "`",
           "save it under another name: `save final = " + item.name.text + "`");
    std::vector<Value> operands;
    std::vector<Attribute> names, loopNames;
    std::string format = "npy", table, column;
    if (auto *net = as<Net>(value)) {
      format = "safetensors";
      for (size_t i = 0; i < net->values.size(); ++i) {
        operands.push_back(as<Tensor>(net->values[i])->ssa);
        names.push_back(builder.getStringAttr(net->code->parameters[i].name));
      }
    } else if (auto *w = as<Weights>(value)) {
      format = "safetensors";
      for (const Weights::Entry &entry : w->entries) {
        operands.push_back(entry.ssa);
        names.push_back(builder.getStringAttr(entry.name));
      }
    } else if (auto *c = as<Column>(value)) {
      format = "csv";
      table = c->table;
      column = c->column;
    } else {
      operands.push_back(tensorOf(value, "a net, weights, a tensor or a table's column to save"));
      names.push_back(builder.getStringAttr(item.name.text));
    }
    for (const LoopVariable &loop : runtimeLoops()) {
      operands.push_back(loop.ssa);
      loopNames.push_back(builder.getStringAttr(loop.name));
    }
    study::SaveOp::create(builder, loc(), name, format, ValueRange(operands), builder.getArrayAttr(names),
                          builder.getArrayAttr(loopNames), table, column);
  }
}

//===-- plot ----------------------------------------------------------------------------------------------------===//

void Elaborator::runPlot(const ast::Plot &stmt) {
  if (step)
    fail(stmt.range, "`plot` in every step would draw the figure each time", "put it after `train`");
  using nlohmann::json;
  std::string on = stmt.table ? stmt.table->text : "";
  auto notRecorded = [&](SourceRange range, const std::string &table, const std::string &more, std::string help) {
    if (unsure.count(table))
      throw Failure{};
    fail(range, "nothing was recorded in a table `" + table + "`" + more, std::move(help));
  };
  if (stmt.table && !progress.tables.count(on)) {
    std::vector<std::string> tables;
    std::string known;
    for (auto &[name, info] : progress.tables)
      if (name[0] != '#') {
        tables.push_back(name);
        known += (known.empty() ? "" : ", ") + name;
      }
    notRecorded(stmt.table->range, on, known.empty() ? "" : "; there are " + known, nearest(on, tables));
  }
  auto columnOf = [&](const std::string &table, const std::string &name, SourceRange range) {
    const std::vector<std::string> &columns = progress.tables[table].columns;
    if (llvm::is_contained(columns, name))
      return;
    std::string known;
    for (const std::string &c : columns)
      known += (known.empty() ? "" : ", ") + c;
    if (unsure.count(table))
      throw Failure{};
    fail(range, "the table `" + table + "` has no column `" + name + "`; it has " + known, nearest(name, columns));
  };
  std::function<json(const ast::Expr &)> column = [&](const ast::Expr &e) -> json {
    if (auto *ref = ast::as<ast::Ref>(e)) {
      if (on.empty())
        fail(e.range, "a plot without `on` names the table of each column: `curve." + ref->name + "`");
      columnOf(on, ref->name, e.range);
      return {{"table", on}, {"column", ref->name}};
    }
    if (auto *field = ast::as<ast::Field>(e))
      if (auto *table = ast::as<ast::Ref>(field->base)) {
        if (!progress.tables.count(table->name))
          notRecorded(e.range, table->name, "", "");
        columnOf(table->name, field->field.text, field->field.range);
        return {{"table", table->name}, {"column", field->field.text}};
      }
    if (auto *index = ast::as<ast::Index>(e);
        index && index->items.size() == 1 && index->items[0].kind == ast::IndexItem::At) {
      json c = column(*index->base);
      c["index"] = knownInt(eval(*index->items[0].index), "the index of a column's part");
      return c;
    }
    fail(e.range, "a plot draws columns of tables, and this is none",
         "record the value under a name: `record t: shown = ...`, then draw `shown`");
  };
  auto names = [&](const std::vector<ast::Name> &list) {
    json result = json::array();
    for (const ast::Name &name : list) {
      if (on.empty())
        fail(name.range, "a plot `by` or `per` a column needs `on`: `plot \"...\" on table`");
      columnOf(on, name.text, name.range);
      result.push_back(name.text);
    }
    return result;
  };
  json spec;
  spec["title"] = stmt.title->value;
  spec["on"] = on.empty() ? json() : json(on);
  spec["per"] = names(stmt.per);
  spec["logx"] = spec["logy"] = false;
  for (const ast::String::Part &part : stmt.title->parts) {
    if (!part.isName)
      continue;
    bool known = llvm::any_of(stmt.per, [&](const ast::Name &n) { return n.text == part.text; }) ||
                 llvm::any_of(loops, [&](const LoopVariable &l) { return l.name == part.text; });
    if (!known)
      fail(part.range,
           "the title's `{" + part.text + "}` is neither one of the names after `per` nor a loop's variable",
           "write `per " + part.text + "`, which draws a figure for each");
  }
  // Variables of unrolled loops are known now.
  for (const LoopVariable &loop : loops)
    if (!loop.ssa) {
      std::string title = spec["title"], pattern = "{" + loop.name + "}";
      for (size_t at = title.find(pattern); at != std::string::npos; at = title.find(pattern, at + loop.label.size()))
        title.replace(at, pattern.size(), loop.label);
      spec["title"] = title;
    }
  spec["file"] = fileName("");
  spec["marks"] = json::array();
  for (const ast::Mark &mark : stmt.marks) {
    if (mark.kind == ast::MarkKind::LogX || mark.kind == ast::MarkKind::LogY) {
      spec[mark.kind == ast::MarkKind::LogX ? "logx" : "logy"] = true;
      continue;
    }
    json m;
    m["kind"] = ast::spelling(mark.kind);
    m["y"] = column(*mark.value);
    m["over"] = json::array();
    for (const ast::ExprPtr &e : mark.over)
      m["over"].push_back(column(*e));
    size_t wanted = mark.kind == ast::MarkKind::Contour || mark.kind == ast::MarkKind::Surface ? 2
                    : mark.kind == ast::MarkKind::Histogram                                    ? 0
                                                                                               : 1;
    if (mark.over.size() != wanted)
      fail(mark.range,
           "`" + std::string(ast::spelling(mark.kind)) + "` draws a column over " + std::to_string(wanted) +
               (wanted == 1 ? " other, found " : " others, found ") + std::to_string(mark.over.size()),
           wanted == 1   ? "`line loss over epoch`"
           : wanted == 2 ? "`contour loss over a, b`"
                         : "`histogram eigenvalue`");
    m["by"] = names(mark.by);
    m["label"] = mark.label ? column(*mark.label) : json();
    m["right"] = mark.right;
    spec["marks"].push_back(m);
  }
  if (spec["marks"].empty())
    fail(stmt.range, "this plot draws nothing", "add a mark: `line loss over epoch`");
  std::vector<Value> values;
  std::vector<Attribute> loopNames;
  for (const LoopVariable &loop : runtimeLoops()) {
    values.push_back(loop.ssa);
    loopNames.push_back(builder.getStringAttr(loop.name));
  }
  study::PlotOp::create(builder, loc(), spec.dump(-1, ' ', false, json::error_handler_t::replace), ValueRange(values),
                        builder.getArrayAttr(loopNames));
}

} // namespace hw::lang
