"""The recipe `residual-flow`: a table with holes, and images from files."""

import csv
import gzip
import struct

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.data import DataError
from pullback.recipes import load
from pullback.recipes._own import density as density_table
from pullback.recipes._own import residual_flow as table
from pullback.runs import Context, run
from pullback.train import fit

OWN = load("residual-flow", own=True)

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def plain():
    """JAX as it is out of the box."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        yield


def _run(folder, data, recipe=OWN):
    return run(recipe, recipe.presets["smoke"], preset="smoke", folder=folder, data=data)


def test_of_many_columns_the_roulette_trains_and_the_exact_flow_scores(tmp_path, monkeypatch):
    """Many is above 2 here, so that exact determinants of three columns tell."""
    trained = []

    def train(flow, *args, **options):
        trained.append(flow)
        return fit(flow, *args, **options)

    monkeypatch.setattr(table, "_TRAINED_EXACTLY", 2)
    monkeypatch.setattr(table, "fit", train)
    file = tmp_path / "my.npz"
    np.savez(file, x=np.random.default_rng(0).normal(size=(120, 3)))
    prepared = density_table.prepare(file, (), 0)
    flow = table._train(table.PRESETS["smoke"], Context(tmp_path / "run"), prepared)
    x = jnp.asarray(prepared.rows[:20], jnp.float32)
    # An estimate asks for a key, and is another with another one; an exact log-density does not.
    first, second = (trained[0].log_prob(x, key=jr.key(seed)) for seed in (0, 1))
    assert np.max(np.abs(first - second)) > 1e-4
    z, _ = flow.inverse_and_log_det(x)
    jacobians = jax.vmap(jax.jacfwd(lambda x: flow.inverse_and_log_det(x)[0]))(x)
    exact = -np.sum(z**2, axis=1) / 2 - 1.5 * np.log(2 * np.pi) + np.linalg.slogdet(jacobians)[1]
    np.testing.assert_allclose(flow.log_prob(x), exact, rtol=1e-4, atol=1e-4)


def test_a_table_with_holes_is_scored_row_by_row(tmp_path):
    values = np.random.default_rng(0).normal(size=(120, 3)) @ np.triu(np.ones((3, 3))) + 5
    rows = [["a", "b", "c"], *values.round(4).tolist()]
    rows[7][1] = ""
    file = tmp_path / "my.csv"
    with file.open("w", newline="") as text:
        csv.writer(text).writerows(rows)
    record = _run(tmp_path / "run", data=file)
    assert len(record["claims"]) == 3
    with (tmp_path / "run" / "scores.csv").open() as text:
        scores = list(csv.DictReader(text))
    # Line 8 of the file has the hole.
    assert [int(row["row"]) for row in scores] == [line for line in range(2, 122) if line != 8]
    assert np.isfinite([float(row["log_prob"]) for row in scores]).all()
    with (tmp_path / "run" / "samples.csv").open() as text:
        samples = np.asarray(list(csv.reader(text))[1:], float)
    assert samples.shape == (119, 3)
    assert "1 of 120 rows have holes" in (tmp_path / "run" / "report.html").read_text()


def test_images_from_files(tmp_path):
    for part, count in (("train", 600), ("t10k", 80)):
        pixels = np.random.default_rng(0).integers(0, 256, (count, 28, 28), np.uint8)
        images = struct.pack(">IIII", 2051, count, 28, 28) + pixels.tobytes()
        labels = struct.pack(">II", 2049, count) + bytes(count)
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    record = _run(tmp_path / "run", data=tmp_path, recipe=load("residual-flow/mnist"))
    assert len(record["claims"]) == 2
    assert "MNIST at 4x4" in record["claims"][0]["sentence"]
    assert (tmp_path / "run" / "figures" / "images.png").exists()


def test_a_table_of_one_column_is_refused(tmp_path):
    (tmp_path / "my.csv").write_text("a,b\n" + "1,2\n" * 50)
    with pytest.raises(DataError, match="column 'a' is 1 in every row"):
        _run(tmp_path / "run", data=tmp_path / "my.csv")
