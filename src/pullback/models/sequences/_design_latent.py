"""Sequences that maximise a score among those that a generator makes."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from pullback._inputs import positive
from pullback._key import checked_key
from pullback._numbers import as_numbers, check_number
from pullback.models.sequences._climb import AbstractSpace, Held, check_rate, climb_all, dtype_of
from pullback.models.sequences._designs import Designs
from pullback.models.sequences._maximise import check_some_free
from pullback.models.sequences._objective import Score, check_callable, check_score
from pullback.models.sequences._pattern import check_alphabet, free_everywhere, pattern

Prior = Literal["none", "gaussian", "sphere"]


def design_latent(
    generator: Callable[[Float[Array, " latent"]], Float[Array, "length letters"]],
    score: Score,
    *,
    count: int = 64,
    prior: Prior = "none",
    beta: float | None = None,
    fixed: str | None = None,
    start: Float[Array | np.ndarray, "count latent"] | None = None,
    latent: int | None = None,
    steps: int = 300,
    learning_rate: float = 0.1,
    alphabet: str = "ACGT",
    key: PRNGKeyArray,
) -> Designs:
    r"""Sequences that score high and that a generator makes, by ascent in its latent space.

    $$ z \leftarrow z + \text{Adam}\big(\nabla_z [\, s(G(z)) + \beta \log p(z) \,]\big), \qquad
       \log p(z) = -\tfrac12 |z|^2 + \text{const} $$

    The generator keeps the designs like the data that it was trained on, `maximise` does not. A
    Gaussian prior pulls z towards the origin, where hardly a z of training was: those lie near the
    sphere of radius $\sqrt{d}$. "sphere" stays there.

    Args:
        generator: from `z (Z,)` to rows on the simplex, `(L, V)`; nothing of it is trained.
        score: any callable from `(L, V)` to a scalar; see `maximise`.
        count: how many designs, each from a start of its own.
        prior: "none", "gaussian" with the weight `beta`, or "sphere", whose points all have the
            norm $\sqrt{d}$, d the size of z.
        beta: of the Gaussian prior; None: 0.05 with that and 0 without.
        fixed: letters that are kept, as for `maximise`: the score is given them too.
        start: where each search starts, `[count, Z]`. None: draws of a standard normal law.
        latent: the size of z. None: that of `start`, or `generator.latent`.
        steps: of Adam.
        learning_rate: of Adam.
        alphabet: the letters of the generator's columns.
        key: a random key.

    Returns:
        `Designs`, the best first, with `z`.

    Raises:
        TypeError: `generator` or `score` cannot be called or gives another shape, `latent` is not
            known, or it is called inside of `jax.jit`, `vmap` or a gradient.
        ValueError: `beta` is given with another prior, or is negative; `fixed` or `start` does not
            fit; a number does not fit; the score or its slope is not finite.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.models.sequences import MotifScore
        >>> generator = lambda z: jax.nn.softmax(4 * z.reshape(10, 4))
        >>> score = MotifScore(jnp.eye(4)[jnp.asarray([1, 0, 1, 2, 3, 2])])  # CACGTG
        >>> found = design_latent(generator, score, count=4, latent=40, prior="sphere",
        ...                       key=jax.random.key(0))
        >>> "CACGTG" in found.letters[0], f"{jnp.linalg.norm(found.z[0]) ** 2:.1f}"
        (True, '40.0')

    Source: Killoran, Lee, Delong, Duvenaud and Frey, Generating and designing DNA with deep
    generative models, arXiv 1712.06148, section 3.3. The sign is that of the equation above: the
    scripts of the authors push z away from the prior.
    """
    key = checked_key(key)
    positive(count=count, steps=steps)
    check_rate(learning_rate)
    check_alphabet(alphabet)
    check_callable(generator, "generator", "z (Z,) to rows on the simplex (L, V)")
    check_callable(score, "score")
    generator, score = eqx.nn.inference_mode((generator, score))
    weight = _weight(prior, beta)
    dtype = dtype_of(generator, score)
    begin_key, key = jr.split(key)
    if start is None:
        z = jr.normal(begin_key, (count, _latent(generator, latent)), dtype)
    else:
        z = _started(start, count, latent, dtype)
    length = _length(generator, z, alphabet)
    kept = free_everywhere(length) if fixed is None else pattern(fixed, alphabet, "fixed")
    if len(kept.free) != length:
        raise ValueError(
            f"`fixed` has {len(kept.free)} letters, and the generator's sequences {length}."
        )
    check_some_free(kept)
    check_score(score, length, len(alphabet), dtype)
    held = Held.of(kept, len(alphabet), dtype)
    space = _Latent(generator, held, jnp.asarray(weight, dtype), prior == "sphere")
    return climb_all(
        score, space, jax.vmap(space.project)(z), alphabet=alphabet, steps=steps,
        learning_rate=learning_rate, z=lambda free: free, key=key,
    )  # fmt: skip


class _Latent(AbstractSpace):
    generator: Callable[[Array], Array]
    held: Held
    beta: Float[Array, ""]
    sphere: bool = eqx.field(static=True)

    def decode(self, free: PyTree) -> Float[Array, "length letters"]:
        return self.held(self.generator(free))

    def value(
        self, score: Score, free: PyTree, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        found = score(self.decode(free))
        return found - (0.5 * self.beta * jnp.sum(free**2)).astype(found.dtype), found

    def project(self, free: PyTree) -> PyTree:
        if not self.sphere:
            return free
        return free * (free.size**0.5 / jnp.linalg.norm(free))


def _weight(prior: str, beta: float | None) -> float:
    if prior not in get_args(Prior):
        choices = ", ".join(repr(choice) for choice in get_args(Prior))
        raise ValueError(f"`prior` must be one of {choices}, got {prior!r}.")
    if prior != "gaussian":
        if beta is not None:
            raise ValueError(
                f"`beta` is the weight of the Gaussian prior, got {beta} with prior={prior!r}: use "
                "prior='gaussian', or leave it out."
            )
        return 0.0
    weight = 0.05 if beta is None else beta
    check_number(
        "beta", weight, "0 or more, for a negative one drives z away from the prior",
        lambda value: value >= 0,
    )  # fmt: skip
    return float(weight)


def _latent(generator: Any, latent: int | None) -> int:
    found = getattr(generator, "latent", None) if latent is None else latent
    if found is None:
        raise TypeError(
            "`latent`, the size of the generator's z, is not known: give latent=32, for example."
        )
    positive(latent=found)
    return int(found)


def _started(start: Any, count: int, latent: int | None, dtype: Any) -> Float[Array, "count z"]:
    z = jnp.asarray(as_numbers("start", start), dtype)
    wanted = f"({count}, {'Z' if latent is None else latent})"
    if z.ndim != 2 or z.shape[0] != count or latent not in (None, z.shape[1]):
        raise ValueError(f"`start` must have the shape {wanted}, got {z.shape}.")
    if not bool(jnp.all(jnp.isfinite(z)) & jnp.all(jnp.any(z != 0, axis=1))):
        raise ValueError("`start` must hold finite numbers, and no row of zeros alone.")
    return z


def _length(generator: Any, z: Float[Array, "count latent"], alphabet: str) -> int:
    try:
        found = eqx.filter_eval_shape(generator, jax.ShapeDtypeStruct(z.shape[1:], z.dtype))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"`generator` cannot be called with one z of {z.shape[1]} numbers: see what it says of "
            "it above. Is that the size it wants, as `latent` or the columns of `start` have it?"
        ) from error
    shape = getattr(found, "shape", None)
    if shape is None or len(shape) != 2 or shape[1] != len(alphabet):
        raise TypeError(
            f"`generator` must give rows of {len(alphabet)} letters, `alphabet` {alphabet!r}, of "
            f"one z of {z.shape[1]} numbers; it gave {found}."
        )
    return shape[0]
