"""Networks whose dimension-wise derivatives cost about as much as one evaluation."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, ScalarLike

from pullback._inputs import positive, time_like
from pullback._key import checked_key

from ._concat import ConcatLinear
from ._conditioner import AbstractConditioner


class HollowNet(eqx.Module):
    """A vector field whose Jacobian is a diagonal, found cheaply, plus a part with none.

        f_i(t, y) = transformer(y_i, h_i, t),   h_i = conditioner_i(t, y without y_i)

    With a context c, which comes as `args`, a linear map of it is added to each `h_i`.

    So the derivative of `f_i` by `y_i` is that of the transformer with `h_i` held fixed. One
    Jacobian-vector product of the transformer, along the vector of ones, has all of them; taken
    again it has those of the next order. The transformer is a fully connected net that all
    dimensions share; what a dimension has of its own comes with `h_i`. The time enters every layer
    of both nets.

    Gradients of the derivatives, by the weights and by `y`, are exact: `h` is held fixed for the
    inner derivative only. A row `h_i` of size `dim - 1` or more loses nothing; smaller ones trade
    what the field can be for memory, of which an evaluation needs `dim * size`.

    Args:
        conditioner: Gives the rows `h_i`: `TwoSidedConditioner`, `AttentionConditioner` or another
            `AbstractConditioner`; `check_hollow` tests one of your own.
        width: Size of each hidden layer of the transformer.
        depth: Number of hidden layers of the transformer, 1 or more.
        activation: Function of an array, between the layers of the transformer. Smooth: a second
            derivative of `relu` is zero.
        context: Size of the context; 0 if there is none, and `args` is ignored.
        zero_last: Start the last layer at zero, so that the flow starts as the identity.
        dtype: Of the weights; JAX's default float if None.
        key: Random key for the weights of the transformer.

    Raises:
        TypeError: If `conditioner` is no `AbstractConditioner`.
        ValueError: If a size is below 1, or below 0 for `context`; or `y` is not one example of
            shape `[dim]`, or `args` not one context.

    Example:
        >>> import jax, jax.numpy as jnp, jax.random as jr, pullback as pb
        >>> one, two = jr.split(jr.key(0))
        >>> conditioner = pb.nn.TwoSidedConditioner(3, features=2, width=8, key=one)
        >>> net = HollowNet(conditioner, width=8, zero_last=False, key=two)
        >>> y = jnp.array([0.3, -1.0, 2.0])
        >>> value, diagonal = net.with_diagonal(0.5, y)
        >>> bool(jnp.allclose(diagonal, jnp.diag(jax.jacfwd(lambda y: net(0.5, y))(y)), atol=1e-6))
        True

    Source:
        Chen and Duvenaud, "Neural Networks with Cheap Differential Operators", arXiv 1912.03579,
        section 2.
    """

    conditioner: AbstractConditioner
    transformer: tuple[ConcatLinear, ...]
    context: eqx.nn.Linear | None
    activation: Callable[[Any], Any] = eqx.field(static=True)

    def __init__(
        self,
        conditioner: AbstractConditioner,
        width: int = 32,
        depth: int = 1,
        *,
        activation: Callable[[Any], Any] = jnp.tanh,
        context: int = 0,
        zero_last: bool = True,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        if not isinstance(conditioner, AbstractConditioner):
            raise TypeError(
                "`conditioner` must be an AbstractConditioner such as TwoSidedConditioner; got "
                f"{type(conditioner).__name__}."
            )
        positive(width=width, depth=depth)
        if context < 0:
            raise ValueError(
                f"`context` must be 0, for none, or a size of 1 or more; got {context}."
            )
        sizes = [1 + conditioner.size, *[width] * depth, 1]
        self.conditioner = conditioner
        self.transformer = tuple(
            ConcatLinear(
                sizes[i], sizes[i + 1], zero=zero_last and i == depth, dtype=dtype, key=layer_key
            )
            for i, layer_key in enumerate(jr.split(key, depth + 1))
        )
        self.context = None
        if context:
            rows = conditioner.dim * conditioner.size
            # The keys of the layers stay what they are without a context.
            rows_key = jr.fold_in(key, depth + 1)
            self.context = eqx.nn.Linear(context, rows, use_bias=False, dtype=dtype, key=rows_key)
        self.activation = activation

    def __call__(
        self, t: ScalarLike, y: Float[Array, " dim"], args: Any = None
    ) -> Float[Array, " dim"]:
        """The velocity of the state `y` at time `t`; `args` is the context."""
        return self._with_rows(t, y, args)(y)

    def with_diagonal(
        self, t: ScalarLike, y: Float[Array, " dim"], args: Any = None, *, order: int = 1
    ) -> tuple[Float[Array, " dim"], ...]:
        """The velocity and its dimension-wise derivatives, up to an order.

        Args:
            t: Time.
            y: State.
            args: The context, `[context]`, of a net that has one.
            order: Highest derivative, 1 or more.

        Returns:
            The tuple `(f, df_i/dy_i, ..., d^order f_i / dy_i^order)`, each of shape `[dim]`. It
            costs one evaluation of the conditioner, and `order` nested Jacobian-vector products of
            the transformer.

        Raises:
            ValueError: If `order` is below 1.
        """
        positive(order=order)
        derivatives = _value_and_derivatives(self._with_rows(t, y, args), order)
        return derivatives(y)

    def with_divergence(
        self, t: ScalarLike, y: Float[Array, " dim"], args: Any = None
    ) -> tuple[Float[Array, " dim"], Float[Array, ""]]:
        """The velocity at time `t` and its exact divergence, the sum of the diagonal."""
        velocity, diagonal = self.with_diagonal(t, y, args)
        return velocity, jnp.sum(diagonal)

    def _with_rows(self, t: ScalarLike, y: Array, args: Any) -> Callable[[Array], Array]:
        """The transformer with the rows at `y` held fixed, as a function of all `y_i`."""
        t = time_like(t, y, (self.conditioner.dim,))
        first, *middle, last = self.transformer
        h = self.conditioner(t, y)
        if self.context is not None:
            h = h + self.context(_checked(args, self.context)).reshape(h.shape)
        # The part of the first layer that reads `h` does not depend on `y_i`: once for all orders.
        context = h @ first.weight[:, 1:].T + (first.time_weight * t + first.bias)[None]
        slope = first.weight[:, 0]

        def transformer(y: Array) -> Array:
            x = self.activation(y[:, None] * slope[None] + context)
            for layer in middle:
                x = self.activation(jax.vmap(layer, in_axes=(None, 0))(t, x))
            return jax.vmap(last, in_axes=(None, 0))(t, x)[:, 0]

        return transformer


def _checked(args: Any, layer: eqx.nn.Linear) -> Array:
    shape = (layer.in_features,)
    if getattr(args, "shape", None) != shape:
        got = args.shape if hasattr(args, "shape") else type(args).__name__
        raise ValueError(f"`args` must be one context, an array of shape {shape}; got {got}.")
    return args


def _value_and_derivatives(
    f: Callable[[Array], Array], order: int
) -> Callable[[Array], tuple[Array, ...]]:
    """Derivatives of a map that acts on each entry of its argument alone."""
    if order == 0:
        return lambda y: (f(y),)
    lower = _value_and_derivatives(f, order - 1)

    def higher(y: Array) -> tuple[Array, ...]:
        values, slopes = jax.jvp(lower, (y,), (jnp.ones_like(y),))
        return (*values, slopes[-1])

    return higher
