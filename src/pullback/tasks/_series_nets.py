"""The networks of `SeriesModel`: how they are built, trained, kept and asked."""

import functools
import itertools
import math
import warnings
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from sklearn.exceptions import ConvergenceWarning

from pullback._on_device import on_device
from pullback._solve_failures import failures_are_nan
from pullback.models import timeseries as ts
from pullback.models.likelihoods import masked_log_prob
from pullback.train import TrainingError, fit

from ._net_arrays import filled
from ._series_asked import FORECAST, Asked, Known

METHODS = ("latent-ode", "ode-rnn", "neural-cde", "latent-sde")
_LOOK_BACK: Any = {"ode-rnn": "ode", "neural-cde": "cde"}  # the cell of each
SPAN = 5.0  # what a usual series lasts on the model's scale: a few turns of its dynamics
WINDOW = 128  # times of a series that are looked at together
_ROWS = 64  # series that a program is asked of at once
_BETA, _DEVIATION = 0.01, 0.5
_PATHS = 8  # of a latent SDE, averaged
_FEWEST = 10  # series to train on, and values in them
_VALUES = 1000


class Size(NamedTuple):
    """How large a network is, and how it is trained.

    Attributes:
        method: of `METHODS`.
        variables: of the series.
        latent: of the state.
        hidden: of the encoder, and of its nets and fields.
        rows: series to train on, each cut and hidden anew.
        batch: of them in a step.
        steps: the most of them.
        rate: of learning, at first; at the last step it is 0.
        log_every: steps between two looks at held-out series.
    """

    method: str
    variables: int
    latent: int
    hidden: int
    rows: int
    batch: int
    steps: int
    rate: float
    log_every: int

    @property
    def codes(self) -> int:
        """Numbers of a series' code."""
        return self.hidden if self.method in _LOOK_BACK else self.latent

    @classmethod
    def of(cls, method: str, mask: Bool[np.ndarray, "s t v"], most: int | None) -> "Size":
        """That which suits some series, by what is known of them."""
        series, _, variables = mask.shape
        latent = min(8 + variables, 24)
        rows = min(max(_size_of(4 * series), 256), 4096)
        steps = {"latent-ode": 1600, "latent-sde": 400}.get(method, 1200)
        # The field of a CDE is bounded, and its net is trained twice as fast.
        rate = 2e-2 if method == "neural-cde" else 1e-2
        found = cls(method, variables, latent, 32, rows, 32, steps, rate, 50)
        if most is None:
            few = series < _FEWEST or mask.sum() < _VALUES
            return found._replace(steps=0) if few else found
        log_every = max(1, min(found.log_every, most))
        return found._replace(steps=most // log_every * log_every, log_every=log_every)


class _Loss(eqx.Module):
    """The loss of a method: what it says of all values, shown and hidden, per series.

    Of the evidence bound the KL counts little. At its full weight short series teach nothing: the
    posterior stays the prior. What a latent model says is said at the posterior's mean, and its
    bands are made of errors, so no width hangs on that weight.
    """

    method: str = eqx.field(static=True)

    def __call__(
        self, model: Any, batch: ts.TrainingSeries, *, key: PRNGKeyArray
    ) -> tuple[Array, dict[str, Array]]:
        target = batch.target
        assert target is not None
        if self.method in _LOOK_BACK:
            params = jax.vmap(model.outputs)(*batch.observed)
            found = masked_log_prob(model.likelihood, params, target.values, target.mask)
            return -jnp.sum(found) / target.mask.shape[0], {}
        terms = model.elbo_terms(batch.observed, target, beta=_BETA, key=key)
        return -jnp.mean(terms.elbo), {"result": jnp.max(terms.result)}


def _build(size: Size, key: PRNGKeyArray) -> Any:
    variables, latent, hidden = size.variables, size.latent, size.hidden
    # Of single precision, whatever JAX's is: what is saved is read in another process.
    deviation = jnp.full(variables, math.log(_DEVIATION), jnp.float32)
    likelihood = eqx.tree_at(
        lambda normal: normal.log_std, ts.Normal(_DEVIATION, variables=variables), deviation
    )
    if size.method in _LOOK_BACK:
        return ts.predictor(
            _LOOK_BACK[size.method], variables, hidden, width=hidden, steps=1,
            likelihood=likelihood, dtype=jnp.float32, key=key,
        )  # fmt: skip
    if size.method == "latent-sde":
        return ts.latent_sde(
            variables, latent=latent, encoder_size=hidden, context=hidden, width=hidden,
            likelihood=likelihood, period=SPAN, steps=2, dtype=jnp.float32, key=key,
        )  # fmt: skip
    model = ts.latent_ode(
        variables, latent=latent, encoder_size=hidden, gate_width=hidden, width=hidden,
        encoder_steps=1, steps=1, likelihood=likelihood, dtype=jnp.float32, key=key,
    )  # fmt: skip
    return eqx.tree_at(lambda m: m.solver, model, diffrax.Bosh3(), is_leaf=lambda x: x is None)


@functools.lru_cache(maxsize=64)
def _shape(size: Size) -> Any:
    # Of the weights alone: how long they are trained does not matter.
    return eqx.filter_eval_shape(_build, size, jr.key(0))


def _start(size: Size, generator: np.random.RandomState) -> Any:
    """Weights drawn on the host, where nothing is compiled; the readout is 0: all is the mean."""

    def draw(path: tuple, leaf: Any) -> Any:
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        name = jax.tree_util.keystr(path)
        if "likelihood" in name:
            found = np.full(leaf.shape, math.log(_DEVIATION))
        elif leaf.ndim < 2 or name.startswith((".decoder", ".readout")) or _is_control(name):
            found = np.zeros(leaf.shape)
        elif "field" in name and ".drive" not in name:
            found = 0.1 * generator.normal(size=leaf.shape)
        else:
            limit = 1 / np.sqrt(leaf.shape[-1])
            found = generator.uniform(-limit, limit, leaf.shape)
        return found.astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, _shape(size))


def _is_control(name: str) -> bool:
    """The last layer of a latent SDE's control, with which posterior and prior are one."""
    return name.startswith(".control.net.layers[1]")


def train(
    size: Size, asked: Asked, held_out: Asked, *, seed: int, progress: bool | None
) -> tuple[Any, int]:
    """The network with the weights that did best on held-out series, and the steps taken.

    None, and no step, where it is not to be trained, or training fails.
    """
    if not size.steps:
        return None, 0
    generator = np.random.RandomState(seed)
    try:
        model, info = fit(
            jax.tree.map(_put, _start(size, generator)),
            _Loss(size.method),
            _training_series(asked, size.rows, generator),
            optimiser=optax.adamax(optax.cosine_decay_schedule(size.rate, size.steps)),
            clip_norm=5.0,
            steps=size.steps,
            batch_size=size.batch,
            validation=_training_series(held_out, size.rows // 4, generator),
            patience=6,
            log_every=size.log_every,
            rollbacks=3,
            progress=progress,
            key=_key(seed),
        )
    except TrainingError as error:
        told = "the network could not be trained, so the model is the process that it starts from: "
        warnings.warn(f"{told}{error}", ConvergenceWarning, stacklevel=3)
        return None, 0
    return model, int(info.step)


def _training_series(
    asked: Asked, rows: int, generator: np.random.RandomState
) -> ts.TrainingSeries:
    """Rows, each a window of a series; what is hidden and what is shown is scored alike."""
    count = len(asked.series)
    order = np.concatenate([generator.permutation(count) for _ in range(-(-rows // count))])[:rows]
    length = _lengths(asked.known)[order]
    width = min(WINDOW, _size_of(int(length.max())))
    spare = np.maximum(length - width, 0)
    start = np.asarray([generator.randint(most + 1) for most in spare])
    cut = asked.shown.any(axis=2).cumsum(axis=1).argmax(axis=1)[order] + 1
    # Of a long series whose end is hidden, the window has that end's beginning in it.
    start = np.where(
        (asked.task[order] == FORECAST) & (spare > 0), np.clip(cut - width // 2, 0, spare), start
    )
    places = np.minimum(start[:, None] + np.arange(width), length[:, None] - 1)
    real = start[:, None] + np.arange(width) < length[:, None]
    at = order[:, None], places
    times = asked.known.times[at]
    shown = asked.shown[at] & real[..., None]
    mask = asked.known.mask[at] & real[..., None]
    values = asked.known.values[at]
    seen = _observed(times, values, shown)
    return ts.TrainingSeries(seen, _observed(times, values, mask))


def _observed(times: np.ndarray, values: np.ndarray, mask: Any) -> ts.Observations:
    since: Any = (times - times[:, :1]).astype(np.float32)
    single: Any = np.where(mask, values, 0).astype(np.float32)
    return ts.Observations(since, single, mask)


def _lengths(known: Known) -> np.ndarray:
    """How many times each series has; what repeats the last is padding."""
    return 1 + np.sum(np.diff(known.times, axis=1) > 0, axis=1)


def _size_of(count: int) -> int:
    """The next power of two, or half of three of them, 16 or more."""
    size = 16
    while size < count:
        size = size * 3 // 2 if size & (size - 1) == 0 else size // 3 * 4
    return size


@eqx.filter_jit
def _ask(model: Any, observed: ts.Observations, key: PRNGKeyArray) -> tuple[Array, Array]:
    """What a network says at each time, and its code of each series."""
    if isinstance(model, ts.Predictor):
        path = jax.vmap(lambda *series: ts.run_cell(model.cell, *series))(*observed)
        read = jax.vmap(model.cell.read)
        return jax.vmap(jax.vmap(model.readout))(jax.vmap(read)(path.before)), read(path.last)
    if isinstance(model, ts.LatentODE):
        mean, _ = model.encode(observed)
        decoded = model.decode(mean[None], model.anchor_of(observed), observed.times)
        return decoded.mean[0], mean
    posterior, _ = model.encode(observed)
    # The same noise for every series: what one is told does not hang on its place among others.
    keys = jnp.broadcast_to(key, observed.times.shape[:1])
    params, _ = model.paths(observed, observed.times, samples=_PATHS, keys=keys)
    return jnp.mean(params, axis=0), posterior.mean


def ask(model: Any, seen: Known) -> tuple[Float[np.ndarray, "s t v"], Float[np.ndarray, "s code"]]:
    """What a network says of series at all of their times, and a code of each.

    A long series is cut into windows; its code is that of the last. A program of a few widths, and
    always of as many series, answers: so numbers do not hang on what is beside a series.
    """
    lengths = _lengths(seen)
    last = seen.mask.shape[1] - np.argmax(np.any(seen.mask, axis=2)[:, ::-1], axis=1)
    pieces = [
        (row, start, stop)
        for row, (length, cut) in enumerate(zip(lengths, last, strict=True))
        for start, stop in _pieces(int(length), int(cut))
    ]
    found, codes = np.zeros(seen.values.shape), None
    # Those of a width together.
    pieces.sort(key=lambda piece: _size_of(piece[2] - piece[1]))
    for group in _groups(pieces):
        width = _size_of(group[0][2] - group[0][1])
        rows, starts, stops = np.asarray(group).T[:, :, None]
        places = starts + np.arange(width)
        real, places = places < stops, np.minimum(places, stops - 1)
        many = np.arange(_ROWS) % len(group)
        at = rows[many], places[many]
        observed = _observed(seen.times[at], seen.values[at], seen.mask[at] & real[many][..., None])
        with failures_are_nan():
            said, code = _ask(model, jax.tree.map(_put, observed), _key(0))
        said, code = np.asarray(said, np.float64), np.asarray(code, np.float64)
        codes = np.zeros((len(lengths), code.shape[1])) if codes is None else codes
        for place, (row, start, stop) in enumerate(group):
            found[row, start:stop] = said[place, : stop - start]
            if stop == lengths[row]:
                codes[row] = code[place]
    for row, length in enumerate(lengths):
        found[row, length:] = found[row, length - 1]
    assert codes is not None
    # A solve that failed says no more than the mean.
    return np.nan_to_num(found, posinf=0.0, neginf=0.0), np.nan_to_num(codes)


def _pieces(length: int, cut: int) -> list[tuple[int, int]]:
    """Where a series is cut; what comes after all that is seen stays with half a window before."""
    if length <= WINDOW:
        return [(0, length)]
    start = max(0, cut - WINDOW // 2) if length - cut > WINDOW // 2 else length
    ends = [*range(0, start, WINDOW), start, *([length] if start < length else [])]
    return list(itertools.pairwise(ends))


def _groups(pieces: list[tuple[int, int, int]]) -> list[list[tuple[int, int, int]]]:
    groups: list[list[tuple[int, int, int]]] = []
    for piece in pieces:
        width = _size_of(piece[2] - piece[1])
        fits = groups and len(groups[-1]) < _ROWS
        if not (fits and _size_of(groups[-1][0][2] - groups[-1][0][1]) == width):
            groups.append([])
        groups[-1].append(piece)
    return groups


def _key(seed: int) -> PRNGKeyArray:
    return jr.wrap_key_data(on_device(np.asarray([0, seed], np.uint32)))


def _put(leaf: Any) -> Any:
    return on_device(leaf) if isinstance(leaf, np.ndarray) else leaf


def from_arrays(size: Size, arrays: dict[str, np.ndarray]) -> Any:
    """The network that had these arrays.

    Raises:
        ValueError: they are not those of a network of such a size.
    """
    return filled(_shape(size), arrays)
