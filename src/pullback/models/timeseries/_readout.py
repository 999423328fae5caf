"""From a state to the parameters of a likelihood."""

import math
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.models.likelihoods import AbstractLikelihood


class Readout(eqx.Module):
    """A linear map to an array of parameters.

    Attributes:
        linear: to as many numbers as there are parameters.
        shape: of the parameters.
    """

    linear: eqx.nn.Linear
    shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, state: Float[Array, " size"]) -> Float[Array, "..."]:
        """The parameters at one state."""
        return self.linear(state).reshape(self.shape)


def linear_readout(
    size: int, variables: int, likelihood: AbstractLikelihood, *, dtype: Any, key: PRNGKeyArray
) -> eqx.nn.Linear | Readout:
    """A linear map from a state to the parameters of all variables at one time."""
    shape = likelihood.params_shape((variables,))
    linear = eqx.nn.Linear(size, math.prod(shape), dtype=dtype, key=key)
    return linear if len(shape) == 1 else Readout(linear, shape)
