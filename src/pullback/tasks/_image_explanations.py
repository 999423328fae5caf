"""What an `ImageExplainer` finds, as arrays, as a table, and as files."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from pullback._files import atomic_write
from pullback.plots import figure, house_style

from ._outputs import table_writer
from ._pictures import Pictures
from ._png import png

CURVES = ("deletion", "insertion", "chance")
_TINT, _FINE = (0.84, 0.37, 0.0), 8
_LEAST = 1.0  # nats that a class must fall for it to be lost
_HALF = 0.5  # of the map, from which on a pixel belongs to the region


class ImageExplanations(NamedTuple):
    """Which part of each picture decides on a class.

    Log-odds are `log p / (1 - p)` of the class: above 0 it is likelier than all others together.

    Attributes:
        pictures: what was explained.
        classes: the names of the classes, as text.
        target: the class that was explained, of each picture.
        probability: of that class.
        map: how much each pixel decides, from 0 to 1; the region is where it is above a half.
        log_odds: of the whole picture.
        only: log-odds of the region alone, with all else filled in anew, in the mean.
        only_error: the standard error of that.
        without: log-odds of the picture without its region, filled in anew.
        without_error: the standard error of that.
        area: of the region, as a share of the picture.
        size_weight: how much a pixel of the region cost.
        evaluations: of the model, for each picture.
        shares: of pixels that are removed, or kept, along the curves.
        deletion: log-odds as the pixels that decide most are removed first.
        insertion: log-odds as the pixels that decide most are shown first.
        chance: log-odds as pixels are removed in a random order.
        objective: "sdr", "ssr" or "joint".
    """

    pictures: Pictures
    classes: tuple[str, ...]
    target: Int[np.ndarray, " n"]
    probability: Float[np.ndarray, " n"]
    map: Float[np.ndarray, "n h w"]
    log_odds: Float[np.ndarray, " n"]
    only: Float[np.ndarray, " n"]
    only_error: Float[np.ndarray, " n"]
    without: Float[np.ndarray, " n"]
    without_error: Float[np.ndarray, " n"]
    area: Float[np.ndarray, " n"]
    size_weight: Float[np.ndarray, " n"]
    evaluations: Int[np.ndarray, " n"]
    shares: Float[np.ndarray, " p"]
    deletion: Float[np.ndarray, "n p"]
    insertion: Float[np.ndarray, "n p"]
    chance: Float[np.ndarray, "n p"]
    objective: str

    @property
    def region(self) -> np.ndarray:
        """Whether a pixel is of the region, `[n, height, width]`."""
        return self.map > _HALF

    @property
    def decides(self) -> Bool[np.ndarray, " n"]:
        """Whether the region does what was asked: without it the class is lost, or it is enough."""
        return decides(self.objective, self.log_odds, self.only, self.without)

    def columns(self) -> dict[str, list[Any]]:
        """A row for each picture: numbers, and the box around its region, in pixels from 0."""
        boxes = [_box(region) for region in self.region]
        numbers = ("probability", "log_odds", "without", "without_error", "only", "only_error",
                   "area", "size_weight", "evaluations")  # fmt: skip
        return {
            "picture": list(self.pictures.names),
            "class": [self.classes[k] for k in self.target],
            **{name: getattr(self, name).tolist() for name in numbers},
            "decides": self.decides.tolist(),
            **{f"{name}_mean": getattr(self, name).mean(axis=1).tolist() for name in CURVES},
            **{
                name: [None if box is None else box[k] for box in boxes]
                for k, name in enumerate(("top", "bottom", "left", "right"))
            },
        }

    def to_frame(self) -> Any:
        """A data frame of pandas, where that is installed."""
        import pyarrow as pa

        return pa.table(self.columns()).to_pandas()

    def figure(self, places: Sequence[int]) -> Any:
        """A figure of Matplotlib with these pictures, and what decides.

        Args:
            places: from 0.
        """
        return overlays(self, places)

    def write(self, folder: Path) -> list[Path]:
        """Write `saliency.csv`, `maps.npz`, `curves.csv` and an overlay of each picture.

        Args:
            folder: for them; each appears whole or not at all.

        Returns:
            The files.
        """
        files = [folder / "saliency.csv", folder / "maps.npz", folder / "curves.csv"]
        with table_writer(files[0]) as write:
            write(self.columns())
        with atomic_write(files[1]) as file:
            np.savez_compressed(
                file, names=np.asarray(self.pictures.names), map=self.map, region=self.region,
                target=self.target,
            )  # fmt: skip
        with table_writer(files[2]) as write:
            write(self._curves())
        for place, name in enumerate(file_names(self.pictures.names)):
            files.append(folder / "overlays" / f"{name}.png")
            save_figure(overlays(self, [place]), files[-1])
        return files

    def _curves(self) -> dict[str, list[Any]]:
        points = len(self.shares)
        return {
            "picture": [name for name in self.pictures.names for _ in range(points)],
            "share": np.tile(self.shares, len(self.map)).tolist(),
            **{name: getattr(self, name).reshape(-1).tolist() for name in CURVES},
        }


def decides(
    objective: str, log_odds: np.ndarray, only: np.ndarray, without: np.ndarray
) -> np.ndarray:
    """Whether a region decides.

    The class is lost where without the region it is less likely than all others together, and by a
    nat less likely than before; it is kept where by the region alone it is likelier than all others
    together, or as likely as before.
    """
    lost = without < np.minimum(0, log_odds - _LEAST)
    kept = only >= np.minimum(0, log_odds)
    return {"sdr": lost, "ssr": kept, "joint": lost & kept}[objective]


def overlays(found: ImageExplanations, places: Sequence[int]) -> Any:
    """A figure of these pictures, two in a row: each as it is, and with what decides."""
    height, width = found.map.shape[1:]
    high, beside = min(4.0, 2.3 * height / width), min(2, len(places))
    rows = -(-len(places) // beside)
    with house_style(math=False):
        fig, axes = figure(rows, 2 * beside, width=5.0 * beside, height=(high + 0.4) * rows)
        pairs = np.reshape(axes, (-1, 2))
        for ax in pairs[len(places) :].ravel():
            ax.set_visible(False)
        for row, place in zip(pairs, places, strict=False):
            seen = shown(found.pictures.x[place])
            name, kind = found.pictures.names[place], found.classes[found.target[place]]
            for ax in row:
                ax.imshow(seen, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                ax.set(xticks=[], yticks=[])
                ax.grid(visible=False)
            weight = found.map[place]
            tint = np.empty((height, width, 4))
            tint[..., :3], tint[..., 3] = _TINT, 0.6 * weight
            row[1].imshow(tint, interpolation="nearest")
            _outline(row[1], found.region[place])
            row[0].set_title(_short(name), fontsize=9)
            row[1].set_title(f"{kind}: {100 * found.area[place]:.0f} % decide", fontsize=9)
    return fig


def _outline(ax: Any, region: Bool[np.ndarray, "h w"]) -> None:
    """A line around pixels, along their edges."""
    if not region.any() or region.all():
        return
    fine = np.pad(np.kron(region, np.ones((_FINE, _FINE))), 1)
    at = [(np.arange(size + 2) - 0.5) / _FINE - 0.5 for size in np.array(region.shape) * _FINE]
    ax.contour(at[1], at[0], fine, levels=[_HALF], colors="#D55E00", linewidths=1.3)


def shown(x: Float[np.ndarray, "c h w"]) -> np.ndarray:
    """A picture to look at: grey or in colours, from 0 to 1, whatever its numbers."""
    x = x[:3] if len(x) >= 3 else x.mean(axis=0, keepdims=True)
    low, high = float(x.min()), float(x.max())
    if low < 0 or high > 1:
        x = (x - low) / max(high - low, 1e-12)
    return x[0] if len(x) == 1 else np.moveaxis(x, 0, -1)


def save_figure(fig: Any, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with atomic_write(path) as file:
        file.write(png(fig, dpi=110))


def file_names(names: Sequence[str]) -> list[str]:
    """Names of files, each of its own, from names that may hold anything.

    >>> file_names(["a.png", "ward/7", "ward 7", "a.png"])
    ['a', 'ward_7', 'ward_7-2', 'a-2']
    """
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[^\w.-]+", "_", re.sub(r"\.(png|jpe?g)$", "", name, flags=re.I))
        plain = plain.strip(".") or "_"
        candidate, count = plain, 1
        while candidate in found:
            count += 1
            candidate = f"{plain}-{count}"
        found.append(candidate)
    return found


def _box(region: np.ndarray) -> tuple[int, int, int, int] | None:
    """First and last row and column with a pixel of the region."""
    if not region.any():
        return None
    rows, columns = (np.flatnonzero(region.any(axis=axis)) for axis in (1, 0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def _short(name: str) -> str:
    return name if len(name) < 28 else f"{name[:25]}..."
