// What the fuzz targets of the compiler share: the mutator of model files, and what a refusal must be.
#pragma once

#include "tests/fuzz/Clear.h"
#include "tests/fuzz/Fuzz.h"
#include "tests/fuzz/Mutate.h"
#include "tools/Driver.h"

#include <cstring>

extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t limit);

// LLVM's headers poison what the allocator of its library, which is not instrumented, does not know to give back. Not
// inline: a weak definition loses against the sanitizer's own. Each target includes this file once.
extern "C" const char *__asan_default_options() {
  return "allow_user_poisoning=0:detect_leaks=0:allocator_may_return_null=0";
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t limit, unsigned seed) {
  static std::string previous;
  const std::string text(reinterpret_cast<char *>(data), size);
  if (seed % 8 == 0)
    return LLVMFuzzerMutate(data, size, limit);
  const std::string made = hw::fuzz::Mutator(seed).mistake(text, previous.empty() ? text : previous);
  previous = text;
  size = std::min(made.size(), limit);
  std::memcpy(data, made.data(), size);
  return size;
}

namespace hw::fuzz {

/// The place in the user's file, a sentence, nothing of the compiler's inside.
inline void requireClear(const Diagnostics &found) {
  for (const Diagnostic &diagnostic : found.all()) {
    if (diagnostic.severity != Severity::Error)
      continue;
    require(!diagnostic.message.empty(), "an error is a sentence");
    const bool inner = !diagnostic.range || namesTheInside(diagnostic.message);
    if (inner)
      std::fputs(Diagnostics::render(diagnostic).c_str(), stderr);
    require(!inner, "an error names its place and no IR");
  }
}

/// Does `use` with a request for these bytes; true if it accepted them.
template <class Use> int compileText(const uint8_t *data, size_t size, Use use) {
  const MemoryFile file(data, size);
  return count([&] {
    Request request;
    request.path = file.path();
    request.elaborate.quick = true;
    // Data files lie in the working directory: tests/fuzz/corpus.py makes some.
    bool refused = false;
    request.report = [&](const Diagnostics &found) {
      requireClear(found);
      refused |= found.hasErrors();
    };
    if (!use(request))
      throw Error("refused");
    require(!refused, "what has errors is refused");
  });
}

} // namespace hw::fuzz
