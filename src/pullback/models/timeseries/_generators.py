"""What a series may do next, given its past and some of the features of the step at hand."""

import abc
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray, PyTree

from pullback._inputs import positive
from pullback._key import checked_key

from ._gaussian_mixture import GaussianMixture, check_features

# The least standard deviation of a feature that its neighbours tell, in units of its own.
_LEAST = 1e-2
# The logarithm of the probability 0, of which a gradient is a number.
_NEVER = -1e30


class AbstractGenerator(eqx.Module):
    """The law of each step of a series given the past, one row of features at a time.

    A series is explained by what else could have been seen: `pb.analysis.explain` asks for `start`,
    `step` and `sample`, and `series_log_prob` for `start`, `step` and `law`.
    """

    @abc.abstractmethod
    def start(self) -> PyTree[Array]:
        """What is known before the first step."""

    @abc.abstractmethod
    def step(self, state: PyTree[Array], x: Float[Array, " features"]) -> PyTree[Array]:
        """What is known once a step was seen.

        Args:
            state: what was known before.
            x: the step; NaN is what was not observed.
        """

    @abc.abstractmethod
    def law(self, state: PyTree[Array]) -> GaussianMixture:
        """The law of the next step, given what is known."""

    @abc.abstractmethod
    def sample(
        self,
        state: PyTree[Array],
        x: Float[Array, " features"],
        keep: Bool[Array, " features"],
        *,
        key: PRNGKeyArray,
    ) -> Float[Array, " features"]:
        """A draw of the next step given the past and those of the features to keep that are known.

        Args:
            state: what is known of the past.
            x: the step as it was observed; NaN is what was not.
            keep: the features to condition on. One that was not observed is drawn all the same.
            key: for the draw.

        Returns:
            The step without NaN; what was kept and observed comes back to the bit.
        """


class ConditionalGenerator(AbstractGenerator):
    r"""The law of each step given the past: a mixture of full Gaussians from a recurrent network.

    $$ p(x_t \mid x_{<t}) = \sum_k w_k(h_t)\, N\big(\mu_k(h_t), L_k(h_t) L_k(h_t)^\top\big),
       \qquad h_{t+1} = \mathrm{GRU}(h_t, [x_t, m_t]) $$

    Given some features of $x_t$ the others follow a mixture too, whose weights are those of the
    components that explain the seen features, $w_k\, p(x_{S,t} \mid k)$ up to a factor, and whose
    Gaussians are conditioned on them. NaN is what was not observed: the network is told so by the
    mask $m_t$, and likelihoods leave it out. `fit_generator` trains one.

    Args:
        features: the number of features, D.
        hidden: the size of the state h.
        components: of the mixture.
        location: of each feature, taken away before the network sees it; None: 0.
        scale: of each feature, divided by; None: 1.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is below 1, `location` or `scale` is no finite number for each feature,
            or a scale is not positive.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> generator = ConditionalGenerator(2, key=jax.random.key(0))
        >>> state = generator.step(generator.start(), jnp.array([0.3, jnp.nan]))
        >>> x, keep = jnp.array([0.5, 1.0]), jnp.array([True, False])
        >>> generator.sample(state, x, keep, key=jax.random.key(1))[0].item()
        0.5

    Source: Tonekaboni et al., arXiv 2003.02821, section 3.3, with a mixture in place of its latent
    variable, so that the components are weighed by the seen features.
    """

    cell: eqx.nn.GRUCell
    head: eqx.nn.Linear
    location: Float[Array, " features"]
    scale: Float[Array, " features"]
    components: int = eqx.field(static=True)

    def __init__(
        self,
        features: int,
        *,
        hidden: int = 32,
        components: int = 3,
        location: ArrayLike | Sequence[Any] | None = None,
        scale: ArrayLike | Sequence[Any] | None = None,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(features=features, hidden=hidden, components=components)
        cell_key, head_key = jr.split(key)
        self.cell = eqx.nn.GRUCell(2 * features, hidden, dtype=dtype, key=cell_key)
        size = components * (1 + features + features * (features + 1) // 2)
        self.head = eqx.nn.Linear(hidden, size, dtype=dtype, key=head_key)
        dtype = self.head.weight.dtype
        self.location = jnp.asarray(np.zeros(features) if location is None else location, dtype)
        self.scale = jnp.asarray(np.ones(features) if scale is None else scale, dtype)
        self.components = components
        for name, value in (("location", self.location), ("scale", self.scale)):
            if value.shape != (features,):
                raise ValueError(
                    f"`{name}` must be one number for each of the {features} features, got shape "
                    f"{value.shape}."
                )
        if not bool(jnp.all(jnp.isfinite(self.location))):
            raise ValueError(f"`location` must be finite, got {np.asarray(self.location)}.")
        if not bool(jnp.all((self.scale > 0) & (self.scale < jnp.inf))):
            raise ValueError(
                f"`scale` must be positive and finite, got {np.asarray(self.scale)}; a feature "
                "that does not vary has the scale 1."
            )

    def start(self) -> Float[Array, " hidden"]:
        """The state before the first step."""
        return jnp.zeros(self.cell.hidden_size, self.head.weight.dtype)

    def step(
        self, state: Float[Array, " hidden"], x: Float[Array, " features"]
    ) -> Float[Array, " hidden"]:
        """The state once `x` was seen; NaN is what was not."""
        check_features(len(self.location), x=x)
        seen = ~jnp.isnan(x)
        known = jnp.where(seen, x, 0).astype(state.dtype)
        scaled = jnp.where(seen, (known - self.location) / self.scale, 0)
        return self.cell(jnp.concatenate([scaled, seen.astype(state.dtype)]), state)

    def law(self, state: Float[Array, " hidden"]) -> GaussianMixture:
        """The law of the features at the next step."""
        features = self.location.shape[0]
        rows, columns = np.tril_indices(features)
        raw = self.head(state).reshape(self.components, -1)
        logits, means, lower = jnp.split(raw, (1, 1 + features), axis=1)
        lower = jnp.where(rows == columns, jax.nn.softplus(lower) + _LEAST, lower)
        trils = jnp.zeros((self.components, features, features), raw.dtype)
        trils = trils.at[:, rows, columns].set(lower)
        return GaussianMixture(
            jax.nn.log_softmax(logits[:, 0]),
            self.location[None] + self.scale[None] * means,
            self.scale[None, :, None] * trils,
        )

    def sample(
        self,
        state: Float[Array, " hidden"],
        x: Float[Array, " features"],
        keep: Bool[Array, " features"],
        *,
        key: PRNGKeyArray,
    ) -> Float[Array, " features"]:
        """A draw given the past and those of the features to keep that are known."""
        key = checked_key(key)
        check_features(len(self.location), x=x, keep=keep)
        return self.law(state).sample(x, keep & ~jnp.isnan(x), key=key)


class HMMGenerator(AbstractGenerator):
    r"""The exact law of each step of a hidden Markov model, given the past.

    $$ p(x_t \mid x_{<t}) = \sum_s p(s_t = s \mid x_{<t})\, N(\mu_s, C_s), \qquad
       p(s_{t+1} = r \mid x_{\le t}) \propto \sum_s A_{sr}\, p(s_t = s \mid x_{<t})\, p(x_t \mid s)
    $$

    Given some features of $x_t$, the states are weighed by them and each Gaussian is conditioned.
    NaN is what was not observed, and is left out.

    Args:
        initial: the probability of each state at the first step, `[state]`.
        transition: A, from the state of the row to that of the column, `[state, state]`.
        means: of the features in each state, `[state, feature]`.
        covariances: of the features in each state, `[state, feature, feature]`.

    Raises:
        ValueError: the shapes do not fit, probabilities do not sum to 1, or a covariance is not
            symmetric and positive definite, also once it is rounded to JAX's default float.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> two = HMMGenerator([0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], [[-2.0], [2.0]],
        ...                    [[[1.0]], [[1.0]]])
        >>> state = two.step(two.start(), jnp.array([2.0]))
        >>> print(f"{jnp.exp(state)[1]:.2f}")  # it was in the second state, and likely stays there
        0.90

    Source: Rabiner, Proceedings of the IEEE 77 (1989), the forward recursion; the exact generator
    of the state data of Tonekaboni et al., arXiv 2003.02821.
    """

    log_initial: Float[Array, " states"]
    log_transition: Float[Array, "states states"]
    means: Float[Array, "states features"]
    scale_trils: Float[Array, "states features features"]

    def __init__(
        self,
        initial: ArrayLike | Sequence[Any],
        transition: ArrayLike | Sequence[Any],
        means: ArrayLike | Sequence[Any],
        covariances: ArrayLike | Sequence[Any],
    ):
        start, moves, centres, spreads = (
            np.asarray(each, np.float64) for each in (initial, transition, means, covariances)
        )
        states, features = centres.shape if centres.ndim == 2 else (0, 0)
        wanted = {
            "initial": (start, (states,)),
            "transition": (moves, (states, states)),
            "covariances": (spreads, (states, features, features)),
        }
        if not states * features:
            raise ValueError(f"`means` must be [state, feature], got shape {centres.shape}.")
        for name, (value, shape) in wanted.items():
            if value.shape != shape:
                raise ValueError(
                    f"`{name}` must have shape {shape}, for `means` of {centres.shape}; got "
                    f"{value.shape}."
                )
        for name in ("initial", "transition"):
            value = wanted[name][0]
            if not ((value >= 0).all() and np.allclose(value.sum(axis=-1), 1, atol=1e-5)):
                raise ValueError(f"`{name}` must be probabilities that sum to 1, got {value}.")
        if not np.isfinite(centres).all():
            raise ValueError(f"`means` must be finite, got {centres}.")
        _check_covariances(spreads)
        with np.errstate(divide="ignore"):  # a move that never happens
            self.log_initial, self.log_transition = (
                jnp.asarray(np.maximum(np.log(each), _NEVER), float) for each in (start, moves)
            )
        self.means = jnp.asarray(centres, float)
        self.scale_trils = jnp.asarray(np.linalg.cholesky(spreads), float)

    def start(self) -> Float[Array, " states"]:
        """The log-probabilities of the states at the first step."""
        return self.log_initial

    def step(
        self, state: Float[Array, " states"], x: Float[Array, " features"]
    ) -> Float[Array, " states"]:
        """Those at the next step, once `x` was seen; NaN is what was not."""
        return jax.nn.logsumexp(self.posterior(state, x)[:, None] + self.log_transition, axis=0)

    def posterior(
        self, state: Float[Array, " states"], x: Float[Array, " features"]
    ) -> Float[Array, " states"]:
        """The log-probabilities of the states at the step at hand, once `x` was seen."""
        return self.law(state).given(x, ~jnp.isnan(x))[0]

    def law(self, state: Float[Array, " states"]) -> GaussianMixture:
        """The law of the features at the next step."""
        return GaussianMixture(state, self.means, self.scale_trils)

    def sample(
        self,
        state: Float[Array, " states"],
        x: Float[Array, " features"],
        keep: Bool[Array, " features"],
        *,
        key: PRNGKeyArray,
    ) -> Float[Array, " features"]:
        """A draw given the past and those of the features to keep that are known."""
        key = checked_key(key)
        check_features(self.means.shape[1], x=x, keep=keep)
        return self.law(state).sample(x, keep & ~jnp.isnan(x), key=key)


def _check_covariances(spreads: Float[np.ndarray, "states features features"]) -> None:
    """Refuse what is no covariance, or none in the float that is computed in."""
    finite = bool(np.isfinite(spreads).all())
    if finite and np.allclose(spreads, spreads.transpose(0, 2, 1)):
        variances = np.diagonal(spreads, axis1=1, axis2=2)
        if (np.linalg.eigvalsh(spreads) > 0).all():
            finfo = jnp.finfo(jnp.result_type(float))
            roots = np.sqrt(variances)
            least = np.linalg.eigvalsh(spreads / roots[:, :, None] / roots[:, None, :]).min()
            enough = 10 * spreads.shape[1] * float(finfo.eps)
            if variances.min() < finfo.tiny or variances.max() > finfo.max or least < enough:
                raise ValueError(
                    f"`covariances` must be positive definite in {finfo.dtype} too, got variances "
                    f"from {variances.min():.3g} to {variances.max():.3g} and correlations whose "
                    f"least eigenvalue is {least:.3g}, not {enough:.3g} or more; scale the "
                    "features, leave out one that others tell, or use float64."
                )
            return
    raise ValueError(
        f"`covariances` must be finite, symmetric and positive definite, got {spreads}."
    )


def series_log_prob(
    generator: AbstractGenerator, series: Float[Array, "time features"]
) -> Float[Array, " time"]:
    r"""$\log p(x_t \mid x_{<t})$ of each step of a series, of what was observed there.

    Args:
        generator: the law of each step given the past.
        series: one series; NaN is what was not observed. For several use `jax.vmap`.

    Returns:
        In nats; 0 where nothing was observed. Their sum is the log-likelihood of the series.

    Example:
        >>> import jax.numpy as jnp
        >>> one = HMMGenerator([1.0], [[1.0]], [[0.0]], [[[1.0]]])
        >>> [f"{step:.3f}" for step in series_log_prob(one, jnp.array([[0.0], [jnp.nan]]))]
        ['-0.919', '0.000']
    """
    move = lambda state, x: (generator.step(state, x), state)
    _, states = jax.lax.scan(move, generator.start(), series)
    return jax.vmap(lambda state, x: generator.law(state).log_prob(x, ~jnp.isnan(x)))(
        states, series
    )
