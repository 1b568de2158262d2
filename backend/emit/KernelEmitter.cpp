// The loop nest of a kernel. Order of loops: kept dimensions, the vector dimension last if it is kept; then reduced
// ones, the vector dimension last if it is reduced. Between the two the accumulators live in registers: a sum over rows
// keeps a block of columns there, a sum along rows several partial sums.
#include "backend/emit/KernelEmitter.h"
#include "llvm/IR/Intrinsics.h"
#include "llvm/IR/Module.h"

using namespace hw::backend;
using llvm::Value;

void hw::backend::setTargetAttributes(llvm::Function &function, const Target &target) {
  function.addFnAttr("target-cpu", target.cpu);
  if (!target.features.empty())
    function.addFnAttr("target-features", target.features);
  std::string bits = std::to_string(target.vectorBytes * 8);
  function.addFnAttr("prefer-vector-width", bits);
  function.addFnAttr("min-legal-vector-width", bits);
  function.addFnAttr(llvm::Attribute::NoUnwind);
}

llvm::Function *hw::backend::createTask(llvm::Module &module, const Target &target, llvm::StringRef name, Builder &b) {
  llvm::LLVMContext &context = module.getContext();
  auto *pointer = llvm::PointerType::get(context, 0);
  auto *integer = llvm::Type::getInt64Ty(context);
  auto *type = llvm::FunctionType::get(llvm::Type::getVoidTy(context), {pointer, integer, integer}, false);
  auto *function = llvm::Function::Create(type, llvm::Function::InternalLinkage, name, module);
  setTargetAttributes(*function, target);
  function->addFnAttr(llvm::Attribute::NoInline);
  b.SetInsertPoint(llvm::BasicBlock::Create(context, "entry", function));
  llvm::FastMathFlags flags;
  flags.setAllowContract(true);
  b.setFastMathFlags(flags);
  return function;
}

llvm::SmallVector<Value *, 8> hw::backend::loadFrame(Builder &b, Value *frame, size_t count) {
  llvm::SmallVector<Value *, 8> bases;
  for (size_t i = 0; i < count; ++i) {
    auto *load = b.CreateLoad(b.getPtrTy(), b.CreateConstGEP1_64(b.getPtrTy(), frame, i));
    load->setMetadata(llvm::LLVMContext::MD_invariant_load, llvm::MDNode::get(b.getContext(), {}));
    bases.push_back(load);
  }
  return bases;
}

namespace {

class KernelEmitter {
public:
  KernelEmitter(Builder &b, const Target &target, const Kernel &kernel, llvm::ArrayRef<Value *> bases, Value *low,
                Value *high)
      : b(b), kernel(kernel), schedule(kernel.schedule), low(low), high(high),
        point(b, target, kernel, bases, kernel.schedule.vectorDim, kernel.schedule.lanes) {
    auto append = [&](bool isReduced) {
      for (unsigned dim = 0; dim < kernel.domain.size(); ++dim)
        if (int(dim) != schedule.vectorDim && int(dim) != schedule.blockDim &&
            bool(kernel.reduced >> dim & 1) == isReduced)
          order.push_back(dim);
      if (schedule.blockDim >= 0 && !isReduced)
        order.push_back(unsigned(schedule.blockDim));
      if (schedule.vectorDim >= 0 && bool(kernel.reduced >> schedule.vectorDim & 1) == isReduced)
        order.push_back(schedule.vectorDim);
    };
    append(false);
    kept = order.size();
    append(true);
    vectorIsReduced = schedule.vectorDim >= 0 && kernel.reduced >> schedule.vectorDim & 1;
  }

  void run() {
    Point::Scope scope(point);
    point.evaluate(0);
    nest(0, {}, 0);
  }

private:
  using LoopBody = llvm::function_ref<Values(Value *, Values)>;
  static constexpr int64_t longestChain = Schedule::longestChain;

  std::pair<Value *, Value *> bounds(unsigned dim) {
    if (int(dim) == schedule.rangeDim)
      return {low, high};
    return {b.getInt64(0), b.getInt64(kernel.domain[dim])};
  }

  /// The loops from position `at` of `order` on; `known` are the dimensions of the loops around.
  Values nest(size_t at, Values carried, uint64_t known) {
    if (at == kept && !reducing)
      return reduce(known);
    if (at == order.size())
      return schedule.blockDim >= 0 ? (turnedBody(), Values()) : body(std::move(carried));
    if (int(order[at]) == schedule.blockDim)
      return blocks(at, known);
    unsigned dim = order[at];
    uint64_t inside = known | 1ull << dim;
    auto turn = [&](Values values) {
      Point::Scope scope(point);
      if (at + 1 < order.size())
        point.evaluate(inside);
      return nest(at + 1, std::move(values), inside);
    };
    auto [low, high] = bounds(dim);
    if (int(dim) != schedule.vectorDim)
      return inBlocks(low, high, 1, blocksOf(at, turnsOf(dim)), carried, [&](Value *index, Values values) {
        point.setIndex(dim, index);
        return turn(std::move(values));
      });

    // Blocks of vectors, single vectors, and a masked tail.
    int64_t size = kernel.domain[dim], lanes = schedule.lanes, block = lanes * schedule.unroll;
    auto section = [&](Value *from, Value *to, unsigned copies, Value *mask, Values values) {
      int64_t step = copies * lanes;
      auto lengths = blocksOf(at, (turnsOf(dim) + step - 1) / step);
      return inBlocks(from, to, step, lengths, std::move(values), [&](Value *index, Values inner) {
        point.setVector(index, copies, mask);
        vectorRows = unsigned(mask ? size % lanes : lanes);
        return turn(std::move(inner));
      });
    };
    auto floorTo = [&](Value *length, int64_t multiple) {
      return b.CreateMul(b.CreateSDiv(length, b.getInt64(multiple)), b.getInt64(multiple), "", true, true);
    };
    Value *length = b.CreateSub(high, low, "", true, true);
    Value *fullEnd = b.CreateAdd(low, floorTo(length, lanes), "", true, true), *blockEnd = low;
    if (schedule.unroll > 1) {
      blockEnd = b.CreateAdd(low, floorTo(length, block), "", true, true);
      carried = section(low, blockEnd, schedule.unroll, nullptr, std::move(carried));
    }
    carried = section(blockEnd, fullEnd, 1, nullptr, std::move(carried));
    bool isRange = int(dim) == schedule.rangeDim;
    if (!isRange || schedule.quantum % lanes == 0) { // only the dimension's own end has a tail, and it is known
      if (size % lanes)
        carried = section(fullEnd, high, 1, tailMask(b, lanes, unsigned(size % lanes)), std::move(carried));
      return carried;
    }
    llvm::SmallVector<llvm::Constant *> numbers;
    for (int64_t lane = 0; lane < lanes; ++lane)
      numbers.push_back(b.getInt64(lane));
    Value *rest = b.CreateVectorSplat(unsigned(lanes), b.CreateSub(high, fullEnd, "", true, true));
    Value *mask = lanes == 1 ? nullptr : b.CreateICmpSLT(llvm::ConstantVector::get(numbers), rest);
    return section(fullEnd, high, 1, mask, std::move(carried));
  }

  //===-- Long sums -----------------------------------------------------------------------------------------------===//
  // Each block of turns of a reduced loop sums from zero, and adds what it has to the sum around it: no chain of
  // additions is longer than `longestChain`, and an error grows like the logarithm of the number of terms.

  int64_t turnsOf(unsigned dim) const {
    return int(dim) == schedule.rangeDim && schedule.longest ? std::min(schedule.longest, kernel.domain[dim])
                                                             : kernel.domain[dim];
  }

  /// How many additions one run of the loops from position `at` of `order` on makes to a sum around them.
  int64_t chainOf(size_t at) const {
    if (at == order.size())
      return 1;
    int64_t turns = turnsOf(order[at]);
    if (int(order[at]) == schedule.vectorDim)
      turns = (turns + schedule.lanes * schedule.unroll - 1) / (schedule.lanes * schedule.unroll);
    auto lengths = blocksOf(at, turns);
    return lengths.empty() ? turns * chainOf(at + 1) : (turns + lengths[0] - 1) / lengths[0];
  }

  /// The lengths of blocks, in turns, and of blocks of blocks before them; none where the chain is short.
  llvm::SmallVector<int64_t, 3> blocksOf(size_t at, int64_t turns) const {
    llvm::SmallVector<int64_t, 3> lengths;
    if (!kernel.has(RootKind::Sum) || !(kernel.reduced >> order[at] & 1))
      return lengths;
    int64_t inside = chainOf(at + 1);
    if (turns * inside <= longestChain)
      return lengths;
    lengths.push_back(std::max<int64_t>(1, longestChain / inside));
    while (turns / lengths[0] > longestChain)
      lengths.insert(lengths.begin(), lengths[0] * longestChain);
    return lengths;
  }

  Values inBlocks(Value *low, Value *high, int64_t step, llvm::ArrayRef<int64_t> lengths, Values carried,
                  LoopBody body) {
    if (lengths.empty())
      return emitLoop(b, low, high, step, std::move(carried), body);
    int64_t stride = lengths[0] * step;
    return emitLoop(b, low, high, stride, std::move(carried), [&](Value *first, Values around) {
      Values inside = around;
      eachSum([&](size_t i) { inside[i] = llvm::Constant::getNullValue(around[i]->getType()); });
      if (lengths[0] == 1) {
        inside = body(first, std::move(inside));
      } else {
        Value *end = b.CreateAdd(first, b.getInt64(stride), "", true, true);
        end = b.CreateBinaryIntrinsic(llvm::Intrinsic::smin, end, high);
        inside = inBlocks(first, end, step, lengths.drop_front(), std::move(inside), body);
      }
      eachSum([&](size_t i) { inside[i] = emitAdd(b, around[i], inside[i]); });
      return inside;
    });
  }

  /// Calls f with the position of each sum among the accumulators.
  void eachSum(llvm::function_ref<void(size_t)> f) {
    size_t next = 0, copies = accumulators();
    for (const Root &root : kernel.roots) {
      for (size_t copy = 0; copy < copies && root.kind == RootKind::Sum; ++copy)
        f(next + copy);
      next += root.kind == RootKind::Sum ? copies : root.kind == RootKind::Max ? 2 * copies : 0;
    }
  }

  /// Blocks of as many indices of the block dimension as a vector has lanes.
  Values blocks(size_t at, uint64_t known) {
    unsigned dim = order[at];
    auto [low, high] = bounds(dim);
    int64_t lanes = schedule.lanes, rest = kernel.domain[dim] % lanes;
    Value *full = b.getInt64(kernel.domain[dim] - rest);
    bool isRange = int(dim) == schedule.rangeDim;
    auto section = [&](Value *from, Value *to, int64_t count) {
      emitLoop(b, from, to, lanes, {}, [&](Value *index, Values) {
        Point::Scope scope(point);
        blockBase = index, blockRows = unsigned(count);
        return nest(at + 1, {}, known);
      });
    };
    section(low, isRange ? b.CreateBinaryIntrinsic(llvm::Intrinsic::smin, high, full) : full, lanes);
    if (rest)
      section(isRange ? b.CreateBinaryIntrinsic(llvm::Intrinsic::smax, low, full) : full, high, rest);
    return {};
  }

  /// A square block: what walks along the block dimension is loaded along it and transposed; then row by row.
  void turnedBody() {
    unsigned dim = unsigned(schedule.blockDim), lanes = schedule.lanes;
    point.setIndex(dim, blockBase);
    std::vector<std::pair<int, Values>> turned;
    for (auto [number, node] : llvm::enumerate(kernel.nodes)) {
      if (!isTurned(node, schedule.vectorDim, schedule.blockDim))
        continue;
      Values rows;
      for (unsigned lane = 0; lane < lanes; ++lane)
        rows.push_back(lane < vectorRows ? point.loadAcross(int(number), lane, tailMask(b, lanes, blockRows % lanes))
                                         : llvm::PoisonValue::get(registerType(b.getContext(), node.type, lanes)));
      turned.push_back({int(number), transposed(std::move(rows))});
    }
    for (unsigned row = 0; row < blockRows; ++row) {
      Point::Scope scope(point);
      point.setIndex(dim, b.CreateAdd(blockBase, b.getInt64(row), "", true, true));
      for (auto &[node, vectors] : turned)
        point.define(node, 0, vectors[row]);
      point.loadFirst(0);
      for (const Root &root : kernel.roots)
        point.store(root, 0);
    }
  }

  /// By halves: blocks off the diagonal change places, of one element, then of two, of four, ...
  Values transposed(Values rows) {
    unsigned lanes = unsigned(rows.size());
    for (unsigned half = 1; half < lanes; half *= 2) {
      llvm::SmallVector<int> low, high;
      for (unsigned lane = 0; lane < lanes; ++lane) {
        bool isFirst = lane / half % 2 == 0;
        low.push_back(int(isFirst ? lane : lanes + lane - half));
        high.push_back(int(isFirst ? lane + half : lanes + lane));
      }
      for (unsigned row = 0; row < lanes; ++row)
        if (row / half % 2 == 0) {
          Value *first = rows[row], *second = rows[row + half];
          rows[row] = b.CreateShuffleVector(first, second, low);
          rows[row + half] = b.CreateShuffleVector(first, second, high);
        }
    }
    return rows;
  }

  llvm::Type *accumulatorType(DType type) {
    return registerType(b.getContext(), type, schedule.vectorDim >= 0 ? schedule.lanes : 1);
  }
  unsigned accumulators() { return schedule.vectorDim < 0 ? 1 : vectorIsReduced ? schedule.unroll : point.copies(); }

  /// At the boundary between kept and reduced dimensions: accumulators start, the reduced loops run, results are
  /// stored.
  Values reduce(uint64_t known) {
    reducing = true;
    unsigned copies = accumulators();
    Values carried;
    for (const Root &root : kernel.roots)
      for (unsigned copy = 0; copy < copies && isReduction(root); ++copy) {
        DType type = kernel.bufferTypes[root.buffer];
        llvm::Type *vector = accumulatorType(type);
        if (root.kind == RootKind::Sum) {
          carried.push_back(llvm::Constant::getNullValue(vector));
        } else {
          carried.push_back(isFloat(type) ? llvm::ConstantFP::getInfinity(vector, true) : smallest(type, vector));
          carried.push_back(
              llvm::ConstantInt::getSigned(registerType(b.getContext(), DType::I32, lanesOf(vector)), -1));
        }
      }
    carried = nest(kept, std::move(carried), known);
    size_t next = 0;
    for (const Root &root : kernel.roots)
      if (root.kind == RootKind::Sum)
        finishSum(root, llvm::ArrayRef(carried).slice(next, copies)), next += copies;
      else if (root.kind == RootKind::Max)
        finishMax(root, llvm::ArrayRef(carried).slice(next, 2 * copies)), next += 2 * copies;
    reducing = false;
    return {};
  }

  static bool isReduction(const Root &root) { return root.kind == RootKind::Sum || root.kind == RootKind::Max; }
  static unsigned lanesOf(llvm::Type *type) {
    auto *vector = llvm::dyn_cast<llvm::FixedVectorType>(type);
    return vector ? vector->getNumElements() : 1;
  }
  static llvm::Value *smallest(DType type, llvm::Type *vector) {
    if (isUnsigned(type))
      return llvm::Constant::getNullValue(vector);
    return llvm::ConstantInt::get(vector, llvm::APInt::getSignedMinValue(vector->getScalarSizeInBits()));
  }

  Value *wide(Value *value, llvm::Type *type) {
    return type->isVectorTy() && !value->getType()->isVectorTy() ? b.CreateVectorSplat(lanesOf(type), value) : value;
  }

  Value *rootValue(const Root &root, unsigned copy) {
    return schedule.vectorDim >= 0 ? point.vector(root.node, copy) : point.value(root.node, 0);
  }

  Values body(Values carried) {
    unsigned stride = accumulators();
    for (unsigned copy = 0; copy < (schedule.vectorDim >= 0 ? point.copies() : 1); ++copy) {
      size_t next = 0;
      point.loadFirst(copy);
      for (const Root &root : kernel.roots) {
        switch (root.kind) {
        case RootKind::Store:
          point.store(root, copy);
          break;
        case RootKind::Scatter:
          point.accumulate(root, copy);
          break;
        case RootKind::Sum: {
          Value *&sum = carried[next + copy];
          sum = addTo(sum, root.node, copy, vectorIsReduced ? point.mask() : nullptr);
          next += stride;
          break;
        }
        case RootKind::Max: {
          Value *candidate = rootValue(root, copy), *&best = carried[next + 2 * copy],
                *&at = carried[next + 2 * copy + 1];
          Value *position = reducedIndex(at->getType());
          Value *isBetter = better(kernel.bufferTypes[root.buffer], candidate, best);
          // The first one always wins, even one equal to the least value.
          isBetter = b.CreateOr(isBetter, b.CreateICmpSLT(at, llvm::Constant::getNullValue(at->getType())));
          if (vectorIsReduced && point.mask())
            isBetter = b.CreateAnd(isBetter, point.mask());
          best = b.CreateSelect(isBetter, candidate, best);
          at = b.CreateSelect(isBetter, position, at);
          next += 2 * stride;
          break;
        }
        }
      }
    }
    return carried;
  }

  /// sum + the node's value, where `mask` is set (null: everywhere). Terms chosen against zero are added under a mask,
  /// which costs one instruction in place of two; that leaves a sum of -0 as it is, where adding 0 would make it +0.
  Value *addTo(Value *sum, int node, unsigned copy, Value *mask) {
    const Node &term = kernel.nodes[node];
    auto isZero = [&](int number) {
      return kernel.nodes[number].op == Opcode::Constant && kernel.nodes[number].bits == 0;
    };
    if (term.op == Opcode::Select && isFloat(term.type) && sum->getType()->isVectorTy() && isZero(term.operands[2]) &&
        point.varies(term.operands[0])) {
      Value *chosen = point.vector(term.operands[0], copy);
      Value *added = addTo(sum, term.operands[1], copy, nullptr);
      return b.CreateSelect(mask ? b.CreateAnd(chosen, mask) : chosen, added, sum);
    }
    Value *value = schedule.vectorDim >= 0 ? point.vector(node, copy) : point.value(node, copy);
    if (mask)
      value = b.CreateSelect(mask, value, llvm::Constant::getNullValue(value->getType()));
    return emitAdd(b, sum, value);
  }

  /// Whether x replaces `best`, which came before: larger, or the first NaN.
  Value *better(DType type, Value *x, Value *best) {
    if (!isFloat(type))
      return isUnsigned(type) ? b.CreateICmpUGT(x, best) : b.CreateICmpSGT(x, best);
    return b.CreateOr(b.CreateFCmpOGT(x, best), b.CreateAnd(b.CreateFCmpUNO(x, x), b.CreateFCmpORD(best, best)));
  }

  Value *reducedIndex(llvm::Type *type) {
    Value *index = b.getInt64(0);
    for (unsigned dim = 0; dim < kernel.domain.size(); ++dim)
      if (kernel.reduced >> dim & 1)
        index = point.index(dim);
    index = b.CreateTrunc(index, b.getInt32Ty());
    unsigned lanes = lanesOf(type);
    if (!type->isVectorTy())
      return index;
    Value *wide = b.CreateVectorSplat(lanes, index);
    if (!vectorIsReduced)
      return wide;
    llvm::SmallVector<llvm::Constant *> steps;
    for (unsigned lane = 0; lane < lanes; ++lane)
      steps.push_back(b.getInt32(lane));
    return b.CreateAdd(wide, llvm::ConstantVector::get(steps));
  }

  void finishSum(const Root &root, llvm::ArrayRef<Value *> sums) {
    if (!vectorIsReduced) {
      for (auto [copy, part] : llvm::enumerate(sums)) {
        Value *sum = part;
        if (schedule.accumulates)
          sum = emitAdd(b, wide(point.loadBack(root.buffer, root.address, unsigned(copy)), sum->getType()), sum);
        point.store(root.buffer, root.address, sum, unsigned(copy));
      }
      return;
    }
    Values all(sums.begin(), sums.end());
    while (all.size() > 1) { // pairwise
      Values half;
      for (size_t i = 0; i < all.size(); i += 2)
        half.push_back(i + 1 < all.size() ? emitAdd(b, all[i], all[i + 1]) : all[i]);
      all = std::move(half);
    }
    // Then halves of the vector: the order is fixed here and not left to the code generator.
    Value *sum = all[0];
    for (unsigned lanes = lanesOf(sum->getType()); lanes > 1; lanes /= 2) {
      llvm::SmallVector<int> low, high;
      for (unsigned lane = 0; lane < lanes / 2; ++lane)
        low.push_back(int(lane)), high.push_back(int(lane + lanes / 2));
      sum = emitAdd(b, b.CreateShuffleVector(sum, low), b.CreateShuffleVector(sum, high));
    }
    if (sum->getType()->isVectorTy())
      sum = b.CreateExtractElement(sum, uint64_t(0));
    if (schedule.accumulates)
      sum = emitAdd(b, point.loadBack(root.buffer, root.address, 0), sum);
    point.store(root.buffer, root.address, sum, 0);
  }

  void finishMax(const Root &root, llvm::ArrayRef<Value *> pairs) {
    DType type = kernel.bufferTypes[root.buffer];
    Value *best = pairs[0], *at = pairs[1];
    if (!vectorIsReduced) {
      for (size_t copy = 0; copy < pairs.size() / 2; ++copy)
        storePair(root, pairs[2 * copy], pairs[2 * copy + 1], unsigned(copy));
      return;
    }
    // Lane by lane: a lane that saw nothing has position -1; equal values go to the smaller position.
    unsigned lanes = lanesOf(best->getType());
    auto lane = [&](Value *vector, unsigned i) {
      return lanes == 1 ? vector : b.CreateExtractElement(vector, uint64_t(i));
    };
    Value *bestValue = lane(best, 0), *bestAt = lane(at, 0);
    for (unsigned i = 1; i < lanes; ++i) {
      Value *x = lane(best, i), *position = lane(at, i);
      Value *isEqual = isFloat(type)
                           ? b.CreateOr(b.CreateFCmpOEQ(x, bestValue),
                                        b.CreateAnd(b.CreateFCmpUNO(x, x), b.CreateFCmpUNO(bestValue, bestValue)))
                           : b.CreateICmpEQ(x, bestValue);
      Value *isBetter = b.CreateOr(better(type, x, bestValue), b.CreateAnd(isEqual, b.CreateICmpSLT(position, bestAt)));
      isBetter = b.CreateAnd(b.CreateOr(isBetter, b.CreateICmpSLT(bestAt, b.getInt32(0))),
                             b.CreateICmpSGE(position, b.getInt32(0)));
      bestValue = b.CreateSelect(isBetter, x, bestValue);
      bestAt = b.CreateSelect(isBetter, position, bestAt);
    }
    storePair(root, bestValue, bestAt, 0);
  }

  void storePair(const Root &root, Value *best, Value *at, unsigned copy) {
    point.store(root.buffer, root.address, best, copy);
    point.store(root.indexBuffer, root.address, at, copy);
  }

  Builder &b;
  const Kernel &kernel;
  const Schedule &schedule;
  Value *low, *high; // of the range dimension
  Point point;
  llvm::SmallVector<unsigned> order;
  size_t kept = 0;
  bool vectorIsReduced = false, reducing = false;
  // Where a block of turned loads stands.
  Value *blockBase = nullptr;
  unsigned blockRows = 0, vectorRows = 0;
};

} // namespace

llvm::Function *hw::backend::emitKernel(llvm::Module &module, const Target &target, const Kernel &kernel,
                                        llvm::StringRef name) {
  Builder b(module.getContext());
  llvm::Function *function = createTask(module, target, name, b);
  if (kernel.schedule.isCold)
    function->addFnAttr(llvm::Attribute::OptimizeNone);
  auto bases = loadFrame(b, function->getArg(0), kernel.buffers.size());
  KernelEmitter(b, target, kernel, bases, function->getArg(1), function->getArg(2)).run();
  b.CreateRetVoid();
  return function;
}
