"""Letters as rows of zeros and ones, and the other strand."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from Bio.Seq import Seq

from pullback.data import DataError, Sequences, from_one_hot, one_hot, reverse_complement

IUPAC = "ACGTRYSWKMBDHVN"


def test_by_hand():
    x = one_hot(["GAT", "CCA"])
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, np.eye(4)[[[2, 0, 3], [1, 1, 0]]])
    np.testing.assert_array_equal(one_hot(["BA"], "AB"), [[[0, 1], [1, 0]]])


@pytest.mark.parametrize("alphabet", ["ACGT", "TGCA", "ACGU", "ACDEFGHIKLMNPQRSTVWY", "ACGT*"])
def test_round_trip(alphabet):
    codes = np.random.default_rng(0).integers(0, len(alphabet), (50, 17))
    strings = ["".join(alphabet[code] for code in row) for row in codes]
    x = one_hot(strings, alphabet)
    np.testing.assert_array_equal(x.argmax(-1), codes)
    assert from_one_hot(x, alphabet) == strings
    assert from_one_hot(jnp.asarray(x), alphabet) == strings


def test_letters_that_stand_for_several_are_averaged():
    from Bio.Data.IUPACData import ambiguous_dna_values

    x = one_hot([IUPAC], ambiguous="average")[0]
    for row, letter in zip(x, IUPAC, strict=True):
        those = ambiguous_dna_values[letter]
        np.testing.assert_array_equal(row, np.float32([(c in those) / len(those) for c in "ACGT"]))
    rna = one_hot(["UY"], "ACGU", ambiguous="average")[0]
    np.testing.assert_array_equal(rna, [[0, 0, 0, 1], [0, 0.5, 0, 0.5]])


def test_the_other_strand_is_that_of_biopython():
    strings = ["".join(np.random.default_rng(k).choice([*IUPAC], 12)) for k in range(20)]
    strings += [each.lower() for each in strings]
    found = reverse_complement(strings)
    assert found == [str(Seq(each).reverse_complement()) for each in strings]
    assert reverse_complement(found) == strings
    assert reverse_complement(["ACGU", "GAAU"]) == ["ACGU", "AUUC"]
    assert reverse_complement(FILE) == ["CGT", "ACGT", "CNT"]
    assert reverse_complement([]) == []
    assert reverse_complement(["ACGU"]) == [str(Seq("ACGU").reverse_complement_rna())]


FILE = Sequences(("a", "b", "c"), ("ACG", "ACGT", "ANG"), None, "probes.csv", (2, 3, 4))


@pytest.mark.parametrize(
    ("strings", "settings", "messages"),
    [
        (["AC", "AX"], {}, ["string 2: letter 2 is 'X', which 'ACGT' has not."]),
        (["ac"], {}, ["letter 1 is 'a'", "Write capital letters."]),
        (["AU"], {}, ["letter 2 is 'U'", "RNA has U where DNA has T"]),
        (["AN"], {}, ["'N'", "It stands for A, C, G, T: ambiguous='average'"]),
        (["AЖ"], {}, ["letter 2 is 'Ж'"]),
        (
            ["AU"],
            {},
            ["name the alphabet, alphabet='ACGU' (where a model is fitted, --alphabet AC"],
        ),
        (["AT"], {"alphabet": "ACGU"}, ["letter 2 is 'T'", "alphabet='ACGT'"]),
        (["AMKLV"], {}, ["'M'", "a protein: name the alphabet, alphabet='ACDEFGHIKLMNPQRSTVWY'"]),
        (["MKLV"], {"alphabet": "AC"}, ["letter 1 is 'M', which 'AC' has not."]),
        (["AX"], {"ambiguous": "average"}, ["letter 2 is 'X'"]),
        (["AC", "AC", "ACG"], {}, ["string 3: has 3 letters, and most have 2; cut it, pad it"]),
        (["", ""], {}, ["string 1: has no letters."]),
        (FILE, {}, ["probes.csv", "line 3: has 4 letters"]),
        (FILE.take([0, 2]), {}, ["probes.csv", "line 4: letter 2 is 'N'"]),
        (["X"] * 25, {}, ["25 bad rows:", "strings 1, 2, 3 and 22 more: letter 1 is 'X'"]),
        (["A" * k + "X" for k in range(25)], {}, ["24 bad rows; the first 20 are", "string 20: "]),
    ],
)
def test_what_does_not_fit_is_told_by_line(strings, settings, messages):
    with pytest.raises(DataError) as error:
        one_hot(strings, **settings)
    for message in messages:
        assert message in str(error.value)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: one_hot("ACGT"), TypeError, "several strings, got one"),
        (lambda: one_hot([]), ValueError, "at least one string"),
        (lambda: one_hot(["A"], "AA"), ValueError, "each of them once"),
        (lambda: one_hot(["A"], ambiguous="drop"), ValueError, "one of error, average; got 'drop'"),
        (lambda: one_hot(["A"], "AB", ambiguous="average"), ValueError, "must be 'error' with"),
        (lambda: one_hot(["Ж"], "Ж"), ValueError, "Latin letters"),
        (lambda: from_one_hot(np.zeros((3, 4))), ValueError, "write x.None."),
        (lambda: from_one_hot(np.zeros((1, 3, 5))), ValueError, "letters 'ACGT'; got .1, 3, 5."),
        (lambda: from_one_hot(np.full((2, 1, 4), np.nan)), ValueError, "NaN, and has one in row 0"),
        (lambda: from_one_hot(np.array([["AC"]])), TypeError, "`x` must be real numbers, got <U2"),
        (lambda: jax.jit(from_one_hot)(np.zeros((1, 3, 4))), TypeError, "outside of jit"),
        (lambda: reverse_complement([3]), TypeError, "number 1 is of type int"),
        (lambda: reverse_complement(3), TypeError, "several strings, got int"),
        (lambda: reverse_complement("ACGT"), TypeError, "several strings, got one"),
        (lambda: reverse_complement(["AC", "A-"]), ValueError, "string 2 has '-', which pairs"),
    ],
)
def test_wrong_arguments(call, error, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(error, match=message):
        call()
