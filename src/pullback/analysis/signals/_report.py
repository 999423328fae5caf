"""How signals run through a network that a user has, beside what theory foretells."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._floating import require_floating
from pullback._key import checked_key
from pullback._plain_layers import Step, plain_steps
from pullback._traced import compiled
from pullback.nn import hidden_states

from . import _maps as maps
from ._along import refuse_traced, wide
from ._criticality import critical_weight_scale
from ._fixed_points import at_rest
from ._mean_field import DepthScales, MeanField, broadcast_over
from ._reach import check_reach
from ._weight_scales import scales_of

Numbers = Float[np.ndarray, " layers"]
Steps = Float[np.ndarray, " layers-1"]

_REMEDY = (
    "signals run through it by maps of its own, which are not guessed; give the part of the "
    "network that has plain layers alone"
)


@dataclasses.dataclass(frozen=True)
class SignalReport:
    """What layers of weights do to signals, measured and foretold; printed, it is a page of text.

    Attributes:
        layers: where they are in the model.
        weight_scale: sigma_w of each, the root mean square of its weights times the root of its
            fan in.
        bias_scale: sigma_b of each.
        q: mean square of each layer's pre-activations.
        correlation: of two inputs in each layer, the mean over pairs of the cosine.
        chi: by how much each layer but the first stretches a short step between inputs, squared:
            in theory the growth of the squared length of a gradient, a sum over units, on its way
            back.
        predicted_q: of a wide network with independent weights of these scales.
        predicted_correlation: the same, of two inputs of mean size and correlation.
        predicted_chi: the same.
        phase: "ordered", "critical" or "chaotic", of a network of many layers like the hidden ones.
        fixed_q: the variance that such layers come to; infinite where it grows without bound.
        depth_scales: how deep signals live in it.
        gradient: by how much the squared length of a gradient changes from the last layer to the
            first, as foretold.
        scale_to_take: the weight scale at which it changes by nothing, as foretold for these inputs
            through this number of layers, with the biases as they are. Layers whose variance is
            on its way to its fixed point have it beside the critical scale, which is that of
            endless depth. The critical one where there is none between a quarter and four times it.
        bias_to_take: the bias scale that goes with it.
    """

    layers: tuple[str, ...]
    weight_scale: Numbers
    bias_scale: Numbers
    q: Numbers
    correlation: Numbers
    chi: Steps
    predicted_q: Numbers
    predicted_correlation: Numbers
    predicted_chi: Steps
    phase: str
    fixed_q: float
    depth_scales: DepthScales
    gradient: float
    scale_to_take: float
    bias_to_take: float

    def __str__(self) -> str:
        """The table of layers, and what follows from it."""
        return "\n".join([*self._table(), "", *self._words()])

    def _table(self) -> list[str]:
        width = max(map(len, self.layers))
        rows: list[tuple[str, list[str]]] = [
            ("", ["weights", "biases", "q", "q", "correlation", "correlation", "chi", "chi"]),
            ("", ["scale", "scale", *["here", "theory"] * 3]),
        ]
        for at, name in enumerate(self.layers):
            numbers = [self.weight_scale[at], self.bias_scale[at], self.q[at], self.predicted_q[at]]
            numbers += [self.correlation[at], self.predicted_correlation[at]]
            numbers += [self.chi[at - 1], self.predicted_chi[at - 1]] if at else []
            rows.append((name, [f"{number:.3g}" for number in numbers]))
        return [
            name.ljust(width) + "".join(cell.rjust(12) for cell in cells) for name, cells in rows
        ]

    def _words(self) -> list[str]:
        meaning = {
            "ordered": "inputs come together and gradients vanish with depth",
            "critical": "neither inputs nor gradients die or explode with depth",
            "chaotic": "inputs part and gradients explode with depth",
        }[self.phase]
        layers = lambda count: f"{float(count):.3g}" if np.isfinite(count) else "no number of"
        lines = [
            f"{self.phase.capitalize()} phase: {meaning}.",
            f"In {layers(self.depth_scales.correlation)} layers it is lost by a factor of e how "
            f"alike two inputs were, in {layers(self.depth_scales.gradient)} layers the "
            "squared length of a gradient changes by as much.",
            f"Through these {len(self.layers)} layers it changes by a factor of "
            f"{self.gradient:.2g}.",
        ]
        if np.isinf(self.fixed_q):
            lines.append("The variance has no finite fixed point: it grows without bound.")
        lines.append(
            f"To take: pullback.nn.gaussian_init(model, weight_scale={self.scale_to_take:.3f}, "
            f"bias_scale={self.bias_to_take:.3g}, key=key)"
        )
        return lines


def signal_report(
    model: Any, x: Float[Array | np.ndarray, "n *shape"], *, key: PRNGKeyArray
) -> SignalReport:
    r"""Whether signals and gradients live through a network, and which weight scale to take.

    Variance, correlation of inputs and stretch of every layer of weights, measured on some inputs,
    beside what mean-field theory says of a wide network with independent weights of the same
    scales. Where the two differ, weights are not independent, as after training, or layers are
    narrow.

    $$ q^l = \overline{(h^l)^2}, \qquad c^l = \overline{\cos(h^l_a, h^l_b)}, \qquad
       \chi^l = \frac{|\delta h^{l+1}|^2 / n_{l+1}}{|\delta h^l|^2 / n_l} $$

    Args:
        model: an `eqx.nn.MLP`, or an `eqx.nn.Sequential` of `eqx.nn.Linear`, `eqx.nn.Conv` and
            `eqx.nn.Lambda`, with one activation throughout; `jnp.ravel` may stand between layers.
        x: two inputs or more, as the network is given them in training; of more than 512 the first.
        key: for the directions of the short steps.

    Returns:
        A `SignalReport`; print it.

    Raises:
        TypeError: the model has other parts, such as normalising or residual layers, several
            activations, or one that mixes units; or this is within `jax.jit`.
        ValueError: `x` is no batch of two inputs, is not floating or finite, has an input of
            zeros alone, or numbers so large or small that their squares are not of its dtype; the
            model has weights or biases that are not finite, or weights of 0.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = eqx.nn.MLP(20, 1, 100, 30, jnp.tanh, key=jax.random.key(0))
        >>> x = jax.random.normal(jax.random.key(1), (50, 20))
        >>> report = signal_report(net, x, key=jax.random.key(2))
        >>> print(f"{report.phase}, {report.gradient < 1e-12}, {report.scale_to_take:.2f}")
        ordered, True, 1.25

    Source: Poole et al., Exponential expressivity in deep neural networks through transient chaos,
        arXiv 1606.05340; depth scales: Schoenholz et al., Deep Information Propagation, arXiv
        1611.01232.
    """
    key = checked_key(key)
    refuse_traced("signal_report", model, x)
    steps = plain_steps(model, _REMEDY)
    activation = _activation(steps)
    theory = MeanField(activation)
    x = _checked_inputs(x)
    _check_unit_by_unit(model, activation, x[0])
    scales = [scales_of(step.name, step.layer) for step in steps if step.layer is not None]
    weight, bias = (np.array([layer[at] for (layer,) in scales]) for at in (1, 2))
    if not weight.all():
        at = int(np.argmin(weight != 0))
        raise ValueError(
            f"layer {at} of `model` (from 0) has weights of 0, through which nothing runs."
        )
    moves = jr.normal(key, x.shape, x.dtype)
    q, c, chi, start = (np.asarray(each, float) for each in _measured(model, x, moves))
    _check_sizes(x, q, start)
    foretold = _foretold(theory, jnp.asarray(weight), jnp.asarray(bias), jnp.asarray(start))
    predicted_q, predicted_c, predicted_chi = (np.asarray(each, float) for each in foretold)
    # Layers between hidden ones are what a deeper network has more of.
    inner = slice(1, -1) if len(weight) > 2 else slice(None)
    w, b = float(np.median(weight[inner])), float(np.median(bias[inner]))
    check_reach(theory, predicted_q, "pair_slope")
    fixed_q, chi_there, *deep = broadcast_over(at_rest, theory, w, b, in_batches=True)
    check_reach(theory, fixed_q, "pair_slope")
    off = float(chi_there) - 1
    return SignalReport(
        layers=tuple(step.name for step in steps if step.layer is not None),
        weight_scale=weight, bias_scale=bias, q=q, correlation=c, chi=chi,
        predicted_q=predicted_q, predicted_correlation=predicted_c, predicted_chi=predicted_chi,
        phase="critical" if abs(off) < 0.02 else "ordered" if off < 0 else "chaotic",
        fixed_q=float(fixed_q),
        depth_scales=DepthScales(*deep),
        gradient=float(np.prod(predicted_chi)),
        scale_to_take=_scale_to_take(theory, b, len(weight), start),
        bias_to_take=b,
    )  # fmt: skip


def _activation(steps: list[Step]) -> Callable[[Any], Any]:
    """The one that stands in every gap between two layers."""
    gaps: list[list[Any]] = []
    for step in steps:
        if step.layer is not None:
            gaps.append([])
        elif gaps and step.activation is None:
            raise TypeError(
                f"`{step.name}` must be one activation for all units; this one is learned for "
                f"each, and {_REMEDY}."
            )
        elif gaps and step.activation is not jnp.ravel:
            gaps[-1].append(step.activation)
    inner = gaps[:-1]  # what follows on the last layer stretches nothing
    if any(gap != inner[0] for gap in inner):
        raise TypeError(
            "`model` must have the same activation after every layer but the last; it has "
            f"{inner}: {_REMEDY}."
        )
    functions = inner[0] if inner else []
    if len(functions) == 1:
        return functions[0]

    def composed(x: Any) -> Any:
        for function in functions:
            x = function(x)
        return x

    return composed


def _check_unit_by_unit(model: Any, activation: Callable[[Any], Any], x: Array) -> None:
    """Raise where what stands between layers is not the activation of every unit alone."""

    def both(model: Any, x: Array) -> list[tuple[Array, Array]]:
        states = hidden_states(model, x)
        return [
            (jax.vmap(activation)(h.ravel()), after.ravel())
            for h, after in zip(states.pre[:-1], states.post[:-1], strict=True)
        ]

    for place, (alone, here) in enumerate(compiled(both)(model, x)):
        slack = float(jnp.finfo(x.dtype).eps) ** 0.5 * (1 + float(jnp.max(jnp.abs(alone))))
        if alone.shape != here.shape or bool(jnp.any(jnp.abs(here - alone) > slack)):
            raise TypeError(
                f"what follows layer {place} of `model` (from 0) mixes its units, as pooling, a "
                f"softmax and a normalisation do: {_REMEDY}."
            )


# Of more inputs, the first.
_MOST = 512


def _checked_inputs(x: Any) -> Array:
    x = jnp.asarray(x)
    require_floating("x", x, "layers multiply it by weights")
    if x.ndim < 2 or len(x) < 2:
        raise ValueError(
            f"`x` must be two inputs or more along the first axis, got shape {x.shape}."
        )
    rows = np.asarray(x, float).reshape(len(x), -1)
    if not np.isfinite(rows).all():
        at = int(np.argmin(np.isfinite(rows).all(axis=1)))
        raise ValueError(f"`x[{at}]` has numbers that are not finite: fill or leave out such rows.")
    if not rows.any(axis=1).all():
        at = int(np.argmin(rows.any(axis=1)))
        raise ValueError(f"`x[{at}]` is zero throughout and has no direction: leave it out.")
    return x[:_MOST]


def _check_sizes(x: Array, q: np.ndarray, start: np.ndarray) -> None:
    """Squares of numbers that are finite and not 0 may be neither."""
    least = float(jnp.finfo(x.dtype).tiny)
    if not (least <= start[0] < np.inf and least <= q[0] < np.inf):
        raise ValueError(
            f"`x` must have numbers whose squares {x.dtype} can hold, in the first layer too; its "
            f"largest is {float(jnp.max(jnp.abs(x))):.3g}: divide it by its standard deviation."
        )


@compiled
def _measured(model: Any, x: Array, moves: Array) -> tuple[Array, ...]:
    """Variance, correlation and stretch of every layer; variance and correlation of the inputs."""
    pre = lambda x: tuple(wide(h).ravel() for h in hidden_states(model, x).pre)
    h, v = jax.vmap(lambda x, move: jax.jvp(pre, (x,), (move,)))(x, moves)
    square = lambda rows: jnp.mean(jnp.square(rows))
    speeds = jnp.stack([square(each) for each in v])
    inputs = wide(x).reshape(len(x), -1)
    return (
        jnp.stack([square(each) for each in h]),
        jnp.stack([_mean_cosine(each) for each in h]),
        speeds[1:] / speeds[:-1],
        jnp.stack([square(inputs), _mean_cosine(inputs)]),
    )


def _mean_cosine(rows: Array) -> Array:
    """Over all pairs of rows."""
    n, sizes = len(rows), jnp.linalg.norm(rows, axis=1, keepdims=True)
    units = rows / jnp.where(sizes > 0, sizes, 1)
    together = jnp.sum(jnp.square(units.sum(axis=0)))
    cosine = (together - jnp.sum(jnp.square(units))) / (n * (n - 1))
    return jnp.clip(cosine, -1, 1)


@eqx.filter_jit
def _foretold(theory: MeanField, weight: Array, bias: Array, start: Array) -> tuple[Array, ...]:
    """Variance, correlation and stretch of every layer, from those of the inputs."""
    q = jnp.square(weight[0]) * start[0] + jnp.square(bias[0])
    c = (jnp.square(weight[0]) * start[0] * start[1] + jnp.square(bias[0])) / q

    def layer(at: tuple[Array, Array], scales: tuple[Array, Array]) -> tuple[Any, Any]:
        q, c = at
        after = maps.variance(theory, q, *scales), maps.correlation(theory, c, q, *scales)
        return after, (*after, maps.stretch(theory, q, *scales))

    _, (qs, cs, chis) = jax.lax.scan(layer, (q, c), (weight[1:], bias[1:]))
    return jnp.append(q, qs), jnp.append(c, cs), chis


def _scale_to_take(theory: MeanField, bias: float, depth: int, start: np.ndarray) -> float:
    """The one that keeps gradients through all layers together; without one, the critical one."""
    critical = float(critical_weight_scale(theory, bias))
    low, high = critical / 4, 4 * critical
    for _ in range(3 if depth > 1 else 0):
        scales = np.geomspace(low, high, 65)
        logs = np.asarray(_log_gradients(theory, jnp.asarray(scales), bias, float(start[0]), depth))
        above = np.flatnonzero(logs > 0)
        if not len(above) or above[0] == 0:
            return critical
        low, high = scales[above[0] - 1], scales[above[0]]
    return math.sqrt(low * high) if depth > 1 else critical


@eqx.filter_jit
def _log_gradients(theory: MeanField, scales: Array, bias: Any, q: Any, depth: int) -> Array:
    """By how much a gradient grows through layers of one scale, the logarithm."""

    def of(scale: Array) -> Array:
        b = jnp.asarray(bias, scale.dtype)
        first = jnp.square(scale) * q + jnp.square(b)

        def layer(q: Array, _: None) -> tuple[Array, Array]:
            return maps.variance(theory, q, scale, b), maps.stretch(theory, q, scale, b)

        return jnp.sum(jnp.log(jax.lax.scan(layer, first, None, length=depth - 1)[1]))

    return jax.vmap(of)(scales)
