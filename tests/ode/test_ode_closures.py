"""What a field reads beside its arguments may change between two solves."""

import functools
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.ode import SDIRK, Backsolve, solve, vjp

RATE = jnp.array([1.0])


class Plain:
    """An object that JAX does not know."""

    def __init__(self, rate):
        self.rate = rate

    def field(self, t, y, args):
        return -self.rate * y


class Module(eqx.Module):
    rate: jax.Array

    def __call__(self, t, y, args):
        return -self.rate * y


def from_dict():
    held: dict[str, Any] = {"rate": None}
    return lambda t, y, args: -held["rate"] * y, lambda rate: held.update(rate=rate)


def from_object():
    held: Any = Plain(None)
    return lambda t, y, args: -held.rate * y, lambda rate: setattr(held, "rate", rate)


def from_bound_method():
    held: Any = Plain(None)
    return held.field, lambda rate: setattr(held, "rate", rate)


def from_partial():
    held: Any = Plain(None)
    f = functools.partial(lambda held, t, y, args: -held.rate * y, held)
    return f, lambda rate: setattr(held, "rate", rate)


def from_list():
    held: list[Any] = [None]
    return lambda t, y, args: -held[0] * y, lambda rate: held.__setitem__(0, rate)


def from_global():
    def set_it(rate):
        global RATE
        RATE = rate

    return lambda t, y, args: -RATE * y, set_it


def behind_a_custom_rule():
    """A program with a rule that no jaxpr shows is told apart by its function."""
    held: list[Any] = [None]
    return lambda t, y, args: -jax.nn.relu(held[0]) * y, lambda rate: held.__setitem__(0, rate)


PLACES = [
    from_dict,
    from_object,
    from_bound_method,
    from_partial,
    from_list,
    from_global,
    behind_a_custom_rule,
]
WAYS = [
    {},
    {"steps": 8, "adjoint": Backsolve()},
    {"solver": SDIRK(2), "steps": 8},
    {"adjoint": diffrax.RecursiveCheckpointAdjoint(), "max_steps": 64},
]


@pytest.mark.parametrize(
    ("place", "way"), [(place, {}) for place in PLACES] + [(from_object, way) for way in WAYS[1:]]
)
def test_an_array_that_is_replaced_is_read_and_differentiated(place, way):
    f, put = place()

    def end(rate):
        put(rate)
        return solve(f, jnp.ones(1), [0.0, 1.0], **way).ys[-1, 0]

    for rate in (1.0, 2.0):
        rate = jnp.array([rate])
        np.testing.assert_allclose(end(rate), np.exp(-rate[0]), rtol=1e-2)
        # Eagerly: the field is the same object at each call, and holds a tracer at the second.
        np.testing.assert_allclose(jax.grad(end)(rate), -np.exp(-rate), rtol=2e-2)
    put(jnp.ones(1))


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(way) or "default")
def test_a_numpy_array_changed_in_place_is_read(way):
    rate, number = np.ones(1), [1.0]
    f = lambda t, y, args: -rate * number[0] * y
    for _ in range(2):
        end = solve(f, jnp.ones(1), [0.0, 1.0], **way).ys[-1]
        np.testing.assert_allclose(end, np.exp(-rate * number[0]), rtol=2e-2)
        rate[0] += 1.0
        number[0] += 0.5


@pytest.mark.parametrize("place", [from_dict, from_bound_method], ids=lambda place: place.__name__)
def test_vjp_reads_what_was_replaced(place):
    f, put = place()
    for rate in (1.0, 2.0):
        put(jnp.array([rate]))
        sol, pull = vjp(f, jnp.ones(1), [0.0, 1.0], rtol=1e-6)
        np.testing.assert_allclose(sol.ys[-1], np.exp(-rate), rtol=1e-5)
        put(jnp.array([7.0]))
        # The backward pass is that of the solve, whatever has happened since.
        np.testing.assert_allclose(pull(jnp.array([[0.0], [1.0]]))[0].y0, np.exp(-rate), rtol=1e-5)


def test_a_module_that_closes_over_an_array_is_differentiated_by_both():
    held = [jnp.array([3.0])]

    class Closing(Module):
        def __call__(self, t, y, args):
            return -self.rate * held[0] * y

    def end(rate, other):
        held[0] = other
        return solve(Closing(rate), jnp.ones(1), [0.0, 1.0], rtol=1e-8, atol=1e-8).ys[-1, 0]

    for _ in range(2):
        by_rate, by_other = jax.grad(end, (0, 1))(jnp.array([2.0]), jnp.array([0.5]))
        np.testing.assert_allclose(by_rate, -0.5 * np.exp(-1), rtol=1e-6)
        np.testing.assert_allclose(by_other, -2.0 * np.exp(-1), rtol=1e-6)


def test_a_fresh_function_that_computes_the_same_compiles_nothing():
    from pullback.ode._run import run

    compiled = lambda: run._cached._cache_size()

    def end(rate):
        return solve(lambda t, y, args: -rate * y, jnp.ones(1), [0.0, 1.0]).ys[-1]

    end(jnp.array([1.0]))
    before = compiled()
    np.testing.assert_allclose(end(jnp.array([2.0])), np.exp(-2), rtol=1e-3)
    assert compiled() == before


@pytest.mark.parametrize("way", [*WAYS[:2], WAYS[3]])
def test_a_constant_field_is_differentiated(way):
    """The value of such a program is a scalar of NumPy's."""
    end = lambda y: solve(lambda t, y, args: np.ones(()) * 2.0, y, [0.0, 1.0], **way).ys[-1]
    value, slope = jax.value_and_grad(end)(jnp.array(1.0))
    np.testing.assert_allclose((value, slope), (3.0, 1.0), rtol=1e-6)
