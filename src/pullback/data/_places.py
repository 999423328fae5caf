"""Where the files of a data set lie."""

import os
from pathlib import Path
from typing import NamedTuple

from pullback.data._errors import DataError
from pullback.data._fetch import cache_folder


class _Set(NamedTuple):
    """A data set's folder, and each of its files under the names that it may have.

    `itself` is False where the folder above may hold another set's files under the same names.
    """

    folder: str
    files: tuple[tuple[str, ...], ...]
    itself: bool = True


_IDX = (
    "train-images-idx3-ubyte", "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
)  # fmt: skip
_GZIPPED_OR_NOT = tuple((f"{name}.gz", name) for name in _IDX)
UCI_TABLES = (
    "bostonHousing", "concrete", "energy", "kin8nm", "naval-propulsion-plant", "power-plant",
    "protein-tertiary-structure", "wine-quality-red", "yacht",
)  # fmt: skip
UNIPROBE = ("Cebpa", "Cebpb", "Etv4", "Fli1", "Gata4")
JASPAR = {"all": "JASPAR2022", "vertebrates": "JASPAR2022_vertebrates"}
MOLNET = {"esol": "esol", "freesolv": "freesolv", "lipophilicity": "lipo", "qm9": "qm9_smiles"}
TU_GRAPHS = ("DD", "ENZYMES", "FIRSTMM_DB", "PROTEINS")
_SETS = {
    "mnist": _Set("mnist", _GZIPPED_OR_NOT),
    "fashion-mnist": _Set("fashion-mnist", _GZIPPED_OR_NOT, itself=False),
    "omniglot": _Set("omniglot_small", (("omniglot_small.npz",),)),
    "dsprites": _Set("dsprites", (("dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz",),)),
    "cifar10": _Set("cifar10_subset", (("train*.npz",), ("test*.npz",))),
    "physionet2012": _Set("physionet2012", (("set_a.npz", "set-a"), ("set_b.npz", "set-b"))),
    "mocap35": _Set("mocap35", (("mocap35.npz",),)),
    "movielens100k": _Set("ml-100k", (("u.data", "ml-100k.inter"),)),
    "uci": _Set("uci_regression", tuple((f"{name}.npz",) for name in UCI_TABLES)),
    **{f"uci-{name}": _Set("uci_regression", ((f"{name}.npz",),)) for name in UCI_TABLES},
    **{f"uniprobe-{name}": _Set("uniprobe_pbm", ((f"{name}.npz",),)) for name in UNIPROBE},
    **{f"jaspar-{k}": _Set("jaspar", ((f"{f}.pfm.gz", f"{f}.pfm"),)) for k, f in JASPAR.items()},
    **{f"molnet-{k}": _Set("molnet", ((f"{f}.csv.gz", f"{f}.csv"),)) for k, f in MOLNET.items()},
    **{f"tu-{name}": _Set("graphs", ((f"{name}.npz",),)) for name in TU_GRAPHS},
    "splice-junctions": _Set("splice_junction", (("splice.data.gz", "splice.data"),)),
    "zinc": _Set("zinc_subset", (("zinc34k.csv.gz", "zinc34k.csv"),)),
}


def locate(name: str, folder: str | os.PathLike[str] | None = None) -> tuple[Path, ...]:
    """The files of a data set, without reading them.

    Args:
        name: "mnist", "fashion-mnist", "omniglot", "dsprites", "cifar10", "physionet2012",
            "mocap35", "movielens100k", "splice-junctions", "zinc", "uci" (all tables of
            `uci_regression`), or one of "uci-NAME", "uniprobe-NAME", "jaspar-NAME", "molnet-NAME",
            "tu-NAME".
        folder: where they lie, or the folder above that one. None: the folder that the environment
            variable `PULLBACK_DATA` names, then the cache of this user.

    Returns:
        One file, or for a set of the challenge one folder, for each part, in the set's order.

    Raises:
        DataError: a part is missing, or there are two files for it.

    Example:
        >>> [file.name for file in locate("mocap35", "data")]  # doctest: +SKIP
        ['mocap35.npz']
    """
    where = _SETS[name]
    folders = _folders(where, folder)
    return tuple(_find(names, folders, name) for names in where.files)


def _folders(where: _Set, folder: str | os.PathLike[str] | None) -> list[Path]:
    if folder is not None:
        return [Path(folder) / where.folder, Path(folder)]
    found = [cache_folder(where.folder)]
    if named := os.environ.get("PULLBACK_DATA"):
        above = [Path(named)] if where.itself else []
        found = [Path(named) / where.folder, *above, *found]
    return found


def _find(names: tuple[str, ...], folders: list[Path], name: str) -> Path:
    """The first of `names` in the first folder that has one."""
    for folder in folders:
        for pattern in names:
            found = sorted(folder.glob(pattern)) if "*" in pattern else [folder / pattern]
            found = [path for path in found if path.exists()]
            if len(found) > 1:
                raise DataError(folder, f"expected one file {pattern}; got {len(found)}.")
            if found:
                return found[0]
    fetch = f", or run `pullback data fetch {name}`" if "mnist" in name else ""
    raise DataError(
        names[0],
        f"not found in {', '.join(map(str, folders))}. Name the folder that holds it, or set "
        f"PULLBACK_DATA to the folder above `{_SETS[name].folder}`{fetch}.",
    )
