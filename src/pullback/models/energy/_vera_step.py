"""One step of VERA: an energy, a generator that follows it, and its entropy."""

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from pullback._key import checked_key
from pullback._promotion import standard_promotion
from pullback.models.energy._entropy_gradient import entropy_score, entropy_surrogate
from pullback.models.energy._entropy_proposals import (
    AbstractProposal,
    DiagonalProposal,
    GaussNewtonProposal,
    proposal_objective,
)
from pullback.models.energy._latent_generator import LatentGenerator
from pullback.models.energy._vera_loss import log_density_of, vera_energy_objective
from pullback.train import apply_gradient


class VERAState(eqx.Module):
    """What a step of VERA changes.

    Attributes:
        energy: log p(x) but for a constant.
        generator: of the samples.
        proposal: of the latents of the entropy's gradient.
        optimisers: the states of the three optimisers, in this order.
    """

    energy: PyTree
    generator: LatentGenerator
    proposal: AbstractProposal
    optimisers: PyTree


class VERAStep(eqx.Module):
    r"""A step of training an energy without Markov chains, for `train.iterate`.

    $$ \max_\theta \min_\phi \; \mathrm{E}_\mathrm{data} f_\theta(x) -
       \mathrm{E}_{q_\phi} f_\theta(x) - \lambda H(q_\phi) -
       \tfrac\gamma2 \mathrm{E}_\mathrm{data} \|\nabla_x f_\theta(x)\|^2 $$

    With $\lambda = 1$ and no penalty the inner minimum is the log-likelihood. A smaller one cools
    the generator: its target is $\exp(f / \lambda)$. Without entropy it falls onto few modes.

    With labels the energy is a classifier, as `JEM`: its `log_density` is f, and to the loss come
    the cross-entropy of the labelled rows and the entropy of the predictions for the data.

    A batch is an array `[b, ...]`, or a mapping with it as `unlabelled` and a pair of rows and
    classes as `labelled`.

    Args:
        energy_optimiser: of the energy. The paper takes Adam with b1 = 0 and b2 = 0.9 for all.
        generator_optimiser: of the generator.
        proposal_optimiser: of the widths of a `DiagonalProposal`; needed for no other.
        entropy_weight: lambda, 0 or more. For images the paper takes 1e-4.
        gradient_penalty: gamma, 0 or more.
        label_weight: of the cross-entropy.
        prediction_entropy_weight: of the entropy of predictions for the data.
        energy_l2: of the mean square of the energies of data and samples.
        samples: latents for the score of a sample; see `entropy_score`.
        inflate: as for `entropy_score`; None: 2 for a `DiagonalProposal`, whose learned widths are
            narrower than the posterior, and else 1.
        sigma_range: what the generator's noise is held in.
        eta_range: what the widths of a `DiagonalProposal` are held in.

    Raises:
        ValueError: a weight is negative, or a range is empty or not above 0.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, optax
        >>> adam = optax.adam(1e-3, b1=0.0, b2=0.9)
        >>> step = VERAStep(adam, adam)
        >>> net = eqx.nn.MLP(2, "scalar", 8, 1, key=jax.random.key(0))
        >>> generator = LatentGenerator(eqx.nn.MLP(2, 2, 8, 1, key=jax.random.key(1)), 2)
        >>> state = step.init(net, generator)
        >>> state, metrics = eqx.filter_jit(step)(state, jnp.ones((4, 2)), key=jax.random.key(2))
        >>> sorted(metrics)[:3]
        ['data_energy', 'effective_samples', 'energy_loss']

    Source: Grathwohl et al., No MCMC for me, arXiv 2010.04230, algorithm 1 and section 5.
    """

    energy_optimiser: optax.GradientTransformation
    generator_optimiser: optax.GradientTransformation
    proposal_optimiser: optax.GradientTransformation | None = None
    _: KW_ONLY
    entropy_weight: Float[Array, ""] | float | int = 1.0
    gradient_penalty: Float[Array, ""] | float | int = 0.1
    label_weight: Float[Array, ""] | float | int = 1.0
    prediction_entropy_weight: Float[Array, ""] | float | int = 0.0
    energy_l2: Float[Array, ""] | float | int = 0.0
    samples: int = eqx.field(default=20, static=True)
    inflate: float | int | None = eqx.field(default=None, static=True)
    sigma_range: tuple[float, float] = eqx.field(default=(0.01, 0.3), static=True)
    eta_range: tuple[float, float] = eqx.field(default=(1e-3, 1.0), static=True)

    def __check_init__(self):
        for name in (
            "entropy_weight", "gradient_penalty", "label_weight", "prediction_entropy_weight",
            "energy_l2",
        ):  # fmt: skip
            value = getattr(self, name)
            if isinstance(value, int | float) and not value >= 0:
                raise ValueError(f"`{name}` must be 0 or more, got {value}.")
        for name in ("sigma_range", "eta_range"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"`{name}` must be above 0 and rising, got {(low, high)}.")

    def init(
        self,
        energy: PyTree,
        generator: LatentGenerator,
        proposal: AbstractProposal | None = None,
    ) -> VERAState:
        """The state before the first step.

        Args:
            energy: a callable `x -> []`, or a module with `log_density`; `JEM` for labels.
            generator: of examples of the data's shape.
            proposal: None: `GaussNewtonProposal()`.

        Raises:
            ValueError: the proposal has something to learn, and there is no optimiser for it.
        """
        proposal = GaussNewtonProposal() if proposal is None else proposal
        learned = jax.tree.leaves(eqx.filter(proposal, eqx.is_inexact_array))
        if learned and self.proposal_optimiser is None:
            raise ValueError(
                f"`proposal_optimiser` is None, and a {type(proposal).__name__} is learned: give "
                "an optimiser, such as optax.adam(1e-3)."
            )
        optimisers = (self.energy_optimiser, self.generator_optimiser, self.proposal_optimiser)
        with standard_promotion():
            states = tuple(
                None
                if optimiser is None
                else optimiser.init(eqx.filter(part, eqx.is_inexact_array))
                for optimiser, part in zip(optimisers, (energy, generator, proposal), strict=True)
            )
        return VERAState(energy, generator, proposal, states)

    def __call__(
        self, state: VERAState, batch: Any, *, key: PRNGKeyArray
    ) -> tuple[VERAState, dict[str, Array]]:
        """The state after a step, and what was measured before it."""
        key = checked_key(key)
        data, labelled = (
            (batch["unlabelled"], batch["labelled"])
            if isinstance(batch, Mapping)
            else (batch, None)
        )
        draw_key, score_key, proposal_key = jr.split(key, 3)
        keys = jr.split(draw_key, len(data))
        x, z0 = _generate(state.generator, keys)
        energy, energy_state, metrics = self._energy_step(state, data, labelled, x)
        generator, generator_state, more = self._generator_step(
            state, energy, keys, x, z0, jr.split(score_key, len(data))
        )
        proposal, proposal_state = self._proposal_step(
            state, x, z0, jr.split(proposal_key, len(data))
        )
        new = VERAState(
            energy, generator, proposal, (energy_state, generator_state, proposal_state)
        )
        return new, {**metrics, **more}

    def _energy_step(
        self, state: VERAState, data: Array, labelled: Any, x: Array
    ) -> tuple[PyTree, PyTree, dict[str, Array]]:
        def loss(energy: PyTree) -> tuple[Array, dict[str, Array]]:
            return vera_energy_objective(
                energy, data, x, labelled,
                gradient_penalty=self.gradient_penalty, label_weight=self.label_weight,
                prediction_entropy_weight=self.prediction_entropy_weight,
                energy_l2=self.energy_l2,
            )  # fmt: skip

        (value, metrics), gradient = eqx.filter_value_and_grad(loss, has_aux=True)(state.energy)
        energy, opt = apply_gradient(
            self.energy_optimiser, gradient, state.optimisers[0], state.energy, loss=value
        )
        return energy, opt, {"energy_loss": value, **metrics}

    def _generator_step(
        self, state: VERAState, energy: PyTree, keys: Array, x: Array, z0: Array, score_keys: Array
    ) -> tuple[LatentGenerator, PyTree, dict[str, Array]]:
        inflate = self.inflate
        if inflate is None:
            inflate = 2.0 if isinstance(state.proposal, DiagonalProposal) else 1.0
        scores, ess = jax.vmap(
            lambda x, z, key: entropy_score(
                state.generator, state.proposal, x, z,
                samples=self.samples, inflate=inflate, key=key,
            )
        )(x, z0, score_keys)  # fmt: skip

        def loss(generator: LatentGenerator) -> Array:
            x, _ = _generate(generator, keys)
            gain = jnp.mean(jax.vmap(log_density_of(energy))(x))
            return -(gain + self.entropy_weight * entropy_surrogate(scores, x))

        value, gradient = eqx.filter_value_and_grad(loss)(state.generator)
        generator, opt = apply_gradient(
            self.generator_optimiser, gradient, state.optimisers[1], state.generator, loss=value
        )
        metrics = {"effective_samples": jnp.mean(ess), "sigma": state.generator.sigma}
        if isinstance(state.proposal, DiagonalProposal):
            metrics["eta"] = jnp.exp(jnp.mean(state.proposal.log_eta))
        return generator.clamp(*self.sigma_range), opt, metrics

    def _proposal_step(
        self, state: VERAState, x: Array, z0: Array, keys: Array
    ) -> tuple[AbstractProposal, PyTree]:
        if not isinstance(state.proposal, DiagonalProposal) or self.proposal_optimiser is None:
            return state.proposal, state.optimisers[2]

        def loss(proposal: AbstractProposal) -> Array:
            one = lambda x, z, key: proposal_objective(proposal, state.generator, x, z, key=key)
            return jnp.mean(jax.vmap(one)(x, z0, keys))

        value, gradient = eqx.filter_value_and_grad(loss)(state.proposal)
        proposal, opt = apply_gradient(
            self.proposal_optimiser, gradient, state.optimisers[2], state.proposal, loss=value
        )
        low, high = map(math.log, self.eta_range)
        return DiagonalProposal(jnp.clip(proposal.log_eta, low, high)), opt


def _generate(generator: LatentGenerator, keys: Array) -> tuple[Array, Array]:
    return jax.vmap(lambda key: generator.sample(key=key))(keys)
