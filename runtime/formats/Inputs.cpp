#include "runtime/formats/Inputs.h"

#include "runtime/formats/Error.h"

#include <fcntl.h>
#include <map>
#include <mutex>
#include <sys/stat.h>

namespace hw {

static std::mutex mutex;
static std::map<std::string, const char *> &inputs() {
  static std::map<std::string, const char *> paths;
  return paths;
}

void rememberInput(const std::string &path, const char *what) {
  const std::lock_guard lock(mutex);
  inputs().emplace(path, what);
}

void refuseInput(int folder, const std::string &name, std::string_view place) {
  struct stat target;
  if (fstatat(folder, name.c_str(), &target, AT_SYMLINK_NOFOLLOW) != 0)
    return;
  const std::lock_guard lock(mutex);
  // The paths are looked up anew: numbers of files that were deleted since serve others.
  for (const auto &[path, what] : inputs())
    for (const int flags : {0, AT_SYMLINK_NOFOLLOW}) {
      struct stat input;
      if (fstatat(AT_FDCWD, path.c_str(), &input, flags) == 0 && input.st_dev == target.st_dev &&
          input.st_ino == target.st_ino)
        fail("{} is {}{}, which is read and is not replaced: write to another file or folder", place, what,
             inQuotes(path, 1000) == place ? "" : " " + inQuotes(path, 1000));
    }
}

} // namespace hw
