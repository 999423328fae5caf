"""What the recipe `sde-bnn` measures on trained classifiers."""

from collections.abc import Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from pullback.analysis import (
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_curve,
)
from pullback.data import Split
from pullback.models.bayes import SDEBNN
from pullback.models.ode_net import ODENet
from pullback.recipes.sde_bnn.stack import unstacked

_BATCH = 2000


def score(probs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Test error and ECE in per cent, nats an image, and the Brier score."""
    return {
        "error": float(100 * np.mean(probs.argmax(axis=1) != labels)),
        "nll": float(negative_log_likelihood(probs, labels)),
        "ece": float(100 * expected_calibration_error(probs, labels)),
        "brier": float(brier_score(probs, labels)),
    }


def classifiers(
    nets: SDEBNN, twins: ODENet, splits: Sequence[Split], paths: int, seed: int
) -> dict[str, Any]:
    """Scores of every model on its seed's test images, reliability curves, and KLs.

    A deterministic network's score is the mean over the members of the ensemble.
    """
    scores: dict[str, list] = {"deterministic": [], "ensemble": []}
    curves: dict[str, list] = {"deterministic": [], "ensemble": []}
    sigma_of = eqx.filter_vmap(eqx.filter_vmap(lambda prior: prior.sigma))
    sigmas = np.asarray(sigma_of(nets.blocks[0].process.prior))[0]
    members = jax.tree.leaves(eqx.filter(twins, eqx.is_array))[0].shape[1]
    kl = np.zeros((len(splits), len(sigmas)))
    for number, split in enumerate(splits):
        x, labels = jnp.asarray(split.test.x), split.test.y
        key = jr.fold_in(jr.key(seed), number)
        fixed = np.stack(
            [np.asarray(_fixed(unstacked(twins, number, m), x)) for m in range(members)]
        )
        each = [score(probs, labels) for probs in fixed]
        scores["deterministic"].append({k: float(np.mean([s[k] for s in each])) for k in each[0]})
        scores["ensemble"].append(score(fixed.mean(axis=0), labels))
        # All members' answers make one curve.
        curves["deterministic"].append(
            _curve(fixed.reshape(-1, fixed.shape[-1]), np.tile(labels, members))
        )
        curves["ensemble"].append(_curve(fixed.mean(axis=0), labels))
        for member, sigma in enumerate(sigmas):
            net, name = unstacked(nets, number, member), f"sigma {sigma:g}"
            probs = np.asarray(predict(net, x, paths, key))
            scores.setdefault(name, []).append(score(probs, labels))
            curves.setdefault(name, []).append(_curve(probs, labels))
            kl[number, member] = _kl(net, x[:1], key)
    return {"scores": scores, "curves": curves, "kl": kl}


def precision(
    nets: Sequence[SDEBNN], splits: Sequence[Split], steps: Sequence[int], paths: int, seed: int
) -> dict[str, Any]:
    """Scores when the weights' equation is solved with so many steps, by two methods."""
    found = {}
    for name, solver in (("Euler-Maruyama", diffrax.Euler()), ("Heun", diffrax.Heun())):
        rows = []
        for n in steps:
            row = []
            for number, (net, split) in enumerate(zip(nets, splits, strict=True)):
                key = jr.fold_in(jr.key(seed), number)
                x = jnp.asarray(split.test.x)
                probs = np.asarray(predict(net, x, paths, key, solver=solver, steps=n))
                row.append(score(probs, split.test.y))
            rows.append(row)
        found[name] = {
            key: np.array([[s[key] for s in row] for row in rows]).T for key in rows[0][0]
        }
    return found


@eqx.filter_jit
def predict(net: SDEBNN, x: Array, paths: int, key: PRNGKeyArray, **precision: Any) -> Array:
    return net.predict(x, paths=paths, batch_size=_BATCH, throw=False, key=key, **precision)


@eqx.filter_jit
def _kl(net: SDEBNN, x: Array, key: PRNGKeyArray) -> Array:
    return jnp.mean(net(x, paths=256, kl="analytic", throw=False, key=key).kl)


@eqx.filter_jit
def _fixed(net: ODENet, x: Array) -> Array:
    return jax.nn.softmax(net(x, throw=False)[0], axis=-1)


def _curve(probs: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    curve = reliability_curve(probs, labels, bins=10)
    return {name: np.asarray(value) for name, value in curve._asdict().items()}
