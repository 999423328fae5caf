"""Classifiers that JAX cannot see into: they are called from Python, with many images at once."""

import dataclasses
import sys
import warnings
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from pullback.analysis.explain._log_odds import LEAST, Outputs


@dataclasses.dataclass(frozen=True)
class BlackBox:
    """A function of a batch of images on the host."""

    function: Callable[..., Any]
    outputs: Outputs
    gradient: Callable[..., Any] | None
    batch_size: int | None

    def rows(self, images: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n K"]:
        """What it says of each image, checked."""
        found = [
            checked_rows(_array(self.function(each)), len(each), self.outputs)
            for each in self._batches(images)
        ]
        widths = {each.shape[1] for each in found}
        if len(widths) > 1:
            raise ValueError(f"`model` gave {sorted(widths)} classes in several calls.")
        return np.concatenate(found)

    def log_odds(
        self, images: Float[np.ndarray, "n ..."], target: Int[np.ndarray, " n"]
    ) -> Float[np.ndarray, " n"]:
        """Of a class each."""
        return host_log_odds(self.rows(images), target, self.outputs)

    def value_and_grad(
        self, images: Float[np.ndarray, "n ..."], target: Int[np.ndarray, " n"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n ..."]]:
        """The log-odds and their gradients by the images."""
        assert self.gradient is not None
        found = []
        for each, classes in zip(self._batches(images), self._batches(target), strict=True):
            value, slope = map(_array, self.gradient(each, classes))
            if value.shape != (len(each),) or slope.shape != each.shape:
                raise ValueError(
                    f"`value_and_grad` must give log-odds {[len(each)]} and gradients "
                    f"{list(each.shape)}; got {list(value.shape)} and {list(slope.shape)}."
                )
            if not (np.isfinite(value).all() and np.isfinite(slope).all()):
                raise ValueError("`value_and_grad` gave NaN or an infinite number.")
            found.append((value, slope))
        values, slopes = zip(*found, strict=True)
        return np.concatenate(values), np.concatenate(slopes)

    def _batches(self, rows: np.ndarray) -> list[np.ndarray]:
        size = self.batch_size or len(rows)
        return [rows[at : at + size] for at in range(0, len(rows), size)]


def host_log_odds(rows: np.ndarray, target: np.ndarray, outputs: Outputs) -> np.ndarray:
    """Log-odds in NumPy, as those of JAX, for nothing of a black box is compiled."""
    rows = rows.astype(np.float64)
    own = np.arange(rows.shape[1]) == np.asarray(target)[:, None]
    if outputs == "logits":
        others = np.where(own, -np.inf, rows)
        top = others.max(axis=1)
        return rows[own] - top - np.log(np.exp(others - top[:, None]).sum(axis=1))
    p, rest = rows[own], np.where(own, 0, rows).sum(axis=1)
    return np.log(np.clip(p, LEAST, 1 - LEAST)) - np.log(np.clip(rest, LEAST, 1 - LEAST))


def checked_rows(rows: np.ndarray, n: int, outputs: Outputs) -> Float[np.ndarray, "n K"]:
    """What a classifier said of n images, if it is what it should have said."""
    if rows.ndim != 2 or len(rows) != n or rows.shape[1] < 2:
        raise ValueError(
            f"`model` must give one row an image, [{n}, K] with K at least 2; of {n} images it "
            f"made {list(rows.shape)}."
        )
    if jnp.issubdtype(rows.dtype, jnp.floating) and rows.dtype.kind != "f":
        rows = rows.astype(np.float32)  # of JAX's small floating numbers NumPy knows little
    if not np.issubdtype(rows.dtype, np.floating):
        raise ValueError(
            f"`model` must give floating numbers, got {rows.dtype}: classes alone cannot be "
            "explained, give the function that makes their probabilities."
        )
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise ValueError(
            f"`model` gave NaN or an infinite number for {len(bad)} of {n} images, first for image "
            f"{bad[0]}: {rows[bad[0]]}."
        )
    sums = rows.sum(axis=1)
    whole = (np.abs(sums - 1) <= 1e-3) & (rows >= -1e-6).all(axis=1)
    if outputs == "probabilities" and not whole.all():
        worst = np.argmin(whole)
        raise ValueError(
            f"`outputs` is 'probabilities', which are 0 or more and sum to 1; `model` gave "
            f"{rows[worst]}, of sum {sums[worst]:.4g}. If these are logits, say "
            "`outputs='logits'`; if each class is a question of its own, explain "
            "`[1 - p, p]` of one."
        )
    if outputs == "logits" and whole.all():
        warnings.warn(
            "what `model` gives is 0 or more and sums to 1, so it looks like probabilities, and is "
            "read as logits: say `classifier(model, outputs='probabilities')`.",
            stacklevel=2,
        )
    return rows


def by_predict_proba(model: Any) -> Callable[[np.ndarray], Any]:
    """`predict_proba` of images, raveled."""

    def call(images: np.ndarray) -> Any:
        flat = images.reshape(len(images), -1)
        wanted = getattr(model, "n_features_in_", flat.shape[1])
        if wanted != flat.shape[1]:
            raise ValueError(
                f"`model` was fitted to {wanted} features, and an image of "
                f"{list(images.shape[1:])} has {flat.shape[1]}: give `classifier(lambda images: "
                "model.predict_proba(rows_of(images)), outputs='probabilities')`."
            )
        with warnings.catch_warnings():
            # It was fitted to columns with names, which pixels have none of.
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            return model.predict_proba(flat)

    return call


def is_torch(model: Any) -> bool:
    """Whether it is a module of torch's, told without importing torch."""
    return any(
        kind.__name__ == "Module" and kind.__module__.split(".")[0] == "torch"
        for kind in type(model).__mro__
    )


def by_torch(model: Any, outputs: Outputs, batch_size: int | None) -> BlackBox:
    """A module of torch's, with gradients by torch, always in evaluation mode."""
    torch = sys.modules["torch"]
    like = next(iter(model.parameters()), torch.zeros(()))

    def run(images: np.ndarray, then: Callable[[Any], Any]) -> Any:
        was = model.training
        model.eval()
        try:
            return then(torch.tensor(images, device=like.device, dtype=like.dtype))
        finally:
            model.train(was)

    def rows(images: np.ndarray) -> Any:
        with torch.no_grad():
            return run(images, model)

    def value_and_grad(images: np.ndarray, target: np.ndarray) -> tuple[Any, Any]:
        def then(x: Any) -> tuple[Any, Any]:
            x.requires_grad_(True)
            found = model(x)
            own = torch.nn.functional.one_hot(
                torch.tensor(target, device=x.device, dtype=torch.long), found.shape[1]
            ).bool()
            if outputs == "logits":
                value = found[own] - found.masked_fill(own, -torch.inf).logsumexp(1)
            else:
                p, rest = found[own], found.masked_fill(own, 0).sum(1)
                ends = (LEAST, 1 - LEAST)
                value = p.clamp(*ends).log() - rest.clamp(*ends).log()
            return value, torch.autograd.grad(value.sum(), x)[0]

        return run(images, then)

    return BlackBox(rows, outputs, value_and_grad, batch_size)


def _array(found: Any) -> np.ndarray:
    """What a function gave, as an array of the host's: torch's too, from its device."""
    detach = getattr(found, "detach", None)
    return np.asarray(detach().cpu() if callable(detach) else found)
