"""The problem of the recipe `hypernet-hpo`: a linear model of digits, whose best response is known.

Squared error on one-hot classes with a decay for every weight is ridge regression, class by class,
so what training would come to in the end is a linear system, and every claim has a true value.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.bilevel import AbstractResponse
from pullback.data import Split

CLASSES = 10
Rows = tuple[Float[Array, "n dim"], Float[Array, "n classes"]]


class Problem(NamedTuple):
    """Pixels with a column of ones, and one-hot classes."""

    train: Rows
    validation: Rows
    test: Rows

    @property
    def dim(self) -> int:
        return self.train[0].shape[1]


def problem_of(images: Split, train_rows: int, validation_rows: int) -> Problem:
    """The first images to train on, the next to tune on, and those of the test set."""

    def rows(x: np.ndarray, y: np.ndarray) -> Rows:
        flat = x.reshape(len(x), -1)
        pixels = np.concatenate([flat, np.ones((len(x), 1), flat.dtype)], axis=1)
        return jnp.asarray(pixels, float), jnp.asarray(np.eye(CLASSES)[y], float)

    last = train_rows + validation_rows
    train, test = images
    return Problem(
        rows(train.x[:train_rows], train.y[:train_rows]),
        rows(train.x[train_rows:last], train.y[train_rows:last]),
        rows(test.x, test.y),
    )


def regression(seed: int) -> Problem:
    """Forty rows of eight columns and one target, half of whose variance and more is signal."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(8, 1))

    def rows(count: int) -> Rows:
        x = rng.normal(size=(count, 8))
        return jnp.asarray(x, float), jnp.asarray(x @ true + rng.normal(size=(count, 1)), float)

    return Problem(rows(40), rows(200), rows(200))


def outer(
    weights: Float[Array, "dim classes"], hyper: Array, batch: Rows, *, key: PRNGKeyArray | None
) -> tuple[Array, dict[str, Array]]:
    """Half the squared error."""
    x, y = batch
    return jnp.mean(jnp.sum((x @ weights - y) ** 2, axis=1)) / 2, {}


def inner(
    weights: Float[Array, "dim classes"], hyper: Array, batch: Rows, *, key: PRNGKeyArray | None
) -> tuple[Array, dict[str, Array]]:
    """Half the squared error, and half the squared weights by their decays.

    `hyper` are log-decays: one, `[classes]` or `[dim, classes]`.
    """
    error, _ = outer(weights, hyper, batch, key=key)
    decays = jnp.broadcast_to(jnp.exp(hyper), weights.shape)
    return error + jnp.sum(decays * weights**2) / 2, {}


class ExactResponse(AbstractResponse):
    """What training comes to in the end: the solution of ridge regression."""

    centre: Float[Array, "*hyper"]
    train: Rows

    def __call__(self, hyper: Float[Array, "*hyper"]) -> Float[Array, "dim classes"]:
        x, y = self.train
        square, target = x.T @ x / len(x), x.T @ y / len(x)
        decays = jnp.broadcast_to(jnp.exp(hyper), target.shape)
        # Of unit diagonal: a weight may have a decay of e^-10 beside one of e^5.
        scale = 1 / jnp.sqrt(jnp.diag(square)[:, None] + decays)

        def solve(decay: Array, scale: Array, target: Array) -> Array:
            matrix = scale[:, None] * (square + jnp.diag(decay)) * scale[None]
            return scale * jnp.linalg.solve(matrix, scale * target)

        return jax.vmap(solve, in_axes=1, out_axes=1)(decays, scale, target)

    def recentred(self, hyper: Float[Array, "*hyper"]) -> "ExactResponse":
        return eqx.tree_at(lambda r: r.centre, self, hyper)


@eqx.filter_jit
def outer_losses(
    response: AbstractResponse, hypers: Float[Array, "hypers *hyper"], rows: Rows
) -> Float[Array, " hypers"]:
    """The loss on some rows of what a response gives, at many hyperparameters."""
    loss = lambda hyper: outer(response(hyper), hyper, rows, key=None)[0]
    return jax.lax.map(loss, hypers, batch_size=64)


@eqx.filter_jit
def end_losses(hyper: Float[Array, "dim classes"], problem: Problem) -> dict[str, Float[Array, ""]]:
    """The losses on the held-out images once training has come to its end."""
    weights = ExactResponse(hyper, problem.train)(hyper)
    return {
        name: outer(weights, hyper, rows, key=None)[0]
        for name, rows in (("validation", problem.validation), ("test", problem.test))
    }
