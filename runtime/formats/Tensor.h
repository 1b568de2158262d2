// Host tensors as files hold them: an element type, a shape, and row-major bytes.
#pragma once

#include "runtime/formats/Error.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace hw {

/// Element types of data files. i1 is stored as one byte, 0 or 1.
enum class DType { f32, f64, i1, i8, u8, i32, u32, i64 };

using Shape = std::vector<int64_t>;

/// Bytes of one element.
size_t dtypeSize(DType dtype);
/// "f32", "u8", ...: the names of the IR.
const char *dtypeName(DType dtype);
/// The inverse of dtypeName.
std::optional<DType> dtypeFromName(std::string_view name);

/// "[60000, 28, 28]", "[]" for a scalar.
std::string shapeString(const Shape &shape);

/// Elements of `shape`, or nothing if an extent is negative or the product does not fit.
std::optional<int64_t> elementCount(const Shape &shape);

/// Bytes that a tensor takes. Throws where `shape` is negative, overflows, or is more than this machine's memory:
/// headers are untrusted, so every reader asks before it allocates. `where` opens the sentence: "'x.npy'".
uint64_t checkedByteSize(DType dtype, const Shape &shape, const std::string &where);

/// What a file's header says, known without reading its data.
struct TensorHeader {
  DType dtype;
  Shape shape;
  bool operator==(const TensorHeader &) const = default;
};

/// A tensor that lies elsewhere (an arena, a Tensor): row-major, `data` holds elementCount(shape) elements.
struct TensorRef {
  DType dtype;
  Shape shape;
  const void *data;
};

template <class T> constexpr bool holds(DType dtype) {
  if constexpr (std::is_same_v<T, float>)
    return dtype == DType::f32;
  else if constexpr (std::is_same_v<T, double>)
    return dtype == DType::f64;
  else if constexpr (std::is_same_v<T, int8_t>)
    return dtype == DType::i8;
  else if constexpr (std::is_same_v<T, uint8_t>)
    return dtype == DType::u8 || dtype == DType::i1;
  else if constexpr (std::is_same_v<T, int32_t>)
    return dtype == DType::i32;
  else if constexpr (std::is_same_v<T, uint32_t>)
    return dtype == DType::u32;
  else if constexpr (std::is_same_v<T, int64_t>)
    return dtype == DType::i64;
  else
    return false;
}

/// An owning tensor, row-major, aligned to a cache line. Fresh memory is not touched, so a header that lies about a
/// compressed file's size costs address space only.
class Tensor {
public:
  Tensor() = default;
  /// Uninitialised. Throws as checkedByteSize does, or if memory is short.
  Tensor(DType dtype, Shape shape, const std::string &where = "a tensor");
  Tensor(const Tensor &other);
  Tensor &operator=(const Tensor &other);
  Tensor(Tensor &&) noexcept = default;
  Tensor &operator=(Tensor &&) noexcept = default;

  DType dtype() const { return type; }
  const Shape &shape() const { return extents; }
  int64_t size() const { return elements; } ///< elements
  uint64_t byteSize() const { return static_cast<uint64_t>(elements) * dtypeSize(type); }
  std::byte *data() { return storage.get(); }
  const std::byte *data() const { return storage.get(); }
  TensorRef ref() const { return {type, extents, storage.get()}; }

  /// The elements as T. Throws if T is not how the dtype is stored.
  template <class T> T *as() {
    checkType(holds<T>(type));
    return reinterpret_cast<T *>(storage.get());
  }
  template <class T> const T *as() const {
    checkType(holds<T>(type));
    return reinterpret_cast<const T *>(storage.get());
  }

private:
  struct Free {
    void operator()(std::byte *p) const;
  };
  void checkType(bool ok) const;

  DType type = DType::f32;
  Shape extents = {0};
  int64_t elements = 0;
  std::unique_ptr<std::byte, Free> storage;
};

} // namespace hw
