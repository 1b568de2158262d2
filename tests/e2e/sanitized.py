#!/usr/bin/env python3
"""A part of the command line under sanitizers: every example is compiled, trained for a moment, and resumed. Flags as of run.py;
--build is the release build, beside which build/asan and build/tsan were made (tests/run sanitize does).

Under the address and undefined behaviour sanitizers it is the compiler and the runtime that are watched, under the thread sanitizer
the runtime of stand-alone programs; generated code and oneDNN are as they are.
"""
import glob
import os
import shutil
import signal
import subprocess
import time

import run
from run import ROOT, Failed, check, good, test

run.TESTS.clear()  # only those of this file

ASAN = {"ASAN_OPTIONS": "allow_user_poisoning=0:detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}
# What libgomp's threads do for oneDNN is not seen by the sanitizer, nor how they wait for each other.
TSAN = {"TSAN_OPTIONS": "ignore_noninstrumented_modules=1"}
CLANG = shutil.which("clang++-22") or "/usr/lib/llvm-22/bin/clang++"


def folder(preset):
    return os.path.join(os.path.dirname(os.path.dirname(run.HWC)), preset)


def moment(where, *command, env):
    """Runs it until it ends, or has left a checkpoint and gone on for a second; it must end in good order."""
    left = f"{where}/out/{run.CHECKPOINT}"
    before = os.path.exists(left) and os.stat(left).st_mtime_ns
    process = subprocess.Popen(command, cwd=where, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    end = time.time() + 240
    while process.poll() is None and time.time() < end and (not os.path.exists(left) or os.stat(left).st_mtime_ns == before):
        time.sleep(0.05)
    try:
        process.wait(1)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
    try:
        _, err = process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        process.kill()
        raise Failed(f"{' '.join(command)} does not end")
    text = err.decode(errors="replace")
    check(process.returncode in (0, 128 + signal.SIGTERM) and "anitizer" not in text and "runtime error" not in text,
          f"{' '.join(command)}: exit {process.returncode}: {text[-3000:]}")


def examples(where):
    """Paths of the examples; the working folder gets images like CIFAR-10's, which is not on every machine."""
    image = bytes(range(256)) * 12
    for name in [f"data_batch_{b}" for b in range(1, 6)] + ["test_batch"]:
        run.write(where, {f"data/cifar-10-batches-bin/{name}.bin": b"".join(bytes([i % 10]) + image[i:] + image[:i] for i in range(200))})
    return sorted(glob.glob(f"{ROOT}/examples/*.hw"))


@test
def watched_compiler(where):
    """address, undefined: every example is checked, laid out, run for a moment and resumed"""
    for path in examples(where):
        name = os.path.basename(path)
        shutil.copy(path, f"{where}/{name}")
        hwc = f"{folder('asan')}/bin/hwc"
        result = run.run(where, "fmt", "--stdout", name, program=hwc, env={**os.environ, **ASAN})
        check(result.code == 0, f"{name}: {result}")
        for flags in (["--force"], ["--resume"]):
            moment(where, hwc, "run", "--quick", name, "--out", "out", "--threads", "2", "--checkpoint", "0.2", "--quiet", *flags, env=ASAN)


@test
def watched_threads(where):
    """threads: stand-alone programs of the examples, run for a moment and resumed"""
    for path in examples(where):
        name = os.path.splitext(os.path.basename(path))[0]
        good(where, "emit", "--quick", "--stage", "obj", "-o", f"{name}.o", path)
        tsan = folder("tsan")
        subprocess.run([CLANG, "-fsanitize=thread", "-o", name, f"{name}.o", f"{tsan}/runtime/CMakeFiles/hw_executable_main.dir/ExecutableMain.cpp.o",
                        f"{tsan}/lib/libhw_runtime.a", f"{tsan}/lib/libhw_formats.a", "-pthread", "-lz", "-lmvec", "-lm", "-ldl"], cwd=where, check=True)
        for flags in (["--force"], ["--resume"]):
            moment(where, f"./{name}", "--out", "out", "--threads", "3", "--checkpoint", "0.2", "--quiet", *flags, env=TSAN)


if __name__ == "__main__":
    raise SystemExit(run.main())
