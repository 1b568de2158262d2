// Recorded tables: rows of numbers, texts and vectors, appended while a study runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace hw {
class CsvWriter;
}

namespace hw::runtime {

enum class Reduction { mean, sum, min, max, last, count };

class Table {
public:
  enum class Type { unknown, f32, f64, text };
  struct Column {
    std::string name;
    int64_t width = 1; ///< cells: a vector takes several, called name[0], name[1], ... in files
    Type type = Type::unknown;
    size_t cell = 0; ///< where in a row it starts
  };
  /// Cells that a row does not fill: NaN, the text that is none.
  static constexpr double missing = std::numeric_limits<double>::quiet_NaN();

  explicit Table(std::string name, bool hidden) : tableName(std::move(name)), isHidden(hidden) {}

  // The schema, before the first row. A column that is numbers here and texts there becomes texts; f32 here and f64
  // there, f64.
  Column &declare(const std::string &column, int64_t width, Type type);
  void finish();

  const std::string &name() const { return tableName; }
  bool hidden() const { return isHidden; }
  void show() { isHidden = false; }
  const std::vector<Column> &columns() const { return list; }
  const Column *find(std::string_view column) const;
  std::vector<std::string> cellNames() const;

  /// Appends a row of missing cells and returns them, `width()` of them, to be filled in.
  double *append();
  /// The rows, as a table of their own; this one is empty then.
  std::unique_ptr<Table> takeRows();
  /// Appends the rows of another table with the same columns. Its texts get numbers of this one.
  void appendRows(const Table &from);
  /// Appends `rows` rows of width() cells each.
  void appendRows(int64_t rows, const double *from);
  /// All rows, one after the other, to rows() * width() numbers at `to`, which need not be aligned.
  void copyRows(void *to) const;
  size_t width() const { return cells; }
  int64_t rows() const { return count; }
  const double *row(int64_t index) const { return chunks[index / rowsPerChunk].get() + (index % rowsPerChunk) * cells; }
  /// Forgets all rows from `rows` on.
  void truncate(int64_t rows) { count = rows; }

  /// The rows as they were, and all texts: `cells` has rows * width() elements. Nothing counts as written yet.
  void restore(int64_t rows, const double *cells, std::vector<std::string> texts);
  /// Texts by the number that stands for them.
  const std::vector<std::string> &texts() const { return textList; }

  /// The number that stands for `text` in a cell.
  double intern(std::string_view text);
  /// The text of a cell; empty if it is missing.
  const std::string &text(double cell) const;

  double reduce(Reduction reduction, const Column &column) const;

  /// Writes the rows that are not written yet.
  void write(CsvWriter &csv);

private:
  std::string tableName;
  bool isHidden;
  std::vector<Column> list;
  size_t cells = 0;
  int64_t rowsPerChunk = 1, count = 0, written = 0;
  std::vector<std::unique_ptr<double[]>> chunks; // kept when rows go: a hidden table is refilled again and again
  std::vector<std::string> textList;
  std::unordered_map<std::string, double> numbers; // of texts
};

} // namespace hw::runtime
