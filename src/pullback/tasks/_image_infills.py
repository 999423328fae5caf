"""What fills in the removed parts of pictures: by name, learned, measured, kept and read again."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Float

from pullback._on_device import on_device
from pullback.analysis.explain import (
    AbstractInfill,
    BlurInfill,
    ConstantInfill,
    EmpiricalInfill,
    GaussianInfill,
    LocalMeanInfill,
    NoiseInfill,
)

INFILLS = ("gaussian", "other", "mean", "blur", "local-mean", "noise")
_KEPT = 500  # pictures of "other"
_FEWEST, _HELD_OUT = 50, 0.15  # pictures from which on a law is learned, and the share held out


class Learned(NamedTuple):
    """What fills in removed parts.

    Attributes:
        infill: that.
        name: what it is called.
        report: how far off it is on held-out pictures; None where none was held out.
        notes: what to know of it, in sentences.
    """

    infill: AbstractInfill
    name: str
    report: dict[str, Any] | None
    notes: list[str]


def learn_infill(
    wanted: Any, x: Float[np.ndarray, "n c h w"], generator: np.random.RandomState, seed: int
) -> Learned:
    """An infill of pictures of the kind, and how far off it is.

    Args:
        wanted: its name, an infill as it is, or None for what suits so many pictures.
        x: the pictures.
        generator: of the draw of those held out.
        seed: of what is hidden of them.
    """
    if isinstance(wanted, AbstractInfill):
        return Learned(wanted, type(wanted).__name__, None, [])
    count, notes = len(x), []
    name = wanted or ("gaussian" if count >= _FEWEST else "blur")
    if wanted is None and name == "blur":
        notes.append(
            f"{count} pictures are too few to learn what could stand in removed parts, so that "
            "these are blurred, and what is removed shines through: fit to 50 or more of the "
            "kind (on the command line --background FOLDER)."
        )
    if count < _FEWEST:
        return Learned(of_pictures(name, x), name, None, notes)
    order = generator.permutation(count)
    held = round(count * _HELD_OUT)
    test, train = x[order[:held]], x[order[held:]]
    infill = of_pictures(name, train)
    found = infill_error(infill, train, test, seed)
    ours, plain = found["infill"], found["mean"]
    notes.append(
        f"Where half of {held} held-out pictures is hidden, the infill is off by {ours:.2g} "
        f"deviations, and the mean of all pictures by {plain:.2g}."
        + ("" if ours < plain else " It is no better than that: the regions may be too large.")
    )
    return Learned(infill, name, {"pictures": held, **found}, notes)


def of_pictures(name: str, pictures: Float[np.ndarray, "n c h w"]) -> AbstractInfill:
    """The infill of this name, of pictures of the kind.

    Args:
        name: one of `INFILLS`.
        pictures: to learn from.
    """
    x = on_device(pictures, float)
    reach = max(pictures.shape[2:])
    if name == "gaussian":
        return GaussianInfill.fit(x)
    if name == "other":
        return EmpiricalInfill(x[:_KEPT])
    if name == "mean":
        return ConstantInfill(jnp.mean(x, axis=0))
    if name == "blur":
        return BlurInfill(0.1 * reach)
    if name == "local-mean":
        return LocalMeanInfill(2 * (reach // 14) + 3)
    low, high = float(pictures.min()), float(pictures.max())
    return NoiseInfill(low, high if high > low else low + 1.0)


def arrays_of(infill: AbstractInfill) -> dict[str, np.ndarray]:
    """The numbers of an infill by name."""
    found = {name: getattr(infill, name) for name in infill.__dataclass_fields__}
    return {name: np.asarray(value) for name, value in found.items()}


def infill_of(name: str, arrays: dict[str, np.ndarray]) -> AbstractInfill:
    """The infill of this name that had these numbers."""
    whole = lambda key: on_device(arrays[key])
    if name == "gaussian":
        return GaussianInfill(whole("mean"), whole("factors"), whole("noise"))
    if name == "other":
        return EmpiricalInfill(whole("images"))
    if name == "mean":
        return ConstantInfill(whole("value"))
    if name == "blur":
        return BlurInfill(arrays["sigma"].item())
    if name == "local-mean":
        return LocalMeanInfill(arrays["window"].item())
    return NoiseInfill(*(arrays[key].item() for key in ("low", "high", "deviation")))


def infill_error(
    infill: AbstractInfill, train: Float[np.ndarray, "n c h w"],
    test: Float[np.ndarray, "m c h w"], seed: int,
) -> dict[str, float]:  # fmt: skip
    """How far off an infill is where half of each held-out picture is hidden, beside their mean.

    Root mean squares, in deviations of the pixels over all pictures. Of an infill that draws, the
    mean of its draws is taken.
    """
    keep = np.random.RandomState(seed).rand(len(test), 1, *test.shape[2:]) < 0.5
    filled = np.asarray(_filled(infill, on_device(test, float), on_device(keep * 1.0, float)))
    hidden = np.broadcast_to(~keep, test.shape)
    scale = float(train.std()) or 1.0
    off = lambda other: float(np.sqrt(np.square((other - test)[hidden]).mean()) / scale)
    return {"infill": off(filled), "mean": off(train.mean(axis=0))}


@eqx.filter_jit
def _filled(infill: AbstractInfill, x: Any, keep: Any) -> Any:
    keys = jr.split(jr.key(0), 16)
    of_one = lambda x, keep: jnp.mean(jax.vmap(lambda key: infill(x, keep, key=key))(keys), axis=0)
    return jax.lax.map(lambda pair: of_one(*pair), (x, keep))
