"""Total derivatives against closed forms, a tight SciPy solution and finite differences."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.integrate import solve_ivp

from pullback.calculus import total_derivatives

METHODS = ("nested", "taylor")


def net(t, y, args):
    w1, b1, w2 = args
    return jnp.tanh(w1 @ y + b1 * t) @ w2


@pytest.fixture
def weights():
    keys = jr.split(jr.key(0), 3)
    return jr.normal(keys[0], (5, 3)), jr.normal(keys[1], (5,)), jr.normal(keys[2], (5, 3))


def rates(f, t, y, args, order, method):
    return jax.jit(lambda y, args: total_derivatives(f, t, y, args, order, method=method))(y, args)


@pytest.mark.parametrize("method", METHODS)
def test_closed_forms(method):
    y = jnp.array([0.7, -1.2])
    a = jnp.array([[-0.1, 2.0], [-2.0, 0.3]])
    # One state with four independent fields: each has its own closed form.
    state = {"exponential": y, "square": y[0], "linear": y, "sine": y[1]}
    found = rates(
        lambda t, y, args: {
            "exponential": y["exponential"],
            "square": t**2,
            "linear": args @ y["linear"],
            "sine": jnp.sin(t),
        },
        0.4,
        state,
        a,
        5,
        method,
    )
    t = 0.4
    squares = (t**2, 2 * t, 2.0, 0.0, 0.0)
    cycle = (np.sin(t), np.cos(t), -np.sin(t), -np.cos(t), np.sin(t))
    for k, rate in enumerate(found):
        want = {
            "exponential": y,
            "square": squares[k],
            "linear": np.linalg.matrix_power(a, k + 1) @ y,
            "sine": cycle[k],
        }
        jax.tree.map(lambda p, q: np.testing.assert_allclose(p, q, 1e-13, 1e-14), rate, want)


def test_nested_and_taylor_agree_on_a_time_dependent_net(weights):
    y = jnp.array([0.3, -0.8, 1.1])
    nested = rates(net, 0.6, y, weights, 5, "nested")
    taylor = rates(net, 0.6, y, weights, 5, "taylor")
    assert len(nested) == len(taylor) == 5
    for p, q in zip(nested, taylor, strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-10, atol=1e-10 * float(jnp.abs(p).max()))


@pytest.mark.parametrize("method", METHODS)
def test_finite_differences_of_a_tight_solution(weights, method):
    y, t, h = np.array([0.3, -0.8, 1.1]), 0.6, 2e-2
    field = jax.jit(lambda t, y: net(t, y, weights))

    def solution(s):
        if s == 0:
            return y
        options = {"method": "DOP853", "rtol": 1e-13, "atol": 1e-13}
        return solve_ivp(field, (t, t + s), y, **options).y[:, -1]

    x = {i: solution(i * h) for i in range(-4, 5)}
    # Central differences of sixth order (Fornberg 1988).
    second = (
        (x[-3] + x[3]) / 90 - 3 * (x[-2] + x[2]) / 20 + 3 * (x[-1] + x[1]) / 2 - 49 * x[0] / 18
    ) / h**2
    third = (
        -7 * (x[4] - x[-4]) / 240
        + 3 * (x[3] - x[-3]) / 10
        - 169 * (x[2] - x[-2]) / 120
        + 61 * (x[1] - x[-1]) / 30
    ) / -(h**3)
    found = rates(net, t, jnp.asarray(y), weights, 3, method)
    np.testing.assert_allclose(found[1], second, rtol=0, atol=1e-5 * np.abs(second).max())
    np.testing.assert_allclose(found[2], third, rtol=0, atol=1e-5 * np.abs(third).max())


@pytest.mark.parametrize("method", METHODS)
def test_gradient_of_the_third_derivative(weights, method):
    y = jnp.array([0.3, -0.8, 1.1])
    flat, unravel = ravel_pytree(weights)

    @jax.jit
    def penalty(flat):
        return jnp.sum(total_derivatives(net, 0.6, y, unravel(flat), 3, method=method)[-1] ** 2)

    gradient = jax.jit(jax.grad(penalty))(flat)
    direction = jr.normal(jr.key(1), flat.shape)
    h = 1e-5
    slope = (penalty(flat + h * direction) - penalty(flat - h * direction)) / (2 * h)
    np.testing.assert_allclose(gradient @ direction, slope, rtol=1e-7)


@jax.custom_jvp
def three_times(x):
    return x


three_times.defjvps(lambda tangent, _, x: 3 * tangent)


@jax.custom_vjp
def passed_through(x):
    return jnp.sin(x)


passed_through.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),))


def fixed_number_of_steps(x):
    return jax.lax.scan(lambda c, _: (jnp.sin(c) + x, None), x, None, length=3)[0]


FUNCTIONS = {
    "softplus": jax.nn.softplus,
    "relu": jax.nn.relu,
    "mish": jax.nn.mish,
    "logaddexp": lambda x: jnp.logaddexp(x, -0.5 * x),
    "gelu": jax.nn.gelu,
    "tan and log1p": lambda x: jnp.tan(0.1 * x) + jnp.log1p(x**2),
    "kinks": lambda x: jnp.abs(x) + jnp.clip(x, -0.5, 0.5) + jnp.maximum(x, 2 * x),
    # JAX's own x**2.0 has no third derivative at 0.
    "power": lambda x: (x - 1) ** 2.0 + jnp.arctan2(x, 1 + 0 * x) + jnp.floor(x) * x,
    "reductions": lambda x: x / (1 + jnp.sum(x**2)) + jax.nn.softmax(x) * jnp.max(x),
    "convert": lambda x: x.astype(jnp.float32).astype(x.dtype) * 0 + jnp.sort(x) * x,
    "scan": fixed_number_of_steps,
    "cond": lambda x: jax.lax.cond(x[1] > 0, jnp.sin, jnp.cos, x),
    "while": lambda x: jax.lax.fori_loop(0, 3, lambda i, c: jnp.sin(c) * x, x),
    "checkpoint": jax.checkpoint(lambda x: jnp.exp(-jnp.sin(x))),
    "custom_jvp": lambda x: three_times(x) * jnp.sin(x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_taylor_takes_what_jet_does_not(name):
    # The middle entry is a kink of relu, abs and max, and the outer ones are far in the tails.
    y = jnp.array([-30.0, 0.0, 0.4, 30.0])

    def f(t, y, args):
        return FUNCTIONS[name](y) + 0.1 * y

    nested = rates(f, 0.0, y, None, 4, "nested")
    taylor = rates(f, 0.0, y, None, 4, "taylor")
    for p, q in zip(nested, taylor, strict=True):
        assert np.isfinite(p).all()
        np.testing.assert_allclose(q, p, rtol=1e-10, atol=1e-12)


def test_softplus_at_large_and_zero_arguments_against_its_series():
    # Along dy/dt = softplus(y) = s: y'' = s' s, y''' = (s'' s + s'^2) s, with s' the logistic.
    y = np.array([-40.0, -5.0, 0.0, 3.0, 50.0])
    found = rates(lambda t, y, args: jax.nn.softplus(y), 0.0, jnp.asarray(y), None, 3, "taylor")
    s, p = np.logaddexp(y, 0), 1 / (1 + np.exp(-y))
    np.testing.assert_allclose(found[1], p * s, rtol=1e-13)
    np.testing.assert_allclose(found[2], (p * (1 - p) * s + p**2) * s, rtol=1e-13)


def test_taylor_goes_inside_custom_vjp():
    # Forward mode refuses `custom_vjp`; y' = sin y, y'' = cos y sin y.
    y = jnp.array([0.3, 1.2])
    found = rates(lambda t, y, args: passed_through(y), 0.0, y, None, 2, "taylor")
    np.testing.assert_allclose(found[1], np.cos(y) * np.sin(y), rtol=1e-14)


@pytest.mark.parametrize("method", METHODS)
def test_vmap_of_states_and_times_equals_one_at_a_time(weights, method):
    ys = jr.normal(jr.key(2), (3, 3))
    ts = jnp.array([0.0, 0.5, 1.0])
    one = lambda t, y: total_derivatives(net, t, y, weights, 3, method=method)[-1]
    batch = jax.jit(jax.vmap(one))(ts, ys)
    for i in range(3):
        np.testing.assert_allclose(batch[i], jax.jit(one)(ts[i], ys[i]), rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_float32_out_of_the_box(x32, method):
    # sin(t) y has y' = s y, y'' = (c + s^2) y.
    y, t = jnp.array([1.5, -2.0]), 0.4
    found = rates(lambda t, y, args: jnp.sin(t) * y, t, y, None, 2, method)
    assert found[1].dtype == jnp.float32
    s, c = np.sin(t), np.cos(t)
    np.testing.assert_allclose(found[1], (c + s**2) * np.asarray(y), rtol=1e-6)


def test_small_states_keep_their_digits_in_float32():
    # `jet` takes tanh as 2 logistic(2x) - 1, which has lost three digits at 1e-4.
    y = jnp.array([1e-4], jnp.float32)
    found = rates(lambda t, y, args: jnp.tanh(y), 0.0, y, None, 3, "taylor")
    np.testing.assert_allclose(found[2], np.tanh(1e-4), rtol=1e-6)


def test_auto_is_one_of_the_two_at_every_order(weights):
    y = jnp.array([0.3, -0.8, 1.1])
    for order in (1, 2, 4):
        auto = rates(net, 0.6, y, weights, order, "auto")
        np.testing.assert_allclose(
            auto[-1], rates(net, 0.6, y, weights, order, "nested")[-1], rtol=1e-10
        )


def test_errors_name_the_argument():
    y = jnp.ones(2)
    same = lambda t, y, args: y
    with pytest.raises(ValueError, match="`order` must be 1 or more"):
        total_derivatives(same, 0.0, y, None, 0)
    with pytest.raises(ValueError, match="; did you mean 'taylor'"):
        total_derivatives(same, 0.0, y, None, 2, method="tailor")
    with pytest.raises(ValueError, match="structure of `y`"):
        total_derivatives(lambda t, y, args: (y,), 0.0, y, None, 2)
    with pytest.raises(ValueError, match="shapes and dtypes of `y`"):
        total_derivatives(lambda t, y, args: y[:1], 0.0, y, None, 2)
    with pytest.raises(ValueError, match="shapes and dtypes of `y`"):
        total_derivatives(lambda t, y, args: y.astype(jnp.float32), 0.0, y, None, 3)
