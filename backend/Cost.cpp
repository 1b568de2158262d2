#include "backend/Cost.h"
#include "backend/graph/View.h"
#include "llvm/Support/FormatVariadic.h"
#include <algorithm>
#include <cmath>

using namespace mlir;
using namespace hw;
using namespace hw::backend;

namespace {

// The machine, in round numbers that hold for x86-64 server cores of the last ten years. First-level caches are 32 to
// 48 KiB, second-level ones 1 to 2 MiB, of which a task may count on half.
constexpr int64_t kFirstLevel = 32 << 10;
constexpr double kCyclesPerMicrosecond = 3000;
// A task should take long enough that handing it out does not show, and the first two longer: to wait for each other at
// the end of a phase costs about a microsecond.
constexpr double kTaskMicroseconds = 2, kFirstTaskMicroseconds = 4;

int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

} // namespace

//===--------------------------------------------------------------------------------------------------------------===//
// oneDNN or generated code
//===--------------------------------------------------------------------------------------------------------------===//

bool hw::backend::goesToLibrary(DotGeneralOp dot, Products products) {
  if (products == Products::Generated || !elementOf(dot.getResult()).isF32())
    return false; // oneDNN has no f64
  if (dot.getLhs().getDefiningOp<BroadcastOp>())
    return false; // nor a factor that is there once for a whole batch
  int64_t batch = 1, m = 1, n = 1, k = 1;
  auto lhs = shapeOf(dot.getLhs()), rhs = shapeOf(dot.getRhs());
  for (int64_t dim : dot.getLhsBatch())
    batch *= lhs[dim];
  for (int64_t dim : dot.lhsFree())
    m *= lhs[dim];
  for (int64_t dim : dot.rhsFree())
    n *= rhs[dim];
  for (int64_t dim : dot.getLhsContract())
    k *= lhs[dim];
  // An empty product is no product for oneDNN; a thin one it does badly.
  if (std::min({batch, m, n, k}) < 1 || std::min({m, n, k}) < 2)
    return false;
  if (products == Products::Library)
    return true;
  // Generated products keep one operand in the second-level cache while the other streams past, and split a long sum
  // into pieces that fit there. Two small sides of the three are enough for that; where all are large, oneDNN's packing
  // wins.
  int64_t bytes[] = {4 * m * k, 4 * k * n, 4 * m * n};
  std::sort(std::begin(bytes), std::end(bytes));
  return bytes[0] > kSecondLevel / 2 && double(bytes[0]) + double(bytes[1]) + double(bytes[2]) > 2.5e6;
}

template <class Op> static bool goesToOneDnn(Op op, Products products, const Target &target) {
  size_t spatial = op.getStride().size();
  if (products == Products::Generated || !elementOf(op->getResult(0)).isF32() || op.getGroups() != 1 || spatial < 1 ||
      spatial > 3 || target.vectorBytes < 32)
    return false; // oneDNN's fast ones need AVX2, or AVX-512
  auto weights = shapeOf(op.getWeights());
  double additions = double(typeOf(op.getOutput()).getNumElements());
  for (int64_t size : weights.drop_front())
    additions *= double(size);
  bool isEmpty = additions == 0 || typeOf(op.getInput()).getNumElements() == 0;
  // A program is not to load a library for what it does in microseconds.
  return !isEmpty && (products == Products::Library || additions > 1e6);
}

bool hw::backend::goesToLibrary(mlir::Operation *convolution, Products products, const Target &target) {
  return llvm::TypeSwitch<mlir::Operation *, bool>(convolution)
      .Case<ConvOp, ConvBackwardDataOp, ConvBackwardWeightsOp>(
          [&](auto op) { return goesToOneDnn(op, products, target); });
}

int64_t hw::backend::chooseGroup(int64_t images, int64_t bytesPerImage) {
  constexpr int64_t fewest = 8; // groups: tasks for the threads of most machines
  if (images < fewest || images * bytesPerImage <= 2 * kSecondLevel)
    return images;
  int64_t best = 1;
  for (int64_t size = 2; size * fewest <= images && size * bytesPerImage <= kSecondLevel; ++size)
    if (images % size == 0)
      best = size;
  return best;
}

bool hw::backend::prefersGroupSums(int64_t bytes, int64_t terms) {
  // To add an element takes reading, adding and writing it in the second-level cache, half a nanosecond; 256 products
  // take four. And a task's sum has to stay there.
  return terms >= 256 && bytes <= kSecondLevel;
}

bool hw::backend::prefersRecomputing(unsigned cost, int64_t elements, unsigned bytesPerElement) {
  // To keep a value costs a store and loads: a few cycles a vector as long as it stays in the second-level cache, more
  // from memory. (Not so much more that a function like tanh should be computed twice: where rows are independent, a
  // region keeps the value in the cache whatever its size.)
  return cost < (elements * bytesPerElement <= 2 * kSecondLevel ? 6u : 12u);
}

//===--------------------------------------------------------------------------------------------------------------===//
// Loops
//===--------------------------------------------------------------------------------------------------------------===//

namespace {

/// The order in which KernelEmitter nests its loops: kept dimensions, then reduced ones, the vector dimension last in
/// its group.
struct LoopOrder {
  SmallVector<unsigned> dims;
  SmallVector<double> turns; // of the bodies of the loops up to and including this one
  LoopOrder(const Kernel &kernel, const Schedule &s) {
    for (bool isReduced : {false, true}) {
      for (unsigned dim = 0; dim < kernel.domain.size(); ++dim)
        if (int(dim) != s.vectorDim && bool(kernel.reduced >> dim & 1) == isReduced)
          dims.push_back(dim);
      if (s.vectorDim >= 0 && bool(kernel.reduced >> s.vectorDim & 1) == isReduced)
        dims.push_back(unsigned(s.vectorDim));
    }
    double total = 1;
    for (unsigned dim : dims) {
      int64_t size = kernel.domain[dim];
      total *= int(dim) == s.vectorDim ? std::max(1.0, double(ceilDiv(size, s.lanes)) / s.unroll) : double(size);
      turns.push_back(total);
    }
  }
  /// The innermost loop that a value of these dimensions changes in, -1: none.
  int depthOf(uint64_t changing) const {
    for (int at = int(dims.size()); at-- > 0;)
      if (changing >> dims[at] & 1)
        return at;
    return -1;
  }
  double turnsAt(int depth) const { return depth < 0 ? 1 : turns[depth]; }
};

bool walksByOne(const Kernel &kernel, const Linear &address, int dim) {
  return address.coefficients[dim] == 1 &&
         llvm::none_of(address.dynamic, [&](auto &term) { return kernel.nodes[term.first].dims >> dim & 1; });
}

double cyclesOf(const Kernel &kernel, const Schedule &s, const Target &target) {
  LoopOrder order(kernel, s);
  int innermost = int(order.dims.size()) - 1;
  double cycles = 0, inner = 0;
  unsigned live = 4; // temporaries
  auto spend = [&](int depth, double cost) {
    cycles += cost * order.turnsAt(depth);
    if (depth == innermost)
      inner += cost;
  };
  uint64_t vectorBit = s.vectorDim >= 0 ? 1ull << s.vectorDim : 0;
  llvm::BitVector usedInside(kernel.nodes.size());
  for (const Node &node : kernel.nodes)
    if (order.depthOf(node.dims) == innermost)
      for (int operand : node.operands)
        usedInside.set(operand);
  for (auto [number, node] : llvm::enumerate(kernel.nodes)) {
    bool isVector = node.dims & vectorBit;
    int depth = order.depthOf(node.dims);
    double cost = costOf(node.op);
    if (node.op == Opcode::Load)
      cost = !isVector || walksByOne(kernel, node.index, s.vectorDim)     ? 1
             : s.blockDim >= 0 && isTurned(node, s.vectorDim, s.blockDim) ? 2 + std::log2(s.lanes)
                                                                          : 3.0 * s.lanes;
    spend(depth, cost * (isVector ? s.unroll : 1));
    if (depth < innermost && usedInside[number])
      live += isVector ? s.unroll : 1;
  }
  unsigned sums = 0;
  for (const Root &root : kernel.roots) {
    bool isVector = s.vectorDim >= 0 && root.address.coefficients[s.vectorDim];
    double store = !isVector ? 1 : walksByOne(kernel, root.address, s.vectorDim) ? 1.5 : 4.0 * s.lanes;
    if (root.kind == RootKind::Store || root.kind == RootKind::Scatter) {
      spend(innermost, store * s.unroll * (root.kind == RootKind::Scatter ? 2 : 1));
      continue;
    }
    ++sums;
    spend(innermost, (root.kind == RootKind::Max ? 4 : 1) * s.unroll);
    uint64_t kept = ~kernel.reduced & ((1ull << kernel.domain.size()) - 1);
    bool isAcross = s.vectorDim >= 0 && kernel.reduced & vectorBit; // lanes are added up in the end
    double combine = isAcross ? s.unroll + 3 * std::log2(s.lanes) + (root.kind == RootKind::Max ? 4 * s.lanes : 0) : 0;
    spend(order.depthOf(kept), store + combine);
  }
  if (sums) {
    live += sums * s.unroll;
    // An addition takes four cycles until the next one to the same register can start.
    inner = std::max(0.0, 4 - inner);
    cycles += inner * order.turnsAt(innermost);
  }
  // What does not fit into registers is loaded again each time.
  if (live > target.registers())
    cycles += double(live - target.registers()) * order.turnsAt(innermost);
  return cycles;
}

unsigned lanesFor(const Kernel &kernel, size_t dim, int64_t extent, unsigned vectorBytes) {
  unsigned bytes = 4;
  for (const Node &node : kernel.nodes)
    if (node.dims >> dim & 1)
      bytes = std::max(bytes, node.type == DType::F64 ? 8u : 4u);
  unsigned lanes = vectorBytes / bytes;
  while (lanes > 4 && int64_t(lanes) / 2 >= extent)
    lanes /= 2;
  return lanes;
}

} // namespace

double hw::backend::cyclesOf(const Kernel &kernel, const Target &target) {
  return ::cyclesOf(kernel, kernel.schedule, target);
}

void hw::backend::chooseLoops(Kernel &kernel, int rangeDim, int64_t extent, const Target &target) {
  Kernel sized = kernel;
  if (rangeDim >= 0)
    sized.domain[rangeDim] = std::min(extent, kernel.domain[rangeDim]);
  uint64_t ordered = kernel.orderedDims();
  Schedule best;
  double least = 0;
  for (size_t dim = 0; dim < kernel.domain.size(); ++dim) {
    if (ordered >> dim & 1)
      continue;
    Schedule s;
    s.vectorDim = int(dim);
    s.lanes = lanesFor(sized, dim, sized.domain[dim], target.vectorBytes);
    // Blocks of vectors pay where sums share what they read.
    unsigned most = kernel.has(RootKind::Sum) && !kernel.has(RootKind::Max) ? 8 : 1;
    for (s.unroll = 1; s.unroll <= most; s.unroll *= 2) {
      if (s.unroll > 1 && (int64_t(s.unroll) * s.lanes > sized.domain[dim] || s.unroll * kernel.nodes.size() > 400))
        break;
      double cycles = ::cyclesOf(sized, s, target);
      if (best.vectorDim < 0 || cycles < least * (best.vectorDim == int(dim) ? 0.98 : 1.0)) {
        best = s;
        least = cycles;
      }
    }
  }
  // Loads with a stride that walk by one along another dimension: square blocks of them are transposed in registers.
  bool canTurn = rangeDim < 0 && best.vectorDim >= 0 && best.lanes >= 4 && !kernel.reduced &&
                 llvm::all_of(kernel.roots, [](const Root &root) { return root.kind == RootKind::Store; });
  for (int vector = 0; canTurn && vector < int(kernel.domain.size()); ++vector)
    for (int block = 0; block < int(kernel.domain.size()); ++block) {
      Schedule s;
      s.vectorDim = vector, s.blockDim = block;
      s.lanes =
          lanesFor(sized, size_t(vector), std::min(sized.domain[vector], sized.domain[block]), target.vectorBytes);
      unsigned turned = 0, widest = 0;
      for (const Node &node : kernel.nodes)
        if (vector != block && isTurned(node, vector, block)) {
          ++turned;
          widest = std::max(widest, bytesOf(node.type));
        }
      // All rows of a block are in registers.
      if (!turned || turned > 2 || s.lanes < 4 || s.lanes * widest > target.vectorBytes ||
          s.lanes * kernel.nodes.size() > 400)
        continue;
      double cycles = ::cyclesOf(sized, s, target);
      if (cycles < least) {
        least = cycles;
        best = s;
      }
    }
  best.rangeDim = kernel.schedule.rangeDim;
  best.quantum = kernel.schedule.quantum;
  best.accumulates = kernel.schedule.accumulates;
  kernel.schedule = best;
}

//===--------------------------------------------------------------------------------------------------------------===//
// Register tiles
//===--------------------------------------------------------------------------------------------------------------===//

Tiling hw::backend::chooseTiling(const Product &p, int64_t m, const Target &target) {
  Tiling t;
  t.lanes = target.vectorBytes / bytesOf(p.type);
  while (t.lanes > 4 && int64_t(t.lanes) / 2 >= p.n)
    t.lanes /= 2;
  if (p.nDim < 0)
    t.lanes = 1;
  // Accumulators, one row of b and one broadcast element of a must fit into the registers. Wide tiles load less of b a
  // product.
  unsigned budget = target.registers() == 32 ? 24 : 12, widest = target.registers() == 32 ? 4 : 2;
  t.vectors = unsigned(std::min<int64_t>(widest, ceilDiv(p.n, t.lanes)));
  unsigned most = unsigned(std::min<int64_t>({int64_t(budget / t.vectors), m, 16}));
  // Rows that divide m evenly leave no smaller tile behind: worth up to a third of the height.
  t.rows = std::max(1u, most);
  for (unsigned rows = most; rows > 1 && rows * 3 >= most * 2; --rows)
    if (m % rows == 0) {
      t.rows = rows;
      break;
    }
  t.columnsOuter = p.k * t.columns() * bytesOf(p.type) <= kFirstLevel * 3 / 4;
  return t;
}

void hw::backend::setTiling(Stage &stage, int64_t rows, const Target &target) {
  Role range = stage.tiling.range;
  stage.tiling = chooseTiling(stage.product, rows, target);
  stage.tiling.range = range;
  stage.kernel.schedule.vectorDim = stage.product.nDim;
  stage.kernel.schedule.lanes = stage.tiling.lanes;
}

double hw::backend::cyclesOf(const Product &p, const Tiling &t, int64_t m, int64_t k) {
  // A multiply-add a cycle and accumulator; two loads a cycle bound small tiles; a tile's start and end cost a store
  // and some twenty cycles.
  double tiles = double(p.batch) * double(ceilDiv(m, t.rows)) * double(ceilDiv(p.n, t.columns()));
  double fma = double(t.rows) * t.vectors, loads = (t.rows + t.vectors) / 2.0;
  return tiles * (double(k) * std::max({fma, loads, 4.0}) + 2 * fma + 20);
}

//===--------------------------------------------------------------------------------------------------------------===//
// Tasks
//===--------------------------------------------------------------------------------------------------------------===//

namespace {

int64_t wantedTasks(double cycles, const Target &target) {
  double microseconds = cycles / kCyclesPerMicrosecond;
  int64_t wanted = 1;
  while (wanted < target.mostTasks &&
         microseconds / double(wanted * 2) >= (wanted == 1 ? kFirstTaskMicroseconds : kTaskMicroseconds))
    wanted *= 2;
  return wanted;
}

std::string workText(double cycles) {
  return llvm::formatv("about {0:F1} us of one core", cycles / kCyclesPerMicrosecond);
}

/// `extent` in at most `wanted` chunks, whole multiples of the quantum, so that only the last has a tail.
void split(Step &step, int64_t extent, int64_t quantum, int64_t wanted) {
  int64_t units = std::max<int64_t>(1, ceilDiv(extent, quantum));
  step.extent = extent;
  step.chunk = step.tile = ceilDiv(units, std::min(units, wanted)) * quantum;
}

void chooseKernelTasks(Step &step, const Target &target) {
  Kernel &kernel = step.stages[0].kernel;
  size_t rank = kernel.domain.size();
  double cycles = cyclesOf(kernel, target), bytes = 0;
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
  cycles = std::max(cycles, bytes / 12); // from memory, a core gets about 12 bytes a cycle
  int64_t wanted = wantedTasks(cycles, target);
  step.why = workText(cycles);
  if (wanted == 1 || rank == 0)
    return;
  uint64_t ordered = kernel.orderedDims();
  bool canSplitSums = kernel.reduced && !kernel.has(RootKind::Max) && !kernel.has(RootKind::Scatter);
  auto quantum = [&](size_t dim) {
    const Schedule &s = kernel.schedule;
    return int(dim) == s.vectorDim ? int64_t(s.lanes) * s.unroll : int(dim) == s.blockDim ? int64_t(s.lanes) : 1;
  };
  auto available = [&](size_t dim) { return ceilDiv(kernel.domain[dim], quantum(dim)); };
  // The outermost kept dimension that has enough tasks, else the one with most; a reduced one, whose sums must then be
  // completed, only if no kept one will do.
  int chosen = -1;
  for (size_t dim = 0; dim < rank; ++dim)
    if (!(kernel.reduced >> dim & 1) && !(ordered >> dim & 1) &&
        (chosen < 0 || (available(chosen) < wanted && available(dim) > available(chosen))))
      chosen = int(dim);
  if ((chosen < 0 || available(chosen) < std::min<int64_t>(wanted, 4)) && canSplitSums) {
    int64_t most = chosen < 0 ? 1 : available(chosen);
    for (size_t dim = 0; dim < rank; ++dim)
      if (kernel.reduced >> dim & 1 && available(dim) > most) {
        chosen = int(dim);
        most = available(dim);
        wanted = std::min<int64_t>(wanted, 16);
      }
  }
  if (chosen < 0 || available(chosen) < 2)
    return;
  split(step, kernel.domain[chosen], quantum(chosen), wanted);
  if (step.tasks() == 1)
    return;
  kernel.schedule.rangeDim = chosen;
  kernel.schedule.quantum = quantum(chosen);
}

void chooseProductTasks(Step &step, const Target &target) {
  Stage &stage = step.stages[0];
  const Product &p = stage.product;
  Tiling &t = stage.tiling;
  int64_t rowTiles = ceilDiv(p.m, t.rows), columnTiles = ceilDiv(p.n, t.columns());
  double cycles = cyclesOf(p, t, p.m, p.k);
  int64_t wanted = wantedTasks(cycles, target);
  step.why = workText(cycles);
  bool hasSums = stage.kernel.has(RootKind::Sum);
  // The dimension with enough tiles, in the order in which tasks share least of what they read.
  struct Choice {
    Role role;
    int64_t extent, quantum, units;
  };
  Choice choices[] = {{Role::Batch, p.batch, 1, p.batch},
                      {Role::Rows, p.m, int64_t(t.rows), rowTiles},
                      {Role::Columns, p.n, t.columns(), columnTiles}};
  const Choice *best = nullptr;
  for (const Choice &choice : choices)
    if ((!hasSums || choice.role == Role::Rows) &&
        (!best || (best->units < std::min<int64_t>(wanted, 8) && choice.units > best->units)))
      best = &choice;
  // A long sum over a small result: its parts are tasks, and pass in pieces that fit into the second-level cache.
  int64_t bytes = bytesOf(p.type), operandBytes = bytes * (p.m + p.n) * p.batch,
          block = std::max<int64_t>(64, kSecondLevel / 2 / std::max<int64_t>(1, operandBytes));
  bool isLong = p.k >= 8 * block || (best->units < std::min<int64_t>(wanted, 4) && p.k >= 512);
  int64_t resultBytes = bytes * p.batch * p.m * p.n;
  if (isLong && !hasSums && resultBytes * 4 <= kSecondLevel && p.k > 4 * std::max(p.m, p.n)) {
    int64_t tasks = std::min<int64_t>({wanted, 16, std::max<int64_t>(1, p.k / 128)});
    if (tasks > 1 || p.k > block) {
      step.extent = p.k;
      step.chunk = ceilDiv(p.k, tasks);
      int64_t pieces = ceilDiv(step.chunk, block);
      step.tile = ceilDiv(step.chunk, pieces);
      step.chunk = step.tile * pieces;
      t.range = Role::Contracted;
      step.why += ", a long sum over a small result: its parts are tasks";
      return;
    }
  }
  if (hasSums) { // they are made of tasks' parts, and one part is a task as well
    split(step, p.m, t.rows, wanted);
    t.range = Role::Rows;
    return;
  }
  if (wanted == 1 || best->units < 2)
    return;
  split(step, best->extent, best->quantum, wanted);
  if (step.tasks() > 1)
    t.range = best->role;
}

} // namespace

void hw::backend::chooseTasks(Step &step, const Target &target) {
  step.extent = step.chunk = step.tile = 1;
  if (step.stages[0].kind == Stage::Contract)
    chooseProductTasks(step, target);
  else
    chooseKernelTasks(step, target);
}

//===--------------------------------------------------------------------------------------------------------------===//
// Regions of several stages
//===--------------------------------------------------------------------------------------------------------------===//

bool hw::backend::chooseRows(Step &region, const RowTraffic &traffic, const Target &target) {
  int64_t rows = region.extent;
  // Weights that every tile reads must stay in the second-level cache beside the tile's rows, and sums that every tile
  // adds to in the first two.
  if (rows < 64)
    return false;
  if (traffic.sharedBytes > kSecondLevel / 2 || traffic.sumBytes > kSecondLevel / 4) {
    region.why =
        llvm::formatv("no region of {0} stages over {1} rows: it reads {2} KiB of weights a tile (at most {3}) "
                      "and sums {4} KiB over rows (at most {5})",
                      region.stages.size(), rows, traffic.sharedBytes >> 10, kSecondLevel >> 11, traffic.sumBytes >> 10,
                      kSecondLevel >> 12);
    return false;
  }
  // Kernels' cycles by the number of rows, as a line through two of its points.
  auto kernelCycles = [&](int64_t tile) {
    double cycles = 0;
    for (const Stage &stage : region.stages)
      if (stage.kind == Stage::Loops) {
        Kernel kernel = stage.kernel;
        int dim = kernel.schedule.rangeDim;
        chooseLoops(kernel, dim, tile, target);
        kernel.domain[dim] = tile;
        cycles += cyclesOf(kernel, target);
      }
    return cycles;
  };
  double at64 = kernelCycles(64), aRow = (kernelCycles(128) - at64) / 64;
  double least = 0;
  int64_t bestTile = 0, bestTasks = 1;
  int64_t mostRows = std::clamp<int64_t>(kSecondLevel * 3 / 10 / std::max<int64_t>(1, traffic.localBytes), 8, 512);
  for (int64_t tile = 8; tile <= std::min(rows, mostRows); ++tile) {
    double cycles = std::max(0.0, at64 + aRow * double(tile - 64)); // of a tile
    bool fits = true;
    for (const Stage &stage : region.stages) {
      cycles += 40; // loops start and end
      if (stage.kind == Stage::Loops)
        continue;
      Role range = stage.tiling.range;
      Product p = stage.product;
      (range == Role::Rows ? p.m : range == Role::Batch ? p.batch : p.k) = tile;
      Tiling t = chooseTiling(p, p.m, target);
      fits &= range != Role::Rows || tile % t.rows == 0 || tile == rows;
      cycles += cyclesOf(p, t, p.m, p.k);
      if (range == Role::Contracted) // the sums so far are read and written
        cycles += 2.0 * double(p.batch) * double(p.m) * double(ceilDiv(p.n, t.lanes));
    }
    if (!fits)
      continue;
    // Rows that leave the first-level cache between stages cost a few cycles a line.
    cycles += double(tile * traffic.localBytes) / 64 * (tile * traffic.localBytes > kFirstLevel ? 3 : 1);
    cycles += double(traffic.sharedBytes) / 64;
    int64_t tiles = ceilDiv(rows, tile), wanted = std::min(tiles, wantedTasks(cycles * double(tiles) / 4, target));
    for (int64_t tasks = 1; tasks <= wanted; ++tasks) {
      if (tasks > 1 && tasks % 2 && tasks < wanted)
        continue;
      int64_t perTask = ceilDiv(tiles, tasks), count = ceilDiv(tiles, perTask);
      // The slowest of two, four and eight threads: most machines have few, and a thread that is late leaves tasks.
      double work = 0;
      for (auto [threads, weight] : {std::pair{2, 0.6}, {4, 0.25}, {8, 0.15}})
        work += weight * threads * double(ceilDiv(count, threads) * perTask) * cycles;
      work *= rows % tile ? 1.02 : 1;                            // a shorter last tile needs loops of its own
      work += double(count) * double(traffic.sumBytes) / 64 * 4; // set to zero, and added up from another core's cache
      if (!bestTile || work < least) {
        least = work;
        bestTile = tile;
        bestTasks = count;
      }
    }
  }
  if (!bestTile)
    return false;
  region.tile = bestTile;
  region.chunk = ceilDiv(ceilDiv(rows, bestTile), bestTasks) * bestTile;
  for (Stage &stage : region.stages) {
    if (stage.kind == Stage::Contract) {
      setTiling(stage, stage.tiling.range == Role::Rows ? bestTile : stage.product.m, target);
    } else {
      stage.kernel.schedule.quantum = bestTile;
      chooseLoops(stage.kernel, stage.kernel.schedule.rangeDim, bestTile, target);
    }
  }
  region.why = llvm::formatv(
      "{0} rows in tiles of {1} (at most {2} fit): {3} KiB of them and {4} KiB of weights stay in "
      "the cache",
      rows, bestTile, mostRows, (bestTile * traffic.localBytes + 1023) >> 10, (traffic.sharedBytes + 1023) >> 10);
  return true;
}
