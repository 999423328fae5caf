"""`fit_token_vae`: sequences of tokens and what was measured of them in, a `TokenVAE` out."""

import os
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback._buckets import bucket_sizes
from pullback._inputs import positive
from pullback._key import checked_key
from pullback._numbers import as_numbers, check_number
from pullback.bounds import Beta
from pullback.models.vae import VAE, PropertyLoss, TokenDecoder
from pullback.train import TrainingInfo, fit

from ._climb import check_rate
from ._late_mean import late_mean
from ._length_buckets import CutLoss, length_batches
from ._rows import check_range
from ._token_vae import TokenVAE, token_vae

_MIDDLE, _WIDTH = 0.35, 0.05  # of the rise of the weight of the KL, in shares of the training
_LATE = 4  # the part of the steps, of which the weights' mean is taken, is the last of so many


def fit_token_vae(
    codes: Any,
    targets: Any = None,
    *,
    tokens: int,
    latent: int = 32,
    width: int = 128,
    kl_weight: float | int = 0.05,
    property_weight: float | int = 5.0,
    word_dropout: float | int = 0.2,
    steps: int = 2000,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    buckets: bool = True,
    log_every: int = 100,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | None = None,
    mesh: jax.sharding.Mesh | None = None,
    key: PRNGKeyArray,
) -> tuple[TokenVAE, TrainingInfo]:
    r"""Train an autoencoder of sequences of tokens, together with a prediction from its code.

    $$ L = -\log p(x \mid z) + \beta_s\, \mathrm{KL}
       + w\, \mathrm{mean}_j \big(f(\mu)_j - \tilde y_j\big)^2, \qquad
       \beta_s = \beta\, \sigma\big((s / S - 0.35) / 0.05\big) $$

    in nats summed over the tokens, with $\tilde y$ of mean 0 and variance 1, and s of S steps done.
    That the weight of the KL rises, and that tokens are hidden from the decoder, keeps it from
    doing without z. The model has the mean of the weights of the last quarter of the steps: those
    of one step are as good as its luck.

    Args:
        codes: `[n, T]` whole numbers: 0 is the stop and the padding behind it, 1 and up are the
            tokens (`pullback.data.Vocabulary`).
        targets: `[n, P]`, or `[n]`: what was measured of each, NaN where it was not. None: nothing.
        tokens: how many there are, with the stop.
        latent: the size of the code.
        width: of the decoder's cell.
        kl_weight: $\beta$; at 1 the loss is minus the ELBO, below it the code keeps more.
        property_weight: $w$.
        word_dropout: the share of tokens that is hidden from the decoder.
        steps: S.
        batch_size: sequences a step, or all there are.
        learning_rate: of Adam.
        buckets: draw each batch from sequences of about one length, and compute as much of it as
            its longest needs; else all are as long as the padding. Each of a few lengths is
            compiled for itself, so there are the more of them the more steps there are; a short
            training has but one, of the longest sequence.
        log_every: steps between two points of the history.
        folder: as for `pullback.train.fit`, as are those that follow.
        resume: go on from the checkpoint in `folder`.
        progress: show a bar on stderr.
        mesh: spread each batch over these devices.
        key: a typed PRNG key.

    Returns:
        The model, and a `TrainingInfo`, whose history has `distortion` and `rate` in nats a
        sequence and `property_mse` in variances of the targets, of the weights as they were then.

    Raises:
        ValueError: `codes` are not of 0 to `tokens` - 1, `targets` have other rows, are infinite,
            beyond the range of JAX's default float or hold a column of which nothing was measured,
            or a setting is out of its range.
        TypeError: `codes` are no whole numbers, or `targets` or a setting no numbers.

    Example:
        >>> import jax, numpy as np
        >>> codes = np.array([[1, 2, 0, 0], [2, 2, 1, 0]] * 4)
        >>> model, info = fit_token_vae(codes, np.arange(8.0), tokens=3, latent=2, width=8, steps=2,
        ...                             batch_size=4, buckets=False, key=jax.random.key(0))
        >>> model.encode(codes[0])[0].shape, info.step
        ((2,), 2)

    Source: Gomez-Bombarelli et al., Automatic Chemical Design, arXiv 1610.02415 (joint training);
    Bowman et al., arXiv 1511.06349 (the rise of the KL, hidden words); Izmailov et al., arXiv
    1803.05407 (the mean of the weights).
    """
    key = checked_key(key)
    positive(tokens=tokens, latent=latent, width=width, steps=steps, batch_size=batch_size)
    check_rate(learning_rate)
    check_number("word_dropout", word_dropout, "from 0 to below 1", lambda value: 0 <= value < 1)
    check_number("kl_weight", kl_weight, "0 or more", lambda value: value >= 0)
    check_number("property_weight", property_weight, "0 or more", lambda value: value >= 0)
    codes, needed = _checked_codes(codes, tokens)
    targets, centre, scale = _standardised(targets, len(codes))
    batch_size = min(batch_size, len(codes))
    making, training = jr.split(key)
    start = _start(
        tokens, codes.shape[1], targets=targets.shape[1], latent=latent, width=width, key=making
    )

    def objective(step: Int[Array, ""]) -> Beta:
        done = step.astype(float) / steps
        return Beta(kl_weight * jax.nn.sigmoid((done - _MIDDLE) / _WIDTH))

    def told(vae: VAE, x: Array, *, key: PRNGKeyArray) -> Array:
        return cast(TokenDecoder, vae.decoder).hide(x, word_dropout, key=key)

    loss = PropertyLoss(objective, weight=property_weight, told=told if word_dropout else None)
    pair = start.vae, start.predictor
    data: Any = codes, targets
    loss.check(pair, data)
    drawing: dict[str, Any] = {"batch_size": batch_size}
    lengths = bucket_sizes(needed, steps) if buckets else codes.shape[1:]
    if len(lengths) > 1:
        data = length_batches(codes, targets, needed, lengths, batch_size)
        loss, drawing = CutLoss(loss, lengths), {}
    else:
        data = codes[:, : lengths[0]], targets
    last, info = fit(
        pair, loss, data, steps=steps, **drawing,
        optimiser=optax.chain(optax.adam(learning_rate), late_mean(steps - steps // _LATE + 1)),
        log_every=min(log_every, steps), folder=folder, resume=resume, progress=progress, mesh=mesh,
        key=training,
    )  # fmt: skip
    rest = eqx.filter(last, eqx.is_inexact_array, inverse=True)
    vae, predictor = eqx.combine(info.optimiser_state[-1].weights, rest)
    model = TokenVAE(vae, predictor, jnp.asarray(centre), jnp.asarray(scale))
    return model, info


_start = eqx.filter_jit(token_vae)


def _checked_codes(
    codes: Any, tokens: int
) -> tuple[Int[np.ndarray, "n time"], Int[np.ndarray, " n"]]:
    """The codes with zeros from each first stop on, and how many tokens each needs with it."""
    codes = np.asarray(codes)
    if codes.ndim != 2 or not codes.size:
        raise ValueError(
            f"`codes` must be sequences, `[n, T]`, one or more; got the shape {codes.shape}."
        )
    if codes.dtype.kind not in "iu":
        raise TypeError(
            f"`codes` must be whole numbers, got {codes.dtype}: pullback.data.Vocabulary turns "
            "strings into them."
        )
    outside = np.argwhere((codes < 0) | (codes >= tokens))
    if len(outside):
        row, place = outside[0]
        raise ValueError(
            f"`codes` must be from 0 to {tokens - 1}, `tokens` less one; row {row} has "
            f"{codes[row, place]} at {place}, one of {len(outside)} such."
        )
    going = np.cumprod(codes != 0, axis=1).astype(np.int32)
    needed = np.minimum(going.sum(axis=1) + 1, codes.shape[1])
    return codes.astype(np.int32) * going, needed


def _standardised(
    targets: Any, count: int
) -> tuple[Float[np.ndarray, "n p"], Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
    """What was measured with mean 0 and variance 1 for each column, and both as they were."""
    dtype = jnp.result_type(float)
    found = np.zeros((count, 0)) if targets is None else as_numbers("targets", targets)
    found = found[:, None] if found.ndim == 1 else found
    if found.ndim != 2 or len(found) != count:
        raise ValueError(
            f"`targets` must have a row for each of the {count} sequences, `[n, P]` or `[n]`; got "
            f"the shape {np.shape(targets)}."
        )
    if np.isinf(found).any():
        raise ValueError(
            "`targets` must be finite, or NaN where nothing was measured; row "
            f"{np.argwhere(np.isinf(found))[0][0]} is infinite."
        )
    empty = np.isnan(found).all(axis=0)
    if empty.any():
        raise ValueError(
            f"`targets` has a column of which nothing was measured, {int(np.argmax(empty))}: leave "
            "it out."
        )
    with np.errstate(over="ignore"):
        centre, scale = np.nanmean(found, axis=0), np.nanstd(found, axis=0)
    # To rounding a column that is constant has no deviation, and is predicted by its mean.
    scale = np.where(scale > 1e-9 * np.abs(centre), scale, 1.0)
    check_range("targets", found, scale, dtype)
    return ((found - centre) / scale).astype(dtype), centre.astype(dtype), scale.astype(dtype)
