#include "frontend/Lexer.h"

#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <fmt/format.h>

namespace hw {

namespace {

constexpr std::array<std::string_view, static_cast<size_t>(Tok::NotEqual) + 1> spellings = {"the end of the file",
                                                                                            "",
                                                                                            "a number",
                                                                                            "a string",
                                                                                            "a name",
                                                                                            "fn",
                                                                                            "for",
                                                                                            "in",
                                                                                            "if",
                                                                                            "else",
                                                                                            "return",
                                                                                            "and",
                                                                                            "or",
                                                                                            "not",
                                                                                            "None",
                                                                                            "True",
                                                                                            "False",
                                                                                            "(",
                                                                                            ")",
                                                                                            "[",
                                                                                            "]",
                                                                                            "{",
                                                                                            "}",
                                                                                            ",",
                                                                                            ";",
                                                                                            ":",
                                                                                            ".",
                                                                                            "...",
                                                                                            "'",
                                                                                            "=",
                                                                                            "|>",
                                                                                            "..",
                                                                                            "+",
                                                                                            "-",
                                                                                            "*",
                                                                                            "/",
                                                                                            "@",
                                                                                            "^",
                                                                                            "<",
                                                                                            "<=",
                                                                                            ">",
                                                                                            ">=",
                                                                                            "==",
                                                                                            "!="};

// Punctuation and operators, the longer first.
constexpr Tok punctuation[] = {
    Tok::Ellipsis,  Tok::Pipe,   Tok::DotDot,   Tok::LessEqual, Tok::GreaterEqual, Tok::EqualEqual, Tok::NotEqual,
    Tok::LParen,    Tok::RParen, Tok::LBracket, Tok::RBracket,  Tok::LBrace,       Tok::RBrace,     Tok::Comma,
    Tok::Semicolon, Tok::Colon,  Tok::Dot,      Tok::Assign,    Tok::Plus,         Tok::Minus,      Tok::Star,
    Tok::Slash,     Tok::At,     Tok::Caret,    Tok::Less,      Tok::Greater};

// What people write from other languages or paste from a text, and what it is here. `reading` is the token to go on
// with.
struct Foreign {
  std::string_view text;
  Tok reading;
  std::string_view message;
  std::string_view help;
};
constexpr Foreign foreign[] = {
    {"**", Tok::Caret, "there is no operator `**`", "a power is written `x^2`"},
    {"&&", Tok::And, "there is no operator `&&`", "write `and`"},
    {"||", Tok::Or, "there is no operator `||`", "write `or`"},
    {"&", Tok::And, "there is no operator `&`", "write `and`"},
    {"|", Tok::Or, "there is no operator `|`", "write `or`; a pipe is `|>`"},
    {"!", Tok::Not, "there is no operator `!`", "write `not`"},
    {"~", Tok::Not, "there is no operator `~`", "write `not`"},
    {"%", Tok::Error, "there is no operator `%`", "the remainder is a function: `mod(a, b)`"},
    {"->", Tok::Error, "`->` has no meaning here", "a function is written `fn f(x) = x + 1`"},
    {"=>", Tok::Error, "`=>` has no meaning here", "a function is written `fn f(x) = x + 1`; `at least` is `>=`"},
    {"=<", Tok::LessEqual, "there is no operator `=<`", "write `<=`"},
    {"+=", Tok::Error, "there is no operator `+=`", "write `x = x + …`"},
    {"-=", Tok::Error, "there is no operator `-=`", "write `x = x - …`"},
    {"*=", Tok::Error, "there is no operator `*=`", "write `x = x * …`"},
    {"/=", Tok::Error, "there is no operator `/=`", "write `x = x / …`"},
    {"−", Tok::Minus, "this minus sign (U+2212) is not the ASCII one", "write `-`"},
    {"–", Tok::Minus, "this dash (U+2013) is not a minus sign", "write `-`"},
    {"×", Tok::Star, "`×` is not an operator here", "write `*`"},
    {"·", Tok::Star, "`·` is not an operator here", "write `*`, or `@` for a matrix product"},
    {"÷", Tok::Slash, "`÷` is not an operator here", "write `/`"},
    {"≤", Tok::LessEqual, "`≤` is not an operator here", "write `<=`"},
    {"≥", Tok::GreaterEqual, "`≥` is not an operator here", "write `>=`"},
    {"≠", Tok::NotEqual, "`≠` is not an operator here", "write `!=`"},
    {"…", Tok::Ellipsis, "`…` is one character (U+2026)", "write three dots, `...`"},
    {"π", Tok::Error, "names are made of ASCII letters, digits and `_`", "write `pi`"},
};

bool isLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool isDigit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
public:
  Lexer(const Source &source, Diagnostics &diagnostics)
      : source(source), text(source.text()), diagnostics(diagnostics), firstError(diagnostics.errorCount()) {}

  TokenList run() {
    if (text.size() > Source::maxBytes) {
      error(0, 0, fmt::format("the file is larger than {} MiB", Source::maxBytes >> 20))
          .help("a model file holds no data: put it into a file of its own");
      at = text.size();
    } else if (text.substr(0, 3) == "\xEF\xBB\xBF") {
      at = 3; // a byte order mark
    }
    // A file of noise is not worth a message for each byte of it.
    while (at < text.size() && diagnostics.errorCount() < firstError + 100)
      next();
    at = text.size();
    push(Tok::End, at, at);
    return std::move(list);
  }

private:
  const Source &source;
  std::string_view text;
  Diagnostics &diagnostics;
  size_t firstError;
  size_t at = 0;
  bool lineStart = true, blankLine = false;
  TokenList list;

  char peek(size_t ahead = 0) const { return at + ahead < text.size() ? text[at + ahead] : '\0'; }
  bool starts(std::string_view with) const { return text.substr(at, with.size()) == with; }
  SourceRange range(size_t begin, size_t end) const {
    return {&source, static_cast<uint32_t>(begin), static_cast<uint32_t>(end)};
  }
  Diagnostic &error(size_t begin, size_t end, std::string message) {
    return diagnostics.error(range(begin, end), std::move(message));
  }

  void push(Tok kind, size_t begin, size_t end, size_t literal = 0) {
    Token token;
    token.kind = kind;
    token.range = range(begin, end);
    token.newlineBefore = lineStart;
    token.blankBefore = blankLine;
    token.literal = static_cast<uint32_t>(literal);
    list.tokens.push_back(token);
    at = end;
    lineStart = blankLine = false;
  }

  void next() {
    char c = peek();
    if (c == ' ' || c == '\t') {
      ++at;
    } else if (c == '\n' || starts("\r\n")) {
      // A newline on a line with nothing on it makes an empty line.
      if (lineStart && !(list.tokens.empty() && list.comments.empty()))
        blankLine = true;
      lineStart = true;
      at += c == '\n' ? 1 : 2;
    } else if (starts("//")) {
      comment();
    } else if (c == '#') {
      error(at, at + 1, "`#` does not begin a comment").help("a comment begins with `//`");
      comment();
    } else if (starts("/*")) {
      size_t end = text.find("*/", at + 2);
      error(at, at + 2, "there are no block comments").help("begin each line of a comment with `//`");
      at = end == std::string_view::npos ? text.size() : end + 2;
    } else if (isLetter(c)) {
      word();
    } else if (isDigit(c) || (c == '.' && isDigit(peek(1)))) {
      number();
    } else if (c == '"') {
      string();
    } else if (c == '\'') {
      quote();
    } else {
      symbol();
    }
  }

  void comment() {
    size_t begin = at;
    size_t end = std::min(text.find('\n', at), text.size());
    for (; at < end;) {
      if (text[at] == '\r' && at + 1 == end)
        break;
      if (!checkCharacter())
        break; // one message a comment
    }
    size_t last = end;
    while (last > begin && (text[last - 1] == ' ' || text[last - 1] == '\t' || text[last - 1] == '\r'))
      --last;
    list.comments.push_back({range(begin, last), lineStart, blankLine, static_cast<uint32_t>(list.tokens.size())});
    at = end;
    // The newline that ends a comment's line makes no empty line.
    if (at < text.size()) {
      ++at;
      lineStart = true;
      blankLine = false;
    }
  }

  // Steps over a character of a comment or a string if it is fit to stand there; else returns false, having reported it
  // if asked to (once a token is enough).
  bool checkCharacter(bool reporting = true) {
    unsigned length = utf8Length(text, at);
    unsigned char c = static_cast<unsigned char>(text[at]);
    if (length == 0) {
      if (reporting)
        error(at, at + 1, fmt::format("the byte 0x{:02X} is not valid UTF-8", c)).help("save the file as UTF-8");
      return false;
    }
    if ((c < 0x20 && c != '\t') || c == 0x7F) {
      if (reporting)
        error(at, at + 1, fmt::format("the control character U+{:04X} cannot stand in a model file", c))
            .help(c == '\r' ? "end the line with a newline" : "remove it");
      return false;
    }
    // Characters that reorder what is shown can hide what a line does (CVE-2021-42574).
    std::string_view character = text.substr(at, length);
    if ((character >= "\u202A" && character <= "\u202E") || (character >= "\u2066" && character <= "\u2069")) {
      if (reporting)
        error(at, at + length, "an invisible character that reorders text cannot stand in a model file")
            .help("remove it");
      at += length - 1;
      return false;
    }
    at += length;
    return true;
  }

  void word() {
    size_t begin = at, end = at;
    while (end < text.size() && (isLetter(text[end]) || isDigit(text[end])))
      ++end;
    std::string_view name = text.substr(begin, end - begin);
    Tok kind = Tok::Name;
    // After a dot any word is a field: `table.in`.
    bool field = !list.tokens.empty() && list.tokens.back().kind == Tok::Dot && !lineStart;
    if (!field)
      for (int k = static_cast<int>(Tok::Fn); k <= static_cast<int>(Tok::False); ++k)
        if (name == spellings[static_cast<size_t>(k)])
          kind = static_cast<Tok>(k);
    push(kind, begin, end);
    if (peek() == '\'')
      push(Tok::Prime, at, at + 1);
  }

  // 1  1.5  .5  1.  1e-3  1_000_000: as in NumPy's language. `1..8` is a range, `1.T` a field.
  void number() {
    size_t begin = at, end = at;
    std::string digits;
    bool isInteger = true;
    auto take = [&](auto accept) {
      while (end < text.size() && (accept(text[end]) || (text[end] == '_' && end > begin && isDigit(text[end - 1]) &&
                                                         end + 1 < text.size() && isDigit(text[end + 1])))) {
        if (text[end] != '_')
          digits += text[end];
        ++end;
      }
    };
    auto charAt = [&](size_t i) { return i < text.size() ? text[i] : '\0'; };
    take(isDigit);
    if (charAt(end) == '.' && charAt(end + 1) != '.' && !isLetter(charAt(end + 1))) {
      isInteger = false;
      digits += '.';
      ++end;
      take(isDigit);
    } else if (charAt(end) == '.' && (charAt(end + 1) == 'e' || charAt(end + 1) == 'E') &&
               (isDigit(charAt(end + 2)) || charAt(end + 2) == '-' || charAt(end + 2) == '+')) {
      isInteger = false;
      digits += '.';
      ++end;
    }
    char e = charAt(end);
    if (e == 'e' || e == 'E') {
      size_t exponent = end + 1;
      if (charAt(exponent) == '+' || charAt(exponent) == '-')
        ++exponent;
      if (isDigit(charAt(exponent))) {
        isInteger = false;
        digits += 'e';
        digits.append(text.substr(end + 1, exponent - end - 1));
        end = exponent;
        take(isDigit);
      }
    }
    if (isLetter(charAt(end))) {
      size_t last = end;
      while (last < text.size() && (isLetter(text[last]) || isDigit(text[last])))
        ++last;
      std::string_view whole = text.substr(begin, last - begin), rest = text.substr(end, last - end);
      if (whole.size() > 1 && whole[0] == '0' && (whole[1] == 'x' || whole[1] == 'b' || whole[1] == 'o'))
        error(begin, last, fmt::format("`{}` is not a number", whole)).help("write it in decimal");
      else if (rest == "f" || rest == "f32" || rest == "f64")
        error(begin, last, fmt::format("`{}` is not a number", whole))
            .help("numbers have no suffix; `f64(x)` and `f32(x)` set a precision");
      else
        error(begin, last, fmt::format("`{}` is neither a number nor a name", whole))
            .help(fmt::format("a product is written `{} * {}`; a name begins with a letter",
                              text.substr(begin, end - begin), rest));
      push(Tok::Error, begin, last);
      return;
    }
    // from_chars ignores the locale. It wants a digit before the dot's neighbour only for "." itself, which cannot
    // occur.
    double value = 0;
    auto [rest, status] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (status == std::errc::result_out_of_range || !std::isfinite(value)) {
      error(begin, end, "this number does not fit f64").help("f64 reaches from 5e-324 to 1.7e308; infinity is `inf`");
      push(Tok::Error, begin, end);
      return;
    }
    uint64_t whole = 0;
    bool exact = std::from_chars(digits.data(), digits.data() + digits.size(), whole).ec == std::errc();
    if (isInteger && (!exact || whole > (uint64_t(1) << 53))) {
      error(begin, end, "this whole number is beyond 2^53, where f64 is no longer exact")
          .help("write it with an exponent if a rounded value will do");
      push(Tok::Error, begin, end);
      return;
    }
    push(Tok::Number, begin, end, list.numbers.size());
    list.numbers.push_back({value, isInteger});
  }

  void string() {
    size_t begin = at++;
    StringLiteral literal;
    std::string part;
    size_t partBegin = at;
    auto finishPart = [&](size_t end) {
      if (!part.empty())
        literal.parts.push_back({std::move(part), false, range(partBegin, end)});
      part.clear();
    };
    bool valid = true;
    while (true) {
      char c = peek();
      if (at >= text.size() || c == '\n' || starts("\r\n")) {
        error(begin, at, "this string is never closed").help("end it with `\"` on the same line");
        push(Tok::Error, begin, at);
        return;
      }
      if (c == '"')
        break;
      if (c == '\\') {
        constexpr std::string_view from = "nt\\\"{}", to = "\n\t\\\"{}";
        size_t which = from.find(peek(1));
        if (at + 1 >= text.size() || which == std::string_view::npos) {
          unsigned length = std::max(utf8Length(text, at + 1), 1u);
          if (peek(1) == '\n' || peek(1) == '\r' || at + 1 >= text.size())
            length = 0;
          if (valid)
            error(at, at + 1 + length, fmt::format("`{}` is not an escape", text.substr(at, 1 + length)))
                .help("the escapes are \\n \\t \\\\ \\\" \\{ \\}");
          valid = false;
          at += 1 + length;
          continue;
        }
        part += to[which];
        literal.value += to[which];
        at += 2;
        continue;
      }
      if (c == '{') {
        size_t end = at + 1;
        while (end < text.size() && (isLetter(text[end]) || (end > at + 1 && isDigit(text[end]))))
          ++end;
        if (end > at + 1 && end < text.size() && text[end] == '}') {
          finishPart(at);
          literal.parts.push_back({std::string(text.substr(at + 1, end - at - 1)), true, range(at + 1, end)});
          literal.value.append(text.substr(at, end + 1 - at));
          at = partBegin = end + 1;
          continue;
        }
      }
      size_t before = at;
      if (!checkCharacter(valid)) {
        valid = false;
        ++at;
        continue;
      }
      part.append(text.substr(before, at - before));
      literal.value.append(text.substr(before, at - before));
    }
    finishPart(at);
    ++at;
    if (!valid) {
      push(Tok::Error, begin, at);
      return;
    }
    push(Tok::String, begin, at, list.strings.size());
    list.strings.push_back(std::move(literal));
  }

  // A `'` that does not follow a name: most likely a string as Python has it.
  void quote() {
    size_t end = at + 1;
    while (end < text.size() && text[end] != '\'' && text[end] != '\n')
      ++end;
    if (end < text.size() && text[end] == '\'') {
      error(at, end + 1, "a string stands in double quotes")
          .help(fmt::format("write \"{}\"", text.substr(at + 1, end - at - 1)));
      push(Tok::Error, at, end + 1);
      return;
    }
    error(at, at + 1, "`'` has no meaning here")
        .help(
            "a string stands in double quotes; the new value of a state is `name' = …`, with no space before the `'`");
    push(Tok::Error, at, at + 1);
  }

  void symbol() {
    // Two-character operators of other languages come before our one-character ones, `|>` and `!=` before both.
    for (Tok kind : {Tok::Pipe, Tok::NotEqual, Tok::Ellipsis})
      if (starts(spelling(kind)))
        return push(kind, at, at + spelling(kind).size());
    for (const Foreign &f : foreign) {
      if (!starts(f.text))
        continue;
      // `a =-b`, `x=-1` and `a<-b` are ours.
      error(at, at + f.text.size(), std::string(f.message)).help(std::string(f.help));
      return push(f.reading, at, at + f.text.size());
    }
    for (Tok kind : punctuation)
      if (starts(spelling(kind)))
        return push(kind, at, at + spelling(kind).size());

    size_t begin = at;
    if (!checkCharacter()) {
      ++at;
      return push(Tok::Error, begin, at);
    }
    std::string_view character = text.substr(begin, at - begin);
    if (character == "\u00A0") {
      error(begin, at, "this is a no-break space (U+00A0)").help("write an ordinary space");
      return;
    }
    // A run of letters of another script is one mistake.
    while (at < text.size() && static_cast<unsigned char>(text[at]) >= 0x80 && utf8Length(text, at))
      at += utf8Length(text, at);
    std::string_view run = text.substr(begin, at - begin);
    if (character == "“" || character == "”" || character == "„" || character == "‘" || character == "’") {
      at = begin + character.size();
      error(begin, at, fmt::format("`{}` is a typographic quote", character))
          .help("a string stands in \"double quotes\"");
    } else if (static_cast<unsigned char>(run[0]) >= 0x80) {
      error(begin, at, fmt::format("`{}` cannot stand here", run))
          .help("names are made of ASCII letters, digits and `_`");
    } else {
      error(begin, at, fmt::format("the character `{}` has no meaning here", run));
    }
    push(Tok::Error, begin, at);
  }
};

} // namespace

TokenList tokenize(const Source &source, Diagnostics &diagnostics) { return Lexer(source, diagnostics).run(); }

std::string_view spelling(Tok kind) { return spellings[static_cast<size_t>(kind)]; }

bool continuesLine(Tok kind) {
  switch (kind) {
  case Tok::Comma:
  case Tok::Assign:
  case Tok::LParen:
  case Tok::LBracket:
  case Tok::Colon:
  case Tok::And:
  case Tok::Or:
  case Tok::Not:
  case Tok::In:
    return true;
  default:
    return kind >= Tok::Pipe;
  }
}

} // namespace hw
