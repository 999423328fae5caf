"""The answers of a model of the user's own: whether they can be explained, and else what to do."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from pullback.data import DataError

from ._model_file import in_file, place_of

_SUM = 1e-3  # how far probabilities may be from summing to 1


class Answers:
    """A function of a batch of the user's own, each of whose answers is checked.

    Args:
        function: from a batch, a NumPy array, to a row of numbers for each of its entries.
        outputs: "probabilities", which sum to 1, "logits", or "any".
        what: what the batch is of, in a message.
    """

    def __init__(self, function: Callable[[Any], Any], outputs: str, what: str) -> None:
        self.function = function
        self.outputs = outputs
        self.what = what
        self.place = place_of(function)
        self.size: int | None = None  # of a row, once there was one

    def __call__(self, batch: Float[np.ndarray | Array, "n *shape"]) -> Any:
        """The answers to a batch, `[n, k]`, once they are found to be such.

        Raises:
            DataError: they are none; the message names the file of the function, the line in it,
                and the remedy.
        """
        if isinstance(batch, Tracer):  # of JAX's, which looks whether it can see into the function
            return self.function(batch)
        doing = f"given {self.what} of shape {batch.shape} it"
        # Some fill in what they are given: that is theirs, and not what is explained.
        own = np.array(batch) if isinstance(batch, np.ndarray) else batch
        found = in_file(lambda: as_numpy(self.function(own)), self.place[0], doing)
        return self.check(found, len(batch))

    def check(self, found: np.ndarray, count: int) -> Float[np.ndarray, "n k"]:
        """Answers to `count` entries, as they should be."""
        if found.dtype.kind not in "fiub":
            self.refuse(f"gave {found.dtype} and no numbers: {_PROBABILITIES}")
        if found.shape in ((count,), (count, 1)) and self.outputs != "any":
            self.refuse(
                f"gave one number for each of {self.what}, {found.shape}, and no row of classes. "
                "Of the probability p of one of two classes return np.stack([1 - p, p], axis=-1); "
                f"of the name of a class {_PROBABILITIES}"
            )
        if self.outputs == "any" and found.shape == (count,):
            found = found[:, None]
        if found.ndim != 2 or len(found) != count:
            last = " Of one answer for each time return the last, [:, -1]." * (found.ndim == 3)
            self.refuse(
                f"gave an array of shape {found.shape} for {count} of {self.what}; it must be "
                f"({count}, classes).{last}"
            )
        if self.size not in (None, found.shape[1]):
            self.refuse(f"gave {found.shape[1]} numbers, and {self.size} in another call.")
        self.size = found.shape[1]
        found = found.astype(np.float64) if found.dtype.kind != "f" else found
        bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(bad):
            self.refuse(
                f"gave [{_first(found[bad[0]])}] for {len(bad)} of {count} {self.what}, which is "
                "NaN or infinite; hidden parts are filled in with numbers that the model may not "
                "have seen, so scale and clip what it is given, and look for log(0) or 0/0 in it."
            )
        if self.outputs == "probabilities":
            self._check_sums(found)
        return found

    def _check_sums(self, found: Float[np.ndarray, "n k"]) -> None:
        sums = found.sum(axis=1)
        worst = int(np.abs(sums - 1).argmax())
        if found.min() >= -_SUM and abs(sums[worst] - 1) <= _SUM:
            return
        self.refuse(
            f"gave [{_first(found[worst])}], which sums to {sums[worst]:.4g} and not to 1. If they "
            "are logits, say `outputs` is 'logits' (on the command line --outputs logits); of "
            "probabilities that are each of their own, give those of one, np.stack([1 - p, p], "
            "axis=-1)."
        )

    def refuse(self, problem: str) -> None:
        """Raise, with the file and the line of the function."""
        raise DataError(self.place[0], f"the model {problem}", line=self.place[1])


_PROBABILITIES = "return the probabilities of the classes, (n, classes), as predict_proba does."


def _first(row: Float[np.ndarray, " k"]) -> str:
    """The first numbers of a row."""
    return ", ".join([*(f"{x:.3g}" for x in row[:5]), *["..."] * (len(row) > 5)])


def as_numpy(found: Any) -> np.ndarray:
    """An array of NumPy of one of JAX, of torch, or of a list."""
    if hasattr(found, "detach"):
        found = found.detach().cpu()
    return np.asarray(found)


def changes(ask: Callable[[np.ndarray], np.ndarray], batch: Float[np.ndarray, "n *shape"]) -> float:
    """By how much at most a model answers otherwise when it is asked again, in another order.

    So a model that draws at random is found, and one whose answer to an entry depends on the others
    of a batch.
    """
    return float(np.abs(ask(batch) - ask(batch[::-1])[::-1]).max())


def says_changes(gap: float) -> str:
    """The sentence about a model that changes its answers."""
    return (
        f"The model changes its answer from call to call, by up to {gap:.2g}: it draws at random, "
        "or mixes the entries of a batch. What it said once is explained, and its noise is in the "
        "standard errors. Of torch call model.eval() first, of Keras training=False, of others fix "
        "the seed."
    )
