"""The settings of the recipe `latent-sde`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
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
    """Numbers of steps at which gradients are compared with their closed form, rising."""
    gradient_draws: int = 20
    """Over how many draws of the paths the errors of gradients are averaged."""
    memory_steps: tuple[int, ...] = (64, 256, 1024)
    """Numbers of steps at which the memory of a gradient is measured, rising."""

    def __post_init__(self):
        for name, least in (("seeds", 1), ("paths", 1), ("gradient_draws", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("importance", "gradient_steps", "memory_steps"):
            row = getattr(self, name)
            if len(row) < 2 or sorted(set(row)) != [*row]:
                raise ValueError(f"{name} must be two or more, rising, got {row}")
        if any(self.scored % k for k in self.importance):
            raise ValueError(f"importance must be divisors of {self.scored}, got {self.importance}")
