"""Objectives of rate and distortion, by hand."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.bounds import (
    BatchTerms,
    Beta,
    DiagonalNormal,
    FreeBits,
    FullCovarianceNormal,
    TargetRate,
    kl_divergence,
)
from pullback.sampling import StandardNormal

pytestmark = pytest.mark.usefixtures("promotion")

D, R = jnp.array([3.0, 5.0, 1.0]), jnp.array([1.0, 2.0, 6.0])
TERMS = BatchTerms(D, R, None, None)


@pytest.mark.parametrize(
    ("objective", "value", "slope"),
    [
        (Beta(0.5), 3 + 1.5, 0.5),
        (TargetRate(5.0), 3 + 2, -1.0),
        (TargetRate(2.0), 3 + 1, 1.0),
        (TargetRate(2.0, weight=10.0), 3 + 10, 10.0),
        (TargetRate(jnp.zeros(()), 0.5), 3 + 1.5, 0.5),  # no rate is below 0: Beta(0.5)
        (TargetRate(5.0, 3.0, "hinge"), 3 + 3 + 6, -2.0),
        (TargetRate(2.0, 3.0, "hinge"), 3 + 3, 1.0),
    ],
)
def test_the_value_and_its_slope_in_the_mean_rate(objective, value, slope):
    found, metrics = objective(TERMS)
    assert float(found) == value
    assert {name: float(of) for name, of in metrics.items()} == {
        "distortion": 3.0, "rate": 3.0, "elbo": -6.0,
    }  # fmt: skip
    moved = jax.grad(lambda rate: objective(TERMS._replace(rate=rate))[0])(R)
    np.testing.assert_allclose(moved, slope / 3, rtol=1e-12)


def test_free_bits_pay_for_what_is_above_the_floor(key):
    family, prior = DiagonalNormal(3), StandardNormal(3)
    params = jr.normal(key, (2, 6)).at[:, 0].set(0.0).at[:, 3].set(0.0)  # entry 0 has no rate
    posterior = jax.vmap(family)(params)
    rate = jax.vmap(lambda row: kl_divergence(family(row), prior))(params)
    terms = BatchTerms(D[:2], rate, posterior, prior)
    single, one = DiagonalNormal(1), StandardNormal(1)
    each = [
        np.mean([kl_divergence(single(row[jnp.array([j, 3 + j])]), one) for row in params])
        for j in range(3)
    ]
    floor = 0.1
    assert each[0] == 0
    assert min(each[1:]) > floor
    np.testing.assert_allclose(FreeBits(floor)(terms)[0], 4 + floor + sum(each), rtol=1e-10)
    np.testing.assert_allclose(
        FreeBits(1e-9)(terms)[0], Beta(1.0)(terms)[0] + 1e-9, rtol=1e-12
    )  # nothing is below the floor


def test_free_bits_hold_the_mean_of_a_batch_and_not_each_example_to_the_floor():
    # KL of N(m, 1) is m^2 / 2: 0 and 2 nats, which are 1 in the mean.
    posterior = jax.vmap(DiagonalNormal(1))(jnp.array([[0.0, 0.0], [2.0, 0.0]]))
    terms = BatchTerms(D[:2], jnp.array([0.0, 2.0]), posterior, StandardNormal(1))
    assert float(FreeBits(0.5)(terms)[0]) == pytest.approx(4 + 1)
    assert float(FreeBits(1.5)(terms)[0]) == pytest.approx(4 + 1.5)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="`rate` must be above 0"):
        TargetRate(0.0)
    with pytest.raises(ValueError, match="`weight` must be above 1 here"):
        TargetRate(1.0, kind="hinge")
    with pytest.raises(ValueError, match="`weight` must be above 0 here"):
        TargetRate(1.0, weight=0.0)
    with pytest.raises(ValueError, match="cannot be reached: the target is 2 nats"):
        TargetRate(2.0)(TERMS._replace(committed_rate=2.5))
    with pytest.raises(ValueError, match="`nats` must be above 0"):
        FreeBits(0.0)
    whole = jax.vmap(FullCovarianceNormal(2))(jnp.zeros((3, 5)))
    with pytest.raises(ValueError, match="splits by latents"):
        FreeBits(0.1)(TERMS._replace(posterior=whole, prior=StandardNormal(2)))
