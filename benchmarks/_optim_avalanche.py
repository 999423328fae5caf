"""Synaptic intelligence of Avalanche, where it installs, without what it does not need for that."""

import contextlib
import re
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import torch

# Imported with Avalanche, and not used here.
_ASIDE = ("wandb", "qpsolvers", "torch.utils.tensorboard", "torch.utils.tensorboard.writer")
_MISSING = re.compile(r"operator torchvision::(\w+) does not exist")


def trainers(
    weights: list[np.ndarray], x: np.ndarray, y: np.ndarray, batch_size: int, rate: float
) -> dict[str, Callable[[], Any]]:
    """Once through the data, by Adam alone and with the plugin, in the second of two tasks.

    Raises:
        ImportError: it is not installed.
    """
    _import_torchvision()
    with mock.patch.dict(sys.modules, {name: mock.MagicMock() for name in _ASIDE}):
        from avalanche.benchmarks import benchmark_from_datasets
        from avalanche.benchmarks.utils.classification_dataset import (
            _make_taskaware_tensor_classification_dataset as dataset,
        )
        from avalanche.training.plugins import SynapticIntelligencePlugin
        from avalanche.training.supervised import Naive
    rows = dataset(torch.tensor(x), torch.tensor(y, dtype=torch.int64), task_labels=0)
    found: dict[str, Any] = {}
    for name, plugins in {
        "Avalanche, Adam": [],
        "Avalanche, synaptic intelligence": [SynapticIntelligencePlugin(0.1)],
    }.items():
        stream = benchmark_from_datasets(train=[rows, rows]).train_stream
        net = _network(weights)
        strategy = Naive(
            model=net, optimizer=torch.optim.Adam(net.parameters(), rate), evaluator=None,
            criterion=torch.nn.CrossEntropyLoss(), train_mb_size=batch_size, train_epochs=1,
            plugins=plugins,
        )  # fmt: skip
        with contextlib.redirect_stdout(None):
            strategy.train(stream[0])
        found[name] = lambda strategy=strategy, stream=stream: strategy.train(stream[1])
    return found


def _network(weights: list[np.ndarray]) -> torch.nn.Sequential:
    layers: list[torch.nn.Module] = []
    for weight, bias in zip(weights[::2], weights[1::2], strict=True):
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)
        layers += [layer, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def _import_torchvision() -> None:
    """Its own operators may be compiled for another PyTorch: none of them is called here."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    while True:
        try:
            import torchvision  # noqa: F401
        except RuntimeError as error:
            missing = _MISSING.search(str(error))
            if missing is None:
                raise ImportError(str(error)) from error
            library.define(f"{missing[1]}(Tensor x) -> Tensor")
            for name in [name for name in sys.modules if name.startswith("torchvision")]:
                del sys.modules[name]
        else:
            return
