"""How a network stretches a path, and how often its units change on the way."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, Scalar

from pullback._in_batches import over_batches_summed
from pullback._power_method import row_norms
from pullback._traced import compiled
from pullback.analysis.signals._along import (
    Layers,
    Pieces,
    layer_function,
    points_of,
    refuse_what_is_not_finite,
    segments,
    wide,
)
from pullback.analysis.signals._regions import check_thresholds, region

Method = Literal["chord", "jvp"]
Path = Callable[[Scalar], Any]

# Chords as short as a few roundings of their ends are made of those, longer ones not; how large
# ends are is told by so many of a batch, for to look at all of them takes as long as a layer.
_ROUNDINGS = 16
_LOOKED_AT = 16


def trajectory_lengths(
    layers: Any,
    path: Path,
    *,
    num: int = 4096,
    method: Method = "chord",
    batch_size: int | None = 512,
) -> Float[Array, " depth"]:
    r"""How long the image of a path is in each layer.

    $$ l_d = \int_0^1 \Big\| \frac{d z_d(x(t))}{dt} \Big\| dt
       \approx \sum_i \| z_d(x(t_{i+1})) - z_d(x(t_i)) \| $$

    The ratio of one layer to the one before is how much it stretches: in a wide random network
    $\sqrt{\chi}$ of `MeanField`. Above 1 paths grow exponentially with depth.

    Where points are too few for a long image chords cut it short: double `num` until the last
    layer stays. Divide by the root of the width to compare layers of different widths.

    Args:
        layers: an `eqx.nn.MLP` or `eqx.nn.Sequential`, of which what the hidden layers give after
            their activations is measured, without the readout; or any function from one input to
            the tuple of its layers, of any shapes. For the path itself, `lambda x: (x,)`.
        path: a function of t in [0, 1], such as `line`, `circle` or `through` give it.
        num: points along the path.
        method: "chord", from point to point, which is never too long but by rounding: it is refused
            where chords are so short beside the layer that this counts, as of very many points, of
            inputs far from zero, or of deep layers in the ordered phase in float32; or "jvp", the
            speed at the middle of each piece by a forward derivative, for twice the work, which
            rounding does not hurt, and few points hurt less.
        batch_size: points at once, which bounds the memory. None: all.

    Returns:
        A length for each layer; where a call is being compiled, NaN or infinite for one that is not
        finite, and NaN for one whose chords are rounded.

    Raises:
        TypeError: `layers` or `path` is no function, or `layers` gives something else.
        ValueError: `num` is below 2, `method` is unknown, a layer is not finite, or its chords are
            too short beside it.

    Example:
        >>> import jax.numpy as jnp
        >>> from pullback.analysis.signals import circle
        >>> quarter = jnp.array([[0.0, -1.0], [1.0, 0.0]])
        >>> layers = lambda x: (x, quarter @ x, 3 * x)
        >>> path = circle(jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]))
        >>> [f"{length:.2f}" for length in trajectory_lengths(layers, path)]
        ['6.28', '6.28', '18.85']

    Source: Raghu et al., On the Expressive Power of Deep Neural Networks, arXiv 1606.05336,
        section 2.
    """
    if method not in get_args(Method):
        raise ValueError(f"`method` must be one of {get_args(Method)}, got {method!r}.")
    pieces = segments(num, path)
    of = {"chord": _chords, "jvp": _speeds}[method]

    def measured(layers: Any, path: Path) -> tuple[Array, Array]:
        states = layer_function(layers, "post")

        def all_of(t: Array) -> tuple[Layers, Layers]:
            x = path(t)
            return (x,) if eqx.is_inexact_array(x) else (), states(x)

        along = lambda pieces, number: of(all_of, pieces)
        (path_lengths, lengths), (path_slack, slack) = over_batches_summed(
            along, pieces, batch_size
        )
        good = [each <= length for each, length in zip(slack, lengths, strict=True)]
        for each, length in zip(path_slack, path_lengths, strict=True):
            good = [one & (each <= length) for one in good]
        return _stacked(lengths), jnp.stack(good)

    lengths, good = compiled(measured)(layers, path)
    refuse_what_is_not_finite(jnp.isfinite(lengths))
    if not isinstance(good, Tracer) and not np.all(good):
        raise ValueError(
            f"the chords of layer {int(np.argmin(good))} of `layers` (from 0), or of the path "
            "itself, are so short beside the layer that rounding makes a part of them: take "
            '`method="jvp"`, which does not subtract, or float64.'
        )
    return jnp.where(good, lengths, jnp.nan)


def transitions(
    layers: Any,
    path: Path,
    *,
    num: int = 4096,
    thresholds: Sequence[float | int] = (0.0,),
    batch_size: int | None = 512,
) -> Int[Array, " depth"]:
    r"""How often units of each layer go from one region to another along a path.

    $$ T_d = \sum_i \sum_u | r(h_{d, u}(x(t_{i+1}))) - r(h_{d, u}(x(t_i))) |, \qquad
       r(h) = \#\{\theta : h \text{ is beyond } \theta\} $$

    The regions of a unit are what `thresholds` cut its values into: (0,), the default, tells signs,
    and a ReLU that is on from one that is off; (-1, 1) tells which part of a hard tanh is at work.
    A value on a threshold counts as beyond it where that is above 0, and as not beyond it where it
    is 0 or below: so a ReLU and a unit clipped on both sides of 0 rest outside. Where the lower
    bound of a clipped unit is above 0, or its upper one is not, give a threshold further inside.

    Points too far apart miss a unit that goes and comes back: double `num` until the last layer
    stays.

    Args:
        layers: an `eqx.nn.MLP` or `eqx.nn.Sequential`, of whose hidden layers the values before the
            activation are taken; or any function from one input to the tuple of its layers. Those
            after a ReLU or a hard tanh do as well.
        path: a function of t in [0, 1], such as `line`, `circle` or `through` give it.
        num: points along the path.
        thresholds: where regions meet, rising.
        batch_size: points at once, which bounds the memory. None: all.

    Returns:
        A count for each layer, over all its units; -1 for one that is not finite, where a call is
        being compiled.

    Raises:
        TypeError: `layers` or `path` is no function, or `layers` gives something else.
        ValueError: `num` is below 2, `thresholds` do not rise, or a layer is not finite.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> from pullback.analysis.signals import circle
        >>> net = eqx.nn.MLP(2, 1, 8, 1, use_bias=False, key=jax.random.key(0))
        >>> path = circle(jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]))
        >>> transitions(net, path, num=1000).tolist()  # each unit twice
        [16]

    Source: Raghu et al., arXiv 1606.05336, section 2, neuron transitions.
    """
    thresholds = check_thresholds(thresholds)
    pieces = segments(num, path)

    def counted(layers: Any, path: Path) -> tuple[Array, Array]:
        states = layer_function(layers, "pre")

        def along(pieces: Pieces, number: Array) -> tuple[list[Array], list[Array]]:
            del number
            found = jax.vmap(lambda t: states(path(t)))(points_of(pieces))
            codes = [region(z, thresholds).astype(jnp.int32) for z in found]
            counts = [jnp.sum(jnp.abs(jnp.diff(code, axis=0)), dtype=int) for code in codes]
            return counts, [jnp.sum(~jnp.isfinite(z), dtype=int) for z in found]

        counts, bad = over_batches_summed(along, pieces, batch_size)
        return jnp.stack(counts), jnp.stack(bad) == 0

    counts, good = compiled(counted)(layers, path)
    refuse_what_is_not_finite(good)
    return jnp.where(good, counts, -1)


def _chords(states: Callable[[Array], Any], pieces: Pieces) -> tuple[Any, Any]:
    """The lengths of straight lines from point to point, added up, and the least to be trusted."""
    found = jax.vmap(states)(points_of(pieces))
    lengths = jax.tree.map(lambda z: jnp.sum(row_norms(jnp.diff(wide(z), axis=0))), found)

    def slack(z: Array) -> Array:
        some = z[1 :: max(1, (len(z) - 1) // _LOOKED_AT)]
        size = (len(z) - 1) * jnp.mean(row_norms(wide(some)))
        return _ROUNDINGS * jnp.finfo(z.dtype).eps * size

    return lengths, jax.tree.map(slack, found)


def _speeds(states: Callable[[Array], Any], pieces: Pieces) -> tuple[Any, Any]:
    """The speeds in the middle of each piece, times how long it takes, added up."""
    starts, ends = pieces

    def step(start: Array, end: Array) -> Any:
        return jax.jvp(states, ((start + end) / 2,), (end - start,))[1]

    moved = jax.vmap(step)(starts, ends)
    lengths = jax.tree.map(lambda z: jnp.sum(row_norms(wide(z))), moved)
    return lengths, jax.tree.map(jnp.zeros_like, lengths)


def _stacked(lengths: Layers) -> Array:
    dtype = jnp.result_type(*lengths)
    return jnp.stack([length.astype(dtype) for length in lengths])
