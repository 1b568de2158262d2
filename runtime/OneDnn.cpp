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
  X(dnnl_memory_desc_create_with_tag)                                                                                  \
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
  X(dnnl_convolution_forward_primitive_desc_create)                                                                    \
  X(dnnl_convolution_backward_data_primitive_desc_create)                                                              \
  X(dnnl_convolution_backward_weights_primitive_desc_create)                                                           \
  X(dnnl_reorder_primitive_desc_create)                                                                                \
  X(dnnl_primitive_desc_query)                                                                                         \
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
    fail("oneDNN, which does this program's matrix products and convolutions, was not found (looked for {}; the loader "
         "says: {}): "
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

template <auto function> struct Destroy {
  template <class T> void operator()(T *object) const { (library.*function)(object); }
};
template <class T, auto function> using Owned = std::unique_ptr<T, Destroy<function>>;
using Engine = Owned<dnnl_engine, &Library::dnnl_engine_destroy>;
using Stream = Owned<dnnl_stream, &Library::dnnl_stream_destroy>;
using Layout = Owned<dnnl_memory_desc, &Library::dnnl_memory_desc_destroy>;
using Buffer = Owned<dnnl_memory, &Library::dnnl_memory_destroy>;
using Attributes = Owned<dnnl_primitive_attr, &Library::dnnl_primitive_attr_destroy>;
using PostOps = Owned<dnnl_post_ops, &Library::dnnl_post_ops_destroy>;
using Description = Owned<dnnl_primitive_desc, &Library::dnnl_primitive_desc_destroy>;
using Primitive = Owned<dnnl_primitive, &Library::dnnl_primitive_destroy>;

/// What `create`, one of the library's functions, makes of `arguments`; null where it cannot.
template <class Owner, class Create, class... Arguments> Owner made(Create create, Arguments... arguments) {
  typename Owner::pointer object = nullptr;
  return Owner(create(&object, arguments...) == dnnl_success ? object : nullptr);
}

/// A strided [batch, rows, columns] (or [rows, columns] for a batch of one) layout. A stride of a dimension of size 1
/// means nothing and may be any number, but oneDNN recognises a layout by it, so it becomes what a dense tensor would
/// have.
Layout stridedLayout(int64_t batch, int64_t rows, int64_t columns, const int64_t *stride, bool batched) {
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
  const int skip = batched ? 0 : 1;
  return made<Layout>(library.dnnl_memory_desc_create_with_strides, 3 - skip, dims + skip, dnnl_f32, strides + skip);
}

/// [images or channels out, channels or channels in, space...] in the order and the blocks of `tag`.
Layout taggedLayout(int64_t first, int64_t second, int32_t spatial, const int64_t *space, dnnl_format_tag_t tag) {
  dnnl_dims_t dims = {first, second};
  std::copy_n(space, spatial, dims + 2);
  return made<Layout>(library.dnnl_memory_desc_create_with_tag, spatial + 2, dims, dnnl_f32, tag);
}

dnnl_format_tag_t activationTag(const hw_convolution &c) {
  constexpr dnnl_format_tag_t tags[] = {dnnl_nwc, dnnl_nhwc, dnnl_ndhwc};
  return tags[c.spatial - 1];
}

/// The layout of weights that hw_convolution promises.
dnnl_format_tag_t weightsTag(const hw_convolution &c) {
  constexpr dnnl_format_tag_t tags[3][2][3] = {
      // Channels in outside of the blocks; inside, before those out; inside, after them. Blocks of 8, of 16.
      {{dnnl_Owi8o, dnnl_Ohwi8o, dnnl_Odhwi8o}, {dnnl_Owi16o, dnnl_Ohwi16o, dnnl_Odhwi16o}},
      {{dnnl_OIw8i8o, dnnl_OIhw8i8o, dnnl_OIdhw8i8o}, {dnnl_OIw16i16o, dnnl_OIhw16i16o, dnnl_OIdhw16i16o}},
      {{dnnl_OIw8o8i, dnnl_OIhw8o8i, dnnl_OIdhw8o8i}, {dnnl_OIw16o16i, dnnl_OIhw16o16i, dnnl_OIdhw16o16i}}};
  const int order = c.kind == HW_BACKWARD_DATA ? 2 : c.channels_in <= 3 ? 0 : 1;
  return tags[order][c.block == 16][c.spatial - 1];
}

/// A place without an address as yet; null where there is no layout.
Buffer bufferOf(const_dnnl_memory_desc_t layout, dnnl_engine_t engine) {
  void *none = DNNL_MEMORY_NONE;
  return layout ? made<Buffer>(library.dnnl_memory_create, layout, engine, none) : nullptr;
}

/// User scratchpads, and the activation after all else; null where the library does not.
Attributes attributesFor(int32_t activation) {
  const Library &d = library;
  auto attributes = made<Attributes>(d.dnnl_primitive_attr_create);
  if (!attributes ||
      d.dnnl_primitive_attr_set_scratchpad_mode(attributes.get(), dnnl_scratchpad_mode_user) != dnnl_success)
    return nullptr;
  if (activation == HW_LINEAR)
    return attributes;
  const dnnl_alg_kind_t kind = activation == HW_RELU   ? dnnl_eltwise_relu
                               : activation == HW_TANH ? dnnl_eltwise_tanh
                                                       : dnnl_eltwise_logistic;
  auto postOps = made<PostOps>(d.dnnl_post_ops_create);
  const bool ok = postOps && d.dnnl_post_ops_append_eltwise(postOps.get(), kind, 0, 0) == dnnl_success &&
                  d.dnnl_primitive_attr_set_post_ops(attributes.get(), postOps.get()) == dnnl_success;
  return ok ? std::move(attributes) : nullptr;
}

/// A primitive and the memory objects that it runs on, whose addresses are set before each run.
struct Call {
  Primitive primitive;
  std::vector<dnnl_exec_arg_t> arguments;
  Buffer scratchpad;
  size_t scratchpadBytes = 0;

  /// Null where the library cannot make it.
  static std::optional<Call> make(const Description &description, dnnl_engine_t engine,
                                  std::initializer_list<std::pair<int, const Buffer *>> buffers) {
    Call call;
    call.primitive = made<Primitive>(library.dnnl_primitive_create, description.get());
    if (!call.primitive)
      return std::nullopt;
    for (auto [role, buffer] : buffers)
      if (*buffer)
        call.arguments.push_back({role, buffer->get()});
    const_dnnl_memory_desc_t pad = library.dnnl_primitive_desc_query_md(description.get(), dnnl_query_scratchpad_md, 0);
    call.scratchpadBytes = pad ? library.dnnl_memory_desc_get_size(pad) : 0;
    if (call.scratchpadBytes) {
      call.scratchpad = bufferOf(pad, engine);
      if (!call.scratchpad)
        return std::nullopt;
      call.arguments.push_back({DNNL_ARG_SCRATCHPAD, call.scratchpad.get()});
    }
    return call;
  }

  void run(dnnl_stream_t stream) const {
    library.dnnl_primitive_execute(primitive.get(), stream, static_cast<int>(arguments.size()), arguments.data());
  }
};

/// A matrix product or convolution: two operands, perhaps a bias, and a result.
struct Operation {
  Buffer a, b, bias, result; // as compiled code has them
  Call call;
  // Weights that oneDNN wants in another layout lie here in it: they are an operand, brought here before the call, or
  // the result, brought to its place after it.
  Buffer weights;
  size_t weightsBytes = 0;
  std::optional<Call> before, after;

  void run(dnnl_stream_t stream, const void *atA, const void *atB, const void *atBias, void *atResult) const {
    setAddress(a, const_cast<void *>(atA));
    setAddress(b, const_cast<void *>(atB));
    if (bias)
      setAddress(bias, const_cast<void *>(atBias));
    setAddress(result, atResult);
    if (before)
      before->run(stream);
    call.run(stream);
    if (after)
      after->run(stream);
  }

  static void setAddress(const Buffer &buffer, void *address) {
    library.dnnl_memory_set_data_handle(buffer.get(), address);
  }
};

/// A product or convolution of the program: one operation, or where it runs alone one for every thread.
struct Slot {
  bool alone;
  std::vector<Operation> copies;
};

} // namespace

struct OneDnn::State {
  Engine engine;
  std::vector<Stream> streams; // one for each thread: the library does not say that they may share it
  int width = 1;               // threads of a call that is not alone
  std::vector<Slot> matmuls, convolutions;
  Memory scratchpads, weights;

  std::optional<Operation> make(const hw_matmul &m) const;
  std::optional<Operation> make(const hw_convolution &c) const;
  /// No copies where oneDNN cannot do it.
  template <class Descriptor> Slot makeSlot(const Descriptor &descriptor) const;
  void getMemory();
  void run(const Slot &slot, int64_t thread, const void *a, const void *b, const void *bias, void *result) const;
};

/// Nothing where oneDNN cannot do it.
std::optional<Operation> OneDnn::State::make(const hw_matmul &m) const {
  const bool batched = m.batch > 1;
  const int64_t biasStride[3] = {0, m.n, 1};
  const Layout a = stridedLayout(m.batch, m.m, m.k, m.a_stride, batched),
               b = stridedLayout(m.batch, m.k, m.n, m.b_stride, batched),
               c = stridedLayout(m.batch, m.m, m.n, m.c_stride, batched),
               bias = m.has_bias ? stridedLayout(1, 1, m.n, biasStride, batched) : nullptr;
  const Attributes attributes = attributesFor(m.activation);
  if (!attributes)
    return std::nullopt;
  const auto description = made<Description>(library.dnnl_matmul_primitive_desc_create, engine.get(), a.get(), b.get(),
                                             bias.get(), c.get(), attributes.get());
  if (!description)
    return std::nullopt;
  Operation o;
  o.a = bufferOf(a.get(), engine.get());
  o.b = bufferOf(b.get(), engine.get());
  o.bias = bufferOf(bias.get(), engine.get());
  o.result = bufferOf(c.get(), engine.get());
  auto call =
      Call::make(description, engine.get(),
                 {{DNNL_ARG_SRC, &o.a}, {DNNL_ARG_WEIGHTS, &o.b}, {DNNL_ARG_BIAS, &o.bias}, {DNNL_ARG_DST, &o.result}});
  if (!call)
    return std::nullopt;
  o.call = std::move(*call);
  return o;
}

namespace {

/// A convolution in oneDNN's terms.
struct Convolution {
  const hw_convolution &c;
  Layout x, y, bias;
  Attributes attributes;
  dnnl_dims_t dilation = {};

  explicit Convolution(const hw_convolution &c)
      : c(c), x(taggedLayout(c.images, c.channels_in, c.spatial, c.input, activationTag(c))),
        y(taggedLayout(c.images, c.channels_out, c.spatial, c.output, activationTag(c))),
        attributes(attributesFor(c.activation)) {
    if (c.has_bias) {
      const dnnl_dims_t size = {c.channels_out};
      bias = made<Layout>(library.dnnl_memory_desc_create_with_tag, 1, size, dnnl_f32, dnnl_a);
    }
    for (int i = 0; i < c.spatial; ++i)
      dilation[i] = c.dilation[i] - 1; // oneDNN counts what lies in between
  }

  Layout weights(dnnl_format_tag_t tag) const {
    return taggedLayout(c.channels_out, c.channels_in, c.spatial, c.kernel, tag);
  }

  /// Null where oneDNN cannot do it with weights in this layout.
  Description describe(dnnl_engine_t engine, const Layout &w) const {
    const Library &d = library;
    auto forward = [&](const dnnl_primitive_attr *with, const dnnl_memory_desc *withBias) {
      return made<Description>(d.dnnl_convolution_forward_primitive_desc_create, engine, dnnl_forward_training,
                               dnnl_convolution_direct, x.get(), w.get(), withBias, y.get(), c.stride, dilation, c.low,
                               c.high, with);
    };
    switch (c.kind) {
    case HW_FORWARD:
      return forward(attributes.get(), bias.get());
    case HW_BACKWARD_DATA:
      return made<Description>(d.dnnl_convolution_backward_data_primitive_desc_create, engine, dnnl_convolution_direct,
                               x.get(), w.get(), y.get(), c.stride, dilation, c.low, c.high, nullptr, attributes.get());
    default:
      return made<Description>(d.dnnl_convolution_backward_weights_primitive_desc_create, engine,
                               dnnl_convolution_direct, x.get(), w.get(), nullptr, y.get(), c.stride, dilation, c.low,
                               c.high, nullptr, attributes.get());
    }
  }
};

bool isReference(const Description &description) {
  const char *name = nullptr;
  return library.dnnl_primitive_desc_query(description.get(), dnnl_query_impl_info_str, 0, &name) == dnnl_success &&
         std::string_view(name).starts_with("ref");
}

/// Whether oneDNN is faster with weights in a layout of its own choice by more than it costs to bring them into it:
/// its matrix kernels for AVX-512 (brgconv), measured with 19 shapes of 16 to 128 channels. Elsewhere its other
/// kernels, which share our layout, are up to three times as fast; and few images are not worth the copy.
bool prefersOwnLayout(const hw_convolution &c) {
  const bool strided = std::any_of(c.stride, c.stride + c.spatial, [](int64_t stride) { return stride > 1; });
  return !c.alone && c.block == 16 && c.channels_in >= 32 && c.channels_in % 16 == 0 &&
         (c.kind == HW_FORWARD || (c.kind == HW_BACKWARD_DATA && !strided));
}

std::optional<Call> reorder(dnnl_engine_t engine, const_dnnl_memory_desc_t from, const Buffer &source,
                            const_dnnl_memory_desc_t to, const Buffer &target) {
  const auto description = made<Description>(library.dnnl_reorder_primitive_desc_create, from, engine, to, engine,
                                             attributesFor(HW_LINEAR).get());
  return description ? Call::make(description, engine, {{DNNL_ARG_FROM, &source}, {DNNL_ARG_TO, &target}})
                     : std::nullopt;
}

} // namespace

/// Nothing where oneDNN cannot do it.
std::optional<Operation> OneDnn::State::make(const hw_convolution &c) const {
  const Convolution convolution(c);
  const bool weightsResult = c.kind == HW_BACKWARD_WEIGHTS;
  const Layout promised = convolution.weights(weightsTag(c));
  Description description = convolution.describe(engine.get(), promised);
  const_dnnl_memory_desc_t own = nullptr; // the layout of oneDNN's choice, where that is faster
  if (!description || isReference(description) || prefersOwnLayout(c)) {
    Description free = convolution.describe(engine.get(), convolution.weights(dnnl_format_tag_any));
    if (free && (!description || !isReference(free))) {
      description = std::move(free);
      own = library.dnnl_primitive_desc_query_md(description.get(),
                                                 weightsResult ? dnnl_query_diff_weights_md : dnnl_query_weights_md, 0);
    }
  }
  if (!description)
    return std::nullopt;
  Operation o;
  Buffer x = bufferOf(convolution.x.get(), engine.get()), y = bufferOf(convolution.y.get(), engine.get()),
         w = bufferOf(promised.get(), engine.get());
  o.bias = bufferOf(convolution.bias.get(), engine.get());
  o.weights = bufferOf(own, engine.get());
  auto call = Call::make(description, engine.get(),
                         {{c.kind == HW_BACKWARD_DATA ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, &x},
                          {weightsResult ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS, own ? &o.weights : &w},
                          {DNNL_ARG_BIAS, &o.bias},
                          {c.kind == HW_FORWARD ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, &y}});
  if (!call)
    return std::nullopt;
  o.call = std::move(*call);
  if (own) {
    o.weightsBytes = library.dnnl_memory_desc_get_size(own);
    if (weightsResult)
      o.after = reorder(engine.get(), own, o.weights, promised.get(), w);
    else
      o.before = reorder(engine.get(), promised.get(), w, own, o.weights);
    if (!o.before && !o.after)
      return std::nullopt;
  }
  o.a = std::move(c.kind == HW_BACKWARD_DATA ? w : x);
  o.b = std::move(c.kind == HW_FORWARD ? w : y);
  o.result = std::move(c.kind == HW_FORWARD ? y : weightsResult ? w : x);
  return o;
}

/// One operation runs at a time on a thread, so one scratchpad a thread serves all, and one place for weights.
void OneDnn::State::getMemory() {
  size_t scratchpadBytes = 0, weightsBytes = 0, most = 1;
  auto each = [&](auto &&visit) {
    for (auto *operations : {&matmuls, &convolutions})
      for (Slot &slot : *operations)
        for (size_t thread = 0; thread < slot.copies.size(); ++thread) {
          Operation &o = slot.copies[thread];
          for (Call *call : {&o.call, o.before ? &*o.before : nullptr, o.after ? &*o.after : nullptr})
            if (call)
              visit(thread, o, *call);
        }
  };
  auto whole = [](size_t bytes) { return (bytes + 4095) / 4096 * 4096; }; // no page is two threads'
  each([&](size_t thread, const Operation &o, const Call &call) {
    scratchpadBytes = std::max(scratchpadBytes, whole(call.scratchpadBytes));
    weightsBytes = std::max(weightsBytes, whole(o.weightsBytes));
    most = std::max(most, thread + 1);
  });
  scratchpads = Memory(most * scratchpadBytes, "oneDNN's scratchpads");
  weights = Memory(most * weightsBytes, "oneDNN's weights");
  each([&](size_t thread, const Operation &o, const Call &call) {
    if (call.scratchpad)
      Operation::setAddress(call.scratchpad, scratchpads.data() + thread * scratchpadBytes);
    if (o.weights)
      Operation::setAddress(o.weights, weights.data() + thread * weightsBytes);
  });
}

static OneDnn *last = nullptr;
static thread_local OneDnn *ofThisThread = nullptr;

/// How many threads oneDNN takes for what this thread asks of it: a setting of GNU OpenMP's for each.
static void setWidth(int width) {
  static thread_local int current = 0; // not set yet
  if (library.setThreads && current != width)
    library.setThreads(width);
  current = width;
}

template <class Descriptor> Slot OneDnn::State::makeSlot(const Descriptor &descriptor) const {
  Slot slot{descriptor.alone != 0, {}};
  setWidth(slot.alone ? 1 : width); // a primitive is made for so many threads
  for (int copy = 0; copy < (slot.alone ? width : 1); ++copy) {
    auto operation = make(descriptor);
    if (!operation)
      return {};
    slot.copies.push_back(std::move(*operation));
  }
  return slot;
}

/// oneDNN's threads mark nothing themselves.
static void markDone() {
  if (runtime::Marks *marks = runtime::Marks::current())
    marks->onAllThreads();
}

void OneDnn::State::run(const Slot &slot, int64_t thread, const void *a, const void *b, const void *bias,
                        void *result) const {
  setWidth(slot.alone ? 1 : width);
  const size_t copy = slot.alone ? static_cast<size_t>(thread) : 0;
  slot.copies[copy].run(streams[copy].get(), a, b, bias, result);
  if (!slot.alone)
    markDone();
}

OneDnn::OneDnn(const hw_program &program, Width width) : state(std::make_unique<State>()) {
  loadLibrary();
  state->width = width == Width::one ? 1 : threads();
  state->engine = made<Engine>(library.dnnl_engine_create, dnnl_cpu, size_t(0));
  for (int thread = 0; state->engine && thread < state->width; ++thread)
    state->streams.push_back(made<Stream>(library.dnnl_stream_create, state->engine.get(), dnnl_stream_in_order));
  if (!state->engine || !state->streams.back())
    fail("oneDNN {} from {} does not start on this CPU", library.version, library.path);
  for (uint64_t i = 0; i < program.matmul_count; ++i) {
    const hw_matmul &m = program.matmuls[i];
    state->matmuls.push_back(state->makeSlot(m));
    if (state->matmuls.back().copies.empty())
      fail("oneDNN {} cannot do the product of [{}, {}] and [{}, {}] that this program has: try another version with "
           "HWC_ONEDNN",
           library.version, m.m, m.k, m.k, m.n);
  }
  for (uint64_t i = 0; i < program.convolution_count; ++i) {
    const hw_convolution &c = program.convolutions[i];
    state->convolutions.push_back(state->makeSlot(c));
    if (state->convolutions.back().copies.empty())
      fail("oneDNN {} cannot do the convolution of {} images of [{}, {}] with a kernel of [{}, {}, {}] that this "
           "program has: try another version with HWC_ONEDNN",
           library.version, c.images, c.channels_in, fmt::join(c.input, c.input + c.spatial, ", "), c.channels_out,
           c.channels_in, fmt::join(c.kernel, c.kernel + c.spatial, ", "));
  }
  state->getMemory();
  if (width == Width::program)
    last = this;
}

OneDnn::~OneDnn() {
  if (last == this)
    last = nullptr;
}

OneDnn &OneDnn::active() { return ofThisThread ? *ofThisThread : *last; }

void OneDnn::serveThisThread() { ofThisThread = this; }

void OneDnn::runMatmul(int64_t index, int64_t thread, const void *a, const void *b, const void *bias, void *result) {
  state->run(state->matmuls[static_cast<size_t>(index)], thread, a, b, bias, result);
}
void OneDnn::runConvolution(int64_t index, int64_t thread, const void *a, const void *b, const void *bias,
                            void *result) {
  state->run(state->convolutions[static_cast<size_t>(index)], thread, a, b, bias, result);
}
bool OneDnn::isReordered(int64_t index) const {
  return bool(state->convolutions[static_cast<size_t>(index)].copies.front().weights);
}

std::string oneDnnVersion() { return library.version; }
std::string oneDnnPath() { return library.path; }

} // namespace hw

extern "C" void hw_run_matmul(int64_t index, int64_t thread, const void *a, const void *b, const void *bias, void *c) {
  hw::OneDnn::active().runMatmul(index, thread, a, b, bias, c);
}

extern "C" void hw_run_convolution(int64_t index, int64_t thread, const void *a, const void *b, const void *bias,
                                   void *result) {
  hw::OneDnn::active().runConvolution(index, thread, a, b, bias, result);
}
