// The proofs that shared memory changes nothing: what the compiler makes is accepted, and each kind of wrong list or
// plan is refused.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "backend/Compile.h"
#include "backend/dialect/Dialect.h"
#include "backend/plan/Plan.h"
#include "backend/plan/VerifyPlan.h"
#include "backend/steps/Lower.h"
#include "backend/steps/VerifySteps.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/JSON.h"
#include <doctest/doctest.h>

using namespace mlir;
using namespace hw;
using namespace hw::backend;

namespace {

MLIRContext &context() {
  static MLIRContext *holder = [] {
    auto *context = new MLIRContext;
    context->loadDialect<HwDialect, study::StudyDialect, func::FuncDialect, HwbDialect>();
    return context;
  }();
  return *holder;
}

/// A function lowered, and the module that its constants are of.
struct Lowered {
  OwningOpRef<ModuleOp> module;
  StepList list;

  explicit Lowered(const std::string &text, Products products = Products::Automatic)
      : module(parseSourceString<ModuleOp>(text, &context())) {
    REQUIRE(module);
    auto function = *module->getOps<func::FuncOp>().begin();
    SmallVector<int64_t> donations;
    for (unsigned i = 0; i < function.getNumArguments(); ++i) {
      auto donated = function.getArgAttrOfType<IntegerAttr>(i, "hw.donate");
      donations.push_back(donated ? donated.getInt() : -1);
    }
    std::string error;
    auto target = chooseTarget("x86-64-v3", error);
    REQUIRE(target);
    FusionOptions options;
    options.products = products;
    list = lowerFunction(function.front(), donations, *target, options);
    INFO(list.print());
    auto wrong = verifySteps(list);
    CHECK_MESSAGE(!wrong, wrong.value_or(""));
  }
  /// The first stage of that kind of root, with its step.
  Stage &stage(RootKind kind, Stage::Kind of = Stage::Loops) {
    for (Step &step : list.steps)
      for (Stage &stage : step.stages)
        if (stage.kind == of && stage.kernel.has(kind))
          return stage;
    FAIL(list.print());
    return list.steps[0].stages[0];
  }
  Step &step(llvm::function_ref<bool(const Step &)> wanted) {
    for (Step &step : list.steps)
      if (wanted(step))
        return step;
    FAIL(list.print());
    return list.steps[0];
  }
  Step &region() {
    return step([](const Step &step) { return step.stages.size() > 1; });
  }
};

/// That the list, once it is spoilt, is refused in these words.
template <class Spoil> void refused(const Lowered &sound, Spoil spoil, const std::string &words) {
  StepList list = sound.list;
  spoil(list);
  INFO(list.print());
  auto wrong = verifySteps(list);
  REQUIRE_MESSAGE(wrong, "accepted; expected: ", words);
  CHECK_MESSAGE(wrong->find(words) != std::string::npos, *wrong);
}

/// a, b = sin(b), a * b.
const char *const twoRoots =
    R"(func.func private @f(%a: tensor<50xf32> {hw.donate = 0 : i64}, %b: tensor<50xf32> {hw.donate = 1 : i64}) -> (tensor<50xf32>, tensor<50xf32>) {
  %0 = hw.sin %b : tensor<50xf32>
  %1 = hw.mul %a, %b : tensor<50xf32>
  return %0, %1 : tensor<50xf32>, tensor<50xf32>
})";

} // namespace

TEST_CASE("a kernel loads what its roots store over before the first store") {
  Lowered sound(twoRoots);
  REQUIRE(sound.list.steps.size() == 1);
  Kernel &kernel = sound.list.steps[0].stages[0].kernel;
  CHECK(kernel.roots.size() == 2);
  CHECK(kernel.firstLoads.size() == 1); // b is wanted by the root that is the first to store, and stored by the second
  // As it was: loads were made when the roots wanted them.
  refused(
      sound, [](StepList &list) { list.steps[0].stages[0].kernel.firstLoads.clear(); },
      "before it has loaded argument");
  refused(
      sound,
      [](StepList &list) {
        for (Node &node : list.steps[0].stages[0].kernel.nodes)
          if (node.op == Opcode::Load)
            node.index.coefficients[0] = -1, node.index.constant = 49;
      },
      "at different elements");
  refused(
      sound,
      [](StepList &list) {
        for (Root &root : list.steps[0].stages[0].kernel.roots)
          root.address.coefficients[0] = 0;
      },
      "may write an element of result");
  refused(sound, [](StepList &list) { list.steps[0].stages[0].kernel.roots[0].kind = RootKind::Max; }, "");
  refused(sound, [](StepList &list) { list.buffers[0].elements = 49; }, "not of one type");
  refused(sound, [](StepList &list) { list.steps[0].stages[0].kernel.domain[0] = 51; }, "touches elements 0 to 50");
  refused(sound, [](StepList &list) { list.phases.clear(); }, "is in no phase");
  refused(
      sound,
      [](StepList &list) {
        for (auto &[result, argument] : list.sameMemory)
          argument = 0;
      },
      "two results take over argument 0");
  refused(sound, [](StepList &list) { list.steps[0].stages[0].kernel.roots.pop_back(); }, "nothing writes result 1");
}

TEST_CASE("in an epilogue too, and where blocks are turned") {
  Lowered product(
      R"(func.func private @f(%x: tensor<33x60xf32>, %y: tensor<60x20xf32>, %m: tensor<33x20xf32> {hw.donate = 0 : i64}, %v: tensor<33x20xf32> {hw.donate = 1 : i64}) -> (tensor<33x20xf32>, tensor<33x20xf32>) {
    %0 = hw.dot_general %x, %y batch [] x [] contract [1] x [0] : (tensor<33x60xf32>, tensor<60x20xf32>) -> tensor<33x20xf32>
    %1 = hw.add %0, %v : tensor<33x20xf32>
    %2 = hw.mul %1, %m : tensor<33x20xf32>
    return %1, %2 : tensor<33x20xf32>, tensor<33x20xf32>
  })");
  CHECK(product.stage(RootKind::Store, Stage::Contract).kernel.firstLoads.size() == 1);
  refused(
      product,
      [](StepList &list) {
        for (Step &step : list.steps)
          for (Stage &stage : step.stages)
            stage.kernel.firstLoads.clear();
      },
      "before it has loaded argument");
  // A factor over which the product is stored.
  refused(
      product,
      [](StepList &list) {
        for (Step &step : list.steps)
          for (Stage &stage : step.stages)
            if (stage.kind == Stage::Contract)
              stage.operands[0] = 2, stage.product.aStride[1] = 0;
      },
      "reads and writes the same memory (argument 2 and result 0)");
  Lowered turned(
      R"(func.func private @f(%a: tensor<64x64xf32> {hw.donate = 0 : i64}, %b: tensor<64x64xf32> {hw.donate = 1 : i64}, %c: tensor<64x64xf32>) -> (tensor<64x64xf32>, tensor<64x64xf32>) {
    %t = hw.transpose %c permutation [1, 0] : tensor<64x64xf32> -> tensor<64x64xf32>
    %0 = hw.add %b, %t : tensor<64x64xf32>
    %1 = hw.mul %a, %b : tensor<64x64xf32>
    return %0, %1 : tensor<64x64xf32>, tensor<64x64xf32>
  })");
  CHECK(turned.stage(RootKind::Store).kernel.schedule.blockDim >= 0);
  CHECK(turned.stage(RootKind::Store).kernel.firstLoads.size() == 1);
}

TEST_CASE("the position of a maximum does not take over what the maximum reads") {
  Lowered sound(
      R"(func.func private @f(%i: tensor<8xi32> {hw.donate = 0 : i64}, %x: tensor<8x8xf32>) -> tensor<8xi32> {
    %0 = hw.cast %i : tensor<8xi32> -> tensor<8xf32>
    %1 = hw.broadcast %0 dims [1] : tensor<8xf32> -> tensor<8x8xf32>
    %2 = hw.add %x, %1 : tensor<8x8xf32>
    %3, %4 = hw.reduce_max %2 dim 1 : tensor<8x8xf32> -> tensor<8xf32>, tensor<8xi32>
    return %4 : tensor<8xi32>
  })");
  refused(
      sound,
      [](StepList &list) { // as it was
        for (Step &step : list.steps)
          for (Stage &stage : step.stages)
            if (stage.kernel.has(RootKind::Max))
              for (auto [number, buffer] : llvm::enumerate(list.buffers))
                if (buffer.place == Buffer::Result)
                  stage.kernel.buffers[stage.kernel.roots[0].indexBuffer] = int(number);
        llvm::erase_if(list.steps, [](const Step &step) { return step.kind == Step::Copy; });
        list.phases = {};
        for (unsigned step = 0; step < list.steps.size(); ++step)
          list.phases.push_back({step});
      },
      "reads and writes the same memory (argument 0 and result 0)");
}

TEST_CASE("steps that touch the same memory run one after the other") {
  // The argument is read as it lies and turned: what stores over it waits for the other.
  Lowered sound(
      R"(func.func private @f(%w: tensor<60x60xf32> {hw.donate = 0 : i64}, %x: tensor<33x60xf32>) -> (tensor<60x60xf32>, tensor<33x60xf32>) {
    %0 = hw.exp %w : tensor<60x60xf32>
    %2 = hw.dot_general %x, %w batch [] x [] contract [1] x [1] : (tensor<33x60xf32>, tensor<60x60xf32>) -> tensor<33x60xf32>
    return %0, %2 : tensor<60x60xf32>, tensor<33x60xf32>
  })");
  REQUIRE(sound.list.phases.size() > 1);
  refused(
      sound,
      [](StepList &list) {
        SmallVector<unsigned> all;
        for (auto &phase : list.phases)
          all.append(phase.begin(), phase.end());
        list.phases = {all};
      },
      "does not end before the other begins");
  refused(
      sound,
      [](StepList &list) {
        std::reverse(list.steps.begin(), list.steps.end());
        std::reverse(list.phases.begin(), list.phases.end());
        for (auto &phase : list.phases)
          for (unsigned &number : phase)
            number = unsigned(list.steps.size()) - 1 - number;
      },
      "");
  refused(sound, [](StepList &list) { list.scratch = 64; }, "lies outside of the scratch");
  // A value that is swapped with another.
  Lowered swapped(
      R"(func.func private @f(%a: tensor<50xf32> {hw.donate = 0 : i64}, %b: tensor<50xf32> {hw.donate = 1 : i64}) -> (tensor<50xf32>, tensor<50xf32>) {
    return %b, %a : tensor<50xf32>, tensor<50xf32>
  })");
  refused(
      swapped,
      [](StepList &list) { // straight, without the copies aside
        list.steps.erase(list.steps.begin(), list.steps.begin() + 2);
        list.phases = {{0}, {1}};
        list.steps[0].inputs[0] = 1;
        list.steps[1].inputs[0] = 0;
      },
      "after step 0 (copy) has stored result 0 over it");
  // A call of the runtime in place.
  Lowered library(R"(func.func private @f(%a: tensor<9x9xf64> {hw.donate = 0 : i64}) -> tensor<9x9xf64> {
    %0 = hw.cholesky %a : tensor<9x9xf64>
    return %0 : tensor<9x9xf64>
  })");
  refused(
      library,
      [](StepList &list) {
        list.steps.erase(list.steps.begin() + 1, list.steps.end());
        list.phases = {{0}};
        for (auto [number, buffer] : llvm::enumerate(list.buffers))
          if (buffer.place == Buffer::Result)
            list.steps[0].outputs[0] = int(number);
      },
      "which are the same memory");
}

TEST_CASE("scratch is shared by what does not live at the same time") {
  Lowered sound(
      R"(func.func private @f(%x: tensor<40x30xf64>, %y: tensor<30x20xf64>, %z: tensor<20x10xf64>) -> tensor<40x10xf64> {
    %0 = hw.dot_general %x, %y batch [] x [] contract [1] x [0] : (tensor<40x30xf64>, tensor<30x20xf64>) -> tensor<40x20xf64>
    %1 = hw.tanh %0 : tensor<40x20xf64>
    %2 = hw.dot_general %1, %z batch [] x [] contract [1] x [0] : (tensor<40x20xf64>, tensor<20x10xf64>) -> tensor<40x10xf64>
    %3 = hw.tanh %2 : tensor<40x10xf64>
    %4 = hw.dot_general %1, %1 batch [] x [] contract [1] x [1] : (tensor<40x20xf64>, tensor<40x20xf64>) -> tensor<40x40xf64>
    %5 = hw.dot_general %4, %3 batch [] x [] contract [1] x [0] : (tensor<40x40xf64>, tensor<40x10xf64>) -> tensor<40x10xf64>
    return %5 : tensor<40x10xf64>
  })");
  refused(
      sound,
      [](StepList &list) {
        for (Buffer &buffer : list.buffers)
          buffer.offset = 0;
      },
      "are in use at the same time in the same place of the scratch");
  refused(
      sound,
      [](StepList &list) { // reads what nothing has written
        for (Step &step : list.steps)
          for (Stage &stage : step.stages)
            for (int &operand : stage.operands)
              if (list.buffers[size_t(operand)].place == Buffer::Scratch)
                operand = list.addScratch(DType::F64, 4000);
      },
      "before anything has written it");
}

namespace {
/// Forward and backward through two layers with 2000 rows.
const char *const layers =
    R"(func.func private @f(%x: tensor<2000x8xf32>, %w: tensor<16x8xf32> {hw.donate = 0 : i64}, %v: tensor<4x16xf32> {hw.donate = 1 : i64}, %s: tensor<2000x4xf32> {hw.donate = 2 : i64}) -> (tensor<16x8xf32>, tensor<4x16xf32>, tensor<2000x4xf32>, tensor<4xf32>) {
    %0 = hw.dot_general %x, %w batch [] x [] contract [1] x [1] : (tensor<2000x8xf32>, tensor<16x8xf32>) -> tensor<2000x16xf32>
    %1 = hw.tanh %0 : tensor<2000x16xf32>
    %2 = hw.dot_general %1, %v batch [] x [] contract [1] x [1] : (tensor<2000x16xf32>, tensor<4x16xf32>) -> tensor<2000x4xf32>
    %3 = hw.sub %2, %s : tensor<2000x4xf32>
    %4 = hw.reduce_sum %3 dims [0] : tensor<2000x4xf32> -> tensor<4xf32>
    %5 = hw.dot_general %3, %1 batch [] x [] contract [0] x [0] : (tensor<2000x4xf32>, tensor<2000x16xf32>) -> tensor<4x16xf32>
    %6 = hw.sub %v, %5 : tensor<4x16xf32>
    %7 = hw.dot_general %3, %v batch [] x [] contract [1] x [0] : (tensor<2000x4xf32>, tensor<4x16xf32>) -> tensor<2000x16xf32>
    %8 = hw.mul %7, %1 : tensor<2000x16xf32>
    %9 = hw.dot_general %8, %x batch [] x [] contract [0] x [0] : (tensor<2000x16xf32>, tensor<2000x8xf32>) -> tensor<16x8xf32>
    %10 = hw.sub %w, %9 : tensor<16x8xf32>
    %11 = hw.mul %2, %s : tensor<2000x4xf32>
    return %10, %6, %11, %4 : tensor<16x8xf32>, tensor<4x16xf32>, tensor<2000x4xf32>, tensor<4xf32>
  })";
} // namespace

TEST_CASE("stages of a region pass rows on, and tasks have sums of their own") {
  Lowered sound(layers);
  unsigned number = unsigned(&sound.region() - sound.list.steps.data());
  auto regionOf = [&](StepList &list) -> Step & { return list.steps[number]; };
  REQUIRE(sound.region().tasks() > 1);
  REQUIRE(!sound.region().partials.empty());
  auto locals = [](StepList &list) {
    SmallVector<int> locals;
    for (auto [number, buffer] : llvm::enumerate(list.buffers))
      if (buffer.place == Buffer::Local)
        locals.push_back(int(number));
    return locals;
  };
  REQUIRE(locals(sound.list).size() > 1);
  refused(
      sound,
      [&](StepList &list) {
        for (int local : locals(list))
          list.buffers[size_t(local)].offset = 0;
      },
      "in the same place of the scratch of a thread");
  refused(
      sound, [&](StepList &list) { list.buffers[size_t(locals(list)[0])].rowElements += 1; },
      "elsewhere than in its row");
  // Sums.
  refused(sound, [&](StepList &list) { regionOf(list).partials.clear(); }, "all tasks sum into");
  refused(
      sound,
      [&](StepList &list) {
        for (Step::Partial &partial : regionOf(list).partials)
          partial.elements += 1;
      },
      "has no part for each task");
  refused(
      sound,
      [&](StepList &list) {
        Step &region = regionOf(list);
        region.tile = region.chunk / 2;
        for (Stage &stage : region.stages)
          stage.kernel.schedule.accumulates = false;
      },
      "");
  refused(
      sound,
      [&](StepList &list) {
        for (Step::Partial &partial : regionOf(list).partials)
          partial.startsAtZero = false;
        for (Stage &stage : regionOf(list).stages)
          stage.kernel.schedule.accumulates = true;
      },
      "adds to what is in");
  refused(sound, [&](StepList &list) { regionOf(list).extent = 1999; }, "");
  refused(sound, [&](StepList &list) { regionOf(list).tile = regionOf(list).chunk - 1; }, "tiles do not fill tasks");
  // A stage that reads another row of what is stored over: the argument's rows 1 to 1999 and 0, say.
  refused(
      sound,
      [&](StepList &list) {
        for (Stage &stage : regionOf(list).stages)
          for (Node &node : stage.kernel.nodes)
            if (node.op == Opcode::Load && stage.kernel.buffers[node.buffer] == 3 &&
                stage.kernel.schedule.rangeDim >= 0) {
              int range = stage.kernel.schedule.rangeDim;
              node.index.coefficients[range] *= -1;
              node.index.constant -= node.index.coefficients[range] * 1999;
            } else if (node.op == Opcode::Load && stage.kernel.buffers[node.buffer] == 3) {
              node.index.coefficients[0] *= -1;
              node.index.constant -= node.index.coefficients[0] * 1999;
            }
      },
      "");
  // What a later stage still reads.
  refused(
      sound,
      [&](StepList &list) {
        std::vector<Stage> &stages = regionOf(list).stages;
        std::reverse(stages.begin(), stages.end());
      },
      "");
}

TEST_CASE("a task's part is set to zero before anything reads its memory") {
  // One task and one tile sum into the result itself, unless that is an argument which a stage reads.
  Lowered sound(
      R"(func.func private @f(%x: tensor<40x60xf32>, %y: tensor<60x20xf32>, %m: tensor<20xf32>) -> (tensor<20xf32>, tensor<40x20xf32>) {
    %0 = hw.dot_general %x, %y batch [] x [] contract [1] x [0] : (tensor<40x60xf32>, tensor<60x20xf32>) -> tensor<40x20xf32>
    %1 = hw.broadcast %m dims [1] : tensor<20xf32> -> tensor<40x20xf32>
    %2 = hw.mul %0, %1 : tensor<40x20xf32>
    %3 = hw.reduce_sum %2 dims [0] : tensor<40x20xf32> -> tensor<20xf32>
    return %3, %2 : tensor<20xf32>, tensor<40x20xf32>
  })");
  REQUIRE(!sound.list.steps[0].partials.empty());
  int result = sound.list.steps[0].partials[0].buffer;
  refused(sound, [&](StepList &list) { list.sameMemory[result] = 2; }, "");
  refused(sound, [&](StepList &list) { list.steps[0].partials.clear(); }, "adds to what is in");
}

TEST_CASE("parts of one result do not lie over each other, and scattered sums have a task each") {
  Lowered parts(
      R"(func.func private @f(%a: tensor<6x5xf32>, %b: tensor<6x5xf32>, %c: tensor<6x3xf32>) -> tensor<6x13xf32> {
    %0 = hw.exp %a : tensor<6x5xf32>
    %1 = hw.concat %0, %b, %c dim 1 : (tensor<6x5xf32>, tensor<6x5xf32>, tensor<6x3xf32>) -> tensor<6x13xf32>
    return %1 : tensor<6x13xf32>
  })");
  refused(
      parts,
      [](StepList &list) {
        for (Step &step : list.steps)
          for (Stage &stage : step.stages)
            for (Root &root : stage.kernel.roots)
              root.address.constant = 4;
      },
      "");
  Lowered scattered(
      R"(func.func private @f(%at: tensor<60xi32>, %x: tensor<60x4xf32>) -> tensor<7x4xf32> {
    %0 = hw.scatter_add %x at %at : (tensor<60x4xf32>, tensor<60xi32>) -> tensor<7x4xf32>
    return %0 : tensor<7x4xf32>
  })");
  refused(
      scattered,
      [](StepList &list) {
        for (Step &step : list.steps)
          if (!step.stages.empty() && step.stages[0].kernel.has(RootKind::Scatter)) {
            step.extent = 60, step.chunk = step.tile = 30;
            step.stages[0].kernel.schedule.rangeDim = 0;
          }
      },
      "at two points");
  refused(
      scattered,
      [](StepList &list) {
        for (Step &step : list.steps)
          for (Stage &stage : step.stages)
            for (Node &node : stage.kernel.nodes)
              if (node.op == Opcode::Clamp)
                node.bits = 7;
      },
      "touches elements 0 to 31");
  refused(
      scattered, // not set to zero first
      [](StepList &list) {
        unsigned fill = 0;
        while (list.steps[fill].kind != Step::Fill)
          ++fill;
        list.phases.push_back({fill});
        for (auto &phase : list.phases)
          if (&phase != &list.phases.back())
            llvm::erase(phase, fill);
      },
      "does not end before the other begins");
}

TEST_CASE("a map's groups are parts of what is outside") {
  Lowered sound(
      R"(func.func private @f(%x: tensor<256x1x28x28xf32>, %w: tensor<32x1x3x3xf32> {hw.donate = 0 : i64}, %c: tensor<256x32x26x26xf32>) -> tensor<32x1x3x3xf32> {
    %y = hw.conv %x, %w stride [1, 1] pad [0, 0] [0, 0] dilation [1, 1] groups 1 : (tensor<256x1x28x28xf32>, tensor<32x1x3x3xf32>) -> tensor<256x32x26x26xf32>
    %z = hw.tanh %y : tensor<256x32x26x26xf32>
    %d = hw.mul %z, %c : tensor<256x32x26x26xf32>
    %g = hw.conv_backward_weights %x, %d stride [1, 1] pad [0, 0] [0, 0] dilation [1, 1] groups 1 : (tensor<256x1x28x28xf32>, tensor<256x32x26x26xf32>) -> tensor<32x1x3x3xf32>
    %n = hw.sub %w, %g : tensor<32x1x3x3xf32>
    return %n : tensor<32x1x3x3xf32>
  })",
      Products::Generated);
  Step &map = sound.step([](const Step &step) { return step.kind == Step::Map; });
  unsigned number = unsigned(&map - sound.list.steps.data());
  refused(
      sound, [&](StepList &list) { list.steps[number].mapped[0] = !list.steps[number].mapped[0]; },
      "are not parts of those outside");
  refused(sound, [&](StepList &list) { list.threadScratch = 64; }, "more scratch than a thread has");
  refused(sound, [&](StepList &list) { list.steps[number].outputs[0] = list.steps[number].inputs[0]; }, "");
  refused(
      sound,
      [&](StepList &list) { // in the body
        auto body = std::make_shared<StepList>(*list.steps[number].body);
        std::reverse(body->phases.begin(), body->phases.end());
        list.steps[number].body = body;
      },
      "does not end before the other begins");
}

//===-- Plans -----------------------------------------------------------------------------------------------------===//

namespace {

struct Planned {
  OwningOpRef<ModuleOp> module;
  std::string plan;

  explicit Planned(const std::string &text) : module(parseSourceString<ModuleOp>(text, &context())) {
    REQUIRE(module);
    PlanInput input{"test", "f32", false, {}, {}, 0};
    for (func::FuncOp function : module->getOps<func::FuncOp>())
      if (function.getName() != "study")
        input.entries[function.getName()] = unsigned(input.entries.size());
    auto made = makePlan(*module, input);
    REQUIRE(made);
    plan = made->json;
  }
  void sound() const {
    auto wrong = verifyPlan(*module, plan);
    CHECK_MESSAGE(!wrong, wrong.value_or(""));
  }
  /// That the plan is refused once the text stands for the other.
  template <class Spoil> void refused(Spoil spoil, const std::string &words) const {
    auto parsed = llvm::json::parse(plan);
    REQUIRE(bool(parsed));
    spoil(*parsed->getAsObject());
    std::string text;
    llvm::raw_string_ostream(text) << *parsed;
    INFO(text);
    auto wrong = verifyPlan(*module, text);
    REQUIRE_MESSAGE(wrong, "accepted; expected: ", words);
    CHECK_MESSAGE(wrong->find(words) != std::string::npos, *wrong);
  }
};

llvm::json::Object &node(llvm::json::Array &body, llvm::StringRef op, size_t which = 0) {
  for (llvm::json::Value &value : body)
    if (value.getAsObject()->getString("op") == op && which-- == 0)
      return *value.getAsObject();
  FAIL("no node ", op.str());
  return *body[0].getAsObject();
}

const char *const functions =
    R"(func.func private @init() -> (tensor<3xf32>, tensor<3xf32>, tensor<f64>) {
    %0 = hw.constant dense<1.0> : tensor<3xf32>
    %1 = hw.constant dense<2.0> : tensor<3xf32>
    %2 = hw.constant dense<3.0> : tensor<f64>
    return %0, %1, %2 : tensor<3xf32>, tensor<3xf32>, tensor<f64>
  }
  func.func private @turn(%a: tensor<3xf32> $donate, %b: tensor<3xf32>) -> tensor<3xf32> {
    %0 = hw.add %a, %b : tensor<3xf32>
    return %0 : tensor<3xf32>
  }
  )";
std::string withFunctions(std::string donation, const std::string &study) {
  std::string text = functions;
  text.replace(text.find("$donate"), 7, donation);
  return text + study;
}

} // namespace

TEST_CASE("plan: carried values are swapped, and what took over an argument's slot is not read as the argument") {
  const std::string swap = R"(func.func @study() {
    %0:3 = func.call @init() : () -> (tensor<3xf32>, tensor<3xf32>, tensor<f64>)
    %r:2 = "study.for"(%0#2, %0#2, %0#0, %0#1) <{variable = "i"}> ({
    ^bb0(%i: tensor<f64>, %a: tensor<3xf32>, %b: tensor<3xf32>):
      $inside
    }) : (tensor<f64>, tensor<f64>, tensor<3xf32>, tensor<3xf32>) -> (tensor<3xf32>, tensor<3xf32>)
    "study.save"(%r#0) <{name = "a", format = "npy", names = ["a"], loop_names = [], table = "", column = ""}> : (tensor<3xf32>) -> ()
    return
  })";
  auto inside = [&](const std::string &text) {
    std::string all = swap;
    return all.replace(all.find("$inside"), 7, text);
  };
  Planned swapped(withFunctions("", inside("study.yield %b, %a : tensor<3xf32>, tensor<3xf32>")));
  swapped.sound();
  auto loopBody = [](llvm::json::Object &plan) -> llvm::json::Array & {
    return *node(*plan.getArray("body"), "for").getArray("body");
  };
  swapped.refused([&](llvm::json::Object &plan) { loopBody(plan).erase(loopBody(plan).begin()); }, "");
  swapped.refused([&](llvm::json::Object &plan) { std::swap(loopBody(plan)[0], loopBody(plan)[1]); }, "");
  swapped.refused(
      [&](llvm::json::Object &plan) {
        for (llvm::json::Value &slot : *plan.getArray("slots"))
          (*slot.getAsObject())["offset"] = 0;
      },
      "");
  const std::string called = "%n = func.call @turn(%a, %b) : (tensor<3xf32>, tensor<3xf32>) -> tensor<3xf32>\n";
  Planned donated(
      withFunctions("{hw.donate = 0 : i64}", inside(called + "study.yield %n, %b : tensor<3xf32>, tensor<3xf32>")));
  donated.sound();
  donated.refused(
      [&](llvm::json::Object &plan) {
        (*node(loopBody(plan), "call").getArray("args"))[0] = (*node(loopBody(plan), "call").getArray("args"))[1];
      },
      "");
  // Given away though it is wanted later.
  Planned wanted(
      withFunctions("{hw.donate = 0 : i64}", inside(called + "study.yield %n, %a : tensor<3xf32>, tensor<3xf32>")));
  auto wrong = verifyPlan(*wanted.module, wanted.plan);
  REQUIRE(wrong);
  CHECK(wrong->find("reads slot") != std::string::npos);
  // Or by a value outside, which the next turn reads.
  Planned outer(
      withFunctions("{hw.donate = 0 : i64}",
                    inside("%n = func.call @turn(%0#0, %b) : (tensor<3xf32>, tensor<3xf32>) -> tensor<3xf32>\n"
                           "study.yield %n, %b : tensor<3xf32>, tensor<3xf32>")));
  CHECK(verifyPlan(*outer.module, outer.plan));
}

TEST_CASE("plan: a training's loss is what it was before the update") {
  Planned sound(R"(func.func private @init() -> (tensor<f32>, tensor<f64>) {
    %0 = hw.constant dense<1.0> : tensor<f32>
    %1 = hw.constant dense<3.0> : tensor<f64>
    return %0, %1 : tensor<f32>, tensor<f64>
  }
  func.func private @step(%w: tensor<f32>) -> tensor<f32> {
    %0 = hw.add %w, %w : tensor<f32>
    return %0 : tensor<f32>
  }
  func.func @study() {
    %0:2 = func.call @init() : () -> (tensor<f32>, tensor<f64>)
    %end = "study.train"(%0#1, %0#0, %0#1) <{operandSegmentSizes = array<i32: 1, 1, 1>, rows = 1 : i64, batch = 0 : i64,
        ordered = false, unit = "steps", label = "fit", carried_names = ["w"], carried_roles = ["weight"],
        every_period = array<i64: 1>, every_unit = ["steps"]}> ({
    ^bb0(%epoch: tensor<f64>, %step: tensor<f64>, %w: tensor<f32>):
      %n = func.call @step(%w) : (tensor<f32>) -> tensor<f32>
      study.yield %n, %w : tensor<f32>, tensor<f32>
    }, {}, {
    ^bb0(%epoch: tensor<f64>, %step: tensor<f64>, %w: tensor<f32>):
      study.yield %w : tensor<f32>
    }) : (tensor<f64>, tensor<f32>, tensor<f64>) -> tensor<f32>
    return
  })");
  sound.sound();
  auto train = [](llvm::json::Object &plan) -> llvm::json::Object & { return node(*plan.getArray("body"), "train"); };
  sound.refused( // as it was
      [&](llvm::json::Object &plan) {
        train(plan)["loss"] = *(*train(plan).getArray("carried"))[0].getAsObject()->getInteger("slot");
      },
      "reads slot");
  sound.refused([&](llvm::json::Object &plan) { train(plan)["count"] = train(plan)["epoch"]; }, "reads slot");
}

TEST_CASE("plan: results of batches stay, and turns that may run at the same time write what is theirs") {
  Planned sound(R"(func.func private @init() -> tensor<f64> {
    %0 = hw.constant dense<3.0> : tensor<f64>
    return %0 : tensor<f64>
  }
  func.func private @part(%rows: tensor<2xi32>) -> tensor<2xf32> {
    %0 = hw.cast %rows : tensor<2xi32> -> tensor<2xf32>
    return %0 : tensor<2xf32>
  }
  func.func @study() {
    %0 = func.call @init() : () -> tensor<f64>
    "study.for"(%0, %0) <{variable = "i", independent}> ({
    ^bb0(%i: tensor<f64>):
      %all:2 = "study.batches"() <{rows = 8 : i64, batch = 2 : i64, combine = ["concat", "concat"]}> ({
      ^bb1(%rows: tensor<2xi32>):
        %part = func.call @part(%rows) : (tensor<2xi32>) -> tensor<2xf32>
        study.yield %part, %rows : tensor<2xf32>, tensor<2xi32>
      }, {}) : () -> (tensor<8xf32>, tensor<8xi32>)
      "study.save"(%all#0) <{name = "a", format = "npy", names = ["a"], loop_names = [], table = "", column = ""}> : (tensor<8xf32>) -> ()
      study.yield
    }) : (tensor<f64>, tensor<f64>) -> ()
    return
  })");
  sound.sound();
  auto loop = [](llvm::json::Object &plan) -> llvm::json::Object & { return node(*plan.getArray("body"), "for"); };
  auto batches = [&](llvm::json::Object &plan) -> llvm::json::Object & {
    return node(*loop(plan).getArray("body"), "batches");
  };
  sound.refused(
      [&](llvm::json::Object &plan) {
        (*loop(plan).getArray("own"))[1] = *(*loop(plan).getArray("own"))[0].getAsInteger() + 1;
      },
      "which is not their own");
  sound.refused( // the result in its part's slot
      [&](llvm::json::Object &plan) {
        llvm::json::Object &result = *(*batches(plan).getArray("results"))[0].getAsObject();
        llvm::json::Array &slots = *plan.getArray("slots");
        (*slots[size_t(*result.getInteger("slot"))].getAsObject())["offset"] =
            *slots[size_t(*result.getInteger("from"))].getAsObject()->getInteger("offset");
      },
      "reads slot");
}
