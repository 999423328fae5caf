"""Hamiltonian Monte Carlo at one temperature between a prior and a posterior."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
from jaxtyping import Array, Float

from pullback._hamiltonian import hamiltonian_step


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
    see = lambda place: (place.z, place.density(beta), place.slope(beta))
    return hamiltonian_step(look, see, place, size, steps, key)
