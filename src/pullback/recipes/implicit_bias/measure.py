"""An outer problem with many solutions, and which of them a truncated series comes to."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.bilevel import Implicit, Neumann, tune

# Weights, hyperparameters and targets of a problem; the smallest curvature of its inner loss, of
# which the largest is one.
_WEIGHTS, _NUMBERS, _TARGETS, _LEAST = 6, 10, 3, 0.2


class Quadratic(eqx.Module):
    """Weights that follow the hyperparameters, and targets that are fewer than those.

    The inner loss is (w - B u)' M (w - B u) / 2 and the outer one |C w - t|^2 / 2.
    """

    m: Float[Array, "d d"]
    b: Float[Array, "d q"]
    c: Float[Array, "k d"]
    t: Float[Array, " k"]

    def inner(
        self, w: Array, u: Array, batch: None, *, key: PRNGKeyArray
    ) -> tuple[Array, dict[str, Array]]:
        """What training makes small."""
        left = w - self.b @ u
        return left @ self.m @ left / 2, {}

    def outer(
        self, w: Array, u: Array, batch: None, *, key: PRNGKeyArray
    ) -> tuple[Array, dict[str, Array]]:
        """What the hyperparameters make small."""
        return jnp.sum(jnp.square(self.c @ w - self.t)) / 2, {}


def problem(seed: int) -> Quadratic:
    """A problem drawn by a seed, scaled so that steps of one are stable in both losses."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(_WEIGHTS, _WEIGHTS)))[0]
    m = turn @ np.diag(np.geomspace(_LEAST, 1, _WEIGHTS)) @ turn.T
    b, c = rng.normal(size=(_WEIGHTS, _NUMBERS)), rng.normal(size=(_TARGETS, _WEIGHTS))
    c /= np.linalg.norm(c @ b, 2)
    return Quadratic(*map(jnp.asarray, (m, b, c, rng.normal(size=_TARGETS))))


def closed_form(of: Quadratic, terms: int) -> np.ndarray:
    """Where gradient descent from zero comes to: B' G C' (C B B' G C')^-1 t, G the series' gain."""
    m, b, c, t = (np.asarray(each) for each in (of.m, of.b, of.c, of.t))
    gain = np.eye(len(m)) - np.linalg.matrix_power(np.eye(len(m)) - m, terms + 1)
    back = b.T @ gain @ c.T
    return back @ np.linalg.solve(c @ b @ back, t)


def least(of: Quadratic) -> np.ndarray:
    """The smallest of all solutions."""
    return np.linalg.pinv(np.asarray(of.c @ of.b)) @ np.asarray(of.t)


def outer_bias(terms: Sequence[int], steps: int, seeds: Sequence[int]) -> dict[str, Any]:
    """Norms of the outer solutions, `[seed, terms]`, in units of the smallest; in float64."""
    with jax.enable_x64(True):
        found = [[_found(problem(seed), count, steps) for count in terms] for seed in seeds]
    return {name: np.array([[one[name] for one in row] for row in found]) for name in found[0][0]}


def _found(of: Quadratic, terms: int, steps: int) -> dict[str, float]:
    _, u, info = tune(
        jnp.zeros(_WEIGHTS), jnp.zeros(_NUMBERS), of.inner, of.outer, None, None,
        optimiser=optax.sgd(1.0), hyper_optimiser=optax.sgd(1.0),
        method=Implicit(Neumann(terms, 1.0)), inner_steps=100, outer_steps=steps, log_every=steps,
        progress=False, key=jax.random.key(0),
    )  # fmt: skip
    want, size = closed_form(of, terms), float(np.linalg.norm(least(of)))
    return {
        "norm": float(jnp.linalg.norm(u)) / size,
        "expected": float(np.linalg.norm(want)) / size,
        "error": float(np.linalg.norm(np.asarray(u) - want)) / size,
        "outer": float(info.history["outer"][-1]),
    }
