"""What local posteriors and annealing cost, beside what a user would write in their place.

`run()` gives groups of rows for `bench_vae.py`, the first row of each group being ours.
"""

import itertools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import torch
from numpyro.infer.hmc import hmc

from _bounds_peers import _torch_mlp
from _harness import Timing, compile_program, race
from pullback.analysis import LocalSearch, fit_local
from pullback.bounds import HMC, DiagonalNormal, annealed_importance_sampling, sigmoid_schedule
from pullback.models.vae import VAE, Bernoulli, mlp_vae
from pullback.sampling import StandardNormal, log_mean_exp

Rows = dict[str, dict[str, Any]]


class Size(NamedTuple):
    """Of the autoencoder: pixels, hidden layers' width, latent numbers."""

    pixels: int
    width: int
    latent: int


SMALL, LARGE = Size(64, 64, 2), Size(784, 200, 50)
TEMPERATURES, CHAINS, LEAPS, STEP = 1000, 100, 10, 0.05


def run(
    *, count: int = 1000, subset: int = 20, rounds: int = 2, temperatures: int = TEMPERATURES
) -> dict[str, Rows]:
    """Both comparisons, at both sizes."""
    found = {f"{count} local posteriors, {SMALL}": local_posteriors(SMALL, count, subset)}
    for size in (SMALL, LARGE):
        name = f"annealing, {temperatures} temperatures, {CHAINS} chains, {size}"
        found[name] = annealing(size, temperatures, rounds)
    return found


def _vae(size: Size) -> VAE:
    key = jr.key(0)
    return mlp_vae(
        size.pixels, size.latent, size.width, 2, jnp.tanh, likelihood=Bernoulli(), key=key
    )


def local_posteriors(size: Size, count: int, subset: int) -> Rows:
    """All at once, and one after the other: of `subset` of them, scaled to all."""
    vae = _vae(size)
    x = jr.bernoulli(jr.key(1), 0.3, (count, size.pixels)).astype(float)
    starts = jnp.zeros((count, 1, 2 * size.latent))
    search = LocalSearch(steps=300, samples=10, evaluation_samples=500)

    def fit(number: int, batch_size: int | None) -> float:
        found = fit_local(
            vae.model, DiagonalNormal(size.latent), x[:number], starts[:number], search=search,
            batch_size=batch_size, progress=False, key=jr.key(2),
        )  # fmt: skip
        return float(jnp.mean(found.elbo))

    rows = {}
    for name, number, batch_size, scale in (
        ("at once", count, None, 1.0),
        ("250 at a time", count, 250, 1.0),
        (f"one at a time ({subset}, scaled)", subset, 1, count / subset),
    ):
        first = time.perf_counter()
        value = fit(number, batch_size)
        second = time.perf_counter()
        fit(number, batch_size)
        seconds = time.perf_counter() - second
        # A call without and one with the compiled programs at hand.
        compiling = max(0.0, second - first - seconds)
        spent = Timing(seconds * scale, seconds * scale, 1)
        rows[name] = {"time": spent, "compile": compiling, "value": value}
    return rows


def annealing(size: Size, temperatures: int, rounds: int) -> Rows:
    """The log-evidence of one example, with fixed steps."""
    vae = _vae(size)
    x = jr.bernoulli(jr.key(1), 0.3, (size.pixels,)).astype(float)
    betas = sigmoid_schedule(temperatures)
    rows, calls = {}, {}
    arrays, rest = eqx.partition(vae.decoder, eqx.is_array)
    for name, function in (("pullback", _ours), ("numpyro's HMC by hand", _numpyro)):
        bound = lambda arrays, *others, f=function: f(eqx.combine(arrays, rest), *others)
        program, compiling = compile_program(bound, arrays, x, betas, jr.key(2))
        calls[name] = lambda p=program: jax.block_until_ready(p(arrays, x, betas, jr.key(2)))
        rows[name] = {"compile": compiling.total, "value": float(calls[name]())}
    calls["PyTorch"] = _torch_call(vae, np.asarray(x), np.asarray(betas))
    rows["PyTorch"] = {"value": float(calls["PyTorch"]())}
    timings = race(calls, rounds=rounds)
    return {name: {**row, "time": timings[name]} for name, row in rows.items()}


def _ours(decoder: Any, x: jax.Array, betas: jax.Array, key: jax.Array) -> jax.Array:
    latent = decoder.net.in_size
    vae = VAE(
        lambda x: x, decoder, family=DiagonalNormal(latent), prior=StandardNormal(latent),
        likelihood=Bernoulli(),
    )  # fmt: skip
    return annealed_importance_sampling(
        vae.model(x), betas, num_chains=CHAINS, transition=HMC(STEP, LEAPS), key=key
    ).log_evidence


def _numpyro(decoder: Any, x: jax.Array, betas: jax.Array, key: jax.Array) -> jax.Array:
    """Its kernel, handed from one temperature to the next."""
    latent = decoder.net.in_size

    def likelihood(z: jax.Array) -> jax.Array:
        logits = decoder(z)
        return jnp.sum(x * logits - jax.nn.softplus(logits))

    def potential(beta: jax.Array) -> Callable:
        return lambda z: 0.5 * jnp.sum(z**2) - beta * likelihood(z)

    init, sample = hmc(potential_fn_gen=potential, algo="HMC")

    def chain(key: jax.Array) -> jax.Array:
        start, key = jr.split(key)
        z = jr.normal(start, (latent,))
        state = init(
            z, num_warmup=0, step_size=STEP, trajectory_length=STEP * LEAPS,
            adapt_step_size=False, adapt_mass_matrix=False, model_args=(betas[0],), rng_key=key,
        )  # fmt: skip

        def step(carry: tuple, pair: tuple) -> tuple[tuple, None]:
            state, log_weight = carry
            old, new = pair
            log_weight = log_weight + (new - old) * likelihood(state.z)
            # What it knows of the place is of the last temperature.
            energy, slope = jax.value_and_grad(potential(new))(state.z)
            state = state._replace(potential_energy=energy, z_grad=slope)
            return (sample(state, model_args=(new,)), log_weight), None

        (_, log_weight), _ = jax.lax.scan(step, (state, jnp.zeros(())), (betas[:-1], betas[1:]))
        return log_weight

    return log_mean_exp(jax.vmap(chain)(jr.split(key, CHAINS)))


def _torch_call(vae: VAE, x: np.ndarray, betas: np.ndarray) -> Callable[[], float]:
    """The chains as one batch, in a loop."""
    decoder: Any = vae.decoder
    net, images = _torch_mlp(decoder.net), torch.tensor(x)
    latent, levels = decoder.net.in_size, betas.tolist()
    for parameter in net.parameters():
        parameter.requires_grad_(False)

    def likelihood(z: torch.Tensor) -> torch.Tensor:
        logits = net(z)
        return torch.sum(images * logits - torch.nn.functional.softplus(logits), dim=1)

    def look(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z = z.detach().requires_grad_(True)
        value = likelihood(z)
        (slope,) = torch.autograd.grad(value.sum(), z)
        return value.detach(), slope

    def call() -> float:
        z = torch.randn(CHAINS, latent)
        value, slope = look(z)
        log_weight = torch.zeros(CHAINS)
        for old, new in itertools.pairwise(levels):
            log_weight = log_weight + (new - old) * value
            here, there, rise, momentum = z, value, slope, torch.randn(CHAINS, latent)
            before = new * value - 0.5 * (z**2).sum(1) - 0.5 * (momentum**2).sum(1)
            for _ in range(LEAPS):
                momentum = momentum + 0.5 * STEP * (new * rise - here)
                here = here + STEP * momentum
                there, rise = look(here)
                momentum = momentum + 0.5 * STEP * (new * rise - here)
            after = new * there - 0.5 * (here**2).sum(1) - 0.5 * (momentum**2).sum(1)
            taken = torch.log(torch.rand(CHAINS)) < after - before
            z = torch.where(taken[:, None], here, z)
            slope = torch.where(taken[:, None], rise, slope)
            value = torch.where(taken, there, value)
        return float(torch.logsumexp(log_weight, 0) - np.log(CHAINS))

    return call


if __name__ == "__main__":
    for group, rows in run().items():
        print(group)
        for name, row in rows.items():
            print(f"  {name:36s} {row['time'].min:8.2f} s  compile {row.get('compile', 0):5.1f} s  "
                  f"value {row['value']:.2f}")  # fmt: skip
