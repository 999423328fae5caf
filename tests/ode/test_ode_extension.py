"""An adjoint and a tableau of a user's own, written from public names alone."""

from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import pullback as pb


class Unrolled(pb.ode.AbstractAdjoint):
    """Discretise, then optimise: the steps again, in one scan that JAX differentiates.

    It keeps them all, and works with every stepping and at any times.
    """

    def primal(self, method, field, y0, ts, params):
        return pb.ode.integrate(method, field, y0, ts, params)

    def forward(self, method, field, y0, ts, params):
        everything = pb.ode.Recorder(method.max_steps, 1)
        path = pb.ode.integrate(method, field, y0, ts, params, everything)
        return path, (y0, path.record, path.accepted)

    def backward(self, method, field, residuals, ts, params, cotangent, *, times_too):
        y0, record, accepted = residuals
        starts, sizes = lax.stop_gradient((record.ring_t, record.h))

        def ys(y0, params):
            def step(y, at):
                t, h = at
                ks, y1 = pb.ode.stages(method.tableau, field, t, h, y, field(t, y, params), params)
                inside = lambda t1: (t1 > t) & (t1 <= t + h) & (h > 0)
                value = lambda t1: pb.ode.interpolation(method.tableau, t, h, y, y1, ks, t1)
                return y1, jax.vmap(lambda t1: jnp.where(inside(t1), value(t1), 0.0))(ts)

            _, rows = lax.scan(step, y0, (starts, sizes))
            return jnp.sum(rows, axis=0) + jnp.where(ts == ts[0], 1.0, 0.0)[:, None] * y0[None]

        _, pull = jax.vjp(ys, y0, params)
        stats = pb.ode.Stats(method.tableau.evaluations * accepted, accepted, 0 * accepted)
        y0_bar, params_bar = pull(cotangent)
        return pb.ode.Pulled(y0_bar, jnp.zeros_like(ts), params_bar, stats)


A = np.array([1 / 2]), np.array([0.0, 3 / 4])
B, C = np.array([2, 3, 4]) / 9, np.array([1 / 2, 3 / 4])


class Ralston3(diffrax.AbstractERK):
    """Ralston's method of order 3, beside the midpoint method."""

    tableau: ClassVar = diffrax.ButcherTableau(
        a_lower=A, b_sol=B, b_error=B - np.array([0.0, 1.0, 0.0]), c=C
    )
    interpolation_cls: ClassVar = diffrax.ThirdOrderHermitePolynomialInterpolation.from_k

    def order(self, terms):
        return 3


class NoEstimate(Ralston3):
    """The same, of an error that nobody estimates."""

    tableau: ClassVar = diffrax.ButcherTableau(a_lower=A, b_sol=B, b_error=np.zeros(3), c=C)


RATE, Y0, TS = jnp.array(0.7), jnp.array([2.0, -1.0]), jnp.array([0.0, 0.0, 0.4, 1.0, 1.0])


def growth(t, y, rate):
    return rate * y * jnp.cos(t)


def loss(ys):
    return jnp.sum(jnp.arange(1.0, 6.0)[:, None] * jnp.sin(ys))


def right(y0, rate):
    return loss(y0[None] * jnp.exp(rate * jnp.sin(TS))[:, None])


@pytest.mark.parametrize("solver", [None, Ralston3()], ids=["dopri5", "ralston3"])
@pytest.mark.parametrize("adjoint", [Unrolled(), pb.ode.Replay(), pb.ode.Backsolve()], ids=repr)
def test_gradients(adjoint, solver):
    """By an adjoint and a solver, each of them ours or the user's."""

    def found(y0, rate):
        options: dict[str, Any] = {"rtol": 1e-7, "atol": 1e-7, "max_steps": 400}
        return loss(
            pb.ode.solve(growth, y0, TS, rate, solver=solver, adjoint=adjoint, **options).ys
        )

    eager = jax.value_and_grad(found, (0, 1))
    want = jax.tree.leaves(jax.value_and_grad(right, (0, 1))(Y0, RATE))
    for run in (eager, jax.jit(eager)):
        for g, w in zip(jax.tree.leaves(run(Y0, RATE)), want, strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-5)


def test_a_tableau_runs_in_our_own_loop_and_keeps_its_order():
    ours = pb.ode.tableau_of(Ralston3())
    assert ours is not None
    assert (ours.stages, ours.order, ours.fsal) == (3, 3, False)

    def error(steps, adjoint=None):
        solver = Ralston3()
        sol = pb.ode.solve(
            lambda t, y, a: a * y, Y0, [0.0, 1.0], RATE, solver=solver, steps=steps, adjoint=adjoint
        )
        assert adjoint is not None or sol.stats.nfe == 3 * steps
        return float(jnp.max(jnp.abs(sol.ys[-1] - Y0 * jnp.exp(RATE))))

    assert np.log2(error(8) / error(16)) == pytest.approx(3, abs=0.2)
    assert error(8) == pytest.approx(error(8, diffrax.DirectAdjoint()), rel=1e-6)


@pytest.mark.parametrize("override", ["init", "step", "func", "error_order"])
def test_a_solver_that_overrides_a_step_is_diffrax_s_to_run(override):
    kind = type("Own", (Ralston3,), {override: getattr(diffrax.Heun, override)})
    assert pb.ode.tableau_of(kind()) is None


def test_a_method_without_an_estimate_needs_steps():
    with pytest.raises(ValueError, match=r"no error estimate.*give steps=N"):
        pb.ode.solve(growth, Y0, TS, RATE, solver=NoEstimate())
    assert pb.ode.solve(growth, Y0, TS, RATE, solver=NoEstimate(), steps=2).ok


class Wrong(Unrolled):
    """Returns what `change` makes of the gradient."""

    change: Any = eqx.field(static=True)

    def backward(self, *args, **kwargs):
        return self.change(super().backward(*args, **kwargs))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p._replace(y0=p.y0[0]), r"Pulled.y0 like y0, float64\[2\], got float64\[\]"),
        (lambda p: p._replace(ts=p.ts[1:]), r"Pulled.ts like ts, float64\[5\], got float64\[4\]"),
        (lambda p: p._replace(params=None), "Pulled.params like params"),
        (lambda p: tuple(p), "Wrong.backward must return pullback.ode.Pulled, got tuple"),
    ],
)
def test_a_wrong_gradient_is_named(change, message):
    adjoint = Wrong(change)
    with pytest.raises((ValueError, TypeError), match=message):
        jax.grad(lambda y0: loss(pb.ode.solve(growth, y0, TS, RATE, adjoint=adjoint).ys))(Y0)
