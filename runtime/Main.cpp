#include "runtime/Main.h"

#include "runtime/RunJson.h"
#include "runtime/Study.h"
#include "runtime/Threads.h"
#include "runtime/Timeline.h"
#include "runtime/formats/Text.h"

#include <CLI/CLI.hpp>

#include <charconv>
#include <ctime>
#include <optional>

namespace hw {

using namespace runtime;

void addRunFlags(CLI::App &app, RunFlags &flags) {
  app.add_option("--set", flags.set, "give a setting of the file another value; can be repeated")
      ->type_name("NAME=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--threads", flags.threads, "threads to run on (default: one a core)")
      ->type_name("N")
      ->check(CLI::Range(1, 4096));
  app.add_option("--data", flags.data, "folder that the paths of data sets start from (default: .)")->type_name("DIR");
  app.add_option("--out", flags.out, "folder for results (default: out/<name>)")->type_name("DIR");
  app.add_flag("--force", flags.force, "replace the files of an earlier run in the folder for results");
  app.add_option("--trace", flags.trace, "file for a timeline in Chrome's trace format")->type_name("FILE");
  app.add_flag("--quiet", flags.quiet, "no progress");
}

std::pair<std::string, double> parseSetting(const std::string &text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    fail("--set wants NAME=VALUE, but found {}", inQuotes(text));
  const char *begin = text.data() + equals + 1, *end = text.data() + text.size();
  if (begin < end && *begin == '+')
    ++begin;
  double value = 0;
  if (const auto [stop, error] = std::from_chars(begin, end, value);
      begin == end || error != std::errc() || stop != end)
    fail("--set {}: {} is not a number", inQuotes(text.substr(0, equals)), inQuotes(text.substr(equals + 1)));
  return {text.substr(0, equals), value};
}

static std::string settingList(const Plan &plan) {
  if (plan.settings.empty())
    return "it has none";
  std::string list = "its settings are ";
  for (size_t i = 0; i < plan.settings.size(); ++i)
    list += fmt::format("{}{} = {}", i ? ", " : "", plan.settings[i].name, shortest(plan.settings[i].value));
  return list;
}

static void applySettings(Plan &plan, const RunFlags &flags, RunMode mode) {
  for (const std::string &text : flags.set) {
    const auto [name, value] = parseSetting(text);
    const auto found =
        std::find_if(plan.settings.begin(), plan.settings.end(), [&](const Setting &s) { return s.name == name; });
    if (found == plan.settings.end())
      fail("there is no setting {} in {}: {}", inQuotes(name), plan.name, settingList(plan));
    if (found->fixed && value != found->value) {
      if (mode == RunMode::executable)
        fail("{0} is fixed at {1} in this program, as a shape or an `if` depends on it: build another with hwc build "
             "--set {0}={2} FILE",
             name, shortest(found->value), shortest(value));
      fail("{} was compiled with {} = {}, not {}", plan.name, name, shortest(found->value), shortest(value));
    }
    found->value = value;
  }
}

static std::string describe(const Plan &plan) {
  std::string text;
  auto list = [&](const char *title, const std::vector<std::string> &names) {
    if (names.empty())
      return;
    text += fmt::format("{}\n", title);
    for (const std::string &name : names)
      text += fmt::format("  {}\n", oneLine(name));
  };
  std::vector<std::string> settings, tables;
  for (const Setting &setting : plan.settings)
    settings.push_back(fmt::format("{} = {}{}", setting.name, shortest(setting.value),
                                   setting.fixed ? "  (fixed: needs a new build)" : ""));
  for (const auto &table : plan.tables)
    if (!table->hidden()) {
      std::string columns;
      for (const auto &column : table->columns())
        columns += (columns.empty() ? "" : ", ") + column.name;
      tables.push_back(fmt::format("{}.csv: {}", table->name(), columns));
    }
  list("Settings (--set NAME=VALUE):", settings);
  list("Tables:", tables);
  list("Figures:", plan.figures);
  list("Saves:", plan.files);
  if (plan.quick)
    text += "Built with --quick: a first look, not the full setting.\n";
  return text;
}

std::string describeProgram(const hw_program &program) { return describe(readPlanHead(program)); }

static std::string now() {
  char text[32];
  const std::time_t time = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&time, &parts);
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

static int complain(const std::string &sentence) {
  fmt::print(stderr, "error: {}\n", sentence);
  return 1;
}

static int runLoaded(runtime::Program &program, const RunFlags &flags, RunMode mode,
                     const std::vector<std::string> &command) {
  const auto start = Clock::now();
  RunFacts facts;
  facts.command = command;
  facts.started = now();
  applySettings(program.plan, flags, mode);
  setThreads(flags.threads > 0 ? flags.threads : availableCores());
  std::optional<OutDir> out;
  if (mode != RunMode::gradcheck)
    out.emplace(flags.out.empty() ? "out/" + program.plan.name : flags.out,
                flags.force ? OutDir::Existing::overwrite : OutDir::Existing::refuse);
  std::optional<AtomicFile> trace;
  if (!flags.trace.empty())
    trace.emplace(flags.trace);
  Progress progress(stderr, Progress::styleFor(stderr, flags.quiet));
  StudyOptions options;
  options.data = flags.data;
  options.out = out ? &*out : nullptr;
  options.progress = &progress;
  options.printGradchecks = mode == RunMode::gradcheck;
  std::optional<Marks> marks;
  std::optional<Study> study;
  int status = 0;
  try {
    program.load();
    facts.loadSeconds = secondsSince(start);
    if (trace)
      marks.emplace(program.descriptor, Marks::timelineEvents);
    study.emplace(program, options);
    catchSignals();
    study->run();
    facts.status = "finished";
    if (mode == RunMode::gradcheck && study->failedGradcheck) {
      fmt::print(stderr, "error: a gradient or a Hessian-vector product does not agree with central differences\n");
      status = 1;
    }
  } catch (const Interrupted &) {
    facts.status = "interrupted";
    status = 130;
  } catch (const std::bad_alloc &) {
    facts.status = "failed";
    facts.error = "the machine is out of memory: take a smaller batch or network, or record less";
    status = 1;
  } catch (const std::exception &e) {
    facts.status = "failed";
    facts.error = e.what();
    status = 1;
  }
  progress.clear();
  // Whatever happened, what was recorded is kept.
  if (out) {
    try {
      if (study)
        study->writeTables(true);
      facts.seconds = secondsSince(start);
      writeRunJson(*out, program, study ? &*study : nullptr, facts);
    } catch (const std::exception &e) {
      // The first error is the one to tell.
      if (facts.error.empty())
        facts.error = e.what();
      status = status ? status : 1;
    }
  }
  if (marks) {
    try {
      writeTimeline(*trace, *marks, program.plan.name);
      if (!flags.quiet)
        fmt::print(stderr, "{}\n", describeTimeline(*trace, *marks));
    } catch (const std::exception &e) {
      if (facts.error.empty())
        facts.error = e.what();
      status = status ? status : 1;
    }
  }
  if (!facts.error.empty())
    complain(facts.error);
  if (facts.status == "interrupted")
    fmt::print(stderr, "interrupted{}\n", out ? ": what there is so far is in " + out->path() : "");
  else if (facts.status == "finished" && out && !flags.quiet)
    fmt::print(stderr, "results in {}\n", out->path());
  return status;
}

int runProgram(const hw_program &program, const RunFlags &flags, RunMode mode,
               const std::vector<std::string> &command) {
  try {
    runtime::Program loaded(program);
    return runLoaded(loaded, flags, mode, command);
  } catch (const std::exception &e) {
    return complain(e.what());
  }
}

int runExecutable(const hw_program &program, int argc, char **argv) {
  try {
    runtime::Program loaded(program);
    const Plan &plan = loaded.plan;
    RunFlags flags;
    CLI::App app(fmt::format("Trains and records what {}.hw says{}; compiled by hwc {}.", plan.name,
                             plan.quick ? ", in its quick setting" : "", HW_VERSION));
    app.set_version_flag("--version", fmt::format("{} (hwc {}, {}, compiled for {})", plan.name, HW_VERSION,
                                                  plan.precision, program.cpu ? program.cpu : "any CPU"));
    addRunFlags(app, flags);
    app.footer([&] { return "\n" + describe(plan); });
    try {
      app.parse(argc, argv);
    } catch (const CLI::Success &e) {
      return app.exit(e);
    } catch (const CLI::ParseError &e) {
      return complain(fmt::format("{} (see {} --help)", e.what(), argv[0]));
    }
    return runLoaded(loaded, flags, RunMode::executable, {argv, argv + argc});
  } catch (const std::exception &e) {
    return complain(e.what());
  }
}

} // namespace hw
