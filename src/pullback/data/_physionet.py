"""Intensive care: the PhysioNet / Computing in Cardiology Challenge 2012."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from pullback._names import listed, shown
from pullback.data._arrays import read_arrays, whole_numbers
from pullback.data._csv import csv_rows, to_number
from pullback.data._errors import DataError
from pullback.data._irregular import IrregularSeries
from pullback.data._npy import NUMBERS, TEXT, WHOLE
from pullback.data._pack import Entries, average, pack
from pullback.data._places import locate
from pullback.data._table import read_table

# Names and units as on the challenge's page. The four descriptors come first.
_STATIC = {"Age": "year", "Gender": "", "Height": "cm", "ICUType": ""}
_SERIES = {
    "Weight": "kg",
    "Albumin": "g/dL",
    "ALP": "IU/L",
    "ALT": "IU/L",
    "AST": "IU/L",
    "Bilirubin": "mg/dL",
    "BUN": "mg/dL",
    "Cholesterol": "mg/dL",
    "Creatinine": "mg/dL",
    "DiasABP": "mmHg",
    "FiO2": "",
    "GCS": "",
    "Glucose": "mg/dL",
    "HCO3": "mmol/L",
    "HCT": "%",
    "HR": "1/min",
    "K": "mEq/L",
    "Lactate": "mmol/L",
    "Mg": "mmol/L",
    "MAP": "mmHg",
    "MechVent": "",
    "Na": "mEq/L",
    "NIDiasABP": "mmHg",
    "NIMAP": "mmHg",
    "NISysABP": "mmHg",
    "PaCO2": "mmHg",
    "PaO2": "mmHg",
    "pH": "",
    "Platelets": "cells/nL",
    "RespRate": "1/min",
    "SaO2": "%",
    "SysABP": "mmHg",
    "Temp": "degC",
    "TroponinI": "ug/L",
    "TroponinT": "ug/L",
    "Urine": "mL",
    "WBC": "cells/nL",
}
_UNKNOWN = -1
_MOST = float(np.finfo(np.float32).max)
_LAST = 48 * 60  # minutes; the challenge asks about what follows
_DEATH = "In-hospital_death"


class _Stays(NamedTuple):
    """One set: its stays, their outcome, and the observations with times in minutes."""

    ids: Int[np.ndarray, " stays"]
    death: Float[np.ndarray, " stays"]
    names: tuple[str, ...]
    entries: Entries


def physionet2012(
    folder: str | os.PathLike[str] | None = None, *, bin_minutes: int = 1, statics: bool = False
) -> IrregularSeries:
    """The first 48 hours of 8,000 stays in intensive care, sets A and B of the 2012 challenge.

    Args:
        folder: what holds the sets, or the folder above `physionet2012`. A set is either the
            folder `set-a` of the challenge with `Outcomes-a.txt` beside it, or `set_a.npz` with
            the same numbers (arrays record_id, ptr, time_min, param, value, param_names, outcomes,
            outcome_names; stay i has the rows `ptr[i]:ptr[i + 1]`). None: the folder that the
            environment variable `PULLBACK_DATA` names, then the cache of this user.
        bin_minutes: times are rounded to a multiple of this, and what then falls together is
            averaged.
        statics: take Age, Gender, Height and ICUType, given once at time 0, as variables too.

    Returns:
        37 variables, or 41 with the statics, in float32 and the challenge's units, with times in
        hours and death in hospital (1) or not (0) as the target. The challenge's -1 for "unknown"
        is not observed; all other numbers are as they were recorded, outliers too. A stay with no
        observation at all is kept, with `counts` 0.

    Raises:
        ValueError: `bin_minutes` is less than 1.
        DataError: a file is missing, damaged or malformed.

    Example:
        >>> stays = physionet2012("data", bin_minutes=6)  # doctest: +SKIP
        >>> len(stays.ids), len(stays.variables)  # doctest: +SKIP
        (8000, 37)

    Source: Silva et al., Computing in Cardiology 39 (2012); the 37 variables and the bins of
    Rubanova et al., arXiv 1907.03907, section 4.3.
    """
    if bin_minutes < 1:
        raise ValueError(f"`bin_minutes` must be at least 1, got {bin_minutes}.")
    found = locate("physionet2012", folder)
    sets = [_read_set(letter, path) for letter, path in zip("ab", found, strict=True)]
    units = {**_STATIC, **_SERIES} if statics else _SERIES
    code = {name: k for k, name in enumerate(units)}
    parts, done = [], 0
    for stays in sets:
        codes = np.array([code.get(name, -1) for name in stays.names])
        variable = codes[stays.entries.variable]
        part = stays.entries._replace(series=stays.entries.series + done, variable=variable)
        parts.append(part.take((variable >= 0) & (part.value != _UNKNOWN)))
        done += len(stays.ids)
    entries = Entries(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    bins = np.rint(entries.time / bin_minutes)
    hours = bins * (bin_minutes / 60.0)
    packed = pack(average(entries._replace(time=hours)), done, len(units))
    ids = np.concatenate([stays.ids for stays in sets])
    return IrregularSeries(
        *packed,
        ids=tuple(map(str, ids.tolist())),
        variables=tuple(units),
        units=tuple(units.values()),
        time_unit="h",
        targets=np.concatenate([stays.death for stays in sets]),
    )


def _read_set(letter: str, path: Path) -> _Stays:
    stays = _from_text(path, letter) if path.is_dir() else _from_arrays(path)
    unknown = set(stays.names) - {"RecordID", *_STATIC, *_SERIES}
    if unknown:
        raise DataError(path, f"the challenge has no parameter {listed(sorted(unknown))}.")
    for name, column, most in (
        ("a time in minutes", stays.entries.time, _LAST),
        ("a value", stays.entries.value, _MOST),
    ):
        least = 0 if most == _LAST else -most
        wrong = ~((column >= least) & (column <= most))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(
                path,
                f"expected {name} from {least:g} to {most:g}, got {column[row]:g} of stay "
                f"{stays.ids[stays.entries.series[row]]}.",
            )
    entries = stays.entries._replace(value=stays.entries.value.astype(np.float32))
    wrong = ~np.isin(stays.death, (0, 1))
    if wrong.any():
        stay = int(np.argmax(wrong))
        raise DataError(
            path, f"expected {_DEATH} 0 or 1, got {stays.death[stay]:g} of {stays.ids[stay]}."
        )
    return stays._replace(entries=entries)


def _from_arrays(path: Path) -> _Stays:
    numbers, whole, text = ((kind, (None,)) for kind in (NUMBERS, WHOLE, TEXT))
    arrays = read_arrays(
        path,
        {
            "time_min": numbers, "param": whole, "value": numbers, "record_id": whole,
            "ptr": whole, "param_names": text, "outcomes": (NUMBERS, (None, None)),
            "outcome_names": text,
        },
    )  # fmt: skip
    size, n = len(arrays["value"]), len(arrays["record_id"])
    ptr = whole_numbers(path, "ptr", arrays["ptr"], 0, size)
    names, columns = arrays["param_names"].tolist(), arrays["outcome_names"].tolist()
    wrong = {
        "time_min": len(arrays["time_min"]) != size,
        "param": len(arrays["param"]) != size,
        "ptr": len(ptr) != n + 1
        or ptr[0] != 0
        or ptr[-1] != size
        or bool((np.diff(ptr) < 0).any()),
        "outcomes": arrays["outcomes"].shape != (n, len(columns)) or _DEATH not in columns,
    }
    if any(wrong.values()):
        bad = ", ".join(name for name, is_wrong in wrong.items() if is_wrong)
        raise DataError(path, f"the arrays do not fit together; look at {bad}.")
    if not np.array_equal(arrays["outcomes"][:, 0], arrays["record_id"]):
        raise DataError(path, "the outcomes are not in the order of record_id.")
    entries = Entries(
        np.repeat(np.arange(n), np.diff(ptr)),
        arrays["time_min"].astype(np.float64),
        whole_numbers(path, "param", arrays["param"], 0, len(names) - 1),
        arrays["value"].astype(np.float64),
    )
    death = arrays["outcomes"][:, columns.index(_DEATH)].astype(np.float64)
    return _Stays(arrays["record_id"], death, tuple(names), entries)


def _from_text(folder: Path, letter: str) -> _Stays:
    table = folder.with_name(f"Outcomes-{letter}.txt")
    outcomes = read_table(table, ["RecordID", _DEATH]).values
    if not ((outcomes[:, 0] % 1 == 0) & (outcomes[:, 0] >= 0) & (outcomes[:, 0] < 2**53)).all():
        raise DataError(table, "expected whole numbers in RecordID.")
    ids = outcomes[:, 0].astype(np.int64)
    names: dict[str, int] = {}
    series, times, variables, values = [], [], [], []
    for stay, record in enumerate(ids.tolist()):
        path = folder / f"{record}.txt"
        rows = csv_rows(path)
        line, header = next(rows, (1, []))
        if header != ["Time", "Parameter", "Value"]:
            found = shown(",".join(header))
            raise DataError(path, f"expected Time,Parameter,Value; got {found}.", line=line)
        for line, cells in rows:
            time = _minutes(cells[0])
            value = to_number(cells[2]) if len(cells) == 3 else None
            if time is None or time > _LAST or value is None or not abs(value) <= _MOST:
                found = shown(",".join(cells))
                raise DataError(
                    path, f"expected hh:mm,name,number, to 48:00; got {found}.", line=line
                )
            series.append(stay)
            times.append(time)
            variables.append(names.setdefault(cells[1], len(names)))
            values.append(value)
    entries = Entries(
        np.array(series, np.int64),
        np.array(times, np.float64),
        np.array(variables, np.int64),
        np.array(values, np.float64),
    )
    return _Stays(ids, outcomes[:, 1], tuple(names), entries)


def _minutes(clock: str) -> int | None:
    hours, colon, minutes = clock.partition(":")
    if not (colon and hours.isdecimal() and minutes.isdecimal() and len(clock) <= 5):
        return None
    return 60 * int(hours) + int(minutes)
