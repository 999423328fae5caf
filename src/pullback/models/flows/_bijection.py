"""What a flow is made of: maps with an inverse and a log-determinant, in a row or stacked."""

import abc
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

B = TypeVar("B", bound="AbstractBijection")

FixedPointSolver = optx.AbstractFixedPointSolver | optx.AbstractRootFinder
_NEWTON = 16  # entries up to which an inverse is by Newton's method


class InverseInfo(eqx.Module):
    """How an inverse that is iterated went, for one example, or for each of a batch.

    Attributes:
        converged: whether every fixed point on the way met the tolerance.
        residual: the largest error of a block's input put through the block again.
        steps: the most iterations that a block took.
    """

    converged: Bool[Array, "*batch"]
    residual: Float[Array, "*batch"]
    steps: Int[Array, "*batch"]

    def __or__(self, other: "InverseInfo") -> "InverseInfo":
        """Of both inverses together."""
        return InverseInfo(
            self.converged & other.converged,
            jnp.maximum(self.residual, other.residual),
            jnp.maximum(self.steps, other.steps),
        )


def closed_form(dtype: Any, *, found: bool | Bool[Array, ""] = True) -> InverseInfo:
    """What the inverse of a bijection says of itself where it has no iteration.

    Args:
        dtype: of the points.
        found: False of a point to which f does not lead: a flow then raises.
    """
    found = jnp.asarray(found)
    return InverseInfo(found, jnp.where(found, 0, jnp.inf).astype(dtype), jnp.asarray(0))


def solver_of(solver: FixedPointSolver | None, entries: int) -> FixedPointSolver:
    """The solver of inverses that was given, or that for points of so many entries."""
    if solver is not None:
        return solver
    # A contraction of 0.94 that stops at steps of 1e-6 is still 1.6e-5 from its end. Where a dense
    # Jacobian is cheap, Newton's method is at rounding in a tenth of the time: after a step of 1e-5
    # its square is left, and float32 takes no smaller one.
    return optx.Newton(1e-5, 1e-5) if entries <= _NEWTON else optx.FixedPointIteration(1e-6, 1e-6)


def require_solver(solver: Any) -> None:
    """Refuse what no inverse can be solved by."""
    if not isinstance(solver, FixedPointSolver | None):
        raise TypeError(
            "`solver` must be of Optimistix, such as `Newton(1e-5, 1e-5)` or "
            f"`FixedPointIteration(1e-6, 1e-6)`, or None; got {solver!r}."
        )


class AbstractBijection(eqx.Module):
    r"""An invertible map of one example, from the side of the data to the side of the base.

    $$ y = f(x; c), \qquad \ln |\det \partial y / \partial x| $$

    Write one as a module with the three methods below. Its floating arrays are trained; what is not
    is a static field, or a `pullback.nn.Constant`. It goes into a `Chain` with others, or by
    `Stacked` as one of many, and a `ResidualFlow` makes a density of it. A point of which f has no
    image, since it lies outside of the support, has the log-determinant $-\infty$ and any finite
    image.

    Example:
        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> class Sinh(AbstractBijection):
        ...     log_scale: jax.Array
        ...     def forward_and_log_det(self, x, *, context=None, key=None, shared=None):
        ...         y = jnp.arcsinh(x * jnp.exp(self.log_scale))
        ...         return y, jnp.sum(self.log_scale - jnp.log(jnp.cosh(y)))
        ...     def inverse(self, y, solver, max_steps, *, context=None):
        ...         return jnp.sinh(y) * jnp.exp(-self.log_scale), closed_form(y.dtype)
        ...     def initialise(self, x, *, context=None):  # nothing of it depends on the data
        ...         return self, jax.vmap(lambda row: self.forward_and_log_det(row)[0])(x)
        >>> base = pb.sampling.StandardNormal(2)
        >>> flow = pb.models.flows.ResidualFlow(Sinh(jnp.zeros(2)), base)
        >>> x = flow.sample(jax.random.key(0), (5,))
        >>> flow.log_prob(x).shape
        (5,)
    """

    @abc.abstractmethod
    def forward_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        context: Float[Array, "..."] | None = None,
        key: PRNGKeyArray | None = None,
        shared: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, ""]]:
        """The image of `x`, and the log-determinant of the map's Jacobian there.

        Args:
            x: one example; `jax.vmap` a batch, with a `key` for each and one `shared` for all.
            context: what the map depends on beside x, of this example; None in a flow that has
                none. Most maps leave it alone.
            key: for the probes of an estimated log-determinant.
            shared: for what a batch shares, the term at which a series is stopped. Where each
                example has its own, all wait for the longest.
        """

    @abc.abstractmethod
    def inverse(
        self,
        y: Float[Array, "..."],
        solver: FixedPointSolver,
        max_steps: int,
        *,
        context: Float[Array, "..."] | None = None,
    ) -> tuple[Float[Array, "..."], InverseInfo]:
        """The `x` whose image is `y`, and how it was found.

        Args:
            y: one example.
            solver: of Optimistix, for the parts that have no closed form.
            max_steps: the most iterations of one part.
            context: as above, of this example.
        """

    @abc.abstractmethod
    def initialise(
        self, x: Float[Array, "batch ..."], *, context: Float[Array, "batch ..."] | None = None
    ) -> tuple["AbstractBijection", Float[Array, "batch ..."]]:
        """The map with whatever depends on the data set by a batch, and the batch's image.

        Args:
            x: a batch, on the leading axis.
            context: of each of them, or None.
        """


class Chain(AbstractBijection):
    """One bijection after another.

    Args:
        parts: from the data to the base.

    Raises:
        TypeError: one of them is no bijection.
    """

    parts: tuple[AbstractBijection, ...]

    def __init__(self, parts: Sequence[AbstractBijection]):
        self.parts = tuple(parts)
        for part in self.parts:
            require_bijection("parts", part)

    def forward_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        context: Float[Array, "..."] | None = None,
        key: PRNGKeyArray | None = None,
        shared: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, ""]]:
        """Through all parts; log-determinants add up."""
        total = jnp.zeros((), x.dtype)
        keys, shares = _split(key, len(self.parts)), _split(shared, len(self.parts))
        for part, own, common in zip(self.parts, keys, shares, strict=True):
            x, log_det = part.forward_and_log_det(x, context=context, key=own, shared=common)
            total = total + log_det
        return x, total

    def inverse(
        self,
        y: Float[Array, "..."],
        solver: FixedPointSolver,
        max_steps: int,
        *,
        context: Float[Array, "..."] | None = None,
    ) -> tuple[Float[Array, "..."], InverseInfo]:
        """Back through all parts."""
        info = closed_form(y.dtype)
        for part in reversed(self.parts):
            y, told = part.inverse(y, solver, max_steps, context=context)
            info = info | told
        return y, info

    def initialise(
        self, x: Float[Array, "batch ..."], *, context: Float[Array, "batch ..."] | None = None
    ) -> tuple[AbstractBijection, Float[Array, "batch ..."]]:
        """Each part in turn, on what comes out of the parts before."""
        parts = []
        for part in self.parts:
            part, x = part.initialise(x, context=context)
            parts.append(part)
        return type(self)(parts), x


class Stacked(AbstractBijection):
    """Many bijections of one structure, one after another, as one scan.

    Compile time does not grow with their number.

    Args:
        layers: a bijection whose arrays all have a leading axis, the layers from the data to the
            base, as `equinox.filter_vmap` of a constructor gives it.
        remat: compute the inside of a layer again in the backward pass instead of keeping it, so
            that the memory of training is one example's size a layer.
    """

    layers: AbstractBijection
    remat: bool = eqx.field(static=True, default=False)

    def forward_and_log_det(
        self,
        x: Float[Array, "..."],
        *,
        context: Float[Array, "..."] | None = None,
        key: PRNGKeyArray | None = None,
        shared: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, ""]]:
        """Through all layers; log-determinants add up."""
        arrays, static = eqx.partition(self.layers, eqx.is_array)
        number = jax.tree.leaves(arrays)[0].shape[0]

        def body(carry: tuple[Array, Array], layer: Any) -> tuple[tuple[Array, Array], None]:
            (x, total), (arrays, own, common) = carry, layer
            part = eqx.combine(arrays, static)
            x, log_det = part.forward_and_log_det(x, context=context, key=own, shared=common)
            return (x, total + log_det), None

        keys = None if key is None else jr.split(key, number)
        shares = None if shared is None else jr.split(shared, number)
        step = jax.checkpoint(body) if self.remat else body
        (x, total), _ = jax.lax.scan(step, (x, jnp.zeros((), x.dtype)), (arrays, keys, shares))
        return x, total

    def inverse(
        self,
        y: Float[Array, "..."],
        solver: FixedPointSolver,
        max_steps: int,
        *,
        context: Float[Array, "..."] | None = None,
    ) -> tuple[Float[Array, "..."], InverseInfo]:
        """Back through all layers."""
        arrays, static = eqx.partition(self.layers, eqx.is_array)

        def body(carry: tuple[Array, InverseInfo], layer: Any) -> tuple[Any, None]:
            y, info = carry
            part = eqx.combine(layer, static)
            x, told = part.inverse(y, solver, max_steps, context=context)
            return (x, info | told), None

        (x, info), _ = jax.lax.scan(body, (y, closed_form(y.dtype)), arrays, reverse=True)
        return x, info

    def initialise(
        self, x: Float[Array, "batch ..."], *, context: Float[Array, "batch ..."] | None = None
    ) -> tuple[AbstractBijection, Float[Array, "batch ..."]]:
        """Each layer in turn, on what comes out of the layers before."""
        arrays, static = eqx.partition(self.layers, eqx.is_array)

        def body(x: Array, layer: Any) -> tuple[Array, Any]:
            part, x = eqx.combine(layer, static).initialise(x, context=context)
            return x, eqx.filter(part, eqx.is_array)

        x, arrays = jax.lax.scan(body, x, arrays)
        return type(self)(eqx.combine(arrays, static), self.remat), x


def require_bijection(name: str, part: Any) -> None:
    """Refuse what is not written as one."""
    if not isinstance(part, AbstractBijection):
        raise TypeError(
            f"`{name}` must be bijections, such as a `ResidualBlock` or an `AbstractBijection` of "
            f"your own; got {type(part).__name__}."
        )


def stack(make: Callable[[PRNGKeyArray], B], number: int, key: PRNGKeyArray) -> B:
    """`number` bijections made alike, as `Stacked` takes them."""
    return eqx.filter_vmap(make)(jr.split(key, number))


def _split(key: PRNGKeyArray | None, number: int) -> Any:
    return [None] * number if key is None else jr.split(key, number)
