"""The recipe `jem`: its smallest run, one that is stopped, a table, and its own arithmetic."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback._promotion import standard_promotion
from pullback.data import DataError, LabelledTable, digits, two_moons
from pullback.models.energy import SGLD
from pullback.recipes import load
from pullback.recipes._own import jem as table
from pullback.recipes.jem import measure, mnist, models
from pullback.recipes.jem.models import Config, Kind, hasty_kinds, model_of, moons, train
from pullback.runs import Context, run

RECIPE = load("jem")
OWN = load("jem", own=True)

# Slow: trains every part of the recipe; `make test-slow` runs it.
pytestmark = pytest.mark.slow

TINY = dataclasses.replace(RECIPE.presets["smoke"], steps=10, hasty_steps=10, image_steps=10)


@pytest.fixture(autouse=True, scope="module")
def small():
    """As from the command line: float32, ordinary promotion."""
    with jax.enable_x64(False), standard_promotion():
        yield


@pytest.fixture(scope="module")
def finished(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("jem") / "run"
    return run(RECIPE, TINY, preset="smoke", folder=folder), folder


def test_the_run_leaves_its_claims_and_pictures(finished):
    record, folder = finished
    assert len(record["claims"]) == 19
    assert all(np.isfinite(float(claim["value"])) for claim in record["claims"])
    assert {path.stem for path in (folder / "figures").iterdir()} == {
        "densities", "gaps", "reliability", "attacks", "scores", "samples",
    }  # fmt: skip
    shown = json.loads((folder / "contents.json").read_text())
    assert [len(item["rows"]) for item in shown if item["kind"] == "table"] == [6, 2, 6]


def test_a_resumed_run_ends_with_the_same_claims(finished, monkeypatch):
    record, folder = finished

    def again(*args, **kwargs):
        raise RuntimeError("measured a second time")

    monkeypatch.setattr(models, "train", again)
    for name in ("classify", "plane", "score", "attack", "attack_refined", "draw"):
        monkeypatch.setattr(measure, name, again)
    resumed = run(RECIPE, TINY, preset="smoke", folder=folder, resume=True)
    assert resumed["claims"] == record["claims"]


def test_each_seed_of_a_stack_learns_from_its_own_moons():
    """A stack of two is what one run gives alone, up to the order of sums."""
    config = dataclasses.replace(TINY, seeds=2)
    kind = Kind(8, 5, 1e-2, SGLD(2, step_size=0.05, noise=None))
    both = train(config, kind, moons(config, [3, 4]), [3, 4])
    alone = train(config, kind, moons(config, [4]), [4])
    np.testing.assert_allclose(both["params"][1], alone["params"][0], rtol=1e-3, atol=1e-5)
    assert np.max(np.abs(both["params"][0] - both["params"][1])) > 0.1


def test_the_plane_of_a_known_density_is_right():
    """Zero weights and biases b: flat over the box, and the share of a class is a softmax."""
    config = dataclasses.replace(TINY, tested=50)
    problem = moons(config, [0])
    zeros = np.zeros(16 * 3 + 16 * 17 + 2 * 17, np.float32)
    zeros[-2:] = [0.0, 1.0]
    found = measure.plane(Kind(16, 1, 1.0), problem, zeros[None], 20)
    np.testing.assert_allclose(found["nll"], np.log(144.0), rtol=1e-5)
    np.testing.assert_allclose(found["share"], 1 / (1 + np.exp(-1.0)), rtol=1e-5)
    np.testing.assert_allclose(found["at_edge"], 1 - 0.9**2, rtol=1e-4)


def test_ood_sets_are_test_images_changed():
    config = dataclasses.replace(TINY, tested=9)
    problem = moons(config, [0])._replace(box=(-1.0, 1.0))
    made = measure.ood_sets(problem, 0)
    x = problem.test.x
    np.testing.assert_allclose(made["contrast x 1.5"] / x, 1.5)
    np.testing.assert_allclose(np.sort(made["shuffled pixels"]), np.sort(x))
    np.testing.assert_allclose(made["mean of two"][0], (x[0] + x[-1]) / 2)
    assert np.abs(made["uniform noise"]).max() <= 1


def test_bins_of_all_seeds_are_pooled_by_their_counts():
    row = {
        "curve_count": np.array([[1, 20], [0, 60]]),
        "curve_confidence": np.array([[0.1, 0.6], [np.nan, 1.0]]),
        "curve_accuracy": np.array([[0.0, 0.5], [np.nan, 0.9]]),
    }
    confidence, accuracy = measure.pooled_curve(row)
    np.testing.assert_allclose([confidence, accuracy], [[0.9], [0.8]])


def test_rows_that_are_held_out_teach_nothing_and_those_without_a_class_the_density_alone():
    x = np.random.default_rng(0).normal(3, 2, size=(50, 2))
    y = np.r_[np.zeros(20, int), np.ones(20, int), np.full(10, -1)]
    made = LabelledTable(x, ("a", "b"), np.arange(1, 51), "c", y, ("u", "v"))
    problem, held = table.split(made, [0, 1], 7)
    assert len(held) == 10
    assert (y[held] >= 0).all()
    np.testing.assert_array_equal(problem.test.y, y[held])
    rest = sorted(set(range(50)) - set(held.tolist()))
    for labelled, density in zip(problem.labelled, problem.density, strict=True):
        assert sorted(density.tolist()) == rest
        assert sorted(labelled.tolist()) == [row for row in rest if y[row] >= 0]
    # Scaled by what is learned from, so that the test rows do not tell of themselves either.
    expected = (x - x[rest].mean(axis=0)) / x[rest].std(axis=0)
    np.testing.assert_allclose(problem.x, expected, rtol=1e-6)
    np.testing.assert_allclose(problem.test.x, expected[held], rtol=1e-6)


def test_a_table_is_scored_row_by_row(tmp_path):
    x, y = two_moons(60, seed=1)
    names = ("ant", "bee")
    lines = ["a,b,kind", *(f"{p[0]},{p[1]},{names[c]}" for p, c in zip(x, y, strict=True))]
    lines[3] = lines[3].removesuffix(names[y[2]])
    file = tmp_path / "mine.csv"
    file.write_text("\n".join(lines))
    context = Context(tmp_path / "run", data=file)
    claims = OWN.run(OWN.config(**vars(TINY)), context)
    assert len(claims) == 3
    header, *rows = (tmp_path / "run" / "scores.csv").read_text().splitlines()
    assert header == "row,part,class,log_density,share_below,p_ant,p_bee"
    cells = [row.split(",") for row in rows]
    assert [cell[2] for cell in cells] == ["" if i == 2 else names[c] for i, c in enumerate(y)]
    assert (cells[2][0], cells[2][1]) == ("4", "unlabelled")
    assert sum(cell[1] == "test" for cell in cells) == len(y[1:]) // 4
    np.testing.assert_allclose([float(c[5]) + float(c[6]) for c in cells], 1, rtol=1e-5)
    many = "".join(f"1,0.{i}\n" for i in range(60))
    for text, message in (
        (f"a,b\n{many}", "expected at most 50 classes in column 'b'"),
        ("a,b\n1,0\n2,1\n", "40 rows or more with a class in column 'b'; got 2"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=message):
            OWN.run(OWN.config(**vars(TINY)), Context(tmp_path / "other", data=file))


def test_images_of_a_folder_are_all_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "mnist", lambda folder: digits())
    claims = mnist.run(TINY, Context(tmp_path / "run", data=tmp_path))
    assert len(claims) == 10
    assert claims[0].sentence.startswith("MNIST with 60 labels")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"labels": 1}, "labels must be at least 2, got 1"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**wrong)


def test_it_is_in_the_table():
    assert set(hasty_kinds(RECIPE.presets["desk"])) == {"no guard", "guard", "penalty"}
    assert model_of(8, moons(TINY, [0]), np.zeros(8 * 3 + 72 + 18)).logits(jnp.zeros(2)).shape == (
        2,
    )
