#include "runtime/formats/Npy.h"
#include "runtime/formats/ByteReader.h"
#include "runtime/formats/OutDir.h"

#include <bit>
#include <cstring>
#include <fmt/ranges.h>

static_assert(std::endian::native == std::endian::little, "data files are little-endian; byte swapping is not written");

namespace hw {

namespace {

constexpr char magic[] = "\x93NUMPY";
constexpr size_t maxHeader = 1 << 20; // NumPy writes some hundred bytes
constexpr size_t maxRank = 64;        // as NumPy 2

struct NpyHeader {
  TensorHeader tensor{DType::f32, {}};
  bool fortran = false;
};

struct Descr {
  const char *code;
  DType dtype;
};
constexpr Descr descrs[] = {{"f4", DType::f32}, {"f8", DType::f64}, {"b1", DType::i1},  {"i1", DType::i8},
                            {"u1", DType::u8},  {"i4", DType::i32}, {"u4", DType::u32}, {"i8", DType::i64}};

/// The header is a Python dictionary literal with exactly the keys descr, fortran_order and shape.
class HeaderParser {
public:
  HeaderParser(std::string_view text, const std::string &place) : text(text), place(place) {}

  NpyHeader parse() {
    NpyHeader header;
    bool sawDescr = false, sawOrder = false, sawShape = false;
    expect('{');
    while (!accept('}')) {
      std::string_view key = string();
      expect(':');
      if (key == "descr" && !sawDescr) {
        header.tensor.dtype = dtype();
        sawDescr = true;
      } else if (key == "fortran_order" && !sawOrder) {
        header.fortran = boolean();
        sawOrder = true;
      } else if (key == "shape" && !sawShape) {
        header.tensor.shape = shape();
        sawShape = true;
      } else {
        damaged(fmt::format("the key {} is unknown or there twice", inQuotes(key, 40)));
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skipSpace();
    if (at != text.size())
      damaged("text follows the dictionary");
    if (!sawDescr || !sawOrder || !sawShape)
      damaged("one of descr, fortran_order and shape is missing");
    return header;
  }

private:
  [[noreturn]] void damaged(const std::string &why) {
    fail("{} has a damaged .npy header ({}); save the array again with numpy.save", place, why);
  }
  void skipSpace() {
    while (at < text.size() && (text[at] == ' ' || text[at] == '\n' || text[at] == '\t' || text[at] == '\r'))
      ++at;
  }
  bool accept(char c) {
    skipSpace();
    if (at >= text.size() || text[at] != c)
      return false;
    ++at;
    return true;
  }
  void expect(char c) {
    if (!accept(c))
      damaged(fmt::format("'{}' was expected at byte {}", c, at));
  }
  std::string_view string() {
    skipSpace();
    if (at >= text.size() || (text[at] != '\'' && text[at] != '"'))
      damaged(fmt::format("a string was expected at byte {}", at));
    size_t end = text.find(text[at], at + 1);
    if (end == std::string_view::npos)
      damaged("a string does not end");
    std::string_view inside = text.substr(at + 1, end - at - 1);
    at = end + 1;
    return inside;
  }
  bool boolean() {
    skipSpace();
    for (auto [word, value] : {std::pair<std::string_view, bool>{"True", true}, {"False", false}})
      if (text.substr(at, word.size()) == word) {
        at += word.size();
        return value;
      }
    damaged("fortran_order is neither True nor False");
  }
  Shape shape() {
    Shape result;
    expect('(');
    while (!accept(')')) {
      skipSpace();
      int64_t extent = 0;
      size_t start = at;
      for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at)
        if (__builtin_mul_overflow(extent, int64_t{10}, &extent) ||
            __builtin_add_overflow(extent, int64_t{text[at] - '0'}, &extent))
          damaged("an extent of shape is absurdly large");
      if (at == start)
        damaged("shape holds something that is not a whole number");
      if (at < text.size() && text[at] == 'L') // Python 2 wrote long integers so
        ++at;
      result.push_back(extent);
      if (result.size() > maxRank)
        damaged("shape has more than 64 axes");
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return result;
  }
  DType dtype() {
    skipSpace();
    if (at < text.size() && text[at] == '[')
      fail("{} holds a structured array; save each field as an array of its own with numpy.save", place);
    std::string_view descr = string();
    if (descr.size() >= 2 && descr[1] == 'O')
      fail("{} holds Python objects, which would be run to be read; save it as numbers, a.astype('float32')", place);
    if (descr.size() == 3) {
      char order = descr[0];
      for (const Descr &known : descrs)
        if (descr.substr(1) == known.code) {
          if (order == '>' && dtypeSize(known.dtype) > 1)
            fail("{} is big-endian ({}); save it as a.astype('<{}')", place, inQuotes(descr), known.code);
          if (order == '<' || order == '|' || order == '=' || order == '>')
            return known.dtype;
        }
    }
    fail("{} holds elements of type {}, not float32, float64, bool, int8, uint8, int32, uint32 or int64; convert it in "
         "NumPy with a.astype('float32')",
         place, inQuotes(descr, 40));
  }

  std::string_view text;
  const std::string &place;
  size_t at = 0;
};

std::string describe(const TensorHeader &header) {
  return fmt::format("{} {}", dtypeName(header.dtype), shapeString(header.shape));
}

NpyHeader readHeader(ByteReader &file) {
  unsigned char start[8];
  size_t got = file.read(start, sizeof start);
  if (got < sizeof start || std::memcmp(start, magic, 6) != 0)
    fail("{} is not an .npy file: it does not start with NumPy's magic bytes; save it with numpy.save", file.place());
  unsigned major = start[6], minor = start[7];
  if (major < 1 || major > 3 || minor != 0)
    fail("{} is .npy version {}.{}, not 1.0, 2.0 or 3.0; save it again with numpy.save", file.place(), major, minor);
  unsigned char raw[4] = {};
  file.readExactly(raw, major == 1 ? 2 : 4, "the length of its header");
  size_t length = raw[0] | raw[1] << 8 | raw[2] << 16 | static_cast<size_t>(raw[3]) << 24;
  if (length > maxHeader)
    fail("{} claims a header of {}; it is damaged, save it again with numpy.save", file.place(), humanBytes(length));
  std::string text(length, '\0');
  file.readExactly(text.data(), length, "its header");
  NpyHeader header = HeaderParser(text, file.place()).parse();
  uint64_t bytes = checkedByteSize(header.tensor.dtype, header.tensor.shape, file.place());
  file.expectRemaining(bytes, describe(header.tensor));
  return header;
}

/// Column-major to row-major, for any rank.
Tensor fromFortran(const Tensor &source, const std::string &place) {
  const Shape &shape = source.shape();
  Tensor result(source.dtype(), shape, place);
  size_t width = dtypeSize(source.dtype());
  Shape strides(shape.size()); // of the source, in elements
  int64_t stride = 1;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    strides[axis] = stride;
    stride *= shape[axis];
  }
  Shape index(shape.size(), 0);
  int64_t from = 0;
  for (int64_t to = 0; to < source.size(); ++to) {
    std::memcpy(result.data() + to * width, source.data() + from * width, width);
    for (size_t axis = shape.size(); axis-- > 0;) {
      from += strides[axis];
      if (++index[axis] < shape[axis])
        break;
      from -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return result;
}

void write(AtomicFile file, const TensorRef &tensor) {
  uint64_t bytes = checkedByteSize(tensor.dtype, tensor.shape, file.place());
  const char *code = "";
  for (const Descr &descr : descrs)
    if (descr.dtype == tensor.dtype)
      code = descr.code;
  std::string header = fmt::format("{{'descr': '{}{}', 'fortran_order': False, 'shape': ({}{}), }}",
                                   dtypeSize(tensor.dtype) == 1 ? '|' : '<', code, fmt::join(tensor.shape, ", "),
                                   tensor.shape.size() == 1 ? "," : "");
  // The data starts at a multiple of 64 bytes; the padding is spaces and a newline.
  size_t total = (10 + header.size() + 1 + 63) / 64 * 64;
  header.resize(total - 10 - 1, ' ');
  header += '\n';
  if (header.size() > 0xFFFF)
    fail("{} cannot be written: a shape of {} axes does not fit an .npy header", file.place(), tensor.shape.size());
  const char start[4] = {1, 0, static_cast<char>(header.size() & 0xFF), static_cast<char>(header.size() >> 8)};
  file.write(magic, 6);
  file.write(start, 4);
  file.write(header.data(), header.size());
  file.write(tensor.data, bytes);
  file.commit();
}

} // namespace

TensorHeader readNpyHeader(const std::string &path) {
  ByteReader file(path);
  return readHeader(file).tensor;
}

Tensor readNpy(const std::string &path) {
  ByteReader file(path);
  NpyHeader header = readHeader(file);
  Tensor tensor(header.tensor.dtype, header.tensor.shape, file.place());
  file.readExactly(tensor.data(), tensor.byteSize(), "its data");
  file.expectEnd(describe(header.tensor));
  if (tensor.dtype() == DType::i1) // any byte but 0 is true in NumPy; compiled code relies on 0 and 1
    for (uint8_t *p = tensor.as<uint8_t>(), *end = p + tensor.size(); p != end; ++p)
      *p = *p != 0;
  if (header.fortran && tensor.shape().size() > 1)
    return fromFortran(tensor, file.place());
  return tensor;
}

void writeNpy(const std::string &path, const TensorRef &tensor) { write(AtomicFile(path), tensor); }

std::string writeNpy(OutDir &out, const std::string &name, const TensorRef &tensor) {
  AtomicFile file = out.create(name, ".npy");
  std::string path = file.path();
  write(std::move(file), tensor);
  return path;
}

} // namespace hw
