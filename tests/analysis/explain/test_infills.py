"""Backgrounds beside block formulas, means counted by hand and the laws they draw from."""

import inspect
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

from pullback.analysis.explain import (
    BlurInfill,
    ConstantInfill,
    EmpiricalInfill,
    GaussianInfill,
    LocalMeanInfill,
    ModelInfill,
    NoiseInfill,
)
from pullback.analysis.explain._infill import checked_set

RNG = np.random.default_rng(0)
SHAPE = (2, 3, 4)
X = RNG.normal(size=SHAPE)
KEEP = (RNG.random((1, 3, 4)) < 0.6).astype(float)
SET = RNG.normal(size=(40, *SHAPE)) @ RNG.normal(size=(4, 4))
INFILLS = {
    "constant": ConstantInfill(np.array([0.1, 0.2]).reshape(2, 1, 1)),
    "local": LocalMeanInfill(3), "blur": BlurInfill(1.5), "noise": NoiseInfill(-1.0, 2.0),
    "gaussian": GaussianInfill.fit(SET, 5), "empirical": EmpiricalInfill(SET),
    "model": ModelInfill(lambda x, keep, *, key: x * keep + jr.normal(key, x.shape, x.dtype)),
}  # fmt: skip


@pytest.mark.parametrize("name", INFILLS)
def test_every_infill_alone_compiled_and_mapped(name):
    infill, key = INFILLS[name], jr.key(2)
    x, keep = jnp.asarray(X), jnp.asarray(KEEP)
    eager = infill(x, keep, key=key)
    assert eager.shape == SHAPE
    assert eager.dtype == jnp.float64
    np.testing.assert_allclose(eager, eqx.filter_jit(infill)(x, keep, key=key), atol=1e-9)
    short = jax.ShapeDtypeStruct(SHAPE, jnp.float32), jax.ShapeDtypeStruct((1, 3, 4), jnp.float32)
    assert eqx.filter_eval_shape(lambda *a: infill(*a, key=key), *short).dtype == jnp.float32
    each = jax.vmap(lambda key: infill(x, keep, key=key))
    found = each(jr.split(key, 3))
    assert (np.ptp(found, axis=0).max() > 1e-9) == infill.stochastic
    # What is not kept must not be seen, but for a blur, which sees all.
    if name != "blur":
        other = jnp.asarray(np.where(KEEP == 1, X, 7.0))
        np.testing.assert_allclose(infill(other, keep, key=key), eager, atol=1e-12)


def laws(infill, keep):
    """Each pixel's means and covariance given all other pixels that are kept, by the block formula.

    A pixel is all of its channels.
    """
    factors = np.asarray(infill.factors).reshape(len(infill.factors), -1)
    covariance = factors.T @ factors + np.diag(np.asarray(infill.noise).ravel())
    mean, x = np.asarray(infill.mean).ravel(), X.ravel()
    kept = np.broadcast_to(keep, SHAPE).ravel() == 1
    pixel = np.broadcast_to(np.arange(12).reshape(1, 3, 4), SHAPE).ravel()
    means, blocks = np.zeros(24), np.zeros((12, 2, 2))
    for u in range(12):
        own, others = np.flatnonzero(pixel == u), np.flatnonzero(kept & (pixel != u))
        across = covariance[np.ix_(own, others)]
        weights = np.linalg.solve(covariance[np.ix_(others, others)], across.T).T
        means[own] = mean[own] + weights @ (x - mean)[others]
        blocks[u] = covariance[np.ix_(own, own)] - weights @ across.T
    return means.reshape(SHAPE), blocks


@pytest.mark.parametrize("keep", [KEEP, np.ones_like(KEEP), np.zeros_like(KEEP)],
                         ids=["some", "all", "none"])  # fmt: skip
def test_the_gaussian_is_the_conditional_one_by_the_block_formula(keep):
    smooth = GaussianInfill.fit(SET, 5, draw=False)
    means, blocks = laws(smooth, keep)
    found = smooth(jnp.asarray(X), jnp.asarray(keep), key=jr.key(0))
    np.testing.assert_allclose(found, means, atol=1e-9)
    if not keep.any():
        np.testing.assert_allclose(found, smooth.mean, atol=1e-12)
    in32 = smooth(jnp.asarray(X, jnp.float32), jnp.asarray(keep, jnp.float32), key=jr.key(0))
    np.testing.assert_allclose(in32, means, atol=1e-4)
    n = 4000
    draws = GaussianInfill.fit(SET, 5)
    one = lambda key: draws(jnp.asarray(X), jnp.asarray(keep), key=key)
    many = np.asarray(jax.jit(jax.vmap(one))(jr.split(jr.key(0), n)))
    variances = np.diagonal(blocks, axis1=1, axis2=2).T.reshape(SHAPE)
    assert (np.abs(many.mean(0) - means) < 4.5 * np.sqrt(variances / n)).all()
    # The channels of a pixel vary together, as they do under the law.
    centred = (many - many.mean(0)).reshape(n, 2, 12)
    found = np.einsum("ncp,ndp->pcd", centred, centred) / n
    scale = np.sqrt(blocks[:, [0, 1], [0, 1]][:, :, None] * blocks[:, [0, 1], [0, 1]][:, None])
    assert (np.abs(found - blocks) < 4.5 * scale * np.sqrt(2 / n)).all()


def test_one_channel_is_as_the_first_of_two_that_are_alike_in_nothing():
    """The short way of one channel, beside the blocks of two of which one is noise alone."""
    grey = GaussianInfill.fit(SET[:, :1], 5, draw=False)
    two = GaussianInfill(
        jnp.concatenate([grey.mean, 0 * grey.mean]),
        jnp.concatenate([grey.factors, 0 * grey.factors], axis=1),
        jnp.concatenate([grey.noise, 1 + 0 * grey.noise]),
        draw=False,
    )
    x, keep = jnp.asarray(X), jnp.asarray(KEEP)
    a, b = grey(x[:1], keep, key=jr.key(0)), two(x, keep, key=jr.key(0))
    np.testing.assert_allclose(a, b[:1], atol=1e-9)


def test_removed_pixels_are_drawn_together():
    """They vary as the conditional law of all of them does, and not each by itself."""
    infill = GaussianInfill.fit(SET, 5)
    factors = np.asarray(infill.factors).reshape(5, -1)
    covariance = factors.T @ factors + np.diag(np.asarray(infill.noise).ravel())
    kept = np.broadcast_to(KEEP, SHAPE).ravel() == 1
    a, b = np.flatnonzero(kept), np.flatnonzero(~kept)
    block = lambda i, j: covariance[np.ix_(i, j)]
    wanted = block(b, b) - block(b, a) @ np.linalg.solve(block(a, a), block(a, b))
    n = 20_000
    one = lambda key: infill(jnp.asarray(X), jnp.asarray(KEEP), key=key).ravel()[b]
    found = np.cov(np.asarray(jax.jit(jax.vmap(one))(jr.split(jr.key(1), n))).T)
    scale = np.sqrt(np.outer(np.diag(wanted), np.diag(wanted)) + wanted**2) / np.sqrt(n)
    assert (np.abs(found - wanted) < 4.5 * scale).all()


def test_a_fit_has_the_variances_of_the_images_and_their_components():
    few, many = SET[:10], SET
    for images in (few, many):
        fitted = GaussianInfill.fit(images, rank=3)
        rows = images.reshape(len(images), -1)
        _, lengths, axes = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
        parts = axes[:3] * lengths[:3, None] / np.sqrt(len(rows))
        found = np.asarray(fitted.factors).reshape(3, -1)
        np.testing.assert_allclose(found.T @ found, parts.T @ parts, atol=1e-9)
        total = np.sum(found**2, 0) + np.asarray(fitted.noise).ravel()
        np.testing.assert_allclose(total, rows.var(0), atol=1e-9)
        np.testing.assert_allclose(np.asarray(fitted.mean).ravel(), rows.mean(0), atol=1e-12)
    assert GaussianInfill.fit(few, rank=100).factors.shape == (9, *SHAPE)
    # A pixel that is always the same is expected to be so, and no number is NaN.
    flat = np.concatenate([many, 0 * many[:, :1] + 3], axis=1)
    found = GaussianInfill.fit(flat, 4, draw=False)(
        jnp.ones((3, 3, 4)), jnp.asarray(KEEP), key=jr.key(0)
    )
    np.testing.assert_allclose(found[2], 3, atol=1e-9)
    assert np.isfinite(found).all()
    float32 = GaussianInfill.fit(many.astype(np.float32))
    assert float32.factors.dtype == jnp.float32


def test_a_local_mean_is_counted_by_hand():
    keep = np.ones((1, 3, 4))
    keep[0, :, 1:] = 0  # the last columns have no kept pixel within one step
    found = LocalMeanInfill(3)(jnp.asarray(X), jnp.asarray(keep), key=jr.key(0))
    np.testing.assert_allclose(found[:, 0, 0], X[:, :2, 0].mean(1), atol=1e-12)
    np.testing.assert_allclose(found[:, 1, 1], X[:, :, 0].mean(1), atol=1e-12)
    np.testing.assert_allclose(found[:, 1, 3], X[:, :, 0].mean(1), atol=1e-12)
    nothing = LocalMeanInfill(3)(jnp.asarray(X), jnp.zeros((1, 3, 4)), key=jr.key(0))
    assert (nothing == 0).all()


def test_a_blur_keeps_what_is_flat_and_is_a_gaussian_inside():
    flat = BlurInfill()(jnp.full((1, 5, 6), 0.3), jnp.zeros((1, 5, 6)), key=jr.key(0))
    np.testing.assert_allclose(flat, 0.3, atol=1e-12)
    point = np.zeros((1, 1, 41))
    point[0, 0, 20] = 1
    found = BlurInfill(2.0)(jnp.asarray(point), jnp.asarray(point), key=jr.key(0))[0, 0]
    wanted = np.exp(-0.5 * ((np.arange(41) - 20) / 2) ** 2)
    np.testing.assert_allclose(found, wanted / wanted.sum(), atol=1e-8)


def test_draws_of_noise_and_of_a_set_stay_where_they_should():
    many = jax.vmap(lambda key: NoiseInfill(-1.0, 2.0)(jnp.asarray(X), jnp.asarray(KEEP), key=key))(
        jr.split(jr.key(0), 500)
    )
    assert -1 <= many.min() < -0.9 < 1.9 < many.max() <= 2
    assert abs(many.mean() - 0.5) < 0.2
    drawn = jax.vmap(lambda key: EmpiricalInfill(SET)(jnp.asarray(X), jnp.asarray(KEEP), key=key))(
        jr.split(jr.key(0), 300)
    )
    rows = (np.asarray(drawn)[:, None] == SET[None]).all((2, 3, 4))
    assert rows.any(1).all()
    assert rows.any(0).mean() > 0.9


class Mirror(eqx.Module):
    """As a VAE that draws what is on the other side."""

    def reconstruct(self, x, *, key):
        return x[:, :, ::-1]


def test_a_model_that_reconstructs_is_asked_until_holes_are_its_own():
    keep = jnp.asarray([[[1.0, 1.0, 0.0, 0.0]]])
    x = jnp.asarray([[[1.0, 2.0, 8.0, 9.0]]])
    found = ModelInfill(Mirror(), rounds=2)(x, keep, key=jr.key(0))
    assert found.tolist() == [[[1.0, 2.0, 2.0, 1.0]]]
    once = ModelInfill(Mirror(), start=5.0, rounds=1)(x, keep, key=jr.key(0))
    assert once.tolist() == [[[5.0, 5.0, 2.0, 1.0]]]


class Density(eqx.Module):
    """Two pixels of correlation 0.8."""

    def log_prob(self, x):
        law = dist.MultivariateNormal(0.0, jnp.asarray([[1.0, 0.8], [0.8, 1.0]]))
        return law.log_prob(x.ravel())


def test_a_density_moves_what_is_not_kept():
    infill = ModelInfill(Density(), rounds=200, step_size=0.05)
    x, keep = jnp.asarray([[[2.0, 9.0]]]), jnp.asarray([[[1.0, 0.0]]])
    many = jax.jit(jax.vmap(lambda key: infill(x, keep, key=key)))(jr.split(jr.key(0), 1000))
    assert (many[..., 0] == 2).all()
    assert abs(many[..., 1].mean() - 1.6) < 4.5 * 0.6 / np.sqrt(1000)


@pytest.mark.parametrize("colour", [[0.1, 0.2, 0.3], (1, 0, 1), np.arange(3.0)])
def test_a_colour_is_a_number_a_channel_of_an_image_however_wide(colour):
    for size in ((3, 3), (4, 5)):
        found = ConstantInfill(colour)(jnp.zeros((3, *size)), jnp.ones((1, *size)), key=jr.key(0))
        np.testing.assert_allclose(found[:, 2, 1], colour)
        assert np.ptp(found, axis=(1, 2)).max() == 0
    for wrong in ("a", None):
        with pytest.raises(TypeError, match="`value` must be a number"):
            ConstantInfill(wrong)


def test_what_no_infill_can_be_made_of_is_refused():
    # Without the tests' own checks of types.
    check = lambda mean, factors, noise: inspect.unwrap(GaussianInfill.__check_init__)(
        SimpleNamespace(mean=mean, factors=factors, noise=noise)
    )
    for make, message in (
        (lambda: LocalMeanInfill(4), "`window` must be odd"),
        (lambda: BlurInfill(0.0), "`sigma` must be above 0"),
        (lambda: NoiseInfill(1.0, 1.0), "`low` must be below `high`"),
        (lambda: NoiseInfill(deviation=-1.0), "`deviation` must be 0 or more"),
        (lambda: checked_set(SET[0]), r"images \[n, C, H, W\], got the shape \[2, 3, 4\]"),
        (lambda: checked_set(SET.astype(int)), "must be floating"),
        (lambda: EmpiricalInfill(SET * np.nan), "must be finite"),
        (lambda: GaussianInfill.fit(SET[:1]), "two or more that differ"),
        (lambda: GaussianInfill.fit(SET, rank=0), "`rank` must be 1 or more"),
        (lambda: check(SET[0], SET[:3], SET[0, :1]), "`factors` and `noise` must be"),
        (lambda: check(SET[0], SET[:3], 0 * SET[0]), "`noise` must be above 0"),
        (lambda: ModelInfill(lambda x: x, rounds=0), "`rounds` must be 1"),
        (lambda: ModelInfill(lambda x: x, step_size=0.0), "`step_size` must be above 0"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            make()
    for wrong in (3, Mirror):
        with pytest.raises(TypeError, match="`model` must have `reconstruct"):
            ModelInfill(wrong)


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: ConstantInfill(np.nan), "value"),
        (lambda: NoiseInfill(0.0, np.inf), "high"),
        (lambda: GaussianInfill.fit(1e-25 * np.eye(6, dtype=np.float32).reshape(6, 1, 2, 3)),
         "images"),
        (lambda: GaussianInfill.fit(1e25 * np.eye(6, dtype=np.float32).reshape(6, 1, 2, 3)),
         "images"),
    ],
)  # fmt: skip
def test_numbers_that_fill_nothing_in_are_refused(make, argument):
    with pytest.raises(ValueError, match=f"`{argument}` "):
        make()
