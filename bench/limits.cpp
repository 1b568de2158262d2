// What the machine can do at most, for bench/sweep, as one line of JSON: {"f32": GFLOP/s, "f64": GFLOP/s, "gbytes":
// [[size of the data in bytes, GB/s], ...]}. Built by bench/sweep with -O3 -march=native -fopenmp; shares nothing with
// hwc.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <omp.h>
#include <vector>

/// The shortest of a few runs, in seconds: whatever else the machine does only ever makes one longer.
template <class Work> static double shortest(Work work) {
  double best = 1e9;
  for (int i = 0; i < 15; ++i) {
    auto start = std::chrono::steady_clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

#ifdef __AVX512F__
constexpr int kBytes = 64, kChains = 24;
#elif defined(__AVX__)
constexpr int kBytes = 32, kChains = 12;
#else
constexpr int kBytes = 16, kChains = 12;
#endif

/// GFLOP/s of independent multiply-adds in registers, on all threads: as many chains as a product's kernel keeps.
template <class T> static double multiplyAdds() {
  typedef T Vector __attribute__((vector_size(kBytes)));
  constexpr long kTurns = 200'000;
  double seconds = shortest([&] {
#pragma omp parallel
    {
      Vector sums[kChains] = {}, a = Vector{} + T(0.999), b = Vector{} + T(1e-3);
#pragma GCC unroll 32
      for (Vector &sum : sums)
        asm volatile("" : "+v"(sum)); // no two are known to be equal
      for (long turn = 0; turn < kTurns; ++turn) {
#pragma GCC unroll 32
        for (Vector &sum : sums)
          sum = sum * a + b;
      }
#pragma GCC unroll 32
      for (Vector &sum : sums)
        asm volatile("" ::"v"(sum));
    }
  });
  return 2.0 * kTurns * kChains * (kBytes / sizeof(T)) * omp_get_max_threads() / seconds * 1e-9;
}

/// GB/s of y = y + x over two arrays of `bytes` together: what is read and written, without the read that a cache
/// line's first write costs.
static double stream(long bytes) {
  long count = bytes / 8, turns = std::max(1L, (16L << 20) / bytes);
  std::vector<float> x(count, 1), y(count, 1);
  double seconds = shortest([&] {
#pragma omp parallel
    {
      long n = count / omp_get_num_threads(), first = n * omp_get_thread_num();
      float *to = y.data() + first;
      const float *from = x.data() + first;
      for (long turn = 0; turn < turns; ++turn) {
#pragma omp simd
        for (long i = 0; i < n; ++i)
          to[i] += from[i];
        asm volatile("" ::: "memory");
      }
    }
  });
  return 1.5 * double(bytes) * double(turns) / seconds * 1e-9;
}

constexpr long kSmallest = 16 << 10; // bytes

int main(int argc, char **argv) {
  omp_set_num_threads(argc > 1 ? std::atoi(argv[1]) : omp_get_max_threads());
  std::printf("{\"f32\": %.1f, \"f64\": %.1f, \"gbytes\": [", multiplyAdds<float>(), multiplyAdds<double>());
  for (long bytes = kSmallest; bytes <= 128 << 20; bytes *= 2)
    std::printf("%s[%ld, %.1f]", bytes == kSmallest ? "" : ", ", bytes, stream(bytes));
  std::printf("]}\n");
}
