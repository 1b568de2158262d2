// The cost function: everything that is chosen by weighing times is chosen here, from sizes and the target alone, so
// that results are reproducible. Nothing is ever timed when a program is compiled. bench/sweep shows where the choices
// are wrong, and by how much.
#pragma once
#include "backend/Options.h"
#include "backend/Target.h"
#include "backend/steps/Steps.h"

namespace hw::backend {

/// Whether oneDNN does the product: for `Automatic`, whether it does it better than generated loops.
bool goesToLibrary(DotGeneralOp dot, Products products);

/// Whether oneDNN does the convolution (any of the three ops): it has f32 only, and ours has the groups.
bool goesToLibrary(mlir::Operation *convolution, Products products, const Target &target);

/// What a core's second-level cache holds, in bytes.
constexpr int64_t kSecondLevel = 1 << 20;

/// How many of a batch's images, each with so many bytes in a layer, a thread takes at a time from layer to layer; all
/// of them where threads are better to share each layer. A divisor of `images`.
int64_t chooseGroup(int64_t images, int64_t bytesPerImage);

/// Whether a sum over all images, of so many bytes, is better added up group by group than from what all groups leave;
/// `terms`: products that a group has for each element.
bool prefersGroupSums(int64_t bytes, int64_t terms);

/// Whether a value of so many elements that several kernels use is better computed in each of them, at `cost` additions
/// an element, than kept in memory.
bool prefersRecomputing(unsigned cost, int64_t elements, unsigned bytesPerElement);

/// The vector dimension, lanes and unrolling of a kernel whose dimension `rangeDim` (-1: none) is run `extent` indices
/// a time.
void chooseLoops(Kernel &kernel, int rangeDim, int64_t extent, const Target &target);

/// Cycles of one thread for the kernel as it is scheduled, with data in the second-level cache.
double cyclesOf(const Kernel &kernel, const Target &target);

/// The register tile of a product of which at most `rows` rows are run at a time.
Tiling chooseTiling(const Product &product, int64_t rows, const Target &target);
/// Gives a product's stage that tile, and its epilogue the tile's vectors.
void setTiling(Stage &stage, int64_t rows, const Target &target);
/// Cycles of one thread for m x n x k of it.
double cyclesOf(const Product &product, const Tiling &tiling, int64_t m, int64_t k);

/// How a step of one stage is split into tasks: sets the stage's range, the step's extent, chunk and tile.
void chooseTasks(Step &step, const Target &target);

/// What chooseRows has to know of the rows that a region passes from stage to stage.
struct RowTraffic {
  int64_t localBytes = 0;  // a row of what is passed between stages
  int64_t sharedBytes = 0; // what every tile reads whole: weights
  int64_t sumBytes = 0;    // what is summed over rows
};
/// Tile and tasks of a region of several stages, register tiles and loops of its stages; false if it does not pay.
bool chooseRows(Step &region, const RowTraffic &traffic, const Target &target);

} // namespace hw::backend
