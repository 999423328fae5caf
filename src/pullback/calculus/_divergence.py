"""The divergence (trace of the Jacobian) of a map of one vector."""

import abc
from collections.abc import Callable
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from pullback._key import checked_key

Distribution = Literal["rademacher", "gaussian"]


class AbstractDivergence(eqx.Module):
    """A way to compute or estimate `tr(df/dy)` of a map `f` of one vector to one of the same size.

    The noise, if there is any, is apart from the evaluation: draw it once for a solve with `probe`
    and hand it to every evaluation. Noise drawn afresh inside a vector field makes the field
    discontinuous in time, and an adaptive solver then cuts its steps without end.

    An estimator may ask more of `f` than a call, for instance a structure that makes its trace
    cheap; it then raises `TypeError` for an `f` that does not have it.

    To write one of your own, define both methods. It is called inside of solves, under `jax.vmap`
    and `jax.grad`: pure JAX, and settings as static fields. What it returns as the value is what
    moves the state, so it has to be `f(y)` itself, however the trace is found.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> from pullback import calculus
        >>> class Differences(calculus.AbstractDivergence):  # for an `f` without a derivative
        ...     width: float = eqx.field(default=1e-2, static=True)
        ...
        ...     def probe(self, y, *, key):
        ...         return None
        ...
        ...     def __call__(self, f, y, probe):
        ...         step = self.width * jnp.eye(len(y))
        ...         apart = jax.vmap(lambda e: f(y + e) - f(y - e))(step)
        ...         return f(y), jnp.trace(apart) / (2 * self.width)
        >>> field = lambda x: -(x**3)
        >>> found = calculus.hyvarinen_objective(
        ...     field, jnp.array([0.5, 1.0]), divergence=Differences())
        >>> print(f"{found:.2f}")  # -3 (0.25 + 1) + (0.5**6 + 1) / 2
        -3.24
    """

    @abc.abstractmethod
    def probe(self, y: Float[Array, " dim"], *, key: PRNGKeyArray | None) -> PyTree | None:
        """Draw the noise for one solve, or return None if the method needs none.

        Args:
            y: A state, for its size and dtype.
            key: Random key; None is allowed if the method needs no noise.

        Returns:
            What `__call__` takes as `probe`.
        """

    @abc.abstractmethod
    def __call__(
        self,
        f: Callable[[Any], Any],
        y: Float[Array, " dim"],
        probe: PyTree | None,
    ) -> tuple[Float[Array, " dim"], Float[Array, ""]]:
        """Evaluate `f` and its divergence.

        Args:
            f: Map from `[dim]` to `[dim]`.
            y: Where, one vector; `jax.vmap` a batch.
            probe: What `probe` returned.

        Returns:
            The pair `(f(y), divergence)`, of shapes `[dim]` and `[]`.
        """


class ExactDivergence(AbstractDivergence):
    """The exact divergence, one Jacobian-vector product for each of the `dim` directions.

        div f = sum_i e_i . (df/dy) e_i

    It costs as much as `dim` evaluations of `f`, taken side by side.

    Example:
        >>> import jax.numpy as jnp
        >>> exact = ExactDivergence()
        >>> value, divergence = exact(lambda y: y**2, jnp.array([1.0, 2.0]), None)
        >>> float(divergence)
        6.0

    Source:
        Chen, Rubanova, Bettencourt and Duvenaud, "Neural Ordinary Differential Equations", arXiv
        1806.07366, section 4.
    """

    def probe(self, y: Float[Array, " dim"], *, key: PRNGKeyArray | None = None) -> None:
        """Return None: nothing is random. `key` is ignored."""
        return None

    def __call__(
        self,
        f: Callable[[Any], Any],
        y: Float[Array, " dim"],
        probe: None = None,
    ) -> tuple[Float[Array, " dim"], Float[Array, ""]]:
        """Evaluate `f` and its exact divergence; `probe` is None."""
        # JVPs and VJPs were level on a CPU, within 0.6 to 1.4 of each other for the value and the
        # gradient with neither ahead at all sizes (benchmarks/bench_calculus.py). JVPs leave the
        # caller's gradient as reverse over forward, the usual order for second derivatives.
        value, jvp = jax.linearize(f, y)
        _check_shape(value, y)
        return value, jnp.trace(jax.vmap(jvp)(jnp.eye(y.size, dtype=y.dtype)))


class HollowDivergence(AbstractDivergence):
    """The exact divergence that a field finds itself, by a structure that makes it cheap.

        div f = sum_i df_i/dy_i

    A hollow net has its diagonal derivatives at about the cost of one evaluation, whatever `dim`
    is; a planar field has its divergence in closed form. Such a field has a method
    `with_divergence(t, y)`. Within a solve the time is fixed, so that what comes here as `f` has
    `with_divergence(y)`; `pb.models.flows.CNF` sees to that.

    Raises:
        TypeError: If `f` has no `with_divergence`.

    Example:
        >>> import jax.numpy as jnp
        >>> class Squares:
        ...     def with_divergence(self, y):
        ...         return y**2, 2 * jnp.sum(y)
        >>> value, divergence = HollowDivergence()(Squares(), jnp.array([1.0, 2.0]), None)
        >>> float(divergence)
        6.0

    Source:
        Chen and Duvenaud, "Neural Networks with Cheap Differential Operators", arXiv 1912.03579,
        section 2.
    """

    def probe(self, y: Float[Array, " dim"], *, key: PRNGKeyArray | None = None) -> None:
        """Return None: nothing is random. `key` is ignored."""
        return None

    def __call__(
        self,
        f: Any,
        y: Float[Array, " dim"],
        probe: None = None,
    ) -> tuple[Float[Array, " dim"], Float[Array, ""]]:
        """Evaluate `f` and its exact divergence, by `f.with_divergence`; `probe` is None."""
        if not hasattr(f, "with_divergence"):
            raise TypeError(
                "HollowDivergence takes a field that has its own `with_divergence`, such as "
                f"HollowNet; got {f!r}. For any other use ExactDivergence or HutchinsonDivergence."
            )
        return f.with_divergence(y)


class HutchinsonDivergence(AbstractDivergence):
    """An unbiased estimate of the divergence from random probes.

        div f ~ (1/n) sum_i eps_i . (df/dy) eps_i,   E[eps eps^T] = I

    One vector-Jacobian product for each probe. With `J_s` the symmetric part of the Jacobian and
    one probe the variance is `2 |J_s|^2` for Gaussian probes and, smaller, `2 (|J_s|^2 - sum_i
    J_ii^2)` for Rademacher probes, which is 0 if the Jacobian is diagonal.

    Args:
        distribution: `"rademacher"` (entries -1 and 1) or `"gaussian"`.
        samples: Number of probes that are averaged, 1 or more.

    Raises:
        ValueError: If `distribution` is unknown, `samples` is below 1, or `probe` gets no key.

    Example:
        >>> import jax.numpy as jnp, jax.random as jr
        >>> hutchinson, y = HutchinsonDivergence(), jnp.array([1.0, 2.0])
        >>> probe = hutchinson.probe(y, key=jr.key(0))
        >>> value, divergence = hutchinson(lambda y: y**2, y, probe)
        >>> float(divergence)
        6.0

    Source:
        Hutchinson, Communications in Statistics 18 (1989); for flows: Grathwohl et al., "FFJORD",
        arXiv 1810.01367, section 3.1.
    """

    distribution: Distribution = eqx.field(default="rademacher", static=True)
    samples: int = eqx.field(default=1, static=True)

    def __check_init__(self) -> None:
        if self.distribution not in get_args(Distribution):
            raise ValueError(
                f"`distribution` must be one of {get_args(Distribution)}; got "
                f"{self.distribution!r}."
            )
        if self.samples < 1:
            raise ValueError(f"`samples` must be 1 or more; got {self.samples}.")

    def probe(
        self, y: Float[Array, " dim"], *, key: PRNGKeyArray | None
    ) -> Float[Array, "samples dim"]:
        """Draw the probes for one solve, of the size and dtype of `y`."""
        if key is None:
            raise ValueError(
                "HutchinsonDivergence draws random probes and needs `key`; got None. Pass "
                "`key=jax.random.key(...)`, or use ExactDivergence. A density that is asked "
                "without a key, as that of a posterior or a prior is, needs the exact one: for a "
                "`CNF`, `divergence=None`."
            )
        key = checked_key(key)
        draw = jr.rademacher if self.distribution == "rademacher" else jr.normal
        return draw(key, (self.samples, y.size), y.dtype)

    def __call__(
        self,
        f: Callable[[Any], Any],
        y: Float[Array, " dim"],
        probe: Float[Array, "samples dim"],
    ) -> tuple[Float[Array, " dim"], Float[Array, ""]]:
        """Evaluate `f` and the estimate of its divergence with the probes given."""
        value, vjp = jax.vjp(f, y)
        _check_shape(value, y)
        (products,) = jax.vmap(vjp)(probe)
        return value, jnp.mean(jnp.sum(products * probe, axis=1))


def _check_shape(value: Array, y: Array) -> None:
    if y.ndim != 1 or value.shape != y.shape:
        raise ValueError(
            "A divergence needs a map of one vector to one of the same size; got `y` of shape "
            f"{y.shape} and `f(y)` of shape {value.shape}. For a batch, use `jax.vmap`."
        )
