"""The gradients of bench_sampling.py by storchastic, the torch library of such estimators."""

from collections.abc import Callable
from typing import Any

import storch
import torch
from torch.distributions import Bernoulli


def calls(pixels: int, latents: int, width: int, batch: int) -> dict[str, Callable[[], Any]]:
    """One gradient each, of the encoder, the decoder and what the estimator learns."""
    torch.manual_seed(0)
    linear, sequential = torch.nn.Linear, torch.nn.Sequential
    encoder = sequential(linear(pixels, width), torch.nn.Tanh(), linear(width, latents))
    decoder = sequential(linear(latents, width), torch.nn.Tanh(), linear(width, pixels))
    control = sequential(linear(latents, 50), torch.nn.Tanh(), linear(50, 1))
    images = (torch.rand(batch, pixels) > 0.5).float()
    method = storch.method

    def call(estimator: Any) -> Callable[[], Any]:
        def gradient() -> Any:
            for net in (encoder, decoder, control):
                net.zero_grad()
            x = storch.denote_independent(images, 0, "data")
            z = estimator(Bernoulli(logits=encoder(x)))
            logits = decoder(z)
            loss = (torch.nn.functional.softplus(logits) - x * logits).sum(-1)
            storch.add_cost(loss, "distortion")
            return storch.backward()

        return gradient

    return {
        "score function": call(method.ScoreFunction("z", n_samples=1)),
        "leave one out, 4 samples": call(
            method.ScoreFunction("z", n_samples=4, baseline_factory="batch_average")
        ),
        "Gumbel-softmax": call(method.GumbelSoftmax("z", n_samples=1)),
        "REBAR": call(method.REBAR("z", n_samples=1)),
        "RELAX, network": call(
            method.RELAX("z", n_samples=1, c_phi=lambda z: control(z).squeeze(-1))
        ),
    }
