// Gradients and Hessian-vector products against central differences.
#include "runtime/Philox.h"
#include "runtime/Walk.h"
#include "runtime/formats/Streams.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace hw::runtime {
namespace {

using Vector = std::vector<double>;

/// Every weight, one tensor after the other.
class Functions {
public:
  Functions(GradcheckNode &node, std::function<void(const Body &)> run) : node(node), run(std::move(run)) {
    for (const Slot *slot : node.weights) {
      starts.push_back(base.size());
      const auto *values = reinterpret_cast<const double *>(slot->data);
      base.insert(base.end(), values, values + slot->count);
    }
    starts.push_back(base.size());
  }
  /// The regions may read the weights' own slots: these are left as they were.
  ~Functions() { write(node.weights, 0, base); }

  Vector base;
  std::vector<size_t> starts;

  struct Loss {
    double value, kinks;
  };
  Loss loss(const Vector &w) {
    write(node.loss.arguments, 0, w);
    run(node.loss.body);
    return {node.loss.results[0]->at(), node.loss.results[1]->at()};
  }
  Vector gradient(const Vector &w) {
    write(node.gradient.arguments, 0, w);
    run(node.gradient.body);
    return read(node.gradient.results);
  }
  Vector product(const Vector &w, const Vector &v) {
    write(node.product.arguments, 0, w);
    write(node.product.arguments, node.weights.size(), v);
    run(node.product.body);
    return read(node.product.results);
  }

private:
  GradcheckNode &node;
  std::function<void(const Body &)> run;

  void write(const std::vector<Slot *> &slots, size_t first, const Vector &values) {
    for (size_t i = 0; i + 1 < starts.size(); ++i)
      std::memcpy(slots[first + i]->data, values.data() + starts[i], (starts[i + 1] - starts[i]) * sizeof(double));
  }
  Vector read(const std::vector<Slot *> &slots) const {
    Vector result(base.size());
    for (size_t i = 0; i + 1 < starts.size(); ++i)
      std::memcpy(result.data() + starts[i], slots[i]->data, (starts[i + 1] - starts[i]) * sizeof(double));
    return result;
  }
};

/// Norms of a difference and of what is compared, over some entries.
struct Comparison {
  double difference = 0, left = 0, right = 0;
  int64_t entries = 0;
  void add(double a, double b) {
    difference += (a - b) * (a - b);
    left += a * a;
    right += b * b;
    ++entries;
  }
  /// |a - b| / max(|a|, |b|, floor), `floor` a root mean square; NaN if nothing could be compared.
  double relative(double floor) const {
    if (entries == 0)
      return NAN;
    const double size = std::max({std::sqrt(left), std::sqrt(right), floor * std::sqrt(static_cast<double>(entries))});
    return size > 0 ? std::sqrt(difference) / size : 0;
  }
};

double rootMeanSquare(const Vector &v) {
  double sum = 0;
  for (double x : v)
    sum += x * x;
  return v.empty() ? 0 : std::sqrt(sum / static_cast<double>(v.size()));
}

constexpr int64_t entriesPerTensor = 200;
constexpr int directions = 2;
/// A tensor whose derivative is almost zero is measured against a thousandth of the whole derivative: differences
/// cannot resolve less.
constexpr double floorShare = 1e-3;
/// Derivatives on either side of a place that differ by less are one.
constexpr double agreement = 1e-6;

} // namespace

// Steps: a central difference at h and h / 2, extrapolated (Richardson): its error is O(h^4), and rounding adds about
// 1e-16 |E| / h. A kink between the points makes it worthless; the fingerprint of all comparisons tells, and a smaller
// h is tried. Where the weights themselves stand at a kink, that is the place of a comparison, differences are taken on
// either side of it: where they agree the function is smooth there, however it is written, and is compared.
void Walk::gradcheck(GradcheckNode &node) {
  Functions f(node, [this](const Body &body) {
    runWhole(body);
    if (wasInterrupted())
      throw Interrupted();
  });
  const auto atBase = f.loss(f.base);
  const Vector gradient = f.gradient(f.base);
  const size_t tensors = node.weights.size();
  const int64_t firstRow = node.table->rows();

  std::vector<Comparison> gradients(tensors), products(tensors);
  std::vector<int64_t> atKink(tensors, 0);
  Vector w = f.base;
  PhiloxStream random(0, 0, gradcheckTag);
  for (size_t t = 0; t < tensors; ++t) {
    const size_t count = f.starts[t + 1] - f.starts[t];
    const bool all = count <= entriesPerTensor;
    for (size_t k = 0; k < (all ? count : entriesPerTensor); ++k) {
      const size_t i =
          f.starts[t] + (all ? k : random.below(static_cast<uint32_t>(std::min<size_t>(count, UINT32_MAX))));
      const double scale = std::max(1.0, std::abs(f.base[i]));
      bool found = false;
      for (const double h : {1e-3 * scale, 1e-4 * scale, 1e-5 * scale, 1e-6 * scale}) {
        bool smooth = true;
        auto at = [&](double offset) {
          w[i] = f.base[i] + offset;
          const auto loss = f.loss(w);
          smooth = smooth && loss.kinks == atBase.kinks;
          return loss.value;
        };
        const double coarse = (at(h) - at(-h)) / (2 * h), fine = (at(h / 2) - at(-h / 2)) / h;
        if (!smooth)
          continue;
        gradients[t].add(gradient[i], (4 * fine - coarse) / 3);
        found = true;
        break;
      }
      for (const double h : {1e-3 * scale, 1e-4 * scale, 1e-5 * scale}) {
        if (found)
          break;
        bool smooth = true;
        double largest = std::abs(atBase.value); // rounding leaves some 1e-15 of it, over the step
        auto side = [&](double step) {           // the derivative from five points, O(step^4)
          double values[4], kinks[4];
          for (int k = 0; k < 4; ++k) {
            w[i] = f.base[i] + (k + 1) * step;
            const auto loss = f.loss(w);
            values[k] = loss.value, kinks[k] = loss.kinks;
            largest = std::max(largest, std::abs(loss.value));
            smooth = smooth && kinks[k] == kinks[0];
          }
          return (-25 * atBase.value + 48 * values[0] - 36 * values[1] + 16 * values[2] - 3 * values[3]) / (12 * step);
        };
        const double above = side(h / 4), below = side(-h / 4);
        const double size = std::max(std::abs(above), std::abs(below));
        if (!smooth || !(std::abs(above - below) <= agreement * size + 1e-13 * largest / (h / 4)))
          continue;
        gradients[t].add(gradient[i], (above + below) / 2);
        found = true;
      }
      w[i] = f.base[i];
      if (!found)
        ++atKink[t];
    }
  }

  double productSize = 0;
  auto along = [&](const Vector &v, double offset) {
    for (size_t i = 0; i < w.size(); ++i)
      w[i] = f.base[i] + offset * v[i];
  };
  for (int d = 0; d < directions; ++d) {
    Vector v(f.base.size());
    for (double &x : v)
      x = random.signedUnit();
    const Vector product = f.product(f.base, v);
    bool found = false;
    for (const double h : {1e-4, 1e-5, 1e-6, 1e-7, 1e-8}) {
      bool smooth = true;
      auto at = [&](double offset) {
        along(v, offset);
        smooth = smooth && f.loss(w).kinks == atBase.kinks;
        return smooth ? f.gradient(w) : Vector();
      };
      const Vector a = at(h), b = at(-h), c = at(h / 2), e = at(-h / 2);
      if (!smooth)
        continue;
      for (size_t t = 0; t < tensors; ++t)
        for (size_t i = f.starts[t]; i < f.starts[t + 1]; ++i)
          products[t].add(product[i], (4 * (c[i] - e[i]) / h - (a[i] - b[i]) / (2 * h)) / 3);
      productSize = std::max(productSize, rootMeanSquare(product));
      found = true;
      break;
    }
    if (found)
      continue;
    // From four points on a side, without the gradient at the kink itself: entries whose two sides agree.
    constexpr double h = 1e-4;
    bool smooth = true;
    double gradientSize = 0;
    auto side = [&](double step) {
      Vector result(w.size(), 0);
      double kinks = 0;
      for (int k = 0; k < 4; ++k) {
        along(v, (k + 1) * step);
        const double here = f.loss(w).kinks;
        kinks = k == 0 ? here : kinks;
        smooth = smooth && here == kinks;
        const Vector at = f.gradient(w);
        gradientSize = std::max(gradientSize, rootMeanSquare(at));
        const double factors[] = {-26, 57, -42, 11};
        for (size_t i = 0; i < result.size(); ++i)
          result[i] += factors[k] * at[i] / (6 * step);
      }
      return result;
    };
    const Vector above = side(h / 4), below = side(-h / 4);
    if (!smooth)
      continue;
    // What rounding leaves of differences of equal gradients is 0.
    const double noise = 1e-8 * gradientSize;
    auto withoutNoise = [&](double value) { return std::abs(value) <= noise ? 0 : value; };
    const double size = std::max(rootMeanSquare(above), rootMeanSquare(below));
    for (size_t t = 0; t < tensors; ++t)
      for (size_t i = f.starts[t]; i < f.starts[t + 1]; ++i)
        if (std::abs(above[i] - below[i]) <=
            agreement * std::max({std::abs(above[i]), std::abs(below[i]), floorShare * size}) + noise)
          products[t].add(product[i], withoutNoise((above[i] + below[i]) / 2));
    productSize = std::max(productSize, rootMeanSquare(product));
  }

  const double gradientFloor = floorShare * rootMeanSquare(gradient), productFloor = floorShare * productSize;
  const Table &table = *node.table;
  for (size_t t = 0; t < tensors; ++t) {
    const double gradientError = gradients[t].relative(gradientFloor),
                 productError = products[t].relative(productFloor);
    double *row = node.table->append();
    for (const auto &[cell, value] : node.keys)
      row[cell] = value;
    row[table.find("parameter")->cell] = node.table->intern(node.names[t]);
    row[table.find("entries")->cell] = static_cast<double>(gradients[t].entries + atKink[t]);
    row[table.find("gradient_error")->cell] = gradientError;
    row[table.find("hvp_error")->cell] = productError;
    row[table.find("at_kink")->cell] = static_cast<double>(atKink[t]);
    // Written so that an error that is NaN for another reason than a kink counts.
    const bool gradientFine = gradients[t].entries == 0 || gradientError <= 1e-6;
    const bool productFine = products[t].entries == 0 || productError <= 1e-5;
    failedGradcheck = failedGradcheck || !gradientFine || !productFine;
  }
  if (options.printGradchecks)
    printGradcheck(node, firstRow);
}

void Walk::printGradcheck(const GradcheckNode &node, int64_t firstRow) {
  const Table &table = *node.table;
  if (options.progress)
    options.progress->clear();
  size_t width = 9;
  for (const std::string &name : node.names)
    width = std::max(width, oneLine(name).size());
  auto error = [](double value) { return std::isnan(value) ? std::string("at a kink") : fmt::format("{:.1e}", value); };
  // Which check it is, where loops make several: "errors (model = relu)".
  std::string place;
  for (const auto &[cell, value] : node.keys)
    for (const Table::Column &column : table.columns())
      if (column.cell == cell)
        place += fmt::format("{}{} = {}", place.empty() ? " (" : ", ", column.name,
                             column.type == Table::Type::text ? table.text(value) : fmt::format("{}", value));
  show("{}{}\n{:<{}}  {:>7}  {:>14}  {:>10}\n", table.name(), place.empty() ? place : place + ")", "parameter", width,
       "entries", "gradient error", "hvp error");
  for (int64_t i = firstRow; i < table.rows(); ++i) {
    const double *row = table.row(i);
    const double kinks = row[table.find("at_kink")->cell];
    show("{:<{}}  {:>7.0f}  {:>14}  {:>10}", oneLine(table.text(row[table.find("parameter")->cell])), width,
         row[table.find("entries")->cell], error(row[table.find("gradient_error")->cell]),
         error(row[table.find("hvp_error")->cell]));
    if (kinks > 0)
      show("  ({:.0f} at a kink)", kinks);
    show("\n");
  }
  std::fflush(stdout);
}

} // namespace hw::runtime
