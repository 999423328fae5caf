"""What the split of a batch's rate costs: time, and memory of the table of all pairs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr

from _harness import compile_program, race
from pullback.bounds import (
    DiagonalNormal,
    TotalCorrelationSplit,
    aggregate_log_weights,
    total_correlation_split,
)
from pullback.sampling import StandardNormal

BATCH, LATENT, SIZE = 2048, 10, 737_280
ROWS = (None, 512, 128, 32)


def split(rows: int | None, params: jax.Array, z: jax.Array) -> TotalCorrelationSplit:
    return total_correlation_split(
        jax.vmap(DiagonalNormal(LATENT))(params),
        z,
        StandardNormal(LATENT),
        aggregate_log_weights(BATCH, SIZE),
        batch_size=rows,
    )


def plain(params: jax.Array, z: jax.Array) -> jax.Array:
    """The textbook's: the whole table of normal log-densities, then two logsumexps."""
    mean, log_std = jnp.split(params, 2, axis=1)
    apart = (z[:, None] - mean[None]) * jnp.exp(-log_std)[None]
    table = -(apart**2) / 2 - log_std[None] - 0.9189385332
    log_weights = aggregate_log_weights(BATCH, SIZE)
    joint = jax.nn.logsumexp(jnp.sum(table, axis=2) + log_weights, axis=1)
    marginals = jax.nn.logsumexp(table + log_weights[:, :, None], axis=1)
    return jnp.mean(joint - jnp.sum(marginals, axis=1))


def run(*, rounds: int = 5) -> dict[str, dict[str, Any]]:
    """Value and gradient of the total correlation of a batch of 2,048 with 10 latents, float32.

    Rows: all samples at a time, some at a time, and the arithmetic written out. Of each the
    `time`, the `bytes` of temporary memory of the compiled gradient, the seconds to `compile`, and
    the `value`.
    """
    keys = jr.split(jr.key(0), 3)
    mean = jr.normal(keys[0], (BATCH, LATENT))
    log_std = 0.3 * jr.normal(keys[1], (BATCH, LATENT)) - 1
    params = jnp.concatenate([mean, log_std], axis=1)
    z = mean + jnp.exp(log_std) * jr.normal(keys[2], (BATCH, LATENT))
    tasks: dict[str, Callable[..., jax.Array]] = {
        "written out": plain,
        **{
            f"pullback, {'all rows' if rows is None else f'{rows} rows'} at a time": (
                lambda params, z, rows=rows: split(rows, params, z).total_correlation
            )
            for rows in ROWS
        },
    }
    calls, found = {}, {}
    for name, task in tasks.items():
        program, compiling = compile_program(jax.value_and_grad(task, argnums=(0, 1)), params, z)
        memory = program.memory_analysis()  # pyrefly: ignore
        found[name] = {
            "compile": compiling.total,
            "bytes": memory.temp_size_in_bytes,
            "value": float(program(params, z)[0]),
        }
        calls[name] = lambda program=program: jax.block_until_ready(program(params, z))
    times = race(calls, rounds=rounds)
    return {name: {**row, "time": times[name]} for name, row in found.items()}
