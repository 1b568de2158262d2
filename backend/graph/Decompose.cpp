// Convolution and pooling as sums and selections over windows.
//
// Notation: x [N, C, S...] convolved with w [O, C / groups, K...] is y [N, O, R...]. With G groups, C' = C / G and
// O' = O / G, all three ops of a convolution are sums of products over one domain [N, G, O', C', P..., K...], P being R
// or S:
//
//   y  = sum over C', K of   windows(pad(x)) * w
//   x  = sum over O', K of   windows(dilate(y)) * reverse(w)
//   w  = sum over N, P of    windows(pad(x)) * y
//
// dilate(y) puts y's elements `stride` apart, so that each element of x finds those that it went into in one window
// (Dumoulin and Visin, 2016, section 4). Pooling goes the same two ways, without channels.
#include "backend/graph/Decompose.h"
#include "backend/dialect/Dialect.h"
#include "ir/Expr.h"

using namespace mlir;
using namespace hw;
using namespace hw::backend;

bool hw::backend::isPart(Operation *op) { return op->hasAttr("hw.part"); }

namespace {

using Windows = SmallVector<Window>;

SmallVector<int64_t> range(int64_t from, int64_t to) { return llvm::to_vector(llvm::seq<int64_t>(from, to)); }
template <class... Lists> SmallVector<int64_t> joined(const Lists &...lists) {
  SmallVector<int64_t> all;
  (llvm::append_range(all, lists), ...);
  return all;
}
SmallVector<int64_t> sizesOf(const Windows &windows) {
  return llvm::map_to_vector(windows, [](const Window &window) { return window.size; });
}

template <class Op> Windows windowsOf(Op op, ArrayRef<int64_t> sizes) {
  Windows windows;
  for (size_t i = 0; i < sizes.size(); ++i) {
    windows.push_back({sizes[i], op.getStride()[i], op.getLow()[i], op.getHigh()[i]});
    if constexpr (requires { op.getDilation(); })
      windows.back().dilation = op.getDilation()[i];
  }
  return windows;
}

/// The last dimensions of x padded with zeros (or, where negative, cut) by low and high, and apart by interior.
Expr padLast(Expr x, ArrayRef<int64_t> low, ArrayRef<int64_t> high, ArrayRef<int64_t> interior) {
  int64_t leading = x.rank() - int64_t(low.size());
  SmallVector<int64_t> before(leading, 0), after(leading, 0), between(leading, 0), start(leading, 0),
      limit(x.shape().take_front(leading));
  for (size_t i = 0; i < low.size(); ++i) {
    before.push_back(std::max<int64_t>(low[i], 0));
    after.push_back(std::max<int64_t>(high[i], 0));
    between.push_back(interior[i]);
    start.push_back(std::max<int64_t>(-low[i], 0));
    int64_t size = x.shape()[leading + i], apart = size + std::max<int64_t>(size - 1, 0) * interior[i];
    limit.push_back(before.back() + apart + after.back() - std::max<int64_t>(-high[i], 0));
  }
  auto isZero = [](int64_t n) { return n == 0; };
  if (!llvm::all_of(before, isZero) || !llvm::all_of(after, isZero) || !llvm::all_of(between, isZero))
    x = x.make<PadOp>(x.get(), before, after, between);
  if (limit != x.shape() || !llvm::all_of(start, isZero))
    x = x.make<SliceOp>(x.get(), start, limit, SmallVector<int64_t>(x.rank(), 1));
  return x;
}

/// x with what the windows reach around it.
Expr padFor(Expr x, const Windows &windows) {
  SmallVector<int64_t> low, high;
  for (auto [window, size] : llvm::zip_equal(windows, x.shape().take_back(windows.size()))) {
    int64_t reach = (window.count(size) - 1) * window.stride + (window.size - 1) * window.dilation + 1;
    low.push_back(window.low);
    high.push_back(std::max<int64_t>(reach - window.low - size, 0));
  }
  return padLast(x, low, high, SmallVector<int64_t>(windows.size(), 0));
}

/// y, an element a window, spread out so that the windows that element i of `sizes` lies in are, last first, those at
/// i, i + dilation, ...: element r goes to r * stride + (size - 1) * dilation - low.
Expr dilate(Expr y, const Windows &windows, ArrayRef<int64_t> sizes) {
  SmallVector<int64_t> low, high, interior;
  for (auto [window, count, size] : llvm::zip_equal(windows, y.shape().take_back(windows.size()), sizes)) {
    int64_t reach = (window.size - 1) * window.dilation;
    low.push_back(reach - window.low);
    high.push_back(size + reach - low.back() - (count - 1) * window.stride - 1);
    interior.push_back(window.stride - 1);
  }
  return padLast(y, low, high, interior);
}

/// A view of x's windows, `counts` of them: [B..., counts..., sizes...].
Expr viewWindows(Expr x, ArrayRef<int64_t> counts, const Windows &windows, bool areNeighbours) {
  SmallVector<int64_t> shape = joined(x.shape().drop_back(windows.size()), counts, sizesOf(windows)), stride, dilation;
  for (const Window &window : windows) {
    stride.push_back(areNeighbours ? 1 : window.stride);
    dilation.push_back(window.dilation);
  }
  return x.make<WindowsOp>(x.type().clone(shape), x.get(), stride, dilation);
}

/// [B..., R..., K...]: the windows of x.
Expr windowsIn(Expr x, const Windows &windows) {
  SmallVector<int64_t> counts;
  for (auto [window, size] : llvm::zip_equal(windows, x.shape().take_back(windows.size())))
    counts.push_back(window.count(size));
  return viewWindows(padFor(x, windows), counts, windows, false);
}

/// [B..., S..., K...]: for each element of x, what stands for the windows it lies in, the last of a dimension first.
Expr windowsAround(Expr y, const Windows &windows, ArrayRef<int64_t> sizes) {
  return viewWindows(dilate(y, windows, sizes), sizes, windows, true);
}

Expr reshape(Expr x, ArrayRef<int64_t> shape) {
  return x.shape() == shape ? x : x.make<ReshapeOp>(x.type().clone(shape), x.get());
}

//===--------------------------------------------------------------------------------------------------------------===//
// Convolution
//===--------------------------------------------------------------------------------------------------------------===//

/// The three tensors in the shapes of the domain [N, G, O', C', P..., K...]; without G if there is one group only.
struct Convolution {
  int64_t groups, spatial;
  Windows windows;
  SmallVector<int64_t> n, g, o, c, p, k; // the domain's dimensions

  template <class Op>
  explicit Convolution(Op op)
      : groups(op.getGroups()), spatial(op.getStride().size()),
        windows(windowsOf(op, shapeOf(op.getWeights()).drop_front(2))) {
    int64_t next = 0;
    auto take = [&](int64_t count) { return next += count, range(next - count, next); };
    n = take(1), g = take(groups > 1), o = take(1), c = take(1), p = take(spatial), k = take(spatial);
  }

  /// What a product with the weights is done for one after another; groups take that place where there are several.
  ArrayRef<int64_t> images() const { return groups == 1 ? ArrayRef<int64_t>(n) : ArrayRef<int64_t>(); }

  /// x or y: [N, G, channels, S...].
  Expr grouped(Expr x) const {
    auto shape = x.shape();
    return groups == 1 ? x : reshape(x, joined(ArrayRef{shape[0], groups, shape[1] / groups}, shape.drop_front(2)));
  }
  /// w: [G, O', C', K...].
  Expr groupedWeights(Expr w) const {
    auto shape = w.shape();
    return groups == 1 ? w : reshape(w, joined(ArrayRef{groups, shape[0] / groups}, shape.drop_front(1)));
  }
};

/// A tensor and, of each of its dimensions, which of a domain's it is.
struct Factor {
  Expr value;
  SmallVector<int64_t> dims;
  int64_t sizeOf(int64_t dim) const { return value.shape()[llvm::find(dims, dim) - dims.begin()]; }
  int64_t sizeOf(ArrayRef<int64_t> some) const {
    int64_t product = 1;
    for (int64_t dim : some)
      product *= sizeOf(dim);
    return product;
  }
};

/// sum of a * b over the dimensions `summed` of their domain; the others are left in order. As a product, b is one
/// matrix for each index of `repeats`, dimensions that a lacks: what is read together then lies together.
class Contraction {
public:
  Contraction(Factor a, Factor b, ArrayRef<int64_t> summed, ArrayRef<int64_t> repeats = {})
      : a(std::move(a)), b(std::move(b)), summed(summed), repeats(repeats),
        rank(std::max(this->a.dims.back(), this->b.dims.back()) + 1) {
    for (int64_t dim = 0; dim < rank; ++dim) {
      bool inA = llvm::is_contained(this->a.dims, dim), inB = llvm::is_contained(this->b.dims, dim);
      if (!llvm::is_contained(summed, dim) && !llvm::is_contained(repeats, dim))
        (inA && inB ? batch : inA ? aFree : bFree).push_back(dim);
    }
  }

  /// A matrix product does several times as many products a second as a sum in a loop nest, but wants its factors laid
  /// out for it, and each element of x is in as many windows as the kernel has elements.
  Expr run() const {
    double elements = double(a.value.type().getNumElements()) + double(b.value.type().getNumElements());
    bool isLarge = a.sizeOf(aFree) >= 4 && b.sizeOf(bFree) >= 8 && a.sizeOf(summed) >= 8;
    return isLarge && elements * a.value.type().getElementTypeBitWidth() / 8 <= 0x1p30 ? product() : sum();
  }

private:
  Expr sum() const {
    SmallVector<int64_t> domain;
    for (int64_t dim = 0; dim < rank; ++dim)
      domain.push_back(llvm::is_contained(a.dims, dim) ? a.sizeOf(dim) : b.sizeOf(dim));
    Type type = a.value.type().clone(domain);
    return reduceSum(broadcast(a.value, type, a.dims) * broadcast(b.value, type, b.dims), summed);
  }

  Expr product() const {
    SmallVector<int64_t> outer = joined(repeats, batch);
    Expr lhs = laidOut(a, {batch, aFree, summed}), rhs = laidOut(b, {outer, summed, bFree});
    if (!repeats.empty())
      lhs = broadcast(lhs, lhs.type().clone({rhs.shape()[0], lhs.shape()[0], lhs.shape()[1]}), {1, 2});
    int64_t row = !outer.empty();
    Expr c = lhs.make<DotGeneralOp>(lhs.get(), rhs.get(), range(0, row), range(0, row), range(row + 1, row + 2),
                                    range(row, row + 1));
    Factor result{c, joined(outer, aFree, bFree)};
    SmallVector<int64_t> shape;
    for (int64_t dim : result.dims)
      shape.push_back(llvm::is_contained(a.dims, dim) ? a.sizeOf(dim) : b.sizeOf(dim));
    result.value = reshape(c, shape);
    SmallVector<int64_t> inOrder(result.dims);
    llvm::sort(inOrder);
    return permuted(result, inOrder);
  }

  static Expr permuted(const Factor &x, ArrayRef<int64_t> dims) {
    if (ArrayRef<int64_t>(x.dims) == dims)
      return x.value;
    auto permutation =
        llvm::map_to_vector(dims, [&](int64_t dim) -> int64_t { return llvm::find(x.dims, dim) - x.dims.begin(); });
    return x.value.make<TransposeOp>(x.value.get(), permutation);
  }

  /// With its dimensions in the order of the groups, each of which becomes one; an empty batch none.
  static Expr laidOut(const Factor &x, std::initializer_list<ArrayRef<int64_t>> groups) {
    SmallVector<int64_t> dims, shape;
    for (const ArrayRef<int64_t> &group : groups) {
      dims.append(group.begin(), group.end());
      if (!group.empty() || &group != groups.begin())
        shape.push_back(x.sizeOf(group));
    }
    Expr copy = permuted(x, dims);
    if (copy.get() != x.value.get())
      copy.get().getDefiningOp()->setAttr("hw.pack", UnitAttr::get(copy.get().getContext()));
    return reshape(copy, shape);
  }

  Factor a, b;
  ArrayRef<int64_t> summed, repeats;
  int64_t rank;
  SmallVector<int64_t> batch, aFree, bFree;
};

Expr loops(ConvOp op, const Site &site) {
  Convolution v(op);
  Expr x = windowsIn(v.grouped({site, op.getInput()}), v.windows), w = v.groupedWeights({site, op.getWeights()});
  Expr y =
      Contraction({w, joined(v.g, v.o, v.c, v.k)}, {x, joined(v.n, v.g, v.c, v.p, v.k)}, joined(v.c, v.k), v.images())
          .run();
  return reshape(y, shapeOf(op.getOutput()));
}

Expr loops(ConvBackwardDataOp op, const Site &site) {
  Convolution v(op);
  Expr y = windowsAround(v.grouped({site, op.getOutput()}), v.windows, shapeOf(op.getInput()).drop_front(2));
  Expr w = v.groupedWeights({site, op.getWeights()});
  w = w.make<ReverseOp>(w.type(), w.get(), range(w.rank() - v.spatial, w.rank()));
  Expr x =
      Contraction({w, joined(v.g, v.o, v.c, v.k)}, {y, joined(v.n, v.g, v.o, v.p, v.k)}, joined(v.o, v.k), v.images())
          .run();
  return reshape(x, shapeOf(op.getInput()));
}

Expr loops(ConvBackwardWeightsOp op, const Site &site) {
  Convolution v(op);
  Expr x = windowsIn(v.grouped({site, op.getInput()}), v.windows), y = v.grouped({site, op.getOutput()});
  Expr w = Contraction({x, joined(v.n, v.g, v.c, v.p, v.k)}, {y, joined(v.n, v.g, v.o, v.p)}, joined(v.n, v.p)).run();
  return reshape(w, shapeOf(op.getWeights()));
}

//===--------------------------------------------------------------------------------------------------------------===//
// Pooling
//===--------------------------------------------------------------------------------------------------------------===//

SmallVector<int64_t> lastDims(Expr x, size_t count) { return range(x.rank() - int64_t(count), x.rank()); }
Expr sumLast(Expr x, size_t count) { return reduceSum(x, lastDims(x, count)); }

/// The row-major position in its window of each element of a tensor of this shape, i32. `dims`: that of each window's
/// elements, or -1 if it has one only.
Expr positions(Expr like, const Windows &windows, ArrayRef<int64_t> dims) {
  Expr position(like.at());
  for (auto [window, dim] : llvm::zip_equal(windows, dims))
    if (dim >= 0)
      position = double(window.size) * position + indexAlong(like, dim);
  return position ? position : indexAlong(like, 0).splat(0);
}

/// Windows that lie side by side from the first element on, so that each element is in one of them, or in none at the
/// end: x is then [B..., R, K, R, K, ...], reshaped, where R and K are a dimension's windows and their elements.
/// (Without K where that is 1.) All addresses are linear, and nothing is looked for around an element.
class Tiles {
public:
  /// Of x's last dimensions `sizes`, for y [B..., R...].
  Tiles(ArrayRef<int64_t> pooled, const Windows &windows, ArrayRef<int64_t> sizes) : windows(windows), sizes(sizes) {
    size_t leading = pooled.size() - windows.size();
    auto add = [](SmallVectorImpl<int64_t> &shape, int64_t size) {
      shape.push_back(size);
      return int64_t(shape.size()) - 1;
    };
    for (int64_t size : pooled.take_front(leading))
      ofPooled.push_back(add(domain, size));
    covered = domain;
    for (auto [window, count] : llvm::zip_equal(windows, pooled.drop_front(leading))) {
      ofPooled.push_back(add(domain, count));
      inWindow.push_back(window.size > 1 ? add(domain, window.size) : -1);
      covered.push_back(count * window.size);
    }
  }

  bool fit() const {
    return llvm::all_of(llvm::zip_equal(windows, ArrayRef(covered).take_back(windows.size()), sizes), [](auto each) {
      auto [window, reach, size] = each;
      return window.stride == window.size && window.low == 0 && window.dilation == 1 && reach <= size;
    });
  }
  /// y at each element of its windows.
  Expr spread(Expr y) const { return broadcast(y, y.type().clone(domain), ofPooled); }
  /// Of each element, see above.
  Expr positionsOf(Expr tiles) const { return positions(tiles, windows, inWindow); }
  /// x out of its tiles; zeros where there is none.
  Expr assembled(Expr tiles) const {
    SmallVector<int64_t> none(sizes.size(), 0), beyond;
    for (auto [reach, size] : llvm::zip_equal(ArrayRef(covered).take_back(sizes.size()), sizes))
      beyond.push_back(size - reach);
    return padLast(reshape(tiles, covered), none, beyond, none);
  }

private:
  const Windows &windows;
  ArrayRef<int64_t> sizes;
  SmallVector<int64_t> domain, covered;    // the shapes of [B..., R, K, ...] and of x as far as windows reach
  SmallVector<int64_t> ofPooled, inWindow; // the domain's dimensions: those of y; each window's K, or -1
};

int64_t elementsOf(const Windows &windows) {
  int64_t product = 1;
  for (const Window &window : windows)
    product *= window.size;
  return product;
}

Expr loops(WindowSumOp op, const Site &site) {
  Windows windows = windowsOf(op, op.getWindow());
  return sumLast(windowsIn({site, op.getOperand()}, windows), windows.size());
}

Expr loops(WindowSpreadOp op, const Site &site) {
  Windows windows = windowsOf(op, op.getWindow());
  auto sizes = shapeOf(op.getResult()).take_back(windows.size());
  Expr y(site, op.getOperand());
  if (Tiles tiles(y.shape(), windows, sizes); tiles.fit())
    return tiles.assembled(tiles.spread(y));
  return sumLast(windowsAround(y, windows, sizes), windows.size());
}

Expr loops(PoolGatherOp op, const Site &site) {
  Windows windows = windowsOf(op, op.getWindow());
  Expr x = windowsIn({site, op.getOperand()}, windows), index(site, op.getIndex());
  Expr chosen = broadcast(index, index.type().clone(x.shape()), range(0, index.rank()));
  return sumLast(select(chosen == positions(x, windows, lastDims(x, windows.size())), x, Expr(site)), windows.size());
}

/// The windows around an element come last first, so its position in them falls as theirs rises. 0 stands for no
/// window.
Expr loops(PoolScatterOp op, const Site &site) {
  Windows windows = windowsOf(op, op.getWindow());
  auto sizes = shapeOf(op.getResult()).take_back(windows.size());
  Expr index(site, op.getIndex()), updates(site, op.getUpdates());
  if (Tiles tiles(index.shape(), windows, sizes); tiles.fit()) {
    Expr chosen = tiles.spread(index);
    return tiles.assembled(select(chosen == tiles.positionsOf(chosen), tiles.spread(updates), Expr(site)));
  }
  Expr chosen = windowsAround(index + 1, windows, sizes);
  Expr mine = double(elementsOf(windows)) - positions(chosen, windows, lastDims(chosen, windows.size()));
  return sumLast(select(chosen == mine, windowsAround(updates, windows, sizes), Expr(site)), windows.size());
}

/// Whether window r of each dimension has no element at `offset`; null if all have. Of the shape of `like`.
Expr outsideAt(Expr like, ArrayRef<int64_t> offset, const Windows &windows, ArrayRef<int64_t> sizes) {
  Expr any(like.at());
  for (auto [i, window] : llvm::enumerate(windows)) {
    int64_t dim = like.rank() - int64_t(windows.size() - i), count = like.shape()[dim];
    int64_t ahead = window.low - offset[i]; // window r's element is number r * stride - ahead
    // Both may be of negative numbers: elements that no window reaches, or all do.
    int64_t first = std::max<int64_t>(llvm::divideCeilSigned(ahead, window.stride), 0);
    int64_t last = llvm::divideFloorSigned(sizes[i] - 1 + ahead, window.stride);
    Expr at = indexAlong(like, dim);
    auto add = [&](Expr mask) { any = any ? any | mask : mask; };
    if (first > 0)
      add(at < at.splat(double(first)));
    if (last < count - 1)
      add(at > at.splat(double(last)));
  }
  return any;
}

/// Of all windows in x, which is padded, the element at `offset`.
Expr elementsAt(Expr x, ArrayRef<int64_t> offset, ArrayRef<int64_t> counts, const Windows &windows) {
  SmallVector<int64_t> start(x.rank() - windows.size(), 0), limit(x.shape().drop_back(windows.size())),
      stride(start.size(), 1);
  for (auto [window, from, count] : llvm::zip_equal(windows, offset, counts)) {
    start.push_back(from);
    limit.push_back(from + (count - 1) * window.stride + 1);
    stride.push_back(window.stride);
  }
  return x.make<SliceOp>(x.get(), start, limit, stride);
}

/// The next index in row-major order; false after the last.
bool advance(SmallVectorImpl<int64_t> &offset, const Windows &windows) {
  for (size_t i = windows.size(); i-- > 0; offset[i] = 0)
    if (++offset[i] < windows[i].size)
      return true;
  return false;
}

struct Largest {
  Expr value, position;
};

/// The largest of each window of x and its position, by comparing one element of all windows after another; the first
/// wins. The position at `offset` is sum of offset * steps, and x's own `position` (null: 0) there.
Largest largestOf(Largest x, const Windows &windows, ArrayRef<int64_t> steps) {
  auto sizes = x.value.shape().take_back(windows.size());
  SmallVector<int64_t> counts, offset(windows.size(), 0);
  for (auto [window, size] : llvm::zip_equal(windows, sizes))
    counts.push_back(window.count(size));
  Expr values = padFor(x.value, windows), positions = x.position ? padFor(x.position, windows) : x.position;
  Largest best{Expr(values.at()), Expr(values.at())};
  bool someStartOutside = false; // those have -inf at -1 until an element comes, which may be -inf too
  do {
    Expr value = elementsAt(values, offset, counts, windows);
    int64_t step = 0;
    for (auto [at, by] : llvm::zip_equal(offset, steps))
      step += at * by;
    Expr position = indexAlong(value, 0).splat(double(step));
    if (positions)
      position = position + elementsAt(positions, offset, counts, windows);
    Expr outside = outsideAt(value, offset, windows, sizes);
    if (!best.value) {
      someStartOutside = bool(outside);
      best = {outside ? select(outside, value.splat(-INFINITY), value) : value,
              outside ? select(outside, position.splat(-1), position) : position};
      continue;
    }
    // Not better: no larger, and no number where the best is none.
    Expr keep = (best.value >= value) | isNaN(best.value);
    if (someStartOutside)
      keep = keep & (best.position >= position.splat(0));
    if (outside)
      keep = keep | outside;
    best = {select(keep, best.value, value), select(keep, best.position, position)};
  } while (advance(offset, windows));
  return best;
}

/// All dimensions at once, or of large windows one after another, the last first: less code and fewer comparisons, for
/// a tensor in between.
Largest loops(MaxPoolOp op, const Site &site) {
  Windows windows = windowsOf(op, op.getWindow());
  SmallVector<int64_t> steps(windows.size(), 1);
  for (size_t i = windows.size(); i-- > 1;)
    steps[i - 1] = steps[i] * windows[i].size;
  Largest x{{site, op.getOperand()}, Expr(site)};
  if (elementsOf(windows) <= 32)
    return largestOf(x, windows, steps);
  for (size_t i = windows.size(); i-- > 0;) {
    Windows one(windows.size(), Window{1});
    one[i] = windows[i];
    x = largestOf(x, one, steps);
  }
  return x;
}

//===--------------------------------------------------------------------------------------------------------------===//

/// Puts `results` in the op's place. What was built for them since `before` are parts.
void replace(Operation *op, Operation *before, ArrayRef<Expr> results) {
  Builder builder(op->getContext());
  for (Operation *part = before ? before->getNextNode() : &op->getBlock()->front(); part != op;
       part = part->getNextNode())
    if (llvm::none_of(results, [&](Expr result) { return result.get().getDefiningOp() == part; }))
      part->setAttr("hw.part", builder.getUnitAttr());
  for (auto [old, result] : llvm::zip_equal(op->getResults(), results))
    old.replaceAllUsesWith(result.get());
  op->erase();
}

template <class Op> void decomposeAll(Block &block) {
  for (Op op : llvm::to_vector(block.getOps<Op>())) {
    OpBuilder builder(op);
    Site site{builder, op.getLoc()};
    Operation *before = op->getPrevNode();
    auto results = loops(op, site);
    if constexpr (std::is_same_v<Op, MaxPoolOp>)
      replace(op, before, {results.value, results.position});
    else
      replace(op, before, results);
  }
}

} // namespace

void hw::backend::decompose(Block &block) {
  block.getParentOp()->getContext()->getOrLoadDialect<HwbDialect>();
  decomposeAll<ConvOp>(block);
  decomposeAll<ConvBackwardDataOp>(block);
  decomposeAll<ConvBackwardWeightsOp>(block);
  decomposeAll<MaxPoolOp>(block);
  decomposeAll<PoolGatherOp>(block);
  decomposeAll<PoolScatterOp>(block);
  decomposeAll<WindowSumOp>(block);
  decomposeAll<WindowSpreadOp>(block);
}
