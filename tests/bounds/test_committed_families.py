"""Families that commit to a rate: the roots of the paper's appendix, and no member too near."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.bounds import BoundedScaleNormal, HollowMeanNormal, kl_divergence
from pullback.sampling import StandardNormal

DELTA = 0.7


def families(latent, delta=DELTA):
    return {
        "narrow": BoundedScaleNormal(latent, delta),
        "wide": BoundedScaleNormal(latent, delta, "wide"),
        "hollow": HollowMeanNormal(latent, delta),
    }


def exact_kl(mean, scale):
    return np.sum((mean**2 + scale**2 - 1) / 2 - np.log(scale), axis=-1)


def moments(family, params):
    q = jax.vmap(lambda p: family(p).base_dist)(params)
    return np.asarray(q.loc), np.asarray(q.scale)


@pytest.mark.parametrize(
    ("delta", "narrow", "wide"),
    [(0.1, 0.7023, 1.3313), (0.5, 0.3982, 1.7738), (1, 0.2291, 2.1226), (2, 0.0824, 2.6338)],
)
def test_the_bounds_are_the_roots_at_which_the_divergence_is_delta(delta, narrow, wide):
    for side, known in (("narrow", narrow), ("wide", wide)):
        bound = BoundedScaleNormal(1, delta, side).bound  # pyrefly: ignore
        assert bound == pytest.approx(known, abs=6e-5)
        assert (bound**2 - 1) / 2 - np.log(bound) == pytest.approx(delta, rel=1e-10)


@pytest.mark.parametrize("kind", ["narrow", "wide", "hollow"])
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
def test_no_member_comes_nearer_than_delta_and_some_come_near(key, promotion, kind, dtype):
    family = families(3)[kind]
    assert family.committed_rate == DELTA
    params = jr.normal(key, (4000, *family.shape)) * jnp.geomspace(1e-3, 10, 4000)[:, None]
    # Members at the edge: no mean, and a scale at its bound, or 1.
    raw = {"narrow": 1e3, "wide": -1e3, "hollow": 0.0}[kind]
    edge = jnp.concatenate([jnp.zeros((1, 3)), jnp.full((1, 3), raw)], axis=1)
    mean, scale = moments(family, jnp.concatenate([params, edge]).astype(dtype))
    assert np.isfinite(mean).all()
    rates = exact_kl(mean.astype(float), scale.astype(float))
    slack = 1e-9 if dtype == jnp.float64 else 1e-6
    assert rates.min() >= DELTA - slack
    assert rates.min() < DELTA + 1e-3


def test_every_member_of_the_set_is_reached_by_the_hollow_mean():
    family = HollowMeanNormal(1, DELTA)
    for mean, scale in ((2.0, 1.0), (-2.0, 0.5), (0.0, 0.1), (-0.3, 0.15), (1e-3, 3.0)):
        assert exact_kl(np.array([mean]), np.array([scale])) > DELTA
        hole = max(0, 2 * DELTA + 1 + 2 * np.log(scale) - scale**2)
        m = np.sign(mean) * np.sqrt(mean**2 - hole)
        found, spread = moments(family, jnp.array([[m, np.log(scale)]]))
        assert found[0, 0] == pytest.approx(mean, abs=1e-12)
        assert spread[0, 0] == pytest.approx(scale)


@pytest.mark.parametrize("kind", ["narrow", "wide", "hollow"])
def test_gradients_are_finite_and_those_of_finite_differences(key, promotion, kind):
    family = families(2)[kind]
    rate = lambda params: kl_divergence(family(params), StandardNormal(2))
    gradient = jax.jit(jax.grad(rate))
    for params in (jr.normal(key, (4,)), jnp.zeros(4), jnp.array([0.0, 0.0, -3.0, 2.0])):
        assert np.isfinite(gradient(params)).all()
    params = jr.normal(key, (4,))
    step = 1e-6
    numeric = [
        float(rate(params.at[i].add(step)) - rate(params.at[i].add(-step))) / (2 * step)
        for i in range(4)
    ]
    np.testing.assert_allclose(gradient(params), numeric, rtol=1e-6, atol=1e-8)


def test_latents_of_any_shape_share_the_rate(key, promotion):
    for family in families((4, 3)).values():
        assert family.shape == (4, 6)
        q = family(1e-3 * jr.normal(key, family.shape))
        assert q.event_shape == (4, 3)
        assert float(kl_divergence(q, StandardNormal((4, 3)))) >= DELTA - 1e-9


def test_what_makes_no_sense_is_refused():
    for call, message in (
        (lambda: BoundedScaleNormal(1, 0.0), "`delta` must be above 0 nats and finite, got 0"),
        (lambda: HollowMeanNormal(1, float("nan")), "`delta` must be above 0 nats"),
        (lambda: HollowMeanNormal(0, 1.0), "`latent` must be 1 or more"),
        (
            lambda: HollowMeanNormal(2, 1.0)(jnp.zeros(2)),
            r"`params` must have the family's `shape`",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
