#!/usr/bin/env python3
"""Runs every fuzz target for a few seconds, from seeds that are made here.

    tests/fuzz/run.py [--build DIR] [--seconds N] [NAME...]     NAME: cifar10 checkpoint csv gzip idx npy safetensors

What a run finds that leads further into a reader is kept in build/fuzz/corpus and starts the next one. An input that breaks a
reader is left in build/fuzz and named: `build/fuzz/idx_fuzz FILE` repeats it.
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
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
from cases import idx, npy, safetensors

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


def run(program, name, folder, seconds):
    """A message if the target or the reader is wrong, else None."""
    seeds, corpus = f"{folder}/seeds/{name}", f"{folder}/corpus/{name}"
    shutil.rmtree(seeds, ignore_errors=True)
    os.makedirs(seeds)
    os.makedirs(corpus, exist_ok=True)
    for i, seed in enumerate(SEEDS[name]):
        with open(f"{seeds}/{i}", "wb") as f:
            f.write(seed)
    words = f"{folder}/words"
    with open(words, "w") as f:
        f.writelines('"' + word.replace('"', '\\"') + '"\n' for word in WORDS)
    # 10,000 bytes that take more than 1.5 GB of memory are a finding, and so is a minute: a busy machine takes seconds at most.
    flags = [f"-artifact_prefix={folder}/{name}-", f"-dict={words}", "-timeout=60", "-rss_limit_mb=1500", "-max_len=10000"]

    def fuzz(*more):
        return subprocess.run([program, *flags, *more], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                              timeout=seconds + 600)
    # A good file alone first, so that a target that refuses everything is seen. (libFuzzer runs it again to look for leaks where
    # the first time kept memory, as the list of what was read does.)
    first = fuzz(f"{seeds}/0")
    if first.returncode or not re.search(r"accepted ([1-9]\d*) of \1 inputs", first.stderr):
        return f"the good file {seeds}/0 is not read: {first.stderr.strip()[-1500:]}"
    done = fuzz(f"-max_total_time={seconds}", corpus, seeds)
    if done.returncode:
        return done.stderr.strip()[-4000:]
    counted = re.search(r"accepted (\d+) of (\d+) inputs", done.stderr)
    if not counted:
        return f"it did not count its inputs: {done.stderr.strip()[-500:]}"
    cover = re.findall(r"cov: (\d+)", done.stderr)
    print(f"ok   {name}: {counted[2]} files in {seconds} s, {counted[1]} of them good, {cover[-1] if cover else '?'} edges")
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(HERE, "..", "..", "build"))
    parser.add_argument("--seconds", type=int, default=4, help="how long each target runs")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    folder = os.path.join(os.path.abspath(options.build), "fuzz")
    passed = failed = skipped = 0
    for name in options.names or SEEDS:
        if name not in SEEDS:
            parser.error(f"no target '{name}'; there are: {' '.join(SEEDS)}")
        program = f"{folder}/{name}_fuzz"
        if not os.path.exists(program):
            print(f"SKIPPED {name}: {program} was not built; it needs clang-22 and libclang-rt-22-dev (tools/setup installs them)")
            skipped += 1
            continue
        problem = run(program, name, folder, options.seconds)
        if problem:
            failed += 1
            print(f"FAILED {name}: {problem}")
        else:
            passed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
