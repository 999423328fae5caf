"""FIDO in PyTorch, by the same rules, and the convolutional net that both explain."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional


class Net(torch.nn.Module):
    """Two 3 x 3 convolutions, the second in steps of 2, and two dense layers."""

    def __init__(self, weights: Sequence[np.ndarray]):
        super().__init__()
        as_parameter = lambda w: torch.nn.Parameter(torch.tensor(np.array(w)))
        self.weights = torch.nn.ParameterList(map(as_parameter, weights))
        self.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b, c, d, e, f, g, h = self.weights
        x = torch.relu(functional.conv2d(x, a, b, padding=1))
        x = torch.relu(functional.conv2d(x, c, d, padding=1, stride=2))
        return functional.linear(torch.relu(functional.linear(x.flatten(1), e, f)), g, h)


class Gaussian:
    """Each pixel given the others that are kept, drawn, for many masks."""

    def __init__(self, mean: np.ndarray, factors: np.ndarray, noise: np.ndarray):
        flat = lambda a, *lead: torch.tensor(np.array(a)).reshape(*lead, -1)
        self.mean, self.noise = flat(mean), flat(noise)
        self.factors = flat(factors, len(factors))

    def __call__(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        n, rank = len(keep), len(self.factors)
        precision, off = keep.reshape(n, -1) / self.noise, x.reshape(-1) - self.mean
        inner = (self.factors * precision[:, None]) @ self.factors.T + torch.eye(rank)
        root = torch.linalg.cholesky(inner)
        whitened = torch.linalg.solve_triangular(root, self.factors.expand(n, -1, -1), upper=False)
        share = (whitened**2).sum(1)
        fitted = (whitened.mT @ (whitened @ (precision * off)[..., None]))[..., 0]
        others = (1 - precision * share).clamp(min=1e-6)
        found = self.mean + (fitted - precision * share * off) / others
        latent = (torch.randn(rank) @ whitened) / others.sqrt()
        found = found + latent + self.noise.sqrt() * torch.randn(self.noise.shape)
        return found.reshape(n, *x.shape)


def grey(x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """One level."""
    return torch.full((len(keep), *x.shape), 0.5)


def log_odds(net: torch.nn.Module, images: torch.Tensor, target: int) -> torch.Tensor:
    """Of a class."""
    rows = net(images)
    others = torch.cat([rows[:, :target], rows[:, target + 1 :]], 1)
    return rows[:, target] - others.logsumexp(1)


def fido(
    net: torch.nn.Module, x: torch.Tensor, target: int, infill: object, *, steps: int, samples: int,
    weight: float,
) -> torch.Tensor:  # fmt: skip
    """The probability to remove each pixel; what destroys the class."""
    theta = torch.zeros(x.shape[1:], requires_grad=True)
    adam = torch.optim.Adam([theta], lr=60 / steps)
    decay = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, steps)
    for _ in range(steps):
        u = torch.rand(samples, 1, *theta.shape)
        z = torch.sigmoid((theta + torch.logit(u, eps=1e-6)) / 0.1)
        with torch.no_grad():
            behind = infill(x, (z > 0.5).to(x.dtype))  # pyrefly: ignore
        value = log_odds(net, z * x + (1 - z) * behind, target).mean()
        loss = value + weight * torch.sigmoid(-theta).sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
        decay.step()
    return torch.sigmoid(-theta.detach())


def sweep(net: torch.nn.Module, images: torch.Tensor, target: int, steps: int) -> torch.Tensor:
    """The classifier's gradients alone, as often as a search asks for them."""
    for _ in range(steps):
        x = images.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(log_odds(net, x, target).sum(), x)
        images = images + 1e-9 * slope
    return images
