"""The recipe `vera`: its own arithmetic, and a table of the user's own."""

import csv
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import multivariate_normal

from pullback import data
from pullback._promotion import standard_promotion
from pullback.recipes import load
from pullback.recipes.vera import measure
from pullback.recipes.vera.models import RING_ENTROPY, Config, centres, digit_task, ring
from pullback.runs import Context

RECIPE = load("vera")
OWN = load("vera", own=True)

TINY = RECIPE.presets["smoke"]


@pytest.fixture(autouse=True, scope="module")
def small():
    """As from the command line: float32, ordinary promotion."""
    with jax.enable_x64(False), standard_promotion():
        yield


def test_the_rings_entropy_is_the_mean_of_its_log_density():
    x = ring(20_000, 0)
    parts = [multivariate_normal.pdf(jnp.asarray(x), jnp.asarray(c), 0.04) for c in centres()]
    nll = -np.log(np.mean(np.asarray(parts), axis=0))
    assert abs(nll.mean() - RING_ENTROPY) < 4 * nll.std() / np.sqrt(len(x))


def test_the_tangents_posterior_of_a_linear_generator_is_measured_as_exact():
    """Its weights are all alike; the published proposal's gradient is far too small."""
    config = dataclasses.replace(TINY, draws=400, sizes=(8,))
    found = measure.linear_gradients(config, [0])
    bias, ess = (
        dict(zip(measure.PROPOSALS, np.asarray(found[key])[0, :, 0], strict=True))
        for key in ("bias", "ess")
    )
    assert abs(bias["tangent"]) < 0.15
    assert bias["around z0"] < -0.2
    np.testing.assert_allclose(ess["tangent"], 8, rtol=1e-3)


def test_the_labels_of_a_task_are_few_of_each_class_and_other_for_each_seed():
    config = dataclasses.replace(TINY, labels_per_class=3, images=10_000)
    (one, y), (two, _) = (digit_task(config, data.digits(), seed) for seed in (0, 1))
    assert np.bincount(one.labelled.y).tolist() == [3] * 10
    assert (one.x.shape, one.rows.shape, y.shape) == ((1347, 64), (450, 64), (450,))
    assert (one.x.min(), one.x.max()) == (-1, 1)
    assert not np.array_equal(one.labelled.x, two.labelled.x)
    for row, label in zip(*one.labelled, strict=True):
        [place] = np.flatnonzero((one.x == row).all(axis=1))[:1]
        assert data.digits().train.y[place] == label


def _table(path, rows=60):
    """Two clusters, with a label on every second row."""
    generator = np.random.default_rng(0)
    kind = np.arange(rows) % 4 // 2
    x = generator.normal(size=(rows, 2)) + 3 * kind[:, None]
    names = np.where(np.arange(rows) % 2 == 0, np.array(["left", "right"])[kind], "")
    lines = [f"{a:.4f},{b:.4f},{name}" for (a, b), name in zip(x, names, strict=True)]
    path.write_text("\n".join(["a,b,kind", *lines]) + "\n")
    return path


@pytest.mark.slow
def test_every_row_of_a_table_gets_a_prediction(tmp_path):
    config = OWN.config(**vars(TINY) | {"label": "kind", "digit_steps": 150, "digit_rate": 0.01})
    context = Context(tmp_path / "run", data=_table(tmp_path / "my.csv"))
    claims = OWN.run(config, context)
    assert [claim.holds for claim in claims] == [True, True]
    with (tmp_path / "run" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == [str(line) for line in range(2, 62)]
    parts = [row["part"] for row in rows]
    counts = {name: parts.count(name) for name in ("unlabelled", "held out", "trained on")}
    assert counts == {"unlabelled": 30, "held out": 14, "trained on": 16}
    assert all(row["label"] == "" for row in rows if row["part"] == "unlabelled")
    truth = np.array(["left", "right"])[np.arange(60) % 4 // 2]
    assert np.mean([row["predicted"] == name for row, name in zip(rows, truth, strict=True)]) > 0.9
    assert all(abs(float(row["p(left)"]) + float(row["p(right)"]) - 1) < 1e-4 for row in rows)


def test_a_table_with_too_few_labels_is_refused(tmp_path):
    file = tmp_path / "my.csv"
    file.write_text("a,label\n1,u\n2,v\n3,u\n4,\n")
    with pytest.raises(data.DataError, match=r"4 rows or more of each label.*'u' has 2"):
        OWN.run(OWN.config(**vars(TINY)), Context(tmp_path / "run", data=file))


def test_a_table_that_never_varies_is_refused(tmp_path):
    file = tmp_path / "my.csv"
    file.write_text("a,b,label\n" + "0.1,3,u\n0.1,3,v\n" * 8)
    with pytest.raises(data.DataError, match="every column of numbers is the same in all rows"):
        OWN.run(OWN.config(**vars(TINY)), Context(tmp_path / "run", data=file))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"draws": 1}, "draws must be at least 2, got 1"),
        ({"sizes": (5, 5)}, r"sizes must be 1 or more numbers that rise, at least 1, got \(5, 5\)"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**wrong)
