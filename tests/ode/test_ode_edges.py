"""No rows, wrong cotangents, failed solves, norms that read what changes: nothing is silent."""

import inspect
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.ode import Backsolve, Result, solve, vjp

decay = lambda t, y, args: -y
TS = [0.0, 0.5, 1.0]


@pytest.mark.parametrize("solver", [None, diffrax.Kvaerno3()])
@pytest.mark.parametrize("stepping", ["joint", "per_sample"])
def test_no_rows(solver, stepping):
    """A batch of none is solved, and its parameters have a gradient of zero."""
    way: Any = {"solver": solver, "stepping": stepping}

    def total(rate):
        sol = solve(lambda t, y, a: -a * y, jnp.ones((0, 2)), TS, rate, **way)
        shapes = ((0, 3, 2), (0,)) if stepping == "per_sample" else ((3, 0, 2), ())
        assert (sol.ys.shape, sol.result.shape) == shapes
        return jnp.sum(sol.ys)

    for run in (jax.grad(total), jax.jit(jax.grad(total))):
        assert run(jnp.array(1.0)) == 0


@pytest.mark.parametrize(
    ("cotangent", "got"),
    [
        (jnp.ones(3), r"float64\[3\]"),
        (jnp.ones((4, 2)), r"float64\[4, 2\]"),
        (jnp.ones((3, 2), jnp.float32), r"float32\[3, 2\]"),
        (np.ones((3, 2), int), r"int64\[3, 2\]"),
        (1.0, "float"),
        ((jnp.ones((3, 2)),), r"\('float64\[3, 2\]',\)"),
    ],
)
def test_a_cotangent_of_another_shape_is_refused(cotangent, got):
    _, pull = vjp(decay, jnp.ones(2), TS)
    with pytest.raises(ValueError, match=rf"like Solution.ys, float64\[3, 2\], got {got}"):
        pull(cotangent)


@pytest.mark.parametrize("stepping", ["joint", "per_sample"])
def test_what_a_failed_solve_did_not_reach_has_no_cotangent(stepping):
    """`vjp` and the gradient of `solve` agree: the first row alone was reached."""
    y0 = jnp.array([jnp.nan, 1.0])
    way: Any = {"stepping": stepping}
    sol, pull = vjp(lambda t, y, args: jnp.ones_like(y), y0, TS, **way)
    assert int(sol.result.ravel()[0]) == Result.NON_FINITE
    found = pull(jnp.ones_like(sol.ys))[0].y0
    np.testing.assert_allclose(found, [1.0, 1.0 if stepping == "joint" else 3.0])


@pytest.mark.parametrize(
    "way",
    [{}, {"adjoint": Backsolve()}, {"solver": diffrax.Kvaerno3()}, {"stepping": "per_sample"}],
)
def test_a_norm_reads_what_changes(way):
    """A number, a NumPy array changed in place, and a tracer: each call goes by what they are."""
    scale, y0 = {"number": 1.0, "array": np.ones(1)}, jnp.ones((1, 1))
    norm = lambda x: jnp.max(jnp.abs(x)) * scale["number"] * jnp.asarray(scale["array"])[0]
    steps = lambda: int(solve(decay, y0, TS, norm=norm, **way).stats.accepted.sum())
    few = steps()
    scale["number"] = 1e4
    assert steps() > few
    scale["array"][:] = 1e-4
    assert steps() == few

    @jax.jit
    def compiled(weight):
        end = lambda y0: jnp.sum(
            solve(decay, y0, TS, norm=lambda x: weight * jnp.max(jnp.abs(x)), **way).ys.ravel()[-1]
        )
        return jax.grad(end)(y0)

    np.testing.assert_allclose(compiled(1.0), jnp.full((1, 1), jnp.exp(-1)), rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": lambda x: x}, r"norm must return one floating number, got float64\[2\]"),
        ({"norm": lambda x: 1}, r"norm must return one floating number, got int64\[\]"),
        ({"y0": 1}, r"got int64: use jnp.asarray\(y0, float\)"),
        ({"y0": True}, r"got bool: use jnp.asarray\(y0, float\)"),
        ({"y0": np.array(["a"])}, "floating arrays, got <U1"),
        ({"y0": [1.0, 2.0]}, r"a list; for a vector give y0=jnp.array\(...\)"),
        ({"ts": None}, "ts must be real numbers, got NoneType$"),
        ({"ts": [[0.0, 1.0], [0.0]]}, "as many in each row: repeat the last time"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {"f": decay, "y0": jnp.ones(2), "ts": TS} | change
    # What is added to an error of the user's own field is matched too.
    with pytest.raises((TypeError, ValueError), match=message):
        inspect.unwrap(solve)(**arguments)
