"""Root finding by the diagonal of the Jacobian, with matrix-free Newton steps to fall back on."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.sparse.linalg import gmres
from jaxtyping import Array, Bool, Float, Int, PyTree

Function = Callable[[Any, Any], tuple[Any, Any]]


class RootInfo(NamedTuple):
    """What a search for a root did, and how it ended.

    Attributes:
        converged: whether the last update was within the tolerance.
        jacobi_steps: number of Jacobi-Newton steps.
        krylov_steps: number of Newton-Krylov steps; 0 if Jacobi-Newton was enough.
        update: the largest entry of the last update, over the tolerance of that entry.
    """

    converged: Bool[Array, ""]
    jacobi_steps: Int[Array, ""]
    krylov_steps: Int[Array, ""]
    update: Float[Array, ""]


class JacobiNewton(eqx.Module):
    r"""Newton's method with the diagonal of the Jacobian in place of the whole.

    $$ y_i \leftarrow y_i - \omega\, \frac{F_i(y)}{\partial F_i / \partial y_i} $$

    A step costs one evaluation of $F$ and its diagonal, and nothing is solved. With
    $J = D + R$, diagonal and rest, it converges if the spectral radius of $D^{-1} R$ is below 1
    (for $\omega = 1$), linearly. That holds for stiff dynamics whose stiffness is on the diagonal,
    where functional iteration diverges.

    Where a step does not become shorter than the one before it, or is not finite, Newton steps take
    over from the best point so far. Each solves $J \delta = F$ by GMRES, which needs products with
    $J$ alone, with $D^{-1}$ as preconditioner.

    Attributes:
        rtol: relative tolerance: the search ends when each entry of an update is below
            `atol + rtol |y_i|`.
        atol: absolute tolerance, in the units of `y`.
        damping: the factor $\omega$, above 0 and at most 1.
        jacobi_steps: the most Jacobi-Newton steps.
        krylov_steps: the most Newton-Krylov steps after them; 0 for none.

    Raises:
        ValueError: an attribute is out of its range.

    Source:
        Chen and Duvenaud, "Neural Networks with Cheap Differential Operators", arXiv 1912.03579,
        section 3.
    """

    rtol: float = eqx.field(default=1e-6, static=True)
    atol: float = eqx.field(default=1e-6, static=True)
    damping: float = eqx.field(default=1.0, static=True)
    jacobi_steps: int = eqx.field(default=20, static=True)
    krylov_steps: int = eqx.field(default=10, static=True)

    def __check_init__(self) -> None:
        for name in ("rtol", "atol"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 < self.damping <= 1:
            raise ValueError(f"damping must be above 0 and at most 1, got {self.damping}")
        for name in ("jacobi_steps", "krylov_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")


def find_root(
    function: Function,
    y0: Float[Array, " dim"],
    args: PyTree = None,
    *,
    method: JacobiNewton | None = None,
    throw: bool = True,
) -> tuple[Float[Array, " dim"], RootInfo]:
    r"""Find `y` with `F(y, args) = 0`, given `F` and the diagonal of its Jacobian.

    The root is differentiated by the implicit function theorem, in either mode and to any order;
    the steps that led to it are not:

    $$ \frac{dy}{d\theta} = - \Big(\frac{\partial F}{\partial y}\Big)^{-1}
       \frac{\partial F}{\partial \theta}. $$

    The linear equations of a derivative are solved by GMRES with the diagonal as preconditioner.

    Args:
        function: `function(y, args) -> (F, dF_i/dy_i)`, both of the shape of `y`. A wrong diagonal
            costs steps, never the answer.
        y0: where to start, `[dim]`; `jax.vmap` a batch.
        args: any PyTree, handed to `function`.
        method: a `JacobiNewton`; the default one if None.
        throw: raise if no root is found. If False, look at `RootInfo.converged`.

    Returns:
        The root, and a `RootInfo`.

    Raises:
        ValueError: `y0` is no vector, or `function` does not return two of its shape.
        RuntimeError: no root was found and `throw` is True.

    Example:
        >>> import jax.numpy as jnp, pullback as pb
        >>> cube_root = lambda y, x: (y**3 - x, 3 * y**2)
        >>> root, info = pb.ode.find_root(cube_root, jnp.ones(2), jnp.array([2.0, 8.0]))
        >>> bool(jnp.allclose(root, jnp.array([1.259921, 2.0]))), int(info.krylov_steps)
        (True, 0)

    Source:
        Chen and Duvenaud, "Neural Networks with Cheap Differential Operators", arXiv 1912.03579,
        section 3; Knoll and Keyes, "Jacobian-free Newton-Krylov methods", Journal of Computational
        Physics 193 (2004).
    """
    method = JacobiNewton() if method is None else method
    _check(function, y0, args)
    # What the function closes over is made an argument, so that it too can be differentiated.
    function = eqx.filter_closure_convert(function, y0, args)
    fixed_function, start, fixed_args = _stopped((function, y0, args))
    root, info = lax.stop_gradient(_search(fixed_function, start, fixed_args, method))
    root = _implicit(root, function, args)
    if throw:
        root = eqx.error_if(
            root,
            ~info.converged,
            "find_root found no root within its steps: start closer (for a solve: shorten the "
            "step), raise `krylov_steps`, loosen the tolerances, or use float64",
        )
    return root, info


def _check(function: Function, y0: Array, args: PyTree) -> None:
    if y0.ndim != 1:
        raise ValueError(f"y0 must be one vector, got shape {list(y0.shape)}; vmap a batch")
    got = eqx.filter_eval_shape(function, y0, args)
    if not (isinstance(got, tuple) and [leaf.shape for leaf in got] == [y0.shape] * 2):
        raise ValueError(
            f"function must return (F, diagonal), both of shape {list(y0.shape)}, got {got}"
        )


def _stopped(tree: PyTree) -> PyTree:
    arrays, rest = eqx.partition(tree, eqx.is_array)
    return eqx.combine(lax.stop_gradient(arrays), rest)


class _Search(NamedTuple):
    y: Array
    best: Array  # after the last update that was shorter than the one before
    update: Array
    steps: Array
    contracting: Array


def _search(
    function: Function, y0: Array, args: PyTree, method: JacobiNewton
) -> tuple[Array, RootInfo]:
    def size(update: Array, y: Array) -> Array:
        return jnp.max(jnp.abs(update) / (method.atol + method.rtol * jnp.abs(y)))

    def going_on(most: int) -> Callable[[_Search], Array]:
        return lambda at: (at.update > 1) & (at.steps < most) & at.contracting

    def jacobi(at: _Search) -> _Search:
        f, diagonal = function(at.y, args)
        delta = f / diagonal
        y = at.y - method.damping * delta
        update = size(delta, at.y)
        # False where the update is not a number.
        shorter = update < at.update
        return _Search(y, jnp.where(shorter, y, at.best), update, at.steps + 1, shorter)

    def krylov(at: _Search) -> _Search:
        f, diagonal = function(at.y, args)
        residual = lambda y: function(y, args)[0]
        delta, solved = _solve_linear(residual, at.y, f, diagonal, rtol=1e-4)
        update = jnp.where(solved, size(delta, at.y), jnp.inf)
        return _Search(at.y - delta, at.y, update, at.steps + 1, jnp.isfinite(update))

    infinity, none = jnp.full((), jnp.inf, y0.dtype), jnp.zeros((), jnp.int32)
    start = _Search(y0, y0, infinity, none, jnp.ones((), bool))
    first = lax.while_loop(going_on(method.jacobi_steps), jacobi, start)
    done = first.update <= 1
    second = _Search(
        jnp.where(done, first.y, first.best),
        y0,
        jnp.where(done, first.update, jnp.inf),
        none,
        ~done,
    )
    second = lax.while_loop(going_on(method.krylov_steps), krylov, second)
    return second.y, RootInfo(second.update <= 1, first.steps, second.steps, second.update)


def _solve_linear(
    residual: Callable[[Array], Array], y: Array, vector: Array, diagonal: Array, *, rtol: float
) -> tuple[Array, Array]:
    """Solve `J x = vector`, with the Jacobian of `residual` at `y`, known by its products alone.

    Returns `x`, and whether it is at least half a solution.
    """
    # Both sides are divided by the diagonal here: JAX's own preconditioner compares the residual
    # after it with the vector before it, and may take zero for a solution.
    inverse = lax.stop_gradient(1 / jnp.where(diagonal == 0, 1, diagonal))
    vector = inverse * vector

    def product(x: Array) -> Array:
        return inverse * jax.jvp(residual, (y,), (x,))[1]

    # Not Lineax's GMRES: its transposed solves raise, by a host callback, where GMRES ends early.
    # Not JAX's alone: its tolerance is a function of the vector, which may be a tangent here.
    def solve(product: Callable[[Array], Array], vector: Array) -> Array:
        # It takes a vector shorter than the rounding of 1 for zero, as a small cotangent may be.
        length = jnp.max(jnp.abs(vector))
        length = jnp.where(length == 0, 1, length)
        restart = min(y.size, 30)
        return length * gmres(product, vector / length, tol=rtol, restart=restart, maxiter=10)[0]

    x = lax.custom_linear_solve(product, vector, solve=solve, transpose_solve=solve)
    left = jnp.linalg.norm(vector - product(x))
    return x, left <= jnp.linalg.norm(vector) / 2


@eqx.filter_custom_jvp
def _implicit(root: Array, function: Function, args: PyTree) -> Array:
    """The root, with the derivative that the implicit function theorem gives it."""
    return root


@_implicit.def_jvp
def _implicit_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    root, *inputs = primals
    _, *changes = tangents
    is_none = lambda x: x is None
    fixed, varying = eqx.partition(
        inputs, jax.tree.map(is_none, changes, is_leaf=is_none), is_leaf=is_none
    )
    root = _implicit(root, *inputs)
    function, args = inputs

    def residual(y: Array, varying: PyTree) -> Array:
        function, args = eqx.combine(varying, fixed)
        return function(y, args)[0]

    _, change = jax.jvp(lambda varying: residual(root, varying), (varying,), (changes,))
    rtol = 100 * float(jnp.finfo(root.dtype).eps)
    _, diagonal = function(root, args)
    slope, _ = _solve_linear(lambda y: residual(y, varying), root, change, diagonal, rtol=rtol)
    return root, -slope
