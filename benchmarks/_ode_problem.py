"""The training step that every rival takes: a batch of small neural ODEs, and its true answer."""

from dataclasses import dataclass
from itertools import pairwise

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

TOLERANCE = 1e-5
GAIN = 2.5  # ten to fifteen steps of Dopri5 at this tolerance


@dataclass(frozen=True)
class Size:
    """How many samples, of how many numbers, through a network how wide."""

    batch: int
    state: int
    width: int

    def __str__(self) -> str:
        return f"({self.batch}, {self.state}, {self.width})"


SIZES = (Size(20, 2, 50), Size(512, 2, 64), Size(128, 64, 128), Size(1024, 64, 256))


@dataclass(frozen=True)
class Answer:
    """y(1), and the gradient of mean(y(1)^2) with respect to the parameters, in float64."""

    y1: np.ndarray
    gradient: np.ndarray

    def errors(self, y1, gradient) -> tuple[float, float]:
        """Largest error of y(1), and the gradient's error relative to its size."""
        flat = flatten(gradient)
        size = np.linalg.norm(self.gradient)
        return (
            float(np.abs(np.asarray(y1, np.float64) - self.y1).max()),
            float(np.linalg.norm(flat - self.gradient) / size),
        )


def problem(size: Size) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]:
    """Weights [in, out] and biases [out] of the three layers, and y0 [batch, state], in float32."""
    rng = np.random.default_rng(0)
    widths = (size.state, size.width, size.width, size.state)
    layers = [
        (
            (GAIN / np.sqrt(fan_in) * rng.standard_normal((fan_in, fan_out))).astype(np.float32),
            (0.1 * rng.standard_normal(fan_out)).astype(np.float32),
        )
        for fan_in, fan_out in pairwise(widths)
    ]
    return layers, rng.standard_normal((size.batch, size.state)).astype(np.float32)


def field(t, y, layers):
    """dy/dt: two tanh layers and a linear one; `y` is one sample or a batch."""
    for weight, bias in layers[:-1]:
        y = jnp.tanh(y @ weight + bias)
    weight, bias = layers[-1]
    return y @ weight + bias


def flatten(gradient) -> np.ndarray:
    """The gradient of the three layers, weights [in, out], as one float64 vector."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(gradient)]
    return np.concatenate([leaf.ravel() for leaf in leaves])


def reference(size: Size) -> Answer:
    """Dopri8 at tolerance 1e-12 in float64."""

    def loss(layers, y0):
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Dopri8(),
            0.0,
            1.0,
            None,
            y0,
            layers,
            stepsize_controller=diffrax.PIDController(rtol=1e-12, atol=1e-12),
        )
        assert solution.ys is not None
        y1 = solution.ys[0]
        return jnp.mean(y1**2), y1

    with jax.enable_x64(True):
        layers, y0 = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), problem(size))
        gradient, y1 = jax.jit(jax.grad(loss, has_aux=True))(layers, y0)
        return Answer(np.asarray(y1), flatten(gradient))
