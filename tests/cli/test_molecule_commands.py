"""Molecules by design, from the command alone: fitted, designed, drawn, predicted and shown."""

import shutil
import sys

import numpy as np
import pandas as pd
import pytest

from pullback import data, tasks

pytestmark = pytest.mark.usefixtures("workplace")

SMILES = data.nci_molecules(longest=10).smiles[:24]
SELFIES = ("--selfies", "--skip-invalid", "--max-steps", "2", "--no-progress")


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    return tmp_path_factory.mktemp("once") / "fitted"


@pytest.fixture
def model(once, tmp_path, pullback):
    """What the fit says; the folder is that of the first test, copied."""
    if once.exists():
        shutil.copytree(once, tmp_path, dirs_exist_ok=True)
        return (tmp_path / "said.txt").read_text()
    frame = pd.DataFrame({"smiles": [*SMILES, "C1CC"], "code": range(25)})
    frame.assign(size=frame.smiles.str.len()).to_csv("mine.csv", index=False)
    argv = ("fit", "molecules", "mine.csv", "--property", "size", "QED", "--out", "m")
    status, out, err = pullback(*argv, "--name", "code", *SELFIES)
    assert (status, err) == (0, "")
    (tmp_path / "said.txt").write_text(out)
    shutil.copytree(tmp_path, once)
    return out


def test_fit_and_show(model, pullback, tmp_path):
    assert "of mine.csv: 24 molecules as SELFIES, size, QED predicted" in model
    assert "1 of 25 molecules were left out. Line 26: RDKit cannot read 'C1CC'" in model
    assert "  pullback design m -n 100 --out designs\n" in model
    page = (tmp_path / "m" / "report.html").read_text()
    assert "<title>mine.csv: molecules by design</title>" in page
    assert "The molecules of the fit with the highest size" in page
    assert pullback("show", "m") == (0, model[: model.index("report: ")], "")


def test_design_writes_designs_that_are_what_is_said(model, pullback, tmp_path):
    asked = ("--start", SMILES[3], "--radius", "6", "-n", "4")
    status, out, err = pullback("design", "m", *asked)
    assert (status, err) == (0, "")
    assert "designs: designs/designs.csv, designs/designs.sdf, designs/designs.png" in out
    table = pd.read_csv(tmp_path / "designs" / "designs.csv")
    want = tasks.load("m").design(4, start=SMILES[3], radius=6, random_state=0)
    assert tuple(table.smiles) == want.smiles
    assert out.startswith(want.notes[0])
    assert data.read_molecules(tmp_path / "designs" / "designs.sdf").smiles == want.smiles


def test_from_one_to_another(model, pullback):
    status, out, err = pullback("design", "m", "--start", SMILES[3], "--to", SMILES[5], "-n", "3")
    assert (status, err) == (0, "")
    assert "3 codes: designs/interpolation.csv, designs/interpolation.png" in out
    table = pd.read_csv("designs/interpolation.csv")
    assert (table.smiles[0], table.smiles[2]) == (SMILES[3], SMILES[5])


@pytest.mark.filterwarnings("always::UserWarning")
def test_draw_and_predict(model, pullback):
    assert pullback("sample", "m", "-n", "3") == (0, "3 molecules drawn: samples.csv\n", "")
    drawn = pd.read_csv("samples.csv")
    assert list(drawn)[:5] == ["name", "smiles", "known", "predicted_size", "predicted_QED"]
    assert drawn.known.tolist() == [each in SMILES for each in drawn.smiles]
    status, out, err = pullback("predict", "m", "mine.csv", "--out", "p.csv")
    assert (status, out) == (0, "24 molecules predicted: p.csv\n")
    assert err.startswith("pullback: mine.csv: 1 of 25 molecules were left out. Line 26: RDKit")
    assert err.count("\n") == 1
    table = pd.read_csv("p.csv")
    assert len(table) == 25
    assert table.iloc[24].isna().all()
    found = table.iloc[:24]
    want = tasks.load("m").predict(list(SMILES))
    np.testing.assert_allclose(found[["predicted_size", "predicted_QED"]], want, rtol=1e-6)
    assert (found.similarity == 1).all()
    assert found.known.astype(bool).all()
    assert pullback("score", "m", "mine.csv")[:2] == (0, "24 molecules scored: scores.csv\n")
    assert pd.read_csv("scores.csv").equals(table)
    found.rename(columns={"smiles": "SMILES"})[["SMILES"]].to_csv("other.csv", index=False)
    assert pullback("predict", "m", "other.csv", "--out", "o.csv")[0] == 0
    assert pd.read_csv("o.csv").predicted_size.equals(found.predicted_size)
    found.rename(columns={"smiles": "mine"})[["mine"]].to_csv("other.csv", index=False)
    said = pullback("predict", "m", "other.csv", "--out", "o.csv")[2]
    assert said == (
        "pullback: other.csv: it does not say which column is the smiles; call it 'smiles'. The "
        "columns are mine.\n"
    )
    pd.DataFrame({"smiles": ["C1CC"], "code": 1}).to_csv("bad.csv")
    said = pullback("predict", "m", "bad.csv", "--out", "p.csv")[2]
    assert "Line 2: RDKit cannot read 'C1CC' as SMILES" in said


BAD_FILES = [
    ("smiles\nCCO\nC1CC\nCC(C)(C)(C)C\n", (), "2 bad rows: line 3: RDKit cannot read 'C1CC'"),
    ("smiles\nC1CC\n", (), "--skip-invalid leaves such rows out"),
    ("smiles,y\n" + "CCO,1\n", ("--property", "yy"), "there is no column 'yy'; did you mean 'y'"),
    ("smiles,y\n" + "CCO,1\n" * 30, ("--property", "y"), "1 different molecule is too few"),
    ("a,b\nCCO,1\n", (), "which is it: --smiles ..."),
    ("smiles,y\nCCO,high\n", ("--property", "y"), "line 2"),
    ("smiles\n" + "\n".join("C" * k for k in range(1, 30)), ("--max-length", "9"), "at most 9 fit"),
]


@pytest.mark.parametrize(("text", "flags", "message"), BAD_FILES)
def test_a_file_that_teaches_nothing_is_refused(text, flags, message, pullback, tmp_path):
    (tmp_path / "bad.csv").write_text(text)
    status, out, err = pullback(
        "fit", "molecules", "bad.csv", "--out", "n", *flags, "--no-progress"
    )
    assert (status, out) == (2, "")
    assert err.startswith("pullback: bad.csv")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("fit molecules mine.csv --out n --max-steps 0", "--max-steps must be 1 or more"),
        ("design m -n 0", "-n must be 1 or more, got 0"),
        ("design m --start C1CC", "--start: RDKit cannot read 'C1CC' as SMILES"),
        ("design m --start [U]", "which the vocabulary lacks"),
        ("design m --property sise", "--property: 'sise' is not known; did you mean 'size'"),
        ("design m --start -n 3", "--start needs a value, or more, --start=-x for"),
        ("fit molecules mine.csv --out n --property", "--property needs a value, or more"),
        ("design m --start C --to O -n 1", "-n must be 2 or more, to hold both ends"),
        ("design m --radius 0", "--radius must be above 0"),
        ("design m --to CCO", "--to goes from one molecule: name it with --start"),
        ("design m --start CCO --to x", "--to: RDKit cannot read 'x'"),
        ("design m --start CCO --to CC --target 1", "--to climbs nothing; leave out --target"),
        ("design m --out mine.csv", "mine.csv is a file; name a folder with --out"),
        ("sample m --out s.txt", "--out must end in .csv or .parquet"),
    ],
)
def test_what_cannot_be_done_is_said(argv, message, model, pullback):
    status, out, err = pullback(*argv.split())
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_package_that_is_missing_is_said_with_the_line_that_installs_it(
    pullback, tmp_path, monkeypatch
):
    (tmp_path / "a.smi").write_text("CCO\n")
    for name in [name for name in sys.modules if name.partition(".")[0] == "rdkit"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rdkit", None)
    status, _, err = pullback("fit", "molecules", "a.smi", "--out", "n")
    assert status == 2
    assert "pip install 'pullback[chem]'" in err
