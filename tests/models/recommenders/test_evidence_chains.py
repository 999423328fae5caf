"""Chains of evidence, beside what does not share their code: NumPy, a recursion, a closed form."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from pullback.data import Ratings
from pullback.models.recommenders import (
    EvidenceChains,
    choose_prototypes,
    embed_tree,
    fit_evidence_chains,
    untrained_chains,
)
from pullback.models.recommenders._chains import embed_evidence
from pullback.models.recommenders._fit_chains import HiddenTargets
from pullback.models.recommenders._generators import MeanGenerator, generator_of
from pullback.models.recommenders._layers import Side

GENERATORS = ("mlp", "mlp_product", "ridge")


def ratings_of(users, items, values, shape):
    names = [tuple(map(str, range(size))) for size in shape]
    return Ratings(np.asarray(users), np.asarray(items), np.asarray(values, float), *names)


def random_ratings(seed=0, shape=(12, 9), count=60, levels=5):
    rng = np.random.default_rng(seed)
    cells = np.sort(rng.permutation(shape[0] * shape[1])[:count])
    users, items = np.divmod(cells, shape[1])
    values = rng.integers(1, levels + 1, count) if levels else rng.normal(size=count)
    return ratings_of(users, items, values, shape)


def chains_of(
    generator, *, latent=2, users=(0, 3), items=(1, 2), depth=2, offset=3.0,
    levels=(1.0, 2.0, 3.0, 4.0, 5.0), feedback="explicit", bias=1.0, seed=0,
):  # fmt: skip
    """A recommender with random parameters in float64."""
    keys = jr.split(jr.key(seed), 4)
    side = lambda codes, one, two: Side(
        jr.normal(one, (len(codes), latent)),
        jnp.asarray(codes),
        generator_of(generator, latent, 8, dtype=jnp.float64, key=two),
        jnp.asarray(bias),
    )
    return EvidenceChains(
        side(users, keys[0], keys[1]), side(items, keys[2], keys[3]), jnp.asarray(offset),
        jnp.asarray(0.7), depth, feedback, levels,
    )  # fmt: skip


def low_rank(chains, shape, rank, penalty):
    """Factors, and chains whose tables hold them: no biases, and next to no shrinkage."""
    rng = np.random.default_rng(1)
    u, v = (rng.normal(size=(size, rank)) for size in shape)
    where = lambda c: (
        c.users.table, c.items.table, c.users.log_shrinkage, c.items.log_shrinkage, c.offset,
    )  # fmt: skip
    tables = (jnp.asarray(u[chains.users.codes]), jnp.asarray(v[chains.items.codes]))
    off = (jnp.asarray(200.0), jnp.asarray(200.0), jnp.asarray(0.0))
    chains = eqx.tree_at(where, chains, (*tables, *off))
    return u, v, eqx.tree_at(penalty, chains, replace_fn=lambda _: jnp.asarray(-45.0))


def predictions(chains, ratings):
    users, items = np.indices((len(ratings.user_names), len(ratings.item_names))).reshape(2, -1)
    found = chains.embed(ratings).predict(users, items)
    return np.asarray(found).reshape(len(ratings.user_names), -1)


def penalties(c):
    return c.users.generator.log_penalty, c.items.generator.log_penalty


def test_ridge_recovers_low_rank_from_any_evidence_that_spans():
    shape = (30, 25)
    chains = chains_of("ridge", latent=3, users=range(6), items=range(6), levels=(), depth=2)
    u, v, chains = low_rank(chains, shape, 3, penalties)
    rated = np.random.default_rng(2).random(shape) < 0.5
    rated[:6, 6:] |= np.arange(19) % 2 == np.arange(6)[:, None] % 2  # three prototypes at least
    rated[6:, :6] |= np.arange(24)[:, None] % 2 == np.arange(6) % 2
    users, items = np.nonzero(rated)
    ratings = ratings_of(users, items, (u @ v.T)[users, items], shape)
    assert np.abs(predictions(chains, ratings) - u @ v.T).max() < 1e-10


def test_the_bilinear_generator_recovers_low_rank_from_all_prototypes():
    shape, p = (20, 15), 5
    chains = chains_of("mlp_product", latent=2, users=range(p), items=range(p), levels=(), depth=1)
    shrinkage = lambda c: (c.users.generator.log_shrinkage, c.items.generator.log_shrinkage)
    u, v, chains = low_rank(chains, shape, 2, shrinkage)
    nets = lambda c: (c.users.generator.net, c.items.generator.net)
    chains = eqx.tree_at(nets, chains, replace_fn=lambda net: jax.tree.map(
        lambda x: 0 * x if eqx.is_inexact_array(x) else x, net))  # fmt: skip
    inverse = lambda rows: jnp.asarray(np.linalg.inv(rows.T @ rows / p))
    linear = lambda c: (c.users.generator.bilinear, c.items.generator.bilinear)
    chains = eqx.tree_at(linear, chains, (inverse(v[:p]), inverse(u[:p])))
    users, items = np.indices(shape).reshape(2, -1)
    near = (users < p) | (items < p)
    ratings = ratings_of(users[near], items[near], (u @ v.T)[users[near], items[near]], shape)
    assert np.abs(predictions(chains, ratings) - u @ v.T).max() < 1e-12


def test_evidence_that_does_not_span_gives_numbers(x32):
    """Fewer ratings than numbers in a vector, and no penalty: a solution, not NaN."""
    generator = generator_of("ridge", 4, 0, dtype=jnp.float32, key=jr.key(0))
    generator = eqx.tree_at(lambda g: g.log_penalty, generator, jnp.asarray(-60.0))
    v = jr.normal(jr.key(1), (2, 4))
    pieces = generator.pieces(v, jnp.array([1.0, -2.0]), jnp.ones(2), jnp.asarray(0.0))
    assert np.abs(v @ pieces.sum(axis=0) - jnp.array([1.0, -2.0])).max() < 0.05


def test_depth_reaches_further():
    """Users 4 to 7 rated no prototype item: two links reach them, one does not."""
    shape = (8, 8)
    chains = chains_of("ridge", users=range(4), items=range(4), levels=(), depth=1)
    u, v, chains = low_rank(chains, shape, 2, penalties)
    users, items = np.indices(shape).reshape(2, -1)
    kept = (users < 4) | (items >= 4)
    ratings = ratings_of(users[kept], items[kept], (u @ v.T)[users[kept], items[kept]], shape)
    one = chains.embed(ratings)
    assert one.user_hops.tolist() == [0] * 4 + [-1] * 4
    assert one.item_hops.tolist() == [0] * 4 + [1] * 4
    assert np.all(np.asarray(one.users[4:, :2]) == 0)
    deep = dataclasses.replace(chains, depth=2)
    assert deep.embed(ratings).user_hops.tolist() == [0] * 4 + [2] * 4
    assert np.abs(predictions(deep, ratings) - u @ v.T).max() < 1e-10


def by_recursion(chains, ratings, kind, code, left, bias, above=()):
    """The definition of the paper, written out anew; a generator is asked by its pieces."""
    side, own, other = (
        (chains.users, ratings.users, ratings.items)
        if kind == "users"
        else (chains.items, ratings.items, ratings.users)
    )
    opposite = "items" if kind == "users" else "users"
    if code in np.asarray(side.codes):
        return np.asarray(side.table)[list(np.asarray(side.codes)).index(code)]
    if left == 0:
        return None
    found = []
    for row in range(len(own)):
        if own[row] != code or (opposite, other[row]) in above:
            continue
        path = (*above, (kind, code))
        vector = by_recursion(chains, ratings, opposite, other[row], left - 1, bias, path)
        if vector is not None:
            value = ratings.values[row] - float(chains.offset) - bias[opposite][other[row]]
            found.append((vector, value))
    if not found:
        return None
    vectors, values = (np.array(part) for part in zip(*found, strict=True))
    return closed_vector(side.generator, vectors, values, bias[kind][code])


def closed_vector(generator, v, x, bias):
    if hasattr(generator, "log_penalty"):
        penalty = np.exp(float(generator.log_penalty)) * np.eye(v.shape[1])
        return np.linalg.solve(v.T @ v + penalty, v.T @ (x - bias))
    shrunk = len(v) + np.exp(float(generator.log_shrinkage))
    if generator.bilinear is None:
        return sum(answer(generator.net, [*a, b]) for a, b in zip(v, x, strict=True)) / shrunk
    matrix = np.asarray(generator.bilinear)
    total = 0
    for a, b in zip(v, x, strict=True):
        total = total + answer(generator.net, [*a, b, *(b * a)]) + (b - bias) * (matrix @ a)
    return total / shrunk


def answer(net, x):
    """Of a network of rectifiers, in NumPy."""
    for layer in net.layers[:-1]:
        x = np.maximum(np.asarray(layer.weight) @ x + np.asarray(layer.bias), 0)
    return np.asarray(net.layers[-1].weight) @ x + np.asarray(net.layers[-1].bias)


def numpy_biases(chains, ratings):
    shape = (len(ratings.user_names), len(ratings.item_names))
    rest = ratings.values - float(chains.offset)
    add = lambda at, rows, size: np.bincount(at, rows, size)
    shrink = lambda side: np.exp(float(side.log_shrinkage))
    items = add(ratings.items, rest, shape[1]) / (
        add(ratings.items, None, shape[1]) + shrink(chains.items)
    )
    rest = rest - items[ratings.items]
    users = add(ratings.users, rest, shape[0]) / (
        add(ratings.users, None, shape[0]) + shrink(chains.users)
    )
    return {"users": users, "items": items}


@pytest.mark.parametrize("generator", GENERATORS)
def test_layers_are_the_recursion(generator):
    chains, ratings = chains_of(generator), random_ratings()
    bias = numpy_biases(chains, ratings)
    found = chains.embed(ratings)
    for kind, rows, at in (("users", found.users, 3), ("items", found.items, 2)):
        rows = np.asarray(rows)
        np.testing.assert_allclose(rows[:, at], bias[kind], atol=1e-12)
        for code in range(len(rows)):
            want = by_recursion(chains, ratings, kind, code, 2, bias)
            want = np.zeros(2) if want is None else want
            np.testing.assert_allclose(rows[code, :2], want, atol=1e-12)


def test_up_to_depth_two_the_tree_is_the_layers():
    chains, ratings = chains_of("mlp_product"), random_ratings()
    found = chains.embed(ratings)
    for tree, rows in (
        (embed_tree(chains, ratings, user=5), found.users),
        (embed_tree(chains, ratings, item=5), found.items),
    ):
        np.testing.assert_allclose(tree, rows[5, :2], atol=1e-12)


def test_the_tree_leaves_out_ancestors_at_any_depth():
    chains, ratings = chains_of("ridge", depth=4), random_ratings(count=35)
    bias = numpy_biases(chains, ratings)
    fast, echoes = chains.embed(ratings), 0
    for code in (1, 2):
        want = by_recursion(chains, ratings, "users", code, 4, bias)
        np.testing.assert_allclose(embed_tree(chains, ratings, user=code), want, atol=1e-12)
        echoes += np.abs(np.asarray(fast.users[code, :2]) - want).max() > 1e-6
    assert echoes > 0  # of which the layers know nothing


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_generator_for_each_level_is_one_for_each_rating(generator):
    ratings = random_ratings(shape=(10, 8), count=70, levels=2)
    chains = chains_of(generator, levels=(1.0, 2.0))
    each = dataclasses.replace(chains, levels=())
    fast, slow = chains.embed(ratings), each.embed(ratings)
    for name in ("users", "items", "user_below", "user_hops"):
        np.testing.assert_allclose(getattr(fast, name), getattr(slow, name), atol=1e-12)


@pytest.mark.parametrize(
    ("generator", "feedback"),
    [*((each, "explicit") for each in GENERATORS), ("mlp_product", "implicit")],
)
def test_a_newcomer_gets_the_row_of_one_in_the_matrix(generator, feedback):
    """A user whose ratings are seen by nobody else: one of items that are prototypes."""
    ratings = random_ratings()
    chains = chains_of(generator, feedback=feedback, items=range(9), bias=80.0)
    mine = ratings.users == 11
    assert mine.sum() > 2
    whole = chains.embed(ratings)
    rest = ratings.take(~mine)
    items, values = ratings.items[mine], ratings.values[mine]
    without = chains.embed(rest)
    row = without.embed(items, values)
    np.testing.assert_allclose(row, whole.users[11], atol=1e-12)
    padded = without.embed(
        np.append(items, 0), np.append(values, 9.0), np.arange(len(items) + 1) < len(items)
    )
    np.testing.assert_allclose(padded, row, atol=1e-12)
    compiled = eqx.filter_jit(without.embed)(items, values)
    np.testing.assert_allclose(compiled, row, atol=1e-12)


def test_a_newcomer_without_ratings_is_the_average_one():
    chains, ratings = chains_of("mlp_product"), random_ratings()
    found = chains.embed(ratings)
    row = found.embed(np.zeros(0, int), np.zeros(0))
    np.testing.assert_allclose(row, [0, 0, 1, 0])
    bias = numpy_biases(chains, ratings)
    np.testing.assert_allclose(
        found.rate(row, np.arange(len(found.items))), 3 + bias["items"], atol=1e-12
    )


def test_a_new_item_gets_the_row_of_one_in_the_matrix():
    ratings = random_ratings()
    # Item biases are next to nothing, so that nobody else sees the new item.
    chains = chains_of("ridge", users=range(12), bias=80.0)
    mine = ratings.items == 8
    rest = ratings.take(~mine)
    row = chains.embed(rest).embed_item(ratings.users[mine], ratings.values[mine])
    np.testing.assert_allclose(row, chains.embed(ratings).items[8], atol=1e-12)


def test_the_bias_of_a_new_item_is_that_of_the_matrix():
    ratings, chains = random_ratings(count=60), chains_of("mlp_product")
    mine = ratings.items == 8
    found = chains.embed(ratings.take(~mine))
    row = found.embed_item(ratings.users[mine], ratings.values[mine])
    want = np.sum(ratings.values[mine] - 3.0) / (mine.sum() + np.exp(1.0))
    np.testing.assert_allclose(row[2], want, atol=1e-12)
    np.testing.assert_allclose(chains.embed(ratings).items[8, 2], want, atol=1e-12)
    assert abs(numpy_biases(chains, ratings)["users"][ratings.users[mine]]).max() > 0.1
    with pytest.raises(ValueError, match=r"`users` must be rows from 0 to 11.*got 12"):
        found.embed_item([12], [3.0])
    with pytest.raises(ValueError, match=r"as long, got \(2,\) and \(1,\)"):
        found.embed_item([0, 1], [3.0])


@pytest.mark.parametrize(
    ("changes", "feedback", "message"),
    [
        ({"values": np.zeros(60)}, "implicit", "above 0; got 0"),
        ({"values": np.ones(3)}, "explicit", "`users` and `values` must be as long, got 60 and 3"),
        ({"users": np.zeros(60, int)}, "explicit", "has rated item .* twice"),
    ],
)
def test_evidence_that_is_not_well_formed(changes, feedback, message):
    chains, ratings = chains_of("ridge", feedback=feedback), random_ratings()
    with pytest.raises(ValueError, match=message):
        chains.embed(ratings._replace(**changes))


def test_a_user_who_is_not_there_has_no_reasons_and_no_tree():
    chains, ratings = chains_of("ridge"), random_ratings()
    for user in (10**6, -1):
        with pytest.raises(ValueError, match=r"`user` must be rows from 0 to 11"):
            chains.embed(ratings).why([0], [3.0], 1, user=user)
        with pytest.raises(ValueError, match=r"`user` must be rows from 0 to 11"):
            embed_tree(chains, ratings, user=user)
    with pytest.raises(ValueError, match=r"`item` must be rows from 0 to 8"):
        embed_tree(chains, ratings, item=9)


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("user", [5, 3, None])
def test_why_adds_up_to_the_prediction(generator, user):
    chains, ratings = chains_of(generator), random_ratings()
    found = chains.embed(ratings)
    mine = ratings.users == (7 if user is None else user)
    items, values = ratings.items[mine], ratings.values[mine]
    for item in range(9):
        why = found.why(items, values, item, user=user)
        assert why.contributions.shape == (mine.sum(),)
        total = float(why.base) + float(why.contributions.sum())
        np.testing.assert_allclose(total, why.prediction, atol=1e-12)
        if user is None:
            row = found.embed(items, values)
            np.testing.assert_allclose(
                why.prediction, found.rate(row, np.arange(9))[item], atol=1e-12
            )
        else:
            want = found.predict(np.array([user]), np.array([item]))[0]
            np.testing.assert_allclose(why.prediction, want, atol=1e-12)


@pytest.mark.parametrize("generator", GENERATORS)
def test_no_target_is_in_its_own_prediction(generator):
    ratings = random_ratings()
    chains = chains_of(generator, levels=())
    loss = HiddenTargets(20, (12, 9), jnp.asarray(0.3))
    columns = [jnp.asarray(x) for x in (ratings.users, ratings.items, ratings.values)]

    def predicted(values):
        given = loss.evidence(chains, (*columns[:2], values), key=jr.key(0))
        return embed_evidence(chains, given, (12, 9)).predict(columns[0][:20], columns[1][:20])

    slopes = jax.jit(jax.jacrev(predicted))(columns[2])
    assert np.all(np.asarray(slopes[:, :20]) == 0)
    assert np.any(np.asarray(slopes[:, 20:]) != 0)


def test_thinned_users_are_newcomers():
    """They keep 1 to 20 ratings, which count for no item; what is kept is not a target."""
    rng = np.random.default_rng(0)
    users, items = np.indices((60, 50)).reshape(2, -1)
    order = rng.permutation(3000)
    batch = (jnp.asarray(users[order]), jnp.asarray(items[order]), jnp.asarray(rng.random(3000)))
    chains = chains_of("ridge", users=(0, 1, 2), levels=())
    given = HiddenTargets(300, (60, 50), jnp.asarray(0.5)).evidence(chains, batch, key=jr.key(1))
    assert np.all(np.diff(np.asarray(given.users)) >= 0)
    kept = np.bincount(np.asarray(given.users), np.asarray(given.for_users), 60)
    lent = np.bincount(np.asarray(given.users), np.asarray(given.for_items), 60)
    all_of = np.bincount(np.asarray(given.users), minlength=60)
    thin = lent == 0
    assert 15 < thin.sum() < 45
    assert not thin[:3].any()  # prototypes have no evidence of their own
    assert kept[thin].min() == 1
    assert 10 < kept[thin].max() <= 20
    assert np.all(kept[~thin] == all_of[~thin])
    assert np.all(lent[~thin] == all_of[~thin])


def test_parameters_are_as_many_for_a_million_users():
    sizes = []
    for users in (100, 1_000_000):
        ratings = ratings_of(np.arange(200) % users, np.arange(200) % 20, np.arange(200), (1, 20))
        ratings = ratings._replace(user_names=range(users))
        chains = untrained_chains(ratings, latent=2, prototypes=4, width=4, key=jr.key(0))
        leaves = jax.tree.leaves(eqx.filter(chains, eqx.is_array))
        sizes.append([leaf.shape for leaf in leaves])
    assert sizes[0] == sizes[1]


def test_order_and_names_change_nothing():
    ratings, chains = random_ratings(), chains_of("mlp_product")
    order = np.random.default_rng(3).permutation(60)
    mixed = ratings.take(order)
    np.testing.assert_allclose(predictions(chains, mixed), predictions(chains, ratings), atol=1e-12)
    swap = np.arange(12)
    swap[[5, 9]] = 9, 5  # no prototypes
    renamed = ratings._replace(users=swap[ratings.users])
    want = predictions(chains, ratings)[swap]
    np.testing.assert_allclose(predictions(chains, renamed), want, atol=1e-12)


@pytest.mark.parametrize("generator", GENERATORS)
def test_slopes_of_a_prototype_are_finite_differences(generator):
    ratings, chains = random_ratings(), chains_of(generator)
    batch = tuple(jnp.asarray(x) for x in (ratings.users, ratings.items, ratings.values))
    error = HiddenTargets(20, (12, 9), jnp.asarray(0.3))
    row = lambda c: c.users.table
    of = jax.jit(jax.value_and_grad(
        lambda table: error(eqx.tree_at(row, chains, table), batch, key=jr.key(0))[0]
    ))  # fmt: skip
    table, step = chains.users.table, 1e-6
    slope = of(table)[1][1, 0]
    move = jnp.zeros_like(table).at[1, 0].set(step)
    want = (of(table + move)[0] - of(table - move)[0]) / (2 * step)
    np.testing.assert_allclose(slope, want, rtol=1e-5)


def test_training_beats_the_biases_and_newcomers_are_learned(x32):
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=(80, 1)), rng.normal(size=(40, 1))
    users, items = np.nonzero(rng.random((80, 40)) < 0.5)
    values = np.round(3 + (u @ v.T)[users, items], 1)
    new = users >= 60
    train = ratings_of(users[~new], items[~new], values[~new], (60, 40))
    chains, info = fit_evidence_chains(
        train, latent=2, prototypes=10, generator="ridge", steps=90, validation=train,
        log_every=30, optimiser=optax.adam(2e-2), progress=False, key=jr.key(0),
    )  # fmt: skip
    assert info.history["rmse"][-1] < 0.5 < 0.8 < values.std()
    assert np.shape(info.history["validation_rmse"]) == (3,)
    found, errors = chains.embed(train), []
    for user in range(60, 80):
        seen, rated = items[users == user], values[users == user]
        row = found.embed(seen[:8], rated[:8])
        errors.append(
            np.asarray(found.rate(row, np.arange(len(found.items))))[seen[8:]] - rated[8:]
        )
    assert np.sqrt(np.mean(np.concatenate(errors) ** 2)) < 0.6


def test_implicit_feedback_ranks_what_is_used(x32):
    rng = np.random.default_rng(0)
    likes = (np.arange(40)[:, None] % 2) == (np.arange(20)[None] % 2)
    used = likes & (rng.random((40, 20)) < 0.6)
    users, items = np.nonzero(used)
    ratings = ratings_of(users, items, rng.integers(1, 5, len(users)), (40, 20))
    chains, _ = fit_evidence_chains(
        ratings, latent=4, prototypes=8, generator="ridge", steps=100, feedback="implicit",
        optimiser=optax.adam(2e-2), progress=False, key=jr.key(0),
    )  # fmt: skip
    found = chains.embed(ratings)
    scores = np.asarray(found.chains.offset + found.users @ found.items.T)
    unseen = ~used
    assert scores[likes & unseen].mean() > scores[~likes].mean() + 1
    row = found.embed(np.array([1, 3]), np.array([1.0, 1.0]))
    new = np.asarray(found.rate(row, np.arange(len(found.items))))
    assert new[5::2].mean() > new[4::2].mean()
    why = found.why(np.array([1, 3]), np.array([1.0, 1.0]), 5)
    np.testing.assert_allclose(why.prediction, new[5], rtol=1e-5)


def test_many_ratings_are_summed_by_parts(monkeypatch):
    ratings, chains, sizes = random_ratings(), chains_of("mlp_product"), []
    want = predictions(chains, ratings)
    terms = MeanGenerator.terms
    told = lambda self, v, x: sizes.append(len(v)) or terms(self, v, x)
    monkeypatch.setattr(MeanGenerator, "terms", told)
    monkeypatch.setattr("pullback.models.recommenders._layers._AT_ONCE", 13)
    # A function of its own, so that nothing traced before is taken.
    parted = eqx.filter_jit(lambda *given: embed_evidence(*given))
    monkeypatch.setattr("pullback.models.recommenders._chains._embed", parted)
    np.testing.assert_allclose(predictions(chains, ratings), want, atol=1e-12)
    assert 13 in sizes
    assert 60 not in sizes


def test_the_most_rated_are_prototypes():
    ratings = ratings_of([0, 1, 1, 2, 2, 2], [0, 0, 1, 0, 1, 3], np.arange(6), (4, 4))
    users, items = choose_prototypes(ratings, (2, 1))
    assert (users.tolist(), items.tolist()) == ([1, 2], [0])
    assert choose_prototypes(ratings, 9)[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generator": "gru"}, "`generator` must be"),
        ({"feedback": "both"}, "`feedback` must be"),
        ({"targets": 0.0}, "`targets` must be a share"),
        ({"thinned": 1.0}, "`thinned` must be a share"),
        ({"prototypes": (1, 2, 3)}, "`prototypes` must be a number or a pair"),
        ({"prototypes": 0}, "`prototypes` must be 1 or more"),
        ({"depth": 0}, "`depth` must be 1 or more"),
    ],
)
def test_wrong_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        fit_evidence_chains(random_ratings(), **{"steps": 1, "key": jr.key(0), **change})


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.full(60, 3.0), {}, "every rating is 3, so there is nothing"),
        (np.append(np.ones(59), np.nan), {}, "are no finite number"),
        (np.append(np.ones(59), 0.0), {"feedback": "implicit"}, "above 0; got 0"),
    ],
)
def test_ratings_of_which_nothing_is_learned(values, options, message):
    ratings = random_ratings()._replace(values=values)
    with pytest.raises(ValueError, match=message):
        fit_evidence_chains(ratings, steps=1, key=jr.key(0), **options)


def test_codes_that_are_not_there():
    chains, ratings = chains_of("ridge"), random_ratings()
    found = chains.embed(ratings)
    with pytest.raises(ValueError, match=r"`users` must be rows from 0 to 11.*got 12"):
        found.predict(np.array([12]), np.array([0]))
    with pytest.raises(ValueError, match=r"`items` must be rows from 0 to 8.*got -1"):
        found.embed(np.array([-1]), np.array([1.0]))
    with pytest.raises(TypeError, match="items"):
        found.embed(np.array([1.0]), np.array([1.0]))
    with pytest.raises(ValueError, match="user 3 is one, and there are 3 users"):
        chains.embed(ratings_of([0, 1, 2], [0, 1, 2], np.ones(3), (3, 3)))
    compiled = eqx.filter_jit(found.predict)(jnp.array([12]), jnp.array([0]))
    assert np.isnan(np.asarray(compiled)).all()
    with pytest.raises(ValueError, match="either `user` or `item`"):
        embed_tree(chains, ratings)
