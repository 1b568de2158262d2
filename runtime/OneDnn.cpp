#include "runtime/OneDnn.h"

#include "runtime/Threads.h"

#include "runtime/Marks.h"
#include "runtime/Memory.h"
#include "runtime/formats/Error.h"

#include <oneapi/dnnl/dnnl.h>

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <vector>

namespace hw {
namespace {

// The functions of oneDNN's C API that we call, by name.
#define HW_DNNL_FUNCTIONS(X)                                                                                           \
  X(dnnl_version)                                                                                                      \
  X(dnnl_engine_create)                                                                                                \
  X(dnnl_engine_destroy)                                                                                               \
  X(dnnl_stream_create)                                                                                                \
  X(dnnl_stream_destroy)                                                                                               \
  X(dnnl_memory_desc_create_with_strides)                                                                              \
  X(dnnl_memory_desc_destroy)                                                                                          \
  X(dnnl_memory_desc_get_size)                                                                                         \
  X(dnnl_memory_create)                                                                                                \
  X(dnnl_memory_destroy)                                                                                               \
  X(dnnl_memory_set_data_handle)                                                                                       \
  X(dnnl_primitive_attr_create)                                                                                        \
  X(dnnl_primitive_attr_destroy)                                                                                       \
  X(dnnl_primitive_attr_set_scratchpad_mode)                                                                           \
  X(dnnl_primitive_attr_set_post_ops)                                                                                  \
  X(dnnl_post_ops_create)                                                                                              \
  X(dnnl_post_ops_destroy)                                                                                             \
  X(dnnl_post_ops_append_eltwise)                                                                                      \
  X(dnnl_matmul_primitive_desc_create)                                                                                 \
  X(dnnl_primitive_desc_query_md)                                                                                      \
  X(dnnl_primitive_desc_destroy)                                                                                       \
  X(dnnl_primitive_create)                                                                                             \
  X(dnnl_primitive_destroy)                                                                                            \
  X(dnnl_primitive_execute)

struct Library {
#define X(name) decltype(&::name) name = nullptr;
  HW_DNNL_FUNCTIONS(X)
#undef X
  void *handle = nullptr;
  void (*setThreads)(int) = nullptr; // of GNU OpenMP; null where oneDNN has another
  std::string path, version;
};

// Never unloaded: its threads may still be about when the program ends.
Library library;

std::string folderOfExecutable() {
  char path[4096];
  const ssize_t n = readlink("/proc/self/exe", path, sizeof path);
  if (n <= 0)
    return {};
  const std::string_view whole(path, static_cast<size_t>(n));
  return std::string(whole.substr(0, whole.rfind('/')));
}

void loadLibrary() {
  if (library.handle)
    return;
  std::vector<std::string> places;
  if (const char *given = std::getenv("HWC_ONEDNN"); given && *given) {
    // A file, or the folder that it lies in; and nothing else, if the user says so.
    struct stat status;
    std::string path = given;
    if (stat(given, &status) == 0 && S_ISDIR(status.st_mode))
      path += "/libdnnl.so.3";
    places = {path};
  } else {
    if (const std::string folder = folderOfExecutable(); !folder.empty())
      places.push_back(folder + "/lib/libdnnl.so.3");
#ifdef HW_ONEDNN_LIBRARY
    places.push_back(HW_ONEDNN_LIBRARY);
#endif
    places.push_back("libdnnl.so.3"); // wherever the system's loader looks
  }
  std::string tried, reason;
  Library found;
  // Its threads are GNU OpenMP's, which read the environment when they are loaded. By default they spin for some
  // milliseconds at a barrier; where another process has one of the cores, that keeps the one waited for from running,
  // and a product takes tens of milliseconds. 2,000 turns bridge the gaps between products. Who sets one is obeyed.
  if (!std::getenv("OMP_WAIT_POLICY"))
    ::setenv("GOMP_SPINCOUNT", "2000", 0);
  for (const std::string &place : places) {
    found.handle = dlopen(place.c_str(), RTLD_LAZY | RTLD_LOCAL);
    if (found.handle) {
      found.path = place;
      break;
    }
    tried += (tried.empty() ? "" : ", ") + place;
    // A file that is there but does not load has the more telling reason.
    if (const char *why = dlerror(); why && (reason.empty() || access(place.c_str(), F_OK) == 0))
      reason = why;
  }
  if (!found.handle)
    fail("oneDNN, which does this program's matrix products, was not found (looked for {}; the loader says: {}): "
         "install oneDNN 3 (tools/setup does), "
         "or set HWC_ONEDNN to the path of libdnnl.so.3",
         tried, reason);
#define X(name)                                                                                                        \
  found.name = reinterpret_cast<decltype(&::name)>(dlsym(found.handle, #name));                                        \
  if (!found.name)                                                                                                     \
    fail("{} is not oneDNN 3 (it lacks {}): set HWC_ONEDNN to the path of a libdnnl.so.3", found.path, #name);
  HW_DNNL_FUNCTIONS(X)
#undef X
  const dnnl_version_t *version = found.dnnl_version();
  found.version = fmt::format("{}.{}.{}", version->major, version->minor, version->patch);
  if (version->major != 3)
    fail("{} is oneDNN {}, but version 3 is needed: set HWC_ONEDNN to the path of a libdnnl.so.3", found.path,
         found.version);
  found.setThreads = reinterpret_cast<void (*)(int)>(dlsym(found.handle, "omp_set_num_threads"));
  library = std::move(found);
}

struct Product {
  dnnl_primitive_t primitive = nullptr;
  dnnl_memory_t a = nullptr, b = nullptr, c = nullptr, bias = nullptr, scratchpad = nullptr;
  dnnl_exec_arg_t args[5];
  int argCount = 0;
};

/// A strided [batch, rows, columns] (or [rows, columns] for a batch of one) description. A stride of a dimension of
/// size 1 means nothing and may be any number, but oneDNN recognises a layout by it, so it becomes what a dense tensor
/// would have.
dnnl_memory_desc_t describe(int64_t batch, int64_t rows, int64_t columns, const int64_t *stride, bool batched) {
  int64_t s[3] = {stride[0], stride[1], stride[2]};
  if (columns == 1 && rows == 1)
    s[1] = s[2] = 1;
  else if (columns == 1)
    s[2] = s[1] == 1 ? rows : 1;
  else if (rows == 1)
    s[1] = s[2] == 1 ? columns : 1;
  // One matrix for the whole batch is a broadcast dimension.
  if (batch > 1 && s[0] == 0)
    batch = 1;
  if (batch == 1)
    s[0] = std::max(rows * s[1], columns * s[2]);
  const dnnl_dims_t dims = {batch, rows, columns};
  const dnnl_dims_t strides = {s[0], s[1], s[2]};
  dnnl_memory_desc_t result = nullptr;
  const int skip = batched ? 0 : 1;
  if (library.dnnl_memory_desc_create_with_strides(&result, 3 - skip, dims + skip, dnnl_f32, strides + skip) !=
      dnnl_success)
    return nullptr;
  return result;
}

} // namespace

struct OneDnn::State {
  dnnl_engine_t engine = nullptr;
  dnnl_stream_t stream = nullptr;
  std::vector<Product> products;
  Memory scratchpad;

  ~State() {
    for (Product &p : products) {
      if (p.primitive)
        library.dnnl_primitive_destroy(p.primitive);
      for (dnnl_memory_t memory : {p.a, p.b, p.c, p.bias, p.scratchpad})
        if (memory)
          library.dnnl_memory_destroy(memory);
    }
    if (stream)
      library.dnnl_stream_destroy(stream);
    if (engine)
      library.dnnl_engine_destroy(engine);
  }

  /// Makes one product; the bytes of scratchpad it needs, or nothing if oneDNN cannot do it.
  std::optional<size_t> make(const hw_matmul &m, Product &p);
};

std::optional<size_t> OneDnn::State::make(const hw_matmul &m, Product &p) {
  const Library &d = library;
  const bool batched = m.batch > 1;
  const int64_t biasStride[3] = {0, m.n, 1};
  dnnl_memory_desc_t a = describe(m.batch, m.m, m.k, m.a_stride, batched),
                     b = describe(m.batch, m.k, m.n, m.b_stride, batched),
                     c = describe(m.batch, m.m, m.n, m.c_stride, batched),
                     bias = m.has_bias ? describe(1, 1, m.n, biasStride, batched) : nullptr;
  dnnl_primitive_attr_t attributes = nullptr;
  dnnl_post_ops_t postOps = nullptr;
  dnnl_primitive_desc_t description = nullptr;
  std::optional<size_t> bytes;
  bool ok = a && b && c && (bias || !m.has_bias) && d.dnnl_primitive_attr_create(&attributes) == dnnl_success &&
            d.dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user) == dnnl_success;
  if (ok && m.activation != HW_LINEAR) {
    const dnnl_alg_kind_t kind = m.activation == HW_RELU   ? dnnl_eltwise_relu
                                 : m.activation == HW_TANH ? dnnl_eltwise_tanh
                                                           : dnnl_eltwise_logistic;
    ok = d.dnnl_post_ops_create(&postOps) == dnnl_success &&
         d.dnnl_post_ops_append_eltwise(postOps, kind, 0, 0) == dnnl_success &&
         d.dnnl_primitive_attr_set_post_ops(attributes, postOps) == dnnl_success;
  }
  ok = ok && d.dnnl_matmul_primitive_desc_create(&description, engine, a, b, bias, c, attributes) == dnnl_success &&
       d.dnnl_primitive_create(&p.primitive, description) == dnnl_success;
  if (ok) {
    const_dnnl_memory_desc_t pad = d.dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0);
    const size_t need = pad ? d.dnnl_memory_desc_get_size(pad) : 0;
    auto add = [&](dnnl_memory_t &memory, const_dnnl_memory_desc_t what, int role) {
      ok = ok && d.dnnl_memory_create(&memory, what, engine, DNNL_MEMORY_NONE) == dnnl_success;
      p.args[p.argCount++] = {role, memory};
    };
    add(p.a, a, DNNL_ARG_SRC);
    add(p.b, b, DNNL_ARG_WEIGHTS);
    add(p.c, c, DNNL_ARG_DST);
    if (bias)
      add(p.bias, bias, DNNL_ARG_BIAS);
    if (need)
      add(p.scratchpad, pad, DNNL_ARG_SCRATCHPAD);
    if (ok)
      bytes = need;
  }
  for (dnnl_memory_desc_t memory : {a, b, c, bias})
    if (memory)
      d.dnnl_memory_desc_destroy(memory);
  if (description)
    d.dnnl_primitive_desc_destroy(description);
  if (postOps)
    d.dnnl_post_ops_destroy(postOps);
  if (attributes)
    d.dnnl_primitive_attr_destroy(attributes);
  return bytes;
}

static OneDnn *active = nullptr;

OneDnn::OneDnn(const hw_matmul *matmuls, uint64_t count) : state(std::make_unique<State>()) {
  loadLibrary();
  if (library.setThreads)
    library.setThreads(threads());
  if (library.dnnl_engine_create(&state->engine, dnnl_cpu, 0) != dnnl_success ||
      library.dnnl_stream_create(&state->stream, state->engine, dnnl_stream_in_order) != dnnl_success)
    fail("oneDNN {} from {} does not start on this CPU", library.version, library.path);
  state->products.resize(count);
  size_t scratchpad = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const hw_matmul &m = matmuls[i];
    const auto bytes = state->make(m, state->products[i]);
    if (!bytes)
      fail("oneDNN {} cannot do the product of [{}, {}] and [{}, {}] that this program has: try another version with "
           "HWC_ONEDNN",
           library.version, m.m, m.k, m.k, m.n);
    scratchpad = std::max(scratchpad, *bytes);
  }
  // Products run one after the other, so one scratchpad serves all.
  state->scratchpad = Memory(scratchpad, "oneDNN's scratchpad");
  for (Product &p : state->products)
    if (p.scratchpad)
      library.dnnl_memory_set_data_handle(p.scratchpad, state->scratchpad.data());
  active = this;
}

OneDnn::~OneDnn() {
  if (active == this)
    active = nullptr;
}

void OneDnn::run(int64_t index, const void *a, const void *b, const void *bias, void *c) {
  Product &p = state->products[static_cast<size_t>(index)];
  library.dnnl_memory_set_data_handle(p.a, const_cast<void *>(a));
  library.dnnl_memory_set_data_handle(p.b, const_cast<void *>(b));
  library.dnnl_memory_set_data_handle(p.c, c);
  if (p.bias)
    library.dnnl_memory_set_data_handle(p.bias, const_cast<void *>(bias));
  library.dnnl_primitive_execute(p.primitive, state->stream, p.argCount, p.args);
}

std::string oneDnnVersion() { return library.version; }
std::string oneDnnPath() { return library.path; }

} // namespace hw

extern "C" void hw_run_matmul(int64_t index, const void *a, const void *b, const void *bias, void *c) {
  hw::active->run(index, a, b, bias, c);
  if (hw::runtime::Marks *marks = hw::runtime::Marks::current())
    marks->onAllThreads();
}
