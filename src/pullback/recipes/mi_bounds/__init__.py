"""On Variational Bounds of Mutual Information (arXiv 1905.06922): bias against variance.

Gaussians whose mutual information is known: every bound at the optimal critic, at critics trained
with it, and with the conditional known. Or, with `--data my.csv`, what columns of a table share.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from pullback.recipes.mi_bounds import measure, show
from pullback.recipes.mi_bounds.measure import HALF, SMALL, Config
from pullback.runs import Claim, Context

_LITTLE, _MUCH = f"I_{SMALL:g}", f"I_{HALF:g}"


def run(config: Config, context: Context) -> list[Claim]:
    """Measure the bounds at the optimal critic, and train critics with them."""
    seeds, informations = context.seeds(config.seeds), config.informations
    optimal = context.stage(
        "optimal", measure.optimal, config, jnp.asarray(informations), jnp.asarray(seeds)
    )
    trained = {
        name: context.stage(f"train-{name}", measure.train, config, name, seeds)
        for name in measure.TRAINED
    }
    show.draw_estimates(context, informations, trained, optimal, config.ceiling)
    show.draw_trade_off(context, informations, trained, optimal)
    _table(config, context, "trained", trained, "Critics trained with each bound")
    _table(config, context, "optimal", optimal, "The optimal critic, known in closed form")
    context.note(
        "DV is what MINE reports; it is no bound. The spread of NWJ at the optimal critic is not "
        "told by any number of batches that one can take: its second term is a mean of ratios "
        "whose variance is e^(2 I), and rare pairs that would bring it do not come up."
    )
    return [*_claims_of_training(config, trained), *_claims_of_optimum(config, optimal)]


def _table(
    config: Config, context: Context, name: str, found: Mapping[str, np.ndarray], caption: str
) -> None:
    deviations = {label: values.std(axis=2, ddof=1) for label, values in found.items()}
    for label, values in found.items():
        for (place, number), deviation in np.ndenumerate(deviations[label]):
            labels = {"critic": name, "bound": label, "information": config.informations[place]}
            mean = float(values[place, number].mean())
            context.metrics({**labels, "number": number, "mean": mean, "sd": float(deviation)})
    columns = [text for i in config.informations for text in (f"I = {i:g}", "sd of a batch")]
    cells = lambda label: np.stack(
        [found[label].mean(axis=(1, 2)), np.sqrt(np.mean(deviations[label] ** 2, axis=1))], axis=1
    )
    context.table(
        name,
        ["nats", *columns],
        [[show.NAMES[label], *map(float, cells(label).ravel())] for label in found],
        f"{caption}: means over {config.batches} batches of {config.batch_size} pairs and "
        f"{config.seeds} seeds, and the standard deviation from batch to batch. log B is "
        f"{config.ceiling:.2f}.",
    )


def _claims_of_training(config: Config, trained: Mapping[str, np.ndarray]) -> list[Claim]:
    at = f"At {config.informations[-1]:g} nats"
    mean = {name: values[-1].mean(axis=1) for name, values in trained.items()}
    sd = {name: values[-1].std(axis=1, ddof=1) for name, values in trained.items()}
    rivals = np.max([mean[name] for name in ("InfoNCE", "NWJ", _MUCH)], axis=0)
    steady = np.min([sd[name] for name in sd if name != "InfoNCE"], axis=0)
    return [
        Claim.over_seeds(
            f"{at} InfoNCE saturates: it gives hardly more or less than log B = "
            f"{config.ceiling:.2f}",
            mean["InfoNCE"],
            at_least=config.ceiling - 0.15,
            at_most=config.ceiling,
            unit="nats",
            reference="a theorem: never above log B",
        ),
        Claim.over_seeds(
            f"{at} InfoNCE has the smallest spread from batch to batch (next smallest standard "
            "deviation over its own)",
            steady / sd["InfoNCE"],
            at_least=1.6,
            reference="1: the same spread",
        ),
        Claim.over_seeds(
            f"{at} I with alpha {SMALL:g} exceeds InfoNCE, NWJ and alpha {HALF:g} by",
            mean[_LITTLE] - rivals,
            at_least=1.0,
            unit="nats",
            reference="0: the largest of the three",
        ),
        Claim.over_seeds(
            f"{at} the spread of I with alpha {SMALL:g} stays moderate (standard deviation of a "
            "batch)",
            sd[_LITTLE],
            at_most=1.5,
            unit="nats",
            reference=f"{sd['JS'].mean():.2g} with a critic trained by Jensen-Shannon, this run",
        ),
        # The least, not the mean: rare batches make the ratio anything up to thousands.
        Claim(
            f"When not to: {at.lower()} a critic trained by Jensen-Shannon makes NWJ's spread huge "
            f"(standard deviation over that of alpha {SMALL:g}, least of the seeds)",
            value=float((sd["JS"] / sd[_LITTLE]).min()),
            at_least=2,
            seeds=config.seeds,
            reference="1: the same spread",
        ),
    ]


def _claims_of_optimum(config: Config, optimal: Mapping[str, np.ndarray]) -> list[Claim]:
    low, high = config.informations[0], config.informations[-1]
    mean = {name: values.mean(axis=2) for name, values in optimal.items()}
    apart = mean["L1Out"] - mean["TNCE"]
    return [
        Claim.over_seeds(
            f"DV, which MINE reports, is no bound: at the optimal critic it exceeds {high:g} nats "
            "by",
            mean["DV"][-1] - high,
            at_least=0.9,
            unit="nats",
            reference="0, for a lower bound",
        ),
        Claim.over_seeds(
            f"With p(y|x) known, TNCE and leave-one-out enclose {low:g} nats closely (distance)",
            apart[0],
            at_most=0.4,
            unit="nats",
            reference="0: both tight",
        ),
        Claim.over_seeds(
            f"When not to: with p(y|x) known, TNCE and leave-one-out are far apart at {high:g} "
            "nats, so both are loose (distance)",
            apart[-1],
            at_least=11,
            unit="nats",
            reference="0: both tight",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=1, informations=(2.0, 10.0), dim=4, batch_size=16, width=16, embedding=4,
        baseline_width=8, steps=20, batches=5, learning_rate=5e-3,
    ),
    "desk": Config(),
    "paper": Config(
        informations=(2.0, 4.0, 6.0, 8.0, 10.0), seeds=10, steps=20_000, batches=1000
    ),
}  # fmt: skip
