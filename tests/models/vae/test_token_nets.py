"""Nets of tokens: against loops over places, the cell itself, and their own draws."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.models.vae import TokenDecoder, TokenEncoder, Tokens

TOKENS, LENGTH, LATENT, WIDTH = 5, 8, 3, 6


def encoder_of(**sizes):
    sizes = {"embed": 4, "width": 6, "kernel": 5} | sizes
    return TokenEncoder(TOKENS, LENGTH, (4,), **sizes, key=jr.key(0))


def decoder_of():
    made = TokenDecoder(TOKENS, LENGTH, latent=LATENT, width=WIDTH, embed=4, key=jr.key(0))
    # Larger weights: the tokens then depend on each other and on z strongly.
    return jax.tree.map(lambda leaf: 2 * leaf if eqx.is_inexact_array(leaf) else leaf, made)


def test_the_encoder_is_two_convolutions_and_a_map_of_all_places():
    encoder, x = encoder_of(), np.asarray([3, 1, 4, 1, 2, 0, 4, 4])
    inside = (np.arange(8) < 5)[:, None]

    def convolve(conv, rows):
        weight = np.asarray(conv.weight)
        out = np.tile(np.asarray(conv.bias), (len(rows), 1))
        for t in range(len(rows)):
            for j in range(len(weight)):
                if 0 <= t + j - len(weight) // 2 < len(rows):
                    out[t] += rows[t + j - len(weight) // 2] @ weight[j]
        return np.maximum(out, 0)

    h = convolve(encoder.first, np.asarray(encoder.letters)[x] * inside) * inside
    assert len(encoder.second.weight) == 3
    h = convolve(encoder.second, h.reshape(4, 12)) * inside[::2]
    flat = np.concatenate([h.ravel(), h.sum(0) / 2])
    expected = np.asarray(encoder.last.weight) @ flat + np.asarray(encoder.last.bias)
    for run in (encoder, eqx.filter_jit(encoder)):
        np.testing.assert_allclose(run(jnp.asarray(x)), expected, rtol=1e-10)


@pytest.mark.parametrize("count", [1, 4])
def test_neither_padding_nor_what_follows_the_stop_reaches_the_code(count):
    encoder, tokens = eqx.filter_jit(encoder_of()), [4, 1, 4, 2][:count]
    whole = encoder(jnp.asarray(tokens + [0] * (LENGTH - count)))
    for tail in ([0], [0, 3, 2, 0]):
        np.testing.assert_allclose(encoder(jnp.asarray(tokens + tail)), whole, rtol=1e-12)
    np.testing.assert_allclose(encoder(jnp.asarray(tokens)), whole, rtol=1e-12)
    assert np.all(whole != encoder(jnp.asarray([*tokens[:-1], 3, 0])))


def test_an_encoder_of_an_odd_length_takes_all_of_it():
    encoder = eqx.filter_jit(
        TokenEncoder(TOKENS, 7, (2, 3), embed=4, width=6, kernel=5, key=jr.key(0))
    )
    x = jnp.asarray([1, 2, 3, 4, 1, 2, 3])
    code = lambda last: encoder(x.at[-1].set(last))
    assert encoder(x).shape == (2, 3)
    assert np.all(code(3) != code(4))


def by_the_cell(decoder, z, x):
    """The logits by Equinox's own cell, of a token's row and z side by side."""
    h = jnp.tanh(decoder.start_of(z))
    logits, before = [], 0
    for token in x:
        h = decoder.cell(jnp.concatenate([decoder.letters[before], z]), h)
        logits.append(decoder.head(jnp.concatenate([h, z])))
        before = token
    return np.stack(logits)


def test_the_decoder_is_the_cell_told_z_at_its_start_at_every_token_and_at_its_head():
    decoder, z = decoder_of(), jr.normal(jr.key(1), (LATENT,))
    x = jnp.asarray([3, TOKENS, 4, 1, 0, 2, 2, 1])  # the second is hidden
    expected = by_the_cell(decoder, z, x)
    for run in (decoder, eqx.filter_jit(decoder)):
        np.testing.assert_allclose(run(z, x), expected, rtol=1e-10)
    np.testing.assert_allclose(run(z, x[:3]), expected[:3], rtol=1e-10)


@pytest.mark.parametrize("part", ["start_of", "gates", "head"])
def test_z_is_told_at_each_of_the_three(part):
    decoder, x = decoder_of(), jnp.asarray([3, 1, 4, 1])
    places = {
        "start_of": lambda d: d.start_of.weight,
        "gates": lambda d: d.cell.weight_ih,
        "head": lambda d: d.head.weight,
    }
    blind = lambda d, name: eqx.tree_at(
        places[name], d, replace_fn=lambda weight: weight.at[:, -LATENT:].set(0)
    )
    for other in set(places) - {part}:
        decoder = blind(decoder, other)
    slope = eqx.filter_jit(lambda decoder: jax.jacrev(decoder)(jnp.ones(LATENT), x))
    assert np.all(np.any(slope(decoder) != 0, axis=(1, 2)))
    assert not np.any(slope(blind(decoder, part)))


def test_a_token_depends_on_those_before_it_alone():
    decoder, z = decoder_of(), jnp.ones(LATENT)

    def logits(rows):
        """As `decoder(z, x)`, of the rows that stand for the tokens."""
        wide = eqx.tree_at(lambda d: d.letters, decoder, jnp.concatenate([rows, rows[:1]]))
        return wide(z, jnp.arange(len(rows)))

    rows = jr.normal(jr.key(1), (LENGTH, 4))
    slope = np.any(np.asarray(jax.jit(jax.jacrev(logits))(rows)) != 0, axis=(1, 3))
    # Row 0 stands for the stop, and so for what comes before the first token, too.
    np.testing.assert_array_equal(slope[:, 1:], np.tri(LENGTH, k=-1, dtype=bool)[:, 1:])


def test_drawn_step_by_step_a_sequence_has_the_probability_that_it_has_at_once():
    decoder, law = decoder_of(), Tokens(TOKENS)
    z = jr.normal(jr.key(1), (20, LATENT))
    draw = jax.jit(jax.vmap(lambda z, key: decoder.sample(z, law, key=key)))
    draws = draw(z, jr.split(jr.key(2), 20))
    assert draws.shape == (20, LENGTH)
    assert draws.dtype == jnp.int32
    at_once = jax.jit(jax.vmap(lambda z, x: jnp.sum(law.log_prob(decoder(z, x), x))))(z, draws)

    def by_steps(z, x):
        state, before, total, going = decoder.start(z), jnp.asarray(0), 0.0, True
        for token in x:
            state, logits = decoder.step(state, before)
            total += jnp.where(going, jax.nn.log_softmax(logits)[token], 0.0)
            going, before = going & (token != 0), token
        return total

    np.testing.assert_allclose(jax.jit(jax.vmap(by_steps))(z, draws), at_once, rtol=1e-10)
    ended = np.cumsum(np.asarray(draws) == 0, axis=1) > 0
    assert not np.asarray(draws)[ended].any()
    assert ended[:, -1].any()
    assert not ended[:, -1].all()
    # Greedily it is a path of the likeliest.
    cold = decoder.sample(z[0], Tokens(TOKENS, 0), key=jr.key(3))
    logits = np.asarray(decoder(z[0], cold))
    some = np.cumprod(np.asarray(cold) != 0).sum() + 1
    np.testing.assert_array_equal(logits.argmax(1)[:some], cold[:some])


def test_the_next_token_is_drawn_with_its_probability():
    decoder, law, z, count = decoder_of(), Tokens(TOKENS), jnp.ones(LATENT), 20_000
    draw = jax.jit(jax.vmap(lambda key: decoder.sample(z, law, key=key)[:2]))
    draws = np.asarray(draw(jr.split(jr.key(5), count)))
    pairs = np.asarray([(a, b) for a in range(TOKENS) for b in range(TOKENS) if a or not b])
    score = jax.jit(jax.vmap(lambda x: jnp.sum(law.log_prob(decoder(z, x), x))))
    p = np.exp(np.asarray(score(jnp.asarray(pairs))))
    assert p.sum() == pytest.approx(1, rel=1e-10)
    found = np.asarray([(draws == pair).all(1).sum() for pair in pairs])
    assert (np.abs(found - count * p) < 4 * np.sqrt(count * p)).all()


def test_a_draw_takes_a_step_of_the_cell_for_each_token():
    decoder = decoder_of()
    draw = lambda z, key: decoder.sample(z, Tokens(TOKENS), key=key)
    program = jax.make_jaxpr(draw)(jnp.ones(LATENT), jr.key(0))
    products = lambda jaxpr: sum(
        each.primitive.name == "dot_general"
        and (3 * WIDTH, WIDTH) in [v.aval.shape for v in each.invars]
        for each in jaxpr.eqns
    )
    (loop,) = [each for each in program.eqns if each.primitive.name == "scan"]
    assert loop.params["length"] == LENGTH
    assert products(loop.params["jaxpr"].jaxpr) == 1
    assert products(program.jaxpr) == 0


def test_tokens_are_hidden_at_the_rate_that_is_said():
    decoder, x = decoder_of(), jr.randint(jr.key(1), (400, LENGTH), 0, TOKENS)
    hidden = decoder.hide(x, 0.2, key=jr.key(2))
    at = np.asarray(hidden) == TOKENS
    np.testing.assert_array_equal(np.asarray(hidden)[~at], np.asarray(x)[~at])
    assert abs(at.mean() - 0.2) < 4 * np.sqrt(0.16 / x.size)
    np.testing.assert_array_equal(decoder.hide(x, 0.0, key=jr.key(2)), x)


def test_both_are_of_the_type_of_their_weights(x32):
    to32 = lambda net: jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf, net
    )
    x = jnp.asarray([1, 2, 0])
    assert to32(encoder_of())(x).dtype == jnp.float32
    assert to32(decoder_of())(jnp.ones(LATENT), x).dtype == jnp.float32


def test_what_does_not_fit_is_refused():
    encoder, decoder, x = encoder_of(), decoder_of(), jnp.zeros(4, int)
    for call, message in (
        (lambda: encoder(jnp.zeros(9, int)), r"`x` must be one sequence of 1 to 8 tokens, got"),
        (lambda: encoder(jnp.zeros((2, 4), int)), r"got the shape \(2, 4\)"),
        (lambda: encoder(jnp.zeros(0, int)), "`x` must be one sequence of 1 to 8 tokens"),
        (lambda: decoder(jnp.ones(2), x), r"`z` must have the shape \(3,\), got \(2,\)"),
        (lambda: decoder(jnp.ones(3), x[None]), "`x` must be one sequence of tokens, got"),
        (lambda: encoder(x + 5), "from 0 to 4; it has 5 at 0, one of 4"),
        (lambda: decoder(jnp.ones(3), x - 1), "it has -1 at 0, one of 4"),
        (lambda: decoder(jnp.ones(3), x.astype(float)), "whole numbers; got float64"),
        (lambda: decoder.hide(x, 1.5, key=jr.key(0)), "`rate` must be from 0 to 1, got 1.5"),
        (lambda: decoder.sample(jnp.ones(3), Tokens(7), key=jr.key(0)), "must have 7 logits"),
        (lambda: TokenEncoder(5, 8, 4, key=jr.key(0)), "`outputs` must be a shape"),
        (lambda: encoder_of(kernel=4), "`kernel` must be odd"),
        (lambda: TokenEncoder(0, 1, (1,), key=jr.key(0)), "`tokens` must be 1 or more"),
        (lambda: TokenDecoder(1, 1, latent=0, key=jr.key(0)), "`latent` must be 1 or more"),
    ):
        with pytest.raises((ValueError, TypeError), match=f"{message}|Type-check"):
            call()
