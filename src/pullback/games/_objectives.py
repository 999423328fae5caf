"""What the two players make small, of the logits of a discriminator."""

import numbers
import warnings
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from pullback.games._divergence import FDivergence, check_divergence, checked_log_ratio

Estimator = Literal["exact", "plug_in"]


def generator_loss(
    log_ratio: Float[Array, "..."],
    divergence: FDivergence,
    *,
    estimator: Estimator = "exact",
    clip: float | int | None = None,
    self_normalise: bool = False,
) -> Float[Array, ""]:
    r"""What a generator makes small to descend a divergence, of a discriminator's logits.

    $$ E_q\big[f(r) - r f'(r)\big] \quad \text{(exact)}, \qquad
       E_q\big[f(r)\big] \quad \text{(plug-in)} $$

    **Plug-in KL, chi-squared and Hellinger push the wrong way**: away from where samples are
    missing. Plug-in `reverse_kl` is the same as its exact loss; plug-in `minimax` is log(1 - D) and
    plug-in `non_saturating` is -log D, as practice has them.

    The logits are log p / q of a discriminator that was trained by `discriminator_loss`, evaluated
    at samples and frozen: differentiate by the generator alone. Label smoothing, a hinge or one
    mean over data and samples of unequal numbers make them something else; `ratio_diagnostics`
    tells.

    Args:
        log_ratio: the logits at samples, of any shape.
        divergence: which one.
        estimator: "exact", whose gradient is that of the divergence; or "plug_in", the paper's.
        clip: logits beyond this size, on either side, weigh no more than those at it: the loss goes
            on along its tangent. 10 keeps the sums of `kl` and `pearson` finite. None: no limit.
        self_normalise: shift the logits so that the ratio's mean over the samples is 1, as that of
            the true ratio is: `kl` then weighs samples by a softmax.

    Returns:
        The mean over the samples.

    Raises:
        ValueError: there are no samples, the logits are no floating numbers, or a setting is none.

    Warns:
        UserWarning: the plug-in loss rises with the ratio somewhere, and so descends no divergence.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.games import kl, reverse_kl
        >>> logits = jnp.asarray([0.0, 2.0])  # at the second sample data are denser than samples
        >>> jax.grad(lambda v: generator_loss(v, reverse_kl))(logits).tolist()
        [-0.5, -0.5]
        >>> grad = jax.grad(lambda v: generator_loss(v, kl, self_normalise=True))(logits)
        >>> print([f"{each:.2f}" for each in grad])
        ['-0.12', '-0.88']

    Source: Poole et al., Improved generator objectives for GANs, arXiv 1612.02780 (plug-in).
    """
    log_ratio = checked_log_ratio(log_ratio)
    if log_ratio.size == 0:
        raise ValueError("`log_ratio` must have the logit of at least one sample, got none.")
    check_estimator(estimator, divergence)
    check_clip(clip)
    if self_normalise:
        log_ratio = log_ratio - log_mean_ratio(log_ratio)
    loss = divergence.exact if estimator == "exact" else divergence.f
    return jnp.mean(clipped(loss, log_ratio, clip))


def log_mean_ratio(fake: Float[Array, "..."]) -> Float[Array, ""]:
    """What makes the ratio's mean over samples 1 where it is taken off; without a slope."""
    found = jax.nn.logsumexp(fake) - jnp.log(fake.size).astype(fake.dtype)
    return jax.lax.stop_gradient(found)


def clipped(
    function: Callable[[Array], Array], log_ratio: Float[Array, "*shape"], clip: float | int | None
) -> Float[Array, "*shape"]:
    """A function of each entry, that beyond `clip` goes on along its tangent."""
    if clip is None:
        return function(log_ratio)
    within = jnp.clip(log_ratio, -clip, clip)
    value, slope = jax.jvp(function, (within,), (jnp.ones_like(within),))
    return value + slope * (log_ratio - within)


def check_some(**logits: Array) -> None:
    """Raise where there is none, by its name."""
    for name, each in logits.items():
        if each.size == 0:
            raise ValueError(f"`{name}` must have at least one logit, got none.")


def check_clip(clip: Any) -> None:
    """Raise where `clip` is no size."""
    if clip is None:
        return
    number = isinstance(clip, numbers.Real) and not isinstance(clip, bool)
    if not number or not 0 < float(clip) < np.inf:
        raise ValueError(f"`clip` must be None or a number above 0, got {clip!r}; 10 is usual.")


def check_estimator(estimator: Any, divergence: Any) -> None:
    """Raise where there is no such loss, and warn of one that pushes the wrong way."""
    check_divergence(divergence)
    if estimator not in ("exact", "plug_in"):
        raise ValueError(f'`estimator` must be "exact" or "plug_in", got {estimator!r}.')
    if estimator == "exact":
        return
    where = rises(divergence.f)
    if where is not None:
        warnings.warn(
            f"the plug-in loss rises with the ratio of data to samples from {where:.3g} on, so it "
            "pushes samples away from where they are missing, and descends no divergence: take "
            'estimator="exact".',
            stacklevel=3,
        )


def rises(
    loss: Callable[[Array], Array], low: float | int = -10.0, high: float | int = 10.0
) -> float | None:
    """The least ratio at which a loss grows with the ratio; None where it never does."""
    with jax.ensure_compile_time_eval():
        at = np.linspace(low, high, 401)
        value = loss(jnp.asarray(at))
    if isinstance(value, Tracer):
        return None  # of a function that is being differentiated there are no numbers
    value = np.asarray(value)
    found = np.flatnonzero(np.diff(value) > 1e-6 * (1 + np.abs(value[1:])))
    return float(np.exp(at[found[0]])) if len(found) else None


def discriminator_loss(
    real: Float[Array, "..."],
    fake: Float[Array, "..."],
    divergence: FDivergence | None = None,
) -> Float[Array, ""]:
    r"""What a discriminator makes small so that its logits become log p / q.

    $$ E_p\big[\log(1 + e^{-V})\big] + E_q\big[\log(1 + e^V)\big] \qquad \text{or} \qquad
       -E_p\big[f'(e^V)\big] - E_q\big[f(e^V) - e^V f'(e^V)\big] $$

    The first is the loss of logistic regression, $-\log D$ of data and $-\log(1 - D)$ of samples,
    and fits nearly always. The second is minus the variational bound of a divergence: at its best V
    it is minus the divergence, and for `jensen_shannon` it is the first one less log 4.

    Args:
        real: logits of data, of any shape.
        fake: logits of samples, of any shape too: each side has a mean of its own, so that numbers
            need not be equal.
        divergence: None: logistic. Else the bound of this one, whose best logits are the same.

    Returns:
        The loss.

    Raises:
        TypeError: `divergence` is none.
        ValueError: there is none of either, or they are no floating numbers.

    Example:
        >>> import jax.numpy as jnp
        >>> print(f"{discriminator_loss(jnp.zeros(3), jnp.zeros(3)):.4f}")  # log 4
        1.3863

    Source: Goodfellow et al., Generative Adversarial Nets, arXiv 1406.2661; Nowozin et al., f-GAN,
        arXiv 1606.00709, section 2.4, for the second.
    """
    real, fake = checked_log_ratio(real, "real"), checked_log_ratio(fake, "fake")
    check_some(real=real, fake=fake)
    if divergence is None:
        return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))
    check_divergence(divergence)
    return -jnp.mean(divergence.slope(real)) - jnp.mean(divergence.exact(fake))
