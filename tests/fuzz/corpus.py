#!/usr/bin/env python3
"""What the fuzzers and generators of model files start from: the programs of the repository, data for them, and the language's words.

    tests/fuzz/corpus.py FOLDER     writes FOLDER/models (a program a file), FOLDER/data (small data files) and FOLDER/words (a dictionary
                                    for libFuzzer)
"""
import glob
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
import cases

# Each reader of data, with what is easily got wrong beside it. The others of the corpus read nothing, or Fashion-MNIST.
READERS = [
    cases.TRAIN,
    cases.CLASSIFY.replace('"set"', '"data/mnist"'),
    cases.CONVOLVE.replace('"set"', '"data/mnist"'),
    cases.CLASSIFY_COLOUR,
    cases.LOAD,
    """data t = csv("t.csv")
fn f(x) = x |> linear(3) |> tanh |> linear(1)
net = init(f, t.a, seed = 1)
train net on t batch 2 for 2 epochs { minimize mse(net(a), b) with adam(lr = 0.1); every epoch { record s: v = mse(net(a), b) on t batch 2 } }
save net
""",
    """data d { x = npy("a.npy"); image = idx("a.idx") }
record t: s = sum(d.x), m = mean(d.image)
plot "t" on t { line s over m }
""",
]


def programs():
    """The text of every program of the repository: examples, benchmarks, tests, the documents' blocks."""
    paths = [path for path in sorted(glob.glob(f"{ROOT}/*/**/*.hw", recursive=True)) if not os.path.relpath(path, ROOT).startswith(("build", ".", "out"))]
    texts = [open(path).read() for path in paths]
    for path in sorted(glob.glob(f"{ROOT}/docs/*.md")) + [f"{ROOT}/README.md"]:
        texts += re.findall(r"^```hw\n(.*?)^```", open(path).read(), re.M | re.S)
    return texts + READERS


def data():
    """{path: bytes} for the names that the programs give."""
    files = {path.replace("set/", "data/mnist/"): body for path, body in cases.mnist().items()}
    for path, body in cases.cifar10().items():
        files[path] = files[path.replace("cifar/", "data/cifar-10-batches-bin/")] = body
    return {**files, **cases.weights(), "t.csv": b"a,b\n1,2\n3,4\n5,6\n-1,0.5\n", "a.npy": cases.npy("(3, 2)", bytes(48)),
            "a.idx": cases.idx((3, 2, 2), bytes(range(12)))}


def write(folder):
    """Returns how many programs there are."""
    texts = programs()
    for path, body in [*((f"models/{i}", text.encode()) for i, text in enumerate(texts)), *((f"data/{path}", body) for path, body in data().items())]:
        os.makedirs(os.path.dirname(f"{folder}/{path}"), exist_ok=True)
        with open(f"{folder}/{path}", "wb") as f:
            f.write(body)
    words = sorted({word for text in texts for word in re.findall(r"[A-Za-z_]\w+", text)})
    with open(f"{folder}/words", "w") as f:
        f.writelines(f'"{word}"\n' for word in words)
    return len(texts)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        sys.exit(2 if len(sys.argv) != 2 else 0)
    print(f"{write(sys.argv[1])} programs")
