"""Tokens that end at a stop: against all sequences listed, and temperatures against counts."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest
from scipy import special, stats

from pullback.models.likelihoods import Tokens

TIME, LEVELS = 3, 3


def every_sequence():
    """Those of three places, with zeros behind the stop."""
    found = {
        tuple(np.where(np.cumprod(np.asarray(x) != 0), x, 0).tolist())
        for x in itertools.product(range(LEVELS), repeat=TIME)
    }
    return np.asarray(sorted(found))


def test_the_probabilities_of_all_sequences_sum_to_one_and_have_the_means_that_are_said():
    params, x = jr.normal(jr.key(0), (TIME, LEVELS)), every_sequence()
    assert len(x) == 1 + 2 + 4 + 8
    law = Tokens(LEVELS)
    many = jnp.broadcast_to(params[None], (len(x), TIME, LEVELS))
    p = np.exp(np.asarray(law.log_prob(many, jnp.asarray(x))).sum(1))
    assert p.sum() == pytest.approx(1, rel=1e-12)
    means = np.einsum("n,ntk->tk", p, np.eye(LEVELS)[x])
    np.testing.assert_allclose(law.mean(params), means, rtol=1e-12)
    np.testing.assert_allclose(law.mean(params[0]), special.softmax(params[0]), rtol=1e-12)


def test_what_follows_the_stop_is_neither_scored_nor_learned_from():
    params = jr.normal(jr.key(0), (2, 5, 4))
    x = jnp.asarray([[2, 1, 0, 0, 0], [2, 1, 0, 3, 1]])
    law = Tokens(4)
    found = law.log_prob(params, x)
    np.testing.assert_array_equal(found[:, 3:], 0)
    np.testing.assert_allclose(
        found[:, :3],
        np.take_along_axis(special.log_softmax(params, -1), np.asarray(x)[..., None], -1)[:, :3, 0],
        rtol=1e-12,
    )
    slope = jax.grad(lambda params: jnp.sum(law.log_prob(params, x)))(params)
    np.testing.assert_array_equal(slope[:, 3:], 0)
    assert np.all(slope[:, :3] != 0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_have_the_probabilities_of_their_temperature(temperature):
    params, count = jnp.asarray([1.0, -0.5, 0.3, 0.0]), 20_000
    draws = eqx.filter_jit(jax.vmap(lambda key: Tokens(4, temperature).sample(params, key=key)))(
        jr.split(jr.key(1), count)
    )
    assert draws.dtype == jnp.int32
    p = special.softmax(np.asarray(params) / temperature)
    found = np.bincount(np.asarray(draws), minlength=4)
    assert stats.chisquare(found, count * p).pvalue > 0.01
    for other in {0.5, 1.0, 2.0} - {temperature}:  # the draws can tell
        q = special.softmax(np.asarray(params) / other)
        assert stats.chisquare(found, count * q).pvalue < 1e-6


def test_whole_sequences_are_drawn_with_their_probabilities():
    params, x, count = jr.normal(jr.key(2), (TIME, LEVELS)), every_sequence(), 20_000
    draw = jax.jit(jax.vmap(lambda key: Tokens(LEVELS).sample(params, key=key)))
    draws = np.asarray(draw(jr.split(jr.key(3), count)))
    many = jnp.broadcast_to(params[None], (len(x), TIME, LEVELS))
    p = np.exp(np.asarray(Tokens(LEVELS).log_prob(many, jnp.asarray(x))).sum(1))
    found = np.asarray([(draws == each).all(1).sum() for each in x])
    assert found.sum() == count
    assert (np.abs(found - count * p) < 4 * np.sqrt(count * p)).all()


def test_at_temperature_zero_each_is_the_likeliest_and_a_traced_one_is_as_good():
    params = jr.normal(jr.key(0), (7, 4))
    cold = Tokens(4, 0).sample(params.at[:, 0].set(-9.0), key=jr.key(1))
    np.testing.assert_array_equal(cold, np.argmax(params[:, 1:], axis=1) + 1)
    traces = []

    @jax.jit
    def draw(temperature, key):
        traces.append(1)
        return Tokens(4, temperature).sample(params, key=key)

    for temperature in (0.0, 0.7, 3.0):
        np.testing.assert_array_equal(
            draw(temperature, jr.key(4)), Tokens(4, temperature).sample(params, key=jr.key(4))
        )
    assert len(traces) == 1


def test_a_single_token_is_one_that_nothing_ended():
    law, params = Tokens(3), jnp.asarray([0.0, 1.0, 2.0])
    for token in range(3):
        expected = special.log_softmax(np.asarray(params))[token]
        np.testing.assert_allclose(law.log_prob(params, jnp.asarray(token)), expected, rtol=1e-12)


def test_the_number_of_tokens_is_whole():
    with pytest.raises(TypeError, match=r"`levels` must be a whole number|Type-check"):
        Tokens(2.5)  # pyrefly: ignore


def test_the_number_of_tokens_may_be_of_numpy():
    law = Tokens(np.int64(5))
    assert law.levels == 5
    assert type(law.levels) is int


@pytest.mark.parametrize("temperature", [np.inf, np.nan, -1.0, "a", None])
def test_the_temperature_is_a_finite_number(temperature, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises((ValueError, TypeError), match=r"`temperature` must be (0 or more|one num)"):
        Tokens(3, temperature)


def test_logits_of_other_tokens_or_none_are_refused():
    law, other = Tokens(3), jnp.zeros((2, 4))
    for call in (
        lambda: law.sample(other, key=jr.key(0)),
        lambda: law.log_prob(other, jnp.array([1, 0])),
        lambda: law.mean(other),
    ):
        with pytest.raises(ValueError, match=r"must have 3 logits .* the shape \(2, 4\)"):
            call()
    with pytest.raises(ValueError, match="`params` are NaN"):
        law.sample(jnp.full((2, 3), jnp.nan), key=jr.key(0))
