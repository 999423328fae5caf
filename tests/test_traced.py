"""A program is found again by what it computes, the rules of its derivatives included."""

import functools
from types import SimpleNamespace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback._program_key import _made_of, _plain
from pullback._traced import compiled, trace_call


@eqx.filter_jit
def call(traced, *inputs):
    return traced(*inputs)


def slope(f, x=2.0):
    """The derivative through a compiled program, as one takes it through a solver."""

    def run(x):
        return call(trace_call("f", lambda given, x: f(x), None, x, same_as=f), x)

    return float(jax.grad(run)(jnp.asarray(x)))


def by_jvp(read):
    """A function whose value says nothing of its derivative."""

    @jax.custom_jvp
    def f(x):
        return x * 1.0

    # The rule asks for the value, as most do, and so for itself.
    f.defjvp(lambda primals, tangents: (f(*primals), read() * tangents[0]))
    return f


def by_vjp(read):
    @jax.custom_vjp
    def f(x):
        return x * 1.0

    f.defvjp(lambda x: (f(x), None), lambda _, g: (read() * g,))
    return f


def by_fwd(read):
    @jax.custom_vjp
    def f(x):
        return x * 1.0

    f.defvjp(lambda x: (f(x), jnp.asarray(read())), lambda scale, g: (scale * g,))
    return f


def in_another(read):
    """The rule of a rule: nothing of the function's own first rule is another."""
    inner = by_jvp(read)

    @jax.custom_jvp
    def f(x):
        return x * 1.0

    f.defjvp(lambda primals, tangents: (f(*primals), inner(primals[0]) * tangents[0]))
    return lambda x: jax.grad(f)(x)


def from_dict():
    held: dict[str, Any] = {}
    return (lambda: held["s"]), (lambda s: held.update(s=s))


def from_object():
    held: Any = SimpleNamespace()
    return (lambda: held.s), (lambda s: setattr(held, "s", s))


def from_numpy():
    held = np.zeros(())
    return (lambda: float(held)), (lambda s: held.__setitem__((), s))


def from_default():
    def read(s=0.0):
        return s

    return read, lambda s: setattr(read, "__defaults__", (s,))


@pytest.mark.parametrize("rule", [by_jvp, by_vjp, by_fwd, in_another])
@pytest.mark.parametrize("holder", [from_dict, from_object, from_numpy, from_default])
def test_what_a_rule_reads_is_read_anew(rule, holder):
    read, write = holder()
    f = rule(read)
    for s in (2.0, 5.0, 2.0):
        write(s)
        assert slope(f) == s
        assert slope(lambda x: jax.jit(lambda x: 2.0 * x)(f(x))) == 2 * s


def test_tangents_and_cotangents_are_told_apart():
    def product(first):
        @jax.custom_jvp
        def f(x, y):
            return x * y

        pick = (lambda p, t: t[0] * p[1]) if first else (lambda p, t: p[0] * t[1])
        f.defjvp(lambda p, t: (p[0] * p[1], pick(p, t)))
        return lambda x: f(x, 3.0 * x)

    # Half of the derivative of 3 x^2 each, as a user may want it.
    np.testing.assert_allclose([slope(product(True)), slope(product(False))], [6.0, 6.0])

    def pair(first):
        @jax.custom_vjp
        def f(x):
            return x * 1.0, x * 1.0

        f.defvjp(lambda x: (f(x), None), lambda _, g: (g[0] if first else g[1],))
        return lambda x: 2.0 * f(x)[0] + 7.0 * f(x)[1]

    np.testing.assert_allclose([slope(pair(True)), slope(pair(False))], [2.0, 7.0])


def test_a_rule_that_cannot_be_traced_is_still_a_program():
    @jax.custom_jvp
    def f(x):
        return x * 3.0

    @f.defjvp
    def rule(primals, tangents):
        raise NotImplementedError("no slope")

    x = jnp.asarray(2.0)
    traced = trace_call("f", lambda given, x: f(x), None, x, same_as=f)
    assert float(call(traced, x)) == 6.0
    with pytest.raises(NotImplementedError, match="no slope"):
        slope(f)


def test_rules_that_are_built_anew_are_found_again():
    @compiled
    def run(f, x):
        return f(x)

    def network(seed):
        weights = jax.random.normal(jax.random.key(seed), (5000,))  # closed over, and large
        return lambda x: jnp.sum(jax.nn.softplus(weights * x) + jax.nn.relu(x))

    from pullback._traced import _run

    x = jnp.asarray(2.0)
    run(network(0), x)
    before = _run._cached._cache_size()
    for seed in range(3):
        np.testing.assert_allclose(run(network(seed), x), network(seed)(x), rtol=1e-6)
    run(functools.partial(network(0)), x)
    assert _run._cached._cache_size() == before


def test_a_solve_that_would_raise_is_found_again():
    from pullback._traced import _run
    from pullback.ode import SolveError, solve

    @compiled
    def end(rate, y):
        return solve(lambda t, y, args: rate * y**2, y, [0.0, 1.0], max_steps=64).ys[-1]

    np.testing.assert_allclose(end(jnp.asarray(0.5), jnp.ones(1)), [2.0], rtol=1e-2)
    before = _run._cached._cache_size()
    np.testing.assert_allclose(end(jnp.asarray(-1.0), jnp.ones(1)), [0.5], rtol=1e-2)
    with pytest.raises(Exception, match=SolveError.__name__):  # as JAX wraps it
        jax.block_until_ready(end(jnp.asarray(2.0), jnp.ones(1)))
    assert _run._cached._cache_size() == before


def test_numbers_that_are_equal_are_not_the_same():
    holding = lambda value: lambda: value
    for one, other in ((0.0, -0.0), (1, True), (1, 1.0), (0j, -0j)):
        assert one == other
        assert _plain(one) != _plain(other)
        assert _made_of(holding(one)) == _made_of(holding(one))
        assert _made_of(holding(one)) != _made_of(holding(other))
    assert _plain(float("nan")) == _plain(float("nan"))


def recording():
    """A function that writes into a list of its own each time that it runs."""
    seen: list[float] = []

    def f(x):
        jax.debug.callback(lambda v: seen.append(float(v)), x)
        return x * 1.0

    return f, seen


def test_a_callback_writes_into_what_its_own_function_holds():
    run = compiled(lambda f, x: f(x))
    (first, of_first), (second, of_second) = recording(), recording()
    for f in (first, second, second):
        jax.block_until_ready(run(f, jnp.asarray(2.0)))
    jax.effects_barrier()
    assert of_first == [2.0]
    assert of_second == [2.0, 2.0]


def test_a_callback_that_holds_nothing_that_changes_is_found_again():
    from pullback._traced import _run

    said: list[float] = []

    def telling(scale, sizes):
        tell = lambda v: _say(said, scale * float(v) + sizes[0])

        def f(x):
            jax.debug.callback(tell, x)
            return x * 1.0

        return f

    run = compiled(lambda f, x: f(x))
    jax.block_until_ready(run(telling(3.0, (1.0,)), jnp.asarray(1.0)))
    before = _run._cached._cache_size()
    jax.block_until_ready(run(telling(3.0, (1.0,)), jnp.asarray(2.0)))
    assert _run._cached._cache_size() == before
    jax.block_until_ready(run(telling(4.0, (1.0,)), jnp.asarray(1.0)))
    jax.effects_barrier()
    assert said == [4.0, 7.0, 5.0]


def _say(said, value):
    said.append(value)
