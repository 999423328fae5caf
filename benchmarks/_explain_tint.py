"""Feature importance in time by time_interpret, on PyTorch."""

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from importlib import metadata
from typing import Any
from unittest import mock

import numpy as np
import torch


@contextlib.contextmanager
def _without_torchvision() -> Iterator[None]:
    """What torchmetrics loads of it does not load beside the CPU's PyTorch, nor is it needed."""
    version, find = metadata.version, importlib.util.find_spec

    def told(name: str) -> str:
        if name == "torchvision":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    def found(name: str, package: str | None = None) -> Any:
        return None if name.split(".")[0] == "torchvision" else find(name, package)

    with (
        mock.patch.object(metadata, "version", told),
        mock.patch.object(importlib.util, "find_spec", found),
    ):
        yield


class Recurrent(torch.nn.Module):
    """A GRU and a linear head, which tells how many time steps of one series it took in."""

    def __init__(self, features: int, hidden: int, classes: int):
        super().__init__()
        self.rnn = torch.nn.GRU(features, hidden, batch_first=True)
        self.head = torch.nn.Linear(hidden, classes)
        self.taken = self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.taken += x.shape[1]
        self.calls += 1
        return self.head(self.rnn(x)[0][:, -1])

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: each.detach().numpy() for name, each in self.state_dict().items()}


def explainer(model: Recurrent, series: torch.Tensor, hidden: int) -> Any:
    """The explainer as it comes, with a generator that a few steps were spent on."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings(), _without_torchvision():
        warnings.simplefilter("ignore")
        import pytorch_lightning as pl
        from tint.attr import Fit
        from tint.attr.models import JointFeatureGeneratorNet

        trainer = pl.Trainer(
            max_epochs=2, logger=False, enable_checkpointing=False, accelerator="cpu",
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        generator = JointFeatureGeneratorNet(rnn_hidden_size=hidden)
        return Fit(model, generator=generator, features=series, trainer=trainer)
