#!/usr/bin/env python3
"""Runs the examples and checks the fact that each of them shows. Standard library only.

    tests/examples/run.py [--build DIR] [--cpu CPU] [--keep] [--full] [NAME...]     NAME: a1, a2, ...; --full runs none at its quick size
"""
import argparse
import csv
import json
import math
import os
import random
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HWC, CPU, SCRATCH, FULL = None, None, None, False


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


def check(condition, message):
    if not condition:
        raise Failed(message)


def example(prefix):
    found = [f for f in os.listdir(f"{ROOT}/examples") if f.startswith(prefix + "_") and f.endswith(".hw")]
    check(len(found) == 1, f"examples/{prefix}_*.hw: {found or 'not there'}")
    return f"{ROOT}/examples/{found[0]}"


def hwc(*command, seconds=1500):
    try:
        done = subprocess.run([HWC, *command, *(["--cpu", CPU] if CPU else [])], cwd=SCRATCH, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Failed(f"hwc {command[0]} did not end within {seconds} s")
    check(done.returncode == 0, f"hwc {command[0]} ended with {done.returncode}: {done.stderr.strip()[-1500:]}")
    return done.stdout


def run(prefix, full, *flags):
    """The folder of results of a run, which has drawn every figure of the file."""
    model, out = example(prefix), os.path.join(SCRATCH, prefix + "".join(flags))
    # One thread: networks this small gain little from more, and on a busy machine they then wait for one another.
    hwc("run", model, "--threads", "1", "--out", out, *([] if full or FULL else ["--quick"]), *flags)
    names = os.listdir(out)
    check(any(n.endswith(".svg") for n in names) or "plot" not in open(model).read(), f"no figure among {names}")
    check("run.json" in names, f"no run.json among {names}")
    return out


def number(text):
    try:
        return float(text)
    except ValueError:
        return text


def tables(out, *columns):
    """Rows (dictionaries) of every recorded table that has these columns."""
    found = []
    for name in sorted(os.listdir(out)):
        if name.endswith(".csv") and not name.endswith(".plot.csv"):
            with open(f"{out}/{name}", newline="") as f:
                rows = [{k: number(v) for k, v in row.items()} for row in csv.DictReader(f)]
            if rows and all(c in rows[0] for c in columns):
                found.append(rows)
    check(found, f"no table in {out} has the columns {columns}")
    return found


def safetensors(path):
    """{name: (shape, values)} of a file of f32 tensors."""
    with open(path, "rb") as f:
        raw = f.read()
    (size,) = struct.unpack("<Q", raw[:8])
    out = {}
    for name, entry in json.loads(raw[8:8 + size]).items():
        if name != "__metadata__":
            check(entry["dtype"] == "F32", f"{path}: {name} is {entry['dtype']}")
            first, last = (8 + size + at for at in entry["data_offsets"])
            out[name] = entry["shape"], struct.unpack(f"<{(last - first) // 4}f", raw[first:last])
    return out


def runs_of(rows, value):
    """{loop variables' values: [value in the order of epochs]}. A table's columns are loop variables, clocks, items."""
    names = list(rows[0])
    keys = names[:names.index("epoch")]
    out = {}
    for row in rows:
        out.setdefault(tuple(row[k] if isinstance(row[k], str) else f"{row[k]:g}" for k in keys), []).append(row[value])
    return out


def final(values):
    """The median of the last twentieth: Adam's loss jumps up now and then."""
    return statistics.median(values[-max(1, len(values) // 20):])


def depth(key):
    """The number of hidden layers of a run whose last loop variable is `widths`, written as "30 60 60"."""
    return len(re.findall(r"\d+", key[-1]))


def parameter_counts(prefix, expected):
    text = re.sub(r"(?<=\d)[,'_ ](?=\d{3}\b)", "", hwc("check", example(prefix)))
    for count in set(expected):
        have = len(re.findall(rf"\b{count}\b", text))
        check(have >= expected.count(count), f"hwc check prints {count} {have} times, not {expected.count(count)}:\n{text[-1500:]}")


def needs_fashion_mnist(prefix):
    if "fashion_mnist" in open(example(prefix)).read() and not os.path.isdir("/usr/share/datasets/fashion-mnist"):
        raise Skipped("dataset-fashion-mnist is not installed")


def cifar10_files(name, images, square=1):
    """A folder for --data with small files in CIFAR-10's format: noise over a pattern a class, so that there is something to learn. A
    pattern has one colour in each square of so many pixels."""
    folder, draw = os.path.join(SCRATCH, name), random.Random(1)
    os.makedirs(f"{folder}/data/cifar-10-batches-bin")
    patterns = []
    for _ in range(10):
        colours = [draw.randrange(256) for _ in range(3 * (32 // square) ** 2)]
        patterns.append([colours[(plane * (32 // square) + y // square) * (32 // square) + x // square]
                         for plane in range(3) for y in range(32) for x in range(32)])
    for name in [f"data_batch_{b}" for b in range(1, 6)] + ["test_batch"]:
        with open(f"{folder}/data/cifar-10-batches-bin/{name}.bin", "wb") as f:
            for _ in range(images):
                label = draw.randrange(10)
                f.write(bytes([label]) + bytes((3 * noise + pattern) // 4 for noise, pattern in zip(draw.randbytes(3072), patterns[label])))
    return folder


def by_depth(ends):
    """{target: [end of the shallowest network, …, of the deepest]}"""
    out = {}
    for key in sorted(ends, key=depth):
        out.setdefault(key[0], []).append(ends[key])
    return out


def a1():
    """A1: 5641, 5641 and 5639 parameters; the deep networks end below the shallow one"""
    parameter_counts("a1", [5641, 5641, 5639])
    out = run("a1", full=True)
    curves = runs_of(tables(out, "loss", "epoch")[0], "loss")
    check(len(curves) == 6, f"six curves expected: {list(curves)}")
    ends = {key: final(values) for key, values in curves.items()}
    for target, (shallow, *deep) in by_depth(ends).items():
        check(max(deep) < shallow, f"{target}: losses from shallow to deeper: {shallow}, {deep}")
    # The drawn curves are what the losses say, by our own sin(x)/x and box: points between the 2000 of the training.
    truths = {"sinc": lambda x: math.sin(x) / x, "rect": lambda x: float(abs(x) <= 5)}
    errors = {}
    for row in tables(out, "truth", "fitted")[0]:
        y = truths[row["target"]](row["x"])
        check(abs(y - row["truth"]) < 1e-5, f"truth: {row}, not {y}")
        errors.setdefault((row["target"], str(row["widths"])), []).append((row["fitted"] - y) ** 2)
    means = {key: sum(e) / len(e) for key, e in errors.items()}
    for target, (shallow, *deep) in by_depth(means).items():
        check(max(deep) < shallow, f"{target}: squared errors of the fits from shallow to deeper: {shallow}, {deep}")
    best = {(row["target"], str(row["widths"])): row["best"] for row in tables(out, "best")[0]}
    return "; ".join(f"{' '.join(k)} {v:.2e}" for k, v in best.items())


def falls(prefix, times, full):
    """Every curve of `loss` falls by so many times; says where each ends."""
    curves = {}
    for rows in tables(run(prefix, full), "loss", "epoch"):
        curves.update(runs_of(rows, "loss"))
    check(len(curves) >= 2, f"curves: {list(curves)}")
    for key, values in curves.items():
        check(all(math.isfinite(v) for v in values), f"{key}: a loss is not finite")
    short = [f"{' '.join(k)}: {v[0]:.3g} to {final(v):.3g}" for k, v in curves.items() if final(v) * times > v[0]]
    check(not short, f"not {times} times: {'; '.join(short)}")
    return "; ".join(f"{' '.join(k)} {v[0] / final(v):.0f}x to {final(v):.2e}" for k, v in curves.items())


def a2():
    """A2: the loss falls by 10 times in each; 2 layers end highest, and on the square wave the deepest network lowest"""
    told = falls("a2", 10, full=True)
    curves = runs_of(tables(os.path.join(SCRATCH, "a2"), "loss", "epoch")[0], "loss")
    for target, ends in by_depth({key: final(values) for key, values in curves.items()}).items():
        check(len(ends) == 3 and max(ends) == ends[0], f"{target}: losses of 2, 4 and 7 layers: {ends}")
        check(target != "square_wave" or min(ends) == ends[2], f"{target}: losses of 2, 4 and 7 layers: {ends}")
    return told


def a3():
    """A3: the loss falls by 100 times in each"""
    return falls("a3", 100, full=True)


def a4():
    """A4: 132,670, 132,242 and 132,624 parameters; every batch is recorded, and the loss falls"""
    parameter_counts("a4", [132670, 132242, 132624])
    needs_fashion_mnist("a4")
    out = run("a4", full=False)
    told = []
    for model, rows in runs_of(tables(out, "loss", "acc")[0], "loss").items():
        check(len(rows) >= 16, f"{model}: {len(rows)} batches")
        check(rows[-1] < 0.95 * rows[0], f"{model}: the loss went from {rows[0]:.3g} to {rows[-1]:.3g}")
        told.append(f"{rows[0]:.2f} to {rows[-1]:.2f}")
    check(len(told) == 3, f"three networks were expected: {told}")
    kept = safetensors(os.path.join(out, "net-model=deep.safetensors"))
    check(list(kept["conv2d3.weight"][0]) == [72, 48, 5, 5], f"conv2d3.weight is {kept['conv2d3.weight'][0]}")
    return "loss " + ", ".join(told)


def a5():
    """A5: 126,538, 126,548 and 126,532 parameters on images in CIFAR-10's format, every batch recorded; the loss falls"""
    out = run("a5", False, "--data", cifar10_files("a5 data", 200, square=8))
    counts = {}
    for model in ("shallow", "deep", "deeper"):
        kept = safetensors(os.path.join(out, f"net-model={model}.safetensors"))
        counts[model] = sum(math.prod(shape) for shape, _ in kept.values())
    check(counts == {"shallow": 126538, "deep": 126548, "deeper": 126532}, f"parameters: {counts}")
    told = []
    for (model,), rows in runs_of(tables(out, "step", "loss", "acc")[0], "loss").items():
        # 1000 images in batches of 192: five whole ones and a rest an epoch.
        check(len(rows) % 6 == 0 and all(map(math.isfinite, rows)), f"{model}: losses of every batch: {rows}")
        check(statistics.mean(rows[-6:]) < 0.8 * rows[0], f"{model}: the loss went from {rows[0]:.3g} to {rows[-6:]}")
        told.append(f"{model} {rows[0]:.2f} to {rows[-1]:.2f}")
    check(len(told) == 3, f"three networks were expected: {told}")
    return "loss of " + ", ".join(told)


def a6():
    """A6: 23,860 and twice 23,880 parameters; it learns to tell real images apart"""
    parameter_counts("a6", [23860, 23880, 23880])
    needs_fashion_mnist("a6")
    rows = tables(run("a6", full=False), "loss", "acc")[0]
    last = {key: values[-1] for key, values in runs_of(rows, "acc").items()}
    check(len(last) == 6 and all(0.5 < acc <= 1 for acc in last.values()), f"accuracies of three networks on two parts: {last}")
    best = [row["test_acc"] for row in tables(os.path.join(SCRATCH, "a6"), "test_acc")[0]]
    check(len(best) == 3 and all(0.5 < acc <= 1 for acc in best), f"test accuracies of the best weights: {best}")
    # The saved weights are the network that --quick tested: whole, and in PyTorch's orientation.
    for i, shape in enumerate(([10, 30], [10, 18], [10, 40]), 1):
        kept = safetensors(os.path.join(SCRATCH, "a6", f"kept-widths={i}.safetensors"))
        check(shape in [list(s) for s, _ in kept.values()], f"no tensor of shape {shape}: { {k: s for k, (s, _) in kept.items()} }")
    return "test accuracies of the best weights " + ", ".join(f"{acc:.3f}" for acc in best)


def a7():
    """A7: 50 images in CIFAR-10's format are learned by heart in 20 epochs with 3 and with 5 layers; momentum is ahead of plain SGD on 6"""
    out = run("a7", False, "--data", cifar10_files("a7 data", 200))
    solver = runs_of(tables(out, "acc", "held_acc", "widths", "rate")[0], "held_acc")
    check(len(solver) == 6 and max(v[-1] for v in solver.values()) > 0.5, f"accuracies of three networks from two starts: {solver}")
    history = runs_of(tables(out, "loss", "seconds")[0], "loss")
    # 800 images in batches of 512: a whole one and a rest an epoch.
    check(len(history) == 6 and all(len(v) == 4 and all(map(math.isfinite, v)) for v in history.values()), f"losses of every step: {history}")
    heart = next(runs_of(rows, "acc") for rows in tables(out, "loss", "acc") if "held_acc" not in rows[0] and "seconds" not in rows[0])
    check(len(heart) == 2 and all(len(v) == 20 and v[-1] == 1 for v in heart.values()), f"accuracies on 50 images: {heart}")
    progress = runs_of(next(rows for rows in tables(out, "held_acc") if "rule" in rows[0]), "acc")
    plain, momentum, nesterov = (progress[(rule,)][-1] for rule in ("plain", "momentum", "nesterov"))
    check(len(progress) == 6 and min(momentum, nesterov) > plain + 0.1, f"accuracies after 5 epochs: {progress}")
    first = {"".join(key): next(i for i, acc in enumerate(v, 1) if acc == 1) for key, v in heart.items()}
    return f"all 50 after {first} epochs; plain SGD {plain:.2f}, momentum {momentum:.2f}, Nesterov {nesterov:.2f}"


def a8():
    """A8: every gradient's relative error is below 1e-6"""
    out = run("a8", full=True)
    found = 0
    worst = (0.0, "")
    for rows in tables(out):
        for row in rows:
            for name, value in row.items():
                if isinstance(value, float) and re.search(r"error|relative|gradient|hvp|product", name):
                    found += 1
                    check(value == value, f"{row}: {name} is not a number")
                    worst = max(worst, (value, f"{name} of {row}"))
    check(found >= 40, f"only {found} relative errors in the tables of {os.listdir(out)}")
    check(worst[0] < 1e-6, f"relative error {worst[0]:.1e}: {worst[1]}")
    return f"{found} relative errors, the largest {worst[0]:.1e}"


def b2():
    """B2: loss and gradient norm at every iteration; the first norm is the saved gradient's, for p = 2 and p = 1"""
    told = []
    for p in (2, 1):
        out = run("b2", False, *([] if p == 2 else ["--set", f"p={p}"]))
        found = [rows for rows in tables(out, "loss", "gradient_norm")]
        check(len(found) == 2, f"a function fit and images were expected: {len(found)} tables")
        for rows in found:
            norms, losses = [row["gradient_norm"] for row in rows], [row["loss"] for row in rows]
            check([row["step"] for row in rows] == list(range(len(rows))), "a row for every step was expected")
            check(all(math.isfinite(v) and v > 0 for v in norms + losses), "a norm or loss is not positive and finite")
            check(final(losses) < losses[0], f"the loss does not fall: {losses[0]:.3g} to {final(losses):.3g}")
            told.append(f"p = {p}: {len(rows)} rows, norm {norms[0]:.2e} to {norms[-1]:.2e}")
        first = next(rows[0]["gradient_norm"] for rows in found if max(row["epoch"] for row in rows) > 50)
        own = sum(abs(v) ** p for _, values in safetensors(f"{out}/start.safetensors").values() for v in values) ** (1 / p)
        check(abs(first - own) < 1e-4 * own, f"p = {p}: the first norm is {first}, the saved gradient's {own}")
    return "; ".join(told)


def c1():
    """C1: on labels replaced at random the training loss of both networks falls, and the test loss climbs"""
    needs_fashion_mnist("c1")
    rows = tables(run("c1", full=False), "loss", "test_loss")[0]
    fitted, tested = runs_of(rows, "loss"), runs_of(rows, "test_loss")
    check(len(fitted) == 2, f"two networks were expected: {list(fitted)}")
    for model in fitted:
        check(fitted[model][-1] < 0.9 * fitted[model][0], f"{model}: training losses {fitted[model]}")
        check(tested[model][-1] > 1.1 * tested[model][0], f"{model}: test losses {tested[model]}")
    return "; ".join(f"{model[0]}: training {fitted[model][0]:.2f} to {fitted[model][-1]:.2f}, test {tested[model][0]:.2f} to {tested[model][-1]:.2f}"
                     for model in fitted)


def c2():
    """C2: 25 networks from one file, each stopped when its epoch's loss changes by less than the setting says; larger ones fit better"""
    needs_fashion_mnist("c2")
    out, widths = run("c2", full=False), (64, 128, 256, 384, 512)
    with open(f"{out}/run.json") as f:
        settings = json.load(f)["settings"]
    curves = runs_of(tables(out, "epoch", "loss")[0], "loss")
    check(set(curves) == {(str(a), str(b)) for a in widths for b in widths}, f"networks: {sorted(curves)}")
    for key, losses in curves.items():
        changes = [abs(b - a) for a, b in zip(losses, losses[1:])]
        check(all(change >= settings["change"] for change in changes[:-1]), f"{key} should have stopped before: {losses}")
        check(changes[-1] < settings["change"] or len(losses) == settings["epochs"], f"{key} stopped too early: {losses}")
    sizes = {(row["a"], row["b"], row["part"]): row for row in tables(out, "parameters", "loss", "acc")[0]}
    check(len(sizes) == 50, f"25 networks on two parts: {len(sizes)} rows")
    for (a, b, part), row in sizes.items():
        check(row["parameters"] == 785 * a + (a + 1) * b + (b + 1) * 10, f"parameters: {row}")
        check(row["part"] == "test" or row["loss"] < sizes[a, b, "test"]["loss"], f"{row} beside {sizes[a, b, 'test']}")
    ordered = sorted((row["parameters"], row["loss"]) for (a, b, part), row in sizes.items() if part == "fit")
    small, large = (statistics.mean(loss for _, loss in some) for some in (ordered[:8], ordered[-8:]))
    check(large < small, f"training losses of the smallest eight networks {small:.3f} and of the largest {large:.3f}")
    return f"training losses of the smallest eight networks {small:.3f}, of the largest {large:.3f}"


def figures():
    """every example runs whole at its quick size, and draws"""
    told = []
    for name in sorted(os.listdir(f"{ROOT}/examples")):
        prefix = name.split("_")[0]
        if not name.endswith(".hw") or prefix in ("a4", "a5", "a6", "a7", "b2", "c1", "c2"):
            continue  # those run at their quick size above
        out = os.path.join(SCRATCH, "quick-" + prefix)
        start = time.time()
        hwc("run", "--quick", "--threads", "1", f"{ROOT}/examples/{name}", "--out", out)
        told.append(f"{prefix} {time.time() - start:.1f} s")
    check(told, "no examples")
    return ", ".join(told)


TESTS = {f.__name__: f for f in (a1, a2, a3, a4, a5, a6, a7, a8, b2, c1, c2, figures)}


def main():
    global HWC, CPU, SCRATCH, FULL
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--cpu", help="compile for this CPU (default: this machine's)")
    parser.add_argument("--keep", action="store_true", help="leave what the runs wrote, and say where")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    HWC, CPU, FULL = os.path.abspath(os.path.join(options.build, "bin", "hwc")), options.cpu, options.full
    SCRATCH = tempfile.mkdtemp(prefix="hwc-examples-")
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for name in options.names or TESTS:
        start = time.time()
        try:
            told = TESTS[name]()
            counts["passed"] += 1
            print(f"ok   {TESTS[name].__doc__} ({time.time() - start:.1f} s): {told}", flush=True)
        except Skipped as why:
            counts["skipped"] += 1
            print(f"SKIPPED {TESTS[name].__doc__}: {why}", flush=True)
        except (Failed, OSError, KeyError, ValueError, IndexError, StopIteration, TypeError) as error:
            counts["failed"] += 1
            print(f"FAIL {TESTS[name].__doc__} ({time.time() - start:.1f} s): {type(error).__name__ if not isinstance(error, Failed) else ''} {error}", flush=True)
    if options.keep:
        print("kept:", SCRATCH)
    else:
        shutil.rmtree(SCRATCH, ignore_errors=True)
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
