"""Mutual information from samples, where it is known."""

import math

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.analysis import MutualInformation, estimate_mutual_information
from pullback.bounds import SeparableCritic


def estimate(x, y, *, seed=0, steps=600, **options):
    dims = [1 if np.ndim(z) == 1 else np.shape(z)[1] for z in (x, y)]
    critic = SeparableCritic(*dims, width=32, depth=1, embedding=8, key=jr.key(seed))
    return estimate_mutual_information(
        x, y, critic=critic, steps=steps, learning_rate=3e-3, progress=False, key=jr.key(seed),
        **options,
    )  # fmt: skip


def correlated(rho, n, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 1))
    return x, rho * x + math.sqrt(1 - rho**2) * rng.normal(size=(n, 1))


def test_gaussians_in_any_units():
    x, y = correlated(0.9, 4000)
    truth = -0.5 * math.log(1 - 0.9**2)
    found = estimate(1e3 * x + 5e4, 1e-4 * y[:, 0])
    # A lower bound, four standard errors of its batches allowed, and not a loose one.
    assert truth - 0.1 - 4 * found.standard_error < found.value
    assert found.value < truth + 4 * found.standard_error
    assert found.bound == "I_0.01"
    assert found.ceiling == pytest.approx(1 + math.log(63 / 0.01))


def test_what_no_correlation_shows():
    rng = np.random.default_rng(1)
    x = rng.normal(size=2000)
    y = np.stack([x**2 + 0.2 * rng.normal(size=2000), rng.normal(size=2000)], axis=1)
    assert abs(np.corrcoef(x, y[:, 0])[0, 1]) < 0.1
    # h(y) - h(y | x), by sums over grids.
    at, z = np.linspace(-8, 8, 1601), np.linspace(-2, 40, 2101)
    of_x = np.exp(-(at**2) / 2) / np.sum(np.exp(-(at**2) / 2))
    of_z = np.exp(-(((z[:, None] - at**2) / 0.2) ** 2) / 2) @ of_x / (0.2 * math.sqrt(2 * math.pi))
    of_z = np.maximum(of_z, 1e-300)
    entropy = -np.sum(of_z * np.log(of_z)) * (z[1] - z[0])
    truth = entropy - 0.5 * math.log(2 * math.pi * math.e * 0.2**2)
    found = estimate(x, y, bound="infonce")
    assert 0.4 * truth < found.value < truth + 4 * found.standard_error
    assert found.ceiling == math.log(64)


def test_a_critic_that_has_learned_its_pairs_by_heart_is_found_out():
    x, y = np.random.default_rng(2).normal(size=(2, 500, 10))
    found = estimate(x, y, bound="infonce", batch_size=20, steps=900)
    on_its_own = -found.info.lines()[-1]["loss"]
    assert on_its_own > 0.5
    assert found.value < 4 * found.standard_error


@pytest.mark.parametrize("bound", ["nwj", "js", "tuba"])
def test_the_other_bounds(bound):
    x, y = correlated(0.8, 2000)
    truth = -0.5 * math.log(1 - 0.8**2)
    found = estimate(x, y, bound=bound)
    assert truth - 0.15 - 4 * found.standard_error < found.value
    assert found.value < truth + 4 * found.standard_error
    assert found.ceiling == math.inf


def test_units_and_errors():
    values = np.array([0.5, 1.0, 1.5])
    x, y = correlated(0.5, 500)
    info = estimate(x, y, batch_size=20, steps=100).info
    found = MutualInformation(1.0, 0.25, "InfoNCE", 4.0, values, 64, info)
    assert found.bits == pytest.approx(1.442695)
    assert found.standard_error_bits == pytest.approx(0.25 * 1.442695)
    assert str(found) == "at least 1.000 +- 0.250 nats (1.443 bits), by InfoNCE (ceiling 4.00)"


def test_the_error_is_that_of_the_batches_and_a_key_is_all_that_is_random():
    x, y = correlated(0.5, 1000)
    first, second = (estimate(jnp.asarray(x), y, batch_size=40, steps=100) for _ in range(2))
    assert len(first.batch_values) == 1000 // 5 // 40
    np.testing.assert_array_equal(first.batch_values, second.batch_values)
    assert first.value == pytest.approx(np.mean(first.batch_values))
    assert first.standard_error == pytest.approx(np.std(first.batch_values, ddof=1) / math.sqrt(5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.zeros(99)}, "`x` and `y` must be paired, sample by sample; got 100 and 99"),
        ({"x": np.full((100, 2), np.nan)}, "`x` must be finite; sample 0 has nan in column 0"),
        ({"y": np.array([0.0] * 99 + [np.inf])}, "`y` must be finite; sample 99 has inf .* 1 of"),
        ({"x": np.zeros((0, 2))}, r"`x` must hold samples, .* got the shape \[0, 2\]"),
        ({}, "`batch_size` 64 asks for 1600 pairs or more.*got 100 pairs: use `batch_size=4`"),
        ({"batch_size": 1}, "`batch_size` must be 2 or more, got 1"),
        ({"alpha": 2}, r"`alpha` must be in \[0, 1\], got 2"),
    ],
)
def test_samples_that_make_no_sense_are_refused(change, message):
    options = {"x": np.zeros(100), "y": np.zeros(100), "key": jr.key(0), **change}
    with pytest.raises(ValueError, match=message):
        estimate_mutual_information(**options)


def test_ranks_share_what_the_columns_do_whatever_became_of_them():
    """Exponentials, powers and an outlier of 1e6 leave every number of the answer as it was."""
    x, y = correlated(0.8, 2400)
    truth = -0.5 * math.log(1 - 0.8**2)
    plain = estimate(x, y, copula=True, steps=400)
    assert truth - 0.1 - 4 * plain.standard_error < plain.value
    assert plain.value < truth + 4 * plain.standard_error
    far = y.copy()
    far[np.argmax(y)] = 1e6
    again = estimate(np.exp(3 * x), far**3, copula=True, steps=400)
    np.testing.assert_array_equal(again.batch_values, plain.batch_values)


def test_an_outlier_that_carries_the_moments_is_named():
    x, y = correlated(0.8, 2400)
    y[7] = 1e6
    with pytest.warns(UserWarning, match=r"of `y`, column 0, 1 of 2400 rows .* \(row 7\).*copula"):
        found = estimate(x, y, steps=400)
    assert found.value < 0.2  # of 0.51
    wide = np.concatenate([x, np.zeros_like(x), 10.0 ** (4 * x), (x > 2.6).astype(float)], axis=1)
    with pytest.warns(UserWarning, match="of `x`, column 2, [0-9]* of 2400 rows carry half"):
        estimate(wide, x, steps=1)


def test_values_that_repeat_are_ranked_by_chance_and_share_no_more():
    """A fair coin beside itself shares log 2; ties by the order of the rows would share more."""
    coin = np.repeat([0.0, 1.0], 1200)
    found = estimate(coin, coin, copula=True, bound="infonce", steps=400)
    assert math.log(2) - 0.1 < found.value < math.log(2) + 4 * found.standard_error + 0.01
