"""The log-determinant of a residual map, exact or from its power series."""

import abc
import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback._key import checked_key
from pullback._once import once

from ._randomised_sum import TruncationCost, truncation_cost
from ._truncation import AbstractTruncation, Geometric

Probes = Literal["rademacher", "gaussian", "basis"]


class AbstractLogDet(eqx.Module):
    r"""A way to have $\ln|\det(I + \partial g / \partial x)|$ for a map $g$ that keeps the shape.

    One `x` of any shape goes in. For a batch, use `jax.vmap` with a key for each example, and one
    `stop` from `draw` for all of them: a loop that every example leaves at the same term costs that
    many terms, where examples with a term each wait for the last of them.
    """

    @abc.abstractmethod
    def draw(self, *, key: PRNGKeyArray | None) -> Int[Array, ""] | None:
        """The stopping index that a batch shares, or None if the method has none."""

    @abc.abstractmethod
    def __call__(
        self,
        g: Callable[[Any], Any],
        x: Float[Array, "*shape"],
        *,
        key: PRNGKeyArray | None = None,
        stop: Int[Array, ""] | None = None,
    ) -> tuple[Float[Array, "*shape"], Float[Array, ""]]:
        """Evaluate `g` and the log-determinant of `x + g(x)`.

        Args:
            g: map from `[*shape]` to `[*shape]`; for a series its Lipschitz constant is below 1.
            x: where, one example.
            key: for the noise; None is allowed if the method has none.
            stop: what `draw` returned; None draws an index for this `x` alone.

        Returns:
            The pair `(g(x), log_det)`, of shapes `[*shape]` and `[]`.
        """


class ExactLogDet(AbstractLogDet):
    r"""The exact log-determinant, from the dense Jacobian.

    $$ \ln|\det(I + J)|, \qquad J = \partial g / \partial x $$

    It costs one Jacobian-vector product for each entry of `x` and a factorisation: right up to some
    hundred entries, and the measure of every estimate. Entries are one axis inside.

    Example:
        >>> import jax.numpy as jnp
        >>> value, log_det = ExactLogDet()(lambda x: 0.5 * x, jnp.ones(3))
        >>> print(f"{log_det:.4f}")  # 3 ln 1.5
        1.2164

    Source: Chen et al., Residual Flows for Invertible Generative Modeling, arXiv 1906.02735, whose
        two-dimensional experiments take the exact determinant.
    """

    def draw(self, *, key: PRNGKeyArray | None = None) -> None:
        """None: nothing is random."""
        return None

    def __call__(
        self,
        g: Callable[[Any], Any],
        x: Float[Array, "*shape"],
        *,
        key: PRNGKeyArray | None = None,
        stop: None = None,
    ) -> tuple[Float[Array, "*shape"], Float[Array, ""]]:
        """Evaluate `g` and the exact log-determinant; `key` and `stop` are not used."""
        value, push = jax.linearize(_flat(g, x), x.reshape(-1))
        eye = jnp.eye(x.size, dtype=x.dtype)
        return value.reshape(x.shape), _log_abs_det(eye + jax.vmap(push)(eye))


class TruncatedLogDet(AbstractLogDet):
    r"""The first terms of the power series of the log-determinant, with a random trace.

    $$ \ln\det(I + J) = \sum_{k \ge 1} \frac{(-1)^{k+1}}{k} \mathrm{tr}(J^k)
       \approx \sum_{k=1}^{n} \frac{(-1)^{k+1}}{k} v^\top J^k v $$

    The estimate is biased by what is left out: `truncation_bias_bound`. A network that is trained
    on it learns to make the bias large, so its own figure is no likelihood; measure with
    `ExactLogDet` or `RouletteLogDet`. The gradient goes back through all terms, and so the memory
    of a training step grows with them.

    Args:
        terms: n, 1 or more.
        distribution: of the probe v: "rademacher", "gaussian", or "basis" for the exact trace from
            as many products as `x` has entries.

    Raises:
        ValueError: an argument is out of its range, or a random probe gets no `key`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> method = TruncatedLogDet(2)
        >>> _, log_det = method(lambda x: 0.5 * x, jnp.ones(3), key=jax.random.key(0))
        >>> float(log_det)  # 3 (0.5 - 0.5^2 / 2)
        1.125

    Source: Behrmann et al., Invertible Residual Networks, arXiv 1811.00995, section 3.
    """

    terms: int = eqx.field(static=True)
    distribution: Probes = eqx.field(static=True)

    def __init__(self, terms: int = 5, *, distribution: Probes = "rademacher"):
        if terms < 1:
            raise ValueError(f"`terms` must be 1 or more, got {terms}.")
        self.terms, self.distribution = terms, _known(distribution)

    def draw(self, *, key: PRNGKeyArray | None = None) -> None:
        """None: the series is always stopped at the same term."""
        return None

    def __call__(
        self,
        g: Callable[[Any], Any],
        x: Float[Array, "*shape"],
        *,
        key: PRNGKeyArray | None = None,
        stop: None = None,
    ) -> tuple[Float[Array, "*shape"], Float[Array, ""]]:
        """Evaluate `g` and the estimate; `stop` is not used."""
        probes = _probes(self.distribution, x, key)
        value, pull = jax.vjp(_flat(g, x), x.reshape(-1))

        def add(carry: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], None]:
            total, row = carry
            (row,) = jax.vmap(pull)(row)
            sign = jnp.where(k % 2 == 1, 1.0, -1.0).astype(x.dtype)
            return (total + sign / k.astype(x.dtype) * jnp.vdot(row, probes), row), None

        zero = jnp.zeros((), x.dtype)
        (total, _), _ = jax.lax.scan(add, (zero, probes), jnp.arange(1, self.terms + 1))
        return value.reshape(x.shape), total


class RouletteLogDet(AbstractLogDet):
    r"""An unbiased log-determinant from finitely many terms, with an unbiased gradient.

    With a stopping index $K$, weights $w_k = 1$ for $k \le m$ and
    $1[k - m \le K] / P(K \ge k - m)$ beyond, and a probe with $E[v v^\top] = I$,

    $$ \ln\det(I + J) = E\Big[\sum_{k \ge 1} \tfrac{(-1)^{k+1}}{k} w_k\, v^\top J^k v\Big], \qquad
       \nabla \ln\det(I + J)
       = E\Big[\Big(\sum_{k \ge 0} (-1)^k w_k\, v^\top J^k\Big) (\nabla J)\, v\Big] $$

    The value is the first sum and its gradient is the second: a Neumann series, whose row vector is
    found without a gradient, so that one product is all that is differentiated and memory does not
    grow with the number of terms. (The reference code returns the second sum as the value too,
    which is not a log-determinant.) Differentiated twice it raises, for the row vector has no
    gradient: `ExactLogDet` and `TruncatedLogDet` have every derivative.

    Both are unbiased up to the truncation's cap. For `Geometric(ratio)` the variance is finite
    where the spectral radius of J is below $\sqrt{\mathrm{ratio}}$, which is 0.71 by default;
    `worst_case` says what a Lipschitz bound allows, and `diagnose_draws` what has happened.

    Args:
        truncation: the distribution of the stopping index.
        exact: m, the number of terms that are always taken.
        distribution: of the probe v: "rademacher", "gaussian", or "basis" for the exact trace.

    Raises:
        ValueError: an argument is out of its range, or there is no `key`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> method = RouletteLogDet()
        >>> one = lambda key: method(lambda x: 0.5 * x, jnp.ones(3), key=key)[1]
        >>> draws = jax.vmap(one)(jax.random.split(jax.random.key(0), 10_000))
        >>> print(f"{draws.mean():.2f}")  # 3 ln 1.5 = 1.2164
        1.22

    Source: Chen et al., Residual Flows for Invertible Generative Modeling, arXiv 1906.02735,
        sections 3.1 and 3.2.
    """

    truncation: AbstractTruncation
    exact: int = eqx.field(static=True)
    distribution: Probes = eqx.field(static=True)

    def __init__(
        self,
        truncation: AbstractTruncation | None = None,
        *,
        exact: int = 2,
        distribution: Probes = "rademacher",
    ):
        if exact < 0:
            raise ValueError(f"`exact` must be 0 or more, got {exact}.")
        self.truncation = Geometric(0.5) if truncation is None else truncation
        self.exact, self.distribution = exact, _known(distribution)

    def draw(self, *, key: PRNGKeyArray | None) -> Int[Array, ""]:
        """A stopping index, to be shared by a batch; draw one for each block and step."""
        if key is None:
            raise ValueError("`key` must be a random key for a random stopping index, got None.")
        key = checked_key(key)
        return self.truncation.sample(key=key)

    def worst_case(self, lipschitz: float, *, dim: int = 1) -> TruncationCost:
        r"""The mean, variance and cost for the worst Jacobian of a given Lipschitz constant.

        $$ J = -\rho I: \qquad v^\top J^k v = d\,(-\rho)^k $$

        All terms then have one sign. The variance is that of the stopping alone: a random probe
        adds its own where J is not diagonal.

        Args:
            lipschitz: $\rho$, in [0, 1).
            dim: d.

        Raises:
            ValueError: `lipschitz` is not in [0, 1); or the variance grows without end, as it does
                from $\rho^2 = \mathrm{ratio}$ on for `Geometric(ratio)`.
        """
        rho = _contraction(lipschitz)
        if rho == 0:
            return TruncationCost(0.0, 0.0, self.exact + float(self.truncation.mean()))
        k = np.arange(1, self.exact + self.truncation.cap + 1)
        return truncation_cost(-dim * rho**k / k, self.truncation, exact=self.exact)

    def __call__(
        self,
        g: Callable[[Any], Any],
        x: Float[Array, "*shape"],
        *,
        key: PRNGKeyArray | None = None,
        stop: Int[Array, ""] | None = None,
    ) -> tuple[Float[Array, "*shape"], Float[Array, ""]]:
        """Evaluate `g` and the estimate."""
        if stop is None:
            key, stop_key = (None, None) if key is None else jr.split(checked_key(key))
            stop = self.draw(key=stop_key)
        probes = _probes(self.distribution, x, key)
        value, pull = jax.vjp(_flat(g, x), x.reshape(-1))
        total, adjoint = self._series(jax.lax.stop_gradient(pull), probes, stop)
        # A product with the transposed Jacobian, where the papers take one with the Jacobian: it
        # is the same number, and it shares the one linearisation with the loop.
        surrogate = jnp.vdot(jax.vmap(pull)(adjoint)[0], probes)
        return value.reshape(x.shape), _with_gradient_of(total, surrogate, pull)

    def _series(self, pull: Callable, probes: Array, stop: Array) -> tuple[Array, Array]:
        """Both sums; that of the gradient without its last product."""

        def add(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
            k, total, adjoint, row = carry
            (row,) = jax.vmap(pull)(row)
            weight = self.truncation.weight(jnp.maximum(k - self.exact, 1), stop).astype(row.dtype)
            weight = jnp.where(k <= self.exact, jnp.ones_like(weight), weight)
            signed = jnp.where(k % 2 == 0, weight, -weight)
            total = total - signed / k.astype(row.dtype) * jnp.vdot(row, probes)
            return k + 1, total, adjoint + signed * row, row

        last = self.exact + stop
        start = (jnp.ones_like(last), jnp.zeros((), probes.dtype), probes, probes)
        _, total, adjoint, _ = jax.lax.while_loop(lambda carry: carry[0] <= last, add, start)
        return total, adjoint


@eqx.filter_custom_jvp
def _with_gradient_of(total: Array, surrogate: Array, pull: Any) -> Array:
    return total


@_with_gradient_of.def_jvp
def _with_gradient_of_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array | None]:
    moved = tangents[1]
    if moved is not None:
        instead = "take `ExactLogDet` or `TruncatedLogDet`, which have every derivative"
        gate = once("the log-determinant of `RouletteLogDet`", instead, primals[2])
        moved = moved * gate.astype(moved.dtype)
    return _with_gradient_of(*primals), moved


def truncation_bias_bound(lipschitz: float, dim: int, terms: int) -> float:
    r"""A bound on what a truncated series of the log-determinant leaves out.

    $$ \Big|\ln\det(I + J) - \sum_{k=1}^{n} \tfrac{(-1)^{k+1}}{k} \mathrm{tr}(J^k)\Big|
       \le -d \Big(\ln(1 - L) + \sum_{k=1}^{n} \tfrac{L^k}{k}\Big) $$

    Args:
        lipschitz: L of the residual map, in [0, 1).
        dim: d, the number of entries of its input.
        terms: n, 0 or more; 0 bounds the log-determinant itself.

    Returns:
        The bound, in nats.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> print(f"{truncation_bias_bound(0.9, dim=2, terms=5):.3f}")
        0.945

    Source: Behrmann et al., Invertible Residual Networks, arXiv 1811.00995, theorem 3.
    """
    if dim < 1:
        raise ValueError(f"`dim` must be 1 or more, got {dim}.")
    if terms < 0:
        raise ValueError(f"`terms` must be 0 or more, got {terms}.")
    bound = _contraction(lipschitz)
    k = np.arange(1, terms + 1)
    return dim * max(0.0, -math.log1p(-bound) - math.fsum(bound**k / k))


def _flat(g: Callable[[Any], Any], x: Array) -> Callable[[Array], Array]:
    out = jax.eval_shape(g, x)
    if getattr(out, "shape", None) != x.shape:
        raise ValueError(
            f"`g` must keep the shape of `x`, {x.shape}; it returns {out}. For a batch, use "
            "`jax.vmap`."
        )
    return lambda flat: g(flat.reshape(x.shape)).reshape(-1)


def _log_abs_det(matrix: Float[Array, "dim dim"]) -> Float[Array, ""]:
    # A factorisation of a small matrix, many times over, is slow.
    if matrix.shape[0] == 1:
        return jnp.log(jnp.abs(matrix[0, 0]))
    if matrix.shape[0] == 2:
        (a, b), (c, d) = matrix
        return jnp.log(jnp.abs(a * d - b * c))
    return jnp.linalg.slogdet(matrix)[1]


def _probes(distribution: Probes, x: Array, key: PRNGKeyArray | None) -> Float[Array, "probe dim"]:
    """Rows v, over which the sum of v v^T is the identity in expectation."""
    if distribution == "basis":
        return jnp.eye(x.size, dtype=x.dtype)
    if key is None:
        raise ValueError(
            f"`key` must be a random key for {distribution} probes, got None. Pass "
            "`key=jax.random.key(...)`, or use ExactLogDet."
        )
    draw = jr.rademacher if distribution == "rademacher" else jr.normal
    return draw(key, (1, x.size), x.dtype)


def _known(distribution: Probes) -> Probes:
    if distribution not in get_args(Probes):
        raise ValueError(f"`distribution` must be one of {get_args(Probes)}, got {distribution!r}.")
    return distribution


def _contraction(lipschitz: float) -> float:
    if not 0 <= lipschitz < 1:
        raise ValueError(f"`lipschitz` must be in [0, 1), got {lipschitz}.")
    return float(lipschitz)
