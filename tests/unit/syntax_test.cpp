// Lexer, parser, diagnostics and formatter.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include "frontend/Format.h"
#include "frontend/Lexer.h"
#include "frontend/Parser.h"

#include <filesystem>
#include <fmt/format.h>
#include <map>
#include <random>

using namespace hw;

namespace {

struct Parsed {
  std::unique_ptr<Source> source;
  Diagnostics diagnostics;
  ast::Module module;
};

std::unique_ptr<Parsed> parse(std::string text) {
  auto p = std::make_unique<Parsed>();
  p->source = std::make_unique<Source>("t.hw", std::move(text));
  p->module = parseModule(*p->source, p->diagnostics);
  return p;
}

// The dump of a file that must parse.
std::string dumped(std::string text) {
  auto p = parse(std::move(text));
  INFO(p->diagnostics.render());
  REQUIRE_FALSE(p->diagnostics.hasErrors());
  return ast::dump(p->module);
}

// `line:column: message`, one a line, then ` / help` for each help.
std::string errors(std::string text) {
  auto p = parse(std::move(text));
  std::string out;
  for (const Diagnostic &d : p->diagnostics.all()) {
    auto [line, column] = p->source->position(d.range.begin);
    out += fmt::format("{}:{}: {}", line, column, d.message);
    for (const std::string &help : d.helps)
      out += " / " + help;
    out += '\n';
  }
  return out;
}

size_t errorCount(std::string text) { return parse(std::move(text))->diagnostics.errorCount(); }

std::string formatted(const std::string &text) {
  Source source("t.hw", text);
  Diagnostics diagnostics;
  auto result = formatSource(source, diagnostics);
  INFO(text);
  INFO(diagnostics.render());
  REQUIRE(result);
  return result.value_or("");
}

std::vector<std::string> commentsOf(const std::string &text) {
  Source source("t.hw", text);
  Diagnostics diagnostics;
  std::vector<std::string> all;
  for (const Comment &comment : tokenize(source, diagnostics).comments)
    all.emplace_back(comment.range.text());
  return all;
}

// What `fmt` promises of any file that parses.
void checkFormat(const std::string &text) {
  std::string once = formatted(text);
  CHECK(formatted(once) == once);
  CHECK(dumped(once) == dumped(text));
  CHECK(commentsOf(once) == commentsOf(text));
}

// An expression with every operation in brackets, to see what binds to what.
std::string bracketed(const ast::Expr &e) {
  using namespace ast;
  switch (e.kind) {
  case ExprKind::Binary: {
    const auto &b = *as<Binary>(e);
    return fmt::format("({} {} {})", bracketed(*b.lhs), spelling(b.op), bracketed(*b.rhs));
  }
  case ExprKind::Unary: {
    const auto &u = *as<Unary>(e);
    return fmt::format("({} {})", spelling(u.op), bracketed(*u.operand));
  }
  case ExprKind::Call: {
    const auto &c = *as<Call>(e);
    std::string out = bracketed(*c.callee) + "(";
    for (const ExprPtr &arg : c.args)
      out += bracketed(*arg) + ",";
    return out + ")";
  }
  case ExprKind::Field:
    return fmt::format("({}.{})", bracketed(*as<Field>(e)->base), as<Field>(e)->field.text);
  case ExprKind::On: {
    const auto &o = *as<On>(e);
    return fmt::format("({} on {}{}{})", bracketed(*o.value), bracketed(*o.source.data),
                       o.source.batch ? " batch " + bracketed(*o.source.batch) : "",
                       o.source.ordered ? " ordered" : "");
  }
  default:
    return std::string(e.range.text());
  }
}

std::string grouping(const std::string &text) {
  Source source("e", text);
  Diagnostics diagnostics;
  auto e = parseExpression(source, diagnostics);
  INFO(text);
  INFO(diagnostics.render());
  REQUIRE(e);
  return bracketed(*e);
}

// The files that show the language off (docs/language.md).
const std::map<std::string, std::string> &studies() {
  static const std::map<std::string, std::string> all = {
      {"a1", R"(// A1. Does depth help at equal size?
fn sinc(x) = sin(x) / x
fn rect(x) = where(abs(x) <= 5, 1, 0)
fn mlp(x, widths) {
  h = x
  for n in widths { h = h |> linear(n) |> relu }
  return h |> linear(1)
}
for target in [sinc, rect] {
  data d { x = uniform(-10, 10, shape = [2000, 1], seed = 1); y = target(x) }
  for widths in [[1880], [30, 60, 60], [14, 20, 30, 30, 30, 30, 30, 30]] {
    net = init(mlp(widths), d.x, seed = 1)
    train net on d for 2000 epochs {
      loss = mse(net(x), y)
      minimize loss with adam(lr = 5e-3)
      record curve: loss
    }
    record fit on d: x, y, fitted = net(x)
  }
}
plot "loss, {target}" on curve per target { line loss over epoch by widths; log y }
plot "fit, {target}"  on fit per target   { points fitted over x by widths; points y over x }
)"},
      {"a6", R"(// A6. Train, validate, test, stop early.
data digits = mnist("data/mnist")
data fit  = digits.train[0:55000]
data held = digits.train[55000:60000]
fn mlp(x, widths) {
  h = flatten(x)
  for n in widths { h = h |> linear(n) |> relu }
  return h |> linear(10)
}
for widths in [[30], [28, 36, 18], [24, 34, 34, 34, 40]] {
  net = init(mlp(widths), fit.x, seed = 1)
  best, kept, bad = inf, net, 0
  train net on fit batch 256 for 50 epochs {
    minimize cross_entropy(net(x), label) with adam(lr = 1e-3)
    every epoch {
      for part in [fit, digits.test] {
        record curve on part batch 1000: loss = cross_entropy(net(x), label), acc = accuracy(net(x), label)
      }
      v = cross_entropy(net(x), label) on held batch 1000
      kept = where(v < best, net, kept)
      bad  = where(v < best, 0, bad + 1)
      best = min(best, v)
      stop when bad >= 5
    }
  }
  save kept
}
plot "accuracy" on curve { line acc over epoch by widths, part }
)"},
      {"b3", R"(// B3. What is there where the gradient is almost zero?
runs, zero = 100, 1e-7
quick runs = 4
data wave { x = f64(uniform(-1, 1, shape = [2000, 1], seed = 1)); y = sin(5*pi*x) / (5*pi*x) }
fn tiny(x) = x |> linear(16) |> relu |> linear(32) |> relu |> linear(1)          // 609 parameters
fn levenberg(f, w, damping = 1e-2) {
  state mu = damping
  r = flat(f(w))
  J = jacobian(r, w)
  next = w - like(solve(J.T @ J + mu * eye(w.size), J.T @ r), w)
  better = sum(f(next)^2) < sum(r^2)
  mu' = where(better, mu / 10, mu * 10)
  return where(better, next, w)
}
for run in 1..runs {
  net = init(tiny, wave.x, seed = run)
  train net on wave for 2000 epochs { minimize mse(net(x), y) with adam(lr = 5e-3) }
  for method in ["norm", "newton", "lm"] {
    end = net
    if method == "norm" {
      train end on wave for 1000 epochs { minimize sum(grad(mse(end(x), y), end)^2) with adam(lr = 1e-4) }
    } else if method == "newton" {
      train end on wave for 20 epochs { minimize mse(end(x), y) with newton(damping = 1e-3) }
    } else {
      train end on wave for 50 epochs { minimize end(x) - y with levenberg() }
    }
    loss = mse(end(x), y) on wave
    eig  = eigvals(dense(hessian(loss, end)))
    near = [mse(at(end, end.weights * uniform(0.99, 1.01, like = end.weights, seed = s))(x), y) on wave for s in 1..500]
    record critical: loss, gnorm = norm(grad(loss, end)), ratio = mean(eig > zero), zeros = mean(abs(eig) <= zero), sampled = mean(near > loss)
  }
}
plot "minimal ratio" on critical { points ratio over loss by method; log x }
)"},
      {"b1", R"(for run in 1..8 {
  net = init(mlp([15, 30]), digits.train.x, seed = run)
  train net on digits.train batch 256 for 30 epochs {
    minimize cross_entropy(net(x), label) with adam(lr = 1e-3)
    every 3 epochs {
      record path: whole = flat(net.weights),
        acc = accuracy(net(x), label) on digits.test batch 1000
    }
  }
}
p = pca(path.whole, 2)
plot "paths" on path { line p[:, 1] over p[:, 0] by run label acc }
)"},
      {"b5", R"(d1 = map(filterwise, normal(0, 1, like = w, seed = 1), w)
d2 = map(filterwise, normal(0, 1, like = w, seed = 2), w)
for a in linspace(-1, 1, 51), b in linspace(-1, 1, 51) {
  record plane on wave: loss = mse(at(net, w + a*d1 + b*d2)(x), y)
}
plot "plane" on plane { contour loss over a, b }
)"},
      {"layers", R"(// A layer with state, a shared layer, an optimiser.
fn norm2d(x, momentum = 0.1, eps = 1e-5) {
  c = x.shape[1]
  param gain: [c] = ones
  param bias: [c] = zeros
  state mu: [c] = zeros
  state s2: [c] = ones
  m, v = mu, s2
  if training {
    m, v = mean(x, axis = [0, 2, 3]), var(x, axis = [0, 2, 3])
    mu' = (1 - momentum) * mu + momentum * m
    s2' = (1 - momentum) * s2 + momentum * var(x, axis = [0, 2, 3], ddof = 1)
  }
  return gain[:, None, None] * (x - m[:, None, None]) / sqrt(v[:, None, None] + eps) + bias[:, None, None]
}
fn cnn(x) {
  h = x |> conv2d(32, kernel = 3, padding = 1) |> norm2d |> relu |> maxpool(2)
  again = conv2d(32, kernel = 3, padding = 1)
  h = h + again(relu(again(h)))                                       // one set of weights, used twice
  return h |> global_avgpool |> dropout(0.3) |> linear(10)
}
fn lion(f, w, lr = 1e-4, b1 = 0.9, b2 = 0.99, clip = 1) {
  state m = 0 * w
  g = clip_norm(grad(f(w), w), clip)
  m' = b2 * m + (1 - b2) * g
  return w - lr * sign(b1 * m + (1 - b1) * g)
}
net = init(cnn, cifar.train.x, seed = 1)
train net on cifar.train batch 192 for 50 epochs {
  out = net(x)
  loss = cross_entropy(out, label)
  minimize loss + 1e-4 * sum(select(net.weights, "weight")^2) with lion(lr = 1e-3 * cosine(epoch / 50))
  record steps: loss, acc = accuracy(out, label)
  every epoch { record test on cifar.test batch 1000: acc = accuracy(net(x), label) }
}
)"},
  };
  return all;
}

} // namespace

//===-- Statements ----------------------------------------------------------------------------------------------===//

TEST_CASE("every study of the language parses, and formatting keeps its promises") {
  for (const auto &[name, text] : studies()) {
    CAPTURE(name);
    checkFormat(text);
  }
}

TEST_CASE("every statement form") {
  CHECK(dumped("a = 1") == "assign a\n  number 1\n");
  CHECK(dumped("a, b = 1, 2.5") == "assign a, b\n  number 1\n  number 2.5 real\n");
  CHECK(dumped("a, b = f(x)") == "assign a, b\n  call\n    name f\n    name x\n");
  CHECK(dumped("m' = m + 1") == "assign m'\n  binary +\n    name m\n    number 1\n");
  CHECK(dumped("fn f(x) = x") == "fn f\n  parameter x\n  value\n    name x\n");
  CHECK(dumped("fn f(x, k = 1,) { return x, k }") ==
        "fn f\n  parameter x\n  parameter k =\n    number 1\n  body\n    return\n      name x\n      name k\n");
  CHECK(dumped("fn f() = 1") == "fn f\n  value\n    number 1\n");
  CHECK(dumped("param w: [a, 2] = zeros") ==
        "param w\n  shape\n    list\n      name a\n      number 2\n  init\n    name zeros\n");
  CHECK(dumped("param w = zeros") == "param w\n  init\n    name zeros\n");
  CHECK(dumped("state s: [2] = ones") == "state s\n  shape\n    list\n      number 2\n  init\n    name ones\n");
  CHECK(dumped("data d = e") == "data d\n  base\n    name e\n");
  CHECK(dumped("data d { x = 1; y = x }") ==
        "data d\n  columns\n    assign x\n      number 1\n    assign y\n      name x\n");
  CHECK(dumped("data d = e { label = 1 }") ==
        "data d\n  base\n    name e\n  columns\n    assign label\n      number 1\n");
  CHECK(dumped("for i in 1..3 { }") == "for\n  for i in\n    binary ..\n      number 1\n      number 3\n  body\n");
  CHECK(dumped("for a, b in e, c in f { }") == "for\n  for a, b in\n    name e\n  for c in\n    name f\n  body\n");
  CHECK(dumped("if a { } else if b { } else { x = 1 }") ==
        "if\n  condition\n    name a\n  then\n  condition\n    name b\n  then\n  else\n    assign x\n      number 1\n");
  CHECK(dumped("train a, b on d.train batch 2 ordered for n steps { }") ==
        "train a, b\n  source\n    field .train\n      name d\n    batch, ordered\n      number 2\n  for steps\n"
        "    name n\n  body\n");
  CHECK(dumped("minimize l over net.linear2 with adam(lr = 1)") ==
        "minimize\n  name l\n  over\n    field .linear2\n      name net\n  with\n    call\n      name adam\n"
        "      lr =\n        number 1\n");
  CHECK(dumped("every epoch { }") == "every epochs\n  body\n");
  CHECK(dumped("every step { }") == "every steps\n  body\n");
  CHECK(dumped("every 2 * n steps { }") ==
        "every steps\n  interval\n    binary *\n      number 2\n      name n\n  body\n");
  CHECK(dumped("stop when a > 1") == "stop when\n  binary >\n    name a\n    number 1\n");
  CHECK(dumped("record t: a, b = 1") == "record t\n  item a\n  item b =\n    number 1\n");
  CHECK(dumped("record t on d batch 5: a") == "record t\n  source\n    name d\n    batch\n      number 5\n  item a\n");
  CHECK(dumped("save a, b = f(x)") == "save\n  item a\n  item b =\n    call\n      name f\n      name x\n");
  CHECK(dumped("checkpoint") == "checkpoint\n");
  CHECK(dumped("quick runs = 4") == "quick runs\n  number 4\n");
  CHECK(dumped("plot \"a {b}\" on t per c, d { line y over x, z by e, f label g right; log x\n log y }") ==
        "plot\n  string \"a {b}\" {b}\n  on t\n  per c, d\n  mark line, right\n    name y\n    over\n      name x\n"
        "      name z\n    by e, f\n    label\n      name g\n  mark log x\n  mark log y\n");
  CHECK(dumped("plot \"a\" { histogram h; bars b; points p; surface s over a, b; contour c }").size() > 0);
}

TEST_CASE("expression forms") {
  CHECK(dumped("a = [1, 2,]") == "assign a\n  list\n    number 1\n    number 2\n");
  CHECK(dumped("a = []") == "assign a\n  list\n");
  CHECK(dumped("a = (b, c)") == "assign a\n  tuple\n    name b\n    name c\n");
  CHECK(dumped("a = [f(i) for i, j in e]") ==
        "assign a\n  comprehension\n    call\n      name f\n      name i\n    for i, j in\n      name e\n");
  CHECK(dumped("a = b[0, 1:2, ::3, :, None, ..., [4]]") ==
        "assign a\n  index\n    name b\n    at\n      number 0\n    slice\n      start\n        number 1\n      stop\n"
        "        number 2\n    slice\n      step\n        number 3\n    slice\n    new axis\n    ellipsis\n    at\n"
        "      list\n        number 4\n");
  CHECK(dumped("a = f(x, None, lr = True, b = False,)") ==
        "assign a\n  call\n    name f\n    name x\n    none\n    lr =\n      bool True\n    b =\n      bool False\n");
  CHECK(dumped("a = \"t\\t\\\"q\\\" {x} \\{y\\} {1}\"") == "assign a\n  string \"t\\t\\\"q\\\" {x} {y} {1}\" {x}\n");
}

TEST_CASE("numbers") {
  auto value = [](const std::string &text) {
    Source source("n", text);
    Diagnostics diagnostics;
    auto e = parseExpression(source, diagnostics);
    REQUIRE_MESSAGE(e, diagnostics.render());
    return ast::as<ast::Number>(e)->value;
  };
  CHECK(value("1") == 1);
  CHECK(value(".5") == 0.5);
  CHECK(value("1.") == 1);
  CHECK(value("1.e3") == 1000);
  CHECK(value("1e-3") == 1e-3);
  CHECK(value("2.5E+2") == 250);
  CHECK(value("1_000_000") == 1e6);
  CHECK(value("0.1") == 0.1);
  CHECK(value("9007199254740992") == 9007199254740992.0);
  CHECK(grouping("1..8") == "(1 .. 8)");
  CHECK(grouping("1. .. 8") == "(1. .. 8)");
  CHECK(grouping("1e0..2.5") == "(1e0 .. 2.5)");
  CHECK(errors("a = 1e999") ==
        "1:5: this number does not fit f64 / f64 reaches from 5e-324 to 1.7e308; infinity is `inf`\n");
  CHECK(errors("a = 9007199254740993").find("1:5: this whole number is beyond 2^53") == 0);
  CHECK(errors("a = 3x") ==
        "1:5: `3x` is neither a number nor a name / a product is written `3 * x`; a name begins with a letter\n");
  CHECK(errors("a = 0x1F") == "1:5: `0x1F` is not a number / write it in decimal\n");
}

TEST_CASE("precedence, loosest first") {
  CHECK(grouping("a or b and not c == d") == "(a or (b and (not (c == d))))");
  CHECK(grouping("not not a") == "(not (not a))");
  CHECK(grouping("a and not b or c") == "((a and (not b)) or c)");
  CHECK(grouping("a < b |> f") == "(a < (b |> f))");
  CHECK(grouping("a + 1 |> f |> g(2)") == "(((a + 1) |> f) |> g(2,))");
  CHECK(grouping("a |> f..g") == "(a |> (f .. g))");
  CHECK(grouping("1..n - 1") == "(1 .. (n - 1))");
  CHECK(grouping("a - b - c") == "((a - b) - c)");
  CHECK(grouping("a - b * c / d @ e") == "(a - (((b * c) / d) @ e))");
  CHECK(grouping("-a * b") == "((- a) * b)");
  CHECK(grouping("-a ^ b") == "(- (a ^ b))");
  CHECK(grouping("a ^ -b ^ c") == "(a ^ (- (b ^ c)))");
  CHECK(grouping("a ^ b ^ c") == "(a ^ (b ^ c))");
  CHECK(grouping("--a") == "(- (- a))");
  CHECK(grouping("a * -b") == "(a * (- b))");
  CHECK(grouping("-f(x).y[1]^2") == "(- (f(x).y[1] ^ 2))"); // an index prints as it is written
  CHECK(grouping("J.T @ r") == "((J.T) @ r)");
  CHECK(grouping("at(net, w)(x)") == "at(net,w,)(x,)");
  CHECK(grouping("a or b on d") == "((a or b) on d)");
  CHECK(grouping("a + b on d.x batch 2 * k ordered") == "((a + b) on (d.x) batch (2 * k) ordered)");
  CHECK(grouping("a on b on c") == "((a on b) on c)");
  CHECK(grouping("norm(grad(E on d batch k, net))") == "norm(grad((E on d batch k),net,),)");
  CHECK(grouping("(a + b) * c") == "((a + b) * c)");
  CHECK(grouping("(a < b) < c") == "((a < b) < c)");
}

TEST_CASE("a newline ends a statement, but for brackets, operators, commas and a pipe on the next line") {
  CHECK(dumped("a = 1\nb = 2") == dumped("a = 1; b = 2"));
  CHECK(dumped("a = b +\n  c") == dumped("a = b + c"));
  CHECK(dumped("a = b\n  |> f\n  |> g") == dumped("a = b |> f |> g"));
  CHECK(dumped("a = f(b\n  , c\n  + d\n)") == dumped("a = f(b, c + d)"));
  CHECK(dumped("a,\n  b = 1,\n  2") == dumped("a, b = 1, 2"));
  CHECK(dumped("a =\n  1") == dumped("a = 1"));
  CHECK(dumped("record t:\n  a,\n  b") == dumped("record t: a, b"));
  CHECK(dumped("if a { }\nelse { }") == dumped("if a { } else { }"));
  CHECK(dumped("a = b // c\n  |> f") == dumped("a = b |> f"));
  CHECK(dumped("a = 1\r\nb = 2\r\n") == dumped("a = 1; b = 2"));
  CHECK(dumped("\xEF\xBB\xBF"
               "a = 1") == dumped("a = 1"));
  CHECK(errors("a = b\n- c").find("2:1: a statement cannot begin with `-`") == 0);
  // A bracket on a new line is not a call of the value before it.
  CHECK(errors("a = f\n(x)").find("2:1: this value is not used") == 0);
}

TEST_CASE("a statement's word is free as a name where it cannot begin one") {
  CHECK(dumped("record = 1; plot = 2; data, state = 3, 4; on = 5; step' = 6").size() > 0);
  CHECK(dumped("loss = cross_entropy(net(x), label)").size() > 0);
  CHECK(dumped("record steps on steps: path, fit, label, line = over + by").size() > 0);
  CHECK(dumped("plot \"p\" on path { line line over over by by label label; points right right }") ==
        "plot\n  string \"p\"\n  on path\n  mark line\n    name line\n    over\n      name over\n    by by\n    label\n"
        "      name label\n  mark points, right\n    name right\n");
  CHECK(dumped("a = on on on batch batch ordered") ==
        "assign a\n  on\n    name on\n    source\n      name on\n      batch, ordered\n        name batch\n");
  CHECK(dumped("for epochs in steps { every epochs epochs { } }").size() > 0);
  CHECK(dumped("a = t.in + t.for").size() > 0);
  CHECK(dumped("save save").size() > 0);
  CHECK(dumped("data data { data = 1 }").size() > 0);
}

//===-- Errors --------------------------------------------------------------------------------------------------===//

TEST_CASE("messages name what was expected, what was found and the fix") {
  auto check = [](const std::string &text, const std::string &expected) {
    CAPTURE(text);
    CHECK(errors(text) == expected + "\n");
  };
  check("if n = 3 { }", "1:6: expected `{` after the condition, found `=` / `=` assigns; a comparison is written `==`");
  check("a = x ** 2", "1:7: there is no operator `**` / a power is written `x^2`");
  check("# note", "1:1: `#` does not begin a comment / a comment begins with `//`");
  check("/* a\n b */ a = 1", "1:1: there are no block comments / begin each line of a comment with `//`");
  check("def f(x) { return x }",
        "1:1: there is no statement `def` / a function is `fn f(x) = …` or `fn f(x) { … return … }`");
  check("if a:\n  b = 1",
        "1:5: expected `{` after the condition, found `:` / blocks stand in braces, not after a colon: `{ … }`");
  check("a = \"abc", "1:5: this string is never closed / end it with `\"` on the same line");
  check("a = 'abc'", "1:5: a string stands in double quotes / write \"abc\"");
  check("a = \"\\q\"", "1:6: `\\q` is not an escape / the escapes are \\n \\t \\\\ \\\" \\{ \\}");
  check("a = 1 < b < 3", "1:11: comparisons do not chain / write `1 < b and b < 3`");
  check("a = b &&c", "1:7: there is no operator `&&` / write `and`");
  check("a = !b", "1:5: there is no operator `!` / write `not`");
  check("a += 1", "1:3: there is no operator `+=` / write `x = x + …`");
  check("a[0] = 1",
        "1:1: a part of a value cannot be assigned to: values do not change in place / build the new value: "
        "`where(condition, a, b)`, `[… for i in a..b]`");
  check("d.y = 1",
        "1:1: a field cannot be assigned to: values do not change in place / a column is replaced in a copy: "
        "`data b = a { y = … }`");
  check("f(x) = x", "1:1: a call cannot be assigned to / a function is defined by `fn f(x) = …`");
  check("f(x)", "1:1: this value is not used / name it, `v = …`; or keep it, `record TABLE: v = …` or `save v = …`");
  check("a == 1", "1:1: this comparison is not used / an assignment is written with one `=`");
  check("recrod t: a", "1:1: there is no statement `recrod` / did you mean `record`?");
  check("while a { }",
        "1:1: there is no statement `while` / loops are `for i in 1..n { … }`, and `train … { stop when … }`");
  check("record t: f(x)", "1:11: a value that is not a name alone needs one / write `name = f(x)`");
  check("record t a",
        "1:10: expected `:` and what to record, found `a` / write `record t: loss, acc = accuracy(out, label)`");
  check("train net on d { }",
        "1:16: expected `for` and how long to train, found `{` / write `train net on d batch 32 for 10 epochs { … }`");
  check("train net batch 8 for 2 epochs { }", "1:11: expected `on` and the data to train on, found `batch` / write "
                                              "`train net on d batch 32 for 10 epochs { … }`");
  check("train net on d batch = 8 for 2 epochs { }",
        "1:22: expected the number of samples, found `=` / write `batch 32`");
  check("train net on d for n { }",
        "1:22: expected `epochs` or `steps` after the number, found `{` / write `for 10 epochs`, or with "
        "a setting `for n epochs`");
  check("train net on d for 1 epoch { }",
        "1:22: expected `epochs` or `steps`, found `epoch` / write `epochs`, for one too");
  check(
      "minimize loss",
      "1:14: expected `with` and an optimiser, found the end of the file / write `minimize loss with adam(lr = 1e-3)`");
  check(
      "minimize loss\n",
      "1:14: expected `with` and an optimiser, found the end of the line / write `minimize loss with adam(lr = 1e-3)`");
  check("a =\n}", "1:4: expected an expression, found the end of the line / the line ends after `=`\n2:1: this `}` "
                  "closes nothing / "
                  "remove it, or look for a `{` that is missing above");
  check("a = (1, 2", "1:10: expected `,` or `)` after this expression, found the end of the file");
  check("a = f(1 2)",
        "1:9: expected `,` or `)` after the arguments, found the number `2` / is a comma or an operator missing?");
  check("a = f(1]", "1:8: expected `,` or `)` after the arguments, found `]` / `(` is closed by `)`");
  check("a = f(\n  1\nb = 2\n", "1:6: this `(` is never closed / close the arguments with `)`");
  check("a = f(k = 1, 2)",
        "1:14: an argument without a name stands after one with a name / put it before the first `name = value`");
  check("a = f(k = 1, k = 2)", "1:14: `k` is given twice / remove one of the two");
  check("fn f(a = 1, b) = a",
        "1:13: a parameter without a default stands after one with a default / put it before the first `name = value`");
  check("fn f(a, a) = a", "1:9: two parameters are called `a` / rename one of the two");
  check("a, b = 1, 2, 3", "1:8: 2 names on the left of `=`, 3 values on the right / give one value for each name, or "
                          "one value that holds them all");
  check("a, a = 1, 2", "1:4: `a` is assigned twice by one statement / use two names, or `_` for what is not needed");
  check("data d { x = 1; for i in 1..2 { } }",
        "1:17: the block of `data` holds columns only, each `name = …` / compute it before the `data` statement");
  check("plot \"a\" on t { lines y }",
        "1:17: expected a mark, found `lines` / did you mean `line`? the marks are `line`, `points`, "
        "`contour`, `surface`, `histogram`, `bars`, `log x` and `log y`");
  check("plot \"a\" { }", "1:10: this plot draws nothing / write for example `{ line loss over epoch }`");
  check("else { }", "1:1: this `else` belongs to no `if` / `else` stands right after the `}` of an `if`'s block");
  check("for = 3", "1:5: expected the name of a loop variable, found `=`");
  check("a = 1 if b else 2",
        "1:7: expected the end of the statement, found `if` / a value is chosen by `where(condition, a, b)`");
  check("a = f(i) for i in x",
        "1:10: expected the end of the statement, found `for` / a list that a loop makes stands in "
        "brackets: `[f(i) for i in 1..10]`");
  check("a = f(lr: 1)", "1:9: expected `,` or `)` after the arguments, found `:` / a named argument is `name = value`");
  check("for i on x { }", "1:7: expected `in` after the loop variable, found `on` / a loop is written `for i in "
                          "1..10`, `for a, b in pairs`");
  check("plot \"a\" { line y ovr x }",
        "1:19: expected `over`, `by`, `label`, `right` or the end of the mark, found `ovr` / did you mean `over`?");
  check("for a in x, a in y { }", "1:13: two loop variables are called `a` / rename one of the two");
  check("record t: a, b = 1, a", "1:21: `a` stands here twice / rename one of the two");
  check("mimimize l with adam()", "1:1: there is no statement `mimimize` / did you mean `minimize`?");
  check("a =\nb = 2",
        "1:4: expected an expression, found the end of the line / the line ends after `=`, and `b = …` is the "
        "next statement");
  check("a = if b { }",
        "1:5: expected an expression, found `if` / `if` is a statement; a value is chosen by `where(condition, a, b)`");
  check("a = 2(x)", "1:5: `2` is a number: it cannot be called / a product is written `2 * (…)`");
  check("a = [i for i in x if i]", "1:19: a comprehension has no filter, since every shape is known when it compiles / "
                                   "choose with `where(condition, a, b)`");
  check("a = b − c", "1:7: this minus sign (U+2212) is not the ASCII one / write `-`");
  check("α = 1", "1:1: `α` cannot stand here / names are made of ASCII letters, digits and `_`");
  check("return", "1:7: expected a value after `return`, found the end of the file / a function is pure: what it "
                  "computes is what it returns");
  check("in = 3", "1:1: expected an expression, found `in`");
  check("param in = 3",
        "1:7: expected the name of the parameter, found `in` / `in` is a reserved word: choose another name");
  check("a = x'", "1:6: expected the end of the statement, found `'` / `name'` is written only to give a state its "
                  "next value: `name' = …`");
  check("every epoch: a",
        "1:12: expected `{` and what is done then, found `:` / blocks stand in braces, not after a colon: `{ … }`");
}

TEST_CASE("bytes that do not belong into a text") {
  CHECK(errors("a = \"\xFF\"") == "1:6: the byte 0xFF is not valid UTF-8 / save the file as UTF-8\n");
  CHECK(errors(std::string("a = 1\0", 6)) ==
        "1:6: the control character U+0000 cannot stand in a model file / remove it\n");
  CHECK(errors("// \x1b[31m") == "1:4: the control character U+001B cannot stand in a model file / remove it\n");
  CHECK(errors("// \u202E x") ==
        "1:4: an invisible character that reorders text cannot stand in a model file / remove it\n");
  // Overlong, surrogate, beyond the last code point, cut off.
  for (const char *bytes : {"\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82"})
    CHECK(errors(fmt::format("// {}", bytes)).find("is not valid UTF-8") != std::string::npos);
  CHECK(errorCount("// äöü 日本語 ✓\na = \"π\"") == 0);
  CHECK(errors(std::string(Source::maxBytes + 1, ' ')).find("the file is larger than 4 MiB") != std::string::npos);
}

TEST_CASE("several independent errors are found in one run") {
  CHECK(errorCount("a = \nb = 2 2\nh = 2 2\nc = 3\nd = (4\ne = 5\nf = 6 +\n") == 5);
  CHECK(errorCount(R"(
fn f(x {
  y = 3 3
  return y
}
for i on x {
  if a = 1 {
    b = )
  } else {
    c = 1 c
  }
}
train net on d for 3 epoch {
  minimize loss
}
plot "a" on t { lien y over x; line y ovr x }
good = 1
)") == 10);
  // What stands after an error is parsed as if nothing had happened.
  auto p = parse("a = ) 1\nb = 2\nfor i in { c = 3 }\nd = 4");
  CHECK(p->diagnostics.errorCount() == 2);
  REQUIRE(p->module.statements.size() == 2);
  CHECK(ast::dump(*p->module.statements[1]) == "assign d\n  number 4\n");
  // An argument list over several lines is one mistake.
  CHECK(errorCount("a = f(b c,\n      d = 1,\n      e = 2)\ng = 1") == 1);
  CHECK(errorCount("for i in 1..3\n  a = 1\n}\nb = 1") == 1);
  CHECK(errorCount("if a:\n  b = 1\nc = 2\n") == 1);
}

TEST_CASE("a missing brace is shown where it is missing") {
  auto p =
      parse("for i in 1..3 {\n  train net on d for 3 epochs {\n    minimize l with adam()\n  record t: a\n}\nb = 1\n");
  REQUIRE(p->diagnostics.errorCount() == 1);
  CHECK(p->diagnostics.render() == R"(t.hw:2:31: error: this `{` is never closed
   |
 2 |   train net on d for 3 epochs {
   |                               ^
t.hw:4:3: note: this line stands no deeper than the statement with the `{`: is a `}` missing before it?
   |
 4 |   record t: a
   |   ^^^^^^
   = help: add the missing `}`
)");
  CHECK(errors("for i in 1..3 {\n  a = 1\n").find("1:15: this `{` is never closed") == 0);
  CHECK(errors("a = 1\n}\nb = 2\n").find("2:1: this `}` closes nothing") == 0);
}

TEST_CASE("depth is bounded, whatever nests") {
  auto repeat = [](std::string_view unit, size_t times) {
    std::string out;
    for (size_t i = 0; i < times; ++i)
      out += unit;
    return out;
  };
  const size_t deep = 100000;
  for (std::string_view open : {"(", "[", "-", "f(", "a[", "not ", "2^", "f(k = ", "[1, ", "1 + ("}) {
    CAPTURE(open);
    std::string message = errors("a = " + repeat(open, deep));
    CHECK(message.find("nested more than 200 levels deep") != std::string::npos);
    CHECK(std::count(message.begin(), message.end(), '\n') == 1);
  }
  for (std::string_view open : {"if a { ", "for i in x { ", "fn f() { ", "every epoch { "}) {
    CAPTURE(open);
    CHECK(errors(repeat(open, deep)).find("nested more than 200 levels deep") != std::string::npos);
  }
  // Headers that are wrong, too: recovery descends into their blocks.
  CHECK(errorCount(repeat("for x { ", deep)) > 0);
  CHECK(errorCount(repeat("} ", deep)) > 0);
  for (std::string_view link : {" + 1", ".T", "(1)", "[0]", " |> f", " and 1", " on d"}) {
    CAPTURE(link);
    CHECK(errors("a = b" + repeat(link, deep)).find("more than 1000 operations deep") != std::string::npos);
    CHECK(errorCount("a = b" + repeat(link, 900)) == 0);
  }
  // What a person writes is far from the bounds; long is not deep.
  CHECK(errorCount("a = " + repeat("(", 150) + "1" + repeat(")", 150)) == 0);
  CHECK(errorCount(repeat("for i in x { ", 150) + repeat("}", 150)) == 0);
  CHECK(errorCount("if a { }" + repeat(" else if b { }", 10000)) == 0);
  CHECK(errorCount("a = [" + repeat("1, ", 50000) + "]") == 0);
}

TEST_CASE("any bytes are either a file or an error, and noise stops early") {
  std::mt19937 random(1); // NOLINT(bugprone-random-generator-seed): a test is the same each run
  const std::string alphabet = "ab1. \n\n(){}[],;:='\"|><+-*/@^#\\\xC3\xA4";
  const std::vector<std::string> words = {"for ",   "in ",     "if ",    "else ",  "fn ", "train ", "on ", "plot ",
                                          "\"t\" ", "record ", "every ", "epoch ", "a ",  "= ",     "{ ",  "} ",
                                          "( ",     ") ",      "1 ",     "\n",     "; ",  ", ",     "|> ", ": ",
                                          ".. ",    "// c\n",  "not ",   "data ",  "[ ",  "] ",     "x' ", "minimize "};
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    for (int i = 0, n = static_cast<int>(random() % 40); i < n; ++i) {
      if (round % 2)
        text += alphabet[random() % alphabet.size()];
      else
        text += words[random() % words.size()];
    }
    auto p = parse(text);
    p->diagnostics.render();
    ast::dump(p->module);
    if (!p->diagnostics.hasErrors()) {
      CAPTURE(text);
      checkFormat(text);
    }
  }
  std::string noise;
  for (int i = 0; i < 1000000; ++i)
    noise += static_cast<char>(random());
  CHECK(errorCount(noise) <= 200);
}

TEST_CASE("a study with any one token changed never brings the parser down") {
  std::mt19937 random(2); // NOLINT(bugprone-random-generator-seed)
  for (const auto &[name, text] : studies()) {
    Source source(name, text);
    Diagnostics diagnostics;
    TokenList list = tokenize(source, diagnostics);
    for (int round = 0; round < 300; ++round) {
      const Token &a = list.tokens[random() % (list.tokens.size() - 1)];
      const Token &b = list.tokens[random() % (list.tokens.size() - 1)];
      std::string changed = text;
      changed.replace(a.range.begin, a.range.end - a.range.begin, round % 2 ? std::string(b.text()) : std::string());
      auto p = parse(changed);
      if (!p->diagnostics.hasErrors())
        checkFormat(changed);
      else
        CHECK(p->diagnostics.errorCount() < 12); // no cascade
    }
  }
}

//===-- Diagnostics ---------------------------------------------------------------------------------------------===//

TEST_CASE("places count characters, and carets stand under them") {
  auto p = parse("a = \"äö\" ) \n\tb = 1 2\n");
  CHECK(p->diagnostics.render() == R"(t.hw:1:10: error: expected the end of the statement, found `)`
   |
 1 | a = "äö" ) 
   |          ^
   = help: no bracket is open for this `)` to close
t.hw:2:8: error: expected the end of the statement, found the number `2`
   |
 2 |     b = 1 2
   |           ^
   = help: statements are separated by a newline or `;`; is an operator or a comma missing?
)");
}

TEST_CASE("diagnostics are sorted, capped, and fit the screen") {
  Source source("s.hw", "first\n" + std::string(5000, 'x') + "\n");
  Diagnostics diagnostics;
  diagnostics.error({&source, 3000, 3003}, "late");
  diagnostics.error({&source, 0, 5}, "early").note("because").help("fix it");
  diagnostics.warning({&source, 6, 7}, "between");
  CHECK(diagnostics.errorCount() == 2);
  std::string text = diagnostics.render();
  CHECK(text.find("early") < text.find("between"));
  CHECK(text.find("between") < text.find("late"));
  CHECK(text.find("   = note: because\n   = help: fix it\n") != std::string::npos);
  for (size_t begin = 0; begin < text.size();) {
    size_t end = text.find('\n', begin);
    CHECK(end - begin < 140);
    begin = end + 1;
  }
  for (int i = 0; i < 30; ++i)
    diagnostics.error({&source, 0, 1}, "again");
  CHECK(diagnostics.render().find("… and 13 more\n") != std::string::npos);

  // What is quoted from a file cannot drive the terminal.
  Source hostile("\x1b[2J.hw", "\x1b]0;x\x07\n");
  Diagnostics other;
  other.error({&hostile, 0, 1}, "found \x1b[31m");
  CHECK(other.render().find('\x1b') == std::string::npos);
  CHECK(other.render(true).find("\x1b[2J") == std::string::npos);
  CHECK(other.render().find("\\x1b[2J.hw:1:1: error: found \\x1b[31m") == 0);
  CHECK(other.render().find(" 1 | \\x1b]0;x\\x07\n") != std::string::npos);
  // Nor reorder or hide what is there: C1 controls, bidirectional overrides, a newline in a file's name.
  Source reordered("a\nb.hw", "x \xc2\x9b \xe2\x80\xae y\n");
  Diagnostics more;
  more.error({&reordered, 0, 1}, "found \xe2\x80\xae");
  CHECK(more.render() ==
        "a\\x0ab.hw:1:1: error: found \\xe2\\x80\\xae\n   |\n 1 | x \\xc2\\x9b \\xe2\\x80\\xae y\n   | ^\n");
}

TEST_CASE("a file that cannot be read is one sentence") {
  std::string error;
  CHECK_FALSE(Source::load("/nonexistent/model.hw", error));
  CHECK(error == "cannot read `/nonexistent/model.hw`: No such file or directory");
  CHECK_FALSE(Source::load("/", error));
  CHECK(error.find("is a folder") != std::string::npos);
  CHECK_FALSE(Source::load("/dev/zero", error));
  CHECK(error.find("larger than 4 MiB") != std::string::npos);
}

//===-- Formatter -----------------------------------------------------------------------------------------------===//

TEST_CASE("canonical layout") {
  auto check = [](const std::string &text, const std::string &expected) {
    CHECK(formatted(text) == expected);
    checkFormat(text);
  };
  check("", "");
  check("\n\n// only\n\n\n// comments  \n", "// only\n\n// comments\n");
  check("a=1;b=-a*2^-1", "a = 1\nb = -a * 2^-1\n");
  check("a = b [ 0 ,: ,1 : n+1, ::2,None ] . T", "a = b[0, :, 1:n + 1, ::2, None].T\n");
  check("a = f ( x,k=1, )", "a = f(x, k = 1)\n");
  check("for i in 1 .. n{a=i}", "for i in 1..n { a = i }\n");
  check("if a{b=1}\nelse\n{b=2}", "if a {\n  b = 1\n} else {\n  b = 2\n}\n");
  check("if a {b=1} else {b=2}", "if a { b = 1 } else { b = 2 }\n");
  check("data d{x=1;y=2;}", "data d { x = 1; y = 2 }\n");
  check("data d {\n x=1; y=2 }", "data d {\n  x = 1\n  y = 2\n}\n");
  check("fn f(x)\n{\n\n\n a=1\n\n\n\n return a\n\n}", "fn f(x) {\n  a = 1\n\n  return a\n}\n");
  check("every epoch {\n}", "every epoch {}\n");
  check("record t   on d:a,b=1", "record t on d: a, b = 1\n");
  check("m' =1", "m' = 1\n");
  check("a = not(b)and -c<d", "a = not (b) and -c < d\n");
  check("a = x\n|> f\n     |> g", "a = x\n  |> f\n  |> g\n");
  check("a = f(\nb,\n[\n1,\n2,\n],\n)", "a = f(\n  b,\n  [\n    1,\n    2,\n  ],\n)\n");
  check("a = f([\n1,\n])\nb=1", "a = f([\n  1,\n])\nb = 1\n");
  check("a = 1. ..2.", "a = 1. ..2.\n");
  check("a = 1.. .5", "a = 1.. .5\n");
  check("plot \"t\" {line y over x;log y}", "plot \"t\" { line y over x; log y }\n");
  check("a = [ x for x in 1..3 ]", "a = [x for x in 1..3]\n");
}

TEST_CASE("comments stay where they belong") {
  auto check = [](const std::string &text, const std::string &expected) {
    CHECK(formatted(text) == expected);
    checkFormat(text);
  };
  check("a=1//x\n//y\n\n//z\nb=2", "a = 1  //x\n//y\n\n//z\nb = 2\n");
  check("for i in x { // why\n // own\na=1 // end\n//last\n}// after\n",
        "for i in x {  // why\n  // own\n  a = 1  // end\n  //last\n}  // after\n");
  check("a = f(b, // first\n // own\nc) // second\n", "a = f(b,  // first\n  // own\n  c)  // second\n");
  check("if a { b = 1 } // x\n// y\nelse { b = 2 }", "if a {\n  b = 1\n}  // x\n// y\nelse {\n  b = 2\n}\n");
  check("a = 1; // x\nb = 2 ;// y", "a = 1  // x\nb = 2  // y\n");
  check("for i in x // c\n{ a = 1 }", "for i in x  // c\n{ a = 1 }\n");
  check("a = b  // why\n  |> f // how\n", "a = b  // why\n  |> f  // how\n");
  check("a = b + // c\n\n\n d", "a = b +  // c\n  d\n");
}

TEST_CASE("a block stays on one line while it fits") {
  std::string fits = "for i in x { " + std::string(103, 'a') + " = 1 }"; // 13 + 103 + 6 = 122 columns
  CHECK(formatted(fits) == "for i in x {\n  " + std::string(103, 'a') + " = 1\n}\n");
  fits = "for i in x { " + std::string(101, 'a') + " = 1 }";
  CHECK(formatted(fits) == fits + "\n");
  // The outer block breaks first.
  std::string nested =
      "for i in x { " + std::string(60, 'a') + " = 1; for j in y { " + std::string(60, 'b') + " = 2 } }";
  CHECK(formatted(nested) ==
        "for i in x {\n  " + std::string(60, 'a') + " = 1\n  for j in y { " + std::string(60, 'b') + " = 2 }\n}\n");
  checkFormat(nested);
}

TEST_CASE("a file with errors is not formatted") {
  Source source("t.hw", "a = ");
  Diagnostics diagnostics;
  CHECK_FALSE(formatSource(source, diagnostics));
  CHECK(diagnostics.errorCount() == 1);
}

TEST_CASE("every .hw file of the project formats") {
  size_t files = 0;
  for (std::string folder : {"examples", "frontend", "tests"}) {
    auto root = std::filesystem::path(HW_SOURCE_DIR) / folder;
    if (!std::filesystem::exists(root))
      continue;
    for (const auto &entry : std::filesystem::recursive_directory_iterator(root)) {
      if (entry.path().extension() != ".hw")
        continue;
      std::string error;
      auto source = Source::load(entry.path().string(), error);
      REQUIRE_MESSAGE(source, error);
      // Some of the tests' files are there for their errors.
      Diagnostics diagnostics;
      parseModule(*source, diagnostics);
      if (folder == "tests" && diagnostics.hasErrors())
        continue;
      CAPTURE(entry.path().string());
      checkFormat(std::string(source->text()));
      ++files;
    }
  }
  MESSAGE(files << " files");
}

TEST_CASE("every example of the documentation parses") {
  size_t examples = 0;
  for (const auto &entry : std::filesystem::directory_iterator(std::filesystem::path(HW_SOURCE_DIR) / "docs")) {
    if (entry.path().extension() != ".md")
      continue;
    std::string error;
    auto page = Source::load(entry.path().string(), error);
    REQUIRE_MESSAGE(page, error);
    CAPTURE(entry.path().string());
    std::string example;
    bool inside = false;
    for (unsigned number = 1; number <= page->lineCount(); ++number) {
      std::string_view line = page->line(number);
      if (!inside) {
        inside = line == "```hw" || line == "```hw-fragment"; // a fragment uses names that it does not define
      } else if (line.substr(0, 3) == "```") {
        CAPTURE(number);
        checkFormat(example);
        example.clear();
        inside = false;
        ++examples;
      } else {
        example.append(line) += '\n';
      }
    }
  }
  CHECK(examples > 0);
}
