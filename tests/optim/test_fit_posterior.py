"""Posteriors against exact ones, and what `fit_posterior` refuses."""

import inspect
from typing import Any

import equinox as eqx
import gaussian_rows as rows
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import optax
import pytest

from pullback.optim import (
    Diagonal,
    Full,
    Kronecker,
    WeightPosterior,
    draw_weights,
    fit_posterior,
    load_posterior,
    noisy_adam,
)
from pullback.train import CheckpointError, save_checkpoint

X, Y = jnp.asarray(rows.X), jnp.asarray(rows.Y)
KEY = jr.key(0)


def line():
    return eqx.nn.Linear(rows.D, "scalar", use_bias=False, key=jr.key(1), dtype=jnp.float64)


def normal(mean):
    return dist.Normal(mean, jnp.asarray(0.3, mean.dtype))


def small(into=1, dtype=jnp.float64):
    return eqx.nn.MLP(into, "scalar", 6, 1, jnp.tanh, key=jr.key(2), dtype=dtype)


def fit_line(curvature, **settings):
    settings = {
        "prior_variance": rows.PRIOR, "steps": 50, "statistics_every": 1, "inverse_every": 1,
        "batch_size": rows.N, "progress": False, "key": KEY, **settings,
    }  # fmt: skip
    return fit_posterior(line(), rows.TwoPoints, X, Y, curvature=curvature, **settings)


@pytest.mark.parametrize("draws", ["example", "batch"])
def test_the_covariance_of_a_linear_regression(draws):
    found = {}
    for curvature in (Full(rate=1.0), Kronecker(rate=1.0), Diagonal(rate=1.0)):
        posterior, _ = fit_line(curvature, draws=draws)
        eye = jax.vmap(
            lambda e, p=posterior: p.curvature.solve(
                p.prepared, eqx.tree_at(lambda m: m.weight, line(), e[None])
            ).weight[0]
        )(jnp.eye(rows.D))
        found[type(curvature)] = np.asarray(eye) / rows.N
    np.testing.assert_allclose(found[Full], rows.COVARIANCE, rtol=1e-10)
    # The best of factorised posteriors, which says far too little of how uncertain weights are.
    want = np.diag(1 / np.diag(rows.PRECISION))
    np.testing.assert_allclose(found[Diagonal], want, rtol=1e-10)
    ratio = np.diag(rows.COVARIANCE) / np.diag(found[Diagonal])
    assert (ratio > 1.3).all()
    # Of one output: exact but for the damping, which is of both factors.
    a, s = rows.X.T @ rows.X / rows.N, 1 / rows.NOISE
    gamma = 1 / (rows.N * rows.PRIOR)
    pi = np.sqrt(np.trace(a) / rows.D / s)
    factored = (a + pi * np.sqrt(gamma) * np.eye(rows.D)) * (s + np.sqrt(gamma) / pi)
    np.testing.assert_allclose(found[Kronecker], np.linalg.inv(factored) / rows.N, rtol=1e-10)


@pytest.mark.parametrize("draws", ["example", "batch"])
def test_its_mean_and_covariance_by_batches(draws):
    posterior, info = fit_posterior(
        line(), lambda mean: dist.Normal(mean, np.sqrt(rows.NOISE)), X, Y, curvature=Full(rate=0.0),
        prior_variance=rows.PRIOR, steps=2000, batch_size=20, statistics_every=1,
        inverse_every=10, draws=draws, progress=False, key=KEY,
        optimiser=optax.sgd(lambda step: 2 / (step.astype(jnp.float64) + 4)),
    )  # fmt: skip
    drawn = rows.weights_of(posterior, 50_000)
    gap = np.linalg.norm(np.cov(drawn.T) - rows.COVARIANCE) / np.linalg.norm(rows.COVARIANCE)
    assert gap < 0.03
    off = np.asarray(posterior.mean.weight[0]) - rows.MEAN
    # In posterior deviations: by such rates 2000 draws leave sqrt(4 / 3 / 2000), which is 0.026, in
    # each of four directions; of that 0.064 is four standard errors.
    assert np.sqrt(off @ rows.PRECISION @ off / rows.D) < 0.064
    assert info.layers == ("",)


def test_less_weight_of_the_kl_and_more_rows_are_less_noise():
    cold, _ = fit_line(Full(rate=1.0), kl_weight=1e-12, draws="batch")
    assert np.ptp(rows.weights_of(cold, 100), axis=0).max() < 1e-5
    twice = fit_posterior(
        line(), rows.TwoPoints, jnp.tile(X, (4, 1)), jnp.tile(Y, 4), curvature=Full(rate=1.0),
        prior_variance=rows.PRIOR / 4, steps=50, statistics_every=1, inverse_every=1,
        batch_size=4 * rows.N, draws="batch", progress=False, key=KEY,
    )[0]  # fmt: skip
    once, _ = fit_line(Full(rate=1.0), draws="batch")
    root = lambda posterior: np.asarray(posterior.prepared.deviation)
    np.testing.assert_allclose(root(twice), root(once) / 2, rtol=1e-10)


def test_where_data_say_nothing_the_prior_pulls_to_zero():
    vague = lambda mean: rows.TwoPoints(mean, 1e12)
    posterior, _ = fit_posterior(
        line(), vague, X, Y, curvature=Full(rate=1.0), prior_variance=rows.PRIOR, steps=60,
        batch_size=rows.N, statistics_every=1, inverse_every=1, optimiser=optax.sgd(0.5),
        progress=False, key=KEY,
    )  # fmt: skip
    np.testing.assert_allclose(posterior.mean.weight, 0 * line().weight, atol=1e-9)
    np.testing.assert_allclose(
        rows.weights_of(posterior, 50_000).var(axis=0), rows.PRIOR, rtol=0.04
    )


@pytest.mark.parametrize("curvature", [Full(), Diagonal()])
def test_at_default_settings_the_start_is_no_data(curvature):
    """Of a column that is 0 in all rows nothing is known but the prior, however many rows."""
    x = jr.normal(jr.key(1), (1000, 2)).at[:, 1].set(0)
    net = eqx.nn.Linear(2, "scalar", use_bias=False, key=KEY)
    posterior, _ = fit_posterior(
        net, lambda mean: dist.Normal(mean, 1.0), x, x[:, 0], curvature=curvature, steps=300,
        progress=False, key=KEY,
    )  # fmt: skip
    variance = rows.weights_of(posterior, 20_000).var(axis=0)
    # Of the first, by some 2,000 squares of standard deviation 2.8 beside their mean of 1.
    np.testing.assert_allclose(variance, [0.001, 1.0], rtol=0.25)
    np.testing.assert_allclose(variance[1], 1.0, rtol=0.05)


def test_a_label_that_is_missing_has_no_density():
    posterior, _ = fit_line(Full(rate=1.0), steps=3)
    with pytest.raises(ValueError, match="`y` must be finite; row 1"):
        posterior.log_prob(X, Y.at[1].set(jnp.nan), draws=2, key=KEY)


@pytest.mark.parametrize("draws", [1.5, True, "2"])
def test_a_number_of_draws_is_whole(draws):
    posterior, _ = fit_line(Full(rate=1.0), steps=3)
    predict = inspect.unwrap(WeightPosterior.predict)  # without the tests' own checks of types
    with pytest.raises(TypeError, match="`draws` must be a whole number"):
        predict(posterior, X, draws=draws, key=KEY)


class Weight(eqx.Module):
    w: jax.Array

    def __call__(self, x):
        return self.w * x


def test_a_logistic_regression_of_one_weight_against_quadrature():
    rng = np.random.default_rng(3)
    x = rng.normal(size=80)
    y = (rng.uniform(size=80) < 1 / (1 + np.exp(-1.2 * x))).astype(float)
    grid = np.linspace(-4, 6, 4001)
    log = (y * x) @ grid[None].repeat(80, 0) - np.logaddexp(0, x[:, None] * grid).sum(0)
    mass = np.exp(log - grid**2 / 2 - (log - grid**2 / 2).max())
    mass /= mass.sum()
    mean = grid @ mass
    sd = np.sqrt((grid - mean) ** 2 @ mass)
    for curvature in (Diagonal(), Full()):
        posterior, info = fit_posterior(
            Weight(jnp.asarray(0.0)), lambda logit: dist.Bernoulli(logits=logit), x, y,
            curvature=curvature, steps=600, batch_size=80, statistics_every=1, inverse_every=5,
            optimiser=optax.sgd(0.05), progress=False, key=KEY,
        )  # fmt: skip
        drawn = rows.weights_of(posterior, 20_000)
        assert drawn.std() == pytest.approx(sd, rel=0.1)
        assert drawn.mean() == pytest.approx(mean, abs=0.3 * sd)
        assert info.others == (".w",)


@pytest.mark.parametrize(
    "curvature",
    [
        Kronecker(),
        pytest.param(Diagonal(), marks=pytest.mark.slow),
        pytest.param(Full(), marks=pytest.mark.slow),
    ],
)
def test_a_draw_an_example_and_a_draw_a_batch_agree_in_mean(curvature):
    """Of a deep network: the gradient, and what is measured of the curvature."""
    from pullback.optim._natural_step import NaturalStep, Weighing

    net = eqx.nn.MLP(2, "scalar", 3, 2, jnp.tanh, key=jr.key(4), dtype=jnp.float64)
    x = jnp.asarray([[0.3, -1.0], [1.0, 0.5]])
    y = jnp.asarray([0.4, -0.2])
    means, weighing = [], Weighing(jnp.asarray(0.1), 0.0, jnp.asarray(0.3))
    for draws, count in (("example", 4000), ("batch", 4000)):
        step = NaturalStep(normal, curvature, optax.sgd(0.0), weighing, 1, 1, draws, ())
        state = step.start(net, (x, y), KEY)

        def one(key, step=step, state=state):
            slope = step._factors(state, (x, y), key, drawn=False).gradient()
            measured = step.curvature.measure(step._factors(state, (x, y), key, drawn=True))
            return jax.flatten_util.ravel_pytree((slope, measured))[0]

        found = np.asarray(jax.jit(jax.vmap(one))(jr.split(KEY, count)))
        means.append((found.mean(axis=0), found.std(axis=0) / np.sqrt(count)))
    error = np.hypot(means[0][1], means[1][1])
    apart = np.abs(means[0][0] - means[1][0]) / np.maximum(error, 1e-12)
    assert apart.max() < 4.5


class Head(eqx.Module):
    """A network of a mean, with a norm inside and a deviation beside."""

    first: eqx.nn.Linear
    norm: eqx.nn.LayerNorm
    last: eqx.nn.Linear
    log_scale: jax.Array

    def __init__(self, key):
        one, two = jr.split(key)
        self.first = eqx.nn.Linear(1, 8, key=one)
        self.norm = eqx.nn.LayerNorm(8)
        self.last = eqx.nn.Linear(8, "scalar", key=two)
        self.log_scale = jnp.asarray(0.0, jnp.float32)

    def __call__(self, x):
        return self.last(jnp.tanh(self.norm(self.first(x)))), self.log_scale


def with_scale(output):
    mean, log_scale = output
    return dist.Normal(mean, jnp.exp(log_scale))


@pytest.mark.usefixtures("x32")
def test_a_network_with_a_norm_and_a_scale_and_its_way_to_a_folder(tmp_path):
    x = np.linspace(-1, 1, 50, dtype=np.float32)[:, None]
    y = (x[:, 0] + 0.1 * np.random.default_rng(0).normal(size=50)).astype(np.float32)
    fit = lambda steps, **more: fit_posterior(
        Head(KEY), with_scale, x, y, steps=steps, damping=1e-2, inverse_every=10, log_every=100,
        optimiser=optax.sgd(0.01, 0.9), progress=False, folder=tmp_path / "run", key=KEY, **more,
    )  # fmt: skip
    posterior, info = fit(400)
    assert info.layers == (".first", ".last")
    assert info.others == (".norm.weight", ".norm.bias", ".log_scale")
    assert -3 < float(posterior.mean.log_scale) < -0.3
    means, log_scales = posterior.predict(x[:3], draws=40, key=KEY)
    assert means.shape == (40, 3)
    assert log_scales.shape == (40, 3)
    assert means.dtype == jnp.float32
    log_prob = posterior.log_prob(x, y, draws=40, key=KEY)
    assert log_prob.shape == (50,)
    assert log_prob.mean() > -0.8
    posterior.save(tmp_path / "kept")
    again = load_posterior(tmp_path / "kept", Head(jr.key(7)), with_scale)
    np.testing.assert_array_equal(again.log_prob(x, y, draws=40, key=KEY), log_prob)
    assert eqx.tree_equal(again.sample(key=KEY), posterior.sample(key=KEY))
    with pytest.raises(CheckpointError, match="leaf"):
        load_posterior(tmp_path / "kept", Head(KEY), with_scale, curvature=Diagonal())
    with pytest.raises(CheckpointError, match=r"posterior\.safetensors: there is no such file"):
        load_posterior(tmp_path, Head(KEY), with_scale)
    kept = tmp_path / "kept" / "posterior.safetensors"
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"posterior\.safetensors: .* damaged"):
        load_posterior(tmp_path / "kept", Head(KEY), with_scale)
    save_checkpoint(kept, x)
    with pytest.raises(CheckpointError, match=r"posterior\.safetensors: no posterior"):
        load_posterior(tmp_path / "kept", Head(KEY), with_scale)
    for other in (3, {}, {"x": [1], "y": [], "exclude": []}, {"x": [[2], "f"], "y": 1}):
        save_checkpoint(kept, x, {"fitted_on": other})
        with pytest.raises(CheckpointError, match=r"not written by `WeightPosterior\.save`"):
            load_posterior(tmp_path / "kept", Head(KEY), with_scale)
    # A run that goes on is the run that was not stopped.
    for file in (tmp_path / "run").glob("checkpoint-*"):
        file.unlink()
    fit(200)
    resumed, _ = fit(400, resume=True)
    assert eqx.tree_equal(resumed.mean, posterior.mean)


def test_images_and_classes():
    class Net(eqx.Module):
        conv: eqx.nn.Conv2d
        last: eqx.nn.Linear

        def __call__(self, image):
            return self.last(jnp.tanh(self.conv(image)).ravel())

    rng = np.random.default_rng(0)
    classes = np.arange(60) % 2
    images = rng.normal(size=(60, 1, 4, 4)) + 2.0 * classes[:, None, None, None]
    net = Net(
        eqx.nn.Conv2d(1, 2, 3, key=KEY, dtype=jnp.float64),
        eqx.nn.Linear(8, 2, key=KEY, dtype=jnp.float64),
    )
    posterior, info = fit_posterior(
        net, lambda logits: dist.Categorical(logits=logits), images, classes, steps=300,
        batch_size=20, damping=1e-2, inverse_every=20, progress=False, key=KEY,
    )  # fmt: skip
    assert info.layers == (".conv", ".last")
    assert posterior.log_prob(images, classes, key=KEY).mean() > -0.4


def test_noisy_adam_takes_the_steps_of_its_equations():
    adam = noisy_adam(0.1, rows=50, prior_variance=2.0, kl_weight=0.5, b2=0.9, damping=0.03)
    mean: Any = {"a": jnp.asarray([1.0, -2.0]), "b": jnp.asarray(0.5)}
    state = adam.init(mean)
    want, m, f = np.asarray([1.0, -2.0]), np.zeros(2), np.zeros(2)
    rng = np.random.default_rng(0)
    update = jax.jit(lambda g, s, p, h: adam.update(g, s, p, squares=h))
    for step in range(1, 6):
        g, h = rng.normal(size=2), rng.uniform(size=2)
        updates, state = update(
            {"a": jnp.asarray(g), "b": jnp.asarray(0.1)}, state, mean,
            {"a": jnp.asarray(h), "b": jnp.asarray(0.2)},
        )  # fmt: skip
        mean = jax.tree.map(jnp.add, mean, updates)
        m = 0.9 * m + 0.1 * (g + 0.005 * want)
        share = max(0.1, 1 / step)  # the start is not in the average
        f = (1 - share) * f + share * h
        want = want - 0.1 * m / (1 - 0.9**step) / (f + 1 / (step + 1) + 0.005 + 0.03)
        np.testing.assert_allclose(mean["a"], want, rtol=1e-12)
    draw = jax.vmap(lambda key: draw_weights(state, mean, key=key)["a"])
    drawn = np.asarray(draw(jr.split(KEY, 100_000)))
    np.testing.assert_allclose(drawn.var(axis=0), 0.01 / (f + 2.0**-5 + 0.005), rtol=0.03)
    with pytest.raises(ValueError, match="`squares`"):
        adam.update(mean, state, mean)


def test_steps_are_by_a_curvature_in_which_the_start_counts_as_one_measurement():
    """With draws of no size."""
    posterior, _ = fit_line(
        Diagonal(), kl_weight=1e-10, steps=4, inverse_every=1, statistics_every=1, damping=0.5,
        optimiser=optax.sgd(0.1),
    )  # fmt: skip
    weight = np.asarray(line().weight[0])
    squares = np.square(rows.X).mean(axis=0) / rows.NOISE
    for step in range(1, 5):
        left = 1 / (step + 1)
        slope = -(rows.X * (rows.Y - rows.X @ weight)[:, None]).mean(axis=0) / rows.NOISE
        weight = weight - 0.1 * slope / ((1 - left) * squares + left + 0.5)
    np.testing.assert_allclose(posterior.mean.weight[0], weight, rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"prior_variance": 0.0}, "`prior_variance` must be above 0"),
        ({"prior_variance": float("nan")}, "`prior_variance`"),
        ({"kl_weight": -1.0}, "`kl_weight` must be above 0"),
        ({"damping": -0.1}, "`damping` must be 0 or more"),
        ({"batch_size": 21}, "`batch_size` must be at most 20, the rows; got 21"),
        ({"batch_size": 0}, "`batch_size` must be 1 or more"),
        ({"steps": 0}, "`steps`"),
        ({"statistics_every": 0}, "`statistics_every`"),
        ({"x": jnp.zeros((20, 1)).at[3].set(jnp.nan)}, "`x` must be finite; row 3"),
        ({"y": jnp.zeros(20).at[4].set(jnp.inf)}, "`y` must be finite; row 4"),
        ({"y": jnp.zeros(19)}, "the same leading axis"),
        ({"likelihood": lambda m: dist.Normal(m[None], 1.0)}, "one number an example"),
        ({"likelihood": lambda m: dist.Normal(jnp.stack([m, m]), 1.0).to_event(1)}, "draw labels"),
        ({"curvature": Full(), "model": eqx.nn.MLP(1, "scalar", 45, 2, key=KEY)}, "up to 2,000"),
        ({"exclude": (".layers[5]",)}, "no layer"),
        (
            {
                "model": Weight(jnp.asarray(1.0)),
                "x": jnp.zeros(20),
                "exclude": ".w",
                "curvature": Diagonal(),
            },
            "`exclude` names '.w', which is no layer",
        ),
        ({"model": Weight(jnp.asarray(1.0)), "x": jnp.zeros(20)}, r"curvature=Diagonal\(\)"),
    ],
)
def test_what_does_not_fit_is_refused(settings, match):
    given = {
        "model": small(), "likelihood": normal, "x": jnp.zeros((20, 1)), "y": jnp.zeros(20),
        "steps": 2, "progress": False, "key": KEY,
    }  # fmt: skip
    given |= settings
    first = [given.pop(name) for name in ("model", "likelihood", "x", "y")]
    with pytest.raises(ValueError, match=match):
        fit_posterior(*first, **given)


def test_what_is_no_model_no_layers_and_no_likelihood_is_refused():
    fit = lambda model, likelihood=normal, **more: fit_posterior(
        model, likelihood, jnp.zeros((4, 1)), jnp.zeros(4), steps=1, key=KEY, **more
    )
    with pytest.raises(TypeError, match="`log_prob` and `sample`"):
        fit(small(), lambda m: m)
    with pytest.raises(TypeError, match=r"`model` must be callable.*got ArrayImpl"):
        fit(jnp.ones(3))
    with pytest.raises(TypeError, match="`model` has no parameters"):
        fit(lambda x: x[0])
    with pytest.raises(TypeError, match=r"`exclude` must name layers.*got Linear|'exclude'"):
        fit(small(), exclude=[small().layers[0]])


@pytest.mark.parametrize("given", [np.ones(3), [1.0, 2.0], jnp.ones((1, 1))])
@pytest.mark.parametrize("name", ["prior_variance", "kl_weight", "damping"])
def test_an_array_in_place_of_a_number_is_refused(name, given):
    match = f"`{name}` must be one number|parameter '{name}'"
    with pytest.raises(TypeError, match=match):
        noisy_adam(0.1, rows=20, **{name: given})
    with pytest.raises(TypeError, match=match):
        fit_posterior(small(), normal, X[:, :1], Y, steps=1, key=KEY, **{name: given})


class Twice(eqx.Module):
    layer: eqx.nn.Linear

    def __call__(self, x):
        return jnp.sum(self.layer(jnp.tanh(self.layer(x))))


def test_a_layer_that_is_passed_twice_is_refused_and_may_be_excluded():
    net = Twice(eqx.nn.Linear(2, 2, key=KEY, dtype=jnp.float64))
    data = jnp.ones((8, 2)), jnp.ones(8)
    fit = lambda **more: fit_posterior(
        net, normal, *data, steps=2, statistics_every=1, inverse_every=1, draws="batch",
        progress=False, key=KEY, **more,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"`model.layer` is called 2 times.*`exclude`"):
        fit()
    _, info = fit(exclude=[".layer"], curvature=Diagonal())
    assert info.layers == ()
    assert info.others == (".layer.weight", ".layer.bias")


def test_one_row_and_a_constant_column():
    for x in (jnp.ones((1, 2)), jnp.zeros((5, 2))):
        posterior, _ = fit_posterior(
            small(2), normal, x, jnp.ones(len(x)), steps=5, progress=False, key=KEY
        )
        assert np.isfinite(posterior.predict(x, draws=3, key=KEY)).all()
    with pytest.raises(ValueError, match="`draws`"):
        posterior.predict(x, draws=0, key=KEY)
    with pytest.raises(ValueError, match="at least one example"):
        posterior.predict(x[:0], key=KEY)
    with pytest.raises(ValueError, match=r"`x` must hold rows of the shape \(2,\).*`x\[None\]`"):
        posterior.predict(x[0], key=KEY)
    with pytest.raises(ValueError, match=r"got an array of the shape \(5, 1\)\.$"):
        posterior.predict(x[:, :1], key=KEY)
    with pytest.raises(ValueError, match="`x` must hold rows"):
        posterior.log_prob(x[0], jnp.ones(1), key=KEY)
    with pytest.raises(ValueError, match=r"`y` must hold rows of the shape \(\)"):
        posterior.log_prob(x, jnp.ones((5, 1)), key=KEY)
    with pytest.raises(ValueError, match=r"`y` must hold rows of the shape \(\).*`y\[None\]`"):
        posterior.log_prob(x, jnp.asarray(1.0), key=KEY)


def test_dropout_does_nothing(tmp_path):
    net = eqx.nn.Sequential([small().layers[0], eqx.nn.Dropout(0.5), small().layers[1]])
    data = jnp.linspace(-1, 1, 8)[:, None], jnp.zeros(8)
    fit = lambda net: fit_posterior(
        net, normal, *data, steps=3, statistics_every=1, inverse_every=1, draws="batch",
        curvature=Diagonal(), progress=False, key=KEY,
    )[0]  # fmt: skip
    posterior, without = fit(net), fit(eqx.nn.inference_mode(net))
    predicted = posterior.predict(data[0], draws=3, key=KEY)
    np.testing.assert_array_equal(predicted, without.predict(data[0], draws=3, key=KEY))
    posterior.save(tmp_path)
    again = load_posterior(tmp_path, net, normal, curvature=Diagonal())
    assert eqx.tree_equal(again.predict(data[0], draws=3, key=KEY), predicted)
    assert np.isfinite(posterior.log_prob(*data, draws=3, key=KEY)).all()


@pytest.mark.slow
def test_a_mesh_gives_the_same():
    x = jnp.linspace(-1, 1, 16)[:, None]
    fit = lambda mesh: fit_posterior(
        small(), normal, x, x[:, 0], steps=6, batch_size=8, statistics_every=2, inverse_every=2,
        mesh=mesh, progress=False, key=KEY,
    )[0]  # fmt: skip
    mesh = jax.make_mesh((4,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        *(eqx.filter(fit(m).mean, eqx.is_array) for m in (None, mesh)),
    )
