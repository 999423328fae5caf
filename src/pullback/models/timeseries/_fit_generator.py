"""A generator of what a series may do next, trained on series."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key
from pullback.train import TrainingInfo, fit

from ._generators import ConditionalGenerator, series_log_prob

_OFTEN = 20  # steps between two looks at the validation loss


def fit_generator(
    series: Float[np.ndarray | Array, "..."],
    *,
    hidden: int = 32,
    components: int = 3,
    steps: int = 1000,
    batch_size: int = 32,
    learning_rate: float = 1e-2,
    validation: Float[np.ndarray | Array, "..."] | None = None,
    patience: int | None = None,
    progress: bool | None = None,
    key: PRNGKeyArray,
) -> tuple[ConditionalGenerator, TrainingInfo]:
    r"""Train a `ConditionalGenerator` by maximum likelihood.

    $$ \min_\theta\; -\frac1N \sum_{i} \sum_{t} \log p_\theta(x^i_{O_t, t} \mid x^i_{<t}) $$

    with $O_t$ what was observed at t: entries that are NaN are integrated out, exactly, so nothing
    needs to be filled in. N counts the observed entries.

    Args:
        series: to train on, `[series, time, feature]`; NaN is what was not observed. Series of
            different lengths end in rows of NaN.
        hidden: the size of the generator's state.
        components: of its mixture.
        steps: of Adam, whose rate falls to 0 along a cosine.
        batch_size: series in a step; all, if there are fewer.
        learning_rate: at the start.
        validation: other series; their loss is in the history as `validation_loss`.
        patience: stop after so many evaluations without a lower loss on `validation`, one every 20
            steps, and return the best: of few series the likelihood of others falls long before
            their own is highest. None: all steps are taken.
        progress: show a bar on stderr. None: where stderr is a terminal.
        key: for the weights and the batches.

    Returns:
        The generator and what `pb.train.fit` says; its loss is in nats an observed entry, of
        features in units of their standard deviation.

    Raises:
        ValueError: the series are not `[series, time, feature]`, hold an infinite number, or a
            feature that is nowhere observed, or one in a unit in which squares are no numbers; or a
            size is below 1.

    Example:
        >>> import jax, numpy as np
        >>> series = np.random.default_rng(0).normal(size=(8, 5, 2))
        >>> generator, info = fit_generator(series, steps=2, key=jax.random.key(0))
        >>> info.step
        2

    Source: Tonekaboni et al., arXiv 2003.02821, section 3.3.
    """
    key = checked_key(key)
    positive(hidden=hidden, components=components, steps=steps, batch_size=batch_size)
    if not 0 < learning_rate < np.inf:
        raise ValueError(f"`learning_rate` must be positive and finite, got {learning_rate}.")
    rows = _checked("series", series, None)
    held = None if validation is None else _checked("validation", validation, rows.shape[2])
    location, scale = _moments(rows)
    model_key, key = jr.split(key)
    # What is trained sees standard units, so that its loss does not depend on the user's.
    standard = lambda x: jnp.asarray((x - location) / scale, float)
    generator = ConditionalGenerator(
        rows.shape[2], hidden=hidden, components=components, key=model_key
    )
    fixed = jax.tree.map(lambda _: True, eqx.filter(generator, eqx.is_inexact_array))
    fixed = eqx.tree_at(lambda g: (g.location, g.scale), fixed, (False, False))
    generator, info = fit(
        generator, _per_entry, standard(rows), trainable=fixed,
        optimiser=optax.adam(optax.cosine_decay_schedule(learning_rate, steps)), steps=steps,
        batch_size=min(batch_size, len(rows)), clip_norm=10.0,
        log_every=min(100 if patience is None else _OFTEN, steps),
        validation=None if held is None else standard(held), patience=patience, progress=progress,
        key=key,
    )  # fmt: skip
    units = (generator.location.dtype, location, scale)
    moved = tuple(jnp.asarray(each, units[0]) for each in units[1:])
    return eqx.tree_at(lambda g: (g.location, g.scale), generator, moved), info


def _per_entry(
    generator: ConditionalGenerator, batch: Float[Array, "batch time features"], *,
    key: PRNGKeyArray,
) -> tuple[Float[Array, ""], dict[str, Array]]:  # fmt: skip
    total = jnp.sum(jax.vmap(series_log_prob, (None, 0))(generator, batch))
    count = jnp.maximum(jnp.sum(~jnp.isnan(batch)), 1)
    return -total / count.astype(total.dtype), {}


def _checked(name: str, series: np.ndarray | Array, features: int | None) -> np.ndarray:
    rows = np.asarray(series, np.float64)
    if rows.ndim != 3 or not rows.size:
        raise ValueError(
            f"`{name}` must be [series, time, feature], got shape {rows.shape}; put one series in "
            "a batch with `series[None]`."
        )
    if features not in (None, rows.shape[2]):
        raise ValueError(f"`{name}` must have {features} features, got {rows.shape[2]}.")
    if np.isinf(rows).any():
        i, t, j = np.argwhere(np.isinf(rows))[0]
        raise ValueError(
            f"`{name}` must be finite, or NaN where nothing was observed; series {i} has "
            f"{rows[i, t, j]} in feature {j} at step {t}."
        )
    if features is None and (unseen := np.isnan(rows).all(axis=(0, 1))).any():
        raise ValueError(
            f"`{name}` has no observation of feature {int(np.argmax(unseen))}; leave it out."
        )
    return rows


def _moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(over="ignore"):
        location = np.nanmean(rows, axis=(0, 1))
        scale = np.nanstd(rows, axis=(0, 1))
    # A mean that was rounded says nothing of whether a feature varies.
    constant = np.nanmax(rows, axis=(0, 1)) == np.nanmin(rows, axis=(0, 1))
    scale = np.where(constant, 1.0, scale)
    finfo = jnp.finfo(jnp.result_type(float))
    most, least = float(finfo.max) ** 0.5, float(finfo.tiny) ** 0.5
    fits = (np.abs(location) < most) & (scale < most) & (scale > least)
    if not fits.all():
        j = int(np.argmin(fits))
        raise ValueError(
            f"`series` must have features whose squares are numbers in {finfo.dtype}; feature {j} "
            f"has the mean {location[j]:.3g} and the deviation {scale[j]:.3g}: give it in another "
            "unit."
        )
    return location, scale
