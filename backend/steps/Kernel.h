// Kernels: the backend's own representation of one loop nest, between hw ops and LLVM IR. A kernel computes scalar
// expressions at every point of a rectangular domain and stores or reduces them. Views (broadcast, transpose, slice,
// ...) are gone: they became addresses.
#pragma once
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/SmallVector.h"
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

namespace mlir {
class Type;
}

namespace hw::backend {

/// Element types, in the order of `hw_dtype`.
enum class DType : uint8_t { F32, F64, I1, I8, UI8, I32, UI32, UI64 };
DType dtypeOf(mlir::Type elementType);
const char *nameOf(DType type);
unsigned bytesOf(DType type);
inline bool isFloat(DType type) { return type == DType::F32 || type == DType::F64; }
inline bool isUnsigned(DType type) { return type == DType::UI8 || type == DType::UI32 || type == DType::UI64; }

/// constant + sum of coefficient * index over the domain's dimensions + sum of scale * (value of an integer node).
struct Linear {
  llvm::SmallVector<int64_t, 4> coefficients;
  int64_t constant = 0;
  llvm::SmallVector<std::pair<int, int64_t>, 1> dynamic;

  explicit Linear(size_t rank = 0) : coefficients(rank, 0) {}
  static Linear dim(size_t rank, size_t dim) {
    Linear linear(rank);
    linear.coefficients[dim] = 1;
    return linear;
  }
  /// this += scale * other
  void add(const Linear &other, int64_t scale);
};

enum class Opcode : uint8_t {
  // leaves
  Constant, // bits
  Load,     // buffer, index
  Index,    // the value of `index`, as `type`
  Random,   // Philox of (operand 0, bits; counter index, operand 1)
  Product,  // the contraction's accumulator, in a contraction's epilogue
  // elementwise, one operand
  Neg,
  Exp,
  Expm1,
  Log,
  Log1p,
  Log2,
  Log10,
  Sqrt,
  Sin,
  Cos,
  Tanh,
  Sinh,
  Cosh,
  Logistic,
  Erf,
  Asinh,
  Abs,
  Sign,
  Floor,
  Not,
  Cast,
  Clamp, // to 0 .. bits
  // two
  Add,
  Sub,
  Mul,
  Div,
  Pow,
  Min,
  Max,
  And,
  Or,
  Eq,
  Ne,
  Lt,
  Le,
  Gt,
  Ge,
  // three
  Select,
};
const char *nameOf(Opcode op);
/// What one evaluation costs, in additions.
unsigned costOf(Opcode op);

struct Node {
  Opcode op;
  DType type;
  llvm::SmallVector<int, 3> operands;
  Linear index;      // Load (in elements), Index, Random
  int buffer = -1;   // Load: index into Kernel::buffers
  uint64_t bits = 0; // Constant: the value's bits; Random: the site; Clamp: the limit
  uint64_t dims = 0; // bit d: the value changes along domain dimension d
};

enum class RootKind : uint8_t { Store, Sum, Max, Scatter };
/// Where a value goes. `address` (in elements) does not depend on reduced dimensions. Max besides stores the position
/// of the largest along the reduced dimension. Scatter adds to what is there; its address has a dynamic part, and
/// points are visited in order.
struct Root {
  RootKind kind;
  int node;
  int buffer;
  Linear address;
  int indexBuffer = -1;
};

/// How a kernel is run: see Cost.h, which chooses.
struct Schedule {
  static constexpr int64_t longestChain = 256; // of additions, one after the other, in a sum

  int vectorDim = -1; // dimension that is vectorised, -1: none
  unsigned lanes = 1;
  unsigned unroll = 1;      // vectors a time
  int blockDim = -1;        // loads that walk by one along it are turned in registers, `lanes` of its indices a time
  int rangeDim = -1;        // the caller says from where to where this one runs; -1: every dimension runs whole
  int64_t quantum = 1;      // ranges start at multiples of it, and end there or at the dimension's end
  int64_t longest = 0;      // of the ranges, where they are summed over
  bool accumulates = false; // sums add to what is in memory
  bool isCold = false;      // run rarely: not worth optimising
};

struct Kernel {
  llvm::SmallVector<int64_t, 4> domain;
  uint64_t reduced = 0; // bit d: reduced over
  llvm::SmallVector<Node, 0> nodes;
  llvm::SmallVector<Root, 4> roots;
  llvm::SmallVector<int, 8> buffers; // numbers of the function's buffers
  llvm::SmallVector<DType, 8> bufferTypes;
  /// Loads of memory that a root stores over before another one wants them: at each point they come before the first
  /// store. All others are made when they are first asked for.
  llvm::SmallVector<int, 4> firstLoads;
  Schedule schedule;

  /// The node, or an equal one that exists already.
  int add(Node node);
  int constant(DType type, double value);
  int bufferIndex(int functionBuffer, DType type);
  int64_t points() const;
  bool has(RootKind kind) const;
  /// Of each node, the first root that its value is asked for by; the number of roots where none does.
  llvm::SmallVector<unsigned> firstRoots() const;
  /// Dimensions along which scattering changes places by an index: they must be walked in order.
  uint64_t orderedDims() const;
  /// A text that equal kernels have equal: buffers are numbered by the kernel.
  std::string print() const;

private:
  std::map<std::string, int> known;
};

/// The bits of `value` as a `type`.
uint64_t bitsOf(DType type, double value);

/// Whether a load walks with a stride along `vectorDim` but by one along `dim`, so that a square block of it can be
/// loaded along `dim` and transposed.
bool isTurned(const Node &node, int vectorDim, int dim);

/// Drops dimensions of size 1 and merges those that every address walks as one.
void collapse(Kernel &kernel);

/// The kernel with each load that `replace` gives something else for (a node of the new kernel, by number) changed.
Kernel rewritten(const Kernel &kernel, llvm::function_ref<std::optional<int>(Kernel &into, const Node &node)> replace);

} // namespace hw::backend
