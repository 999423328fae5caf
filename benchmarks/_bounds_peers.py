"""The rivals of `bench_bounds.py`: the same autoencoder by hand, in NumPyro, and in Pyro."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pyro
import pyro.distributions as pdist
import pyro.infer
import torch

from pullback.models.vae import VAE

# The floor: what a careful user writes, with the same networks.


def floor(k: int, analytic: bool) -> Callable:
    """Minus the mean bound of k samples; at k = 1 with the divergence in closed form, if asked."""

    def loss(vae: VAE, x: jax.Array, key: jax.Array) -> jax.Array:
        parts = jax.vmap(vae.encoder)(x)
        mean, log_std = jnp.split(parts, 2, axis=1)
        noise = jr.normal(key, (k, *mean.shape))
        z = mean + jnp.exp(log_std) * noise
        logits = jax.vmap(jax.vmap(vae.decoder))(z)
        likelihood = jnp.sum(x * logits - jax.nn.softplus(logits), axis=-1)
        if analytic:
            spread = jnp.exp(2 * log_std)
            rate = 0.5 * jnp.sum(spread + mean**2 - 1 - 2 * log_std, axis=1)
            return jnp.mean(rate - likelihood[0])
        log_w = likelihood + jnp.sum(
            -0.5 * z**2 + 0.5 * noise**2 + log_std, axis=-1
        )  # the normalisers cancel
        return jnp.mean(jnp.log(float(k)) - jax.nn.logsumexp(log_w, axis=0))

    return loss


def numpyro_loss(objective: Any) -> Callable:
    """An objective of NumPyro's, differentiated for the networks that it is handed."""

    def model(vae: VAE, x: jax.Array) -> None:
        with numpyro.plate("n", len(x)):
            z = jnp.asarray(
                numpyro.sample("z", dist.Normal(jnp.zeros(vae.prior.shape), 1.0).to_event(1))
            )
            logits = jax.vmap(vae.decoder)(z)
            numpyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(vae: VAE, x: jax.Array) -> None:
        mean, log_std = jnp.split(jax.vmap(vae.encoder)(x), 2, axis=1)
        with numpyro.plate("n", len(x)):
            numpyro.sample("z", dist.Normal(mean, jnp.exp(log_std)).to_event(1))

    def loss(vae: VAE, x: jax.Array, key: jax.Array) -> jax.Array:
        return objective.loss(key, {}, model, guide, vae, x) / len(x)

    return loss


def _torch_mlp(mlp: eqx.nn.MLP) -> torch.nn.Sequential:
    """The same weights in PyTorch."""
    layers: list[torch.nn.Module] = []
    for layer in mlp.layers:
        copy = torch.nn.Linear(layer.in_features, layer.out_features)  # pyrefly: ignore
        with torch.no_grad():
            copy.weight.copy_(torch.tensor(np.array(layer.weight)))
            copy.bias.copy_(torch.tensor(np.array(layer.bias)))
        layers += [copy, torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


def pyro_call(objective: Any, vae: Any, x: jax.Array) -> Callable[[], float]:
    """Value and gradient of an objective of Pyro's."""
    encoder, decoder = _torch_mlp(vae.encoder.net), _torch_mlp(vae.decoder.net)
    images = torch.tensor(np.array(x))
    parameters = [*encoder.parameters(), *decoder.parameters()]
    latent = vae.prior.shape[0]

    def model(x: torch.Tensor) -> None:
        with pyro.plate("n", len(x)):
            prior = pdist.Normal(torch.zeros(len(x), latent), 1.0).to_event(1)
            logits = decoder(pyro.sample("z", prior))
            pyro.sample("x", pdist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(x: torch.Tensor) -> None:
        mean, log_std = encoder(x).chunk(2, dim=1)
        with pyro.plate("n", len(x)):
            pyro.sample("z", pdist.Normal(mean, log_std.exp()).to_event(1))

    def call() -> float:
        for parameter in parameters:
            parameter.grad = None
        return objective.loss_and_grads(model, guide, images) / len(images)

    return call
