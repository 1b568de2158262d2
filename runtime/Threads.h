// The program's threads.
#pragma once

namespace hw {

/// Cores that this process may run on.
int availableCores();

/// Sets the width of hw_parallel and of oneDNN, once, before anything is loaded: oneDNN's bits depend on it.
void setThreads(int width);
int threads();

/// From now on hw_parallel runs everything that this thread asks for on it alone, as from inside of a task.
void runAlone();

} // namespace hw
