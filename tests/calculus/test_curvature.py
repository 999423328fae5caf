import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.calculus import (
    gauss_newton_vector_product,
    hessian_vector_product,
    largest_eigenvalue,
)


def predict(x):
    return {"one": jnp.tanh(x["a"] @ x["b"]), "two": x["b"][:1] ** 3}


def loss(z):
    return jnp.sum(jnp.exp(z["one"])) + jnp.sum(z["one"][:1] * z["two"] ** 2)


def test_products_are_those_of_the_matrices():
    keys = jr.split(jr.key(0), 4)
    x = {"a": jr.normal(keys[0], (2, 3)), "b": jr.normal(keys[1], (3,)), "name": "mine"}
    params = eqx.filter(x, eqx.is_inexact_array)
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    v = jr.normal(keys[2], flat.shape)
    whole = lambda params: loss(predict({**params, "name": "mine"}))
    hessian = jax.hessian(lambda flat: whole(unravel(flat)))(flat)

    def flat_predict(flat):
        return jax.flatten_util.ravel_pytree(predict(unravel(flat)))[0]

    out, back = jax.flatten_util.ravel_pytree(predict(x))
    jacobian = jax.jacobian(flat_predict)(flat)
    gauss_newton = jacobian.T @ jax.hessian(lambda z: loss(back(z)))(out) @ jacobian
    for run in (lambda f: f, eqx.filter_jit):
        product = run(lambda x, v: hessian_vector_product(lambda x: loss(predict(x)), x, v))
        got = jax.flatten_util.ravel_pytree(product(x, unravel(v)))[0]
        np.testing.assert_allclose(got, hessian @ v, rtol=1e-10, atol=1e-10)
        product = run(lambda x, v: gauss_newton_vector_product(predict, loss, x, v))
        got = jax.flatten_util.ravel_pytree(product(x, unravel(v)))[0]
        np.testing.assert_allclose(got, gauss_newton @ v, rtol=1e-10, atol=1e-10)
    assert not np.allclose(hessian, gauss_newton)


@pytest.mark.parametrize(
    ("values", "want"),
    [
        ([1e25, 3e25], 3e25),
        ([1e-25, -2e-25], -2e-25),
        ([1.0, 3.0, 2.0], 3.0),
        ([1.0, -3.0, 2.0], -3.0),
        ([0.0, 0.0], 0.0),
        ([-2.0], -2.0),
    ],
)
def test_the_largest_eigenvalue_has_its_sign(values, want):
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(len(values),) * 2))[0]
    matrix = jnp.asarray(rotation @ np.diag(values) @ rotation.T)
    find = lambda m: largest_eigenvalue(lambda v: m @ v, m[0], key=jr.key(1))
    for run in (lambda f: f, jax.jit):
        np.testing.assert_allclose(run(find)(matrix), want, rtol=1e-5, atol=1e-30)


def test_a_negative_eigenvalue_settles_as_soon_as_a_positive_one():
    counts = {}
    for sign in (1.0, -1.0):
        scales, count = sign * jnp.asarray([4.0, 1.0]), []

        def product(v, scales=scales, count=count):
            jax.debug.callback(lambda: count.append(None))
            return scales * v

        jax.block_until_ready(largest_eigenvalue(product, jnp.zeros(2), key=jr.key(0)))
        jax.effects_barrier()
        counts[sign] = len(count)
    assert counts[1.0] == counts[-1.0] < 20


def test_eigenvalues_of_both_signs_are_not_averaged():
    """One of either sign never settles; their mean, zero, would make steps of any size safe."""
    found = largest_eigenvalue(lambda v: v * jnp.asarray([2.0, -2.0]), jnp.zeros(2), key=jr.key(0))
    np.testing.assert_allclose(jnp.abs(found), 2.0, rtol=1e-12)


@pytest.mark.parametrize(
    "vector", [{"a": jnp.ones(3)}, {"a": jnp.ones(2), "b": jnp.ones(1)}, {"a": jnp.ones(2, "f4")}]
)
def test_a_vector_that_does_not_fit_is_refused(vector):
    f = lambda x: jnp.sum(x["a"] ** 2)
    with pytest.raises(ValueError, match="`vector` must have the structure"):
        hessian_vector_product(f, {"a": jnp.ones(2)}, vector)
    with pytest.raises(ValueError, match="`vector` must have the structure"):
        gauss_newton_vector_product(lambda x: x["a"], jnp.sum, {"a": jnp.ones(2)}, vector)


def test_functions_that_are_no_scalars_are_refused():
    with pytest.raises(ValueError, match="must return a scalar"):
        hessian_vector_product(lambda x: x, jnp.ones(2), jnp.ones(2))
    with pytest.raises(ValueError, match="real floating"):
        largest_eigenvalue(lambda v: v, jnp.ones(2, int), key=jr.key(0))
    with pytest.raises(ValueError, match="max_steps"):
        largest_eigenvalue(lambda v: v, jnp.ones(2), max_steps=0, key=jr.key(0))
