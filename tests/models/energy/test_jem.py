"""A classifier as a density: identities, and a mixture of Gaussians whose density is known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.models.energy import (
    JEM,
    SGLD,
    BoxStart,
    GaussianStart,
    jem_terms,
    refined_logits,
    sample_jem,
)


class Shifted(eqx.Module):
    net: eqx.nn.MLP

    def __call__(self, x):
        return self.net(x) + jnp.sin(x[0]) * 3


class Mixture(eqx.Module):
    """Logits whose JEM is a mixture of unit Gaussians with means w and known weights."""

    w: jax.Array
    b: jax.Array

    def __call__(self, x):
        return self.w @ x + self.b - jnp.sum(jnp.square(x)) / 2

    def log_weights(self):
        return self.b + jnp.sum(jnp.square(self.w), axis=1) / 2

    def log_prob(self, x):
        """Written out anew: mixture weights times normal densities."""
        square = jnp.sum(jnp.square(x[None] - self.w), axis=1)
        shares = jax.nn.log_softmax(self.log_weights())
        return jax.nn.logsumexp(shares - square / 2) - len(x) / 2 * jnp.log(2 * jnp.pi)

    def sample(self, n, key):
        which, noise = jr.split(key)
        y = jr.categorical(which, self.log_weights(), shape=(n,))
        return self.w[y] + jr.normal(noise, (n, self.w.shape[1])), y


MIXTURE = Mixture(jnp.array([[1.0, 0.5], [-1.5, 0.0], [0.0, -1.0]]), jnp.array([0.2, -0.4, 0.5]))


@pytest.fixture
def net(key):
    return eqx.nn.MLP(2, 4, 16, 2, jax.nn.silu, key=key)


def test_a_shift_of_all_logits_moves_the_density_alone(net, key):
    x = jr.normal(key, (7, 2))
    plain, moved = JEM(net), JEM(Shifted(net))
    for point in x:
        prob = lambda model, x=point: jax.nn.softmax(model.logits(x))
        np.testing.assert_allclose(prob(moved), prob(plain), atol=1e-12)
        found = moved.log_density(point) - plain.log_density(point)
        np.testing.assert_allclose(found, 3 * np.sin(point[0]), atol=1e-12)


def test_the_score_is_the_mean_slope_of_the_logits(net, key):
    x, model = jr.normal(key, (2,)), JEM(net)
    slopes = jax.jacobian(model.logits)(x)
    prob = np.exp(model.logits(x)) / np.exp(model.logits(x)).sum()
    np.testing.assert_allclose(jax.grad(model.log_density)(x), prob @ slopes, atol=1e-12)
    np.testing.assert_allclose(model.log_joint(x, jnp.arange(4)), model.logits(x))


def test_the_contrastive_gradient_is_that_of_the_exact_log_likelihood(key):
    n, chunks = 30_000, 50
    data, y = MIXTURE.sample(200, key)
    data = data + 0.7  # not from the model: at the optimum both would be zero

    def contrast(logits, sampled):
        terms = jem_terms(JEM(logits), (data, y), data, sampled)
        return terms.log_density - terms.log_density_sampled

    sampled = MIXTURE.sample(n, jr.fold_in(key, 1))[0].reshape(chunks, -1, 2)
    found = jax.jit(jax.vmap(jax.grad(contrast), in_axes=(None, 0)))(MIXTURE, sampled)
    exact = jax.grad(lambda m: jnp.mean(jax.vmap(m.log_prob)(data)))(MIXTURE)
    for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True):
        error = np.std(got, axis=0, ddof=1) / np.sqrt(chunks)
        assert np.all(abs(got.mean(axis=0) - want) < 4 * error)
        assert np.all(error < 0.02)


def test_no_gradient_flows_into_the_chains(key):
    x, y = MIXTURE.sample(6, key)

    def through(logits):
        sampled = x + 0.1 * jax.vmap(jax.grad(JEM(logits).log_density))(x)
        return jem_terms(JEM(logits), (x, y), x, sampled).log_density_sampled

    concrete = x + 0.1 * jax.vmap(jax.grad(JEM(MIXTURE).log_density))(x)
    held = jax.grad(lambda m: jem_terms(JEM(m), (x, y), x, concrete).log_density_sampled)(MIXTURE)
    for got, want in zip(
        jax.tree.leaves(jax.grad(through)(MIXTURE)), jax.tree.leaves(held), strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=1e-12)


def test_chains_go_to_the_model_and_to_each_class(key):
    """At the temperature 1 with small steps: the means of the mixture, and of its parts."""
    n, sampler, start = 4000, SGLD(150, step_size=0.05, noise=None), BoxStart((2,))
    shares = jax.nn.softmax(MIXTURE.log_weights())
    mean = shares @ MIXTURE.w
    covariance = jnp.einsum("k,ki,kj->ij", shares, MIXTURE.w, MIXTURE.w) - jnp.outer(mean, mean)
    x = jax.jit(lambda k: sample_jem(JEM(MIXTURE), start, n, sampler=sampler, key=k))(key)
    # 4 standard errors, and the bias of steps of 0.05: a variance 2.5 % too large.
    error = 4 * jnp.sqrt(jnp.diagonal(covariance + jnp.eye(2)) / n)
    assert jnp.all(abs(x.mean(axis=0) - mean) < error)
    y = jr.randint(key, (n,), 0, 3)
    walk = lambda k: sample_jem(JEM(MIXTURE), start, n, labels=y, sampler=sampler, key=k)
    x = jax.jit(walk)(key)
    for label in range(3):
        rows = x[y == label]
        assert jnp.all(abs(rows.mean(axis=0) - MIXTURE.w[label]) < 4 * np.sqrt(1.03 / len(rows)))


def test_samples_do_not_depend_on_how_many_run_at_a_time(key):
    draw = lambda size: sample_jem(
        JEM(MIXTURE), BoxStart((2,)), 5, sampler=SGLD(3), batch_size=size, key=key
    )
    np.testing.assert_allclose(draw(2), draw(None), rtol=1e-9)


def test_refined_logits_are_means_over_chains_and_their_slope_goes_through_the_chains(key):
    """One step without noise, written out; the straight-through slope is another one."""
    sampler, x = SGLD(1, step_size=0.3, noise=0.0), jnp.array([0.4, -0.2])
    refine = lambda x, chains: refined_logits(
        JEM(MIXTURE), x, sampler=sampler, chains=chains, input_noise=0.0, key=key
    )

    def by_hand(x):
        share = jax.nn.softmax(MIXTURE(x))
        return MIXTURE(x + 0.3 * (share @ MIXTURE.w - x))

    np.testing.assert_allclose(refine(x, 3), by_hand(x), rtol=1e-10)
    slope = jax.jit(jax.jacobian(lambda x: refine(x, 1)))(x)
    np.testing.assert_allclose(slope, jax.jacobian(by_hand)(x), rtol=1e-9)
    blind = lambda x: refined_logits(
        JEM(MIXTURE), x, sampler=sampler, chains=1, input_noise=0.0, straight_through=True, key=key
    )
    np.testing.assert_allclose(blind(x), by_hand(x), rtol=1e-10)
    end = x + 0.3 * (jax.nn.softmax(MIXTURE(x)) @ MIXTURE.w - x)
    np.testing.assert_allclose(jax.jacobian(blind)(x), jax.jacobian(MIXTURE)(end), rtol=1e-9)
    noisy = refined_logits(JEM(MIXTURE), x, sampler=SGLD(1), chains=2, input_noise=0.1, key=key)
    assert float(jnp.max(abs(noisy - refine(x, 1)))) > 1e-3


def test_a_gaussian_start_has_the_moments_of_each_class(key):
    generator = np.random.default_rng(0)
    y = np.repeat([0, 1], [300, 100])
    root = np.array([[1.0, 0.0], [0.8, 0.3]])
    x = generator.normal(size=(400, 2)) @ root.T
    x = x + np.array([[0.0, 0.0], [4.0, -2.0]])[y]
    start = GaussianStart.fit(x.reshape(400, 2, 1), y, ridge=1e-9)
    n = 20_000
    for label in range(2):
        drawn = start.sample(n, labels=jnp.full(n, label), key=key).reshape(n, 2)
        rows = x[y == label]
        deviation = rows.std(axis=0)
        assert np.all(abs(drawn.mean(axis=0) - rows.mean(axis=0)) < 4 * deviation / np.sqrt(n))
        # A correlation's standard error is at most 1 / sqrt(n).
        correlation = lambda x: np.asarray(np.corrcoef(x.T))[0, 1]
        found, wanted = correlation(drawn), correlation(rows)
        assert abs(found - wanted) < 4 / np.sqrt(n)
    mixed = start.sample(n, key=key).reshape(n, 2)[:, 0]
    # Class 1 has a quarter of the data, 4 away; the standard error is of that mixture.
    assert abs(mixed.mean() - x[:, 0].mean()) < 4 * np.sqrt((1 + 16 * 3 / 16) / n)


def test_what_makes_no_sense_is_refused(key):
    with pytest.raises(ValueError, match=r"`low` must be below `high`, got 1\.0 and 1\.0"):
        BoxStart((2,), low=1.0)
    with pytest.raises(ValueError, match="has none of class 1"):
        GaussianStart.fit(np.zeros((3, 2)), np.array([0, 2, 2]))
    with pytest.raises(ValueError, match="`labels` must be 4, one a sample, got 3"):
        sample_jem(JEM(MIXTURE), BoxStart((2,)), 4, labels=jnp.zeros(3, int), key=key)
    with pytest.raises(ValueError, match="`num_samples` must be at least 1, got 0"):
        sample_jem(JEM(MIXTURE), BoxStart((2,)), 0, key=key)
