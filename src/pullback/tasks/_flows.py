"""The flows of `FlowDensity`: how they are built, trained, kept and asked."""

import functools
import warnings
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray
from sklearn.exceptions import ConvergenceWarning

from pullback._on_device import on_device
from pullback._solve_failures import failures_are_nan
from pullback.calculus import ExactLogDet, RouletteLogDet
from pullback.models.flows import (
    CNF,
    AbstractFlow,
    Chain,
    ResidualBlock,
    ResidualFlow,
    Stacked,
    spline_coupling_flow,
    with_log_det,
)
from pullback.nn import ConcatSquashMLP, LipschitzMLP, bounded
from pullback.train import TrainingError, fit

from ._mixture import Mixture, MixtureBase
from ._padded import CHUNK, chunks, in_chunks, padded, power_of_two

METHODS = ("residual-flow", "spline-coupling", "cnf")
_EXACT = 32  # columns up to which log-determinants are exact in training
_FAR = 1e15  # beyond which the squares of single precision are infinite


class Size(NamedTuple):
    """How large a flow is, and how it is trained.

    Attributes:
        method: of `METHODS`.
        columns: those of the flow; the table's and some that are always 0.
        width: of its nets.
        blocks: of a residual flow, or layers of couplings, by twos.
        batch: rows a step.
        steps: the most of them.
        rate: of learning, at first; at the last step it is 0.
        log_every: steps between two looks at the held-out rows.
        rows: at least so many, the table's repeated, so that one program serves all small tables.
    """

    method: str
    columns: int
    width: int
    blocks: int
    batch: int
    steps: int
    rate: float
    log_every: int
    rows: int

    @classmethod
    def of(cls, method: str, rows: int, columns: int, max_steps: int | None) -> "Size":
        """That which suits a table."""
        if method == "spline-coupling":  # of the table's columns alone: a spline bends each
            steps, log_every, least = (1500, 50, _PADDED) if rows < _SMALL else (3000, 100, _SMALL)
            found = cls(method, columns, 32, 4, 256, steps, 2e-3, log_every, least)
        elif rows < _SMALL:
            wide = columns if columns > 16 else power_of_two(columns)
            found = cls(method, wide, 32, 4, 128, 800, 5e-3, 50, _PADDED)
        else:
            # An exact log-determinant costs a product for each column, and patience has an end.
            steps = min(2500, max(800, 24_000 // columns // 100 * 100))
            found = cls(method, columns, 32, 4, 256, steps, 8e-3, 100, _SMALL)
        if max_steps is None:
            return found._replace(steps=0) if rows < _FEWEST else found
        log_every = max(1, min(found.log_every, max_steps))
        return found._replace(steps=max_steps // log_every * log_every, log_every=log_every)

    @property
    def is_small(self) -> bool:
        """Whether the table is, so that a second training takes seconds."""
        return self.rows == _PADDED


_FEWEST = 300  # rows to train on, below which a flow learns nothing that a mixture does not know
_SMALL = 3000
_PADDED = 8192  # rows to which all small tables are filled up


class _Likelihood(eqx.Module):
    """The negative log-likelihood of weighted rows."""

    def __call__(
        self, flow: AbstractFlow, batch: tuple[Array, Array], *, key: PRNGKeyArray
    ) -> tuple[Array, dict[str, Array]]:
        rows, weights = batch
        log_prob, metrics = flow.log_prob_in_training(rows, key=key)
        found = {"result": metrics["result"]} if "result" in metrics else {}
        return -jnp.mean(weights * log_prob), found


def _bijection(size: Size, *, bound: float) -> Any:
    """The part of a flow that is trained, in its shape alone: of a residual flow, or of a CNF."""
    wide, width = size.columns, size.width
    if size.method == "cnf":
        return ConcatSquashMLP(wide, width, 2, dtype=jnp.float32, key=jr.key(0))
    if size.method == "spline-coupling":
        return _couplings(wide, size.blocks, width, jr.key(0))

    def make(key: PRNGKeyArray) -> ResidualBlock:
        net = LipschitzMLP(wide, width, 2, bound=bound, dtype=jnp.float32, key=key)
        return ResidualBlock(net)

    return Chain([Stacked(eqx.filter_vmap(make)(jr.split(jr.key(0), size.blocks)))])


def _couplings(columns: int, layers: int, width: int, key: PRNGKeyArray) -> Any:
    """Those of a flow of splines, in single precision, which FlowJAX cannot be asked for."""
    flow: Any = spline_coupling_flow(columns, layers=layers, width=width, key=key)
    single = lambda leaf: leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf
    return jax.tree.map(single, flow.bijection.parts[-1])


@eqx.filter_jit
def _couplings_arrays(columns: int, layers: int, width: int, key: PRNGKeyArray) -> Any:
    return eqx.filter(_couplings(columns, layers, width, key), eqx.is_array)


@functools.lru_cache(maxsize=64)
def _shape(size: Size, bound: float) -> Any:
    return eqx.filter_eval_shape(functools.partial(_bijection, bound=bound), size)


def _flow(part: Any, base: MixtureBase, method: str) -> Any:
    if method == "cnf":
        # Six steps of four stages are right to 1e-3 of the log-density of so smooth a field.
        return CNF(part, base, solver=diffrax.Bosh3(), steps=6)
    return ResidualFlow(part, base)


def _start(size: Size, columns: int, generator: np.random.RandomState) -> Any:
    """The arrays of an identity, made on the host, where nothing is compiled but for splines.

    The last layer of each net is 0. So are the weights of columns that are not the table's: they
    are 0 too, what they lead to is, and no gradient ever reaches them.
    """

    def draw(path: tuple, leaf: Any) -> Any:
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        name, shape = path[-1].name, leaf.shape
        if name in ("weight", "bias"):
            limit = 1 / np.sqrt(shape[-1] if name == "weight" else size.width)
            found = generator.uniform(-limit, limit, shape)
        elif name in ("gate_weight", "gate_bias", "time_weight"):
            found = generator.uniform(-1, 1, shape)
        else:  # a warm vector, which each layer finds anew; its stamp; LipSwish's sharpness
            found = np.full(shape, {"vector": 1.0, "stamp": -1.0, "sharpness": 0.5}[name])
        return found.astype(np.float32)

    if size.method == "spline-coupling":
        key = jr.wrap_key_data(on_device(generator.randint(2**32, size=2, dtype=np.uint32)))
        made = _couplings_arrays(size.columns, size.blocks, size.width, key)
        return _with_arrays(_shape(size, _BOUND), jax.tree.leaves(made))
    part = jax.tree_util.tree_map_with_path(draw, _shape(size, _BOUND))
    layers = part.layers if size.method == "cnf" else part.parts[0].layers.net.layers
    layers[0].weight[..., columns:] = 0
    for name in ("weight", "bias", "time_weight"):
        if hasattr(layers[-1], name):
            getattr(layers[-1], name)[...] = 0
    return part


_BOUND = 0.97


def train(
    size: Size,
    mixture: Mixture,
    rows: Float[np.ndarray, "n d"],
    held_out: Float[np.ndarray, "m d"],
    *,
    seed: int,
    progress: bool | None,
) -> tuple[AbstractFlow, int]:
    """The flow, from the mixture on, with the weights that did best on the rows held out.

    Returns:
        The flow, its bounds applied, and the steps taken; none, and the mixture, where it gained
        less on those rows than two standard errors of the gain.
    """
    columns = rows.shape[1]
    generator = np.random.RandomState(seed)
    part, base = _start(size, columns, generator), mixture.base(size.columns)
    if not size.steps:
        return _kept(size, part, base), 0
    try:
        trained, steps = _trained(
            size, part, base, rows, held_out, steps=size.steps, seed=seed, progress=progress
        )
    except TrainingError as error:
        told = "the flow could not be trained, so the model is the mixture that it starts from: "
        warnings.warn(f"{told}{error}", ConvergenceWarning, stacklevel=3)
        return _kept(size, part, base), 0
    gain = log_prob(trained, held_out) - mixture.log_prob(held_out)
    if gain.mean() > 2 * gain.std() / np.sqrt(len(gain)):
        return trained, steps
    return _kept(size, part, base), 0


def train_again(
    size: Size,
    mixture: Mixture,
    rows: Float[np.ndarray, "n d"],
    held_out: Float[np.ndarray, "m d"],
    *,
    steps: int,
    seed: int,
    progress: bool | None,
) -> AbstractFlow | None:
    """The flow of all rows, those held out before among them, by as many steps as were best.

    By the programs of the first training; None where it fails.
    """
    part = _start(size, rows.shape[1], np.random.RandomState(seed))
    base = mixture.base(size.columns)
    if not steps:
        return _kept(size, part, base)
    try:
        return _trained(
            size, part, base, rows, held_out, steps=steps, seed=seed, progress=progress
        )[0]
    except TrainingError:
        return None


def _trained(
    size: Size,
    part: Any,
    base: MixtureBase,
    rows: Float[np.ndarray, "n d"],
    held_out: Float[np.ndarray, "m d"],
    *,
    steps: int,
    seed: int,
    progress: bool | None,
) -> tuple[AbstractFlow, int]:
    """The flow with the weights that did best on the rows held out, and the steps to them.

    Raises:
        TrainingError: it diverges.
    """
    if size.method == "residual-flow":
        many = size.columns > _EXACT
        part = with_log_det(part, RouletteLogDet() if many else ExactLogDet())
    flow, info = fit(
        _flow(jax.tree.map(_put, part), base, size.method),
        _Likelihood(),
        _as_data(rows, size.columns, size.rows),
        optimiser=optax.adam(optax.cosine_decay_schedule(size.rate, size.steps)),
        clip_norm=1.0,
        steps=steps,
        batch_size=size.batch,
        validation=_as_data(held_out, size.columns, size.rows // 8),
        patience=8,
        log_every=size.log_every,
        rollbacks=3,
        progress=progress,
        key=jr.wrap_key_data(on_device(np.asarray([0, seed], np.uint32))),
    )
    trained = flow.field if size.method == "cnf" else flow.bijection
    if size.method == "residual-flow":
        trained = _with_bounds(trained)
    return _kept(size, trained, flow.base), int(info.step)


@eqx.filter_jit
def _with_bounds(part: Any) -> Any:
    return with_log_det(bounded(part), ExactLogDet())


def _put(leaf: Any) -> Any:
    return on_device(leaf) if isinstance(leaf, np.ndarray) else leaf


def _as_data(
    rows: Float[np.ndarray, "n d"], columns: int, least: int
) -> tuple[np.ndarray, np.ndarray]:
    places, weights = padded(len(rows), least)
    return _single(rows, columns)[places], weights.astype(np.float32)


def _single(rows: Float[np.ndarray, "n d"], columns: int) -> Float[np.ndarray, "n c"]:
    """Rows in single precision, with columns of 0 added."""
    filled = np.zeros((len(rows), columns), np.float32)
    filled[:, : rows.shape[1]] = np.clip(rows, -_FAR, _FAR)
    return filled


def _kept(size: Size, part: Any, base: MixtureBase) -> AbstractFlow:
    """A flow that is asked and no longer trained: its bounds are applied, its arrays the host's."""
    leaves = [x for x in jax.tree.leaves(part) if eqx.is_array(x) or isinstance(x, np.ndarray)]
    return _filled(size, leaves, base)


def _filled(size: Size, leaves: list, base: MixtureBase) -> AbstractFlow:
    """A flow whose arrays are these."""
    part = _with_arrays(_shape(size, np.inf), [on_device(np.asarray(leaf)) for leaf in leaves])
    return _flow(part, base, size.method)


def _with_arrays(outline: Any, leaves: list) -> Any:
    arrays, static = eqx.partition(outline, _is_shape)
    return eqx.combine(jax.tree.unflatten(jax.tree.structure(arrays), leaves), static)


def _is_shape(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct)


def arrays_of(flow: AbstractFlow) -> dict[str, np.ndarray]:
    """The arrays of a flow by name."""
    leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(flow, eqx.is_array))
    return {f"flow{jax.tree_util.keystr(path)}": np.asarray(leaf) for path, leaf in leaves}


def from_arrays(size: Size, arrays: dict[str, np.ndarray]) -> AbstractFlow:
    """The flow that had these arrays.

    Raises:
        ValueError: they are not those of a flow of such a size.
    """
    base = MixtureBase(*(on_device(arrays[f"flow.base.{name}"]) for name in _BASE))
    part = "field" if size.method == "cnf" else "bijection"
    named = jax.tree_util.tree_leaves_with_path(eqx.filter(_shape(size, np.inf), _is_shape))
    leaves = []
    for path, shape in named:
        leaf = arrays[f"flow.{part}{jax.tree_util.keystr(path)}"]
        if (leaf.shape, leaf.dtype) != (shape.shape, shape.dtype):
            raise ValueError(f"{leaf.dtype}{leaf.shape} stands where {shape} is needed")
        leaves.append(leaf)
    return _filled(size, leaves, base)


_BASE = ("log_weight", "mean", "root")


@eqx.filter_jit
def _log_prob(flow: AbstractFlow, z: Array) -> Array:
    return flow.log_prob(z)


@eqx.filter_jit
def _sample(flow: AbstractFlow, key: PRNGKeyArray) -> Array:
    return flow.sample(key, (CHUNK,))


def log_prob(flow: AbstractFlow, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """Log-densities of rows, each the same to the bit whatever is beside it."""
    columns = flow.shape[0]
    with failures_are_nan():
        asked = lambda rows: _log_prob(flow, on_device(_single(rows, columns)))
        return in_chunks(asked, z).astype(np.float64)


def sample(flow: AbstractFlow, count: int, columns: int, seed: int) -> Float[np.ndarray, "n d"]:
    """Draws of rows.

    Raises:
        RuntimeError: the inverse of some was not found.
    """
    parts = []
    for number, (start, stop) in enumerate(chunks(count)):
        key = jr.wrap_key_data(on_device(np.asarray([number, seed], np.uint32)))
        with failures_are_nan():
            parts.append(np.asarray(_sample(flow, key), np.float64)[: stop - start, :columns])
    found = np.concatenate(parts)
    if not np.isfinite(found).all():
        raise RuntimeError(
            "the inverse of the flow was not found for some draws; draw with another "
            "`random_state`, and please report it."
        )
    return found
