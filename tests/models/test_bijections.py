"""Every bijection: its inverse undoes it, and its log-determinant is that of the dense Jacobian."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import optimistix as optx
import pytest

from lazily import Lazily
from pullback.models.flows import (
    ActNorm,
    AffineCoupling,
    Chain,
    FactorOut,
    Flatten,
    InvertibleConv1x1,
    Logit,
    ResidualBlock,
    Reverse,
    Squeeze,
    Stacked,
    image_coupling_flow,
)
from pullback.models.flows._bijection import stack
from pullback.nn import LipschitzConvNet, LipschitzMLP

SOLVER = optx.FixedPointIteration(1e-10, 1e-10)


def block(key):
    return ResidualBlock(LipschitzMLP(3, 4, 1, bound=0.9, key=key))


def norm(channels, key):
    scale, shift = jr.normal(key, (2, channels))
    return eqx.tree_at(lambda n: (n.log_scale, n.shift), ActNorm(channels), (0.3 * scale, shift))


def image_block(key):
    net = LipschitzConvNet(2, 3, size=(2, 2), bound=0.9, key=key)
    return Chain([ResidualBlock(net), norm(2, key)])


def coupling(size, net_out, key):
    net = eqx.nn.MLP(size // 2, net_out, 4, 1, jnp.tanh, key=key)
    return AffineCoupling(lambda a: 2 * net(a.reshape(-1)).reshape(-1, *a.shape[1:]))


def mix(channels, key):
    return eqx.tree_at(
        lambda m: m.weight, InvertibleConv1x1(channels, key=key), jr.normal(key, 2 * (channels,))
    )


def coupling_flow(key, mix="conv"):
    flow = image_coupling_flow(
        (1, 4, 4), scales=2, blocks=2, hidden=3, dense_blocks=1, dense_width=4, mix=mix, key=key
    )
    # Its couplings begin at nothing.
    moved = lambda leaf: leaf + 0.3 * jr.normal(key, leaf.shape) if leaf.ndim else leaf
    return jax.tree.map(lambda leaf: moved(leaf) if eqx.is_inexact_array(leaf) else leaf, flow)


CASES = Lazily({
    "block": lambda: (block(jr.key(1)), (3,)),
    "act-norm of vectors": lambda: (norm(3, jr.key(2)), (3,)),
    "act-norm of images": lambda: (norm(2, jr.key(3)), (2, 2, 3)),
    "squeeze": lambda: (Squeeze(), (1, 4, 2)),
    "logit": lambda: (Logit(0.05), (3,)),
    "flattened": lambda: (Flatten((2, 1, 3)), (2, 1, 3)),
    "coupling of vectors": lambda: (coupling(5, 6, jr.key(8)), (5,)),
    "coupling of images": lambda: (coupling(8, 8, jr.key(9)), (4, 2, 1)),
    "1x1 of vectors": lambda: (mix(3, jr.key(10)), (3,)),
    "1x1 of images": lambda: (mix(2, jr.key(11)), (2, 2, 3)),
    "reversed vectors": lambda: (Reverse(), (3,)),
    "reversed images": lambda: (Reverse(), (2, 2, 3)),
    "couplings": lambda: (coupling_flow(jr.key(12)).bijection, (1, 4, 4)),
    "couplings in turn": lambda: (coupling_flow(jr.key(13), "reverse").bijection, (1, 4, 4)),
    "chain": lambda: (Chain([block(jr.key(4)), norm(3, jr.key(5))]), (3,)),
    "stacked": lambda: (
        Stacked(stack(lambda k: Chain([block(k), norm(3, k)]), 3, jr.key(6)), remat=True),
        (3,),
    ),
    "factored": lambda: (
        Chain([Squeeze(), FactorOut(image_block(jr.key(7)), (4, 2, 2))]),
        (1, 4, 4),
    ),
})  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_inverse_and_log_determinant(name):
    bijection, shape = CASES[name]
    x = jr.uniform(jr.key(0), shape, minval=0.1, maxval=0.9)

    @jax.jit
    def both(x):
        y, log_det = bijection.forward_and_log_det(x)
        dense = jax.jacfwd(lambda x: bijection.forward_and_log_det(x)[0].reshape(-1))(x)
        back, info = bijection.inverse(y, SOLVER, 500)
        return log_det, dense.reshape(x.size, x.size), back, info

    log_det, dense, back, info = both(x)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(dense)[1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(back, x, atol=1e-8)
    assert bool(info.converged)


@pytest.mark.parametrize("name", CASES)
def test_a_batch_comes_through_initialise_as_through_forward(name):
    bijection, shape = CASES[name]
    batch = jr.uniform(jr.key(0), (50, *shape), minval=0.1, maxval=0.9)
    fitted, image = bijection.initialise(batch)
    again = jax.vmap(lambda x: fitted.forward_and_log_det(x)[0])(batch)
    np.testing.assert_allclose(image, again, rtol=1e-9, atol=1e-9)


def test_act_norm_is_set_to_mean_0_and_deviation_1_and_leaves_a_constant_alone():
    images = 3 + 2 * jr.normal(jr.key(0), (40, 2, 3, 3))
    images = images.at[:, 1].set(5.0)
    _, out = ActNorm(2).initialise(images)
    np.testing.assert_allclose(out[:, 0].mean(), 0, atol=1e-12)
    np.testing.assert_allclose(out[:, 0].std(), 1, rtol=1e-12)
    np.testing.assert_allclose(out[:, 1], 0, atol=1e-12)


def test_squeeze_puts_neighbours_into_channels():
    image = jnp.arange(16.0).reshape(1, 4, 4)
    squeezed, _ = Squeeze().forward_and_log_det(image)
    assert squeezed[:, 0, 0].tolist() == [0, 1, 4, 5]


def test_a_coupling_leaves_one_half_alone_and_moves_the_other_by_it_alone():
    net = lambda a: jnp.concatenate([3 * a, -a])  # shifts, then scales
    x = jnp.array([0.5, -1.0])
    y, log_det = AffineCoupling(net).forward_and_log_det(x)
    log_scale = 2 * np.tanh(-0.25)
    np.testing.assert_allclose(y, [0.5, (-1.0 + 1.5) * np.exp(log_scale)], rtol=1e-12)
    np.testing.assert_allclose(log_det, log_scale, rtol=1e-12)


@pytest.mark.parametrize(("blocks", "changed"), [(1, 2), (2, 4)])
def test_couplings_in_turn_change_each_half_of_the_channels(blocks, changed):
    flow = image_coupling_flow(
        (1, 4, 4), scales=1, blocks=blocks, hidden=3, mix="reverse", key=jr.key(0)
    )
    moved = lambda leaf: leaf + 0.1 if eqx.is_inexact_array(leaf) and leaf.ndim > 3 else leaf
    flow = jax.tree.map(moved, flow)  # the weights of the couplings, and nothing else
    x = jr.uniform(jr.key(1), (1, 4, 4), minval=1.0, maxval=2.0)
    squeezed, _ = Squeeze().forward_and_log_det(x)
    out = flow.bijection.forward_and_log_det(x)[0].reshape(4, 2, 2)
    kept = squeezed[::-1] if blocks == 1 else squeezed
    assert (out != kept).all(axis=(1, 2)).sum() == changed
    assert (out == kept).sum() == 4 * (4 - changed)


def test_couplings_in_turn_have_no_weights_but_the_couplings_and_the_norms():
    whole = lambda mix: jax.tree.leaves(
        image_coupling_flow((1, 4, 4), scales=1, blocks=3, hidden=2, mix=mix, key=jr.key(0))
    )
    sizes = [sum(leaf.size for leaf in whole(mix)) for mix in ("conv", "reverse")]
    assert sizes[0] - sizes[1] == 3 * 4**2


@pytest.mark.parametrize("mix", ["conv", "reverse"])
def test_new_couplings_do_nothing_but_turn(mix):
    flow = image_coupling_flow((1, 4, 4), scales=1, blocks=2, hidden=3, mix=mix, key=jr.key(0))
    x = jr.normal(jr.key(1), (5, 1, 4, 4))
    z, log_det = flow.inverse_and_log_det(x)
    np.testing.assert_allclose(log_det, 0, atol=1e-12)
    np.testing.assert_allclose((z**2).sum(1), (x**2).sum((1, 2, 3)), rtol=1e-10)


def test_the_program_does_not_grow_with_the_stack():
    def lines(number):
        flow = Stacked(stack(block, number, jr.key(0)))
        return str(jax.make_jaxpr(flow.forward_and_log_det)(jnp.ones(3))).count("\n")

    assert lines(2) == lines(9)


def test_a_block_that_may_stretch_is_refused():
    with pytest.raises(ValueError, match=r"has the Lipschitz bound 1\.2"):
        ResidualBlock(LipschitzMLP(3, 4, 1, bound=1.1, key=jr.key(0)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Logit(0.5), "`margin` must be in"),
        (lambda: FactorOut(Squeeze(), (3, 4, 4)), "an even number of channels"),
        (lambda: Squeeze().forward_and_log_det(jnp.ones((1, 3, 4))), "even height and width"),
        (lambda: AffineCoupling(jnp.sin).forward_and_log_det(jnp.ones((1, 4, 4))), "two channels"),
        (lambda: AffineCoupling(jnp.sin).forward_and_log_det(jnp.ones(4)), "of shape .4,.; got"),
        (lambda: mix(3, jr.key(0)).forward_and_log_det(jnp.ones(2)), "must have 3 channels"),
        (lambda: Flatten((2, 2)).forward_and_log_det(jnp.ones(4)), "must have the shape"),
        (lambda: image_coupling_flow((1, 6, 6), scales=2, key=jr.key(0)), "divisible by 4"),
        (lambda: image_coupling_flow((1, 4, 4), dense_blocks=-1, key=jr.key(0)), "0 or more"),
        (lambda: Reverse().forward_and_log_det(jnp.ones(())), "must have channels"),
    ],
)
def test_bad_shapes(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_mix_that_is_unknown_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # which would refuse it first
    with pytest.raises(ValueError, match="`mix` must be one of 'conv', 'reverse'; got 'swap'"):
        image_coupling_flow((1, 4, 4), scales=1, mix="swap", key=jr.key(0))  # pyrefly: ignore
