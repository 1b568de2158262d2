#include "runtime/formats/Csv.h"
#include "tests/fuzz/Fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  return hw::fuzz::readAsFile(data, size, [](const std::string &path) {
    const hw::CsvHeader header = hw::readCsvHeader(path);
    const hw::CsvTable table = hw::readCsv(path);
    hw::fuzz::require(table.names == header.names && table.columns.size() == header.names.size(), "a column a name");
    for (const auto &column : table.columns)
      hw::fuzz::require(static_cast<int64_t>(column.size()) == header.rows, "a cell a row");
  });
}
