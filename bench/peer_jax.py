"""JAX on the trainings of cases.py: one JSON line a case, {"case", "peer", "us"}, us the median of single steps.

    peer_jax.py [--seconds S] CASE...       a name of cases.py, or a cold start, which a runner times from outside
    peer_jax.py --agree FOLDER --steps N CASE...   the steps of runs of bench/CASE.hw, which left FOLDER/CASE, again:
                                           {"case", "peer", "distance"}, relative to the way they went
"""
import cases  # first: its clock starts with the process
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
import jax
import jax.numpy as jnp
import numpy as np



# Images lie channels last, [N, H, W, C], as XLA's convolutions on CPUs want them; weights of convolutions [kernel, kernel, in, out].
def maxpool(x):
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def flatten(x):
    """As if the channels came first, so that the weights behind are everyone's. A thousandth of the step."""
    return jnp.moveaxis(x, -1, 1).reshape(x.shape[0], -1)


WORDS = {"relu": jax.nn.relu, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid, "maxpool": maxpool, "flatten": flatten}


def apply(layer, w, x):
    if isinstance(layer, cases.Conv):
        x = jax.lax.conv_general_dilated(x, w["w"], (layer.stride,) * 2, [(layer.padding,) * 2] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return x + w["b"]
    return x @ w["w"] + w["b"]


def outputs_last(weight):
    """[out, in] to [in, out], [out, in, kernel, kernel] to [kernel, kernel, in, out]; outputs_first turns it back."""
    return weight.transpose(*range(2, weight.ndim), 1, 0)


def outputs_first(weight):
    return weight.transpose(weight.ndim - 1, weight.ndim - 2, *range(weight.ndim - 2))


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
    """`step()` does one step, or takes the gradient where the case has no optimiser, and waits for it; buffers of what a step changes are donated."""
    def __init__(self, case, x, y, weights):
        jax.config.update("jax_enable_x64", x.dtype == np.float64)
        loss = LOSSES[case.loss]

        def forward(weights, x):
            rest = iter(weights)
            for layer in case.layers:
                x = WORDS[layer](x) if isinstance(layer, str) else apply(layer, next(rest), x)
            return x

        def gradient(weights, x, y):
            return jax.grad(lambda w: loss(forward(w, x), y))(weights)

        weights = [{"w": jnp.array(np.ascontiguousarray(outputs_last(w))), "b": jnp.array(b)} for w, b in weights]
        x, y = jnp.array(np.ascontiguousarray(np.moveaxis(x, 1, -1))), jnp.array(y)
        if not case.optimiser:
            take = jax.jit(gradient)
            self.step = lambda: jax.block_until_ready(take(weights, x, y))
            return
        name, lr = case.optimiser
        rule, vectors = OPTIMISERS[name]

        def update(state, x, y):
            weights, *rest = state
            return rule(lr, weights, gradient(weights, x, y), *rest)

        self.state = (weights, *(each(jnp.zeros_like, weights) for _ in range(vectors)))
        if name == "adam":
            self.state += (jnp.zeros((), weights[0]["w"].dtype),)
        self.update, self.x, self.y = jax.jit(update, donate_argnums=0), x, y

    def step(self):
        self.state = jax.block_until_ready(self.update(self.state, self.x, self.y))

    def weights(self):
        return [(outputs_first(np.asarray(w["w"])), np.asarray(w["b"])) for w in self.state[0]]


if __name__ == "__main__":
    cases.peer_main(__doc__, lambda case: {"jax.jit": Training})
