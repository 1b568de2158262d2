#include "tools/Link.h"

#include "runtime/formats/Error.h"
#include "runtime/formats/OutDir.h"
#include "runtime/formats/Process.h"

#include <fmt/format.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <filesystem>
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

/// A file that is removed again.
struct Temporary {
  std::string path;
  ~Temporary() {
    if (!path.empty())
      ::unlink(path.c_str());
  }
};

} // namespace

void linkExecutable(const std::string &object, const std::string &path) {
  if (fs::is_directory(path))
    fail("cannot write the executable {}: it is a folder; name a file with -o", inQuotes(path));
  refuseDevice(AT_FDCWD, path, inQuotes(path));
  // Next to the result, so that the last step is a rename within one file system.
  Temporary objectFile{fmt::format("{}.{}.o", path, ::getpid())}, program{fmt::format("{}.{}.tmp", path, ::getpid())};
  {
    AtomicFile file(objectFile.path);
    file.write(object);
    file.commit();
  }
  // DT_RPATH (not RUNPATH) also serves the libraries that the bundled libraries need.
  std::vector<std::string> command = {HW_CXX_COMPILER,
                                      "-o",
                                      program.path,
                                      objectFile.path,
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
  int here = ::open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  ProcessResult result = runProcess(command, here, 300);
  ::close(here);
  if (!result.started)
    fail("hwc build links with {}, which cannot be started ({}): install g++", inQuotes(HW_CXX_COMPILER),
         result.output);
  if (result.status != 0)
    fail("linking {} failed: {}", inQuotes(path), result.output);
  std::error_code error;
  fs::rename(program.path, path, error);
  if (error)
    fail("cannot write the executable {}: {}", inQuotes(path), error.message());
  program.path.clear();
}

void bundleExecutable(const std::string &executable, const std::string &folder) {
  std::error_code error;
  fs::create_directories(fs::path(folder) / "lib", error);
  if (error)
    fail("cannot make the folder {}: {}", inQuotes(folder), error.message());
  auto copy = [&](const fs::path &from, const fs::path &to) {
    std::error_code error;
    fs::copy_file(from, to, fs::copy_options::overwrite_existing, error);
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
