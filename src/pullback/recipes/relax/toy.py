"""The toy of the recipe `relax`: one coin, and a loss that hardly depends on it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro.distributions as dist
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.recipes._kit.stack import made_stack
from pullback.sampling import (
    AbstractEstimator,
    NeuralControlVariate,
    Relax,
    ScoreFunction,
    expectation,
    grad_stats,
    rebar,
)
from pullback.train import JointLoss, fit

ESTIMATORS = ("reinforce", "rebar", "relax")


def estimator_of(name: str, key: PRNGKeyArray) -> AbstractEstimator:
    """The toy's three estimators; the surrogate of RELAX is the paper's 1-10-1 network."""
    if name == "reinforce":
        return ScoreFunction()
    if name == "rebar":
        return rebar(eta=1.0, temperature=0.5)
    net = eqx.nn.MLP(1, "scalar", 10, 1, jnp.tanh, key=key)
    return Relax(NeuralControlVariate(net, temperature=0.5))


class Coin(eqx.Module):
    """The loss of the toy, (b - t)^2 of a coin b, as a function of the coin's logit."""

    estimator: AbstractEstimator
    target: float = eqx.field(static=True)

    def __call__(
        self, logit: Float[Array, ""], batch: None, *, key: PRNGKeyArray
    ) -> tuple[Array, dict[str, Array]]:
        square = lambda b, q: jnp.square(b.astype(q.logits.dtype) - self.target)
        q = dist.BernoulliLogits(logit)
        return expectation(square, q, estimator=self.estimator, key=key), {}


def toy(
    name: str, target: float, steps: int, every: int, rate: float, draws: int, seeds: list[int]
) -> dict[str, Any]:
    """Train all seeds in one program: theta and the gradient's variance along the way.

    The variance is that of one gradient at each run's own logit and control variate.
    """
    keys = jax.vmap(jr.split)(jnp.stack([jr.key(seed) for seed in seeds]))
    logits = jnp.zeros(len(seeds))
    coin = Coin(made_stack(estimator_of, keys[:, 0], name), target)
    joint = None if name == "reinforce" else JointLoss(coin)

    def measured(model: Any, *, key: PRNGKeyArray) -> dict[str, Array]:
        logit, loss = (model, coin) if joint is None else (model[0], joint.at(model[1]))
        of = lambda logit, *, key: loss(logit, None, key=key)[0]
        variance = grad_stats(of, logit, jr.split(key, draws)).variance
        return {"theta": jax.nn.sigmoid(logit), "variance": variance}

    _, info = fit(
        logits if joint is None else (logits, joint.learned), coin if joint is None else joint,
        optimiser=optax.adam(rate), steps=steps, log_every=every, validation=measured,
        progress=False, key=keys[:, 1],
    )  # fmt: skip
    rows = {n: info.history[f"validation_{n}"].T for n in ("theta", "variance")}
    return {"step": info.history["step"], **rows}
