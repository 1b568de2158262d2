#!/usr/bin/env python3
"""Runs fuzz targets for a few seconds each.

    tests/fuzz/run.py [--build DIR] [--seconds N] [NAME...]
        NAME: cifar10 checkpoint csv gzip idx npy safetensors     readers of files (those by default), from seeds that are made here
              front      source text to the outlined module, and fmt; from the programs of the repository (corpus.py)
              program    the same, and runs what compiles

front and program are of the preset asan: --build build/asan. What a run finds that leads further is kept in DIR/fuzz/corpus and starts
the next one. An input that breaks a target is left in DIR/fuzz and named; the target, given that file, repeats it.
"""
import argparse
import gzip
import json
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e")]
from cases import idx, npy, safetensors
import corpus as models

TENSOR = {"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}, "b": {"dtype": "I64", "shape": [], "data_offsets": [16, 24]},
          "h": {"dtype": "F16", "shape": [3], "data_offsets": [24, 30]}, "__metadata__": {"format": "pt"}}
NPY = npy("(3, 2)", bytes(48))
IDX = idx((2, 3, 3), bytes(range(18)))
STATE = json.dumps({"version": 2, "program": "fit", "identity": "x", "hwc": "0.1.0", "cpu": "znver5", "oneDNN": "3.2", "vector_bytes": 64, "threads": 2, "quick": False,
                    "settings": [["rate", 0.1]], "started": "2026-01-01T00:00:00Z", "command": ["hwc", "run"], "seconds": 1.5, "resumed": 0, "stopping": False,
                    "files": [["net", ".safetensors"]], "sums": {"w": 1},
                    "frames": [{"at": 3, "part": 0, "numbers": [1, "nan", "inf"]}],
                    "trainings": [{"label": "net", "loops": [["run", 1]], "seed": 1, "loss": 0.5, "seconds": 1, "epochs": 2, "steps": 4, "end": "finished"}],
                    "tables": [{"name": "t", "rows": 2, "texts": ["a"]}], "side_by_side": 2,
                    "turns": [{"frames": [{"at": 0, "part": 1, "numbers": [5]}], "stopping": False, "trainings": [], "tables": []}]}).encode()
CSV = "a,b\n1,-2.5e3\r\n\"3\",4\n".encode()

# The first of each is a file that must be read; the fuzzer grows the rest from all of them.
SEEDS = {
    "npy": [NPY, npy("(2, 3)", bytes(24), header="{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }"), npy("()", b"\1", "|b1"),
            NPY.replace(b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00"), gzip.compress(NPY), npy("(4000000000, 4000000000)", b"")],
    "idx": [IDX, gzip.compress(IDX), bytes([0, 0, 0x0B, 1, 0, 0, 0, 2, 1, 2, 3, 4]), bytes([0, 0, 0x0E, 1, 0, 0, 0, 1]) + bytes(8),
            idx((4000000000, 4000000000, 4000000000), b"")],
    "cifar10": [bytes([3]) + bytes(3072), (bytes([9]) + bytes(3072)) * 2, bytes([10]) + bytes(3072), bytes(3072)],
    "safetensors": [safetensors(TENSOR, bytes(30)), safetensors({}, b""), safetensors(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"\1"),
                    safetensors({"w": {"dtype": "F64", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 8]}}, bytes(8))],
    "checkpoint": [STATE, b"{}", b'{"version": 3}', b"[" * 5000],
    "csv": [CSV, b"1,2\n3,4\n", b"\xef\xbb\xbfx\n1e308\n", gzip.compress(CSV)],
    "gzip": [b"\1" + gzip.compress(b"abc" * 100), b"\0" + gzip.compress(b"one") + gzip.compress(b"two"), b"\2plain", b"\3" + gzip.compress(os.urandom(99))[:-4]],
}

# What the fuzzer would be long in finding by chance.
WORDS = ['{"', '"}', '":', '":{"', "dtype", "shape", "data_offsets", "__metadata__", "F32", "BF16", "BOOL", "I64", "descr", "fortran_order", "'<f4'",
         "'|b1'", "True", "False", "(0, 3)", "99999999999"]


COMPILER = ["front", "program"]


def prepare(name, folder):
    """Writes the seeds; returns (seeds, dictionary, working directory, the target's own flags)."""
    if name in COMPILER:
        place = f"{folder}/models/{name}"  # its own: targets may run side by side
        shutil.rmtree(place, ignore_errors=True)
        models.write(place)
        return f"{place}/models", f"{place}/words", f"{place}/data", ["-rss_limit_mb=6000", "-max_len=20000"]
    seeds, words = f"{folder}/seeds/{name}", f"{folder}/words"
    shutil.rmtree(seeds, ignore_errors=True)
    os.makedirs(seeds)
    for i, seed in enumerate(SEEDS[name]):
        with open(f"{seeds}/{i}", "wb") as f:
            f.write(seed)
    with open(words, "w") as f:
        f.writelines('"' + word.replace('"', '\\"') + '"\n' for word in WORDS)
    # 10,000 bytes that take more than 1.5 GB of memory are a finding.
    return seeds, words, folder, ["-rss_limit_mb=1500", "-max_len=10000"]


def watch(command, cwd, log, seconds):
    """Runs it with its output in a file; on a terminal its last line of figures is shown. Returns (exit code, output)."""
    with open(log, "wb") as out:
        process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=out)
        try:
            while True:
                try:
                    process.wait(timeout=1 if sys.stderr.isatty() else seconds)
                    break
                except subprocess.TimeoutExpired:
                    seconds -= 1
                    if not sys.stderr.isatty() or seconds < 0:
                        raise
                    with open(log, errors="replace") as f:
                        figures = [line for line in f.read()[-4000:].splitlines() if line.startswith("#")]
                    print(f"\r\x1b[K{figures[-1][:110] if figures else ''}", end="", file=sys.stderr, flush=True)
        finally:
            process.kill()
            if sys.stderr.isatty():
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    with open(log, errors="replace") as f:
        return process.wait(), f.read()


def run(program, name, folder, seconds):
    """A message if the target or what it tries is wrong, else None."""
    seeds, words, cwd, own = prepare(name, folder)
    corpus = f"{folder}/corpus/{name}"
    os.makedirs(corpus, exist_ok=True)
    # A minute for one input is a finding: a busy machine takes seconds at most.
    command = [program, f"-artifact_prefix={folder}/{name}-", f"-dict={words}", "-timeout=60", *own]
    # A good file alone first, so that a target that refuses everything is seen. (libFuzzer runs it again to look for leaks where
    # the first time kept memory, as the list of what was read does.)
    code, said = watch([*command, f"{seeds}/0"], cwd, f"{folder}/{name}.log", 600)
    if code or not re.search(r"accepted ([1-9]\d*) of \1 inputs", said):
        return f"the good file {seeds}/0 is not read: {said.strip()[-1500:]}"
    code, said = watch([*command, f"-max_total_time={seconds}", corpus, seeds], cwd, f"{folder}/{name}.log", seconds + 600)
    if code:
        return said.strip()[-4000:]
    counted = re.search(r"accepted (\d+) of (\d+) inputs", said)
    if not counted:
        return f"it did not count its inputs: {said.strip()[-500:]}"
    cover = re.findall(r"cov: (\d+)", said)
    print(f"ok   {name}: {counted[2]} files in {seconds} s, {counted[1]} of them good, {cover[-1] if cover else '?'} edges", flush=True)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(HERE, "..", "..", "build"))
    parser.add_argument("--seconds", type=int, default=4, help="how long each target runs")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    build = os.path.abspath(options.build)
    folder = os.path.join(build, "fuzz")
    os.makedirs(folder, exist_ok=True)
    passed = failed = skipped = 0
    for name in options.names or SEEDS:
        if name not in SEEDS and name not in COMPILER:
            parser.error(f"no target '{name}'; there are: {' '.join([*SEEDS, *COMPILER])}")
        program = f"{build}/bin/{name}_fuzz" if name in COMPILER else f"{folder}/{name}_fuzz"
        if not os.path.exists(program):
            print(f"SKIPPED {name}: {program} was not built; it needs clang-22 and libclang-rt-22-dev (tools/setup installs them)")
            skipped += 1
            continue
        problem = run(program, name, folder, options.seconds)
        if problem:
            failed += 1
            print(f"FAILED {name}: {problem}", flush=True)
        else:
            passed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
