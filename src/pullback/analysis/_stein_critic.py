"""How a Stein critic is trained and chosen, as one compiled program."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._promotion import standard_promotion
from pullback.analysis._stein_result import Units
from pullback.calculus import AbstractDivergence, SteinTerms, stein_terms
from pullback.train import apply_gradient


class CriticPlan(NamedTuple):
    """The numbers of a training; hashable, so that equal ones share a compiled program."""

    steps: int
    evaluate_every: int
    batch_size: int
    l2: float
    power: bool
    optimiser: optax.GradientTransformation
    divergence: AbstractDivergence


class ScoredPoints(NamedTuple):
    """Points and the model's score at them, both `[n, dim]`."""

    x: Float[Array, "n dim"]
    scores: Float[Array, "n dim"]


class CriticField(eqx.Module):
    r"""A critic that was trained in the columns' units, as a field in the data's.

    $$ f(x) = c\, \sigma \odot g((x - \mu) / \sigma) $$

    Then $\mathcal{A}_q f(x)$ is c times that of g in those units.
    """

    net: Any
    units: Units
    factor: Float[Array, ""]

    def __call__(self, x: Float[Array, " dim"]) -> Float[Array, " dim"]:
        scale = self.units.scale
        return self.factor * scale * self.net((x - self.units.centre) / scale)


def objective(terms: SteinTerms, plan: CriticPlan) -> Float[Array, ""]:
    """What a critic maximises: the mean, or the mean over the deviation, less the penalty."""
    mean = jnp.mean(terms.operator)
    if plan.power:
        # The guard keeps the gradient finite where a critic is flat.
        mean = mean / (jnp.std(terms.operator) + 1e-6)
    return mean - plan.l2 * jnp.mean(terms.square)


def train_critic(
    net: Any, train: ScoredPoints, validation: ScoredPoints, plan: CriticPlan, key: PRNGKeyArray
) -> tuple[Any, Float[Array, ""]]:
    """The net of the best objective on the validation part, and the best multiple of it.

    The multiple is the c that makes $c \\bar a - \\lambda c^2 \\bar q$ largest there: it brings a
    critic trained for power, whose size means nothing, to the size of one trained for the mean.
    """
    params, rest = eqx.partition(net, eqx.is_inexact_array)
    whole = plan.batch_size >= len(train.x)

    def step(number: Array, carry: tuple[Any, Any]) -> tuple[Any, Any]:
        params, state = carry
        rows_key, probe_key = jr.split(jr.fold_in(key, number))
        batch = train
        if not whole:
            rows = jr.randint(rows_key, (plan.batch_size,), 0, len(train.x))
            batch = jax.tree.map(lambda leaf: leaf[rows], train)

        def loss(params: Any) -> Float[Array, ""]:
            terms = stein_terms(
                eqx.combine(params, rest), batch.scores, batch.x,
                divergence=plan.divergence, key=probe_key,
            )  # fmt: skip
            return -objective(terms, plan)

        return apply_gradient(plan.optimiser, jax.grad(loss)(params), state, params)

    def on_validation(params: Any) -> tuple[Array, Array]:
        terms = stein_terms(
            eqx.combine(params, rest), validation.scores, validation.x, batch_size=plan.batch_size
        )
        mean, deviation = jnp.mean(terms.operator), jnp.std(terms.operator)
        square = jnp.mean(terms.square)
        score = mean / deviation if plan.power else mean - plan.l2 * square
        return score, jnp.maximum(mean, 0) / (2 * plan.l2 * square)

    def chunk(carry: tuple, start: Array) -> tuple[tuple, None]:
        params, state, best, best_score, factor = carry
        end = jnp.minimum(start + plan.evaluate_every, plan.steps)
        params, state = jax.lax.fori_loop(start, end, step, (params, state))
        score, multiple = on_validation(params)
        better = score > best_score  # false where it is not a number
        keep = lambda new, old: jnp.where(better, new, old)
        best = jax.tree.map(keep, params, best)
        return (params, state, best, keep(score, best_score), keep(multiple, factor)), None

    with standard_promotion():
        state = plan.optimiser.init(params)
    nothing = jnp.full((), -jnp.inf, train.x.dtype)
    starts = jnp.arange(0, plan.steps, plan.evaluate_every)
    (_, _, best, _, factor), _ = jax.lax.scan(
        chunk, (params, state, params, nothing, jnp.ones((), train.x.dtype)), starts
    )
    return eqx.combine(best, rest), factor
