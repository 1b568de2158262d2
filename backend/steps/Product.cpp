#include "backend/steps/Product.h"
#include "backend/graph/View.h"
#include "llvm/Support/raw_ostream.h"

using namespace hw;
using namespace hw::backend;

Product hw::backend::productOf(DotGeneralOp dot) {
  Product p;
  p.type = dtypeOf(elementOf(dot.getResult()));
  auto ignore = [](mlir::Value) {};
  View a = viewOf(dot.getLhs(), ignore), b = viewOf(dot.getRhs(), ignore);
  p.a = a.base, p.b = b.base, p.aOffset = a.offset, p.bOffset = b.offset;
  auto lhs = shapeOf(dot.getLhs()), rhs = shapeOf(dot.getRhs());
  int dim = 0;
  if (!dot.getLhsBatch().empty()) {
    int64_t l = dot.getLhsBatch()[0], r = dot.getRhsBatch()[0];
    p.batch = lhs[l], p.aStride[0] = a.strides[l], p.bStride[0] = b.strides[r], p.batchDim = dim++;
  }
  if (auto free = dot.lhsFree(); !free.empty())
    p.m = lhs[free[0]], p.aStride[1] = a.strides[free[0]], p.mDim = dim++;
  if (auto free = dot.rhsFree(); !free.empty())
    p.n = rhs[free[0]], p.bStride[2] = b.strides[free[0]], p.nDim = dim++;
  if (!dot.getLhsContract().empty()) {
    int64_t l = dot.getLhsContract()[0], r = dot.getRhsContract()[0];
    p.k = lhs[l], p.aStride[2] = a.strides[l], p.bStride[1] = b.strides[r];
  }
  return p;
}

const char *hw::backend::nameOf(Role role) {
  static const char *names[] = {"nothing", "batch", "rows", "columns", "contracted dimension"};
  return names[unsigned(role)];
}

std::string Tiling::print() const {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << "tiles of " << rows << " rows x " << vectors << " vectors of " << lanes << ", "
     << (columnsOuter ? "columns" : "rows") << " outside";
  if (range != Role::None)
    os << "; range of the " << nameOf(range);
  if (longest > longestChain)
    os << ", at most " << longest;
  return text;
}
