"""PyTorch, eager and compiled, on the cases of bench/compare: one JSON line each, {"case", "peer", "us"}, us the median step.

    peer_torch.py [--seconds S] [CASE...]      fit_deep fit_shallow mnist_mlp, and cold_fit, which a runner times from outside
"""
import argparse
import json
import math
import os
import statistics
import time

START = time.perf_counter()
import torch
import torch.nn.functional as F

torch.set_num_threads(int(os.environ.get("PEER_THREADS", os.cpu_count() or 1)))


def wave():
    """x: [2000, 1], y: [2000, 1]"""
    x = torch.linspace(-1, 1, 2000)[:, None] + 1e-4
    return x, torch.sin(5 * math.pi * x) / (5 * math.pi * x)


def images():
    """x: [256, 784], label: [256]"""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(256, 784, generator=generator), torch.randint(0, 10, (256,), generator=generator)


CASES = {"fit_deep": ((1, 30, 60, 60, 1), wave, F.mse_loss, 5e-3), "fit_shallow": ((1, 1880, 1), wave, F.mse_loss, 5e-3),
         "mnist_mlp": ((784, 256, 256, 256, 10), images, F.cross_entropy, 1e-3)}


def stepper(case, fused):
    """A function that does one Adam step."""
    widths, data, loss, lr = CASES[case]
    torch.manual_seed(0)
    layers = []
    for a, b in zip(widths, widths[1:]):
        layers += [torch.nn.Linear(a, b), torch.nn.ReLU()]
    net, (x, y) = torch.nn.Sequential(*layers[:-1]), data()
    optimiser = torch.optim.Adam(net.parameters(), lr=lr, fused=fused)

    def step():
        optimiser.zero_grad(set_to_none=True)
        loss(net(x), y).backward()
        optimiser.step()
    return step


def median_us(step, seconds):
    for _ in range(5):
        step()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 20 or time.perf_counter() < end:
        t = time.perf_counter()
        step()
        times.append(time.perf_counter() - t)
    return statistics.median(times) * 1e6


def report(case, peer, us, **more):
    print(json.dumps({"case": case, "peer": peer, "us": round(us, 2), **more}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    options = parser.parse_args()
    for case in options.cases or CASES:
        if case == "cold_fit":
            stepper("fit_deep", fused=False)()
            report(case, "torch eager", (time.perf_counter() - START) * 1e6, note="from after the interpreter's start")
            continue
        report(case, "torch eager", median_us(stepper(case, fused=False), options.seconds))
        report(case, "torch eager, fused Adam", median_us(stepper(case, fused=True), options.seconds))
        report(case, "torch.compile, fused Adam", median_us(torch.compile(stepper(case, fused=True)), options.seconds))
