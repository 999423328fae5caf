"""The loss of a variational autoencoder that also predicts what was measured."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback._key import checked_key
from pullback._numbers import check_number
from pullback.bounds import AbstractObjective

from ._losses import batch_terms


class PropertyLoss(eqx.Module):
    r"""An objective of a VAE, and the error of numbers that are predicted from its posterior's
    mean.

    $$ L = \mathrm{objective}(D, R)
       + w\, \mathrm{mean}_{ij : y_{ij} \text{ measured}} \big(f(\mu(x_i))_j - y_{ij}\big)^2 $$

    So the latents are laid out by what was measured, and a search among them finds its way. Call it
    as `loss((vae, predictor), (x, y), key=...)`, with examples `[n, ...]` and what was measured of
    each, `[n, p]`, NaN where nothing was; `fit` trains both parts. Bring the columns of y to a
    variance of 1 before, else those of large numbers are all that counts.

    Args:
        objective: of `pullback.bounds`, such as `Beta(0.05)`, or a function from the step to one.
        weight: $w$, 0 or more.
        told: `told(vae, x, *, key)`, what an autoregressive decoder is told in the place of the
            examples, such as tokens of which some are hidden; None: the examples.

    Raises:
        ValueError: `weight` is negative or not finite; when called, y has other rows than x, other
            columns than the predictor gives or, where it is not traced, is infinite, or the
            objective is a function of the step and there is none.
        TypeError: `weight` is no number.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> from pullback.bounds import Beta
        >>> from pullback.models.vae import Normal, mlp_vae
        >>> vae = mlp_vae(4, latent=2, width=3, likelihood=Normal(1.0), key=jax.random.key(0))
        >>> predictor = eqx.nn.Linear(2, 1, key=jax.random.key(1))
        >>> y = jnp.array([[0.5], [jnp.nan]])
        >>> loss = PropertyLoss(Beta(0.1), weight=5.0)
        >>> _, metrics = loss((vae, predictor), (jnp.ones((2, 4)), y), key=jax.random.key(2))
        >>> sorted(metrics)
        ['distortion', 'elbo', 'property_mse', 'rate']

    Source: Gomez-Bombarelli et al., arXiv 1610.02415, section "Joint training with a property".
    """

    objective: AbstractObjective | Callable[[Int[Array, ""]], AbstractObjective]
    weight: Float[Array, ""] | float | int = eqx.field(default=1.0, kw_only=True)
    told: Callable[..., Array] | None = eqx.field(default=None, kw_only=True)

    def __check_init__(self):
        check_number("weight", self.weight, "0 or more", lambda value: value >= 0)

    def check(self, model: Any, batch: Any) -> None:
        """Raise ValueError if the data cannot be of the likelihood, or measured of it."""
        (vae, predictor), (x, y) = model, batch
        vae.check(x)
        _check_measured(y, len(x))
        one = jax.ShapeDtypeStruct(np.shape(x)[1:], jnp.asarray(x[:1]).dtype)
        predicts = lambda vae, x: predictor(vae.posterior(x).mean)
        _check_predicted(eqx.filter_eval_shape(predicts, vae, one).shape, np.shape(y)[1])

    def __call__(
        self,
        model: Any,
        batch: tuple[Array, Float[Array, "n p"]],
        *,
        key: PRNGKeyArray,
        step: Int[Array, ""] | int | None = None,
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        key = checked_key(key)
        (vae, predictor), (x, y) = model, batch
        _check_measured(y, len(x))
        objective = self.objective
        if not isinstance(objective, AbstractObjective):
            if step is None:
                raise ValueError("`step` is needed: the objective is a function of it.")
            objective = objective(jnp.asarray(step))
        telling, terms = jr.split(key)
        told = None if self.told is None else self.told(vae, x, key=telling)
        found = batch_terms(vae, x, told=told, key=terms)
        value, metrics = objective(found)
        measured = ~jnp.isnan(y)
        predicted = jax.vmap(lambda posterior: predictor(posterior.mean))(found.posterior)
        _check_predicted(predicted.shape[1:], y.shape[1])
        error = jnp.where(measured, predicted - jnp.where(measured, y, 0.0), 0.0)
        count = jnp.maximum(jnp.sum(measured), 1).astype(error.dtype)
        squared = jnp.sum(jnp.square(error)) / count
        return value + self.weight * squared, {**metrics, "property_mse": squared}


def _check_measured(y: Any, examples: int) -> None:
    if np.ndim(y) != 2 or len(y) != examples:
        raise ValueError(
            f"what was measured must have a row for each of the {examples} examples, `[n, p]`, "
            f"got the shape {np.shape(y)}."
        )
    if isinstance(y, Tracer):
        return
    bad = np.flatnonzero(np.isinf(np.asarray(y)).any(axis=1))
    if len(bad):
        raise ValueError(
            f"what was measured must be finite, or NaN where nothing was; row {bad[0]} is not, "
            f"one of {len(bad)}."
        )


def _check_predicted(shape: tuple[int, ...], measured: int) -> None:
    # Broadcast, each prediction would be compared with what was measured of all.
    if shape != (measured,):
        raise ValueError(
            f"the predictor must give {measured} numbers of one example, as many as were measured "
            f"of it; it gives the shape {shape}."
        )
