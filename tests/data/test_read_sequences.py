"""Sequences read from the files in which people have them."""

import gzip

import numpy as np
import pandas as pd
import pytest

from pullback.data import DataError, Sequences, one_hot, read_sequences, write_fasta

LETTERS, SCORES, NAMES = ("GATTACA", "ACGT"), [1.5, -2.0], ("p1", "p2")


def write(folder, name, text):
    file = folder / name
    if name.endswith(".gz"):
        file.write_bytes(gzip.compress(text.encode()))
    else:
        file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("name", "text", "settings"),
    [
        ("a.csv", "name,sequence,score\np1,GATTACA,1.5\np2,ACGT,-2\n", {}),
        ("a.csv.gz", "name,sequence,score\np1,GATTACA,1.5\np2,ACGT,-2\n", {}),
        ("a.tsv", "Probe ID\tSeq\tSignal [au]\np1\tgattaca\t1.5\n\np2\tAC GT\t-2\n", {}),
        ("a.csv", "x,score,y,n\nGATTACA,9,1.5,p1\nACGT,9,-2,p2\n",
         {"sequence": "x", "score": "y", "name": "n"}),
        ("a.fasta", ">p1 score=1.5\nGATT\nACA\n>p2 other=3 Score=-2\nacgt\n", {}),
        ("a.fa.gz", ">p1 signal=1.5\nGATTACA\n\n>p2 signal=-2\nACGT\n", {"score": "signal"}),
        ("a.txt", "\n>p1|x|1.5\nGATTACA\r\n>p2|x|-2\nACGT\n", {"score": "last"}),
    ],
)  # fmt: skip
def test_files_of_all_kinds_say_the_same(tmp_path, name, text, settings):
    found = read_sequences(write(tmp_path, name, text), **settings)
    assert found.letters == LETTERS
    assert found.scores.tolist() == SCORES
    assert tuple(each.split("|")[0] for each in found.names) == NAMES
    assert len(found.rows) == 2
    assert found.source == str(tmp_path / name)


def test_parquet_and_frames_are_read_too(tmp_path):
    frame = pd.DataFrame({"sequence": LETTERS, "score": SCORES, "name": NAMES})
    frame.to_parquet(tmp_path / "a.parquet")
    for given in (frame, tmp_path / "a.parquet"):
        found = read_sequences(given)
        assert (found.names, found.letters, found.rows) == (NAMES, LETTERS, (1, 2))
        assert found.scores.tolist() == SCORES
    assert read_sequences(frame).source == "the DataFrame"
    frame = pd.DataFrame({"sequence": ["ACG", "ACN"]})
    dropped = read_sequences(frame, ambiguous="drop").describe_left_out()
    assert dropped.startswith("1 of 2 sequences were left out. Row 2: letter 3 is 'N'")
    with pytest.raises(DataError, match="the DataFrame: 1 bad row:\n  row 2: has 2 letters"):
        one_hot(read_sequences(pd.DataFrame({"sequence": ["ACG", "AC", "AAA"]})))


def test_what_is_not_there_is_none(tmp_path):
    found = read_sequences(write(tmp_path, "a.csv", "sequence\nGATTACA\nACGT\n"))
    assert found.scores is None
    assert found.names == ("1", "2")
    found = read_sequences(write(tmp_path, "a.fa", ">a k=1 target=TF1\nGATTACA\n>b\nACGT\n"))
    assert found.scores is None
    assert found.rows == (1, 3)


@pytest.mark.parametrize(
    ("name", "text", "settings"),
    [
        ("a.csv", "sequence,signal\nACGT,1.5\nACGA,{}\nACGC,-2\n", {}),
        ("a.csv", "sequence,k\nACGT,1.5\nACGA,{}\nACGC,-2\n", {"score": "k"}),
        ("a.fa", ">a signal=1.5\nACGT\n>b signal={}\nACGA\n>c Signal=-2\nACGC\n", {}),
        ("a.fa", ">a k=1.5\nACGT\n>b k={}\nACGA\n>c k=-2\nACGC\n", {"score": "k"}),
        ("a.fa", ">a|1.5\nACGT\n>b|n/a{}\nACGA\n>c|-2\nACGC\n", {"score": "last"}),
    ],
)
@pytest.mark.parametrize("hole", ["", "NA", "NaN", "null"])
def test_what_was_not_measured_is_nan(tmp_path, name, text, settings, hole):
    text = text.replace("n/a{}", hole or "?").format(hole)
    found = read_sequences(write(tmp_path, name, text), **settings)
    np.testing.assert_array_equal(found.scores, [1.5, np.nan, -2])
    assert found.letters == ("ACGT", "ACGA", "ACGC")


def test_holes_of_frames_and_of_more_rows_than_a_chunk(tmp_path):
    scores = np.arange(5000.0)
    scores[[0, 3000]] = np.nan
    frame = pd.DataFrame({"sequence": ["ACGT"] * 5000, "score": scores})
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_csv(tmp_path / "a.csv", index=False)
    for given in (frame, tmp_path / "a.parquet", tmp_path / "a.csv"):
        np.testing.assert_array_equal(read_sequences(given).scores, scores)


def test_headers_of_fasta_have_the_usual_names_of_columns(tmp_path):
    text = ">a signal=2.5 target=TF1\nACGT\n>b\nACGA\n>c Signal=0\nACGC\n"
    found = read_sequences(write(tmp_path, "a.fa", text))
    np.testing.assert_array_equal(found.scores, [2.5, np.nan, 0])
    text = ">a signal=2 score=1\nACGT\n>b signal=3\nACGA\n"
    np.testing.assert_array_equal(read_sequences(write(tmp_path, "a.fa", text)).scores, [1, np.nan])
    with pytest.raises(DataError, match=r"'signal' and 'value' in the headers may each be the"):
        read_sequences(write(tmp_path, "a.fa", ">a signal=2 value=1\nACGT\n"))


def test_fasta_comes_back_to_the_bit(tmp_path):
    letters = tuple(
        "".join(np.random.default_rng(k).choice([*"ACGT"], 1 + 61 * k)) for k in range(4)
    )
    scores = np.random.default_rng(9).normal(size=4)
    write_fasta(tmp_path / "x.fasta", Sequences(("a b", "c", "d", "e"), letters, scores))
    found = read_sequences(tmp_path / "x.fasta")
    assert found.names == ("a_b", "c", "d", "e")
    assert found.letters == letters
    assert found.scores.tolist() == scores.tolist()
    assert max(map(len, (tmp_path / "x.fasta").read_text().splitlines())) == 60
    write_fasta(tmp_path / "x.fasta", list(letters))
    assert read_sequences(tmp_path / "x.fasta").names == ("1", "2", "3", "4")


def test_fasta_of_holes_without_names_and_gzipped(tmp_path):
    given = Sequences(("a", "", " "), ("ACGT", "AC", "GT"), np.array([1.0, np.nan, 3.0]))
    write_fasta(tmp_path / "x.fasta", given)
    write_fasta(tmp_path / "x.fasta.gz", given)
    assert gzip.decompress((tmp_path / "x.fasta.gz").read_bytes()) == (
        (tmp_path / "x.fasta").read_bytes()
    )
    for file in ("x.fasta", "x.fasta.gz"):
        found = read_sequences(tmp_path / file)
        assert (found.names, found.letters) == (("a", "2", "3"), given.letters)
        np.testing.assert_array_equal(found.scores, given.scores)
    # Nothing measured at all is read as such, for who needs scores to say.
    write_fasta(tmp_path / "x.fasta", given._replace(scores=np.full(3, np.nan)))
    assert np.isnan(read_sequences(tmp_path / "x.fasta").scores).all()


MIXED = "sequence,score\nACGT,1\nACGN,2\nACRT,3\nACCC,4\n"


def test_letters_that_stand_for_several(tmp_path):
    file = write(tmp_path, "a.csv", MIXED)
    with pytest.raises(DataError, match="2 bad rows") as error:
        read_sequences(file)
    assert "line 3: letter 4 is 'N', which 'ACGT' has not. It stands for A, C, G, T: " in str(
        error.value
    )
    dropped = read_sequences(file, ambiguous="drop")
    assert dropped.letters == ("ACGT", "ACCC")
    assert dropped.scores.tolist() == [1, 4]
    assert dropped.rows == (2, 5)
    assert dropped.left_out.keys() == {3, 4}
    assert "2 of 4 sequences were left out. Line 3: letter 4 is 'N'" in (
        dropped.describe_left_out()
    )
    assert read_sequences(file, ambiguous="average").letters[1:3] == ("ACGN", "ACRT")
    assert read_sequences(file, ambiguous="average").describe_left_out() == ""


def test_what_no_letter_stands_for_is_an_error_whatever_is_asked(tmp_path):
    file = write(tmp_path, "a.csv", "sequence\nACGT\nAC-T\n")
    for ambiguous in ("error", "drop", "average"):
        with pytest.raises(DataError, match="line 3: letter 3 is '-'"):
            read_sequences(file, ambiguous=ambiguous)
    assert read_sequences(file, alphabet="ACGT-").letters == ("ACGT", "AC-T")


@pytest.mark.parametrize(
    ("name", "text", "settings", "line", "message"),
    [
        ("a.csv", "sequence,score\nACGT,high\nACGT,2\n", {}, 2, "expected a number in column 'sco"),
        ("a.csv", "sequence,y\nA,\nC,NA\n", {"score": "y"}, None, "measured: column 'y' has no"),
        ("a.csv", "sequence,score\nACGT,inf\nACGT,2\n", {}, 2, "expected a number"),
        ("a.csv", "sequence,score\n,1\nACGT,2\n", {}, 2, "the sequence is empty; take it out"),
        ("a.csv", "sequence,name\nACGT,\n", {}, 2, "the cell in column 'name' is empty"),
        ("a.csv", "sequence,score\nACGT\n", {}, 2, "expected 2 cells, got 1"),
        ("a.csv", "sequence\n", {}, None, "there is none that can be used"),
        ("a.csv", "text,score\nACGT,1\n", {}, None, "for the sequence; which is it: sequence="),
        ("a.csv", "sequence,score\nACGT,1\n", {"score": "scor"}, None, "did you mean 'score'"),
        ("a.csv", "seq,dna\nAC,GT\n", {}, None, "may each be the sequence; say sequence="),
        ("a.csv", "sequence,s\nA,1\n", {"score": "sequence"}, None, "is named for sequence"),
        ("a.csv", "", {}, None, "the file is empty"),
        ("a.fa", ">a score=x\nACGT\n>b score=2\nAC\n", {}, 1, "a number as score=number"),
        ("a.fa", ">a 1\nACGT\n>b 2\nAC\n", {"score": "k"}, None, "no header has k=number.*'last'"),
        ("a.fa", ">a k=1\nACGT\n>b k=x\nAC\n", {"score": "k"}, 3, "a number as k=number"),
        ("a.fa", ">a y=1\nACGT\n>b y=inf\nAC\n", {}, 3, "a number as y=number in the header; g"),
        ("a.fa", ">a k=NA\nACGT\n>b\nAC\n", {"score": "k"}, None, "no header has k=number"),
        ("a.fa", ">a one\nACGT\n", {"score": "last"}, 1, "as the header's last word; got 'one'"),
        ("a.fa", ">a\nACGT\n>b\n\n>c\nAC\n", {}, 3, "the sequence is empty"),
        ("a.fa", ">a\nACGT\n>b\nACXT\n", {}, 3, "letter 3 is 'X'"),
        ("a.fa", ">a\nACGU\n", {}, 1, "RNA has U where DNA has T: name the alphabet"),
        ("a.fa", ">a\nACGT\n", {"sequence": "s"}, None, "has no columns; leave out sequence="),
        ("a.fa", ">a\nMKVL\n", {}, 1, "a protein: name the alphabet, alphabet='ACDEFGHIKLM"),
        ("a.xlsx", "x", {}, None, "is a spreadsheet; save the sheet as CSV"),
        ("a.parquet", "x", {}, None, "cannot be read as Parquet"),
    ],
)  # fmt: skip
def test_bad_files_are_told_by_line_with_a_remedy(tmp_path, name, text, settings, line, message):
    with pytest.raises(DataError, match=message) as error:
        read_sequences(write(tmp_path, name, text), **settings)
    assert error.value.line == line
    assert str(tmp_path / name) in str(error.value)


def test_bytes_of_parquet_are_no_letters(tmp_path):
    pd.DataFrame({"sequence": [b"ACGT"]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="column 'sequence' holds bytes; write it as text"):
        read_sequences(tmp_path / "a.parquet")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_sequences(tmp_path / "none.fa")
    (tmp_path / "a.fa").write_bytes(b">a\n\xff\xfe\n")
    with pytest.raises(DataError, match="expected text in UTF-8"):
        read_sequences(tmp_path / "a.fa")
    whole = gzip.compress(b">a\n" + b"ACGT" * 1000)
    for damaged in (b"no gzip", whole[: len(whole) // 2]):
        (tmp_path / "a.fa.gz").write_bytes(damaged)
        with pytest.raises(DataError, match="cannot be read: "):
            read_sequences(tmp_path / "a.fa.gz")


def test_wrong_arguments(tmp_path):
    file = write(tmp_path, "a.csv", MIXED)
    with pytest.raises(ValueError, match="`ambiguous` must be one of error, drop, average"):
        read_sequences(file, ambiguous="skip")
    with pytest.raises(ValueError, match="`alphabet` must be letters"):
        read_sequences(file, alphabet="")
    with pytest.raises(ValueError, match="`alphabet` must be capital letters; got 'acgt'"):
        read_sequences(file, alphabet="acgt")
    with pytest.raises(TypeError, match="from the path of a file or from a data frame, got list"):
        read_sequences(["ACGT"])
    with pytest.raises(ValueError, match="at least one string"):
        write_fasta(tmp_path / "x", [])
    with pytest.raises(ValueError, match="number 2 has none"):
        write_fasta(tmp_path / "x", ["A", ""])
    given = Sequences(("a", "b"), ("A", "C"), np.array([1.0, np.inf]))
    with pytest.raises(ValueError, match=r"finite scores, or NaN .* number 2 is inf"):
        write_fasta(tmp_path / "x", given)
    with pytest.raises(ValueError, match=r"a score for each of 2; theirs have the shape \(1,\)"):
        write_fasta(tmp_path / "x", given._replace(scores=np.ones(1)))
    with pytest.raises(ValueError, match="a name for each of 2; has 1"):
        write_fasta(tmp_path / "x", given._replace(names=("a",)))
    assert not (tmp_path / "x").exists()


def test_without_biopython_the_install_line_is_told(tmp_path, monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.partition(".")[0] == "Bio"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "Bio", None)
    with pytest.raises(ImportError, match=r"pip install 'pullback\[dna\]'"):
        read_sequences(write(tmp_path, "a.fa", ">a\nACGT\n"))


def test_scores_and_names_that_are_not_wanted_are_not_read(tmp_path):
    table = tmp_path / "two.csv"
    table.write_text("sequence,signal,intensity,id,probe_id\nACGT,high,2,,b\nGGGG,,,,b\n")
    found = read_sequences(table, score="", name="")
    assert found.letters == ("ACGT", "GGGG")
    assert (found.names, found.scores) == (("1", "2"), None)
    fasta = tmp_path / "one.fasta"
    fasta.write_text(">a score=high\nACGT\n")
    found = read_sequences(fasta, score="", name="")
    assert (found.names, found.letters, found.scores) == (("a",), ("ACGT",), None)
