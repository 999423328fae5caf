"""What a resume compares, what it takes up, and what it says."""

import json
import os
import resource
import shutil
import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from pullback._lock import folder_lock
from pullback.train import (
    CheckpointError,
    Ending,
    TrainingError,
    fit,
    iterate,
    load_model,
    save_checkpoint,
)
from pullback.train import _folder as in_folder
from pullback.train import _run as training
from pullback.train import _store as store
from pullback.train._checkpoint import read_checkpoint as read
from pullback.train._log import restart_log

X = np.linspace(0.0, 1.0, 200).reshape(100, 2)
SGD = optax.sgd(0.1)


def square(w, batch, *, key):
    return jnp.sum((batch - w[None]) ** 2), {}


class Scaled(eqx.Module):
    w: jax.Array
    scale: float = eqx.field(static=True)


class Weighted(eqx.Module):
    """A loss with a setting."""

    weight: float = eqx.field(static=True)

    def __call__(self, model, batch, *, key):
        return self.weight * jnp.sum((batch - model[None]) ** 2), {}


def go(folder, **more):
    arguments: dict[str, Any] = dict(model=jnp.zeros(2), loss=square, data=X, optimiser=SGD,
                                     steps=2, batch_size=2, log_every=2, key=jr.key(0))  # fmt: skip
    return fit(**{**arguments, "folder": folder, **more})


def still(folder):
    step = lambda s, batch, *, key: (s, {})
    return iterate(step, jnp.zeros(2), steps=2, folder=folder, key=jr.key(0))


def stepping(folder, **more):
    step = lambda s, batch, *, key: (s, {"loss": jnp.sum(s)})
    return iterate(step, jnp.zeros(2), log_every=2, folder=folder, key=jr.key(0), **more)


class Removing:
    """Data in a folder's absence: it takes the folder away when it is read in training."""

    def __init__(self, folder):
        self.folder = folder

    def __len__(self):
        return 100

    def __getitem__(self, row):
        if list(self.folder.glob("metrics.jsonl")):
            shutil.rmtree(self.folder)
        return X[row]


class Source:
    """A dataset on the host."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, row):
        return self.rows[row]


def with_one_changed(row):
    other = X.copy()
    other[row, 0] += 1e-3
    return other


def mapped(folder, rows):
    np.save(folder / "x.npy", rows)
    return np.load(folder / "x.npy", mmap_mode="r")


def indexing(mode):
    def loss(w, batch, *, key):
        return jnp.sum((batch[:, 0] - w.at[jnp.array([0, 1])].get(mode=mode)) ** 2), {}

    return loss


injected = lambda rate: optax.inject_hyperparams(optax.sgd)(learning_rate=rate)
drawn = lambda scale: lambda key: scale * jr.normal(key, (2, 2))
of_steps = lambda rates: optax.sgd(optax.piecewise_constant_schedule(rates, {5: 0.1}))

OTHERS = {
    "a learning rate": (dict(optimiser=SGD), dict(optimiser=optax.sgd(0.2)), "another optimiser"),
    "a rate in the state": (
        dict(optimiser=injected(0.1)), dict(optimiser=injected(0.2)), "another optimiser",
    ),
    "a schedule": (
        dict(optimiser=of_steps(0.1)), dict(optimiser=of_steps(0.2)), "another optimiser",
    ),
    "data": (dict(), dict(data=with_one_changed(50)), "another run: it has data"),
    "data on the host": (
        dict(data=Source(X)), dict(data=Source(with_one_changed(50))), "another run: it has data",
    ),
    "what draws": (
        dict(data=drawn(1.0), batch_size=None), dict(data=drawn(2.0), batch_size=None),
        "`data` computes something else",
    ),
    "a constant of the loss": (
        dict(loss=Weighted(1.0)), dict(loss=Weighted(2.0)), r"`loss`\.weight is 1\.0 .* 2\.0",
    ),
    "how a loss indexes": (
        dict(loss=indexing("clip")), dict(loss=indexing("promise_in_bounds")),
        "`loss` computes something else",
    ),
    "a batch size": (dict(), dict(batch_size=4), "batch_size = 2, and this one has 4"),
    "a static field": (
        dict(model=Scaled(jnp.zeros(2), 1.0), loss=lambda m, b, *, key: square(m.w, b, key=key)),
        dict(model=Scaled(jnp.zeros(2), 2.0), loss=lambda m, b, *, key: square(m.w, b, key=key)),
        r"scale is 1\.0 .* 2\.0",
    ),
    "a validation": (
        dict(validation=lambda w, *, key: {"loss": jnp.sum(w)}, patience=3),
        dict(validation=lambda w, *, key: {"loss": jnp.sum(w**2)}, patience=3),
        "`validation` computes something else",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", OTHERS)
def test_a_resume_with_another_one_is_refused(what, tmp_path):
    before, after, message = OTHERS[what]
    go(tmp_path, **before)
    with pytest.raises(CheckpointError, match=message):
        go(tmp_path, resume=True, steps=4, **{**before, **after})
    with warnings.catch_warnings(action="error"):
        assert go(tmp_path, resume=True, steps=4, **before)[1].step == 4


def test_rows_of_a_file_are_looked_at_between_its_ends(tmp_path):
    go(tmp_path / "run", data=mapped(tmp_path, X))
    (tmp_path / "other").mkdir()
    with pytest.raises(CheckpointError, match=r"another run: it has data .* are other data"):
        go(tmp_path / "run", resume=True, data=mapped(tmp_path / "other", with_one_changed(50)))


class Cropped(Source):
    """Whose examples are made by a random transform."""

    random = np.random.default_rng(0)

    def __getitem__(self, row):
        return self.rows[row] + self.random.normal()


def test_examples_that_are_random_by_themselves_can_be_resumed(tmp_path):
    go(tmp_path, data=Cropped(X))
    assert go(tmp_path, data=Cropped(X), resume=True, steps=4)[1].step == 4


def test_what_iterate_draws_from_is_compared(tmp_path):
    step = lambda s, batch, *, key: (s + jnp.sum(batch), {})
    run = lambda scale, steps: iterate(step, jnp.zeros(()), drawn(scale), steps=steps, log_every=2,
                                       folder=tmp_path, resume=True, key=jr.key(0))[1]  # fmt: skip
    run(1.0, 2)
    with pytest.raises(CheckpointError, match="computes something else"):
        run(2.0, 4)
    assert run(1.0, 4).step == 4


def test_the_validation_of_iterate_is_compared_where_the_lowest_loss_is_kept(tmp_path):
    def run(power, steps):
        step = lambda s, batch, *, key: (s + 1, {})
        validation = lambda s, *, key: {"loss": s**power}
        return iterate(step, jnp.ones(()), steps=steps, validation=validation, patience=9,
                       log_every=2, folder=tmp_path, resume=True, key=jr.key(0))[1]  # fmt: skip

    run(1, 2)
    with pytest.raises(CheckpointError, match="`validation` computes something else"):
        run(2, 4)
    assert run(1, 4).best_step == 2


def test_another_version_is_told(tmp_path, monkeypatch):
    """Its programs cannot be compared; the settings of the model are."""
    go(tmp_path)
    monkeypatch.setattr("pullback.train._identity.version", lambda name: f"9.{name}")
    with pytest.warns(UserWarning, match=r"optax.*9\.optax.*`loss` and `optimiser` are"):
        assert go(tmp_path, resume=True, steps=4)[1].step == 4


def checkpoints(folder):
    return sorted(path.name for path in folder.glob("checkpoint*"))


def test_the_last_two_are_kept(tmp_path):
    _, info = go(tmp_path, steps=9)
    assert checkpoints(tmp_path) == ["checkpoint-8.safetensors", "checkpoint-9.safetensors"]
    assert info.checkpoint == tmp_path / "checkpoint-9.safetensors"
    go(tmp_path, steps=12, resume=True)
    assert checkpoints(tmp_path) == ["checkpoint-10.safetensors", "checkpoint-12.safetensors"]


def test_one_that_was_damaged_does_not_outlive_those_of_the_run_that_went_on(tmp_path):
    go(tmp_path, steps=8, checkpoint_every=4)
    (tmp_path / "checkpoint-8.safetensors").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"checkpoint-4\.safetensors, is taken up"):
        go(tmp_path, steps=6, resume=True)
    assert checkpoints(tmp_path) == ["checkpoint-4.safetensors", "checkpoint-6.safetensors"]


@pytest.mark.parametrize("way", ["cut", "flipped", "empty", "another file"])
def test_where_the_newer_is_damaged_the_older_is_taken_up(way, tmp_path):
    straight, _ = go(tmp_path / "straight", steps=12)
    folder = tmp_path / "run"
    go(folder, steps=8)
    newest = folder / "checkpoint-8.safetensors"
    whole = newest.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    contents = {"cut": whole[:-9], "flipped": damaged, "empty": b"", "another file": b"PK" * 99}
    newest.write_bytes(contents[way])
    message = r"checkpoint-8\.safetensors.*checkpoint-6\.safetensors, is taken up"
    with pytest.warns(UserWarning, match=message) as told:
        found, info = go(folder, steps=12, resume=True)
    assert len(told) == 1
    np.testing.assert_array_equal(found, straight)
    assert info.history["step"].tolist() == [2, 4, 6, 8, 10, 12]
    assert checkpoints(folder) == ["checkpoint-10.safetensors", "checkpoint-12.safetensors"]
    for name in checkpoints(folder):
        (folder / name).write_bytes(b"")
    message = r"checkpoint-12\.safetensors: the file is empty.*no whole one.*start again"
    with pytest.raises(CheckpointError, match=message):
        go(folder, steps=14, resume=True)
    with pytest.raises(CheckpointError, match=message):
        load_model(folder, jnp.zeros(2))


def test_the_model_before_is_read_where_the_last_is_damaged(tmp_path):
    before, _ = go(tmp_path, steps=2)
    go(tmp_path, steps=4, resume=True)
    (tmp_path / "checkpoint-4.safetensors").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"checkpoint-2\.safetensors, is taken up"):
        np.testing.assert_array_equal(load_model(tmp_path, jnp.zeros(2)), before)


def test_a_model_is_read_beside_a_training_that_goes_on(tmp_path, monkeypatch):
    """Which takes the files away that were found."""
    trained, _ = go(tmp_path, steps=6)
    real, gone = in_folder.checkpoints, [in_folder.file_of(tmp_path, 3)]
    monkeypatch.setattr(in_folder, "checkpoints", lambda at: gone.copy() if gone else real(at))
    monkeypatch.setattr(in_folder, "read_checkpoint", lambda file: gone.clear() or read(file))
    np.testing.assert_array_equal(load_model(tmp_path, jnp.zeros(2)), trained)


def test_more_steps_than_are_asked_for_are_told(tmp_path):
    trained, _ = go(tmp_path, steps=6)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    message = r"6 steps were taken, and `steps` = 4 .*as it was after 6 steps"
    with pytest.warns(UserWarning, match=message):
        found, info = go(tmp_path, steps=4, resume=True)
    np.testing.assert_array_equal(found, trained)
    assert (info.step, info.history["step"].tolist()) == (6, [2, 4, 6])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    with warnings.catch_warnings(action="error"):
        assert go(tmp_path, steps=6, resume=True)[1].step == 6


DAMAGE = [
    "{}", "3", "null", '"step"', "[" * 5000, '{"step": "2"}', '{"step": true}', '{"step": -2}',
    '{"step": 2, "loss": "x"}', '{"step": 2, "loss": [1.0, 2.0]}', '{"step": 2, "loss": {"a": 1}}',
    '{"step": 2, "loss": NaN}', '{"step": 2, "loss": 1e999}', '{"loss": 1.0}', "\x00\x00", "é\x85",
    '{"step": 2.0, "loss": 1.0}', '{"step": 100000000000000000000000, "loss": 1.0}',
    '{"step": 2, "loss": 1.0}', '{"step": 2, "of another hand": 1.0}',
]  # fmt: skip


def test_damaged_lines_of_the_log_do_not_break_a_resume(tmp_path):
    go(tmp_path, steps=6)
    log = tmp_path / "metrics.jsonl"
    first, second, third = log.read_text().splitlines()
    whole = [line.replace('"step":', '"steps_per_second": 1.0, "step":') for line in DAMAGE[:-2]]
    for damage in (*DAMAGE, *whole):
        log.write_text("\n".join([damage, second, first, damage, third, damage]), "utf-8")
        kept, damaged = restart_log(log, step=6)
        assert [entry["step"] for entry in kept] == [4, 6], damage
        assert damaged >= (1 if '"step": 1000' in damage else 3), damage
        assert log.read_text().splitlines() == [second, third]
    log.write_text("\n".join([first, "{}", second, third, "{"]))
    with pytest.warns(UserWarning, match=r"metrics\.jsonl: 1 line is damaged and left out"):
        _, info = go(tmp_path, steps=8, resume=True)
    assert info.history["step"].tolist() == [2, 4, 6, 8]


def test_a_line_of_another_number_of_runs_is_damaged(tmp_path):
    log = tmp_path / "metrics.jsonl"
    of = lambda *loss: json.dumps({"step": 1, "steps_per_second": 1, "loss": loss}) + "\n"
    for lines, damaged in ((of(1.0, 2.0), 0), (of(1.0), 1), (of(1.0, None), 0), (of(1, [2]), 1)):
        log.write_text(lines)
        assert restart_log(log, step=1, runs=(2,))[1] == damaged


def test_a_log_of_no_text_and_none_at_all(tmp_path):
    go(tmp_path, steps=2)
    log = tmp_path / "metrics.jsonl"
    log.write_bytes(bytes(range(256)))
    with pytest.warns(UserWarning, match="left out"):
        assert go(tmp_path, steps=4, resume=True)[1].history["step"].tolist() == [4]
    log.unlink()
    assert go(tmp_path, steps=6, resume=True)[1].history["step"].tolist() == [6]


def test_a_checkpoint_of_an_earlier_version_is_no_start_from_nothing(tmp_path):
    (tmp_path / "checkpoint.npz").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"checkpoint\.npz: written by an earlier version"):
        go(tmp_path, resume=True)


@pytest.mark.parametrize("call", [go, still])
def test_two_do_not_train_in_one_folder(call, tmp_path):
    go(tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with folder_lock(tmp_path / "run"):
        lock = (tmp_path / "run" / ".lock").read_bytes()
        message = rf"run: another process \(number {os.getpid()}\) trains in it.*another `folder`"
        with pytest.raises(CheckpointError, match=message):
            call(tmp_path / "run")
        assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()} == {
            **before, ".lock": lock,
        }  # fmt: skip
    assert go(tmp_path / "run", resume=True, steps=4)[1].step == 4
    assert not (tmp_path / "run" / ".lock").exists()


@pytest.mark.parametrize("call", [go, stepping])
def test_one_whose_folder_another_has_now_stops_and_writes_nothing_there(
    call, tmp_path, monkeypatch
):
    folder, seen, real = tmp_path / "run", [], training._advance

    def advance(*args):
        if not seen:
            shutil.rmtree(folder)
            seen.append(folder_lock(folder))
            seen[0].__enter__()
            (folder / "metrics.jsonl").write_text("another's\n")
        return real(*args)

    monkeypatch.setattr(training, "_advance", advance)
    with pytest.raises(TrainingError, match=r"step 2: .*removed or moved while .*no checkpoint"):
        call(folder, steps=4)
    assert sorted(os.listdir(folder)) == [".lock", "metrics.jsonl"]
    assert (folder / "metrics.jsonl").read_text() == "another's\n"
    seen[0].__exit__(None, None, None)
    assert os.listdir(folder) == ["metrics.jsonl"]


def test_a_failure_is_not_kept_in_a_folder_that_is_gone(tmp_path):
    never = lambda w, batch, *, key: (jnp.sum(w) * jnp.nan, {})
    with pytest.raises(TrainingError, match=r"not finite.*removed or moved"):
        go(tmp_path / "run", loss=never, data=Removing(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("header", [None, {"face": "fit"}, {"face": "fit", "step": 7}], ids=str)
def test_a_checkpoint_that_the_user_wrote_is_neither_read_nor_replaced(header, tmp_path):
    mine = tmp_path / "checkpoint-7.safetensors"
    save_checkpoint(mine, {"w": jnp.zeros(2)}, header)
    whole = mine.read_bytes()
    for call, more in ((go, {}), (go, {"resume": True}), (still, {})):
        with pytest.raises(CheckpointError, match=r"checkpoint-7.*by hand and this is"):
            call(tmp_path, **more)
    with pytest.raises(CheckpointError, match=r"checkpoint-7.*not written by `fit`"):
        load_model(tmp_path, jnp.zeros(2))
    assert mine.read_bytes() == whole


@pytest.mark.parametrize("lacks", ["optimiser", "identity", "best", "good"])
def test_a_checkpoint_that_lacks_what_a_training_says_is_by_hand(lacks, tmp_path):
    go(tmp_path)
    file = tmp_path / "checkpoint-2.safetensors"
    header = read(file).header
    save_checkpoint(file, {}, {name: header[name] for name in header.keys() - {lacks}})
    with pytest.raises(CheckpointError, match=r"checkpoint-2.*by hand and this is `fit`"):
        go(tmp_path, resume=True)


def test_one_of_the_user_beside_those_of_the_run_is_not_taken_away(tmp_path):
    go(tmp_path, steps=8)
    save_checkpoint(tmp_path / "checkpoint-3.safetensors", {"w": jnp.zeros(2)})
    with pytest.raises(CheckpointError, match=r"checkpoint-3.*by hand and this is `fit`"):
        go(tmp_path, steps=9, resume=True)
    assert "checkpoint-3.safetensors" in checkpoints(tmp_path)


def test_a_header_that_is_none_is_refused_where_it_is_written(tmp_path):
    header: Any = [1]
    with pytest.raises(TypeError, match=r"`header` must be a dictionary, got \[1\]"):
        save_checkpoint(tmp_path / "c", {}, header)


def test_a_resume_in_another_precision_names_it(tmp_path):
    small = dict(model=jnp.zeros(2, jnp.float32), data=X.astype(np.float32))
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        go(tmp_path, **small)
    with (
        pytest.raises(CheckpointError, match=r"jax_enable_x64 = False, and this one has True"),
        jax.numpy_dtype_promotion("standard"),
    ):
        go(tmp_path, **small, steps=4, resume=True)


def test_names_that_no_file_can_have(tmp_path):
    with pytest.raises(CheckpointError, match=r"`folder` = .*NUL"):
        go(tmp_path / "a\0b")
    with pytest.raises(CheckpointError, match=r"`folder` = .*too long"):
        go(tmp_path / ("n" * 300))
    for name, message in (
        ("a\0b", "cannot be read: .*null"),
        ("n" * 300, "cannot be read: .*long"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_model(tmp_path / name, jnp.zeros(2))
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load_model(tmp_path / "none", jnp.zeros(2))
    (tmp_path / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(CheckpointError, match="it is a link, which is not followed; delete it"):
        go(tmp_path)


def test_a_fit_that_is_refused_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        go(tmp_path / "new" / "run", loss=lambda w, batch, *, key: 1.0)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_none_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(CheckpointError, match=r"`folder` = .*file.* cannot be made.*another"):
            go(folder)
    (tmp_path / "run" / "metrics.jsonl").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"`folder` = .*\(Is a directory\)"):
        go(tmp_path / "run")


def full(monkeypatch, size):
    """Let no file of the checkpoints become larger, as a disk does that is full."""
    real = store.save_checkpoint
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)

    def save(*arguments):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
        try:
            real(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    monkeypatch.setattr(store, "save_checkpoint", save)


def test_a_full_disk_stops_the_training_and_loses_nothing(tmp_path, monkeypatch):
    go(tmp_path, steps=4)
    straight, _ = go(tmp_path / "straight", steps=6)
    before = {name: (tmp_path / name).read_bytes() for name in checkpoints(tmp_path)}
    with monkeypatch.context() as patch:
        full(patch, 1000)
        message = r"after step 6: .* could not be written \(File too large\); .*checkpoint-4.*whole"
        with pytest.raises(TrainingError, match=message) as caught:
            go(tmp_path, steps=8, resume=True)
    error = caught.value
    np.testing.assert_array_equal(error.model, straight)
    assert (error.step, error.info.ending) == (6, Ending.UNWRITTEN)
    assert error.info.checkpoint == tmp_path / "checkpoint-4.safetensors"
    assert error.info.history["step"].tolist() == [2, 4, 6]
    assert {name: (tmp_path / name).read_bytes() for name in checkpoints(tmp_path)} == before
    assert not list(tmp_path.glob(".*"))
    found, info = go(tmp_path, steps=6, resume=True)
    np.testing.assert_array_equal(found, straight)
    assert info.history["step"].tolist() == [2, 4, 6]


def test_a_failure_on_a_full_disk_is_still_told(tmp_path, monkeypatch):
    full(monkeypatch, 1000)
    never = lambda w, batch, *, key: (jnp.sum(w) * jnp.nan, {})
    with pytest.raises(TrainingError, match=r"not finite.*could not be written to the folder \(F"):
        go(tmp_path, loss=never)
    step = lambda w, batch, *, key: (w, {"loss": jnp.nan})
    with pytest.raises(TrainingError, match=r"not finite.*could not be written to the folder \(F"):
        iterate(step, jnp.zeros(2), steps=2, folder=tmp_path, key=jr.key(0))


def test_what_is_in_the_way_of_a_file_is_named(tmp_path):
    (tmp_path / "checkpoint-4.safetensors").mkdir()
    message = r"checkpoint-4\.safetensors could not be written \(Is a directory\); .*checkpoint-2"
    with pytest.raises(TrainingError, match=message):
        go(tmp_path, steps=4)


def test_what_a_killed_writer_left_is_cleared_and_a_planted_link_is_not_followed(tmp_path):
    """Whatever step it was of; and under no name that can be foreseen."""
    run, victim = tmp_path / "run", tmp_path / "victim"
    run.mkdir()
    left = run / f".checkpoint-777.safetensors.{'ab' * 8}.tmp"
    left.write_bytes(b"half")
    (run / ".mine.tmp").write_bytes(b"")
    victim.write_text("precious")
    planted = [f".checkpoint-2.safetensors.{os.getpid()}", "checkpoint-2.safetensors"]
    for name in (*planted, "metrics.jsonl"):
        (run / name).symlink_to(victim)
    with pytest.warns(UserWarning, match="run of 2 steps"):
        go(run, steps=2)
    assert victim.read_text() == "precious"
    assert not left.exists()
    assert (run / ".mine.tmp").exists()
    assert not (run / "checkpoint-2.safetensors").is_symlink()
