// From hw ops to kernels: every value is followed back from where it is stored to what lies in memory, and each view on
// the way turns into an index.
#include "backend/steps/Trace.h"
#include "backend/dialect/Dialect.h"
#include "backend/graph/View.h"
#include "backend/steps/Elementwise.h"

using namespace mlir;
using namespace hw;
using namespace hw::backend;

namespace {

using Index = SmallVector<Linear, 4>;

class Tracer {
public:
  Tracer(const FusionPlan &plan, const Unit &unit, llvm::function_ref<int(Value)> bufferOf)
      : plan(plan), unit(unit), bufferOf(bufferOf) {
    kernel.domain.assign(unit.domain.begin(), unit.domain.end());
    kernel.reduced = unit.reduced;
    for (const RootSpec &root : unit.roots)
      if (root.kind == RootKind::Store && root.source == root.dest)
        here.insert(root.dest);
  }

  Kernel run() {
    if (unit.kind == Unit::Contract)
      here.insert(unit.op->getResult(0));
    size_t rank = kernel.domain.size();
    Index point;
    for (size_t dim = 0; dim < rank; ++dim)
      point.push_back(Linear::dim(rank, dim));
    for (const RootSpec &spec : unit.roots) {
      Root root{spec.kind, trace(spec.source, point), buffer(spec.dest), destination(spec, point)};
      if (auto max = dyn_cast<ReduceMaxOp>(spec.op); max && spec.kind == RootKind::Max)
        root.indexBuffer = buffer(max.getIndex());
      kernel.roots.push_back(std::move(root));
    }
    return std::move(kernel);
  }

private:
  int buffer(Value value) { return kernel.bufferIndex(bufferOf(value), dtypeOf(elementOf(value))); }

  Linear flat(ArrayRef<int64_t> shape, const Index &index) {
    Linear sum(kernel.domain.size());
    auto strides = stridesOf(shape);
    for (size_t dim = 0; dim < shape.size(); ++dim)
      sum.add(index[dim], strides[dim]);
    return sum;
  }

  Linear destination(const RootSpec &spec, const Index &point) {
    size_t rank = kernel.domain.size();
    auto shape = shapeOf(spec.dest);
    Index index;
    if (spec.kind == RootKind::Sum || spec.kind == RootKind::Max) {
      for (size_t dim = 0; dim < rank; ++dim)
        if (auto sum = dyn_cast<ReduceSumOp>(spec.op);
            sum ? !llvm::is_contained(sum.getDims(), int64_t(dim))
                : int64_t(dim) != int64_t(cast<ReduceMaxOp>(spec.op).getDim()))
          index.push_back(point[dim]);
    } else if (auto pad = dyn_cast<PadOp>(spec.op)) {
      for (size_t dim = 0; dim < rank; ++dim) {
        Linear at(rank);
        at.add(point[dim], pad.getInterior()[dim] + 1);
        at.constant += pad.getLow()[dim];
        index.push_back(at);
      }
    } else if (auto concat = dyn_cast<ConcatOp>(spec.op)) {
      index = point;
      index[concat.getDim()].constant += spec.concatAt;
    } else if (auto scatter = dyn_cast<ScatterAddOp>(spec.op)) {
      size_t indexRank = shapeOf(scatter.getIndices()).size();
      index.push_back(clamped(scatter.getIndices(), Index(point.begin(), point.begin() + indexRank), shape[0]));
      index.append(point.begin() + indexRank, point.end());
    } else {
      index = point;
    }
    return flat(shape, index);
  }

  /// The index tensor's value there, as a term of an address, clamped to 0..size-1.
  Linear clamped(Value indices, const Index &index, int64_t size) {
    Node clamp{Opcode::Clamp, DType::I32, {trace(indices, index)}, Linear(kernel.domain.size())};
    clamp.bits = uint64_t(size - 1);
    Linear term(kernel.domain.size());
    term.dynamic.push_back({kernel.add(std::move(clamp)), 1});
    return term;
  }

  std::string keyOf(Value value, const Index &index) {
    std::string key = std::to_string(reinterpret_cast<uintptr_t>(value.getAsOpaquePointer()));
    for (const Linear &linear : index) {
      key += "|";
      for (int64_t coefficient : linear.coefficients)
        key += std::to_string(coefficient) + ",";
      key += std::to_string(linear.constant);
      for (auto [node, scale] : linear.dynamic)
        key += "@" + std::to_string(node) + "*" + std::to_string(scale);
    }
    return key;
  }

  int trace(Value value, const Index &index) {
    std::string key = keyOf(value, index);
    if (auto at = known.find(key); at != known.end())
      return at->second;
    int node = build(value, index);
    known[key] = node;
    return node;
  }

  int load(Value value, Linear address) {
    Node node{Opcode::Load, dtypeOf(elementOf(value)), {}, std::move(address)};
    node.buffer = buffer(value);
    return kernel.add(std::move(node));
  }

  int build(Value value, const Index &index) {
    size_t rank = kernel.domain.size();
    Operation *op = value.getDefiningOp();
    DType type = dtypeOf(elementOf(value));
    if (isa_and_nonnull<ConstantOp>(op) && !isDenseConstant(value)) {
      auto splat = cast<DenseElementsAttr>(cast<ConstantOp>(op).getValue());
      Node node{Opcode::Constant, type, {}, Linear(rank)};
      if (isa<FloatType>(splat.getElementType()))
        node.bits = splat.getSplatValue<APFloat>().bitcastToAPInt().getZExtValue();
      else
        node.bits = splat.getSplatValue<APInt>().getZExtValue();
      return kernel.add(std::move(node));
    }
    if (!op || (plan.isStored(value) && !here.contains(value)) || isDenseConstant(value))
      return load(value, flat(shapeOf(value), index));
    if (unit.kind == Unit::Contract && value == unit.op->getResult(0))
      return kernel.add({Opcode::Product, type, {}, Linear(rank)});
    if (auto kind = elementwiseOp(op)) {
      Node node{*kind, type, {}, Linear(rank)};
      for (Value operand : op->getOperands())
        node.operands.push_back(trace(operand, index));
      return kernel.add(std::move(node));
    }
    return llvm::TypeSwitch<Operation *, int>(op)
        .Case<StopGradientOp>([&](auto stop) { return trace(stop.getOperand(), index); })
        .Case<BroadcastOp>([&](BroadcastOp broadcast) {
          Index inner;
          for (int64_t dim : broadcast.getDims())
            inner.push_back(index[dim]);
          return trace(broadcast.getOperand(), inner);
        })
        .Case<TransposeOp>([&](TransposeOp transpose) {
          Index inner(index.size());
          for (auto [i, dim] : llvm::enumerate(transpose.getPermutation()))
            inner[dim] = index[i];
          return trace(transpose.getOperand(), inner);
        })
        .Case<SliceOp>([&](SliceOp slice) {
          Index inner;
          for (size_t dim = 0; dim < index.size(); ++dim) {
            Linear at(rank);
            at.add(index[dim], slice.getStride()[dim]);
            at.constant += slice.getStart()[dim];
            inner.push_back(at);
          }
          return trace(slice.getOperand(), inner);
        })
        .Case<WindowsOp>([&](WindowsOp windows) {
          size_t spatial = windows.getStride().size(), leading = index.size() - 2 * spatial;
          Index inner(index.begin(), index.begin() + leading);
          for (size_t dim = 0; dim < spatial; ++dim) {
            Linear at(rank);
            at.add(index[leading + dim], windows.getStride()[dim]);
            at.add(index[leading + spatial + dim], windows.getDilation()[dim]);
            inner.push_back(at);
          }
          return trace(windows.getOperand(), inner);
        })
        .Case<ReverseOp>([&](ReverseOp reverse) {
          Index inner = index;
          for (int64_t dim : reverse.getDims()) {
            Linear at(rank);
            at.add(index[dim], -1);
            at.constant += shapeOf(value)[dim] - 1;
            inner[dim] = at;
          }
          return trace(reverse.getOperand(), inner);
        })
        .Case<ReshapeOp>([&](ReshapeOp reshape) { return traceReshape(reshape, index); })
        .Case<GatherOp>([&](GatherOp gather) {
          size_t indexRank = shapeOf(gather.getIndices()).size();
          Index inner{clamped(gather.getIndices(), Index(index.begin(), index.begin() + indexRank),
                              shapeOf(gather.getOperand())[0])};
          inner.append(index.begin() + indexRank, index.end());
          return trace(gather.getOperand(), inner);
        })
        .Case<IotaOp>([&](IotaOp iota) { return kernel.add({Opcode::Index, type, {}, index[iota.getDim()]}); })
        .Case<RandomBitsOp>([&](RandomBitsOp random) {
          Node node{Opcode::Random,
                    type,
                    {trace(random.getKey(), {}), trace(random.getStep(), {})},
                    flat(shapeOf(value), index)};
          node.bits = uint32_t(random.getSite());
          return kernel.add(std::move(node));
        })
        .Default([](Operation *) -> int { llvm_unreachable("every other op's result is stored"); });
  }

  int traceReshape(ReshapeOp reshape, const Index &index) {
    Value base = reshapedBase(reshape);
    auto from = shapeOf(base), to = shapeOf(reshape.getResult());
    if (!base.getDefiningOp() || (plan.isStored(base) && !here.contains(base)) || isDenseConstant(base))
      return load(base, flat(to, index));
    Index inner;
    if (!differInUnits(from, to)) { // the same number everywhere
      for (size_t dim = 0; dim < from.size(); ++dim)
        inner.push_back(Linear(kernel.domain.size()));
      return trace(base, inner);
    }
    size_t at = 0;
    for (int64_t size : from) {
      while (size != 1 && to[at] == 1)
        ++at;
      inner.push_back(size == 1 ? Linear(kernel.domain.size()) : index[at++]);
    }
    return trace(base, inner);
  }

  const FusionPlan &plan;
  const Unit &unit;
  llvm::function_ref<int(Value)> bufferOf;
  Kernel kernel;
  llvm::DenseSet<Value> here; // stored by this unit at the point where it stands
  std::map<std::string, int> known;
};

} // namespace

Kernel hw::backend::trace(const FusionPlan &plan, const Unit &unit, llvm::function_ref<int(Value)> bufferOf) {
  return Tracer(plan, unit, bufferOf).run();
}
