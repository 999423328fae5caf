"""A VAE, against sums over a grid and densities by hand."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from scipy import stats

from pullback.bounds import (
    ELBO,
    Beta,
    BoundedScaleNormal,
    DiagonalNormal,
    ImportanceWeighted,
    TargetRate,
)
from pullback.models.vae import (
    VAE,
    AR1Prior,
    Bernoulli,
    BoundLoss,
    ConvDecoder,
    ConvEncoder,
    DenseNet,
    MixturePrior,
    ObjectiveLoss,
    batch_terms,
    bernoulli_log_prob,
    importance_weighted_evidence,
    mlp_vae,
    traverse,
)
from pullback.sampling import (
    DoublyReparameterised,
    PathDerivative,
    Reparameterised,
    StandardNormal,
)
from pullback.train import fit

pytestmark = pytest.mark.usefixtures("promotion")

X = jnp.asarray(np.random.default_rng(0).integers(0, 2, (3, 6)), float)


@pytest.fixture(scope="module")
def vae():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return mlp_vae(6, 1, 5, likelihood=Bernoulli(), key=jr.key(0))


def test_the_densities_are_those_of_scipy(vae, key):
    x, z = np.asarray(X[0]), jnp.array([0.7])
    p = np.asarray(vae.decode(z))
    likelihood = np.sum(stats.bernoulli.logpmf(x.astype(int), p))
    np.testing.assert_allclose(bernoulli_log_prob(vae.decoder(z), X[0]), likelihood, rtol=1e-10)
    joint = likelihood + stats.norm.logpdf(0.7)
    np.testing.assert_allclose(vae.model(X[0])(z), joint, rtol=1e-10)
    mean, log_std = np.asarray(vae.encoder(X[0]))
    q = stats.norm.logpdf(0.7, mean, np.exp(log_std))
    np.testing.assert_allclose(vae.posterior(X[0]).log_prob(z), q, rtol=1e-10)


def test_the_slope_of_a_pixels_log_probability_is_right_at_zero_and_far_out():
    logits = jnp.array([0.0, -90.0, 90.0, 1.3, 0.0, 3000.0])
    slope = jax.grad(bernoulli_log_prob)(logits, X[0])
    np.testing.assert_allclose(slope, X[0] - jax.nn.sigmoid(logits), rtol=1e-12)
    share = jax.nn.sigmoid(logits)
    curvature = jnp.diag(jax.hessian(bernoulli_log_prob)(logits, X[0]))
    np.testing.assert_allclose(curvature, -share * (1 - share), rtol=1e-7)
    single = bernoulli_log_prob(jnp.float32(logits), jnp.float32(X[0]))
    np.testing.assert_allclose(single, bernoulli_log_prob(logits, X[0]), rtol=1e-6)


def test_the_evidence_is_the_integral_over_a_grid(vae, key):
    grid = jnp.linspace(-9, 9, 2001)[:, None]
    exact = [jnp.log(jnp.trapezoid(jnp.exp(jax.vmap(vae.model(x))(grid)), grid[:, 0])) for x in X]
    found = importance_weighted_evidence(vae, X, samples=5000, batch_size=2, key=key)
    np.testing.assert_allclose(found, jnp.array(exact), atol=0.02)


def test_the_loss_is_minus_the_mean_bound(vae, key):
    for bound, estimator in (
        (ELBO("analytic"), Reparameterised()),
        (ImportanceWeighted(3), DoublyReparameterised()),
    ):
        loss, _ = eqx.filter_jit(BoundLoss(bound, estimator))(vae, X, key=key)
        keys = jr.split(jr.split(key)[1], 3)
        one = eqx.filter_jit(
            lambda x, k, bound=bound, estimator=estimator: bound(
                vae.model(x), vae.posterior(x), estimator=estimator, key=k
            )
        )
        each = [one(x, k) for x, k in zip(X, keys, strict=True)]
        np.testing.assert_allclose(loss, -np.mean(each), rtol=1e-12)


def test_grey_pixels_are_drawn_anew(vae):
    loss = BoundLoss(ELBO("analytic"), binarise=True)
    grey = jnp.full((200, 6), 0.25)
    same = [loss(vae, X, key=jr.key(0))[0], BoundLoss(ELBO("analytic"))(vae, X, key=jr.key(0))[0]]
    assert same[0] == same[1]  # what is binary stays as it is
    values = [float(loss(vae, grey, key=jr.key(seed))[0]) for seed in range(2)]
    ones = jr.bernoulli(jr.split(jr.key(0))[0], grey).astype(float)
    assert values[0] == float(BoundLoss(ELBO("analytic"))(vae, ones, key=jr.key(0))[0])
    assert values[0] != values[1]


@pytest.mark.parametrize("kl", ["analytic", "sampled"])
def test_rate_and_distortion_are_the_two_parts_of_the_elbo(vae, kl, key):
    terms = batch_terms(vae, X, kl=kl, num_samples=3, key=key)
    keys = jr.split(key, 3)
    for i, x in enumerate(X):
        model, q = vae.target(x)
        z = jax.vmap(lambda k, q=q: q.sample(k, ()))(jr.split(keys[i], 3))
        np.testing.assert_allclose(
            terms.distortion[i], -np.mean(jax.vmap(model.log_likelihood)(z)), rtol=1e-10
        )
        mean, log_std = np.asarray(vae.encoder(x))
        exact = (np.exp(2 * log_std) + mean**2 - 1) / 2 - log_std
        log_q = stats.norm.logpdf(z, mean, np.exp(log_std))
        expected = exact if kl == "analytic" else np.mean(log_q - stats.norm.logpdf(z))
        np.testing.assert_allclose(terms.rate[i], expected, rtol=1e-9)
        np.testing.assert_allclose(terms.z[i], z[0], rtol=1e-12)
    loss, metrics = ObjectiveLoss(Beta(3.0), kl=kl, num_samples=3)(vae, X, key=key)
    again = batch_terms(vae, X, kl=kl, num_samples=3, key=jr.split(key)[1])
    np.testing.assert_allclose(loss, jnp.mean(again.distortion + 3 * again.rate), rtol=1e-10)
    np.testing.assert_allclose(
        metrics["elbo"], -jnp.mean(again.distortion + again.rate), rtol=1e-10
    )


def test_the_path_derivative_goes_through_an_objective(vae):
    # Both gradients have the same mean, and differ at a sample.
    grad = lambda estimator, key: eqx.filter_grad(
        lambda vae: ObjectiveLoss(Beta(1.0), estimator, kl="sampled")(vae, X, key=key)[0]
    )(vae).encoder.net.layers[-1].bias  # fmt: skip
    keys = jr.split(jr.key(3), 4000)
    total, path = (
        np.asarray(jax.jit(jax.vmap(lambda key, e=e: grad(e, key)))(keys))
        for e in (Reparameterised(), PathDerivative())
    )
    apart = total - path
    assert np.abs(apart).max() > 0.01
    assert (np.abs(apart.mean(0)) < 4 * apart.std(0) / np.sqrt(len(keys))).all()


def test_an_objective_may_follow_the_step(vae, key):
    warm = ObjectiveLoss(lambda step: Beta(jnp.minimum(step / 10, 1.0)))
    for step, beta in ((0, 0.0), (4, 0.4), (50, 1.0)):
        expected = ObjectiveLoss(Beta(beta))(vae, X, key=key)[0]
        np.testing.assert_allclose(warm(vae, X, key=key, step=step)[0], expected, rtol=1e-12)
    with pytest.raises(ValueError, match="`step` is needed"):
        warm(vae, X, key=key)


def test_what_is_drawn_has_the_shape_and_the_mean_of_the_model(vae):
    assert vae.sample(jr.key(0), (2, 3)).shape == (2, 3, 6)
    draws = np.asarray(jax.vmap(vae.sample)(jr.split(jr.key(0), 20_000)))
    grid = jnp.linspace(-9, 9, 801)
    weights = stats.norm.pdf(grid)
    mean = np.trapezoid(weights[:, None] * jax.vmap(vae.decode)(grid[:, None]), grid, axis=0)
    error = np.sqrt(mean * (1 - mean) / len(draws))
    assert (np.abs(draws.mean(0) - mean) < 4 * error).all()
    found = vae.reconstruct(X[0], key=jr.key(1))
    z = vae.posterior(X[0]).sample(jr.split(jr.key(1))[0])
    np.testing.assert_allclose(found, vae.decode(z), rtol=1e-12)


def test_images_and_any_size(key):
    encoder = ConvEncoder((1, 8, 8), (4,), (3, 5), key=key)
    decoder = ConvDecoder(2, (1, 8, 8), (5, 3), key=key)
    assert decoder(encoder(jnp.ones((1, 8, 8)))[:2]).shape == (1, 8, 8)
    with pytest.raises(ValueError, match="must have sides that divide by 4"):
        ConvEncoder((1, 6, 8), (4,), (3, 5), key=key)
    with pytest.raises(ValueError, match="`inputs` must be of sizes of 1 or more"):
        DenseNet((0,), (1,), 2, 1, key=key)


def test_data_and_pairs_that_do_not_fit_are_refused(vae, key):
    with pytest.raises(ValueError, match="must be finite numbers from 0 to 1 "):
        fit(
            vae, ObjectiveLoss(Beta(1.0)), 2 * X, optimiser=optax.sgd(0.1), steps=1, batch_size=1,
            key=key,
        )  # fmt: skip
    with pytest.raises(ValueError, match="must be finite numbers from 0 to 1 "):
        vae.log_prob(2 * X[0], key=key)
    with pytest.raises(ValueError, match="importance-weighted bounds"):
        ObjectiveLoss(Beta(1.0), DoublyReparameterised())
    with pytest.raises(ValueError, match="leaves out the score"):
        ObjectiveLoss(Beta(1.0), PathDerivative())


def test_a_traversal_moves_one_entry_from_the_posterior_mean(key):
    vae = mlp_vae((2, 3), 3, 4, likelihood=Bernoulli(), key=key)
    x, values = jnp.ones((2, 3)), jnp.array([-1.0, 0.5])
    found = traverse(vae, x, values, entries=[2, 0])
    mean = np.asarray(vae.encoder(x))[:3]
    for i, place in enumerate((2, 0)):
        for j, value in enumerate(values):
            z = mean.copy()
            z[place] = value
            np.testing.assert_allclose(found[i, j], vae.decode(jnp.asarray(z)), rtol=1e-10)
    with pytest.raises(ValueError, match="`entries` must be from 0 to 2"):
        traverse(vae, x, values, entries=[3])


def test_a_rate_is_committed_where_prior_and_family_fit_each_other(key):
    prior = AR1Prior((0.9,), steps=8)
    net = DenseNet((8, 1), (5,), 2, 0, key=key)
    make = lambda family, prior: VAE(
        DenseNet((5,), family.shape, 2, 0, key=key), net, family=family, prior=prior,
        likelihood=Bernoulli(),
    )  # fmt: skip
    mean_field, bounded = DiagonalNormal((8, 1)), BoundedScaleNormal((8, 1), 1.5)
    assert make(mean_field, prior).committed_rate == prior.committed_rate
    assert make(bounded, StandardNormal((8, 1))).committed_rate == 1.5
    assert make(mean_field, StandardNormal((8, 1))).committed_rate == 0
    trained = eqx.tree_at(lambda v: v.prior, make(bounded, prior), MixturePrior(2, 8, key=key))
    assert trained.committed_rate == 0
    with pytest.raises(ValueError, match="`rate` cannot be reached"):
        ObjectiveLoss(TargetRate(2.0))(make(mean_field, prior), X[:, :5], key=key)
