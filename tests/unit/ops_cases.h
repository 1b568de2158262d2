// What the generic test of the dialect (ops_test.cpp) knows of each op: a row an op, and in it the operands to try.
#pragma once
#include "tests/reference/Ops.h"
#include <string>
#include <vector>

namespace hw::ops {

using reference::Number;
using reference::Tensor;

/// Where an operand's elements are drawn from. All are exactly representable in f32.
enum class Domain {
  Any,      ///< -2..2
  Positive, ///< 0.3..3
  NonZero,  ///< 0.3..2 with a random sign
  AboveMinusOne,
  Left,     ///< multiples of 1/2, nearly: with `Right`, away from ties
  Right,    ///< halfway between those
  Distinct, ///< no two equal: for the largest
  Ties,     ///< many equal
  Spd,      ///< symmetric positive definite matrices
  Lower,    ///< well-conditioned lower triangles, other numbers above them
  Square,   ///< well-conditioned matrices whose elimination has to pivot
  Whole,    ///< -2, -1, 1, 2 or 3
  Rows,     ///< -2..limit + 1, with repetition: outside 0..limit-1 too
  Integer,  ///< all of an integer type's range, its ends among them
  Wide,     ///< floats of either sign from 2^-20 to 2^70, whole ones, NaN and infinities
};

struct Input {
  const char *type; ///< "3x5xT", T standing for f32 and f64 in turn
  Domain domain = Domain::Any;
  int64_t limit = 0;
};

enum class Derivative {
  Smooth, ///< compared with differences
  Zero,   ///< zero by definition: checked to be exactly that
  None,   ///< no operand that has a derivative
};

struct Case {
  /// The op in the dialect's syntax. Operands are %x, %y, %z; $x stands for %x's type, T for f32 and f64 in turn.
  std::string text;
  std::vector<Input> inputs;
  Derivative derivative = Derivative::Smooth;
  /// Operands to differentiate in; empty: every float one.
  std::vector<unsigned> wrt = {};
  /// Of every tolerance, a factor: condition numbers.
  double looseness = 1;
};

struct Row {
  const char *op;
  std::vector<Case> cases;
  /// Groups of operands in which the op is (jointly) linear, the others held: what its transpose is checked for. {-1}:
  /// all.
  std::vector<std::vector<int>> linear = {};
  /// Rounding errors add up over many terms.
  bool accumulates = false;
  /// Not compiled: expanded before the backend sees it, and tested by use in every other row.
  bool isByUse = false;
};

/// The table.
const std::vector<Row> &rows();

} // namespace hw::ops
