"""Hollow nets against the dense Jacobian, on random weights."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.calculus import dimensionwise_derivatives
from pullback.nn import (
    AbstractConditioner,
    AttentionConditioner,
    HollowNet,
    StrictMADE,
    TwoSidedConditioner,
    check_hollow,
)

T = 0.7
KINDS = ("two-sided", "attention")


def conditioner_of(kind, dim, width=32):
    if kind == "attention":
        return AttentionConditioner(dim, features=3, width=4, heads=2, key=jr.key(1))
    return TwoSidedConditioner(dim, features=2, width=width, depth=2, key=jr.key(1))


def net_of(kind, dim):
    return HollowNet(conditioner_of(kind, dim), 6, 2, zero_last=False, key=jr.key(2))


def state(dim):
    return jr.normal(jr.key(3), (dim,))


def jacobian(f, y):
    return np.asarray(jax.jit(jax.jacfwd(f))(y))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [1, 2, 5, 17])
def test_the_own_block_of_a_conditioner_is_exactly_zero(kind, dim):
    conditioner, y = conditioner_of(kind, dim), state(dim)
    blocks = jacobian(lambda y: conditioner(T, y), y)
    assert blocks.shape == (dim, conditioner.size, dim)
    np.testing.assert_array_equal(blocks[np.arange(dim), :, np.arange(dim)], 0)
    check_hollow(conditioner, T, y)
    # Whatever is not its own is seen: no mask is too strict.
    seen = np.any(blocks != 0, axis=1)
    np.testing.assert_array_equal(seen, ~np.eye(dim, dtype=bool))


@pytest.mark.parametrize("width", [1, 2, 5])
def test_a_net_narrower_than_the_state_is_hollow_too_and_sees_both_ends(width):
    conditioner, y = conditioner_of("two-sided", 9, width), state(9)
    check_hollow(conditioner, T, y)
    seen = np.any(jacobian(lambda y: conditioner(T, y), y) != 0, axis=1)
    assert seen[-1, 0]
    assert seen[0, -1]
    if width > 1:
        assert seen[-1, -2]
        assert seen[0, 1]


@pytest.mark.parametrize("reverse", [False, True])
def test_the_masks_of_one_side_are_strictly_triangular(reverse):
    net = StrictMADE(6, features=2, width=16, reverse=reverse, key=jr.key(0))
    seen = np.any(jacobian(lambda y: net(T, y), state(6)) != 0, axis=1)
    below = np.tril(np.ones((6, 6), bool), -1)
    np.testing.assert_array_equal(seen, below.T if reverse else below)


@pytest.mark.parametrize("kind", KINDS)
def test_the_time_enters_the_conditioner_and_the_transformer(kind):
    net, y = net_of(kind, 5), state(5)
    rows = jacobian(lambda t: net.conditioner(t, y), T)
    assert np.all(np.any(rows != 0, axis=1))
    deaf = eqx.tree_at(
        lambda net: net.conditioner,
        net,
        jax.tree.map(lambda w: jnp.zeros_like(w), net.conditioner),
    )
    assert np.all(jacobian(lambda t: deaf(t, y), T) != 0)


@pytest.mark.parametrize("kind", KINDS)
def test_dimension_wise_derivatives_are_those_of_the_dense_jacobian_and_hessians(kind):
    net, y = net_of(kind, 5), state(5)
    f = lambda y: net(T, y)
    found = jax.jit(lambda y: net.with_diagonal(T, y, order=3))
    value, first, second, third = found(y)
    every = np.arange(5)
    dense = jax.jit(lambda y: (f(y), jax.jacfwd(f)(y), jax.jacfwd(jax.jacfwd(f))(y)))(y)
    np.testing.assert_allclose(value, dense[0], atol=1e-14)
    np.testing.assert_allclose(first, np.asarray(dense[1])[every, every], atol=1e-12)
    np.testing.assert_allclose(second, np.asarray(dense[2])[every, every, every], atol=1e-12)
    # The third by finite differences of the second, entry by entry.
    h = 1e-5
    slopes = [
        (found(y + h * e)[2][i] - found(y - h * e)[2][i]) / (2 * h)
        for i, e in enumerate(jnp.eye(5))
    ]
    np.testing.assert_allclose(third, slopes, rtol=1e-6, atol=1e-9)
    # The generic way, which knows nothing of the net, and the generic door, which does.
    plain = jax.jit(
        lambda y: dimensionwise_derivatives(lambda t, y, args: net(t, y), T, y, order=2)
    )
    door = jax.jit(lambda y: dimensionwise_derivatives(net, T, y, order=2))
    for ours, by_jvps, same in zip((value, first, second), plain(y), door(y), strict=True):
        np.testing.assert_allclose(ours, by_jvps, atol=1e-12)
        np.testing.assert_allclose(ours, same, atol=1e-14)


def test_a_context_enters_every_row_and_leaves_the_net_hollow():
    plain = HollowNet(conditioner_of("two-sided", 5), 6, 2, zero_last=False, key=jr.key(2))
    net = HollowNet(conditioner_of("two-sided", 5), 6, 2, context=3, zero_last=False, key=jr.key(2))
    y, c = state(5), jnp.array([0.5, -1.0, 2.0])
    dense = jacobian(lambda y: net(T, y, c), y)
    value, diagonal = net.with_diagonal(T, y, c)
    np.testing.assert_allclose(value, net(T, y, c), rtol=0, atol=1e-14)
    np.testing.assert_allclose(diagonal, np.diag(dense), rtol=0, atol=1e-12)
    np.testing.assert_allclose(net.with_divergence(T, y, c)[1], np.trace(dense), rtol=0, atol=1e-12)
    assert np.all(jacobian(lambda c: net(T, y, c), c) != 0)
    # No context is the context 0, and the weights are those of a net that has none.
    np.testing.assert_allclose(net(T, y, 0 * c), plain(T, y), rtol=0, atol=1e-14)
    for wrong in (None, jnp.ones(2), 1.0):
        with pytest.raises(ValueError, match=r"`args` must be one context, an array of shape \(3,"):
            net(T, y, wrong)
    with pytest.raises(ValueError, match="`context` must be 0, for none, or a size of 1 or more"):
        HollowNet(plain.conditioner, context=-1, key=jr.key(0))


def divergence_by_trace(net, y):
    return jnp.trace(jax.jacfwd(lambda y: net(T, y))(y))


def own_divergence(net, y):
    return net.with_divergence(T, y)[1]


def gradients(f, net, y) -> Any:
    by_net, by_state = eqx.filter_jit(
        eqx.filter_grad(lambda inputs: f(*inputs))
    )((net, y))  # fmt: skip
    return by_net, by_state


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_the_divergence_are_those_of_the_trace(kind):
    net, y = net_of(kind, 5), state(5)
    found, expected = (gradients(f, net, y) for f in (own_divergence, divergence_by_trace))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)
    assert np.max(np.abs(found[1])) > 1e-3
    # Every weight that the conditioner uses is trained by the divergence.
    for leaf in jax.tree.leaves(found[0].conditioner):
        assert np.any(np.asarray(leaf) != 0)


class Frozen(AbstractConditioner):
    """A conditioner that gradients do not get through: the defect of a public hollow net."""

    inner: AbstractConditioner
    dim: int = eqx.field(static=True)
    size: int = eqx.field(static=True)

    def __call__(self, t, y):
        return jax.lax.stop_gradient(self.inner(t, y))


def test_a_frozen_conditioner_gets_no_gradient_and_ours_is_not_frozen():
    net, y = net_of("two-sided", 5), state(5)
    frozen = eqx.tree_at(
        lambda net: net.conditioner, net, Frozen(inner=net.conditioner, dim=5, size=4)
    )
    # The values do not tell: only gradients do.
    np.testing.assert_array_equal(frozen.with_divergence(T, y)[1], net.with_divergence(T, y)[1])
    for f in (own_divergence, lambda net, y: jnp.sum(net(T, y))):
        of_frozen, of_ours = (gradients(f, each, y)[0].conditioner for each in (frozen, net))
        assert all(not np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(of_frozen))
        assert all(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(of_ours))
    # A gradient by the state is wrong then, too.
    by_state: Any = [gradients(own_divergence, each, y)[1] for each in (frozen, net)]
    assert np.max(np.abs(by_state[0] - by_state[1])) > 1e-4


def operations(function, *inputs):
    cost: Any = jax.jit(function).lower(*inputs).compile().cost_analysis()
    return (cost[0] if isinstance(cost, list) else cost)["flops"]


@pytest.mark.parametrize("dim", [2, 64])
def test_field_and_divergence_need_at_most_three_times_the_operations_of_the_field(dim):
    net = net_of("two-sided", dim)
    y = state(dim)
    alone = operations(lambda net, y: net(T, y), net, y)
    assert operations(lambda net, y: net.with_divergence(T, y), net, y) <= 3 * alone


def test_float32_stays_float32_and_a_net_starts_at_zero(x32):
    for kind in KINDS:
        conditioner = conditioner_of(kind, 3)
        net = HollowNet(conditioner, 4, key=jr.key(0))
        y = jnp.ones(3)
        value, first = jax.jit(lambda y, net=net: net.with_diagonal(T, y))(y)
        assert value.dtype == first.dtype == jnp.float32
        np.testing.assert_array_equal(value, 0)


class Leaky(eqx.Module):
    """Two layers, each of which is hollow."""

    layer: AbstractConditioner

    def __call__(self, t, y):
        return self.layer(t, self.layer(t, y)[:, 0])


def test_two_layers_leak_and_the_check_says_where():
    leaky = Leaky(conditioner_of("attention", 4))
    with pytest.raises(ValueError, match=r"not hollow: the derivative of row \d by entry \d"):
        check_hollow(leaky, T, state(4))
    with pytest.raises(ValueError, match="one row for each of the 4 entries"):
        check_hollow(lambda t, y: jnp.sum(y)[None, None], T, state(4))
    with pytest.raises(ValueError, match="not hollow"):
        check_hollow(lambda t, y: jnp.nan * y[:, None], T, state(4))


def test_errors_name_the_argument():
    with pytest.raises(TypeError, match="conditioner"):
        HollowNet(lambda t, y: y[:, None], key=jr.key(0))  # pyrefly: ignore
    with pytest.raises(ValueError, match="`width` must be 1 or more, got 0"):
        TwoSidedConditioner(3, 2, 0, key=jr.key(0))
    with pytest.raises(ValueError, match="`heads` must be 1 or more, got 0"):
        AttentionConditioner(3, 2, 4, 0, key=jr.key(0))
    with pytest.raises(ValueError, match="`order` must be 1 or more, got 0"):
        net_of("two-sided", 2).with_diagonal(T, state(2), order=0)
    with pytest.raises(ValueError, match=r"one example of shape \(2,\); got \(3,\)"):
        net_of("two-sided", 2)(T, state(3))


@pytest.mark.parametrize("reverse", [False, True])
def test_of_two_entries_the_first_row_sees_the_time_alone_and_the_second_the_first_entry(reverse):
    net, y = StrictMADE(2, features=3, width=4, reverse=reverse, key=jr.key(5)), state(2)
    first, last = net.layers
    seen = y[1] if reverse else y[0]
    hidden = np.tanh(first.weight[:, 0] * seen + first.time_weight * T + first.bias)
    rows = np.array(last.time_weight * T + last.bias).reshape(2, 3)
    rows[1] += last.weight[3:] @ hidden
    np.testing.assert_allclose(net(T, y), rows[::-1] if reverse else rows, rtol=1e-13)
    np.testing.assert_allclose(jax.jit(lambda y: net(T, y))(y), net(T, y), rtol=1e-13)
