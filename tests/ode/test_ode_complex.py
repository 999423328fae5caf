"""Complex states: closed forms of an oscillator and of a driven two-level system."""

from functools import partial
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.ode import Backsolve, Replay, solve, vjp

W, START, TS = jnp.array(3.0), jnp.array([1.0 + 0.5j, -0.3j]), jnp.array([0.0, 0.4, 1.1])
TIGHT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9}
WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "per sample": {"stepping": "per_sample"},
    "backsolve": {"adjoint": Backsolve()},
}
turning = lambda t, y, w: jax.lax.complex(0 * w, w) * y


def spun(way, w, y0, ts):
    ys = solve(turning, y0, ts, w, **TIGHT, **WAYS[way]).ys
    return ys.T if "per sample" in way else ys


def exact(w, y0, ts):
    phase = w * (ts - ts[0])
    return y0[None] * jnp.exp(jax.lax.complex(0 * phase, phase))[:, None]


@pytest.mark.parametrize("way", WAYS)
def test_an_oscillator_and_its_derivatives(way):
    """y = y0 exp(i w t): the value, the gradients by JAX's convention, and forward mode."""
    weights = jnp.array([[0.3 - 1j, 1.0], [0.2, 1j], [-0.7 + 0.1j, 0.5]])

    @partial(jax.jit, static_argnums=0)
    def found(f, w, y0, ts):
        def loss(w, y0, ts):
            return jnp.real(jnp.sum(weights * f(w, y0, ts) ** 2))

        along = jax.jvp(lambda w, y0: f(w, y0, ts), (w, y0), (W, START))[1]
        return f(w, y0, ts), along, jax.grad(loss, (0, 1, 2))(w, y0, ts)

    got, want = (found(f, W, START, TS) for f in (partial(spun, way), exact))
    for g, v in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert g.dtype == v.dtype
        np.testing.assert_allclose(g, v, rtol=1e-6, atol=1e-6)


def test_a_solver_that_diffrax_runs():
    """Forty steps of order three, whose error is of order 1e-5."""
    solved = lambda w: solve(turning, START[0], [0.0, 1.0], w, solver=diffrax.Kvaerno3(), steps=40)
    got, slope = jax.jit(lambda w: jax.jvp(lambda w: solved(w).ys[-1], (w,), (1.0,)))(W)
    np.testing.assert_allclose(got, START[0] * np.exp(3j), atol=1e-4)
    np.testing.assert_allclose(slope, 1j * START[0] * np.exp(3j), atol=2e-4)


def test_two_levels_in_a_resonant_field_go_up_and_down():
    """Rabi: the upper level is taken with sin^2(omega t / 2), and so in a tree with real parts."""

    def field(t, state, omega):
        psi, drift = state
        hamiltonian = 0.5 * jax.lax.complex(0 * omega, omega) * jnp.array([[0, 1], [1, 0j]])
        return -hamiltonian @ psi, jnp.sum(jnp.abs(psi) ** 2) + 0 * drift

    def upper(omega):
        start = jnp.array([1.0 + 0j, 0.0]), jnp.array(0.0)
        psi, norm = solve(field, start, [0.0, 0.5, 2.0], omega, **TIGHT).ys
        return jnp.abs(psi[:, 1]) ** 2, norm

    omega, ts = jnp.array(1.7), jnp.array([0.0, 0.5, 2.0])
    (got, norm), slope = jax.jit(lambda omega: (upper(omega), jax.jacrev(upper)(omega)[0]))(omega)
    np.testing.assert_allclose(got, jnp.sin(omega * ts / 2) ** 2, atol=1e-8)
    np.testing.assert_allclose(norm, ts, rtol=1e-7)
    np.testing.assert_allclose(slope, ts * jnp.sin(omega * ts) / 2, atol=1e-7)


def test_by_complex_parameters_and_through_vjp():
    """The gradient by a complex rate a of Re y(1), from args and a closure, and of `vjp`."""
    a = jnp.array(-0.4 + 2j)
    end = lambda a: solve(lambda t, y, args: a * y, 1.0 + 0j, [0.0, 1.0], **TIGHT).ys[-1]
    want = jax.grad(lambda a: jnp.real(jnp.exp(a)))(a)
    np.testing.assert_allclose(jax.grad(lambda a: jnp.real(end(a)))(a), want, rtol=1e-7)
    _, pull = vjp(lambda t, y, a: a * y, 1.0 + 0j, [0.0, 1.0], a, **TIGHT)
    grads, _ = pull(jnp.array([0.0, 1.0 + 0j]))
    np.testing.assert_allclose(grads.args, want, rtol=1e-7)
    np.testing.assert_allclose(grads.y0, jnp.exp(a), rtol=1e-7)


@pytest.mark.parametrize("adjoint", [Replay(), Backsolve()], ids=["replay", "backsolve"])
def test_steps_go_by_the_modulus(adjoint):
    """A rotation by any phase takes the same steps, and as many as its modulus says."""
    ends = lambda y0: solve(turning, y0, [0.0, 5.0], W, adjoint=adjoint).stats.accepted
    counts = [int(ends(jnp.array(np.exp(1j * phase)))) for phase in (0.0, 0.4, np.pi / 2)]
    assert len(set(counts)) == 1


def test_single_precision_and_what_is_refused(x32):
    sol = solve(turning, jnp.array(1j), [0.0, 1.0], jnp.array(2.0))
    assert sol.ys.dtype == jnp.complex64
    np.testing.assert_allclose(sol.ys[-1], 1j * np.exp(2j), rtol=1e-3)
    with pytest.raises(ValueError, match=r"f must return .* give y0 as a complex array"):
        solve(lambda t, y, args: 1j * y, jnp.array(1.0), [0.0, 1.0])
    with pytest.raises(TypeError, match="one dtype, got float16, float32"):
        solve(turning, (jnp.array(1j), jnp.array(1.0, jnp.float16)), [0.0, 1.0], 2.0)
