#include "runtime/RunJson.h"

#include "runtime/Threads.h"
#include "runtime/formats/Text.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>

namespace hw::runtime {

using Json = nlohmann::ordered_json;

static constexpr const char *name = "run", *extension = ".json", *running = "running";

/// JSON has no number for what is not finite.
static Json number(double value) {
  if (!std::isfinite(value))
    return shortest(value);
  if (value == std::floor(value) && std::abs(value) < 9e15)
    return static_cast<int64_t>(value);
  return value;
}

/// The CPU's name as the system tells it.
static std::string cpuName() {
  std::string name = "unknown";
  if (std::FILE *file = std::fopen("/proc/cpuinfo", "r")) {
    char line[512];
    while (std::fgets(line, sizeof line, file)) {
      const std::string_view text(line);
      if (!text.starts_with("model name"))
        continue;
      if (const size_t at = text.find(": "); at != std::string_view::npos)
        name = std::string(text.substr(at + 2, text.find('\n') - at - 2));
      break;
    }
    std::fclose(file);
  }
  return name;
}

void writeRunJson(OutDir &out, const Program &program, const Study *study, const RunFacts &facts) {
  const Plan &plan = program.plan;
  Json json;
  json["program"] = plan.name;
  json["status"] = facts.status;
  if (!facts.error.empty())
    json["error"] = facts.error;
  json["command"] = facts.command;
  json["settings"] = Json::object();
  for (const Setting &setting : plan.settings)
    json["settings"][setting.name] = number(setting.value);
  json["identity"] = plan.identity;
  json["precision"] = plan.precision;
  json["quick"] = plan.quick;
  json["versions"] = {{"hwc", HW_VERSION}, {"runtime", HW_ABI}};
  if (!oneDnnVersion().empty())
    json["versions"]["oneDNN"] = oneDnnVersion();
  json["cpu"] = cpuName();
  json["compiled_for"] = program.descriptor.cpu ? program.descriptor.cpu : "";
  json["vector_bytes"] = program.descriptor.vector_bytes;
  json["threads"] = threads();
  if (study && study->sideBySide() > 0)
    json["side_by_side"] = study->sideBySide();
  json["started"] = facts.started;
  json["seconds"] = facts.seconds;
  json["load_seconds"] = facts.loadSeconds;
  json["resumed"] = facts.resumed;
  if (!plan.nets.empty())
    json["nets"] = Json::parse(plan.nets);
  json["trainings"] = Json::array();
  if (study)
    for (const TrainReport &report : study->trainings()) {
      Json entry = {{"label", report.label}};
      for (const auto &[name, value] : report.loops)
        entry["loops"][name] = number(value);
      entry["end"] = report.end;
      entry["seed"] = number(report.seed);
      entry["epochs"] = report.epochs;
      entry["steps"] = report.steps;
      entry["loss"] = number(report.loss);
      entry["seconds"] = report.seconds;
      json["trainings"].push_back(std::move(entry));
    }
  json["tables"] = Json::object();
  for (const auto &table : plan.tables) {
    if (table->hidden())
      continue;
    Json entry = {{"rows", table->rows()}};
    // The last row, unless it is long: the final values.
    if (table->rows() > 0 && table->width() <= 64) {
      const double *row = table->row(table->rows() - 1);
      const auto names = table->cellNames();
      size_t cell = 0;
      for (const auto &column : table->columns())
        for (int64_t j = 0; j < column.width; ++j, ++cell)
          entry["last"][names[cell]] =
              column.type == Table::Type::text ? Json(table->text(row[cell])) : number(row[cell]);
    }
    json["tables"][table->name()] = std::move(entry);
  }
  AtomicFile file = out.create(name, extension);
  // Texts come from model files and command lines: what is not UTF-8 must not end the run here.
  file.write(json.dump(2, ' ', false, Json::error_handler_t::replace));
  file.write("\n");
  file.commit(facts.status != running);
}

std::optional<RunMark> readRunMark(const std::string &folder) {
  // Whatever may lie there under that name: a pipe is not waited for.
  std::error_code error;
  if (!std::filesystem::is_regular_file(folder + "/" + name + extension, error))
    return std::nullopt;
  constexpr std::streamsize longest = 64 << 20;
  std::ifstream file(folder + "/" + name + extension, std::ios::binary);
  std::string text(1 << 16, '\0');
  std::string all;
  while (file && static_cast<std::streamsize>(all.size()) < longest) {
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    all.append(text, 0, static_cast<size_t>(file.gcount()));
  }
  const Json json = Json::parse(all, nullptr, false);
  if (!json.is_object() || !json.contains("identity") || !json["identity"].is_string() || !json.contains("status") ||
      !json["status"].is_string())
    return std::nullopt;
  return RunMark{json["identity"].get<std::string>(), json["status"].get<std::string>()};
}

} // namespace hw::runtime
