#include "ir/Ranges.h"
#include "ir/Dialects.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>

using namespace mlir;
using namespace hw;

namespace {

/// Of a constant with more elements only the type counts.
constexpr int64_t mostElements = 1 << 16;

class Search {
public:
  std::optional<Range> of(Value value) {
    auto tensor = dyn_cast<RankedTensorType>(value.getType());
    if (!tensor)
      return std::nullopt;
    Type element = tensor.getElementType();
    Operation *op = value.getDefiningOp();
    std::optional<Range> range = op && budget-- > 0 ? computed(op, value) : std::nullopt;
    if (auto integer = dyn_cast<IntegerType>(element)) {
      // What does not fit wraps around, to anywhere.
      Range all = ofType(integer);
      return range && range->low >= all.low && range->high <= all.high ? range : all;
    }
    if (range && element.isF32()) // rounding keeps order
      range = Range{float(range->low), float(range->high), range->whole};
    if (!range || !std::isfinite(range->low) || !std::isfinite(range->high))
      return std::nullopt;
    return range;
  }

private:
  static Range ofType(IntegerType type) {
    unsigned bits = type.getWidth();
    if (bits == 1)
      return {0, 1, true};
    return type.isUnsigned() ? Range{0, std::ldexp(1.0, int(bits)) - 1, true}
                             : Range{-std::ldexp(1.0, int(bits) - 1), std::ldexp(1.0, int(bits) - 1) - 1, true};
  }

  static std::optional<Range> ofConstant(DenseElementsAttr constant) {
    if (!constant || constant.getNumElements() == 0 ||
        (!constant.isSplat() && constant.getNumElements() > mostElements))
      return std::nullopt;
    Range range{INFINITY, -INFINITY, true};
    bool isNumber = true;
    auto add = [&](double number) {
      isNumber &= std::isfinite(number);
      range = {std::min(range.low, number), std::max(range.high, number), range.whole && number == std::floor(number)};
    };
    int64_t count = constant.isSplat() ? 1 : constant.getNumElements();
    if (isa<FloatType>(constant.getElementType())) {
      auto values = constant.getValues<APFloat>();
      for (int64_t i = 0; i < count; ++i) {
        APFloat wide = values[i];
        bool lossy;
        wide.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lossy);
        add(wide.convertToDouble());
      }
    } else {
      auto type = cast<IntegerType>(constant.getElementType());
      auto values = constant.getValues<APInt>();
      for (int64_t i = 0; i < count; ++i) {
        APInt number = values[i];
        add(type.isUnsigned() || type.getWidth() == 1 ? double(number.getZExtValue()) : double(number.getSExtValue()));
      }
    }
    return isNumber ? std::optional(range) : std::nullopt;
  }

  std::optional<Range> both(Operation *op, Range (*combine)(const Range &, const Range &)) {
    auto x = of(op->getOperand(0));
    auto y = x ? of(op->getOperand(1)) : std::nullopt;
    return y ? std::optional(combine(*x, *y)) : std::nullopt;
  }

  static Range hull(std::initializer_list<double> ends, bool whole) { return {std::min(ends), std::max(ends), whole}; }
  static Range unite(const Range &x, const Range &y) {
    return {std::min(x.low, y.low), std::max(x.high, y.high), x.whole && y.whole};
  }

  std::optional<Range> computed(Operation *op, Value value) {
    using Found = std::optional<Range>;
    Type element = elementOf(value);
    return llvm::TypeSwitch<Operation *, Found>(op)
        .Case([&](ConstantOp constant) { return ofConstant(dyn_cast<DenseElementsAttr>(constant.getValue())); })
        .Case([&](IotaOp iota) {
          return Found({0, double(std::max<int64_t>(shapeOf(value)[iota.getDim()] - 1, 0)), true});
        })
        .Case([&](WholeOp whole) { return Found({0, double(whole.getCount()) - 1, true}); })
        .Case([&](ReduceMaxOp max) {
          if (value == max.getIndex())
            return Found({0, double(shapeOf(max.getOperand())[max.getDim()]) - 1, true});
          return of(max.getOperand());
        })
        .Case<BroadcastOp, TransposeOp, SliceOp, ReverseOp, ReshapeOp, GatherOp, StopGradientOp>(
            [&](Operation *) { return of(op->getOperand(0)); })
        .Case([&](PadOp pad) {
          auto x = of(pad.getOperand());
          return x ? Found(unite(*x, {0, 0, true})) : x;
        })
        .Case([&](ConcatOp concat) {
          Found all = of(concat.getOperand(0));
          for (Value part : concat.getOperands().drop_front()) {
            auto next = all ? of(part) : all;
            all = next ? Found(unite(*all, *next)) : Found();
          }
          return all;
        })
        .Case([&](SelectOp select) {
          auto x = of(select.getOperand(1)), y = of(select.getOperand(2));
          return x && y ? Found(unite(*x, *y)) : Found();
        })
        .Case([&](CastOp cast) {
          auto x = of(cast.getOperand());
          if (x && isa<IntegerType>(element)) {
            if (element.isInteger(1))
              return Found({0, 1, true});
            return Found({std::trunc(x->low), std::trunc(x->high), true});
          }
          return x;
        })
        .Case([&](NegOp) {
          auto x = of(op->getOperand(0));
          return x ? Found({-x->high, -x->low, x->whole}) : x;
        })
        .Case([&](FloorOp) {
          auto x = of(op->getOperand(0));
          return x ? Found({std::floor(x->low), std::floor(x->high), true}) : x;
        })
        .Case([&](AbsOp) {
          auto x = of(op->getOperand(0));
          if (!x)
            return x;
          double far = std::max(std::fabs(x->low), std::fabs(x->high));
          return Found({x->low > 0 ? x->low : x->high < 0 ? -x->high : 0, far, x->whole});
        })
        .Case([&](AddOp) {
          return both(op, [](const Range &x, const Range &y) {
            return Range{x.low + y.low, x.high + y.high, x.whole && y.whole};
          });
        })
        .Case([&](SubOp) {
          return both(op, [](const Range &x, const Range &y) {
            return Range{x.low - y.high, x.high - y.low, x.whole && y.whole};
          });
        })
        .Case([&](MulOp) {
          return both(op, [](const Range &x, const Range &y) {
            return hull({x.low * y.low, x.low * y.high, x.high * y.low, x.high * y.high}, x.whole && y.whole);
          });
        })
        .Case([&](MinOp) {
          return both(op, [](const Range &x, const Range &y) {
            return Range{std::min(x.low, y.low), std::min(x.high, y.high), x.whole && y.whole};
          });
        })
        .Case([&](MaxOp) {
          return both(op, [](const Range &x, const Range &y) {
            return Range{std::max(x.low, y.low), std::max(x.high, y.high), x.whole && y.whole};
          });
        })
        .Case([&](DivOp) {
          auto x = of(op->getOperand(0)), y = of(op->getOperand(1));
          if (!x || !y || (y->low <= 0 && y->high >= 0))
            return Found();
          Range range = hull({x->low / y->low, x->low / y->high, x->high / y->low, x->high / y->high}, false);
          if (isa<IntegerType>(element))
            range = {std::trunc(range.low), std::trunc(range.high), true};
          return Found(range);
        })
        .Default([](Operation *) { return Found(); });
  }

  int budget = 400;
};

} // namespace

std::optional<Range> hw::rangeOf(Value value) { return Search().of(value); }
