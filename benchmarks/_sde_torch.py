"""The rivals of `bench_sde.py` in PyTorch: torchsde, through the steps and by its adjoint."""

import torch
import torchsde


class NeuralSDE(torch.nn.Module):
    """The same two networks as `_sde_problem`, in torchsde's form."""

    noise_type = "diagonal"
    sde_type = "stratonovich"

    def __init__(self, layers):
        super().__init__()
        self.drift, self.diffusion = map(_network, layers)

    def f(self, t, y):
        return self.drift(y)

    def g(self, t, y):
        return torch.sigmoid(self.diffusion(y))


def _network(layers):
    modules: list[torch.nn.Module] = []
    for weight, bias in layers:
        linear = torch.nn.Linear(*weight.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight.T))
            linear.bias.copy_(torch.from_numpy(bias))
        modules += [linear, torch.nn.Tanh()]
    return torch.nn.Sequential(*modules[:-1])


SOLVES = {"torchsde": torchsde.sdeint, "torchsde adjoint": torchsde.sdeint_adjoint}


def training_step(solve, layers, start, steps):
    """A call that takes one training step and returns its loss."""
    model, y0 = NeuralSDE(layers), torch.from_numpy(start).requires_grad_()
    inputs = [*model.parameters(), y0]
    times = torch.tensor([0.0, 1.0])

    def run():
        ys = solve(model, y0, times, method="midpoint", dt=1.0 / steps)
        loss = (ys[-1] ** 2).mean()
        torch.autograd.grad(loss, inputs)
        return float(loss.detach())

    return run
