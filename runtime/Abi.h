// What compiled code and the runtime know of each other. Everything here is plain C, so that an object file emitted by
// LLVM can be linked into an executable or loaded in memory alike. Bump HW_ABI with every change.
#pragma once
#include <stdint.h>

#define HW_ABI 5

#ifdef __cplusplus
extern "C" {
#endif

/// Element types, in plans ("f32", ...) and descriptors.
enum hw_dtype { HW_F32, HW_F64, HW_I1 /* one byte, 0 or 1 */, HW_I8, HW_UI8, HW_I32, HW_UI32, HW_UI64 };

/// A compiled function. `args` are the addresses of its arguments, then of its results (64-byte aligned, row-major,
/// dense); a result may be the very buffer of a donated argument. `scratch` is room for what it needs in between, as
/// much as its entry says.
typedef void (*hw_function)(void *const *args, void *scratch);

/// One kernel or call of a compiled function, for people: `hwc bench` and traces.
typedef struct {
  const char *name;     // what it does, e.g. "product 2000x60x30, max"
  const char *location; // of the op it is named after, e.g. "fit.hw:3:10"; may be empty
  double flops, bytes;  // of one call of the entry: multiplications and additions; memory read and written once
} hw_step;

typedef struct {
  const char *name; // e.g. "train1.step"
  hw_function function;
  uint64_t scratch;        // bytes
  uint64_t thread_scratch; // bytes that each thread has besides, behind the scratch
  double flops, bytes;     // the sums of its steps
  const hw_step *steps;    // in the order in which they run
  uint64_t step_count;
} hw_entry;

/// One matrix product that oneDNN does: c = activation(a b + bias), per batch. Strides in elements of (batch, row,
/// column). Created once, when the program loads; compiled code calls it by index.
enum hw_activation { HW_LINEAR, HW_RELU, HW_TANH, HW_LOGISTIC };
typedef struct {
  int64_t batch, m, n, k;
  int64_t a_stride[3], b_stride[3], c_stride[3];
  int32_t has_bias;   // a vector of n
  int32_t activation; // hw_activation
  int32_t alone;      // each call is one thread's, and several threads may be in one at the same time
} hw_matmul;

/// One convolution that oneDNN does, of `spatial` dimensions (1 to 3), without groups. Activations lie channels-last
/// and dense: x [images, input..., channels_in], y [images, output..., channels_out]. Weights lie in blocks of `block`
/// channels, the last of a dimension filled up with zeros, which every convolution reads and writes as such:
///
///   channels_in <= 3:    [channels_out / block, kernel..., channels_in, block of channels_out]
///   else:                [channels_out / block, channels_in / block, kernel..., block of channels_in, of channels_out]
///   HW_BACKWARD_DATA:    [channels_out / block, channels_in / block, kernel..., block of channels_out, of channels_in]
///
/// forward: y = activation(x * w + bias); backward_data: x, and backward_weights: w, of which y is the gradient.
enum hw_convolution_kind { HW_FORWARD, HW_BACKWARD_DATA, HW_BACKWARD_WEIGHTS };
typedef struct {
  int32_t kind; // hw_convolution_kind
  int32_t spatial;
  int64_t images, channels_in, channels_out;
  int64_t input[3], kernel[3], output[3], stride[3], dilation[3] /* 1: none */, low[3], high[3] /* padding */;
  int32_t block;
  int32_t has_bias;   // forward: a vector of channels_out
  int32_t activation; // forward: hw_activation
  int32_t alone;      // as of hw_matmul
} hw_convolution;

/// What an object exports under the symbol `hw_program_descriptor`.
typedef struct {
  uint32_t abi;          // HW_ABI
  uint32_t vector_bytes; // 64, 32 or 16: the CPU must have AVX-512, AVX2, or nothing special
  const char *cpu;       // the LLVM name of the CPU it was compiled for
  const char *plan;      // JSON: docs/design.md
  uint64_t plan_size;
  const hw_entry *entries;
  uint64_t entry_count;
  const hw_matmul *matmuls;
  uint64_t matmul_count;
  const hw_convolution *convolutions;
  uint64_t convolution_count;
} hw_program;

//---- called by compiled code -----------------------------------------------------------------------------------------

/// Task number `task` of a phase; `thread` is the number, 0 to threads()-1, of the thread that runs it: no two tasks
/// with the same one run at the same time.
typedef void (*hw_task)(void *frame, int64_t task, int64_t thread);
typedef struct {
  hw_task run;
  int64_t tasks;
} hw_phase;

/// Runs all tasks of each phase before those of the next one, on the program's threads: which of them runs a task is
/// open. Called from inside of a task, everything runs on that thread, as number 0.
void hw_parallel(const hw_phase *phases, int64_t count, void *frame);

/// In programs that were compiled with marks: thread number `thread` begins or ends its part of a step. Entries and
/// steps are numbered as in the descriptor. A step can be marked many times in a call (once a tile).
void hw_mark(int64_t entry, int64_t step, int64_t thread, int32_t is_end);

/// Runs matmul number `index` of the program's descriptor (f32), on thread number `thread` if it is one that runs
/// `alone`.
void hw_run_matmul(int64_t index, int64_t thread, const void *a, const void *b, const void *bias, void *c);

/// Runs convolution number `index` of the program's descriptor (f32) on its two operands, in the order x, w, y of those
/// that it has, and writes the third. `bias` may be null; `thread` as above.
void hw_run_convolution(int64_t index, int64_t thread, const void *a, const void *b, const void *bias, void *result);

/// Dense linear algebra on row-major matrices, `batch` of them; `is_f64` chooses the element type. See hw.cholesky and
/// its neighbours.
void hw_cholesky(int32_t is_f64, int64_t batch, int64_t n, const void *a, void *result);
void hw_triangular_solve(int32_t is_f64, int64_t batch, int64_t n, int64_t k, int32_t transposed, const void *t,
                         const void *b, void *result);
void hw_lu_solve(int32_t is_f64, int64_t batch, int64_t n, int64_t k, const void *a, const void *b, void *result);

/// result[i] = operand[i] as a whole number from 0 to `below` - 1, four bytes each; see hw.whole. `type`: an hw_dtype
/// of the operand's. If some number is none, the run ends behind this call of the entry, with a sentence that begins
/// with `place` and says what (`what`: "index") is outside of what (`outside`).
enum hw_whole_flags { HW_FROM_END = 1 /* -below to -1 count from the end */, HW_CUT = 2 /* a fraction is cut off */ };
void hw_whole(int32_t type, int32_t flags, int64_t count, int64_t below, const char *what, const char *outside,
              const char *place, const void *operand, void *result);

#ifdef __cplusplus
}
#endif
