// Regions of several stages: a tile of rows passes through a chain of kernels and products before the next tile begins,
// and what they pass to each other stays in the cache, in memory of the thread's own.
//
// Rows are the indices of a leading dimension. A kernel or product can be a stage if it has a loop over them (a
// dimension of its domain, or a product's rows, batch or contracted dimension), and if all it reads of what other
// stages write lies in the same row. What it sums over the rows is complete only when the region has ended: a stage
// that reads such a sum belongs behind the region. Nothing else is asked: branches, custom layers and several outputs
// are all alike.
#include "backend/steps/Regions.h"
#include "backend/Cost.h"
#include "backend/steps/Split.h"

using namespace mlir;
using namespace hw;
using namespace hw::backend;

namespace {

/// The loop over rows of a stage.
struct RowLoop {
  int dim = -1;           // of the kernel's domain; -1: none, a product that sums over the rows
  Role role = Role::None; // products
};

/// How a stage touches a buffer: at addresses in the row that the loop stands at, anywhere, or when the region has
/// ended.
struct Touch {
  enum When { InRow, Anywhere, Behind } when;
  int buffer;
  bool isWrite;
};

class Former {
public:
  Former(StepList &list, const Target &target) : list(list), target(target) {}

  void run() {
    // Row counts by the work that is done over them.
    std::map<int64_t, double> work;
    for (const Step &step : list.steps)
      if (isCandidate(step))
        for (const RowLoop &loop : loopsOf(step.stages[0]))
          work[rowsOf(step.stages[0], loop)] += workOf(step.stages[0]);
    SmallVector<std::pair<double, int64_t>> order;
    for (auto [rows, amount] : work)
      if (rows >= 64)
        order.push_back({amount, rows});
    llvm::sort(order, std::greater<>());
    for (auto [amount, rows] : order)
      for (size_t from = 0; from < list.steps.size();)
        from = form(rows, from);
  }

private:
  static bool isCandidate(const Step &step) { return step.kind == Step::Region && step.stages.size() == 1; }

  static double workOf(const Stage &stage) {
    const Product &p = stage.product;
    double points = double(stage.kernel.points());
    return stage.kind == Stage::Contract ? points * double(p.k) : points;
  }

  static SmallVector<RowLoop, 4> loopsOf(const Stage &stage) {
    SmallVector<RowLoop, 4> loops;
    const Product &p = stage.product;
    if (stage.kind == Stage::Contract) {
      bool hasSums = stage.kernel.reduced;
      if (p.mDim >= 0)
        loops.push_back({p.mDim, Role::Rows});
      if (p.k > 1 && !hasSums)
        loops.push_back({-1, Role::Contracted});
      if (p.batchDim >= 0 && !hasSums)
        loops.push_back({p.batchDim, Role::Batch});
      return loops;
    }
    for (unsigned dim = 0; dim < stage.kernel.domain.size(); ++dim)
      loops.push_back({int(dim), Role::None});
    return loops;
  }

  static int64_t rowsOf(const Stage &stage, const RowLoop &loop) {
    return loop.dim < 0 ? stage.product.k : stage.kernel.domain[loop.dim];
  }

  /// Whether the address lies in row i of a buffer of `row` elements a row, wherever loop `dim` is at i.
  static bool staysInRow(const Linear &address, const Kernel &kernel, int dim, int64_t row) {
    if (!address.dynamic.empty() || address.coefficients[dim] != row)
      return false;
    int64_t low = address.constant, high = address.constant;
    for (auto [other, coefficient] : llvm::enumerate(address.coefficients))
      if (int(other) != dim)
        (coefficient < 0 ? low : high) += coefficient * (kernel.domain[other] - 1);
    return low >= 0 && high < row;
  }
  /// The same for a product's operand: `stride` of the loop over rows, the other loops' sizes and strides.
  static bool staysInRow(int64_t stride, int64_t offset, std::initializer_list<std::pair<int64_t, int64_t>> others,
                         int64_t row) {
    int64_t low = offset, high = offset;
    for (auto [size, step] : others)
      (step < 0 ? low : high) += step * (size - 1);
    return stride == row && low >= 0 && high < row;
  }

  /// Elements a row of the buffer, or -1 if its elements do not divide.
  int64_t rowOf(int buffer, int64_t rows) const {
    int64_t elements = list.buffers[buffer].elements;
    return elements % rows ? -1 : elements / rows;
  }

  std::optional<SmallVector<Touch>> touchesOf(const Stage &stage, const RowLoop &loop, int64_t rows) const {
    SmallVector<Touch> touches;
    const Kernel &kernel = stage.kernel;
    const Product &p = stage.product;
    if (stage.kind == Stage::Contract) {
      auto add = [&](int operand, bool isRow) {
        touches.push_back({isRow ? Touch::InRow : Touch::Anywhere, stage.operands[operand], false});
      };
      int64_t a = rowOf(stage.operands[0], rows), b = rowOf(stage.operands[1], rows);
      switch (loop.role) {
      case Role::Rows:
        add(0, staysInRow(p.aStride[1], p.aOffset, {{p.batch, p.aStride[0]}, {p.k, p.aStride[2]}}, a));
        add(1, false);
        break;
      case Role::Contracted:
        add(0, staysInRow(p.aStride[2], p.aOffset, {{p.batch, p.aStride[0]}, {p.m, p.aStride[1]}}, a));
        add(1, staysInRow(p.bStride[1], p.bOffset, {{p.batch, p.bStride[0]}, {p.n, p.bStride[2]}}, b));
        break;
      default:
        add(0, staysInRow(p.aStride[0], p.aOffset, {{p.m, p.aStride[1]}, {p.k, p.aStride[2]}}, a));
        add(1, staysInRow(p.bStride[0], p.bOffset, {{p.k, p.bStride[1]}, {p.n, p.bStride[2]}}, b));
      }
    }
    bool isBehind = loop.dim < 0; // a sum that is then complete
    for (const Node &node : kernel.nodes)
      if (node.op == Opcode::Load) {
        int buffer = kernel.buffers[node.buffer];
        bool isRow = !isBehind && staysInRow(node.index, kernel, loop.dim, rowOf(buffer, rows));
        touches.push_back({isBehind ? Touch::Behind : isRow ? Touch::InRow : Touch::Anywhere, buffer, false});
      }
    bool isReduced = !isBehind && kernel.reduced >> loop.dim & 1;
    for (const Root &root : kernel.roots) {
      int buffer = kernel.buffers[root.buffer];
      bool isSum = isBehind || (root.kind == RootKind::Sum && isReduced);
      bool isRow = !isSum && staysInRow(root.address, kernel, loop.dim, rowOf(buffer, rows));
      if (root.kind == RootKind::Scatter || (root.kind == RootKind::Max && isReduced) || (!isRow && !isSum))
        return std::nullopt;
      touches.push_back({isSum ? Touch::Behind : Touch::InRow, buffer, true});
      if (root.indexBuffer >= 0)
        touches.push_back({Touch::InRow, kernel.buffers[root.indexBuffer], true});
    }
    return touches;
  }

  //===-- One region ----------------------------------------------------------------------------------------------===//

  struct Member {
    unsigned step;
    RowLoop loop;
    SmallVector<Touch> touches;
  };

  /// Whether a stage may join: what one writes and the other touches, both touch in the same row, or the newcomer only
  /// when the region has ended.
  bool joins(ArrayRef<Member> members, ArrayRef<Touch> touches) const {
    for (const Member &member : members)
      for (const Touch &before : member.touches)
        for (const Touch &now : touches)
          if (list.memoryOf(before.buffer) == list.memoryOf(now.buffer) && (before.isWrite || now.isWrite) &&
              now.when != Touch::Behind && (before.when != Touch::InRow || now.when != Touch::InRow))
            return false;
    return true;
  }

  /// Forms a region of the steps from number `from` on, if there is one that pays. Returns where to go on.
  size_t form(int64_t rows, size_t from) {
    StepList whole = list;
    llvm::DenseMap<unsigned, unsigned> restOf = separateSums(rows, from);
    SmallVector<Member> members;
    SmallVector<unsigned> before, after;
    SmallVector<StepList::Access> inside, behind;
    for (unsigned number = from; number < list.steps.size(); ++number) {
      const Step &step = list.steps[number];
      StepList::Access access = list.accessOf(step);
      auto conflicts = [&](ArrayRef<StepList::Access> others) {
        return llvm::any_of(others, [&](const auto &other) { return StepList::conflict(other, access); });
      };
      bool isBehind = conflicts(behind);
      if (auto member = isBehind ? std::nullopt : memberOf(number, members, rows)) {
        members.push_back(std::move(*member));
        inside.push_back(access);
      } else if (isBehind || conflicts(inside)) {
        after.push_back(number);
        behind.push_back(access);
      } else {
        before.push_back(number);
      }
    }
    std::string whyNot;
    std::optional<Step> region = members.size() < 2 ? std::nullopt : build(members, rows, whyNot);
    if (!region) {
      list = std::move(whole);
      if (!whyNot.empty())
        list.notes.push_back(whyNot);
      return list.steps.size();
    }
    for (const Member &member : members)
      restOf.erase(member.step);
    // Products that did not come in get their epilogues back, where these stand.
    llvm::DenseSet<unsigned> dropped;
    for (auto [product, rest] : restOf) {
      dropped.insert(product);
      list.steps[rest] = wholeOf(whole, list.steps[product]);
    }
    std::vector<Step> steps(list.steps.begin(), list.steps.begin() + from);
    auto take = [&](ArrayRef<unsigned> numbers) {
      for (unsigned number : numbers)
        if (!dropped.contains(number))
          steps.push_back(std::move(list.steps[number]));
    };
    take(before);
    steps.push_back(std::move(*region));
    size_t next = steps.size();
    take(after);
    list.steps = std::move(steps);
    return next;
  }

  /// The step as a member, if it may join.
  std::optional<Member> memberOf(unsigned number, ArrayRef<Member> members, int64_t rows) const {
    const Step &step = list.steps[number];
    if (!isCandidate(step))
      return std::nullopt;
    for (const RowLoop &loop : loopsOf(step.stages[0])) {
      if (rowsOf(step.stages[0], loop) != rows)
        continue;
      auto touches = touchesOf(step.stages[0], loop, rows);
      if (touches && joins(members, *touches))
        return Member{number, loop, std::move(*touches)};
    }
    return std::nullopt;
  }

  /// Products that sum over rows may be stages only without their epilogues, which need the whole sum: they become two
  /// steps each. Returns the second one's number of each first one.
  llvm::DenseMap<unsigned, unsigned> separateSums(int64_t rows, size_t from) {
    llvm::DenseMap<unsigned, unsigned> restOf;
    std::vector<Step> steps;
    for (auto [number, step] : llvm::enumerate(list.steps)) {
      bool isSum = number >= from && isCandidate(step) && step.stages[0].kind == Stage::Contract &&
                   step.stages[0].product.k == rows && !step.stages[0].kernel.reduced;
      std::optional<Step> rest = isSum ? detachEpilogue(list, step.stages[0]) : std::nullopt;
      steps.push_back(step);
      if (rest) {
        restOf[unsigned(steps.size()) - 1] = unsigned(steps.size());
        steps.push_back(std::move(*rest));
      }
    }
    list.steps = std::move(steps);
    return restOf;
  }

  /// The step that a separated product was before.
  static const Step &wholeOf(const StepList &whole, const Step &product) {
    for (const Step &step : whole.steps)
      if (isCandidate(step) && step.stages[0].op == product.stages[0].op && step.stages[0].kind == Stage::Contract)
        return step;
    llvm_unreachable("a product is of some step");
  }

  std::optional<Step> build(ArrayRef<Member> members, int64_t rows, std::string &whyNot) {
    Step region(Step::Region, list.steps[members[0].step].loc);
    region.extent = rows;
    for (const Member &member : members) {
      Stage stage = list.steps[member.step].stages[0];
      if (stage.kind == Stage::Contract) {
        stage.tiling.range = member.loop.role;
      } else {
        stage.kernel.schedule.rangeDim = member.loop.dim;
      }
      region.stages.push_back(std::move(stage));
    }
    RowTraffic traffic = keepInTiles(region, members, rows);
    if (!traffic.localBytes)
      return std::nullopt;
    if (!chooseRows(region, traffic, target)) {
      whyNot = region.why;
      return std::nullopt;
    }
    return region;
  }

  /// What only the region touches, row by row, becomes local to a tile. Returns what there is of each kind.
  RowTraffic keepInTiles(Step &region, ArrayRef<Member> members, int64_t rows) {
    RowTraffic traffic;
    std::map<int, bool> rowwise; // of all touches
    llvm::DenseSet<int> written, shared, pairs;
    for (const Member &member : members)
      for (const Touch &touch : member.touches) {
        auto [at, isNew] = rowwise.try_emplace(touch.buffer, true);
        at->second &= touch.when == Touch::InRow;
        if (touch.isWrite)
          written.insert(touch.buffer);
        else if (touch.when == Touch::Anywhere)
          shared.insert(touch.buffer);
      }
    for (auto [stage, member] : llvm::zip_equal(region.stages, members))
      for (const Root &root : stage.kernel.roots) {
        bool isSum = member.loop.dim < 0 || (root.kind == RootKind::Sum && stage.kernel.reduced >> member.loop.dim & 1);
        if (isSum)
          traffic.sumBytes += list.buffers[stage.kernel.buffers[root.buffer]].bytes();
        if (root.indexBuffer >= 0) // one address for both: neither is padded
          for (int buffer : {root.buffer, root.indexBuffer})
            pairs.insert(stage.kernel.buffers[buffer]);
      }
    llvm::DenseSet<int> elsewhere;
    llvm::DenseSet<unsigned> inside;
    for (const Member &member : members)
      inside.insert(member.step);
    for (auto [number, step] : llvm::enumerate(list.steps)) {
      if (inside.contains(unsigned(number)))
        continue;
      StepList::Access access = list.accessOf(step);
      elsewhere.insert(access.reads.begin(), access.reads.end());
      elsewhere.insert(access.writes.begin(), access.writes.end());
    }
    for (auto [number, isRow] : rowwise) {
      Buffer &b = list.buffers[number];
      if (!isRow || !written.contains(number) || b.place != Buffer::Scratch || elsewhere.contains(number) ||
          pairs.contains(number))
        continue;
      // Rows start at vectors' boundaries.
      int64_t row = b.elements / rows, lanes = target.vectorBytes / bytesOf(b.type);
      int64_t padded = row < lanes / 2 ? row : (row + lanes - 1) / lanes * lanes;
      b.place = Buffer::Local;
      b.rowElements = padded;
      traffic.localBytes += padded * bytesOf(b.type);
      for (auto [stage, member] : llvm::zip_equal(region.stages, members))
        setRow(stage, member.loop, number, padded);
    }
    for (int number : shared)
      traffic.sharedBytes += list.buffers[number].bytes();
    return traffic;
  }

  static void setRow(Stage &stage, const RowLoop &loop, int buffer, int64_t row) {
    Kernel &kernel = stage.kernel;
    if (stage.kind == Stage::Contract) {
      Product &p = stage.product;
      bool isSum = loop.role == Role::Contracted, isBatch = loop.role == Role::Batch;
      if (stage.operands[0] == buffer)
        p.aStride[isBatch ? 0 : isSum ? 2 : 1] = row;
      if (stage.operands[1] == buffer)
        p.bStride[isBatch ? 0 : 1] = row;
    }
    if (loop.dim < 0)
      return;
    for (Node &node : kernel.nodes)
      if (node.op == Opcode::Load && kernel.buffers[node.buffer] == buffer)
        node.index.coefficients[loop.dim] = row;
    for (Root &root : kernel.roots)
      if (kernel.buffers[root.buffer] == buffer ||
          (root.indexBuffer >= 0 && kernel.buffers[root.indexBuffer] == buffer))
        root.address.coefficients[loop.dim] = row;
  }

  StepList &list;
  const Target &target;
};

} // namespace

void hw::backend::formRegions(StepList &list, const Target &target) { Former(list, target).run(); }
