"""Autoencoders of MNIST, trained with each gradient: what it is worth in held-out likelihood."""

from pullback.bounds import ELBO, ImportanceWeighted
from pullback.data import mnist
from pullback.recipes._kit.paired_vaes import Config, Scores, Ways, held_out_scores
from pullback.runs import Claim, Context, Headline
from pullback.sampling import DoublyReparameterised, PathDerivative, Reparameterised

VAE = "autoencoder (ELBO)"
TOTAL, PATH, DOUBLY = "total derivative", "path derivative", "doubly reparameterised"


def weighted(k: int) -> str:
    """The name of an importance-weighted autoencoder."""
    return f"weighted autoencoder, k = {k}"


def ways(config: Config) -> Ways:
    """The ELBO and weighted bounds, each with the total derivative and along the path alone."""
    estimators = {
        TOTAL: Reparameterised(),
        PATH: PathDerivative(allow_bias=True),
        DOUBLY: DoublyReparameterised(),
    }
    return {
        f"{VAE}, {TOTAL}": (ELBO(), Reparameterised()),
        f"{VAE}, {PATH}": (ELBO(), PathDerivative()),
        **{
            f"{weighted(k)}, {name}": (ImportanceWeighted(k), estimator)
            for k in config.samples
            for name, estimator in estimators.items()
        },
    }


def run(config: Config, context: Context) -> list[Claim]:
    """Held-out likelihood with and without the score's part of the gradient."""
    return claims(config, held_out_scores(config, context, mnist(context.data), ways(config)))


def claims(config: Config, scores: Scores) -> list[Claim]:
    """What a gradient gains over the total derivative, of the same start and batches."""
    gain = lambda model, way: scores[f"{model}, {TOTAL}"] - scores[f"{model}, {way}"]
    few = config.samples[0]  # more samples are in the table
    return [
        Claim.over_seeds(
            "An autoencoder trained by the path derivative has the higher held-out likelihood "
            "(gain over the total derivative, same start and batches)",
            gain(VAE, PATH),
            at_least=0.1,
            unit="nats",
            reference="0: the total derivative; the paper: the path derivative is the better one",
            headline=Headline(no_effect=0.0),
        ),
        Claim.over_seeds(
            f"So has an importance-weighted autoencoder, k = {few}, though its gradient is then "
            "biased (gain over the total derivative)",
            gain(weighted(few), PATH),
            at_least=0.1,
            unit="nats",
            reference="0: the total derivative",
            headline=Headline(no_effect=0.0),
        ),
        Claim.over_seeds(
            f"The doubly reparameterised gradient, which has no bias, gains too, k = {few} (over "
            "the total derivative)",
            gain(weighted(few), DOUBLY),
            at_least=0.0,
            unit="nats",
            reference="0: the total derivative",
        ),
    ]


PRESETS = {
    "smoke": Config(seeds=2, steps=50, block=4, width=10, latent=2, scored=8, score_samples=20),
    "desk": Config(),
    "long": Config(
        seeds=3, steps=15_000, learning_rate=2e-3, batch_size=20, block=1, width=200, latent=50,
        scored=1000, score_samples=5000,
    ),
    "paper": Config(
        samples=(5, 50), steps=8_200_000, learning_rate=1e-3, batch_size=20, block=1, width=200,
        latent=50, scored=10_000, score_samples=5000,
    ),
}  # fmt: skip
