"""Pictures that a task is given: a folder of files, a file, or an array."""

import hashlib
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from pullback.data import DataError, read_array

# More than cameras take; a small file can claim any number.
_MOST_PIXELS = 2**25
# What decoders raise of damage, besides an OSError.
_DAMAGE = (EOFError, struct.error, zlib.error, KeyError, IndexError, TypeError, OverflowError)
_ENDINGS = (".png", ".jpg", ".jpeg")
_ARRAYS = (".npy", ".npz")
_CHANNELS = (1, 3, 4)
_USUAL = ("images", "image", "x", "X", "data", "arr_0")


class Pictures(NamedTuple):
    """Pictures of one size.

    Attributes:
        x: `[n, channels, height, width]`; of picture files grey levels or colours in [0, 1], of
            arrays the numbers that stand there.
        names: of each.
        source: where they came from.
        is_file: whether from a file or a folder.
        notes: what was done to them, in sentences.
    """

    x: Float[np.ndarray, "n c h w"]
    names: tuple[str, ...]
    source: str
    is_file: bool
    notes: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Of their numbers."""
        return hashlib.sha256(np.ascontiguousarray(self.x).tobytes()).hexdigest()

    def take(self, places: Any) -> "Pictures":
        """Those at these places."""
        names = tuple(np.asarray(self.names, object)[places].tolist())
        return self._replace(x=self.x[places], names=names)


def read_pictures(X: Any) -> Pictures:
    """Pictures of a folder, of a PNG, JPEG, .npy or .npz file, or of an array.

    Args:
        X: a path, or an array `[n, height, width]`, `[n, channels, height, width]` or
            `[n, height, width, channels]` of 1, 3 or 4 channels.

    Raises:
        DataError: a file cannot be read, or pictures differ in size or kind.
        ValueError: an array is none of pictures.
    """
    if isinstance(X, Pictures):
        return X
    if not isinstance(X, str | os.PathLike):
        return _of_array(X, "the array", None)
    path = Path(X)
    if path.is_dir():
        return _of_files(path, _pictures_in(path))
    if not path.exists():
        raise DataError(path, f"there is no such file or folder; {_WANTED}")
    if path.suffix.lower() in _ENDINGS:
        return _of_files(path, [path])
    if path.suffix.lower() in _ARRAYS:
        return _of_array(read_array(path, _USUAL), path.name, path)
    raise DataError(path, f"this is no picture; {_WANTED}")


_WANTED = (
    "give a folder of .png or .jpg files, one such file, or a .npy or .npz file with an array "
    "(n, height, width) or (n, channels, height, width)."
)


def _pictures_in(folder: Path) -> list[Path]:
    files = [file for file in folder.iterdir() if file.suffix.lower() in _ENDINGS]
    if not files:
        raise DataError(folder, "no .png or .jpg file lies in this folder.")
    return sorted(files)


def _of_files(source: Path, files: list[Path]) -> Pictures:
    found = [_read_file(file) for file in files]
    first = found[0]
    for file, picture in zip(files, found, strict=True):
        if picture.shape[1:] != first.shape[1:]:
            (h, w), (height, width) = picture.shape[1:], first.shape[1:]
            raise DataError(
                file,
                f"it is {h} pixels high and {w} wide, and {files[0].name} {height} and {width}; a "
                "model and its infill are of one size. Bring all to one, with Pillow: "
                f"Image.open(file).resize(({width}, {height})).save(file).",
            )
    channels = max(len(picture) for picture in found)
    grey = [name for name, picture in zip(files, found, strict=True) if len(picture) < channels]
    notes = []
    if grey:
        notes.append(
            f"{len(grey)} of {len(files)} pictures are grey, such as {grey[0].name}, and were "
            "taken as colours that are alike."
        )
    x = np.stack([np.broadcast_to(each, (channels, *each.shape[1:])) for each in found])
    names = tuple(file.name for file in files)
    return Pictures(x, names, source.name or str(source.resolve()), True, tuple(notes))


def _read_file(file: Path) -> Float[np.ndarray, "c h w"]:
    from matplotlib.image import imread

    try:
        pixels = _pixels(file)
        read = None if pixels > _MOST_PIXELS else np.asarray(imread(file))
    except (OSError, SyntaxError, ValueError, *_DAMAGE) as error:
        raise DataError(file, f"this picture cannot be read: {error}") from error
    if read is None:
        raise DataError(
            file,
            f"it says that it has {pixels / 1e6:.0f} million pixels; make it smaller, with Pillow: "
            "Image.open(file).resize((width, height)).save(file).",
        )
    x = read.astype(np.float32) / (255 if read.dtype == np.uint8 else 1)
    x = x[None] if x.ndim == 2 else np.moveaxis(x, -1, 0)
    if len(x) in (2, 4):
        if x[-1].min() < 1:
            raise DataError(
                file,
                "it is transparent in places, where it has no colour; lay it on one, with Pillow: "
                'Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).',
            )
        x = x[:-1]
    return x


def _pixels(file: Path) -> int:
    """How many pixels a picture has, by its header."""
    from PIL import Image

    with warnings.catch_warnings(action="ignore"):
        try:
            with Image.open(file) as picture:
                return picture.width * picture.height
        except Image.DecompressionBombError:
            return Image.MAX_IMAGE_PIXELS or 2 * _MOST_PIXELS


def _of_array(X: Any, source: str, path: Path | None) -> Pictures:
    x, notes = np.asarray(X), []

    def refuse(problem: str) -> None:
        raise ValueError(f"pictures: {problem}") if path is None else DataError(path, problem)

    if x.dtype.kind not in "fiub":
        refuse(f"they must be numbers, got an array of {x.dtype}.")
    if x.ndim not in (3, 4) or not x.size:
        refuse(
            "the array must be (n, height, width) or (n, channels, height, width), got "
            f"{x.shape}. Of one picture give x[None]; of rows of pixels x.reshape(-1, height, "
            "width)."
        )
    if x.ndim == 3:
        x = x[:, None]
    elif x.shape[1] not in _CHANNELS and x.shape[3] in _CHANNELS:
        notes.append(
            f"The last axis of {tuple(x.shape)} was taken for the channels; the model is given "
            "(n, channels, height, width)."
        )
        x = np.moveaxis(x, -1, 1)
    x = x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(x).all(axis=(1, 2, 3)))
    if len(bad):
        refuse(f"picture {bad[0]} has pixels that are no number, or infinite; fill them.")
    names = tuple(map(str, range(len(x))))
    return Pictures(np.ascontiguousarray(x), names, source, path is not None, tuple(notes))
