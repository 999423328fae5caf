"""From strings to better strings: all that lies between, on a language of three letters."""

import itertools
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.data import Vocabulary
from pullback.models.sequences import (
    GaussianProcess,
    LatentSpace,
    bayes_opt,
    climb,
    decode_many,
    fit_token_vae,
)

# Words are letters in the order of the alphabet, and the score of a word is its number of c's.
WORDS = [
    "a" * i + "b" * j + "c" * k
    for i, j, k in itertools.product(range(5), range(5), range(7))
    if 1 <= i + j + k <= 10
]
LETTERS = Vocabulary.letters("abc", max_length=10)


def canonical(string):
    return string if re.fullmatch("a*b*c*", string) else None


def count(strings):
    return np.array([string.count("c") if canonical(string) else np.nan for string in strings])


@pytest.fixture(scope="module")
def fitted():
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        model, _ = fit_token_vae(
            LETTERS.encode(WORDS), count(WORDS), tokens=LETTERS.size, latent=4, width=32,
            steps=400, batch_size=64, buckets=False, progress=False, key=jr.key(0),
        )  # fmt: skip
        draw = eqx.filter_jit(jax.vmap(lambda z, key: model.decode(z, key=key)))
        decode = lambda z, *, key: LETTERS.decode(np.asarray(draw(z, jr.split(key, len(z)))))
        encode = lambda strings: jax.vmap(model.encode)(jnp.asarray(LETTERS.encode(strings)))[0]
        codes = encode(WORDS)
        yield decode, encode, codes, LatentSpace.from_data(codes)


def test_codes_decode_to_their_words(fitted, x32):
    decode, encode, codes, space = fitted
    few = slice(0, None, 12)
    found = decode_many(
        decode, codes[few], attempts=20, canonical=canonical, encode=encode, space=space,
        key=jr.key(1),
    )  # fmt: skip
    words = WORDS[few]
    assert np.mean([each.valid for each in found]) > 0.8
    assert np.mean([w in each.strings for w, each in zip(words, found, strict=True)]) > 0.8
    # Where the word itself came, no other is nearer.
    for word, each in zip(words, found, strict=True):
        if word in each.strings:
            assert each.strings[0] == word
            np.testing.assert_allclose(each.distances[0], 0, atol=1e-3)


def test_uphill_leads_to_higher_scores_and_chance_does_not(fitted, x32):
    decode, _, codes, space = fitted
    w, scores = space.whiten(codes), count(WORDS)
    process = GaussianProcess.fit(w[::2], scores[::2])
    held_out = jax.vmap(process)(w[1::2])
    assert np.corrcoef(held_out, scores[1::2])[0, 1] > 0.9
    low = w[scores <= 1][:40]
    path = climb(process, low, steps=20, step=0.1, trust_radius=1.5)
    noise = jr.normal(jr.key(2), low.shape)
    aside = low + 1.5 * noise / jnp.linalg.norm(noise, axis=1, keepdims=True)
    mean = lambda w: np.nanmean(count(decode(space.unwhiten(w), key=jr.key(3))))
    assert mean(path[-1]) > max(mean(low), mean(aside)) + 1


def test_a_search_finds_more_than_it_was_shown(fitted, x32):
    decode, _, codes, space = fitted
    scores = count(WORDS)
    shown = np.flatnonzero(scores <= 3)[::3]
    trace = bayes_opt(
        decode, space, count, codes[shown], scores[shown], rounds=3, batch=5, starts=8,
        attempts=10, canonical=canonical, key=jr.key(4),
    )  # fmt: skip
    best, value = trace.best()[0]
    assert value >= 5
    assert canonical(best) == best
    assert 0 < trace.calls <= 15
    assert {*trace.strings} <= {"", *filter(canonical, trace.strings)}
