"""The settings of the recipe `sde-bnn`."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Config:
    net: Literal["mlp", "conv"] = "mlp"
    """Fully connected (MNIST's pixels are then averaged in blocks of 2 x 2), or convolutions."""
    examples: int = 300
    """Training images of each seed, drawn anew."""
    seeds: int = 3
    """How many networks of each kind are trained."""
    sigmas: tuple[float, ...] = (0.1, 0.3, 0.6, 1.0)
    """Diffusions of the weights; each trains networks of its own."""
    sigma: float = 0.3
    """The diffusion, one of `sigmas`, that is measured further and that most claims are about."""
    kappa: float = 1.0
    """The weight of the KL; 1 is the true evidence lower bound, the paper has 0.001."""
    members: int = 5
    """Networks of an ensemble; the deterministic network is one of them."""
    iterations: int = 1500
    """Training steps of a classifier."""
    batch_size: int = 100
    """Images in a training step."""
    learning_rate: float = 3e-3
    """Adam's learning rate at the start, for classifiers; it falls on a cosine."""
    dim: int = 16
    """Size of the state, or channels of it."""
    width: int = 24
    """Hidden units of the field of an mlp."""
    solver_steps: int = 20
    """Euler steps in training."""
    paths: int = 32
    """Paths of the weights over which a prediction is averaged."""
    test_steps: tuple[int, ...] = (2, 5, 20, 60)
    """Steps with which the trained networks are run, rising."""
    toy_iterations: int = 1000
    """Training steps of the posterior with two modes."""
    toy_paths: int = 128
    """Paths in a training step of the posterior with two modes."""
    toy_steps: tuple[int, int] = (60, 240)
    """Euler steps with which the posterior with two modes is trained, and those with which it is
    scored, too."""
    toy_draws: int = 4096
    """Paths on which the posterior with two modes is scored."""
    estimator_steps: tuple[int, ...] = (50, 150, 400)
    """Euler steps at which the three gradients are compared, rising."""
    estimator_draws: int = 1500
    """Draws of each of the three gradients that are compared."""
    gap_iterations: int = 1000
    """Training steps of the regression with a gap."""

    def __post_init__(self):
        for name in (
            "examples", "seeds", "members", "iterations", "batch_size", "paths", "toy_iterations",
            "toy_paths", "toy_draws", "gap_iterations", "solver_steps",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if min(self.sigmas, default=0.0) <= 0 or self.sigma not in self.sigmas:
            raise ValueError(
                f"sigmas must be positive and sigma one of them, got {self.sigmas} and {self.sigma}"
            )
        for name in ("test_steps", "toy_steps", "estimator_steps"):
            steps = getattr(self, name)
            if len(steps) < 2 or sorted(steps) != [*steps]:
                raise ValueError(f"{name} must be two or more, rising, got {steps}")
        if self.estimator_draws < 2:
            raise ValueError(f"estimator_draws must be at least 2, got {self.estimator_draws}")
