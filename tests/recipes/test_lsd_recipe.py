"""The recipe `lsd`: its own arithmetic, and a table of the user's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback._promotion import standard_promotion
from pullback.data import DataError
from pullback.recipes import load
from pullback.recipes._own import lsd as table
from pullback.recipes.lsd import measure
from pullback.recipes.lsd.models import Config
from pullback.runs import Context

RECIPE = load("lsd")
OWN = load("lsd", own=True)

TINY = RECIPE.presets["smoke"]


@pytest.fixture(autouse=True, scope="module")
def small():
    """As from the command line: float32, ordinary promotion."""
    with jax.enable_x64(False), standard_promotion():
        yield


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_a_table_is_tested_and_what_has_no_density_is_left_out(kind, tmp_path):
    rng = np.random.default_rng(0)
    side = np.where(rng.random(400) < 0.5, -2.0, 2.0)
    x = np.column_stack([side + 0.3 * rng.normal(size=400), rng.normal(size=400), np.ones(400)])
    y = x[:, 0] + 2 * x[:, 1]
    file = tmp_path / f"mine.{kind}"
    if kind == "npz":
        np.savez(file, x=x, y=y)
    else:
        rows = "\n".join(",".join(map(str, [*row, last])) for row, last in zip(x, y, strict=True))
        file.write_text(f"a,b,constant,sum\n{rows}\n")
    context = Context(tmp_path / "run", data=file)
    config = OWN.config(**vars(TINY) | {"components": 2, "test_steps": 100})
    claims = OWN.run(config, context)
    assert all(np.isfinite(claim.value) for claim in claims)
    [shown] = [item for item in context.contents if item["kind"] == "table"]
    gaussian, mixture = shown["rows"]
    # Two modes: the Gaussian is far from them by nats, and the kernel test sees it.
    assert gaussian[1] - mixture[1] > 0.3
    assert gaussian[-1] == "does not fit"
    assert "a, b" not in shown["header"]
    notes = [item["text"] for item in context.contents if item["kind"] == "note"]
    left_out = "constant, sum" if kind == "csv" else "x3, y"
    assert any(f"Left out: {left_out}." in note for note in notes)


def test_a_table_that_cannot_be_tested_is_refused(tmp_path):
    few = tmp_path / "few.csv"
    few.write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(DataError, match="expected 200 rows or more to fit and to test; got 2"):
        table.read(few, ())
    still = tmp_path / "still.npz"
    np.savez(still, x=np.ones((300, 2)), y=np.zeros(300))
    with pytest.raises(DataError, match="expected a column that varies"):
        table.read(still, ())


def test_rows_with_holes_and_columns_that_were_not_named_are_left_out(tmp_path):
    rows = np.random.default_rng(0).normal(size=(220, 2)).tolist()
    lines = [f"{a},{b},{a + b},mine" for a, b in rows]
    lines[3] = ",1,1,mine"
    file = tmp_path / "mine.csv"
    file.write_text("a,b,sum,who\n" + "\n".join(lines) + "\n")
    found, dropped = table.read(file, ("sum", "a", "b"))
    assert found.columns == ("sum", "a")
    assert dropped == ["b"]
    assert len(found.values) == 219
    assert found.holes == {5: ("a",)}


def test_the_score_of_two_modes_is_the_slope_of_their_density():
    left = measure.WEIGHTS[1]
    x = np.linspace(-3, 3, 7)
    density = lambda x: np.logaddexp(
        np.log(left) - (x + 1) ** 2 / 2, np.log(1 - left) - (x - 1) ** 2 / 2
    )
    slope = (density(x + 1e-5) - density(x - 1e-5)) / 2e-5
    found = measure._two_modes_score(jnp.ones(7), jnp.asarray(x))
    np.testing.assert_allclose(found, slope, atol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"points": 50}, "points must be at least 100, got 50"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**wrong)
