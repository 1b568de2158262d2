#include "runtime/Checkpoint.h"

#include "runtime/formats/Text.h"

#include <nlohmann/json.hpp>
#include <zlib.h>

#include <cmath>
#include <cstring>

namespace hw::runtime {

using Json = nlohmann::ordered_json;

constexpr int formatVersion = 1;

uint32_t checksum(const void *data, uint64_t bytes) {
  return static_cast<uint32_t>(crc32_z(0, static_cast<const Bytef *>(data), bytes));
}

//---- the state as JSON -----------------------------------------------------------------------------------------------

/// Shortest decimals read back bit for bit; JSON has no number for what is not finite.
static Json number(double value) { return std::isfinite(value) ? Json(value) : Json(shortest(value)); }

static double numberFrom(const Json &json) {
  if (json.is_number())
    return json.get<double>();
  const auto text = json.get<std::string>();
  return text == "inf" ? INFINITY : text == "-inf" ? -INFINITY : NAN;
}

static Json pairs(const std::vector<std::pair<std::string, double>> &list) {
  Json json = Json::array();
  for (const auto &[name, value] : list)
    json.push_back({name, number(value)});
  return json;
}

static std::vector<std::pair<std::string, double>> pairsFrom(const Json &json) {
  std::vector<std::pair<std::string, double>> list;
  for (const Json &pair : json)
    list.emplace_back(pair.at(0).get<std::string>(), numberFrom(pair.at(1)));
  return list;
}

std::string writeCheckpointState(const CheckpointState &state) {
  const RunIdentity &run = state.run;
  Json json = {{"version", formatVersion},
               {"program", run.program},
               {"identity", run.identity},
               {"hwc", run.hwc},
               {"cpu", run.cpu},
               {"oneDNN", run.oneDnn},
               {"vector_bytes", run.vectorBytes},
               {"threads", run.threads},
               {"quick", run.quick},
               {"settings", pairs(run.settings)},
               {"started", state.started},
               {"command", state.command},
               {"seconds", state.seconds},
               {"resumed", state.resumed},
               {"stopping", state.stopping},
               {"files", state.files},
               {"sums", state.sums}};
  for (const char *list : {"frames", "trainings", "tables"})
    json[list] = Json::array();
  for (const FrameState &frame : state.frames) {
    Json numbers = Json::array();
    for (double value : frame.numbers)
      numbers.push_back(number(value));
    json["frames"].push_back({{"at", frame.at}, {"part", frame.part}, {"numbers", std::move(numbers)}});
  }
  for (const TrainReport &report : state.trainings)
    json["trainings"].push_back({{"label", report.label},
                                 {"loops", pairs(report.loops)},
                                 {"seed", number(report.seed)},
                                 {"loss", number(report.loss)},
                                 {"seconds", report.seconds},
                                 {"epochs", report.epochs},
                                 {"steps", report.steps},
                                 {"end", report.end}});
  for (const auto &table : state.tables)
    json["tables"].push_back({{"name", table.name}, {"rows", table.rows}, {"texts", table.texts}});
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

static CheckpointState stateFrom(const Json &json) {
  CheckpointState state;
  auto get = [&](const char *key, auto &to) { json.at(key).get_to(to); };
  RunIdentity &run = state.run;
  get("program", run.program);
  get("identity", run.identity);
  get("hwc", run.hwc);
  get("cpu", run.cpu);
  get("oneDNN", run.oneDnn);
  get("vector_bytes", run.vectorBytes);
  get("threads", run.threads);
  get("quick", run.quick);
  run.settings = pairsFrom(json.at("settings"));
  get("started", state.started);
  get("command", state.command);
  get("seconds", state.seconds);
  get("resumed", state.resumed);
  get("stopping", state.stopping);
  get("files", state.files);
  get("sums", state.sums);
  for (const Json &entry : json.at("frames")) {
    FrameState frame{entry.at("at").get<int64_t>(), entry.at("part").get<int64_t>(), {}};
    for (const Json &value : entry.at("numbers"))
      frame.numbers.push_back(numberFrom(value));
    state.frames.push_back(std::move(frame));
  }
  for (const Json &entry : json.at("trainings")) {
    TrainReport report;
    entry.at("label").get_to(report.label);
    report.loops = pairsFrom(entry.at("loops"));
    report.seed = numberFrom(entry.at("seed"));
    report.loss = numberFrom(entry.at("loss"));
    entry.at("seconds").get_to(report.seconds);
    entry.at("epochs").get_to(report.epochs);
    entry.at("steps").get_to(report.steps);
    entry.at("end").get_to(report.end);
    state.trainings.push_back(std::move(report));
  }
  for (const Json &entry : json.at("tables"))
    state.tables.push_back({entry.at("name").get<std::string>(), entry.at("rows").get<int64_t>(),
                            entry.at("texts").get<std::vector<std::string>>()});
  return state;
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
    CheckpointState state = stateFrom(json);
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
  thread = std::thread([this] {
    try {
      std::vector<NamedTensor> tensors;
      CheckpointState &state = checkpoint.state;
      for (const Checkpoint::Part &part : checkpoint.parts) {
        const std::byte *data = checkpoint.bytes.data() + part.offset;
        state.sums[part.name] = checksum(data, checkedByteSize(part.type, part.shape, part.name));
        tensors.push_back({part.name, {part.type, part.shape, data}});
      }
      const std::string text = writeCheckpointState(state);
      writeSafetensors(path, tensors,
                       {{"state", text}, {"state_crc32", fmt::format("{}", checksum(text.data(), text.size()))}});
    } catch (const Error &e) {
      error = std::make_exception_ptr(
          Error(fmt::format("{}; the checkpoint before it is kept, and --resume continues from there", e.what())));
    } catch (...) {
      error = std::current_exception();
    }
    failed = error != nullptr;
    busy = false;
  });
}

//---- reading ---------------------------------------------------------------------------------------------------------

static SafetensorsFile opened(const std::string &path) {
  try {
    return SafetensorsFile(path);
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
