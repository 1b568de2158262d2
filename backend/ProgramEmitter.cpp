// The entry functions: each step a call of its kernel, of oneDNN or of the runtime; and the descriptor.
#include "backend/CodeGen.h"
#include "llvm/IR/Intrinsics.h"

using namespace hw;
using namespace hw::backend;

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

llvm::Function *ProgramEmitter::kernelFor(const Step &step, llvm::StringRef name) {
  std::string key = step.kernel.print();
  const Product &p = step.product;
  if (step.kind == Step::Contract) {
    llvm::raw_string_ostream os(key);
    os << "product " << int(p.type) << " " << p.batch << " " << p.m << " " << p.n << " " << p.k << " " << p.aOffset
       << " " << p.bOffset;
    for (int i = 0; i < 3; ++i)
      os << " " << p.aStride[i] << " " << p.bStride[i];
    os << " " << p.batchDim << p.mDim << p.nDim;
  }
  llvm::Function *&function = kernels[key];
  if (!function)
    function = step.kind == Step::Contract ? emitContraction(*module, target, p, step.kernel, step.tiling, name)
                                           : emitKernel(*module, target, step.kernel, name);
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

unsigned ProgramEmitter::matmulFor(const Step &step) {
  const Product &p = step.product;
  hw_matmul m{p.batch, p.m, p.n, p.k, {}, {}, {}, step.inputs[2] >= 0, step.activation};
  for (int i = 0; i < 3; ++i)
    m.a_stride[i] = p.aStride[i], m.b_stride[i] = p.bStride[i];
  m.c_stride[0] = p.m * p.n, m.c_stride[1] = p.n, m.c_stride[2] = 1;
  for (auto [number, other] : llvm::enumerate(matmuls))
    if (!memcmp(&other, &m, sizeof m))
      return unsigned(number);
  matmuls.push_back(m);
  return unsigned(matmuls.size()) - 1;
}

class ProgramEmitter::FunctionEmitter {
public:
  FunctionEmitter(ProgramEmitter &program, llvm::StringRef name, const StepList &list)
      : program(program), list(list), name(name.str()), module(*program.module), b(module.getContext()) {}

  llvm::Function *run() {
    auto *pointer = b.getPtrTy();
    auto *type = llvm::FunctionType::get(b.getVoidTy(), {pointer, pointer}, false);
    auto *function = llvm::Function::Create(type, llvm::Function::InternalLinkage, name, module);
    setTargetAttributes(*function, program.target);
    b.SetInsertPoint(llvm::BasicBlock::Create(module.getContext(), "entry", function));
    size_t widest = 1;
    unsigned arguments = 0;
    for (const Buffer &buffer : list.buffers)
      arguments += buffer.place == Buffer::Argument;
    for (const Step &step : list.steps)
      widest = std::max(widest, step.kernel.buffers.size() + 2);
    frame = b.CreateAlloca(pointer, b.getInt64(widest));
    for (const Buffer &buffer : list.buffers)
      addresses.push_back(addressOf(buffer, function, arguments));
    for (auto [number, step] : llvm::enumerate(list.steps))
      emit(step, name + "." + std::to_string(number));
    b.CreateRetVoid();
    return function;
  }

private:
  llvm::Value *addressOf(const Buffer &buffer, llvm::Function *function, unsigned arguments) {
    switch (buffer.place) {
    case Buffer::Argument:
      return b.CreateLoad(b.getPtrTy(), b.CreateConstGEP1_64(b.getPtrTy(), function->getArg(0), buffer.number));
    case Buffer::Result:
      return b.CreateLoad(b.getPtrTy(),
                          b.CreateConstGEP1_64(b.getPtrTy(), function->getArg(0), arguments + buffer.number));
    case Buffer::Scratch:
      return b.CreateConstGEP1_64(b.getInt8Ty(), function->getArg(1), buffer.offset);
    case Buffer::Constant:
      return program.constantData(buffer.constant);
    }
    return nullptr;
  }

  void emit(const Step &step, const std::string &kernelName) {
    switch (step.kind) {
    case Step::Loops:
    case Step::Contract:
      return launch(step, kernelName);
    case Step::External: {
      llvm::Value *bias =
          step.inputs[2] >= 0 ? addresses[step.inputs[2]] : llvm::ConstantPointerNull::get(b.getPtrTy());
      const Product &p = step.product;
      auto shifted = [&](int buffer, int64_t offset) {
        return b.CreateConstGEP1_64(b.getFloatTy(), addresses[buffer], offset);
      };
      call("hw_run_matmul", {b.getInt64(program.matmulFor(step)), shifted(step.inputs[0], p.aOffset),
                             shifted(step.inputs[1], p.bOffset), bias, addresses[step.output]});
      return;
    }
    case Step::Library:
      return library(step);
    case Step::Fill:
      b.CreateMemSet(addresses[step.output], b.getInt8(step.fill), uint64_t(list.buffers[step.output].bytes()),
                     llvm::MaybeAlign(64));
      return;
    case Step::Check: {
      const Buffer &checked = list.buffers[step.inputs[0]];
      b.CreateCall(program.checkFunction(checked.type), {addresses[step.inputs[0]], b.getInt64(checked.elements),
                                                         b.getInt32(step.ordinal), addresses[step.output]});
      return;
    }
    case Step::Copy:
      // The places may be the same one, where an argument is returned as it came.
      b.CreateMemMove(addresses[step.output], llvm::MaybeAlign(64), addresses[step.inputs[0]], llvm::MaybeAlign(64),
                      uint64_t(list.buffers[step.output].bytes()));
      return;
    }
  }

  llvm::Value *call(llvm::StringRef callee, llvm::ArrayRef<llvm::Value *> operands) {
    llvm::SmallVector<llvm::Type *> types;
    for (llvm::Value *operand : operands)
      types.push_back(operand->getType());
    auto function = module.getOrInsertFunction(callee, llvm::FunctionType::get(b.getVoidTy(), types, false));
    return b.CreateCall(function, operands);
  }

  void launch(const Step &step, const std::string &kernelName) {
    llvm::Function *kernel = program.kernelFor(step, kernelName);
    size_t slot = 0;
    auto put = [&](int buffer) { b.CreateStore(addresses[buffer], b.CreateConstGEP1_64(b.getPtrTy(), frame, slot++)); };
    for (int buffer : step.kernel.buffers)
      put(buffer);
    for (int buffer : step.inputs)
      put(buffer);
    if (step.kernel.schedule.count == 1)
      b.CreateCall(kernel, {frame, b.getInt64(0)});
    else
      call("hw_parallel", {bodyOf(kernel, step.kernel.schedule.count), frame});
  }

  /// void body(ptr frame, i64 thread, i64 threads): a block of neighbouring tasks for each thread.
  llvm::Function *bodyOf(llvm::Function *kernel, int64_t count) {
    Builder inner(module.getContext());
    auto *type = llvm::FunctionType::get(b.getVoidTy(), {b.getPtrTy(), b.getInt64Ty(), b.getInt64Ty()}, false);
    auto *body = llvm::Function::Create(type, llvm::Function::InternalLinkage, kernel->getName() + ".body", module);
    setTargetAttributes(*body, program.target);
    inner.SetInsertPoint(llvm::BasicBlock::Create(module.getContext(), "entry", body));
    llvm::Value *thread = body->getArg(1), *threads = body->getArg(2), *tasks = inner.getInt64(count);
    auto bound = [&](llvm::Value *number) { return inner.CreateUDiv(inner.CreateMul(tasks, number), threads); };
    llvm::Value *low = bound(thread), *high = bound(inner.CreateAdd(thread, inner.getInt64(1)));
    emitLoop(inner, low, high, 1, {}, [&](llvm::Value *task, Values) {
      inner.CreateCall(kernel, {body->getArg(0), task});
      return Values();
    });
    inner.CreateRetVoid();
    return body;
  }

  void library(const Step &step) {
    auto shape = shapeOf(step.op->getOperand(0));
    llvm::Value *isF64 = b.getInt32(elementOf(step.op->getOperand(0)).isF64());
    int64_t n = shape.back(), batch = 1;
    for (int64_t size : shape.drop_back(2))
      batch *= size;
    llvm::Value *first = addresses[step.inputs[0]], *out = addresses[step.output];
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
  llvm::Value *frame = nullptr;
  llvm::SmallVector<llvm::Value *> addresses;
};

void ProgramEmitter::addFunction(llvm::StringRef name, const StepList &list) {
  llvm::Function *function = FunctionEmitter(*this, name, list).run();
  entries.push_back({name.str(), uint64_t(list.scratch), 0, list.flops, list.bytes, {}, function});
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
  auto *stride = llvm::ArrayType::get(b.getInt64Ty(), 3);
  auto *matmulType = llvm::StructType::get(context, {b.getInt64Ty(), b.getInt64Ty(), b.getInt64Ty(), b.getInt64Ty(),
                                                     stride, stride, stride, b.getInt32Ty(), b.getInt32Ty()});
  auto strides = [&](const int64_t *values) {
    return llvm::ConstantArray::get(stride, {b.getInt64(values[0]), b.getInt64(values[1]), b.getInt64(values[2])});
  };
  llvm::SmallVector<llvm::Constant *> matmulData;
  for (const hw_matmul &m : matmuls)
    matmulData.push_back(llvm::ConstantStruct::get(
        matmulType, {b.getInt64(m.batch), b.getInt64(m.m), b.getInt64(m.n), b.getInt64(m.k), strides(m.a_stride),
                     strides(m.b_stride), strides(m.c_stride), b.getInt32(m.has_bias), b.getInt32(m.activation)}));
  auto *entryArray =
      global(llvm::ConstantArray::get(llvm::ArrayType::get(entryType, entryData.size()), entryData), "entries");
  auto *matmulArray =
      global(llvm::ConstantArray::get(llvm::ArrayType::get(matmulType, matmulData.size()), matmulData), "matmuls");
  auto *planText = text(plan);
  auto *programType = llvm::StructType::get(context, {b.getInt32Ty(), b.getInt32Ty(), pointer, pointer, b.getInt64Ty(),
                                                      pointer, b.getInt64Ty(), pointer, b.getInt64Ty()});
  auto *data =
      llvm::ConstantStruct::get(programType, {b.getInt32(HW_ABI), b.getInt32(target.vectorBytes), text(target.cpu),
                                              planText, b.getInt64(plan.size()), entryArray, b.getInt64(entries.size()),
                                              matmulArray, b.getInt64(matmuls.size())});
  new llvm::GlobalVariable(*module, programType, true, llvm::GlobalValue::ExternalLinkage, data,
                           "hw_program_descriptor");
}
