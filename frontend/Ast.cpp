#include "frontend/Ast.h"

#include <fmt/format.h>

namespace hw::ast {

Expr::~Expr() = default;
Stmt::~Stmt() = default;

std::string_view spelling(UnaryOp op) { return op == UnaryOp::Negate ? "-" : "not"; }

std::string_view spelling(BinaryOp op) {
  constexpr std::string_view all[] = {
      "or", "and", "<", "<=", ">", ">=", "==", "!=", "|>", "..", "+", "-", "*", "/", "@", "^"};
  return all[static_cast<size_t>(op)];
}

std::string_view spelling(Unit unit) { return unit == Unit::Epochs ? "epochs" : "steps"; }

std::string_view spelling(MarkKind kind) {
  constexpr std::string_view all[] = {"line", "points", "contour", "surface", "histogram", "bars", "log x", "log y"};
  return all[static_cast<size_t>(kind)];
}

std::string_view describe(ExprKind kind) {
  switch (kind) {
  case ExprKind::Number:
    return "a number";
  case ExprKind::String:
    return "a string";
  case ExprKind::Bool:
    return "a truth value";
  case ExprKind::None:
    return "`None`";
  case ExprKind::Ref:
    return "a name";
  case ExprKind::List:
    return "a list";
  case ExprKind::Tuple:
    return "a tuple";
  case ExprKind::Comprehension:
    return "a comprehension";
  case ExprKind::Unary:
  case ExprKind::Binary:
    return "an expression";
  case ExprKind::Call:
    return "a call";
  case ExprKind::Index:
    return "an index";
  case ExprKind::Field:
    return "a field";
  case ExprKind::On:
    return "an `on` expression";
  }
  return "an expression";
}

namespace {

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (c == '"' || c == '\\')
      (out += '\\') += c;
    else
      out += c;
  }
  return out + '"';
}

std::string joined(const std::vector<Name> &names) {
  std::string out;
  for (const Name &name : names)
    out += (out.empty() ? "" : ", ") + name.text;
  return out;
}

// One node a line, its children below it, two columns deeper. A child that has a role in its parent is labelled with
// it.
class Dumper {
public:
  std::string out;

  void line(std::string_view text) {
    out.append(depth * 2, ' ');
    out += text;
    out += '\n';
  }

  template <typename Body> void nested(std::string_view title, Body body) {
    line(title);
    ++depth;
    body();
    --depth;
  }

  void expr(const ExprPtr &e) { expr(*e); }
  void exprs(const std::vector<ExprPtr> &all) {
    for (const ExprPtr &e : all)
      expr(e);
  }
  // A labelled child; nothing where there is none.
  void role(std::string_view label, const ExprPtr &e) {
    if (e)
      nested(label, [&] { expr(e); });
  }

  void expr(const Expr &e) {
    switch (e.kind) {
    case ExprKind::Number: {
      const auto &n = static_cast<const Number &>(e);
      return line(fmt::format("number {}{}", n.value, n.isInteger ? "" : " real"));
    }
    case ExprKind::String: {
      const auto &s = static_cast<const String &>(e);
      std::string text = "string " + quoted(s.value);
      for (const String::Part &part : s.parts)
        if (part.isName)
          text += " {" + part.text + "}";
      return line(text);
    }
    case ExprKind::Bool:
      return line(static_cast<const Bool &>(e).value ? "bool True" : "bool False");
    case ExprKind::None:
      return line("none");
    case ExprKind::Ref:
      return line("name " + static_cast<const Ref &>(e).name);
    case ExprKind::List:
      return nested("list", [&] { exprs(static_cast<const List &>(e).elements); });
    case ExprKind::Tuple:
      return nested("tuple", [&] { exprs(static_cast<const Tuple &>(e).elements); });
    case ExprKind::Comprehension: {
      const auto &c = static_cast<const Comprehension &>(e);
      return nested("comprehension", [&] {
        expr(c.element);
        clause(c.clause);
      });
    }
    case ExprKind::Unary: {
      const auto &u = static_cast<const Unary &>(e);
      return nested(fmt::format("unary {}", spelling(u.op)), [&] { expr(u.operand); });
    }
    case ExprKind::Binary: {
      const auto &b = static_cast<const Binary &>(e);
      return nested(fmt::format("binary {}", spelling(b.op)), [&] {
        expr(b.lhs);
        expr(b.rhs);
      });
    }
    case ExprKind::Call: {
      const auto &c = static_cast<const Call &>(e);
      return nested("call", [&] {
        expr(c.callee);
        exprs(c.args);
        for (const KeywordArg &k : c.keywords)
          role(k.name.text + " =", k.value);
      });
    }
    case ExprKind::Index: {
      const auto &i = static_cast<const Index &>(e);
      return nested("index", [&] {
        expr(i.base);
        for (const IndexItem &entry : i.items)
          item(entry);
      });
    }
    case ExprKind::Field: {
      const auto &f = static_cast<const Field &>(e);
      return nested("field ." + f.field.text, [&] { expr(f.base); });
    }
    case ExprKind::On: {
      const auto &o = static_cast<const On &>(e);
      return nested("on", [&] {
        expr(o.value);
        dataSource(o.source);
      });
    }
    }
  }

  void item(const IndexItem &entry) {
    switch (entry.kind) {
    case IndexItem::At:
      return role("at", entry.index);
    case IndexItem::NewAxis:
      return line("new axis");
    case IndexItem::Ellipsis:
      return line("ellipsis");
    case IndexItem::Slice:
      return nested("slice", [&] {
        role("start", entry.start);
        role("stop", entry.stop);
        role("step", entry.step);
      });
    }
  }

  void clause(const ForClause &c) {
    nested("for " + joined(c.names) + " in", [&] { expr(c.iterable); });
  }

  void dataSource(const DataSource &s) {
    nested("source", [&] {
      expr(s.data);
      role(s.ordered ? "batch, ordered" : "batch", s.batch);
    });
  }

  void block(std::string_view title, const Block &b) {
    nested(title, [&] {
      for (const StmtPtr &s : b.statements)
        stmt(*s);
    });
  }

  void itemList(const std::vector<Item> &items) {
    for (const Item &i : items) {
      if (i.value)
        role("item " + i.name.text + " =", i.value);
      else
        line("item " + i.name.text);
    }
  }

  void mark(const Mark &m) {
    nested(fmt::format("mark {}{}", spelling(m.kind), m.right ? ", right" : ""), [&] {
      if (m.value)
        expr(m.value);
      if (!m.over.empty())
        nested("over", [&] { exprs(m.over); });
      if (!m.by.empty())
        line("by " + joined(m.by));
      role("label", m.label);
    });
  }

  void stmt(const Stmt &s) {
    switch (s.kind) {
    case StmtKind::Assign: {
      const auto &a = static_cast<const Assign &>(s);
      return nested("assign " + joined(a.targets), [&] { exprs(a.values); });
    }
    case StmtKind::StateAssign: {
      const auto &a = static_cast<const StateAssign &>(s);
      return nested("assign " + a.target.text + "'", [&] { expr(a.value); });
    }
    case StmtKind::Fn: {
      const auto &f = static_cast<const Fn &>(s);
      return nested("fn " + f.name.text, [&] {
        for (const Parameter &p : f.parameters) {
          if (p.defaultValue)
            role("parameter " + p.name.text + " =", p.defaultValue);
          else
            line("parameter " + p.name.text);
        }
        role("value", f.value);
        if (f.body)
          block("body", *f.body);
      });
    }
    case StmtKind::Param: {
      const auto &p = static_cast<const Param &>(s);
      return nested("param " + p.name.text, [&] {
        role("shape", p.shape);
        role("init", p.init);
      });
    }
    case StmtKind::State: {
      const auto &p = static_cast<const State &>(s);
      return nested("state " + p.name.text, [&] {
        role("shape", p.shape);
        role("init", p.init);
      });
    }
    case StmtKind::Return:
      return nested("return", [&] { exprs(static_cast<const Return &>(s).values); });
    case StmtKind::Data: {
      const auto &d = static_cast<const Data &>(s);
      return nested("data " + d.name.text, [&] {
        role("base", d.base);
        if (d.columns)
          block("columns", *d.columns);
      });
    }
    case StmtKind::For: {
      const auto &f = static_cast<const For &>(s);
      return nested("for", [&] {
        for (const ForClause &c : f.clauses)
          clause(c);
        block("body", f.body);
      });
    }
    case StmtKind::If: {
      const auto &i = static_cast<const If &>(s);
      return nested("if", [&] {
        for (const If::Branch &b : i.branches) {
          role("condition", b.condition);
          block("then", b.body);
        }
        if (i.elseBody)
          block("else", *i.elseBody);
      });
    }
    case StmtKind::Train: {
      const auto &t = static_cast<const Train &>(s);
      return nested("train " + joined(t.nets), [&] {
        dataSource(t.source);
        role(fmt::format("for {}", spelling(t.unit)), t.duration);
        block("body", t.body);
      });
    }
    case StmtKind::Minimize: {
      const auto &m = static_cast<const Minimize &>(s);
      return nested("minimize", [&] {
        expr(m.objective);
        role("over", m.over);
        role("with", m.optimizer);
      });
    }
    case StmtKind::Every: {
      const auto &e = static_cast<const Every &>(s);
      return nested(fmt::format("every {}", spelling(e.unit)), [&] {
        role("interval", e.interval);
        block("body", e.body);
      });
    }
    case StmtKind::StopWhen:
      return nested("stop when", [&] { expr(static_cast<const StopWhen &>(s).condition); });
    case StmtKind::Record: {
      const auto &r = static_cast<const Record &>(s);
      return nested("record " + r.table.text, [&] {
        if (r.source)
          dataSource(*r.source);
        itemList(r.items);
      });
    }
    case StmtKind::Save:
      return nested("save", [&] { itemList(static_cast<const Save &>(s).items); });
    case StmtKind::Checkpoint:
      return line("checkpoint");
    case StmtKind::Quick: {
      const auto &q = static_cast<const Quick &>(s);
      return nested("quick " + q.name.text, [&] { expr(q.value); });
    }
    case StmtKind::Plot: {
      const auto &p = static_cast<const Plot &>(s);
      return nested("plot", [&] {
        expr(*p.title);
        if (p.table)
          line("on " + p.table->text);
        if (!p.per.empty())
          line("per " + joined(p.per));
        for (const Mark &m : p.marks)
          mark(m);
      });
    }
    }
  }

private:
  size_t depth = 0;
};

} // namespace

std::string dump(const Module &module) {
  Dumper dumper;
  for (const StmtPtr &statement : module.statements)
    dumper.stmt(*statement);
  return std::move(dumper.out);
}

std::string dump(const Stmt &stmt) {
  Dumper dumper;
  dumper.stmt(stmt);
  return std::move(dumper.out);
}

std::string dump(const Expr &expr) {
  Dumper dumper;
  dumper.expr(expr);
  return std::move(dumper.out);
}

} // namespace hw::ast
