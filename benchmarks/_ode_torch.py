"""The rivals written in PyTorch: torchdiffeq and torchode."""

from collections.abc import Callable
from typing import Any

import torch
import torchode
from torchdiffeq import odeint, odeint_adjoint

from _ode_jax import Rival
from _ode_problem import TOLERANCE, Size, problem


class Field(torch.nn.Module):
    """The same network as `_ode_problem.field`, counting its calls."""

    def __init__(self, layers):
        super().__init__()
        self.calls = 0
        modules: list[torch.nn.Module] = []
        for weight, bias in layers:
            linear = torch.nn.Linear(*weight.shape)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(weight.T))
                linear.bias.copy_(torch.from_numpy(bias))
            modules += [linear, torch.nn.Tanh()]
        self.network = torch.nn.Sequential(*modules[:-1])

    def forward(self, t, y):
        self.calls += 1
        return self.network(y)


def torch_rival(solve: Callable[..., Any], size: Size) -> Rival:
    """A rival from `solve(field, y0) -> y1 [batch, state], (accepted, rejected) or None`."""
    layers, start = problem(size)
    field, y0 = Field(layers), torch.from_numpy(start).requires_grad_()
    inputs = [*field.parameters(), y0]

    def run():
        y1, _ = solve(field, y0)
        return torch.autograd.grad((y1**2).mean(), inputs)

    field.calls = 0
    y1, counts = solve(field, y0)
    nfe = field.calls
    # torchdiffeq counts nothing: six evaluations a step, and two to choose the first step size.
    accepted, rejected = counts or ((nfe - 2) // 6, 0)
    gradient = [g.numpy().T if g.ndim == 2 else g.numpy() for g in run()[:-1]]
    return Rival(run, y1.detach().numpy(), gradient, nfe, accepted, rejected)


def torchdiffeq_solve(method: Callable[..., Any]) -> Callable[..., Any]:
    """`odeint`, back-propagation through the steps, or `odeint_adjoint`, the continuous adjoint."""

    def solve(field, y0):
        times = torch.tensor([0.0, 1.0])
        ys = method(field, y0, times, rtol=TOLERANCE, atol=TOLERANCE, method="dopri5")
        return ys[-1], None

    return solve


def torchode_solve(field, y0):
    """`torchode.AutoDiffAdjoint`: every sample has its own step size.

    Not compiled: `torch.compile(solver)`, as in its README, leaves `solver.solve` as it was, and
    `torch.jit.script` ends in an internal error of PyTorch 2.13. As in the other rivals, the
    gradient does not run through the choice of step sizes.
    """
    term = torchode.ODETerm(field)
    controller = torchode.IntegralController(atol=TOLERANCE, rtol=TOLERANCE, term=term)
    solver = torchode.AutoDiffAdjoint(
        torchode.Dopri5(term=term), controller, backprop_through_step_size_control=False
    )
    zeros = torch.zeros(len(y0))
    solution = solver.solve(
        torchode.InitialValueProblem(y0=y0, t_start=zeros, t_end=torch.ones_like(zeros))
    )
    steps, accepted = solution.stats["n_steps"], solution.stats["n_accepted"]
    return solution.ys[:, -1], (int(accepted.max()), int((steps - accepted).max()))


TORCH_SOLVES = {
    "torchdiffeq odeint_adjoint": torchdiffeq_solve(odeint_adjoint),
    "torchdiffeq odeint": torchdiffeq_solve(odeint),
    "torchode": torchode_solve,
}
