// Mistakes in model files, as people and accidents make them: in tokens, in lines, now and then in bytes.
#pragma once

#include <algorithm>
#include <cctype>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace hw::fuzz {

class Mutator {
public:
  explicit Mutator(uint64_t seed) : random(seed) {}

  /// `text` with one mistake. `other`: a file to paste from.
  std::string mistake(const std::string &text, const std::string &other) {
    switch (below(16)) {
    case 0:
      return bytes(text);
    case 1:
    case 2:
    case 3:
      return lines(text, other);
    case 4:
      return deep(text);
    default:
      return tokens(text, other);
    }
  }

private:
  std::mt19937_64 random;

  size_t below(size_t limit) { return limit ? random() % limit : 0; }
  template <class List> const auto &any(const List &list) { return list[below(std::size(list))]; }

  static bool isWord(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

  /// Words, numbers, strings, comments, white space, and single other characters; joined, they are the text again.
  static std::vector<std::string> split(const std::string &text) {
    std::vector<std::string> parts;
    for (size_t at = 0; at < text.size();) {
      size_t end = at + 1;
      auto run = [&](auto holds) {
        while (end < text.size() && holds(text[end]))
          ++end;
      };
      if (isWord(text[at]))
        run(isWord);
      else if (text[at] == ' ')
        run([](char c) { return c == ' '; });
      else if (text[at] == '#')
        run([](char c) { return c != '\n'; });
      else if (text[at] == '"') {
        run([](char c) { return c != '"' && c != '\n'; });
        end = std::min(end + 1, text.size());
      }
      parts.push_back(text.substr(at, end - at));
      at = end;
    }
    return parts;
  }

  static bool matters(const std::string &token) { return token[0] != ' ' && token[0] != '\n' && token[0] != '#'; }

  template <class Wanted> static std::vector<size_t> places(const std::vector<std::string> &parts, Wanted wanted) {
    std::vector<size_t> found;
    for (size_t i = 0; i < parts.size(); ++i)
      if (wanted(parts[i]))
        found.push_back(i);
    return found;
  }

  static std::string join(const std::vector<std::string> &parts) {
    std::string text;
    for (const std::string &part : parts)
      text += part;
    return text;
  }

  std::string tokens(const std::string &text, const std::string &other) {
    static const std::string_view numbers[] = {
        "0",   "-1",         "1",  "2",   "3",     "1e308", "1e-320",     "nan", "inf", "0.5",
        "1.0", "2147483648", "-7", "1e9", "1e400", "65536", "2147483647", "1/0", "-0",  "9223372036854775808"};
    static const std::string_view signs[] = {"(", ")",  "[",  "]", "{",   "}", ",", ";", ":", "..",
                                             "=", "|>", "+",  "-", "*",   "/", "@", "^", "<", ">",
                                             "'", "==", "\"", "$", "...", ".", "#", "\\"};
    std::vector<std::string> parts = split(text);
    const std::vector<size_t> real = places(parts, matters);
    if (real.empty())
      return other;
    const size_t at = any(real), second = any(real);
    auto isNumber = [](const std::string &t) { return std::isdigit(static_cast<unsigned char>(t[0])) != 0; };
    auto isName = [](const std::string &t) { return std::isalpha(static_cast<unsigned char>(t[0])) || t[0] == '_'; };
    switch (below(9)) {
    case 0:
      parts[at].clear();
      break;
    case 1:
      parts[at] += " " + parts[at];
      break;
    case 2:
      std::swap(parts[at], parts[second]);
      break;
    case 3:
    case 4:
      if (const auto found = places(parts, isNumber); !found.empty())
        parts[any(found)] = any(numbers);
      break;
    case 5:
    case 6: // one name for another
      if (const auto found = places(parts, isName); !found.empty()) {
        const std::vector<std::string> theirs = split(below(2) ? text : other);
        if (const auto names = places(theirs, isName); !names.empty())
          parts[any(found)] = theirs[any(names)];
      }
      break;
    case 7: // a piece of another file
      if (const std::vector<std::string> theirs = split(other); !theirs.empty()) {
        const size_t from = below(theirs.size()), count = 1 + below(12);
        std::string piece;
        for (size_t i = from; i < std::min(theirs.size(), from + count); ++i)
          piece += theirs[i];
        parts[at] = (below(2) ? "" : parts[at]) + piece;
      }
      break;
    default:
      parts[at] = any(signs);
    }
    return join(parts);
  }

  static std::vector<std::string> splitLines(const std::string &text) {
    std::vector<std::string> found(1);
    for (char c : text) {
      found.back() += c;
      if (c == '\n')
        found.emplace_back();
    }
    return found;
  }

  std::string lines(const std::string &text, const std::string &other) {
    std::vector<std::string> parts = splitLines(text);
    const std::vector<std::string> theirs = splitLines(other);
    const size_t at = below(parts.size()), second = below(parts.size());
    switch (below(5)) {
    case 0:
      parts[at].clear();
      break;
    case 1:
      parts[at] += parts[at];
      break;
    case 2:
      std::swap(parts[at], parts[second]);
      break;
    case 3:
      parts[at] += any(theirs);
      break;
    default: // the end is missing
      parts.resize(at);
    }
    return join(parts);
  }

  std::string bytes(std::string text) {
    static const std::string_view invalid[] = {"\xff",     "\xc3",    "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                               "\xc0\x80", "\x1b[2J", "\r",           "\xe2\x80\xae",
                                               "\t",       "\x7f",    "\xef\xbb\xbf"};
    const size_t at = below(text.size() + 1);
    switch (below(4)) {
    case 0:
      if (at < text.size())
        text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
      return text;
    case 1:
      return text.insert(at, any(invalid));
    case 2:
      return text.insert(at, 1, '\0');
    default:
      return text.insert(at, std::string(size_t(1) << below(17), any(std::string_view(" a1.#\""))));
    }
  }

  /// One token inside very many of the same brackets or signs.
  std::string deep(const std::string &text) {
    static const std::pair<std::string_view, std::string_view> around[] = {
        {"(", ")"},       {"[", "]"},   {"-", ""}, {"{", "}"},  {"1 + ", ""},          {"2^", ""},
        {"f(", ")"},      {"not ", ""}, {"", "'"}, {"", "[0]"}, {"if 1 < 2 { ", " }"}, {"for i in 0..2 { ", " }"},
        {"", " |> relu"}, {"", ".a"}};
    std::vector<std::string> parts = split(text);
    const std::vector<size_t> real = places(parts, matters);
    if (real.empty())
      return text;
    const auto &[before, after] = any(around);
    const size_t count = size_t(1) << below(13);
    std::string &token = parts[any(real)], left, right;
    for (size_t i = 0; i < count; ++i)
      left += before, right += after;
    token = left + token + right;
    return join(parts);
  }
};

} // namespace hw::fuzz
