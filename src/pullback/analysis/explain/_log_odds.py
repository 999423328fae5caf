"""Log-odds of a class, from logits and from probabilities."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Outputs = Literal["logits", "probabilities"]

# Votes of a forest are often 0 or 1, and of infinite log-odds there is no mean.
LEAST = 1e-6


def log_odds(
    outputs: Float[Array, " K"], target: Int[Array, ""] | int, kind: Outputs
) -> Float[Array, ""]:
    r"""$\log p_c - \log (1 - p_c)$ of one class, with no rounding where $p_c$ is all but 0 or 1."""
    own = jnp.arange(outputs.shape[-1]) == target
    if kind == "logits":
        others = jax.nn.logsumexp(jnp.where(own, -jnp.inf, outputs))
        return jnp.sum(jnp.where(own, outputs, 0)) - others
    p, rest = jnp.sum(jnp.where(own, outputs, 0)), jnp.sum(jnp.where(own, 0, outputs))
    return jnp.log(jnp.clip(p, LEAST, 1 - LEAST)) - jnp.log(jnp.clip(rest, LEAST, 1 - LEAST))
