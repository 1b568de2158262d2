// A run as a timeline for chrome://tracing and https://ui.perfetto.dev: Chrome's trace event format, JSON.
#pragma once

#include "runtime/Marks.h"
#include "runtime/formats/OutDir.h"

#include <string>

namespace hw::runtime {

/// Writes and commits `file`: a complete event ("ph": "X", microseconds) for each step, call and span that `marks`
/// kept; "tid" is the program's thread. "otherData" says how many events were dropped.
void writeTimeline(AtomicFile &file, const Marks &marks, const std::string &program);

/// What to tell the user who asked for it.
std::string describeTimeline(const AtomicFile &file, const Marks &marks);

} // namespace hw::runtime
