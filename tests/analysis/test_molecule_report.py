"""What RDKit computes of molecules, and how good a sample of them is."""

import sys

import jaxtyping
import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import AllChem

from pullback.analysis import molecule_properties, molecule_report
from pullback.data import nci_molecules, read_molecules

FIRST_OF_ZINC = "CC(C)(C)c1ccc2occ(CC(=O)Nc3ccccc3F)c2c1"


@pytest.fixture(scope="module")
def sample():
    smiles = nci_molecules().smiles
    return [*smiles[:60], *smiles[:20], "C1CC", "", "CC(C)(C)(C)C"], list(smiles[40:140])


def test_properties_as_published():
    found = molecule_properties([FIRST_OF_ZINC, "C1CC", "", "CC(C)(C)(C)C"])
    assert list(found) == ["logP", "QED", "SAS"]
    assert found["logP"][0] == pytest.approx(5.0506, abs=1e-10)
    assert found["SAS"][0] == pytest.approx(2.0840945720726807, abs=1e-10)
    assert found["QED"][0] == pytest.approx(0.731901, abs=1e-6)
    for values in found.values():
        assert values.dtype == np.float64
        assert np.isnan(values[1:]).all()
    # Benzene by hand: six aromatic carbons of 0.1581 and six hydrogens of 0.123.
    assert molecule_properties(["c1ccccc1"], ["logP"])["logP"][0] == pytest.approx(
        6 * 0.1581 + 6 * 0.123, abs=1e-10
    )
    assert molecule_properties([], ["QED"])["QED"].shape == (0,)


def test_strange_molecules_have_numbers_too(capfd):
    strange = ["[H][H]", "[Na+]", "[He]", "*", "[2H]O[2H]", "CC.CC", "[U]"]
    assert all(np.isfinite(v).all() for v in molecule_properties(strange).values())
    molecule_properties(["C1CC", "F(F)F"])
    assert capfd.readouterr().err == ""


def test_the_report_counts_as_loops_do(sample):
    drawn, reference = sample
    found = molecule_report(drawn, reference)
    assert found.drawn == 83
    assert found.valid == 80 / 83
    assert found.empty == 1 / 83
    assert found.unique == 60 / 80
    assert found.novel == 40 / 60
    assert found.smiles == tuple(drawn[:60])
    prints = {
        each: AllChem.GetMorganGenerator(radius=2, fpSize=1024).GetFingerprint(
            Chem.MolFromSmiles(each)
        )
        for each in {*found.smiles, *reference}
    }
    like = lambda a, b: DataStructs.TanimotoSimilarity(prints[a], prints[b])
    pairs = [like(a, b) for a in found.smiles for b in found.smiles if a != b]
    assert found.diversity == pytest.approx(1 - np.mean(pairs), abs=1e-6)
    nearest = [max(like(a, b) for b in reference) for a in found.smiles]
    assert found.nearest == pytest.approx(np.mean(nearest), abs=1e-6)
    for name, values in molecule_properties(drawn[:60]).items():
        np.testing.assert_array_equal(found.properties[name], values)
        expected = molecule_properties(reference, [name])[name]
        np.testing.assert_array_equal(found.reference[name], expected)
        grid = np.linspace(
            min(values.min(), expected.min()), max(values.max(), expected.max()), 9**5
        )
        apart = [np.searchsorted(np.sort(v), grid, "right") / len(v) for v in (values, expected)]
        distance = np.abs(apart[0] - apart[1]).mean() * (grid[-1] - grid[0])
        assert found.distance[name] == pytest.approx(distance, rel=1e-3)


def test_the_same_molecule_written_otherwise_is_the_same():
    found = molecule_report(["OCC", "C(O)C", "CCO"], ["C(C)O", "C"])
    assert (found.valid, found.unique, found.novel, found.nearest) == (1, 1 / 3, 0, 1)
    hands = molecule_report(["C[C@H](N)O", "C[C@@H](N)O"], ["C[C@H](N)O"])
    assert (hands.unique, hands.novel) == (1, 0.5)


def test_alerts():
    # An azide, which is on Brenk's list alone; a Mannich base, on that of PAINS; two on neither.
    found = molecule_report(["CN=[N+]=[N-]", "Oc1ccccc1CN1CCCCC1", "CCO", "CCN"], ["C"])
    assert found.alerts == 0.5
    counts = molecule_properties(["CN=[N+]=[N-]", "Oc1ccccc1CN1CCCCC1", "CCO", "x"], ["alerts"])
    np.testing.assert_array_equal(counts["alerts"] > 0, [True, True, False, False])
    assert np.isnan(counts["alerts"][3])


def test_nothing_that_is_a_molecule():
    found = molecule_report(["", "C1CC", "x"], ["C"])
    assert (found.valid, found.empty) == (0, 1 / 3)
    for share in (found.unique, found.novel, found.diversity, found.nearest, found.alerts):
        assert np.isnan(share)
    assert np.isnan(found.distance["QED"])
    assert [name for name, _ in found.rows()][:3] == ["valid", "empty", "unique"]
    one = molecule_report(["C"], ["CC"])
    assert np.isnan(one.diversity)
    assert one.nearest == 0


def test_molecules_and_generators_are_taken(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    smiles = ["CCO", "CCN", "c1ccccc1"]
    found = molecule_report(read_molecules(smiles), read_molecules(["CCO"]))
    np.testing.assert_equal(found.rows(), molecule_report(smiles, ["CCO"]).rows())
    assert molecule_report((each for each in smiles), (each for each in ["CCO"])).drawn == 3
    for given in (read_molecules(smiles), (each for each in smiles)):
        np.testing.assert_array_equal(
            molecule_properties(given, ["logP"])["logP"],
            molecule_properties(smiles, ["logP"])["logP"],
        )


def test_similarities_of_the_first_alone():
    few = molecule_report(["CCO", "CCN", "c1ccccc1"], ["CCO", "C", "CCN"], most=2)
    assert few.diversity == molecule_report(["CCO", "CCN"], ["C"]).diversity
    assert few.unique == 1
    assert few.novel == pytest.approx(1 / 3)
    assert few.reference["QED"].shape == (2,)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: molecule_properties("CC"), TypeError, "several strings, got one|smiles"),
        (lambda: molecule_properties([None]), TypeError, "number 1 is of type NoneType"),
        (lambda: molecule_properties(["C", 3]), TypeError, "number 2 is of type int"),
        (lambda: molecule_properties(3), TypeError, "several strings, got int"),
        (lambda: molecule_report(["C"], [3]), TypeError, "`reference` must hold strings; number 1"),
        (lambda: molecule_properties(["C"], "QED"), ValueError, "`names` must be a list of names"),
        (lambda: molecule_properties(["C"], ["qed"]), ValueError, "did you mean 'QED'. There are"),
        (lambda: molecule_report([], ["C"]), ValueError, "`smiles` must hold at least one string"),
        (lambda: molecule_report(["C"], ["C1CC", ""]), ValueError, "reads none of its 2 strings"),
        (lambda: molecule_report(["C"], ["C"], most=0), ValueError, "`most` must be 1 or more"),
    ],
)
def test_wrong_arguments(call, error, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(error, match=message):
        call()


def test_without_rdkit_the_install_line_is_told(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "rdkit"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(ImportError, match=r"pip install 'pullback\[chem\]'"):
        molecule_properties(["C"])
