"""The sequence decoder against the rows that it may see, and against all sequences enumerated."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.models.vae import Bernoulli, Categorical, SequenceDecoder
from pullback.nn import AbstractSequenceNet, AbstractSteppedNet, CausalConvNet, RecurrentNet

STEPS = 4


def decoder_of(features=2, latent=3, outputs=(2,), key=jr.key(0), steps=STEPS):  # noqa: B008
    net = CausalConvNet(features, 5, 5, dilations=(1, 2), activation=jnp.tanh, key=key)
    made = SequenceDecoder(
        net, steps=steps, latent=latent, outputs=outputs, width=6, key=jr.fold_in(key, 1)
    )
    # Larger weights: the rows then depend on each other strongly.
    return jax.tree.map(lambda leaf: 2 * leaf if eqx.is_inexact_array(leaf) else leaf, made)


def test_a_row_sees_the_rows_before_it_and_its_own_latent_alone():
    decoder = decoder_of()
    z, x = jr.normal(jr.key(1), (STEPS, 3)), jr.normal(jr.key(2), (STEPS, 2))
    of_z, of_x = jax.jit(jax.jacrev(decoder, argnums=(0, 1)))(z, x)
    seen = lambda jacobian: np.any(np.asarray(jacobian) != 0, axis=(1, 3))
    np.testing.assert_array_equal(seen(of_x), np.tri(STEPS, k=-1, dtype=bool))
    np.testing.assert_array_equal(seen(of_z), np.eye(STEPS, dtype=bool))


def test_one_latent_for_all_rows_is_the_same_row_everywhere():
    decoder, x = decoder_of(), jr.normal(jr.key(2), (STEPS, 2))
    z = jr.normal(jr.key(1), (3,))
    np.testing.assert_array_equal(decoder(z, x), decoder(jnp.tile(z, (STEPS, 1)), x))


def test_the_probabilities_of_all_sequences_sum_to_one_and_draws_have_them():
    decoder = decoder_of(features=1, outputs=(1,), steps=3)
    z = jr.normal(jr.key(1), (3, 3))
    every = jnp.asarray(list(itertools.product([0.0, 1.0], repeat=3)))[..., None]
    log_prob = jax.vmap(lambda x: jnp.sum(Bernoulli().log_prob(decoder(z, x), x)))
    exact = np.exp(jax.jit(log_prob)(every))
    assert exact.sum() == pytest.approx(1, rel=1e-12)

    count = 20_000
    draw = jax.jit(jax.vmap(lambda key: decoder.sample(z, Bernoulli(), key=key)))
    draws = np.asarray(draw(jr.split(jr.key(3), count)))
    found = np.bincount((draws[..., 0] @ [4, 2, 1]).astype(int), minlength=8) / count
    error = np.sqrt(exact * (1 - exact) / count)
    np.testing.assert_array_less(np.abs(found - exact), 4 * error)
    assert np.ptp(exact) > 0.1  # so that the match says something


class Unstepped(AbstractSequenceNet):
    """A net that is known by all rows at once alone."""

    net: AbstractSequenceNet
    in_size: int = eqx.field(static=True)
    out_size: int = eqx.field(static=True)

    def __call__(self, x):
        return self.net(x)


class Counted(AbstractSteppedNet):
    """A net that counts its steps, as the program takes them."""

    net: AbstractSteppedNet
    in_size: int = eqx.field(static=True)
    out_size: int = eqx.field(static=True)
    steps: list = eqx.field(static=True)

    def __call__(self, x):
        raise AssertionError("all rows at once")

    def start(self):
        return self.net.start()

    def step(self, state, row):
        jax.debug.callback(lambda: self.steps.append(1))
        return self.net.step(state, row)


@pytest.mark.parametrize("kind", [RecurrentNet, CausalConvNet])
def test_drawn_by_steps_of_the_net_the_rows_are_those_drawn_by_all_of_it(kind):
    likelihood, z = Categorical(5), jr.normal(jr.key(1), (3,))
    net = jax.tree.map(
        lambda leaf: 3 * leaf if eqx.is_inexact_array(leaf) else leaf, kind(2, 5, 5, key=jr.key(0))
    )
    of = lambda net: SequenceDecoder(
        net, steps=9, latent=3, outputs=likelihood.params_shape((2,)), key=jr.key(2)
    )
    draw = lambda decoder: eqx.filter_jit(decoder.sample)(z, likelihood, key=jr.key(3))
    steps = []
    by_steps = draw(of(Counted(net, 2, 5, steps)))
    jax.effects_barrier()
    assert len(steps) == 9
    by_all = draw(of(Unstepped(net, 2, 5)))
    assert by_steps.dtype == by_all.dtype
    np.testing.assert_array_equal(by_steps, by_all)
    assert len(np.unique(by_all)) > 2


def test_rows_of_categories_are_drawn_as_whole_numbers():
    likelihood = Categorical(5)
    decoder = decoder_of(outputs=likelihood.params_shape((2,)))
    z = jnp.zeros(3)
    x = decoder.sample(z, likelihood, key=jr.key(1))
    assert x.shape == (STEPS, 2)
    assert jnp.issubdtype(x.dtype, jnp.integer)
    assert np.isfinite(likelihood.log_prob(decoder(z, x), x)).all()
    assert set(np.unique(x)) <= set(range(5))


def test_what_does_not_fit_is_refused():
    decoder, x = decoder_of(), jnp.zeros((STEPS, 2))
    net = RecurrentNet(2, 2, width=2, key=jr.key(0))
    for call, message in (
        (lambda: decoder(jnp.zeros((STEPS, 2)), x), r"`z` must have the shape \(4, 3\), or \(3,\)"),
        (lambda: decoder(jnp.zeros(3), x[1:]), r"`x` must have the shape \(4, 2\)"),
        (lambda: SequenceDecoder(net, steps=0, latent=1, outputs=(2,), key=jr.key(0)), "`steps`"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
