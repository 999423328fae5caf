"""The command, in a folder of its own."""

import os

import pytest

from pullback import cli


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """An empty working folder, and an environment that is put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.environ", os.environ.copy())


@pytest.fixture
def pullback(capsys):
    """The command: its exit status, and what it says on stdout and stderr."""

    def pullback(*argv):
        status = cli.main([str(word) for word in argv])
        return status, *capsys.readouterr()

    return pullback
