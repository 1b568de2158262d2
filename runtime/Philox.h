// Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1,
// 2, 3" (SC 2011): a random number is a function of (key, counter), so order and threads do not matter.
#pragma once

#include <array>
#include <cstdint>

namespace hw {

using PhiloxCounter = std::array<uint32_t, 4>;
using PhiloxKey = std::array<uint32_t, 2>;

/// Four random words for (counter, key): ten rounds, the paper's section 5.3 and table 2.
constexpr PhiloxCounter philox4x32(PhiloxCounter counter, PhiloxKey key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0], b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

/// The words of the counters (0, stream, tag), (1, stream, tag), ... one after the other. `tag` keeps uses with the
/// same seed and stream apart.
class PhiloxStream {
public:
  PhiloxStream(uint64_t seed, uint64_t stream, uint32_t tag)
      : key{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
        next{0, static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32), tag} {}

  uint32_t operator()() {
    if (used == 4) {
      words = philox4x32(next, key);
      ++next[0];
      used = 0;
    }
    return words[used++];
  }

  /// Uniform in 0..bound-1 without bias, bound > 0 (Lemire, "Fast random integer generation in an interval", 2019).
  uint32_t below(uint32_t bound) {
    uint64_t product = uint64_t{(*this)()} * bound;
    if (static_cast<uint32_t>(product) < bound) {
      const uint32_t threshold = -bound % bound;
      while (static_cast<uint32_t>(product) < threshold)
        product = uint64_t{(*this)()} * bound;
    }
    return static_cast<uint32_t>(product >> 32);
  }

  /// Uniform in [-1, 1).
  double signedUnit() { return static_cast<int32_t>((*this)()) * 0x1p-31; }

private:
  PhiloxKey key;
  PhiloxCounter next, words{};
  int used = 4;
};

/// What the streams are for.
enum PhiloxTag : uint32_t { shuffleTag = 0x73687566 /* "shuf" */, gradcheckTag = 0x67726164 /* "grad" */ };

} // namespace hw
