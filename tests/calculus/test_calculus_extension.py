"""What a user writes on top of the room, from its public names and their documentation alone."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback import calculus


class Equal(calculus.AbstractTruncation):
    """Each of 1, ..., cap equally often."""

    cap: int = eqx.field(static=True)

    def survival(self, k):
        return jnp.maximum(self.cap + 1 - k, 0) / self.cap

    def quantile(self, u):
        return 1 + jnp.floor(self.cap * (1 - u)).astype(int)


class Columns(calculus.AbstractDivergence):
    """The trace by forward mode, along random signs; exact for two passes of opposite corners."""

    draws: int = eqx.field(static=True)

    def probe(self, y, *, key: Any):
        return jr.rademacher(key, (self.draws, y.size), y.dtype)

    def __call__(self, f, y, probe):
        along = lambda v: jnp.vdot(v, jax.jvp(f, (y,), (v,))[1])
        return f(y), jnp.mean(jax.vmap(along)(probe))


@pytest.mark.parametrize("estimator", ["roulette", "single"])
def test_a_truncation_is_unbiased_in_every_sum(estimator, promotion):
    truncation, stops = Equal(5), jnp.arange(1, 6)
    np.testing.assert_allclose(
        truncation.probability(jnp.arange(7)), [0, *[0.2] * 5, 0], atol=1e-15
    )
    np.testing.assert_allclose(truncation.mean(), 3)
    shares = np.bincount(truncation.sample((20_000,), key=jr.key(0)), minlength=6) / 20_000
    np.testing.assert_allclose(shares, [0, *[0.2] * 5], atol=0.015)

    def mean(ratio):
        step = lambda term: (term, ratio * term)
        start = jnp.ones(5)
        found = calculus.randomised_sum(
            step, start, truncation, stops, exact=2, estimator=estimator
        )
        return jnp.mean(found)  # all stops are equally likely

    exact = lambda ratio: jnp.sum(ratio ** jnp.arange(7))
    for run in (jax.value_and_grad(mean), jax.jit(jax.value_and_grad(mean))):
        np.testing.assert_allclose(run(0.5), jax.value_and_grad(exact)(0.5), rtol=1e-12)


def test_a_truncation_in_a_log_determinant(promotion):
    matrix = 0.3 * jr.normal(jr.key(0), (3, 3)) / 3**0.5
    g = lambda x: matrix @ x
    method = calculus.RouletteLogDet(Equal(12), exact=1)

    def mean(matrix):
        g = lambda x: matrix @ x
        signs = jr.split(jr.key(1), 200)
        at = lambda key, stop: method(g, jnp.ones(3), key=key, stop=stop)[1]
        return jnp.mean(jax.vmap(lambda k: jax.vmap(lambda s: at(k, s))(jnp.arange(1, 13)))(signs))

    found, slope = eqx.filter_jit(jax.value_and_grad(mean))(matrix)
    want, exact = jax.value_and_grad(lambda m: jnp.linalg.slogdet(jnp.eye(3) + m)[1])(matrix)
    np.testing.assert_allclose(found, want, atol=0.02)
    np.testing.assert_allclose(slope, exact, atol=0.1)
    assert method.worst_case(0.0).terms == 1 + 6.5
    np.testing.assert_allclose(method(g, jnp.ones(3), key=jr.key(0))[0], matrix @ jnp.ones(3))


def test_a_divergence_wherever_one_is_taken(promotion):
    matrix = jr.normal(jr.key(0), (3, 3))
    field = lambda x: matrix @ x + jnp.sin(x)
    x = jnp.array([0.3, -0.2, 0.5])
    trace = jnp.trace(matrix) + jnp.sum(jnp.cos(x))
    method, scores = Columns(4000), jnp.array([1.0, 2.0, 0.0])
    probe = method.probe(x, key=jr.key(1))
    for run in (lambda f: f, eqx.filter_jit):
        value, found = run(lambda x: method(field, x, probe))(x)
        np.testing.assert_allclose(value, field(x))
        np.testing.assert_allclose(found, trace, atol=0.15)
        loss = lambda x: calculus.hyvarinen_objective(field, x, divergence=method, probe=probe)
        np.testing.assert_allclose(run(loss)(x), found + jnp.sum(field(x) ** 2) / 2)
        operator = lambda x: calculus.stein_operator(
            field, lambda x: scores, x, divergence=method, probe=probe
        )
        np.testing.assert_allclose(run(operator)(x), jnp.vdot(scores, field(x)) + found)
        terms = lambda x: (
            calculus.stein_terms(
                field, scores[None], x[None], divergence=method, key=jr.key(2)
            ).operator
        )
        np.testing.assert_allclose(run(terms)(x)[0], jnp.vdot(scores, field(x)) + trace, atol=0.2)
