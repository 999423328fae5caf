"""One hypergradient in PyTorch: by Betty's series, and through steps by TorchOpt and by higher."""

import types
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional

Arrays = Sequence[np.ndarray]
Batch = tuple[np.ndarray, np.ndarray]


class Problem:
    """A tanh network with a log-decay for each of its weights."""

    def __init__(self, weights: Arrays, decays: Arrays, train: Batch, validation: Batch):
        self.weights = [torch.tensor(w, requires_grad=True) for w in weights]
        self.decays = [torch.tensor(d, requires_grad=True) for d in decays]
        self.train, self.validation = (
            (torch.tensor(x), torch.tensor(y, dtype=torch.int64)) for x, y in (train, validation)
        )

    def logits(self, weights: Sequence[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        *hidden, last = zip(weights[::2], weights[1::2], strict=True)
        for weight, bias in hidden:
            x = torch.tanh(functional.linear(x, weight, bias))
        return functional.linear(x, *last)

    def inner(self, weights: Sequence[torch.Tensor]) -> torch.Tensor:
        x, y = self.train
        decays = zip(self.decays, weights, strict=True)
        penalty = sum((torch.exp(d) * w**2).sum() for d, w in decays) / 2
        return functional.cross_entropy(self.logits(weights, x), y) + penalty

    def outer(self, weights: Sequence[torch.Tensor]) -> torch.Tensor:
        x, y = self.validation
        return functional.cross_entropy(self.logits(weights, x), y)

    def gradient(self) -> torch.Tensor:
        """A plain gradient of the inner loss."""
        return torch.autograd.grad(self.inner(self.weights), self.weights)[0]

    def by_hand(self, terms: int, step_size: float) -> list[torch.Tensor]:
        """The series, as one writes it."""
        left = list(torch.autograd.grad(self.outer(self.weights), self.weights))
        gradient = torch.autograd.grad(self.inner(self.weights), self.weights, create_graph=True)
        total = list(left)
        for _ in range(terms):
            product = torch.autograd.grad(gradient, self.weights, left, retain_graph=True)
            left = [v - step_size * p for v, p in zip(left, product, strict=True)]
            total = [t + v for t, v in zip(total, left, strict=True)]
        total = [step_size * t for t in total]
        return [-g for g in torch.autograd.grad(gradient, self.decays, total)]

    def by_betty(self, terms: int, step_size: float) -> list[torch.Tensor]:
        """`betty.hypergradient.neumann`."""
        from betty.hypergradient.neumann import neumann

        config = types.SimpleNamespace(neumann_iterations=terms, neumann_alpha=step_size)
        lower = types.SimpleNamespace(
            paths=[],
            config=config,
            cur_batch=None,
            training_step_exec=lambda batch: self.inner(self.weights),
            trainable_parameters=lambda: self.weights,
        )
        upper = types.SimpleNamespace(trainable_parameters=lambda: self.decays)
        vector = torch.autograd.grad(self.outer(self.weights), self.weights)
        return list(neumann(vector, lower, upper))

    def by_torchopt(self, steps: int, step_size: float) -> list[torch.Tensor]:
        """Through steps of `torchopt.sgd`."""
        import torchopt

        optimiser = torchopt.sgd(lr=step_size)
        weights = tuple(self.weights)
        state = optimiser.init(weights)
        for _ in range(steps):
            slopes = torch.autograd.grad(self.inner(weights), weights, create_graph=True)
            updates, state = optimiser.update(slopes, state, inplace=False)
            weights = torchopt.apply_updates(weights, updates, inplace=False)
        return list(torch.autograd.grad(self.outer(weights), self.decays))

    def by_higher(self, steps: int, step_size: float) -> list[torch.Tensor]:
        """Through steps of `higher`'s differentiable SGD."""
        import higher

        net = _Net(self)
        plain = torch.optim.SGD(net.parameters(), lr=step_size)
        with warnings.catch_warnings(), higher.innerloop_ctx(net, plain) as (functional_net, opt):
            warnings.simplefilter("ignore")
            for _ in range(steps):
                opt.step(self.inner(list(functional_net.parameters())))
            outer = self.outer(list(functional_net.parameters()))
            return list(torch.autograd.grad(outer, self.decays))


class _Net(torch.nn.Module):
    def __init__(self, problem: Problem):
        super().__init__()
        self.held = torch.nn.ParameterList(w.detach().clone() for w in problem.weights)

    def forward(self) -> None:
        """`higher` moves the parameters; who calls reads them."""


def numbers(
    call: Callable[[int, float], list[torch.Tensor]], count: int, step_size: float
) -> list[np.ndarray]:
    """What a rival gives, to be compared."""
    return [g.detach().numpy() for g in call(count, step_size)]
