#!/usr/bin/env python3
"""Random programs in f64 against JAX: expressions with nested derivatives, loops that rebind several variables at once, trainings
with optimisers of their own that evaluate the objective and its derivatives at other weights, batches, `every` blocks, records.

    tests/oracle/programs.py [--build DIR] [--cpu CPU] [--seed S] [--count N] [--keep]     one program a number from S on

A program is a graph of nodes. Each node prints itself in the language, and is evaluated by JAX with some nodes' values given: so a
derivative is JAX's of the node as a function of another, which is what `docs/language.md` says of it. Some programs ask for one that
is no function of its variable, and must be refused at that place. A failure prints the number that makes the program again, what
differed, and the program.
"""
import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
try:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    # Each op is compiled for its shapes, and runs once or twice: compile quickly.
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")
    import jax
    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp
    import numpy as np
except ImportError:
    print("SKIPPED random programs: no JAX here; tools/setup --peers installs it")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)
import formats


class Node:
    """A value of the program: `text` is how the language says it, `f` computes it from the values of `inputs`."""

    def __init__(self, text, shape, inputs=(), f=None, evaluate=None):
        self.text, self.shape, self.inputs, self.f = text, shape, tuple(inputs), f
        self.evaluate = evaluate  # of derivatives of inputs[0] by inputs[1]: takes the Values
        self.behind = False  # a loop that later values come from: it cannot be differentiated
        self.has_name = not self.inputs
        self.same = self  # of a second name, the node that it names
        self.is_number = bool(self.inputs) and all(i.is_number for i in self.inputs)  # of no tensor: derivatives do not take it
        # The arguments, as text, of derivatives in it that are not defined.
        self.refused = set().union(*(i.refused for i in self.inputs))
        if evaluate and self.inputs[0].differentiates_through(self.inputs[1]):
            self.refused.add(f"({self.inputs[0].text}, {self.inputs[1].text}")

    def named(self, name):
        """The value under a name: derivatives may take it as the variable. What has a name already is the same value under two."""
        named = Node(name, self.shape, [self], lambda v: v)
        named.has_name, named.is_number = True, self.is_number
        if self.has_name:
            named.same = self.same
        return named

    def depends(self, other):
        return self.same is other.same or any(i.depends(other) for i in self.inputs)

    def differentiates_through(self, v):
        """Whether a derivative in it passes v on its way: then it is no function of v, but of how v is computed."""
        if self.evaluate:
            of, by = self.inputs[:2]
            if v.same is not by.same and v.depends(by) and of.depends(v):
                return True
        return any(i.differentiates_through(v) for i in self.inputs)


class Values:
    """The values of nodes, some given."""

    def __init__(self, given):
        self.given, self.memo = dict(given), {}

    def of(self, node):
        node = node.same
        if node in self.given:
            return self.given[node]
        if node not in self.memo:
            self.memo[node] = node.evaluate(self) if node.evaluate else node.f(*[self.of(i) for i in node.inputs])
        return self.memo[node]

    def function(self, of, wrt):
        """`of` as a function of `wrt`, all else as it is here."""
        return lambda *t: Values({**self.given, **{v.same: value for v, value in zip(wrt, t)}}).of(of)


def shape_text(shape):
    return "[" + ", ".join(map(str, shape)) + "]"


UNARY = {  # smooth, and tame far out
    "sin({})": jnp.sin, "cos({})": jnp.cos, "tanh({})": jnp.tanh, "sigmoid({})": jax.nn.sigmoid, "exp(-{}^2)": lambda x: jnp.exp(-x ** 2),
    "sqrt(1 + {}^2)": lambda x: jnp.sqrt(1 + x ** 2), "log(2 + {}^2)": lambda x: jnp.log(2 + x ** 2), "erf({})": jax.scipy.special.erf,
    "asinh({})": jnp.arcsinh, "softplus({})": jax.nn.softplus, "(1 / (1 + {}^2))": lambda x: 1 / (1 + x ** 2), "expm1(tanh({}))": lambda x: jnp.expm1(jnp.tanh(x)),
    "log1p(sigmoid({}))": lambda x: jnp.log1p(jax.nn.sigmoid(x)), "(-{})": lambda x: -x, "gelu({})": lambda x: jax.nn.gelu(x, approximate=False),
    "relu({})": jax.nn.relu, "abs({})": jnp.abs, "silu({})": jax.nn.silu, "({}^3)": lambda x: x ** 3, "leaky_relu({})": jax.nn.leaky_relu,
}
BINARY = {
    "({} + {})": lambda a, b: a + b, "({} - {})": lambda a, b: a - b, "({} * {})": lambda a, b: a * b, "({} / (1 + {}^2))": lambda a, b: a / (1 + b ** 2),
    # At a tie the derivative goes to the second.
    "max({}, {})": lambda a, b: jnp.where(a > b, a, b), "min({}, {})": lambda a, b: jnp.where(a < b, a, b), "where({0} < {1}, sin({0}), {0} * {1})": lambda a, b: jnp.where(a < b, jnp.sin(a), a * b),
    "sigmoid({})^(1 + {}^2)": lambda a, b: jax.nn.sigmoid(a) ** (1 + b ** 2),
}


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.numpy = np.random.default_rng(seed)
        self.fresh = 0

    def name(self, stem):
        self.fresh += 1
        return f"{stem}{self.fresh}"

    def chance(self, p):
        return self.random.random() < p

    def constant(self):
        c = round(self.random.uniform(0.2, 1.5), 3)
        node = Node(str(c), (), (), lambda: jnp.float64(c))
        node.is_number, node.has_name = True, False
        return node

    def expression(self, shape, depth, pool, derivatives=0):
        """Of this shape, from the nodes of `pool`."""
        pick = self.random.choice
        recurse = lambda s, d=depth - 1: self.expression(s, d, pool, derivatives)
        fitting = [n for n in pool if n.shape == shape]
        if depth <= 0 or self.chance(0.12):
            if fitting:
                return pick(fitting)
            n = pick(pool)
            return self.reshaped(n, shape)
        kinds = ["unary"] * 4 + ["binary"] * 6 + ["broadcast"] * 2 + ["scaled"]
        if derivatives:
            kinds += ["derivative"] * 3
        if shape == ():
            kinds += ["reduce"] * 4 + ["dot", "norm", "item"]
        elif len(shape) == 1:
            kinds += ["reduce1"] * 3 + ["matvec"] * 2 + ["slice", "concat", "softmax", "comprehension", "solve"]
        else:
            kinds += ["matmul"] * 2 + ["transpose", "softmax", "outer", "concat2", "sliced2", "flip"]
        kind = pick(kinds)
        n, m = self.random.randint(1, 4), self.random.randint(2, 4)
        if kind == "unary":
            text, f = pick(list(UNARY.items()))
            a = recurse(shape)
            return Node(text.format(self.tight(a)), shape, [a], f)
        if kind == "binary":
            text, f = pick(list(BINARY.items()))
            a, b = recurse(shape), recurse(shape)
            return Node(text.format(self.tight(a), self.tight(b)), shape, [a, b], f)
        if kind == "scaled":
            a, c = recurse(shape), self.constant()
            return Node(f"({c.text} * {self.tight(a)})", shape, [a, c], lambda a, c: c * a)
        if kind == "broadcast":
            if len(shape) == 2:
                small = pick([(), shape[1:], (shape[0], 1), (1, shape[1])])
            else:
                small = ()
            a, b = recurse(shape), recurse(small)
            op, f = pick([("+", lambda a, b: a + b), ("*", lambda a, b: a * b)])
            if self.chance(0.5):
                return Node(f"({self.tight(b)} {op} {self.tight(a)})", shape, [a, b], f)
            return Node(f"({self.tight(a)} {op} {self.tight(b)})", shape, [a, b], f)
        if kind == "derivative":
            return self.derivative(shape, depth, pool, derivatives)
        if kind == "reduce":
            inner = pick([(n + 1,), (n, m)])
            a = recurse(inner)
            text, f = pick([("sum({})", jnp.sum), ("mean({})", jnp.mean), ("sum({}^2)", lambda a: jnp.sum(a ** 2)), ("max({})", jnp.max),
                            ("logsumexp(flat({}))", lambda a: jax.nn.logsumexp(a.reshape(-1))), ("var({})", jnp.var)])
            return Node(f"{text.format(self.tight(a))}", shape, [a], f)
        if kind == "dot":
            a, b = recurse((m,)), recurse((m,))
            return Node(f"({self.tight(a)} @ {self.tight(b)})", shape, [a, b], lambda a, b: a @ b)
        if kind == "norm":
            a = recurse((n, m))
            return Node(f"sqrt(0.1 + sum({self.tight(a)}^2))", shape, [a], lambda a: jnp.sqrt(0.1 + jnp.sum(a ** 2)))
        if kind == "item":
            a, i = recurse((m,)), self.random.randrange(-m, m)
            return Node(f"{self.tight(a)}[{i}]", shape, [a], lambda a: a[i])
        if kind == "reduce1":
            axis = self.random.randrange(2)
            inner = (n, shape[0]) if axis == 0 else (shape[0], n)
            a = recurse(inner)
            text, f = pick([("sum", jnp.sum), ("mean", jnp.mean), ("max", jnp.max)])
            return Node(f"{text}({a.text}, axis = {pick([axis, axis - 2])})", shape, [a], lambda a: f(a, axis=axis))
        if kind == "matvec":
            a, b = recurse((shape[0], m)), recurse((m,))
            return Node(f"({self.tight(a)} @ {self.tight(b)})", shape, [a, b], lambda a, b: a @ b)
        if kind == "slice":
            extra, step = self.random.randint(0, 2), pick([1, 2])
            length, start = shape[0] * step + extra, self.random.randint(0, extra)
            a = recurse((length,))
            stop = start + (shape[0] - 1) * step + 1
            return Node(f"{self.tight(a)}[{start}:{stop}:{step}]", shape, [a], lambda a: a[start:stop:step])
        if kind == "concat":
            if shape[0] == 1:
                return recurse(shape)
            k = self.random.randint(1, shape[0] - 1)
            a, b = recurse((k,)), recurse((shape[0] - k,))
            return Node(f"concat([{a.text}, {b.text}])", shape, [a, b], lambda a, b: jnp.concatenate([a, b]))
        if kind == "comprehension":
            a, count = recurse(()), shape[0]
            # (A sum of two lists would join them.)
            return Node(f"f64([tanh(k * {self.tight(a)}) for k in 1..{count}])", shape, [a], lambda a: jnp.tanh(jnp.arange(1, count + 1) * a))
        if kind == "solve":
            k = shape[0]
            a, b = recurse((k, k)), recurse((k,))
            return Node(f"solve(4 * eye({k}) + tanh({a.text}), {b.text})", shape, [a, b], lambda a, b: jnp.linalg.solve(4 * jnp.eye(k) + jnp.tanh(a), b))
        if kind == "softmax":
            a = recurse(shape)
            text, f = pick([("softmax", jax.nn.softmax), ("log_softmax", jax.nn.log_softmax)])
            return Node(f"{text}({a.text})", shape, [a], lambda a: f(a, axis=-1))
        if kind == "matmul":
            k = self.random.randint(1, 4)
            a, b = recurse((shape[0], k)), recurse((k, shape[1]))
            return Node(f"({self.tight(a)} @ {self.tight(b)})", shape, [a, b], lambda a, b: a @ b)
        if kind == "transpose":
            a = recurse(shape[::-1])
            return Node(f"{self.tight(a)}.T", shape, [a], lambda a: a.T)
        if kind == "outer":
            a, b = recurse((shape[0],)), recurse((shape[1],))
            return Node(f"({self.tight(a)}[:, None] * {self.tight(b)}[None])", shape, [a, b], lambda a, b: a[:, None] * b[None])
        if kind == "concat2":
            axis = self.random.randrange(2)
            if shape[axis] == 1:
                return recurse(shape)
            k = self.random.randint(1, shape[axis] - 1)
            first, second = list(shape), list(shape)
            first[axis], second[axis] = k, shape[axis] - k
            a, b = recurse(tuple(first)), recurse(tuple(second))
            return Node(f"concat([{a.text}, {b.text}], axis = {axis})", shape, [a, b], lambda a, b: jnp.concatenate([a, b], axis))
        if kind == "sliced2":
            r, c = self.random.randint(0, 2), self.random.randint(0, 2)
            a = recurse((shape[0] + r, shape[1] + c))
            return Node(f"{self.tight(a)}[{r}:, :{shape[1]}]", shape, [a], lambda a: a[r:, :shape[1]])
        assert kind == "flip"
        a = recurse(shape)
        return Node(f"{self.tight(a)}[::-1]", shape, [a], lambda a: a[::-1])

    @staticmethod
    def tight(a):
        """Safe before an operator, an index or a field."""
        return a.text if a.text[0] == "(" and a.text[-1] == ")" and a.text.count("(") == 1 or a.text.replace("_", "").replace(".", "").isalnum() else f"({a.text})"

    def value(self, shape, depth, pool, derivatives=0):
        """An expression that is no other value under a second name, as a slice of all of it would be."""
        e = self.expression(shape, depth, pool, derivatives)
        return Node(f"sin(1.3 * {self.tight(e)})", shape, [e], lambda v: jnp.sin(1.3 * v))

    def reshaped(self, n, shape):
        """Any node as a value of this shape, smoothly."""
        if n.shape == shape:
            return n
        count = int(np.prod(shape, dtype=int))
        if shape == ():
            return Node(f"mean({n.text})", (), [n], jnp.mean)
        weights = np.round(self.numpy.uniform(-1, 1, shape), 2)
        if n.shape != ():
            n = Node(f"mean({n.text})", (), [n], jnp.mean)
        text = f"reshape([{', '.join(str(w) for w in weights.ravel())}], {shape_text(shape)})" if len(shape) > 1 else shape_list(weights)
        assert count
        node = Node(f"(f64({text}) * {self.tight(n)})", shape, [n], lambda v: jnp.asarray(weights) * v)
        node.is_number = False
        return node

    # ---- derivatives
    @staticmethod
    def variables(pool):
        return [n for n in pool if not n.is_number and not n.behind and n.text.replace(".", "").replace("_", "").isalnum() and not n.text[0].isdigit()]

    def derivative(self, shape, depth, pool, left):
        """A derivative of this shape: what it differentiates is made on the spot, from a node that has a name."""
        pick = self.random.choice
        variables = self.variables(pool)
        same = [n for n in variables if n.shape == shape]
        if not variables:
            return self.expression(shape, depth - 1, pool)
        kinds = (["grad", "vjp", "hvp"] if same else []) + ["jvp"] + (["jacobian"] if len(shape) == 1 else []) + (["quadratic", "trace", "eigval"] if shape == () else [])
        kind = pick(kinds)
        v = pick(same) if kind in ("grad", "vjp", "hvp") else pick(variables)
        inner = lambda s, d=min(depth - 1, 3): self.flowing(s, d, pool, v, left - 1)
        size = int(np.prod(v.shape, dtype=int))
        if kind == "grad":
            e = inner(())
            return Node(f"grad({e.text}, {v.text})", shape, [e, v], evaluate=lambda at: jax.grad(at.function(e, [v]))(at.of(v)))
        if kind == "vjp":
            s = pick([(), (2,), (2, 3)])
            e, c = inner(s), self.expression(s, 1, pool)
            return Node(f"vjp({e.text}, {v.text}, {c.text})", shape, [e, v, c],
                        evaluate=lambda at: jax.vjp(at.function(e, [v]), at.of(v))[1](at.of(c))[0])
        if kind == "jvp":
            e, t = inner(shape), self.expression(v.shape, 1, pool)
            return Node(f"jvp({e.text}, {v.text}, {t.text})", shape, [e, v, t],
                        evaluate=lambda at: jax.jvp(at.function(e, [v]), (at.of(v),), (at.of(t),))[1])
        if kind == "hvp":
            e, t = inner(()), self.expression(shape, 1, pool)
            return Node(f"(hessian({e.text}, {v.text}) @ {self.tight(t)})", shape, [e, v, t],
                        evaluate=lambda at: jax.jvp(jax.grad(at.function(e, [v])), (at.of(v),), (at.of(t),))[1])
        if kind == "jacobian":
            e = inner(shape)
            matrix = lambda at: jax.jacobian(at.function(e, [v]))(at.of(v)).reshape(shape[0], size)
            return Node(f"sum(tanh(jacobian({e.text}, {v.text})), axis = 1)", shape, [e, v], evaluate=lambda at: jnp.tanh(matrix(at)).sum(1))
        e = inner(())
        hessian = lambda at: jax.hessian(at.function(e, [v]))(at.of(v)).reshape(size, size)
        if kind == "quadratic":
            return Node(f"sum(tanh(dense(hessian({e.text}, {v.text})))^2)", shape, [e, v], evaluate=lambda at: (jnp.tanh(hessian(at)) ** 2).sum())
        if kind == "trace":
            return Node(f"sum(sin(dense(hessian({e.text}, {v.text}))) * eye({size}))", shape, [e, v], evaluate=lambda at: jnp.trace(jnp.sin(hessian(at))))
        # Set apart so that they are simple, by numbers that no structure of the Hessian makes equal.
        apart = np.cumsum(np.arange(1, size + 1)) * 1.37
        diagonal = shape_list(apart)
        return Node(f"tanh(0.2 * eigvals(tanh(dense(hessian({e.text}, {v.text}))) + f64({diagonal}) * eye({size}))[0])", shape, [e, v],
                    evaluate=lambda at: jnp.tanh(0.2 * jnp.linalg.eigvalsh(jnp.tanh(hessian(at)) + jnp.diag(apart))[0]))

    def flowing(self, shape, depth, pool, v, left):
        """An expression that v flows into, and as a rule a function of v."""
        before = [n for n in self.variables(pool) if n.same is not v.same and v.depends(n)]
        if before and self.chance(0.15):
            u = self.random.choice(before)
            e, t = self.flowing(shape, depth - 1, pool, v, 0), self.expression(u.shape, 1, pool)
            return Node(f"jvp({e.text}, {u.text}, {t.text})", shape, [e, u, t],
                        evaluate=lambda at: jax.jvp(at.function(e, [u]), (at.of(u),), (at.of(t),))[1])
        for _ in range(4):
            e = self.expression(shape, max(depth, 1), pool, left)
            if e.depends(v) and (not e.differentiates_through(v) or self.chance(0.5)):
                return e
        e, extra = self.expression(shape, 1, [v]), self.reshaped(v, shape)
        return Node(f"({self.tight(e)} * sin({extra.text}) + {self.tight(extra)}^2)", shape, [e, extra], lambda a, b: a * jnp.sin(b) + b ** 2)


def shape_list(numbers):
    return "[" + ", ".join(repr(float(n)) for n in numbers) + "]"


class Program:
    """A file in the language, and what its tables must hold."""

    def __init__(self, seed, folder):
        self.g, self.lines, self.expected, self.folder = Generator(seed), [], {}, folder
        g = self.g
        self.rows = g.random.choice([1, 2, 5, 6, 7])
        self.x, self.y = g.numpy.normal(size=(self.rows, 2)), g.numpy.normal(size=(self.rows, 1))
        self.given = {}
        self.worst = 0.0
        self.refused = set()  # what must be: arguments of derivatives
        self.say('data d { x = npy("x.npy"); y = npy("y.npy") }')
        self.dx, self.dy = Node("d.x", (self.rows, 2)), Node("d.y", (self.rows, 1))
        self.given.update({self.dx: jnp.asarray(self.x), self.dy: jnp.asarray(self.y)})
        self.pool = [self.dx, self.dy]
        for _ in range(g.random.randint(1, 3)):
            self.variable()
        for part in g.random.sample(["loop", "train", "records", "train"], g.random.randint(1, 3)):
            getattr(self, part)()

    def say(self, line, indent=0):
        self.lines.append("  " * indent + line)

    def write(self, folder):
        np.save(f"{folder}/x.npy", self.x), np.save(f"{folder}/y.npy", self.y)
        with open(f"{folder}/program.hw", "w") as file:
            file.write("\n".join(self.lines) + "\n")

    def row(self, table, values):
        """Appends the columns that a record writes: a scalar's name, or name[i]."""
        for name, value in values:
            value = np.asarray(value)
            for i, number in enumerate(value.ravel()):
                self.expected.setdefault(table, {}).setdefault(f"{name}[{i}]" if value.ndim else name, []).append(float(number))

    def uses(self, e):
        """The program has this expression."""
        self.refused |= e.refused
        return e

    def shape(self):
        return self.g.random.choice([(), (), (2,), (3,), (2, 2), (3, 2)])

    def variable(self):
        e = self.uses(self.g.value(self.shape(), 3, self.pool, 1 if self.g.chance(0.3) else 0))
        name = self.g.name("a")
        self.say(f"{name} = {e.text}")
        self.pool.append(e.named(name))

    def record(self, table, pool, indent, count, derivatives):
        """The nodes of a record's items, by name."""
        items = []
        for _ in range(count):
            e = self.uses(self.g.expression(self.g.random.choice([(), (), (2,)]), 3, pool, derivatives))
            items.append((self.g.name("r"), e))
        self.say(f"record {table}: " + ", ".join(f"{n} = {e.text}" for n, e in items), indent)
        return items

    def records(self):
        table = self.g.name("t")
        items = self.record(table, self.pool, 0, 3, self.g.random.choice([1, 2, 2, 3]))
        at = Values(self.given)
        self.row(table, [(n, at.of(e)) for n, e in items])

    def loop(self):
        """Several variables, rebound at once or one after the other."""
        g, at = self.g, Values(self.given)
        shapes = [self.shape() for _ in range(g.random.randint(2, 3))]
        names = [g.name("c") for _ in shapes]
        starts = [self.uses(g.value(s, 2, self.pool)) for s in shapes]
        for n, e in zip(names, starts):
            self.say(f"{n} = {e.text}")
        index, turns, table = g.name("i"), g.random.randint(1, 3), g.name("t")
        # First which variables each statement rebinds: what none does is no variable of the loop, but the value before it.
        plan = []
        for _ in range(g.random.randint(1, 3)):
            kind = g.random.choice(["tuple", "tuple", "single", "record", "swap"])
            same = [(p, q) for p in range(len(names)) for q in range(p) if shapes[p] == shapes[q]]
            if kind == "record":
                plan.append((kind, []))
            elif kind == "swap" and same:
                plan.append((kind, list(g.random.choice(same))))
            else:
                plan.append(("assign", g.random.sample(range(len(names)), len(names) if kind == "tuple" else 1)))
        rebound = {k for _, which in plan for k in which}
        leaves = [Node(n, s) if k in rebound else e.named(n) for k, (n, s, e) in enumerate(zip(names, shapes, starts))]
        i = Node(index, ())
        i.is_number = True
        for leaf, e in zip(leaves, starts):
            leaf.is_number = e.is_number
        self.say(f"for {index} in 1..{turns} {{")
        outside = [n for n in self.pool]
        bound, steps = list(leaves), []
        for kind, which in plan:
            pool = outside + bound + [i]
            if kind == "record":
                steps.append(("record", self.record(table, pool, 1, 2, 1 if g.chance(0.4) else 0)))
                continue
            if kind == "swap":
                made = [bound[k] for k in reversed(which)]
            else:
                made = [self.uses(g.expression(shapes[k], 2, pool, 1 if g.chance(0.25) else 0)) for k in which]
                made = [Node(f"tanh({e.text})", e.shape, [e], jnp.tanh) for e in made]
            self.say(", ".join(names[k] for k in which) + " = " + ", ".join(e.text for e in made), 1)
            for k, e in zip(which, made):
                bound[k] = e.named(names[k])
        last = self.record(table, outside + bound + [i], 1, 1, 0)
        self.say("}")
        now = [at.of(e) for e in starts]
        for turn in range(1, turns + 1):
            inside = Values({**self.given, **{leaves[k]: now[k] for k in rebound}, i: jnp.float64(turn)})
            for kind, items in steps:
                self.row_of(table, inside, items, index, turn)
            self.row_of(table, inside, last, index, turn)
            now = [inside.of(b) for b in bound]
        for n in self.pool:
            n.behind = True
        # What the loop leaves.
        for k, (n, leaf, value) in enumerate(zip(names, leaves, now)):
            if k not in rebound:  # the loop may have read it
                leaf.behind = True
                self.pool.append(leaf)
                continue
            after = Node(n, leaf.shape)
            after.is_number = leaf.is_number
            self.given[after] = value
            self.pool.append(after)
        self.records()

    def row_of(self, table, at, items, index, turn):
        values = {n: at.of(e) for n, e in items}
        self.row_partial(table, values, index, turn)

    def row_partial(self, table, values, index, turn):
        """A table that several statements fill: what a row lacks is nan."""
        rows = self.expected.setdefault(table, {"rows": []})["rows"]
        flat = {index: float(turn)}
        for name, value in values.items():
            value = np.asarray(value)
            for i, number in enumerate(value.ravel()):
                flat[f"{name}[{i}]" if value.ndim else name] = float(number)
        rows.append(flat)

    # ---- trainings
    def train(self):
        g = self.g
        shapes = [(2, 3), (3,), (3, 1)][: g.random.choice([2, 3, 3])]
        names = ["w", "b", "v"][: len(shapes)]
        model, net = g.name("model"), g.name("net")
        x = Node("x", (0, 2))
        hidden = g.random.choice(["tanh", "sin", "softplus"])
        f = {"tanh": jnp.tanh, "sin": jnp.sin, "softplus": jax.nn.softplus}[hidden]
        self.say(f"fn {model}(x) {{")
        for n, s in zip(names, shapes):
            self.say(f"param {n}: {shape_text(s)} = normal(0, 0.7)", 1)
        out = f"{hidden}(x @ w + b)"
        self.say(f"return {out} @ v" if len(shapes) == 3 else f"return sum({out}, axis = 1, keepdims = True)", 1)
        self.say("}")
        predict = lambda x, w, b, v=None: f(x @ w + b) @ v if v is not None else f(x @ w + b).sum(1, keepdims=True)
        start = g.name("start")
        self.say(f"{net} = init({model}, d.x, seed = {g.random.randint(0, 99)})")
        self.say(f"save {start} = {net}")
        optimiser, rule = self.optimiser(shapes)
        batch = g.random.choice([None, None, 1, 2, 3, 4])
        size = min(batch, self.rows) if batch else self.rows
        epochs, table = g.random.randint(1, 3), g.name("s")
        kept = [g.name("k"), g.name("k")]
        self.say(f"{kept[0]}, {kept[1]} = 0.3, 0.7")
        self.say(f"train {net} on d" + (f" batch {batch} ordered" if batch else "") + f" for {epochs} epochs {{")
        # The objective is one text and one function of (weights, batch): batches may differ in size.
        kind = g.random.choice(["plain", "slope", "curl", "jacobian", "weights", "hessian"])
        lines, objective = self.objective(kind, net, predict, names, shapes)
        for line in lines:
            self.say(line, 1)
        self.say(f"minimize E with {optimiser}", 1)
        slope = g.chance(0.5)
        self.say(f"record {table}: e = E" + (f", n = norm(grad(E, {net})), first = {net}.w[0]" if slope else f", first = {net}.w[0]"), 1)
        period, unit = g.random.choice([(1, "epochs"), (2, "steps"), (1, "steps"), (2, "epochs")])
        after = g.name("e")
        self.say(f"every {period} {unit} {{", 1)
        self.say(f"{kept[0]}, {kept[1]} = sin({kept[1]} + mean({net}.w)), {kept[0]} * {kept[1]} + mean({net}(d.x)^2)", 2)
        self.say(f"record {after}: p = {kept[0]}, q = {kept[1]}, loss = mean(({net}(x) - y)^2) on d batch {g.random.randint(1, self.rows)}", 2)
        self.say("}", 1)
        self.say("}")
        end = g.name("end")
        self.say(f"save {end} = {net}")
        steps = [(i, min(i + size, self.rows)) for i in range(0, self.rows, size)]

        def check(out):
            """Runs when the start is known; gives what differs."""
            saved = formats.value(f"{out}/{start}")
            w, state = tuple(jnp.asarray(saved[n]) for n in names), None
            p, q = 0.3, 0.7
            rows, evers, done = [], [], 0

            def every(kind_of, count):
                nonlocal p, q
                if unit == kind_of and count % period == 0:
                    p, q = jnp.sin(q + jnp.mean(w[0])), p * q + jnp.mean(predict(self.x, *w) ** 2)
                    evers.append({"p": float(p), "q": float(q), "loss": float(jnp.mean((predict(self.x, *w) - self.y) ** 2))})
            for epoch in range(epochs):
                for low, high in steps:
                    xs, ys = jnp.asarray(self.x[low:high]), jnp.asarray(self.y[low:high])
                    E = lambda w: objective(w, xs, ys)
                    row = {"e": float(E(w)), **{f"first[{i}]": float(v) for i, v in enumerate(w[0][0])}}
                    if slope:
                        row["n"] = float(jnp.sqrt(sum((g ** 2).sum() for g in jax.grad(E)(w))))
                    rows.append(row)
                    w, state = rule(E, w, state)
                    done += 1
                    every("steps", done)
                every("epochs", epoch + 1)
            return {table: rows, after: evers}, {end: dict(zip(names, w))}
        self.checks = getattr(self, "checks", []) + [check]

    def objective(self, kind, net, predict, names, shapes):
        """Lines that define E in the turn, and E as a function of weights, x, y."""
        fit = lambda w, x, y: ((predict(x, *w) - y) ** 2).mean()
        line = [f"u = {net}(x)"]
        if kind == "plain":
            return line + ["E = mean((u - y)^2)"], fit
        if kind == "weights":
            norm = lambda w, x, y: sum((g ** 2).sum() for g in jax.grad(fit)(w, x, y))
            return line + [f"E = sum(grad(mean((u - y)^2), {net})^2)"], norm
        slope = lambda w, x: jax.grad(lambda t: predict(t, *w).sum())(x)
        if kind == "slope":
            return line + ["s = grad(sum(u), x)", "E = mean((u - y)^2) + 0.3 * mean(s^2)"], lambda w, x, y: fit(w, x, y) + 0.3 * (slope(w, x) ** 2).mean()
        if kind == "curl":
            second = lambda w, x: jax.grad(lambda t: (slope(w, t) ** 2).sum())(x)
            return line + ["s = grad(sum(u), x)", "E = mean((u - y)^2) + 0.1 * mean(grad(sum(s^2), x)^2)"], \
                lambda w, x, y: fit(w, x, y) + 0.1 * (second(w, x) ** 2).mean()
        if kind == "jacobian":
            return line + ["E = mean((u - y)^2) + 0.1 * sum(jacobian(u, x)^2)"], \
                lambda w, x, y: fit(w, x, y) + 0.1 * (jax.jacobian(lambda t: predict(t, *w))(x) ** 2).sum()
        size = shapes[0][0] * shapes[0][1]
        inner = lambda w, x, y: jax.hessian(lambda a: fit((a, *w[1:]), x, y))(w[0]).reshape(size, size)
        return line + ["e = mean((u - y)^2)", f"E = e + 0.05 * sum(tanh(dense(hessian(e, {net}.w))))"], \
            lambda w, x, y: fit(w, x, y) + 0.05 * jnp.tanh(inner(w, x, y)).sum()

    def optimiser(self, shapes):
        """A random one of up to two states, which it reads before and after it has said what comes next."""
        g = self.g
        name = g.name("opt")
        # Values over weights: text and function of the dictionary so far.
        maps = lambda f: lambda *ws: tuple(f(*parts) for parts in zip(*ws))
        states = [g.name("s") for _ in range(g.random.randint(0, 2))]
        known, program = ["w"] + states, []
        self.say(f"fn {name}(f, w, lr = 0.05) {{")
        for s in states:
            c = round(g.random.uniform(-0.5, 0.5), 2)
            self.say(f"state {s} = {c} * w", 1)
            program.append(("start", s, c))

        def combination():
            a, b = g.random.choice(known), g.random.choice(known)
            c, d = (round(g.random.uniform(-0.6, 0.6), 2) for _ in range(2))
            return g.random.choice([
                (f"{c} * {a} + {d} * {b}", [a, b], maps(lambda x, y: c * x + d * y)), (f"tanh({a} * {b})", [a, b], maps(lambda x, y: jnp.tanh(x * y))),
                (f"{a} / (1 + {b} * {b})", [a, b], maps(lambda x, y: x / (1 + y * y))), (f"{c} * sin({a}) + {b}", [a, b], maps(lambda x, y: c * jnp.sin(x) + y))])
        near = ["w"]
        for _ in range(g.random.randint(1, 4)):
            kind = g.random.choice(["gradient"] * 3 + ["near", "state", "combination", "product", "through"])
            made = g.name("g")
            if kind == "gradient":
                at = g.random.choice(near)
                self.say(f"{made} = clip_norm(grad(f({at}), {at}), 1)", 1)
                program.append(("gradient", made, at))
            elif kind == "product":
                at, v = g.random.choice(near), g.random.choice(known)
                self.say(f"{made} = clip_norm(hessian(f({at}), {at}) @ {v}, 1)", 1)
                program.append(("product", made, at, v))
            elif kind == "through":
                at = g.random.choice(near)
                self.say(f"{made} = clip_norm(grad(f({at} - 0.1 * grad(f({at}), {at})), {at}), 1)", 1)
                program.append(("through", made, at))
            elif kind == "near":
                v, c = g.random.choice(known), round(g.random.uniform(-0.3, 0.3), 2)
                self.say(f"{made} = w + {c} * tanh({v})", 1)
                program.append(("combine", made, ["w", v], maps(lambda w, v, c=c: w + c * jnp.tanh(v))))
                near.append(made)
            elif kind == "state" and states:
                s = g.random.choice(states)
                if ("next", s) in [p[:2] for p in program]:
                    continue
                text, inputs, f = combination()
                self.say(f"{s}' = 0.5 * ({text})", 1)
                program.append(("next", s, inputs, maps(lambda *v: v[0] * 0.5), f))
                continue
            else:
                text, inputs, f = combination()
                self.say(f"{made} = {text}", 1)
                program.append(("combine", made, inputs, f))
            known.append(made)
        text, inputs, f = combination()
        again = g.random.choice(near)
        self.say(f"return w - lr * (clip_norm(grad(f({again}), {again}), 1) + 0.1 * tanh({text}))", 1)
        self.say("}")
        clip = lambda ws: tuple(v * jnp.minimum(1, 1 / (jnp.sqrt(sum((u ** 2).sum() for u in ws)) + 1e-12)) for v in ws)

        def rule(E, w, state):
            state = state or {p[1]: tuple(p[2] * v for v in w) for p in program if p[0] == "start"}
            at, following = {"w": w, **state}, dict(state)
            for what, name, *rest in program:
                if what == "gradient":
                    at[name] = clip(jax.grad(E)(at[rest[0]]))
                elif what == "product":
                    at[name] = clip(jax.jvp(jax.grad(E), (at[rest[0]],), (at[rest[1]],))[1])
                elif what == "through":
                    ahead = lambda u: E(tuple(a - 0.1 * b for a, b in zip(u, jax.grad(E)(u))))
                    at[name] = clip(jax.grad(ahead)(at[rest[0]]))
                elif what == "combine":
                    at[name] = rest[1](*[at[i] for i in rest[0]])
                elif what == "next":
                    inputs, half, g = rest
                    following[name] = half(g(*[at[i] for i in inputs]))
            push = clip(jax.grad(E)(at[again]))
            tail = f(*[at[i] for i in inputs_last])
            return tuple(v - 0.05 * (p + 0.1 * jnp.tanh(t)) for v, p, t in zip(w, push, tail)), following
        inputs_last = inputs
        return f"{name}()", rule

    # ---- what came out
    def compare(self, out):
        """Sentences about what differs."""
        found, worst = [], 0.0

        def near(where, mine, right):
            nonlocal worst
            mine, right = np.asarray(mine, float), np.asarray(right, float)
            if mine.shape != right.shape:
                return found.append(f"{where}: {mine.shape} values, right are {right.shape}")
            scale = max(1.0, float(np.abs(right).max(initial=0)))
            bad = float(np.abs(mine - right).max(initial=0)) / scale
            worst = max(worst, bad)
            if not bad < 1e-8:
                found.append(f"{where}: {mine.tolist()}, right is {right.tolist()}")
        for name, columns in self.expected.items():
            table = formats.table(f"{out}/{name}.csv")
            if "rows" in columns:
                self.near_rows(name, table, columns["rows"], near)
                continue
            for column, right in columns.items():
                near(f"{name}.{column}", table[column], right)
        for check in getattr(self, "checks", []):
            tables, nets = check(out)
            for name, rows in tables.items():
                if rows:
                    self.near_rows(name, formats.table(f"{out}/{name}.csv"), rows, near)
            for name, weights in nets.items():
                saved = formats.value(f"{out}/{name}")
                for part, right in weights.items():
                    near(f"{name}.{part}", saved[part], right)
        self.worst = worst
        return found

    def compare_errors(self, said):
        """Sentences about errors that are missing, or should not be."""
        errors = re.findall(r"^program\.hw:(\d+):(\d+): error: (.*)", said, re.MULTILINE)
        if not errors:
            return [f"no error, where {' and '.join(self.refused)} must be refused: {said}"]
        found = []
        for line, column, error in errors:
            arguments = re.sub(r"^\(*[a-z]+", "", self.lines[int(line) - 1][int(column) - 1:])
            if "as its variable: the derivative at program.hw:" not in error or not arguments.startswith(tuple(self.refused)):
                found.append(f"{line}:{column}: {error}")
        return found

    @staticmethod
    def near_rows(name, table, rows, near):
        for column in sorted({c for row in rows for c in row}):
            right = [row.get(column) for row in rows]
            mine = table[column]
            keep = [i for i, v in enumerate(right) if v is not None]
            if len(mine) != len(right):
                near(f"{name} has {len(mine)} rows", [len(mine)], [len(right)])
                return
            near(f"{name}.{column}", [float(mine[i]) for i in keep], [right[i] for i in keep])

    def finite(self):
        return all(np.isfinite(v).all() and np.abs(v).max(initial=0) < 1e6
                   for columns in self.expected.values() if "rows" not in columns for v in map(np.asarray, columns.values()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(HERE, "..", "..", "build"))
    parser.add_argument("--cpu", help="compile for this CPU (default: this machine's)")
    parser.add_argument("--seed", type=int, default=int(time.time() * 1000) % 10 ** 9, help="of the first program (default: fresh)")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="print each program, and leave what it wrote")
    options = parser.parse_args()
    # Most of the time is XLA's, which compiles each op anew for each shape.
    jax.config.update("jax_compilation_cache_dir", os.path.join(os.path.abspath(options.build), "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    print(f"random programs: {options.count} from --seed {options.seed} on")
    passed = failed = refused = left_out = 0
    start = time.time()
    for seed in range(options.seed, options.seed + options.count):
        done = seed - options.seed
        if done and done % 200 == 0:
            jax.clear_caches()  # of memory; those on disk stay
        if done and done % 50 == 0:
            print(f"{done} of {options.count} programs, {failed} wrong, {time.time() - start:.0f} s", flush=True)
        with tempfile.TemporaryDirectory(prefix="hwc-programs-", delete=not options.keep) if sys.version_info >= (3, 12) else tempfile.TemporaryDirectory(
                prefix="hwc-programs-") as folder:
            try:
                program = Program(seed, folder)
            except FloatingPointError:
                left_out += 1
                continue
            if not program.finite():
                left_out += 1
                continue
            program.write(folder)
            text = "\n".join(program.lines)
            if options.keep:
                print(text)
            command = [os.path.join(options.build, "bin", "hwc"), "run", "program.hw", "--f64", "--quiet", "--out", "out"]
            command += ["--cpu", options.cpu] if options.cpu else []
            try:
                run = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=120)
                code, said = run.returncode, run.stderr.strip()
            except subprocess.TimeoutExpired:
                code, said = "a time-out after 120 s", ""
            if program.refused:
                refused += 1
                differences = program.compare_errors(said) if code == 1 else [f"hwc run ended with {code}, where {' and '.join(program.refused)} must be refused"]
            elif code:
                differences = [f"hwc run ended with {code}: {said[-1500:]}"]
            else:
                differences = program.compare(f"{folder}/out")
            if differences:
                failed += 1
                print(f"FAIL program {seed} (again: tests/oracle/programs.py --seed {seed})")
                for sentence in differences[:5]:
                    print("  " + sentence[:600])
                print("\n".join("  | " + line for line in program.lines), flush=True)
            else:
                passed += 1
                if options.keep:
                    print(f"largest difference {program.worst:.1e}")
    print(f"{passed + failed} programs in {time.time() - start:.0f} s, {refused} of them to be refused; {left_out} were left out, whose numbers left all bounds")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
