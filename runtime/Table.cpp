#include "runtime/Table.h"

#include "runtime/formats/Csv.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

namespace hw::runtime {

Table::Column &Table::declare(const std::string &column, int64_t width, Type type) {
  auto found = std::find_if(list.begin(), list.end(), [&](const Column &c) { return c.name == column; });
  if (found == list.end())
    found = list.insert(list.end(), {column, width, type, 0});
  found->width = std::max(found->width, width);
  if (found->type == Type::unknown)
    found->type = type;
  else if (type != Type::unknown && found->type != type)
    found->type = found->type == Type::text || type == Type::text ? Type::text : Type::f64;
  return *found;
}

void Table::finish() {
  cells = 0;
  for (Column &column : list) {
    column.cell = cells;
    cells += static_cast<size_t>(column.width);
  }
  // 64 KiB a chunk: growing never moves what is there and seldom asks for memory.
  rowsPerChunk = std::max<int64_t>(1, 8192 / static_cast<int64_t>(std::max<size_t>(cells, 1)));
}

const Table::Column *Table::find(std::string_view column) const {
  for (const Column &c : list)
    if (c.name == column)
      return &c;
  return nullptr;
}

std::vector<std::string> Table::cellNames() const {
  std::vector<std::string> names;
  for (const Column &column : list)
    if (column.width == 1)
      names.push_back(column.name);
    else
      for (int64_t i = 0; i < column.width; ++i)
        names.push_back(fmt::format("{}[{}]", column.name, i));
  return names;
}

double *Table::append() {
  const auto chunk = static_cast<size_t>(count / rowsPerChunk);
  if (chunk == chunks.size())
    chunks.push_back(std::make_unique<double[]>(cells * static_cast<size_t>(rowsPerChunk)));
  double *row = chunks[chunk].get() + static_cast<size_t>(count % rowsPerChunk) * cells;
  std::fill(row, row + cells, missing);
  ++count;
  return row;
}

void Table::appendRows(int64_t rows, const double *from) {
  for (int64_t i = 0; i < rows; ++i, from += cells)
    std::copy_n(from, cells, append());
}

std::unique_ptr<Table> Table::takeRows() {
  auto taken = std::make_unique<Table>(tableName, isHidden);
  taken->list = list;
  taken->cells = cells;
  taken->rowsPerChunk = rowsPerChunk;
  taken->textList = textList;
  taken->chunks.swap(chunks);
  taken->count = std::exchange(count, 0);
  return taken;
}

void Table::appendRows(const Table &from) {
  for (int64_t i = 0; i < from.count; ++i) {
    double *row = append();
    std::copy_n(from.row(i), cells, row);
    for (const Column &column : list)
      for (size_t cell = column.cell; cell < column.cell + static_cast<size_t>(column.width); ++cell)
        if (column.type == Type::text && !std::isnan(row[cell]))
          row[cell] = intern(from.text(row[cell]));
  }
}

void Table::copyRows(void *to) const {
  const size_t bytes = cells * sizeof(double);
  for (int64_t i = 0; i < count; ++i)
    std::memcpy(static_cast<std::byte *>(to) + static_cast<size_t>(i) * bytes, row(i), bytes);
}

void Table::restore(int64_t rows, const double *cells, std::vector<std::string> texts) {
  numbers.clear();
  for (size_t i = 0; i < texts.size(); ++i)
    numbers.emplace(texts[i], static_cast<double>(i));
  textList = std::move(texts);
  truncate(0);
  written = 0;
  appendRows(rows, cells);
}

double Table::intern(std::string_view text) {
  const auto [found, fresh] = numbers.try_emplace(std::string(text), static_cast<double>(textList.size()));
  if (fresh)
    textList.emplace_back(text);
  return found->second;
}

const std::string &Table::text(double cell) const {
  static const std::string none;
  return std::isnan(cell) ? none : textList[static_cast<size_t>(cell)];
}

double Table::reduce(Reduction reduction, const Column &column) const {
  const auto n = static_cast<double>(count);
  if (reduction == Reduction::count)
    return n;
  if (count == 0)
    return reduction == Reduction::sum ? 0 : missing;
  if (reduction == Reduction::last)
    return row(count - 1)[column.cell];
  double sum = 0, least = INFINITY, largest = -INFINITY;
  bool nan = false;
  for (int64_t i = 0; i < count; ++i) {
    const double *cell = row(i) + column.cell;
    for (int64_t j = 0; j < column.width; ++j) {
      sum += cell[j];
      least = std::min(least, cell[j]);
      largest = std::max(largest, cell[j]);
      nan |= std::isnan(cell[j]);
    }
  }
  switch (reduction) {
  case Reduction::mean:
    return sum / (n * static_cast<double>(column.width));
  case Reduction::sum:
    return sum;
  case Reduction::min:
    return nan ? missing : least;
  default:
    return nan ? missing : largest;
  }
}

void Table::write(CsvWriter &csv) {
  for (; written < count; ++written) {
    const double *cell = row(written);
    for (const Column &column : list)
      for (int64_t j = 0; j < column.width; ++j, ++cell)
        if (column.type == Type::text)
          csv.cell(std::string_view(text(*cell)));
        else if (column.type == Type::f32)
          csv.cell(static_cast<float>(*cell));
        else
          csv.cell(*cell);
    csv.endRow();
  }
}

} // namespace hw::runtime
