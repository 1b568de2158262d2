"""The trainings of bench/compare, a line each: fully connected networks, full batch. bench/<name>.hw is the same work in our
language; peer_jax.py and peer_torch.py build theirs from this table, and `bench/compare --agree` checks that all do the same.
"""
from collections import namedtuple
import argparse
import json
import os
import statistics
import sys
import time

START = time.perf_counter()
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "oracle"))

# rows: samples a step. optimiser: (name, rate), the rest of it as PyTorch has it.
Case = namedtuple("Case", "widths rows activation loss optimiser what")
TRAININGS = {
    "fit_deep": Case((1, 30, 60, 60, 1), 2000, "relu", "mse", ("adam", 5e-3), "1-30-60-60-1 on 2000 points, Adam"),
    "fit_shallow": Case((1, 1880, 1), 2000, "relu", "mse", ("adam", 5e-3), "1-1880-1 on 2000 points, Adam"),
    "mnist_mlp": Case((784, 256, 256, 256, 10), 256, "relu", "cross_entropy", ("adam", 1e-3), "784-256-256-256-10 on 256 synthetic images, Adam"),
    "odd_widths": Case((3, 37, 53, 19, 5), 1013, "relu", "mse", ("adam", 1e-3), "3-37-53-19-5 on 1013 rows, Adam"),
    "deep_narrow": Case((1, *[16] * 12, 1), 2000, "relu", "mse", ("rmsprop", 1e-3), "12 hidden layers of 16 on 2000 points, RMSprop"),
    "wide": Case((64, 1024, 1024, 10), 512, "relu", "cross_entropy", ("momentum", 1e-2), "64-1024-1024-10 on 512 rows, SGD with momentum"),
    "batch_1": Case((784, 128, 64, 10), 1, "relu", "cross_entropy", ("sgd", 1e-2), "784-128-64-10 on 1 image, SGD"),
    "batch_7": Case((784, 128, 64, 10), 7, "sigmoid", "cross_entropy", ("adam", 1e-3), "784-128-64-10 with sigmoids on 7 images, Adam"),
    "rows_100000": Case((4, 32, 32, 1), 100000, "tanh", "mse", ("adam", 1e-3), "4-32-32-1 with tanh on 100,000 rows, Adam"),
    "tanh_fit": Case((1, 50, 50, 50, 1), 3000, "tanh", "mse", ("nesterov", 1e-2), "1-50-50-50-1 with tanh on 3000 points, Nesterov's momentum"),
}


def initial(case):
    """(x, y, layers) of a timing: x [rows, features], y [rows, outputs] or labels [rows], a layer (weight [out, in], bias [out])
    uniform in +-1/sqrt(fan_in). Times do not depend on the values."""
    import numpy as np
    random = np.random.default_rng(0)
    x, y = random.random((case.rows, case.widths[0]), np.float32), random.random((case.rows, case.widths[-1]), np.float32)
    if case.loss == "cross_entropy":
        y = random.integers(0, case.widths[-1], case.rows)
    between = lambda fan_in, shape: random.uniform(-fan_in ** -0.5, fan_in ** -0.5, shape).astype(np.float32)
    return x, y, [(between(a, (b, a)), between(a, (b,))) for a, b in zip(case.widths, case.widths[1:])]


def layers_of(path):
    """The layers in a file of weights, in order."""
    from formats import value
    saved = value(path)
    return [(saved[f"linear{i}.weight"], saved[f"linear{i}.bias"]) for i in range(1, len(saved) // 2 + 1)]


def saved(case, folder):
    """(x, y, layers) of a run of bench/<case>.hw before its first step, as it left them in `folder`."""
    import numpy as np
    x, y = (np.load(f"{folder}/{name}.npy", allow_pickle=False) for name in "xy")
    return x, y.astype(np.int64) if case.loss == "cross_entropy" else y, layers_of(f"{folder}/start")


def distance(folder, layers):
    """How far the run's last weights are from `layers`, as a share of how far they went: 2-norms over all parameters."""
    import numpy as np
    flat = lambda layers: np.concatenate([np.asarray(part, np.float64).ravel() for layer in layers for part in layer])
    start, end = (flat(layers_of(f"{folder}/{name}")) for name in ("start", "end"))
    return np.linalg.norm(end - flat(layers)) / np.linalg.norm(end - start)


def median_us(step, seconds):
    for _ in range(5):
        step()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 20 or time.perf_counter() < end:
        t = time.perf_counter()
        step()
        times.append(time.perf_counter() - t)
    return statistics.median(times) * 1e6


def peer_main(description, peers):
    """A peer's program. peers: {name: how to make, of (case, x, y, layers), an object with step() and layers()}; the first stands for
    all where one is enough."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--agree", metavar="FOLDER")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("cases", nargs="+", metavar="CASE")
    options = parser.parse_args()
    for name in options.cases:
        case = TRAININGS["fit_deep" if name == "cold_fit" else name]
        for peer, make in peers.items():
            if options.agree:
                run = os.path.join(options.agree, name)
                training = make(case, *saved(case, run))
                for _ in range(options.steps):
                    training.step()
                found = {"distance": distance(run, training.layers())}
            elif name == "cold_fit":
                make(case, *initial(case)).step()
                found = {"us": (time.perf_counter() - START) * 1e6, "note": "from after the interpreter's start"}
            else:
                found = {"us": round(median_us(make(case, *initial(case)).step, options.seconds), 2)}
            print(json.dumps({"case": name, "peer": peer, **found}), flush=True)
            if options.agree or name == "cold_fit":
                break
