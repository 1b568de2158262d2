// Evaluates a kernel's nodes where a loop nest stands.
#pragma once
#include "backend/emit/Math.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace hw::backend {

/// for (i = from; i < to; i += step) with carried values; `body` gets the index and the values and returns their next
/// ones. Elided where the bounds are constants with one turn or none.
using Values = llvm::SmallVector<llvm::Value *, 8>;
Values emitLoop(Builder &b, llvm::Value *from, llvm::Value *to, int64_t step, Values carried,
                llvm::function_ref<Values(llvm::Value *index, Values carried)> body);

/// The first `count` of `lanes` lanes, or null for all of them.
llvm::Constant *tailMask(Builder &b, unsigned lanes, unsigned count);

/// The place where code is being generated: an index a dimension, and along the vector dimension `copies` vectors of
/// `lanes` values each. A node is evaluated when it is first asked for, and kept until the scope it was evaluated in
/// ends.
class Point {
public:
  Point(Builder &b, const Target &target, const Kernel &kernel, llvm::ArrayRef<llvm::Value *> bases, int vectorDim,
        unsigned lanes);

  void setIndex(unsigned dim, llvm::Value *index) { indices[dim] = index; }
  /// Along the vector dimension: the first index, how many vectors, and, in a tail, which lanes count (null: all).
  void setVector(llvm::Value *first, unsigned copies, llvm::Value *mask);
  llvm::Value *index(unsigned dim) const { return indices[dim]; }
  unsigned copies() const { return count; }
  bool varies(int node) const { return vectorDim >= 0 && kernel.nodes[node].dims >> vectorDim & 1; }

  /// The scalar of a node that is the same in every lane, or its vector number `copy`.
  llvm::Value *value(int node, unsigned copy);
  /// The same, as a vector of `lanes` in any case.
  llvm::Value *vector(int node, unsigned copy);
  /// Gives a node its value: contractions' products, or values that are known already.
  void define(int node, unsigned copy, llvm::Value *value);
  /// Evaluates what depends on no more than the dimensions in `known`, so that loops inside do not.
  void evaluate(uint64_t known);
  /// Makes the loads of what the roots of this point store over, before they do.
  void loadFirst(unsigned copy);
  /// Stores vector `copy` (or, at a scalar address, the scalar) of a node.
  void store(const Root &root, unsigned copy);
  void store(int buffer, const Linear &address, llvm::Value *value, unsigned copy);
  /// As many values of a load as a vector has, along another dimension than the vector's, at lane number `lane`.
  llvm::Value *loadAcross(int node, unsigned lane, llvm::Constant *mask);
  /// Adds to memory instead (scatter).
  void accumulate(const Root &root, unsigned copy);
  /// What is at vector `copy` (or, at a scalar address, in the scalar), of the type of registers; 0 outside of the
  /// mask.
  llvm::Value *loadBack(int buffer, const Linear &address, unsigned copy);

  /// Lanes that count in the tail, or null outside of it.
  llvm::Value *mask() const { return tailMask; }

  /// Values of an inner scope are forgotten at its end: they do not dominate what follows.
  struct Scope {
    Point &point;
    size_t depth;
    explicit Scope(Point &point) : point(point), depth(point.trail.size()) {}
    ~Scope() { point.release(depth); }
  };

private:
  llvm::Value *evaluateNode(int node, unsigned copy);
  llvm::Value *load(const Node &node, unsigned copy);
  llvm::Value *linear(const Linear &linear, unsigned copy, bool atFirstLane);
  llvm::Value *gatherAddresses(const Node &node, unsigned copy);
  llvm::Value *pointer(int buffer, const Linear &address, unsigned copy);
  bool isUnit(const Linear &address) const;
  void release(size_t depth);
  llvm::Value *wide(llvm::Value *value);

  Builder &b;
  const Target &target;
  const Kernel &kernel;
  llvm::ArrayRef<llvm::Value *> bases;
  int vectorDim;
  unsigned lanes, count = 1;
  llvm::Value *tailMask = nullptr;
  llvm::SmallVector<llvm::Value *, 8> indices;
  std::vector<llvm::SmallVector<llvm::Value *, 4>> values; // of a node, by copy
  std::vector<std::pair<int, unsigned>> trail;             // what was evaluated, in order
};

} // namespace hw::backend
