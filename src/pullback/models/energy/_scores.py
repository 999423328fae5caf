"""The score of whatever is given as a model of unnormalised density."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def score_of(model: Any, x: Float[Array, " dim"]) -> Float[Array, " dim"]:
    """By the model's `score`, or the gradient of its `log_density`, its `log_prob`, or itself."""
    if hasattr(model, "score"):
        return model.score(x)
    return jax.grad(_log_density(model))(x)


def _log_density(model: Any) -> Any:
    for name in ("log_density", "log_prob"):
        if hasattr(model, name):
            return getattr(model, name)
    return model


def check_model(model: Any, x: Float[Array, "n dim"], *, name: str = "model") -> None:
    """Refuse a model that has no score of the right shape at a row of x."""
    like = jax.ShapeDtypeStruct(x.shape[1:], x.dtype)
    if not hasattr(model, "score"):
        density = _log_density(model)
        if not callable(density):
            raise ValueError(
                f"`{name}` must have `score`, `log_density` or `log_prob`, or be a function from "
                f"one point to a scalar; got {type(model).__name__}."
            )
        found = eqx.filter_eval_shape(density, like)
        shape, dtype = getattr(found, "shape", None), getattr(found, "dtype", int)
        if shape != () or not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(
                f"`{name}` must give a floating scalar at one point, to have a score; it gave "
                f"shape {shape} and dtype {dtype}."
            )
    try:
        found = eqx.filter_eval_shape(score_of, model, like)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ValueError(
            f"`{name}` cannot be differentiated ({error}); give it a method `score`."
        ) from error
    if found.shape != like.shape:
        raise ValueError(
            f"the score of `{name}` must have the shape of a point, {like.shape}; it has "
            f"{found.shape}."
        )
