// Standard output and standard error, whatever they are: closed, full, a pipe whose reader has gone. None of these
// changes what a run computes or leaves on the disk, so nothing here throws.
#pragma once

#include "runtime/formats/Text.h"

#include <fmt/format.h>

#include <cstdio>
#include <string_view>
#include <utility>

namespace hw {

/// First thing in main(). A standard stream that is closed is opened on nothing, lest a file of ours gets its number
/// and messages are written into it. A reader that has gone and a file over the limit (`ulimit -f`) become errors of
/// write(). Children can be waited for.
void prepareProcess();

/// Writes as it is. What goes wrong on standard output is told by finishOutput().
void put(std::FILE *stream, std::string_view text);

/// A line for people on standard error: escaped() and with a newline.
template <class... Args> void tell(fmt::format_string<Args...> format, Args &&...args) {
  put(stderr, escaped(fmt::format(format, std::forward<Args>(args)...)) + "\n");
}

/// For people on standard output: escaped().
template <class... Args> void show(fmt::format_string<Args...> format, Args &&...args) {
  put(stdout, escaped(fmt::format(format, std::forward<Args>(args)...)));
}

/// Last thing in main(): the exit status, which is not 0 if standard output did not take all of what was written, by
/// whomever. A reader that has gone (`| head -1`) is no news: 128 + SIGPIPE, as for other programs, without a sentence.
int finishOutput(int status);

} // namespace hw
