"""Where a latent-variable model lies in the plane of rate and distortion."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._checked_data import check_data
from pullback._key import checked_key
from pullback._traced import compiled
from pullback.bounds import (
    LatentModel,
    kl_divergence,
    leave_one_out_upper,
    pairwise_log_prob,
    tnce,
)
from pullback.sampling import draw, log_prob, require_inside


class RateDistortion(NamedTuple):
    r"""Rate, distortion and what they say of the information in z, in nats.

    $H - D \le I(x; z) \le R$, where H is the entropy of the data. R exceeds I by
    $\mathrm{KL}(q(z) \| p(z))$, so a rate is no information unless the prior fits the aggregate
    posterior: hence the bounds beside it.

    Attributes:
        distortion: $D = -\mathbb{E}[\log p(x | z)]$.
        rate: $R = \mathbb{E}[\log q(z|x) - \log p(z)]$.
        distortion_error: standard error of D, over the examples.
        rate_error: the same of R.
        information_lower: a lower bound on I(x; z), the best over batches; at most the log of their
            size.
        information_upper: an upper bound on I(x; z): the rate, or the bound of leaving one out if
            that is lower.
        active: how many entries of z have a posterior mean whose variance over the data is above
            0.01.
    """

    distortion: float
    rate: float
    distortion_error: float
    rate_error: float
    information_lower: float
    information_upper: float
    active: int

    @property
    def elbo(self) -> float:
        """Minus distortion and rate: the ELBO, whatever the model was trained for."""
        return -self.distortion - self.rate


def rate_distortion(
    target: Callable[[Array], tuple[LatentModel, Any]],
    x: Float[Array | np.ndarray, "n ..."],
    *,
    num_samples: int = 4,
    batch_size: int = 256,
    key: PRNGKeyArray,
) -> RateDistortion:
    r"""Measure rate and distortion of a model on data, and bounds on the information in z.

    Args:
        target: from one x to the terms of the model and the posterior, such as
            `pullback.models.vae.VAE.target`.
        x: examples, `[n, ...]`, 2 or more.
        num_samples: draws of z for each example, 2 or more.
        batch_size: examples held in memory at once. The bounds on the information are over batches
            of so many, so that the lower one is at most its log.
        key: a typed PRNG key.

    Returns:
        A `RateDistortion`. The rate is by the closed form where there is one.

    Raises:
        ValueError: a number is too small, the posterior's support is not inside the prior's, or
            the rate or the distortion of a row is NaN.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> from pullback.bounds import LatentModel
        >>> def target(x):  # the exact posterior of x = z + noise
        ...     prior, q = dist.Normal(0.0, 1.0), dist.Normal(x / 2, 0.5**0.5)
        ...     return LatentModel(lambda z: dist.Normal(z, 1.0).log_prob(x), prior), q
        >>> x = 2**0.5 * jax.random.normal(jax.random.key(0), (2000,))
        >>> found = rate_distortion(target, x, key=jax.random.key(1))
        >>> print(f"{found.rate:.1f} {found.distortion:.1f}")  # log(2) / 2 and log(2 pi e) / 2
        0.3 1.4

    Source: Alemi et al., Fixing a Broken ELBO, arXiv 1711.00464; Burda et al., arXiv 1509.00519,
    for active units.
    """
    key = checked_key(key)
    if len(x) < 2 or num_samples < 2 or batch_size < 2:
        raise ValueError(
            "`x`, `num_samples` and `batch_size` must be 2 or more, got "
            f"{len(x)}, {num_samples} and {batch_size}."
        )
    check_data(target, x)
    x, batch_size = jnp.asarray(x), min(batch_size, len(x))
    found = _measure(target, x, num_samples, batch_size, key)
    distortion, rate, pair = (np.asarray(jax.device_get(part), float) for part in found[:3])
    bad = np.flatnonzero(np.isnan(distortion) | np.isnan(rate))
    if len(bad):
        raise ValueError(
            f"rate or distortion is NaN at {len(bad)} of the {len(x)} rows of `x`, the first of "
            f"them row {bad[0]}: look at its numbers, or at the model's."
        )
    lower, upper = (np.asarray(part) for part in found[3:])
    error = lambda values: float(values.std() / np.sqrt(len(values)))
    mean_rate = float(rate.mean())
    # The covariance over the data of two estimates is the variance of what they estimate.
    first, second = pair[:, 0].reshape(len(x), -1), pair[:, 1].reshape(len(x), -1)
    shared = np.mean((first - first.mean(0)) * (second - second.mean(0)), axis=0)
    return RateDistortion(
        float(distortion.mean()),
        mean_rate,
        error(distortion),
        error(rate),
        float(lower.mean()),
        min(mean_rate, float(upper.mean())),
        int(np.sum(shared > 0.01)),
    )


@compiled
def _measure(
    target: Callable, x: Array, num_samples: int, batch_size: int, key: Array
) -> tuple[Array, Array, Array, Array, Array]:
    def one(pair: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        x, key = pair
        model, q = target(x)
        require_inside(q, model.prior)
        model = model.normalised(key=key)
        z = jax.vmap(lambda key: draw(q, key))(jr.split(key, num_samples))
        likelihoods = jax.vmap(model.log_likelihood)(z)
        if likelihoods.ndim != 1:
            raise ValueError(
                "`log_likelihood` of a `LatentModel` must be a scalar, summed over the entries of "
                f"an example, got the shape {likelihoods.shape[1:]}."
            )
        distortion = -jnp.mean(likelihoods)
        try:
            rate = kl_divergence(q, model.prior)
        except ValueError:
            sampled = jax.vmap(lambda z: log_prob(q, z) - log_prob(model.prior, z))(z)
            rate = jnp.mean(sampled)
        return distortion, rate, _two_means(q, z)

    distortion, rate, pair = jax.lax.map(one, (x, jr.split(key, len(x))), batch_size=batch_size)

    def information(rows: tuple[Array, Array]) -> tuple[Array, Array]:
        x, key = rows
        q = jax.vmap(lambda x: target(x)[1])(x)
        z = jax.vmap(draw)(q, jr.split(key, batch_size))
        scores = pairwise_log_prob(_Whole, q, z)
        return tnce(scores), leave_one_out_upper(scores)

    batches = len(x) // batch_size
    rows = x[: batches * batch_size].reshape(batches, batch_size, *x.shape[1:])
    lower, upper = jax.lax.map(information, (rows, jr.split(jr.fold_in(key, 1), batches)))
    return distortion, rate, pair, lower, upper


class _Whole:
    """A distribution whose log-density is of all its parts together."""

    def __init__(self, q: Any):
        self.q = q

    def log_prob(self, z: Any) -> Array:
        return log_prob(self.q, z)


def _two_means(q: Any, z: Any) -> Array:
    """The posterior mean, twice; or two independent estimates of it, where it is not known."""
    try:
        mean = _flat(q.mean)
        return jnp.stack([mean, mean])
    except (AttributeError, NotImplementedError):
        half = jax.tree.leaves(z)[0].shape[0] // 2
        first = jax.tree.map(lambda leaf: jnp.mean(leaf[:half], axis=0), z)
        second = jax.tree.map(lambda leaf: jnp.mean(leaf[half:], axis=0), z)
        return jnp.stack([_flat(first), _flat(second)])


def _flat(z: Any) -> Array:
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(z)])


class DiscreteRateDistortion(NamedTuple):
    r"""Exact quantities of a discrete model, in nats.

    $R - I = \mathrm{KL}(q(z) \| p(z))$ and
    $I - (H - D) = \mathbb{E}_{q(z)}[\mathrm{KL}(q(x|z) \| p(x|z))]$.

    Attributes:
        distortion: D.
        rate: R.
        information: I(x; z), under the data and the encoder.
        entropy: H, of the data.
    """

    distortion: Float[Array, ""]
    rate: Float[Array, ""]
    information: Float[Array, ""]
    entropy: Float[Array, ""]


def discrete_rate_distortion(
    p_x: Float[Array, " x"],
    log_encoder: Float[Array, "x z"],
    log_prior: Float[Array, " z"],
    log_decoder: Float[Array, "z x"],
) -> DiscreteRateDistortion:
    r"""Rate, distortion and information of a model of tables, by sums over all x and z.

    Args:
        p_x: the probabilities of the data.
        log_encoder: $\log q(z | x)$, a row for each x.
        log_prior: $\log p(z)$.
        log_decoder: $\log p(x | z)$, a row for each z.

    Returns:
        A `DiscreteRateDistortion`; gradients flow through it. What has probability 0 adds nothing,
        and its logarithm may be -inf; data that the decoder cannot make are an infinite distortion.

    Raises:
        ValueError: shapes that do not fit, or a row of probabilities that does not sum to 1
            (where a call is being compiled, the answer is NaN).

    Example:
        >>> import jax.numpy as jnp
        >>> half = jnp.log(jnp.full((2, 2), 0.5))
        >>> found = discrete_rate_distortion(jnp.array([0.5, 0.5]), half, half[0], half)
        >>> print(f"{found.rate:.3f} {found.distortion:.3f} {found.entropy:.3f}")
        0.000 0.693 0.693

    Source: Alemi et al., arXiv 1711.00464, section 2.
    """
    p_x = _checked(p_x, log_encoder, log_prior, log_decoder)
    joint = p_x[:, None] * jnp.exp(log_encoder)
    seen = jnp.sum(joint, axis=0)
    aggregate = jnp.log(jnp.where(seen > 0, seen, 1))
    # 0 log 0 is 0, in the gradient too.
    within = jnp.where(joint > 0, log_encoder, 0)
    mean = lambda values: jnp.sum(joint * jnp.where(joint > 0, values, 0))
    return DiscreteRateDistortion(
        distortion=-mean(log_decoder.T),
        rate=mean(within - log_prior[None]),
        information=mean(within - aggregate[None]),
        entropy=-jnp.sum(jax.scipy.special.xlogy(p_x, p_x)),
    )


def _checked(p_x: Array, log_encoder: Array, log_prior: Array, log_decoder: Array) -> Array:
    """The probabilities of the data, NaN where a check must wait until the call has run."""
    x, z = len(p_x), len(log_prior)
    if log_encoder.shape != (x, z) or log_decoder.shape != (z, x):
        raise ValueError(
            f"`log_encoder` must have shape [{x}, {z}] and `log_decoder` [{z}, {x}], as `p_x` and "
            f"`log_prior` are; got {list(log_encoder.shape)} and {list(log_decoder.shape)}."
        )
    rows = {"p_x": p_x, "log_encoder": log_encoder, "log_prior": log_prior,
            "log_decoder": log_decoder}  # fmt: skip
    for name, row in rows.items():
        total = jnp.sum(row if name == "p_x" else jnp.exp(row), axis=-1)
        whole = jnp.all((jnp.abs(total - 1) < 1e-3) & (jnp.min(p_x) >= 0))
        if isinstance(whole, Tracer):
            p_x = jnp.where(whole, p_x, jnp.nan)
        elif not bool(whole):
            raise ValueError(
                f"`{name}` must be probabilities that sum to 1; got the sums {np.asarray(total)}."
            )
    return p_x


def reverse_water_filling(
    eigenvalues: Float[Array | np.ndarray, " dim"], noise_variance: float, beta: float | int
) -> tuple[float, float]:
    r"""The least of $D + \beta R$ that a linear model of Gaussian data can reach.

    The data have the covariance eigenvalues $\lambda_i$, and the decoder has a fixed noise of
    variance $s^2$. With $\theta = \beta s^2$,

    $$ R = \sum_{\lambda_i > \theta} \tfrac12 \log \frac{\lambda_i}{\theta}, \qquad
       D = \sum_i \frac{\min(\theta, \lambda_i)}{2 s^2} + \tfrac{d}{2} \log 2 \pi s^2 $$

    which is a convex curve of slope $dR / dD = -1 / \beta$.

    Args:
        eigenvalues: $\lambda$, 0 or more, as many as the data have dimensions.
        noise_variance: $s^2$.
        beta: the weight of the rate, positive.

    Returns:
        R and D, in nats.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> rate, distortion = reverse_water_filling(jnp.array([4.0, 2.0, 1.0, 0.5, 0.2]), 0.5, 2.0)
        >>> print(f"{rate:.5f} {distortion:.5f}")
        1.03972 6.56182

    Source: Cover and Thomas, Elements of Information Theory, section 10.3.3.
    """
    values = np.asarray(eigenvalues, float)
    if not len(values):
        raise ValueError("`eigenvalues` must hold at least one, got none.")
    good = (values >= 0).all() and np.isfinite(values).all()
    if not (noise_variance > 0 and beta > 0 and good):
        raise ValueError(
            "`noise_variance` and `beta` must be above 0 and `eigenvalues` finite and 0 or more, "
            f"got {noise_variance}, {beta} and {values.min():g} as the least."
        )
    level = beta * noise_variance
    active = values[values > level]
    constant = len(values) / 2 * np.log(2 * np.pi * noise_variance)
    distortion = np.minimum(level, values).sum() / (2 * noise_variance) + constant
    return float(np.log(active / level).sum() / 2), float(distortion)
