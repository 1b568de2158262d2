// The runtime on plans written by hand, with C++ functions as compiled entries.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "runtime/Bench.h"
#include "runtime/KernelTable.h"
#include "runtime/Limits.h"
#include "runtime/LinearAlgebra.h"
#include "runtime/Main.h"
#include "runtime/Marks.h"
#include "runtime/OneDnn.h"
#include "runtime/Philox.h"
#include "runtime/SideBySide.h"
#include "runtime/Study.h"
#include "runtime/Threads.h"
#include "runtime/Timeline.h"
#include "runtime/formats/Npy.h"
#include "runtime/formats/Safetensors.h"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <sstream>
#include <thread>
#include <unistd.h>

using namespace hw;
using namespace hw::runtime;
using Json = nlohmann::json;
namespace fs = std::filesystem;

static std::atomic<int64_t> allocations = 0;
#ifdef HW_SANITIZED // which brings operators of its own, and hooks for them
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void *, size_t),
                                                         void (*)(const volatile void *));
[[maybe_unused]] static const int hooks = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void *, size_t) { ++allocations; }, [](const volatile void *) {});
#else
[[gnu::noinline]] void *operator new(size_t size) {
  ++allocations;
  if (void *memory = std::malloc(size))
    return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void *memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void *memory, size_t) noexcept { std::free(memory); }
#endif

namespace {

fs::path scratchFolder() {
  static const fs::path base = [] {
    std::string name = (fs::temp_directory_path() / "hw-runtime-XXXXXX").string();
    return fs::path(mkdtemp(name.data()));
  }();
  static int next = 0;
  return base / std::to_string(next++);
}

std::string readText(const fs::path &path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

/// What `run` writes to `descriptor`.
template <class Run> std::string captured(int descriptor, Run &&run) {
  char name[] = "/tmp/hw-capture-XXXXXX";
  const int file = mkstemp(name), saved = dup(descriptor);
  std::fflush(nullptr);
  dup2(file, descriptor);
  run();
  std::fflush(nullptr);
  dup2(saved, descriptor);
  close(saved);
  close(file);
  const std::string text = readText(name);
  unlink(name);
  return text;
}

/// A program under construction.
struct Builder {
  Json slots = Json::array(), settings = Json::array(), body = Json::array();
  uint64_t arena = 0;
  std::vector<hw_entry> entries;
  std::string identity = "1", text;
  hw_program program{};

  int slot(const char *type, Shape shape = {}) {
    const uint64_t size = type[0] == 'f' || type[0] == 'i' || type[0] == 'u' ? 8 : 8; // room enough for every type
    slots.push_back({{"type", type}, {"shape", shape}, {"offset", arena}});
    arena += (static_cast<uint64_t>(*elementCount(shape)) * size + 63) / 64 * 64;
    return static_cast<int>(slots.size()) - 1;
  }
  int setting(const char *name, Json value, bool fixed = false) {
    const int where = slot("f64");
    settings.push_back({{"name", name}, {"value", value}, {"slot", where}, {"fixed", fixed}});
    return where;
  }
  Json call(hw_function function, std::vector<int> args, std::vector<int> results = {}) {
    entries.push_back({"entry", function, 0, 0, 10, 20, nullptr, 0});
    return {{"op", "call"}, {"fn", entries.size() - 1}, {"args", args}, {"results", results}};
  }
  const hw_program &build() {
    const Json plan = {{"version", 1}, {"name", "unit"}, {"identity", identity}, {"precision", "f64"}, {"arena", arena},
                       {"scratch", 0}, {"slots", slots}, {"settings", settings}, {"body", body}};
    text = plan.dump();
    program = {HW_ABI, 16, "test", text.data(), text.size(), entries.data(), entries.size(), nullptr, 0, nullptr, 0};
    return program;
  }
};

/// A program run to its end, with its slots to look at.
struct Ran {
  Builder builder;
  runtime::Program program;
  fs::path folder = scratchFolder();
  OutDir out{folder.string(), OutDir::Existing::refuse};
  Study study;

  explicit Ran(const Builder &b, const std::string &data = ".", bool start = true)
      : builder(b), program(builder.build()), study(program, {data, &out, nullptr, false}) {
    program.load();
    if (start)
      run();
  }
  void run() {
    study.run();
    study.writeTables(true);
  }
  double value(int slot, int64_t i = 0) const { return program.plan.slots[static_cast<size_t>(slot)].at(i); }
  std::string file(const std::string &name) const { return readText(folder / name); }
};

double *doubles(void *p) { return static_cast<double *>(p); }

std::vector<double> seen; // what entries note down

void noteFirst(void *const *a, void *) { seen.push_back(*doubles(a[0])); }

} // namespace

//---- random numbers --------------------------------------------------------------------------------------------------

TEST_CASE("Philox gives the known answers of Random123") {
  // kat_vectors of the Random123 distribution, philox4x32 with 10 rounds.
  CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) == PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) == PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a bounded random number is uniform") {
  PhiloxStream random(7, 3, shuffleTag);
  std::vector<int> counts(10);
  for (int i = 0; i < 100000; ++i)
    ++counts.at(random.below(10));
  for (int count : counts)
    CHECK(std::abs(count - 10000) < 500); // five standard deviations
}

//---- threads ---------------------------------------------------------------------------------------------------------

TEST_CASE("hw_parallel runs every task once, each phase after the one before, also nested and for any width") {
  struct Frame {
    std::atomic<int> runs[3][100] = {}, early = 0, inner = 0, clashes = 0;
    std::atomic<bool> busy[8] = {};
  };
  static const auto task = []<int Phase>(void *p, int64_t number, int64_t thread) {
    Frame &f = *static_cast<Frame *>(p);
    if (f.busy[thread].exchange(true)) // nobody else may have this thread's number
      ++f.clashes;
    if constexpr (Phase > 0)
      for (auto &before : f.runs[Phase - 1])
        if (before < 1)
          ++f.early;
    ++f.runs[Phase][number];
    if (number == 7) {
      const hw_phase inside{[](void *q, int64_t, int64_t own) { *static_cast<std::atomic<int> *>(q) += own == 0; }, 5};
      hw_parallel(&inside, 1, &f.inner);
    }
    f.busy[thread] = false;
  };
  const hw_phase phases[] = {
      {[](void *p, int64_t number, int64_t thread) { task.operator()<0>(p, number, thread); }, 100},
      {[](void *p, int64_t number, int64_t thread) { task.operator()<1>(p, number, thread); }, 100},
      {[](void *p, int64_t number, int64_t thread) { task.operator()<2>(p, number, thread); }, 100}};
  for (int width : {1, 2, 3, 5}) {
    setThreads(width);
    for (int again = 0; again < 300; ++again) {
      Frame frame;
      hw_parallel(phases, 3, &frame);
      bool isOnce = true;
      for (auto &phase : frame.runs)
        for (auto &runs : phase)
          isOnce &= runs == 1;
      CHECK(isOnce);
      CHECK(frame.early == 0);
      CHECK(frame.clashes == 0);
      CHECK(frame.inner == 15);
    }
  }
  setThreads(availableCores());
}

//---- linear algebra --------------------------------------------------------------------------------------------------

template <class T> static void checkLinearAlgebra(double tolerance) {
  constexpr int batch = 2, n = 7, k = 3;
  const bool f64 = sizeof(T) == 8;
  std::mt19937 random(1);
  std::normal_distribution<double> normal;
  std::vector<T> m(batch * n * n), a(batch * n * n), b(batch * n * k), l(a.size()), x(b.size());
  for (T &v : m)
    v = static_cast<T>(normal(random));
  for (T &v : b)
    v = static_cast<T>(normal(random));
  for (int t = 0; t < batch; ++t)
    for (int i = 0; i < n; ++i)
      for (int j = 0; j < n; ++j) {
        double sum = i == j ? 1 : 0;
        for (int p = 0; p < n; ++p)
          sum += static_cast<double>(m[t * n * n + i * n + p]) * m[t * n * n + j * n + p];
        a[t * n * n + i * n + j] = static_cast<T>(sum);
      }
  // The residual of `matrix` x = b, its element given by `at`.
  auto residual = [&](auto &&at) {
    double worst = 0;
    for (int t = 0; t < batch; ++t)
      for (int i = 0; i < n; ++i)
        for (int c = 0; c < k; ++c) {
          double sum = -static_cast<double>(b[t * n * k + i * k + c]);
          for (int j = 0; j < n; ++j)
            sum += static_cast<double>(at(t, i, j)) * x[t * n * k + j * k + c];
          worst = std::max(worst, std::abs(sum));
        }
    return worst;
  };
  hw_cholesky(f64, batch, n, a.data(), l.data());
  auto lower = [&](int t, int i, int j) { return j <= i ? l[t * n * n + i * n + j] : T(0); };
  for (int t = 0; t < batch; ++t)
    for (int i = 0; i < n; ++i)
      for (int j = 0; j < n; ++j) {
        double sum = 0;
        for (int p = 0; p < n; ++p)
          sum += static_cast<double>(lower(t, i, p)) * lower(t, j, p);
        CHECK(sum == doctest::Approx(a[t * n * n + i * n + j]).epsilon(tolerance));
        if (j > i)
          CHECK(l[t * n * n + i * n + j] == 0);
      }
  for (size_t i = 0; i < l.size(); ++i) // what is above the diagonal is not read
    if (i % n > i / n % n)
      l[i] = std::numeric_limits<T>::quiet_NaN();
  hw_triangular_solve(f64, batch, n, k, 0, l.data(), b.data(), x.data());
  CHECK(residual(lower) < 10 * tolerance);
  hw_triangular_solve(f64, batch, n, k, 1, l.data(), b.data(), x.data());
  CHECK(residual([&](int t, int i, int j) { return lower(t, j, i); }) < 10 * tolerance);
  hw_lu_solve(f64, batch, n, k, m.data(), b.data(), x.data());
  CHECK(residual([&](int t, int i, int j) { return m[t * n * n + i * n + j]; }) < 100 * tolerance);
}

TEST_CASE("cholesky, triangular_solve and lu_solve solve what they say") {
  checkLinearAlgebra<double>(1e-13);
  checkLinearAlgebra<float>(1e-5);
  const double indefinite[] = {1, 2, 2, 1};
  double result[4];
  hw_cholesky(1, 1, 2, indefinite, result);
  CHECK(std::isnan(result[0]));
  CHECK(result[1] == 0);
}

/// What failOutside() says of these numbers; empty if they are all within.
template <class T> std::string outsideOf(std::vector<T> numbers, int32_t type, int32_t flags, int64_t below) {
  std::vector<uint32_t> result(numbers.size());
  hw_whole(type, flags, int64_t(numbers.size()), below, "index", "axis 0", "model.hw:1:2", numbers.data(),
           result.data());
  if (!foundOutside)
    return "";
  try {
    failOutside();
  } catch (const hw::Error &error) {
    return error.what();
  }
}

TEST_CASE("an index outside is told once, the first, and forgotten") {
  CHECK(outsideOf<int32_t>({0, 5, 2}, HW_I32, 0, 6) == "");
  CHECK(outsideOf<int32_t>({0, 6, -1}, HW_I32, 0, 6) == "model.hw:1:2: index 6 is outside axis 0");
  CHECK(outsideOf<int32_t>({-6, -7, 9}, HW_I32, HW_FROM_END, 6) == "model.hw:1:2: index -7 is outside axis 0");
  CHECK(outsideOf<double>({1, 0.5}, HW_F64, 0, 6) == "model.hw:1:2: index 0.5 is not a whole number");
  CHECK(outsideOf<double>({1, 0.5, 5.9, -0.9, -6.5}, HW_F64, HW_FROM_END | HW_CUT, 6) == "");
  CHECK(outsideOf<double>({-7}, HW_F64, HW_FROM_END | HW_CUT, 6) == "model.hw:1:2: index -7 is outside axis 0");
  CHECK(outsideOf<float>({NAN}, HW_F32, HW_CUT, 6) == "model.hw:1:2: index nan is not a whole number");
  CHECK(outsideOf<double>({4294967295.0}, HW_F64, 0, int64_t(1) << 32) == "");
  CHECK(outsideOf<double>({4294967296.0}, HW_F64, 0, int64_t(1) << 32) != "");
  CHECK(outsideOf<double>({-1e300}, HW_F64, HW_FROM_END, int64_t(1) << 32) != "");
  CHECK(outsideOf<uint8_t>({1, 255}, HW_UI8, 0, 255) == "model.hw:1:2: index 255 is outside axis 0");
  CHECK(outsideOf<uint64_t>({~uint64_t(0)}, HW_UI64, 0, 6) != "");
  CHECK(!foundOutside);
}

TEST_CASE("eigenvalues and vectors of a symmetric matrix, and how far it is from one") {
  const double a[] = {2, 1, 0, 1, 2, 1, 0, 1, 2};
  double values[3], vectors[9];
  CHECK(symmetricEigensystem(true, 3, a, values, nullptr) == 0);
  const double expected[] = {2 - std::sqrt(2), 2, 2 + std::sqrt(2)};
  for (int i = 0; i < 3; ++i)
    CHECK(values[i] == doctest::Approx(expected[i]).epsilon(1e-14));
  CHECK(symmetricEigensystem(true, 3, a, values, vectors) == 0);
  for (int j = 0; j < 3; ++j) {
    double norm = 0;
    for (int i = 0; i < 3; ++i) {
      double av = 0;
      for (int k = 0; k < 3; ++k)
        av += a[3 * i + k] * vectors[3 * k + j];
      CHECK(std::abs(av - expected[j] * vectors[3 * i + j]) < 1e-14);
      norm += vectors[3 * i + j] * vectors[3 * i + j];
    }
    CHECK(norm == doctest::Approx(1).epsilon(1e-14));
  }
  const float skew[] = {1, 1, -1, 1};
  float two[2], four[4];
  CHECK(symmetricEigensystem(false, 2, skew, two, nullptr) == 2);
  const float nan[] = {1, NAN, NAN, 1};
  symmetricEigensystem(false, 2, nan, two, four);
  CHECK(std::isnan(two[0]));
  CHECK(std::isnan(four[3]));
  // Results may lie where the matrix lies.
  double inPlace[] = {2, 1, 1, 2}, pair[2];
  symmetricEigensystem(true, 2, inPlace, pair, inPlace);
  CHECK(pair[0] == doctest::Approx(1).epsilon(1e-14));
  CHECK(std::abs(inPlace[0] + inPlace[2]) < 1e-14);
}

//---- oneDNN ----------------------------------------------------------------------------------------------------------

TEST_CASE("oneDNN's products agree with plain loops in every orientation") {
  struct Case {
    int64_t batch, m, n, k;
    bool transposeA, transposeB, transposeC, shareB, bias;
    int activation;
  };
  std::vector<Case> cases;
  for (int bits = 0; bits < 8; ++bits)
    for (auto [m, n, k] :
         {std::array<int64_t, 3>{5, 17, 9}, {64, 30, 60}, {1, 20, 7}, {20, 1, 7}, {6, 5, 1}, {1, 1, 1}})
      cases.push_back({1, m, n, k, (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, false, false, HW_LINEAR});
  for (int activation : {HW_LINEAR, HW_RELU, HW_TANH, HW_LOGISTIC})
    for (bool bias : {false, true})
      cases.push_back({1, 33, 20, 15, false, false, false, false, bias, activation});
  for (int bits = 0; bits < 8; ++bits)
    cases.push_back({3, 8, 7, 6, (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, bits % 2 == 0, true, HW_RELU});
  std::vector<hw_matmul> matmuls;
  for (const Case &c : cases) {
    auto strides = [&](int64_t rows, int64_t columns, bool transposed, int64_t (&out)[3]) {
      out[0] = rows * columns;
      out[1] = transposed ? 1 : columns;
      out[2] = transposed ? rows : 1;
    };
    hw_matmul m{c.batch, c.m, c.n, c.k, {}, {}, {}, c.bias, c.activation, false};
    strides(c.m, c.k, c.transposeA, m.a_stride);
    strides(c.k, c.n, c.transposeB, m.b_stride);
    strides(c.m, c.n, c.transposeC, m.c_stride);
    if (c.shareB)
      m.b_stride[0] = 0;
    matmuls.push_back(m);
  }
  hw_program program{};
  program.matmuls = matmuls.data();
  program.matmul_count = matmuls.size();
  OneDnn dnn(program);
  CHECK(oneDnnVersion().substr(0, 2) == "3.");
  std::mt19937 random(3);
  std::uniform_real_distribution<float> uniform(-1, 1);
  auto fill = [&](int64_t n) {
    std::vector<float> v(static_cast<size_t>(n));
    for (float &x : v)
      x = uniform(random);
    return v;
  };
  for (size_t i = 0; i < matmuls.size(); ++i) {
    const hw_matmul &m = matmuls[i];
    const auto a = fill(m.batch * m.m * m.k), b = fill(m.batch * m.k * m.n), bias = fill(m.n);
    std::vector<float> c(static_cast<size_t>(m.batch * m.m * m.n), NAN);
    hw_run_matmul(static_cast<int64_t>(i), 0, a.data(), b.data(), m.has_bias ? bias.data() : nullptr, c.data());
    double worst = 0;
    auto at = [](const std::vector<float> &v, const int64_t (&s)[3], int64_t t, int64_t r, int64_t q) {
      return static_cast<double>(v[static_cast<size_t>(t * s[0] + r * s[1] + q * s[2])]);
    };
    for (int64_t t = 0; t < m.batch; ++t)
      for (int64_t r = 0; r < m.m; ++r)
        for (int64_t q = 0; q < m.n; ++q) {
          double sum = m.has_bias ? bias[static_cast<size_t>(q)] : 0;
          for (int64_t p = 0; p < m.k; ++p)
            sum += at(a, m.a_stride, t, r, p) * at(b, m.b_stride, t, p, q);
          sum = m.activation == HW_RELU       ? std::max(sum, 0.0)
                : m.activation == HW_TANH     ? std::tanh(sum)
                : m.activation == HW_LOGISTIC ? 1 / (1 + std::exp(-sum))
                                              : sum;
          const double difference = std::abs(at(c, m.c_stride, t, r, q) - sum);
          worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
        }
    CAPTURE(i);
    CHECK(worst < 1e-5);
  }
}

/// A convolution's three tensors as hw_convolution lays them out, and their elements by place.
struct ConvolutionCase {
  hw_convolution c{};

  static int64_t product(const int64_t *sizes, int64_t count) {
    return std::accumulate(sizes, sizes + count, int64_t(1), std::multiplies<>());
  }
  int64_t blocks(int64_t channels) const { return (channels + c.block - 1) / c.block; }
  bool isThin() const { return c.kind != HW_BACKWARD_DATA && c.channels_in <= 3; }
  int64_t xSize() const { return c.images * product(c.input, c.spatial) * c.channels_in; }
  int64_t ySize() const { return c.images * product(c.output, c.spatial) * c.channels_out; }
  int64_t wSize() const {
    return blocks(c.channels_out) * c.block * product(c.kernel, c.spatial) *
           (isThin() ? c.channels_in : blocks(c.channels_in) * c.block);
  }
  int64_t wAt(int64_t out, int64_t in, int64_t tap) const {
    const int64_t taps = product(c.kernel, c.spatial), b = c.block;
    if (isThin())
      return ((out / b * taps + tap) * c.channels_in + in) * b + out % b;
    const int64_t block = (out / b * blocks(c.channels_in) + in / b) * taps + tap;
    return c.kind == HW_BACKWARD_DATA ? (block * b + out % b) * b + in % b : (block * b + in % b) * b + out % b;
  }

  /// Calls visit(image, out, in, y's pixel, x's pixel, kernel's tap) for each product that the convolution sums.
  template <class Visit> void eachProduct(Visit &&visit) const {
    const int64_t pixels = product(c.output, c.spatial), taps = product(c.kernel, c.spatial);
    for (int64_t pixel = 0; pixel < pixels; ++pixel)
      for (int64_t tap = 0; tap < taps; ++tap) {
        int64_t from = 0, stride = 1, p = pixel, t = tap;
        bool isInside = true;
        for (int i = c.spatial; i-- > 0;) {
          const int64_t at = p % c.output[i] * c.stride[i] + t % c.kernel[i] * c.dilation[i] - c.low[i];
          isInside &= at >= 0 && at < c.input[i];
          from += at * stride;
          stride *= c.input[i];
          p /= c.output[i];
          t /= c.kernel[i];
        }
        if (!isInside)
          continue;
        for (int64_t image = 0; image < c.images; ++image)
          for (int64_t out = 0; out < c.channels_out; ++out)
            for (int64_t in = 0; in < c.channels_in; ++in)
              visit(image, out, in, (image * pixels + pixel) * c.channels_out + out,
                    (image * stride + from) * c.channels_in + in, tap);
      }
  }
};

/// How far oneDNN's convolution number `index` is from plain loops in double, at most; infinite where a place of the
/// result was not written, or a weight between the channels and the end of their block is not 0.
double convolutionError(int64_t index, const ConvolutionCase &test, std::mt19937 &random) {
  const hw_convolution &c = test.c;
  std::uniform_real_distribution<float> uniform(-1, 1);
  auto fill = [&](int64_t n) {
    std::vector<float> v(static_cast<size_t>(n));
    for (float &value : v)
      value = uniform(random);
    return v;
  };
  auto x = fill(test.xSize()), y = fill(test.ySize()), bias = fill(c.channels_out);
  std::vector<float> w(static_cast<size_t>(test.wSize()), 0.F);
  for (int64_t out = 0; out < c.channels_out; ++out)
    for (int64_t in = 0; in < c.channels_in; ++in)
      for (int64_t tap = 0; tap < test.product(c.kernel, c.spatial); ++tap)
        w[static_cast<size_t>(test.wAt(out, in, tap))] = uniform(random);

  std::vector<float> &result = c.kind == HW_FORWARD ? y : c.kind == HW_BACKWARD_DATA ? x : w;
  std::vector<double> expected(result.size());
  if (c.kind == HW_FORWARD && c.has_bias)
    for (size_t i = 0; i < expected.size(); ++i)
      expected[i] = static_cast<double>(bias[i % bias.size()]);
  test.eachProduct([&](int64_t, int64_t out, int64_t in, int64_t toY, int64_t fromX, int64_t tap) {
    const auto atY = static_cast<size_t>(toY), atX = static_cast<size_t>(fromX),
               atW = static_cast<size_t>(test.wAt(out, in, tap));
    if (c.kind == HW_FORWARD)
      expected[atY] += static_cast<double>(x[atX]) * w[atW];
    else if (c.kind == HW_BACKWARD_DATA)
      expected[atX] += static_cast<double>(y[atY]) * w[atW];
    else
      expected[atW] += static_cast<double>(x[atX]) * y[atY];
  });
  if (c.activation == HW_RELU)
    for (double &value : expected)
      value = std::max(value, 0.0);

  result.assign(result.size(), NAN);
  const auto &a = c.kind == HW_BACKWARD_DATA ? w : x, &b = c.kind == HW_FORWARD ? w : y;
  hw_run_convolution(index, 0, a.data(), b.data(), c.has_bias ? bias.data() : nullptr, result.data());
  double worst = 0;
  for (size_t i = 0; i < result.size(); ++i) {
    const double difference = std::abs(result[i] - expected[i]);
    const bool isFilled = c.kind != HW_BACKWARD_WEIGHTS || expected[i] != 0 || result[i] == 0;
    worst = std::isnan(difference) || !isFilled ? INFINITY
                                                : std::max(worst, difference / std::max(1.0, std::abs(expected[i])));
  }
  return worst;
}

TEST_CASE("oneDNN's convolutions agree with plain loops") {
  struct Space {
    std::vector<int64_t> input, kernel, stride, dilation, low, high;
  };
  const std::vector<Space> spaces = {
      {{9}, {3}, {1}, {1}, {1}, {1}},
      {{11}, {4}, {3}, {2}, {2}, {1}},
      {{6, 5}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
      {{7, 8}, {5, 2}, {2, 1}, {1, 1}, {3, 0}, {1, 1}},
      {{8, 7}, {3, 2}, {2, 3}, {2, 1}, {0, 1}, {3, 0}},
      {{5, 5}, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}},
      {{4, 5, 3}, {2, 3, 3}, {1, 2, 1}, {1, 1, 1}, {0, 1, 1}, {1, 1, 0}},
  };
  const int64_t channels[] = {1, 3, 4, 15, 17, 20, 32, 66};
  std::vector<ConvolutionCase> cases;
  for (int kind : {HW_FORWARD, HW_BACKWARD_DATA, HW_BACKWARD_WEIGHTS})
    for (int64_t in : channels)
      for (size_t s = 0; s < spaces.size(); ++s)
        for (int32_t block : {16, 8}) {
          const Space &space = spaces[s];
          ConvolutionCase test;
          hw_convolution &c = test.c;
          c.kind = kind;
          c.spatial = static_cast<int32_t>(space.input.size());
          c.images = 3;
          c.channels_in = in;
          c.channels_out = channels[(cases.size() * 5 + s) % std::size(channels)];
          c.block = block;
          for (size_t i = 0; i < space.input.size(); ++i) {
            c.input[i] = space.input[i];
            c.kernel[i] = space.kernel[i];
            c.stride[i] = space.stride[i];
            c.dilation[i] = space.dilation[i];
            c.low[i] = space.low[i];
            c.high[i] = space.high[i];
            c.output[i] = (c.input[i] + c.low[i] + c.high[i] - (c.kernel[i] - 1) * c.dilation[i] - 1) / c.stride[i] + 1;
          }
          if (kind == HW_FORWARD) {
            c.has_bias = cases.size() % 3 != 0;
            c.activation = cases.size() % 2 ? HW_RELU : HW_LINEAR;
          }
          cases.push_back(test);
        }
  std::vector<hw_convolution> convolutions;
  for (const ConvolutionCase &test : cases)
    convolutions.push_back(test.c);
  hw_program program{};
  program.convolutions = convolutions.data();
  program.convolution_count = convolutions.size();
  for (int width : {1, 2}) {
    setThreads(width);
    OneDnn dnn(program);
    std::mt19937 random(5);
    // Layouts that oneDNN likes as they are, and such that it does not, both have to be among them.
    std::map<bool, int> reordered[3];
    for (size_t i = 0; i < cases.size(); ++i) {
      const hw_convolution &c = cases[i].c;
      ++reordered[c.kind][dnn.isReordered(static_cast<int64_t>(i))];
      CAPTURE(i);
      CAPTURE(c.kind);
      CAPTURE(c.channels_in);
      CAPTURE(c.channels_out);
      CHECK(convolutionError(static_cast<int64_t>(i), cases[i], random) < 5e-5);
    }
    for (auto &kind : reordered) {
      CHECK(kind[false] > 0);
      CHECK(kind[true] > 0);
    }
  }
  setThreads(availableCores());
}

TEST_CASE("a convolution that oneDNN cannot do is refused when the program loads") {
  hw_convolution c{};
  c.kind = HW_FORWARD;
  c.spatial = 2;
  c.images = 3;
  c.channels_in = c.channels_out = 20;
  c.block = 16;
  for (int i = 0; i < 2; ++i) {
    c.input[i] = 7 + i;
    c.kernel[i] = 3;
    c.stride[i] = c.dilation[i] = 1;
    c.output[i] = 9; // neither 5 nor 6
  }
  hw_program program{};
  program.convolutions = &c;
  program.convolution_count = 1;
  CHECK_THROWS_WITH_AS(OneDnn{program},
                       doctest::Contains("cannot do the convolution of 3 images of [20, 7, 8] with a kernel of [20, "
                                         "20, 3, 3] that this program has"),
                       Error);
}

TEST_CASE(
    "oneDNN's calls for one thread have the bits of a program on one, on several threads at once, and alone in tasks") {
  const int64_t m = 90, n = 700, k = 500;
  hw_matmul matmul{1, m, n, k, {0, k, 1}, {0, n, 1}, {0, n, 1}, 0, HW_RELU, false};
  std::mt19937 random(3);
  std::uniform_real_distribution<float> uniform(-1, 1);
  hw_convolution gradient{};
  gradient.kind = HW_BACKWARD_WEIGHTS;
  gradient.spatial = 2;
  gradient.images = 40;
  gradient.channels_in = gradient.channels_out = gradient.block = 16;
  for (int i = 0; i < 2; ++i) {
    gradient.input[i] = gradient.output[i] = 12;
    gradient.kernel[i] = 3;
    gradient.stride[i] = gradient.dilation[i] = gradient.low[i] = gradient.high[i] = 1;
  }
  hw_program program{};
  program.matmuls = &matmul;
  program.convolutions = &gradient;
  program.matmul_count = program.convolution_count = 1;
  std::vector<float> a(m * k), b(k * n), x(40 * 12 * 12 * 16), y(x.size());
  for (auto *v : {&a, &b, &x, &y})
    std::generate(v->begin(), v->end(), [&] { return uniform(random); });
  auto results = [&](int64_t thread = 0) {
    std::vector<float> c(m * n + 3 * 3 * 16 * 16, NAN);
    hw_run_matmul(0, thread, a.data(), b.data(), nullptr, c.data());
    hw_run_convolution(0, thread, x.data(), y.data(), nullptr, c.data() + m * n);
    return c;
  };
  const int width = threads();
  setThreads(1);
  const std::vector<float> expected = [&] {
    OneDnn alone(program);
    return results();
  }();
  setThreads(2);
  OneDnn shared(program);
  std::atomic<int> same = 0;
  std::vector<std::thread> lanes;
  for (int lane = 0; lane < 4; ++lane)
    lanes.emplace_back([&, one = std::make_shared<OneDnn>(program, OneDnn::Width::one)] {
      runAlone();
      one->serveThisThread();
      for (int round = 0; round < 20; ++round)
        same += results() == expected;
    });
  const std::vector<float> split = results();
  for (std::thread &lane : lanes)
    lane.join();
  CHECK(same == 80);
  matmul.alone = gradient.alone = true;
  setThreads(3);
  OneDnn alone(program);
  struct Frame {
    std::function<bool(int64_t)> isSame;
    std::atomic<int> same = 0;
  } frame{[&](int64_t thread) { return results(thread) == expected; }};
  const hw_phase phase{[](void *context, int64_t, int64_t thread) {
                         auto *f = static_cast<Frame *>(context);
                         f->same += f->isSame(thread);
                       },
                       60};
  hw_parallel(&phase, 1, &frame);
  CHECK(frame.same == 60);
  CHECK(std::equal(split.begin(), split.end(), expected.begin(),
                   [](float x, float y) { return std::abs(x - y) < 1e-2; }));
  setThreads(width);
}

//---- nodes -----------------------------------------------------------------------------------------------------------

TEST_CASE("for includes its last value, and records keep the order") {
  Builder b;
  const int from = b.setting("from", -1), to = b.setting("to", 2), index = b.slot("f64"), square = b.slot("f32");
  const Json body = {
      b.call([](void *const *a, void *) { *static_cast<float *>(a[1]) = static_cast<float>(0.1 * *doubles(a[0])); },
             {index}, {square}),
      {{"op", "record"},
       {"table", "t"},
       {"columns",
        {{{"name", "i"}, {"slot", index}}, {{"name", "who"}, {"value", "a, b"}}, {{"name", "y"}, {"slot", square}}}}}};
  b.body = {{{"op", "for"}, {"variable", "i"}, {"index", index}, {"from", from}, {"to", to}, {"body", body}}};
  Ran ran(b);
  CHECK(ran.file("t.csv") == "i,who,y\n-1,\"a, b\",-0.1\n0,\"a, b\",0\n1,\"a, b\",0.1\n2,\"a, b\",0.2\n");
}

TEST_CASE("an empty loop leaves a table with its header only, and an infinite one is refused") {
  Builder b;
  const int from = b.setting("from", 1), to = b.setting("to", 0), index = b.slot("f64");
  const Json record = {{"op", "record"}, {"table", "t"}, {"columns", {{{"name", "i"}, {"slot", index}}}}};
  b.body = {{{"op", "for"},
             {"variable", "i"},
             {"index", index},
             {"from", from},
             {"to", to},
             {"body", {record}},
             {"loc", "x.hw:3:1"}}};
  CHECK(Ran(b).file("t.csv") == "i\n");
  b.settings[1]["value"] = "inf";
  CHECK_THROWS_WITH_AS(Ran{b}, doctest::Contains("x.hw:3:1: the loop over i runs from 1 to inf"), Error);
}

TEST_CASE("records: a row each, vectors, mixed columns, missing cells; reduce, clear, hidden tables, save") {
  Builder b;
  const int matrix = b.slot("f64", {3, 2}), vector = b.slot("f32", {3}), scalar = b.slot("f64"), sum = b.slot("f64"),
            last = b.slot("f64"), empty = b.slot("f64"), mean = b.slot("f64"), count = b.slot("f64");
  b.body = {
      b.call(
          [](void *const *a, void *) {
            for (int i = 0; i < 6; ++i)
              doubles(a[0])[i] = i;
            for (int i = 0; i < 3; ++i)
              static_cast<float *>(a[1])[i] = static_cast<float>(i) + 0.5f;
            *doubles(a[2]) = 7;
          },
          {}, {matrix, vector, scalar}),
      {{"op", "record"},
       {"table", "rows"},
       {"rows", 3},
       {"columns",
        {{{"name", "m"}, {"slot", matrix}}, {{"name", "v"}, {"slot", vector}}, {{"name", "s"}, {"slot", scalar}}}}},
      {{"op", "record"}, {"table", "rows"}, {"columns", {{{"name", "s"}, {"value", "text"}}}}},
      {{"op", "record"},
       {"table", "h"},
       {"hidden", true},
       {"rows", 3},
       {"columns", {{{"name", "v"}, {"slot", vector}}}}},
      {{"op", "reduce"}, {"kind", "sum"}, {"table", "h"}, {"column", "v"}, {"slot", sum}},
      {{"op", "reduce"}, {"kind", "last"}, {"table", "h"}, {"column", "v"}, {"slot", last}},
      {{"op", "reduce"}, {"kind", "mean"}, {"table", "h"}, {"column", "v"}, {"slot", mean}},
      {{"op", "clear"}, {"table", "h"}},
      {{"op", "reduce"}, {"kind", "max"}, {"table", "h"}, {"column", "v"}, {"slot", empty}},
      {{"op", "reduce"}, {"kind", "count"}, {"table", "h"}, {"column", "v"}, {"slot", count}},
      {{"op", "save"},
       {"name", "m"},
       {"format", "npy"},
       {"slots", {matrix}},
       {"loops", {{{"name", "k"}, {"slot", scalar}}}}},
      {{"op", "save"}, {"name", "column"}, {"format", "csv"}, {"table", "rows"}, {"column", "m"}},
      {{"op", "save"},
       {"name", "w"},
       {"format", "safetensors"},
       {"slots", {matrix, vector}},
       {"names", {"a.weight", "a.bias"}}},
  };
  Ran ran(b);
  CHECK(ran.file("rows.csv") == "m[0],m[1],v,s\n0,1,0.5,7\n2,3,1.5,7\n4,5,2.5,7\nnan,nan,nan,text\n");
  CHECK(!fs::exists(ran.folder / "h.csv"));
  CHECK(ran.value(sum) == 4.5);
  CHECK(ran.value(last) == 2.5);
  CHECK(ran.value(mean) == 1.5);
  CHECK(std::isnan(ran.value(empty)));
  CHECK(ran.value(count) == 0);
  const Tensor saved = readNpy((ran.folder / "m-k=7.npy").string());
  CHECK(saved.shape() == Shape{3, 2});
  CHECK(saved.as<double>()[5] == 5);
  CHECK(readNpy((ran.folder / "column.npy").string()).shape() == Shape{4, 2});
  const SafetensorsFile weights((ran.folder / "w.safetensors").string());
  CHECK(weights.read("a.bias").as<float>()[2] == 2.5f);
}

TEST_CASE("batches: means are weighted by rows, the rest is concatenated") {
  Builder b;
  const int rows = b.slot("i32", {4}), tailRows = b.slot("i32", {2}), mean = b.slot("f64"), tailMean = b.slot("f64"),
            part = b.slot("f64", {4}), tailPart = b.slot("f64", {2}), outMean = b.slot("f64"),
            outAll = b.slot("f64", {10});
  auto function = [](int count) {
    return count == 4 ? hw_function([](void *const *a, void *) {
      double sum = 0;
      for (int i = 0; i < 4; ++i)
        sum += doubles(a[2])[i] = static_cast<int32_t *>(a[0])[i] * 10.0;
      *doubles(a[1]) = sum / 4;
    })
                      : hw_function([](void *const *a, void *) {
                          double sum = 0;
                          for (int i = 0; i < 2; ++i)
                            sum += doubles(a[2])[i] = static_cast<int32_t *>(a[0])[i] * 10.0;
                          *doubles(a[1]) = sum / 2;
                        });
  };
  b.body = {{{"op", "batches"},
             {"rows", 10},
             {"batch", 4},
             {"row_indices", rows},
             {"tail_indices", tailRows},
             {"body", {b.call(function(4), {rows}, {mean, part})}},
             {"tail", {b.call(function(2), {tailRows}, {tailMean, tailPart})}},
             {"results",
              {{{"combine", "mean"}, {"slot", outMean}, {"from", mean}, {"tail_from", tailMean}},
               {{"combine", "concat"}, {"slot", outAll}, {"from", part}, {"tail_from", tailPart}}}}}};
  Ran ran(b);
  CHECK(ran.value(outMean) == doctest::Approx(45).epsilon(1e-15));
  for (int i = 0; i < 10; ++i)
    CHECK(ran.value(outAll, i) == 10.0 * i);
}

TEST_CASE("batches make the matrix of an operator row by row, eigh its eigenvalues and vectors") {
  constexpr int n = 37;
  Builder b;
  const int row = b.slot("i32", {1}), out = b.slot("f64", {1, n}), matrix = b.slot("f64", {n, n}),
            values = b.slot("f64", {n}), vectors = b.slot("f64", {n, n});
  // The second difference, whose eigenvalues are 2 - 2 cos(k pi / (n + 1)).
  auto second = [](void *const *a, void *) {
    const int i = *static_cast<const int32_t *>(a[0]);
    for (int j = 0; j < n; ++j)
      doubles(a[1])[j] = i == j ? 2 : std::abs(i - j) == 1 ? -1 : 0;
  };
  b.body = {{{"op", "batches"},
             {"rows", n},
             {"batch", 1},
             {"row_indices", row},
             {"body", {b.call(second, {row}, {out})}},
             {"results", {{{"combine", "concat"}, {"slot", matrix}, {"from", out}}}}},
            {{"op", "eigh"}, {"matrix", matrix}, {"values", values}, {"vectors", vectors}}};
  Ran ran(b);
  for (int k = 0; k < n; ++k) {
    CHECK(ran.value(values, k) == doctest::Approx(2 - 2 * std::cos((k + 1) * M_PI / (n + 1))).epsilon(1e-12));
    for (int i = 0; i < n; ++i) {
      double av = 0;
      for (int j = 0; j < n; ++j)
        av += ran.value(matrix, i * n + j) * ran.value(vectors, j * n + k);
      CHECK(std::abs(av - ran.value(values, k) * ran.value(vectors, i * n + k)) < 1e-13);
    }
  }
  // What is not symmetric is objected to.
  Builder skew;
  const int a = skew.slot("f64", {2, 2}), e = skew.slot("f64", {2});
  skew.body = {skew.call([](void *const *p, void *) { doubles(p[0])[0] = 1, doubles(p[0])[1] = 5; }, {}, {a}),
               {{"op", "eigh"}, {"matrix", a}, {"values", e}, {"vectors", -1}, {"loc", "x.hw:9:2"}}};
  CHECK_THROWS_WITH_AS(Ran{skew}, doctest::Contains("x.hw:9:2: eigenvalues are of a symmetric matrix"), Error);
}

TEST_CASE("data sets are read, converted and checked") {
  const fs::path folder = scratchFolder();
  fs::create_directories(folder);
  const int64_t labels[] = {0, 2, 1};
  writeNpy((folder / "labels.npy").string(), {DType::i64, {3}, labels});
  std::ofstream(folder / "t.csv") << "x,y\n1,2\n3,4.5\n";
  Builder b;
  const int where = b.slot("i32", {3}), y = b.slot("f32", {2, 1});
  b.body = {{{"op", "dataset"}, {"slot", where}, {"kind", "npy"}, {"path", "labels.npy"}, {"classes", 3}},
            {{"op", "dataset"}, {"slot", y}, {"kind", "csv"}, {"path", "t.csv"}, {"part", "y"}}};
  Ran ran(b, folder.string());
  CHECK(ran.value(where, 1) == 2);
  CHECK(ran.value(y, 1) == 4.5);
  Builder few = b;
  few.body[0]["classes"] = 2;
  CHECK_THROWS_WITH_AS(Ran(few, folder.string()), doctest::Contains("label 2 of element 1 is not in 0..1"), Error);
  Builder other = b;
  other.slots[static_cast<size_t>(where)]["shape"] = {2};
  CHECK_THROWS_WITH_AS(Ran(other, folder.string()), doctest::Contains("the program was compiled for i32 of [2], but"),
                       Error);
  CHECK_THROWS_AS(Ran(b, (folder / "nowhere").string()), Error);
}

//---- training --------------------------------------------------------------------------------------------------------

namespace {

struct TrainParts {
  int w, epoch, step, count, seed, loss, rows = -1, tailRows = -1;
};

/// A training that carries w: f64[2]; `step` and `tail` take (w, epoch, step, rows) and give (w, loss). `settings`: the
/// slots of count and seed, if they are there already.
TrainParts addTraining(Builder &b, double count, const char *unit, int64_t rows, int64_t batch, hw_function step,
                       hw_function tail = nullptr, std::optional<std::pair<int, int>> settings = {}) {
  TrainParts p;
  p.w = b.slot("f64", {2});
  p.epoch = b.slot("f64");
  p.step = b.slot("f64");
  p.loss = b.slot("f64");
  p.count = settings ? settings->first : b.setting("count", count);
  p.seed = settings ? settings->second : b.setting("seed", 5);
  if (batch) {
    p.rows = b.slot("i32", {batch});
    if (rows % batch)
      p.tailRows = b.slot("i32", {rows % batch});
  }
  const int any = batch ? p.rows : p.epoch, anyTail = p.tailRows >= 0 ? p.tailRows : p.epoch;
  Json train = {{"op", "train"},
                {"label", "net"},
                {"rows", rows},
                {"batch", batch},
                {"unit", unit},
                {"count", p.count},
                {"seed", p.seed},
                {"epoch", p.epoch},
                {"step", p.step},
                {"row_indices", p.rows},
                {"tail_indices", p.tailRows},
                {"loss", p.loss},
                {"loss_tail", p.loss},
                {"carried", {{{"slot", p.w}, {"name", "net.linear1.weight"}, {"role", "weight"}}}},
                {"body", {b.call(step, {p.w, p.epoch, p.step, any}, {p.w, p.loss})}},
                {"loc", "unit.hw:4:3"}};
  if (p.tailRows >= 0)
    train["tail"] = {b.call(tail, {p.w, p.epoch, p.step, anyTail}, {p.w, p.loss})};
  b.body.push_back(std::move(train));
  return p;
}

std::vector<std::vector<int>> batchesSeen;
template <int n> void noteRows(void *const *a, void *) {
  const auto *rows = static_cast<const int32_t *>(a[3]);
  batchesSeen.emplace_back(rows, rows + n);
  *doubles(a[5]) = 1;
}

/// Gradient descent on |w - (3, -1)|^2 / 2; the clock goes to `seen`.
void descend(void *const *a, void *) {
  double *w = doubles(a[0]);
  const double target[] = {3, -1};
  double loss = 0;
  for (int i = 0; i < 2; ++i) {
    loss += 0.5 * (w[i] - target[i]) * (w[i] - target[i]);
    w[i] -= 0.5 * (w[i] - target[i]);
  }
  *doubles(a[5]) = loss;
  seen.push_back(*doubles(a[2]));
}

} // namespace

TEST_CASE("batches are a permutation each epoch, a function of seed and epoch, with the rest at the end") {
  auto run = [](double seed, bool ordered) {
    Builder b;
    addTraining(b, 3, "epochs", 10, 4, noteRows<4>, noteRows<2>);
    b.settings[1]["value"] = seed;
    b.body[0]["ordered"] = ordered;
    batchesSeen.clear();
    Ran ran(b);
    REQUIRE(batchesSeen.size() == 9);
    std::vector<std::vector<int>> epochs;
    for (int e = 0; e < 3; ++e) {
      std::vector<int> all;
      for (int i = 0; i < 3; ++i) {
        CHECK(batchesSeen[e * 3 + i].size() == (i < 2 ? 4 : 2));
        all.insert(all.end(), batchesSeen[e * 3 + i].begin(), batchesSeen[e * 3 + i].end());
      }
      epochs.push_back(all);
      std::sort(all.begin(), all.end());
      for (int i = 0; i < 10; ++i)
        CHECK(all[i] == i);
    }
    return epochs;
  };
  const auto first = run(5, false);
  CHECK(first == run(5, false));
  CHECK(first != run(6, false));
  CHECK(first[0] != first[1]);
  // Known answer: the order must not change from one version to the next.
  const auto ordered = run(5, true);
  CHECK(std::is_sorted(ordered[2].begin(), ordered[2].end()));
}

TEST_CASE("a training descends, counts, runs what is due every so often, and stops") {
  Builder b;
  const TrainParts p = addTraining(b, 20, "epochs", 8, 4, descend);
  const int e1 = b.slot("f64"), s1 = b.slot("f64"), e2 = b.slot("f64"), s2 = b.slot("f64"), condition = b.slot("i1");
  auto record = [&](const char *table, int epoch, int step) -> Json {
    return {{"op", "record"},
            {"table", table},
            {"columns", {{{"name", "epoch"}, {"slot", epoch}}, {{"name", "step"}, {"slot", step}}}}};
  };
  b.body[0]["every"] = {
      {{"period", 2},
       {"unit", "epochs"},
       {"epoch", e1},
       {"step", s1},
       {"body",
        {record("epochs", e1, s1),
         b.call([](void *const *a, void *) { *static_cast<uint8_t *>(a[1]) = *doubles(a[0]) >= 6; }, {e1}, {condition}),
         {{"op", "stop"}, {"slot", condition}}}}},
      {{"period", 5}, {"unit", "steps"}, {"epoch", e2}, {"step", s2}, {"body", {record("steps", e2, s2)}}}};
  seen.clear();
  Ran ran(b);
  std::vector<double> steps(12);
  std::iota(steps.begin(), steps.end(), 0.0);
  CHECK(seen == steps);
  CHECK(ran.value(p.w, 0) == doctest::Approx(3 * (1 - std::pow(0.5, 12))));
  CHECK(ran.file("epochs.csv") == "epoch,step\n2,4\n4,8\n6,12\n");
  CHECK(ran.file("steps.csv") == "epoch,step\n2,5\n5,10\n");
  REQUIRE(ran.study.trainings().size() == 1);
  CHECK(ran.study.trainings()[0].end == std::string("stopped"));
  CHECK(ran.study.trainings()[0].steps == 12);
}

TEST_CASE("a training counted in steps ends within an epoch, and none at all is fine") {
  for (double count : {0.0, 3.0}) {
    Builder b;
    addTraining(b, count, "steps", 8, 4, descend);
    seen.clear();
    Ran ran(b);
    CHECK(seen.size() == static_cast<size_t>(count));
  }
  Builder b;
  addTraining(b, -1, "steps", 8, 4, descend);
  CHECK_THROWS_WITH_AS(Ran{b}, doctest::Contains("unit.hw:4:3: training 'net' is to take -1 steps"), Error);
}

TEST_CASE("a loss that is no number stops the run, names the operation, and keeps the epoch's first weights") {
  Builder b;
  // 4 steps an epoch; the loss of step 10 (epoch 2) is NaN.
  const TrainParts p = addTraining(b, 5, "epochs", 16, 4, [](void *const *a, void *s) {
    descend(a, s);
    if (*doubles(a[2]) == 10)
      *doubles(a[5]) = NAN;
  });
  const int found = b.slot("f64");
  // The diagnosis sees the state before step 10, which it notes down.
  Json diagnose = b.call(
      [](void *const *a, void *) {
        seen = {doubles(a[0])[0], *doubles(a[1]), *doubles(a[2])};
        *doubles(a[3]) = 1;
      },
      {p.w, p.epoch, p.step}, {found});
  diagnose["operations"] = {{{"name", "exp"}, {"loc", "unit.hw:5:5"}}, {{"name", "log"}, {"loc", "unit.hw:6:7"}}};
  b.body[0]["diagnose"] = diagnose;
  const int epoch = b.slot("f64"), step = b.slot("f64");
  const Json record = {{"op", "record"}, {"table", "steps"}, {"columns", {{{"name", "step"}, {"slot", step}}}}};
  b.body[0]["every"] = {{{"period", 1}, {"unit", "steps"}, {"epoch", epoch}, {"step", step}, {"body", {record}}}};
  Ran ran(b, ".", false);
  CHECK_THROWS_WITH_AS(
      ran.run(),
      doctest::Contains("the loss of training 'net' became nan in epoch 2, step 10 (counted from 0); the first "
                        "operation whose result is not finite is log at unit.hw:6:7"),
      Error);
  CHECK(seen == std::vector<double>{3 * (1 - std::pow(0.5, 10)), 2, 10});
  const Tensor kept = SafetensorsFile((ran.folder / "net-before-nan.safetensors").string()).read("linear1.weight");
  CHECK(kept.as<double>()[0] == 3 * (1 - std::pow(0.5, 8)));
  // What was recorded is there once, though steps were replayed.
  ran.study.writeTables(true);
  CHECK(ran.file("steps.csv") == "step\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n");
}

TEST_CASE("weights that an update made NaN are blamed on that update") {
  Builder b;
  const TrainParts p = addTraining(b, 50, "epochs", 4, 0, [](void *const *a, void *s) {
    descend(a, s);
    // The gradient of step 6 is not finite, though its loss is.
    if (*doubles(a[2]) == 6)
      doubles(a[0])[1] = INFINITY;
  });
  const int found = b.slot("f64");
  Json diagnose =
      b.call([](void *const *a, void *) { *doubles(a[1]) = *doubles(a[0]) == 6 ? 0 : -1; }, {p.step}, {found});
  diagnose["operations"] = {{{"name", "sqrt"}, {"loc", "unit.hw:5:5"}}};
  b.body[0]["diagnose"] = diagnose;
  CHECK_THROWS_WITH_AS(
      Ran{b},
      doctest::Contains(
          "became inf in epoch 7, step 7 (counted from 0) after the update of step 6 had made weights that are not "
          "finite; the first operation whose result is not finite is sqrt at unit.hw:5:5"),
      Error);
}

TEST_CASE("weights that never were finite are said to be so") {
  Builder b;
  const TrainParts p = addTraining(b, 5, "epochs", 4, 0, descend);
  b.body.insert(b.body.begin(), b.call([](void *const *a, void *) { doubles(a[0])[0] = NAN; }, {}, {p.w}));
  CHECK_THROWS_WITH_AS(Ran{b}, doctest::Contains("its weights are not finite before the first step"), Error);
}

//---- gradcheck -------------------------------------------------------------------------------------------------------

namespace {

/// E = sum a_i w_i^2 / 2 + sin(w_0) w_2 + |v_0 - kink|, for w: [3], v: [1]. The arguments: w, v.
double wrong = 0;
constexpr double coefficient[] = {1, -2, 3};
void checkedLoss(void *const *p, void *) {
  const double *w = doubles(p[0]), *v = doubles(p[1]);
  double e = std::sin(w[0]) * w[2] + std::abs(v[0]);
  for (int i = 0; i < 3; ++i)
    e += 0.5 * coefficient[i] * w[i] * w[i];
  *doubles(p[2]) = e;
  *doubles(p[3]) = v[0] > 0 ? 1 : v[0] < 0 ? 2 : 0;
}
void checkedGradient(void *const *p, void *) {
  const double *w = doubles(p[0]), *v = doubles(p[1]);
  double *g = doubles(p[2]);
  for (int i = 0; i < 3; ++i)
    g[i] = coefficient[i] * w[i];
  g[0] += std::cos(w[0]) * w[2];
  g[2] += std::sin(w[0]) + wrong;
  *doubles(p[3]) = v[0] > 0 ? 1 : v[0] < 0 ? -1 : 0;
}
void checkedProduct(void *const *p, void *) {
  const double *w = doubles(p[0]), *d = doubles(p[2]);
  double *h = doubles(p[4]);
  for (int i = 0; i < 3; ++i)
    h[i] = coefficient[i] * d[i];
  h[0] += -std::sin(w[0]) * w[2] * d[0] + std::cos(w[0]) * d[2];
  h[2] += std::cos(w[0]) * d[0];
  *doubles(p[5]) = 0;
}

Builder gradcheckProgram(double v) {
  Builder b;
  const int w = b.slot("f64", {3}), k = b.slot("f64", {1}), dw = b.slot("f64", {3}), dk = b.slot("f64", {1}),
            loss = b.slot("f64"), kinks = b.slot("f64"), start = b.setting("start", v), ow = b.slot("f64", {3}),
            ok = b.slot("f64", {1});
  b.body = {
      b.call(
          [](void *const *p, void *) {
            for (int i = 0; i < 3; ++i)
              doubles(p[1])[i] = 0.3 + i;
            *doubles(p[2]) = *doubles(p[0]);
          },
          {start}, {w, k}),
      {{"op", "gradcheck"},
       {"table", "check"},
       {"names", {"w", "k"}},
       {"weights", {w, k}},
       {"loss", {{"args", {w, k}}, {"results", {loss, kinks}}, {"body", {b.call(checkedLoss, {w, k}, {loss, kinks})}}}},
       {"gradient", {{"args", {w, k}}, {"results", {ow, ok}}, {"body", {b.call(checkedGradient, {w, k}, {ow, ok})}}}},
       {"product",
        {{"args", {w, k, dw, dk}},
         {"results", {ow, ok}},
         {"body", {b.call(checkedProduct, {w, k, dw, dk}, {ow, ok})}}}}}};
  return b;
}

} // namespace

TEST_CASE("gradcheck agrees with right derivatives, sees wrong ones, and sets kinks apart") {
  wrong = 0;
  {
    Ran ran(gradcheckProgram(0.5));
    const Table &table = *ran.program.plan.tables[0];
    REQUIRE(table.rows() == 2);
    CHECK(table.text(table.row(1)[0]) == "k");
    for (int i = 0; i < 2; ++i) {
      CHECK(table.row(i)[table.find("gradient_error")->cell] < 1e-9);
      CHECK(table.row(i)[table.find("hvp_error")->cell] < 1e-8);
      CHECK(table.row(i)[table.find("at_kink")->cell] == 0);
    }
    CHECK(!ran.study.failedGradcheck);
    CHECK(ran.value(0, 1) == 1.3); // the weights are as they were
  }
  {
    Ran ran(gradcheckProgram(0)); // on the kink itself
    const Table &table = *ran.program.plan.tables[0];
    CHECK(table.row(0)[table.find("gradient_error")->cell] < 1e-9);
    CHECK(std::isnan(table.row(1)[table.find("gradient_error")->cell]));
    CHECK(table.row(1)[table.find("at_kink")->cell] == 1);
    CHECK(!ran.study.failedGradcheck);
  }
  wrong = 1e-5;
  Ran ran(gradcheckProgram(0.5));
  CHECK(ran.study.failedGradcheck);
  const std::string text = captured(1, [&] {
    Builder b = gradcheckProgram(0);
    CHECK(runProgram(b.build(), {}, RunMode::gradcheck, {}) == 1);
  });
  CHECK(text.find("at a kink") != std::string::npos);
  CHECK(text.find("gradient error") != std::string::npos);
  wrong = 0;
}

//---- figures ---------------------------------------------------------------------------------------------------------

TEST_CASE("a figure for each value of per, with the rows that belong to it") {
  Builder b;
  const int from = b.setting("from", 1), to = b.setting("to", 3), index = b.slot("f64");
  auto record = [&](const char *target) -> Json {
    return {{"op", "record"},
            {"table", "curve"},
            {"columns",
             {{{"name", "target"}, {"value", target}},
              {{"name", "epoch"}, {"slot", index}},
              {{"name", "loss"}, {"slot", index}}}}};
  };
  auto column = [](const char *name) -> Json { return {{"table", nullptr}, {"column", name}}; };
  b.body = {{{"op", "for"},
             {"variable", "i"},
             {"index", index},
             {"from", from},
             {"to", to},
             {"body", {record("sinc"), record("rect")}}},
            {{"op", "plot"},
             {"spec",
              {{"title", "loss, {target}"},
               {"on", "curve"},
               {"per", {"target"}},
               {"logx", false},
               {"logy", true},
               {"marks",
                {{{"kind", "line"},
                  {"y", column("loss")},
                  {"over", {column("epoch")}},
                  {"by", Json::array()},
                  {"label", nullptr},
                  {"right", false}}}}}}}};
  Ran ran(b);
  for (const char *name : {"loss, sinc.plot.csv", "loss, rect.plot.csv"}) {
    CAPTURE(name);
    const std::string data = ran.file(name);
    CHECK(std::count(data.begin(), data.end(), '\n') == 4);
  }
}

//---- the command line ------------------------------------------------------------------------------------------------

namespace {
int runMain(const hw_program &program, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "unit");
  std::vector<char *> argv;
  for (std::string &a : arguments)
    argv.push_back(a.data());
  argv.push_back(nullptr);
  return runExecutable(program, static_cast<int>(arguments.size()), argv.data());
}
} // namespace

TEST_CASE("an executable: flags, settings, files, and one sentence for each mistake") {
  Builder b;
  addTraining(b, 3, "epochs", 4, 0, descend);
  const int width = b.setting("width", 30, true);
  b.body.push_back({{"op", "record"},
                    {"table", "t"},
                    {"columns", {{{"name", "w"}, {"slot", 0}}, {{"name", "width"}, {"slot", width}}}}});
  const hw_program &program = b.build();
  const std::string out = (scratchFolder() / "deep" / "er").string();
  int status = 0;
  auto errors = [&](std::vector<std::string> arguments) {
    return captured(2, [&] { status = runMain(program, std::move(arguments)); });
  };

  seen.clear();
  std::string text = errors({"--out", out, "--set", "count=2", "--set", "width=30", "--threads", "1"});
  CHECK(status == 0);
  CHECK(seen.size() == 2);
  CHECK(readText(fs::path(out) / "t.csv") == "w[0],w[1],width\n2.25,-0.75,30\n");
  const Json run = Json::parse(readText(fs::path(out) / "run.json"));
  CHECK(run["status"] == "finished");
  CHECK(run["settings"]["count"] == 2);
  CHECK(run["threads"] == 1);
  CHECK(run["trainings"][0]["steps"] == 2);
  CHECK(run["tables"]["t"]["last"]["w[0]"] == 2.25);

  text = errors({"--out", out});
  CHECK(status == 1);
  CHECK(text.find("--force") != std::string::npos);
  errors({"--out", out, "--force"});
  CHECK(status == 0);

  const std::string fresh = scratchFolder().string();
  text = errors({"--out", fresh, "--set", "rat=1"});
  CHECK(status == 1);
  CHECK(text == "error: there is no setting 'rat' in unit: its settings are count = 3, seed = 5, width = 30\n");
  text = errors({"--out", fresh, "--set", "width=31"});
  CHECK(status == 1);
  CHECK(text.find("hwc build --set width=31 FILE") != std::string::npos);
  text = errors({"--out", fresh, "--set", "count=many"});
  CHECK(status == 1);
  CHECK(text.find("'many' is not a number") != std::string::npos);
  text = errors({"--nonsense"});
  CHECK(status == 1);
  CHECK(std::count(text.begin(), text.end(), '\n') == 1);
  CHECK(!fs::exists(fresh)); // a mistake leaves nothing

  const std::string help = captured(1, [&] { status = runMain(program, {"--help"}); });
  CHECK(status == 0);
  for (const char *part : {"count = 3", "width = 30  (fixed", "t.csv: w, width", "--data", "--force"})
    CHECK(help.find(part) != std::string::npos);
  CHECK(captured(1, [&] { runMain(program, {"--version"}); }).find("unit (hwc ") == 0);
}

TEST_CASE("programs that this runtime or CPU cannot run are refused in a sentence") {
  Builder b;
  hw_program program = b.build();
  program.abi = HW_ABI + 1;
  CHECK_THROWS_WITH_AS(checkProgram(program), doctest::Contains("build it again"), Error);
  program = b.build();
  program.plan = "{\"version\": 1, \"slots\": [{\"type\": \"f99\", \"offset\": 0}]}";
  program.plan_size = std::strlen(program.plan);
  CHECK_THROWS_WITH_AS(readPlanHead(program), doctest::Contains("an element type 'f99'"), Error);
  Builder out;
  out.slot("f64", {4});
  out.arena = 8;
  CHECK_THROWS_WITH_AS(readPlanHead(out.build()), doctest::Contains("outside the arena"), Error);
  Builder unknown;
  unknown.body = {{{"op", "frobnicate"}}};
  CHECK_THROWS_WITH_AS(Ran{unknown}, doctest::Contains("frobnicate"), Error);
}

TEST_CASE("Ctrl-C ends after the step, with a checkpoint, tables, run.json, the timeline and the command to go on") {
  Builder b;
  const TrainParts p = addTraining(b, 100, "epochs", 4, 0, [](void *const *a, void *s) {
    descend(a, s);
    if (*doubles(a[2]) == 4)
      std::raise(SIGINT);
  });
  const int epoch = b.slot("f64"), step = b.slot("f64");
  const Json record = {{"op", "record"}, {"table", "t"}, {"columns", {{{"name", "step"}, {"slot", step}}}}};
  b.body[0]["every"] = {{{"period", 1}, {"unit", "epochs"}, {"epoch", epoch}, {"step", step}, {"body", {record}}}};
  b.body.push_back(b.call(noteFirst, {p.w}));
  const std::string out = scratchFolder().string();
  seen.clear();
  int status = 0;
  const std::string text = captured(2, [&] { status = runMain(b.build(), {"--out", out, "--trace", out + ".json"}); });
  clearInterrupt();
  CHECK(status == 130);
  CHECK(text.find("interrupted; to go on: unit --out " + out + " --trace " + out + ".json --resume\n") !=
        std::string::npos);
  CHECK(seen.size() == 5); // five steps, and nothing after the training
  CHECK(SafetensorsFile(out + "/run.checkpoint.safetensors").read("net.linear1.weight").as<double>()[0] ==
        3 * (1 - std::pow(0.5, 5)));
  CHECK(readText(out + "/t.csv") == "step\n1\n2\n3\n4\n5\n");
  CHECK(Json::parse(readText(out + "/run.json"))["status"] == "interrupted");
  CHECK(Json::parse(readText(out + ".json"))["traceEvents"].size() >= 5);
}

//---- marks, timelines, bench -----------------------------------------------------------------------------------------

namespace {

const hw_step markedSteps[] = {{"product 2x2x2, max", "unit.hw:5:1", 1000, 64}, {"adam \xff\"", "", 10, 16}};

/// A step as the compiler marks it: all threads in the first of `markedSteps`, thread 0 alone in the second.
void markedDescend(void *const *a, void *s) {
  std::atomic<int> begun = 0;
  const hw_phase phase{[](void *frame, int64_t, int64_t thread) {
                         // Nobody takes a second task while the first ones wait for each other.
                         std::atomic<int> &all = *static_cast<std::atomic<int> *>(frame);
                         ++all;
                         while (all < threads())
                           std::this_thread::yield();
                         for (int tile = 0; tile < 3; ++tile) {
                           hw_mark(0, 0, thread, 0);
                           std::this_thread::sleep_for(std::chrono::microseconds(50));
                           hw_mark(0, 0, thread, 1);
                         }
                       },
                       threads()};
  hw_parallel(&phase, 1, &begun);
  hw_mark(0, 1, 0, 0);
  descend(a, s);
  hw_mark(0, 1, 0, 1);
}

/// A training of such steps; its entry is number 0.
TrainParts addMarkedTraining(Builder &b, double count, int64_t rows = 4, int64_t batch = 0) {
  const TrainParts p = addTraining(b, count, "epochs", rows, batch, markedDescend);
  b.entries[0] = {"train1.step", markedDescend, 0, 0, 1010, 80, markedSteps, 2};
  return p;
}

Json timelineOf(const Marks &marks, const fs::path &path) {
  AtomicFile file(path.string());
  writeTimeline(file, marks, "unit");
  return Json::parse(readText(path));
}

/// The complete events of a timeline of category `category`.
std::vector<Json> eventsOf(const Json &timeline, const std::string &category) {
  std::vector<Json> found;
  for (const Json &event : timeline["traceEvents"])
    if (event["ph"] == "X" && event["cat"] == category)
      found.push_back(event);
  return found;
}

/// Runs `hwc bench` as far as the runtime goes. Google Benchmark remembers its flags and how to print: every run says
/// all of them, and prints JSON, of which only the first of a process is well-formed.
struct Benched {
  int status = 0;
  std::string out, err;
  Benched(const hw_program &program, const BenchOptions &options, std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"bench", "--benchmark_min_time=0.001", "--benchmark_format=json",
                                 "--benchmark_filter=.", "--benchmark_list_tests=false"});
    std::vector<char *> argv;
    for (std::string &flag : flags)
      argv.push_back(flag.data());
    err = captured(2, [&] {
      out = captured(1, [&] {
        status = benchProgram(
            program, [&]() -> const hw_program & { return program; }, options, static_cast<int>(flags.size()),
            argv.data());
      });
    });
  }
  /// Of the benchmarks that ran.
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    const std::string before = "\"name\": \"";
    for (size_t at = out.find(before); at != std::string::npos; at = out.find(before, at + 1))
      found.push_back(out.substr(at + before.size(), out.find('/', at) - at - before.size()));
    return found;
  }
};

} // namespace

TEST_CASE("marks add up time and count per step, over threads, calls and tiles") {
  setThreads(2);
  Builder b;
  addMarkedTraining(b, 1);
  const hw_program &program = b.build();
  Marks marks(program);
  CHECK(marks.times().empty()); // nothing was called
  std::vector<double> memory(16);
  std::vector<void *> args(8, memory.data());
  const auto start = std::chrono::steady_clock::now();
  for (int call = 0; call < 5; ++call) {
    marks.beginCall(&program.entries[0]);
    markedDescend(args.data(), nullptr);
    marks.endCall();
  }
  const double wall = 1.001 * std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const auto times = marks.times();
  REQUIRE(times.size() == 1);
  CHECK(times[0].entry == &program.entries[0]);
  CHECK(times[0].calls == 5);
  CHECK(times[0].seconds <= wall);
  const auto &[product, adam] = std::tie(times[0].steps[0], times[0].steps[1]);
  CHECK(product.count == 5 * 2 * 3);
  CHECK(product.seconds > 0.999 * 30 * 50e-6); // it slept so long
  CHECK(product.longest >= 0.5 * product.seconds);
  CHECK(product.longest <= times[0].seconds);
  CHECK(adam.count == 5);
  CHECK(adam.seconds == adam.longest);
  CHECK((product.seconds + adam.seconds) / 2 <= times[0].seconds);
  marks.reset();
  CHECK(marks.times().empty());
  setThreads(availableCores());
}

TEST_CASE("a step within a step has its time to itself, at any depth") {
  setThreads(1);
  const hw_step steps[] = {{"outer", "", 0, 0}, {"inner", "", 0, 0}};
  Builder b;
  b.call(noteFirst, {});
  b.entries[0].steps = steps;
  b.entries[0].step_count = 2;
  const hw_program &program = b.build();
  Marks marks(program, 100);
  marks.beginCall(program.entries);
  const auto start = std::chrono::steady_clock::now();
  for (int depth = 0; depth < 20; ++depth)
    hw_mark(0, depth > 0, 0, 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  for (int depth = 20; depth-- > 0;)
    hw_mark(0, depth > 0, 0, 1);
  const double wall = 1.001 * std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  hw_mark(0, 1, 0, 1); // an end without a beginning
  marks.endCall();
  const auto times = marks.times();
  REQUIRE(times.size() == 1);
  const auto &outer = times[0].steps[0], &inner = times[0].steps[1];
  CHECK(inner.seconds > 0.999 * 5e-3);
  CHECK(outer.seconds + inner.seconds <= wall);
  CHECK(outer.count == 1);
  CHECK(inner.count == 19);
  // Eight deep, and the call.
  CHECK(marks.events(0).size() == 9);
  for (size_t i = 1; i < 9; ++i) {
    CHECK(marks.events(0)[i].begin <= marks.events(0)[i - 1].begin);
    CHECK(marks.events(0)[i].end >= marks.events(0)[i - 1].end);
  }
  setThreads(availableCores());
}

TEST_CASE("what runs on all threads by itself counts for all") {
  setThreads(3);
  Builder b;
  addMarkedTraining(b, 1);
  const hw_program &program = b.build();
  Marks marks(program);
  marks.beginCall(program.entries);
  for (int64_t step : {0, 1}) {
    hw_mark(0, step, 0, 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (step == 0)
      marks.onAllThreads();
    hw_mark(0, step, 0, 1);
  }
  marks.endCall();
  const auto steps = marks.times().at(0).steps;
  CHECK(steps[0].seconds == doctest::Approx(3 * steps[0].longest));
  CHECK(steps[1].seconds == steps[1].longest);
  setThreads(availableCores());
}

TEST_CASE("functions are listed in the order of their first calls; without listeners marks are nothing") {
  hw_mark(0, 0, 0, 0);
  Builder b;
  for (int i = 0; i < 3; ++i)
    b.call(noteFirst, {});
  const hw_program &program = b.build();
  Marks marks(program);
  for (int i : {2, 0, 2}) {
    marks.beginCall(program.entries + i);
    marks.endCall();
  }
  const auto times = marks.times();
  REQUIRE(times.size() == 2);
  CHECK(times[0].entry == program.entries + 2);
  CHECK(times[0].calls == 2);
  CHECK(times[1].entry == program.entries);
}

TEST_CASE("a timeline is bounded, says what it dropped, and is JSON whatever the names are") {
  setThreads(2);
  const fs::path folder = scratchFolder();
  fs::create_directories(folder);
  Builder b;
  addMarkedTraining(b, 1);
  const hw_program &program = b.build();
  std::vector<double> memory(16);
  std::vector<void *> args(8, memory.data());
  Marks marks(program, 20);
  {
    const Span span("training", "a \"name\"\n", 3);
    for (int call = 0; call < 5; ++call) {
      marks.beginCall(&program.entries[0]);
      markedDescend(args.data(), nullptr);
      marks.endCall();
    }
  }
  const int64_t all = 5 * (2 * 3 + 1 + 1);
  const auto kept = static_cast<int64_t>(marks.events(0).size() + marks.events(1).size());
  CHECK(kept <= 20);
  CHECK(kept > 2);
  CHECK(marks.dropped() == all - kept);
  const Json timeline = timelineOf(marks, folder / "t.json");
  CHECK(timeline["otherData"]["dropped events"] == all - kept);
  CHECK(describeTimeline(AtomicFile((folder / "u").string()), marks).find(fmt::format("{} later events", all - kept)) !=
        std::string::npos);
  const auto trainings = eventsOf(timeline, "training");
  REQUIRE(trainings.size() == 1);
  CHECK(trainings[0]["name"] == "a \"name\"\n 3");
  const auto kernels = eventsOf(timeline, "train1.step");
  CHECK(static_cast<int64_t>(kernels.size() + eventsOf(timeline, "call").size()) == kept);
  for (const Json &event : kernels) {
    CHECK(event["pid"] == 1);
    CHECK(event["tid"].get<int>() < 2);
    CHECK(event["dur"].get<double>() >= 0);
    CHECK(event["ts"].get<double>() >= trainings[0]["ts"].get<double>());
    if (event["name"] == "product 2x2x2, max") {
      CHECK(event["args"]["location"] == "unit.hw:5:1");
      CHECK(event["args"]["flops"] == 1000);
    } else
      CHECK_FALSE(event["args"].contains("location"));
  }
  setThreads(availableCores());
}

TEST_CASE("without a timeline no event and no span is kept") {
  Builder b;
  addMarkedTraining(b, 1);
  Marks marks(b.build());
  const Span span("training", "net");
  marks.beginCall(marks.program.entries);
  marks.endCall();
  CHECK(marks.events(0).empty());
  CHECK(marks.spans().empty());
  CHECK(marks.dropped() == 0);
}

TEST_CASE("--trace of a run shows trainings, epochs, calls and marked kernels, one within the other") {
  Builder b;
  addMarkedTraining(b, 3, 8, 4);
  const fs::path out = scratchFolder(), trace = out.string() + ".json";
  int status = 1;
  const std::string text = captured(
      2, [&] { status = runMain(b.build(), {"--out", out.string(), "--trace", trace.string(), "--threads", "2"}); });
  CHECK(status == 0);
  CHECK(text.find(trace.string()) != std::string::npos);
  const Json timeline = Json::parse(readText(trace));
  const auto training = eventsOf(timeline, "training"), epochs = eventsOf(timeline, "epoch"),
             calls = eventsOf(timeline, "call"), kernels = eventsOf(timeline, "train1.step");
  REQUIRE(training.size() == 1);
  CHECK(training[0]["name"] == "net");
  REQUIRE(epochs.size() == 3);
  CHECK(epochs[2]["name"] == "epoch 2");
  CHECK(calls.size() == 6);
  CHECK(kernels.size() == 6 * 7);
  auto within = [](const Json &inner, const Json &outer) {
    const double begin = inner["ts"], end = begin + inner["dur"].get<double>(), from = outer["ts"];
    return begin >= from - 0.002 && end <= from + outer["dur"].get<double>() + 0.002; // rounded to ns
  };
  for (size_t i = 0; i < calls.size(); ++i)
    CHECK(within(calls[i], epochs[i / 2]));
  for (const Json &epoch : epochs)
    CHECK(within(epoch, training[0]));
  for (const Json &kernel : kernels)
    CHECK(std::any_of(calls.begin(), calls.end(), [&](const Json &call) { return within(kernel, call); }));
  // A place that cannot be written is told before the training.
  seen.clear();
  const std::string refused = captured(
      2, [&] { status = runMain(b.build(), {"--out", scratchFolder().string(), "--trace", "/nowhere/t.json"}); });
  CHECK(status == 1);
  CHECK(refused.find("/nowhere") != std::string::npos);
  CHECK(seen.empty());
  setThreads(availableCores());
}

TEST_CASE("limits: measured ones are positive and caches are no slower than memory; the roofline") {
  const Limits measured = measureLimits(16);
  CHECK(measured.flopsF32 > 0);
  CHECK(measured.flopsF64 > 0);
  REQUIRE(measured.readings.size() > 1);
  CHECK(measured.memoryRate() > 0);
  for (size_t i = 1; i < measured.readings.size(); ++i) {
    CHECK(measured.readings[i].bytes > measured.readings[i - 1].bytes);
    CHECK(measured.readings[i].rate <= measured.readings[i - 1].rate);
  }
  const Limits limits{200, 100, {{100, 80}, {10000, 40}, {1000000, 10}}};
  CHECK(limits.readRate(1) == 80);
  CHECK(limits.readRate(100) == 80);
  CHECK(limits.readRate(1000) == doctest::Approx(60)); // half way, in powers
  CHECK(limits.readRate(10000) == 40);
  CHECK(limits.readRate(1e9) == 10);
  const LeastTime computing = leastTime(limits, limits.flopsF32, 1000, 100);
  CHECK(computing.seconds == 5);
  CHECK_FALSE(computing.memory);
  const LeastTime reading = leastTime(limits, limits.flopsF32, 1000, 10000);
  CHECK(reading.seconds == 250);
  CHECK(reading.memory);
}

TEST_CASE("the table of kernels: columns, shares, rates, what is no kernel's") {
  const hw_step steps[] = {
      {"product 64x60x30, max", "fit.hw:3:10", 4e6, 1e4}, {"add", "fit.hw:12:3", 0, 1e6}, {"never", "", 0, 0}};
  const hw_entry entry{"train1.step", nullptr, 0, 0, 4e6, 1.01e6, steps, 3};
  const Limits limits{100e9, 50e9, {{1e3, 100e9}, {1e6, 10e9}}};
  // Two steps of 250 µs each, on two threads; the sum ran on one of them.
  const Profile profile{
      "train1.step", 2, 500e-6, 2, {{&entry, 2, 480e-6, {{600e-6, 300e-6, 8}, {160e-6, 160e-6, 2}, {}}}}};
  CHECK(kernelTable(profile, limits, limits.flopsF32) ==
        R"(    µs      %  threads   flop   byte  GFLOP/s  GB/s  limit          fit.hw  kernel
150.00   60.0      2.0  4.00M  10.0k     26.7   0.1   27 % compute  3:10    product 64x60x30, max
 40.00   16.0      1.0      -  1.00M        -  12.5  125 % memory   12:3    add
  0.00    0.0        -      -      -        -     -      -                  never
 50.00   20.0                                                               (threads wait: launches, barriers)
 10.00    4.0                                                               (between calls: batches, records)
250.00  100.0           4.00M  1.01M     16.0   4.0   56 %                  train1.step, the quickest 2 in a row
)");
  CHECK(describeDuration(7.2e-6) == "7200.0 ns");
  CHECK(describeDuration(1.2346e-5) == "12.3 µs");
  CHECK(describeDuration(2) == "2000.0 ms");
}

TEST_CASE("bench times the step and the cases of a training") {
  Builder b;
  const TrainParts p = addTraining(b, 5, "epochs", 10, 4, noteRows<4>, noteRows<2>);
  Json forward = b.call(noteFirst, {p.w});
  forward["name"] = "forward";
  b.body[0]["bench"] = {forward};
  Json timed = b.call(noteFirst, {p.w});
  timed["bench"] = "train1.hvp";
  b.body.push_back(timed);
  const Benched all(b.build(), {}, {});
  CHECK(all.status == 0);
  CAPTURE(all.out);
  CHECK(all.names() == std::vector<std::string>{"train1.forward", "train1.step", "train1.hvp"});
  CHECK(all.out.find("\"GFLOP/s\": ") != std::string::npos);
  CHECK(all.err.find("limits measured") == std::string::npos);
  // A filter that takes one training's benchmarks says nothing of the others; one that takes none is an error.
  const Benched few(b.build(), {}, {"--benchmark_filter=hvp"});
  CHECK(few.status == 0);
  CHECK(few.err.find("match") == std::string::npos);
  CHECK(few.names() == std::vector<std::string>{"train1.hvp"});
  const Benched none(b.build(), {}, {"--benchmark_filter=nothing"});
  CHECK(none.status == 1);
  CHECK(none.err.find("nothing; there are train1.forward, train1.step, train1.hvp") != std::string::npos);
  CHECK(none.out.empty());
  const Benched wrong(b.build(), {}, {"--benchmark_filter=("});
  CHECK(wrong.status == 1);
  CHECK(wrong.err.find("regular expression") != std::string::npos);
  CHECK(Benched(b.build(), {}, {"--nonsense"}).err.find("unknown flag '--nonsense'") != std::string::npos);
  // In a run such a call does nothing.
  const size_t before = seen.size();
  Ran ran(b);
  CHECK(seen.size() == before);
}

TEST_CASE("bench prints the kernels of a step if asked, out of the way of JSON, and a timeline") {
  Builder b;
  addMarkedTraining(b, 5);
  BenchOptions options;
  options.threads = 2;
  options.kernels = true;
  const Benched table(b.build(), options, {});
  CHECK(table.status == 0);
  CHECK(table.names() == std::vector<std::string>{"train1.step"});
  CAPTURE(table.err);
  for (const char *text : {"limits measured", "train1.step", "product 2x2x2, max", "unit.hw", "5:1", "GFLOP/s"})
    CHECK(table.err.find(text) != std::string::npos);
  options.kernels = {};
  const fs::path trace = scratchFolder().string() + ".json";
  options.trace = trace.string();
  const Benched timeline(b.build(), options, {});
  CHECK(timeline.status == 0);
  CHECK(timeline.err.find("limits measured") == std::string::npos);
  CHECK(timeline.err.find(trace.string()) != std::string::npos);
  CHECK(!eventsOf(Json::parse(readText(trace)), "train1.step").empty());
  // No step, no kernels.
  const Benched listed(b.build(), options, {"--benchmark_list_tests"});
  CHECK(listed.status == 1);
  CHECK(listed.out == "train1.step/real_time\n");
  CHECK(listed.err.find("--trace shows training steps") != std::string::npos);
  setThreads(availableCores());
}

//---- checkpoints -----------------------------------------------------------------------------------------------------

namespace {

std::atomic<int64_t> ticks = 0, interruptAt = -1; // calls of entries; the one that asks the program to stop
int interruptWith = SIGINT;
void tick() {
  if (++ticks == interruptAt)
    std::raise(interruptWith);
}

/// The next w, from all that a step sees.
template <int n> void mixRows(void *const *a, void *) {
  tick();
  double *w = doubles(a[0]);
  const auto *rows = static_cast<const int32_t *>(a[3]);
  for (int i = 0; i < n; ++i)
    w[i % 2] = 0.9 * w[i % 2] + std::sin(rows[i] + 0.1 * *doubles(a[1]) + 0.01 * *doubles(a[2]));
  *doubles(a[5]) = w[0] * w[0] + w[1] * w[1];
}

/// A study with every kind of node that holds something while it runs: data, a loop around a training in shuffled
/// batches with a smaller last one, whose blocks evaluate in batches, train another net, keep what the step recorded,
/// and stop; a matrix column by column, tables with numbers, texts and vectors, files named by the loop. The loop's
/// turns need nothing of each other, which the plan says if they are `independent`.
Builder everything(int runs = 2, bool independent = false) {
  Builder b;
  const int data = b.slot("f64", {2}), one = b.setting("one", 1), last = b.setting("last", runs);
  const std::pair<int, int> epochs = {b.setting("epochs", 3), b.setting("seed", 5)},
                            steps = {b.setting("steps", 3), epochs.second};
  const int i = b.slot("f64");
  const TrainParts p = addTraining(b, 3, "epochs", 10, 4, mixRows<4>, mixRows<2>, epochs);
  Json train = b.body.back();
  const TrainParts q = addTraining(
      b, 3, "steps", 4, 0,
      [](void *const *a, void *) {
        tick();
        doubles(a[0])[1] += 0.5 * *doubles(a[2]);
        *doubles(a[5]) = doubles(a[0])[1];
      },
      nullptr, steps);
  Json inner = b.body.back();
  b.body = Json::array();
  inner["label"] = "inner";
  inner["carried"][0]["name"] = "inner.w";
  auto row = [&](const char *table, Json columns, bool hidden = false) {
    return Json{{"op", "record"}, {"table", table}, {"hidden", hidden}, {"columns", columns}};
  };
  auto column = [](const char *name, int slot) { return Json{{"name", name}, {"slot", slot}}; };

  const int mean = b.slot("f64"), rows2 = b.slot("i32", {2}), rows1 = b.slot("i32", {1}), part = b.slot("f64"),
            part1 = b.slot("f64"), value = b.slot("f64"), isSmall = b.slot("i1"), epoch = b.slot("f64"),
            step = b.slot("f64"), epoch2 = b.slot("f64"), step2 = b.slot("f64");
  auto evaluate = [](void *const *a, void *) {
    tick();
    *doubles(a[2]) = doubles(a[0])[0] + 0.01 * *static_cast<const int32_t *>(a[1]);
  };
  const Json batches = {{"op", "batches"},
                        {"rows", 5},
                        {"batch", 2},
                        {"row_indices", rows2},
                        {"tail_indices", rows1},
                        {"results", {{{"combine", "mean"}, {"slot", value}, {"from", part}, {"tail_from", part1}}}},
                        {"body", {b.call(evaluate, {p.w, rows2}, {part})}},
                        {"tail", {b.call(evaluate, {p.w, rows1}, {part1})}}};
  const Json decide = b.call(
      [](void *const *a, void *) {
        tick();
        *static_cast<uint8_t *>(a[2]) = *doubles(a[0]) == 2 && *doubles(a[1]) == 2; // the second run, after 2 epochs
      },
      {i, epoch}, {isSmall});
  train["body"].push_back(row("#1", {column("loss", p.loss)}, true));
  train["tail"].push_back(row("#1", {column("loss", p.loss)}, true));
  train["every"] = {{{"period", 1},
                     {"unit", "epochs"},
                     {"epoch", epoch},
                     {"step", step},
                     {"body",
                      {{{"op", "reduce"}, {"kind", "mean"}, {"table", "#1"}, {"column", "loss"}, {"slot", mean}},
                       batches,
                       decide,
                       {{"op", "stop"}, {"slot", isSmall}},
                       inner,
                       row("t", {column("i", i), column("mean", mean), column("value", value), column("inner", q.w)}),
                       {{"op", "clear"}, {"table", "#1"}}}}},
                    {{"period", 2},
                     {"unit", "steps"},
                     {"epoch", epoch2},
                     {"step", step2},
                     {"body", {row("s", {column("step", step2), column("w", p.w)})}}}};

  const int row1 = b.slot("i32", {1}), image = b.slot("f64", {1, 2}), matrix = b.slot("f64", {2, 2});
  const Json rows = {{"op", "batches"},
                     {"rows", 2},
                     {"batch", 1},
                     {"row_indices", row1},
                     {"body",
                      {b.call(
                          [](void *const *a, void *) {
                            tick();
                            const int row = *static_cast<const int32_t *>(a[1]);
                            doubles(a[2])[0] = (row == 0) * doubles(a[0])[0];
                            doubles(a[2])[1] = (row == 1) + doubles(a[0])[0];
                          },
                          {p.w, row1}, {image})}},
                     {"results", {{{"combine", "concat"}, {"slot", matrix}, {"from", image}}}}};
  const Json copyData = b.call(
      [](void *const *a, void *) {
        tick();
        for (int j = 0; j < 2; ++j)
          doubles(a[2])[j] = doubles(a[0])[j] * *doubles(a[1]);
        std::fill_n(doubles(a[3]), 2, 0.0);
      },
      {data, i}, {p.w, q.w});
  const Json loops = Json::array({{{"name", "i"}, {"slot", i}}});
  b.body = {{{"op", "dataset"}, {"slot", data}, {"kind", "csv"}, {"path", "t.csv"}, {"part", "y"}},
            {{"op", "for"},
             {"variable", "i"},
             {"index", i},
             {"from", one},
             {"to", last},
             {"own", independent ? Json({i, b.slots.size()}) : Json({0, 0})},
             {"body",
              {copyData,
               train,
               rows,
               row("mixed", {{{"name", "what"}, {"value", "a text"}}}),
               row("mixed", {column("what", i), column("m", matrix)}),
               {{"op", "save"}, {"name", "w"}, {"format", "npy"}, {"slots", {p.w}}, {"loops", loops}}}}}};
  if (independent) // worth a thread each
    for (hw_entry &entry : b.entries)
      entry.flops = 1e8;
  return b;
}

fs::path dataFolder() {
  const fs::path folder = scratchFolder();
  fs::create_directories(folder);
  std::ofstream(folder / "t.csv") << "y\n0.3\n-0.7\n";
  return folder;
}

/// All files of a folder, run.json without what clocks say.
std::map<std::string, std::string> filesOf(const fs::path &folder) {
  std::map<std::string, std::string> files;
  for (const auto &entry : fs::directory_iterator(folder)) {
    std::string text = readText(entry.path());
    if (entry.path().filename() == "run.json") {
      Json json = Json::parse(text);
      for (const char *key : {"command", "started", "seconds", "load_seconds", "resumed"})
        json.erase(key);
      for (Json &training : json["trainings"])
        training.erase("seconds");
      text = json.dump();
    }
    files[entry.path().filename().string()] = text;
  }
  return files;
}

/// A run that is asked to stop at call number `at`, or not.
int runUntil(const hw_program &program, int64_t at, std::vector<std::string> arguments, std::string *errors = nullptr) {
  ticks = 0;
  interruptAt = at;
  int status = 0;
  const std::string text = captured(2, [&] { status = runMain(program, std::move(arguments)); });
  clearInterrupt();
  if (errors)
    *errors = text;
  return status;
}

} // namespace

TEST_CASE("a run that is stopped anywhere and resumed leaves the bytes of one that was not") {
  Builder b = everything();
  const hw_program &program = b.build();
  const std::string data = dataFolder().string(), whole = scratchFolder().string();
  REQUIRE(runUntil(program, -1, {"--out", whole, "--data", data}) == 0);
  const int64_t calls = ticks;
  const auto expected = filesOf(whole);
  CHECK(calls > 50);
  REQUIRE(expected.size() == 6); // s, t, mixed; w twice; run.json
  const Json ends = Json::parse(expected.at("run.json"))["trainings"];
  CHECK(ends.size() == 7); // 5 inner ones, the outer twice
  CHECK(ends.back()["end"] == "stopped");
  for (int64_t at = 1; at <= calls; ++at) {
    CAPTURE(at);
    const std::string out = scratchFolder().string();
    REQUIRE(runUntil(program, at, {"--out", out, "--data", data}) == 130);
    CHECK(fs::exists(fs::path(out) / "run.checkpoint.safetensors"));
    REQUIRE(runUntil(program, -1, {"--out", out, "--data", data, "--resume"}) == 0);
    CHECK(ticks < calls);
    CHECK(filesOf(out) == expected);
  }
  // Stopped again and again.
  for (int64_t at : {1, 2, 3, 7}) {
    CAPTURE(at);
    const std::string out = scratchFolder().string();
    int status = runUntil(program, at, {"--out", out, "--data", data});
    int64_t resumed = 0;
    for (; status == 130 && resumed < 2 * calls; ++resumed)
      status = runUntil(program, at, {"--out", out, "--data", data, "--resume"});
    CHECK(status == 0);
    CHECK(filesOf(out) == expected);
    CHECK(Json::parse(readText(fs::path(out) / "run.json"))["resumed"] == resumed);
  }
}

namespace {

/// Six trainings in six branches, each with what it records, one of which ends late; what they end at is read
/// together.
Builder branches() {
  Builder b;
  const std::pair<int, int> settings = {b.setting("epochs", 4), b.setting("seed", 5)};
  std::vector<int> ends;
  for (int branch = 0; branch < 6; ++branch)
    ends.push_back(b.slot("f64", {2}));
  const auto own = b.slots.size();
  Json branches = Json::array();
  for (int branch = 0; branch < 6; ++branch) {
    b.body = Json::array();
    const TrainParts p = addTraining(b, 4, "epochs", 10, 4, mixRows<4>, mixRows<2>, settings);
    const Json start = b.call(
        [](void *const *a, void *) {
          tick();
          doubles(a[1])[0] = doubles(a[1])[1] = *doubles(a[0]) / 16;
        },
        {settings.first}, {p.w});
    Json train = b.body.back();
    train["label"] = fmt::format("net {}", branch);
    const Json record = {
        {"op", "record"},
        {"table", "curve"},
        {"columns",
         {{{"name", "branch"}, {"value", fmt::format("number {}", branch)}}, {{"name", "loss"}, {"slot", p.loss}}}}};
    train["body"].push_back(record);
    if (branch == 0) {
      train["body"].push_back(
          b.call([](void *const *, void *) { std::this_thread::sleep_for(std::chrono::milliseconds(2)); }, {}));
      b.entries.back().flops = 0;
    }
    branches.push_back({start, train, record, {{"op", "copy"}, {"from", p.w}, {"to", ends[branch]}}});
  }
  b.body = {{{"op", "together"}, {"own", {own, b.slots.size()}}, {"branches", branches}}};
  for (int end : ends)
    b.body.push_back({{"op", "record"}, {"table", "ends"}, {"columns", {{{"name", "w"}, {"slot", end}}}}});
  for (hw_entry &entry : b.entries)
    entry.flops *= 1e7;
  return b;
}

/// What a run leaves but for run.json, whose trainings take its place.
std::map<std::string, std::string> resultsOf(const fs::path &folder) {
  auto files = filesOf(folder);
  files["run.json"] = Json::parse(files.at("run.json"))["trainings"].dump();
  return files;
}

} // namespace

TEST_CASE("independent turns run side by side leave the bytes of turns one after another") {
  for (Builder b : {everything(6, true), branches()}) {
    const hw_program &program = b.build();
    const std::string data = dataFolder().string(), whole = scratchFolder().string();
    REQUIRE(runUntil(program, -1, {"--out", whole, "--data", data, "--threads", "1"}) == 0);
    const int64_t calls = ticks;
    const auto expected = resultsOf(whole);
    CHECK(!Json::parse(readText(fs::path(whole) / "run.json")).contains("side_by_side"));
    for (const char *threads : {"2", "3", "7"}) {
      CAPTURE(threads);
      const std::string out = scratchFolder().string();
      REQUIRE(runUntil(program, -1, {"--out", out, "--data", data, "--threads", threads}) == 0);
      CHECK(ticks == calls);
      CHECK(resultsOf(out) == expected);
      CHECK(Json::parse(readText(fs::path(out) / "run.json"))["side_by_side"] == std::min(std::atoi(threads), 6));
    }
    // Stopped anywhere, and again and again.
    for (int64_t at = 1; at <= calls; at += at < 6 ? 1 : 11) {
      CAPTURE(at);
      const std::string out = scratchFolder().string();
      int status = runUntil(program, at, {"--out", out, "--data", data, "--threads", "2"});
      for (int64_t resumed = 0; status == 130 && resumed < 2 * calls; ++resumed)
        status = runUntil(program, at, {"--out", out, "--data", data, "--resume"});
      CHECK(status == 0);
      CHECK(resultsOf(out) == expected);
    }
    // A checkpoint at every safe point.
    const std::string out = scratchFolder().string();
    REQUIRE(runUntil(program, -1, {"--out", out, "--data", data, "--threads", "3", "--checkpoint", "0"}) == 0);
    CHECK(resultsOf(out) == expected);
  }
}

TEST_CASE("side by side, the first error in the program's order is told, with the rows before it") {
  Builder b = everything(4, true);
  // The third run is the first to fail, the second fails later.
  b.body[1]["body"][0] = b.call(
      [](void *const *a, void *) {
        const double i = *doubles(a[0]);
        std::fill_n(doubles(a[1]), 2, i == 3 ? NAN : i == 2 ? 1e300 : i);
      },
      {b.body[1]["index"].get<int>()}, {b.body[1]["body"][1]["carried"][0]["slot"].get<int>()});
  b.body[1]["body"].insert(b.body[1]["body"].begin() + 1,
                           b.call(
                               [](void *const *a, void *) {
                                 if (*doubles(a[0]) < 3)
                                   std::this_thread::sleep_for(std::chrono::milliseconds(50));
                               },
                               {b.body[1]["index"].get<int>()}));
  for (hw_entry &entry : b.entries)
    entry.flops = 1e8;
  const std::string data = dataFolder().string(), alone = scratchFolder().string(), beside = scratchFolder().string();
  std::string expected, found;
  REQUIRE(runUntil(b.build(), -1, {"--out", alone, "--data", data, "--threads", "1", "--quiet"}, &expected) == 1);
  REQUIRE(runUntil(b.build(), -1, {"--out", beside, "--data", data, "--threads", "4", "--quiet"}, &found) == 1);
  CHECK(expected.find("net, i = 2' became inf") != std::string::npos);
  CHECK(found.substr(0, found.find("; the weights")) == expected.substr(0, expected.find("; the weights")));
  for (const char *file : {"t.csv", "s.csv", "mixed.csv", "w-i=1.npy", "net-before-nan.safetensors"})
    CHECK(readText(fs::path(beside) / file) == readText(fs::path(alone) / file));
}

TEST_CASE("turns run side by side only where that is faster, and within a gigabyte") {
  Builder b = everything(4, true);
  const std::string data = dataFolder().string();
  for (hw_entry &entry : b.entries)
    entry.flops = 1e10; // 0.1 s, which two threads share well
  const Ran large(b, data);
  const TurnsNode &node = *large.program.plan.independent.at(0);
  CHECK(lanesFor(large.program.plan, node, 3, 2) == 0);
  CHECK(lanesFor(large.program.plan, node, 1, 2) == 0);
  CHECK(lanesFor(large.program.plan, node, 0, 2) == 0);
  CHECK(lanesFor(large.program.plan, node, 100, 1) == 0);
  for (hw_entry &entry : b.entries)
    entry.flops = 1e6; // 10 us
  const Ran small(b, data);
  const TurnsNode &same = *small.program.plan.independent.at(0);
  CHECK(lanesFor(small.program.plan, same, 8, 2) == 2);
  CHECK(lanesFor(small.program.plan, same, 8, 64) == 8);
  Plan plan = readPlanHead(b.build());
  plan.offsets[same.own] = 0;
  plan.slots[same.ownEnd - 1].bytes = uint64_t{300} << 20;
  CHECK(lanesFor(plan, same, 8, 8) == 3);
}

TEST_CASE("--resume: killed before the first checkpoint, after the last file, finished") {
  Builder b = everything();
  const hw_program &program = b.build();
  const std::string data = dataFolder().string(), whole = scratchFolder().string(), out = scratchFolder().string();
  REQUIRE(runUntil(program, -1, {"--out", whole, "--data", data}) == 0);
  const std::vector<std::string> resume = {"--out", out, "--data", data, "--resume"};
  const fs::path checkpoint = fs::path(out) / "run.checkpoint.safetensors", left = fs::path(out) / ".t.csv.1234-0.tmp";

  // Nothing there: it starts. A checkpoint that was deleted, or never written: it starts over.
  REQUIRE(runUntil(program, 20, resume) == 130);
  const std::string kept = readText(checkpoint);
  fs::remove(checkpoint);
  std::ofstream(left) << "half of a f";
  REQUIRE(runUntil(program, -1, resume) == 0);
  CHECK(filesOf(out) == filesOf(whole));
  CHECK(!fs::exists(left));
  // Killed when all was written but before the checkpoint went.
  std::ofstream(checkpoint, std::ios::binary) << kept;
  REQUIRE(runUntil(program, -1, resume) == 0);
  CHECK(ticks > 0);
  CHECK(filesOf(out) == filesOf(whole));
  // Finished.
  std::string text;
  CHECK(runUntil(program, -1, resume, &text) == 0);
  CHECK(ticks == 0);
  CHECK(text.find("is finished; --force repeats it") != std::string::npos);
  // A checkpoint of the past is no part of a run that starts anew.
  std::ofstream(checkpoint, std::ios::binary) << kept;
  REQUIRE(runUntil(program, 1, {"--out", out, "--data", data, "--force"}) == 130);
  CHECK(readText(checkpoint) != kept);
  REQUIRE(runUntil(program, -1, resume) == 0);
  CHECK(filesOf(out) == filesOf(whole));

  b.identity = "2";
  CHECK(runUntil(b.build(), -1, resume, &text) == 1);
  CHECK(text.find("holds a run of another program") != std::string::npos);
}

TEST_CASE("a loss that is no number is explained after --resume, too") {
  Builder b;
  addTraining(
      b, 9, "epochs", 10, 4,
      [](void *const *a, void *s) {
        mixRows<4>(a, s);
        if (*doubles(a[2]) >= 16)
          *doubles(a[5]) = NAN;
      },
      mixRows<2>);
  const std::string whole = scratchFolder().string(), out = scratchFolder().string();
  std::string first, second;
  CHECK(runUntil(b.build(), -1, {"--out", whole, "--quiet"}, &first) == 1);
  REQUIRE(runUntil(b.build(), 14, {"--out", out}) == 130);
  CHECK(runUntil(b.build(), -1, {"--out", out, "--resume", "--quiet"}, &second) == 1);
  CHECK(first.find("became nan in epoch 5, step 16") != std::string::npos);
  CHECK(first.substr(0, first.find(';')) == second.substr(0, second.find(';')));
  CHECK(fs::exists(fs::path(out) / "net-before-nan.safetensors"));
}

TEST_CASE("SIGTERM, too, leaves a checkpoint, and exits with 143") {
  Builder b = everything();
  const std::string data = dataFolder().string(), out = scratchFolder().string();
  interruptWith = SIGTERM;
  CHECK(runUntil(b.build(), 5, {"--out", out, "--data", data}) == 143);
  interruptWith = SIGINT;
  CHECK(Json::parse(readText(fs::path(out) / "run.json"))["status"] == "interrupted");
  CHECK(runUntil(b.build(), -1, {"--out", out, "--data", data, "--resume"}) == 0);
}

TEST_CASE("a training's steps allocate nothing") {
  static int64_t first, last;
  Builder b;
  addTraining(
      b, 2000, "steps", 10, 4,
      [](void *const *a, void *s) {
        mixRows<4>(a, s);
        const double step = *doubles(a[2]);
        (step < 100 ? first : last) = allocations;
      },
      mixRows<2>);
  Ran ran(b);
  CHECK(first > 0);
  CHECK(last == first);
}

TEST_CASE("a checkpoint's state reads back as it was, and anything else is one sentence") {
  CheckpointState state;
  state.run = {"a \"name\"", "abc", "0.1.0", "znver4", "v3", 64, 2, true, {{"rate", 0.1}, {"best", INFINITY}}};
  state.started = "2026-01-01T00:00:00Z";
  state.command = {"hwc", "run", "x y.hw"};
  state.seconds = 1.5;
  state.frames = {{3, 0, {}}, {12345678901, 2, {0.1, -INFINITY, 5e-324}}};
  state.stopping = true;
  state.trainings = {{"net", {{"i", 2}}, 5, 0.25, 1.5, 3, 30, "stopped"}};
  state.tables = {{"t", 7, {"one", "zwei\n"}}};
  state.sideBySide = 2;
  state.turns.resize(2);
  state.turns[0].frames = {{1, 0, {}}, {7, 1, {0.5, NAN, 1}}};
  state.turns[1].tables = {{"t", 2, {}}};
  state.files = {{"t", ".csv"}};
  state.sums = {{"net.weight", 0xFFFFFFFFu}};
  const std::string text = writeCheckpointState(state);
  const CheckpointState back = readCheckpointState(text, "here");
  CHECK(writeCheckpointState(back) == text);
  CHECK(back.frames == state.frames);
  REQUIRE(back.turns.size() == 2);
  CHECK(back.turns[0].frames[1].at == 7);
  CHECK(back.turns[1].tables == state.turns[1].tables);
  CHECK(back.tables == state.tables);
  CHECK(back.run.settings == state.run.settings);
  CHECK(back.sums == state.sums);

  std::mt19937 random(1);
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string bytes = text;
    for (int change = 0; change <= round % 4; ++change)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    if (round % 3 == 0)
      bytes.resize(random() % bytes.size());
    try {
      readCheckpointState(bytes, "here");
    } catch (const Error &e) {
      ++refused;
      CHECK(std::string_view(e.what()).starts_with("here is"));
    }
  }
  CHECK(refused > 2000);
  for (const std::string &bytes :
       {std::string(), std::string(1 << 20, '['), std::string("{}"), std::string("[1, 2]"), std::string("null")})
    CHECK_THROWS_WITH_AS(readCheckpointState(bytes, "here"), doctest::Contains("here is damaged"), Error);
}

TEST_CASE("a checkpoint holds what is live and nothing else") {
  Builder b = everything();
  const std::string data = dataFolder().string(), out = scratchFolder().string();
  REQUIRE(runUntil(b.build(), 2, {"--out", out, "--data", data}) == 130); // in the first training's first step
  std::vector<std::string> names;
  const SafetensorsFile file(out + "/run.checkpoint.safetensors");
  for (const auto &entry : file.entries())
    names.push_back(entry.name);
  std::sort(names.begin(), names.end());
  // The file's data is read again; the loop's variable and bounds, the count and the seed are slots.
  CHECK(std::count(names.begin(), names.end(), "net.linear1.weight") == 1);
  CHECK(std::count_if(names.begin(), names.end(), [](auto &name) { return name.starts_with("table "); }) == 4);
  const auto slots = std::count_if(names.begin(), names.end(), [](auto &name) { return name.starts_with("slot "); });
  CHECK(slots < static_cast<int64_t>(b.slots.size()) / 2);
  CHECK(CheckpointFile(out + "/run.checkpoint.safetensors").state().sums.count("slot 0") == 1);
}
