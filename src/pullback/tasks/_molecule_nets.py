"""The autoencoder of a designer of molecules: fitted, kept as arrays, and asked."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback._on_device import on_device
from pullback.data import Vocabulary
from pullback.models.sequences import (
    GaussianProcess,
    LatentSpace,
    TokenVAE,
    fit_token_vae,
    token_vae,
)

from ._net_arrays import filled
from ._padded import in_chunks

LATENT = 32
_WIDTH, _STEPS, _BATCH, _POINTS = 128, 3000, 64, 30
_MANY = 1000  # molecules, from which on programs for several lengths are worth compiling
_CHUNK = 256  # rows that a program is asked of at once


class Curve(NamedTuple):
    """How the training went.

    Attributes:
        step: of training.
        distortion: nats of a molecule's tokens that the code does not tell.
        rate: nats that the code tells.
    """

    step: list[int]
    distortion: list[float]
    rate: list[float]


class Coder(NamedTuple):
    """An autoencoder and its tokens.

    Attributes:
        vae: the autoencoder.
        vocabulary: the tokens.
    """

    vae: TokenVAE
    vocabulary: Vocabulary

    @property
    def dtype(self) -> Any:
        """Of codes."""
        return self.vae.centre.dtype

    def encode(self, smiles: Sequence[str]) -> Float[np.ndarray, "n latent"]:
        """The means of the posteriors of molecules; NaN of what the vocabulary cannot write."""
        found = np.full((len(smiles), self.vae.latent), np.nan, self.dtype)
        problems = self.vocabulary.problems(smiles) if smiles else {}
        known = [place for place in range(len(smiles)) if place not in problems]
        if known:
            codes = self.vocabulary.encode([smiles[place] for place in known])
            found[known] = asked(_encoded, self.vae, codes)
        return found

    def predict(self, z: Float[np.ndarray, "n latent"]) -> Float[np.ndarray, "n properties"]:
        """What is predicted at codes, in the units of what was measured."""
        return asked(_predicted, self.vae, np.asarray(z, self.dtype)).astype(np.float64)

    def decode(self, z: Any, *, temperature: float | int = 1.0, key: PRNGKeyArray) -> list[str]:
        """A string drawn at each code; at temperature 0 the likeliest token each time."""
        numbers = iter(range(len(z)))
        heat = on_device(np.asarray(temperature, self.dtype))
        draw = lambda vae, rows: _decoded(vae, rows, heat, jr.fold_in(key, next(numbers)))
        return self.vocabulary.decode(asked(draw, self.vae, np.asarray(z, self.dtype)))


def train(
    codes: Int[np.ndarray, "n time"],
    targets: Float[np.ndarray, "n properties"],
    tokens: int,
    *,
    steps: int | None,
    seed: int,
    progress: bool | None,
) -> tuple[TokenVAE, Curve]:
    """An autoencoder of molecules, and the curves of its training.

    Args:
        codes: of the molecules.
        targets: what was measured, NaN where it was not; of no property if no column.
        tokens: how many there are, with the stop.
        steps: of training; None: chosen.
        seed: of all that is random.
        progress: whether to show a bar.
    """
    steps = _STEPS if steps is None else steps
    model, info = fit_token_vae(
        codes, targets if targets.shape[1] else None, tokens=tokens, latent=LATENT, width=_WIDTH,
        steps=steps, batch_size=min(_BATCH, len(codes)), buckets=len(codes) >= _MANY,
        log_every=max(1, steps // _POINTS), progress=progress, key=key_of(0, seed),
    )  # fmt: skip
    wanted = "step", "distortion", "rate"
    return model, Curve(*(np.asarray(info.history[name]).tolist() for name in wanted))


def key_of(number: int, seed: int) -> PRNGKeyArray:
    """The key of one use of a seed."""
    return jr.wrap_key_data(on_device(np.asarray([number, seed], np.uint32)))


def whitened(space: LatentSpace, z: Any) -> Float[np.ndarray, "n latent"]:
    """Codes in standard deviations from the mean."""
    return np.asarray(space.whiten(on_device(np.asarray(z, space.mean.dtype))))


def as_codes(space: LatentSpace, white: Any) -> Float[np.ndarray, "*batch latent"]:
    """The codes of what `whitened` gave."""
    return np.asarray(space.unwhiten(on_device(np.asarray(white, space.mean.dtype))))


def from_arrays(
    arrays: dict[str, np.ndarray], tokens: int, length: int, properties: int
) -> TokenVAE:
    """The network that had these arrays."""
    make = lambda key: token_vae(
        tokens, length, targets=properties, latent=LATENT, width=_WIDTH, key=key
    )
    return filled(eqx.filter_eval_shape(make, jr.key(0)), arrays)


@eqx.filter_jit
def _encoded(model: TokenVAE, codes: Array) -> Array:
    return jax.vmap(lambda row: model.encode(row)[0])(codes)


@eqx.filter_jit
def _predicted(model: TokenVAE, z: Array) -> Array:
    return jax.vmap(model.predict)(z)


@eqx.filter_jit
def at_codes(process: GaussianProcess, z: Array) -> Array:
    """The mean and the standard deviation at each code."""
    return jax.vmap(lambda row: jnp.stack(process.predict(row)))(z)


@eqx.filter_jit
def _decoded(model: TokenVAE, z: Array, temperature: Array, key: PRNGKeyArray) -> Array:
    draw = lambda z, key: model.decode(z, temperature=temperature, key=key)
    return jax.vmap(draw)(z, jr.split(key, len(z)))


def asked(function: Callable[..., Array], model: Any, rows: np.ndarray) -> np.ndarray:
    """What a program gives of a model and of rows, so many at a time that it is compiled once."""
    return in_chunks(lambda part: function(model, on_device(part)), rows, _CHUNK)
