#include "runtime/Whole.h"

#include "runtime/Abi.h"
#include "runtime/formats/Error.h"
#include "runtime/formats/Text.h"

#include <cmath>
#include <type_traits>

namespace hw::runtime {

thread_local constinit bool foundOutside = false;

namespace {

/// The first number that hw_whole could give no place to. Its texts are the program's own.
struct Outside {
  const char *what, *outside, *place;
  double number;
};
thread_local constinit Outside first{};

/// The number from 0 to below - 1 that x stands for, or -1.
template <class T> int64_t wholeOf(T x, int32_t flags, int64_t below) {
  const auto end = static_cast<double>(below), number = static_cast<double>(x);
  const bool fits = number < end && number > (flags & HW_FROM_END ? -end - 1 : -1.0); // NaN does not
  const int64_t whole = fits ? static_cast<int64_t>(x) : -1;
  if (!fits || (!(flags & HW_CUT) && static_cast<double>(whole) != number))
    return -1;
  if (whole >= 0)
    return whole;
  return flags & HW_FROM_END && whole >= -below ? whole + below : -1;
}

template <class T> int64_t allOf(int32_t flags, int64_t count, int64_t below, const T *operand, uint32_t *result) {
  int64_t firstOutside = count;
  for (int64_t i = count; i-- > 0;) {
    const int64_t whole = wholeOf(operand[i], flags, below);
    firstOutside = whole < 0 ? i : firstOutside;
    result[i] = static_cast<uint32_t>(whole < 0 ? 0 : whole);
  }
  return firstOutside;
}

/// Of i32, most of them: a vector at a time.
int64_t allOf(int32_t flags, int64_t count, int64_t below, const int32_t *operand, uint32_t *result) {
  const auto end = static_cast<uint32_t>(below), back = flags & HW_FROM_END ? end : 0;
  uint32_t outside = 0;
  for (int64_t i = 0; i < count; ++i) {
    const auto number = static_cast<uint32_t>(operand[i]), whole = number + (operand[i] < 0 ? back : 0);
    outside |= whole < end ? 0 : 1;
    result[i] = whole;
  }
  return outside ? allOf<int32_t>(flags, count, below, operand, result) : count;
}

} // namespace

void failOutside() {
  foundOutside = false;
  const bool isWhole = first.number == std::floor(first.number) && std::isfinite(first.number);
  fail("{}{}{} {} is {}{}", first.place, *first.place ? ": " : "", first.what, shortest(first.number),
       isWhole ? "outside " : "not a whole number", isWhole ? first.outside : "");
}

} // namespace hw::runtime

extern "C" void hw_whole(int32_t type, int32_t flags, int64_t count, int64_t below, const char *what,
                         const char *outside, const char *place, const void *operand, void *result) {
  using namespace hw::runtime;
  auto look = [&](auto one) {
    using T = decltype(one);
    const T *numbers = static_cast<const T *>(operand);
    const int64_t at = allOf(flags, count, below, numbers, static_cast<uint32_t *>(result));
    if (at < count && !foundOutside) {
      foundOutside = true;
      first = {what, outside, place, static_cast<double>(numbers[at])};
    }
  };
  switch (type) {
  case HW_F32:
    return look(float());
  case HW_F64:
    return look(double());
  case HW_I1:
  case HW_UI8:
    return look(uint8_t());
  case HW_I8:
    return look(int8_t());
  case HW_I32:
    return look(int32_t());
  case HW_UI32:
    return look(uint32_t());
  case HW_UI64:
    return look(uint64_t());
  }
}
