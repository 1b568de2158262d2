// The backend against the reference (tests/reference): modules from text are compiled, loaded, run on random data, and
// compared.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "backend/Compile.h"
#include "backend/dialect/Dialect.h"
#include "backend/emit/Jit.h"
#include "backend/emit/ObjectCode.h"
#include "backend/emit/ProgramEmitter.h"
#include "backend/graph/Pooling.h"
#include "backend/graph/WeightLayouts.h"
#include "backend/steps/Lower.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "tests/reference/Interpreter.h"
#include "llvm/Support/JSON.h"
#include <cmath>
#include <cstring>
#include <doctest/doctest.h>
#include <random>
#include <set>
#include <thread>

using namespace mlir;
using namespace hw;
using reference::Number, reference::Tensor;

namespace {

//===-- The runtime's part, as simple as can be -------------------------------------------------------------------===//

const hw_program *current = nullptr;

// Three threads, more than the machine may have: phases must hold what they promise, and tasks must not depend on each
// other, nor on who runs them.
constexpr int64_t kThreads = 3;
int64_t threadCount = kThreads;

void parallel(const hw_phase *phases, int64_t count, void *frame) {
  for (int64_t phase = 0; phase < count; ++phase) {
    std::vector<std::thread> threads;
    for (int64_t thread = 0; thread < threadCount; ++thread)
      threads.emplace_back([=] {
        for (int64_t task = phases[phase].tasks; task-- > 0;)
          if (task % threadCount == thread)
            phases[phase].run(frame, task, thread);
      });
    for (std::thread &thread : threads)
      thread.join();
  }
}
void runMatmul(int64_t index, int64_t, const void *a, const void *b, const void *bias, void *c) {
  const hw_matmul &m = current->matmuls[index];
  auto *x = static_cast<const float *>(a), *y = static_cast<const float *>(b), *z = static_cast<const float *>(bias);
  auto *out = static_cast<float *>(c);
  for (int64_t i = 0; i < m.batch; ++i)
    for (int64_t r = 0; r < m.m; ++r)
      for (int64_t s = 0; s < m.n; ++s) {
        double sum = m.has_bias ? z[s] : 0;
        for (int64_t t = 0; t < m.k; ++t)
          sum += double(x[i * m.a_stride[0] + r * m.a_stride[1] + t * m.a_stride[2]]) *
                 y[i * m.b_stride[0] + t * m.b_stride[1] + s * m.b_stride[2]];
        double value = m.activation == HW_TANH       ? std::tanh(sum)
                       : m.activation == HW_LOGISTIC ? 1 / (1 + std::exp(-sum))
                                                     : sum;
        out[i * m.c_stride[0] + r * m.c_stride[1] + s * m.c_stride[2]] = float(value);
      }
}
template <class T> void choleskyOf(int64_t n, const T *a, T *l) {
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = a[i * n + j];
      for (int64_t k = 0; k < j; ++k)
        sum -= double(l[i * n + k]) * l[j * n + k];
      l[i * n + j] = j > i ? T(0) : T(i == j ? std::sqrt(sum) : sum / l[j * n + j]);
    }
}
void cholesky(int32_t isF64, int64_t batch, int64_t n, const void *a, void *l) {
  for (int64_t i = 0; i < batch; ++i)
    if (isF64)
      choleskyOf(n, static_cast<const double *>(a) + i * n * n, static_cast<double *>(l) + i * n * n);
    else
      choleskyOf(n, static_cast<const float *>(a) + i * n * n, static_cast<float *>(l) + i * n * n);
}
void unsupported() { FAIL("called"); }

const backend::JitSymbol symbols[] = {{"hw_parallel", reinterpret_cast<void *>(&parallel)},
                                      {"hw_run_matmul", reinterpret_cast<void *>(&runMatmul)},
                                      {"hw_cholesky", reinterpret_cast<void *>(&cholesky)},
                                      {"hw_triangular_solve", reinterpret_cast<void *>(&unsupported)},
                                      {"hw_lu_solve", reinterpret_cast<void *>(&unsupported)}};

//===-- Layouts, which hw does not have ---------------------------------------------------------------------------===//

/// The rule of hwb.to_layout or from_layout: between what a layout stores and where that is in the tensor, which may be
/// beyond its end.
std::vector<Tensor> turned(backend::LayoutAttr layout, bool isStored, Operation *op, reference::Operands operands) {
  auto type = cast<RankedTensorType>(op->getResult(0).getType());
  std::vector<Tensor> results{{type, std::vector<Number>(type.getNumElements())}};
  ArrayRef<int64_t> shape = (isStored ? operands[0].type : type).getShape();
  SmallVector<int64_t> stored = layout.shape(), index(stored.size(), 0);
  size_t count = (isStored ? type : operands[0].type).getNumElements();
  for (size_t place = 0; place < count; ++place) {
    size_t rest = place;
    for (size_t dim = stored.size(); dim-- > 0; rest /= stored[dim])
      index[dim] = rest % stored[dim];
    int64_t flat = 0;
    for (auto [part, size] : llvm::enumerate(layout.getSplit()))
      flat = flat * size + index[llvm::find(layout.getOrder(), int64_t(part)) - layout.getOrder().begin()];
    SmallVector<int64_t> at(layout.getPadded());
    for (int64_t &dim : llvm::reverse(at)) {
      int64_t size = dim;
      dim = flat % size;
      flat /= size;
    }
    size_t within = 0;
    bool isInside = true;
    for (auto [dim, size] : llvm::zip_equal(at, shape)) {
      isInside &= dim < size;
      within = within * size + dim;
    }
    if (isInside)
      results[0].values[isStored ? place : within] = operands[0].values[isStored ? within : place];
  }
  return results;
}

//===-- The reference ---------------------------------------------------------------------------------------------===//

std::vector<Tensor> expectedOf(func::FuncOp function, ArrayRef<Tensor> arguments) {
  reference::Arithmetic arithmetic;
  arithmetic.others["hwb.to_layout"] = [](Operation *op, reference::Operands operands) {
    return turned(cast<backend::ToLayoutOp>(op).getLayout(), true, op, operands);
  };
  arithmetic.others["hwb.from_layout"] = [](Operation *op, reference::Operands operands) {
    return turned(cast<backend::FromLayoutOp>(op).getLayout(), false, op, operands);
  };
  return arithmetic.run(function, arguments);
}

Tensor emptyOf(Type type) {
  auto tensor = cast<RankedTensorType>(type);
  return {tensor, std::vector<Number>(tensor.getNumElements())};
}

//===-- Bytes -----------------------------------------------------------------------------------------------------===//

struct Bytes {
  void *data = nullptr;
  size_t size;
  explicit Bytes(size_t size) : size(size) {
    data = std::aligned_alloc(64, (size + 127) / 64 * 64 + 64);
    std::memset(data, 0xAB, (size + 127) / 64 * 64 + 64); // what is not written shows
  }
  Bytes(Bytes &&other) : data(std::exchange(other.data, nullptr)), size(other.size) {}
  ~Bytes() { std::free(data); }
  /// Whether something was written past the end.
  bool overrun() const { return static_cast<unsigned char *>(data)[size] != 0xAB; }
};

template <class T> void put(Bytes &bytes, const Tensor &array) {
  for (size_t i = 0; i < array.values.size(); ++i)
    static_cast<T *>(bytes.data)[i] = T(array.values[i]);
}
template <class T> void get(const Bytes &bytes, Tensor &array) {
  for (size_t i = 0; i < array.values.size(); ++i)
    array.values[i] = Number(static_cast<const T *>(bytes.data)[i]);
}
template <class Use> void withType(Type element, Use use) {
  if (element.isF32())
    use(float());
  else if (element.isF64())
    use(double());
  else if (element.isUnsignedInteger(64))
    use(uint64_t());
  else if (element.isUnsignedInteger(32))
    use(uint32_t());
  else if (element.isInteger(32))
    use(int32_t());
  else if (element.isUnsignedInteger(8) || element.isInteger(1))
    use(uint8_t());
  else
    use(int8_t());
}
Bytes bytesOf(Type type, const Tensor &array) {
  Type element = cast<RankedTensorType>(type).getElementType();
  std::optional<Bytes> result;
  withType(element, [&](auto zero) {
    result.emplace(array.values.size() * sizeof zero);
    put<decltype(zero)>(*result, array);
  });
  return std::move(*result);
}

//===-- Compile, run, compare -------------------------------------------------------------------------------------===//

struct Case {
  double low = -2, high = 2; // of random floats
  int64_t indexHigh = 12;    // of random integers, from -2 for signed ones
  double tolerance = 0;      // relative; 0: by type
  std::string cpu = {};
  backend::Products products = backend::Products::Automatic;
};

Tensor randomTensor(Type type, std::mt19937_64 &random, const Case &options) {
  Tensor array = emptyOf(type);
  Type element = cast<RankedTensorType>(type).getElementType();
  std::uniform_real_distribution<double> floats(options.low, options.high);
  std::uniform_int_distribution<int64_t> integers(element.isUnsignedInteger() || element.isInteger(1) ? 0 : -2,
                                                  element.isInteger(1) ? 1 : options.indexHigh);
  for (Number &value : array.values)
    value = isa<FloatType>(element) ? Number(floats(random)) : Number(integers(random));
  reference::round(array);
  return array;
}

struct Context {
  MLIRContext context;
  Context() { context.loadDialect<HwDialect, study::StudyDialect, func::FuncDialect, backend::HwbDialect>(); }
};

void check(const std::string &text, const Case &options = {}) {
  static Context holder;
  auto module = parseSourceString<ModuleOp>(text, &holder.context);
  INFO(text);
  REQUIRE(module);
  auto function = *module->getOps<func::FuncOp>().begin();
  std::mt19937_64 random(1);
  std::vector<Tensor> arguments;
  for (Type type : function.getArgumentTypes())
    arguments.push_back(randomTensor(type, random, options));
  auto expected = expectedOf(function, arguments);
  auto argumentTypes = llvm::to_vector(function.getArgumentTypes());
  auto resultTypes = llvm::to_vector(function.getResultTypes());
  SmallVector<int64_t> donated(resultTypes.size(), -1);
  for (unsigned i = 0; i < argumentTypes.size(); ++i)
    if (auto attribute = function.getArgAttrOfType<IntegerAttr>(i, "hw.donate"))
      donated[attribute.getInt()] = i;

  backend::CompileOptions compileOptions;
  compileOptions.cpu = options.cpu;
  compileOptions.products = options.products;
  compileOptions.wantKernels = true;
  auto compiled = backend::compileModule(*module, compileOptions);
  REQUIRE(compiled);
  INFO(compiled->kernels);
  std::string error;
  auto loaded = backend::loadObject(compiled->object, symbols, error);
  INFO(error);
  REQUIRE(loaded);
  current = loaded->program;
  REQUIRE(current->entry_count == 1);
  REQUIRE(current->abi == HW_ABI);

  auto run = [&](int64_t threads) {
    threadCount = threads;
    std::vector<Bytes> inputs, outputs;
    std::vector<void *> addresses;
    for (auto [type, array] : llvm::zip_equal(argumentTypes, arguments))
      inputs.push_back(bytesOf(type, array));
    for (Type type : resultTypes)
      outputs.push_back(bytesOf(type, emptyOf(type)));
    for (Bytes &bytes : inputs)
      addresses.push_back(bytes.data);
    for (auto [i, bytes] : llvm::enumerate(outputs)) {
      std::memset(bytes.data, 0xAB, bytes.size);
      addresses.push_back(donated[i] >= 0 ? inputs[donated[i]].data : bytes.data);
    }
    Bytes scratch(current->entries[0].scratch + kThreads * current->entries[0].thread_scratch);
    current->entries[0].function(addresses.data(), scratch.data);
    CHECK(!scratch.overrun());
    for (auto [i, bytes] : llvm::enumerate(outputs))
      if (donated[i] >= 0)
        std::swap(bytes.data, inputs[donated[i]].data);
    return outputs;
  };
  std::vector<Bytes> results = run(kThreads), again = run(1);
  for (auto [i, array] : llvm::enumerate(expected)) {
    const Bytes &bytes = results[i];
    CHECK(!bytes.overrun());
    CHECK_MESSAGE(std::memcmp(bytes.data, again[i].data, bytes.size) == 0, "other bits with one thread");
    Tensor found = emptyOf(resultTypes[i]);
    Type element = cast<RankedTensorType>(resultTypes[i]).getElementType();
    withType(element, [&](auto zero) { get<decltype(zero)>(bytes, found); });
    double tolerance = options.tolerance ? options.tolerance : element.isF32() ? 2e-6 : element.isF64() ? 1e-13 : 0;
    double scale = 1e-30;
    for (Number value : array.values)
      if (std::isfinite(value))
        scale = std::max(scale, double(std::fabs(value)));
    size_t wrong = 0;
    for (size_t j = 0; j < array.values.size(); ++j) {
      double want = double(array.values[j]), got = double(found.values[j]);
      bool isEqual = want == got || (std::isnan(want) && std::isnan(got)) || std::fabs(want - got) <= tolerance * scale;
      if (!isEqual && wrong++ < 3)
        FAIL_CHECK("result ", i, " element ", j, ": ", got, " instead of ", want);
    }
    CHECK(wrong == 0);
  }
}

/// Replaces each `$name` in `text`.
std::string fill(std::string text, std::initializer_list<std::pair<std::string, std::string>> values) {
  for (auto &[name, value] : values)
    for (size_t at; (at = text.find("$" + name)) != std::string::npos;)
      text.replace(at, name.size() + 1, value);
  return text;
}

} // namespace

TEST_CASE("first light: elementwise, product, reduction") {
  for (const char *type : {"f32", "f64"})
    check(fill(R"(
      func.func private @step(%x: tensor<33x17x$t>, %w: tensor<17x20x$t>, %b: tensor<20x$t>) -> (tensor<33x20x$t>, tensor<$t>) {
        %0 = hw.dot_general %x, %w batch [] x [] contract [1] x [0] : (tensor<33x17x$t>, tensor<17x20x$t>) -> tensor<33x20x$t>
        %1 = hw.broadcast %b dims [1] : tensor<20x$t> -> tensor<33x20x$t>
        %2 = hw.add %0, %1 : tensor<33x20x$t>
        %3 = hw.tanh %2 : tensor<33x20x$t>
        %4 = hw.mul %3, %3 : tensor<33x20x$t>
        %5 = hw.reduce_sum %4 dims [0, 1] : tensor<33x20x$t> -> tensor<$t>
        return %3, %5 : tensor<33x20x$t>, tensor<$t>
      })",
               {{"t", type}}));
}

TEST_CASE("elementwise operations, with tails") {
  struct Function {
    const char *name;
    double low, high, tolerance;
  };
  // Tolerances are relative to the largest result: rounding of the argument is not the op's fault.
  const Function unary[] = {
      {"neg", -2, 2, 0},        {"exp", -80, 5, 3e-7},       {"expm1", -3, 3, 3e-7}, {"log", 0, 9, 3e-7},
      {"log1p", -0.9, 9, 3e-7}, {"sqrt", 0, 9, 0},           {"log2", 0, 9, 3e-7},   {"log10", 0, 9, 3e-7},
      {"sinh", -3, 3, 3e-7},    {"cosh", -3, 3, 3e-7},       {"sin", -20, 20, 3e-7}, {"cos", -20, 20, 3e-7},
      {"tanh", -9, 9, 3e-7},    {"logistic", -30, 30, 3e-7}, {"erf", -3, 3, 3e-7},   {"asinh", -9, 9, 3e-7},
      {"abs", -2, 2, 0},        {"sign", -2, 2, 0},          {"floor", -9, 9, 0}};
  for (const char *type : {"f32", "f64"})
    for (const Function &f : unary)
      for (int size : {1, 7, 100}) {
        Case options{f.low, f.high, 12, std::string(type) == "f32" ? f.tolerance : 0};
        check(fill("func.func private @f(%x: tensor<$nx$t>) -> tensor<$nx$t> {\n %0 = hw.$f %x : tensor<$nx$t>\n "
                   "return %0 : tensor<$nx$t>\n}",
                   {{"n", std::to_string(size)}, {"t", type}, {"f", f.name}}),
              options);
      }
  for (const char *type : {"f32", "f64", "i32", "ui32", "i8", "ui8"})
    for (const char *f : {"add", "sub", "mul", "div", "pow", "min", "max"}) {
      bool isFloat = type[0] == 'f';
      if (!isFloat && (std::string(f) == "pow" || std::string(f) == "sub"))
        continue;
      Case options{std::string(f) == "pow" ? 0.1 : -2, 2, 9,
                   std::string(f) == "pow" && std::string(type) == "f32" ? 1e-6 : 0};
      check(fill("func.func private @f(%x: tensor<5x7x$t>, %y: tensor<5x7x$t>) -> tensor<5x7x$t> {\n %0 = hw.$f %x, %y "
                 ": tensor<5x7x$t>\n return %0 : tensor<5x7x$t>\n}",
                 {{"t", type}, {"f", f}}),
            options);
    }
}

TEST_CASE("comparison, logic, select, cast") {
  for (const char *type : {"f32", "f64", "i32", "ui8"})
    for (const char *p : {"eq", "ne", "lt", "le", "gt", "ge"})
      check(fill(
          R"(func.func private @f(%x: tensor<33x$t>, %y: tensor<33x$t>, %m: tensor<33xi1>) -> (tensor<33xi1>, tensor<33x$t>, tensor<33xi1>) {
        %0 = hw.compare "$p" %x, %y : tensor<33x$t> -> tensor<33xi1>
        %1 = hw.select %0, %x, %y : tensor<33xi1>, tensor<33x$t>
        %2 = hw.and %0, %m : tensor<33xi1>
        %3 = hw.not %2 : tensor<33xi1>
        %4 = hw.or %3, %0 : tensor<33xi1>
        return %0, %1, %4 : tensor<33xi1>, tensor<33x$t>, tensor<33xi1>
      })",
          {{"t", type}, {"p", p}}));
  const char *types[] = {"f32", "f64", "i1", "i8", "ui8", "i32", "ui32", "ui64"};
  for (const char *from : types)
    for (const char *to : types)
      if (from[0] == 'f' || to[0] == 'f' || std::string(from) == "i1")
        check(fill("func.func private @f(%x: tensor<19x$a>) -> tensor<19x$b> {\n %0 = hw.cast %x : tensor<19x$a> -> "
                   "tensor<19x$b>\n return %0 : tensor<19x$b>\n}",
                   {{"a", from}, {"b", to}}),
              Case{-300, 300, 100});
}

TEST_CASE("views: broadcast, transpose, slice, reverse, reshape, pad, concat, iota") {
  for (const char *type : {"f32", "f64", "ui8"}) {
    check(fill(
        R"(func.func private @f(%x: tensor<7x33x$t>, %r: tensor<7x$t>, %c: tensor<33x$t>, %s: tensor<$t>) -> (tensor<7x33x$t>, tensor<33x7x$t>) {
      %0 = hw.broadcast %r dims [0] : tensor<7x$t> -> tensor<7x33x$t>
      %1 = hw.broadcast %c dims [1] : tensor<33x$t> -> tensor<7x33x$t>
      %2 = hw.broadcast %s dims [] : tensor<$t> -> tensor<7x33x$t>
      %3 = hw.add %0, %1 : tensor<7x33x$t>
      %4 = hw.max %3, %x : tensor<7x33x$t>
      %5 = hw.max %4, %2 : tensor<7x33x$t>
      %6 = hw.transpose %5 permutation [1, 0] : tensor<7x33x$t> -> tensor<33x7x$t>
      %7 = hw.max %6, %6 : tensor<33x7x$t>
      return %5, %7 : tensor<7x33x$t>, tensor<33x7x$t>
    })",
        {{"t", type}}));
    check(fill(
        R"(func.func private @f(%x: tensor<9x20x3x$t>) -> (tensor<4x7x2x$t>, tensor<9x20x3x$t>, tensor<3x180x$t>, tensor<20x9x3x1x$t>) {
      %0 = hw.slice %x [1, 0, 1] [9, 20, 3] [2, 3, 1] : tensor<9x20x3x$t> -> tensor<4x7x2x$t>
      %1 = hw.reverse %x dims [0, 2] : tensor<9x20x3x$t>
      %2 = hw.max %x, %1 : tensor<9x20x3x$t>
      %3 = hw.reshape %2 : tensor<9x20x3x$t> -> tensor<3x180x$t>
      %4 = hw.max %3, %3 : tensor<3x180x$t>
      %5 = hw.transpose %x permutation [1, 0, 2] : tensor<9x20x3x$t> -> tensor<20x9x3x$t>
      %6 = hw.reshape %5 : tensor<20x9x3x$t> -> tensor<20x9x3x1x$t>
      return %0, %1, %4, %6 : tensor<4x7x2x$t>, tensor<9x20x3x$t>, tensor<3x180x$t>, tensor<20x9x3x1x$t>
    })",
        {{"t", type}}));
    check(fill(
        R"(func.func private @f(%x: tensor<5x4x$t>, %y: tensor<2x4x$t>) -> (tensor<13x6x$t>, tensor<7x4x$t>, tensor<7x4x$t>, tensor<28x$t>) {
      %0 = hw.max %x, %x : tensor<5x4x$t>
      %1 = hw.pad %0 [1, 2] [3, 0] [1, 0] : tensor<5x4x$t> -> tensor<13x6x$t>
      %2 = hw.concat %x, %y dim 0 : (tensor<5x4x$t>, tensor<2x4x$t>) -> tensor<7x4x$t>
      %3 = hw.iota dim 1 : tensor<7x4x$t>
      %4 = hw.add %2, %3 : tensor<7x4x$t>
      %5 = hw.reshape %0 : tensor<5x4x$t> -> tensor<20x$t>
      %6 = hw.reshape %y : tensor<2x4x$t> -> tensor<8x$t>
      %7 = hw.concat %5, %6 dim 0 : (tensor<20x$t>, tensor<8x$t>) -> tensor<28x$t>
      return %1, %2, %4, %7 : tensor<13x6x$t>, tensor<7x4x$t>, tensor<7x4x$t>, tensor<28x$t>
    })",
        {{"t", type}}));
  }
}

TEST_CASE("sums and maxima over every set of dimensions") {
  for (const char *type : {"f32", "f64", "i32"})
    for (int rows : {1, 7, 100, 1500})
      for (int columns : {1, 15, 17, 60, 130}) {
        std::string n = std::to_string(rows), m = std::to_string(columns);
        check(
            fill(
                R"(func.func private @f(%x: tensor<$nx$mx$t>, %w: tensor<$mx$t>) -> (tensor<$mx$t>, tensor<$nx$t>, tensor<$t>, tensor<$mx$t>, tensor<$nx$mx$t>) {
          %0 = hw.broadcast %w dims [1] : tensor<$mx$t> -> tensor<$nx$mx$t>
          %1 = hw.mul %x, %0 : tensor<$nx$mx$t>
          %2 = hw.reduce_sum %1 dims [0] : tensor<$nx$mx$t> -> tensor<$mx$t>
          %3 = hw.reduce_sum %1 dims [1] : tensor<$nx$mx$t> -> tensor<$nx$t>
          %4 = hw.reduce_sum %1 dims [0, 1] : tensor<$nx$mx$t> -> tensor<$t>
          %5 = hw.reduce_sum %x dims [0] : tensor<$nx$mx$t> -> tensor<$mx$t>
          return %2, %3, %4, %5, %1 : tensor<$mx$t>, tensor<$nx$t>, tensor<$t>, tensor<$mx$t>, tensor<$nx$mx$t>
        })",
                {{"n", n}, {"m", m}, {"t", type}}),
            Case{0.5, 2, 12, std::string(type) == "f32" ? 1e-5 : 0});
        for (const char *dim : {"0", "1"})
          check(fill("func.func private @f(%x: tensor<$nx$mx$t>) -> (tensor<$kx$t>, tensor<$kxi32>) {\n"
                     " %0, %1 = hw.reduce_max %x dim $d : tensor<$nx$mx$t> -> tensor<$kx$t>, tensor<$kxi32>\n"
                     " return %0, %1 : tensor<$kx$t>, tensor<$kxi32>\n}",
                     {{"n", n}, {"m", m}, {"t", type}, {"d", dim}, {"k", dim[0] == '0' ? m : n}}));
      }
  for (const char *dims : {"[0]", "[1]", "[2]", "[0, 1]", "[0, 2]", "[1, 2]"}) {
    std::string kept;
    for (const char *dim : {"0", "1", "2"})
      if (!StringRef(dims).contains(dim))
        kept += dim[0] == '0' ? "9x" : dim[0] == '1' ? "33x" : "6x";
    check(fill("func.func private @f(%x: tensor<9x33x6xf64>) -> tensor<$kf64> {\n %0 = hw.reduce_sum %x dims $d : "
               "tensor<9x33x6xf64> -> tensor<$kf64>\n"
               " return %0 : tensor<$kf64>\n}",
               {{"k", kept}, {"d", dims}}));
  }
}

// Terms near 1, and a tolerance that one chain of additions would miss by far: it rounds the same way again and again.
TEST_CASE("long f32 sums go in blocks") {
  const Case options{0.9, 1.1, 12, 6e-7};
  auto sum = [&](std::string shape, std::string dims, std::string kept) {
    check(fill("func.func private @f(%x: tensor<$sxf32>) -> tensor<$kf32> {\n %0 = hw.reduce_sum %x dims [$d] : "
               "tensor<$sxf32> -> tensor<$kf32>\n return %0 : tensor<$kf32>\n}",
               {{"s", shape}, {"d", dims}, {"k", kept}}),
          options);
  };
  for (std::string n : {"4095", "4097", "65537", "1200007"})
    sum(n, "0", "");
  for (std::string n : {"255", "257", "4099", "70001"}) {
    sum(n + "x7", "0", "7x");
    sum("7x" + n, "1", "7x");
    sum("3x" + n + "x5", "1", "3x5x");
    sum("3x" + n + "x5", "0, 2", n + "x");
    sum("3x" + n + "x5", "0, 1, 2", "");
  }
  sum("300x301x33", "0, 2", "301x");
  for (std::string k : {"1023", "1025", "2500", "60001"})
    for (std::string n : {"1", "5", "70"})
      check(fill("func.func private @f(%x: tensor<9x$kxf32>, %y: tensor<$kx$nxf32>) -> tensor<9x$nxf32> {\n"
                 " %0 = hw.dot_general %x, %y batch [] x [] contract [1] x [0] : (tensor<9x$kxf32>, tensor<$kx$nxf32>) "
                 "-> tensor<9x$nxf32>\n return %0 : tensor<9x$nxf32>\n}",
                 {{"k", k}, {"n", n}}),
            Case{0.9, 1.1, 12, 2e-6});
}

TEST_CASE("an outer product, bias, relu and the sum behind it need no memory") {
  check(
      R"(func.func private @f(%x: tensor<2000x1xf32>, %w: tensor<188xf32>, %b: tensor<188xf32>, %v: tensor<188xf32>) -> (tensor<2000xf32>, tensor<188xf32>, tensor<188xf32>, tensor<188xf32>) {
    %zero = hw.constant dense<0.0> : tensor<2000x188xf32>
    %x1 = hw.reshape %x : tensor<2000x1xf32> -> tensor<2000xf32>
    %0 = hw.broadcast %x1 dims [0] : tensor<2000xf32> -> tensor<2000x188xf32>
    %1 = hw.broadcast %w dims [1] : tensor<188xf32> -> tensor<2000x188xf32>
    %2 = hw.mul %0, %1 : tensor<2000x188xf32>
    %3 = hw.broadcast %b dims [1] : tensor<188xf32> -> tensor<2000x188xf32>
    %4 = hw.add %2, %3 : tensor<2000x188xf32>
    %5 = hw.max %4, %zero : tensor<2000x188xf32>
    %6 = hw.broadcast %v dims [1] : tensor<188xf32> -> tensor<2000x188xf32>
    %7 = hw.mul %5, %6 : tensor<2000x188xf32>
    %8 = hw.reduce_sum %7 dims [1] : tensor<2000x188xf32> -> tensor<2000xf32>
    %9 = hw.broadcast %8 dims [0] : tensor<2000xf32> -> tensor<2000x188xf32>
    %10 = hw.mul %5, %9 : tensor<2000x188xf32>
    %11 = hw.reduce_sum %10 dims [0] : tensor<2000x188xf32> -> tensor<188xf32>
    %12 = hw.compare "gt" %4, %zero : tensor<2000x188xf32> -> tensor<2000x188xi1>
    %13 = hw.mul %9, %6 : tensor<2000x188xf32>
    %14 = hw.select %12, %13, %zero : tensor<2000x188xi1>, tensor<2000x188xf32>
    %15 = hw.reduce_sum %14 dims [0] : tensor<2000x188xf32> -> tensor<188xf32>
    %16 = hw.mul %14, %0 : tensor<2000x188xf32>
    %17 = hw.reduce_sum %16 dims [0] : tensor<2000x188xf32> -> tensor<188xf32>
    return %8, %11, %15, %17 : tensor<2000xf32>, tensor<188xf32>, tensor<188xf32>, tensor<188xf32>
  })",
      Case{-2, 2, 12, 1e-5});
}

TEST_CASE("products: every orientation, batches, thin and odd sizes, epilogues") {
  struct Shape {
    int m, n, k;
  };
  for (const char *type : {"f32", "f64"})
    for (Shape s :
         {Shape{33, 60, 17}, {1, 7, 5}, {100, 1, 15}, {16, 130, 1}, {200, 60, 60}, {5, 33, 300}, {64, 10, 64}})
      for (const char *orientation : {"1 0", "1 1", "0 0", "0 1"}) {
        bool aTurned = orientation[0] == '0', bTurned = orientation[2] == '1';
        std::string m = std::to_string(s.m), n = std::to_string(s.n), k = std::to_string(s.k);
        check(
            fill(
                R"(func.func private @f(%a: tensor<$Ax$t>, %b: tensor<$Bx$t>, %v: tensor<$nx$t>, %g: tensor<$mx$nx$t>) -> (tensor<$mx$nx$t>, tensor<$mx$nx$t>) {
          %zero = hw.constant dense<0.0> : tensor<$mx$nx$t>
          %0 = hw.dot_general %a, %b batch [] x [] contract [$l] x [$r] : (tensor<$Ax$t>, tensor<$Bx$t>) -> tensor<$mx$nx$t>
          %1 = hw.broadcast %v dims [1] : tensor<$nx$t> -> tensor<$mx$nx$t>
          %2 = hw.add %0, %1 : tensor<$mx$nx$t>
          %3 = hw.max %2, %zero : tensor<$mx$nx$t>
          %4 = hw.compare "gt" %2, %zero : tensor<$mx$nx$t> -> tensor<$mx$nxi1>
          %5 = hw.select %4, %g, %zero : tensor<$mx$nxi1>, tensor<$mx$nx$t>
          return %3, %5 : tensor<$mx$nx$t>, tensor<$mx$nx$t>
        })",
                {{"A", aTurned ? k + "x" + m : m + "x" + k},
                 {"B", bTurned ? n + "x" + k : k + "x" + n},
                 {"t", type},
                 {"m", m},
                 {"n", n},
                 {"k", k},
                 {"l", std::string(1, orientation[0])},
                 {"r", std::string(1, orientation[2])}}),
            Case{-2, 2, 12, std::string(type) == "f32" ? 1e-5 : 0});
      }
  for (const char *type : {"f32", "f64"}) {
    check(fill(R"(func.func private @f(%a: tensor<3x9x17x$t>, %b: tensor<17x3x20x$t>) -> tensor<3x9x20x$t> {
      %0 = hw.dot_general %a, %b batch [0] x [1] contract [2] x [0] : (tensor<3x9x17x$t>, tensor<17x3x20x$t>) -> tensor<3x9x20x$t>
      return %0 : tensor<3x9x20x$t>
    })",
               {{"t", type}}),
          Case{-2, 2, 12, 1e-5});
    check(fill(R"(func.func private @f(%a: tensor<2x9x3x7x$t>, %b: tensor<7x4x9x5x2x$t>) -> tensor<2x3x4x5x$t> {
      %0 = hw.dot_general %a, %b batch [0] x [4] contract [1, 3] x [2, 0] : (tensor<2x9x3x7x$t>, tensor<7x4x9x5x2x$t>) -> tensor<2x3x4x5x$t>
      return %0 : tensor<2x3x4x5x$t>
    })",
               {{"t", type}}),
          Case{-2, 2, 12, 1e-5});
    check(
        fill(
            R"(func.func private @f(%a: tensor<17x$t>, %b: tensor<17x$t>, %c: tensor<5x$t>, %d: tensor<9x17x$t>) -> (tensor<$t>, tensor<5x17x$t>, tensor<9x$t>) {
      %0 = hw.dot_general %a, %b batch [] x [] contract [0] x [0] : (tensor<17x$t>, tensor<17x$t>) -> tensor<$t>
      %1 = hw.dot_general %c, %a batch [] x [] contract [] x [] : (tensor<5x$t>, tensor<17x$t>) -> tensor<5x17x$t>
      %2 = hw.dot_general %d, %a batch [] x [] contract [1] x [0] : (tensor<9x17x$t>, tensor<17x$t>) -> tensor<9x$t>
      return %0, %1, %2 : tensor<$t>, tensor<5x17x$t>, tensor<9x$t>
    })",
            {{"t", type}}),
        Case{-2, 2, 12, 1e-5});
  }
}

TEST_CASE("products by oneDNN, with bias and activation") {
  check(
      R"(func.func private @f(%x: tensor<300x784xf32>, %w: tensor<784x500xf32>, %b: tensor<500xf32>) -> (tensor<300x500xf32>, tensor<784x500xf32>) {
    %0 = hw.dot_general %x, %w batch [] x [] contract [1] x [0] : (tensor<300x784xf32>, tensor<784x500xf32>) -> tensor<300x500xf32>
    %1 = hw.broadcast %b dims [1] : tensor<500xf32> -> tensor<300x500xf32>
    %2 = hw.add %0, %1 : tensor<300x500xf32>
    %3 = hw.logistic %2 : tensor<300x500xf32>
    %4 = hw.dot_general %x, %3 batch [] x [] contract [0] x [0] : (tensor<300x784xf32>, tensor<300x500xf32>) -> tensor<784x500xf32>
    return %3, %4 : tensor<300x500xf32>, tensor<784x500xf32>
  })",
      Case{-1, 1, 12, 1e-5});
  // A bias that is computed after the product, even from it: added afterwards.
  for (const char *from : {"%x", "%0"})
    check(
        fill(
            R"(func.func private @f(%x: tensor<300x784xf32>, %w: tensor<784x784xf32>) -> (tensor<300x784xf32>, tensor<784xf32>) {
    %0 = hw.dot_general %x, %w batch [] x [] contract [1] x [0] : (tensor<300x784xf32>, tensor<784x784xf32>) -> tensor<300x784xf32>
    %1 = hw.reduce_sum $from dims [0] : tensor<300x784xf32> -> tensor<784xf32>
    %2 = hw.sin %1 : tensor<784xf32>
    %3 = hw.broadcast %2 dims [1] : tensor<784xf32> -> tensor<300x784xf32>
    %4 = hw.add %0, %3 : tensor<300x784xf32>
    return %4, %2 : tensor<300x784xf32>, tensor<784xf32>
  })",
            {{"from", from}}),
        Case{-1, 1, 12, 1e-3});
}

TEST_CASE("gather, scatter_add, random_bits") {
  for (const char *type : {"f32", "f64"})
    for (const char *rest : {"", "5x", "33x", "3x4x"}) {
      check(fill(R"(func.func private @f(%x: tensor<10x$r$t>, %i: tensor<37xi32>) -> tensor<37x$r$t> {
        %0 = hw.exp %x : tensor<10x$r$t>
        %1 = hw.gather %0 at %i : (tensor<10x$r$t>, tensor<37xi32>) -> tensor<37x$r$t>
        return %1 : tensor<37x$r$t>
      })",
                 {{"t", type}, {"r", rest}}));
      check(fill(R"(func.func private @f(%u: tensor<4x9x$r$t>, %i: tensor<4x9xi32>) -> tensor<10x$r$t> {
        %0 = hw.add %u, %u : tensor<4x9x$r$t>
        %1 = hw.scatter_add %0 at %i : (tensor<4x9x$r$t>, tensor<4x9xi32>) -> tensor<10x$r$t>
        return %1 : tensor<10x$r$t>
      })",
                 {{"t", type}, {"r", rest}}));
    }
  check(
      R"(func.func private @f(%x: tensor<100x28x28xui8>, %i: tensor<37xi32>, %w: tensor<784x20xf32>) -> tensor<37x20xf32> {
    %0 = hw.gather %x at %i : (tensor<100x28x28xui8>, tensor<37xi32>) -> tensor<37x28x28xui8>
    %1 = hw.cast %0 : tensor<37x28x28xui8> -> tensor<37x28x28xf32>
    %2 = hw.reshape %1 : tensor<37x28x28xf32> -> tensor<37x784xf32>
    %3 = hw.dot_general %2, %w batch [] x [] contract [1] x [0] : (tensor<37x784xf32>, tensor<784x20xf32>) -> tensor<37x20xf32>
    return %3 : tensor<37x20xf32>
  })",
      Case{-1, 1, 120, 1e-5});
  for (const char *type : {"ui32", "ui64"})
    check(fill(R"(func.func private @f(%k: tensor<ui32>, %s: tensor<ui32>) -> tensor<7x15x$t> {
      %0 = hw.random_bits %k, %s site 77 : (tensor<ui32>, tensor<ui32>) -> tensor<7x15x$t>
      return %0 : tensor<7x15x$t>
    })",
               {{"t", type}}));
}

TEST_CASE("dense constants, results that are arguments, constants or each other") {
  check(
      R"(func.func private @f(%x: tensor<3xf32>) -> (tensor<3xf32>, tensor<3xf32>, tensor<3xf32>, tensor<3xf32>, tensor<3xf32>, tensor<2x3xf32>) {
    %0 = hw.constant dense<[1.0, -2.5, 3.0]> : tensor<3xf32>
    %1 = hw.constant dense<7.0> : tensor<3xf32>
    %2 = hw.mul %x, %0 : tensor<3xf32>
    %3 = hw.broadcast %x dims [1] : tensor<3xf32> -> tensor<2x3xf32>
    return %x, %0, %1, %2, %2, %3 : tensor<3xf32>, tensor<3xf32>, tensor<3xf32>, tensor<3xf32>, tensor<3xf32>, tensor<2x3xf32>
  })");
}

TEST_CASE("donated arguments are overwritten, and read before") {
  // In place, with another reader that must come first; swapped arguments; a transposed reader.
  check(
      R"(func.func private @f(%w: tensor<60x60xf32> {hw.donate = 0 : i64}, %m: tensor<60x60xf32> {hw.donate = 1 : i64}, %x: tensor<33x60xf32>) -> (tensor<60x60xf32>, tensor<60x60xf32>, tensor<33x60xf32>) {
    %0 = hw.add %w, %m : tensor<60x60xf32>
    %1 = hw.mul %w, %m : tensor<60x60xf32>
    %2 = hw.dot_general %x, %w batch [] x [] contract [1] x [1] : (tensor<33x60xf32>, tensor<60x60xf32>) -> tensor<33x60xf32>
    return %0, %1, %2 : tensor<60x60xf32>, tensor<60x60xf32>, tensor<33x60xf32>
  })",
      Case{-2, 2, 12, 1e-5});
  check(
      R"(func.func private @f(%a: tensor<50xf32> {hw.donate = 0 : i64}, %b: tensor<50xf32> {hw.donate = 1 : i64}) -> (tensor<50xf32>, tensor<50xf32>) {
    return %b, %a : tensor<50xf32>, tensor<50xf32>
  })");
  check(
      R"(func.func private @f(%a: tensor<50xf32> {hw.donate = 0 : i64}, %b: tensor<50xf32> {hw.donate = 1 : i64}) -> (tensor<50xf32>, tensor<50xf32>) {
    %0 = hw.reverse %a dims [0] : tensor<50xf32>
    %1 = hw.add %0, %b : tensor<50xf32>
    %2 = hw.add %a, %b : tensor<50xf32>
    return %1, %2 : tensor<50xf32>, tensor<50xf32>
  })");
  check(R"(func.func private @f(%a: tensor<9x9xf64> {hw.donate = 0 : i64}) -> tensor<9x9xf64> {
    %0 = hw.transpose %a permutation [1, 0] : tensor<9x9xf64> -> tensor<9x9xf64>
    %1 = hw.add %0, %a : tensor<9x9xf64>
    return %1 : tensor<9x9xf64>
  })");
}

TEST_CASE("a factor behind a mask that guards it stays there") {
  for (const char *guard : {"%2 = hw.compare \"gt\" %n, %zero : tensor<20xf64> -> tensor<20xi1>\n"
                            "%mask = hw.broadcast %2 dims [0] : tensor<20xi1> -> tensor<20x8xi1>",
                            "%2 = hw.broadcast %n dims [0] : tensor<20xf64> -> tensor<20x8xf64>\n"
                            "%mask = hw.compare \"gt\" %2, %zeros : tensor<20x8xf64> -> tensor<20x8xi1>",
                            "%2 = hw.broadcast %n dims [0] : tensor<20xf64> -> tensor<20x8xf64>\n"
                            "%a = hw.compare \"gt\" %2, %zeros : tensor<20x8xf64> -> tensor<20x8xi1>\n"
                            "%b = hw.compare \"gt\" %x, %zeros : tensor<20x8xf64> -> tensor<20x8xi1>\n"
                            "%mask = hw.and %a, %b : tensor<20x8xi1>"})
    check(fill(R"(func.func private @f(%x: tensor<20x8xf64>, %n: tensor<20xf64>) -> tensor<20xf64> {
      %zero = hw.constant dense<0.0> : tensor<20xf64>
      %zeros = hw.constant dense<0.0> : tensor<20x8xf64>
      %one = hw.constant dense<1.0> : tensor<20xf64>
      %0 = hw.max %n, %zero : tensor<20xf64>
      %1 = hw.div %one, %0 : tensor<20xf64>
      $guard
      %3 = hw.broadcast %1 dims [0] : tensor<20xf64> -> tensor<20x8xf64>
      %4 = hw.mul %x, %3 : tensor<20x8xf64>
      %5 = hw.select %mask, %4, %zeros : tensor<20x8xi1>, tensor<20x8xf64>
      %6 = hw.reduce_sum %5 dims [1] : tensor<20x8xf64> -> tensor<20xf64>
      return %6 : tensor<20xf64>
    })",
               {{"guard", guard}}));
}

TEST_CASE("masks and sums of pooling's gradients are taken at the pooled size") {
  struct Pooling {
    const char *x, *pooled, *window;
    bool overhangs; // windows are not all of one size: their sums are not those of the spread
  };
  for (const Pooling &p : {Pooling{"3x5x8x12", "3x5x4x4", "window [2, 3] stride [2, 3] pad [0, 0] [0, 0]", false},
                           {"3x5x9x11", "3x5x4x3", "window [2, 3] stride [2, 3] pad [0, 0] [0, 0]", false},
                           {"3x5x9x7", "3x5x4x5", "window [3, 3] stride [2, 1] pad [0, 0] [0, 0]", false},
                           {"3x5x8x8", "3x5x4x4", "window [3, 3] stride [2, 2] pad [1, 1] [1, 1]", true},
                           {"3x5x8x8", "3x5x3x3", "window [3, 3] stride [3, 3] pad [0, 0] [1, 1]", true}}) {
    std::string text = fill(R"(func.func private @f(%x: tensor<$Sx$T>, %u: tensor<$Rx$T>)
        -> (tensor<$Rx$T>, tensor<$Sx$T>, tensor<5x$T>, tensor<5x$T>, tensor<$Sx$T>) {
      %zero = hw.constant dense<0.0> : tensor<$Sx$T>
      %y = hw.max %x, %zero : tensor<$Sx$T>
      %p, %i = hw.max_pool %y $window : tensor<$Sx$T> -> tensor<$Rx$T>, tensor<$Rxi32>
      %s = hw.pool_scatter %u at %i $window : (tensor<$Rx$T>, tensor<$Rxi32>) -> tensor<$Sx$T>
      %m = hw.compare "gt" %$rectified, %zero : tensor<$Sx$T> -> tensor<$Sxi1>
      %g = hw.select %m, %s, %zero : tensor<$Sxi1>, tensor<$Sx$T>
      %b = hw.reduce_sum %g dims [0, 2, 3] : tensor<$Sx$T> -> tensor<5x$T>
      %w = hw.window_spread %u $window : tensor<$Rx$T> -> tensor<$Sx$T>
      %a = hw.reduce_sum %w dims [0, 2, 3] : tensor<$Sx$T> -> tensor<5x$T>
      return %p, %g, %b, %a, %w : tensor<$Rx$T>, tensor<$Sx$T>, tensor<5x$T>, tensor<5x$T>, tensor<$Sx$T>
    })",
                            {{"S", p.x}, {"R", p.pooled}, {"window", p.window}});
    for (const char *type : {"f32", "f64"})
      check(fill(text, {{"T", type}, {"rectified", "x"}}));

    Context holder;
    auto module = parseSourceString<ModuleOp>(fill(text, {{"T", "f32"}, {"rectified", "y"}}), &holder.context);
    REQUIRE(module);
    Block &block = (*module->getOps<func::FuncOp>().begin()).front();
    backend::poolFirst(block);
    Operation *end = block.getTerminator();
    auto typeBehind = [&](unsigned result) { // of the first operand of what makes the result
      return end->getOperand(result).getDefiningOp()->getOperand(0).getType();
    };
    Type x = block.getArgument(0).getType(), pooled = block.getArgument(1).getType();
    auto scatter = end->getOperand(1).getDefiningOp<PoolScatterOp>();
    REQUIRE(scatter);
    CHECK(scatter.getUpdates().getDefiningOp<SelectOp>());
    CHECK(typeBehind(2) == pooled);
    CHECK((typeBehind(3) == x) == p.overhangs);
  }
}

TEST_CASE("layouts: what is stored, arithmetic on it, turned, in another layout, back") {
  struct Stored {
    const char *tensor, *stored, *layout, *turnedStored, *turned;
  };
  const char *blocks = "<[32, 16, 3, 2] to [2, 16, 1, 16, 3, 2] order [0, 2, 4, 5, 3, 1]>";
  for (const Stored &s : {Stored{"20x5x3x2", "2x1x3x2x16x16", blocks, "2x1x3x2x16x16",
                                 "<[32, 16, 3, 2] to [2, 16, 1, 16, 3, 2] order [0, 2, 4, 5, 1, 3]>"},
                          Stored{"20x5x3x2", "2x1x3x2x16x16", blocks, "2x3x2x5x16",
                                 "<[32, 5, 3, 2] to [2, 16, 5, 3, 2] order [0, 3, 4, 2, 1]>"},
                          Stored{"7x60", "7x3x4x5", "<[7, 60] to [7, 5, 3, 4] order [0, 2, 3, 1]>", "7x4x5x3",
                                 "<[7, 60] to [7, 5, 3, 4] order [0, 3, 1, 2]>"},
                          Stored{"60x7", "3x4x5x7", "<[60, 7] to [5, 3, 4, 7] order [1, 2, 0, 3]>", "60x7",
                                 "<[60, 7] to [60, 7] order [0, 1]>"}})
    for (const char *type : {"f32", "f64"})
      check(fill(R"(func.func private @f(%x: tensor<$Sx$T>, %y: tensor<$Sx$T>, %r: tensor<$T>)
          -> (tensor<$Sx$T>, tensor<$Lx$T>, tensor<$Mx$T>, tensor<$T>) {
        %0 = hwb.to_layout %x $layout : tensor<$Sx$T> -> tensor<$Lx$T>
        %1 = hwb.from_layout %0 $layout : tensor<$Lx$T> -> tensor<$Sx$T>
        %2 = hw.exp %1 : tensor<$Sx$T>
        %3 = hw.broadcast %r dims [] : tensor<$T> -> tensor<$Sx$T>
        %4 = hw.mul %2, %3 : tensor<$Sx$T>
        %5 = hw.add %4, %y : tensor<$Sx$T>
        %6 = hwb.to_layout %4 $layout : tensor<$Sx$T> -> tensor<$Lx$T>
        %7 = hwb.to_layout %4 $turned : tensor<$Sx$T> -> tensor<$Mx$T>
        %8 = hw.reduce_sum %4 dims [$all] : tensor<$Sx$T> -> tensor<$T>
        return %5, %6, %7, %8 : tensor<$Sx$T>, tensor<$Lx$T>, tensor<$Mx$T>, tensor<$T>
      })",
                 {{"S", s.tensor},
                  {"L", s.stored},
                  {"M", s.turnedStored},
                  {"T", type},
                  {"layout", s.layout},
                  {"turned", s.turned},
                  {"all", StringRef(s.tensor).count('x') == 3 ? "0, 1, 2, 3" : "0, 1"}}));
}

TEST_CASE("layouts that are none") {
  for (const char *layout :
       {"<[4, 6] to [4, 2, 4] order [0, 1, 2]>", "<[4, 6] to [4, 2, 3] order [0, 1, 1]>",
        "<[4, 6] to [4, 2, 3] order [0, 1]>", "<[4] to [2, 2] order [0, 1]>", "<[4, 5] to [4, 5] order [1, 0]>"}) {
    Context holder;
    std::string told;
    ScopedDiagnosticHandler handler(&holder.context, [&](Diagnostic &diagnostic) { told += diagnostic.str(); });
    CHECK(!parseSourceString<ModuleOp>(fill(R"(func.func private @f(%x: tensor<4x6xf32>, %y: tensor<6x4xf32>) {
      %0 = hwb.from_layout %y $layout : tensor<6x4xf32> -> tensor<4x6xf32>
      return
    })",
                                            {{"layout", layout}}),
                                       &holder.context));
    CHECK_MESSAGE(!told.empty(), layout);
  }
}

TEST_CASE("shared values: softmax and its derivative") {
  check(R"(func.func private @f(%x: tensor<100x10xf32>) -> (tensor<100x10xf32>, tensor<100xf32>, tensor<10xf32>) {
    %m, %i = hw.reduce_max %x dim 1 : tensor<100x10xf32> -> tensor<100xf32>, tensor<100xi32>
    %0 = hw.broadcast %m dims [0] : tensor<100xf32> -> tensor<100x10xf32>
    %1 = hw.sub %x, %0 : tensor<100x10xf32>
    %2 = hw.exp %1 : tensor<100x10xf32>
    %3 = hw.reduce_sum %2 dims [1] : tensor<100x10xf32> -> tensor<100xf32>
    %4 = hw.broadcast %3 dims [0] : tensor<100xf32> -> tensor<100x10xf32>
    %5 = hw.div %2, %4 : tensor<100x10xf32>
    %6 = hw.log %3 : tensor<100xf32>
    %7 = hw.reduce_sum %5 dims [0] : tensor<100x10xf32> -> tensor<10xf32>
    return %5, %6, %7 : tensor<100x10xf32>, tensor<100xf32>, tensor<10xf32>
  })");
}

TEST_CASE("other machines' vectors") {
  for (const char *cpu : {"x86-64", "x86-64-v3", "x86-64-v4"})
    for (const char *type : {"f32", "f64"}) {
      if (std::string(cpu) == "x86-64-v4" && !__builtin_cpu_supports("avx512f"))
        continue;
      Case options{-2, 2, 12, 1e-5, cpu};
      check(
          fill(
              R"(func.func private @f(%x: tensor<33x17x$t>, %w: tensor<17x20x$t>, %g: tensor<33x20xui8>) -> (tensor<33x20x$t>, tensor<20x$t>, tensor<33x20x$t>) {
        %0 = hw.dot_general %x, %w batch [] x [] contract [1] x [0] : (tensor<33x17x$t>, tensor<17x20x$t>) -> tensor<33x20x$t>
        %1 = hw.exp %0 : tensor<33x20x$t>
        %2 = hw.floor %0 : tensor<33x20x$t>
        %3 = hw.sin %2 : tensor<33x20x$t>
        %4 = hw.cast %g : tensor<33x20xui8> -> tensor<33x20x$t>
        %5 = hw.mul %3, %4 : tensor<33x20x$t>
        %6 = hw.reduce_sum %5 dims [0] : tensor<33x20x$t> -> tensor<20x$t>
        return %1, %6, %5 : tensor<33x20x$t>, tensor<20x$t>, tensor<33x20x$t>
      })",
              {{"t", type}}),
          options);
    }
}

//===-- Random functions ------------------------------------------------------------------------------------------===//

namespace {

/// A function over tensors of so many rows, of operations drawn at random: what the layers of networks and their
/// derivatives are made of. Values stay small, and nothing jumps where a computed value changes by a rounding.
class RandomFunction {
public:
  RandomFunction(unsigned seed, const std::string &type) : random(seed), type(type) {
    rows = pick<int64_t>({64, 65, 77, 96, 101, 128, 131, 160, 197, 255, 300, 700});
    pool.push_back(argument({rows, width()}));
    pool.push_back(argument({rows, width()}));
    int64_t count = 6 + draw(8);
    for (int64_t i = 0; i < count; ++i)
      add();
    // What nothing has used yet is a result, but for some of it.
    for (const Value &value : pool)
      if (!used.contains(value.name) && results.size() < 8)
        results.push_back(value);
  }

  std::string text() const {
    std::string text = "func.func private @f(", types, names;
    for (auto [i, value] : llvm::enumerate(arguments))
      text += (i ? ", " : "") + value.name + ": " + value.type +
              (value.donated < 0 ? "" : " {hw.donate = " + std::to_string(value.donated) + " : i64}");
    for (auto [i, value] : llvm::enumerate(results)) {
      types += (i ? ", " : "") + tensor(value.shape);
      names += (i ? ", " : "") + value.name;
    }
    return text + ") -> (" + types + ") {\n" + body + "  return " + names + " : " + types + "\n}";
  }

private:
  using Shape = std::vector<int64_t>;
  struct Value {
    std::string name;
    Shape shape;
  };
  struct Argument {
    std::string name, type;
    Shape shape;
    int donated = -1; // the result that takes its memory
  };

  int64_t draw(int64_t below) { return int64_t(random() % uint64_t(below)); }
  template <class T> T pick(std::initializer_list<T> from) { return from.begin()[draw(int64_t(from.size()))]; }
  /// Columns; seldom as many as there are rows, so that either may be taken for the other.
  int64_t width() {
    if (rows < 80 && draw(8) == 0)
      return rows;
    return pick<int64_t>({1, 2, 3, 5, 8, 10, 15, 16, 17, 20, 31, 33});
  }

  static std::string list(const Shape &numbers) {
    std::string text = "[";
    for (auto [i, number] : llvm::enumerate(numbers))
      text += (i ? ", " : "") + std::to_string(number);
    return text + "]";
  }
  std::string tensor(const Shape &shape) const { return tensor(shape, type); }
  static std::string tensor(const Shape &shape, const std::string &element) {
    std::string text = "tensor<";
    for (int64_t size : shape)
      text += std::to_string(size) + "x";
    return text + element + ">";
  }

  Value argument(Shape shape, const std::string &element = {}) {
    std::string name = "%a" + std::to_string(arguments.size());
    arguments.push_back({name, tensor(shape, element.empty() ? type : element), shape});
    return {name, std::move(shape)};
  }
  const std::string &use(const Value &value) {
    used.insert(value.name);
    return value.name;
  }
  Value line(Shape shape, const std::string &operation) {
    Value value{"%" + std::to_string(next++), std::move(shape)};
    body += "  " + value.name + " = hw." + operation + "\n";
    return value;
  }
  Value unary(const char *op, const Value &x) {
    return line(x.shape, std::string(op) + " " + use(x) + " : " + tensor(x.shape));
  }
  Value binary(const char *op, const Value &x, const Value &y) {
    return line(x.shape, std::string(op) + " " + use(x) + ", " + use(y) + " : " + tensor(x.shape));
  }
  Value constant(const Shape &shape, const char *number) {
    return line(shape, "constant dense<" + std::string(number) + "> : " + tensor(shape));
  }
  Value scaled(const Value &x, const char *number) { return binary("mul", x, constant(x.shape, number)); }
  Value broadcast(const Value &x, const Shape &dims, const Shape &shape) {
    return line(shape,
                "broadcast " + use(x) + " dims " + list(dims) + " : " + tensor(x.shape) + " -> " + tensor(shape));
  }
  Value sum(const Value &x, int64_t dim) {
    Shape shape = x.shape;
    shape.erase(shape.begin() + dim);
    return line(shape,
                "reduce_sum " + use(x) + " dims " + list({dim}) + " : " + tensor(x.shape) + " -> " + tensor(shape));
  }
  Value transpose(const Value &x) {
    Shape shape{x.shape[1], x.shape[0]};
    return line(shape, "transpose " + use(x) + " permutation [1, 0] : " + tensor(x.shape) + " -> " + tensor(shape));
  }
  Value slice(const Value &x, const Shape &start, const Shape &limit, const Shape &stride) {
    Shape shape;
    for (size_t dim = 0; dim < start.size(); ++dim)
      shape.push_back((limit[dim] - start[dim] + stride[dim] - 1) / stride[dim]);
    return line(shape, "slice " + use(x) + " " + list(start) + " " + list(limit) + " " + list(stride) + " : " +
                           tensor(x.shape) + " -> " + tensor(shape));
  }
  Value reshape(const Value &x, const Shape &shape) {
    return line(shape, "reshape " + use(x) + " : " + tensor(x.shape) + " -> " + tensor(shape));
  }
  Value compare(const Value &x, const Value &y) {
    return line(x.shape,
                "compare \"gt\" " + use(x) + ", " + use(y) + " : " + tensor(x.shape) + " -> " + tensor(x.shape, "i1"));
  }
  Value select(const Value &mask, const Value &x, const Value &y) {
    return line(x.shape, "select " + mask.name + ", " + use(x) + ", " + use(y) + " : " + tensor(x.shape, "i1") + ", " +
                             tensor(x.shape));
  }
  /// Rows of a table by an index for each row.
  Value gather(const Value &table, const std::string &at) {
    Shape shape{rows, table.shape[1]};
    return line(shape, "gather " + use(table) + " at " + at + " : (" + tensor(table.shape) + ", " +
                           tensor({rows}, "i32") + ") -> " + tensor(shape));
  }
  /// The largest entry of each row, and where it is.
  std::pair<Value, Value> largest(const Value &x) {
    Value value{"%" + std::to_string(next++), {rows}}, index{"%" + std::to_string(next++), {rows}};
    body += "  " + value.name + ", " + index.name + " = hw.reduce_max " + use(x) + " dim 1 : " + tensor(x.shape) +
            " -> " + tensor({rows}) + ", " + tensor({rows}, "i32") + "\n";
    return {value, index};
  }
  Value dot(const Value &x, const Value &y, const Shape &batch, int64_t contractX, int64_t contractY, Shape shape) {
    std::string contract =
        contractX < 0 ? " contract [] x []" : " contract " + list({contractX}) + " x " + list({contractY});
    std::string text = "dot_general " + use(x) + ", " + use(y) + " batch " + list(batch) + " x " + list(batch) +
                       contract + " : (" + tensor(x.shape) + ", " + tensor(y.shape) + ") -> " + tensor(shape);
    return line(std::move(shape), text);
  }

  /// Of the stride 1, padded on all sides; `kind`: which of the three ops.
  Value convolution(const std::string &kind, const Value &a, const Value &b, const Shape &shape, int64_t padding) {
    std::string low = list({padding, padding});
    return line(shape, "conv" + kind + " " + use(a) + ", " + use(b) + " stride [1, 1] pad " + low + " " + low +
                           " dilation [1, 1] groups 1 : (" + tensor(a.shape) + ", " + tensor(b.shape) + ") -> " +
                           tensor(shape));
  }

  const Value any() { return pool[size_t(draw(int64_t(pool.size())))]; }
  /// Recent values rather than old ones, so that chains are long.
  const Value recent() {
    size_t last = std::min<size_t>(pool.size(), 3);
    return pool[pool.size() - 1 - size_t(draw(int64_t(last)))];
  }
  Value squashed(const Value &x) {
    switch (draw(4)) {
    case 0:
      return unary("tanh", x);
    case 1:
      return unary("logistic", x);
    case 2:
      return binary("max", x, constant(x.shape, "0.0"));
    default:
      return unary("asinh", x);
    }
  }
  /// `x` times weights, an argument in either orientation, so that its entries stay about as large.
  Value linear(const Value &x, int64_t columns) {
    int64_t inner = x.shape[1];
    bool isTurned = draw(2);
    Value w = argument(isTurned ? Shape{columns, inner} : Shape{inner, columns});
    Value small = scaled(w, inner > 10 ? "0.2" : "0.5");
    weights.push_back(arguments.size() - 1);
    // The weights themselves, or scaled ones: a donated argument should be read by products too.
    return dot(x, draw(2) ? small : w, {}, 1, isTurned ? 1 : 0, {rows, columns});
  }
  Value fitted(const Value &x, int64_t columns) { return x.shape[1] == columns ? x : linear(x, columns); }

  /// A value of the shape of weights or biases: a result, or what an argument of that shape becomes.
  void give(const Value &gradient) {
    if (results.size() >= 7)
      return;
    for (size_t number : weights) {
      Argument &weight = arguments[number];
      if (weight.donated >= 0 || weight.shape != gradient.shape)
        continue;
      weight.donated = int(results.size());
      used.insert(gradient.name);
      results.push_back(draw(3) ? binary("sub", {weight.name, weight.shape}, scaled(gradient, "0.01")) : gradient);
      return;
    }
    used.insert(gradient.name);
    results.push_back(gradient);
  }

  void add() {
    Value x = recent();
    int64_t columns = x.shape[1];
    switch (draw(rows < 197 || hasImages ? 22 : 26)) {
    case 0: // a layer
    case 1:
    case 2: {
      Value y = linear(squashed(x), width());
      if (draw(2)) {
        Value bias = argument({y.shape[1]});
        weights.push_back(arguments.size() - 1);
        y = binary("add", y, broadcast(bias, {1}, y.shape));
      }
      pool.push_back(draw(3) ? squashed(y) : y);
      return;
    }
    case 3: // a residual branch
      pool.push_back(binary("add", x, fitted(squashed(any()), columns)));
      return;
    case 4: { // a layer backwards: masked, or times a derivative
      Value zero = constant(x.shape, "0.0"), mask = compare(x, zero);
      pool.push_back(select(mask, binary("mul", x, fitted(any(), columns)), zero));
      return;
    }
    case 5: // a gradient
    case 6:
    case 7: {
      Value y = any();
      give(scaled(dot(x, y, {}, 0, 0, {columns, y.shape[1]}), "0.05"));
      return;
    }
    case 8: { // the product alone: x' (x v), by whose next value v may be replaced
      Value v = argument({columns, width()});
      weights.push_back(arguments.size() - 1);
      Value y = dot(x, v, {}, 1, 0, {rows, v.shape[1]});
      give(dot(x, draw(2) ? y : unary("tanh", y), {}, 0, 0, v.shape));
      pool.push_back(squashed(y));
      return;
    }
    case 9: // a sum over rows
      give(sum(x, 0));
      return;
    case 10: { // rows less their means, or over their norms
      Value mean = scaled(sum(draw(2) ? x : binary("mul", x, x), 1), "0.05");
      if (draw(3) == 0)
        results.push_back(mean);
      pool.push_back(binary(draw(2) ? "sub" : "mul", x, broadcast(mean, {0}, x.shape)));
      return;
    }
    case 11: { // rows less their largest entries
      if (columns == 1)
        return; // all zeros, or what rounding makes of them
      Value value = largest(x).first;
      pool.push_back(binary("sub", x, broadcast(value, {0}, x.shape)));
      return;
    }
    case 12: // columns
      if (columns >= 3)
        pool.push_back(slice(x, {0, draw(2)}, {rows, columns}, {1, 1 + draw(2)}));
      else
        pool.push_back(line({rows, 2 * columns + 1}, "pad " + use(x) + " [0, 1] [0, 1] [0, 1] : " + tensor(x.shape) +
                                                         " -> " + tensor({rows, 2 * columns + 1})));
      return;
    case 13: { // side by side, or reversed
      Value y = any();
      if (draw(2))
        pool.push_back(line(x.shape, "reverse " + use(x) + " dims [1] : " + tensor(x.shape)));
      else if (columns + y.shape[1] < 40)
        pool.push_back(line({rows, columns + y.shape[1]}, "concat " + use(x) + ", " + use(y) + " dim 1 : (" +
                                                              tensor(x.shape) + ", " + tensor(y.shape) + ") -> " +
                                                              tensor({rows, columns + y.shape[1]})));
      return;
    }
    case 14: { // other rows: reversed, or looked up
      if (draw(2)) {
        pool.push_back(line(x.shape, "reverse " + use(x) + " dims [0] : " + tensor(x.shape)));
        return;
      }
      Value at = argument({rows}, "i32");
      Value table = draw(2) ? x : argument({9, columns});
      pool.push_back(gather(table, at.name));
      return;
    }
    case 15: { // transposed, beside what is not
      Value y = argument({columns, rows});
      Value turned = transpose(x);
      if (results.size() < 6)
        results.push_back(binary("mul", turned, y));
      pool.push_back(binary("add", x, transpose(y)));
      return;
    }
    case 16: { // a product a row
      Value y = any();
      if (draw(2) || columns * y.shape[1] > 200) {
        Value z = fitted(y, columns);
        Value products = dot(x, z, {0}, 1, 1, {rows});
        pool.push_back(binary("sub", x, broadcast(scaled(products, "0.1"), {0}, x.shape)));
      } else {
        Value outer = dot(x, y, {0}, -1, -1, {rows, columns, y.shape[1]});
        pool.push_back(sum(unary("tanh", outer), 2));
      }
      return;
    }
    case 17: { // every row looks at every other
      if (rows > 200 || columns > 40)
        return;
      Value y = fitted(any(), columns);
      Value scores = unary("logistic", scaled(dot(x, y, {}, 1, 1, {rows, rows}), "0.1"));
      pool.push_back(scaled(dot(scores, draw(2) ? x : y, {}, 1, 0, x.shape), "0.02"));
      return;
    }
    case 18: { // products of a row's own matrices
      int64_t inner = columns % 2 ? columns : 2, outer = columns / inner, k = pick<int64_t>({1, 3, 4, 9});
      Value w = argument({rows, inner, k}), y = reshape(x, {rows, outer, inner});
      pool.push_back(reshape(unary("tanh", dot(y, w, {0}, 2, 1, {rows, outer, k})), {rows, outer * k}));
      return;
    }
    case 19: { // a mask that takes some computing, and more than one use
      Value a = argument(x.shape), b = argument(x.shape), zero = constant(x.shape, "0.0");
      Value mask = compare(unary("floor", binary("div", a, b)), unary("floor", binary("div", b, a)));
      Value chosen = select(mask, x, zero);
      give(sum(chosen, 0));
      pool.push_back(select(mask, fitted(any(), columns), chosen));
      return;
    }
    case 20: { // the largest entry's index, looked up
      auto [value, index] = largest(argument(x.shape));
      Value table = argument({columns, width()});
      Value found = gather(table, index.name);
      pool.push_back(binary("add", found, broadcast(value, {0}, found.shape)));
      return;
    }
    case 22:
    case 23:
    case 24:
    case 25: { // rows are images: two convolutions and their gradients, with what lies between
      hasImages = true;
      Value image = reshape(fitted(any(), 36), {rows, 1, 6, 6}), w1 = argument({2, 1, 3, 3}),
            w2 = argument({3, 2, 5, 5});
      Value h = squashed(convolution("", image, w1, {rows, 2, 6, 6}, 1));
      Value y = squashed(scaled(convolution("", h, w2, {rows, 3, 6, 6}, 2), "0.1"));
      if (draw(2)) { // centred over the batch
        Value mean = scaled(
            line({3}, "reduce_sum " + use(y) + " dims [0, 2, 3] : " + tensor(y.shape) + " -> " + tensor({3})), "0.001");
        y = binary("sub", y, broadcast(mean, {1}, y.shape));
      }
      Value c = binary("mul", y, broadcast(sum(reshape(y, {rows, 108}), 1), {0}, y.shape));
      give(convolution("_backward_weights", h, c, w2.shape, 2));
      give(convolution("_backward_weights", image, convolution("_backward_data", scaled(c, "0.1"), w2, h.shape, 2),
                       w1.shape, 1));
      pool.push_back(reshape(y, {rows, 108}));
      return;
    }
    default: { // rows by what they belong to
      Value at = argument({rows}, "i32");
      Value sums = line({7, columns}, "scatter_add " + use(x) + " at " + at.name + " : (" + tensor(x.shape) + ", " +
                                          tensor({rows}, "i32") + ") -> " + tensor({7, columns}));
      give(sums);
      return;
    }
    }
  }

  std::mt19937_64 random;
  std::string type, body;
  int64_t rows, next = 0;
  bool hasImages = false;
  std::vector<Value> pool; // of `rows` rows
  std::vector<Argument> arguments;
  std::vector<size_t> weights; // arguments that may be donated
  std::vector<Value> results;
  std::set<std::string> used;
};

/// What of the backend's means a function makes use of.
struct Means {
  unsigned regions = 0, tilesOfOneTask = 0, rests = 0, partials = 0, locals = 0, sumsInRegions = 0, batches = 0,
           splits = 0, turned = 0, maps = 0, severalGroups = 0;
  void note(const std::string &text, const std::string &cpu) {
    static Context holder;
    auto module = parseSourceString<ModuleOp>(text, &holder.context);
    REQUIRE(module);
    auto function = *module->getOps<func::FuncOp>().begin();
    SmallVector<int64_t> donations;
    for (unsigned i = 0; i < function.getNumArguments(); ++i) {
      auto donated = function.getArgAttrOfType<IntegerAttr>(i, "hw.donate");
      donations.push_back(donated ? donated.getInt() : -1);
    }
    std::string error;
    auto target = backend::chooseTarget(cpu, error);
    REQUIRE(target);
    backend::StepList list = backend::lowerFunction(function.front(), donations, *target, {});
    for (const backend::Buffer &buffer : list.buffers)
      locals += buffer.place == backend::Buffer::Local;
    for (const backend::Step &step : list.steps) {
      bool isRegion = step.stages.size() > 1, isMap = step.kind == backend::Step::Map;
      regions += isRegion;
      maps += isMap;
      severalGroups += isMap && step.chunk > 1;
      tilesOfOneTask += isRegion && step.tasks() == 1 && step.tile < step.extent;
      partials += step.tasks() > 1 && !step.partials.empty();
      rests += isRegion && step.extent % step.tile != 0;
      for (const backend::Stage &stage : step.stages) {
        turned += stage.kernel.schedule.blockDim >= 0;
        bool isSplit = stage.kind == backend::Stage::Contract && stage.tiling.range == backend::Role::Contracted;
        (isRegion ? sumsInRegions : splits) += isSplit;
        batches += isRegion && stage.kind == backend::Stage::Contract && stage.tiling.range == backend::Role::Batch;
      }
    }
  }
};

} // namespace

TEST_CASE("a sum takes over the memory of an argument that its region reads") {
  // One task and several: x' f(x v) in place of v, and a bias that becomes a sum of what it was added to.
  Means means;
  for (const char *type : {"f32", "f64"})
    for (const char *rows : {"64", "101", "160", "300", "4000"}) {
      std::string text = fill(
          R"(func.func private @f(%x: tensor<$nx15x$t>, %v: tensor<15x20x$t> {hw.donate = 0 : i64}, %b: tensor<20x$t> {hw.donate = 1 : i64}, %w: tensor<20x20x$t>) -> (tensor<15x20x$t>, tensor<20x$t>) {
      %0 = hw.dot_general %x, %v batch [] x [] contract [1] x [0] : (tensor<$nx15x$t>, tensor<15x20x$t>) -> tensor<$nx20x$t>
      %1 = hw.broadcast %b dims [1] : tensor<20x$t> -> tensor<$nx20x$t>
      %2 = hw.add %0, %1 : tensor<$nx20x$t>
      %3 = hw.tanh %2 : tensor<$nx20x$t>
      %4 = hw.dot_general %3, %w batch [] x [] contract [1] x [0] : (tensor<$nx20x$t>, tensor<20x20x$t>) -> tensor<$nx20x$t>
      %5 = hw.tanh %4 : tensor<$nx20x$t>
      %6 = hw.dot_general %5, %w batch [] x [] contract [1] x [0] : (tensor<$nx20x$t>, tensor<20x20x$t>) -> tensor<$nx20x$t>
      %7 = hw.tanh %6 : tensor<$nx20x$t>
      %8 = hw.dot_general %x, %7 batch [] x [] contract [0] x [0] : (tensor<$nx15x$t>, tensor<$nx20x$t>) -> tensor<15x20x$t>
      %9 = hw.reduce_sum %7 dims [0] : tensor<$nx20x$t> -> tensor<20x$t>
      return %8, %9 : tensor<15x20x$t>, tensor<20x$t>
    })",
          {{"n", rows}, {"t", type}});
      means.note(text, "");
      check(text, Case{-1, 1, 12, std::string(type) == "f32" ? 2e-5 : 1e-12});
    }
  CHECK(means.tilesOfOneTask > 0);
  CHECK(means.partials > 0);
}

TEST_CASE("transposes of every size") {
  struct Machine {
    const char *type, *cpu;
    int step; // of the rows that are tried
  };
  Means means;
  for (auto [type, cpu, step] : {Machine{"f32", "", 1},
                                 {"f64", "", 13},
                                 {"f32", "x86-64-v3", 13},
                                 {"f64", "x86-64-v3", 13},
                                 {"f32", "x86-64", 13}})
    for (int rows = 1; rows <= 40; rows += step) {
      std::string arguments, types, names, body;
      for (int columns = 1; columns <= 40; ++columns) {
        std::string from = fill("tensor<$mx$nx$t>",
                                {{"m", std::to_string(rows)}, {"n", std::to_string(columns)}, {"t", type}}),
                    to = fill("tensor<$nx$mx$t>",
                              {{"m", std::to_string(rows)}, {"n", std::to_string(columns)}, {"t", type}});
        std::string comma = columns > 1 ? ", " : "";
        arguments += comma + fill("%x$n: $from", {{"n", std::to_string(columns)}, {"from", from}});
        types += comma + to;
        names += comma + "%y" + std::to_string(columns);
        body += fill("%z$n = hw.transpose %x$n permutation [1, 0] : $from -> $to\n%y$n = hw.neg %z$n : $to\n",
                     {{"n", std::to_string(columns)}, {"from", from}, {"to", to}});
      }
      std::string text = fill("func.func private @f($arguments) -> ($types) {\n$body return $names : $types\n}",
                              {{"arguments", arguments}, {"types", types}, {"body", body}, {"names", names}});
      means.note(text, cpu);
      check(text, {-2, 2, 12, 0, cpu});
    }
  CHECK(means.turned > 700);
}

TEST_CASE("long sums are split, and added up by who reads them") {
  // Two readers, more than two, and one that reads each element many times; a product with an epilogue; a batch.
  Means means;
  for (const char *type : {"f32", "f64"})
    for (const char *cpu : {"", "x86-64-v3", "x86-64"}) {
      std::string text = fill(
          R"(func.func private @f(%x: tensor<5003x10x$t>, %y: tensor<5003x9x$t>, %m: tensor<10x9x$t> {hw.donate = 0 : i64}, %u: tensor<2x5003x6x$t>, %v: tensor<2x5003x7x$t>) -> (tensor<10x9x$t>, tensor<10x9x$t>, tensor<3x9x$t>, tensor<9x$t>, tensor<2x6x7x$t>) {
      %0 = hw.dot_general %x, %y batch [] x [] contract [0] x [0] : (tensor<5003x10x$t>, tensor<5003x9x$t>) -> tensor<10x9x$t>
      %1 = hw.sub %m, %0 : tensor<10x9x$t>
      %2 = hw.tanh %0 : tensor<10x9x$t>
      %3 = hw.mul %y, %y : tensor<5003x9x$t>
      %4 = hw.reduce_sum %3 dims [0] : tensor<5003x9x$t> -> tensor<9x$t>
      %5 = hw.broadcast %4 dims [1] : tensor<9x$t> -> tensor<3x9x$t>
      %6 = hw.sqrt %4 : tensor<9x$t>
      %7 = hw.dot_general %u, %v batch [0] x [0] contract [1] x [1] : (tensor<2x5003x6x$t>, tensor<2x5003x7x$t>) -> tensor<2x6x7x$t>
      return %1, %2, %5, %6, %7 : tensor<10x9x$t>, tensor<10x9x$t>, tensor<3x9x$t>, tensor<9x$t>, tensor<2x6x7x$t>
    })",
          {{"t", type}});
      means.note(text, cpu);
      check(text, Case{-1, 1, 12, std::string(type) == "f32" ? 2e-5 : 1e-12, cpu});
    }
  CHECK(means.splits > 0);
  CHECK(means.partials > 0);
}

TEST_CASE("random functions, compiled for three kinds of vectors") {
  const char *cpus[] = {"", "x86-64-v3", "x86-64"};
  Means means;
  for (unsigned seed = 1; seed <= 45; ++seed)
    for (const char *type : {"f32", "f64"}) {
      std::string cpu = cpus[(seed + (type[1] == '6')) % 3], text = RandomFunction(seed, type).text();
      INFO("seed ", seed, " for ", cpu);
      means.note(text, cpu);
      Case options{-1, 1, 12, type[1] == '6' ? 1e-11 : 1e-4, cpu};
      if (text.find("hw.conv") != std::string::npos) // oneDNN's convolutions are not in this test
        options.products = backend::Products::Generated;
      check(text, options);
    }
  CHECK(means.regions > 60);
  CHECK(means.rests > 20);
  CHECK(means.tilesOfOneTask > 2);
  CHECK(means.partials > 20);
  CHECK(means.locals > 200);
  CHECK(means.sumsInRegions > 50);
  CHECK(means.batches > 10);
  CHECK(means.turned > 20);
  CHECK(means.maps > 10);
  CHECK(means.severalGroups > 3);
}

namespace {

/// A training of two weights with a step, an every block and a loop around it, as study-outline leaves it.
const char *const trainingText = R"(
  func.func private @step(%w: tensor<40xf32> {hw.donate = 1 : i64}, %m: tensor<40xf32>, %x: tensor<40xf32>) -> (tensor<f32>, tensor<40xf32>, tensor<40xf32>) attributes {hw.entry = "fit.step"} {
    %0 = hw.log %w : tensor<40xf32> loc("model.hw":7:3)
    %1 = hw.mul %0, %x : tensor<40xf32> loc("model.hw":8:3)
    %2 = hw.reduce_sum %1 dims [0] : tensor<40xf32> -> tensor<f32> loc("model.hw":9:3)
    %3 = hw.add %w, %m : tensor<40xf32> loc("model.hw":10:3)
    %4 = hw.add %m, %1 : tensor<40xf32> loc("model.hw":11:3)
    return %2, %3, %4 : tensor<f32>, tensor<40xf32>, tensor<40xf32>
  }
  func.func private @make() -> (tensor<f64>, tensor<f64>, tensor<40xf32>, tensor<40xf32>) attributes {hw.entry = "study0"} {
    %0 = hw.constant dense<3.0> : tensor<f64>
    %1 = hw.constant dense<2.0> : tensor<40xf32>
    return %0, %0, %1, %1 : tensor<f64>, tensor<f64>, tensor<40xf32>, tensor<40xf32>
  }
  func.func @study() {
    %rate = study.setting "rate" = 1.000000e-03 : tensor<f64>
    %x = study.dataset "npy" "x.npy" "" classes 0 : tensor<40xf32>
    %count, %seed, %w, %m = func.call @make() : () -> (tensor<f64>, tensor<f64>, tensor<40xf32>, tensor<40xf32>)
    %end:2 = "study.train"(%count, %w, %m, %seed) <{operandSegmentSizes = array<i32: 1, 2, 1>, rows = 40 : i64, batch = 0 : i64, ordered = false, unit = "epochs",
        label = "fit", carried_names = ["w", "m"], carried_roles = ["weight", "optimiser"], every_period = array<i64: 1>, every_unit = ["epochs"]}> ({
    ^bb0(%epoch: tensor<f64>, %step: tensor<f64>, %cw: tensor<40xf32>, %cm: tensor<40xf32>):
      %loss, %nw, %nm = func.call @step(%cw, %cm, %x) : (tensor<40xf32>, tensor<40xf32>, tensor<40xf32>) -> (tensor<f32>, tensor<40xf32>, tensor<40xf32>)
      study.yield %nw, %nm, %loss : tensor<40xf32>, tensor<40xf32>, tensor<f32>
    }, {}, {
    ^bb0(%epoch: tensor<f64>, %step: tensor<f64>, %cw: tensor<40xf32>, %cm: tensor<40xf32>):
      study.record "curve"(%epoch, %cw) ["epoch", "w"] {run = 1.0} order ["run", "epoch", "w"] rows 40 hidden false : tensor<f64>, tensor<40xf32>
      study.yield %cm, %cw : tensor<40xf32>, tensor<40xf32>
    }) : (tensor<f64>, tensor<40xf32>, tensor<40xf32>, tensor<f64>) -> (tensor<40xf32>, tensor<40xf32>)
    "study.save"(%end#0) <{name = "w", format = "npy", names = ["w"], loop_names = [], table = "", column = ""}> : (tensor<40xf32>) -> ()
    return
  })";

} // namespace

TEST_CASE("trainings carry weights as convolutions and the products behind them read them") {
  // A convolution of f32, pooled and flattened; a linear layer and its momentum; another that reads what the first
  // makes.
  const char *text = R"(func.func @study() {
    %x = study.dataset "npy" "x.npy" "" classes 0 : tensor<256x1x14x14x$t>
    %count = hw.constant dense<3.0> : tensor<f64>
    %w = hw.constant dense<0.5> : tensor<20x1x5x5x$t>
    %v = hw.constant dense<0.5> : tensor<10x980x$t>
    %u = hw.constant dense<0.5> : tensor<10x10x$t>
    %end:4 = "study.train"(%count, %w, %v, %v, %u, %count) <{operandSegmentSizes = array<i32: 1, 4, 1>, rows = 256 : i64, batch = 0 : i64, ordered = false,
        unit = "epochs", label = "fit", carried_names = ["w", "v", "m", "u"], carried_roles = ["weight", "weight", "optimiser", "weight"],
        every_period = array<i64>, every_unit = []}> ({
    ^bb0(%epoch: tensor<f64>, %step: tensor<f64>, %cw: tensor<20x1x5x5x$t>, %cv: tensor<10x980x$t>, %cm: tensor<10x980x$t>, %cu: tensor<10x10x$t>):
      %0 = hw.conv %x, %cw stride [1, 1] pad [2, 2] [2, 2] dilation [1, 1] groups 1 : (tensor<256x1x14x14x$t>, tensor<20x1x5x5x$t>) -> tensor<256x20x14x14x$t>
      %1, %at = hw.max_pool %0 window [2, 2] stride [2, 2] pad [0, 0] [0, 0] : tensor<256x20x14x14x$t> -> tensor<256x20x7x7x$t>, tensor<256x20x7x7xi32>
      %2 = hw.tanh %1 : tensor<256x20x7x7x$t>
      %3 = hw.reshape %2 : tensor<256x20x7x7x$t> -> tensor<256x980x$t>
      %4 = hw.dot_general %3, %cv batch [] x [] contract [1] x [1] : (tensor<256x980x$t>, tensor<10x980x$t>) -> tensor<256x10x$t>
      %5 = hw.dot_general %4, %cu batch [] x [] contract [1] x [1] : (tensor<256x10x$t>, tensor<10x10x$t>) -> tensor<256x10x$t>
      %loss = hw.reduce_sum %5 dims [0, 1] : tensor<256x10x$t> -> tensor<$t>
      %nm = hw.add %cm, %cv : tensor<10x980x$t>
      %nv = hw.sub %cv, %nm : tensor<10x980x$t>
      study.yield %cw, %nv, %nm, %cu, %loss : tensor<20x1x5x5x$t>, tensor<10x980x$t>, tensor<10x980x$t>, tensor<10x10x$t>, tensor<$t>
    }, {}) : (tensor<f64>, tensor<20x1x5x5x$t>, tensor<10x980x$t>, tensor<10x980x$t>, tensor<10x10x$t>, tensor<f64>) -> (tensor<20x1x5x5x$t>, tensor<10x980x$t>, tensor<10x980x$t>, tensor<10x10x$t>)
    "study.save"(%end#1) <{name = "v", format = "npy", names = ["v"], loop_names = [], table = "", column = ""}> : (tensor<10x980x$t>) -> ()
    return
  })";
  using Shapes = std::vector<std::vector<int64_t>>;
  auto carried = [&](const char *type, backend::Products products) {
    Context holder;
    auto module = parseSourceString<ModuleOp>(fill(text, {{"t", type}}), &holder.context);
    REQUIRE(module);
    backend::CompileOptions options;
    options.cpu = "x86-64-v4";
    options.products = products;
    PassManager passes(&holder.context);
    passes.addPass(backend::createWeightLayoutsPass(options));
    REQUIRE(succeeded(passes.run(*module)));
    Shapes shapes;
    module->walk([&](study::TrainOp train) {
      for (Value init : train.getInits())
        shapes.push_back(shapeOf(init).vec());
    });
    module->walk([&](study::SaveOp save) { shapes.push_back(shapeOf(save->getOperand(0)).vec()); });
    return shapes;
  };
  CHECK(carried("f32", backend::Products::Automatic) ==
        Shapes{{2, 5, 5, 1, 16}, {10, 7, 7, 20}, {10, 7, 7, 20}, {10, 10}, {10, 980}});
  Shapes plain{{20, 1, 5, 5}, {10, 980}, {10, 980}, {10, 10}, {10, 980}};
  CHECK(carried("f64", backend::Products::Automatic) == plain);
  CHECK(carried("f32", backend::Products::Generated) == plain);
}

TEST_CASE("the plan: slots, carried values, copies, lifetimes") {
  Context holder;
  auto module = parseSourceString<ModuleOp>(trainingText, &holder.context);
  REQUIRE(module);
  backend::CompileOptions options;
  options.name = "a1";
  auto compiled = backend::compileModule(*module, options);
  REQUIRE(compiled);
  auto parsed = llvm::json::parse(compiled->plan);
  REQUIRE(bool(parsed));
  const llvm::json::Object &plan = *parsed->getAsObject();
  CHECK(plan.getString("name") == "a1");
  const llvm::json::Array &slots = *plan.getArray("slots"), &body = *plan.getArray("body");
  auto node = [&](size_t i) -> const llvm::json::Object & { return *body[i].getAsObject(); };
  REQUIRE(body.size() == 4);
  CHECK(node(0).getString("op") == "dataset");
  CHECK(node(1).getString("op") == "call");
  const llvm::json::Object &train = node(2);
  REQUIRE(train.getString("op") == "train");
  const llvm::json::Array &made = *node(1).getArray("results"), &carried = *train.getArray("carried");
  int64_t w = *carried[0].getAsObject()->getInteger("slot"), m = *carried[1].getAsObject()->getInteger("slot");
  // What a call computes for the loop alone is computed in place.
  CHECK(made[2].getAsInteger() == w);
  CHECK(made[3].getAsInteger() == m);
  // The step writes w in place, as it may; m is copied back.
  const llvm::json::Array &step = *train.getArray("body");
  REQUIRE(step.size() == 2);
  const llvm::json::Array &results = *step[0].getAsObject()->getArray("results");
  CHECK(results[1].getAsInteger() == w);
  CHECK(results[2].getAsInteger() != m);
  CHECK(step[1].getAsObject()->getInteger("to") == m);
  // Exchanging two carried values takes a third place.
  const llvm::json::Array &every = *(*train.getArray("every"))[0].getAsObject()->getArray("body");
  REQUIRE(every.size() == 4);
  CHECK(every[1].getAsObject()->getInteger("from") == w);
  CHECK(every[1].getAsObject()->getInteger("to") != m);
  CHECK(every[2].getAsObject()->getInteger("from") == m);
  CHECK(every[2].getAsObject()->getInteger("to") == w);
  CHECK(every[3].getAsObject()->getInteger("from") == every[1].getAsObject()->getInteger("to"));
  // The data, the weights, the loss and the clocks are all needed during the loop: none may overlap.
  std::vector<std::pair<int64_t, int64_t>> places;
  auto add = [&](int64_t slot) {
    const llvm::json::Object &s = *slots[size_t(slot)].getAsObject();
    int64_t bytes = s.getString("type") == "f64" ? 8 : 4;
    for (const llvm::json::Value &size : *s.getArray("shape"))
      bytes *= *size.getAsInteger();
    places.push_back({*s.getInteger("offset"), bytes});
    CHECK(*s.getInteger("offset") % 64 == 0);
    CHECK(*s.getInteger("offset") + bytes <= *plan.getInteger("arena"));
  };
  for (int64_t slot : {w, m, *node(0).getInteger("slot"), *train.getInteger("loss"), *train.getInteger("epoch"),
                       *train.getInteger("step"), *train.getInteger("count"), *results[2].getAsInteger()})
    add(slot);
  for (size_t i = 0; i < places.size(); ++i)
    for (size_t j = 0; j < i; ++j)
      CHECK((places[i].first + places[i].second <= places[j].first ||
             places[j].first + places[j].second <= places[i].first));
  CHECK(node(3).getString("op") == "save");
}

TEST_CASE("the diagnosis names the first operation that is not finite") {
  Context holder;
  auto module = parseSourceString<ModuleOp>(trainingText, &holder.context);
  auto compiled = backend::compileModule(*module, {});
  REQUIRE(compiled);
  auto parsed = llvm::json::parse(compiled->plan);
  const llvm::json::Object &diagnose =
      *(*parsed->getAsObject()->getArray("body"))[2].getAsObject()->getObject("diagnose");
  const llvm::json::Array &operations = *diagnose.getArray("operations");
  std::string error;
  auto loaded = backend::loadObject(compiled->object, symbols, error);
  REQUIRE(loaded);
  const hw_entry &entry = loaded->program->entries[*diagnose.getInteger("fn")];
  CHECK(std::string(entry.name) == "fit.step.diagnose");
  auto first = [&](float w, float m, float x) {
    std::vector<float> ws(40, 1), ms(40, 1), xs(40, 1);
    ws[33] = w, ms[17] = m, xs[5] = x;
    int32_t result = 77;
    void *arguments[] = {ws.data(), ms.data(), xs.data(), &result};
    Bytes scratch(entry.scratch + kThreads * entry.thread_scratch);
    entry.function(arguments, scratch.data);
    CHECK(!scratch.overrun());
    return result < 0 ? std::string("none") : operations[size_t(result)].getAsObject()->getString("loc")->str();
  };
  CHECK(first(1, 1, 1) == "none");
  CHECK(first(-1, 1, 1) == "model.hw:7:3");
  CHECK(first(1, 1, INFINITY) == "model.hw:8:3");
  CHECK(first(1, INFINITY, 1) == "model.hw:10:3");
  CHECK(first(0, INFINITY, NAN) == "model.hw:7:3");
}
