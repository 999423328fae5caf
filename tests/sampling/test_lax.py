"""LAX, between the score function and the reparameterised gradient."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

from pullback.sampling import (
    AbstractControlVariate,
    Lax,
    NeuralControlVariate,
    Reparameterised,
    ScoreFunction,
    expectation,
    grad_stats,
    value_and_grad,
)


class Scaled(AbstractControlVariate):
    """The integrand itself, times a number."""

    scale: jax.Array

    def __call__(self, z, relaxed):
        return self.scale * relaxed(z, jnp.ones(()))


def family(params):
    mean, log_std = params
    return dist.Normal(mean, jnp.exp(log_std))


def smooth(z, q):
    return jnp.sum(jnp.sin(z)) + z[0] * z[1] + 0.2 * jnp.sum(q.log_prob(z))


PARAMS = (jnp.array([0.3, -0.5]), jnp.array([0.1, -0.2]))


@pytest.mark.parametrize(("scale", "other"), [(1.0, Reparameterised()), (0.0, ScoreFunction())])
def test_its_two_ends_are_the_path_and_the_score(scale, other, key):
    """With the same samples, to rounding; the integrand has q in it too."""

    def gradient(estimator):
        with jax.numpy_dtype_promotion("standard"):
            run = value_and_grad(smooth, family, estimator=estimator, num_samples=7)
            return eqx.filter_jit(run)(PARAMS, key=key).params

    found, expected = gradient(Lax(Scaled(jnp.asarray(scale)))), gradient(other)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


def neural(key):
    net = eqx.nn.MLP(1, "scalar", 6, 1, jnp.tanh, key=key)
    return Lax(NeuralControlVariate(net, temperature=None))


def test_a_step_has_the_gradient_of_its_probability(key):
    """d P(b > 0) is the density: of the mean, and of the standard deviation by symmetry."""
    estimator = neural(key)
    step = lambda b, q: jnp.where(b > 0, 1.0, 0.0)

    def loss(params, *, key):
        return expectation(step, family(params), estimator=estimator, key=key)

    mean, std = 0.4, 0.8
    start = (jnp.asarray(mean), jnp.log(jnp.asarray(std)))
    found = grad_stats(loss, start, jr.split(key, 100_000), batch_size=10_000)
    density = np.exp(-0.5 * (mean / std) ** 2) / np.sqrt(2 * np.pi)
    for got, noise, exact in zip(
        found.mean, found.standard_error, (density / std, -density * mean / std), strict=True
    ):
        assert abs(float(got) - exact) < 4 * float(noise)


def test_the_control_variates_gradient_is_that_of_the_variance(key):
    n, start = 5, neural(key)
    f = lambda b, q: jnp.where(b > 0, 1.0, 0.0) + b**2
    # Of the arrays that q is made of: its mean and its standard deviation.
    params, family = (jnp.asarray(0.2), jnp.asarray(0.7)), lambda params: dist.Normal(*params)

    @eqx.filter_jit
    def objective(estimator):
        def one(key):
            loss = lambda p: estimator(f, family(p), key[None], None)
            return sum(jnp.square(g) for g in jax.grad(loss)(params))

        return jnp.mean(jax.vmap(one)(jr.split(key, n)))

    run = eqx.filter_jit(value_and_grad(f, family, estimator=start, num_samples=n))
    found = run(params, key=key).estimator
    up, down = (
        eqx.apply_updates(start, jax.tree.map(lambda d, s=s: s * d, found)) for s in (1e-6, -1e-6)
    )
    slope = float(objective(up) - objective(down)) / 2e-6
    expected = sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(found))
    assert slope == pytest.approx(expected, rel=1e-5)


def test_a_black_box_is_called_once_a_sample(key):
    calls = []

    def black_box(b):
        calls.append(1)
        return np.asarray(np.floor(b))

    def f(b, q):
        shape = jax.ShapeDtypeStruct((), b.dtype)
        return jax.pure_callback(black_box, shape, b, vmap_method="sequential")

    run = eqx.filter_jit(value_and_grad(f, family, estimator=neural(key), num_samples=4))
    found = jax.block_until_ready(run((jnp.asarray(0.0), jnp.asarray(0.0)), key=key))
    assert len(calls) == 4
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(found))


def test_discrete_distributions_are_refused(key):
    with pytest.raises(ValueError, match=r"Lax needs samples that gradients flow through.*Relax"):
        expectation(lambda z, q: z, dist.Bernoulli(0.5), estimator=neural(key), key=key)
