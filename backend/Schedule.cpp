// How a kernel is run: which dimension is vectorised, and how the domain is split into tasks.
#include "backend/Kernel.h"
#include "llvm/ADT/STLExtras.h"
#include <algorithm>

using namespace hw::backend;

namespace {

/// Bytes moved well or badly if `dim` is the vector dimension: unit strides gain, others lose.
double unitStrides(const Kernel &kernel, size_t dim) {
  double score = 0;
  for (const Node &node : kernel.nodes)
    if (node.op == Opcode::Load && node.dims >> dim & 1) {
      bool isUnit = node.index.coefficients[dim] == 1 && llvm::none_of(node.index.dynamic, [&](auto &term) {
                      return kernel.nodes[term.first].dims >> dim & 1;
                    });
      score += isUnit ? 1 : -2;
    }
  for (const Root &root : kernel.roots)
    if (root.kind == RootKind::Store && root.address.coefficients[dim])
      score += root.address.coefficients[dim] == 1 ? 2 : -4;
    else if (root.address.coefficients[dim])
      score += root.address.coefficients[dim] == 1 ? 0.25 : -0.25;
  return score;
}

unsigned lanesFor(const Kernel &kernel, size_t dim, unsigned vectorBytes) {
  unsigned bytes = 1;
  for (const Node &node : kernel.nodes)
    if (node.dims >> dim & 1)
      bytes = std::max(bytes, bytesOf(node.type) == 8 && isFloat(node.type) ? 8u : std::min(4u, bytesOf(node.type)));
  for (const Root &root : kernel.roots)
    bytes = std::max(bytes, std::min(4u, bytesOf(kernel.bufferTypes[root.buffer])));
  unsigned lanes = vectorBytes / std::max(bytes, 4u);
  while (lanes > 4 && int64_t(lanes) / 2 >= kernel.domain[dim])
    lanes /= 2;
  return lanes;
}

} // namespace

void hw::backend::schedule(Kernel &kernel, unsigned vectorBytes) {
  Schedule &s = kernel.schedule;
  s = {};
  size_t rank = kernel.domain.size();
  bool scatters = llvm::any_of(kernel.roots, [](const Root &root) { return root.kind == RootKind::Scatter; });
  bool hasMax = llvm::any_of(kernel.roots, [](const Root &root) { return root.kind == RootKind::Max; });

  // The dimension with the most unit strides; the innermost one at a tie. What scatters by an index that changes along
  // a dimension must walk it in order.
  uint64_t ordered = 0;
  for (const Root &root : kernel.roots)
    if (root.kind == RootKind::Scatter)
      for (size_t dim = 0; dim < rank; ++dim)
        if (root.address.coefficients[dim] != 1)
          ordered |= 1ull << dim;
  double best = 0;
  for (size_t dim = 0; dim < rank; ++dim) {
    if (ordered >> dim & 1)
      continue;
    double score = unitStrides(kernel, dim);
    // Tiny dimensions fill few lanes.
    if (kernel.domain[dim] < 4)
      score -= 3;
    if (s.vectorDim < 0 || score >= best) {
      best = score;
      s.vectorDim = int(dim);
    }
  }
  if (s.vectorDim >= 0)
    s.lanes = lanesFor(kernel, s.vectorDim, vectorBytes);

  bool hasReduction = kernel.reduced != 0;
  unsigned reductions = llvm::count_if(kernel.roots, [](const Root &root) { return root.kind == RootKind::Sum; });
  if (s.vectorDim >= 0 && hasReduction && !hasMax) {
    // Independent accumulators hide the latency of an addition (4 cycles, two a cycle); registers bound them.
    unsigned limit = vectorBytes == 64 ? 12 : 6;
    s.unroll = std::clamp(limit / std::max(1u, reductions), 1u, 4u);
    while (s.unroll > 1 && int64_t(s.unroll / 2) * s.lanes >= kernel.domain[s.vectorDim])
      s.unroll /= 2;
  }

  // Tasks. A region costs about a microsecond, a task should take several; one addition on a vector of 4-byte elements
  // takes about 0.3 ns.
  s.chunk = 0;
  double lanes = double(vectorBytes) / 4;
  double microseconds = kernel.work() / lanes * 0.35e-3;
  double bytes = 0;
  for (const Node &node : kernel.nodes)
    if (node.op == Opcode::Load) {
      double size = bytesOf(node.type);
      for (size_t dim = 0; dim < rank; ++dim)
        if (node.dims >> dim & 1)
          size *= double(kernel.domain[dim]);
      bytes += size;
    }
  for (const Root &root : kernel.roots)
    if (root.kind == RootKind::Store)
      bytes += double(kernel.points()) * bytesOf(kernel.bufferTypes[root.buffer]);
  microseconds = std::max(microseconds, bytes / 40e3); // 40 GB/s
  int64_t wanted = 1;
  while (wanted < 32 && microseconds / double(wanted * 2) >= 3)
    wanted *= 2;
  if (wanted == 1 || rank == 0)
    return;

  auto quantum = [&](size_t dim) { return int(dim) == s.vectorDim ? int64_t(s.lanes) * s.unroll : 1; };
  auto tasks = [&](size_t dim) { return (kernel.domain[dim] + quantum(dim) - 1) / quantum(dim); };
  int chosen = -1;
  bool splits = false;
  // The outermost kept dimension that has enough tasks, else the one with most; reduced ones only if no kept one will
  // do.
  for (size_t dim = 0; dim < rank; ++dim)
    if (!(kernel.reduced >> dim & 1) && !(scatters && ordered >> dim & 1) &&
        (chosen < 0 || (tasks(chosen) < wanted && tasks(dim) > tasks(chosen))))
      chosen = int(dim);
  int64_t available = chosen < 0 ? 1 : tasks(chosen);
  if (available < std::min<int64_t>(wanted, 4) && hasReduction && !hasMax && !scatters) {
    for (size_t dim = 0; dim < rank; ++dim)
      if (kernel.reduced >> dim & 1 && tasks(dim) > available && (!splits || tasks(dim) > tasks(chosen))) {
        chosen = int(dim);
        splits = true;
      }
    wanted = std::min<int64_t>(wanted, 16);
  }
  if (chosen < 0 || tasks(chosen) < 2)
    return;
  // Whole multiples of the quantum, so that only the last task has a tail.
  int64_t perTask = (tasks(chosen) + wanted - 1) / wanted;
  int64_t count = (tasks(chosen) + perTask - 1) / perTask;
  if (count < 2)
    return;
  s.parallelDim = chosen;
  s.chunk = perTask * quantum(chosen);
  s.count = count;
  s.splitsReduction = splits;
}
