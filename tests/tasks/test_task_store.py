"""Saved models: the same to the bit in another process, and refused where they are damaged."""

import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest

import pullback as pb
from pullback._archive import read_archive, write_archive
from pullback.tasks import FlowDensity, ModelError, load, write_report
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


def test_every_flipped_byte_and_every_cut_is_seen(folder):
    dice, file = random.Random(0), folder / "model.safetensors"
    whole = file.read_bytes()
    # The header, the record and the arrays are in turn; of what is long, some places.
    for place in [*range(0, 300, 7), *(dice.randrange(len(whole)) for _ in range(150))]:
        damaged = bytes([whole[place] ^ dice.randrange(1, 256)])
        file.write_bytes(whole[:place] + damaged + whole[place + 1 :])
        with pytest.raises(ModelError, match=r"model\.safetensors.* Fit the model again") as error:
            load(folder)
        assert len(str(error.value)) < 500
    for part in (b"", whole[:7], whole[:300], whole[: len(whole) // 2], whole[:-1], whole + b"\0"):
        file.write_bytes(part)
        with pytest.raises(ModelError, match=r"model\.safetensors.* Fit the model again"):
            load(folder)
    file.write_bytes(whole)
    load(folder)


def test_one_file_is_the_model_and_its_copy_for_people_is_not_read(folder, fitted):
    model, x = fitted
    copy = folder / "model.json"
    told = json.loads(copy.read_text())
    assert (told["task"], told["format"]) == ("FlowDensity", 2)
    assert told["settings"]["max_steps"] == 25
    assert told["fitted"]["notes_"] == model.notes_
    for text in (b"{}", b"no JSON", b"\xff" * 9):
        copy.write_bytes(text)
        np.testing.assert_array_equal(load(folder).score_samples(x), model.score_samples(x))
    copy.unlink()
    assert load(folder).columns_ == model.columns_


def test_a_folder_without_a_model_is_refused_with_the_way_to_one(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    for where in (folder, tmp_path / "nothing", folder / "model.json", "m" * 300, "m\0"):
        with pytest.raises(ModelError, match=r"holds no saved model.*`pullback fit`"):
            load(where)
    (folder / "model.safetensors").mkdir()
    with pytest.raises(ModelError, match=r"model\.safetensors: cannot be read: Is a directory"):
        load(folder)


def test_a_folder_that_may_not_be_read_is_not_said_to_be_empty(folder, monkeypatch):
    def refuse(path, *args, **named):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "stat", refuse)  # for root may read all
    with pytest.raises(ModelError, match=r"model\.safetensors: cannot be read: Permission denied"):
        load(folder)


def test_a_name_with_a_nul_is_an_error_of_the_system(fitted):
    with pytest.raises(OSError, match="NUL"):
        fitted[0].save("a\0b")


@pytest.mark.parametrize("step", range(3))
def test_who_is_stopped_while_it_saves_leaves_the_old_model_or_the_new(
    step, folder, fitted, monkeypatch
):
    """At each place where one file takes the place of another."""
    _, x = fitted
    other = FlowDensity(random_state=0, max_steps=0).fit(x + 5)
    calls, replace = [], os.replace

    def stop_at(*paths):
        calls.append(paths)
        if len(calls) == step + 1:
            raise KeyboardInterrupt
        replace(*paths)

    monkeypatch.setattr("os.replace", stop_at)
    try:
        other.save(folder)
    except KeyboardInterrupt:
        pass
    else:
        assert step == 2
    assert len(calls) == min(step + 1, 2)
    kept = fitted[0] if step == 0 else other
    np.testing.assert_array_equal(load(folder).score_samples(x), kept.score_samples(x))
    assert {file.name for file in folder.iterdir()} == {"model.json", "model.safetensors"}


@pytest.mark.parametrize("room", [0, 3000])
def test_on_a_full_disk_the_old_model_stays(room, folder, fitted, full_disk):
    model, x = fitted
    other = FlowDensity(random_state=0, max_steps=0).fit(x + 5)
    with full_disk(room), pytest.raises(OSError, match=r"model\.safetensors"):
        other.save(folder)
    np.testing.assert_array_equal(load(folder).score_samples(x), model.score_samples(x))
    assert {file.name for file in folder.iterdir()} == {"model.json", "model.safetensors"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("model.safetensors", b"weights of another program"),
        ("model.json", b'{"architectures": ["GPT2LMHeadModel"], "task": "text-generation"}'),
        ("model.json", b"[1]"),
    ],
)
def test_files_of_others_are_not_written_over(name, text, fitted, tmp_path):
    (tmp_path / name).write_bytes(text)
    with pytest.raises(ModelError, match=rf"{name} is there, and no model .* another folder"):
        fitted[0].save(tmp_path)
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == text


def test_only_the_report_of_a_model_goes_with_it(fitted, tmp_path):
    model, x = fitted
    page = tmp_path / "report.html"
    page.write_text("<p>my own")
    model.save(tmp_path)
    with pytest.raises(ModelError, match=r"report\.html is there, and no model that"):
        write_report(model, x, tmp_path)
    assert page.read_text() == "<p>my own"
    page.unlink()
    write_report(model, x, tmp_path)
    write_report(model, x, tmp_path)
    model.save(tmp_path)
    assert not page.exists()
    # A damaged model is a model, and may be replaced.
    for file, kept in (("model.safetensors", "model.json"), ("model.json", "model.safetensors")):
        (tmp_path / file).write_bytes(b"{")
        model.save(tmp_path)
        assert load(tmp_path).columns_ == model.columns_
        assert (tmp_path / kept).exists()


EARLIER = {"pullback": "0.0.1"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 3}, "in format 3, and this version of pullback"),
        ({"colour": "blue"}, "fields that are not known: colour"),
        ({"task": "GraphDensity"}, "GraphDensity"),
        ({"task": None}, "task is no str"),
        ({"task": [3]}, "task is no str"),
        ({"settings": [3]}, "settings is no dict"),
        ({"fitted": "f"}, "fitted is no dict"),
        ({"versions": ["0.1"]}, "versions is no dict"),
        ({"versions": {"pullback": 1}}, "does not say which version wrote it"),
        ({"settings": {"depth": 3}}, "misses .*depth"),
        ({"fitted": {}}, r"misses .* Fit the model again"),
        ({"versions": {"pullback": "7.1.0"}}, "written by pullback 7.1.0"),
        ({"versions": {}}, "does not say which version wrote it"),
        ({"versions": EARLIER, "fitted": {}}, r"pullback 0\.0\.1, and this one, .* Fit the model"),
        ({"versions": EARLIER, "settings": {"depth": 3}}, r"misses .*TypeError.*depth"),
    ],
)  # fmt: skip
def test_other_versions_and_unknown_fields_are_refused(folder, change, message):
    record, arrays = read_archive(folder / "model.safetensors")
    write_archive(folder / "model.safetensors", record | change, arrays)
    with pytest.raises(ModelError, match=message):
        load(folder)
    without = {name: value for name, value in record.items() if name not in change}
    write_archive(folder / "model.safetensors", without, arrays)
    if without != record:
        with pytest.raises(ModelError, match="is no saved model: it lacks"):
            load(folder)


def test_arrays_of_other_shapes_are_refused_with_the_file(folder):
    record, arrays = read_archive(folder / "model.safetensors")
    refused = []
    for name, array in arrays.items():
        others = arrays | {name: np.ones((*array.shape, 3, 2), array.dtype)}
        write_archive(folder / "model.safetensors", record, others)
        try:
            load(folder)
        except ModelError as error:
            refused.append(str(error))
    assert refused
    assert all("misses something in it (" in told for told in refused)


def test_a_model_of_the_first_format_is_told_from_a_damaged_one(folder):
    """Its text stood in one file, and its arrays, with a digest of their own, in another."""
    from safetensors.numpy import save_file

    save_file({"w": np.zeros(3)}, folder / "model.safetensors")
    with pytest.raises(ModelError, match="was not written by pullback"):
        load(folder)
    (folder / "model.json").write_text(json.dumps({"format": 1, "task": "FlowDensity"}))
    with pytest.raises(ModelError, match=r"a model in format 1, .* reads format 2\. Fit the model"):
        load(folder)


def test_a_name_is_no_pickle_and_nothing_is_run(folder):
    assert {file.name for file in folder.iterdir()} == {"model.json", "model.safetensors"}
    assert json.loads((folder / "model.json").read_text())["versions"]["pullback"] == pb.__version__
    with pytest.raises(ValueError, match="numbers, text, None or lists"):
        store.write_model(folder, "FlowDensity", {"f": (1, 2)}, {}, {})
    with pytest.raises(TypeError, match="array of object"):
        store.write_model(folder, "FlowDensity", {}, {}, {"x": np.array([object()])})
    load(folder)
