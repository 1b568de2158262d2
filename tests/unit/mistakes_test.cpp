// What people get wrong, by machine: every function of the language with every kind of value in every argument, and
// every program of the examples and the reference with one word replaced. Each must compile, or give an error with its
// place. A statement that fails leaves nothing half built: the one behind it, and a loop's next round, must do well
// too.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include "frontend/Ast.h"
#include "frontend/Parser.h"
#include "frontend/elaborate/Elaborate.h"
#include "ir/Dialects.h"
#include "passes/Passes.h"
#include "passes/Pipeline.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <regex>
#include <set>

using namespace hw;

namespace {

/// A fresh seed each time, or HW_SEED.
unsigned seedOfRun() {
  static const unsigned seed = [] {
    const char *given = std::getenv("HW_SEED");
    auto now = unsigned(std::chrono::steady_clock::now().time_since_epoch().count());
    unsigned chosen = given ? unsigned(std::strtoul(given, nullptr, 10)) : now;
    std::printf("mistakes_test: HW_SEED=%u makes the same choices again\n", chosen);
    return chosen;
  }();
  return seed;
}

/// Elaborates, and runs the passes where that went well. Returns what is wrong with how it went, or "". `lines`: where
/// errors were found.
std::string attempt(const std::string &text, std::set<int> *lines = nullptr) {
  mlir::DialectRegistry registry;
  registry.insert<HwDialect, study::StudyDialect, mlir::func::FuncDialect>();
  registerTransformInterfaces(registry);
  mlir::MLIRContext context(registry, mlir::MLIRContext::Threading::DISABLED);
  context.loadAllAvailableDialects();
  context.printOpOnDiagnostic(false);
  Source source("model.hw", text);
  Diagnostics diagnostics;
  ast::Module file = parseModule(source, diagnostics);
  ElaborateOptions options;
  options.quick = true;
  std::optional<Elaborated> made;
  if (!diagnostics.hasErrors())
    made = elaborate(file, diagnostics, context, options);
  if (!made) {
    std::string said = diagnostics.render();
    if (!diagnostics.hasErrors())
      return "no module, and no error";
    static const std::regex place("model\\.hw:([0-9]+):[0-9]+: error: ");
    std::sregex_iterator it(said.begin(), said.end(), place), end;
    if (it == end)
      return "an error without its place: " + said;
    for (; lines && it != end; ++it)
      lines->insert(std::stoi((*it)[1]));
    return "";
  }
  std::string late;
  mlir::ScopedDiagnosticHandler handler(&context, [&](mlir::Diagnostic &diagnostic) {
    // An op's own complaint begins with its name: the compiler made something wrong.
    if (diagnostic.str().rfind("'", 0) == 0)
      late += diagnostic.str() + "\n";
    return mlir::success();
  });
  if (mlir::failed(mlir::verify(*made->module)))
    return "the module does not verify: " + late;
  mlir::PassManager passes(&context);
  buildPipeline(passes);
  (void)passes.run(*made->module);
  return late;
}

struct Function {
  std::string name;
  size_t required = 0, positional = 0;
  std::vector<std::string> keywords;
};

/// The primitives, and the functions of the prelude.
std::vector<Function> functions() {
  std::vector<Function> all;
  static const std::regex head("(\\w+)\\(([^)]*)\\):");
  for (const std::string &line : builtinReference()) {
    std::smatch match;
    if (!std::regex_search(line, match, head))
      continue;
    Function function{match[1], 0, 0, {}};
    std::string parameters = match[2];
    for (size_t at = 0; at < parameters.size();) {
      size_t comma = std::min(parameters.find(',', at), parameters.size());
      std::string one = parameters.substr(at, comma - at);
      one.erase(0, one.find_first_not_of(' '));
      if (size_t equals = one.find(" ="); equals != std::string::npos) {
        function.keywords.push_back(one.substr(0, equals));
      } else {
        ++function.positional;
        function.required += one.back() != '?' && one.find("...") == std::string::npos;
      }
      at = comma + 1;
    }
    all.push_back(std::move(function));
  }
  Diagnostics diagnostics;
  ast::Module prelude = parseModule(preludeSource(), diagnostics);
  for (const ast::StmtPtr &statement : prelude.statements)
    if (auto *fn = ast::as<ast::Fn>(*statement)) {
      Function function{fn->name.text, 0, 0, {}};
      for (const ast::Parameter &parameter : fn->parameters)
        if (parameter.defaultValue)
          function.keywords.push_back(parameter.name.text);
        else
          ++function.positional;
      function.required = function.positional;
      all.push_back(std::move(function));
    }
  return all;
}

const std::string before = R"(
data d { x = uniform(-1, 1, shape = [6, 3], seed = 1); y = sum(x, axis = 1, keepdims = True); label = classes([0, 1, 2, 0, 1, 2], 3) }
fn small(x) = x |> linear(2) |> tanh |> linear(1)
net = init(small, d.x, seed = 1)
loss = mse(net(d.x), d.y)
image = normal(0, 1, shape = [2, 2, 5, 5], seed = 3)
square = normal(0, 1, shape = [3, 3], seed = 4)
record t: loss
)";

const std::vector<std::string> values = {"d.x",
                                         "d.y",
                                         "d.label",
                                         "d",
                                         "net",
                                         "small",
                                         "loss",
                                         "image",
                                         "square",
                                         "net.weights",
                                         "grad(loss, net)",
                                         "hessian(loss, net)",
                                         "t",
                                         "t.loss",
                                         "None",
                                         "True",
                                         "\"s\"",
                                         "\"\"",
                                         "0",
                                         "1",
                                         "2",
                                         "-1",
                                         "0.5",
                                         "1e300",
                                         "nan",
                                         "inf",
                                         "-inf",
                                         "2147483648",
                                         "9007199254740993",
                                         "[]",
                                         "[2]",
                                         "[2, 3]",
                                         "[0]",
                                         "[-1, 3]",
                                         "[[1, 2], [3]]",
                                         "[[1, 1], [1, 1]]",
                                         "[d.x, d.y]",
                                         "[\"a\"]",
                                         "(1, \"a\")",
                                         "1..3",
                                         "3..1",
                                         "linear",
                                         "linear(3)",
                                         "zeros([0])",
                                         "zeros([3, 0])",
                                         "ones([])",
                                         "d.x > 0",
                                         "i32(d.label)",
                                         "f64(d.x)",
                                         "d.x[0:0]",
                                         "d[0:2]",
                                         "epoch",
                                         "[k for k in 1..3]",
                                         "[k * d.x for k in 1..20]",
                                         "eye(3)",
                                         "net.linear1",
                                         "net.linear1.weight",
                                         "1 / 0",
                                         "max"};

} // namespace

TEST_CASE("every function, with every kind of value in every argument") {
  std::mt19937 random(seedOfRun());
  auto any = [&]() -> const std::string & { return values[random() % values.size()]; };
  size_t calls = 0;
  for (const Function &function : functions()) {
    // A statement's error does not stop the next one: many calls a program, fewer where one of them is at fault.
    std::vector<std::string> lines;
    auto add = [&](std::vector<std::string> arguments) {
      std::string line;
      for (const std::string &argument : arguments)
        line += (line.empty() ? "" : ", ") + argument;
      lines.push_back(function.name + "(" + line + ")");
      ++calls;
    };
    static const std::vector<std::string> likely = {"d.x", "image", "loss", "net", "square", "[2, 3]", "2"};
    for (size_t round = 0; round < 40; ++round) {
      std::vector<std::string> arguments;
      for (size_t i = 0; i < function.positional; ++i)
        arguments.push_back(random() % 2 ? likely[random() % likely.size()] : any());
      if (random() % 8 == 0 && !arguments.empty())
        arguments.pop_back();
      for (const std::string &keyword : function.keywords)
        if (random() % 2)
          arguments.push_back(keyword + " = " + any());
      add(arguments);
    }
    const int head = int(std::count(before.begin(), before.end(), '\n'));
    auto check = [&](std::vector<std::string> part) {
      // Those with errors first, then the others alone, through the passes.
      for (bool again = true; again && !part.empty();) {
        std::string text = before;
        for (const std::string &line : part)
          text += "v = " + line + "; save v\n";
        INFO(text);
        std::set<int> wrongLines;
        std::string wrong = attempt(text, &wrongLines);
        CHECK_MESSAGE(wrong.empty(), wrong);
        again = wrong.empty() && !wrongLines.empty();
        for (auto it = wrongLines.rbegin(); it != wrongLines.rend(); ++it)
          if (*it > head)
            part.erase(part.begin() + (*it - head - 1));
          else
            again = false;
      }
    };
    for (size_t at = 0; at < lines.size(); at += 10)
      check({lines.begin() + at, lines.begin() + std::min(at + 10, lines.size())});
  }
  std::printf("mistakes_test: %zu calls\n", calls);
}

TEST_CASE("every program with a word replaced") {
  std::vector<std::string> programs;
  auto read = [](const std::filesystem::path &path) {
    std::ifstream in(path);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  const std::filesystem::path root = HW_SOURCE_DIR;
  for (const char *folder : {"examples", "tests/oracle", "bench"})
    for (const auto &entry : std::filesystem::directory_iterator(root / folder))
      if (entry.path().extension() == ".hw")
        programs.push_back(read(entry.path()));
  std::string reference = read(root / "docs" / "language.md");
  static const std::regex block("```hw\n([^`]*)```"), word("[A-Za-z_]\\w*|[0-9]+(\\.[0-9]+)?(e-?[0-9]+)?");
  for (std::sregex_iterator it(reference.begin(), reference.end(), block), end; it != end; ++it)
    programs.push_back((*it)[1]);
  // A step is elaborated for each round of an unrolled loop, and in each first as a trial.
  programs.push_back(R"(
data d { x = uniform(-1, 1, shape = [40, 1], seed = 1); y = x }
fn f(x, n) = x |> linear(n) |> dropout(0.1) |> linear(1)
fn heavy(f, w, lr = 0.1) {
  state m = 0 * w
  state t = 1
  m' = 0.9 * m + grad(f(w), w)
  t' = t + 1
  return w - lr * m / t
}
best = inf
for width in [1, 2], rate in [0.1, 0.2] {
  net = init(f(width), d.x, seed = 1)
  train net on d batch 7 for 3 epochs {
    loss = mse(net(x), y)
    minimize loss with heavy(lr = rate)
    record curve: loss, width
    every 2 steps { best = min(best, last(loss)); stop when best < 0.1 }
  }
  v = mse(net(x), y) on d batch 7
  record ends: v, best
}
plot "ends" on ends { line v over rate by width }
)");
  REQUIRE(programs.size() > 30);
  std::mt19937 random(seedOfRun());
  for (int round = 0; round < 1200; ++round) {
    const std::string &program = programs[random() % programs.size()];
    std::vector<std::smatch> words(std::sregex_iterator(program.begin(), program.end(), word), std::sregex_iterator());
    const std::smatch &at = words[random() % words.size()];
    std::string with = random() % 2 ? "zzz" : values[random() % values.size()];
    std::string text =
        program.substr(0, size_t(at.position())) + with + program.substr(size_t(at.position() + at.length()));
    INFO(text);
    INFO("'", at.str(), "' became '", with, "'");
    std::string wrong = attempt(text);
    CHECK_MESSAGE(wrong.empty(), wrong);
  }
}
