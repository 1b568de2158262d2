#include "tests/unit/ops_cases.h"
#include <cstring>

using namespace mlir;
using namespace hw;
using namespace hw::ops;

namespace {

//===--------------------------------------------------------------------------------------------------------------===//
// Cases
//===--------------------------------------------------------------------------------------------------------------===//

using enum Domain;
using Cases = std::vector<Case>;

/// Every elementwise op gets a scalar, an odd vector and a matrix; the fourth shape goes round.
const char *shapeNumber(size_t n) {
  static const char *shapes[] = {"1xT", "2x3x1x5xT", "20x2x17xT", "33xT", "1x1xT", "129x65xT"};
  return shapes[n % std::size(shapes)];
}
std::vector<const char *> shapes() {
  static size_t turn = 0;
  return {"T", "7xT", "15x17xT", shapeNumber(turn++)};
}

Cases unaryOn(const std::string &op, Domain domain, Derivative derivative = Derivative::Smooth) {
  Cases cases;
  for (const char *shape : shapes())
    cases.push_back({"hw." + op + " %x : $x", {{shape, domain}}, derivative});
  return cases;
}
Cases binaryOn(const std::string &op, Domain left, Domain right) {
  Cases cases;
  for (const char *shape : shapes())
    cases.push_back({"hw." + op + " %x, %y : $x", {{shape, left}, {shape, right}}});
  return cases;
}

/// The op on every kind of integer, too.
Cases withIntegers(Cases cases, const std::string &op, unsigned operands, Domain second = Integer) {
  static const char *types[] = {"17xi8", "3x7xui8", "33xi32", "5x4xui32", "19xui64"};
  for (const char *type : types) {
    std::vector<Input> inputs{{type, Integer}};
    if (operands == 2)
      inputs.push_back({type, second});
    cases.push_back({"hw." + op + (operands == 2 ? " %x, %y : $x" : " %x : $x"), inputs, Derivative::None});
  }
  return cases;
}

Cases plus(Cases cases, Cases more) {
  cases.insert(cases.end(), more.begin(), more.end());
  return cases;
}

Cases comparisons() {
  Cases cases;
  const char *types[] = {"17xT", "5x7xi32", "33xui8", "19xi8", "20xui32", "9xui64", "35xi1"};
  const char *predicates[] = {"eq", "ne", "lt", "le", "gt", "ge"};
  for (size_t i = 0; i < std::size(types); ++i)
    for (size_t j = 0; j < std::size(predicates); ++j)
      if (i == 0 || (i + j) % 2) {
        std::string result = types[i];
        result = result.substr(0, result.rfind('x')) + "xi1";
        Domain domain = i ? Integer : Ties;
        cases.push_back({std::string("hw.compare \"") + predicates[j] + "\" %x, %y : $x -> tensor<" + result + ">",
                         {{types[i], domain}, {types[i], domain}},
                         i ? Derivative::None : Derivative::Zero});
      }
  return cases;
}

Cases casts() {
  const char *types[] = {"f32", "f64", "i1", "i8", "ui8", "i32", "ui32", "ui64"};
  static std::vector<std::string> kept;
  kept.reserve(64);
  Cases cases;
  for (const char *from : types)
    for (const char *to : types) {
      bool fromFloat = from[0] == 'f', toFloat = to[0] == 'f';
      kept.push_back(std::string("3x11x") + from);
      Case c{"hw.cast %x : $x -> tensor<3x11x" + std::string(to) + ">",
             {{kept.back().c_str(), fromFloat ? Any : Integer}}};
      c.derivative = !fromFloat ? Derivative::None : toFloat ? Derivative::Smooth : Derivative::Zero;
      cases.push_back(c);
      if (fromFloat) {
        c.inputs[0].domain = Wide;
        c.derivative = toFloat ? Derivative::None : Derivative::Zero;
        cases.push_back(c);
      }
    }
  return cases;
}

Case dot(const char *x, const char *y, const std::string &batch, const std::string &contract,
         const std::string &result) {
  return {"hw.dot_general %x, %y batch " + batch + " contract " + contract + " : ($x, $y) -> tensor<" + result + ">",
          {{x}, {y}}};
}

/// x, w and y of a convolution, and its geometry: "stride pad dilation groups".
struct Geometry {
  const char *x, *w, *y, *text;
};
const Geometry convolutions[] = {
    {"2x3x9xT", "4x3x3xT", "2x4x7xT", "stride [1] pad [0] [0] dilation [1] groups 1"},
    {"2x1x6x7xT", "15x1x3x3xT", "2x15x6x7xT", "stride [1, 1] pad [1, 1] [1, 1] dilation [1, 1] groups 1"},
    {"1x15x5x6xT", "17x15x3x3xT", "1x17x3x3xT", "stride [2, 2] pad [1, 1] [1, 1] dilation [1, 1] groups 1"},
    {"2x17x4x3xT", "20x17x1x1xT", "2x20x4x3xT", "stride [1, 1] pad [0, 0] [0, 0] dilation [1, 1] groups 1"},
    {"1x20x7x8xT", "1x20x3x2xT", "1x1x5x6xT", "stride [1, 1] pad [1, 1] [1, 0] dilation [2, 3] groups 1"},
    {"2x6x5x5xT", "9x2x3x3xT", "2x9x5x5xT", "stride [1, 1] pad [1, 1] [1, 1] dilation [1, 1] groups 3"},
    {"1x4x6x7xT", "8x1x3x3xT", "1x8x3x6xT", "stride [2, 1] pad [1, 0] [0, 1] dilation [1, 1] groups 4"},
    // More padding than the kernel reaches; what a stride leaves over; gaps between windows; both.
    {"1x2x3x3xT", "2x2x1x2xT", "1x2x6x5xT", "stride [1, 1] pad [2, 0] [1, 3] dilation [1, 1] groups 1"},
    {"1x2x8x7xT", "3x2x3x3xT", "1x3x2x2xT", "stride [3, 3] pad [0, 0] [0, 0] dilation [1, 1] groups 1"},
    {"2x2x11x7xT", "2x2x2x2xT", "2x2x3x2xT", "stride [4, 4] pad [1, 0] [0, 1] dilation [1, 1] groups 1"},
    {"1x4x9x5xT", "2x2x2x3xT", "1x2x4x2xT", "stride [2, 3] pad [0, 4] [1, 0] dilation [3, 2] groups 2"},
    {"3x4xT", "5x4xT", "3x5xT", "stride [] pad [] [] dilation [] groups 1"},
    {"1x2x3x4x3xT", "2x2x2x2x2xT", "1x2x2x3x2xT",
     "stride [1, 1, 1] pad [0, 0, 0] [0, 0, 0] dilation [1, 1, 1] groups 1"},
    {"0x2x4x4xT", "3x2x3x3xT", "0x3x2x2xT", "stride [1, 1] pad [0, 0] [0, 0] dilation [1, 1] groups 1"},
    // Enough for several tasks.
    {"4x3x14x14xT", "16x3x5x5xT", "4x16x14x14xT", "stride [1, 1] pad [2, 2] [2, 2] dilation [1, 1] groups 1"},
};

/// `op` of two of the three on every geometry.
Cases convolved(const std::string &op, const char *Geometry::*a, const char *Geometry::*b,
                const char *Geometry::*made) {
  Cases cases;
  for (const Geometry &g : convolutions)
    cases.push_back({"hw." + op + " %x, %y " + g.text + " : ($x, $y) -> tensor<" + g.*made + ">", {{g.*a}, {g.*b}}});
  return cases;
}

/// x and what is pooled of it: windows that meet, overlap, leave gaps, lie partly in the padding, leave elements over;
/// of one, two and three dimensions, and large.
struct Pooling {
  const char *x, *pooled, *text;
  int64_t elements; ///< of a window
};
const Pooling poolings[] = {
    {"3x17xT", "3x8xT", "window [2] stride [2] pad [0] [0]", 2},
    {"2x15x6x8xT", "2x15x3x4xT", "window [2, 2] stride [2, 2] pad [0, 0] [0, 0]", 4},
    {"1x20x7x7xT", "1x20x4x4xT", "window [3, 3] stride [2, 2] pad [1, 1] [1, 1]", 9},
    {"2x1x5x6xT", "2x1x5x6xT", "window [3, 2] stride [1, 1] pad [1, 0] [1, 1]", 6},
    {"17x9x8xT", "17x3x2xT", "window [2, 3] stride [4, 5] pad [1, 0] [0, 0]", 6},
    {"2x3x4x5xT", "2x2x2x3xT", "window [2, 2, 1] stride [1, 2, 2] pad [0, 0, 0] [0, 0, 0]", 4},
    {"3x7x8xT", "3x1x1xT", "window [7, 8] stride [1, 1] pad [0, 0] [0, 0]", 56},
    {"3x9x7xT", "3x3x4xT", "window [6, 6] stride [3, 2] pad [2, 3] [1, 2]", 36},
    {"4x16x28x28xT", "4x16x14x14xT", "window [2, 2] stride [2, 2] pad [0, 0] [0, 0]", 4},
    // Channels last.
    {"2x9x7x20xT", "2x4x3x20xT", "window [2, 2, 1] stride [2, 2, 1] pad [0, 0, 0] [0, 0, 0]", 4},
    {"2x7x6x20xT", "2x4x3x20xT", "window [3, 3, 1] stride [2, 2, 1] pad [1, 1, 0] [1, 1, 0]", 9},
    {"2x4x5xT", "2x4x5xT", "window [1, 1] stride [1, 1] pad [0, 0] [0, 0]", 1},
    // Over all dimensions: nothing else may be done row by row.
    {"17xT", "8xT", "window [3] stride [2] pad [0] [0]", 3},
    {"64x9xT", "32x9xT", "window [2, 1] stride [2, 1] pad [0, 0] [0, 0]", 2},
    {"300x33xT", "300x33xT", "window [3, 1] stride [1, 1] pad [1, 0] [1, 0]", 3},
};

Cases maxPools() {
  Cases cases;
  for (Domain domain : {Distinct, Ties, Wide})
    for (const Pooling &p : poolings) {
      std::string index = std::string(p.pooled, std::strlen(p.pooled) - 1) + "i32";
      cases.push_back(
          {"hw.max_pool %x " + std::string(p.text) + " : $x -> tensor<" + p.pooled + ">, tensor<" + index + ">",
           {{p.x, domain}},
           domain == Distinct ? Derivative::Smooth : Derivative::None});
    }
  return cases;
}

/// `op` of x to what is pooled of it, or the other way; with an index, among them some outside of the window.
Cases pooled(const std::string &op, const char *Pooling::*from, const char *Pooling::*to, bool isIndexed) {
  static std::vector<std::string> kept;
  kept.reserve(64);
  Cases cases;
  for (const Pooling &p : poolings) {
    std::string operands = isIndexed ? "%x at %y " : "%x ", types = isIndexed ? "($x, $y)" : "$x";
    Case c{"hw." + op + " " + operands + p.text + " : " + types + " -> tensor<" + p.*to + ">", {{p.*from}}};
    if (isIndexed) {
      kept.push_back(std::string(p.pooled, std::strlen(p.pooled) - 1) + "i32");
      c.inputs.push_back({kept.back().c_str(), Rows, p.elements});
    }
    cases.push_back(c);
  }
  return cases;
}

std::vector<Row> makeRows() {
  std::vector<Row> table;
  auto row = [&](Row r) { table.push_back(std::move(r)); };
  // clang-format off

  // Elementwise, one operand.
  row({"neg", withIntegers(unaryOn("neg", Any), "neg", 1), {{0}}});
  row({"exp", unaryOn("exp", Any)});
  row({"expm1", unaryOn("expm1", Any)});
  row({"log", unaryOn("log", Positive)});
  row({"log1p", unaryOn("log1p", AboveMinusOne)});
  row({"log2", unaryOn("log2", Positive)});
  row({"log10", unaryOn("log10", Positive)});
  row({"sqrt", unaryOn("sqrt", Positive)});
  row({"sin", unaryOn("sin", Any)});
  row({"cos", unaryOn("cos", Any)});
  row({"tanh", unaryOn("tanh", Any)});
  row({"sinh", unaryOn("sinh", Any)});
  row({"cosh", unaryOn("cosh", Any)});
  row({"logistic", unaryOn("logistic", Any)});
  row({"erf", unaryOn("erf", Any)});
  row({"asinh", unaryOn("asinh", Any)});
  row({"abs", withIntegers(unaryOn("abs", NonZero), "abs", 1)});
  row({"sign", unaryOn("sign", NonZero, Derivative::Zero)});
  row({"floor", unaryOn("floor", Any, Derivative::Zero)});
  row({"not", {{"hw.not %x : $x", {{"17xi1", Integer}}, Derivative::None}, {"hw.not %x : $x", {{"i1", Integer}}, Derivative::None}}});
  row({"stop_gradient", plus(unaryOn("stop_gradient", Any, Derivative::Zero), {{"hw.stop_gradient %x : $x", {{"4xi32", Integer}}, Derivative::None}})});

  // Elementwise, two operands and three.
  row({"add", withIntegers(binaryOn("add", Any, Any), "add", 2), {{0, 1}}});
  row({"sub", withIntegers(binaryOn("sub", Any, Any), "sub", 2), {{0, 1}}});
  row({"mul", withIntegers(binaryOn("mul", Any, Any), "mul", 2), {{0}, {1}}});
  row({"scale", binaryOn("scale", Any, Any), {{0}, {1}}});
  row({"unscale", binaryOn("unscale", Any, NonZero), {{0}}});
  row({"div", withIntegers(binaryOn("div", Any, NonZero), "div", 2, Whole), {{0}}});
  row({"pow", plus(binaryOn("pow", Positive, Any),
      {{"hw.pow %x, %y : $x", {{"5x7xT", NonZero}, {"5x7xT", Whole}}, Derivative::Smooth, {0}}})});
  row({"min", withIntegers(binaryOn("min", Left, Right), "min", 2)});
  row({"max", withIntegers(binaryOn("max", Left, Right), "max", 2)});
  row({"compare", comparisons()});
  row({"and", {{"hw.and %x, %y : $x", {{"3x7xi1", Integer}, {"3x7xi1", Integer}}, Derivative::None}}});
  row({"or", {{"hw.or %x, %y : $x", {{"3x7xi1", Integer}, {"3x7xi1", Integer}}, Derivative::None}}});
  row({"select", {
      {"hw.select %x, %y, %z : $x, $y", {{"i1", Integer}, {"T"}, {"T"}}},
      {"hw.select %x, %y, %z : $x, $y", {{"15x17xi1", Integer}, {"15x17xT"}, {"15x17xT"}}},
      {"hw.select %x, %y, %z : $x, $y", {{"33xi1", Integer}, {"33xi32", Integer}, {"33xi32", Integer}}, Derivative::None},
      {"hw.select %x, %y, %z : $x, $y", {{"20xi1", Integer}, {"20xui64", Integer}, {"20xui64", Integer}}, Derivative::None},
      {"hw.select %x, %y, %z : $x, $y", {{"9xi1", Integer}, {"9xi1", Integer}, {"9xi1", Integer}}, Derivative::None}}, {{1, 2}}});
  row({"cast", casts(), {{0}}});

  // Movement.
  row({"broadcast", {
      {"hw.broadcast %x dims [] : $x -> tensor<T>", {{"T"}}},
      {"hw.broadcast %x dims [] : $x -> tensor<15xT>", {{"T"}}},
      {"hw.broadcast %x dims [] : $x -> tensor<3x1x5xT>", {{"T"}}},
      {"hw.broadcast %x dims [1] : $x -> tensor<17x20xT>", {{"20xT"}}},
      {"hw.broadcast %x dims [0] : $x -> tensor<33x7xT>", {{"33xT"}}},
      {"hw.broadcast %x dims [0, 2] : $x -> tensor<3x4x5xT>", {{"3x5xT"}}},
      {"hw.broadcast %x dims [1, 2] : $x -> tensor<2x3x5x4xT>", {{"3x5xT"}}},
      {"hw.broadcast %x dims [1] : $x -> tensor<4x1x3xT>", {{"1xT"}}},
      {"hw.broadcast %x dims [0, 1] : $x -> tensor<3x7xT>", {{"3x7xT"}}},
      {"hw.broadcast %x dims [1] : $x -> tensor<300x257xT>", {{"257xT"}}},
      {"hw.broadcast %x dims [1] : $x -> tensor<0x7xT>", {{"7xT"}}},
      {"hw.broadcast %x dims [1] : $x -> tensor<3x7xui8>", {{"7xui8", Integer}}, Derivative::None}}, {{0}}, true});
  row({"reduce_sum", {
      {"hw.reduce_sum %x dims [] : $x -> tensor<T>", {{"T"}}},
      {"hw.reduce_sum %x dims [] : $x -> tensor<3x5xT>", {{"3x5xT"}}},
      {"hw.reduce_sum %x dims [0] : $x -> tensor<T>", {{"17xT"}}},
      {"hw.reduce_sum %x dims [0] : $x -> tensor<20xT>", {{"15x20xT"}}},
      {"hw.reduce_sum %x dims [1] : $x -> tensor<15xT>", {{"15x20xT"}}},
      {"hw.reduce_sum %x dims [0, 1] : $x -> tensor<T>", {{"7x33xT"}}},
      {"hw.reduce_sum %x dims [0, 2] : $x -> tensor<5xT>", {{"3x5x7xT"}}},
      {"hw.reduce_sum %x dims [1, 3] : $x -> tensor<2x4xT>", {{"2x3x4x5xT"}}},
      {"hw.reduce_sum %x dims [1] : $x -> tensor<3x5xT>", {{"3x1x5xT"}}},
      {"hw.reduce_sum %x dims [0, 1] : $x -> tensor<T>", {{"257x301xT"}}},
      {"hw.reduce_sum %x dims [0] : $x -> tensor<33xT>", {{"2001x33xT"}}},
      {"hw.reduce_sum %x dims [1] : $x -> tensor<129xT>", {{"129x700xT"}}},
      {"hw.reduce_sum %x dims [0] : $x -> tensor<3xT>", {{"0x3xT"}}},
      {"hw.reduce_sum %x dims [1] : $x -> tensor<0xT>", {{"0x3xT"}}},
      {"hw.reduce_sum %x dims [0] : $x -> tensor<7xi32>", {{"20x7xi32", Integer}}, Derivative::None},
      {"hw.reduce_sum %x dims [1] : $x -> tensor<20xui8>", {{"20x7xui8", Integer}}, Derivative::None},
      {"hw.reduce_sum %x dims [0] : $x -> tensor<ui64>", {{"35xui64", Integer}}, Derivative::None}}, {{0}}, true});
  row({"reshape", {
      {"hw.reshape %x : $x -> tensor<1x1xT>", {{"T"}}},
      {"hw.reshape %x : $x -> tensor<T>", {{"1x1xT"}}},
      {"hw.reshape %x : $x -> tensor<5x3xT>", {{"15xT"}}},
      {"hw.reshape %x : $x -> tensor<4x15xT>", {{"2x6x5xT"}}},
      {"hw.reshape %x : $x -> tensor<1x7x1x3xT>", {{"7x3xT"}}},
      {"hw.reshape %x : $x -> tensor<21xi1>", {{"3x7xi1", Integer}}, Derivative::None}}, {{0}}});
  row({"transpose", {
      {"hw.transpose %x permutation [] : $x -> tensor<T>", {{"T"}}},
      {"hw.transpose %x permutation [1, 0] : $x -> tensor<17x15xT>", {{"15x17xT"}}},
      {"hw.transpose %x permutation [2, 0, 1] : $x -> tensor<5x3x4xT>", {{"3x4x5xT"}}},
      {"hw.transpose %x permutation [1, 2, 0] : $x -> tensor<4x5x3xT>", {{"3x4x5xT"}}},
      {"hw.transpose %x permutation [0, 2, 1, 3] : $x -> tensor<2x4x3x5xT>", {{"2x3x4x5xT"}}},
      {"hw.transpose %x permutation [3, 1, 0, 2] : $x -> tensor<5x3x2x4xT>", {{"2x3x4x5xT"}}},
      {"hw.transpose %x permutation [1, 0] : $x -> tensor<301x257xT>", {{"257x301xT"}}},
      {"hw.transpose %x permutation [1, 0] : $x -> tensor<20x7xui8>", {{"7x20xui8", Integer}}, Derivative::None}}, {{0}}});
  row({"reverse", {
      {"hw.reverse %x dims [0] : $x", {{"17xT"}}},
      {"hw.reverse %x dims [1] : $x", {{"3x20xT"}}},
      {"hw.reverse %x dims [0, 2] : $x", {{"3x4x5xT"}}},
      {"hw.reverse %x dims [] : $x", {{"3x2xT"}}},
      {"hw.reverse %x dims [0] : $x", {{"9xi32", Integer}}, Derivative::None}}, {{0}}});
  row({"slice", {
      {"hw.slice %x [] [] [] : $x -> tensor<T>", {{"T"}}},
      {"hw.slice %x [2] [15] [1] : $x -> tensor<13xT>", {{"17xT"}}},
      {"hw.slice %x [1] [17] [3] : $x -> tensor<6xT>", {{"17xT"}}},
      {"hw.slice %x [1, 0] [3, 20] [1, 7] : $x -> tensor<2x3xT>", {{"4x20xT"}}},
      {"hw.slice %x [0, 1, 2] [3, 4, 5] [2, 1, 2] : $x -> tensor<2x3x2xT>", {{"3x4x5xT"}}},
      {"hw.slice %x [3] [4] [5] : $x -> tensor<1xT>", {{"7xT"}}},
      {"hw.slice %x [2, 0] [2, 3] [1, 1] : $x -> tensor<0x3xT>", {{"7x3xT"}}},
      {"hw.slice %x [1, 2] [5, 4] [2, 1] : $x -> tensor<2x2xi8>", {{"6x5xi8", Integer}}, Derivative::None}}, {{0}}});
  row({"pad", {
      {"hw.pad %x [] [] [] : $x -> tensor<T>", {{"T"}}},
      {"hw.pad %x [2] [3] [0] : $x -> tensor<12xT>", {{"7xT"}}},
      {"hw.pad %x [0] [1] [2] : $x -> tensor<20xT>", {{"7xT"}}},
      {"hw.pad %x [1, 0] [0, 2] [1, 3] : $x -> tensor<6x23xT>", {{"3x6xT"}}},
      {"hw.pad %x [0, 1, 2] [3, 0, 1] [0, 1, 0] : $x -> tensor<5x6x8xT>", {{"2x3x5xT"}}},
      {"hw.pad %x [2] [2] [4] : $x -> tensor<5xT>", {{"1xT"}}},
      {"hw.pad %x [1] [2] [3] : $x -> tensor<3xT>", {{"0xT"}}},
      {"hw.pad %x [1] [0] [1] : $x -> tensor<6xi32>", {{"3xi32", Integer}}, Derivative::None}}, {{0}}});
  row({"concat", {
      {"hw.concat %x dim 0 : ($x) -> tensor<7xT>", {{"7xT"}}},
      {"hw.concat %x, %y dim 0 : ($x, $y) -> tensor<22xT>", {{"7xT"}, {"15xT"}}},
      {"hw.concat %x, %y, %z dim 1 : ($x, $y, $z) -> tensor<3x23xT>", {{"3x2xT"}, {"3x20xT"}, {"3x1xT"}}},
      {"hw.concat %x, %y dim 0 : ($x, $y) -> tensor<5x4x7xT>", {{"2x4x7xT"}, {"3x4x7xT"}}},
      {"hw.concat %x, %y dim 2 : ($x, $y) -> tensor<2x3x6xT>", {{"2x3x5xT"}, {"2x3x1xT"}}},
      {"hw.concat %x, %y dim 0 : ($x, $y) -> tensor<2x3xT>", {{"0x3xT"}, {"2x3xT"}}},
      {"hw.concat %x, %x dim 0 : ($x, $x) -> tensor<14xT>", {{"7xT"}}},
      {"hw.concat %x, %y dim 0 : ($x, $y) -> tensor<5xui8>", {{"2xui8", Integer}, {"3xui8", Integer}}, Derivative::None}}, {{-1}}});

  // Contraction: every orientation, several batch, free and contracted dimensions, widths beside the vectors' and tiles'.
  row({"dot_general", {
      dot("T", "T", "[] x []", "[] x []", "T"),
      dot("7xT", "7xT", "[] x []", "[0] x [0]", "T"),
      dot("7xT", "15xT", "[] x []", "[] x []", "7x15xT"),
      dot("15x17xT", "17xT", "[] x []", "[1] x [0]", "15xT"),
      dot("17xT", "17x20xT", "[] x []", "[0] x [0]", "20xT"),
      dot("15x17xT", "17x20xT", "[] x []", "[1] x [0]", "15x20xT"),
      dot("17x15xT", "17x20xT", "[] x []", "[0] x [0]", "15x20xT"),
      dot("15x17xT", "20x17xT", "[] x []", "[1] x [1]", "15x20xT"),
      dot("17x15xT", "20x17xT", "[] x []", "[0] x [1]", "15x20xT"),
      dot("33x1xT", "1x20xT", "[] x []", "[1] x [0]", "33x20xT"),
      dot("1x33xT", "33x1xT", "[] x []", "[1] x [0]", "1x1xT"),
      dot("3x0xT", "0x4xT", "[] x []", "[1] x [0]", "3x4xT"),
      dot("0x3xT", "3x4xT", "[] x []", "[1] x [0]", "0x4xT"),
      dot("5x1xT", "5x9xT", "[] x []", "[0] x [0]", "1x9xT"),
      dot("3x5x7xT", "3x7x4xT", "[0] x [0]", "[2] x [1]", "3x5x4xT"),
      dot("5x3x7xT", "7x4x3xT", "[1] x [2]", "[2] x [0]", "3x5x4xT"),
      dot("7x5x3xT", "4x3x7xT", "[2] x [1]", "[0] x [2]", "3x5x4xT"),
      dot("2x3x4x5xT", "3x2x5x6xT", "[0, 1] x [1, 0]", "[3] x [2]", "2x3x4x6xT"),
      dot("3x4x5xT", "5x4x7xT", "[] x []", "[1, 2] x [1, 0]", "3x7xT"),
      dot("2x3x5xT", "5x4x2xT", "[] x []", "[2] x [0]", "2x3x4x2xT"),
      dot("3x7xT", "3x7xT", "[0] x [0]", "[1] x [1]", "3xT"),
      dot("3x7xT", "3x7xT", "[0, 1] x [0, 1]", "[] x []", "3x7xT"),
      dot("2x3xT", "4x3xT", "[1] x [1]", "[] x []", "3x2x4xT"),
      dot("130x67xT", "67x65xT", "[] x []", "[1] x [0]", "130x65xT"),
      dot("300x33xT", "300x20xT", "[] x []", "[0] x [0]", "33x20xT"),
      dot("64x60xT", "30x60xT", "[] x []", "[1] x [1]", "64x30xT"),
      {"hw.dot_general %x, %x batch [] x [] contract [0] x [0] : ($x, $x) -> tensor<7x7xT>", {{"5x7xT"}}, Derivative::Smooth}},
      {{0}, {1}}, true});

  // Convolution and pooling.
  row({"conv", convolved("conv", &Geometry::x, &Geometry::w, &Geometry::y), {{0}, {1}}, true});
  row({"conv_backward_data", convolved("conv_backward_data", &Geometry::y, &Geometry::w, &Geometry::x), {{0}, {1}}, true});
  row({"conv_backward_weights", convolved("conv_backward_weights", &Geometry::x, &Geometry::y, &Geometry::w), {{0}, {1}}, true});
  row({"max_pool", maxPools()});
  row({"pool_gather", pooled("pool_gather", &Pooling::x, &Pooling::pooled, true), {{0}}});
  row({"pool_scatter", pooled("pool_scatter", &Pooling::pooled, &Pooling::x, true), {{0}}, true});
  row({"window_sum", pooled("window_sum", &Pooling::x, &Pooling::pooled, false), {{0}}, true});
  row({"window_spread", pooled("window_spread", &Pooling::pooled, &Pooling::x, false), {{0}}, true});

  // Index. (What is outside makes 0, until the run ends.)
  static const std::string named = "what \"index\" outside \"axis 0\" : $x -> tensor<";
  row({"whole", {
      {"hw.whole %x below 5 " + named + "i32>", {{"i32", Rows, 5}}, Derivative::None},
      {"hw.whole %x below 5 " + named + "37xi32>", {{"37xi32", Rows, 5}}, Derivative::None},
      {"hw.whole %x below 5 from_end " + named + "3x11xi32>", {{"3x11xi32", Rows, 5}}, Derivative::None},
      {"hw.whole %x below 2147483648 " + named + "33xi32>", {{"33xi32", Integer}}, Derivative::None},
      {"hw.whole %x below 200 from_end " + named + "33xi32>", {{"33xui8", Integer}}, Derivative::None},
      {"hw.whole %x below 100 from_end " + named + "33xi32>", {{"33xi8", Integer}}, Derivative::None},
      {"hw.whole %x below 4294967296 " + named + "33xui32>", {{"33xui64", Integer}}, Derivative::None},
      {"hw.whole %x below 3 " + named + "33xi32>", {{"33xT", Domain::Whole}}, Derivative::Zero},
      {"hw.whole %x below 2 from_end cut " + named + "33xi32>", {{"33xT", Any}}, Derivative::Zero},
      {"hw.whole %x below 4294967296 from_end cut " + named + "33xui32>", {{"33xT", Wide}}, Derivative::Zero}}});
  row({"gather", {
      {"hw.gather %x at %y : ($x, $y) -> tensor<T>", {{"5xT"}, {"i32", Rows, 5}}},
      {"hw.gather %x at %y : ($x, $y) -> tensor<17xT>", {{"5xT"}, {"17xi32", Rows, 5}}},
      {"hw.gather %x at %y : ($x, $y) -> tensor<20x7xT>", {{"15x7xT"}, {"20xi32", Rows, 15}}},
      {"hw.gather %x at %y : ($x, $y) -> tensor<7xT>", {{"15x7xT"}, {"i32", Rows, 15}}},
      {"hw.gather %x at %y : ($x, $y) -> tensor<3x2x4x5xT>", {{"6x4x5xT"}, {"3x2xi32", Rows, 6}}},
      {"hw.gather %x at %y : ($x, $y) -> tensor<4x33xT>", {{"1x33xT"}, {"4xi32", Rows, 1}}},
      {"hw.gather %x at %y : ($x, $y) -> tensor<7x20xui8>", {{"33x20xui8", Integer}, {"7xi32", Rows, 33}}, Derivative::None},
      {"hw.gather %x at %y : ($x, $y) -> tensor<7xi32>", {{"33xi32", Integer}, {"7xi32", Rows, 33}}, Derivative::None}}, {{0}}, true});
  row({"scatter_add", {
      {"hw.scatter_add %x at %y : ($x, $y) -> tensor<5xT>", {{"T"}, {"i32", Rows, 5}}},
      {"hw.scatter_add %x at %y : ($x, $y) -> tensor<5xT>", {{"17xT"}, {"17xi32", Rows, 5}}},
      {"hw.scatter_add %x at %y : ($x, $y) -> tensor<15x7xT>", {{"20x7xT"}, {"20xi32", Rows, 15}}},
      {"hw.scatter_add %x at %y : ($x, $y) -> tensor<3x33xT>", {{"20x33xT"}, {"20xi32", Rows, 3}}},
      {"hw.scatter_add %x at %y : ($x, $y) -> tensor<6x4x5xT>", {{"3x2x4x5xT"}, {"3x2xi32", Rows, 6}}},
      {"hw.scatter_add %x at %y : ($x, $y) -> tensor<50x40xT>", {{"700x40xT"}, {"700xi32", Rows, 50}}}}, {{0}}, true});
  row({"reduce_max", {
      {"hw.reduce_max %x dim 0 : $x -> tensor<T>, tensor<i32>", {{"17xT", Distinct}}},
      {"hw.reduce_max %x dim 1 : $x -> tensor<15xT>, tensor<15xi32>", {{"15x20xT", Distinct}}},
      {"hw.reduce_max %x dim 0 : $x -> tensor<33xT>, tensor<33xi32>", {{"7x33xT", Distinct}}},
      {"hw.reduce_max %x dim 1 : $x -> tensor<3x5xT>, tensor<3x5xi32>", {{"3x4x5xT", Distinct}}},
      {"hw.reduce_max %x dim 1 : $x -> tensor<7xT>, tensor<7xi32>", {{"7x1xT", Distinct}}},
      {"hw.reduce_max %x dim 1 : $x -> tensor<300xT>, tensor<300xi32>", {{"300x10xT", Distinct}}},
      {"hw.reduce_max %x dim 1 : $x -> tensor<20xT>, tensor<20xi32>", {{"20x33xT", Ties}}, Derivative::None},
      {"hw.reduce_max %x dim 0 : $x -> tensor<33xT>, tensor<33xi32>", {{"20x33xT", Ties}}, Derivative::None},
      {"hw.reduce_max %x dim 1 : $x -> tensor<20xT>, tensor<20xi32>", {{"20x33xT", Wide}}, Derivative::None},
      {"hw.reduce_max %x dim 0 : $x -> tensor<33xT>, tensor<33xi32>", {{"20x33xT", Wide}}, Derivative::None},
      {"hw.reduce_max %x dim 1 : $x -> tensor<5xi32>, tensor<5xi32>", {{"5x17xi32", Integer}}, Derivative::None},
      {"hw.reduce_max %x dim 0 : $x -> tensor<17xui8>, tensor<17xi32>", {{"5x17xui8", Integer}}, Derivative::None}}});

  // Dense linear algebra.
  row({"cholesky", {
      {"hw.cholesky %x : $x", {{"1x1xT", Spd}}},
      {"hw.cholesky %x : $x", {{"7x7xT", Spd}}, Derivative::Smooth, {}, 10},
      {"hw.cholesky %x : $x", {{"3x4x4xT", Spd}}, Derivative::Smooth, {}, 10}}, {}, true});
  row({"triangular_solve", {
      {"hw.triangular_solve %x, %y transposed false : $x, $y", {{"1x1xT", Lower}, {"1x1xT"}}},
      {"hw.triangular_solve %x, %y transposed false : $x, $y", {{"7x7xT", Lower}, {"7x3xT"}}, Derivative::Smooth, {}, 10},
      {"hw.triangular_solve %x, %y transposed true : $x, $y", {{"7x7xT", Lower}, {"7x1xT"}}, Derivative::Smooth, {}, 10},
      {"hw.triangular_solve %x, %y transposed true : $x, $y", {{"2x3x4x4xT", Lower}, {"2x3x4x5xT"}}, Derivative::Smooth, {}, 10}}, {{1}}, true});
  row({"lu_solve", {
      {"hw.lu_solve %x, %y : $x, $y", {{"1x1xT", Square}, {"1x1xT"}}},
      {"hw.lu_solve %x, %y : $x, $y", {{"7x7xT", Square}, {"7x3xT"}}, Derivative::Smooth, {}, 10},
      {"hw.lu_solve %x, %y : $x, $y", {{"3x5x5xT", Square}, {"3x5x1xT"}}, Derivative::Smooth, {}, 10}}, {{1}}, true});

  // Sources: nothing to differentiate in.
  row({"constant", {
      {"hw.constant dense<2.5> : tensor<T>", {}, Derivative::None},
      {"hw.constant dense<-1.0> : tensor<15x17xT>", {}, Derivative::None},
      {"hw.constant dense<[[1.0, 2.0, -0.5], [0.25, 1.0e3, -0.0]]> : tensor<2x3xT>", {}, Derivative::None},
      {"hw.constant dense<[true, false, true]> : tensor<3xi1>", {}, Derivative::None},
      {"hw.constant dense<true> : tensor<20xi1>", {}, Derivative::None},
      {"hw.constant dense<[1, -2, 3]> : tensor<3xi8>", {}, Derivative::None},
      {"hw.constant dense<[1, 200, 3]> : tensor<3xui8>", {}, Derivative::None},
      {"hw.constant dense<[1, -2000000, 3]> : tensor<3xi32>", {}, Derivative::None},
      {"hw.constant dense<[4000000000, 1]> : tensor<2xui32>", {}, Derivative::None},
      {"hw.constant dense<[18446744073709551615, 1]> : tensor<2xui64>", {}, Derivative::None},
      {"hw.constant dense<7> : tensor<17xui64>", {}, Derivative::None}}});
  row({"iota", {
      {"hw.iota dim 0 : tensor<17xT>", {}, Derivative::None},
      {"hw.iota dim 1 : tensor<3x20xT>", {}, Derivative::None},
      {"hw.iota dim 0 : tensor<7x33xi32>", {}, Derivative::None},
      {"hw.iota dim 1 : tensor<2x5x3xui64>", {}, Derivative::None},
      {"hw.iota dim 0 : tensor<300xui8>", {}, Derivative::None},
      {"hw.iota dim 0 : tensor<300xi8>", {}, Derivative::None},
      {"hw.iota dim 0 : tensor<5xui32>", {}, Derivative::None}}});
  row({"random_bits", {
      {"hw.random_bits %x, %y site 7 : ($x, $y) -> tensor<ui32>", {{"ui32", Integer}, {"ui32", Integer}}, Derivative::None},
      {"hw.random_bits %x, %y site 123456789 : ($x, $y) -> tensor<17xui32>", {{"ui32", Integer}, {"ui32", Integer}}, Derivative::None},
      {"hw.random_bits %x, %y site -1 : ($x, $y) -> tensor<15x20xui32>", {{"ui32", Integer}, {"ui32", Integer}}, Derivative::None},
      {"hw.random_bits %x, %y site 3 : ($x, $y) -> tensor<3x7xui64>", {{"ui32", Integer}, {"ui32", Integer}}, Derivative::None}}});

  // The derivatives themselves: how every other row is differentiated.
  for (const char *op : {"grad", "vjp", "jvp"})
    row({op, {}, {}, false, true});
  // clang-format on
  return table;
}

} // namespace

const std::vector<Row> &hw::ops::rows() {
  static const std::vector<Row> table = makeRows();
  return table;
}
