"""How many nats two sets of columns share, from paired samples."""

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key
from pullback._normal_scores import carried_by_few, normal_scores
from pullback._traced import compiled
from pullback.bounds import (
    MLPBaseline,
    SeparableCritic,
    infonce,
    interpolated,
    interpolated_ceiling,
    js_nwj,
    nwj,
    tuba,
)
from pullback.data import standardise
from pullback.train import TrainingInfo, fit

Bound = Literal["interpolated", "infonce", "nwj", "js", "tuba"]
Samples = Float[Array | np.ndarray, "..."]

# Of the pairs, a fifth is reported on, and another fifth tells when to stop.
_PARTS = 5
# Folded into the key, for the order of values that repeat.
_TIES = 0x7135
# Batches without which a standard error says little.
_FEWEST_BATCHES = 5


@dataclasses.dataclass(frozen=True)
class MutualInformation:
    """A lower bound on mutual information, measured on pairs that the critic has not seen.

    Attributes:
        value: the mean over held-out batches, in nats. Below zero only by chance.
        standard_error: of `value`, from the spread over batches. It holds for this critic; another
            split or seed trains another.
        bound: the bound's name.
        ceiling: the most that the bound gives at this batch size, in nats; may be infinite. A value
            near it says that there is more than the bound can tell.
        batch_values: the bound on each batch of held-out pairs, in nats.
        batch_size: pairs in a batch.
        info: how the critic was trained.
    """

    value: float
    standard_error: float
    bound: str
    ceiling: float
    batch_values: np.ndarray
    batch_size: int
    info: TrainingInfo

    @property
    def bits(self) -> float:
        """`value` in bits."""
        return self.value / math.log(2)

    @property
    def standard_error_bits(self) -> float:
        """`standard_error` in bits."""
        return self.standard_error / math.log(2)

    def __str__(self) -> str:
        limit = "no ceiling" if math.isinf(self.ceiling) else f"ceiling {self.ceiling:.2f}"
        return (
            f"at least {self.value:.3f} +- {self.standard_error:.3f} nats ({self.bits:.3f} bits), "
            f"by {self.bound} ({limit})"
        )


def estimate_mutual_information(
    x: Samples,
    y: Samples,
    *,
    bound: Bound = "interpolated",
    alpha: float | int = 0.01,
    batch_size: int = 64,
    steps: int = 5000,
    learning_rate: float = 5e-4,
    critic: Callable[[Array, Array], Array] | None = None,
    copula: bool = False,
    progress: bool | None = None,
    key: PRNGKeyArray,
) -> MutualInformation:
    r"""A lower bound on the mutual information of paired samples.

    $$ I(X; Y) = \mathrm{E}_{p(x,y)} \log \frac{p(x, y)}{p(x)\, p(y)} \ge \text{value} $$

    A critic is trained on three fifths of the pairs, stopped where the bound is best on another
    fifth, and reported on the last: on pairs that it has seen it would exceed the truth. Columns
    are standardised first, which changes no mutual information; but where a few rows carry the
    moments, all others look the same, and a warning says so. With `copula` a column is replaced by
    its ranks, as a Gaussian would have them, which changes no mutual information either, and which
    neither outliers nor the scale of a column (exponential, or of its tenth power) can touch.

    The defaults suit estimation. Where all is dominated by noise take `infonce`, whose spread is
    the smallest; where the value nears its ceiling take larger batches, or a smaller `alpha`. A
    function without noise of continuous columns shares infinitely many nats, and any value is then
    a matter of the ceiling. DV and MINE are not offered, for they are not bounds.

    Args:
        x: samples, `[n, ...]`; what follows the first axis is one sample, and is flattened.
        y: samples, `[n, ...]`, each paired with that of x.
        bound: "interpolated" (I_alpha), "infonce", "nwj", "js" (NWJ trained by Jensen-Shannon), or
            "tuba". I_alpha and TUBA learn a baseline too.
        alpha: of "interpolated", in [0, 1]: less bias and more spread the smaller it is.
        batch_size: pairs in a batch, of training and of the report; at most a twenty-fifth of all.
        steps: the most training steps.
        learning_rate: Adam's.
        critic: any module that gives scores `[i, j] = f(x_j, y_i)` of batches `[b, dim]`; by
            default a `SeparableCritic`.
        copula: bring each column to normal scores, $\Phi^{-1}(\mathrm{rank} / (n + 1))$; values
            that repeat come in an order of chance.
        progress: show a bar on stderr. None: where stderr is a terminal.
        key: for the split, the weights and the batches.

    Returns:
        A `MutualInformation`, in nats and in bits.

    Raises:
        ValueError: the samples differ in number, are too few for the batch, or hold a number that
            is not finite; or an argument is out of range.
        TrainingError: training broke down; `nwj` and `tuba` may, where there is much to share.

    Warns:
        UserWarning: without `copula` under a hundredth of the rows carry half of the variance of a
            column.

    Example:
        >>> import jax, numpy as np
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=200)
        >>> found = estimate_mutual_information(
        ...     x, x + rng.normal(size=200), batch_size=8, steps=100, key=jax.random.key(0))
        >>> found.bound, found.value < found.ceiling, len(found.batch_values)
        ('I_0.01', True, 5)

    Source: Poole et al., On Variational Bounds of Mutual Information, arXiv 1905.06922.
    """
    key = checked_key(key)
    if bound not in get_args(Bound):
        raise ValueError(
            f"`bound` must be one of {', '.join(map(repr, get_args(Bound)))}; got {bound!r}."
        )
    if not 0 <= alpha <= 1:
        raise ValueError(f"`alpha` must be in [0, 1], got {alpha}.")
    xs, ys = _checked("x", x), _checked("y", y)
    held_out = _check_sizes(len(xs), len(ys), batch_size)
    if copula:
        chance = np.random.default_rng(np.asarray(jr.key_data(jr.fold_in(key, _TIES))).ravel())
        xs, ys = normal_scores(xs, chance), normal_scores(ys, chance)
    else:
        _warn_of_few("x", xs)
        _warn_of_few("y", ys)
    split_key, critic_key, baseline_key, key = jr.split(key, 4)
    order = np.asarray(jr.permutation(split_key, len(xs)))
    places = order[2 * held_out :], order[held_out : 2 * held_out], order[:held_out]
    (x_train, *x_rest), _ = standardise(*(xs[part] for part in places))
    (y_train, *y_rest), _ = standardise(*(ys[part] for part in places))
    train, validation, test = (
        (jnp.asarray(a, float), jnp.asarray(b, float))
        for a, b in zip((x_train, *x_rest), (y_train, *y_rest), strict=True)
    )
    model = _Model(
        SeparableCritic(xs.shape[1], ys.shape[1], key=critic_key) if critic is None else critic,
        MLPBaseline(ys.shape[1], key=baseline_key),
    )
    loss = _loss(bound, float(alpha))
    model, info = fit(
        model,
        loss,
        train,
        optimiser=optax.adam(learning_rate),
        steps=steps,
        batch_size=batch_size,
        validation=validation,
        patience=10,
        # A rare pair can make the gradient of a bound with an exponential enormous.
        clip_norm=10.0,
        progress=progress,
        key=key,
    )
    values = np.asarray(_batch_values(model, loss, test, batch_size), float)
    return MutualInformation(
        value=float(values.mean()),
        standard_error=float(values.std(ddof=1) / math.sqrt(len(values))),
        bound=_name(bound, alpha),
        ceiling=_ceiling(bound, alpha, batch_size),
        batch_values=values,
        batch_size=batch_size,
        info=info,
    )


class _Model(eqx.Module):
    critic: Callable[[Array, Array], Array]
    log_baseline: MLPBaseline


def _loss(bound: Bound, alpha: float) -> Callable[..., Any]:
    def loss(model: _Model, batch: tuple[Array, Array], *, key: PRNGKeyArray) -> tuple[Array, dict]:
        x, y = batch
        scores = model.critic(x, y)
        match bound:
            case "infonce":
                value = infonce(scores)
            case "nwj":
                value = nwj(scores)
            case "js":
                value = js_nwj(scores)
            case "tuba":
                value = tuba(scores, jax.vmap(model.log_baseline)(y))
            case _:
                value = interpolated(scores, jax.vmap(model.log_baseline)(y), alpha)
        return -value, {}

    return loss


@compiled
def _batch_values(
    model: _Model, loss: Callable[..., Any], pairs: tuple[Array, Array], batch_size: int
) -> Array:
    batches = jax.tree.map(lambda a: a.reshape(-1, batch_size, a.shape[1]), pairs)
    return jax.lax.map(lambda batch: -loss(model, batch, key=jr.key(0))[0], batches)


def _name(bound: Bound, alpha: float | int) -> str:
    names = {"infonce": "InfoNCE", "nwj": "NWJ", "js": "NWJ trained by JS", "tuba": "TUBA"}
    return names.get(bound, f"I_{alpha:g}")


def _ceiling(bound: Bound, alpha: float | int, batch_size: int) -> float:
    if bound == "infonce":
        return math.log(batch_size)
    return interpolated_ceiling(batch_size, alpha) if bound == "interpolated" else math.inf


def _checked(name: str, samples: Samples) -> np.ndarray:
    """Rows of float64, all finite."""
    rows = np.asarray(samples, float)
    if rows.ndim == 0 or rows.size == 0:
        raise ValueError(f"`{name}` must hold samples, [n, ...]; got the shape {list(rows.shape)}.")
    rows = rows.reshape(len(rows), -1)
    bad = ~np.isfinite(rows)
    if bad.any():
        row, column = (int(place) for place in np.argwhere(bad)[0])
        raise ValueError(
            f"`{name}` must be finite; sample {row} has {rows[row, column]} in column {column}, "
            f"and {int(bad.any(axis=1).sum())} of {len(rows)} samples have such a number. Leave "
            "those pairs out of `x` and `y`, or fill them in."
        )
    return rows


def _warn_of_few(name: str, rows: np.ndarray) -> None:
    few = carried_by_few(rows)
    if few:
        column, first = next(iter(few.items()))
        listed = ", ".join(map(str, first[:5])) + ", ..." * (len(first) > 5)
        more = f", and so in {len(few) - 1} more columns" if len(few) > 1 else ""
        warnings.warn(
            f"of `{name}`, column {column}, {len(first)} of {len(rows)} rows carry half of the "
            f"variance (row {listed}){more}: standardised, the others look all the same, and the "
            "bound may miss what they share. Take `copula=True`, or leave those rows out.",
            stacklevel=3,
        )


def _check_sizes(xs: int, ys: int, batch_size: int) -> int:
    """The number of pairs in each of the two held-out parts, whole batches."""
    if xs != ys:
        raise ValueError(f"`x` and `y` must be paired, sample by sample; got {xs} and {ys}.")
    if batch_size < 2:
        raise ValueError(f"`batch_size` must be 2 or more, got {batch_size}.")
    held_out = xs // _PARTS // batch_size * batch_size
    if held_out < _FEWEST_BATCHES * batch_size:
        least, largest = _FEWEST_BATCHES * _PARTS * batch_size, xs // (_FEWEST_BATCHES * _PARTS)
        fits = f"use `batch_size={largest}` or less" if largest >= 2 else "there are too few"
        raise ValueError(
            f"`batch_size` {batch_size} asks for {least} pairs or more, so that the fifth that is "
            f"held out makes {_FEWEST_BATCHES} batches; got {xs} pairs: {fits}."
        )
    return held_out
