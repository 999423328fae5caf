"""An epoch of a variational autoencoder on images of the size of MNIST, beside plain PyTorch."""

import time
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import torch

from _bounds_peers import _torch_mlp
from _harness import Timing
from pullback.bounds import Beta
from pullback.models.vae import VAE, Bernoulli, ObjectiveLoss, mlp_vae
from pullback.train import fit

PIXELS, WIDTH, LATENT, EXAMPLES, BATCH = 784, 200, 50, 60_000, 100
STEPS = EXAMPLES // BATCH


def run(*, epochs: int = 3) -> dict[str, dict[str, Any]]:
    """Whole epochs, batches and binarisation included, in turns; the first of each is to warm up.

    The images are noise of grey levels: what is in them does not change the time.
    """
    grey = np.random.default_rng(0).uniform(0, 0.3, (EXAMPLES, PIXELS)).astype(np.float32)
    vae = mlp_vae(PIXELS, LATENT, WIDTH, 2, jnp.tanh, likelihood=Bernoulli(), key=jr.key(0))
    loss, optimiser, images = ObjectiveLoss(Beta(1.0), binarise=True), optax.adam(1e-3), grey

    def ours() -> float:
        _, info = fit(
            vae, loss, images, optimiser=optimiser, steps=STEPS, batch_size=BATCH, progress=False,
            key=jr.key(1),
        )  # fmt: skip
        return info.lines()[-1]["loss"]

    calls = {"pullback": ours, "PyTorch": _torch_epoch(vae, torch.tensor(grey))}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    values = {}
    for _ in range(1 + epochs):
        for name, call in calls.items():
            start = time.perf_counter()
            values[name] = call()
            seconds[name].append(time.perf_counter() - start)
    return {
        name: {
            "time": Timing(min(each[1:]), float(np.median(each[1:])), epochs),
            "compile": max(0.0, each[0] - min(each[1:])),
            "value": values[name],
        }
        for name, each in seconds.items()
    }


def _torch_epoch(vae: VAE, grey: torch.Tensor) -> Any:
    encoder_net: Any = vae.encoder
    decoder_net: Any = vae.decoder
    encoder, decoder = _torch_mlp(encoder_net.net), _torch_mlp(decoder_net.net)
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)

    def epoch() -> float:
        losses = []
        for rows in torch.randperm(EXAMPLES).split(BATCH):
            x = torch.bernoulli(grey[rows])
            mean, log_std = encoder(x).chunk(2, dim=1)
            z = mean + log_std.exp() * torch.randn_like(mean)
            distortion = torch.nn.functional.binary_cross_entropy_with_logits(
                decoder(z), x, reduction="sum"
            )
            rate = ((2 * log_std).exp() + mean**2 - 1).sum() / 2 - log_std.sum()
            value = (distortion + rate) / BATCH
            adam.zero_grad(set_to_none=True)
            value.backward()
            adam.step()
            losses.append(value.item())
        return float(np.mean(losses[-100:]))

    return epoch
