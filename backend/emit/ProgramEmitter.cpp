// The entry functions: each step a call of its kernel, of oneDNN or of the runtime; and the descriptor.
#include "backend/emit/ProgramEmitter.h"
#include "backend/dialect/ConvolutionCall.h"
#include "backend/emit/Contraction.h"
#include "ir/Location.h"
#include "llvm/IR/Intrinsics.h"

using namespace hw;
using namespace hw::backend;
using llvm::ArrayRef;
using llvm::SmallVector;

ProgramEmitter::ProgramEmitter(llvm::LLVMContext &context, const Target &target, bool marks)
    : target(target), marks(marks), module(std::make_unique<llvm::Module>("hw", context)) {}

llvm::Constant *ProgramEmitter::constantData(mlir::Value value) {
  auto elements = llvm::cast<mlir::ElementsAttr>(value.getDefiningOp<ConstantOp>().getValue());
  DType type = dtypeOf(elementOf(value));
  std::string bytes;
  auto append = [&](const void *data, size_t size) { bytes.append(static_cast<const char *>(data), size); };
  if (isFloat(type)) {
    for (llvm::APFloat number : elements.getValues<llvm::APFloat>()) {
      uint64_t bits = number.bitcastToAPInt().getZExtValue();
      append(&bits, bytesOf(type));
    }
  } else {
    for (const llvm::APInt &number : elements.getValues<llvm::APInt>()) {
      uint64_t bits = number.getZExtValue();
      append(&bits, bytesOf(type));
    }
  }
  auto *data = llvm::ConstantDataArray::getString(module->getContext(), bytes, false);
  auto *global =
      new llvm::GlobalVariable(*module, data->getType(), true, llvm::GlobalValue::InternalLinkage, data, "constant");
  global->setAlignment(llvm::Align(64));
  return global;
}

llvm::Function *ProgramEmitter::kernelFor(const Stage &stage, llvm::StringRef name) {
  std::string key = stage.kernel.print();
  const Product &p = stage.product;
  if (stage.kind == Stage::Contract) {
    llvm::raw_string_ostream os(key);
    os << stage.tiling.print() << " product " << int(p.type) << " " << p.batch << " " << p.m << " " << p.n << " " << p.k
       << " " << p.aOffset << " " << p.bOffset;
    for (int i = 0; i < 3; ++i)
      os << " " << p.aStride[i] << " " << p.bStride[i];
    os << " " << p.batchDim << " " << p.mDim << " " << p.nDim;
  }
  llvm::Function *&function = kernels[key];
  if (!function)
    function = stage.kind == Stage::Contract ? emitContraction(*module, target, p, stage.kernel, stage.tiling, name)
                                             : emitKernel(*module, target, stage.kernel, name);
  return function;
}

/// void check(ptr data, i64 count, i32 ordinal, ptr flag): where a number of data is not finite and flag is -1, flag
/// becomes the ordinal.
llvm::Function *ProgramEmitter::checkFunction(DType type) {
  std::string name = std::string("check.") + nameOf(type);
  if (llvm::Function *known = module->getFunction(name))
    return known;
  Builder b(module->getContext());
  auto *signature =
      llvm::FunctionType::get(b.getVoidTy(), {b.getPtrTy(), b.getInt64Ty(), b.getInt32Ty(), b.getPtrTy()}, false);
  auto *function = llvm::Function::Create(signature, llvm::Function::InternalLinkage, name, *module);
  setTargetAttributes(*function, target);
  b.SetInsertPoint(llvm::BasicBlock::Create(module->getContext(), "entry", function));
  // The exponent's bits are all set in infinities and NaNs.
  llvm::IntegerType *word = b.getIntNTy(bytesOf(type) * 8);
  llvm::Value *exponent = llvm::ConstantInt::get(word, type == DType::F32 ? 0x7f800000ull : 0x7ff0000000000000ull);
  Values found =
      emitLoop(b, b.getInt64(0), function->getArg(1), 1, {b.getFalse()}, [&](llvm::Value *index, Values values) {
        llvm::Value *bits = b.CreateLoad(word, b.CreateGEP(word, function->getArg(0), index));
        return Values{b.CreateOr(values[0], b.CreateICmpEQ(b.CreateAnd(bits, exponent), exponent))};
      });
  llvm::Value *before = b.CreateLoad(b.getInt32Ty(), function->getArg(3));
  llvm::Value *isFirst = b.CreateAnd(found[0], b.CreateICmpEQ(before, b.getInt32(-1)));
  b.CreateStore(b.CreateSelect(isFirst, function->getArg(2), before), function->getArg(3));
  b.CreateRetVoid();
  return function;
}

/// The number of `wanted` in the list, where it is put if it is not there.
template <class T> static unsigned numberIn(std::vector<T> &list, const T &wanted) {
  for (auto [number, each] : llvm::enumerate(list))
    if (!memcmp(&each, &wanted, sizeof wanted))
      return unsigned(number);
  list.push_back(wanted);
  return unsigned(list.size()) - 1;
}

unsigned ProgramEmitter::matmulFor(const Step &step, bool alone) {
  const Product &p = step.product;
  hw_matmul m;
  memset(&m, 0, sizeof m); // what lies between fields is compared too
  m.batch = p.batch, m.m = p.m, m.n = p.n, m.k = p.k;
  m.has_bias = step.inputs[2] >= 0, m.activation = step.activation, m.alone = alone;
  for (int i = 0; i < 3; ++i)
    m.a_stride[i] = p.aStride[i], m.b_stride[i] = p.bStride[i];
  m.c_stride[0] = p.m * p.n, m.c_stride[1] = p.n, m.c_stride[2] = 1;
  return numberIn(matmuls, m);
}

unsigned ProgramEmitter::convolutionFor(ConvolutionOp op, bool alone) {
  hw_convolution c = convolutionOf(op);
  c.alone = alone;
  return numberIn(convolutions, c);
}

/// An entry function. Phases of generated steps that follow each other are one call of hw_parallel; calls of oneDNN and
/// of the runtime stand between them. Or the body of a map, which is one function that a thread runs by itself.
class ProgramEmitter::FunctionEmitter {
public:
  FunctionEmitter(ProgramEmitter &program, llvm::StringRef name, const StepList &list)
      : program(program), list(list), name(name.str()), module(*program.module), b(module.getContext()) {
    for (const Buffer &buffer : list.buffers)
      arguments += buffer.place == Buffer::Argument;
  }

  Entry run() {
    auto *pointer = b.getPtrTy();
    auto *type = llvm::FunctionType::get(b.getVoidTy(), {pointer, pointer}, false);
    entry = llvm::Function::Create(type, llvm::Function::InternalLinkage, name, module);
    setTargetAttributes(*entry, program.target);
    b.SetInsertPoint(llvm::BasicBlock::Create(module.getContext(), "entry", entry));
    llvm::Value *frame = b.CreateAlloca(pointer, b.getInt64(2));
    b.CreateStore(entry->getArg(0), frame);
    b.CreateStore(entry->getArg(1), b.CreateConstGEP1_64(pointer, frame, 1));
    SmallVector<SmallVector<unsigned>> pending;
    for (const auto &phase : list.phases) {
      SmallVector<unsigned> steps, calls;
      for (unsigned number : phase)
        (list.steps[number].isCall() ? calls : steps).push_back(number);
      if (!steps.empty())
        pending.push_back(steps);
      if (calls.empty())
        continue;
      launch(pending, frame);
      for (unsigned number : calls)
        emitCall(number);
    }
    launch(pending, frame);
    b.CreateRetVoid();
    return {name, uint64_t(list.scratch), uint64_t(list.threadScratch), list.flops, list.bytes, std::move(marks),
            entry};
  }

  /// An hw_task (its number means nothing) that runs all steps, with the scratch that the frame names to itself. Its
  /// marks, which happen `times` in a call of the entry, go behind `marks`.
  llvm::Function *runAlone(std::vector<Entry::Mark> &ofEntry, double times) {
    isAlone = true;
    marks = std::move(ofEntry);
    size_t before = marks.size();
    SmallVector<unsigned> order;
    for (const auto &phase : list.phases)
      order.append(phase.begin(), phase.end());
    llvm::Function *function = emitAlone(order);
    for (Entry::Mark &mark : llvm::drop_begin(marks, before))
      mark.flops *= times, mark.bytes *= times;
    ofEntry = std::move(marks);
    return function;
  }

private:
  //===-- Phases --------------------------------------------------------------------------------------------------===//

  void launch(SmallVector<SmallVector<unsigned>> &phases, llvm::Value *frame) {
    if (phases.empty())
      return;
    SmallVector<unsigned> steps;
    for (const auto &phase : phases)
      steps.append(phase.begin(), phase.end());
    if (llvm::none_of(steps, [&](unsigned number) { return list.steps[number].isParallel(); })) { // too little to share
      b.CreateCall(emitAlone(steps), {frame, b.getInt64(0), b.getInt64(0)});
      phases.clear();
      return;
    }
    SmallVector<std::pair<llvm::Function *, int64_t>> functions;
    for (const auto &phase : phases) {
      SmallVector<std::pair<unsigned, int64_t>> tasks = inBlocks(phase);
      functions.push_back({emitPhase(tasks), int64_t(tasks.size())});
    }
    phases.clear();
    auto *type = llvm::StructType::get(module.getContext(), {b.getPtrTy(), b.getInt64Ty()});
    SmallVector<llvm::Constant *> table;
    for (auto [function, tasks] : functions)
      table.push_back(llvm::ConstantStruct::get(type, {function, b.getInt64(tasks)}));
    auto *data = llvm::ConstantArray::get(llvm::ArrayType::get(type, table.size()), table);
    auto *global = new llvm::GlobalVariable(module, data->getType(), true, llvm::GlobalValue::InternalLinkage, data,
                                            name + ".phases");
    call("hw_parallel", {global, b.getInt64(int64_t(table.size())), frame});
  }

  /// The phase's tasks, (step, number), so that a block of neighbours has the same share of every step: what a thread
  /// wrote in one phase it then finds in its cache in the next.
  SmallVector<std::pair<unsigned, int64_t>> inBlocks(ArrayRef<unsigned> phase) {
    SmallVector<std::tuple<double, unsigned, int64_t>> order;
    double single = 0,
           singles = double(llvm::count_if(phase, [&](unsigned step) { return !list.steps[step].isParallel(); }));
    for (unsigned number : phase) {
      const Step &step = list.steps[number];
      if (!step.isParallel())
        order.push_back({(single++ + 0.5) / singles, number, 0});
      else
        for (int64_t task = 0; task < step.tasks(); ++task)
          order.push_back({(double(task) + 0.5) / double(step.tasks()), number, task});
    }
    llvm::sort(order);
    SmallVector<std::pair<unsigned, int64_t>> tasks;
    for (auto [share, number, task] : order)
      tasks.push_back({number, task});
    return tasks;
  }

  /// Starts an hw_task, `void phase(ptr frame, i64 task, i64 thread)`, that runs the steps; the frame holds the
  /// addresses of arguments and scratch.
  llvm::Function *begin(ArrayRef<unsigned> steps) {
    auto *type = llvm::FunctionType::get(b.getVoidTy(), {b.getPtrTy(), b.getInt64Ty(), b.getInt64Ty()}, false);
    auto *function = llvm::Function::Create(type, llvm::Function::InternalLinkage, name + ".phase", module);
    setTargetAttributes(*function, program.target);
    b.SetInsertPoint(llvm::BasicBlock::Create(module.getContext(), "entry", function));
    auto at = [&](unsigned slot) {
      return b.CreateLoad(b.getPtrTy(), b.CreateConstGEP1_64(b.getPtrTy(), function->getArg(0), slot));
    };
    llvm::Value *args = at(0);
    scratch = at(1);
    thread = function->getArg(2);
    llvm::SmallSetVector<int, 16> used;
    size_t widest = 1;
    for (unsigned number : steps)
      widest = std::max(widest, noteBuffers(list.steps[number], used));
    kernelFrame = b.CreateAlloca(b.getPtrTy(), b.getInt64(widest));
    addresses.clear();
    for (int buffer : used)
      addresses[buffer] = addressOf(list.buffers[buffer], args);
    return function;
  }

  /// How many steps one function holds, and of how many buffers these read and write the addresses, unless one step has
  /// more: LLVM's time grows faster than the size of a function.
  static constexpr size_t mostSteps = 32, mostBuffers = 512;

  /// How many of the steps go into one function.
  size_t stepsInOne(ArrayRef<unsigned> steps) {
    size_t buffers = 0, count = 0;
    for (; count < std::min(steps.size(), mostSteps); ++count) {
      const Step &step = list.steps[steps[count]];
      buffers += step.inputs.size() + step.outputs.size();
      for (const Stage &stage : step.stages)
        buffers += stage.kernel.buffers.size() + stage.operands.size();
      if (count && buffers > mostBuffers)
        break;
    }
    return count;
  }

  /// All steps in a row, those of a long row in functions that are called one after the other.
  llvm::Function *emitAlone(ArrayRef<unsigned> steps) {
    llvm::IRBuilderBase::InsertPointGuard guard(b);
    if (stepsInOne(steps) == steps.size()) {
      llvm::Function *function = begin(steps);
      for (unsigned number : steps)
        emitStep(number, b.getInt64(0));
      b.CreateRetVoid();
      return function;
    }
    llvm::Function *function = begin({});
    while (!steps.empty()) {
      size_t count = stepsInOne(steps);
      callTask(emitAlone(steps.take_front(count)), function, b.getInt64(0));
      steps = steps.drop_front(count);
    }
    b.CreateRetVoid();
    return function;
  }

  /// Inside of a task: goes on in another one, which stays a function of its own.
  void callTask(llvm::Function *task, llvm::Function *inside, llvm::Value *number) {
    task->addFnAttr(llvm::Attribute::NoInline);
    b.CreateCall(task, {inside->getArg(0), number, inside->getArg(2)});
  }

  /// A task of one step.
  llvm::Function *emitOne(unsigned number) {
    llvm::IRBuilderBase::InsertPointGuard guard(b);
    llvm::Function *function = begin(number);
    emitStep(number, function->getArg(1));
    b.CreateRetVoid();
    return function;
  }

  /// One task of a phase.
  llvm::Function *emitPhase(ArrayRef<std::pair<unsigned, int64_t>> tasks) {
    llvm::IRBuilderBase::InsertPointGuard guard(b);
    llvm::SmallSetVector<unsigned, 8> steps;
    for (auto [number, ordinal] : tasks)
      steps.insert(number);
    bool isLong = stepsInOne(steps.getArrayRef()) < steps.size();
    llvm::Function *function = begin(isLong ? ArrayRef<unsigned>() : steps.getArrayRef());
    llvm::Value *task = function->getArg(1);
    if (steps.size() == 1) {
      emitStep(steps[0], task);
      b.CreateRetVoid();
      return function;
    }
    // Which step a task belongs to, and which of its tasks it is.
    llvm::DenseMap<unsigned, uint32_t> placeOf;
    for (auto [place, number] : llvm::enumerate(steps))
      placeOf[number] = uint32_t(place);
    SmallVector<uint32_t> which, ordinals;
    for (auto [number, ordinal] : tasks) {
      which.push_back(placeOf.lookup(number));
      ordinals.push_back(uint32_t(ordinal));
    }
    auto lookUp = [&](ArrayRef<uint32_t> numbers) -> llvm::Value * {
      auto *data = llvm::ConstantDataArray::get(module.getContext(), numbers);
      auto *table = new llvm::GlobalVariable(module, data->getType(), true, llvm::GlobalValue::InternalLinkage, data,
                                             function->getName() + ".tasks");
      return b.CreateZExt(b.CreateLoad(b.getInt32Ty(), b.CreateGEP(b.getInt32Ty(), table, task)), b.getInt64Ty());
    };
    llvm::Value *step = lookUp(which), *ordinal = lookUp(ordinals);
    auto *end = llvm::BasicBlock::Create(module.getContext(), "end", function);
    auto *dispatch = b.CreateSwitch(step, end, unsigned(steps.size()));
    for (auto [place, number] : llvm::enumerate(steps)) {
      auto *block = llvm::BasicBlock::Create(module.getContext(), "step", function, end);
      dispatch->addCase(b.getInt64(place), block);
      b.SetInsertPoint(block);
      if (isLong)
        callTask(emitOne(number), function, ordinal);
      else
        emitStep(number, ordinal);
      b.CreateBr(end);
    }
    b.SetInsertPoint(end);
    b.CreateRetVoid();
    return function;
  }

  size_t noteBuffers(const Step &step, llvm::SmallSetVector<int, 16> &used) {
    size_t widest = 1;
    for (const Stage &stage : step.stages) {
      used.insert(stage.kernel.buffers.begin(), stage.kernel.buffers.end());
      used.insert(stage.operands.begin(), stage.operands.end());
      widest = std::max(widest, stage.kernel.buffers.size() + stage.operands.size());
    }
    for (const Step::Partial &partial : step.partials)
      used.insert(partial.buffer);
    for (int input : step.inputs)
      if (input >= 0)
        used.insert(input);
    used.insert(step.outputs.begin(), step.outputs.end());
    if (step.body)
      widest = std::max(widest, 2 + step.inputs.size() + 2 * step.outputs.size());
    return widest;
  }

  llvm::Value *addressOf(const Buffer &buffer, llvm::Value *args) {
    auto argument = [&](unsigned number) {
      return b.CreateLoad(b.getPtrTy(), b.CreateConstGEP1_64(b.getPtrTy(), args, number));
    };
    switch (buffer.place) {
    case Buffer::Argument:
      return argument(buffer.number);
    case Buffer::Result:
      return argument(arguments + buffer.number);
    case Buffer::Scratch:
      return b.CreateConstGEP1_64(b.getInt8Ty(), scratch, buffer.offset);
    case Buffer::Constant:
      return program.constantData(buffer.constant);
    case Buffer::Local:
      return b.CreateConstGEP1_64(b.getInt8Ty(), ownScratch(), buffer.offset);
    }
    return nullptr;
  }

  /// A group's part of an argument or result starts anywhere.
  llvm::MaybeAlign alignOf(int buffer) const {
    const Buffer &place = list.buffers[buffer];
    bool isPart = isAlone && (place.place == Buffer::Argument || place.place == Buffer::Result);
    return llvm::MaybeAlign(isPart ? bytesOf(place.type) : 64);
  }

  /// The scratch of this thread, behind that of all.
  llvm::Value *ownScratch() {
    llvm::Value *own = b.getInt64(list.sharedScratch());
    if (!isAlone)
      own = b.CreateAdd(own, b.CreateMul(thread, b.getInt64(list.threadScratch)));
    return b.CreateGEP(b.getInt8Ty(), scratch, own);
  }

  void emitStep(unsigned number, llvm::Value *task) {
    const Step &step = list.steps[number];
    if (step.kind == Step::Map)
      return emitGroups(step, task);
    if (step.kind == Step::Region)
      return emitTask(step, step.isParallel() ? task : b.getInt64(0), firstMark(step));
    unsigned mark = addMark(step.title(), step.loc, step.flops, step.bytes);
    marked(mark, [&] {
      switch (step.kind) {
      case Step::External:
        return product(step);
      case Step::Library:
        return library(step);
      case Step::Fill:
        b.CreateMemSet(addresses[step.outputs[0]], b.getInt8(step.fill),
                       uint64_t(list.buffers[step.outputs[0]].bytes()), alignOf(step.outputs[0]));
        return;
      case Step::Check: {
        const Buffer &checked = list.buffers[step.inputs[0]];
        b.CreateCall(program.checkFunction(checked.type), {addresses[step.inputs[0]], b.getInt64(checked.elements),
                                                           b.getInt32(step.ordinal), addresses[step.outputs[0]]});
        return;
      }
      default: // Copy: the places may be the same one, where an argument is returned as it came
        b.CreateMemMove(addresses[step.outputs[0]], alignOf(step.outputs[0]), addresses[step.inputs[0]],
                        alignOf(step.inputs[0]), uint64_t(list.buffers[step.outputs[0]].bytes()));
      }
    });
  }

  /// One task of a map: its body on group after group.
  void emitGroups(const Step &step, llvm::Value *task) {
    FunctionEmitter inner(program, name + ".map", *step.body);
    llvm::Function *body = inner.runAlone(marks, double(step.extent));
    llvm::Value *args = b.CreateConstGEP1_64(b.getPtrTy(), kernelFrame, 2);
    auto partOf = [&](int buffer, llvm::Value *number, int64_t parts) {
      int64_t bytes = list.buffers[buffer].bytes() / parts;
      return b.CreateGEP(b.getInt8Ty(), addresses[buffer], b.CreateMul(number, b.getInt64(bytes)));
    };
    auto put = [&](size_t slot, llvm::Value *address) {
      b.CreateStore(address, b.CreateConstGEP1_64(b.getPtrTy(), args, slot));
    };
    b.CreateStore(args, kernelFrame);
    b.CreateStore(ownScratch(), b.CreateConstGEP1_64(b.getPtrTy(), kernelFrame, 1));
    size_t sums = step.inputs.size(), results = sums + size_t(llvm::count(step.summed, true));
    for (auto [i, buffer] : llvm::enumerate(step.inputs))
      if (!step.mapped[i])
        put(i, addresses[buffer]);
    for (auto [i, buffer] : llvm::enumerate(step.outputs))
      if (step.summed[i]) {
        llvm::Value *part = partOf(buffer, task, step.tasks());
        const Buffer &sum = list.buffers[buffer];
        b.CreateMemSet(part, b.getInt8(0), uint64_t(sum.bytes() / step.tasks()), llvm::MaybeAlign(bytesOf(sum.type)));
        put(sums++, part);
        put(results + i, part);
      }
    llvm::Value *first = b.CreateMul(task, b.getInt64(step.chunk)), *extent = b.getInt64(step.extent);
    llvm::Value *end = b.CreateAdd(first, b.getInt64(step.chunk));
    end = b.CreateSelect(b.CreateICmpSLT(end, extent), end, extent);
    emitLoop(b, first, end, 1, {}, [&](llvm::Value *group, Values) {
      for (auto [i, buffer] : llvm::enumerate(step.inputs))
        if (step.mapped[i])
          put(i, partOf(buffer, group, step.extent));
      for (auto [i, buffer] : llvm::enumerate(step.outputs))
        if (!step.summed[i])
          put(results + i, partOf(buffer, group, step.extent));
      b.CreateCall(body, {kernelFrame, b.getInt64(0), thread});
      return Values{};
    });
  }

  /// One task of a region: its partial sums, then tile by tile all stages.
  void emitTask(const Step &step, llvm::Value *task, unsigned firstMark) {
    llvm::DenseMap<int, llvm::Value *> own;
    for (const Step::Partial &partial : step.partials) {
      uint64_t bytes = uint64_t(partial.elements) * bytesOf(list.buffers[partial.buffer].type);
      llvm::Value *place = addresses[partial.buffer];
      if (step.tasks() > 1)
        place = b.CreateGEP(b.getInt8Ty(), place, b.CreateMul(task, b.getInt64(int64_t(bytes))));
      own[partial.buffer] = place;
      if (partial.startsAtZero)
        b.CreateMemSet(place, b.getInt8(0), bytes, llvm::MaybeAlign(bytesOf(list.buffers[partial.buffer].type)));
    }
    auto inside = [&](llvm::Value *low, llvm::Value *high) {
      for (auto [number, stage] : llvm::enumerate(step.stages))
        marked(firstMark + unsigned(number), [&, &stage = stage] { runStage(stage, own, low, high); });
    };
    llvm::Value *low = b.CreateMul(task, b.getInt64(step.chunk), "", true, true);
    llvm::Value *high = b.CreateAdd(low, b.getInt64(step.chunk), "", true, true);
    if (step.extent % step.chunk)
      high = b.CreateBinaryIntrinsic(llvm::Intrinsic::smin, high, b.getInt64(step.extent));
    if (step.tile >= step.chunk)
      return inside(low, high);
    emitLoop(b, low, high, step.tile, {}, [&](llvm::Value *tile, Values) {
      llvm::Value *end = b.CreateAdd(tile, b.getInt64(step.tile), "", true, true);
      if (step.extent % step.tile)
        end = b.CreateBinaryIntrinsic(llvm::Intrinsic::smin, end, high);
      inside(tile, end);
      return Values();
    });
  }

  void runStage(const Stage &stage, const llvm::DenseMap<int, llvm::Value *> &own, llvm::Value *low,
                llvm::Value *high) {
    size_t slot = 0;
    auto put = [&](int number) {
      llvm::Value *address = own.lookup(number);
      if (!address)
        address = addresses[number];
      const Buffer &buffer = list.buffers[number];
      if (buffer.place == Buffer::Local) // rows are numbered as in the whole
        address = b.CreateGEP(memoryType(module.getContext(), buffer.type, 1), address,
                              b.CreateNeg(b.CreateMul(low, b.getInt64(buffer.rowElements))));
      b.CreateStore(address, b.CreateConstGEP1_64(b.getPtrTy(), kernelFrame, slot++));
    };
    for (int buffer : stage.kernel.buffers)
      put(buffer);
    for (int buffer : stage.operands)
      put(buffer);
    llvm::Function *kernel = program.kernelFor(stage, name + "." + std::to_string(kernels++));
    b.CreateCall(kernel, {kernelFrame, low, high});
  }

  //===-- Marks ---------------------------------------------------------------------------------------------------===//

  unsigned addMark(const std::string &title, mlir::Location loc, double flops, double bytes) {
    marks.push_back({title, locationText(loc), flops, bytes});
    return unsigned(marks.size()) - 1;
  }
  unsigned firstMark(const Step &step) {
    unsigned first = unsigned(marks.size());
    for (const Stage &stage : step.stages)
      addMark(stage.title(), stage.loc, stage.flops, stage.bytes);
    return first;
  }
  void marked(unsigned number, llvm::function_ref<void()> body) {
    auto mark = [&](int isEnd) {
      if (program.marks)
        call("hw_mark", {b.getInt64(int64_t(program.entries.size())), b.getInt64(number), thread, b.getInt32(isEnd)});
    };
    mark(0);
    body();
    mark(1);
  }

  //===-- Calls ---------------------------------------------------------------------------------------------------===//

  void emitCall(unsigned number) {
    thread = b.getInt64(0);
    scratch = entry->getArg(1);
    llvm::SmallSetVector<int, 16> used;
    noteBuffers(list.steps[number], used);
    addresses.clear();
    for (int buffer : used)
      addresses[buffer] = addressOf(list.buffers[buffer], entry->getArg(0));
    emitStep(number, b.getInt64(0));
  }

  llvm::Value *call(llvm::StringRef callee, llvm::ArrayRef<llvm::Value *> operands) {
    llvm::SmallVector<llvm::Type *> types;
    for (llvm::Value *operand : operands)
      types.push_back(operand->getType());
    auto function = module.getOrInsertFunction(callee, llvm::FunctionType::get(b.getVoidTy(), types, false));
    return b.CreateCall(function, operands);
  }

  void product(const Step &step) {
    llvm::Value *bias = step.inputs[2] >= 0 ? addresses[step.inputs[2]] : llvm::ConstantPointerNull::get(b.getPtrTy());
    auto shifted = [&](int buffer, int64_t offset) {
      return b.CreateConstGEP1_64(b.getFloatTy(), addresses[buffer], offset);
    };
    call("hw_run_matmul",
         {b.getInt64(program.matmulFor(step, isAlone)), thread, shifted(step.inputs[0], step.product.aOffset),
          shifted(step.inputs[1], step.product.bOffset), bias, addresses[step.outputs[0]]});
  }

  void library(const Step &step) {
    if (auto convolution = llvm::dyn_cast<ConvolutionOp>(step.op)) {
      llvm::Value *bias =
          convolution.getBias() ? addresses[step.inputs[2]] : llvm::ConstantPointerNull::get(b.getPtrTy());
      call("hw_run_convolution",
           {b.getInt64(program.convolutionFor(convolution, isAlone)), thread, addresses[step.inputs[0]],
            addresses[step.inputs[1]], bias, addresses[step.outputs[0]]});
      return;
    }
    if (auto whole = llvm::dyn_cast<WholeOp>(step.op)) {
      int32_t flags = (whole.getFromEnd() ? HW_FROM_END : 0) | (whole.getCut() ? HW_CUT : 0);
      call("hw_whole", {b.getInt32(int32_t(dtypeOf(elementOf(whole.getOperand())))), b.getInt32(flags),
                        b.getInt64(typeOf(whole.getOperand()).getNumElements()), b.getInt64(int64_t(whole.getCount())),
                        b.CreateGlobalString(whole.getWhat(), "text"), b.CreateGlobalString(whole.getOutside(), "text"),
                        b.CreateGlobalString(locationText(whole.getLoc()), "text"), addresses[step.inputs[0]],
                        addresses[step.outputs[0]]});
      return;
    }
    auto shape = shapeOf(step.op->getOperand(0));
    llvm::Value *isF64 = b.getInt32(elementOf(step.op->getOperand(0)).isF64());
    int64_t n = shape.back(), batch = 1;
    for (int64_t size : shape.drop_back(2))
      batch *= size;
    llvm::Value *first = addresses[step.inputs[0]], *out = addresses[step.outputs[0]];
    if (llvm::isa<CholeskyOp>(step.op)) {
      call("hw_cholesky", {isF64, b.getInt64(batch), b.getInt64(n), first, out});
      return;
    }
    int64_t k = shapeOf(step.op->getOperand(1)).back();
    if (auto solve = llvm::dyn_cast<TriangularSolveOp>(step.op))
      call("hw_triangular_solve", {isF64, b.getInt64(batch), b.getInt64(n), b.getInt64(k),
                                   b.getInt32(solve.getTransposed()), first, addresses[step.inputs[1]], out});
    else
      call("hw_lu_solve",
           {isF64, b.getInt64(batch), b.getInt64(n), b.getInt64(k), first, addresses[step.inputs[1]], out});
  }

  ProgramEmitter &program;
  const StepList &list;
  std::string name;
  llvm::Module &module;
  Builder b;
  llvm::Function *entry = nullptr;
  unsigned arguments = 0, kernels = 0;
  bool isAlone = false; // the body of a map
  // Of the function that is being emitted.
  llvm::Value *thread = nullptr, *scratch = nullptr, *kernelFrame = nullptr;
  llvm::DenseMap<int, llvm::Value *> addresses; // of buffers, in the function that is written
  std::vector<Entry::Mark> marks;
};

void ProgramEmitter::addFunction(llvm::StringRef name, const StepList &list, bool isRare) {
  llvm::Function *last = module->empty() ? nullptr : &module->getFunctionList().back();
  entries.push_back(FunctionEmitter(*this, name, list).run());
  if (!isRare)
    return;
  for (llvm::Function &function :
       llvm::make_range(last ? std::next(last->getIterator()) : module->begin(), module->end()))
    if (!function.isDeclaration()) {
      function.addFnAttr(llvm::Attribute::NoInline);
      function.addFnAttr(llvm::Attribute::OptimizeNone);
    }
}

void ProgramEmitter::finish(llvm::StringRef plan) {
  llvm::LLVMContext &context = module->getContext();
  Builder b(context);
  auto *pointer = b.getPtrTy();
  auto global = [&](llvm::Constant *data, const char *name) {
    return new llvm::GlobalVariable(*module, data->getType(), true, llvm::GlobalValue::InternalLinkage, data, name);
  };
  auto text = [&](llvm::StringRef string) {
    return global(llvm::ConstantDataArray::getString(context, string), "text");
  };
  auto number = [&](double value) { return llvm::ConstantFP::get(b.getDoubleTy(), value); };
  // The structs of runtime/Abi.h, field by field.
  auto *stepType = llvm::StructType::get(context, {pointer, pointer, b.getDoubleTy(), b.getDoubleTy()});
  auto *entryType = llvm::StructType::get(context, {pointer, pointer, b.getInt64Ty(), b.getInt64Ty(), b.getDoubleTy(),
                                                    b.getDoubleTy(), pointer, b.getInt64Ty()});
  llvm::SmallVector<llvm::Constant *> entryData;
  for (const Entry &entry : entries) {
    llvm::SmallVector<llvm::Constant *> steps;
    for (const Entry::Mark &step : entry.steps)
      steps.push_back(llvm::ConstantStruct::get(
          stepType, {text(step.name), text(step.location), number(step.flops), number(step.bytes)}));
    auto *stepArray = global(llvm::ConstantArray::get(llvm::ArrayType::get(stepType, steps.size()), steps), "steps");
    entryData.push_back(llvm::ConstantStruct::get(
        entryType, {text(entry.name), entry.function, b.getInt64(entry.scratch), b.getInt64(entry.threadScratch),
                    number(entry.flops), number(entry.bytes), stepArray, b.getInt64(entry.steps.size())}));
  }
  auto *three = llvm::ArrayType::get(b.getInt64Ty(), 3);
  auto *matmulType =
      llvm::StructType::get(context, {b.getInt64Ty(), b.getInt64Ty(), b.getInt64Ty(), b.getInt64Ty(), three, three,
                                      three, b.getInt32Ty(), b.getInt32Ty(), b.getInt32Ty()});
  auto threeOf = [&](const int64_t *values) {
    return llvm::ConstantArray::get(three, {b.getInt64(values[0]), b.getInt64(values[1]), b.getInt64(values[2])});
  };
  llvm::SmallVector<llvm::Constant *> matmulData;
  for (const hw_matmul &m : matmuls)
    matmulData.push_back(
        llvm::ConstantStruct::get(matmulType, {b.getInt64(m.batch), b.getInt64(m.m), b.getInt64(m.n), b.getInt64(m.k),
                                               threeOf(m.a_stride), threeOf(m.b_stride), threeOf(m.c_stride),
                                               b.getInt32(m.has_bias), b.getInt32(m.activation), b.getInt32(m.alone)}));
  auto *convolutionType = llvm::StructType::get(
      context, {b.getInt32Ty(), b.getInt32Ty(), b.getInt64Ty(), b.getInt64Ty(), b.getInt64Ty(), three, three, three,
                three, three, three, three, b.getInt32Ty(), b.getInt32Ty(), b.getInt32Ty(), b.getInt32Ty()});
  llvm::SmallVector<llvm::Constant *> convolutionData;
  for (const hw_convolution &c : convolutions)
    convolutionData.push_back(llvm::ConstantStruct::get(
        convolutionType, {b.getInt32(c.kind), b.getInt32(c.spatial), b.getInt64(c.images), b.getInt64(c.channels_in),
                          b.getInt64(c.channels_out), threeOf(c.input), threeOf(c.kernel), threeOf(c.output),
                          threeOf(c.stride), threeOf(c.dilation), threeOf(c.low), threeOf(c.high), b.getInt32(c.block),
                          b.getInt32(c.has_bias), b.getInt32(c.activation), b.getInt32(c.alone)}));
  auto *entryArray =
      global(llvm::ConstantArray::get(llvm::ArrayType::get(entryType, entryData.size()), entryData), "entries");
  auto *matmulArray =
      global(llvm::ConstantArray::get(llvm::ArrayType::get(matmulType, matmulData.size()), matmulData), "matmuls");
  auto *convolutionArray =
      global(llvm::ConstantArray::get(llvm::ArrayType::get(convolutionType, convolutionData.size()), convolutionData),
             "convolutions");
  auto *planText = text(plan);
  auto *programType =
      llvm::StructType::get(context, {b.getInt32Ty(), b.getInt32Ty(), pointer, pointer, b.getInt64Ty(), pointer,
                                      b.getInt64Ty(), pointer, b.getInt64Ty(), pointer, b.getInt64Ty()});
  auto *data = llvm::ConstantStruct::get(
      programType, {b.getInt32(HW_ABI), b.getInt32(target.vectorBytes), text(target.cpu), planText,
                    b.getInt64(plan.size()), entryArray, b.getInt64(entries.size()), matmulArray,
                    b.getInt64(matmuls.size()), convolutionArray, b.getInt64(convolutions.size())});
  new llvm::GlobalVariable(*module, programType, true, llvm::GlobalValue::ExternalLinkage, data,
                           "hw_program_descriptor");
}
