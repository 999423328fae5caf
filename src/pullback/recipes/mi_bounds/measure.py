"""What the recipe `mi-bounds` trains and measures: pairs whose mutual information is known."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pullback.bounds import (
    MLPBaseline,
    SeparableCritic,
    dv,
    infonce,
    interpolated,
    js_nwj,
    leave_one_out_upper,
    nwj,
    tnce,
)
from pullback.data import Split
from pullback.recipes._kit.checks import check_above_zero, check_least, check_rising
from pullback.recipes._kit.stack import made_stack, one_by_one, unstacked
from pullback.train import fit

SMALL, HALF = 0.01, 0.5
# The tasks: y correlated with x, and its cube, which shares as much with x and is harder to score.
GAUSSIAN, CUBIC = TASKS = ("Gaussian", "cubic")


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """How many critics are trained for each bound and each mutual information."""
    informations: tuple[float, ...] = (2.0, 6.0, 10.0)
    """The true mutual informations in nats, rising: a critic is trained with each in turn."""
    dim: int = 20
    """Entries of x, and of y."""
    batch_size: int = 64
    """Pairs in a batch, of training and of every estimate."""
    width: int = 128
    """Size of the two hidden layers of each of the critic's nets."""
    embedding: int = 32
    """Size of the space in which the critic takes inner products."""
    baseline_width: int = 128
    """Size of the hidden layers of the baseline that I_alpha learns."""
    steps: int = 1200
    """Training steps at each mutual information, each on new pairs."""
    learning_rate: float = 1e-3
    """Adam's learning rate."""
    batches: int = 300
    """Batches that an estimate is measured on."""
    view_steps: int = 800
    """Training steps of the critics of the two halves of a digit."""
    code: int = 4
    """Numbers that such a critic makes of one half."""

    def __post_init__(self):
        check_above_zero(self)
        check_least(self, batch_size=2, batches=2)
        check_rising(self, "informations", count=2, above=0)

    @property
    def ceiling(self) -> float:
        """Of InfoNCE: log B."""
        return math.log(self.batch_size)


class Model(eqx.Module):
    """A critic, and the baseline that I_alpha learns beside it."""

    critic: SeparableCritic
    log_baseline: MLPBaseline


def _of_scores(bound: Callable[[Array], Array]) -> Callable[[Model, Array, Array], Array]:
    return lambda model, x, y: bound(model.critic(x, y))


def _between(alpha: float) -> Callable[[Model, Array, Array], Array]:
    def bound(model: Model, x: Array, y: Array) -> Array:
        return interpolated(model.critic(x, y), jax.vmap(model.log_baseline)(y), alpha)

    return bound


# What is trained, and what it is called.
_OBJECTIVES = {
    "InfoNCE": _of_scores(infonce),
    "NWJ": _of_scores(nwj),
    f"I_{SMALL:g}": _between(SMALL),
    "JS": _of_scores(js_nwj),
}
# What a critic is trained with, by task; JS is for the Gaussians alone.
TRAINED = {GAUSSIAN: tuple(_OBJECTIVES), CUBIC: tuple(_OBJECTIVES)[:3]}
VIEWED = TRAINED[CUBIC]

# What is measured at the optimal critic, given the log-ratio of p(y|x) to p(y).
_AT_OPTIMUM: dict[str, Callable[[Array], Array]] = {
    "InfoNCE": infonce,
    "NWJ": lambda f: nwj(f + 1),
    f"I_{SMALL:g}": lambda f: interpolated(f, jnp.zeros((), f.dtype), SMALL),
    "I_0.1": lambda f: interpolated(f, jnp.zeros((), f.dtype), 0.1),
    f"I_{HALF:g}": lambda f: interpolated(f, jnp.zeros((), f.dtype), HALF),
    "DV": dv,
    "TNCE": tnce,
    "L1Out": leave_one_out_upper,
}


def _rho(information: Array, dim: int) -> Array:
    return jnp.sqrt(-jnp.expm1(-2 * information / dim))


def _pairs(
    config: Config, information: Array, key: Array, task: str = GAUSSIAN
) -> tuple[Array, Array]:
    """A batch of pairs, each entry of y correlated with the same of x, or the cube of such."""
    x_key, noise_key = jr.split(key)
    rho = _rho(information, config.dim)
    x = jr.normal(x_key, (config.batch_size, config.dim))
    y = rho * x + jnp.sqrt(1 - rho**2) * jr.normal(noise_key, x.shape)
    return x, y**3 if task == CUBIC else y


def _log_ratio(config: Config, information: Array, x: Array, y: Array) -> Array:
    """log p(y_i|x_j) / p(y_i), the critic that is optimal."""
    rho = _rho(information, config.dim)
    inner = y @ x.T
    lengths = jnp.sum(y**2, axis=1)[:, None] + jnp.sum(x**2, axis=1)[None]
    return information + (rho * inner - rho**2 * lengths / 2) / (1 - rho**2)


@functools.partial(jax.jit, static_argnums=0)
def optimal(
    config: Config, informations: Float[Array, " info"], seeds: Int[Array, " seeds"]
) -> dict[str, Float[Array, "info seeds batch"]]:
    """Every estimate at the optimal critic, batch by batch."""

    def of_batch(information: Array, key: Array) -> dict[str, Array]:
        scores = _log_ratio(config, information, *_pairs(config, information, key))
        return {name: bound(scores) for name, bound in _AT_OPTIMUM.items()}

    def of_run(information: Array, seed: Array) -> dict[str, Array]:
        keys = jr.split(jr.fold_in(jr.key(seed), 0), config.batches)
        return jax.lax.map(lambda key: of_batch(information, key), keys)

    over_seeds = jax.vmap(of_run, in_axes=(None, 0))
    return jax.vmap(over_seeds, in_axes=(0, None))(informations, seeds)


def train(
    config: Config, name: str, task: str, seeds: Sequence[int]
) -> Float[np.ndarray, "info seeds batch"]:
    """Train critics with one bound, at one mutual information after another: it, on new batches."""
    keys = jax.vmap(lambda key: jr.split(jr.fold_in(key, 1), 3))(
        jnp.stack([jr.key(seed) for seed in seeds])
    )
    loss = NegativeBound(config, name, task)
    models = made_stack(_model, keys[:, 0], config, config.dim, config.embedding)
    state, found = None, []
    for number, information in enumerate(config.informations):
        here = jax.vmap(lambda key, number=number: jr.fold_in(key, number))
        truths = jnp.full(len(seeds), information)
        # One after another, for the weights of one critic and their moments fit into the cache, and
        # those of several do not.
        (models, _), info = fit(
            (models, truths), loss, trainable=(True, False), optimiser_state=state,
            optimiser=optax.adam(config.learning_rate), steps=config.steps, sequential=True,
            progress=False, key=here(keys[:, 1]),
        )  # fmt: skip
        state = info.optimiser_state
        found.append(one_by_one(_estimates, (models, truths, here(keys[:, 2])), loss))
    return np.stack(found)


def _estimates(run: tuple[Model, Array, Array], loss: "NegativeBound") -> Float[Array, " batch"]:
    model, information, key = run
    keys = jr.split(key, loss.config.batches)
    return jax.lax.map(lambda key: -loss((model, information), None, key=key)[0], keys)


class NegativeBound(eqx.Module):
    """Minus a bound on fresh pairs, of a model and of their true mutual information."""

    config: Config = eqx.field(static=True)
    name: str = eqx.field(static=True)
    task: str = eqx.field(static=True)

    def __call__(
        self, both: tuple[Model, Float[Array, ""]], batch: None, *, key: PRNGKeyArray
    ) -> tuple[Array, dict[str, Array]]:
        model, information = both
        x, y = _pairs(self.config, information, key, self.task)
        return -_OBJECTIVES[self.name](model, x, y), {}


def _model(config: Config, dim: int, embedding: int, *, key: PRNGKeyArray) -> Model:
    critic_key, baseline_key = jr.split(key)
    critic = SeparableCritic(dim, dim, width=config.width, embedding=embedding, key=critic_key)
    return Model(critic, MLPBaseline(dim, width=config.baseline_width, key=baseline_key))


# The representation: what a critic of the left and the right halves of a digit makes of it.


class OfViews(eqx.Module):
    """Minus a bound on the halves of a batch of images."""

    name: str = eqx.field(static=True)

    def __call__(
        self, model: Model, batch: Float[Array, "batch pixel"], *, key: PRNGKeyArray
    ) -> tuple[Array, dict[str, Array]]:
        return -_OBJECTIVES[self.name](model, *_halves(batch)), {}


def _halves(images: Float[Array, "n pixel"]) -> tuple[Array, Array]:
    side = math.isqrt(images.shape[1])
    both = images.reshape(len(images), side, 2, side // 2)
    return both[:, :, 0].reshape(len(images), -1), both[:, :, 1].reshape(len(images), -1)


def represent(config: Config, data: Split, seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """Train critics of halves of digits with each bound; how well its codes tell the digits.

    Returns:
        The share of held-out digits that a linear classifier of the codes of both halves tells, an
        entry a seed: of each bound, and of a critic that is not trained.
    """
    train, test = (jnp.asarray(part.x.reshape(len(part.x), -1), float) for part in data)
    keys = jax.vmap(lambda key: jr.split(jr.fold_in(key, 2)))(
        jnp.stack([jr.key(seed) for seed in seeds])
    )
    start = made_stack(_model, keys[:, 0], config, train.shape[1] // 2, config.code)
    models = {"not trained": start}
    for name in VIEWED:
        models[name], _ = fit(
            start, OfViews(name), train, optimiser=optax.adam(config.learning_rate),
            steps=config.view_steps, batch_size=config.batch_size, sequential=True, progress=False,
            key=keys[:, 1],
        )  # fmt: skip
    return {
        name: np.array(
            [_told(data, _codes(model, train), _codes(model, test)) for model in unstacked(each)]
        )
        for name, each in models.items()
    }


@eqx.filter_jit
def _codes(model: Model, images: Array) -> Float[Array, "n code"]:
    left, right = _halves(images)
    return jnp.concatenate(
        [jax.vmap(model.critic.of_x)(left), jax.vmap(model.critic.of_y)(right)], axis=1
    )


def _told(data: Split, train: Array, test: Array) -> float:
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return float(classifier.fit(np.asarray(train), data.train.y).score(test, data.test.y))
