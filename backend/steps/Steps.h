// One entry function as a list of steps over buffers: what is left to do is to generate code for each.
#pragma once
#include "backend/steps/Product.h"
#include "llvm/ADT/SetVector.h"
#include <memory>

namespace hw::backend {

struct StepList;

struct Buffer {
  enum Place { Argument, Result, Scratch, Constant, Local } place; // Local: a tile's rows, each thread its own
  DType type;
  int64_t elements;
  unsigned number = 0;       // of the argument or result
  int64_t offset = 0;        // in scratch, or in the thread's scratch
  mlir::Value constant;      // the value of a dense constant
  int64_t rowElements = 0;   // Local: from row to row
  int first = -1, last = -1; // when it is in use: phases; Local: stages
  int64_t bytes() const { return elements * bytesOf(type); }
};

/// A loop nest, or a product with its epilogue.
struct Stage {
  enum Kind { Loops, Contract } kind;
  Kernel kernel;                      // Contract: the epilogue
  Product product;                    // Contract
  Tiling tiling;                      // Contract
  llvm::SmallVector<int, 2> operands; // Contract: buffers a, b
  mlir::Operation *op = nullptr;
  mlir::Location loc;
  double flops = 0, bytes = 0; // of a call of the entry

  Stage(Kind kind, mlir::Location loc, mlir::Operation *op) : kind(kind), op(op), loc(loc) {}
  std::string title() const; // e.g. "product 2000x60x30, max"
};

/// A region runs its stages over a range, 0..extent-1, of a dimension that all of them have: tasks of `chunk`, dealt to
/// threads, each in tiles of `tile`: on one tile all stages run before the next tile begins. What a stage sums over the
/// range lands in a row of partial sums, one a task, and a later step adds those up in the order of tasks.
///
/// A map runs its body on each of `extent` groups, tasks of `chunk`; the body is a list of steps of its own, which one
/// thread runs in the thread's own scratch. Sums over groups lie in a row for each task, as above.
struct Step {
  enum Kind { Region, External, Library, Fill, Copy, Check, Map } kind;
  std::vector<Stage> stages; // Region
  int64_t extent = 1, chunk = 1, tile = 1;
  struct Partial {
    int buffer; // `tasks() * elements` of it
    int64_t elements;
    bool startsAtZero; // stages add to it
  };
  llvm::SmallVector<Partial, 4> partials;
  std::string why;                   // of the choices, for people
  Product product;                   // External
  int32_t activation = 0;            // External
  mlir::Operation *op = nullptr;     // Library, External
  llvm::SmallVector<int, 3> inputs;  // buffers; External: a, b, bias or -1
  llvm::SmallVector<int, 1> outputs; // buffers
  uint8_t fill = 0;                  // Fill: every byte
  int32_t ordinal = 0;               // Check: what the output becomes where inputs[0] is not finite and it is -1
  // Map: the steps, whose arguments are the inputs and then the summed outputs, before this group's.
  std::shared_ptr<const StepList> body;
  llvm::SmallVector<bool> mapped; // of an input: it has a part for each group
  llvm::SmallVector<bool> summed; // of an output: it has a part for each task; else for each group
  double flops = 0, bytes = 0;    // not Region
  mlir::Location loc;             // of the op it is named after

  Step(Kind kind, mlir::Location loc, mlir::Operation *op = nullptr) : kind(kind), op(op), loc(loc) {}
  int64_t tasks() const { return (extent + chunk - 1) / chunk; }
  bool isParallel() const { return (kind == Region || kind == Map) && tasks() > 1; }
  /// Runs on the thread that calls the entry, with all threads to itself.
  bool isCall() const { return kind == External || kind == Library; }
  std::string title() const;
};

struct StepList {
  std::vector<Buffer> buffers;
  std::vector<Step> steps;
  std::vector<std::string> notes;                  // of choices that are no step's, for people
  std::vector<llvm::SmallVector<unsigned>> phases; // steps that may run at the same time
  llvm::DenseMap<int, int> sameMemory;             // a result's buffer: the argument's that it takes over
  int64_t scratch = 0, threadScratch = 0;          // bytes
  double flops = 0, bytes = 0;

  int addScratch(DType type, int64_t elements);
  /// Where the threads' own scratch begins, and where it ends if there is one thread.
  int64_t sharedScratch() const { return (scratch + 63) / 64 * 64; }
  int64_t scratchOfOne() const { return sharedScratch() + threadScratch; }
  /// The buffer whose number stands for the memory: the argument's, of a result that takes it over.
  int memoryOf(int buffer) const;
  /// The buffers that a step reads, and those that it writes; an argument and the result that takes over its memory are
  /// one, by the argument's number.
  struct Access {
    llvm::SmallSetVector<int, 8> reads, writes;
  };
  Access accessOf(const Step &step) const;
  Access accessOf(const Stage &stage) const;
  static bool conflict(const Access &before, const Access &after);
  std::string print() const;
};

} // namespace hw::backend
