#include "tests/reference/Shrink.h"
#include <chrono>
#include <optional>
#include <vector>

namespace hw::reference {

namespace {

using Lines = std::vector<std::string>;

Lines linesOf(const std::string &text) {
  Lines lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}
std::string textOf(const Lines &lines) {
  std::string text;
  for (const std::string &line : lines)
    text += line + "\n";
  return text;
}
size_t indentOf(const std::string &line) { return std::min(line.find_first_not_of(' '), line.size()); }
bool opens(const std::string &line) { return !line.empty() && line.back() == '{'; }

/// The line behind the statement that begins at line `first`: behind its block, if it has one.
size_t endOf(const Lines &lines, size_t first) {
  size_t end = first + 1;
  if (opens(lines[first])) {
    while (end < lines.size() && indentOf(lines[end]) > indentOf(lines[first]))
      ++end;
    ++end;
  }
  return std::min(end, lines.size());
}

/// Where the commas of a list lie that begins at `from`, outside of brackets; its end last.
std::vector<size_t> commas(const std::string &line, size_t from) {
  std::vector<size_t> places;
  int depth = 0;
  for (size_t i = from; i < line.size(); ++i) {
    depth += line[i] == '(' || line[i] == '[';
    depth -= line[i] == ')' || line[i] == ']';
    if (line[i] == ',' && depth == 0)
      places.push_back(i);
  }
  places.push_back(line.size());
  return places;
}
/// The line without item `k` of the list from `from` on.
std::string without(const std::string &line, size_t from, const std::vector<size_t> &ends, size_t k) {
  const size_t begin = k ? ends[k - 1] : from, end = k ? ends[k] : std::min(ends[0] + 1, line.size());
  return line.substr(0, begin) + (k ? "" : " ") + line.substr(std::min(end + (k ? 0 : 1), line.size()));
}

/// What a line could be instead: an item fewer, a call or a bracket less.
std::vector<std::string> shorter(const std::string &line) {
  std::vector<std::string> found;
  const size_t indent = indentOf(line);
  if (line.compare(indent, 7, "record ") == 0 || line.compare(indent, 5, "save ") == 0) {
    const size_t colon = line.find(':', indent);
    const size_t from = line[indent] == 's' ? indent + 4 : colon + 1;
    const auto ends = commas(line, from);
    for (size_t k = ends.size(); ends.size() > 1 && k-- > 0;)
      found.push_back(without(line, from, ends, k));
  } else if (const size_t equals = line.find(" = "); equals != std::string::npos && !opens(line)) {
    const std::string left = line.substr(0, equals), right = line.substr(equals + 3);
    const auto names = commas(left, indent), values = commas(right, 0);
    if (names.size() > 1 && names.size() == values.size())
      for (size_t k = names.size(); k-- > 0;) {
        std::string l = without(left, indent, names, k), r = without(right, 0, values, k);
        found.push_back(std::string(indent, ' ') + l.substr(indentOf(l)) + " = " + r.substr(indentOf(r)));
      }
  }
  // A bracket becomes one of its parts.
  for (size_t open = 0; open < line.size(); ++open) {
    if (line[open] != '(')
      continue;
    size_t name = open, close = open;
    while (name > 0 && (std::isalnum(static_cast<unsigned char>(line[name - 1])) || line[name - 1] == '_'))
      --name;
    for (int depth = 0; close < line.size(); ++close) {
      depth += line[close] == '(';
      depth -= line[close] == ')';
      if (depth == 0)
        break;
    }
    if (close >= line.size())
      continue;
    const std::string before = line.substr(0, name), inner = line.substr(open + 1, close - open - 1),
                      behind = line.substr(close + 1);
    std::vector<std::string> parts;
    int depth = 0;
    size_t start = 0;
    for (size_t i = 0; i <= inner.size(); ++i) {
      if (i < inner.size()) {
        depth += inner[i] == '(' || inner[i] == '[';
        depth -= inner[i] == ')' || inner[i] == ']';
      }
      const bool isSeparator =
          i == inner.size() ||
          (depth == 0 && (inner[i] == ',' || (inner[i] == ' ' && i + 2 < inner.size() && inner[i + 2] == ' ' &&
                                              std::string("+-*/@").find(inner[i + 1]) != std::string::npos)));
      if (!isSeparator)
        continue;
      parts.push_back(inner.substr(start, i - start));
      start = i < inner.size() && inner[i] == ' ' ? i + 3 : i + 1;
      if (i < inner.size() && inner[i] == ' ')
        i += 2;
    }
    for (const std::string &part : parts)
      if (!part.empty() && part.find('=') == std::string::npos)
        found.push_back(before + (part.find(' ') == std::string::npos ? part : "(" + part + ")") + behind);
  }
  return found;
}

} // namespace

Generated shrink(const Generated &program, int seconds, const std::function<bool(const Generated &)> &stillFails) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::seconds(seconds);
  Generated best = program;
  auto accept = [&](const Lines &lines) {
    Generated candidate = best;
    candidate.text = textOf(lines);
    if (candidate.text.size() >= best.text.size() || Clock::now() > end || !stillFails(candidate))
      return false;
    best = candidate;
    return true;
  };
  // Statements of the top level first, many at a time.
  for (size_t size = linesOf(best.text).size() / 2; size > 0; size /= 2)
    for (size_t number = 0;;) {
      const Lines lines = linesOf(best.text);
      std::vector<size_t> starts;
      for (size_t first = 0; first < lines.size(); first = endOf(lines, first))
        starts.push_back(first);
      starts.push_back(lines.size());
      if (number + 1 >= starts.size())
        break;
      Lines fewer(lines.begin(), lines.begin() + long(starts[number]));
      fewer.insert(fewer.end(), lines.begin() + long(starts[std::min(number + size, starts.size() - 1)]), lines.end());
      if (!accept(fewer))
        number += size;
    }
  for (bool changed = true; changed && Clock::now() < end;) {
    changed = false;
    for (size_t first = linesOf(best.text).size(); first-- > 0;) {
      const Lines lines = linesOf(best.text);
      if (first >= lines.size() || lines[first].find_first_not_of(" }") == std::string::npos)
        continue;
      const size_t last = endOf(lines, first);
      Lines fewer(lines.begin(), lines.begin() + long(first));
      fewer.insert(fewer.end(), lines.begin() + long(last), lines.end());
      if (accept(fewer)) {
        changed = true;
        continue;
      }
      if (!opens(lines[first]))
        continue;
      // What is in the block without the block.
      Lines bare(lines.begin(), lines.begin() + long(first));
      for (size_t i = first + 1; i + 1 < last; ++i)
        bare.push_back(lines[i].substr(std::min<size_t>(2, lines[i].size())));
      bare.insert(bare.end(), lines.begin() + long(last), lines.end());
      changed |= accept(bare);
    }
    for (size_t number = linesOf(best.text).size(); number-- > 0;)
      for (bool again = true; again;) {
        again = false;
        Lines lines = linesOf(best.text);
        for (const std::string &line : shorter(lines[number])) {
          Lines candidate = lines;
          candidate[number] = line;
          if (accept(candidate)) {
            again = changed = true;
            break;
          }
        }
      }
  }
  return best;
}

} // namespace hw::reference
