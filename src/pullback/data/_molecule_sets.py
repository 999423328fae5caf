"""Molecules that come with RDKit, and those of the data folder."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pullback._extras import extra
from pullback._sizes import positive
from pullback.data._errors import DataError
from pullback.data._letters import check_choice
from pullback.data._places import MOLNET, locate
from pullback.data._read_molecules import read_molecules
from pullback.data._sequences import Molecules

# The column of what was measured, and what it is called here.
_MEASURED = {
    "esol": ("measured log solubility in mols per litre", "solubility"),
    "freesolv": ("expt", "hydration_free_energy"),
    "lipophilicity": ("exp", "lipophilicity"),
}
_PARTS = ("train", "valid", "test")


class MoleculeSplit(NamedTuple):
    """Molecules to learn from, and molecules to be judged by."""

    train: Molecules
    test: Molecules


def nci_molecules(shortest: int = 4, longest: int = 45) -> Molecules:
    """Small molecules of the National Cancer Institute, which come with RDKit: no download.

    Of the first 5,000 of the open database, each once, the whole molecules (without salts) whose
    canonical SMILES is neither too short nor too long; what RDKit cannot read is left out.

    Args:
        shortest: the fewest characters.
        longest: the most characters.

    Returns:
        The molecules in the order of the database, with its NSC numbers as names.

    Raises:
        ValueError: there is no molecule of such a length.
        ImportError: RDKit is not installed; the message says how.

    Example:
        >>> molecules = nci_molecules(longest=10)
        >>> molecules.smiles[:3]
        ('CCCCSCC', 'CCN(CC)N=O', 'O=C(O)CBr')
    """
    positive(shortest=shortest, longest=longest)
    config, chem = extra("rdkit.RDConfig", "chem"), extra("rdkit.Chem", "chem")
    base = extra("rdkit.rdBase", "chem")
    path = Path(config.RDDataDir) / "NCI" / "first_5K.smi"
    found: dict[str, str] = {}
    with base.BlockLogs():
        for line in path.read_text(encoding="utf-8").split("\n"):
            smiles, _, name = line.partition("\t")
            if "." in smiles or (molecule := chem.MolFromSmiles(smiles)) is None:
                continue
            canonical = chem.MolToSmiles(molecule)
            if shortest <= len(canonical) <= longest:
                found.setdefault(canonical, name.strip())
    if not found:
        raise ValueError(f"there is no molecule of {shortest} to {longest} characters.")
    return Molecules(tuple(found.values()), tuple(found), {}, "NCI, from RDKit")


def zinc(*, folder: str | os.PathLike[str] | None = None) -> MoleculeSplit:
    """Drug-like molecules: a part of ZINC-250k, with logP, QED and SAS by RDKit.

    Args:
        folder: where `zinc34k.csv.gz` lies, or the folder above `zinc_subset`. None: the folder
            that the environment variable `PULLBACK_DATA` names, then the cache of this user.

    Returns:
        The first 5,000 molecules of ZINC-250k, by which papers judge, as `test`; and 28,902 others.
        Their properties are "logP", "QED" and "SAS".

    Raises:
        ImportError: RDKit is not installed; the message says how.
        DataError: the file is missing or damaged; the message has the line.

    Example:
        >>> split = zinc(folder="data")  # doctest: +SKIP
        >>> len(split.train.smiles), split.test.properties["logP"][0]  # doctest: +SKIP
        (28902, 5.0506)

    Source: Gómez-Bombarelli et al., arXiv 1610.02415; the split is that of Kusner et al.,
        arXiv 1703.01925.
    """
    (path,) = locate("zinc", folder)
    found = read_molecules(path, properties=["logP", "qed", "SAS"], name="split")
    parts = np.asarray(found.names)
    unknown = sorted({*found.names} - {*_PARTS})
    if unknown or not (parts == "test").any() or (parts == "test").all():
        raise DataError(path, f"expected both test and other parts in `split`; got {unknown}.")
    values = found.properties
    found = found._replace(
        names=tuple(map(str, range(1, len(parts) + 1))),
        properties={"logP": values["logP"], "QED": values["qed"], "SAS": values["SAS"]},
        source="ZINC",
    )
    return MoleculeSplit(found.take(parts != "test"), found.take(parts == "test"))


def molnet(name: str, *, folder: str | os.PathLike[str] | None = None) -> Molecules:
    """MoleculeNet's measured molecules: solubility, hydration, lipophilicity; and QM9's SMILES.

    Args:
        name: "esol", 1,128 molecules with the property "solubility", the decadic logarithm of mol
            per litre of water; "freesolv", 642 with "hydration_free_energy", in kcal/mol;
            "lipophilicity", 4,200 with "lipophilicity", logD at pH 7.4; "qm9", 133,885 without.
        folder: where the file lies, or the folder above `molnet`. None: the folder that the
            environment variable `PULLBACK_DATA` names, then the cache of this user.

    Returns:
        The molecules in the order of the file; some are there twice, with other measurements.

    Raises:
        ValueError: there is no set of this name.
        ImportError: RDKit is not installed; the message says how.
        DataError: the file is missing or damaged; the message has the line.

    Example:
        >>> found = molnet("esol", folder="data")  # doctest: +SKIP
        >>> found.smiles[1], found.properties["solubility"][1]  # doctest: +SKIP
        ('Cc1occc1C(=O)Nc1ccccc1', -3.3)

    Source: Wu et al., MoleculeNet, arXiv 1703.00564.
    """
    check_choice("name", name, tuple(MOLNET))
    (path,) = locate(f"molnet-{name}", folder)
    if name not in _MEASURED:
        return read_molecules(path)._replace(source=name)
    column, called = _MEASURED[name]
    found = read_molecules(path, properties=[column])
    return found._replace(properties={called: found.properties[column]}, source=name)
