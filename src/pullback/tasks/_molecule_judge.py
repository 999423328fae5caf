"""How good a designer of molecules is: predictions of molecules held out, and what it draws."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.linear_model import RidgeCV

from pullback.analysis import molecule_report
from pullback.models.sequences import LatentSpace

from . import _molecule_nets as nets
from ._held_out import lead
from ._molecule_chemistry import canonical, fingerprints
from ._molecule_search import TEMPERATURE, at_random, predicted, surrogate

if TYPE_CHECKING:
    from ._molecule_designer import MoleculeDesigner

NET, PROCESS = "network on the code", "Gaussian process on the code"
RIDGE, MEAN = "ridge on Morgan fingerprints", "the mean of all"
HELD, SAMPLES = "molecules held out", "samples"
SHARES = ("valid", "empty", "unique", "novel", "diversity", "nearest", "alerts")
_ALPHAS = np.logspace(-1, 3, 9)
_MOST, _DRAWN = 500, 1000  # molecules held out that judge, and strings that are drawn
_TAUGHT = 20_000  # molecules that a ridge is fitted to
_NEAR = 0.1  # standard deviations


def judge(
    model: "MoleculeDesigner",
    train: Int[np.ndarray, " n"],
    test: Int[np.ndarray, " m"],
    seed: int,
) -> dict[str, Any]:
    """Predictions and samples of a model that was fitted to some of its molecules.

    Args:
        model: fitted, but for what is found here.
        train: the places of the molecules that it was fitted to.
        test: of those held out.
        seed: of what is drawn.
    """
    random = np.random.default_rng(seed)
    test = np.sort(random.permutation(test)[:_MOST])
    known = [model.smiles_[k] for k in train]
    held = list(dict.fromkeys(model.smiles_[k] for k in test))
    codes = model.codes_[train]
    space = LatentSpace.from_data(codes)
    white = nets.whitened(space, codes)
    at = model.coder_.encode(held)
    count = int(np.clip(len(train), 100, _DRAWN))
    noise = random.standard_normal((count, codes.shape[1]))
    beside = nets.whitened(space, at)[np.arange(count) % len(at)] + _NEAR * noise
    drawn = {
        "the prior": _strings(model, noise, seed),
        "samples": _strings(model, at_random(codes, count, random), seed),
        "a little beside molecules held out": _strings(model, nets.as_codes(space, beside), seed),
    }
    likeliest = model.coder_.decode(at, temperature=0, key=nets.key_of(6, seed))
    back = [canonical(each) == smiles for each, smiles in zip(likeliest, held, strict=True)]
    reports = {
        HELD: molecule_report(held, known),
        SAMPLES: molecule_report(drawn["samples"], known),
    }
    sets = {
        name: {
            **{share: getattr(found, share) for share in SHARES},
            **{name: _mean(values) for name, values in found.properties.items()},
        }
        for name, found in reports.items()
    }
    return {
        "rows": len(test),
        "reconstructed": float(np.mean(back)),
        "valid": {
            "molecules held out": float(
                np.mean([canonical(each) is not None for each in likeliest])
            ),
            **{name: _valid(strings) for name, strings in drawn.items()},
        },
        "drawn": count,
        "sets": sets,
        "distance": reports[SAMPLES].distance,
        "smiles": list(reports[SAMPLES].smiles[:_MOST]),
        "predictions": {
            name: _predictions(model, place, train, test, white, space, seed)
            for place, name in enumerate(model.properties_)
            if _enough(model, place, train, test)
        },
    }


def _enough(model: "MoleculeDesigner", place: int, train: np.ndarray, test: np.ndarray) -> bool:
    measured = np.isfinite(model.targets_[:, place])
    return bool(min(measured[test].sum(), measured[train].sum()) >= 2)


def _predictions(
    model: "MoleculeDesigner",
    place: int,
    train: np.ndarray,
    test: np.ndarray,
    white: np.ndarray,
    space: LatentSpace,
    seed: int,
) -> dict[str, Any]:
    """What was measured of molecules held out, what each way predicts, and its errors."""
    y = model.targets_[:, place]
    taught, asked = train[np.isfinite(y[train])], test[np.isfinite(y[test])]
    few = np.random.default_rng(seed).permutation(taught)[:_TAUGHT]
    prints = lambda rows: fingerprints([model.smiles_[k] for k in rows])
    ridge = RidgeCV(_ALPHAS).fit(prints(few), y[few])
    codes = model.codes_[asked]
    process = surrogate(white, y[train], seed)
    found = {
        NET: model.coder_.predict(codes)[:, place],
        PROCESS: predicted(process, nets.whitened(space, codes))[0],
        RIDGE: np.asarray(ridge.predict(prints(asked)), np.float64),
        MEAN: np.full(len(asked), y[taught].mean()),
    }
    off = {way: np.abs(values - y[asked]) for way, values in found.items()}
    return {
        "rows": len(asked),
        "measured": y[asked].tolist(),
        "predicted": {way: values.tolist() for way, values in found.items()},
        "mae": {way: float(each.mean()) for way, each in off.items()},
        "rmse": {way: float(np.sqrt(np.square(each).mean())) for way, each in off.items()},
        **lead(off[NET], off[RIDGE]),
    }


def _strings(model: "MoleculeDesigner", z: Float[np.ndarray, "n latent"], seed: int) -> list[str]:
    return model.coder_.decode(z, temperature=TEMPERATURE, key=nets.key_of(7, seed))


def _valid(strings: list[str]) -> float:
    return float(np.mean([canonical(each) is not None for each in strings]))


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
