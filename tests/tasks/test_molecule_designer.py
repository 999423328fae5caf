"""A designer of molecules: designs that are what it says of them, saved and read, and refusals."""

import copy
import sys

import jax
import numpy as np
import pandas as pd
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import QED, Crippen, rdFingerprintGenerator
from sklearn.linear_model import RidgeCV
from sklearn.utils import check_random_state

from pullback import data, tasks
from pullback.cli._fit_molecules import COMPUTED as FLAGGED
from pullback.tasks import _molecule_nets
from pullback.tasks._molecule_checks import checks, told
from pullback.tasks._molecule_chemistry import canonical, drawn, fingerprints, nearest
from pullback.tasks._molecule_input import COMPUTED, Reading, read, split, writable
from pullback.tasks._molecule_judge import _ALPHAS, MEAN, NET, PROCESS, RIDGE
from pullback.tasks._molecule_search import at_random, goal_of, starts_of

SMILES = data.nci_molecules(longest=12).smiles[:140]
QUICK = {"max_steps": 3, "random_state": 0, "progress": False}


def carbons(smiles):
    return np.array([float(each.upper().count("C")) for each in smiles])


TAUGHT = {}  # what the network of `fitted` was given


@pytest.fixture(scope="module")
def fitted():
    y = carbons(SMILES)
    y[3] = np.nan
    train = _molecule_nets.train
    telling = lambda *given, **settings: (
        TAUGHT.setdefault("all", given) and train(*given, **settings)
    )
    model = tasks.MoleculeDesigner(
        properties=["carbons", "logP"], selfies=True, skip_invalid=True, **QUICK
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_molecule_nets, "train", telling)
        return model.fit(data.read_molecules(SMILES)._replace(properties={"carbons": y}))


@pytest.fixture(scope="module")
def designed(fitted):
    return fitted.design(6, property="QED", start=[SMILES[5], SMILES[9]], radius=6, random_state=0)


def test_designs_are_what_is_said_of_them(fitted, designed):
    assert len(designed.smiles) == len(set(designed.smiles)) <= 6
    assert set(designed.start) <= {SMILES[5], SMILES[9]}
    assert not set(designed.smiles) & {SMILES[5], SMILES[9]}
    make = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    prints = lambda smiles: make.GetFingerprint(Chem.MolFromSmiles(smiles))
    for place, (smiles, start) in enumerate(zip(designed.smiles, designed.start, strict=True)):
        molecule = Chem.MolFromSmiles(smiles)
        assert Chem.MolToSmiles(molecule) == smiles
        assert designed.value[place] == designed.said["QED"][place] == QED.qed(molecule)
        assert designed.said["logP"][place] == Crippen.MolLogP(molecule)
        like = DataStructs.TanimotoSimilarity(prints(smiles), prints(start))
        assert designed.similarity[place] == pytest.approx(like, abs=1e-6)
        assert designed.known[place] == (smiles in SMILES)
    assert (np.diff(designed.value) <= 0).all()
    codes = fitted.codes_
    away = (fitted.transform(designed.smiles) - fitted.transform(designed.start)) / codes.std(0)
    np.testing.assert_allclose(designed.distances, np.linalg.norm(away, axis=1), rtol=1e-3)
    assert designed.distances.max() <= 6
    predicted = fitted.predict(designed.smiles)
    np.testing.assert_allclose(designed.said["predicted_carbons"], predicted[:, 0], rtol=1e-5)
    np.testing.assert_allclose(designed.said["predicted_logP"], predicted[:, 1], rtol=1e-5)


def test_the_process_that_is_climbed_knows_the_molecules(fitted):
    found = fitted.design(4, property="carbons", start=SMILES[5], radius=6, random_state=0)
    np.testing.assert_array_equal(found.value, found.mean)
    assert (found.sd > 0).all()
    low = fitted.design(4, property="carbons", target=1, start=SMILES[5], radius=6, random_state=0)
    off = np.abs(low.value - 1)
    assert (np.diff(off) >= 0).all()
    assert "the start has" in found.notes[-2]
    assert found.name == "carbons"


def test_a_saved_model_says_the_same_to_the_bit(fitted, designed, tmp_path):
    again = tasks.load(fitted.save(tmp_path))
    np.testing.assert_array_equal(again.predict(SMILES[:4]), fitted.predict(SMILES[:4]))
    np.testing.assert_array_equal(again.codes_, fitted.codes_)
    assert again.sample(4, random_state=1) == fitted.sample(4, random_state=1)
    found = again.design(6, property="QED", start=[SMILES[5], SMILES[9]], radius=6, random_state=0)
    assert (found.smiles, found.notes) == (designed.smiles, designed.notes)
    names = "report_", "notes_", "curve_", "smiles_", "properties_", "computed_", "tokens_"
    for name in names:
        assert getattr(again, name) == getattr(fitted, name), name
    np.testing.assert_array_equal(again.targets_, fitted.targets_)


def test_the_files_of_designs_are_read_back(designed, tmp_path):
    files = designed.save(tmp_path / "new")
    assert [file.name for file in files] == ["designs.csv", "designs.sdf", "designs.png"]
    for file in files[:2]:
        found = data.read_molecules(file, properties=["distance", "QED"])
        assert found.smiles == designed.smiles
        np.testing.assert_allclose(found.properties["QED"], designed.said["QED"])
        np.testing.assert_allclose(found.properties["distance"], designed.distances)
    assert files[2].read_bytes().startswith(b"\x89PNG")
    assert list(designed.to_frame()) == [
        "name", "smiles", "start", "count", "distance", "similarity", "known", "mean_QED",
        "sd_QED", "predicted_carbons", "predicted_logP", "logP", "QED", "SAS", "alerts",
    ]  # fmt: skip


def test_there_and_back_and_from_one_to_another(fitted, tmp_path):
    z = fitted.transform(SMILES[:3])
    back = fitted.inverse_transform(z)
    assert all(canonical(each) == each for each in back)
    assert fitted.inverse_transform(z[1:]) == back[1:]
    way = fitted.interpolate(SMILES[0], SMILES[7], 5, random_state=0)
    assert (way.smiles[0], way.smiles[-1]) == (SMILES[0], SMILES[7])
    np.testing.assert_array_equal(way.part, [0, 0.25, 0.5, 0.75, 1])
    assert way.similarity[0, 0] == way.similarity[-1, 1] == 1
    files = way.save(tmp_path)
    assert [file.name for file in files] == ["interpolation.csv", "interpolation.png"]
    assert pd.read_csv(files[0]).smiles.fillna("").tolist() == list(way.smiles)
    empty = way._replace(smiles=(SMILES[0], "", SMILES[7]), part=np.array([0, 0.5, 1.0]))
    assert empty.drawing().startswith(b"\x89PNG")


def test_samples_are_molecules(fitted):
    found = fitted.sample(20, random_state=3)
    assert len(found) == 20
    assert all(canonical(each) == each for each in found)
    assert found != fitted.sample(20, random_state=4)


def test_what_is_judged_was_held_out_and_the_winner_is_named(fitted):
    report = fitted.report_
    said = report["predictions"]["carbons"]
    assert said["rows"] == len(said["measured"]) <= report["rows"]
    mean = np.mean(np.abs(np.array(said["predicted"][MEAN]) - said["measured"]))
    assert said["mae"][MEAN] == pytest.approx(mean)
    assert set(said["mae"]) == {NET, PROCESS, RIDGE, MEAN}
    assert report["valid"]["samples"] == report["sets"]["samples"]["valid"]
    ours, ridge = (np.abs(np.array(said["predicted"][w]) - said["measured"]) for w in (NET, RIDGE))
    assert said["ahead"] == pytest.approx(np.mean(ridge - ours))
    better = {**said, "ahead": 1.0, "ahead_error": 0.1, "mae": dict.fromkeys(said["mae"], 0.1)}
    better["mae"][MEAN] = 2.0
    for change, word, good in (
        ({}, "The network on the code is better than the ridge", True),
        ({"ahead": -1.0}, "The ridge is better: to predict, take it", False),
        ({"ahead": 0.1}, "Neither the network nor the ridge is better for sure", True),
        ({"mae": dict.fromkeys(said["mae"], 1.0)}, "says nothing of it", False),
    ):
        one = checks({**report, "predictions": {"carbons": {**better, **change}}}, True)[0]
        assert word in one.sentence
        assert one.good is good
    poor = {**report, "sets": {"samples": {**report["sets"]["samples"], "valid": 0.1}}}
    assert any("write them as `selfies`" in each for each in told(poor, False))
    assert "Too few different molecules" in told(None, True)[0]


def test_what_is_held_out_teaches_nothing_and_judges_all(fitted):
    train, test = split(fitted.smiles_, int(check_random_state(0).randint(2**31)))
    smiles, y = np.asarray(fitted.smiles_), fitted.targets_[:, 0]
    codes, targets = TAUGHT["all"][:2]
    taught = map(canonical, fitted.coder_.vocabulary.decode(codes))
    assert [*taught] == smiles[train].tolist()
    np.testing.assert_array_equal(targets, fitted.targets_[train])
    known, report = train[np.isfinite(y[train])], fitted.report_
    said = report["predictions"]["carbons"]
    asked = test[np.isfinite(y[test])]
    np.testing.assert_array_equal(said["measured"], y[asked])
    ridge = RidgeCV(_ALPHAS).fit(fingerprints(smiles[known].tolist()), y[known])
    told = ridge.predict(fingerprints(smiles[asked].tolist()))
    np.testing.assert_allclose(said["predicted"][RIDGE], told, rtol=1e-4)
    net = fitted.predict(smiles[asked].tolist())[:, 0]
    np.testing.assert_allclose(said["predicted"][NET], net, rtol=1e-4)
    z = fitted.coder_.encode(smiles[test].tolist())
    back = map(canonical, fitted.coder_.decode(z, temperature=0, key=jax.random.key(0)))
    same = [a == b for a, b in zip(back, smiles[test], strict=True)]
    assert report["reconstructed"] == np.mean(same)
    new = [each not in set(smiles[train]) for each in report["smiles"]]
    assert report["sets"]["samples"]["novel"] == pytest.approx(np.mean(new))
    assert report["sets"]["molecules held out"]["novel"] == 1


def test_codes_are_drawn_with_the_mean_and_the_covariance_of_others():
    random = np.random.default_rng(0)
    codes = random.normal(size=(500, 2)) @ np.array([[2.0, 1.0], [0.0, 0.5]]) + [3.0, -1.0]
    drawn = at_random(codes.astype(np.float32), 20_000, random)
    error = codes.std(axis=0) / np.sqrt(20_000)
    assert (np.abs(drawn.mean(axis=0) - codes.mean(axis=0)) <= 4 * error).all()
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(codes.T), rtol=0.06)


def test_the_best_of_the_fit_are_started_from(fitted):
    y = fitted.targets_[:, 0]
    for target in (None, 2.0):
        rank = y if target is None else -np.abs(y - target)
        starts = starts_of(fitted, None, goal_of(fitted, "carbons", target))
        found = [rank[fitted.smiles_.index(each)] for each in starts]
        np.testing.assert_array_equal(found, np.sort(rank[np.isfinite(rank)])[::-1][:20])


def test_properties_come_from_the_file_or_from_rdkit(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("smiles,logP,y\nCCO,7,1\nCCN,8,\n")
    found, computed = read(file, None, Reading(None, ("y", "logP", "QED"), None, False))
    assert computed == ["QED"]
    assert found.properties["logP"].tolist() == [7, 8]
    assert found.properties["QED"][0] == QED.qed(Chem.MolFromSmiles("CCO"))
    np.testing.assert_array_equal(found.properties["y"], [1, np.nan])
    how = Reading(None, ("y", "SAS"), None, False)
    found, computed = read(["CCO", "CCN"], np.ones((2, 1)), how)
    assert computed == ["SAS"]
    assert list(found.properties) == ["y", "SAS"]
    assert COMPUTED == FLAGGED


def test_of_another_file_columns_may_be_called_otherwise(fitted, tmp_path):
    model = copy.copy(fitted)  # as if fitted to a file with columns of these names
    model.smiles_column, model.name_column = "structure", "code"
    want = fitted.predict(["CCO", "CCN"])
    frame = pd.DataFrame({"smiles": ["CCO", "CCN"], "name": ["a", "b"]})
    (tmp_path / "a.smi").write_text("CCO\nCCN\n")
    both = frame.assign(canonical_smiles="C", id=1)  # several may each be either
    as_fitted = frame.rename(columns={"smiles": "structure", "name": "code"}).assign(smiles="C")
    for given in (frame, tmp_path / "a.smi", both, as_fitted, frame[["smiles"]], ["CCO", "CCN"]):
        np.testing.assert_allclose(model.predict(given), want, rtol=1e-6)
    named = lambda model, given: model._new(given).molecules.names
    assert named(model, frame) == named(model, both) == named(model, as_fitted) == ("a", "b")
    assert named(model, both.drop(columns="name").assign(mol_id=2)) == ("1", "2")
    for asked, called in ((model, "call it 'structure', as for the fit, or 'smiles'"),
                          (fitted, "call it 'smiles'")):  # fmt: skip
        with pytest.raises(ValueError, match=f"which column is the smiles; {called}. The columns"):
            asked.predict(frame.rename(columns={"smiles": "mine"}))
    with pytest.raises(ValueError, match="the header has the name 'smiles' twice"):
        fitted.predict(pd.concat([frame, frame], axis=1))


def test_what_repeats_is_on_one_side():
    smiles = [*SMILES, *SMILES[:40]]
    train, test = split(smiles, 0)
    assert sorted([*train, *test]) == list(range(len(smiles)))
    assert not {smiles[k] for k in train} & {smiles[k] for k in test}
    assert len(split(SMILES[:50], 0)[1]) == 0


def test_the_nearest_is_the_most_similar():
    assert nearest(["CCO", "c1ccccc1"], ["CCO", "CCN"])[0] == 1
    assert nearest([], ["C"]).shape == (0,)
    assert drawn(["CCO", ""], ["a", "b"]).startswith(b"\x89PNG")
    assert [canonical(each) for each in ("OCC", "C1CC", "")] == ["CCO", None, None]


FEW = [*SMILES[:25]]


@pytest.mark.parametrize(
    ("smiles", "y", "settings", "message"),
    [
        (["C"], None, {}, "the list: 1 different molecule is too few to learn from; give 20"),
        (["C"] * 30, None, {}, "1 different molecule is too few"),
        ([*FEW, "C1CC"], None, {}, "row 26: RDKit cannot read 'C1CC' as SMILES"),
        (FEW, np.ones(25), {}, "every property is 1, which teaches nothing"),
        (FEW, np.ones(24), {}, "`y` must have a number, or a row of them, for each of 25"),
        (FEW, ["a"] * 25, {}, "`y` must be numbers"),
        (FEW, [np.inf, *[1.0] * 24], {}, "the property of molecule 1 is no finite number"),
        (FEW, [np.nan] * 24 + [1.0], {}, "1 molecules have a property, too few to learn from"),
        (FEW, None, {"properties": ["QDE"]}, "the molecules have no 'QDE'; did you mean 'QED'"),
        (FEW, None, {"properties": "QED"}, "`properties` must be a list of names"),
        (FEW, None, {"properties": ["QED", "QED"]}, "must name each once"),
        (FEW, pd.DataFrame(np.ones((25, 2)), columns=["a", "a"]), {}, "of `y` must differ in name"),
        (FEW, None, {"max_length": 3}, "tokens, and at most 3 fit"),
        ([*FEW, "C" * 40], None, {"max_length": 30}, "Row 26: it has 40 .*or let `skip_invalid`"),
        (FEW, np.arange(25) * 1e300, {}, "the property goes to 2.4e.301 in size.* another unit"),
        (FEW, np.arange(25) * 1e-40, {}, "the property goes to 2.4e-39 in size.* another unit"),
        (FEW, None, {"max_length": 0}, "`max_length` must be 1 or more"),
        (FEW, None, {"max_steps": 0}, "`max_steps` must be 1 or more"),
        ([*FEW, "C1CC"], np.ones(26), {"skip_invalid": True}, "`y` says nothing of which"),
    ],
)  # fmt: skip
def test_molecules_that_teach_nothing_are_refused(smiles, y, settings, message):
    with pytest.raises(ValueError, match=message):
        tasks.MoleculeDesigner(**settings).fit(smiles, y)


def measured(**columns):
    return pd.DataFrame({name: np.arange(25.0) * sign for name, sign in columns.items()})


@pytest.mark.parametrize("names", [["a", "b"], ["b", "a"], ["a", "QED", "b"], []])
def test_columns_of_a_frame_are_taken_by_name(names):
    how = Reading(None, tuple(names), None, False)
    found, computed = read(FEW, measured(b=1, a=-1), how)
    assert list(found.properties) == (names or ["b", "a"])
    assert computed == ["QED"] * ("QED" in names)
    for name, sign in (("a", -1), ("b", 1)):
        np.testing.assert_array_equal(found.properties[name], sign * np.arange(25.0))
    one, _ = read(FEW, measured(b=1)["b"], how._replace(properties=("QED", "b")))
    np.testing.assert_array_equal(one.properties["b"], np.arange(25.0))
    by_place, _ = read(FEW, measured(b=1, a=-1).to_numpy(), how._replace(properties=("a", "b")))
    np.testing.assert_array_equal(by_place.properties["a"], np.arange(25.0))


@pytest.mark.parametrize(
    ("names", "y", "message"),
    [
        (["logP"], np.ones((25, 2)), "`properties` names 1 and `y` has 2"),
        (["QED", "logP"], np.ones(25), "`properties` names 2 and `y` has 1"),
        (["a", "QED"], np.ones((25, 3)), "`properties` names 2 and `y` has 3"),
        (["a", "b"], measured(a=1, bb=1), "`y` has a column 'bb', which `properties` does not"),
        (["logP"], measured(a=1)["a"], "`y` has a column 'a', which `properties` does not name"),
        (["logP", "a"], measured(logp=1, a=1), "a column 'logp'.* did you mean 'logP'"),
        (["a", "b"], measured(a=1), "the molecules have no 'b'"),
    ],
)
def test_what_was_measured_is_never_thrown_away(names, y, message):
    with pytest.raises(ValueError, match=message):
        tasks.MoleculeDesigner(properties=names, **QUICK).fit(FEW, y)


def test_what_cannot_be_written_is_left_out_and_said():
    found = data.read_molecules([*FEW, "C" * 40])
    vocabulary = data.Vocabulary.from_strings(FEW, "smiles_atom", 30)
    left = writable(found, vocabulary)
    assert left.smiles == tuple(FEW)
    assert left.left_out[26].startswith("it has 40 tokens, and at most 30 fit")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m: m.design(3, start="C1CC"), "`start`: RDKit cannot read 'C1CC'"),
        (lambda m: m.design(3, start=[]), "`start` must name at least one"),
        (
            lambda m: m.design(3, start="C" * 60),
            "`start`: 'CCC.*has 60 tokens, and at most .* as long",
        ),
        (lambda m: m.design(3, start="[U]"), "`start`: '.U.' has '.U.', which the vocabulary"),
        (lambda m: m.design(3, property="carbon"), "did you mean 'carbons'"),
        (lambda m: m.design(3, radius=0), "`radius` must be above 0"),
        (lambda m: m.design(3, target=np.nan), "`target` must be a finite number"),
        (lambda m: m.design(3, start=SMILES[5], radius=1e-3), "give a greater `radius`"),
        (lambda m: m.design(0), "`n` must be at least 1|`n` must"),
        (lambda m: m.interpolate("CCO", "x"), "`b`: RDKit cannot read 'x'"),
        (lambda m: m.interpolate("CCO", "CCN", 1), "`n` must be 2 or more"),
        (lambda m: m.inverse_transform(np.zeros((2, 3))), "`X` must be finite codes"),
        (lambda m: m.sample(0), "`n_samples` must"),
    ],
)
def test_what_cannot_be_asked(fitted, ask, message):
    with pytest.raises(ValueError, match=message):
        ask(fitted)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m: m.design(3, radius="3"), "`radius` must be one number, got '3'"),
        (lambda m: m.design(3, radius=None), "`radius` must be one number, got None"),
        (lambda m: m.design(3, radius=True), "`radius` must be a number, got True"),
        (lambda m: m.design(3, target="high"), "`target` must be one number, got 'high'"),
        (lambda m: m.design(3, property=3), "`property` must be one name, got 3"),
        (lambda m: m.design(3, start=5), "`start` must be SMILES, one or several, got int"),
        (lambda m: m.design(3, start={"CCO": 1}), "`start` must be SMILES, .* got dict; write a"),
        (lambda m: m.predict({"CCO": 1}), "molecules are read from .*, got dict"),
        (lambda m: m.predict({"CCO", "CC"}), "molecules are read from .*, got set"),
        (lambda m: data.one_hot({"ACG": 1}), "`strings` must be several strings, got dict"),
        (lambda m: m.inverse_transform("CCO"), "`X` must be"),
        (lambda m: tasks.MoleculeDesigner(properties=None).fit(FEW), "`properties` must be a list"),
        (lambda m: tasks.MoleculeDesigner(properties=[3]).fit(FEW), "`properties` must be a list"),
        (lambda m: tasks.MoleculeDesigner(max_length="9").fit(FEW), "`max_length` must be a whole"),
        (lambda m: tasks.MoleculeDesigner(max_length=9.5).fit(FEW), "`max_length` must be a whole"),
    ],
)
def test_what_is_of_another_kind_is_said_in_own_words(fitted, ask, message):
    # Where types are checked at run time, that speaks first.
    with pytest.raises(TypeError, match=f"{message}|Type-check error"):
        ask(fitted)


def test_new_molecules_need_tokens_that_were_seen(fitted):
    strict = tasks.MoleculeDesigner(**{**fitted.get_params(), "skip_invalid": False})
    strict.coder_, strict.notes_ = fitted.coder_, []
    for bad in ("[U]", "C1CC", "C" * 60):
        with pytest.raises(ValueError, match=r"Row 2: .* fit with `skip_invalid`") as error:
            strict.transform(["CCO", bad])
        assert "1 of 2 molecules cannot be taken" in str(error.value)


ASKED = ["CCO", "C1CC", "[U]", "CCN", "C" * 60]


def test_what_is_left_out_keeps_its_row(fitted, tmp_path):
    want, codes = fitted.predict(["CCO", "CCN"]), fitted.transform(["CCO", "CCN"])
    frame = pd.DataFrame({"name": list("abcde"), "smiles": ASKED})
    frame.to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "a.smi").write_text("\n\n".join(ASKED))
    left = r"3 of 5 .* 2: RDKit cannot .*\[U\].* it has 60 tokens, .*NaN|3 of 5 .* 3: RDKit cannot"
    for given in (ASKED, frame, tmp_path / "a.csv", tmp_path / "a.smi"):
        with pytest.warns(UserWarning, match=left):
            found = fitted.predict(given)
        with pytest.warns(UserWarning, match=left):
            z = fitted.transform(given)
        np.testing.assert_allclose(found[[0, 3]], want, rtol=1e-6)
        np.testing.assert_allclose(z[[0, 3]], codes, rtol=1e-5, atol=1e-6)
        assert np.isnan(found[[1, 2, 4]]).all()
        assert np.isnan(z[[1, 2, 4]]).all()
        assert (len(found), len(z)) == (5, 5)
    # Of molecules that were read before, those left out then are no rows now.
    read_before = data.read_molecules(ASKED, skip_invalid=True)
    with pytest.warns(UserWarning, match="2 of 4"):
        found = fitted.predict(read_before)
    assert np.isnan(found[:, 0]).tolist() == [False, True, False, True]
    for end in ("csv", "parquet"):
        with pytest.warns(UserWarning, match="3 of 5"):
            assert tasks.score_file(fitted, tmp_path / "a.csv", tmp_path / f"s.{end}") == 2
    for table in (pd.read_csv(tmp_path / "s.csv"), pd.read_parquet(tmp_path / "s.parquet")):
        assert table.isna().all(axis=1).tolist() == [False, True, True, False, True]
        assert table.name.dropna().tolist() == ["a", "d"]
        np.testing.assert_allclose(table.predicted_carbons[[0, 3]], want[:, 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("bad", "why"), [("[U]", "has '.U.', which"), ("C1CC", "RDKit cannot"), ("C" * 60, "60 tokens")]
)
def test_where_all_are_left_out_it_is_said_why(fitted, bad, why):
    with pytest.raises(ValueError, match=f"1 of 1 .*Row 1: .*{why}"):
        fitted.predict([bad])


def test_rdkit_computes_only_what_nobody_gave(tmp_path, monkeypatch):
    monkeypatch.setattr(_molecule_nets, "train", lambda *_, **__: (None, None))
    some, y = data.nci_molecules(longest=8).smiles[:25], np.arange(25.0)
    frame = pd.DataFrame({"smiles": some, "logP": y})
    frame.to_csv(tmp_path / "a.csv", index=False)
    names = ["logP", "QED"]
    read_before = data.read_molecules(frame, properties=["logP"])
    for x, given in ((tmp_path / "a.csv", None), (frame, None), (read_before, None), (some, y)):
        model = tasks.MoleculeDesigner(properties=["logP"], **QUICK).fit(x, given)
        assert model.computed_ == []
        np.testing.assert_array_equal(model.targets_[:, 0], y)
    assert tasks.MoleculeDesigner(properties=names, **QUICK).fit(frame).computed_ == ["QED"]
    asked = ["solubility", "logP"]
    model = tasks.MoleculeDesigner(properties=asked, **QUICK).fit(some, y)
    assert model.computed_ == ["logP"]
    molecules = [Chem.MolFromSmiles(each) for each in model.smiles_]
    np.testing.assert_allclose(model.targets_[:, 1], [Crippen.MolLogP(m) for m in molecules])


def test_without_rdkit_the_install_line_is_told(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "rdkit"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(ImportError, match=r"pip install 'pullback\[chem\]'"):
        tasks.MoleculeDesigner().fit(FEW)
