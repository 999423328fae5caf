"""Series of counts, classes and yes or no: bounds, predictions, bands and checks."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from scipy import special, stats

from pullback import train
from pullback.models import timeseries as ts

pytestmark = pytest.mark.usefixtures("promotion")

TIMES = np.array([[0.0, 0.3, 1.0], [0.0, 0.6, 0.9]])
MASK = np.array([[[True, True], [False, True], [True, True]]] * 2)
COUNTS = np.array([[[2, 0], [-9, 1], [5, 3]], [[0, 0], [-9, 2], [1, 7]]], float)
PLACE = np.array([0.4, -0.3])
DECAY = 0.5


class Still(eqx.Module):
    """A posterior of one place and deviation, whatever is seen."""

    std: float = 1e-9

    def __call__(self, times, values, mask, *, anchor):
        return ts.Posterior(jnp.asarray(PLACE), jnp.full(2, self.std))


class Double(eqx.Module):
    """The state as the parameters, whatever their shape: `k z` for the k-th of a variable."""

    shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, z):
        rest = math.prod(self.shape[1:])
        return (z[:, None] * jnp.arange(1.0, rest + 1)[None]).reshape(self.shape)


def observed(values=COUNTS, mask=MASK):
    return ts.Observations(*(jnp.asarray(a) for a in (TIMES, values, mask)))


def ode_of(likelihood, std=1e-9, **options: Any):
    model = ts.latent_ode(2, latent=2, steps=8, likelihood=likelihood, key=jr.key(0), **options)
    return eqx.tree_at(
        lambda m: (m.encoder, m.field, m.decoder),
        model,
        (Still(std), lambda t, z, args: -DECAY * z, Double(likelihood.params_shape((2,)))),
    )


def params_at(times, likelihood):
    """What the model decodes at the times of both series, `[series, time, variable, ...]`."""
    z = PLACE * np.exp(-DECAY * (times - times[:, :1]))[..., None]
    rest = likelihood.params_shape((2,))[1:]
    return (z[..., None] * np.arange(1, math.prod(rest) + 1)).reshape(*z.shape, *rest)


def log_mass(likelihood, params, x):
    """SciPy's log-mass of each entry."""
    if isinstance(likelihood, ts.Poisson):
        return stats.poisson.logpmf(x, np.exp(params))
    if isinstance(likelihood, ts.NegativeBinomial):
        mean, r = np.exp(params[..., 0]), np.exp(params[..., 1])
        return stats.nbinom.logpmf(x, r, r / (r + mean))
    if isinstance(likelihood, ts.Bernoulli):
        return stats.bernoulli.logpmf(x, special.expit(params))
    p = special.softmax(params, axis=-1)
    return np.log(np.take_along_axis(p, x.astype(int)[..., None], -1)[..., 0])


KINDS = {
    "poisson": ts.Poisson(),
    "negative binomial": ts.NegativeBinomial(),
    "bernoulli": ts.Bernoulli(),
    "categorical": ts.Categorical(4),
}
every = pytest.mark.parametrize("likelihood", KINDS.values(), ids=KINDS)


def data_of(likelihood):
    most = {ts.Bernoulli: 1, ts.Categorical: 3}.get(type(likelihood), 9)
    return np.where(MASK, np.minimum(COUNTS, most), np.nan)


@every
def test_a_latent_ode_s_bound_is_scipy_s_mass(likelihood, key):
    values = data_of(likelihood)
    params = params_at(TIMES, likelihood)
    mass = log_mass(likelihood, params, np.where(MASK, values, 0))
    expected = np.where(MASK, mass, 0).sum(axis=(1, 2))
    model, batch = ode_of(likelihood), ts.TrainingSeries(observed(values))
    found = model.elbo_terms(batch.observed, key=key)
    np.testing.assert_allclose(found.log_likelihood, expected, rtol=1e-6)
    np.testing.assert_allclose(found.elbo, found.log_likelihood - found.kl, rtol=1e-12)
    mean = np.asarray(likelihood.mean(jnp.asarray(params)))
    seen = np.eye(4)[np.where(MASK, values, 0).astype(int)] if mean.ndim == 4 else values
    error = np.where(MASK if mean.ndim == 3 else MASK[..., None], np.square(mean - seen), 0)
    np.testing.assert_allclose(found.squared_error, error.reshape(2, -1).sum(axis=1), rtol=1e-6)
    (loss, metrics), slope = eqx.filter_jit(
        eqx.filter_value_and_grad(lambda m: ts.LatentODELoss()(m, batch, key=key), has_aux=True)
    )(ode_of(likelihood, std=0.1))
    assert np.isfinite(loss)
    assert float(metrics["mse"]) > 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


@every
def test_bands_hold_a_new_observation_as_often_as_they_say(likelihood, key):
    """Over many predictions, each from few draws: whole ends, and at least the level."""
    model, level = ode_of(likelihood, std=0.5), 0.8
    many = jax.tree.map(lambda a: jnp.repeat(a[:1], 400, axis=0), observed(data_of(likelihood)))
    query = jnp.tile(jnp.asarray([[0.2, 1.5]]), (400, 1))
    found = ts.predict(model, many, query, level=level, samples=39, key=key)
    # What is new: one more draw of the state and of the likelihood, for each prediction.
    z = PLACE + 0.5 * np.asarray(jr.normal(jr.key(1), (400, 1, 2)))
    z = z * np.exp(-DECAY * np.array([0.2, 1.5]))[:, None]
    params = jax.vmap(jax.vmap(model.decoder))(jnp.asarray(z))
    if likelihood.kind == "classes":
        assert found.mean.shape == (400, 2, 2, 4)
        np.testing.assert_allclose(found.mean.sum(-1), 1.0, rtol=1e-10)
        new = likelihood.mean(params)
    else:
        new = likelihood.sample(params, key=jr.key(2))
        for end in (found.lower, found.upper):
            assert np.array_equal(end, np.round(end))
            assert end.shape == (400, 2, 2)
    held = np.asarray((new >= found.lower) & (new <= found.upper), float)
    held = held.reshape(400, -1).mean(axis=0)
    error = 4 * math.sqrt(level * (1 - level) / 400)
    assert (held > level - error).all()
    if likelihood.kind == "classes":
        assert (held < level + error).all()


def test_a_band_of_counts_is_out_to_the_next_draw(key):
    """Of 39 draws and a level of 0.9 the ends are the second from either end, of 40 the first."""
    model, series = ode_of(ts.Poisson()), observed()
    params, _ = model.paths(series, series.times, samples=40, keys=jr.split(key, 2))
    for samples, place in ((39, 1), (40, 1), (38, 0), (5, 0)):
        found = ts.predict(model, series, series.times, samples=samples, key=key)
        keys = jax.vmap(jr.split)(jr.split(key, 2))[:, 1]
        same = jnp.swapaxes(params[:1], 0, 1)
        for row in range(2):
            shape = jnp.broadcast_to(same[row], (samples, *same[row].shape[1:]))
            draws = np.sort(np.asarray(model.likelihood.sample(shape, key=keys[row])), axis=0)
            # The paths differ by 1e-9 from draw to draw, and these draws do not mind.
            assert np.array_equal(found.lower[row], draws[place])
            assert np.array_equal(found.upper[row], draws[-1 - place])


def test_imputing_keeps_what_was_seen_and_forecasting_goes_on(key):
    for likelihood in (ts.Poisson(), ts.Categorical(4)):
        model, values = ode_of(likelihood), data_of(likelihood)
        found = ts.impute(model, observed(values), samples=10, key=key)
        seen = (
            values if likelihood.kind == "whole" else np.eye(4)[np.nan_to_num(values).astype(int)]
        )
        for part in found[1:4]:
            assert np.array_equal(part[MASK], seen[MASK])
            assert np.isfinite(part).all()
        times = jnp.asarray([[1.5, 2.0]] * 2)
        later = ts.forecast(model, observed(values), times, samples=10, key=key)
        mean = likelihood.mean(jnp.asarray(params_at(np.insert(times, 0, 0.0, 1), likelihood)))
        np.testing.assert_allclose(later.mean, mean[:, 1:], rtol=1e-6)
        paths = ts.sample_paths(model, observed(values), times, samples=3, key=key)
        np.testing.assert_allclose(paths, jnp.broadcast_to(mean[None, :, 1:], paths.shape), 1e-6)


def test_a_band_of_numbers_holds_its_level(key):
    """Of a known posterior, exactly so however few the draws."""
    model = ode_of(ts.Normal(0.4), std=0.5)
    many = jax.tree.map(
        lambda a: jnp.repeat(a[:1], 800, axis=0), observed(np.where(MASK, COUNTS, 0))
    )
    z = PLACE + 0.5 * np.asarray(jr.normal(jr.key(1), (800, 1, 2)))
    new = z * np.exp(-DECAY * np.array([0.0, 0.0, 1.5]))[:, None]
    new = new + 0.4 * np.asarray(jr.normal(jr.key(2), new.shape))
    query = jnp.tile(jnp.asarray([[0.0, 0.0, 1.5]]), (800, 1))  # the first time, twice
    for level, samples in ((0.8, 39), (0.5, 6)):
        found = ts.predict(model, many, query, level=level, samples=samples, key=key)
        held = ((new > found.lower) & (new < found.upper)).reshape(800, -1).mean(axis=0)
        assert (abs(held - level) < 4 * math.sqrt(level * (1 - level) / 800)).all()


def test_predictions_are_compiled_and_refuse_what_is_no_observation(key):
    model, series = ode_of(ts.Poisson()), observed()
    times = jnp.asarray([[1.5, 2.0]] * 2)
    eager = ts.forecast(model, series, times, samples=9, key=key)
    run = jax.jit(lambda s, t: ts.forecast(model, s, t, samples=9, key=key)[:4])
    for one, two in zip(run(series, times), eager[:4], strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6)
    none = ts.predict(
        model, series._replace(mask=jnp.zeros_like(series.mask)), times[:, :1], samples=9, key=key
    )
    assert none.mean.shape == (2, 1, 2)
    assert np.isfinite(none.mean).all()
    for part, message in (("values", "series 1, place 2: an observed value that is not finite"),
                          ("times", "series 1, place 2: a time that is not finite")):  # fmt: skip
        bad = series._replace(**{part: getattr(series, part).at[1, 2].set(jnp.nan)})
        with pytest.raises(ValueError, match=message):
            ts.predict(model, bad, times, samples=9, key=key)
    with pytest.raises(ValueError, match="must be whole numbers from 0"):
        ts.sample_paths(model, observed(np.full_like(COUNTS, 0.5)), times, samples=9, key=key)


def models(likelihood):
    small: Any = {"latent": 2, "encoder_size": 3, "steps": 1, "key": jr.key(0)}
    return {
        "ode": (
            ts.latent_ode(2, likelihood=likelihood, encoder="rnn", gate_width=4, width=4, **small),
            ts.LatentODELoss(),
        ),
        "sde": (
            ts.latent_sde(2, likelihood=likelihood, context=2, width=4, **small),
            ts.LatentSDELoss(),
        ),
        "predictor": (
            ts.predictor("decay", 2, 3, likelihood=likelihood, key=jr.key(0)),
            ts.one_step_loss,
        ),
    }


@pytest.mark.parametrize("kind", ["ode", "sde", "predictor"])
@pytest.mark.parametrize("name", ["negative binomial", "categorical"])
def test_models_of_series_are_trained_with_any_likelihood(kind, name, key):
    likelihood = KINDS[name]
    model, loss = models(likelihood)[kind]
    batch = observed(data_of(likelihood))
    data = batch if kind == "predictor" else ts.TrainingSeries(batch)
    trained, info = train.fit(
        model, loss, data, optimiser=optax.adam(0.05), steps=30, batch_size=2, log_every=10,
        progress=False, key=key,
    )  # fmt: skip
    assert info.lines()[-1]["loss"] < info.lines()[0]["loss"]
    if kind == "sde":
        said = ts.predict(trained, batch, batch.times, samples=5, key=key)
        extra = (4,) if likelihood.kind == "classes" else ()
        assert said.mean.shape == said.upper.shape == (2, 3, 2, *extra)
        prior = trained.sample_prior(jnp.asarray([0.0, 1.0]), samples=3, key=key)
        assert prior.shape == (3, 2, 2, *extra)


@pytest.mark.parametrize("kind", ["ode", "sde", "predictor"])
@pytest.mark.parametrize(
    ("name", "wrong"), [("poisson", -1.0), ("negative binomial", 0.5), ("categorical", 4.0)]
)
def test_values_that_cannot_be_are_refused_wherever_they_are_scored(kind, name, wrong, key):
    likelihood = KINDS[name]
    model, loss = models(likelihood)[kind]
    values = data_of(likelihood)
    values[1, 2, 0] = wrong
    bad = observed(values)
    data = bad if kind == "predictor" else ts.TrainingSeries(bad)
    options: Any = {"optimiser": optax.sgd(0.1), "steps": 1, "batch_size": 2, "progress": False}
    calls = {
        "fit": lambda: train.fit(model, loss, data, **options, key=key),
        "evaluate": lambda: train.evaluate(model, loss, data, batch_size=2, key=key),
    }
    if kind == "predictor":
        calls["log_prob"] = lambda: model.log_prob(*(a[1] for a in bad))
    else:
        good = observed(data_of(likelihood))
        calls |= {
            "elbo": lambda: model.elbo(bad, key=key),
            "evidence of a target": lambda: model.elbo_terms(good, bad, key=key),
            "iwae": lambda: model.iwae(bad, samples=2, key=key),
        }
    for what, call in calls.items():
        place = "row 2 .* at \\[0\\]" if what == "log_prob" else "row 1 .* at \\[2, 0\\]"
        with pytest.raises(ValueError, match=f"{place}.* must be whole numbers from 0"):
            call()


def test_one_step_predictions_of_classes_are_probabilities():
    model, _ = models(ts.Categorical(4))["predictor"]
    series = [a[0] for a in observed(data_of(ts.Categorical(4)))]
    chance = model.one_step(*series)
    assert chance.shape == (3, 2, 4)
    np.testing.assert_allclose(chance.sum(-1), 1.0, rtol=1e-6)
    values = np.where(MASK[0], data_of(ts.Categorical(4))[0], 0).astype(int)
    expected = np.log(np.take_along_axis(np.asarray(chance), values[..., None], -1))[..., 0]
    np.testing.assert_allclose(model.log_prob(*series), np.where(MASK[0], expected, 0), rtol=1e-6)
    assert model.predict(*series, jnp.asarray([0.5])).shape == (1, 2, 4)  # pyrefly: ignore


def test_the_fitted_noise_is_of_a_normal_alone(key):
    for likelihood in (ts.Poisson(), ts.Normal()):
        with pytest.raises(ValueError, match=r"must have the likelihood `Normal\(std\)`"):
            ts.fitted_noise(ode_of(likelihood), observed(), key=key)
