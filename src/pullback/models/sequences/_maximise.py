"""Sequences that maximise a score, with nothing else asked of them."""

from collections.abc import Sequence
from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from pullback._inputs import positive
from pullback._key import checked_key
from pullback.models.sequences._climb import AbstractSpace, Held, check_rate, climb_all, dtype_of
from pullback.models.sequences._designs import Designs
from pullback.models.sequences._objective import Score, check_callable, check_score
from pullback.models.sequences._pattern import Pattern, check_alphabet, free_everywhere, pattern
from pullback.sampling import OneHotCategorical, StraightThrough, expectation, straight_through

Relaxation = Literal["softmax", "straight_through", "seqprop"]

# Logits of a letter that a search starts from, above the others, and of the noise around it.
_LIKED, _NOISE = 2.0, 0.1


def maximise(
    score: Score,
    *,
    count: int,
    length: int | None = None,
    start: str | Sequence[str] | None = None,
    fixed: str | None = None,
    relax: Relaxation = "softmax",
    steps: int = 300,
    learning_rate: float = 0.1,
    alphabet: str = "ACGT",
    key: PRNGKeyArray,
) -> Designs:
    r"""Sequences that maximise a score, by gradient ascent on their logits.

    $$ v \leftarrow v + \text{Adam}\big(\nabla_v\, s(x(v))\big), \qquad
       x = \mathrm{softmax}(v) \text{ in each row} $$

    It knows nothing of the sequences that the score was made from, and goes as far from them as the
    score lets it: `design_latent` stays near. All searches are one compiled program.

    Args:
        score: any callable from `(L, V)` to a scalar: a `MotifScore`, a model, `weighted` of
            several. One with a method `members` is an ensemble, and each member is asked of the
            designs. A model with dropout is taken in inference mode.
        count: how many designs, each from a start of its own.
        length: L; None where `fixed` or `start` tells.
        start: a string to start all from, or `count` of them; "." or "N" where any letter may come.
            None: random logits.
        fixed: letters that are kept, primers and barcodes for example, and "." or "N" where any may
            come; "N" is a letter where `alphabet` has it. None: all are free.
        relax: "softmax", rows on the simplex; "straight_through", the likeliest letters, with the
            slope of the softmax; "seqprop", letters drawn from logits that are normalised along the
            sequence, with that slope (Fast SeqProp), which ties the places of a short one together.
            The last two score real strings in every step.
        steps: of Adam.
        learning_rate: of Adam.
        alphabet: the letters of the columns.
        key: a random key.

    Returns:
        `Designs`, the best first.

    Raises:
        TypeError: `score` gives no scalar, `fixed` or `start` is no string, or it is called inside
            of `jax.jit`, `vmap` or a gradient.
        ValueError: lengths differ or none is given, a letter is not in `alphabet`, nothing is free,
            a number does not fit, or the score or its slope is not finite.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.models.sequences import MotifScore
        >>> score = MotifScore(jnp.eye(4)[jnp.asarray([1, 0, 1, 2, 3, 2])])  # CACGTG
        >>> found = maximise(score, count=4, fixed="AA..........", key=jax.random.key(0))
        >>> found.letters[0].startswith("AA"), "CACGTG" in found.letters[0], found.one_hot.shape
        (True, True, (4, 12, 4))

    Source: Killoran, Lee, Delong, Duvenaud and Frey, Generating and designing DNA with deep
    generative models, arXiv 1712.06148, section 3.2; Linder and Seelig, Fast activation
    maximization for molecular sequence design, BMC Bioinformatics 22, 510, 2021 ("seqprop").
    """
    key = checked_key(key)
    positive(count=count, steps=steps)
    check_rate(learning_rate)
    check_alphabet(alphabet)
    check_callable(score, "score")
    score = eqx.nn.inference_mode(score)
    if relax not in get_args(Relaxation):
        choices = ", ".join(repr(choice) for choice in get_args(Relaxation))
        raise ValueError(f"`relax` must be one of {choices}, got {relax!r}.")
    kept, begun = _lengths(length, start, fixed, alphabet, count)
    dtype = dtype_of(score)
    check_score(score, len(kept.free), len(alphabet), dtype)
    letters = len(alphabet)
    begin_key, key = jr.split(key)
    noise = jr.normal(begin_key, (count, len(kept.free), letters), dtype)
    if begun is not None:
        noise = _NOISE * noise + _LIKED * jnp.stack([row.one_hot(letters, dtype) for row in begun])
    space = _Logits(Held.of(kept, letters, dtype), relax)
    return climb_all(
        score, space, jax.vmap(space.begin)(noise), alphabet=alphabet, steps=steps,
        learning_rate=learning_rate, key=key,
    )  # fmt: skip


class _Logits(AbstractSpace):
    """The logits of one sequence, and where they are normalised a scale and a shift a letter."""

    held: Held
    relax: str = eqx.field(static=True)

    def begin(self, logits: Float[Array, "length letters"]) -> PyTree:
        """What is free, where the search starts from these logits."""
        if self.relax != "seqprop":
            return (logits,)
        mean, sd = self._along(logits)
        return logits, sd, mean

    def logits(self, free: PyTree) -> Float[Array, "length letters"]:
        if self.relax != "seqprop":
            return free[0]
        logits, scale, shift = free
        mean, sd = self._along(logits)
        return scale[None] * (logits - mean[None]) / sd[None] + shift[None]

    def _along(
        self, logits: Float[Array, "length letters"]
    ) -> tuple[Float[Array, " letters"], Float[Array, " letters"]]:
        """Mean and deviation of each letter over the places that are free."""
        share = (1 - self.held.given) / jnp.sum(1 - self.held.given)
        mean = share @ logits
        return mean, jnp.sqrt(share @ (logits - mean[None]) ** 2 + 1e-5)

    def decode(self, free: PyTree) -> Float[Array, "length letters"]:
        return self.held(jax.nn.softmax(self.logits(free)))

    def value(
        self, score: Score, free: PyTree, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        if self.relax == "seqprop":
            found = expectation(
                lambda x, q: score(self.held(x)), OneHotCategorical(self.logits(free)),
                estimator=StraightThrough(), key=key,
            )  # fmt: skip
        elif self.relax == "straight_through":
            found = score(self.held(straight_through(jax.nn.softmax(self.logits(free)))))
        else:
            found = score(self.decode(free))
        return found, found

    def project(self, free: PyTree) -> PyTree:
        return free


def _lengths(
    length: int | None,
    start: str | Sequence[str] | None,
    fixed: str | None,
    alphabet: str,
    count: int,
) -> tuple[Pattern, list[Pattern] | None]:
    """What is given, and what each search starts from, all of one length."""
    said = {}
    if length is not None:
        positive(length=length)
        said["length"] = length
    begun = None
    if start is not None:
        if not isinstance(start, Sequence):
            raise TypeError(f"`start` must be a string, or one for each design; got {start!r}.")
        texts = [start] * count if isinstance(start, str) else list(start)
        if len(texts) != count:
            raise ValueError(
                f"`start` has {len(texts)} sequences for {count} designs: give as many, or one "
                "string for all."
            )
        begun = [pattern(text, alphabet, "start") for text in texts]
        sizes = {len(row.free) for row in begun}
        if len(sizes) > 1:
            raise ValueError(
                f"the sequences of `start` have the lengths {sorted(sizes)}: one only."
            )
        said["start"] = sizes.pop()
    kept = None if fixed is None else pattern(fixed, alphabet, "fixed")
    if kept is not None:
        said["fixed"] = len(kept.free)
    if len(set(said.values())) != 1:
        told = ", ".join(f"`{name}` {size}" for name, size in said.items()) or "none"
        raise ValueError(f"the designs must have one length, by `length` or `fixed`; got {told}.")
    kept = free_everywhere(next(iter(said.values()))) if kept is None else kept
    check_some_free(kept)
    return kept, begun


def check_some_free(kept: Pattern) -> None:
    if not kept.free.any():
        raise ValueError("`fixed` leaves nothing to design: put '.' where any letter may come.")
