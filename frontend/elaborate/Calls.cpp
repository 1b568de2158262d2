// Calls: arguments, partial application, instances of functions with parameters, nets.
#include "frontend/elaborate/Elaborator.h"
#include "ir/Slice.h"

#include "runtime/formats/Safetensors.h"
#include "runtime/formats/Text.h"

#include <cmath>

using namespace mlir;

namespace hw::lang {

// Whether a fn has `param` or `state`, itself or in what it names: without recursion, since a file may chain thousands.
bool Elaborator::isStateful(const ast::Fn &fn) {
  if (auto it = statefulness.find(&fn); it != statefulness.end())
    return it->second;
  std::set<const ast::Fn *> reached{&fn};
  std::vector<const ast::Fn *> work{&fn};
  bool found = false;
  while (!work.empty() && !found) {
    const ast::Fn *next = work.back();
    work.pop_back();
    if (auto it = statefulness.find(next); it != statefulness.end()) {
      found = it->second;
      continue;
    }
    bool own = next->range.source == file.source;
    walk(
        *next,
        [&](const ast::Stmt &s) { found = found || s.kind == ast::StmtKind::Param || s.kind == ast::StmtKind::State; },
        [&](const ast::Expr &e) {
          auto *ref = ast::as<ast::Ref>(e);
          if (!ref)
            return;
          for (auto *map : {&functions, &prelude}) {
            if (map == &functions && !own)
              continue;
            if (auto other = map->find(ref->name); other != map->end()) {
              const ast::Fn *decl = as<Fn>(other->second)->decl;
              if (reached.insert(decl).second)
                work.push_back(decl);
              break;
            }
          }
        });
  }
  if (found)
    statefulness[&fn] = true;
  else
    for (const ast::Fn *one : reached)
      statefulness[one] = false;
  return found;
}

// A fresh path for an instance in the current frame: `again` if it is bound to a name, else `linear1`, `linear2`, ...
std::string Elaborator::newPath(const std::string &base, bool bound) {
  std::string name;
  if (bound && !frame->used.count(base)) {
    name = base;
  } else if (bound) {
    unsigned n = 2;
    while (frame->used.count(base + std::to_string(n)))
      ++n;
    name = base + std::to_string(n);
  } else {
    do
      name = base + std::to_string(++frame->counts[base]);
    while (frame->used.count(name));
  }
  frame->used.insert(name);
  return frame->path.empty() ? name : frame->path + "." + name;
}

Val Elaborator::call(const Val &callee, std::vector<Val> args, SourceRange range, std::map<std::string, Val> keywords,
                     std::vector<SourceRange> ranges, const std::string &bound, bool piped) {
  for (const Val &arg : args)
    if (arg->kind == Kind::Poison)
      throw Failure{};
  if (auto *net = as<Net>(callee)) {
    if (!keywords.empty())
      fail(range, "a net takes the inputs of its fn only, not `" + keywords.begin()->first + "`",
           "give it where the net is made: `init(f(" + keywords.begin()->first + " = ...), ...)`");
    return applyNet(*net, std::move(args), range);
  }
  auto *fn = as<Fn>(callee);
  if (!fn)
    fail(range, describe(callee) + " cannot be called", piped ? "after `|>` stands a function" : "");
  if (fn->objective) {
    if (args.size() != 1 || !keywords.empty())
      fail(range, "the objective takes one argument, the weights: `f(w)`");
    return callObjective(*fn->objective, args[0], range);
  }

  // Names of positional parameters and of those with defaults.
  std::vector<std::string> positional, named;
  size_t required = 0;
  bool variadic = false;
  if (fn->decl) {
    for (const ast::Parameter &p : fn->decl->parameters)
      (p.defaultValue ? named : positional).push_back(p.name.text);
    required = positional.size();
  } else {
    positional = fn->builtin->positional;
    required = fn->builtin->required;
    variadic = fn->builtin->variadic;
    for (auto &[name, value] : fn->builtin->keywords)
      named.push_back(name);
  }
  std::string signature = fn->decl
                              ? fn->name() + "(" + llvm::join(positional, ", ") +
                                    (positional.empty() || named.empty() ? "" : ", ") + llvm::join(named, ", ") + ")"
                              : fn->builtin->signature;
  for (auto &[name, value] : keywords) {
    if (value->kind == Kind::Poison)
      throw Failure{};
    if (llvm::is_contained(named, name))
      continue;
    if (llvm::is_contained(positional, name))
      fail(range, "`" + name + "` of `" + fn->name() + "` has no default, so it is passed by position, not by name",
           "the function is `" + signature + "`");
    std::string help = nearest(name, named);
    fail(range,
         "`" + fn->name() + "` has no parameter `" + name + "`" +
             (named.empty() ? "" : "; by name it takes " + llvm::join(named, ", ")),
         help);
  }
  size_t given = args.size() + fn->tail.size();
  if (given > positional.size() && !variadic) {
    std::string help = "the function is `" + signature + "`";
    if (!named.empty())
      help += "; parameters with defaults are passed by name: `" + named[0] + " = ...`";
    fail(range,
         "`" + fn->name() + "` takes " + std::to_string(positional.size()) + " positional argument" +
             (positional.size() == 1 ? "" : "s") + ", found " + std::to_string(given),
         help);
  }
  if (piped && given < required) {
    std::vector<std::string> missing(positional.begin() + 1, positional.begin() + (required - fn->tail.size()));
    fail(range, "`" + fn->name() + "` still lacks " + llvm::join(missing, ", "),
         "write `|> " + fn->name() + "(" + llvm::join(missing, ", ") + ")`");
  }

  auto full = std::make_shared<Fn>(*fn);
  for (auto &[name, value] : keywords)
    full->keywords[name] = value;
  std::vector<Val> all = args;
  all.insert(all.end(), fn->tail.begin(), fn->tail.end());
  bool partial = given < required;

  // Evaluating a call of something with parameters makes an instance, even if arguments are still missing.
  if (isStateful(*fn)) {
    if (frame && (fn->path.empty() || fn->owner != frame->net)) {
      full->owner = frame->net;
      if (fn->token) {
        std::string &path = frame->net->tokens[fn->token.get()];
        if (path.empty())
          path = newPath(fn->name(), false);
        full->path = path;
      } else {
        full->path = newPath(partial && !bound.empty() ? bound : fn->name(), partial && !bound.empty());
      }
    } else if (!frame && !fn->token) {
      full->token = std::make_shared<Token>();
    }
  }
  if (partial) {
    full->tail = std::move(all);
    return full;
  }
  if (full->builtin) {
    Restore<SourceRange> place(here);
    if (range.source == file.source)
      here = range;
    Args arguments;
    arguments.positional = std::move(all);
    arguments.keywords = full->keywords;
    arguments.ranges = std::move(ranges);
    arguments.range = range;
    return applyBuiltin(*full->builtin, arguments);
  }
  if (isStateful(*full) && !frame)
    fail(range, "`" + fn->name() + "` has parameters, and outside a net there are none to use",
         "make a net first: `net = init(" + fn->name() + (fn->tail.empty() ? "" : "(...)") +
             ", x, seed = 1)`, then call it: `net(x)`");
  full->tail = std::move(all);
  return callFn(*full, {}, range);
}

Val Elaborator::applyBuiltin(const Builtin &builtin, Args &arguments) {
  // These see to types themselves.
  static const std::set<std::string> own = {
      "at",  "cifar10", "csv",      "dense", "f32", "f64",   "fashion_mnist", "grad",   "gradcheck", "hessian",
      "idx", "init",    "jacobian", "jvp",   "map", "mnist", "npy",           "random", "vjp",       "where"};
  if (own.count(builtin.name)) {
    Restore<Type> none(meeting, Type());
    return builtin.apply(*this, arguments);
  }
  std::vector<Val> operands = arguments.positional;
  for (auto &[name, value] : arguments.keywords)
    operands.push_back(value);
  Meeting meet(*this, operands, Meeting::AreIndices);
  return meet.settle(builtin.apply(*this, arguments));
}

// Runs a user's or the prelude's fn; fn.tail holds all positional arguments.
Val Elaborator::callFn(const Fn &fn, std::vector<Val>, SourceRange range) {
  const ast::Fn &decl = *fn.decl;
  for (const CallSite &site : calls)
    if (site.fn == &decl)
      fail(range, "`" + decl.name.text + "` calls itself" + (calls.back().fn == &decl ? "" : ", by way of others"),
           "a fn is specialised for each call when the program is compiled; repeat with `for`");
  if (calls.size() >= 100)
    fail(range, "calls nest more than 100 deep");
  Restore<SourceRange> place(here);
  if (range.source == file.source)
    here = range;
  Restore<Type> none(meeting, Type());
  calls.push_back({&decl, range.source == file.source ? range : here});
  ++inFunction;
  llvm::scope_exit pop([&] {
    calls.pop_back();
    --inFunction;
  });
  Frame own;
  std::optional<Restore<Frame *>> restoreFrame;
  if (isStateful(decl)) {
    own.net = fn.owner ? const_cast<NetContext *>(fn.owner) : frame->net;
    own.path = fn.path;
    restoreFrame.emplace(frame, &own);
  }
  ScopeGuard guard(*this, Scope::Function, nullptr);
  size_t next = 0;
  for (const ast::Parameter &p : decl.parameters)
    if (!p.defaultValue)
      define(p.name.text, fn.tail[next++]);
  for (const ast::Parameter &p : decl.parameters)
    if (p.defaultValue) {
      auto it = fn.keywords.find(p.name.text);
      define(p.name.text, it != fn.keywords.end() ? it->second : eval(*p.defaultValue));
    }
  Val result;
  if (decl.value) {
    result = eval(*decl.value);
  } else {
    returned = nullptr;
    if (runStatements(decl.body->statements))
      result = std::exchange(returned, nullptr);
    if (!result)
      fail(decl.name.range, "`" + decl.name.text + "` ends without `return`", "add `return ...` as its last statement");
  }
  if (own.net && own.net->filling && own.net->mode == NetContext::Init) {
    NetContext &net = *own.net;
    if (!own.path.empty() && !net.code->layers.count(own.path)) {
      auto layer = std::make_shared<Fn>(fn);
      // Without the given inputs: the arguments that a call of the layer alone passes.
      size_t inputs = 0;
      while (inputs < layer->tail.size() && as<Tensor>(layer->tail[inputs]))
        ++inputs;
      layer->tail.erase(layer->tail.begin(), layer->tail.begin() + inputs);
      layer->owner = nullptr;
      layer->path.clear();
      layer->token.reset();
      net.code->layers[own.path] = layer;
    }
    for (NetSummary::Layer &layer : net.summary->layers)
      if (layer.path == own.path && layer.output.empty())
        if (auto *t = as<Tensor>(result))
          if (typeOf(t->ssa).getRank() > 0)
            layer.output.assign(shapeOf(t->ssa).begin() + 1, shapeOf(t->ssa).end());
  }
  return result;
}

//===-- Parameters and state ------------------------------------------------------------------------------------===//

void Elaborator::runParam(const ast::Name &name, const ast::Expr *shapeExpr, const ast::Expr &init, bool trainable,
                          SourceRange range) {
  if (!frame)
    fail(range, "`" + name.text + "` needs a net to live in", "make one with `init(f, x, seed = 1)`");
  NetContext &net = *frame->net;
  const char *kind = trainable ? "param" : "state";
  if (trainable && net.mode == NetContext::Optimiser)
    fail(range, "an optimiser has `state`, not `param`");
  std::string full = frame->path.empty() ? name.text : frame->path + "." + name.text;
  frame->states[name.text] = full;
  std::optional<std::vector<int64_t>> shape;
  if (shapeExpr)
    shape = knownShape(eval(*shapeExpr));
  auto found = net.code->index.find(full);
  if (found != net.code->index.end()) {
    Val value = net.values[found->second];
    if (shape && as<Tensor>(value) && shapeOf(as<Tensor>(value)->ssa) != ArrayRef<int64_t>(*shape))
      fail(range,
           "`" + net.prefix + full + "` was made " + shapeText(shapeOf(as<Tensor>(value)->ssa)) +
               ", but for this input it would be " + shapeText(*shape),
           net.code->inputs.empty() || net.code->inputs == net.inputs
               ? "give the net inputs of the shape that it had in `init`; only axis 0, the samples, may differ"
               : "`init` was given " + net.code->inputs + ", and here the net gets " + net.inputs +
                     "; only N, the samples, may differ");
    define(name.text, value);
    return;
  }
  if (!net.filling)
    fail(range, "`" + net.prefix + full + "` was not made by `init`",
         "what a net's fn evaluates must not depend on `training` or on the data's size where it has parameters");

  Val value;
  {
    ImpliedRandom random;
    random.hasShape = shape.has_value();
    if (shape)
      random.shape = *shape;
    random.element = net.element;
    random.path = net.prefix + full;
    // In an optimiser a random initialiser has no key: it names its seed.
    Restore<ImpliedRandom *> restore(implied, net.mode == NetContext::Init ? &random : nullptr);
    value = eval(init);
    if (as<Fn>(value)) { // `= zeros`
      std::map<std::string, Val> none;
      std::vector<Val> args;
      if (as<Fn>(value)->builtin) {
        if (!shape)
          fail(init.range,
               std::string("`") + kind + " " + name.text + " = " + as<Fn>(value)->name() + "` needs a shape",
               std::string("write `") + kind + " " + name.text + ": [...] = " + as<Fn>(value)->name() + "`");
        std::vector<Val> sizes;
        for (int64_t s : *shape)
          sizes.push_back(number(double(s)));
        args.push_back(lang::list(std::move(sizes)));
      }
      value = call(value, std::move(args), init.range);
    }
  }
  if (net.mode == NetContext::Init) {
    Value v;
    if (shape) {
      if (as<Tensor>(value) && shapeOf(as<Tensor>(value)->ssa) != ArrayRef<int64_t>(*shape) &&
          typeOf(as<Tensor>(value)->ssa).getRank() != 0)
        fail(range, "`" + full + "` is declared " + shapeText(*shape) + ", but its initial value is " +
                        shapeText(shapeOf(as<Tensor>(value)->ssa)));
      v = kept(value, *shape, net.element);
    } else {
      Restore<Type> exact(meeting, f64());
      v = kept(tensorOf(value, "a number or a tensor as an initial value"), net.element);
    }
    // What begins as another parameter is still a variable of its own: a derivative by both follows neither to the
    // other.
    std::vector<Value> before;
    for (const Val &made : net.values)
      flatten(made, before);
    if (reaches(before, v))
      v = StopGradientOp::create(builder, loc(), v);
    value = tensor(v);
    NetSummary::Layer *layer = nullptr;
    for (NetSummary::Layer &l : net.summary->layers)
      if (l.path == frame->path)
        layer = &l;
    if (!layer) {
      net.summary->layers.push_back({frame->path, calls.back().fn->name.text, {}, {}});
      layer = &net.summary->layers.back();
    }
    layer->parameters.push_back({name.text, std::vector<int64_t>(shapeOf(v)), trainable});
  } else if (!carriable(value)) {
    fail(range, "a state is a number, a tensor or weights, found " + describe(value));
  } else if (auto *t = as<Tensor>(value); t && t->weak) {
    value = tensor(kept(t->ssa, net.element)); // of the weights' type
  }
  net.code->index[full] = net.code->parameters.size();
  net.code->parameters.push_back({full, trainable});
  net.values.push_back(value);
  define(name.text, value);
}

void Elaborator::runState(const ast::StateAssign &stmt) {
  const std::string &name = stmt.target.text;
  auto found = frame ? frame->states.find(name) : std::map<std::string, std::string>::iterator();
  if (!frame || found == frame->states.end())
    fail(stmt.target.range, "`" + name + "' = ...` gives a `state` its next value, and `" + name + "` is no state here",
         "declare it above: `state " + name + " = ...`");
  NetContext &net = *frame->net;
  size_t index = net.code->index.at(found->second);
  if (net.code->parameters[index].trainable)
    fail(stmt.target.range, "`" + name + "` is a `param`: the optimiser changes it",
         "a `state` is what a layer changes itself");
  Val value = eval(*stmt.value);
  const Val &like = net.values[index];
  std::vector<Value> old;
  flatten(like, old);
  std::vector<Type> types;
  for (Value v : old)
    types.push_back(v.getType());
  std::vector<Value> values = flattenLike(value, like, types, "state `" + name + "`", stmt.range, true);
  ArrayRef<Value> rest = values;
  net.next[found->second] = unflatten(like, rest, {});
}

//===-- Nets ----------------------------------------------------------------------------------------------------===//

/// "[N, 1, 28, 28]", of each input that has samples.
static std::string inputShapes(ArrayRef<Val> inputs) {
  std::vector<std::string> shapes;
  for (const Val &input : inputs)
    if (auto *t = as<Tensor>(input); t && typeOf(t->ssa).getRank() > 0) {
      std::string text = "[N";
      for (int64_t size : shapeOf(t->ssa).drop_front())
        text += ", " + std::to_string(size);
      shapes.push_back(text + "]");
    }
  return llvm::join(shapes, ", ");
}

Val Elaborator::evaluateRoot(NetContext &net, const std::string &, const Val &fnValue, std::vector<Val> args,
                             SourceRange range) {
  auto *fn = as<Fn>(fnValue);
  if (!fn->decl)
    return call(fnValue, std::move(args), range);
  size_t positional = 0;
  std::vector<std::string> names;
  for (const ast::Parameter &p : fn->decl->parameters)
    if (!p.defaultValue) {
      ++positional;
      names.push_back(p.name.text);
    }
  size_t inputs = positional - std::min(positional, fn->tail.size());
  if (args.size() != inputs)
    fail(range,
         "`" + fn->name() + "` takes " + std::to_string(inputs) + " input" + (inputs == 1 ? "" : "s") + " here (" +
             llvm::join(names.begin(), names.begin() + inputs, ", ") + "), found " + std::to_string(args.size()),
         inputs > args.size() && net.mode == NetContext::Init
             ? "give all but the inputs: `init(" + fn->name() + "(" +
                   llvm::join(names.begin() + args.size(), names.begin() + inputs, ", ") + "), ...)`"
             : "");
  net.inputs = inputShapes(args);
  if (net.mode == NetContext::Init)
    net.code->inputs = net.inputs;
  Fn root = *fn;
  args.insert(args.end(), fn->tail.begin(), fn->tail.end());
  root.tail = std::move(args);
  root.owner = &net;
  root.path.clear();
  Frame rootFrame;
  rootFrame.net = &net;
  Restore<Frame *> restore(frame, &rootFrame);
  return callFn(root, {}, range);
}

Val Elaborator::init(Args &args) {
  SourceRange range = args.range;
  Val fn = args.positional[0];
  if (!as<Fn>(fn))
    fail("`init` takes a function first, found " + describe(fn), "write `init(f, x, seed = 1)`");
  auto net = std::make_shared<Net>();
  auto code = std::make_shared<NetCode>();
  NetContext context;
  // A net's type is that of its inputs.
  std::vector<Val> examples;
  Type element;
  for (size_t i = 1; i < args.positional.size(); ++i) {
    const Val &example = args.positional[i];
    if (auto *d = as<Data>(example))
      fail("`init` takes tensors as examples, found " + describe(example), "name a column: `" + d->name + ".x`");
    auto *t = as<Tensor>(example);
    if (!t) {
      examples.push_back(example);
      continue;
    }
    Value v = t->weak ? kept(t->ssa, programFloat()) : t->ssa;
    if (isFloat(v) && (!element || elementOf(v).isF64()))
      element = elementOf(v);
    // Two samples show all that matters: shapes and types.
    if (typeOf(v).getRank() > 0 && shapeOf(v)[0] > 2) {
      SmallVector<int64_t> start(typeOf(v).getRank(), 0), limit(shapeOf(v)), stride(typeOf(v).getRank(), 1);
      limit[0] = 2;
      v = SliceOp::create(builder, loc(), v, start, limit, stride);
      context.cut = range;
    }
    examples.push_back(tensor(v, t->classes));
  }
  code->element = element ? element : programFloat();
  code->fn = fn;
  Val seed = args.keyword("seed");
  net->seed = seed ? seed : number(0);
  key(net->seed); // one that fits, also where nothing is drawn

  NetSummary summary;
  summary.range = range;
  summary.element = code->element.isF64() ? "f64" : "f32";
  for (const LoopVariable &loop : loops)
    summary.loops += (summary.loops.empty() ? "" : ", ") + loop.name + " = " + (loop.ssa ? "..." : loop.label);
  context.mode = NetContext::Init;
  context.code = code;
  context.filling = true;
  context.seed = net->seed;
  context.element = code->element;
  context.summary = &summary;
  evaluateRoot(context, "", fn, std::move(examples), range);
  if (code->parameters.empty())
    fail(range, "`" + as<Fn>(fn)->name() + "` has no parameters, so there is nothing to init", "call it as it is");
  net->code = code;
  net->values = context.values;
  if (Val from = args.keyword("from")) {
    std::string path = knownString(from, "the file that `init` reads");
    try {
      hw::SafetensorsFile stored(dataPath(path));
      std::vector<std::string> names;
      for (auto &one : stored.entries()) {
        names.push_back(one.name);
        // PyTorch's batch norm counts batches besides, which nothing here needs.
        if (!code->index.count(one.name) && !StringRef(one.name).ends_with("num_batches_tracked"))
          fail(range, hw::inQuotes(path) + " has a tensor `" + one.name + "`, and this net has none of that name",
               "the file's names are those of the net that was saved: give this one the same layers");
      }
      for (size_t i = 0; i < net->values.size(); ++i) {
        const std::string &name = code->parameters[i].name;
        ArrayRef<int64_t> shape = shapeOf(as<Tensor>(net->values[i])->ssa);
        auto *entry = stored.find(name);
        if (!entry)
          fail(range, hw::inQuotes(path) + " has no tensor `" + name + "`; it has " + llvm::join(names, ", "),
               "the file's names are those of the net that was saved: give this one the same layers");
        if (ArrayRef<int64_t>(entry->header.shape) != shape)
          fail(range,
               "`" + name + "` is " + shapeText(entry->header.shape) + " in " + hw::inQuotes(path) + " and " +
                   shapeText(shape) + " here",
               "the file is another net's: give this one the layers, and the inputs, of the one that was saved");
      }
    } catch (const hw::Error &error) {
      fail(range, std::string("cannot read these weights: ") + error.what());
    }
    for (size_t i = 0; i < net->values.size(); ++i) {
      Value made = as<Tensor>(net->values[i])->ssa;
      net->values[i] = tensor(
          study::DatasetOp::create(builder, loc(), made.getType(), "safetensors", path, code->parameters[i].name, 0));
    }
  }
  double bytes = 0;
  for (const Val &v : net->values)
    bytes += double(typeOf(as<Tensor>(v)->ssa).getNumElements()) * (code->element.isF64() ? 8 : 4);
  if (bytes > 16.0 * (1ull << 30))
    fail(range, "this net's weights would take " + numberText(std::round(bytes / (1 << 30))) + " GiB");
  progress.nets.push_back(std::move(summary));
  return net;
}

} // namespace hw::lang
