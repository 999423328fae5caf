"""The command, used as a new user would use it, wrong arguments included."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pullback import __version__, cli, recipes, runs

FAKE = recipes.Paper(
    name="fake",
    module="fake_recipe",
    title="A Fake of Little Worth",
    arxiv="0000.00000",
    authors=("Ann Onym",),
    year=2020,
    summary="Sums random numbers.",
)
TESTS = Path(__file__).parent


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """An empty working folder, one recipe more, and an environment that is put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(recipes.papers(), "fake", FAKE)
    monkeypatch.setattr("os.environ", os.environ.copy())
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def pullback(capsys):
    def pullback(*argv: str) -> tuple[int, str, str]:
        status = cli.main(list(argv))
        return status, *capsys.readouterr()

    return pullback


def in_new_process(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with the fake recipe in its table."""
    script = (
        f"import sys; sys.path.insert(0, {str(TESTS)!r})\n"
        f"from pullback import cli, recipes\n"
        f"recipes.papers()['fake'] = recipes.{FAKE!r}\n"
        f"status = cli.main({list(argv)!r})\n"
        "print('loaded', *sys.modules, file=sys.stderr)\n"
        "sys.exit(status)"
    )
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=os.environ | environment
    )


@pytest.mark.parametrize("argv", [["list"], ["cite", "cnf"]])
def test_a_reader_that_has_enough_ends_it_quietly(argv):
    script = f"import sys; from pullback import cli; sys.exit(cli.main({argv!r}))"
    reader = "import sys; sys.stdin.close()"
    with (
        subprocess.Popen([sys.executable, "-c", reader], stdin=subprocess.PIPE) as enough,
        subprocess.Popen(
            [sys.executable, "-c", script], stdout=enough.stdin, stderr=subprocess.PIPE, text=True
        ) as command,
    ):
        assert enough.stdin is not None
        enough.stdin.close()
        enough.wait()
        _, err = command.communicate()
    assert (command.returncode, err) == (0, "")


@pytest.mark.parametrize(
    "argv",
    [("list",), ("--help",), ("run", "--help"), ("cite", "cnf"), ("--version",), ("run", "zzz")],
)
def test_what_only_informs_does_not_load_jax(argv):
    done = in_new_process(*argv)
    assert done.returncode == (2 if "zzz" in argv else 0), done.stderr
    loaded = set(done.stderr.split("loaded ")[1].split())
    assert not {"jax", "numpy", "matplotlib", "sklearn"} & loaded


def test_list_and_version(pullback):
    status, out, _ = pullback("list")
    assert status == 0
    for name, entry in recipes.papers().items():
        assert re.search(rf"^{name} +{re.escape(entry.title)} \(arXiv {entry.arxiv}\)$", out, re.M)
        assert entry.summary in out
    assert pullback("--version") == (0, f"pullback {__version__}\n", "")


def test_cite_is_bibtex(pullback):
    status, out, _ = pullback("cite", "fake")
    assert status == 0
    assert out.startswith("@misc{")
    assert "author = {Ann Onym}" in out


def test_no_argument_shows_the_help(pullback):
    status, out, _ = pullback()
    assert status == 0
    for command in ("list", "run", "gallery", "record", "data", "cite"):
        assert f"• {command} " in out


def test_the_recipes_fields_are_flags_with_help_and_the_presets_defaults(pullback):
    status, out, _ = pullback("run", "fake", "--preset=smoke", "--help")
    assert status == 0
    assert re.search(r"--parts INT +How many parts to sum\. \(default: 2\)", out)
    for flag in {*runs.Experiment.FLAGS, "no-progress", "widths"} - {"progress"}:
        assert f"--{flag} " in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["run"], "name comes first"),
        (["run", "--preset", "smoke", "fake"], "name comes first"),
        (["run", "neural_ode"], "did you mean 'neural-ode'"),
        (["cite", "cfn"], "did you mean 'cnf'"),
        (["run", "fake", "--part", "3"], "--parts"),
        (["run", "fake", "--parts", "three"], "'three'"),
        (["run", "fake", "--parts", "0"], "parts must be at least 1, got 0"),
        (["run", "fake", "--preset", "big"], "Expected one of ('smoke', 'desk', 'long', 'paper')"),
        (
            ["run", "cnf", "--data", "my table.csv"],
            "of your own: pullback fit density 'my table.csv' --method cnf",
        ),
        (["run", "fake", "--data", "my.csv"], "fake does not take data; it makes its own"),
        (["run", "cnf", "--data", "."], "cnf does not take data; it makes its own"),
        (["run", "jem/mnist", "--data", "my.csv"], "pullback fit classes my.csv --label COLUMN"),
        (["run", "fake", "--out", "/dev/null/x"], "cannot be made or written to (Not a directory)"),
        (["run", "fake", "--out", "/proc/nowhere"], "cannot be made or written to"),
        (["run", "fake", "--seed", "-1"], "--seed must be 0 or more and below 1,000,000, got -1"),
        (
            ["run", "fake", f"--seed={2**63}"],
            f"--seed must be 0 or more and below 1,000,000, got {2**63}",
        ),
        (["run", "fake", "--seed", "1.5"], "'1.5'"),
        (["run", "fake", "--seed", "9" * 20], "below 1,000,000, got 999"),
        (["run", "fake", "--bound", "nan"], "bound must be finite and not negative, got nan"),
        (["run", "fake", "--bound", "inf"], "bound must be finite and not negative, got inf"),
        (["run", "fake", "--widths", "4", "-1"], "widths must be finite and not negative"),
        (["run", "fake", "--out", "a" * 300], "cannot be made or written to (File name too long)"),
        (["run", "cnf", "--data", "a" * 300], "`run` is for papers"),
        (["run", "jem/mnist", "--data", "a" * 300], "takes the folder with mnist"),
        (["run", "fake", "--data"], "Missing value for argument '--data'"),
        (["run", "jem/"], "of this paper there are: jem, jem/mnist"),
        (["run", "fake", "--resume", "--overwrite"], "give one of them"),
        (["run", "fake", "stray"], "stray"),
        (["lst"], "list, run, gallery, record, data, cite"),
        (["gallery"], "holds no run"),
        (["gallery", "--runs", "nowhere"], "holds no run"),
        (["record", "nowhere"], "no finished run here"),
        (["data", "fetch", "no-such-data"], "no-such-data"),
        (["data", "burn", "mnist"], "fetch"),
        (["--no-such-flag"], "--no-such-flag"),
    ],
)
def test_bad_usage_ends_with_2_and_says_what_to_do(pullback, argv, message, tmp_path):
    status, _, err = pullback(*argv)
    assert status == 2
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_run_prints_its_claims_and_where_the_report_lies(pullback, tmp_path):
    status, out, _ = pullback("run", "fake", "--seed", "4", "--no-progress")
    assert status == 0
    assert "✓ held" in out
    assert "The sum is not large" in out
    folder = Path("runs/fake/desk-seed4")
    assert f"report: {folder / 'report.html'}" in out
    assert (tmp_path / folder / "report.html").exists()


def test_a_claim_that_fails_ends_with_1(pullback):
    status, out, _ = pullback("run", "fake", "--bound=0.001", "--out", "x")
    assert status == 1
    assert "✗ FAILED" in out
    assert "FAILED" in Path("x/report.html").read_text()


def test_flags_change_the_preset_and_are_recorded(pullback):
    flags = ["--preset", "smoke", "--widths", "1", "2", "3", "--name", "[red]not markup[/]"]
    assert pullback("run", "fake", *flags, "--out", "x")[0] == 0
    record = json.loads(Path("x/claims.json").read_text())
    assert record["changed"] == ["widths", "name"]
    assert record["config"] == {
        "parts": 2, "bound": 100.0, "widths": [1, 2, 3], "name": "[red]not markup[/]",
    }  # fmt: skip


def test_bad_data_ends_with_2_and_the_reason(pullback, monkeypatch):
    import fake_recipe
    from pullback.data import DataError

    def refuse(*_):
        raise DataError("my.csv", "'x' is not a number", line=3)

    monkeypatch.setattr(fake_recipe, "run", refuse)
    status, _, err = pullback("run", "fake")
    assert (status, err) == (2, "pullback: my.csv, line 3: 'x' is not a number\n")


def test_what_pullback_refuses_on_the_way_ends_with_2_and_leaves_nothing(
    pullback, monkeypatch, tmp_path
):
    import fake_recipe
    from pullback.data import eight_gaussians

    # A setting that only what uses it can judge.
    monkeypatch.setattr(fake_recipe, "run", lambda *_: eight_gaussians(-1, seed=0))
    status, _, err = pullback("run", "fake")
    assert status == 2
    assert err.count("\n") == 1
    assert "-1" in err
    assert list(tmp_path.iterdir()) == []


def test_a_smoke_run_says_that_its_verdicts_mean_nothing(pullback):
    assert "verdicts mean nothing" in " ".join(pullback("run", "fake", "--help")[1].split())
    status, out, _ = pullback("run", "fake", "--preset", "smoke", "--bound=0.001", "--out", "x")
    assert status == 0
    assert "verdicts mean nothing" in out
    assert "verdicts mean nothing" in Path("x/report.html").read_text()


def test_a_training_that_fails_ends_with_1_and_the_reason(pullback, monkeypatch):
    import fake_recipe
    from pullback.train import TrainingError, TrainingInfo

    def diverge(*_):
        info = TrainingInfo.__new__(TrainingInfo)
        raise TrainingError("loss nan at step 3", step=3, loss=0.0, metrics={}, model=0, info=info)

    monkeypatch.setattr(fake_recipe, "run", diverge)
    status, _, err = pullback("run", "fake")
    assert (status, err) == (1, "pullback: loss nan at step 3\n")

    def full(*_):
        try:
            diverge()
        except TrainingError as error:
            raise error from OSError(28, "No space left on device")

    monkeypatch.setattr(fake_recipe, "run", full)
    assert pullback("run", "fake")[0] == 2


def test_other_errors_are_not_swallowed(pullback, monkeypatch):
    import fake_recipe

    def defect(*_):
        raise ValueError("a defect")

    monkeypatch.setattr(fake_recipe, "run", defect)
    with pytest.raises(ValueError, match="a defect"):
        pullback("run", "fake")


def test_ctrl_c_says_how_to_go_on_and_going_on_gives_the_same_result(pullback, monkeypatch):
    assert pullback("run", "fake", "--out", "unbroken")[0] == 0
    with monkeypatch.context() as patch:
        patch.setenv("FAKE_INTERRUPT_AT", "2")
        status, _, err = pullback("run", "fake", "--overwrite", "--out", "my run")
    assert status == 130
    assert "go on with: pullback run fake --out 'my run' --resume" in err
    assert pullback("run", "fake", "--out", "my run", "--resume")[0] == 0
    _assert_same_run("my run", "unbroken")


def test_a_killed_run_resumes_to_the_same_result():
    argv = ("run", "fake", "--seed", "3", "--out")
    killed = in_new_process(*argv, "killed", FAKE_KILL_AT="1")
    assert killed.returncode == -signal.SIGKILL
    assert not Path("killed/claims.json").exists()
    assert in_new_process(*argv, "killed").returncode == 2
    assert in_new_process(*argv, "killed", "--resume").returncode == 0
    assert in_new_process(*argv, "unbroken").returncode == 0  # in its own precision too
    _assert_same_run("killed", "unbroken")


def _assert_same_run(first, second):
    claims = [json.loads(Path(x, "claims.json").read_text())["claims"] for x in (first, second)]
    assert claims[0] == claims[1]
    # `calls.txt` has a line for each part that was computed: none was computed twice.
    for name in ("metrics.jsonl", "contents.json", "config.json", "figures/total.png", "calls.txt"):
        assert Path(first, name).read_bytes() == Path(second, name).read_bytes(), name


def test_gallery_and_record(pullback):
    pullback("run", "fake")
    pullback("run", "fake", "--preset", "smoke")
    status, out, _ = pullback("gallery")
    assert (status, out) == (0, f"gallery: {Path('runs/index.html')}\n")
    assert Path("runs/index.html").read_text().count("2 of 2 held") == 2

    status, out, _ = pullback("record", "runs/fake/desk-seed0")
    assert (status, out) == (0, f"recorded: {Path('results/fake.json')}\n")
    kept, made = Path("results/fake.json"), Path("runs/fake/desk-seed0/claims.json")
    assert json.loads(kept.read_text()) == json.loads(made.read_text())

    pullback("run", "fake", "--parts", "2", "--out", "small")
    status, _, err = pullback("record", "small")
    assert status == 2
    assert "--name" in err
    assert pullback("record", "small", "--name", "../x")[0] == 2
    assert pullback("record", "small", "--name", "small", "--results", "r")[0] == 0
    assert Path("r/small.json").exists()


def test_where_a_page_or_a_result_cannot_be_written_the_flag_is_named(pullback):
    assert pullback("run", "fake")[0] == 0
    Path("file").write_text("")
    out, results = "file/index.html", "file/results"
    status, _, err = pullback("gallery", "--out", out)
    assert (status, err.count("\n")) == (2, 1)
    assert "cannot be written to" in err
    assert "--out" in err
    status, _, err = pullback("record", "runs/fake/desk-seed0", "--results", results)
    assert (status, err.count("\n")) == (2, 1)
    assert "cannot be written to" in err
    assert "--results" in err


def test_on_a_full_disk_a_run_says_how_to_go_on_and_goes_on(pullback, full_disk):
    room = 700  # for the stages, and not for the figure
    with full_disk(room):
        status, _, err = pullback("run", "fake", "--seed", "3", "--out", "r")
    assert status == 2
    assert "\npullback: r/figures/total.png cannot be written (File too large), and a" in err
    assert err.endswith("go on with: pullback run fake --seed 3 --out r --resume\n")
    assert Path("r/stages/part2.safetensors").exists()
    assert pullback("run", "fake", "--seed", "3", "--out", "r", "--resume")[0] == 0
    assert pullback("run", "fake", "--seed", "3", "--out", "s")[0] == 0
    assert Path("r/contents.json").read_bytes() == Path("s/contents.json").read_bytes()
    old = Path("r/report.html").read_bytes()
    for argv in (["record", "r"], ["gallery", "--runs", "r"]):
        with full_disk(room):
            status, _, err = pullback(*argv)
        assert (status, err.count("\n")) == (2, 1)
        assert "cannot be written" in err
    assert Path("r/report.html").read_bytes() == old
    assert not list(Path().rglob(".*"))


def test_a_record_that_is_damaged_is_made_anew_when_its_run_is_resumed(pullback):
    assert pullback("run", "fake")[0] == 0
    record = Path("runs/fake/desk-seed0/claims.json")
    whole = json.loads(record.read_text())
    record.write_text(record.read_text()[:-9])
    assert pullback("run", "fake", "--resume")[0] == 0
    assert json.loads(record.read_text())["claims"] == whole["claims"]


def test_a_smoke_run_is_not_recorded(pullback):
    pullback("run", "fake", "--preset", "smoke", "--out", "x")
    for name in ("quick", ""):
        status, _, err = pullback("record", "x", "--name", name)
        assert (status, err.count("\n")) == (2, 1)
        assert "is a smoke run, which only shows that all runs" in err
    pullback("run", "fake", "--out", "y")
    assert pullback("record", "y", "--name", "")[0] == 2


def test_a_long_run_is_recorded_beside_the_desk_result(pullback):
    pullback("run", "fake", "--preset", "long", "--out", "x")
    status, out, _ = pullback("record", "x")
    assert (status, out) == (0, "recorded: results/fake-long.json\n")
    assert json.loads(Path("results/fake-long.json").read_text())["config"]["parts"] == 4


def test_a_changed_desk_run_is_not_recorded_as_the_desk_result(pullback):
    pullback("run", "fake", "--parts", "2", "--out", "x")
    status, _, err = pullback("record", "x")
    assert status == 2
    assert "changed: parts" in err


def test_jax_keeps_its_programs_where_the_user_says(pullback, monkeypatch):
    for name in [name for name in os.environ if name.startswith(("JAX_", "EQX_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("cache").resolve()))
    pullback("run", "fake", "--help")
    assert os.environ["EQX_ON_ERROR"] == "nan"
    assert os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] == "0"
    assert os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] == "-1"
    assert "pullback" in os.environ["JAX_COMPILATION_CACHE_DIR"]
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/mine")
    pullback("run", "fake", "--help")
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "/mine"
