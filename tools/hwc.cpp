// The command hwc: check, build, run, emit, bench, gradcheck, fmt.
#include "runtime/formats/Error.h"
#include "runtime/formats/Inputs.h"
#include "runtime/formats/Streams.h"
#include "tools/Commands.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

using namespace hw;

namespace {

/// The settings that shapes may depend on are fixed while compiling, the others written before the program runs: both
/// read --set.
bool readSettings(const std::vector<std::string> &words, std::map<std::string, double> &settings) {
  try {
    for (const std::string &word : words) {
      auto [name, value] = parseSetting(word);
      settings[name] = value;
    }
    return true;
  } catch (const std::exception &error) {
    tell("hwc: {}", error.what());
    return false;
  }
}

} // namespace

static int runCommandLine(int argc, char **argv) {
  CLI::App app{"hwc compiles model files (.hw) to native training programs.", "hwc"};
  app.set_version_flag("--version", versionText());
  app.require_subcommand(1);
  app.footer("Documentation: docs/language.md. `hwc COMMAND --help` lists a command's flags.");

  Request request;
  RunFlags flags;
  auto addFile = [&](CLI::App *command) { command->add_option("FILE", request.path, "the model file")->required(); };
  auto addModel = [&](CLI::App *command) {
    addFile(command);
    command->add_flag("--quick", request.elaborate.quick, "the small size that the file itself states");
    command->add_flag("--f64", request.elaborate.f64, "compute in f64 (default: f32)");
    command->add_option("--cpu", request.backend.cpu, "LLVM's name of the CPU to compile for (default: this one)");
  };
  auto addBuildFlags = [&](CLI::App *command) {
    command->add_option("--set", flags.set, "NAME=VALUE: give a top-level scalar of the file another value")
        ->allow_extra_args(false);
    command->add_option("--data", flags.data, "folder that the file's data paths are relative to");
  };
  auto addProducts = [&](CLI::App *command) {
    static const std::map<std::string, backend::Products> ways = {{"auto", backend::Products::Automatic},
                                                                  {"library", backend::Products::Library},
                                                                  {"generated", backend::Products::Generated}};
    command
        ->add_option_function<std::string>(
            "--products", [&](const std::string &way) { request.backend.products = ways.at(way); },
            "who does matrix products: auto (the cost function chooses), library (oneDNN) or generated; to measure "
            "what a choice costs")
        ->check(CLI::IsMember(ways));
  };

  auto *check = app.add_subcommand("check", "check a file; print its layers, shapes, parameters and memory");
  addModel(check);
  addBuildFlags(check);

  BuildCommand buildOptions;
  auto *build = app.add_subcommand("build", "write a stand-alone executable that trains");
  addModel(build);
  addBuildFlags(build);
  build->add_option("-o,--output", buildOptions.output, "the executable (default: the file's stem)");
  build->add_option("--bundle", buildOptions.bundle,
                    "copy the executable and all it needs to run elsewhere into this folder");
  build->add_flag("--marks", request.backend.marks, "let the executable's --trace show kernels (slower)");

  auto *run = app.add_subcommand("run", "compile in memory and run at once");
  addModel(run);
  addRunFlags(*run, flags);
  bool describe = false;
  run->add_flag("--describe", describe, "list the settings, tables and figures of this model instead of running it");

  std::string stage = "hw";
  auto *emit = app.add_subcommand("emit", "show the program at any stage");
  addModel(emit);
  addBuildFlags(emit);
  addProducts(emit);
  emit->add_option("--stage", stage, "ast, hw, derivatives, outlined, kernels, llvm, asm, obj, plan or dot")
      ->check(CLI::IsMember({"ast", "hw", "derivatives", "outlined", "kernels", "llvm", "asm", "obj", "plan", "dot"}));
  std::string emitOutput;
  emit->add_option("-o,--output", emitOutput, "write to this file (default: standard output)");

  BenchOptions benchOptions;
  auto *bench = app.add_subcommand(
      "bench", "Google Benchmark over the compiled forward, gradient, HVP and step; the kernels of a step");
  addModel(bench);
  addBuildFlags(bench);
  addProducts(bench);
  bench->add_option("--threads", benchOptions.threads, "threads to run on (default: one a core)")
      ->check(CLI::PositiveNumber);
  bench->add_flag_function(
      "--kernels,!--no-kernels", [&](int64_t given) { benchOptions.kernels = given > 0; },
      "a table of each step's kernels (default: unless --benchmark_format asks for JSON or CSV)");
  bench->add_option("--trace", benchOptions.trace, "file for a timeline of such steps, in Chrome's trace format")
      ->type_name("FILE");
  bench->allow_extras();
  bench->footer("Takes Google Benchmark's flags, such as --benchmark_filter=step.");

  auto *gradcheck = app.add_subcommand("gradcheck", "compare gradients and HVPs with central differences in f64");
  addModel(gradcheck);
  addBuildFlags(gradcheck);
  gradcheck->add_option("--threads", flags.threads, "threads to run on (default: one a core)")
      ->check(CLI::PositiveNumber);

  bool fmtCheck = false, fmtStdout = false;
  auto *format = app.add_subcommand("fmt", "rewrite a file in the one canonical layout");
  addFile(format);
  format->add_flag("--check", fmtCheck, "only say whether it is: exit 1 if not");
  format->add_flag("--stdout", fmtStdout, "print instead of rewriting");

  std::string shell;
  auto *completion = app.add_subcommand("completion", "print a shell completion script");
  completion->add_option("SHELL", shell, "bash or zsh")->required()->check(CLI::IsMember({"bash", "zsh"}));

  std::vector<std::string> names;
  for (const CLI::App *command : app.get_subcommands({}))
    names.push_back(command->get_name());
  if (argc > 1 && argv[1][0] != '-' && std::find(names.begin(), names.end(), argv[1]) == names.end()) {
    const std::string word = argv[1];
    tell("hwc: there is no command {}; {} {}", inQuotes(word),
         word.ends_with(".hw") ? "to train it:" : "the commands are",
         word.ends_with(".hw") ? "hwc run " + word : fmt::format("{}", fmt::join(names, ", ")));
    return 1;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ExtrasError &error) {
    tell("hwc: {}; settings of the file are given by --set NAME=VALUE, see `hwc --help`", error.what());
    return 1;
  } catch (const CLI::ParseError &error) {
    if (error.get_exit_code() == 0)
      return app.exit(error);
    tell("hwc: {}; see `hwc --help`", error.what());
    return 1;
  }
  if (!readSettings(flags.set, request.elaborate.settings))
    return 1;
  request.elaborate.dataDir = flags.data;
  std::vector<std::string> command(argv, argv + argc);

  if (check->parsed())
    return runCheck(request);
  if (build->parsed())
    return runBuild(request, buildOptions);
  if (run->parsed())
    return describe ? runDescribe(request) : runRun(request, flags, command);
  if (emit->parsed())
    return runEmit(request, stage, emitOutput);
  if (bench->parsed()) {
    benchOptions.data = flags.data;
    return runBench(request, benchOptions, bench->remaining());
  }
  if (gradcheck->parsed())
    return runGradcheck(request, flags, command);
  if (format->parsed())
    return runFormat(request.path, fmtCheck, fmtStdout);
  return runCompletion(shell);
}

int main(int argc, char **argv) {
  prepareProcess();
  rememberInput("/proc/self/exe", "hwc itself");
  return finishOutput(runCommandLine(argc, argv));
}
