"""A file that cannot be written is named, and the one that was there stays."""

import errno
import io
import os

import numpy as np
import pytest

from pullback._files import atomic_write, atomic_write_csv, atomic_write_text, check_writable


def _zipped(path):
    with atomic_write(path) as file:
        np.savez(file, a=np.arange(10_000))


def _zipped_smaller(path):
    with atomic_write(path) as file:
        np.savez_compressed(file, a=np.random.default_rng(0).normal(size=1000))


def _drawn(path):
    from pullback.plots import figure

    with atomic_write(path) as file:
        figure()[0].savefig(file, format="png")


def _in_pieces(path):
    with atomic_write(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", write_through=True)
        for line in range(100_000):
            text.write(f"{line}\n")
        text.detach()


@pytest.mark.parametrize(
    "write",
    [
        lambda path: atomic_write_text(path, "x" * 5000),
        lambda path: atomic_write_csv(path, [["x" * 100]] * 100),
        _zipped,
        _zipped_smaller,
        _drawn,
        _in_pieces,
    ],
    ids=["text", "csv", "npz", "compressed", "png", "pieces"],
)
@pytest.mark.parametrize("room", [0, 1000])
def test_on_a_full_disk_the_file_is_named_and_the_old_one_stays(write, room, full_disk, tmp_path):
    path = tmp_path / "kept"
    path.write_text("old")
    with full_disk(room), pytest.raises(OSError, match=r"kept'$") as error:
        write(path)
    assert (error.value.errno, error.value.filename) == (errno.EFBIG, str(path))
    assert os.listdir(tmp_path) == ["kept"]
    assert path.read_text() == "old"
    write(path)
    assert path.stat().st_size > 1000


@pytest.mark.parametrize("write", [check_writable, lambda path: atomic_write_text(path, "new")])
def test_where_nothing_can_be_written_the_file_is_named_and_not_a_temporary_one(
    write, tmp_path, monkeypatch
):
    def read_only(path, flags, *rest):
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return open_(path, flags, *rest)

    open_ = os.open
    monkeypatch.setattr("pullback._files.os.open", read_only)
    with pytest.raises(OSError, match="Read-only file system") as error:
        write(tmp_path / "kept")
    assert error.value.filename == str(tmp_path / "kept")
    monkeypatch.undo()
    with pytest.raises(IsADirectoryError) as error:
        write(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_an_error_of_another_file_is_told_of_that_file(tmp_path):
    with pytest.raises(FileNotFoundError) as error, atomic_write(tmp_path / "kept"):
        (tmp_path / "gone").read_bytes()
    assert error.value.filename == str(tmp_path / "gone")
    assert os.listdir(tmp_path) == []
