"""Arrays from npz files, without unpickling."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from pullback.data._errors import DataError


def read_arrays(path: Path, shapes: dict[str, tuple[int | None, ...]]) -> dict[str, np.ndarray]:
    """The named arrays of an npz file, each with the shape asked for (None: any length)."""
    try:
        # Opened here: np.load leaves its own file open where the archive is damaged.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            missing = [name for name in shapes if name not in file]
            if missing:
                raise DataError(
                    path, f"has no array {', '.join(missing)}; it has {', '.join(file)}."
                )
            arrays = {name: file[name] for name in shapes}
    except DataError:
        raise
    except (OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(path, f"cannot be read as npz: {error}") from error
    for name, shape in shapes.items():
        got = arrays[name].shape
        if len(got) != len(shape) or any(
            wanted not in (None, size) for wanted, size in zip(shape, got, strict=True)
        ):
            wanted = " x ".join("n" if size is None else str(size) for size in shape)
            raise DataError(path, f"expected {name} of shape {wanted}, got {got}.")
    return arrays
