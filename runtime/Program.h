// A compiled program, checked and ready to run: its plan, its memory, its oneDNN primitives.
#pragma once

#include "runtime/Abi.h"
#include "runtime/Checkpoint.h"
#include "runtime/Marks.h"
#include "runtime/Memory.h"
#include "runtime/OneDnn.h"
#include "runtime/Plan.h"
#include "runtime/Whole.h"

#include <memory>

namespace hw::runtime {

/// Throws one sentence if this runtime or this CPU cannot run `program`.
void checkProgram(const hw_program &program);

class Program {
public:
  /// Checks the program and reads the head of its plan.
  explicit Program(const hw_program &program);

  /// Gets memory, reads the plan's body, makes oneDNN's primitives (for the threads set), writes the settings' slots.
  /// Nothing is allocated later.
  void load();

  /// Instead, the same plan once more, for turns of one of `main`'s independent nodes: what is a turn's own lies in
  /// memory of this program, the rest in that of `main`. For one thread, which calls serveThisThread() first.
  void loadBeside(const Program &main, const TurnsNode &node);
  void serveThisThread();

  /// Whose run this is, as checkpoints say it. To be asked once it is loaded.
  RunIdentity identity() const;

  const hw_program &descriptor;
  Plan plan;
  std::byte *scratch() const { return scratchMemory.data(); }

  void run(const CallNode &call) const {
    Marks *marks = Marks::current();
    if (marks)
      marks->beginCall(call.entry);
    call.function(call.addresses.data(), scratchMemory.data());
    if (marks)
      marks->endCall();
    if (foundOutside) [[unlikely]]
      failOutside();
  }

private:
  /// Scratch enough for every entry on so many threads.
  void getScratch(int width);
  void getOneDnn(OneDnn::Width width);

  Memory arena, scratchMemory;
  std::unique_ptr<OneDnn> oneDnn;
};

} // namespace hw::runtime
