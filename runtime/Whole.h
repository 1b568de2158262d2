// Indices, labels and seeds that the program computes: whole numbers within bounds, or the end of the run.
#pragma once

namespace hw::runtime {

/// hw_whole found on this thread what it can give no place to. Compiled code cannot throw: who called it does.
extern thread_local constinit bool foundOutside;
/// Throws what hw_whole found first, and forgets it.
[[noreturn]] void failOutside();

} // namespace hw::runtime
