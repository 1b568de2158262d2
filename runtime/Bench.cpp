#include "runtime/Bench.h"

#include "runtime/Study.h"
#include "runtime/Threads.h"

#include <benchmark/benchmark.h>

#include <memory>
#include <set>

namespace hw {

using namespace runtime;

namespace {

/// Floating-point operations and bytes of every call in `body`, once each.
void addCosts(const Body &body, double &flops, double &bytes) {
  for (const auto &node : body)
    if (node->kind == NodeKind::call) {
      const auto &call = static_cast<const CallNode &>(*node);
      flops += call.entry->flops;
      bytes += call.entry->bytes;
    }
}

/// What one iteration does, and how fast that is.
void count(benchmark::State &state, double flops, double bytes) {
  using benchmark::Counter;
  if (flops > 0) {
    state.counters["flop"] = Counter(flops);
    state.counters["GFLOP/s"] = Counter(flops * 1e-9, Counter::kIsIterationInvariantRate);
  }
  if (bytes > 0)
    state.counters["bytes"] = Counter(bytes);
}

/// One report (one JSON document) for all trainings, though each runs its benchmarks when the plan gets there.
class OneReport : public benchmark::BenchmarkReporter {
public:
  bool ReportContext(const Context &context) override {
    if (std::exchange(started, true))
      return true;
    inner->SetOutputStream(&GetOutputStream());
    inner->SetErrorStream(&GetErrorStream());
    return inner->ReportContext(context);
  }
  void ReportRuns(const std::vector<Run> &runs) override { inner->ReportRuns(runs); }
  void finish() {
    if (started)
      inner->Finalize();
  }

private:
  std::unique_ptr<benchmark::BenchmarkReporter> inner{benchmark::CreateDefaultDisplayReporter()};
  bool started = false;
};

class BenchStudy : public Study {
public:
  using Study::Study;
  size_t found = 0;
  OneReport report;

protected:
  // A call that is there to be timed.
  void benchCall(CallNode &node) override {
    if (!nodes.insert(&node).second)
      return;
    ++found;
    benchmark::ClearRegisteredBenchmarks();
    registerCall(node.bench, node);
    benchmark::RunSpecifiedBenchmarks(&report);
  }

  // Runs the benchmarks where the training would be: its inputs are what they are at its first step.
  void train(TrainNode &node) override {
    // Each training once: a loop's other turns have the same shapes.
    if (!nodes.insert(&node).second)
      return;
    found += 1 + node.bench.size();
    const std::string name = nameOf(node);
    Training training(*this, node);
    // Indices and clocks of a first step, also for the cases.
    training.place(0);
    benchmark::ClearRegisteredBenchmarks();
    for (const BenchCase &item : node.bench)
      registerCall(name + "." + item.name, *item.call);
    double flops = 0, bytes = 0;
    addCosts(node.body, flops, bytes);
    benchmark::RegisterBenchmark((name + ".step").c_str(), [&](benchmark::State &state) {
      int64_t step = 0;
      const int64_t full = node.hasTail() ? training.epochSteps() - 1 : training.epochSteps();
      // Full batches of the first epoch, over and over: shuffling is no part of a step.
      for (auto _ : state) {
        training.turn(step);
        step = step + 1 == full ? 0 : step + 1;
        for (const auto &table : program.plan.tables)
          table->truncate(0);
      }
      count(state, flops, bytes);
    })->UseRealTime();
    benchmark::RunSpecifiedBenchmarks(&report);
  }

private:
  void registerCall(const std::string &name, const CallNode &call) {
    benchmark::RegisterBenchmark(name.c_str(), [this, &call](benchmark::State &state) {
      for (auto _ : state)
        program.run(call);
      count(state, call.entry->flops, call.entry->bytes);
    })->UseRealTime();
  }

  /// As its entries are called: "train1".
  std::string nameOf(const TrainNode &node) const {
    for (const auto &inner : node.body)
      if (inner->kind == NodeKind::call) {
        const std::string entry = static_cast<const CallNode &>(*inner).entry->name;
        if (const size_t at = entry.find(".step"); at != std::string::npos)
          return entry.substr(0, at);
      }
    return fmt::format("train{}", nodes.size());
  }

  std::set<const Node *> nodes;
};

} // namespace

int benchProgram(const hw_program &program, const BenchOptions &options, int argc, char **argv) {
  try {
    std::vector<char *> arguments(argv, argv + argc);
    arguments.push_back(nullptr);
    int count = argc;
    benchmark::Initialize(&count, arguments.data());
    if (count > 1)
      fail("unknown flag '{}': hwc bench takes Google Benchmark's, --benchmark_filter=REGEX for one", arguments[1]);
    setThreads(options.threads > 0 ? options.threads : availableCores());
    runtime::Program loaded(program);
    loaded.load();
    StudyOptions study;
    study.data = options.data;
    catchSignals();
    BenchStudy bench(loaded, study);
    bench.run();
    bench.report.finish();
    if (bench.found == 0)
      fail("{} trains nothing, so there is nothing to time", loaded.plan.name);
    return 0;
  } catch (const Interrupted &) {
    return 130;
  } catch (const std::exception &e) {
    fmt::print(stderr, "error: {}\n", e.what());
    return 1;
  }
}

} // namespace hw
