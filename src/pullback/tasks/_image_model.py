"""A classifier of pictures of the user's own: of which kind it is, and what it says."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float
from scipy.special import softmax

from pullback._names import did_you_mean
from pullback._on_device import on_device
from pullback.analysis.explain import Classifier, classifier

from ._answers import Answers


class PictureModel:
    """A classifier of pictures, as it is asked.

    Args:
        model: as of an `ImageExplainer`, and so `outputs` and `batch_size`.
        shape: of a picture.
    """

    def __init__(
        self, model: Any, outputs: Any, batch_size: int | None, shape: tuple[int, ...]
    ) -> None:
        if model is None:
            raise ValueError(
                "`model` is missing: ImageExplainer(model), or `load(folder, model=function)`."
            )
        self.model, self.outputs, self.shape = model, outputs, shape
        asked: Callable[..., Any] | Any = model
        if not hasattr(model, "predict_proba") and not _is_module(model):
            outputs = outputs or "probabilities"
            asked = Answers(model, outputs, "pictures") if callable(model) else model
        self.asked: Classifier = classifier(asked, outputs=outputs, batch_size=batch_size)

    @property
    def differentiable(self) -> bool:
        """Whether it gives gradients."""
        if hasattr(self.model, "predict_proba"):
            return False
        return _is_module(self.model) or _is_jax(self.model, self.shape)

    def says(self, x: Float[np.ndarray, "n c h w"]) -> Float[np.ndarray, "n k"]:
        """What it says of pictures."""
        return np.asarray(self.asked.predict(np.asarray(on_device(x, float))))

    def probability(self, said: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
        """The same as probabilities."""
        if self.outputs == "logits" or (self.outputs is None and _is_module(self.model)):
            return softmax(said.astype(np.float64), axis=1)
        return said

    def classes(self, count: int) -> tuple[str, ...]:
        """The names of so many classes."""
        return tuple(map(str, getattr(self.model, "classes_", range(count))))

    def place(self, target: str | int, count: int) -> int:
        """Which of the classes has this name."""
        classes = self.classes(count)
        if str(target) not in classes:
            raise ValueError(
                f"`target` must be one of the classes {', '.join(classes)}; got {target!r}"
                f"{did_you_mean(str(target), classes) or '.'}"
            )
        return classes.index(str(target))


def _is_module(model: Any) -> bool:
    """Whether it is a module of torch or Equinox, which as a rule gives logits."""
    return isinstance(model, eqx.Module) or any(
        kind.__module__.split(".")[0] == "torch" and kind.__name__ == "Module"
        for kind in type(model).__mro__
    )


def _is_jax(model: Any, shape: tuple[int, ...]) -> bool:
    """Whether JAX can trace it, of one picture."""
    try:
        found = jax.eval_shape(model, jax.ShapeDtypeStruct(shape, np.dtype(np.float32)))
    except Exception:  # what a function of NumPy raises may be anything
        return False
    return len(getattr(found, "shape", ())) == 1
