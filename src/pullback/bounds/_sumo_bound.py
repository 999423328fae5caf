"""SUMO as a bound like the others: with any estimator, in any loss that takes a bound."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from pullback._key import checked_key
from pullback.calculus import AbstractTruncation, RaggedTerms
from pullback.sampling import (
    AbstractEstimator,
    Distribution,
    PathDerivative,
    Reparameterised,
    Replicated,
    expectation,
    is_reparameterised,
    log_prob,
)

from ._sumo import ragged_sumo, sumo
from ._variational import (
    AbstractBound,
    LogJoint,
    normalised,
    refuse_doubly,
    require_densities,
    require_inside_prior,
)

Target = Callable[[Any], tuple[LogJoint, Distribution]]


class SUMO(AbstractBound):
    r"""The log-evidence itself, estimated without bias: an importance-weighted bound to infinity.

    $$ \mathrm{SUMO} = \mathcal{L}_m + \sum_{j=1}^{K}
       \frac{\mathcal{L}_{m+j} - \mathcal{L}_{m+j-1}}{P(K \ge j)}, \qquad
       \mathbb{E}[\mathrm{SUMO}] = \mathbb{E}[\mathcal{L}_{m + \mathrm{cap}}] \approx \log p(x) $$

    The gradient with respect to the model is that of $\log p(x)$, but for the cap. With respect to
    the posterior the expectation hardly changes, so there is nothing for a total derivative to
    follow but noise. Along the path alone, `PathDerivative(allow_bias=True)`, the terms telescope
    to

    $$ \mathbb{E}[\hat g_\phi] \approx -\nabla_\phi\, \mathrm{KL}\big(p(z | x) \,\|\, q_\phi\big) $$

    which draws the posterior over the true one: it is what to train with.

    With these two estimators only $m + K$ weights are computed for each estimate, those of a batch
    in one ragged list (`estimates`); under `jax.vmap`, and with another estimator (one K then
    serves all `num_samples`), it is $m + \mathrm{cap}$, which `ImportanceWeighted` uses better.

    Args:
        truncation: the distribution of K; the paper's is
            `HarmonicTail(switch=80, rate=0.1, cap=...)`.
        exact: m, the samples that are always taken.

    Raises:
        ValueError: `exact` is below 1; when called, the estimator is `DoublyReparameterised`, or
            `PathDerivative` that is not told to allow another objective.

    Example:
        >>> import jax, numpyro.distributions as dist
        >>> from pullback.bounds import LatentModel
        >>> from pullback.calculus import HarmonicTail
        >>> model = LatentModel(lambda z: dist.Normal(z, 1.0).log_prob(2.0), dist.Normal(0.0, 1.0))
        >>> posterior = dist.Normal(1.0, 0.5**0.5)  # the exact one
        >>> found = SUMO(HarmonicTail(cap=10))(model, posterior, key=jax.random.key(0))
        >>> print(f"{found:.4f}")  # log N(2; 0, 2)
        -2.2655

    Source: Luo et al., SUMO: Unbiased Estimation of Log Marginal Probability for Latent Variable
    Models, arXiv 2004.00353; the gradient along the path is derived from it.
    """

    truncation: AbstractTruncation
    exact: int = eqx.field(default=1, static=True)

    def __check_init__(self):
        if self.exact < 1:
            raise ValueError(f"`exact` must be 1 or more, got {self.exact}.")

    def __call__(
        self,
        log_joint: LogJoint,
        posterior: Distribution,
        *,
        estimator: AbstractEstimator = Reparameterised(),  # noqa: B008, frozen
        num_samples: int = 1,
        batch_size: int | None = None,
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        key = checked_key(key)
        _require_positive(num_samples=num_samples, batch_size=batch_size)
        require_inside_prior(log_joint, posterior)
        if _takes_single_weights(estimator, posterior):
            same = lambda _: (log_joint, posterior)
            return jnp.mean(self.estimates(
                same, jnp.zeros(num_samples), estimator=estimator, batch_size=batch_size, key=key
            ))  # fmt: skip
        self._require(estimator)
        log_joint = normalised(log_joint, key)
        stops, samples = jr.split(key)
        stop = self.truncation.sample(key=stops)

        def f(z: Any, q: Any) -> Array:
            weights = jax.vmap(lambda one: log_joint(one) - log_prob(q.base, one))(z)
            return sumo(weights, stop, self.truncation, exact=self.exact)

        stream = Replicated(posterior, self.exact + self.truncation.cap)
        return expectation(
            f, stream, estimator=estimator, num_samples=num_samples, batch_size=batch_size,
            key=samples,
        )  # fmt: skip

    def estimates(
        self,
        target: Target,
        batch: Float[Array, "n ..."] | Int[Array, "n ..."],
        *,
        estimator: AbstractEstimator = Reparameterised(),  # noqa: B008, frozen
        batch_size: int | None = None,
        key: PRNGKeyArray,
    ) -> Float[Array, " n"]:
        """The estimate of each example of a batch, from no more weights than they ask for.

        Args:
            target: from an example to its log-joint and posterior, as `VAE.target`.
            batch: examples.
            estimator: `Reparameterised` or `PathDerivative(allow_bias=True)`.
            batch_size: the most weights computed at once; by default as many as there are examples.
            key: a typed PRNG key.

        Raises:
            ValueError: the estimator or a posterior does not fit, the batch has no example, or
                `batch_size` is below 1.
        """
        key = checked_key(key)
        _require_positive(batch_size=batch_size)
        if not len(batch):
            raise ValueError("`batch` must hold at least one example, got none.")
        self._require(estimator)
        n = len(batch)
        size = n if batch_size is None else batch_size
        stops, samples, masses = jr.split(key, 3)
        stop = self.truncation.sample((n,), key=stops)
        needed = _entries(stop, self.exact, n * (self.exact + self.truncation.cap), size)
        mass_keys = jr.split(masses, n)

        def weight(row: Array, key: Array) -> Array:
            log_joint, posterior = target(batch[row])
            if not _takes_single_weights(estimator, posterior):
                raise ValueError(
                    f"`estimator` {type(estimator).__name__} needs a posterior whose samples, one "
                    f"by one, gradients flow through, got a {type(posterior).__name__}."
                )
            require_inside_prior(log_joint, posterior)
            log_joint = normalised(log_joint, mass_keys[row])
            f = lambda z, q: log_joint(z) - log_prob(q, z)
            return expectation(f, posterior, estimator=estimator, key=key)

        log_weights = _while_needed(weight, needed, size, samples)
        return ragged_sumo(log_weights, needed, self.truncation, stop, exact=self.exact)

    def _require(self, estimator: AbstractEstimator) -> None:
        path = "`PathDerivative(allow_bias=True)`"
        refuse_doubly(estimator, "SUMO", path)
        require_densities(estimator)
        if isinstance(estimator, PathDerivative) and not estimator.allow_bias:
            raise ValueError(
                "`estimator` PathDerivative is not the gradient of SUMO, whose expectation hardly "
                "depends on the posterior: along the path it is that of -KL(p(z|x) || q), which "
                f"is what to train a posterior by; take {path} to say so."
            )


def _require_positive(**numbers: int | None) -> None:
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise ValueError(f"`{name}` must be 1 or more, got {value}.")


def _takes_single_weights(estimator: AbstractEstimator, posterior: Any) -> bool:
    """Whether a function of many weights may be put together from estimates of each."""
    pathwise = isinstance(estimator, Reparameterised | PathDerivative)
    # A mixture is stratified: that is a mean over components and no weight of one sample.
    return pathwise and is_reparameterised(Replicated(posterior, 2))


def _entries(stop: Int[Array, " n"], exact: int, most: int, size: int) -> RaggedTerms:
    """`pullback.calculus.ragged_terms` within a compiled program, padded to the longest list."""
    counts = exact + stop
    ends = jnp.cumsum(counts)
    entry = jnp.arange(-(-most // size) * size)
    row = jnp.searchsorted(ends, entry, side="right")
    mask = entry < ends[-1]
    row = jnp.where(mask, row, 0)
    term = jnp.where(mask, entry - (ends - counts)[row] + 1, 1)
    return RaggedTerms(row, term, mask)


def _while_needed(
    weight: Callable[[Array, Array], Array], needed: RaggedTerms, size: int, key: Key[Array, ""]
) -> Float[Array, " entry"]:
    """The weight of every entry, `size` at once; 0 where whole groups are not needed."""
    groups: Any = jax.tree.map(lambda leaf: leaf.reshape(-1, size), needed)
    keys = jr.split(key, len(groups.row))

    def one(group: tuple[Any, Array]) -> Array:
        needed, key = group
        compute = lambda: jax.vmap(weight)(needed.row, jr.split(key, size))
        shape = jax.eval_shape(compute)
        nothing = lambda: jnp.zeros(shape.shape, shape.dtype)
        # The first entry tells: the padding is at the end.
        return jax.lax.cond(needed.mask[0], jax.checkpoint(compute), nothing)

    return jax.lax.map(one, (groups, keys)).ravel()
