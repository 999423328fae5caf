"""The penalty on slopes against differences, closed forms, and at the slope of zero."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest

from pullback.calculus import gradient_penalty

REAL, FAKE = jr.normal(jr.key(1), (5, 2, 3)), jr.normal(jr.key(2), (5, 2, 3))


def penalty_of(weights, centre=1.0):
    critic = lambda x: jnp.sum(jnp.tanh(jnp.tanh(x @ weights[0]) @ weights[1]))
    return gradient_penalty(critic, REAL, FAKE, centre=centre, key=jr.key(3))


def test_against_the_formula_of_an_explicit_slope():
    w = jr.normal(jr.key(0), (2, 3))
    quadratic = lambda x: jnp.sum(w * x**2) / 2
    got = eqx.filter_jit(gradient_penalty)(quadratic, REAL, FAKE, centre=0.5, key=jr.key(3))
    share = np.asarray(jr.uniform(jr.key(3), (5, 1, 1), jnp.float64)).ravel()
    want, by_real, by_fake = 0.0, [], []
    for x, y, e in zip(np.asarray(REAL), np.asarray(FAKE), share, strict=True):
        slope = np.asarray(w) * (e * x + (1 - e) * y)
        norm = np.sqrt((slope**2).sum())
        want += (norm - 0.5) ** 2 / 5
        between = 2 * (norm - 0.5) / 5 * slope / norm * np.asarray(w)
        by_real.append(e * between)
        by_fake.append((1 - e) * between)
    np.testing.assert_allclose(got, want, rtol=1e-12)
    of = lambda *rows: gradient_penalty(quadratic, *rows, centre=0.5, key=jr.key(3))
    sides = jax.jit(jax.grad(of, argnums=(0, 1)))(REAL, FAKE)
    np.testing.assert_allclose(sides, [by_real, by_fake], rtol=1e-10)


def test_the_second_order_gradient_is_that_of_differences():
    shapes = [(3, 4), (4, 2)]
    weights = [jr.normal(k, of) for k, of in zip(jr.split(jr.key(0)), shapes, strict=True)]
    flat, back = jax.flatten_util.ravel_pytree(weights)
    step = 1e-5
    each = lambda v: (penalty_of(back(flat + v)) - penalty_of(back(flat - v))) / (2 * step)
    want = jax.jit(jax.vmap(each))(step * jnp.eye(flat.size))
    for run in (lambda f: f, jax.jit):
        got, _ = jax.flatten_util.ravel_pytree(run(jax.grad(penalty_of))(weights))
        np.testing.assert_allclose(got, want, atol=1e-8)


def test_of_a_linear_critic_it_is_exact():
    w = jnp.asarray([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])
    of = lambda w: 10 * gradient_penalty(lambda x: jnp.vdot(w, x), REAL, FAKE, key=jr.key(0))
    norm = jnp.linalg.norm(w)
    for run in (lambda f: f, jax.jit):
        np.testing.assert_allclose(run(of)(w), 10 * (norm - 1) ** 2, rtol=1e-14)
        np.testing.assert_allclose(run(jax.grad(of))(w), 20 * (norm - 1) * w / norm, rtol=1e-14)
    # A critic that gives its number along an axis, and one that pays nothing.
    along = lambda x: jnp.vdot(w / norm, x)[None]
    assert gradient_penalty(along, REAL, FAKE, key=jr.key(0)) < 1e-28


def test_a_critic_without_a_slope_has_no_nan_and_trains():
    net = eqx.nn.MLP(1, "scalar", 8, 1, jnp.tanh, dtype=jnp.float32, key=jr.key(0))
    net = eqx.tree_at(lambda n: (n.layers[-1].weight, n.layers[-1].bias), net,
                      replace_fn=jnp.zeros_like)  # fmt: skip
    real, fake = jnp.ones((6, 1), jnp.float32), jnp.zeros((6, 1), jnp.float32)

    def loss(net):
        penalty = gradient_penalty(net, real, fake, key=jr.key(0))
        assert penalty.dtype == jnp.float32
        return jnp.mean(jax.vmap(net)(fake) - jax.vmap(net)(real)) + 10 * penalty

    penalty = lambda net: gradient_penalty(net, real, fake, key=jr.key(0))
    value, slope = eqx.filter_value_and_grad(penalty)(net)
    assert value == 1
    assert all(jnp.all(leaf == 0) for leaf in jax.tree.leaves(slope))
    params, rest = eqx.partition(net, eqx.is_array)

    def step(params, _):
        slope = jax.grad(lambda params: loss(eqx.combine(params, rest)))(params)
        return jax.tree.map(lambda p, s: p - jnp.float32(0.03) * s, params, slope), None

    params, _ = jax.jit(lambda params: jax.lax.scan(step, params, length=300))(params)
    net = eqx.combine(params, rest)
    # -s + 10 (s - 1)^2 is least at a slope of 1.05 everywhere between, where it is -1.025.
    np.testing.assert_allclose(loss(net), -1.025, atol=0.02)


@pytest.mark.parametrize(("real", "fake", "critic", "message"), [
    (jnp.ones((4, 2)), jnp.ones((3, 2)), jnp.sum, r"float64\[4, 2\] and float64\[3, 2\]"),
    (jnp.ones((4, 2)), jnp.ones((4, 2), jnp.float32), jnp.sum, "float32"),
    (jnp.ones((0, 2)), jnp.ones((0, 2)), jnp.sum, "one or more"),
    (jnp.ones((4, 2)), jnp.ones((4, 2)), lambda x: x, r"one number .* the shape \(2,\)"),
])  # fmt: skip
def test_wrong_arguments(real, fake, critic, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        gradient_penalty(critic, real, fake, key=jr.key(0))


def test_whole_numbers_have_no_slope(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    whole = jnp.ones((4, 2), jnp.int32)
    with pytest.raises(ValueError, match="`real` must be floating, got int32"):
        gradient_penalty(jnp.sum, whole, whole, key=jr.key(0))


def test_nan_is_not_hidden():
    assert jnp.isnan(gradient_penalty(lambda x: jnp.sum(x * jnp.nan), REAL, FAKE, key=jr.key(0)))


@pytest.mark.parametrize(("change", "message"), [
    ({"real": [[1.0, 2.0]]}, "`real` must be an array of rows, got list"),
    ({"fake": None}, "`fake` must be an array of rows, got NoneType"),
    ({"centre": "a"}, "`centre` must be one number, got 'a'"),
    ({"critic": None}, "`critic` must be a function of one example, got None"),
    ({"critic": lambda x: jnp.argmax(x)}, "a floating number .*; got int64"),
    ({"critic": lambda x: None}, "a floating number .*; got NoneType"),
])  # fmt: skip
def test_what_is_no_critic_and_no_row(change, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    given = {"critic": jnp.sum, "real": REAL, "fake": FAKE} | change
    with pytest.raises(TypeError, match=message):
        gradient_penalty(**given, key=jr.key(0))
