"""What the recipe `chemical-design` measures: of codes, of strings, and of paths through codes."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Float
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from pullback._extras import extra
from pullback.analysis import molecule_properties
from pullback.models.sequences import GaussianProcess, LatentSpace, climb
from pullback.recipes.chemical_design.models import Fitted, Molecules

Places = Mapping[str, Float[np.ndarray, "n latent"]]


def explained(fit: Fitted, molecules: Molecules) -> Float[np.ndarray, " properties"]:
    """R^2 of each property of held-out molecules, by a linear regression on the codes."""
    found = LinearRegression().fit(fit.train, molecules.y_train).predict(fit.test)
    return r2_score(molecules.y_test, found, multioutput="raw_values")


def off(predicted: Any, y: Any) -> Float[np.ndarray, " properties"]:
    """The mean absolute error of each property."""
    return np.mean(np.abs(predicted - y), axis=0)


def main_axes(codes: Float[np.ndarray, "n latent"]) -> Float[np.ndarray, "n 2"]:
    """Codes on the two axes along which they vary most."""
    centred = codes - codes.mean(axis=0)
    return centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T


def places(fit: Fitted, drawn: int, near: float, seed: int) -> dict[str, np.ndarray]:
    """Codes of held-out molecules, some close to them, and some of two Gaussians."""
    space, rng = LatentSpace.from_data(fit.train), np.random.default_rng(seed)
    noise = rng.standard_normal((drawn, fit.test.shape[1]), dtype=np.float32)
    beside = space.whiten(jnp.asarray(fit.test[np.arange(drawn) % len(fit.test)])) + near * noise
    return {
        "at": fit.test,
        "near": np.asarray(space.unwhiten(beside)),
        "gaussian": np.asarray(space.unwhiten(jnp.asarray(noise))),
        "prior": noise,
    }


def paths(
    fit: Fitted, values: Float[np.ndarray, " train"], lengths: Sequence[float], *, points: int,
    starts: int, step: float, seed: int,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Codes along paths from molecules of the lowest tenth: uphill, and straight on at random.

    Args:
        fit: The autoencoder.
        values: What is to rise, of each training molecule.
        lengths: Where to stop, in standard deviations.
        points: Training molecules that the surrogate is fitted to.
        starts: How many paths.
        step: The length of a step.
        seed: Of the choices.

    Returns:
        "start", and for each length such as 6 "ascent 6" and "random 6".
    """
    space, rng = LatentSpace.from_data(fit.train), np.random.default_rng(seed)
    white = np.asarray(space.whiten(jnp.asarray(fit.train)))
    known = rng.permutation(len(white))[:points]
    surrogate = GaussianProcess.fit(white[known], values[known])
    low = rng.permutation(np.flatnonzero(values <= np.quantile(values, 0.1)))[:starts]
    steps = [round(length / step) for length in lengths]
    path = climb(surrogate, white[low], steps=max(steps), step=step, trust_radius=max(lengths))
    away = rng.standard_normal(white[low].shape, dtype=np.float32)
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    found = {"start": white[low]}
    for length, count in zip(lengths, steps, strict=True):
        found[f"ascent {length:g}"] = np.asarray(path[count])
        found[f"random {length:g}"] = white[low] + length * away
    return {name: np.asarray(space.unwhiten(jnp.asarray(at))) for name, at in found.items()}


def strings(fit: Fitted, at: Places, seed: int) -> dict[str, list[str]]:
    """What is decoded greedily at the codes of each name, all by one program."""
    found = iter(fit.decode(np.concatenate([*at.values()]), key=jr.key(seed)))
    return {name: [next(found) for _ in codes] for name, codes in at.items()}


def same(found: Sequence[str], molecules: Sequence[str]) -> float:
    """The share of strings that are these molecules, compared as canonical SMILES."""
    chem, base = extra("rdkit.Chem", "chem"), extra("rdkit.rdBase", "chem")
    with base.BlockLogs():
        read = [chem.MolFromSmiles(each) for each in found]
    spelled = [each and chem.MolToSmiles(each) for each in read]
    return float(np.mean([a == b for a, b in zip(spelled, molecules, strict=True)]))


def judged(found: Sequence[str], name: str = "QED") -> tuple[float, float]:
    """The share that are molecules, of at least one atom; and their mean property, 0 of none."""
    values = molecule_properties(found, (name,))[name]
    valid = np.isfinite(values)
    return float(valid.mean()), float(values[valid].mean()) if valid.any() else 0.0
