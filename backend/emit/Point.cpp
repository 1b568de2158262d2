// Evaluating nodes: addresses, loads and stores by stride, and when a value is kept.
#include "backend/emit/Point.h"
#include "llvm/IR/Module.h"

using namespace hw::backend;
using llvm::Type;
using llvm::Value;

Values hw::backend::emitLoop(Builder &b, Value *from, Value *to, int64_t step, Values carried,
                             llvm::function_ref<Values(Value *, Values)> body) {
  auto *low = llvm::dyn_cast<llvm::ConstantInt>(from), *high = llvm::dyn_cast<llvm::ConstantInt>(to);
  bool isKnown = low && high;
  if (isKnown && low->getSExtValue() >= high->getSExtValue())
    return carried;
  if (isKnown && low->getSExtValue() + step >= high->getSExtValue())
    return body(from, carried);
  llvm::LLVMContext &context = b.getContext();
  llvm::Function *function = b.GetInsertBlock()->getParent();
  auto *entry = b.GetInsertBlock();
  auto *loop = llvm::BasicBlock::Create(context, "loop", function);
  auto *exit = llvm::BasicBlock::Create(context, "exit", function);
  // Loops of unknown bounds may not turn at all.
  if (isKnown)
    b.CreateBr(loop);
  else
    b.CreateCondBr(b.CreateICmpSLT(from, to), loop, exit);
  b.SetInsertPoint(loop);
  llvm::PHINode *index = b.CreatePHI(b.getInt64Ty(), 2);
  index->addIncoming(from, entry);
  Values inside;
  for (Value *value : carried) {
    llvm::PHINode *phi = b.CreatePHI(value->getType(), 2);
    phi->addIncoming(value, entry);
    inside.push_back(phi);
  }
  Values next = body(index, inside);
  Value *following = b.CreateAdd(index, b.getInt64(step), "", true, true);
  auto *latch = b.GetInsertBlock();
  auto *back = b.CreateCondBr(b.CreateICmpSLT(following, to), loop, exit);
  // Aligned, so that a loop's speed does not depend on the code before it.
  auto *align = llvm::MDNode::get(
      context, {llvm::MDString::get(context, "llvm.loop.align"), llvm::ConstantAsMetadata::get(b.getInt32(64))});
  auto *id = llvm::MDNode::getDistinct(context, {nullptr, align});
  id->replaceOperandWith(0, id);
  back->setMetadata(llvm::LLVMContext::MD_loop, id);
  index->addIncoming(following, latch);
  for (auto [phi, value] : llvm::zip_equal(inside, next))
    llvm::cast<llvm::PHINode>(phi)->addIncoming(value, latch);
  b.SetInsertPoint(exit);
  if (isKnown)
    return next;
  Values results;
  for (auto [before, after] : llvm::zip_equal(carried, next)) {
    llvm::PHINode *phi = b.CreatePHI(before->getType(), 2);
    phi->addIncoming(before, entry);
    phi->addIncoming(after, latch);
    results.push_back(phi);
  }
  return results;
}

Point::Point(Builder &b, const Target &target, const Kernel &kernel, llvm::ArrayRef<Value *> bases, int vectorDim,
             unsigned lanes)
    : b(b), target(target), kernel(kernel), bases(bases), vectorDim(vectorDim), lanes(lanes),
      indices(kernel.domain.size(), b.getInt64(0)), values(kernel.nodes.size()) {}

llvm::Constant *hw::backend::tailMask(Builder &b, unsigned lanes, unsigned count) {
  if (count == 0 || count >= lanes)
    return nullptr;
  llvm::SmallVector<llvm::Constant *> bits;
  for (unsigned lane = 0; lane < lanes; ++lane)
    bits.push_back(b.getInt1(lane < count));
  return llvm::ConstantVector::get(bits);
}

void Point::setVector(Value *first, unsigned copies, Value *mask) {
  indices[vectorDim] = first;
  count = copies;
  tailMask = mask;
}

void Point::release(size_t depth) {
  while (trail.size() > depth) {
    auto [node, copy] = trail.back();
    values[node][copy] = nullptr;
    trail.pop_back();
  }
}

void Point::define(int node, unsigned copy, Value *value) {
  if (values[node].size() <= copy)
    values[node].resize(copy + 1);
  values[node][copy] = value;
  trail.push_back({node, copy});
}

Value *Point::wide(Value *value) {
  return lanes == 1 || value->getType()->isVectorTy() ? value : b.CreateVectorSplat(lanes, value);
}

Value *Point::value(int node, unsigned copy) {
  if (!varies(node))
    copy = 0;
  if (copy < values[node].size() && values[node][copy])
    return values[node][copy];
  Value *result = evaluateNode(node, copy);
  define(node, copy, result);
  return result;
}

Value *Point::vector(int node, unsigned copy) { return wide(value(node, copy)); }

void Point::evaluate(uint64_t known) {
  for (size_t node = 0; node < kernel.nodes.size(); ++node)
    if (!(kernel.nodes[node].dims & ~known) && kernel.nodes[node].op != Opcode::Product)
      for (unsigned copy = 0; copy < (varies(int(node)) ? count : 1); ++copy)
        value(int(node), copy);
}

void Point::loadFirst(unsigned copy) {
  for (int node : kernel.firstLoads)
    value(node, copy);
}

/// The form's value: a scalar, at the first lane of the vector if it changes along it.
Value *Point::linear(const Linear &form, unsigned copy, bool atFirstLane) {
  Value *sum = b.getInt64(form.constant);
  for (auto [dim, coefficient] : llvm::enumerate(form.coefficients)) {
    if (!coefficient || (int(dim) == vectorDim && !atFirstLane))
      continue;
    Value *index = indices[dim];
    if (int(dim) == vectorDim && copy)
      index = b.CreateAdd(index, b.getInt64(copy * lanes), "", true, true);
    if (coefficient != 1)
      index = b.CreateMul(index, b.getInt64(coefficient), "", true, true);
    sum = b.CreateAdd(sum, index, "", true, true);
  }
  for (auto [node, scale] : form.dynamic)
    if (!varies(node))
      sum = b.CreateAdd(sum, b.CreateMul(b.CreateSExt(value(node, 0), b.getInt64Ty()), b.getInt64(scale)));
  return sum;
}

bool Point::isUnit(const Linear &address) const {
  return vectorDim >= 0 && address.coefficients[vectorDim] == 1 &&
         llvm::none_of(address.dynamic, [&](auto &term) { return varies(term.first); });
}

Value *Point::pointer(int buffer, const Linear &address, unsigned copy) {
  return b.CreateGEP(memoryType(b.getContext(), kernel.bufferTypes[buffer], 1), bases[buffer],
                     linear(address, copy, true));
}

/// The form's value in every lane, as i64s.
static Value *lanesOf(Builder &b, unsigned lanes, Value *first, int64_t step) {
  llvm::SmallVector<llvm::Constant *> offsets;
  for (unsigned lane = 0; lane < lanes; ++lane)
    offsets.push_back(b.getInt64(int64_t(lane) * step));
  return lanes == 1 ? first : b.CreateAdd(b.CreateVectorSplat(lanes, first), llvm::ConstantVector::get(offsets));
}

Value *Point::gatherAddresses(const Node &node, unsigned copy) {
  Value *offsets = lanesOf(b, lanes, linear(node.index, copy, true), node.index.coefficients[vectorDim]);
  for (auto [term, scale] : node.index.dynamic)
    if (varies(term)) {
      Value *wideTerm = b.CreateSExt(value(term, copy), offsets->getType());
      offsets = b.CreateAdd(offsets, b.CreateMul(wideTerm, llvm::ConstantInt::getSigned(offsets->getType(), scale)));
    }
  return offsets;
}

Value *Point::loadAcross(int number, unsigned lane, llvm::Constant *mask) {
  const Node &node = kernel.nodes[number];
  llvm::Align align(bytesOf(node.type));
  Type *vector = memoryType(b.getContext(), node.type, lanes);
  Value *at = linear(node.index, 0, true);
  at = b.CreateAdd(at, b.getInt64(lane * node.index.coefficients[vectorDim]), "", true, true);
  Value *from = b.CreateGEP(memoryType(b.getContext(), node.type, 1), bases[node.buffer], at);
  return mask ? b.CreateMaskedLoad(vector, from, align, mask, llvm::Constant::getNullValue(vector))
              : static_cast<Value *>(b.CreateAlignedLoad(vector, from, align));
}

Value *Point::load(const Node &node, unsigned copy) {
  DType type = node.type;
  llvm::Align align(bytesOf(type));
  Type *element = memoryType(b.getContext(), type, 1);
  bool isVector = vectorDim >= 0 && node.dims >> vectorDim & 1;
  Value *result;
  if (!isVector) {
    result = b.CreateAlignedLoad(element, pointer(node.buffer, node.index, copy), align);
  } else if (isUnit(node.index)) {
    Type *vector = memoryType(b.getContext(), type, lanes);
    Value *address = pointer(node.buffer, node.index, copy);
    result = tailMask ? b.CreateMaskedLoad(vector, address, align, tailMask, llvm::Constant::getNullValue(vector))
                      : static_cast<Value *>(b.CreateAlignedLoad(vector, address, align));
  } else if (lanes == 1) {
    result = b.CreateAlignedLoad(element, b.CreateGEP(element, bases[node.buffer], gatherAddresses(node, copy)), align);
  } else {
    Type *vector = memoryType(b.getContext(), type, lanes);
    Value *addresses = b.CreateGEP(element, bases[node.buffer], gatherAddresses(node, copy));
    Value *mask =
        tailMask ? tailMask : llvm::Constant::getAllOnesValue(llvm::FixedVectorType::get(b.getInt1Ty(), lanes));
    result = b.CreateMaskedGather(vector, addresses, align, mask, llvm::Constant::getNullValue(vector));
  }
  if (type == DType::I1)
    result = b.CreateICmpNE(result, llvm::Constant::getNullValue(result->getType()));
  return result;
}

Value *Point::evaluateNode(int number, unsigned copy) {
  const Node &node = kernel.nodes[number];
  bool isVector = varies(number);
  switch (node.op) {
  case Opcode::Constant: {
    Type *type = registerType(b.getContext(), node.type, 1);
    if (node.type == DType::F32)
      return llvm::ConstantFP::get(type, llvm::bit_cast<float>(uint32_t(node.bits)));
    if (node.type == DType::F64)
      return llvm::ConstantFP::get(type, llvm::bit_cast<double>(node.bits));
    return llvm::ConstantInt::get(type, node.type == DType::I1 ? node.bits & 1 : node.bits, false, true);
  }
  case Opcode::Load:
    return load(node, copy);
  case Opcode::Index: {
    Value *result = isVector ? gatherAddresses(node, copy) : linear(node.index, copy, true);
    Type *type = registerType(b.getContext(), node.type, isVector ? lanes : 1);
    return isFloat(node.type) ? b.CreateSIToFP(result, type) : b.CreateIntCast(result, type, true);
  }
  case Opcode::Random: {
    Value *counter = isVector ? gatherAddresses(node, copy) : linear(node.index, copy, true);
    return emitRandom(b, node.type, value(node.operands[0], 0), uint32_t(node.bits), value(node.operands[1], 0),
                      counter);
  }
  case Opcode::Product:
    llvm_unreachable("a product is defined by its contraction");
  default: {
    llvm::SmallVector<Value *, 3> operands;
    for (int operand : node.operands)
      operands.push_back(isVector ? vector(operand, copy) : value(operand, 0));
    return emitOp(b, target, node.op, kernel.nodes[node.operands[0]].type, node.type, operands, node.bits);
  }
  }
}

void Point::store(const Root &root, unsigned copy) {
  bool isVector = vectorDim >= 0 && root.address.coefficients[vectorDim];
  store(root.buffer, root.address, isVector ? vector(root.node, copy) : value(root.node, copy), copy);
}

void Point::store(int buffer, const Linear &address, Value *stored, unsigned copy) {
  DType type = kernel.bufferTypes[buffer];
  llvm::Align align(bytesOf(type));
  Type *element = memoryType(b.getContext(), type, 1);
  if (type == DType::I1)
    stored = b.CreateZExt(stored, stored->getType()->isVectorTy() ? memoryType(b.getContext(), type, lanes) : element);
  if (!stored->getType()->isVectorTy()) {
    b.CreateAlignedStore(stored, pointer(buffer, address, copy), align);
  } else if (isUnit(address)) {
    Value *to = pointer(buffer, address, copy);
    // LLVM 22 makes a masked store of one lane of a truncated vector a store of the wide element, over its neighbours.
    auto *constantMask = llvm::dyn_cast_or_null<llvm::Constant>(tailMask);
    bool isOneLane = constantMask && constantMask->getAggregateElement(1)->isNullValue();
    if (isOneLane)
      b.CreateAlignedStore(b.CreateExtractElement(stored, uint64_t(0)), to, align);
    else if (tailMask)
      b.CreateMaskedStore(stored, to, align, tailMask);
    else
      b.CreateAlignedStore(stored, to, align);
  } else {
    Value *offsets = lanesOf(b, lanes, linear(address, copy, true), address.coefficients[vectorDim]);
    Value *mask =
        tailMask ? tailMask : llvm::Constant::getAllOnesValue(llvm::FixedVectorType::get(b.getInt1Ty(), lanes));
    b.CreateMaskedScatter(stored, b.CreateGEP(element, bases[buffer], offsets), align, mask);
  }
}

Value *Point::loadBack(int buffer, const Linear &address, unsigned copy) {
  DType type = kernel.bufferTypes[buffer];
  llvm::Align align(bytesOf(type));
  bool isVector = vectorDim >= 0 && address.coefficients[vectorDim];
  llvm::Type *result = registerType(b.getContext(), type, isVector ? lanes : 1);
  if (!isVector)
    return b.CreateAlignedLoad(result, pointer(buffer, address, copy), align);
  Value *zero = llvm::Constant::getNullValue(result);
  if (isUnit(address)) {
    Value *from = pointer(buffer, address, copy);
    return tailMask ? b.CreateMaskedLoad(result, from, align, tailMask, zero)
                    : static_cast<Value *>(b.CreateAlignedLoad(result, from, align));
  }
  Value *offsets = lanesOf(b, lanes, linear(address, copy, true), address.coefficients[vectorDim]);
  Value *mask = tailMask ? tailMask : llvm::Constant::getAllOnesValue(llvm::FixedVectorType::get(b.getInt1Ty(), lanes));
  return b.CreateMaskedGather(result, b.CreateGEP(memoryType(b.getContext(), type, 1), bases[buffer], offsets), align,
                              mask, zero);
}

void Point::accumulate(const Root &root, unsigned copy) {
  bool isVector = vectorDim >= 0 && root.address.coefficients[vectorDim];
  Value *update = isVector ? vector(root.node, copy) : value(root.node, copy);
  store(root.buffer, root.address, emitAdd(b, loadBack(root.buffer, root.address, copy), update), copy);
}
