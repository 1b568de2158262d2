#include "runtime/Timeline.h"

#include <nlohmann/json.hpp>

namespace hw::runtime {

// The format: "Trace Event Format", docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU.

using Json = nlohmann::ordered_json;

namespace {

/// Names come from model files: what is not UTF-8 must not end the run here.
std::string dump(const Json &json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

class Writer {
public:
  Writer(AtomicFile &file, const Marks &marks)
      : file(file), marks(marks), microseconds(1e6 * marks.secondsPerTick()), start(marks.start()) {}

  void head(const std::string &program) {
    const Json other = {{"program", program}, {"hwc", HW_VERSION}, {"dropped events", marks.dropped()}};
    file.write("{\"displayTimeUnit\": \"ns\", \"otherData\": " + dump(other) + ", \"traceEvents\": [\n");
    file.write(dump({{"ph", "M"}, {"pid", 1}, {"name", "process_name"}, {"args", {{"name", program}}}}));
    for (size_t thread = 0; thread < marks.threadCount(); ++thread)
      file.write(",\n" + dump({{"ph", "M"},
                               {"pid", 1},
                               {"tid", thread},
                               {"name", "thread_name"},
                               {"args", {{"name", fmt::format("thread {}", thread)}}}}));
  }

  void spans() {
    for (const Marks::SpanEvent &span : marks.spans()) {
      const std::string name = span.number < 0 ? span.name : fmt::format("{} {}", span.name, span.number);
      write(dump({{"name", name}, {"cat", span.kind}}), 0, span.begin, span.end);
    }
  }

  /// Each step's name and arguments are made once: a timeline has many events of few steps.
  void events() {
    const hw_program &program = marks.program;
    std::vector<std::string> calls(program.entry_count);
    std::vector<std::vector<std::string>> steps(program.entry_count);
    for (size_t thread = 0; thread < marks.threadCount(); ++thread)
      for (const Marks::Event &event : marks.events(thread)) {
        const auto number = static_cast<size_t>(event.entry);
        const hw_entry &entry = program.entries[number];
        if (event.step < 0) {
          if (calls[number].empty())
            calls[number] = describe(entry.name, "call", "", entry.flops, entry.bytes);
          write(calls[number], thread, event.begin, event.end);
          continue;
        }
        steps[number].resize(entry.step_count);
        std::string &text = steps[number][static_cast<size_t>(event.step)];
        const hw_step &step = entry.steps[event.step];
        if (text.empty())
          text = describe(step.name, entry.name, step.location, step.flops, step.bytes);
        write(text, thread, event.begin, event.end);
      }
  }

private:
  static std::string describe(const char *name, const char *category, const std::string &location, double flops,
                              double bytes) {
    Json args = {{"flops", flops}, {"bytes", bytes}};
    if (!location.empty())
      args["location"] = location;
    return dump({{"name", name}, {"cat", category}, {"args", std::move(args)}});
  }

  /// `what`: the event's other members, as a JSON object.
  void write(std::string what, size_t thread, uint64_t begin, uint64_t end) {
    what.pop_back();
    const double from = microseconds * static_cast<double>(begin - start);
    file.write(fmt::format(",\n{},\"ph\":\"X\",\"pid\":1,\"tid\":{},\"ts\":{:.3f},\"dur\":{:.3f}}}", what, thread, from,
                           microseconds * static_cast<double>(end - begin)));
  }

  AtomicFile &file;
  const Marks &marks;
  const double microseconds; // of a tick
  const uint64_t start;
};

} // namespace

void writeTimeline(AtomicFile &file, const Marks &marks, const std::string &program) {
  Writer writer(file, marks);
  writer.head(program);
  writer.spans();
  writer.events();
  file.write("\n]}\n");
  file.commit();
}

std::string describeTimeline(const AtomicFile &file, const Marks &marks) {
  std::string text =
      fmt::format("timeline in {}: open it with https://ui.perfetto.dev or chrome://tracing", file.path());
  if (marks.dropped() > 0)
    text += fmt::format("; it holds the beginning, as {} later events had no room", marks.dropped());
  return text;
}

} // namespace hw::runtime
