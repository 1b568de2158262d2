"""PyTorch, eager and compiled, on the trainings of cases.py: one JSON line each, {"case", "peer", "us"}, us the median step.

    peer_torch.py [--seconds S] CASE...     a name of cases.py, or a cold start, which a runner times from outside
    peer_torch.py --agree FOLDER --steps N CASE...   the steps of runs of bench/CASE.hw, which left FOLDER/CASE, again:
                                           {"case", "peer", "distance"}, relative to the way they went
"""
import cases  # first: its clock starts with the process
import os

import torch
import torch.nn.functional as F

torch.set_num_threads(int(os.environ.get("PEER_THREADS", os.cpu_count() or 1)))
LAYERS = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "sigmoid": torch.nn.Sigmoid, "flatten": torch.nn.Flatten, "maxpool": lambda: torch.nn.MaxPool2d(2)}
LOSSES = {"mse": F.mse_loss, "cross_entropy": F.cross_entropy}
OPTIMISERS = {"adam": (torch.optim.Adam, {}), "rmsprop": (torch.optim.RMSprop, {}), "sgd": (torch.optim.SGD, {}),
              "momentum": (torch.optim.SGD, {"momentum": 0.9}), "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True})}


def module(layer, weights):
    """weights: an iterator, of which a layer that has weights takes the next."""
    if isinstance(layer, str):
        return LAYERS[layer]()
    if isinstance(layer, cases.Conv):
        made = torch.nn.Conv2d(layer.inputs, layer.outputs, layer.kernel, layer.stride, layer.padding)
    else:
        made = torch.nn.Linear(layer.inputs, layer.outputs)
    made.weight.data, made.bias.data = map(torch.tensor, next(weights))
    return made


class Training:
    """`step()` does one step, or takes the gradient where the case has no optimiser. `fused`: the optimiser's update is one kernel, where
    PyTorch has one, else one a kind of operation. `layout`: of images and of the weights of convolutions."""
    def __init__(self, case, x, y, weights, fused=False, layout=torch.contiguous_format):
        weights = iter(weights)
        self.net = torch.nn.Sequential(*(module(layer, weights) for layer in case.layers)).to(memory_format=layout)
        self.loss, self.x, self.y = LOSSES[case.loss], torch.tensor(x).contiguous(memory_format=layout), torch.tensor(y)
        self.optimiser = None
        if case.optimiser:
            name, lr = case.optimiser
            rule, more = OPTIMISERS[name]
            if fused:
                more = {**more, "foreach" if name == "rmsprop" else "fused": True}
            self.optimiser = rule(self.net.parameters(), lr=lr, **more)

    def step(self):
        self.net.zero_grad(set_to_none=True)
        self.loss(self.net(self.x), self.y).backward()
        if self.optimiser:
            self.optimiser.step()

    def weights(self):
        return [(made.weight.detach().numpy(), made.bias.detach().numpy()) for made in self.net if hasattr(made, "weight")]


def compiled(*start, **more):
    training = Training(*start, **more)
    training.step = torch.compile(training.step)
    return training


def peers_of(case):
    """With an optimiser also its fused form, with convolutions also images with their channels last; each compiled too."""
    ways = {"": {}}
    if case.optimiser:
        ways[", fused optimiser"] = {"fused": True}
    if any(isinstance(layer, cases.Conv) for layer in case.layers):
        ways.update({f"{way}, channels last": {**more, "layout": torch.channels_last} for way, more in ways.items()})
    make = lambda training, more: lambda *start: training(*start, **more)
    found = {f"torch eager{way}": make(Training, more) for way, more in ways.items()}
    found.update({f"torch.compile{way}": make(compiled, more) for way, more in ways.items() if not case.optimiser or "fused" in more})
    return found


if __name__ == "__main__":
    cases.peer_main(__doc__, peers_of)
