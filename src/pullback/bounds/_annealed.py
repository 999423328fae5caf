"""Annealed importance sampling, and the sandwich that it gives on simulated data."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from pullback._key import checked_key
from pullback.sampling import draw, log_mean_exp, log_prob, require_volume

from ._energy_prior import EnergyPrior, log_normaliser_of
from ._hmc import HMC, Place, hmc_step
from ._model import LatentModel

_MASS = 0x5EED


class Annealed(NamedTuple):
    """What annealing found.

    Attributes:
        log_evidence: the log of the mean weight: a stochastic lower bound on $\\log p(x)$, or from
            `reverse_annealing` the upper one.
        log_weights: of the chains, `[chain]`.
        accepted: the share of proposals that were accepted, by temperature, `[T]`.
        samples: where the chains ended, with `[chain]` in front.
    """

    log_evidence: Float[Array, ""]
    log_weights: Float[Array, " chain"]
    accepted: Float[Array, " step"]
    samples: Any


def sigmoid_schedule(steps: int) -> Float[Array, " temperature"]:
    r"""Inverse temperatures from 0 to 1, finest at both ends.

    $$ \beta_t = \frac{s(t) - s(0)}{s(T) - s(0)}, \qquad s(t) = \sigma(4 (2 t / T - 1)) $$

    >>> [round(float(b), 2) for b in sigmoid_schedule(4)]
    [0.0, 0.1, 0.5, 0.9, 1.0]

    Source: Grosse, Ghahramani and Adams, Sandwiching the Marginal Likelihood, arXiv 1511.02543.
    """
    if steps < 1:
        raise ValueError(f"`steps` must be 1 or more, got {steps}.")
    s = jax.nn.sigmoid(4 * (2 * jnp.linspace(0, 1, steps + 1) - 1))
    return (s - s[0]) / (s[-1] - s[0])


def annealed_importance_sampling(
    model: LatentModel,
    betas: Float[Array, " temperature"],
    *,
    num_chains: int = 64,
    transition: HMC = HMC(),  # noqa: B008, frozen
    batch_size: int | None = None,
    key: PRNGKeyArray,
) -> Annealed:
    r"""Estimate $\log p(x)$ along a path from the prior to the posterior.

    $$ f_\beta(z) = p(z)\, p(x|z)^\beta, \qquad
       \log w = \sum_{t=1}^{T} (\beta_t - \beta_{t-1}) \log p(x | z_{t-1}) $$

    $z_0$ is from the prior, and $z_t$ from $z_{t-1}$ by a transition that leaves $f_{\beta_t}$
    invariant. $\mathbb{E}[w] = p(x)$ exactly, for any transition whose settings do not depend on
    the chains; so the log of a mean of weights is below $\log p(x)$ in expectation.

    Args:
        model: its likelihood at this x, and its prior, over an array z of floats. A chain that
            would leave the prior's support stays where it is. With an `EnergyPrior` the path
            starts at its base, and as many chains again walk to the prior, for its mass.
        betas: $\beta_0 = 0, \dots, \beta_T = 1$, such as `sigmoid_schedule(T)`.
        num_chains: independent chains.
        transition: at each temperature.
        batch_size: the most chains held in memory at once.
        key: a typed PRNG key.

    Returns:
        An `Annealed`.

    Raises:
        ValueError: `betas` has fewer than two entries, `num_chains` is below 1 (2 with an
            `EnergyPrior`), or the prior is discrete or on a surface, such as a simplex.

    Example:
        >>> import jax, numpyro.distributions as dist
        >>> model = LatentModel(lambda z: dist.Normal(z, 1.0).log_prob(2.0), dist.Normal(0.0, 1.0))
        >>> found = annealed_importance_sampling(
        ...     model, sigmoid_schedule(50), transition=HMC(0.5, 3), key=jax.random.key(0)
        ... )
        >>> print(f"{found.log_evidence:.1f}")  # log N(2; 0, 2) = -2.27
        -2.3

    Source: Neal, Annealed Importance Sampling, Statistics and Computing 11 (2001); Wu et al., On
    the Quantitative Analysis of Decoder-Based Generative Models, arXiv 1611.04273.
    """
    key = checked_key(key)
    _check_betas(betas, num_chains)
    require_volume(model.prior)
    if isinstance(model.prior, EnergyPrior):
        whole, tilt = _from_base(model)
        found = annealed_importance_sampling(
            whole, betas, num_chains=num_chains, transition=transition, batch_size=batch_size,
            key=key,
        )  # fmt: skip
        mass = _mass(tilt, betas, num_chains, transition, batch_size, key)
        return _shifted(found, log_normaliser_of(mass.log_weights).upper)
    starts, walks = jr.split(key)
    keys = jr.split(starts, num_chains)
    z = jax.lax.map(lambda k: draw(model.prior, k), keys, batch_size=batch_size or num_chains)
    log_weights, accepted, z = _anneal(model, betas, z, transition, batch_size, walks)
    return Annealed(log_mean_exp(log_weights), log_weights, accepted, z)


def reverse_annealing(
    model: LatentModel,
    betas: Float[Array, " temperature"],
    posterior_sample: PyTree,
    *,
    num_chains: int = 64,
    transition: HMC = HMC(),  # noqa: B008, frozen
    batch_size: int | None = None,
    key: PRNGKeyArray,
) -> Annealed:
    r"""Estimate $\log p(x)$ from above, by annealing an exact posterior sample to the prior.

    The chains of `annealed_importance_sampling` run backwards, and $\mathbb{E}[w] = 1 / p(x)$, so
    that $-\log$ of the mean weight is above $\log p(x)$ in expectation. **It holds on simulated
    data alone**, where z was drawn from the prior and x from the model given z: nowhere else is an
    exact posterior sample at hand.

    Args:
        model: as in `annealed_importance_sampling`.
        betas: the same, from 0 to 1; they are walked from the end.
        posterior_sample: the z that x was simulated from. All chains begin there.
        num_chains: chains.
        transition: at each temperature.
        batch_size: the most chains held in memory at once.
        key: a typed PRNG key.

    Returns:
        An `Annealed`, whose `log_evidence` is the upper bound and whose weights are those of 1 /
        p(x).

    Source: Grosse, Ghahramani and Adams, arXiv 1511.02543.
    """
    key = checked_key(key)
    _check_betas(betas, num_chains)
    require_volume(model.prior)
    if isinstance(model.prior, EnergyPrior):
        whole, tilt = _from_base(model)
        found = reverse_annealing(
            whole, betas, posterior_sample, num_chains=num_chains, transition=transition,
            batch_size=batch_size, key=key,
        )  # fmt: skip
        mass = _mass(tilt, betas, num_chains, transition, batch_size, key).log_evidence
        # The weights are those of 1 / p(x).
        return _shifted(found, mass, -mass)
    z = jax.tree.map(lambda leaf: jnp.repeat(leaf[None], num_chains, axis=0), posterior_sample)
    if jnp.ndim(transition.step_size):
        # The step sizes belong to the temperatures; beta_t's comes before the step to beta_{t-1}.
        sizes = jnp.asarray(transition.step_size)[::-1]
        transition = HMC(sizes, transition.leapfrog_steps)
    log_weights, accepted, z = _anneal(model, betas[::-1], z, transition, batch_size, key)
    return Annealed(-log_mean_exp(log_weights), log_weights, accepted, z)


class Sandwich(NamedTuple):
    """Bounds on $\\log p(x)$ from both sides, each in expectation.

    Attributes:
        lower: from annealing forward.
        upper: from annealing back.
    """

    lower: Float[Array, "*n"]
    upper: Float[Array, "*n"]

    @property
    def width(self) -> Float[Array, "*n"]:
        """Upper less lower: what the settings are worth."""
        return self.upper - self.lower


def bidirectional_monte_carlo(
    model: LatentModel,
    betas: Float[Array, " temperature"],
    posterior_sample: PyTree,
    *,
    num_chains: int = 64,
    transition: HMC = HMC(),  # noqa: B008, frozen
    batch_size: int | None = None,
    key: PRNGKeyArray,
) -> Sandwich:
    r"""Bracket $\log p(x)$ of a simulated x, by annealing both ways.

    The width vouches for the settings, so that on real data of the same kind, where only the lower
    bound is to be had, they may be trusted. For one example: `jax.vmap` over more.

    Args:
        model: with the likelihood of the simulated x.
        betas: from 0 to 1.
        posterior_sample: the z that x was simulated from.
        num_chains: chains each way.
        transition: at each temperature.
        batch_size: the most chains held in memory at once.
        key: a typed PRNG key.

    Example:
        >>> import jax, numpyro.distributions as dist
        >>> z = 0.9  # from the prior; then x = 2.0 from N(z, 1)
        >>> model = LatentModel(lambda z: dist.Normal(z, 1.0).log_prob(2.0), dist.Normal(0.0, 1.0))
        >>> found = bidirectional_monte_carlo(
        ...     model, sigmoid_schedule(100), jax.numpy.asarray(z), transition=HMC(0.5, 3),
        ...     key=jax.random.key(0),
        ... )
        >>> bool(found.width < 0.2)
        True

    Source: Grosse, Ghahramani and Adams, arXiv 1511.02543.
    """
    key = checked_key(key)
    forward, back = jr.split(key)
    lower = annealed_importance_sampling(
        model, betas, num_chains=num_chains, transition=transition, batch_size=batch_size,
        key=forward,
    )  # fmt: skip
    upper = reverse_annealing(
        model, betas, posterior_sample, num_chains=num_chains, transition=transition,
        batch_size=batch_size, key=back,
    )  # fmt: skip
    return Sandwich(lower.log_evidence, upper.log_evidence)


def tune_step_sizes(
    model: LatentModel,
    betas: Float[Array, " temperature"],
    *,
    num_chains: int = 64,
    leapfrog_steps: int = 10,
    target: float = 0.65,
    rounds: int = 30,
    start: float = 0.1,
    key: PRNGKeyArray,
) -> HMC:
    r"""Find a step size for each temperature by pilot runs, and freeze it.

    In round r the chains are annealed, and every temperature's step is scaled by
    $\exp(3 r^{-1/2} (\text{accepted} - \text{target}))$. Steps that follow the chains that are
    being weighed would spoil $\mathbb{E}[w] = p(x)$: use another key for the estimate.

    Args:
        model: as in `annealed_importance_sampling`.
        betas: the temperatures of the estimate.
        num_chains: pilot chains.
        leapfrog_steps: of each proposal.
        target: the share of proposals to be accepted.
        rounds: pilot runs.
        start: the first step size.
        key: a typed PRNG key.

    Returns:
        The transition.

    Raises:
        ValueError: `target` is not between 0 and 1.
    """
    key = checked_key(key)
    if not 0 < target < 1:
        raise ValueError(f"`target` must be between 0 and 1, got {target}.")
    betas = jnp.asarray(betas)

    def pilot(log_step: Array, round_: tuple[Array, Array]) -> tuple[Array, None]:
        number, key = round_
        transition = HMC(jnp.exp(log_step), leapfrog_steps)
        found = annealed_importance_sampling(
            model, betas, num_chains=num_chains, transition=transition, key=key
        )
        change = 3 * (found.accepted - target) / jnp.sqrt(number.astype(log_step.dtype))
        return log_step + change.astype(log_step.dtype), None

    log_step = jnp.full(len(betas) - 1, jnp.log(start * 1.0), betas.dtype)
    numbered = (jnp.arange(1, rounds + 1), jr.split(key, rounds))
    log_step, _ = jax.lax.scan(pilot, log_step, numbered)
    return HMC(jnp.exp(log_step), leapfrog_steps)


def _from_base(model: LatentModel) -> tuple[LatentModel, LatentModel]:
    """Models over the base of an `EnergyPrior`, whose evidences are Z p(x) and Z."""
    prior: EnergyPrior = model.prior
    whole = lambda z: model.log_likelihood(z) + prior.tilt(z)
    return LatentModel(whole, prior.base_distribution), LatentModel(
        prior.tilt, prior.base_distribution
    )


def _mass(
    tilt: LatentModel,
    betas: Array,
    num_chains: int,
    transition: HMC,
    batch_size: int | None,
    key: PRNGKeyArray,
) -> Annealed:
    """What annealing from the base says of the mass of an `EnergyPrior`."""
    if num_chains < 2:
        raise ValueError(
            f"`num_chains` must be 2 or more with an `EnergyPrior`, got {num_chains}: two halves "
            "of the chains bound its mass from above."
        )
    return annealed_importance_sampling(
        tilt, betas, num_chains=num_chains, transition=transition, batch_size=batch_size,
        key=jr.fold_in(key, _MASS),
    )  # fmt: skip


def _shifted(found: Annealed, mass: Array, of_weights: Array | None = None) -> Annealed:
    """What was found of Z p(x), as it is of p(x)."""
    weights = found.log_weights - (mass if of_weights is None else of_weights)
    return found._replace(log_evidence=found.log_evidence - mass, log_weights=weights)


def _check_betas(betas: Array, num_chains: int) -> None:
    if jnp.ndim(betas) != 1 or len(betas) < 2:
        raise ValueError(f"`betas` must be two or more, from 0 to 1, got {jnp.shape(betas)}.")
    if num_chains < 1:
        raise ValueError(f"`num_chains` must be 1 or more, got {num_chains}.")


def _anneal(
    model: LatentModel,
    betas: Array,
    z: PyTree,
    transition: HMC,
    batch_size: int | None,
    key: Array,
) -> tuple[Array, Array, PyTree]:
    """Walk the chains z through the temperatures, from the first to the last of `betas`."""
    chains = len(jax.tree.leaves(z)[0])
    back = betas[0] > betas[-1]
    sizes = jnp.broadcast_to(jnp.asarray(transition.step_size, betas.dtype), (len(betas) - 1,))

    # Forward: weigh, then move at the new temperature. Back, the mirror image: move at the old
    # temperature, then weigh. The step sizes go with the temperatures that are moved at.
    def one(start: PyTree, key: Array) -> tuple[Array, Array, PyTree]:
        flat, unravel = ravel_pytree(start)
        likelihood = jax.value_and_grad(lambda flat: model.log_likelihood(unravel(flat)))
        prior = jax.value_and_grad(lambda flat: log_prob(model.prior, unravel(flat)))

        def look(flat: Array) -> Place:
            return Place(flat, *prior(flat), *likelihood(flat))

        def step(carry: tuple, inputs: tuple) -> tuple[tuple, Array]:
            place, log_weight = carry
            old, new, size, key = inputs
            at = jnp.where(back, old, new).astype(flat.dtype)
            change = (new - old).astype(flat.dtype)
            moved, accepted = hmc_step(
                look, at, place, size.astype(flat.dtype), transition.leapfrog_steps, key
            )
            weighed = jnp.where(back, moved.log_likelihood, place.log_likelihood)
            return (moved, log_weight + change * weighed), accepted

        steps = (betas[:-1], betas[1:], sizes, jr.split(key, len(betas) - 1))
        begin = (look(flat), jnp.zeros((), flat.dtype))
        (place, log_weight), accepted = jax.lax.scan(step, begin, steps)
        return log_weight, accepted, unravel(place.z)

    log_weights, accepted, z = jax.lax.map(
        lambda pair: one(*pair), (z, jr.split(key, chains)), batch_size=batch_size or chains
    )
    return log_weights, jnp.mean(accepted, axis=0), z
