#include "runtime/LinearAlgebra.h"

#include "runtime/Abi.h"

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <Eigen/LU>

#include <cmath>
#include <limits>

template <class T> using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T> using In = Eigen::Map<const Matrix<T>>;
template <class T> using Out = Eigen::Map<Matrix<T>>;

template <class T> static const T *at(const void *base, int64_t index, int64_t size) {
  return static_cast<const T *>(base) + index * size;
}
template <class T> static T *at(void *base, int64_t index, int64_t size) {
  return static_cast<T *>(base) + index * size;
}

template <class T> static void cholesky(int64_t batch, int64_t n, const void *a, void *result) {
  for (int64_t i = 0; i < batch; ++i) {
    Out<T> out(at<T>(result, i, n * n), n, n);
    Eigen::LLT<Matrix<T>, Eigen::Lower> llt{In<T>(at<T>(a, i, n * n), n, n)};
    if (llt.info() == Eigen::Success) {
      const Matrix<T> lower = llt.matrixL();
      out = lower;
    } else {
      out.setConstant(std::numeric_limits<T>::quiet_NaN());
      out.template triangularView<Eigen::StrictlyUpper>().setZero();
    }
  }
}

template <class T>
static void triangularSolve(int64_t batch, int64_t n, int64_t k, bool transposed, const void *t, const void *b,
                            void *result) {
  for (int64_t i = 0; i < batch; ++i) {
    In<T> matrix(at<T>(t, i, n * n), n, n);
    Out<T> out(at<T>(result, i, n * k), n, k);
    if (result != b)
      out = In<T>(at<T>(b, i, n * k), n, k);
    if (transposed)
      matrix.transpose().template triangularView<Eigen::Upper>().solveInPlace(out);
    else
      matrix.template triangularView<Eigen::Lower>().solveInPlace(out);
  }
}

template <class T>
static void luSolve(int64_t batch, int64_t n, int64_t k, const void *a, const void *b, void *result) {
  for (int64_t i = 0; i < batch; ++i) {
    Eigen::PartialPivLU<Matrix<T>> lu{In<T>(at<T>(a, i, n * n), n, n)};
    const Matrix<T> solution = lu.solve(In<T>(at<T>(b, i, n * k), n, k));
    Out<T>(at<T>(result, i, n * k), n, k) = solution;
  }
}

extern "C" void hw_cholesky(int32_t is_f64, int64_t batch, int64_t n, const void *a, void *result) {
  is_f64 ? cholesky<double>(batch, n, a, result) : cholesky<float>(batch, n, a, result);
}

extern "C" void hw_triangular_solve(int32_t is_f64, int64_t batch, int64_t n, int64_t k, int32_t transposed,
                                    const void *t, const void *b, void *result) {
  is_f64 ? triangularSolve<double>(batch, n, k, transposed, t, b, result)
         : triangularSolve<float>(batch, n, k, transposed, t, b, result);
}

extern "C" void hw_lu_solve(int32_t is_f64, int64_t batch, int64_t n, int64_t k, const void *a, const void *b,
                            void *result) {
  is_f64 ? luSolve<double>(batch, n, k, a, b, result) : luSolve<float>(batch, n, k, a, b, result);
}

namespace hw {

template <class T> static double eigensystem(int64_t n, const void *a, void *values, void *vectors) {
  if (n == 0)
    return 0;
  // Read before anything is written: a result may lie where the matrix lies.
  const Eigen::MatrixXd matrix = In<T>(static_cast<const T *>(a), n, n).template cast<double>();
  Eigen::Map<Eigen::Matrix<T, Eigen::Dynamic, 1>> valuesOut(static_cast<T *>(values), n);
  auto giveUp = [&] {
    valuesOut.setConstant(std::numeric_limits<T>::quiet_NaN());
    if (vectors)
      Out<T>(static_cast<T *>(vectors), n, n).setConstant(std::numeric_limits<T>::quiet_NaN());
  };
  // Eigen's iteration would not end well on a NaN.
  if (!matrix.allFinite()) {
    giveUp();
    return 0;
  }
  const double largest = matrix.cwiseAbs().maxCoeff();
  const double asymmetry = (matrix - matrix.transpose()).cwiseAbs().maxCoeff();
  const Eigen::MatrixXd symmetric = 0.5 * (matrix + matrix.transpose());
  Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(symmetric,
                                                        vectors ? Eigen::ComputeEigenvectors : Eigen::EigenvaluesOnly);
  if (solver.info() == Eigen::Success) {
    valuesOut = solver.eigenvalues().template cast<T>();
    if (vectors)
      Out<T>(static_cast<T *>(vectors), n, n) = solver.eigenvectors().template cast<T>();
  } else {
    giveUp();
  }
  return largest > 0 ? asymmetry / largest : 0;
}

double symmetricEigensystem(bool isF64, int64_t n, const void *a, void *values, void *vectors) {
  return isF64 ? eigensystem<double>(n, a, values, vectors) : eigensystem<float>(n, a, values, vectors);
}

} // namespace hw
