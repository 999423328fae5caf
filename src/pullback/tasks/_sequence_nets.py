"""The networks of a designer of sequences: fitted, kept as arrays, and asked."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._on_device import on_device
from pullback.models.sequences import (
    Designs,
    SequenceEnsemble,
    SequenceGenerator,
    SequenceRegressor,
    design_latent,
    fit_sequence_gan,
    fit_sequence_regressor,
    maximise,
)

from ._net_arrays import arrays_of, filled
from ._padded import CHUNK, chunks, in_chunks

_LATENT, _WIDTH, _BLOCKS = 32, 24, 3  # of the generator
_MEMBERS, _KERNEL, _FILTERS, _HIDDEN, _DEPTH = 5, 11, 32, 64, 2  # of the ensemble
_GAN_STEPS, _SCORE_STEPS = 400, 1500
_POINTS = 20  # of the curve of the game
_SIZES = 16, 64, 256  # of climbs side by side, so that few programs are compiled
STEPS = 300  # of a climb


class Curve(NamedTuple):
    """How far samples were from sequences that the players of the game had not seen."""

    step: list[int]
    distance: list[float]


def train_generator(
    x: Float[np.ndarray, "n length letters"], steps: int | None, seed: int, progress: bool | None
) -> tuple[SequenceGenerator, Curve]:
    """A generator of sequences, and the curve of its training."""
    steps = _GAN_STEPS if steps is None else steps
    every = max(1, steps // _POINTS)
    generator, _, info = fit_sequence_gan(
        x, latent=_LATENT, width=_WIDTH, blocks=_BLOCKS, steps=steps // every * every,
        log_every=every, progress=progress, key=_key(0, seed),
    )  # fmt: skip
    told = info.history["validation_wasserstein"].tolist()
    return generator, Curve(info.history["step"].tolist(), told)


def train_ensemble(
    x: Float[np.ndarray, "n length letters"],
    y: Float[np.ndarray, " n"],
    both_strands: bool,
    steps: int | None,
    seed: int,
    progress: bool | None,
) -> SequenceEnsemble:
    """Regressors of scores."""
    steps = _SCORE_STEPS if steps is None else steps
    every = min(100, steps)
    return fit_sequence_regressor(
        x, y, members=_MEMBERS, kernel=_KERNEL, filters=_FILTERS, width=_HIDDEN, depth=_DEPTH,
        both_strands=both_strands, steps=steps // every * every, log_every=every,
        progress=progress, key=_key(1, seed),
    )[0]  # fmt: skip


def _key(number: int, seed: int) -> PRNGKeyArray:
    return jr.wrap_key_data(on_device(np.asarray([number, seed], np.uint32)))


def sample(
    generator: SequenceGenerator, count: int, seed: int
) -> Float[np.ndarray, "n length letters"]:
    """Rows of sequences that are drawn, between letters."""
    parts = []
    for number, (start, stop) in enumerate(chunks(count)):
        parts.append(np.asarray(_sample(generator, _key(number + 2, seed)))[: stop - start])
    return np.concatenate(parts)


@eqx.filter_jit
def _sample(generator: SequenceGenerator, key: PRNGKeyArray) -> Array:
    return jax.vmap(generator)(jr.normal(key, (CHUNK, generator.latent), jnp.float32))


def predict(
    ensemble: SequenceEnsemble, x: Float[np.ndarray, "n length letters"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """The mean of an ensemble and the standard deviation of its members, of each sequence."""
    told = in_chunks(lambda rows: _members(ensemble, on_device(rows)), x).astype(np.float64)
    return told.mean(axis=1), told.std(axis=1)


@eqx.filter_jit
def _members(ensemble: SequenceEnsemble, x: Array) -> Array:
    return jax.vmap(ensemble.members)(x)


class Drawn(NamedTuple):
    """Candidates for designs, in no order.

    Attributes:
        letters: of each.
        x: the same, one-hot.
        goal: the score of the letters.
        goal_soft: the score at which the climb ended, between letters.
    """

    letters: list[str]
    x: Float[np.ndarray, "n length letters"]
    goal: Float[np.ndarray, " n"]
    goal_soft: Float[np.ndarray, " n"]


def climb(
    generator: SequenceGenerator,
    score: Any,
    count: int,
    *,
    fixed: str | None,
    alphabet: str,
    seed: int,
) -> Drawn:
    """Climb a score in the generator's latent space from so many random starts, or more."""
    size = next(size for size in _SIZES if count <= size or size == _SIZES[-1])
    found = []
    for number in range(-(-count // size)):
        found.append(
            design_latent(
                generator,
                score,
                count=size,
                fixed=fixed,
                steps=STEPS,
                alphabet=alphabet,
                key=_key(number, seed),
            )
        )
    return _drawn(found)


def climb_plainly(score: Any, count: int, length: int, *, alphabet: str, seed: int) -> Drawn:
    """Climb a score by the letters alone: activation maximisation."""
    found = maximise(
        score, count=count, length=length, steps=STEPS, alphabet=alphabet, key=_key(0, seed)
    )
    return _drawn([found])


def _drawn(found: list[Designs]) -> Drawn:
    join = lambda name: np.concatenate([np.asarray(getattr(each, name)) for each in found])
    return Drawn(
        [letters for each in found for letters in each.letters],
        np.asarray(join("one_hot"), np.float32),
        np.asarray(join("score"), float),
        np.asarray(join("score_soft"), float),
    )


def kept(generator: SequenceGenerator, ensemble: SequenceEnsemble | None) -> dict[str, np.ndarray]:
    """The arrays of the networks by name."""
    return arrays_of(generator, "generator") | arrays_of(ensemble, "ensemble")


def from_arrays(
    arrays: dict[str, np.ndarray], length: int, letters: int, both_strands: bool
) -> tuple[SequenceGenerator, SequenceEnsemble | None]:
    """The networks that had these arrays."""
    key = jr.key(0)
    generator = eqx.filter_eval_shape(
        SequenceGenerator, length, letters, _LATENT, _WIDTH, _BLOCKS, dtype=jnp.float32, key=key
    )
    generator = filled(generator, arrays, "generator")
    if not any(name.startswith("ensemble") for name in arrays):
        return generator, None
    make = lambda key: SequenceRegressor(
        letters, _KERNEL, _FILTERS, _HIDDEN, _DEPTH, both_strands=both_strands,
        dtype=jnp.float32, key=key,
    )  # fmt: skip
    whole = lambda keys: SequenceEnsemble(eqx.filter_vmap(make)(keys), jnp.zeros(()), jnp.ones(()))
    ensemble = eqx.filter_eval_shape(whole, jr.split(key, _MEMBERS))
    return generator, filled(ensemble, arrays, "ensemble")
