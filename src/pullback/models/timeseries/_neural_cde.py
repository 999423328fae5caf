"""The neural CDE of a whole series: an outcome of it, or a state at each of its times."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key

from ._control_path import Interpolation, control_path
from ._controlled import Drive, begin, drive


class NeuralCDE(eqx.Module):
    r"""What becomes of a series, by a state that the interpolated series drives.

    $$ z_{t_1} = W [x_1, m_1] + b, \qquad dz = F(z)\, dX, \qquad X = (t, x, c), \qquad
       y = \mathrm{readout}(z_{t_n}) $$

    with the values x, interpolated, and the counts c of what has been observed of each variable.
    "linear" has a kink at each observation, which costs nothing: no step crosses a time of the
    series. "hermite" is a cubic whose slope at each observation is the one backwards, smooth
    throughout; where a long gap comes after a short one it swings far out, so it is for times that
    are nearly regular.

    Both look ahead between two observations: a state belongs to the whole series, and to forecast
    by is `predictor("cde", ...)`, whose path never does. Everything is written for one series; use
    `jax.vmap` for a batch. Padding changes nothing.

    Attributes:
        first: from the first values and their mask to the state there.
        drive: of the state, along a piece of the path.
        readout: from the last state to the outputs.
        interpolation: "linear" or "hermite".

    Example:
        >>> import jax, jax.numpy as jnp
        >>> model = neural_cde(1, 8, 3, key=jax.random.key(0))
        >>> times, values = jnp.arange(4.0), jnp.ones((4, 1))
        >>> mask = jnp.ones((4, 1), bool)
        >>> model(times, values, mask).shape, model.states(times, values, mask).shape
        ((3,), (4, 8))

    Source: Kidger et al., Neural Controlled Differential Equations for Irregular Time Series,
        arXiv 2005.08926, section 3; Morrill et al., arXiv 2106.11028, section 3 (the cubic).
    """

    first: eqx.nn.Linear
    drive: Drive
    readout: eqx.nn.Linear
    interpolation: Interpolation = eqx.field(static=True, default="linear")

    def __check_init__(self) -> None:
        if self.interpolation not in ("linear", "hermite"):
            raise ValueError(
                f"`interpolation` must be 'linear' or 'hermite', got {self.interpolation!r}."
            )

    def states(
        self,
        times: Float[Array, " time"],
        values: Float[Array, "time variables"],
        mask: Bool[Array, "time variables"],
    ) -> Float[Array, "time size"]:
        """The state at each time of a series.

        Args:
            times: increasing; where one comes again, the path jumps to what was observed there.
            values: what was observed; entries under a false mask are not looked at.
            mask: True where a value was observed.

        Raises:
            ValueError: the shapes do not fit together or the model, or there is no time.
        """
        times, values, mask = (jnp.asarray(a) for a in (times, values, mask))
        variables = self.first.weight.shape[1] // 2
        wanted = (len(times), variables) if times.ndim == 1 else None
        if not times.size or not values.shape == mask.shape == wanted:
            raise ValueError(
                "`times`, `values` and `mask` of a series must have shapes [time], [time, "
                f"variable] and [time, variable], of one time or more and {variables} variables; "
                f"got {times.shape}, {values.shape} and {mask.shape}. Of a batch take `jax.vmap`."
            )
        dtype = self.first.weight.dtype
        path = control_path(times, values.astype(dtype), mask, self.interpolation)
        z0 = begin(self.first, path.start[1 : 1 + values.shape[1]], mask[0])

        def piece(z: Array, velocity: tuple[Array, ...]) -> tuple[Array, Array]:
            a, b, c = velocity
            z = self.drive(z, lambda s: a + s * (b + s * c))
            return z, z

        _, after = jax.lax.scan(piece, z0, path.velocity)
        return jnp.concatenate([z0[None], after])

    def __call__(
        self,
        times: Float[Array, " time"],
        values: Float[Array, "time variables"],
        mask: Bool[Array, "time variables"],
    ) -> Float[Array, " outputs"]:
        """The outputs of a series, such as logits of classes; as `states` takes it."""
        return self.readout(self.states(times, values, mask)[-1])


def neural_cde(
    variables: int,
    size: int,
    outputs: int,
    *,
    width: int = 50,
    depth: int = 1,
    steps: int = 1,
    interpolation: Interpolation = "linear",
    dtype: Any = None,
    key: PRNGKeyArray,
) -> NeuralCDE:
    """A neural CDE of series with some outputs.

    Args:
        variables: of the series.
        size: of the state.
        outputs: their number, such as that of classes.
        width: of the hidden layers of the field.
        depth: their number.
        steps: from one time of a series to the next, of Bogacki and Shampine's method of order 3.
        interpolation: "linear" or "hermite".
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size, or `steps`, is below 1, or there is no such interpolation.

    Example:
        >>> import jax, numpy as np, pullback as pb
        >>> series = pb.data.irregular_series([(np.arange(3.0), np.ones(3)), ([0.5], [2.0])])
        >>> model = neural_cde(1, 8, 2, key=jax.random.key(0))
        >>> jax.vmap(model)(*pb.models.timeseries.observations(series)).shape
        (2, 2)

    Source: Kidger et al., arXiv 2005.08926, section 3.
    """
    key, readout_key = jr.split(checked_key(key))
    positive(outputs=outputs)
    first, driven = drive(
        size, variables, width=width, depth=depth, steps=steps, dtype=dtype, key=key
    )
    readout = eqx.nn.Linear(size, outputs, dtype=dtype, key=readout_key)
    return NeuralCDE(first, driven, readout, interpolation)
