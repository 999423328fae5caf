"""The claims of the recipe `rate-distortion`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.recipes.rate_distortion import measure, models
from pullback.runs import Claim


def excess(betas: Sequence[float], found: Mapping[str, Any]) -> np.ndarray:
    """By how much D + beta R of each linear model is above the best."""
    weights = np.array(betas)
    best = found["best_distortion"] + weights * found["best_rate"]
    return found["distortion"] + weights[:, None] * found["rate"] - best[:, None]


def of_the_discrete_model(exact: Mapping[str, Any]) -> list[Claim]:
    found, entropy = exact["found"], exact["entropy"]
    elbo, target = found["ELBO"], found["target rate"]
    total = np.concatenate([each["rate"] + each["distortion"] for each in found.values()])
    return [
        Claim(
            "Discrete model: D + R is the entropy for every objective and seed (largest excess)",
            value=float(np.max(total) - entropy),
            at_most=0.001,
            unit="nats",
            seeds=len(elbo["rate"]),
            reference="3.0165 for all of them, plain JAX",
        ),
        Claim.over_seeds(
            "but the decoder that the ELBO finds is far from the true one (total variation)",
            elbo["off"],
            at_least=0.25,
            reference="0.39 to 0.44, plain JAX",
        ),
        Claim.over_seeds(
            "and that of a target rate is near it",
            target["off"],
            at_most=0.1,
            reference="0.03 to 0.05, plain JAX",
        ),
        Claim(
            "The rate is held at its target (largest difference)",
            value=float(np.max(np.abs(target["rate"] - measure.INFORMATION))),
            at_most=0.03,
            unit="nats",
            seeds=len(elbo["rate"]),
            reference="0.500 to 0.502, plain JAX",
        ),
    ]


def of_linear_models(linear_betas: Sequence[float], found: Mapping[str, Any]) -> list[Claim]:
    off = {
        kind: np.abs(found[kind] / found[f"best_{kind}"][:, None] - 1)
        for kind in ("rate", "distortion")
    }
    rate, distortion = found["rate"].mean(1), found["distortion"].mean(1)
    betas = np.array(linear_betas)
    slopes = -np.diff(rate) / np.diff(distortion)
    outside = np.maximum(1 / betas[1:] - slopes, slopes - 1 / betas[:-1])
    return [
        Claim(
            "Linear models: rate and distortion are those of reverse water-filling (largest "
            "difference)",
            value=100 * float(max(np.max(each) for each in off.values())),
            at_most=0.5,
            unit="%",
            seeds=found["rate"].shape[1],
            reference="the closed form; within 0.4 % in plain JAX",
        ),
        Claim(
            "and no model is better than that (least of D + beta R less the best)",
            value=float(excess(linear_betas, found).min()),
            at_least=-0.001,
            unit="nats",
            seeds=found["rate"].shape[1],
            reference="a theorem; up to rounding",
        ),
        Claim(
            "Between neighbouring weights the slope lies between their -1/beta (most outside)",
            value=float(outside.max()),
            at_most=0.01,
            seeds=found["rate"].shape[1],
            reference="a convex curve of slope -1/beta",
        ),
    ]


def of_autoencoders(
    found: Mapping[str, Any],
    betas: Sequence[float],
    rates: Sequence[float],
    *,
    slack: float,
) -> list[Claim]:
    """Bounds are for digits; of larger images, with more nats to lose, `slack` times as wide."""
    plain, pixel = (found[name] for name in models.DECODERS)
    one, seeds = betas.index(1.0), plain["beta"]["rate"].shape[1]
    total = lambda each, kind, i: each[kind]["rate"][i] + each[kind]["distortion"][i]
    steps = [
        np.diff(each["beta"][kind].mean(1)) * sign
        for each in (plain, pixel)
        for kind, sign in (("rate", -1), ("distortion", 1))
    ]
    targets = np.array(rates)
    # With a weight of 1 a target below the ELBO's own rate is not held: the ELBO is the better.
    held = np.concatenate([
        (np.abs(each["target"]["rate"] / targets[:, None] - 1)[
            targets > each["beta"]["rate"][one].max()
        ]).ravel()
        for each in (plain, pixel)
    ])  # fmt: skip
    enclosed = np.concatenate([
        (each[kind]["information_upper"] - each[kind]["information_lower"]).ravel()
        for each in (plain, pixel) for kind in each
    ])  # fmt: skip
    low = rates[0]
    return [
        Claim(
            "Images: as beta grows the rate falls and the distortion grows (least step, held out)",
            value=float(min(np.min(each) for each in steps)),
            at_least=-0.2 * slack,
            unit="nats",
            seeds=seeds,
            reference="convexity; held out, so not a theorem",
        ),
        Claim.over_seeds(
            "At beta = 1 the autoregressive decoder leaves less to z: its rate is lower by",
            list(map(float, plain["beta"]["rate"][one] - pixel["beta"]["rate"][one])),
            at_least=1.0 * slack,
            unit="nats",
            reference="the auto-decoding limit, R = 0, is where it tends",
        ),
        Claim.over_seeds(
            f"A target of {low:g} nats gives its z that much; the price in held-out ELBO, beside "
            "beta = 1",
            list(map(float, total(pixel, "target", 0) - total(pixel, "beta", one))),
            at_most=5.0 * slack,
            unit="nats",
            reference="1.0 nats for 10 nats of rate, of endless data with a recurrent decoder, "
            "plain JAX; here of few images",
        ),
        Claim(
            "The rate is held at every target above that of beta = 1, on held-out images (largest "
            "relative difference)",
            value=float(held.max(initial=0.0)),
            at_most=0.35,
            seeds=seeds,
            reference="exact in training, up to the noise of a batch",
        ),
        Claim(
            "The bounds on the information enclose it: upper less lower (least)",
            value=float(enclosed.min()),
            at_least=-0.05,
            unit="nats",
            seeds=seeds,
            reference="0; both are estimates",
        ),
    ]


def of_force(pixel: Mapping[str, Any], high: float) -> list[Claim]:
    return [
        Claim.over_seeds(
            f"When a rate is no information: at the target of {high:g} nats z tells of x at least",
            list(map(float, pixel["target"]["information_lower"][-1])),
            at_least=3.5,
            unit="nats",
            reference="the rate; the bound is at most log 450 = 6.1",
        ),
        Claim.over_seeds(
            "but where a large weight forces that rate upon the autoregressive decoder, less by "
            "at least (that bound less the upper one)",
            list(
                map(
                    float,
                    pixel["target"]["information_lower"][-1]
                    - pixel["forced"]["information_upper"][0],
                )
            ),
            at_least=0.5,
            unit="nats",
            reference="0; 2.4 to 2.8 nats at two base seeds; the rest of its rate is the prior's "
            "distance from the aggregate",
        ),
    ]
