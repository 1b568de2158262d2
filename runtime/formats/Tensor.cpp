#include "runtime/formats/Tensor.h"

#include <cstdlib>
#include <cstring>
#include <fmt/ranges.h>
#include <sys/mman.h>
#include <unistd.h>

namespace hw {

namespace {
struct Info {
  DType dtype;
  size_t size;
  const char *name;
};
constexpr Info infos[] = {{DType::f32, 4, "f32"}, {DType::f64, 8, "f64"}, {DType::i1, 1, "i1"},
                          {DType::i8, 1, "i8"},   {DType::u8, 1, "u8"},   {DType::i32, 4, "i32"},
                          {DType::u32, 4, "u32"}, {DType::i64, 8, "i64"}};
constexpr size_t cacheLine = 64, hugePage = 2 << 20;
} // namespace

size_t dtypeSize(DType dtype) { return infos[static_cast<size_t>(dtype)].size; }
const char *dtypeName(DType dtype) { return infos[static_cast<size_t>(dtype)].name; }

std::optional<DType> dtypeFromName(std::string_view name) {
  for (const Info &info : infos)
    if (name == info.name)
      return info.dtype;
  return std::nullopt;
}

std::string shapeString(const Shape &shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

std::optional<int64_t> elementCount(const Shape &shape) {
  int64_t count = 1;
  bool empty = false;
  for (int64_t extent : shape) {
    if (extent < 0)
      return std::nullopt;
    if (extent == 0)
      empty = true;
    else if (__builtin_mul_overflow(count, extent, &count))
      return std::nullopt;
  }
  return empty ? 0 : count;
}

uint64_t checkedByteSize(DType dtype, const Shape &shape, const std::string &where) {
  std::optional<int64_t> count = elementCount(shape);
  int64_t bytes;
  if (!count || __builtin_mul_overflow(*count, static_cast<int64_t>(dtypeSize(dtype)), &bytes))
    fail("{} claims the impossible size {} of {}: its header is damaged; make the file again", where,
         shapeString(shape), dtypeName(dtype));
  auto memory = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  if (static_cast<uint64_t>(bytes) > memory)
    fail("{} holds {} {}, {}, more than this machine's memory of {}; use a part of it", where, dtypeName(dtype),
         shapeString(shape), humanBytes(bytes), humanBytes(memory));
  return bytes;
}

Tensor::Tensor(DType dtype, Shape shape, const std::string &where) : type(dtype), extents(std::move(shape)) {
  uint64_t bytes = checkedByteSize(type, extents, where);
  elements = *elementCount(extents);
  // aligned_alloc wants a multiple of the alignment; never zero bytes, so that data() is never null.
  const size_t alignment = bytes < hugePage ? cacheLine : hugePage;
  storage.reset(static_cast<std::byte *>(std::aligned_alloc(alignment, (bytes / alignment + 1) * alignment)));
  if (!storage)
    fail("{} needs {} of memory, which this machine does not have free; use a part of it", where, humanBytes(bytes));
  if (alignment == hugePage) // a data set is written once: most of that time would go into its pages of 4 KiB
    madvise(storage.get(), bytes, MADV_HUGEPAGE);
}

Tensor::Tensor(const Tensor &other) : type(other.type), extents(other.extents), elements(other.elements) {
  if (!other.storage)
    return;
  Tensor copy(other.type, other.extents);
  std::memcpy(copy.data(), other.data(), other.byteSize());
  storage = std::move(copy.storage);
}

Tensor &Tensor::operator=(const Tensor &other) {
  if (this != &other)
    *this = Tensor(other);
  return *this;
}

void Tensor::Free::operator()(std::byte *p) const { std::free(p); }

void Tensor::checkType(bool ok) const {
  if (!ok)
    fail("a tensor of {} {} was read as another type", dtypeName(type), shapeString(extents));
}

} // namespace hw
