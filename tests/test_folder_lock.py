"""A folder is one process's alone, and what held it knows whether it still does."""

import errno
import multiprocessing
import os
import shutil
import subprocess
import sys

import pytest

from pullback import _lock
from pullback._lock import LockError, folder_lock


def test_a_folder_that_was_removed_is_held_no_more(tmp_path):
    folder = tmp_path / "run"
    with folder_lock(folder) as lock:
        lock.check()
        shutil.rmtree(folder)
        with pytest.raises(OSError, match=r"removed or moved .*run'") as error:
            lock.check()
        assert (error.value.errno, error.value.filename) == (errno.ESTALE, str(folder))
        assert not folder.exists()
    assert not folder.exists()


def test_who_lost_a_folder_leaves_the_lock_of_who_has_it_now(tmp_path):
    folder = tmp_path / "run"
    first = folder_lock(folder)
    lost = first.__enter__()
    shutil.rmtree(folder)
    with folder_lock(folder) as lock:
        with pytest.raises(OSError, match="removed or moved"):
            lost.check()
        first.__exit__(None, None, None)
        lock.check()
        with pytest.raises(LockError):
            folder_lock(folder).__enter__()
    assert not folder.exists()


def test_a_folder_that_was_moved_is_held_no_more_and_keeps_its_files(tmp_path):
    with folder_lock(tmp_path / "run") as lock:
        (tmp_path / "run").rename(tmp_path / "other")
        with pytest.raises(OSError, match="removed or moved"):
            lock.check()
    assert (tmp_path / "other").exists()


def test_a_lock_that_was_taken_away_while_it_was_opened_is_none(tmp_path, monkeypatch):
    """As who lets go of it does between the two calls."""
    flock, left = _lock.fcntl.flock, [1, 1]

    def late(opened, how):
        if left:
            left.pop()
            (tmp_path / "run" / ".lock").unlink()
            (tmp_path / "run").rmdir()
        flock(opened, how)

    monkeypatch.setattr(_lock.fcntl, "flock", late)
    with folder_lock(tmp_path / "run") as lock:
        lock.check()
        with pytest.raises(LockError):
            folder_lock(tmp_path / "run").__enter__()
    assert not left


@pytest.mark.parametrize("step", ["mkdir", "open"])
def test_a_folder_that_is_taken_away_while_it_is_made_is_made_again(step, tmp_path, monkeypatch):
    at, left = tmp_path / "run", [1, 1, 1]

    def gone(make):
        def made(*args, **more):
            if left and str(args[0]).startswith(str(at)):
                left.pop()
                if (
                    step == "mkdir"
                ):  # made by another, and gone when it was looked whether it is one
                    raise FileExistsError(errno.EEXIST, "File exists", str(at))
                at.rmdir()
            return make(*args, **more)

        return made

    owner, name = (os, "open") if step == "open" else (_lock.Path, "mkdir")
    monkeypatch.setattr(owner, name, gone(getattr(owner, name)))
    with folder_lock(at) as lock:
        lock.check()
    assert not left
    assert not at.exists()


def test_two_that_come_and_go_never_hold_it_at_once(tmp_path):
    """Nor do they see anything but that it is held."""
    spawned = multiprocessing.get_context("spawn")
    got = spawned.Queue()
    others = [spawned.Process(target=_come_and_go, args=(tmp_path / "run", got)) for _ in "ab"]
    for other in others:
        other.start()
    told = [got.get(timeout=60) for _ in others]
    for other in others:
        other.join()
    assert told == ["", ""]


def _come_and_go(folder, got):
    try:
        for _ in range(1500):
            try:
                with folder_lock(folder) as lock:
                    mine = folder / "mine"
                    os.close(os.open(mine, os.O_CREAT | os.O_EXCL))
                    lock.check()
                    mine.unlink()
            except LockError:
                pass
    except OSError as error:
        got.put(repr(error))
    else:
        got.put("")


@pytest.mark.parametrize("kind", ["a file", "a lost link"])
def test_what_can_never_be_a_folder_is_told(kind, tmp_path):
    if kind == "a file":
        (tmp_path / "run").touch()
    else:
        (tmp_path / "run").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError, match="run"):
        folder_lock(tmp_path / "run").__enter__()


def test_a_lock_that_is_a_link_is_not_followed_and_the_remedy_is_told(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match=r"it is a link, .* delete it: .*\.lock'"):
        folder_lock(tmp_path).__enter__()
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / ".lock").is_symlink()


def test_a_name_with_a_nul_is_told(tmp_path):
    with pytest.raises(OSError, match=r"NUL in it: .*a\\x00b"):
        folder_lock(tmp_path / "a\0b").__enter__()


_WITH_A_CHILD = """
import os, sys, time
from pullback._lock import folder_lock
with folder_lock(sys.argv[1]):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"1")
        time.sleep(60)
        os._exit(0)
    os.read(read, 1)
    print(child, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_the_children_of_a_process_that_died_hold_nothing(tmp_path):
    command = [sys.executable, "-c", _WITH_A_CHILD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            with pytest.raises(LockError):
                folder_lock(tmp_path / "run").__enter__()
            parent.kill()
            parent.wait()
            with folder_lock(tmp_path / "run") as lock:
                lock.check()
        finally:
            os.kill(child, 9)


_LEFT_BY_A_CHILD = """
import os, sys
from pullback._lock import folder_lock
with folder_lock(sys.argv[1]) as lock:
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
    lock.check()
    if child:
        try:
            folder_lock(sys.argv[1]).__enter__()
        except ValueError:
            print("held")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_that_leaves_the_block_takes_nothing_from_its_parent(tmp_path):
    command = [sys.executable, "-c", _LEFT_BY_A_CHILD, str(tmp_path / "run")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "held\n"
    assert not (tmp_path / "run").exists()
