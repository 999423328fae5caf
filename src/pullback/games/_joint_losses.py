"""The losses of both players from the logits of both kinds of pairs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pullback.games._divergence import checked_log_ratio
from pullback.games._objectives import check_some


def joint_losses(
    encoder_logits: Float[Array, "n *logits"],
    decoder_logits: Float[Array, "m *logits"],
    labels: Int[Array, " labels"] | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""The losses of the discriminator and of the generator in adversarially learned inference.

    $$ L_D = \overline{\mathrm{softplus}(-T_\text{enc})} + \overline{\mathrm{softplus}(
       T_\text{dec})} + \overline{-\log p(y \mid y \le K)}, \qquad
       L_G = \overline{\mathrm{softplus}(T_\text{enc})} + \overline{\mathrm{softplus}(
       -T_\text{dec})} $$

    T is the logit of "it is an encoder's pair". With K classes there are K + 1 logits, and T is
    $\log \sum_{k \le K} e^{l_k} - l_{K+1}$: an encoder's pair is of any of the K classes and a
    decoder's of class K + 1. The pairs with a label add what tells their class among the K, a mean
    over those alone, so that few labels weigh as much as many. The generator's loss is that of the
    discriminator with both kinds of pairs exchanged, without labels: it does not saturate for the
    encoder nor for the decoder.

    Args:
        encoder_logits: of pairs of an example and a draw of the encoder, `[n]` or `[n, K + 1]`.
        decoder_logits: of pairs of a draw of the decoder and a latent, `[m]` or `[m, K + 1]`.
        labels: the class of each of the first, whole numbers from 0 to K - 1, or -1 where it is not
            known. A class that there is not makes $L_D$ NaN.

    Returns:
        $L_D$ and $L_G$.

    Raises:
        TypeError: labels are no whole numbers.
        ValueError: the logits have no such shapes, both of one form, or there are none; or there
            are labels and no classes.

    Example:
        >>> import jax.numpy as jnp
        >>> losses = joint_losses(jnp.zeros(3), jnp.zeros(3))
        >>> [round(float(loss), 4) for loss in losses]  # 2 log 2: it cannot tell
        [1.3863, 1.3863]
        >>> logits = jnp.asarray([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # two classes
        >>> discriminator_loss, _ = joint_losses(logits, logits, jnp.asarray([0, -1]))

    Source: Dumoulin et al., arXiv 1606.00704, sections 2 and 4.3; the K + 1 classes as in Salimans
        et al., arXiv 1606.03498, section 5.
    """
    encoder_logits = checked_log_ratio(encoder_logits, "encoder_logits")
    decoder_logits = checked_log_ratio(decoder_logits, "decoder_logits")
    check_some(encoder_logits=encoder_logits, decoder_logits=decoder_logits)
    if encoder_logits.shape[1:] != decoder_logits.shape[1:]:
        raise ValueError(
            "`encoder_logits` and `decoder_logits` must be of one discriminator, [n] and [m] or "
            f"[n, K + 1] and [m, K + 1]; got {encoder_logits.shape} and {decoder_logits.shape}."
        )
    encoder_ratio, decoder_ratio = log_ratio(encoder_logits), log_ratio(decoder_logits)
    mean = lambda x: jnp.mean(jax.nn.softplus(x))
    discriminator = mean(-encoder_ratio) + mean(decoder_ratio)
    generator = mean(encoder_ratio) + mean(-decoder_ratio)
    if labels is None:
        return discriminator, generator
    check_whole_labels(labels)
    labels = jnp.asarray(labels)
    if labels.shape != encoder_logits.shape[:1]:
        raise ValueError(
            f"`labels` must be one for each of {len(encoder_logits)} examples, -1 where it is not "
            f"known; got shape {labels.shape}."
        )
    known = labels >= 0
    log_probs = jax.nn.log_softmax(encoder_logits[:, : class_count(encoder_logits)])
    # A class that there is not reads NaN, which stops training.
    place = jnp.where(known, labels, 0)[:, None]
    told = jnp.take_along_axis(log_probs, place, axis=1, mode="fill")[:, 0]
    total = jnp.sum(jnp.where(known, told, 0))
    return discriminator - total / jnp.maximum(jnp.sum(known), 1).astype(total.dtype), generator


def check_whole_labels(labels: Any) -> None:
    """Raise for labels that are no whole numbers, such as names of classes."""
    dtype = labels.dtype if hasattr(labels, "dtype") else np.asarray(labels).dtype
    if not jnp.issubdtype(dtype, jnp.integer):
        raise TypeError(
            f"`labels` must be whole numbers, from 0, and -1 where a class is not known; got "
            f"{dtype}. Of names take their numbers, such as numpy.unique(labels, "
            "return_inverse=True)[1]."
        )


def log_ratio(logits: Float[Array, "n *logits"]) -> Float[Array, " n"]:
    """The logit of "it is an encoder's pair" of each."""
    if logits.ndim == 1:
        return logits
    return jax.nn.logsumexp(logits[:, : class_count(logits)], axis=1) - logits[:, -1]


def class_count(logits: Float[Array, "n *logits"]) -> int:
    """K, of K + 1 logits."""
    if logits.ndim == 1:
        raise ValueError(
            "the discriminator gives one logit and knows no classes: K classes need K + 1 logits."
        )
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(
            "the discriminator must give a logit of shape (), as an eqx.nn.MLP does with "
            f'`out_size="scalar"`, or K + 1 logits for K classes; it gave {logits.shape[1:]}.'
        )
    return logits.shape[1] - 1
