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
    for (const Run &run : runs) {
      std::vector<double> &times = seconds[run.run_name.function_name];
      if (run.run_type == Run::RT_Iteration && run.iterations > 0)
        times.push_back(run.real_accumulated_time / static_cast<double>(run.iterations));
    }
    inner->ReportRuns(runs);
  }
  void finish() {
    if (started)
      inner->Finalize();
  }
  /// Whether people read it, not programs.
  bool isConsole() const { return dynamic_cast<const benchmark::ConsoleReporter *>(inner.get()) != nullptr; }

  std::map<std::string, std::vector<double>>
      seconds; ///< of an iteration: of each benchmark that ran, once a repetition

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

private:
  Study &study;
  Training training;
  const int64_t full;
  int64_t step = 0;
};

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
  TimedStudy(runtime::Program &program, StudyOptions options, OneReport &report)
      : BenchStudy(program, std::move(options)), report(report) {
    report.SetErrorStream(&said);
  }
  std::vector<std::string> names; ///< of all benchmarks
  size_t matched = 0;             ///< how many of them the filter takes
  std::string refusal;            ///< Google Benchmark's words where it takes none

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
  std::ostringstream said; // while benchmarks run
};

/// Steps with marks in the place of each training that Google Benchmark has timed.
class MarkedStudy : public BenchStudy {
public:
  MarkedStudy(runtime::Program &program, StudyOptions options, const OneReport &report, bool timeline)
      : BenchStudy(program, std::move(options)), marks(program.descriptor, timeline ? Marks::timelineEvents : 0),
        report(report) {}
  Marks marks;
  struct Measured {
    Profile profile;
    double unmarked; ///< seconds of a step without marks; 0: not known
  };
  std::vector<Measured> measured;

protected:
  void replace(TrainNode &node, const std::string &name) override {
    const auto timed = report.seconds.find(name + ".step");
    if (timed == report.seconds.end())
      return;
    const Span span("training", name);
    Steps steps(*this, node);
    measure(steps, 0.05);
    marks.reset();
    Profile profile = measure(steps, 0.3);
    profile.name = name + ".step";
    profile.entries = marks.times();
    measured.push_back({std::move(profile), median(timed->second)});
  }

private:
  /// Steps for so long, but three at least.
  static Profile measure(Steps &steps, double seconds) {
    Profile profile;
    profile.threads = threads();
    const auto start = Clock::now();
    while (profile.steps < 3 || profile.seconds < seconds) {
      steps.next();
      ++profile.steps;
      profile.seconds = secondsSince(start);
      if (wasInterrupted())
        throw Interrupted();
    }
    return profile;
  }

  static double median(std::vector<double> values) {
    if (values.empty())
      return 0;
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
  }

  const OneReport &report;
};

/// Whether the marks made a step so much slower that its table has to be read with that in mind.
std::string slowdown(const MarkedStudy::Measured &measured) {
  const double marked = measured.profile.seconds / static_cast<double>(measured.profile.steps);
  if (measured.unmarked == 0 || marked < 1.05 * measured.unmarked)
    return "";
  return fmt::format("With the clock readings behind this table a step took {:.0f} % longer than without.\n",
                     100 * (marked / measured.unmarked - 1));
}

void printTables(const std::vector<MarkedStudy::Measured> &measured, const hw_program &program, const Plan &plan,
                 std::FILE *stream) {
  const Limits limits = measureLimits(program.vector_bytes);
  const double peak = plan.precision == "f64" ? limits.flopsF64 : limits.flopsF32;
  fmt::print(stream, "\n{}", describeLimits(limits, threads(), program.vector_bytes));
  for (const auto &each : measured)
    fmt::print(stream, "\n{}{}", kernelTable(each.profile, limits, peak), slowdown(each));
}

/// Google Benchmark over the program without marks.
void timeProgram(const hw_program &program, const StudyOptions &options, OneReport &report) {
  runtime::Program loaded(program);
  loaded.load();
  TimedStudy study(loaded, options, report);
  study.run();
  report.finish();
  if (study.names.empty())
    fail("{} trains nothing, so there is nothing to time", loaded.plan.name);
  if (study.matched == 0)
    fail("nothing to time: {}; there are {}", study.refusal, fmt::join(study.names, ", "));
}

/// The program with marks: tables and, with a file for it, a timeline.
void timeKernels(const hw_program &program, const StudyOptions &options, const OneReport &report, bool tables,
                 AtomicFile *trace) {
  runtime::Program loaded(program);
  loaded.load();
  MarkedStudy study(loaded, options, report, trace != nullptr);
  study.run();
  // The limits come after the steps: measuring them empties the caches.
  if (tables && !study.measured.empty())
    printTables(study.measured, program, loaded.plan, report.isConsole() ? stdout : stderr);
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
    timeProgram(program, study, report);
    const bool tables = options.kernels.value_or(report.isConsole());
    if ((tables || trace) && !report.seconds.empty())
      timeKernels(marked(), study, report, tables, trace ? &*trace : nullptr);
    return 0;
  } catch (const Interrupted &) {
    return 130;
  } catch (const std::exception &e) {
    fmt::print(stderr, "error: {}\n", e.what());
    return 1;
  }
}

} // namespace hw
