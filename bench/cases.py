"""The trainings of bench/compare, a line each: synthetic data, full batch. bench/<name>.hw is the same work in our language; peer_jax.py
and peer_torch.py build theirs from this table, and `bench/compare --agree` checks that all do the same.
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

# A network is a list of layers: these two have weights, the others are words: relu, tanh, sigmoid, maxpool (2x2), flatten.
Linear = namedtuple("Linear", "inputs outputs")
Conv = namedtuple("Conv", "inputs outputs kernel stride padding")


def mlp(activation, *widths):
    layers = [layer for pair in zip(widths, widths[1:]) for layer in (Linear(*pair), activation)]
    return layers[:-1]


# Experiment A4's deep network, 132,242 parameters.
CNN = [Conv(1, 32, 5, 1, 2), "relu", "maxpool", Conv(32, 48, 5, 1, 2), "relu", "maxpool", Conv(48, 72, 5, 2, 1), "relu", "flatten", Linear(648, 10)]

# sample: the shape of one; rows: samples a step. optimiser: (name, rate), the rest of it as PyTorch has it, or None: the gradient alone.
Case = namedtuple("Case", "layers sample rows loss optimiser what")
TRAININGS = {
    "fit_deep": Case(mlp("relu", 1, 30, 60, 60, 1), [1], 2000, "mse", ("adam", 5e-3), "1-30-60-60-1 on 2000 points, Adam"),
    "fit_shallow": Case(mlp("relu", 1, 1880, 1), [1], 2000, "mse", ("adam", 5e-3), "1-1880-1 on 2000 points, Adam"),
    "mnist_mlp": Case(mlp("relu", 784, 256, 256, 256, 10), [784], 256, "cross_entropy", ("adam", 1e-3), "784-256-256-256-10 on 256 images, Adam"),
    "mnist_cnn": Case(CNN, [1, 28, 28], 256, "cross_entropy", ("adam", 5e-4), "A4's deep network on 256 images, Adam"),
    "odd_widths": Case(mlp("relu", 3, 37, 53, 19, 5), [3], 1013, "mse", ("adam", 1e-3), "3-37-53-19-5 on 1013 rows, Adam"),
    "deep_narrow": Case(mlp("relu", 1, *[16] * 12, 1), [1], 2000, "mse", ("rmsprop", 1e-3), "12 hidden layers of 16 on 2000 points, RMSprop"),
    "wide": Case(mlp("relu", 64, 1024, 1024, 10), [64], 512, "cross_entropy", ("momentum", 1e-2), "64-1024-1024-10 on 512 rows, SGD with momentum"),
    "batch_1": Case(mlp("relu", 784, 128, 64, 10), [784], 1, "cross_entropy", ("sgd", 1e-2), "784-128-64-10 on 1 image, SGD"),
    "batch_7": Case(mlp("sigmoid", 784, 128, 64, 10), [784], 7, "cross_entropy", ("adam", 1e-3), "784-128-64-10 with sigmoids on 7 images, Adam"),
    "rows_100000": Case(mlp("tanh", 4, 32, 32, 1), [4], 100000, "mse", ("adam", 1e-3), "4-32-32-1 with tanh on 100,000 rows, Adam"),
    "tanh_fit": Case(mlp("tanh", 1, 50, 50, 50, 1), [1], 3000, "mse", ("nesterov", 1e-2), "1-50-50-50-1 with tanh on 3000 points, Nesterov's momentum"),
}
# The gradient alone of a training: {name: that training's}.
GRADIENTS = {"grad_cnn": "mnist_cnn"}
# A whole process that does one step of a training: bench/<name>.hw.
COLD = {"cold_fit": "fit_deep", "cold_cnn": "mnist_cnn"}


def microseconds_of(report, graph):
    """Of each repetition, from the JSON that `hwc bench` prints of the graphs with this name."""
    scale = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}
    times = [row["real_time"] * scale[row["time_unit"]] for row in (json.loads(report)["benchmarks"] if report.strip() else [])
             if row.get("run_type", "iteration") == "iteration" and f".{graph}" in row["name"]]
    if not times:
        sys.exit(f"`hwc bench` printed no {graph}")
    return times


def case_of(name):
    if name in GRADIENTS:
        return TRAININGS[GRADIENTS[name]]._replace(optimiser=None)
    return TRAININGS[COLD.get(name, name)]


def weighted(case):
    """The layers that have weights, each with its name in a file of weights."""
    counts, found = {}, []
    for layer in case.layers:
        if not isinstance(layer, str):
            kind = "conv2d" if isinstance(layer, Conv) else "linear"
            counts[kind] = counts.get(kind, 0) + 1
            found.append((layer, f"{kind}{counts[kind]}"))
    return found


def initial(case):
    """(x, y, weights) of a timing: x [rows, sample...], y [rows, outputs] or labels [rows]; for each layer that has weights (weight [out, in]
    or [out, in, kernel, kernel], bias [out]), uniform in +-1/sqrt(fan_in). Times do not depend on the values."""
    import numpy as np
    random = np.random.default_rng(0)
    x, outputs = random.random((case.rows, *case.sample), np.float32), case.layers[-1].outputs
    y = random.integers(0, outputs, case.rows) if case.loss == "cross_entropy" else random.random((case.rows, outputs), np.float32)
    weights = []
    for layer, _ in weighted(case):
        window = (layer.kernel, layer.kernel) if isinstance(layer, Conv) else ()
        bound = (layer.inputs * np.prod(window)) ** -0.5
        weights.append(tuple(random.uniform(-bound, bound, shape).astype(np.float32)
                             for shape in ((layer.outputs, layer.inputs, *window), (layer.outputs,))))
    return x, y, weights


def weights_of(case, path):
    """What initial() calls weights, from a file."""
    from formats import value
    saved = value(path)
    return [(saved[f"{name}.weight"], saved[f"{name}.bias"]) for _, name in weighted(case)]


def saved(case, folder):
    """(x, y, weights) of a run of bench/<case>.hw before its first step, as it left them in `folder`."""
    import numpy as np
    x, y = (np.load(f"{folder}/{name}.npy", allow_pickle=False) for name in "xy")
    return x, y.astype(np.int64) if case.loss == "cross_entropy" else y, weights_of(case, f"{folder}/start")


def distance(case, folder, weights):
    """How far the run's last weights are from `weights`, as a share of how far they went: 2-norms over all parameters."""
    import numpy as np
    flat = lambda weights: np.concatenate([np.asarray(part, np.float64).ravel() for layer in weights for part in layer])
    start, end = (flat(weights_of(case, f"{folder}/{name}")) for name in ("start", "end"))
    return np.linalg.norm(end - flat(weights)) / np.linalg.norm(end - start)


def median_us(step, seconds):
    for _ in range(5):
        step()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 20 or time.perf_counter() < end:
        t = time.perf_counter()
        step()
        times.append(time.perf_counter() - t)
    return statistics.median(times) * 1e6


def peer_main(description, peers_of):
    """A peer's program. peers_of(case): {name: how to make, of (case, x, y, weights), an object with step() and weights()}; the first
    stands for all where one is enough."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--agree", metavar="FOLDER")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("cases", nargs="+", metavar="CASE")
    options = parser.parse_args()
    for name in options.cases:
        case = case_of(name)
        for peer, make in peers_of(case).items():
            if options.agree:
                run = os.path.join(options.agree, name)
                training = make(case, *saved(case, run))
                for _ in range(options.steps):
                    training.step()
                found = {"distance": distance(case, run, training.weights())}
            elif name in COLD:
                make(case, *initial(case)).step()
                found = {"us": (time.perf_counter() - START) * 1e6, "note": "from after the interpreter's start"}
            else:
                found = {"us": round(median_us(make(case, *initial(case)).step, options.seconds), 2)}
            print(json.dumps({"case": name, "peer": peer, **found}), flush=True)
            if options.agree or name in COLD:
                break
