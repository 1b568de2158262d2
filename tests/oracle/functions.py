#!/usr/bin/env python3
"""Every function of the language against mpmath, at its hard points: zeros, kinks, both ends of its range, infinities, NaN, -0, tiny and
huge arguments; value, first and second derivative, f32 and f64. The functions are those of docs/language.md's tables (which a unit test
compares with the compiler's own): one without an entry here fails. hwc evaluates all of them in one program.

    tests/oracle/functions.py [--build DIR] [--cpu CPU] [--keep] [NAME...]

A tolerance is in units in the last place of the exact result (of the smallest normal number below that), for value, first and second
derivative. `scale` is how large the terms are that a result is the difference of: units are those of the larger of both, where a formula
cancels by its nature (1 - tanh^2 of a saturated unit, 1 + erf far below 0).
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
passed = failed = skipped = 0
try:
    import numpy as np
    import mpmath as mp
except ImportError:
    print("SKIPPED every function: no NumPy or mpmath here; tools/setup --peers installs them")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

mp.mp.dps = 60
inf, nan = mp.inf, mp.nan
ANY = "any"  # outside of the domain: whatever the formula gives
DTYPES = {"f32": np.float32, "f64": np.float64}


def documented():
    """Every function of the reference's tables."""
    text = open(os.path.join(ROOT, "docs", "language.md")).read()
    text = text[text.index("## Every function"):text.index("## Lexical structure")]
    return re.findall(r"^\| `(\w+)\(", text, re.M)


# ---- what a result may be
def ulp(value, dtype):
    """The distance of neighbours at |value|."""
    info = np.finfo(dtype)
    value = abs(mp.mpf(value))
    if value < mp.mpf(float(info.tiny)):
        return mp.mpf(float(info.tiny)) * mp.mpf(float(info.eps))
    return mp.ldexp(mp.mpf(1), mp.frexp(value)[1] - 1 - info.nmant)


def judge(got, exact, dtype, tolerance, scale):
    """None if it is right, else how far off."""
    if isinstance(exact, str):
        return None
    got = float(got)
    if mp.isnan(exact):
        return None if np.isnan(got) else f"{got!r} in place of nan"
    largest = mp.mpf(float(np.finfo(dtype).max))
    slack = tolerance * ulp(max(min(abs(exact), largest), min(scale, largest)), dtype)
    if np.isnan(got):
        return f"nan in place of {mp.nstr(exact, 12)}"
    if mp.isinf(exact) or np.isinf(got):
        if np.isinf(got) and (exact > 0) == (got > 0) and (mp.isinf(exact) or abs(exact) + slack > largest):
            return None
        if mp.isinf(exact) or abs(exact) <= largest:
            return f"{got!r} in place of {mp.nstr(exact, 12)}"
    error = abs(mp.mpf(got) - exact)
    return None if error <= slack else f"{got!r} in place of {mp.nstr(exact, 12)}, {mp.nstr(error / ulp(max(abs(exact), scale), dtype), 4)} units off"


# ---- elementwise functions
COMMON = [0.0, -0.0, 1e-45, 1e-40, 1.2e-38, 1e-30, 1e-20, 1e-10, 1e-8, 1e-5, 1e-3, 0.1, 0.25, 0.49999997, 0.5, 0.7, 1.0, 1.5, 2.0, 2.5, 3.0, 5.0, 8.0,
          12.0, 20.0, 50.0, 88.0, 89.2, 100.0, 1000.0, 12345.678, 8388609.0, 1e10, 1e15, 3e19, 1e25, 3e38, float("inf")]
POINTS = sorted({*COMMON, *(-x for x in COMMON)}) + [-0.0, float("nan")]
WIDE = [5e-324, 1e-310, 2.3e-308, 1e-200, 1e-160, 0.49999999999999994, 300.0, 709.5, 710.2, 745.0, 4503599627370497.0, 1e100, 1e160, 1.7e308]
WIDE = sorted({*WIDE, *(-x for x in WIDE)})


def points(dtype, extra=()):
    chosen = POINTS + list(extra) + (WIDE if dtype is np.float64 else [])
    return np.array(chosen, np.float64).astype(dtype)


LITERALS = [0.0, 0.5, -0.25, 1.0, 2.5, -2.5, 20.0, 2.0, 1000.0]


class Unary:
    """z = f(x): `f`, `d1`, `d2` of an mpf; `special` gives (value, first, second) where these cannot be computed."""

    def __init__(self, f, d1, d2, tolerance=(2, 3, 5), special={}, scale=(0, 0, 0), expression=None, extra=(), outside=None):
        self.f, self.d1, self.d2 = f, d1, d2
        self.tolerance, self.special, self.scale, self.expression, self.extra, self.outside = tolerance, special, scale, expression, extra, outside

    def exact(self, x):
        if np.isnan(x):
            return self.special.get("nan", (nan, ANY, ANY))
        if np.isinf(x):
            return self.special["inf" if x > 0 else "-inf"]
        if x == 0 and np.signbit(x) and "-0" in self.special:
            return self.special["-0"]
        if float(x) in self.special:
            return self.special[float(x)]
        exact = mp.mpf(float(x))
        if self.outside and self.outside(exact):
            return nan, ANY, ANY
        return tuple(g(exact) for g in (self.f, self.d1, self.d2))

    def program(self, name, tag):
        of = lambda x: re.sub(r"\bx\b", x, self.expression or f"{name}(x)")
        call = of(f"x_{tag}")
        # What the compiler computes itself: of numbers, and of constant tensors.
        numbers = ", ".join(f"full([1], {of(f'({x!r})')})" for x in LITERALS)
        constants = of(f"{tag[-3:]}({LITERALS})")
        return (f"x_{tag} = {tag[-3:]}(npy(\"{tag}.npy\"))\n"
                f"y_{tag} = {call}\n"
                f"g_{tag} = grad(sum(y_{tag}), x_{tag})\nh_{tag} = grad(sum(g_{tag}), x_{tag})\n"
                f"n_{tag} = flat(stack([{numbers}]))\nc_{tag} = {constants}\n"), ["y", "g", "h", "n", "c"]

    def inputs(self, dtype):
        return points(dtype, self.extra)

    def check(self, x, results, dtype):
        for i, value in enumerate(x):
            for order, (got, exact, tolerance, scale) in enumerate(zip(results, self.exact(value), self.tolerance, self.scale)):
                scale = scale(mp.mpf(float(value))) if callable(scale) and np.isfinite(value) else 0 if callable(scale) else scale
                wrong = judge(got[i], exact, dtype, tolerance, mp.mpf(scale))
                if order == 2 and np.isnan(got[i]) and not isinstance(exact, str) and abs(exact) > mp.mpf(float(np.finfo(dtype).max)):
                    wrong = None  # a sum of terms beyond the largest number
                if wrong:
                    yield f"{('value', 'derivative', 'second derivative')[order]} at {value!r}: {wrong}"
        for what, values, kind in (("a number", results[3], np.float32), ("a constant", results[4], dtype)):
            for got, x in zip(values, LITERALS):
                scale = self.scale[0](mp.mpf(x)) if callable(self.scale[0]) else self.scale[0]
                wrong = judge(got, self.exact(np.float64(x))[0], kind, 2, mp.mpf(scale))
                if wrong:
                    yield f"of {what}, {x}: {wrong}"


def constant(c):
    return lambda x: mp.mpf(c)


zero = constant(0)
sigmoid = lambda x: 1 / (1 + mp.exp(-x))
phi = lambda x: mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)
Phi = lambda x: mp.erfc(-x / mp.sqrt(2)) / 2 if abs(x) < 1000 else mp.mpf(x > 0)
ln2, ln10 = mp.log(2), mp.log(10)
positive = lambda x: x < 0
sig1 = lambda x: sigmoid(x) * sigmoid(-x)
sig2 = lambda x: sig1(x) * (1 - 2 * sigmoid(x))
denormal = lambda x: abs(x) * mp.mpf(1.2e-38 if abs(x) < 110 else 2.3e-308)  # x times a number of few bits
step = lambda below, above: lambda x: mp.mpf(above if x > 0 else below)


def logarithm(base):
    pole = (-inf, inf, -inf)
    return Unary(lambda x: mp.log(x) / base, lambda x: 1 / x / base, lambda x: -1 / x**2 / base, special={
        0.0: pole, "-0": (-inf, ANY, ANY), "inf": (inf, mp.mpf(0), ANY), "-inf": (nan, ANY, ANY)}, outside=positive, extra=[1000.0, 100.0, 0.999, 1.001],
        tolerance=(4, 3, 5))


UNARY = {
    # f32 exp, log, tanh, sigmoid are the backend's own, within 3e-7; others libmvec's, within 4 units.
    "exp": Unary(mp.exp, mp.exp, mp.exp, (4, 4, 4), {"inf": (inf, inf, inf), "-inf": (mp.mpf(0),) * 3}),
    "expm1": Unary(mp.expm1, mp.exp, mp.exp, (4, 4, 4), {"inf": (inf, inf, inf), "-inf": (mp.mpf(-1), mp.mpf(0), mp.mpf(0))}, (0, 1, 1)),
    "log": logarithm(mp.mpf(1)), "log2": logarithm(ln2), "log10": logarithm(ln10),
    "log1p": Unary(mp.log1p, lambda x: 1 / (1 + x), lambda x: -1 / (1 + x)**2, (4, 3, 5),
                   {-1.0: (-inf, inf, -inf), "inf": (inf, mp.mpf(0), ANY), "-inf": (nan, ANY, ANY)}, outside=lambda x: x < -1, extra=[-0.9999999]),
    "sqrt": Unary(mp.sqrt, lambda x: 0.5 / mp.sqrt(x), lambda x: -0.25 / x / mp.sqrt(x), special={
        0.0: (mp.mpf(0), inf, -inf), "-0": (mp.mpf(0), ANY, ANY), "inf": (inf, mp.mpf(0), ANY), "-inf": (nan, ANY, ANY)}, outside=positive),
    "sin": Unary(mp.sin, mp.cos, lambda x: -mp.sin(x), (4, 4, 4), {"inf": (nan,) * 3, "-inf": (nan,) * 3}, extra=[3.1415927, 1.5707964]),
    "cos": Unary(mp.cos, lambda x: -mp.sin(x), lambda x: -mp.cos(x), (4, 4, 4), {"inf": (nan,) * 3, "-inf": (nan,) * 3}, extra=[3.1415927, 1.5707964]),
    "tan": Unary(mp.tan, lambda x: 1 + mp.tan(x)**2, lambda x: 2 * mp.tan(x) * (1 + mp.tan(x)**2), (9, 16, 24), {"inf": (nan,) * 3, "-inf": (nan,) * 3}),
    "sinh": Unary(mp.sinh, mp.cosh, mp.sinh, (4, 4, 4), {"inf": (inf, inf, inf), "-inf": (-inf, inf, -inf)}),
    "cosh": Unary(mp.cosh, mp.sinh, mp.cosh, (4, 4, 4), {"inf": (inf, inf, inf), "-inf": (inf, -inf, inf)}),
    "tanh": Unary(mp.tanh, lambda x: mp.sech(x)**2, lambda x: -2 * mp.tanh(x) * mp.sech(x)**2, (6, 8, 16),
                  {"inf": (mp.mpf(1), mp.mpf(0), mp.mpf(0)), "-inf": (mp.mpf(-1), mp.mpf(0), mp.mpf(0))}, (0, 1, lambda x: 1 if abs(x) > 0.1 else abs(x))),
    "sigmoid": Unary(sigmoid, sig1, sig2, (4, 6, 8), {"inf": (mp.mpf(1), mp.mpf(0), mp.mpf(0)), "-inf": (mp.mpf(0),) * 3},
                     (0, lambda x: 1 if x > 0 else 0, lambda x: 1 if x > -1 else 0)),
    "erf": Unary(lambda x: mp.erf(x) if abs(x) < 1000 else mp.sign(x), lambda x: 2 / mp.sqrt(mp.pi) * mp.exp(-x * x), lambda x: -4 * x / mp.sqrt(mp.pi) * mp.exp(-x * x), (4, 8, 8),
                 {"inf": (mp.mpf(1), mp.mpf(0), ANY), "-inf": (mp.mpf(-1), mp.mpf(0), ANY)}, (0, lambda x: mp.exp(-x * x) * x * x, lambda x: abs(x**3) * mp.exp(-x * x))),
    "asinh": Unary(mp.asinh, lambda x: 1 / mp.sqrt(1 + x * x), lambda x: -x / (1 + x * x)**mp.mpf(1.5), (4, 4, 8),
                   {"inf": (inf, mp.mpf(0), ANY), "-inf": (-inf, mp.mpf(0), ANY)}, extra=[1.0000001]),
    "abs": Unary(abs, lambda x: mp.sign(x), zero, (0, 0, 0), {"inf": (inf, mp.mpf(1), mp.mpf(0)), "-inf": (inf, mp.mpf(-1), mp.mpf(0))}),
    "sign": Unary(mp.sign, zero, zero, (0, 0, 0), {"inf": (mp.mpf(1), zero(0), zero(0)), "-inf": (mp.mpf(-1), zero(0), zero(0))}),
    "floor": Unary(mp.floor, zero, zero, (0, 0, 0), {"inf": (inf, zero(0), zero(0)), "-inf": (-inf, zero(0), zero(0))}),
    "ceil": Unary(mp.ceil, zero, zero, (0, 0, 0), {"inf": (inf, zero(0), zero(0)), "-inf": (-inf, zero(0), zero(0))}),
    "round": Unary(lambda x: mp.floor(x + mp.mpf(0.5)), zero, zero, (0, 0, 0), {"inf": (inf, zero(0), zero(0)), "-inf": (-inf, zero(0), zero(0))},
                   extra=[-0.5, -1.5, -2.5, 4.5, 8388611.0, 8388607.5, 4194303.75]),
    "stop_gradient": Unary(lambda x: x, zero, zero, (0, 0, 0), {"inf": (inf, zero(0), zero(0)), "-inf": (-inf, zero(0), zero(0))}, expression="stop_gradient(x) + 0 * relu(-abs(x))"),
    "relu": Unary(lambda x: max(x, mp.mpf(0)), step(0, 1), zero, (0, 0, 0), {"inf": (inf, mp.mpf(1), zero(0)), "-inf": (zero(0),) * 3}),
    "leaky_relu": Unary(lambda x: x if x > 0 else x * mp.mpf("0.01"), lambda x: mp.mpf(1) if x > 0 else mp.mpf("0.01"), zero, (1, 1, 0),
                        {"inf": (inf, mp.mpf(1), zero(0)), "-inf": (-inf, mp.mpf("0.01"), zero(0))}),
    "elu": Unary(lambda x: x if x > 0 else mp.expm1(x), lambda x: mp.mpf(1) if x > 0 else mp.exp(x), lambda x: zero(0) if x > 0 else mp.exp(x), (4, 4, 4),
                 {"inf": (inf, mp.mpf(1), zero(0)), "-inf": (mp.mpf(-1), zero(0), zero(0))}, (0, 1, 1)),
    "gelu": Unary(lambda x: x * Phi(x), lambda x: Phi(x) + x * phi(x), lambda x: phi(x) * (2 - x * x), (8, 8, 16),
                  {"inf": (inf, ANY, ANY), "-inf": (ANY, ANY, ANY)}, (lambda x: abs(x) if x < 0 else 0, 1, 1)),
    "silu": Unary(lambda x: x * sigmoid(x), lambda x: sigmoid(x) + x * sig1(x), lambda x: 2 * sig1(x) + x * sig2(x), (8, 8, 16),
                  {"inf": (inf, ANY, ANY), "-inf": (ANY, ANY, ANY)}, (denormal, lambda x: 1 + abs(x) if x > -1 else abs(x) * mp.exp(x) + denormal(x),
                                                                       lambda x: 1 + abs(x) if x > -1 else abs(x) * mp.exp(x) + denormal(x))),
    "softplus": Unary(lambda x: max(x, mp.mpf(0)) + mp.log1p(mp.exp(-abs(x))), sigmoid, sig1, (4, 8, 12),
                      {"inf": (inf, mp.mpf(1), zero(0)), "-inf": (zero(0),) * 3}),
    "square": Unary(lambda x: x * x, lambda x: 2 * x, constant(2), (1, 0, 0), {"inf": (inf, inf, mp.mpf(2)), "-inf": (inf, -inf, mp.mpf(2)), "nan": (nan, nan, mp.mpf(2))}),
    "isnan": Unary(zero, zero, zero, (0, 0, 0), {"inf": (zero(0),) * 3, "-inf": (zero(0),) * 3, "nan": (mp.mpf(1), zero(0), zero(0))}, expression="where(isnan(x), 1, 0 * sigmoid(x))"),
    "clip": Unary(lambda x: min(max(x, mp.mpf(-1)), mp.mpf(2)), lambda x: mp.mpf(1 if -1 < x < 2 else 0), zero, (0, 0, 0),
                  {"inf": (mp.mpf(2), zero(0), zero(0)), "-inf": (mp.mpf(-1), zero(0), zero(0))}, expression="clip(x, -1, 2)"),
    "cosine": Unary(lambda x: (1 + mp.cos(mp.pi * min(max(x, 0), 1))) / 2, lambda x: -mp.pi / 2 * mp.sin(mp.pi * x) if 0 < x < 1 else zero(0),
                    lambda x: -mp.pi**2 / 2 * mp.cos(mp.pi * x) if 0 < x < 1 else zero(0), (8, 8, 8),
                    {"inf": (zero(0),) * 3, "-inf": (mp.mpf(1), zero(0), zero(0))}, (1, 2, 5)),
    "warmup": Unary(lambda x: min(mp.mpf(1), (x + 1) / 4), lambda x: mp.mpf(0.25 if (x + 1) / 4 <= 1 else 0), zero, (2, 0, 0),
                    {"inf": (mp.mpf(1), zero(0), zero(0)), "-inf": (-inf, mp.mpf(0.25), zero(0))}, (0.25, 0, 0), expression="warmup(x, 4)"),
    "exponential": Unary(lambda x: mp.power(mp.mpf(0.5), x), lambda x: -ln2 * mp.power(mp.mpf(0.5), x), lambda x: ln2**2 * mp.power(mp.mpf(0.5), x), (4, 5, 6),
                         {"inf": (zero(0),) * 3, "-inf": (inf, -inf, inf)}, expression="exponential(x, 0.5)"),
    # Powers, whose exponents the compiler takes apart.
    **{f"x^{p}": Unary(lambda x, p=p: mp.power(x, mp.mpf(p)), lambda x, p=p: mp.mpf(p) * mp.power(x, mp.mpf(p) - 1),
                       lambda x, p=p: mp.mpf(p) * (mp.mpf(p) - 1) * mp.power(x, mp.mpf(p) - 2) if p != 1 else zero(0), (4, 6, 8), special, expression=f"x ^ {p}", outside=outside)
       for p, special, outside in [
           (3, {"inf": (inf, inf, inf), "-inf": (-inf, inf, -inf)}, None),
           (1.5, {0.0: (zero(0), zero(0), inf), "-0": (zero(0), zero(0), ANY), "inf": (inf, inf, ANY), "-inf": (ANY, ANY, ANY)}, positive),
           (2.5, {0.0: (zero(0),) * 3, "-0": (zero(0),) * 3, "inf": (inf, inf, inf), "-inf": (ANY, ANY, ANY)}, positive),
           (-1, {0.0: (inf, -inf, inf), "-0": (-inf, ANY, ANY), "inf": (zero(0), ANY, ANY), "-inf": (zero(0), ANY, ANY)}, None),
           (-2, {0.0: (inf, -inf, inf), "-0": (inf, ANY, ANY), "inf": (zero(0), ANY, ANY), "-inf": (zero(0), ANY, ANY)}, None)]},
    # What `where` leaves out: poles, overflows and missing values on the other side.
    "where(x > 0, log(x), 0)": Unary(lambda x: mp.log(x) if x > 0 else zero(0), lambda x: 1 / x if x > 0 else zero(0), lambda x: -1 / x**2 if x > 0 else zero(0),
                                     (4, 3, 5), {"inf": (inf, zero(0), ANY), "-inf": (zero(0),) * 3, "nan": (zero(0),) * 3}, expression="where(x > 0, log(x), 0)"),
    "where(x > 0, x * log(x), 0)": Unary(lambda x: x * mp.log(x) if x > 0 else zero(0), lambda x: mp.log(x) + 1 if x > 0 else zero(0), lambda x: 1 / x if x > 0 else zero(0),
                                         (5, 5, 5), {"inf": (inf, ANY, ANY), "-inf": (zero(0),) * 3, "nan": (zero(0),) * 3}, (0, 1, 0), expression="where(x > 0, x * log(x), 0)"),
    "where(x > 0, sqrt(x), 0)": Unary(lambda x: mp.sqrt(x) if x > 0 else zero(0), lambda x: 0.5 / mp.sqrt(x) if x > 0 else zero(0),
                                      lambda x: -0.25 / x / mp.sqrt(x) if x > 0 else zero(0), special={"inf": (inf, zero(0), ANY), "-inf": (zero(0),) * 3, "nan": (zero(0),) * 3},
                                      expression="where(x > 0, sqrt(x), 0)"),
    "where(x != 0, 1 / x, 0)": Unary(lambda x: 1 / x if x else zero(0), lambda x: -1 / x**2 if x else zero(0), lambda x: 2 / x**3 if x else zero(0), (2, 4, 6),
                                     {"inf": (zero(0), ANY, ANY), "-inf": (zero(0), ANY, ANY)}, expression="where(x != 0, 1 / x, 0)"),
    "where(x < 1, exp(x), 1)": Unary(lambda x: mp.exp(x) if x < 1 else mp.mpf(1), lambda x: mp.exp(x) if x < 1 else zero(0), lambda x: mp.exp(x) if x < 1 else zero(0), (4, 4, 4),
                                     {"inf": (mp.mpf(1), zero(0), zero(0)), "-inf": (zero(0),) * 3, "nan": (mp.mpf(1), zero(0), zero(0))}, expression="where(x < 1, exp(x), 1)"),
    "where(abs(x) < 2, x^4, 0)": Unary(lambda x: x**4 if abs(x) < 2 else zero(0), lambda x: 4 * x**3 if abs(x) < 2 else zero(0), lambda x: 12 * x**2 if abs(x) < 2 else zero(0), (4, 4, 4),
                                       {"inf": (zero(0),) * 3, "-inf": (zero(0),) * 3, "nan": (zero(0),) * 3}, expression="where(abs(x) < 2, (x * x) * (x * x), 0)"),
    "where(isnan(x), 0, x^2)": Unary(lambda x: x * x, lambda x: 2 * x, constant(2), (1, 0, 0), {"inf": (inf, inf, mp.mpf(2)), "-inf": (inf, -inf, mp.mpf(2)), "nan": (zero(0),) * 3},
                                     expression="where(isnan(x), 0, x^2)"),
    "where(abs(x) < 1, sin(x), 0)": Unary(lambda x: mp.sin(x) if abs(x) < 1 else zero(0), lambda x: mp.cos(x) if abs(x) < 1 else zero(0), lambda x: -mp.sin(x) if abs(x) < 1 else zero(0),
                                          (4, 4, 4), {"inf": (zero(0),) * 3, "-inf": (zero(0),) * 3, "nan": (zero(0),) * 3}, expression="where(abs(x) < 1, sin(x), 0)"),
}
UNARY["arcsinh"] = UNARY["asinh"]


# ---- functions of rows: f of a list of mpf gives a list; derivatives of sum(weights * f), and of that along a direction, by mp.diff
class Rows:
    def __init__(self, f, rows, expression, tolerance=(8, 16, 64), scale=(0, 1, 1), exact={}, smooth=()):
        """`exact`: results of rows that mp.diff cannot do, by number, None where anything goes."""
        self.f, self.rows, self.expression, self.tolerance, self.scale, self.special = f, rows, expression, tolerance, scale, exact

    def inputs(self, dtype):
        return np.array(self.rows, np.float64).astype(dtype)

    WEIGHTS, DIRECTION = [0.75, -1.25, 0.5, 1.0], [1.0, 0.5, -0.75, 0.25]

    def program(self, name, tag):
        n = len(self.rows[0])
        lines = [f"x_{tag} = {tag[-3:]}(npy(\"{tag}.npy\"))\n"]
        for i in range(len(self.rows)):
            call = re.sub(r"\bx\b", f"x_{tag}[{i}:{i + 1}]", self.expression)
            lines.append(f"r{i}_{tag} = flat({call})\n")
        lines.append(f"y_{tag} = stack([{', '.join(f'r{i}_{tag}' for i in range(len(self.rows)))}])\n")
        lines.append(f"g_{tag} = grad(sum(f64(y_{tag}) * f64({self.WEIGHTS})[0:y_{tag}.shape[1]]), x_{tag})\n")
        lines.append(f"h_{tag} = grad(sum(f64(g_{tag}) * f64({self.DIRECTION[:n]})), x_{tag})\n")
        return "".join(lines), ["y", "g", "h"]

    def check(self, x, results, dtype):
        y, g, h = results
        for i, row in enumerate(x):
            special = self.special.get(i)
            exact = [mp.mpf(float(v)) for v in row]
            n = len(exact)
            if special:
                values, gradient, product = special
            else:
                values = self.f(exact)
                total = lambda *v: sum(mp.mpf(w) * z for w, z in zip(self.WEIGHTS, self.f(list(v))))
                order = lambda *at: tuple(sum(k == i for k in at) for i in range(n))
                gradient = [mp.diff(total, tuple(exact), order(j)) for j in range(n)]
                product = [sum(mp.mpf(self.DIRECTION[k]) * mp.diff(total, tuple(exact), order(j, k)) for k in range(n)) for j in range(n)]
            for what, got, wanted, tolerance, scale in zip(("value", "gradient", "second derivative"), (y[i], g[i], h[i]), (values, gradient, product), self.tolerance, self.scale):
                if wanted is None:
                    continue
                for j, (a, b) in enumerate(zip(np.ravel(got), wanted)):
                    wrong = judge(a, b, dtype, tolerance, mp.mpf(scale))
                    if wrong:
                        yield f"{what} {j} of row {i}, {[float(v) for v in row]}: {wrong}"


def log_sum(x):
    m = max(x)
    return m + mp.log(sum(mp.exp(v - m) for v in x))


mean = lambda x: sum(x, mp.mpf(0)) / len(x)
var = lambda x: mean([(v - mean(x))**2 for v in x])
softmax = lambda x: [mp.exp(v - log_sum(x)) for v in x]
LOGITS = [[0.0, 0.0, 0.0], [1e4, 1e4, 1e4], [100.0, 88.0, 60.0], [88.0, 100.0, 60.0], [1.0, 2.0, 3.0], [40.0, 28.0, -20.0], [-1e4, -1e4 - 1, -1e4 + 0.5], [1e30, 1e30, 0.0], [3.0, 3.0, 1.0], [0.0, 1e-6, -1e-6]]
HOLES = [[1.0, float("-inf"), 2.0], [float("-inf")] * 3, [float("inf"), 1.0, 2.0]]
sm2 = softmax([mp.mpf(1), mp.mpf(2)])


def at_holes(values, gradients, products=None):
    return {len(LOGITS) + i: (v, g, None) for i, (v, g) in enumerate(zip(values, gradients))}


# -sum(log) with each of the first classes in turn as the label: one label a program row would need labels by row.
def cross_entropy(label, smoothing=0):
    return lambda x: [log_sum(x) - (1 - mp.mpf(smoothing)) * x[label] - mp.mpf(smoothing) * mean(x)]


PAIRS = [[0.0, 0.0], [1.0, 0.0], [0.3, 0.3], [3.0, 1.0], [1e-30, 0.0], [2.0, -1.0], [1e10, 0.0], [-5.0, 2.0]]
Z = [0.0, -0.0, 1e-30, 1.0, -1.0, 20.0, -20.0, 50.0, -50.0, 100.0, -100.0, 1e4, -1e4]
bce = lambda t: lambda x: [max(x[0], mp.mpf(0)) - t * x[0] + mp.log1p(mp.exp(-abs(x[0]))) if abs(x[0]) > 1 else mp.log(1 + mp.exp(x[0])) - t * x[0]]
hub = lambda d: d * d / 2 if abs(d) <= 1 else abs(d) - mp.mpf(0.5)
TIES = [[1.0, 2.0], [2.0, 1.0], [1.0, 1.0], [float("inf"), 0.0], [0.0, float("-inf")], [float("nan"), 1.0], [1.0, float("nan")]]


def ties(choose):
    """At a tie the derivative goes to y; NaN is the result where either is."""
    def row(x, y):
        if np.isnan(x) or np.isnan(y):
            return [nan], None, None
        isFirst = choose(x, y) == x and x != y
        return [mp.mpf(choose(x, y))], [mp.mpf(0.75 if isFirst else 0), mp.mpf(0 if isFirst else 0.75)], [zero(0)] * 2
    return {i: row(*pair) for i, pair in enumerate(TIES)}


VECTORS = [[3.0, 4.0, 0.0], [1e-10, 1e-10, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 2.0], [-1.0, 2.0, 0.5]]
ROWS = {
    "logsumexp": Rows(lambda x: [log_sum(x)], LOGITS + HOLES, "logsumexp(x)",
                      exact=at_holes([[log_sum([mp.mpf(1), mp.mpf(2)])], [-inf], [inf]], [[w * mp.mpf(0.75) for w in (sm2[0], 0, sm2[1])], None, None])),
    "log_softmax": Rows(lambda x: [v - log_sum(x) for v in x], LOGITS, "log_softmax(x)"),
    "softmax": Rows(softmax, LOGITS + HOLES[:1], "softmax(x)", exact={len(LOGITS): ([sm2[0], zero(0), sm2[1]], None, None)}, tolerance=(8, 16, 64)),
    "below_largest": Rows(lambda x: [v - max(x) for v in x], [[1.0, 2.0, 3.5], [1e30, 1.0, -1e30]], "below_largest(x)", exact={
        i: ([v - max(r) for v in map(mp.mpf, r)], [mp.mpf(w) for w in Rows.WEIGHTS[:3]], [zero(0)] * 3) for i, r in enumerate([[1.0, 2.0, 3.5], [1e30, 1.0, -1e30]])}),
    "log_total": Rows(lambda x: [log_sum(x)], [[0.0, -12.0, -40.0], [0.0, 0.0, -1.0], [-1.0, -3.0, 0.0]], "log_total(x)"),
    **{f"cross_entropy, label {k}": Rows(cross_entropy(k), LOGITS, f"cross_entropy(x, classes([{k}], 3))") for k in (0, 1)},
    "cross_entropy": Rows(cross_entropy(2, 0.25), LOGITS, "cross_entropy(x, classes([2], 3), smoothing = 0.25)", scale=(1, 1, 1)),
    **{f"binary_cross_entropy, target {t}": Rows(bce(mp.mpf(t)), [[z] for z in Z], f"binary_cross_entropy(x, full([1, 1], {t}))", scale=(0, 1, 0)) for t in (0, 1)},
    "binary_cross_entropy": Rows(bce(mp.mpf(0.25)), [[z] for z in Z], "binary_cross_entropy(x, full([1, 1], 0.25))", scale=(1, 1, 0)),
    "huber": Rows(lambda x: [hub(x[0])], [[v] for v in (0.0, 0.5, -0.5, 1e-20, 3.0, -2.0, 1e10, -1e25)], "huber(x, zeros([1, 1]))"),
    "mse": Rows(lambda x: [(x[0] - x[1])**2], PAIRS, "mse(x[:, 0], x[:, 1])", scale=(0, 0, 0)),
    "mae": Rows(lambda x: [abs(x[0] - x[1])], PAIRS, "mae(x[:, 0], x[:, 1])", exact={0: ([zero(0)], [zero(0)] * 2, [zero(0)] * 2), 2: ([zero(0)], [zero(0)] * 2, [zero(0)] * 2)}),
    "norm": Rows(lambda x: [mp.sqrt(sum(v * v for v in x))], VECTORS + [[0.0, 0.0, 0.0], [float("nan"), 0.0, 0.0]], "reshape(norm(x), [1])", scale=(0, 1, 1e10), exact={
        5: ([zero(0)], [zero(0)] * 3, [zero(0)] * 3), 6: ([nan], None, None)}),
    "norm, p = 3": Rows(lambda x: [mp.cbrt(sum(abs(v)**3 for v in x))], [[3.0, 4.0, 1.0], [-1.0, 2.0, 0.5], [0.0, 0.0, 0.0], [float("nan"), 0.0, 0.0]], "reshape(norm(x, p = 3), [1])", exact={
        2: ([zero(0)], [zero(0)] * 3, [zero(0)] * 3), 3: ([nan], None, None)}),
    "norm2": Rows(lambda x: [sum(v * v for v in x)], VECTORS, "reshape(norm2(x), [1])"),
    "dot": Rows(lambda x: [x[0] * x[1] + x[1] * x[2]], VECTORS, "reshape(dot(x[:, 0:2], x[:, 1:3]), [1])"),
    "var": Rows(lambda x: [var(x)], VECTORS + [[10000.5, 10001.5, 10000.25]], "var(x, axis = 1)"),
    "std": Rows(lambda x: [mp.sqrt(var(x))], VECTORS[:2] + VECTORS[3:] + [[1.0, 1.0, 1.0], [float("nan"), 0.0, 0.0]], "std(x, axis = 1)", scale=(0, 1, 1e10), exact={
        4: ([zero(0)], [zero(0)] * 3, [zero(0)] * 3), 5: ([nan], None, None)}),
    "max(x, y)": Rows(lambda x: [max(x)], TIES, "max(x[:, 0], x[:, 1])", exact=ties(max)),
    "min(x, y)": Rows(lambda x: [min(x)], TIES, "min(x[:, 0], x[:, 1])", exact=ties(min)),
    "sum": Rows(lambda x: [sum(x)], VECTORS, "sum(x, axis = 1)"),
    "mean": Rows(lambda x: [mean(x)], VECTORS, "mean(x, axis = 1)"),
    "max": Rows(lambda x: [max(x)], VECTORS, "max(x, axis = 1)", exact={
        2: ([mp.mpf(1)], [mp.mpf(0.75), zero(0), zero(0)], [zero(0)] * 3), 1: ([mp.mpf(float(np.float32(1e-10)))] , [mp.mpf(0.75), zero(0), zero(0)], [zero(0)] * 3)}, tolerance=(1 << 30, 16, 64)),
    "min": Rows(lambda x: [min(x)], VECTORS, "min(x, axis = 1)", exact={
        2: ([mp.mpf(1)], [mp.mpf(0.75), zero(0), zero(0)], [zero(0)] * 3), 3: ([zero(0)], [mp.mpf(0.75), zero(0), zero(0)], [zero(0)] * 3)}),
    "layernorm": Rows(lambda x: [(v - mean(x)) / mp.sqrt(var(x) + mp.mpf("1e-5")) for v in x], VECTORS, "init(layernorm, x)(x)", tolerance=(16, 64, 256), scale=(1, 1000, 1e6)),
    "normalize": Rows(lambda x: [(x[0] - 1) / 2, (x[1] + 3) / 4], PAIRS, "normalize(reshape(x, [1, 2, 1, 1]), [1, -3], [2, 4])"),
    "where": Rows(lambda x: [x[0] / x[1] if x[1] else zero(0)], PAIRS, "where(x[:, 1] != 0, x[:, 0] / x[:, 1], 0)", scale=(0, 1, 1),
                  exact={i: ([zero(0)], [zero(0)] * 2, [zero(0)] * 2) for i, p in enumerate(PAIRS) if not p[1]}),
    "x^y": Rows(lambda x: [mp.power(x[0], x[1])], [[2.0, 3.0], [0.5, -2.0], [1e-5, 0.5], [3.0, 0.0], [0.0, 2.0], [0.0, 0.0], [0.0, 3.0]], "x[:, 0] ^ x[:, 1]", tolerance=(8, 32, 128), scale=(0, 1, 10), exact={
        4: ([zero(0)], [zero(0), zero(0)], None), 5: ([mp.mpf(1)], [zero(0), zero(0)], None), 6: ([zero(0)], [zero(0)] * 2, None)}),
    "x / y": Rows(lambda x: [x[0] / x[1]], [p for p in PAIRS if p[1]] + [[1.0, 1e-10], [1e30, 1e25]], "x[:, 0] / x[:, 1]", scale=(0, 0, 0)),
    "sqrt(x^2 + y^2) far from where's threshold": Rows(lambda x: [mp.sqrt(x[0]**2 + x[1]**2) if x[0]**2 + x[1]**2 > 0.25 else mp.mpf(1)], [[3.0, 4.0], [1.0, 2.0], [0.0, 0.0]],
                                                       "where(sqrt(sum(x^2, axis = 1)) > 0.5, sqrt(sum(x^2, axis = 1)), 1)", exact={2: ([mp.mpf(1)], [zero(0)] * 2, [zero(0)] * 2)}),
    "log of a slice": Rows(lambda x: [mp.log(x[1])], [[0.0, 2.0], [-1.0, 3.0]], "log(x)[:, 1]"),
    "missing targets": Rows(lambda x: [x[0]**2], [[2.0, float("nan")], [3.0, float("inf")]], "where(abs(x[:, 1]) < 10, 0, x[:, 0]^2) + where(abs(x[:, 1]) < 10, (x[:, 0] - x[:, 1])^2, 0)", exact={
        i: ([mp.mpf(v * v)], [mp.mpf(1.5 * v), zero(0)], [mp.mpf(1.5), zero(0)]) for i, v in enumerate([2.0, 3.0])}),
}

MODULO = [[7.0, 3.0], [-7.0, 3.0], [7.0, -3.0], [0.0, 2.0], [5.25, 0.5], [1.0, 0.125], [49.0, 49.0], [2.0, float("nan")]]


def modulo(x, y):
    if np.isnan(y):
        return [nan], None, None
    q = mp.floor(mp.mpf(x) / mp.mpf(y))
    return [mp.mpf(x) - q * mp.mpf(y)], [mp.mpf(0.75), -q * mp.mpf(0.75)], [zero(0)] * 2


ROWS["mod"] = Rows(None, MODULO, "mod(x[:, 0], x[:, 1])", scale=(1, 0, 0), exact={i: modulo(*pair) for i, pair in enumerate(MODULO)})
if "mod" not in documented():  # another change brings it
    del ROWS["mod"]

# ---- functions without a formula of real numbers: where they are tested
ELSEWHERE = {
    "shapes, lists and indices (tests/unit/elaborate_test.cpp, tests/e2e)": "same_shape argmax argmin count last len reshape flatten transpose concat stack kernel_shape pair zeros ones full "
    "linspace arange eye f32 f64 i32 one_hot pick classes flat like map select at mix init accuracy",
    "windows (tests/oracle/run.py convolution, images)": "conv window_max window_sum conv2d maxpool avgpool global_avgpool batchnorm linear dropout",
    "random numbers (tests/e2e, tests/unit/runtime_test.cpp)": "random uniform normal bernoulli randint kaiming xavier random_labels random_flip random_crop",
    "derivatives (tests/oracle/run.py gradients, hessian_609)": "grad jvp vjp jacobian hessian dense gradcheck",
    "linear algebra (tests/unit/ops_test.cpp)": "solve cholesky eigvals",
    "files (tests/unit/formats_test.cpp, tests/e2e)": "csv npy idx mnist cifar10 fashion_mnist",
    "optimisers (tests/oracle/run.py optimisers)": "clip_norm clipped sgd adagrad rmsprop adam adamw newton levenberg",
}


def outcome(good, name, detail):
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    print(f"{'ok  ' if good else 'FAIL'} {name}: {detail}", flush=True)


# ---- long sums in f32: an error must not grow with the number of terms
def long_sums(hwc, flags):
    """Sums, means, variances and products of f32 against the same in f64."""
    n = 4_000_000
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "sums.hw")
        with open(program, "w") as f:
            f.write(f"""x = 10000 + uniform(0, 1, shape = [{n}], seed = 1)
a = reshape(x, [{n // 8}, 8])
b = reshape(x, [8, {n // 8}])
c = reshape(x, [20, {n // 80}, 4])
record sums: m = mean(x), v = var(x), k = mean(square(x)), rows = mean(mean(a, axis = 0)), columns = mean(mean(b, axis = 1)), middle = mean(mean(c, axis = 1)), product = (x @ x) / {n}, outer = mean(a.T @ a) / {n // 8}, masked = mean(where(x > 10000.5, x, 0)), spread = max(var(a, axis = 0)), gradient = mean(grad(mean((a @ ones([8, 1]) - 3)^2), a)), batch = mean(b @ b.T) / {n // 8}
x64 = f64(x)
a64, b64, c64 = reshape(x64, [{n // 8}, 8]), reshape(x64, [8, {n // 8}]), reshape(x64, [20, {n // 80}, 4])
record exact: m = mean(x64), v = var(x64), k = mean(square(x64)), rows = mean(mean(a64, axis = 0)), columns = mean(mean(b64, axis = 1)), middle = mean(mean(c64, axis = 1)), product = (x64 @ x64) / {n}, outer = mean(a64.T @ a64) / {n // 8}, masked = mean(where(x64 > 10000.5, x64, 0)), spread = max(var(a64, axis = 0)), gradient = mean(grad(mean((a64 @ ones([8, 1]) - 3)^2), a64)), batch = mean(b64 @ b64.T) / {n // 8}
""")
        out = os.path.join(folder, "out")
        done = subprocess.run([hwc, "run", program, "--out", out, *flags], capture_output=True, text=True)
        if done.returncode:
            return outcome(False, "long sums", done.stdout + done.stderr)
        import csv
        got, exact = (next(csv.DictReader(open(os.path.join(out, f"{t}.csv")))) for t in ("sums", "exact"))
        for name in exact:
            a, b = float(got[name]), float(exact[name])
            relative = abs(a - b) / abs(b)
            limit = 1e-4 if name in ("v", "spread") else 5e-7  # a variance of 1/12 about a mean of 1e4 is conditioned 1e4 worse
            outcome(relative <= limit, f"long sums, {name}", f"{a!r} beside {b!r} in f64: {relative:.1e}, limit {limit:.0e}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--cpu")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--most", type=int, default=4, help="faults shown of a function")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    hwc = os.path.join(options.build, "bin", "hwc")
    flags = ["--cpu", options.cpu] if options.cpu else []

    known = {*UNARY, *ROWS, *(name for names in ELSEWHERE.values() for name in names.split())}
    missing = [name for name in documented() if name not in known]
    outcome(not missing, "every function of docs/language.md has an oracle",
            f"{len(documented())} functions" if not missing else "without an entry in tests/oracle/functions.py: " + ", ".join(missing))
    gone = [name for name in known - set(documented()) if re.fullmatch(r"\w+", name)]
    outcome(not gone, "every oracle has a function", "of the reference" if not gone else "not in docs/language.md: " + ", ".join(gone))

    entries = {name: entry for name, entry in {**UNARY, **ROWS}.items() if not options.names or name in options.names}
    folder = tempfile.mkdtemp(prefix="hw-functions-")
    lines, runs = [], []
    for number, (name, entry) in enumerate(entries.items()):
        for dtype in DTYPES:
            tag = f"t{number}_{dtype}"
            x = entry.inputs(DTYPES[dtype])
            np.save(os.path.join(folder, tag + ".npy"), x)
            text, results = entry.program(name, tag)
            lines += [f"// {name}\n", text, "save " + ", ".join(f"{r}_{tag}" for r in results) + "\n"]
            runs.append((name, entry, dtype, tag, x, results))
    program = os.path.join(folder, "functions.hw")
    with open(program, "w") as f:
        f.writelines(lines)
    out = os.path.join(folder, "out")
    done = subprocess.run([hwc, "run", program, "--data", folder, "--out", out, *flags], capture_output=True, text=True)
    if done.returncode:
        outcome(False, "the program of all functions runs", (done.stdout + done.stderr)[:4000])
    else:
        for name, entry, dtype, tag, x, results in runs:
            got = [np.load(os.path.join(out, f"{r}_{tag}.npy")) for r in results]
            wrong = list(entry.check(x, got, DTYPES[dtype]))
            if any(g.dtype != DTYPES[dtype] for g, r in zip(got, results) if r != "n"):
                wrong.append(f"results of type {[str(g.dtype) for g in got]}")
            detail = f"{got[0].shape[0]} points, three orders" if not wrong else f"{len(wrong)} wrong\n    " + "\n    ".join(wrong[:options.most])
            outcome(not wrong, f"{name}, {dtype}", detail)
    if not options.names:
        long_sums(hwc, flags)
    if options.keep:
        print("kept:", folder)
    else:
        import shutil
        shutil.rmtree(folder)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
