// What the runtime throws at bad input: one clear sentence that names the place and the fix. main catches it, prints it
// and exits with 1. Nothing in the runtime asserts or aborts on what a user wrote.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>

namespace hw {

class Error : public std::runtime_error {
public:
  explicit Error(const std::string &sentence);
  // Out of line: one home for the vtable and the type's information, also for callers compiled with -fno-rtti.
  ~Error() override;
};

/// Throws hw::Error with the formatted sentence.
template <class... Args> [[noreturn]] void fail(fmt::format_string<Args...> format, Args &&...args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

/// `text` in single quotes for a message: control characters and invalid UTF-8 are escaped (a file's name is the
/// attacker's and the message goes to a terminal), and more than `limit` bytes are cut.
std::string inQuotes(std::string_view text, size_t limit = 200);

/// "12 bytes", "3.4 MiB".
std::string humanBytes(unsigned long long bytes);

} // namespace hw
