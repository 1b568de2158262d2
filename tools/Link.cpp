#include "tools/Link.h"

#include "runtime/formats/Error.h"
#include "runtime/formats/OutDir.h"
#include "runtime/formats/Process.h"
#include "runtime/formats/Text.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <link.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace fs = std::filesystem;

namespace hw {

namespace {

/// The runtime's libraries, as they lie beside hwc: in the build folder that it was made in, or where both were moved
/// together.
std::string runtimeFile(const char *built) {
  if (fs::exists(built))
    return built;
  std::error_code error;
  fs::path self = fs::read_symlink("/proc/self/exe", error);
  fs::path beside = self.parent_path().parent_path() / "lib" / fs::path(built).filename();
  if (fs::exists(beside))
    return beside.string();
  fail("hwc build needs {}, which is neither there nor beside hwc under ../lib: build the project again",
       inQuotes(built));
}

/// A shared library of this process, by the beginning of its file name; empty if it is not loaded.
std::string loadedLibrary(const std::string &prefix) {
  std::pair<const std::string *, std::string> search{&prefix, {}};
  dl_iterate_phdr(
      [](dl_phdr_info *info, size_t, void *data) {
        auto *search = static_cast<std::pair<const std::string *, std::string> *>(data);
        if (fs::path(info->dlpi_name).filename().string().starts_with(*search->first))
          search->second = info->dlpi_name;
        return 0;
      },
      &search);
  return search.second;
}

/// What the linker said, in one line.
std::string linkerWords(std::string output) {
  while (!output.empty() && output.back() == '\n')
    output.pop_back();
  return output.empty() ? "it said nothing" : oneLine(output, 500);
}

/// A folder of our own beside a file, so that what is made there is moved to its place within one file system. Removed
/// with all that is in it.
struct WorkFolder {
  std::string path;
  int descriptor = -1;

  explicit WorkFolder(const std::string &beside) {
    const fs::path parent = fs::path(beside).parent_path();
    path = ((parent.empty() ? "." : parent) / ".hwc-XXXXXX").string();
    if (!::mkdtemp(path.data()))
      fail("cannot write the executable {}: its folder: {}; make the folder, or choose another with -o",
           inQuotes(beside), std::strerror(errno));
    descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  }
  ~WorkFolder() {
    if (descriptor >= 0)
      ::close(descriptor);
    std::error_code error;
    fs::remove_all(path, error);
  }
};

} // namespace

void linkExecutable(const std::string &object, const std::string &givenPath, const std::function<bool()> &stop) {
  const std::string path = outputPath(givenPath);
  if (!fs::path(path).has_filename())
    fail("cannot write the executable {}: it is a folder; name a file with -o", inQuotes(givenPath));
  // The linker works in the folder, on names of ours: no name of the user's is a word of its command line, where "-x"
  // and "@x" would be more than names. Its own temporary files go there too.
  const WorkFolder folder(path);
  {
    AtomicFile file(folder.path + "/program.o");
    file.write(object);
    file.commit(false);
  }
  // DT_RPATH (not RUNPATH) also serves the libraries that the bundled libraries need.
  std::vector<std::string> command = {HW_CXX_COMPILER,
                                      "-o",
                                      "program",
                                      "program.o",
                                      runtimeFile(HW_EXECUTABLE_MAIN),
                                      runtimeFile(HW_RUNTIME_LIBRARY),
                                      runtimeFile(HW_FORMATS_LIBRARY),
                                      "-static-libstdc++",
                                      "-static-libgcc",
                                      "-s",
                                      "-Wl,--gc-sections",
                                      "-Wl,--disable-new-dtags",
                                      "-Wl,-rpath,$ORIGIN/lib",
                                      "-pthread",
                                      "-Wl,--as-needed",
                                      "-l:libz.a",
                                      "-lmvec",
                                      "-lm",
                                      "-ldl"};
  const ProcessResult result = runProcess(command, folder.descriptor, 300, {"TMPDIR=.", "LC_ALL=C"}, stop);
  if (!result.started)
    fail("hwc build links with {}, which cannot be started ({}){}", inQuotes(HW_CXX_COMPILER), result.output,
         result.missing ? ": install g++" : "");
  if (result.stopped)
    return;
  if (result.timedOut)
    fail("linking {} took more than 300 seconds and was ended", inQuotes(givenPath));
  if (result.signal)
    fail("linking {} was ended by signal {} ({})", inQuotes(givenPath), result.signal, strsignal(result.signal));
  if (result.status != 0)
    fail("linking {} failed: {}", inQuotes(givenPath), linkerWords(result.output));
  std::error_code error;
  fs::rename(folder.path + "/program", path, error);
  if (error)
    fail("cannot write the executable {}: {}", inQuotes(givenPath), error.message());
}

void bundleExecutable(const std::string &executable, const std::string &folder) {
  std::error_code error;
  fs::create_directories(fs::path(folder) / "lib", error);
  if (error)
    fail("cannot make the folder {}: {}", inQuotes(folder), error.message());
  auto copy = [&](const fs::path &from, const fs::path &to) {
    std::error_code error;
    if (fs::equivalent(from, to, error))
      return; // it lies there already
    std::ifstream file(from, std::ios::binary);
    AtomicFile copied(outputPath(to.string()));
    std::vector<char> buffer(1 << 16);
    while (file.read(buffer.data(), std::streamsize(buffer.size())), file.gcount() > 0)
      copied.write(buffer.data(), size_t(file.gcount()));
    if (!file.eof())
      fail("cannot copy {} into the bundle: {}", inQuotes(from.string()), std::strerror(errno));
    copied.commit();
    fs::permissions(to, fs::status(from).permissions(), error);
    if (error)
      fail("cannot copy {} into the bundle: {}", inQuotes(from.string()), error.message());
  };
  copy(executable, fs::path(folder) / fs::path(executable).filename());
  // Under the names that the loader asks for.
  copy(fs::canonical(HW_ONEDNN_LIBRARY), fs::path(folder) / "lib" / "libdnnl.so.3");
  for (const char *name : {"libgomp.so.1", "libstdc++.so.6", "libgcc_s.so.1"}) {
    dlopen(name, RTLD_LAZY | RTLD_LOCAL); // GNU OpenMP comes with oneDNN only
    if (std::string path = loadedLibrary(name); !path.empty())
      copy(fs::canonical(path), fs::path(folder) / "lib" / name);
  }
}

} // namespace hw
