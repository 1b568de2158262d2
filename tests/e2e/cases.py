"""Bad input: what a person may get wrong or an attacker may send, and what hwc must say of it.

Each case: (name, source, expected words). Every one must end with exit code 1 (no signal, no trace), and its message must match all
regular expressions, one of which names the place. A case may bring files: {name: bytes}.
"""
import gzip
import json
import math
import struct


def npy(shape, body, descr="<f8", header=None):
    text = header if header is not None else f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + body


def idx(shape, body):
    return bytes([0, 0, 8, len(shape)]) + b"".join(struct.pack(">I", n) for n in shape) + body


def mnist(images=None, labels=None):
    """MNIST's four files with 20 images each, one of them replaced by what the test says."""
    good_images = idx((20, 4, 4), bytes(i % 256 for i in range(320)))
    good_labels = idx((20,), bytes(i % 10 for i in range(20)))
    return {"set/train-images-idx3-ubyte": images if images is not None else good_images,
            "set/train-labels-idx1-ubyte": labels if labels is not None else good_labels,
            "set/t10k-images-idx3-ubyte": good_images, "set/t10k-labels-idx1-ubyte": good_labels}


def cifar10(**replaced):
    """CIFAR-10's six files with a few images each, some of them replaced by what the test says."""
    def file(count):
        return b"".join(bytes([i % 10]) + bytes((7 * i + j) % 256 for j in range(3072)) for i in range(count))
    names = [f"data_batch_{b}" for b in range(1, 6)] + ["test_batch"]
    return {f"cifar/{name}.bin": replaced.get(name, file(3 + i)) for i, name in enumerate(names)}


def safetensors(header, body):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


# What every language test builds on. NET trains a little network; a case replaces a line of it or adds one.
DATA = """data d { x = uniform(-1, 1, shape = [20, 3], seed = 1); y = normal(0, 1, shape = [20, 1], seed = 2) }
"""
NET = DATA + """fn small(x) = x |> linear(4) |> tanh |> linear(1)
net = init(small, d.x, seed = 1)
"""
TRAIN = NET + """train net on d for 5 epochs {
  loss = mse(net(x), y)
  minimize loss with sgd(lr = 0.1)
  record curve: loss
}
"""
CLASSIFY = """data digits = mnist("set")
fn classify(x) = flatten(x) |> linear(10)
net = init(classify, digits.train.x, seed = 1)
train net on digits.train batch 8 for 2 epochs { minimize cross_entropy(net(x), label) with sgd(lr = 0.1) }
"""
def zipped(damage, images=idx((20, 4, 4), bytes(320))):
    """mnist() with its first file compressed, and that damaged."""
    files = mnist()
    del files["set/train-images-idx3-ubyte"]
    return {**files, "set/train-images-idx3-ubyte.gz": damage(gzip.compress(images))}


# A convolutional net for MNIST's images, [N, 1, 4, 4] here, beside a set of others, [N, 3, 32, 32].
CONVOLVE = """data digits = mnist("set")
data colour = cifar10("cifar")
fn cnn(x) = x |> conv2d(4, kernel = 3, padding = 1) |> relu |> maxpool(2) |> flatten |> linear(10)
net = init(cnn, digits.train.x, seed = 1)
train net on digits.train batch 8 for 1 epochs {
  minimize cross_entropy(net(x), label) with sgd(lr = 0.1)
  every epoch { record held on digits.test batch 8: acc = accuracy(net(x), label) }
}
"""
IMAGES = {**mnist(), **cifar10()}
OTHER_IMAGES = [r"conv2d1\.weight.*\[4, 1, 3, 3\].*\[4, 3, 3, 3\]", r"init.*\[N, 1, 4, 4\].*\[N, 3, 32, 32\]"]
CLASSIFY_COLOUR = CLASSIFY.replace('mnist("set")', 'cifar10("cifar")')
LOAD = NET.replace("init(small, d.x, seed = 1)", 'init(small, d.x, seed = 1, from = "w.safetensors")') + "save net\n"
SMALL = {"linear1.weight": (4, 3), "linear1.bias": (4,), "linear2.weight": (1, 4), "linear2.bias": (1,)}  # NET's parameters


def weights(change=lambda header: None, body=lambda b: b):
    """A file of NET's weights, zeros, whose header the test may change."""
    header, at = {}, 0
    for name, shape in SMALL.items():
        size = 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    change(header)
    return {"w.safetensors": safetensors(header, body(bytes(at)))}

# (name, source, [regular expressions], files)
LANGUAGE = [
    ("unknown name", NET + "v = netz.weights\n", [r"model\.hw:4:5", r"netz", r"\bnet\b"]),
    ("unknown function", DATA + "fn small(x) = x |> linaer(4)\nnet = init(small, d.x, seed = 1)\n", [r"model\.hw:2", r"linaer", r"\blinear\b"]),
    ("unknown column", NET + "train net on d for 1 epochs { minimize mse(net(x), z) with sgd(lr = 0.1) }\n", [r"model\.hw:4", r"\bz\b"]),
    ("unknown argument", NET + "train net on d for 1 epochs { minimize mse(net(x), y) with sgd(rate = 0.1) }\n", [r"model\.hw:4", r"\brate\b", r"\blr\b"]),
    ("derivative through a run-time loop", NET + "c = mse(net(d.x), d.y)\nfor i in 1..3 { c = sin(c) }\nrecord t: g = norm(grad(c, net))\n",
     [r"model\.hw:5:1: error: cannot differentiate through a loop that runs at run time", r"model\.hw:6:20: note: for this derivative"]),
    ("shape mismatch", DATA + "v = d.x @ d.x\n", [r"model\.hw:2", r"20", r"3"]),
    ("shape mismatch in a sum", DATA + "v = d.x + ones([7])\n", [r"model\.hw:2", r"7", r"3"]),
    ("shape mismatch in a loss", NET + "train net on d for 1 epochs { minimize mse(net(x), x) with sgd(lr = 0.1) }\n", [r"model\.hw:4"]),
    ("objective that is not a scalar", NET + "train net on d for 1 epochs { minimize net(x) - y with sgd(lr = 0.1) }\n", [r"model\.hw", r"20, 1|scalar|\[20"]),
    ("recursive function", "fn f(x) = f(x - 1)\nv = f(3)\nsave v\n", [r"model\.hw:[12]", r"recurs|itself"]),
    ("mutually recursive functions", "fn f(x) = g(x)\nfn g(x) = f(x)\nv = f(3)\nsave v\n", [r"model\.hw:[123]", r"recurs|itself"]),
    ("absurd size of a tensor", "v = ones([1000000, 1000000, 1000000])\nsave v\n", [r"model\.hw:1"]),
    ("absurd size whose product wraps round", "v = ones([4294967296, 4294967296])\nsave v\n", [r"model\.hw:1"]),
    ("absurd size of a layer", DATA + "fn f(x) = x |> linear(100000000) |> linear(100000000)\nnet = init(f, d.x, seed = 1)\nsave net\n", [r"(?i)model\.hw|memory|GiB|too (big|large|many)"]),
    ("negative size", "v = ones([-3])\nsave v\n", [r"model\.hw:1", r"-3"]),
    ("endless list", "v = [i for i in 1..1000000000000]\nsave v\n", [r"model\.hw:1"]),
    ("deep brackets", "v = " + "(" * 100000 + "1" + ")" * 100000 + "\n", [r"model\.hw:1", r"deep|nest"]),
    ("deep lists", "v = " + "[" * 100000 + "1" + "]" * 100000 + "\n", [r"model\.hw:1", r"deep|nest"]),
    ("deep blocks", "if 1 == 1 {" * 50000 + "}" * 50000 + "\n", [r"model\.hw:1", r"deep|nest"]),
    ("deep signs", "v = " + "-" * 200000 + "1\n", [r"model\.hw:1", r"deep|nest"]),
    ("long chain of powers", "v = " + "^".join(["2"] * 100000) + "\n", [r"model\.hw:1"]),
    ("deep calls", "".join(f"fn f{i}(x) = f{i + 1}(x)\n" for i in range(20000)) + "fn f20000(x) = x\nv = f0(1)\nsave v\n", [r"model\.hw", r"deep|nest"]),
    ("exponential calls", "".join(f"fn f{i}(x) = f{i + 1}(x) + f{i + 1}(x + 1)\n" for i in range(60)) + "fn f60(x) = x\nv = f0(ones([2]))\nsave v\n", [r"model\.hw"]),
    ("unclosed bracket", "v = (1 + 2\n", [r"model\.hw:1", r"\)|close"]),
    ("unclosed block", "for i in 1..3 {\n  v = i\n", [r"model\.hw:1", r"\}|close"]),
    ("unclosed string", "plot \"title { line a over b }\n", [r"model\.hw:1", r"string|quote"]),
    ("several errors in one run", "v = nothing1\nfn f(x = 3\nw = 2 +\nu = )\n", [r"model\.hw:[12].*\n[\s\S]*model\.hw:[34]"]),
    ("not text", b"\xff\xfe\x00\x01\x80" * 20, [r"model\.hw"]),
    ("a number too big", "v = 1e999999\nsave v\n", [r"model\.hw:1"]),
    ("if of a run-time value", DATA + "if sum(d.x) > 0 { v = 1 }\n", [r"model\.hw:2", r"where|static"]),
    ("training a value", DATA + "v = 3\ntrain v on d for 1 epochs { minimize sum(x) with sgd(lr = 0.1) }\n", [r"model\.hw:3", r"net"]),
    ("nothing to minimise", NET + "train net on d for 1 epochs { v = mse(net(x), y) }\n", [r"model\.hw:4", r"minimi[sz]e"]),
    ("no flow from the loss", NET + "g = grad(mse(d.x, d.x), net)\nsave g\n", [r"model\.hw:4"]),
    ("overlapping weights", NET + "train net on d for 1 epochs {\n minimize mse(net(x), y) with sgd(lr = 0.1)\n minimize sum(net(x)^2) with sgd(lr = 0.1)\n}\n", [r"model\.hw:[456]", r"net"]),
    ("a column of no table", NET + "record t: a = 1\nplot \"p\" on t { line b over a }\n", [r"model\.hw:5", r"\bb\b"]),
    ("a table that is not recorded", "plot \"p\" on nowhere { line b over a }\n", [r"model\.hw:1", r"nowhere"]),
    ("assignment to a state that is none", "fn f(x) { s' = x; return x }\nv = f(1)\n", [r"model\.hw:1", r"state"]),
    ("zero epochs' batch", NET + "train net on d batch 0 for 1 epochs { minimize mse(net(x), y) with sgd(lr = 0.1) }\n", [r"model\.hw:4", r"batch"]),
    ("columns of different lengths", "data d { x = ones([3, 1]); y = ones([4, 1]) }\n", [r"model\.hw:1", r"3", r"4"]),
]

TABLES = [
    ("CSV that is not there", 'data d = csv("nowhere.csv")\nsave v = d.a\n', [r"nowhere\.csv"], {}),
    ("ragged CSV", 'data d = csv("t.csv")\nsave v = d.a\n', [r"t\.csv", r"line 3"], {"t.csv": b"a,b\n1,2\n3\n4,5\n"}),
    ("CSV with words", 'data d = csv("t.csv")\nsave v = d.a\n', [r"t\.csv", r"line 3", r"two"], {"t.csv": b"a,b\n1,2\n3,two\n"}),
    ("CSV with an empty cell", 'data d = csv("t.csv")\nsave v = d.a\n', [r"t\.csv", r"line 2"], {"t.csv": b"a,b\n1,\n"}),
    ("CSV with nan", 'data d = csv("t.csv")\nsave v = d.a\n', [r"t\.csv", r"line 2"], {"t.csv": b"a,b\n1,nan\n"}),
    ("empty CSV", 'data d = csv("t.csv")\nsave v = d.a\n', [r"t\.csv", r"empty"], {"t.csv": b""}),
    ("CSV column that is not there", 'data d = csv("t.csv")\nsave v = d.c\n', [r"model\.hw:2", r"\bc\b"], {"t.csv": b"a,b\n1,2\n"}),
    ("a folder as CSV", 'data d = csv("set")\nsave v = d.a\n', [r"set"], {"set/x": b""}),
    (".npy that is not there", 'v = npy("nowhere.npy")\nsave w = v\n', [r"nowhere\.npy"], {}),
    ("truncated .npy", 'v = npy("t.npy")\nsave w = v\n', [r"t\.npy"], {"t.npy": npy("(4, 2)", b"\0" * 63)}),
    (".npy cut in its header", 'v = npy("t.npy")\nsave w = v\n', [r"t\.npy"], {"t.npy": npy("(4, 2)", b"")[:40]}),
    (".npy with a lying shape", 'v = npy("t.npy")\nsave w = v\n', [r"t\.npy"], {"t.npy": npy("(4000000000, 4000000000)", b"\0" * 64)}),
    (".npy with a negative shape", 'v = npy("t.npy")\nsave w = v\n', [r"t\.npy"], {"t.npy": npy("(-4, 2)", b"\0" * 64)}),
    (".npy with Python objects", 'v = npy("t.npy")\nsave w = v\n', [r"t\.npy", r"object"], {"t.npy": npy("(1,)", b"\0" * 8, "|O")}),
    (".npy with code in its header", 'v = npy("t.npy")\nsave w = v\n', [r"t\.npy", "damaged .npy header"],
     {"t.npy": npy("", bytes(8), header="__import__('os').system('touch pwned')")}),
    (".npy with an enormous header", 'v = npy("t.npy")\nsave w = v\n', [r"t\.npy", r"header of 3\.725 GiB"],
     {"t.npy": b"\x93NUMPY\x02\x00" + struct.pack("<I", 4000000000) + b"{'descr'"}),
    (".npy of a version to come", 'v = npy("t.npy")\nsave w = v\n', [r"t\.npy", r"version 9\.0"], {"t.npy": b"\x93NUMPY\x09\x00" + npy("(1,)", bytes(8))[8:]}),
    (".npy of more axes than there are", 'v = npy("t.npy")\nsave w = v\n', [r"t\.npy", "64 axes"], {"t.npy": npy(f"({'1, ' * 200})", bytes(8))}),
    (".npy of complex numbers", 'v = npy("t.npy")\nsave w = v\n', [r"t\.npy", "<c16", "astype"], {"t.npy": npy("(1,)", bytes(16), "<c16")}),
    (".npy in big-endian order", 'v = npy("t.npy")\nsave w = v\n', [r"t\.npy", "big-endian", "astype"], {"t.npy": npy("(1,)", bytes(8), ">f8")}),
    (".npy without its magic", 'v = npy("t.npy")\nsave w = v\n', [r"t\.npy"], {"t.npy": b"not numpy at all, but long enough to be read"}),
    ("MNIST that is not there", CLASSIFY, [r"set", r"train-images-idx3-ubyte|folder"], {}),
    ("truncated IDX", CLASSIFY, [r"train-images-idx3-ubyte"], mnist(images=idx((20, 4, 4), b"\0" * 319))),
    ("IDX with a lying header", CLASSIFY, [r"train-images-idx3-ubyte"], mnist(images=idx((4000000000, 60000, 60000), b"\0" * 320))),
    ("IDX of another count", CLASSIFY, [r"train-labels-idx1-ubyte", r"19"], mnist(labels=idx((19,), b"\0" * 19))),
    ("IDX cut in its header", CLASSIFY, [r"train-images-idx3-ubyte"], mnist(images=b"\0\0\x08\x03\0\0")),
    ("damaged gzip", CLASSIFY, [r"train-images-idx3-ubyte"],
     {**{k: v for k, v in mnist().items() if "train-images" not in k}, "set/train-images-idx3-ubyte.gz": b"\x1f\x8b\x08\0\0\0\0\0\0\3garbage"}),
    ("labels out of range", CLASSIFY, [r"train-labels-idx1-ubyte|label", r"10|200"], mnist(labels=idx((20,), bytes([200] * 20)))),
    ("images of another shape than the net's", CLASSIFY.replace("linear(10)\n", "linear(10)\ndata colour = cifar10(\"cifar\")\n").replace("init(classify, digits", "init(classify, colour"),
     [r"model\.hw:5:\d+: .*classify", r"\[10, 3072\]", r"\[10, 16\]", r"init"], {**mnist(), **cifar10()}),
    ("images in the place of labels", CLASSIFY, [r"train-labels-idx1-ubyte", r"\[20, 4, 4\]", r"labels as u8 \[N\]"], mnist(labels=mnist()["set/train-images-idx3-ubyte"])),
    ("labels in the place of images", CLASSIFY, [r"train-images-idx3-ubyte", r"\[20\]", "images as u8"], mnist(images=mnist()["set/train-labels-idx1-ubyte"])),
    ("an IDX of no images", CLASSIFY, [r"train-images-idx3-ubyte", r"\[0, 4, 4\]"], mnist(images=idx((0, 4, 4), b""), labels=idx((0,), b""))),
    ("an empty IDX", CLASSIFY, [r"train-images-idx3-ubyte", "not an IDX file"], mnist(images=b"")),
    ("gzip that unpacks to far more than its IDX header says", CLASSIFY, [r"train-images-idx3-ubyte\.gz.*more data"],
     zipped(lambda z: z, idx((20, 4, 4), bytes(1 << 27)))),
    ("IDX of another magic number", CLASSIFY, [r"train-images-idx3-ubyte", r"not an IDX file"], mnist(images=b"\1\0\x08\x03" + bytes(12))),
    ("IDX of an unknown element type", CLASSIFY, [r"train-images-idx3-ubyte", r"0x0A"], mnist(images=b"\0\0\x0a\x01\0\0\0\1\0")),
    ("IDX with bytes after its data", CLASSIFY, [r"train-images-idx3-ubyte", r"1 byte after"], mnist(images=idx((20, 4, 4), bytes(321)))),
    ("truncated gzip", CLASSIFY, [r"train-images-idx3-ubyte\.gz.*truncated"], zipped(lambda z: z[:-5])),
    ("gzip with a wrong checksum", CLASSIFY, [r"train-images-idx3-ubyte\.gz.*damaged"], zipped(lambda z: z[:-6] + bytes([z[-6] ^ 1]) + z[-5:])),
    ("gzip with bytes after its end", CLASSIFY, [r"train-images-idx3-ubyte\.gz.*after the end"], zipped(lambda z: z + b"junk")),
    ("gzip that holds less than its IDX header says", CLASSIFY, [r"train-images-idx3-ubyte\.gz.*truncated"], zipped(lambda z: z, idx((20, 4, 4), bytes(319)))),
    ("gzip that cannot hold what its IDX header says", CLASSIFY, [r"train-images-idx3-ubyte\.gz.*cannot hold"], zipped(lambda z: z, idx((20, 9999, 9999), bytes(320)))),
    ("CIFAR-10 that is not there", CLASSIFY_COLOUR, [r"model\.hw:1", r"cifar", r"folder"], {}),
    ("CIFAR-10 without one of its files", CLASSIFY_COLOUR, [r"data_batch_3\.bin"], {k: v for k, v in cifar10().items() if "batch_3" not in k}),
    ("truncated CIFAR-10", CLASSIFY_COLOUR, [r"data_batch_2\.bin", r"3073", r"truncated"], cifar10(data_batch_2=bytes(2 * 3073 - 1))),
    ("CIFAR-10 with bytes after its data", CLASSIFY_COLOUR, [r"test_batch\.bin", r"3074 bytes", r"3073"], cifar10(test_batch=bytes(3074))),
    ("empty CIFAR-10", CLASSIFY_COLOUR, [r"data_batch_5\.bin", r"empty"], cifar10(data_batch_5=b"")),
    ("compressed CIFAR-10", CLASSIFY_COLOUR, [r"data_batch_1\.bin", r"gunzip"], cifar10(data_batch_1=gzip.compress(bytes(3073)))),
    ("CIFAR-10 with a label out of range", CLASSIFY_COLOUR, [r"data_batch_4\.bin", r"label 10 for image 1", r"0 to 9"],
     cifar10(data_batch_4=bytes(3073) + b"\x0a" + bytes(3072))),
    ("a part of CIFAR-10 that is not named", CLASSIFY_COLOUR.replace("digits.train", "digits"), [r"model\.hw:3", r"train"], cifar10()),
    ("a slice of a data set of parts", 'data d = cifar10("cifar")[:10]\n', [r"model\.hw:1", r"cifar10\.train", r"choose"], cifar10()),
    ("a slice beyond the rows", 'data d = cifar10("cifar").train[20:30]\n', [r"model\.hw:1", r"25 rows", r"30"], cifar10()),
    ("labels out of range in .npy", 'l = classes(npy("l.npy"), 3)\nsave m = one_hot(l)\n', [r"l\.npy", r"label 3 of element 1", r"0\.\.2"],
     {"l.npy": npy("(2,)", struct.pack("<2i", 2, 3), "<i4")}),
    (".npy with bytes after its data", 'v = npy("t.npy")\nsave w = v\n', [r"t\.npy", r"1 byte after"], {"t.npy": npy("(4, 2)", bytes(65))}),
    (".npy of 64-bit integers too large", 'v = npy("t.npy")\nsave w = v\n', [r"model\.hw:1", r"t\.npy", r"int32"], {"t.npy": npy("(1,)", b"\xff" * 8, "<i8")}),
    ("truncated weights", LOAD, [r"w\.safetensors", r"outside the file"], weights(body=lambda b: b[:-1])),
    ("weights with bytes after the last tensor", LOAD, [r"w\.safetensors", r"1 byte after"], weights(body=lambda b: b + b"x")),
    ("weights that are not safetensors", LOAD, [r"w\.safetensors", r"not a safetensors file"], {"w.safetensors": b"PK\3\4" + bytes(200)}),
    ("weights whose header is not JSON", LOAD, [r"w\.safetensors", r"JSON"], {"w.safetensors": safetensors(b'{"a": nonsense}', b"")}),
    ("weights that overlap", LOAD, [r"w\.safetensors", r"overlaps|gap"], weights(lambda h: h["linear1.bias"].update(data_offsets=[44, 60]))),
    ("weights of an enormous shape", LOAD, [r"w\.safetensors", r"impossible|memory"], weights(lambda h: h["linear1.bias"].update(shape=[1 << 40, 1 << 40]))),
    ("weights of another type", LOAD, [r"w\.safetensors", r"F8_E5M2", r"F32"], weights(lambda h: h["linear1.bias"].update(dtype="F8_E5M2"))),
    ("weights of another net", LOAD, [r"model\.hw:3", r"w\.safetensors", r"linear2\.bias|linear9\.bias"], weights(lambda h: h.update({"linear9.bias": h.pop("linear2.bias")}))),
    ("weights of another width", LOAD, [r"model\.hw:3", r"linear1\.weight", r"\[3, 4\]", r"\[4, 3\]"], weights(lambda h: h["linear1.weight"].update(shape=[3, 4]))),
    ("weights of a net for other images", CONVOLVE.replace("digits.train.x, seed = 1", 'colour.train.x, from = "w.safetensors"'),
     [r"model\.hw:4:7", r"conv2d1\.weight.*\[4, 1, 3, 3\].*w\.safetensors.*\[4, 3, 3, 3\]", "another net"],
     {**IMAGES, "w.safetensors": safetensors({name: {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]} for name, shape, at, size in (
         ("conv2d1.weight", [4, 1, 3, 3], 0, 144), ("conv2d1.bias", [4], 144, 16), ("linear1.weight", [10, 16], 160, 640), ("linear1.bias", [10], 800, 40))}, bytes(840))}),
    ("a training on other images than the net's", CONVOLVE.replace("on digits.train", "on colour.train"), [r"model\.hw:6:", *OTHER_IMAGES], IMAGES),
    ("an evaluation on other images than the net's", CONVOLVE.replace("on digits.test", "on colour.test"), [r"model\.hw:7:", *OTHER_IMAGES], IMAGES),
    ("predictions on other images than the net's", CONVOLVE + "save logits = net(colour.test.x)\n", [r"model\.hw:9:", *OTHER_IMAGES], IMAGES),
    ("images of another size than the net's", CONVOLVE + "save logits = net(digits.test.x[:, :, 1:])\n",
     [r"model\.hw:9:", r"linear1\.weight.*\[10, 16\].*\[10, 8\]", r"init.*\[N, 1, 4, 4\].*\[N, 1, 3, 4\]"], IMAGES),
    ("images without a channel axis", CONVOLVE.replace("init(cnn, digits.train.x", 'init(cnn, idx("set/train-images-idx3-ubyte") / 255'),
     [r"model\.hw:3:", r"\[N, C, H, W\]", r"x\[:, None\]", "two samples"], IMAGES),
    ("images as rows", CONVOLVE.replace("init(cnn, digits.train.x", "init(cnn, flatten(digits.train.x)"), [r"model\.hw:3:", r"\[N, C, H, W\]", "reshape"], IMAGES),
    ("a kernel larger than the images", CONVOLVE.replace("kernel = 3, padding = 1", "kernel = 5"), [r"model\.hw:3:", "kernel of size 5", "size 4", "padding"], IMAGES),
    ("more classes than logits", CONVOLVE.replace("linear(10)", "linear(3)"), [r"model\.hw:6:", "class 10", "3 columns", r"linear\(10\)"], IMAGES),
    ("weights that are not there", NET.replace("seed = 1)\n", 'seed = 1)\n', 1).replace("init(small, d.x, seed = 1)", 'init(small, d.x, seed = 1, from = "no.safetensors")') + "save net\n",
     [r"no\.safetensors"], {}),
    ("weights with a lying header", NET.replace("init(small, d.x, seed = 1)", 'init(small, d.x, seed = 1, from = "w.safetensors")') + "save net\n",
     [r"w\.safetensors"], {"w.safetensors": struct.pack("<Q", 1 << 60) + b"{}"}),
]
