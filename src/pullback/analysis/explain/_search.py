"""The search for a mask: what is made small, and one step towards it."""

from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro.distributions as dist
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.analysis.explain._classifier import JaxModel
from pullback.analysis.explain._infill import AbstractInfill
from pullback.sampling import AbstractEstimator, ScoreFunction, draw, expectation
from pullback.train import apply_gradient

Noise = Literal["coarse", "fine"]


class Question(eqx.Module):
    """What is asked of one image: `sign` is 1 to keep its class, and -1 to destroy it."""

    x: Float[Array, "..."]
    target: Array
    weight: Float[Array, "..."]
    sign: Float[Array, "..."]


class Searched(eqx.Module):
    """A search on its way."""

    question: Question
    params: Float[Array, "..."]
    optimiser: Any
    count: Array
    trace: Float[Array, "..."]


class Drawn(eqx.Module):
    """Masks that a black box is asked about, flat, and what was behind them."""

    z: Float[Array, "..."]
    background: Float[Array, "..."]
    images: Float[Array, "..."]


class Search(eqx.Module):
    """How a mask is looked for. `estimator` is None for one mask between 0 and 1, BBMP's.

    Masks are drawn flat: random bits with two axes for pixels take four times as long to compile.
    """

    infill: AbstractInfill
    estimator: AbstractEstimator | None
    grid: tuple[int, int] = eqx.field(static=True)
    noise: Noise = eqx.field(static=True)
    steps: int = eqx.field(static=True)
    samples: int = eqx.field(static=True)
    warmup: int = eqx.field(static=True)
    learning_rate: float = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True)

    @property
    def optimiser(self) -> optax.GradientTransformation:
        return optax.adam(optax.linear_schedule(self.learning_rate, 0.0, self.steps))

    def start(self, question: Question, dtype: Any) -> Searched:
        """Undecided everywhere; a mask of BBMP keeps all."""
        begin = 0.0 if self.estimator else 1.0
        params = jnp.full(self.grid, begin, dtype)
        return Searched(
            question, params, self.optimiser.init(params), jnp.asarray(0),
            jnp.zeros(self.steps, dtype),
        )  # fmt: skip

    def probability(self, params: Array, size: tuple[int, ...]) -> Float[Array, "H W"]:
        """How probable each pixel is to be kept."""
        return _to(size, jax.nn.sigmoid(params) if self.estimator else params)

    def law(self, params: Array, size: tuple[int, ...]) -> Any:
        """Of masks, on the grid or on the pixels."""
        if self._drawn_on(size) == self.grid:
            return dist.Bernoulli(logits=params.ravel())
        # Not the logit of a probability, which is rounded to 1 at 17.
        kept, left = (jnp.log(_to(size, jax.nn.sigmoid(s * params))) for s in (1.0, -1.0))
        return dist.Bernoulli(logits=(kept - left).ravel())

    def mask(self, z: Array, x: Array) -> Float[Array, "1 H W"]:
        """The mask of the pixels of an image."""
        size = x.shape[1:]
        return _to(size, z.reshape(self._drawn_on(size)))[None].astype(x.dtype)

    def background(self, z: Array, x: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
        """The mask of pixels, and what is behind it, of which no gradient is taken."""
        mask = self.mask(z, x)
        keep = jax.lax.stop_gradient((mask > 0.5).astype(x.dtype))
        return mask, jax.lax.stop_gradient(self.infill(x, keep, key=key))

    def _drawn_on(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Rows and columns of what is drawn. A mask between 0 and 1 is not drawn."""
        return self.grid if self.noise == "coarse" else size

    def objective(
        self, params: Array, count: Array, question: Question,
        score: Callable[[Array], Float[Array, ""]], key: PRNGKeyArray,
    ) -> Float[Array, ""]:  # fmt: skip
        """The mean of `score` of masks, of the question's sign, and the size of the mask."""
        size = question.x.shape[1:]
        if self.estimator is None:
            value = score(params.ravel())
        else:
            value = expectation(
                lambda z, q: score(z.astype(params.dtype)).astype(params.dtype),
                self.law(params, size), estimator=self.estimator, num_samples=self.samples,
                batch_size=self.batch_size, key=key,
            )  # fmt: skip
        p = self.probability(params, size)
        area = jnp.sum(jnp.where(question.sign > 0, p, 1 - p))
        ramp = jnp.minimum((count + 1) / max(self.warmup, 1), 1).astype(params.dtype)
        return -question.sign * value + ramp * question.weight * area

    def moved(
        self, state: Searched, score: Callable[[Array], Float[Array, ""]], key: PRNGKeyArray
    ) -> tuple[Searched, dict[str, Array]]:
        """The search after a step."""
        value, slope = jax.value_and_grad(self.objective)(
            state.params, state.count, state.question, score, key
        )
        params, optimiser = apply_gradient(self.optimiser, slope, state.optimiser, state.params)
        if self.estimator is None:
            params = jnp.clip(params, 0, 1)
        trace = state.trace.at[state.count].set(value)
        new = Searched(state.question, params, optimiser, state.count + 1, trace)
        return new, {"objective": value, "gradient": jnp.max(jnp.abs(slope))}


class JaxStep(eqx.Module):
    """A step of the search where JAX differentiates the classifier."""

    search: Search
    model: JaxModel

    def __call__(
        self, state: Searched, batch: None, *, key: PRNGKeyArray
    ) -> tuple[Searched, dict[str, Array]]:
        of_masks, of_infill = jr.split(key)
        ask = state.question

        def score(z: Array) -> Array:
            mask, background = self.search.background(z, ask.x, of_infill)
            return self.model.log_odds(mask * ask.x + (1 - mask) * background, ask.target)

        return self.search.moved(state, score, of_masks)


def drawn(search: Search, state: Searched, key: PRNGKeyArray) -> Drawn:
    """The masks that the next step will see, and their images, for a black box."""
    of_masks, of_infill = jr.split(jr.fold_in(key, state.count))
    x = state.question.x
    if search.estimator is None:
        z = state.params.ravel()[None]
    else:
        law = search.law(state.params, x.shape[1:])
        one = lambda key: _sample(search.estimator, law, key).astype(state.params.dtype)
        z = jax.vmap(one)(jr.split(of_masks, search.samples))

    def image(z: Array) -> tuple[Array, Array]:
        mask, background = search.background(z, x, of_infill)
        return background, mask * x + (1 - mask) * background

    return Drawn(z, *jax.vmap(image)(z))


def told(
    search: Search, state: Searched, asked: Drawn, values: Array, slopes: Array | None, key: Array
) -> Searched:
    """The search after a step, once a black box has answered."""
    of_masks, _ = jr.split(jr.fold_in(key, state.count))
    x = state.question.x

    def score(z: Array) -> Array:
        # Masks that are the same have the same background, so it does not matter which is found.
        apart = jnp.sum((asked.z - jax.lax.stop_gradient(z)[None]) ** 2, axis=1)
        at = jnp.argmin(apart)
        if slopes is None:
            return values[at]
        mask = search.mask(z, x)
        moved = (mask - jax.lax.stop_gradient(mask)) * (x - asked.background[at])
        return values[at] + jnp.sum(slopes[at] * moved)

    return search.moved(state, score, of_masks)[0]


def _sample(estimator: Any, law: Any, key: PRNGKeyArray) -> Array:
    """The mask at which an estimator asks."""
    if isinstance(estimator, ScoreFunction):
        return draw(law, key)
    # What it asks of a linear function has the mask itself as its slope.
    linear = lambda w: estimator(lambda z, q: jnp.sum(w * z), law, key[None], None)
    return jax.grad(linear)(jnp.zeros_like(law.logits))


def _to(size: tuple[int, ...], grid: Array) -> Array:
    return grid if grid.shape == size else jax.image.resize(grid, size, "linear")
