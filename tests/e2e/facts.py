"""The reference, docs/language.md, sentence by sentence: each that states a fact is quoted here by its beginning, beside a small program
that shows the fact. tests/e2e/run.py runs them all.

A quote that begins no sentence any more, or two, fails the test: sentence and fact are to be changed together. Sentences that no one quotes
are listed by the test as such: state their fact here, or say in ELSEWHERE or NO_CLAIM why not.

    FACTS     (quote, statements, {expression: value}): all in one program. Values are numbers or nested lists of them.
    ERRORS    (quote, program, words): the program ends with an error that matches; of the run if it begins with RUN, else of `check`
    FILES     (quote, {path under --out: what must be in it, or None}): what a run of SAVING leaves
    ELSEWHERE (quote, test): other tests show it
    NO_CLAIM  quotes of what states nothing to test
"""
import re

nan, inf = float("nan"), float("inf")
RUN = "// of the run\n"


class Exact(float):
    """To the last bit."""


def sentences(text):
    """(heading, sentence): of prose and lists, and rows of tables; blocks of code are not."""
    out, heading, block, paragraph = [], "", False, []

    def flush():
        out.extend((heading, part) for part in re.split(r"(?<=[.!?])\s+(?=[A-Z`*\[(])", " ".join(paragraph)) if part.strip())
        paragraph.clear()
    for line in text.split("\n"):
        if line.startswith("```"):
            block = not block
        if block or line.startswith(("```", "#", "|")) or not line.strip() or line.startswith("- "):
            flush()
        if block or line.startswith("```") or not line.strip():
            continue
        if line.startswith("#"):
            heading = line.strip("# ")
        elif line.startswith("|"):
            if not re.match(r"\|[-|: ]+\|$", line):
                out.append((heading, line[2:].rstrip("| ")))
        else:
            paragraph.append(line.removeprefix("- ").strip())
    flush()
    return out


# What many facts use.
COMMON = """data d { x = linspace(-1, 1, 6)[:, None]; y = 2 * x }
data two { x = reshape(arange(8), [4, 2]); label = classes([0, 1, 2, 1], 3) }
fn line(x) {
  param weight: [1, 1] = zeros
  return x @ weight
}
fn model(x) = x |> linear(3) |> tanh |> linear(1)
net = init(model, d.x, seed = 1)
flatline, flatline2 = init(line, d.x), init(line, d.x)
v = [1, -2, 3]
m = reshape(arange(6), [2, 3])
a4 = reshape(arange(16), [1, 1, 4, 4])
loss = mse(net(d.x), d.y)
g = grad(loss, net)
"""

FACTS = [
    # ---- types
    ("number | `3`, `1e-3`, `True`", "third = 1 / 3", {"third": Exact(1 / 3), "(ones([1]) * third)[0]": Exact(0.33333334), "True + 1": 2}),
    ("tensor | of f32, f64", "", {"(arange(3) < 2)": [1, 1, 0], "classes([2], 3)": [2]}),
    ("list | `[30, 60]`", "pairs = [[1, \"a\"], [2, \"b\"]]", {"sum([1, 2, 4])": 7, "len(pairs)": 2, "[ones([2]), zeros([2])] + 1": [[2, 2], [1, 1]]}),
    ("range | `1..n`", "", {"[i for i in 2..4]": [2, 3, 4]}),
    ("data | `data d", "", {"d.x.shape": [6, 1]}),
    ("net | what `init` returns", "", {"net.weights.size": 10, "net.seed": 1}),
    ("weights | `net.weights`", "", {"g.size": 10, "norm(g - grad(loss, net.weights))": 0}),
    ("fn | `linear`", "fn add(a, b) = a + b\nlater = add(3)", {"later(4)": 7}),
    ("operator | `hessian", "H = hessian(loss, net)", {"norm(dense(H) @ flat(g) - flat(H @ g)) < 1e-5 * (1 + norm(flat(H @ g)))": 1}),
    ("table | what `record` fills", "for i in 1..3 { record turns: square = i * i }", {"sum(turns.square)": 14}),
    ("Bytes, masks and labels become numbers", "", {"(arange(3) < 1) + 1": [2, 1, 1], "classes([2, 0], 3) / 4": [0.5, 0]}),
    ("**What is static.**", "size = m.shape[1]\nchosen = 0\nif size == 3 { chosen = 5 } else { chosen = \"never\" }", {"chosen": 5}),
    ("**What is static.**", "static = 0\nif len([1, \"a\"]) == 2 { static = 1 }", {"static": 1}),
    ("`epoch`, `step`, a run-time loop's variable", "other = where(mean(m) > 100, flatline, flatline2)", {"other(d.x)[0, 0] - flatline2(d.x)[0, 0]": 0}),
    # ---- statements
    ("`a = E`, `a, b = E, F`", "total, kept = 0, 5\nfor i in 1..3 {\n  total = total + i\n  local = i\n}", {"total": 6, "kept": 5}),
    ("`fn f(x, k = 3) = E`", "offset = 10\nfn shifted(x, k = 3) = x + k + offset\nfn twice(x) {\n  y = 2 * x\n  return y + shifted(0)\n}",
     {"shifted(1)": 14, "shifted(1, k = 4)": 15, "twice(1)": 15}),
    ("`param w: [n, c] = E`", "", {"flatline.weight": [[0]]}),
    ("`for a in L, b in M", "grid = 0\nfor a in [1, 2], b in [10, 20] { grid = grid + a * b }\nrows = zeros([3])\nfor r in m { rows = rows + r }\nsteps = 0\nfor t in linspace(0, 1, 5) { steps = steps + t }",
     {"grid": 90, "rows": [3, 5, 7], "steps": 2.5}),
    ("`if C { ... } else if D", "way = 0\nif 1 > 2 { way = 1 } else if 2 > 1 { way = 2 } else { way = 3 }", {"way": 2}),
    ("`data d { x = E; y = F }`, `data b", "data e = d { y = x + 1 }", {"sum(e.y)": 6, "e.rows": 6}),
    ("`train net on d batch 32 for 10 epochs { ... }` | rebinds", "fitted = init(line, d.x)\ntrain fitted on d for 200 steps { minimize mse(fitted(x), y) with sgd(lr = 0.5) }", {"fitted.weight": [[2]]}),
    ("`minimize E over W with adam()`", "one = init(line, d.x)\ntrain one on d for 1 steps { minimize mse(one(x), y) with sgd(lr = 0.5) }", {"one.weight[0, 0]": 0.5 * 4 * 0.4666666667}),
    ("`every 5 epochs { ... }`", "timed = init(line, d.x)\ntrain timed on d batch 3 for 4 epochs {\n  minimize mse(timed(x), y) with sgd(lr = 0.1)\n  every 2 epochs { record by_epoch: n = epoch }\n  every step { record by_step: n = step }\n}",
     {"count(by_epoch.n)": 2, "last(by_epoch.n)": 4, "count(by_step.n)": 8}),
    ("`stop when C` | in `every`", "stopped = init(line, d.x)\ntrain stopped on d for 50 steps {\n  minimize mse(stopped(x), y) with sgd(lr = 0.1)\n  every step {\n    stop when step >= 3\n    record stopping: n = step\n  }\n}",
     {"last(stopping.n)": 3}),
    ("`record t: a, b = E`", "record pairs_of: p = 3, q = [1, 2]", {"mean(pairs_of.p)": 3}),
    ("A run-time loop whose variable a shape", "sized = 0\nfor n in 1..4 { sized = sized + sum(ones([n])) }", {"sized": 10}),
    ("What such a loop rebinds is carried", "carried = zeros([2])\nfor i in 1..3 { carried = carried + i }", {"carried": [6, 6]}),
    # ---- shapes and arithmetic
    ("Tensors broadcast as NumPy's do", "", {"(m + [10, 20, 30])": [[10, 21, 32], [13, 24, 35]], "(arange(2)[:, None] + arange(3)).shape": [2, 3], "(ones([4, 1, 3]) + ones([2, 1])).shape": [4, 2, 3]}),
    ("`+ - * /` and `^` work element", "", {"v ^ 2": [1, 4, 9], "[6, 8] / [3, -2]": [2, -4], "v > 0 and v < 2": [1, 0, 0], "v > 2 or not (v > 0)": [0, 1, 1], "(0 + m) == m": [[1, 1, 1], [1, 1, 1]], "m[0] != m[1] - 3": [0, 0, 0], "m[0] == arange(3) * [1, 2, 1]": [1, 0, 1]}),
    ("Two lists are equal or not as a whole", "same_lists = 0\nif m.shape == [2, 3] { same_lists = 1 }", {"same_lists": 1, "[1, 2] == [1, 3]": 0, "[1, 2] != [1, 3]": 1}),
    ("`@` is the matrix product", "", {"m @ m.T": [[5, 14], [14, 50]], "m @ v": [4, 10], "[1, 2, 3] @ v": 6, "(ones([2, 3, 4]) @ ones([2, 4, 5])).shape": [2, 3, 5]}),
    ("`x.T` reverses the axes", "", {"m.T": [[0, 3], [1, 4], [2, 5]], "m.shape": [2, 3], "m.size": 6, "m.ndim": 2, "ones([2, 3, 4]).T.shape": [4, 3, 2]}),
    ("Division is of real numbers", "", {"1 / 4": 0.25, "classes([1], 2) / 4": [0.25]}),
    ("Weights meet numbers", "u = net.weights - 0.1 * g / (sqrt(g * g) + 1e-3)", {"norm(flat(u) - (flat(net.weights) - 0.1 * flat(g) / (abs(flat(g)) + 1e-3)))": 0}),
    ("`sum`, `mean`, `max`, `min`, `norm`, `dot` see", "", {"sum(g) - sum(flat(g))": 0, "mean(g) - mean(flat(g))": 0, "max(g) - max(flat(g))": 0, "min(g) - min(flat(g))": 0, "norm(g) - norm(flat(g))": 0, "dot(g, g) - sum(flat(g) ^ 2)": 0}),
    ("Numbers among themselves are computed in f64", "", {"(1 + 1e-12) - 1": Exact((1 + 1e-12) - 1)}),
    ("**Indices** are NumPy's", "where_to = [2, -1]\nk = 0\nfor i in 1..2 { k = i }",
     {"m[0]": [0, 1, 2], "m[-1]": [3, 4, 5], "m[:, 1:3]": [[1, 2], [4, 5]], "arange(5)[::2]": [0, 2, 4], "arange(3)[::-1]": [2, 1, 0], "m[..., 0]": [0, 3], "m[:, None].shape": [2, 1, 3],
      "m[:, [0, 2]]": [[0, 2], [3, 5]], "arange(4)[classes([3, 0], 4)]": [3, 0], "arange(6)[i32(-ones([1]))]": [5], "arange(6)[i32([5.0, -6.0])]": [5, 0], "arange(6)[where_to]": [2, 5],
      "m[i32(0 * v)[0:2]]": [[0, 1, 2], [0, 1, 2]], "arange(6)[k - 3]": 5, "arange(6)[::-2]": [5, 3, 1], "arange(6)[4:1:-1]": [4, 3, 2]}),
    ("Bounds of slices are clipped", "", {"arange(4)[1:100]": [1, 2, 3], "arange(4)[-100:2]": [0, 1]}),
    ("`digits.train[0:1000]` is a data set", "", {"d[0:4].rows": 4, "d[2:4].x[:, 0]": [-0.2, 0.2]}),
    ("**Comprehensions** stack", "waves = [sin(k * arange(4)) for k in 1..3]\nnames_of = [\"n\" for k in 1..3]\nmany = [k * arange(2) for k in 1..20]",
     {"stack(waves).shape": [3, 4], "waves.shape": [3, 4], "waves[0:2, ::-1].shape": [2, 4], "waves[:, 0]": [0, 0, 0], "waves[..., 1]": [0.841470985, 0.909297427, 0.141120008], "(0 + waves)[2, 1]": 0.141120008,
      "waves[[2, 0]][:, 1]": [0.141120008, 0.841470985], "waves.T.shape": [4, 3], "len(names_of)": 3, "many[:, 1][3]": 4, "waves[1][1]": 0.909297427}),
    # ---- functions, nets
    ("Arguments without a default are passed by position", "fn power(x, p = 2) = x ^ p", {"power(3)": 9, "power(3, p = 3)": 27}),
    ("A call that lacks its first k positional", "fn less(a, b) = a - b\nminus = less(1)", {"minus(5)": 4, "7 |> less(2)": 5}),
    ("Evaluating a call of it", "fn once(x) {\n  layer = linear(1)\n  return layer(layer(x))\n}\nfn apart(x) = x |> linear(1) |> linear(1)\nshared_net, apart_net = init(once, d.x, seed = 3), init(apart, d.x, seed = 3)",
     {"shared_net.weights.size": 2, "apart_net.weights.size": 4}),
    ("`|> batchnorm` makes an instance there", "fn normed(x) = x |> batchnorm |> batchnorm\nnormed_net = init(normed, d.x)", {"normed_net.weights.size": 4, "normed_net.batchnorm2.weight": [1]}),
    ("**Names of parameters**", "", {"net.linear1.weight.shape": [3, 1], "net.linear2.bias.shape": [1], "shared_net.layer.weight.shape": [1, 1]}),
    ("`net.linear1` is a net", "", {"net.linear1(d.x).shape": [6, 3], "net.linear1.weight.size": 3, "select(net.weights, \"weight\").size": 6}),
    ("`init(f, examples..., seed = 0, from = None)` takes shapes", "", {"net.linear1.weight.shape": [3, 1]}),
    ("Axis 0 of an example is the sample", "", {"net(ones([3, 1])).shape": [3, 1]}),
    ("A random initialiser's numbers depend on the seed", "fn longer(x) = x |> linear(3) |> tanh |> linear(1) |> linear(1)\nalso, else_seed = init(longer, d.x, seed = 1), init(model, d.x, seed = 2)",
     {"norm(also.linear1.weight - net.linear1.weight)": 0, "norm(else_seed.linear1.weight - net.linear1.weight) > 0": 1}),
    ("The net is called like `f`", "fn both(a, b) = linear(a, 1) + linear(b, 1)\nboth_net = init(both, d.x, d.y, seed = 1)", {"both_net(d.x, d.y).shape": [6, 1]}),
    ("`at(net, w)` has other weights", "flatnet = at(net, 0 * net.weights)\nhalf = mix(net, flatnet, 0.25)",
     {"norm(flatnet.weights)": 0, "norm(half.weights - 0.75 * net.weights)": 0}),
    ("**State.** In a layer `s' = E`", "fn counting(x) {\n  param weight: [1, 1] = zeros\n  state calls: [1] = zeros\n  calls' = calls + 1\n  return x @ weight + 0 * calls\n}\ncounted = init(counting, d.x)\ntrain counted on d for 3 steps {\n  minimize mse(counted(x), y) with sgd(lr = 0.1)\n  record looks: value = mean(counted(x)) \n  every step { seen = mean(counted(d.x)) }\n}",
     {"counted.calls": [3]}),
    ("A step commits the evaluations that flow", "", {"counted.calls": [3]}),
    ("`training` is true for the trained nets", "fn mode(x) {\n  param weight: [1, 1] = zeros\n  m = 0\n  if training { m = 1 }\n  return x @ weight + m\n}\nmoded = init(mode, d.x)\ntrain moded on d for 1 steps {\n  out = moded(x)\n  minimize mse(out, y) with sgd(lr = 0)\n  record inside: value = mean(out)\n  every step { record behind: value = mean(moded(d.x)) }\n}",
     {"last(inside.value)": 1, "last(behind.value)": 0, "mean(moded(d.x))": 0}),
    ("**Images** are `[N, C, H, W]`", "fn images(x) = x |> conv2d(2, kernel = [3, 1], stride = [2, 1], padding = [[1, 0], [0, 2]]) |> maxpool(2, stride = 1)\nimage_net = init(images, a4, seed = 1)",
     {"image_net(a4).shape": [1, 2, 1, 5], "image_net.conv2d1.weight.shape": [2, 1, 3, 1]}),
    ("Orientation, defaults and names are PyTorch's", "fn grouped(x) = conv2d(x, 4, kernel = 3, groups = 2)\ngrouped_net = init(grouped, ones([1, 2, 4, 4]), seed = 1)",
     {"grouped_net.conv2d1.weight.shape": [4, 1, 3, 3], "maxpool(a4, 2).shape": [1, 1, 2, 2], "avgpool(ones([1, 1, 2, 2]), 2, padding = 1)[0, 0]": [[0.25, 0.25], [0.25, 0.25]], "maxpool(-ones([1, 1, 2, 2]), 2, padding = 1)[0, 0]": [[-1, -1], [-1, -1]]}),
    ("An initialiser may be a function without arguments", "fn filled(x) {\n  param a: [2] = ones\n  param b: [1] = 3 * ones([1])\n  param c: [4] = normal(0, 1)\n  param e: [4] = uniform(5, 6)\n  return x + sum(a) + b + 0 * sum(c) + 0 * sum(e)\n}\nfilled_net = init(filled, d.x, seed = 1)",
     {"filled_net.a": [1, 1], "filled_net.b": [3], "filled_net.c.shape": [4], "min(filled_net.e) >= 5": 1}),
    # ---- derivatives
    ("`grad(E, v)` | the gradient", "p = [1, 2, 3] + 0\ncube = sum(p ^ 3)\ngp = grad(cube, p)", {"gp": [3, 12, 27]}),
    ("`jvp(E, v, t)` | E's directional", "", {"jvp(p * p, p, [1, 0, 1])": [2, 0, 6]}),
    ("`vjp(E, v, c)` | c, of the form", "", {"vjp(p * p, p, [1, 1, 2])": [2, 4, 12]}),
    ("`jacobian(E, v)` | the matrix [E.size", "", {"jacobian(p[0:2] * p[2], p)": [[3, 0, 1], [0, 3, 2]]}),
    ("`hessian(E, v)` | the Hessian as an operator: `H @ u`", "", {"dense(hessian(cube, p))": [[6, 0, 0], [0, 12, 0], [0, 0, 18]], "hessian(cube, p) @ [1, 1, 1]": [6, 12, 18]}),
    ("`v` is a net, weights, a tensor", "", {"grad(sum(d.x ^ 2), d.x)[0]": [-2], "grad(loss, net).size": 10}),
    ("All of these nest", "", {"grad(sum(grad(cube, p) ^ 2), p)": [36, 288, 972], "grad(norm2(jvp(p * p, p, p)), p)": [16, 128, 432]}),
    ("By w it is defined", "a15 = p * p\nslope = grad(sum(a15 ^ 3), p)\nownslope = grad(sum(a15 ^ 3), a15)\nfixed = stop_gradient(a15)\nheldslope = grad(sum(fixed * p ^ 2), p)",
     {"grad(sum(slope), p)": [30, 480, 2430], "grad(sum(ownslope), a15)": [6, 24, 54], "grad(sum(heldslope), fixed)": [2, 4, 6]}),
    ("Any value that E is computed from", "", {"grad(sum(a15 * p), a15)": [1, 2, 3]}),
    ("A net's weights are variables of their own", "fn chained(x) {\n  param a: [1] = ones\n  param b: [1] = 2 * a\n  state s: [1] = 3 * a\n  return x * a * b * s\n}\ntwin = init(chained, d.x)\ntwinloss = sum(twin(ones([2, 1])))\ngt = grad(twinloss, twin)",
     {"gt.a": [12], "gt.b": [6], "jvp(twinloss, twin, twin.weights)": 24}),
    ("So is what a loop that runs carries", "turns = p * p\nfor i in 1..2 {\n  turned = grad(sum(turns * p), p)\n  turns = turns + turned\n}", {"turns": [4, 16, 36]}),
    ("Derivatives at kinks", "z = zeros([2]) + 0\nz2 = zeros([2]) * 1", {"grad(sum(relu(z)), z)": [0, 0], "grad(sum(abs(z)), z)": [0, 0], "grad(sum(sign(z) + floor(z)), z)": [0, 0], "grad(sum(max(z, z2)), z)": [0, 0],
     "grad(sum(max(z, z2)), z2)": [1, 1], "grad(sum(min(z, z2)), z2)": [1, 1], "grad(max(z), z)": [1, 0], "grad(sum(where(p > 1, p, 5 * p)), p)": [5, 1, 1]}),
    ("`stop_gradient(x)` is x with derivative zero", "", {"grad(sum(p * stop_gradient(p)), p)": [1, 2, 3]}),
    ("`gradcheck(E, net)` copies E in f64", "checked = gradcheck(loss, net)", {"max(checked.gradient_error) < 1e-6": 1, "max(checked.hvp_error) < 1e-6": 1, "sum(checked.entries)": 10, "sum(checked.at_kink)": 0, "count(checked.entries)": 4}),
    # ---- training
    ("Without `batch` a step takes all rows", "whole = init(line, d.x)\ntrain whole on d for 1 epochs {\n  minimize mse(whole(x), y) with sgd(lr = 0.1)\n  record taken: rows = x.shape[0]\n}", {"sum(taken.rows)": 6}),
    ("Each is a value of its own there", "data squared = d { squares = x * x }\nown_all, own_batch = init(line, d.x), init(line, d.x)\ntrain own_all on squared for 1 steps {\n  minimize mse(own_all(x), y) with sgd(lr = 0.1)\n  record own_all_slopes: s = sum(grad(sum(x * squares), x))\n}\ntrain own_batch on squared batch 6 for 1 steps {\n  minimize mse(own_batch(x), y) with sgd(lr = 0.1)\n  record own_batch_slopes: s = sum(grad(sum(x * squares), x))\n}", {"last(own_all_slopes.s)": 2.8, "last(own_batch_slopes.s)": 2.8}),
    ("`batch k` shuffles the rows anew", "shuffled = init(line, d.x, seed = 5)\ntrain shuffled on d batch 6 for 2 epochs {\n  minimize mse(shuffled(x), y) with sgd(lr = 0)\n  record orders: first = x[0, 0], second = x[1, 0], third = x[2, 0]\n}\nordered_net = init(line, d.x, seed = 5)\ntrain ordered_net on d batch 6 ordered for 1 epochs {\n  minimize mse(ordered_net(x), y) with sgd(lr = 0)\n  record in_order: rows = x[:, 0]\n}",
     {"max(orders.first) + max(orders.second) + max(orders.third) != min(orders.first) + min(orders.second) + min(orders.third)": 1}),
    ("The last batch of an epoch may be smaller", "tails = init(line, d.x)\ntrain tails on d batch 4 for 1 epochs {\n  minimize mse(tails(x), y) with sgd(lr = 0.1)\n  record tail: rows = x.shape[0]\n}", {"max(tail.rows)": 4, "min(tail.rows)": 2}),
    ("`for n steps` counts steps", "by_steps = init(line, d.x)\ntrain by_steps on d batch 4 for 3 steps {\n  minimize mse(by_steps(x), y) with sgd(lr = 0.1)\n  record stepped: n = step\n}", {"count(stepped.n)": 3}),
    ("Several nets can be trained at once", "left, right_net = init(line, d.x), init(line, d.x)\ntrain left, right_net on d for 100 steps { minimize mse(left(x), y) + mse(right_net(x), 2 * y) with sgd(lr = 0.5) }", {"left.weight[0, 0]": 2, "right_net.weight[0, 0]": 4}),
    ("By default W is all nets that are trained", "part = init(model, d.x, seed = 1)\ntrain part on d for 2 steps { minimize mse(part(x), y) over part.linear2 with sgd(lr = 0.1) }\nparts = init(model, d.x, seed = 1)\ntrain parts on d for 2 steps { minimize mse(parts(x), y) over select(parts.weights, \"weight\") with sgd(lr = 0.1) }",
     {"norm(part.linear1.weights - net.linear1.weights)": 0, "norm(part.linear2.weight - net.linear2.weight) > 0": 1, "norm(parts.linear1.bias - net.linear1.bias)": 0, "norm(parts.linear1.weight - net.linear1.weight) > 0": 1}),
    ("Several `minimize` read the same old weights", "pa, pb = init(line, d.x), init(line, d.x)\ntrain pa, pb on d for 1 steps {\n  minimize sum((pa.weight - 1) ^ 2) over pa with sgd(lr = 0.5)\n  minimize sum((pb.weight - pa.weight - 3) ^ 2) over pb with sgd(lr = 0.5)\n}", {"pa.weight": [[1]], "pb.weight": [[3]]}),
    ("E is a scalar, or for an optimiser", "lm = init(line, d.x)\ntrain lm on d for 5 steps { minimize lm(x) - y with levenberg() }", {"abs(lm.weight[0, 0] - 2) < 1e-3": 1}),
    ("An optimiser is a function of `f` and `w`", "fn halving(f, w) {\n  state n = 0\n  n' = n + 1\n  return 0 * w + n\n}\nfresh = init(line, d.x)\ntrain fresh on d for 3 steps { minimize mse(fresh(x), y) with halving() }\nonce_more = fresh\ntrain once_more on d for 1 steps { minimize mse(once_more(x), y) with halving() }", {"fresh.weight": [[2]], "once_more.weight": [[0]]}),
    ("Its other arguments are evaluated anew", "fn set_to(f, w, value = 0) = 0 * w + value\nscheduled = init(line, d.x)\ntrain scheduled on d for 4 steps { minimize mse(scheduled(x), y) with set_to(value = 10 * step) }", {"scheduled.weight": [[30]]}),
    ("`every` blocks run after the update", "after = init(line, d.x)\ntrain after on d for 2 steps {\n  minimize mse(after(x), y) with set_to(value = 7)\n  every step { record after_update: w = after.weight[0, 0] }\n}", {"min(after_update.w)": 7}),
    ("In them `net` has the new weights", "column = init(line, d.x)\ntrain column on d batch 2 for 2 epochs {\n  value = 1 + step\n  minimize mse(column(x), y) with sgd(lr = 0.1)\n  every epoch { record seen_by: mean = mean(value), last = last(value), max = max(value), epoch_count = epoch, steps = step }\n}",
     {"sum(seen_by.mean)": 7, "last(seen_by.last)": 6, "max(seen_by.max)": 6, "last(seen_by.epoch_count)": 2, "last(seen_by.steps)": 6}),
    ("What the block rebinds of the surroundings is kept", "rebound = 0\nkeeping = init(line, d.x)\ntrain keeping on d for 5 steps {\n  minimize mse(keeping(x), y) with sgd(lr = 0.1)\n  every step { rebound = rebound + 1 }\n}", {"rebound": 5}),
    ("In the step `epoch` and `step` count from 0", "zero = init(line, d.x)\ntrain zero on d batch 3 for 2 epochs {\n  minimize mse(zero(x), y) with sgd(lr = 0.1)\n  record from_zero: e = 1 * epoch, s = 1 * step\n}", {"min(from_zero.e)": 0, "max(from_zero.e)": 1, "min(from_zero.s)": 0, "max(from_zero.s)": 3}),
    ("`E on d` evaluates E with d's columns", "", {"mean(x) on d": 0, "sum(y) on d[3:6]": 3.6}),
    ("`E on d batch k` does it in batches", "", {"mean(x ^ 2) on d batch 4": 0.4666666667, "(x + 0) on d batch 4": [[-1], [-0.6], [-0.2], [0.2], [0.6], [1]]}),
    ("Such a mean is differentiable", "batched = mse(net(x), y) on d batch 4", {"norm(grad(batched, net) - g) < 1e-6": 1}),
    # ---- random numbers
    ("Outside of nets a random call names", "ra, rb = normal(0, 1, shape = [3], seed = 3), uniform(0.99, 1.01, like = net.weights, seed = 2)", {"ra.shape": [3], "max(rb) < 1.01": 1, "min(rb) >= 0.99": 1, "rb.size": 10}),
    ("Two calls of one kind, seed and shape", "", {"norm(ra - normal(0, 1, shape = [3], seed = 3))": 0, "norm(ra - normal(0, 1, shape = [3], seed = 4)) > 0": 1}),
    ("A seed is a whole number", "largest_seed = uniform(0, 1, shape = [2], seed = 4294967295)", {"norm(largest_seed - uniform(0, 1, shape = [2], seed = 4294967294)) > 0": 1}),
    ("In `train` they differ from step to step", "noisy = init(line, d.x)\ntrain noisy on d for 3 steps {\n  minimize mse(noisy(x), y) with sgd(lr = 0)\n  record noise: r = uniform(0, 1, shape = [1], seed = 1)[0]\n}", {"max(noise.r) > min(noise.r)": 1}),
    ("In an initialiser (`param w: [n] = normal(0, 1)`)", "fn initial(x) {\n  param w: [5] = normal(0, 1)\n  return x + sum(w)\n}\ni1, i2 = init(initial, d.x, seed = 1), init(initial, d.x, seed = 2)", {"i1.w.shape": [5], "norm(i1.w - i2.w) > 0": 1}),
    ("In a layer the seed is the net's", "fn dropping(x) = x |> dropout(0.5) |> linear(1)\nfn dropping_twice(x) = dropout(x, 0.5) - dropout(x, 0.5) + 0 * linear(x, 1)\ndropped = init(dropping, ones([50, 8]), seed = 1)\ntwice_net = init(dropping_twice, ones([50, 1]), seed = 1)\ndata fifty { x = ones([50, 8]); single = ones([50, 1]) }\ntrain dropped, twice_net on fifty for 1 steps {\n  minimize mean(dropped(x)) + mean(twice_net(single)) with sgd(lr = 0)\n  record masks: same = norm(dropped(x) - dropped(x)), differ = norm(twice_net(single))\n}",
     {"last(masks.same)": 0, "last(masks.differ) > 0": 1}),
    # ---- data
    ("`data d { x = E; y = F }` | tensors", "", {"d.y[0]": [-2]}),
    ("`data b = a { y = E }` | a's columns", "data more = d { z = 3 * x }", {"more.z[0]": [-3], "more.y[0]": [-2]}),
    ("`data b = a[0:1000]`", "data fewer = d[1:3]", {"fewer.rows": 2, "fewer.x": [[-0.6], [-0.2]]}),
    ("`d.x` is the whole column", "", {"d.x.shape": [6, 1], "d.rows": 6, "len(d)": 6}),
    ("Splits and subsets are slices", "", {"d[:2].rows": 2, "d[2:].rows": 4}),
    ("`batch k` takes k rows at a time", "", {"mean(x * x) on d batch 5": 0.4666666667}),
    ("Other columns (`y = sin(x)`)", "data waved { x = arange(3); y = sin(x) }", {"waved.y": [0, 0.841470985, 0.909297427]}),
    # ---- records
    ("`record t: items` appends a row", "for i in 1..2, j in [5, 6] { record loops: sum = i + j }", {"count(loops.i)": 4, "sum(loops.j)": 22, "last(loops.sum)": 8}),
    ("A tensor takes a column an element", "record wide: w = [5, 6]\nrecord each on d: x, k = 4", {"count(each.x)": 6, "sum(each.k)": 24}),
    ("The same table may be appended to", "record mixed: p = 1\nrecord mixed: q = 2", {"count(mixed.p)": 2, "isnan(last(mixed.p))": 1, "last(mixed.q)": 2}),
    ("`t.col` is a column", "for i in 1..4 { record cols: value = i * i }", {"mean(cols.value)": 7.5, "sum(cols.value)": 30, "min(cols.value)": 1, "max(cols.value)": 16, "last(cols.value)": 16, "count(cols.value)": 4}),
    # ---- functions
    ("`axis` is a number or a list", "", {"sum(m, axis = -1)": [3, 12], "sum(m, axis = [0, 1])": 15, "sum(m, axis = None)": 15}),
    ("`pi`, `inf`, `nan` are numbers", "", {"pi": 3.141592653589793, "inf": inf, "nan": nan}),
    ("`exp(x)` |", "", {"exp(v)": [2.718281828, 0.135335283, 20.08553692]}),
    ("`expm1(x)` |", "", {"expm1([1e-6])": [1.0000005e-6]}),
    ("`log(x)` |", "", {"log([1, 10])": [0, 2.302585093]}),
    ("`log1p(x)` |", "", {"log1p([1e-6])": [9.999995e-7]}),
    ("`sqrt(x)` |", "", {"sqrt([4, 2])": [2, 1.414213562]}),
    ("`sin(x)` |", "", {"sin([1])": [0.841470985]}),
    ("`cos(x)` |", "", {"cos([1])": [0.540302306]}),
    ("`tanh(x)` |", "", {"tanh([0.5])": [0.462117157]}),
    ("`sigmoid(x)` |", "", {"sigmoid([0, 1])": [0.5, 0.731058579]}),
    ("`erf(x)` |", "", {"erf([0.5])": [0.520499878]}),
    ("`asinh(x)` |", "", {"asinh([2])": [1.443635475]}),
    ("`arcsinh(x)` |", "", {"arcsinh([2])": [1.443635475]}),
    ("`abs(x)` |", "", {"abs(v)": [1, 2, 3]}),
    ("`sign(x)` |", "", {"sign([-2, 0, 5])": [-1, 0, 1], "grad(sum(sign(p)), p)": [0, 0, 0]}),
    ("`floor(x)` |", "", {"floor([1.5, -1.5])": [1, -2], "grad(sum(floor(p)), p)": [0, 0, 0]}),
    ("`stop_gradient(x)` | x, through", "", {"stop_gradient(v)": [1, -2, 3]}),
    ("`same_shape(a, b)` |", "", {"same_shape(v, 2 * v)": [2, -4, 6], "same_shape(v, 3)": 3}),
    ("`where(condition, a, b)` |", "", {"where(v > 0, v, 0)": [1, 0, 3], "where(1 > 2, 5, 6)": 6}),
    ("`sum(x, axis = None", "", {"sum(m)": 15, "sum(m, axis = 0)": [3, 5, 7], "sum(m, axis = 1, keepdims = True)": [[3], [12]]}),
    ("`mean(x, axis = None", "", {"mean(m)": 2.5, "mean(m, axis = 0)": [1.5, 2.5, 3.5]}),
    ("`max(x, y?", "", {"max(v, 0)": [1, 0, 3], "max(m, axis = 1)": [2, 5], "max(v)": 3, "grad(sum(max(p, 2)), p)": [0, 0, 1]}),
    ("`min(x, y?", "", {"min(v, 0)": [0, -2, 0], "min(m, axis = 0)": [0, 1, 2], "min(v)": -2}),
    ("`argmax(x, axis = None)` |", "", {"argmax([[1, 5, 5], [7, 1, 2]], axis = 1)": [1, 0], "argmax(v)": 2, "one_hot(argmax(m, axis = 1)).shape": [2, 3]}),
    ("`count(x, axis = None, ddof = 0)` |", "", {"count(m)": 6, "count(m, axis = 1)": 3}),
    ("`last(column)` |", "", {"last(cols.value)": 16}),
    ("`len(x)` |", "", {"len([1, 2])": 2, "len(m)": 2, "len(d)": 6, "len(d.x)": 6}),
    ("`reshape(x, shape)` |", "", {"reshape(m, [3, 2])": [[0, 1], [2, 3], [4, 5]], "reshape(m, [-1, 1]).shape": [6, 1]}),
    ("`flatten(x)` |", "", {"flatten(ones([2, 3, 4])).shape": [2, 12]}),
    ("`transpose(x, order?)` |", "", {"transpose(m)": [[0, 3], [1, 4], [2, 5]], "transpose(ones([2, 3, 4]), [1, 0, 2]).shape": [3, 2, 4]}),
    ("`concat(list, axis = 0)` |", "", {"concat([v, [9]])": [1, -2, 3, 9], "concat([m, m], axis = 1).shape": [2, 6]}),
    ("`stack(list, axis = 0)` |", "", {"stack([v, v]).shape": [2, 3], "stack([v, v], axis = 1).shape": [3, 2]}),
    ("`conv(x, weight, stride = 1", "", {"conv(reshape(arange(4), [1, 1, 4]), reshape([1, 2], [1, 1, 2]))[0, 0]": [2, 5, 8], "conv(reshape(arange(4), [1, 1, 4]), reshape([1, 2], [1, 1, 2]), stride = 2, padding = [[1, 0]], dilation = 2)[0, 0]": [2, 7],
     "conv(ones([1, 4, 3, 3]), ones([2, 2, 3, 3]), groups = 2)[0, :, 0, 0]": [18, 18]}),
    ("`kernel_shape(x, n, size", "", {"kernel_shape(ones([1, 4, 8, 8]), 6, [3, 5], groups = 2)": [6, 2, 3, 5]}),
    ("`window_max(x, size", "ties = reshape([3, 3, 1, 2], [1, 1, 4])", {"window_max(a4, 2)[0, 0]": [[5, 7], [13, 15]], "window_max(ties, [2], stride = 1)[0, 0]": [3, 3, 2], "grad(sum(window_max(ties, [2])), ties)[0, 0]": [1, 0, 0, 1]}),
    ("`window_sum(x, size", "", {"window_sum(a4, 2)[0, 0]": [[10, 18], [42, 50]]}),
    ("`pair(size)` |", "", {"pair(3)": [3, 3], "pair([2, 5])": [2, 5]}),
    ("`zeros(shape)` |", "", {"zeros([2])": [0, 0]}),
    ("`ones(shape)` |", "", {"ones([2])": [1, 1]}),
    ("`full(shape, value)` |", "", {"full([2], 7)": [7, 7]}),
    ("`linspace(first, last, count)` |", "", {"linspace(0, 1, 5)": [0, 0.25, 0.5, 0.75, 1]}),
    ("`arange(n)` |", "", {"arange(4)": [0, 1, 2, 3]}),
    ("`eye(n)` |", "", {"eye(2)": [[1, 0], [0, 1]]}),
    ("`f32(x)` |", "", {"f32(f64([1]) / 3)": [Exact(0.33333334)]}),
    ("`f64(x)` |", "", {"f64([1]) / 3": [Exact(1 / 3)]}),
    ("`i32(x)` |", "", {"arange(5)[i32([1.9, 3.2])]": [1, 3], "i32([-1.5])": [-1]}),
    ("`one_hot(label, classes = None)` |", "", {"one_hot(classes([1, 0], 2))": [[0, 1], [1, 0]], "one_hot(classes([1], 2), classes = 3)": [[0, 1, 0]]}),
    ("`pick(x, label)` |", "", {"pick(m + 0.5, classes([2, 0], 3))": [2.5, 3.5]}),
    ("`classes(x, k)` |", "", {"classes([0, 2], 3)": [0, 2]}),
    ("`random(shape = None", "", {"min(random(shape = [1000], seed = 1)) >= 0": 1, "max(random(shape = [1000], seed = 1)) < 1": 1, "norm(random(shape = [4], seed = 1) - random(shape = [4], seed = 1, stream = 1)) > 0": 1,
     "sum(abs(random(shape = [9], seed = 1) * 2 ^ 24 - floor(random(shape = [9], seed = 1) * 2 ^ 24)))": 0}),
    ("`flat(w)` |", "", {"flat(m)": [0, 1, 2, 3, 4, 5], "flat(net.weights).shape": [10]}),
    ("`like(v, w)` |", "", {"norm(like(flat(g), net.weights) - g)": 0}),
    ("`map(f, w...)` |", "fn squares(t) = t * t", {"norm(map(squares, g) - g * g)": 0}),
    ("`select(w, name)` |", "", {"select(net.weights, \"bias\").size": 4}),
    ("`at(net, w)` | the net", "", {"norm(at(net, 2 * net.weights).weights - 2 * net.weights)": 0}),
    ("`mix(a, b, t)` |", "", {"norm(mix(net, flatnet, 1).weights)": 0}),
    ("`init(f, examples..., seed = 0, from = None)` |", "", {"init(model, d.x, seed = 1).linear2.weight[0, 0] - net.linear2.weight[0, 0]": 0}),
    ("`grad(E, v)` | gradient", "", {"grad(sum(p * p), p)": [2, 4, 6]}),
    ("`jvp(E, v, t)` | Jacobian", "", {"jvp(sum(p * p), p, [1, 0, 0])": 2}),
    ("`vjp(E, v, c)` | vector", "", {"vjp(sum(p * p), p, 2)": [4, 8, 12]}),
    ("`jacobian(E, v)` | the matrix [E's", "", {"jacobian(p * p, p)": [[2, 0, 0], [0, 4, 0], [0, 0, 6]]}),
    ("`hessian(E, v)` | the Hessian as an operator: `H @ v`", "", {"hessian(sum(p ^ 2), p) @ p": [2, 4, 6]}),
    ("`dense(H)` |", "", {"dense(hessian(sum(p ^ 2), p))": [[2, 0, 0], [0, 2, 0], [0, 0, 2]]}),
    ("`solve(A, b)` |", "", {"solve([[2, 1], [1, 3]], [3, 5])": [0.8, 1.4]}),
    ("`cholesky(A)` |", "", {"cholesky([[4, 2], [2, 5]])": [[2, 0], [1, 2]]}),
    ("`eigvals(A)` |", "spectrum = eigvals([[2, 1], [1, 2]])", {"spectrum": [1, 3]}),
    ("`gradcheck(E, net)` | a table", "", {"count(checked.entries)": 4}),
    # ---- the prelude
    ("`relu(x)` |", "", {"relu(v)": [1, 0, 3], "grad(sum(relu(z)), z)": [0, 0]}),
    ("`leaky_relu(x", "", {"leaky_relu(v)": [1, -0.02, 3]}),
    ("`elu(x", "", {"elu(v)": [1, -0.864664717, 3]}),
    ("`gelu(x)` |", "", {"gelu([1])": [0.841344746]}),
    ("`silu(x)` |", "", {"silu([1])": [0.731058579]}),
    ("`softplus(x)` |", "", {"softplus([0, 200])": [0.693147181, 200]}),
    ("`square(x)` |", "", {"square(v)": [1, 4, 9]}),
    ("`tan(x)` |", "", {"tan([1])": [1.557407725]}),
    ("`sinh(x)` |", "", {"sinh([1])": [1.175201194]}),
    ("`cosh(x)` |", "", {"cosh([1])": [1.543080635]}),
    ("`log2(x)` |", "", {"log2([8])": [3]}),
    ("`log10(x)` |", "", {"log10([1000])": [3]}),
    ("`ceil(x)` |", "", {"ceil([1.2, -1.2])": [2, -1]}),
    ("`round(x)` |", "", {"round([1.4, 1.6, -1.4])": [1, 2, -1]}),
    ("`mod(a, b)` |", "", {"mod([5, -5, 5.5, -1, 4], 4)": [1, 3, 1.5, 3, 0], "mod([5, -5], -4)": [-3, -1], "mod([5, -5], inf)": [5, inf], "mod(7, 3)": 1, "grad(sum(mod(p, 4)), p)": [1, 1, 1], "grad(sum(mod([-5, 9, 2], p)), p)": [5, -4, 0],
     "zeros([mod(5, 3)]).shape": [2], "mod(1, 0.1) < 0.1": 1, "mod(1, 0.1) >= 0": 1}),
    ("`clip(x, low, high)` |", "", {"clip(v, -1, 2)": [1, -1, 2]}),
    ("`isnan(x)` |", "", {"isnan([1, nan] + 0)": [0, 1]}),
    ("`var(x", "", {"var([1, 2, 6])": 14 / 3, "var([1, 2, 6], ddof = 1)": 7, "var(m, axis = 1, keepdims = True).shape": [2, 1]}),
    ("`std(x", "", {"std([1, 2, 6], ddof = 1)": 7 ** 0.5}),
    ("`argmin(x, axis = None)` |", "", {"argmin(v)": 1, "argmin(m, axis = 1)": [0, 0]}),
    ("`norm2(x)` |", "", {"norm2(v)": 14, "norm2(g) - sum(g * g)": 0}),
    ("`norm(x, p = 2)` |", "", {"norm([3, 4])": 5, "norm(v, p = 1)": 6, "norm(v, p = inf)": 3, "norm([1, 2], p = 3)": 9 ** (1 / 3), "grad(norm(z), z)": [0, 0]}),
    ("`dot(a, b)` |", "", {"dot(v, [1, 1, 1])": 2}),
    ("`logsumexp(x", "", {"logsumexp([1000, 1000])": 1000.6931472}),
    ("`log_softmax(x", "", {"log_softmax([0, 0])": [-0.693147181, -0.693147181]}),
    ("`softmax(x", "", {"softmax([0, 0, 0, 0])": [0.25, 0.25, 0.25, 0.25]}),
    ("`uniform(low, high", "", {"min(uniform(2, 3, shape = [500], seed = 1)) >= 2": 1, "max(uniform(2, 3, shape = [500], seed = 1)) < 3": 1, "abs(mean(uniform(2, 3, shape = [10000], seed = 1)) - 2.5) < 0.02": 1}),
    ("`normal(mean, deviation", "", {"abs(mean(normal(5, 2, shape = [10000], seed = 1)) - 5) < 0.1": 1, "abs(std(normal(5, 2, shape = [10000], seed = 1)) - 2) < 0.1": 1}),
    ("`bernoulli(p", "", {"abs(mean(bernoulli(0.3, shape = [10000], seed = 1)) - 0.3) < 0.03": 1}),
    ("`randint(k", "", {"min(randint(3, shape = [500], seed = 1))": 0, "max(randint(3, shape = [500], seed = 1))": 2, "one_hot(randint(3, shape = [5], seed = 1)).shape": [5, 3]}),
    ("`kaiming(fan_in)` |", "fn kaimed(x) {\n  param w: [100, 100] = kaiming(50)\n  return x + sum(w)\n}\nkaimed_net = init(kaimed, d.x, seed = 1)", {"abs(std(kaimed_net.w) - 0.2) < 0.01": 1}),
    ("`xavier(fan_in, fan_out)` |", "fn xaviered(x) {\n  param w: [100, 100] = xavier(20, 4)\n  return x + sum(w)\n}\nxaviered_net = init(xaviered, d.x, seed = 1)", {"abs(max(xaviered_net.w) - 0.5) < 0.01": 1, "abs(min(xaviered_net.w) + 0.5) < 0.01": 1}),
    ("`linear(x, n", "", {"net.linear1.weight.shape": [3, 1], "max(abs(net.linear2.weight)) <= 1 / sqrt(3)": 1}),
    ("`conv2d(x, n", "", {"image_net.conv2d1.bias.shape": [2], "max(abs(image_net.conv2d1.weight)) <= 1 / sqrt(3)": 1}),
    ("`maxpool(x, size", "", {"maxpool(a4, 3, stride = 1, padding = [[0, 0], [1, 1]])[0, 0, 0]": [9, 10, 11, 11]}),
    ("`avgpool(x, size", "", {"avgpool(a4, 2)[0, 0]": [[2.5, 4.5], [10.5, 12.5]]}),
    ("`global_avgpool(x)` |", "", {"global_avgpool(a4)": [[7.5]]}),
    ("`dropout(x, p)` |", "fn half_out(x) = dropout(x, 0.75) + 0 * linear(x, 8)\nhalf_net = init(half_out, ones([50, 8]), seed = 1)\ntrain half_net on fifty for 1 steps {\n  out = half_net(x)\n  minimize mean(out) with sgd(lr = 0)\n  record dropping_rates: most = max(out), least = min(out), middle = mean(out)\n}",
     {"last(dropping_rates.most)": 4, "last(dropping_rates.least)": 0, "abs(last(dropping_rates.middle) - 1) < 0.4": 1, "norm(half_net(ones([50, 8])) - 1)": 0}),
    ("`batchnorm(x, momentum", "fn bn(x) = batchnorm(x)\nbn_net = init(bn, d.x)\ntrain bn_net on d for 1 steps {\n  out = bn_net(x)\n  minimize mean(out) with sgd(lr = 0)\n  record bn_out: m = mean(out), s = var(out)\n}", {"abs(last(bn_out.m)) < 1e-6": 1, "abs(last(bn_out.s) - 1) < 1e-3": 1, "bn_net.batchnorm1.running_mean": [0], "bn_net.batchnorm1.running_var": [0.9 + 0.1 * 0.56]}),
    ("`layernorm(x, eps", "ln = init(layernorm, m)", {"abs(mean(ln(m)[0])) < 1e-6": 1, "abs(var(ln(m)[1]) - 1) < 1e-3": 1}),
    ("`normalize(x, m, s)` |", "", {"normalize(a4, [5], [2])[0, 0, 0]": [-2.5, -2, -1.5, -1]}),
    ("`random_labels(label", "", {"random_labels(two.label, 3, fraction = 0)": [0, 1, 2, 1], "max(random_labels(two.label, 3, seed = 4)) <= 2": 1}),
    ("`mse(prediction, target)` |", "", {"mse([1, 2], [1, 4])": 2}),
    ("`mae(prediction, target)` |", "", {"mae([1, 2], [1, 4])": 1}),
    ("`huber(prediction", "", {"huber([0.5, 3], [0, 0])": (0.125 + 2.5) / 2}),
    ("`cross_entropy(logits", "", {"cross_entropy([[0, 0]], classes([1], 2))": 0.693147181, "cross_entropy([[1, 3]], classes([1], 2), smoothing = 0.2)": 0.126928011 + 0.1 * 2}),
    ("`binary_cross_entropy(logits", "", {"binary_cross_entropy([0, 2], [1, 0])": (0.693147181 + 2.126928011) / 2}),
    ("`accuracy(logits, label)` |", "", {"accuracy([[1, 2], [3, 0]], classes([1, 1], 2))": 0.5}),
    ("`clip_norm(g, limit)` |", "", {"norm(clip_norm([3, 4], 1))": 1, "clip_norm([3, 4], 10)": [3, 4]}),
    ("`clipped(g, clip)` |", "", {"clipped([3, 4], inf)": [3, 4], "norm(clipped([3, 4], 1))": 1}),
    ("`cosine(t)` |", "", {"cosine(0)": 1, "cosine(0.5)": 0.5, "cosine(1)": 0}),
    ("`exponential(t, rate)` |", "", {"exponential(2, 0.5)": 0.25}),
    ("`warmup(t, n)` |", "", {"warmup(0, 4)": 0.25, "warmup(9, 4)": 1}),
    # ---- the lexical structure, the grammar
    ("**Names** are made of ASCII letters", "_under1, Mixed_2 = 1, 2", {"_under1 + Mixed_2": 3}),
    ("Every other word is a name", "record, train, on, label, epochs = 1, 2, 3, 4, 5", {"record + train + on + label + epochs": 15}),
    ("**Numbers** are decimal", "", {"1 + 2.5 + .5 + 1. + 1e-3 + 1_000_000": 1000005.001}),
    ("`1..8` is the range", "", {"sum([i for i in 1..8])": 36}),
    ("A sign is not part of a number", "", {"-1 ^ 2": -1, "-2": -2}),
    ("**The end of a statement**", "semi = 1; colon = 2", {"semi + colon": 3}),
    ("- inside `( )`"[2:], "wrapped = sum([\n  1,\n  2\n])", {"wrapped": 3}),
    ("after an operator", "longer_sum = 1 +\n  2", {"longer_sum": 3}),
    ("before a line that begins with `|>`", "piped = [1, -1]\n  |> relu\n  |> sum", {"piped": 1}),
    ("On the right of `=` stands one value a name", "pair_of = (8, 9)\nfirst_of, _ = pair_of", {"first_of": 8}),
    ("`(a)` is `a`", "", {"len((1, 2))": 2, "(3) + 1": 4}),
    ("So `-x^2` is `-(x^2)`", "fn inc(x) = 10 * x\nn5 = 5", {"-3 ^ 2": -9, "2 ^ -1": 0.5, "[i for i in 1..n5 - 1]": [1, 2, 3, 4], "1 + 1 |> inc": 20, "mean(x) + 1 on d": 1}),
    ("`or` | left", "", {"1 > 2 and 1 > 2 or 2 > 1": 1}),
    ("`and` | left", "", {"2 > 1 or 1 > 2 and 1 > 2": 1}),
    ("`not` | prefix", "", {"not 1 > 2 and 2 > 1": 1}),
    ("`+` `-` | left", "", {"10 - 3 - 2": 5}),
    ("`*` `/` `@` | left", "", {"8 / 4 / 2": 1}),
    ("`^` | right", "", {"2 ^ 3 ^ 2": 512}),
    ("`\\|>` | left", "", {"4 |> sqrt |> inc": 20}),
]

ERRORS = [
    ("string | `\"data/mnist\"`", "s = \"a\"\nt = s + 1\n", r"2:\d+: error"),
    ("Labels of class k (`label`", "l = cross_entropy(zeros([2, 4]), classes([0, 1], 3))\n", r"1:\d+: error: .*class 3.* 4 columns"),
    ("Shapes, the conditions of `if`", "x = sum(ones([3]))\ny = zeros([x])\n", r"2:\d+: error: .*must be known"),
    ("Bounds of slices are clipped", "x = arange(6)\ny = x[6]\n", r"2:\d+: error: index 6 is outside axis 0"),
    ("Bounds of slices are clipped", "x = arange(6)\ny = x[[0, -7]]\n", r"2:\d+: error: index -7 is outside axis 0"),
    ("Bounds of slices are clipped", RUN + "x = arange(6)\na = x[i32([0.0, 5.0, 6.0] * ones([3]))]\nsave a\n", r"model\.hw:3:\d+: index 6 is outside axis 0"),
    ("Bounds of slices are clipped", RUN + "x = arange(6)\nfor k in 4..8 { record t: a = x[k] }\n", r"model\.hw:3:\d+: index 6 is outside axis 0"),
    ("Bounds of slices are clipped", RUN + "x = arange(6)\nfor k in linspace(0, 1, 3) { record t: a = x[k] }\n", r"model\.hw:3:\d+: index 0\.5 is not a whole number"),
    ("Bounds of slices are clipped", RUN + "x = arange(6)\na = x[i32(log(-ones([2])))]\nsave a\n", r"model\.hw:3:\d+: index nan is not a whole number"),
    ("Bounds of slices are clipped", RUN + "x = arange(6)\nc = x[classes([9] * ones([1]), 10)]\nsave c\n", r"model\.hw:3:\d+: index 9 is outside axis 0"),
    ("`classes(x, k)` |", "c = classes([0, 3], 3)\n", r"1:\d+: error: the label 3 is outside the classes 0 to 2"),
    ("`classes(x, k)` |", RUN + "c = classes([0.5] * ones([1]), 3)\nsave c\n", r"model\.hw:2:\d+: the label 0\.5 is not a whole number"),
    ("A seed is a whole number", "x = uniform(0, 1, shape = [2], seed = -1)\n", r"1:\d+: error: a seed is a whole number from 0 to 4294967295, found -1"),
    ("A seed is a whole number", "x = uniform(0, 1, shape = [2], seed = 2 ^ 40)\n", r"1:\d+: error: a seed is a whole number"),
    ("A seed is a whole number", "x = uniform(0, 1, shape = [2], seed = 0.5)\n", r"1:\d+: error: a seed is a whole number"),
    ("A seed is a whole number", "fn f(x) {\n  param w: [1] = zeros\n  return x * w\n}\nn = init(f, ones([2, 1]), seed = nan)\n", r"5:\d+: error: a seed is a whole number"),
    ("Any other is an error", RUN + "for k in 1..3 { record t: a = sum(uniform(0, 1, shape = [2], seed = k / 2)) }\n", r"model\.hw:2:\d+: the seed 0\.5 is not a whole number"),
    ("Any other is an error", RUN + "for k in 1..3 { record t: a = sum(uniform(0, 1, shape = [2], seed = 2 - k)) }\n", r"model\.hw:2:\d+: the seed -1 is outside 0 to 4294967295"),
    ("Functions do not call themselves", "fn f(x) = f(x)\ny = f(1)\n", r"calls itself"),
    ("No flow is an error", "a, b = ones([2]) + 0, ones([2]) + 0\ng = grad(sum(a), b)\n", r"2:\d+: error: .*no data flows"),
    ("So a derivative that E holds", "w = ones([2]) + 0\na = w * w\ns = grad(sum(a^3), w)\ng = grad(sum(s), a)\n", r"4:\d+: error: `grad` cannot take `a` as its variable: the derivative at .*model\.hw:3:5 "),
    ("E is differentiated along its data flow", "a = ones([2]) + 0\ng = grad(sum(ones([2])), a)\n", r"2:\d+: error"),
    ("Several `minimize` read the same old weights", "data d { x = ones([2, 1]) }\nfn f(x) = linear(x, 1)\nn = init(f, d.x)\ntrain n on d for 1 steps {\n  minimize mean(n(x)) with sgd()\n  minimize mean(n(x)) with sgd()\n}\n", r"6:\d+: error: .*already updated"),
    ("`E on d batch k` does it in batches", "data d { x = ones([4, 1]) }\ns = sum(x) on d batch 2\n", r"2:\d+: error: .*sum"),
    ("A column that would hide a name", "x = 3\ndata d { x = ones([2, 1]) }\ny = sum(x) on d\n", r"error: .*hides"),
    ("Outside of nets a random call names", "x = uniform(0, 1, shape = [2])\n", r"1:\d+: error: .*seed"),
    ("`fn f(x, k = 3) = E`", "t = ones([2]) + 0\nfn f(x) = x + t\ny = f(1)\n", r"2:\d+: error: unknown name `t`"),
    ("Arguments without a default are passed by position", "fn f(x, k = 3) = x + k\ny = f(1, 2)\n", r"2:\d+: error"),
    ("What such a loop rebinds is carried", "c = zeros([2])\nfor i in 1..3 { c = concat([c, c]) }\n", r"2:\d+: error"),
    ("What such a loop rebinds is carried", "l = classes([0], 3)\nfor i in 1..3 { l = classes([8], 10) }\nx = arange(3)[l]\n", r"2:\d+: error: .*class 3 and cannot become .*class 10"),
    ("What such a loop rebinds is carried", "l = classes([0], 3)\nfor i in 1..3 { l = l + 1 }\n", r"2:\d+: error: .*class 3 and cannot become"),
    ("What such a loop rebinds is carried", "l = i32(ones([2]))\nfor i in 1..3 { l = l / 2 }\n", r"2:\d+: error: .*cannot become"),
    ("`same_shape(a, b)` |", "y = same_shape(ones([2]), ones([3]))\n", r"1:\d+: error"),
    ("`for n steps` counts steps", RUN + "data d { x = ones([2, 1]) }\nfn f(x) = linear(x, 1)\nn = init(f, d.x)\ntrain n on d for 2.5 steps { minimize mean(n(x)) with sgd() }\n", r"2\.5 steps: a whole number"),
    ("`one_hot(label, classes = None)` |", "y = one_hot(classes([0], 4), classes = 3)\n", r"1:\d+: error"),
    ("A number without a dot and an exponent is whole", "x = 9007199254740993\n", r"1:\d+: error"),
    ("Bytes that are not valid UTF-8", "// \u202a\nx = 1\n", r"1:\d+: error"),
    ("There are no block comments", "/* x */\n", r"1:\d+: error"),
    ("`fn for in if else return and or not None True False` are reserved", "not = 3\n", r"1:\d+: error"),
    ("**Strings** stand in double quotes", "s = 'a'\n", r"1:\d+: error"),
    ("`<` `<=` `>`", "x = 1 < 2 < 3\n", r"1:\d+: error: .*chain"),
    ("`..` | does not", "x = 1..2..3\n", r"1:\d+: error: .*chain"),
    ("`[E for …]` has one clause", "x = [a for a in [1], b in [2]]\n", r"1:\d+: error"),
    ("Parameters without a default precede", "fn f(a = 1, b) = a\n", r"1:\d+: error"),
    ("Names of parameters, of the arguments", "fn f(a, a) = a\n", r"1:\d+: error"),
    ("A name stands once on the left", "a, a = 1, 2\n", r"1:\d+: error"),
    ("A line never continues the one above", "a = 1\n+ 2\n", r"2:\d+: error"),
    ("`if C { ... } else if D", "if sum(ones([2])) > 1 { x = 1 }\n", r"1:\d+: error: .*must be known"),
    ("`window_max(x, size", "y = window_max(ones([1, 1, 2]), [2], padding = 2)\n", r"1:\d+: error: .*would see no element"),
]

SAVING = """data d { x = linspace(-1, 1, 6)[:, None]; y = 2 * x }
fn model(x) = x |> linear(3) |> tanh |> linear(1)
net = init(model, d.x, seed = 1)
one, B, b = 1, 2 * ones([2]), ones([2])
record T: two = 2 * one
record t: one
wide, mask, picked = f64(ones([2])) / 3, b > 0, argmax(ones([2, 3]), axis = 1)
fn tan(x) = 100 + x
tangent = tan(ones([1]))
for i in 1..2 {
  kept = i * b
  save kept
}
save tangent, net, b, B, wide, mask, picked
plot "a:b" on t { points one over one }
plot "a/b" on t { points one over one }
"""
FILES = [
    ("`<table>.csv` | a recorded table", {"T.csv": None, "t.csv": None}),
    ("`<title>.svg`, `.png`, `.gp`", {"a_b.svg": None, "a_b.gp": None, "a_b.plot.csv": None, "a_b.png": None}),
    ("`<name>.npy` | a tensor", {"b.npy": b"'<f4'", "B.npy": b"'<f4'"}),
    ("`<name>.safetensors` | a net's", {"net.safetensors": b'"linear1.weight"'}),
    ("They are the keys in a `.safetensors` file", {"net.safetensors": b'"linear2.bias"'}),
    ("`run.json` | the command", {"run.json": b'"status": "finished"'}),
    ("In a loop the names carry the loop's variables", {"kept-i=1.npy": None, "kept-i=2.npy": None}),
    ("What a file's name should not have", {"a_b.svg": None, "a_b-2.svg": None}),
    ("Names that differ by case alone are different", {"T.csv": b"two\n2", "t.csv": b"one\n1", "B.npy": None, "b.npy": None}),
    ("A tensor's floating-point type is f32", {"b.npy": b"'<f4'", "wide.npy": b"'<f8'"}),
    ("`logits.npy` is `float32 [N, 10]`", {"mask.npy": b"'|b1'", "picked.npy": b"'<i4'"}),
    ("A fn of the file with the same name", {"tangent.npy": b"\x00\x00\xcaB"}),  # 101
    ("`save net, h = E` | writes files", {"net.safetensors": None}),
    ("`plot \"title\" on t per k", {"a_b.svg": b"<svg"}),
]

ELSEWHERE = [
    # (beginning of a sentence, or a heading with `#`; where it is shown)
    ("#Errors of meaning", "tests/e2e/cases.py: a case for each row"),
    ("#Errors of syntax", "tests/e2e/cases.py and tests/unit/syntax_test.cpp"),
    ("#Layout", "e2e: `hwc fmt` is idempotent, keeps comments and meaning; tests/unit/syntax_test.cpp"),
    ("#Checkpoints", "e2e: every test of --resume and checkpoints"),
    ("#Settings", "e2e: --set, --quick, what is fixed"),
    ("`hwc run first.hw` trains it", "e2e: every program in README.md and docs/ runs"),
    ("**Side by side.**", "e2e: side by side"), ("The program does so where an estimate", "tests/unit/runtime_test.cpp: lanesFor"), ("Rows come in the order of the file", "e2e: side by side"),
    ("Every bit is that of `--threads 1`", "e2e: side by side"), ("`run.json` says in `side_by_side`", "e2e: side by side"), ("What reads a table", "e2e: side by side"),
    ("With `from = \"w.safetensors\"`", "e2e: init(..., from = ...)"), ("Weights that `init(..., from", "e2e: init(..., from = ...)"),
    ("If the loss, a weight, or a state of a layer or an optimiser becomes NaN", "e2e: a loss that becomes NaN"), ("**Early stopping**", "e2e: early stopping"), ("Here a training ends when", "e2e: early stopping"),
    ("The program above keeps the best weights", "e2e: early stopping"), ("Every random number is a function", "e2e: one, two and three threads; tests/unit/runtime_test.cpp: Philox's own vectors"),
    ("`csv(", "e2e: data from CSV"), ("`npy(", "e2e: data from CSV, .npy and IDX"), ("`idx(file)`", "e2e: data from CSV, .npy and IDX"), ("`mnist(", "e2e: data"), ("`fashion_mnist()`", "tests/examples"), ("`cifar10(", "e2e: CIFAR-10"),
    ("Paths are relative to", "e2e: data from CSV, .npy and IDX"), ("Shapes are read when", "e2e: data"), ("A file's bytes stay bytes", "tests/unit/elaborate_test.cpp"), ("So it does with a column", "tests/unit/elaborate_test.cpp"),
    ("**Predictions on new data**", "e2e: predictions on new images"), ("The images of a file without labels", "e2e: predictions on new images"),
    ("`random_crop` and `random_flip` belong", "e2e: random_crop and random_flip"), ("`random_flip(x)` |", "e2e: random_crop and random_flip"), ("`random_crop(x, padding)` |", "e2e: random_crop and random_flip"),
    ("`seconds` is a third clock", "e2e: tables"), ("A plot's marks are", "tests/unit/formats_test.cpp"), ("`by` gives each value", "tests/unit/formats_test.cpp"), ("`per k` draws a figure", "tests/unit/formats_test.cpp"),
    ("Without `on` each column names", "tests/unit/elaborate_test.cpp"), ("A run leaves in `--out`", "e2e: --out"), ("`run.checkpoint.safetensors` |", "e2e: checkpoints"), ("`checkpoint` | writes", "e2e: `checkpoint` writes one where it stands"),
    ("`quick n = E` |", "e2e: --quick"), ("`state s: [c] = E`", "the fact of **State**"), ("The table has the name that it is assigned", "tests/unit/elaborate_test.cpp"), ("`hwc gradcheck FILE` does so", "e2e: `hwc gradcheck` prints"),
    ("`gradcheck(E, v)` |", "the fact of gradcheck(E, net)"), ("`minimize E over W with opt` replaces", "tests/oracle: optimisers"), ("Its body is one turn", "the facts of batches"), ("`train net on d batch 32 for 10 epochs { ... }` rebinds", "the fact of the statement"),
    ("`sgd(f, w", "tests/oracle: optimisers"), ("`adagrad(f, w", "tests/oracle: optimisers"), ("`rmsprop(f, w", "tests/oracle: optimisers"), ("`adam(f, w", "tests/oracle: optimisers"), ("`adamw(f, w", "tests/oracle: optimisers"),
    ("`newton(f, w", "tests/oracle: optimisers"), ("`levenberg(f, w", "tests/oracle: optimisers"),
    ("A model file is UTF-8 text", "tests/unit/syntax_test.cpp"), ("A byte order mark", "tests/unit/syntax_test.cpp"), ("**Comments** begin", "tests/unit/syntax_test.cpp"), ("A word begins a statement unless", "tests/unit/syntax_test.cpp"),
    ("So a column may be called", "tests/unit/syntax_test.cpp"), ("After a dot any word", "tests/unit/syntax_test.cpp"), ("Escapes:", "tests/unit/syntax_test.cpp"), ("In a string that is a template", "tests/unit/syntax_test.cpp"),
    ("**Operators and punctuation**", "tests/unit/syntax_test.cpp"), ("The `'` of", "tests/unit/syntax_test.cpp"), ("A newline does not end one", "the facts below it"),
    ("`{ … }` in the grammar", "tests/unit/syntax_test.cpp"), ("A list that is written between", "tests/unit/syntax_test.cpp"), ("The block of `data` holds", "tests/unit/syntax_test.cpp"), ("Brackets, blocks, the clauses of a", "tests/unit/syntax_test.cpp: depth; tests/e2e/cases.py"),
    ("A top-level number used so becomes", "e2e: settings"), ("`E on SOURCE` | left", "tests/unit/syntax_test.cpp"), ("unary `-` | prefix", "the fact below the table"), ("`f(…)` `a[…]`", "tests/unit/syntax_test.cpp"),
    ("Here `width` is fixed", "e2e: settings"),
]

NO_CLAIM = [
    "A model file is an experiment", "It runs from top to bottom", "This page is the whole reference", "A block below without a remark", "type | values", "statement | does", "expression | is", "source | gives", "file | holds", "function | ", "operators | associate",
    "A function with `param` or `state`", "Layers, losses, metrics", "**Functions**", "**Reductions**", "**Random numbers**", "**Initialisers**", "**Layers**", "**Data**", "**Losses and metrics**", "**Optimisers**", "**Schedules**",
    "What the grammar does not say", "From the loosest",
]
