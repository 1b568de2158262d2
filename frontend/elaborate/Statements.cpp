// What statements do, but for data, training and records.
#include "frontend/elaborate/Elaborator.h"

#include "frontend/Parser.h"
#include "mlir/IR/Verifier.h"

#include <cmath>

using namespace mlir;

namespace hw {
int64_t NetSummary::Parameter::size() const {
  int64_t n = 1;
  for (int64_t s : shape)
    n *= s;
  return n;
}
int64_t NetSummary::parameters() const {
  int64_t n = 0;
  for (const Layer &layer : layers)
    for (const Parameter &p : layer.parameters)
      n += p.trainable ? p.size() : 0;
  return n;
}

std::optional<Elaborated> elaborate(const ast::Module &file, Diagnostics &diagnostics, MLIRContext &context,
                                    const ElaborateOptions &options) {
  return lang::Elaborator(file, diagnostics, context, options).run();
}
} // namespace hw

namespace hw::lang {

Elaborator::Elaborator(const ast::Module &file, Diagnostics &diagnostics, MLIRContext &context,
                       const ElaborateOptions &given)
    : file(file), diagnostics(diagnostics), options([&] {
        ElaborateOptions o = given;
        o.f64 = o.f64 || o.mode == ElaborateOptions::Gradcheck; // differences need the precision
        return o;
      }()),
      builder(&context) {
  context.loadDialect<HwDialect, study::StudyDialect, func::FuncDialect>();
}

//===-- Errors --------------------------------------------------------------------------------------------------===//

void Elaborator::fail(SourceRange range, std::string message, std::string help) {
  throw Failure{diagnose(range, std::move(message), std::move(help))};
}

void Elaborator::exhaust(std::string message, std::string help) {
  throw Exhausted{diagnose(here, std::move(message), std::move(help))};
}

Diagnostic Elaborator::diagnose(SourceRange range, std::string message, std::string help) {
  Diagnostic d;
  d.message = std::move(message);
  bool own = range.source == file.source;
  d.range = own ? range : here;
  if (!own && range && !calls.empty())
    d.note("in `" + calls.back().fn->name.text + "`, " + range.str());
  if (!help.empty())
    d.help(std::move(help));
  int shown = 0;
  for (size_t i = calls.size(); i-- > 0 && shown < 3;)
    if (calls[i].range.source == file.source && !(calls[i].range == d.range)) {
      const bool cut =
          frame && frame->net && calls[i].range == frame->net->cut && d.message.find("[2") != std::string::npos;
      d.note(calls[i].range, "in `" + calls[i].fn->name.text + "`, called here" +
                                 (cut ? " with two samples, which is all that `init` looks at" : ""));
      ++shown;
    }
  return d;
}

void Elaborator::report(const Failure &failure) {
  ++failures;
  if (!failure.diagnostic)
    return;
  const Diagnostic &d = *failure.diagnostic;
  // A loop's body is elaborated many times, a step's twice: one report is enough.
  if (!reported.insert({d.range.begin, d.message}).second)
    return;
  Diagnostic &made = diagnostics.error(d.range, d.message);
  made.notes = d.notes;
  made.helps = d.helps;
}

/// Whether `name` is `start`, but for case and underscores, and then another word.
static bool continuesWith(llvm::StringRef name, llvm::StringRef start) {
  for (start = start.ltrim('_'); !start.empty(); start = start.drop_front().ltrim('_'), name = name.drop_front()) {
    name = name.ltrim('_');
    if (name.empty() || llvm::toLower(name[0]) != llvm::toLower(start[0]))
      return false;
  }
  return !name.empty() && !llvm::isLower(name[0]);
}

std::string Elaborator::nearest(const std::string &name, const std::vector<std::string> &candidates) {
  size_t best = 3;
  std::string found;
  for (const std::string &candidate : candidates) {
    size_t distance = llvm::StringRef(name).edit_distance_insensitive(candidate, true, 3);
    if (distance < best && distance < std::max<size_t>(1, name.size())) {
      best = distance;
      found = candidate;
    }
  }
  // `kernel_size` and `CrossEntropyLoss` are a name of ours and another word.
  for (const std::string &candidate : candidates)
    if (found.empty() && candidate.size() > 2 && continuesWith(name, candidate))
      found = candidate;
  return found.empty() ? "" : "did you mean `" + found + "`?";
}

/// The tables that a statement, or one inside of it, records.
static void tablesOf(const ast::Stmt &stmt, std::set<std::string> &tables) {
  walk(
      stmt,
      [&](const ast::Stmt &s) {
        if (auto *record = ast::as<ast::Record>(s))
          tables.insert(record->table.text);
      },
      [](const ast::Expr &) {});
}

//===-- The file ------------------------------------------------------------------------------------------------===//

std::optional<Elaborated> Elaborator::run() {
  Diagnostics preludeErrors;
  ast::Module preludeFile = parseModule(preludeSource(), preludeErrors);
  if (preludeErrors.hasErrors()) {
    diagnostics.error({}, "the prelude does not parse: " + preludeErrors.all().front().message + " at " +
                              preludeErrors.all().front().range.str());
    return std::nullopt;
  }
  auto hoist = [](const ast::Module &m, std::map<std::string, Val> &to) {
    for (const ast::StmtPtr &stmt : m.statements)
      if (auto *decl = ast::as<ast::Fn>(stmt)) {
        auto fn = std::make_shared<Fn>();
        fn->decl = decl;
        to[decl->name.text] = fn;
      }
  };
  hoist(preludeFile, prelude);
  hoist(file, functions);
  std::set<std::string> assigned;
  for (const ast::StmtPtr &stmt : file.statements) {
    if (auto *q = ast::as<ast::Quick>(stmt))
      quick[q->name.text] = q;
    if (auto *a = ast::as<ast::Assign>(stmt))
      for (const ast::Name &target : a->targets)
        assigned.insert(target.text);
  }
  for (const ast::StmtPtr &stmt : file.statements)
    tablesOf(*stmt, recorded);
  for (auto &[name, q] : quick)
    if (!assigned.count(name))
      diagnostics.error(q->name.range, "`quick " + name + "` names no top-level scalar of this file")
          .help(nearest(name, {assigned.begin(), assigned.end()}).empty()
                    ? "assign it first: `" + name + " = ...`"
                    : nearest(name, {assigned.begin(), assigned.end()}));

  module = ModuleOp::create(builder.getUnknownLoc());
  builder.setInsertionPointToEnd(module->getBody());
  auto study = func::FuncOp::create(builder, builder.getUnknownLoc(), "study", builder.getFunctionType({}, {}));
  builder.setInsertionPointToEnd(study.addEntryBlock());
  {
    ScopeGuard fileScope(*this, Scope::File, nullptr);
    OpBuilder::InsertionGuard guard(builder);
    try {
      runStatements(file.statements);
    } catch (const Exhausted &exhausted) {
      report({exhausted.diagnostic});
    }
  }
  func::ReturnOp::create(builder, builder.getUnknownLoc());
  module->walk([&](study::RecordOp op) {
    std::vector<Attribute> order;
    for (const std::string &column : progress.tables[op.getTable().str()].columns)
      order.push_back(builder.getStringAttr(column));
    op.setOrderAttr(builder.getArrayAttr(order));
  });
  for (auto &[name, value] : options.settings)
    if (!settingIndex.count(name)) {
      std::string names;
      std::vector<std::string> all;
      for (const Setting &s : settings) {
        names += (names.empty() ? "" : ", ") + s.name;
        all.push_back(s.name);
      }
      std::string help = nearest(name, all);
      Diagnostic &d = diagnostics.error({}, "--set " + name + ": this file has no top-level scalar of that name; " +
                                                (names.empty() ? "it has none at all" : "it has " + names));
      if (!help.empty())
        d.help(help);
    }
  if (diagnostics.hasErrors())
    return std::nullopt;

  std::string problem;
  SourceRange where;
  ScopedDiagnosticHandler handler(builder.getContext(), [&](mlir::Diagnostic &d) {
    if (problem.empty()) {
      llvm::raw_string_ostream(problem) << d.getLocation() << ": " << d;
    }
    return success();
  });
  if (failed(verify(*module))) {
    diagnostics.error({}, "the compiler made an invalid program from this file (a defect of the compiler): " + problem);
    return std::nullopt;
  }
  if (options.lint || std::getenv("HW_LINT"))
    for (Operation *op : roundTrips(*module)) {
      std::string place;
      llvm::raw_string_ostream(place) << op->getLoc();
      diagnostics.error({}, "an f64 value was rounded to f32 on its way (a defect of the compiler): " + place);
      return std::nullopt;
    }
  eraseKept(*module);
  Elaborated result;
  result.module = std::move(module);
  result.settings = std::move(settings);
  result.nets = std::move(progress.nets);
  return result;
}

void Elaborator::poison(const ast::Stmt &stmt) {
  static const Val bad = std::make_shared<Poison>();
  tablesOf(stmt, unsure);
  auto set = [&](const ast::Name &name) { assign(name.text, bad); };
  if (auto *s = ast::as<ast::Assign>(stmt))
    for (const ast::Name &target : s->targets)
      set(target);
  else if (auto *s = ast::as<ast::Data>(stmt))
    define(s->name.text, bad);
  else if (auto *s = ast::as<ast::For>(stmt)) {
    for (const std::string &name : rebound(s->body))
      assign(name, bad);
  } else if (ast::as<ast::Train>(stmt)) {
    // The net keeps its weights, so that what follows is still checked.
  } else if (auto *s = ast::as<ast::Record>(stmt)) {
    // The table's columns are known all the same.
    auto &columns = progress.tables[s->table.text].columns;
    for (const ast::Item &item : s->items)
      if (!llvm::is_contained(columns, item.name.text))
        columns.push_back(item.name.text);
  }
}

bool Elaborator::runStatements(const std::vector<ast::StmtPtr> &list) {
  for (const ast::StmtPtr &stmt : list) {
    if (inFunction) {
      if (runStatement(*stmt))
        return true;
      continue;
    }
    OpBuilder::InsertionGuard guard(builder);
    try {
      runStatement(*stmt);
    } catch (const Failure &failure) {
      report(failure);
      poison(*stmt);
    }
  }
  return false;
}

bool Elaborator::runBlock(const ast::Block &block, Scope::Type type) {
  ScopeGuard guard(*this, type);
  return runStatements(block.statements);
}

bool Elaborator::runStatement(const ast::Stmt &stmt) {
  Restore<SourceRange> place(here);
  if (stmt.range.source == file.source)
    here = stmt.range;
  countSteps();
  using ast::as;
  using ast::StmtKind;
  if (inFunction) {
    switch (stmt.kind) {
    case StmtKind::Assign:
    case StmtKind::StateAssign:
    case StmtKind::Fn:
    case StmtKind::Param:
    case StmtKind::State:
    case StmtKind::Return:
    case StmtKind::For:
    case StmtKind::If:
      break;
    default:
      fail(stmt.range, "a fn is pure: it computes a value from its arguments, and this statement does more than that",
           "write it at the top level of the file, or in a `for` there");
    }
  } else if (stmt.kind == StmtKind::Param || stmt.kind == StmtKind::State || stmt.kind == StmtKind::StateAssign ||
             stmt.kind == StmtKind::Return) {
    fail(stmt.range, "`param`, `state`, `name' = ...` and `return` belong in the body of a fn",
         "a network is a fn; `init(f, x, seed = 1)` makes its weights");
  }
  if (options.mode == ElaborateOptions::Gradcheck && (stmt.kind == StmtKind::Record || stmt.kind == StmtKind::Save ||
                                                      stmt.kind == StmtKind::Checkpoint || stmt.kind == StmtKind::Plot))
    return false; // nothing is trained, so there is nothing to keep
  switch (stmt.kind) {
  case StmtKind::Assign:
    runAssign(*as<ast::Assign>(stmt));
    return false;
  case StmtKind::StateAssign:
    runState(*as<ast::StateAssign>(stmt));
    return false;
  case StmtKind::Fn:
    runFn(*as<ast::Fn>(stmt));
    return false;
  case StmtKind::Param: {
    auto *s = as<ast::Param>(stmt);
    runParam(s->name, s->shape.get(), *s->init, true, s->range);
    return false;
  }
  case StmtKind::State: {
    auto *s = as<ast::State>(stmt);
    runParam(s->name, s->shape.get(), *s->init, false, s->range);
    return false;
  }
  case StmtKind::Return: {
    auto *s = as<ast::Return>(stmt);
    std::vector<Val> values;
    for (const ast::ExprPtr &e : s->values)
      values.push_back(eval(*e));
    returned = values.size() == 1 ? values[0] : list(std::move(values), true);
    return true;
  }
  case StmtKind::Data:
    runData(*as<ast::Data>(stmt));
    return false;
  case StmtKind::For: {
    bool didReturn = false;
    runFor(*as<ast::For>(stmt), 0, didReturn);
    return didReturn;
  }
  case StmtKind::If:
    return runIf(*as<ast::If>(stmt));
  case StmtKind::Train:
    runTrain(*as<ast::Train>(stmt));
    return false;
  case StmtKind::Minimize:
    runMinimize(*as<ast::Minimize>(stmt));
    return false;
  case StmtKind::Every:
    runEvery(*as<ast::Every>(stmt));
    return false;
  case StmtKind::StopWhen:
    runStop(*as<ast::StopWhen>(stmt));
    return false;
  case StmtKind::Record:
    runRecord(*as<ast::Record>(stmt));
    return false;
  case StmtKind::Save:
    runSave(*as<ast::Save>(stmt));
    return false;
  case StmtKind::Checkpoint:
    if (step)
      fail(stmt.range, "a `checkpoint` is written between the steps of a training, not in one",
           "put it into a block: `every epoch { checkpoint }`");
    study::CheckpointOp::create(builder, loc());
    return false;
  case StmtKind::Quick:
    if (scope->type != Scope::File)
      fail(stmt.range, "`quick` belongs at the top level of the file");
    return false;
  case StmtKind::Plot:
    runPlot(*as<ast::Plot>(stmt));
    return false;
  }
  return false;
}

//===-- Names ---------------------------------------------------------------------------------------------------===//

Scope *Elaborator::findScope(const std::string &name, Scope *from) {
  for (Scope *s = from; s; s = s->parent)
    if (s->names.count(name))
      return s;
  return nullptr;
}

void Elaborator::assign(const std::string &name, Val value) {
  for (Scope *s = scope; s; s = s->parent) {
    if (s->names.count(name)) {
      s->names[name] = std::move(value);
      return;
    }
    if (s->type == Scope::Function || s->type == Scope::Turn)
      break;
  }
  define(name, std::move(value));
}

Val Elaborator::lookup(const std::string &name) {
  if (Scope *s = findScope(name, scope))
    return s->names[name];
  if (inFunction) {
    if (auto it = globals.find(name); it != globals.end())
      return it->second;
  }
  // The prelude is closed: what a file names alike does not change it.
  bool inPrelude = !calls.empty() && inFunction && calls.back().fn->range.source != file.source;
  if (!inPrelude)
    if (auto it = functions.find(name); it != functions.end())
      return it->second;
  if (auto it = prelude.find(name); it != prelude.end())
    return it->second;
  return nullptr;
}

std::vector<std::string> Elaborator::visibleNames() {
  std::vector<std::string> names;
  for (Scope *s = scope; s; s = s->parent)
    for (auto &[name, value] : s->names)
      names.push_back(name);
  if (inFunction)
    for (auto &[name, value] : globals)
      names.push_back(name);
  for (auto *map : {&functions, &prelude})
    for (auto &[name, value] : *map)
      names.push_back(name);
  for (auto &[name, b] : builtins())
    names.push_back(name);
  for (const char *name : {"pi", "inf", "nan", "training"})
    names.push_back(name);
  return names;
}

std::vector<std::string> Elaborator::rebound(const ast::Block &block) {
  std::vector<std::string> names;
  auto add = [&](const ast::Name &name) {
    if (!llvm::is_contained(names, name.text) && findScope(name.text, scope))
      names.push_back(name.text);
  };
  for (const ast::StmtPtr &stmt : block.statements)
    walk(
        *stmt,
        [&](const ast::Stmt &s) {
          if (auto *a = ast::as<ast::Assign>(s))
            for (const ast::Name &target : a->targets)
              add(target);
          if (auto *t = ast::as<ast::Train>(s))
            for (const ast::Name &net : t->nets)
              add(net);
        },
        [](const ast::Expr &) {});
  return names;
}

//===-- Assignments ---------------------------------------------------------------------------------------------===//

void Elaborator::addSetting(const ast::Name &name, Val &value) {
  auto *n = as<Number>(value);
  if (!n || !n->known || n->ssa || settingIndex.count(name.text))
    return;
  Setting setting;
  setting.name = name.text;
  setting.range = name.range;
  setting.boolean = n->boolean;
  setting.value = *n->known;
  if (auto it = quick.find(name.text); it != quick.end() && options.quick) {
    Val q = eval(*it->second->value);
    auto *qn = as<Number>(q);
    if (!qn || !qn->known || qn->ssa)
      fail(it->second->value->range, "a quick value is a plain number, found " + describe(q));
    setting.value = *qn->known;
  }
  if (auto it = options.settings.find(name.text); it != options.settings.end())
    setting.value = it->second;
  auto result = std::make_shared<Number>();
  result->known = setting.value;
  result->boolean = setting.boolean;
  result->settings = {name.text};
  result->ssa =
      study::SettingOp::create(builder, loc(), RankedTensorType::get({}, f64()), name.text, APFloat(setting.value));
  if (setting.boolean)
    result->ssa = binaryOp(Bin::Ne, result->ssa, splat({}, f64(), 0));
  settingIndex[name.text] = settings.size();
  settings.push_back(std::move(setting));
  value = result;
}

void Elaborator::runAssign(const ast::Assign &stmt) {
  std::vector<Val> values;
  for (size_t i = 0; i < stmt.values.size(); ++i) {
    const ast::ExprPtr &e = stmt.values[i];
    const std::string &target = stmt.targets[i].text;
    size_t nets = progress.nets.size();
    if (ast::as<ast::Call>(e) && stmt.values.size() == stmt.targets.size())
      boundTo = target;
    values.push_back(eval(*e));
    boundTo.clear();
    for (; nets < progress.nets.size(); ++nets)
      if (progress.nets[nets].name.empty())
        progress.nets[nets].name = target;
  }
  if (stmt.values.size() != stmt.targets.size()) {
    auto *l = as<List>(values[0]);
    if (stmt.values.size() != 1 || !l || l->items.size() != stmt.targets.size())
      fail(stmt.range,
           std::to_string(stmt.targets.size()) + " names on the left of `=`, but " +
               (stmt.values.size() == 1 ? describe(values[0]) : std::to_string(stmt.values.size()) + " values") +
               " on the right");
    values = l->items;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const ast::Name &target = stmt.targets[i];
    if (values[i]->kind == Kind::Poison)
      throw Failure{};
    if (!inFunction && functions.count(target.text) && !findScope(target.text, scope))
      fail(target.range, "`" + target.text + "` is a fn of this file", "give the value another name");
    if (scope->type == Scope::File)
      addSetting(target, values[i]);
    if (scope->type == Scope::File) {
      if (as<Number>(values[i]))
        globals[target.text] = values[i];
      else
        globals.erase(target.text);
    }
    assign(target.text, values[i]);
  }
}

void Elaborator::runFn(const ast::Fn &stmt) {
  if (scope->type == Scope::File)
    return; // hoisted
  auto fn = std::make_shared<Fn>();
  fn->decl = &stmt;
  define(stmt.name.text, fn);
}

//===-- if ------------------------------------------------------------------------------------------------------===//

bool Elaborator::runIf(const ast::If &stmt) {
  for (const ast::If::Branch &branch : stmt.branches) {
    Val condition = eval(*branch.condition);
    bool taken;
    {
      Restore<SourceRange> place(here);
      if (branch.condition->range.source == file.source)
        here = branch.condition->range;
      taken = knownBool(condition, "the condition of an `if`");
    }
    if (taken)
      return runBlock(branch.body);
  }
  return stmt.elseBody && runBlock(*stmt.elseBody);
}

//===-- for -----------------------------------------------------------------------------------------------------===//

void Elaborator::runFor(const ast::For &stmt, size_t clause, bool &didReturn) {
  const ast::ForClause &c = stmt.clauses[clause];
  Val iterable = eval(*c.iterable);
  auto *t = as<Tensor>(iterable);
  if (as<List>(iterable)) {
    didReturn = runUnrolled(stmt, clause, iterable);
  } else if (as<Range>(iterable) || (t && typeOf(t->ssa).getRank() > 0)) {
    // A function is differentiated and a step compiled as one piece: their loops are unrolled.
    if (inFunction || step)
      didReturn = runUnrolled(stmt, clause, iterable);
    else
      runLoop(stmt, clause, iterable);
  } else {
    fail(c.iterable->range, "a loop goes over a list, a range `a..b` or a tensor's rows, found " + describe(iterable),
         as<Number>(iterable) ? "write `1..n`" : "");
  }
}

bool Elaborator::runBody(const ast::For &stmt, size_t clause) {
  if (clause + 1 < stmt.clauses.size()) {
    bool didReturn = false;
    runFor(stmt, clause + 1, didReturn);
    return didReturn;
  }
  return runStatements(stmt.body.statements);
}

void Elaborator::pushLoop(const std::string &name, const Val &value, size_t index) {
  LoopVariable variable;
  variable.name = name;
  variable.value = value;
  auto *n = as<Number>(value);
  if (n && !n->known)
    variable.ssa = cast(scalar(*n), f64());
  else {
    variable.label = label(value);
    variable.fileLabel = as<List>(value) || as<Data>(value) ? std::to_string(index + 1) : variable.label;
    if (as<Data>(value))
      variable.fileLabel = variable.label;
  }
  loops.push_back(std::move(variable));
}

namespace {
// The values that a clause's names take from one element.
std::vector<Val> apart(Elaborator &e, const std::vector<ast::Name> &names, const Val &value, SourceRange range) {
  if (names.size() == 1)
    return {value};
  auto *l = as<List>(value);
  if (!l || l->items.size() != names.size())
    e.fail(range,
           "this loop takes " + std::to_string(names.size()) + " values from each element, found " + describe(value));
  return l->items;
}
} // namespace

bool Elaborator::runUnrolled(const ast::For &stmt, size_t clause, const Val &iterable) {
  const ast::ForClause &c = stmt.clauses[clause];
  std::vector<Val> items;
  if (auto *l = as<List>(iterable)) {
    items = l->items;
  } else if (auto *r = as<Range>(iterable)) {
    int64_t first = knownInt(r->first, "the start of a loop that is unrolled");
    int64_t last = knownInt(r->last, "the end of a loop that is unrolled");
    if (last - first >= 10000)
      fail(c.range,
           "this loop would be unrolled " + numberText(double(last) - double(first) + 1) +
               " times, because it stands in a fn or a step, or a shape or an `if` needs its variable",
           "at most 10000 are");
    for (int64_t i = first; i <= last; ++i)
      items.push_back(number(double(i)));
  } else {
    Value rows = as<Tensor>(iterable)->ssa;
    for (int64_t i = 0; i < shapeOf(rows)[0]; ++i) {
      if (i == 10000)
        fail(c.range, "this loop would be unrolled more than 10000 times");
      items.push_back(rowAt(*as<Tensor>(iterable), i));
    }
  }
  size_t depth = loops.size();
  for (size_t i = 0; i < items.size(); ++i) {
    countSteps();
    ScopeGuard guard(*this, Scope::Block);
    std::vector<Val> values = apart(*this, c.names, items[i], c.range);
    for (size_t k = 0; k < values.size(); ++k) {
      define(c.names[k].text, values[k]);
      pushLoop(c.names[k].text, values[k], i);
    }
    llvm::scope_exit pop([&] { loops.resize(depth); });
    if (runBody(stmt, clause))
      return true;
  }
  return false;
}

void Elaborator::runLoop(const ast::For &stmt, size_t clause, const Val &iterable) {
  const ast::ForClause &c = stmt.clauses[clause];
  // What the body rebinds is carried. What cannot be a tensor cannot be carried: then the loop is unrolled.
  std::vector<std::string> carried;
  std::map<std::string, Val> before;
  for (const std::string &name : rebound(stmt.body)) {
    Val value = lookup(name);
    if (value->kind == Kind::Poison)
      continue;
    if (!carriable(value)) {
      runUnrolled(stmt, clause, iterable);
      return;
    }
    carried.push_back(name);
    before[name] = value;
  }
  Progress progressBefore = progress;
  size_t depth = loops.size();
  unsigned id = nextLoop++;

  Value from, to;
  auto *range = as<Range>(iterable);
  auto *rows = as<Tensor>(iterable);
  if (range) {
    from = scalarF64(range->first);
    to = scalarF64(range->last);
  } else {
    from = splat({}, f64(), 0);
    to = splat({}, f64(), double(shapeOf(rows->ssa)[0] - 1));
  }
  std::vector<Value> inits;
  for (const std::string &name : carried)
    flatten(before[name], inits);
  std::vector<Type> types;
  for (Value v : inits)
    types.push_back(v.getType());
  auto op = study::ForOp::create(builder, loc(), TypeRange(types), from, to, ValueRange(inits), c.names[0].text);
  auto rebind = [&](ValueRange values, const std::set<unsigned> &ids) {
    std::vector<Value> all(values.begin(), values.end());
    ArrayRef<Value> rest = all;
    for (const std::string &name : carried)
      findScope(name, scope)->names[name] = unflatten(before[name], rest, ids);
  };
  size_t failuresBefore = failures;
  try {
    OpBuilder::InsertionGuard guard(builder);
    Block *block = &op.getBody().emplaceBlock();
    Value index = block->addArgument(RankedTensorType::get({}, f64()), loc());
    for (Type type : types)
      block->addArgument(type, loc());
    builder.setInsertionPointToEnd(block);
    rebind(block->getArguments().drop_front(), {id});
    {
      Val value;
      if (range) {
        value = runtime(index, {id});
      } else if (rows->first) { // linspace: exact in f64
        Val step =
            binary(Bin::Div, binary(Bin::Sub, rows->last, rows->first), number(double(shapeOf(rows->ssa)[0] - 1)));
        value = binary(Bin::Add, rows->first, binary(Bin::Mul, step, runtime(index, {id})));
      } else {
        Value row = GatherOp::create(builder, loc(), rows->ssa, cast(index, builder.getI32Type()));
        value = typeOf(row).getRank() == 0 && isFloat(row) ? runtime(cast(row, f64()), {id})
                : rows->weak                               ? weak(row)
                                                           : tensor(row, rows->classes);
      }
      ScopeGuard scopeGuard(*this, Scope::Block);
      if (c.names.size() != 1)
        fail(c.range, "a run-time loop has one variable", "loop over a list of lists to take elements apart");
      define(c.names[0].text, value);
      if (as<Number>(value))
        pushLoop(c.names[0].text, value, 0);
      llvm::scope_exit pop([&] { loops.resize(depth); });
      runBody(stmt, clause);
    }
    if (failures != failuresBefore)
      throw Failure{}; // reported in the body
    std::vector<Value> next;
    ArrayRef<Type> rest = types;
    for (const std::string &name : carried) {
      std::vector<Value> old;
      flatten(before[name], old);
      Val now = lookup(name);
      auto values = flattenLike(now, before[name], rest.take_front(old.size()),
                                "`" + name + "`, carried around this loop,", c.range);
      rest = rest.drop_front(old.size());
      next.insert(next.end(), values.begin(), values.end());
    }
    study::YieldOp::create(builder, loc(), ValueRange(next));
  } catch (const NeedUnroll &need) {
    for (auto &[name, value] : before)
      findScope(name, scope)->names[name] = value;
    if (need.loop != id)
      throw;
    progress = std::move(progressBefore);
    op.erase();
    runUnrolled(stmt, clause, iterable);
    return;
  }
  rebind(op.getResults(), {});
}

} // namespace hw::lang
