"""The sampler that a JEM is trained with, and samples from it afterwards."""

from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback._key import checked_key
from pullback.models.energy._jem import JEM
from pullback.models.energy._starts import AbstractStart
from pullback.sampling import langevin


class SGLD(eqx.Module):
    r"""Settings of `pullback.sampling.langevin`.

    The defaults are the paper's, for images in [-1, 1]: a step of 1 and noise of 0.01, a
    temperature of 5e-5. Energies trained so are good for comparing, and are no log-likelihoods. In
    few dimensions take honest noise: `SGLD(40, step_size=0.05, noise=None)`.

    Args:
        steps: of a chain in one call.
        step_size: $\alpha$.
        noise: s; None: $\sqrt{2 \alpha}$, the temperature 1.

    Raises:
        ValueError: when called, as `langevin`.

    Source: Grathwohl et al., arXiv 1912.03263, section 5 and appendix A.
    """

    steps: int = eqx.field(default=20, static=True)
    _: KW_ONLY
    step_size: float = 1.0
    noise: float | None = 0.01

    def __call__(
        self, log_prob: Callable[..., Any], x: Float[Array, "n ..."], *, key: PRNGKeyArray
    ) -> Float[Array, "n ..."]:
        """Where chains from `x` end, `[n, ...]`."""
        key = checked_key(key)
        return langevin(
            log_prob, x, steps=self.steps, step_size=self.step_size, noise=self.noise, key=key
        )[0]

    def of_labels(
        self,
        log_joint: Callable[..., Any],
        x: Float[Array, "n ..."],
        y: Int[Array, " n"],
        *,
        key: PRNGKeyArray,
    ) -> Float[Array, "n ..."]:
        """The same of `log_joint(x, y)`, each chain with its own label."""
        key = checked_key(key)

        def one(x: Array, y: Array, key: Array) -> Array:
            return self(lambda x: log_joint(x, y), x[None], key=key)[0]

        return jax.vmap(one)(x, y, jr.split(key, len(x)))


def sample_jem(
    model: JEM,
    start: AbstractStart,
    num_samples: int,
    *,
    labels: Int[Array, " n"] | None = None,
    sampler: SGLD = SGLD(400),  # noqa: B008, frozen
    batch_size: int | None = None,
    key: PRNGKeyArray,
) -> Float[Array, "n ..."]:
    r"""Samples from fresh chains, of all classes or of given ones.

    $$ x \sim p(x) \quad \text{or} \quad x \sim p(x | y) \propto e^{f(x)_y} $$

    Chains leave the range of the data by a little: clamp the samples to show them, and not before.

    Args:
        model: the classifier.
        start: where the chains begin, best the distribution that the buffer had in training.
        num_samples: how many.
        labels: the class of each, `[num_samples]`; None: of p(x).
        sampler: with many more steps than in training.
        batch_size: chains that are run side by side; None: all.
        key: a typed PRNG key.

    Returns:
        `[num_samples, ...]`.

    Raises:
        ValueError: there are not `num_samples` labels, or `num_samples` or `batch_size` is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.models.energy import BoxStart
        >>> logits = lambda x: jnp.array([0.0, 2.0]) * x[0] - jnp.sum(x**2) / 2
        >>> x = sample_jem(
        ...     JEM(logits), BoxStart((1,)), 500, labels=jnp.ones(500, int),
        ...     sampler=SGLD(100, step_size=0.1, noise=None), key=jax.random.key(0))
        >>> print(f"{jnp.mean(x):.0f}")  # of class 1 it is N(2, 1)
        2

    Source: Grathwohl et al., arXiv 1912.03263, appendix A and section 5.1.
    """
    key = checked_key(key)
    for name, value in (("num_samples", num_samples), ("batch_size", batch_size or 1)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    if labels is not None and len(labels) != num_samples:
        raise ValueError(f"`labels` must be {num_samples}, one a sample, got {len(labels)}.")
    start_key, walk_key = jr.split(key)
    x = start.sample(num_samples, labels=labels, key=start_key)

    def one(inputs: tuple) -> Array:
        x, y, key = inputs
        log_prob = model.log_density if labels is None else lambda x: model.log_joint(x, y)
        return sampler(log_prob, x[None], key=key)[0]

    classes = jnp.zeros(num_samples, int) if labels is None else labels
    keys = jr.split(walk_key, num_samples)
    return jax.lax.map(one, (x, classes, keys), batch_size=batch_size or num_samples)


def refined_logits(
    model: JEM,
    x: Float[Array, "..."],
    *,
    sampler: SGLD = SGLD(10),  # noqa: B008, frozen
    chains: int = 5,
    input_noise: float = 0.03,
    straight_through: bool = False,
    key: PRNGKeyArray,
) -> Float[Array, " classes"]:
    r"""Logits after a few steps of the sampler: what was moved on purpose is moved back.

    $$ \frac1c \sum_{i=1}^c f(x_i') $$

    $x_i'$ is where a chain from $x + \sigma \epsilon_i$ ends.

    To judge it under attack, hold the key fixed and let the gradient flow through the chains, as it
    does here: the published evaluation passed it straight through them, and an attack that is blind
    to the defence flatters it.

    Args:
        model: the classifier.
        x: one input.
        sampler: its steps are the k of "JEM-k".
        chains: c.
        input_noise: $\sigma$.
        straight_through: the published gradient, as if chains had not moved; for comparison only.
        key: a typed PRNG key.

    Returns:
        `[classes]`.

    Raises:
        ValueError: `chains` is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> model = JEM(lambda x: jnp.array([4.0, -4.0]) * x[0] - jnp.sum(x**2) / 2)
        >>> sampler = SGLD(20, step_size=0.2, noise=0.0)
        >>> x = jnp.array([1.0])
        >>> found = refined_logits(model, x, sampler=sampler, key=jax.random.key(0))
        >>> bool(found[0] - found[1] > 3 * (model.logits(x)[0] - model.logits(x)[1]))
        True

    Source: Grathwohl et al., arXiv 1912.03263, section 5.4.
    """
    key = checked_key(key)
    if chains < 1:
        raise ValueError(f"`chains` must be at least 1, got {chains}.")
    noise_key, key = jr.split(key)
    starts = x[None] + input_noise * jr.normal(noise_key, (chains, *x.shape), x.dtype)
    ends = sampler(model.log_density, starts, key=key)
    ends = starts + jax.lax.stop_gradient(ends - starts) if straight_through else ends
    return jnp.mean(jax.vmap(model.logits)(ends), axis=0)
