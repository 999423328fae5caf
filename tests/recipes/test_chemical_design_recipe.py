"""The recipe `chemical-design`: its own arithmetic."""

import dataclasses

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import QED, AllChem, Crippen

from pullback.data import Molecules as Read
from pullback.data import Vocabulary
from pullback.recipes.chemical_design import Config, measure, models, molnet
from pullback.recipes.chemical_design.models import Fitted, Molecules


def test_a_linear_property_is_explained_and_noise_is_not():
    rng = np.random.default_rng(0)
    train, test = rng.standard_normal((200, 3)), rng.standard_normal((100, 3))
    rows = lambda codes: np.stack(
        [codes @ [1.0, -2.0, 0.5] + 3, rng.standard_normal(len(codes))], 1
    )
    found = measure.explained(
        Fitted(None, None, train, test), Molecules([], [], rows(train), rows(test))
    )
    np.testing.assert_allclose(found[0], 1, atol=1e-9)
    assert found[1] < 0.1


def test_errors_are_means_of_each_column():
    np.testing.assert_allclose(measure.off(np.zeros((2, 2)), np.array([[1, -2], [3, 6]])), [2, 4])


def test_the_main_axes_are_those_along_which_codes_vary_most():
    rng = np.random.default_rng(1)
    codes = 5 + rng.standard_normal((400, 3)) * [0.1, 3.0, 1.0]
    found = measure.main_axes(codes)
    assert abs(np.corrcoef(found[:, 0], codes[:, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(found[:, 1], codes[:, 2])[0, 1]) > 0.99
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-9)


def test_strings_come_back_as_molecules_and_not_as_spellings():
    found = ["OCC", "", "C1CC", "CCC", "CCO"]
    assert measure.same(found, ["CCO", "C", "C", "CC", "CCO"]) == pytest.approx(2 / 5)


def test_nothing_is_no_molecule_and_adds_to_no_mean():
    found = ["CCO", "", "C1CC", "c1ccccc1", "C(C)(C)(C)(C)C"]
    share, mean = measure.judged(found)
    want = np.mean([QED.qed(Chem.MolFromSmiles(each)) for each in ("CCO", "c1ccccc1")])
    assert share == pytest.approx(2 / 5)
    assert mean == pytest.approx(want, rel=1e-6)
    assert measure.judged(["", "C1"]) == (0, 0)


def test_paths_end_where_they_should_and_rise():
    rng = np.random.default_rng(2)
    codes = (2 + rng.standard_normal((300, 4)) * [1, 2, 3, 4]).astype(np.float32)
    white = (codes - codes.mean(axis=0)) / codes.std(axis=0)
    values = white @ np.array([1.0, -1.0, 0.0, 0.0])
    fit = Fitted(None, None, codes, codes)
    found = measure.paths(
        fit, values, (0.5, 1.5), points=100, starts=20, step=0.25, seed=0,
    )  # fmt: skip
    assert list(found) == ["start", "ascent 0.5", "random 0.5", "ascent 1.5", "random 1.5"]
    again = lambda name: (found[name] - codes.mean(axis=0)) / codes.std(axis=0)
    value = lambda name: again(name) @ np.array([1.0, -1.0, 0.0, 0.0])
    assert value("start").max() <= np.quantile(values, 0.1) + 1e-5
    for length in (0.5, 1.5):
        away = np.linalg.norm(again(f"random {length}") - again("start"), axis=1)
        np.testing.assert_allclose(away, length, rtol=1e-4)
        # A straight way up gains the length times the slope, the square root of 2.
        gain = value(f"ascent {length}") - value("start")
        np.testing.assert_allclose(gain, length * 2**0.5, rtol=0.1)
    assert abs(np.mean(value("random 1.5") - value("start"))) < 4 * 1.5 / 20**0.5


def test_what_selfies_cannot_write_is_left_out():
    smiles = ("CCO", "CCC", "F[P-](F)(F)(F)(F)F", "CC", "O=I(=O)O")
    read = Read(tuple("abcde"), smiles, {"of": np.arange(5.0)})
    found = models.writable(read)
    refused = Vocabulary.from_strings(smiles, "selfies", skip_invalid=True).problems(smiles)
    assert refused
    assert found.smiles == tuple(each for at, each in enumerate(smiles) if at not in refused)
    assert len(found.properties["of"]) == len(found.smiles)


def test_held_out_molecules_are_others_and_seeds_choose_them():
    smiles = [str(number) for number in range(30)]
    train, test = models.split(smiles, 10, 0)
    assert (len(train), len(test)) == (20, 10)
    assert {*train, *test} == {*smiles}
    assert models.split(smiles, 10, 1) != (train, test)
    with pytest.raises(ValueError, match="test must be below 30, got 30"):
        models.split(smiles, 30, 0)


def test_repeated_measurements_are_averaged_and_long_molecules_left_out(monkeypatch):
    read = Read(("1", "2", "3"), ("CCO", "CCCCCCC", "CCO"), {"measured": np.array([1.0, 2.0, 4.0])})
    monkeypatch.setattr(molnet, "molnet", lambda name, folder: read)
    assert molnet.measured("esol", 5, None) == {"CCO": 2.5}


def test_held_out_molecules_are_in_no_training_row_and_what_is_not_known_is_nan():
    known = {"esol": {"CCO": 1.0, "CCN": 2.0}, "lipo": {"CCO": 3.0, "CCF": 4.0, "CCC": 5.0}}
    parts = {"esol": (["CCO"], ["CCN"]), "lipo": (["CCO", "CCF"], ["CCC"])}
    found = molnet.pool(known, parts, ["CCC", "CCBr", "CCN"])
    assert found.train == ["CCBr", "CCF", "CCO"]
    assert found.test == ["CCC", "CCN"]
    np.testing.assert_array_equal(found.y_train[:, :2], [[np.nan, np.nan], [np.nan, 4], [1, 3]])
    assert found.y_train[2, 2] == pytest.approx(Crippen.MolLogP(Chem.MolFromSmiles("CCO")))


def test_parts_of_measured_molecules_are_whole_and_apart():
    molecules = [str(number) for number in range(10)]
    train, test = molnet.held_out(molecules, 0.2, np.random.default_rng(0))
    assert len(test) == 2
    assert sorted([*train, *test], key=int) == molecules


def test_fingerprints_are_those_of_rdkit():
    found = molnet.fingerprints(["CCO", "c1ccccc1O"])
    for row, smiles in zip(found, ("CCO", "c1ccccc1O"), strict=True):
        bits = AllChem.GetHashedMorganFingerprint(Chem.MolFromSmiles(smiles), 2, 2048)
        assert {*np.flatnonzero(row)} == {*bits.GetNonzeroElements()}
        assert {*np.unique(row)} == {0, 1}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lengths": (3.0, 1.5)}, "lengths must be 1 or more numbers that rise, above 0"),
        ({"step": 2.0}, "step must be at most 1.5, got 2.0"),
        ({"latent": 0}, "latent must be at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(Config(), **wrong)
