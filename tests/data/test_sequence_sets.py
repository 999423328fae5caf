"""DNA of the data folder, and files in the same format that are made here."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from pullback.data import DataError, jaspar, reverse_complement, splice_junctions, uniprobe

DATA = Path(os.environ.get("PULLBACK_DATA", "nowhere"))


def here(name):
    return pytest.mark.skipif(
        not (DATA / name).exists(), reason=f"PULLBACK_DATA has no folder {name}"
    )


def write_array(folder, name="Cebpa", **changes):
    generator = np.random.default_rng(0)
    arrays = {
        "seq": generator.integers(0, 4, (5, 36)).astype(np.uint8),
        "intensity": np.arange(5, dtype=np.float32),
        "kmer": np.array([[0] * 8, [0, 1, 2, 3] * 2, [2, 0] * 4], np.uint8),
        "kmer_escore": np.array([0.1, 0.2, 0.3], np.float32),
    }
    np.savez(folder / f"{name}.npz", **{**arrays, **changes})
    return arrays


def test_a_binding_array(tmp_path):
    arrays = write_array(tmp_path)
    found = uniprobe("Cebpa", folder=tmp_path)
    assert found.probes.letters[0] == "".join("ACGT"[code] for code in arrays["seq"][0])
    assert found.probes.scores.tolist() == [0, 1, 2, 3, 4]
    assert found.kmers.letters == ("AAAAAAAA", "ACGTACGT", "GAGAGAGA")
    # The words themselves, the other strand of one, the best of two.
    np.testing.assert_allclose(
        found.e_score(["AAAAAAAA", "TCTCTCTC", "AAAAAAAACGTACGT"]), [0.1, 0.3, 0.2], rtol=1e-6
    )
    with pytest.raises(ValueError, match="at least 8 letters; got 'ACG'"):
        found.e_score(["AAAAAAAA", "ACG"])
    with pytest.raises(ValueError, match="of ACGT, with at least 8 letters; got 'ACGTNACGT'"):
        found.e_score(["ACGTNACGT"])
    write_array(tmp_path, "Etv4")
    with pytest.raises(ValueError, match="published of Cebpa, Cebpb, Gata4 alone"):
        uniprobe("Etv4", folder=tmp_path).e_score(["ACGTACGT"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seq": np.zeros((5, 35), np.uint8)}, "expected seq of shape n x 36"),
        ({"seq": np.full((5, 36), 4, np.uint8)}, "of 0 to 3 for A, C, G and T"),
        ({"intensity": np.zeros(4)}, "as many scores as sequences"),
    ],
)
def test_damaged_arrays(tmp_path, changes, message):
    write_array(tmp_path, **changes)
    with pytest.raises(DataError, match=message):
        uniprobe("Cebpa", folder=tmp_path)
    with pytest.raises(DataError, match="not found"):
        uniprobe("Gata4", folder=tmp_path)
    with pytest.raises(ValueError, match="`name` must be one of Cebpa, Cebpb"):
        uniprobe("Max", folder=tmp_path)


def test_motifs_have_their_names_apart(tmp_path):
    text = (
        ">MA0004.1_MA0004.1.Arnt\n4 16 0 0\n>MA0006.1_MA0006.1.Ahr::Arnt\n3 8 2 11\n>x\n1 1 1 1\n"
    )
    (tmp_path / "JASPAR2022_vertebrates.pfm.gz").write_bytes(gzip.compress(text.encode()))
    found = jaspar(folder=tmp_path)
    assert [(m.identifier, m.name) for m in found] == [
        ("MA0004.1", "Arnt"), ("MA0006.1", "Ahr::Arnt"), ("x", "x"),
    ]  # fmt: skip
    for name in ("arnt", "Arnt", "ma0004.1"):
        assert [m.identifier for m in jaspar(name, folder=tmp_path)] == ["MA0004.1"]
    with pytest.raises(ValueError, match=r"no motif of 'Ahrr::Arnt'.*did you mean 'Ahr::Arnt'"):
        jaspar("Ahrr::Arnt", folder=tmp_path)
    with pytest.raises(TypeError, match=r"`name` must be a string|parameter 'name'"):
        jaspar(3, folder=tmp_path)
    with pytest.raises(ValueError, match="`taxa` must be one of all, vertebrates"):
        jaspar(taxa="plants", folder=tmp_path)


def test_splice_junctions(tmp_path):
    good = "ACGT" * 15
    (tmp_path / "splice.data").write_text(
        f"EI,  one,   {good}\nN, two,  {good[:-1]}N\nIE,three,{good}\n"
    )
    found = splice_junctions(folder=tmp_path)
    assert (found.kinds, found.sequences.names) == (("EI", "IE"), ("one", "three"))
    assert found.sequences.rows == (1, 3)
    assert found.sequences.left_out[2].startswith("letter 60 is 'N'")
    assert splice_junctions(ambiguous="average", folder=tmp_path).kinds == ("EI", "N", "IE")
    with pytest.raises(ValueError, match="`ambiguous` must be one of drop, average"):
        splice_junctions(ambiguous="error", folder=tmp_path)
    for line in (f"EE,a,{good}", f"EI,a,{good}A", "EI,a", f"EI,a,{good[:-1]}X"):
        (tmp_path / "splice.data").write_text(f"EI,one,{good}\n{line}\n")
        with pytest.raises(DataError, match=r"line 2: (expected EI|letter 60 is 'X')"):
            splice_junctions(folder=tmp_path)


@here("uniprobe_pbm")
def test_the_published_arrays():
    found = uniprobe("Cebpa")
    assert len(found.probes.letters) == 41_937
    assert len(found.kmers.letters) == 32_896
    assert found.e_score(["TTTTTTGCGCAATTTT"])[0] > 0.49
    known = np.array(["TTGCGCAA" in each for each in found.probes.letters])
    assert np.median(found.probes.scores[known]) == pytest.approx(35_332, rel=1e-3)
    assert np.median(found.probes.scores[~known]) == pytest.approx(285, rel=2e-3)
    letters = found.probes.letters[:50]
    np.testing.assert_array_equal(
        found.e_score(letters), found.e_score(reverse_complement(letters))
    )


@here("jaspar")
def test_the_published_motifs():
    assert len(jaspar()) == 838
    assert len(jaspar(taxa="all")) == 1997
    (motif,) = jaspar("Arnt")
    assert motif.counts.tolist()[:2] == [[4, 16, 0, 0], [19, 0, 1, 0]]
    assert {each.counts.shape[1] for each in jaspar()} == {4}


@here("splice_junction")
def test_the_published_junctions():
    found = splice_junctions(ambiguous="average")
    assert [found.kinds.count(kind) for kind in ("EI", "IE", "N")] == [767, 768, 1655]
    donors = [s for s, k in zip(found.sequences.letters, found.kinds, strict=True) if k == "EI"]
    assert np.mean([each[30:32] == "GT" for each in donors]) > 0.98
