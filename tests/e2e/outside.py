#!/usr/bin/env python3
"""What stands around the compiler and its programs: names of files, what is in the way, streams, signals, limits, and the
programs that are started. Each is tried as an attacker would, over all commands; flags as of tests/e2e/run.py.
"""
import os
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import time

import run
from run import Failed, Skipped, bad, cases, check, files_of, good, hwc, same_results, test, write

run.TESTS.clear()  # only those of this file

FIT, MINI = run.FIT, run.MINI
# Numbers, tables, weights and a figure in a moment.
LITTLE = cases.DATA + 'record t: a = mean(d.x), b = 1\nrecord t: a = 2, b = 2\nplot "figure" on t { line a over b }\n'
COMMANDS = (["check"], ["run", "--out", "out"], ["build", "-o", "fit"], ["emit", "--stage", "plan"], ["bench", "--benchmark_min_time=0.01"], ["gradcheck"], ["fmt"])


def shell(where, line, seconds=120, **more):
    """A line of the shell, where $HWC is the compiler."""
    done = subprocess.run(["bash", "-c", line], cwd=where, env={**os.environ, "HWC": run.HWC}, stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=seconds, **more)
    result = run.Result(done.returncode, done.stdout, done.stderr, 0)
    check(not run.NEVER.search(result.err), f"an internal failure shows: {result}")
    return result


def one_sentence(result, *words, code=1):
    check(result.code == code, f"expected exit code {code}: {result}")
    check(len(result.err.strip().splitlines()) == 1, f"not one sentence: {result}")
    for word in words:
        check(re.search(word, result.err), f"the message lacks /{word}/: {result}")


def unprivileged():
    """What makes a child's rights those of nobody."""
    if os.geteuid() != 0:
        raise Skipped("only root can be somebody else")

    def become():
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    return become


def everybody(where):
    os.chmod(where, 0o777)


# ---------------------------------------------------------------- names
NAMES = ["-x.hw", "@x.hw", "--help.hw", "-o.hw", "a b.hw", "it's.hw", 'quo"te.hw', "back`touch pwned`tick.hw", "$(touch pwned).hw", "new\nline.hw", "%n%s.hw",
         "esc\x1b[31m.hw", "bell\x07.hw", "ü.hw", b"bytes\xff.hw", "x" * 240 + ".hw", ".hw", "...hw", "-Wl,x.hw", "semi;colon.hw", "@.hw", "noext"]


@test
def names_are_no_options(where):
    """whatever a model file is called, it is checked, trained, built under its own name, and written to nothing else"""
    for name in NAMES:
        name = os.fsencode(name)
        folder = os.path.join(os.fsencode(where), b"in")
        os.mkdir(folder)
        with open(os.path.join(folder, name), "wb") as f:
            f.write(LITTLE.replace("plot", "// plot").encode())
        with open(os.path.join(folder, b"x"), "wb") as f:  # what @x would read
            f.write(b"--version")
        before = set(os.listdir(folder))
        for command in (["run", "--quiet"], ["build"], ["fmt", "--check"]):
            done = subprocess.run([*hwc(*command), b"./" + name], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
            in_its_place = command == ["build"] and name in (b"noext", b"...hw", b".hw")
            check(done.returncode == (1 if in_its_place else 0) or command[0] == "fmt", f"{command} {name!r}: exit {done.returncode}, {done.stderr[-400:]!r}")
            check(not run.NEVER.search(done.stderr.decode(errors="replace")), f"{command} {name!r}: {done.stderr!r}")
            check(not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", done.stderr + done.stdout), f"{command} {name!r}: acts on the terminal: {done.stderr!r}")
        stem = os.path.splitext(name)[0]
        left = set(os.listdir(folder)) - before
        check(left == ({b"out"} if name in (b"noext", b"...hw", b".hw") else {b"out", stem}), f"{name!r} left {left}")
        check(len(os.listdir(os.path.join(folder, b"out"))) == 1, f"{name!r}: {os.listdir(os.path.join(folder, b'out'))}")
        if stem in left:
            done = subprocess.run([b"./" + stem, b"--version"], cwd=folder, capture_output=True, timeout=60)
            check(done.returncode == 0, f"the executable of {name!r}: {done}")
        shutil.rmtree(folder)


# ---------------------------------------------------------------- what is in the way
def unchanged(where, names, action):
    """The files are after the action what they were before."""
    def state():
        return {name: (open(f"{where}/{name}", "rb").read(), os.lstat(f"{where}/{name}").st_ino) for name in names}
    before = state()
    result = action()
    check(state() == before, f"an input was replaced: {[n for n in names if state()[n] != before[n]]}; {result}")
    return result


@test
def outputs_spare_inputs(where):
    """no output takes the place of the model, the data or the program, under whatever name: each a sentence"""
    model = FIT.replace(cases.DATA, 'data t = csv("table.csv")\ndata d { x = concat([t.a[:, None], t.b[:, None], t.c[:, None]], axis = 1); y = t.d[:, None] }\n')
    if model == FIT:
        raise Failed("the model's data are not replaced")
    table = "a,b,c,d\n" + "".join(f"{i % 7},{i % 3},{i % 5},{i % 2}\n" for i in range(20))
    write(where, {"model.hw": model, "noext": model, "folder/curve.csv": table, "table.csv": table})
    os.link(f"{where}/model.hw", f"{where}/hard")
    os.symlink("table.csv", f"{where}/soft")
    good(where, "build", "model.hw", "-o", "fit")
    inputs = ["model.hw", "noext", "table.csv", "hard", "soft", "fit", "folder/curve.csv"]
    for target in ("model.hw", "table.csv", "hard", "soft", f"{where}/model.hw", "./folder/../model.hw"):
        for command in (["build", "model.hw", "-o", target], ["emit", "model.hw", "-o", target], ["run", "model.hw", "--out", "o1", "--trace", target],
                        ["bench", "model.hw", "--trace", target], ["bench", "model.hw", f"--benchmark_out={target}"]):
            result = unchanged(where, inputs, lambda: run.run(where, *command))
            one_sentence(result, r"is read and is not replaced")
            shutil.rmtree(f"{where}/o1", ignore_errors=True)
    one_sentence(unchanged(where, inputs, lambda: run.run(where, "build", "noext")), "not replaced", "-o")
    for flags in (["--trace", "fit"], ["--trace", "./fit"], ["--trace", "table.csv"], ["--trace", "soft"]):
        result = unchanged(where, inputs, lambda: run.run(where, *flags, "--out", "o2", program=f"{where}/fit"))
        check(result.code == 1 and "not replaced" in result.err, f"{flags}: {result}")
        shutil.rmtree(f"{where}/o2", ignore_errors=True)
    # Data in the folder for results, under the name of a table.
    write(where, {"in.hw": model.replace("table.csv", "folder/curve.csv")})
    one_sentence(unchanged(where, inputs, lambda: run.run(where, "run", "in.hw", "--out", "folder", "--force", "--quiet")), "not replaced")
    check(not [f for f in files_of(where) if f.endswith(".tmp") or "/.hwc-" in f or f.startswith(".hwc-")], f"left {files_of(where)}")


@test
def others_files(where):
    """a name that hwc chose does not replace somebody's file; a timeline none of a run's results"""
    write(where, {"notes.hw": FIT, "notes": "mine"})
    one_sentence(unchanged(where, ["notes"], lambda: run.run(where, "build", "notes.hw")), "is no program", "-o")
    good(where, "build", "notes.hw", "-o", "notes")  # asked for
    good(where, "build", "notes.hw")  # its own of before
    for name in ("curve.csv", "run.json", "net.safetensors"):
        one_sentence(run.run(where, "run", "notes.hw", "--out", "out", "--force", "--trace", f"out/{name}"), "--trace", r"\.json")
    good(where, "run", "notes.hw", "--out", "out", "--force", "--trace", "out/timeline.json")
    good(where, "bench", "notes.hw", "--benchmark_out=times.json", "--benchmark_min_time=0.01", "--no-kernels")
    names = {b["name"] for b in run.json.load(open(f"{where}/times.json"))["benchmarks"]}
    check(any(name.endswith(".step/real_time") for name in names), f"not all times: {names}")


@test
def odd_files(where):
    """folders, pipes, sockets, devices and links to nothing where files are wanted: a sentence, and they stay"""
    write(where, {"model.hw": FIT, "reads.hw": FIT.replace(cases.DATA, 'data d { x = npy("odd"); y = npy("odd") }\n'),
                  "weights.hw": FIT.replace("seed = 1)\ntrain", 'seed = 1, from = "odd")\ntrain')})
    server = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    for kind in ("folder", "pipe", "socket", "device", "dangling", "loop"):
        path = f"{where}/odd"
        if kind == "folder":
            os.mkdir(path)
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            os.chdir(where)
            server.bind("odd")
            os.chdir(here)
        elif kind == "device":
            os.symlink("/dev/full", path)
        else:
            os.symlink("nothing" if kind == "dangling" else "odd", path)
        before = os.lstat(path)
        for command in (["emit", "model.hw", "-o", "odd"], ["build", "model.hw", "-o", "odd"], ["run", "model.hw", "--out", "out", "--trace", "odd"],
                        ["bench", "model.hw", "--benchmark_out=odd"], ["run", "reads.hw", "--out", "out"], ["run", "weights.hw", "--out", "out"], ["fmt", "odd"],
                        ["check", "odd"]):
            if kind == "device" and command == ["check", "odd"]:
                continue  # an endless model of zeros: its errors are many
            result = run.run(where, *command, seconds=60)
            check(result.code == 1 and "odd" in result.err, f"{kind}, {command}: {result}")
            after = os.lstat(path)
            check((after.st_ino, after.st_mode) == (before.st_ino, before.st_mode), f"{kind}, {command}: it was replaced")
            shutil.rmtree(f"{where}/out", ignore_errors=True)
        os.rmdir(path) if kind == "folder" else os.remove(path)
    check(stat.S_ISCHR(os.stat("/dev/full").st_mode) and os.path.islink("/dev/stdout"), "a device is gone")
    # A model through a pipe is one.
    check(shell(where, "$HWC check <(cat model.hw)").code == 0, "a model from a pipe is refused")
    check(shell(where, "cat model.hw | $HWC check /dev/stdin").code == 0, "a model from standard input is refused")
    # What a folder for results may hold.
    for name in ("run.json", run.CHECKPOINT, "curve.csv", "net.safetensors", "loss.svg"):
        os.makedirs(f"{where}/out")
        os.mkfifo(f"{where}/out/{name}")
        result = run.run(where, "run", "model.hw", "--out", "out", "--resume", seconds=30)
        check(result.code == 1, f"a pipe {name} is taken for a run: {result}")
        shutil.rmtree(f"{where}/out")


@test
def links_are_followed(where):
    """fmt keeps links, modes and owners; -o writes what a link leads to; what may not be written gets a sentence"""
    ugly = FIT.replace("  loss = mse", "      loss   =   mse")
    write(where, {"real/model.hw": ugly, "second.hw": ugly, "sealed.hw": ugly})
    os.symlink("real/model.hw", f"{where}/link.hw")
    os.chmod(f"{where}/real/model.hw", 0o751)
    os.link(f"{where}/second.hw", f"{where}/third.hw")
    if os.geteuid() == 0:
        os.chown(f"{where}/real/model.hw", 65534, 65534)
    good(where, "fmt", "link.hw")
    info = os.stat(f"{where}/real/model.hw")
    check(os.path.islink(f"{where}/link.hw") and open(f"{where}/real/model.hw").read() == FIT, "the link or its file is not what it should be")
    check(stat.S_IMODE(info.st_mode) == 0o751 and (os.geteuid() or info.st_uid == 65534), f"mode {info.st_mode:o}, owner {info.st_uid}")
    good(where, "fmt", "second.hw")
    check(os.path.samefile(f"{where}/second.hw", f"{where}/third.hw") and open(f"{where}/third.hw").read() == FIT, "a hard link was cut")
    os.symlink("real/plan", f"{where}/plan")
    write(where, {"real/plan": "old"})
    good(where, "emit", "link.hw", "--stage", "plan", "-o", "plan")
    check(os.path.islink(f"{where}/plan") and open(f"{where}/real/plan").read().startswith("{"), "the link was replaced")
    everybody(where)
    os.chmod(f"{where}/sealed.hw", 0o444)
    for command in (["fmt", "sealed.hw"], ["emit", "second.hw", "-o", "sealed.hw"], ["build", "second.hw", "-o", "sealed.hw"]):
        done = subprocess.run(hwc(*command), cwd=where, capture_output=True, preexec_fn=unprivileged(), timeout=60)
        one_sentence(run.Result(done.returncode, done.stdout, done.stderr, 0), "sealed", "Permission denied")
    check(open(f"{where}/sealed.hw").read() == ugly and not [f for f in files_of(where) if f.endswith(".tmp")], "it was written")


# ---------------------------------------------------------------- streams
@test
def streams(where):
    """streams that are closed, full or without a reader change no result, and an exit code says what is lost"""
    write(where, {"model.hw": FIT})
    good(where, "build", "model.hw", "-o", "fit")
    good(where, "--out", "whole", program=f"{where}/fit")
    ways = ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>&1", "2>&1 | head -c 1"]
    for number, way in enumerate(ways):
        for program in ("$HWC run model.hw", "./fit"):
            result = shell(where, f"set -o pipefail; {program} --out out {way}")
            check(result.code == 0, f"{program} {way}: {result}")
            same_results(f"{where}/whole", f"{where}/out")
            shutil.rmtree(f"{where}/out")
    talkers = ["$HWC --help", "$HWC run --help", "./fit --help", "./fit --version", "$HWC completion bash", "$HWC check model.hw", "$HWC emit model.hw", "$HWC fmt --stdout model.hw",
               "$HWC run model.hw --describe", "$HWC gradcheck model.hw", "$HWC bench --no-kernels --benchmark_min_time=0.01 --benchmark_filter=step model.hw"]
    for talker in talkers:
        for way, word in ((">/dev/full", "(No space|full)"), (">&-", "")):
            result = shell(where, f"{talker} {way}")
            check(result.code == 1 and re.search(f"error: standard output cannot be written.*{word}", result.err.splitlines()[-1]), f"{talker} {way}: {result}")
        check(shell(where, f"{talker} >/dev/full 2>&-").code == 1, f"{talker}: silent success")
    for way in ("2>/dev/full", "2>&-"):
        check(shell(where, f"$HWC check nothing.hw {way}").code == 1, f"{way}: an error is no success")
        check(shell(where, f"$HWC build model.hw -o made {way} && ./made --version").code == 0, f"{way}: nothing was built")
    result = shell(where, "{ $HWC emit model.hw --stage asm; echo $? >code; } | head -c 1")
    check(open(f"{where}/code").read().strip() == "141" and not result.err, f"a reader that has gone: {open(where + '/code').read()}, {result}")
    check(open(f"{where}/model.hw").read() == FIT, "messages were written into a file")


# ---------------------------------------------------------------- signals and limits
@test
def file_size_limit(where):
    """a limit on files' sizes is a sentence in every command, and nothing half written stays"""
    write(where, {"model.hw": FIT})
    good(where, "build", "model.hw", "-o", "fit")
    before = files_of(where)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))
    for command in (hwc("emit", "model.hw", "--stage", "plan", "-o", "plan"), hwc("build", "model.hw", "-o", "made"), hwc("run", "model.hw", "--out", "out"),
                    [f"{where}/fit", "--out", "out"], hwc("bench", "model.hw", "--benchmark_out=times", "--benchmark_min_time=0.01", "--no-kernels")):
        done = subprocess.run(command, cwd=where, capture_output=True, preexec_fn=limit, timeout=60)
        err = done.stderr.decode()
        check(done.returncode == 1 and re.search(r"too large|size limit", err), f"{command}: exit {done.returncode}, {err}")
        left = [f for f in files_of(where) if f not in before and not f.startswith("out/")]
        check(not left and not [f for f in files_of(where) if f.endswith(".tmp")], f"{command} left {left}")
        shutil.rmtree(f"{where}/out", ignore_errors=True)


@test
def signals_in_build(where):
    """a build that is stopped leaves no temporary file, and one that nohup protects goes on"""
    write(where, {"model.hw": FIT})
    os.makedirs(f"{where}/deep")
    stopped = 0
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        process = subprocess.Popen(hwc("build", "model.hw", "-o", "deep/made"), cwd=where, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        end = time.time() + 60
        while time.time() < end and process.poll() is None and not any(name.startswith(".hwc-") for name in os.listdir(f"{where}/deep")):
            time.sleep(0.002)
        process.send_signal(number)
        process.communicate(timeout=60)
        check(process.returncode in (code, 0), f"signal {number}: exit {process.returncode}")
        stopped += process.returncode == code
        check(files_of(f"{where}/deep") in ([], ["made"]) and (process.returncode == 0) <= os.path.exists(f"{where}/deep/made"), f"left {files_of(where)}")
        check(not [name for name in os.listdir(f"{where}/deep") if name.startswith(".")], f"left {os.listdir(where + '/deep')}")
        shutil.rmtree(f"{where}/deep")
        os.makedirs(f"{where}/deep")
    check(stopped, "no signal came in time: a poor test")
    process = subprocess.Popen(["nohup", *hwc("build", "model.hw", "-o", "deep/made")], cwd=where, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    time.sleep(0.3)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    check(process.returncode == 0 and os.path.exists(f"{where}/deep/made"), f"nohup does not protect: exit {process.returncode}")


@test
def no_threads(where):
    """threads that the system refuses are a sentence with the way out, which works"""
    write(where, {"model.hw": FIT, "beside.hw": run.SURVIVORS["networks side by side"]})
    everybody(where)
    good(where, "build", "model.hw", "-o", "fit")
    good(where, "build", "beside.hw", "-o", "beside")

    def limited(count):
        become = unprivileged()

        def prepare():
            resource.setrlimit(resource.RLIMIT_NPROC, (count, count))
            become()
        return prepare
    for command in ([f"{where}/fit"], [f"{where}/beside"], hwc("run", "model.hw")):
        done = subprocess.run([*command, "--out", "out", "--threads", "4", "--quiet"], cwd=where, capture_output=True, preexec_fn=limited(1), timeout=60)
        one_sentence(run.Result(done.returncode, done.stdout, done.stderr, 0), "threads", "--threads 1", "ulimit")
        done = subprocess.run([*command, "--out", "alone", "--threads", "1", "--checkpoint", "0"], cwd=where, capture_output=True, preexec_fn=limited(1), timeout=120)
        err = done.stderr.decode()
        check(done.returncode == 0, f"{command} on one thread: exit {done.returncode}, {err}")
        check("plot" not in open(f"{where}/model.hw").read() or command[0].endswith("beside") or "gnuplot cannot be started" in err, f"{command}: {err}")
        shutil.rmtree(f"{where}/alone")
        shutil.rmtree(f"{where}/out", ignore_errors=True)


@test
def no_memory(where):
    """every limit on memory ends in a result or a sentence, in every command"""
    write(where, {"model.hw": FIT})
    good(where, "build", "model.hw", "-o", "fit")
    succeeded = 0
    for command, sizes in ((hwc("check", "model.hw"), range(180, 420, 30)), (hwc("run", "model.hw", "--out", "out", "--quiet", "--threads", "2"), range(200, 500, 30)),
                           ([f"{where}/fit", "--out", "out", "--quiet", "--threads", "2"], (8, 12, 16, 24, 32, 48, 64, 128))):
        for size in sizes:
            limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (size << 20, size << 20))
            done = subprocess.run(command, cwd=where, capture_output=True, preexec_fn=limit, timeout=60)
            err = done.stderr.decode(errors="replace")
            if done.returncode == 127 and "shared librar" in err:
                continue  # the system's loader: we have not begun
            check(done.returncode in (0, 1), f"{command} with {size} MiB: exit {done.returncode}, {err[-600:]}")
            check(not run.NEVER.search(err), f"{command} with {size} MiB: {err[-600:]}")
            check(done.returncode == 0 or 0 < len(err.strip().splitlines()) <= 2, f"{command} with {size} MiB: {err[-600:]}")
            succeeded += done.returncode == 0
            shutil.rmtree(f"{where}/out", ignore_errors=True)
    check(succeeded, "no limit was enough: a poor test")


# ---------------------------------------------------------------- programs that are started
def program(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)


@test
def gnuplots(where):
    """a gnuplot that crashes, truncates, hangs behind closed streams or is missing: numbers, data and script are there, and a note says so"""
    write(where, {"model.hw": FIT})
    good(where, "build", "model.hw", "-o", "fit")
    kinds = {"crash": ("kill -USR1 $$", "signal 10"), "fail": ("echo no luck; exit 3", "no luck"), "nothing": ("exit 0", "no whole picture"),
             "truncate": ("for f in svg png; do printf '<svg>' >\"${2%.gp}.$f\"; done", "no whole picture"), "leaves a child": ("sleep 30 & exit 4", "said nothing"),
             "quiet": ("exec >&- 2>&-; sleep 1; exit 5", "failed"), "not to run": (None, "cannot be started|cannot be run"), "missing": ("", "apt install gnuplot")}
    for kind, (text, word) in kinds.items():
        shutil.rmtree(f"{where}/bin", ignore_errors=True)
        os.makedirs(f"{where}/bin")
        if text:
            program(f"{where}/bin/gnuplot", text)
        elif text is None:
            with open(f"{where}/bin/gnuplot", "wb") as f:
                f.write(b"\x00\x01")
            os.chmod(f"{where}/bin/gnuplot", 0o755)
        path = f"{where}/bin:/usr/bin:/bin" if text else f"{where}/bin"
        result = good(where, "--out", "out", program=f"{where}/fit", env={**os.environ, "PATH": path}, seconds=20)
        check(re.search(word, result.err) and "is not drawn" in result.err, f"{kind}: {result}")
        left = files_of(f"{where}/out")
        check({"curve.csv", "net.safetensors", "run.json", "loss.gp", "loss.plot.csv"} == set(left), f"{kind}: {left}")
        shutil.rmtree(f"{where}/out")


@test
def planted_programs(where):
    """no program that lies in the model's folder or among the results is started, whatever PATH says of here; no variable makes them write elsewhere"""
    write(where, {"model.hw": FIT, "evil/keep": ""})
    for name in ("gnuplot", "g++", "c++", "ld", "as", "cc1plus", "collect2", "real-ld", "out/gnuplot", "out/ld"):
        program(f"{where}/{name}", f"touch {where}/pwned; exit 1\n")
    shutil.copy(f"{where}/ld", f"{where}/evil/ld")
    for path in (".:/usr/bin:/bin", ":/usr/bin:/bin", "/usr/bin:/bin:", "./evil:../..:evil:out:/usr/bin:/bin", f"::/usr/bin:/bin"):
        env = {**os.environ, "PATH": path, "GNUTERM": "nonsense", "GNUPLOT_LIB": where, "GNUPLOT_DRIVER_DIR": where, "GCC_EXEC_PREFIX": where + "/", "COMPILER_PATH": where,
               "LIBRARY_PATH": ":.", "DEPENDENCIES_OUTPUT": f"{where}/pwned", "TMPDIR": "nowhere"}
        good(where, "build", "model.hw", "-o", "fit", env=env)
        for command in (["run", "model.hw", "--out", "out", "--force"], ["--out", "out", "--force"]):
            result = good(where, *command, env=env, program=None if command[0] == "run" else f"{where}/fit")
            check("is not drawn" not in result.err and {"loss.svg", "loss.png"} <= set(files_of(f"{where}/out")), f"PATH={path}: {result}")
        check(not os.path.exists(f"{where}/pwned"), f"PATH={path}: a planted program ran, or a variable was heeded")


# ---------------------------------------------------------------- what is shown
NASTY = ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m".encode("utf-8").decode(), "\u202e", "\u200b", "\x07", "\x08" * 3, "\r", "\x7f", "\x00"]


@test
def nothing_acts_on_the_terminal(where):
    """control characters in comments, texts and names of a model are escaped wherever they are shown"""
    visible = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")
    quoted = "".join(NASTY[:-1])  # no NUL: it is an error anywhere
    models = [("stray " + repr(nasty), FIT + nasty) for nasty in NASTY] + [
        ("comment", f"// {quoted.replace(chr(13), '')}\n" + FIT.replace("mse(", f"mze( // {quoted.replace(chr(13), '')}\n  ")),
        ("text", FIT.replace('"loss" on', f'"{quoted}" on').replace("line loss", "line lozz")),
        ("title", FIT.replace('"loss" on', f'"a{quoted}b" on')),
        ("loop", cases.DATA + f'for name in ["a{quoted}", "b"] {{\n  net = init(fn(x) => x |> linear(1), d.x, seed = 1)\n  record t: name = name, a = 1\n}}\n'
         'plot "x" on t per name { line a by name }\n')]
    for kind, text in models:
        write(where, {"model.hw": text})
        commands = [["check", "model.hw"]]
        if not kind.startswith("stray"):
            commands += [["run", "model.hw", "--out", "out", "--force"], ["run", "model.hw", "--describe"], ["fmt", "--check", "model.hw"]]
        for command in commands:
            result = run.run(where, *command)
            check(result.code in (0, 1), f"{kind} {command}: {result}")
            shown = visible.search(result.err.replace("\t", " ") + result.out.replace("\t", " "))
            check(not shown, f"{kind} {command}: {shown and shown[0]!r} is shown: {result}")


@test
def titles_of_entities(where):
    """a title with entities and markup gives an SVG that is XML, with the title as it stands in the model"""
    import xml.etree.ElementTree as xml
    titles = ["&#x0;", "a &#65; b", "&amp;", "&lt;script&gt;", "<b>x</b>", "]]>", "<!--", "&", "&#", "&&#x41;", "x^2_{i} @y", "%d %s %%", "~a{0.8-}", "#1 of #2", "50%7 {1} `2` @3 '4' \\5", "$1"]
    for number, title in enumerate(titles):
        text = title.replace("\\", "\\\\").replace("{", "\\{").replace("}", "\\}")
        write(where, {f"m{number}.hw": cases.TRAIN + f'plot "{text}" on curve {{ line loss over epoch }}\n'})
        good(where, "run", f"m{number}.hw", "--out", f"o{number}")
        svg = [f for f in files_of(f"{where}/o{number}") if f.endswith(".svg")]
        check(len(svg) == 1, f"{title!r}: no figure")
        words = "".join(xml.parse(f"{where}/o{number}/{svg[0]}").getroot().itertext()).replace("\u200b", "")
        check(title in words, f"{title!r} is not in the figure: {words[:300]!r}")


# ---------------------------------------------------------------- folders that change
@test
def folder_goes(where):
    """a folder for results that is removed or becomes read-only while the run goes on: a sentence, not a success"""
    long = FIT.replace("5 epochs", "50000000 epochs").replace("  record curve: loss\n", "  every 1000 epochs { record curve: loss = mean(loss) }\n")
    write(where, {"model.hw": long})
    good(where, "build", "model.hw", "-o", "fit")
    process = subprocess.Popen([f"{where}/fit", "--out", "out", "--checkpoint", "0", "--quiet"], cwd=where, stderr=subprocess.PIPE)
    end = time.time() + 60
    while time.time() < end and not os.path.exists(f"{where}/out/{run.CHECKPOINT}"):
        time.sleep(0.02)
    process.send_signal(signal.SIGSTOP)  # it must not write while the folder goes
    time.sleep(0.1)
    shutil.rmtree(f"{where}/out")
    process.send_signal(signal.SIGCONT)
    try:
        _, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise Failed("it goes on without a folder")
    check(process.returncode == 1 and "out" in err.decode() and not run.NEVER.search(err.decode()), f"exit {process.returncode}: {err}")


if __name__ == "__main__":
    raise SystemExit(run.main())
