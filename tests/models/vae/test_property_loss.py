"""The loss with what was measured: by its formula, with holes, and of tokens that are hidden."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest

from pullback.bounds import Beta, DiagonalNormal
from pullback.models.vae import (
    VAE,
    Normal,
    ObjectiveLoss,
    PropertyLoss,
    TokenDecoder,
    TokenEncoder,
    Tokens,
    mlp_vae,
)
from pullback.sampling import StandardNormal

X = np.random.default_rng(0).normal(size=(5, 4))
Y = np.random.default_rng(1).normal(size=(5, 2))


def parts():
    vae = mlp_vae(4, latent=3, width=6, likelihood=Normal(1.0), key=jr.key(0))
    return vae, eqx.nn.Linear(3, 2, key=jr.key(1))


def test_it_is_the_objective_and_the_mean_square_of_what_was_measured():
    vae, predictor = parts()
    y = Y.copy()
    y[1, 0] = y[3] = np.nan
    mu = np.asarray(jax.vmap(lambda x: vae.posterior(x).mean)(jnp.asarray(X)))
    error = mu @ np.asarray(predictor.weight).T + np.asarray(predictor.bias) - y
    loss, key = PropertyLoss(Beta(0.3), weight=7.0), jr.key(2)
    _, told = ObjectiveLoss(Beta(0.3))(vae, jnp.asarray(X), key=key)
    for run in (loss, eqx.filter_jit(loss)):
        value, metrics = run((vae, predictor), (jnp.asarray(X), jnp.asarray(y)), key=key)
        np.testing.assert_allclose(metrics["property_mse"], np.nanmean(error**2), rtol=1e-10)
        np.testing.assert_allclose(metrics["rate"], told["rate"], rtol=1e-10)
        total = metrics["distortion"] + 0.3 * told["rate"] + 7 * np.nanmean(error**2)
        np.testing.assert_allclose(value, total, rtol=1e-10)
    assert abs(metrics["distortion"] / told["distortion"] - 1) < 0.5  # of another draw


def test_what_was_not_measured_teaches_nothing():
    vae, predictor = parts()
    slope = eqx.filter_jit(
        eqx.filter_grad(
            lambda model, y: PropertyLoss(Beta(0.0), weight=1.0)(
                model, (jnp.asarray(X), y), key=jr.key(0)
            )[0]
        )
    )
    none = slope((vae, predictor), jnp.full((5, 2), jnp.nan))[1]
    assert not np.any(none.weight)
    half = slope((vae, predictor), jnp.asarray(Y).at[:, 0].set(jnp.nan))[1]
    assert not np.any(half.weight[0])
    assert np.all(half.weight[1] != 0)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(half))


def test_an_objective_may_be_a_function_of_the_step():
    model, batch = parts(), (jnp.asarray(X), jnp.asarray(Y))
    warm = PropertyLoss(lambda step: Beta(0.1 * step))
    late = warm(model, batch, key=jr.key(0), step=3)[0]
    assert late == pytest.approx(float(PropertyLoss(Beta(0.3))(model, batch, key=jr.key(0))[0]))
    with pytest.raises(ValueError, match="`step` is needed"):
        warm(model, batch, key=jr.key(0))


def test_hidden_tokens_are_told_to_the_decoder_and_scored_as_they_are():
    family = DiagonalNormal(2)
    vae = VAE(
        TokenEncoder(5, 6, family.shape, embed=3, width=4, kernel=3, key=jr.key(0)),
        TokenDecoder(5, 6, latent=2, width=4, embed=3, key=jr.key(1)),
        family=family, prior=StandardNormal(2), likelihood=Tokens(5),
    )  # fmt: skip
    x, y = jnp.asarray([[1, 2, 3, 4, 0, 0], [4, 4, 1, 0, 0, 0]]), jnp.zeros((2, 0))
    predictor = eqx.nn.MLP(2, 0, 3, 1, key=jr.key(2))
    seen = []

    def told(vae, x, *, key):
        seen.append(key)
        return jnp.full_like(x, 5)  # all of them

    certain = eqx.tree_at(lambda v: v.encoder.last.bias, vae, jnp.full(4, -30.0))
    certain = eqx.tree_at(lambda v: v.encoder.last.weight, certain, jnp.zeros((4, 16)))
    score = lambda loss: eqx.filter_jit(loss)((certain, predictor), (x, y), key=jr.key(0))[0]
    blind = score(PropertyLoss(Beta(0.0), told=told))
    z = jnp.full(2, -30.0)
    log_p = [jnp.sum(Tokens(5).log_prob(vae.decoder(z, jnp.full(6, 5)), row)) for row in x]
    np.testing.assert_allclose(blind, -np.mean(log_p), rtol=1e-10)
    assert len(seen) == 1
    plain = score(PropertyLoss(Beta(0.0)))
    log_p = [jnp.sum(Tokens(5).log_prob(vae.decoder(z, row), row)) for row in x]
    np.testing.assert_allclose(plain, -np.mean(log_p), rtol=1e-10)


def test_what_does_not_fit_is_refused():
    loss = PropertyLoss(Beta())
    for y, message in (
        (Y[:4], "a row for each of the 5 examples"),
        (Y[:, 0], r"a row for each of the 5 examples, `\[n, p\]`, got the shape \(5,\)"),
        (np.where(Y == Y[2, 1], np.inf, Y), "row 2 is not, one of 1"),
    ):
        with pytest.raises(ValueError, match=message):
            loss.check(parts(), (X, y))
    with pytest.raises(ValueError, match="row 0 of `data` has nan"):
        loss.check(parts(), (np.where(X == X[0, 0], np.nan, X), Y))
    with pytest.raises(ValueError, match="`weight` must be 0 or more, got -1"):
        PropertyLoss(Beta(), weight=-1)


def test_a_predictor_of_other_columns_is_not_broadcast():
    vae, loss, key = parts()[0], PropertyLoss(Beta()), jr.key(0)
    for size, y in (("scalar", Y[:, :1]), (3, Y[:, :1]), (1, Y)):
        model = vae, eqx.nn.Linear(3, size, key=jr.key(1))
        message = f"the predictor must give {y.shape[1]} numbers of one example"
        with pytest.raises(ValueError, match=message):
            loss.check(model, (X, y))
        with pytest.raises(ValueError, match=message):
            eqx.filter_jit(loss)(model, (jnp.asarray(X), jnp.asarray(y)), key=key)


def test_a_call_refuses_what_a_check_would(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    loss, key = PropertyLoss(Beta()), jr.key(0)
    for y, message in (
        (Y[:1], "a row for each"),
        (Y[:, 0], "a row for each"),
        (Y * np.inf, "finite"),
    ):
        with pytest.raises(ValueError, match=message):
            loss(parts(), (jnp.asarray(X), jnp.asarray(y)), key=key)


@pytest.mark.parametrize("weight", ["a", None, np.inf, np.nan, -1.0, jnp.asarray(-1.0)])
def test_the_weight_is_a_number(weight, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises((TypeError, ValueError), match=r"`weight` must be (one number|0 or more)"):
        PropertyLoss(Beta(), weight=weight)
