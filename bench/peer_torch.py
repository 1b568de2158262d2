"""PyTorch, eager and compiled, on the trainings of cases.py: one JSON line each, {"case", "peer", "us"}, us the median step.

    peer_torch.py [--seconds S] CASE...     a name of cases.py, or cold_fit, which a runner times from outside
    peer_torch.py --agree FOLDER --steps N CASE...   the steps of runs of bench/CASE.hw, which left FOLDER/CASE, again:
                                           {"case", "peer", "distance"}, relative to the way they went
"""
import cases  # first: its clock starts with the process
import os

import torch
import torch.nn.functional as F

torch.set_num_threads(int(os.environ.get("PEER_THREADS", os.cpu_count() or 1)))
ACTIVATIONS = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "sigmoid": torch.nn.Sigmoid}
LOSSES = {"mse": F.mse_loss, "cross_entropy": F.cross_entropy}
OPTIMISERS = {"adam": (torch.optim.Adam, {}), "rmsprop": (torch.optim.RMSprop, {}), "sgd": (torch.optim.SGD, {}),
              "momentum": (torch.optim.SGD, {"momentum": 0.9}), "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True})}


class Training:
    """`step()` does one step. `fused`: the optimiser's update is one kernel, where PyTorch has one, else one a kind of operation."""
    def __init__(self, case, x, y, layers, fused=False):
        modules = []
        for weight, bias in layers:
            linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
            linear.weight.data, linear.bias.data = torch.tensor(weight), torch.tensor(bias)
            modules += [linear, ACTIVATIONS[case.activation]()]
        self.net, self.loss, self.x, self.y = torch.nn.Sequential(*modules[:-1]), LOSSES[case.loss], torch.tensor(x), torch.tensor(y)
        name, lr = case.optimiser
        rule, more = OPTIMISERS[name]
        if fused:
            more = {**more, "foreach" if name == "rmsprop" else "fused": True}
        self.optimiser = rule(self.net.parameters(), lr=lr, **more)

    def step(self):
        self.optimiser.zero_grad(set_to_none=True)
        self.loss(self.net(self.x), self.y).backward()
        self.optimiser.step()

    def layers(self):
        linears = [module for module in self.net if isinstance(module, torch.nn.Linear)]
        return [(linear.weight.detach().numpy(), linear.bias.detach().numpy()) for linear in linears]


def compiled(*start):
    training = Training(*start, fused=True)
    training.step = torch.compile(training.step)
    return training


if __name__ == "__main__":
    cases.peer_main(__doc__, {"torch eager": Training, "torch eager, fused optimiser": lambda *start: Training(*start, fused=True),
                              "torch.compile, fused optimiser": compiled})
