#include "runtime/Bench.h"

#include "runtime/KernelTable.h"
#include "runtime/Limits.h"
#include "runtime/Marks.h"
#include "runtime/Study.h"
#include "runtime/Threads.h"
#include "runtime/Timeline.h"

#include <benchmark/benchmark.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <sstream>

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
    return inner->ReportContext(context);
  }
  void ReportRuns(const std::vector<Run> &runs) override {
    for (const Run &run : runs)
      timed.insert(run.run_name.function_name);
    inner->ReportRuns(runs);
  }
  void finish() {
    if (started)
      inner->Finalize();
  }
  /// Whether people read it, not programs.
  bool isConsole() const { return dynamic_cast<const benchmark::ConsoleReporter *>(inner.get()) != nullptr; }

  std::set<std::string> timed; ///< benchmarks that ran

private:
  std::unique_ptr<benchmark::BenchmarkReporter> inner{benchmark::CreateDefaultDisplayReporter()};
  bool started = false;
};

/// The steps of a training that are timed.
class Steps {
public:
  Steps(Study &study, TrainNode &node)
      : study(study), training(study, node),
        full(std::max<int64_t>(node.hasTail() ? training.epochSteps() - 1 : training.epochSteps(), 1)) {
    // Indices and clocks of a first step, for whoever is timed before.
    training.place(0);
  }
  /// Full batches of the first epoch, over and over: shuffling is no part of a step.
  void next() {
    training.turn(step);
    step = step + 1 == full ? 0 : step + 1;
    for (const auto &table : study.program.plan.tables)
      table->truncate(0);
  }
  /// The times of steps that take `seconds` together, but three at least.
  std::vector<double> run(double seconds) {
    std::vector<double> times;
    for (double sum = 0; times.size() < 3 || sum < seconds; sum += times.back()) {
      const auto start = Clock::now();
      next();
      times.push_back(secondsSince(start));
      if (wasInterrupted())
        throw Interrupted();
    }
    return times;
  }

private:
  Study &study;
  Training training;
  const int64_t full;
  int64_t step = 0;
};

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Runs a plan with something else in the place of each training.
class BenchStudy : public Study {
public:
  using Study::Study;

protected:
  void train(TrainNode &node) override {
    // Each once: a loop's other turns have the same shapes.
    if (nodes.insert(&node).second)
      replace(node, nameOf(node));
  }
  virtual void replace(TrainNode &node, const std::string &name) = 0;

  std::set<const Node *> nodes;

private:
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
};

/// Google Benchmark in the place of each training.
class TimedStudy : public BenchStudy {
public:
  /// `compare`: take stepTimes too.
  TimedStudy(runtime::Program &program, StudyOptions options, OneReport &report, bool compare)
      : BenchStudy(program, std::move(options)), report(report), compare(compare) {
    report.SetErrorStream(&said);
  }
  std::vector<std::string> names;          ///< of all benchmarks
  size_t matched = 0;                      ///< how many of them the filter takes
  std::string refusal;                     ///< Google Benchmark's words where it takes none
  std::map<std::string, double> stepTimes; ///< medians, of the trainings whose step was timed

protected:
  // A call that is there to be timed.
  void benchCall(CallNode &node) override {
    if (!nodes.insert(&node).second)
      return;
    benchmark::ClearRegisteredBenchmarks();
    registerCall(node.bench, node);
    runRegistered();
  }

  // Its inputs are what they are at the training's first step.
  void replace(TrainNode &node, const std::string &name) override {
    Steps steps(*this, node);
    benchmark::ClearRegisteredBenchmarks();
    for (const BenchCase &item : node.bench)
      registerCall(name + "." + item.name, *item.call);
    double flops = 0, bytes = 0;
    addCosts(node.body, flops, bytes);
    add(name + ".step", [&](benchmark::State &state) {
      for (auto _ : state)
        steps.next();
      count(state, flops, bytes);
    });
    runRegistered();
    if (compare && report.timed.contains(name + ".step"))
      stepTimes[name] = median(steps.run(0.2));
  }

private:
  template <class Body> void add(const std::string &name, Body body) {
    names.push_back(name);
    benchmark::RegisterBenchmark(name.c_str(), body)->UseRealTime();
  }
  void registerCall(const std::string &name, const CallNode &call) {
    add(name, [this, &call](benchmark::State &state) {
      for (auto _ : state)
        program.run(call);
      count(state, call.entry->flops, call.entry->bytes);
    });
  }
  void runRegistered() {
    const size_t here = benchmark::RunSpecifiedBenchmarks(&report);
    matched += here;
    const std::string text = std::exchange(said, std::ostringstream()).str();
    // That the filter takes nothing of one training is of interest only if it takes nothing of any.
    if (here > 0)
      std::cerr << text;
    else
      refusal = text.substr(0, text.find('\n'));
  }

  OneReport &report;
  const bool compare;
  std::ostringstream said; // while benchmarks run
};

/// Steps with marks in the place of each training whose step was timed without.
class MarkedStudy : public BenchStudy {
public:
  MarkedStudy(runtime::Program &program, StudyOptions options, const std::map<std::string, double> &stepTimes,
              bool timeline)
      : BenchStudy(program, std::move(options)), marks(program.descriptor, timeline ? Marks::timelineEvents : 0),
        stepTimes(stepTimes) {}
  Marks marks;
  struct Measured {
    Profile profile;
    double slowdown; ///< a step's time with marks over that without
  };
  std::vector<Measured> measured;

protected:
  void replace(TrainNode &node, const std::string &name) override {
    const auto without = stepTimes.find(name);
    if (without == stepTimes.end())
      return;
    const Span span("training", name);
    Steps steps(*this, node);
    steps.run(0.05);
    marks.reset();
    const std::vector<double> times = steps.run(0.3);
    measured.push_back({{name + ".step", static_cast<int64_t>(times.size()),
                         std::accumulate(times.begin(), times.end(), 0.0), threads(), marks.times()},
                        median(times) / without->second});
  }

private:
  const std::map<std::string, double> &stepTimes;
};

void printTables(const std::vector<MarkedStudy::Measured> &measured, const hw_program &program, const Plan &plan,
                 std::FILE *stream) {
  const Limits limits = measureLimits(program.vector_bytes);
  const double peak = plan.precision == "f64" ? limits.flopsF64 : limits.flopsF32;
  fmt::print(stream, "\n{}", describeLimits(limits, threads(), program.vector_bytes));
  for (const auto &each : measured) {
    fmt::print(stream, "\n{}", kernelTable(each.profile, limits, peak));
    if (each.slowdown > 1.05)
      fmt::print(stream, "The clock readings behind this table make a step {:.0f} % slower.\n",
                 100 * each.slowdown - 100);
  }
}

/// Google Benchmark over the program without marks. Returns what MarkedStudy takes, if that is wanted.
std::map<std::string, double> timeProgram(const hw_program &program, const StudyOptions &options, OneReport &report,
                                          bool compare) {
  runtime::Program loaded(program);
  loaded.load();
  TimedStudy study(loaded, options, report, compare);
  study.run();
  report.finish();
  if (study.names.empty())
    fail("{} trains nothing, so there is nothing to time", loaded.plan.name);
  if (study.matched == 0)
    fail("nothing to time: {}; there are {}", study.refusal, fmt::join(study.names, ", "));
  return study.stepTimes;
}

/// The program with marks: its tables, if there is a stream for them, and its timeline, if there is a file.
void timeKernels(const hw_program &program, const StudyOptions &options, const std::map<std::string, double> &stepTimes,
                 std::FILE *tables, AtomicFile *trace) {
  runtime::Program loaded(program);
  loaded.load();
  MarkedStudy study(loaded, options, stepTimes, trace != nullptr);
  study.run();
  // The limits come after the steps: measuring them empties the caches.
  if (tables)
    printTables(study.measured, program, loaded.plan, tables);
  if (trace) {
    writeTimeline(*trace, study.marks, loaded.plan.name);
    fmt::print(stderr, "{}\n", describeTimeline(*trace, study.marks));
  }
}

} // namespace

int benchProgram(const hw_program &program, const std::function<const hw_program &()> &marked,
                 const BenchOptions &options, int argc, char **argv) {
  try {
    std::vector<char *> arguments(argv, argv + argc);
    arguments.push_back(nullptr);
    int count = argc;
    benchmark::Initialize(&count, arguments.data());
    if (count > 1)
      fail("unknown flag '{}': hwc bench takes Google Benchmark's, --benchmark_filter=REGEX for one", arguments[1]);
    setThreads(options.threads > 0 ? options.threads : availableCores());
    std::optional<AtomicFile> trace;
    if (!options.trace.empty())
      trace.emplace(options.trace);
    StudyOptions study;
    study.data = options.data;
    catchSignals();
    OneReport report;
    std::FILE *tables = report.isConsole() ? stdout : stderr;
    if (!options.kernels.value_or(report.isConsole()))
      tables = nullptr;
    const std::map<std::string, double> stepTimes = timeProgram(program, study, report, tables || trace);
    if (!stepTimes.empty())
      timeKernels(marked(), study, stepTimes, tables, trace ? &*trace : nullptr);
    else if (trace)
      fail("--trace shows training steps, but --benchmark_filter={} takes none",
           inQuotes(benchmark::GetBenchmarkFilter()));
    return 0;
  } catch (const Interrupted &) {
    return 130;
  } catch (const std::exception &e) {
    fmt::print(stderr, "error: {}\n", e.what());
    return 1;
  }
}

} // namespace hw
