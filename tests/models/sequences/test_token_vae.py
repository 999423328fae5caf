"""The autoencoder of tokens: what its parts say, what it learns, its buckets, and bad input."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import optax
import pytest
from scipy import stats

from pullback._buckets import bucket_sizes
from pullback.bounds import Beta
from pullback.models.sequences import TokenVAE, _fit_token_vae, fit_token_vae, token_vae
from pullback.models.sequences._fit_token_vae import _checked_codes
from pullback.models.sequences._late_mean import late_mean
from pullback.models.sequences._length_buckets import CutLoss, length_batches
from pullback.models.sequences._rows import check_range
from pullback.models.vae import PropertyLoss
from pullback.train import fit

TOKENS, LENGTH = 4, 12


def toy(count=200, seed=0):
    """Runs of one letter, of which the number and the letter are measured."""
    rng = np.random.default_rng(seed)
    letter, many = rng.integers(1, TOKENS, count), rng.integers(1, LENGTH, count)
    codes = np.where(np.arange(LENGTH) < many[:, None], letter[:, None], 0)
    return codes, np.stack([100.0 + 10 * many, (letter == 2) * 1.0], axis=1)


def trained(**settings):
    codes, targets = toy()
    targets[::5, 1] = np.nan
    settings = {"latent": 4, "width": 16, "steps": 150, "batch_size": 32, "learning_rate": 1e-2,
                "log_every": 50, "kl_weight": 0.02, "key": jr.key(0)} | settings  # fmt: skip
    return fit_token_vae(codes, targets, tokens=TOKENS, **settings)


@pytest.fixture(scope="module")
def model():
    return trained()[0]


def test_it_gives_back_what_it_encodes_and_predicts_in_the_units_that_were_measured(model):
    codes, targets = toy(100, seed=1)
    mu, sd = eqx.filter_jit(eqx.filter_vmap(model.encode))(codes)
    assert mu.shape == sd.shape == (100, 4)
    assert np.all(np.asarray(sd) > 0)
    predicted = eqx.filter_jit(eqx.filter_vmap(model.predict))(mu)
    error = np.sqrt(np.mean((np.asarray(predicted) - targets) ** 2, axis=0))
    assert np.all(error < 0.4 * targets.std(axis=0)), error
    decode = jax.jit(jax.vmap(lambda z: model.decode(z, temperature=0, key=jr.key(0))))
    back = np.asarray(decode(mu))
    assert (back == codes).all(axis=1).mean() > 0.6


def test_the_terms_are_those_of_its_parts(model):
    z, codes = jr.normal(jr.key(1), (4,)), jnp.asarray(toy()[0][0])
    logits = model.vae.decoder(z, codes)
    some = int(np.argmax(np.asarray(codes) == 0)) + 1
    exact = jax.nn.log_softmax(logits)[jnp.arange(some), codes[:some]].sum()
    for run in (model.log_prob, eqx.filter_jit(model.log_prob)):
        np.testing.assert_allclose(run(z, codes), exact, rtol=1e-10)
        np.testing.assert_allclose(run(z, codes[:some]), exact, rtol=1e-10)
    mean, log_sd = np.split(np.asarray(model.vae.encode(codes)), 2)
    mu, sd = model.encode(codes)
    np.testing.assert_allclose(mu, mean, rtol=1e-12)
    np.testing.assert_allclose(sd, np.exp(log_sd), rtol=1e-10)
    assert (model.tokens, model.length, model.latent) == (TOKENS, LENGTH, 4)


def test_the_temperature_is_that_of_the_draws(model):
    z, count = jnp.zeros(4), 4000
    logits = np.asarray(model.vae.decoder(z, jnp.zeros(1, int)))[0]
    draw = jax.jit(jax.vmap(lambda key, t: model.decode(z, temperature=t, key=key)[0], (0, None)))
    spread = []
    for temperature in (0.5, 1.0, 2.0):
        first = np.asarray(draw(jr.split(jr.key(2), count), temperature))
        p = np.exp(logits / temperature - np.logaddexp.reduce(logits / temperature))
        found = np.bincount(first, minlength=TOKENS)
        assert (np.abs(found - count * p) <= 4 * np.sqrt(count * p) + 1e-9).all()
        spread.append(stats.entropy(found))
    assert spread[0] < spread[1] < spread[2]


def test_one_that_is_made_new_takes_the_arrays_of_a_saved_one(model):
    arrays = [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_array))]
    make = lambda: token_vae(TOKENS, LENGTH, targets=2, latent=4, width=16, key=jr.key(7))
    empty, rest = eqx.partition(eqx.filter_eval_shape(make), lambda leaf: hasattr(leaf, "shape"))
    assert [leaf.shape for leaf in jax.tree.leaves(empty)] == [leaf.shape for leaf in arrays]
    filled = jax.tree.unflatten(jax.tree.structure(empty), list(map(jnp.asarray, arrays)))
    again = eqx.combine(filled, rest)
    assert isinstance(again, TokenVAE)
    codes = jnp.asarray(toy()[0][0])
    np.testing.assert_array_equal(again.encode(codes)[0], model.encode(codes)[0])
    np.testing.assert_array_equal(again.centre, model.centre)


def test_weights_are_averaged_from_a_step_on():
    steps = np.random.default_rng(0).normal(size=(8, 3))
    rule, model = optax.chain(optax.sgd(0.5), late_mean(6)), jnp.ones(3)
    state, path = rule.init(model), []
    for k, slope in enumerate(steps, 1):
        updates, state = rule.update(jnp.asarray(slope), state, model)
        model = optax.apply_updates(model, updates)
        path.append(1 - 0.5 * steps[:k].sum(axis=0))
        np.testing.assert_allclose(model, path[-1], rtol=1e-12)
        mean = np.mean(path[5:], axis=0) if k >= 6 else path[-1]
        np.testing.assert_allclose(jax.tree.leaves(state)[-1], mean, rtol=1e-12)


def test_a_model_has_the_mean_of_its_last_weights_and_predicts_nothing_of_nothing(monkeypatch):
    seen = {}

    def fitted(*given, **settings):
        seen["last"], info = fit(*given, **settings)
        return seen["last"], info

    def mean(first):
        seen["first"] = first
        return late_mean(first)

    monkeypatch.setattr(_fit_token_vae, "fit", fitted)
    monkeypatch.setattr(_fit_token_vae, "late_mean", mean)
    codes, _ = toy(16)
    model, info = fit_token_vae(
        codes, tokens=TOKENS, latent=2, width=4, steps=8, batch_size=4, key=jr.key(0)
    )
    assert model.predict(jnp.zeros(2)).shape == (0,)  # nothing was measured
    np.testing.assert_array_equal(info.history["property_mse"], 0)
    assert seen["first"] == 7
    leaves = lambda tree: jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))
    weights = leaves((model.vae, model.predictor))
    kept, last = leaves(info.optimiser_state[-1].weights), leaves(seen["last"])
    for each, mean in zip(weights, kept, strict=True):
        np.testing.assert_array_equal(each, mean)
    assert not np.array_equal(weights[0], last[0])


def test_targets_are_centred_where_they_were_measured_and_a_constant_is_given_back():
    codes, targets = toy(16)
    targets = np.stack([targets[:, 0], np.full(16, 0.1)], axis=1)
    targets[3:6, 0] = np.nan
    model, _ = fit_token_vae(
        codes, targets, tokens=TOKENS, latent=2, width=4, steps=1, batch_size=4, key=jr.key(0)
    )
    np.testing.assert_allclose(model.centre, np.nanmean(targets, axis=0), rtol=1e-12)
    np.testing.assert_allclose(model.scale, [np.nanstd(targets[:, 0]), 1.0], rtol=1e-12)


def test_what_lies_behind_the_stop_makes_no_difference():
    codes, _ = toy(16)
    messy = np.where(np.cumsum(codes == 0, axis=1) > 1, 3, codes)
    assert (messy != codes).any()
    # The longest of a batch is told by its tokens, so none may be left behind a stop.
    found, needed = _checked_codes(messy, TOKENS)
    np.testing.assert_array_equal(found, codes)
    np.testing.assert_array_equal(needed, (codes != 0).sum(axis=1) + 1)
    full = np.ones((1, 3), int)
    np.testing.assert_array_equal(_checked_codes(full, TOKENS)[1], [3])


def test_lengths_are_the_best_that_there_are():
    rng = np.random.default_rng(0)
    needed = rng.choice([2, 3, 5, 7, 8, 11], 60, p=[0.3, 0.1, 0.2, 0.1, 0.2, 0.1])
    cost = lambda lengths: np.asarray(lengths)[np.searchsorted(lengths, needed)].sum()
    found = bucket_sizes(needed, 10**9)
    assert found == (2, 3, 5, 7, 8, 11)
    sizes = {}
    for steps in (1, 200, 400, 1000, 4000):
        lengths = bucket_sizes(needed, steps)
        sizes[steps] = len(lengths)
        among = itertools.combinations([2, 3, 5, 7, 8], len(lengths) - 1)
        assert cost(lengths) == min(cost((*each, 11)) for each in among)
    assert sizes[1] == 1
    assert sizes[1] < sizes[400] < sizes[4000]


def test_batches_are_of_one_bucket_and_every_sequence_is_as_likely():
    codes, targets = toy(30)
    needed = (codes != 0).sum(1) + 1
    draw = length_batches(codes, targets, needed, (4, 8, 12), 5)
    assert draw.counts.sum() == 30
    x, y = map(np.asarray, jax.jit(jax.vmap(draw))(jr.split(jr.key(0), 4000)))
    bucket = np.searchsorted((4, 8, 12), (x != 0).sum(-1) + 1)
    assert (bucket == bucket[:, :1]).all()
    assert set(bucket[:, 0]) == {0, 1, 2}
    np.testing.assert_array_equal(100 + 10 * (x != 0).sum(-1), y[..., 0])  # rows stay together
    share = np.bincount(bucket[:, 0]) / 4000
    expected = np.asarray(draw.counts) / 30
    assert (np.abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / 4000)).all()
    # Within a bucket: of rows that differ by their sequence.
    same, each = np.unique(codes, axis=0, return_counts=True)
    seen = np.asarray([(x == row).all(-1).sum() for row in same])
    for which in range(3):
        of = np.searchsorted((4, 8, 12), (same != 0).sum(1) + 1) == which
        assert stats.chisquare(seen[of], seen[of].sum() * each[of] / each[of].sum()).pvalue > 1e-3


def test_a_batch_that_is_cut_has_the_loss_and_the_slope_of_the_whole():
    codes, targets = toy(40)
    made = token_vae(TOKENS, LENGTH, targets=2, latent=2, width=4, key=jr.key(0))
    pair, loss = (made.vae, made.predictor), PropertyLoss(Beta(0.3), weight=0.1)
    of = lambda loss: eqx.filter_jit(
        eqx.filter_value_and_grad(
            lambda pair, batch: 2 * loss(pair, batch, key=jr.key(1), step=0)[0]
        )
    )
    cut, whole = of(CutLoss(loss, (4, 8, 12))), of(loss)
    for longest in (3, 8, 12):
        some = (codes != 0).sum(1) < longest
        batch = jnp.asarray(codes[some][:4]), jnp.asarray(targets[some][:4])
        value, slope = cut(pair, batch)
        exact, by = whole(pair, batch)
        np.testing.assert_allclose(value, exact, rtol=1e-10)
        for a, b in zip(jax.tree.leaves(slope), jax.tree.leaves(by), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
    score = lambda loss: eqx.filter_jit(loss)(pair, batch, key=jr.key(1))
    (told, more), (plain, metrics) = score(CutLoss(loss, (4, 8, 12))), score(loss)
    np.testing.assert_allclose(told, plain, rtol=1e-10)
    assert set(more) == set(metrics)


def test_a_batch_is_cut_to_the_length_that_holds_it():
    seen = []

    def loss(model, batch, *, key, step):
        jax.debug.callback(lambda: seen.append(batch[0].shape[1]))
        return model * jnp.sum(batch[0]).astype(float), {}

    codes = np.tril(np.ones((12, 12), int), -1)  # of 0 to 11 tokens, and one more for the stop
    for count, length in ((0, 4), (3, 4), (4, 8), (7, 8), (8, 12), (11, 12)):
        batch = jnp.asarray(codes[[count, 0]]), jnp.zeros((2, 0))
        jax.jit(CutLoss(loss, (4, 8, 12)))(jnp.asarray(1.0), batch, key=jr.key(0), step=0)
        jax.effects_barrier()
        assert seen.pop() == length


def test_by_buckets_it_learns_as_well(model):
    found = trained(buckets=False)[1].history["distortion"][-1]
    codes, _ = toy(seed=3)
    mu, _ = eqx.filter_jit(eqx.filter_vmap(model.encode))(codes)
    by_buckets = -np.mean(eqx.filter_jit(eqx.filter_vmap(model.log_prob))(mu, codes))
    assert by_buckets < 1.5 * found + 0.5


def test_a_second_training_of_the_shapes_does_not_compile_again():
    codes, targets = toy(24)
    settings = {"tokens": TOKENS, "latent": 2, "width": 4, "batch_size": 4, "steps": 2}
    fit_token_vae(codes, targets, **settings, key=jr.key(0))
    with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
        told = []
        patch.setattr("jax._src.interpreters.pxla.logger.log", lambda *a: told.append(a[1]))
        fit_token_vae(codes[::-1], targets, **settings, key=jr.key(1))
    assert not [each for each in told if "ompil" in str(each)]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"codes": np.zeros((0, 3), int)}, ValueError, "`codes` must be sequences, .* one or more"),
        ({"codes": np.zeros(3, int)}, ValueError, r"`codes` must be sequences, .*shape \(3,\)"),
        ({"codes": np.zeros((2, 3))}, TypeError, "`codes` must be whole numbers, got float64"),
        ({"codes": np.array([[1, 2], [1, 4]])}, ValueError, "from 0 to 3, .*; row 1 has 4 at 1"),
        ({"codes": np.array([[1, -1], [1, 2]])}, ValueError, "row 0 has -1 at 1, one of 1"),
        ({"targets": np.zeros(3)}, ValueError, "a row for each of the 2 sequences"),
        ({"targets": [1.0, np.inf]}, ValueError, "row 1 is infinite"),
        ({"targets": [[1.0, np.nan]] * 2}, ValueError, "nothing was measured, 1: leave"),
        ({"batch_size": 0}, ValueError, "`batch_size` must be 1 or more"),
        ({"targets": [1e305, 1e306]}, ValueError, "`targets` cannot be held in float64"),
        ({"targets": ["a", "b"]}, TypeError, "`targets` must be an array of numbers"),
        ({"learning_rate": -1.0}, ValueError, "`learning_rate` must be positive, got -1"),
        ({"learning_rate": "a"}, TypeError, "`learning_rate` must be one number"),
        ({"steps": 0}, ValueError, "`steps` must be 1 or more"),
        ({"word_dropout": 1.0}, ValueError, "`word_dropout` must be from 0 to below 1, got 1.0"),
        ({"kl_weight": -1.0}, ValueError, "`kl_weight` must be 0 or more"),
        ({"kl_weight": np.inf}, ValueError, "`kl_weight` must be 0 or more, got inf"),
        ({"kl_weight": "a"}, TypeError, "`kl_weight` must be one number"),
        ({"property_weight": -1.0}, ValueError, "`property_weight` must be 0 or more"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(change, error, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    given = {"codes": np.array([[1, 2, 0], [3, 0, 0]]), "targets": [1.0, 2.0], "batch_size": 2,
             "key": jr.key(0), "tokens": TOKENS, "steps": 1} | change  # fmt: skip
    codes = given.pop("codes")
    with pytest.raises(error, match=message):
        fit_token_vae(codes, given.pop("targets"), **given)


def test_the_loss_is_the_one_that_is_said():
    codes, targets = toy(8)
    model, info = fit_token_vae(
        codes, targets, tokens=TOKENS, latent=2, width=4, steps=1, word_dropout=0,
        property_weight=3.0, learning_rate=1e-30, key=jr.key(0),
    )  # fmt: skip
    scored = (targets - targets.mean(0)) / targets.std(0)
    mu, _ = jax.vmap(model.encode)(codes)
    error = np.mean((np.asarray(jax.vmap(model.predictor)(mu)) - scored) ** 2)
    assert info.history["property_mse"][0] == pytest.approx(error, rel=1e-6)
    told = info.history["distortion"][0] + 3 * error
    weight = 0.05 / (1 + np.exp(0.35 / 0.05))
    assert info.history["loss"][0] == pytest.approx(told + weight * info.history["rate"][0])


def test_targets_beyond_float32_are_refused(x32):
    for size in (1e39, 1e-50):
        with pytest.raises(ValueError, match=r"`targets` cannot be held in float32: .*Rescale"):
            fit_token_vae(np.array([[1, 0], [2, 0]]), [0.0, size], tokens=3, key=jr.key(0))
    far = np.array([[0.0, 1e8], [1e6, 1e8 + 3]])
    with pytest.raises(ValueError, match=r"goes to 1e\+08 in size and deviates by 1.5, .*its mean"):
        fit_token_vae(np.array([[1, 0], [2, 0]]), far, tokens=3, key=jr.key(0))
    check_range("each by itself", np.array([[1e5, 1e-3], [-1e5, -1e-3]]), [1e5, 1e-3], np.float32)


def test_what_is_no_argument_of_a_model(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    model, key = token_vae(5, 4, targets=1, latent=2, width=4, key=jr.key(0)), jr.key(1)
    for call, error, message in (
        (lambda: model.encode(jnp.array([1, 9])), ValueError, "from 0 to 4; it has 9 at 1"),
        (lambda: model.encode(jnp.array([-1, 9])), ValueError, "has -1 at 0, one of 2 such"),
        (lambda: model.encode(jnp.array([1.5, 0])), TypeError, "whole numbers; got float64"),
        (lambda: jax.jit(lambda x: model.encode(x))(jnp.array([1.5, 0])), TypeError, "got float64"),
        (lambda: model.log_prob(jnp.ones(2), jnp.array([6, 1])), ValueError, "from 0 to 5"),
        (lambda: model.predict(jnp.ones(3)), ValueError, r"`mu` must have the shape \(2,\)"),
        (lambda: model.decode(jnp.array([1, np.nan]), key=key), ValueError, "`z` must be finite"),
        (lambda: token_vae(5, 4, targets=-1, key=key), ValueError, "`targets` must be 0 or more"),
        (lambda: token_vae(5, 4, targets=1.5, key=key), TypeError, "`targets` must be a whole"),
    ):
        with pytest.raises(error, match=message):
            call()
