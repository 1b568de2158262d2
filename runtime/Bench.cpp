#include "runtime/Bench.h"

#include "runtime/KernelTable.h"
#include "runtime/Limits.h"
#include "runtime/Marks.h"
#include "runtime/Study.h"
#include "runtime/Threads.h"
#include "runtime/Timeline.h"
#include "runtime/formats/OutDir.h"
#include "runtime/formats/Streams.h"

#include <benchmark/benchmark.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
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
  /// `file`: where --benchmark_out wants the same, as `format` says; or null.
  OneReport(std::optional<AtomicFile> file, const std::string &format) : file(std::move(file)) {
    SetErrorStream(&errors);
    if (!this->file)
      return;
    if (format == "console")
      second = std::make_unique<benchmark::ConsoleReporter>(benchmark::ConsoleReporter::OO_Tabular);
    else if (format == "csv") {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
      second = std::make_unique<benchmark::CSVReporter>();
#pragma GCC diagnostic pop
    } else if (format == "json")
      second = std::make_unique<benchmark::JSONReporter>();
    else
      fail("--benchmark_out_format takes json, console or csv, not {}", inQuotes(format));
    second->SetOutputStream(&text);
    second->SetErrorStream(&errors);
  }
  bool ReportContext(const Context &context) override {
    if (std::exchange(started, true))
      return true;
    if (second)
      second->ReportContext(context);
    return inner->ReportContext(context);
  }
  void ReportRuns(const std::vector<Run> &runs) override {
    for (const Run &run : runs)
      timed.insert(run.run_name.function_name);
    inner->ReportRuns(runs);
    if (second)
      second->ReportRuns(runs);
  }
  void finish() {
    if (!started)
      return;
    inner->Finalize();
    if (!second)
      return;
    second->Finalize();
    file->write(text.str());
    file->commit();
  }
  /// Whether people read it, not programs.
  bool isConsole() const { return dynamic_cast<const benchmark::ConsoleReporter *>(inner) != nullptr; }

  std::set<std::string> timed; ///< benchmarks that ran
  std::ostringstream errors;   ///< what the library says of the flags

private:
  benchmark::BenchmarkReporter *const inner =
      benchmark::CreateDefaultDisplayReporter(); // the library's own, one a process
  std::optional<AtomicFile> file;
  std::ostringstream text;
  std::unique_ptr<benchmark::BenchmarkReporter> second;
  bool started = false;
};

/// The value of Google Benchmark's flag --`name`, taken out of the arguments and of the environment, which the library
/// reads too.
std::string takeFlag(std::vector<char *> &arguments, const std::string &name, std::string value) {
  std::string variable = name;
  std::transform(variable.begin(), variable.end(), variable.begin(), [](char c) { return std::toupper(c); });
  if (const char *given = std::getenv(variable.c_str()))
    value = given;
  unsetenv(variable.c_str());
  const std::string start = "--" + name + "=";
  std::erase_if(arguments, [&](const char *argument) {
    const bool isIt = std::string_view(argument).starts_with(start);
    if (isIt)
      value = argument + start.size();
    return isIt;
  });
  return value;
}

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
  /// Some milliseconds of steps, one at least.
  struct Block {
    int64_t steps = 0;
    double seconds = 0;
    double stepSeconds() const { return seconds / static_cast<double>(steps); }
  };
  Block run() {
    Block block;
    const auto start = Clock::now();
    while (block.seconds < 0.01) {
      next();
      ++block.steps;
      block.seconds = secondsSince(start);
      if (wasInterrupted())
        throw Interrupted();
    }
    return block;
  }
  /// Blocks for 0.3 seconds, three at least; each is handed to `look` if it is the quickest so far. Where other
  /// programs run beside, that is the one they disturbed least.
  template <class Look> void quickest(const Look &look, const std::function<void()> &beforeEach = [] {}) {
    const auto start = Clock::now();
    double best = INFINITY;
    for (int count = 0; count < 3 || secondsSince(start) < 0.3; ++count) {
      beforeEach();
      const Block block = run();
      if (block.stepSeconds() < best)
        look(block);
      best = std::min(best, block.stepSeconds());
    }
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
    if (trainings.insert(&node).second)
      replace(node, nameOf(node));
  }
  virtual void replace(TrainNode &node, const std::string &name) = 0;

private:
  /// As its entries are called: "train1".
  std::string nameOf(const TrainNode &node) const {
    for (const auto &inner : node.body)
      if (inner->kind == NodeKind::call) {
        const std::string entry = static_cast<const CallNode &>(*inner).entry->name;
        if (const size_t at = entry.find(".step"); at != std::string::npos)
          return entry.substr(0, at);
      }
    return fmt::format("train{}", trainings.size());
  }

  std::set<const Node *> trainings;
};

/// Google Benchmark in the place of each training.
class TimedStudy : public BenchStudy {
public:
  /// `compare`: take stepTimes too.
  TimedStudy(runtime::Program &program, StudyOptions options, OneReport &report, bool compare)
      : BenchStudy(program, std::move(options)), report(report), compare(compare) {}
  std::vector<std::string> names;          ///< of all benchmarks
  size_t matched = 0;                      ///< how many of them the filter takes
  std::string refusal;                     ///< Google Benchmark's words where it takes none
  std::map<std::string, double> stepTimes; ///< quickest, of the trainings whose step was timed

protected:
  // A call that is there to be timed.
  void benchCall(CallNode &node) override {
    if (!calls.insert(&node).second)
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
      steps.quickest([&](const Steps::Block &block) { stepTimes[name] = block.stepSeconds(); });
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
    const std::string text = std::exchange(report.errors, std::ostringstream()).str();
    // That the filter takes nothing of one training is of interest only if it takes nothing of any.
    if (here > 0)
      std::cerr << text;
    else
      refusal = text.substr(0, text.find('\n'));
  }

  OneReport &report;
  const bool compare;
  std::set<const Node *> calls;
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
    double unmarked = 0; ///< seconds of a step without marks
  };
  std::vector<Measured> measured;

protected:
  void replace(TrainNode &node, const std::string &name) override {
    const auto without = stepTimes.find(name);
    if (without == stepTimes.end())
      return;
    const Span span("training", name);
    Steps steps(*this, node);
    Measured result;
    steps.quickest(
        [&](const Steps::Block &block) {
          result = {{name + ".step", block.steps, block.seconds, threads(), marks.times()}, without->second};
        },
        [&] { marks.reset(); });
    measured.push_back(std::move(result));
  }

private:
  const std::map<std::string, double> &stepTimes;
};

void printTables(const std::vector<MarkedStudy::Measured> &measured, const hw_program &program, const Plan &plan,
                 std::FILE *stream) {
  const Limits limits = measureLimits(program.vector_bytes);
  const double peak = plan.precision == "f64" ? limits.flopsF64 : limits.flopsF32;
  put(stream, fmt::format("\n{}", describeLimits(limits, threads(), program.vector_bytes)));
  for (const auto &each : measured) {
    put(stream, fmt::format("\n{}", kernelTable(each.profile, limits, peak)));
    const double marked = each.profile.seconds / static_cast<double>(each.profile.steps);
    if (marked > 1.05 * each.unmarked)
      put(stream, fmt::format("With the clock readings behind this table a step took {}, without {}.\n",
                              describeDuration(marked), describeDuration(each.unmarked)));
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
    tell("{}", describeTimeline(*trace, study.marks));
  }
}

} // namespace

int benchProgram(const hw_program &program, const std::function<const hw_program &()> &marked,
                 const BenchOptions &options, int argc, char **argv) {
  try {
    std::vector<char *> arguments(argv, argv + argc);
    // The library would open the file anew for every training, and over whatever is there.
    const std::string output = takeFlag(arguments, "benchmark_out", "");
    const std::string format = takeFlag(arguments, "benchmark_out_format", "json");
    int count = static_cast<int>(arguments.size());
    arguments.push_back(nullptr);
    benchmark::Initialize(&count, arguments.data());
    if (count > 1)
      fail("unknown flag '{}': hwc bench takes Google Benchmark's, --benchmark_filter=REGEX for one", arguments[1]);
    setThreads(options.threads > 0 ? options.threads : availableCores());
    std::optional<AtomicFile> trace;
    if (!options.trace.empty())
      trace.emplace(options.trace);
    StudyOptions study;
    study.sideBySide = false; // a step is timed on all threads
    study.data = options.data;
    catchSignals();
    OneReport report(output.empty() ? std::nullopt : std::optional<AtomicFile>(output), format);
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
    return 128 + interruptSignal();
  } catch (const std::exception &e) {
    tell("error: {}", e.what());
    return 1;
  }
}

} // namespace hw
