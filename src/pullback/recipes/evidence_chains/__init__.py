"""Recursive evidence chains (arXiv 1807.02150): vectors of users computed, and not stored.

Ratings of low rank with noise. Chains of evidence are trained on some users, and predict newcomers
from a few ratings; on four times as many users with the same parameters and steps; with other
generators, and without what makes newcomers known in training. Beside biases and least squares.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from pullback.recipes.evidence_chains import models, show
from pullback.recipes.evidence_chains.models import Config
from pullback.runs import Claim, Context, Headline

Found = Mapping[str, Mapping[str, np.ndarray]]
# No table of the paper is known to us, so that claims are beside our own figures.
_SAYS = "the abstract: newcomers are handled without retraining"


def run(config: Config, context: Context) -> list[Claim]:
    """Train every kind of recommender on the ratings of each seed."""
    seeds = context.seeds(config.seeds)
    few, many = config.users[0], config.users[-1]
    most, plain, ridge = config.generators

    @cache
    def chains(users: int, generator: str, thinned: float = 0.2) -> dict[str, np.ndarray]:
        name = f"{generator.replace('_', '-')}-{users}-{thinned:g}"
        given = (config, context, seeds, users, generator, thinned)
        return context.stage(name, models.chains, *given)

    found = {
        f"chains, {few} users": chains(few, most),
        f"chains, {many} users": chains(many, most),
        "chains, plain network": chains(few, plain),
        "chains, ridge": chains(few, ridge),
        "chains, no user thinned": chains(few, most, 0.0),
    }
    others = context.stage("baselines", models.baselines, config, context, seeds, few)
    show.draw(context, config, found, others)
    at = lambda row, count: row["new"][:, config.shown.index(count)]
    context.table(
        "errors",
        ["recommender", "parameters", "trained users", *(
            f"newcomers, {count} rating{'s' * (count > 1)}" for count in config.shown
        )],
        [
            [
                name,
                int(row["parameters"][0]) if "parameters" in row else None,
                float(row["warm"].mean()),
                *(float(at(row, count).mean()) for count in config.shown),
            ]
            for name, row in {**found, **others}.items()
        ],
        f"Root mean squared errors, means over {config.seeds} seeds: of held-out ratings of "
        "trained users, and of newcomers by how many of their ratings are known. The noise alone "
        f"is {config.noise:g}.",
    )  # fmt: skip
    return _claims(config, list(found.values()), others)


def _claims(config: Config, found: list[Any], others: Found) -> list[Claim]:
    chains, larger, plain, _, whole = found
    at = lambda row, count: row["new"][:, config.shown.index(count)]
    few, many = config.users[0], config.users[-1]
    factors = others["ALS, fold-in"]
    return [
        Claim.over_seeds(
            "A newcomer is known from 10 ratings, and no parameter is changed (error over that of "
            "the mean)",
            at(chains, 10) / at(others["mean"], 10),
            at_most=0.75,
            reference=f"1: the mean; {_SAYS}",
            headline=Headline(no_effect=1.0),
        ),
        Claim.over_seeds(
            f"As many steps serve {many} users as {few}, with the same "
            f"{int(chains['parameters'][0])} parameters (ratio of errors)",
            larger["warm"] / chains["warm"],
            at_most=1.15,
            reference="1: the fewer users; the abstract: steps and parameters are constant in size",
        ),
        Claim.over_seeds(
            "A newcomer with 20 ratings is known as well as a user of the training (ratio of "
            "errors)",
            at(chains, 20) / chains["warm"],
            at_most=1.1,
            reference="1: the trained users, with 25 known ratings on average",
        ),
        Claim.over_seeds(
            "One rating does no harm (error over that of the mean)",
            at(chains, min(config.shown)) / at(others["mean"], min(config.shown)),
            at_most=1.0,
            reference="1: the mean",
        ),
        Claim.over_seeds(
            "Users thinned in training make newcomers with 2 ratings known (error over that "
            "without)",
            at(chains, 2) / at(whole, 2),
            at_most=0.97,
            reference="1: nobody is thinned",
        ),
        Claim.over_seeds(
            "A generator with a bilinear part learns faster than a plain network (ratio of errors)",
            chains["warm"] / plain["warm"],
            at_most=0.85,
            reference="1: the paper's network, at as many steps",
        ),
        Claim.over_seeds(
            "When not to: on clean ratings of low rank, least squares with fold-in are better "
            "(their error over that of the chains, trained users)",
            factors["warm"] / chains["warm"],
            at_most=0.85,
            reference="1: the chains",
        ),
    ]


PRESETS = {
    # One generator: fewer programs to compile, and what is asked for twice is trained once.
    "smoke": Config(
        seeds=1, users=(24, 48), newcomers=4, items=60, latent=2, prototypes=4, width=4, steps=10,
        generators=("ridge", "ridge", "ridge"),
    ),
    "desk": Config(seeds=3),
}  # fmt: skip
