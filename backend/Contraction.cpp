// Generated matrix products: a tile of rows x vectors of accumulators in registers runs over all of k; then the
// epilogue, any elementwise computation on the product, is evaluated on the accumulators and stored.
#include "backend/Contraction.h"
#include "llvm/IR/Intrinsics.h"
#include "llvm/IR/Module.h"

using namespace hw;
using namespace hw::backend;

Product hw::backend::productOf(DotGeneralOp dot) {
  Product p;
  p.type = dtypeOf(elementOf(dot.getResult()));
  auto ignore = [](mlir::Value) {};
  View a = viewOf(dot.getLhs(), ignore), b = viewOf(dot.getRhs(), ignore);
  p.a = a.base, p.b = b.base, p.aOffset = a.offset, p.bOffset = b.offset;
  auto lhs = shapeOf(dot.getLhs()), rhs = shapeOf(dot.getRhs());
  int dim = 0;
  if (!dot.getLhsBatch().empty()) {
    int64_t l = dot.getLhsBatch()[0], r = dot.getRhsBatch()[0];
    p.batch = lhs[l], p.aStride[0] = a.strides[l], p.bStride[0] = b.strides[r], p.batchDim = dim++;
  }
  if (auto free = dot.lhsFree(); !free.empty())
    p.m = lhs[free[0]], p.aStride[1] = a.strides[free[0]], p.mDim = dim++;
  if (auto free = dot.rhsFree(); !free.empty())
    p.n = rhs[free[0]], p.bStride[2] = b.strides[free[0]], p.nDim = dim++;
  if (!dot.getLhsContract().empty()) {
    int64_t l = dot.getLhsContract()[0], r = dot.getRhsContract()[0];
    p.k = lhs[l], p.aStride[2] = a.strides[l], p.bStride[1] = b.strides[r];
  }
  return p;
}

Tiling hw::backend::tile(const Product &p, Kernel &epilogue, const Target &target) {
  Tiling t;
  t.lanes = target.vectorBytes / bytesOf(p.type);
  while (t.lanes > 4 && int64_t(t.lanes) / 2 >= p.n)
    t.lanes /= 2;
  if (p.nDim < 0)
    t.lanes = 1;
  // Accumulators, one row of b and one broadcast element of a must fit into the registers. Wide tiles load less of b a
  // product.
  unsigned budget = target.registers() == 32 ? 24 : 12, widest = target.registers() == 32 ? 4 : 2;
  t.vectors = unsigned(std::min<int64_t>(widest, (p.n + t.lanes - 1) / t.lanes));
  unsigned most = unsigned(std::min<int64_t>({int64_t(budget / t.vectors), p.m, 16}));
  // Rows that divide m evenly leave no smaller tile behind: worth up to a third of the height.
  t.rows = most;
  for (unsigned rows = most; rows > 1 && rows * 3 >= most * 2; --rows)
    if (p.m % rows == 0) {
      t.rows = rows;
      break;
    }
  t.rowTiles = (p.m + t.rows - 1) / t.rows;
  // A panel of b that fits into the first-level cache is kept there while the rows pass by.
  t.columnsOuter = p.k * t.vectors * t.lanes * bytesOf(p.type) <= 24 * 1024;
  // About 3 ns a thousand multiply-adds a lane's width; a task takes some microseconds, a region costs one.
  double microseconds = double(p.batch) * double(p.m) * double(p.n) * double(p.k) * (bytesOf(p.type) / 4) / 50e3;
  int64_t tiles = p.batch * t.rowTiles, wanted = 1;
  while (wanted < 32 && wanted * 2 <= tiles && microseconds / double(wanted * 2) >= 3)
    wanted *= 2;
  t.perTask = (tiles + wanted - 1) / wanted;
  epilogue.schedule = {};
  epilogue.schedule.count = (tiles + t.perTask - 1) / t.perTask;
  epilogue.schedule.vectorDim = p.nDim;
  epilogue.schedule.lanes = t.lanes;
  return t;
}

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

  void run(llvm::Value *task) {
    Point::Scope scope(point);
    point.evaluate(0);
    int64_t tiles = p.batch * t.rowTiles;
    llvm::Value *low = b.CreateMul(task, b.getInt64(t.perTask), "", true, true);
    llvm::Value *high = b.CreateAdd(low, b.getInt64(t.perTask), "", true, true);
    if (tiles % t.perTask)
      high = b.CreateBinaryIntrinsic(llvm::Intrinsic::smin, high, b.getInt64(tiles));
    if (epilogue.schedule.count == 1)
      low = b.getInt64(0), high = b.getInt64(tiles);
    if (t.columnsOuter && p.batch == 1)
      forColumns([&] { forRows(low, high, [&] { micro(); }); });
    else
      forRows(low, high, [&] { forColumns([&] { micro(); }); });
  }

private:
  /// Row tiles low..high-1, numbered through all batches; the last of a batch may be shorter.
  void forRows(llvm::Value *low, llvm::Value *high, llvm::function_ref<void()> body) {
    emitLoop(b, low, high, 1, {}, [&](llvm::Value *tile, Values) {
      llvm::Value *batch = b.getInt64(0), *row = tile;
      if (p.batch > 1) {
        batch = b.CreateUDiv(tile, b.getInt64(t.rowTiles));
        row = b.CreateSub(tile, b.CreateMul(batch, b.getInt64(t.rowTiles)));
      }
      firstRow = b.CreateMul(row, b.getInt64(t.rows), "", true, true);
      batchIndex = batch;
      unsigned rest = unsigned(p.m % t.rows);
      if (!rest) {
        rows = t.rows;
        body();
        return Values();
      }
      // A tile of full height or the short one at the end.
      llvm::Function *function = b.GetInsertBlock()->getParent();
      auto *full = llvm::BasicBlock::Create(b.getContext(), "full", function),
           *last = llvm::BasicBlock::Create(b.getContext(), "last", function),
           *join = llvm::BasicBlock::Create(b.getContext(), "join", function);
      b.CreateCondBr(b.CreateICmpNE(row, b.getInt64(t.rowTiles - 1)), full, last);
      for (auto [block, height] : {std::pair{full, t.rows}, {last, rest}}) {
        b.SetInsertPoint(block);
        rows = height;
        Point::Scope scope(point);
        body();
        b.CreateBr(join);
      }
      b.SetInsertPoint(join);
      return Values();
    });
  }

  void forColumns(llvm::function_ref<void()> body) {
    int64_t block = int64_t(t.vectors) * t.lanes, full = p.n / block * block;
    auto section = [&](int64_t from, int64_t to, unsigned count, unsigned tail) {
      emitLoop(b, b.getInt64(from), b.getInt64(to), int64_t(count) * t.lanes, {}, [&](llvm::Value *column, Values) {
        Point::Scope scope(point);
        firstColumn = column, vectors = count, lastLanes = tail;
        body();
        return Values();
      });
    };
    section(0, full, t.vectors, 0);
    if (full < p.n) {
      int64_t rest = p.n - full;
      section(full, p.n, unsigned((rest + t.lanes - 1) / t.lanes), unsigned(rest % t.lanes));
    }
  }

  llvm::Constant *maskOf(unsigned count) {
    llvm::SmallVector<llvm::Constant *> bits;
    for (unsigned lane = 0; lane < t.lanes; ++lane)
      bits.push_back(b.getInt1(lane < count));
    return llvm::ConstantVector::get(bits);
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
      if (lastLanes && v + 1 == vectors)
        return b.CreateMaskedLoad(vector, from, align, maskOf(lastLanes), llvm::Constant::getNullValue(vector));
      return b.CreateAlignedLoad(vector, from, align);
    };
    Values zero(rows * vectors, llvm::Constant::getNullValue(vector));
    Values sums = emitLoop(b, b.getInt64(0), b.getInt64(p.k), 1, zero, [&](llvm::Value *k, Values c) {
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
    });
    finish(sums);
  }

  void finish(const Values &sums) {
    int product = -1;
    for (auto [number, node] : llvm::enumerate(epilogue.nodes))
      if (node.op == Opcode::Product)
        product = int(number);
    Point::Scope tileScope(point);
    if (p.batchDim >= 0)
      point.setIndex(p.batchDim, batchIndex);
    // Values that change along columns only (a bias) are loaded once a vector, before the rows.
    for (unsigned v = 0; v < vectors; ++v) {
      Point::Scope columnScope(point);
      llvm::Value *column = b.CreateAdd(firstColumn, b.getInt64(int64_t(v) * t.lanes), "", true, true);
      if (p.nDim >= 0)
        point.setVector(column, 1, v + 1 == vectors ? lastLanes : 0);
      point.evaluate((p.batchDim >= 0 ? 1ull << p.batchDim : 0) | (p.nDim >= 0 ? 1ull << p.nDim : 0));
      for (unsigned r = 0; r < rows; ++r) {
        Point::Scope rowScope(point);
        if (p.mDim >= 0)
          point.setIndex(p.mDim, b.CreateAdd(firstRow, b.getInt64(r), "", true, true));
        if (product >= 0)
          point.define(product, 0, sums[r * vectors + v]);
        for (const Root &root : epilogue.roots)
          point.store(root, 0);
      }
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
  llvm::Value *firstRow = nullptr, *firstColumn = nullptr, *batchIndex = nullptr;
};

} // namespace

llvm::Function *hw::backend::emitContraction(llvm::Module &module, const Target &target, const Product &product,
                                             const Kernel &epilogue, const Tiling &tiling, llvm::StringRef name) {
  Builder b(module.getContext());
  llvm::Function *function = createTask(module, target, name, b);
  auto bases = loadFrame(b, function->getArg(0), epilogue.buffers.size() + 2);
  ContractionEmitter(b, target, product, epilogue, tiling, bases).run(function->getArg(1));
  b.CreateRetVoid();
  return function;
}
