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
        ({"radius": -1.0}, "`radius` must be 0 or more, got -1"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, message, key):
    settings = {"radius": 1.0, "key": key, **wrong}
    attack = inspect.unwrap(pgd_attack)  # as it is where types are not checked
    with pytest.raises(ValueError, match=message):
        attack(linear, jnp.ones((1, 3)), jnp.zeros(1, int), **settings)
