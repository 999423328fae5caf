"""A loop on the host, differentiated."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
import ridge

from pullback.bilevel import Exact, Neumann, implicit
from pullback.train import fit

HYPER = jnp.asarray(ridge.HYPER)


class Model(eqx.Module):
    w: jax.Array
    steps: jax.Array
    name: str = "ridge"


def inner(model, hyper, batch, *, key):
    return ridge.inner(model.w, hyper, batch, key=key)


def by_numpy(hyper):
    assert not isinstance(hyper, jax.core.Tracer)
    return Model(jnp.asarray(ridge.solution(np.asarray(hyper))), jnp.asarray(7))


def outer(model):
    return ridge.outer(model.w, None, ridge.VALIDATION, key=None)[0]


@pytest.mark.parametrize("inverse", [None, Exact(), Neumann(200)])
def test_the_gradient_of_a_program_of_numpy_is_the_closed_form(inverse):
    model = implicit(by_numpy, inner, ridge.TRAIN, inverse=inverse)
    value, gradient = jax.value_and_grad(lambda hyper: outer(model(hyper)))(HYPER)
    np.testing.assert_allclose(gradient, ridge.exact(), rtol=2e-5 if inverse is None else 1e-10)
    np.testing.assert_allclose(value, outer(by_numpy(HYPER)), rtol=1e-12)
    assert model(HYPER).steps == 7
    assert model(HYPER).name == "ridge"


def test_arrays_of_numpy_are_differentiated_too():
    """A solver that knows nothing of JAX gives NumPy's, and would have no gradient in silence."""
    w = implicit(lambda hyper: ridge.solution(np.asarray(hyper)), ridge.inner, ridge.TRAIN)
    judge = lambda hyper: ridge.outer(w(hyper), None, ridge.VALIDATION, key=None)[0]
    np.testing.assert_allclose(jax.grad(judge)(ridge.HYPER), ridge.exact(), rtol=2e-5)


def test_it_composes_with_what_lies_around_it():
    """Hyperparameters that are made of others, and a loss of hyperparameter and model both."""
    model = implicit(by_numpy, inner, ridge.TRAIN, inverse=Exact())

    def total(one):
        hyper = one + HYPER
        return outer(model(hyper)) + jnp.sum(hyper**2)

    want = np.sum(ridge.exact()) + 2 * np.sum(ridge.HYPER)
    np.testing.assert_allclose(jax.grad(total)(jnp.asarray(0.0)), want, rtol=1e-10)


def test_fit_is_differentiated():
    def solve(decay):
        loss = lambda w, batch, *, key: ridge.inner(w, decay, batch, key=key)
        return fit(
            jnp.zeros(ridge.D), loss, ridge.TRAIN, optimiser=optax.sgd(0.2), steps=200,
            batch_size=ridge.N, log_every=200, progress=False, key=jr.key(0),
        )[0]  # fmt: skip

    w = implicit(solve, ridge.inner, ridge.TRAIN, inverse=Exact())
    judge = lambda hyper: ridge.outer(w(hyper), None, ridge.VALIDATION, key=None)[0]
    np.testing.assert_allclose(jax.grad(judge)(HYPER), ridge.exact(), rtol=1e-8)


@pytest.mark.parametrize("wrap", [jax.jit, jax.vmap, lambda f: jax.jit(jax.vmap(jax.grad(f)))])
def test_under_a_compilation_a_loop_on_the_host_is_refused(wrap):
    model = implicit(by_numpy, inner, ridge.TRAIN)
    with pytest.raises(TypeError, match=r"loop on the host.*and `jax.grad` of it, outside"):
        wrap(lambda hyper: outer(model(hyper)))(HYPER[None])


def test_an_inverse_that_diverges_is_said():
    model = implicit(by_numpy, inner, ridge.TRAIN, inverse=Neumann(20, 5.0))
    with pytest.warns(UserWarning, match="diverges"):
        jax.grad(lambda hyper: outer(model(hyper)))(HYPER)


def test_bad_input_is_refused():
    model = implicit(by_numpy, lambda m, h, b, *, key: inner(m, 0 * HYPER, b, key=key), ridge.TRAIN)
    with pytest.raises(ValueError, match="does not enter"):
        jax.grad(lambda hyper: outer(model(hyper)))(HYPER)
    with pytest.raises(TypeError, match="real floating"):
        model(jnp.ones(3, int))
