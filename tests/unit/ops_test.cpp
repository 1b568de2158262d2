// The generic test of the hw dialect: enumerates its registered ops and checks, for each of its cases (ops_cases.cpp),
//
// - the compiled op in f64 and f32 against plain loops; alone, not fused, fused with neighbours, over a donated buffer,
// folded;
// - jvp, vjp, the gradient of vjp (second order) and jvp of vjp (a Hessian-vector product) in f64 against central
// differences;
// - f32 derivatives against f64 ones; and the transpose rule by <A x, c> = <x, A^T c>.
//
// An op without a row fails the test, so none can be added untested. All functions are compiled as one object and run
// through the JIT. In the environment, HW_OPS_ONLY=text keeps the cases whose text contains it; HW_OPS_CPU=x86-64-v3
// (or x86-64) generates code for narrower vectors.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "backend/emit/Jit.h"
#include "backend/emit/ObjectCode.h"
#include "backend/emit/ProgramEmitter.h"
#include "backend/steps/Lower.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "passes/Passes.h"
#include "passes/Pipeline.h"
#include "runtime/OneDnn.h"
#include "runtime/Threads.h"
#include "tests/unit/ops_cases.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <doctest/doctest.h>
#include <map>
#include <random>
#include <set>

using namespace mlir;
using namespace hw;
using namespace hw::ops;
using hw::reference::evaluate, hw::reference::wrapped;

namespace {

using Tensors = std::vector<Tensor>;

//===--------------------------------------------------------------------------------------------------------------===//
// Compiling and running
//===--------------------------------------------------------------------------------------------------------------===//

/// Buffers in the layout that compiled code expects, between guards that it must not touch.
class Memory {
public:
  void *add(RankedTensorType type) {
    size_t bytes = size_t(type.getNumElements()) * widthOf(type);
    size_t room = (bytes + 2 * guard + 63) / 64 * 64;
    char *start = static_cast<char *>(std::aligned_alloc(64, room));
    std::memset(start, pattern, room);
    blocks.push_back({start, bytes, room});
    return start + guard;
  }
  bool isIntact() const {
    for (const Block &block : blocks)
      for (size_t i = 0; i < block.room; ++i)
        if ((i < guard || i >= guard + block.bytes) && block.start[i] != pattern)
          return false;
    return true;
  }
  ~Memory() {
    for (const Block &block : blocks)
      std::free(block.start);
  }
  static size_t widthOf(RankedTensorType type) { return (type.getElementTypeBitWidth() + 7) / 8; }

private:
  static constexpr size_t guard = 64;
  static constexpr char pattern = char(0xA7);
  struct Block {
    char *start;
    size_t bytes, room;
  };
  std::vector<Block> blocks;
};

template <class T> void storeAs(const Tensor &tensor, void *to) {
  for (size_t i = 0; i < tensor.values.size(); ++i)
    static_cast<T *>(to)[i] = T(tensor.values[i]);
}
template <class T> void loadAs(Tensor &tensor, const void *from) {
  for (size_t i = 0; i < tensor.values.size(); ++i)
    tensor.values[i] = Number(static_cast<const T *>(from)[i]);
}

/// Calls f with a null pointer of the C++ type that stores the element type.
template <class F> void withType(Type element, F f) {
  if (element.isF32())
    f(static_cast<float *>(nullptr));
  else if (element.isF64())
    f(static_cast<double *>(nullptr));
  else if (element.isInteger(1) || element.isUnsignedInteger(8))
    f(static_cast<uint8_t *>(nullptr));
  else if (element.isInteger(8))
    f(static_cast<int8_t *>(nullptr));
  else if (element.isUnsignedInteger(32))
    f(static_cast<uint32_t *>(nullptr));
  else if (element.isInteger(32))
    f(static_cast<int32_t *>(nullptr));
  else
    f(static_cast<uint64_t *>(nullptr));
}

void registerAll(DialectRegistry &registry) {
  registry.insert<HwDialect, study::StudyDialect, func::FuncDialect>();
  registerTransformInterfaces(registry);
}

/// Functions of hw ops, compiled as one object and loaded.
class Program {
public:
  /// For `cpu`, an LLVM name; empty: what HW_OPS_CPU in the environment says, else this machine.
  explicit Program(std::string cpu = "")
      : cpu(std::move(cpu)), registry(makeRegistry()), context(registry, MLIRContext::Threading::DISABLED),
        builder(&context) {
    context.loadAllAvailableDialects();
    if (const char *given = std::getenv("HW_OPS_CPU"); given && this->cpu.empty())
      this->cpu = given;
    raw = ModuleOp::create(builder.getUnknownLoc());
    derived = ModuleOp::create(builder.getUnknownLoc());
  }
  ~Program() {
    raw->erase();
    derived->erase();
  }

  using Body = llvm::function_ref<SmallVector<Value>(OpBuilder &, ValueRange)>;
  struct Options {
    bool passes = true; ///< run the passes on it; else it is compiled as it stands
    bool fuse = true;
    bool donate = false;   ///< result 0 may take over argument 0
    bool external = false; ///< oneDNN may do products
  };
  /// What the functions that are added next belong to, for messages.
  std::string title;

  /// A function; errors in it are reported under its name.
  void add(const std::string &name, TypeRange arguments, Body body, Options options) {
    ModuleOp module = options.passes ? derived : raw;
    auto loc = NameLoc::get(builder.getStringAttr(name));
    builder.setInsertionPointToEnd(module.getBody());
    auto function = func::FuncOp::create(builder, loc, name, FunctionType::get(&context, arguments, {}));
    Block *block = function.addEntryBlock();
    OpBuilder inner = OpBuilder::atBlockEnd(block);
    SmallVector<Value> results = body(inner, block->getArguments());
    func::ReturnOp::create(inner, loc, results);
    function.setFunctionType(FunctionType::get(&context, arguments, ValueRange(results).getTypes()));
    functions[name] = {title, options, llvm::to_vector(ValueRange(results).getTypes())};
  }

  /// Runs the passes, generates code and loads it. Returns what went wrong, or nothing.
  std::string compile() {
    std::string problems;
    ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
      llvm::raw_string_ostream os(problems);
      os << diagnostic.getLocation() << ": " << diagnostic << "\n";
      return success();
    });
    if (failed(verify(raw)) || failed(verify(derived)))
      return "not valid: " + problems;
    PassManager passes(&context);
    buildDerivativePipeline(passes);
    if (failed(passes.run(derived)))
      return "the passes failed: " + problems;
    std::string error;
    auto target = backend::chooseTarget(cpu, error);
    if (!target)
      return error;
    llvm::LLVMContext llvmContext;
    backend::ProgramEmitter emitter(llvmContext, *target, false);
    bool isTraced = std::getenv("HW_OPS_TRACE");
    for (ModuleOp module : {raw, derived})
      for (auto function : llvm::to_vector(module.getOps<func::FuncOp>())) {
        const Options &options = functions[function.getName().str()].options;
        backend::FusionOptions fusion;
        fusion.fuse = options.fuse;
        fusion.products = options.external ? backend::Products::Library : backend::Products::Generated;
        SmallVector<int64_t> donations(function.getNumArguments(), -1);
        if (options.donate)
          donations[0] = 0;
        if (isTraced)
          llvm::errs() << function << "\n";
        emitter.addFunction(function.getName(), backend::lowerFunction(function.front(), donations, *target, fusion));
      }
    emitter.finish("{}");
    auto object = backend::emitObject(emitter.getModule(), *target, {}, error);
    if (!object)
      return "no code: " + error;
    const backend::JitSymbol symbols[] = {{"hw_parallel", reinterpret_cast<void *>(hw_parallel)},
                                          {"hw_run_matmul", reinterpret_cast<void *>(hw_run_matmul)},
                                          {"hw_run_convolution", reinterpret_cast<void *>(hw_run_convolution)},
                                          {"hw_cholesky", reinterpret_cast<void *>(hw_cholesky)},
                                          {"hw_triangular_solve", reinterpret_cast<void *>(hw_triangular_solve)},
                                          {"hw_lu_solve", reinterpret_cast<void *>(hw_lu_solve)},
                                          {"hw_whole", reinterpret_cast<void *>(hw_whole)}};
    loaded = backend::loadObject(object->object, symbols, error);
    if (!loaded)
      return error;
    for (uint64_t i = 0; i < loaded->program->entry_count; ++i) {
      Function &function = functions[loaded->program->entries[i].name];
      function.entry = loaded->program->entries[i].function;
      function.scratch = loaded->program->entries[i].scratch + threads() * loaded->program->entries[i].thread_scratch;
    }
    if (loaded->program->matmul_count + loaded->program->convolution_count)
      oneDnn = std::make_unique<OneDnn>(*loaded->program);
    return "";
  }
  /// Products that oneDNN does.
  uint64_t externalProducts() const { return loaded->program->matmul_count; }

  bool has(const std::string &name) const { return functions.count(name); }

  Tensors run(const std::string &name, const Tensors &arguments) {
    Function &function = functions.at(name);
    Memory memory;
    std::vector<void *> addresses;
    for (const Tensor &argument : arguments) {
      addresses.push_back(memory.add(argument.type));
      withType(argument.type.getElementType(),
               [&](auto *type) { storeAs<std::remove_pointer_t<decltype(type)>>(argument, addresses.back()); });
    }
    Tensors results;
    for (Type type : function.results) {
      auto tensor = cast<RankedTensorType>(type);
      bool isDonated = function.options.donate && results.empty();
      addresses.push_back(isDonated ? addresses[0] : memory.add(tensor));
      results.push_back({tensor, std::vector<Number>(tensor.getNumElements())});
    }
    // Not a number anywhere: what is read before it is written shows.
    size_t room = (function.scratch + 127) / 64 * 64;
    if (scratch.size() < room / 8 + 8)
      scratch.resize(room / 8 + 8);
    std::memset(scratch.data(), 0xFF, room);
    auto aligned = (reinterpret_cast<uintptr_t>(scratch.data()) + 63) / 64 * 64;
    function.entry(addresses.data(), reinterpret_cast<void *>(aligned));
    CHECK_MESSAGE(memory.isIntact(), function.title, " (", name, ")", ": writes outside its buffers");
    for (auto [i, result] : llvm::enumerate(results))
      withType(result.type.getElementType(), [&, i = i, &result = result](auto *type) {
        loadAs<std::remove_pointer_t<decltype(type)>>(result, addresses[arguments.size() + i]);
      });
    return results;
  }

  MLIRContext &getContext() { return context; }

private:
  static const DialectRegistry &makeRegistry() {
    static DialectRegistry registry = [] {
      DialectRegistry all;
      registerAll(all);
      return all;
    }();
    return registry;
  }

  struct Function {
    std::string title;
    Options options;
    SmallVector<Type> results;
    hw_function entry = nullptr;
    uint64_t scratch = 0;
  };
  std::string cpu;
  const DialectRegistry &registry;
  MLIRContext context;
  OpBuilder builder;
  ModuleOp raw, derived; // as they stand; through the passes
  std::map<std::string, Function> functions;
  std::unique_ptr<backend::LoadedProgram> loaded;
  std::unique_ptr<OneDnn> oneDnn;
  std::vector<double> scratch;
};

//===--------------------------------------------------------------------------------------------------------------===//
// Inputs
//===--------------------------------------------------------------------------------------------------------------===//

/// Repeatable numbers; the same for f32 and f64, so all are rounded to f32.
class Numbers {
public:
  explicit Numbers(const std::string &seed) {
    std::seed_seq sequence(seed.begin(), seed.end());
    engine.seed(sequence);
  }
  uint64_t bits() { return engine(); }
  Number uniform(Number low, Number high) {
    return Number(float(low + (high - low) * Number(engine() >> 11) * 0x1p-53L));
  }
  int64_t whole(int64_t low, int64_t high) { return low + int64_t(engine() % uint64_t(high - low + 1)); }

private:
  std::mt19937_64 engine;
};

Tensor draw(RankedTensorType type, Domain domain, int64_t limit, Numbers &numbers) {
  Tensor out{type, std::vector<Number>(type.getNumElements())};
  Type element = type.getElementType();
  auto matrices = [&](auto f) { // f(matrix, n) for each [n, n]
    int64_t n = type.getShape().back();
    for (size_t first = 0; first < out.values.size(); first += size_t(n * n))
      f(out.values.data() + first, n);
  };
  for (size_t i = 0; i < out.values.size(); ++i) {
    Number &x = out.values[i];
    switch (domain) {
    case Domain::Any:
      x = numbers.uniform(-2, 2);
      break;
    case Domain::Positive:
      x = numbers.uniform(0.3L, 3);
      break;
    case Domain::NonZero:
      x = numbers.uniform(0.3L, 2) * (numbers.bits() & 1 ? 1 : -1);
      break;
    case Domain::AboveMinusOne:
      x = numbers.uniform(-0.6L, 2);
      break;
    case Domain::Left:
      x = float(numbers.whole(-4, 4) * 0.5L + numbers.uniform(-0.1L, 0.1L));
      break;
    case Domain::Right:
      x = float(numbers.whole(-4, 4) * 0.5L + 0.25L + numbers.uniform(-0.1L, 0.1L));
      break;
    case Domain::Distinct:
      x = Number(i) / 16 - Number(out.values.size()) / 32; // shuffled below
      break;
    case Domain::Ties:
      x = numbers.whole(-2, 2);
      break;
    case Domain::Whole:
      x = numbers.whole(-2, 2);
      x = wrapped(element, x == 0 ? 3 : __int128(x));
      break;
    case Domain::Rows:
      x = numbers.whole(-2, limit + 1);
      break;
    case Domain::Integer: {
      // The ends of the range and the numbers about 0, then any.
      static const int corners[] = {0, 1, -1};
      uint64_t any = i % 8 < 3    ? uint64_t(corners[i % 8])
                     : i % 8 == 3 ? uint64_t(1) << (element.getIntOrFloatBitWidth() - 1)
                                  : numbers.bits();
      x = wrapped(element, any);
      break;
    }
    case Domain::Wide: {
      static const Number corners[] = {NAN, INFINITY, -INFINITY, 0, -0.0L, 255, 256, -1, 0.5L, 2147483648.0L, -0.5L};
      x = i % 3 == 0 ? corners[i / 3 % std::size(corners)]
                     : Number(float(std::ldexp(numbers.uniform(-2, 2), int(numbers.whole(-20, 69)))));
      break;
    }
    case Domain::Spd:
    case Domain::Lower:
    case Domain::Square:
      x = numbers.uniform(-1, 1);
      break;
    }
  }
  if (domain == Domain::Distinct)
    for (size_t i = out.values.size(); i-- > 1;)
      std::swap(out.values[i], out.values[size_t(numbers.whole(0, int64_t(i)))]);
  if (domain == Domain::Spd) // A A^T + n
    matrices([](Number *a, int64_t n) {
      std::vector<Number> b(a, a + n * n);
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < n; ++j) {
          Number sum = i == j ? n : 0;
          for (int64_t k = 0; k < n; ++k)
            sum += b[i * n + k] * b[j * n + k];
          a[i * n + j] = float(sum);
        }
    });
  if (domain == Domain::Lower)
    matrices([](Number *a, int64_t n) {
      for (int64_t i = 0; i < n; ++i)
        a[i * n + i] = float(a[i * n + i] + (a[i * n + i] < 0 ? -1.5L : 1.5L));
    });
  if (domain == Domain::Square) // the large elements off the diagonal
    matrices([](Number *a, int64_t n) {
      for (int64_t i = 0; i < n; ++i)
        a[i * n + (n - 1 - i)] = float(a[i * n + (n - 1 - i)] + Number(n));
    });
  return out;
}

Tensors drawLike(const Tensors &like, Numbers &numbers) {
  Tensors out;
  for (const Tensor &tensor : like) {
    out.push_back({tensor.type, std::vector<Number>(tensor.values.size())});
    for (Number &x : out.back().values)
      x = numbers.uniform(-1, 1);
  }
  return out;
}

//===--------------------------------------------------------------------------------------------------------------===//
// Comparing
//===--------------------------------------------------------------------------------------------------------------===//

std::string show(Number x) {
  char text[64];
  std::snprintf(text, sizeof text, "%.17Lg", x);
  return text;
}

bool agree(Number got, Number want, Number tolerance) {
  if (std::isnan(want) || std::isinf(want))
    return std::isnan(want) ? std::isnan(got) : got == want;
  return std::abs(got - want) <= tolerance;
}

Number largest(const std::vector<Number> &values) {
  Number size = 0;
  for (Number x : values)
    if (std::isfinite(x))
      size = std::max(size, std::abs(x));
  return size;
}

/// Fails with the first element that is off: by more than `relative` of itself and `absolute`.
void expect(const std::string &what, const Tensor &got, const Tensor &want, Number relative, Number absolute) {
  REQUIRE_MESSAGE(got.values.size() == want.values.size(), what, ": ", got.values.size(), " elements instead of ",
                  want.values.size());
  size_t wrong = 0, first = 0;
  for (size_t i = 0; i < got.values.size(); ++i)
    if (!agree(got.values[i], want.values[i], relative * std::abs(want.values[i]) + absolute) && wrong++ == 0)
      first = i;
  if (wrong)
    FAIL_CHECK(what, ": ", wrong, " of ", got.values.size(), " elements are wrong, the first at ", first, ": got ",
               show(got.values[first]), ", want ", show(want.values[first]), " within ",
               show(relative * std::abs(want.values[first]) + absolute));
  else
    CHECK(wrong == 0);
}

Number dot(const Tensors &x, const Tensors &y) {
  Number sum = 0;
  for (auto [a, b] : llvm::zip_equal(x, y))
    for (auto [p, q] : llvm::zip_equal(a.values, b.values))
      sum += p * q;
  return sum;
}
/// The sum of the terms' sizes: what rounding errors of `dot` are measured by.
Number dotSize(const Tensors &x, const Tensors &y) {
  Number sum = 0;
  for (auto [a, b] : llvm::zip_equal(x, y))
    for (auto [p, q] : llvm::zip_equal(a.values, b.values))
      sum += std::abs(p * q);
  return sum;
}

//===--------------------------------------------------------------------------------------------------------------===//
// One case
//===--------------------------------------------------------------------------------------------------------------===//

bool isFloat(Type type) { return isa<FloatType>(cast<RankedTensorType>(type).getElementType()); }

SmallVector<Value> apply(OpBuilder &b, Operation *op, ValueRange operands) {
  Operation *copy = b.clone(*op);
  copy->setOperands(operands);
  return llvm::to_vector(ValueRange(copy->getResults()));
}

SmallVector<Value> floatsOf(ValueRange values) {
  return llvm::filter_to_vector(values, [](Value value) { return isFloat(value.getType()); });
}
SmallVector<Value> pick(ValueRange values, ArrayRef<unsigned> which) {
  return llvm::map_to_vector(which, [&](unsigned i) { return values[i]; });
}

std::string replaced(std::string text, const std::string &from, const std::string &to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

/// A case at one precision: its functions and how their answers are checked.
class Instance {
public:
  Instance(Program &program, const Row &row, const Case &test, const std::string &precision, unsigned number)
      : program(program), row(row), test(test) {
    std::string text = test.text, arguments;
    for (auto [i, input] : llvm::enumerate(test.inputs)) {
      std::string name(1, "xyz"[i]), type = "tensor<" + std::string(input.type) + ">";
      text = replaced(text, "$" + name, type);
      arguments += (i ? ", %" : "%") + name + ": " + type;
    }
    std::string source = "func.func @case(" + arguments + ") { " + text + " return }";
    source = replaced(replaced(source, "xT>", "x" + precision + ">"), "<T>", "<" + precision + ">");
    title =
        "[" + precision + "] " + replaced(replaced(text, "xT>", "x" + precision + ">"), "<T>", "<" + precision + ">");
    prefix = "case" + std::to_string(number) + "." + precision + ".";
    std::string problems;
    ScopedDiagnosticHandler handler(&program.getContext(), [&](Diagnostic &diagnostic) {
      problems += diagnostic.str() + "; ";
      return success();
    });
    parsed = parseSourceString<ModuleOp>(source, ParserConfig(&program.getContext()));
    REQUIRE_MESSAGE(parsed, title, ": ", problems);
    parsed->walk([&](Operation *inner) {
      if (isa<HwDialect>(inner->getDialect()))
        op = inner;
    });
    REQUIRE_MESSAGE(op->getName().stripDialect() == row.op, title, " stands in the row of ", row.op);
    op->setLoc(NameLoc::get(StringAttr::get(&program.getContext(), title)));
    types = llvm::to_vector(op->getParentOfType<func::FuncOp>().getArgumentTypes());
    for (Value operand : op->getOperands())
      order.push_back(cast<BlockArgument>(operand).getArgNumber());
    for (Type type :
         llvm::concat<const Type>(llvm::to_vector(op->getOperandTypes()), llvm::to_vector(op->getResultTypes())))
      if (cast<RankedTensorType>(type).getElementType().isF32())
        epsilon = 0x1p-24L;
    wrt.assign(test.wrt.begin(), test.wrt.end());
    if (wrt.empty())
      for (auto [i, type] : llvm::enumerate(types))
        if (isFloat(type))
          wrt.push_back(unsigned(i));
    // The same numbers at either precision.
    Numbers numbers(test.text);
    for (auto [input, type] : llvm::zip_equal(test.inputs, types))
      inputs.push_back(draw(cast<RankedTensorType>(type), input.domain, input.limit, numbers));
  }

  void addFunctions() {
    program.title = title;
    auto forward = [&](OpBuilder &b, ValueRange x) { return of(b, x); };
    program.add(prefix + "alone", types, forward, {false, true, false});
    program.add(prefix + "unfused", types, forward, {false, false, false});
    program.add(prefix + "tidied", types, forward, {});
    if (canDonate())
      program.add(prefix + "donated", types, forward, {false, true, true});
    addFused();
    addFolded();
    for (auto [g, group] : llvm::enumerate(row.linear))
      addTransposed(unsigned(g), group);
    if (test.derivative != Derivative::None)
      addDerivatives();
  }

  void check() {
    want = reference();
    checkForward("alone");
    checkForward("unfused");
    checkForward("tidied");
    checkForward("folded");
    if (canDonate())
      checkForward("donated");
    checkFused();
    for (unsigned g = 0; g < row.linear.size(); ++g)
      checkTransposed(g);
    if (test.derivative == Derivative::Zero)
      checkZero();
    else if (test.derivative == Derivative::Smooth)
      epsilon < 1e-12L ? checkDerivatives() : checkNarrowDerivatives();
  }

  /// For f32: the same case in f64.
  const Instance *wide = nullptr;
  std::string title;

private:
  SmallVector<Value> of(OpBuilder &b, ValueRange x) { return apply(b, op, pick(x, order)); }

  bool canDonate() const { return !types.empty() && types[0] == op->getResult(0).getType(); }
  SmallVector<Type> extended(std::initializer_list<ArrayRef<Type>> more) const {
    SmallVector<Type> all(types);
    for (ArrayRef<Type> group : more)
      all.append(group.begin(), group.end());
    return all;
  }
  SmallVector<Type> wrtTypes() const {
    return llvm::map_to_vector(wrt, [&](unsigned i) { return types[i]; });
  }
  /// What is differentiated: float results, or (where they are to have no derivative) all, as f64.
  SmallVector<Value> smooth(OpBuilder &b, ValueRange results) {
    if (test.derivative == Derivative::Smooth)
      return floatsOf(results);
    return llvm::map_to_vector(results, [&](Value value) -> Value {
      return isFloat(value.getType())
                 ? value
                 : CastOp::create(b, op->getLoc(), typeOf(value).clone(b.getF64Type()), value).getResult();
    });
  }
  SmallVector<Type> smoothTypes() const {
    SmallVector<Type> found;
    for (Type type : op->getResultTypes()) {
      if (isFloat(type))
        found.push_back(type);
      else if (test.derivative == Derivative::Zero)
        found.push_back(cast<RankedTensorType>(type).clone(Float64Type::get(type.getContext())));
    }
    return found;
  }

  Tensors reference() const {
    Tensors operands;
    for (unsigned i : order)
      operands.push_back(inputs[i]);
    return evaluate(op, operands);
  }

  /// Rounding of one op: 4 ulps of the result; of a sum, as a random walk over its terms, measured by the largest
  /// result.
  std::pair<Number, Number> tolerance(const Tensor &expected, Number ulps) const {
    Number relative = 2 * ulps * epsilon * test.looseness, absolute = 0;
    if (!isFloat(expected.type))
      return {0, 0};
    if (row.accumulates) {
      Number terms = 1;
      for (const Tensor &input : inputs)
        terms = std::max(terms, Number(input.values.size()));
      absolute = relative * std::sqrt(terms) * std::max<Number>(1, largest(expected.values));
    } else if (epsilon > 1e-12L || ulps > 4) {
      absolute = 0;
    }
    return {relative, absolute};
  }

  void checkForward(const std::string &variant) {
    Tensors got = program.run(prefix + variant, variant == "folded" ? Tensors() : inputs);
    for (auto [i, expected] : llvm::enumerate(want)) {
      auto [relative, absolute] = tolerance(expected, 4);
      expect(title + " " + variant + " result " + std::to_string(i), got[i], expected, relative, absolute);
    }
  }

  //--- fused with what comes before and after: float operands x + 0 (0 known at run time only), float results r r + r
  //---

  void addFused() {
    if (llvm::none_of(types, isFloat))
      return;
    SmallVector<Type> zeros;
    for (Type type : types)
      if (isFloat(type))
        zeros.push_back(RankedTensorType::get({}, cast<RankedTensorType>(type).getElementType()));
    program.add(prefix + "fused", extended({zeros}),
                [&](OpBuilder &b, ValueRange x) {
                  SmallVector<Value> moved(x.take_front(types.size()));
                  size_t next = types.size();
                  for (Value &value : moved)
                    if (isFloat(value.getType())) {
                      auto zero = BroadcastOp::create(b, op->getLoc(), value.getType(), x[next++], ArrayRef<int64_t>());
                      value = AddOp::create(b, op->getLoc(), value, zero);
                    }
                  SmallVector<Value> results = of(b, moved);
                  for (Value &value : results)
                    if (isFloat(value.getType()))
                      value = AddOp::create(b, op->getLoc(), MulOp::create(b, op->getLoc(), value, value), value);
                  return results;
                },
                {});
  }

  void checkFused() {
    if (!program.has(prefix + "fused"))
      return;
    Tensors arguments = inputs;
    for (const Tensor &input : inputs)
      if (isFloat(input.type))
        arguments.push_back({RankedTensorType::get({}, input.type.getElementType()), {0}});
    Tensors got = program.run(prefix + "fused", arguments);
    for (auto [i, plain] : llvm::enumerate(want)) {
      Tensor expected = plain;
      auto [relative, absolute] = tolerance(plain, 4);
      bool isNarrow = expected.type.getElementType().isF32();
      Number slack = 0;
      if (isFloat(plain.type))
        for (Number &r : expected.values) {
          // r r and r may cancel: their errors are measured by their sizes.
          if (std::isfinite(r))
            slack = std::max(slack, (relative * std::abs(r) + absolute) * (3 * std::abs(r) + 2));
          r = r * r + r;
          r = isNarrow ? Number(float(r)) : Number(double(r));
        }
      expect(title + " fused result " + std::to_string(i), got[i], expected, relative, slack);
    }
  }

  //--- of constants: what the folder makes of it -------------------------------------------------------------------

  void addFolded() {
    program.add(prefix + "folded", {},
                [&](OpBuilder &b, ValueRange) {
                  SmallVector<Value> constants;
                  for (const Tensor &input : inputs) {
                    DenseElementsAttr elements;
                    withType(input.type.getElementType(), [&](auto *type) {
                      using T = std::remove_pointer_t<decltype(type)>;
                      if (input.type.getElementType().isInteger(1)) {
                        SmallVector<bool> data;
                        for (Number x : input.values)
                          data.push_back(x != 0);
                        elements = DenseElementsAttr::get(input.type, data);
                      } else {
                        SmallVector<T> data;
                        for (Number x : input.values)
                          data.push_back(T(x));
                        elements = DenseElementsAttr::get(input.type, ArrayRef<T>(data));
                      }
                    });
                    constants.push_back(hw::ConstantOp::create(b, op->getLoc(), input.type, elements));
                  }
                  return of(b, constants);
                },
                {});
  }

  //--- the transpose: <A x, c> = <x, A^T c> ------------------------------------------------------------------------

  SmallVector<unsigned> linearOperands(unsigned group) const {
    SmallVector<unsigned> found;
    for (unsigned i = 0; i < op->getNumOperands(); ++i)
      if (row.linear[group] == std::vector<int>{-1} || llvm::is_contained(row.linear[group], int(i)))
        found.push_back(i);
    return found;
  }
  /// Whether this case is a linear map between floats.
  bool isLinear(unsigned group) const {
    return isFloat(op->getResult(0).getType()) &&
           llvm::all_of(linearOperands(group), [&](unsigned i) { return isFloat(op->getOperand(i).getType()); });
  }

  void addTransposed(unsigned g, const std::vector<int> &) {
    if (!isLinear(g))
      return;
    SmallVector<unsigned> operands = linearOperands(g);
    // Operands apart, even where the case uses one twice: then it is linear in each.
    SmallVector<Type> arguments(op->getOperandTypes());
    arguments.push_back(op->getResult(0).getType());
    program.add(prefix + "transposed" + std::to_string(g), arguments,
                [&](OpBuilder &b, ValueRange x) {
                  Operation *copy = b.clone(*op);
                  copy->setOperands(x.drop_back());
                  SmallVector<bool> linear;
                  for (unsigned i = 0; i < op->getNumOperands(); ++i)
                    linear.push_back(llvm::is_contained(operands, i));
                  SmallVector<Value> results, cotangents{x.back()};
                  cotangents.resize(op->getNumResults());
                  auto rule = dyn_cast<TransposeOpInterface>(copy);
                  REQUIRE_MESSAGE(rule, title, ": no transpose, but its row says that it is linear");
                  REQUIRE_MESSAGE(succeeded(rule.transposeLinear(b, cotangents, linear, results)), title,
                                  ": its transpose fails");
                  REQUIRE_MESSAGE(results.size() == op->getNumOperands(), title, ": its transpose gives ",
                                  results.size(), " cotangents");
                  SmallVector<Value> found;
                  for (auto [i, value] : llvm::enumerate(results)) {
                    CHECK_MESSAGE(bool(value) == linear[i], title, ": cotangent of operand ", i, " is ",
                                  value ? "there" : "missing");
                    if (linear[i] && value) {
                      REQUIRE_MESSAGE(value.getType() == arguments[i], title, ": cotangent of operand ", i,
                                      " has another type");
                      found.push_back(value);
                    }
                  }
                  return found;
                },
                {});
  }

  void checkTransposed(unsigned g) {
    std::string name = prefix + "transposed" + std::to_string(g);
    if (!program.has(name))
      return;
    Numbers numbers(title);
    Tensors operands, c = drawLike({want[0]}, numbers), x;
    for (unsigned i : order)
      operands.push_back(inputs[i]);
    for (unsigned i : linearOperands(g))
      x.push_back(operands[i] = drawLike({operands[i]}, numbers)[0]);
    Tensors y{evaluate(op, operands)[0]}, arguments = operands;
    arguments.push_back(c[0]);
    Tensors pulled = program.run(name, arguments);
    Number left = dot(y, c), right = dot(x, pulled), size = dotSize(y, c) + dotSize(x, pulled);
    CHECK_MESSAGE(agree(right, left, 16 * epsilon * test.looseness * size), title, " transpose in operands of group ",
                  g, ": <x, A^T c> = ", show(right), ", <A x, c> = ", show(left));
  }

  //--- derivatives --------------------------------------------------------------------------------------------------

  void addDerivatives() {
    Location loc = op->getLoc();
    SmallVector<Type> tangents = wrtTypes(), cotangents = smoothTypes();
    size_t n = types.size();
    auto vjp = [&](OpBuilder &b, ValueRange x, ValueRange w) {
      SmallVector<Value> results = smooth(b, of(b, x));
      return llvm::to_vector(ValueRange(VjpOp::create(b, loc, tangents, results, pick(x, wrt), w).getResults()));
    };
    program.add(prefix + "jvp", extended({tangents}),
                [&](OpBuilder &b, ValueRange x) {
                  SmallVector<Value> results = smooth(b, of(b, x.take_front(n)));
                  return llvm::to_vector(ValueRange(
                      JvpOp::create(b, loc, ValueRange(results).getTypes(), results, pick(x, wrt), x.drop_front(n))
                          .getResults()));
                },
                {});
    program.add(prefix + "vjp", extended({cotangents}),
                [&](OpBuilder &b, ValueRange x) { return vjp(b, x.take_front(n), x.drop_front(n)); }, {});
    if (test.derivative == Derivative::Zero)
      return;
    // s = <vjp(x; w), u>: its gradient in x and w.
    program.add(prefix + "second", extended({cotangents, tangents}),
                [&](OpBuilder &b, ValueRange x) {
                  ValueRange w = x.slice(n, cotangents.size()), u = x.drop_front(n + cotangents.size());
                  SmallVector<Value> pulled = vjp(b, x.take_front(n), w), ones, wrtBoth = pick(x, wrt);
                  Value sum;
                  for (auto [g, direction] : llvm::zip_equal(pulled, u)) {
                    Value product = MulOp::create(b, loc, g, direction);
                    auto all = llvm::to_vector(llvm::seq<int64_t>(0, typeOf(product).getRank()));
                    Value part = ReduceSumOp::create(b, loc, product, all);
                    if (!elementOf(part).isF64())
                      part = CastOp::create(b, loc, typeOf(part).clone(b.getF64Type()), part);
                    sum = sum ? AddOp::create(b, loc, sum, part).getResult() : part;
                  }
                  wrtBoth.append(w.begin(), w.end());
                  return llvm::to_vector(
                      ValueRange(GradOp::create(b, loc, ValueRange(wrtBoth).getTypes(), sum, wrtBoth).getResults()));
                },
                {});
    program.add(prefix + "hvp", extended({cotangents, tangents}),
                [&](OpBuilder &b, ValueRange x) {
                  ValueRange w = x.slice(n, cotangents.size()), v = x.drop_front(n + cotangents.size());
                  SmallVector<Value> pulled = vjp(b, x.take_front(n), w);
                  return llvm::to_vector(ValueRange(
                      JvpOp::create(b, loc, ValueRange(pulled).getTypes(), pulled, pick(x, wrt), v).getResults()));
                },
                {});
  }

  struct Directions {
    Tensors v, w, u;
  };
  Directions directions() const {
    Numbers numbers("directions of " + test.text);
    Tensors tangents, cotangents;
    for (Type type : wrtTypes())
      tangents.push_back(
          {cast<RankedTensorType>(type), std::vector<Number>(cast<RankedTensorType>(type).getNumElements())});
    for (Type type : smoothTypes())
      cotangents.push_back(
          {cast<RankedTensorType>(type), std::vector<Number>(cast<RankedTensorType>(type).getNumElements())});
    Directions d;
    d.v = drawLike(tangents, numbers);
    d.w = drawLike(cotangents, numbers);
    d.u = drawLike(tangents, numbers);
    return d;
  }
  static Tensors joined(Tensors x, const Tensors &y) {
    x.insert(x.end(), y.begin(), y.end());
    return x;
  }

  void checkZero() {
    Directions d = directions();
    for (auto [variant, arguments] : {std::pair{"jvp", joined(inputs, d.v)}, std::pair{"vjp", joined(inputs, d.w)}})
      for (const Tensor &result : program.run(prefix + variant, arguments))
        expect(title + " " + variant + ", which is zero by definition", result,
               {result.type, std::vector<Number>(result.values.size(), 0)}, 0, 0);
  }

  /// f at x + h v, v over `wrt`.
  template <class F> auto moved(const Tensors &v, Number h, F f) {
    Tensors x = inputs;
    for (auto [i, direction] : llvm::zip_equal(wrt, v))
      for (auto [value, step] : llvm::zip_equal(x[i].values, direction.values))
        value += h * step;
    return f(x);
  }
  /// The derivative of a scalar function along v: central differences at h and 2 h, extrapolated (error h^4).
  template <class F> Number difference(const Tensors &v, F f) {
    Number h = step();
    return (8 * (moved(v, h, f) - moved(v, -h, f)) - (moved(v, 2 * h, f) - moved(v, -2 * h, f))) / (12 * h);
  }
  Number step() const { return epsilon < 1e-12L ? 0x1p-10L : 0x1p-6L; }
  Number differenceTolerance() const { return (epsilon < 1e-12L ? 1e-8L : 1e-3L) * test.looseness; }

  /// Compares a gradient with differences of `f`, element by element (of large inputs a part), and along v.
  template <class F> void checkGradient(const std::string &what, const Tensors &gradient, const Tensors &v, F f) {
    Numbers numbers(what);
    Number size = 1;
    for (const Tensor &g : gradient)
      size = std::max(size, largest(g.values));
    size = std::max(size, std::abs(moved(v, 0, f)));
    Tensors unit = v;
    for (Tensor &t : unit)
      std::fill(t.values.begin(), t.values.end(), 0);
    size_t elements = 1;
    for (const Tensors *tensors : {&inputs, &want})
      for (const Tensor &tensor : *tensors)
        elements += tensor.values.size();
    size_t most = std::clamp<size_t>(60000 / elements, 10, 150);
    for (size_t k = 0; k < gradient.size(); ++k) {
      size_t count = gradient[k].values.size(), tried = std::min(count, most);
      for (size_t n = 0; n < tried; ++n) {
        size_t i = count == tried ? n : size_t(numbers.whole(0, int64_t(count) - 1));
        unit[k].values[i] = 1;
        Number expected = difference(unit, f);
        unit[k].values[i] = 0;
        if (!agree(gradient[k].values[i], expected, differenceTolerance() * size)) {
          FAIL_CHECK(title, " ", what, ": element ", i, " in operand ", wrt[k], ": got ", show(gradient[k].values[i]),
                     ", differences say ", show(expected));
          return;
        }
      }
    }
    Number along = dot(gradient, v), expected = difference(v, f);
    CHECK_MESSAGE(agree(along, expected, 10 * differenceTolerance() * std::max(size, dotSize(gradient, v))), title, " ",
                  what, " along v: got ", show(along), ", differences say ", show(expected));
  }

  void checkDerivatives() {
    Directions d = directions();
    auto forward = [&](const Tensors &x) {
      Tensors results;
      for (Tensor &result : program.run(prefix + "alone", x))
        if (isFloat(result.type))
          results.push_back(std::move(result));
      return results;
    };
    auto gradientAt = [&](const Tensors &x) { return program.run(prefix + "vjp", joined(x, d.w)); };

    Tensors pushed = program.run(prefix + "jvp", joined(inputs, d.v)), pulled = gradientAt(inputs);
    // J v, every element of it.
    for (size_t k = 0; k < pushed.size(); ++k) {
      Tensor expected = pushed[k];
      Number h = step();
      std::vector<Number> a = moved(d.v, h, forward)[k].values, b = moved(d.v, -h, forward)[k].values,
                          c = moved(d.v, 2 * h, forward)[k].values, e = moved(d.v, -2 * h, forward)[k].values;
      for (size_t i = 0; i < expected.values.size(); ++i)
        expected.values[i] = (8 * (a[i] - b[i]) - (c[i] - e[i])) / (12 * h);
      expect(title + " jvp", pushed[k], expected, 0,
             differenceTolerance() * std::max({Number(1), largest(expected.values), largest(a)}));
    }
    // J^T w, and that it is J's transpose to rounding.
    checkGradient("vjp", pulled, d.v, [&](const Tensors &x) { return dot(forward(x), d.w); });
    checkIdentity("<w, J v> = <J^T w, v>", dot(d.w, pushed), dot(pulled, d.v),
                  dotSize(d.w, pushed) + dotSize(pulled, d.v));

    // The gradient of s = <J(x)^T w, u>, in x and in w.
    Tensors second = program.run(prefix + "second", joined(joined(inputs, d.w), d.u));
    Tensors inX(second.begin(), second.begin() + wrt.size()), inW(second.begin() + wrt.size(), second.end());
    checkGradient("gradient of vjp", inX, d.v, [&](const Tensors &x) { return dot(gradientAt(x), d.u); });
    Tensors pushedU = program.run(prefix + "jvp", joined(inputs, d.u));
    for (size_t k = 0; k < inW.size(); ++k)
      expect(title + " gradient of vjp in its cotangent, which is J u", inW[k], pushedU[k], 0,
             64 * epsilon * test.looseness * std::sqrt(Number(inputs[wrt[0]].values.size())) *
                 std::max<Number>(1, largest(pushedU[k].values)));
    // The Hessian of <w, f> is symmetric: u^T (H v) = (H u)^T v.
    Tensors product = program.run(prefix + "hvp", joined(joined(inputs, d.w), d.v));
    checkIdentity("<u, jvp of vjp along v> = <gradient of <vjp, u>, v>", dot(d.u, product), dot(inX, d.v),
                  dotSize(d.u, product) + dotSize(inX, d.v) + 1);
  }

  void checkIdentity(const std::string &what, Number left, Number right, Number size) {
    Number limit = std::max<Number>(1e-12L, 64 * epsilon) * test.looseness * size;
    CHECK_MESSAGE(agree(left, right, limit), title, " ", what, ": ", show(left), " and ", show(right));
  }

  /// f32 derivatives against f64 ones where there are any, else as far as differences of f32 go.
  void checkNarrowDerivatives() {
    if (!wide)
      return checkDerivatives();
    Directions d = directions();
    std::vector<std::pair<const char *, Tensors>> runs = {{"jvp", joined(inputs, d.v)},
                                                          {"vjp", joined(inputs, d.w)},
                                                          {"second", joined(joined(inputs, d.w), d.u)},
                                                          {"hvp", joined(joined(inputs, d.w), d.v)}};
    for (auto &[variant, arguments] : runs) {
      Tensors widened = arguments;
      for (Tensor &tensor : widened)
        if (tensor.type.getElementType().isF32())
          tensor.type = tensor.type.clone(Float64Type::get(tensor.type.getContext()));
      Tensors got = program.run(prefix + variant, arguments), expected = program.run(wide->prefix + variant, widened);
      Number terms = 1;
      for (const Tensor &input : inputs)
        terms = std::max(terms, Number(input.values.size()));
      for (auto [i, result] : llvm::enumerate(got)) {
        Number absolute = 32 * epsilon * test.looseness * (row.accumulates ? std::sqrt(terms) : 1) *
                          std::max<Number>(1, largest(expected[i].values));
        expect(title + " " + variant + " against f64, result " + std::to_string(i), result, expected[i], 0, absolute);
      }
    }
  }

  Program &program;
  const Row &row;
  const Case &test;
  OwningOpRef<ModuleOp> parsed;
  Operation *op = nullptr;
  std::string prefix;
  SmallVector<Type> types;     // of the case's arguments
  SmallVector<unsigned> order; // operand i is argument order[i]
  SmallVector<unsigned> wrt;   // arguments to differentiate in
  Number epsilon = 0x1p-53L;   // half an ulp of 1 in the narrowest float type
  Tensors inputs, want;
};

} // namespace

TEST_CASE("every op of the dialect has a row") {
  DialectRegistry registry;
  registerAll(registry);
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  context.loadAllAvailableDialects();
  std::map<std::string, const Row *> known;
  for (const Row &row : rows())
    CHECK_MESSAGE(known.emplace(row.op, &row).second, row.op, " has two rows");
  for (RegisteredOperationName name : context.getRegisteredOperationsByDialect("hw")) {
    std::string op = name.stripDialect().str();
    auto found = known.find(op);
    if (found == known.end()) {
      FAIL_CHECK(
          "hw.", op,
          " is registered, but has no row in tests/unit/ops_cases.cpp: give it cases, and say what its derivative is");
      continue;
    }
    const Row &row = *found->second;
    known.erase(found);
    if (row.isByUse)
      continue;
    CHECK_MESSAGE(!row.cases.empty(), "hw.", op, " has a row without a case");
    CHECK_MESSAGE(name.hasInterface<LinearizeOpInterface>(), "hw.", op, " has no row in passes/Linearize.cpp");
    CHECK_MESSAGE(name.hasInterface<TransposeOpInterface>() == !row.linear.empty(), "hw.", op,
                  row.linear.empty() ? " has a transpose; its row does not say in which operands it is linear"
                                     : " is linear, but has no transpose");
  }
  for (auto &[op, row] : known)
    FAIL_CHECK("the row of ", op, " has no op");
}

TEST_CASE("values and derivatives of every op") {
  setThreads(2);
  const char *only = std::getenv("HW_OPS_ONLY");
  Program program;
  std::vector<std::unique_ptr<Instance>> instances;
  unsigned number = 0;
  for (const Row &row : rows())
    for (const Case &test : row.cases) {
      ++number;
      if (only && test.text.find(only) == std::string::npos)
        continue;
      bool isGeneric = test.text.find("T>") != std::string::npos;
      for (const Input &input : test.inputs)
        isGeneric |= llvm::StringRef(input.type).ends_with("T");
      instances.push_back(std::make_unique<Instance>(program, row, test, "f64", number));
      const Instance *wide = instances.back().get();
      if (isGeneric) {
        instances.push_back(std::make_unique<Instance>(program, row, test, "f32", number));
        instances.back()->wide = wide;
      }
    }
  for (auto &instance : instances)
    instance->addFunctions();
  std::string problem = program.compile();
  REQUIRE_MESSAGE(problem.empty(), problem);
  for (auto &instance : instances)
    instance->check();
}

//===--------------------------------------------------------------------------------------------------------------===//
// Single functions: accuracy over the whole range, and what holds at kinks and for NaN
//===--------------------------------------------------------------------------------------------------------------===//

namespace {

/// Functions given as text, of operands of one type, T standing for it.
OwningOpRef<ModuleOp> parseBody(MLIRContext &context, const std::string &body, StringRef type, unsigned operands) {
  std::string arguments;
  for (unsigned i = 0; i < operands; ++i)
    arguments += (i ? ", %" : "%") + std::string(1, "xyz"[i]) + ": T";
  return parseSourceString<ModuleOp>(
      replaced("func.func @f(" + arguments + ") { " + body + " return }", "T", type.str()), ParserConfig(&context));
}

/// Clones the parsed body; the values of its last op.
SmallVector<Value> inlined(OpBuilder &b, ModuleOp parsed, ValueRange arguments) {
  auto function = *parsed.getOps<func::FuncOp>().begin();
  IRMapping mapping;
  mapping.map(function.getArguments(), arguments);
  Operation *last = nullptr;
  for (Operation &op : function.front().without_terminator())
    last = b.clone(op, mapping);
  return llvm::to_vector(ValueRange(last->getResults()));
}

RankedTensorType vectorOf(MLIRContext &context, int64_t size, bool isF32) {
  return RankedTensorType::get({size}, isF32 ? Type(Float32Type::get(&context)) : Type(Float64Type::get(&context)));
}

struct Function {
  const char *op;
  Number (*exact)(Number x, Number y);
};
const Function accurate[] = {
    {"exp", [](Number x, Number) { return std::exp(x); }},
    {"expm1", [](Number x, Number) { return std::expm1(x); }},
    {"log", [](Number x, Number) { return std::log(x); }},
    {"log1p", [](Number x, Number) { return std::log1p(x); }},
    {"log2", [](Number x, Number) { return std::log2(x); }},
    {"log10", [](Number x, Number) { return std::log10(x); }},
    {"sqrt", [](Number x, Number) { return std::sqrt(x); }},
    {"sin", [](Number x, Number) { return std::sin(x); }},
    {"cos", [](Number x, Number) { return std::cos(x); }},
    {"tanh", [](Number x, Number) { return std::tanh(x); }},
    {"sinh", [](Number x, Number) { return std::sinh(x); }},
    {"cosh", [](Number x, Number) { return std::cosh(x); }},
    {"logistic", [](Number x, Number) { return x > 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }},
    {"erf", [](Number x, Number) { return std::erf(x); }},
    {"asinh", [](Number x, Number) { return std::asinh(x); }},
    {"pow", [](Number x, Number y) { return std::pow(x, y); }},
};

/// Every power of two with random mantissas and either sign, what networks use densely, and the special values.
template <class T> std::vector<Number> range(Numbers &numbers) {
  using Limits = std::numeric_limits<T>;
  std::vector<Number> values = {0,
                                -0.0L,
                                1,
                                -1,
                                INFINITY,
                                -INFINITY,
                                NAN,
                                0.5L,
                                2,
                                -2,
                                3,
                                -3,
                                Limits::denorm_min(),
                                -Limits::denorm_min(),
                                Limits::min(),
                                -Limits::min(),
                                Limits::max(),
                                -Limits::max(),
                                Limits::epsilon(),
                                -Limits::epsilon(),
                                1 - Limits::epsilon() / 2,
                                1 + Limits::epsilon(),
                                Limits::epsilon() / 2 - 1};
  int each = sizeof(T) == 4 ? 24 : 4;
  for (int e = Limits::min_exponent - Limits::digits; e < Limits::max_exponent; ++e)
    for (int n = 0; n < each; ++n)
      values.push_back(T(std::ldexp(1 + Number(numbers.bits() >> 11) * 0x1p-53L, e) * (numbers.bits() & 1 ? 1 : -1)));
  for (Number width : {0.1L, 1.0L, 10.0L, 100.0L, 800.0L})
    for (int n = 0; n < 3000; ++n)
      values.push_back(T(width * (Number(numbers.bits() >> 11) * 0x1p-52L - 1)));
  for (int n = 0; n < 2000; ++n) // about 1, where log has its zero
    values.push_back(T(1 + 0.01L * (Number(numbers.bits() >> 11) * 0x1p-52L - 1)));
  return values;
}

/// Spacing of the numbers of T at x.
template <class T> Number spacing(Number x) {
  int exponent = std::max(std::ilogb(std::abs(x)), std::numeric_limits<T>::min_exponent - 1);
  return std::ldexp(Number(1), x == 0 ? std::numeric_limits<T>::min_exponent - std::numeric_limits<T>::digits
                                      : exponent - std::numeric_limits<T>::digits + 1);
}

/// f64: 4 ulps. f32: `relative` of the value, or a denormal's spacing.
template <class T>
void checkAccuracy(const std::string &name, const std::vector<Number> &x, const std::vector<Number> &y,
                   const std::vector<Number> &got, Number (*exact)(Number, Number), Number relative) {
  using Limits = std::numeric_limits<T>;
  Number worst = 0;
  size_t worstAt = 0, inaccurate = 0, special = 0, specialAt = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    Number want = exact(x[i], y[i]), rounded = Number(T(want));
    bool isOverflow = std::isinf(rounded) || std::isinf(got[i]);
    if (std::isnan(want) || std::isnan(got[i]) ||
        (isOverflow && std::abs(want) < Number(Limits::max()) * (1 - 1e-6L)) || (isOverflow && std::isinf(want)) ||
        (isOverflow && std::abs(want) > Number(Limits::max()) * (1 + 1e-6L))) {
      bool isRight = std::isnan(want) ? std::isnan(got[i]) : got[i] == rounded;
      if (!isRight && special++ == 0)
        specialAt = i;
      continue;
    }
    if (isOverflow)
      continue; // within rounding of the largest number
    Number error = std::abs(got[i] - want) / spacing<T>(want);
    bool isClose = sizeof(T) == 8 ? error <= 4
                                  : std::abs(got[i] - want) <= relative * std::abs(want) + Number(Limits::denorm_min());
    inaccurate += !isClose;
    if (error > worst) {
      worst = error;
      worstAt = i;
    }
    if (got[i] == 0 && want == 0 && std::signbit(got[i]) != std::signbit(want) && special++ == 0)
      specialAt = i;
  }
  auto where = [&](size_t i) {
    Number want = exact(x[i], y[i]);
    return show(x[i]) + (name.find("pow") == std::string::npos ? "" : ", " + show(y[i])) + ": got " + show(got[i]) +
           ", want " + show(want);
  };
  MESSAGE(name, ": at worst ", double(worst), " ulps, at ", where(worstAt));
  CHECK_MESSAGE(inaccurate == 0, name, ": ", inaccurate, " of ", got.size(), " inaccurate");
  CHECK_MESSAGE(special == 0, name, ": NaN, infinity or signed zero wrong ", special, " times, first at ",
                where(specialAt));
}

} // namespace

static void checkMathematics(const std::string &cpu) {
  std::string error;
  auto here = backend::chooseTarget("", error), there = backend::chooseTarget(cpu, error);
  REQUIRE_MESSAGE((here && there), error);
  if (there->vectorBytes > here->vectorBytes) {
    MESSAGE("this machine cannot run code for ", cpu, ": skipped");
    return;
  }
  // Without fused multiply-adds every step of a polynomial rounds twice.
  Number tolerance = there->vectorBytes > 16 ? 3e-7L : 4e-7L;
  setThreads(2);
  Program program(cpu);
  std::string suffix = cpu.empty() ? "" : " for " + cpu;
  Numbers numbers("range");
  std::vector<Number> narrow = range<float>(numbers), wide = range<double>(numbers);
  std::map<bool, std::pair<std::vector<Number>, std::vector<Number>>> pairs; // for pow, by isF32
  for (bool isF32 : {true, false}) {
    auto &[x, y] = pairs[isF32];
    const auto &values = isF32 ? narrow : wide;
    for (size_t i = 0; i < 23; ++i)
      for (size_t j = 0; j < 23; ++j) {
        x.push_back(values[i]);
        y.push_back(values[j]);
      }
    for (size_t i = 0; i < 20000; ++i) {
      Number base = values[size_t(numbers.whole(0, int64_t(values.size()) - 1))];
      // Exponents that leave the result in range as a rule, whole ones (for negative bases) among them.
      Number exponent = i % 4 == 0 ? Number(numbers.whole(-20, 20)) : numbers.uniform(-3, 3) * (i % 4 == 1 ? 10 : 1);
      x.push_back(i % 4 == 1 ? std::abs(numbers.uniform(0.01L, 20)) : base);
      y.push_back(Number(float(exponent)));
    }
  }
  for (const Function &function : accurate)
    for (bool isF32 : {true, false}) {
      bool isPow = function.op == std::string("pow");
      auto type = vectorOf(program.getContext(),
                           int64_t(isPow ? pairs[isF32].first.size() : (isF32 ? narrow : wide).size()), isF32);
      std::string text;
      llvm::raw_string_ostream(text) << type;
      auto parsed =
          parseBody(program.getContext(), std::string("hw.") + function.op + (isPow ? " %x, %y : T" : " %x : T"), text,
                    isPow ? 2 : 1);
      REQUIRE(parsed);
      program.title = function.op;
      program.add(std::string(function.op) + (isF32 ? ".f32" : ".f64"), SmallVector<Type>(isPow ? 2 : 1, type),
                  [&](OpBuilder &b, ValueRange x) { return inlined(b, *parsed, x); }, {});
    }
  std::string problem = program.compile();
  REQUIRE_MESSAGE(problem.empty(), problem);
  for (const Function &function : accurate)
    for (bool isF32 : {true, false}) {
      bool isPow = function.op == std::string("pow");
      const std::vector<Number> &x = isPow   ? pairs[isF32].first
                                     : isF32 ? narrow
                                             : wide,
                                &y = isPow ? pairs[isF32].second : x;
      auto type = vectorOf(program.getContext(), int64_t(x.size()), isF32);
      Tensors arguments{{type, x}};
      if (isPow)
        arguments.push_back({type, y});
      std::string name = std::string(function.op) + (isF32 ? ".f32" : ".f64");
      std::vector<Number> got = program.run(name, arguments)[0].values;
      isF32 ? checkAccuracy<float>(name + suffix, x, y, got, function.exact, tolerance)
            : checkAccuracy<double>(name + suffix, x, y, got, function.exact, tolerance);
    }
}

TEST_CASE("mathematics is accurate over the whole range") {
  // Each vector width is other code, and other functions of libmvec.
  SUBCASE("this machine") { checkMathematics(""); }
  SUBCASE("AVX2") { checkMathematics("x86-64-v3"); }
  SUBCASE("SSE") { checkMathematics("x86-64"); }
}

TEST_CASE("derivatives at kinks, and NaN") {
  struct Point {
    const char *text;
    std::vector<Number> x;
    Number value;
    std::vector<Number> gradient;
  };
  const Number nan = NAN, inf = INFINITY;
  const Point points[] = {
      // At a tie the derivative goes to y: so max(x, 0) is relu with relu'(0) = 0.
      {"hw.max %x, %y : T", {0, 0}, 0, {0, 1}},
      {"hw.max %x, %y : T", {2, 1}, 2, {1, 0}},
      {"hw.min %x, %y : T", {0, 0}, 0, {0, 1}},
      {"hw.min %x, %y : T", {1, 2}, 1, {1, 0}},
      {"%c = hw.constant dense<0.0> : T %r = hw.max %x, %c : T", {0}, 0, {0}},
      {"%c = hw.constant dense<0.0> : T %r = hw.max %x, %c : T", {3}, 3, {1}},
      {"%c = hw.constant dense<0.0> : T %r = hw.max %x, %c : T", {-3}, 0, {0}},
      {"hw.max %x, %x : T", {3}, 3, {1}},
      {"hw.abs %x : T", {0}, 0, {0}},
      {"hw.pow %x, %y : T", {0, 2}, 0, {0, 0}},
      {"hw.pow %x, %y : T", {0, 1}, 0, {1, 0}},
      {"hw.pow %x, %y : T", {0, 0}, 1, {0, 0}},
      {"hw.pow %x, %y : T", {2, 0}, 1, {0, 0.6931471805599453094L}},
      {"%c = hw.constant dense<2.0> : T %r = hw.pow %x, %c : T", {0}, 0, {0}},
      {"%c = hw.constant dense<2.0> : T %r = hw.pow %x, %c : T", {-3}, 9, {-6}},
      {"%c = hw.constant dense<0.5> : T %r = hw.pow %x, %c : T", {4}, 2, {0.25L}},
      {"hw.tanh %x : T", {100}, 1, {0}},
      {"hw.logistic %x : T", {-1000}, 0, {0}},
      {"hw.logistic %x : T", {1000}, 1, {0}},
      {"hw.exp %x : T", {-inf}, 0, {0}},
      // NaN is never lost.
      {"hw.max %x, %y : T", {nan, 1}, nan, {}},
      {"hw.max %x, %y : T", {1, nan}, nan, {}},
      {"hw.min %x, %y : T", {nan, 1}, nan, {}},
      {"hw.min %x, %y : T", {1, nan}, nan, {}},
      {"%c = hw.constant dense<0.0> : T %r = hw.max %x, %c : T", {nan}, nan, {}},
      {"%c = hw.constant dense<0.0> : T %r = hw.max %c, %x : T", {nan}, nan, {}},
      {"%c = hw.constant dense<0.0> : T %r = hw.min %x, %c : T", {nan}, nan, {}},
      {"%c = hw.constant dense<0.0> : T %r = hw.min %c, %x : T", {nan}, nan, {}},
      {"%c = hw.constant dense<0.0> : T %r = hw.mul %x, %c : T", {nan}, nan, {}},
      {"%c = hw.constant dense<0.0> : T %r = hw.mul %x, %c : T", {inf}, nan, {}},
      {"hw.sub %x, %x : T", {inf}, nan, {}},
      {"hw.div %x, %x : T", {0}, nan, {}},
      {"hw.sign %x : T", {nan}, nan, {}},
      {"hw.floor %x : T", {nan}, nan, {}},
      {"hw.pow %x, %y : T", {nan, 0}, 1, {}},
      {"hw.pow %x, %y : T", {nan, 2}, nan, {}},
  };
  Program program;
  auto nameOf = [](size_t i, bool isF32) { return "point" + std::to_string(i) + (isF32 ? ".f32" : ".f64"); };
  for (auto [i, point] : llvm::enumerate(points))
    for (bool isF32 : {true, false}) {
      auto type = vectorOf(program.getContext(), 5, isF32);
      auto parsed = parseBody(program.getContext(), point.text, isF32 ? "tensor<5xf32>" : "tensor<5xf64>",
                              unsigned(point.x.size()));
      REQUIRE_MESSAGE(parsed, point.text);
      program.title = point.text;
      program.add(nameOf(i, isF32), SmallVector<Type>(point.x.size(), type),
                  [&](OpBuilder &b, ValueRange x) {
                    SmallVector<Value> results = inlined(b, *parsed, x);
                    if (!point.gradient.empty()) {
                      Location loc = b.getUnknownLoc();
                      Value sum = ReduceSumOp::create(b, loc, results[0], ArrayRef<int64_t>{0});
                      llvm::append_range(results, GradOp::create(b, loc, x.getTypes(), sum, x).getResults());
                    }
                    return results;
                  },
                  {});
    }
  std::string problem = program.compile();
  REQUIRE_MESSAGE(problem.empty(), problem);
  for (auto [i, point] : llvm::enumerate(points))
    for (bool isF32 : {true, false}) {
      auto type = vectorOf(program.getContext(), 5, isF32);
      Tensors arguments;
      for (Number x : point.x)
        arguments.push_back({type, std::vector<Number>(5, x)});
      Tensors got = program.run(nameOf(i, isF32), arguments);
      std::string what = std::string(point.text) + " at";
      for (Number x : point.x)
        what.append(" ").append(show(x));
      Number relative = isF32 ? 3e-7L : 1e-15L;
      expect(what, got[0], {type, std::vector<Number>(5, point.value)}, relative, 0);
      for (auto [k, slope] : llvm::enumerate(point.gradient))
        expect(what + ", derivative " + std::to_string(k), got[1 + k], {type, std::vector<Number>(5, slope)}, relative,
               isF32 ? 1e-30L : 1e-80L);
    }
}

TEST_CASE("products that oneDNN does") {
  setThreads(2);
  Program program;
  const Row *row = nullptr;
  for (const Row &candidate : rows())
    if (candidate.op == std::string("dot_general"))
      row = &candidate;
  REQUIRE(row);
  // Long enough not to be generated; every orientation, batches, a bias and an activation after it.
  struct Product {
    const char *x, *y, *numbers, *result;
  };
  const Product products[] = {
      {"17x2100", "2100x33", "batch [] x [] contract [1] x [0]", "17x33"},
      {"2100x17", "2100x33", "batch [] x [] contract [0] x [0]", "17x33"},
      {"17x2100", "33x2100", "batch [] x [] contract [1] x [1]", "17x33"},
      {"2100x17", "33x2100", "batch [] x [] contract [0] x [1]", "17x33"},
      {"2x9x2100", "2x2100x15", "batch [0] x [0] contract [2] x [1]", "2x9x15"},
      {"9x2x2100", "2100x15x2", "batch [1] x [2] contract [2] x [0]", "2x9x15"},
      {"9x30x70", "70x30x15", "batch [] x [] contract [1, 2] x [1, 0]", "9x15"},
  };
  std::vector<OwningOpRef<ModuleOp>> parsed;
  std::vector<Tensors> inputs;
  for (auto [i, product] : llvm::enumerate(products)) {
    auto type = [](const char *shape) { return replaced("tensor<?xf32>", "?", shape); };
    std::string source = "func.func @f(%x: " + type(product.x) + ", %y: " + type(product.y) +
                         ") { hw.dot_general %x, %y " + product.numbers + " : (" + type(product.x) + ", " +
                         type(product.y) + ") -> " + type(product.result) + " return }";
    parsed.push_back(parseSourceString<ModuleOp>(source, ParserConfig(&program.getContext())));
    REQUIRE_MESSAGE(parsed.back(), source);
    auto function = *parsed.back()->getOps<func::FuncOp>().begin();
    auto result = cast<RankedTensorType>(function.front().front().getResult(0).getType());
    auto bias = RankedTensorType::get(result.getShape().take_back(), result.getElementType());
    SmallVector<Type> types(function.getArgumentTypes());
    types.push_back(bias);
    Numbers numbers(source);
    inputs.emplace_back();
    for (Type argument : types)
      inputs.back().push_back(draw(cast<RankedTensorType>(argument), Domain::Any, 0, numbers));
    program.title = source;
    for (bool isExternal : {true, false}) {
      Program::Options options;
      options.external = isExternal;
      std::string suffix = std::to_string(i) + (isExternal ? ".external" : ".generated");
      program.add(
          "plain" + suffix, types,
          [&](OpBuilder &b, ValueRange x) { return inlined(b, *parsed.back(), x.drop_back()); }, options);
      program.add(
          "layer" + suffix, types,
          [&](OpBuilder &b, ValueRange x) -> SmallVector<Value> {
            Location loc = b.getUnknownLoc();
            Value product = inlined(b, *parsed.back(), x.drop_back())[0];
            Value wide =
                BroadcastOp::create(b, loc, product.getType(), x.back(), ArrayRef<int64_t>{result.getRank() - 1});
            return {TanhOp::create(b, loc, AddOp::create(b, loc, product, wide))};
          },
          options);
    }
  }
  std::string problem = program.compile();
  REQUIRE_MESSAGE(problem.empty(), problem);
  CHECK(program.externalProducts() > 0);
  for (auto [i, product] : llvm::enumerate(products)) {
    Operation *op = &(*parsed[i]->getOps<func::FuncOp>().begin()).front().front();
    Tensor want = evaluate(op, inputs[i])[0], layer = want;
    size_t columns = inputs[i][2].values.size();
    for (size_t n = 0; n < layer.values.size(); ++n)
      layer.values[n] = std::tanh(layer.values[n] + inputs[i][2].values[n % columns]);
    for (const char *way : {".external", ".generated"}) {
      std::string suffix = std::to_string(i) + way, what = std::string(product.x) + " by " + product.y + way;
      // A random walk of 2100 roundings of terms up to 4.
      Number absolute = 0x1p-24L * std::sqrt(2100.0L) * 8 * largest(want.values);
      expect(what, program.run("plain" + suffix, inputs[i])[0], want, 0, absolute);
      expect(what + ", with bias and tanh", program.run("layer" + suffix, inputs[i])[0], layer, 0, absolute);
    }
  }
}
