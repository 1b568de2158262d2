#include "tests/reference/Generate.h"
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <initializer_list>
#include <random>
#include <vector>

namespace hw::reference {

namespace {

using Shape = std::vector<int64_t>;

int64_t countOf(const Shape &shape) {
  int64_t count = 1;
  for (int64_t size : shape)
    count *= size;
  return count;
}

std::string list(const Shape &shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

std::string decimal(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

std::string joined(const std::vector<std::string> &parts) {
  std::string text;
  for (const std::string &part : parts)
    text += (text.empty() ? "" : ", ") + part;
  return text;
}

/// The element types that a variable may have: the program's own, f64 in a program of f32, the language's numbers,
/// masks.
enum class Element { own, wide, number, mask };

struct Variable {
  bool isFloat() const { return (element == Element::own || element == Element::wide) && !classes; }

  std::string name;
  Shape shape;
  Element element = Element::own;
  double bound = 2;      ///< of its absolute values
  double slope = 1;      ///< its Lipschitz constant in what the loops around it carry
  bool canChange = true; ///< it may be rebound
  bool isDrawn = false;  ///< random numbers as they were drawn: what compares them does not hang on rounding
  int64_t classes = 0;   ///< labels: how many classes
};

/// An expression, with what is known of its values.
struct Expression {
  std::string text;
  double bound, slope;
};

class Generator {
public:
  explicit Generator(uint64_t seed) : random(seed) {
    program.f64 = chance(0.4);
    program.threads = pick({1, 2, 2, 3});
    program.cpu = pick({"", "", "", "", "x86-64-v3", "x86-64"});
    program.products = chance(0.8) ? Generated::automatic : chance(0.5) ? Generated::library : Generated::generated;
    hasWide = !program.f64 && chance(0.25);
    const std::initializer_list<int64_t> small = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40};
    for (int i = 0; i < 3; ++i)
      sizes.push_back(pick(small));
    if (chance(0.3))
      sizes.push_back(pick<int64_t>({64, 100, 129, 257, 500, 1000, 2000}));
  }

  Generated run() {
    declarations();
    const int count = 2 + draw(3);
    bool hasTrained = false;
    for (int i = 0; i < count; ++i) {
      if (chance(0.5) || (hasTrained && chance(0.7)))
        loop(0);
      else if (chance(0.25))
        nets();
      else {
        training();
        hasTrained = true;
      }
      if (chance(0.5))
        let();
      if (chance(0.6))
        record();
    }
    if (chance(0.03))
      largeProducts();
    record();
    if (chance(0.4))
      spectrum();
    save();
    return std::move(program);
  }

private:
  //===-- Chance -------------------------------------------------------------------------------------------------===//

  int draw(int below) { return int(random() % uint64_t(below)); }
  bool chance(double p) { return double(random() >> 11) * 0x1p-53 < p; }
  template <class T> T pick(std::initializer_list<T> from) { return from.begin()[draw(int(from.size()))]; }
  template <class T> const T &pick(const std::vector<T> &from) { return from[size_t(draw(int(from.size())))]; }
  std::string constant(double low = 0.1, double high = 1) {
    return decimal(low + (high - low) * double(random() >> 11) * 0x1p-53);
  }

  //===-- Text ---------------------------------------------------------------------------------------------------===//

  void line(const std::string &text) { program.text += std::string(2 * indent, ' ') + text + "\n"; }
  void open(const std::string &text) {
    line(text + " {");
    ++indent;
    marks.push_back(variables.size());
  }
  void close() {
    variables.resize(marks.back());
    marks.pop_back();
    --indent;
    line("}");
  }
  std::string fresh(const std::string &prefix) { return prefix + std::to_string(names++); }

  //===-- Expressions --------------------------------------------------------------------------------------------===//

  Expression call(const std::string &function, const Expression &x, double bound, double slope) {
    return {function + "(" + x.text + ")", bound, slope};
  }
  Expression scaled(const Expression &x, double factor) {
    std::string text = decimal(factor);
    factor = std::stod(text);
    return {"(" + text + " * " + x.text + ")", x.bound * factor, x.slope * factor};
  }
  /// Within these limits, by tanh or a factor.
  Expression limited(Expression x, double bound, double slope) {
    if (x.bound > bound)
      x = chance(0.5) || x.bound > 20 ? call("tanh", x, 1, x.slope) : scaled(x, bound / x.bound * 0.98);
    if (x.slope > slope)
      x = scaled(x, slope / x.slope * 0.98);
    return x;
  }

  std::string inElement(std::string text, Element has, Element wanted) {
    if (has == wanted || has == Element::number || has == Element::mask)
      return text;
    return (wanted == Element::wide ? "f64(" : "f32(") + text + ")";
  }

  const Variable *find(const Shape &shape, bool isDrawn = false) {
    std::vector<const Variable *> found;
    for (const Variable &v : variables)
      if (v.shape == shape && v.isFloat() && (!isDrawn || v.isDrawn)) {
        found.push_back(&v);
        // What the statement changes is read often.
        for (const std::string &name : focus)
          if (name == v.name)
            found.insert(found.end(), 3, &v);
      }
    return found.empty() ? nullptr : pick(found);
  }
  Expression use(const Variable &v, Element element) {
    return {inElement(v.name, v.element, element), v.bound, v.slope};
  }

  /// A number of the language that is known only as the program runs, or a constant.
  Expression number() {
    std::vector<const Variable *> found;
    for (const Variable &v : variables)
      if (v.element == Element::number)
        found.push_back(&v);
    if (found.empty() || chance(0.4)) {
      std::string text = constant();
      return {text, std::stod(text), 0};
    }
    const Variable &v = *pick(found);
    return {v.name, v.bound, v.slope};
  }

  Expression leaf(const Shape &shape, Element element) {
    if (const Variable *v = find(shape); v && chance(0.9))
      return use(*v, element);
    // A part of something larger, or the same elements in another shape.
    std::vector<Expression> others;
    for (const Variable &v : variables) {
      if (!v.isFloat())
        continue;
      auto add = [&](const std::string &text) {
        others.push_back({inElement(text, v.element, element), v.bound, v.slope});
      };
      if (shape.empty() && !v.shape.empty())
        add("mean(" + v.name + ")");
      else if (v.shape.size() == 2 && shape.size() == 2 && v.shape[0] == shape[1] && v.shape[1] == shape[0])
        add(v.name + ".T");
      else if (v.shape != shape && countOf(v.shape) == countOf(shape) && !shape.empty())
        add("reshape(" + v.name + ", " + list(shape) + ")");
      else if (v.shape.size() == shape.size() + 1 && !v.shape.empty() &&
               std::equal(shape.begin(), shape.end(), v.shape.begin() + 1))
        add(v.name + "[" + std::to_string(chance(0.3) ? -1 : draw(int(v.shape[0]))) + "]");
      else if (v.shape.size() == 2 && shape.size() == 1 && v.shape[0] == shape[0])
        add(v.name + "[:, " + std::to_string(draw(int(v.shape[1]))) + "]");
      else if (v.shape.size() == shape.size() && !shape.empty() && v.shape != shape) {
        std::string text;
        bool fits = true;
        for (size_t d = 0; d < shape.size() && fits; ++d) {
          fits = v.shape[d] >= shape[d];
          if (!fits)
            break;
          const bool isStrided = shape[d] > 1 && v.shape[d] > 2 * (shape[d] - 1) && chance(0.5);
          const int64_t extent = isStrided ? 2 * (shape[d] - 1) + 1 : shape[d];
          const int64_t from = draw(int(v.shape[d] - extent + 1));
          text +=
              (d ? ", " : "") + std::to_string(from) + ":" + std::to_string(from + extent) + (isStrided ? ":2" : "");
        }
        if (fits)
          add(v.name + "[" + text + "]");
      }
    }
    if (!others.empty() && chance(0.8))
      return pick(others);
    if (shape.empty()) {
      const Shape any = {pick(sizes)};
      return {inElement("mean(" + made(any) + ")", Element::own, element), 1, 0};
    }
    return {inElement(made(shape), Element::own, element), 1, 0};
  }

  /// A tensor from nothing, within -1..1.
  std::string made(const Shape &shape) {
    if (shape.size() == 1 && chance(0.5))
      return shape[0] > 1 && chance(0.5)
                 ? "linspace(-1, 1, " + std::to_string(shape[0]) + ")"
                 : "(arange(" + std::to_string(shape[0]) + ") / " + std::to_string(shape[0]) + ")";
    if (isInStep)
      return "full(" + list(shape) + ", " + constant() + ")";
    switch (draw(3)) {
    case 0:
      return "full(" + list(shape) + ", " + constant() + ")";
    default:
      return "uniform(-1, 1, shape = " + list(shape) + ", seed = " + std::to_string(draw(1000)) + ")";
    }
  }

  /// Something that is broadcast to the shape, or has it.
  Expression operand(const Shape &shape, Element element, int size) {
    if (chance(0.12))
      return number();
    if (shape.size() == 2 && chance(0.12)) {
      Expression x = leaf({shape[0]}, element);
      return {x.text + "[:, None]", x.bound, x.slope};
    }
    if (shape.size() >= 2 && chance(0.15))
      return expression(Shape(shape.begin() + 1, shape.end()), element, std::min(size, 2));
    if (!shape.empty() && chance(0.08))
      return leaf({}, element);
    return expression(shape, element, size);
  }

  std::string mask(const Shape &shape) {
    for (const Variable &v : variables)
      if (v.element == Element::mask && v.shape == shape && chance(0.4))
        return v.name;
    if (const Variable *v = find(shape, true); v && chance(0.7)) {
      std::string text = "(" + v->name + pick({" > ", " < ", " >= "}) + decimal(-0.5 + 0.01 * draw(100)) + ")";
      if (chance(0.2))
        text = "(" + text + (chance(0.5) ? " and " : " or ") + v->name + " < " + decimal(0.01 * draw(60)) + ")";
      return chance(0.2) ? "(not " + text + ")" : text;
    }
    if (shape.empty())
      return "";
    return "(arange(" + std::to_string(shape.back()) + ") < " + std::to_string(1 + draw(int(shape.back()))) + ")";
  }

  Expression binary(const Shape &shape, Element element, int size) {
    const int left = 1 + draw(std::max(size - 2, 1));
    Expression x = expression(shape, element, left), y = operand(shape, element, std::max(size - 1 - left, 1));
    if (chance(0.3))
      y = scaled(y, 0.1 + 0.1 * draw(12));
    const double bound = x.bound, other = y.bound;
    auto text = [&](const char *op) { return "(" + x.text + op + y.text + ")"; };
    switch (draw(9)) {
    case 0:
    case 1:
      return {text(" + "), bound + other, x.slope + y.slope};
    case 2:
    case 3:
      return {text(" - "), bound + other, x.slope + y.slope};
    case 4:
    case 5:
    case 6:
      return {text(" * "), bound * other, bound * y.slope + other * x.slope};
    case 7:
      return {std::string(chance(0.5) ? "max(" : "min(") + x.text + ", " + y.text + ")", std::max(bound, other),
              std::max(x.slope, y.slope)};
    default:
      return {"(" + x.text + " / (1 + " + y.text + "^2))", bound, x.slope + bound * y.slope};
    }
  }

  Expression unary(const Shape &shape, Element element, int size) {
    const Expression x = expression(shape, element, size - 1);
    const double b = x.bound, s = x.slope;
    switch (draw(20)) {
    case 18:
      return {"((0.2 + abs(" + x.text + "))^" + pick({"1.7", "3", "2.5"}) + ")", std::pow(0.2 + b, 3),
              3 * s * (0.2 + b) * (0.2 + b)};
    case 19:
      return {"((1.5 + tanh(" + x.text + "))^(0.5 * " + leaf(shape, element).text + "))", 2.5, 3 * s + 2};
    case 0:
    case 1:
      return call("sin", x, 1, s);
    case 2:
      return call("cos", x, 1, s);
    case 3:
    case 4:
      return call("tanh", x, 1, s);
    case 5:
      return call("sigmoid", x, 1, s / 4);
    case 6:
      return call("erf", x, 1, 1.13 * s);
    case 7:
      return call("asinh", x, b, s);
    case 8:
      return {"exp(-abs(" + x.text + "))", 1, s};
    case 9:
      return {"sqrt(1 + " + x.text + "^2)", 1 + b, s};
    case 10:
      return {"log1p(abs(" + x.text + "))", b, s};
    case 11:
      return {"(" + x.text + "^2)", b * b, 2 * b * s};
    case 12:
      return {"(-" + x.text + ")", b, s};
    case 13:
      return call(pick({"relu", "abs", "softplus"}), x, b + 0.7, s);
    case 14:
      return {"clip(" + x.text + ", -0.8, 0.9)", 0.9, s};
    case 15:
      return {"leaky_relu(" + x.text + ", slope = 0.3)", b, s};
    case 16:
      return {"(exp(min(" + x.text + ", 1)) - 1)", 2, 2.72 * s};
    default:
      return call(pick({"gelu", "silu"}), x, b, 1.2 * s);
    }
  }

  /// The elements of others, elsewhere.
  Expression structure(const Shape &shape, Element element, int size) {
    const size_t rank = shape.size(), axis = size_t(draw(int(rank)));
    const std::string at = std::to_string(axis);
    switch (draw(8)) {
    case 7:
      if (shape[0] > 1) { // rows moved along
        const Expression x = leaf(shape, element);
        const std::string by = std::to_string(1 + draw(int(shape[0]) - 1));
        return {"concat([" + x.text + "[" + by + ":], " + x.text + "[:" + by + "]])", x.bound, x.slope};
      }
      [[fallthrough]];
    case 0: { // turned over
      const Expression x = expression(shape, element, size - 1);
      std::string index;
      for (size_t d = 0; d <= axis; ++d)
        index += d < axis ? ":, " : "::-1";
      return {x.text + "[" + index + "]", x.bound, x.slope};
    }
    case 1:
      if (rank == 2) {
        const Expression x = expression({shape[1], shape[0]}, element, size - 1);
        return {x.text + ".T", x.bound, x.slope};
      }
      [[fallthrough]];
    case 2:
      if (shape[axis] > 1) { // side by side
        Shape first = shape, second = shape;
        first[axis] = 1 + draw(int(shape[axis]) - 1);
        second[axis] -= first[axis];
        const Expression x = expression(first, element, size / 2), y = expression(second, element, size / 2);
        return {"concat([" + x.text + ", " + y.text + "], axis = " + at + ")", std::max(x.bound, y.bound),
                std::max(x.slope, y.slope)};
      }
      [[fallthrough]];
    case 3:
      // A comprehension; a long one is a loop, but for in steps.
      if (shape[0] <= 5 || (shape[0] > 16 && shape[0] <= 40 && !isInStep && countOf(shape) < 2000)) {
        const Shape inner(shape.begin() + 1, shape.end());
        const Expression x = expression(inner, element, size - 1);
        const std::string k = fresh("k");
        return {"(1 * [sin(" + constant(0.1, 0.4) + " * " + k + " * " + x.text + ") for " + k + " in 1.." +
                    std::to_string(shape[0]) + "])",
                1, 0.4 * double(shape[0]) * x.slope};
      }
      [[fallthrough]];
    case 4: { // rows by number
      Shape table = shape;
      table[0] = pick(sizes);
      if (countOf(table) > 20000)
        break;
      const Expression x = expression(table, element, size - 1);
      if (shape[0] <= 6) {
        std::string rows;
        for (int64_t i = 0; i < shape[0]; ++i)
          rows += (i ? ", " : "") + std::to_string(draw(int(table[0])));
        return {x.text + "[[" + rows + "]]", x.bound, x.slope};
      }
      if (const std::string label = labels(shape[0], table[0]); !label.empty())
        return {x.text + "[" + label + "]", x.bound, x.slope};
      break;
    }
    case 5:
      if (rank == 2 && shape[1] <= 40) { // an entry a row
        if (const std::string label = labels(shape[0], shape[1]); !label.empty()) {
          const Expression x = expression(shape, element, size - 1);
          return {"(one_hot(" + label + ") * " + x.text + ")", x.bound, x.slope};
        }
      }
      if (rank == 1) {
        const int64_t classes = pick(sizes);
        if (const std::string label = labels(shape[0], classes); !label.empty() && classes * shape[0] < 20000) {
          const Expression x = expression({shape[0], classes}, element, size - 1);
          return {"pick(" + x.text + ", " + label + ")", x.bound, x.slope};
        }
      }
      break;
    default: { // outer product
      if (rank != 2)
        break;
      const Expression x = expression({shape[0]}, element, size / 2), y = expression({shape[1]}, element, size / 2);
      return {"(" + x.text + "[:, None] * " + y.text + ")", x.bound * y.bound, x.bound * y.slope + y.bound * x.slope};
    }
    }
    return unary(shape, element, size);
  }

  /// The name of labels [count] of `classes` classes, declared when the file began; empty if there are none. Count 0:
  /// of any.
  std::string labels(int64_t count, int64_t classes) {
    for (const Variable &v : variables)
      if (v.classes == classes && (count == 0 || v.shape == Shape{count}))
        return v.name;
    return "";
  }

  Expression product(const Shape &shape, Element element, int size) {
    const int64_t inner = pick(sizes);
    if (shape.size() > 2 || countOf(shape) * inner > 2'000'000)
      return binary(shape, element, size);
    Shape left = shape, right = {inner};
    if (shape.size() == 2) {
      left[1] = inner;
      right.push_back(shape[1]);
    } else
      left.push_back(inner);
    Expression x = expression(left, element, std::max(size / 2, 1)),
               y = expression(right, element, std::max(size / 2, 1));
    return {"((" + x.text + " @ " + y.text + ") / " + std::to_string(inner) + ")", x.bound * y.bound,
            x.bound * y.slope + y.bound * x.slope};
  }

  Expression reduction(const Shape &shape, Element element, int size) {
    const int axis = draw(int(shape.size()) + 1);
    const int64_t length = pick(sizes);
    Shape larger = shape;
    larger.insert(larger.begin() + axis, length);
    if (larger.size() > 3 || countOf(larger) > 40'000)
      return unary(shape, element, size);
    const Expression x = expression(larger, element, size - 1);
    const std::string over = ", axis = " + std::to_string(axis) + ")";
    const double b = x.bound, s = x.slope;
    switch (draw(7)) {
    case 0:
      return {"max(" + x.text + over, b, s};
    case 1:
      return {"(logsumexp(" + x.text + over + " - " + decimal(std::log(double(length))) + ")", b + 0.01, s};
    case 2:
      return {"var(" + x.text + over, b * b, 4 * b * s};
    case 3:
    case 4:
      return {"(sum(" + x.text + over + " / " + std::to_string(length) + ")", b, s};
    default:
      return {"mean(" + x.text + over, b, s};
    }
  }

  /// Of the rank that it has, over an axis of its own.
  Expression normalised(const Shape &shape, Element element, int size) {
    const Expression x = expression(shape, element, size - 1);
    const std::string axis = std::to_string(draw(int(shape.size())));
    if (chance(0.4))
      return {"softmax(" + x.text + ", axis = " + axis + ")", 1, 2 * x.slope};
    return {"(" + x.text + " - mean(" + x.text + ", axis = " + axis + ", keepdims = True))", 2 * x.bound, 2 * x.slope};
  }

  Expression chosen(const Shape &shape, Element element, int size) {
    const Expression x = expression(shape, element, size / 2 + 1);
    if (chance(0.35)) { // by what was computed, without a jump where the sides meet
      const std::string c = constant(0.1, 0.5), k = constant();
      return {"where(" + x.text + " > " + c + ", " + x.text + ", " + c + " + " + k + " * (" + x.text + " - " + c + "))",
              x.bound + 1, x.slope};
    }
    const std::string text = mask(shape);
    if (text.empty())
      return x;
    const Expression y = operand(shape, element, size / 2);
    return {"where(" + text + ", " + x.text + ", " + y.text + ")", std::max(x.bound, y.bound),
            std::max(x.slope, y.slope)};
  }

  Expression derivative(const Shape &shape, Element element, int size) {
    std::vector<const Variable *> found;
    for (const Variable &v : variables)
      if (v.shape == shape && v.element == element && v.isFloat())
        found.push_back(&v);
    if (found.empty() || countOf(shape) > 5000)
      return unary(shape, element, size);
    const std::string v = pick(found)->name;
    const Expression x = expression(shape, element, std::max(size / 2, 1));
    auto function = "(sin(" + v + ") * " + x.text + ")";
    if (chance(0.3))
      function = "tanh(" + v + " + 0.5 * " + x.text + " * " + v + ")";
    const bool isOther = chance(0.5) && !shape.empty();
    if (isOther)
      function = moved(v, shape, x.text);
    const std::string direction = leaf(shape, element).text;
    std::string text;
    switch (draw(isOther ? 4 : 5)) {
    case 0:
    case 1:
      text = "grad(sum(" + function + "), " + v + ")";
      break;
    case 2:
      text = isOther ? "vjp(" + function + ", " + v + ", 0.5 + cos(" + function + "))"
                     : "jvp(" + function + ", " + v + ", " + direction + ")";
      break;
    case 3:
      text = "grad(sum(grad(sum(" + function + "), " + v + ") * " + direction + "), " + v + ")";
      break;
    default:
      text = "vjp(" + function + ", " + v + ", " + direction + ")";
    }
    return {"(0.05 * tanh(" + text + "))", 0.05, 0.5};
  }

  /// A function of a variable that moves its elements: of another shape, as a rule. `x` has the variable's.
  std::string moved(const std::string &v, const Shape &shape, const std::string &x) {
    const size_t axis = size_t(draw(int(shape.size())));
    const std::string over = ", axis = " + std::to_string(axis), size = std::to_string(shape[0]);
    switch (draw(12)) {
    case 0:
      if (const std::string label = labels(0, shape[0]); !label.empty())
        return "sin((" + v + " * " + x + ")[" + label + "])";
      [[fallthrough]];
    case 1:
      return "sin((" + v + " * " + x + ")[[0, " + std::to_string(draw(int(shape[0]))) + ", 0]])";
    case 2:
      return "tanh((" + v + " + " + x + ")[" + std::to_string(draw(int(shape[0]))) + ":])";
    case 3:
      return "sin((" + v + " * " + x + ")[::2])";
    case 4:
      return "tanh(" + v + ".T * " + x + ".T)";
    case 5:
      return "concat([" + v + " * " + x + ", sin(" + v + ")]" + over + ")";
    case 6:
      return "softmax(" + v + " + " + x + over + ")";
    case 7:
      return "sin(max(" + v + " * " + x + over + "))";
    case 8:
      return "sin(logsumexp(" + v + " * " + x + over + "))";
    case 9:
      if (shape.size() == 2 && shape[0] <= 33)
        return "sin(" + v + " @ " + x + ".T / " + std::to_string(shape[1]) + ")";
      [[fallthrough]];
    case 10:
      if (shape.size() == 2 && shape[0] <= 8)
        return "sin(cholesky(" + v + " @ " + v + ".T + 3 * eye(" + size + ")))";
      [[fallthrough]];
    default:
      return "tanh(reshape(" + v + " * " + x + ", [-1])[::-1])";
    }
  }

  Expression solved(const Shape &shape, Element element, int size) {
    const int64_t n = shape[0];
    const Expression a = expression({n, n}, element, size / 2), b = expression(shape, element, 1);
    return {"(0.1 * tanh(solve(" + a.text + " @ " + a.text + ".T / " + std::to_string(n) + " + eye(" +
                std::to_string(n) + "), " + b.text + ")))",
            0.1, 0.5};
  }

  Expression expression(const Shape &shape, Element element, int size) {
    if (size <= 1)
      return leaf(shape, element);
    const size_t rank = shape.size();
    Expression x{"", 0, 0};
    const int kind = draw(24);
    if (kind < 8)
      x = binary(shape, element, size);
    else if (kind < 12)
      x = unary(shape, element, size);
    else if (kind < 14 && rank > 0)
      x = structure(shape, element, size);
    else if (kind < 16)
      x = product(shape, element, size);
    else if (kind < 18 && rank < 3)
      x = reduction(shape, element, size);
    else if (kind < 19 && rank > 0)
      x = normalised(shape, element, size);
    else if (kind < 21)
      x = chosen(shape, element, size);
    else if (kind < 22 && size > 3)
      x = derivative(shape, element, size);
    else if (kind < 23 && size > 3 && rank > 0 && rank < 3 && shape[0] <= 8)
      x = solved(shape, element, size);
    else
      x = binary(shape, element, size);
    return limited(x, 4, 20);
  }

  //===-- Statements ---------------------------------------------------------------------------------------------===//

  Shape anyShape() {
    switch (draw(10)) {
    case 0:
      return {};
    case 1:
    case 2:
    case 3:
    case 4:
      return {pick(sizes)};
    case 5:
      return {2 + draw(3), pick(sizes), 2 + draw(4)};
    default:
      for (;;) {
        Shape shape = {pick(sizes), pick(sizes)};
        if (countOf(shape) <= 20'000)
          return shape;
      }
    }
  }

  void declarations() {
    const int drawn = 1 + draw(2), count = 2 + draw(4);
    std::vector<Shape> shapes;
    for (int i = 0; i < drawn; ++i) {
      Shape shape = anyShape();
      if (shape.empty())
        shape = {pick(sizes)};
      Variable v{fresh("u"), shape};
      v.bound = v.isDrawn = 1;
      v.slope = v.canChange = 0;
      line(v.name + " = uniform(-1, 1, shape = " + list(shape) + ", seed = " + std::to_string(draw(1000)) + ")");
      variables.push_back(v);
      shapes.push_back(shape);
    }
    for (int i = 0; i < 4; ++i) {
      Variable v{fresh("label"), {pick(sizes)}};
      v.classes = pick(sizes);
      v.canChange = chance(0.3);
      line(v.name + " = randint(" + std::to_string(v.classes) + ", shape = " + list(v.shape) +
           ", seed = " + std::to_string(draw(1000)) + ")");
      variables.push_back(v);
    }
    for (int i = 0; i < count; ++i) {
      // Few shapes, so that variables are exchanged and combined.
      const Shape shape = i && chance(0.65) ? pick(shapes) : anyShape();
      shapes.push_back(shape);
      declare(shape, hasWide && chance(0.4) ? Element::wide : Element::own);
    }
    if (chance(0.4)) {
      Variable v{fresh("b"), shapes[0], Element::mask};
      line(v.name + " = " + mask(v.shape));
      if (program.text.find(v.name + " = (arange") == std::string::npos) // that has another shape
        variables.push_back(v);
    }
    if (chance(0.6)) {
      Variable v{fresh("n"), {}, Element::number};
      line(v.name + " = " + constant());
      variables.push_back(v);
    }
  }
  void declare(const Shape &shape, Element element) {
    Variable v{fresh("v"), shape, element};
    std::string text = limited(expression(shape, element, 1 + draw(4)), 2, 1).text;
    if (chance(0.25) && !shape.empty())
      text = inElement("full(" + list(shape) + ", " + constant() + ")", Element::own, element);
    // Of the type that it is to keep, whatever numbers and constants it is made of.
    if (shape.empty() || element == Element::wide)
      text = (element == Element::wide || program.f64 ? "f64(" : "f32(") + text + ")";
    line(v.name + " = " + text);
    variables.push_back(v);
  }

  /// A name for a value of here.
  void let() {
    const Shape shape = pick(variables).shape;
    if (!isInStep && chance(0.1) && countOf(shape) < 20'000) { // drawn anew each step of a training
      line(fresh("noise") + " = 0.1 * normal(0, 1, shape = " + list(shape) + ", seed = " + std::to_string(draw(1000)) +
           ")");
      Variable v{"noise" + std::to_string(names - 1), shape};
      v.canChange = false;
      v.bound = 0.6;
      v.slope = 0;
      variables.push_back(v);
      return;
    }
    Variable v{fresh("t"), shape};
    const Expression x = limited(expression(shape, Element::own, 2 + draw(5)), 2, 4);
    v.bound = x.bound;
    v.slope = x.slope;
    v.canChange = false;
    line(v.name + " = " + x.text);
    variables.push_back(v);
  }

  Expression next(const Variable &v, int size) {
    if (v.classes) {
      const std::string turned = v.name + "[::-1]", text = mask(v.shape);
      return {chance(0.5) || text.empty() ? turned : "where(" + text + ", " + v.name + ", " + turned + ")", 0, 0};
    }
    if (v.element == Element::mask) {
      const std::string text = mask(v.shape);
      return {chance(0.3) || text == v.name ? "(not " + v.name + ")"
                                            : "(" + v.name + pick({" and ", " or "}) + text + ")",
              0, 0};
    }
    if (v.element == Element::number) {
      const Expression x = number();
      switch (draw(3)) {
      case 0:
        return {"(0.5 * " + v.name + " + " + decimal(0.4 / std::max(x.bound, 1.0)) + " * " + x.text + ")", 1.5, 1};
      case 1:
        return {"sin(" + v.name + " + " + constant() + ")", 1, 1};
      default:
        return {"min(" + v.name + " + 0.25, 2)", 2, 1};
      }
    }
    Expression x = limited(expression(v.shape, v.element, size), 1.5, 1);
    // So that values do not shrink turn by turn.
    if (chance(0.5))
      x.text = "(" + x.text + pick({" + ", " - "}) + constant(0.2, 0.5) + ")";
    // What is made of numbers alone is a number, and would change the type.
    if (v.shape.empty())
      x.text = (v.element == Element::wide || program.f64 ? "f64(" : "f32(") + x.text + ")";
    return x;
  }

  /// One to four variables at once, or one after the other.
  void assign() {
    std::vector<Variable> group;
    std::vector<const Variable *> free;
    for (const Variable &v : variables)
      if (v.canChange)
        free.push_back(&v);
    std::shuffle(free.begin(), free.end(), random);
    // Those of one type first: they can be exchanged.
    if (!free.empty() && chance(0.6))
      std::stable_partition(free.begin(), free.end(), [&, first = *free[0]](const Variable *v) {
        return v->shape == first.shape && v->element == first.element;
      });
    const size_t count = std::min<size_t>(free.size(), size_t(1 + draw(4)));
    for (size_t i = 0; i < count; ++i)
      group.push_back(*free[i]);
    if (group.empty())
      return;
    for (const Variable &v : group)
      focus.push_back(v.name);
    std::vector<std::string> names, values;
    const bool rotates = chance(0.3);
    for (size_t i = 0; i < group.size(); ++i) {
      const Variable &v = group[i], &other = group[(i + 1) % group.size()];
      names.push_back(v.name);
      const bool isSame = other.shape == v.shape && other.element == v.element && other.classes == v.classes;
      if (isSame && count > 1 && (rotates ? chance(0.8) : chance(0.15)))
        values.push_back(other.name);
      else
        values.push_back(next(v, 1 + draw(6)).text);
    }
    if (chance(0.3) && !group[0].shape.empty() && group[0].isFloat()) { // the old one is wanted later
      const std::string old = fresh("old");
      line(old + " = " + group[0].name);
      Variable v = group[0];
      v.name = old;
      v.canChange = v.isDrawn = false;
      variables.push_back(v);
    }
    if (chance(0.75))
      line(joined(names) + " = " + joined(values));
    else
      for (size_t i = 0; i < names.size(); ++i)
        line(names[i] + " = " + values[i]);
    focus.clear();
  }

  /// An expression for a table: small.
  std::string cell(const Variable &v) {
    if (v.element == Element::mask)
      return "sum(where(" + v.name + ", 1, 0))";
    if (v.element == Element::number || countOf(v.shape) <= 12)
      return v.name;
    if (v.classes)
      return v.name + "[" + std::to_string(draw(int(v.shape[0]))) + "]";
    switch (draw(4)) {
    case 0:
      return "mean(" + v.name + ")";
    case 1:
      return "sum(" + v.name + "^2) / " + std::to_string(countOf(v.shape));
    case 2:
      if (v.shape.size() == 1 && v.shape[0] <= 40)
        return v.name;
      [[fallthrough]];
    default: {
      std::string index;
      for (size_t d = 0; d < v.shape.size(); ++d)
        index += (d ? ", " : "") + std::to_string(draw(int(v.shape[d])));
      return v.name + "[" + index + "]";
    }
    }
  }
  void record(const std::vector<std::string> &more = {}) {
    std::vector<std::string> items = more;
    std::vector<const Variable *> found;
    for (const Variable &v : variables)
      if (!v.isDrawn && (!v.classes || v.canChange))
        found.push_back(&v);
    std::shuffle(found.begin(), found.end(), random);
    for (size_t i = 0; i < found.size() && i < size_t(2 + draw(5)); ++i)
      items.push_back("c" + std::to_string(i) + " = " + cell(*found[i]));
    const bool hasScalar = chance(0.3);
    if (hasScalar)
      items.push_back("e = " + limited(expression({}, Element::own, 3 + draw(4)), 4, 20).text);
    if (items.empty())
      return;
    const std::string table = fresh("r");
    line("record " + table + ": " + joined(items));
    if (hasScalar && !isInStep) { // what is in a table is read again
      if (indent == 0)
        line("save " + fresh("column") + " = " + table + ".e");
      else if (chance(0.5)) {
        Variable v{fresh("z"), {}, Element::number, 4, 20, false};
        line(v.name + " = " + pick({"mean(", "last(", "max(", "sum("}) + table + ".e) / (1 + count(" + table + ".e))");
        variables.push_back(v);
      }
    }
  }

  void body(int depth, int count) {
    assign();
    for (int i = 0; i < count; ++i)
      switch (draw(9)) {
      case 0:
      case 1:
      case 2:
      case 3:
        assign();
        break;
      case 4:
        let();
        break;
      case 5:
        if (depth < 2 && budget > 1) {
          loop(depth + 1);
          break;
        }
        [[fallthrough]];
      default:
        record();
      }
    if (chance(0.7))
      record();
  }

  void loop(int depth) {
    const int turns = depth ? 1 + draw(3) : 1 + draw(5);
    const std::string name = fresh("i");
    Variable index{name, {}, Element::number};
    index.canChange = false;
    index.slope = 0;
    std::string over;
    const Variable *rows = nullptr;
    if (chance(0.12))
      for (const Variable &v : variables)
        if (!v.shape.empty() && v.shape[0] <= 6 && v.isFloat() && v.element == Element::own)
          rows = &v;
    if (rows) {
      over = rows->name;
      index.element = Element::own;
      index.shape = Shape(rows->shape.begin() + 1, rows->shape.end());
      index.bound = rows->bound;
      index.slope = rows->slope;
    } else if (turns > 1 && chance(0.2)) {
      over = "linspace(0, 1, " + std::to_string(turns) + ")";
      index.bound = 1;
    } else {
      const int from = draw(3);
      over = std::to_string(from) + ".." + std::to_string(from + turns - 1);
      index.bound = from + turns;
    }
    open("for " + name + " in " + over);
    variables.push_back(index);
    const int before = budget;
    budget /= turns;
    body(depth, 1 + draw(depth ? 2 : 4));
    budget = before;
    close();
  }

  //===-- Trainings ----------------------------------------------------------------------------------------------===//

  /// An optimiser of one to three states, each read before and after it is given its next value.
  std::string optimiser() {
    const std::string name = fresh("opt");
    open("fn " + name + "(f, w, lr = 0.02)");
    const int count = 1 + draw(3);
    std::vector<std::string> values = {"g", "w"}, states;
    for (int i = 0; i < count; ++i) {
      states.push_back(fresh("s"));
      line("state " + states.back() + " = " + pick({"0 * w", "0.1 * w", "w"}));
      values.push_back(states.back());
    }
    const bool counts = chance(0.4);
    if (counts)
      line("state turns = 0");
    line("e = f(w)");
    line("g = " + std::string(chance(0.2) ? "clip_norm(grad(e, w), 1)" : "grad(e, w)"));
    auto term = [&] {
      std::string v = pick(values);
      switch (draw(6)) {
      case 0:
        return "tanh(" + v + ")";
      case 1:
        return v + " / (1 + abs(" + pick(values) + "))";
      case 2:
        return "tanh(" + v + ") * tanh(" + pick(values) + ")";
      default:
        return v;
      }
    };
    auto sum = [&](double all) {
      const int terms = 1 + draw(3);
      std::string text;
      for (int i = 0; i < terms; ++i)
        text += (i ? pick({" + ", " - "}) : "") + decimal(all / terms) + " * " + term();
      return text;
    };
    std::vector<std::string> pending = states;
    for (int i = 0, steps = 1 + draw(3); i < steps || !pending.empty(); ++i) {
      if (!pending.empty() && (i >= steps || chance(0.5))) {
        line(pending.back() + "' = " + (chance(0.2) ? pick(states) : chance(0.2) ? "g" : sum(0.9)));
        pending.pop_back();
      } else {
        const std::string t = fresh("t");
        if (chance(0.12))
          line(t + " = grad(f(w - 0.05 * tanh(" + pick(values) + ")), w)");
        else if (chance(0.12))
          line(t + " = hessian(e, w) @ " + pick(values));
        else if (chance(0.12))
          line(t + " = where(norm(" + pick(values) + ") > 0.1, " + pick(values) + ", " + pick(values) + ")");
        else
          line(t + " = " + sum(1));
        values.push_back(t);
      }
    }
    if (counts)
      line("turns' = turns + 1");
    line("return w - lr * " + std::string(counts && chance(0.5) ? "(1 / (1 + turns)) * " : "") + "tanh(" + sum(2) +
         ")");
    close();
    return name + "(" +
           (chance(0.4) ? std::string("lr = ") + pick({"0.01", "0.03 / (1 + step)", "0.02 * cosine(epoch / 4)"}) : "") +
           ")";
  }

  std::string activation() { return pick({"tanh", "relu", "sigmoid", "gelu", "softplus", "asinh"}); }

  struct Data {
    std::string name;
    int64_t rows, features, outputs;
    bool ofImages, ofLabels;
  };
  Data data() {
    Data d;
    d.ofImages = chance(0.12);
    d.ofLabels = chance(0.25);
    d.rows = d.ofImages ? 5 + draw(20) : std::max<int64_t>(pick(sizes), 2);
    d.outputs = d.ofLabels ? 2 + draw(4) : 1 + draw(3);
    d.name = fresh("d");
    const Shape x = d.ofImages ? Shape{d.rows, 1 + draw(3), 5 + draw(3), 6} : Shape{d.rows, 1 + draw(20)};
    d.features = countOf(x) / d.rows;
    const std::string seed = ", seed = " + std::to_string(draw(1000)) + ")";
    const std::string flat = d.ofImages ? "reshape(x, " + list({d.rows, d.features}) + ")" : "x";
    line("data " + d.name + " { x = uniform(-1, 1, shape = " + list(x) + seed + "; y = " +
         (d.ofLabels ? "randint(" + std::to_string(d.outputs) + ", shape = [" + std::to_string(d.rows) + "]" + seed
                     : "sin(" + flat + " @ full(" + list({d.features, d.outputs}) + ", " + constant(0.1, 0.3) + "))") +
         " }");
    if (chance(0.2) && d.rows > 3) {
      const std::string part = fresh("d");
      const int64_t from = draw(2), rows = d.rows - from - draw(2);
      line("data " + part + " = " + d.name + "[" + std::to_string(from) + ":" + std::to_string(from + rows) + "]" +
           (chance(0.5) ? " { x = 0.5 * x + 0.1 }" : ""));
      d.name = part;
      d.rows = rows;
    }
    return d;
  }

  /// A layer with a state of its own, and weights that are used twice.
  std::string layer() {
    const std::string name = fresh("layer");
    open("fn " + name + "(x)");
    line("c = x.shape[1]");
    line("param gain: [c] = ones");
    line("state mu: [c] = zeros");
    line("again = linear(c)");
    line("h = x - 0.5 * mu");
    line("if training { mu' = 0.7 * mu + 0.3 * mean(x, axis = 0) }");
    line("return h * gain + 0.3 * again(" + activation() + "(again(h)))");
    close();
    return name;
  }

  struct Model {
    std::string name;
    std::vector<std::string> layers; ///< that have weights
    int64_t weights = 0;             ///< how many, if it has linear layers only
  };
  Model network(const Data &d) {
    Model model{fresh("model"), {}, 0};
    std::string layers = "x";
    int linears = 0;
    int64_t width = d.features;
    auto linear = [&](int64_t columns, const std::string &more = "") {
      layers += " |> linear(" + std::to_string(columns) + more + ")";
      model.layers.push_back("linear" + std::to_string(++linears));
      model.weights += (width + 1) * columns;
      width = columns;
    };
    if (d.ofImages) {
      if (chance(0.4))
        layers += " |> conv2d(" + std::to_string(1 + draw(17)) + ", padding = 1) |> " + activation();
      layers += " |> conv2d(" + std::to_string(1 + draw(4)) + ", kernel = " + pick({"1", "3", "3", "2"}) +
                ", padding = 1" + (chance(0.2) ? ", stride = 2" : "") + ")";
      model.layers.push_back("conv2d1");
      model.weights = 1000;
      if (chance(0.3))
        layers += " |> batchnorm";
      layers += " |> " + activation();
      layers += pick({" |> maxpool(2)", " |> avgpool(2)", ""});
      layers += chance(0.4) ? " |> global_avgpool" : " |> flatten";
    } else
      for (int i = 0, depth = draw(3); i < depth; ++i) {
        linear(std::min<int64_t>(pick(sizes), i ? 20 : 200), chance(0.15) ? ", bias = False" : "");
        if (chance(0.15)) {
          layers += chance(0.5) ? " |> layernorm" : " |> batchnorm";
          model.weights += 1000;
        }
        layers += " |> " + activation();
        if (chance(0.1))
          layers += " |> dropout(0.2)";
        if (chance(0.15)) {
          layers += " |> " + layer();
          model.weights += 1000;
        }
      }
    linear(d.outputs);
    line("fn " + model.name + "(x) = " + layers);
    return model;
  }

  std::string lossOf(const Data &d, const std::string &net, const std::string &prefix = "") {
    const std::string out = net + "(" + prefix + "x)", y = prefix + "y";
    if (d.ofLabels)
      return "cross_entropy(" + out + ", " + y + ")";
    switch (draw(4)) {
    case 0:
      return "huber(" + out + ", " + y + ", delta = 0.5)";
    case 1:
      return "mean(tanh(" + out + " - " + y + ")^2)";
    default:
      return "mse(" + out + ", " + y + ")";
    }
  }

  std::string rule(const Model &model) {
    if (chance(0.65))
      return optimiser();
    if (model.weights <= 40 && chance(0.5))
      return "newton(lr = 0.3, damping = 1)";
    return pick({"sgd(lr = 0.05)", "sgd(lr = 0.05, momentum = 0.8)", "sgd(lr = 0.05, momentum = 0.8, nesterov = True)",
                 "adam(lr = 0.01, eps = 0.01)", "adamw(lr = 0.01, eps = 0.01)", "rmsprop(lr = 0.01, eps = 0.1)",
                 "adagrad(lr = 0.02, eps = 0.1)"});
  }

  /// On all rows or in batches.
  std::string on(const Data &d) {
    return " on " + d.name + (chance(0.5) ? " batch " + std::to_string(1 + draw(int(d.rows))) : "");
  }

  /// Nets that a loop exchanges, mixes, and trains by hand.
  void nets() {
    const Data d = data();
    const Model model = network(d);
    std::vector<std::string> names;
    for (int i = 0, count = 2 + draw(2); i < count; ++i) {
      names.push_back(fresh("net"));
      line(names.back() + " = init(" + model.name + ", " + d.name + ".x, seed = " + std::to_string(draw(100)) + ")");
    }
    const std::string velocity = fresh("m");
    line(velocity + " = 0.1 * " + names[0] + ".weights");
    open("for " + fresh("i") + " in 1.." + std::to_string(1 + draw(4)));
    auto other = [&] { return pick(names); };
    for (int i = 0, count = 1 + draw(3); i < count; ++i) {
      const std::string a = names[size_t(draw(int(names.size())))], b = other();
      switch (draw(5)) {
      case 0:
        line(names[0] + ", " + names[1] + " = " + names[1] + ", " +
             pick({names[0], "mix(" + names[0] + ", " + b + ", 0.3)"}));
        break;
      case 1: {
        const std::string g = fresh("g");
        line(g + " = grad(" + lossOf(d, a, d.name + ".") + ", " + a + ")");
        if (chance(0.5))
          line(velocity + ", " + a + " = 0.5 * " + velocity + " + 0.5 * " + g + ", at(" + a + ", " + a +
               ".weights - 0.05 * " + pick({velocity, g}) + ")");
        else
          line(a + ", " + velocity + " = at(" + a + ", " + a + ".weights - 0.05 * " + g + "), " + a + ".weights - " +
               b + ".weights");
        break;
      }
      case 2:
        line(a + ", " + velocity + " = at(" + a + ", 0.6 * " + a + ".weights + 0.3 * tanh(" + b +
             ".weights)), 0.5 * (" + a + ".weights - " + velocity + ")");
        break;
      case 3:
        line(a + " = where(" + number().text + pick({" < ", " > "}) + constant() + ", mix(" + a + ", " + b +
             ", 0.4), " + other() + ")");
        break;
      default:
        line(joined(names) + " = " + joined(rotated(names)));
      }
      if (chance(0.3))
        assign();
      std::vector<std::string> items;
      for (const std::string &net : names)
        items.push_back(fresh("w") + " = sum(" + net + ".weights^2)");
      items.push_back("fit = " + lossOf(d, other()) + on(d));
      items.push_back("v = dot(" + velocity + ", " + other() + ".weights)");
      if (chance(0.7))
        record(items);
    }
    close();
    line("save " + joined(names) + ", " + velocity);
  }
  static std::vector<std::string> rotated(std::vector<std::string> names) {
    std::rotate(names.begin(), names.begin() + 1, names.end());
    return names;
  }

  void training() {
    const Data d = data();
    const int count = chance(0.25) ? 2 : 1;
    std::vector<Model> models;
    std::vector<std::string> nets, optimisers;
    for (int i = 0; i < count; ++i) {
      models.push_back(network(d));
      nets.push_back(fresh("net"));
      optimisers.push_back(rule(models.back()));
    }
    const std::string second = rule(models[0]);
    // Several trainings that may run at the same time, unless what is around them is changed.
    const bool isRepeated = chance(0.2), isQuiet = isRepeated && chance(0.7);
    const std::string p = fresh("p");
    if (isRepeated) {
      open("for " + p + " in " + pick({"1..2", "1..3", "[1, 2]", "[2, 5, 7]"}));
      Variable v{p, {}, Element::number, 7, 0, false};
      variables.push_back(v);
    }
    for (int i = 0; i < count; ++i)
      line(nets[size_t(i)] + " = init(" + models[size_t(i)].name + ", " + d.name +
           ".x, seed = " + (isRepeated ? p : std::to_string(draw(100))) + ")");
    const std::string best = fresh("best"), kept = fresh("kept");
    const bool keeps = chance(0.4);
    if (keeps)
      line(best + ", " + kept + " = inf, " + nets[0]);
    std::string unit = chance(0.6) ? "epochs" : "steps";
    const int64_t batch = d.rows > 2 && chance(0.75) ? 1 + draw(int(d.rows) - 1) : 0;
    const int64_t perEpoch = batch ? (d.rows + batch - 1) / batch : 1;
    if (perEpoch > 6)
      unit = "steps";
    const int turns = unit == "steps" ? 2 + draw(8) : 1 + draw(int(std::max<int64_t>(12 / perEpoch, 1)));
    open("train " + joined(nets) + " on " + d.name +
         (batch ? " batch " + std::to_string(batch) + (chance(0.3) ? " ordered" : "") : "") + " for " +
         std::to_string(turns) + " " + unit);
    isInStep = true;
    std::vector<std::string> losses;
    for (int i = 0; i < count; ++i) {
      const std::string loss = fresh("loss"), net = nets[size_t(i)];
      std::string text = lossOf(d, net);
      if (chance(0.3))
        text += " + 0.01 * sum(" + (chance(0.5) ? net + ".weights" : "select(" + net + ".weights, \"weight\")") + "^2)";
      if (chance(0.3))
        text += " * (1 + 0.1 * " + limited(expression({}, Element::own, 3), 1, 20).text + ")";
      if (count > 1 && i == 1 && chance(0.4))
        text += " + 0.1 * mean(stop_gradient(" + nets[0] + "(x))^2)";
      if (chance(0.15)) // a slope in what is minimised
        text += " + 0.05 * mean(grad(sum(" + net + "(x)), x)^2)";
      line(loss + " = " + text);
      losses.push_back(loss);
    }
    std::vector<std::string> items = losses;
    for (int i = 0; i < count; ++i) {
      const std::string net = nets[size_t(i)], loss = losses[size_t(i)];
      if (chance(0.3))
        items.push_back("slope" + std::to_string(i) + " = norm(grad(" + loss + ", " + net + "))");
      if (chance(0.2)) {
        const std::string g = fresh("g");
        line(g + " = grad(" + loss + ", " + net + ")");
        items.push_back("curve" + std::to_string(i) + " = dot(" + g + ", hessian(" + loss + ", " + net + ") @ " + g +
                        ")");
      }
      if (chance(0.3))
        items.push_back("w" + std::to_string(i) + " = sum(" + net + ".weights^2)");
      if (d.ofLabels && i == 0 && chance(0.4))
        items.push_back("acc = accuracy(" + net + "(x), y)");
      const auto &layers = models[size_t(i)].layers;
      if (i == 0 && layers.size() > 1 && chance(0.25)) { // each part by an optimiser of its own
        line("minimize " + loss + " over " + net + "." + layers[0] + " with " + optimisers[0]);
        line("minimize " + loss + " over " + net + "." + layers[1] + " with " + second);
      } else
        line("minimize " + loss + (count > 1 || chance(0.2) ? " over " + net : "") + " with " + optimisers[size_t(i)]);
    }
    record(items);
    isInStep = false;
    for (int i = 0, blocks = draw(3); i < blocks; ++i) {
      open("every " + (chance(0.4)   ? std::string("step")
                       : chance(0.5) ? std::string("epoch")
                                     : std::to_string(1 + draw(3)) + pick({" steps", " epochs"})));
      const std::string v = fresh("e");
      line(v + " = " + lossOf(d, nets[0]) + on(d));
      if (keeps && i == 0) {
        line(kept + " = where(" + v + " < " + best + ", " + nets[0] + ", " + kept + ")");
        line(best + " = min(" + best + ", " + v + ")");
      }
      std::vector<std::string> items = {v};
      for (const std::string &loss : losses)
        if (chance(0.5))
          items.push_back(pick({"m", "l", "x"}) + loss + " = " + pick({"mean(", "last(", "max("}) + loss + ")");
      if (chance(0.3))
        items.push_back("gn = norm(grad(" + v + ", " + nets[0] + "))");
      if (!isQuiet && chance(0.7))
        assign();
      if (chance(0.3))
        let();
      if (!isQuiet && chance(0.5))
        assign();
      record(items);
      if (!isQuiet && chance(0.15))
        loop(2);
      if (chance(0.15) && !d.ofImages)
        line("record " + fresh("r") + " on " + d.name + ": x, fit = " + nets[0] + "(x)");
      if (chance(0.1))
        line("stop when step >= " + std::to_string(1 + draw(8)));
      close();
    }
    close();
    std::vector<std::string> after = {"size = " + nets[0] + ".weights.size"};
    for (const std::string &net : nets)
      after.push_back(fresh("f") + " = sum(" + net + ".weights^2)");
    if (keeps) {
      after.push_back("kb = " + best);
      after.push_back("kw = sum(" + kept + ".weights^2)");
    }
    after.push_back("err = " + lossOf(d, nets[0]) + on(d));
    record(after);
    if (chance(0.3)) {
      const std::string out = fresh("out");
      line(out + " = " + nets[0] + "(x)" + on(d));
      line("save " + out);
    }
    line("save " + nets.back() + (keeps ? ", " + kept : ""));
    if (isRepeated)
      close();
  }

  /// Products that are large enough for oneDNN.
  void largeProducts() {
    const std::string p = fresh("big"), q = fresh("big");
    const Shape left = {560 + draw(60), 440 + draw(40)}, right = {left[1], left[1]};
    line(p + " = uniform(-1, 1, shape = " + list(left) + ", seed = " + std::to_string(draw(100)) + ")");
    line(q + " = uniform(-1, 1, shape = " + list(right) + ", seed = " + std::to_string(draw(100)) + ")");
    open("for " + fresh("i") + " in 1..2");
    switch (draw(3)) {
    case 0:
      line(p + ", " + q + " = tanh(" + p + " @ " + q + " / 10), " + q + " - 0.1 * " + p +
           "[0:" + std::to_string(right[0]) + "]");
      break;
    case 1:
      line(p + " = 0.5 * " + p + " + 0.5 * tanh(" + p + " @ " + q + ".T / 10 + " + q + "[0])");
      break;
    default:
      line(p + ", " + q + " = tanh(" + p + " @ " + q + " / 10), 0.5 * " + q + " + " + p + ".T @ " + p + " / " +
           std::to_string(left[0]));
    }
    record({"b0 = mean(" + p + "^2)", "b1 = " + q + "[3, 7]", "b2 = " + p + "[-1, 2]"});
    close();
    line("save " + p + ", " + q);
  }

  //===-- The end ------------------------------------------------------------------------------------------------===//

  void spectrum() {
    for (const Variable &v : variables)
      if (v.shape.size() == 2 && v.shape[0] == v.shape[1] && v.shape[0] <= 17 && v.isFloat()) {
        line("record " + fresh("r") + ": ev = eigvals(0.5 * (" + v.name + " + " + v.name + ".T))");
        if (chance(0.5))
          line("record " + fresh("r") + ": slope = norm(grad(sum(tanh(eigvals(" + v.name + " + " + v.name + ".T))), " +
               v.name + "))");
        if (chance(0.5))
          line("record " + fresh("r") + ": j = norm(jacobian(tanh(" + v.name + "[0] * " + v.name + "[-1]), " + v.name +
               "))");
        return;
      }
    for (const Variable &v : variables)
      if (v.shape.size() == 1 && v.shape[0] <= 17 && v.element == Element::own && !v.classes) {
        line("record " + fresh("r") + ": ev = eigvals(dense(hessian(sum(sin(" + v.name + ") * mean(" + v.name + ")), " +
             v.name + ")))");
        return;
      }
  }

  void save() {
    std::vector<std::string> items;
    for (const Variable &v : variables)
      if (v.element != Element::number && !v.isDrawn)
        items.push_back(v.name);
    if (!items.empty())
      line("save " + joined(items));
  }

  std::mt19937_64 random;
  Generated program;
  bool hasWide = false, isInStep = false;
  std::vector<int64_t> sizes;
  std::vector<Variable> variables;
  std::vector<size_t> marks;
  std::vector<std::string> focus;
  int names = 0, budget = 24;
  size_t indent = 0;
};

} // namespace

Generated generate(uint64_t seed) { return Generator(seed).run(); }

} // namespace hw::reference
