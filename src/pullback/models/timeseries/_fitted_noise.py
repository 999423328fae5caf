"""The noise that fits a trained model best."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from pullback._key import checked_key
from pullback.models.likelihoods import Normal

from ._observations import Observations, check_values
from ._prediction import LatentModel, sample_paths


def fitted_noise(
    model: LatentModel,
    observed: Observations,
    target: Observations | None = None,
    *,
    samples: int = 10,
    batch_size: int | None = None,
    key: PRNGKeyArray,
) -> Normal:
    r"""The noise at which the evidence bound of a trained model is greatest, all else held.

    $$ s_k^2 = \frac{1}{N_k} \sum_{i \in \mathrm{target}} E_{q(z \mid \mathrm{observed})}
       \big[(x_{ik} - \hat x_{ik}(z))^2\big] $$

    A likelihood of one fixed deviation weights the errors of all variables alike, as a mean squared
    error does, but its bands are right for none of them; this mends the bands after training. Let
    `target` hold more than `observed`, and they are right for values that the encoder did not see.

    Args:
        model: a latent ODE, or another latent model.
        observed: what the encoder sees.
        target: what is scored; `observed` when None.
        samples: draws for each series.
        batch_size: the most series that are solved at once.
        key: for the draws.

    Returns:
        The likelihood, with a deviation for each variable. Put it in the model with
        `eqx.tree_at(lambda m: m.likelihood, model, noise)`.

    Raises:
        ValueError: the model's likelihood is another than `Normal`, or one whose deviation the
            decoder emits; a variable is nowhere observed in `target`;
            and as `sample_paths`.
        SolveError: a solve failed.

    Example:
        >>> import jax, numpy as np, pullback as pb
        >>> from pullback.models.timeseries import latent_ode, observations
        >>> series = pb.data.irregular_series([([0.0, 0.3, 1.0], [7.0, 7.0, 7.0])])
        >>> model = latent_ode(1, latent=2, steps=1, key=jax.random.key(0))
        >>> noise = fitted_noise(model, observations(series), key=jax.random.key(1))
        >>> bool(jax.numpy.exp(noise.log_std)[0] > 3.0)  # an untrained model is far from 7
        True

    Source: the M step of Dempster, Laird and Rubin (1977), for one factor of the model.
    """
    key = checked_key(key)
    if not isinstance(model.likelihood, Normal) or model.likelihood.fixed is None:
        raise ValueError(
            "`model` must have the likelihood `Normal(std)`, whose deviation is fitted here; got "
            f"{model.likelihood!r}."
        )
    target = observed if target is None else target
    check_values(model.likelihood, target, name="target")
    count = jnp.sum(target.mask, axis=(0, 1))
    if not bool(jnp.all(count > 0)):
        raise ValueError(
            f"`target` has no value of variable number {int(jnp.argmin(count))}; leave it out of "
            "the model, or give series in which it is observed."
        )
    paths = sample_paths(
        model, observed, target.times, samples=samples, batch_size=batch_size, key=key
    )
    error = jnp.where(target.mask[None], paths - target.values[None].astype(paths.dtype), 0.0)
    total = jnp.sum(jnp.mean(jnp.square(error), axis=0), axis=(0, 1))
    # A variable that is met exactly would have a density without end.
    variance = jnp.maximum(total / count.astype(total.dtype), jnp.finfo(total.dtype).tiny)
    noise = Normal(1.0, variables=len(count))
    return eqx.tree_at(lambda n: n.log_std, noise, jnp.log(variance) / 2)
