"""How far truncated inverses are off, and what a step with a hypergradient costs."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from pullback import data
from pullback.bilevel import (
    AbstractHypergradient,
    AbstractInverse,
    ConjugateGradient,
    Identity,
    Implicit,
    InverseProduct,
    Neumann,
    Unrolled,
    hypergradient,
)
from pullback.recipes._kit.double import double
from pullback.recipes.ift_hypergradient.models import (
    HOW_MANY,
    Config,
    apart,
    decayed,
    log_decays,
    network,
    outer,
)

# Rows for training and for validation of the ridge regression.
_ROWS = 300


class Ridge(NamedTuple):
    """Rows and targets of a least-squares problem."""

    x: Float[Array, "n d"]
    y: Float[Array, " n"]


@jax.jit
def _known(train: Ridge, held: Ridge, logs: Array) -> tuple[Array, Array, Array]:
    """The solution, the exact hypergradient by the log-decays, and the eigenvalues."""
    hessian = train.x.T @ train.x / len(train.x) + jnp.diag(jnp.exp(logs))
    w = jnp.linalg.solve(hessian, train.x.T @ train.y / len(train.x))
    slope = held.x.T @ (held.x @ w - held.y) / len(held.x)
    exact = -jnp.exp(logs) * w * jnp.linalg.solve(hessian, slope)
    return w, exact, jnp.linalg.eigvalsh(hessian)


def fitted(w: Array, logs: Array, batch: Ridge, *, key: PRNGKeyArray) -> tuple[Array, dict]:
    """The inner loss: squares and the decay of each weight."""
    decay = jnp.sum(jnp.exp(logs) * w**2) / 2
    return jnp.sum(jnp.square(batch.x @ w - batch.y)) / 2 / len(batch.x) + decay, {}


def judged(w: Array, logs: Array, batch: Ridge, *, key: PRNGKeyArray) -> tuple[Array, dict]:
    """The outer loss: squares."""
    return jnp.sum(jnp.square(batch.x @ w - batch.y)) / 2 / len(batch.x), {}


def inverses(terms: Sequence[int], seed: int) -> dict[str, Any]:
    """Relative errors and cosines of hypergradients, by inverse and length; in float64.

    The problem is a ridge regression of the digits' values by their pixels, at its solution, with
    all log-decays at -1.
    """
    parts = apart(data.digits(), seed, _ROWS, _ROWS)[:2]
    with jax.enable_x64(True):
        train, held = (Ridge(*double((x, (y - 4.5) / 3))) for x, y in parts)
        # Alike, so that some direction of nearly the least curvature is always in it.
        logs = jnp.full(train.x.shape[1], -1.0)
        w, exact, spectrum = _known(train, held, logs)
        step, rate = float(1 / spectrum[-1]), float(np.log1p(-spectrum[0] / spectrum[-1]))

        def of(method: AbstractHypergradient) -> tuple[Any, Any]:
            with warnings.catch_warnings():
                # A first step of conjugate gradients may leave more than there was.
                warnings.simplefilter("ignore", UserWarning)
                found = hypergradient(
                    fitted, judged, w, logs, train, held, method=method, key=jr.key(0)
                )
            found = np.asarray(found.gradient)
            want = np.asarray(exact)
            size = np.linalg.norm(want)
            return np.linalg.norm(found - want) / size, found @ want / size / np.linalg.norm(found)

        sgd = optax.sgd(step)
        rows: dict[str, Callable[[int], AbstractHypergradient]] = {
            "Neumann, K terms": lambda k: Implicit(Neumann(k, step)),
            "unrolled, K + 1 steps": lambda k: Unrolled(k + 1, sgd),
            "conjugate gradients, K + 1 steps": lambda k: Implicit(ConjugateGradient(k + 1, 0.0)),
        }
        found = {name: np.array([of(make(k)) for k in terms]) for name, make in rows.items()}
        identity = np.array([of(Implicit(Identity(step)))] * len(terms))
        # Between lengths whose error is past the start, and above what float64 leaves.
        error = found["Neumann, K terms"][:, 0]
        last = np.flatnonzero(error > 1e-9)[-1]
        slope = np.log(error[last] / error[last - 1]) / (terms[last] - terms[last - 1])
    return {"found": {**found, "identity": identity}, "slope": float(slope), "rate": rate}


class _Unlooped(AbstractInverse):
    """Neumann's series without its loop, whose operations the compiler counts but once."""

    terms: int = eqx.field(static=True)
    step_size: float = eqx.field(static=True)

    def __call__(
        self, product: Callable[[PyTree], PyTree], vector: PyTree, *, key: PRNGKeyArray
    ) -> InverseProduct:
        left = total = vector
        for _ in range(self.terms):
            left = jax.tree.map(lambda v, hv: v - self.step_size * hv, left, product(left))
            total = optax.tree.add(total, left)
        return InverseProduct(optax.tree.scale(self.step_size, total), jnp.zeros(()))


def cost(config: Config, split: data.Split, seed: int) -> dict[str, float]:
    """What a product, a hypergradient of the decays and a joint step cost, in gradients.

    By the operations that the compiler counts; `memory` and `unrolled` by its bytes beyond inputs
    and outputs, of a hypergradient by the series and through as many steps.
    """
    train, validation, _ = apart(split, seed, config.few, config.few)
    model = network(train[0].shape[1], config.width, key=jr.key(seed))
    hyper, key = log_decays(model, HOW_MANY[0]), jr.key(0)

    def gradient(model: eqx.nn.MLP) -> PyTree:
        return eqx.filter_grad(lambda m: decayed(m, hyper, train, key=key)[0])(model)

    def by(method: AbstractHypergradient) -> Callable[[Any], PyTree]:
        return lambda model: (
            hypergradient(
                decayed, outer, model, hyper, train, validation, method=method, key=key
            ).gradient
        )

    whole = lambda terms: _operations(by(Implicit(_Unlooped(terms, config.rate))), model)
    plain, none, one = _operations(gradient, model), whole(0), whole(1)
    series = Implicit(Neumann(config.terms, config.rate))
    unrolled = Unrolled(config.terms + 1, optax.sgd(config.rate))
    least = _memory(gradient, model)
    product = one - none
    hypergradients = none + config.terms * product
    return {
        "product": product / plain,
        "hypergradient": hypergradients / plain,
        "joint": 1 + hypergradients / plain / config.steps,
        "memory": _memory(by(series), model) / least,
        "unrolled": _memory(by(unrolled), model) / least,
    }


def _operations(function: Callable[[Any], Any], model: Any) -> float:
    return float(_program(function, model).cost_analysis()["flops"])


def _memory(function: Callable[[Any], Any], model: Any) -> float:
    return float(_program(function, model).memory_analysis().temp_size_in_bytes)


def _program(function: Callable[[Any], Any], model: Any) -> Any:
    arrays, rest = eqx.partition(model, eqx.is_array)
    return jax.jit(lambda arrays: function(eqx.combine(arrays, rest))).lower(arrays).compile()
