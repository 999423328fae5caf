"""FIDO beside all sixteen masks of four features, and beside what a linear classifier keeps."""

import dataclasses
import inspect
import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from pullback._traced import _run
from pullback.analysis.explain import (
    ConstantInfill,
    EmpiricalInfill,
    GaussianInfill,
    bbmp,
    classifier,
    deletion_curve,
    fido,
    saliency_metric,
)
from pullback.analysis.explain._classifier import JaxModel
from pullback.analysis.explain._search import JaxStep, Question, Search, drawn, told
from pullback.sampling import Enumeration, GumbelSoftmax, ScoreFunction, rebar
from pullback.train._engine import run_chunk

X = np.ones((1, 1, 4), np.float32)
MASKS = np.array(list(itertools.product((0.0, 1.0), repeat=4)))


def score(v, up=np):
    """The toy's log-odds: both of the first two are needed, and the third helps a little."""
    s = lambda z: 1 / (1 + up.exp(-z))
    return 6 * s(4 * (v[..., 0] - 0.5)) * s(4 * (v[..., 1] - 0.5)) - 3 + 0.3 * v[..., 2]


def logits(x):
    s = score(x.ravel(), jnp)
    return jnp.stack([jnp.zeros_like(s), s])


def black_box(images):
    s = score(images.reshape(len(images), -1))
    return np.stack([np.zeros_like(s), s], axis=1)


def gaussian(dtype=np.float32):
    """Features 0 and 2 of correlation 0.9, as one factor and noise; the mean law."""
    factors = np.sqrt(0.9) * np.array([1, 0, 1, 0])
    like = lambda a: jnp.asarray(np.asarray(a, dtype).reshape(-1, 1, 1, 4))
    return GaussianInfill(
        jnp.zeros((1, 1, 4), dtype), like(factors), like([0.1, 1, 0.1, 1])[0], draw=False
    )


def backgrounds(infill):
    """What is behind removed features, for each mask, by regression on what is kept."""
    found = np.zeros((16, 4))
    if infill == "gaussian":
        found[:, 0], found[:, 2] = 0.9 * MASKS[:, 2], 0.9 * MASKS[:, 0]
    return found


def value_of_masks(infill, sign, weight):
    """The objective at each mask."""
    filled = np.where(MASKS == 1, X.ravel(), backgrounds(infill))
    size = MASKS.sum(1) if sign > 0 else 4 - MASKS.sum(1)
    return -sign * score(filled) + weight * size


INFILLS = {"constant": ConstantInfill(0.0), "gaussian": gaussian()}


@pytest.mark.parametrize(("infill", "objective", "kept", "value"), [
    ("constant", "ssr", [1, 1, 0, 0], -0.8548),
    ("constant", "sdr", [0, 0, 1, 1], -1.8147),
    ("gaussian", "ssr", [1, 1, 0, 0], -1.1248),
    ("gaussian", "sdr", [0, 0, 0, 1], -1.7147),
])  # fmt: skip
def test_the_best_of_sixteen_masks_is_found_by_default(infill, objective, kept, value):
    values = value_of_masks(infill, 1 if objective == "ssr" else -1, 0.4)
    np.testing.assert_allclose(values.min(), value, atol=1e-4)
    assert MASKS[values.argmin()].tolist() == kept
    found = fido(
        logits, X, INFILLS[infill], objective=objective, size_weight=0.4, estimator=Enumeration(),
        key=jr.key(0),
    )  # fmt: skip
    np.testing.assert_allclose(found.keep_probability[0], np.asarray(kept).ravel(), atol=0.02)


def search(infill, estimator, samples):
    return Search(
        infill=infill, estimator=estimator, grid=(1, 4), noise="coarse", steps=1, samples=samples,
        warmup=0, learning_rate=0.1, batch_size=None,
    )  # fmt: skip


def question(weight=0.4, sign=1.0):
    as32 = lambda a: jnp.asarray(a, jnp.float32)
    return Question(as32(X), jnp.asarray(1), as32(weight), as32(sign))


THETA = np.array([0.3, -0.2, 0.5, 0.0])


def exact_gradients(infill):
    """Of the mean log-odds: with the background moving as the mask does, and with it held.

    Held, a step of a mask from 0 to 1 goes half the way before the background of 0, and half before
    that of 1.
    """
    p = 1 / (1 + np.exp(-THETA))
    share = np.prod(np.where(MASKS == 1, p, 1 - p), axis=1)
    behind = backgrounds(infill)
    full, held = np.zeros(4), np.zeros(4)
    for u in range(4):
        for mask, q in zip(MASKS, share, strict=True):
            off, on, half = mask.copy(), mask.copy(), mask.copy()
            off[u], on[u], half[u] = 0, 1, 0.5
            image = lambda z, b: z + (1 - z) * behind[(b == MASKS).all(1).argmax()]
            full[u] += q * (score(image(on, on)) - score(image(off, off)))
            held[u] += q * (score(image(half, off)) - score(image(off, off)))
            held[u] += q * (score(image(on, on)) - score(image(half, on)))
    return full * p * (1 - p), held * p * (1 - p)


def test_gradients_are_those_of_enumeration():
    full, held = exact_gradients("constant")
    np.testing.assert_allclose(full, [0.5161, 0.6296, 0.0705, 0], atol=1e-4)
    np.testing.assert_allclose(full, held, atol=1e-12)
    full, held = exact_gradients("gaussian")
    np.testing.assert_allclose(full, [0.2404, 0.8432, 0.2317, 0], atol=1e-4)
    np.testing.assert_allclose(held, [0.213, 0.829, 0.034, 0], rtol=0.03, atol=0.002)


@pytest.mark.parametrize(("infill", "estimator"), [
    ("constant", GumbelSoftmax(0.1)), ("gaussian", GumbelSoftmax(0.1)),
    ("gaussian", ScoreFunction("leave_one_out")), ("gaussian", Enumeration()),
], ids=["constant", "held", "score", "enumerated"])  # fmt: skip
def test_the_search_goes_along_the_exact_gradient(infill, estimator):
    """Concrete with a background that moves has the gradient of a held one; the score has all."""
    relaxed = isinstance(estimator, GumbelSoftmax)
    wanted = exact_gradients(infill)[1 if relaxed else 0]
    seeker = search(INFILLS[infill], estimator, 100_000)
    step = JaxStep(seeker, JaxModel(logits, "logits", None))

    def slope(params, key):
        def value(z):
            mask, behind = seeker.background(z, question().x, key)
            return step.model.log_odds(mask * X + (1 - mask) * behind, jnp.asarray(1))

        area = lambda p: 0.4 * jnp.sum(jax.nn.sigmoid(p))
        whole = lambda p: seeker.objective(p, jnp.asarray(0), question(), value, key)
        return jax.grad(area)(params) - jax.grad(whole)(params)

    found = jax.jit(slope)(jnp.asarray(THETA[None], jnp.float32), jr.key(1))[0]
    np.testing.assert_allclose(found, wanted, rtol=0.03, atol=0.006)


@pytest.mark.parametrize("estimator", [GumbelSoftmax(0.1), ScoreFunction("leave_one_out")],
                         ids=["slopes", "values"])  # fmt: skip
def test_a_black_box_takes_the_step_of_a_function_of_jax(estimator):
    """Told the values, and the slopes where those are asked for, by the host."""
    seeker = search(gaussian(), estimator, 8)
    state = seeker.start(question(), jnp.float32)
    key = jr.key(3)
    step = JaxStep(seeker, JaxModel(logits, "logits", None))
    wanted, _ = jax.jit(lambda s, k: step(s, None, key=k))(state, jr.fold_in(key, 0))
    asked = drawn(seeker, state, key)
    of_image = jax.vmap(jax.value_and_grad(lambda x: logits(x)[1]))
    values, slopes = of_image(asked.images)
    slopes = None if isinstance(estimator, ScoreFunction) else slopes
    found = told(seeker, state, asked, values, slopes, key)
    np.testing.assert_allclose(found.params, wanted.params, atol=1e-5)
    np.testing.assert_allclose(found.trace, wanted.trace, atol=1e-5)
    assert np.abs(wanted.params).max() > 0.05


W = np.array([1.5, -1.0, 0.2, 0.9, -0.3, 0.05])
LINEAR_X = np.array([1.0, 0.5, 1.0, -1.0, -2.0, 3.0]).reshape(1, 1, 6)
LINEAR = 0.25
# What a pixel is worth against what replaces it, 0.1.
WORTH = W * (LINEAR_X.ravel() - 0.1)


def linear(x):
    s = jnp.sum(jnp.asarray(W, x.dtype) * x.ravel())
    return jnp.stack([jnp.zeros_like(s), s])


def linear_proba(images):
    s = images.reshape(len(images), -1).astype(float) @ W
    p = 1 / (1 + np.exp(-s))
    return np.stack([1 - p, p], axis=1)


class WithProba:
    """As scikit-learn's: of rows."""

    n_features_in_ = 6

    def predict_proba(self, rows):
        assert rows.ndim == 2
        return linear_proba(rows)


@pytest.mark.parametrize("model", [linear, WithProba()], ids=["jax", "predict_proba"])
@pytest.mark.parametrize("objective", ["ssr", "sdr"])
def test_of_a_linear_classifier_exactly_what_is_worth_its_weight_is_found(model, objective):
    found = fido(
        model, LINEAR_X, ConstantInfill(0.1), target=1, objective=objective, size_weight=LINEAR,
        key=jr.key(0),
    )  # fmt: skip
    assert ((found.map[0] > 0.5) == (WORTH > LINEAR)).all()
    kept = np.where(WORTH > LINEAR, LINEAR_X, 0.1)
    np.testing.assert_allclose(found.only, np.sum(W * kept), atol=1e-5)
    removed = np.where(WORTH > LINEAR, 0.1, LINEAR_X)
    np.testing.assert_allclose(found.without, np.sum(W * removed), atol=1e-5)
    np.testing.assert_allclose(found.log_odds, np.sum(W * LINEAR_X), atol=1e-5)
    assert found.evaluations == (3 if isinstance(model, WithProba) else 1) + 300 * 8 + 2
    assert found.only_error == found.without_error == 0
    assert found.map.dtype == found.only.dtype == jnp.float64


def test_several_weights_are_each_as_alone_and_several_images_have_an_axis():
    images = np.stack([LINEAR_X, -LINEAR_X]).astype(np.float32)
    ask = lambda x, weight: fido(
        linear, x, ConstantInfill(0.1), target=1, objective="joint", size_weight=weight, steps=40,
        key=jr.key(0),
    )  # fmt: skip
    curve, alone = ask(images[0], [0.25, 1000.0]), ask(images[0], 0.25)
    np.testing.assert_allclose(curve.map[0], alone.map, atol=1e-5)
    assert curve.keep_probability.shape == (2, 2, 1, 6)
    assert curve.objective.shape == (2, 2, 40)
    # Where a pixel costs all, none is kept and none removed.
    assert (curve.keep_probability[1, 0] < 0.05).all()
    assert (curve.keep_probability[1, 1] > 0.95).all()
    both = ask(images, [0.25, 1000.0])
    assert both.map.shape == (2, 2, 1, 6)
    assert both.only.shape == both.target.shape == (2, 2)
    assert both.map.dtype == jnp.float32
    assert (both.area[:, 1] == 0).all()
    np.testing.assert_allclose(both.log_odds[0], -both.log_odds[1], atol=1e-5)


@pytest.mark.parametrize("noise", ["coarse", "fine"])
def test_a_grid_is_enlarged_and_its_noise_drawn_on_it_or_on_pixels(noise):
    left = lambda x: jnp.stack([jnp.zeros((), x.dtype), jnp.sum(x[:, :, :2])])
    found = fido(
        left, np.ones((2, 4, 4)), ConstantInfill(0.0), grid=(1, 2), size_weight=0.5, noise=noise,
        steps=100, key=jr.key(0),
    )  # fmt: skip
    assert (found.map[:, :1] > 0.95).all()
    assert (found.map[:, 3:] < 0.05).all()
    # Linear between the middles of the two cells.
    np.testing.assert_allclose(found.map[:, 1], 0.75 * found.map[:, 0] + 0.25 * found.map[:, 3],
                               atol=1e-6)  # fmt: skip
    assert found.area == 0.5


def test_the_weight_rises_over_the_warm_up():
    seeker = dataclasses.replace(search(ConstantInfill(0.0), Enumeration(), 1), warmup=4)
    params = jnp.zeros((1, 4), jnp.float32)
    nothing = lambda z: jnp.sum(0 * z)
    found = [
        float(seeker.objective(params, jnp.asarray(n), question(), nothing, jr.key(0)))
        for n in (0, 1, 3, 9)
    ]
    np.testing.assert_allclose(found, 0.4 * 2 * np.array([0.25, 0.5, 1, 1]), rtol=1e-6)


def test_no_reason_to_keep_or_remove_leaves_a_pixel_undecided():
    constant = lambda x: jnp.asarray([0.0, 2.0], x.dtype) + 0 * jnp.sum(x)
    found = fido(constant, X, ConstantInfill(0.0), size_weight=0.0, steps=5, key=jr.key(0))
    assert (found.map == 0.5).all()
    assert found.area == 0


def test_a_black_box_is_asked_for_all_masks_of_a_step_at_once():
    sizes = []

    def counted(images):
        assert isinstance(images, np.ndarray)
        sizes.append(len(images))
        return linear_proba(images)

    model = classifier(counted, outputs="probabilities", batch_size=20)
    infill = EmpiricalInfill(np.full((3, 1, 1, 6), 0.1))
    found = fido(
        model, LINEAR_X, infill, size_weight=[0.1, 0.2, 0.3], steps=7, samples=5, fresh=4,
        key=jr.key(0),
    )  # fmt: skip
    # The image, the image twice, seven steps of 3 x 5 masks, and 4 infills of each pair of regions.
    assert sizes == [1, 2, *[15] * 7, *[8] * 3]
    assert found.evaluations == sum(sizes)
    np.testing.assert_allclose(found.only_error, 0, atol=1e-7)


SEEN = []  # of all cases, for a program may outlive the function that it was made of


@pytest.mark.parametrize(
    ("estimator", "noise", "grid"),
    [(None, "coarse", None), (rebar(), "coarse", None), (ScoreFunction(), "coarse", None),
     (Enumeration(), "coarse", (1, 2)), (Enumeration(), "fine", (1, 2))],
    ids=["default", "rebar", "score", "grid", "pixels"],
)  # fmt: skip
def test_evaluations_are_those_that_a_function_of_jax_sees(estimator, noise, grid):
    SEEN.clear()

    def counted(x):
        jax.debug.callback(lambda _: SEEN.append(1), x[0, 0, 0])
        return logits(x)

    found = fido(
        counted, X, EmpiricalInfill(np.zeros((3, 1, 1, 4), np.float32)), steps=4, samples=3,
        fresh=5, size_weight=[0.1, 0.2], objective="joint", estimator=estimator, noise=noise,
        grid=grid, progress=False, key=jr.key(0),
    )  # fmt: skip
    jax.effects_barrier()
    assert found.evaluations == len(SEEN)


def test_a_search_that_runs_away_is_refused_on_the_host_as_in_jax():
    for model in (logits, classifier(black_box)):
        for settings, message in (
            ({"size_weight": 1e39}, "`size_weight` must be a number of nats"),
            ({"learning_rate": np.inf}, "`learning_rate` must be above 0 and finite"),
            ({"learning_rate": 3e38}, "`learning_rate` is too large"),
        ):
            with pytest.raises(ValueError, match=message):
                fido(model, X, ConstantInfill(0.0), steps=3, key=jr.key(0), **settings)


def test_one_draw_has_no_standard_error_unless_all_are_the_same():
    infill = EmpiricalInfill(np.random.default_rng(0).normal(size=(9, 1, 1, 4)).astype(np.float32))
    ask = lambda infill: fido(logits, X, infill, steps=1, fresh=1, key=jr.key(0))
    assert np.isnan(ask(infill).only_error)
    assert np.isnan(ask(infill).without_error)
    assert ask(ConstantInfill(0.0)).only_error == 0
    curve = deletion_curve(logits, X, X[0], infill, fresh=1, points=2, key=jr.key(0))
    assert np.isnan(curve.standard_error).all()


def test_inside_of_a_traced_function_it_is_said_that_the_search_is_on_the_host():
    zero, map = ConstantInfill(0.0), jnp.asarray(X[0])
    x, key = jnp.asarray(X), jr.key(0)
    for call in (
        lambda x, key: fido(logits, x, zero, key=key).map,
        lambda x, key: bbmp(logits, x, zero, key=key).map,
        lambda x, key: deletion_curve(logits, x, map, zero, key=key).area,
        lambda x, key: saliency_metric(logits, x, map, zero, key=key),
    ):
        with pytest.raises(TypeError, match=r"search on the host.*several images \[n, C, H, W\]"):
            jax.jit(call)(x, key)
        with pytest.raises(TypeError, match="search on the host"):
            jax.vmap(lambda key, call=call: call(x, key))(jr.split(key, 2))


def test_standard_errors_are_of_fresh_infills():
    images = np.random.default_rng(0).normal(size=(50, 1, 1, 6))
    found = fido(linear, LINEAR_X, EmpiricalInfill(images), steps=2, fresh=400, size_weight=1e3,
                 key=jr.key(0))  # fmt: skip
    scores = images.reshape(50, -1) @ W  # nothing is kept
    np.testing.assert_allclose(found.only_error, scores.std() / 20, rtol=0.15)
    assert abs(found.only - scores.mean()) < 4 * scores.std() / 20


def test_what_does_not_fit_is_refused():
    zero = ConstantInfill(0.0)
    ask = lambda model=linear, x=LINEAR_X, infill=zero, **rest: inspect.unwrap(fido)(
        model, x, infill, key=jr.key(0), **rest
    )
    for error, message, settings in (
        (TypeError, "`model` must be a function", {"model": 3}),
        (TypeError, "`x` must be one array.*several sizes: one call each",
         {"x": [np.ones((1, 2, 2)), np.ones((1, 3, 3))]}),
        (ValueError, r"`x` must be an image.*\[1, 6\].*`x\[None\]`", {"x": LINEAR_X[0]}),
        (ValueError, "`x` must be floating", {"x": np.ones((1, 1, 6), int)}),
        (ValueError, "`x` must be finite", {"x": np.full((1, 1, 6), np.nan)}),
        (TypeError, "the class ConstantInfill", {"infill": ConstantInfill}),
        (TypeError, r"is made one by `ModelInfill\(fill\)`", {"infill": lambda x: x}),
        (ValueError, "was made for images", {"infill": EmpiricalInfill(np.ones((2, 1, 2, 2)))}),
        (ValueError, "`target` must lie between 0 and 1", {"target": 2}),
        (ValueError, "`target` must be a class", {"target": 0.5}),
        (ValueError, "`objective` must be", {"objective": "srs"}),
        (ValueError, "`grid` must be.*got \\(2, 6\\)", {"grid": (2, 6)}),
        (ValueError, "`size_weight` must be", {"size_weight": -1.0}),
        (ValueError, "`size_weight` must be", {"size_weight": []}),
        (ValueError, "`steps` must be 1 or more", {"steps": 0}),
        (ValueError, "`noise` must be", {"noise": "white"}),
        (ValueError, "`warmup` must be a whole number from 0 to", {"warmup": 301}),
        (ValueError, "`warmup` must be a whole number", {"warmup": 1.5}),
        (ValueError, "`learning_rate` must be above 0.*'a'", {"learning_rate": "a"}),
        (ValueError, "`objective` must be", {"objective": ["ssr"]}),
        (ValueError, "`grid` must be", {"grid": (True, 2)}),
        (ValueError, "`learning_rate` must be above 0", {"learning_rate": 0.0}),
        (ValueError, "`samples` must be 2 or more", {"model": WithProba(), "samples": 1}),
        (ValueError, r"\[2, 1, 1\], and the image \[1, 1, 6\]: give .* one for each of 1 channels",
         {"infill": ConstantInfill([0.1, 0.2])}),
        (TypeError, "`estimator` must be one", {"estimator": "reinforce"}),
        (ValueError, "GumbelSoftmax needs gradients",
         {"model": WithProba(), "estimator": GumbelSoftmax(0.1)}),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            ask(**settings)


def test_a_classifier_that_fails_where_pixels_are_filled_in_is_said_to():
    broken = lambda x: jnp.stack([jnp.zeros((), x.dtype), jnp.sum(jnp.log(x))])
    with pytest.raises(ValueError, match=r"with some of its pixels filled in.*is not finite"):
        fido(broken, X, ConstantInfill(0.0), steps=3, key=jr.key(0))


@pytest.mark.parametrize("model", [linear, linear_proba], ids=["jax", "numpy"])
def test_another_image_of_the_same_shape_compiles_nothing(model):
    ask = lambda x, key: fido(
        classifier(model, outputs="probabilities" if model is linear_proba else None), x,
        ConstantInfill(0.1), steps=2, samples=2, key=key,
    )  # fmt: skip
    ask(LINEAR_X, jr.key(0))
    size = _run._cached._cache_size()
    ask(LINEAR_X + 1, jr.key(1))
    assert _run._cached._cache_size() == size


def shapes_of_bits(jaxpr):
    """Of all random bits that a program draws, those in its loops and calls included."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "random_bits":
            found.append(equation.params["shape"])
        for inner in jaxprs_in_params(equation.params):
            found += shapes_of_bits(inner)
    return found


@pytest.mark.parametrize("noise", ["coarse", "fine"])
def test_masks_are_drawn_flat(noise):
    """Of random bits with rows and columns XLA makes a program for four times as long."""
    images = np.random.default_rng(0).normal(size=(9, 1, 4, 4)).astype(np.float32)
    seeker = dataclasses.replace(
        search(GaussianInfill.fit(images, 2), GumbelSoftmax(0.1), 3), grid=(2, 2), noise=noise
    )
    asked = dataclasses.replace(question(), x=jnp.ones((1, 4, 4), jnp.float32))
    state = seeker.start(asked, jnp.float32)
    step = JaxStep(seeker, JaxModel(logits, "logits", None))
    by_jax = jax.make_jaxpr(lambda s, k: step(s, None, key=k))(state, jr.key(0))
    by_host = jax.make_jaxpr(lambda s, k: drawn(seeker, s, k))(state, jr.key(0))
    cells = 4 if noise == "coarse" else 16
    for found in (by_jax, by_host):
        assert sorted(shapes_of_bits(found.jaxpr)) == sorted([(cells,), (2,), (16,)])


@pytest.mark.parametrize(("model", "images", "programs"), [
    # The predictions, the start, the probabilities and the scores; the search itself is `train`'s.
    (linear, 5, 4),
    # The start, the masks, what their answers change, the probabilities and the filled images.
    (linear_proba, 6, 5),
], ids=["jax", "numpy"])  # fmt: skip
def test_a_new_shape_compiles_each_program_once(model, images, programs):
    x = LINEAR_X + np.arange(images).reshape(-1, 1, 1, 1)  # of a number that no other test has
    before, searches = _run._cached._cache_size(), run_chunk._cached._cache_size()
    fido(
        classifier(model, outputs="probabilities" if model is linear_proba else None), x,
        EmpiricalInfill(np.full((2, 1, 1, 6), 0.1)), steps=2, samples=3, target=1,
        size_weight=[0.1, 0.2], key=jr.key(0),
    )  # fmt: skip
    assert _run._cached._cache_size() - before == programs
    assert run_chunk._cached._cache_size() - searches == (model is linear)
