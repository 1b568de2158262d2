#include "backend/steps/Steps.h"
#include "backend/dialect/ConvolutionCall.h"
#include "ir/Location.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace hw;
using namespace hw::backend;

int StepList::addScratch(DType type, int64_t elements) {
  buffers.push_back({Buffer::Scratch, type, elements, 0, 0, {}});
  return int(buffers.size()) - 1;
}

static void addKernel(const Kernel &kernel, StepList::Access &access) {
  for (const Node &node : kernel.nodes)
    if (node.op == Opcode::Load)
      access.reads.insert(kernel.buffers[node.buffer]);
  for (const Root &root : kernel.roots) {
    access.writes.insert(kernel.buffers[root.buffer]);
    if (root.indexBuffer >= 0)
      access.writes.insert(kernel.buffers[root.indexBuffer]);
    if (root.kind == RootKind::Scatter)
      access.reads.insert(kernel.buffers[root.buffer]);
  }
}

int StepList::memoryOf(int buffer) const {
  auto at = sameMemory.find(buffer);
  return at == sameMemory.end() ? buffer : at->second;
}

StepList::Access StepList::accessOf(const Stage &stage) const {
  Access own, access;
  addKernel(stage.kernel, own);
  own.reads.insert(stage.operands.begin(), stage.operands.end());
  for (int buffer : own.reads)
    access.reads.insert(memoryOf(buffer));
  for (int buffer : own.writes)
    access.writes.insert(memoryOf(buffer));
  return access;
}

StepList::Access StepList::accessOf(const Step &step) const {
  Access access;
  for (const Stage &stage : step.stages) {
    Access part = accessOf(stage);
    access.reads.insert(part.reads.begin(), part.reads.end());
    access.writes.insert(part.writes.begin(), part.writes.end());
  }
  for (int buffer : step.inputs)
    if (buffer >= 0)
      access.reads.insert(memoryOf(buffer));
  for (const Step::Partial &partial : step.partials)
    access.writes.insert(memoryOf(partial.buffer));
  for (int buffer : step.outputs)
    access.writes.insert(memoryOf(buffer));
  if (step.kind == Step::Check)
    access.reads.insert(memoryOf(step.outputs[0]));
  return access;
}

bool StepList::conflict(const Access &before, const Access &after) {
  auto meets = [](const auto &a, const auto &b) {
    return llvm::any_of(a, [&](int buffer) { return b.contains(buffer); });
  };
  return meets(before.writes, after.reads) || meets(before.reads, after.writes) || meets(before.writes, after.writes);
}

/// What an op list does, in few words: "product 2000x60x30, max", "sum, sub over 2000x60".
std::string Stage::title() const {
  std::string text;
  llvm::raw_string_ostream os(text);
  auto sizes = [&](ArrayRef<int64_t> shape) { llvm::interleave(shape, os, "x"); };
  const Product &p = product;
  if (kind == Contract) {
    os << "product ";
    if (p.batch > 1)
      os << p.batch << " x ";
    sizes({p.m, p.n, p.k});
    if (kernel.nodes.size() > 1)
      os << " and " << kernel.nodes.size() - 1 << " on it";
    return text;
  }
  llvm::SmallSetVector<StringRef, 4> kinds;
  static const char *names[] = {"", "sum", "max", "scatter_add"};
  for (const Root &root : kernel.roots)
    if (root.kind != RootKind::Store)
      kinds.insert(names[unsigned(root.kind)]);
    else
      kinds.insert(nameOf(kernel.nodes[root.node].op));
  SmallVector<StringRef> list(kinds.begin(), kinds.end());
  if (list.size() > 3)
    list.resize(3);
  llvm::interleave(list, os, ", ");
  os << " over ";
  sizes(kernel.domain);
  if (kernel.domain.empty())
    os << "one";
  return text;
}

std::string Step::title() const {
  if (kind == Region && stages.size() == 1)
    return stages[0].title();
  if (auto convolution = dyn_cast_or_null<ConvolutionOp>(op); convolution && kind == Library)
    return "oneDNN " + titleOf(convolutionOf(convolution));
  static const char *kinds[] = {"region", "oneDNN product", "library", "fill", "copy", "check", "map"};
  std::string text = kinds[kind];
  llvm::raw_string_ostream os(text);
  if (kind == Region)
    os << " of " << stages.size() << " stages";
  if (kind == External)
    os << " " << product.m << "x" << product.n << "x" << product.k;
  if (kind == Library)
    os << " " << op->getName();
  if (kind == Map)
    os << " of " << body->steps.size() << " steps over " << extent << " groups, " << tasks() << " tasks";
  return text;
}

std::string StepList::print() const {
  std::string text;
  llvm::raw_string_ostream os(text);
  auto describe = [&](int number) {
    const Buffer &b = buffers[number];
    static const char *places[] = {"argument ", "result ", "scratch +", "constant ", "tile +"};
    bool hasOffset = b.place == Buffer::Scratch || b.place == Buffer::Local;
    os << places[b.place] << (hasOffset ? b.offset : int64_t(b.number)) << ": " << b.elements << " " << nameOf(b.type);
    if (b.place == Buffer::Local)
      os << ", rows of " << b.rowElements;
  };
  os << "scratch " << scratch << " bytes";
  if (threadScratch)
    os << " and " << threadScratch << " a thread";
  os << ", " << phases.size() << " phases\n";
  for (const std::string &note : notes)
    os << note << "\n";
  for (auto [phase, numbers] : llvm::enumerate(phases))
    for (unsigned number : numbers) {
      const Step &step = steps[number];
      os << "phase " << phase << ", step " << number << ": " << step.title();
      if (step.body)
        os << ", each in " << step.body->scratchOfOne() << " bytes";
      if (step.kind == Step::Region && step.tasks() > 1)
        os << ", " << step.tasks() << " tasks of " << step.chunk;
      if (step.kind == Step::Region && step.tile < step.chunk)
        os << " in tiles of " << step.tile;
      os << (step.why.empty() ? "" : "; ") << step.why << "\n";
      for (int input : step.inputs)
        if (input >= 0)
          os << "  reads ", describe(input), os << "\n";
      for (int output : step.outputs)
        os << "  writes ", describe(output), os << "\n";
      for (const Step::Partial &partial : step.partials)
        os << "  a part of " << partial.elements << " a task" << (partial.startsAtZero ? ", from zero: " : ": "),
            describe(partial.buffer), os << "\n";
      for (const Stage &stage : step.stages) {
        os << "  " << stage.title() << " (" << locationText(stage.loc) << ")";
        const Product &p = stage.product;
        if (stage.kind == Stage::Contract) {
          os << ": " << stage.tiling.print() << "\n  a strides " << p.aStride[0] << "," << p.aStride[1] << ","
             << p.aStride[2] << " in ";
          describe(stage.operands[0]);
          os << "\n  b strides " << p.bStride[0] << "," << p.bStride[1] << "," << p.bStride[2] << " in ";
          describe(stage.operands[1]);
        }
        os << "\n";
        for (auto [at, buffer] : llvm::enumerate(stage.kernel.buffers))
          os << "  b" << at << " = ", describe(buffer), os << "\n";
        os << stage.kernel.print();
      }
      if (step.body)
        os << "{\n" << step.body->print() << "}\n";
    }
  return text;
}
