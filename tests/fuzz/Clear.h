// What an error of the compiler must not say: words of its inside.
#pragma once

#include <string_view>

namespace hw::fuzz {

inline bool namesTheInside(std::string_view sentence) {
  for (const char *word : {"did not say why", "fault of its own", "'hw.", "\"hw.", "'hwb.", "'study.", "'func.", "!hw",
                           "tensor<", "builtin.", "Assertion", "terminate called", "LLVM ERROR"})
    if (sentence.find(word) != std::string_view::npos)
      return true;
  return false;
}

} // namespace hw::fuzz
