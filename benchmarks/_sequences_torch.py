"""A Wasserstein GAN of sequences in PyTorch, by the same rules as the library's."""

from typing import Any

import numpy as np
import torch
from torch.nn import functional

RATE, BETAS, PENALTY = 1e-3, (0.5, 0.9), 10.0


class Players:
    """Both nets of the library's weights, channels first, with Adam, and a step of the game."""

    def __init__(self, generator: Any, critic: Any):
        self.length, self.latent = generator.length, generator.latent
        linear = lambda layer: [_tensor(layer.weight), _tensor(layer.bias)]
        blocks = lambda net: [_conv(c) for b in net.blocks for c in (b.first, b.second)]
        self.generator = [linear(generator.first), *blocks(generator), _conv(generator.last)]
        self.critic = [_conv(critic.first), *blocks(critic), linear(critic.last)]
        adam = lambda net: torch.optim.Adam(_weights(net), lr=RATE, betas=BETAS)
        self.adams = adam(self.generator), adam(self.critic)

    def make(self, z: torch.Tensor) -> torch.Tensor:
        first, *inner, last = self.generator
        h = functional.linear(z, *first).reshape(len(z), self.length, -1).transpose(1, 2)
        return torch.softmax(functional.conv1d(_body(inner, h), *last), dim=1)

    def judge(self, x: torch.Tensor) -> torch.Tensor:
        first, *inner, last = self.critic
        h = _body(inner, functional.conv1d(x, *first))
        return functional.linear(h.transpose(1, 2).flatten(1), *last)[:, 0]

    def critic_loss(
        self, real: torch.Tensor, fake: torch.Tensor, share: torch.Tensor
    ) -> torch.Tensor:
        between = (share * real + (1 - share) * fake).requires_grad_()
        [slope] = torch.autograd.grad(self.judge(between).sum(), between, create_graph=True)
        norm = torch.sqrt(slope.square().sum((1, 2)) + 1e-12)
        values = self.judge(torch.cat([real, fake]))
        left, right = values.chunk(2)
        return right.mean() - left.mean() + PENALTY * (norm - 1).square().mean()

    def step(self, batches: torch.Tensor) -> None:
        """A step of the critic for each batch, and one of the generator."""
        for real in batches:
            with torch.no_grad():
                fake = self.make(torch.randn(len(real), self.latent))
            self.adams[1].zero_grad()
            self.critic_loss(real, fake, torch.rand(len(real), 1, 1)).backward()
            self.adams[1].step()
        self.adams[0].zero_grad()
        for weight in _weights(self.critic):
            weight.requires_grad_(False)
        (-self.judge(self.make(torch.randn(len(batches[0]), self.latent))).mean()).backward()
        for weight in _weights(self.critic):
            weight.requires_grad_(True)
        self.adams[0].step()


def _body(convs: list, h: torch.Tensor) -> torch.Tensor:
    for first, second in zip(convs[::2], convs[1::2], strict=True):
        inner = functional.conv1d(torch.relu(h), *first, padding=2)
        h = h + 0.3 * functional.conv1d(torch.relu(inner), *second, padding=2)
    return h


def _weights(net: list[list[torch.Tensor]]) -> list[torch.Tensor]:
    return [weight for layer in net for weight in layer]


def _conv(layer: Any) -> list[torch.Tensor]:
    return [_tensor(np.transpose(layer.weight, (2, 1, 0))), _tensor(layer.bias)]


def _tensor(array: Any) -> torch.Tensor:
    return torch.tensor(np.ascontiguousarray(array), requires_grad=True)
