"""Every adjoint in every mode: right against a closed form, or an error that names others."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.ode import Backsolve, DeferredPenalty, Replay, solve, state_norm

AT = jnp.array([0.7, 1.3])
ALONG = jnp.array([0.3, -1.0])
MODES = {
    "grad": lambda f: jax.grad(f)(AT),
    "jvp": lambda f: jax.jvp(f, (AT,), (ALONG,))[1],
    "jvp of grad": lambda f: jax.jvp(jax.grad(f), (AT,), (ALONG,))[1],
    "grad of grad": lambda f: jax.grad(lambda x: jax.grad(f)(x) @ ALONG)(AT),
    "hessian": lambda f: jax.hessian(f)(AT),
    "jvp of jvp": lambda f: jax.jacfwd(jax.jacfwd(f))(AT),
}
# As the table in docs/choosing/adjoints.md has it.
OURS = {"grad", "jvp", "jvp of grad", "hessian", "jvp of jvp"}
ADJOINTS = {
    "Replay": (Replay(), OURS),
    "Backsolve": (Backsolve(), OURS),
    "DeferredPenalty": (DeferredPenalty(), OURS),
    "Direct": (diffrax.DirectAdjoint(), set(MODES)),
    "RecursiveCheckpoint": (diffrax.RecursiveCheckpointAdjoint(), {"grad", "jvp"}),
    "Diffrax's Backsolve": (diffrax.BacksolveAdjoint(), {"grad", "jvp"}),
    "ForwardMode": (diffrax.ForwardMode(), {"jvp", "jvp of jvp"}),
    "Kvaerno3": (Replay(), {"grad", "jvp"}),
}


def exact(x):
    """From y' = a y: y(1)^2."""
    a, y0 = x
    return (y0 * jnp.exp(a)) ** 2


def solved(name):
    adjoint, _ = ADJOINTS[name]
    options: dict[str, Any] = {"rtol": 1e-8, "atol": 1e-8, "throw": False, "adjoint": adjoint}

    def f(x):
        a, y0 = x
        if name == "DeferredPenalty":
            field = lambda t, s, a: (a * s[0], s[0] ** 2)
            y, _ = solve(field, (y0, 0 * y0), [0.0, 1.0], a, norm=state_norm, **options).ys
        else:
            solver = diffrax.Kvaerno3() if name == "Kvaerno3" else None
            y = solve(lambda t, y, a: a * y, y0, [0.0, 1.0], a, solver=solver, **options).ys
        return y[-1] ** 2

    return f


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ADJOINTS)
def test_right_or_refused_by_name(name, mode):
    compiled = jax.jit(lambda: MODES[mode](solved(name)))
    if mode in ADJOINTS[name][1]:
        np.testing.assert_allclose(compiled(), MODES[mode](exact), rtol=1e-5)
        return
    for run in (compiled, lambda: MODES[mode](solved(name))):
        with pytest.raises((TypeError, RuntimeError), match=r"DirectAdjoint\(\)"):
            run()


def test_what_diffrax_does_not_differentiate_by():
    def end(t1):
        ts = jnp.stack([0 * t1, t1])
        adjoint = diffrax.BacksolveAdjoint()
        return solve(lambda t, y, args: y, jnp.array(1.0), ts, adjoint=adjoint).ys[-1]

    with pytest.raises(RuntimeError, match=r"no gradient by ts: take pb.ode.Backsolve\(\)"):
        jax.grad(end)(jnp.array(1.0))


@pytest.mark.parametrize("inner", [(0, 1), (0, 1, 2)], ids=["by y0", "by y0 and ts"])
@pytest.mark.parametrize("options", [{}, {"steps": 30}], ids=["adaptive", "fixed"])
@pytest.mark.parametrize("adjoint", [Replay(), Backsolve()], ids=["replay", "backsolve"])
def test_second_derivatives_by_the_times(adjoint, options, inner):
    """Of sum_i i sin(y(t_i)), with y' = a y cos t: whichever times are equal, and also all.

    By times inside a step they are those of the interpolation, of order three less than the solve:
    over 1,000 starts off by at most 8e-5 at a tolerance of 1e-10, where the last bit of a processor
    moves the steps, and by 5e-6 at 1e-12.
    """
    weigh = lambda ys: jnp.sum(jnp.arange(1.0, 1 + len(ys)) * jnp.sin(ys))

    def found(y0, rate, ts):
        field = lambda t, y, rate: rate * y * jnp.cos(t)
        how: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12, "throw": False, **options}
        return weigh(solve(field, y0, ts, rate, adjoint=adjoint, **how).ys)

    right = lambda y0, rate, ts: weigh(y0 * jnp.exp(rate * (jnp.sin(ts) - jnp.sin(ts[0]))))
    twice = lambda f: jax.jit(jax.jacfwd(jax.grad(f, inner), 2))
    got, want = twice(found), twice(right)
    for ts in [[0, 0, 1.0], [0, 0.6, 1], [0, 1, 1], [1, 1, 0.2], [0.3] * 3, [0, 1], [0.3] * 2]:
        at = jnp.array(0.8), jnp.array(1.2), jnp.asarray(ts, float)
        for g, w in zip(got(*at), want(*at), strict=True):
            np.testing.assert_allclose(g, w, atol=1e-4, err_msg=str(ts))
