"""The geometry of codes, and paths uphill in it."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.spatial import distance
from sklearn.covariance import ledoit_wolf

from pullback._traced import _run
from pullback.models.sequences import LatentSpace, climb

SCALES = np.array([3.0, 0.5, 1.0, 20.0])


def some_codes(n=200, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, 4))
    z[:, 1] = 0.8 * z[:, 0] + 0.6 * z[:, 1]
    return jnp.asarray(z * SCALES + np.arange(4))


SPACE = LatentSpace.from_data(some_codes())


def test_whitened_codes_have_mean_0_and_deviation_1_and_come_back():
    codes = some_codes()
    w = SPACE.whiten(codes)
    np.testing.assert_allclose(w.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(w.std(axis=0), 1, rtol=1e-12)
    np.testing.assert_allclose(SPACE.unwhiten(w), codes, rtol=1e-12)
    np.testing.assert_allclose(eqx.filter_jit(SPACE.whiten)(codes[3]), w[3], rtol=1e-12)


def test_mahalanobis_is_that_of_scipy():
    codes = some_codes()
    whitened = np.asarray(SPACE.whiten(codes))
    inverse = np.linalg.inv(ledoit_wolf(whitened)[0])
    want = [distance.mahalanobis(w, np.zeros(4), inverse) for w in whitened]
    np.testing.assert_allclose(SPACE.mahalanobis(codes), want, rtol=1e-10)
    # Of uncorrelated codes in number, the length of w; along a correlation nearer than across.
    along, across = (SPACE.unwhiten(jnp.array([1.0, sign, 0.0, 0.0])) for sign in (1, -1))
    assert SPACE.mahalanobis(along) < 0.6 * SPACE.mahalanobis(across)


def test_more_axes_than_codes():
    codes = jnp.asarray(np.random.default_rng(0).standard_normal((5, 40)))
    space = LatentSpace.from_data(codes)
    assert jnp.isfinite(space.mahalanobis(codes)).all()
    np.testing.assert_allclose(space.unwhiten(space.whiten(codes)), codes, atol=1e-12)


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("kind", ["2 of 2", "2 of 32", "two places", "50 times", "a line"])
def test_codes_that_span_less_than_the_space(kind, single):
    rng = np.random.default_rng(0)
    codes = {
        "2 of 2": rng.standard_normal((2, 2)),
        "2 of 32": rng.standard_normal((2, 32)),
        "two places": np.array([[0.0, 0], [1, 1], [0, 0], [1, 1]]),
        "50 times": np.repeat(rng.standard_normal((2, 3)), 50, axis=0),
        "a line": np.repeat(rng.standard_normal((5, 1)), 3, axis=1),
    }[kind]
    space = LatentSpace.from_data(jnp.asarray(codes, jnp.float32 if single else jnp.float64))
    # Of two places one standard deviation each; of a line, as far as on one axis of it.
    want = np.abs((codes - codes.mean(axis=0)) / codes.std(axis=0))[:, 0]
    rtol = 1e-3 if single else 1e-4
    if kind == "a line":
        rtol = 0.2  # Ledoit and Wolf shrink it
    np.testing.assert_allclose(space.mahalanobis(jnp.asarray(codes)), want, rtol=rtol)
    if kind != "a line":
        signs = np.sign(codes[0] - codes.mean(axis=0))
        across = jnp.asarray(np.where(np.arange(len(signs)) == 0, -signs, signs)[:2])
        across = jnp.zeros(len(signs)).at[:2].set(across / 2**0.5)
        np.testing.assert_allclose(space.mahalanobis(space.unwhiten(across)), 1e3, rtol=1e-2)


def test_a_space_is_made_on_the_host_of_numbers_that_its_dtype_has(x32):
    with pytest.raises(TypeError, match=r"`codes` came from within `jax\.jit`"):
        jax.jit(LatentSpace.from_data)(jnp.ones((3, 2)))
    with pytest.raises(ValueError, match=r"within the range of float32, got .*e\+39: rescale"):
        LatentSpace.from_data(np.array(some_codes(), float) * 1e38)


def test_an_axis_that_does_not_vary_is_not_searched():
    codes = some_codes().at[:, 2].set(0.1)
    space = LatentSpace.from_data(codes)
    assert (space.whiten(codes)[:, 2] == 0).all()
    near = space.neighbours(codes[0], 2.0, 50, key=jr.key(0))
    assert (near[:, 2] == codes[0, 2]).all()
    np.testing.assert_allclose(
        np.linalg.norm(space.whiten(near) - space.whiten(codes[0])[None], axis=1), 2, rtol=1e-12
    )
    rest = LatentSpace.from_data(jnp.delete(codes, 2, axis=1))
    np.testing.assert_allclose(
        space.mahalanobis(codes), rest.mahalanobis(jnp.delete(codes, 2, axis=1)), rtol=1e-10
    )
    # Nor one that varies by rounding alone.
    single = jnp.asarray(codes, jnp.float32).at[:, 2].set(0.1).at[3, 2].multiply(1 + 1e-7)
    assert LatentSpace.from_data(single).scale[2] == 0


def test_slerp_keeps_the_norm_and_the_ends_and_is_symmetric():
    codes = some_codes()
    w = SPACE.whiten(codes[1])
    a, b = (
        codes[0],
        SPACE.unwhiten(w / jnp.linalg.norm(w) * jnp.linalg.norm(SPACE.whiten(codes[0]))),
    )
    path = SPACE.slerp(a, b, 9)
    assert (path[0] == a).all()
    assert (path[-1] == b).all()
    whitened = SPACE.whiten(path)
    norms = np.linalg.norm(whitened, axis=1)
    np.testing.assert_allclose(norms, norms[0], rtol=1e-12)
    np.testing.assert_allclose(SPACE.slerp(b, a, 9), path[::-1], atol=1e-12)
    # Even steps along one plane: each inner point lies between its two neighbours.
    u = np.asarray(whitened) / norms[:, None]
    between = u[:-2] + u[2:]
    between /= np.linalg.norm(between, axis=1, keepdims=True)
    np.testing.assert_allclose(u[1:-1], between, atol=1e-12)


def test_slerp_of_ends_of_any_kind():
    from_mean = lambda w: SPACE.unwhiten(jnp.asarray(w))
    w = np.array([1.0, 2.0, 0.5, -1.0])
    norm = lambda path: np.linalg.norm(SPACE.whiten(path), axis=1)
    # Different lengths: evenly from one to the other.
    path = SPACE.slerp(from_mean(w), from_mean([0.0, 0.0, 6.0, 0.0]), 5)
    np.testing.assert_allclose(norm(path), np.linspace(2.5, 6, 5), rtol=1e-12)
    # The same code, opposite codes, nearly opposite codes, and the mean.
    same = SPACE.slerp(from_mean(w), from_mean(w), 5)
    np.testing.assert_allclose(same, jnp.tile(from_mean(w), (5, 1)), rtol=1e-12)
    for other in (-w, -w + 1e-13, -w + 1e-7):
        path = SPACE.slerp(from_mean(w), from_mean(other), 7)
        np.testing.assert_allclose(norm(path), 2.5, rtol=1e-6)
        back = SPACE.slerp(from_mean(other), from_mean(w), 7)
        if (other == -w).all():
            np.testing.assert_allclose(back, path[::-1], atol=1e-12)
    straight = SPACE.slerp(SPACE.mean, from_mean(w), 3)
    np.testing.assert_allclose(straight[1], from_mean(w / 2), rtol=1e-12)
    both = SPACE.slerp(SPACE.mean, SPACE.mean, 3)
    np.testing.assert_allclose(both, jnp.tile(SPACE.mean, (3, 1)))
    line = LatentSpace.from_data(jnp.array([[0.0], [2.0]]))
    np.testing.assert_allclose(line.slerp(jnp.array([0.0]), jnp.array([2.0]), 3)[1], 1, atol=1e-12)


def test_slerp_has_a_gradient_and_single_precision(x32):
    codes = jnp.asarray(some_codes(), jnp.float32)
    space = LatentSpace.from_data(codes)
    path = space.slerp(codes[0], codes[1], 5)
    assert path.dtype == space.mahalanobis(codes).dtype == jnp.float32
    for b in (codes[1], codes[0], space.mean):
        slope = jax.jit(jax.grad(lambda a, b=b: space.slerp(a, b, 5).sum()))(codes[0])
        assert jnp.isfinite(slope).all()


def test_neighbours_point_everywhere():
    z = some_codes()[0]
    near = SPACE.whiten(SPACE.neighbours(z, 1.0, 4000, key=jr.key(1))) - SPACE.whiten(z)[None]
    np.testing.assert_allclose(np.linalg.norm(near, axis=1), 1, rtol=1e-10)
    # A direction's entries have mean 0 and variance 1/4; four standard errors of 4,000.
    np.testing.assert_allclose(near.mean(axis=0), 0, atol=4 * 0.5 / 4000**0.5)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (jnp.ones((5, 3)), "`codes` must differ, got 5 that are equal"),
        (jnp.ones((1, 3)), "`codes` must differ, got 1 that are equal"),
        (jnp.zeros((0, 3)), "`codes` must be floating codes"),
        (jnp.ones((5, 3), int), "must be floating codes, .* got int"),
        (jnp.array([[0.0], [1.0], [jnp.nan]]), "1 of 3 rows are not, row 2"),
    ],
)
def test_codes_that_make_no_space(codes, message):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(LatentSpace.from_data.__func__)(LatentSpace, codes)


def test_what_a_space_refuses():
    z = some_codes()[0]
    with pytest.raises(ValueError, match="must have 4 entries last"):
        SPACE.whiten(jnp.zeros(3))
    with pytest.raises(ValueError, match="`count` must be 2 or more"):
        SPACE.slerp(z, z, 1)
    with pytest.raises(ValueError, match="`count` must be 1 or more"):
        SPACE.neighbours(z, 1.0, 0, key=jr.key(0))
    for radius in (-1.0, float("nan"), float("inf")):
        with pytest.raises(
            ValueError, match=f"`radius` must be 0 or more and finite, got {radius}"
        ):
            SPACE.neighbours(z, radius, 2, key=jr.key(0))


def test_a_path_goes_uphill_and_never_passes_its_radius():
    starts = 10 * jr.normal(jr.key(0), (30, 4))
    hill = lambda z: -(jnp.sum(jnp.square(z - 100)) ** 0.5)
    for dtype in (jnp.float32, jnp.float64):
        begin = starts.astype(dtype)
        for radius in (0.3, 1.0, 7.7):
            path = climb(hill, begin, steps=70, step=0.15, trust_radius=radius)
            assert path.shape == (71, 30, 4)
            assert path.dtype == dtype
            assert (path[0] == begin).all()
            far = np.linalg.norm(np.asarray(path, float) - np.asarray(begin, float), axis=2)
            assert far.max() <= radius
            np.testing.assert_allclose(far[-1], radius, rtol=1e-4)
            np.testing.assert_allclose(far[1], 0.15, rtol=1e-4)
    values = jax.vmap(jax.vmap(hill))(path.astype(float))
    assert (jnp.diff(values, axis=0) > -1e-9).all()


def test_a_path_is_that_of_its_steps_written_out():
    hill = lambda z: jnp.sin(z[0]) - 0.1 * z[1] ** 2
    z = np.array([0.2, 1.0])
    want = [z]
    for _ in range(30):
        slope = np.array([np.cos(z[0]), -0.2 * z[1]])
        z = z + 0.2 * slope / np.linalg.norm(slope)
        away = np.linalg.norm(z - want[0])
        z = want[0] + (z - want[0]) * min(1, 1.0 / away)
        want.append(z)
    run = lambda: climb(hill, jnp.asarray(want[0])[None], steps=30, step=0.2, trust_radius=1.0)
    np.testing.assert_allclose(run()[:, 0], want, atol=1e-10)
    np.testing.assert_allclose(jax.jit(run)()[:, 0], want, atol=1e-10)


def test_a_path_stays_where_nothing_rises_and_says_where_nothing_is_known():
    z = jnp.ones((2, 3))
    assert (climb(lambda z: 0.0 * z.sum(), z, steps=5) == 1).all()
    free = climb(lambda z: z.sum(), z, steps=5, step=1.0, trust_radius=float("inf"))
    np.testing.assert_allclose(np.linalg.norm(free[-1] - z, axis=1), 5)
    bad = lambda z: jnp.where(z[0] > 1.5, jnp.nan, z[0])
    with pytest.raises(ValueError, match="on 1 of 2 paths, that of row 1"):
        climb(bad, jnp.array([[-9.0], [1.4]]), steps=5)
    with pytest.raises(ValueError, match="`trust_radius` must be above 0, got -1"):
        climb(bad, z, trust_radius=-1)
    with pytest.raises(ValueError, match="`step` must be above 0, got inf"):
        climb(bad, z, step=float("inf"))
    with pytest.raises(ValueError, match="`step` must be above 0, got 'a'"):
        inspect.unwrap(climb)(bad, z, step="a")
    with pytest.raises(ValueError, match=r"`surrogate` must give one number.*got \(1,\)"):
        climb(lambda z: z[:1], z)
    with pytest.raises(ValueError, match=r"of one code; got \(\), \(\)"):
        climb(lambda z: (z[0], z[1]), z)
    with pytest.raises(ValueError, match="`z0` must be floating codes"):
        inspect.unwrap(climb)(bad, jnp.ones(3))


def test_a_path_is_compiled_once():
    run = lambda weight: climb(lambda z: weight * z.sum(), jnp.ones((2, 3)), steps=3)
    run(jnp.asarray(1.0))
    before = _run._cached._cache_size()
    run(jnp.asarray(2.0))
    assert _run._cached._cache_size() == before
