#!/usr/bin/env python3
"""The command line from end to end, with Python's standard library alone.

    tests/e2e/run.py [--build DIR] [--cpu CPU] [--keep] [WORD...]     only tests whose name holds one of the words

--cpu: every program is compiled for this CPU, by LLVM's name.
"""
import argparse
import filecmp
import json
import math
import os
import pty
import re
import resource
import select
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
import cases
import facts
import generated

HWC, CPU = None, None
COMPILING = ("check", "build", "run", "emit", "bench", "gradcheck")
TESTS = []
NEVER = re.compile(r"(?i)assertion|stack dump|terminate called|llvm error|segmentation|please submit a bug|std::|core dumped|traceback"
                   r"|current operation|compiler made something wrong|\b(?:hw|hwb|study|func)\.\w+\b.*(?:tensor<|%\d)|%\d+ = |tensor<\d")


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


def test(function):
    TESTS.append((function.__doc__.strip().rstrip("."), function))
    return function


def check(condition, message):
    if not condition:
        raise Failed(message)


def write(where, files):
    for name, body in files.items():
        path = os.path.join(where, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(body.encode() if isinstance(body, str) else body)


class Result:
    def __init__(self, code, out, err, seconds):
        self.code, self.raw, self.err, self.seconds = code, out, err.decode(errors="replace"), seconds
        self.out = out.decode(errors="replace")

    def __str__(self):
        return f"exit {self.code}; stdout: {self.out[-600:]!r}; stderr: {self.err[-1200:]!r}"


def hwc(*command):
    """A command line of hwc, for the CPU that was asked for."""
    return [HWC, *command, *(["--cpu", CPU] if CPU and command[0] in COMPILING and "--cpu" not in command else [])]


def run(where, *command, program=None, seconds=120, env=None):
    start = time.time()
    try:
        done = subprocess.run([program, *command] if program else hwc(*command), cwd=where, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, env=env)
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(command)[:200]} did not end within {seconds} s")
    result = Result(done.returncode, done.stdout, done.stderr, time.time() - start)
    check(not NEVER.search(result.err), f"an internal failure shows: {result}")
    return result


def good(where, *command, **more):
    result = run(where, *command, **more)
    check(result.code == 0, f"{' '.join(command)[:200]}: {result}")
    return result


def bad(where, *command, words=(), code=(1,), **more):
    result = run(where, *command, **more)
    check(result.code in code, f"expected exit code {' or '.join(map(str, code))}: {result}")
    for word in words:
        check(re.search(word, result.err), f"the message lacks /{word}/: {result}")
    return result


def files_of(folder):
    return sorted(os.path.relpath(os.path.join(base, f), folder) for base, _, names in os.walk(folder) for f in names)


def csv_rows(path):
    import csv
    with open(path, newline="") as f:
        return list(csv.reader(f))


def without_clocks(path):
    rows = csv_rows(path)
    drop = {i for i, name in enumerate(rows[0]) if name == "seconds"}
    return [[cell for i, cell in enumerate(row) if i not in drop] for row in rows]


def same_results(a, b):
    """Byte for byte, but for run.json and the clock `seconds` in tables."""
    check(files_of(a) == files_of(b), f"different files: {files_of(a)} and {files_of(b)}")
    check(len(files_of(a)) > 1, f"nothing to compare in {a}: {files_of(a)}")
    for name in files_of(a):
        if name == "run.json":
            continue
        one, two = os.path.join(a, name), os.path.join(b, name)
        if filecmp.cmp(one, two, shallow=False):
            continue
        check(name.endswith(".csv") and without_clocks(one) == without_clocks(two), f"{name} differs")


def same_runs(a, b):
    """Byte for byte, and run.json but for what clocks and command lines say."""
    same_results(a, b)
    one, two = (json.load(open(os.path.join(folder, "run.json"))) for folder in (a, b))
    for about in (one, two):
        for key in ("command", "started", "seconds", "load_seconds", "resumed"):
            about.pop(key)
        for training in about["trainings"]:
            training.pop("seconds")
    check(one == two, f"run.json differs: {one} and {two}")


def safetensors(path):
    with open(path, "rb") as f:
        length, = struct.unpack("<Q", f.read(8))
        header, body = json.loads(f.read(length)), f.read()
    header.pop("__metadata__", None)
    kinds = {"F32": "f", "F64": "d", "I32": "i", "I64": "q"}
    return {n: struct.unpack("<%d%s" % ((e["data_offsets"][1] - e["data_offsets"][0]) // struct.calcsize(kinds[e["dtype"]]), kinds[e["dtype"]]),
                             body[e["data_offsets"][0]:e["data_offsets"][1]]) for n, e in header.items()}


FIT = cases.TRAIN + 'save net\nplot "loss" on curve { line loss over epoch; log y }\n'
MINI = FIT.replace("train net on d for", "train net on d batch 6 for")

# ---------------------------------------------------------------- bad input, by table
for _name, _source, _words, *_files in cases.LANGUAGE + cases.TABLES:
    def _case(where, source=_source, words=_words, files=(_files or [{}])[0]):
        write(where, {"model.hw": source, **files})
        bad(where, "run", "model.hw", "--out", "out", words=words, seconds=60)
    TESTS.append((f"bad input: {_name}", _case))


def numbers_of(value):
    return [n for part in value for n in numbers_of(part)] if isinstance(value, list) else [value]


def is_number(cell, value):
    got = float(cell)
    if isinstance(value, facts.Exact) or math.isinf(value) or math.isnan(value):
        return got == value or math.isnan(value) and math.isnan(got)
    return abs(got - value) <= 3e-6 * (abs(value) or 1)


@test
def reference_facts(where):
    """every sentence of docs/language.md that states a fact has a program that shows it"""
    write(where, {"model.hw": facts.COMMON + "".join(
        statements + ("\n" if statements else "") + "record fact%d: %s\n" % (i, ", ".join(f"v{k} = {e}" for k, e in enumerate(values)))
        for i, (_, statements, values) in enumerate(facts.FACTS)), "saving.hw": facts.SAVING})
    good(where, "run", "model.hw", "--out", "facts", seconds=300)
    wrong = []
    for i, (quote, _, values) in enumerate(facts.FACTS):
        (names, cells), got = csv_rows(os.path.join(where, "facts", f"fact{i}.csv")), {}
        for name, cell in zip(names, cells):
            got.setdefault(name.split("[")[0], []).append(cell)
        for k, (expression, value) in enumerate(values.items()):
            wanted = numbers_of(value)
            if len(got[f"v{k}"]) != len(wanted) or not all(map(is_number, got[f"v{k}"], wanted)):
                wrong.append(f"{quote!r}: {expression} is {got[f'v{k}']}, not {wanted}")
    good(where, "run", "saving.hw", "--out", "saved")
    for quote, files in facts.FILES:
        for name, content in files.items():
            path = os.path.join(where, "saved", name)
            if not os.path.exists(path) or content and content not in open(path, "rb").read():
                wrong.append(f"{quote!r}: {name} {'lacks ' + repr(content) if os.path.exists(path) else 'is not there'}")
    for i, (quote, program, words) in enumerate(facts.ERRORS):
        write(where, {f"error{i}/model.hw": program})
        command = ["run", f"error{i}/model.hw", "--out", f"out{i}"] if program.startswith(facts.RUN) else ["check", f"error{i}/model.hw"]
        result = run(where, *command)
        if result.code != 1 or not re.search(words, result.err):
            wrong.append(f"{quote!r}: no error /{words}/: {result}")
    text = [(heading, re.sub(r"\s+", " ", sentence)) for heading, sentence in facts.sentences(open(os.path.join(ROOT, "docs", "language.md")).read())]
    quotes = [quote for quote, *_ in (*facts.FACTS, *facts.ERRORS, *facts.FILES)]
    elsewhere = [quote for quote, _ in facts.ELSEWHERE]
    for quote in {*quotes, *elsewhere, *facts.NO_CLAIM}:
        found = [s for h, s in text if s.startswith(quote) or quote == "#" + h]
        if not found or (len(found) > 1 and quote in quotes):
            wrong.append(f"{quote!r} begins {len(found)} sentences of docs/language.md")
    for heading, sentence in text:
        if not any(sentence.startswith(quote) or quote == "#" + heading for quote in (*quotes, *elsewhere, *facts.NO_CLAIM)):
            print(f"docs/language.md, {heading}: no fact shows {sentence[:100]!r}; see tests/e2e/facts.py")
    check(not wrong, f"{len(wrong)} facts: " + "\n".join(wrong))


@test
def model_file_missing(where):
    """bad input: a model file that is not there"""
    for command in ("run", "check", "build", "emit", "fmt", "bench", "gradcheck"):
        extra = {"build": ["-o", "fit"], "emit": ["--stage", "ast"]}.get(command, [])
        bad(where, command, "nowhere.hw", *extra, words=[r"nowhere\.hw"], code=(1,))


@test
def unknown_flag(where):
    """bad input: an unknown flag, command or stage"""
    write(where, {"model.hw": FIT})
    for command in (["run", "model.hw", "--nonsense"], ["nonsense", "model.hw"], ["emit", "model.hw", "--stage", "nonsense"], ["run"]):
        result = run(where, *command)
        check(0 < result.code < 128, f"{command}: {result}")
        check("nonsense" in result.err or command == ["run"], f"{command}: the message does not name it: {result}")
    bad(where, "model.hw", words=["hwc run model.hw"])
    bad(where, "run", "model", words=["did you mean `model.hw`"])
    bad(where, "run", "model.hw", "--epochs", "5", words=["--epochs", "--set NAME=VALUE"])


@test
def unknown_set(where):
    """bad input: an unknown or malformed --set, and the settings are listed"""
    write(where, {"model.hw": "rate, width = 0.1, 4\n" + FIT.replace("lr = 0.1", "lr = rate").replace("linear(4)", "linear(width)")})
    bad(where, "run", "model.hw", "--out", "o1", "--set", "rte=0.2", words=["rte", r"\brate\b", r"\bwidth\b"])
    for text in ("rate", "rate=", "rate=abc", "=3"):
        result = run(where, "run", "model.hw", "--out", "o2", "--set", text)
        check(0 < result.code < 128, f"--set {text}: {result}")
    bad(where, "run", "model.hw", "--out", "o3", "--set", "width=-1")
    bad(where, "run", "model.hw", "--out", "o4", "--set", "width=2.5")


@test
def unwritable_out(where):
    """bad input: an --out that cannot be written"""
    write(where, {"model.hw": FIT, "file": "x"})
    bad(where, "run", "model.hw", "--out", "file", words=["file"])
    bad(where, "run", "model.hw", "--out", "file/below", words=["file"])
    bad(where, "run", "model.hw", "--out", "/proc/hwc", words=["/proc/hwc"])
    check(open(os.path.join(where, "file")).read() == "x", "the file in the way was changed")


@test
def out_force(where):
    """--out: existing results are refused without --force, and replaced with it"""
    write(where, {"model.hw": FIT})
    good(where, "run", "model.hw", "--out", "out")
    before = os.stat(f"{where}/out/curve.csv").st_mtime_ns
    bad(where, "run", "model.hw", "--out", "out", words=["--force", "out"])
    check(os.stat(f"{where}/out/curve.csv").st_mtime_ns == before, "refused, yet the results were touched")
    good(where, "run", "model.hw", "--out", "out", "--force")
    good(where, "run", "model.hw")
    check("curve.csv" in files_of(f"{where}/out/model"), "the default is not out/<stem>/")


@test
def hostile_titles(where):
    """bad input: hostile plot titles neither run a command nor write outside --out"""
    titles = ["../../evil", "`touch pwned1`", "$(touch pwned2)", "'; system('touch pwned3'); '", "\\\"; !touch pwned4 #", "/etc/evil",
              "a\\nsystem 'touch pwned5'", "..", ".hidden", "-o evil", "x" * 3000, "@{touch}".replace("{", "\\{").replace("}", "\\}"), ""]
    write(where, {"work/model.hw": cases.TRAIN + "".join(f'plot "{t}" on curve {{ line loss over epoch }}\n' for t in titles)})
    before = files_of(where)
    result = run(f"{where}/work", "run", "model.hw", "--out", "out")
    check(result.code in (0, 1), str(result))
    outside = [f for f in files_of(where) if not f.startswith("work/out/") and f not in before]
    check(not outside, f"written outside --out: {outside}")
    check(not any("pwned" in f and "touch" not in f for f in files_of(where)), "a command of the title's choosing ran")
    if result.code == 0:
        check(len([f for f in files_of(f"{where}/work/out") if f.endswith(".gp")]) == len(titles), f"not a script a title: {files_of(where)}")


@test
def hostile_names(where):
    """bad input: hostile words as loop values and labels do not leave --out either"""
    write(where, {"work/model.hw": cases.DATA + """for name in ["../../up", "a'b`touch pwned`", "x\\"y"] {
  record t: name = name, a = 1
  record t: name = name, a = 2
  v = ones([2])
  save v
}
plot "figure" on t per name { line a by name }
"""})
    run(f"{where}/work", "run", "model.hw", "--out", "out")
    outside = [f for f in files_of(where) if not f.startswith("work/out/") and f != "work/model.hw"]
    check(not outside, f"written outside --out: {outside}")
    check(not any(f.endswith("pwned") for f in files_of(where)), "a command ran")


@test
def becomes_nan(where):
    """a loss that becomes NaN: says at which epoch, which operation and line made it; the epoch's first weights are kept"""
    write(where, {"model.hw": cases.NET + """train net on d for 40 epochs {
  out = net(x)
  shifted = log(out - 1000 * (epoch - 4))
  loss = mse(shifted, y)
  minimize loss with sgd(lr = 1e-6)
  record curve: loss
}
""".replace("out - 1000 * (epoch - 4)", "10 - 4 * epoch + 0 * out")})
    result = bad(where, "run", "model.hw", "--out", "out", words=[r"(?i)nan|not a number", r"epoch 3", r"model\.hw:6", r"log"])
    kept = [f for f in files_of(f"{where}/out") if f.endswith(".safetensors")]
    check(kept, f"no weights were kept: {files_of(where)}; {result}")
    check(all(x == x and abs(x) < 1e30 for w in safetensors(f"{where}/out/{kept[0]}").values() for x in w), "the kept weights are not finite")
    check(kept[0].rsplit("/")[-1] in result.err or "out" in result.err, "the message does not say where the weights are")


@test
def diverges(where):
    """a training that diverges stops with the epoch and keeps finite weights"""
    write(where, {"model.hw": FIT.replace("lr = 0.1", "lr = 1e12").replace("5 epochs", "60 epochs")})
    bad(where, "run", "model.hw", "--out", "out", words=[r"epoch \d+", r"model\.hw:\d+"])
    kept = [f for f in files_of(f"{where}/out") if f.endswith(".safetensors")]
    check(kept, f"no weights were kept: {files_of(where)}")
    check(all(x == x for w in safetensors(f"{where}/out/{kept[0]}").values() for x in w), "the kept weights are NaN")


# ---------------------------------------------------------------- what a run leaves
@test
def whole_numbers_are_compared_exactly(where):
    """bytes, i32 and u32 beside numbers that they can and cannot hold: all six comparisons as Python has them"""
    columns = {"b": ("|u1", [0, 1, 128, 255]), "i": ("<i4", [-2147483648, -1, 7, 2147483647]), "u": ("<u4", [0, 16777217, 2147483648, 4294967295])}
    for name, (kind, values) in columns.items():
        body = b"".join(v.to_bytes(1 if kind == "|u1" else 4, "little", signed=kind == "<i4") for v in values)
        write(where, {f"{name}.npy": cases.npy("(4,)", body, kind)})
    others = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan, **{f"{n!r}": n for n in (
        0, -1, 0.5, 7, 6.5, 127.5, 128, 255, 256, 16777216.5, 16777217, 2147483646.5, 2147483647, 2147483648, -2147483648, -2147483649, 4294967295, 4294967296, 3e9, 1e30)}}
    signs = {"<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b, "==": lambda a, b: a == b, "!=": lambda a, b: a != b}
    asked = [(c, sign, other) for c in columns for sign in signs for other in others]
    source = 'data d { b = npy("b.npy"); i = npy("i.npy"); u = npy("u.npy") }\n'
    bits = "[1, 2, 4, 8]"
    rows = "".join(f"record t: at = {n}, left = sum(f64(d.{c} {sign} ({other})) * {bits}), right = sum(f64(({other}) {sign} d.{c}) * {bits})\n"
                   for n, (c, sign, other) in enumerate(asked))
    write(where, {"model.hw": source + rows})
    good(where, "run", "model.hw")
    table = csv_rows(f"{where}/out/model/t.csv")[1:]
    check(len(table) == len(asked), f"{len(table)} rows")
    for (column, sign, other), (_, left, right) in zip(asked, table):
        values, number = columns[column][1], others[other]
        for got, want in ((left, [signs[sign](v, number) for v in values]), (right, [signs[sign](number, v) for v in values])):
            check(float(got) == sum(w << k for k, w in enumerate(want)), f"{column} {sign} {other}: {got} instead of {want}")


@test
def leaves(where):
    """a run leaves its table, weights, figure, script and run.json"""
    write(where, {"model.hw": FIT})
    good(where, "run", "model.hw", "--out", "out")
    names = files_of(f"{where}/out")
    for name in ("curve.csv", "net.safetensors", "loss.svg", "loss.png", "loss.gp", "loss.plot.csv", "run.json"):
        check(name in names, f"no {name}: {names}")
    rows = csv_rows(f"{where}/out/curve.csv")
    check("epoch" in rows[0] and "loss" in rows[0] and len(rows) == 6, f"curve.csv: {rows[:2]}, {len(rows)} rows")
    losses = [float(row[rows[0].index("loss")]) for row in rows[1:]]
    check(losses[-1] < losses[0], f"the loss does not fall: {losses}")
    weights = safetensors(f"{where}/out/net.safetensors")
    check({n: len(v) for n, v in weights.items()} == {"linear1.weight": 12, "linear1.bias": 4, "linear2.weight": 4, "linear2.bias": 1},
          f"parameters: { {n: len(v) for n, v in weights.items()} }")
    about = json.load(open(f"{where}/out/run.json"))
    check(isinstance(about, dict) and about, "run.json is not an object")
    check(open(f"{where}/out/loss.png", "rb").read(8) == b"\x89PNG\r\n\x1a\n", "loss.png is not a PNG")
    check("<svg" in open(f"{where}/out/loss.svg").read(), "loss.svg is not an SVG")


@test
def deterministic(where):
    """two runs of one program leave the same bytes"""
    write(where, {"model.hw": MINI})
    for out in ("a", "b"):
        good(where, "run", "model.hw", "--out", out, "--threads", "2")
    same_results(f"{where}/a", f"{where}/b")


@test
def executable(where):
    """an executable leaves the bytes of `hwc run`, and needs neither hwc nor LLVM"""
    write(where, {"model.hw": MINI})
    good(where, "run", "model.hw", "--out", "jit", "--threads", "2")
    good(where, "build", "model.hw", "-o", "fit")
    needs = subprocess.run(["ldd", f"{where}/fit"], capture_output=True, text=True).stdout
    check("LLVM" not in needs and "MLIR" not in needs, f"it needs {needs}")
    os.makedirs(f"{where}/elsewhere")
    os.rename(f"{where}/fit", f"{where}/elsewhere/fit")
    good(f"{where}/elsewhere", "--out", "../exe", "--threads", "2", program="./fit")
    same_results(f"{where}/jit", f"{where}/exe")
    for flags in (["--help"], ["--version"]):
        check(good(where, *flags, program=f"{where}/elsewhere/fit").out.strip(), f"{flags} prints nothing")
    bad(where, "--out", "exe", program=f"{where}/elsewhere/fit", words=["--force"])


@test
def executable_settings(where):
    """an executable takes --set for a rate, and says how to rebuild for a shape"""
    source = "rate, width = 0.1, 4\n" + FIT.replace("lr = 0.1", "lr = rate").replace("linear(4)", "linear(width)")
    write(where, {"model.hw": source})
    good(where, "build", "model.hw", "-o", "fit")
    good(where, "--set", "rate=0.02", "--out", "exe", program=f"{where}/fit")
    good(where, "run", "model.hw", "--set", "rate=0.02", "--out", "jit")
    good(where, "run", "model.hw", "--out", "plain")
    same_results(f"{where}/exe", f"{where}/jit")
    check(csv_rows(f"{where}/jit/curve.csv") != csv_rows(f"{where}/plain/curve.csv"), "--set changes nothing")
    bad(where, "--set", "width=8", "--out", "w", program=f"{where}/fit", words=["width", "hwc build"])
    bad(where, "--set", "rte=1", "--out", "w", program=f"{where}/fit", words=["rte", r"\brate\b"])
    good(where, "run", "model.hw", "--set", "width=8", "--out", "wide")
    check(len(safetensors(f"{where}/wide/net.safetensors")["linear1.weight"]) == 24, "--set width=8 did not change the shape")


@test
def loop_and_unrolled(where):
    """A run-time loop with trainings and calls inside gives what the same loop unrolled gives"""
    source = """data wave { x = f64(uniform(-1, 1, shape = [20, 1], seed = 1)); y = sin(5*pi*x) / (5*pi*x) }
fn tiny(x) = x |> linear(2) |> relu |> linear(1)
for run in RUNS {
  net = init(tiny, wave.x, seed = run)
  for method in ["a", "b"] {
    end = net
    if method == "a" { train end on wave for 3 epochs { minimize mse(end(x), y) with sgd(lr = 1e-2) } }
    loss = mse(end(x), y) on wave
    near = [mse(at(end, end.weights * uniform(0.99, 1.01, like = end.weights, seed = s))(x), y) on wave for s in 1..50]
    record critical: loss, sampled = mean(near > loss)
  }
}
"""
    rows = {}
    for name, runs in (("loop", "1..3"), ("unrolled", "[1, 2, 3]")):
        write(where, {f"{name}.hw": source.replace("RUNS", runs)})
        good(where, "run", f"{name}.hw", "--out", name)
        with open(f"{where}/{name}/critical.csv") as f:
            table = [line.rstrip("\n").split(",") for line in f]
        columns = [table[0].index(column) for column in ("run", "method", "loss", "sampled")]
        rows[name] = sorted([row[c] for c in columns] for row in table[1:])
    check(len(rows["loop"]) == 6, f"six rows expected: {rows['loop']}")
    check(len({row[2] for row in rows["loop"]}) == 6, f"six losses expected: {rows['loop']}")
    for a, b in zip(rows["loop"], rows["unrolled"]):
        check(float(a[0]) == float(b[0]) and a[1] == b[1], f"rows differ: {a} and {b}")
        check(all(abs(float(u) - float(v)) <= 1e-12 for u, v in zip(a[2:], b[2:])), f"values differ: {a} and {b}")


@test
def bundle(where):
    """`hwc build --bundle` copies what the program needs to run elsewhere"""
    write(where, {"model.hw": FIT})
    good(where, "build", "model.hw", "--bundle", "bundle", "-o", "fit")
    check(files_of(f"{where}/bundle"), "the bundle is empty")
    programs = [f for f in files_of(f"{where}/bundle") if os.access(f"{where}/bundle/{f}", os.X_OK) and not ".so" in f]
    check(programs, f"no program in the bundle: {files_of(where + '/bundle')}")
    shutil.move(f"{where}/bundle", f"{where}/moved")
    good(where, "--out", "out", program=f"{where}/moved/{programs[0]}", env={"PATH": "/usr/bin:/bin"})
    check("curve.csv" in files_of(f"{where}/out"), "the bundled program left no table")


@test
def quick(where):
    """--quick takes the sizes that the file states, for run and for build"""
    source = "epochs = 50\nquick epochs = 3\n" + FIT.replace("for 5 epochs", "for epochs epochs")
    write(where, {"model.hw": source})
    good(where, "run", "model.hw", "--quick", "--out", "quick")
    good(where, "run", "model.hw", "--out", "full")
    good(where, "build", "model.hw", "--quick", "-o", "fit")
    good(where, "--out", "exe", program=f"{where}/fit")
    rows = [len(csv_rows(f"{where}/{out}/curve.csv")) for out in ("quick", "full", "exe")]
    check(rows == [4, 51, 4], f"rows: {rows}")


@test
def widths_agree(where):
    """one, two and three threads leave the same bytes"""
    write(where, {"model.hw": FIT})
    for n in ("1", "2", "3"):
        good(where, "run", "model.hw", "--threads", n, "--out", n)
        check(open(f"{where}/{n}/net.safetensors", "rb").read() == open(f"{where}/1/net.safetensors", "rb").read(), f"{n} threads")
    for text in ("0", "-1", "x", "1000000"):
        result = run(where, "run", "model.hw", "--threads", text, "--out", "t" + text)
        check(0 < result.code < 128, f"--threads {text}: {result}")


@test
def plain_progress(where):
    """without a terminal progress is plain lines"""
    write(where, {"model.hw": FIT.replace("5 epochs", "3000 epochs")})
    result = good(where, "run", "model.hw", "--out", "out")
    text = result.out + result.err
    check("\r" not in text and "\x1b" not in text, f"control characters: {result}")
    check(re.search(r"loss", text), f"no loss shown: {result}")


@test
def terminal_progress(where):
    """on a terminal a progress bar is redrawn, with loss, speed and time left"""
    write(where, {"model.hw": FIT.replace("5 epochs", "200000 epochs")})
    main, side = pty.openpty()
    process = subprocess.Popen(hwc("run", "model.hw", "--out", "out"), cwd=where, stdin=side, stdout=side, stderr=side,
                               start_new_session=True, env=dict(os.environ, TERM="xterm"))
    os.close(side)
    text, end = b"", time.time() + 60
    while time.time() < end and process.poll() is None and text.count(b"\r") < 20:
        if select.select([main], [], [], 0.2)[0]:
            try:
                text += os.read(main, 65536)
            except OSError:
                break
    process.send_signal(signal.SIGINT)
    try:
        deadline = time.time() + 30
        while process.poll() is None and time.time() < deadline:
            if select.select([main], [], [], 0.2)[0]:
                try:
                    os.read(main, 65536)
                except OSError:
                    break
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        raise Failed("it did not end after Ctrl-C")
    finally:
        os.close(main)
    shown = text.decode(errors="replace")
    check("\r" in shown.replace("\r\n", ""), f"nothing is redrawn: {shown[-400:]!r}")
    check("loss" in shown and re.search(r"/s|left|ETA", shown), f"no loss, speed or time left: {shown[-400:]!r}")


@test
def interrupted(where):
    """Ctrl-C stops cleanly with the weights saved, in `hwc run` and in an executable"""
    write(where, {"model.hw": FIT.replace("5 epochs", "50000000 epochs").replace("  record curve: loss\n", "  every 1000 epochs { record curve: loss = mean(loss) }\n")})
    good(where, "build", "model.hw", "-o", "fit")
    for out, command in (("jit", hwc("run", "model.hw", "--out", "jit")), ("exe", [f"{where}/fit", "--out", "exe"])):
        process = subprocess.Popen(command, cwd=where, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        end = time.time() + 40
        while time.time() < end and process.poll() is None and not os.path.exists(f"{where}/{out}/curve.csv"):
            time.sleep(0.1)
        time.sleep(1)
        check(process.poll() is None, f"it ended by itself: {process.poll()}")
        process.send_signal(signal.SIGINT)
        try:
            text = b"".join(process.communicate(timeout=30)).decode(errors="replace")
        except subprocess.TimeoutExpired:
            process.kill()
            raise Failed("it did not end within 30 s of Ctrl-C")
        check(process.returncode not in (0, -2, -6, -9, -11) and not NEVER.search(text), f"exit {process.returncode}: {text[-600:]}")
        check(process.returncode == 130, f"exit {process.returncode}: {text[-600:]}")
        check(re.search(r"to go on: .*--resume$", text.strip().splitlines()[-1]), f"not the command to go on: {text[-600:]}")
        check(CHECKPOINT in files_of(f"{where}/{out}"), f"no checkpoint: {files_of(where)}; {text[-600:]}")
        weights = safetensors(f"{where}/{out}/{CHECKPOINT}")
        check(all(x == x for name, w in weights.items() if name.startswith("net.") for x in w), "the weights are not finite")
        check(len([name for name in weights if name.startswith("net.")]) == 4, f"not the net's weights: {list(weights)}")


# ---------------------------------------------------------------- checkpoints
CHECKPOINT = "run.checkpoint.safetensors"
SURVIVORS = {
    # A bare training: mini-batches, shuffled, the last one smaller, with dropout.
    "a training in batches": cases.DATA + """fn small(x) = x |> linear(24) |> tanh |> dropout(0.1) |> linear(1)
net = init(small, d.x, seed = 3)
train net on d batch 3 for 40000 epochs { minimize mse(net(x), y) with adam(lr = 1e-3) }
save net
""",
    "a loop over seeds, with records and plots": cases.DATA + """fn small(x) = x |> linear(6) |> relu |> linear(1)
for run in 1..3 {
  net = init(small, d.x, seed = run)
  train net on d batch 6 for 6000 epochs {
    loss = mse(net(x), y)
    minimize loss with adam(lr = 1e-2)
    record steps: loss
    every 50 epochs { record curve: loss = mean(loss), whole = mse(net(x), y) on d batch 7 }
  }
  save net
  record ends on d: x, fitted = net(x)
  plot "loss" on curve { line loss over epoch by run; log y }
}
plot "ends, {run}" on ends per run { points fitted over x[0] }
""",
    # With what convolutions bring: pooling, running statistics, augmented images, bytes as data, a smaller last batch.
    "a convolutional classifier, in the middle of an epoch": """data images = mnist("set")
fn cnn(x) = x |> random_crop(1) |> random_flip |> conv2d(5, kernel = 3, padding = 1) |> batchnorm |> relu |> maxpool(2) |> dropout(0.2) |> conv2d(7, kernel = 2) |> relu |> flatten |> linear(10)
net = init(cnn, images.train.x, seed = 3)
train net on images.train batch 3 for 900 epochs {
  logits = net(x)
  loss = cross_entropy(logits, label)
  minimize loss with adam(lr = 1e-3)
  record steps: loss, acc = accuracy(logits, label)
  every 50 epochs { record held on images.test batch 8: loss = cross_entropy(net(x), label), acc = accuracy(net(x), label) }
}
save net, logits = net(x) on images.test batch 6
""",
    "two trainings, one in a block of another, early stopping": cases.NET + """best, kept, again = inf, net, net
train net on d batch 8 for 12000 epochs {
  minimize mse(net(x), y) with sgd(lr = 0.02, momentum = 0.9)
  every 15 epochs {
    v = mse(net(x), y) on d batch 9
    kept = where(v < best, net, kept)
    best = min(best, v)
    train again on d for 40 steps { minimize mse(again(x), y) + 1e-3 * sum(again.weights^2) with adam(lr = 1e-3) }
    record held: v, best, other = mse(again(x), y) on d
    stop when epoch >= 9000
  }
}
end = kept
train end on d batch 5 ordered for 20000 epochs { minimize mse(end(x), y) with rmsprop(lr = 1e-4) }
H = dense(hessian(mse(end(x), y) on d, end))
record final: loss = mse(end(x), y) on d, least = eigvals(H)[0]
save kept, end, again, H
""",
    "networks side by side": cases.DATA + """for widths in [[24], [6, 6], [12], [30], [4, 4, 4]] {
  fn net_of(x, widths) {
    h = x
    for n in widths { h = h |> linear(n) |> tanh |> dropout(0.1) }
    return h |> linear(1)
  }
  net, before = init(net_of(widths), d.x, seed = 3), inf
  train net on d batch 5 for 8000 epochs {
    loss = mse(net(x), y)
    minimize loss with adam(lr = 1e-3)
    every 100 epochs {
      now = mean(loss)
      record curve: loss = now, whole = mse(net(x), y) on d batch 7
      stop when epoch > 4000 and abs(before - now) < 1e-4
      before = now
    }
  }
  record ends on d: fitted = net(x), what = "{widths}"
  record sizes: size = net.weights.size, loss = mse(net(x), y) on d batch 5
  save net
}
plot "sizes" on sizes { points loss over size }
""",
    "seeds side by side": cases.DATA + """fn small(x) = x |> linear(12) |> tanh |> linear(1)
for run in 1..5 {
  net = init(small, d.x, seed = run)
  train net on d batch 6 for 8000 epochs {
    loss = mse(net(x), y)
    minimize loss with adam(lr = 1e-2)
    every 100 epochs { record curve: loss = mean(loss), whole = flat(net.weights) }
  }
  H = dense(hessian(mse(net(x), y) on d, net))
  record ends: loss = mse(net(x), y) on d, largest = max(eigvals(H))
  save net, H
}
""",
}


def survives(name, source):
    def case(where):
        import random
        write(where, {"model.hw": source, **cases.mnist()})
        good(where, "build", "model.hw", "-o", "fit")
        flags = ["--quiet", "--threads", "2", "--checkpoint", "0"]
        whole = good(where, "--out", "whole", *flags, program=f"{where}/fit")
        # Once when there is a checkpoint, so that it goes on from one whatever the machine; then at any time.
        killed_with_checkpoint(where, "--quiet", "--threads", "2", program=f"{where}/fit")
        for attempt in range(7):
            process = subprocess.Popen([f"{where}/fit", "--out", "out", "--resume", *flags], cwd=where, stderr=subprocess.DEVNULL)
            try:
                process.wait(timeout=random.uniform(0, 0.7 * whole.seconds))
                check(process.returncode == 0, f"exit {process.returncode}")
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        good(where, "--out", "out", "--resume", *flags, program=f"{where}/fit")
        check(json.load(open(f"{where}/out/run.json"))["resumed"], "it never went on from a checkpoint")
        same_runs(f"{where}/whole", f"{where}/out")
        if "side by side" in name:
            check(json.load(open(f"{where}/out/run.json"))["side_by_side"] == 2, "not side by side")
            good(where, "--out", "alone", "--quiet", "--threads", "1", program=f"{where}/fit")
            same_results(f"{where}/whole", f"{where}/alone")
        check(good(where, "--out", "out", "--resume", program=f"{where}/fit").err.strip().endswith("--force repeats it"), "not said to be finished")
    TESTS.append((f"kill -9 at random moments, then --resume, leaves the same bytes: {name}", case))


for _name, _source in SURVIVORS.items():
    survives(_name, _source)


@test
def first_error_side_by_side(where):
    """side by side: the first error in the file's order is told, with the rows and the weights of a run on one thread"""
    write(where, {"model.hw": cases.DATA + """fn small(x) = x |> linear(4) |> tanh |> linear(1)
for run in 1..6 {
  net = init(small, d.x, seed = run)
  train net on d for 3000 epochs {
    loss = mse(net(x), y) + log(1 + where(run >= 3, -1, 0) * step / where(run == 3, 2000, 200))
    minimize loss with adam(lr = 1e-3)
    every 10 epochs { record curve: loss = mean(loss) }
  }
  record ends: loss = mse(net(x), y) on d
}
"""})
    texts = [bad(where, "run", "model.hw", "--quiet", "--out", n, "--threads", n, words=[r"run = 3'.* became -inf in epoch 2000", r"log at model\.hw:6"]).err.replace(f"{n}/net", "net")
             for n in ("1", "2")]
    check(texts[0] == texts[1], f"other words: {texts}")
    same_results(f"{where}/1", f"{where}/2")


@test
def interrupted_side_by_side(where):
    """side by side: Ctrl-C leaves the rows so far and a checkpoint that goes on"""
    write(where, {"model.hw": SURVIVORS["networks side by side"].replace("8000 epochs", "80000 epochs").replace("epoch > 4000", "epoch > 70000")})
    good(where, "build", "model.hw", "-o", "fit")
    good(where, "--out", "whole", "--quiet", "--threads", "2", program=f"{where}/fit")
    process = subprocess.Popen([f"{where}/fit", "--out", "out", "--threads", "2"], cwd=where, stderr=subprocess.PIPE)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=20)[1].decode()
    check(process.returncode == 130 and "--resume" in err, f"exit {process.returncode}: {err}")
    ends = [training["end"] for training in json.load(open(f"{where}/out/run.json"))["trainings"]]
    check(ends and ends[-1] == "interrupted", f"trainings: {ends}")
    check(len(csv_rows(f"{where}/out/curve.csv")) > 1, "no rows")
    good(where, "--out", "out", "--resume", program=f"{where}/fit")
    same_runs(f"{where}/whole", f"{where}/out")


def killed_with_checkpoint(where, *flags, program, out="out", seconds=0):
    """Runs a program until it has written a checkpoint, and kills it."""
    process = subprocess.Popen([program, "--out", out, "--checkpoint", str(seconds), *flags], cwd=where, stderr=subprocess.DEVNULL)
    end = time.time() + 60
    while not os.path.exists(f"{where}/{out}/{CHECKPOINT}"):
        check(time.time() < end and process.poll() is None, f"no checkpoint: {files_of(where)}")
        time.sleep(0.002)
    process.kill()
    process.wait()
    for name in os.listdir(f"{where}/{out}"):  # the next run takes away what it was just writing
        if name.endswith(".tmp"):
            os.remove(f"{where}/{out}/{name}")


LONG = FIT.replace("5 epochs", "epochs epochs").replace("lr = 0.1", "lr = rate").replace("linear(4)", "linear(width)")
LONG = "epochs, rate, width = 1000000000, 0.01, 4\n" + LONG.replace("  record curve: loss\n", "  every 1000 epochs { record curve: loss = mean(loss) }\n")


def with_state(path, change):
    """Rewrites a checkpoint's state, with its checksum."""
    import zlib
    raw = open(path, "rb").read()
    length, = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + length])
    state = json.loads(header["__metadata__"]["state"])
    change(state)
    text = json.dumps(state)
    header["__metadata__"] = {"state": text, "state_crc32": str(zlib.crc32(text.encode()))}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + raw[8 + length:])


@test
def other_checkpoints(where):
    """bad input: --resume with a checkpoint of another model, width, version, setting or data, each told in a sentence"""
    values = struct.pack("<20f", *range(20))
    source = LONG.replace("y = normal(0, 1, shape = [20, 1], seed = 2)", 'y = npy("t.npy")')
    write(where, {"model.hw": source, "t.npy": cases.npy("(20, 1)", values, "<f4")})
    good(where, "build", "model.hw", "-o", "model")
    exe = f"{where}/model"
    killed_with_checkpoint(where, "--threads", "2", "--set", "rate=0.02", program=exe)

    def refused(*flags, words, change=None, program=exe, source=source):
        shutil.rmtree(f"{where}/copy", ignore_errors=True)
        shutil.copytree(f"{where}/out", f"{where}/copy")
        if change:
            with_state(f"{where}/copy/{CHECKPOINT}", change)
        before = {f: open(f"{where}/copy/{f}", "rb").read() for f in files_of(f"{where}/copy")}
        write(where, {"model.hw": source})
        result = bad(where, *([] if program != HWC else ["run", "model.hw"]), "--out", "copy", "--resume", *flags, words=words, program=program)
        check(len(result.err.strip().splitlines()) == 1, f"more than a sentence: {result}")
        check({f: open(f"{where}/copy/{f}", "rb").read() for f in files_of(f"{where}/copy")} == before, "files were changed")

    refused("--threads", "1", words=["2 threads", "--threads 2"])
    refused("--set", "rate=0.03", words=["rate", r"0\.02", r"0\.03"])
    refused("--force", words=["--resume", "--force"])
    refused("--set", "width=5", words=["width = 4", "--set width=4"], program=HWC)
    refused(words=["changed"], program=HWC, source=source.replace("tanh", "relu"))
    refused(words=["changed"], program=HWC, source=source.replace("seed = 1", "seed = 4"))
    refused(words=["quick"], program=HWC, source=source + "quick epochs = 1\n", *["--quick"])
    refused(words=["another program", "other"], change=lambda s: s.update(program="other"))
    refused(words=["version '9.9.9'"], change=lambda s: s.update(hwc="9.9.9"))
    refused(words=["format 99"], change=lambda s: s.update(version=99))
    refused(words=["i386"], change=lambda s: s.update(cpu="i386"))
    refused(words=["oneDNN"], change=lambda s: s.update(oneDNN="1.2.3"))
    refused(words=["does not fit"], change=lambda s: s["frames"][0].update(at=10**9))
    refused(words=["does not fit"], change=lambda s: s["frames"].append(s["frames"][0]))
    refused(words=["does not fit"], change=lambda s: s["tables"][0].update(name="other"))
    refused(words=["damaged"], change=lambda s: s["tables"][0].update(rows=7))
    refused(words=["damaged"], change=lambda s: s.update(frames=[]))
    write(where, {"t.npy": cases.npy("(20, 1)", values[4:] + values[:4], "<f4")})
    refused(words=[r"t\.npy", "not what it was"])
    write(where, {"t.npy": cases.npy("(20, 1)", values, "<f4")})
    # A comment makes no other program, and settings come with the checkpoint: killed, resumed and left to end.
    write(where, {"model.hw": "// a comment\n" + source})
    process = subprocess.Popen(hwc("run", "model.hw", "--out", "out", "--resume"), cwd=where, stderr=subprocess.PIPE)
    end = time.time() + 60
    while json.load(open(f"{where}/out/run.json"))["resumed"] != 1 and time.time() < end:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    text = process.communicate(timeout=60)[1].decode()
    check(process.returncode == 143 and "to go on: " in text, f"exit {process.returncode}: {text}")
    about = json.load(open(f"{where}/out/run.json"))
    check(about["settings"]["rate"] == 0.02 and about["threads"] == 2 and about["resumed"] == 1, f"{about}")


@test
def damaged_checkpoints(where):
    """bad input: truncated, corrupt and foreign checkpoints, each told in a sentence"""
    import random
    write(where, {"model.hw": LONG})
    good(where, "build", "model.hw", "-o", "fit")
    killed_with_checkpoint(where, program=f"{where}/fit")
    path = f"{where}/out/{CHECKPOINT}"
    whole = open(path, "rb").read()
    chance = random.Random(1)
    bodies = [b"", b"x", whole[:7], whole[:40], whole[:len(whole) // 2], whole[:-1], whole + b"x", struct.pack("<Q", 1 << 60) + whole[8:], os.urandom(5000),
              open(f"{where}/fit", "rb").read(4096)]
    for _ in range(60):
        at = chance.randrange(len(whole))
        bodies.append(whole[:at] + bytes([whole[at] ^ (1 << chance.randrange(8))]) + whole[at + 1:])
    for body in bodies:
        with open(path, "wb") as f:
            f.write(body)
        result = bad(where, "--out", "out", "--resume", program=f"{where}/fit", words=[r"run\.checkpoint\.safetensors"], seconds=20)
        check(len(result.err.strip().splitlines()) == 1, f"more than a sentence: {result}")
    os.remove(path)
    os.mkdir(path)
    bad(where, "--out", "out", "--resume", program=f"{where}/fit", words=[r"run\.checkpoint\.safetensors", "folder"])


@test
def foreign_folder(where):
    """bad input: --resume in a folder that is somebody else's, or in use"""
    write(where, {"model.hw": LONG, "other.hw": FIT, "letters/mother.txt": "Dear mother"})
    good(where, "build", "model.hw", "-o", "fit")
    good(where, "run", "other.hw", "--out", "results")
    for folder, words in (("letters", ["letters", "no run"]), ("results", ["results", "another program"])):
        before = files_of(f"{where}/{folder}")
        bad(where, "--out", folder, "--resume", program=f"{where}/fit", words=words)
        check(files_of(f"{where}/{folder}") == before, "files were changed")
    process = subprocess.Popen([f"{where}/fit", "--out", "out", "--resume"], cwd=where, stderr=subprocess.DEVNULL)
    try:
        end = time.time() + 30
        while not os.path.exists(f"{where}/out/run.json") and time.time() < end:
            time.sleep(0.02)
        for flag in ("--resume", "--force"):
            bad(where, "--out", "out", flag, program=f"{where}/fit", words=["another program is writing"])
    finally:
        process.kill()
        process.wait()


def full_disk(where, program, prepare, words):
    """A checkpoint that does not fit leaves the one before, and no other file; with room again the run ends as it should."""
    path = f"{where}/out/{CHECKPOINT}"
    before = open(path, "rb").read()
    done = subprocess.run([program, "--out", "out", "--resume", "--checkpoint", "0", "--quiet"], cwd=where, capture_output=True, text=True, timeout=60, **prepare)
    check(done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1, f"exit {done.returncode}: {done.stderr}")
    for word in words + [r"run\.checkpoint\.safetensors", "--resume"]:
        check(re.search(word, done.stderr), f"the message lacks /{word}/: {done.stderr}")
    check(open(path, "rb").read() == before, "the checkpoint before it is gone")
    check(not [f for f in files_of(f"{where}/out") if f.endswith(".tmp")], f"left {files_of(where + '/out')}")


# A million weights, with Adam's moments: 11 MB a checkpoint.
BIG = cases.DATA + """fn big(x) = x |> linear(1000) |> tanh |> linear(900) |> tanh |> linear(1)
net = init(big, d.x, seed = 1)
train net on d batch 4 for 400 epochs { minimize mse(net(x), y) with adam(lr = 1e-4) }
save net
"""


@test
def file_too_large(where):
    """bad input: a checkpoint that a limit does not let grow; the old one survives"""
    import resource
    write(where, {"model.hw": BIG})
    good(where, "build", "model.hw", "-o", "fit")
    good(where, "--out", "whole", "--threads", "2", program=f"{where}/fit")
    killed_with_checkpoint(where, "--threads", "2", program=f"{where}/fit")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))
    full_disk(where, f"{where}/fit", {"preexec_fn": limit}, ["too large"])
    good(where, "--out", "out", "--resume", program=f"{where}/fit")
    same_runs(f"{where}/whole", f"{where}/out")


@test
def disk_full(where):
    """bad input: a disk that is full while checkpointing; the old checkpoint survives"""
    write(where, {"model.hw": BIG})
    os.makedirs(f"{where}/out")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", f"{where}/out"], capture_output=True).returncode:
        raise Skipped("a small file system can be mounted by root only")
    try:
        good(where, "build", "model.hw", "-o", "fit")
        good(where, "--out", "whole", "--threads", "2", program=f"{where}/fit")
        killed_with_checkpoint(where, "--threads", "2", program=f"{where}/fit")
        with open(f"{where}/out/ballast", "wb") as f:
            f.write(b"x" * (os.statvfs(f"{where}/out").f_bavail * os.statvfs(f"{where}/out").f_frsize - (2 << 20)))
        full_disk(where, f"{where}/fit", {}, ["No space left", "free some space"])
        os.remove(f"{where}/out/ballast")
        good(where, "--out", "out", "--resume", program=f"{where}/fit")
        same_runs(f"{where}/whole", f"{where}/out")
    finally:
        subprocess.run(["umount", f"{where}/out"])


@test
def asked_checkpoint(where):
    """`checkpoint` writes one where it stands; in a step it is an error"""
    write(where, {"model.hw": LONG.replace("every 1000 epochs {", "every 1000000 epochs { checkpoint;")})
    good(where, "build", "model.hw", "-o", "fit")
    killed_with_checkpoint(where, seconds=60, program=f"{where}/fit")
    check(safetensors(f"{where}/out/{CHECKPOINT}").get("net.linear1.weight"), "not the net's weights")
    write(where, {"model.hw": FIT.replace("  record curve: loss\n", "  checkpoint\n")})
    bad(where, "run", "model.hw", words=[r"model\.hw:7:3", "every epoch"])


# ---------------------------------------------------------------- the commands
@test
def help_everywhere(where):
    """--help on every command, and --version"""
    check("run" in good(where, "--help").out, "--help does not name `run`")
    check(re.search(r"\d+\.\d+", good(where, "--version").out), "--version has no number")
    for command in ("check", "build", "run", "emit", "bench", "gradcheck", "fmt", "completion"):
        result = good(where, command, "--help")
        check(len(result.out) > 100, f"{command} --help says too little: {result}")


@test
def check_table(where):
    """`hwc check` prints layers, parameter counts and memory, and trains nothing"""
    write(where, {"model.hw": FIT})
    result = good(where, "check", "model.hw")
    for word in (r"linear1", r"\b21\b", r"(?i)\d\s*(bytes|B|KiB|KB|MiB)\b"):
        check(re.search(word, result.out), f"/{word}/ is not in: {result}")
    check(files_of(where) == ["model.hw"], f"it left {files_of(where)}")


@test
def check_a1(where):
    """`hwc check` on A1 prints 5641, 5641 and 5639 parameters"""
    model = f"{ROOT}/examples/a1_fit_functions.hw"
    text = good(where, "check", model).out.replace(",", "")
    check(len(re.findall(r"\b5641\b", text)) >= 2 and re.search(r"\b5639\b", text), text[-1500:])


@test
def emit_stages(where):
    """`hwc emit` works at every stage"""
    write(where, {"model.hw": FIT})
    signs = {"ast": rb"small", "hw": rb"hw\.", "derivatives": rb"hw\.", "outlined": rb"call @|func\.call", "kernels": rb"func|scf|vector|memref", "llvm": rb"define ",
             "asm": rb"\.text|\.globl", "obj": rb"^\x7fELF", "plan": rb'"body"', "dot": rb"digraph"}
    for stage, sign in signs.items():
        result = good(where, "emit", "model.hw", "--stage", stage)
        check(re.search(sign, result.raw), f"--stage {stage}: {result.out[:400]!r}")
        if stage == "plan":
            plan = json.loads(result.raw)
            check(plan.get("version") == 1 and plan.get("body"), "the plan has no version or body")
        if stage == "derivatives":
            check(b"hw.grad" not in result.raw, "a derivative is left unexpanded")


@test
def device_in_the_way(where):
    """`-o` that names a pipe or a device does not put a file in its place"""
    write(where, {"model.hw": MINI})
    os.mkfifo(f"{where}/pipe")
    for command in (["emit", "model.hw", "--stage", "plan", "-o", "pipe"], ["build", "model.hw", "-o", "pipe"], ["emit", "model.hw", "--stage", "plan", "-o", "/dev/null"]):
        bad(where, *command, words=["device or a pipe", "another name"])
    check(stat.S_ISFIFO(os.stat(f"{where}/pipe").st_mode) and stat.S_ISCHR(os.stat("/dev/null").st_mode), "something was replaced")


@test
def layouts(where):
    """a step of A4's networks leaves its convolutions to oneDNN, and copies nothing but the weights of each gradient in an input, once"""
    example = os.path.join(ROOT, "examples", "a4_mnist_cnn.hw")
    text = good(where, "emit", example, "--stage", "kernels", "--cpu", "x86-64-v4").out
    for model, convolutions, pixels in (("shallow", 1, 66 * 14 * 14), ("deep", 3, 72 * 3 * 3), ("deeper", 5, 102 * 3 * 3)):
        step = re.search(rf"^entry net \(model = {model}\)\.step\n(.*?)^entry ", text, re.M | re.S)[1]
        calls = re.findall(r"^phase .*: oneDNN convolution(.*?) \d+x", step, re.M)
        # The images need no gradient.
        wanted = {"": convolutions, "'s weight gradient": convolutions, "'s input gradient": convolutions - 1}
        check({kind: calls.count(kind) for kind in wanted} == wanted and len(calls) == 3 * convolutions - 1, f"{model}: {calls}")
        made = lambda text: re.findall(r"^phase .*: (?:load over|copy)\b ?([\dx]*)", text, re.M)
        body = re.search(r"^\{\n(.*?)^\}\n", step, re.M | re.S)[1]  # what is done for each group of images
        # A convolution's blocks of 16 x 16 are turned for the gradient in its input. The linear layer's weights [10, pixels]
        # are what the gradient in its input reads; its product reads rows of 10.
        blocks = [sizes for sizes in made(step) if sizes.endswith("x16x16")]
        rest = [sizes for sizes in made(step) if sizes not in blocks]
        check(not made(body) and len(blocks) == convolutions - 1 and rest == [f"{pixels}x10"], f"{model}: copies of {made(step)}")


@test
def layouts_of_one_product(where):
    """what reads the gradient in flattened activations reads one product, with the weights as they are carried"""
    write(where, {"model.hw": """data d { x = uniform(0, 1, shape = [128, 3, 20, 18], seed = 0); label = randint(6, shape = [128], seed = 1) }
fn cnn(x) = x |> conv2d(20, kernel = 5, padding = 2) |> tanh |> conv2d(20, kernel = 5, stride = 2) |> flatten |> linear(6)
net = init(cnn, d.x, seed = 0)
train net on d for 3 steps { minimize cross_entropy(net(x), label) with adam(lr = 1e-3) }
save net
"""})
    text = good(where, "emit", "model.hw", "--stage", "kernels", "--cpu", "x86-64-v4").out
    step = re.search(r"^entry net\.step\n(.*?)^entry ", text, re.M | re.S)[1]
    check(step.count(": oneDNN convolution") == 5, f"not oneDNN's: {step}")
    products = re.findall(r"^ *product ([\dx]+)", step, re.M)
    check(len(products) == 3 and all({"6", "1120"} < set(sizes.split("x")) for sizes in products), f"products {products}")
    copies = re.findall(r"^phase .*: (?:load over|copy)\b ?([\dx]*)", step, re.M)
    check(sorted(sizes for sizes in copies if not sizes.endswith("x360x3")) == ["100x16x16", "1120x6"], f"copies of {copies}")


@test
def emit_cpu(where):
    """`hwc emit --cpu x86-64-v3` has no instruction of AVX-512, and AVX-512 where it is asked for"""
    write(where, {"model.hw": MINI})
    wide = re.compile(r"%zmm|%k[0-7]|%[xy]mm(1[6-9]|2\d|3[01])|_ZGVe")
    for cpu, expected in (("x86-64-v4", True), ("x86-64-v3", False), ("x86-64", False)):
        text = good(where, "emit", "model.hw", "--stage", "asm", "--cpu", cpu).out
        found = wide.search(text)
        check(bool(found) == expected, f"--cpu {cpu}: {found and found[0]}")
    for cpu in ("abacus", "help", "pentium"):  # unknown, LLVM's word for a list, 32 bits
        check(not bad(where, "emit", "model.hw", "--stage", "asm", "--cpu", cpu, words=[f"'{cpu}'", "x86-64-v3"]).out, "it prints something else")


@test
def other_machine(where):
    """a program for x86-64-v3 leaves on an emulated machine without AVX-512 what it leaves here; one for AVX-512 refuses to start there"""
    emulator = shutil.which("qemu-x86_64")
    if not emulator:
        raise Skipped("no qemu-x86_64 here (Debian: qemu-user)")
    write(where, {"model.hw": MINI})
    for cpu in ("x86-64-v3", "x86-64-v4"):
        good(where, "build", "model.hw", "-o", cpu, "--cpu", cpu)
    haswell = ["-cpu", "Haswell"]
    good(where, "--out", "here", "--threads", "2", "--quiet", program=f"{where}/x86-64-v3")
    good(where, *haswell, "./x86-64-v3", "--out", "there", "--threads", "2", "--quiet", program=emulator)
    same_results(f"{where}/here", f"{where}/there")
    bad(where, *haswell, "./x86-64-v4", "--out", "refused", program=emulator, words=["AVX-512", "--cpu"])
    check(not os.path.exists(f"{where}/refused"), "refused, yet it left something")


@test
def emit_repeats(where):
    """`hwc emit --stage obj` is the same twice"""
    write(where, {"model.hw": MINI})
    one, two = (good(where, "emit", "model.hw", "--stage", "obj").raw for _ in range(2))
    check(one == two and one, "the objects differ")


@test
def bench_runs(where):
    """`hwc bench` prints Google Benchmark's JSON and takes its flags"""
    write(where, {"model.hw": FIT})
    result = good(where, "bench", "model.hw", "--benchmark_format=json", "--benchmark_min_time=0.01")
    rows = json.loads(result.out)["benchmarks"]
    names = [row["name"] for row in rows]
    check(any("step" in n for n in names), f"no step among {names}")
    for word in ("forward", "grad", "hvp", "step"):
        check(any(word in n for n in names), f"no {word} among {names}")
    check(all(row["real_time"] > 0 for row in rows), "a time is not positive")
    check(any("flop" in key.lower() for row in rows for key in row), f"no flops: {rows[0]}")
    few = json.loads(good(where, "bench", "model.hw", "--benchmark_filter=step", "--benchmark_format=json", "--benchmark_min_time=0.01").out)["benchmarks"]
    check(few and all("step" in row["name"] for row in few), "--benchmark_filter does not filter")
    check("kernel" not in result.out + result.err, f"a table of kernels beside JSON, though no one asked: {result}")
    bad(where, "bench", "model.hw", "--benchmark_filter=nonesuch", words=["nonesuch", "step"])
    bad(where, "bench", "model.hw", "--nonesuch", words=["nonesuch"])


@test
def bench_kernels(where):
    """`hwc bench` shows where a step's time goes: kernels, places, shares that add up, the machine's limits"""
    write(where, {"model.hw": FIT})
    flags = ["--benchmark_filter=step", "--benchmark_min_time=0.01"]
    text = good(where, "bench", "model.hw", *flags).out
    check(re.search(r"limits measured: \d+ GFLOP/s of f32, \d+ of f64; reading \d+ GB/s", text), f"no limits: {text}")
    lines = text[text.index("limits measured"):].splitlines()
    title = next(n for n, line in enumerate(lines) if line.split()[-1:] == ["kernel"])
    check(lines[title].split()[:3] in ([unit, "%", "threads"] for unit in ("ns", "µs", "ms")) and "model.hw" in lines[title], f"the title: {lines[title]!r}")
    total = next(n for n, line in enumerate(lines) if re.match(r" *[\d.]+ +100\.0 ", line))
    rows = [line.split() for line in lines[title + 1:total]]
    shares = [float(row[1]) for row in rows]
    check(abs(sum(shares) - 100) < 0.1 * len(rows), f"shares add up to {sum(shares)}: {text}")
    kernels = [row for row in rows if not row[2].startswith("(")]
    check(kernels and len(rows) == len(kernels) + 2, f"kernels, and two rows for what is none: {text}")
    check(any(row[3] != "-" for row in kernels), f"no kernel has flops: {text}")
    check(all(re.search(r" \d+:\d+ +\S", line) for line in lines[title + 1:total - 2]), f"a kernel without a place: {text}")
    check(re.match(r" *[\d.]+ +100\.0 +[\d.]+k? ", lines[total]), f"the step has no flops: {lines[total]!r}")
    off = good(where, "bench", "model.hw", *flags, "--no-kernels")
    check("limits measured" not in off.out + off.err, f"--no-kernels: {off}")
    both = good(where, "bench", "model.hw", *flags, "--kernels", "--benchmark_format=json")
    check(json.loads(both.out)["benchmarks"] and "limits measured" in both.err, f"--kernels beside JSON: {both}")


def timeline(path):
    """The complete events of a timeline, checked for what viewers need: parts of a thread lie one within the other, or apart."""
    with open(path) as f:
        document = json.load(f)
    events = [e for e in document["traceEvents"] if e["ph"] == "X"]
    check(all(isinstance(e[key], kind) for e in events for key, kind in
              {"name": str, "cat": str, "pid": int, "tid": int, "ts": (int, float), "dur": (int, float)}.items()), f"{path}: an event lacks something")
    for thread in {e["tid"] for e in events}:
        open_ends = []
        for e in sorted((e for e in events if e["tid"] == thread), key=lambda e: (e["ts"], -e["dur"])):
            while open_ends and open_ends[-1] <= e["ts"] + 0.0015:  # times are rounded to nanoseconds
                open_ends.pop()
            check(not open_ends or e["ts"] + e["dur"] <= open_ends[-1] + 0.0015, f"{path}: {e} ends after what it began in")
            open_ends.append(e["ts"] + e["dur"])
    return document, events


@test
def traces(where):
    """--trace of run, bench and executables is a timeline that viewers can read, and changes no result"""
    write(where, {"model.hw": MINI})
    good(where, "run", "model.hw", "--out", "traced", "--trace", "run.json", "--threads", "2")
    good(where, "run", "model.hw", "--out", "two", "--threads", "2")
    same_results(f"{where}/two", f"{where}/traced")
    document, events = timeline(f"{where}/run.json")
    check(document["otherData"]["dropped events"] == 0, f"dropped: {document['otherData']}")
    kinds = [e["cat"] for e in events]
    check(kinds.count("training") == 1 and kinds.count("epoch") == 5 and "call" in kinds, f"spans: {sorted(set(kinds))}")
    steps = [e for e in events if e["cat"].endswith(".step")]
    check(steps and {e["tid"] for e in steps} <= {0, 1}, "no kernels of the step")
    check(any(e["args"]["flops"] > 0 and re.match(r"model\.hw:\d+:\d+$", e["args"].get("location", "")) for e in steps), f"no flops or places: {steps[0]}")
    good(where, "bench", "model.hw", "--benchmark_filter=step", "--benchmark_min_time=0.01", "--no-kernels", "--trace", "bench.json")
    check(any(e["cat"].endswith(".step") for e in timeline(f"{where}/bench.json")[1]), "no kernels in the timeline of bench")
    for name, flags in (("bare", []), ("marked", ["--marks"])):
        good(where, "build", "model.hw", "-o", name, *flags)
        good(where, "--trace", f"{name}.json", "--out", f"{name}-out", "--threads", "2", program=f"{where}/{name}")
        kinds = {e["cat"] for e in timeline(f"{where}/{name}.json")[1]}
        check({"training", "epoch", "call"} <= kinds and any(k.endswith(".step") for k in kinds) == bool(flags), f"{name}: {kinds}")
        same_results(f"{where}/two", f"{where}/{name}-out")
    bad(where, "run", "model.hw", "--out", "no", "--trace", "nowhere/t.json", words=["nowhere"])
    bad(where, "bench", "model.hw", "--trace", "nowhere/t.json", words=["nowhere"])


@test
def bench_products(where):
    """`hwc bench --products` takes auto, library or generated, and nothing else"""
    write(where, {"model.hw": FIT})
    for way in ("auto", "library", "generated"):
        text = good(where, "bench", "model.hw", "--products", way, "--benchmark_filter=step", "--benchmark_format=json", "--benchmark_min_time=0.01").out
        check(json.loads(text)["benchmarks"], f"--products {way} timed nothing")
    bad(where, "bench", "model.hw", "--products", "abacus", words=["abacus", "library"])


@test
def sweep(where):
    """bench/sweep times a shape in every way there is, and says what the machine can do"""
    good(where, "--build", os.path.dirname(os.path.dirname(HWC)), "--quick", "--rounds", "1", "--seconds", "0.001", "--json", "sweep.json",
         "--threads", "2", "[30, 256]T @ [256, 30]", "sum(a) of [1013, 37]", program=f"{ROOT}/bench/sweep")
    found = json.load(open(f"{where}/sweep.json"))
    ways = {row["shape"]: set(row["us"]) for row in found["shapes"]}
    check(ways == {"f32 [30, 256]T @ [256, 30]": {"chosen", "one thread", "library", "generated"}, "f64 [30, 256]T @ [256, 30]": {"chosen", "one thread"},
                   "f32 sum(a) of [1013, 37]": {"chosen", "one thread"}, "f64 sum(a) of [1013, 37]": {"chosen", "one thread"}}, f"measured {ways}")
    for row in found["shapes"]:
        check(all(us > 0 for us in [*row["us"].values(), row["limit us"]]), f"a time is not positive: {row}")


@test
def gradcheck(where):
    """`hwc gradcheck` prints each parameter's relative errors, all small"""
    write(where, {"model.hw": FIT})
    result = good(where, "gradcheck", "model.hw")
    for name in ("linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias"):
        line = next((l for l in result.out.splitlines() if name in l), "")
        numbers = [float(x) for x in re.findall(r"\d\.?\d*e[-+]\d+", line)]
        check(numbers and max(numbers) < 1e-6, f"{name}: {line!r} in {result}")


@test
def gradcheck_at_comparisons(where):
    """at the place of a comparison a smooth function is compared, and a slope that is wrong there is seen; a true kink is set apart"""
    model = """data d { x = f64([[1, 2], [3, -1], [-2, 1], [0.5, 0.5]]); y = f64([1, 0, 1, 0]) }
fn soft(x) = max(x, 0) + log1p(exp(-abs(x)))  // its slope at 0 comes out as 0 in place of a half
fn model(x) {
  param w: [2] = zeros
  return x @ w
}
net = init(model, d.x, seed = 1)
errors = gradcheck(LOSS, net)
"""
    for loss, code, words in (("binary_cross_entropy(net(d.x), d.y)", 0, r"w +2 +\d\S+ +\d\S+$"), ("mean(soft(net(d.x)) - d.y * net(d.x))", 1, r"w +2 +\d\S+"),
                              ("mean(relu(net(d.x)))", 0, r"w +2 +at a kink"), ("huber(net(d.x), 0 * d.y)", 0, r"w +2 +\d\S+ +\d\S+$"),
                              ("cross_entropy(stack([net(d.x), -net(d.x)], axis = 1), classes(d.y, 2))", 0, r"w +2 +\d\S+ +\d\S+$")):
        write(where, {"model.hw": model.replace("LOSS", loss)})
        result = run(where, "gradcheck", "model.hw")
        check(result.code == code and re.search(words, result.out, re.M), f"{loss}: {result}")


@test
def formatting(where):
    """`hwc fmt` is idempotent, keeps comments and meaning"""
    messy = "// first\n" + FIT.replace(" = ", "=").replace("  ", "      ") + "\n\n\n// last\n"
    write(where, {"a.hw": messy})
    once = formatted(where, "a.hw")
    write(where, {"b.hw": once})
    check(formatted(where, "b.hw") == once, "formatting twice differs from once")
    check("// first" in once and "// last" in once, "a comment is lost")
    check(once != messy, "nothing was formatted")
    write(where, {"messy.hw": messy})
    bad(where, "fmt", "--check", "messy.hw", words=["messy"])
    check(open(f"{where}/messy.hw").read() == messy, "--check changed the file")
    write(where, {"c.hw": messy, "d.hw": once})
    good(where, "run", "c.hw", "--out", "c")
    good(where, "run", "d.hw", "--out", "d")
    same_results(f"{where}/c", f"{where}/d")


def formatted(where, name):
    """What fmt makes of a file, printed and written back alike."""
    printed = good(where, "fmt", "--stdout", name).out
    good(where, "fmt", name)
    check(open(f"{where}/{name}").read() == printed, "fmt writes another text than it prints")
    good(where, "fmt", "--check", name)
    return printed


@test
def examples_formatted(where):
    """every example and every model of the benchmark is as `hwc fmt` leaves it"""
    for folder in ("examples", "bench"):
        names = sorted(f for f in os.listdir(f"{ROOT}/{folder}") if f.endswith(".hw"))
        check(names, f"no models in {folder}")
        for name in names:
            text = open(f"{ROOT}/{folder}/{name}").read()
            write(where, {name: text})
            check(formatted(where, name) == text, f"{folder}/{name}: run hwc fmt on it")


@test
def documentation(where):
    """every program in README.md and docs/ runs (```hw), and every example of an error is one (```hw-error)"""
    import glob
    found, wrong = 0, []
    for page in [f"{ROOT}/README.md", *sorted(glob.glob(f"{ROOT}/docs/*.md"))]:
        for number, block in enumerate(re.finditer(r"^```(hw|hw-error)\n([\s\S]*?)^```", open(page).read(), re.M), 1):
            name = f"{os.path.basename(page)[:-3]}-{number}"
            write(where, {f"{name}.hw": block[2]})
            result = run(where, "run", "--quick", f"{name}.hw", "--quiet")
            found += 1
            if (result.code == 0) != (block[1] == "hw"):
                wrong.append(f"{page} block {number} (```{block[1]}): exit {result.code}: {result.err[-500:]}")
    check(found, "no program is in the documentation")
    check(not wrong, f"{len(wrong)} of {found}:\n" + "\n".join(wrong))


@test
def fmt_bad_file(where):
    """`hwc fmt` of a file with an error leaves it as it was"""
    write(where, {"a.hw": "v = (1 +\n"})
    bad(where, "fmt", "a.hw", words=[r"a\.hw:1"])
    check(open(f"{where}/a.hw").read() == "v = (1 +\n", "the file was changed")


@test
def completion(where):
    """`hwc completion` prints scripts that the shells accept and that complete"""
    write(where, {"c.bash": good(where, "completion", "bash").raw, "c.zsh": good(where, "completion", "zsh").raw})
    script = "source ./c.bash; COMP_WORDS=(hwc emit --stage k); COMP_CWORD=3; _hwc; echo ${COMPREPLY[@]}; COMP_WORDS=(hwc r); COMP_CWORD=1; _hwc; echo ${COMPREPLY[@]}"
    check(good(where, "-c", script, program="/bin/bash").out.split() == ["kernels", "run"], "bash does not complete")
    if shutil.which("zsh"):
        good(where, "-n", "c.zsh", program=shutil.which("zsh"))
    offered = open(f"{where}/c.bash").read()
    for command in ("run", "build", "check", "emit", "bench", "gradcheck", "fmt"):
        block = re.search(rf"\n\s*{command}\) flags\+=([\s\S]*?);;", offered)
        text = good(where, command, "--help").out
        for flag in re.findall(r"--[a-z]+(?![\w=])", block[1]) if block else []:
            check(flag in text or flag.startswith("--benchmark"), f"{command} {flag} is completed but `{command} --help` does not know it")


@test
def data_files(where):
    """data from CSV, .npy and IDX, plain and gzip, is read from the model's own place or --data"""
    import gzip
    body = struct.pack("<8d", *range(8))
    files = cases.mnist()
    images = "set/train-images-idx3-ubyte"
    files[images + ".gz"] = gzip.compress(files.pop(images))
    write(where, {"t.csv": "a,b\n1,2\n3,4\n5,6.5\n", "t.npy": cases.npy("(4, 2)", body), **files,
                  "model.hw": 'data t = csv("t.csv")\nsave a = t.a, b = t.b\nsave c = npy("t.npy")\n' + cases.CLASSIFY + "save net\n"})
    good(where, "run", "model.hw", "--out", "out")
    names = files_of(f"{where}/out")
    check({"a.npy", "b.npy", "c.npy", "net.safetensors"} <= set(names), f"left {names}")
    check(open(f"{where}/out/c.npy", "rb").read().endswith(body), "the array read is not the array written")


def npy(kind, shape, data):
    """The bytes of an .npy file."""
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n" + data


def near(a, b, tolerance=1e-12):
    return abs(a - b) <= tolerance * max(abs(a), abs(b), 1e-3)


@test
def smaller_batch(where):
    """the last, smaller batch of an epoch or an evaluation counts by its rows, exactly"""
    write(where, {"model.hw": """data d { x = f64(uniform(-1, 1, shape = [7, 1], seed = 1)); y = sin(3 * x) }
fn line(x) = x |> linear(1)
net = init(line, d.x, seed = 1)
save x = d.x, y = d.y, start = net
train net on d batch 3 ordered for 2 epochs {
  loss = mse(net(x), y)
  minimize loss with sgd(lr = 0.1)
  record steps: loss
}
save end = net
E = mse(net(x), y) on d batch 3
record whole: loss = E, alone = mse(net(x), y) on d, big = mse(net(x), y) on d batch 100, slope = norm(grad(E, net))
outputs = net(x) on d batch 3
save outputs
"""})
    good(where, "run", "model.hw", "--out", "out")
    numbers = lambda name: struct.unpack("<7d", open(f"{where}/out/{name}.npy", "rb").read()[-56:])
    x, y = numbers("x"), numbers("y")
    start, end = safetensors(f"{where}/out/start.safetensors"), safetensors(f"{where}/out/end.safetensors")

    def loss_and_slope(w, b, rows):
        errors = [w * x[i] + b - y[i] for i in rows]
        n = len(errors)
        return sum(e * e for e in errors) / n, 2 * sum(e * x[i] for e, i in zip(errors, rows)) / n, 2 * sum(errors) / n
    w, b = start["linear1.weight"][0], start["linear1.bias"][0]
    batches = [range(0, 3), range(3, 6), range(6, 7)]
    losses = [float(row[-1]) for row in csv_rows(f"{where}/out/steps.csv")[1:]]
    for step, loss in enumerate(losses):
        expected, dw, db = loss_and_slope(w, b, batches[step % 3])
        check(near(loss, expected), f"step {step}: a loss of {loss}, expected {expected}")
        w, b = w - 0.1 * dw, b - 0.1 * db
    check(len(losses) == 6 and near(end["linear1.weight"][0], w) and near(end["linear1.bias"][0], b), f"{end}, expected {w}, {b}")
    rows = csv_rows(f"{where}/out/whole.csv")
    found = dict(zip(rows[0], map(float, rows[1])))
    loss, dw, db = loss_and_slope(w, b, range(7))
    expected = {"loss": loss, "alone": loss, "big": loss, "slope": (dw * dw + db * db)**0.5}
    check(found.keys() == expected.keys() and all(near(found[k], expected[k]) for k in expected), f"{found}, expected {expected}")
    check(all(near(a, w * b_ + b) for a, b_ in zip(numbers("outputs"), x)), "the outputs of the batches are not joined in order")


@test
def read_before_overwritten(where):
    """a, b = E, F: both see the values before, whatever takes over whose memory; in loops, optimisers and every, records between"""
    sizes = [1, 2, 3, 8, 15, 16, 17, 33, 40, 1000, 70000]
    write(where, {"model.hw": f"""for n in {sizes} {{
  a, b, c = 0.5 + arange(n) / n, full([n], 2), 1 - arange(n) / n
  for i in 1..3 {{
    a, b, c = sin(b), a * b, a + 0.5 * c
    record seen: a = a[-1], b = b[0]
  }}
  x, v = a, b
  for i in 1..2 {{ x, v = x + 0.25 * v, v - 0.25 * x }}
  p, q = a, b
  for i in 1..3 {{ p, q = q[::-1], p + 0.25 * q }}
  save a, b, c, x, v, p, q
}}
for n in [1, 2, 5, 16, 33, 70], m in [1, 3, 17, 40] {{
  r, s, t = reshape(arange(n * m), [n, m]) / (n * m), ones([m, n]), arange(m) / m
  for i in 1..2 {{ r, s, t = s.T + t, r.T * s, mean(r, axis = 0) + t }}
  save r, s, t
}}
""", "optimisers.hw": """data d { x = ones([1, 2]) }
fn model(x) { param w: [2] = ones; return x * w }
fn optimistic(f, w) {
  state s = 0 * w
  g = grad(f(w), w)
  s' = g
  return w - 0.125 * (2 * g - s)
}
fn chain(f, w) { // each state becomes the one before, as it was
  state s = 0 * w
  state t = 0 * w
  s' = grad(f(w), w) + 0.25 * t
  t' = s
  return w - 0.125 * s - 0.0625 * t
}
a, b = init(model, d.x), init(model, d.x)
train a on d for 5 steps { minimize sum(a(x)^2) with optimistic(); record first: w = a.w[0] }
u, r = 1, 1
train b on d for 5 steps {
  minimize sum(b(x)^2) with chain()
  every step { u, r = r, u + r; record second: w = b.w[0], u, r }
}
fn single(x) { param w: [] = ones; return x * w }
c = init(single, d.x)
train c on d for 3 steps { minimize c.w with sgd(lr = 0.25) }
"""})
    for flags, tolerance in [((), 1e-5), (("--f64",), 1e-12)]:
        good(where, "run", "model.hw", "--out", "out", "--force", *flags)
        close = lambda found, expected: len(found) == len(expected) and all(abs(f - e) <= tolerance * max(1, abs(e)) for f, e in zip(found, expected))
        rows = [list(map(float, row)) for row in csv_rows(f"{where}/out/seen.csv")[1:]]
        for n in sizes:
            a, b, c = [0.5 + j / n for j in range(n)], [2.0] * n, [1 - j / n for j in range(n)]
            for i in range(3):
                a, b, c = [math.sin(y) for y in b], [x * y for x, y in zip(a, b)], [x + 0.5 * z for x, z in zip(a, c)]
                row = rows.pop(0)
                check(close(row[-2:], [a[-1], b[0]]), f"{flags} n = {n}, turn {i + 1}: {row}, expected {a[-1]}, {b[0]}")
            x, v, p, q = a, b, a, b
            for i in range(2):
                x, v = [y + 0.25 * z for y, z in zip(x, v)], [z - 0.25 * y for y, z in zip(x, v)]
            for i in range(3):
                p, q = q[::-1], [y + 0.25 * z for y, z in zip(p, q)]
            for name, expected in zip("abcxvpq", [a, b, c, x, v, p, q]):
                check(close(array(f"{where}/out/{name}-n={n}.npy")[2], expected), f"{flags} n = {n}: {name} is wrong")
        for n in [1, 2, 5, 16, 33, 70]:
            for m in [1, 3, 17, 40]:
                r, s, t = [[(j * m + k) / (n * m) for k in range(m)] for j in range(n)], [[1.0] * n for _ in range(m)], [k / m for k in range(m)]
                for i in range(2):
                    r, s, t = ([[s[k][j] + t[k] for k in range(m)] for j in range(n)], [[r[j][k] * s[k][j] for j in range(n)] for k in range(m)],
                               [sum(r[j][k] for j in range(n)) / n + t[k] for k in range(m)])
                for name, expected in zip("rst", [sum(r, []), sum(s, []), t]):
                    check(close(array(f"{where}/out/{name}-n={n}-m={m}.npy")[2], expected), f"{flags} n = {n}, m = {m}: {name} is wrong")
        good(where, "run", "optimisers.hw", "--out", "out", "--force", *flags)
        w, s = 1.0, 0.0
        for row in csv_rows(f"{where}/out/first.csv")[1:]:
            check(close([float(row[-1])], [w]), f"{flags} optimistic: {row}, expected {w}")
            w, s = w - 0.125 * (4 * w - s), 2 * w
        w, s, t, u, r = 1.0, 0.0, 0.0, 1, 1
        for row in csv_rows(f"{where}/out/second.csv")[1:]:
            w, s, t, u, r = w - 0.125 * s - 0.0625 * t, 2 * w + 0.25 * t, s, r, u + r
            check(close(list(map(float, row[-3:])), [w, u, r]), f"{flags} chain: {row}, expected {w}, {u}, {r}")
        run = json.load(open(f"{where}/out/run.json"))
        losses = [training["loss"] for training in run["trainings"]]
        check(close(losses[2:], [0.5]), f"the loss that is a weight, before its update: {losses}")


@test
def batches_or_refusals(where):
    """random expressions on a data set: in batches each is refused, or is the whole's value"""
    head = """data d { x = normal(0, 1, shape = [10, 3], seed = 1); y = normal(0, 1, shape = [10], seed = 2); label = randint(3, shape = [10], seed = 3) }
fn small(x) = x |> linear(2) |> tanh |> linear(1)
net = init(small, d.x, seed = 1)
"""
    make = generated.Batches(20261128)
    wanted = [make.row(2) if i % 4 == 0 else make.whole(3) for i in range(300)]
    lines = [f"parts{i} = {e} on d batch 4; whole{i} = {e} on d; record t{i}: gap = max(abs(flat(parts{i} - whole{i}))), scale = max(abs(flat(whole{i})))" for i, e in enumerate(wanted)]
    refused, first = {}, head.count("\n") + 1
    while True:  # an error a statement, and twenty a run
        write(where, {"all.hw": head + "\n".join("" if i in refused else line for i, line in enumerate(lines)) + "\n"})
        found = re.findall(r"all\.hw:(\d+):\d+: error: (.*)", run(where, "check", "all.hw", "--f64").err)
        if not found:
            break
        for line, text in found:
            refused.setdefault(int(line) - first, text)
    odd = [(wanted[i], text) for i, text in refused.items() if "put together from batches" not in text and "in batches the axis of the samples" not in text]
    check(not odd, f"refused for another reason: {odd[:3]}")
    kept = [i for i in range(len(wanted)) if i not in refused]
    check(len(kept) > 100 and len(refused) > 50, f"{len(kept)} taken, {len(refused)} refused")
    write(where, {"kept.hw": head + "\n".join(lines[i] for i in kept) + "\n"})
    good(where, "run", "kept.hw", "--f64", "--out", "out")
    for i in kept:
        gap, scale = map(float, csv_rows(f"{where}/out/t{i}.csv")[1])
        check(gap <= 1e-11 * max(1, scale), f"`{wanted[i]}` in batches is off by {gap} from {scale}")


@test
def types_reach_the_leaves(where):
    """f64(...) of random expressions made of numbers is, to the last bit, what --f64 makes of them; and so are trainings of f64 data"""
    numbers = generated.Numbers(20261128)
    program = "epochs = 7\nA = npy(\"a.npy\")\nfn same(x) = x\n" + "\n".join(numbers.statements(150)) + "\n"
    program += """data d { x = npy("x.npy"); y = 0.1 * x[:, 0:1]; z = linspace(0, 0.7, 6) }
fn f(x, third = 0.3) {
  param w: [2, 1] = full([2, 1], 0.1)
  param b = [0.7]
  state seen: [1] = 0.3
  seen' = 0.9 * seen + 0.1 * mean(x @ w, axis = 0)
  if training { x = x + 0.01 * normal(0, 1, shape = x.shape, seed = 3) }
  return (x + linspace(0, 0.1, 2)) @ w * third + b
}
fn mine(f, w, lr = 0.1) {
  state m = full([w.size], 0.1)
  g = 0.9 * m + flat(grad(f(w), w)) + 0.1 * random(shape = [w.size], seed = 5)
  m' = g
  return w - like(lr * g, w)
}
"""
    for name, optimiser, objective in [("n", "newton(damping = 0.1)", "mse"), ("a", "adam(lr = 0.1 / 3)", "mse"), ("s", "sgd(lr = 0.3 * cosine(step / 7), momentum = 0.7)", "mse"),
                                       ("m", "mine(lr = 0.1)", "mse"), ("l", "levenberg(damping = 0.1)", "flat"), ("g", "adagrad(lr = 0.1, clip = 0.7)", "mse")]:
        e = f"mse({name}(x), y)" if objective == "mse" else f"{name}(x) - y"
        program += f"{name} = init(f, d.x, seed = 1)\ntrain {name} on d batch 4 ordered for 7 epochs {{ minimize {e} with {optimiser} }}\nsave {name}\n"
    program += """low = init(f, f32(d.x), seed = 1)
high = at(f64(low), f64(low.weights) + 0.1)
E = mse(high(d.x), d.y)
save high, H = dense(hessian(E, high)), J = jacobian(high(d.x), high), exact = f64(d.z), both = mix(high, n, 0.3)
for i in 1..3 { A = A + 0.1 * i * ones([3]) }
data c = csv("c.csv")
data more = c[1:4] { q = 3 * p }
save A, p = f64(c.p), q = f64(more.q) + A, scaled = f64((c.p - mean(c.p)) / std(c.p))
E2 = mse(at(f64(low), 0.1 * f64(low.weights))(x), y) on d batch 4
save E2
"""
    doubles = [0.1 + 0.37 * math.sin(3.7 * i) for i in range(12)]
    write(where, {"model.hw": program, "a.npy": npy("<f8", (3,), struct.pack("<3d", 0.1, 1 / 3, -7.7)), "x.npy": npy("<f8", (6, 2), struct.pack("<12d", *doubles)),
                  "c.csv": "p\n0.1\n0.7\n77.6\n1e-3\n"})
    good(where, "run", "model.hw", "--out", "mixed")
    good(where, "run", "model.hw", "--out", "f64", "--f64")
    for name in sorted(os.listdir(f"{where}/f64")):
        if name != "run.json":
            same = open(f"{where}/f64/{name}", "rb").read() == open(f"{where}/mixed/{name}", "rb").read()
            wrong = [l for l in program.split("\n") if l.startswith(f"record {name[:-4]}:")]
            check(same, f"{name} differs from that under --f64: {wrong}")


@test
def precision_is_true(where):
    """run.json says what tensors were computed in, also of an f32 file under --f64"""
    write(where, {"model.hw": 'data d { x = npy("x.npy") }\nfn f(x) = x |> linear(2)\nnet = init(f, d.x, seed = 1)\n'
                              "train net on d batch 2 for 3 epochs { minimize mean((net(x) - x)^2) with adam() }\nsave net\n",
                  "x.npy": npy("<f4", (4, 2), struct.pack("<8f", *range(8))),
                  "part.hw": "a = f64(normal(0, 1, shape = [3, 3], seed = 1)) @ [0.1, 0.2, 0.3]\nb = normal(0, 1, shape = [3], seed = 1)\nsave a, b\n"})
    precision = lambda out: json.load(open(f"{where}/{out}/run.json"))["precision"]
    good(where, "run", "model.hw", "--out", "narrow")
    good(where, "run", "model.hw", "--out", "wide", "--f64")
    good(where, "run", "part.hw", "--out", "part")
    check(precision("narrow") == "f32" and precision("wide") == "f64" and precision("part") == "f32 and f64", f"{precision('narrow')}, {precision('wide')}, {precision('part')}")
    check(b'"F64"' in open(f"{where}/wide/net.safetensors", "rb").read(), "the weights are not f64")


@test
def states_are_watched(where):
    """a state that becomes nan stops the run with its name, operation and line; a variable that is inf does not; what is saved so is warned about"""
    write(where, {"state.hw": """data d { x = normal(0, 1, shape = [12, 2], seed = 1) }
fn f(x) {
  state seen: [1] = ones
  seen' = log(seen - 0.5)
  return x |> linear(1)
}
net = init(f, d.x, seed = 1)
train net on d batch 4 for 9 epochs { minimize mean(net(x)^2) with adam() }
save net
""", "optimiser.hw": """data d { x = normal(0, 1, shape = [12, 2], seed = 1) }
fn f(x) = x |> linear(1)
fn own(f, w) {
  state grows = 1e100
  grows' = grows * grows
  return w - 0.1 * grad(f(w), w)
}
net = init(f, d.x, seed = 1)
train net on d batch 4 for 9 epochs { minimize mean(net(x)^2) with own }
save net
""", "fine.hw": """data d { x = normal(0, 1, shape = [12, 2], seed = 1) }
fn f(x) = x |> linear(1)
fn own(f, w) {
  state best = inf
  best' = min(best, f(w))
  return w - 0.1 * grad(f(w), w)
}
net = init(f, d.x, seed = 1)
kept = inf
train net on d batch 4 for 9 epochs {
  minimize mean(net(x)^2) with own
  every 5 epochs { kept = where(False, 1, kept) }
}
save x = log(zeros([3])), fine = ones([3])
"""})
    bad(where, "run", "state.hw", "--out", "a", words=[r"state\.hw:8", r"'net\.seen'", "infinite or nan", r"log at state\.hw:4"])
    bad(where, "run", "optimiser.hw", "--out", "b", words=[r"'own\.grows'", "infinite or nan", r"mul at optimiser\.hw:5"])
    told = good(where, "run", "fine.hw", "--out", "c")
    check(re.search(r"warning: .*'x' is saved with 3 infinite or nan values", told.out + told.err) and "'fine'" not in told.out + told.err, f"{told}")


@test
def stops_early(where):
    """early stopping: an epoch's loss that changes by less than 1e-3, and patience with the best weights kept"""
    write(where, {"model.hw": """data d { x = uniform(-1, 1, shape = [200, 3], seed = 1); y = sin(3 * x[:, 0:1]) + normal(0, 0.3, shape = [200, 1], seed = 3) }
data held = d[150:200]
fn mlp(x, a, b) = x |> linear(a) |> relu |> linear(b) |> relu |> linear(1)
for a in [4, 16], b in [4, 16] {
  net = init(mlp(a = a, b = b), d.x, seed = 1)
  before = inf
  train net on d[0:150] batch 32 for 500 epochs {
    loss = mse(net(x), y)
    minimize loss with adam(lr = 1e-2)
    every epoch {
      now = mean(loss)
      record small: loss = now
      stop when abs(now - before) < 1e-3
      before = now
    }
  }
  record sizes: size = net.weights.size
}
net = init(mlp(a = 64, b = 64), d.x, seed = 1)
best, kept, bad = inf, net, 0
train net on d[0:150] batch 32 for 500 epochs {
  minimize mse(net(x), y) with adam(lr = 1e-2)
  every epoch {
    v = mse(net(x), y) on held batch 32
    record patience: v
    kept = where(v < best, net, kept)
    bad = where(v < best, 0, bad + 1)
    best = min(best, v)
    stop when bad >= 4
  }
}
record final: best, again = mse(kept(x), y) on held batch 32
""".replace("fn mlp(x, a, b) = x", "fn mlp(x, a = 4, b = 4) = x")})
    good(where, "run", "model.hw", "--out", "out")
    rows = csv_rows(f"{where}/out/small.csv")
    a, b, loss = (rows[0].index(name) for name in ("a", "b", "loss"))
    for pair in {(row[a], row[b]) for row in rows[1:]}:
        losses = [float(row[loss]) for row in rows[1:] if (row[a], row[b]) == pair]
        changes = [abs(p - q) for p, q in zip(losses, losses[1:])]
        check(len(losses) < 500 and changes[-1] < 1e-3 and all(c >= 1e-3 for c in changes[:-1]), f"{pair}: {losses}")
    check([int(row[-1]) for row in csv_rows(f"{where}/out/sizes.csv")[1:]] == [41, 113, 137, 353], f"{csv_rows(where + '/out/sizes.csv')}")
    about = json.load(open(f"{where}/out/run.json"))
    check([training["end"] for training in about["trainings"]] == ["stopped"] * 5, f"{about['trainings']}")
    held = [float(row[-1]) for row in csv_rows(f"{where}/out/patience.csv")[1:]]
    check(len(held) - 1 - held.index(min(held)) == 4, f"not four epochs after the best: {held}")
    final = csv_rows(f"{where}/out/final.csv")[1]
    check(all(near(float(x), min(held), 1e-6) for x in final), f"the kept weights are not the best: {final}, {held}")


@test
def weights_from(where):
    """init(..., from = ...): weights and state of another program or of another type start a net; other nets' are errors"""
    good_tensors = {"linear1.weight": ([4, 3], [i / 16 for i in range(12)]), "linear1.bias": ([4], [0.5] * 4), "linear2.weight": ([1, 4], [0.25] * 4),
                    "linear2.bias": ([1], [2.0])}

    def stored(tensors, kind="F32"):
        header, body = {}, b""
        for name, (shape, values) in tensors.items():
            data = struct.pack(f"<{len(values)}{'f' if kind == 'F32' else 'd'}", *values)
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
            body += data
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + body
    model = cases.NET.replace("seed = 1)\n", 'seed = 1, from = "w.safetensors")\n').replace("shape = [20, 3], seed = 1, from = \"w.safetensors\")", "shape = [20, 3], seed = 1)")
    for kind in ("F32", "F64"):
        write(where, {"model.hw": model + "save net\n", "w.safetensors": stored(good_tensors, kind)})
        good(where, "run", "model.hw", "--out", kind)
        check({n: list(v) for n, v in safetensors(f"{where}/{kind}/net.safetensors").items()} == {n: v for n, (_, v) in good_tensors.items()}, "other weights")
    for change, words in (({"linear1.weight": ([3, 4], [0.0] * 12)}, [r"linear1\.weight", r"\[3, 4\]", r"\[4, 3\]"]), ({"linear2.bias": None}, [r"no tensor `linear2\.bias`"]),
                          ({"linear3.bias": ([1], [0.0])}, [r"linear3\.bias", "none of that name"])):
        write(where, {"w.safetensors": stored({n: t for n, t in {**good_tensors, **change}.items() if t})})
        bad(where, "run", "model.hw", "--out", "bad", words=[r"model\.hw:3", r"w\.safetensors", *words])


@test
def cifar10_files(where):
    """CIFAR-10's binary files, a folder and one alone, are read as they lie; an executable refuses others than it was built for"""
    files = cases.cifar10()
    write(where, {**files, "model.hw": """data c = cifar10("cifar")
data one = cifar10("cifar/data_batch_5.bin")
save x = c.train.x, label = f32(c.train.label), x5 = one.x, label5 = f32(one.label), test = c.test.x
""", "train.hw": cases.CLASSIFY_COLOUR + "save net\n"})
    good(where, "run", "model.hw", "--out", "out")
    records = [files[f"cifar/data_batch_{b}.bin"][at:at + 3073] for b in range(1, 6) for at in range(0, len(files[f"cifar/data_batch_{b}.bin"]), 3073)]

    def saved(name, count):
        return struct.unpack(f"<{count}f", open(f"{where}/out/{name}.npy", "rb").read()[-4 * count:])
    for name, expected in (("x", records), ("x5", records[-7:])):
        there = saved(name, 3072 * len(expected))
        worst = max(abs(a - b / 255) for a, b in zip(there, b"".join(r[1:] for r in expected)))
        check(worst < 1e-7, f"{name} differs from its file by {worst}")
    check(saved("label", 25) == tuple(r[0] for r in records), "the labels differ from the files'")
    check(saved("label5", 7) == tuple(r[0] for r in records[-7:]), "the labels of one file differ")
    good(where, "build", "train.hw", "-o", "fit")
    good(where, "--out", "exe", program=f"{where}/fit")
    good(where, "run", "train.hw", "--out", "jit")
    same_results(f"{where}/exe", f"{where}/jit")
    write(f"{where}/other", cases.cifar10(data_batch_1=files["cifar/test_batch.bin"]))
    bad(where, "--data", "other", "--out", "out-other", program=f"{where}/fit", words=[r"other/cifar", r"\[25, 3, 32, 32\]", r"\[30, 3, 32, 32\]", r"build"])
    write(f"{where}/wrong", cases.cifar10(data_batch_1=bytes([77]) + bytes(3 * 3073 - 1)))
    bad(where, "--data", "wrong", "--out", "out-wrong", program=f"{where}/fit", words=[r"wrong/cifar/data_batch_1\.bin", r"label 77 for image 0"])
    write(f"{where}/gone", {"cifar/x": b""})
    bad(where, "--data", "gone", "--out", "out-gone", program=f"{where}/fit", words=[r"gone/cifar", r"data_batch_1\.bin"])


@test
def augmentation(where):
    """random_crop and random_flip: windows of the padded images, anew for each sample and step, one draw in a step, none outside of training"""
    n, c, h, w, padding = 6, 2, 5, 10, 2
    write(where, {"model.hw": f"""data d {{ x = reshape(arange({n * c * h * w}), [{n}, {c}, {h}, {w}]) + 1; y = zeros([{n}, 1]) }}
fn moved(x) {{
  param scale: [1] = ones
  return (x |> random_crop({padding}) |> random_flip) * scale
}}
net = init(moved, d.x, seed = 1)
train net on d batch 4 ordered for 40 epochs {{
  out, again = net(x), net(x)
  minimize mean(out) with sgd(lr = 0)
  record steps: first = out[0], second = out[1], differs = sum(abs(out - again))
  every epoch {{ record still: moved = sum(abs(net(d.x) - d.x)), there = mean(abs(net(x) - x)) on d batch 4 }}
}}
"""})
    good(where, "run", "model.hw", "--out", "out")
    rows = csv_rows(f"{where}/out/steps.csv")
    size, seen = c * h * w, {}
    for row in rows[1:]:
        cells = dict(zip(rows[0], row))
        check(float(cells["differs"]) == 0, "two evaluations in one step differ")
        for name in ("first", "second"):
            image = [float(cells[f"{name}[{i}]"]) for i in range(size)]
            sample = 4 * (int(cells["step"]) % 2) + (name == "second")

            def window(dy, dx, mirrored):
                def at(ch, y, x):
                    x = w - 1 - x if mirrored else x
                    y, x = y + dy, x + dx
                    return 1 + ((sample * c + ch) * h + y) * w + x if 0 <= y < h and 0 <= x < w else 0
                return [at(ch, y, x) for ch in range(c) for y in range(h) for x in range(w)]
            found = [(dy, dx, m) for dy in range(-padding, padding + 1) for dx in range(-padding, padding + 1) for m in (False, True) if window(dy, dx, m) == image]
            check(len(found) == 1, f"step {cells['step']}: {name} is no window of image {sample}: {image[:20]}")
            seen.setdefault((cells["step"], name), found[0])
    check(len(seen) == 160, f"{len(seen)} images")
    for axis in (0, 1, 2):
        check(len({draw[axis] for draw in seen.values()}) == (2 if axis == 2 else 2 * padding + 1), f"of draw {axis} only {({draw[axis] for draw in seen.values()})}")
    same = sum(seen[step, "first"] == seen[step, "second"] for step, name in seen if name == "first")
    check(same < 10, f"two samples of a step are moved alike in {same} of 80 steps")
    for row in csv_rows(f"{where}/out/still.csv")[1:]:
        check(row[-2:] == ["0", "0"], f"outside of training images move: {row}")


@test
def replaced_labels(where):
    """random_labels: the fraction that was asked for is drawn anew, by the seed, and trains as any labels do"""
    n = 2000
    write(where, {"model.hw": f"""data d {{ x = normal(0, 1, shape = [{n}, 2], seed = 1); label = classes(zeros([{n}]), 10) }}
data half = d[:{n // 2}] {{ label = random_labels(label, 10, fraction = 0.5, seed = 3) }}
data all = d {{ label = random_labels(label, 10, seed = 3) }}
data other = d {{ label = random_labels(label, 10, seed = 4) }}
save half = f32(half.label), every = f32(all.label), other = f32(other.label)
fn f(x) = x |> linear(10)
net = init(f, d.x, seed = 1)
train net on half batch 300 for 1 epochs {{ minimize cross_entropy(net(x), label) with sgd(lr = 0.1); record t: sum = sum(one_hot(label)) }}
"""})
    good(where, "run", "model.hw", "--out", "out")

    def saved(name, count):
        return struct.unpack(f"<{count}f", open(f"{where}/out/{name}.npy", "rb").read()[-4 * count:])
    half, every, other = saved("half", n // 2), saved("every", n), saved("other", n)
    check(all(label in range(10) for label in half + every), "a label outside of 0..9")
    # Of those drawn anew a tenth is 0 again; five standard deviations.
    check(abs(sum(label != 0 for label in half) - 0.45 * n / 2) < 5 * (0.25 * n / 2) ** 0.5, f"{sum(label != 0 for label in half)} of {n // 2} changed")
    check(all(abs(every.count(k) - n / 10) < 5 * (0.09 * n) ** 0.5 for k in range(10)), f"not uniform: {[every.count(k) for k in range(10)]}")
    check(every != other, "the seed changes nothing")
    check([row[-1] for row in csv_rows(f"{where}/out/t.csv")[1:]] == ["300", "300", "300", "100"], "not every row trained once")


def array(path):
    """(dtype, shape, values) of a .npy file."""
    import ast
    with open(path, "rb") as f:
        raw = f.read()
    length, = struct.unpack("<H", raw[8:10])
    header = ast.literal_eval(raw[10:10 + length].decode())
    check(raw[:8] == b"\x93NUMPY\x01\0" and not header["fortran_order"], f"{path}: {raw[:10 + length]}")
    kind = {"<f4": "f", "<f8": "d", "<i4": "i", "|b1": "?", "|u1": "B"}[header["descr"]]
    return header["descr"], header["shape"], struct.unpack(f"<{(len(raw) - 10 - length) // struct.calcsize(kind)}{kind}", raw[10 + length:])


@test
def predictions(where):
    """a saved network's predictions on new images, of .npy and of IDX, in batches: .npy files of the right types and shapes, and the right numbers"""
    weight, bias, pixels = [(7 * i % 13 - 6) / 8 for i in range(3 * 16)], [0.5, -0.25, 0.0], bytes(37 * i % 256 for i in range(11 * 16))
    header = {"linear1.weight": {"dtype": "F32", "shape": [3, 16], "data_offsets": [0, 192]}, "linear1.bias": {"dtype": "F32", "shape": [3], "data_offsets": [192, 204]}}
    model = """data new { x = SOURCE / 255 }
fn classify(x) = flatten(x) |> linear(3)
net = init(classify, new.x, from = "w.safetensors")
logits = net(x) on new batch 4
save logits, guess = argmax(logits, axis = 1), sure = max(softmax(logits), axis = 1) > 0.5
record guesses on new: guess = argmax(net(x), axis = 1)
"""
    write(where, {"w.safetensors": cases.safetensors(header, struct.pack("<51f", *weight, *bias)), "new.npy": cases.npy("(11, 1, 4, 4)", pixels, "|u1"),
                  "new-idx3-ubyte": cases.idx((11, 4, 4), pixels), "npy.hw": model.replace("SOURCE", 'npy("new.npy")'),
                  "idx.hw": model.replace("SOURCE", 'idx("new-idx3-ubyte")[:, None]')})
    logits = [[sum(w * p / 255 for w, p in zip(weight[16 * k:], pixels[16 * i:16 * i + 16])) + bias[k] for k in range(3)] for i in range(11)]
    guess = tuple(row.index(max(row)) for row in logits)
    sure = tuple(math.exp(max(row)) / sum(map(math.exp, row)) > 0.5 for row in logits)
    check(len(set(guess)) > 1 and len(set(sure)) > 1, f"a poor test: {guess}, {sure}")
    for name, flags, kind in (("npy", (), "<f4"), ("idx", (), "<f4"), ("npy", ("--f64",), "<f8")):
        good(where, "run", f"{name}.hw", *flags, "--out", "out", "--force")
        descr, shape, found = array(f"{where}/out/logits.npy")
        check((descr, shape) == (kind, (11, 3)), f"logits of type {descr}, shape {shape}")
        expected = [value for row in logits for value in row]
        check(all(abs(a - b) < (1e-5 if kind == "<f4" else 1e-12) for a, b in zip(found, expected)), f"logits {found}, expected {expected}")
        check(array(f"{where}/out/guess.npy") == ("<i4", (11,), guess), f"{array(where + '/out/guess.npy')}, expected {guess}")
        check(array(f"{where}/out/sure.npy") == ("|b1", (11,), sure), f"{array(where + '/out/sure.npy')}, expected {sure}")
        check([row[-1] for row in csv_rows(f"{where}/out/guesses.csv")[1:]] == [str(k) for k in guess], "the table has other guesses")


@test
def weights_return(where):
    """weights that a run saved start another"""
    write(where, {"a.hw": FIT, "b.hw": FIT.replace("seed = 1)\ntrain", 'seed = 1, from = "a/net.safetensors")\nsave start = net\ntrain')})
    good(where, "run", "a.hw", "--out", "a")
    good(where, "run", "b.hw", "--out", "b")
    check(safetensors(f"{where}/b/start.safetensors") == safetensors(f"{where}/a/net.safetensors"), "it starts elsewhere")


def unrolled(turns, body):
    """A fn that repeats its body so often; a loop of a fn is unrolled up to 10,000 turns."""
    loops, left = "", turns
    while left > 0:
        loops += f"  for i in 1..{min(left, 10000)} {{ {body} }}\n"
        left -= 10000
    return f"fn f(x) {{\n{loops}  return x\n}}\n"


@test
def deep(where):
    """programs as deep as they are long, and as wide, compile in bounded memory: nothing recurses, nothing is quadratic in them"""
    start = "x = uniform(-1, 1, shape = [4], seed = 1)\n"
    of = "record t: a = sum(f(uniform(-1, 1, shape = %s, seed = 1)))\n"
    programs = {f"chain of {body}": unrolled(20000, body) + of % shape for body, shape in (
        ("x = sin(x)", "[4]"), ("x = x[::-1]", "[4]"), ("x = x[[1, 2, 3, 0]]", "[4]"), ("x = sin(x).T", "[4, 4]"), ("x = where(x > 0.1, sin(x), x)", "[4]"),
        ("x = reshape(reshape(x, [2, 2]), [4])", "[4]"), ("x = sum(x[:, None] + zeros([4, 4]), axis = 1)", "[4]"),
        ("x = concat([x[1:], x[:1]], axis = 0)", "[4]"), ("x = x * x[0]", "[4]"))}
    programs["rows of products"] = unrolled(5000, "x = softmax(x)") + of % "[4, 4]"
    programs["records between operations"] = start + "x = sin(x)\nrecord t: a = sum(x)\n" * 15000
    programs["records"] = start + "record t: a = sum(x)\n" * 50000
    programs["a sum"] = start + "y = 0 * x\n" + "".join("y = y + " + " + ".join(f"sin({k + 500 * j} * x)" for k in range(500)) + "\n" for j in range(20)) + "record t: a = sum(y)\n"
    programs["derivatives"] = start + "x = x - 0.1 * grad(sum(x * x * x), x)\n" * 5000 + "record t: a = sum(x)\n"
    programs["a tangent"] = unrolled(10000, "x = sin(x)") + start + "record t: a = sum(jvp(f(x), x, ones([4])))\n"
    programs["loops"] = start + "for i in 1..2 { x = sin(x * i) }\n" * 3000 + "record t: a = sum(x)\n"
    programs["settings"] = "".join(f"s{i} = {i}\n" for i in range(3000)) + "x = 0\n" + "".join(f"x = x + s{i}\n" for i in range(3000)) + "record t: a = x\n"
    programs["clauses"] = "k, x = 3, 0\nif k == 1 { x = 1 }" + "".join(f" else if k == {i + 10} {{ x = {i} }}" for i in range(100000)) + " else { x = 2 }\nrecord t: a = x\n"
    programs["columns"] = "data d { " + "; ".join(f"x{i} = uniform(-1, 1, shape = [4, 1], seed = {i})" for i in range(10000)) + " }\nrecord t: a = sum(d.x0)\n"
    programs["states"] = ("data d { x = uniform(-1, 1, shape = [8, 3], seed = 1) }\nfn f(x) {\n  h = x |> linear(2)\n"
                          + "".join(f"  state s{i}: [2] = zeros\n  s{i}' = s{i} + mean(h, axis = 0)\n" for i in range(1000))
                          + "  return h |> linear(1)\n}\nnet = init(f, d.x, seed = 1)\ntrain net on d for 1 epochs { minimize mean(net(x)^2) with sgd(lr = 0.1) }\n")
    programs["a column"] = unrolled(20000, "x = abs(x - 0.5)") + ("data d { x = uniform(-1, 1, shape = [8, 3], seed = 1); y = f(x) }\n"
        "fn m(x) = x |> linear(3)\nnet = init(m, d.x, seed = 1)\ntrain net on d batch 4 for 1 epochs { minimize mse(net(x), y) with sgd(lr = 0.1) }\n")
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    for number, (name, source) in enumerate(programs.items()):
        write(where, {f"{number}.hw": source})
        done = subprocess.run([HWC, "check", f"{number}.hw"], cwd=where, capture_output=True, preexec_fn=limit, timeout=300)
        check(done.returncode == 0, f"{name}: exit {done.returncode}, {done.stderr.decode(errors='replace')[-300:]}")


@test
def little_memory(where):
    """wherever the compiler runs out of memory, it says so in one sentence"""
    write(where, {"chain.hw": unrolled(10000, "x = sin(x)") + "x = uniform(-1, 1, shape = [4], seed = 1)\nrecord t: a = sum(grad(sum(f(x)), x))\n",
                  "records.hw": "x = uniform(-1, 1, shape = [4], seed = 1)\n" + "record t: a = sum(x)\n" * 50000})
    failed = 0
    for name in ("chain.hw", "records.hw"):
        for size in (400, 500, 650, 800, 1000):
            limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (size << 20, size << 20))
            done = subprocess.run([HWC, "check", name], cwd=where, capture_output=True, preexec_fn=limit, timeout=300)
            err = done.stderr.decode(errors="replace")
            check(done.returncode in (0, 1) and not NEVER.search(err), f"{name} with {size} MiB: exit {done.returncode}, {err[-300:]}")
            check(done.returncode == 0 or (err.count("\n") == 1 and "not enough memory" in err), f"{name} with {size} MiB: {err[-300:]}")
            failed += done.returncode
    check(failed, "every limit was enough: a poor test")


@test
def growing(where):
    """what grows without bound is refused with a sentence, in seconds"""
    grow = "fn f(x) { for i in 1..60 { x = %s }; return x }\ny = f(%s)\nrecord t: a = len(y)"
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3), }}".ljust(117) + "\n"
    write(where, {"empty.npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode(),
                  "empty.idx": struct.pack(">HBB3I", 0, 8, 3, 0, 28, 28), "empty.csv": "a,b\n"})
    ten = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"
    cases = {
        grow % ("[x, x]", "1"): "more than 1 million values",
        grow % ("x + x", "[1]"): "more than 1 million values",
        grow % ("x + x", '"a"'): "longer than 1 million",
        grow.replace("60", "9999") % ("[x]", "1"): "more than 100 deep",
        "fn f(x) { for i in 1..10000, j in 1..10000 { }; return x }\ny = f(1)": "3 million",
        "for " + ", ".join(f"i{k} in [1]" for k in range(20000)) + " { record t: a = 1 }": "200 levels",
        "for " + ", ".join(f"i{k} in {ten}" for k in range(3)) + " { " + "; ".join(f"record t{k}: a = 1" for k in range(250)) + " }": "4 million operations",
        "x = ones([2])[" + ", ".join(["None"] * 300) + "]": "16 axes",
        "x = reshape(ones([4]), [4294967296, 4294967296, -1])": "elements",
        'x = npy("empty.npy")': "no elements",
        'x = idx("empty.idx")': "no elements",
        'data d = csv("empty.csv")': "empty|no rows|at least one row",
        "x = ones([3])\ny = sum(sin(x))\n" + "y = sum(grad(y, x) * x)\n" * 60 + "record t: a = y": "derivatives .* 1 million operations",
    }
    for number, (source, words) in enumerate(cases.items()):
        write(where, {f"{number}.hw": source.replace("; ", "\n")})
        bad(where, "check", f"{number}.hw", words=[rf"{number}.hw:\d+:\d+: error", words], seconds=60)
    # What the whole program has used up is said once, not of each statement that follows.
    more = "fn f(x) { for i in 1..10000, j in 1..10000 { }; return x }\n" + "\n".join(f"y{i} = f({i})" for i in range(5)) + "\n"
    write(where, {"more.hw": more})
    said = bad(where, "check", "more.hw", words=["3 million"], seconds=60).err
    check(said.count("error:") == 1, said)


def main():
    global HWC, CPU
    # Ignored where a shell runs us in the background; programs would go on ignoring it, and Ctrl-C is to be tested.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--cpu", help="compile for this CPU (default: this machine's)")
    parser.add_argument("--keep", action="store_true", help="leave the working folders of failed tests, and say where")
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    HWC, CPU = os.path.abspath(os.path.join(options.build, "bin", "hwc")), options.cpu
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for name, function in TESTS:
        if options.words and not any(word in name for word in options.words):
            continue
        where, start = tempfile.mkdtemp(prefix="hwc-e2e-"), time.time()
        try:
            function(where)
            counts["passed"] += 1
            print(f"ok   {name} ({time.time() - start:.1f} s)", flush=True)
        except Skipped as why:
            counts["skipped"] += 1
            print(f"SKIPPED {name}: {why}", flush=True)
        except Exception as error:
            counts["failed"] += 1
            print(f"FAIL {name}: {error if isinstance(error, Failed) else traceback.format_exc()}", flush=True)
            if options.keep:
                print("     in", where)
                continue
        shutil.rmtree(where, ignore_errors=True)
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
