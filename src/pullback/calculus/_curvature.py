"""Products with matrices of second derivatives, and the largest eigenvalue of such a matrix."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from pullback._key import checked_key
from pullback._power_method import safe_norm, settle


def hessian_vector_product(f: Callable[[Any], Array], x: PyTree, vector: PyTree) -> PyTree:
    r"""A product with the Hessian of a scalar function, at the cost of some two gradients.

    $$ H v = \frac{d}{d\epsilon} \nabla f(x + \epsilon v) \Big|_{\epsilon = 0} $$

    It is taken forward over reverse. Of many products with one Hessian, let
    `jax.linearize(jax.grad(f), x)` do what they share once.

    Args:
        f: a function of `x` that returns a scalar.
        x: any PyTree. Its real floating arrays are what `f` is differentiated by.
        vector: v: a PyTree with the structure and shapes of those arrays.

    Returns:
        H v, as `vector`.

    Raises:
        ValueError: `vector` does not fit `x`, or `f` returns no scalar.

    Example:
        >>> import jax.numpy as jnp
        >>> f = lambda x: x["a"] ** 2 * x["b"]
        >>> x, v = {"a": jnp.asarray(1.0), "b": jnp.asarray(2.0)}, {"a": 1.0, "b": 0.0}
        >>> product = hessian_vector_product(f, x, jax.tree.map(jnp.asarray, v))
        >>> float(product["a"]), float(product["b"])
        (4.0, 2.0)

    Source:
        Pearlmutter, "Fast Exact Multiplication by the Hessian", Neural Computation 6(1), 1994.
    """
    params, rest = eqx.partition(x, eqx.is_inexact_array)
    _check_vector(params, vector)
    of_params = lambda params: _scalar(f(eqx.combine(params, rest)), name="f")
    return jax.jvp(jax.grad(of_params), (params,), (vector,))[1]


def gauss_newton_vector_product(
    predict: Callable[[Any], PyTree],
    loss: Callable[[Any], Array],
    x: PyTree,
    vector: PyTree,
) -> PyTree:
    r"""A product with the generalised Gauss-Newton matrix of `loss(predict(x))`.

    $$ G v = J^\top \, \nabla^2 \ell \, J v, \qquad J = \partial\, \text{predict} / \partial x $$

    It is the Hessian where `predict` is linear; and positive semidefinite wherever `loss` is
    convex, though the Hessian may not be.

    Args:
        predict: the function inside, of `x`; its value is a PyTree of real floating arrays.
        loss: the function outside, of that value; it returns a scalar.
        x: any PyTree. Its real floating arrays are the variables.
        vector: v: a PyTree with the structure and shapes of those arrays.

    Returns:
        G v, as `vector`.

    Raises:
        ValueError: `vector` does not fit `x`, or `loss` returns no scalar.

    Example:
        >>> import jax.numpy as jnp
        >>> product = gauss_newton_vector_product(jnp.sin, lambda z: z**2, jnp.asarray(0.0),
        ...                                       jnp.asarray(1.0))
        >>> float(product)
        2.0

    Source:
        Schraudolph, "Fast Curvature Matrix-Vector Products for Second-Order Gradient Descent",
        Neural Computation 14(7), 2002.
    """
    params, rest = eqx.partition(x, eqx.is_inexact_array)
    _check_vector(params, vector)
    value, push = jax.linearize(lambda params: predict(eqx.combine(params, rest)), params)
    pull = jax.linear_transpose(push, params)
    return pull(hessian_vector_product(loss, value, push(vector)))[0]


def largest_eigenvalue(
    product: Callable[[Any], Any],
    like: PyTree,
    *,
    rtol: float = 1e-3,
    max_steps: int = 100,
    key: PRNGKeyArray,
) -> Float[Array, ""]:
    r"""The eigenvalue of the largest size of a symmetric matrix, with its sign.

    $$ v \leftarrow \pm A v / |A v|, \qquad |\lambda| = |A v| $$

    A start that has to settle comes near from below: of one that was stopped by `max_steps` the
    size is too small, and never too large.

    Args:
        product: `v -> A v`, of a symmetric A.
        like: a PyTree of real floating arrays of the structure and shapes of v.
        rtol: the change of v, of length 1, in one step at which it has settled.
        max_steps: the most products.
        key: for the start.

    Returns:
        The eigenvalue; 0 where A is zero.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> A = jnp.diag(jnp.asarray([1.0, -4.0, 2.0]))
        >>> found = largest_eigenvalue(lambda v: A @ v, jnp.zeros(3), key=jax.random.key(0))
        >>> print(f"{found:.4f}")
        -4.0000
    """
    key = checked_key(key)
    if max_steps < 1:
        raise ValueError(f"`max_steps` must be 1 or more, got {max_steps}.")
    flat, unravel = jax.flatten_util.ravel_pytree(like)
    if not jnp.issubdtype(flat.dtype, jnp.floating):
        raise ValueError(f"`like` must hold real floating arrays, got {flat.dtype}.")

    def push(v: Array) -> Array:
        return jax.flatten_util.ravel_pytree(product(unravel(v)))[0]

    def turn(v: Array) -> Array:
        new = push(v)
        # With the sign of v, or one of a negative eigenvalue would never settle.
        return jnp.where(new @ v < 0, -new, new)

    start = jr.normal(key, flat.shape, flat.dtype)
    vector = settle(turn, start, rtol=rtol, max_steps=max_steps)
    last = push(vector)
    size = safe_norm(last)
    return jnp.where(last @ vector < 0, -size, size)


def _check_vector(params: PyTree, vector: PyTree) -> None:
    if any(jnp.iscomplexobj(leaf) for leaf in jax.tree.leaves(params)):
        raise ValueError("`x` must be real; store real and imaginary parts apart.")
    kind = lambda tree: jax.tree.map(lambda x: (jnp.shape(x), str(jnp.result_type(x))), tree)
    if jax.tree.structure(params) != jax.tree.structure(vector) or kind(params) != kind(vector):
        raise ValueError(
            "`vector` must have the structure, the shapes and the dtypes of the real floating "
            f"arrays of `x`, {kind(params)}; got {kind(vector)}."
        )


def _scalar(value: Any, *, name: str) -> Array:
    if jnp.shape(value) != ():
        raise ValueError(f"`{name}` must return a scalar, got shape {jnp.shape(value)}.")
    return value
