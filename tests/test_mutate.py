import pytest

import mutate


def test_each_break_is_of_the_code_as_it_is_and_has_its_tests():
    found = mutate.mutants([])
    assert len(found) >= 60
    assert len({mutant.file.split("/")[0] for mutant in found}) >= 10  # over all rooms
    for mutant in found:
        assert mutate.broken(mutate.ROOT / "src" / "pullback", mutant)
        assert mutant.old != mutant.new
        assert all((mutate.ROOT / "tests" / each).exists() for each in mutant.tests)


def test_a_break_that_no_longer_fits_is_told_of(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    with pytest.raises(ValueError, match="'x = 1' 2 times, not 1: write the mutant anew"):
        mutate.broken(tmp_path, mutate.Mutant("a.py", "x = 1", "x = 2", ()))
    twice = mutate.Mutant("a.py", "x = 1", "x = 2", (), times=2)
    assert mutate.broken(tmp_path, twice) == "x = 2\nx = 2\n"


@pytest.mark.parametrize("passes", [True, False])
def test_what_the_tests_let_through_is_listed_and_the_copy_is_whole_again(
    passes, tmp_path, monkeypatch, capsys
):
    seen = []

    def run(package, tests):
        seen.append((package / "calculus" / "_stein.py").read_text())
        return passes

    monkeypatch.setattr(mutate, "_passes", run)
    assert mutate.main(["calculus/_stein"]) == int(passes)
    assert "vdot(s, value) - trace" in seen[0]
    assert ("NOT NOTICED" in capsys.readouterr().out) == passes
    (tmp_path / "calculus").mkdir()
    file = tmp_path / "calculus" / "_stein.py"
    file.write_text("x = 1\n")
    break_ = mutate.Mutant("calculus/_stein.py", "x = 1", "x = 2", ())
    assert mutate.is_noticed(tmp_path, break_) != passes
    assert (seen[-1], file.read_text()) == ("x = 2\n", "x = 1\n")
