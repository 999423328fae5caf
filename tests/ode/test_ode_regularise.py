"""Penalties against their closed forms."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.ode import (
    Bosh3,
    JacobianNorm,
    KineticEnergy,
    Regularised,
    TaylorEnergy,
    solve,
    state_norm,
)

TIGHT = {"rtol": 1e-10, "atol": 1e-10, "norm": state_norm}


def integral(f, penalty, y0, args=None):
    field = Regularised(f, (penalty,))
    _, (value,) = solve(field, field.start(y0), [0.0, 1.0], args, **TIGHT).ys
    return value[-1]


@pytest.mark.parametrize(
    "penalty", [KineticEnergy(), TaylorEnergy(1), TaylorEnergy(2), TaylorEnergy(4)]
)
def test_exponential_growth(penalty):
    """All derivatives of z' = z are z, so every R_K is z0^2 (e^2 - 1) / 2."""
    y0 = jnp.array([1.5, -0.5])
    want = np.mean(np.square(y0)) * (np.exp(2) - 1) / 2
    np.testing.assert_allclose(integral(lambda t, y, args: y, penalty, y0), want, rtol=1e-8)


def test_straight_lines_cost_nothing_beyond_the_first_order():
    f = lambda t, y, args: jnp.array([3.0, -1.0])
    y0 = jnp.zeros(2)
    assert float(integral(f, TaylorEnergy(2), y0)) == 0.0
    np.testing.assert_allclose(integral(f, KineticEnergy(), y0), 5.0, rtol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_rotation(order):
    """For z' = w J z, R_K = w^(2K) |z|^2 T / D."""
    w, y0 = 2.0, jnp.array([0.6, 0.8])
    f = lambda t, y, args: w * jnp.array([-y[1], y[0]])
    np.testing.assert_allclose(
        integral(f, TaylorEnergy(order), y0), w ** (2 * order) / 2, rtol=1e-8
    )


def test_faster_rotation_costs_more():
    """As R_K does, the number of evaluations rises with the frequency."""
    f = lambda t, y, w: w * jnp.array([-y[1], y[0]])
    y0 = jnp.array([0.6, 0.8])
    nfe = [int(solve(f, y0, [0.0, 1.0], jnp.array(w)).stats.nfe) for w in (1.0, 4.0, 16.0)]
    assert nfe == sorted(set(nfe))


def test_both_methods_give_one_penalty_at_orders_2_to_7(key):
    a = jr.normal(key, (3, 3))
    f = lambda t, y, a: jnp.tanh(a @ y + t)
    y = jnp.array([0.3, -0.8, 1.1])
    taylor, nested = (
        jax.jit(
            lambda t, method=method: [
                TaylorEnergy(k, method)(f, t, y, a, f(t, y, a)) for k in range(2, 8)
            ]
        )(jnp.array(0.4))
        for method in ("taylor", "nested")
    )
    np.testing.assert_allclose(taylor, nested, rtol=1e-10)


def test_jacobian_norm(key):
    """For f = A y the penalty is |e A|^2 / D, and its mean over probes is |A|_F^2 / D."""
    a = jr.normal(key, (3, 3))
    f = lambda t, y, a: a @ y
    probes = jr.rademacher(jr.fold_in(key, 1), (4096, 3), dtype=float)
    one = integral(f, JacobianNorm(probes[0]), jnp.ones(3), a)
    np.testing.assert_allclose(one, jnp.mean((probes[0] @ a) ** 2), rtol=1e-9)
    rate = lambda e: JacobianNorm(e)(f, jnp.array(0.0), jnp.ones(3), a, a @ jnp.ones(3))
    rates = jax.vmap(rate)(probes)
    band = 4 * jnp.std(rates) / np.sqrt(len(rates))
    assert abs(jnp.mean(rates) - jnp.mean(jnp.sum(a**2, axis=0))) < band


def test_gradient_of_a_penalty(key):
    """The gradient of R_2 through the solve, against finite differences."""
    a = jr.normal(key, (2, 2)) / 2
    value = jax.jit(
        lambda a: integral(
            lambda t, y, a: jnp.tanh(a @ y) * (1 + t), TaylorEnergy(2), jnp.array([1.0, -0.5]), a
        )
    )
    direction = jr.normal(jr.fold_in(key, 1), (2, 2))
    slope = (value(a + 1e-5 * direction) - value(a - 1e-5 * direction)) / 2e-5
    np.testing.assert_allclose(jnp.sum(jax.grad(value)(a) * direction), slope, rtol=1e-6)


def test_penalties_do_not_move_the_state():
    f = lambda t, y, args: jnp.sin(3 * y)
    field = Regularised(f, (TaylorEnergy(3), KineticEnergy()))
    y0 = jnp.array([0.3, 2.0])
    plain = solve(f, y0, [0.0, 2.0])
    y, _ = solve(field, field.start(y0), [0.0, 2.0], norm=state_norm).ys
    np.testing.assert_allclose(y, plain.ys, rtol=1e-13)


def test_per_sample_penalties():
    y0 = jnp.array([[1.0], [2.0]])
    field = Regularised(lambda t, y, args: y, (KineticEnergy(),))
    start = jax.vmap(field.start)(y0)
    _, (value,) = solve(field, start, [0.0, 1.0], stepping="per_sample", **TIGHT).ys
    np.testing.assert_allclose(value[:, -1], y0[:, 0] ** 2 * (np.exp(2) - 1) / 2, rtol=1e-8)


@pytest.mark.parametrize(
    ("solver", "node", "weight"), [(None, 8 / 9, -2187 / 6784), (Bosh3(), 3 / 4, 4 / 9)]
)
def test_a_long_step_of_dopri5_takes_a_square_for_less_than_nothing(solver, node, weight):
    """A pulse at one node of the method is worth what the tableau says, and Bosh3's are above 0."""
    pulse = lambda t, y, args: jnp.exp(-jnp.square((t - node) / 0.01)) * jnp.ones_like(y)
    field = Regularised(pulse, (KineticEnergy(),))
    start = field.start(jnp.zeros(2))
    _, (value,) = solve(field, start, [0.0, 1.0], steps=1, solver=solver, norm=state_norm).ys
    np.testing.assert_allclose(value[-1], weight, rtol=1e-6)


def test_order_must_be_positive():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        TaylorEnergy(0)
