"""The recipe `rate-distortion`: its smallest run, and its own arithmetic."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback._promotion import standard_promotion
from pullback.analysis import discrete_rate_distortion
from pullback.recipes import load
from pullback.recipes.rate_distortion import Config, measure
from pullback.runs import Context, run

RECIPE = load("rate-distortion")
OWN = load("rate-distortion", own=True)

# Slow: trains every part of the recipe; `make test-slow` runs it.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    # As from the command line: float32, ordinary promotion.
    with jax.enable_x64(False), standard_promotion():
        folder = tmp_path_factory.mktemp("rate-distortion") / "run"
        return run(RECIPE, RECIPE.presets["smoke"], preset="smoke", folder=folder), folder


def test_the_claims_that_need_no_training_hold(finished):
    record, _ = finished
    assert len(record["claims"]) == 14
    held = [c["sentence"] for c in record["claims"] if c["holds"]]
    for words in ("no model is better", "enclose it"):
        assert any(words in sentence for sentence in held), words


def test_the_run_leaves_its_pictures_and_numbers(finished):
    _, folder = finished
    names = {path.stem for path in (folder / "figures").iterdir()}
    assert names == {"discrete", "linear", "plane", "information", "reconstructions"}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * 2 * (2 + 2 + 1)  # decoders, seeds, weights and targets, one chunk


def test_a_resumed_run_ends_with_the_same_claims(finished, x32, monkeypatch):
    record, folder = finished

    def again(*args, **kwargs):
        raise RuntimeError("measured a second time")

    for name in ("discrete", "linear"):
        monkeypatch.setattr(measure, name, again)
    resumed = run(RECIPE, RECIPE.presets["smoke"], preset="smoke", folder=folder, resume=True)
    assert resumed["claims"] == record["claims"]


def test_the_true_model_shares_half_a_nat():
    p_z, p_x_z = measure.true_model()
    np.testing.assert_allclose(p_x_z.sum(1), 1.0, rtol=1e-12)
    p_x = p_z @ p_x_z
    posterior = (p_z[:, None] * p_x_z / p_x).T
    tables = (p_x, np.log(posterior), np.log(p_z), np.log(p_x_z))
    found = discrete_rate_distortion(*map(jnp.asarray, tables))
    np.testing.assert_allclose(found.rate, 0.5, atol=1e-9)
    np.testing.assert_allclose(found.information, 0.5, atol=1e-9)
    np.testing.assert_allclose(found.distortion, 2.51648, atol=1e-4)
    np.testing.assert_allclose(found.entropy, 3.01648, atol=1e-4)


def test_few_rows_have_the_moments_of_all():
    rows = np.random.default_rng(0).normal(size=(50, 4)) @ np.diag([1.0, 2.0, 3.0, 0.5]) + 1
    few, values = measure.same_moments(rows)
    np.testing.assert_allclose(few.mean(0), 0, atol=1e-12)
    covariance = np.cov(rows.T, bias=True)
    np.testing.assert_allclose(few.T @ few / len(few), covariance, atol=1e-10)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(covariance)[::-1], atol=1e-10)


def test_a_table_of_ones_own(tmp_path, x32):
    file = tmp_path / "mine.csv"
    rows = np.random.default_rng(0).normal(size=(60, 3)) @ np.random.default_rng(1).normal(
        size=(3, 3)
    )
    file.write_text("a,b,c\n" + "\n".join(",".join(map(str, row)) for row in rows) + "\n")
    with standard_promotion():
        config = OWN.config(seeds=1, linear_steps=2000)
        claims = OWN.run(config, Context(tmp_path / "run", data=file))
    assert [claim.holds for claim in claims] == [True] * 3
    file.write_text("a,b\n1,2\n1,3\n1,4\n")
    with pytest.raises(ValueError, match=r"column 'a' of mine\.csv is the same in every row"):
        OWN.run(config, Context(tmp_path / "flat", data=file))


@pytest.mark.parametrize(
    "fields", [{"seeds": 0}, {"betas": (0.1, 0.5)}, {"rates": (5.0, 2.0)}, {"noise_variance": 0.0}]
)
def test_a_configuration_that_cannot_be_is_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        Config(**fields)
