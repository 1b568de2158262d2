#include "tools/Commands.h"

#include "backend/Jit.h"
#include "frontend/Format.h"
#include "runtime/formats/OutDir.h"
#include "tools/Link.h"

#include "mlir/IR/AsmState.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "mlir/Transforms/ViewOpGraph.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/TargetParser/Host.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>
#include <filesystem>

namespace hw {

namespace {

extern "C" const char hw_completion_bash[], hw_completion_zsh[];

int fail(const std::string &sentence) {
  fmt::print(stderr, "hwc: {}\n", sentence);
  return 1;
}

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
  fmt::print("{}{}{}\n", net.name, net.loops.empty() ? "" : "  (" + net.loops + ")",
             net.element == "f64" ? "  in f64" : "");
  size_t width = 8;
  for (const NetSummary::Layer &layer : net.layers)
    width = std::max(width, layer.path.size());
  fmt::print("  {:{}}  {:16}  {:>12}  {}\n", "layer", width, "output", "parameters", "shapes");
  for (const NetSummary::Layer &layer : net.layers) {
    int64_t count = 0;
    std::vector<std::string> shapes;
    for (const NetSummary::Parameter &parameter : layer.parameters) {
      if (parameter.trainable)
        count += parameter.size();
      shapes.push_back(
          fmt::format("{}{} {}", parameter.name, parameter.trainable ? "" : " (state)", shapeText(parameter.shape)));
    }
    fmt::print("  {:{}}  {:16}  {:>12}  {}\n", layer.path.empty() ? "(itself)" : layer.path, width,
               shapeText(layer.output), grouped(count), fmt::join(shapes, ", "));
  }
  fmt::print("  {} parameters\n\n", grouped(net.parameters()));
}

/// Writes to standard output, or to a file.
int deliver(const std::string &text, const std::string &output) {
  if (output.empty())
    return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() ? 0 : 1;
  AtomicFile file(output);
  file.write(text.data(), text.size());
  file.commit();
  return 0;
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
  try {
    return body();
  } catch (const std::exception &error) {
    return fail(error.what());
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
    return driver.compile() ? body(*load(driver.compiled())->program) : 1;
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
      fmt::print("settings\n");
      for (const Setting &setting : settings)
        fmt::print("  {} = {}{}\n", setting.name, setting.value,
                   setting.fixed ? fmt::format("  (fixed when built: {})", setting.fixedReason) : "");
      fmt::print("\n");
    }
    const backend::Compiled &compiled = driver.compiled();
    fmt::print("memory {}: {} for the study's values, {} for intermediate results of a step\n",
               bytesText(double(compiled.arena + compiled.scratch)), bytesText(double(compiled.arena)),
               bytesText(double(compiled.scratch)));
    if (compiled.threadScratch)
      fmt::print("and {} for each thread\n", bytesText(double(compiled.threadScratch)));
    if (compiled.diagnosisScratch > compiled.scratch)
      fmt::print("(and {} more where it has to find out which operation gave the first NaN)\n",
                 bytesText(double(compiled.diagnosisScratch - compiled.scratch)));
    return 0;
  });
}

int runBuild(const Request &request, const BuildCommand &build) {
  return guarded([&] {
    Driver driver(request);
    if (!driver.compile())
      return 1;
    std::string output = build.output.empty() ? driver.stem() : build.output;
    linkExecutable(driver.compiled().object, output);
    if (!build.bundle.empty())
      bundleExecutable(output, build.bundle);
    return 0;
  });
}

int runRun(Request request, const RunFlags &flags, const std::vector<std::string> &command) {
  request.backend.marks = !flags.trace.empty();
  return withProgram(request,
                     [&](const hw_program &program) { return runProgram(program, flags, RunMode::run, command); });
}

int runDescribe(const Request &request) {
  return withProgram(request, [](const hw_program &program) {
    fmt::print("{}", describeProgram(program));
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
      return fail(error);
    Diagnostics diagnostics;
    auto text = formatSource(*source, diagnostics);
    if (!diagnostics.empty())
      fmt::print(stderr, "{}", diagnostics.render());
    if (!text)
      return 1;
    if (toStdout)
      return deliver(*text, "");
    bool same = *text == source->text();
    if (check && !same)
      return fail(path + " is not in the canonical layout: run `hwc fmt " + path + "`");
    return check || same ? 0 : deliver(*text, path);
  });
}

int runCompletion(const std::string &shell) {
  fmt::print("{}", shell == "bash" ? hw_completion_bash : hw_completion_zsh);
  return 0;
}

std::string versionText() {
  return fmt::format("hwc {} (LLVM {}, for {})", HW_VERSION, LLVM_VERSION_STRING, llvm::sys::getHostCPUName().str());
}

} // namespace hw
