"""What RDKit computes of molecules."""

import functools
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float

from pullback._extras import extra
from pullback._names import check_list, check_several, did_you_mean
from pullback.data import Molecules


def molecule_properties(
    smiles: Sequence[str] | Molecules, names: Sequence[str] = ("logP", "QED", "SAS")
) -> dict[str, Float[np.ndarray, " n"]]:
    """What RDKit computes of molecules; NaN of what is none.

    Args:
        smiles: of molecules, or anything else that was drawn: what RDKit cannot read, and what has
            no atom, is no molecule.
        names: of "logP", the logarithm of how much more of it dissolves in octanol than in water,
            by Crippen's atoms; "QED", how much it is like a drug, from 0 to 1; "SAS", how hard it
            is to make, from 1 to 10; "alerts", how many of the parts of which chemists beware it
            has, of the lists of PAINS and of Brenk.

    Returns:
        For each name as many numbers as there are strings.

    Raises:
        ValueError: a name is not known.
        TypeError: `smiles` is one string, or holds what is none.
        ImportError: RDKit is not installed; the message says how.

    Example:
        >>> molecule_properties(["c1ccccc1", "C1CC", ""], ["logP"])["logP"].round(4)
        array([1.6866, nan, nan])

    Source: Wildman and Crippen, J. Chem. Inf. Comput. Sci. 39 (1999); Bickerton et al., Nature
        Chemistry 4 (2012); Ertl and Schuffenhauer, J. Cheminformatics 1 (2009); Baell and Holloway,
        J. Med. Chem. 53 (2010), and Brenk et al., ChemMedChem 3 (2008).
    """
    check_list("names", names)
    names = list(names)
    for name in names:
        if name not in _KNOWN:
            hint = did_you_mean(name, _KNOWN) or "."
            raise ValueError(f"`names`: {name!r} is not known{hint} There are {', '.join(_KNOWN)}.")
    functions = {name: _KNOWN[name]() for name in names}
    rows = read_smiles(smiles_of(smiles))
    return {
        name: np.array([np.nan if m is None else float(function(m)) for m in rows], np.float64)
        for name, function in functions.items()
    }


def smiles_of(smiles: Iterable[str] | Molecules, argument: str = "smiles") -> list[str]:
    """The strings themselves, of which there may be none."""
    if isinstance(smiles, str):
        raise TypeError(f"`{argument}` must be several strings, got one; write [{smiles[:20]!r}].")
    check_several(argument, smiles, "several strings")
    found = list(smiles.smiles if isinstance(smiles, Molecules) else smiles)
    for place, each in enumerate(found, 1):
        if not isinstance(each, str):
            kind = type(each).__name__
            raise TypeError(f"`{argument}` must hold strings; number {place} is of type {kind}.")
    return found


def read_smiles(smiles: Sequence[str]) -> list[Any]:
    """RDKit's molecules, None where there is none or none with an atom; nothing goes to stderr."""
    chem = extra("rdkit.Chem", "chem")
    with extra("rdkit.rdBase", "chem").BlockLogs():
        found = [chem.MolFromSmiles(each) for each in smiles]
    return [m if m is not None and m.GetNumAtoms() else None for m in found]


def _log_p() -> Callable[[Any], float]:
    return extra("rdkit.Chem.Crippen", "chem").MolLogP


def _qed() -> Callable[[Any], float]:
    return extra("rdkit.Chem.QED", "chem").qed


def _sas() -> Callable[[Any], float]:
    return _sascorer().calculateScore


def _alerts() -> Callable[[Any], float]:
    catalog = _catalog()
    return lambda molecule: len(catalog.GetMatches(molecule))


@functools.cache
def _catalog() -> Any:
    module = extra("rdkit.Chem.FilterCatalog", "chem")
    settings = module.FilterCatalogParams()
    for catalog in ("PAINS", "BRENK"):
        settings.AddCatalog(getattr(settings.FilterCatalogs, catalog))
    return module.FilterCatalog(settings)


_KNOWN: dict[str, Callable[[], Callable[[Any], float]]] = {
    "logP": _log_p, "QED": _qed, "SAS": _sas, "alerts": _alerts,
}  # fmt: skip


@functools.cache
def _sascorer() -> ModuleType:
    """RDKit's own script, which is no module of its package."""
    folder = Path(extra("rdkit.RDConfig", "chem").RDContribDir)
    file = folder / "SA_Score" / "sascorer.py"
    spec = importlib.util.spec_from_file_location("sascorer", file)
    if spec is None or spec.loader is None or not file.exists():
        raise ImportError(
            f"SAS is computed by {file}, which this RDKit has not; pip install 'pullback[chem]' "
            "brings one that has."
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
