// Random programs, compiled and run as `hwc run` does, against the interpreter of their graph. Each program runs in a
// process of its own, so that one that dies is a failure like any other.
#include "mlir/Pass/PassManager.h"
#include "passes/Passes.h"
#include "runtime/formats/Npy.h"
#include "runtime/formats/Safetensors.h"
#include "tests/Children.h"
#include "tests/reference/Generate.h"
#include "tests/reference/Interpreter.h"
#include "tests/reference/Shrink.h"
#include "tools/Commands.h"
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <unistd.h>

namespace {

using namespace hw;
using reference::Generated;
using reference::Number;
using reference::Outcome;
using reference::Rounding;
using tests::contentsOf;
namespace fs = std::filesystem;

enum class Verdict {
  agrees,
  conditioned, ///< differs, but no more than by what rounding alone does to this program
  refused,     ///< the compiler has an error for it: the generator's fault
  unknown,     ///< both end in an error, or the reference cannot run it
  differs,
  fails, ///< the compiled program ends in an error and the reference does not
  dies,
  hangs,
};
const char *const verdictNames[] = {"agrees", "conditioned", "refused", "unknown", "DIFFERS", "FAILS", "DIES", "HANGS"};
bool isBad(Verdict verdict) { return verdict >= Verdict::differs; }

struct Result {
  Verdict verdict = Verdict::agrees;
  std::string text; ///< what was found, for people
};

//===--------------------------------------------------------------------------------------------------------------===//
// One program, in this process
//===--------------------------------------------------------------------------------------------------------------===//

struct Difference {
  std::string where;
  Number got = 0, want = 0, allowed = 0;
};

/// What two runs left, cell by cell. A cell may differ by `relative` of the largest in its column or tensor, or by
/// what `slack` says of it.
class Comparison {
public:
  Comparison(const Outcome &want, double relative) : want(want), relative(relative) {}

  /// Runs whose roundings were disturbed: how far they are from `want` is what rounding does.
  void disturb(const Outcome &other) { disturbed.push_back(&other); }

  /// Of the folder that the compiled program has written.
  std::vector<Difference> folder(const std::string &path) {
    found.clear();
    for (const auto &[name, table] : want.tables)
      if (!table.isHidden)
        compareTable(name, table, path + "/" + name + ".csv");
    std::map<std::string, SafetensorsFile> files;
    for (const auto &[name, tensor] : want.saved) {
      const std::string file = path + "/" + name.first;
      if (!fs::exists(file)) {
        found.push_back({name.first + " is not there"});
        continue;
      }
      const bool isNpy = name.second.empty();
      if (!isNpy && !files.contains(file))
        files.emplace(file, SafetensorsFile(file));
      compareTensor(name, tensor, isNpy ? readNpy(file) : files.at(file).read(name.second));
    }
    return std::move(found);
  }

private:
  void compareTable(const std::string &name, const reference::Table &table, const std::string &path) {
    std::ifstream file(path);
    std::string line;
    if (!std::getline(file, line)) {
      if (!table.rows.empty())
        found.push_back({name + ".csv is not there"});
      return;
    }
    const auto names = table.cellNames();
    if (split(line) != names) {
      found.push_back({name + ".csv has the columns " + line});
      return;
    }
    std::vector<std::vector<std::string>> rows;
    while (std::getline(file, line))
      rows.push_back(split(line));
    if (rows.size() != table.rows.size())
      found.push_back({name + ": rows", Number(rows.size()), Number(table.rows.size())});
    for (const auto &column : table.columns)
      for (size_t cell = column.cell; cell < column.cell + size_t(column.width); ++cell) {
        std::vector<Number> got, expected;
        for (size_t row = 0; row < std::min(rows.size(), table.rows.size()); ++row) {
          const auto &value = table.rows[row][cell];
          const std::string text = cell < rows[row].size() ? rows[row][cell] : "";
          if (const auto *word = std::get_if<std::string>(&value)) {
            if (text != *word)
              found.push_back({name + ": row " + std::to_string(row) + ", column " + names[cell] + ": '" + text +
                               "' instead of '" + *word + "'"});
            continue;
          }
          got.push_back(text.empty() ? NAN : std::strtold(text.c_str(), nullptr));
          expected.push_back(std::get<Number>(value));
        }
        compare(
            got, expected,
            [&](size_t row) { return name + ": row " + std::to_string(row) + ", column " + names[cell]; },
            [&](const Outcome &other, size_t row) {
              const auto &rows = other.tables.at(name).rows;
              const auto *value = row < rows.size() ? std::get_if<Number>(&rows[row][cell]) : nullptr;
              return value ? *value : NAN;
            });
      }
  }

  void compareTensor(const std::pair<std::string, std::string> &name, const reference::Tensor &tensor,
                     const hw::Tensor &file) {
    std::vector<Number> got;
    auto read = [&](auto zero) {
      const auto *from = file.as<decltype(zero)>();
      got.assign(from, from + file.size());
    };
    switch (file.dtype()) {
    case DType::f32:
      read(float());
      break;
    case DType::f64:
      read(double());
      break;
    case DType::i32:
      read(int32_t());
      break;
    case DType::i8:
      read(int8_t());
      break;
    case DType::i1:
    case DType::u8:
      read(uint8_t());
      break;
    case DType::u32:
      read(uint32_t());
      break;
    case DType::i64:
      read(int64_t());
    }
    const std::string title = name.first + (name.second.empty() ? "" : ": " + name.second);
    if (!std::equal(file.shape().begin(), file.shape().end(), tensor.type.getShape().begin(),
                    tensor.type.getShape().end())) {
      found.push_back({title + " has the shape " + shapeString(file.shape())});
      return;
    }
    compare(
        got, tensor.values, [&](size_t i) { return title + ": element " + std::to_string(i); },
        [&](const Outcome &other, size_t i) {
          const auto tensor = other.saved.find(name);
          return tensor == other.saved.end() ? NAN : tensor->second.values[i];
        });
  }

  template <class Where, class Other>
  void compare(const std::vector<Number> &got, const std::vector<Number> &expected, Where where, Other other) {
    Number scale = 1e-2L, moved = 0;
    for (const Number &value : expected)
      if (std::isfinite(value))
        scale = std::max(scale, std::abs(value));
    for (const Outcome *run : disturbed)
      for (size_t i = 0; i < expected.size(); ++i) {
        const Number value = other(*run, i);
        if (std::isfinite(value) && std::isfinite(expected[i]))
          moved = std::max(moved, std::abs(value - expected[i]));
      }
    const Number allowed = std::max(relative * scale, 20 * moved);
    for (size_t i = 0; i < expected.size(); ++i)
      if (!(got[i] == expected[i] || (std::isnan(got[i]) && std::isnan(expected[i])) ||
            std::abs(got[i] - expected[i]) <= allowed))
        found.push_back({where(i), got[i], expected[i], allowed});
  }

  static std::vector<std::string> split(const std::string &line) {
    std::vector<std::string> cells(1);
    for (char c : line)
      c == ',' ? (void)cells.emplace_back() : cells.back().push_back(c);
    return cells;
  }

  const Outcome &want;
  const double relative;
  std::vector<const Outcome *> disturbed;
  std::vector<Difference> found;
};

std::string show(const std::vector<Difference> &differences) {
  std::string text;
  for (size_t i = 0; i < differences.size() && i < 8; ++i) {
    const Difference &d = differences[i];
    char numbers[160] = "";
    if (d.got != 0 || d.want != 0)
      std::snprintf(numbers, sizeof numbers, ": %.17Lg instead of %.17Lg (%.2Lg is allowed)", d.got, d.want, d.allowed);
    text += "  " + d.where + numbers + "\n";
  }
  if (differences.size() > 8)
    text += "  and " + std::to_string(differences.size() - 8) + " more\n";
  return text;
}

/// The graph as the language means it: derivatives are expanded, nothing else has been done.
bool expand(mlir::ModuleOp module) {
  mlir::PassManager passes(module.getContext());
  passes.addPass(createExpandDerivativesPass());
  return mlir::succeeded(passes.run(module));
}

Result examine(const Generated &program, const std::string &folder) {
  const std::string path = folder + "/program.hw", out = folder + "/out";
  std::ofstream(path) << program.text;
  Request request;
  request.path = path;
  request.elaborate.f64 = program.f64;
  request.backend.cpu = program.cpu;
  request.backend.products = program.products == Generated::library     ? backend::Products::Library
                             : program.products == Generated::generated ? backend::Products::Generated
                                                                        : backend::Products::Automatic;
  request.backend.diagnose = false; // half of the compiler's time, and never run
  Driver plain(request);
  if (!plain.elaborate() || !expand(plain.module()))
    return {Verdict::refused, ""};

  const auto now = std::chrono::steady_clock::now;
  const auto start = now();
  Outcome want;
  std::string problem;
  try {
    want = reference::interpret(plain.module());
  } catch (const std::exception &error) {
    problem = error.what();
  }
  const auto middle = now();
  RunFlags flags;
  flags.out = out;
  flags.force = flags.quiet = true;
  flags.threads = program.threads;
  const int status = runRun(request, flags, {"hwc", "run", path});
  using Milliseconds = std::chrono::duration<double, std::milli>;
  char times[80];
  std::snprintf(times, sizeof times, "  %.0f ms interpreted, %.0f ms compiled and run\n",
                Milliseconds(middle - start).count(), Milliseconds(now() - middle).count());
  if (!problem.empty())
    return {Verdict::unknown, problem};
  if (status != 0)
    return {Verdict::fails, "the compiled program ended with status " + std::to_string(status)};

  Comparison comparison(want, program.f64 ? 1e-10 : 1e-4);
  auto differences = comparison.folder(out);
  if (differences.empty())
    return {Verdict::agrees, times};
  std::vector<Outcome> disturbed;
  try {
    disturbed.push_back(reference::interpret(plain.module(), Rounding::none));
    for (unsigned seed = 1; seed <= 4; ++seed)
      disturbed.push_back(reference::interpret(plain.module(), Rounding::perturbed, seed));
  } catch (const std::exception &error) {
    return {Verdict::unknown, error.what()};
  }
  for (const Outcome &run : disturbed)
    comparison.disturb(run);
  auto left = comparison.folder(out);
  if (left.empty())
    return {Verdict::conditioned, show(differences)};
  std::string text = show(left);
  // Whose fault? The same graph once the passes up to `--stage derivatives` have tidied it.
  Driver tidied(request);
  if (tidied.differentiate())
    try {
      const Outcome after = reference::interpret(tidied.module());
      text += Comparison(after, program.f64 ? 1e-10 : 1e-4).folder(out).empty()
                  ? "  The graph of --stage derivatives, interpreted, gives what the program gives: a pass before it "
                    "is wrong.\n"
                  : "  The graph of --stage derivatives, interpreted, gives other numbers than the program: the "
                    "backend, the "
                    "runtime or a pass behind it is wrong.\n";
    } catch (const std::exception &error) {
      text += std::string("  The graph of --stage derivatives: ") + error.what() + "\n";
    }
  return {Verdict::differs, text};
}

//===--------------------------------------------------------------------------------------------------------------===//
// Processes
//===--------------------------------------------------------------------------------------------------------------===//

/// A program that is being examined in a process of its own.
struct Job {
  uint64_t seed = 0;
  Generated program;
  std::string folder;
  pid_t process = -1;

  void start(const std::string &parent, int seconds) {
    folder = parent + "/" + std::to_string(seed);
    fs::create_directories(folder);
    process = tests::startChild({unsigned(seconds), 0, folder + "/log"}, [&] {
      Result result;
      try {
        result = examine(program, folder);
      } catch (const std::exception &error) {
        result = {Verdict::fails, error.what()};
      }
      std::ofstream(folder + "/result") << int(result.verdict) << "\n" << result.text;
      return 0;
    });
  }

  Result finish(const tests::Ending &ending) const {
    Result result;
    if (ending.exitStatus() != 0) {
      result = {ending.isTimeout() ? Verdict::hangs : Verdict::dies, "  " + ending.text() + "\n"};
    } else {
      const std::string text = contentsOf(folder + "/result");
      result = {Verdict(std::atoi(text.c_str())), text.substr(std::min(text.find('\n') + 1, text.size()))};
    }
    if (result.verdict != Verdict::agrees && result.verdict != Verdict::conditioned)
      result.text += contentsOf(folder + "/log").substr(0, 4000);
    return result;
  }
};

Result examineApart(const Generated &program, const std::string &parent, int seconds) {
  Job job;
  job.program = program;
  job.start(parent, seconds);
  Result result = job.finish(tests::waitFor(job.process));
  fs::remove_all(job.folder);
  return result;
}

} // namespace

int main(int argc, char **argv) {
  uint64_t one = 0;
  tests::SeededRun run;
  int seconds = 60, shrinking = 60;
  std::string file, keep, cpu;
  bool f64 = false, verbose = false;
  CLI::App app("Random programs, compiled and run, against the interpreter of their graph.");
  run.declare(app, "programs", "program");
  auto *single = app.add_option("--one", one, "print the program of this seed and compare it");
  auto *printed = app.add_option("--print", one, "print the program of this seed and do nothing with it");
  app.add_option("--file", file, "compare this model file instead, which reads no data");
  app.add_flag("--f64", f64, "with --file: compiled with --f64");
  app.add_option("--cpu", cpu, "compile for this CPU, by LLVM's name (default: one by the seed)");
  app.add_option("--timeout", seconds, "for each program, in seconds (default: 60)");
  app.add_option("--shrink", shrinking, "for making a failing program smaller, in seconds (default: 60)");
  app.add_option("--keep", keep, "folder for programs that fail");
  app.add_flag("--verbose", verbose, "a line for each program");
  CLI11_PARSE(app, argc, argv);

  if (*printed) {
    std::printf("%s", reference::generate(one).text.c_str());
    return 0;
  }
  const tests::ScratchFolder scratch("random_programs");
  const std::string folder = scratch.path();

  std::map<Verdict, int> counts;
  int failed = 0;
  auto programOf = [&](uint64_t seed) {
    Generated program = reference::generate(seed);
    if (!cpu.empty())
      program.cpu = cpu;
    return program;
  };
  auto tell = [&](const Job &job, const Result &result) {
    ++counts[result.verdict];
    if (!isBad(result.verdict) && !verbose)
      return;
    std::printf("%s seed %llu (%s, %s, threads: %d)\n%s", verdictNames[int(result.verdict)],
                static_cast<unsigned long long>(job.seed), job.program.f64 ? "f64" : "f32",
                job.program.cpu.empty() ? "this CPU" : job.program.cpu.c_str(), job.program.threads,
                result.text.c_str());
    if (!isBad(result.verdict))
      return;
    std::fflush(stdout);
    ++failed;
    const Generated smaller = reference::shrink(job.program, shrinking, [&](const Generated &candidate) {
      return examineApart(candidate, folder + "/shrink", seconds).verdict == result.verdict;
    });
    std::printf("to repeat it: build/bin/random_programs --one %llu%s\nmade smaller%s:\n%s\n",
                static_cast<unsigned long long>(job.seed), cpu.empty() ? "" : (" --cpu " + cpu).c_str(),
                smaller.f64 ? " (--f64)" : "", smaller.text.c_str());
    if (!keep.empty()) {
      fs::create_directories(keep);
      std::ofstream(keep + "/" + std::to_string(job.seed) + (smaller.f64 ? "_f64" : "") + ".hw") << smaller.text;
    }
    std::fflush(stdout);
  };

  if (*single || !file.empty()) {
    Job job;
    job.seed = one;
    job.program = file.empty() ? programOf(one) : Generated{contentsOf(file), f64, availableCores(), cpu};
    std::printf("%s\n", job.program.text.c_str());
    const Result result = examineApart(job.program, folder, seconds);
    std::printf("%s\n%s", verdictNames[int(result.verdict)], isBad(result.verdict) ? "" : result.text.c_str());
    tell(job, result);
    return isBad(result.verdict);
  }

  run.begin("random programs");
  std::map<int, Job> running;
  tests::eachInAChild(
      run.jobs,
      [&](int i) -> std::optional<pid_t> {
        if (!run.goesOn(i, failed))
          return std::nullopt;
        Job &job = running[i];
        job.seed = run.seed + uint64_t(i);
        job.program = programOf(job.seed);
        job.start(folder, seconds);
        return job.process;
      },
      [&](int i, const tests::Ending &ending) {
        const Job job = std::move(running.extract(i).mapped());
        const Result result = job.finish(ending);
        fs::remove_all(job.folder);
        tell(job, result);
      });
  int bad = 0, all = 0;
  for (const auto &[verdict, number] : counts) {
    std::printf("%d %s, ", number, verdictNames[int(verdict)]);
    all += number;
    bad += isBad(verdict) ? number : 0;
  }
  // Programs that compare nothing would let everything pass.
  const bool isIdle = all - counts[Verdict::agrees] - bad > all / 4;
  if (isIdle)
    std::printf("too few programs could be compared, ");
  std::printf("%.0f s\n%d passed, %d failed\n", run.seconds(), all - bad - (isIdle ? 1 : 0), bad + (isIdle ? 1 : 0));
  return bad || isIdle;
}
