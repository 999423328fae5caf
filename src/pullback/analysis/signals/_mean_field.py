"""Mean-field theory of signals in wide random networks."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from pullback._in_batches import over_rows
from pullback._inputs import positive

from . import _fixed_points as fixed
from . import _maps as maps
from ._kinks import find_kinks
from ._reach import Reach, check_reach

# One, or an array or a list of them.
Numbers = ArrayLike | Sequence[Any]


class Trajectory(NamedTuple):
    """Two inputs on their way through the layers.

    Attributes:
        q: mean square of the pre-activations, a layer along the last axis.
        c: correlation of the two.
    """

    q: Float[Array, "*scales depth"]
    c: Float[Array, "*scales depth"]


class Curvature(NamedTuple):
    """What becomes of a circle of inputs, layer by layer along the last axis.

    Attributes:
        metric: squared speed of the curve, per unit, g / n.
        squared_curvature: squared curvature times the number of units, n kappa^2.
        turning: by how much its direction turns along the whole curve, in radians: the length of
            the curve that the unit tangent draws. 2 pi for a circle.
    """

    metric: Float[Array, "*scales depth"]
    squared_curvature: Float[Array, "*scales depth"]
    turning: Float[Array, "*scales depth"]


class DepthScales(NamedTuple):
    """Layers over which something falls by a factor of e; infinite where it does not fall.

    Attributes:
        variance: the distance of the variance from its fixed point.
        correlation: the distance of the correlation of two inputs from its fixed point: how deep
            the network can be for what it gives to tell two inputs apart by how alike they are.
        gradient: the squared length of a gradient, which falls in the ordered phase and grows in
            the chaotic one; the layers of either.
    """

    variance: Float[Array, "*scales"]
    correlation: Float[Array, "*scales"]
    gradient: Float[Array, "*scales"]


class MeanField(eqx.Module):
    r"""How signals run through a wide network with random weights, by an activation and two scales.

    $$ h^l = W^l \phi(h^{l-1}) + b^l, \qquad W^l_{ij} \sim \mathcal{N}\Big(0,
       \frac{\sigma_w^2}{\text{fan in}}\Big), \qquad b^l_i \sim \mathcal{N}(0, \sigma_b^2) $$

    The weight scale is $\sigma_w$, a standard deviation times the root of the fan in, as for
    `pullback.nn.gaussian_init`, and neither its square nor a standard deviation. Scales may be
    arrays: every method broadcasts over them, as one compiled program.

    Means over a Gaussian are taken on a grid whose pieces end at the kinks of the activation and
    where one like tanh bends, within 16 of 0: of such to 1e-9 in float64, and to 1e-5 in float32.
    One that waves or is steep on a smaller scale, or bends elsewhere, is compared with a finer grid
    when the theory is made, and `reach` is the largest variance at which they agree to 1e-4: some
    30 for sin, everything for tanh. A method that goes beyond it is refused where it is not
    compiled; in a compiled program hold `fixed_point` against `reach` yourself.

    In float32 a correlation next to 1 loses its digits, and so does the fixed point at a weight
    scale within 1e-4 of the critical one without biases; use `jax.enable_x64` there. Variances
    below 1e-16 count as 0 and those above 1e12 as infinite, so scales should be from 1e-5 to 1e5.

    Args:
        activation: from a number to a number, such as `jnp.tanh`; continuous. Numbers in it that
            are differentiated or compiled must be so in a theory made before: it is a PyTree.
        kinks: where its slope jumps, or pieces should end. None: jumps are looked for between -32
            and 32.

    Raises:
        TypeError: the activation gives no number for a number, or has numbers that are being
            differentiated or compiled.
        ValueError: it jumps, or is not finite; in its methods, a variance is beyond `reach`.

    Example:
        >>> import jax.numpy as jnp
        >>> theory = MeanField(jnp.tanh)
        >>> print(theory.chi(jnp.array([1.3, 2.5, 4.0]), 0.3))  # ordered, chaotic, chaotic
        [0.9398... 1.5852... 2.3672...]

    Source: Poole et al., Exponential expressivity in deep neural networks through transient chaos,
        arXiv 1606.05340, sections 2 and 3.
    """

    activation: Callable[..., Any]
    kinks: tuple[float, ...] = eqx.field(static=True)
    is_kinked: bool = eqx.field(static=True)
    reach: Reach = eqx.field(static=True)

    def __init__(self, activation: Any, *, kinks: Sequence[float] | np.ndarray | None = None):
        _check_activation(activation)
        self.activation = activation
        try:
            self.kinks, self.is_kinked, self.reach = find_kinks(activation, kinks)
        except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
            raise TypeError(
                "`activation` has numbers that are being differentiated or compiled, in which no "
                "kinks can be looked for: make the `MeanField` outside, and differentiate or "
                "compile a function of it; it is a PyTree, with the activation's arrays as leaves."
            ) from error

    def variance_map(
        self, q: Numbers, weight_scale: Numbers, bias_scale: Numbers = 0.0
    ) -> Float[Array, "*scales"]:
        r"""The variance of the next layer's pre-activations, $V(q)$.

        $$ V(q) = \sigma_w^2 E\,\phi(\sqrt q Z)^2 + \sigma_b^2 $$

        Args:
            q: the mean square of a layer's pre-activations, 0 or more.
            weight_scale: $\sigma_w$, above 0.
            bias_scale: $\sigma_b$, 0 or more.
        """
        scales = _scales(weight_scale, bias_scale)
        return broadcast_over(maps.variance, self, self._at(q, *scales, of="value"), *scales)

    def fixed_point(
        self, weight_scale: Numbers, bias_scale: Numbers = 0.0
    ) -> Float[Array, "*scales"]:
        r"""The variance that layers come to, $q^* = V(q^*)$, from a variance of 1.

        Infinity where it grows without bound, as for a ReLU with $\sigma_w > \sqrt 2$. Where every
        variance is a fixed point, as for a ReLU with $\sigma_w = \sqrt 2$ and no bias, it is 1.
        """
        q = broadcast_over(fixed.variance, self, *_scales(weight_scale, bias_scale))
        check_reach(self, q, "value")
        return q

    def correlation_map(
        self,
        c: Numbers,
        weight_scale: Numbers,
        bias_scale: Numbers = 0.0,
        *,
        q: Numbers | None = None,
    ) -> Float[Array, "*scales"]:
        r"""The correlation of two inputs in the next layer, $C(c)$.

        $$ C(c) = \frac{\sigma_w^2 E\,\phi(u_1) \phi(u_2) + \sigma_b^2}{V(q)}, \qquad
           (u_1, u_2) \sim \mathcal{N}\Big(0, q \begin{pmatrix} 1 & c \\ c & 1 \end{pmatrix}\Big) $$

        Its slope at c = 1 is `chi` where q is the fixed point, and autodiff gives it there too.

        Args:
            c: the correlation in a layer, from -1 to 1.
            weight_scale: as for `variance_map`.
            bias_scale: as for `variance_map`.
            q: the variance of both in the layer. None: the fixed point.
        """
        scales = _scales(weight_scale, bias_scale)
        _check("c", c, lambda c: np.abs(c) <= 1, "from -1 to 1")
        q = self._at(q, *scales, of="pair")
        return broadcast_over(maps.correlation, self, c, q, *scales, in_batches=True)

    def correlation_fixed_point(
        self, weight_scale: Numbers, bias_scale: Numbers = 0.0
    ) -> Float[Array, "*scales"]:
        """The correlation that two inputs come to; 1 in the ordered phase, less in the chaotic."""
        scales = _scales(weight_scale, bias_scale)
        q, c = broadcast_over(fixed.correlation, self, *scales, in_batches=True)
        check_reach(self, q, "pair")
        return c

    def chi(
        self,
        weight_scale: Numbers,
        bias_scale: Numbers = 0.0,
        *,
        order: int = 1,
        q: Numbers | None = None,
    ) -> Float[Array, "*scales"]:
        r"""By how much a layer stretches, $\chi_1$, or bends, $\chi_2$.

        $$ \chi_k = \sigma_w^2 E\,\phi^{(k)}(\sqrt q Z)^2 $$

        $\chi_1$ is the growth a layer of the squared length of a short step between inputs, and of
        that of a gradient, a sum over units, on its way back. Below 1 inputs come together and
        gradients vanish (the ordered phase); above 1 inputs part and gradients explode (the chaotic
        one).

        Args:
            weight_scale: as for `variance_map`.
            bias_scale: as for `variance_map`.
            order: 1 or 2. $\chi_2$ of an activation whose slope jumps is infinite.
            q: the variance in the layer. None: the fixed point.
        """
        if order not in (1, 2):
            raise ValueError(f"`order` must be 1 or 2, got {order!r}.")
        scales = _scales(weight_scale, bias_scale)
        function = maps.stretch if order == 1 else maps.bend
        q = self._at(q, *scales, of="slope" if order == 1 else "bend")
        return broadcast_over(function, self, q, *scales)

    def growth(
        self,
        weight_scale: Numbers,
        bias_scale: Numbers = 0.0,
        *,
        q: Numbers | None = None,
    ) -> Float[Array, "*scales"]:
        r"""By how much a layer lengthens a curve, $\sqrt{\chi_1}$.

        Args:
            weight_scale: as for `variance_map`.
            bias_scale: as for `variance_map`.
            q: the variance in the layer. None: the fixed point.
        """
        return jnp.sqrt(self.chi(weight_scale, bias_scale, q=q))

    def trajectory(
        self,
        c: Numbers,
        weight_scale: Numbers,
        bias_scale: Numbers = 0.0,
        *,
        depth: int,
        q: Numbers | None = None,
    ) -> Trajectory:
        r"""Variance and correlation of two inputs, layer by layer.

        $$ q^{l+1} = V(q^l), \qquad c^{l+1} = C(c^l; q^l) $$

        Args:
            c: their correlation in the first layer's pre-activations.
            weight_scale: as for `variance_map`.
            bias_scale: as for `variance_map`.
            depth: layers, the first one with them.
            q: variance in the first layer, $\sigma_w^2 |x|^2 / n + \sigma_b^2$ of an input x of n
                numbers. None: the fixed point.
        """
        positive(depth=depth)
        scales = _scales(weight_scale, bias_scale)
        _check("c", c, lambda c: np.abs(c) <= 1, "from -1 to 1")
        q = self._at(q, *scales, of="pair")
        found = Trajectory(
            *broadcast_over(maps.path, self, c, q, *scales, in_batches=True, static=(depth,))
        )
        check_reach(self, found.q, "pair")
        return found

    def curvature(
        self, weight_scale: Numbers, bias_scale: Numbers = 0.0, *, depth: int
    ) -> Curvature:
        r"""What becomes of a circle whose first pre-activations have the variance $q^*$.

        $$ \bar g^l = \chi_1 \bar g^{l-1}, \qquad
           \bar g^l \bar\kappa_l^2 = \bar g^{l-1} \bar\kappa_{l-1}^2
           + 3 \frac{\chi_2}{\chi_1} \bar g^{l-1}, \qquad
           \bar g^1 = q^*, \quad \bar\kappa_1^2 = 1 / q^* $$

        with $\bar g = g / n$ and $\bar\kappa^2 = n \kappa^2$. Its direction turns by $2 \pi
        \sqrt{\bar g \bar\kappa^2}$: exponentially with depth in the chaotic phase, and to a limit
        in the ordered one, where the curve shrinks to a point but keeps its bends. Of an activation
        with kinks the curvature is infinite from the second layer on.

        Args:
            weight_scale: as for `variance_map`.
            bias_scale: as for `variance_map`.
            depth: layers, the first one with them.

        Raises:
            ValueError: the variance has no finite fixed point above 0.
        """
        positive(depth=depth)
        scales = _scales(weight_scale, bias_scale)
        q = self.fixed_point(*scales)
        if not isinstance(q, Tracer) and not bool(jnp.all((q > 0) & jnp.isfinite(q))):
            raise ValueError(
                "`weight_scale` and `bias_scale` must have a finite fixed point above 0, where the "
                f"circle is; got {_worst(q)}: look at `fixed_point`."
            )
        stretch, bend = (self.chi(*scales, order=order, q=q) for order in (1, 2))
        layer = jnp.arange(depth, dtype=q.dtype).reshape(*[1] * q.ndim, depth)
        metric = q[..., None] * stretch[..., None] ** layer
        # The mean squared bend of the next layer comes on top of what there was.
        bends = jnp.cumsum(metric[..., :-1], axis=-1) * (3 * bend / stretch)[..., None]
        turned = 1 + jnp.concatenate([jnp.zeros_like(metric[..., :1]), bends], axis=-1)
        return Curvature(metric, turned / metric, 2 * jnp.pi * jnp.sqrt(turned))

    def depth_scales(self, weight_scale: Numbers, bias_scale: Numbers = 0.0) -> DepthScales:
        r"""How deep signals live, $-1 / \log$ of a slope at its fixed point.

        $$ \xi_q = -\frac{1}{\log V'(q^*)}, \qquad \xi_c = -\frac{1}{\log C'(c^*)}, \qquad
           \xi_g = \frac{1}{|\log \chi_1|} $$
        """
        scales = _scales(weight_scale, bias_scale)
        q, _, *found = broadcast_over(fixed.at_rest, self, *scales, in_batches=True)
        check_reach(self, q, "pair_slope")
        return DepthScales(*found)

    def _at(self, q: Numbers | None, *scales: Array, of: str) -> Array:
        if q is None:
            q = self.fixed_point(*scales)
        else:
            _check("q", q, lambda q: q >= 0, "0 or more")
            q = jnp.asarray(q, scales[0].dtype)
        check_reach(self, q, of)
        return q


# Two Gaussians take a plane of nodes, of which not too many are held at once.
_PAIRS = 16


def broadcast_over(
    function: Callable[..., Any], theory: MeanField, *given: Numbers, in_batches: bool = False,
    static: tuple[Any, ...] = (),
) -> Any:  # fmt: skip
    """`function` of numbers, over arrays that are broadcast against one another."""
    dtype = jnp.result_type(given[-1])
    arrays = tuple(jnp.asarray(each, dtype) for each in given)
    _check_shapes(arrays)
    return _compiled(function, theory, arrays, _PAIRS if in_batches else None, static)


def _check_shapes(given: Sequence[Array]) -> None:
    shapes = [each.shape for each in given]
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        names = ("c", "q", "weight_scale", "bias_scale")[-len(given) :]
        each = " and ".join(f"`{name}` {shape}" for name, shape in zip(names, shapes, strict=True))
        raise ValueError(
            f"numbers must have shapes that go together, got {each}: for every pair of two rows "
            "give one as [:, None]."
        ) from None


@eqx.filter_jit
def _compiled(
    function: Callable[..., Any], theory: MeanField, given: tuple[Array, ...],
    batch_size: int | None, static: tuple[Any, ...],
) -> Any:  # fmt: skip
    arrays = jnp.broadcast_arrays(*given)
    shape = arrays[0].shape
    rows = tuple(each.ravel() for each in arrays)
    found = over_rows(lambda row: function(theory, *row, *static), rows, batch_size)
    return jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), found)


def _scales(weight_scale: Numbers, bias_scale: Numbers) -> tuple[Array, Array]:
    """Both, of one floating dtype."""
    _check("weight_scale", weight_scale, lambda scale: scale > 0, "above 0")
    _check("bias_scale", bias_scale, lambda scale: scale >= 0, "0 or more")
    given = [jnp.asarray(each) for each in (weight_scale, bias_scale)]
    arrays = [each for each in given if not each.weak_type] or given
    dtype = jnp.result_type(*arrays, *([] if any(map(_is_floating, arrays)) else [float]))
    weight, bias = (each.astype(dtype) for each in given)
    return weight, bias


def checked_bias_scale(bias_scale: Numbers) -> Array:
    """The bias scale, floating."""
    return _scales(1.0, bias_scale)[1]


def _is_floating(x: Array) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.floating))


def _check(name: str, value: Numbers, fits: Callable[[Any], Any], what: str) -> None:
    if isinstance(value, Tracer):
        return
    numbers = np.asarray(value)
    if not np.issubdtype(numbers.dtype, np.number) or np.iscomplexobj(numbers):
        raise TypeError(f"`{name}` must be a number or an array of numbers, got {value!r}.")
    bad = ~(np.isfinite(numbers) & fits(numbers))
    if bad.any():
        raise ValueError(f"`{name}` must be {what}, and finite; got {numbers[bad].flat[0]}.")


def _check_activation(activation: Any) -> None:
    try:
        found = jax.eval_shape(activation, jax.ShapeDtypeStruct((), jnp.zeros(()).dtype))
    except Exception as error:
        raise TypeError(
            "`activation` must be a function from a number to a number, such as jnp.tanh; got "
            f"{activation!r}, which fails for one: {error}"
        ) from error
    if getattr(found, "shape", None) != () or not jnp.issubdtype(found.dtype, jnp.floating):
        raise TypeError(
            "`activation` must be a function from a number to a number, such as jnp.tanh; got "
            f"{activation!r}, which gives {found}."
        )


def _worst(q: Array) -> float:
    return float(jnp.max(q) if bool(jnp.any(jnp.isinf(q))) else jnp.min(q))
