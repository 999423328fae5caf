"""Molecules that come with RDKit, and those of the data folder."""

from pathlib import Path

from pullback._extras import extra
from pullback._inputs import positive
from pullback.data._sequences import Molecules


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
        for line in path.read_text().splitlines():
            smiles, _, name = line.partition("\t")
            if "." in smiles or (molecule := chem.MolFromSmiles(smiles)) is None:
                continue
            canonical = chem.MolToSmiles(molecule)
            if shortest <= len(canonical) <= longest:
                found.setdefault(canonical, name.strip())
    if not found:
        raise ValueError(f"there is no molecule of {shortest} to {longest} characters.")
    return Molecules(tuple(found.values()), tuple(found), {}, "NCI, from RDKit")
