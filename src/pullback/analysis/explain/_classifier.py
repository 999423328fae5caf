"""Any classifier, as what an explanation can ask it."""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pullback._floating import require_floating
from pullback._in_batches import check_batch_size, over_rows
from pullback._traced import compiled
from pullback.analysis.explain._black_box import (
    BlackBox,
    by_predict_proba,
    by_torch,
    checked_rows,
    is_torch,
)
from pullback.analysis.explain._log_odds import Outputs, log_odds


class JaxModel(eqx.Module):
    """A classifier that JAX can differentiate, of one image."""

    model: Any
    outputs: Outputs = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True)

    def rows(self, images: Float[Array, "n ..."]) -> Float[Array, "n K"]:
        """What it says of each image."""
        one = lambda x: jnp.asarray(self.model(x))
        return over_rows(one, images, self.batch_size)

    def log_odds(self, image: Float[Array, "..."], target: Array) -> Float[Array, ""]:
        """Of a class, for one image."""
        return log_odds(jnp.asarray(self.model(image)), target, self.outputs)


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A classifier of whatever making, as `classifier` reads it."""

    model: Any
    outputs: Outputs
    value_and_grad: Callable[..., Any] | None
    batch_size: int | None

    def of(self, x: Array) -> JaxModel | BlackBox:
        """How it is to be called on images such as `x`, of one such image's shape."""
        if is_torch(self.model):
            return by_torch(self.model, self.outputs, self.batch_size)
        if callable(getattr(self.model, "predict_proba", None)):
            call = by_predict_proba(self.model)
            return BlackBox(call, "probabilities", self.value_and_grad, self.batch_size)
        if self.value_and_grad is not None:
            return BlackBox(self.model, self.outputs, self.value_and_grad, self.batch_size)
        model = eqx.nn.inference_mode(self.model)
        try:
            shape = jax.eval_shape(lambda x: jnp.asarray(model(x)), x).shape
        except Exception as error:
            if isinstance(self.model, eqx.Module):
                error.add_note(
                    f"`model` is called with one image, {list(x.shape)}, and gives one number a "
                    "class."
                )
                raise
            shape = None
        if shape is not None and len(shape) == 1 and shape[0] > 1:
            return JaxModel(model, self.outputs, self.batch_size)
        if isinstance(self.model, eqx.Module):
            raise ValueError(
                f"`model` must give [K] numbers for one image, K at least 2; of {list(x.shape)} it "
                f"makes {list(shape or ())}. A model of whole batches: `lambda x: "
                "model(x[None])[0]`; of one logit z for two classes: `lambda x: "
                "jnp.stack([0 * z(x), z(x)])`."
            )
        return BlackBox(self.model, self.outputs, None, self.batch_size)

    def predict(self, x: Float[Array | np.ndarray, "n ..."]) -> Float[np.ndarray, "n K"]:
        """What it says of each image, checked.

        Raises:
            ValueError: it gives no such numbers, and the message says what is wrong with them; or
                there is no image.
        """
        x = jnp.asarray(x)
        if not len(x):
            raise ValueError(f"`x` must hold one image at least, got the shape {list(x.shape)}.")
        return predictions(self.of(x[0]), x)


def predictions(model: JaxModel | BlackBox, x: Float[Array, "n ..."]) -> Float[np.ndarray, "n K"]:
    """What a model says of each image, checked."""
    if isinstance(model, BlackBox):
        return model.rows(np.asarray(x))
    return checked_rows(np.asarray(compiled(_rows)(model, x)), len(x), model.outputs)


def _rows(model: JaxModel, x: Array) -> Array:
    return model.rows(x)


def steady_predictions(
    model: JaxModel | BlackBox, x: Float[Array, "n ..."]
) -> Float[np.ndarray, "n K"]:
    """The same; a black box is asked once more, with the first image twice."""
    rows = predictions(model, x)
    if isinstance(model, BlackBox):
        again = predictions(model, jnp.concatenate([x[:1], x]))
        apart = np.abs(again[1:] - rows).max()
        apart = max(apart, np.abs(again[0] - again[1]).max())
        if apart > 1e-3 * max(1, np.abs(rows).max()):
            warnings.warn(
                f"`model` changes its answer: of the same images, in another call, it differs by "
                f"{apart:.2g}. Is dropout on, or a mean over the batch? What is found is for the "
                "mean of its answers, and noisier.",
                stacklevel=4,
            )
    return rows


def asked_first(model: JaxModel | BlackBox) -> int:
    """How many images `steady_predictions` gives it for each, of a black box in all one more."""
    return 3 if isinstance(model, BlackBox) else 1


def classifier(
    model: Any,
    *,
    outputs: Outputs | None = None,
    value_and_grad: Callable[..., Any] | None = None,
    batch_size: int | None = None,
) -> Classifier:
    r"""A classifier to be explained, whichever library it is from.

    Explanations look at the log-odds of a class,

    $$ s_c(x) = \log \frac{p_c(x)}{1 - p_c(x)} = f_c(x) - \log \sum_{k \ne c} e^{f_k(x)} $$

    which do not saturate as a probability does. What a model is, is found out:

    - a JAX function or Equinox module of one image, `[C, H, W]` to `[K]`: it is compiled and
      differentiated, in inference mode;
    - a `torch.nn.Module` of a batch: it is differentiated by torch, in evaluation mode;
    - an object with `predict_proba`, as scikit-learn's: it is given one row an image, raveled;
    - any other function of a batch, `[n, C, H, W]` in NumPy to `[n, K]`: a black box. Masks are
      drawn in JAX and it is called with many images at once, from Python.

    Args:
        model: one of these.
        outputs: "logits", up to a number added to all, or "probabilities". None: probabilities of
            what has `predict_proba`, else logits. Logits are better where both are to be had: the
            gradient of a probability that was rounded to 1 is 0.
        value_and_grad: gradients for a black box, `value_and_grad(images [n, C, H, W], classes [n])
            -> (log-odds [n], their gradients [n, C, H, W])`.
        batch_size: the most images that it is given at once; None: all that there are.

    Returns:
        What `fido`, `bbmp` and the curves take; they take `model` itself as well.

    Raises:
        TypeError: `model` is a class, or it or `value_and_grad` cannot be called.
        ValueError: `outputs` is another word; `batch_size` is below 1.

    Example:
        >>> import numpy as np
        >>> def bright(images):  # a function of NumPy's, of a batch
        ...     p = images.mean((1, 2, 3))
        ...     return np.stack([1 - p, p], axis=1)
        >>> model = classifier(bright, outputs="probabilities")
        >>> print(model.predict(np.full((1, 1, 2, 2), 0.75)))
        [[0.25 0.75]]

    Source: log-odds: Chang et al., Explaining Image Classifiers by Counterfactual Generation, arXiv
    1807.08024, section 2.
    """
    if isinstance(model, Classifier):
        raise TypeError("`model` is a classifier already: give its settings where it is made.")
    known = callable(model) or callable(getattr(model, "predict_proba", None))
    if isinstance(model, type) or not known:
        got = f"the class {model.__name__}" if isinstance(model, type) else repr(model)
        raise TypeError(
            "`model` must be a function, an Equinox or torch module, or an object with "
            f"`predict_proba`; got {got}."
        )
    if outputs is not None and outputs not in get_args(Outputs):
        raise ValueError(f"`outputs` must be 'logits' or 'probabilities', got {outputs!r}.")
    if outputs == "logits" and not is_torch(model) and hasattr(model, "predict_proba"):
        raise ValueError(
            f"`outputs` is 'logits', but {type(model).__name__} has `predict_proba`, which gives "
            "probabilities: leave `outputs` out, or give the function that makes the logits."
        )
    if value_and_grad is not None and not callable(value_and_grad):
        raise TypeError(
            f"`value_and_grad` must be a function of images and classes, got {value_and_grad!r}."
        )
    check_batch_size(batch_size)
    return Classifier(model, outputs or "logits", value_and_grad, batch_size)


def as_classifier(model: Any) -> Classifier:
    """`model`, read as `classifier` does by default unless it was read before."""
    return model if isinstance(model, Classifier) else classifier(model)


def refuse_traced(given: Any) -> None:
    """Say that an explanation runs from the host, where JAX is tracing it."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(given)):
        raise TypeError(
            "explanations search on the host, and compile by themselves what pays: call them "
            "outside of `jax.jit`, `jax.vmap` and `jax.grad`. `fido` and `bbmp` take several "
            "images [n, C, H, W] at once; of curves make a call for each."
        )


def checked_images(x: Any, *, one: bool = False) -> Array:
    """One image `[C, H, W]`, or several, floating and finite."""
    if not isinstance(x, Array | np.ndarray):
        raise TypeError(
            f"`x` must be one array, an image [C, H, W]{'' if one else ' or several of one size'}; "
            f"got {type(x).__name__}. Pictures of several sizes: one call each."
        )
    require_floating("x", x, "scale images to what the classifier was trained on")
    fits = x.ndim == 3 or (x.ndim == 4 and not one)
    if not fits or 0 in x.shape:
        raise ValueError(
            f"`x` must be an image [C, H, W]{'' if one else ', or several [n, C, H, W]'}; got the "
            f"shape {list(x.shape)}. A grey image [H, W] is `x[None]`, a row of a table [F] is "
            "`x[None, None]`."
        )
    if not np.isfinite(np.asarray(x)).all():
        raise ValueError("`x` must be finite: fill in what is missing.")
    return jnp.asarray(x)
