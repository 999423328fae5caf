"""Which part of a picture decides: models of any library beside a closed form, and bad input."""

import csv

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pullback.analysis.explain import ConstantInfill
from pullback.data import DataError
from pullback.tasks import ImageExplainer, explain_file, load
from pullback.tasks._image_explanations import decides

# Of a linear model under an infill that is the mean, the region is exactly where w (x - mean) is
# above the weight of a pixel.
RANDOM = np.random.default_rng(0)
WEIGHTS = np.where(RANDOM.random((3, 4)) < 0.5, 0.1, 2.5) * RANDOM.choice([-1, 1], (3, 4))
PICTURES = RANDOM.uniform(0, 1, (60, 1, 3, 4)).astype(np.float32)
MEAN = PICTURES.mean(axis=0)
PICTURE = (MEAN + 0.5 * np.where(RANDOM.random((3, 4)) < 0.7, 1, -1)).astype(np.float32)[None]
COST = 0.6


def plain(x):
    """A function of NumPy, of a batch."""
    odds = ((x - MEAN)[:, 0] * WEIGHTS).sum((1, 2))
    p = 1 / (1 + np.exp(-odds))
    return np.stack([1 - p, p], axis=1)


def of_scikit_learn():
    model = LogisticRegression().fit(PICTURES.reshape(60, -1), np.arange(60) % 2)
    model.coef_ = WEIGHTS.reshape(1, -1)
    model.intercept_ = -np.sum(WEIGHTS * MEAN, keepdims=True).ravel()
    return model


def of_jax(x):
    """A function of JAX, of one picture."""
    import jax.numpy as jnp

    odds = jnp.sum((x - MEAN)[0] * jnp.asarray(WEIGHTS, x.dtype))
    return jnp.stack([0 * odds, odds])


def of_torch():
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(12, 2)
    with torch.no_grad():
        layer.weight[:] = torch.tensor(np.stack([0 * WEIGHTS.ravel(), WEIGHTS.ravel()]))
        layer.bias[:] = torch.tensor([0.0, -float(np.sum(WEIGHTS * MEAN))])
    return torch.nn.Sequential(torch.nn.Flatten(), layer)


MODELS = {
    "function": (lambda: plain, {}),
    "scikit-learn": (of_scikit_learn, {}),
    "JAX": (lambda: of_jax, {"outputs": "logits"}),
    "torch": (of_torch, {}),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_linear_model_of_any_library_keeps_exactly_what_is_worth_its_cost(name, x32):
    make, settings = MODELS[name]
    explainer = ImageExplainer(
        make(), infill="mean", objective="ssr", target=1, size_weight=COST, steps=200,
        random_state=0, **settings,
    )  # fmt: skip
    found = explainer.fit(PICTURES).explain(PICTURE)
    gain = WEIGHTS * (PICTURE[0] - np.asarray(explainer.infill_.value))[0]
    np.testing.assert_array_equal(found.region[0], gain > COST)
    np.testing.assert_allclose(found.log_odds[0], np.sum(WEIGHTS * (PICTURE - MEAN)[0, 0]),
                               rtol=1e-3)  # fmt: skip
    assert found.area[0] == pytest.approx(np.mean(gain > COST))
    assert found.decides.tolist() == [bool(found.only[0] >= min(0, found.log_odds[0]))]
    # What matters most goes first: no other order falls faster.
    assert found.deletion[0].mean() <= found.chance[0].mean() + 1e-6
    assert found.deletion[0][0] == pytest.approx(found.log_odds[0], abs=1e-3)
    assert found.insertion[0][-1] == pytest.approx(found.log_odds[0], abs=1e-3)


@pytest.fixture(scope="module")
def fitted():
    import jax

    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        return ImageExplainer(of_jax, outputs="logits", steps=60, random_state=0).fit(PICTURES)


def test_an_explainer_is_kept_without_its_model(fitted, x32, tmp_path):
    assert fitted.infill_name_ == "gaussian"
    assert fitted.report_["pictures"] == 9
    fitted.save(tmp_path / "why")
    kept = load(tmp_path / "why", model=of_jax)
    found, again = fitted.explain(PICTURE), kept.explain(PICTURE)
    np.testing.assert_array_equal(found.map, again.map)
    with pytest.raises(ValueError, match=r"`model` is missing"):
        load(tmp_path / "why").explain(PICTURE)
    fitted.infill = ConstantInfill(0.0)
    try:
        with pytest.raises(ValueError, match="give `infill` by name"):
            fitted.save(tmp_path / "own")
    finally:
        fitted.infill = None


def test_what_is_written_is_what_was_found(fitted, x32, tmp_path):
    given = np.concatenate([PICTURE, PICTURES[:8]])  # more than are searched at once
    files = explain_file(fitted, given, tmp_path / "why")
    found = fitted.explain(given)
    with (tmp_path / "why" / "saliency.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["picture"] for row in rows] == [str(k) for k in range(9)]
    np.testing.assert_allclose([float(row["area"]) for row in rows], found.region.mean((1, 2)))
    np.testing.assert_array_equal([int(row["class"]) for row in rows], found.target)
    box = found.region[0].any(axis=1).nonzero()[0]
    if len(box):
        assert (rows[0]["top"], rows[0]["bottom"]) == (str(box[0]), str(box[-1]))
    with np.load(tmp_path / "why" / "maps.npz") as maps:
        np.testing.assert_array_equal(maps["map"], found.map)
        np.testing.assert_array_equal(maps["region"], found.map > 0.5)
    assert {file.name for file in files if file.parent.name == "overlays"} == {
        f"{k}.png" for k in range(9)
    }
    page = (tmp_path / "why" / "report.html").read_text()
    assert "which part decides" in page
    assert "pixels at random" in page


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"objective": "min"}, "`objective` must be one of sdr, ssr, joint"),
        ({"outputs": "odds"}, "`outputs` must be 'probabilities' or 'logits'"),
        ({"infill": "black"}, "`infill` must be one of gaussian, other, mean"),
        ({"size_weight": 0}, "`size_weight` must be above 0"),
        ({"steps": 0}, "`steps` must be 1 or more"),
        ({"grid": 0}, "`grid` must be 1 or more"),
        ({"samples": 1}, "`samples` must be 2 or more"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        ImageExplainer(plain, **settings).fit(PICTURES)


def test_a_target_that_is_no_class_and_pictures_of_another_size_are_refused(fitted, x32):
    with pytest.raises(DataError, match=r"1 channels, 4 pixels high .* 3 high and 4 wide; resize"):
        fitted.explain(np.zeros((1, 4, 4)))
    fitted.target = "2"
    try:
        with pytest.raises(ValueError, match="`target` must be one of the classes 0, 1; got '2'"):
            fitted.explain(PICTURE)
    finally:
        fitted.target = None


@pytest.mark.parametrize("infill", ["mean", "other"])
def test_evaluations_are_those_that_the_model_sees(x32, infill):
    seen = []

    def counted(x):
        if isinstance(x, np.ndarray):  # and no tracer, by which it is found out what it is
            seen.append(len(x))
        return plain(x)

    explainer = ImageExplainer(counted, infill=infill, steps=3, random_state=0).fit(PICTURES)
    seen.clear()
    assert explainer.explain(PICTURE).evaluations[0] == sum(seen)


@pytest.mark.parametrize("factor", [255, 16, 1 / 16, 1 / 255])
def test_pictures_of_another_scale_than_those_fitted_are_refused(fitted, x32, factor):
    with pytest.raises(DataError, match=r"reach up to .*; bring both to the scale"):
        fitted.explain(factor * PICTURE)


def test_dim_pictures_and_empty_ones_are_of_the_scale(fitted, x32):
    fitted.explain(PICTURE / 4)
    fitted.explain(0 * PICTURE)
    with pytest.raises(DataError, match=r"of 3 channels.*bring them to as many channels"):
        fitted.explain(np.repeat(PICTURE, 3, axis=1))


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (lambda x: 2 * plain(x), r"test_image_explainer.py, line \d+: .* sums to 2 and not to 1"),
        (lambda x: plain(x)[:, 1], r"one number for each of pictures.*np.stack\(\[1 - p, p\]"),
        (lambda x: plain(x) * np.nan, r"which is NaN or infinite"),
        (lambda x: plain(x)[:2], r"gave an array of shape \(2, 2\) for 8 of pictures"),
        (lambda x: x @ np.zeros((9, 9)), r"given pictures of shape .* it raised ValueError"),
    ],
)
def test_models_that_cannot_be_explained_name_the_file_and_the_remedy(model, told, x32):
    with pytest.raises(DataError, match=told):
        ImageExplainer(model, infill="mean").fit(PICTURES)


def test_a_model_that_changes_its_answer_is_said_and_few_pictures_too(x32):
    random = np.random.default_rng(0)

    def drawn(x):
        p = random.uniform(0.2, 0.8, len(x))
        return np.stack([p, 1 - p], axis=1)

    explainer = ImageExplainer(drawn, steps=5, random_state=0).fit(PICTURES[:4])
    assert explainer.infill_name_ == "blur"
    assert any("changes its answer from call to call, by up to 0." in n for n in explainer.notes_)
    assert any("4 pictures are too few" in note for note in explainer.notes_)
    explainer.explain(PICTURES[:1])  # without a warning


def test_a_region_decides_where_the_class_falls_or_is_kept_and_by_a_nat_where_it_was_unsure():
    whole, only, without = np.array([[3, 3, -0.5, -0.5], [1, -1, -0.4, -0.6], [1, -1, -1.4, -1.6]])
    found = {name: decides(name, whole, only, without) for name in ("sdr", "ssr", "joint")}
    assert found["sdr"].tolist() == [False, True, False, True]
    assert found["ssr"].tolist() == [True, False, True, False]
    assert found["joint"].tolist() == [False] * 4


def test_infills_are_measured_on_pictures_with_a_half_hidden():
    smooth = np.cumsum(np.cumsum(RANDOM.normal(size=(200, 1, 8, 8)), axis=2), axis=3)
    explainer = ImageExplainer(infill="gaussian")
    from pullback.tasks._image_infills import infill_error, of_pictures

    errors = {
        name: infill_error(of_pictures(name, smooth[:150]), smooth[:150], smooth[150:], 0)
        for name in ("gaussian", "mean")
    }
    assert errors["gaussian"]["infill"] < 0.5 * errors["gaussian"]["mean"]
    assert errors["mean"]["infill"] == pytest.approx(errors["mean"]["mean"], rel=1e-4)
    assert explainer.get_params()["infill"] == "gaussian"
