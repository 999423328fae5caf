"""What walks on a log-density have in common: chains of PyTrees, a search for the step, draws."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree, ScalarLike

from pullback._floating import require_floating
from pullback._hamiltonian import hamiltonian_step

# Of the dual averaging. Hoffman and Gelman take 0.05, 10 and 0.75 for the noisy share of one chain;
# that of many is worth longer memory and shorter jumps, which overshoot less from far off.
_GAMMA, _DELAY, _KAPPA = 0.1, 10, 0.6


class ChainInfo(NamedTuple):
    """How a walk went.

    Attributes:
        accepted: the share of proposals that were accepted after the warm-up.
        step_size: that the chains had then.
        log_prob: of the last points, unnormalised, `[n]`.
        draws: each chain's points after the warm-up, `[draws, n, ...]`, where they were asked for;
            else None.
    """

    accepted: Float[Array, ""]
    step_size: Float[Array, ""]
    log_prob: Float[Array, " n"]
    draws: Any = None


class Chains(NamedTuple):
    """Chains as rows of numbers: `[n, d]`, and the way back of one of them."""

    rows: Float[Array, "n d"]
    one: Callable[[Array], PyTree]

    def back(self, rows: Float[Array, "*lead n d"]) -> PyTree:
        """PyTrees of leaves `[*lead, n, ...]`."""
        one = self.one
        for _ in range(rows.ndim - 1):
            one = jax.vmap(one)
        return one(rows)

    def value_and_slope(self, log_prob: Callable[..., Any]) -> Callable[[Array], tuple]:
        """The log-density of one row, and its gradient."""
        return jax.value_and_grad(lambda row: log_prob(self.one(row)))


def checked_chains(x: PyTree, steps: int, step_size: ScalarLike) -> Chains:
    x = jax.tree.map(jnp.asarray, x)
    named = {"x" + jax.tree_util.keystr(path): leaf for path, leaf in
             jax.tree_util.tree_leaves_with_path(x)}  # fmt: skip
    if not named:
        raise ValueError("`x` must hold an array, of a row a chain; got none.")
    for name, leaf in named.items():
        require_floating(name, leaf, "chains move by fractions")
        if not leaf.ndim:
            raise ValueError(
                f"`{name}` must have shape [n, ...], a row a chain; got the number {leaf}."
            )
        if not len(leaf):
            raise ValueError(f"`{name}` must hold at least one chain, a row each; got none.")
    for what, each in (
        ("rows, one a chain", [len(leaf) for leaf in named.values()]),
        ("dtype", [str(leaf.dtype) for leaf in named.values()]),
    ):
        if len({*each}) > 1:
            told = ", ".join(
                f"{value} in `{name}`" for name, value in zip(named, each, strict=True)
            )
            raise ValueError(f"all arrays of `x` must have the same {what}; got {told}.")
    if steps < 1:
        raise ValueError(f"`steps` must be at least 1, got {steps}.")
    if not isinstance(step_size, Tracer) and not 0 < np.asarray(step_size) < np.inf:
        raise ValueError(f"`step_size` must be above 0, and finite; got {step_size}.")
    one = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], x))[1]
    return Chains(jax.vmap(lambda row: ravel_pytree(row)[0])(x), one)


class DualAverage(NamedTuple):
    """A log step size that follows the share that is accepted, and the mean of where it was."""

    centre: Float[Array, ""]
    count: Float[Array, ""]
    error: Float[Array, ""]
    log_size: Float[Array, ""]
    mean: Float[Array, ""]

    def after(self, share: Float[Array, ""], target: float) -> "DualAverage":
        """With the share that was accepted at `log_size`."""
        count = self.count + 1
        weight = 1 / (count + _DELAY)
        error = (1 - weight) * self.error + weight * (target - share)
        log_size = self.centre - jnp.sqrt(count) / _GAMMA * error
        weight = count**-_KAPPA
        mean = weight * log_size + (1 - weight) * self.mean
        return DualAverage(self.centre, count, error, log_size, mean)

    def settled(self) -> Float[Array, ""]:
        """The log of the step size to go on with."""
        return jnp.where(self.count > 0, self.mean, self.log_size)


def walk(
    log_prob: Callable[..., Any],
    chains: Chains,
    *,
    steps: int,
    warmup: int | None,
    thin: int | None,
    size: Float[Array, ""],
    leapfrog_steps: int,
    target_accept: float | None,
    key: PRNGKeyArray,
) -> tuple[PyTree, ChainInfo]:
    """Chains that all have one step size, sought in the warm-up and held from then on."""
    warmup = _checked_lengths(
        steps, 0 if warmup is None and target_accept is None else warmup, thin
    )
    if target_accept is not None and not 0 < target_accept < 1:
        raise ValueError(f"`target_accept` must be between 0 and 1, got {target_accept}.")
    look = chains.value_and_slope(log_prob)
    first = jax.vmap(look)(chains.rows)
    check_starts(*first)
    place_at = lambda row: (row, *look(row))

    def step(carry: tuple, inputs: tuple) -> tuple[tuple, Array]:
        places, tuned = carry
        number, key = inputs
        log_size = jnp.where(number == warmup, tuned.settled(), tuned.log_size)
        tuned = tuned._replace(log_size=log_size)
        move = lambda place, key: hamiltonian_step(
            place_at, lambda place: place, place, jnp.exp(log_size), leapfrog_steps, key
        )
        places, chances = jax.vmap(move)(places, jr.split(key, len(chains.rows)))
        share = jnp.mean(chances)
        if target_accept is not None:
            sought = tuned.after(share, target_accept)
            tuned = jax.tree.map(lambda a, b: jnp.where(number < warmup, a, b), sought, tuned)
        return (places, tuned), share

    log_size = jnp.log(size)
    zero = jnp.zeros_like(log_size)
    # It is drawn to longer steps than it begins with: one that is too long is found out at once.
    tuned = DualAverage(log_size + math.log(10), zero, zero, log_size, log_size)
    begin = ((chains.rows, *first), tuned)
    numbered = (jnp.arange(steps), jr.split(key, steps))
    held = (steps - warmup) // (thin or 1) * (thin or 1) if thin else 0
    early, late = (jax.tree.map(lambda a, s=s: a[s], numbered)
                   for s in (slice(steps - held), slice(steps - held, None)))  # fmt: skip
    carry, shares = jax.lax.scan(step, begin, early)
    draws = None
    if thin:

        def draw(carry: tuple, inputs: tuple) -> tuple[tuple, tuple]:
            carry, shares = jax.lax.scan(step, carry, inputs)
            return carry, (carry[0][0], shares)

        late = jax.tree.map(lambda a: a.reshape(held // thin, thin, *a.shape[1:]), late)
        carry, (draws, more) = jax.lax.scan(draw, carry, late)
        shares = jnp.concatenate([shares, more.ravel()])
    (rows, value, _), tuned = carry
    good = startable(*first)
    marked = lambda rows: jnp.where(good[:, None], rows, jnp.nan)
    return chains.back(marked(rows)), ChainInfo(
        jnp.mean(shares[warmup:]),
        jnp.exp(tuned.log_size),
        value,
        None if draws is None else chains.back(jax.vmap(marked)(draws)),
    )


def _checked_lengths(steps: int, warmup: int | None, thin: int | None) -> int:
    warmup = steps // 2 if warmup is None else warmup
    if not 0 <= warmup < steps:
        raise ValueError(f"`warmup` must be 0 or more and below `steps`, {steps}; got {warmup}.")
    if thin is not None and not 1 <= thin <= steps - warmup:
        raise ValueError(
            f"`thin` must be between 1 and the {steps - warmup} steps after the warm-up; got "
            f"{thin}."
        )
    return warmup


def startable(value: Float[Array, " n"], slope: Float[Array, "n d"]) -> Bool[Array, " n"]:
    return jnp.isfinite(value) & jnp.isfinite(slope).all(axis=1)


def check_starts(value: Float[Array, " n"], slope: Float[Array, "n d"]) -> None:
    """Refuse chains that could not move, where that is known."""
    good = startable(value, slope)
    if isinstance(good, Tracer) or bool(good.all()):
        return
    bad = np.flatnonzero(~np.asarray(good))
    rows = ", ".join(map(str, bad[:10])) + ", ..." * (len(bad) > 10)
    raise ValueError(
        f"{len(bad)} of the {len(good)} chains start where the log-density or its slope is not "
        f"finite, and cannot move from there: row {rows} of `x`. The first has the log-density "
        f"{float(value[bad[0]])}. Start within the support; where the support has an end walk on "
        "the whole line, by `pullback.sampling.SupportMap`: its `from_line` is the way back, and "
        "less the log-determinant of `to_line` is added to the log-density."
    )
