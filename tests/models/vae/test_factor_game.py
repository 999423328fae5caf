"""FactorVAE's game, against a correlated normal and derivatives by differences."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from pullback.bounds import DiagonalNormal, FullCovarianceNormal
from pullback.games import GANStep
from pullback.models.vae import VAE, Bernoulli, FactorGame, mlp_vae
from pullback.sampling import StandardNormal

pytestmark = pytest.mark.usefixtures("promotion")


class Encode(eqx.Module):
    """The mean of each latent is a multiple of x, and its deviation is given."""

    slopes: jax.Array
    log_std: float = eqx.field(static=True)

    def __call__(self, x):
        return jnp.concatenate([self.slopes * x, jnp.full_like(self.slopes, self.log_std)])


def autoencoder(log_std, latent=2):
    decoder = lambda z: jnp.zeros(1) * z[0]
    return VAE(
        Encode(jnp.linspace(0.5, 1.0, latent), log_std), decoder, family=DiagonalNormal(latent),
        prior=StandardNormal(latent), likelihood=Bernoulli(),
    )  # fmt: skip


def grey(count):
    return jr.uniform(jr.key(0), (count, 1))


DEVIATIONS = (1.25**0.5, 0.65**0.5)
RHO = 0.7 / (DEVIATIONS[0] * DEVIATIONS[1])


def ratio(scale):
    """The logarithm of a correlated normal over the product of its marginals, times a number."""

    def logit(z):
        a, b = z[0] / DEVIATIONS[0], z[1] / DEVIATIONS[1]
        power = (RHO**2 * (a**2 + b**2) - 2 * RHO * a * b) / (1 - RHO**2)
        return scale * (-0.5 * math.log(1 - RHO**2) - 0.5 * power)

    return logit


class Given(eqx.Module):
    """Latents of a uniform x that are a correlated normal: of x's normal quantile, and noise."""

    def __call__(self, x):
        x = jax.scipy.stats.norm.ppf(x[0])
        return jnp.concatenate([x * jnp.array([1.0, 0.7]), jnp.log(jnp.array([0.5, 0.4]))])


def test_the_true_ratio_is_the_best_discriminator_and_its_mean_the_total_correlation():
    count = 40_000
    vae = eqx.tree_at(lambda vae: vae.encoder, autoencoder(0.0), Given())
    known = -0.5 * math.log(1 - RHO**2)
    game = FactorGame(3.0)
    # Away from 0 and 1, whose quantiles are infinite.
    shown = eqx.filter_jit(game.show)(vae, jnp.clip(grey(count), 1e-6, 1 - 1e-6), key=jr.key(1))
    of = lambda scale: game.losses(ratio(scale), shown, key=jr.key(2))
    logits = np.asarray(jax.vmap(ratio(1.0))(shown["z"]))
    found = float(of(jnp.asarray(1.0))[2]["total_correlation"])
    assert abs(found - known) < 4 * logits.std() / math.sqrt(count)
    # d/ds of the cross entropy of s V at s = 1: of z and of mixed z it has these terms.
    mixed = np.asarray(jax.vmap(ratio(1.0))(shown["mixed"]))
    terms = (-logits / (1 + np.exp(logits)), mixed / (1 + np.exp(-mixed)))
    error = math.sqrt(sum(term.var() for term in terms) / count)
    slope = jax.grad(lambda scale: of(scale)[0])(jnp.asarray(1.0))
    assert abs(slope) < 4 * error
    assert abs(terms[0].mean()) > 20 * error  # that it is nothing says something


def test_latents_are_mixed_each_entry_in_an_order_of_its_own():
    vae, x = autoencoder(-30.0, latent=3), grey(50)
    shown = FactorGame(1.0).show(vae, x, key=jr.key(1))
    np.testing.assert_allclose(shown["z"], x * vae.encoder.slopes, atol=1e-9)
    orders = []
    for entry, whole in zip(shown["mixed"].T, shown["z"].T, strict=True):
        np.testing.assert_allclose(jnp.sort(entry), jnp.sort(whole), atol=1e-9)
        orders.append(tuple(np.argsort(np.asarray(entry)).tolist()))
    assert len(set(orders)) == 3
    assert tuple(np.argsort(np.asarray(x[:, 0])).tolist()) not in orders


def test_a_step_descends_the_weighted_evidence_and_the_discriminator_its_own_loss():
    gamma, log_std, x = 3.0, -30.0, grey(6)
    vae, critic = autoencoder(log_std), eqx.nn.Linear(2, 1, key=jr.key(3))
    step = GANStep(optax.sgd(1.0), optax.sgd(1.0), FactorGame(gamma))
    state = step.init(vae, critic)
    # The decoder says one half whatever z is, and z is the mean but for 1e-13.
    slopes, weight = np.asarray(vae.encoder.slopes), np.asarray(critic.weight[0])
    mean = np.asarray(x) * slopes
    kl = 0.5 * np.sum(mean**2 - 1 - 2 * log_std + np.exp(2 * log_std), axis=1).mean()
    logits = mean @ weight + float(critic.bias[0])
    value = math.log(2) + kl + gamma * logits.mean()
    descent = -np.mean(mean * np.asarray(x), axis=0) - gamma * weight * float(x.mean())
    new, metrics = eqx.filter_jit(step)(state, x, key=jr.key(2))
    np.testing.assert_allclose(metrics["generator_loss"], value, rtol=1e-10)
    np.testing.assert_allclose(metrics["total_correlation"], logits.mean(), rtol=1e-8)
    np.testing.assert_allclose(metrics["elbo"], -math.log(2) - kl, rtol=1e-10)
    np.testing.assert_allclose(new.generator.encoder.slopes - slopes, descent, rtol=1e-8)
    # Of a bias the slope is the mean share that is taken for the wrong kind, with its sign.
    shown = eqx.filter_jit(step.game.show)(vae, x, key=jr.split(jr.key(2))[0])
    real, mixed = (
        np.asarray(shown[name]) @ weight + float(critic.bias[0]) for name in ("z", "mixed")
    )
    slope = np.mean(1 / (1 + np.exp(-mixed))) - np.mean(1 / (1 + np.exp(real)))
    np.testing.assert_allclose(new.discriminator.bias - critic.bias, -slope, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: FactorGame(-1.0), "`gamma` must be 0 or more, got -1.0"),
        (
            lambda: FactorGame(1.0).show(autoencoder(0.0, latent=1), grey(4), key=jr.key(0)),
            r"2 latents or more.*shape \(4, 1\)",
        ),
        (
            lambda: FactorGame(1.0).show(autoencoder(0.0), grey(1), key=jr.key(0)),
            r"2 examples.*shape \(1, 2\)",
        ),
        (
            lambda: FactorGame(1.0).losses(
                lambda z: z, FactorGame(1.0).show(autoencoder(0.0), grey(4), key=jr.key(0)),
                key=jr.key(0),
            ),
            r"one logit for a row of latents.*shape \(2,\)",
        ),
    ],
)  # fmt: skip
def test_what_has_no_total_correlation_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_posterior_that_does_not_factorise_will_do():
    vae = mlp_vae(5, 2, 4, likelihood=Bernoulli(), family=FullCovarianceNormal(2), key=jr.key(0))
    shown = eqx.filter_eval_shape(FactorGame(1.0).show, vae, jnp.ones((3, 5)), key=jr.key(1))
    assert shown["mixed"].shape == shown["z"].shape == (3, 2)
