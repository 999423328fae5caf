"""A dense layer whose weights respond to hyperparameters."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key

from ._hyper_layer import (
    AbstractHyperLayer,
    check_plain,
    fresh_gate,
    fresh_response,
    frozen_layer,
    opened,
    response_of,
)


class HyperLinear(AbstractHyperLayer):
    r"""A dense layer of which each output's weights move along a direction of their own.

    $$ y = W x + b + (V \lambda) \odot (W' x) + (C \lambda) \odot b' $$

    It is the layer of weight $W + \mathrm{diag}(V\lambda) W'$ and bias $b + (C\lambda) \odot b'$.
    In a linear network with a penalty on its Jacobian that is just how the best weights move. The
    gate acts on what comes out, so that $\lambda$ may be another one for each example of a batch
    at the cost of two products.

    Args:
        layer: W and b, an `eqx.nn.Linear`, with or without a bias.
        count: entries of $\lambda$.
        centred: the gate is how far hyperparameters are from where they stand, so that there the
            layer is the plain one; V and C start at 0. Otherwise it is where they are, and V and C
            start at a hundredth of normal draws.
        key: for W' and b', drawn as Equinox draws W and b, and for V and C.

    Attributes:
        general: W and b.
        response: W' and b'.
        weight_gate: V.
        bias_gate: C, or None without a bias.
        gate: $\lambda$, zeros at first; `respond` puts it there.

    Raises:
        ValueError: `count` is below 1.
        TypeError: `layer` is another one.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> plain = eqx.nn.Linear(3, 2, key=jax.random.key(0))
        >>> layer, x = HyperLinear(plain, 4, key=jax.random.key(1)), jnp.ones(3)
        >>> bool((layer(x) == plain(x)).all())
        True

    Source: MacKay et al., Self-Tuning Networks, arXiv 1903.03088, section 3.2 and theorem 2; Bae
        and Grosse, Delta-STN, arXiv 2010.13514, for the centre.
    """

    general: eqx.nn.Linear
    response: eqx.nn.Linear
    weight_gate: Float[Array, "*stack out count"]
    bias_gate: Float[Array, "*stack out count"] | None
    gate: Float[Array, "*stack count"]
    centred: bool = eqx.field(static=True)
    at_zero: bool

    def __init__(
        self, layer: eqx.nn.Linear, count: int, *, centred: bool = True, key: PRNGKeyArray
    ):
        keys = jr.split(checked_key(key))
        positive(count=count)
        check_plain(layer, eqx.nn.Linear)
        self.general, self.centred, self.at_zero = layer, centred, False
        self.response = fresh_response(layer, key=keys[0])
        self.weight_gate, self.bias_gate, self.gate = fresh_gate(
            layer, count, centred=centred, key=keys[1]
        )

    def __call__(
        self, x: Float[Array, "*inputs"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, "*outputs"]:
        """Apply the layer, as its gate has it, to one example; `key` is ignored, as Equinox's."""
        y, rows = self.general(x), self.response.weight @ jnp.reshape(x, (-1,))
        moved = opened(self.weight_gate @ self.gate, rows, at_zero=self.at_zero)
        shift = self.response.bias
        if self.bias_gate is not None and shift is not None:
            moved = moved + opened(self.bias_gate @ self.gate, shift, at_zero=self.at_zero)
        return y + jnp.reshape(moved, y.shape)

    def frozen(self) -> eqx.nn.Linear:
        """The plain layer that this one is at its gate."""
        return frozen_layer(self)

    def responds(self) -> "HyperLinear":
        """True at W', b', V and C."""
        return response_of(self)
