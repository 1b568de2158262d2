// Primitives over windows: convolution and pooling. x is [N, C, ...] with one to three spatial axes.
#include "frontend/elaborate/Windows.h"

using namespace mlir;

namespace hw::lang {

namespace {

/// Sizes, strides and paddings beyond this are mistakes; below, no product of two overflows.
constexpr int64_t largestStep = 1 << 30;

int64_t step(Elaborator &e, const Val &value, int64_t least, const std::string &what) {
  int64_t n = e.knownInt(value, what);
  if (n < least || n > largestStep)
    e.fail(what + " is a whole number from " + std::to_string(least) + " to 2^30, found " + std::to_string(n));
  return n;
}

/// A number, the same along each axis, or a list of one per axis. Not given: `otherwise`, if there is such a thing.
SmallVector<int64_t> perAxis(Elaborator &e, const Val &value, size_t axes, int64_t least, const std::string &what,
                             std::optional<ArrayRef<int64_t>> otherwise = {}) {
  if (otherwise && (!value || as<None>(value)))
    return SmallVector<int64_t>(*otherwise);
  auto *list = as<List>(value);
  if (!list)
    return SmallVector<int64_t>(axes, step(e, value, least, what));
  if (list->items.size() != axes)
    e.fail(what + " is a number, or a list of one for each of the " + std::to_string(axes) + " spatial axes; found " +
           describe(value));
  return llvm::map_to_vector(list->items, [&](const Val &item) { return step(e, item, least, what); });
}

struct Padding {
  SmallVector<int64_t> low, high;
};

/// As `perAxis`, each a number for both sides or a pair [before, after].
Padding paddingOf(Elaborator &e, const Val &value, size_t axes) {
  SmallVector<int64_t> none(axes, 0);
  auto *list = value ? as<List>(value) : nullptr;
  if (!list || list->items.size() != axes || llvm::none_of(list->items, [](const Val &v) { return as<List>(v); })) {
    auto both = perAxis(e, value, axes, 0, "`padding`", ArrayRef(none));
    return {both, both};
  }
  Padding padding;
  for (const Val &item : list->items) {
    auto *sides = as<List>(item);
    if (sides && sides->items.size() != 2)
      e.fail("`padding` of an axis is a number or a pair, before and after; found " + describe(item));
    padding.low.push_back(step(e, sides ? sides->items[0] : item, 0, "`padding`"));
    padding.high.push_back(step(e, sides ? sides->items[1] : item, 0, "`padding`"));
  }
  return padding;
}

std::string layout(size_t axes) {
  static const char *const layouts[] = {"[N, C, ...]", "[N, C, L]", "[N, C, H, W]", "[N, C, D, H, W]"};
  return layouts[axes < 4 ? axes : 0];
}

/// x: [N, C, ...] with so many spatial axes; 0: with any number.
void requireImages(Elaborator &e, Value x, size_t axes, const char *what) {
  auto shape = shapeOf(x);
  if (axes ? shape.size() == axes + 2 : shape.size() >= 3)
    return;
  const char *fix = shape.size() == 2 ? "`reshape(x, [x.shape[0], channels, height, width])` makes images of rows"
                    : shape.size() == axes + 1 ? "`x[:, None]` gives it an axis of one channel"
                                               : "";
  e.fail(std::string(what) + " takes " + layout(axes) + ", found a tensor of shape " + shapeText(shape), fix);
}

void requireFit(Elaborator &e, Window window, int64_t size, size_t axis, const char *what) {
  if (window.count(size) > 0)
    return;
  int64_t reach = (window.size - 1) * window.dilation + 1, room = window.low + size + window.high;
  e.fail(std::string(what) + " of size " + std::to_string(window.size) +
             (window.dilation > 1 ? ", dilated to " + std::to_string(reach) + "," : "") + " does not fit axis " +
             std::to_string(axis + 2) + " of size " + std::to_string(size) +
             (room > size ? ", " + std::to_string(room) + " with its padding" : ""),
         "choose a smaller one, or more `padding`");
}

/// x with its padding, the largest tensor that takes part, must fit into memory.
void requireRoom(Elaborator &e, Value x, const Padding &padding) {
  SmallVector<int64_t> shape(shapeOf(x));
  for (size_t i = 0; i < padding.low.size(); ++i)
    shape[i + 2] += padding.low[i] + padding.high[i];
  e.tensorType(shape, elementOf(x));
}

/// What windowMax and windowSum share.
struct Pool {
  Value x;
  SmallVector<int64_t> window, stride;
  Padding padding;
};

Pool poolOf(Elaborator &e, Args &a) {
  Pool pool;
  pool.x = e.floatTensorOf(a.positional[0], "a tensor in pooling");
  auto *list = as<List>(a.positional[1]);
  requireImages(e, pool.x, list ? list->items.size() : 0, "pooling");
  size_t axes = shapeOf(pool.x).size() - 2;
  pool.window = perAxis(e, a.positional[1], axes, 1, "the size of a window");
  pool.stride = perAxis(e, a.keyword("stride"), axes, 1, "`stride`", ArrayRef(pool.window));
  pool.padding = paddingOf(e, a.keyword("padding"), axes);
  SmallVector<int64_t> shape(shapeOf(pool.x));
  requireRoom(e, pool.x, pool.padding);
  for (size_t i = 0; i < axes; ++i) {
    Window window{pool.window[i], pool.stride[i], pool.padding.low[i], pool.padding.high[i]};
    requireFit(e, window, shape[i + 2], i, "a window");
    int64_t count = window.count(shape[i + 2]);
    if (window.low >= window.size || (count - 1) * window.stride - window.low >= shape[i + 2])
      e.fail("with a padding of " + std::to_string(window.low) + " and " + std::to_string(window.high) +
                 ", a window of size " + std::to_string(window.size) + " would see no element of axis " +
                 std::to_string(i + 2),
             "pad less than the window's size");
  }
  return pool;
}

} // namespace

// The shape [n, C / groups, K...] of a convolution's weight, checked against its input.
Val kernelShape(Elaborator &e, Args &a) {
  Value x = e.tensorOf(a.positional[0], "the input of a convolution");
  int64_t n = step(e, a.positional[1], 1, "the number of output channels");
  auto *list = as<List>(a.positional[2]);
  if (!list)
    e.fail("a kernel is a list of sizes here, found " + describe(a.positional[2]), "`pair(3)` is `[3, 3]`");
  requireImages(e, x, list->items.size(), "a convolution");
  int64_t channels = shapeOf(x)[1];
  int64_t groups = a.keyword("groups") ? step(e, a.keyword("groups"), 1, "`groups`") : 1;
  if (channels % groups || n % groups)
    e.fail(std::to_string(groups) + " groups do not divide " + std::to_string(channels) + " input channels and " +
           std::to_string(n) + " output channels evenly");
  std::vector<Val> shape{number(double(n)), number(double(channels / groups))};
  for (const Val &item : list->items)
    shape.push_back(number(double(step(e, item, 1, "a kernel's size"))));
  return lang::list(std::move(shape));
}

Val conv(Elaborator &e, Args &a) {
  Value x = e.floatTensorOf(a.positional[0], "the input of `conv`");
  Value w = e.floatTensorOf(a.positional[1], "the weight of `conv`");
  SmallVector<int64_t> in(shapeOf(x)), kernel(shapeOf(w));
  if (kernel.size() < 3)
    e.fail("a weight of `conv` is [n, C / groups, ...], found a tensor of shape " + shapeText(kernel));
  size_t axes = kernel.size() - 2;
  requireImages(e, x, axes, "`conv`");
  int64_t groups = a.keyword("groups") ? step(e, a.keyword("groups"), 1, "`groups`") : 1;
  if (in[1] % groups || kernel[0] % groups)
    e.fail(std::to_string(groups) + " groups do not divide " + std::to_string(in[1]) + " input channels and " +
           std::to_string(kernel[0]) + " output channels evenly");
  if (kernel[1] * groups != in[1])
    e.fail("the weight " + shapeText(kernel) + " reads " + std::to_string(kernel[1] * groups) +
           " channels, but the input " + shapeText(in) + " has " + std::to_string(in[1]));
  SmallVector<int64_t> ones(axes, 1), shape{in[0], kernel[0]};
  auto stride = perAxis(e, a.keyword("stride"), axes, 1, "`stride`", ArrayRef(ones));
  auto dilation = perAxis(e, a.keyword("dilation"), axes, 1, "`dilation`", ArrayRef(ones));
  Padding padding = paddingOf(e, a.keyword("padding"), axes);
  requireRoom(e, x, padding);
  for (size_t i = 0; i < axes; ++i) {
    Window window{kernel[i + 2], stride[i], padding.low[i], padding.high[i], dilation[i]};
    requireFit(e, window, in[i + 2], i, "a kernel");
    shape.push_back(window.count(in[i + 2]));
  }
  bool isWide = elementOf(x).isF64() || elementOf(w).isF64();
  Type element = isWide ? e.f64() : Type(e.builder.getF32Type());
  e.tensorType(shape, element);
  return tensor(ConvOp::create(e.builder, e.loc(), e.cast(x, element), e.cast(w, element), stride, padding.low,
                               padding.high, dilation, groups));
}

Val windowMax(Elaborator &e, Args &a) {
  Pool p = poolOf(e, a);
  return tensor(
      MaxPoolOp::create(e.builder, e.loc(), p.x, p.window, p.stride, p.padding.low, p.padding.high).getValue());
}

Val windowSum(Elaborator &e, Args &a) {
  Pool p = poolOf(e, a);
  return tensor(WindowSumOp::create(e.builder, e.loc(), p.x, p.window, p.stride, p.padding.low, p.padding.high));
}

Val pair(Elaborator &e, Args &a) {
  auto both = perAxis(e, a.positional[0], 2, 1, "the size of a kernel or a window");
  return list({number(double(both[0])), number(double(both[1]))});
}

} // namespace hw::lang
