"""Biases, popularity and least squares, beside their formulas written out."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.data import Ratings
from pullback.models.recommenders import (
    PreferenceFactors,
    RatingFactors,
    fit_als,
    fit_biases,
    fit_popularity,
    untrained_chains,
)

M, N = 12, 9
KEY = jr.key(0)


def table(values, mask):
    users, items = np.nonzero(mask)
    names = tuple(f"u{k}" for k in range(M)), tuple(f"i{k}" for k in range(N))
    return Ratings(users, items, values[mask], *names)


def some(seed=0, density=0.6):
    rng = np.random.default_rng(seed)
    mask = rng.random((M, N)) < density
    return table(rng.integers(1, 6, (M, N)).astype(float), mask), mask


def of_user(ratings, user):
    own = ratings.users == user
    return jnp.asarray(ratings.items[own]), jnp.asarray(ratings.values[own])


def test_biases_are_shrunk_means_of_what_the_others_leave():
    ratings, mask = some()
    found = fit_biases(ratings, user_shrinkage=3.0, item_shrinkage=2.0, sweeps=200)
    full = np.zeros((M, N))
    full[mask] = ratings.values - ratings.values.mean()
    users, items = np.asarray(found.users), np.asarray(found.items)
    left = np.where(mask, full - items, 0).sum(1) / (mask.sum(1) + 3)
    np.testing.assert_allclose(users, left, atol=1e-6)
    left = np.where(mask, full - users[:, None], 0).sum(0) / (mask.sum(0) + 2)
    np.testing.assert_allclose(items, left, atol=1e-6)
    want = ratings.values.mean() + users[3] + items[5]
    np.testing.assert_allclose(found.predict(jnp.array([3]), jnp.array([5])), want, atol=1e-6)


def test_one_sweep_of_biases_takes_items_as_they_are():
    ratings, mask = some()
    found = fit_biases(ratings, item_shrinkage=4.0, sweeps=1)
    above = np.bincount(ratings.items, ratings.values - ratings.values.mean(), N)
    np.testing.assert_allclose(found.items, above / (mask.sum(0) + 4), atol=1e-6)


def models(ratings):
    explicit = fit_als(ratings, rank=2, regularisation=0.5, key=KEY)
    implicit = fit_als(ratings, rank=2, feedback="implicit", confidence=0.7, key=KEY)
    return [fit_biases(ratings), explicit, implicit]


@pytest.mark.parametrize("compiled", [False, True])
def test_a_newcomer_with_the_ratings_of_a_user_is_that_user(compiled):
    ratings, _ = some()
    with jax.enable_x64(True):
        for model in models(ratings):
            embed = eqx.filter_jit(model.embed) if compiled else model.embed
            for user in (0, 7):
                vector = embed(*of_user(ratings, user))
                fitted = jnp.atleast_1d(model.users[user])
                np.testing.assert_allclose(vector, fitted, atol=1e-12)
                items = jnp.arange(N)
                np.testing.assert_allclose(
                    model.rate(vector, items), model.predict(jnp.full(N, user), items), atol=1e-12
                )


def test_padding_has_no_weight_and_order_does_not_count():
    ratings, _ = some()
    with jax.enable_x64(True):
        for model in models(ratings):
            items, values = of_user(ratings, 4)
            padded = jnp.concatenate([items, jnp.array([0, 3])])[::-1]
            junk = jnp.concatenate([values, jnp.array([jnp.nan, 99.0])])[::-1]
            known = jnp.arange(len(padded)) >= 2
            rows = eqx.filter_jit(lambda embed, *given: jax.vmap(embed)(*given))
            found = rows(model.embed, padded[None], junk[None], known[None])[0]
            want = eqx.filter_jit(model.embed)(items, values)
            np.testing.assert_allclose(found, want, atol=1e-12)


def test_a_newcomer_without_a_rating_gets_the_biases_of_items():
    ratings, _ = some()
    nothing = jnp.zeros(0, int), jnp.zeros(0)
    biases, factors, preference = models(ratings)
    for model in (biases, factors):
        user = model.embed(*nothing)
        assert not np.any(user)
        want = model.mean + (model.items if model.items.ndim == 1 else model.items[:, 0])
        np.testing.assert_allclose(model.rate(user, jnp.arange(N)), want, atol=1e-6)
    assert not np.any(preference.embed(*nothing))


def explicit_objective(model, ratings, ridge):
    found = np.asarray(model.predict(jnp.asarray(ratings.users), jnp.asarray(ratings.items)))
    size = (np.asarray(model.users) ** 2).sum() + (np.asarray(model.items) ** 2).sum()
    return ((found - ratings.values) ** 2).sum() + ridge * size


def test_explicit_factors_are_where_their_objective_has_no_slope():
    ratings, _ = some()
    with jax.enable_x64(True):
        model = fit_als(ratings, rank=2, regularisation=1.5, sweeps=400, key=KEY)
        assert isinstance(model, RatingFactors)
        users, items = jnp.asarray(ratings.users), jnp.asarray(ratings.items)

        def objective(both):
            u, v = both
            found = model.mean + u[users, 0] + v[items, 0] + (u[users, 1:] * v[items, 1:]).sum(-1)
            size = (u**2).sum() + (v**2).sum()
            return ((found - ratings.values) ** 2).sum() + 1.5 * size

        slopes = jax.jit(jax.grad(objective))((model.users, model.items))
        assert max(float(jnp.abs(s).max()) for s in slopes) < 1e-3
        short = fit_als(ratings, rank=2, regularisation=1.5, sweeps=2, key=KEY)
    assert explicit_objective(model, ratings, 1.5) < explicit_objective(short, ratings, 1.5)


def test_implicit_factors_are_where_their_objective_over_all_pairs_has_no_slope():
    ratings, mask = some(density=0.4)
    full = np.zeros((M, N))
    full[mask] = ratings.values
    with jax.enable_x64(True):
        model = fit_als(
            ratings, rank=2, regularisation=0.8, feedback="implicit", confidence=0.5, sweeps=400,
            key=KEY,
        )  # fmt: skip
        assert isinstance(model, PreferenceFactors)

        def objective(both):
            u, v = both
            left = (1 + 0.5 * full) * (jnp.asarray(mask, float) - u @ v.T) ** 2
            return left.sum() + 0.8 * ((u**2).sum() + (v**2).sum())

        slopes = jax.jit(jax.grad(objective))((model.users, model.items))
        assert max(float(jnp.abs(s).max()) for s in slopes) < 1e-3


def test_low_rank_without_noise_is_recovered_and_a_newcomer_folded_in():
    rng = np.random.default_rng(1)
    u, v = rng.normal(size=(M + 1, 2)), rng.normal(size=(N, 2))
    full = 3 + u @ v.T
    mask = rng.random((M, N)) < 0.8
    with jax.enable_x64(True):
        model = fit_als(table(full[:M], mask), rank=4, regularisation=1e-9, sweeps=300, key=KEY)
        users, items = np.nonzero(~mask)
        # Rank 2 and two of biases less a mean; five ratings fix the vector of a newcomer.
        found = np.asarray(model.predict(jnp.asarray(users), jnp.asarray(items)))
        seen = np.asarray(model.predict(*map(jnp.asarray, np.nonzero(mask))))
    np.testing.assert_allclose(seen, full[:M][mask], atol=1e-3)
    assert np.median(np.abs(found - full[:M][~mask])) < 0.2


def test_regularisation_is_chosen_by_what_it_does_on_ratings_held_out():
    rng = np.random.default_rng(2)
    quiet = table(3 + np.outer(rng.normal(size=M), rng.normal(size=N)), np.ones((M, N), bool))
    noise = table(rng.normal(size=(M, N)), np.ones((M, N), bool))
    few = quiet.take(np.arange(20))
    ridges = [fit_als(each, rank=1, key=KEY).regularisation for each in (quiet, noise, few)]
    assert ridges[0] <= 1
    assert ridges[1] >= 10
    assert ridges[2] == 10


def test_popularity_is_the_share_of_users_whoever_asks():
    ratings, mask = some()
    model = fit_popularity(ratings)
    shares = mask.sum(0) / M
    user = model.embed(*of_user(ratings, 1))
    np.testing.assert_allclose(model.rate(user, jnp.arange(N)), shares, atol=1e-6)
    found = model.predict(jnp.array([2, 3]), jnp.array([4, 4]))
    np.testing.assert_allclose(found, shares[[4, 4]], atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "`rank` must be 1 or more"),
        ({"sweeps": 0}, "`sweeps` must be 1 or more"),
        ({"regularisation": 0.0}, "`regularisation` must be above 0 and finite, got 0"),
        ({"confidence": -1.0}, "`confidence` must be above 0 and finite, got -1"),
        ({"confidence": np.inf}, "`confidence` must be above 0 and finite, got inf"),
        ({"regularisation": np.inf}, "`regularisation` must be above 0 and finite, got inf"),
        ({"feedback": "both"}, "`feedback` must be 'explicit' or"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        fit_als(some()[0], key=KEY, **settings)
    with pytest.raises(ValueError, match="`user_shrinkage` must be above 0, got 0"):
        fit_biases(some()[0], user_shrinkage=0.0)


@pytest.mark.parametrize("compiled", [False, True])
def test_what_ratings_bring_adds_up_to_the_vector_and_to_what_it_would_give(compiled):
    ratings, _ = some()
    chains = untrained_chains(ratings, latent=3, prototypes=4, width=5, key=KEY).embed(ratings)
    for model in (*models(ratings), fit_popularity(ratings), chains):
        items, values = of_user(ratings, 4)
        known = jnp.arange(len(items)) > 0
        pieces = (eqx.filter_jit(model.pieces) if compiled else model.pieces)(items, values, known)
        vector = model.embed(items, values, known)
        # What all users share: of chains the 1 beside the vector, and of others nothing.
        shared = model.embed(items[:0], values[:0])
        np.testing.assert_allclose(pieces.sum(0) + shared, vector, atol=1e-5)
        assert not np.any(pieces[0])
        every = jnp.arange(N)
        rates = jax.vmap(model.rate, (0, None))
        base, none = model.rate(shared, every), model.rate(0 * vector, every)
        added = (np.asarray(rates(pieces, every)) - np.asarray(none)).sum(0)
        np.testing.assert_allclose(base + added, model.rate(vector, every), atol=1e-5)


def every_model():
    ratings, _ = some()
    chains = untrained_chains(ratings, latent=3, prototypes=4, width=5, key=KEY).embed(ratings)
    return [*models(ratings), fit_popularity(ratings), chains]


MODELS = {
    "biases": 0,
    "als": 1,
    "implicit als": 2,
    "popularity": 3,
    "chains": 4,
}


@pytest.fixture(scope="module")
def made():
    return every_model()


def refused(model):
    """Calls that must not answer, and what is said."""
    vector = model.embed([0, 1], [3.0, 4.0])
    return [
        (lambda: model.predict([10**6], [0]), r"`users` must be rows from 0 to 11.* got 1000000"),
        (lambda: model.predict([-1], [0]), r"`users` must be rows from 0 to 11.* got -1"),
        (lambda: model.predict([0], [N]), r"`items` must be rows from 0 to 8.* got 9"),
        (lambda: model.rate(vector, [0, -1]), r"`items` must be rows from 0 to 8.* got -1"),
        (lambda: model.embed([N], [1.0]), r"`items` must be rows from 0 to 8.* got 9"),
        (lambda: model.pieces([-1], [1.0]), r"`items` must be rows from 0 to 8.* got -1"),
        (lambda: model.embed([0, 1, 2], [3.0]), r"`values` must be as long, got \(3,\) and \(1,\)"),
        (lambda: model.pieces([0], [3.0, 4.0]), r"`values` must be as long, got \(1,\) and \(2,\)"),
        (lambda: model.embed([0, 1], [3.0, 4.0], [True]), "`known` and `items` must be as long"),
        (lambda: model.predict([0, 1, 2], [0]), r"as long, got \(3,\) and \(1,\)"),
        (lambda: model.embed([0, 0], [3.0, 4.0]), "`items` must be rows that differ, got 0 twice"),
        (lambda: model.embed([0], [np.nan]), "`values` must be finite numbers, got nan"),
        (
            lambda: model.embed(np.array([[0]]), np.array([[1.0]])),
            r"`items` must have one axis, got \(1, 1\)",
        ),
        (lambda: model.rate(jnp.zeros(7), [0]), r"`user` must be one vector of \d+ numbers"),
    ]


@pytest.mark.parametrize("name", MODELS)
def test_what_no_recommender_takes(name, made):
    model = made[MODELS[name]]
    for call, message in refused(model):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="`items` must be rows, whole numbers, got float64"):
        model.embed(np.array([0.0]), [1.0])


@pytest.mark.parametrize("name", MODELS)
def test_lists_are_arrays_and_padding_may_be_any_row(name, made):
    model = made[MODELS[name]]
    want = model.embed(jnp.array([0, 3]), jnp.array([5.0, 2.0]))
    np.testing.assert_array_equal(model.embed([0, 3], [5.0, 2.0]), want)
    padded = model.embed([0, 3, -1, 99], [5.0, 2.0, np.nan, 0.0], [True, True, False, False])
    np.testing.assert_allclose(padded, want, atol=1e-5)
    np.testing.assert_array_equal(
        model.predict([1, 2], [3, 4]), model.predict(np.array([1, 2]), np.array([3, 4]))
    )
    assert model.embed([], []).shape == want.shape == (model.sizes[2],)
    assert model.sizes[:2] == (M, N)


@pytest.mark.parametrize("name", MODELS)
def test_a_compiled_call_says_nan_of_a_row_that_is_not_there(name, made):
    model = made[MODELS[name]]

    @eqx.filter_jit
    def answers(users, items, values):
        vector = model.embed(items[:1], values[:1])
        pieces = model.pieces(items, values)
        wrong = model.embed(items, values)
        return vector, model.rate(vector, items), model.predict(users, items), wrong, pieces

    right, rates, found, wrong, pieces = answers(
        jnp.array([0, 1, M]), jnp.array([0, 999, 1]), jnp.ones(3)
    )
    assert np.isfinite(right).all()
    assert np.isfinite(rates).tolist() == [True, False, True]
    assert np.isfinite(found).tolist() == [True, False, False]
    assert np.isnan(wrong).all()
    assert np.isnan(pieces).all()


def test_popularity_counts_a_user_once():
    ratings, _ = some()
    with pytest.raises(ValueError, match="has rated item 'i1' twice"):
        fit_popularity(ratings.take(np.array([0, 0])))


def test_values_too_large_to_solve_for_are_told():
    ratings, _ = some()
    large = ratings._replace(values=1e30 * ratings.values)
    with pytest.raises(ValueError, match="the values are too large for regularisation=10"):
        fit_als(large, rank=4, feedback="implicit", key=KEY)


def test_of_implicit_feedback_values_are_above_nothing():
    who, what = np.divmod(np.arange(40), 8)
    taken = Ratings(who, what, 1.0 + (who + what) % 3, tuple("abcde"), tuple("stuvwxyz"))
    key = jax.random.key(0)
    factors = fit_als(taken, rank=2, feedback="implicit", key=key)
    chains = untrained_chains(taken, latent=2, prototypes=3, feedback="implicit", key=key)
    embedded = chains.embed(taken)
    for model in (factors, embedded):
        for call in (model.embed, model.pieces):
            with pytest.raises(ValueError, match=r"above 0, how often or how much, got -1"):
                call([0, 1], [2.0, -1.0])
    with pytest.raises(ValueError, match="above 0"):
        embedded.embed_item([0], [0.0])
    with pytest.raises(ValueError, match="above 0"):
        embedded.why([0], [-2.0], 1)
    ratings = fit_als(taken, rank=2, regularisation=1.0, key=key)
    assert np.isfinite(ratings.embed([0, 1], [-2.0, 0.0])).all()
    with pytest.raises(ValueError, match="`regularisation` must be above 0"):
        inspect.unwrap(fit_als)(taken, regularisation="a", key=key)
