"""Train an unnormalised density against a Stein critic: no samples, no normaliser."""

from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PyTree

from pullback._checked_data import check_rows
from pullback._key import checked_key, checked_key_or_keys
from pullback._promotion import standard_promotion
from pullback.calculus import (
    AbstractDivergence,
    HutchinsonDivergence,
    hyvarinen_objective,
    stein_terms,
)
from pullback.models.energy._finite import check_finite
from pullback.models.energy._scores import check_model, score_of
from pullback.train import Stream, TrainingInfo, apply_gradient, iterate

M = TypeVar("M")


class SteinState(eqx.Module):
    """What a step of training changes: the model, its critic, and their optimisers' states."""

    model: Any
    critic: Any
    model_optimiser: PyTree
    critic_optimiser: PyTree


class SteinStep(eqx.Module):
    r"""One step of the game between a model and its Stein critic, for `pullback.train.iterate`.

    $$ \max_f\; \mathrm{E}_p[\mathcal{A}_q f] - \lambda\, \mathrm{E}_p \|f\|^2, \qquad
       \min_\theta\; \mathrm{E}_p[s_\theta \cdot f] $$

    First the critic takes `n_critic` steps, each on rows of its own, then the model one. At the
    best critic $(s_\theta - s_p) / 2\lambda$ the model's gradient is that of score matching, over
    $2 \lambda$; only one mixed second derivative of the model is needed for it.

    When not to: the score is blind to the weights of modes that lie far apart, so those of the
    model stay what they were by chance. A critic that is trained too little leaves the model to
    chase what is no longer there: take more steps of it, not a larger rate.

    Args:
        model_optimiser: Optax's; Adam with a first decay of 0 to 0.5.
        critic_optimiser: the same.
        l2: lambda; only the size of the critic and of the model's gradient depend on it.
        n_critic: steps of the critic for one of the model. A batch has `n_critic + 1` times the
            rows that a step is to see.
        divergence: for the trace; by default one Rademacher probe at each point.

    Raises:
        ValueError: `l2` or `n_critic` is out of range; when called, the batch does not divide.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, optax
        >>> class Normal(eqx.Module):
        ...     mean: jax.Array
        ...     def log_density(self, x):
        ...         return -jnp.sum((x - self.mean) ** 2) / 2
        >>> critic = eqx.nn.MLP(1, 1, 8, 1, jax.nn.swish, key=jax.random.key(0))
        >>> step = SteinStep(optax.adam(0.1), optax.adam(0.1), n_critic=1)
        >>> state, metrics = step(step.init(Normal(jnp.ones(1)), critic), jnp.zeros((8, 1)),
        ...     key=jax.random.key(1))
        >>> state.model.mean.shape, sorted(metrics)
        ((1,), ['discrepancy', 'penalty'])

    Source: Grathwohl et al., arXiv 2002.05616, algorithm 1.
    """

    model_optimiser: optax.GradientTransformation = eqx.field(static=True)
    critic_optimiser: optax.GradientTransformation = eqx.field(static=True)
    l2: float = 1.0
    n_critic: int = eqx.field(default=5, static=True)
    divergence: AbstractDivergence = eqx.field(default_factory=HutchinsonDivergence)

    def __check_init__(self):
        if self.n_critic < 1:
            raise ValueError(f"`n_critic` must be at least 1, got {self.n_critic}.")
        if isinstance(self.l2, float | int) and not self.l2 > 0:
            raise ValueError(
                "`l2` must be above 0, for without a penalty a critic grows without end; got "
                f"{self.l2}."
            )

    def init(self, model: Any, critic: Any) -> SteinState:
        """The state that training starts in."""
        with standard_promotion():
            states = (
                optimiser.init(eqx.filter(part, eqx.is_inexact_array))
                for optimiser, part in (
                    (self.model_optimiser, model),
                    (self.critic_optimiser, critic),
                )
            )
            return SteinState(model, critic, *states)

    def __call__(
        self, state: SteinState, batch: Float[Array, "rows dim"], *, key: Key[Array, ""]
    ) -> tuple[SteinState, dict[str, Array]]:
        key = checked_key(key)
        rounds = self.n_critic + 1
        if len(batch) % rounds:
            raise ValueError(
                f"a batch must be a multiple of n_critic + 1 = {rounds} rows, got {len(batch)}."
            )
        parts = batch.reshape(rounds, -1, batch.shape[1])
        keys = jr.split(key, rounds)
        params, rest = eqx.partition(state.critic, eqx.is_inexact_array)

        def critic_step(carry: tuple, part: tuple[Array, Array]) -> tuple[tuple, None]:
            params, opt = carry
            x, key = part
            scores = jax.vmap(lambda x: score_of(state.model, x))(x)

            def loss(params: Any) -> Array:
                terms = stein_terms(
                    eqx.combine(params, rest), scores, x, divergence=self.divergence, key=key
                )
                return self.l2 * jnp.mean(terms.square) - jnp.mean(terms.operator)

            return apply_gradient(self.critic_optimiser, jax.grad(loss)(params), opt, params), None

        (params, critic_opt), _ = jax.lax.scan(
            critic_step, (params, state.critic_optimiser), (parts[:-1], keys[:-1])
        )
        critic, x = eqx.combine(params, rest), parts[-1]
        arrays, still = eqx.partition(state.model, eqx.is_inexact_array)
        field = jax.lax.stop_gradient(jax.vmap(critic)(x))

        def model_loss(arrays: Any) -> tuple[Array, Array]:
            model = eqx.combine(arrays, still)
            scores = jax.vmap(lambda x: score_of(model, x))(x)
            return jnp.mean(jnp.sum(scores * field, axis=1)), scores

        gradient, scores = jax.grad(model_loss, has_aux=True)(arrays)
        terms = stein_terms(critic, scores, x, divergence=self.divergence, key=keys[-1])
        arrays, model_opt = apply_gradient(
            self.model_optimiser, gradient, state.model_optimiser, arrays
        )
        new = SteinState(eqx.combine(arrays, still), critic, model_opt, critic_opt)
        metrics = {"discrepancy": jnp.mean(terms.operator), "penalty": jnp.mean(terms.square)}
        return new, metrics


def fit_stein(
    model: M,
    x: Float[Array | np.ndarray, "n dim"],
    *,
    critic: Any = None,
    width: int = 128,
    steps: int = 2000,
    batch_size: int | None = None,
    n_critic: int = 5,
    l2: float = 1.0,
    learning_rate: float | optax.Schedule = 1e-3,
    critic_learning_rate: float | optax.Schedule = 1e-3,
    divergence: AbstractDivergence | None = None,
    log_every: int = 100,
    progress: bool | None = None,
    key: Key[Array, "..."],
) -> tuple[M, TrainingInfo]:
    r"""Fit an unnormalised density to data by the learned Stein discrepancy.

    $$ \min_\theta \max_f\; \mathrm{E}_p\big[ s_\theta \cdot f + \mathrm{tr}\, \partial f / \partial
       x \big] - \lambda\, \mathrm{E}_p \|f\|^2 $$

    Args:
        model: a PyTree with `score(x)`, `log_density(x)` or `log_prob(x)` of one point, or a
            function to its log-density. For a stack its arrays have a leading axis.
        x: data, `[n, dim]`; standardise columns of different units first.
        critic: a field from `[dim]` to `[dim]`, smooth; an MLP of two hidden layers if None.
        width: of the default critic's layers.
        steps: of the model; the critic takes `n_critic` times as many.
        batch_size: rows that each of those steps sees; None: 256, or as many as there are for
            `n_critic + 1` steps.
        n_critic: as in `SteinStep`.
        l2: the same.
        learning_rate: the model's, a number or a schedule of Optax's; by Adam with decays 0.5 and
            0.9.
        critic_learning_rate: the critic's, whose schedule counts its own steps.
        divergence: as in `SteinStep`.
        log_every: steps between two points of the history, which holds `discrepancy`.
        progress: show a bar on stderr. None: where stderr is a terminal.
        key: one key; or `[n]` of them, to fit a stack of n models side by side.

    Returns:
        The model and an `TrainingInfo`.

    Raises:
        ValueError: the model has no score of the right shape, the critic gives another shape, x
            has NaN, or an argument is out of range.
        TrainingError: training broke down.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> class Normal(eqx.Module):
        ...     mean: jax.Array
        ...     def log_density(self, x):
        ...         return -jnp.sum((x - self.mean) ** 2) / 2
        >>> x = 1 + jax.random.normal(jax.random.key(0), (500, 1))
        >>> model, _ = fit_stein(
        ...     Normal(jnp.zeros(1)), x, width=16, steps=150, batch_size=50, learning_rate=0.05,
        ...     critic_learning_rate=0.01, progress=False, key=jax.random.key(1))
        >>> bool(abs(model.mean[0] - jnp.mean(x)) < 0.2)
        True

    Source: Grathwohl et al., arXiv 2002.05616, algorithm 1; the settings are those of its code for
        linear ICA.
    """
    key = checked_key_or_keys(key)
    x = jnp.asarray(x)
    check_finite("x", np.asarray(x))
    stacked = key.ndim == 1
    first = lambda tree: jax.tree.map(lambda a: a[0] if eqx.is_array(a) else a, tree)
    check_model(first(model) if stacked else model, x)
    critic_key, key = _split(key)
    rounds, dim = n_critic + 1, x.shape[1]
    if len(x) < rounds * (batch_size or 1):
        raise ValueError(
            f"`x` has {len(x)} rows; `batch_size` = {batch_size} for each of {rounds} steps asks "
            f"for {rounds * (batch_size or 1)}. Take {len(x) // rounds} or less."
        )
    batch_size = batch_size or min(256, len(x) // rounds)
    if critic is None:
        new = lambda key: eqx.nn.MLP(dim, dim, width, 2, jax.nn.swish, dtype=x.dtype, key=key)
        critic = eqx.filter_vmap(new)(critic_key) if stacked else new(critic_key)
    _check_critic(first(critic) if stacked else critic, x)
    step = SteinStep(
        _adam(learning_rate), _adam(critic_learning_rate), l2, n_critic,
        HutchinsonDivergence() if divergence is None else divergence,
    )  # fmt: skip
    begin = eqx.filter_vmap(step.init) if stacked else step.init
    state, info = iterate(
        step, begin(model, critic), Stream(x, batch_size * rounds), steps=steps,
        log_every=log_every, progress=progress, key=key,
    )  # fmt: skip
    return state.model, info


class ScoreMatchingLoss(eqx.Module):
    r"""The loss of score matching of a model on a batch, for `pullback.train.fit`.

    $$ \frac1n \sum_i \mathrm{tr} \frac{\partial s_\theta}{\partial x}(x_i) + \tfrac12
       \|s_\theta(x_i)\|^2 $$

    Called as `loss(model, batch, *, key)`, with a model as in `fit_stein` and points `[n, dim]`; it
    returns the scalar and no metrics.

    Args:
        divergence: for the trace; exactly if None, and sliced with `HutchinsonDivergence`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> model = lambda x: -jnp.sum(x**2) / 2
        >>> loss, _ = ScoreMatchingLoss()(model, jnp.ones((3, 2)), key=jax.random.key(0))
        >>> float(loss)  # -2 + 2 / 2
        -1.0

    Source: Hyvarinen, JMLR 6 (2005); Song et al., Sliced Score Matching, arXiv 1905.07088.
    """

    divergence: AbstractDivergence | None = None

    def check(self, model: Any, data: Any) -> None:
        """Raise ValueError for a row that is not finite."""
        check_rows(data)

    def __call__(
        self, model: Any, batch: Float[Array, "n dim"], *, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        key = checked_key(key)

        def one(x: Array, key: Array) -> Array:
            probe = None if self.divergence is None else self.divergence.probe(x, key=key)
            return hyvarinen_objective(lambda x: score_of(model, x), x, self.divergence, probe)

        return jnp.mean(jax.vmap(one)(batch, jr.split(key, len(batch)))), {}


def _split(key: Key[Array, "..."]) -> tuple[Key[Array, "..."], Key[Array, "..."]]:
    if key.ndim == 0:
        first, second = jr.split(key)
        return first, second
    pairs = jax.vmap(jr.split)(key)
    return pairs[:, 0], pairs[:, 1]


def _adam(learning_rate: float | optax.Schedule) -> optax.GradientTransformation:
    return optax.adam(learning_rate, b1=0.5, b2=0.9)


def _check_critic(critic: Any, x: Float[Array, "n dim"]) -> None:
    found = eqx.filter_eval_shape(critic, jax.ShapeDtypeStruct(x.shape[1:], x.dtype))
    if getattr(found, "shape", None) != x.shape[1:]:
        raise ValueError(
            f"`critic` must map a point of shape {x.shape[1:]} to a vector of that shape; it gave "
            f"{found}."
        )
