"""Saved models: the same to the bit in another process, and refused where they are damaged."""

import json
import random
import subprocess
import sys

import numpy as np
import pytest

import pullback as pb
from pullback.tasks import FlowDensity, ModelError, load
from pullback.tasks import _store as store


@pytest.fixture(scope="module")
def fitted():
    x = np.random.default_rng(0).normal(size=(90, 2)) @ [[1.0, 0.4], [0.0, 2.0]]
    return FlowDensity(random_state=0, max_steps=25, copula=True).fit(x), x


@pytest.fixture
def folder(fitted, tmp_path):
    return fitted[0].save(tmp_path / "model")


def test_scores_are_the_same_to_the_bit_in_another_process(fitted, folder, tmp_path):
    model, x = fitted
    rows = np.concatenate([x, 3 * x, x[:1] + 1e6])
    np.save(tmp_path / "rows.npy", rows)
    script = (
        "import sys, numpy as np, pullback as pb; model = pb.tasks.load(sys.argv[1]);"
        "np.save(sys.argv[3], model.score_samples(np.load(sys.argv[2])))"
    )
    names = [str(folder), str(tmp_path / "rows.npy"), str(tmp_path / "scores.npy")]
    # The other process is as a user's is, in single precision; this one is not.
    subprocess.run([sys.executable, "-c", script, *names], check=True)
    assert np.isfinite(model.score_samples(rows)).all()
    np.testing.assert_array_equal(np.load(tmp_path / "scores.npy"), model.score_samples(rows))


def test_what_is_loaded_is_what_was_saved(fitted, folder):
    model, x = fitted
    again = load(folder)
    assert again.get_params() == {**model.get_params(), "progress": None}
    for name in ("columns_", "notes_", "report_", "offset_", "n_steps_", "n_features_in_"):
        assert getattr(again, name) == getattr(model, name), name
    for ask in ("score_samples", "decision_function", "predict", "explain"):
        np.testing.assert_array_equal(getattr(again, ask)(x), getattr(model, ask)(x))
    again.save(folder.with_name("again"))
    for file in ("model.json", "model.safetensors"):
        assert (folder.with_name("again") / file).read_bytes() == (folder / file).read_bytes()


def test_every_flipped_byte_is_seen(folder):
    dice, refused = random.Random(0), 0
    for file in (folder / "model.json", folder / "model.safetensors"):
        whole = file.read_bytes()
        for _ in range(100):
            place = dice.randrange(len(whole))
            damaged = bytes([whole[place] ^ dice.randrange(1, 256)])
            file.write_bytes(whole[:place] + damaged + whole[place + 1 :])
            with pytest.raises(ModelError) as error:
                load(folder)
            assert len(str(error.value)) < 500
            refused += 1
        file.write_bytes(whole)
    assert refused == 200
    load(folder)
    card = folder / "model.json"
    card.write_text(card.read_text().replace("\n", "\t", 1))  # the same to a reader of JSON
    with pytest.raises(ModelError, match="is damaged"):
        load(folder)


def test_a_part_of_a_file_or_the_file_of_another_model_is_refused(folder, fitted, tmp_path):
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    for part in (whole[:-1], whole + b"\0", b""):
        file.write_bytes(part)
        with pytest.raises(ModelError, match="not the file that belongs"):
            load(folder)
    file.unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        load(folder)
    with pytest.raises(ModelError, match=r"holds no saved model.*`pullback fit`"):
        load(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "in format 2, and this version of pullback"),
        ({"colour": "blue"}, "fields that are not known: colour"),
        ({"task": "GraphDensity"}, "GraphDensity"),
        ({"versions": {"pullback": "7.1.0"}}, "written by pullback 7.1.0"),
    ],
)
def test_other_versions_and_unknown_fields_are_refused(folder, change, message):
    record = json.loads((folder / "model.json").read_text()) | change
    (folder / "model.json").write_text(store._text(record))
    with pytest.raises(ModelError, match=message):
        load(folder)


def test_a_name_is_no_pickle_and_nothing_is_run(folder):
    assert {file.name for file in folder.iterdir()} == {"model.json", "model.safetensors"}
    assert json.loads((folder / "model.json").read_text())["versions"]["pullback"] == pb.__version__
    with pytest.raises(ValueError, match="numbers, text, None or lists"):
        store.write_model(folder, "FlowDensity", {"f": (1, 2)}, {}, {})
