"""The same latent ODE in PyTorch and torchdiffeq, in the way of the paper's own code."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torchdiffeq import odeint

from _latent_ode_problem import ATOL, LEARNING_RATE, NOISE, RTOL


def _linear(layer) -> torch.nn.Linear:
    weight, bias = np.asarray(layer.weight), np.asarray(layer.bias)
    made = torch.nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        made.weight.copy_(torch.from_numpy(weight.copy()))
        made.bias.copy_(torch.from_numpy(bias.copy()))
    return made


def _mlp(net, final: torch.nn.Module | None = None) -> torch.nn.Sequential:
    modules: list[torch.nn.Module] = []
    for layer in net.layers:
        modules += [_linear(layer), torch.nn.Tanh()]
    return torch.nn.Sequential(*modules[:-1], *([] if final is None else [final]))


class Field(torch.nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = _mlp(net)

    def forward(self, t, y):
        return self.net(y)


class LatentODE(torch.nn.Module):
    """Takes its weights from pullback's model."""

    def __init__(self, model):
        super().__init__()
        cell = model.encoder.cell
        self.gates = _mlp(cell.gates, torch.nn.Sigmoid())
        self.candidate = _mlp(cell.candidate)
        self.along = Field(cell.transition.field.net)
        self.readout = _mlp(model.encoder.readout)
        self.field = Field(model.field.net)
        self.decoder = _linear(model.decoder)
        self.size = cell.size

    def encode(self, times, values, mask):
        y = torch.zeros(len(values), self.size)
        s, last = torch.zeros_like(y), None
        seen = torch.zeros(len(values), 1, dtype=torch.bool)
        for i in reversed(range(len(times))):
            if last is not None:
                moved = odeint(self.along, y, torch.stack([last, times[i]]), method="midpoint")[-1]
                y = torch.where(seen, moved, y)
            x, m = values[:, i] * mask[:, i], mask[:, i].float()
            u, r = self.gates(torch.cat([y, s, x, m], 1)).chunk(2, 1)
            new = self.candidate(torch.cat([y * r, s * r, x, m], 1))
            new_y, new_s = new.chunk(2, 1)
            hit = mask[:, i].any(1, keepdim=True)
            y = torch.where(hit, (1 - u) * new_y + u * y, y)
            s = torch.where(hit, (1 - u) * new_s.abs() + u * s, s)
            seen, last = seen | hit, times[i]
        mean, raw = self.readout(torch.cat([y, s], 1)).chunk(2, 1)
        return mean, torch.nn.functional.softplus(raw) + 1e-6

    def loss(self, times, values, mask, noise):
        mean, std = self.encode(times, values, mask)
        z = odeint(self.field, mean + std * noise, times, rtol=RTOL, atol=ATOL, method="dopri5")
        error = (self.decoder(z).transpose(0, 1) - values) / NOISE
        log_x = -(error**2) / 2 - math.log(NOISE * math.sqrt(2 * math.pi))
        kl = ((mean**2 + std**2 - 1) / 2 - torch.log(std)).sum(1)
        return (kl - (log_x * mask).sum((1, 2))).mean()


def training_step(model, batch) -> tuple[Callable[[], float], Callable[[], float]]:
    """A step with Adamax, and the loss at the weights as they are."""
    net = LatentODE(model)
    tensors = [torch.from_numpy(a) for a in batch]
    optimiser = torch.optim.Adamax(net.parameters(), lr=LEARNING_RATE)

    def step() -> float:
        optimiser.zero_grad()
        loss = net.loss(*tensors)
        loss.backward()
        optimiser.step()
        return loss.item()

    return step, lambda: net.loss(*tensors).item()
