// Comma-separated values (RFC 4180): data sets are read, recorded tables are written.
#pragma once

#include "runtime/formats/OutDir.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hw {

struct CsvHeader {
  std::vector<std::string> names; ///< one a column: the header's cells, or c0, c1, ...
  int64_t rows = 0;
};

struct CsvTable {
  std::vector<std::string> names;
  std::vector<std::vector<double>> columns; ///< as many as names, all of the same length
  int64_t rows() const { return columns.empty() ? 0 : static_cast<int64_t>(columns[0].size()); }
};

struct CsvOptions {
  bool allowNonFinite =
      false; ///< take nan and inf as numbers; else they are an error, as training would only spread them
};

/// Reads a table of numbers, plain or gzip, UTF-8, lines ended by LF or CRLF. The first row is a header if any of its
/// cells is not a number. A ragged row, an empty cell or one that is not a number is an error with line and column.
CsvTable readCsv(const std::string &path, const CsvOptions &options = {});
/// Names and number of rows. Reads and checks the whole file but keeps none of it.
CsvHeader readCsvHeader(const std::string &path, const CsvOptions &options = {});

/// A cell as RFC 4180 writes it: in quotes only if needed; control characters become spaces.
std::string csvCell(std::string_view text);

/// A recorded table: rows are appended while the run goes on. Numbers are written so that they read back bit for bit.
class CsvWriter {
public:
  /// `<name>.csv` in `out`, starting with the header.
  CsvWriter(OutDir &out, std::string_view name, const std::vector<std::string> &columns);

  CsvWriter &cell(double value);
  CsvWriter &cell(float value);
  CsvWriter &cell(int64_t value);
  CsvWriter &cell(std::string_view text);
  CsvWriter &cell(const char *text) { return cell(std::string_view(text)); }
  /// Throws if the row has not as many cells as the header.
  void endRow();
  void flush() { file.flush(); }
  void close() { file.close(); }
  const std::string &path() const { return file.path(); }

private:
  void append(std::string_view text);

  StreamFile file;
  std::string row;
  size_t columns, cells = 0;
};

} // namespace hw
