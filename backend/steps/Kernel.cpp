// Building, printing and normalising kernels.
#include "backend/steps/Kernel.h"
#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>

using namespace hw::backend;

DType hw::backend::dtypeOf(mlir::Type type) {
  if (type.isF32())
    return DType::F32;
  if (type.isF64())
    return DType::F64;
  unsigned width = type.getIntOrFloatBitWidth();
  bool isUnsigned = type.isUnsignedInteger();
  switch (width) {
  case 1:
    return DType::I1;
  case 8:
    return isUnsigned ? DType::UI8 : DType::I8;
  case 32:
    return isUnsigned ? DType::UI32 : DType::I32;
  default:
    return DType::UI64;
  }
}

const char *hw::backend::nameOf(DType type) {
  static const char *names[] = {"f32", "f64", "i1", "i8", "ui8", "i32", "ui32", "ui64"};
  return names[unsigned(type)];
}

unsigned hw::backend::bytesOf(DType type) {
  static const unsigned sizes[] = {4, 8, 1, 1, 1, 4, 4, 8};
  return sizes[unsigned(type)];
}

const char *hw::backend::nameOf(Opcode op) {
  static const char *names[] = {"constant", "load", "index", "random", "product", "neg",   "exp",   "expm1", "log",
                                "log1p",    "log2", "log10", "sqrt",   "sin",     "cos",   "tanh",  "sinh",  "cosh",
                                "logistic", "erf",  "asinh", "abs",    "sign",    "floor", "not",   "cast",  "clamp",
                                "add",      "sub",  "mul",   "div",    "pow",     "min",   "max",   "and",   "or",
                                "eq",       "ne",   "lt",    "le",     "gt",      "ge",    "select"};
  return names[unsigned(op)];
}

unsigned hw::backend::costOf(Opcode op) {
  switch (op) {
  case Opcode::Constant:
  case Opcode::Product:
    return 0;
  case Opcode::Div:
  case Opcode::Sqrt:
    return 6;
  case Opcode::Exp:
  case Opcode::Log:
  case Opcode::Tanh:
  case Opcode::Logistic:
    return 14;
  case Opcode::Expm1:
  case Opcode::Log1p:
  case Opcode::Log2:
  case Opcode::Log10:
  case Opcode::Sinh:
  case Opcode::Cosh:
  case Opcode::Sin:
  case Opcode::Cos:
  case Opcode::Erf:
  case Opcode::Asinh:
    return 25;
  case Opcode::Pow:
    return 50;
  case Opcode::Random:
    return 60;
  default:
    return 1;
  }
}

void Linear::add(const Linear &other, int64_t scale) {
  for (size_t i = 0; i < coefficients.size(); ++i)
    coefficients[i] += scale * other.coefficients[i];
  constant += scale * other.constant;
  for (auto [node, factor] : other.dynamic)
    if (scale * factor != 0)
      dynamic.push_back({node, scale * factor});
}

uint64_t hw::backend::bitsOf(DType type, double value) {
  if (type == DType::F32)
    return llvm::bit_cast<uint32_t>(float(value));
  if (type == DType::F64)
    return llvm::bit_cast<uint64_t>(value);
  return value < 0 ? uint64_t(int64_t(value)) : uint64_t(value);
}

static void print(llvm::raw_ostream &os, const Linear &linear) {
  for (auto [dim, coefficient] : llvm::enumerate(linear.coefficients))
    if (coefficient)
      os << (coefficient == 1 ? "" : std::to_string(coefficient) + "*") << "i" << dim << " + ";
  for (auto [node, scale] : linear.dynamic)
    os << scale << "*%" << node << " + ";
  os << linear.constant;
}

static void print(llvm::raw_ostream &os, const Node &node) {
  os << nameOf(node.op) << " " << nameOf(node.type);
  for (int operand : node.operands)
    os << " %" << operand;
  if (node.op == Opcode::Load)
    os << " b" << node.buffer;
  if (node.op == Opcode::Load || node.op == Opcode::Index || node.op == Opcode::Random) {
    os << "[";
    print(os, node.index);
    os << "]";
  }
  if (node.op == Opcode::Constant && node.type == DType::F32)
    os << " " << llvm::bit_cast<float>(uint32_t(node.bits));
  else if (node.op == Opcode::Constant && node.type == DType::F64)
    os << " " << llvm::bit_cast<double>(node.bits);
  if (node.op == Opcode::Constant || node.op == Opcode::Random || node.op == Opcode::Clamp)
    os << " #" << node.bits;
}

int Kernel::add(Node node) {
  std::string key;
  llvm::raw_string_ostream os(key);
  ::print(os, node);
  auto [at, isNew] = known.try_emplace(key, int(nodes.size()));
  if (!isNew)
    return at->second;
  for (int operand : node.operands)
    node.dims |= nodes[operand].dims;
  for (auto [dim, coefficient] : llvm::enumerate(node.index.coefficients))
    if (coefficient)
      node.dims |= 1ull << dim;
  for (auto [operand, scale] : node.index.dynamic)
    node.dims |= nodes[operand].dims;
  if (node.op == Opcode::Product)
    node.dims = (1ull << domain.size()) - 1;
  nodes.push_back(std::move(node));
  return int(nodes.size()) - 1;
}

int Kernel::constant(DType type, double value) {
  Node node{Opcode::Constant, type, {}, Linear(domain.size())};
  node.bits = bitsOf(type, value);
  return add(std::move(node));
}

int Kernel::bufferIndex(int functionBuffer, DType type) {
  auto at = llvm::find(buffers, functionBuffer);
  if (at != buffers.end())
    return int(at - buffers.begin());
  buffers.push_back(functionBuffer);
  bufferTypes.push_back(type);
  return int(buffers.size()) - 1;
}

int64_t Kernel::points() const {
  int64_t points = 1;
  for (int64_t size : domain)
    points *= size;
  return points;
}

bool Kernel::has(RootKind kind) const {
  return llvm::any_of(roots, [&](const Root &root) { return root.kind == kind; });
}

llvm::SmallVector<unsigned> Kernel::firstRoots() const {
  llvm::SmallVector<unsigned> first(nodes.size(), unsigned(roots.size()));
  for (unsigned number = unsigned(roots.size()); number-- > 0;) {
    const Root &root = roots[number];
    llvm::SmallVector<int> wanted{root.node};
    for (auto [node, scale] : root.address.dynamic)
      wanted.push_back(node);
    while (!wanted.empty()) {
      int node = wanted.pop_back_val();
      if (first[size_t(node)] == number)
        continue;
      first[size_t(node)] = number;
      wanted.append(nodes[node].operands.begin(), nodes[node].operands.end());
      for (auto [inner, scale] : nodes[node].index.dynamic)
        wanted.push_back(inner);
    }
  }
  return first;
}

uint64_t Kernel::orderedDims() const {
  uint64_t ordered = 0;
  for (const Root &root : roots)
    for (size_t dim = 0; dim < domain.size() && root.kind == RootKind::Scatter; ++dim)
      if (root.address.coefficients[dim] != 1)
        ordered |= 1ull << dim;
  return ordered;
}

std::string Kernel::print() const {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << "  over";
  for (auto [dim, size] : llvm::enumerate(domain))
    os << " i" << dim << (reduced >> dim & 1 ? " reduced" : "") << " < " << size;
  const Schedule &s = schedule;
  if (s.vectorDim >= 0)
    os << "; vector i" << s.vectorDim << " x" << s.lanes << " x" << s.unroll;
  if (s.blockDim >= 0)
    os << "; turned with i" << s.blockDim;
  if (s.rangeDim >= 0)
    os << "; range of i" << s.rangeDim << " by " << s.quantum;
  if (s.longest)
    os << ", at most " << s.longest;
  os << (s.accumulates ? "; sums go on" : "") << (s.isCold ? "; cold" : "") << "\n";
  for (auto [number, node] : llvm::enumerate(nodes)) {
    os << "    %" << number << " = ";
    ::print(os, node);
    os << "\n";
  }
  if (!firstLoads.empty()) {
    os << "    before the first store:";
    for (int node : firstLoads)
      os << " %" << node;
    os << "\n";
  }
  static const char *kinds[] = {"store", "sum", "max", "scatter_add"};
  for (const Root &root : roots) {
    os << "    " << kinds[unsigned(root.kind)] << " " << nameOf(bufferTypes[root.buffer]) << " b" << root.buffer << "[";
    ::print(os, root.address);
    os << "] %" << root.node;
    if (root.indexBuffer >= 0)
      os << " index b" << root.indexBuffer;
    os << "\n";
  }
  return text;
}

bool hw::backend::isTurned(const Node &node, int vectorDim, int dim) {
  return node.op == Opcode::Load && isFloat(node.type) && node.index.dynamic.empty() &&
         node.index.coefficients[dim] == 1 && node.index.coefficients[vectorDim] != 0;
}

Kernel hw::backend::rewritten(const Kernel &kernel,
                              llvm::function_ref<std::optional<int>(Kernel &, const Node &)> replace) {
  Kernel result;
  result.domain = kernel.domain;
  result.reduced = kernel.reduced;
  result.schedule = kernel.schedule;
  llvm::SmallVector<int> numbers; // of old nodes, in the new kernel; operands come before their users
  auto moved = [&](Linear linear) {
    for (auto &[node, scale] : linear.dynamic)
      node = numbers[node];
    return linear;
  };
  auto bufferOf = [&](int buffer) { return result.bufferIndex(kernel.buffers[buffer], kernel.bufferTypes[buffer]); };
  for (const Node &old : kernel.nodes) {
    Node node = old;
    for (int &operand : node.operands)
      operand = numbers[operand];
    node.index = moved(node.index);
    if (std::optional<int> other = replace(result, node)) {
      numbers.push_back(*other);
      continue;
    }
    if (node.op == Opcode::Load)
      node.buffer = bufferOf(node.buffer);
    numbers.push_back(result.add(std::move(node)));
  }
  for (Root root : kernel.roots) {
    root.node = numbers[root.node];
    root.address = moved(root.address);
    root.buffer = bufferOf(root.buffer);
    if (root.indexBuffer >= 0)
      root.indexBuffer = bufferOf(root.indexBuffer);
    result.roots.push_back(std::move(root));
  }
  return result;
}

//===--------------------------------------------------------------------------------------------------------------===//
// Normalising
//===--------------------------------------------------------------------------------------------------------------===//

namespace {

/// Calls `visit` with every linear form of the kernel.
template <class Kernel, class Visit> void forEachLinear(Kernel &kernel, Visit visit) {
  for (auto &node : kernel.nodes)
    if (node.op == Opcode::Load || node.op == Opcode::Index || node.op == Opcode::Random)
      visit(node.index);
  for (auto &root : kernel.roots)
    visit(root.address);
}

uint64_t without(uint64_t mask, size_t dim) {
  uint64_t low = (1ull << dim) - 1;
  return (mask & low) | (mask >> 1 & ~low);
}

void removeDim(Kernel &kernel, size_t dim) {
  kernel.domain.erase(kernel.domain.begin() + dim);
  kernel.reduced = without(kernel.reduced, dim);
  for (Node &node : kernel.nodes) {
    node.index.coefficients.erase(node.index.coefficients.begin() + dim);
    node.dims = without(node.dims, dim);
  }
  for (Root &root : kernel.roots)
    root.address.coefficients.erase(root.address.coefficients.begin() + dim);
}

/// Whether dimension `inner`, run to its end inside `outer`, is a continuation of `outer` in every linear form.
bool merges(const Kernel &kernel, size_t outer, size_t inner) {
  if ((kernel.reduced >> outer & 1) != (kernel.reduced >> inner & 1))
    return false;
  bool result = true;
  forEachLinear(kernel, [&](const Linear &linear) {
    result &= linear.coefficients[outer] == linear.coefficients[inner] * kernel.domain[inner];
  });
  return result;
}

} // namespace

void hw::backend::collapse(Kernel &kernel) {
  for (size_t dim = kernel.domain.size(); dim-- > 0;)
    if (kernel.domain[dim] == 1)
      removeDim(kernel, dim);
  // Scattering visits its points in row-major order: there only an outer dimension may continue an inner one.
  bool ordered = kernel.has(RootKind::Scatter);
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t outer = 0; outer < kernel.domain.size() && !changed; ++outer)
      for (size_t inner = 0; inner < kernel.domain.size() && !changed; ++inner)
        if (outer != inner && (!ordered || outer < inner) && merges(kernel, outer, inner)) {
          kernel.domain[inner] *= kernel.domain[outer];
          for (Node &node : kernel.nodes)
            if (node.dims >> outer & 1)
              node.dims |= 1ull << inner;
          removeDim(kernel, outer);
          changed = true;
        }
  }
}
