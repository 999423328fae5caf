"""Attacks on classifiers whose worst nearby input is known."""

import functools
import inspect

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.analysis import accuracy_under_attack, pgd_attack
from pullback.analysis._attack import Norm

A = jnp.array([2.0, -1.0, 0.5])


def linear(x):
    """The boundary is A x = 0; the worst shift is along A, or along the signs of A."""
    return jnp.stack([A @ x, -A @ x])


def test_of_a_linear_classifier_the_worst_point_of_the_ball_is_found(key):
    """What a random start has along the boundary shrinks on the way, and is not gone."""
    x = jr.normal(key, (6, 3))
    y = jr.randint(key, (6,), 0, 2)
    side = np.where(y == 0, -1.0, 1.0)
    euclid = pgd_attack(linear, x, y, radius=0.4, steps=30, key=key)
    reached = (euclid - x) @ A * side / jnp.linalg.norm(A)
    assert np.all((reached > 0.95 * 0.4) & (reached < 0.4 + 1e-9))
    cube = pgd_attack(linear, x, y, radius=0.4, norm="linf", steps=30, key=key)
    np.testing.assert_allclose(cube, x + 0.4 * side[:, None] * np.sign(A), atol=1e-9)


def test_no_point_leaves_the_ball_and_none_is_better_than_the_start(key):
    x = jr.normal(key, (40, 3))
    y = jr.randint(key, (40,), 0, 3)
    wavy = lambda x: jnp.sin(7 * x) + x**2
    loss = jax.vmap(lambda x, y: -jax.nn.log_softmax(wavy(x))[y])
    norms: tuple[Norm, Norm] = ("l2", "linf")
    for norm, size in zip(norms, (2, jnp.inf), strict=True):
        attack = functools.partial(pgd_attack, wavy, x, y, radius=0.3, norm=norm, steps=8)
        ends = jax.jit(jax.vmap(lambda k, a=attack: a(key=k)))(jr.split(key, 20))
        sizes = jnp.linalg.norm(ends - x[None], ord=size, axis=2)
        assert jnp.all(sizes <= 0.3 + 1e-9)
        # A random point of the ball: far fewer of 800 are worse for the classifier than PGD's.
        at_random = x + 0.3 * jr.uniform(key, x.shape, minval=-1, maxval=1) / (3**0.5)
        assert jnp.mean(loss(ends[0], y) >= loss(at_random, y)) > 0.9


def test_the_accuracy_falls_where_margins_end(key):
    """Margins are |A x| / |A| for the Euclidean ball."""
    margins = np.array([0.05, 0.1, 0.3, 0.4, 0.45, 0.7, 0.8])
    along = np.asarray(A) / float(jnp.linalg.norm(A) ** 2) * float(jnp.linalg.norm(A))
    across = np.array([0.5, 1.0, 0.0]) * np.arange(7)[:, None]  # A x = 0 on this line
    y = np.arange(7) % 2
    x = margins[:, None] * along * np.where(y == 0, 1.0, -1.0)[:, None] + across
    radii = [0.0, 0.2, 0.5, 1.0]
    found = accuracy_under_attack(linear, x, y, radii=radii, steps=40, batch_size=4, key=key)
    np.testing.assert_allclose(found, [np.mean(margins > r) for r in radii], atol=1e-9)


def test_where_the_classifier_is_flat_nothing_breaks(key):
    moved = pgd_attack(
        lambda x: x[:2] * 0, jnp.ones((3, 2)), jnp.zeros(3, int), radius=0.5, key=key
    )
    assert bool(jnp.all(jnp.isfinite(moved)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"norm": "l1"}, "`norm` must be one of l2, linf, got 'l1'"),
        ({"steps": 0}, "`steps` must be at least 1, got 0"),
        ({"radius": -1.0}, "`radius` must be 0 or more, and finite; got -1"),
        ({"radius": jnp.array(-1.0)}, "`radius` must be 0 or more, and finite; got -1"),
        ({"radius": np.inf}, "`radius` must be 0 or more, and finite; got inf"),
        ({"step_size": -1.0}, "`step_size` must be above 0, got -1"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, message, key):
    settings = {"radius": 1.0, "key": key, **wrong}
    attack = inspect.unwrap(pgd_attack)  # as it is where types are not checked
    with pytest.raises(ValueError, match=message):
        attack(linear, jnp.ones((1, 3)), jnp.zeros(1, int), **settings)


WEIGHTS = jnp.array([[1.0, -2.0, 0.5], [-1.0, 0.3, 0.2], [0.4, 1.0, -3.0]])


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("scale", [1e-25, 1.0, 100.0, 1e4, 1e25])
def test_a_sure_classifier_is_no_robust_one(norm, scale, x32, key):
    """Of two classes: the worst point of the ball is known, whatever multiplies the logits."""
    weight = WEIGHTS[0].astype(jnp.float32)
    logits = lambda x: scale * jnp.stack([weight @ x, -weight @ x])
    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 3)), jnp.float32)
    y = jnp.argmax(jax.vmap(logits)(x), axis=1)
    side = np.where(y == 0, -1.0, 1.0)
    attack = functools.partial(pgd_attack, logits, radius=0.7, norm=norm, steps=30, key=key)
    dual = np.linalg.norm(weight, ord=2 if norm == "l2" else 1)
    for moved in (attack(x, y), jax.jit(attack)(x, y)):
        reached = (moved - x) @ weight * side
        assert np.all(reached > 0.95 * 0.7 * dual)
        assert np.all(reached < 0.7 * dual * (1 + 1e-5))


def test_the_example_that_stayed_put(x32, key):
    logits = lambda x: 100 * jnp.stack([x[0], -x[0]])
    moved = pgd_attack(logits, jnp.array([[0.5]]), jnp.array([0]), radius=1.0, key=key)
    np.testing.assert_allclose(moved, [[-0.5]], atol=1e-6)
    found = accuracy_under_attack(
        logits, jnp.array([[0.5], [1.5]]), jnp.array([0, 0]), radii=[0.0, 1.0, 2.0], key=key
    )
    assert found.tolist() == [1.0, 0.5, 0.0]


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_robust_accuracy_of_a_linear_classifier_of_three_classes(norm, x32, key):
    """The margin to class k falls by radius times the dual norm of w_k - w_y, at the most."""
    weights = 50 * np.asarray(WEIGHTS, np.float32)
    x = np.random.default_rng(1).normal(size=(60, 3)).astype(np.float32)
    y = np.argmax(x @ weights.T, axis=1)
    gaps = weights[None] - weights[y][:, None]
    dual = np.linalg.norm(gaps, ord=2 if norm == "l2" else 1, axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        room = np.nanmin(np.einsum("nkd,nd->nk", -gaps, x) / dual, axis=1)
    radii = [0.1, 0.3, 0.6]
    found = accuracy_under_attack(
        lambda x: jnp.asarray(weights) @ x, x, y, radii=radii, norm=norm, steps=40, key=key
    )
    exact = np.array([np.mean(room > r) for r in radii])
    # An upper bound, for the slope points to the class that is the next at the start.
    assert np.all(found >= exact - 1e-6)
    assert np.all(found <= exact + 2.01 / 60)


def test_numpy_arrays_are_taken_as_jax_takes_them(x32, key):
    logits = lambda x: jnp.stack([x[0], -x[0]])
    attack = functools.partial(pgd_attack, logits, radius=0.3, steps=2, key=key)
    x, y = np.ones((2, 3)), np.zeros(2, int)
    np.testing.assert_array_equal(attack(x, y), attack(jnp.asarray(x), jnp.asarray(y)))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_attacked_too(dtype, key):
    logits = lambda x: 100 * jnp.stack([x[0], -x[0]])
    x, y = jnp.full((300, 1), 0.5, dtype), jnp.zeros(300, int)
    moved = pgd_attack(logits, x, y, radius=1.0, key=key)
    assert moved.dtype == dtype
    np.testing.assert_allclose(moved.astype(float), -0.5, atol=0.01)
    found = accuracy_under_attack(logits, x, y, radii=[0.25, 1.0], key=key)
    assert found.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("x", "y", "logits", "message"),
    [
        (
            np.ones((2, 3), np.uint8),
            [0, 1],
            linear,
            "`x` must be floating, got uint8.*scale",
        ),
        (np.ones((2, 3)), [0, 7], linear, "`y` must lie between 0 and 1, got 0 to 7"),
        (np.ones((2, 3)), [-1, 1], linear, "`y` must lie between 0 and 1, got -1 to 1"),
        (np.ones((2, 3)), [0.5, 0], linear, "`y` must be whole numbers, the classes; got float"),
        (np.ones((2, 3)), [0], linear, r"with n at least 1; got \[2, 3\] and \[1\]"),
        (np.ones((0, 3)), [], linear, r"with n at least 1; got \[0, 3\] and \[0\]"),
        (np.ones((2, 3)), [0, 0], lambda x: x[:1], r"K at least 2; from an input \[3\] .* \[1\]"),
        (np.ones((2, 3)), [0, 0], lambda x: x[0], r"K at least 2; from an input \[3\] .* \[\]"),
    ],
)
def test_what_cannot_be_attacked_is_refused_by_both(x, y, logits, message, key):
    args = logits, jnp.asarray(x), jnp.asarray(y, None if 0.5 in y else int)
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(pgd_attack)(*args, radius=1.0, key=key)
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(accuracy_under_attack)(*args, radii=[1.0], key=key)


def test_many_classifiers_at_once_are_those_one_by_one(key):
    """As a recipe scores its seeds: under `vmap` in a compiled call."""
    x = jr.normal(key, (5, 3))
    y = jnp.array([0, 1, 2, 0, 1])
    scales = jnp.array([1.0, 30.0])
    score = lambda scale: accuracy_under_attack(
        lambda x: scale * WEIGHTS @ x, x, y, radii=[0.0, 0.3], steps=3, key=key
    )
    together = jax.jit(jax.vmap(score))(scales)
    np.testing.assert_allclose(together, [score(scale) for scale in scales])
    broken = jax.jit(score)(jnp.asarray(jnp.nan))
    assert bool(jnp.isnan(broken).all())


def test_what_cannot_be_seen_while_compiling_comes_out_as_nan(key):
    attack = jax.jit(functools.partial(pgd_attack, linear, radius=0.1, key=key))
    moved = attack(jnp.ones((3, 3)), jnp.array([0, 7, -1]))
    assert jnp.isfinite(moved).all(axis=1).tolist() == [True, False, False]
    one = jnp.ones((1, 3)), jnp.array([0])
    within = jax.jit(lambda radius: pgd_attack(linear, *one, radius=radius, key=key))
    assert [bool(jnp.isnan(within(radius)).all()) for radius in (-0.1, np.inf, 0.1)] == [1, 1, 0]
    with pytest.raises(ValueError, match=r"logits of 1 of the 2 inputs.* NaN.*row 1"):
        accuracy_under_attack(
            lambda x: jnp.log(x), np.array([[1.0, 2.0], [-1.0, 1.0]]), np.array([1, 0]),
            radii=[0.1], key=key,
        )  # fmt: skip
    with pytest.raises(ValueError, match="`radii` must be 0 or more"):
        accuracy_under_attack(linear, np.ones((1, 3)), np.array([0]), radii=[-0.1], key=key)


def worst_in_the_box(x, slope, radius, norm, low, high):
    """Of a linear margin: a step along the slope, cut off by the box, as long as the ball lets."""
    if norm == "linf":
        return np.clip(x + radius * np.sign(slope), low, high)
    reach = lambda t: np.clip(t * slope, low - x, high - x)
    ends = np.array([0.0, 1e3])
    for _ in range(200):
        ends[int(np.linalg.norm(reach(ends.mean())) > radius)] = ends.mean()
    return x + reach(ends[0])


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_of_a_linear_classifier_the_worst_point_of_ball_and_box_is_found(norm, key):
    """Entries on the edge of the box, and near it; in float32 none is a rounding outside."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (12, 6))
    x[:4, :3] = [0.0, 1.0, 0.98]
    y, weight = np.arange(12) % 2, rng.normal(size=6)
    logits = lambda x: jnp.stack([jnp.asarray(weight, x.dtype) @ x, jnp.zeros((), x.dtype)])
    attack = functools.partial(
        pgd_attack, logits, radius=0.5, norm=norm, steps=60, step_size=0.5, clip=(0.0, 1.0), key=key
    )
    side = np.where(y == 0, -1.0, 1.0)
    wanted = [
        worst_in_the_box(a, s * weight, 0.5, norm, 0, 1) for a, s in zip(x, side, strict=True)
    ]
    plain = pgd_attack(logits, x, y, radius=0.5, norm=norm, steps=60, key=key)
    assert bool(jnp.any((plain < 0) | (plain > 1)))
    for dtype, run in ((np.float64, attack), (np.float64, jax.jit(attack)), (np.float32, attack)):
        moved = run(jnp.asarray(x, dtype), y)
        assert moved.dtype == dtype
        assert bool(jnp.all((moved >= 0) & (moved <= 1)))
        size = np.linalg.norm(np.asarray(moved) - x, ord=2 if norm == "l2" else np.inf, axis=1)
        assert np.all(size <= 0.5 * (1 + 1e-6))
        # Near its largest the margin is flat: places are told to the root of the rounding.
        np.testing.assert_allclose(moved, wanted, atol=1e-6 if dtype == np.float64 else 1e-3)


def test_accuracy_is_that_of_inputs_that_can_be(key):
    """A pixel at 0.1 of [0, 1] falls by 0.1 and no more: the class stays right."""
    logits = lambda x: jnp.stack([x[0] + 0.05, 0 * x[0]])
    x = jnp.array([[0.1], [0.5]])
    found = functools.partial(accuracy_under_attack, logits, x, jnp.zeros(2, int), radii=[0.3, 1.0])
    assert found(key=key).tolist() == [0.5, 0.0]
    assert found(clip=(0.0, 1.0), key=key).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        ((1.0, 0.0), r"`clip` must be a lower end and a higher one, got \(1.0, 0.0\)"),
        ((0.0, np.nan), "`clip` must be a lower end"),
        ((0.0, 1.0), "`x` must lie in `clip`, from 0.0 to 1.0; row 1 goes from 0.0 to 255.0"),
    ],
)
def test_a_box_that_the_inputs_are_not_in_is_refused_or_comes_out_as_nan(clip, message, key):
    x, y = jnp.array([[0.5, 0.5, 0.5], [0.0, 3.0, 255.0]]), jnp.zeros(2, int)
    with pytest.raises(ValueError, match=message):
        pgd_attack(linear, x, y, radius=1.0, clip=clip, key=key)
    if clip[0] < clip[1]:
        moved = jax.jit(lambda x: pgd_attack(linear, x, y, radius=1.0, clip=clip, key=key))(x)
        assert jnp.isfinite(moved).all(axis=1).tolist() == [True, False]
