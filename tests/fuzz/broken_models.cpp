// Broken model files, from a seed, through `hwc fmt`, `hwc check` and `hwc run --quick`. Whatever a file says, a
// command ends by itself, in memory that can be had, with what was asked for or with sentences that say where it is
// wrong. Each command runs in a process of its own, forked from this one, in which LLVM is loaded already.
#include "runtime/formats/Text.h"
#include "tests/Children.h"
#include "tests/fuzz/Clear.h"
#include "tests/fuzz/Mutate.h"
#include "tests/reference/Generate.h"
#include "tools/Commands.h"

#include <algorithm>
#include <csignal>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

namespace {

using namespace hw;
using tests::contentsOf;
namespace fs = std::filesystem;

/// A program of the corpus, or a random one, with a few mistakes.
std::string brokenModel(uint64_t seed, const std::vector<std::string> &corpus) {
  std::mt19937_64 random(seed);
  const auto any = [&] { return random() % 3 ? corpus[random() % corpus.size()] : reference::generate(random()).text; };
  std::string text = any();
  const std::string other = any();
  fuzz::Mutator mutator(random());
  const int mistakes = random() % 4 ? 1 : int(2 + random() % 4);
  for (int i = 0; i < mistakes; ++i)
    text = mutator.mistake(text, other);
  return text;
}

/// SIGTERM, which ends a training in good order, after half a second of processor time; and again, as the first may
/// come while the compiler still works, which heeds nothing.
void stopSoon() {
  std::signal(SIGTERM, [](int) {});
  sigevent event = {};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGTERM;
  timer_t timer;
  if (timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &timer) != 0)
    _exit(99);
  const itimerspec when = {{15, 0}, {0, 500'000'000}};
  timer_settime(timer, 0, &when, nullptr);
}

struct Command {
  const char *name;
  int (*run)();
};
const Command commands[] = {
    {"fmt", [] { return runFormat("model.hw", false, true); }},
    {"check",
     [] {
       Request request;
       request.path = "model.hw";
       return runCheck(request);
     }},
    {"run",
     [] {
       stopSoon();
       Request request;
       request.path = "model.hw";
       request.elaborate.quick = true;
       RunFlags flags;
       flags.threads = 2;
       return runRun(request, flags, {"hwc", "run"});
     }},
};

/// model.hw:LINE:COLUMN: error: ...
bool hasPlace(const std::string &line) {
  unsigned row = 0, column = 0;
  int end = -1;
  return std::sscanf(line.c_str(), "model.hw:%u:%u: error: %n", &row, &column, &end) == 2 && end > 0;
}

/// What is wrong with how a command ended, or "".
std::string problemOf(const std::string &command, const tests::Ending &ending, const std::string &said) {
  if (ending.isTimeout())
    return "takes too long";
  const int status = ending.exitStatus();
  if (status != 0 && status != 1 && !(command == "run" && status == 128 + SIGTERM))
    return "ends with " + ending.text();
  for (size_t at = 0; at < said.size();) {
    const CodePoint point = decodeUtf8(said, at);
    if (!point.valid || (!isPrintable(point.value) && point.value != '\n' && point.value != '\t'))
      return "prints what could harm a terminal";
    at += point.length;
  }
  bool isTold = false;
  std::istringstream lines(said);
  for (std::string line; std::getline(lines, line);) {
    const bool isPlaced = hasPlace(line), isLate = line.starts_with("error: ") || line.starts_with("hwc: ");
    // Without a place: what is known only as the program runs, or of the machine and the file as such.
    isTold |= isPlaced || (isLate && (command != "check" || line.find("memory") != std::string::npos));
    if ((isPlaced || isLate || line.find(": note: ") != std::string::npos) && fuzz::namesTheInside(line))
      return "names the compiler's inside";
    if (line.find("runtime error") != std::string::npos || line.find("Assertion") != std::string::npos)
      return "prints what is not for users";
  }
  if (status == 1 && !isTold)
    return "fails without an error that has its place";
  return "";
}

/// What a command has left where it should not write, or "".
std::string strayIn(const fs::path &folder) {
  static const std::set<std::string> known = {"model.hw", "out", "log", "compiled"};
  for (const fs::directory_entry &entry : fs::directory_iterator(folder))
    if (!known.contains(entry.path().filename()) && !entry.is_symlink())
      return "writes " + entry.path().filename().string() + ", outside of its output folder";
  return "";
}

/// All commands with the file model.hw of the working directory. Returns what is wrong, a line for each, or "".
std::string examine() {
  std::string problems;
  for (const Command &command : commands) {
    const pid_t child = tests::startChild({60, size_t(6) << 30, "log"}, [&] {
      const bool quiet = std::freopen("/dev/null", "w", stdout) && std::freopen("/dev/null", "r", stdin);
      return quiet ? command.run() : 99;
    });
    const tests::Ending ending = tests::waitFor(child);
    const std::string said = contentsOf("log");
    for (const std::string &problem : {problemOf(command.name, ending, said), strayIn(".")})
      if (!problem.empty())
        problems += std::string("  hwc ") + command.name + " " + problem + "\n" + said.substr(0, 2000) + "\n";
    if (std::string(command.name) == "check" && ending.exitStatus() == 0)
      std::ofstream("compiled");
  }
  return problems;
}

} // namespace

int main(int argc, char **argv) {
  uint64_t one = 0;
  tests::SeededRun run;
  std::string corpusFolder, keep = ".";
  CLI::App app("Broken model files through hwc fmt, check and run.");
  app.add_option("--corpus", corpusFolder, "what tests/fuzz/corpus.py wrote")->required();
  run.declare(app, "files", "file");
  app.add_option("--keep", keep, "folder for files that fail (default: here)");
  auto *printed = app.add_option("--print", one, "print the file of this seed and do nothing with it");
  CLI11_PARSE(app, argc, argv);

  std::vector<fs::path> paths;
  for (const fs::directory_entry &entry : fs::directory_iterator(corpusFolder + "/models"))
    paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end()); // a seed means the same file tomorrow
  std::vector<std::string> corpus;
  for (const fs::path &path : paths)
    corpus.push_back(contentsOf(path));
  if (corpus.empty()) {
    std::fprintf(stderr, "broken_models: there is no program in %s/models\n", corpusFolder.c_str());
    return 2;
  }
  if (*printed) {
    const std::string text = brokenModel(one, corpus);
    std::fwrite(text.data(), 1, text.size(), stdout);
    return 0;
  }
  run.begin("broken model files");

  const tests::ScratchFolder scratch("broken_models");
  const fs::path data = fs::absolute(corpusFolder) / "data", kept = fs::absolute(keep);
  const auto folderOf = [&](int i) { return scratch.path() / std::to_string(i); };

  int done = 0, failed = 0, compiled = 0;
  tests::eachInAChild(
      run.jobs,
      [&](int i) -> std::optional<pid_t> {
        if (!run.goesOn(i, failed))
          return std::nullopt;
        const fs::path folder = folderOf(i);
        fs::create_directories(folder);
        for (const fs::directory_entry &entry : fs::directory_iterator(data))
          fs::create_symlink(entry.path(), folder / entry.path().filename());
        std::ofstream(folder / "model.hw", std::ios::binary) << brokenModel(run.seed + uint64_t(i), corpus);
        return tests::startChild({400, 0, ""}, [&] {
          fs::current_path(folder);
          const std::string problems = examine();
          std::ofstream("told") << problems;
          return problems.empty() ? 0 : 1;
        });
      },
      [&](int i, const tests::Ending &ending) {
        const fs::path folder = folderOf(i);
        ++done;
        compiled += fs::exists(folder / "compiled");
        if (ending.exitStatus() != 0) {
          ++failed;
          const std::string name = "broken_" + std::to_string(run.seed + uint64_t(i)) + ".hw";
          fs::create_directories(kept);
          fs::copy_file(folder / "model.hw", kept / name, fs::copy_options::overwrite_existing);
          std::printf("%s: %s\n%s\n", (kept / name).c_str(), ending.text().c_str(),
                      contentsOf(folder / "told").c_str());
          std::fflush(stdout);
        }
        fs::remove_all(folder);
      });
  // Files that are all refused, or all good, would test little.
  const bool isIdle = done >= 100 && (compiled * 20 < done || compiled * 20 > done * 19);
  std::printf("%d of %d compiled%s, %.0f s\n%d passed, %d failed\n", compiled, done,
              isIdle ? ": too few or too many" : "", run.seconds(), done - failed, failed + isIdle);
  return failed || isIdle || !done;
}
