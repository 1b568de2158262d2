// Algebra of pooling: what can be done at the pooled size, which is a fraction of the whole.
#pragma once
#include "ir/Dialects.h"

namespace hw::backend {

/// Masks and sums of the gradient of a max-pooling or of window sums are taken before it is spread out:
///
///   select(y > 0, pool_scatter(u at index), 0)  ->  pool_scatter(select(p > 0, u, 0) at index)   (p, index = max_pool(y))
///   sum(pool_scatter(u at index))               ->  sum(u)
///   sum(window_spread(u))                       ->  window's elements * sum(u)
///
/// where the sums are over the pooled dimensions and perhaps others. For y = relu(x) the first is relu's derivative,
/// and a bias's gradient the second: neither reads anything of y's size any more.
void poolFirst(mlir::Block &block);

} // namespace hw::backend
