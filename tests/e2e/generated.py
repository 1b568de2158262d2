"""Random programs, from a seed, for properties that hold of every program: see the tests of run.py that read them."""
import random


class Numbers:
    """Expressions made of numbers alone, and of A, a vector of three in f64."""

    def __init__(self, seed, strong=True):
        self.r, self.strong = random.Random(seed), strong

    def number(self):
        return "(%s)" % self.r.choice(["0.1", "77.6", "1 / 3", "-2.3", "0.7", "1e-3", "sqrt(2)", "pi / 7", "epochs / 3"])

    def unary(self, x):
        return self.r.choice(["sin(%s)", "tanh(%s)", "exp(-abs(%s))", "-%s", "sigmoid(%s)", "square(%s)", "log1p(abs(%s))", "(%s)^3", "relu(%s)",
                              "sqrt(abs(%s) + 0.1)", "softmax(%s)", "stop_gradient(%s)"]) % x

    def vector(self, depth):
        r, n = self.r, self.number
        if depth <= 0:
            return r.choice([lambda: f"(0 + [{n()}, {n()}, {n()}])", lambda: f"linspace({n()}, {n()}, 3)", lambda: f"full([3], {n()})",
                             lambda: f"({n()} * arange(3))", lambda: f"({n()} * ones([3]))", lambda: f"eye(3)[{r.randrange(3)}]", lambda: f"zeros([3])",
                             lambda: f"(0 + [{n()} * k for k in 1..3])", lambda: f"[sin(k * {n()}) for k in 1..20][{r.randrange(17)}:][0:3]",
                             *([lambda: "A"] if self.strong else [])])()
        v, m = lambda: self.vector(depth - 1 - r.randrange(2)), lambda: self.matrix(depth - 1 - r.randrange(2))
        return r.choice([
            lambda: f"({v()} {r.choice('+-*')} {v()})", lambda: f"({v()} {r.choice('+-*/')} {n()})", lambda: self.unary(f"({v()})"),
            lambda: f"({m()} @ {v()})", lambda: f"where({v()} > {n()}, {v()}, {r.choice([v, n])()})", lambda: f"concat([{v()}, {v()}])[1:4]",
            lambda: f"stack([{v()}, {v()}, {v()}])[:, {r.randrange(3)}]", lambda: f"({v()} + 0)[::-1]", lambda: f"max({v()}, {r.choice([v, n])()})",
            lambda: f"solve({m()} + 50 * eye(3), {v()})", lambda: f"flat({m()})[2:5]", lambda: f"{r.choice(['sum', 'mean', 'var', 'max'])}({m()}, axis = {r.randrange(2)})",
            lambda: f"({self.scalar(depth - 1)} * {v()})", lambda: f"({m()} + 0).T[{r.randrange(3)}]", lambda: f"reshape({m()}, [9])[::4]",
            lambda: f"transpose({m()})[:, 1]", lambda: f"({v()} + 0)[[2, 0, 1]]", lambda: f"same({v()})", lambda: f"(0 + [{self.scalar(depth - 1)}, {n()}, {self.scalar(depth - 1)}])",
        ])()

    def matrix(self, depth):
        r, n = self.r, self.number
        if depth <= 0:
            return r.choice([lambda: "eye(3)", lambda: f"full([3, 3], {n()})", lambda: f"({n()} * eye(3))", lambda: f"reshape(linspace({n()}, {n()}, 9), [3, 3])"])()
        v, m = lambda: self.vector(depth - 1), lambda: self.matrix(depth - 1)
        return r.choice([lambda: f"(({v()} + 0)[:, None] * {v()})", lambda: f"({m()} @ {m()})", lambda: f"({m()} {r.choice('+-*')} {r.choice([m, n])()})",
                         lambda: f"stack([{v()}, {v()}, {v()}])", lambda: f"transpose({m()})"])()

    def scalar(self, depth):
        v = lambda: self.vector(depth - 1)
        return self.r.choice([lambda: f"sum({v()})", lambda: f"({v()} + 0)[{self.r.randrange(3)}]", lambda: f"norm({v()})", lambda: f"dot({v()}, {v()})",
                              lambda: f"mean({v()})", lambda: f"sum({self.matrix(depth - 1)})"])()

    def statements(self, count):
        """record and save what was asked for in f64: values, and derivatives with respect to a tensor of numbers."""
        lines = []
        for i in range(count):
            kind = self.r.randrange(6)
            if kind == 0 and i % 5 == 0:
                lines.append(f"record t{i}: v = f64([{self.number()}, {self.number()}])")
                continue
            if kind < 4:
                lines.append(f"record t{i}: v = f64({self.r.choice([self.vector, self.scalar])(3)})")
                continue
            plain = Numbers(self.r.random(), strong=False)
            lines.append(f"v{i} = {plain.vector(1)} + 0 * ones([3])")
            e = f"sum({self.unary(f'v{i}')} * {plain.vector(2)}) + norm2({plain.matrix(1)} @ v{i})"
            if kind == 4:
                lines.append(f"record t{i}: v = f64(grad({e}, v{i}))")
            else:
                lines.append(f"record t{i}: v = f64(dense(hessian({e}, v{i})))[0] + f64(jvp({e}, v{i}, {plain.vector(0)}))")
        return lines


class Batches:
    """Expressions of a data set's columns x [N, 3], y [N], label of class 3, and of a net: some can be put together from batches."""

    def __init__(self, seed):
        self.r = random.Random(seed)

    def number(self):
        return self.r.choice(["0.3", "2", "-1.5", "net.weights.size"])

    def row(self, depth):
        """[N]"""
        r = self.r
        if depth <= 0:
            return r.choice(["y", "x[:, 1]", "net(x)[:, 0]", "sum(x, axis = 1)", "max(x, axis = -1)", "one_hot(label)[:, 2]", "(x @ [1, 2, 3])", "pick(x, label)",
                             "(norm(net.linear1.weight) * y)", "logsumexp(x)", "([4.0, 5, 6] + 0)[label]", "mean(reshape(x, [x.shape[0], 3, 1]), axis = [1, 2])",
                             "reshape(reshape(x, [3 * x.shape[0], 1]) @ ones([1, 1]), [x.shape[0], 3])[:, 0]"])
        v = lambda: self.row(depth - 1)
        choices = [lambda: f"({v()} {r.choice('+-*')} {v()})", lambda: f"({v()} {r.choice('+-*')} {self.number()})", lambda: f"sin({v()})", lambda: f"where({v()} > 0.1, {v()}, 2)",
                   lambda: f"relu({v()})", lambda: f"stack([{v()}, {v()}], axis = 1)[:, 1]", lambda: f"concat([{v()}[:, None], x], axis = 1)[:, 0]",
                   lambda: f"mean({v()}[:, None] * x, axis = 1)", lambda: f"(transpose(x)[0] + {v()})"]
        wrong = [lambda: f"({v()} - {self.whole(depth - 1)})", lambda: f"({v()} + 0)[::-1]", lambda: f"softmax({v()}, axis = 0)",
                 lambda: f"({v()} * arange({v()}.shape[0]))", lambda: f"(random(shape = y.shape, seed = 3) * {v()})", lambda: f"sum({v()}[:, None] * {v()}, axis = 1)"]
        return r.choice(wrong if r.random() < 0.1 else choices)()

    def whole(self, depth):
        """a number"""
        r = self.r
        v, w = lambda: self.row(max(depth - 1, 0)), lambda: self.whole(depth - 1)
        if depth <= 0:
            return f"mean({v()})"
        good = [lambda: f"mean({v()})", lambda: f"mean(square({v()}))", lambda: f"({w()} {r.choice('+-')} {w()})", lambda: f"({w()} {r.choice('+-*/')} {self.number()})", lambda: f"(1 - {w()})",
                lambda: f"mean({v()}[:, None] * x, axis = 0)[1]", lambda: f"sum(mean({v()}[:, None] * x, axis = 0))", lambda: f"dot(mean({v()}[:, None] * x, axis = 0), [1, 2, 3])",
                lambda: f"accuracy(x, label)", lambda: f"cross_entropy(x * {self.number()}, label)", lambda: f"sum(grad(mean(square(net(x)[:, 0] - {v()})), net.linear1.weight))",
                lambda: f"dot(grad(mean(sin(net(x))), net), net.weights)", lambda: f"sum(hessian(mean(net(x)^2), net) @ net.weights)",
                lambda: f"sum(jvp(mean(net(x), axis = 0), net, net.weights))", lambda: f"sum(dense(hessian(mean(net(x)^2), net.linear1.bias)))", lambda: f"mean({v()} > 0)",
                lambda: f"sum(stack([{w()}, {w()}]))", lambda: f"(mean(concat([x, x], axis = 1), axis = 0)[:, None] @ ones([1, 2]))[4, 1]", lambda: f"norm(net.weights)"]
        wrong = [lambda: f"sqrt(abs({w()}))", lambda: f"({w()} * {w()})", lambda: f"({w()} / {w()})", lambda: f"std({v()})", lambda: f"var({v()})", lambda: f"max({v()})",
                 lambda: f"({v()} + 0)[0]", lambda: f"(x.T @ x)[0, 0]", lambda: f"norm({v()})", lambda: f"max({w()}, 0)", lambda: f"mean({v()}) * x.shape[0]",
                 lambda: f"norm(grad(mean(net(x)^2), net))", lambda: f"mean({v()} - mean({v()}))", lambda: f"({v()} @ {v()})", lambda: f"argmax({v()})",
                 lambda: f"sum(mean(grad(mean(square(x)), x), axis = 0))", lambda: f"where({w()} > 0, {w()}, 1)", lambda: f"exp({w()})", lambda: f"len(y)", lambda: f"count(y)",
                 lambda: f"(one_hot(label).T @ x)[1, 1] / {self.number()}", lambda: f"mean((x @ x.T)[0])", lambda: f"std(net(x))", lambda: f"mean(y[0:2])"]
        return r.choice(wrong if r.random() < 0.35 else good)()
