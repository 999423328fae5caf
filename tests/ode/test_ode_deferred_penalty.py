"""Deferred penalties: its gradient against closed forms and against the full solve."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from pullback.nn import ConcatMLP
from pullback.ode import (
    AbstractPenalty,
    Backsolve,
    Bosh3,
    DeferredPenalty,
    Euler,
    Heun,
    KineticEnergy,
    Regularised,
    Replay,
    TaylorEnergy,
    solve,
    state_norm,
    vjp,
)

TIGHT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9, "norm": state_norm}


@pytest.mark.parametrize("adjoint", [Replay(), Backsolve()])
@pytest.mark.parametrize("order", [1, 3])
def test_closed_form(adjoint, order):
    """For z' = a z: z(T) = z0 e^(aT), and R_K = a^(2K) z0^2 (e^(2aT) - 1) / (2a)."""

    def found(a, z0, end):
        field = Regularised(lambda t, z, a: a * z, (TaylorEnergy(order),))
        ts = jnp.stack([0.0, end])
        z, (energy,) = solve(
            field, field.start(z0), ts, a, adjoint=DeferredPenalty(adjoint), **TIGHT
        ).ys
        return z[-1] + 0.7 * energy[-1]

    def exact(a, z0, end):
        energy = a ** (2 * order) * z0**2 * jnp.expm1(2 * a * end) / (2 * a)
        return z0 * jnp.exp(a * end) + 0.7 * energy

    at = jnp.array(0.8), jnp.array(1.3), jnp.array(1.1)
    got = jax.jit(jax.grad(found, (0, 1, 2)))(*at)
    np.testing.assert_allclose(got, jax.grad(exact, (0, 1, 2))(*at), rtol=1e-7)


@pytest.fixture(scope="module")
def net():
    return ConcatMLP(3, 8, 1, zero_last=False, key=jr.key(3))


Y0 = jr.normal(jr.key(4), (4, 3))


def loss(net, y0, adjoint, order=2, ts=(0.0, 1.0), stepping="joint", **options):
    joint = stepping == "joint"
    f = (lambda t, y, net: jax.vmap(net, (None, 0))(t, y)) if joint else lambda t, y, net: net(t, y)
    field = Regularised(f, (TaylorEnergy(order), KineticEnergy()))
    start = field.start(y0) if joint else jax.vmap(field.start)(y0)
    own = {"norm": state_norm, "stepping": stepping, "adjoint": adjoint, "solver": Heun()}
    # Every output counts, those on the way too.
    y, penalties = solve(field, start, jnp.asarray(ts), net, **own | options).ys
    return jnp.sum(jnp.sin(y)) + 0.3 * sum(jnp.sum(r) for r in penalties)


def gradient(net, adjoint, **options):
    grad = eqx.filter_jit(eqx.filter_grad(lambda both: loss(both[0], both[1], adjoint, **options)))
    return ravel_pytree(grad((net, Y0)))[0]


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 3, "order": 3},
        {"steps": 40, "solver": Euler()},
        {"ts": (1.0, 0.7, 0.0), "stepping": "per_sample"},
    ],
    ids=["fixed", "recomputed", "adaptive, with an output on the way"],
)
def test_with_replay_the_gradient_is_that_of_the_full_solve_to_rounding(net, options):
    deferred, full = (
        gradient(net, adjoint, **options) for adjoint in (DeferredPenalty(), Replay())
    )
    assert jnp.linalg.norm(deferred - full) < 1e-13 * jnp.linalg.norm(full)


def test_with_backsolve_it_is_that_of_the_full_solve_to_tolerance(net):
    options = {"rtol": 1e-7, "atol": 1e-7, "solver": Bosh3()}
    deferred = gradient(net, DeferredPenalty(Backsolve()), **options)
    full = gradient(net, Replay(), **options)
    assert jnp.linalg.norm(deferred - full) < 1e-5 * jnp.linalg.norm(full)


def test_hessian_vector_product_forward_over_reverse(net):
    push = lambda adjoint: jax.jvp(
        lambda y0: jax.grad(loss, 1)(net, y0, adjoint, steps=2),
        (Y0,),
        (jnp.ones_like(Y0),),
    )[1]
    deferred, full = (
        jax.jit(push, static_argnums=0)(adjoint) for adjoint in (DeferredPenalty(), Replay())
    )
    np.testing.assert_allclose(deferred, full, rtol=1e-10)


def test_vjp_tells_what_it_costs():
    field = Regularised(lambda t, y, a: a * y, (KineticEnergy(),))
    start, args = field.start(jnp.ones(2)), jnp.array(0.5)
    answers = []
    for adjoint in (DeferredPenalty(), Replay()):
        options = {"norm": state_norm, "adjoint": adjoint}
        solution, pull = vjp(field, start, [0.0, 1.0], args, **options)
        cotangent = jax.tree.map(jnp.ones_like, solution.ys)
        grads, stats = pull(cotangent)
        answers.append((grads.args, grads.y0, grads.ts, solution.stats, stats))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13), *answers)


class Cubic(AbstractPenalty):
    """A penalty with an operation that occurs nowhere else."""

    def __call__(self, f, t, y, args, dy):
        return jnp.sum(jnp.cbrt(y))


def test_the_forward_pass_leaves_the_penalty_out():
    field = Regularised(lambda t, y, args: -y, (Cubic(),))

    def run(y0, adjoint):
        return solve(
            field, field.start(y0), [0.0, 1.0], norm=state_norm, adjoint=adjoint, throw=False
        ).ys

    def program(function, adjoint):
        return (
            jax.jit(lambda y0: function(y0, adjoint)).lower(jnp.ones(2)).compile().as_text() or ""
        )

    assert "cbrt" in program(run, Replay())
    assert "cbrt" not in program(run, DeferredPenalty())
    # The forward half of a gradient leaves it out too: only steps that are replayed have it.
    residuals = lambda y0, adjoint: jax.vjp(lambda y0: run(y0, adjoint), y0)[0]
    assert "cbrt" not in program(residuals, DeferredPenalty())

    y, (value,) = run(jnp.ones(2), DeferredPenalty())
    plain = solve(lambda t, y, args: -y, jnp.ones(2), [0.0, 1.0])
    np.testing.assert_allclose(y, plain.ys, rtol=1e-14)
    assert value.tolist() == [0.0, 0.0]
    # With or without a gradient, the value is the same.
    value_and_grad = jax.value_and_grad(lambda y0: run(y0, DeferredPenalty())[1][0][-1])
    value, slope = value_and_grad(jnp.ones(2))
    assert value == 0
    # The integral of cbrt(y0 e^-t) is 3 (1 - e^(-1/3)) cbrt(y0), whose slope at 1 is a third; the
    # tolerance of the solve is 1e-4.
    np.testing.assert_allclose(slope, -np.expm1(-1 / 3), rtol=3e-4)


def test_training_without_a_penalty_is_bit_identical_to_plain_training(net):
    f = lambda t, y, net: jax.vmap(net, (None, 0))(t, y)
    optimiser = optax.adam(1e-2)

    def with_penalties(penalties, net):
        field = Regularised(f, penalties)
        options = {"steps": 3, "solver": Heun(), "norm": state_norm, "adjoint": DeferredPenalty()}
        y, rs = solve(field, field.start(Y0), [0.0, 1.0], net, **options).ys
        return jnp.sum(jnp.sin(y[-1])) + sum((0.0 * r[-1] for r in rs), jnp.zeros(()))

    def plain(net):
        return jnp.sum(jnp.sin(solve(f, Y0, [0.0, 1.0], net, solver=Heun(), steps=3).ys[-1]))

    def train(loss):
        gradient = eqx.filter_jit(eqx.filter_grad(loss))
        trained, state = net, optimiser.init(eqx.filter(net, eqx.is_array))
        for _ in range(5):
            with jax.numpy_dtype_promotion("standard"):
                updates, state = optimiser.update(gradient(trained), state)
            trained = eqx.apply_updates(trained, updates)
        return np.asarray(ravel_pytree(trained)[0])

    want = train(plain)
    assert train(functools.partial(with_penalties, ())).tobytes() == want.tobytes()
    # With a weight of zero the program is another one, which may round in another way.
    weight_0 = train(functools.partial(with_penalties, (TaylorEnergy(2),)))
    np.testing.assert_allclose(weight_0, want, rtol=1e-12, atol=1e-13)


def test_it_rides_along_with_a_state_of_any_shape():
    """The penalty of a part of the state, beside a density that is integrated in full."""

    class OfThePoints(AbstractPenalty):
        def __call__(self, f, t, y, args, dy):
            return jnp.mean(jnp.square(dy[0]))

    f = lambda t, state, a: (a * state[0], -a * jnp.ones(()))
    field = Regularised(f, (OfThePoints(),))

    def end(a):
        start = field.start((jnp.ones(2), jnp.zeros(())))
        (_, log_density), (energy,) = solve(
            field, start, [0.0, 1.0], a, adjoint=DeferredPenalty(), **TIGHT
        ).ys
        return log_density[-1] + energy[-1], log_density[-1]

    (value, log_density), slope = jax.value_and_grad(end, has_aux=True)(jnp.array(0.5))
    np.testing.assert_allclose([value, log_density], [-0.5, -0.5], rtol=1e-8)
    # The integral of a^2 e^(2at) is a (e^(2a) - 1) / 2.
    np.testing.assert_allclose(slope, -1 + np.expm1(1.0) / 2 + 0.5 * np.exp(1.0), rtol=1e-7)


def test_what_it_cannot_do_is_named():
    with pytest.raises(
        ValueError, match=r"must be Replay\(\) or Backsolve\(\), got DeferredPenalty"
    ):
        DeferredPenalty(DeferredPenalty())
    decay = lambda t, y, args: jax.tree.map(jnp.negative, y)
    with pytest.raises(ValueError, match="takes a state"):
        solve(decay, jnp.ones(2), [0.0, 1.0], adjoint=DeferredPenalty())
    with pytest.raises(ValueError, match="a rate of f depends on it"):
        solve(decay, (jnp.ones(2), jnp.ones(())), [0.0, 1.0], adjoint=DeferredPenalty())
