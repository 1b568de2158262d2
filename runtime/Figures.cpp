// A plan's figures: from tables to the columns that runtime/formats/Plot.h draws.
#include "runtime/Study.h"
#include "runtime/formats/Plot.h"
#include "runtime/formats/Text.h"

#include <algorithm>
#include <functional>
#include <set>

namespace hw::runtime {
namespace {

std::string cellText(const Table &table, const Table::Column &column, double cell) {
  if (column.type == Table::Type::text)
    return table.text(cell);
  return column.type == Table::Type::f32 ? shortest(static_cast<float>(cell)) : shortest(cell);
}

/// Values of the `per` columns, one figure each.
using Key = std::vector<std::string>;

/// The key of a row; a column that the table does not have is empty: such rows are in every figure.
Key keyOf(const Table &table, int64_t row, const std::vector<std::string> &per) {
  Key key;
  for (const std::string &name : per) {
    const Table::Column *column = table.find(name);
    key.push_back(column ? cellText(table, *column, table.row(row)[column->cell]) : "");
  }
  return key;
}

bool matches(const Key &row, const Key &figure) {
  for (size_t i = 0; i < row.size(); ++i)
    if (!row[i].empty() && row[i] != figure[i])
      return false;
  return true;
}

class Builder {
public:
  Builder(const FigureSpec &spec, const Key &key) : spec(spec), key(key) {
    for (const FigureMark &mark : spec.marks)
      for (const auto *list : {&mark.values, &mark.over})
        for (const FigureColumn &column : *list)
          tables.insert(column.table);
  }

  PlotSpec build() {
    plot.title = title();
    plot.logX = spec.logX;
    plot.logY = spec.logY;
    for (const FigureMark &mark : spec.marks)
      plot.marks.push_back(build(mark));
    return std::move(plot);
  }

private:
  const FigureSpec &spec;
  const Key &key;
  std::set<const Table *> tables;
  PlotSpec plot;

  /// "{target}" becomes its value; values that the title does not mention are added, as figures must differ in name.
  std::string title() const {
    std::string text = spec.title;
    for (size_t i = 0; i < spec.per.size(); ++i) {
      const std::string hole = "{" + spec.per[i] + "}";
      size_t at = text.find(hole);
      if (at == std::string::npos)
        text += fmt::format("-{}={}", spec.per[i], key[i]);
      for (; at != std::string::npos; at = text.find(hole, at + key[i].size()))
        text.replace(at, hole.size(), key[i]);
    }
    return text;
  }

  /// Adds the column's rows of this figure, once; returns the name that marks use.
  std::string add(const FigureColumn &source, const Table &rowsOf) {
    // Columns of two tables may share a name.
    const std::string name = tables.size() > 1 ? source.table->name() + "." + source.name : source.name;
    if (std::any_of(plot.columns.begin(), plot.columns.end(), [&](const PlotColumn &c) { return c.name == name; }))
      return name;
    const Table &table = *source.table;
    const Table::Column &column = *source.column;
    PlotColumn out;
    out.name = name;
    out.isText = column.type == Table::Type::text;
    out.isF32 = column.type == Table::Type::f32;
    if (table.rows() != rowsOf.rows())
      fail("the figure {} sets {} rows of '{}' against {} of '{}': both must come from tables of one length",
           inQuotes(spec.title), table.rows(), source.name, rowsOf.rows(), rowsOf.name());
    for (int64_t row = 0; row < table.rows(); ++row) {
      // Rows are chosen by the table of the mark's values, so that its columns stay equally long.
      if (!matches(keyOf(rowsOf, row, spec.per), key))
        continue;
      const double cell = table.row(row)[column.cell + static_cast<size_t>(source.element)];
      if (out.isText)
        out.texts.push_back(table.text(cell));
      else
        out.numbers.push_back(cell);
    }
    plot.columns.push_back(std::move(out));
    return name;
  }

  PlotMark build(const FigureMark &mark) {
    static const std::pair<const char *, MarkKind> kinds[] = {
        {"line", MarkKind::line},       {"points", MarkKind::points},       {"contour", MarkKind::contour},
        {"surface", MarkKind::surface}, {"histogram", MarkKind::histogram}, {"bars", MarkKind::bars}};
    PlotMark out;
    const auto kind = std::find_if(std::begin(kinds), std::end(kinds), [&](auto &k) { return mark.kind == k.first; });
    if (kind == std::end(kinds) || mark.values.empty())
      fail("the figure {} has a mark '{}', which this runtime does not know: build the program again",
           inQuotes(spec.title), mark.kind);
    out.kind = kind->second;
    const Table &table = *mark.values[0].table;
    for (const FigureColumn &value : mark.values)
      out.values.push_back(add(value, table));
    for (const FigureColumn &over : mark.over)
      out.over.push_back(add(over, table));
    for (const std::string &by : mark.by) {
      const Table::Column *column = table.find(by);
      if (!column)
        fail("the figure {} groups by '{}', which table '{}' does not have", inQuotes(spec.title), by, table.name());
      out.by.push_back(add({&table, column, 0, by}, table));
    }
    if (mark.label)
      out.label = add(*mark.label, table);
    out.right = mark.right;
    return out;
  }
};

} // namespace

void drawFigures(const PlotNode &node, OutDir &out, const std::function<void(const std::string &)> &note) {
  const FigureSpec &spec = node.spec;
  // Figures in the order in which their rows were recorded.
  std::vector<Key> keys;
  std::set<Key> seen;
  for (const FigureMark &mark : spec.marks)
    for (const FigureColumn &value : mark.values)
      for (int64_t row = 0; row < value.table->rows() && !spec.per.empty(); ++row)
        if (Key key = keyOf(*value.table, row, spec.per);
            std::find(key.begin(), key.end(), "") == key.end() && seen.insert(key).second)
          keys.push_back(std::move(key));
  if (spec.per.empty())
    keys.push_back({});
  for (const Key &key : keys) {
    PlotSpec plot = Builder(spec, key).build();
    plot.title += loopSuffix(node.loops);
    drawPlot(out, plot, note);
  }
}

} // namespace hw::runtime
