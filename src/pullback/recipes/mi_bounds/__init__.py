"""On Variational Bounds of Mutual Information (arXiv 1905.06922): bias against variance.

Pairs whose mutual information is known, Gaussian and cubed: every bound at the optimal critic, at
critics trained with it, and with the conditional known. And digits, represented by critics of their
halves. Or, with `--data my.csv`, what columns of a table share.
"""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from pullback.data import digits
from pullback.recipes.mi_bounds import measure, show
from pullback.recipes.mi_bounds.measure import CUBIC, GAUSSIAN, SMALL, TASKS, Config
from pullback.runs import Claim, Context, Headline

_LITTLE = f"I_{SMALL:g}"
_MORE = 4  # times as many seeds where nothing is trained: the errors of NWJ are rarely large
Values = Mapping[str, np.ndarray]


def run(config: Config, context: Context) -> list[Claim]:
    """Measure the bounds at the optimal critic, and train critics with them."""
    seeds, informations = context.seeds(config.seeds), config.informations
    optimal = context.stage(
        "optimal", measure.optimal, config, jnp.asarray(informations),
        jnp.asarray(context.seeds(_MORE * config.seeds)),
    )  # fmt: skip
    trained = {
        task: {
            name: context.stage(f"{task}-{name}", measure.train, config, name, task, seeds)
            for name in measure.TRAINED[task]
        }
        for task in TASKS
    }
    told = context.stage("halves", measure.represent, config, digits(seed=context.seed), seeds)
    show.draw_estimates(context, informations, trained[GAUSSIAN], optimal, config.ceiling)
    show.draw_trade_off(context, informations, {"optimal critic": optimal, **trained})
    for task in TASKS:
        _table(config, context, task, trained[task], f"The {task} task, critics trained with each")
    _table(config, context, "optimal", optimal, "The optimal critic of Gaussians, in closed form")
    context.table(
        "halves",
        ["critic of halves of digits", "accuracy", *(f"seed {i + 1}" for i in range(config.seeds))],
        [[show.NAMES.get(name, name), float(row.mean()), *row] for name, row in told.items()],
        f"Held-out digits that a linear classifier tells from the {2 * config.code} numbers that "
        "a critic makes of both halves.",
    )
    context.note(
        "DV is what MINE reports; it is no bound. The spread of NWJ at the optimal critic is not "
        "told by any number of batches that one can take: its second term is a mean of ratios "
        "whose variance is e^(2 I), and rare pairs that would bring it do not come up."
    )
    return [
        *_claims_of_estimation(config, trained, optimal),
        *_claims_of_halves(told),
        *_claims_when_not(config, trained[GAUSSIAN], optimal),
    ]


def _table(config: Config, context: Context, name: str, found: Values, caption: str) -> None:
    truth = np.asarray(config.informations)[:, None, None]
    bias = {label: (values - truth).mean(axis=(1, 2)) for label, values in found.items()}
    error = {label: _errors(values, truth).mean(axis=1) for label, values in found.items()}
    deviation = {
        label: np.sqrt(values.var(axis=2, ddof=1).mean(axis=1)) for label, values in found.items()
    }
    for label in found:
        for place, information in enumerate(config.informations):
            here = {key: float(each[label][place]) for key, each in
                    (("bias", bias), ("sd", deviation), ("rmse", error))}  # fmt: skip
            context.metrics({"critic": name, "bound": label, "information": information, **here})
    seeds = next(iter(found.values())).shape[1]
    columns = [text for i in config.informations for text in (f"bias at {i:g}", "sd", "RMSE")]
    context.table(
        name,
        ["nats", *columns],
        [
            [show.NAMES[label], *map(float, np.stack(row, axis=1).ravel())]
            for label in found
            for row in [(bias[label], deviation[label], error[label])]
        ],
        f"{caption}: bias, standard deviation from batch to batch and root mean square error, over "
        f"{config.batches} batches of {config.batch_size} pairs and {seeds} seeds. log B is "
        f"{config.ceiling:.2f}. The paper has the same as plots, without numbers.",
    )


def _errors(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Root mean square errors over the batches, `[info, seed]`."""
    return np.sqrt(np.mean((values - truth) ** 2, axis=2))


def _claims_of_estimation(
    config: Config, trained: Mapping[str, Values], optimal: Values
) -> list[Claim]:
    most, middle = config.informations[-1], len(config.informations) // 2
    at, among = f"at {most:g} nats", config.informations[middle]
    # As in the paper but for how often, and the digits, which are ours.
    own = dataclasses.replace(
        PRESETS["paper"], seeds=config.seeds, batches=config.batches, code=config.code,
        view_steps=config.view_steps,
    )  # fmt: skip
    mean = {
        task: {name: values[-1].mean(axis=1) for name, values in trained[task].items()}
        for task in TASKS
    }
    errors = {
        name: _errors(values, np.asarray(config.informations)[:, None, None])[middle]
        for name, values in optimal.items()
    }
    spread = {name: values[-1].std(axis=1, ddof=1) for name, values in trained[GAUSSIAN].items()}
    return [
        *(
            Claim.over_seeds(
                f"{task.capitalize()} task {at}: I with alpha {SMALL:g} gets past InfoNCE, which "
                f"saturates at log B = {config.ceiling:.2f}, by",
                mean[task][_LITTLE] - mean[task]["InfoNCE"],
                at_least=bound,
                unit="nats",
                reference="0: InfoNCE, trained alike; the paper has plots",
                headline=Headline(no_effect=0.0, published=config == own),
            )
            for task, bound in ((GAUSSIAN, 2.3), (CUBIC, 0.2))
        ),
        Claim.over_seeds(
            f"The optimal critic at {among:g} nats: alpha {SMALL:g} trades bias for spread and "
            "errs less than either end (lesser root mean square error of InfoNCE and NWJ over "
            "its own)",
            np.minimum(errors["InfoNCE"], errors["NWJ"]) / errors[_LITTLE],
            at_least=1.3,
            reference="1: the better of the two; the paper has plots",
            headline=Headline(
                no_effect=1.0,
                published=(config.dim, config.batch_size) == (own.dim, own.batch_size),
            ),
        ),
        Claim.over_seeds(
            f"Gaussian task {at}: InfoNCE has the smallest spread from batch to batch (next "
            "smallest standard deviation over its own)",
            np.min([spread[name] for name in spread if name != "InfoNCE"], axis=0)
            / spread["InfoNCE"],
            at_least=4.0,
            reference="1: the same spread",
        ),
    ]


def _claims_of_halves(told: Values) -> list[Claim]:
    return [
        Claim.over_seeds(
            f"Digits: critics of their halves, trained with alpha {SMALL:g}, learn to represent "
            "them (accuracy of a linear classifier above that of critics not trained)",
            told[_LITTLE] - told["not trained"],
            at_least=0.15,
            reference="0: critics that are not trained",
        ),
        Claim.over_seeds(
            "Digits: InfoNCE represents them better than NWJ, as the authors advise (accuracy less "
            "NWJ's)",
            told["InfoNCE"] - told["NWJ"],
            at_least=0.0,
            reference="0: no difference",
        ),
    ]


def _claims_when_not(config: Config, trained: Values, optimal: Values) -> list[Claim]:
    high = config.informations[-1]
    spread = {name: values[-1].std(axis=1, ddof=1) for name, values in trained.items()}
    return [
        # In logs: rare batches make the ratio anything up to thousands.
        Claim.over_seeds(
            f"When not to: at {high:g} nats a critic trained by Jensen-Shannon makes NWJ's spread "
            f"huge (standard deviation over that of alpha {SMALL:g}, in powers of ten)",
            np.log10(spread["JS"] / spread[_LITTLE]),
            at_least=1.0,
            reference="0: the same spread",
        ),
        Claim.over_seeds(
            "When not to: with p(y|x) known, TNCE and leave-one-out enclose the truth, but far "
            f"apart at {high:g} nats (distance)",
            (optimal["L1Out"] - optimal["TNCE"]).mean(axis=2)[-1],
            at_least=11,
            unit="nats",
            reference="0: both tight",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=1, informations=(2.0, 10.0), dim=4, batch_size=16, width=16, embedding=4,
        baseline_width=8, steps=20, batches=5, learning_rate=5e-3, view_steps=5,
    ),
    "desk": Config(),
    "long": Config(
        informations=(2.0, 4.0, 6.0, 8.0, 10.0), width=256, steps=4000, learning_rate=5e-4
    ),
    "paper": Config(
        informations=(2.0, 4.0, 6.0, 8.0, 10.0), seeds=10, width=256, steps=4000,
        learning_rate=5e-4, batches=1000,
    ),
}  # fmt: skip
