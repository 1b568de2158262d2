// Dense linear algebra outside compiled code: Eigen behind plain functions, in one translation unit.
#pragma once

#include <cstdint>

namespace hw {

/// Eigenvalues, ascending, [n] and, unless `vectors` is null, eigenvectors [n, n], one a column, of the symmetric
/// row-major matrix a: [n, n]. Computed in f64 from (A + A^T) / 2; NaN everywhere where A is not finite. Returns the
/// largest |A - A^T| over the largest |A|, so that the caller can object to a matrix that is not symmetric.
double symmetricEigensystem(bool isF64, int64_t n, const void *a, void *values, void *vectors);

} // namespace hw
