"""An inverse, a hypergradient and a response of one's own, from public names alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import ridge

import pullback as pb


class Diagonal(pb.bilevel.AbstractInverse):
    """One over the diagonal of the Hessian, where the weights are one array."""

    def __call__(self, product, vector, *, key):
        rows = jax.vmap(product)(jnp.eye(vector.size))
        solution = vector / jnp.diagonal(rows)
        left = vector - product(solution)
        ratio = jnp.linalg.norm(left) / jnp.linalg.norm(vector)
        return pb.bilevel.InverseProduct(solution, ratio)


class Differences(pb.bilevel.AbstractHypergradient):
    """Central differences of the outer loss after one training step, of one hyperparameter."""

    steps: int = 1

    def __call__(self, problem, point, train, validation, *, key):
        batch = jax.tree.map(lambda leaf: leaf[-1], train)

        def after(hyper):
            loss = lambda w: problem.inner(w, hyper, batch, key=key)[0]
            w, state = pb.bilevel.unroll(
                loss, point.model, problem.optimiser_at(hyper), point.state, steps=1
            )
            return problem.outer(w, hyper, validation, key=key)[0], w, state

        up, down = (after(point.hyper + shift)[0] for shift in (1e-4, -1e-4))
        value, w, state = after(point.hyper)
        zero = jnp.zeros_like(value)
        gradient = (up - down) / 2e-4
        return (
            pb.bilevel.Hypergradient(value, gradient, zero, zero, {}),
            pb.bilevel.Point(w, state, point.hyper),
        )


def test_an_inverse_of_ones_own_is_taken_as_the_librarys():
    w, hyper = jnp.asarray(ridge.solution()), jnp.asarray(ridge.HYPER)
    found = pb.bilevel.hypergradient(
        ridge.inner, ridge.outer, w, hyper, ridge.TRAIN, ridge.VALIDATION,
        method=pb.bilevel.Implicit(Diagonal()), key=jax.random.key(0),
    )  # fmt: skip
    want = -np.exp(ridge.HYPER) * ridge.solution() / np.diag(ridge.hessian())
    np.testing.assert_allclose(found.gradient, want * ridge.outer_slope(ridge.solution()))
    assert 0 < found.ratio < 1


def test_a_hypergradient_of_ones_own_tunes_as_the_librarys():
    def inner(w, hyper, batch, *, key):
        return ridge.inner(w, hyper * jnp.ones(ridge.D), batch, key=key)

    found = [
        pb.bilevel.tune(
            jnp.zeros(ridge.D), jnp.asarray(0.5), inner, ridge.outer, ridge.TRAIN, ridge.VALIDATION,
            optimiser=optax.sgd(0.1, 0.9), hyper_optimiser=optax.adam(0.1), inner_steps=3,
            outer_steps=20, method=method, progress=False, key=jax.random.key(0),
        )[1]
        for method in (Differences(), pb.bilevel.Unrolled(1))
    ]  # fmt: skip
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
    assert found[0] < 0.4


class Bent(pb.bilevel.AbstractResponse):
    """Weights on a bent path along one hyperparameter, from one end to another."""

    low: jax.Array
    high: jax.Array
    centre: jax.Array

    def __call__(self, hyper):
        share = jax.nn.sigmoid(hyper)
        return (1 - share) * self.low + share * self.high

    def recentred(self, hyper):
        return eqx.tree_at(lambda r: r.centre, self, hyper)


def test_a_response_of_ones_own_is_tuned_as_the_librarys():
    def inner(w, hyper, batch, *, key):
        return ridge.inner(w, hyper * jnp.ones(ridge.D), batch, key=key)

    zeros, start = jnp.zeros(ridge.D), jnp.asarray(2.0)
    found = [
        pb.bilevel.tune_with_response(
            response, inner, ridge.outer, ridge.TRAIN, ridge.VALIDATION,
            optimiser=optax.adam(0.03), hyper_optimiser=optax.adam(0.03), samples=4, warmup=200,
            outer_steps=400, progress=False, key=jax.random.key(0),
        )[0]
        for response in (Bent(zeros, zeros, start), pb.bilevel.LinearResponse(zeros, start))
    ]  # fmt: skip
    best = min(
        float(
            ridge.outer(ridge.solution(np.full(ridge.D, log)), None, ridge.VALIDATION, key=None)[0]
        )
        for log in np.linspace(-8, 3, 100)
    )
    for response in found:
        w = ridge.solution(np.full(ridge.D, response.centre))
        assert ridge.outer(w, None, ridge.VALIDATION, key=None)[0] < 1.02 * best
        np.testing.assert_allclose(response(response.centre), w, atol=0.1)
