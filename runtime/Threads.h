// The program's threads.
#pragma once

namespace hw {

/// Cores that this process may run on.
int availableCores();

/// Sets the width of hw_parallel and of oneDNN, once, before anything is loaded: oneDNN's bits depend on it.
void setThreads(int width);
int threads();

} // namespace hw
