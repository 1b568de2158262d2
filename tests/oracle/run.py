#!/usr/bin/env python3
"""hwc's numbers against independent ones: gradients, Hessian-vector products, optimisers, trainings, a full Hessian, data, from the
weights and data that runs of tests/oracle/*.hw save. The oracles are JAX and PyTorch, whichever are installed, each used the
same way (both spell grad, jvp and hessian alike); optimisers are checked against torch.optim and against their papers' formulas.

    tests/oracle/run.py [--build DIR] [--cpu CPU] [--keep] [NAME...]      NAME: gradients nesting optimisers training hessian_609 convolution b2
                                                                  images
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
passed = failed = skipped = 0


def outcome(good, name, detail):
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    print(f"{'ok  ' if good else 'FAIL'} {name}: {detail}", flush=True)


def skip(name, why, count=1):
    global skipped
    skipped += count
    print(f"SKIPPED {name}: {why}", flush=True)


try:
    import numpy as np
except ImportError:
    skip("every oracle test", "no NumPy, JAX or PyTorch here; tools/setup --peers installs them")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(0)
sys.path.insert(0, HERE)
import formats


# ---- the oracles: one interface over JAX and PyTorch
class Jax:
    name = "JAX"

    def __init__(self):
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        import jax
        jax.config.update("jax_enable_x64", True)
        import jax.numpy as jnp
        self.grad, self.jvp, self.hessian = jax.grad, jax.jvp, lambda f: jax.jit(jax.hessian(f))
        self.jacobian, self.second, self.eigvalsh = jax.jacrev, jax.hessian, jnp.linalg.eigvalsh
        self.array, self.relu, self.sigmoid, self.tanh = jnp.asarray, jax.nn.relu, jax.nn.sigmoid, jnp.tanh
        self.jit = jax.jit
        self.log_softmax = lambda z: jax.nn.log_softmax(z, axis=-1)
        self.pick = lambda z, y: jnp.take_along_axis(z, y[:, None], 1)
        self.sqrt, self.concat = jnp.sqrt, jnp.concatenate
        self.lax, self.exact = jax.lax, jax.lax.Precision.HIGHEST

    def conv(self, x, w, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1):
        return self.lax.conv_general_dilated(x, w, stride, padding, rhs_dilation=dilation, feature_group_count=groups, precision=self.exact)

    def maxpool(self, x, size, stride, padding=0):
        return self.window(x, -np.inf, self.lax.max, size, (stride, stride), padding)

    def avgpool(self, x, size, stride, padding=0):
        return self.window(x, 0.0, self.lax.add, size, stride, padding) / size ** 2

    def window(self, x, start, f, size, stride, padding):
        sides = [(0, 0), (0, 0), (padding, padding), (padding, padding)]
        return self.lax.reduce_window(x, start, f, (1, 1, size, size), (1, 1, *stride), sides)

    def numpy(self, a):
        return np.asarray(a)


class Torch:
    name = "PyTorch"

    def __init__(self):
        import torch
        from torch.func import grad, hessian, jacrev, jvp
        torch.set_num_threads(2)
        self.torch, self.grad, self.jvp, self.hessian = torch, grad, jvp, hessian
        self.jacobian, self.second, self.eigvalsh = jacrev, hessian, torch.linalg.eigvalsh
        self.jit = lambda f: f
        self.array = lambda a: torch.from_numpy(np.array(a))
        self.relu, self.sigmoid, self.tanh = torch.relu, torch.sigmoid, torch.tanh
        self.log_softmax = lambda z: torch.log_softmax(z, -1)
        self.pick = lambda z, y: z.gather(1, y.long()[:, None])
        self.sqrt, self.concat = torch.sqrt, torch.cat
        self.avgpool, self.maxpool = torch.nn.functional.avg_pool2d, torch.nn.functional.max_pool2d

    def conv(self, x, w, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1):
        (top, bottom), (left, right) = padding
        x = self.torch.nn.functional.pad(x, (left, right, top, bottom))
        return self.torch.conv2d(x, w, None, stride, 0, dilation, groups)

    def numpy(self, a):
        return a.detach().numpy()


def oracles():
    found = []
    for kind in (Jax, Torch):
        try:
            found.append(kind())
        except ImportError:
            pass
    return found


# ---- the nets of the .hw files again, on a dictionary of parameters in PyTorch's orientation ([out, in])
def linear(p, name, x):
    return x @ p[name + ".weight"].T + p[name + ".bias"]


def smooth(o, p, x):
    h = o.sigmoid(linear(p, "linear2", o.tanh(linear(p, "linear1", x))))
    return linear(p, "linear3", h)


def kinked(o, p, x):
    h = o.relu(linear(p, "linear2", o.relu(linear(p, "linear1", x))))
    return linear(p, "linear3", h)


def classes(o, p, x):
    return linear(p, "linear2", o.tanh(linear(p, "linear1", x)))


def shared(o, p, x):
    h = linear(p, "again", o.tanh(linear(p, "again", x))) + x
    return linear(p, "linear1", h)


def small2(o, p, x):
    return linear(p, "linear2", o.tanh(linear(p, "linear1", x)))


def small3(o, p, x):
    return linear(p, "linear3", o.tanh(linear(p, "linear2", o.tanh(linear(p, "linear1", x)))))


def tiny(o, p, x):
    return kinked(o, p, x)


def conv(o, p, name, x, padding=0, stride=1):
    y = o.conv(x, p[name + ".weight"], (stride, stride), ((padding, padding), (padding, padding)))
    return y + p[name + ".bias"][:, None, None]


def shallow(o, p, x):
    h = o.maxpool(o.relu(conv(o, p, "conv2d1", x, 3)), 2, 2)
    return linear(p, "linear1", h.reshape(len(x), -1))


def deep(o, p, x):
    h = o.maxpool(o.relu(conv(o, p, "conv2d1", x, 2)), 2, 2)
    h = o.maxpool(o.relu(conv(o, p, "conv2d2", h, 2)), 2, 2)
    h = o.relu(conv(o, p, "conv2d3", h, 1, stride=2))
    return linear(p, "linear1", h.reshape(len(x), -1))


def deeper(o, p, x):
    h = o.maxpool(o.relu(conv(o, p, "conv2d1", x, 2)), 2, 2)
    h = o.maxpool(o.relu(conv(o, p, "conv2d2", h, 2)), 2, 2)
    h = o.relu(conv(o, p, "conv2d3", h, 1))
    h = o.relu(conv(o, p, "conv2d5", o.relu(conv(o, p, "conv2d4", h))))
    return linear(p, "linear1", h.reshape(len(x), -1))


def before_norm(o, p, x):
    h = o.conv(x, p["conv2d1.weight"], (2, 1), ((1, 0), (0, 1)), groups=2) + p["conv2d1.bias"][:, None, None]
    return o.conv(o.tanh(h), p["conv2d2.weight"], padding=((1, 1), (1, 1)), dilation=(2, 2))


def mixed(o, p, x, statistics=None):
    """Normalised by the batch's own statistics, or by those given, [mean, variance]."""
    h = before_norm(o, p, x)
    mean = h.mean((0, 2, 3)) if statistics is None else statistics[0]
    centred = h - mean[:, None, None]
    variance = (centred ** 2).mean((0, 2, 3)) if statistics is None else statistics[1]
    h = centred / o.sqrt(variance + 1e-5)[:, None, None]
    h = o.relu(p["batchnorm1.weight"][:, None, None] * h + p["batchnorm1.bias"][:, None, None])
    averages = o.avgpool(h, 3, (2, 1), 1)
    h = o.concat([o.maxpool(h, 3, 1, 1), averages[:, :, np.array([0, 0, 1, 1, 2])]], 1)
    return linear(p, "linear1", h.mean((2, 3)))


def smoothed_cross_entropy(o, out, label, smoothing):
    z = o.log_softmax(out)
    return -((1 - smoothing) * o.pick(z, label).mean() + smoothing * z.mean())


def mse(out, y):
    return ((out - y) ** 2).mean()


def cross_entropy(o, out, label):
    return -o.pick(o.log_softmax(out), label).mean()


# ---- comparing
def same(name, ours, theirs, tolerance):
    """Largest difference over the oracle's largest entry, tensor by tensor."""
    if isinstance(theirs, dict):
        if set(ours) != set(theirs):
            return outcome(False, name, f"the file has {sorted(ours)}, expected {sorted(theirs)}")
        pairs = [(k, ours[k], theirs[k]) for k in theirs]
    else:
        pairs = [("", ours, theirs)]
    worst, where = -1.0, ""
    for key, a, b in pairs:
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if a.size == 1 and b.size == 1:
            a, b = a.reshape(()), b.reshape(())
        if a.shape != b.shape:
            return outcome(False, name, f"{key or 'it'} has shape {list(a.shape)}, expected {list(b.shape)}")
        if not np.isfinite(b).all():
            return outcome(False, name, f"the oracle's {key} is not finite: the test itself is wrong")
        if not np.isfinite(a).all():
            return outcome(False, name, f"{key or 'it'} is not finite")
        error = np.abs(a - b).max() / max(np.abs(b).max(), 1e-12)
        if error > worst:
            worst, where = error, key
    outcome(worst <= tolerance, name, f"relative error {worst:.1e}{' in ' + where if where else ''}, allowed {tolerance:.0e}")


def names_of(o, p):
    return {k: o.array(v) for k, v in p.items()}


def gradients(out, found):
    x, y, label = (formats.value(f"{out}/{n}") for n in ("x", "y", "label"))
    for o in found:
        for net in (smooth, kinked, classes, shared):
            n = net.__name__
            p, v = names_of(o, formats.value(f"{out}/{n}")), names_of(o, formats.value(f"{out}/{n}_v"))
            if net is classes:
                loss = lambda p, x=o.array(x): cross_entropy(o, net(o, p, x), o.array(label.astype(np.int32)))
            else:
                loss = lambda p, x=o.array(x): mse(net(o, p, x), o.array(y))
            to = lambda d: {k: o.numpy(t) for k, t in d.items()}
            same(f"{n}: loss against {o.name}", formats.value(f"{out}/{n}_loss"), o.numpy(loss(p)), 1e-12)
            same(f"{n}: gradient against {o.name}", formats.value(f"{out}/{n}_grad"), to(o.grad(loss)(p)), 1e-11)
            _, hv = o.jvp(o.grad(loss), (p,), (v,))
            same(f"{n}: Hessian-vector product against {o.name}", formats.value(f"{out}/{n}_hv"), to(hv), 1e-10)
            if net is smooth:
                gx = o.grad(lambda x: loss(p, x))(o.array(x))
                same(f"{n}: gradient of the data against {o.name}", formats.value(f"{out}/{n}_gx"), o.numpy(gx), 1e-11)


# Each from its paper, as PyTorch writes it: state, gradient, weights, number of steps done before -> new weights.
def rule_sgd(s, g, w, t):
    return w - 0.1 * g


def rule_momentum(s, g, w, t):
    s["m"] = 0.9 * s.get("m", 0) + g                                     # Polyak 1964
    return w - 0.1 * s["m"]


def rule_nesterov(s, g, w, t):
    s["m"] = 0.9 * s.get("m", 0) + g                                     # Sutskever et al. 2013
    return w - 0.1 * (g + 0.9 * s["m"])


def rule_adagrad(s, g, w, t):
    s["v"] = s.get("v", 0) + g * g                                       # Duchi et al. 2011
    return w - 0.1 * g / (np.sqrt(s["v"]) + 1e-10)


def rule_rmsprop(s, g, w, t):
    s["v"] = 0.99 * s.get("v", 0) + 0.01 * g * g                         # Hinton 2012
    return w - 0.01 * g / (np.sqrt(s["v"]) + 1e-8)


def rule_adam(s, g, w, t, decay=0.0):
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g                               # Kingma & Ba 2015, algorithm 1
    s["v"] = 0.999 * s.get("v", 0) + 0.001 * g * g
    m, v = s["m"] / (1 - 0.9 ** (t + 1)), s["v"] / (1 - 0.999 ** (t + 1))
    return w * (1 - 5e-3 * decay) - 5e-3 * m / (np.sqrt(v) + 1e-8)


def rule_adamw(s, g, w, t):
    return rule_adam(s, g, w, t, decay=0.1)                              # Loshchilov & Hutter 2019


RULES = {"sgd": rule_sgd, "momentum": rule_momentum, "nesterov": rule_nesterov, "adagrad": rule_adagrad,
         "rmsprop": rule_rmsprop, "adam": rule_adam, "adamw": rule_adamw}


def torch_optimiser(torch, rule, parameters):
    return {"sgd": lambda: torch.optim.SGD(parameters, lr=0.1),
            "momentum": lambda: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
            "nesterov": lambda: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True),
            "adagrad": lambda: torch.optim.Adagrad(parameters, lr=0.1),
            "rmsprop": lambda: torch.optim.RMSprop(parameters, lr=0.01),
            "adam": lambda: torch.optim.Adam(parameters, lr=5e-3),
            "adamw": lambda: torch.optim.AdamW(parameters, lr=5e-3, weight_decay=0.1)}[rule]()


def optimisers(out, found):
    x, y = formats.value(f"{out}/x"), formats.value(f"{out}/y")
    steps = 10
    for rule, update in RULES.items():
        ours = [formats.value(f"{out}/{rule}-n={n}") for n in range(steps + 1)]
        moved = max(np.abs(ours[-1][k] - ours[0][k]).max() for k in ours[0])
        outcome(moved > 1e-3, f"{rule}: the weights move", f"by {moved:.3g} in {steps} steps")
        for o in found:
            gradient = o.jit(o.grad(lambda p: mse(small2(o, p, o.array(x)), o.array(y))))
            w, state, path = dict(ours[0]), {k: {} for k in ours[0]}, {}
            for t in range(steps):
                g = {k: o.numpy(v) for k, v in gradient(names_of(o, w)).items()}
                w = {k: update(state[k], g[k], w[k], t) for k in w}
                path.update({f"{k} after {t + 1}": v for k, v in w.items()})
            mine = {f"{k} after {t}": ours[t][k] for t in range(1, steps + 1) for k in ours[t]}
            same(f"{rule}: ten steps against its formula, {o.name}'s gradients", mine, path, 1e-10)
        torch = next((o.torch for o in found if o.name == "PyTorch"), None)
        if torch is None:
            skip(f"{rule}: ten steps against torch.optim", "no PyTorch here")
            continue
        p = {k: torch.from_numpy(v.copy()).requires_grad_() for k, v in ours[0].items()}
        optimiser, path = torch_optimiser(torch, rule, list(p.values())), {}
        o = next(o for o in found if o.name == "PyTorch")
        for t in range(steps):
            optimiser.zero_grad()
            mse(small2(o, p, torch.from_numpy(x.copy())), torch.from_numpy(y.copy())).backward()
            optimiser.step()
            path.update({f"{k} after {t + 1}": v.detach().numpy().copy() for k, v in p.items()})
        same(f"{rule}: ten steps against torch.optim", mine, path, 1e-10)


def nesting(out, found):
    x, y, start, v = (formats.value(f"{out}/{n}") for n in ("x", "y", "start", "v"))
    shapes = [(k, w.shape, w.size) for k, w in start.items()]
    flat = lambda p: np.concatenate([p[k].ravel() for k, _, _ in shapes])
    table = formats.table(f"{out}/curve.csv")
    for o in found:
        X, Y = o.array(x), o.array(y)

        def cut(w):
            p, at = {}, 0
            for name, shape, size in shapes:
                p[name], at = w[at:at + size].reshape(shape), at + size
            return p
        net = lambda w, x: small2(o, cut(w), x)
        loss = lambda w: mse(net(w, X), Y)
        penalty = lambda w: (o.jacobian(lambda x: net(w, x))(X) ** 2).sum()
        eigenvalues = lambda w: o.eigvalsh(o.second(loss)(w))
        size, top = lambda w: (o.second(loss)(w) ** 2).sum(), lambda w: eigenvalues(w)[-1]
        w, d, against = o.array(flat(start)), o.array(flat(v)), f" against {o.name}"
        same("nesting: Jacobian" + against, formats.value(f"{out}/J"), o.numpy(o.jacobian(lambda x: net(w, x))(X)).reshape(7, 14), 1e-12)
        same("nesting: Hessian" + against, formats.value(f"{out}/H"), o.numpy(o.second(loss)(w)), 1e-12)
        for name, f in (("penalty", penalty), ("size", size), ("top", top)):
            same(f"nesting: {name}" + against, formats.value(f"{out}/{name}"), o.numpy(f(w)), 1e-12)
            same(f"nesting: gradient of {name}" + against, flat(formats.value(f"{out}/g{name}")), o.numpy(o.grad(f)(w)), 1e-11)
            same(f"nesting: Hessian of {name} times a vector" + against, flat(formats.value(f"{out}/h{name}")),
                 o.numpy(o.jvp(o.grad(f), (w,), (d,))[1]), 1e-10)
        of_x = lambda x: mse(net(w, x), Y)
        same("nesting: Jacobian of a gradient" + against, formats.value(f"{out}/jg"), o.numpy(o.second(of_x)(X)).reshape(14, 14), 1e-11)
        same("nesting: Jacobian of a penalty on a Jacobian" + against, formats.value(f"{out}/jw").ravel(), o.numpy(o.grad(penalty)(w)), 1e-11)

        # Trainings on losses that differentiate in x. One oracle is enough: it is the same arithmetic again.
        if o is not found[0]:
            continue
        slope = lambda w: o.grad(lambda x: net(w, x).sum())(X)
        E = lambda w: mse(net(w, X), Y) + 0.1 * (slope(w) ** 2).mean()
        curved = lambda w: E(w) + 1e-2 * penalty(w) + 1e-2 * (eigenvalues(w) ** 2).sum()
        residual = lambda w: o.concat([(net(w, X) - Y).ravel(), 0.3 * slope(w).ravel()])
        g, n, watch = o.jit(o.grad(E)), len(flat(start)), o.jit(lambda w: o.array([E(w), curved(w)]))
        of_E, of_residual = o.jit(o.second(E)), o.jit(o.jacobian(residual))

        def sharpness_aware(w, mu):
            s = o.numpy(g(w))
            return w - 0.2 * g(w + o.array(0.1 * s / np.linalg.norm(s))), mu

        def newton(w, mu):
            step = np.linalg.solve(o.numpy(of_E(w)) + np.eye(n), o.numpy(g(w)))
            return w - o.array(step), mu

        def levenberg(w, mu):
            r, J = o.numpy(residual(w)), o.numpy(of_residual(w))
            nearer = w - o.array(np.linalg.solve(J.T @ J + mu * np.eye(n), J.T @ r))
            better = (o.numpy(residual(nearer)) ** 2).sum() < (r ** 2).sum()
            return (nearer, mu / 10) if better else (w, mu * 10)
        ahead = o.jit(o.grad(lambda u: E(u - 0.1 * g(u))))
        rules = [("sharpness-aware", sharpness_aware), ("extragradient", lambda w, mu: (w - 0.2 * g(w - 0.2 * g(w)), mu)),
                 ("looking ahead", lambda w, mu: (w - 0.1 * ahead(w), mu)), ("Newton", newton),
                 ("Levenberg-Marquardt", levenberg)]
        for k, (name, rule) in enumerate(rules, 1):
            w, mu, mine = o.array(flat(start)), 1e-2, [(e, c) for i, e, c in zip(table["k"], table["e"], table["curved"]) if i == k]
            for step, (e, c) in enumerate(mine):
                same(f"nesting: {name}, step {step}" + against, [e, c], o.numpy(watch(w)), 1e-9)
                w, mu = rule(w, mu)
            same(f"nesting: {name}, weights after {len(mine)} steps" + against, flat(formats.value(f"{out}/end-k={k}")), o.numpy(w), 1e-8)
        matrices = lambda w: loss(w) + 1e-2 * penalty(w) + 1e-2 * top(w)
        w, losses, both = o.array(flat(start)), [], (o.jit(matrices), o.jit(o.grad(matrices)))
        for _ in range(4):
            losses.append(float(both[0](w)))
            w = w - 0.1 * both[1](w)
        same("nesting: four steps on matrices" + against, formats.table(f"{out}/matrices.csv")["e"], losses, 1e-11)
        same("nesting: weights after them" + against, flat(formats.value(f"{out}/matrices_end")), o.numpy(w), 1e-10)


def adam_path(o, objective, p, lr, steps, watch=lambda q: None):
    """The objective's value and the 2-norm of its gradient before each step, and the weights after the last. `watch` is called with
    the weights before each step."""
    gradient = o.jit(o.grad(objective))
    value = o.jit(objective)
    w = {k: np.asarray(v) for k, v in p.items()}
    state, values, norms = {k: {} for k in w}, [], []
    for t in range(steps):
        q = names_of(o, w)
        values.append(float(value(q)))
        watch(q)
        g = gradient(q)
        norms.append(np.sqrt(sum((o.numpy(d) ** 2).sum() for d in g.values())))
        for k in w:
            s, d = state[k], o.numpy(g[k])
            s["m"] = 0.9 * s.get("m", 0) + 0.1 * d
            s["v"] = 0.999 * s.get("v", 0) + 0.001 * d * d
            m, v = s["m"] / (1 - 0.9 ** (t + 1)), s["v"] / (1 - 0.999 ** (t + 1))
            w[k] = w[k] - lr * m / (np.sqrt(v) + 1e-8)
    return values, norms, w


def training(out, found):
    x, y = formats.value(f"{out}/x"), formats.value(f"{out}/y")
    x32, y32 = formats.value(f"{out}/x32"), formats.value(f"{out}/y32")
    curve, curve32 = (np.array(formats.table(f"{out}/{n}.csv")["loss"]) for n in ("curve", "curve32"))
    outcome(len(curve) == 200 and curve[-1] < 0.1 * curve[0], "training: the loss falls", f"{curve[0]:.3g} to {curve[-1]:.3g}")
    for o in found:
        loss = lambda p: mse(small3(o, p, o.array(x)), o.array(y))
        values, norms, end = adam_path(o, loss, formats.value(f"{out}/start"), 1e-2, 200)
        same(f"training: 200 losses in f64 against {o.name}", curve, values, 1e-10)
        slope = formats.table(f"{out}/curve.csv")["slope"]
        same(f"training: 200 gradient norms in f64 against {o.name}", slope, norms, 1e-10)
        same(f"training: weights after 200 epochs in f64 against {o.name}", formats.value(f"{out}/end"), end, 1e-10)
        start32 = {k: v.astype(np.float64) for k, v in formats.value(f"{out}/start32").items()}
        loss32 = lambda p: mse(small3(o, p, o.array(x32.astype(np.float64))), o.array(y32.astype(np.float64)))
        values32, _, _ = adam_path(o, loss32, start32, 1e-2, 200)
        same(f"training: losses in f32 against {o.name} in f64", curve32, values32, 1e-4)

        def squared(p):
            g = o.grad(loss)(p)
            return sum((t ** 2).sum() for t in g.values())
        values, _, flat = adam_path(o, squared, formats.value(f"{out}/end"), 1e-4, 50)
        descent = np.array(formats.table(f"{out}/descent.csv")["squared"])
        same(f"training on the squared gradient norm against {o.name}", descent, values, 1e-10)
        same(f"training on the squared gradient norm, weights, against {o.name}", formats.value(f"{out}/flat"), flat, 1e-10)
    outcome(descent[-1] < descent[0], "training: the squared gradient norm falls", f"{descent[0]:.3g} to {descent[-1]:.3g}")


def hessian_609(out, found):
    x, y, p = formats.value(f"{out}/x"), formats.value(f"{out}/y"), formats.value(f"{out}/net")
    H, eig = formats.value(f"{out}/H"), formats.value(f"{out}/eig")
    shapes = [(k, v.shape, v.size) for k, v in p.items()]
    outcome(H.shape == (609, 609) and H.dtype == np.float64, "Hessian: 609 x 609 in f64", f"{H.shape} {H.dtype}")
    asymmetry = np.abs(H - H.T).max() / np.abs(H).max()
    outcome(asymmetry < 1e-12, "Hessian: symmetric", f"relative asymmetry {asymmetry:.1e}")
    same("Hessian: eigenvalues against NumPy's", np.sort(eig.ravel()), np.linalg.eigvalsh((H + H.T) / 2), 1e-12)
    zeros, exact = np.sum(np.abs(eig) <= 1e-7), np.sum(np.abs(H).sum(0) == 0)
    print(f"     {np.sum(eig > 1e-7)} eigenvalues above 1e-7, {zeros} within, {np.sum(eig < -1e-7)} below; {exact} columns are exactly zero")
    for o in found:
        def loss(w):
            q, at = {}, 0
            for name, shape, size in shapes:
                q[name], at = w[at:at + size].reshape(shape), at + size
            return mse(tiny(o, q, o.array(x)), o.array(y))
        flat = o.array(np.concatenate([v.ravel() for v in p.values()]))
        same(f"Hessian: all of it against {o.name}", H, o.numpy(o.hessian(loss)(flat)), 1e-10)


def convolution(out, found):
    x, label = formats.value(f"{out}/x").astype(np.float64), formats.value(f"{out}/label").astype(np.int32)
    curve = formats.table(f"{out}/curve.csv")
    for net in (shallow, deep, deeper):
        for part, of_logits, of_slope, of_losses, of_weights in (("narrow", 3e-6, 1e-5, 1e-5, 1e-2), ("wide", 1e-13, 1e-12, 1e-12, 1e-10)):
            at = lambda name: formats.value(f"{out}/{name}-model={net.__name__}-d={part}")
            start = {k: v.astype(np.float64) for k, v in at("start").items()}
            losses = [l for m, d, l in zip(curve["model"], curve["d"], curve["loss"]) if (m, d) == (net.__name__, part)]
            for o in found:
                p, title = names_of(o, start), f"A4 {net.__name__}, {'f32' if part == 'narrow' else 'f64'}, against {o.name} in f64: "
                loss = lambda p: cross_entropy(o, net(o, p, o.array(x)), o.array(label))
                same(title + "logits", at("logits"), o.numpy(net(o, p, o.array(x))), of_logits)
                same(title + "loss", at("loss"), o.numpy(loss(p)), of_logits)
                same(title + "gradient", at("slope"), {k: o.numpy(g) for k, g in o.grad(loss)(p).items()}, of_slope)
                values, _, end = adam_path(o, loss, start, 5e-4, 10)
                same(title + "losses of ten Adam steps", losses, values, of_losses)
                same(title + "weights after ten Adam steps", at("end"), end, of_weights)

    x, label = formats.value(f"{out}/mixed_x"), formats.value(f"{out}/mixed_label").astype(np.int32)
    kept, end = formats.value(f"{out}/mixed"), formats.value(f"{out}/mixed_end")
    isState = lambda name: ".running_" in name
    start, last = ({k: v for k, v in net.items() if not isState(k)} for net in (kept, end))
    for o in found:
        statistics = [o.array(kept["batchnorm1." + k]) for k in ("running_mean", "running_var")]
        loss = lambda p, x=o.array(x): smoothed_cross_entropy(o, mixed(o, p, x, statistics), o.array(label), 0.1)
        p, v = names_of(o, start), names_of(o, formats.value(f"{out}/mixed_v"))
        to = lambda d: {k: o.numpy(t) for k, t in d.items()}
        title = f"convolution and pooling of every kind, against {o.name}: "
        same(title + "loss", formats.value(f"{out}/mixed_loss"), o.numpy(loss(p)), 1e-13)
        same(title + "gradient", formats.value(f"{out}/mixed_slope"), to(o.grad(loss)(p)), 1e-12)
        same(title + "gradient of the data", formats.value(f"{out}/mixed_gx"), o.numpy(o.grad(lambda x: loss(p, x))(o.array(x))), 1e-12)
        same(title + "Hessian-vector product", formats.value(f"{out}/mixed_hv"), to(o.jvp(o.grad(loss), (p,), (v,))[1]), 1e-11)

        running = {k: kept["batchnorm1." + k] for k in ("running_mean", "running_var")}

        def watch(q):
            h = o.numpy(before_norm(o, q, o.array(x)))
            for name, now in (("running_mean", h.mean((0, 2, 3))), ("running_var", h.swapaxes(0, 1).reshape(h.shape[1], -1).var(1, ddof=1))):
                running[name] = 0.9 * running[name] + 0.1 * now
        step = lambda p: smoothed_cross_entropy(o, mixed(o, p, o.array(x)), o.array(label), 0.1)
        values, _, weights = adam_path(o, step, start, 5e-3, 10, watch)
        same(title + "losses of ten Adam steps in training", formats.table(f"{out}/mixed_curve.csv")["loss"], values, 1e-10)
        same(title + "weights after them", last, weights, 1e-9)
        same(title + "running statistics", {k: end["batchnorm1." + k] for k in running}, running, 1e-10)


def b2(out, found):
    """Experiment B2's gradient at its last weights, in f32."""
    p, slope = formats.value(f"{out}/net"), formats.value(f"{out}/slope")
    wide = lambda a: np.asarray(a, np.float64)
    x, y = wide(formats.value(f"{out}/points")), wide(formats.value(f"{out}/values"))
    for o in found:
        q = names_of(o, {k: wide(v) for k, v in p.items()})
        g = o.grad(lambda p: mse(kinked(o, p, o.array(x)), o.array(y)))(q)
        theirs = np.concatenate([o.numpy(g[k]).ravel() for k in p])
        ours = np.concatenate([slope[k].ravel() for k in p])
        same(f"B2: the last gradient, in f32, against {o.name} in f64", ours, theirs, 1e-3)
        same(f"B2: its norm against {o.name}", np.linalg.norm(ours), np.linalg.norm(theirs), 1e-3)


def prepare_images(folder):
    """Files in CIFAR-10's format, weights as a PyTorch module's state dict holds them, and new images as NumPy writes them."""
    random = np.random.default_rng(7)
    os.makedirs(f"{folder}/cifar")
    for name, count in [(f"data_batch_{b}", 15 + b) for b in range(1, 6)] + [("test_batch", 4)]:
        label = random.integers(0, 10, (count, 1), np.uint8)
        pixels = (random.integers(0, 200, (count, 3, 1024)) + [[0], [20], [50]] + label[:, None] // 2).astype(np.uint8)
        np.concatenate([label, pixels.reshape(count, 3072)], 1).tofile(f"{folder}/cifar/{name}.bin")
    shapes = {"out.weight": (10, 12), "hidden.weight": (12, 3072), "hidden.bias": (12,), "norm.weight": (12,), "norm.bias": (12,),
              "norm.running_mean": (12,), "norm.running_var": (12,)}
    theirs = {name: random.uniform(0.01, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    formats.write_safetensors(f"{folder}/theirs.safetensors", {**theirs, "norm.num_batches_tracked": np.int64(3)})
    np.save(f"{folder}/new.npy", random.integers(0, 256, (23, 3, 32, 32), np.uint8))


def images(out, found):
    data = os.path.join(os.path.dirname(out), "images-data")
    records = np.concatenate([np.fromfile(f"{data}/cifar/data_batch_{b}.bin", np.uint8).reshape(-1, 3073) for b in range(1, 6)])
    pixels, label = records[:, 1:].reshape(-1, 3, 32, 32) / 255, records[:, 0]
    m, s = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))
    same("images: the channels' means against NumPy", formats.value(f"{out}/m"), m, 1e-13)
    same("images: the channels' deviations against NumPy", formats.value(f"{out}/s"), s, 1e-13)
    x = (pixels - m[:, None, None]) / s[:, None, None]
    same("images: normalised pixels against NumPy", formats.value(f"{out}/x"), x[:75], 1e-13)
    outcome((formats.value(f"{out}/label") == label[:75]).all(), "images: labels against NumPy", "75 labels")
    torch = next((o.torch for o in found if o.name == "PyTorch"), None)
    if torch is None:
        return skip("images: a training with a smaller last batch, and weights to and from PyTorch", "no PyTorch here")

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.norm, self.out = torch.nn.Linear(3072, 12), torch.nn.BatchNorm1d(12), torch.nn.Linear(12, 10, bias=False)

        def forward(self, x):
            return self.out(torch.tanh(self.norm(self.hidden(x.flatten(1)))))

    def module(path):
        """As a user of PyTorch does: the file's tensors, as they are, into the module; every name must match."""
        model = Model().double()
        model.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in formats.safetensors(path).items()}, strict=True)
        return model

    def state(model):
        return {k: v.numpy() for k, v in model.state_dict().items() if k != "norm.num_batches_tracked"}
    x, label = torch.from_numpy(x), torch.from_numpy(label.astype(np.int64))
    model = module(f"{out}/start.safetensors")
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses, held = [], []
    for epoch in range(3):
        for rows in (slice(0, 32), slice(32, 64), slice(64, 75)):
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x[rows]), label[rows], label_smoothing=0.1)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        model.eval()
        with torch.no_grad():
            z = model(x[75:])
            held.append((torch.nn.functional.cross_entropy(z, label[75:]).item(), (z.argmax(1) == label[75:]).double().mean().item()))
        model.train()
    same("images: nine losses, each third of a batch of 11, against PyTorch", formats.table(f"{out}/curve.csv")["loss"], losses, 1e-11)
    same("images: weights and running statistics after three epochs against PyTorch", formats.value(f"{out}/ours"), state(model), 1e-10)
    table = formats.table(f"{out}/evaluation.csv")
    same("images: loss over batches of 9 and a rest against PyTorch", table["loss"], [h[0] for h in held], 1e-10)
    same("images: accuracy over batches of 9 and a rest against PyTorch", table["acc"], [h[1] for h in held], 1e-12)
    theirs = module(f"{data}/theirs.safetensors").eval()
    with torch.no_grad():
        same("images: logits of a module's weights against PyTorch", formats.value(f"{out}/logits"), theirs(x[75:]).numpy(), 1e-12)
        scores = theirs(torch.from_numpy((np.load(f"{data}/new.npy") / 255 - m[:, None, None]) / s[:, None, None])).numpy()
    same("images: a module's weights, read and written again", formats.value(f"{out}/theirs"), state(theirs), 0)
    same("images: logits of new images, in batches of 8 and a rest, against PyTorch", formats.value(f"{out}/scores"), scores, 1e-12)
    sure = np.exp(scores).max(1) / np.exp(scores).sum(1) > 0.12
    for name, expected in (("guess", scores.argmax(1).astype(np.int32)), ("sure", sure)):
        found = formats.value(f"{out}/{name}")
        outcome(found.dtype == expected.dtype and np.array_equal(found, expected) and len(set(expected)) > 1,
                f"images: {name} of new images, as NumPy reads it", f"{found.dtype} {found.shape}")


TESTS = {f.__name__: f for f in (gradients, nesting, optimisers, training, hessian_609, convolution, b2, images)}
PREPARE = {"images": prepare_images}  # writes the folder that --data names
FILES = {"images": ("images.hw", "--f64"), "b2": ("../../examples/b2_gradient_norm.hw", "--quick")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(HERE, "..", "..", "build"))
    parser.add_argument("--cpu", help="compile for this CPU (default: this machine's)")
    parser.add_argument("--keep", action="store_true", help="leave what the runs wrote, and say where")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    found = oracles()
    print("oracles:", ", ".join(o.name for o in found) or "none", "from", sys.executable)
    if not found:
        skip("every comparison with JAX or PyTorch", "neither is installed; tools/setup --peers installs them", len(TESTS))
    scratch = tempfile.mkdtemp(prefix="hwc-oracle-")
    for name in (options.names or TESTS) if found else []:
        out = os.path.join(scratch, name)
        file, *flags = FILES.get(name, (name + ".hw",))
        flags += ["--cpu", options.cpu] if options.cpu else []
        if name in PREPARE:
            os.mkdir(f"{out}-data")
            PREPARE[name](f"{out}-data")
            flags += ["--data", f"{out}-data"]
        run = subprocess.run([os.path.join(options.build, "bin", "hwc"), "run", HERE + "/" + file, *flags, "--out", out],
                             stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=600)
        if run.returncode:
            outcome(False, name, f"hwc run ended with {run.returncode}: {run.stderr.strip()[-1500:]}")
            continue
        try:
            TESTS[name](out, found)
        except (OSError, KeyError, ValueError, TypeError) as error:
            there = sorted(os.listdir(out)) if os.path.isdir(out) else "nothing"
            outcome(False, name, f"{type(error).__name__}: {error}; the run left {there}")
    if options.keep:
        print("kept:", scratch)
    else:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
