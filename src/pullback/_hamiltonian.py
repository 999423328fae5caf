"""One proposal of Hamiltonian Monte Carlo, whatever else is known at a place."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._floating import at_least_float32

Place = TypeVar("Place")
# Of a place: the position, the log-density there and its slope.
See = Callable[[Any], tuple[Array, Array, Array]]


def standard_noise(key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any) -> Float[Array, "..."]:
    """Standard normals, made in float32 or better: those of bfloat16 have a mean of -0.005.

    A walk adds them up: of chains of N(0, 1) with a step of 0.05 the mean became -0.08.
    """
    return jr.normal(key, shape, at_least_float32(dtype)).astype(dtype)


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
    momentum = standard_noise(kick, position.shape, position.dtype)
    new, last = leapfrog(look, see, place, momentum, size, steps)
    energy = lambda place, momentum: see(place)[1] - 0.5 * jnp.sum(jnp.square(momentum))
    log_ratio = energy(new, last) - energy(place, momentum)
    # A path that left the numbers is refused.
    chance = jnp.where(jnp.isnan(log_ratio), 0, jnp.exp(jnp.minimum(log_ratio, 0)))
    wide = chance.astype(at_least_float32(chance.dtype))
    accept = jr.uniform(choose, (), wide.dtype) < wide
    return jax.tree.map(lambda a, b: jnp.where(accept, a, b), new, place), chance
