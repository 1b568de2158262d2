#include "runtime/formats/OutDir.h"
#include "runtime/formats/Inputs.h"
#include "runtime/formats/Text.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <filesystem>
#include <mutex>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace hw {

namespace {

void writeAll(int fd, const void *data, size_t n, const std::string &place) {
  auto at = static_cast<const char *>(data);
  while (n) {
    ssize_t done = ::write(fd, at, std::min<size_t>(n, 1u << 30));
    if (done < 0) {
      if (errno == EINTR)
        continue;
      fail("{} cannot be written: {}{}", place, std::strerror(errno),
           errno == ENOSPC ? "; free some space or choose another folder with --out" : "");
    }
    at += done;
    n -= static_cast<size_t>(done);
  }
}

/// Owns a descriptor.
struct Descriptor {
  int fd = -1;
  Descriptor() = default;
  explicit Descriptor(int fd) : fd(fd) {}
  Descriptor(Descriptor &&other) noexcept : fd(std::exchange(other.fd, -1)) {}
  Descriptor &operator=(Descriptor &&other) noexcept {
    std::swap(fd, other.fd);
    return *this;
  }
  ~Descriptor() {
    if (fd >= 0)
      close(fd);
  }
};

/// ASCII only: enough that "Loss.svg" and "loss.svg" are kept apart on file systems where case does not count.
std::string lower(std::string text) {
  for (char &c : text)
    if (c >= 'A' && c <= 'Z')
      c += 'a' - 'A';
  return text;
}

/// FNV-1a, to keep two long names apart that were cut.
uint32_t hash(std::string_view text) {
  uint32_t h = 2166136261u;
  for (unsigned char c : text)
    h = (h ^ c) * 16777619u;
  return h;
}

std::string sanitised(std::string_view name) {
  constexpr size_t longest = 120; // a file's name has 255 bytes: room for a number, an extension, a temporary's suffix
  std::string out;
  for (size_t at = 0; at < name.size();) {
    CodePoint point = decodeUtf8(name, at);
    bool word =
        point.valid && ((point.value >= 'a' && point.value <= 'z') || (point.value >= 'A' && point.value <= 'Z') ||
                        (point.value >= '0' && point.value <= '9') || point.value > 0x9F);
    bool keep =
        point.valid && isPrintable(point.value) &&
        (word || std::string_view(" -_,=.()[]+").find(static_cast<char>(point.value)) != std::string_view::npos);
    if (keep)
      out += name.substr(at, point.length);
    else
      out += '_';
    at += point.length;
  }
  // No leading dot (hidden, or ".."), dash (an option to whoever types `rm *`), no blank ends.
  size_t first = out.find_first_not_of(" .-");
  out.erase(0, first == std::string::npos ? out.size() : first);
  size_t last = out.find_last_not_of(" .");
  out.erase(last == std::string::npos ? 0 : last + 1);
  if (out.size() > longest) {
    size_t cut = longest - 9;
    while (cut && (static_cast<unsigned char>(out[cut]) & 0xC0) == 0x80) // not within a code point
      --cut;
    out = fmt::format("{}-{:08x}", out.substr(0, cut), hash(name));
  }
  return out.empty() ? "untitled" : out;
}

} // namespace

// --- AtomicFile

namespace {
std::string temporaryName(std::string_view name, unsigned attempt) {
  return fmt::format(".{}.{}-{}.tmp", name.substr(0, 200), getpid(), attempt);
}

/// Whether some process's temporaryName() gives it.
bool isTemporaryName(std::string_view name) {
  if (!name.starts_with('.') || !name.ends_with(".tmp"))
    return false;
  name.remove_suffix(4);
  const size_t dash = name.find_last_not_of("0123456789");
  if (dash == std::string_view::npos || dash + 1 == name.size() || name[dash] != '-')
    return false;
  name = name.substr(0, dash);
  const size_t dot = name.find_last_not_of("0123456789");
  return dot != std::string_view::npos && dot > 0 && dot + 1 < name.size() && name[dot] == '.';
}
} // namespace

/// Whether "a" and "A" are one file in this folder: on FAT, on shares of other systems. Linux's own tell case apart.
static bool ignoresCase(int folder) {
  const std::string name = temporaryName("case", 0);
  Descriptor file(openat(folder, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
  if (file.fd < 0)
    return false; // the first file that is written says why
  std::string other = name;
  std::transform(other.begin(), other.end(), other.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c; });
  struct stat mine, its;
  const bool isOne = fstat(file.fd, &mine) == 0 && fstatat(folder, other.c_str(), &its, AT_SYMLINK_NOFOLLOW) == 0 &&
                     mine.st_ino == its.st_ino && mine.st_dev == its.st_dev;
  unlinkat(folder, name.c_str(), 0);
  return isOne;
}

struct AtomicFile::State {
  Descriptor folder;
  std::string name, temporary, path, place;
  Descriptor file;
  bool committed = false, inPlace = false;
  Over over = Over::outputs;

  void refuseInputs() const {
    if (over == Over::outputs)
      refuseInput(folder.fd, name, place);
  }

  ~State() {
    if (!committed && file.fd >= 0)
      unlinkat(folder.fd, temporary.c_str(), 0);
  }
};

namespace {
void refuseDevice(const struct stat &there, std::string_view place) {
  if (S_ISCHR(there.st_mode) || S_ISBLK(there.st_mode) || S_ISFIFO(there.st_mode) || S_ISSOCK(there.st_mode))
    fail("{} is a device or a pipe, which would be replaced by a file; choose another name", place);
}

/// outputPath() but for what is read.
std::string followed(const std::string &path) {
  const std::string place = inQuotes(path, 1000);
  struct stat there, itself;
  if (lstat(path.c_str(), &itself) != 0)
    return path; // a new file, or what is wrong shows when it is made
  if (stat(path.c_str(), &there) != 0)
    fail("{} is a link that leads nowhere ({}): remove it, or choose another name", place, std::strerror(errno));
  refuseDevice(there, place);
  if (S_ISDIR(there.st_mode))
    fail("{} is a folder, which is in its way; name a file", place);
  if (faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) != 0)
    fail("{} may not be written: {}; change its permissions, or choose another name", place, std::strerror(errno));
  if (!S_ISLNK(itself.st_mode))
    return path;
  std::error_code error;
  const std::string real = std::filesystem::canonical(path, error).string();
  if (error)
    fail("{} cannot be written: {}", place, error.message());
  return real;
}
} // namespace

std::string outputPath(const std::string &path) {
  std::string real = followed(path);
  refuseInput(AT_FDCWD, real, inQuotes(path, 1000));
  return real;
}

AtomicFile::AtomicFile(int folder, std::string name, std::string path, Over over) : state(std::make_unique<State>()) {
  State &s = *state;
  s.folder = Descriptor(folder);
  s.name = std::move(name);
  s.path = std::move(path);
  s.place = inQuotes(s.path, 1000);
  struct stat there;
  const bool exists = fstatat(s.folder.fd, s.name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0;
  if (exists)
    refuseDevice(there, s.place);
  s.over = over;
  s.refuseInputs();
  for (unsigned attempt = 0;; ++attempt) {
    s.temporary = temporaryName(s.name, attempt);
    s.file = Descriptor(
        openat(s.folder.fd, s.temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
    if (s.file.fd >= 0)
      break;
    if (errno != EEXIST || attempt == 1000)
      fail("{} cannot be written: {}; choose another folder", s.place, std::strerror(errno));
  }
  if (over != Over::itself || !exists)
    return;
  // Another owner's file, or one of several hard links, stays the file that it is: only its contents are new.
  s.inPlace = there.st_nlink > 1 || (fchown(s.file.fd, there.st_uid, there.st_gid) != 0 &&
                                     (there.st_uid != geteuid() || there.st_gid != getegid()));
  if (!s.inPlace && fchmod(s.file.fd, there.st_mode & 07777) != 0)
    fail("{} cannot be written: {}", s.place, std::strerror(errno));
}

namespace {
int openFolderOf(const std::string &path) {
  std::filesystem::path p(path);
  std::string folder = p.has_parent_path() ? p.parent_path().string() : ".";
  if (path.find('\0') != std::string::npos || !p.has_filename())
    fail("{} is not a file's name; give one", inQuotes(path));
  int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0)
    fail("{} cannot be written: its folder: {}; make the folder or choose another", inQuotes(path),
         std::strerror(errno));
  return fd;
}
} // namespace

AtomicFile::AtomicFile(const std::string &path, Over over) : AtomicFile(followed(path), path, over) {}

AtomicFile::AtomicFile(const std::string &real, const std::string &shown, Over over)
    : AtomicFile(openFolderOf(real), std::filesystem::path(real).filename().string(), shown, over) {}

AtomicFile::~AtomicFile() = default;
AtomicFile::AtomicFile(AtomicFile &&) noexcept = default;

const std::string &AtomicFile::path() const { return state->path; }
const std::string &AtomicFile::place() const { return state->place; }

void AtomicFile::write(const void *data, size_t n) { writeAll(state->file.fd, data, n, state->place); }

void AtomicFile::commit(bool durable) {
  State &s = *state;
  s.refuseInputs(); // again: a timeline's file is opened before the data
  const auto check = [&](bool ok) {
    if (!ok)
      fail("{} cannot be written: {}", s.place, std::strerror(errno));
  };
  if (s.inPlace) {
    // The copy under the temporary name is complete and on the disk before the file is touched.
    check(fsync(s.file.fd) == 0 || errno == EINVAL || errno == EROFS);
    const Descriptor from(openat(s.folder.fd, s.temporary.c_str(), O_RDONLY | O_CLOEXEC));
    const Descriptor to(openat(s.folder.fd, s.name.c_str(), O_WRONLY | O_NOFOLLOW | O_CLOEXEC));
    check(from.fd >= 0 && to.fd >= 0);
    char buffer[1 << 16];
    off_t size = 0;
    for (ssize_t got; (got = read(from.fd, buffer, sizeof buffer)) != 0; size += got) {
      check(got > 0);
      writeAll(to.fd, buffer, static_cast<size_t>(got), s.place);
    }
    check(ftruncate(to.fd, size) == 0 && (fsync(to.fd) == 0 || errno == EINVAL || errno == EROFS));
    unlinkat(s.folder.fd, s.temporary.c_str(), 0);
    s.committed = true;
    return;
  }
  if (durable && fsync(s.file.fd) != 0 && errno != EINVAL && errno != EROFS)
    fail("{} cannot be written: {}", s.place, std::strerror(errno));
  if (renameat(s.folder.fd, s.temporary.c_str(), s.folder.fd, s.name.c_str()) != 0)
    fail("{} cannot be written: {}; remove what is in its way", s.place, std::strerror(errno));
  s.committed = true;
  if (durable)
    fsync(s.folder.fd); // that the new name survives a power cut too; where a folder cannot be flushed, nothing is lost
}

// --- StreamFile

struct StreamFile::State {
  Descriptor file;
  std::string path, place, buffer;

  void flush() {
    writeAll(file.fd, buffer.data(), buffer.size(), place);
    buffer.clear();
  }
};

StreamFile::StreamFile(int fd, std::string path) : state(std::make_unique<State>()) {
  state->file = Descriptor(fd);
  state->path = std::move(path);
  state->place = inQuotes(state->path, 1000);
}

StreamFile::StreamFile(StreamFile &&) noexcept = default;

StreamFile::~StreamFile() {
  if (state && state->file.fd >= 0)
    try {
      state->flush();
    } catch (const Error &) {
      // Destroyed while another error is on its way: that one tells the user.
    }
}

const std::string &StreamFile::path() const { return state->path; }

void StreamFile::write(std::string_view text) {
  state->buffer += text;
  if (state->buffer.size() >= 1 << 16)
    state->flush();
}

void StreamFile::flush() { state->flush(); }

void StreamFile::close() {
  state->flush();
  int fd = std::exchange(state->file.fd, -1);
  if (fd >= 0 && ::close(fd) != 0 && errno != EINTR)
    fail("{} cannot be written: {}", state->place, std::strerror(errno));
}

// --- OutDir

struct OutDir::State {
  std::string path;
  bool wasEmpty = true;
  Descriptor folder;
  std::mutex names;                                      // of all below
  std::map<std::string, std::string, std::less<>> stems; // name given → name used
  bool ignoresCase = false;                              // the file system
  std::map<std::string, std::string> stemOwner;          // identity of a stem → name given
  std::map<std::string, std::string> fileOwner;          // identity of a file → name given
  std::vector<std::pair<std::string, std::string>> requests;

  /// Equal where the file system has one file for both.
  std::string identity(const std::string &name) const { return ignoresCase ? lower(name) : name; }
  bool taken(const std::map<std::string, std::string> &owners, const std::string &key, std::string_view name) const {
    auto it = owners.find(identity(key));
    return it != owners.end() && it->second != name;
  }
};

OutDir::OutDir(const std::string &path, Existing existing) : state(std::make_unique<State>()) {
  State &s = *state;
  s.path = path;
  while (s.path.size() > 1 && s.path.back() == '/')
    s.path.pop_back();
  std::string place = inQuotes(path, 1000);
  if (path.empty() || path.find('\0') != std::string::npos)
    fail("the folder for results has no usable name; give one with --out");
  std::error_code error;
  std::filesystem::create_directories(s.path, error);
  struct stat info;
  if (stat(s.path.c_str(), &info) == 0 && !S_ISDIR(info.st_mode))
    fail("the results cannot go to {}: there is a file of that name; choose another folder with --out", place);
  if (error)
    fail("the folder {} for results cannot be made: {}; choose another with --out", place, error.message());
  s.folder = Descriptor(open(s.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (s.folder.fd < 0 || faccessat(s.folder.fd, ".", W_OK | X_OK, AT_EACCESS) != 0)
    fail("the results cannot be written to {}: {}; choose another folder with --out", place, std::strerror(errno));
  // (A file system without locks has none to be in the way.) Of a run that was killed just now, a program that it was
  // starting may hold the lock for a moment.
  for (int turn = 0; flock(s.folder.fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK; ++turn) {
    if (turn < 20) {
      usleep(50'000);
      continue;
    }
    fail("another program is writing its results to {}: wait for its end, or choose another folder with --out", place);
  }
  for (const auto &entry : std::filesystem::directory_iterator(s.path, error)) {
    const std::string name = entry.path().filename().string();
    if (isTemporaryName(name))
      unlinkat(s.folder.fd, name.c_str(), 0); // under the lock, so no one is writing it
    else
      s.wasEmpty = false;
  }
  if (error)
    fail("the folder {} cannot be looked into: {}; choose another with --out", place, error.message());
  if (existing == Existing::refuse && !s.wasEmpty)
    fail("the folder {} already holds results; choose another with --out, or replace them with --force", place);
  s.ignoresCase = ignoresCase(s.folder.fd);
}

OutDir::~OutDir() = default;
OutDir::OutDir(OutDir &&) noexcept = default;

const std::string &OutDir::path() const { return state->path; }
bool OutDir::wasEmpty() const { return state->wasEmpty; }
int OutDir::descriptor() const { return state->folder.fd; }

std::vector<std::pair<std::string, std::string>> OutDir::requests() const {
  const std::lock_guard lock(state->names);
  return state->requests;
}

std::string OutDir::fileName(std::string_view name, std::string_view extension) {
  State &s = *state;
  const std::lock_guard lock(s.names);
  auto known = s.stems.find(name);
  std::string stem;
  if (known != s.stems.end() && !s.taken(s.fileOwner, known->second + std::string(extension), name)) {
    stem = known->second;
  } else {
    std::string base = sanitised(name);
    stem = base;
    for (unsigned i = 2; s.taken(s.stemOwner, stem, name) || s.taken(s.fileOwner, stem + std::string(extension), name);
         ++i)
      stem = fmt::format("{}-{}", base, i);
    s.stems.emplace(name, stem);
    s.stemOwner.emplace(s.identity(stem), name);
  }
  std::string file = stem + std::string(extension);
  if (s.fileOwner.emplace(s.identity(file), name).second)
    s.requests.emplace_back(name, extension);
  return file;
}

std::string OutDir::path(std::string_view name, std::string_view extension) {
  return state->path + "/" + fileName(name, extension);
}

AtomicFile OutDir::create(std::string_view name, std::string_view extension) {
  std::string file = fileName(name, extension);
  int folder = fcntl(state->folder.fd, F_DUPFD_CLOEXEC, 0);
  if (folder < 0)
    fail("{} cannot be written: {}", inQuotes(state->path + "/" + file, 1000), std::strerror(errno));
  return AtomicFile(folder, file, state->path + "/" + file, AtomicFile::Over::outputs);
}

void OutDir::refuseInputs(std::string_view name, std::string_view extension) const {
  const std::string file = sanitised(name) + std::string(extension);
  refuseInput(state->folder.fd, file, inQuotes(state->path + "/" + file, 1000));
}

std::string OutDir::makeWay(std::string_view name, std::string_view extension) {
  std::string file = fileName(name, extension);
  refuseInput(state->folder.fd, file, inQuotes(state->path + "/" + file, 1000));
  if (unlinkat(state->folder.fd, file.c_str(), 0) != 0 && errno != ENOENT)
    fail("{} cannot be replaced: {}; remove it or choose another folder with --out",
         inQuotes(state->path + "/" + file, 1000), std::strerror(errno));
  return file;
}

StreamFile OutDir::stream(std::string_view name, std::string_view extension) {
  std::string file = makeWay(name, extension), path = state->path + "/" + file;
  int fd = openat(state->folder.fd, file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (fd < 0)
    fail("{} cannot be written: {}; choose another folder with --out", inQuotes(path, 1000), std::strerror(errno));
  return StreamFile(fd, path);
}

} // namespace hw
