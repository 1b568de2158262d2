#include "runtime/Checkpoint.h"

#include "runtime/formats/Text.h"

#include <nlohmann/json.hpp>
#include <zlib.h>

#include <cmath>
#include <concepts>
#include <cstring>
#include <system_error>

namespace hw::runtime {

using Json = nlohmann::ordered_json;

constexpr int formatVersion = 2;

uint32_t checksum(const void *data, uint64_t bytes) {
  return static_cast<uint32_t>(crc32_z(0, static_cast<const Bytef *>(data), bytes));
}

//---- the state as JSON -----------------------------------------------------------------------------------------------

// One list of fields a struct, for writing and reading alike: `visit(key, field)` for each.

template <class T, class Of>
concept Either = std::same_as<std::remove_const_t<T>, Of>;

template <Either<FrameState> State, class Visit> static void visitFields(State &frame, Visit visit) {
  visit("at", frame.at);
  visit("part", frame.part);
  visit("numbers", frame.numbers);
}

template <Either<TrainReport> State, class Visit> static void visitFields(State &report, Visit visit) {
  visit("label", report.label);
  visit("loops", report.loops);
  visit("seed", report.seed);
  visit("loss", report.loss);
  visit("seconds", report.seconds);
  visit("epochs", report.epochs);
  visit("steps", report.steps);
  visit("end", report.end);
}

template <Either<WalkState::TableRows> State, class Visit> static void visitFields(State &table, Visit visit) {
  visit("name", table.name);
  visit("rows", table.rows);
  visit("texts", table.texts);
}

template <Either<WalkState> State, class Visit> static void visitFields(State &walk, Visit visit) {
  visit("frames", walk.frames);
  visit("stopping", walk.stopping);
  visit("trainings", walk.trainings);
  visit("tables", walk.tables);
}

template <Either<CheckpointState> State, class Visit> static void visitFields(State &state, Visit visit) {
  visit("program", state.run.program);
  visit("identity", state.run.identity);
  visit("hwc", state.run.hwc);
  visit("cpu", state.run.cpu);
  visit("oneDNN", state.run.oneDnn);
  visit("vector_bytes", state.run.vectorBytes);
  visit("threads", state.run.threads);
  visit("quick", state.run.quick);
  visit("settings", state.run.settings);
  visit("started", state.started);
  visit("command", state.command);
  visit("seconds", state.seconds);
  visit("resumed", state.resumed);
  visit("side_by_side", state.sideBySide);
  visit("files", state.files);
  visit("sums", state.sums);
  visitFields<std::conditional_t<std::is_const_v<State>, const WalkState, WalkState>>(state, visit);
  visit("turns", state.turns);
}

template <class T>
concept HasFields = requires(T &value) { visitFields(value, [](const char *, auto &) {}); };

/// Shortest decimals read back bit for bit; JSON has no number for what is not finite.
static Json toJson(double value) { return std::isfinite(value) ? Json(value) : Json(shortest(value)); }
static void fromJson(const Json &json, double &value) {
  if (json.is_number()) {
    value = json.get<double>();
    return;
  }
  const auto text = json.get<std::string>();
  value = text == "inf" ? INFINITY : text == "-inf" ? -INFINITY : NAN;
}

template <class T> static Json toJson(const T &value) { return value; }
template <class T> static void fromJson(const Json &json, T &value) { json.get_to(value); }

template <class A, class B> static Json toJson(const std::pair<A, B> &pair) {
  return Json::array({toJson(pair.first), toJson(pair.second)});
}
template <class A, class B> static void fromJson(const Json &json, std::pair<A, B> &pair) {
  fromJson(json.at(0), pair.first);
  fromJson(json.at(1), pair.second);
}

template <class T> static Json toJson(const std::vector<T> &list) {
  Json json = Json::array();
  for (const T &element : list)
    json.push_back(toJson(element));
  return json;
}
template <class T> static void fromJson(const Json &json, std::vector<T> &list) {
  for (const Json &element : json)
    fromJson(element, list.emplace_back());
}

template <HasFields T> static Json toJson(const T &value) {
  Json json = Json::object();
  visitFields(value, [&](const char *key, const auto &field) { json[key] = toJson(field); });
  return json;
}
template <HasFields T> static void fromJson(const Json &json, T &value) {
  visitFields(value, [&](const char *key, auto &field) { fromJson(json.at(key), field); });
}

std::string writeCheckpointState(const CheckpointState &state) {
  Json json = {{"version", formatVersion}};
  json.update(toJson(state));
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

[[noreturn]] static void damaged(const std::string &place) {
  fail("{} is damaged: delete it and run again with --resume, which then starts over", place);
}

void doesNotFit(const std::string &place) {
  fail("{} does not fit its program: delete it and run again with --resume, which then starts over", place);
}

/// A parser that gives up where brackets nest deeper than any state's: its stack is not the file's to use up.
static Json parsed(std::string_view text) {
  return Json::parse(text.begin(), text.end(), [](int depth, Json::parse_event_t, Json &) {
    if (depth > 8)
      throw Json::other_error::create(500, "nested too deeply", nullptr);
    return true;
  });
}

CheckpointState readCheckpointState(std::string_view text, const std::string &place) {
  try {
    const Json json = parsed(text);
    if (const auto version = json.at("version").get<int64_t>(); version != formatVersion)
      fail("{} is a checkpoint of format {}, but this runtime reads format {}: continue it with the hwc that wrote it, "
           "or start over with --force",
           place, version, formatVersion);
    CheckpointState state;
    fromJson(json, state);
    if (state.frames.empty() || state.run.threads < 1 || state.run.threads > 4096 || !(state.seconds >= 0))
      damaged(place);
    return state;
  } catch (const Json::exception &) {
    damaged(place); // what they say quotes the file's bytes
  }
}

//---- writing ---------------------------------------------------------------------------------------------------------

void Checkpoint::clear() {
  state = {};
  parts.clear();
  bytes.clear(); // keeps its memory
}

std::byte *Checkpoint::add(std::string name, DType type, Shape shape, uint64_t size) {
  const size_t offset = bytes.size();
  parts.push_back({std::move(name), type, std::move(shape), offset});
  bytes.resize(offset + size);
  return bytes.data() + offset;
}

CheckpointWriter::~CheckpointWriter() {
  if (thread.joinable())
    thread.join();
}

void CheckpointWriter::wait() {
  if (thread.joinable())
    thread.join();
  if (error)
    std::rethrow_exception(std::exchange(error, nullptr));
}

Checkpoint &CheckpointWriter::next() {
  wait();
  checkpoint.clear();
  return checkpoint;
}

void CheckpointWriter::start() {
  busy = true;
  failed = false;
  const auto write = [this] {
    try {
      std::vector<NamedTensor> tensors;
      CheckpointState &state = checkpoint.state;
      for (const Checkpoint::Part &part : checkpoint.parts) {
        const std::byte *data = checkpoint.bytes.data() + part.offset;
        state.sums[part.name] = checksum(data, checkedByteSize(part.type, part.shape, part.name));
        tensors.push_back({part.name, {part.type, part.shape, data}});
      }
      const std::string text = writeCheckpointState(state);
      writeSafetensors(out.create(checkpointName, checkpointExtension), tensors,
                       {{"state", text}, {"state_crc32", fmt::format("{}", checksum(text.data(), text.size()))}});
    } catch (const Error &e) {
      error = std::make_exception_ptr(
          Error(fmt::format("{}; the checkpoint before it is kept, and --resume continues from there", e.what())));
    } catch (...) {
      error = std::current_exception();
    }
    failed = error != nullptr;
    busy = false;
  };
  try {
    thread = std::thread(write);
  } catch (const std::system_error &) {
    write(); // the system has no thread for it: the run waits
  }
}

//---- reading ---------------------------------------------------------------------------------------------------------

static SafetensorsFile opened(const std::string &path) {
  try {
    return SafetensorsFile(path, ByteReader::Whose::run);
  } catch (const Error &e) {
    fail("{}; or delete it, and --resume starts over", e.what());
  }
}

CheckpointFile::CheckpointFile(const std::string &path)
    : where("the checkpoint " + inQuotes(path, 1000)), file(opened(path)) {
  const auto text = file.metadata().find("state"), sum = file.metadata().find("state_crc32");
  if (text == file.metadata().end() || sum == file.metadata().end())
    fail("{} has no state of a run in it: choose another folder with --out, or delete it", where);
  if (sum->second != fmt::format("{}", checksum(text->second.data(), text->second.size())))
    damaged(where);
  contents = readCheckpointState(text->second, where);
}

Tensor CheckpointFile::read(const std::string &name, DType type, const Shape &shape) const {
  const auto *entry = file.find(name);
  const auto sum = contents.sums.find(name);
  if (!entry || sum == contents.sums.end() || !(entry->header == TensorHeader{type, shape}))
    damaged(where);
  Tensor tensor = file.read(*entry);
  if (checksum(tensor.data(), tensor.byteSize()) != sum->second)
    damaged(where);
  return tensor;
}

//---- whose it is -----------------------------------------------------------------------------------------------------

void checkSameRun(const RunIdentity &mine, const RunIdentity &theirs, const std::string &place) {
  if (theirs.program != mine.program)
    fail("{} is of another program, {}: choose another folder with --out, or replace what is there with --force", place,
         inQuotes(theirs.program));
  if (theirs.hwc != mine.hwc)
    fail("{} was written by version {} of hwc, and this is {}: continue with that one, or start over with --force",
         place, inQuotes(theirs.hwc), mine.hwc);
  if (theirs.quick != mine.quick)
    fail("{} is of a run {} --quick: continue it so, or start over with --force", place,
         theirs.quick ? "with" : "without");
  if (theirs.identity != mine.identity) {
    // A value that a shape depends on makes another program; others are told apart by name.
    for (const auto &[name, value] : theirs.settings)
      for (const auto &[here, ours] : mine.settings)
        if (name == here && value != ours)
          fail("{} is of {} with {} = {}, and here it is {}: give --set {}={}, or start over with --force", place,
               mine.program, name, shortest(value), shortest(ours), name, shortest(value));
    fail("{} is of another {}: the model has changed since; continue with the one that it was, or start over with "
         "--force",
         place, inQuotes(mine.program));
  }
  if (theirs.cpu != mine.cpu || theirs.vectorBytes != mine.vectorBytes)
    fail("{} is of a program compiled for {}, and this one is for {}: give --cpu {} to the compiler, or start over "
         "with --force",
         place, inQuotes(theirs.cpu), mine.cpu, inQuotes(theirs.cpu));
  if (theirs.oneDnn != mine.oneDnn)
    fail("{} was written with version {} of oneDNN, and this is {}: continue with that one, or start over with --force",
         place, inQuotes(theirs.oneDnn), mine.oneDnn.empty() ? "none" : mine.oneDnn);
  if (theirs.threads != mine.threads)
    fail("{} is of a run on {} threads, and this one has {}: give --threads {}, or start over with --force", place,
         theirs.threads, mine.threads, theirs.threads);
  if (theirs.settings != mine.settings)
    for (size_t i = 0; i < theirs.settings.size() && i < mine.settings.size(); ++i)
      if (const auto &[name, value] = theirs.settings[i]; theirs.settings[i] != mine.settings[i])
        fail("{} is of a run with {} = {}, not {}: leave --set away, or start over with --force", place, inQuotes(name),
             shortest(value), shortest(mine.settings[i].second));
}

} // namespace hw::runtime
