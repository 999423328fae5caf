"""Strings to numbers and back, of letters, SMILES and SELFIES."""

import json

import jaxtyping
import numpy as np
import pytest

from pullback.data import DataError, Molecules, Vocabulary, nci_molecules

KINDS = ("letters", "smiles_char", "smiles_atom", "selfies")


@pytest.fixture(scope="module")
def molecules():
    return nci_molecules()


@pytest.fixture(scope="module")
def some(molecules):
    """Every fourth, and those that have no SELFIES."""
    hard = [k for k, smiles in enumerate(molecules.smiles) if "[I]" in smiles]
    return molecules.take(sorted({*range(0, len(molecules.smiles), 4), *hard}))


def canonical(smiles):
    from rdkit import Chem

    return [Chem.MolToSmiles(Chem.MolFromSmiles(each)) for each in smiles]


@pytest.mark.parametrize("kind", KINDS[:3])
def test_every_molecule_comes_back_as_it_was(molecules, kind):
    vocabulary = Vocabulary.from_strings(molecules, kind)
    codes = vocabulary.encode(molecules)
    assert vocabulary.decode(codes) == list(molecules.smiles)
    assert codes.dtype == np.int32
    assert codes.shape == (len(molecules.smiles), vocabulary.max_length + 1)
    assert not codes[:, -1].any()
    assert codes.max() == vocabulary.size - 1 == len(vocabulary.tokens)
    if kind != "smiles_atom":
        assert {*vocabulary.tokens} == {*"".join(molecules.smiles)}
    else:
        assert {"Cl", "Br", "[nH]"} < {*vocabulary.tokens}
        assert "l" not in vocabulary.tokens


def test_selfies_write_the_same_molecules_and_refuse_what_they_cannot(some):
    with pytest.raises(DataError, match="2 bad rows") as error:
        Vocabulary.from_strings(some, "selfies")
    assert "SELFIES cannot write 'c1ccc2c(c1)[I]c1ccccc1-2': [[IH0] with 2 bond" in str(error.value)
    vocabulary = Vocabulary.from_strings(some, "selfies", skip_invalid=True)
    problems = vocabulary.problems(some)
    assert len(problems) == 2
    kept = some.take([k for k in range(len(some.smiles)) if k not in problems])
    assert canonical(vocabulary.decode(vocabulary.encode(kept))) == list(kept.smiles)


def test_any_sequence_of_selfies_of_common_elements_is_a_molecule(some):
    import selfies
    from rdkit import Chem

    vocabulary = Vocabulary.from_strings(some, "selfies", skip_invalid=True)
    common = selfies.get_semantic_robust_alphabet()
    numbers = [k for k, token in enumerate(vocabulary.tokens, 1) if token in common]
    codes = np.random.default_rng(0).choice(numbers, (300, 20))
    assert all(Chem.MolFromSmiles(each) is not None for each in vocabulary.decode(codes))


def test_decoding_ends_at_the_first_stop():
    vocabulary = Vocabulary.letters("AB")
    assert vocabulary.decode(np.array([[1, 2, 0, 1], [0, 1, 1, 1], [2, 2, 2, 2]])) == [
        "AB", "", "BBBB",
    ]  # fmt: skip


def test_lengths():
    vocabulary = Vocabulary.from_strings(["AB", "A"])
    assert vocabulary.max_length == 2
    assert vocabulary.encode(["A"]).tolist() == [[1, 0, 0]]
    assert vocabulary.encode(["ABBB"], length=5).tolist() == [[1, 2, 2, 2, 0]]
    assert Vocabulary.letters("AB").encode(["ABBB", "A"]).shape == (2, 5)
    assert Vocabulary.from_strings(["AB"], max_length=7).encode(["A"]).shape == (1, 8)


@pytest.mark.parametrize("kind", KINDS)
def test_json_keeps_it(kind):
    vocabulary = Vocabulary.from_strings(["CCl", "c1ccccc1"], kind, 30)
    again = Vocabulary.from_dict(json.loads(json.dumps(vocabulary.to_dict())))
    assert again == vocabulary
    assert hash(again) == hash(vocabulary)
    assert again.encode(["CCl"]).tolist() == vocabulary.encode(["CCl"]).tolist()
    with pytest.raises(ValueError, match="lacks kind"):
        Vocabulary.from_dict({"tokens": ["A"], "max_length": 3})


RECORD = Molecules(("a", "b", "c"), ("CC", "CZ", "CCCCCC"), {}, "my.smi", (4, 9, 7))


@pytest.mark.parametrize(
    ("strings", "messages"),
    [
        (["CC", "CZ"], ["`strings`: 1 bad row", "string 2: 'CZ' has 'Z', which the vocabulary la"]),
        (
            ["CCCC"],
            ["string 1: has 4 tokens, and at most 3 fit; take it out, or allow more: max_len"],
        ),
        (["", "C"], ["string 1: is empty; take it out."]),
        (RECORD, ["my.smi: 2 bad rows", "line 7: has 6 tokens", "line 9: 'CZ' has 'Z'"]),
        (["Z"] * 30, ["30 bad rows:", "strings 1, 2, 3 and 27 more: 'Z' has"]),
    ],
)
def test_what_cannot_be_encoded_is_told_by_line(strings, messages):
    vocabulary = Vocabulary("letters", ("C",), 3)
    with pytest.raises(ValueError, match="bad row") as error:
        vocabulary.encode(strings)
    for message in messages:
        assert message in str(error.value)
    assert "string 21" not in str(error.value)


def test_rows_of_any_length_are_decoded():
    vocabulary = Vocabulary.letters("AB")
    assert vocabulary.decode(np.zeros((2, 0), int)) == ["", ""]
    assert vocabulary.decode(np.zeros((0, 3), int)) == []
    assert vocabulary.decode([[1, 2], [0, 1], [2, 0]]) == ["AB", "", "B"]


def test_strings_of_another_vocabulary_are_named_by_place():
    assert Vocabulary("letters", ("C",), 3).problems(RECORD).keys() == {1, 2}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Vocabulary.letters("AA"), ValueError, "each of them once; got 'AA'"),
        (lambda: Vocabulary.letters(""), ValueError, "got ''"),
        (lambda: Vocabulary("words", ("a",)), ValueError, "`kind` must be one of letters, smiles"),
        (lambda: Vocabulary("letters", ["A"]), TypeError, "a tuple of strings; got .'A'."),
        (lambda: Vocabulary("letters", (1, 2)), TypeError, "a tuple of strings; got .1, 2."),
        (lambda: Vocabulary("letters", ("a", "")), ValueError, "`tokens` must be some"),
        (lambda: Vocabulary.letters("A", 0), ValueError, "`max_length` must be 1 or more"),
        (lambda: Vocabulary.from_strings([]), ValueError, "at least one string, got none"),
        (lambda: Vocabulary.from_strings("AB"), TypeError, "several strings, got one; write"),
        (
            lambda: Vocabulary.from_strings(["A", None]),
            TypeError,
            "number 2 is of|NoneType|strings",
        ),
        (lambda: Vocabulary.letters("A").encode(["A"], 0), ValueError, "`length` must be 1 or"),
        (lambda: Vocabulary.letters("A").encode(["A"], 1), ValueError, "at most 0 fit"),
        (lambda: Vocabulary.letters("A").decode([1]), ValueError, "write codes.None."),
        (lambda: Vocabulary.letters("A").decode([[1.0]]), ValueError, "whole numbers"),
        (lambda: Vocabulary.letters("A").decode([[2]]), ValueError, "from 0 to 1; got 2 to 2"),
        (lambda: Vocabulary.letters("A").decode([[-1]]), ValueError, "got -1 to -1"),
    ],
)
def test_wrong_arguments(call, error, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(error, match=message):
        call()


def test_without_selfies_the_install_line_is_told(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "selfies", None)
    with pytest.raises(ImportError, match=r"pip install 'pullback\[chem\]'"):
        Vocabulary.from_strings(["C"], "selfies")
