import json
import multiprocessing
import os
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from pullback import _files
from pullback._archive import ArchiveError, read_archive, read_record, write_archive
from pullback._files import append_text, atomic_write, atomic_write_text, check_writable
from pullback._lock import LockError, folder_lock

_ARRAYS = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "scalar": np.float64(2.5),
    "empty": np.zeros((0, 4), np.int16),
    "flags": np.array([True, False]),
    "big-endian": np.arange(3, dtype=">i4"),
    "big-endian text": np.array(["é", "b"], ">U1"),
    "strided": np.arange(12.0).reshape(3, 4)[:, ::2],
    "complex": np.array([1 + 2j, 3j]),
    "half": np.asarray(jnp.arange(3, dtype=jnp.bfloat16)),
    "text": np.array(["é", "", "abc"]),
    "bytes": np.array([b"ab", b""]),
    'a "name": of \n any kind': np.uint8([255]),
    "days": np.array(["2024-01-31"], "datetime64[D]"),
}


def test_arrays_of_every_kind_come_back(tmp_path):
    record = {"step": 7, "text": 'a "quoted" é', "nested": [1, None, {"x": 1.5}]}
    write_archive(tmp_path / "a.safetensors", record, _ARRAYS)
    found, arrays = read_archive(tmp_path / "a.safetensors")
    assert found == read_record(tmp_path / "a.safetensors") == record
    assert set(arrays) == set(_ARRAYS)
    for name, array in _ARRAYS.items():
        assert arrays[name].dtype == array.dtype, name
        assert arrays[name].shape == np.shape(array)
        np.testing.assert_array_equal(arrays[name], array)
        arrays[name][...] = arrays[name]  # may be written to


def test_other_tools_read_it_and_the_same_content_has_the_same_bytes(tmp_path):
    from safetensors.numpy import load_file

    for name in "ab":
        write_archive(tmp_path / name, {"step": 7}, {"w": _ARRAYS["w"], "v": np.zeros(2)})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    np.testing.assert_array_equal(load_file(tmp_path / "a")["w"], _ARRAYS["w"])


def test_only_the_wanted_arrays_are_read(tmp_path):
    write_archive(tmp_path / "a", {}, {"w": np.zeros(2), "v": np.ones(3)})
    assert list(read_archive(tmp_path / "a", arrays=lambda name: name == "v")[1]) == ["v"]


def test_every_bit_and_every_cut_is_noticed(tmp_path):
    file, bad = tmp_path / "a.safetensors", tmp_path / "bad.safetensors"
    write_archive(file, {"step": 7}, {"w": np.arange(2, dtype=np.float32)})
    whole = file.read_bytes()
    mutants = [whole[:cut] for cut in range(len(whole))] + [whole + b"\0", whole[1:]]
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        mutants.append(bytes(flipped))
    for content in mutants:
        bad.write_bytes(content)
        with pytest.raises(ArchiveError, match=r"bad\.safetensors: "):
            read_archive(bad)


def test_what_is_no_archive_is_refused(tmp_path):
    from safetensors.numpy import save_file

    with pytest.raises(ArchiveError, match="there is no such file"):
        read_archive(tmp_path / "none")
    with pytest.raises(ArchiveError, match="cannot be read: Is a directory"):
        read_archive(tmp_path)
    (tmp_path / "empty").touch()
    with pytest.raises(ArchiveError, match="is empty"):
        read_archive(tmp_path / "empty")
    save_file({"w": np.zeros(2)}, tmp_path / "other")
    with pytest.raises(ArchiveError, match="not written by pullback"):
        read_archive(tmp_path / "other")
    with pytest.raises(TypeError, match="x is an array of object"):
        write_archive(tmp_path / "o", {}, {"x": np.array([None])})
    with pytest.raises(TypeError, match="x is an array of"):
        write_archive(tmp_path / "o", {}, {"x": np.zeros(1, [("a", "i4")])})
    with pytest.raises(TypeError, match="x is a masked array, whose mask would be lost"):
        write_archive(tmp_path / "o", {}, {"x": np.ma.masked_equal([1.0, 2.0], 2)})
    with pytest.raises(TypeError):
        write_archive(tmp_path / "o", {"x": {1, 2}}, {})
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        "[" * 100_000 + "]" * 100_000,
        '{"format": 1, "record": [], "bytes": {}}',
        '{"format": 1, "record": {}, "bytes": []}',
        *(
            f'{{"format": 1, "record": {{}}, "bytes": {{"w": {told}}}}}'
            for told in (
                '"x"', "[1]", '["O", [2]]', '["O", [0]]', '["f4", 3]', '["f4", ["a"]]',
                '["f4,(", [4]]', '["f8", [0, 1e400]]', '["f8", [0, -1]]', '["V4", [4]]',
                f'["f8", [0, {2**90}]]',
            )
        ),
    ],
    ids=lambda text: text[:60],
)  # fmt: skip
def test_a_record_of_another_hand_is_refused_though_the_digest_is_right(
    content, tmp_path, monkeypatch
):
    monkeypatch.setattr("pullback._archive.json.dumps", lambda record: content)
    write_archive(tmp_path / "a", {}, {"w": np.zeros(4, np.uint8)})
    monkeypatch.undo()
    with pytest.raises(ArchiveError, match="a: was not written by pullback"):
        read_archive(tmp_path / "a")


def test_a_name_that_is_no_text_or_has_a_nul(tmp_path):
    file = tmp_path / os.fsdecode(b"caf\xe9.txt")
    check_writable(file)
    atomic_write_text(file, f"of {file.name}")
    append_text(file, f", {file.name}")
    assert os.listdir(os.fsencode(tmp_path)) == [b"caf\xe9.txt"]
    assert file.read_bytes() == b"of caf\\udce9.txt, caf\\udce9.txt"
    subprocess.run([sys.executable, "-c", _KILLED, os.fsencode(file)], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    write_archive(file, {"at": str(file)}, {"w": np.zeros(2)})
    assert read_record(file) == {"at": str(file)}
    assert list(tmp_path.iterdir()) == [file]
    for write in (check_writable, lambda path: append_text(path, "")):
        with pytest.raises(OSError, match=r"NUL in it: .*a\\x00b"):
            write(tmp_path / "a\0b")
    with pytest.raises(OSError, match=r"NUL in it: .*a\\x00b"):
        write_archive(tmp_path / "a\0b", {}, {})
    with pytest.raises(ArchiveError, match=r"a\\x00b': cannot be read"):
        read_archive(tmp_path / "a\0b")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o444])
def test_who_may_read_a_file_may_read_the_one_that_replaces_it(mode, tmp_path):
    file = tmp_path / "a.txt"
    atomic_write_text(file, "old")
    file.chmod(mode)
    with atomic_write(file) as opened:
        [temporary] = tmp_path.glob(".a.txt.*.tmp")
        assert temporary.stat().st_mode & 0o777 == mode  # before there is anything to read
        opened.write(b"new")
    assert file.stat().st_mode & 0o7777 == mode
    assert file.read_text() == "new"


def test_a_link_does_not_give_its_rights(tmp_path):
    (tmp_path / "plain").touch()
    (tmp_path / "a").symlink_to(tmp_path / "plain")
    atomic_write_text(tmp_path / "a", "")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_temporary_file_that_was_cleared_before_it_was_held_is_made_again(tmp_path, monkeypatch):
    flock, left = _files.fcntl.flock, [1, 1]

    def late(opened, how):
        if left:
            left.pop()
            [temporary] = tmp_path.glob(".a.txt.*.tmp")
            temporary.unlink()
        flock(opened, how)

    monkeypatch.setattr(_files.fcntl, "flock", late)
    atomic_write_text(tmp_path / "a.txt", "whole")
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert not left


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    atomic_write_text(tmp_path / "a.txt", "old")

    def fails():
        with atomic_write(tmp_path / "a.txt") as file:
            file.write(b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_planted_link_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "a.txt").symlink_to(tmp_path / "victim")
    with atomic_write(tmp_path / "a.txt") as file:
        [temporary] = tmp_path.glob(".a.txt.*.tmp")
        file.write(b"new")
    assert (tmp_path / "victim").read_text() == "mine"
    assert not (tmp_path / "a.txt").is_symlink()
    with atomic_write(tmp_path / "a.txt"):
        [another] = tmp_path.glob(".a.txt.*.tmp")
    assert another != temporary


def test_a_written_file_has_the_rights_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    atomic_write_text(tmp_path / "a.txt", "")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "plain").stat().st_mode


_KILLED = """
import os, signal, sys
from pullback._files import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    target = tmp_path / "a.txt"
    atomic_write_text(target, "old")
    subprocess.run([sys.executable, "-c", _KILLED, str(target)], check=False)
    assert len(list(tmp_path.glob(".a.txt.*.tmp"))) == 1
    assert target.read_text() == "old"
    mine = tmp_path / ".a.txt.not-one.tmp"
    mine.touch()
    with atomic_write(target) as file:
        file.write(b"living")
        atomic_write_text(target, "meanwhile")  # takes away the dead one's, and not this one's
        assert len(list(tmp_path.glob(".a.txt.????????????????.tmp"))) == 1
    assert target.read_text() == "living"
    assert sorted(path.name for path in tmp_path.iterdir()) == [mine.name, "a.txt"]


def test_a_name_as_long_as_a_name_may_be(tmp_path):
    for name in ("n" * 255, "é" * 127):
        check_writable(tmp_path / name)
        atomic_write_text(tmp_path / name, "whole")
        assert (tmp_path / name).read_text() == "whole"


def _hold(folder, held, let_go):
    with folder_lock(folder):
        held.set()
        let_go.wait(60)


def test_a_folder_is_held_by_one_process_and_let_go_by_its_death(tmp_path):
    spawned = multiprocessing.get_context("spawn")
    held, let_go = spawned.Event(), spawned.Event()
    other = spawned.Process(target=_hold, args=(tmp_path / "run", held, let_go))
    other.start()
    assert held.wait(60)
    with pytest.raises(LockError, match=rf"number {other.pid}\)"), folder_lock(tmp_path / "run"):
        pass
    other.kill()
    other.join()
    with folder_lock(tmp_path / "run"), pytest.raises(LockError, match=str(os.getpid())):
        folder_lock(tmp_path / "run").__enter__()
    assert not (tmp_path / "run" / ".lock").exists()


def test_a_held_folder_keeps_what_was_put_there_and_goes_when_nothing_was(tmp_path):
    with folder_lock(tmp_path / "a" / "b"):
        pass
    assert not (tmp_path / "a").exists()
    with folder_lock(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "c.json").write_text(json.dumps({}))
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["c.json"]
