import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from pullback.data import DataError, mocap35, physionet2012

DATA = Path(os.environ.get("PULLBACK_DATA", "nowhere"))
needs_stays = pytest.mark.skipif(
    not (DATA / "physionet2012" / "set_a.npz").exists(),
    reason="PULLBACK_DATA has no folder physionet2012",
)
needs_walks = pytest.mark.skipif(
    not (DATA / "mocap35" / "mocap35.npz").exists(), reason="PULLBACK_DATA has no folder mocap35"
)

# What the two stays of a set say: record, minutes, parameter, value.
ROWS = [
    (11, 0, "RecordID", 11),
    (11, 0, "Age", 54),
    (11, 0, "Gender", -1),
    (11, 0, "Height", -1),
    (11, 0, "ICUType", 4),
    (11, 0, "Weight", -1),
    (11, 7, "HR", 73),
    (11, 8, "HR", 75),
    (11, 10, "Temp", 35.5),
    (11, 2875, "Weight", 80.5),
    (12, 0, "RecordID", 12),
    (12, 0, "Age", 60),
    (12, 0, "Gender", 1),
    (12, 0, "Height", 170),
    (12, 0, "ICUType", 2),
    (12, 0, "Weight", -1),
]
OUTCOMES = ["RecordID", "SAPS-I", "SOFA", "Length_of_stay", "Survival", "In-hospital_death"]


def write_arrays(folder, letter, shift, **changes):
    names = list(dict.fromkeys(name for _, _, name, _ in ROWS))
    arrays = {
        "record_id": np.array([11, 12], np.int32) + shift,
        "ptr": np.array([0, 10, 16], np.int32),
        "time_min": np.array([minutes for _, minutes, _, _ in ROWS], np.int16),
        "param": np.array([names.index(name) for _, _, name, _ in ROWS], np.uint8),
        "value": np.array([value for *_, value in ROWS], np.float32),
        "param_names": np.array(names),
        "outcomes": np.array([[11 + shift, 6, 1, 5, -1, 1], [12 + shift, 7, 8, 9, 3, 0]], np.int32),
        "outcome_names": np.array(OUTCOMES),
    }
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: array for name, array in {**arrays, **changes}.items() if array is not None}
    np.savez_compressed(folder / f"set_{letter}.npz", **kept)


def write_text(folder, letter, shift):
    (folder / f"set-{letter}").mkdir(parents=True)
    for record in (11, 12):
        lines = [
            f"{minutes // 60:02d}:{minutes % 60:02d},{name},{value}"
            for stay, minutes, name, value in ROWS
            if stay == record
        ]
        text = "\n".join(["Time,Parameter,Value", *lines]) + "\n"
        (folder / f"set-{letter}" / f"{record + shift}.txt").write_text(text)
    outcomes = [",".join(OUTCOMES), f"{11 + shift},6,1,5,-1,1", f"{12 + shift},7,8,9,3,0"]
    (folder / f"Outcomes-{letter}.txt").write_text("\n".join(outcomes) + "\n")


@pytest.fixture
def stays(tmp_path):
    for letter, shift in (("a", 0), ("b", 100)):
        write_arrays(tmp_path / "physionet2012", letter, shift)
    return tmp_path


def observations(series):
    return {
        (series.ids[row], round(60 * series.times[row, place]), series.variables[k]): float(
            series.values[row, place, k]
        )
        for row, place, k in zip(*np.nonzero(series.mask), strict=True)
    }


def test_two_small_sets(stays):
    got = physionet2012(stays)
    assert got.ids == ("11", "12", "111", "112")
    assert len(got.variables) == 37
    assert got.variables[0] == "Weight"
    assert dict(zip(got.variables, got.units, strict=True))["Temp"] == "degC"
    assert (got.time_unit, got.values.dtype) == ("h", np.float32)
    np.testing.assert_array_equal(got.targets, [1, 0, 1, 0])
    one = {(7, "HR"): 73, (8, "HR"): 75, (10, "Temp"): 35.5, (2875, "Weight"): 80.5}
    assert observations(got) == {(name, *k): v for name in ("11", "111") for k, v in one.items()}
    # A stay with nothing but descriptors stays.
    np.testing.assert_array_equal(got.counts, [4, 0, 4, 0])


def test_what_falls_in_one_bin_is_averaged(stays):
    got = physionet2012(stays, bin_minutes=6)
    one = {(6, "HR"): 74, (12, "Temp"): 35.5, (2874, "Weight"): 80.5}
    assert {k[1:]: v for k, v in observations(got).items() if k[0] == "11"} == one
    with pytest.raises(ValueError, match="`bin_minutes`"):
        physionet2012(stays, bin_minutes=0)


def test_statics_are_observed_at_time_0(stays):
    got = physionet2012(stays, statics=True)
    assert len(got.variables) == 41
    static = {k: v for k, v in observations(got).items() if k[2] in got.variables[:4]}
    wanted = {("11", 0, "Age"): 54, ("11", 0, "ICUType"): 4}
    wanted |= {("12", 0, "Age"): 60, ("12", 0, "ICUType"): 2}
    wanted |= {("12", 0, "Gender"): 1, ("12", 0, "Height"): 170}
    wanted |= {(f"1{name}", time, k): v for (name, time, k), v in wanted.items()}
    assert static == wanted


def test_the_files_of_the_challenge_say_the_same(stays, tmp_path):
    for letter, shift in (("a", 0), ("b", 100)):
        write_text(tmp_path / "text", letter, shift)
    arrays, text = physionet2012(stays), physionet2012(tmp_path / "text")
    for one, other in zip(arrays, text, strict=True):
        np.testing.assert_array_equal(one, other)
    file = tmp_path / "text" / "set-b" / "111.txt"
    content = file.read_text()
    for wrong, line, message in (
        (content.replace("00:07", "0x:07"), 8, "expected hh:mm,name,number"),
        (content.replace("00:07", "99:07"), 8, "expected hh:mm,name,number, to 48:00; got"),
        (content.replace("73", "1e39"), 8, "expected hh:mm,name,number"),
        (content.replace("HR", "x" * 130_000), None, r"no parameter x{40}\.\.\."),
        (content.replace("00:07", "7" * 130_000), 8, r"got '7{40}\.\.\.' \(13"),
        (content.replace("73", "many"), 8, "expected hh:mm,name,number"),
        (content.replace("HR,73", "HR"), 8, "expected hh:mm,name,number"),
        (content.replace("Time,", "When,"), 1, "expected Time,Parameter,Value"),
        (content.replace("HR", "XX"), None, "no parameter XX"),
    ):
        file.write_text(wrong)
        with pytest.raises(DataError, match=message) as caught:
            physionet2012(tmp_path / "text")
        assert caught.value.line == line
    file.unlink()
    with pytest.raises(DataError, match=r"111.txt: cannot be read: No such file"):
        physionet2012(tmp_path / "text")


def test_stays_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("PULLBACK_DATA", str(tmp_path))
    monkeypatch.setattr("pullback.data._places.cache_folder", lambda name: tmp_path / "no" / name)
    with pytest.raises(DataError, match=r"set_a.npz: not found in .*PULLBACK_DATA to the folder"):
        physionet2012()
    write_arrays(tmp_path / "physionet2012", "a", 0)
    with pytest.raises(DataError, match=r"set_b.npz: not found"):
        physionet2012()
    write_arrays(tmp_path / "physionet2012", "b", 0)
    assert len(physionet2012().ids) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ptr": None}, "has no array ptr; it has record_id"),
        ({"ptr": np.zeros((2, 2))}, "expected ptr of shape n, got"),
        ({"ptr": np.array([0, 16])}, "look at ptr"),
        ({"ptr": np.array([0, 12, 10])}, "look at ptr"),
        ({"ptr": np.array([0, 17, 16])}, "expected ptr from 0 to 16; got 17 at 1"),
        ({"time_min": np.zeros(3)}, "look at time_min"),
        ({"time_min": np.full(16, np.nan)}, "a time in minutes from 0 to 2880, got nan of stay 11"),
        ({"time_min": np.arange(16) - 50}, "a time in minutes from 0 to 2880, got -50 of stay 11"),
        ({"time_min": np.full(16, 1e6)}, r"from 0 to 2880, got 1e\+06 of stay 11"),
        ({"param": np.arange(16) - 1}, "expected param from 0 to 7; got -1 at 0"),
        ({"param": np.full(16, 1.7)}, "expected whole numbers in param, got float64"),
        ({"value": np.full(16, 1e39)}, r"expected a value from .*got 1e\+39 of stay 11"),
        ({"value": np.full(16, 1j)}, "expected numbers in value, got complex128"),
        ({"record_id": np.array([11.5, 12])}, "expected whole numbers in record_id"),
        ({"param": np.full(16, 200, np.uint8)}, "expected param from 0 to 7; got 200 at 0"),
        ({"value": np.full(16, np.nan)}, "expected a value from .*got nan of stay 11"),
        ({"outcome_names": np.array(OUTCOMES[:5])}, "look at outcomes"),
        ({"outcomes": np.array([[12, 0, 0, 0, 0, 0], [11, 0, 0, 0, 0, 0]])}, "in the order of"),
        (
            {"outcomes": np.array([[11, 0, 0, 0, 0, -1], [12, 0, 0, 0, 0, 0]])},
            "0 or 1, got -1 of 11",
        ),
        ({"param_names": np.array([{"a": 1}], object)}, "param_names holds Python objects"),
    ],
)
def test_arrays_that_do_not_fit(stays, changes, message):
    write_arrays(stays / "physionet2012", "a", 0, **changes)
    with pytest.raises(DataError, match=message):
        physionet2012(stays)


def test_a_damaged_file_is_named(stays):
    path = stays / "physionet2012" / "set_b.npz"
    content = path.read_bytes()
    for broken in (b"", b"hello", content[:-40], content[:60] + b"\xff" * 20 + content[80:]):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"set_b.npz: cannot be read as npz"):
            physionet2012(stays)


@needs_stays
def test_physionet_has_what_the_raw_arrays_say():
    got = physionet2012(DATA)
    assert got.values.shape[::2] == (8000, 37)
    raw = [np.load(DATA / "physionet2012" / f"set_{k}.npz", allow_pickle=False) for k in "ab"]
    deaths = np.concatenate([file["outcomes"][:, -1] for file in raw])
    np.testing.assert_array_equal(got.targets, deaths)
    np.testing.assert_allclose([deaths[:4000].mean(), deaths[4000:].mean()], [0.1385, 0.1420])
    names = raw[0]["param_names"].tolist()
    left_out = {names.index(k) for k in ("RecordID", "Age", "Gender", "Height", "ICUType")}
    # One pass over the rows with a dictionary: what the loader does with sorted arrays.
    for number, file in enumerate(raw):
        param, value, minutes, ptr = (file[k] for k in ("param", "value", "time_min", "ptr"))
        for stay in range(0, 4000, 200):
            cells: dict = {}
            for row in range(ptr[stay], ptr[stay + 1]):
                if param[row] not in left_out and value[row] != -1:
                    key = (int(minutes[row]), names[param[row]])
                    cells.setdefault(key, []).append(float(value[row]))
            row = 4000 * number + stay
            mine = observations(got.take(np.array([row])))
            wanted = {(got.ids[row], *key): sum(found) / len(found) for key, found in cells.items()}
            assert mine == pytest.approx(wanted, rel=1e-6)
    distinct = 0
    for file in raw:
        stay = np.repeat(np.arange(4000), np.diff(file["ptr"]))
        kept = ~np.isin(file["param"], list(left_out)) & (file["value"] != -1)
        code = (stay * 3000 + file["time_min"]) * 50 + file["param"]
        distinct += 1 + np.count_nonzero(np.diff(np.sort(code[kept])))
    assert got.mask.sum() == distinct


@needs_walks
def test_mocap_has_what_the_raw_arrays_say():
    got = mocap35(DATA)
    raw = np.load(DATA / "mocap35" / "mocap35.npz", allow_pickle=False)
    for part, name in zip(got, ("Xtr", "Xval", "Xtest"), strict=True):
        np.testing.assert_array_equal(part.values, raw[name])
        assert part.mask.all()
        assert part.window(stop=3.0).times.tolist() == [[0.0, 1.0, 2.0]] * len(part.ids)
        assert part.window(3.0).times.shape[1] == 297


def write_walks(folder, **changes):
    generator = np.random.default_rng(0)
    sizes = {"Xtr": 16, "Xval": 3, "Xtest": 4}
    arrays = {name: generator.normal(size=(n, 300, 50)) for name, n in sizes.items()}
    np.savez(folder / "mocap35.npz", **{**arrays, **changes})
    return arrays


def test_walks_and_what_can_be_wrong_with_them(tmp_path):
    arrays = write_walks(tmp_path)
    np.testing.assert_array_equal(mocap35(tmp_path).test.values, arrays["Xtest"])
    shutil.copytree(tmp_path, tmp_path / "above" / "mocap35")
    np.testing.assert_array_equal(mocap35(tmp_path / "above").train.values, arrays["Xtr"])
    write_walks(tmp_path, Xval=np.zeros((2, 300, 50)))
    with pytest.raises(DataError, match="expected Xval of shape 3 x 300 x 50, got"):
        mocap35(tmp_path)
    write_walks(tmp_path, Xtest=np.full((4, 300, 50), np.nan))
    with pytest.raises(DataError, match="expected Xtest to hold finite floats"):
        mocap35(tmp_path)
    (tmp_path / "mocap35.npz").unlink()
    with pytest.raises(DataError, match="not found"):
        mocap35(tmp_path)
