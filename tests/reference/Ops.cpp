#include "tests/reference/Ops.h"
#include "runtime/Philox.h"
#include "llvm/ADT/StringMap.h"
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>

using namespace mlir;
using namespace hw;
using namespace hw::reference;

Number hw::reference::wrapped(Type element, __int128 x) {
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

/// How far apart neighbours along each dimension lie.
Index stridesOf(RankedTensorType type) {
  Index strides(type.getRank());
  int64_t stride = 1;
  for (int64_t dim = type.getRank(); dim-- > 0; stride *= type.getDimSize(dim))
    strides[dim] = stride;
  return strides;
}

/// Calls f with the places in N tensors of every index of the shape, in row-major order. A tensor is told by where its
/// element at index 0 lies and how far apart neighbours are.
template <size_t N> struct Walk {
  ArrayRef<int64_t> shape;
  std::array<Index, N> strides;
  std::array<int64_t, N> start{};
  template <class F> void operator()(F f) const { descend(0, start, f); }

private:
  template <class F> void descend(size_t dim, std::array<int64_t, N> at, F &f) const {
    if (dim == shape.size())
      return f(at);
    for (int64_t i = 0; i < shape[dim]; ++i) {
      descend(dim + 1, at, f);
      for (size_t n = 0; n < N; ++n)
        at[n] += strides[n][dim];
    }
  }
};

/// result[index] = x[start + sum of index * strides]
Results viewed(Operation *op, const Tensor &x, Index strides, int64_t start = 0) {
  Tensor out = empty(resultType(op));
  size_t next = 0;
  Walk<1>{out.type.getShape(), {std::move(strides)}, {start}}(
      [&](const std::array<int64_t, 1> &from) { out.values[next++] = x.values[from[0]]; });
  return {std::move(out)};
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

Number logistic(Number x) { return 1 / (1 + std::exp(-x)); }

Results compare(Operation *op, Operands x) {
  StringRef predicate = cast<CompareOp>(op).getPredicate();
  Tensor out = empty(resultType(op));
  for (size_t i = 0; i < out.values.size(); ++i) {
    Number l = x[0].values[i], r = x[1].values[i];
    out.values[i] = predicate == "eq"   ? l == r
                    : predicate == "ne" ? l != r
                    : predicate == "lt" ? l < r
                    : predicate == "le" ? l <= r
                    : predicate == "gt" ? l > r
                                        : l >= r;
  }
  return {std::move(out)};
}

Results select(Operation *op, Operands x) {
  Tensor out = empty(resultType(op));
  for (size_t i = 0; i < out.values.size(); ++i)
    out.values[i] = x[0].values[i] != 0 ? x[1].values[i] : x[2].values[i];
  return {std::move(out)};
}

Number converted(Number value, Type from, Type to) {
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
}

Results convert(Operation *op, Operands x) {
  Tensor out = empty(resultType(op));
  Type to = out.type.getElementType(), from = x[0].type.getElementType();
  for (size_t i = 0; i < out.values.size(); ++i)
    out.values[i] = converted(x[0].values[i], from, to);
  return {std::move(out)};
}

Results same(Operation *op, Operands x) { return {Tensor{resultType(op), x[0].values}}; }

Results broadcast(Operation *op, Operands x) {
  Index from = stridesOf(x[0].type), strides(resultType(op).getRank(), 0);
  for (auto [i, dim] : llvm::enumerate(cast<BroadcastOp>(op).getDims()))
    strides[dim] = from[i];
  return viewed(op, x[0], strides);
}

Results reduceSum(Operation *op, Operands x) {
  Tensor out = empty(resultType(op));
  Type element = out.type.getElementType();
  Index to = stridesOf(out.type), strides;
  for (int64_t dim = 0, kept = 0; dim < x[0].type.getRank(); ++dim)
    strides.push_back(llvm::is_contained(cast<ReduceSumOp>(op).getDims(), dim) ? 0 : to[kept++]);
  size_t next = 0;
  Walk<1>{x[0].type.getShape(), {strides}}([&](const std::array<int64_t, 1> &at) {
    Number &sum = out.values[at[0]], term = x[0].values[next++];
    sum = isa<FloatType>(element) ? sum + term : wrapped(element, __int128(sum) + __int128(term));
  });
  return {std::move(out)};
}

Results transpose(Operation *op, Operands x) {
  Index from = stridesOf(x[0].type), strides;
  for (int64_t dim : cast<hw::TransposeOp>(op).getPermutation())
    strides.push_back(from[dim]);
  return viewed(op, x[0], strides);
}

Results reverse(Operation *op, Operands x) {
  Index strides = stridesOf(x[0].type);
  int64_t start = 0;
  for (int64_t dim : cast<ReverseOp>(op).getDims()) {
    start += (x[0].type.getDimSize(dim) - 1) * strides[dim];
    strides[dim] = -strides[dim];
  }
  return viewed(op, x[0], strides, start);
}

Results slice(Operation *op, Operands x) {
  auto slice = cast<SliceOp>(op);
  Index strides = stridesOf(x[0].type);
  int64_t start = 0;
  for (auto [i, first, step] : llvm::enumerate(slice.getStart(), slice.getStride())) {
    start += first * strides[i];
    strides[i] *= step;
  }
  return viewed(op, x[0], strides, start);
}

Results pad(Operation *op, Operands x) {
  auto pad = cast<PadOp>(op);
  Tensor out = empty(resultType(op));
  Index strides = stridesOf(out.type);
  int64_t start = 0;
  for (auto [i, low, interior] : llvm::enumerate(pad.getLow(), pad.getInterior())) {
    start += low * strides[i];
    strides[i] *= interior + 1;
  }
  size_t next = 0;
  Walk<1>{x[0].type.getShape(), {strides}, {start}}(
      [&](const std::array<int64_t, 1> &to) { out.values[to[0]] = x[0].values[next++]; });
  return {std::move(out)};
}

Results concat(Operation *op, Operands x) {
  Tensor out = empty(resultType(op));
  int64_t dim = cast<ConcatOp>(op).getDim(), start = 0;
  Index strides = stridesOf(out.type);
  for (size_t i = 0; i < x.size(); ++i) {
    size_t next = 0;
    Walk<1>{x[i].type.getShape(), {strides}, {start}}(
        [&](const std::array<int64_t, 1> &to) { out.values[to[0]] = x[i].values[next++]; });
    start += x[i].type.getDimSize(dim) * strides[dim];
  }
  return {std::move(out)};
}

Results dotGeneral(Operation *op, Operands x) {
  auto dot = cast<DotGeneralOp>(op);
  Index l = stridesOf(x[0].type), r = stridesOf(x[1].type), left, right, leftInner, rightInner, inner;
  for (auto [i, j] : llvm::zip_equal(dot.getLhsBatch(), dot.getRhsBatch())) {
    left.push_back(l[i]);
    right.push_back(r[j]);
  }
  auto free = [](ArrayRef<int64_t> batch, ArrayRef<int64_t> contract, Index &strides, Index &mine, Index &others) {
    for (int64_t dim = 0; dim < int64_t(strides.size()); ++dim)
      if (!llvm::is_contained(batch, dim) && !llvm::is_contained(contract, dim)) {
        mine.push_back(strides[dim]);
        others.push_back(0);
      }
  };
  free(dot.getLhsBatch(), dot.getLhsContract(), l, left, right);
  free(dot.getRhsBatch(), dot.getRhsContract(), r, right, left);
  for (auto [i, j] : llvm::zip_equal(dot.getLhsContract(), dot.getRhsContract())) {
    inner.push_back(x[0].type.getDimSize(i));
    leftInner.push_back(l[i]);
    rightInner.push_back(r[j]);
  }
  Tensor out = empty(resultType(op));
  size_t next = 0;
  Walk<2>{out.type.getShape(), {left, right}}([&](const std::array<int64_t, 2> &from) {
    Number sum = 0;
    Walk<2>{inner, {leftInner, rightInner}, from}(
        [&](const std::array<int64_t, 2> &term) { sum += x[0].values[term[0]] * x[1].values[term[1]]; });
    out.values[next++] = sum;
  });
  return {std::move(out)};
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

/// The row of a tensor of `size` rows that an index names.
size_t rowAt(Number index, int64_t size) { return size_t(std::clamp<Number>(index, 0, Number(size - 1))); }

/// What is outside makes 0: the run ends of it.
Results whole(Operation *op, Operands x) {
  auto w = cast<WholeOp>(op);
  return fill(op, [&](ArrayRef<int64_t> index) -> Number {
    Number number = at(x[0], index), count = Number(w.getCount());
    if (w.getCut())
      number = std::trunc(number);
    if (w.getFromEnd() && number < 0)
      number += count;
    return number >= 0 && number < count && number == std::floor(number) ? number : 0;
  });
}

Results gather(Operation *op, Operands x) {
  Tensor out = empty(resultType(op));
  int64_t rows = x[0].type.getDimSize(0);
  size_t row = x[0].values.size() / size_t(rows);
  for (size_t i = 0; i < x[1].values.size(); ++i)
    std::copy_n(x[0].values.begin() + rowAt(x[1].values[i], rows) * row, row, out.values.begin() + i * row);
  return {std::move(out)};
}

Results scatterAdd(Operation *op, Operands x) {
  Tensor out = empty(resultType(op));
  int64_t rows = out.type.getDimSize(0);
  size_t row = rows ? out.values.size() / size_t(rows) : 0;
  for (size_t i = 0; i < x[1].values.size() && rows; ++i)
    for (size_t j = 0; j < row; ++j)
      out.values[rowAt(x[1].values[i], rows) * row + j] += x[0].values[i * row + j];
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
// The table
//===--------------------------------------------------------------------------------------------------------------===//

const llvm::StringMap<Rule> &rules() {
  static const llvm::StringMap<Rule> table = {
      // Elementwise.
      {"neg", number1<[](Number x) { return -x; }, [](__int128 x) { return -x; }>},
      {"exp", unary<[](Number x) { return std::exp(x); }>},
      {"expm1", unary<[](Number x) { return std::expm1(x); }>},
      {"log", unary<[](Number x) { return std::log(x); }>},
      {"log1p", unary<[](Number x) { return std::log1p(x); }>},
      {"log2", unary<[](Number x) { return std::log2(x); }>},
      {"log10", unary<[](Number x) { return std::log10(x); }>},
      {"sqrt", unary<[](Number x) { return std::sqrt(x); }>},
      {"sin", unary<[](Number x) { return std::sin(x); }>},
      {"cos", unary<[](Number x) { return std::cos(x); }>},
      {"tanh", unary<[](Number x) { return std::tanh(x); }>},
      {"sinh", unary<[](Number x) { return std::sinh(x); }>},
      {"cosh", unary<[](Number x) { return std::cosh(x); }>},
      {"logistic", unary<logistic>},
      {"erf", unary<[](Number x) { return std::erf(x); }>},
      {"asinh", unary<[](Number x) { return std::asinh(x); }>},
      {"abs", number1<[](Number x) { return std::abs(x); }, [](__int128 x) { return x < 0 ? -x : x; }>},
      {"sign", unary<sign>},
      {"floor", unary<[](Number x) { return std::floor(x); }>},
      {"not", unary<[](Number x) { return Number(x == 0); }>},
      {"stop_gradient", same},
      {"add", number2<[](Number x, Number y) { return x + y; }, [](__int128 x, __int128 y) { return x + y; }>},
      {"sub", number2<[](Number x, Number y) { return x - y; }, [](__int128 x, __int128 y) { return x - y; }>},
      {"mul", number2<[](Number x, Number y) { return x * y; }, [](__int128 x, __int128 y) { return x * y; }>},
      {"scale", elementwise2<[](Number x, Number y) { return x == 0 ? 0 : x * y; }>},
      {"unscale", elementwise2<[](Number x, Number y) { return x == 0 ? 0 : x / y; }>},
      {"div",
       number2<[](Number x, Number y) { return x / y; }, [](__int128 x, __int128 y) { return y == 0 ? 0 : x / y; }>},
      {"pow", elementwise2<[](Number x, Number y) { return std::pow(x, y); }>},
      {"min", number2<smaller, [](__int128 x, __int128 y) { return std::min(x, y); }>},
      {"max", number2<larger, [](__int128 x, __int128 y) { return std::max(x, y); }>},
      {"compare", compare},
      {"and", number2<larger, [](__int128 x, __int128 y) { return x & y; }>},
      {"or", number2<larger, [](__int128 x, __int128 y) { return x | y; }>},
      {"select", select},
      {"cast", convert},
      // Movement and contraction.
      {"broadcast", broadcast},
      {"reduce_sum", reduceSum},
      {"reshape", same},
      {"transpose", transpose},
      {"reverse", reverse},
      {"slice", slice},
      {"pad", pad},
      {"concat", concat},
      {"dot_general", dotGeneral},
      // Convolution and pooling.
      {"conv", conv},
      {"conv_backward_data", convBackwardData},
      {"conv_backward_weights", convBackwardWeights},
      {"max_pool", maxPool},
      {"pool_gather", poolGather},
      {"pool_scatter", poolScatter},
      {"window_sum", windowSum},
      {"window_spread", windowSpread},
      // Index.
      {"whole", whole},
      {"gather", gather},
      {"scatter_add", scatterAdd},
      {"reduce_max", reduceMax},
      // Dense linear algebra.
      {"cholesky", cholesky},
      {"triangular_solve", triangularSolve},
      {"lu_solve", luSolve},
      // Sources.
      {"constant", constant},
      {"iota", iota},
      {"random_bits", randomBits},
  };
  return table;
}

} // namespace

Rule hw::reference::ruleOf(StringRef name) { return rules().lookup(name); }

std::vector<Tensor> hw::reference::evaluate(Operation *op, ArrayRef<Tensor> operands) {
  auto [dialect, name] = op->getName().getStringRef().split('.');
  Rule rule = dialect == "hw" ? ruleOf(name) : nullptr;
  if (!rule)
    throw std::runtime_error(("the reference has no rule for " + op->getName().getStringRef()).str());
  SmallVector<const Tensor *> places;
  for (const Tensor &operand : operands)
    places.push_back(&operand);
  return rule(op, Operands(places));
}

void hw::reference::round(Tensor &tensor) {
  Type element = tensor.type.getElementType();
  if (element.isF32())
    for (Number &value : tensor.values)
      value = float(value);
  else if (element.isF64())
    for (Number &value : tensor.values)
      value = double(value);
}
