// Elaboration: what a file means. Every module that comes out has been verified by MLIR.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include "frontend/Parser.h"
#include "frontend/elaborate/Elaborate.h"
#include "ir/Precision.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"

#include <filesystem>
#include <fstream>
#include <regex>
#include <unistd.h>

using namespace hw;

namespace {

struct Made {
  mlir::MLIRContext context;
  std::unique_ptr<Source> source;
  Diagnostics diagnostics;
  std::optional<Elaborated> result;

  // All ops of a kind, regions included.
  template <class Op> std::vector<Op> all() {
    std::vector<Op> ops;
    result->module->walk([&](Op op) { ops.push_back(op); });
    return ops;
  }
  template <class Op> Op only() {
    std::vector<Op> ops = all<Op>();
    REQUIRE(ops.size() == 1);
    return ops[0];
  }
  const Setting &setting(const std::string &name) {
    for (const Setting &s : result->settings)
      if (s.name == name)
        return s;
    FAIL("no setting " << name);
    return result->settings[0];
  }
};

std::unique_ptr<Made> attempt(const std::string &text, ElaborateOptions options = {}) {
  auto made = std::make_unique<Made>();
  options.lint = true;
  made->source = std::make_unique<Source>("model.hw", text);
  ast::Module file = parseModule(*made->source, made->diagnostics);
  if (!made->diagnostics.hasErrors())
    made->result = elaborate(file, made->diagnostics, made->context, options);
  CHECK(made->result.has_value() != made->diagnostics.hasErrors());
  return made;
}

std::unique_ptr<Made> make(const std::string &text, const ElaborateOptions &options = {}) {
  auto made = attempt(text, options);
  INFO(text);
  INFO(made->diagnostics.render());
  REQUIRE(made->result);
  CHECK(mlir::succeeded(mlir::verify(*made->result->module)));
  return made;
}

std::string errorOf(const std::string &text, const ElaborateOptions &options = {}) {
  return attempt(text, options)->diagnostics.render();
}

const std::string data = "data d { x = uniform(-1, 1, shape = [20, 3], seed = 1); "
                         "y = normal(0, 1, shape = [20, 1], seed = 2) }\n";
const std::string net = data + "fn small(x) = x |> linear(4) |> tanh |> linear(1)\n"
                               "net = init(small, d.x, seed = 1)\n";
std::string train(const std::string &body, const std::string &head = "net on d for 5 epochs") {
  return net + "train " + head + " {\n" + body + "\n}\n";
}
const std::string plainStep = "loss = mse(net(x), y)\nminimize loss with sgd(lr = 0.1)";

std::vector<std::string> strings(mlir::ArrayAttr list) {
  std::vector<std::string> result;
  for (auto text : list.getAsRange<mlir::StringAttr>())
    result.push_back(text.getValue().str());
  return result;
}
using Strings = std::vector<std::string>;

std::vector<int64_t> shape(mlir::Value v) { return shapeOf(v).vec(); }
using Shape = std::vector<int64_t>;

// The shape of `v` after `v = <expression>`.
Shape shapeAfter(const std::string &expression) {
  auto made = make(data + "v = " + expression + "\nsave v\n");
  return shape(made->only<study::SaveOp>().getOperands()[0]);
}

Strings parameterNames(Made &made, size_t which = 0) {
  Strings names;
  for (const NetSummary::Layer &layer : made.result->nets.at(which).layers)
    for (const NetSummary::Parameter &p : layer.parameters)
      names.push_back((layer.path.empty() ? "" : layer.path + ".") + p.name);
  return names;
}

// The sites of a module's random calls, in order.
std::vector<int64_t> sites(Made &made) {
  std::vector<int64_t> result;
  for (RandomBitsOp op : made.all<RandomBitsOp>())
    result.push_back(op.getSite());
  return result;
}

} // namespace

//===-- Errors --------------------------------------------------------------------------------------------------===//

TEST_CASE("mistakes are named, with their place") {
  struct Case {
    const char *name;
    std::string source;
    std::vector<const char *> patterns;
  };
  auto step = [](const std::string &objective, const std::string &optimiser = "sgd(lr = 0.1)") {
    return net + "train net on d for 1 epochs { minimize " + objective + " with " + optimiser + " }\n";
  };
  const std::string images = "data d { x = normal(0, 1, shape = [4, 3, 8, 8], seed = 1) }\n";
  auto layers = [&](const std::string &chain) {
    return images + "fn f(x) = x |> " + chain + " |> flatten |> linear(1)\nnet = init(f, d.x, seed = 1)\n";
  };
  const std::vector<Case> cases = {
      {"unknown name", net + "v = netz.weights\n", {R"(model\.hw:4:5)", "netz", R"(\bnet\b)"}},
      {"unknown function",
       data + "fn small(x) = x |> linaer(4)\nnet = init(small, d.x, seed = 1)\n",
       {R"(model\.hw:2)", "linaer", R"(\blinear\b)"}},
      {"unknown column", step("mse(net(x), z)"), {R"(model\.hw:4)", R"(\bz\b)"}},
      {"unknown argument", step("mse(net(x), y)", "sgd(rate = 0.1)"), {R"(model\.hw:4)", R"(\brate\b)", R"(\blr\b)"}},
      {"unknown name in a step, and what there is", step("mse(net(x), zzz)"), {"here there are .*`x`, `y`"}},
      {"PyTorch's name of a loss", data + "v = CrossEntropyLoss(d.x, d.y)\n", {"did you mean `cross_entropy`"}},
      {"PyTorch's name of an argument", layers("conv2d(2, kernel_size = 3)"), {"kernel_size", "did you mean `kernel`"}},
      {"a layer's input in the brackets of a pipe",
       layers("linear(192, 5)"),
       {R"(model\.hw:2)", "gives `linear` its x"}},
      {"a default by position in a pipe", layers("conv2d(8, 5)"), {"gives `conv2d` its x", "default goes by name"}},
      {"a function as a field", images + "v = d.x.flatten()\n", {R"(`x \|> flatten)"}},
      {"an optimiser's rate by position",
       step("mse(net(x), y)", "adam(0.1)"),
       {"lacks 1 argument\n", R"(adam\(lr = )"}},
      {"half a call in batches", net + "record t: a = mse(net(x)) on d batch 8\n", {"still lacks prediction"}},
      {"f64 in an f32 loop",
       data + "s = d.x[0]\nfor i in 1..3 { s = s + f64(d.x[i32(i)]) }\nsave s\n",
       {"`s`, carried around this loop, is f32 and cannot become f64", R"(f64\(\.\.\.\))"}},
      {"f64 weights chosen for f32 ones",
       net + "other = where(mean(d.x) > 0, net, f64(net))\nsave other\n",
       {"is f32 and cannot become f64"}},
      {"an objective at weights of the other precision",
       net + "fn own(f, w) = w - grad(f(w), w) * f(f64(w))\ntrain net on d for 1 epochs { minimize mse(net(x), y) with "
             "own "
             "}\n",
       {"weights of its own type, f32, found f64"}},
      {"argument by position", "v = uniform(0, 1, [3])\n", {R"(model\.hw:1)", "2 positional", "shape"}},
      {"shapes of @", data + "v = d.x @ d.x\n", {R"(model\.hw:2)", "20", "3"}},
      {"shapes of +", data + "v = d.x + ones([7])\n", {R"(model\.hw:2)", "7", "3"}},
      {"shapes in a loss", step("mse(net(x), x)"), {R"(model\.hw:4)"}},
      {"an objective for sgd with axes", step("net(x) - y"), {R"(model\.hw:4)", R"(20, 1)"}},
      {"recursion", "fn f(x) = f(x - 1)\nv = f(3)\n", {R"(model\.hw:[12])", "itself"}},
      {"mutual recursion", "fn f(x) = g(x)\nfn g(x) = f(x)\nv = f(3)\n", {R"(model\.hw:[123])", "itself"}},
      {"absurd tensor", "v = ones([1000000, 1000000, 1000000])\nsave v\n", {R"(model\.hw:1)", "GiB"}},
      {"absurd tensor that wraps", "v = ones([4294967296, 4294967296])\nsave v\n", {R"(model\.hw:1)"}},
      {"negative size", "v = ones([-3])\n", {R"(model\.hw:1)", "-3"}},
      {"endless list", "v = [i for i in 1..1000000000000]\n", {R"(model\.hw:1)"}},
      {"if of a run-time value", data + "if sum(d.x) > 0 { v = 1 }\n", {R"(model\.hw:2)", "where"}},
      {"training a number",
       data + "v = 3\ntrain v on d for 1 epochs { minimize sum(x) with sgd() }\n",
       {R"(model\.hw:3)", "net"}},
      {"nothing to minimise",
       net + "train net on d for 1 epochs { v = mse(net(x), y) }\n",
       {R"(model\.hw:4)", "minimi"}},
      {"no flow", net + "g = grad(mse(d.x, d.x), net)\nsave g\n", {R"(model\.hw:4)", "flow"}},
      {"train cuts the flow",
       train(plainStep) + "g = grad(mse(net(d.x), d.y), init(small, d.x, seed = 2))\n",
       {R"(model\.hw:8)", "flow"}},
      {"a derivative through the variable",
       "w = ones([2]) + 0\na = w * w\ns = jvp(sum(a^3), w, ones([2]))\ng = grad(s, a)\n",
       {R"(model\.hw:4:5: error: `grad` cannot take `a` as its variable: the derivative at model\.hw:3:5 )",
        R"(help: .*stop_gradient)"}},
      {"a derivative of the variable itself by what it comes from",
       "w = full([], 2.0)\na = w * w\nv = jvp(3 * grad(a, w), a, 1)\n",
       {R"(model\.hw:3:5: error: `jvp` cannot take `a`.* model\.hw:3:13)"}},
      {"a derivative through an expression",
       "w = ones([2]) + 0\na = [w, sin(w)]\ns = grad(sum(a[1]^3), w)\nv = vjp(s, a[1], ones([2]))\n",
       {R"(model\.hw:4:5: error: `vjp` cannot take its second argument as .* model\.hw:3:5 )"}},
      {"a Hessian, a Jacobian through the variable",
       "w = ones([2]) + 0\na = sin(w)\nH = dense(hessian(sum(a^3), w))\nJ = jacobian(sum(H, axis = 0), a)\n",
       {R"(model\.hw:4:5: error: `jacobian` cannot take `a`.* model\.hw:3:5 )"}},
      {"a derivative through the variable of another",
       "w = ones([2]) + 0\na = sin(w)\ns = sum(grad(sum(a^3), a)^2)\nt = sum(grad(s, w)^2)\nh = hessian(t, a)\n",
       {R"(model\.hw:5:5: error: `grad` cannot take `a`.* model\.hw:4:9)"}},
      {"a derivative through weights, in a step",
       train("u = net(x)\ng = grad(mse(u, y), net)\nminimize sum(g^2) + 0 * sum(grad(sum(g^2), u)) with sgd()"),
       {R"(model\.hw:7:\d+: error: `grad` cannot take `u`.* model\.hw:6:5)"}},
      {"a derivative through weights, in batches",
       data + "fn f(x) = x |> linear(1)\nnet = init(f, d.x)\nv = mean(net.weights * 2)\n"
              "w = net.linear1.weight\na = w * w\nl = mean(grad(mean((x @ a.T)^2), w)) on d batch 10\ng = grad(l, a)\n",
       {R"(model\.hw:8:5: error: `grad` cannot take `a`.* model\.hw:7:10)"}},
      {"a gradcheck through the variable",
       "w = ones([2]) + 0\na = w * w\nc = gradcheck(sum(grad(sum(a^3), w)), a)\n",
       {R"(model\.hw:3:5: error: `gradcheck` cannot take `a`)"}},
      {"overlapping weights",
       train("minimize mse(net(x), y) with sgd(lr = 0.1)\nminimize sum(net.weights^2) with sgd(lr = 0.1)"),
       {R"(model\.hw:6)", "linear1.weight", "over"}},
      {"unknown column of a table",
       net + "record t: a = 1\nplot \"p\" on t { line b over a }\n",
       {R"(model\.hw:5)", R"(\bb\b)"}},
      {"unknown table", "plot \"p\" on nowhere { line b over a }\n", {R"(model\.hw:1)", "nowhere"}},
      {"no such state", "fn f(x) { s' = x; return x }\nv = f(1)\n", {R"(model\.hw:1)", "state"}},
      {"batch of none",
       net + "train net on d batch 0 for 1 epochs { minimize mse(net(x), y) with sgd() }\n",
       {R"(model\.hw:4)", "batch"}},
      {"columns of different lengths", "data d { x = ones([3, 1]); y = ones([4, 1]) }\n", {R"(model\.hw:1)", "3", "4"}},
      {"a sum over samples in batches", net + "v = sum(net(x)) on d batch 5\n", {R"(model\.hw:4)", "mean"}},
      {"a layer outside of nets", data + "v = linear(d.x, 3)\n", {R"(model\.hw:2)", "init"}},
      {"a fn that trains", data + "fn f(x) { record t: x; return x }\nv = f(1)\n", {R"(model\.hw:2)", "pure"}},
      {"a fn without return", "fn f(x) { y = x }\nv = f(1)\n", {R"(model\.hw:1)", "return"}},
      {"a random call without a seed", "v = normal(0, 1, shape = [3])\n", {R"(model\.hw:1)", "seed"}},
      {"a loop that changes a shape",
       "v = ones([2])\nfor i in 1..3 { v = concat([v, v]) }\nsave v\n",
       {R"(model\.hw:2)", R"(\bv\b)"}},
      {"a column that hides a name", "x = 3\n" + data + "v = mean(x) on d\n", {R"(model\.hw:3)", "hides"}},
      {"labels", data + "v = cross_entropy(d.x, d.y)\n", {R"(model\.hw:2)", "class"}},
      {"logits", data + "v = cross_entropy(d.x, randint(5, shape = [20], seed = 1))\n", {R"(model\.hw:2)", "5", "3"}},
      {"a file that is not there", "data d = csv(\"nowhere.csv\")\n", {R"(model\.hw:1)", R"(nowhere\.csv)"}},
      {"stop outside of every", train(plainStep + "\nstop when loss < 1"), {R"(model\.hw:7)", "every"}},
      {"two files of one name", net + "save net\nsave net\n", {R"(model\.hw:5)", "another `save`"}},
      {"a gradcheck in a step", train(plainStep + "\nc = gradcheck(loss, net)"), {R"(model\.hw:7)", "gradcheck"}},
      {"quick of nothing", "quick n = 3\n", {R"(model\.hw:1)", R"(\bn\b)"}},
      {"a convolution of rows",
       data + "fn f(x) = x |> conv2d(8)\nnet = init(f, d.x, seed = 1)\n",
       {R"(model\.hw:2:16)", R"(\[N, C, H, W\])", "reshape"}},
      {"a kernel that does not fit",
       layers("conv2d(8, kernel = 11, padding = 1)"),
       {R"(model\.hw:2:16)", "kernel of size 11", "axis 2 of size 8, 10 with its padding"}},
      {"a dilated kernel that does not fit",
       layers("conv2d(8, dilation = [1, 5])"),
       {R"(model\.hw:2:16)", "dilated to 11", "axis 3 of size 8"}},
      {"groups", layers("conv2d(8, groups = 2)"), {R"(model\.hw:2:16)", "2 groups", "3 input", "8 output"}},
      {"a stride of 0", layers("conv2d(8, stride = 0)"), {R"(model\.hw:2:16)", "stride", "from 1"}},
      {"a stride for other axes", layers("conv2d(8, stride = [1, 2, 3])"), {R"(model\.hw:2:16)", "2 spatial axes"}},
      {"negative padding", layers("conv2d(8, padding = -1)"), {R"(model\.hw:2:16)", "padding", "from 0"}},
      {"absurd padding", layers("conv2d(8, stride = 2^30, padding = 2^30)"), {R"(model\.hw:2:16)", "GiB"}},
      {"a kernel for other axes", layers("conv2d(8, kernel = [3])"), {R"(model\.hw:2:16)", "list of 1"}},
      {"a window that does not fit", layers("maxpool(9)"), {R"(model\.hw:2:16)", "window of size 9", "axis 2"}},
      {"a window of padding", layers("avgpool(2, padding = 2)"), {R"(model\.hw:2:16)", "no element of axis 2"}},
      {"pooling of rows", layers("flatten |> maxpool(2)"), {R"(model\.hw:2:27)", "pooling takes"}},
      {"a weight for other channels",
       images + "v = conv(d.x, ones([4, 2, 3, 3]))\n",
       {R"(model\.hw:2)", "reads 2 channels", "has 3"}},
  };
  for (const Case &c : cases) {
    CAPTURE(c.name);
    std::string text = errorOf(c.source);
    CAPTURE(text);
    for (const char *pattern : c.patterns)
      CHECK_MESSAGE(std::regex_search(text, std::regex(pattern)), pattern);
    CHECK(text.find("defect") == std::string::npos);
  }
}

TEST_CASE("a derivative by a value on the way is one where nothing inside is differentiated through it") {
  const std::string values = "w = ones([2]) + 0.5\na = w * w\nb = sin(w)\n";
  const std::vector<const char *> programs = {
      // By what the inner one is taken by, and by what that comes from.
      "g = grad(sum(grad(sum(w^3), w)^2), w)",
      "s = grad(sum(a^3), a)\ng = grad(sum(s), a)\nh = grad(sum(s), w)\ni = dense(hessian(sum(s), a))",
      "s = grad(sum(a^3), w)\ng = grad(sum(s), w)",
      // By what lies beside the inner one's way, or is its tangent.
      "s = grad(sum(b^3), w)\ng = grad(sum(s * a), a)",
      "s = jvp(sum(b^3), w, a)\ng = grad(s, a)\nJ = jacobian(s, a)",
      "s = grad(sum(a^3), w)\ng = grad(sum(a^2), a)",
      // By what the inner one holds constant, or the outer one the inner.
      "c = stop_gradient(a)\ns = grad(sum(c * w^2), w)\ng = grad(sum(s), c)",
      "c = floor(2 * a) + sign(a)\ns = grad(sum(c * w^2), w)\ng = grad(sum(s), c)",
      "c = where(a > 1, d.x[0, 0:2], d.x[1, 0:2])\ns = grad(sum(c * w^2), w)\ng = grad(sum(s), c)",
      "s = stop_gradient(grad(sum(a^3), w))\ng = grad(sum(s * a), a)",
      // By weights, of slopes in the inputs.
      "s = grad(sum(net(d.x)), d.x)\nl = mean(s^2) + mse(net(d.x), d.y)\ng = grad(l, net)\nH = hessian(l, net) @ g",
      "l = sum(grad(mse(net(x), y), net)) on d batch 10\ng = grad(l, net)\nh = hessian(l, net.weights) @ g",
      // Through a step of gradient descent, and by the weights after it.
      "l = mse(net(d.x), d.y)\nnear = at(net, net.weights - 0.1 * grad(l, net))\nm = mse(near(d.x), d.y)\n"
      "g = grad(m, near)\nh = grad(m, net)\nH = hessian(m, near) @ g",
  };
  for (const char *program : programs)
    make(net + values + program + "\n");
  // At other weights f holds them constant, however they were computed.
  make(train("fn far(f, w, lr = 0.1) {\n  v = w - 0.1 * grad(f(w), w)\n  u = v - 0.1 * grad(f(v), w)\n"
             "  return w - lr * grad(f(u), u) - lr * grad(f(u), w) - lr * (hessian(f(u), u) @ grad(f(v), v))\n}\n"
             "s = grad(sum(net(x)), x)\nminimize mse(net(x), y) + mean(s^2) with far()"));
}

TEST_CASE("one mistake is one error, and others in the file are found too") {
  auto made =
      attempt(data + "a = nothing\nb = a + 1\nc = b.shape\nv = d.x @ d.x\nfor i in [1, 2, 3] { w = nowhere }\n");
  std::string text = made->diagnostics.render();
  CAPTURE(text);
  CHECK(made->diagnostics.errorCount() == 3);
  // What a training with a mistake would have recorded is not missed.
  made = attempt(
      net + "train net on d for 1 epochs {\n  record t: loss = 1\n  minimize mse(net(x), y) with Adam(lr = 1)\n}\n"
            "a = last(t.loss)\nplot \"p\" on t { line loss over step }\nplot \"q\" { line t.other over t.step }\n");
  CHECK_MESSAGE(made->diagnostics.errorCount() == 1, made->diagnostics.render());
}

TEST_CASE("what would make the compiler run for ever is stopped") {
  std::string calls;
  for (int i = 0; i < 60; ++i)
    calls += "fn f" + std::to_string(i) + "(x) = f" + std::to_string(i + 1) + "(x) + f" + std::to_string(i + 1) +
             "(x + 1)\n";
  CHECK(errorOf(calls + "fn f60(x) = x\nv = f0(ones([2]))\nsave v\n").find("million") != std::string::npos);
}

//===-- Values --------------------------------------------------------------------------------------------------===//

TEST_CASE("shapes are NumPy's") {
  CHECK(shapeAfter("d.x + d.y") == Shape{20, 3});
  CHECK(shapeAfter("d.x[:, 0]") == Shape{20});
  CHECK(shapeAfter("d.x[-1]") == Shape{3});
  CHECK(shapeAfter("d.x[2:100:5, None]") == Shape{4, 1, 3});
  CHECK(shapeAfter("d.x[::-3]") == Shape{7, 3});
  CHECK(shapeAfter("d.x[..., [0, 2]]") == Shape{20, 2});
  CHECK(shapeAfter("d.x.T @ d.x") == Shape{3, 3});
  CHECK(shapeAfter("ones([5, 2, 3]) @ ones([3, 4])") == Shape{5, 2, 4});
  CHECK(shapeAfter("ones([2, 3]) @ ones([5, 3, 4])") == Shape{5, 2, 4});
  CHECK(shapeAfter("ones([3]) @ ones([3])") == Shape{});
  CHECK(shapeAfter("mean(d.x, axis = 0)") == Shape{3});
  CHECK(shapeAfter("sum(d.x, axis = [0, 1], keepdims = True)") == Shape{1, 1});
  CHECK(shapeAfter("[k * d.x for k in 1..4]") == Shape{4, 20, 3});
  CHECK(shapeAfter("[k * d.y for k in 1..40]") == Shape{40, 20, 1});
  CHECK(shapeAfter("concat([d.x, d.y], axis = 1)") == Shape{20, 4});
  CHECK(shapeAfter("stack([d.x, d.x], axis = -1)") == Shape{20, 3, 2});
  CHECK(shapeAfter("reshape(d.x, [4, -1])") == Shape{4, 15});
  CHECK(shapeAfter("where(d.x > 0, d.y, 0)") == Shape{20, 3});
  CHECK(shapeAfter("one_hot(argmax(d.x, axis = 1))") == Shape{20, 3});
}

TEST_CASE("convolution and pooling: shapes as PyTorch's") {
  CHECK(shapeAfter("conv(ones([2, 6, 9, 8]), ones([4, 3, 5, 3]), stride = [2, 1], padding = 1, groups = 2)") ==
        Shape{2, 4, 4, 8});
  CHECK(shapeAfter("conv(ones([2, 6, 9]), ones([4, 6, 3]), dilation = 2, padding = [[3, 0]])") == Shape{2, 4, 8});
  CHECK(shapeAfter("conv(ones([2, 1, 4, 5, 6]), ones([3, 1, 2, 2, 2]))") == Shape{2, 3, 3, 4, 5});
  CHECK(shapeAfter("kernel_shape(ones([2, 6, 9, 8]), 4, pair(3), groups = 2)") == Shape{4});
  CHECK(shapeAfter("maxpool(ones([2, 3, 7, 9]), 2)") == Shape{2, 3, 3, 4});
  CHECK(shapeAfter("maxpool(ones([2, 3, 7, 9]), 3, stride = 2, padding = 1)") == Shape{2, 3, 4, 5});
  CHECK(shapeAfter("maxpool(ones([2, 3, 7]), [3])") == Shape{2, 3, 2});
  CHECK(shapeAfter("avgpool(ones([2, 3, 7, 9]), [7, 3], stride = [1, 3])") == Shape{2, 3, 1, 3});
  CHECK(shapeAfter("global_avgpool(ones([2, 3, 7, 9]))") == Shape{2, 3});
  CHECK(shapeAfter("window_sum(ones([2, 3, 4, 5, 6]), 2)") == Shape{2, 3, 2, 2, 3});
}

TEST_CASE("layers of images: parameters by PyTorch's names and shapes") {
  auto made = make("data d { x = zeros([4, 6, 8, 8]) }\n"
                   "fn f(x) = x |> conv2d(4, kernel = [3, 2], groups = 2) |> batchnorm |> relu |> global_avgpool\n"
                   "net = init(f, d.x, seed = 1)\n");
  CHECK(parameterNames(*made) == Strings{"conv2d1.weight", "conv2d1.bias", "batchnorm1.weight", "batchnorm1.bias",
                                         "batchnorm1.running_mean", "batchnorm1.running_var"});
  CHECK(made->result->nets[0].layers[0].parameters[0].shape == Shape{4, 3, 3, 2});
  CHECK(made->result->nets[0].parameters() == 4 * 3 * 3 * 2 + 4 + 4 + 4);
}

TEST_CASE("f64 spreads, and numbers are weak") {
  auto made = make("a = ones([2]) * 2.5\nb = f64(ones([2])) + ones([2])\nsave a, b\n");
  auto saves = made->all<study::SaveOp>();
  CHECK(elementOf(saves[0].getOperands()[0]).isF32());
  CHECK(elementOf(saves[1].getOperands()[0]).isF64());
  ElaborateOptions wide;
  wide.f64 = true;
  CHECK(elementOf(make("a = ones([2])\nsave a\n", wide)->only<study::SaveOp>().getOperands()[0]).isF64());
}

TEST_CASE("a tensor made of numbers alone is weak: f64 until it meets another, or stays in a place") {
  auto typeOf = [](const std::string &expression, bool f64 = false) {
    ElaborateOptions options;
    options.f64 = f64;
    auto made = make(data + "u = d.x[0]\nw = f64(u)\nv = " + expression + "\nsave v\n", options);
    return elementOf(made->only<study::SaveOp>().getOperands()[0]).isF64();
  };
  for (const char *made : {"[0.1, 0.2]", "linspace(0, 1, 3)", "full([3], 0.1)", "eye(3)", "arange(3)", "ones([3]) / 3",
                           "0.1 * eye(3) @ [1, 2, 3]", "where(u > 0, 0.1, 0.2)", "stack([ones([3]), zeros([3])])",
                           "[0.1 * k for k in 1..20]", "sum(linspace(0, 1, 3))", "concat([ones([3]), [0.1]])"}) {
    CAPTURE(made);
    CHECK_FALSE(typeOf(made));
    CHECK(typeOf(made, true));
    CHECK(typeOf("f64(" + std::string(made) + ")"));
    CHECK_FALSE(typeOf("f32(" + std::string(made) + ")", true));
    CHECK_FALSE(typeOf("u[0] + " + std::string(made)));
    CHECK(typeOf("w[0] * " + std::string(made)));
  }
  auto element = [](const std::string &expression) {
    auto made = make(net + "wide = " + expression + "\nsave wide, out = wide(d.x)\n");
    auto saves = made->all<study::SaveOp>();
    CHECK(elementOf(saves[0].getOperands()[0]) == elementOf(saves[1].getOperands()[0]));
    return elementOf(saves[1].getOperands()[0]).isF64();
  };
  CHECK(element("f64(net)"));
  CHECK(element("at(net, f64(net.weights))"));
  CHECK(element("mix(net, f64(net), 0.5)"));
  CHECK_FALSE(element("at(net, 0.1 * net.weights)"));
  CHECK_FALSE(element("at(net, linspace(0, 1, net.weights.size))"));
  CHECK_FALSE(element("f32(f64(net))"));
}

TEST_CASE("what was only rounded to f32 is not made f64 again") {
  mlir::MLIRContext context;
  context.loadDialect<HwDialect, study::StudyDialect, mlir::func::FuncDialect>();
  auto found = [&](const std::string &body) {
    auto module = mlir::parseSourceString<mlir::ModuleOp>(
        "func.func @study(%a: tensor<3xf64>, %b: tensor<3xf32>) {\n" + body + "\nreturn\n}\n", &context);
    REQUIRE(module);
    return roundTrips(*module).size();
  };
  const std::string down = "%x = hw.cast %a : tensor<3xf64> -> tensor<3xf32>\n",
                    up = " : tensor<3xf32> -> tensor<3xf64>";
  CHECK(found(down + "%y = hw.cast %x" + up) == 1);
  CHECK(found(down + "%s = hw.sin %x : tensor<3xf32>\n%y = hw.cast %s" + up) == 1);
  CHECK(found("%x = hw.constant dense<0.1> : tensor<3xf32>\n%y = hw.cast %x" + up) == 1);
  CHECK(found("%x = hw.cast %a {hw.kept} : tensor<3xf64> -> tensor<3xf32>\n%y = hw.cast %x" + up) == 0);
  CHECK(found(down + "%s = hw.mul %x, %b : tensor<3xf32>\n%y = hw.cast %s" + up) == 0); // met what is f32
  CHECK(found("%y = hw.cast %b" + up) == 0);
  CHECK(found(down + "%i = hw.iota dim 0 : tensor<3xf32>\n%s = hw.add %x, %i : tensor<3xf32>\n%y = hw.cast %s" + up) ==
        1);
}

TEST_CASE("in batches: each sample by itself, and what is linear in a mean; nothing else") {
  const std::string head = net + "data e { x = d.x; y = d.y; label = randint(3, shape = [20], seed = 3) }\n";
  auto error = [&](const std::string &e) { return errorOf(head + "v = " + e + " on e batch 8\n"); };
  for (const char *good :
       {"mean(x)", "1 - 2 * mean(x^2)", "net(x)", "mse(net(x), y)", "mean(x, axis = 0) @ [1, 2, 3]",
        "grad(mse(net(x), y), net)", "hessian(mse(net(x), y), net) @ net.weights", "accuracy(x, label)",
        "cross_entropy(x, label, smoothing = 0.1)", "argmax(net(x), axis = 1)", "mean(x) + norm(net.weights)",
        "softmax(x)", "where(x > 0, x, 0)", "x.T[0]", "mean(reshape(x, [x.shape[0] * 3]) ^ 2)", "net.weights.size"}) {
    CAPTURE(good);
    CHECK(error(good) == "");
  }
  for (const char *bad : {"std(x)",
                          "var(x, axis = 0)",
                          "sqrt(mean(x^2))",
                          "mean(x)^2",
                          "mean(x) * mean(y)",
                          "mean(x) / mean(y^2)",
                          "x[0]",
                          "x[::-1]",
                          "x.T @ x",
                          "one_hot(label).T @ one_hot(label)",
                          "norm(x)",
                          "max(mean(x), 0)",
                          "mean(x - mean(x))",
                          "softmax(x, axis = 0)",
                          "norm(grad(mse(net(x), y), net))",
                          "argmax(x, axis = 0)",
                          "x.shape[0] * mean(x)",
                          "len(x)",
                          "arange(len(x)) * y[:, 0]",
                          "random(shape = y.shape, seed = 1)",
                          "grad(mean(x^2), x)",
                          "where(mean(x) > 0, mean(x), 1)",
                          "sum(x)",
                          "x @ x.T",
                          "max(x)",
                          "count(x)",
                          "mean(x > mean(x))"}) {
    CAPTURE(bad);
    CHECK(std::regex_search(error(bad), std::regex("put together from batches|axis of the samples must come first")));
  }
}

TEST_CASE("batch norm of one value is refused where it would be trained, and the last batch counts") {
  auto error = [](const std::string &layer, const std::string &rows, const std::string &batch) {
    return errorOf("data d { x = normal(0, 1, shape = [" + rows + "], seed = 1) }\nfn f(x) = x |> " + layer +
                   "\nnet = init(f, d.x, seed = 1)\ntrain net on d " + batch +
                   " for 1 epochs { minimize mean(net(x)^2) with sgd() }\n");
  };
  const std::string conv = "conv2d(2) |> batchnorm";
  CHECK(error("linear(4) |> batchnorm", "21, 3", "batch 5").find("the last batch of an epoch has 1 row here") !=
        std::string::npos);
  CHECK(error("linear(4) |> batchnorm", "20, 3", "batch 1").find("takes more values than the 1 of each") !=
        std::string::npos);
  CHECK(error("linear(4) |> batchnorm", "22, 3", "batch 5") == "");
  CHECK(error("linear(4) |> batchnorm", "21, 3", "") == "");
  CHECK(error(conv, "21, 1, 4, 4", "batch 5") == "");
  CHECK(error(conv, "21, 1, 3, 3", "batch 5").find("the last batch") != std::string::npos);
}

TEST_CASE("partial application gives the last arguments") {
  auto made = make(data + "fn f(x, a, b, k = 1) = k * (x + a * b)\ng = f(2, 3, k = 5)\nv = g(1)\nw = 1 |> f(2, 3)\n");
  CHECK(made->setting("v").value == 35);
  CHECK(made->setting("w").value == 7);
}

//===-- Loops ---------------------------------------------------------------------------------------------------===//

TEST_CASE("a range runs, unless a shape needs its variable") {
  auto made = make("s = 0\nfor i in 1..5 { s = s + i }\nrecord t: s\n");
  CHECK(made->only<study::ForOp>().getNumResults() == 1);
  made = make("for i in 1..5 { record t: n = sum(ones([i])) }\n");
  CHECK(made->all<study::ForOp>().empty());
  CHECK(made->all<study::RecordOp>().size() == 5);
  made = make("for i in 1..5 { for j in 1..3 { if j > 1 { record t: v = i * j } } }\n");
  CHECK(made->all<study::ForOp>().size() == 1); // the outer one still runs
  CHECK(made->all<study::RecordOp>().size() == 2);
}

TEST_CASE("a table's columns are the loops' variables, the clocks, then the items") {
  auto made =
      make(net + "for rate in [0.1, 0.2], run in 1..3 {\n end = net\n train end on d for 2 epochs {\n"
                 " loss = mse(end(x), y)\n minimize loss with sgd(lr = rate)\n record t: loss, seconds\n }\n}\n");
  auto records = made->all<study::RecordOp>();
  REQUIRE(records.size() == 2);
  CHECK(strings(records[0].getOrder()) == Strings{"rate", "run", "epoch", "step", "loss", "seconds"});
  CHECK(records[0].getConstants().get("rate"));
  CHECK(llvm::isa<mlir::UnitAttr>(records[0].getConstants().get("seconds")));
  CHECK(strings(records[0].getColumns()) == Strings{"run", "epoch", "step", "loss"});
}

TEST_CASE("files carry the loops' variables") {
  auto made = make(net + "for widths in [[3], [4, 5]] { save net }\n");
  auto saves = made->all<study::SaveOp>();
  CHECK(saves[0].getName() == "net-widths=1");
  CHECK(saves[1].getName() == "net-widths=2");
}

//===-- Nets ----------------------------------------------------------------------------------------------------===//

TEST_CASE("parameters are named by the name their instance is bound to, else by function and count") {
  auto made = make(
      data + "fn block(x) { again = linear(3); return x + again(relu(again(x))) }\n"
             "fn model(x) { h = x |> linear(3) |> block |> block\n head = linear(2)\n return head(h |> linear(3)) }\n"
             "net = init(model, d.x, seed = 1)\nsave net\n");
  CHECK(parameterNames(*made) == Strings{"linear1.weight", "linear1.bias", "block1.again.weight", "block1.again.bias",
                                         "block2.again.weight", "block2.again.bias", "linear2.weight", "linear2.bias",
                                         "head.weight", "head.bias"});
  CHECK(strings(made->only<study::SaveOp>().getNames()) == parameterNames(*made));
  CHECK(made->result->nets[0].name == "net");
}

TEST_CASE("the examples' parameter counts") {
  auto count = [](const std::string &widths, const std::string &inputs, const std::string &outputs) {
    auto made = make("data d { x = zeros([4, " + inputs +
                     "]) }\nfn mlp(x, widths) {\n h = x\n"
                     " for n in widths { h = h |> linear(n) |> relu }\n return h |> linear(" +
                     outputs +
                     ")\n}\n"
                     "net = init(mlp(" +
                     widths + "), d.x, seed = 1)\n");
    return made->result->nets.at(0).parameters();
  };
  CHECK(count("[1880]", "1", "1") == 5641);
  CHECK(count("[30, 60, 60]", "1", "1") == 5641);
  CHECK(count("[14, 20, 30, 30, 30, 30, 30, 30]", "1", "1") == 5639);
  CHECK(count("[30]", "784", "10") == 23860);
  CHECK(count("[28, 36, 18]", "784", "10") == 23880);
  CHECK(count("[24, 34, 34, 34, 40]", "784", "10") == 23880);
}

TEST_CASE("a net has the type of its examples, and is cut into parts") {
  auto made = make("x = f64(ones([5, 3]))\nfn f(x) = x |> linear(2)\nnet = init(f, x, seed = 1)\n"
                   "part = net.linear1(x)\nw = net.linear1.weight\nsave part, w\n");
  CHECK(made->result->nets[0].element == "f64");
  auto saves = made->all<study::SaveOp>();
  CHECK(shape(saves[0].getOperands()[0]) == Shape{5, 2});
  CHECK(shape(saves[1].getOperands()[0]) == Shape{2, 3});
  CHECK(elementOf(saves[1].getOperands()[0]).isF64());
}

//===-- Random numbers ------------------------------------------------------------------------------------------===//

TEST_CASE("an added record changes no random number; two evaluations share a mask, two layers do not") {
  std::string model = data + "fn f(x) = x |> linear(4) |> dropout(0.5) |> dropout(0.5) |> linear(1)\n"
                             "net = init(f, d.x, seed = 1)\n";
  auto with = [&](const std::string &more) {
    return make(model + "train net on d for 1 epochs {\n" + more +
                "loss = mse(net(x), y)\nminimize loss with sgd()\n}\n");
  };
  auto plain = with(""), recorded = with("record t: v = mean(net(x))\n");
  auto masks = [](Made &made) {
    std::set<int64_t> result;
    made.only<study::TrainOp>().getStep().walk([&](RandomBitsOp op) { result.insert(op.getSite()); });
    return result;
  };
  CHECK(masks(*plain).size() == 2);
  CHECK(masks(*plain) == masks(*recorded));
  // initial weights: a site each
  auto all = sites(*plain);
  CHECK(std::set<int64_t>(all.begin(), all.end()).size() >= 6);
}

TEST_CASE("evaluation has no dropout") {
  auto made =
      make(data + "fn f(x) = x |> linear(1) |> dropout(0.5)\nnet = init(f, d.x, seed = 1)\nv = net(d.x)\nsave v\n"
                  "train net on d for 1 epochs {\n minimize mse(net(x), y) with sgd()\n"
                  " every epoch { record t: v = mse(net(x), y) on d }\n}\n");
  auto op = made->only<study::TrainOp>();
  size_t inStep = 0, inEvery = 0;
  op.getStep().walk([&](RandomBitsOp) { ++inStep; });
  op.getEvery()[0].walk([&](RandomBitsOp) { ++inEvery; });
  CHECK(inStep > 0);
  CHECK(inEvery == 0);
}

//===-- Training ------------------------------------------------------------------------------------------------===//

TEST_CASE("a step carries weights and the optimiser's state; the tail is there where batches do not divide the rows") {
  auto made = make(train("minimize mse(net(x), y) with adam()", "net on d batch 6 for 5 epochs"));
  auto op = made->only<study::TrainOp>();
  CHECK(op.getBatch() == 6);
  CHECK_FALSE(op.getTail().empty());
  CHECK(shape(op.getTail().getArgument(2)) == Shape{2});
  Strings roles = strings(op.getCarriedRoles()), names = strings(op.getCarriedNames());
  CHECK(std::count(roles.begin(), roles.end(), "weight") == 4);
  CHECK(std::count(roles.begin(), roles.end(), "optimiser") == 9); // m and v of each, t
  CHECK(names[0] == "net.linear1.weight");
  CHECK(llvm::is_contained(names, "adam.m.linear1.weight"));
  CHECK(make(train(plainStep, "net on d batch 5 for 5 epochs"))->only<study::TrainOp>().getTail().empty());
  CHECK(make(train(plainStep))->only<study::TrainOp>().getBatch() == 0);
  CHECK(make(train(plainStep, "net on d batch 99 for 5 steps"))->only<study::TrainOp>().getBatch() == 20);
}

TEST_CASE("`over` updates what it names, and leaves the rest") {
  auto made = make(train("minimize mse(net(x), y) over net.linear2 with sgd()"));
  CHECK(strings(made->only<study::TrainOp>().getCarriedNames()) == Strings{"net.linear2.weight", "net.linear2.bias"});
  made = make(train("minimize mse(net(x), y) over select(net.weights, \"bias\") with sgd()"));
  CHECK(strings(made->only<study::TrainOp>().getCarriedNames()) == Strings{"net.linear1.bias", "net.linear2.bias"});
  made = make(train(
      "loss = mse(net(x), y)\nminimize loss over net.linear1 with sgd()\nminimize loss over net.linear2 with adam()"));
  CHECK(made->only<study::TrainOp>().getCarriedNames().size() == 4 + 5);
}

TEST_CASE("every: periods, what it rebinds, the step's scalars as columns") {
  auto made =
      make(train(plainStep +
                     "\nevery 3 epochs { kept = where(mean(loss) < best, net, kept)\nbest = min(best, mean(loss)) }\n"
                     "every step { stop when last(loss) < 0.1 }",
                 "net on d for 5 epochs")
               .insert(net.size(), "best, kept = inf, net\n"));
  auto op = made->only<study::TrainOp>();
  CHECK(op.getEveryPeriod() == llvm::ArrayRef<int64_t>{3, 1});
  CHECK(strings(op.getEveryUnit()) == Strings{"epochs", "steps"});
  Strings names = strings(op.getCarriedNames());
  CHECK(llvm::is_contained(names, "best"));
  CHECK(llvm::is_contained(names, "kept.linear1.weight"));
  CHECK(made->all<study::StopOp>().size() == 1);
  // each block reads a hidden table of its own, and empties it
  size_t hidden = 0;
  for (study::RecordOp record : made->all<study::RecordOp>())
    hidden += record.getHidden();
  CHECK(hidden == 2);
  CHECK(made->all<study::ClearOp>().size() == 2);
  CHECK(made->all<study::ReduceOp>().size() == 3);
}

TEST_CASE("only the evaluation that is minimised commits a state") {
  std::string model = data + "fn f(x) = x |> linear(4) |> batchnorm |> linear(1)\nnet = init(f, d.x, seed = 1)\n";
  auto yields = [&](const std::string &body) {
    auto made = make(model + "train net on d for 1 epochs {\n" + body + "}\n");
    auto op = made->only<study::TrainOp>();
    // for each carried state: whether the step changes it
    std::vector<bool> changes;
    auto *yield = op.getStep().front().getTerminator();
    for (auto [i, role] : llvm::enumerate(op.getCarriedRoles().getAsRange<mlir::StringAttr>()))
      if (role.getValue() == "state")
        changes.push_back(yield->getOperand(i) != op.getStep().getArgument(2 + i));
    return changes;
  };
  CHECK(yields("minimize mse(net(x), y) with sgd()\n") == std::vector<bool>{true, true});
  // An evaluation that is only recorded: weights are trained through another part, states stay as they are.
  CHECK(yields("record t: v = mean(net(x))\nminimize sum(net.weights^2) with sgd()\n").empty());
}

TEST_CASE("bench: forward, gradient and hvp before each training, and no record") {
  ElaborateOptions options;
  options.mode = ElaborateOptions::Bench;
  auto made = make(train(plainStep + "\nrecord t: loss", "net on d batch 6 for 5 epochs"), options);
  Strings names;
  for (study::BenchOp op : made->all<study::BenchOp>()) {
    names.push_back(op.getName().str());
    op.walk([&](study::RecordOp) { FAIL("a record is timed"); });
  }
  CHECK(names == Strings{"net.forward", "net.gradient", "net.hvp"});
}

//===-- gradcheck -----------------------------------------------------------------------------------------------===//

TEST_CASE("gradcheck as a value: f64, a row a parameter, the loops' variables as columns") {
  auto made =
      make(net + "for decay in [0, 0.5] { errors = gradcheck(mse(net(d.x), d.y) + decay * sum(net.weights^2), net) }\n"
                 "plot \"e\" on errors { bars gradient_error over parameter by decay; log y }\n");
  auto checks = made->all<study::GradcheckOp>();
  REQUIRE(checks.size() == 2);
  CHECK(checks[0].getTable() == "errors");
  CHECK(strings(checks[0].getNames()) == Strings{"linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias"});
  CHECK(strings(*checks[0].getKeys()) == Strings{"decay"});
  for (mlir::Value w : checks[0].getWeights())
    CHECK(elementOf(w).isF64());
  for (mlir::Region *region : {&checks[0].getLoss(), &checks[0].getGradient(), &checks[0].getProduct()})
    for (mlir::Value v : region->front().getTerminator()->getOperands())
      CHECK(elementOf(v).isF64());
  CHECK(checks[0].getProduct().getNumArguments() == 8);
}

TEST_CASE("gradcheck of a file: a check a training, in f64, and nothing trained or recorded") {
  ElaborateOptions options;
  options.mode = ElaborateOptions::Gradcheck;
  auto made = make(train("loss = mse(relu(net(x)), y)\nminimize loss with adam()\nrecord t: loss\nevery epoch { record "
                         "u: v = mean(loss) }",
                         "net on d batch 7 for 5 epochs") +
                       "best = min(u.v)\nplot \"p\" on t { line loss over epoch }\nsave net\n",
                   options);
  auto check = made->only<study::GradcheckOp>();
  CHECK(check.getTable() == "net");
  CHECK(made->all<study::TrainOp>().empty());
  CHECK(made->all<study::RecordOp>().empty());
  // The fingerprint of the kinks depends on relu's mask.
  auto kinks = check.getLoss().front().getTerminator()->getOperand(1);
  CHECK_FALSE(llvm::isa_and_nonnull<ConstantOp>(kinks.getDefiningOp()));
  size_t compares = 0;
  check.getLoss().walk([&](CompareOp) { ++compares; });
  CHECK(compares == 1);
  for (const NetSummary &summary : made->result->nets)
    CHECK(summary.element == "f64");
}

//===-- Settings ------------------------------------------------------------------------------------------------===//

TEST_CASE("settings: fixed by shapes and ifs, free elsewhere; quick; --set") {
  std::string text = "width, rate, epochs, deep = 4, 0.1, 20, True\nquick epochs = 2\n" + data +
                     "fn f(x) { h = x |> linear(width)\nif deep { h = h |> linear(width) }\nreturn h |> linear(1) }\n"
                     "net = init(f, d.x, seed = 1)\ntrain net on d for epochs epochs { minimize mse(net(x), y) with "
                     "sgd(lr = rate) }\n";
  auto made = make(text);
  CHECK(made->setting("width").fixed);
  CHECK(made->setting("deep").fixed);
  CHECK_FALSE(made->setting("rate").fixed);
  CHECK_FALSE(made->setting("epochs").fixed);
  CHECK(made->setting("epochs").value == 20);
  ElaborateOptions options;
  options.quick = true;
  CHECK(make(text, options)->setting("epochs").value == 2);
  options.settings = {{"epochs", 7}, {"width", 6}};
  made = make(text, options);
  CHECK(made->setting("epochs").value == 7);
  CHECK(made->result->nets[0].parameters() == 3 * 6 + 6 + 6 * 6 + 6 + 6 + 1);
  options.settings = {{"widht", 6}};
  std::string error = errorOf(text, options);
  CHECK(error.find("widht") != std::string::npos);
  CHECK(error.find("`width`") != std::string::npos);
}

//===-- The rows of a batch -------------------------------------------------------------------------------------===//

namespace {
// A folder with bytes x.npy [20, 4, 3] and l.npy [20].
struct ByteFiles {
  std::filesystem::path folder = std::filesystem::temp_directory_path() / ("hw-rows-" + std::to_string(getpid()));
  ByteFiles() {
    std::filesystem::create_directory(folder);
    write("x.npy", "(20, 4, 3)", 240);
    write("l.npy", "(20,)", 20);
  }
  ~ByteFiles() { std::filesystem::remove_all(folder); }
  void write(const std::string &name, const std::string &shape, size_t bytes) {
    std::string header = "{'descr': '|u1', 'fortran_order': False, 'shape': " + shape + ", }";
    header.resize(117, ' ');
    std::ofstream(folder / name, std::ios::binary) << std::string("\x93NUMPY\x01\x00\x76\x00", 10) << header << '\n'
                                                   << std::string(bytes, '\x02');
  }
};

// What the step of a training on `rows` gathers its batch from, one for each column that it reads.
struct Gathered {
  std::unique_ptr<Made> made;
  std::vector<mlir::Value> from;
  explicit Gathered(const std::string &columns, const std::string &rows = "d") {
    ByteFiles files;
    ElaborateOptions options;
    options.dataDir = files.folder.string();
    made = make("data d { " + columns + " }\nfn f(x) = flatten(x) |> linear(1)\nnet = init(f, d.x, seed = 1)\n" +
                    "train net on " + rows + " batch 6 for 1 epochs { minimize mean(net(x)) with sgd(lr = 0.1) }\n",
                options);
    made->only<study::TrainOp>().getStep().walk([&](GatherOp op) { from.push_back(op.getOperand()); });
    REQUIRE(!from.empty());
  }
  bool areBytesOfTheFile() {
    auto file = from[0].getDefiningOp<study::DatasetOp>();
    return file && elementOf(from[0]).isUnsignedInteger(8) && file.getKind() == "npy";
  }
  bool areAllRowsOfNumbers() { return from.size() == 1 && elementOf(from[0]).isF32() && shapeOf(from[0])[0] == 20; }
};
} // namespace

TEST_CASE("a batch is computed from the bytes of its rows where that is less to keep") {
  CHECK(Gathered("x = npy(\"x.npy\") / 255").areBytesOfTheFile());
  CHECK(Gathered("b = npy(\"x.npy\"); x = (b - mean(f32(b), axis = [0, 1])) / [1, 2, 3]").areBytesOfTheFile());
  CHECK(Gathered("x = reshape(npy(\"x.npy\"), [20, 12]) + 1", "d[5:15]").areBytesOfTheFile());
  CHECK(Gathered("b = npy(\"x.npy\"); x = where(b > 3, b / 255, 0)").areBytesOfTheFile());
  CHECK(Gathered("x = npy(\"x.npy\")[2:] / 255", "d[1:]").areBytesOfTheFile());
  // Costly functions, sums over the row, an order of its own, more bytes than numbers: computed once, before the
  // training.
  for (const char *x : {"exp(npy(\"x.npy\"))", "sum(f32(npy(\"x.npy\")), axis = 1)", "f32(npy(\"x.npy\"))[::-1]",
                        "uniform(0, 1, shape = [20, 2], seed = 1) + 1"}) {
    CAPTURE(x);
    CHECK(Gathered(std::string("x = ") + x).areAllRowsOfNumbers());
  }
}

TEST_CASE("slices of data share its rows: none is copied") {
  CHECK(Gathered("x = exp(npy(\"x.npy\"))", "d[5:15][2:]").areAllRowsOfNumbers());
}

//===-- The files that come along -------------------------------------------------------------------------------===//

namespace {
// Files of CIFAR-10's names and sizes, empty on the disk: elaboration looks at their lengths.
struct CifarFiles {
  std::filesystem::path root = std::filesystem::temp_directory_path() / ("hw-cifar-" + std::to_string(getpid()));
  CifarFiles() {
    std::filesystem::path folder = root / "data" / "cifar-10-batches-bin";
    std::filesystem::create_directories(folder);
    for (std::string name :
         {"data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"}) {
      std::ofstream(folder / (name + ".bin"));
      std::filesystem::resize_file(folder / (name + ".bin"), 10000 * 3073);
    }
  }
  ~CifarFiles() { std::filesystem::remove_all(root); }
};
} // namespace

TEST_CASE("every example elaborates, whole and quick, and for bench and gradcheck") {
  size_t found = 0;
  CifarFiles cifar;
  for (auto &entry : std::filesystem::directory_iterator(HW_SOURCE_DIR "/examples")) {
    if (entry.path().extension() != ".hw")
      continue;
    std::string error;
    auto source = Source::load(entry.path().string(), error);
    REQUIRE(source);
    if (source->text().find("fashion_mnist") != std::string::npos &&
        !std::filesystem::exists("/usr/share/datasets/fashion-mnist"))
      continue;
    CAPTURE(entry.path().string());
    for (int kind = 0; kind < 4; ++kind) {
      ElaborateOptions options;
      options.dataDir = cifar.root.string();
      options.quick = kind == 1;
      options.mode = kind == 2   ? ElaborateOptions::Bench
                     : kind == 3 ? ElaborateOptions::Gradcheck
                                 : ElaborateOptions::Run;
      make(std::string(source->text()), options);
    }
    ++found;
  }
  CHECK(found >= 3);
}

TEST_CASE("the reference names every primitive") {
  CHECK(builtinReference().size() > 50);
  std::string error;
  auto page = Source::load(HW_SOURCE_DIR "/docs/language.md", error);
  REQUIRE(page);
  for (const std::string &line : builtinReference()) {
    std::string signature = line.substr(0, line.find("): ") + 1);
    CHECK_MESSAGE(page->text().find("| `" + signature + "` |") != std::string::npos, signature);
  }
  // and every fn of the prelude
  std::string text(preludeSource().text());
  std::regex fn("\nfn (\\w+)\\(");
  for (std::sregex_iterator it(text.begin(), text.end(), fn), end; it != end; ++it)
    CHECK_MESSAGE(page->text().find("| `" + (*it)[1].str() + "(") != std::string::npos, (*it)[1].str());
}
