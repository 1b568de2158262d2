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

/// Counters of a rate: what one iteration does.
void count(benchmark::State &state, double flops, double bytes) {
  using benchmark::Counter;
  if (flops > 0)
    state.counters["FLOP/s"] = Counter(flops, Counter::kIsIterationInvariantRate, Counter::OneK::kIs1000);
  if (bytes > 0)
    state.counters["B/s"] = Counter(bytes, Counter::kIsIterationInvariantRate, Counter::OneK::kIs1000);
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
  // Runs the benchmarks where the training would be: its inputs are what they are at its first step.
  void train(TrainNode &node) override {
    // One training of each label: a loop's other turns have the same shapes.
    if (!labels.insert(node.label).second)
      return;
    found += 1 + node.bench.size();
    Training training(*this, node);
    // Indices and clocks of a first step, also for the cases.
    training.place(0);
    benchmark::ClearRegisteredBenchmarks();
    for (const BenchCase &item : node.bench) {
      const CallNode &call = *item.call;
      benchmark::RegisterBenchmark((node.label + "/" + item.name).c_str(),
                                   [this, &call](benchmark::State &state) {
                                     for (auto _ : state)
                                       program.run(call);
                                     count(state, call.entry->flops, call.entry->bytes);
                                   })
          ->UseRealTime()
          ->MeasureProcessCPUTime();
    }
    double flops = 0, bytes = 0;
    addCosts(node.body, flops, bytes);
    benchmark::RegisterBenchmark((node.label + "/step").c_str(),
                                 [&](benchmark::State &state) {
                                   int64_t step = 0;
                                   const int64_t full =
                                       node.hasTail() ? training.epochSteps() - 1 : training.epochSteps();
                                   // Full batches of the first epoch, over and over: shuffling is no part of a step.
                                   for (auto _ : state) {
                                     training.turn(step);
                                     step = step + 1 == full ? 0 : step + 1;
                                     for (const auto &table : program.plan.tables)
                                       table->truncate(0);
                                   }
                                   count(state, flops, bytes);
                                 })
        ->UseRealTime()
        ->MeasureProcessCPUTime();
    benchmark::RunSpecifiedBenchmarks(&report);
  }

private:
  std::set<std::string> labels;
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
