"""What a latent model says of times that were not observed, with bands."""

import math
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from pullback import ode
from pullback._in_batches import check_batch_size, over_batches
from pullback._key import checked_key
from pullback.models.likelihoods import AbstractLikelihood

from ._observations import Observations, check_observations


class Prediction(NamedTuple):
    """Values that would be observed, with a central band.

    Of classes, `mean` has their probabilities, `[batch, query, variable, class]`, and a new
    observation has no band: their numbers have no order. `lower` and `upper` are then of each
    probability, as it varies over posterior samples, with probability `level`; a class that is held
    by all samples alike has a narrow one.

    Attributes:
        times: `[batch, query]`.
        mean: over posterior samples, `[batch, query, variable]`.
        lower: the band's lower end, shaped like `mean`; of counts and other whole numbers, one.
        upper: its upper end.
        level: the probability that a new observation lies in the band, if the model is right; of
            whole numbers, at least that.
    """

    times: Float[Array, "batch query"]
    mean: Float[Array, "batch query variable *classes"]
    lower: Float[Array, "batch query variable *classes"]
    upper: Float[Array, "batch query variable *classes"]
    level: float


@runtime_checkable
class LatentModel(Protocol):
    """What predictions are made of: paths of the posterior, and the likelihood about them."""

    likelihood: AbstractLikelihood

    def paths(
        self, observed: Observations, times: Array, *, samples: int, keys: PRNGKeyArray
    ) -> tuple[Array, ode.Solution]:
        """The likelihood's parameters along paths, and how their solves ended.

        The parameters have the shape `[sample, batch, query, variable]`, and more axes where
        `likelihood.params_shape` has such.
        """
        ...


def sample_paths(
    model: LatentModel,
    observed: Observations,
    times: Float[Array, "batch query"],
    *,
    samples: int = 50,
    batch_size: int | None = None,
    key: PRNGKeyArray,
) -> Float[Array, "sample batch query variable *classes"]:
    """Noiseless paths through `times`, one for each draw of the posterior.

    They are means: of counts their rates, of classes their probabilities, with one more axis.

    Args:
        model: a latent ODE, or another latent model.
        observed: what the encoder sees.
        times: increasing along each row; with the anchor "first", none before the window.
        samples: draws for each series.
        batch_size: the most series that are solved at once.
        key: for the draws; each series has its own, whatever the batches.

    Raises:
        ValueError: `batch_size` or `samples` is below 1, or `times` has other rows than `observed`.
        SolveError: a solve failed.

    Example:
        >>> import jax, jax.numpy as jnp, numpy as np, pullback as pb
        >>> from pullback.models.timeseries import latent_ode, observations
        >>> series = pb.data.irregular_series([([0.0, 0.3, 1.0], [0.1, 0.4, 0.2])])
        >>> model = latent_ode(1, latent=2, steps=1, key=jax.random.key(0))
        >>> times = jnp.linspace(0.0, 2.0, 5)[None]
        >>> sample_paths(
        ...     model, observations(series), times, samples=3, key=jax.random.key(1)
        ... ).shape
        (3, 1, 5, 1)
    """
    key = checked_key(key)
    (paths,) = _in_batches(model, observed, times, samples, None, batch_size, key)
    return jnp.swapaxes(paths, 0, 1)


def predict(
    model: LatentModel,
    observed: Observations,
    times: Float[Array, "batch query"],
    *,
    level: float = 0.9,
    samples: int = 100,
    batch_size: int | None = None,
    key: PRNGKeyArray,
) -> Prediction:
    r"""What would be observed at any times: between the observations, or beyond them.

    The band holds a new observation with probability `level`: its ends are quantiles, over
    posterior samples, of draws from the likelihood,

    $$ x^{(k)} \sim p(x \mid \mathrm{decoder}(z_k)), \qquad z_k \sim q(z \mid \mathrm{observed}). $$

    Of whole numbers the ends are the draws just outside of these quantiles, so that the band holds
    at least `level`; of classes see `Prediction`.

    That takes `2 / (1 - level) - 1` samples or more, 19 for a level of 0.9: the band of fewer goes
    from the least to the greatest and holds a share of `(samples - 1) / (samples + 1)`.

    Args:
        model: a latent ODE, or another latent model.
        observed: what the encoder sees.
        times: increasing along each row; with the anchor "first", none before the window.
        level: the band's probability, in (0, 1).
        samples: draws for each series.
        batch_size: the most series that are solved at once.
        key: for the draws; each series has its own, whatever the batches.

    Raises:
        ValueError: `level` is not in (0, 1), `batch_size` or `samples` is below 1, `times` has
            other rows than `observed`, or what was observed is not finite or cannot be of the
            likelihood.
        SolveError: a solve failed.

    Example:
        >>> import jax, jax.numpy as jnp, numpy as np, pullback as pb
        >>> from pullback.models.timeseries import latent_ode, observations
        >>> series = pb.data.irregular_series([([0.0, 0.3, 1.0], [0.1, 0.4, 0.2])])
        >>> model = latent_ode(1, latent=2, steps=1, key=jax.random.key(0))
        >>> times = jnp.linspace(0.0, 2.0, 5)[None]
        >>> found = predict(model, observations(series), times, key=jax.random.key(1))
        >>> bool(jnp.all((found.lower < found.mean) & (found.mean < found.upper)))
        True

    Source: Rubanova et al., arXiv 1907.03907, section 4.
    """
    key = checked_key(key)
    if not 0 < level < 1:
        raise ValueError(f"`level` must be in (0, 1), got {level}.")
    mean, lower, upper = _in_batches(model, observed, times, samples, level, batch_size, key)
    return Prediction(times, mean, lower, upper, level)


def reconstruct(
    model: LatentModel,
    observed: Observations,
    *,
    level: float = 0.9,
    samples: int = 100,
    batch_size: int | None = None,
    key: PRNGKeyArray,
) -> Prediction:
    """`predict` at the series' own times, for every variable, observed there or not."""
    key = checked_key(key)
    return predict(
        model,
        observed,
        observed.times,
        level=level,
        samples=samples,
        batch_size=batch_size,
        key=key,
    )


def impute(
    model: LatentModel,
    observed: Observations,
    *,
    level: float = 0.9,
    samples: int = 100,
    batch_size: int | None = None,
    key: PRNGKeyArray,
) -> Prediction:
    """`reconstruct`, with what was observed in its place: there mean and band are the value.

    A class that was observed has the probability 1.
    """
    key = checked_key(key)
    found = reconstruct(
        model, observed, level=level, samples=samples, batch_size=batch_size, key=key
    )
    values, mask = observed.values, observed.mask
    if model.likelihood.kind == "classes":
        values = jax.nn.one_hot(values.astype(jnp.int32), found.mean.shape[-1])
        mask = mask[..., None]
    put = lambda x: jnp.where(mask, values.astype(x.dtype), x)
    return found._replace(mean=put(found.mean), lower=put(found.lower), upper=put(found.upper))


def forecast(
    model: LatentModel,
    observed: Observations,
    times: Float[Array, "batch query"],
    *,
    level: float = 0.9,
    samples: int = 100,
    batch_size: int | None = None,
    key: PRNGKeyArray,
) -> Prediction:
    """`predict` at times after the end of each series' window.

    Raises:
        ValueError: a time is not after the end of its series' window, where this is not compiled;
            and as `predict`.
    """
    key = checked_key(key)
    early = times[:, 0] <= observed.times[:, -1]
    if not isinstance(early, Tracer) and bool(jnp.any(early)):
        row = int(jnp.argmax(early))
        raise ValueError(
            f"`times` must be after the window of each series; series {row} ends at "
            f"{float(observed.times[row, -1]):g} and is asked for {float(times[row, 0]):g}. "
            "Between observations, use `predict` or `impute`."
        )
    return predict(
        model, observed, times, level=level, samples=samples, batch_size=batch_size, key=key
    )


def _ends(level: float, samples: int) -> tuple[float, float]:
    """Where among `samples` draws, from the least at 0 to the greatest at 1, a band ends.

    A new draw falls with the same chance, `1 / (samples + 1)`, into each of the gaps between them
    and the two beyond. So the ends leave `(1 - level) / 2` of that many gaps on either side.
    """
    beyond = (1 - level) / 2 * (samples + 1)
    share = (beyond - 1) / (samples - 1) if samples > 1 else 0.5
    share = max(share, 0.0)
    return share, 1 - share


@eqx.filter_jit
def _in_batches_compiled(
    model: Any,
    observed: Observations,
    times: Array,
    keys: Array,
    samples: int,
    level: Any,
    batch_size: int | None,
) -> tuple[tuple[Array, ...], ode.Solution]:
    def batch(given: tuple[Observations, Array, Array]) -> tuple[tuple[Array, ...], ode.Solution]:
        mine, at, own = given
        found, solution = _of_batch(model, mine, at, own, samples, level)
        return found, ode.Solution(at, None, solution.stats, solution.result, solution.t_reached)

    return over_batches(batch, (observed, times, keys), batch_size)


def _of_batch(
    model: LatentModel, observed: Observations, times: Array, keys: Array, samples: int, level: Any
) -> tuple[tuple[Array, ...], ode.Solution]:
    """Paths `[batch, sample, ...]`, or the mean and the ends of the band; and the solves' ends."""
    split = jax.vmap(jr.split)(keys)
    params, solution = model.paths(observed, times, samples=samples, keys=split[:, 0])
    params = jnp.swapaxes(params, 0, 1)
    paths = model.likelihood.mean(params)
    if level is None:
        return (paths,), solution
    return (jnp.mean(paths, axis=1), *_band(model, params, paths, level, split[:, 1])), solution


def _band(
    model: LatentModel, params: Array, paths: Array, level: float, keys: Array
) -> tuple[Array, Array]:
    likelihood, samples = model.likelihood, paths.shape[1]
    seen = paths
    if likelihood.kind != "classes":
        draws = jax.vmap(lambda params, key: likelihood.sample(params, key=key))(params, keys)
        seen = draws.astype(paths.dtype)
    ends = _ends(level, samples)
    if likelihood.kind == "whole":
        # Between two draws there need be no whole number, so out to the next draw.
        place = max(math.floor(ends[0] * (samples - 1) + 1e-6), 0)
        ordered = jnp.sort(seen, axis=1)
        return ordered[:, place], ordered[:, samples - 1 - place]
    lower, upper = jnp.quantile(seen, jnp.asarray(ends, paths.dtype), axis=1)
    return lower, upper


def _in_batches(
    model: LatentModel,
    observed: Observations,
    times: Array,
    samples: int,
    level: float | None,
    batch_size: int | None,
    key: PRNGKeyArray,
) -> tuple[Array, ...]:
    check_batch_size(batch_size)
    if samples < 1:
        raise ValueError(f"`samples` must be 1 or more, got {samples}.")
    if not any(isinstance(part, Tracer) for part in observed):
        check_observations(model, observed)
    n = observed.times.shape[0]
    if times.ndim != 2 or times.shape[0] != n:
        raise ValueError(f"`times` must have shape [{n}, query], got {list(times.shape)}.")
    keys = jr.split(key, n)
    found, solution = _in_batches_compiled(model, observed, times, keys, samples, level, batch_size)
    ode.raise_if_failed(solution)
    return found
