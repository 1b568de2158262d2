// The folder of a run: everything that a program writes goes through it, and stays in it. Names come from model files
// (plot titles, table names), which are untrusted.
#pragma once

#include "runtime/formats/Error.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hw {

/// Where a file goes that the user named as an output: the path itself, or what a symbolic link of that name leads to.
/// Throws one sentence if a file there is not to be replaced: a folder, a device or a pipe (renaming would put a file
/// in its place, and root's `-o /dev/null` must not end /dev/null), what may not be written, and what this process
/// reads.
std::string outputPath(const std::string &path);

/// A file that appears under its name complete or not at all: written under a temporary name beside it, flushed to the
/// disk and renamed by commit(). Destroyed without commit(), it leaves nothing.
class AtomicFile {
public:
  enum class Over {
    outputs, ///< what this process reads is not replaced; the file gets the mode of a new one
    itself   ///< it is what was read, written anew: the mode, the owner and hard links stay
  };
  /// For a path that the user names: as outputPath() says. Throws too if its folder is missing or not writable.
  explicit AtomicFile(const std::string &path, Over over = Over::outputs);
  ~AtomicFile();
  AtomicFile(AtomicFile &&) noexcept;
  AtomicFile &operator=(AtomicFile &&) = delete;

  const std::string &path() const;
  const std::string &place() const; ///< the path in quotes
  void write(const void *data, size_t n);
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// `durable`: a power cut cannot undo it, at the price of waiting for the disk.
  void commit(bool durable = true);

private:
  friend class OutDir;
  struct State;
  AtomicFile(const std::string &real, const std::string &shown, Over over);
  AtomicFile(int folder, std::string name, std::string path, Over over);
  std::unique_ptr<State> state;
};

/// A file that grows while the run goes on (a recorded table), so that what was recorded is there after a crash.
/// Buffered; flush() hands all to the system.
class StreamFile {
public:
  ~StreamFile(); ///< flushes; an error then is lost, so call close()
  StreamFile(StreamFile &&) noexcept;
  StreamFile &operator=(StreamFile &&) = delete;

  const std::string &path() const;
  void write(std::string_view text);
  void flush();
  void close();

private:
  friend class OutDir;
  struct State;
  StreamFile(int fd, std::string path);
  std::unique_ptr<State> state;
};

/// Several threads may write to it at the same time, each its own files.
class OutDir {
public:
  enum class Existing {
    refuse,   ///< a folder with something in it is an error that names --force
    overwrite ///< --force, --resume: files of the same name are replaced, others are left alone
  };

  /// Makes the folder and its parents. Throws one sentence if it is in the way of a file, not writable, not empty, or
  /// in use by another process. What a process that was killed left half written is removed.
  OutDir(const std::string &path, Existing existing);
  ~OutDir();
  OutDir(OutDir &&) noexcept;
  OutDir &operator=(OutDir &&) = delete;

  const std::string &path() const;
  /// Whether nothing was in the folder.
  bool wasEmpty() const;

  /// A name for a file of this folder that is safe everywhere: letters (any script), digits, space and -_,=.()[]+ are
  /// kept, everything else becomes _, leading dots and dashes go, long names are cut, an empty one is "untitled". The
  /// same `name` gives the same answer; two names never share a file: the second gets a number. Names that differ by
  /// case alone need none, unless the file system does not tell case apart. `extension` with its dot: ".csv",
  /// ".plot.csv". No folder in it; path() + "/" + fileName() is the path.
  std::string fileName(std::string_view name, std::string_view extension);
  /// fileName() with the folder before it.
  std::string path(std::string_view name, std::string_view extension);

  /// What fileName() was asked so far, in order: asked again of another OutDir, it gives the same answers from there
  /// on.
  std::vector<std::pair<std::string, std::string>> requests() const;

  /// A file written all at once (weights, arrays, run.json). A link of that name is replaced, never followed.
  AtomicFile create(std::string_view name, std::string_view extension);
  /// A file that grows. A file or link of that name is removed first.
  StreamFile stream(std::string_view name, std::string_view extension);
  /// Throws one sentence if a file of that name in the folder is one that this process reads. The name is not taken.
  void refuseInputs(std::string_view name, std::string_view extension) const;
  /// Makes way for a file that another program will write under fileName(): removes what is there, also a link.
  std::string makeWay(std::string_view name, std::string_view extension);

  /// Removes the file of that name, if it is there.
  void remove(std::string_view name, std::string_view extension) { makeWay(name, extension); }

  /// The folder's descriptor, to start a program in it.
  int descriptor() const;

private:
  struct State;
  std::unique_ptr<State> state;
};

} // namespace hw
