#include "runtime/formats/Csv.h"
#include "runtime/formats/ByteReader.h"
#include "runtime/formats/Text.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <set>
#include <unistd.h>

namespace hw {

namespace {

constexpr size_t longestCell = 1 << 16;
constexpr size_t mostColumns = 1 << 20;

struct Cell {
  std::string text;
  bool wasQuoted = false;
};

/// Rows of cells. Counts lines as an editor does.
class RowReader {
public:
  explicit RowReader(const std::string &path) : file(path) {
    int first = peek();
    if (first == 0xFE || first == 0xFF)
      fail("{} is not UTF-8 text (it looks like UTF-16); save it as UTF-8", file.place());
    if (first == 0xEF) { // a byte order mark
      next();
      if (next() != 0xBB || next() != 0xBF)
        fail("{}, line 1: the text is not UTF-8; save it as UTF-8", file.place());
    }
  }

  const std::string &place() const { return file.place(); }

  /// False at the end of the file. `line` is the line where the row starts, from 1.
  bool row(std::vector<Cell> &cells, int64_t &line) {
    if (peek() < 0)
      return false;
    line = currentLine;
    for (size_t count = 0;; ++count) {
      if (count == mostColumns)
        fail("{}, line {}: more than {} columns; is this a table?", place(), line, mostColumns);
      if (count == cells.size())
        cells.emplace_back();
      int end = cell(cells[count]);
      if (end != ',') {
        cells.resize(count + 1);
        return true;
      }
    }
  }

private:
  int peek() {
    if (at == size) {
      size = file.read(buffer, sizeof buffer);
      at = 0;
      if (size == 0)
        return -1;
    }
    return buffer[at];
  }
  int next() {
    int c = peek();
    if (c >= 0)
      ++at;
    return c;
  }

  /// Reads a cell and what ends it: ',', '\n' or -1 for the end of the file.
  int cell(Cell &cell) {
    cell.text.clear();
    cell.wasQuoted = false;
    while (peek() == ' ' || peek() == '\t')
      next();
    if (peek() == '"') {
      quotedCell(cell);
      while (peek() == ' ' || peek() == '\t')
        next();
    }
    for (;;) {
      int c = next();
      if (c == '\r' && (peek() == '\n' || peek() < 0))
        c = next();
      if (c == ',' || c == '\n' || c < 0) {
        if (c == '\n')
          ++currentLine;
        if (!cell.wasQuoted)
          while (!cell.text.empty() && (cell.text.back() == ' ' || cell.text.back() == '\t'))
            cell.text.pop_back();
        return c;
      }
      if (cell.wasQuoted)
        fail("{}, line {}: text follows a closing quote; put a comma after it, or double quotes inside a quoted cell",
             place(), currentLine);
      append(cell, c);
    }
  }

  void quotedCell(Cell &cell) {
    cell.wasQuoted = true;
    int64_t start = currentLine;
    next();
    for (;;) {
      int c = next();
      if (c < 0)
        fail("{}, line {}: a quote is opened and never closed; close it", place(), start);
      if (c == '"') {
        if (peek() != '"')
          return;
        next();
      }
      if (c == '\n')
        ++currentLine;
      append(cell, c);
    }
  }

  void append(Cell &cell, int c) {
    if (c == 0)
      fail("{}, line {}: a NUL byte; this is not a text file", place(), currentLine);
    if (cell.text.size() == longestCell)
      fail("{}, line {}: a cell longer than {}; is this a table?", place(), currentLine, humanBytes(longestCell));
    cell.text += static_cast<char>(c);
  }

  ByteReader file;
  unsigned char buffer[1 << 15];
  size_t at = 0, size = 0;
  int64_t currentLine = 1;
};

/// A decimal number, nan or inf; the whole of `text`.
bool parseNumber(const std::string &text, double &value) {
  const char *begin = text.c_str(), *end = begin + text.size();
  if (begin != end && *begin == '+' && text.size() > 1 && begin[1] != '-')
    ++begin;
  auto [stop, error] = std::from_chars(begin, end, value);
  if (stop != end || begin == end)
    return false;
  if (error == std::errc::result_out_of_range) // too small is 0 or denormal, too large stays infinite: strtod tells
    value = std::strtod(begin, nullptr);
  return error == std::errc() || error == std::errc::result_out_of_range;
}

/// Calls row(values) for every row of data. Returns the columns' names.
template <class Row> std::vector<std::string> scan(const std::string &path, const CsvOptions &options, Row row) {
  RowReader reader(path);
  std::vector<Cell> cells;
  std::vector<double> values;
  std::vector<std::string> names;
  int64_t line = 0, blankLine = 0;
  bool first = true;
  while (reader.row(cells, line)) {
    bool blank = cells.size() == 1 && cells[0].text.empty() && !cells[0].wasQuoted;
    if (blank) { // allowed at the end only, where editors put it
      blankLine = blankLine ? blankLine : line;
      continue;
    }
    if (blankLine)
      fail("{}, line {}: the line is empty; remove it", reader.place(), blankLine);
    if (first) {
      first = false;
      bool header = false;
      double ignored;
      for (const Cell &cell : cells)
        header |= !cell.text.empty() && !parseNumber(cell.text, ignored);
      std::set<std::string> seen;
      for (size_t i = 0; i < cells.size(); ++i) {
        names.push_back(header && !cells[i].text.empty() ? cells[i].text : fmt::format("c{}", i));
        if (!seen.insert(names.back()).second)
          fail("{}, line {}: two columns are called {}; rename one", reader.place(), line, inQuotes(names.back(), 60));
      }
      if (header)
        continue;
    }
    if (cells.size() != names.size())
      fail("{}, line {}: {} cell{} where the first row has {}; make all rows equally long", reader.place(), line,
           cells.size(), cells.size() == 1 ? "" : "s", names.size());
    values.resize(cells.size());
    for (size_t i = 0; i < cells.size(); ++i) {
      const std::string &text = cells[i].text;
      auto where = [&] {
        return fmt::format("{}, line {}, column {} ({})", reader.place(), line, i + 1, inQuotes(names[i], 60));
      };
      if (text.empty())
        fail("{}: the cell is empty; fill it in or remove the row", where());
      if (!parseNumber(text, values[i])) {
        const char *hint = names.size() == 1 && text.find_first_of(";\t") != std::string::npos
                               ? "separate the cells by commas"
                               : "write it as a decimal number or remove the row";
        fail("{}: {} is not a number; {}", where(), inQuotes(text, 60), hint);
      }
      if (!std::isfinite(values[i]) && !options.allowNonFinite)
        fail("{}: {} is not a finite number, which training would spread; correct it or remove the row", where(),
             inQuotes(text, 60));
    }
    row(values);
  }
  if (first)
    fail("{} is empty; a table needs at least one row of numbers", reader.place());
  return names;
}

} // namespace

CsvTable readCsv(const std::string &path, const CsvOptions &options) {
  CsvTable table;
  uint64_t memory = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  uint64_t bytes = 0;
  table.names = scan(path, options, [&](const std::vector<double> &values) {
    bytes += values.size() * sizeof(double);
    if (bytes > memory / 2) // growing vectors may hold twice what they need
      fail("{} holds more numbers than this machine's memory; use a part of it, or an .npy file", inQuotes(path));
    table.columns.resize(values.size());
    for (size_t i = 0; i < values.size(); ++i)
      table.columns[i].push_back(values[i]);
  });
  table.columns.resize(table.names.size());
  return table;
}

CsvHeader readCsvHeader(const std::string &path, const CsvOptions &options) {
  CsvHeader header;
  header.names = scan(path, options, [&](const std::vector<double> &) { ++header.rows; });
  return header;
}

std::string csvCell(std::string_view text) {
  std::string line = oneLine(text, std::string::npos);
  bool plain = !line.empty() && line.front() != ' ' && line.back() != ' ' &&
               line.find_first_of(",\"#") == std::string::npos; // # starts a comment in gnuplot and NumPy
  if (plain)
    return line;
  std::string out = "\"";
  for (char c : line) {
    if (c == '"')
      out += '"';
    out += c;
  }
  return out + '"';
}

CsvWriter::CsvWriter(OutDir &out, std::string_view name, const std::vector<std::string> &columns)
    : file(out.stream(name, ".csv")), columns(columns.size()) {
  for (const std::string &column : columns)
    cell(column);
  endRow();
  flush();
}

void CsvWriter::append(std::string_view text) {
  if (cells++)
    row += ',';
  row += text;
}

CsvWriter &CsvWriter::cell(double value) {
  append(shortest(value));
  return *this;
}
CsvWriter &CsvWriter::cell(float value) {
  append(shortest(value));
  return *this;
}
CsvWriter &CsvWriter::cell(int64_t value) {
  append(fmt::format("{}", value));
  return *this;
}
CsvWriter &CsvWriter::cell(std::string_view text) {
  append(csvCell(text));
  return *this;
}

void CsvWriter::endRow() {
  if (cells != columns)
    fail("{}: a row of {} cells in a table of {} columns", inQuotes(file.path(), 1000), cells, columns);
  row += '\n';
  file.write(row);
  row.clear();
  cells = 0;
}

} // namespace hw
