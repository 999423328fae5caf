"""What a search for sequences found."""

from typing import NamedTuple

from jaxtyping import Array, Float


class Designs(NamedTuple):
    """Sequences that were designed, the best first, by the score of the one-hot string.

    A soft sequence flatters: a score of half one letter and half another is that of no sequence.
    Go by `score`, and by a judge that the search did not see.

    Attributes:
        letters: the designs.
        one_hot: the same, `[count, L, V]`.
        soft: the sequences between letters at which the search ended.
        score: of `one_hot`.
        score_soft: of `soft`.
        members: what each member of an ensemble says of `one_hot`, `[count, member]`; None where
            the score is no ensemble.
        z: where they lie in the generator's latent space; None without a generator.
        trajectory: the score of what was scored at each step, `[step, count]`.
    """

    letters: tuple[str, ...]
    one_hot: Float[Array, "count length letters"]
    soft: Float[Array, "count length letters"]
    score: Float[Array, " count"]
    score_soft: Float[Array, " count"]
    members: Float[Array, "count member"] | None
    z: Float[Array, "count latent"] | None
    trajectory: Float[Array, "step count"]
