"""Log-determinants of residual maps against dense matrices, and against sums over every stop."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.calculus import (
    AbstractLogDet,
    ExactLogDet,
    Geometric,
    RouletteLogDet,
    TruncatedLogDet,
    truncation_bias_bound,
)

IN = 0.6 * jr.orthogonal(jr.key(0), 3)
OUT = jr.orthogonal(jr.key(1), 3)
X = jnp.array([0.3, -0.5, 0.2])
DRAWS = 4096


def g(weights, x):
    """A map of Lipschitz constant 0.6."""
    first, second = weights
    return second @ jnp.tanh(first @ x)


def dense(weights, x):
    return jnp.linalg.slogdet(jnp.eye(3) + jax.jacfwd(lambda x: g(weights, x))(x))[1]


def log_det(method, weights, x, key, stop):
    return method(lambda x: g(weights, x), x, key=key, stop=stop)[1]


@pytest.fixture(scope="module")
def exact():
    """The log-determinant and its gradient, from the dense Jacobian."""
    return jax.jit(jax.value_and_grad(dense, (0, 1)))((IN, OUT), X)


@pytest.fixture(scope="module")
def jacobian():
    return np.asarray(jax.jacfwd(lambda x: g((IN, OUT), x))(X))


@pytest.mark.parametrize("shape", [(1,), (2,), (3,), (2, 1, 2)])
def test_exact_is_that_of_the_dense_jacobian(shape):
    method: AbstractLogDet = ExactLogDet()
    size = int(np.prod(shape))
    matrix = jr.normal(jr.key(size), (size, size))
    f = lambda x: jnp.sin(matrix @ x.reshape(-1)).reshape(shape)
    x = jr.normal(jr.key(5), shape)
    value, found = method(f, x)
    inner = np.cos(np.asarray(matrix) @ np.ravel(x))
    want = np.linalg.slogdet(np.eye(size) + inner[:, None] * np.asarray(matrix))[1]
    np.testing.assert_allclose(value, f(x))
    np.testing.assert_allclose(found, want, rtol=1e-12)


def test_exact_has_the_exact_gradient(exact):
    method = ExactLogDet()
    found = jax.value_and_grad(lambda w, x: log_det(method, w, x, None, None), (0, 1))((IN, OUT), X)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), found, exact)


def test_over_every_stop_the_roulette_has_the_exact_value_and_gradient(exact):
    cap, ratio = 60, 0.6
    method = RouletteLogDet(Geometric(ratio, cap=cap), exact=2, distribution="basis")
    stops = jnp.arange(1, cap + 1)
    share = ratio ** np.arange(cap) * np.where(np.arange(cap) < cap - 1, 1 - ratio, 1)
    one = jax.value_and_grad(lambda w, x, stop: log_det(method, w, x, None, stop), (0, 1))
    found = jax.jit(jax.vmap(one, (None, None, 0)))((IN, OUT), X, stops)
    mean = jax.tree.map(lambda a: np.tensordot(share, np.asarray(a), 1), found)
    # What the cap leaves out is of order 0.6^62.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), mean, exact)


@pytest.mark.parametrize("outer", [jax.jacfwd, jax.jacrev])
def test_second_derivatives_are_right_or_an_error(outer):
    """Of 60 terms, what is left out is of order 0.6^60; the roulette's row vector has none."""
    hessian = lambda method, stop: jax.jit(
        outer(jax.grad(lambda x: log_det(method, (IN, OUT), x, None, stop)))
    )(X)
    want = jax.hessian(lambda x: dense((IN, OUT), x))(X)
    for method in (ExactLogDet(), TruncatedLogDet(60, distribution="basis")):
        np.testing.assert_allclose(hessian(method, None), want, atol=1e-9)
    with pytest.raises(ValueError, match="differentiated twice: take `ExactLogDet`"):
        hessian(RouletteLogDet(distribution="basis"), jnp.asarray(3))


@pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
def test_the_mean_of_the_roulette_over_draws(distribution, exact, key):
    method = RouletteLogDet(distribution=distribution)
    one = jax.value_and_grad(lambda w, x, key: log_det(method, w, x, key, None), (0, 1))
    draws = jax.jit(jax.vmap(one, (None, None, 0)))((IN, OUT), X, jr.split(key, DRAWS))

    def close(draws, want):
        """Each entry within 4 standard errors."""
        error = np.asarray(draws).std(0) / np.sqrt(DRAWS)
        assert np.all(np.abs(np.asarray(draws).mean(0) - np.asarray(want)) < 4 * error)
        assert np.all(error > 0)

    jax.tree.map(close, draws, exact)


def test_one_draw_of_the_roulette_is_what_its_formulas_say(jacobian, key):
    # In plain matrices: the value has 1/k, the gradient has not and starts at k = 0.
    method, stop = RouletteLogDet(Geometric(0.5), exact=2), 3
    v = np.asarray(jr.rademacher(key, (1, 3), float))[0]
    weight = [1, 1, 1, 1, 2, 4]
    power = [np.linalg.matrix_power(jacobian, k) for k in range(6)]
    want = sum((-1) ** (k + 1) / k * weight[k] * v @ power[k] @ v for k in range(1, 6))
    row = sum((-1) ** k * weight[k] * v @ power[k] for k in range(6))
    product = lambda w: row @ jax.jacfwd(lambda x: g(w, x))(X) @ v
    found, gradient = jax.value_and_grad(lambda w: log_det(method, w, X, key, jnp.asarray(stop)))(
        (IN, OUT)
    )
    np.testing.assert_allclose(found, want, rtol=1e-12)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12),
        gradient,
        jax.grad(product)((IN, OUT)),
    )


def test_a_roulette_that_stops_late_is_the_truncated_series(key):
    late = RouletteLogDet(exact=29)
    found = late(lambda x: g((IN, OUT), x), X, key=key, stop=jnp.asarray(1))[1]
    want = TruncatedLogDet(30)(lambda x: g((IN, OUT), x), X, key=key)[1]
    np.testing.assert_allclose(found, want, rtol=1e-12)
    assert late(jnp.zeros_like, X, key=key)[1] == 0


def test_the_truncated_series_and_its_bound(jacobian, exact):
    for terms in (1, 2, 5, 10):
        method = TruncatedLogDet(terms, distribution="basis")
        value, found = method(lambda x: g((IN, OUT), x), X)
        powers = [np.trace(np.linalg.matrix_power(jacobian, k)) for k in range(terms + 1)]
        want = sum((-1) ** (k + 1) / k * powers[k] for k in range(1, terms + 1))
        np.testing.assert_allclose(found, want, rtol=1e-12)
        np.testing.assert_allclose(value, g((IN, OUT), X))
        norm = float(np.linalg.norm(jacobian, 2))
        assert 0 < abs(found - exact[0]) <= truncation_bias_bound(norm, 3, terms)
    # The bound is reached by -L I.
    for terms in (0, 3):
        left_out = sum(0.9**k / k for k in range(terms + 1, 400))
        np.testing.assert_allclose(truncation_bias_bound(0.9, 2, terms), 2 * left_out, rtol=1e-12)


def test_the_gradient_of_the_truncated_series_goes_through_every_term(key):
    method = TruncatedLogDet(4)
    value = jax.jit(lambda w: log_det(method, (w, OUT), X, key, None))
    gradient, h = jax.grad(value)(IN), 1e-5
    for i, j in ((0, 1), (2, 2)):
        slope = value(IN.at[i, j].add(h)) - value(IN.at[i, j].add(-h))
        np.testing.assert_allclose(gradient[i, j], slope / (2 * h), rtol=1e-6)


def test_memory_does_not_grow_with_the_terms_of_the_roulette():
    weights = (0.5 * jnp.eye(50), jnp.eye(50))

    def temporaries(method, stop):
        run = jax.grad(lambda w, x, key: log_det(method, w, x, key, stop))
        program = jax.jit(run).lower(weights, jnp.ones(50), jr.key(0)).compile()
        found = program.memory_analysis()
        assert found is not None
        return found.temp_size_in_bytes

    few, many = (temporaries(RouletteLogDet(Geometric(cap=n)), jnp.asarray(n)) for n in (5, 1000))
    assert few == many
    few, many = (temporaries(TruncatedLogDet(n), None) for n in (5, 1000))
    assert many - few > 8 * 50 * 900


def test_a_batch_with_one_stop_has_one_scalar_condition(key):
    method = RouletteLogDet()
    keys, xs = jr.split(key, 5), jnp.ones((5, 3))

    def conditions(stop, axis):
        run = jax.vmap(lambda x, key, stop: log_det(method, (IN, OUT), x, key, stop), (0, 0, axis))
        program = jax.make_jaxpr(run)(xs, keys, stop)
        (loop,) = (e for e in program.eqns if e.primitive.name == "while")
        return [v.aval.shape for e in loop.params["cond_jaxpr"].eqns for v in e.invars]

    shared = method.draw(key=key)
    assert all(shape == () for shape in conditions(shared, None))
    assert any(shape == (5,) for shape in conditions(jnp.full(5, shared), 0))


def test_the_worst_case_knows_where_the_variance_is_infinite():
    for ratio, rho, want in ((0.5, 0.7, 0.098), (0.9, 0.9, 0.24)):
        method = RouletteLogDet(Geometric(ratio))
        found = method.worst_case(rho)
        np.testing.assert_allclose(found.mean, np.log1p(-rho), rtol=1e-6)
        # The two figures were measured by others, to two digits.
        assert abs(found.variance - want) < 0.05 * want
        assert method.worst_case(rho, dim=3).variance == pytest.approx(9 * found.variance)
    with pytest.raises(ValueError, match="do not fall"):
        RouletteLogDet(Geometric(0.5)).worst_case(0.75)
    assert RouletteLogDet().worst_case(0.0).variance == 0


def test_the_variance_of_a_scalar_is_the_worst_case():
    method = RouletteLogDet(Geometric(0.5, cap=60))
    one = lambda stop: method(lambda x: -0.6 * x, jnp.ones(1), key=jr.key(0), stop=stop)[1]
    found = np.asarray(jax.vmap(one)(jnp.arange(1, 61)))
    share = 0.5 ** np.minimum(np.arange(1, 61), 59)
    variance = share @ found**2 - (share @ found) ** 2
    np.testing.assert_allclose(variance, method.worst_case(0.6).variance, rtol=1e-6)


@pytest.mark.parametrize("method", [ExactLogDet(), TruncatedLogDet(3), RouletteLogDet()])
def test_the_dtype_is_that_of_the_input(method, key):
    for dtype in (jnp.float32, jnp.float64):
        x = jnp.ones((2, 2), dtype)
        value, found = method(lambda x: 0.5 * x, x, key=key, stop=method.draw(key=key))
        assert value.dtype == found.dtype == dtype
        assert (value.shape, found.shape) == ((2, 2), ())


def test_errors_name_the_argument(key):
    for make, match in (
        (lambda: TruncatedLogDet(0), "`terms` must be 1 or more"),
        (lambda: RouletteLogDet(exact=-1), "`exact` must be 0 or more"),
        (lambda: TruncatedLogDet(2)(jnp.sin, X), "`key` must be a random key"),
        (lambda: RouletteLogDet()(jnp.sin, X), "`key` must be a random key"),
        (lambda: ExactLogDet()(lambda x: x[:2], X), "`g` must keep the shape"),
        (lambda: RouletteLogDet().worst_case(1.0), r"`lipschitz` must be in \[0, 1\)"),
        (lambda: truncation_bias_bound(0.5, 0, 1), "`dim` must be 1 or more"),
        (lambda: truncation_bias_bound(0.5, 1, -1), "`terms` must be 0 or more"),
    ):
        with pytest.raises(ValueError, match=match):
            make()
