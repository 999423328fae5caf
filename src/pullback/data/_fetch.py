"""Downloads that are checked, from mirrors in turn."""

import os
from pathlib import Path
from typing import NamedTuple

from pullback._files import FULL, check_writable
from pullback.data._bundled import TABLES, write_bundled
from pullback.data._errors import DataError


class _Source(NamedTuple):
    mirrors: tuple[str, ...]
    sha256: dict[str, str]


# The digests of the gzip files as first published. MNIST's and Fashion-MNIST's MD5 digests are on
# the data sets' own pages; their SHA-256 digests stand in the checksum lists of TensorFlow Datasets
# and, beside the official MD5, in many projects that agree with each other.
_SOURCES = {
    "mnist": _Source(
        mirrors=(
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
        ),
        sha256={
            "train-images-idx3-ubyte.gz": (
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
            ),
            "train-labels-idx1-ubyte.gz": (
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
            ),
            "t10k-images-idx3-ubyte.gz": (
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
            ),
            "t10k-labels-idx1-ubyte.gz": (
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
            ),
        },
    ),
    "fashion-mnist": _Source(
        mirrors=(
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        sha256={
            "train-images-idx3-ubyte.gz": (
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
            ),
            "train-labels-idx1-ubyte.gz": (
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
            ),
            "t10k-images-idx3-ubyte.gz": (
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
            ),
            "t10k-labels-idx1-ubyte.gz": (
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
            ),
        },
    ),
}


def fetch(name: str, folder: str | os.PathLike[str] | None = None) -> Path:
    """Download a data set, check it, and say where it lies; or write a table that is here already.

    The tables come with scikit-learn, and are written as `NAME.csv` and, every fifth row of it put
    aside, `NAME-new.csv`: to fit a model, and to use it.

    A file that is there already and has the right SHA-256 digest is not downloaded again. A file
    appears under its name only when its digest is right.

    Args:
        name: "mnist" or "fashion-mnist"; or a table, "breast-cancer", "diabetes" or "wine".
        folder: where to put the files; default the cache of this user.

    Returns:
        The folder with the files.

    Raises:
        ValueError: there is no data set of that name.
        OSError: the folder cannot be written to, or the disk is full.
        DataError: no mirror could be reached, or what it sent has another digest; the message says
            what each of them answered.

    Example:
        >>> fetch("mnist")  # doctest: +SKIP
        PosixPath('/home/me/.cache/pullback/mnist')
        >>> import tempfile
        >>> sorted(file.name for file in fetch("wine", tempfile.mkdtemp()).iterdir())
        ['wine-new.csv', 'wine.csv']
    """
    if name not in (*_SOURCES, *TABLES):
        raise ValueError(f"`name` must be one of {', '.join((*_SOURCES, *TABLES))}; got {name!r}.")
    place = cache_folder(name) if folder is None else Path(folder)
    if name in TABLES:
        write_bundled(name, place)
        return place
    for file, digest in _SOURCES[name].sha256.items():
        _fetch_file(file, digest, _SOURCES[name].mirrors, place)
    return place


def cache_folder(name: str) -> Path:
    """Where a data set is kept for this user."""
    import pooch

    return Path(pooch.os_cache("pullback")) / name


def _fetch_file(file: str, digest: str, mirrors: tuple[str, ...], place: Path) -> None:
    import pooch

    answers = []
    for mirror in mirrors:
        try:
            pooch.retrieve(mirror + file, known_hash=f"sha256:{digest}", fname=file, path=place)
        # pooch says ValueError for a wrong digest; what requests raises are OSErrors.
        except (OSError, ValueError) as error:
            # No mirror is to blame for a place that cannot be written to, or is full.
            check_writable(place / file)
            if isinstance(error, OSError) and error.errno in FULL:
                raise OSError(error.errno, error.strerror, str(place / file)) from error
            answers.append(f"{mirror}: {error}")
        else:
            return
    raise DataError(
        place / file,
        "could not be fetched. "
        + " ".join(f"[{answer}]" for answer in answers)
        + " Are you online? Else put the file there by hand; its SHA-256 must be "
        + digest,
    )
