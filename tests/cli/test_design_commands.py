"""Sequences by design, from the command alone: fitted, designed, drawn, scored and shown."""

import io
import shutil
import sys

import numpy as np
import pandas as pd
import pytest

from pullback import data, tasks

pytestmark = pytest.mark.usefixtures("workplace")


def write(path, count=70, length=12, seed=0):
    random = np.random.default_rng(seed)
    letters = ["".join(row) for row in random.choice(list("ACGT"), (count, length))]
    frame = pd.DataFrame({"spot": [f"p{k}" for k in range(count)], "dna": letters})
    frame = frame.assign(bound=[each.count("G") / length for each in letters])
    frame.to_csv(path, index=False)
    return frame


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    return tmp_path_factory.mktemp("once") / "fitted"


@pytest.fixture
def model(once, tmp_path, pullback):
    """What the fit says; the folder is that of the first test, copied."""
    if once.exists():
        shutil.copytree(once, tmp_path, dirs_exist_ok=True)
        return (tmp_path / "said.txt").read_text()
    write(tmp_path / "probes.csv")
    argv = ("fit", "dna", "probes.csv", "--score", "bound", "--name", "spot", "--out", "m")
    status, out, err = pullback(*argv, "--max-steps", "3", "--no-progress")
    assert (status, err) == (0, "")
    (tmp_path / "said.txt").write_text(out)
    shutil.copytree(tmp_path, once)
    return out


def test_fit_and_show(model, pullback, tmp_path):
    assert "SequenceDesigner of probes.csv: 70 sequences of 12 letters, 70 with a score" in model
    assert "  pullback design m -n 100 --out designs\n" in model
    assert model.endswith("report: m/report.html\n")
    page = (tmp_path / "m" / "report.html").read_text()
    assert "<title>probes.csv: sequences by design</title>" in page
    assert page.count("data:image/png") == 3
    for title in ("Samples and designs", "Logos", "The best sequences of the fit"):
        assert f"<h2>{title}</h2>" in page
    assert pullback("show", "m") == (0, model[: model.index("report: ")], "")


def test_design_writes_designs_that_are_what_is_said(model, pullback, tmp_path):
    said = pullback("design", "m", "-n", "5", "--avoid", "GATC", "--fixed", "ACNNNNNNNNNN")
    status, out, err = said
    assert (status, err) == (0, "")
    assert "designs: designs/designs.fasta, designs/designs.csv, designs/logos.png" in out
    table = pd.read_csv(tmp_path / "designs" / "designs.csv", keep_default_na=False)
    assert table.sequence.str.startswith("AC").all()
    known = tasks.load("m")
    np.testing.assert_allclose(table["mean"], known.score(list(table.sequence)).mean, rtol=1e-5)
    want = known.design(5, avoid=["GATC"], fixed="ACNNNNNNNNNN", random_state=0)
    assert tuple(table.sequence) == want.letters
    assert out.startswith(want.notes[0])
    assert data.read_sequences(tmp_path / "designs" / "designs.fasta").letters == want.letters


def test_draw_and_score(model, pullback, tmp_path):
    assert pullback("sample", "m", "-n", "6") == (0, "6 sequences drawn: samples.csv\n", "")
    drawn = pd.read_csv("samples.csv", keep_default_na=False)
    assert list(drawn) == ["name", "sequence", "mean", "sd", "outside"]
    assert pullback("sample", "m", "-n", "6", "--out", "s.fasta")[0] == 0
    assert data.read_sequences("s.fasta").letters == tuple(drawn.sequence)
    assert pullback("sample", "m", "-n", "6", "--out", "s.FA.gz")[0] == 0
    assert (tmp_path / "s.FA.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert data.read_sequences("s.FA.gz").letters == tuple(drawn.sequence)
    assert pullback("score", "m", "s.fasta") == (0, "6 sequences scored: scores.csv\n", "")
    scored = pd.read_csv("scores.csv", keep_default_na=False)
    np.testing.assert_array_equal(scored["mean"], drawn["mean"])
    two = drawn.assign(signal="", intensity="none")
    two.to_csv("two.csv", index=False)
    assert pullback("score", "m", "two.csv", "--out", "two-scores.csv")[::2] == (0, "")
    text = (tmp_path / "samples.csv").read_text().replace("mean", "x")
    pytest.MonkeyPatch().setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    status, out, _ = pullback("score", "m", "-", "--out", "-")
    assert status == 0
    assert out.count("\n") == 7


def test_scores_by_motifs_and_functions_of_files(model, pullback, tmp_path):
    (tmp_path / "two.jaspar").write_text(
        ">M1 ONE\nA [9 0 0]\nC [0 9 0]\nG [0 0 9]\nT [0 0 0]\n"
        ">M2 TWO\nA [0 0 0]\nC [9 0 9]\nG [0 9 0]\nT [0 0 0]\n"
    )
    status, _, err = pullback("design", "m", "--score", "two.jaspar", "-n", "2")
    assert status == 2
    assert err == (
        "pullback: two.jaspar has 2 motifs; say which by --score two.jaspar:M1, two.jaspar:M2\n"
    )
    (tmp_path / "my.py").write_text("def first(x):\n    return x[0, 3]\n")
    asked = ("--score", "my.py:first", "--avoid", "two.jaspar:TWO", "--out", "d", "-n", "2")
    status, _, err = pullback("design", "m", *asked)
    assert (status, err) == (0, "")
    table = pd.read_csv(tmp_path / "d" / "designs.csv")
    assert (table.sequence.str[0] == "T").all()
    assert {"score_first", "score_avoid TWO"} <= set(table)
    (tmp_path / "np.py").write_text(
        "import numpy as np\ndef f(x):\n    return np.asarray(x).sum()\n"
    )
    status, _, err = pullback("design", "m", "--score", "np.py:f", "-n", "2")
    assert (status, err.count("\n")) == (2, 1)
    assert "np.py" in err
    assert "--score, f, must be made of jax.numpy alone" in err


def test_what_is_said_twice_is_all_taken(model, pullback, tmp_path):
    asked = ("--avoid", "GATC", "-n", "3", "--avoid=GGG", "--avoid", "CCA", "TTA")
    assert pullback("design", "m", *asked)[0] == 0
    table = pd.read_csv(tmp_path / "designs" / "designs.csv")
    assert {f"hits_{site}" for site in ("GATC", "GGG", "CCA", "TTA")} <= set(table)


BAD_FILES = [
    ("sequence,score\nACGTA,1\nACGNA,2\n", (), "line 3: letter 4 is 'N'"),
    (
        "sequence,score\n" + "ACGTA,1\n" * 20 + "ACG,1\n", (),
        "line 22: has 3 letters, and most have 5",
    ),
    ("sequence,score\n" + "ACGTA,1\n" * 30, (), "every score is 1, which teaches nothing"),
    ("sequence,score\nACGTA,1\n", (), "1 sequences are too few to learn from"),
    ("sequence,score\nACGTA,high\n", (), "line 2"),
    ("sequence,score\nACGTA,1\n", ("--score", "sgnal"), "sgnal"),
    (">a\nACGTA\n>b\nACG\n", ("--score", "signal"), "no header has signal=number"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "flags", "message"), BAD_FILES)
def test_a_file_that_teaches_nothing_is_refused(text, flags, message, pullback, tmp_path):
    (tmp_path / "bad.csv").write_text(text)
    status, out, err = pullback("fit", "dna", "bad.csv", "--out", "n", *flags, "--no-progress")
    assert (status, out) == (2, "")
    assert err.startswith("pullback: bad.csv")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("design m -n 0", "-n must be 1 or more, got 0"),
        ("design m --fixed ACN", "--fixed has 3 letters, and the generator's sequences 12"),
        ("design m --fixed=", "--fixed must be a string of one letter or more, got ''"),
        ("design m --avoid=", "--avoid must be 'bound', what was fitted, or letters of a motif"),
        ("design m --score=", "--score must be 'bound', what was fitted, or letters of a motif"),
        ("design m --score bund", "did you mean 'bound'"),
        ("design m --score J", "--score must be 'bound', what was fitted, or letters of a motif"),
        ("design m --out probes.csv", "probes.csv is a file; name a folder with --out"),
        ("design none", "none holds no saved model"),
        ("design m --avoid -n 3", "--avoid needs a value, or more, --avoid=-x for"),
        (
            "sample m --out s.txt.gz",
            "--out must end in .csv or .parquet (of sequences .fasta, .fa, .fna too, or these with",
        ),
        ("design --out d", "the model comes first: pullback design MODEL [flags]"),
        (
            "sample m --out s.txt",
            "--out must end in .csv or .parquet (of sequences .fasta, .fa, .fna too, or these with",
        ),
        ("score m probes.csv --out probes.csv", "is the file that is read"),
        ("predict m probes.csv --out p.csv", "a SequenceDesigner is asked in another way"),
    ],
)
def test_what_cannot_be_done_is_said(argv, message, model, pullback):
    status, out, err = pullback(*argv.split())
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_model_that_designs_nothing_says_so(pullback):
    x = np.random.default_rng(0).normal(size=(40, 2))
    tasks.FlowDensity(max_steps=0, random_state=0).fit(x).save("t")
    status, _, err = pullback("design", "t")
    assert status == 2
    assert "the model in t designs nothing" in err
    status, _, err = pullback("sample", "t", "--out", "s.fasta")
    assert status == 2
    assert "`out` must end in .csv or .parquet" in err or "--out must end in" in err


def test_help_shows_the_flags_of_what_designs(model, pullback):
    for argv in (("design", "--help"), ("design",), ("design", "m", "--help")):
        status, out, _ = pullback(*argv)
        assert status == 0
        assert "--avoid" in out
    for argv in (("design", "--help"), ("design",), ("design", "none", "--help")):
        assert {"--avoid", "--start"} <= {*pullback(*argv)[1].split()}
    assert "design" in pullback("--help")[1]


def test_a_package_that_is_missing_is_said_with_the_line_that_installs_it(
    pullback, tmp_path, monkeypatch
):
    (tmp_path / "a.fasta").write_text(">a\nACGT\n")
    monkeypatch.setitem(sys.modules, "Bio.SeqIO.FastaIO", None)
    monkeypatch.setitem(sys.modules, "Bio", None)
    status, _, err = pullback("fit", "dna", "a.fasta", "--out", "n")
    assert status == 2
    assert "pip install 'pullback[dna]'" in err
