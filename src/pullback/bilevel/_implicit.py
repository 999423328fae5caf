"""A training run of one's own, as a function that JAX differentiates."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import PRNGKeyArray, PyTree

from pullback._key import checked_key
from pullback._traced import compiled
from pullback.bilevel._checks import as_arrays, check_enters, check_has_gradient, check_hyper
from pullback.bilevel._hypergradient import response, say_if_it_diverges, slope_of
from pullback.bilevel._inverse import AbstractInverse, ConjugateGradient


def implicit(
    solve: Callable[[Any], Any],
    inner: Callable[..., Any],
    data: PyTree = None,
    *,
    inverse: AbstractInverse | None = None,
    key: PRNGKeyArray | None = None,
) -> Callable[[Any], Any]:
    r"""The end of a training run as a differentiable function of the hyperparameters.

    $$ \frac{d w^*}{d \lambda} = - H^{-1} \frac{\partial^2 L_T}{\partial w\, \partial \lambda} $$

    `solve` may be any loop: `fit`, another library, a program on another machine. JAX's reverse
    mode goes through it by the implicit function theorem, at what it returns, so that has to be a
    minimum of `inner`. The derivative by where `solve` starts is zero: put the start into `inner`,
    as a penalty on the distance from it, where you want one.

    Args:
        solve: `solve(hyper) -> model`. It is called with numbers, outside of any compilation.
        inner: `inner(model, hyper, batch, *, key) -> (scalar, dict)`, which the model minimises.
        data: the batch of `inner` at which the theorem is used; None where it needs none.
        inverse: what stands for $H^{-1}$. None: `ConjugateGradient(100)`, for which the minimum
            must be a proper one; `Neumann` where it need not be.
        key: the key that `inner` is given; None: `jax.random.key(0)`.

    Returns:
        `hyper -> model`, for `jax.grad`, `jax.vjp` and `jax.value_and_grad`. Its arrays that are
        not floating have no derivative.

    Raises:
        TypeError: a leaf of `hyper` is not real floating; or the function is called under
            `jax.jit` or `jax.vmap`, where `hyper` has no numbers that a loop on the host could use.
        ValueError: `inner` does not depend on `hyper`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def inner(w, hyper, batch, *, key):
        ...     return (w - 1) ** 2 / 2 + jnp.exp(hyper) * w**2 / 2, {}
        >>> by_hand = lambda hyper: 1 / (1 + jnp.exp(hyper))
        >>> w = implicit(by_hand, inner)
        >>> print(f"{jax.grad(w)(jnp.asarray(0.0)):.3f}")
        -0.250

    Source:
        Lorraine et al., arXiv 1911.02590, theorem 1; Blondel et al., "Efficient and Modular
        Implicit Differentiation", arXiv 2105.15183.
    """
    inverse = ConjugateGradient(100) if inverse is None else inverse
    key = checked_key(jax.random.key(0) if key is None else key)

    def solution(hyper: PyTree) -> PyTree:
        check_hyper(hyper)
        check_has_gradient(hyper)
        numbers, others = eqx.partition(as_arrays(hyper), eqx.is_inexact_array)
        rests: list[PyTree] = []

        def run(numbers: PyTree) -> PyTree:
            if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(numbers)):
                raise TypeError(
                    "what `implicit` gives runs a loop on the host, and was called under "
                    "`jax.jit`, `jax.vmap` or a second derivative, where `hyper` has no numbers. "
                    "Call it, and `jax.grad` of it, outside; or compile what is inside of `solve`."
                )
            model = as_arrays(solve(eqx.combine(numbers, others)))
            arrays, rest = eqx.partition(model, eqx.is_array)
            rests[:] = [rest]
            return arrays

        def forward(numbers: PyTree) -> tuple[PyTree, tuple[PyTree, PyTree]]:
            arrays = run(numbers)
            return arrays, (arrays, numbers)

        def backward(kept: tuple[PyTree, PyTree], cotangent: PyTree) -> tuple[PyTree]:
            arrays, numbers = kept
            params, whole = eqx.partition(arrays, eqx.is_inexact_array)
            vector = eqx.filter(cotangent, jax.tree.map(eqx.is_inexact_array, arrays))
            rest = eqx.combine(whole, rests[0])
            gradient, ratio = pull(inverse, (params, rest, numbers, others), vector, data)
            if not isinstance(ratio, Tracer):
                say_if_it_diverges(float(ratio))
            return (gradient,)

        differentiable = jax.custom_vjp(run)
        differentiable.defvjp(forward, backward)
        return eqx.combine(differentiable(numbers), rests[0])

    @compiled
    def pull(
        inverse: AbstractInverse, point: tuple[PyTree, ...], vector: PyTree, data: PyTree
    ) -> PyTree:
        params, rest, numbers, others = point

        def slope(params: PyTree, numbers: PyTree) -> PyTree:
            return slope_of(inner, params, rest, numbers, others, data, key=key)

        check_enters({"the gradient of `inner`": lambda n: slope(params, n)}, numbers)
        _, found = response(inverse, slope, params, numbers, vector, key=key)
        return jax.tree.map(jnp.negative, found.solution), found.ratio

    return solution
