// Files in and out: round trips, bytes that NumPy and the safetensors reference wrote, and every way to be wrong.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include "runtime/formats/Cifar10.h"
#include "runtime/formats/Csv.h"
#include "runtime/formats/Idx.h"
#include "runtime/formats/Inputs.h"
#include "runtime/formats/Npy.h"
#include "runtime/formats/Plot.h"
#include "runtime/formats/Process.h"
#include "runtime/formats/Safetensors.h"
#include "runtime/formats/Text.h"

#include <cmath>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <limits>
#include <set>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

namespace fs = std::filesystem;
using namespace hw;
using namespace std::string_literals;

namespace {

/// A folder that is gone after the test.
struct Scratch {
  fs::path root;
  Scratch() {
    std::string pattern = (fs::temp_directory_path() / "hw-formats-XXXXXX").string();
    root = mkdtemp(pattern.data());
  }
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(root, ignored);
  }
  std::string path(const std::string &name) const { return (root / name).string(); }
  std::string file(const std::string &name, const std::string &bytes) const {
    std::ofstream(path(name), std::ios::binary) << bytes;
    return path(name);
  }
};

std::string slurp(const std::string &path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE_MESSAGE(in, path);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

std::string gzipped(const std::string &bytes) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&stream, bytes.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef *>(const_cast<char *>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef *>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

/// The sentence of the hw::Error that `f` throws.
template <class F> std::string sentence(F f) {
  try {
    f();
  } catch (const Error &e) {
    return e.what();
  }
  return "(no error)";
}

/// Throws one clear sentence that holds `words` and, with a file, its name.
#define CHECK_SENTENCE(expression, words)                                                                              \
  do {                                                                                                                 \
    std::string said = sentence([&] { (void)(expression); });                                                          \
    INFO(said);                                                                                                        \
    CHECK(said.find(words) != std::string::npos);                                                                      \
    CHECK(said.find('\n') == std::string::npos);                                                                       \
  } while (0)

std::string hex(const std::string &digits) {
  std::string out;
  for (size_t i = 0; i + 1 < digits.size(); i += 2)
    out += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
  return out;
}

/// An .npy file as NumPy 2 writes it.
std::string npy(std::string dictionary, const std::string &data, int version = 1) {
  size_t prefix = version == 1 ? 10 : 12;
  size_t total = (prefix + dictionary.size() + 1 + 63) / 64 * 64;
  dictionary.resize(total - prefix - 1, ' ');
  dictionary += '\n';
  std::string out = "\x93NUMPY";
  out += static_cast<char>(version);
  out += '\0';
  uint32_t length = static_cast<uint32_t>(dictionary.size());
  out.append(reinterpret_cast<char *>(&length), version == 1 ? 2 : 4);
  return out + dictionary + data;
}

std::string npyDict(const std::string &descr, const std::string &shape, const std::string &fortran = "False") {
  return "{'descr': '" + descr + "', 'fortran_order': " + fortran + ", 'shape': " + shape + ", }";
}

template <class T> std::vector<T> values(const Tensor &tensor) {
  return std::vector<T>(tensor.as<T>(), tensor.as<T>() + tensor.size());
}

std::string be32(uint32_t v) {
  return {static_cast<char>(v >> 24), static_cast<char>(v >> 16), static_cast<char>(v >> 8), static_cast<char>(v)};
}

std::string idx(int type, const std::vector<uint32_t> &extents, const std::string &data) {
  std::string out = {0, 0, static_cast<char>(type), static_cast<char>(extents.size())};
  for (uint32_t e : extents)
    out += be32(e);
  return out + data;
}

} // namespace

TEST_SUITE("tensor") {
  TEST_CASE("element types") {
    for (DType t : {DType::f32, DType::f64, DType::i1, DType::i8, DType::u8, DType::i32, DType::u32, DType::i64})
      CHECK(dtypeFromName(dtypeName(t)) == t);
    CHECK(!dtypeFromName("f16"));
    CHECK(dtypeSize(DType::i64) == 8);
    CHECK(shapeString({}) == "[]");
    CHECK(shapeString({2, 3}) == "[2, 3]");
  }
  TEST_CASE("sizes are checked before memory is asked for") {
    CHECK(elementCount({}) == 1);
    CHECK(elementCount({5, 0, 7}) == 0);
    CHECK(!elementCount({-1}));
    CHECK(!elementCount({int64_t{1} << 40, int64_t{1} << 40}));
    CHECK(!elementCount({0, int64_t{1} << 40, int64_t{1} << 40}));
    CHECK_SENTENCE(checkedByteSize(DType::f64, {int64_t{1} << 61}, "'x'"), "impossible size");
    CHECK_SENTENCE(Tensor(DType::f32, {int64_t{1} << 50}, "'x'"), "memory");
  }
  TEST_CASE("a copy is its own, aligned, and typed") {
    Tensor a(DType::i32, {3});
    for (int i = 0; i < 3; ++i)
      a.as<int32_t>()[i] = i;
    Tensor b = a;
    b.as<int32_t>()[0] = 9;
    CHECK(values<int32_t>(a) == std::vector<int32_t>{0, 1, 2});
    CHECK(reinterpret_cast<uintptr_t>(b.data()) % 64 == 0);
    CHECK_SENTENCE(a.as<float>(), "another type");
  }
}

TEST_SUITE("text") {
  TEST_CASE("messages and figures get printable text only") {
    CHECK(inQuotes("a\x1b[31m\n") == "'a\\x1b[31m\\x0a'");
    CHECK(inQuotes("αβ") == "'αβ'");
    CHECK(inQuotes("\xff\xc0\xaf") == "'\\xff\\xc0\\xaf'"); // not UTF-8: a stray byte, an overlong slash
    CHECK(oneLine("a\nb\tc") == "a b c");
    CHECK(oneLine("abc", 2) == "ab…");
    CHECK(oneLine("x\u202Ey") == "x y");                    // a bidirectional override
    CHECK(oneLine("\xed\xa0\x80") == "\uFFFD\uFFFD\uFFFD"); // a surrogate
  }
  TEST_CASE("numbers are the shortest that read back") {
    CHECK(shortest(0.1) == "0.1");
    CHECK(shortest(0.1f) == "0.1");
    CHECK(shortest(std::nan("")) == "nan");
    CHECK(shortest(-INFINITY) == "-inf");
    double third = 1.0 / 3;
    CHECK(std::strtod(shortest(third).c_str(), nullptr) == third);
  }
}

TEST_SUITE("npy") {
  TEST_CASE("reads what NumPy wrote") {
    Scratch dir;
    std::string f32 = npy(npyDict("<f4", "(2, 3)"), hex("000000000000803f0000004000004040000080400000a040"));
    CHECK(f32.substr(8, 2) == "v\0"s); // NumPy's own length for this header
    std::string path = dir.file("a.npy", f32);
    CHECK(readNpyHeader(path) == TensorHeader{DType::f32, {2, 3}});
    CHECK(values<float>(readNpy(path)) == std::vector<float>{0, 1, 2, 3, 4, 5});

    path = dir.file("b.npy", npy(npyDict("<f8", "(2, 3)", "True"),
                                 hex("00000000000000000000000000000840000000000000f03f0000000000001040"
                                     "00000000000000400000000000001440")));
    CHECK(readNpyHeader(path) == TensorHeader{DType::f64, {2, 3}});
    CHECK(values<double>(readNpy(path)) == std::vector<double>{0, 1, 2, 3, 4, 5});

    CHECK(values<uint8_t>(readNpy(dir.file("c.npy", npy(npyDict("|b1", "(3,)"), "\x01\x00\x07"s)))) ==
          std::vector<uint8_t>{1, 0, 1});
    CHECK(values<int64_t>(readNpy(dir.file("d.npy", npy(npyDict("<i8", "()"), hex("0300000000000000"))))) ==
          std::vector<int64_t>{3});
    CHECK(values<uint32_t>(readNpy(dir.file("e.npy", npy(npyDict("<u4", "(3,)"), hex("010000000200000003000000"),
                                                         2)))) == std::vector<uint32_t>{1, 2, 3});
    CHECK(values<int8_t>(readNpy(dir.file("f.npy", npy(npyDict("|i1", "(2,)"), "\xff\x02", 3)))) ==
          std::vector<int8_t>{-1, 2});
    CHECK(values<int32_t>(readNpy(dir.file("g.npy", npy("{'shape': (1L,), \"descr\": '<i4','fortran_order':False}",
                                                        hex("feffffff"))))) == std::vector<int32_t>{-2});
    CHECK(readNpy(dir.file("h.npy", npy(npyDict("|u1", "(0, 3)"), ""))).size() == 0);
  }
  TEST_CASE("Fortran order of three axes") {
    Scratch dir;
    // np.asfortranarray(np.arange(24, dtype='u1').reshape(2, 3, 4)) as bytes
    std::string bytes(24, '\0');
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 3; ++j)
        for (int k = 0; k < 4; ++k)
          bytes[static_cast<size_t>(i + 2 * j + 6 * k)] = static_cast<char>(12 * i + 4 * j + k);
    Tensor t = readNpy(dir.file("a.npy", npy(npyDict("|u1", "(2, 3, 4)", "True"), bytes)));
    for (int i = 0; i < 24; ++i)
      CHECK(t.as<uint8_t>()[i] == i);
  }
  TEST_CASE("writes the bytes that NumPy writes, and reads them back") {
    Scratch dir;
    float data[6] = {0, 1, 2, 3, 4, 5};
    writeNpy(dir.path("a.npy"), {DType::f32, {2, 3}, data});
    CHECK(slurp(dir.path("a.npy")) ==
          npy(npyDict("<f4", "(2, 3)"), hex("000000000000803f0000004000004040000080400000a040")));
    uint8_t mask[2] = {1, 0};
    writeNpy(dir.path("b.npy"), {DType::i1, {2}, mask});
    CHECK(slurp(dir.path("b.npy")) == npy(npyDict("|b1", "(2,)"), "\x01\0"s));
    for (DType t : {DType::f32, DType::f64, DType::i1, DType::i8, DType::u8, DType::i32, DType::u32, DType::i64}) {
      Tensor zeros(t, {2, 1, 3});
      std::memset(zeros.data(), 1, zeros.byteSize());
      const std::string path = dir.path(fmt::format("{}.npy", static_cast<int>(t))); // what was read is not replaced
      writeNpy(path, zeros.ref());
      Tensor back = readNpy(path);
      CHECK(back.dtype() == t);
      CHECK(back.shape() == zeros.shape());
      CHECK(std::memcmp(back.data(), zeros.data(), zeros.byteSize()) == 0);
    }
    double scalar = 2.5;
    writeNpy(dir.path("s.npy"), {DType::f64, {}, &scalar});
    CHECK(values<double>(readNpy(dir.path("s.npy"))) == std::vector<double>{2.5});
    for (const auto &entry : fs::directory_iterator(dir.root)) // no temporary file is left
      CHECK(entry.path().extension() == ".npy");
  }
  TEST_CASE("gzip: read, and every damage seen") {
    Scratch dir;
    std::string plain = npy(npyDict("<i4", "(500,)"), std::string(2000, '\x05'));
    std::string gz = gzipped(plain);
    CHECK(readNpyHeader(dir.file("ok.npy.gz", gz)).shape == Shape{500});
    CHECK(readNpy(dir.path("ok.npy.gz")).as<int32_t>()[499] == 0x05050505);
    CHECK(readNpy(dir.file("misnamed.npy", gz)).size() == 500); // by magic, not by name
    // Two members, one after the other, are one file.
    CHECK(readNpy(dir.file("two.gz", gzipped(plain.substr(0, 700)) + gzipped(plain.substr(700)))).size() == 500);

    CHECK_SENTENCE(readNpy(dir.file("cut.gz", gz.substr(0, gz.size() - 9))), "truncated");
    CHECK_SENTENCE(readNpy(dir.file("cut8.gz", gz.substr(0, gz.size() - 3))), "truncated");
    std::string crc = gz;
    crc[crc.size() - 6] ^= 1;
    CHECK_SENTENCE(readNpy(dir.file("crc.gz", crc)), "damaged");
    CHECK_SENTENCE(readNpy(dir.file("tail.gz", gz + "junk")), "after the end of its gzip data");
    CHECK_SENTENCE(readNpy(dir.file("more.gz", gzipped(plain + "x"))), "more data");
    CHECK_SENTENCE(readNpy(dir.file("less.gz", gzipped(plain.substr(0, plain.size() - 1)))), "truncated");
    CHECK_SENTENCE(readNpyHeader(dir.file("lie.gz", gzipped(npy(npyDict("<i4", "(99999999,)"), "")))), "cannot hold");
    CHECK_SENTENCE(readNpyHeader(dir.file("only.gz", "\x1f\x8b")), "truncated");
  }
  TEST_CASE("wrong files") {
    Scratch dir;
    auto header = [&](const std::string &bytes) {
      std::string path = dir.file("wrong.npy", bytes);
      std::string said = sentence([&] { readNpyHeader(path); });
      CHECK(said == sentence([&] { readNpy(path); }));
      CHECK(said.find("wrong.npy") != std::string::npos);
      return said;
    };
    auto has = [](const std::string &said, const char *words) {
      INFO(said);
      CHECK(said.find(words) != std::string::npos);
    };
    CHECK_SENTENCE(readNpyHeader(dir.path("none.npy")), "there is no file");
    CHECK_SENTENCE(readNpyHeader(dir.root.string()), "is a folder");
    CHECK_SENTENCE(readNpyHeader(""), "empty name");
    CHECK_SENTENCE(readNpyHeader("a\0b"s), "NUL");
    CHECK_SENTENCE(readNpyHeader("/dev/zero"), "not an ordinary file");
    REQUIRE(mkfifo(dir.path("pipe").c_str(), 0600) == 0);
    CHECK_SENTENCE(readNpyHeader(dir.path("pipe")), "not an ordinary file"); // and does not wait for a writer
    has(header(""), "magic");
    has(header("\x93NUMPX\x01\x00"s), "magic");
    has(header("\x93NUMPY\x04\x00\x10\x00"s), "version 4.0");
    has(header("\x93NUMPY\x02\x00\xff\xff\xff\x7f"s), "claims a header");
    has(header("\x93NUMPY\x01\x00\x40\x00{'descr"s), "truncated");
    has(header(npy(npyDict("<f4", "(2, 3)"), std::string(23, 'x'))), "truncated");
    has(header(npy(npyDict("<f4", "(2, 3)"), std::string(25, 'x'))), "1 byte after its data");
    has(header(npy(npyDict(">f4", "(1,)"), "aaaa")), "big-endian");
    has(header(npy(npyDict("|O", "(1,)"), "aaaa")), "Python objects");
    has(header(npy(npyDict("<f2", "(2,)"), "aaaa")), "convert it");
    has(header(npy(npyDict("<U1", "(1,)"), "aaaa")), "convert it");
    has(header(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "aaaa")), "structured");
    has(header(npy(npyDict("<f4", "(-1,)"), "aaaa")), "not a whole number");
    has(header(npy(npyDict("<f4", "(99999999999999999999,)"), "aaaa")), "absurdly large");
    has(header(npy(npyDict("<f4", "(4611686018427387904, 4)"), "aaaa")), "impossible size");
    has(header(npy(npyDict("<f4", "(1000000000000000,)"), "aaaa")), "memory");
    has(header(npy(npyDict("<f4", "(1000000,)"), "aaaa")),
        "truncated"); // lies within reason: refused before allocating
    has(header(npy(npyDict("<f4", "(1,)", "Maybe"), "aaaa")), "neither True nor False");
    has(header(npy("{'descr': '<f4', 'shape': (1,), }", "aaaa")), "missing");
    has(header(npy("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", "aaaa")), "twice");
    has(header(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), } + x", "aaaa")), "follows");
    has(header(npy("{'descr': '<f4", "aaaa")), "does not end");
    has(header(npy("[1]", "aaaa")), "'{' was expected");
    std::string many = "(";
    for (int i = 0; i < 70; ++i)
      many += "1,";
    has(header(npy(npyDict("<f4", many + ")"), "aaaa")), "more than 64");
  }
  TEST_CASE("nothing is left of a file that could not be written") {
    CHECK_SENTENCE(writeNpy("/nowhere/at/all/x.npy", {DType::f32, {0}, nullptr}), "folder");
    Scratch dir;
    fs::create_directory(dir.path("x.npy")); // in the way of the rename
    float one = 1;
    CHECK_SENTENCE(writeNpy(dir.path("x.npy"), {DType::f32, {1}, &one}), "in its way");
    CHECK(std::distance(fs::directory_iterator(dir.root), fs::directory_iterator()) == 1);
  }
}

TEST_SUITE("idx") {
  TEST_CASE("every element type, big-endian to ours") {
    Scratch dir;
    CHECK(values<uint8_t>(readIdx(dir.file("u8", idx(8, {2, 2}, "\x01\x02\xfe\xff")))) ==
          std::vector<uint8_t>{1, 2, 254, 255});
    CHECK(values<int8_t>(readIdx(dir.file("i8", idx(9, {2}, "\x01\xff")))) == std::vector<int8_t>{1, -1});
    CHECK(values<int32_t>(readIdx(dir.file("i16", idx(0x0B, {3}, hex("0102fffe7fff"))))) ==
          std::vector<int32_t>{258, -2, 32767});
    CHECK(values<int32_t>(readIdx(dir.file("i32", idx(0x0C, {2}, hex("00000102fffffffe"))))) ==
          std::vector<int32_t>{258, -2});
    CHECK(values<float>(readIdx(dir.file("f32", idx(0x0D, {2}, hex("3f800000c0000000"))))) ==
          std::vector<float>{1, -2});
    CHECK(values<double>(readIdx(dir.file("f64", idx(0x0E, {1}, hex("3ff8000000000000"))))) ==
          std::vector<double>{1.5});
    CHECK(readIdxHeader(dir.path("i16")) == TensorHeader{DType::i32, {3}});
    CHECK(readIdx(dir.file("z.gz", gzipped(idx(8, {3}, "abc")))).as<uint8_t>()[2] == 'c');
  }
  TEST_CASE("wrong files") {
    Scratch dir;
    CHECK_SENTENCE(readIdxHeader(dir.file("a", "")), "not an IDX file");
    CHECK_SENTENCE(readIdxHeader(dir.file("a", "\x01\x00\x08\x01"s)), "not an IDX file");
    CHECK_SENTENCE(readIdxHeader(dir.file("a", idx(7, {1}, "a"))), "0x07");
    CHECK_SENTENCE(readIdxHeader(dir.file("a", idx(8, {}, "a"))), "0 axes");
    CHECK_SENTENCE(readIdxHeader(dir.file("a", "\0\0\x08\xff"s)), "255 axes");
    CHECK_SENTENCE(readIdxHeader(dir.file("a", "\0\0\x08\x03\0\0"s)), "truncated");
    CHECK_SENTENCE(readIdxHeader(dir.file("a", idx(8, {3}, "ab"))), "truncated");
    CHECK_SENTENCE(readIdxHeader(dir.file("a", idx(8, {3}, "abcd"))), "after its data");
    CHECK_SENTENCE(readIdxHeader(dir.file("a", idx(8, {0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}, "abcd"))),
                   "impossible size");
    CHECK_SENTENCE(readIdx(dir.file("a", gzipped(idx(8, {3}, "ab")))), "truncated");
    CHECK_SENTENCE(readIdx(dir.file("a", gzipped(idx(8, {3}, "abcd")))), "more data");
    CHECK_SENTENCE(readIdxHeader(dir.file("a", gzipped(idx(8, {1000, 1000, 100}, "ab")))), "cannot hold");
  }

  std::string images(uint32_t n, uint32_t side = 28) {
    return idx(8, {n, side, side}, std::string(n * side * side, '\x07'));
  }
  std::string labels(const std::string &of) { return idx(8, {static_cast<uint32_t>(of.size())}, of); }

  void fill(const Scratch &dir) {
    dir.file("train-images-idx3-ubyte.gz", gzipped(images(3)));
    dir.file("train-labels-idx1-ubyte", labels("\x00\x09\x05"s));
    dir.file("t10k-images.idx3-ubyte", images(2));
    dir.file("t10k-labels.idx1-ubyte.gz", gzipped(labels("\x01\x02")));
  }

  TEST_CASE("mnist finds its files under the names they go by") {
    Scratch dir;
    fill(dir);
    ImageSet set = mnist(dir.root.string());
    CHECK(set.train.count == 3);
    CHECK(set.test.count == 2);
    CHECK(set.train.height == 28);
    CHECK(readImages(set.train).shape() == Shape{3, 28, 28});
    CHECK(readImages(set.test).as<uint8_t>()[0] == 7);
    CHECK(values<uint8_t>(readLabels(set.train)) == std::vector<uint8_t>{0, 9, 5});
    CHECK(values<uint8_t>(readLabels(set.test)) == std::vector<uint8_t>{1, 2});
  }
  TEST_CASE("mnist says what is wrong with a folder") {
    Scratch dir;
    CHECK_SENTENCE(mnist(dir.path("nowhere")), "finds no folder");
    CHECK_SENTENCE(mnist(dir.root.string()), "train-images-idx3-ubyte"); // and never looks elsewhere
    fill(dir);
    dir.file("train-labels-idx1-ubyte", labels("\x00\x01"s));
    CHECK_SENTENCE(mnist(dir.root.string()), "3 images but");
    dir.file("train-labels-idx1-ubyte", labels("\x00\x0a\x01"s));
    CHECK_SENTENCE(readLabels(mnist(dir.root.string()).train), "label 10 for image 1");
    dir.file("train-labels-idx1-ubyte", idx(0x0C, {3}, std::string(12, '\0')));
    CHECK_SENTENCE(mnist(dir.root.string()), "labels as u8");
    fill(dir);
    dir.file("t10k-images.idx3-ubyte", images(2, 27));
    CHECK_SENTENCE(mnist(dir.root.string()), "27x27");
    dir.file("t10k-images.idx3-ubyte", idx(8, {2, 784}, std::string(1568, 'x')));
    CHECK_SENTENCE(mnist(dir.root.string()), "[N, height, width]");
    dir.file("t10k-images.idx3-ubyte", images(0));
    dir.file("t10k-labels.idx1-ubyte.gz", gzipped(labels("")));
    CHECK_SENTENCE(mnist(dir.root.string()), "no pixels");
    fill(dir);
    ImageSet set = mnist(dir.root.string());
    dir.file("t10k-images.idx3-ubyte", images(5));
    CHECK_SENTENCE(readImages(set.test), "changed while");
  }
  TEST_CASE("fashion_mnist reads the package's folder, or the one named") {
    Scratch dir;
    setenv("HW_FASHION_MNIST", dir.path("nowhere").c_str(), 1);
    CHECK_SENTENCE(fashionMnist(), "HW_FASHION_MNIST");
    fill(dir);
    setenv("HW_FASHION_MNIST", dir.root.c_str(), 1);
    CHECK(fashionMnist().train.count == 3);
    unsetenv("HW_FASHION_MNIST");
    if (fs::exists("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz")) {
      ImageSet set = fashionMnist();
      CHECK(set.train.count == 60000);
      CHECK(set.test.count == 10000);
      Tensor test = readImages(set.test), of = readLabels(set.test);
      CHECK(test.shape() == Shape{10000, 28, 28});
      int64_t counts[10] = {};
      for (uint8_t label : values<uint8_t>(of))
        counts[label]++;
      for (int64_t count : counts)
        CHECK(count == 1000);
    } else {
      CHECK_SENTENCE(fashionMnist(), "apt install dataset-fashion-mnist");
    }
  }
}

TEST_SUITE("cifar10") {
  /// A record as the published files have them: a label, then 3 planes of 32 rows of 32 pixels.
  std::string record(char label, char red, char green, char blue) {
    return label + std::string(1024, red) + std::string(1024, green) + std::string(1024, blue);
  }
  /// Six small files: image i of batch b has the label b and the red i, the test image is all 7.
  void fill(const Scratch &dir) {
    for (char batch = 1; batch <= 5; ++batch) {
      std::string bytes;
      for (char i = 0; i < batch; ++i)
        bytes += record(batch, i, 'g', 'b');
      dir.file("data_batch_" + std::to_string(batch) + ".bin", bytes);
    }
    dir.file("test_batch.bin", record(9, 7, 7, 7));
  }

  TEST_CASE("a folder: the batches one after the other, planes as they lie") {
    Scratch dir;
    fill(dir);
    Cifar10Set set = cifar10(dir.root.string());
    CHECK(set.train.count == 15);
    CHECK(set.test.count == 1);
    Tensor images = readImages(set.train);
    CHECK(images.shape() == Shape{15, 3, 32, 32});
    CHECK(values<uint8_t>(readLabels(set.train)) == std::vector<uint8_t>{1, 2, 2, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 5});
    const uint8_t *last = images.as<uint8_t>() + 14 * 3072;
    CHECK(last[0] == 4);
    CHECK(last[1023] == 4);
    CHECK(last[1024] == 'g');
    CHECK(last[3071] == 'b');
    CHECK(values<uint8_t>(readLabels(set.test)) == std::vector<uint8_t>{9});
  }
  TEST_CASE("one file, also longer than what is read at once") {
    Scratch dir;
    std::string bytes, labels;
    for (int i = 0; i < 150; ++i) {
      bytes += record(static_cast<char>(i % 10), static_cast<char>(i), 1, 2);
      labels += static_cast<char>(i % 10);
    }
    Cifar10Part part = cifar10File(dir.file("some.bin", bytes));
    CHECK(part.count == 150);
    Tensor of = readLabels(part);
    CHECK(std::memcmp(of.data(), labels.data(), 150) == 0);
    Tensor images = readImages(part);
    for (int i = 0; i < 150; ++i)
      CHECK(images.as<uint8_t>()[i * 3072 + 500] == i);
  }
  TEST_CASE("wrong files") {
    Scratch dir;
    CHECK_SENTENCE(cifar10(dir.path("nowhere")), "finds no folder");
    CHECK_SENTENCE(cifar10(dir.root.string()), "finds no data_batch_1.bin");
    fill(dir);
    fs::remove(dir.path("data_batch_4.bin"));
    CHECK_SENTENCE(cifar10(dir.root.string()), "finds no data_batch_4.bin"); // four fifths are another data set
    fill(dir);
    dir.file("data_batch_2.bin", record(1, 1, 1, 1).substr(1));
    CHECK_SENTENCE(cifar10(dir.root.string()), "data_batch_2.bin' has 3072 bytes");
    CHECK_SENTENCE(cifar10File(dir.file("a.bin", record(1, 1, 1, 1) + "x")), "3074 bytes");
    CHECK_SENTENCE(cifar10File(dir.file("a.bin", "")), "is empty");
    CHECK_SENTENCE(cifar10File(dir.file("a.bin", gzipped(record(1, 1, 1, 1)))), "unpack it");
    CHECK_SENTENCE(cifar10File(dir.path("none.bin")), "there is no file");
    CHECK_SENTENCE(cifar10File(dir.root.string()), "is a folder");
    fill(dir);
    dir.file("data_batch_3.bin", record(0, 1, 1, 1) + record(10, 1, 1, 1));
    CHECK_SENTENCE(readLabels(cifar10(dir.root.string()).train), "data_batch_3.bin' has the label 10 for image 1");
    Cifar10Set set = cifar10(dir.root.string());
    dir.file("test_batch.bin", record(1, 1, 1, 1) + record(1, 1, 1, 1));
    CHECK_SENTENCE(readImages(set.test), "changed while");
  }
}

TEST_SUITE("csv") {
  TEST_CASE("header or none") {
    Scratch dir;
    CsvTable t = readCsv(dir.file("a.csv", "x,y\n1,2\n3,4\n"));
    CHECK(t.names == std::vector<std::string>{"x", "y"});
    CHECK(t.columns == std::vector<std::vector<double>>{{1, 3}, {2, 4}});
    t = readCsv(dir.file("b.csv", "1,2\n3,4"));
    CHECK(t.names == std::vector<std::string>{"c0", "c1"});
    CHECK(t.rows() == 2);
    CHECK(readCsv(dir.file("c.csv", "1,y\n3,4\n")).names == std::vector<std::string>{"1", "y"});
    CsvHeader h = readCsvHeader(dir.path("a.csv"));
    CHECK(h.names == std::vector<std::string>{"x", "y"});
    CHECK(h.rows == 2);
    CHECK(readCsv(dir.file("d.csv", "x,y\n")).columns.size() == 2);
    CHECK(readCsv(dir.file("e.csv", ",y\n1,2\n")).names == std::vector<std::string>{"c0", "y"});
  }
  TEST_CASE("what spreadsheets write") {
    Scratch dir;
    CsvTable t =
        readCsv(dir.file("a.csv", "\xef\xbb\xbf\"a, b\",\"c \"\"d\"\"\"\r\n 1 ,\"2\"\r\n+3.5e1,-.5\r\n\r\n\n"));
    CHECK(t.names == std::vector<std::string>{"a, b", "c \"d\""});
    CHECK(t.columns == std::vector<std::vector<double>>{{1, 35}, {2, -0.5}});
    CHECK(readCsv(dir.file("b.csv.gz", gzipped("1\n2\n"))).rows() == 2);
    CHECK(readCsv(dir.file("c.csv", "1e-400\n1e-310\n")).columns[0] == std::vector<double>{0, 1e-310});
    CHECK(readCsv(dir.file("d.csv", "\"a\nb\",c\n1,2\n")).names[0] == "a\nb");
    std::string large = "v\n";
    for (int i = 0; i < 100000; ++i)
      large += std::to_string(i) + "\n";
    t = readCsv(dir.file("large.csv", large));
    CHECK(t.rows() == 100000);
    CHECK(t.columns[0][77777] == 77777);
  }
  TEST_CASE("what is wrong is named with line and column") {
    Scratch dir;
    auto of = [&](const std::string &bytes) {
      std::string path = dir.file("w.csv", bytes);
      std::string said = sentence([&] { readCsv(path); });
      CHECK(said == sentence([&] { readCsvHeader(path); }));
      CHECK(said.find("w.csv") != std::string::npos);
      return said;
    };
    auto has = [](const std::string &said, const char *words) {
      INFO(said);
      CHECK(said.find(words) != std::string::npos);
    };
    has(of(""), "is empty");
    has(of("\n\n"), "is empty");
    has(of("x,y\n1,2\n3\n"), "line 3: 1 cell where the first row has 2");
    has(of("x,y\n1,2,3\n"), "line 2: 3 cells");
    has(of("x,y\n1,2\n3,\n"), "line 3, column 2 ('y'): the cell is empty");
    has(of("x,y\r\n1,2\r\n3,four\r\n"), "line 3, column 2 ('y'): 'four' is not a number");
    has(of("x,y\n1,nan\n"), "line 2, column 2 ('y'): 'nan' is not a finite number");
    has(of("1,2\n3,-inf\n"), "line 2, column 2 ('c1'): '-inf' is not a finite number");
    has(of("1,NaN\n3,4\n"), "line 1, column 2");
    has(of("1e999\n"), "'1e999' is not a finite number");
    has(of("x\n1\n\n2\n"), "line 3: the line is empty");
    has(of("x,x\n1,2\n"), "two columns are called 'x'");
    has(of("\"x\n1,2\n"), "line 1: a quote is opened and never closed");
    has(of("\"x\"y,z\n"), "text follows a closing quote");
    has(of("x\n1;2\n"), "separate the cells by commas");
    has(of("x\n0x10\n"), "not a number");
    has(of("x\n1 2\n"), "not a number");
    has(of("x\n+-1\n"), "not a number");
    has(of("x\n1\0\n"s), "line 2: a NUL byte");
    has(of("\xff\xfex\0"s), "UTF-16");
    has(of("\"a\nb\",c\n1,z\n"), "line 3, column 2"); // lines as an editor counts them
    has(of("x\n" + std::string(70000, '1') + "\n"), "a cell longer");
    CHECK(std::isnan(readCsv(dir.file("n.csv", "x\nnan\n"), {.allowNonFinite = true}).columns[0][0]));
  }
  TEST_CASE("a written table reads back bit for bit") {
    Scratch dir;
    OutDir out(dir.path("run"), OutDir::Existing::refuse);
    double tricky[] = {0.1, 1.0 / 3, 1e-310, 1.7976931348623157e308, -0.0, 123456789.0, std::nextafter(1.0, 2.0)};
    {
      CsvWriter table(out, "curve", {"widths", "epoch", "loss", "single"});
      for (int i = 0; i < 7; ++i) {
        table.cell("[30, \"60\"]\n").cell(int64_t{i}).cell(tricky[i]).cell(static_cast<float>(i) / 3);
        table.endRow();
      }
      table.flush();
      CHECK(slurp(table.path()).find("\"[30, \"\"60\"\"] \",6,") != std::string::npos); // there before it is closed
      table.cell(1.0);
      CHECK_SENTENCE(table.endRow(), "1 cells in a table of 4 columns");
      table.close();
    }
    CsvWriter numbers(out, "numbers", {"v", "f"});
    for (double v : tricky) {
      numbers.cell(v).cell(static_cast<float>(0.1));
      numbers.endRow();
    }
    numbers.close();
    CsvTable back = readCsv(numbers.path());
    for (size_t i = 0; i < 7; ++i) {
      CHECK(std::memcmp(&back.columns[0][i], &tricky[i], 8) == 0);
      CHECK(back.columns[1][i] == 0.1); // written as an f32, shortest
    }
    CHECK(csvCell("plain") == "plain");
    CHECK(csvCell("") == "\"\"");
    CHECK(csvCell("a,\"b\"") == "\"a,\"\"b\"\"\"");
    CHECK(csvCell("a\r\nb") == "a  b");
  }
}

TEST_SUITE("safetensors") {
  std::string file(const std::string &header, const std::string &data) {
    uint64_t length = header.size();
    return std::string(reinterpret_cast<char *>(&length), 8) + header + data;
  }

  TEST_CASE("reads the reference's layout") {
    Scratch dir;
    // safetensors.numpy.save({"a": float64 [0, 1], "b": float32 [[0, 1, 2]]}, metadata={"k": "v"})
    std::string golden =
        file("{\"__metadata__\":{\"k\":\"v\"},\"a\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,16]},"
             "\"b\":{\"dtype\":\"F32\",\"shape\":[1,3],\"data_offsets\":[16,28]}}     ",
             hex("0000000000000000000000000000f03f"
                 "000000000000803f00000040"));
    SafetensorsFile f(dir.file("g.safetensors", golden));
    REQUIRE(f.entries().size() == 2);
    CHECK(f.metadata().at("k") == "v");
    CHECK(values<double>(f.read("a")) == std::vector<double>{0, 1});
    CHECK(values<float>(f.read("b")) == std::vector<float>{0, 1, 2});
    CHECK(f.find("b")->header == TensorHeader{DType::f32, {1, 3}});
    CHECK(f.find("c") == nullptr);
    CHECK_SENTENCE(f.read("c"), "has no tensor 'c'; it has 'a', 'b'");
  }
  TEST_CASE("16-bit numbers are widened, exactly") {
    Scratch dir;
    // numpy.float16 and torch.bfloat16: 1, -2.5, the smallest above 0, the largest, infinity, NaN, -0
    SafetensorsFile f(
        dir.file("h.safetensors", file("{\"h\":{\"dtype\":\"F16\",\"shape\":[7],\"data_offsets\":[0,14]},"
                                       "\"b\":{\"dtype\":\"BF16\",\"shape\":[7],\"data_offsets\":[14,28]}}",
                                       hex("003c00c10100ff7b007c007e0080"
                                           "803f20c001007f7f807fc07f0080"))));
    CHECK(f.find("h")->header == TensorHeader{DType::f32, {7}});
    CHECK(f.find("h")->type == "F16");
    const float tiny = std::numeric_limits<float>::denorm_min() * 65536;
    for (auto [name, smallest, largest] : {std::tuple{"h", 0x1p-24f, 65504.0f}, {"b", tiny, 0x1.fep127f}}) {
      std::vector<float> v = values<float>(f.read(name));
      CAPTURE(name);
      CHECK(std::vector<float>(v.begin(), v.begin() + 5) == std::vector<float>{1, -2.5f, smallest, largest, INFINITY});
      CHECK(std::isnan(v[5]));
      CHECK(v[6] == 0);
      CHECK(std::signbit(v[6]));
    }
  }
  TEST_CASE("writes what it reads, aligned") {
    Scratch dir;
    OutDir out(dir.path("run"), OutDir::Existing::refuse);
    float w[6] = {1, 2, 3, 4, 5, 6};
    double s = 0.5;
    uint8_t bytes[3] = {1, 2, 3}, mask[1] = {1};
    int64_t step = 7;
    std::string path = writeSafetensors(out, "net-widths=2",
                                        {{"pixels", {DType::u8, {3}, bytes}},
                                         {"linear.weight", {DType::f32, {2, 3}, w}},
                                         {"mask", {DType::i1, {1}, mask}},
                                         {"empty", {DType::i32, {0, 4}, w}},
                                         {"scalar", {DType::f64, {}, &s}},
                                         {"step", {DType::i64, {1}, &step}}},
                                        {{"seed", "1"}});
    CHECK(path == dir.path("run/net-widths=2.safetensors"));
    SafetensorsFile f(path);
    CHECK(f.entries().size() == 6);
    CHECK(values<float>(f.read("linear.weight")) == std::vector<float>(w, w + 6));
    CHECK(values<double>(f.read("scalar")) == std::vector<double>{0.5});
    CHECK(values<uint8_t>(f.read("pixels")) == std::vector<uint8_t>{1, 2, 3});
    CHECK(values<int64_t>(f.read("step")) == std::vector<int64_t>{7});
    CHECK(f.read("empty").shape() == Shape{0, 4});
    CHECK(f.metadata() == Metadata{{"format", "pt"}, {"seed", "1"}});
    for (const auto &entry : f.entries())
      CHECK(entry.offset % dtypeSize(entry.header.dtype) == 0);
    uint64_t length;
    std::memcpy(&length, slurp(path).data(), 8);
    CHECK(length % 8 == 0);
    CHECK_SENTENCE(writeSafetensors(dir.path("x"), {{"a", {DType::f32, {1}, w}}, {"a", {DType::f32, {1}, w}}}),
                   "called 'a'");
    CHECK_SENTENCE(writeSafetensors(dir.path("x"), {{"__metadata__", {DType::f32, {1}, w}}}), "__metadata__");
    CHECK(!fs::exists(dir.path("x")));
    writeSafetensors(dir.path("none.safetensors"), {});
    CHECK(SafetensorsFile(dir.path("none.safetensors")).entries().empty());
  }
  TEST_CASE("wrong files") {
    Scratch dir;
    auto of = [&](const std::string &bytes) {
      std::string path = dir.file("w.safetensors", bytes);
      std::string said = sentence([&] { SafetensorsFile f(path); });
      CHECK(said.find("w.safetensors") != std::string::npos);
      CHECK(said.find('\n') == std::string::npos);
      return said;
    };
    auto has = [](const std::string &said, const char *words) {
      INFO(said);
      CHECK(said.find(words) != std::string::npos);
    };
    auto tensor = [](const std::string &name, const std::string &type, const std::string &shape,
                     const std::string &offsets) {
      return "\"" + name + "\":{\"dtype\":\"" + type + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
    };
    has(of(""), "not a safetensors file");
    has(of("\xff\xff\xff\xff\xff\xff\xff\xff{}"), "claims a header");
    has(of("\x00\xe1\xf5\x06\0\0\0\0{}"s), "claims a header");
    has(of(file("[]", "")), "does not start with '{'");
    has(of(file("{\"a\":", "")), "not valid JSON");
    has(of(file("{} x", "")), "not valid JSON");
    has(of(file("{\"a\":" + std::string(100000, '['), "")), "nested too deeply");
    has(of(file("{" + tensor("a", "F32", "[1]", "[0,4]") + "," + tensor("a", "F32", "[1]", "[4,8]") + "}", "aaaabbbb")),
        "twice");
    has(of(file("{\"a\":1}", "")), "exactly dtype, shape and data_offsets");
    has(of(file("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", "aaaa")), "exactly");
    has(of(file("{" + tensor("a", "F8_E4M3", "[4]", "[0,4]") + "}", "aaaa")), "convert it to F32");
    has(of(file("{" + tensor("a", "F16", "[3]", "[0,4]") + "}", "aaaa")), "is F16 [3], 6 bytes, but has 4 bytes");
    has(of(file("{\"a\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,4]}}", "aaaa")), "not a string");
    has(of(file("{" + tensor("a", "F32", "[-1]", "[0,4]") + "}", "aaaa")), "list of sizes");
    has(of(file("{" + tensor("a", "F32", "[1.5]", "[0,4]") + "}", "aaaa")), "list of sizes");
    has(of(file("{" + tensor("a", "F32", "1", "[0,4]") + "}", "aaaa")), "list of sizes");
    has(of(file("{" + tensor("a", "F32", "[1]", "[0]") + "}", "aaaa")), "two offsets");
    has(of(file("{" + tensor("a", "F32", "[1]", "[0,18446744073709551615]") + "}", "aaaa")), "two offsets");
    has(of(file("{" + tensor("a", "F32", "[2]", "[0,8]") + "}", "aaaa")), "outside the file");
    has(of(file("{" + tensor("a", "F32", "[1]", "[4,0]") + "}", "aaaa")), "outside the file");
    has(of(file("{" + tensor("a", "F32", "[2]", "[0,4]") + "}", "aaaa")), "but has 4 bytes");
    has(of(file("{" + tensor("a", "F32", "[4294967296,4294967296]", "[0,4]") + "}", "aaaa")), "impossible size");
    has(of(file("{" + tensor("a", "F32", "[1]", "[0,4]") + "," + tensor("b", "F32", "[1]", "[2,6]") + "}", "aaaabb")),
        "overlaps");
    has(of(file("{" + tensor("a", "F32", "[1]", "[0,4]") + "," + tensor("b", "F32", "[1]", "[8,12]") + "}",
                "aaaabbbbcccc")),
        "leaves a gap");
    has(of(file("{" + tensor("a", "F32", "[1]", "[0,4]") + "}", "aaaab")), "after its last tensor");
    has(of(file("{\"__metadata__\":{\"k\":1}}", "")), "not a string");
    has(of(file("{\"__metadata__\":[]}", "")), "not an object");
    CHECK_SENTENCE(SafetensorsFile(dir.path("none")), "there is no file");
  }
}

TEST_SUITE("results folder") {
  TEST_CASE("an existing folder is kept unless told") {
    Scratch dir;
    OutDir(dir.path("a/b/c"), OutDir::Existing::refuse); // parents are made
    CHECK(fs::is_directory(dir.path("a/b/c")));
    OutDir(dir.path("a/b/c/"), OutDir::Existing::refuse); // empty: no harm
    dir.file("a/b/c/x", "1");
    CHECK_SENTENCE(OutDir(dir.path("a/b/c"), OutDir::Existing::refuse), "--force");
    OutDir out(dir.path("a/b/c"), OutDir::Existing::overwrite);
    CHECK(fs::exists(dir.path("a/b/c/x")));
    CHECK_SENTENCE(OutDir(dir.path("a/b/c/x"), OutDir::Existing::overwrite), "there is a file of that name");
    CHECK_SENTENCE(OutDir(dir.path("a/b/c/x/y"), OutDir::Existing::overwrite), "--out");
    CHECK_SENTENCE(OutDir("", OutDir::Existing::refuse), "--out");
    CHECK_SENTENCE(OutDir("a\0b"s, OutDir::Existing::refuse), "--out");
    CHECK_SENTENCE(OutDir("/proc/nope/x", OutDir::Existing::refuse), "--out");
    CHECK_SENTENCE(OutDir("/proc/self", OutDir::Existing::overwrite).create("x", ".csv"), "--out");
    CHECK_SENTENCE(OutDir("/dev/null", OutDir::Existing::overwrite), "there is a file of that name");
    if (geteuid() != 0) { // root may write anywhere
      fs::permissions(dir.path("a"), fs::perms::owner_read | fs::perms::owner_exec);
      CHECK_SENTENCE(OutDir(dir.path("a"), OutDir::Existing::overwrite), "cannot be written");
      CHECK_SENTENCE(OutDir(dir.path("a/new"), OutDir::Existing::refuse), "cannot be made");
      fs::permissions(dir.path("a"), fs::perms::owner_all);
    }
  }
  TEST_CASE("names stay inside, are safe, and never meet") {
    Scratch dir;
    OutDir out(dir.path("run"), OutDir::Existing::refuse);
    CHECK(out.fileName("loss, sinc", ".svg") == "loss, sinc.svg");
    CHECK(out.fileName("kept-widths=[30, 60]", ".safetensors") == "kept-widths=[30, 60].safetensors");
    CHECK(out.fileName("α vs β", ".svg") == "α vs β.svg");
    CHECK(out.fileName("loss, sinc", ".png") == "loss, sinc.png"); // one stem for all files of a name
    CHECK(out.fileName("t", ".npy") == "t.npy");                   // Linux's file systems tell case apart
    CHECK(out.fileName("T", ".csv") == "T.csv");
    CHECK(out.fileName("T", ".npy") == "T.npy");
    CHECK(fs::is_empty(dir.path("run")));
    std::vector<std::string> hostile = {"../../x",
                                        "..",
                                        ".",
                                        "",
                                        "/etc/passwd",
                                        "a/b",
                                        "a\\b",
                                        "a`b",
                                        "a'b",
                                        "a\"b",
                                        "a$b",
                                        "a\nb",
                                        "a\0b"s,
                                        ".hidden",
                                        "-rf",
                                        " x ",
                                        "x.",
                                        "~x",
                                        "|x",
                                        "<x",
                                        ">x",
                                        "a*b",
                                        "a?b",
                                        "a:b",
                                        std::string(5000, 'x'),
                                        std::string(5000, 'x') + "y",
                                        "Loss",
                                        "loss",
                                        "LOSS",
                                        "\xff\xfe",
                                        "x\u202Egpj.exe",
                                        "CON",
                                        "a;b",
                                        "a&b",
                                        "{/Symbol a}",
                                        "%s",
                                        "untitled"};
    std::string deep;
    for (int i = 0; i < 1000; ++i)
      deep += "é";
    hostile.push_back(deep);
    std::set<std::string> seen;
    for (const std::string &name : hostile) {
      std::string file = out.fileName(name, ".plot.csv");
      INFO(file);
      CHECK(file == out.fileName(name, ".plot.csv"));
      CHECK(file.size() < 200);
      CHECK(file.find('/') == std::string::npos);
      CHECK(file.find_first_of("`'\"$\\|<>*?:;&\n\t~") == std::string::npos);
      CHECK(file.find('\0') == std::string::npos);
      CHECK(file[0] != '.');
      CHECK(file[0] != '-');
      for (size_t at = 0; at < file.size();) { // cut between code points
        CodePoint point = decodeUtf8(file, at);
        CHECK(point.valid);
        at += point.length;
      }
      CHECK(seen.insert(file).second);
      auto stream = out.stream(name, ".plot.csv");
      stream.write("x");
      stream.close();
      CHECK(fs::canonical(stream.path()).parent_path() == fs::canonical(dir.path("run")));
    }
    CHECK(static_cast<size_t>(std::distance(fs::directory_iterator(dir.path("run")), fs::directory_iterator())) ==
          hostile.size());
    // A table "a.plot" would be the data of a plot "a".
    CHECK(out.fileName("a", ".plot.csv") != out.fileName("a.plot", ".csv"));
  }
  TEST_CASE("a link is replaced, not followed") {
    Scratch dir;
    OutDir out(dir.path("run"), OutDir::Existing::refuse);
    std::string victim = dir.file("victim", "precious");
    for (const char *name : {"curve.csv", "w.npy", "p.svg"})
      fs::create_symlink(victim, dir.path("run/") + name);
    StreamFile table = out.stream("curve", ".csv");
    table.write("x\n");
    table.close();
    float one = 1;
    CHECK(writeNpy(out, "w", {DType::f32, {1}, &one}) == dir.path("run/w.npy"));
    CHECK(out.makeWay("p", ".svg") == "p.svg");
    CHECK(slurp(victim) == "precious");
    CHECK(!fs::is_symlink(dir.path("run/curve.csv")));
    CHECK(!fs::is_symlink(dir.path("run/w.npy")));
    CHECK(!fs::exists(dir.path("run/p.svg")));
    fs::create_directory(dir.path("run/t.csv"));
    CHECK_SENTENCE(out.stream("t", ".csv"), "cannot be replaced");
  }
  TEST_CASE("a folder has one writer at a time") {
    Scratch dir;
    {
      OutDir first(dir.path("run"), OutDir::Existing::refuse);
      CHECK_SENTENCE(OutDir(dir.path("run"), OutDir::Existing::overwrite), "another program is writing");
    }
    OutDir second(dir.path("run"), OutDir::Existing::refuse);
    CHECK(second.wasEmpty());
  }
  TEST_CASE("what a killed process left half written goes, and nothing else") {
    Scratch dir;
    fs::create_directory(dir.path("run"));
    const std::vector<std::string> left = {".run.json.123-0.tmp", ".a b.svg.7-12.tmp"};
    const std::vector<std::string> others = {".tmp",      "x.1-2.tmp", ".x.1-2.txt", ".x.-2.tmp",
                                             ".x.1-.tmp", ".1-2.tmp",  "t.csv"};
    for (const auto *list : {&left, &others})
      for (const std::string &name : *list)
        dir.file("run/" + name, "x");
    CHECK(!OutDir(dir.path("run"), OutDir::Existing::overwrite).wasEmpty());
    for (const std::string &name : left)
      CHECK(!fs::exists(dir.path("run/" + name)));
    for (const std::string &name : others)
      CHECK(fs::exists(dir.path("run/" + name)));
  }
  TEST_CASE("names that are asked for again in the same order are the same") {
    Scratch dir;
    OutDir first(dir.path("one"), OutDir::Existing::refuse), second(dir.path("two"), OutDir::Existing::refuse);
    for (const char *name : {"loss", "Loss", "lo/ss", "lo?ss", "loss"})
      first.fileName(name, ".svg");
    first.fileName("loss", ".png");
    CHECK(first.requests().size() == 5);
    for (const auto &[name, extension] : first.requests())
      CHECK(second.fileName(name, extension) == first.fileName(name, extension));
    CHECK(second.fileName("LOSS", ".svg") == first.fileName("LOSS", ".svg"));
  }
  TEST_CASE("a file without commit leaves nothing, with it all") {
    Scratch dir;
    OutDir out(dir.path("run"), OutDir::Existing::refuse);
    {
      AtomicFile file = out.create("run", ".json");
      file.write("{");
      CHECK(!fs::exists(dir.path("run/run.json")));
    }
    CHECK(fs::is_empty(dir.path("run")));
    AtomicFile file = out.create("run", ".json");
    file.write("{}");
    file.commit();
    CHECK(slurp(dir.path("run/run.json")) == "{}");
  }
}

TEST_SUITE("plot") {
  struct Notes {
    std::vector<std::string> all;
    PlotNote sink() {
      return [this](const std::string &note) { all.push_back(note); };
    }
    bool has(const std::string &words) const {
      for (const std::string &note : all)
        if (note.find(words) != std::string::npos)
          return true;
      return false;
    }
  };

  bool haveGnuplot() {
    int here = open(".", O_RDONLY | O_DIRECTORY);
    bool have = runProcess({"gnuplot", "--version"}, here, 20).status == 0;
    close(here);
    if (!have)
      MESSAGE("gnuplot is not installed: figures are not drawn in this test");
    return have;
  }

  /// A picture was drawn: PNG's magic number, an SVG document, more than an empty frame.
  void checkDrawn(const PlotFiles &files, const Notes &notes) {
    for (const std::string &note : notes.all)
      INFO(note);
    CHECK(fs::exists(files.csv));
    CHECK(fs::exists(files.script));
    if (!haveGnuplot())
      return;
    REQUIRE(!files.png.empty());
    CHECK(slurp(files.png).substr(0, 8) == "\x89PNG\r\n\x1a\n");
    std::string svg = slurp(files.svg);
    CHECK(svg.find("<svg") != std::string::npos);
    CHECK(svg.find("</svg>") != std::string::npos);
  }

  size_t count(const std::string &text, const std::string &part) {
    size_t n = 0;
    for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
      ++n;
    return n;
  }

  TEST_CASE("curves by group: data, script and pictures") {
    Scratch dir;
    OutDir out(dir.path("run"), OutDir::Existing::refuse);
    PlotSpec spec;
    spec.title = "loss, sinc";
    spec.logY = true;
    spec.columns = {PlotColumn::ofNumbers("epoch", {0, 1, 2, 0, 1}),
                    PlotColumn::ofFloats("loss", {1.f, 0.1f, 0.01f, 2.f, 0.2f}),
                    PlotColumn::ofTexts("widths", {"[30]", "[30]", "[30]", "[60, 60]", "[60, 60]"})};
    spec.marks = {{MarkKind::line, {"loss"}, {"epoch"}, {"widths"}, "", false}};
    Notes notes;
    PlotFiles files = drawPlot(out, spec, notes.sink());
    CHECK(files.csv == dir.path("run/loss, sinc.plot.csv"));
    CHECK(slurp(files.csv) == "epoch,loss,series\n0,1,[30]\n1,0.1,[30]\n2,0.01,[30]\n\n\n"
                              "0,2,\"[60, 60]\"\n1,0.2,\"[60, 60]\"\n");
    checkDrawn(files, notes);
    std::string script = slurp(files.script);
    CHECK(script.find("set logscale y") != std::string::npos);
    CHECK(count(script, "with lines") == 2);
    if (haveGnuplot()) {
      std::string svg = slurp(files.svg);
      for (const char *word : {"loss, sinc", "epoch", "widths", "[60, 60]"})
        CHECK_MESSAGE(svg.find(word) != std::string::npos, word);
      // Byte for byte the same again, and by hand from another folder.
      std::string png = slurp(files.png);
      drawPlot(out, spec, notes.sink());
      CHECK(slurp(files.png) == png);
      fs::remove(files.png);
      int here = open(dir.root.c_str(), O_RDONLY | O_DIRECTORY);
      ProcessResult byHand = runProcess({"gnuplot", "-d", "run/loss, sinc.gp"}, here, 60);
      close(here);
      CHECK_MESSAGE(byHand.status == 0, byHand.output);
      CHECK(slurp(files.png) == png);
    }
    CHECK(notes.all.empty());
  }

  TEST_CASE("nothing that a user writes is code") {
    Scratch dir;
    OutDir out(dir.path("run"), OutDir::Existing::refuse);
    std::vector<std::string> hostile = {"`touch pwned`",
                                        "a'b\"c",
                                        "../../x",
                                        "{/Symbol a}",
                                        "%s %d %n %",
                                        "$(touch pwned)",
                                        "x\n!touch pwned\nsystem 'touch pwned'\n",
                                        "'; system('touch pwned'); '",
                                        "''; system('touch pwned') #",
                                        "'''; system('touch pwned') #",
                                        "'; system(\"touch pwned\"); x = '",
                                        "\"; system(\"touch pwned\"); \"",
                                        "\"`touch pwned`\"",
                                        "\\",
                                        "\\\\'",
                                        "@here",
                                        "} }",
                                        "{",
                                        "# comment",
                                        "|touch pwned",
                                        "< touch pwned",
                                        "</text><script>alert(1)</script>",
                                        "",
                                        " ",
                                        "\xff\xfe",
                                        "a\0b"s,
                                        "\u202Ex",
                                        std::string(20000, 'W')};
    for (const std::string &name : hostile) {
      PlotSpec spec;
      spec.title = name;
      spec.columns = {PlotColumn::ofNumbers(name + "x", {1, 2, 3, 4}),
                      PlotColumn::ofNumbers(name + "y", {.8, .85, .7, .9}),
                      PlotColumn::ofTexts(name + "t", {name, name + "\"b\"", name + ",b", name})};
      spec.marks = {{MarkKind::points, {name + "y"}, {name + "x"}, {name + "t"}, name + "t", false},
                    {MarkKind::line, {name + "y"}, {name + "x"}, {}, "", true}};
      Notes notes;
      INFO(inQuotes(name));
      PlotFiles files = drawPlot(out, spec, notes.sink());
      checkDrawn(files, notes);
      CHECK(notes.all.empty());
      // On an axis of categories the same words go through another door.
      spec.title += " bars";
      spec.marks = {{MarkKind::bars, {name + "y"}, {name + "t"}, {}, "", false}};
      notes = {};
      checkDrawn(drawPlot(out, spec, notes.sink()), notes);
    }
    for (const auto &entry : fs::recursive_directory_iterator(dir.root))
      CHECK_MESSAGE(entry.path().filename() != "pwned", entry.path().string());
    CHECK(!fs::exists("pwned"));
    CHECK(std::distance(fs::directory_iterator(dir.root), fs::directory_iterator()) == 1); // all of it inside
  }

  TEST_CASE("what cannot be drawn is left out, and said") {
    Scratch dir;
    OutDir out(dir.path("run"), OutDir::Existing::refuse);
    PlotSpec spec;
    spec.title = "holes";
    spec.logY = true;
    spec.columns = {PlotColumn::ofNumbers("x", {0, 1, 2, 3, 4, 5, 6}),
                    PlotColumn::ofNumbers("y", {1, std::nan(""), 2, INFINITY, -1, 0, 3})};
    spec.marks = {{MarkKind::line, {"y"}, {"x"}, {}, "", false}};
    Notes notes;
    PlotFiles files = drawPlot(out, spec, notes.sink());
    CHECK(notes.has("4 values were left out"));
    CHECK(slurp(files.csv) == "x,y,series\n0,1,y\n\n2,2,y\n\n6,3,y\n"); // a gap breaks the curve
    checkDrawn(files, notes);

    spec.title = "nothing";
    spec.columns[1].numbers.assign(7, std::nan(""));
    notes = {};
    files = drawPlot(out, spec, notes.sink());
    CHECK(notes.has("has nothing to show"));
    checkDrawn(files, notes);
    if (haveGnuplot())
      CHECK(slurp(files.svg).find("no data") != std::string::npos);

    spec.title = "no rows";
    spec.columns = {PlotColumn::ofNumbers("x", {}), PlotColumn::ofNumbers("y", {})};
    notes = {};
    checkDrawn(drawPlot(out, spec, notes.sink()), notes);

    spec.title = "one point";
    spec.columns = {PlotColumn::ofNumbers("x", {1}), PlotColumn::ofNumbers("y", {1})};
    notes = {};
    checkDrawn(drawPlot(out, spec, notes.sink()), notes);
    CHECK(notes.all.empty());

    for (double extreme : {1e299, 5e-324, -1e299}) {
      spec.title = "extreme " + shortest(extreme);
      spec.logY = false;
      spec.columns = {PlotColumn::ofNumbers("x", {extreme, 1, 2}), PlotColumn::ofNumbers("y", {1, extreme, -extreme})};
      notes = {};
      checkDrawn(drawPlot(out, spec, notes.sink()), notes);
    }
  }

  TEST_CASE("every mark, axis and label draws") {
    Scratch dir;
    OutDir out(dir.path("run"), OutDir::Existing::refuse);
    std::vector<double> a, b, z, run, step;
    std::vector<std::string> net, text;
    for (int i = 0; i < 6; ++i)
      for (int j = 0; j < 5; ++j) {
        a.push_back(i - 2.5);
        b.push_back(j - 2);
        z.push_back(0.01 + a.back() * a.back() + b.back() * b.back());
        run.push_back(i * 5 + j);
        step.push_back(j);
        net.push_back(i % 2 ? "deep" : "shallow");
        text.push_back("n" + std::to_string(i));
      }
    PlotSpec spec;
    spec.columns = {PlotColumn::ofNumbers("a", a),       PlotColumn::ofNumbers("b", b),
                    PlotColumn::ofNumbers("z", z),       PlotColumn::ofNumbers("run", run),
                    PlotColumn::ofNumbers("step", step), PlotColumn::ofTexts("net", net),
                    PlotColumn::ofTexts("text", text)};
    std::vector<std::pair<std::string, std::vector<PlotMark>>> figures = {
        {"contour", {{MarkKind::contour, {"z"}, {"a", "b"}, {}, "", false}}},
        {"contours", {{MarkKind::contour, {"z"}, {"a", "b"}, {"net"}, "", false}}},
        {"contour and path",
         {{MarkKind::contour, {"z"}, {"a", "b"}, {}, "", false}, {MarkKind::line, {"b"}, {"a"}, {"net"}, "z", false}}},
        {"surface", {{MarkKind::surface, {"z"}, {"a", "b"}, {}, "", false}}},
        {"histogram", {{MarkKind::histogram, {"z"}, {}, {"net"}, "", false}}},
        {"bars", {{MarkKind::bars, {"z"}, {"text"}, {"net"}, "", false}}},
        {"numbers label", {{MarkKind::line, {"z"}, {"step"}, {"text"}, "b", false}}},
        {"texts label", {{MarkKind::points, {"z"}, {"a"}, {}, "text", false}}},
        {"categories", {{MarkKind::points, {"z", "a"}, {"net"}, {}, "", false}}},
        {"right", {{MarkKind::line, {"z"}, {}, {}, "", false}, {MarkKind::line, {"a"}, {}, {}, "", true}}},
        {"thirty runs", {{MarkKind::points, {"z"}, {"step"}, {"run"}, "", false}}},
        {"thirty pairs", {{MarkKind::points, {"z"}, {"step"}, {"net", "run"}, "", false}}},
    };
    for (auto &[title, marks] : figures) {
      INFO(title);
      spec.title = title;
      spec.marks = marks;
      Notes notes;
      PlotFiles files = drawPlot(out, spec, notes.sink());
      checkDrawn(files, notes);
    }
    std::string contour = slurp(dir.path("run/contour.plot.csv"));
    CHECK(count(contour, "\n\n") == 4); // five scan lines
    CHECK(slurp(dir.path("run/histogram.plot.csv")).find("z,count,series") == 0);
    CHECK(slurp(dir.path("run/bars.plot.csv")).find("position,z,series,text") == 0);
    // Many groups told apart by a number: a scale says which is which, not thirty lines of legend.
    CHECK(count(slurp(dir.path("run/thirty runs.gp")), "lc palette cb ") >= 30);
    CHECK(slurp(dir.path("run/thirty runs.gp")).find("unset key") != std::string::npos);
    CHECK(count(slurp(dir.path("run/thirty pairs.gp")), "NaN with points") == 15); // every other of thirty
  }

  TEST_CASE("bins: all of a sample is counted") {
    Scratch dir;
    OutDir out(dir.path("run"), OutDir::Existing::refuse);
    PlotSpec spec;
    spec.title = "eig";
    std::vector<double> v;
    for (int i = 0; i < 1000; ++i)
      v.push_back(std::sin(i));
    spec.columns = {PlotColumn::ofNumbers("eig", v)};
    spec.marks = {{MarkKind::histogram, {"eig"}, {}, {}, "", false}};
    Notes notes;
    CsvTable bins;
    std::string csv = slurp(drawPlot(out, spec, notes.sink()).csv);
    std::istringstream lines(csv);
    double total = 0, previous = -2;
    std::string line;
    std::getline(lines, line);
    while (std::getline(lines, line)) {
      double edge = std::strtod(line.c_str(), nullptr);
      CHECK(edge > previous);
      previous = edge;
      total += std::strtod(line.c_str() + line.find(',') + 1, nullptr);
    }
    CHECK(total == 1000);
    // All values equal: one bin in the middle, no division by a width of zero.
    spec.title = "same";
    spec.columns[0].numbers.assign(10, 3.0);
    notes = {};
    checkDrawn(drawPlot(out, spec, notes.sink()), notes);
  }

  TEST_CASE("a contour of no grid is points; bars of several rows are their mean; holes stay holes") {
    Scratch dir;
    OutDir out(dir.path("run"), OutDir::Existing::refuse);
    PlotSpec spec;
    spec.title = "loose";
    spec.columns = {PlotColumn::ofNumbers("a", {0, 1, 2, 3.5, 4}), PlotColumn::ofNumbers("b", {0, 2, 1, 5, 9}),
                    PlotColumn::ofNumbers("z", {1, 2, 3, 4, 5})};
    spec.marks = {{MarkKind::contour, {"z"}, {"a", "b"}, {}, "", false}};
    Notes notes;
    checkDrawn(drawPlot(out, spec, notes.sink()), notes);
    CHECK(notes.has("form no grid over 'a, b'"));
    spec.title = "loose behind a line";
    spec.marks.insert(spec.marks.begin(), {MarkKind::line, {"b"}, {"a"}, {}, "", false});
    notes = {};
    checkDrawn(drawPlot(out, spec, notes.sink()), notes);
    CHECK(notes.has("form no grid over 'a, b'"));
    spec.marks.erase(spec.marks.begin());

    spec.title = "hole";
    spec.columns = {PlotColumn::ofNumbers("a", {0, 0, 1, 1, 2, 2}), PlotColumn::ofNumbers("b", {0, 1, 0, 1, 0, 1}),
                    PlotColumn::ofNumbers("z", {1, std::nan(""), 3, 4, 5, 6})};
    notes = {};
    PlotFiles files = drawPlot(out, spec, notes.sink());
    CHECK(notes.has("1 value was left out"));
    CHECK(slurp(files.csv) == "a,b,z,series\n0,0,1,z\n1,0,3,z\n2,0,5,z\n\n0,1,nan,z\n1,1,4,z\n2,1,6,z\n");

    spec.title = "mean";
    spec.columns = {PlotColumn::ofNumbers("batch", {32, 8, 8}), PlotColumn::ofNumbers("acc", {0.5, 0.25, 0.75})};
    spec.marks = {{MarkKind::bars, {"acc"}, {"batch"}, {}, "", false}};
    notes = {};
    files = drawPlot(out, spec, notes.sink());
    CHECK(notes.has("mean"));
    CHECK(slurp(files.csv) == "position,acc,series,batch\n0,0.5,acc,8\n1,0.5,acc,32\n"); // numbers in order of size

    spec.title = "texts"; // stand side by side, whatever the axis would be
    spec.columns = {PlotColumn::ofTexts("net", {"deep", "flat"}), PlotColumn::ofNumbers("acc", {0.5, 0.25})};
    spec.marks = {{MarkKind::points, {"acc"}, {"net"}, {}, "", false}};
    spec.logX = true;
    notes = {};
    files = drawPlot(out, spec, notes.sink());
    checkDrawn(files, notes);
    CHECK(notes.all.empty());
    CHECK(slurp(files.csv) == "position,acc,series,net\n0,0.5,acc,deep\n1,0.25,acc,flat\n");
  }

  TEST_CASE("a plot that makes no sense is an error") {
    Scratch dir;
    OutDir out(dir.path("run"), OutDir::Existing::refuse);
    PlotSpec spec;
    spec.title = "p";
    CHECK_SENTENCE(drawPlot(out, spec), "has no marks");
    spec.columns = {PlotColumn::ofNumbers("x", {1, 2}), PlotColumn::ofNumbers("y", {1, 2, 3}),
                    PlotColumn::ofTexts("t", {"a", "b"})};
    spec.marks = {{MarkKind::line, {"q"}, {"x"}, {}, "", false}};
    CHECK_SENTENCE(drawPlot(out, spec), "'q', which is no column");
    spec.marks = {{MarkKind::line, {"y"}, {"x"}, {}, "", false}};
    CHECK_SENTENCE(drawPlot(out, spec), "'x' has 2 rows but 'y' has 3");
    spec.marks = {{MarkKind::line, {"y"}, {}, {}, "t", false}};
    CHECK_SENTENCE(drawPlot(out, spec), "'t' has 2 rows");
    spec.marks = {{MarkKind::line, {"t"}, {}, {}, "", false}};
    CHECK_SENTENCE(drawPlot(out, spec), "'t' is text");
    spec.marks = {{MarkKind::contour, {"x"}, {"x"}, {}, "", false}};
    CHECK_SENTENCE(drawPlot(out, spec), "two columns");
    spec.marks = {{MarkKind::contour, {"x"}, {"x", "t"}, {}, "", false}};
    CHECK_SENTENCE(drawPlot(out, spec), "numbers on both axes");
    spec.marks = {{MarkKind::line, {}, {"x"}, {}, "", false}};
    CHECK_SENTENCE(drawPlot(out, spec), "line of nothing");
    spec.marks = {{MarkKind::line, {"x"}, {"x", "x"}, {}, "", false}};
    CHECK_SENTENCE(drawPlot(out, spec), "one column");
    spec.marks = {{MarkKind::bars, {"x"}, {"t"}, {}, "", false}, {MarkKind::histogram, {"x"}, {}, {}, "", false}};
    CHECK_SENTENCE(drawPlot(out, spec), "cannot share");
    spec.columns.push_back(PlotColumn::ofNumbers("x", {}));
    CHECK_SENTENCE(drawPlot(out, spec), "two columns called 'x'");
    CHECK(fs::is_empty(dir.path("run")));
  }

  TEST_CASE("without gnuplot the data and script are there, and the run goes on") {
    Scratch dir;
    OutDir out(dir.path("run"), OutDir::Existing::refuse);
    PlotSpec spec;
    spec.title = "p";
    spec.columns = {PlotColumn::ofNumbers("x", {1, 2})};
    spec.marks = {{MarkKind::line, {"x"}, {}, {}, "", false}};
    std::string path = std::getenv("PATH");
    setenv("PATH", dir.path("empty").c_str(), 1);
    Notes notes;
    PlotFiles files = drawPlot(out, spec, notes.sink());
    CHECK(notes.has("apt install gnuplot"));
    CHECK(files.png.empty());
    CHECK(slurp(files.csv) == "index,x,series\n0,1,x\n1,2,x\n");
    CHECK(fs::exists(files.script));

    // A gnuplot that fails, and one that is no program at all.
    fs::create_directory(dir.path("bin"));
    dir.file("bin/gnuplot", "#!/bin/sh\necho 'no terminal' >&2\nexit 3\n");
    fs::permissions(dir.path("bin/gnuplot"), fs::perms::owner_all);
    setenv("PATH", dir.path("bin").c_str(), 1);
    notes = {};
    files = drawPlot(out, spec, notes.sink());
    setenv("PATH", path.c_str(), 1);
    CHECK(notes.has("gnuplot failed: no terminal"));
    CHECK(files.svg.empty());
  }

  TEST_CASE("a program that hangs is ended") {
    int here = open(".", O_RDONLY | O_DIRECTORY);
    ProcessResult result = runProcess({"sleep", "60"}, here, 0.2);
    CHECK(result.timedOut);
    CHECK(result.status == 128 + 9);
    result = runProcess({"sh", "-c", "cat; echo $0; pwd >&2; exit 7", "`x`"}, here, 20); // stdin is empty
    CHECK(result.status == 7);
    CAPTURE(result.output);
    CHECK(result.output.find("`x`\n") == 0);
    // With its streams closed; and with a child who keeps them open, and is ended with it.
    CHECK(runProcess({"sh", "-c", "exec >&- 2>&-; sleep 60"}, here, 0.2).timedOut);
    result = runProcess({"sh", "-c", "sleep 60 & echo $!; sleep 60"}, here, 0.5);
    CHECK(result.timedOut);
    const pid_t grandchild = std::atoi(result.output.c_str());
    CHECK(grandchild > 1);
    for (int turn = 0; turn < 100 && kill(grandchild, 0) == 0; ++turn)
      usleep(10'000); // until whoever inherits it has seen its end
    result = runProcess({"sh", "-c", "sleep 60 & exit 3"}, here, 20);
    CHECK(!result.timedOut);
    CHECK(result.status == 3);
    result = runProcess({"sleep", "60"}, here, 20, {}, [] { return true; });
    CHECK(result.stopped);
    result = runProcess({"sh", "-c", "kill -SEGV $$"}, here, 20);
    CHECK(result.signal == 11);
    close(here);
  }

  TEST_CASE("programs are looked for in absolute folders alone") {
    Scratch dir;
    const std::string path = std::getenv("PATH"), lies = "#!/bin/sh\necho planted\n";
    dir.file("tool", lies);
    fs::permissions(dir.path("tool"), fs::perms::owner_all);
    const int folder = open(dir.root.c_str(), O_RDONLY | O_DIRECTORY);
    for (const char *given : {"", ":", ".", "./", ":/bin", "/bin:", "/usr/bin::/bin", "..:."}) {
      setenv("PATH", given, 1);
      CAPTURE(given);
      const ProcessResult result = runProcess({"tool"}, folder, 20);
      CHECK(!result.started);
      CHECK(result.missing);
    }
    setenv("PATH", ".:/bin:/usr/bin", 1);
    setenv("GNUPLOT_LIB", "here", 1);
    // What a program starts does not find it either.
    CHECK(runProcess({"sh", "-c", "tool || echo $PATH $GNUPLOT_LIB $TMPDIR"}, folder, 20, {"TMPDIR=t"})
              .output.ends_with("/bin:/usr/bin t\n"));
    unsetenv("GNUPLOT_LIB");
    setenv("PATH", path.c_str(), 1);
    close(folder);
  }

  TEST_CASE("what is read is not replaced, by whatever name") {
    Scratch dir;
    const std::string input = dir.file("input", "precious");
    fs::create_hard_link(input, dir.path("hard"));
    fs::create_symlink("input", dir.path("soft"));
    fs::create_directory_symlink(".", dir.path("folder"));
    AtomicFile(input).commit(); // not read yet: an output like any other
    dir.file("input", "precious");
    fs::remove(dir.path("hard"));
    fs::create_hard_link(input, dir.path("hard"));
    rememberInput(input, "a file");
    for (const char *name : {"input", "hard", "soft", "folder/input", "./input"}) {
      CAPTURE(name);
      CHECK_SENTENCE(AtomicFile(dir.path(name)), "is read and is not replaced");
      CHECK_SENTENCE(outputPath(dir.path(name)), "is read and is not replaced");
    }
    OutDir out(dir.root.string(), OutDir::Existing::overwrite);
    CHECK_SENTENCE(out.create("input", ""), "is read and is not replaced");
    CHECK_SENTENCE(out.stream("hard", ""), "is read and is not replaced");
    CHECK_SENTENCE(out.refuseInputs("input", ""), "is read and is not replaced");
    out.refuseInputs("other", "");
    CHECK(slurp(input) == "precious");
    // Written anew, it stays the file that it is: also where it has several names.
    chmod(input.c_str(), 0640);
    AtomicFile anew(dir.path("soft"), AtomicFile::Over::itself);
    anew.write("new");
    anew.commit();
    CHECK(slurp(dir.path("hard")) == "new");
    CHECK(fs::is_symlink(dir.path("soft")));
    CHECK(fs::hard_link_count(input) == 2);
    fs::remove(dir.path("hard"));
    AtomicFile again(input, AtomicFile::Over::itself);
    again.write("newer");
    again.commit();
    CHECK(slurp(input) == "newer");
    CHECK((fs::status(input).permissions() & fs::perms::mask) == fs::perms(0640));
    CHECK(std::distance(fs::directory_iterator(dir.root), {}) == 3);
  }

  TEST_CASE("what acts on a terminal is shown escaped") {
    CHECK(escaped("a\x1b[2J\tb\nc") == "a\\x1b[2J\tb\nc");
    CHECK(escaped("a\tb\nc", false) == "a\\x09b\\x0ac");
    CHECK(escaped("\xc2\x9b \xe2\x80\xae \xff \xc3\xa4") == "\\xc2\\x9b \\xe2\\x80\\xae \\xff \xc3\xa4");
  }
}
