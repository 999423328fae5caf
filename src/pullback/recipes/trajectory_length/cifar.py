"""The trainings of `trajectory-length` on the subset of CIFAR-10, in grey."""

from pullback.data import Labelled, Split, cifar10_subset
from pullback.recipes.trajectory_length import on_images
from pullback.recipes.trajectory_length.mnist import PRESETS as MNIST
from pullback.recipes.trajectory_length.models import Config
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Train on a part of the subset."""
    parts = cifar10_subset(context.data)
    grey = Split(*(Labelled(part.x.mean(axis=-1), part.y) for part in parts))
    return on_images(config, context, grey, "CIFAR-10")


PRESETS = {"smoke": MNIST["smoke"], "desk": Config(images=2000, trained=(1, 4, 7))}
