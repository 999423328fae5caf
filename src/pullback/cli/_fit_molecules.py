"""`pullback fit molecules`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from pullback.cli._common import BadUsage, Flag, OptionalName
from pullback.cli._fit_and_save import Columns, File, Folder, fit_and_save
from pullback.cli._reading import Decimal

if TYPE_CHECKING:
    from pullback.data import Molecules
    from pullback.tasks import AbstractTask

Whole = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]

COMPUTED = ("logP", "QED", "SAS")


def fit_molecules(
    file: File,
    out: Folder,
    property: Columns = (),
    selfies: Annotated[Flag, tyro.conf.FlagCreatePairsOff] = False,
    skip_invalid: Annotated[Flag, tyro.conf.FlagCreatePairsOff] = False,
    smiles: OptionalName = None,
    name: OptionalName = None,
    max_length: Whole = None,
    max_steps: Whole = None,
    decimal: Decimal = None,
    seed: int = 0,
    report: Flag = True,
    progress: Flag = True,
) -> int:
    """Fit a continuous code of molecules that predicts a property, to design new molecules.

    Args:
        file: Molecules: SMILES, one a line (.smi), or CSV, Parquet or SDF; - reads CSV from
            standard input.
        out: The folder for the model.
        property: What is to be predicted: columns of the file, in which a cell may be empty; or
            logP, QED or SAS, which RDKit computes where the file has no such column.
        selfies: Write molecules as SELFIES, so that nearly every string drawn is a valid molecule.
        skip_invalid: Leave out molecules that RDKit cannot read, that are too long, or that SELFIES
            cannot write, and say which.
        smiles: The column of SMILES (default: the one with a usual name).
        name: The column that names the molecules (default: the one with a usual name).
        max_length: The most tokens that a molecule may have (default: 120).
        max_steps: Training steps (default: 3000).
        decimal: The decimal sign, a point or a comma (default: found from the file).
        seed: The seed of all that is random.
        report: Write no report.html beside the model.
        progress: Show no progress bar.
    """
    for flag, value in (("max-steps", max_steps), ("max-length", max_length)):
        if value is not None and value < 1:
            raise BadUsage(f"--{flag} must be 1 or more, got {value}")

    def read(path: Path) -> "Molecules":
        from pullback import data

        return data.read_molecules(
            path,
            smiles=smiles,
            name=name,
            properties=[each for each in property if each not in COMPUTED],
            optional=[each for each in property if each in COMPUTED],
            skip_invalid=skip_invalid,
            decimal=decimal,
        )

    def task() -> "AbstractTask":
        from pullback import tasks

        return tasks.MoleculeDesigner(
            properties=property,
            smiles_column=smiles,
            name_column=name,
            selfies=selfies,
            skip_invalid=skip_invalid,
            max_length=max_length,
            max_steps=max_steps,
            random_state=seed,
            progress=None if progress else False,
        )

    return fit_and_save(file, out, read, task, report=report)
