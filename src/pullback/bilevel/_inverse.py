"""What stands for the inverse of the Hessian in an implicit gradient."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, ScalarLike

from pullback._key import checked_key
from pullback.bilevel._checks import check_whole
from pullback.calculus import largest_eigenvalue

Product = Callable[[PyTree], PyTree]


class InverseProduct(NamedTuple):
    """What an `AbstractInverse` gives.

    Attributes:
        solution: q, near $H^{-1} v$, as v.
        ratio: how much of v is left, in units of its size: $|v - H q| / |v|$ of a solver, and
            $|v_K| / |v_0|$ of a series, whose last term was made of $v_K$. Above 1 the series
            diverges, or the solver made things worse. Near 1 hardly anything was solved: directions
            of small curvature beside a large one, as with one large decay, need more terms, or
            `ConjugateGradient`.
    """

    solution: PyTree
    ratio: Float[Array, ""]


class AbstractInverse(eqx.Module):
    """Something that stands for the inverse of a Hessian, by products with it.

    One's own needs one method:

        class Mine(AbstractInverse):
            def __call__(self, product, vector, *, key): ...
    """

    @abc.abstractmethod
    def __call__(self, product: Product, vector: PyTree, *, key: PRNGKeyArray) -> InverseProduct:
        """An approximation of $H^{-1} v$.

        Args:
            product: `v -> H v` of a symmetric matrix, linear, of PyTrees as `vector`. It is
                compiled into the call, and every product with it costs some two gradients.
            vector: v, a PyTree of real floating arrays.
            key: for what draws.

        Returns:
            An `InverseProduct`.
        """


class Identity(AbstractInverse):
    r"""The step size for the inverse: $q = \alpha v$, without a product.

    It is the gradient through the last step of plain gradient descent alone.

    Args:
        step_size: alpha, in units of one over the curvature.

    Source:
        Luketina et al., "Scalable Gradient-Based Tuning of Continuous Regularization
        Hyperparameters" (T1-T2), arXiv 1511.06727; `Neumann` with no terms.
    """

    step_size: ScalarLike

    def __check_init__(self):
        _positive("step_size", self.step_size)

    def __call__(self, product: Product, vector: PyTree, *, key: PRNGKeyArray) -> InverseProduct:
        key = checked_key(key)
        return InverseProduct(_scaled(self.step_size, vector), _share(vector, vector))


class Neumann(AbstractInverse):
    r"""A truncated Neumann series,

    $$ q = \alpha \sum_{j=0}^{K} (I - \alpha H)^j v . $$

    It converges where every eigenvalue of $\alpha H$ lies between 0 and 2, and is off by
    $(1 - \alpha \mu)^{K + 1}$ in a direction of eigenvalue $\mu$: directions of small curvature are
    left out, as by a damping of some $1 / (\alpha K)$. At a minimum it is the gradient through
    $K + 1$ steps of gradient descent.

    Args:
        terms: K, the products. None at all is `Identity`.
        step_size: alpha. None: 1 over 1.1 times the largest eigenvalue, which ten more products
            find. The learning rate will do where training is plain gradient descent.
        damping: added to every eigenvalue of H.

    Source:
        Lorraine et al., "Optimizing Millions of Hyperparameters by Implicit Differentiation",
        arXiv 1911.02590, section 4 and algorithm 3, with the factor alpha that one listing lacks.
    """

    terms: int = eqx.field(static=True)
    step_size: ScalarLike | None = None
    damping: ScalarLike = 0.0

    def __check_init__(self):
        check_whole(0, terms=self.terms)
        _at_least("damping", self.damping, 0)
        if self.step_size is not None:
            _positive("step_size", self.step_size)

    def __call__(self, product: Product, vector: PyTree, *, key: PRNGKeyArray) -> InverseProduct:
        key = checked_key(key)
        damped = _damped(product, self.damping)
        step_size = self.step_size
        if step_size is None:
            # Too small by no more than a tenth or so after ten products; 2 / L is the limit.
            largest = jnp.abs(largest_eigenvalue(damped, vector, max_steps=10, key=key))
            step_size = 1 / jnp.where(largest > 0, 1.1 * largest, 1)

        def add(_: Array, carry: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
            left, total = carry
            left = optax.tree.sub(left, _scaled(step_size, damped(left)))
            return left, optax.tree.add(total, left)

        left, total = jax.lax.fori_loop(0, self.terms, add, (vector, vector))
        return InverseProduct(_scaled(step_size, total), _share(left, vector))


class ConjugateGradient(AbstractInverse):
    r"""$(H + \epsilon I)^{-1} v$ by conjugate gradients, of a positive definite matrix.

    Exact after as many products as H has different eigenvalues. Where the curvature is negative in
    some direction, as it is on the way of a network, it breaks: damp it, or take `Neumann`.

    Args:
        max_steps: the most products.
        rtol: what may be left of v, in units of its size.
        damping: epsilon, added to every eigenvalue of H.
    """

    max_steps: int = eqx.field(static=True)
    rtol: float = eqx.field(static=True, default=1e-6)
    damping: ScalarLike = 0.0

    def __check_init__(self):
        check_whole(1, max_steps=self.max_steps)
        _at_least("rtol", self.rtol, 0)
        _at_least("damping", self.damping, 0)

    def __call__(self, product: Product, vector: PyTree, *, key: PRNGKeyArray) -> InverseProduct:
        key = checked_key(key)
        damped = _damped(product, self.damping)
        size = optax.tree.norm(vector)
        unit = _scaled(1 / jnp.where(size > 0, size, 1), vector)
        operator = lx.FunctionLinearOperator(
            damped, jax.eval_shape(lambda: vector), lx.positive_semidefinite_tag
        )
        # Nothing is left after so many steps, and a tolerance of zero divides by it.
        atol = max(self.rtol, float(jnp.finfo(size.dtype).tiny))
        solver = lx.CG(rtol=0.0, atol=atol, norm=optax.tree.norm, max_steps=self.max_steps)
        with jax.numpy_dtype_promotion("standard"):
            found = lx.linear_solve(operator, unit, solver, throw=False).value
        solution = _scaled(size, found)
        return InverseProduct(solution, _share(optax.tree.sub(vector, damped(solution)), vector))


class Exact(AbstractInverse):
    r"""The pseudo-inverse of the whole matrix: for tests, and for a few hundred weights.

    Of a singular matrix it is the response of least norm: eigenvalues below 10 roundings of the
    largest count as zero, which `ratio` tells where they were none. Memory and time grow as the
    square and the cube of the number of weights.

    Args:
        damping: added to every eigenvalue of H.
    """

    damping: ScalarLike = 0.0

    def __check_init__(self):
        _at_least("damping", self.damping, 0)

    def __call__(self, product: Product, vector: PyTree, *, key: PRNGKeyArray) -> InverseProduct:
        key = checked_key(key)
        damped = _damped(product, self.damping)
        flat, unravel = jax.flatten_util.ravel_pytree(vector)
        push = lambda v: jax.flatten_util.ravel_pytree(damped(unravel(v)))[0]
        matrix = jax.vmap(push)(jnp.eye(flat.size, dtype=flat.dtype))
        values, vectors = jnp.linalg.eigh((matrix + matrix.T) / 2)
        # Eigenvalues are known to some roundings of the largest, whatever their number.
        cut = 10 * jnp.finfo(flat.dtype).eps * jnp.max(jnp.abs(values))
        real = jnp.abs(values) > cut
        inverse = jnp.where(real, 1 / jnp.where(real, values, 1), 0)
        solution = vectors @ (inverse * (flat @ vectors))
        return InverseProduct(unravel(solution), _share(flat - push(solution), flat))


def _damped(product: Product, damping: Any) -> Product:
    if isinstance(damping, int | float) and damping == 0:
        return product
    return lambda v: optax.tree.add(product(v), _scaled(damping, v))


def _scaled(by: Any, tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.asarray(by, leaf.dtype) * leaf, tree)


def _share(part: PyTree, whole: PyTree) -> Float[Array, ""]:
    """The size of a part in units of the whole; 0 of a zero."""
    size = optax.tree.norm(whole)
    # Not of what is no number: that is told.
    return jnp.where(size == 0, 0, optax.tree.norm(part) / jnp.where(size == 0, 1, size))


def _positive(name: str, value: Any) -> None:
    if isinstance(value, int | float) and not 0 < value < float("inf"):
        raise ValueError(f"`{name}` must be above 0 and finite, got {value}.")


def _at_least(name: str, value: Any, least: int) -> None:
    if isinstance(value, int | float) and not least <= value < float("inf"):
        raise ValueError(f"`{name}` must be {least} or more and finite, got {value}.")
