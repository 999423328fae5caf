"""A convolution along a sequence against XLA's, alone, mapped and compiled; its derivatives."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest

from pullback.nn import SequenceConv, convolve_sequence


def by_xla(conv, x):
    """The same by XLA's own convolution, channels last."""
    out = jax.lax.conv_general_dilated(
        x[None], conv.weight, (1,), conv.padding.upper(), dimension_numbers=("NWC", "WIO", "NWC")
    )[0]
    return out if conv.bias is None else out + conv.bias[None]


@pytest.mark.parametrize(("kernel", "padding", "rows"), [
    (5, "same", 9), (1, "same", 9), (5, "same", 2), (4, "valid", 9), (3, "valid", 3),
])  # fmt: skip
def test_against_xla(kernel, padding, rows):
    with jax.enable_x64(True):
        conv = SequenceConv(3, 4, kernel, padding=padding, dtype=jnp.float64, key=jr.key(0))
        conv = eqx.tree_at(lambda c: c.bias, conv, jnp.arange(4.0))
        x = jr.normal(jr.key(1), (rows, 3), jnp.float64)
        want = by_xla(conv, x)
        assert want.dtype == jnp.float64
        np.testing.assert_allclose(conv(x), want, atol=1e-12)
        np.testing.assert_allclose(eqx.filter_jit(jax.vmap(conv))(x[None])[0], want, atol=1e-12)
        # The second derivative, by the weights and the input, as a gradient penalty takes it.
        slope = lambda of, w: jax.grad(lambda x: jnp.sum(jnp.sin(of(w, x))))(x)
        ours = lambda w, x: convolve_sequence(w, x, padding)
        theirs = lambda w, x: by_xla(eqx.tree_at(lambda c: (c.weight, c.bias), conv,
                                                 (w, jnp.zeros(4))), x)  # fmt: skip
        second = [
            jax.jit(jax.grad(lambda w, of=of: jnp.sum(slope(of, w) ** 3)))(conv.weight)
            for of in (ours, theirs)
        ]
        np.testing.assert_allclose(*second, rtol=1e-10, atol=1e-10)


def test_without_a_bias_and_the_size_of_the_weights():
    conv = SequenceConv(40, 60, 5, use_bias=False, key=jr.key(0))
    assert conv.bias is None
    assert conv(jnp.zeros((3, 40))).shape == (3, 60)
    bound = np.sqrt(12 / 500)
    weight = np.asarray(conv.weight)
    assert 0.99 * bound < np.abs(weight).max() <= bound
    assert abs(weight.var() / (bound**2 / 3) - 1) < 4 * np.sqrt(0.8 / weight.size)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: SequenceConv(3, 4, 4, key=jr.key(0)), r'`kernel` must be odd .*; got 4'),
    (lambda: SequenceConv(3, 4, 3, padding="full", key=jr.key(0)), "`padding` must be"),
    (lambda: SequenceConv(3, 4, 0, key=jr.key(0)), "`kernel` must be 1 or more"),
    (lambda: SequenceConv(3, 4, 3, key=jr.key(0))(jnp.ones((5, 2))), "rows of 3 numbers"),
    (lambda: convolve_sequence(jnp.ones((3, 2, 1)), jnp.ones((2, 2))), "shorter than the kernel"),
    (lambda: convolve_sequence(jnp.ones((3, 2)), jnp.ones((2, 2))), r"`weight` .* got \(3, 2\)"),
    (lambda: convolve_sequence(jnp.ones((0, 2, 1)), jnp.ones((2, 2))), "`weight` must be of the"),
])  # fmt: skip
def test_wrong_arguments(call, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        call()
