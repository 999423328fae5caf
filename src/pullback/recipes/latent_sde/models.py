"""The settings of the recipe `latent-sde`."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Config:
    system: Literal["points", "lorenz"] = "points"
    """Five points of a cosine, about which everything is known, or the stochastic Lorenz system.
    With --data it is people walking: the motion capture set mocap35, in the folder named."""
    seeds: int = 3
    """How many data sets of five points, each with a latent SDE and a latent ODE of its own."""
    iterations: int = 1500
    """Training steps on the five points."""
    learning_rate: float = 1e-2
    """Adam's learning rate at the start; it falls to zero along a cosine."""
    paths: int = 32
    """Paths in a training step on the five points."""
    scored: int = 4096
    """Paths by which trained models are measured; a multiple of every number of `importance`."""
    importance: tuple[int, ...] = (1, 8, 64, 512)
    """Numbers of paths of the importance-weighted bounds, rising, each a divisor of `scored`."""
    gradient_steps: tuple[int, ...] = (16, 64, 256)
    """Numbers of steps at which gradients are held against their closed form, rising."""
    gradient_draws: int = 20
    """Over how many draws of the paths the errors of gradients are averaged."""
    memory_steps: tuple[int, ...] = (64, 256, 1024)
    """Numbers of steps at which the memory of a gradient is measured, rising."""
    lorenz_series: int = 512
    """Series of the Lorenz system to train on; half as many are held out."""
    lorenz_iterations: int = 2000
    """Training steps on the Lorenz system."""
    lorenz_batch: int = 64
    """Series in a training step on the Lorenz system."""
    lorenz_width: int = 64
    """Hidden units of the Lorenz model's recurrent cell and of its nets."""
    walk_iterations: int = 300
    """The most training steps on the walks; a run ends when 100 have brought no better bound on
    the validation walks."""
    walk_steps: int = 1
    """Solver steps from one frame to the next; the paper takes 5."""
    walk_weights: tuple[float, ...] = (1.0, 0.1, 0.01, 0.001)
    """Weights of the KL that are tried on the walks; the validation walks choose."""
    walk_samples: int = 50
    """Predictions of each test walk."""

    def __post_init__(self):
        for name, least in (("seeds", 1), ("paths", 1), ("gradient_draws", 1), ("walk_samples", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("importance", "gradient_steps", "memory_steps"):
            row = getattr(self, name)
            if len(row) < 2 or sorted(set(row)) != [*row]:
                raise ValueError(f"{name} must be two or more, rising, got {row}")
        if not self.walk_weights or min(self.walk_weights) <= 0:
            raise ValueError(f"walk_weights must be positive, got {self.walk_weights}")
        if any(self.scored % k for k in self.importance):
            raise ValueError(f"importance must be divisors of {self.scored}, got {self.importance}")
