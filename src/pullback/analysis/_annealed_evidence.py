"""The log-evidence of many examples by annealing, with steps tuned for each."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Key, PRNGKeyArray, PyTree

from pullback._checked_data import check_data
from pullback._key import checked_key
from pullback._leading_axis import leading_axis
from pullback.bounds import (
    HMC,
    LatentModel,
    Sandwich,
    annealed_importance_sampling,
    bidirectional_monte_carlo,
    sigmoid_schedule,
    tune_step_sizes,
)

from ._chunks import over_chunks


class Annealing(eqx.Module):
    """How the log-evidence is estimated by annealing.

    The step sizes are tuned for each example by pilot runs at few temperatures, frozen, and read
    off for the others between them, so that the weights stay unbiased.

    Args:
        temperatures: steps from the prior to the posterior. Doubling them about halves the error.
        chains: of each example.
        leapfrog_steps: of each proposal.
        pilot_temperatures: of a pilot run.
        pilot_rounds: pilot runs.
        accepted: the share of proposals that they aim at. In few dimensions a lower one brings
            steps at the edge of what is stable, on which chains mix badly.

    Raises:
        ValueError: a number is below 1, or `accepted` is not between 0 and 1.
    """

    temperatures: int = eqx.field(default=500, static=True)
    chains: int = eqx.field(default=32, static=True)
    leapfrog_steps: int = eqx.field(default=10, static=True)
    pilot_temperatures: int = eqx.field(default=20, static=True)
    pilot_rounds: int = eqx.field(default=20, static=True)
    accepted: float = eqx.field(default=0.8, static=True)

    def __check_init__(self):
        for name in (
            "temperatures", "chains", "leapfrog_steps", "pilot_temperatures", "pilot_rounds",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be 1 or more, got {getattr(self, name)}.")
        if not 0 < self.accepted < 1:
            raise ValueError(f"`accepted` must be between 0 and 1, got {self.accepted}.")

    def tuned(self, model: LatentModel, *, key: PRNGKeyArray) -> HMC:
        """Step sizes for one example at each temperature."""
        key = checked_key(key)
        few = sigmoid_schedule(self.pilot_temperatures)
        pilot = tune_step_sizes(
            model, few, num_chains=max(4, self.chains // 4), leapfrog_steps=self.leapfrog_steps,
            target=self.accepted, rounds=self.pilot_rounds, key=key,
        )  # fmt: skip
        all_ = sigmoid_schedule(self.temperatures)[1:]
        sizes = jnp.exp(jnp.interp(all_, few[1:], jnp.log(pilot.step_size)))
        return HMC(sizes, self.leapfrog_steps)


class Evidence(NamedTuple):
    """The log-evidence of each example, from below.

    Attributes:
        value: in nats.
        standard_error: by the spread of the weights: too small where they are few or uneven.
    """

    value: Float[Array, " n"]
    standard_error: Float[Array, " n"]


def evidence_by_annealing(
    model: Callable[[Any], LatentModel],
    x: PyTree,
    *,
    annealing: Annealing = Annealing(),  # noqa: B008, frozen
    batch_size: int | None = None,
    progress: bool | None = None,
    key: PRNGKeyArray,
) -> Evidence:
    r"""Estimate $\log p(x)$ of each example by annealed importance sampling.

    Args:
        model: from one example to its `LatentModel`.
        x: examples, with a leading axis.
        annealing: temperatures, chains and proposals.
        batch_size: the most examples that are annealed at once, each with all its chains.
        progress: show a bar on stderr. None: where stderr is a terminal.
        key: a typed PRNG key.

    Returns:
        An `Evidence`; each value is a stochastic lower bound.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> prior = dist.Normal(jnp.zeros(1), 1.0).to_event(1)
        >>> def model(x):
        ...     return LatentModel(lambda z: dist.Normal(z[0], 1.0).log_prob(x), prior)
        >>> found = evidence_by_annealing(
        ...     model, jnp.array([2.0, -1.0]), annealing=Annealing(100, 32, 3),
        ...     key=jax.random.key(0))
        >>> bool(jnp.all(jnp.abs(found.value - jnp.array([-2.27, -1.52])) < 0.1))  # log N(x; 0, 2)
        True

    Source: Wu et al., On the Quantitative Analysis of Decoder-Based Generative Models, arXiv
    1611.04273.
    """
    key = checked_key(key)
    check_data(model, x)
    keys = jr.split(key, leading_axis(x, name="x"))
    log_weights = over_chunks(
        _anneal, model, annealing, data=(x, keys), batch_size=batch_size,
        progress=progress, what="annealing",
    )  # fmt: skip
    return evidence_of(log_weights)


def evidence_sandwich(
    model: Callable[[Any], LatentModel],
    x: PyTree,
    z: PyTree,
    *,
    annealing: Annealing = Annealing(),  # noqa: B008, frozen
    batch_size: int | None = None,
    progress: bool | None = None,
    key: PRNGKeyArray,
) -> Sandwich:
    """Bracket $\\log p(x)$ of simulated examples: a certificate for the settings of `annealing`.

    The width says how far `evidence_by_annealing` with the same settings falls short on data like
    these. It says nothing about real data unlike them, and no real example has one.

    Args:
        model: from one example to its `LatentModel`.
        x: examples, **each drawn from the model** given its z.
        z: latent variables that the examples were drawn from, themselves from the prior.
        annealing: as in `evidence_by_annealing`.
        batch_size: the most examples that are annealed at once.
        progress: show a bar on stderr. None: where stderr is a terminal.
        key: a typed PRNG key.

    Returns:
        A `Sandwich` of `[n]`; see `pullback.bounds.bidirectional_monte_carlo`.

    Source: Grosse, Ghahramani and Adams, arXiv 1511.02543.
    """
    key = checked_key(key)
    check_data(model, x)
    keys = jr.split(key, leading_axis(x, name="x"))
    return over_chunks(
        _bracket, model, annealing, data=(x, z, keys), batch_size=batch_size,
        progress=progress, what="annealing both ways",
    )  # fmt: skip


def _anneal(
    model: Callable[[Any], LatentModel], annealing: Annealing, x: PyTree, keys: Key[Array, " n"]
) -> Float[Array, "n chain"]:
    def one(x: Any, key: Array) -> Array:
        pilot, run = jr.split(key)
        here = model(x)
        return annealed_importance_sampling(
            here, sigmoid_schedule(annealing.temperatures), num_chains=annealing.chains,
            transition=annealing.tuned(here, key=pilot), key=run,
        ).log_weights  # fmt: skip

    return jax.vmap(one)(x, keys)


def _bracket(
    model: Callable[[Any], LatentModel],
    annealing: Annealing,
    x: PyTree,
    z: PyTree,
    keys: Key[Array, " n"],
) -> Sandwich:
    def one(x: Any, z: Any, key: Array) -> Sandwich:
        pilot, run = jr.split(key)
        here = model(x)
        return bidirectional_monte_carlo(
            here, sigmoid_schedule(annealing.temperatures), z, num_chains=annealing.chains,
            transition=annealing.tuned(here, key=pilot), key=run,
        )  # fmt: skip

    return jax.vmap(one)(x, z, keys)


def evidence_of(log_weights: Float[Array, "n sample"]) -> Evidence:
    """The log of the mean weight of each row, and its standard error by the delta method."""
    count = log_weights.shape[1]
    top = jnp.max(log_weights, axis=1, keepdims=True)
    weights = jnp.exp(log_weights - top)
    mean = jnp.mean(weights, axis=1)
    if count < 2:
        error = jnp.full(len(mean), jnp.nan, mean.dtype)
    else:
        error = jnp.std(weights, axis=1, ddof=1) / (mean * count**0.5)
    return Evidence(top[:, 0] + jnp.log(mean), error)
