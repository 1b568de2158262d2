// The reference itself: programs whose numbers are known, and programs of the generator, which must not be empty.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "frontend/Parser.h"
#include "frontend/elaborate/Elaborate.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Pass/PassManager.h"
#include "passes/Passes.h"
#include "runtime/Philox.h"
#include "tests/reference/Generate.h"
#include "tests/reference/Interpreter.h"
#include "tests/reference/Shrink.h"
#include <cmath>
#include <doctest/doctest.h>
#include <numeric>

using namespace hw;
using reference::Number;
using reference::Outcome;
using reference::Rounding;

namespace {

Outcome outcomeOf(const std::string &text, bool f64 = true, Rounding rounding = Rounding::toType) {
  Source source("test.hw", text);
  Diagnostics diagnostics;
  auto tree = parseModule(source, diagnostics);
  mlir::DialectRegistry registry;
  registry.insert<HwDialect, study::StudyDialect, mlir::func::FuncDialect>();
  registerTransformInterfaces(registry);
  mlir::MLIRContext context(registry, mlir::MLIRContext::Threading::DISABLED);
  context.loadAllAvailableDialects();
  ElaborateOptions options;
  options.f64 = f64;
  auto elaborated = elaborate(tree, diagnostics, context, options);
  INFO(diagnostics.render());
  REQUIRE(elaborated);
  mlir::PassManager passes(&context);
  passes.addPass(createExpandDerivativesPass());
  REQUIRE(mlir::succeeded(passes.run(*elaborated->module)));
  return reference::interpret(*elaborated->module, rounding);
}

/// A column of a table.
std::vector<double> column(const Outcome &outcome, const std::string &table, const std::string &name) {
  const reference::Table &t = outcome.tables.at(table);
  std::vector<double> values;
  for (const auto &row : t.rows)
    values.push_back(double(std::get<Number>(row[t.column(name).cell])));
  return values;
}
void checkColumn(const Outcome &outcome, const std::string &table, const std::string &name,
                 const std::vector<double> &want) {
  const std::vector<double> got = column(outcome, table, name);
  INFO(table, ".", name);
  REQUIRE(got.size() == want.size());
  for (size_t i = 0; i < want.size(); ++i)
    CHECK((std::isnan(want[i]) ? std::isnan(got[i]) : std::fabs(got[i] - want[i]) < 1e-12));
}

} // namespace

TEST_CASE("a loop's statements read the values before") {
  const Outcome outcome = outcomeOf("a, b = full([3], 1), full([3], 2)\n"
                                    "for i in 1..2 {\n"
                                    "  a, b = sin(b), a * b\n"
                                    "  record t: i, a = a[0], b = b[2]\n"
                                    "}\n"
                                    "record none: a = last(t.a), n = count(t.b), least = min(t.b)\n");
  checkColumn(outcome, "t", "i", {1, 2});
  checkColumn(outcome, "t", "a", {std::sin(2), std::sin(2)});
  checkColumn(outcome, "t", "b", {2, 2 * std::sin(2)});
  checkColumn(outcome, "none", "a", {std::sin(2)});
  checkColumn(outcome, "none", "n", {2});
  checkColumn(outcome, "none", "least", {2 * std::sin(2)});
}

TEST_CASE("an optimiser's state is the one before; every, stop and what blocks rebind") {
  const Outcome outcome = outcomeOf("data d { x = ones([1, 2]) }\n"
                                    "fn model(x) { param w: [2] = ones; return x * w }\n"
                                    "fn ogd(f, w) {\n"
                                    "  state s = 0 * w\n"
                                    "  g = grad(f(w), w)\n"
                                    "  s' = g\n"
                                    "  return w - 0.1 * (2 * g - s)\n"
                                    "}\n"
                                    "q = init(model, d.x)\n"
                                    "seen = 0\n"
                                    "train q on d for 9 steps {\n"
                                    "  loss = sum(q(x)^2)\n"
                                    "  minimize loss with ogd()\n"
                                    "  record z: w0 = q.w[0]\n"
                                    "  every 2 steps {\n"
                                    "    seen = seen + 1\n"
                                    "    record e: step, seen, m = mean(loss)\n"
                                    "    stop when step >= 4\n"
                                    "  }\n"
                                    "}\n"
                                    "record end: seen, w0 = q.w[0]\n");
  checkColumn(outcome, "z", "w0", {1, 0.6, 0.56, 0.456});
  checkColumn(outcome, "e", "step", {2, 4});
  checkColumn(outcome, "e", "m", {2 * (1 + 0.36) / 2, 2 * (0.56 * 0.56 + 0.456 * 0.456) / 2});
  checkColumn(outcome, "end", "seen", {2});
  checkColumn(outcome, "end", "w0", {0.3856});
}

TEST_CASE("batches are shuffled by seed and epoch, the last one is smaller, and evaluations weigh by rows") {
  const Outcome outcome = outcomeOf("data d { x = arange(5)[:, None] }\n"
                                    "fn model(x) { param w: [1] = ones; return x * w }\n"
                                    "net = init(model, d.x, seed = 3)\n"
                                    "train net on d batch 2 for 2 epochs {\n"
                                    "  minimize 0 * sum(net(x)) with sgd()\n"
                                    "  record r: first = x[0, 0], rows = x.shape[0]\n"
                                    "}\n"
                                    "m = mean(net(x)) on d batch 2\n"
                                    "out = net(x) on d batch 2\n"
                                    "record e: m\n"
                                    "save out\n");
  std::vector<double> first;
  for (uint64_t epoch = 0; epoch < 2; ++epoch) {
    std::vector<double> order(5);
    std::iota(order.begin(), order.end(), 0);
    PhiloxStream random(3, epoch, shuffleTag);
    for (size_t i = 5; i > 1; --i)
      std::swap(order[i - 1], order[random.below(uint32_t(i))]);
    for (size_t i : {0, 2, 4})
      first.push_back(order[i]);
  }
  checkColumn(outcome, "r", "first", first);
  checkColumn(outcome, "r", "rows", {2, 2, 1, 2, 2, 1});
  checkColumn(outcome, "e", "m", {2});
  const auto &out = outcome.saved.at({"out.npy", ""});
  CHECK(out.values == std::vector<Number>{0, 1, 2, 3, 4});
}

TEST_CASE("dense, eigvals, derivatives of batches") {
  const Outcome outcome = outcomeOf("data d { x = arange(4)[:, None] }\n"
                                    "v = linspace(1, 2, 3)\n"
                                    "H = dense(hessian(sum(v^3) / 6, v))\n"
                                    "record h: ev = eigvals(H)\n"
                                    "fn model(x) { param w: [1] = ones; return x * w }\n"
                                    "net = init(model, d.x)\n"
                                    "e = mean(net(x)^2) on d batch 3\n"
                                    "record g: e, slope = grad(e, net).w[0]\n");
  const auto &table = outcome.tables.at("h");
  for (size_t i = 0; i < 3; ++i)
    CHECK(std::fabs(double(std::get<Number>(table.rows[0][i])) - (1 + 0.5 * double(i))) < 1e-12);
  checkColumn(outcome, "g", "e", {3.5});
  checkColumn(outcome, "g", "slope", {7});
}

TEST_CASE("f32 rounds once an op, and disturbed runs are near") {
  const std::string text = "a = f32(full([2], 0.1))\nrecord t: s = 3 * a[0], e = exp(a[1])\n";
  const Outcome f32 = outcomeOf(text, false), exact = outcomeOf(text, false, Rounding::none),
                moved = outcomeOf(text, false, Rounding::perturbed);
  const double s = column(f32, "t", "s")[0];
  CHECK(s == double(float(3.0 * double(0.1f))));
  CHECK(column(f32, "t", "e")[0] == double(float(std::exp(double(0.1f)))));
  CHECK(column(exact, "t", "s")[0] != s);
  CHECK(std::fabs(column(moved, "t", "s")[0] - s) < 1e-6);
}

TEST_CASE("a program is a function of its seed, and is made smaller line by line") {
  for (uint64_t seed = 1; seed <= 20; ++seed)
    CHECK(reference::generate(seed).text == reference::generate(seed).text);
  CHECK(reference::generate(1).text != reference::generate(2).text);
  reference::Generated program;
  program.text = "a = 1\n"
                 "for i in 1..2 {\n"
                 "  b, c = sin(tanh(a)), cos(a)\n"
                 "  record t: a, b, c\n"
                 "}\n"
                 "save a\n";
  const auto smaller = reference::shrink(program, 60, [](const reference::Generated &candidate) {
    return candidate.text.find("tanh(a)") != std::string::npos && candidate.text.find("for") != std::string::npos;
  });
  CHECK(smaller.text == "for i in 1..2 {\n"
                        "  b = tanh(a)\n"
                        "}\n");
}
