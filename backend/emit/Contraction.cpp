// Generated matrix products: a tile of rows x vectors of accumulators in registers runs over all of k; then the
// epilogue, any elementwise computation on the product, is evaluated on the accumulators and stored.
#include "backend/emit/Contraction.h"
#include "llvm/IR/Intrinsics.h"
#include "llvm/IR/Module.h"

using namespace hw;
using namespace hw::backend;

namespace {

class ContractionEmitter {
public:
  ContractionEmitter(Builder &b, const Target &target, const Product &p, const Kernel &epilogue, const Tiling &t,
                     llvm::ArrayRef<llvm::Value *> bases)
      : b(b), p(p), epilogue(epilogue), t(t), a(bases[bases.size() - 2]), rhs(bases[bases.size() - 1]),
        point(b, target, epilogue, bases, p.nDim, t.lanes) {
    element = registerType(b.getContext(), p.type, 1);
    vector = registerType(b.getContext(), p.type, t.lanes);
  }

  void run(llvm::Value *low, llvm::Value *high) {
    this->low = low, this->high = high;
    Point::Scope scope(point);
    point.evaluate(0);
    auto [first, last] = bounds(Role::Batch, p.batch);
    emitLoop(b, first, last, 1, {}, [&](llvm::Value *index, Values) {
      batchIndex = index;
      Point::Scope batchScope(point);
      if (p.batchDim >= 0)
        point.setIndex(p.batchDim, index);
      if (t.columnsOuter)
        forColumns([&] { forRows([&] { micro(); }); });
      else
        forRows([&] { forColumns([&] { micro(); }); });
      return Values();
    });
  }

private:
  std::pair<llvm::Value *, llvm::Value *> bounds(Role role, int64_t size) {
    if (t.range == role)
      return {low, high};
    return {b.getInt64(0), b.getInt64(size)};
  }

  /// Full tiles, then what the dimension's end leaves: ranges start and end at multiples of a tile, or there.
  void forTiles(Role role, int64_t size, int64_t block,
                llvm::function_ref<void(llvm::Value *from, int64_t extent)> body) {
    auto [first, last] = bounds(role, size);
    int64_t rest = size % block;
    llvm::Value *full = b.getInt64(size - rest);
    llvm::Value *end = t.range == role && rest ? b.CreateBinaryIntrinsic(llvm::Intrinsic::smin, last, full) : last;
    if (t.range != role)
      end = full;
    auto section = [&](llvm::Value *from, llvm::Value *to, int64_t extent) {
      emitLoop(b, from, to, block, {}, [&](llvm::Value *index, Values) {
        Point::Scope scope(point);
        body(index, extent);
        return Values();
      });
    };
    section(first, end, block);
    if (rest)
      section(t.range == role ? b.CreateBinaryIntrinsic(llvm::Intrinsic::smax, first, full) : full, last, rest);
  }

  void forRows(llvm::function_ref<void()> body) {
    forTiles(Role::Rows, p.m, t.rows, [&](llvm::Value *row, int64_t extent) {
      firstRow = row, rows = unsigned(extent);
      body();
    });
  }

  void forColumns(llvm::function_ref<void()> body) {
    forTiles(Role::Columns, p.n, t.columns(), [&](llvm::Value *column, int64_t extent) {
      firstColumn = column, vectors = unsigned((extent + t.lanes - 1) / t.lanes);
      lastLanes = unsigned(extent % t.lanes);
      body();
    });
  }

  llvm::Value *address(llvm::Value *base, std::initializer_list<std::pair<llvm::Value *, int64_t>> terms,
                       int64_t offset) {
    llvm::Value *sum = b.getInt64(offset);
    for (auto [index, stride] : terms)
      if (stride)
        sum = b.CreateAdd(sum, b.CreateMul(index, b.getInt64(stride), "", true, true), "", true, true);
    return b.CreateGEP(element, base, sum);
  }

  /// One tile: the loop over k, then the epilogue.
  void micro() {
    llvm::Align align(bytesOf(p.type));
    llvm::Value *aTile = address(a, {{batchIndex, p.aStride[0]}, {firstRow, p.aStride[1]}}, p.aOffset);
    llvm::Value *bTile = address(rhs, {{batchIndex, p.bStride[0]}, {firstColumn, p.bStride[2]}}, p.bOffset);
    auto loadB = [&](llvm::Value *row, unsigned v) -> llvm::Value * {
      llvm::Value *from = b.CreateGEP(element, row, b.getInt64(int64_t(v) * t.lanes));
      if (auto *mask = maskOf(v))
        return b.CreateMaskedLoad(vector, from, align, mask, llvm::Constant::getNullValue(vector));
      return b.CreateAlignedLoad(vector, from, align);
    };
    auto [first, last] = bounds(Role::Contracted, p.k);
    auto terms = [&](llvm::Value *k, Values c) {
      llvm::Value *aRow = address(aTile, {{k, p.aStride[2]}}, 0), *bRow = address(bTile, {{k, p.bStride[1]}}, 0);
      Values right;
      for (unsigned v = 0; v < vectors; ++v)
        right.push_back(loadB(bRow, v));
      for (unsigned r = 0; r < rows; ++r) {
        llvm::Value *left =
            b.CreateAlignedLoad(element, b.CreateGEP(element, aRow, b.getInt64(r * p.aStride[1])), align);
        if (t.lanes > 1)
          left = b.CreateVectorSplat(t.lanes, left);
        for (unsigned v = 0; v < vectors; ++v)
          c[r * vectors + v] =
              b.CreateIntrinsic(vector, llvm::Intrinsic::fmuladd, {left, right[v], c[r * vectors + v]});
      }
      return c;
    };
    Values zeros(rows * vectors, llvm::Constant::getNullValue(vector));
    // A long sum goes in blocks of its own, so that its error does not grow with the number of terms.
    constexpr int64_t longestChain = Tiling::longestChain;
    bool isLong = (t.longest ? std::min(t.longest, p.k) : p.k) > longestChain;
    Values sums = !isLong ? emitLoop(b, first, last, 1, zeros, terms)
                          : emitLoop(b, first, last, longestChain, zeros, [&](llvm::Value *from, Values around) {
                              llvm::Value *end = b.CreateAdd(from, b.getInt64(longestChain), "", true, true);
                              end = b.CreateBinaryIntrinsic(llvm::Intrinsic::smin, end, last);
                              Values block = emitLoop(b, from, end, 1, zeros, terms);
                              for (auto [sum, part] : llvm::zip_equal(around, block))
                                sum = b.CreateFAdd(sum, part);
                              return around;
                            });
    if (epilogue.schedule.accumulates)
      addToMemory(sums);
    finish(sums);
  }

  llvm::Constant *maskOf(unsigned v) { return v + 1 == vectors ? tailMask(b, t.lanes, lastLanes) : nullptr; }

  /// Points at vector v of the tile's columns.
  void setColumns(unsigned v) {
    if (p.nDim >= 0)
      point.setVector(b.CreateAdd(firstColumn, b.getInt64(int64_t(v) * t.lanes), "", true, true), 1, maskOf(v));
  }
  void setRow(unsigned r) {
    if (p.mDim >= 0)
      point.setIndex(p.mDim, b.CreateAdd(firstRow, b.getInt64(r), "", true, true));
  }

  /// The sums with what is in memory.
  void addToMemory(Values &sums) {
    const Root &root = epilogue.roots[0];
    Point::Scope scope(point);
    for (unsigned v = 0; v < vectors; ++v) {
      setColumns(v);
      for (unsigned r = 0; r < rows; ++r) {
        setRow(r);
        llvm::Value *&sum = sums[r * vectors + v];
        sum = b.CreateFAdd(point.loadBack(root.buffer, root.address, 0), sum);
      }
    }
  }

  void finish(const Values &sums) {
    int product = -1;
    for (auto [number, node] : llvm::enumerate(epilogue.nodes))
      if (node.op == Opcode::Product)
        product = int(number);
    Point::Scope tileScope(point);
    // Values that change along columns only (a bias) are loaded once a vector, before the rows.
    for (unsigned v = 0; v < vectors; ++v) {
      Point::Scope columnScope(point);
      setColumns(v);
      point.evaluate((p.batchDim >= 0 ? 1ull << p.batchDim : 0) | (p.nDim >= 0 ? 1ull << p.nDim : 0));
      llvm::SmallVector<llvm::Value *, 4> columnSums(epilogue.roots.size(), nullptr);
      for (unsigned r = 0; r < rows; ++r) {
        Point::Scope rowScope(point);
        setRow(r);
        if (product >= 0)
          point.define(product, 0, sums[r * vectors + v]);
        point.loadFirst(0);
        for (auto [number, root] : llvm::enumerate(epilogue.roots)) {
          if (root.kind == RootKind::Store) {
            point.store(root, 0);
            continue;
          }
          llvm::Value *term = p.nDim >= 0 ? point.vector(root.node, 0) : point.value(root.node, 0);
          llvm::Value *&sum = columnSums[number];
          sum = !sum ? term : emitAdd(b, sum, term);
        }
      }
      for (auto [number, root] : llvm::enumerate(epilogue.roots))
        if (llvm::Value *sum = columnSums[number])
          point.store(root.buffer, root.address, emitAdd(b, point.loadBack(root.buffer, root.address, 0), sum), 0);
    }
  }

  Builder &b;
  const Product &p;
  const Kernel &epilogue;
  const Tiling &t;
  llvm::Value *a, *rhs;
  Point point;
  llvm::Type *element, *vector;
  unsigned rows = 1, vectors = 1, lastLanes = 0;
  llvm::Value *low = nullptr, *high = nullptr; // of the range
  llvm::Value *firstRow = nullptr, *firstColumn = nullptr, *batchIndex = nullptr;
};

} // namespace

llvm::Function *hw::backend::emitContraction(llvm::Module &module, const Target &target, const Product &product,
                                             const Kernel &epilogue, const Tiling &tiling, llvm::StringRef name) {
  Builder b(module.getContext());
  llvm::Function *function = createTask(module, target, name, b);
  auto bases = loadFrame(b, function->getArg(0), epilogue.buffers.size() + 2);
  ContractionEmitter(b, target, product, epilogue, tiling, bases).run(function->getArg(1), function->getArg(2));
  b.CreateRetVoid();
  return function;
}
