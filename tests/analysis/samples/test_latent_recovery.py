"""The best input of a generator, against least squares."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.analysis.samples import latent_recovery


def test_of_a_linear_generator_it_is_least_squares(key):
    rng = np.random.default_rng(0)
    matrix, shift, targets = rng.normal(size=(5, 2)), rng.normal(size=5), rng.normal(size=(6, 5))
    generator = lambda z: jnp.asarray(matrix) @ z + jnp.asarray(shift)
    want, *_ = np.linalg.lstsq(matrix, (targets - shift).T)
    left = np.mean((matrix @ want + shift[:, None] - targets.T) ** 2, axis=0)
    for batch_size in (None, 4):
        found = latent_recovery(generator, targets, 2, batch_size=batch_size, key=key)
        np.testing.assert_allclose(found.errors, left, rtol=1e-8)
        np.testing.assert_allclose(found.latents, want.T, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 0.1, 1.0, 1e4, 1e8])
def test_of_what_it_can_make_nothing_is_left_over_at_any_scale(scale, x32, key):
    rng = np.random.default_rng(0)
    matrix = jnp.asarray(scale * rng.normal(size=(5, 2)), jnp.float32)
    targets = jnp.asarray(rng.normal(size=(6, 2)), jnp.float32) @ matrix.T
    found = latent_recovery(lambda z: matrix @ z, targets, 2, key=key)
    assert float(jnp.max(found.errors / scale**2)) < 1e-9


def test_nor_at_any_scale_of_the_input_nor_far_from_zero(x32, key):
    rng = np.random.default_rng(0)
    matrix = jnp.asarray(0.03 * rng.normal(size=(5, 2)), jnp.float32)
    targets = 0.5 + jnp.asarray(rng.normal(size=(6, 2)), jnp.float32) @ matrix.T
    for size in (1e-5, 1e5):
        found = latent_recovery(
            lambda z, size=size: 0.5 + matrix @ (z / size),
            targets, lambda key, size=size: size * jr.normal(key, (2,)), key=key,
        )  # fmt: skip
        assert float(jnp.max(found.errors / 0.03**2)) < 1e-9


def test_restarts_leave_poor_minima(key):
    """Of a curve with two branches each start comes to its own."""
    branches = lambda z: jnp.stack([jnp.where(z[0] > 0, 2.0, -1.0), z[0] ** 2])
    targets = jnp.asarray([[-1.0, 1.0]] * 40)
    once, often = (
        latent_recovery(branches, targets, 1, restarts=count, key=key).errors for count in (1, 8)
    )
    assert 5 < int(jnp.sum(once > 1)) < 35
    assert int(jnp.sum(often > 1)) <= 3
    np.testing.assert_allclose(jnp.min(often), 0, atol=1e-10)


def test_a_start_of_ones_own_and_no_numbers(key):
    draw = lambda key: jr.uniform(key, (1,), minval=5.0, maxval=6.0)
    found = latent_recovery(lambda z: jnp.sin(z), np.asarray([[0.0]]), draw, key=key)
    assert abs(abs(found.latents[0, 0]) - 2 * np.pi) < 1e-4
    lost = latent_recovery(lambda z: jnp.nan * z, np.asarray([[0.0]]), 1, key=key)
    assert lost.errors.tolist() == [np.inf]


@pytest.mark.parametrize(
    ("targets", "settings", "message"),
    [
        (np.zeros((3, 2)), {}, r"`targets` must be rows of the shape .* \(1,\); got \(2,\)"),
        (np.full((3, 1), np.nan), {}, "with 3 numbers that are not finite"),
        (np.zeros((0, 1)), {}, "at least one"),
        (np.zeros((3, 1), int), {}, "`targets` must be floating"),
        (np.zeros((3, 1)), {"restarts": 0}, "`restarts` must be 1 or more"),
        (np.zeros((3, 1)), {"latent": 0}, "`latent` must be 1 or more"),
    ],
)
def test_what_does_not_fit_is_refused(targets, settings, message, key):
    import inspect

    call = inspect.unwrap(latent_recovery)
    with pytest.raises(ValueError, match=message):
        call(lambda z: z, targets, **({"latent": 1} | settings), key=key)
