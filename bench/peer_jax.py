"""JAX on the cases of bench/compare: one JSON line a case, {"case", "peer", "us"}, us the median of single steps.

    peer_jax.py [--seconds S] [CASE...]        fit_deep fit_shallow mnist_mlp, and cold_fit, which a runner times from outside
"""
import argparse
import json
import os
import statistics
import time

START = time.perf_counter()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
import jax
import jax.numpy as jnp
import numpy as np


def wave():
    """x: [2000, 1], y: [2000, 1]"""
    x = jnp.linspace(-1, 1, 2000, dtype=jnp.float32)[:, None] + 1e-4
    return x, jnp.sin(5 * np.pi * x) / (5 * np.pi * x)


def images():
    """x: [256, 784], label: [256]"""
    random = np.random.default_rng(0)
    return jnp.asarray(random.random((256, 784), dtype=np.float32)), jnp.asarray(random.integers(0, 10, 256))


def initial(widths):
    """PyTorch's default: weight and bias uniform in +-1/sqrt(fan_in)."""
    keys, layers = jax.random.split(jax.random.PRNGKey(0), 2 * len(widths)), []
    for i, (a, b) in enumerate(zip(widths, widths[1:])):
        bound = a ** -0.5
        layers.append({"w": jax.random.uniform(keys[2 * i], (a, b), jnp.float32, -bound, bound),
                       "b": jax.random.uniform(keys[2 * i + 1], (b,), jnp.float32, -bound, bound)})
    return layers


def forward(layers, x):
    for layer in layers[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ layers[-1]["w"] + layers[-1]["b"]


def mse(out, y):
    return jnp.mean((out - y) ** 2)


def cross_entropy(out, label):
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(out), label[:, None], axis=1))


CASES = {"fit_deep": ((1, 30, 60, 60, 1), wave, mse, 5e-3), "fit_shallow": ((1, 1880, 1), wave, mse, 5e-3),
         "mnist_mlp": ((784, 256, 256, 256, 10), images, cross_entropy, 1e-3)}


def stepper(case):
    """A function that does one Adam step (Kingma & Ba 2015, algorithm 1) and waits for it; buffers are donated."""
    widths, data, loss, lr = CASES[case]
    x, y = data()

    def update(state, x, y):
        weights, m, v, t = state
        g = jax.grad(lambda w: loss(forward(w, x), y))(weights)
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        weights = jax.tree.map(lambda w, m, v: w - lr * (m / (1 - 0.9 ** t)) / (jnp.sqrt(v / (1 - 0.999 ** t)) + 1e-8), weights, m, v)
        return weights, m, v, t

    weights = initial(widths)
    zeros = [jax.tree.map(jnp.zeros_like, weights) for _ in range(2)]
    compiled, box = jax.jit(update, donate_argnums=0), [(weights, *zeros, jnp.float32(0))]

    def step():
        box[0] = compiled(box[0], x, y)
        jax.block_until_ready(box[0])
    return step


def median_us(step, seconds):
    for _ in range(5):
        step()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 20 or time.perf_counter() < end:
        t = time.perf_counter()
        step()
        times.append(time.perf_counter() - t)
    return statistics.median(times) * 1e6


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    options = parser.parse_args()
    for case in options.cases or CASES:
        if case == "cold_fit":
            stepper("fit_deep")()
            us, more = (time.perf_counter() - START) * 1e6, {"note": "from after the interpreter's start"}
        else:
            us, more = median_us(stepper(case), options.seconds), {}
        print(json.dumps({"case": case, "peer": "jax.jit", "us": round(us, 2), **more}), flush=True)
