"""From a series to a distribution of its latent state."""

import math
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from pullback._event import require_event
from pullback._key import checked_key

from ._cells import AbstractCell, GaussianGRUCell, GRUCell
from ._dynamics import TanhField, positive
from ._run_cell import run_cell
from ._transitions import ODETransition

Anchor = Literal["first", "last"]
# Of a posterior's standard deviation: it keeps its logarithm finite.
_LEAST = 1e-6


class Posterior(NamedTuple):
    r"""A Gaussian $q(z) = N(\mu, \mathrm{diag}\,\sigma^2)$ over latent states.

    Attributes:
        mean: `[*batch, latent]`.
        std: `[*batch, latent]`.
    """

    mean: Float[Array, "*batch latent"]
    std: Float[Array, "*batch latent"]

    def log_prob(self, z: Float[Array, "*batch latent"]) -> Float[Array, "*batch"]:
        """The log-density at `z`, in nats."""
        require_event(z, self.mean.shape[-1:])
        return standard_normal_log_prob((z - self.mean) / self.std) - jnp.sum(
            jnp.log(self.std), axis=-1
        )

    def kl(self) -> Float[Array, "*batch"]:
        r"""$KL(q \| N(0, I)) = \sum \tfrac12 (\mu^2 + \sigma^2 - 1) - \log \sigma$, in nats."""
        terms = (jnp.square(self.mean) + jnp.square(self.std) - 1) / 2 - jnp.log(self.std)
        return jnp.sum(terms, axis=-1)


def standard_normal_log_prob(z: Float[Array, "*batch latent"]) -> Float[Array, "*batch"]:
    """The log-density of the prior $N(0, I)$, in nats."""
    return jnp.sum(-jnp.square(z) / 2 - math.log(2 * math.pi) / 2, axis=-1)


class Encoder(eqx.Module):
    r"""A recurrent cell along a series, and a small net from its last state to a posterior.

    The cell runs towards the anchor, the end of the window at which the latent state lives: in
    reverse to the first time, or forwards to the last. Then

    $$ (\mu, r) = \mathrm{MLP}(\mathrm{read}(s_{\mathrm{anchor}})), \qquad
       \sigma = \mathrm{softplus}(r). $$

    Attributes:
        cell: any cell; with an `ODETransition` the encoder is the paper's ODE-RNN.
        readout: from the cell's features to `2 * latent` numbers.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> encoder = gaussian_encoder(1, 2, kind="ode", key=jax.random.key(0))
        >>> posterior = encoder(jnp.arange(3.0), jnp.ones((3, 1)), jnp.ones((3, 1), bool))
        >>> posterior.mean.shape, bool(jnp.all(posterior.std > 0))
        ((2,), True)

    Source: Rubanova et al., arXiv 1907.03907, section 3.2. The paper has $\sigma = |r|$, whose
    logarithm may be infinite.
    """

    cell: AbstractCell
    readout: eqx.nn.MLP

    def __call__(
        self,
        times: Float[Array, " time"],
        values: Float[Array, "time variables"],
        mask: Bool[Array, "time variables"],
        *,
        anchor: Anchor = "first",
    ) -> Posterior:
        """The posterior of the latent state at the first or the last of `times`.

        Args:
            times: of one series.
            values: of one series.
            mask: True where a value was observed.
            anchor: the end of the window at which the latent state lives.
        """
        path = run_cell(self.cell, times, values, mask, reverse=anchor == "first")
        mean, raw = jnp.split(self.readout(self.cell.read(path.last)), 2)
        return Posterior(mean, jax.nn.softplus(raw) + _LEAST)


def gaussian_encoder(
    variables: int,
    latent: int,
    *,
    kind: Literal["ode", "rnn", "gated"] = "ode",
    size: int = 20,
    width: int = 50,
    field_width: int = 50,
    field_depth: int = 1,
    steps: int = 2,
    dtype: Any = None,
    key: PRNGKeyArray,
) -> Encoder:
    """The encoder of the latent ODE, or one without an ODE to compare it with.

    Args:
        variables: of the series.
        latent: size of the latent state.
        kind: "ode": a `GaussianGRUCell` whose mean follows an ODE between observations. "rnn": a
            GRU that is told the time since the last observation, the paper's baseline. "gated":
            the cell of "ode" without the ODE, told the time since the last observation, and how
            far the anchor lies from the last one.
        size: of the cell's mean, and of its spread; the GRU has both together.
        width: of the hidden layers of the cell's gates and of the readout.
        field_width: of the ODE's hidden layers.
        field_depth: their number.
        steps: of the ODE in each gap.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is below 1, or there is no such `kind`.

    Example:
        >>> import jax
        >>> gaussian_encoder(3, 2, kind="rnn", size=4, key=jax.random.key(0)).cell.features
        8

    Source: Rubanova et al., arXiv 1907.03907, section 3.2 and table 3.
    """
    key = checked_key(key)
    positive(latent=latent)
    if kind not in ("ode", "rnn", "gated"):
        raise ValueError(f"`kind` must be 'ode', 'rnn' or 'gated', got {kind!r}.")
    cell_key, field_key, readout_key = jr.split(key, 3)
    transition = None
    if kind == "ode":
        field = TanhField(size, width=field_width, depth=field_depth, dtype=dtype, key=field_key)
        transition = ODETransition(field, steps)
    if kind == "rnn":
        cell = GRUCell(variables, 2 * size, time_gap=True, dtype=dtype, key=cell_key)
    else:
        cell = GaussianGRUCell(
            variables,
            size,
            width=width,
            transition=transition,
            time_gap=kind == "gated",
            dtype=dtype,
            key=cell_key,
        )
    readout = eqx.nn.MLP(
        cell.features, 2 * latent, width, 1, jnp.tanh, dtype=dtype, key=readout_key
    )
    return Encoder(cell, readout)
