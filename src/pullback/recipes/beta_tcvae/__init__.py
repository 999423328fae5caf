"""beta-TCVAE (arXiv 1802.04942): latents that are independent, and still tell of the image.

Which part of the rate should weigh more? Autoencoders of shapes whose factors are known, scored by
the mutual information gap; beside them FactorVAE, which has its weight by a discriminator.
"""

from collections.abc import Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pullback.data import Factored, soft_squares
from pullback.recipes._kit.stack import unstacked
from pullback.recipes.beta_tcvae import claims, measure, show
from pullback.recipes.beta_tcvae.models import Config, train, train_against
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Train and measure on soft squares, whose factors are known."""
    return on_shapes(config, context, soft_squares())


def on_shapes(config: Config, context: Context, data: Factored) -> list[Claim]:
    """Train each kind of model, and measure what a batch says of one."""
    # No latent can follow the kind of a shape along a line: it is not a factor of the gap.
    scored = [place for place, name in enumerate(data.names) if name != "shape"]
    factors = data.factors[:, scored]
    names = [data.names[place] for place in scored]
    # The weight of the whole rate, or of the total correlation alone.
    kinds = {"VAE": (1.0, False)}
    for family, alone in (("beta-VAE", False), ("beta-TCVAE", True)):
        kinds |= {f"{family} {beta:g}": (beta, alone) for beta in config.betas}
    seeds, last = context.seeds(config.seeds), config.betas[-1]
    trained = {
        name: context.stage(f"train-{name.replace(' ', '-')}", train, config, *kind, data.x, seeds)
        for name, kind in kinds.items()
    }
    trained[f"FactorVAE {config.gamma:g}"] = context.stage(
        "train-FactorVAE", train_against, config, data.x, seeds
    )
    arrays, rest = eqx.partition([*trained.values()], eqx.is_array)
    together = eqx.combine(jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *arrays), rest[0])
    scores = context.stage("scores", measure.score, config, together, data.x, factors, context.seed)
    found = {
        name: {key: value[place * config.seeds :][: config.seeds] for key, value in scores.items()}
        for place, name in enumerate(trained)
    }
    ours = f"beta-TCVAE {last:g}"
    seen = context.stage(
        "estimates", measure.estimates, config, trained[ours], data.x, context.seed
    )
    shown = ("VAE", f"beta-VAE {last:g}", ours)
    best = {name: int(found[name]["mig"].argmax()) for name in shown}
    informed = {name: found[name]["information"][best[name]] for name in shown}
    moved = {
        name: context.stage(
            f"walk-{place}", measure.walk, unstacked(trained[name])[best[name]], informed[name],
            data.x, factors,
        )
        for place, name in enumerate(shown)
    }  # fmt: skip
    shares = {name: each / scores["entropy"][0][:, None] for name, each in informed.items()}
    show.draw_gaps(context, found)
    show.draw_traversals(context, moved, shares, names)
    _table(context, found, names)
    return claims.made(config, found, seen.mean(axis=1))


def _table(
    context: Context, found: Mapping[str, Mapping[str, np.ndarray]], names: Sequence[str]
) -> None:
    columns = {
        "total_correlation": "total correlation",
        "mutual_information": "index-code information",
        "dimension_wise_kl": "dimension-wise divergence",
        "rate": "rate",
        "distortion": "distortion",
    }
    context.table(
        "models",
        ["model", "gap", "over seeds", *columns.values(), *(f"gap of {name}" for name in names)],
        [
            [
                show.greek(name),
                float(row["mig"].mean()),
                f"± {row['mig'].std(ddof=min(1, len(row['mig']) - 1)):.2f}",
                *(float(row[key].mean()) for key in columns),
                *map(float, row["per_factor"].mean(axis=0)),
            ]
            for name, row in found.items()
        ],
        f"Means over {len(found['VAE']['mig'])} seeds, in nats an image but for the gaps; after ± "
        "the standard deviation over them. The three parts are by the exact mixture over all "
        "images, and add up to the rate but for the draw of the samples. FactorVAE's γ is a weight "
        "beside that in the rate, 1.",
    )
    for name, row in found.items():
        for number, gaps in enumerate(row["per_factor"]):
            values = {key: float(row[key][number]) for key in ("mig", *columns)}
            values |= {f"gap_{factor}": float(gap) for factor, gap in zip(names, gaps, strict=True)}
            context.metrics({"model": name, "number": number, **values})


PRESETS = {
    "smoke": Config(
        seeds=1, betas=(8.0,), latent=3, width=8, steps=20, warm_up=10, batch_size=50,
        critic_width=8, table_rows=25, samples=100, batches=10,
    ),
    "desk": Config(),
}  # fmt: skip
