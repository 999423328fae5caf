"""Clusters of gradients against enumeration, and batches of them against what they estimate."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.nn import Factors, layer_factors
from pullback.optim import cluster_gradients, stratified_batch
from pullback.optim._clusters import _clustered, _filled
from pullback.optim._gradient_spaces import FactorSpace, GramSpace

KEY = jr.key(0)


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def rows(count, width, seed=0):
    return np.random.default_rng(seed).normal(size=(count, width))


def distortion(gradients, assignment, *, weighted=True):
    found = 0
    for cluster in set(np.asarray(assignment).tolist()):
        members = gradients[np.asarray(assignment) == cluster]
        one = ((members - members.mean(axis=0)) ** 2).sum()
        found += len(members) * one if weighted else one
    return found


def check_whole(found, n, clusters):
    sizes = np.bincount(found.assignment, minlength=clusters)
    assert len(sizes) == clusters
    assert sizes.min() >= 1
    np.testing.assert_array_equal(found.sizes, sizes)
    assert sorted(found.members.tolist()) == list(range(n))
    assert (np.diff(found.assignment[found.members]) >= 0).all()


@pytest.mark.parametrize("clusters", [1, 2, 3, 7])
def test_the_best_of_all_assignments(clusters):
    for seed in range(4):
        gradients = rows(7, 3, seed)
        best = min(
            distortion(gradients, np.asarray(a))
            for a in itertools.product(range(clusters), repeat=7 if clusters < 4 else 1)
        ) if clusters < 4 else 0.0  # fmt: skip
        found = [cluster_gradients(jnp.asarray(gradients), clusters, key=jr.key(i))
                 for i in range(12)]  # fmt: skip
        for each in found:
            check_whole(each, 7, clusters)
            np.testing.assert_allclose(
                each.objective, distortion(gradients, each.assignment), rtol=1e-10, atol=1e-12
            )
        least = min(float(each.objective) for each in found)
        np.testing.assert_allclose(least, best, rtol=1e-10, atol=1e-12)


def test_no_move_of_one_row_lowers_what_was_found():
    gradients = rows(30, 4)
    found = cluster_gradients(jnp.asarray(gradients), 5, iterations=50, key=KEY)
    for row, cluster in itertools.product(range(30), range(5)):
        other = np.array(found.assignment)
        other[row] = cluster
        assert distortion(gradients, other) > 0.99 * float(found.objective)


def test_distinct_gradients_with_as_many_clusters_leave_nothing():
    distinct = rows(6, 5)
    copies = np.random.default_rng(1).permutation(np.repeat(np.arange(6), [1, 2, 3, 20, 30, 44]))
    for weighted, clusters in itertools.product((True, False), (6, 9, 100)):
        found = cluster_gradients(
            jnp.asarray(distinct[copies]), clusters, weighted=weighted, key=KEY
        )
        check_whole(found, 100, clusters)
        assert float(found.objective) <= 1e-10
        assert all(len(set(copies[np.asarray(found.assignment) == k])) == 1
                   for k in range(clusters))  # fmt: skip


def test_without_weights_it_is_k_means():
    gradients = rows(60, 3) + np.repeat(10 * rows(3, 3, 5), [40, 15, 5], axis=0)
    found = cluster_gradients(jnp.asarray(gradients), 3, weighted=False, key=KEY)
    assert sorted(found.sizes.tolist()) == [5, 15, 40]
    np.testing.assert_allclose(found.objective, distortion(gradients, found.assignment), rtol=1e-10)
    # With them large clusters are split, and small ones are joined.
    plain, with_weights = (
        [
            cluster_gradients(jnp.asarray(rows(60, 3)), 3, weighted=weighted, key=jr.key(i))
            for i in range(4)
        ]
        for weighted in (False, True)
    )
    least = lambda found, weighted: min(
        distortion(rows(60, 3), each.assignment, weighted=weighted) for each in found
    )
    assert least(with_weights, True) < least(plain, True)
    assert least(plain, False) < least(with_weights, False)


def squared(net, batch, *, key):
    x, y = batch
    return jnp.mean((jax.vmap(net)(x) - y) ** 2), {}


class Seen(eqx.Module):
    first: eqx.nn.Conv2d
    scale: jax.Array
    last: eqx.nn.Linear

    def __init__(self, *, key):
        keys = jr.split(key)
        self.first = eqx.nn.Conv2d(1, 2, 2, key=keys[0])
        self.scale = jnp.asarray(1.5)
        self.last = eqx.nn.Linear(12, "scalar", use_bias=False, key=keys[1])

    def __call__(self, x):
        return self.last(jnp.tanh(self.first(x)).ravel() * self.scale)


def networks():
    dense = eqx.nn.MLP(3, "scalar", 6, 2, key=jr.key(1))
    x = jnp.asarray(rows(40, 3))
    images = jnp.asarray(rows(40, 12).reshape(40, 1, 3, 4))
    return {
        "dense": layer_factors(squared, dense, (x, jnp.sin(x[:, 0])), key=KEY),
        "convolutions": layer_factors(squared, Seen(key=KEY), (images, x[:, 1]), key=KEY),
    }


def flat(tree):
    leaves = jax.tree.leaves(tree)
    return np.concatenate([np.asarray(leaf).reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)


@pytest.mark.parametrize("name", ["dense", "convolutions"])
def test_distances_by_factors_are_those_of_the_gradients(name):
    factors = networks()[name]
    gradients = flat(factors.gradients())
    by_gram, by_factors = eqx.filter_jit(lambda f: (GramSpace(f), FactorSpace(f)))(factors)
    np.testing.assert_allclose(by_gram.squares, (gradients**2).sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(by_factors.squares, by_gram.squares, rtol=1e-12)
    assignment = jnp.arange(40) % 4
    start = by_gram.start(jnp.arange(4))
    exact = by_gram.distances(by_gram.means(start, assignment))
    means = np.stack([gradients[np.asarray(assignment) == k].mean(axis=0) for k in range(4)])
    wanted = ((gradients[:, None] - means) ** 2).sum(axis=2)
    np.testing.assert_allclose(exact, wanted, rtol=1e-9, atol=1e-10)
    # Centres of rank one, written out: an outer product for each layer.
    by_rank_one = eqx.filter_jit(lambda space, centres: space.means(centres, assignment))
    centres = eqx.filter_jit(lambda space: space.start(jnp.arange(4)))(by_factors)
    for _ in range(3):
        centres = by_rank_one(by_factors, centres)
    written = [
        np.einsum("ki,ko->koi", c, e) for c, e in zip(centres.inputs, centres.signals, strict=True)
    ]
    layers = list(factors.layers.values())
    apart = sum(
        ((np.einsum("nti,nto->noi", a, s)[:, None] - one) ** 2).sum(axis=(2, 3))
        for a, s, one in zip(by_factors.inputs, by_factors.signals, written, strict=True)
    ) + sum(
        ((np.asarray(part).reshape(40, 1, -1) - np.asarray(mean)) ** 2).sum(axis=2)
        for part, mean in zip(factors.others.values(), centres.others, strict=True)
    )
    np.testing.assert_allclose(by_factors.distances(centres), apart, rtol=1e-9, atol=1e-10)
    assert len(layers) == len(written)
    # A mean is nearer to the members than what has rank one in its place, and not by much.
    own = lambda distances: float(distances[jnp.arange(40), assignment].sum())
    assert own(exact) <= own(by_factors.distances(centres)) < 1.5 * own(exact)
    for row in (0, 7):
        wanted = ((gradients - gradients[row]) ** 2).sum(axis=1)
        np.testing.assert_allclose(by_gram.to_row(jnp.asarray(row)), wanted, rtol=1e-9, atol=1e-10)
        if name == "dense":
            found = eqx.filter_jit(lambda space, row: space.to_row(row))(
                by_factors, jnp.asarray(row)
            )
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["dense", "convolutions"])
def test_means_of_rank_one_never_grow_farther_and_come_to_the_nearest(name):
    factors = networks()[name]
    space = FactorSpace(factors)
    assignment = jnp.arange(40) % 3
    centres, before = space.start(jnp.arange(3)), np.inf
    means = jax.jit(lambda space, centres: space.means(centres, assignment))
    for _ in range(60):
        centres = means(space, centres)
        own = float(space.distances(centres)[jnp.arange(40), assignment].sum())
        assert own <= before * (1 + 1e-12)
        before = own
    # By singular values: what of the means is not of rank one is all that is left over.
    left = 0.0
    for part in factors.layers.values():
        of_layer = np.concatenate(
            [flat(part.gradients().weight).reshape(40, part.signal.shape[-1], -1)]
            + ([flat(part.gradients().bias)[:, :, None]] if part.has_bias else []), axis=2
        )  # fmt: skip
        for k in range(3):
            members = of_layer[np.asarray(assignment) == k]
            values = np.linalg.svd(members.mean(axis=0), compute_uv=False)
            left += len(members) * (values[1:] ** 2).sum()
    exact = distortion(flat(factors.gradients()), assignment, weighted=False)
    np.testing.assert_allclose(before, exact + left, rtol=1e-5)


@pytest.mark.parametrize("name", ["dense", "convolutions"])
def test_clusters_by_factors_are_near_those_that_are_exact(name):
    factors = networks()[name]
    gradients = flat(factors.gradients())
    found = _clustered(factors, 6, True, 10, False, KEY)
    check_whole(found, 40, 6)
    value = distortion(gradients, found.assignment)
    assert value <= float(found.objective) < 1.5 * value
    exact = cluster_gradients(factors, 6, key=KEY)
    assert float(exact.objective) <= value < 6 * float(exact.objective)
    assert value < 0.1 * distortion(gradients, np.zeros(40, int))


def test_beyond_some_thousand_rows():
    x = jnp.asarray(rows(4200, 2).astype(np.float32))
    net = eqx.nn.Linear(2, "scalar", dtype=jnp.float32, key=KEY)
    factors = layer_factors(squared, net, (x, jnp.sin(3 * x[:, 0])), key=KEY)
    found = cluster_gradients(factors, 12, key=KEY)
    assert found.objective.dtype == jnp.float32
    check_whole(found, 4200, 12)
    gradients = flat(factors.gradients()).astype(float)
    value = distortion(gradients, found.assignment)
    assert value < 0.05 * distortion(gradients, np.zeros(4200, int))
    assert value < 1.01 * float(found.objective)
    by_factors = _clustered(factors, 12, True, 10, False, KEY)  # and not by all pairs
    np.testing.assert_array_equal(found.assignment, by_factors.assignment)
    again = eqx.filter_jit(cluster_gradients)(factors, 12, key=KEY)
    np.testing.assert_array_equal(found.assignment, again.assignment)


def test_one_key_tells_all_compiled_or_not():
    gradients = jnp.asarray(rows(50, 4))
    found = cluster_gradients(gradients, 7, key=KEY)
    again = jax.jit(lambda g: cluster_gradients(g, 7, key=KEY).assignment)(gradients)
    np.testing.assert_array_equal(found.assignment, again)
    other = cluster_gradients(gradients, 7, key=jr.key(1))
    assert (found.assignment != other.assignment).any()


def test_a_batch_is_unbiased_and_its_variance_is_that_of_all_draws():
    gradients = rows(9, 3)
    found = cluster_gradients(jnp.asarray(gradients), 3, key=KEY)
    members = [np.flatnonzero(np.asarray(found.assignment) == k) for k in range(3)]
    draws = list(itertools.product(*members))
    _, weights = stratified_batch(found, key=KEY)
    assert weights.sum() == pytest.approx(1, abs=1e-15)
    np.testing.assert_allclose(weights, np.asarray(found.sizes) / 9, rtol=1e-15)
    estimates = np.stack([np.asarray(weights) @ gradients[list(draw)] for draw in draws])
    np.testing.assert_allclose(estimates.mean(axis=0), gradients.mean(axis=0), atol=1e-12)
    variance = ((estimates - gradients.mean(axis=0)) ** 2).sum(axis=1).mean()
    np.testing.assert_allclose(variance, float(found.objective) / 81, rtol=1e-12)
    # Each draw of all comes as often as any other.
    seen = jax.vmap(lambda key: stratified_batch(found, key=key)[0])(jr.split(KEY, 20_000))
    counts = np.asarray([(np.asarray(seen) == draw).all(axis=1).sum() for draw in draws])
    assert counts.sum() == 20_000
    chance = 1 / len(draws)
    assert (abs(counts - 20_000 * chance) < 4 * np.sqrt(20_000 * chance * (1 - chance))).all()


def test_several_of_each_cluster():
    found = cluster_gradients(jnp.asarray(rows(20, 2).astype(np.float32)), 4, key=KEY)
    indices, weights = stratified_batch(found, per_cluster=3, key=KEY)
    np.testing.assert_array_equal(found.assignment[indices], np.repeat(np.arange(4), 3))
    np.testing.assert_allclose(weights, np.repeat(np.asarray(found.sizes), 3) / 60, rtol=1e-6)
    assert weights.dtype == jnp.float32
    compiled = jax.jit(lambda found: stratified_batch(found, per_cluster=3, key=KEY))(found)
    np.testing.assert_array_equal(indices, compiled[0])


@pytest.mark.parametrize("width", [1, 3])
def test_gradients_that_are_all_alike(width):
    for gradients in (jnp.zeros((8, width)), jnp.ones((8, width)), jnp.ones((1, width))):
        for clusters in {1, len(gradients)}:
            found = cluster_gradients(gradients, clusters, key=KEY)
            check_whole(found, len(gradients), clusters)
            assert found.objective == 0
            by_factors = _clustered(Factors.of(gradients), clusters, True, 2, False, KEY)
            check_whole(by_factors, len(gradients), clusters)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clusters": 11}, "at most the number of examples, 10; got 11"),
        ({"clusters": 0}, "`clusters` must be 1 or more"),
        ({"iterations": 0}, "`iterations` must be 1 or more"),
        ({"factors": jnp.full((10, 2), jnp.nan)}, "not finite"),
        ({"factors": {"a": jnp.ones((10, 2)), "b": jnp.ones(9)}}, "the same leading axis"),
    ],
)
def test_wrong_arguments(arguments, message):
    whole = {"factors": jnp.asarray(rows(10, 2)), "clusters": 2, **arguments}
    with pytest.raises(ValueError, match=message):
        cluster_gradients(whole.pop("factors"), whole.pop("clusters"), **whole, key=KEY)


def test_whole_numbers_and_no_draws_are_refused():
    with pytest.raises(TypeError, match="real floating arrays, got int"):
        cluster_gradients(jnp.ones((10, 2), int), 2, key=KEY)
    found = cluster_gradients(jnp.asarray(rows(10, 2)), 2, key=KEY)
    with pytest.raises(ValueError, match="`per_cluster` must be 1 or more"):
        stratified_batch(found, per_cluster=0, key=KEY)


@pytest.mark.parametrize("exact", [True, False])
def test_what_is_not_finite_ends_and_is_seen_in_a_program(exact):
    gradients = jnp.asarray(rows(10, 2)).at[3, 1].set(jnp.nan)
    found = _clustered(Factors.of(gradients), 4, True, 2, exact, KEY)
    assert np.isnan(found.objective)


def test_a_cluster_that_gives_to_an_empty_one_keeps_a_row():
    # As if from a centre of rank one, from which all rows are farther than from each other.
    space = FactorSpace(Factors.of(jnp.asarray(rows(6, 3))))
    far = 100 + jnp.arange(6.0)
    found, centres = _filled(space, jnp.zeros(6, int), space.start(jnp.arange(3)), far, 3)
    assert np.bincount(found, minlength=3).min() >= 1
    assert found[5] != 0
    np.testing.assert_allclose(centres.others[0][found[5]], space.others[0][5])
