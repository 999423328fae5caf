"""One proposal of Hamiltonian Monte Carlo, whatever else is known at a place."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

Place = TypeVar("Place")
# Of a place: the position, the log-density there and its slope.
See = Callable[[Any], tuple[Array, Array, Array]]


def leapfrog(
    look: Callable[[Array], Place],
    see: See,
    place: Place,
    momentum: Float[Array, "..."],
    size: Float[Array, ""],
    steps: int,
) -> tuple[Place, Float[Array, "..."]]:
    """Where a frictionless particle of mass 1 is after so many steps, and its momentum."""

    def leap(carry: tuple, _: None) -> tuple[tuple, None]:
        here, momentum = carry
        momentum = momentum + 0.5 * size * see(here)[2]
        here = look(see(here)[0] + size * momentum)
        return (here, momentum + 0.5 * size * see(here)[2]), None

    (place, momentum), _ = jax.lax.scan(leap, (place, momentum), length=steps)
    return place, momentum


def hamiltonian_step(
    look: Callable[[Array], Place],
    see: See,
    place: Place,
    size: Float[Array, ""],
    steps: int,
    key: PRNGKeyArray,
) -> tuple[Place, Float[Array, ""]]:
    """One proposal, and the probability with which it was accepted."""
    position = see(place)[0]
    kick, choose = jr.split(key)
    momentum = jr.normal(kick, position.shape, position.dtype)
    new, last = leapfrog(look, see, place, momentum, size, steps)
    energy = lambda place, momentum: see(place)[1] - 0.5 * jnp.sum(jnp.square(momentum))
    log_ratio = energy(new, last) - energy(place, momentum)
    # A path that left the numbers is refused.
    chance = jnp.where(jnp.isnan(log_ratio), 0, jnp.exp(jnp.minimum(log_ratio, 0)))
    accept = jr.uniform(choose, (), position.dtype) < chance
    return jax.tree.map(lambda a, b: jnp.where(accept, a, b), new, place), chance
