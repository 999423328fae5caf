"""The game of a Wasserstein critic, whose slopes are paid for, and the distance that it finds."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from pullback._inputs import positive
from pullback._key import checked_key
from pullback.calculus import gradient_penalty
from pullback.games._game import AbstractGame, judged, samples_like


class WassersteinGame(AbstractGame):
    r"""A critic's difference between samples and data, for `GANStep`.

    $$ \min_D\; E_q[D] - E_p[D] + \lambda\, E\big(\|\nabla D(\tilde x)\|_2 - 1\big)^2, \qquad
       \min_G\; -E_q[D] $$

    q is the law of G(z) and $\tilde x$ a point between a row of data and a sample. The critic's
    difference $E_p[D] - E_q[D]$, the metric `wasserstein`, estimates the Wasserstein distance of
    the two laws; that falls as samples become good, as no loss of a `GANGame` does. The critic
    must be near its best for that: 5 steps for each of the generator,
    `GANStep(discriminator_steps=5)`, and an optimiser with little momentum,
    `optax.adam(1e-3, b1=0.5, b2=0.9)`.

    Args:
        latent: how many standard normal numbers the generator is given, or a function of a key
            that draws its input.
        penalty: $\lambda$.

    Raises:
        ValueError: `latent` or `penalty` is below its range; when called, shapes do not fit.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> keys = jax.random.split(jax.random.key(0), 3)
        >>> game = WassersteinGame(latent=3)
        >>> shown = game.show(lambda z: jnp.full(2, 2.0), jnp.ones((4, 2)), key=keys[0])
        >>> d, g, metrics = game.losses(lambda x: x[0], shown, key=keys[1])  # a slope of 1
        >>> print(float(d), float(g), float(metrics["wasserstein"]))
        1.0 -2.0 -1.0

    Source: Gulrajani et al., Improved Training of Wasserstein GANs, arXiv 1704.00028.
    """

    latent: int | Callable[[PRNGKeyArray], Array] = eqx.field(static=True)
    penalty: float | int = eqx.field(default=10.0, static=True)

    def __check_init__(self):
        if not callable(self.latent):
            positive(latent=self.latent)
        if not 0 <= self.penalty < float("inf"):
            raise ValueError(f"`penalty` must be a number, 0 or more; got {self.penalty!r}.")

    def show(
        self, generator: Any, batch: Shaped[Array, "batch ..."], *, key: PRNGKeyArray
    ) -> tuple[Array, Array]:
        """The data, and as many samples."""
        key = checked_key(key)
        return samples_like(self.latent, generator, batch, key=key)

    def losses(
        self, discriminator: Any, shown: tuple[Array, Array], *, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Float[Array, ""], dict[str, Array]]:
        """Of the critic's numbers of data and samples, and of its slopes between them."""
        call_key, penalty_key = jr.split(checked_key(key))
        real, fake = judged(discriminator, shown, key=call_key)
        difference = jnp.mean(real) - jnp.mean(fake)
        critic = _without_key(discriminator, call_key)
        penalty = gradient_penalty(critic, *shown, key=penalty_key)
        own = jnp.asarray(self.penalty, difference.dtype) * penalty - difference
        return own, -jnp.mean(fake), {"wasserstein": difference, "penalty": penalty}


class WassersteinEstimate(NamedTuple):
    """A distance of two laws, as a critic sees it.

    Attributes:
        distance: the estimate, in the unit of the rows.
        slope: the root mean square of the critic's slopes between rows of the two. Far from 1
            the critic is not trained well enough to be asked.
    """

    distance: Float[Array, ""]
    slope: Float[Array, ""]


def wasserstein_estimate(
    critic: Callable[[Array], Array],
    real: Float[Array, "batch ..."],
    fake: Float[Array, "batch ..."],
    *,
    key: PRNGKeyArray,
) -> WassersteinEstimate:
    r"""The Wasserstein-1 distance of data and samples by a critic, made fair to its slopes.

    $$ \frac{E_p[D] - E_q[D]}{\max(1, s)}, \qquad s^2 = E \|\nabla D(\tilde x)\|^2 $$

    A critic that pays $\lambda$ for its slopes makes them $1 + W / 2 \lambda$ where the distance is
    W, so that its difference alone is too large by that. Ask it of rows that neither player was
    trained on: a critic that knows its rows by heart finds a distance where there is none. A critic
    that is not yet trained finds too little.

    Args:
        critic: a function of one example to a number, trained by a `WassersteinGame`; one with
            dropout is taken in inference mode.
        real: rows of data.
        fake: as many samples.
        key: for the points between.

    Raises:
        ValueError: as for `pullback.calculus.gradient_penalty`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> steep = lambda x: 2.0 * x[0]
        >>> real, fake = 3 * jnp.ones((4, 1)), jnp.zeros((4, 1))
        >>> found = wasserstein_estimate(steep, real, fake, key=jax.random.key(0))
        >>> float(found.distance), float(found.slope)
        (3.0, 2.0)

    Source: Gulrajani et al., Improved Training of Wasserstein GANs, arXiv 1704.00028; of the slope
        of the best critic, the stationary point of its equation 3 for a shift.
    """
    key = checked_key(key)
    critic = _without_key(eqx.nn.inference_mode(critic), jr.fold_in(key, 1))
    square = gradient_penalty(critic, real, fake, centre=0.0, key=key)
    slope = jnp.sqrt(square)
    left, right = judged(critic, (real, fake), key=key)
    return WassersteinEstimate((jnp.mean(left) - jnp.mean(right)) / jnp.maximum(slope, 1), slope)


def _without_key(critic: Any, key: PRNGKeyArray) -> Any:
    """A critic with dropout, its noise held fast: a slope is of one function."""
    if "key" not in inspect.signature(critic).parameters:
        return critic
    return lambda row: critic(row, key=key)
