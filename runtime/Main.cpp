#include "runtime/Main.h"

#include "runtime/RunJson.h"
#include "runtime/Study.h"
#include "runtime/Threads.h"
#include "runtime/Timeline.h"
#include "runtime/formats/Inputs.h"
#include "runtime/formats/Streams.h"
#include "runtime/formats/Text.h"

#include <CLI/CLI.hpp>

#include <charconv>
#include <cstring>
#include <ctime>
#include <filesystem>
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
  app.add_flag("--resume", flags.resume,
               "go on, bit for bit, where the run in the folder for results was interrupted or killed");
  app.add_option("--checkpoint", flags.checkpoint, "seconds from one checkpoint to the next (default: 30)")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.0, 60.0));
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

static constexpr const char *outOfMemory =
    "the machine is out of memory: take a smaller batch or network, or record less";

static int complain(const std::string &sentence) {
  tell("error: {}", sentence);
  return 1;
}

/// What --resume goes on from: a checkpoint, or nothing, if the run was killed before it wrote the first.
static std::unique_ptr<CheckpointFile> findCheckpoint(const std::string &folder) {
  const std::string path = folder + "/" + checkpointName + checkpointExtension;
  return std::filesystem::exists(path) ? std::make_unique<CheckpointFile>(path) : nullptr;
}

/// Settings that are not fixed, and the number of threads, are the checkpoint's where the command line does not say.
static void adopt(const CheckpointState &state, Plan &plan, RunFlags &flags) {
  for (const auto &[name, value] : state.run.settings)
    for (Setting &setting : plan.settings)
      if (setting.name == name && !setting.fixed &&
          std::none_of(flags.set.begin(), flags.set.end(),
                       [&](const std::string &text) { return parseSetting(text).first == name; }))
        setting.value = value;
  if (flags.threads == 0)
    flags.threads = static_cast<int>(state.run.threads);
}

/// A word as a shell takes it.
static std::string shellWord(const std::string &word) {
  const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](unsigned char c) {
    return std::isalnum(c) || std::strchr("_-+=./,:@%", c);
  });
  if (plain)
    return word;
  if (escaped(word) != word || word.find('\n') != std::string::npos) {
    // Bytes that act on a terminal, in the shell's own escapes.
    std::string quoted = "$'";
    for (unsigned char c : word)
      quoted += c < 0x20 || c >= 0x7F    ? fmt::format("\\x{:02x}", c)
                : c == '\'' || c == '\\' ? fmt::format("\\{}", static_cast<char>(c))
                                         : std::string(1, static_cast<char>(c));
    return quoted + "'";
  }
  std::string quoted = "'";
  for (char c : word)
    quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

/// The command line that goes on where this one was stopped.
static std::string resumeCommand(const std::vector<std::string> &command) {
  std::string line;
  for (const std::string &word : command)
    if (word != "--force" && word != "--resume")
      line += shellWord(word) + " ";
  return line + "--resume";
}

/// One run of a program, from its flags to its exit status.
class Run {
public:
  Run(runtime::Program &program, const RunFlags &flags, RunMode mode, const std::vector<std::string> &command)
      : program(program), flags(flags), mode(mode), command(command),
        progress(stderr, Progress::styleFor(stderr, flags.quiet)) {}

  int run() {
    applySettings(program.plan, flags, mode);
    if (mode != RunMode::gradcheck && !openFolder())
      return 0;
    prepare();
    return finish(execute());
  }

private:
  runtime::Program &program;
  RunFlags flags;
  const RunMode mode;
  const std::vector<std::string> &command;
  const Clock::time_point start = Clock::now();
  Progress progress;
  std::optional<OutDir> out;
  std::unique_ptr<CheckpointFile> checkpoint;
  std::optional<AtomicFile> trace;
  std::optional<Marks> marks;
  std::optional<Study> study;
  RunFacts facts;

  /// Finds what --resume goes on from. False if there is nothing left to do.
  bool openFolder() {
    const std::string folder = flags.out.empty() ? "out/" + program.plan.name : flags.out;
    if (flags.resume && flags.force)
      fail("--resume goes on with a run and --force replaces it: give one of them");
    out.emplace(folder, flags.force || flags.resume ? OutDir::Existing::overwrite : OutDir::Existing::refuse);
    if (!flags.resume)
      return true;
    checkpoint = findCheckpoint(folder);
    if (checkpoint) {
      adopt(checkpoint->state(), program.plan, flags);
      return true;
    }
    const auto mark = readRunMark(folder);
    if (!mark && !out->wasEmpty())
      fail("{} holds files but no run to resume: choose another folder with --out, or replace them with --force",
           inQuotes(folder, 1000));
    if (mark && mark->identity != program.plan.identity)
      fail("{} holds a run of another program, or of {} before it was changed: choose another folder with --out, or "
           "replace it with --force",
           inQuotes(folder, 1000), program.plan.name);
    if (mark && mark->status == "finished") {
      if (!flags.quiet)
        tell("the run in {} is finished; --force repeats it", out->path());
      return false;
    }
    return true;
  }

  /// In the folder for results the timeline must not take the place of what the run leaves there.
  void checkTraceName() const {
    const std::filesystem::path path(flags.trace);
    std::error_code error;
    const std::filesystem::path parent = path.has_parent_path() ? path.parent_path() : ".";
    if (out && std::filesystem::equivalent(parent, out->path(), error) &&
        (path.extension() != ".json" || path.filename() == "run.json"))
      fail("--trace {} lies in the folder for results, where it could take the place of one: give it a name that ends "
           "in .json and is not run.json",
           inQuotes(flags.trace, 1000));
  }

  /// All that can fail before the folder is touched.
  void prepare() {
    setThreads(flags.threads > 0 ? flags.threads : availableCores());
    if (!flags.trace.empty()) {
      checkTraceName();
      trace.emplace(flags.trace);
    }
    program.load();
    StudyOptions options;
    options.data = flags.data;
    options.out = out ? &*out : nullptr;
    options.progress = &progress;
    options.printGradchecks = mode == RunMode::gradcheck;
    options.checkpointSeconds = flags.checkpoint;
    study.emplace(program, options);
    CheckpointState &origin = study->origin;
    origin.run = program.identity();
    origin.started = now();
    origin.command = command;
    if (checkpoint) {
      const CheckpointState &state = checkpoint->state();
      checkSameRun(origin.run, state.run, checkpoint->place());
      study->resume(*checkpoint);
      origin.started = state.started;
      origin.command = state.command;
      origin.resumed = state.resumed + 1;
    }
    facts.command = origin.command;
    facts.started = origin.started;
    facts.resumed = origin.resumed;
    facts.loadSeconds = secondsSince(start);
    if (trace)
      marks.emplace(program.descriptor, Marks::timelineEvents);
    if (!out)
      return;
    if (!checkpoint)
      out->remove(checkpointName, checkpointExtension); // of a run that this one replaces
    facts.status = "running";
    writeRunJson(*out, program, nullptr, facts);
  }

  int execute() {
    try {
      catchSignals();
      study->run();
      study->finishCheckpoint();
      facts.status = "finished";
      if (mode != RunMode::gradcheck || !study->failedGradcheck)
        return 0;
      tell("error: a gradient or a Hessian-vector product does not agree with central differences");
      return 1;
    } catch (const Interrupted &) {
      facts.status = "interrupted";
      return 128 + interruptSignal();
    } catch (const std::bad_alloc &) {
      facts.error = outOfMemory;
    } catch (const std::exception &e) {
      facts.error = e.what();
    }
    facts.status = "failed";
    return 1;
  }

  /// Writes something that a run leaves, however it ended. The first error is the one to tell.
  template <class Write> void leave(int &status, Write &&write) {
    try {
      write();
    } catch (const std::exception &e) {
      if (facts.error.empty())
        facts.error = e.what();
      status = status ? status : 1;
    }
  }

  int finish(int status) {
    progress.clear();
    if (out)
      leave(status, [&] {
        study->writeTables(true);
        facts.seconds = study->elapsed();
        writeRunJson(*out, program, &*study, facts);
        if (facts.status == "finished")
          out->remove(checkpointName, checkpointExtension);
      });
    if (marks)
      leave(status, [&] {
        writeTimeline(*trace, *marks, program.plan.name);
        if (!flags.quiet)
          tell("{}", describeTimeline(*trace, *marks));
      });
    if (!facts.error.empty())
      complain(facts.error);
    if (facts.status == "interrupted")
      tell("interrupted{}", out ? "; to go on: " + resumeCommand(command) : "");
    else if (facts.status == "finished" && out && !flags.quiet)
      tell("results in {}", escaped(out->path(), false));
    return status;
  }
};

int runProgram(const hw_program &program, const RunFlags &flags, RunMode mode,
               const std::vector<std::string> &command) {
  try {
    runtime::Program loaded(program);
    return Run(loaded, flags, mode, command).run();
  } catch (const std::bad_alloc &) {
    return complain(outOfMemory);
  } catch (const std::exception &e) {
    return complain(e.what());
  }
}

static int runCommandLine(const hw_program &program, int argc, char **argv) {
  try {
    rememberInput("/proc/self/exe", "this program itself");
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
    const std::vector<std::string> command(argv, argv + argc);
    return Run(loaded, flags, RunMode::executable, command).run();
  } catch (const std::bad_alloc &) {
    return complain(outOfMemory);
  } catch (const std::exception &e) {
    return complain(e.what());
  }
}

int runExecutable(const hw_program &program, int argc, char **argv) {
  prepareProcess();
  return finishOutput(runCommandLine(program, argc, argv));
}

} // namespace hw
