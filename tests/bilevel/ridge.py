"""Ridge regression with a decay for each weight: everything about it has a closed form."""

import jax
import jax.numpy as jnp
import numpy as np

N, M, D = 40, 30, 12


def _data():
    rng = np.random.default_rng(0)
    true = rng.normal(size=D)
    x, x_v = rng.normal(size=(N, D)), rng.normal(size=(M, D))
    y, y_v = x @ true + rng.normal(size=N), x_v @ true + rng.normal(size=M)
    return (x, y), (x_v, y_v)


TRAIN, VALIDATION = _data()
HYPER = np.random.default_rng(1).normal(size=D)


def inner(w, hyper, batch, *, key):
    x, y = batch
    penalty = jnp.sum(jnp.exp(hyper) * w**2) / 2
    return jnp.sum((x @ w - y) ** 2) / (2 * len(y)) + penalty, {}


def outer(w, hyper, batch, *, key):
    x, y = batch
    return jnp.sum((x @ w - y) ** 2) / (2 * len(y)), {"error": jnp.sum((x @ w - y) ** 2)}


def hessian(hyper=HYPER):
    x, _ = TRAIN
    return x.T @ x / N + np.diag(np.exp(hyper))


def solution(hyper=HYPER):
    x, y = TRAIN
    return np.linalg.solve(hessian(hyper), x.T @ y / N)


def solved(hyper):
    """The solution, for JAX to differentiate."""
    x, y = TRAIN
    return jnp.linalg.solve(x.T @ x / N + jnp.diag(jnp.exp(hyper)), x.T @ y / N)


def outer_slope(w):
    x, y = VALIDATION
    return x.T @ (x @ w - y) / M


def exact(hyper=HYPER):
    w = solution(hyper)
    return -np.exp(hyper) * w * np.linalg.solve(hessian(hyper), outer_slope(w))


def runs():
    """A function as it is, and compiled."""
    return [lambda f: f, jax.jit]
