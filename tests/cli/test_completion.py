"""The scripts by which shells complete the command."""

import shutil
import subprocess

import pytest

from pullback import cli
from pullback.cli._fit import TASKS
from pullback.recipes import papers


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_names_verbs_tasks_and_recipes(shell, tmp_path, capsys):
    file = tmp_path / "script"
    assert cli.main(["--tyro-write-completion", shell, str(file)]) == 0
    assert capsys.readouterr().err == ""
    text = file.read_text()
    for word in ("score", "forecast", "jem/mnist", "--contamination", *papers(), *TASKS):
        assert word in text, word
    if shutil.which(shell):
        assert subprocess.run([shell, "-n", str(file)]).returncode == 0


def test_bash_completes_what_is_begun(tmp_path):
    file = tmp_path / "script"
    assert cli.main(["--tyro-write-completion", "bash", str(file)]) == 0
    ask = """source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9
        COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
        $(complete -p pullback | sed -E 's/.*-F (\\S+).*/\\1/')
        printf '%s\\n' "${COMPREPLY[@]}" """

    def completed(*words):
        command = ["bash", "-c", ask, "bash", str(file), *words]
        return subprocess.run(command, capture_output=True, text=True).stdout.split()

    assert completed("pullback", "for") == ["forecast"]
    assert completed("pullback", "fit", "den") == ["density"]
    assert completed("pullback", "fit", "density", "--conta") == ["--contamination"]
    assert completed("pullback", "run", "jem/m") == ["jem/mnist"]
    assert completed("pullback", "run", "jem", "--see") == ["--seed"]


@pytest.mark.parametrize("words", [[], ["bash"], ["tcsh", "f"], ["bash", "f", "g"]])
def test_what_is_wrong_is_told(words, capsys):
    assert cli.main(["--tyro-write-completion", *words]) == 2
    assert "give a shell and a file" in capsys.readouterr().err
