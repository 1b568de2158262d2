#include "runtime/formats/Safetensors.h"
#include "runtime/formats/ByteReader.h"
#include "runtime/formats/OutDir.h"
#include "runtime/formats/Text.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <sys/stat.h>
#include <unistd.h>

namespace hw {

namespace {

constexpr uint64_t longestHeader = 100'000'000; // the reference implementation's limit

struct Code {
  DType dtype;
  const char *name;
  uint64_t width; // bytes of an element in the file
};
// The first of a DType is what it is written as.
constexpr Code codes[] = {{DType::f32, "F32", 4}, {DType::f64, "F64", 8}, {DType::i1, "BOOL", 1},
                          {DType::i8, "I8", 1},   {DType::u8, "U8", 1},   {DType::i32, "I32", 4},
                          {DType::u32, "U32", 4}, {DType::i64, "I64", 8}, {DType::f32, "F16", 2},
                          {DType::f32, "BF16", 2}};

const char *codeName(DType dtype) {
  for (const Code &code : codes)
    if (code.dtype == dtype)
      return code.name;
  return "";
}

/// IEEE 754's binary16: a sign, 5 bits of exponent, 10 of fraction.
float fromHalf(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  const float size = exponent == 31  ? (fraction ? NAN : INFINITY)
                     : exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                     : std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
  return half & 0x8000 ? -size : size;
}

/// The upper half of an f32.
float fromBfloat(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

/// The tensor's memory starts with as many 16-bit numbers as it has elements: widened from the end, where they are
/// unread.
void widen(Tensor &tensor, float (*convert)(uint16_t)) {
  for (int64_t i = tensor.size(); i-- > 0;) {
    uint16_t word;
    std::memcpy(&word, tensor.data() + 2 * i, 2);
    tensor.as<float>()[i] = convert(word);
  }
}

void write(AtomicFile file, const std::vector<NamedTensor> &tensors, const Metadata &metadata) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return dtypeSize(tensors[a].tensor.dtype) > dtypeSize(tensors[b].tensor.dtype);
  });
  auto json = nlohmann::ordered_json::object();
  Metadata all = metadata;
  all.try_emplace("format", "pt"); // some tools of PyTorch's users ask for it
  json["__metadata__"] = all;
  uint64_t offset = 0;
  std::set<std::string> seen = {"__metadata__"};
  for (size_t i : order) {
    const auto &[name, tensor] = tensors[i];
    if (!seen.insert(name).second)
      fail("{} cannot be written: two of its tensors are called {}; rename one", file.place(), inQuotes(name));
    uint64_t bytes = checkedByteSize(tensor.dtype, tensor.shape, inQuotes(name));
    json[name] = {
        {"dtype", codeName(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string header = json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  header.resize((header.size() + 7) / 8 * 8, ' '); // so that the data is aligned
  uint64_t length = header.size();
  file.write(&length, sizeof length);
  file.write(header);
  for (size_t i : order)
    file.write(tensors[i].tensor.data, checkedByteSize(tensors[i].tensor.dtype, tensors[i].tensor.shape, ""));
  file.commit();
}

} // namespace

struct SafetensorsFile::State {
  std::string path, place;
  uint64_t fileSize = 0;
  std::vector<Entry> entries;
  std::map<std::string, size_t> byName;
  Metadata metadata;

  [[noreturn]] void damaged(const std::string &why) const {
    fail("{} has a damaged safetensors header: {}; save it again", place, why);
  }

  nlohmann::json parse(const std::string &text) const {
    // A map would quietly keep one of two equal names: look at the keys as they come.
    std::vector<std::set<std::string>> keys;
    auto check = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json &value) {
      using Event = nlohmann::json::parse_event_t;
      if (depth > 4)
        damaged("it is nested too deeply");
      if (event == Event::object_start)
        keys.emplace_back();
      else if (event == Event::object_end)
        keys.pop_back();
      else if (event == Event::key && !keys.back().insert(value.get<std::string>()).second)
        damaged(fmt::format("the name {} is there twice", inQuotes(value.get<std::string>())));
      return true;
    };
    try {
      return nlohmann::json::parse(text, check);
    } catch (const nlohmann::json::exception &e) {
      // Their message quotes the file's bytes; keep the place only.
      damaged("it is not valid JSON");
    }
  }

  static bool isIndex(const nlohmann::json &value) {
    return value.is_number_unsigned() && value.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX);
  }

  void readEntry(const std::string &name, const nlohmann::json &value, uint64_t dataStart) {
    auto bad = [&](const std::string &why) { damaged(fmt::format("tensor {} {}", inQuotes(name), why)); };
    if (!value.is_object() || value.size() != 3 || !value.contains("dtype") || !value.contains("shape") ||
        !value.contains("data_offsets"))
      bad("does not have exactly dtype, shape and data_offsets");
    const auto &type = value["dtype"], &shape = value["shape"], &offsets = value["data_offsets"];
    if (!type.is_string())
      bad("has a dtype that is not a string");
    const auto &typeName = type.get_ref<const std::string &>();
    const Code *code =
        std::find_if(std::begin(codes), std::end(codes), [&](const Code &c) { return typeName == c.name; });
    if (code == std::end(codes))
      fail("{}: tensor {} has elements of type {}, not F32, F64, F16, BF16, BOOL, I8, U8, I32, U32 or I64; convert it "
           "to "
           "F32",
           place, inQuotes(name), inQuotes(typeName, 40));
    Entry entry{name, {code->dtype, {}}, typeName, 0, 0};
    if (!shape.is_array() || !std::all_of(shape.begin(), shape.end(), isIndex))
      bad("has a shape that is not a list of sizes");
    for (const auto &extent : shape)
      entry.header.shape.push_back(extent.get<int64_t>());
    if (!offsets.is_array() || offsets.size() != 2 || !std::all_of(offsets.begin(), offsets.end(), isIndex))
      bad("has data_offsets that are not two offsets");
    auto begin = offsets[0].get<uint64_t>(), end = offsets[1].get<uint64_t>();
    if (begin > end || end > fileSize - dataStart)
      bad(fmt::format("lies at bytes {} to {} of {}, outside the file", begin, end, fileSize - dataStart));
    checkedByteSize(entry.header.dtype, entry.header.shape, fmt::format("{}: tensor {}", place, inQuotes(name)));
    entry.bytes = static_cast<uint64_t>(*elementCount(entry.header.shape)) * code->width;
    if (entry.bytes != end - begin)
      bad(fmt::format("is {} {}, {}, but has {}", typeName, shapeString(entry.header.shape), humanBytes(entry.bytes),
                      humanBytes(end - begin)));
    entry.offset = dataStart + begin;
    entries.push_back(std::move(entry));
  }

  void readHeader(ByteReader::Whose whose) {
    ByteReader file(path, false, whose);
    place = file.place();
    struct stat info;
    if (stat(path.c_str(), &info) != 0)
      fail("{} cannot be read: {}", place, std::strerror(errno));
    fileSize = static_cast<uint64_t>(info.st_size);
    uint64_t length;
    if (fileSize < 8 + 2)
      fail("{} is not a safetensors file: it has only {}; name a file with weights", place, humanBytes(fileSize));
    file.readExactly(&length, 8, "the length of its header");
    if (length > longestHeader || length > fileSize - 8)
      fail("{} is not a safetensors file or truncated: it claims a header of {} in a file of {}; name a file with "
           "weights",
           place, humanBytes(length), humanBytes(fileSize));
    std::string text(length, '\0');
    file.readExactly(text.data(), length, "its header");
    if (text.empty() || text[0] != '{')
      damaged("it does not start with '{'");
    nlohmann::json json = parse(text);
    if (!json.is_object())
      damaged("it is not a JSON object");
    uint64_t dataStart = 8 + length;
    for (const auto &[name, value] : json.items()) {
      if (name != "__metadata__") {
        readEntry(name, value, dataStart);
        continue;
      }
      if (!value.is_object())
        damaged("its metadata is not an object");
      for (const auto &[key, text] : value.items()) {
        if (!text.is_string())
          damaged(fmt::format("its metadata {} is not a string", inQuotes(key)));
        metadata[key] = text.get<std::string>();
      }
    }
    // As the reference does: no overlap and no gap, so the file holds exactly what it says.
    std::stable_sort(entries.begin(), entries.end(), [](const Entry &a, const Entry &b) {
      return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
    });
    uint64_t at = dataStart;
    for (const Entry &entry : entries) {
      if (entry.offset != at)
        damaged(fmt::format("tensor {} {}", inQuotes(entry.name),
                            entry.offset < at ? "overlaps the one before it" : "leaves a gap before it"));
      at += entry.bytes;
      byName[entry.name] = &entry - entries.data();
    }
    if (at != fileSize)
      fail("{} has {} after its last tensor; save it again", place, humanBytes(fileSize - at));
  }
};

SafetensorsFile::SafetensorsFile(const std::string &path, ByteReader::Whose whose) : state(std::make_unique<State>()) {
  state->path = path;
  state->readHeader(whose);
}
SafetensorsFile::~SafetensorsFile() = default;
SafetensorsFile::SafetensorsFile(SafetensorsFile &&) noexcept = default;

const std::vector<SafetensorsFile::Entry> &SafetensorsFile::entries() const { return state->entries; }
const Metadata &SafetensorsFile::metadata() const { return state->metadata; }

const SafetensorsFile::Entry *SafetensorsFile::find(const std::string &name) const {
  auto it = state->byName.find(name);
  return it == state->byName.end() ? nullptr : &state->entries[it->second];
}

Tensor SafetensorsFile::read(const Entry &entry) const {
  Tensor tensor(entry.header.dtype, entry.header.shape,
                fmt::format("{}: tensor {}", state->place, inQuotes(entry.name)));
  int fd = open(state->path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    fail("{} cannot be opened: {}", state->place, std::strerror(errno));
  uint64_t done = 0;
  while (done < entry.bytes) {
    ssize_t got = pread(fd, tensor.data() + done, std::min<uint64_t>(entry.bytes - done, 1u << 30),
                        static_cast<off_t>(entry.offset + done));
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0) {
      int error = errno;
      close(fd);
      fail("{} cannot be read: {}", state->place, got < 0 ? std::strerror(error) : "it became shorter while in use");
    }
    done += static_cast<uint64_t>(got);
  }
  close(fd);
  if (entry.type == "F16")
    widen(tensor, fromHalf);
  else if (entry.type == "BF16")
    widen(tensor, fromBfloat);
  else if (entry.type == "BOOL")
    for (uint8_t *p = tensor.as<uint8_t>(), *end = p + tensor.size(); p != end; ++p)
      *p = *p != 0;
  return tensor;
}

Tensor SafetensorsFile::read(const std::string &name) const {
  if (const Entry *entry = find(name))
    return read(*entry);
  std::string some;
  for (size_t i = 0; i < state->entries.size() && i < 5; ++i)
    some += (i ? ", " : "") + inQuotes(state->entries[i].name, 60);
  if (state->entries.size() > 5)
    some += fmt::format(" and {} more", state->entries.size() - 5);
  fail("{} has no tensor {}; it has {}", state->place, inQuotes(name), some.empty() ? "none" : some);
}

void writeSafetensors(AtomicFile file, const std::vector<NamedTensor> &tensors, const Metadata &metadata) {
  write(std::move(file), tensors, metadata);
}

void writeSafetensors(const std::string &path, const std::vector<NamedTensor> &tensors, const Metadata &metadata) {
  write(AtomicFile(path), tensors, metadata);
}

std::string writeSafetensors(OutDir &out, const std::string &name, const std::vector<NamedTensor> &tensors,
                             const Metadata &metadata) {
  AtomicFile file = out.create(name, ".safetensors");
  std::string path = file.path();
  write(std::move(file), tensors, metadata);
  return path;
}

} // namespace hw
