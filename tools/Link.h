// An executable from a compiled program's object: the ahead-of-time half of what the JIT does in memory.
#pragma once

#include <functional>
#include <string>

namespace hw {

/// Links `object` (ELF bytes) with the runtime into an executable at `path`, replacing what is there only once all went
/// well. Throws hw::Error where the C++ driver is missing or the folder is not writable.
void linkExecutable(const std::string &object, const std::string &path, const std::function<bool()> &stop);

/// Copies the executable and the shared libraries that a machine may lack (oneDNN, GNU OpenMP, libstdc++) into `folder`
/// and `folder/lib`, where the executable looks first.
void bundleExecutable(const std::string &executable, const std::string &folder);

} // namespace hw
