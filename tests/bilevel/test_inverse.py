"""What every stand-in for an inverse keeps, and how each treats a matrix that is hard."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback import bilevel
from pullback.bilevel import AbstractInverse, ConjugateGradient, Exact, Identity, Neumann

GOOD = {
    "Identity": Identity(0.5),
    "Neumann": Neumann(200, 0.5),
    "ConjugateGradient": ConjugateGradient(10),
    "Exact": Exact(),
}
INVERSES = [
    name
    for name, each in vars(bilevel).items()
    if inspect.isclass(each) and issubclass(each, AbstractInverse) and each is not AbstractInverse
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", INVERSES)
def test_every_inverse_is_linear_keeps_structure_and_is_the_same_compiled(name, dtype):
    inverse = GOOD[name]
    scales = {"a": jnp.asarray([1.0, 2.0], dtype), "b": (jnp.asarray(3.0, dtype), None)}
    v = {"a": jnp.asarray([1.0, -1.0], dtype), "b": (jnp.asarray(0.5, dtype), None)}
    near = {"rtol": 1e-5 if dtype == "float32" else 1e-9, "atol": 1e-7}
    same = lambda a, b: np.testing.assert_allclose(a, b, **near)
    product = lambda v: jax.tree.map(jnp.multiply, scales, v)
    apply = lambda v: inverse(product, v, key=jr.key(0))
    compiled = eqx.filter_jit(apply)
    one = apply(v)
    assert jax.tree.structure(one.solution) == jax.tree.structure(v)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(one))
    jax.tree.map(same, one, compiled(v))
    twice = compiled(jax.tree.map(lambda leaf: 2 * leaf, v)).solution
    jax.tree.map(lambda a, b: same(a, 2 * b), twice, one.solution)
    if name != "Identity":
        want = jax.tree.map(lambda s, v: v / s, scales, v)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), one.solution, want)
    zero = compiled(jax.tree.map(jnp.zeros_like, v))
    assert all(not jnp.any(leaf) for leaf in jax.tree.leaves(zero))


def test_directions_without_curvature():
    """The pseudo-inverse leaves them out; K terms multiply them by alpha (K + 1)."""
    product = lambda v: v * jnp.asarray([2.0, 0.0])
    v = jnp.asarray([1.0, 1.0])
    np.testing.assert_allclose(Exact()(product, v, key=jr.key(0)).solution, [0.5, 0.0])
    got = Neumann(9, 0.25)(product, v, key=jr.key(0)).solution
    np.testing.assert_allclose(got, [(1 - 0.5**10) / 2, 0.25 * 10])
    flat = Neumann(2)(lambda v: 0 * v, v, key=jr.key(0)).solution
    np.testing.assert_allclose(flat, 3 * v)


def test_a_series_finds_a_step_that_converges_or_says_that_none_does():
    values = np.geomspace(1e-2, 1e3, 30)
    got = Neumann(500)(lambda v: jnp.asarray(values) * v, jnp.ones(30), key=jr.key(3))
    assert got.ratio < 1
    filtered = 1 - (1 - values / 1100) ** 501
    np.testing.assert_allclose(got.solution * values, filtered, rtol=0.15)
    assert Neumann(20)(lambda v: -v, jnp.ones(2), key=jr.key(0)).ratio > 1
