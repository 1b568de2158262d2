#include "tests/unit/ops_cases.h"
#include "runtime/Philox.h"
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

using namespace mlir;
using namespace hw;
using namespace hw::ops;

//===--------------------------------------------------------------------------------------------------------------===//
// References: each op as plain loops over indices
//===--------------------------------------------------------------------------------------------------------------===//

Number hw::ops::wrapped(Type element, __int128 x) {
  if (isa<FloatType>(element))
    return Number(x);
  unsigned width = element.getIntOrFloatBitWidth();
  auto bits = static_cast<unsigned __int128>(x) & ((static_cast<unsigned __int128>(1) << width) - 1);
  bool isSigned = !element.isUnsignedInteger() && width > 1;
  if (isSigned && (bits >> (width - 1) & 1))
    return Number(__int128(bits) - (__int128(1) << width));
  return Number(bits);
}

namespace {

using Operands = ArrayRef<Tensor>;
using Results = std::vector<Tensor>;
using Index = SmallVector<int64_t>;

RankedTensorType resultType(Operation *op, unsigned i = 0) {
  return cast<RankedTensorType>(op->getResult(i).getType());
}
Tensor empty(RankedTensorType type) { return {type, std::vector<Number>(type.getNumElements(), 0)}; }

size_t flat(ArrayRef<int64_t> shape, ArrayRef<int64_t> index) {
  int64_t at = 0;
  for (auto [size, i] : llvm::zip_equal(shape, index))
    at = at * size + i;
  return size_t(at);
}
Number &at(Tensor &x, ArrayRef<int64_t> index) { return x.values[flat(x.type.getShape(), index)]; }
Number at(const Tensor &x, ArrayRef<int64_t> index) { return x.values[flat(x.type.getShape(), index)]; }

/// Calls f with every index of the shape, in row-major order.
template <class F> void each(ArrayRef<int64_t> shape, F f) {
  Index index(shape.size(), 0);
  int64_t count = std::accumulate(shape.begin(), shape.end(), int64_t(1), std::multiplies<>());
  for (int64_t n = 0; n < count; ++n) {
    f(ArrayRef<int64_t>(index));
    for (size_t dim = shape.size(); dim-- > 0;) {
      if (++index[dim] < shape[dim])
        break;
      index[dim] = 0;
    }
  }
}

/// result[index] = f(index)
template <class F> Results fill(Operation *op, F f) {
  Tensor out = empty(resultType(op));
  each(out.type.getShape(), [&](ArrayRef<int64_t> index) { at(out, index) = f(index); });
  return {std::move(out)};
}

/// f of floats elementwise.
template <auto f> Results unary(Operation *op, Operands x) {
  Tensor out = empty(resultType(op));
  for (size_t i = 0; i < out.values.size(); ++i)
    out.values[i] = f(x[0].values[i]);
  return {std::move(out)};
}

template <auto f> Results elementwise2(Operation *op, Operands x) {
  Tensor out = empty(resultType(op));
  for (size_t i = 0; i < out.values.size(); ++i)
    out.values[i] = f(x[0].values[i], x[1].values[i]);
  return {std::move(out)};
}

/// onFloats elementwise, or onIntegers and the result wrapped around.
template <auto onFloats, auto onIntegers> Results number1(Operation *op, Operands x) {
  Tensor out = empty(resultType(op));
  Type element = out.type.getElementType();
  for (size_t i = 0; i < out.values.size(); ++i)
    out.values[i] =
        isa<FloatType>(element) ? onFloats(x[0].values[i]) : wrapped(element, onIntegers(__int128(x[0].values[i])));
  return {std::move(out)};
}
template <auto onFloats, auto onIntegers> Results number2(Operation *op, Operands x) {
  Tensor out = empty(resultType(op));
  Type element = out.type.getElementType();
  for (size_t i = 0; i < out.values.size(); ++i) {
    Number l = x[0].values[i], r = x[1].values[i];
    out.values[i] = isa<FloatType>(element) ? onFloats(l, r) : wrapped(element, onIntegers(__int128(l), __int128(r)));
  }
  return {std::move(out)};
}

Number sign(Number x) { return std::isnan(x) ? x : Number((x > 0) - (x < 0)); }
Number smaller(Number x, Number y) { return std::isnan(x) ? x : std::isnan(y) ? y : x < y ? x : y; }
Number larger(Number x, Number y) { return std::isnan(x) ? x : std::isnan(y) ? y : x > y ? x : y; }

Results compare(Operation *op, Operands x) {
  StringRef predicate = cast<CompareOp>(op).getPredicate();
  return fill(op, [&](ArrayRef<int64_t> index) -> Number {
    Number l = at(x[0], index), r = at(x[1], index);
    return predicate == "eq"   ? l == r
           : predicate == "ne" ? l != r
           : predicate == "lt" ? l < r
           : predicate == "le" ? l <= r
           : predicate == "gt" ? l > r
                               : l >= r;
  });
}

Results select(Operation *op, Operands x) {
  return fill(op, [&](ArrayRef<int64_t> index) { return at(x[0], index) != 0 ? at(x[1], index) : at(x[2], index); });
}

Results convert(Operation *op, Operands x) {
  Type to = resultType(op).getElementType(), from = x[0].type.getElementType();
  return fill(op, [&](ArrayRef<int64_t> index) -> Number {
    Number value = at(x[0], index);
    if (to.isInteger(1))
      return value != 0;
    if (to.isF32())
      return float(value);
    if (to.isF64())
      return double(value);
    if (isa<IntegerType>(from))
      return wrapped(to, __int128(value));
    if (std::isnan(value))
      return 0;
    unsigned width = to.getIntOrFloatBitWidth();
    bool isUnsigned = to.isUnsignedInteger();
    Number low = isUnsigned ? 0 : -std::ldexp(Number(1), int(width) - 1);
    Number high = std::ldexp(Number(1), int(width) - !isUnsigned) - 1;
    return std::clamp(std::trunc(value), low, high);
  });
}

Results same(Operation *op, Operands x) { return {Tensor{resultType(op), x[0].values}}; }

Results broadcast(Operation *op, Operands x) {
  return fill(op, [&](ArrayRef<int64_t> index) {
    Index inner;
    for (int64_t dim : cast<BroadcastOp>(op).getDims())
      inner.push_back(index[dim]);
    return at(x[0], inner);
  });
}

Results reduceSum(Operation *op, Operands x) {
  Tensor out = empty(resultType(op));
  each(x[0].type.getShape(), [&](ArrayRef<int64_t> index) {
    Index outer;
    for (auto [dim, i] : llvm::enumerate(index))
      if (!llvm::is_contained(cast<ReduceSumOp>(op).getDims(), int64_t(dim)))
        outer.push_back(i);
    Number &sum = at(out, outer);
    Type element = out.type.getElementType();
    sum = isa<FloatType>(element) ? sum + at(x[0], index) : wrapped(element, __int128(sum) + __int128(at(x[0], index)));
  });
  return {std::move(out)};
}

Results transpose(Operation *op, Operands x) {
  return fill(op, [&](ArrayRef<int64_t> index) {
    Index inner(index.size());
    for (auto [i, dim] : llvm::enumerate(cast<hw::TransposeOp>(op).getPermutation()))
      inner[dim] = index[i];
    return at(x[0], inner);
  });
}

Results reverse(Operation *op, Operands x) {
  return fill(op, [&](ArrayRef<int64_t> index) {
    Index inner(index);
    for (int64_t dim : cast<ReverseOp>(op).getDims())
      inner[dim] = x[0].type.getDimSize(dim) - 1 - inner[dim];
    return at(x[0], inner);
  });
}

Results slice(Operation *op, Operands x) {
  auto slice = cast<SliceOp>(op);
  return fill(op, [&](ArrayRef<int64_t> index) {
    Index inner;
    for (auto [i, start, stride] : llvm::zip_equal(index, slice.getStart(), slice.getStride()))
      inner.push_back(start + i * stride);
    return at(x[0], inner);
  });
}

Results pad(Operation *op, Operands x) {
  auto pad = cast<PadOp>(op);
  Tensor out = empty(resultType(op));
  each(x[0].type.getShape(), [&](ArrayRef<int64_t> index) {
    Index outer;
    for (auto [i, low, interior] : llvm::zip_equal(index, pad.getLow(), pad.getInterior()))
      outer.push_back(low + i * (interior + 1));
    at(out, outer) = at(x[0], index);
  });
  return {std::move(out)};
}

Results concat(Operation *op, Operands x) {
  int64_t dim = cast<ConcatOp>(op).getDim();
  return fill(op, [&](ArrayRef<int64_t> index) {
    Index inner(index);
    const Tensor *part = x.begin();
    while (inner[dim] >= part->type.getDimSize(dim))
      inner[dim] -= (part++)->type.getDimSize(dim);
    return at(*part, inner);
  });
}

Results dotGeneral(Operation *op, Operands x) {
  auto dot = cast<DotGeneralOp>(op);
  SmallVector<int64_t> contracted;
  for (int64_t dim : dot.getLhsContract())
    contracted.push_back(x[0].type.getDimSize(dim));
  return fill(op, [&](ArrayRef<int64_t> index) {
    Index l(x[0].type.getRank(), -1), r(x[1].type.getRank(), -1);
    Number sum = 0;
    each(contracted, [&](ArrayRef<int64_t> t) {
      size_t next = 0;
      for (auto [i, dim] : llvm::enumerate(dot.getLhsContract()))
        l[dim] = t[i];
      for (auto [i, dim] : llvm::enumerate(dot.getRhsContract()))
        r[dim] = t[i];
      for (auto [left, right] : llvm::zip_equal(dot.getLhsBatch(), dot.getRhsBatch()))
        l[left] = r[right] = index[next++];
      auto isFree = [](ArrayRef<int64_t> batch, ArrayRef<int64_t> contract, int64_t dim) {
        return !llvm::is_contained(batch, dim) && !llvm::is_contained(contract, dim);
      };
      for (int64_t dim = 0; dim < int64_t(l.size()); ++dim)
        if (isFree(dot.getLhsBatch(), dot.getLhsContract(), dim))
          l[dim] = index[next++];
      for (int64_t dim = 0; dim < int64_t(r.size()); ++dim)
        if (isFree(dot.getRhsBatch(), dot.getRhsContract(), dim))
          r[dim] = index[next++];
      sum += at(x[0], l) * at(x[1], r);
    });
    return sum;
  });
}

/// Calls f(x's index, w's, y's) for every product in y = conv(x, w).
template <class Op, class F>
void eachProduct(Op conv, RankedTensorType w, RankedTensorType x, RankedTensorType y, F f) {
  int64_t groups = conv.getGroups(), outputs = w.getDimSize(0) / groups, inputs = w.getDimSize(1);
  each(y.getShape(), [&](ArrayRef<int64_t> yIndex) {
    each(w.getShape().drop_front(), [&](ArrayRef<int64_t> tap) { // c, k
      Index xIndex{yIndex[0], yIndex[1] / outputs * inputs + tap[0]}, wIndex{yIndex[1]};
      wIndex.append(tap.begin(), tap.end());
      for (size_t i = 0; i < conv.getStride().size(); ++i)
        xIndex.push_back(yIndex[2 + i] * conv.getStride()[i] + tap[1 + i] * conv.getDilation()[i] - conv.getLow()[i]);
      for (auto [i, size] : llvm::zip_equal(xIndex, x.getShape()))
        if (i < 0 || i >= size)
          return;
      f(xIndex, wIndex, yIndex);
    });
  });
}

Results conv(Operation *op, Operands in) {
  Tensor y = empty(resultType(op));
  eachProduct(cast<ConvOp>(op), in[1].type, in[0].type, y.type,
              [&](auto &x, auto &w, ArrayRef<int64_t> i) { at(y, i) += at(in[0], x) * at(in[1], w); });
  return {std::move(y)};
}

Results convBackwardData(Operation *op, Operands in) {
  Tensor x = empty(resultType(op));
  eachProduct(cast<ConvBackwardDataOp>(op), in[1].type, x.type, in[0].type,
              [&](auto &i, auto &w, ArrayRef<int64_t> y) { at(x, i) += at(in[0], y) * at(in[1], w); });
  return {std::move(x)};
}

Results convBackwardWeights(Operation *op, Operands in) {
  Tensor w = empty(resultType(op));
  eachProduct(cast<ConvBackwardWeightsOp>(op), w.type, in[0].type, in[1].type,
              [&](auto &x, auto &i, ArrayRef<int64_t> y) { at(w, i) += at(in[0], x) * at(in[1], y); });
  return {std::move(w)};
}

/// Calls f(index in x, position in the window) for every element of the window that makes pooled[index], in order.
template <class Op, class F> void eachInWindow(Op pool, RankedTensorType x, ArrayRef<int64_t> pooled, F f) {
  size_t leading = x.getRank() - pool.getWindow().size();
  int64_t position = 0;
  each(pool.getWindow(), [&](ArrayRef<int64_t> offset) {
    Index index(pooled.take_front(leading));
    bool isInside = true;
    for (size_t i = 0; i < offset.size(); ++i) {
      index.push_back(pooled[leading + i] * pool.getStride()[i] + offset[i] - pool.getLow()[i]);
      isInside &= index.back() >= 0 && index.back() < x.getDimSize(leading + i);
    }
    if (isInside)
      f(ArrayRef<int64_t>(index), position);
    ++position;
  });
}

Results maxPool(Operation *op, Operands x) {
  Tensor value = empty(resultType(op, 0)), index = empty(resultType(op, 1));
  each(value.type.getShape(), [&](ArrayRef<int64_t> pooled) {
    Number &best = at(value, pooled), &where = at(index, pooled);
    where = -1;
    eachInWindow(cast<MaxPoolOp>(op), x[0].type, pooled, [&](ArrayRef<int64_t> i, int64_t position) {
      Number other = at(x[0], i);
      if (where < 0 || (!std::isnan(best) && (std::isnan(other) || other > best))) {
        best = other;
        where = Number(position);
      }
    });
  });
  return {std::move(value), std::move(index)};
}

Results poolGather(Operation *op, Operands x) {
  return fill(op, [&](ArrayRef<int64_t> pooled) {
    Number found = 0;
    eachInWindow(cast<PoolGatherOp>(op), x[0].type, pooled, [&](ArrayRef<int64_t> i, int64_t position) {
      if (position == at(x[1], pooled))
        found = at(x[0], i);
    });
    return found;
  });
}

Results poolScatter(Operation *op, Operands x) {
  Tensor out = empty(resultType(op));
  each(x[0].type.getShape(), [&](ArrayRef<int64_t> pooled) {
    eachInWindow(cast<PoolScatterOp>(op), out.type, pooled, [&](ArrayRef<int64_t> i, int64_t position) {
      if (position == at(x[1], pooled))
        at(out, i) += at(x[0], pooled);
    });
  });
  return {std::move(out)};
}

Results windowSum(Operation *op, Operands x) {
  return fill(op, [&](ArrayRef<int64_t> pooled) {
    Number sum = 0;
    eachInWindow(cast<WindowSumOp>(op), x[0].type, pooled, [&](ArrayRef<int64_t> i, int64_t) { sum += at(x[0], i); });
    return sum;
  });
}

Results windowSpread(Operation *op, Operands x) {
  Tensor out = empty(resultType(op));
  each(x[0].type.getShape(), [&](ArrayRef<int64_t> pooled) {
    eachInWindow(cast<WindowSpreadOp>(op), out.type, pooled,
                 [&](ArrayRef<int64_t> i, int64_t) { at(out, i) += at(x[0], pooled); });
  });
  return {std::move(out)};
}

/// The row of a tensor of `size` rows that `indices` names there.
int64_t rowAt(const Tensor &indices, ArrayRef<int64_t> index, int64_t size) {
  return std::clamp<int64_t>(int64_t(at(indices, index)), 0, size - 1);
}

Results gather(Operation *op, Operands x) {
  size_t rank = x[1].type.getRank();
  return fill(op, [&](ArrayRef<int64_t> index) {
    Index inner{rowAt(x[1], index.take_front(rank), x[0].type.getDimSize(0))};
    inner.append(index.begin() + rank, index.end());
    return at(x[0], inner);
  });
}

Results scatterAdd(Operation *op, Operands x) {
  size_t rank = x[1].type.getRank();
  Tensor out = empty(resultType(op));
  each(x[0].type.getShape(), [&](ArrayRef<int64_t> index) {
    Index outer{rowAt(x[1], index.take_front(rank), out.type.getDimSize(0))};
    outer.append(index.begin() + rank, index.end());
    at(out, outer) += at(x[0], index);
  });
  return {std::move(out)};
}

Results reduceMax(Operation *op, Operands x) {
  int64_t dim = cast<ReduceMaxOp>(op).getDim();
  Tensor value = empty(resultType(op, 0)), index = empty(resultType(op, 1));
  each(value.type.getShape(), [&](ArrayRef<int64_t> outer) {
    Index inner(outer);
    inner.insert(inner.begin() + dim, 0);
    Number best = at(x[0], inner);
    int64_t where = 0;
    for (int64_t i = 1; i < x[0].type.getDimSize(dim); ++i) {
      inner[dim] = i;
      Number other = at(x[0], inner);
      if (!std::isnan(best) && (std::isnan(other) || other > best)) {
        best = other;
        where = i;
      }
    }
    at(value, outer) = best;
    at(index, outer) = Number(where);
  });
  return {std::move(value), std::move(index)};
}

/// Calls f(batch) for every leading index of a [..., n, n]; element(x, batch, i, j) is a matrix's.
template <class F> void eachMatrix(const Tensor &x, F f) { each(x.type.getShape().drop_back(2), f); }
template <class T> decltype(auto) element(T &x, ArrayRef<int64_t> batch, int64_t i, int64_t j) {
  Index index(batch);
  index.append({i, j});
  return at(x, index);
}

Results cholesky(Operation *op, Operands x) {
  Tensor l = empty(resultType(op));
  int64_t n = l.type.getShape().back();
  eachMatrix(l, [&](ArrayRef<int64_t> batch) {
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j <= i; ++j) {
        Number sum = element(x[0], batch, i, j);
        for (int64_t k = 0; k < j; ++k)
          sum -= element(l, batch, i, k) * element(l, batch, j, k);
        element(l, batch, i, j) = i == j ? std::sqrt(sum) : sum / element(l, batch, j, j);
      }
  });
  return {std::move(l)};
}

Results triangularSolve(Operation *op, Operands x) {
  bool isTransposed = cast<TriangularSolveOp>(op).getTransposed();
  Tensor out = empty(resultType(op));
  int64_t n = x[0].type.getShape().back(), columns = out.type.getShape().back();
  eachMatrix(out, [&](ArrayRef<int64_t> batch) {
    for (int64_t c = 0; c < columns; ++c)
      for (int64_t step = 0; step < n; ++step) {
        int64_t i = isTransposed ? n - 1 - step : step;
        Number sum = element(x[1], batch, i, c);
        for (int64_t k = isTransposed ? i + 1 : 0; k < (isTransposed ? n : i); ++k)
          sum -= (isTransposed ? element(x[0], batch, k, i) : element(x[0], batch, i, k)) * element(out, batch, k, c);
        element(out, batch, i, c) = sum / element(x[0], batch, i, i);
      }
  });
  return {std::move(out)};
}

/// Gauss-Jordan elimination with full search of the column.
Results luSolve(Operation *op, Operands x) {
  Tensor a = x[0], out{resultType(op), x[1].values};
  int64_t n = a.type.getShape().back(), columns = out.type.getShape().back();
  eachMatrix(out, [&](ArrayRef<int64_t> batch) {
    for (int64_t i = 0; i < n; ++i) {
      int64_t pivot = i;
      for (int64_t r = i + 1; r < n; ++r)
        if (std::abs(element(a, batch, r, i)) > std::abs(element(a, batch, pivot, i)))
          pivot = r;
      for (int64_t c = 0; c < n; ++c)
        std::swap(element(a, batch, i, c), element(a, batch, pivot, c));
      for (int64_t c = 0; c < columns; ++c)
        std::swap(element(out, batch, i, c), element(out, batch, pivot, c));
      for (int64_t r = 0; r < n; ++r) {
        if (r == i)
          continue;
        Number factor = element(a, batch, r, i) / element(a, batch, i, i);
        for (int64_t c = 0; c < n; ++c)
          element(a, batch, r, c) -= factor * element(a, batch, i, c);
        for (int64_t c = 0; c < columns; ++c)
          element(out, batch, r, c) -= factor * element(out, batch, i, c);
      }
    }
    for (int64_t i = 0; i < n; ++i)
      for (int64_t c = 0; c < columns; ++c)
        element(out, batch, i, c) /= element(a, batch, i, i);
  });
  return {std::move(out)};
}

Results constant(Operation *op, Operands) {
  Tensor out = empty(resultType(op));
  auto elements = cast<DenseElementsAttr>(cast<hw::ConstantOp>(op).getValue());
  if (isa<FloatType>(out.type.getElementType()))
    for (auto [value, attr] : llvm::zip_equal(out.values, elements.getValues<APFloat>()))
      value = out.type.getElementType().isF32() ? attr.convertToFloat() : attr.convertToDouble();
  else
    for (auto [value, attr] : llvm::zip_equal(out.values, elements.getValues<APInt>()))
      value = wrapped(out.type.getElementType(), __int128(attr.getZExtValue()));
  return {std::move(out)};
}

Results iota(Operation *op, Operands) {
  Type element = resultType(op).getElementType();
  return fill(op, [&](ArrayRef<int64_t> index) { return wrapped(element, index[cast<IotaOp>(op).getDim()]); });
}

Results randomBits(Operation *op, Operands x) {
  Tensor out = empty(resultType(op));
  for (size_t i = 0; i < out.values.size(); ++i) {
    PhiloxCounter words = philox4x32({uint32_t(i), 0, uint32_t(x[1].values[0]), 0},
                                     {uint32_t(x[0].values[0]), uint32_t(cast<RandomBitsOp>(op).getSite())});
    bool isWide = out.type.getElementType().isUnsignedInteger(64);
    out.values[i] = isWide ? Number(uint64_t(words[1]) << 32 | words[0]) : Number(words[0]);
  }
  return {std::move(out)};
}

//===--------------------------------------------------------------------------------------------------------------===//
// Cases
//===--------------------------------------------------------------------------------------------------------------===//

using enum Domain;
using Cases = std::vector<Case>;

/// Every elementwise op gets a scalar, an odd vector and a matrix; the fourth shape goes round.
const char *shapeNumber(size_t n) {
  static const char *shapes[] = {"1xT", "2x3x1x5xT", "20x2x17xT", "33xT", "1x1xT", "129x65xT"};
  return shapes[n % std::size(shapes)];
}
std::vector<const char *> shapes() {
  static size_t turn = 0;
  return {"T", "7xT", "15x17xT", shapeNumber(turn++)};
}

Cases unaryOn(const std::string &op, Domain domain, Derivative derivative = Derivative::Smooth) {
  Cases cases;
  for (const char *shape : shapes())
    cases.push_back({"hw." + op + " %x : $x", {{shape, domain}}, derivative});
  return cases;
}
Cases binaryOn(const std::string &op, Domain left, Domain right) {
  Cases cases;
  for (const char *shape : shapes())
    cases.push_back({"hw." + op + " %x, %y : $x", {{shape, left}, {shape, right}}});
  return cases;
}

/// The op on every kind of integer, too.
Cases withIntegers(Cases cases, const std::string &op, unsigned operands, Domain second = Integer) {
  static const char *types[] = {"17xi8", "3x7xui8", "33xi32", "5x4xui32", "19xui64"};
  for (const char *type : types) {
    std::vector<Input> inputs{{type, Integer}};
    if (operands == 2)
      inputs.push_back({type, second});
    cases.push_back({"hw." + op + (operands == 2 ? " %x, %y : $x" : " %x : $x"), inputs, Derivative::None});
  }
  return cases;
}

Cases plus(Cases cases, Cases more) {
  cases.insert(cases.end(), more.begin(), more.end());
  return cases;
}

Cases comparisons() {
  Cases cases;
  const char *types[] = {"17xT", "5x7xi32", "33xui8", "19xi8", "20xui32", "9xui64", "35xi1"};
  const char *predicates[] = {"eq", "ne", "lt", "le", "gt", "ge"};
  for (size_t i = 0; i < std::size(types); ++i)
    for (size_t j = 0; j < std::size(predicates); ++j)
      if (i == 0 || (i + j) % 2) {
        std::string result = types[i];
        result = result.substr(0, result.rfind('x')) + "xi1";
        Domain domain = i ? Integer : Ties;
        cases.push_back({std::string("hw.compare \"") + predicates[j] + "\" %x, %y : $x -> tensor<" + result + ">",
                         {{types[i], domain}, {types[i], domain}},
                         i ? Derivative::None : Derivative::Zero});
      }
  return cases;
}

Cases casts() {
  const char *types[] = {"f32", "f64", "i1", "i8", "ui8", "i32", "ui32", "ui64"};
  static std::vector<std::string> kept;
  kept.reserve(64);
  Cases cases;
  for (const char *from : types)
    for (const char *to : types) {
      bool fromFloat = from[0] == 'f', toFloat = to[0] == 'f';
      kept.push_back(std::string("3x11x") + from);
      Case c{"hw.cast %x : $x -> tensor<3x11x" + std::string(to) + ">",
             {{kept.back().c_str(), fromFloat ? Any : Integer}}};
      c.derivative = !fromFloat ? Derivative::None : toFloat ? Derivative::Smooth : Derivative::Zero;
      cases.push_back(c);
      if (fromFloat) {
        c.inputs[0].domain = Wide;
        c.derivative = toFloat ? Derivative::None : Derivative::Zero;
        cases.push_back(c);
      }
    }
  return cases;
}

Case dot(const char *x, const char *y, const std::string &batch, const std::string &contract,
         const std::string &result) {
  return {"hw.dot_general %x, %y batch " + batch + " contract " + contract + " : ($x, $y) -> tensor<" + result + ">",
          {{x}, {y}}};
}

/// x, w and y of a convolution, and its geometry: "stride pad dilation groups".
struct Geometry {
  const char *x, *w, *y, *text;
};
const Geometry convolutions[] = {
    {"2x3x9xT", "4x3x3xT", "2x4x7xT", "stride [1] pad [0] [0] dilation [1] groups 1"},
    {"2x1x6x7xT", "15x1x3x3xT", "2x15x6x7xT", "stride [1, 1] pad [1, 1] [1, 1] dilation [1, 1] groups 1"},
    {"1x15x5x6xT", "17x15x3x3xT", "1x17x3x3xT", "stride [2, 2] pad [1, 1] [1, 1] dilation [1, 1] groups 1"},
    {"2x17x4x3xT", "20x17x1x1xT", "2x20x4x3xT", "stride [1, 1] pad [0, 0] [0, 0] dilation [1, 1] groups 1"},
    {"1x20x7x8xT", "1x20x3x2xT", "1x1x5x6xT", "stride [1, 1] pad [1, 1] [1, 0] dilation [2, 3] groups 1"},
    {"2x6x5x5xT", "9x2x3x3xT", "2x9x5x5xT", "stride [1, 1] pad [1, 1] [1, 1] dilation [1, 1] groups 3"},
    {"1x4x6x7xT", "8x1x3x3xT", "1x8x3x6xT", "stride [2, 1] pad [1, 0] [0, 1] dilation [1, 1] groups 4"},
    // More padding than the kernel reaches; what a stride leaves over; gaps between windows; both.
    {"1x2x3x3xT", "2x2x1x2xT", "1x2x6x5xT", "stride [1, 1] pad [2, 0] [1, 3] dilation [1, 1] groups 1"},
    {"1x2x8x7xT", "3x2x3x3xT", "1x3x2x2xT", "stride [3, 3] pad [0, 0] [0, 0] dilation [1, 1] groups 1"},
    {"2x2x11x7xT", "2x2x2x2xT", "2x2x3x2xT", "stride [4, 4] pad [1, 0] [0, 1] dilation [1, 1] groups 1"},
    {"1x4x9x5xT", "2x2x2x3xT", "1x2x4x2xT", "stride [2, 3] pad [0, 4] [1, 0] dilation [3, 2] groups 2"},
    {"3x4xT", "5x4xT", "3x5xT", "stride [] pad [] [] dilation [] groups 1"},
    {"1x2x3x4x3xT", "2x2x2x2x2xT", "1x2x2x3x2xT",
     "stride [1, 1, 1] pad [0, 0, 0] [0, 0, 0] dilation [1, 1, 1] groups 1"},
    {"0x2x4x4xT", "3x2x3x3xT", "0x3x2x2xT", "stride [1, 1] pad [0, 0] [0, 0] dilation [1, 1] groups 1"},
    // Enough for several tasks.
    {"4x3x14x14xT", "16x3x5x5xT", "4x16x14x14xT", "stride [1, 1] pad [2, 2] [2, 2] dilation [1, 1] groups 1"},
};

/// `op` of two of the three on every geometry.
Cases convolved(const std::string &op, const char *Geometry::*a, const char *Geometry::*b,
                const char *Geometry::*made) {
  Cases cases;
  for (const Geometry &g : convolutions)
    cases.push_back({"hw." + op + " %x, %y " + g.text + " : ($x, $y) -> tensor<" + g.*made + ">", {{g.*a}, {g.*b}}});
  return cases;
}

/// x and what is pooled of it: windows that meet, overlap, leave gaps, lie partly in the padding, leave elements over;
/// of one, two and three dimensions, and large.
struct Pooling {
  const char *x, *pooled, *text;
  int64_t elements; ///< of a window
};
const Pooling poolings[] = {
    {"3x17xT", "3x8xT", "window [2] stride [2] pad [0] [0]", 2},
    {"2x15x6x8xT", "2x15x3x4xT", "window [2, 2] stride [2, 2] pad [0, 0] [0, 0]", 4},
    {"1x20x7x7xT", "1x20x4x4xT", "window [3, 3] stride [2, 2] pad [1, 1] [1, 1]", 9},
    {"2x1x5x6xT", "2x1x5x6xT", "window [3, 2] stride [1, 1] pad [1, 0] [1, 1]", 6},
    {"17x9x8xT", "17x3x2xT", "window [2, 3] stride [4, 5] pad [1, 0] [0, 0]", 6},
    {"2x3x4x5xT", "2x2x2x3xT", "window [2, 2, 1] stride [1, 2, 2] pad [0, 0, 0] [0, 0, 0]", 4},
    {"3x7x8xT", "3x1x1xT", "window [7, 8] stride [1, 1] pad [0, 0] [0, 0]", 56},
    {"3x9x7xT", "3x3x4xT", "window [6, 6] stride [3, 2] pad [2, 3] [1, 2]", 36},
    {"4x16x28x28xT", "4x16x14x14xT", "window [2, 2] stride [2, 2] pad [0, 0] [0, 0]", 4},
    // Channels last.
    {"2x9x7x20xT", "2x4x3x20xT", "window [2, 2, 1] stride [2, 2, 1] pad [0, 0, 0] [0, 0, 0]", 4},
    {"2x7x6x20xT", "2x4x3x20xT", "window [3, 3, 1] stride [2, 2, 1] pad [1, 1, 0] [1, 1, 0]", 9},
    {"2x4x5xT", "2x4x5xT", "window [1, 1] stride [1, 1] pad [0, 0] [0, 0]", 1},
    // Over all dimensions: nothing else may be done row by row.
    {"17xT", "8xT", "window [3] stride [2] pad [0] [0]", 3},
    {"64x9xT", "32x9xT", "window [2, 1] stride [2, 1] pad [0, 0] [0, 0]", 2},
    {"300x33xT", "300x33xT", "window [3, 1] stride [1, 1] pad [1, 0] [1, 0]", 3},
};

Cases maxPools() {
  Cases cases;
  for (Domain domain : {Distinct, Ties, Wide})
    for (const Pooling &p : poolings) {
      std::string index = std::string(p.pooled, std::strlen(p.pooled) - 1) + "i32";
      cases.push_back(
          {"hw.max_pool %x " + std::string(p.text) + " : $x -> tensor<" + p.pooled + ">, tensor<" + index + ">",
           {{p.x, domain}},
           domain == Distinct ? Derivative::Smooth : Derivative::None});
    }
  return cases;
}

/// `op` of x to what is pooled of it, or the other way; with an index, among them some outside of the window.
Cases pooled(const std::string &op, const char *Pooling::*from, const char *Pooling::*to, bool isIndexed) {
  static std::vector<std::string> kept;
  kept.reserve(64);
  Cases cases;
  for (const Pooling &p : poolings) {
    std::string operands = isIndexed ? "%x at %y " : "%x ", types = isIndexed ? "($x, $y)" : "$x";
    Case c{"hw." + op + " " + operands + p.text + " : " + types + " -> tensor<" + p.*to + ">", {{p.*from}}};
    if (isIndexed) {
      kept.push_back(std::string(p.pooled, std::strlen(p.pooled) - 1) + "i32");
      c.inputs.push_back({kept.back().c_str(), Rows, p.elements});
    }
    cases.push_back(c);
  }
  return cases;
}

std::vector<Row> makeRows() {
  std::vector<Row> table;
  auto row = [&](Row r) { table.push_back(std::move(r)); };
  // clang-format off

  // Elementwise, one operand.
  row({"neg", number1<[](Number x) { return -x; }, [](__int128 x) { return -x; }>, withIntegers(unaryOn("neg", Any), "neg", 1), {{0}}});
  row({"exp", unary<[](Number x) { return std::exp(x); }>, unaryOn("exp", Any)});
  row({"expm1", unary<[](Number x) { return std::expm1(x); }>, unaryOn("expm1", Any)});
  row({"log", unary<[](Number x) { return std::log(x); }>, unaryOn("log", Positive)});
  row({"log1p", unary<[](Number x) { return std::log1p(x); }>, unaryOn("log1p", AboveMinusOne)});
  row({"log2", unary<[](Number x) { return std::log2(x); }>, unaryOn("log2", Positive)});
  row({"log10", unary<[](Number x) { return std::log10(x); }>, unaryOn("log10", Positive)});
  row({"sqrt", unary<[](Number x) { return std::sqrt(x); }>, unaryOn("sqrt", Positive)});
  row({"sin", unary<[](Number x) { return std::sin(x); }>, unaryOn("sin", Any)});
  row({"cos", unary<[](Number x) { return std::cos(x); }>, unaryOn("cos", Any)});
  row({"tanh", unary<[](Number x) { return std::tanh(x); }>, unaryOn("tanh", Any)});
  row({"sinh", unary<[](Number x) { return std::sinh(x); }>, unaryOn("sinh", Any)});
  row({"cosh", unary<[](Number x) { return std::cosh(x); }>, unaryOn("cosh", Any)});
  row({"logistic", unary<[](Number x) { return 1 / (1 + std::exp(-x)); }>, unaryOn("logistic", Any)});
  row({"erf", unary<[](Number x) { return std::erf(x); }>, unaryOn("erf", Any)});
  row({"asinh", unary<[](Number x) { return std::asinh(x); }>, unaryOn("asinh", Any)});
  row({"abs", number1<[](Number x) { return std::abs(x); }, [](__int128 x) { return x < 0 ? -x : x; }>, withIntegers(unaryOn("abs", NonZero), "abs", 1)});
  row({"sign", unary<sign>, unaryOn("sign", NonZero, Derivative::Zero)});
  row({"floor", unary<[](Number x) { return std::floor(x); }>, unaryOn("floor", Any, Derivative::Zero)});
  row({"not", unary<[](Number x) { return Number(x == 0); }>, {{"hw.not %x : $x", {{"17xi1", Integer}}, Derivative::None}, {"hw.not %x : $x", {{"i1", Integer}}, Derivative::None}}});
  row({"stop_gradient", same, plus(unaryOn("stop_gradient", Any, Derivative::Zero), {{"hw.stop_gradient %x : $x", {{"4xi32", Integer}}, Derivative::None}})});

  // Elementwise, two operands and three.
  row({"add", number2<[](Number x, Number y) { return x + y; }, [](__int128 x, __int128 y) { return x + y; }>, withIntegers(binaryOn("add", Any, Any), "add", 2), {{0, 1}}});
  row({"sub", number2<[](Number x, Number y) { return x - y; }, [](__int128 x, __int128 y) { return x - y; }>, withIntegers(binaryOn("sub", Any, Any), "sub", 2), {{0, 1}}});
  row({"mul", number2<[](Number x, Number y) { return x * y; }, [](__int128 x, __int128 y) { return x * y; }>, withIntegers(binaryOn("mul", Any, Any), "mul", 2), {{0}, {1}}});
  row({"scale", elementwise2<[](Number x, Number y) { return x == 0 ? 0 : x * y; }>, binaryOn("scale", Any, Any), {{0}, {1}}});
  row({"unscale", elementwise2<[](Number x, Number y) { return x == 0 ? 0 : x / y; }>, binaryOn("unscale", Any, NonZero), {{0}}});
  row({"div", number2<[](Number x, Number y) { return x / y; }, [](__int128 x, __int128 y) { return x / y; }>, withIntegers(binaryOn("div", Any, NonZero), "div", 2, Whole), {{0}}});
  row({"pow", elementwise2<[](Number x, Number y) { return std::pow(x, y); }>, plus(binaryOn("pow", Positive, Any),
      {{"hw.pow %x, %y : $x", {{"5x7xT", NonZero}, {"5x7xT", Whole}}, Derivative::Smooth, {0}}})});
  row({"min", number2<smaller, [](__int128 x, __int128 y) { return std::min(x, y); }>, withIntegers(binaryOn("min", Left, Right), "min", 2)});
  row({"max", number2<larger, [](__int128 x, __int128 y) { return std::max(x, y); }>, withIntegers(binaryOn("max", Left, Right), "max", 2)});
  row({"compare", compare, comparisons()});
  row({"and", number2<larger, [](__int128 x, __int128 y) { return x & y; }>, {{"hw.and %x, %y : $x", {{"3x7xi1", Integer}, {"3x7xi1", Integer}}, Derivative::None}}});
  row({"or", number2<larger, [](__int128 x, __int128 y) { return x | y; }>, {{"hw.or %x, %y : $x", {{"3x7xi1", Integer}, {"3x7xi1", Integer}}, Derivative::None}}});
  row({"select", select, {
      {"hw.select %x, %y, %z : $x, $y", {{"i1", Integer}, {"T"}, {"T"}}},
      {"hw.select %x, %y, %z : $x, $y", {{"15x17xi1", Integer}, {"15x17xT"}, {"15x17xT"}}},
      {"hw.select %x, %y, %z : $x, $y", {{"33xi1", Integer}, {"33xi32", Integer}, {"33xi32", Integer}}, Derivative::None},
      {"hw.select %x, %y, %z : $x, $y", {{"20xi1", Integer}, {"20xui64", Integer}, {"20xui64", Integer}}, Derivative::None},
      {"hw.select %x, %y, %z : $x, $y", {{"9xi1", Integer}, {"9xi1", Integer}, {"9xi1", Integer}}, Derivative::None}}, {{1, 2}}});
  row({"cast", convert, casts(), {{0}}});

  // Movement.
  row({"broadcast", broadcast, {
      {"hw.broadcast %x dims [] : $x -> tensor<T>", {{"T"}}},
      {"hw.broadcast %x dims [] : $x -> tensor<15xT>", {{"T"}}},
      {"hw.broadcast %x dims [] : $x -> tensor<3x1x5xT>", {{"T"}}},
      {"hw.broadcast %x dims [1] : $x -> tensor<17x20xT>", {{"20xT"}}},
      {"hw.broadcast %x dims [0] : $x -> tensor<33x7xT>", {{"33xT"}}},
      {"hw.broadcast %x dims [0, 2] : $x -> tensor<3x4x5xT>", {{"3x5xT"}}},
      {"hw.broadcast %x dims [1, 2] : $x -> tensor<2x3x5x4xT>", {{"3x5xT"}}},
      {"hw.broadcast %x dims [1] : $x -> tensor<4x1x3xT>", {{"1xT"}}},
      {"hw.broadcast %x dims [0, 1] : $x -> tensor<3x7xT>", {{"3x7xT"}}},
      {"hw.broadcast %x dims [1] : $x -> tensor<300x257xT>", {{"257xT"}}},
      {"hw.broadcast %x dims [1] : $x -> tensor<0x7xT>", {{"7xT"}}},
      {"hw.broadcast %x dims [1] : $x -> tensor<3x7xui8>", {{"7xui8", Integer}}, Derivative::None}}, {{0}}, true});
  row({"reduce_sum", reduceSum, {
      {"hw.reduce_sum %x dims [] : $x -> tensor<T>", {{"T"}}},
      {"hw.reduce_sum %x dims [] : $x -> tensor<3x5xT>", {{"3x5xT"}}},
      {"hw.reduce_sum %x dims [0] : $x -> tensor<T>", {{"17xT"}}},
      {"hw.reduce_sum %x dims [0] : $x -> tensor<20xT>", {{"15x20xT"}}},
      {"hw.reduce_sum %x dims [1] : $x -> tensor<15xT>", {{"15x20xT"}}},
      {"hw.reduce_sum %x dims [0, 1] : $x -> tensor<T>", {{"7x33xT"}}},
      {"hw.reduce_sum %x dims [0, 2] : $x -> tensor<5xT>", {{"3x5x7xT"}}},
      {"hw.reduce_sum %x dims [1, 3] : $x -> tensor<2x4xT>", {{"2x3x4x5xT"}}},
      {"hw.reduce_sum %x dims [1] : $x -> tensor<3x5xT>", {{"3x1x5xT"}}},
      {"hw.reduce_sum %x dims [0, 1] : $x -> tensor<T>", {{"257x301xT"}}},
      {"hw.reduce_sum %x dims [0] : $x -> tensor<33xT>", {{"2001x33xT"}}},
      {"hw.reduce_sum %x dims [1] : $x -> tensor<129xT>", {{"129x700xT"}}},
      {"hw.reduce_sum %x dims [0] : $x -> tensor<3xT>", {{"0x3xT"}}},
      {"hw.reduce_sum %x dims [1] : $x -> tensor<0xT>", {{"0x3xT"}}},
      {"hw.reduce_sum %x dims [0] : $x -> tensor<7xi32>", {{"20x7xi32", Integer}}, Derivative::None},
      {"hw.reduce_sum %x dims [1] : $x -> tensor<20xui8>", {{"20x7xui8", Integer}}, Derivative::None},
      {"hw.reduce_sum %x dims [0] : $x -> tensor<ui64>", {{"35xui64", Integer}}, Derivative::None}}, {{0}}, true});
  row({"reshape", same, {
      {"hw.reshape %x : $x -> tensor<1x1xT>", {{"T"}}},
      {"hw.reshape %x : $x -> tensor<T>", {{"1x1xT"}}},
      {"hw.reshape %x : $x -> tensor<5x3xT>", {{"15xT"}}},
      {"hw.reshape %x : $x -> tensor<4x15xT>", {{"2x6x5xT"}}},
      {"hw.reshape %x : $x -> tensor<1x7x1x3xT>", {{"7x3xT"}}},
      {"hw.reshape %x : $x -> tensor<21xi1>", {{"3x7xi1", Integer}}, Derivative::None}}, {{0}}});
  row({"transpose", transpose, {
      {"hw.transpose %x permutation [] : $x -> tensor<T>", {{"T"}}},
      {"hw.transpose %x permutation [1, 0] : $x -> tensor<17x15xT>", {{"15x17xT"}}},
      {"hw.transpose %x permutation [2, 0, 1] : $x -> tensor<5x3x4xT>", {{"3x4x5xT"}}},
      {"hw.transpose %x permutation [1, 2, 0] : $x -> tensor<4x5x3xT>", {{"3x4x5xT"}}},
      {"hw.transpose %x permutation [0, 2, 1, 3] : $x -> tensor<2x4x3x5xT>", {{"2x3x4x5xT"}}},
      {"hw.transpose %x permutation [3, 1, 0, 2] : $x -> tensor<5x3x2x4xT>", {{"2x3x4x5xT"}}},
      {"hw.transpose %x permutation [1, 0] : $x -> tensor<301x257xT>", {{"257x301xT"}}},
      {"hw.transpose %x permutation [1, 0] : $x -> tensor<20x7xui8>", {{"7x20xui8", Integer}}, Derivative::None}}, {{0}}});
  row({"reverse", reverse, {
      {"hw.reverse %x dims [0] : $x", {{"17xT"}}},
      {"hw.reverse %x dims [1] : $x", {{"3x20xT"}}},
      {"hw.reverse %x dims [0, 2] : $x", {{"3x4x5xT"}}},
      {"hw.reverse %x dims [] : $x", {{"3x2xT"}}},
      {"hw.reverse %x dims [0] : $x", {{"9xi32", Integer}}, Derivative::None}}, {{0}}});
  row({"slice", slice, {
      {"hw.slice %x [] [] [] : $x -> tensor<T>", {{"T"}}},
      {"hw.slice %x [2] [15] [1] : $x -> tensor<13xT>", {{"17xT"}}},
      {"hw.slice %x [1] [17] [3] : $x -> tensor<6xT>", {{"17xT"}}},
      {"hw.slice %x [1, 0] [3, 20] [1, 7] : $x -> tensor<2x3xT>", {{"4x20xT"}}},
      {"hw.slice %x [0, 1, 2] [3, 4, 5] [2, 1, 2] : $x -> tensor<2x3x2xT>", {{"3x4x5xT"}}},
      {"hw.slice %x [3] [4] [5] : $x -> tensor<1xT>", {{"7xT"}}},
      {"hw.slice %x [2, 0] [2, 3] [1, 1] : $x -> tensor<0x3xT>", {{"7x3xT"}}},
      {"hw.slice %x [1, 2] [5, 4] [2, 1] : $x -> tensor<2x2xi8>", {{"6x5xi8", Integer}}, Derivative::None}}, {{0}}});
  row({"pad", pad, {
      {"hw.pad %x [] [] [] : $x -> tensor<T>", {{"T"}}},
      {"hw.pad %x [2] [3] [0] : $x -> tensor<12xT>", {{"7xT"}}},
      {"hw.pad %x [0] [1] [2] : $x -> tensor<20xT>", {{"7xT"}}},
      {"hw.pad %x [1, 0] [0, 2] [1, 3] : $x -> tensor<6x23xT>", {{"3x6xT"}}},
      {"hw.pad %x [0, 1, 2] [3, 0, 1] [0, 1, 0] : $x -> tensor<5x6x8xT>", {{"2x3x5xT"}}},
      {"hw.pad %x [2] [2] [4] : $x -> tensor<5xT>", {{"1xT"}}},
      {"hw.pad %x [1] [2] [3] : $x -> tensor<3xT>", {{"0xT"}}},
      {"hw.pad %x [1] [0] [1] : $x -> tensor<6xi32>", {{"3xi32", Integer}}, Derivative::None}}, {{0}}});
  row({"concat", concat, {
      {"hw.concat %x dim 0 : ($x) -> tensor<7xT>", {{"7xT"}}},
      {"hw.concat %x, %y dim 0 : ($x, $y) -> tensor<22xT>", {{"7xT"}, {"15xT"}}},
      {"hw.concat %x, %y, %z dim 1 : ($x, $y, $z) -> tensor<3x23xT>", {{"3x2xT"}, {"3x20xT"}, {"3x1xT"}}},
      {"hw.concat %x, %y dim 0 : ($x, $y) -> tensor<5x4x7xT>", {{"2x4x7xT"}, {"3x4x7xT"}}},
      {"hw.concat %x, %y dim 2 : ($x, $y) -> tensor<2x3x6xT>", {{"2x3x5xT"}, {"2x3x1xT"}}},
      {"hw.concat %x, %y dim 0 : ($x, $y) -> tensor<2x3xT>", {{"0x3xT"}, {"2x3xT"}}},
      {"hw.concat %x, %x dim 0 : ($x, $x) -> tensor<14xT>", {{"7xT"}}},
      {"hw.concat %x, %y dim 0 : ($x, $y) -> tensor<5xui8>", {{"2xui8", Integer}, {"3xui8", Integer}}, Derivative::None}}, {{-1}}});

  // Contraction: every orientation, several batch, free and contracted dimensions, widths beside the vectors' and tiles'.
  row({"dot_general", dotGeneral, {
      dot("T", "T", "[] x []", "[] x []", "T"),
      dot("7xT", "7xT", "[] x []", "[0] x [0]", "T"),
      dot("7xT", "15xT", "[] x []", "[] x []", "7x15xT"),
      dot("15x17xT", "17xT", "[] x []", "[1] x [0]", "15xT"),
      dot("17xT", "17x20xT", "[] x []", "[0] x [0]", "20xT"),
      dot("15x17xT", "17x20xT", "[] x []", "[1] x [0]", "15x20xT"),
      dot("17x15xT", "17x20xT", "[] x []", "[0] x [0]", "15x20xT"),
      dot("15x17xT", "20x17xT", "[] x []", "[1] x [1]", "15x20xT"),
      dot("17x15xT", "20x17xT", "[] x []", "[0] x [1]", "15x20xT"),
      dot("33x1xT", "1x20xT", "[] x []", "[1] x [0]", "33x20xT"),
      dot("1x33xT", "33x1xT", "[] x []", "[1] x [0]", "1x1xT"),
      dot("3x0xT", "0x4xT", "[] x []", "[1] x [0]", "3x4xT"),
      dot("0x3xT", "3x4xT", "[] x []", "[1] x [0]", "0x4xT"),
      dot("5x1xT", "5x9xT", "[] x []", "[0] x [0]", "1x9xT"),
      dot("3x5x7xT", "3x7x4xT", "[0] x [0]", "[2] x [1]", "3x5x4xT"),
      dot("5x3x7xT", "7x4x3xT", "[1] x [2]", "[2] x [0]", "3x5x4xT"),
      dot("7x5x3xT", "4x3x7xT", "[2] x [1]", "[0] x [2]", "3x5x4xT"),
      dot("2x3x4x5xT", "3x2x5x6xT", "[0, 1] x [1, 0]", "[3] x [2]", "2x3x4x6xT"),
      dot("3x4x5xT", "5x4x7xT", "[] x []", "[1, 2] x [1, 0]", "3x7xT"),
      dot("2x3x5xT", "5x4x2xT", "[] x []", "[2] x [0]", "2x3x4x2xT"),
      dot("3x7xT", "3x7xT", "[0] x [0]", "[1] x [1]", "3xT"),
      dot("3x7xT", "3x7xT", "[0, 1] x [0, 1]", "[] x []", "3x7xT"),
      dot("2x3xT", "4x3xT", "[1] x [1]", "[] x []", "3x2x4xT"),
      dot("130x67xT", "67x65xT", "[] x []", "[1] x [0]", "130x65xT"),
      dot("300x33xT", "300x20xT", "[] x []", "[0] x [0]", "33x20xT"),
      dot("64x60xT", "30x60xT", "[] x []", "[1] x [1]", "64x30xT"),
      {"hw.dot_general %x, %x batch [] x [] contract [0] x [0] : ($x, $x) -> tensor<7x7xT>", {{"5x7xT"}}, Derivative::Smooth}},
      {{0}, {1}}, true});

  // Convolution and pooling.
  row({"conv", conv, convolved("conv", &Geometry::x, &Geometry::w, &Geometry::y), {{0}, {1}}, true});
  row({"conv_backward_data", convBackwardData, convolved("conv_backward_data", &Geometry::y, &Geometry::w, &Geometry::x), {{0}, {1}}, true});
  row({"conv_backward_weights", convBackwardWeights, convolved("conv_backward_weights", &Geometry::x, &Geometry::y, &Geometry::w), {{0}, {1}}, true});
  row({"max_pool", maxPool, maxPools()});
  row({"pool_gather", poolGather, pooled("pool_gather", &Pooling::x, &Pooling::pooled, true), {{0}}});
  row({"pool_scatter", poolScatter, pooled("pool_scatter", &Pooling::pooled, &Pooling::x, true), {{0}}, true});
  row({"window_sum", windowSum, pooled("window_sum", &Pooling::x, &Pooling::pooled, false), {{0}}, true});
  row({"window_spread", windowSpread, pooled("window_spread", &Pooling::pooled, &Pooling::x, false), {{0}}, true});

  // Index.
  row({"gather", gather, {
      {"hw.gather %x at %y : ($x, $y) -> tensor<T>", {{"5xT"}, {"i32", Rows, 5}}},
      {"hw.gather %x at %y : ($x, $y) -> tensor<17xT>", {{"5xT"}, {"17xi32", Rows, 5}}},
      {"hw.gather %x at %y : ($x, $y) -> tensor<20x7xT>", {{"15x7xT"}, {"20xi32", Rows, 15}}},
      {"hw.gather %x at %y : ($x, $y) -> tensor<7xT>", {{"15x7xT"}, {"i32", Rows, 15}}},
      {"hw.gather %x at %y : ($x, $y) -> tensor<3x2x4x5xT>", {{"6x4x5xT"}, {"3x2xi32", Rows, 6}}},
      {"hw.gather %x at %y : ($x, $y) -> tensor<4x33xT>", {{"1x33xT"}, {"4xi32", Rows, 1}}},
      {"hw.gather %x at %y : ($x, $y) -> tensor<7x20xui8>", {{"33x20xui8", Integer}, {"7xi32", Rows, 33}}, Derivative::None},
      {"hw.gather %x at %y : ($x, $y) -> tensor<7xi32>", {{"33xi32", Integer}, {"7xi32", Rows, 33}}, Derivative::None}}, {{0}}, true});
  row({"scatter_add", scatterAdd, {
      {"hw.scatter_add %x at %y : ($x, $y) -> tensor<5xT>", {{"T"}, {"i32", Rows, 5}}},
      {"hw.scatter_add %x at %y : ($x, $y) -> tensor<5xT>", {{"17xT"}, {"17xi32", Rows, 5}}},
      {"hw.scatter_add %x at %y : ($x, $y) -> tensor<15x7xT>", {{"20x7xT"}, {"20xi32", Rows, 15}}},
      {"hw.scatter_add %x at %y : ($x, $y) -> tensor<3x33xT>", {{"20x33xT"}, {"20xi32", Rows, 3}}},
      {"hw.scatter_add %x at %y : ($x, $y) -> tensor<6x4x5xT>", {{"3x2x4x5xT"}, {"3x2xi32", Rows, 6}}},
      {"hw.scatter_add %x at %y : ($x, $y) -> tensor<50x40xT>", {{"700x40xT"}, {"700xi32", Rows, 50}}}}, {{0}}, true});
  row({"reduce_max", reduceMax, {
      {"hw.reduce_max %x dim 0 : $x -> tensor<T>, tensor<i32>", {{"17xT", Distinct}}},
      {"hw.reduce_max %x dim 1 : $x -> tensor<15xT>, tensor<15xi32>", {{"15x20xT", Distinct}}},
      {"hw.reduce_max %x dim 0 : $x -> tensor<33xT>, tensor<33xi32>", {{"7x33xT", Distinct}}},
      {"hw.reduce_max %x dim 1 : $x -> tensor<3x5xT>, tensor<3x5xi32>", {{"3x4x5xT", Distinct}}},
      {"hw.reduce_max %x dim 1 : $x -> tensor<7xT>, tensor<7xi32>", {{"7x1xT", Distinct}}},
      {"hw.reduce_max %x dim 1 : $x -> tensor<300xT>, tensor<300xi32>", {{"300x10xT", Distinct}}},
      {"hw.reduce_max %x dim 1 : $x -> tensor<20xT>, tensor<20xi32>", {{"20x33xT", Ties}}, Derivative::None},
      {"hw.reduce_max %x dim 0 : $x -> tensor<33xT>, tensor<33xi32>", {{"20x33xT", Ties}}, Derivative::None},
      {"hw.reduce_max %x dim 1 : $x -> tensor<20xT>, tensor<20xi32>", {{"20x33xT", Wide}}, Derivative::None},
      {"hw.reduce_max %x dim 0 : $x -> tensor<33xT>, tensor<33xi32>", {{"20x33xT", Wide}}, Derivative::None},
      {"hw.reduce_max %x dim 1 : $x -> tensor<5xi32>, tensor<5xi32>", {{"5x17xi32", Integer}}, Derivative::None},
      {"hw.reduce_max %x dim 0 : $x -> tensor<17xui8>, tensor<17xi32>", {{"5x17xui8", Integer}}, Derivative::None}}});

  // Dense linear algebra.
  row({"cholesky", cholesky, {
      {"hw.cholesky %x : $x", {{"1x1xT", Spd}}},
      {"hw.cholesky %x : $x", {{"7x7xT", Spd}}, Derivative::Smooth, {}, 10},
      {"hw.cholesky %x : $x", {{"3x4x4xT", Spd}}, Derivative::Smooth, {}, 10}}, {}, true});
  row({"triangular_solve", triangularSolve, {
      {"hw.triangular_solve %x, %y transposed false : $x, $y", {{"1x1xT", Lower}, {"1x1xT"}}},
      {"hw.triangular_solve %x, %y transposed false : $x, $y", {{"7x7xT", Lower}, {"7x3xT"}}, Derivative::Smooth, {}, 10},
      {"hw.triangular_solve %x, %y transposed true : $x, $y", {{"7x7xT", Lower}, {"7x1xT"}}, Derivative::Smooth, {}, 10},
      {"hw.triangular_solve %x, %y transposed true : $x, $y", {{"2x3x4x4xT", Lower}, {"2x3x4x5xT"}}, Derivative::Smooth, {}, 10}}, {{1}}, true});
  row({"lu_solve", luSolve, {
      {"hw.lu_solve %x, %y : $x, $y", {{"1x1xT", Square}, {"1x1xT"}}},
      {"hw.lu_solve %x, %y : $x, $y", {{"7x7xT", Square}, {"7x3xT"}}, Derivative::Smooth, {}, 10},
      {"hw.lu_solve %x, %y : $x, $y", {{"3x5x5xT", Square}, {"3x5x1xT"}}, Derivative::Smooth, {}, 10}}, {{1}}, true});

  // Sources: nothing to differentiate in.
  row({"constant", constant, {
      {"hw.constant dense<2.5> : tensor<T>", {}, Derivative::None},
      {"hw.constant dense<-1.0> : tensor<15x17xT>", {}, Derivative::None},
      {"hw.constant dense<[[1.0, 2.0, -0.5], [0.25, 1.0e3, -0.0]]> : tensor<2x3xT>", {}, Derivative::None},
      {"hw.constant dense<[true, false, true]> : tensor<3xi1>", {}, Derivative::None},
      {"hw.constant dense<true> : tensor<20xi1>", {}, Derivative::None},
      {"hw.constant dense<[1, -2, 3]> : tensor<3xi8>", {}, Derivative::None},
      {"hw.constant dense<[1, 200, 3]> : tensor<3xui8>", {}, Derivative::None},
      {"hw.constant dense<[1, -2000000, 3]> : tensor<3xi32>", {}, Derivative::None},
      {"hw.constant dense<[4000000000, 1]> : tensor<2xui32>", {}, Derivative::None},
      {"hw.constant dense<[18446744073709551615, 1]> : tensor<2xui64>", {}, Derivative::None},
      {"hw.constant dense<7> : tensor<17xui64>", {}, Derivative::None}}});
  row({"iota", iota, {
      {"hw.iota dim 0 : tensor<17xT>", {}, Derivative::None},
      {"hw.iota dim 1 : tensor<3x20xT>", {}, Derivative::None},
      {"hw.iota dim 0 : tensor<7x33xi32>", {}, Derivative::None},
      {"hw.iota dim 1 : tensor<2x5x3xui64>", {}, Derivative::None},
      {"hw.iota dim 0 : tensor<300xui8>", {}, Derivative::None},
      {"hw.iota dim 0 : tensor<300xi8>", {}, Derivative::None},
      {"hw.iota dim 0 : tensor<5xui32>", {}, Derivative::None}}});
  row({"random_bits", randomBits, {
      {"hw.random_bits %x, %y site 7 : ($x, $y) -> tensor<ui32>", {{"ui32", Integer}, {"ui32", Integer}}, Derivative::None},
      {"hw.random_bits %x, %y site 123456789 : ($x, $y) -> tensor<17xui32>", {{"ui32", Integer}, {"ui32", Integer}}, Derivative::None},
      {"hw.random_bits %x, %y site -1 : ($x, $y) -> tensor<15x20xui32>", {{"ui32", Integer}, {"ui32", Integer}}, Derivative::None},
      {"hw.random_bits %x, %y site 3 : ($x, $y) -> tensor<3x7xui64>", {{"ui32", Integer}, {"ui32", Integer}}, Derivative::None}}});

  // The derivatives themselves: how every other row is differentiated.
  for (const char *op : {"grad", "vjp", "jvp"})
    row({op, nullptr, {}, {}, false, true});
  // clang-format on
  return table;
}

} // namespace

const std::vector<Row> &hw::ops::rows() {
  static const std::vector<Row> table = makeRows();
  return table;
}
