#!/usr/bin/env python3
"""Convolution and pooling, and their first and second derivatives, against plain loops over windows, in one to three dimensions: sizes,
windows, strides and dilations to 4, padding to 4 before and after. Numbers are small and whole, so everything is exact, in f32 and in f64.
What no window fits, or a window of nothing but padding in pooling, is an error at its line.

    tests/oracle/windows.py [--build DIR] [--cpu CPU] [--seed N] [--count N] [--all] [--keep]

Configurations are drawn by a fresh seed, which is printed; --all takes every one of one dimension (some minutes).
"""
import argparse
import itertools
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import namedtuple

try:
    import numpy as np
except ImportError:
    print("SKIPPED every window: no NumPy here; tools/setup --peers installs it")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

Axis = namedtuple("Axis", "size window stride low high dilation")
PER_PROGRAM = 25


def count(a):
    room = a.size + a.low + a.high - (a.window - 1) * a.dilation - 1
    return room // a.stride + 1 if room >= 0 else 0


def elements(axes):
    """(index of a window, position in it, element of x) of every element that a window sees, first positions first."""
    one = [[(r, k, r * a.stride - a.low + k * a.dilation) for r in range(count(a)) for k in range(a.window)
            if 0 <= r * a.stride - a.low + k * a.dilation < a.size] for a in axes]
    for each in itertools.product(*one):
        yield tuple(e[0] for e in each), tuple(e[1] for e in each), tuple(e[2] for e in each)


ALL = (slice(None), slice(None))


class Conv:
    """y of x [N, C, ...] and w [O, C / groups, ...]; its two transposes."""
    def __init__(self, axes, groups):
        self.axes, self.groups = axes, groups

    def parts(self, x, w, y):
        g = self.groups
        for q in range(g):
            yield (slice(q * x.shape[1] // g, (q + 1) * x.shape[1] // g), slice(q * w.shape[0] // g, (q + 1) * w.shape[0] // g))

    def each(self, x, w, y, change):
        for c, o in self.parts(x, w, y):
            for r, k, i in elements(self.axes):
                change((slice(None), c) + i, (o, slice(None)) + k, (slice(None), o) + r)

    def forward(self, x, w, y):
        def change(i, k, r):
            y[r] += x[i] @ w[k].T
        self.each(x, w, y, change)
        return y

    def data(self, x, w, y):
        def change(i, k, r):
            x[i] += y[r] @ w[k]
        self.each(x, w, y, change)
        return x

    def weights(self, x, w, y):
        def change(i, k, r):
            w[k] += y[r].T @ x[i]
        self.each(x, w, y, change)
        return w


def largest(axes, x, shape):
    """The largest of each window, and where in x the first such is."""
    best, at = np.full(shape, -np.inf), np.zeros(shape, int)
    places = np.arange(x[0, 0].size).reshape(x.shape[2:])
    for r, k, i in elements(axes):
        better = x[ALL + i] > best[ALL + r]
        best[ALL + r] = np.where(better, x[ALL + i], best[ALL + r])
        at[ALL + r] = np.where(better, places[i], at[ALL + r])
    return best, at


def gathered(x, at):
    flat = x.reshape(*x.shape[:2], -1)
    return np.take_along_axis(flat, at.reshape(*at.shape[:2], -1), 2).reshape(at.shape)


def scattered(c, at, like):
    out = np.zeros_like(like).reshape(*like.shape[:2], -1)
    n, ch = np.ogrid[:like.shape[0], :like.shape[1]]
    np.add.at(out, (n[..., None], ch[..., None], at.reshape(*at.shape[:2], -1)), c.reshape(*c.shape[:2], -1))
    return out.reshape(like.shape)


def summed(axes, x, shape):
    out = np.zeros(shape)
    for r, k, i in elements(axes):
        out[ALL + r] += x[ALL + i]
    return out


def spread(axes, c, like):
    out = np.zeros_like(like)
    for r, k, i in elements(axes):
        out[ALL + i] += c[ALL + r]
    return out


class Case:
    """A configuration, in the language and in loops. `kind`: conv, max or sum."""
    def __init__(self, kind, axes, images=2, channels=2, outputs=2, groups=1):
        self.kind, self.axes, self.groups = kind, axes, groups
        self.x = (images, channels, *(a.size for a in axes))
        self.counts = tuple(count(a) for a in axes)
        self.w = (outputs, channels // groups, *(a.window for a in axes))
        self.y = (images, outputs if kind == "conv" else channels, *self.counts)

    def __str__(self):
        more = f" channels {self.x[1]} to {self.w[0]}, groups {self.groups}" if self.kind == "conv" else ""
        return f"{self.kind} images {self.x[0]}{more}: " + "; ".join(
            f"size {a.size} window {a.window} stride {a.stride} padding {a.low}, {a.high} dilation {a.dilation}" for a in self.axes)

    def fits(self):
        if self.kind == "conv":
            return min(self.counts) > 0
        return all(n > 0 and a.low < a.window and (n - 1) * a.stride - a.low < a.size for a, n in zip(self.axes, self.counts))

    def call(self):
        def per_axis(name):
            return [getattr(a, name) for a in self.axes]
        padding = [[a.low, a.high] for a in self.axes]
        if self.kind == "conv":
            return f"conv(x, w, stride = {per_axis('stride')}, padding = {padding}, dilation = {per_axis('dilation')}, groups = {self.groups})"
        return f"window_{self.kind}(x, {per_axis('window')}, stride = {per_axis('stride')}, padding = {padding})"

    def inputs(self):
        """Names and shapes of what is drawn."""
        return {"x": self.x, "u": self.x, "c": self.y, **({"w": self.w, "t": self.w} if self.kind == "conv" else {})}

    def source(self, number):
        """Statements that save all results, one after another, as r<number>."""
        lines, at = [f"v{number} = npy(\"v{number}.npy\")"], 0
        names = {}
        for name, shape in self.inputs().items():
            size = int(np.prod(shape))
            names[name] = f"{name}{number}"
            lines.append(f"{names[name]} = reshape(v{number}[{at}:{at + size}], {list(shape)})")
            at += size
        call = re.sub(r"\b([xw])\b(?=[,)])", lambda m: names[m[1]], self.call())
        x, u, c, n = names["x"], names["u"], names["c"], number
        lines.append(f"y{n} = {call}")
        if self.kind == "conv":
            w, t = names["w"], names["t"]
            lines += [f"gx{n} = grad(sum({c} * y{n}), {x})", f"gw{n} = grad(sum({c} * y{n}), {w})",
                      f"h{n} = sum({u} * gx{n}) + sum({t} * gw{n})",
                      f"r{n} = concat([flat(y{n}), flat(gx{n}), flat(gw{n}), flat(grad(h{n}, {x})), flat(grad(h{n}, {w})), flat(grad(h{n}, {c}))])"]
        else:
            lines += [f"gx{n} = grad(sum({c} * y{n}), {x})",
                      f"q{n} = grad(sum({c} * y{n} * y{n}), {x})",
                      f"r{n} = concat([flat(y{n}), flat(gx{n}), flat(grad(sum({u} * gx{n}), {c})), flat(q{n}), flat(grad(sum({u} * q{n}), {x}))])"]
        return "\n".join(lines + [f"save r{n}"]) + "\n"

    def expected(self, v):
        """[(what it is, values)] of the results, in order."""
        x, u, c = v["x"], v["u"], v["c"]
        if self.kind == "conv":
            w, t, conv = v["w"], v["t"], Conv(self.axes, self.groups)

            def forward(x, w):
                return conv.forward(x, w, np.zeros(self.y))

            def data(w, y):
                return conv.data(np.zeros(self.x), w, y)

            def weights(x, y):
                return conv.weights(x, np.zeros(self.w), y)
            return [("y", forward(x, w)), ("d/dx", data(w, c)), ("d/dw", weights(x, c)), ("second, in x", data(t, c)),
                    ("second, in w", weights(u, c)), ("second, in y", forward(u, w) + forward(x, t))]
        if self.kind == "max":
            y, at = largest(self.axes, x, self.y)
            pick, put = (lambda a: gathered(a, at)), (lambda a: scattered(a, at, x))
        else:
            y = summed(self.axes, x, self.y)
            pick, put = (lambda a: summed(self.axes, a, self.y)), (lambda a: spread(self.axes, a, x))
        return [("y", y), ("d/dx", put(c)), ("second, in y", pick(u)), ("of squares", put(2 * c * y)), ("second, of squares", put(2 * c * pick(u)))]


class Draw:
    """Configurations by a seed."""
    def __init__(self, seed):
        self.random = random.Random(seed)

    def axis(self, kind):
        r = self.random
        return Axis(r.randint(1, 4), r.randint(1, 4), r.randint(1, 4), r.randint(0, 4), r.randint(0, 4), r.randint(1, 4) if kind == "conv" else 1)

    def case(self, kind, wants, **more):
        """One that fits, or does not."""
        while True:
            axes = [self.axis(kind) for _ in range(self.random.randint(1, 3))]
            case = Case(kind, axes, **more)
            if case.fits() == wants:
                return case

    def chain(self, **more):
        while True:
            conv = self.case("conv", True, **more)
            pool = [self.axis("max")._replace(size=n) for n in conv.counts]
            if Case("max", pool).fits():
                return Chain(conv.axes, pool, **more)

    def grouped(self):
        groups = self.random.choice([1, 1, 2, 3])
        return dict(groups=groups, channels=groups * self.random.randint(1, 2), outputs=groups * self.random.randint(1, 2), images=self.random.randint(1, 3))


class Chain(Case):
    """A convolution and a max-pooling of it, as one thread does them for a group of images."""
    def __init__(self, axes, pool, **more):
        super().__init__("conv", axes, **more)
        self.pool = Case("max", pool, channels=self.y[1])
        self.z, self.y = self.y, (*self.y[:2], *self.pool.counts)

    def __str__(self):
        return super().__str__() + ", then " + str(self.pool)

    def call(self):
        return re.sub(r"\bx(?=,)", super().call(), self.pool.call())

    def source(self, number):
        n = str(number)
        return super().source(number).split(f"h{n} = ")[0] + f"r{n} = concat([flat(y{n}), flat(gx{n}), flat(gw{n})])\nsave r{n}\n"

    def expected(self, v):
        conv = Conv(self.axes, self.groups)
        z = conv.forward(v["x"], v["w"], np.zeros(self.z))
        y, at = largest(self.pool.axes, z, self.y)
        back = scattered(v["c"], at, z)
        return [("y", y), ("d/dx", conv.data(np.zeros(self.x), v["w"], back)), ("d/dw", conv.weights(v["x"], np.zeros(self.w), back))]


def every(kind):
    """All of one dimension."""
    for size, window, stride, low, high, dilation in itertools.product(*[range(1, 5)] * 3, *[range(5)] * 2, range(1, 5) if kind == "conv" else [1]):
        yield Case(kind, [Axis(size, window, stride, low, high, dilation)])


class Suite:
    def __init__(self, options, scratch):
        self.options, self.scratch = options, scratch
        self.passed = self.failed = self.programs = 0

    def outcome(self, good, what):
        self.passed, self.failed = self.passed + bool(good), self.failed + (not good)
        if not good and self.failed <= 20:
            print(f"FAIL {what}", flush=True)

    def hwc(self, *command):
        cpu = ["--cpu", self.options.cpu] if self.options.cpu else []
        return subprocess.run([os.path.join(self.options.build, "bin", "hwc"), *command, *cpu], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, errors="replace", timeout=600)

    def folder(self):
        self.programs += 1
        path = os.path.join(self.scratch, str(self.programs))
        os.mkdir(path)
        return path

    def compare(self, cases, kind, most=3):
        """Runs the cases in programs of some; kind: f32 or f64."""
        rng = np.random.default_rng(self.options.seed)
        for start in range(0, len(cases), PER_PROGRAM):
            some, where, values = cases[start:start + PER_PROGRAM], self.folder(), []
            for n, case in enumerate(some):
                values.append({name: rng.integers(-most, most + 1, shape).astype(float) for name, shape in case.inputs().items()})
                np.save(f"{where}/v{n}.npy", np.concatenate([v.ravel() for v in values[n].values()]).astype(kind == "f64" and "<f8" or "<f4"))
            with open(f"{where}/windows.hw", "w") as f:
                f.writelines(case.source(n) for n, case in enumerate(some))
            done = self.hwc("run", f"{where}/windows.hw", "--data", where, "--out", f"{where}/out", *(["--f64"] if kind == "f64" else []))
            if done.returncode:
                self.outcome(False, f"{where}: hwc run ended with {done.returncode}: {done.stderr.strip()[-1000:]}")
                continue
            for n, case in enumerate(some):
                got = np.load(f"{where}/out/r{n}.npy").astype(float)
                expected = case.expected(values[n])
                at, wrong = 0, []
                for name, right in expected:
                    mine = got[at:at + right.size]
                    at += right.size
                    if not np.array_equal(mine, right.ravel()):
                        wrong.append(f"{name} is {mine[:8]}, not {right.ravel()[:8]}")
                self.outcome(not wrong and at == got.size, f"{kind} {case} ({where}, {n}): {'; '.join(wrong)}")

    def refuse(self, cases):
        """Each is an error at its line."""
        for start in range(0, len(cases), 20):  # as many errors as a run tells
            some, where = cases[start:start + 20], self.folder()
            with open(f"{where}/windows.hw", "w") as f:
                for case in some:
                    call = case.call().replace("(x,", f"(ones({list(case.x)}),").replace(" w,", f" ones({list(case.w)}),")
                    f.write(f"y = {call}\n")
            done = self.hwc("check", f"{where}/windows.hw")
            for n, case in enumerate(some):
                said = re.search(rf"windows\.hw:{n + 1}:\d+: error: .*(does not fit axis|would see no element of axis)", done.stderr)
                self.outcome(done.returncode == 1 and said, f"refused {case} ({where}:{n + 1}): exit {done.returncode}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build"))
    parser.add_argument("--cpu", help="compile for this CPU (default: this machine's)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--count", type=int, default=100, help="configurations of each kind")
    parser.add_argument("--all", action="store_true", help="and every one of one dimension")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    print(f"windows by seed {options.seed}")
    draw, n = Draw(options.seed), options.count
    suite = Suite(options, tempfile.mkdtemp(prefix="hwc-windows-"))
    for kind in ("f64", "f32"):
        suite.compare([draw.case(of, True) for of in ("max", "sum") for _ in range(n // 2)], kind)
        suite.compare([draw.case("conv", True, **draw.grouped()) for _ in range(n // 2)], kind)
    # Enough products for oneDNN, and in most programs for groups of images.
    suite.compare([draw.case("conv", True, images=512, channels=16, outputs=48) for _ in range(n // 5)], "f32", most=1)
    suite.compare([draw.chain(images=512, channels=16, outputs=32) for _ in range(n // 5)], "f32", most=1)
    suite.refuse([draw.case(of, False) for of in ("max", "sum", "conv") for _ in range(n)])
    if options.all:
        for of in ("max", "sum", "conv"):
            cases = list(every(of))
            suite.compare([case for case in cases if case.fits()], "f64")
            suite.refuse([case for case in cases if not case.fits()])
    if options.keep or suite.failed:
        print("kept:", suite.scratch)
    else:
        shutil.rmtree(suite.scratch, ignore_errors=True)
    print(f"{suite.passed} passed, {suite.failed} failed, 0 skipped")
    return 1 if suite.failed else 0


if __name__ == "__main__":
    sys.exit(main())
