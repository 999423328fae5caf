"""Hamiltonian Monte Carlo at one temperature between a prior and a posterior."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float


class HMC(eqx.Module):
    """Hamiltonian Monte Carlo with unit masses, the transition at each temperature.

    Args:
        step_size: of the leapfrog, for every temperature alike or one for each, `[T]`; see
            `tune_step_sizes`.
        leapfrog_steps: of each proposal.

    Source: Neal, MCMC Using Hamiltonian Dynamics, arXiv 1206.1901.
    """

    step_size: Float[Array, "..."] | float = 0.1
    leapfrog_steps: int = eqx.field(default=10, static=True)

    def __check_init__(self):
        if self.leapfrog_steps < 1:
            raise ValueError(f"`leapfrog_steps` must be 1 or more, got {self.leapfrog_steps}.")


class Place(NamedTuple):
    """Where a chain is, and what is known there: at another temperature it is known as well."""

    z: Array
    log_prior: Array
    prior_slope: Array
    log_likelihood: Array
    likelihood_slope: Array

    def density(self, beta: Array) -> Array:
        return self.log_prior + beta * self.log_likelihood

    def slope(self, beta: Array) -> Array:
        return self.prior_slope + beta * self.likelihood_slope


def hmc_step(
    look: Callable[[Array], Place], beta: Array, place: Place, size: Array, steps: int, key: Array
) -> tuple[Place, Array]:
    """One proposal of HMC, and the probability with which it was accepted."""
    kick, choose = jr.split(key)
    momentum = jr.normal(kick, place.z.shape, place.z.dtype)

    def leap(carry: tuple, _: None) -> tuple[tuple, None]:
        here, momentum = carry
        momentum = momentum + 0.5 * size * here.slope(beta)
        here = look(here.z + size * momentum)
        return (here, momentum + 0.5 * size * here.slope(beta)), None

    (new, last), _ = jax.lax.scan(leap, (place, momentum), length=steps)
    energy = lambda place, momentum: place.density(beta) - 0.5 * jnp.sum(jnp.square(momentum))
    log_ratio = energy(new, last) - energy(place, momentum)
    # A path that left the numbers is refused.
    chance = jnp.where(jnp.isnan(log_ratio), 0, jnp.exp(jnp.minimum(log_ratio, 0)))
    accept = jr.uniform(choose, (), place.z.dtype) < chance
    return jax.tree.map(lambda a, b: jnp.where(accept, a, b), new, place), chance
