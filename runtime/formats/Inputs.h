// What this process has read, so that nothing it writes takes its place.
#pragma once

#include <string>
#include <string_view>

namespace hw {

/// Remembers a file that is read: the model, data, weights. `what`: "the model file".
void rememberInput(const std::string &path, const char *what);

/// Throws one sentence if `name` in `folder` (a descriptor, or AT_FDCWD) is such a file by whichever name: the same
/// path, a hard link, what a symbolic link that was read leads to. `name` is about to be replaced itself, not what it
/// leads to. `place`: the path in quotes.
void refuseInput(int folder, const std::string &name, std::string_view place);

} // namespace hw
