// Which steps may run at the same time, and where scratch lies in the meantime.
#include "backend/steps/Phases.h"
#include "backend/steps/Arena.h"

using namespace mlir;
using namespace hw;
using namespace hw::backend;

void hw::backend::orderLoads(StepList &list) {
  for (Step &step : list.steps)
    for (Stage &stage : step.stages) {
      Kernel &kernel = stage.kernel;
      llvm::DenseMap<int, unsigned> stores; // by memory, the first root that stores there
      for (auto [number, root] : llvm::enumerate(kernel.roots))
        for (int buffer : {root.buffer, root.indexBuffer})
          if (buffer >= 0)
            stores.try_emplace(list.memoryOf(kernel.buffers[buffer]), unsigned(number));
      SmallVector<unsigned> wanted = kernel.firstRoots();
      kernel.firstLoads.clear();
      for (auto [number, node] : llvm::enumerate(kernel.nodes))
        if (node.op == Opcode::Load)
          if (auto store = stores.find(list.memoryOf(kernel.buffers[node.buffer]));
              store != stores.end() && store->second < wanted[number])
            kernel.firstLoads.push_back(int(number));
    }
}

void hw::backend::formPhases(StepList &list) {
  // The phase after the last one that a step has to wait for. The last writer of each memory, and the latest reader
  // since, are all that needs to be known of the steps before.
  llvm::DenseMap<int, unsigned> written, read;
  list.phases.clear();
  for (auto [number, step] : llvm::enumerate(list.steps)) {
    StepList::Access access = list.accessOf(step);
    unsigned phase = 0;
    auto wait = [&](const llvm::DenseMap<int, unsigned> &last, int buffer) {
      if (auto at = last.find(buffer); at != last.end())
        phase = std::max(phase, at->second + 1);
    };
    for (int buffer : access.reads)
      wait(written, buffer);
    for (int buffer : access.writes) {
      wait(written, buffer);
      wait(read, buffer);
    }
    for (int buffer : access.reads)
      read[buffer] = std::max(read[buffer], phase);
    for (int buffer : access.writes)
      written[buffer] = phase;
    if (phase >= list.phases.size())
      list.phases.resize(phase + 1);
    list.phases[phase].push_back(unsigned(number));
  }
}

void hw::backend::placeScratch(StepList &list) {
  for (auto [phase, numbers] : llvm::enumerate(list.phases))
    for (unsigned number : numbers) {
      StepList::Access access = list.accessOf(list.steps[number]);
      for (const auto &set : {access.reads, access.writes})
        for (int buffer : set) {
          Buffer &b = list.buffers[buffer];
          if (b.place == Buffer::Local)
            continue;
          b.first = b.first < 0 ? int(phase) : std::min(b.first, int(phase));
          b.last = std::max(b.last, int(phase));
        }
    }
  std::vector<Interval> intervals;
  SmallVector<int> numbers;
  for (auto [number, buffer] : llvm::enumerate(list.buffers))
    if (buffer.place == Buffer::Scratch && buffer.first >= 0) {
      intervals.push_back({buffer.bytes(), buffer.first, buffer.last});
      numbers.push_back(int(number));
    }
  list.scratch = placeIntervals(intervals);
  for (auto [interval, number] : llvm::zip_equal(intervals, numbers))
    list.buffers[number].offset = interval.offset;

  // A tile's rows, from stage to stage of its region.
  for (Step &step : list.steps) {
    intervals.clear(), numbers.clear();
    for (auto [at, stage] : llvm::enumerate(step.stages)) {
      StepList::Access access = list.accessOf(stage);
      for (const auto &set : {access.reads, access.writes})
        for (int buffer : set) {
          Buffer &b = list.buffers[buffer];
          if (b.place != Buffer::Local)
            continue;
          if (b.first < 0) {
            b.first = int(at);
            numbers.push_back(buffer);
          }
          b.last = int(at);
        }
    }
    for (int number : numbers) {
      const Buffer &b = list.buffers[number];
      intervals.push_back({step.tile * b.rowElements * bytesOf(b.type), b.first, b.last});
    }
    int64_t bytes = placeIntervals(intervals);
    for (auto [interval, number] : llvm::zip_equal(intervals, numbers))
      list.buffers[number].offset = interval.offset;
    if (step.body)
      bytes = std::max(bytes, step.body->scratchOfOne());
    list.threadScratch = std::max(list.threadScratch, (bytes + 4095) / 4096 * 4096);
  }
}
