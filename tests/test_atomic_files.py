"""A file that cannot be written is named, and the one that was there stays."""

import ast
import errno
import io
import os
from pathlib import Path

import numpy as np
import pytest

import pullback
from pullback._files import (
    append_text,
    atomic_write,
    atomic_write_csv,
    atomic_write_text,
    check_writable,
)

SOURCE = Path(pullback.__file__).parent


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


def test_a_log_that_cannot_be_added_to_is_named_and_a_link_is_not_followed(tmp_path, full_disk):
    path, other = tmp_path / "log", tmp_path / "mine"
    append_text(path, "1\n")
    append_text(path, "2\n")
    with full_disk(100), pytest.raises(OSError, match=r"log'$"):
        append_text(path, "x" * 5000)
    assert path.read_text().startswith("1\n2\n")
    other.write_text("mine")
    path.unlink()
    path.symlink_to(other)
    with pytest.raises(OSError, match=r"log'$"):
        append_text(path, "3\n")
    assert other.read_text() == "mine"


def _calls(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else (
                node.func.id if isinstance(node.func, ast.Name) else ""
            )  # fmt: skip
            yield name, [*node.args, *(each.value for each in node.keywords)]


def _writes(name, given):
    """Whether a call makes a file by itself, or opens one to write to."""
    texts = [each.value for each in given if isinstance(each, ast.Constant)]
    modes = [text for text in texts if isinstance(text, str) and set(text) <= set("rwaxbt+U")]
    return (
        name in {"write_text", "write_bytes", "touch", "to_csv", "to_parquet", "save_file"}
        or name in {"savetxt", "tofile", "mkstemp", "NamedTemporaryFile", "imsave", "copytree"}
        or (name == "open" and any(set(mode) & set("wax+") for mode in modes))
        # A file by its name, and not one that is open.
        or (name in {"savez", "savez_compressed", "savefig", "write_table"} and bool(texts[:1])
            and isinstance(texts[0], str) and texts[0] not in {"png", "svg", "pdf"})
    )  # fmt: skip


def test_every_file_is_written_by_the_module_that_writes_it_whole():
    """So that what holds there holds of all: no part of a file, no link followed, errors named."""
    assert _writes(*next(_calls(ast.parse("open(path, 'wb')"))))
    assert _writes(*next(_calls(ast.parse("path.open(mode='a')"))))
    assert not _writes(*next(_calls(ast.parse("path.open('rb', buffering=0)"))))
    assert not _writes(*next(_calls(ast.parse("fig.savefig(file, format='png')"))))
    found = {
        str(file.relative_to(SOURCE)): name
        for file in SOURCE.rglob("*.py")
        for name, given in _calls(ast.parse(file.read_bytes()))
        if _writes(name, given)
    }
    assert found == {"cli/_common.py": "open"}  # what comes on standard input, in a new folder


def test_an_error_of_another_file_is_told_of_that_file(tmp_path):
    with pytest.raises(FileNotFoundError) as error, atomic_write(tmp_path / "kept"):
        (tmp_path / "gone").read_bytes()
    assert error.value.filename == str(tmp_path / "gone")
    assert os.listdir(tmp_path) == []
