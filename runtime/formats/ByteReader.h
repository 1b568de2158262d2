// A data file as a stream of bytes, plain or gzip (told apart by the magic number, never by the name).
#pragma once

#include "runtime/formats/Error.h"

#include <cstdint>
#include <memory>
#include <string>

namespace hw {

class ByteReader {
public:
  enum class Whose {
    users, ///< nothing that this process writes replaces it
    run    ///< the run's own, which it writes anew
  };
  /// Opens a regular file. Throws hw::Error where there is none (a folder, a pipe, no permission).
  explicit ByteReader(const std::string &path, bool gunzip = true, Whose whose = Whose::users);
  ~ByteReader();
  ByteReader(const ByteReader &) = delete;
  ByteReader &operator=(const ByteReader &) = delete;

  bool isGzip() const;
  const std::string &place() const; ///< the path in quotes, to open a sentence with
  uint64_t fileSize() const;        ///< bytes of the file itself, compressed if it is
  uint64_t position() const;        ///< decompressed bytes read so far

  /// Up to n bytes; fewer only at the end. Throws on an I/O error and on damaged gzip data (a wrong checksum, a stream
  /// that ends early, bytes after its end).
  size_t read(void *to, size_t n);

  /// n bytes or a sentence that the file is truncated; `what` is the missing part: "its header".
  void readExactly(void *to, size_t n, const char *what);

  /// Throws unless `n` more bytes, and then the end of the file, can follow: exactly for a plain file; for gzip as far
  /// as the compressed size can tell (deflate never shrinks more than 1032 to 1). Called before anything is allocated.
  void expectRemaining(uint64_t n, const std::string &what) const;

  /// Throws unless all was read, so that a gzip's checksum has been seen too.
  void expectEnd(const std::string &what);

private:
  struct State;
  std::unique_ptr<State> state;
};

} // namespace hw
