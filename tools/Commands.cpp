#include "tools/Commands.h"

#include "backend/emit/Jit.h"
#include "frontend/Format.h"
#include "runtime/Walk.h"
#include "runtime/formats/OutDir.h"
#include "runtime/formats/Streams.h"
#include "tools/Link.h"

#include "mlir/IR/AsmState.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "mlir/Transforms/ViewOpGraph.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/TargetParser/Host.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <new>
#include <unistd.h>

namespace hw {

namespace {

extern "C" const char hw_completion_bash[], hw_completion_zsh[];

int complain(const std::string &sentence) {
  tell("hwc: {}", sentence);
  return 1;
}

/// While the compiler works there is nothing to lose, and no one who could go on after a failed allocation.
[[noreturn]] void outOfMemory() {
  static const char sentence[] = "hwc: there is not enough memory to compile this: close other programs, raise the "
                                 "limit (ulimit -v), or take smaller networks or fewer of them\n";
  [[maybe_unused]] const ssize_t written = ::write(2, sentence, sizeof sentence - 1);
  ::_exit(1);
}

/// The program runs next: it says itself what it lacks, and leaves what it has.
void compiled() { std::set_new_handler(nullptr); }

std::string bytesText(double bytes) {
  if (bytes < 1024)
    return fmt::format("{:.0f} bytes", bytes);
  const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
  int unit = -1;
  do
    bytes /= 1024, ++unit;
  while (bytes >= 1024 && unit < 3);
  return fmt::format("{:.1f} {}", bytes, units[unit]);
}

std::string shapeText(const std::vector<int64_t> &shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

std::string grouped(int64_t number) {
  std::string digits = std::to_string(number);
  for (int at = int(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(at, ",");
  return digits;
}

void printNet(const NetSummary &net) {
  show("{}{}{}\n", net.name, net.loops.empty() ? "" : "  (" + net.loops + ")", net.element == "f64" ? "  in f64" : "");
  size_t width = 8;
  for (const NetSummary::Layer &layer : net.layers)
    width = std::max(width, layer.path.size());
  show("  {:{}}  {:16}  {:>12}  {}\n", "layer", width, "output", "parameters", "shapes");
  for (const NetSummary::Layer &layer : net.layers) {
    int64_t count = 0;
    std::vector<std::string> shapes;
    for (const NetSummary::Parameter &parameter : layer.parameters) {
      if (parameter.trainable)
        count += parameter.size();
      shapes.push_back(
          fmt::format("{}{} {}", parameter.name, parameter.trainable ? "" : " (state)", shapeText(parameter.shape)));
    }
    show("  {:{}}  {:16}  {:>12}  {}\n", layer.path.empty() ? "(itself)" : layer.path, width, shapeText(layer.output),
         grouped(count), fmt::join(shapes, ", "));
  }
  show("  {} parameters\n\n", grouped(net.parameters()));
}

/// Does what must not be left half done: a signal that asks to stop is heeded afterwards.
template <class Work> int unbroken(Work work) {
  runtime::catchSignals();
  work();
  return runtime::wasInterrupted() ? 128 + runtime::interruptSignal() : 0;
}

/// Writes to standard output, or to a file.
int deliver(const std::string &text, const std::string &output, AtomicFile::Over over = AtomicFile::Over::outputs) {
  if (output.empty()) {
    put(stdout, text);
    return 0;
  }
  return unbroken([&] {
    AtomicFile file(output, over);
    file.write(text.data(), text.size());
    file.commit();
  });
}

std::string print(mlir::ModuleOp module) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  mlir::OpPrintingFlags flags;
  flags.elideLargeElementsAttrs(16);
  module.print(stream, flags);
  return text;
}

std::string drawGraph(mlir::ModuleOp module) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  mlir::PassManager passes(module.getContext());
  passes.addPass(mlir::createPrintOpGraphPass(stream));
  if (mlir::failed(passes.run(module)))
    return {};
  return text;
}

/// Runs a command's body; what the libraries throw becomes one sentence.
template <class Body> int guarded(Body body) {
  std::set_new_handler(outOfMemory);
  llvm::install_bad_alloc_error_handler([](void *, const char *, bool) { outOfMemory(); });
  try {
    return body();
  } catch (const std::bad_alloc &) {
    return complain("the machine is out of memory: take a smaller batch or network, or record less");
  } catch (const std::exception &error) {
    return complain(error.what());
  }
}

/// The object in this process. Throws where it does not fit.
std::unique_ptr<backend::LoadedProgram> load(const backend::Compiled &compiled) {
  static const backend::JitSymbol symbols[] = {
      {"hw_parallel", reinterpret_cast<void *>(&hw_parallel)},
      {"hw_mark", reinterpret_cast<void *>(&hw_mark)},
      {"hw_run_matmul", reinterpret_cast<void *>(&hw_run_matmul)},
      {"hw_run_convolution", reinterpret_cast<void *>(&hw_run_convolution)},
      {"hw_cholesky", reinterpret_cast<void *>(&hw_cholesky)},
      {"hw_triangular_solve", reinterpret_cast<void *>(&hw_triangular_solve)},
      {"hw_lu_solve", reinterpret_cast<void *>(&hw_lu_solve)},
      {"hw_whole", reinterpret_cast<void *>(&hw_whole)},
  };
  std::string error;
  auto loaded = backend::loadObject(compiled.object, symbols, error);
  if (!loaded)
    throw Error(error);
  return loaded;
}

/// Compiles, loads the object into this process, and hands the program to `body`.
template <class Body> int withProgram(const Request &request, Body body) {
  return guarded([&] {
    Driver driver(request);
    if (!driver.compile())
      return 1;
    const auto loaded = load(driver.compiled());
    compiled();
    return body(*loaded->program);
  });
}

} // namespace

int runCheck(const Request &request) {
  return guarded([&] {
    Driver driver(request);
    if (!driver.compile())
      return 1;
    for (const NetSummary &net : driver.elaborated().nets)
      printNet(net);
    const auto &settings = driver.elaborated().settings;
    if (!settings.empty()) {
      show("settings\n");
      for (const Setting &setting : settings)
        show("  {} = {}{}\n", setting.name, setting.value,
             setting.fixed ? fmt::format("  (fixed when built: {})", setting.fixedReason) : "");
      show("\n");
    }
    const backend::Compiled &compiled = driver.compiled();
    show("memory {}: {} for the study's values, {} for intermediate results of a step\n",
         bytesText(double(compiled.arena + compiled.scratch)), bytesText(double(compiled.arena)),
         bytesText(double(compiled.scratch)));
    if (compiled.threadScratch)
      show("and {} for each thread\n", bytesText(double(compiled.threadScratch)));
    if (compiled.diagnosisScratch > compiled.scratch)
      show("(and {} more where it has to find out which operation gave the first NaN)\n",
           bytesText(double(compiled.diagnosisScratch - compiled.scratch)));
    return 0;
  });
}

/// Whether a file is there that is not an executable of this kind of machine.
static bool isOther(const std::string &path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error))
    return false; // nothing, or something that is refused in any case
  char magic[4] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof magic);
  return std::string_view(magic, sizeof magic) != "\x7f"
                                                  "ELF";
}

int runBuild(const Request &request, const BuildCommand &build) {
  return guarded([&] {
    Driver driver(request);
    if (!driver.compile())
      return 1;
    const std::string output = build.output.empty() ? driver.stem() : build.output;
    // Who names a file means it; a name that we chose may be that of somebody's notes.
    if (build.output.empty() && isOther(output))
      return complain(fmt::format("{} is there and is no program, and is not replaced: name the executable with -o",
                                  inQuotes(output, 1000)));
    return unbroken([&] {
      linkExecutable(driver.compiled().object, output, runtime::wasInterrupted);
      if (!build.bundle.empty() && !runtime::wasInterrupted())
        bundleExecutable(output, build.bundle);
    });
  });
}

int runRun(Request request, const RunFlags &flags, const std::vector<std::string> &command) {
  request.backend.marks = !flags.trace.empty();
  return withProgram(request,
                     [&](const hw_program &program) { return runProgram(program, flags, RunMode::run, command); });
}

int runDescribe(const Request &request) {
  return withProgram(request, [](const hw_program &program) {
    show("{}", describeProgram(program));
    return 0;
  });
}

int runEmit(const Request &request, const std::string &stage, const std::string &output) {
  return guarded([&] {
    Request asked = request;
    asked.backend.wantKernels = stage == "kernels";
    asked.backend.wantIR = stage == "llvm";
    asked.backend.wantAssembly = stage == "asm";
    Driver driver(asked);
    if (stage == "ast")
      return driver.parse() ? deliver(ast::dump(driver.tree()), output) : 1;
    if (stage == "hw")
      return driver.elaborate() ? deliver(print(driver.module()), output) : 1;
    if (stage == "derivatives")
      return driver.differentiate() ? deliver(print(driver.module()), output) : 1;
    if (stage == "dot")
      return driver.differentiate() ? deliver(drawGraph(driver.module()), output) : 1;
    if (stage == "outlined")
      return driver.outline() ? deliver(print(driver.module()), output) : 1;
    if (!driver.compile())
      return 1;
    const backend::Compiled &compiled = driver.compiled();
    return deliver(stage == "kernels" ? compiled.kernels
                   : stage == "llvm"  ? compiled.ir
                   : stage == "asm"   ? compiled.assembly
                   : stage == "plan"  ? compiled.plan
                                      : compiled.object,
                   output);
  });
}

int runBench(Request request, const BenchOptions &options, const std::vector<std::string> &rest) {
  request.elaborate.mode = ElaborateOptions::Bench;
  return guarded([&] {
    Driver driver(request);
    if (!driver.compile())
      return 1;
    const auto program = load(driver.compiled());
    compiled();
    std::unique_ptr<backend::LoadedProgram> marked;
    const auto compileMarked = [&]() -> const hw_program & {
      backend::CompileOptions with = request.backend;
      with.marks = true;
      if (!driver.generate(with))
        throw Error("the program did not compile with marks");
      marked = load(driver.compiled());
      return *marked->program;
    };
    std::vector<std::string> words = {"hwc bench"};
    words.insert(words.end(), rest.begin(), rest.end());
    std::vector<char *> arguments;
    for (std::string &word : words)
      arguments.push_back(word.data());
    return benchProgram(*program->program, compileMarked, options, int(words.size()), arguments.data());
  });
}

int runGradcheck(Request request, const RunFlags &flags, const std::vector<std::string> &command) {
  request.elaborate.mode = ElaborateOptions::Gradcheck;
  request.elaborate.f64 = true;
  return withProgram(
      request, [&](const hw_program &program) { return runProgram(program, flags, RunMode::gradcheck, command); });
}

int runFormat(const std::string &path, bool check, bool toStdout) {
  return guarded([&] {
    std::string error;
    auto source = Source::load(path, error);
    if (!source)
      return complain(error);
    Diagnostics diagnostics;
    auto text = formatSource(*source, diagnostics);
    if (!diagnostics.empty())
      put(stderr, diagnostics.render(isatty(2)));
    if (!text)
      return 1;
    if (toStdout)
      return deliver(*text, "");
    bool same = *text == source->text();
    if (check && !same)
      return complain(escaped(fmt::format("{0} is not in the canonical layout: run `hwc fmt {0}`", path), false));
    return check || same ? 0 : deliver(*text, path, AtomicFile::Over::itself);
  });
}

int runCompletion(const std::string &shell) {
  put(stdout, shell == "bash" ? hw_completion_bash : hw_completion_zsh);
  return 0;
}

std::string versionText() {
  return fmt::format("hwc {} (LLVM {}, for {})", HW_VERSION, LLVM_VERSION_STRING, llvm::sys::getHostCPUName().str());
}

} // namespace hw
