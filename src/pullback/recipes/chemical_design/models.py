"""The molecules of the recipe `chemical-design`, and the autoencoders that are fitted to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.data import Molecules as Read
from pullback.data import Vocabulary
from pullback.models.sequences import TokenVAE, fit_token_vae
from pullback.recipes._kit.checks import check_above_zero
from pullback.runs import Context

SMILES, SELFIES = KINDS = ("smiles_char", "selfies")
WORDS = {SMILES: "SMILES", SELFIES: "SELFIES"}


@dataclass(frozen=True)
class Training:
    latent: int = 32
    """Numbers in a code."""
    width: int = 128
    """Units of the decoder's recurrent net."""
    steps: int = 2000
    """Training steps."""
    batch_size: int = 64
    """Molecules a step."""
    kl_weight: float = 0.05
    """Weight of the KL at the end, beside the log-likelihood of a whole string."""
    property_weight: float = 5.0
    """Weight of the squared error of the properties, in their standard deviations."""
    word_dropout: float = 0.2
    """Share of the tokens that the decoder is not told while it trains."""
    buckets: bool = True
    """Whether a batch is of molecules of about one length."""

    def __post_init__(self):
        check_above_zero(self)


class Molecules(NamedTuple):
    """Molecules as canonical SMILES, in two parts, and a row of properties each."""

    train: list[str]
    test: list[str]
    y_train: Float[np.ndarray, "train properties"]
    y_test: Float[np.ndarray, "test properties"]


class Fitted(NamedTuple):
    """An autoencoder, its tokens, and the codes of both parts."""

    words: Vocabulary
    vae: TokenVAE
    train: Float[np.ndarray, "train latent"]
    test: Float[np.ndarray, "test latent"]

    def decode(
        self, z: Float[np.ndarray, "n latent"], *, temperature: float = 0.0, key: PRNGKeyArray
    ) -> list[str]:
        """A string for each code: at 0 the likeliest token by token, at 1 drawn."""
        codes = _decoded(self.vae, jnp.asarray(z), jnp.asarray(temperature), key)
        return self.words.decode(np.asarray(codes))

    def predict(self, z: Float[np.ndarray, "n latent"]) -> Float[np.ndarray, "n properties"]:
        """The properties of codes, by the net that was trained with them."""
        return np.asarray(_predicted(self.vae, jnp.asarray(z)))


def writable(molecules: Read) -> Read:
    """Those that both alphabets can write."""
    smiles = molecules.smiles
    problems = Vocabulary.from_strings(smiles, SELFIES, skip_invalid=True).problems(smiles)
    return molecules.take([place for place in range(len(smiles)) if place not in problems])


def split(smiles: Sequence[str], test: int, seed: int) -> tuple[list[str], list[str]]:
    """Molecules in two parts, the second held out, by a permutation."""
    if not test < len(smiles):
        raise ValueError(f"test must be below {len(smiles)}, got {test}")
    order = np.random.default_rng(seed).permutation(len(smiles))
    return [smiles[at] for at in order[test:]], [smiles[at] for at in order[:test]]


def fitted(
    config: Training, context: Context, molecules: Molecules, kind: str, joint: bool = True
) -> Fitted:
    """The autoencoder of one alphabet, trained with the properties or without."""
    smiles, count = [*molecules.train, *molecules.test], len(molecules.train)
    words = Vocabulary.from_strings(smiles, kind)
    codes = words.encode(smiles)
    name = f"{kind}-{'joint' if joint else 'plain'}"
    vae, info = fit_token_vae(
        codes[:count], molecules.y_train, tokens=words.size, latent=config.latent,
        width=config.width, kl_weight=config.kl_weight, word_dropout=config.word_dropout,
        property_weight=config.property_weight if joint else 0.0, steps=config.steps,
        batch_size=config.batch_size, buckets=config.buckets,
        log_every=max(1, config.steps // 20), key=jr.key(context.seed), **context.training(name),
    )  # fmt: skip
    context.log(info.lines(), run=name)
    found = np.asarray(_encoded(vae, jnp.asarray(codes)))
    return Fitted(words, vae, found[:count], found[count:])


@eqx.filter_jit
def _encoded(vae: TokenVAE, codes: Array) -> Array:
    return jax.lax.map(lambda row: vae.encode(row)[0], codes, batch_size=256)


@eqx.filter_jit
def _decoded(vae: TokenVAE, z: Array, temperature: Array, key: PRNGKeyArray) -> Array:
    one = lambda z, key: vae.decode(z, temperature=temperature, key=key)
    return jax.vmap(one)(z, jr.split(key, len(z)))


@eqx.filter_jit
def _predicted(vae: TokenVAE, z: Array) -> Array:
    return jax.vmap(vae.predict)(z)
