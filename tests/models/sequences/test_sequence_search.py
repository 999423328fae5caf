"""Searches for sequences against maxima that are known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest

from pullback.models.sequences import (
    MotifScore,
    design_latent,
    maximise,
    near_target,
    weighted,
)  # fmt: skip

RNG = np.random.default_rng(1)
EBOX = np.eye(4)[[1, 0, 1, 2, 3, 2]] * 20 + 1
RELAXATIONS = ("softmax", "straight_through", "seqprop")


class ByPlace(eqx.Module):
    """A score that is a sum over places."""

    weights: jax.Array

    def __call__(self, x):
        return jnp.sum(self.weights.astype(x.dtype) * x)


class Linear(eqx.Module):
    """Rows that are no letters, linear in z."""

    matrix: jax.Array
    latent: int = eqx.field(static=True)

    def __call__(self, z):
        return (self.matrix.astype(z.dtype) @ z).reshape(-1, 4)


class Ensemble(eqx.Module):
    offsets: jax.Array

    def members(self, x):
        return jnp.sum(x[:, 1]) + self.offsets

    def __call__(self, x):
        return jnp.mean(self.members(x))


def soft(z):
    return jax.nn.softmax(3 * z.reshape(-1, 4))


@pytest.mark.parametrize("relax", RELAXATIONS)
def test_a_score_by_places_is_maximised_exactly(relax, key):
    # Letters half a unit apart: between two that are nearly alike a search is slow to choose.
    weights = jnp.asarray(RNG.permuted(np.tile([0.0, 0.5, 1.0, 1.5], (9, 1)), axis=1))
    found = maximise(ByPlace(weights), count=8, length=9, relax=relax, key=key)
    # Logits that are normalised together do not all get there: two thirds do, so the best does.
    all_of_them = 8 if relax != "seqprop" else 1
    best = "".join("ACGT"[i] for i in jnp.argmax(weights, axis=1))
    assert found.letters[:all_of_them] == (best,) * all_of_them
    np.testing.assert_allclose(found.score[:all_of_them], 9 * 1.5, rtol=1e-12)
    assert found.trajectory.shape == (300, 8)
    assert (found.z, found.members) == (None, None)


@pytest.mark.parametrize("relax", RELAXATIONS)
def test_what_is_given_is_kept_exactly(relax, key):
    fixed = "acgt..NN..TTGA"
    found = maximise(
        MotifScore(EBOX), count=4, fixed=fixed, start="A" * 14, relax=relax, steps=30, key=key
    )
    check_given(found, fixed.upper())


@pytest.mark.parametrize("prior", ["none", "gaussian", "sphere"])
def test_what_is_given_is_kept_by_a_generator_too(prior, key):
    fixed = "AC....GT"
    found = design_latent(
        soft, MotifScore(EBOX), count=4, latent=32, fixed=fixed, prior=prior, steps=30, key=key
    )
    check_given(found, fixed)


def check_given(found, fixed):
    for place, letter in enumerate(fixed):
        if letter not in ".N":
            row = np.eye(4)["ACGT".index(letter)]
            np.testing.assert_array_equal(found.soft[:, place], np.tile(row, (4, 1)))
            assert {letters[place] for letters in found.letters} == {letter}


@pytest.mark.parametrize("relax", RELAXATIONS)
def test_a_score_is_given_what_is_fixed(relax, key):
    found = maximise(lambda x: x[1, 2], count=3, fixed=".G..", relax=relax, steps=1, key=key)
    np.testing.assert_array_equal(found.trajectory, 1.0)


def test_a_motif_is_completed_beside_what_is_given_of_it(key):
    found = design_latent(soft, MotifScore(EBOX), latent=36, count=4, fixed="...CACG..", key=key)
    assert {letters[3:] for letters in found.letters} == {"CACGTG"}


@pytest.mark.parametrize("beta", [0.05, 0.5])
def test_a_linear_generator_comes_to_rest_at_the_closed_form(beta, key):
    # Of its own, so that what is solved does not hang on which tests ran before.
    rng = np.random.default_rng(1)
    matrix, a = rng.normal(size=(24, 5)), rng.normal(size=24)
    score = lambda x: -0.5 * jnp.sum((x.reshape(-1) - a) ** 2)
    found = design_latent(
        Linear(jnp.asarray(matrix), 5), score, count=3, prior="gaussian", beta=beta, steps=8000,
        learning_rate=0.01, key=key,
    )  # fmt: skip
    want = np.linalg.solve(matrix.T @ matrix + beta * np.eye(5), matrix.T @ a)
    np.testing.assert_allclose(found.z, np.tile(want, (3, 1)), atol=1e-5)


def test_a_stronger_prior_makes_z_shorter(key):
    norms = []
    for beta in (0.0, 0.05, 0.2):
        found = design_latent(
            soft, MotifScore(EBOX), count=8, latent=40, prior="gaussian", beta=beta, key=key
        )
        norms.append(np.linalg.norm(found.z, axis=1).mean())
    assert norms[0] > 1.15 * norms[1] > 1.3 * norms[2]


def test_a_sphere_holds_z_at_its_radius(key):
    found = design_latent(soft, MotifScore(EBOX), count=4, latent=40, prior="sphere", key=key)
    np.testing.assert_allclose(np.linalg.norm(found.z, axis=1), np.sqrt(40), rtol=1e-12)
    assert "CACGTG" in found.letters[0]


def test_designs_are_read_again_as_strings_and_ranked_by_that(key):
    score = MotifScore(EBOX)
    found = maximise(score, count=6, length=10, steps=20, key=key)
    strings = jnp.asarray(np.eye(4)[[["ACGT".index(c) for c in text] for text in found.letters]])
    np.testing.assert_array_equal(strings, found.one_hot)
    np.testing.assert_array_equal(np.argmax(found.soft, -1), np.argmax(found.one_hot, -1))
    np.testing.assert_allclose(found.score, [score(x) for x in strings], rtol=1e-12)
    np.testing.assert_allclose(found.score_soft, [score(x) for x in found.soft], rtol=1e-12)
    assert np.all(np.diff(found.score) <= 0)
    # The last step's score is that of the sequences one step before.
    np.testing.assert_allclose(found.trajectory[-1], found.score_soft, atol=0.5)
    assert np.all(found.trajectory[-1] > found.trajectory[0])


def test_a_softmax_flatters_and_straight_through_does_not():
    """Half of each of two letters is best, which no string has: real strings are scored."""
    score = lambda x: jnp.sum(x[:, 0] * x[:, 1])
    flattered = maximise(score, count=2, length=4, key=jr.key(0))
    np.testing.assert_allclose(flattered.score_soft, 1.0, rtol=1e-2)
    np.testing.assert_array_equal(flattered.score, 0.0)
    for relax in ("straight_through", "seqprop"):
        found = maximise(score, count=2, length=4, relax=relax, steps=5, key=jr.key(0))
        np.testing.assert_array_equal(found.trajectory, 0.0)


def test_seqprop_does_not_depend_on_the_size_of_what_it_normalises():
    """Logits along the sequence have a mean of 0 and a variance of 1 by letter, where free."""
    from pullback.models.sequences._climb import Held
    from pullback.models.sequences._maximise import _Logits
    from pullback.models.sequences._pattern import pattern

    space = _Logits(Held.of(pattern("AC........", "ACGT", "fixed"), 4, float), "seqprop")
    raw, one = jnp.asarray(RNG.normal(3.0, 7.0, (10, 4))), jnp.ones(4)
    np.testing.assert_allclose(space.logits(space.begin(raw)), raw, rtol=1e-10)
    seen = space.logits((raw, one, 0 * one))[2:]
    np.testing.assert_allclose(np.mean(seen, axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(np.var(seen, axis=0), 1.0, rtol=1e-5)


def test_an_ensemble_is_asked_of_each_design(key):
    ensemble = Ensemble(jnp.asarray([-1.0, 0.0, 2.0]))
    found = maximise(ensemble, count=2, length=5, key=key)
    assert found.letters == ("CCCCC",) * 2
    np.testing.assert_allclose(found.members, [[4.0, 5.0, 7.0]] * 2)
    first = lambda x: x[0, 0]
    both = weighted([(near_target(ensemble, 3.0), 2.0), (first, -10.0)])
    found = maximise(both, count=2, length=5, key=key)
    sums = found.one_hot[:, :, 1].sum(axis=1)[:, None] + ensemble.offsets[None]
    np.testing.assert_allclose(found.members, -((sums - 3.0) ** 2), atol=1e-12)
    assert maximise(first, count=2, length=5, steps=1, key=key).members is None


def flat(x):
    return 0.0 * jnp.sum(x)


@pytest.mark.parametrize("relax", RELAXATIONS)
def test_a_search_starts_where_it_is_told(relax, key):
    start = ["ACGTA", "TTTTT"]
    found = maximise(flat, count=2, start=start, fixed="..C..", relax=relax, steps=3, key=key)
    assert sorted(found.letters) == ["ACCTA", "TTCTT"]
    # As sure of its letters as of any other start: it can be left.
    np.testing.assert_allclose(found.soft[:, [0, 1, 3, 4]].max(axis=-1), 0.71, atol=0.1)


def test_a_latent_search_starts_where_it_is_told(key):
    z = jnp.asarray(RNG.normal(size=(2, 20)))
    found = design_latent(soft, flat, count=2, start=z, steps=3, key=key)
    np.testing.assert_allclose(found.z, z, rtol=1e-12)


@pytest.mark.parametrize("relax", RELAXATIONS)
def test_the_same_key_gives_the_same_designs_and_compiles_nothing(relax, key):
    from pullback._traced import _run

    ask = lambda counts, key: maximise(
        MotifScore(counts), count=3, length=8, relax=relax, steps=4, key=key
    )
    first = ask(EBOX, key)
    size = _run._cached._cache_size()
    again, other = ask(EBOX, key), ask(EBOX[::-1] + 1, jr.key(5))
    assert _run._cached._cache_size() == size
    np.testing.assert_array_equal(first.trajectory, again.trajectory)
    assert not np.array_equal(first.trajectory, other.trajectory)


def test_an_ensemble_and_a_generator_compile_once(key):
    from pullback._traced import _run

    def ask(seed):
        rng = np.random.default_rng(seed)
        generator = Linear(jnp.asarray(rng.normal(size=(24, 5))), 5)
        score = weighted([(Ensemble(jnp.asarray(rng.normal(size=3))), rng.normal())])
        return design_latent(
            generator, score, count=2, prior="gaussian", beta=rng.uniform(), steps=3, key=key
        )

    ask(0)
    size = _run._cached._cache_size()
    ask(1)
    assert _run._cached._cache_size() == size


@pytest.mark.parametrize("unit", [2.0**-60, 2.0**90])
@pytest.mark.parametrize("ask", [
    lambda score: maximise(score, count=3, length=8, steps=25, key=jr.key(0)),
    lambda score: design_latent(soft, score, count=3, latent=32, steps=25, key=jr.key(0)),
])  # fmt: skip
def test_designs_do_not_hang_on_the_unit_of_the_score(ask, unit, x32):
    # Slopes rise on the way, and a power of two rounds nothing.
    score = lambda unit: lambda x: unit * MotifScore(EBOX)(x) ** 3
    found, want = ask(score(unit)), ask(score(1.0))
    np.testing.assert_array_equal(found.soft, want.soft)
    np.testing.assert_array_equal(found.trajectory / unit, want.trajectory)
    assert found.letters == want.letters
    assert (found.trajectory[-1] > found.trajectory[0]).all()


def test_a_climb_is_that_of_adam(key):
    z, rate = jnp.asarray(np.random.default_rng(3).normal(size=(1, 20))), 0.1
    score = lambda x: jnp.sum(x @ jnp.asarray([0.0, 1.0, 3.0, 9.0])) ** 2
    found = design_latent(soft, score, count=1, start=z, steps=9, learning_rate=rate, key=key)
    slopes = jax.jit(jax.value_and_grad(lambda z: score(soft(z))))
    at, first, second, largest = np.asarray(z[0]), 0.0, 0.0, 0.0
    for step, value in enumerate(found.trajectory[:, 0], 1):
        ours, slope = slopes(at)
        np.testing.assert_allclose(value, ours, rtol=1e-4)
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        deviation = np.sqrt(second / (1 - 0.999**step))
        largest = max(largest, 2.0 ** np.ceil(np.log2(np.max(np.abs(slope)))))
        # Adam's small number is beside the largest slope met.
        at = at + rate * np.asarray(first / (1 - 0.9**step) / (deviation + 1e-8 * largest))
    np.testing.assert_allclose(found.z[0], at, atol=1e-4)


def test_a_model_with_dropout_is_taken_without_it(key):
    net = eqx.nn.Sequential([
        eqx.nn.Lambda(jnp.ravel), eqx.nn.Dropout(0.5), eqx.nn.Linear(32, "scalar", key=jr.key(1)),
    ])  # fmt: skip
    plain = eqx.nn.inference_mode(net)
    generator = eqx.nn.Sequential([eqx.nn.Dropout(0.5), eqx.nn.Lambda(soft)])
    for ask in (
        lambda score: maximise(score, count=2, length=8, steps=3, key=key),
        lambda score: design_latent(generator, score, count=2, latent=32, steps=3, key=key),
    ):
        np.testing.assert_array_equal(ask(net).trajectory, ask(plain).trajectory)


def test_a_search_is_not_to_be_compiled_or_differentiated(key):
    ask = lambda weights, key: maximise(ByPlace(weights), count=1, length=3, steps=1, key=key).score
    weights = jnp.ones((3, 4))
    for call in (
        lambda: jax.jit(lambda key: ask(weights, key))(key),
        lambda: jax.jit(lambda: ask(weights, jr.key(0)))(),
        lambda: jax.grad(lambda weights: ask(weights, key)[0])(weights),
    ):
        with pytest.raises(TypeError, match="call it by itself"):
            call()


def test_float32_out_of_the_box(x32):
    found = maximise(MotifScore(EBOX), count=2, length=8, steps=4, key=jr.key(0))
    also = design_latent(soft, MotifScore(EBOX), count=2, latent=40, steps=4, key=jr.key(0))
    for each in (found, also):
        assert {each.soft.dtype, each.score.dtype, each.trajectory.dtype} == {jnp.dtype("float32")}


def test_a_model_of_float32_is_searched_in_float32(key):
    matrix = jnp.asarray(RNG.normal(size=(24, 5)), jnp.float32)
    found = design_latent(Linear(matrix, 5), MotifScore(EBOX), count=2, steps=2, key=key)
    assert found.z.dtype == found.score.dtype == jnp.float32


def test_letters_may_be_those_of_a_protein(key):
    alphabet = "ACDEFGHIKLMNPQRSTVWY"
    found = maximise(lambda x: jnp.sum(x[:, 3]), count=1, fixed="N..N", alphabet=alphabet, key=key)
    assert found.letters == ("NEEN",)


@pytest.mark.parametrize(
    ("score", "match"),
    [
        (lambda x: jnp.log(jnp.sum(x[:, 0]) - 10.0), "at step 1 of 5 is not finite"),
        (lambda x: jnp.sum(jnp.sqrt(x - x)), "at step 1 of 5 is not finite"),
        (lambda x: -jnp.sum(jnp.log(1 - x)), "of a one-hot string is not finite"),
    ],
)
def test_a_score_that_is_no_number_is_said_to_be_none(score, match, key, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=match):
        maximise(score, count=2, length=3, steps=5, key=key)


@pytest.mark.parametrize(
    ("arguments", "kind", "match"),
    [
        ({"score": 3}, TypeError, "`score` must be callable"),
        ({"score": lambda x: x}, TypeError, "floating scalar"),
        ({"score": lambda x: jnp.argmax(x)}, TypeError, "floating scalar"),
        ({"score": lambda x: (jnp.sum(x),)}, TypeError, "floating scalar"),
        ({"count": 0}, ValueError, "`count` must be 1 or more"),
        ({"count": 1.5}, TypeError, "`count` must be a whole number"),
        ({"steps": 0}, ValueError, "`steps` must be 1 or more"),
        ({"learning_rate": 0.0}, ValueError, "`learning_rate` must be positive"),
        ({"length": None}, ValueError, "one length.*got none"),
        ({"length": 5, "fixed": "AC.."}, ValueError, "`length` 5, `fixed` 4"),
        ({"fixed": "ACGTACGT"}, ValueError, "nothing to design"),
        ({"fixed": "ACXTACG."}, ValueError, "'X' at place 3"),
        ({"fixed": 8}, TypeError, "`fixed` must be a string"),
        ({"start": ["ACGTACGT"]}, ValueError, "1 sequences for 2 designs"),
        ({"start": ["ACGTACGT", "AC"]}, ValueError, r"lengths \[2, 8\]"),
        ({"relax": "gumbel"}, ValueError, "'seqprop', got 'gumbel'"),
        ({"alphabet": "AAC"}, ValueError, "two different letters"),
        ({"alphabet": "AC.T"}, ValueError, "must not hold '.'"),
        ({"start": 5}, TypeError, "`start` must be a string"),
        ({"learning_rate": "a"}, TypeError, "`learning_rate` must be one number"),
    ],
)
def test_what_no_search_can_be_made_of(arguments, kind, match, key, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    usual = {"score": lambda x: jnp.sum(x[:, 0]), "count": 2, "length": 8, "key": key}
    with pytest.raises(kind, match=match):
        maximise(**{**usual, **arguments})


@pytest.mark.parametrize(
    ("arguments", "kind", "match"),
    [
        ({"generator": None}, TypeError, r"`generator` must be callable, from z \(Z,\) to rows"),
        ({"generator": Linear(jnp.ones((20, 7)), 7)}, TypeError, "with one z of 20 numbers"),
        ({"generator": lambda z: z}, TypeError, "`generator` must give rows of 4 letters"),
        ({"latent": None}, TypeError, "`latent`.*is not known"),
        ({"latent": 0}, ValueError, "`latent` must be 1 or more"),
        ({"prior": "uniform"}, ValueError, "'sphere', got 'uniform'"),
        ({"beta": 0.1}, ValueError, "prior='gaussian'"),
        ({"prior": "gaussian", "beta": -0.1}, ValueError, "away from the prior"),
        ({"prior": "gaussian", "beta": np.nan}, ValueError, "0 or more"),
        ({"fixed": "AC."}, ValueError, "`fixed` has 3 letters, and the generator's sequences 5"),
        ({"fixed": "ACGTA"}, ValueError, "nothing to design"),
        ({"start": np.zeros((3, 20))}, ValueError, r"shape \(2, 20\), got \(3, 20\)"),
        ({"start": np.zeros((2, 20))}, ValueError, "no row of zeros alone"),
        ({"start": np.full((2, 20), np.nan)}, ValueError, "finite"),
        ({"start": "a"}, TypeError, "`start` must be an array of numbers"),
        ({"prior": "gaussian", "beta": "a"}, TypeError, "`beta` must be one number"),
    ],
)
def test_what_no_latent_search_can_be_made_of(arguments, kind, match, key, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    usual = {"generator": soft, "score": lambda x: jnp.sum(x[:, 0]), "count": 2, "latent": 20}
    with pytest.raises(kind, match=match):
        design_latent(**{**usual, "key": key, **arguments})
