// The whole front half: source text to the outlined module, and `hwc fmt`.
#include "frontend/Format.h"
#include "tests/fuzz/Language.h"

using namespace hw;

namespace {

/// The canonical layout is stable, and the tree is the same.
void requireFormats(const std::string &text) {
  Diagnostics ignored;
  const Source source("model.hw", text);
  const std::optional<std::string> once = formatSource(source, ignored);
  if (!once)
    return;
  const Source again("model.hw", *once);
  Diagnostics second;
  const std::optional<std::string> twice = formatSource(again, second);
  fuzz::require(twice == once, "formatting twice changes nothing");
  Diagnostics quiet;
  fuzz::require(dump(parseModule(source, quiet)) == dump(parseModule(again, quiet)), "formatting keeps the tree");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  return fuzz::compileText(data, size, [&](const Request &request) {
    Driver driver(request);
    if (!driver.parse())
      return false;
    requireFormats(std::string(driver.source().text()));
    return Driver(request).outline();
  });
}
