"""The toy of the recipe `relax`: one coin, and a loss that hardly depends on it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro.distributions as dist
import optax
from jaxtyping import Array, PRNGKeyArray

from pullback.sampling import (
    AbstractEstimator,
    NeuralControlVariate,
    Relax,
    ScoreFunction,
    grad_stats,
    rebar,
    value_and_grad,
)

ESTIMATORS = ("reinforce", "rebar", "relax")


def estimator_of(name: str, key: PRNGKeyArray) -> AbstractEstimator:
    """The toy's three estimators; the surrogate of RELAX is the paper's 1-10-1 network."""
    if name == "reinforce":
        return ScoreFunction()
    if name == "rebar":
        return rebar(eta=1.0, temperature=0.5)
    net = eqx.nn.MLP(1, "scalar", 10, 1, jnp.tanh, key=key)
    return Relax(NeuralControlVariate(net, temperature=0.5))


def toy(
    name: str, target: float, steps: int, every: int, rate: float, draws: int, seeds: list[int]
) -> dict[str, Any]:
    """Train all seeds in one program: theta and the gradient's variance along the way.

    The variance is that of one gradient at each run's own logit and control variate.
    """
    integrand = lambda b, q: jnp.square(b.astype(q.logits.dtype) - target)
    family = lambda logit: dist.BernoulliLogits(logit)
    adam = optax.adam(rate)

    def run(seed: Array) -> dict[str, Array]:
        net_key, key = jr.split(jr.key(seed))
        both = jnp.zeros(()), estimator_of(name, net_key)
        params, rest = eqx.partition(both, eqx.is_inexact_array)

        def step(carry: tuple, key: PRNGKeyArray) -> tuple[tuple, None]:
            params, state = carry
            logit, estimator = eqx.combine(params, rest)
            found = value_and_grad(integrand, family, estimator=estimator)(logit, key=key)
            updates, state = adam.update((found.params, found.estimator), state)
            return (eqx.apply_updates(params, updates), state), None

        def chunk(carry: tuple, key: PRNGKeyArray) -> tuple[tuple, dict[str, Array]]:
            step_key, stats_key = jr.split(key)
            carry, _ = jax.lax.scan(step, carry, jr.split(step_key, every))
            logit, estimator = eqx.combine(carry[0], rest)
            loss = lambda x, *, key: estimator(integrand, family(x), key[None], None)
            stats = grad_stats(loss, logit, jr.split(stats_key, draws))
            theta = jax.nn.sigmoid(logit)
            exact = theta * (1 - target) ** 2 + (1 - theta) * target**2
            return carry, {"theta": theta, "loss": exact, "variance": stats.variance}

        _, rows = jax.lax.scan(chunk, (params, adam.init(params)), jr.split(key, steps // every))
        return rows

    rows = jax.jit(jax.vmap(run))(jnp.asarray(seeds))
    return {"step": [every * (i + 1) for i in range(steps // every)], **rows}
