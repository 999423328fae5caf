"""A GAN in PyTorch: plain, and looking ahead through steps by higher and by TorchOpt."""

import itertools
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

Arrays = Sequence[np.ndarray]
Tensors = Sequence[torch.Tensor]
RATE, BETAS, ROOT = 1e-4, (0.5, 0.999), 1e-14


def forward(weights: Tensors, x: torch.Tensor) -> torch.Tensor:
    """A ReLU network, given as weights and biases."""
    *hidden, last = zip(weights[::2], weights[1::2], strict=True)
    for weight, bias in hidden:
        x = torch.relu(functional.linear(x, weight, bias))
    return functional.linear(x, *last)


def value(discriminator: Tensors, x: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Of the game: the discriminator makes it large."""
    real, made = forward(discriminator, x / 4), forward(discriminator, fake / 4)
    return -functional.softplus(-real).mean() - functional.softplus(made).mean()


class Players:
    """Both networks with Adam, which step at once."""

    def __init__(self, generator: Arrays, discriminator: Arrays):
        made = lambda arrays: [torch.tensor(w, requires_grad=True) for w in arrays]
        self.generator, self.discriminator = made(generator), made(discriminator)
        adam = lambda weights: torch.optim.Adam(weights, lr=RATE, betas=BETAS)
        self.adams = adam(self.generator), adam(self.discriminator)
        self.net = _Net(self.discriminator)
        self.net_adam = adam(self.net.parameters())

    def draw(self, count: int) -> torch.Tensor:
        return torch.randn(count, self.generator[0].shape[1])

    def plain(self, x: torch.Tensor) -> None:
        """A step of the plain game, as one writes it."""
        fake = forward(self.generator, self.draw(len(x)))
        own = -value(self.discriminator, x, fake.detach())
        self.adams[1].zero_grad()
        own.backward()
        frozen = [w.detach() for w in self.discriminator]
        others = -functional.softplus(forward(frozen, fake / 4)).mean()
        self.adams[0].zero_grad()
        others.backward()
        for adam in self.adams:
            adam.step()

    def by_higher(self, x: torch.Tensor, z: torch.Tensor, steps: int) -> list[torch.Tensor]:
        """The generator's gradient through steps of `higher`'s differentiable Adam."""
        import higher

        fake = forward(self.generator, z)
        context = higher.innerloop_ctx(self.net, self.net_adam)
        with warnings.catch_warnings(), context as (net, adam):
            warnings.simplefilter("ignore")
            for _ in range(steps):
                adam.step(-value(list(net.parameters()), x, fake))
            ahead = value(list(net.parameters()), x, fake)
            return list(torch.autograd.grad(ahead, self.generator))

    def by_torchopt(self, x: torch.Tensor, z: torch.Tensor, steps: int) -> list[torch.Tensor]:
        """The same through steps of `torchopt.adam`."""
        import torchopt

        fake = forward(self.generator, z)
        optimiser = torchopt.adam(lr=RATE, betas=BETAS, eps_root=ROOT)
        weights = tuple(self.net.parameters())
        state = optimiser.init(weights)
        for _ in range(steps):
            own = -value(weights, x, fake)
            slopes = torch.autograd.grad(own, weights, create_graph=True)
            updates, state = optimiser.update(slopes, state, inplace=False)
            weights = torchopt.apply_updates(weights, updates, inplace=False)
        return list(torch.autograd.grad(value(weights, x, fake), self.generator))

    def ahead(self, way: str, x: torch.Tensor, steps: int) -> None:
        """A whole step: of the generator through those ahead, and one of the discriminator."""
        z = self.draw(len(x))
        gradient = getattr(self, way)(x, z, steps)
        for weight, slope in zip(self.generator, gradient, strict=True):
            weight.grad = slope
        self.adams[0].step()
        own = -value(list(self.net.parameters()), x, forward(self.generator, z).detach())
        self.net_adam.zero_grad()
        own.backward()
        self.net_adam.step()


class _Net(torch.nn.Module):
    def __init__(self, weights: Tensors):
        super().__init__()
        self.held = torch.nn.ParameterList(w.detach().clone() for w in weights)

    def forward(self) -> None:
        """`higher` moves the parameters; who calls reads them."""


def network(seed: int, *sizes: int) -> list[np.ndarray]:
    """Weights and biases, as `eqx.nn.Linear` and PyTorch keep them."""
    rng = np.random.default_rng(seed)
    found = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        found.append((rng.normal(size=(fan_out, fan_in)) / np.sqrt(fan_in)).astype(np.float32))
        found.append(np.zeros(fan_out, np.float32))
    return found
