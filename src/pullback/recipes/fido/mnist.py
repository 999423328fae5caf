"""Every infill on MNIST, judged by every other, and a scikit-learn network as a black box."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Float

from pullback.analysis import explain
from pullback.bounds import ELBO
from pullback.data import Split, mnist
from pullback.models.vae import Bernoulli, BoundLoss, mlp_vae
from pullback.plots import figure, image_sheet
from pullback.recipes._kit.images import in_blocks
from pullback.recipes._kit.stack import made
from pullback.recipes.fido import measure, models
from pullback.runs import Claim, Context
from pullback.train import fit

INK = 0.25
# The infills under which all maps are judged: what MNIST has behind its digits, and two that draw.
JUDGES = ("black", "generative", "another image")


@dataclass(frozen=True)
class Config(models.Search):
    seeds: int = 2
    training_steps: int = 1500
    pictures: int = 10
    size_weight: float = 0.05
    grid: int = 7
    images: int = 10_000
    """Training images, averaged in blocks of 2 x 2 pixels."""
    latent: int = 16
    """Latents of the autoencoder that fills in."""
    vae_steps: int = 2000
    """Its training steps, with 64 images each."""
    hidden: int = 64
    """Hidden units of the scikit-learn network."""


def run(config: Config, context: Context) -> list[Claim]:
    """Explain with every infill, and judge every map."""
    data = in_blocks(mnist(context.data), 2)
    found = [
        context.stage(f"seed-{seed}", explained, config, context, data, seed)
        for seed in context.seeds(config.seeds)
    ]
    _show(context, config, found)
    return _claims(found)


def explained(config: Config, context: Context, data: Split, seed: int) -> dict[str, Any]:
    """The maps of every infill, what each judge says of each, and the twin."""
    order = np.random.default_rng(seed).permutation(len(data.train.y))[: config.images]
    train = type(data.train)(*(part[order] for part in data.train))
    net = models.trained(config, context, train, seed)
    logits = models.rows(net, jnp.asarray(data.test.x[:, None]))
    right = np.asarray(logits).argmax(axis=1) == data.test.y
    x = data.test.x[right][: config.pictures]
    fills, key = _infills(config, context, train.x, seed), jr.key(seed)
    settings: dict[str, Any] = {
        "objective": "sdr",
        "size_weight": config.size_weight,
        "progress": False,
    }
    search: dict[str, Any] = {
        **settings,
        "steps": config.steps,
        "samples": config.samples,
        "key": key,
    }
    maps = {name: explain.fido(net, x[:, None], fill, **search).map for name, fill in fills.items()}
    one_mask = explain.bbmp(net, x[:, None], fills["grey"], steps=config.steps, key=key, **settings)
    maps["grey, one mask (BBMP)"] = one_mask.map
    maps = {name: np.asarray(each) for name, each in maps.items()}
    return {
        "accuracy": float(right.mean()),
        "x": x,
        "maps": maps,
        "scores": {name: _scores(net, x, each, fills) for name, each in maps.items()},
        "twin": _twin(config, train, x, fills["generative"], search),
    }


def _infills(
    config: Config, context: Context, images: Float[np.ndarray, "n h w"], seed: int
) -> dict[str, explain.AbstractInfill]:
    vae = made(
        mlp_vae, (1, *images.shape[1:]), config.latent, 128, 1, likelihood=Bernoulli(),
        key=jr.key(seed),
    )  # fmt: skip
    vae, _ = fit(
        vae, BoundLoss(ELBO()), images[:, None], optimiser=optax.adam(1e-3), steps=config.vae_steps,
        batch_size=64, log_every=config.vae_steps, key=jr.key(seed),
        **context.training(f"autoencoder-{seed}"),
    )  # fmt: skip
    return {
        **models.infills(config, images),
        "local mean": explain.LocalMeanInfill(5),
        "blur": explain.BlurInfill(3.0),
        "noise": explain.NoiseInfill(),
        "another image": explain.EmpiricalInfill(images[:1000, None]),
        "autoencoder": explain.ModelInfill(vae, rounds=3),
    }


def _scores(
    net: models.Net, x: Float[np.ndarray, "n h w"], maps: Float[np.ndarray, "n h w"],
    fills: Mapping[str, explain.AbstractInfill],
) -> dict[str, Any]:  # fmt: skip
    strokes, key = x >= INK, jr.key(0)
    pairs = [(image[None], each) for image, each in zip(x, maps, strict=True)]
    mean = lambda of: float(np.mean([of(*pair) for pair in pairs]))
    area = lambda curve, name: mean(lambda x, each: curve(net, x, each, fills[name], key=key).area)
    return {
        **measure.against(maps, strokes),
        "box": mean(lambda image, each: explain.localisation(each, image[0] >= INK)),
        "crop": mean(
            lambda image, each: explain.saliency_metric(net, image, each, fills["black"], key=key)
        ),
        "insertion": area(explain.insertion_curve, "black"),
        "deletion": {name: area(explain.deletion_curve, name) for name in JUDGES},
    }


def _twin(
    config: Config, train: Any, x: Float[np.ndarray, "n h w"], infill: explain.AbstractInfill,
    search: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """A scikit-learn network asked through `predict_proba`, and the same one written in JAX."""
    from sklearn.neural_network import MLPClassifier

    rows = train.x.reshape(len(train.x), -1)
    network = MLPClassifier((config.hidden,), early_stopping=True, random_state=0)
    network.fit(rows, train.y)
    (a, b), (c, d) = (map(jnp.asarray, each) for each in (network.coefs_, network.intercepts_))
    same = lambda image: jax.nn.relu(jnp.ravel(image) @ a + c) @ b + d
    grid = {"grid": (config.grid, config.grid)}
    told = {
        name: explain.fido(model, x[:, None], infill, **grid, **search)
        for name, model in (("scikit-learn", network), ("gradients", same))
    }
    maps = {name: np.asarray(each.map) for name, each in told.items()}
    strokes = x >= INK
    return {
        "agreement": measure.agreement(*maps.values()),
        "evaluations": told["gradients"].evaluations,
        **{name: {"map": each, **measure.against(each, strokes)} for name, each in maps.items()},
    }


def _show(context: Context, config: Config, found: Sequence[Mapping[str, Any]]) -> None:
    mean = lambda name, of: float(np.mean([of(one["scores"][name]) for one in found]))
    columns = ("area", "precision", "box", "crop", "insertion")
    context.table(
        "infills",
        ["infill", "pixels", "precision", "box", "saliency metric", "insertion",
         *(f"deletion, {judge}" for judge in JUDGES)],
        [
            [name, *(mean(name, lambda s, c=c: s[c]) for c in columns),
             *(mean(name, lambda s, j=j: s["deletion"][j]) for j in JUDGES)]
            for name in found[0]["maps"]
        ],
        f"The region whose removal destroys a digit, by what removed pixels are filled with, of "
        f"{config.pictures} images of 14 x 14 pixels and {config.seeds} seeds: how many pixels, "
        "the share that is ink, intersection over union of boxes around region and digit, the "
        "saliency metric (lower is better) and the area under the insertion curve, in black; and "
        "that under deletion curves with each of three infills, in nats: lower is better, and who "
        "wins depends on who judges.",
    )  # fmt: skip
    first = found[0]
    rows = {"image": first["x"], **first["maps"]}
    rows |= {f"twin, {name}": first["twin"][name]["map"] for name in ("scikit-learn", "gradients")}
    fig, ax = figure(width=9.6, height=11.5)
    image_sheet(ax, np.stack([each[:10] for each in rows.values()]), rows=list(rows))
    context.figure(
        "maps",
        fig,
        "Images, and for each infill the map of the smallest region whose removal destroys the "
        "class, dark where a pixel matters. Below, another classifier: scikit-learn's network "
        "asked through `predict_proba` alone, and the same network by its gradients.",
    )


def _claims(found: Sequence[Mapping[str, Any]]) -> list[Claim]:
    score = lambda way, name: np.asarray([one["scores"][way][name] for one in found])
    twin = [one["twin"] for one in found]
    chance = float(np.mean([np.mean(one["x"] >= INK) for one in found]))
    start = "MNIST at 14 x 14"
    return [
        Claim.over_seeds(
            f"{start}: the region that destroys the class is smaller with a generative model than "
            "in grey (ratio of pixels)",
            score("generative", "area") / score("grey", "area"),
            at_most=0.8, reference="1: grey",
        ),
        Claim.over_seeds(
            f"{start}: and it lies on ink (share of its pixels, less grey's)",
            score("generative", "precision") - score("grey", "precision"),
            at_least=0.1,
            reference=f"grey: {score('grey', 'precision').mean():.2f}; {chance:.2f} by chance",
        ),
        Claim.over_seeds(
            f"{start}: scikit-learn's network, through `predict_proba` alone, has the map that its "
            f"gradients give, roughly, for {twin[0]['evaluations']} calls an image (rank "
            "correlation)",
            [each["agreement"] for each in twin],
            at_least=0.3, reference="1: the same map; 0: unrelated",
        ),
        Claim.over_seeds(
            f"{start}: when not to: where what is behind is black, black needs no model and its "
            "regions lie on ink more (share of pixels, less the generative model's)",
            score("black", "precision") - score("generative", "precision"),
            at_least=0.1, reference=f"generative: {score('generative', 'precision').mean():.2f}",
        ),
    ]  # fmt: skip


PRESETS = {
    "smoke": Config(
        seeds=1, images=200, width=4, training_steps=60, pictures=2, rank=8, latent=2, vae_steps=20,
        steps=10, samples=2, size_weight=1e-3, grid=14, hidden=8,
    ),
    "desk": Config(),
    "paper": Config(seeds=5, images=60_000, width=64, training_steps=10_000, pictures=100,
                    rank=196, vae_steps=20_000, steps=300),
}  # fmt: skip
