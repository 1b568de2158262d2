"""JAX on the trainings of cases.py: one JSON line a case, {"case", "peer", "us"}, us the median of single steps.

    peer_jax.py [--seconds S] CASE...       a name of cases.py, or cold_fit, which a runner times from outside
    peer_jax.py --agree FOLDER --steps N CASE...   the steps of runs of bench/CASE.hw, which left FOLDER/CASE, again:
                                           {"case", "peer", "distance"}, relative to the way they went
"""
import cases  # first: its clock starts with the process
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
import jax
import jax.numpy as jnp
import numpy as np

ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid}


def mse(out, y):
    return jnp.mean((out - y) ** 2)


def cross_entropy(out, label):
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(out), label[:, None], axis=1))


LOSSES = {"mse": mse, "cross_entropy": cross_entropy}


def each(f, *trees):
    return jax.tree.map(f, *trees)


def adam(lr, w, g, m, v, t):
    """Kingma & Ba 2015, algorithm 1."""
    t = t + 1
    m = each(lambda m, g: 0.9 * m + 0.1 * g, m, g)
    v = each(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
    return each(lambda w, m, v: w - lr * (m / (1 - 0.9 ** t)) / (jnp.sqrt(v / (1 - 0.999 ** t)) + 1e-8), w, m, v), m, v, t


def rmsprop(lr, w, g, v):
    v = each(lambda v, g: 0.99 * v + 0.01 * g * g, v, g)
    return each(lambda w, g, v: w - lr * g / (jnp.sqrt(v) + 1e-8), w, g, v), v


def sgd(lr, w, g):
    return (each(lambda w, g: w - lr * g, w, g),)


def momentum(lr, w, g, m):
    m = each(lambda m, g: 0.9 * m + g, m, g)
    return each(lambda w, m: w - lr * m, w, m), m


def nesterov(lr, w, g, m):
    m = each(lambda m, g: 0.9 * m + g, m, g)
    return each(lambda w, g, m: w - lr * (g + 0.9 * m), w, g, m), m


# Each with how many vectors like the weights its state has; Adam also counts its steps.
OPTIMISERS = {"adam": (adam, 2), "rmsprop": (rmsprop, 1), "sgd": (sgd, 0), "momentum": (momentum, 1), "nesterov": (nesterov, 1)}


class Training:
    """`step()` does one step and waits for it; buffers are donated."""
    def __init__(self, case, x, y, layers):
        jax.config.update("jax_enable_x64", x.dtype == np.float64)
        activation, loss = ACTIVATIONS[case.activation], LOSSES[case.loss]
        name, lr = case.optimiser
        rule, vectors = OPTIMISERS[name]

        def forward(weights, x):
            for layer in weights[:-1]:
                x = activation(x @ layer["w"] + layer["b"])
            return x @ weights[-1]["w"] + weights[-1]["b"]

        def update(state, x, y):
            weights, *rest = state
            return rule(lr, weights, jax.grad(lambda w: loss(forward(w, x), y))(weights), *rest)

        weights = [{"w": jnp.array(np.ascontiguousarray(w.T)), "b": jnp.array(b)} for w, b in layers]
        self.state = (weights, *(each(jnp.zeros_like, weights) for _ in range(vectors)))
        if name == "adam":
            self.state += (jnp.zeros((), weights[0]["w"].dtype),)
        self.update, self.x, self.y = jax.jit(update, donate_argnums=0), jnp.array(x), jnp.array(y)

    def step(self):
        self.state = jax.block_until_ready(self.update(self.state, self.x, self.y))

    def layers(self):
        return [(np.asarray(layer["w"]).T, np.asarray(layer["b"])) for layer in self.state[0]]


if __name__ == "__main__":
    cases.peer_main(__doc__, {"jax.jit": Training})
