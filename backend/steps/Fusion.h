// What is kept in memory, and which loops run together: the plan of one entry function, before any loop is built.
#pragma once
#include "backend/Options.h"
#include "backend/steps/Kernel.h"
#include "ir/Dialects.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/SetVector.h"

namespace hw::backend {

/// One value that a unit computes: `source` at every point of the unit's domain, stored (or reduced) into `dest`.
struct RootSpec {
  RootKind kind;
  mlir::Operation *op;  // the op whose result `dest` is
  mlir::Value source;   // traced at the domain's own index
  mlir::Value dest;     // buffer it goes to
  int64_t concatAt = 0; // concat: where along its dimension this operand starts
};

/// What runs as one: a loop nest, a contraction with its epilogue, a call of the runtime, or the zeroing of a buffer.
struct Unit {
  enum Kind { Loops, Contract, Library, Fill } kind;
  mlir::Operation *op = nullptr; // Contract, Library, Fill
  llvm::SmallVector<int64_t, 4> domain;
  uint64_t reduced = 0;
  bool external = false; // Contract: done by oneDNN
  llvm::SmallVector<RootSpec, 4> roots;
  llvm::SmallSetVector<unsigned, 8> after; // units that must have run
};

struct FusionOptions {
  bool fuse = true; // false: every op's result is kept, every op a unit (diagnose)
  Products products = Products::Automatic;
};

struct FusionPlan {
  std::vector<Unit> units;            // in program order
  llvm::SmallVector<unsigned> order;  // a topological order of them
  llvm::DenseSet<mlir::Value> stored; // values in memory (arguments and dense constants apart)
  llvm::DenseMap<mlir::Value, llvm::SmallVector<unsigned, 2>> producers; // units that write a stored value

  bool isStored(mlir::Value value) const { return stored.contains(value); }
  /// Values in memory that the unit reads.
  llvm::SetVector<mlir::Value> reads(const Unit &unit) const;
  /// Appends a unit that has nothing to wait for yet.
  unsigned add(Unit unit);
  /// `unit` runs after `before`.
  void wait(unsigned unit, unsigned before);
  /// How many units run one after the other before this one, at least.
  unsigned levelOf(unsigned unit) const { return levels[unit]; }
  /// The units of this level and above that dependences let run before one of `units`.
  llvm::DenseSet<unsigned> before(llvm::ArrayRef<unsigned> units, unsigned level) const;
  /// Orders the units anew, after edges were added.
  void sort();

private:
  std::vector<unsigned> levels;
  std::vector<llvm::SmallVector<unsigned, 4>> waiting; // for each unit, those that wait for it
};

FusionPlan planFusion(mlir::Block &block, const FusionOptions &options);

} // namespace hw::backend
