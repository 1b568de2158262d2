// Values: construction, and how messages and tables print them.
#include "frontend/elaborate/Elaborator.h"

#include "llvm/Support/MathExtras.h"

#include <charconv>
#include <cmath>

namespace hw::lang {

Val number(double value) {
  auto n = std::make_shared<Number>();
  n->known = value;
  return n;
}

Val boolean(bool value) {
  auto n = std::make_shared<Number>();
  n->known = value;
  n->boolean = true;
  return n;
}

Val runtime(mlir::Value ssa, std::set<unsigned> loops) {
  auto n = std::make_shared<Number>();
  n->boolean = elementOf(ssa).isInteger(1);
  n->loops = std::move(loops);
  n->ssa = ssa;
  return n;
}

Val tensor(mlir::Value ssa, int64_t classes) {
  auto t = std::make_shared<Tensor>();
  t->ssa = ssa;
  t->classes = classes;
  return t;
}

Val weak(mlir::Value ssa) {
  auto t = std::make_shared<Tensor>();
  t->ssa = ssa;
  t->weak = elementOf(ssa).isF64();
  return t;
}

bool isWeak(const Val &value) {
  auto *t = as<Tensor>(value);
  return t && t->weak;
}

Val string(std::string text) {
  auto s = std::make_shared<String>();
  s->text = std::move(text);
  return s;
}

Val list(std::vector<Val> items, bool tuple) {
  auto l = std::make_shared<List>();
  l->items = std::move(items);
  for (const Val &item : l->items) {
    auto *inner = as<List>(item);
    l->depth = std::max(l->depth, inner ? inner->depth + 1 : 1);
    l->leaves = llvm::SaturatingAdd(l->leaves, inner ? std::max<size_t>(inner->leaves, 1) : 1);
  }
  l->tuple = tuple;
  return l;
}

Val none() {
  static const Val value = std::make_shared<None>();
  return value;
}

std::string Fn::name() const {
  if (decl)
    return decl->name.text;
  if (builtin)
    return builtin->name;
  return "the objective";
}

int64_t Weights::size() const {
  int64_t n = 0;
  for (const Entry &entry : entries)
    n += typeOf(entry.ssa).getNumElements();
  return n;
}

const DataColumn *Data::find(const std::string &column) const {
  for (const DataColumn &c : columns)
    if (c.name == column)
      return &c;
  return nullptr;
}

std::string numberText(double value) {
  if (std::isnan(value))
    return "nan";
  if (std::isinf(value))
    return value < 0 ? "-inf" : "inf";
  char buffer[40];
  auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  return {buffer, end};
}

std::string shapeText(llvm::ArrayRef<int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

std::vector<std::string> lacking(const Fn &fn) {
  std::vector<std::string> names;
  if (fn.decl)
    for (const ast::Parameter &p : fn.decl->parameters)
      if (!p.defaultValue)
        names.push_back(p.name.text);
  names.resize(names.size() - std::min(names.size(), fn.tail.size()));
  return names;
}

std::string describe(const Val &value) {
  switch (value->kind) {
  case Kind::Poison:
    return "something that has an error";
  case Kind::Number: {
    auto *n = as<Number>(value);
    if (n->boolean)
      return n->known ? (*n->known != 0 ? "True" : "False") : "a truth value";
    return n->known ? "the number " + numberText(*n->known) : "a number";
  }
  case Kind::String:
    return "the string \"" + as<String>(value)->text + "\"";
  case Kind::None:
    return "None";
  case Kind::List:
    return as<List>(value)->tuple ? std::to_string(as<List>(value)->items.size()) + " values"
                                  : "a list of " + std::to_string(as<List>(value)->items.size());
  case Kind::Range:
    return "a range";
  case Kind::Tensor: {
    auto *t = as<Tensor>(value);
    std::string text = elementOf(t->ssa).isInteger(1) ? "a mask " : "a tensor ";
    text += shapeText(shapeOf(t->ssa));
    if (t->classes)
      text += " of class " + std::to_string(t->classes);
    return text;
  }
  case Kind::Fn:
    return "the function " + as<Fn>(value)->name();
  case Kind::Net:
    return "a net";
  case Kind::Weights:
    return "weights (" + std::to_string(as<Weights>(value)->size()) + " numbers)";
  case Kind::Data:
    return "the data set " + as<Data>(value)->name;
  case Kind::Table:
    return "the table " + as<Table>(value)->name;
  case Kind::Column:
    return "the column " + as<Column>(value)->display;
  case Kind::Operator:
    return "an operator";
  }
  return "a value";
}

std::string label(const Val &value) {
  switch (value->kind) {
  case Kind::Number: {
    auto *n = as<Number>(value);
    if (n->boolean && n->known)
      return *n->known != 0 ? "True" : "False";
    return n->known ? numberText(*n->known) : "?";
  }
  case Kind::String:
    return as<String>(value)->text;
  case Kind::None:
    return "None";
  case Kind::List: {
    std::string text;
    for (const Val &item : as<List>(value)->items)
      text += (text.empty() ? "" : " ") + label(item);
    return text;
  }
  case Kind::Fn: {
    auto *fn = as<Fn>(value);
    std::string text = fn->name();
    for (const Val &item : fn->tail)
      text += " " + label(item);
    return text;
  }
  case Kind::Data:
    return as<Data>(value)->name;
  default:
    return describe(value);
  }
}

uint32_t siteOf(const std::string &path) {
  uint32_t hash = 2166136261u;
  for (unsigned char c : path)
    hash = (hash ^ c) * 16777619u;
  return hash & 0x7fffffffu;
}

Val Args::keyword(const std::string &name) const {
  auto it = keywords.find(name);
  return it == keywords.end() || it->second->kind == Kind::None ? nullptr : it->second;
}

//===-- Walking a tree ------------------------------------------------------------------------------------------===//

void walk(const ast::Expr &expr, const std::function<void(const ast::Expr &)> &f) {
  auto visit = [&](const ast::ExprPtr &e) {
    if (e)
      walk(*e, f);
  };
  auto all = [&](const std::vector<ast::ExprPtr> &es) {
    for (const ast::ExprPtr &e : es)
      visit(e);
  };
  f(expr);
  if (auto *e = ast::as<ast::List>(expr))
    all(e->elements);
  else if (auto *e = ast::as<ast::Tuple>(expr))
    all(e->elements);
  else if (auto *e = ast::as<ast::Comprehension>(expr)) {
    visit(e->clause.iterable);
    visit(e->element);
  } else if (auto *e = ast::as<ast::Unary>(expr))
    visit(e->operand);
  else if (auto *e = ast::as<ast::Binary>(expr)) {
    visit(e->lhs);
    visit(e->rhs);
  } else if (auto *e = ast::as<ast::Call>(expr)) {
    visit(e->callee);
    all(e->args);
    for (const ast::KeywordArg &k : e->keywords)
      visit(k.value);
  } else if (auto *e = ast::as<ast::Index>(expr)) {
    visit(e->base);
    for (const ast::IndexItem &item : e->items) {
      visit(item.index);
      visit(item.start);
      visit(item.stop);
      visit(item.step);
    }
  } else if (auto *e = ast::as<ast::Field>(expr))
    visit(e->base);
  else if (auto *e = ast::as<ast::On>(expr)) {
    visit(e->source.data);
    visit(e->source.batch);
    visit(e->value);
  }
}

void walk(const ast::Stmt &stmt, const std::function<void(const ast::Stmt &)> &onStmt,
          const std::function<void(const ast::Expr &)> &onExpr) {
  auto visit = [&](const ast::ExprPtr &e) {
    if (e)
      walk(*e, onExpr);
  };
  auto block = [&](const ast::Block &b) {
    for (const ast::StmtPtr &s : b.statements)
      walk(*s, onStmt, onExpr);
  };
  auto source = [&](const ast::DataSource &s) {
    visit(s.data);
    visit(s.batch);
  };
  onStmt(stmt);
  using ast::as;
  if (auto *s = as<ast::Assign>(stmt)) {
    for (const ast::ExprPtr &e : s->values)
      visit(e);
  } else if (auto *s = as<ast::StateAssign>(stmt))
    visit(s->value);
  else if (auto *s = as<ast::Fn>(stmt)) {
    for (const ast::Parameter &p : s->parameters)
      visit(p.defaultValue);
    visit(s->value);
    if (s->body)
      block(*s->body);
  } else if (auto *s = as<ast::Param>(stmt)) {
    visit(s->shape);
    visit(s->init);
  } else if (auto *s = as<ast::State>(stmt)) {
    visit(s->shape);
    visit(s->init);
  } else if (auto *s = as<ast::Return>(stmt)) {
    for (const ast::ExprPtr &e : s->values)
      visit(e);
  } else if (auto *s = as<ast::Data>(stmt)) {
    visit(s->base);
    if (s->columns)
      block(*s->columns);
  } else if (auto *s = as<ast::For>(stmt)) {
    for (const ast::ForClause &c : s->clauses)
      visit(c.iterable);
    block(s->body);
  } else if (auto *s = as<ast::If>(stmt)) {
    for (const ast::If::Branch &b : s->branches) {
      visit(b.condition);
      block(b.body);
    }
    if (s->elseBody)
      block(*s->elseBody);
  } else if (auto *s = as<ast::Train>(stmt)) {
    source(s->source);
    visit(s->duration);
    block(s->body);
  } else if (auto *s = as<ast::Minimize>(stmt)) {
    visit(s->objective);
    visit(s->over);
    visit(s->optimizer);
  } else if (auto *s = as<ast::Every>(stmt)) {
    visit(s->interval);
    block(s->body);
  } else if (auto *s = as<ast::StopWhen>(stmt))
    visit(s->condition);
  else if (auto *s = as<ast::Record>(stmt)) {
    if (s->source)
      source(*s->source);
    for (const ast::Item &i : s->items) {
      visit(i.value);
      if (!i.value) { // `record t: loss` reads the name
        ast::Ref ref(i.name.range, i.name.text);
        onExpr(ref);
      }
    }
  } else if (auto *s = as<ast::Save>(stmt)) {
    for (const ast::Item &i : s->items) {
      visit(i.value);
      if (!i.value) {
        ast::Ref ref(i.name.range, i.name.text);
        onExpr(ref);
      }
    }
  } else if (auto *s = as<ast::Quick>(stmt))
    visit(s->value);
}

} // namespace hw::lang
