"""The recipe `jem`: its own arithmetic, MNIST, and a table of the user's own."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback._promotion import standard_promotion
from pullback.data import DataError, LabelledTable, digits, two_moons
from pullback.models.energy import JEM
from pullback.recipes import load
from pullback.recipes._own import jem as table
from pullback.recipes.jem import measure, mnist
from pullback.recipes.jem.models import Config, moons
from pullback.runs import Context

RECIPE = load("jem")
OWN = load("jem", own=True)

TINY = RECIPE.presets["smoke"]


@pytest.fixture(autouse=True, scope="module")
def small():
    """As from the command line: float32, ordinary promotion."""
    with jax.enable_x64(False), standard_promotion():
        yield


class Flat(eqx.Module):
    """Logits that are the same everywhere."""

    bias: jax.Array

    def __call__(self, x):
        return self.bias + 0 * jnp.sum(x)


def test_a_density_that_is_flat_over_the_box_is_one_over_its_area():
    """And the probability of the second class is a softmax of the biases."""
    problem = moons(TINY, [0])
    bias = jnp.array([[0.0, 1.0], [0.0, -2.0]])
    found = measure.on_moons(problem, JEM(Flat(bias)))
    np.testing.assert_allclose(found["density_nll"], np.log(144.0), rtol=1e-5)
    second = 1 / (1 + np.exp(-bias[:, 1]))
    y = problem.test.y
    expected = -np.log(np.where(y == 1, second[:, None], 1 - second[:, None])).mean(axis=1)
    np.testing.assert_allclose(found["nll"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["accuracy"], [np.mean(y == 1), np.mean(y == 0)])


def test_ood_sets_are_test_images_changed():
    problem = moons(TINY, [0])._replace(box=(-1.0, 1.0))
    made = measure.ood_sets(problem, 0)
    x = problem.test.x
    np.testing.assert_allclose(made["contrast x 1.5"] / x, 1.5)
    np.testing.assert_allclose(np.sort(made["shuffled pixels"]), np.sort(x))
    np.testing.assert_allclose(made["mean of two"][0], (x[0] + x[-1]) / 2)
    assert np.abs(made["uniform noise"]).max() <= 1


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


@pytest.mark.slow
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
    config = dataclasses.replace(mnist.PRESETS["smoke"], seeds=1, image_steps=2)
    claims = mnist.run(config, Context(tmp_path / "run", data=tmp_path))
    assert [claim.sentence.startswith("MNIST with 60 labels") for claim in claims] == [True] * 4 + [
        False
    ]
    assert all(np.isfinite(claim.value) for claim in claims)


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
