"""On Variational Bounds of Mutual Information (arXiv 1905.06922): bias against variance.

Gaussians whose mutual information is known: every bound at the optimal critic, at critics trained
with it, and with the conditional known. Or, with `--data my.csv`, what columns of a table share.
"""

from collections.abc import Mapping

import numpy as np

from pullback.recipes.mi_bounds import measure, show
from pullback.recipes.mi_bounds.measure import HALF, SMALL, Config
from pullback.runs import Claim, Context

_LITTLE, _MUCH = f"I_{SMALL:g}", f"I_{HALF:g}"


def run(config: Config, context: Context) -> list[Claim]:
    """Measure the bounds at the optimal critic, and train critics with them."""
    seeds = context.seeds(config.seeds)
    values = context.stage("optimal", measure.optimal, config, seeds)
    optimal = {name: values[:, :, place] for place, name in enumerate(measure.OPTIMAL)}
    results = {
        name: context.stage(f"train-{name}", measure.train, config, name, seeds)
        for name in measure.TRAINED
    }
    trained = {name: found["values"] for name, found in results.items()}
    informations = config.informations
    show.draw_estimates(context, informations, trained, optimal, measure.log_batch(config))
    show.draw_trade_off(context, informations, trained, optimal)
    show.draw_training(context, results, informations[-1])
    show.draw_scores(context, results, informations, len(informations) // 2)
    _table(config, context, "trained", trained, "Critics trained with each bound")
    _table(config, context, "optimal", optimal, "The optimal critic, known in closed form")
    context.note(
        "DV is what MINE reports; it is no bound. The spread of NWJ at the optimal critic is not "
        "told by any number of batches that one can take: its second term is a mean of ratios "
        "whose variance is e^(2 I), and rare pairs that would bring it do not come up."
    )
    return [*_claims_of_optimum(config, optimal), *_claims_of_training(config, trained)]


def _table(
    config: Config, context: Context, name: str, found: Mapping[str, np.ndarray], caption: str
) -> None:
    deviations = {label: values.std(axis=2, ddof=1) for label, values in found.items()}
    for label, values in found.items():
        for place, information in enumerate(config.informations):
            for number in range(config.seeds):
                context.metrics(
                    {
                        "critic": name,
                        "bound": label,
                        "information": information,
                        "number": number,
                        "mean": float(values[place, number].mean()),
                        "sd": float(deviations[label][place, number]),
                    }
                )
    header = [
        text for i in config.informations for text in (f"I = {i:g}", "sd of a batch", "over seeds")
    ]
    rows = [
        [
            show.NAMES[label],
            *(
                cell
                for place in range(len(config.informations))
                for cell in (
                    float(values[place].mean()),
                    float(np.sqrt(np.mean(deviations[label][place] ** 2))),
                    float(values[place].mean(axis=1).std(ddof=1)) if config.seeds > 1 else None,
                )
            ),
        ]
        for label, values in found.items()
    ]
    context.table(
        name,
        ["nats", *header],
        rows,
        f"{caption}: means over {config.batches} batches of {config.batch_size} pairs and "
        f"{config.seeds} seeds, the standard deviation from batch to batch, and that of the means "
        f"from seed to seed. log B is {measure.log_batch(config):.2f}.",
    )


def _mean(values: np.ndarray, place: int) -> np.ndarray:
    """Over batches, at one mutual information, a number a seed."""
    return values[place].mean(axis=1)


def _sd(values: np.ndarray, place: int) -> np.ndarray:
    return values[place].std(axis=1, ddof=1)


def _claims_of_optimum(config: Config, optimal: Mapping[str, np.ndarray]) -> list[Claim]:
    truth = np.asarray(config.informations)
    low, high = truth[0], truth[-1]
    error = optimal["NWJ"][0].ravel() - low
    below, above = (optimal[name].mean(axis=2).T - truth for name in ("TNCE", "L1Out"))
    return [
        Claim(
            f"At the optimal critic NWJ is unbiased (mean error at {low:g} nats over its standard "
            "error)",
            value=float(abs(error.mean()) / (error.std(ddof=1) / np.sqrt(error.size))),
            at_most=4,
            seeds=config.seeds,
            reference=f"closed form: {low:g} nats; four standard errors",
        ),
        Claim.over_seeds(
            f"DV, which MINE reports, is no bound: at the optimal critic it exceeds {high:g} nats "
            "by",
            (_mean(optimal["DV"], -1) - high).tolist(),
            at_least=0.5,
            unit="nats",
            reference="1.4 nats in another implementation",
        ),
        Claim(
            "With p(y|x) known, TNCE and leave-one-out enclose the truth (the least distance of "
            "either, all mutual informations and seeds)",
            value=float(min((-below).min(), above.min())),
            at_least=0,
            seeds=config.seeds,
            unit="nats",
            reference="closed form",
        ),
        Claim.over_seeds(
            f"At {low:g} nats TNCE and leave-one-out are close to each other (distance)",
            (above - below)[:, 0].tolist(),
            at_most=0.5,
            unit="nats",
            reference="0.34 nats in another implementation",
        ),
        Claim.over_seeds(
            f"At {high:g} nats TNCE and leave-one-out are far apart, so both are loose (distance)",
            (above - below)[:, -1].tolist(),
            at_least=8,
            unit="nats",
            reference="12.2 nats in another implementation",
        ),
    ]


def _claims_of_training(config: Config, trained: Mapping[str, np.ndarray]) -> list[Claim]:
    truth, ceiling = np.asarray(config.informations), measure.log_batch(config)
    high = truth[-1]
    excess = max(float((values.mean(axis=2) - truth[:, None]).max()) for values in trained.values())
    others = [name for name in trained if name != "InfoNCE"]
    steady = np.min([_sd(trained[name], -1) for name in others], axis=0)
    little = _mean(trained[_LITTLE], -1)
    rivals = np.max([_mean(trained[name], -1) for name in ("InfoNCE", "NWJ", _MUCH)], axis=0)
    return [
        Claim.over_seeds(
            f"InfoNCE saturates: at {high:g} nats it gives hardly more or less than log B = "
            f"{ceiling:.2f}",
            _mean(trained["InfoNCE"], -1).tolist(),
            at_least=ceiling - 0.25,
            at_most=ceiling,
            unit="nats",
            reference="4.08 nats in another implementation; never above log B",
        ),
        Claim.over_seeds(
            f"At {high:g} nats InfoNCE has the smallest spread from batch to batch (next smallest "
            "standard deviation over its own)",
            (steady / _sd(trained["InfoNCE"], -1)).tolist(),
            at_least=1.3,
            reference="0.12 over 0.06 in another implementation",
        ),
        Claim.over_seeds(
            f"I with alpha {SMALL:g} passes log B: its value at {high:g} nats",
            little.tolist(),
            at_least=6,
            unit="nats",
            reference=f"7.1 nats in another implementation, of {high:g}",
        ),
        Claim.over_seeds(
            f"At {high:g} nats I with alpha {SMALL:g} exceeds InfoNCE, NWJ and alpha {HALF:g} by",
            (little - rivals).tolist(),
            at_least=0.7,
            unit="nats",
            reference="1.8 nats in another implementation",
        ),
        Claim.over_seeds(
            f"At {high:g} nats the spread of I with alpha {SMALL:g} stays moderate (standard "
            "deviation of a batch)",
            _sd(trained[_LITTLE], -1).tolist(),
            at_most=1.5,
            unit="nats",
            reference="0.7 nats in another implementation",
        ),
        # The least, not the mean: rare batches make the ratio anything up to thousands.
        Claim(
            f"At {high:g} nats a critic trained by Jensen-Shannon makes NWJ's spread huge "
            f"(standard deviation over that of alpha {SMALL:g}, least of the seeds)",
            value=float((_sd(trained["JS"], -1) / _sd(trained[_LITTLE], -1)).min()),
            at_least=2,
            seeds=config.seeds,
            reference="6.5 in another implementation",
        ),
        Claim.over_seeds(
            f"NWJ is too noisy to train with at {high:g} nats: it stays below alpha {SMALL:g} by",
            (little - _mean(trained["NWJ"], -1)).tolist(),
            at_least=1,
            unit="nats",
            reference="2.5 nats in another implementation",
        ),
        Claim(
            "No lower bound exceeds the truth on average (largest mean less the truth, all bounds, "
            "mutual informations and seeds)",
            value=excess,
            at_most=0.05,
            seeds=config.seeds,
            unit="nats",
            reference="0; what chance may add",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=2, dim=4, batch_size=16, width=16, embedding=4, baseline_width=8, steps=100,
        batches=20, learning_rate=5e-3,
    ),
    "desk": Config(),
    "paper": Config(
        informations=(2.0, 4.0, 6.0, 8.0, 10.0), seeds=10, steps=20_000, batches=1000,
       
    ),
}  # fmt: skip
