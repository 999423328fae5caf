"""A net from a sequence to a score, and several of them that tell how sure they are."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, ScalarLike, Shaped

from pullback._floating import as_floating
from pullback._inputs import positive
from pullback._key import checked_key
from pullback.nn import SequenceConv


class SequenceRegressor(eqx.Module):
    r"""A score of a sequence of any length, by what filters find anywhere in it.

    $$ h = \phi(C(x)), \qquad s(x) = \mathrm{MLP}\big(\max_l h_l,\; \mathrm{mean}_l\, h_l\big) $$

    Places beyond the ends count as the uniform law. $\phi$ is a leaky ReLU, 0.1, and the score is
    the last layer's as it is: behind another leaky ReLU and a sigmoid low scores are out of reach.

    Args:
        letters: how many there are.
        kernel: the width of a filter, odd.
        filters: how many.
        width: of the MLP's layers.
        depth: how many of them.
        both_strands: pool over the reverse complement as well, so that the score of both is the
            same. The complement of letter i is letter V - 1 - i, as in "ACGT".
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is below 1, or `kernel` is even; when called, `x` has other letters.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = SequenceRegressor(both_strands=True, key=jax.random.key(0))
        >>> x = jax.nn.one_hot(jnp.asarray([0, 1, 1, 2, 3]), 4)
        >>> bool(jnp.allclose(net(x), net(x[::-1, ::-1]), atol=1e-6))
        True

    Source: Killoran et al., arXiv 1712.06148, section 3.3 (the predictor of a binding array).
    """

    conv: SequenceConv
    mlp: eqx.nn.MLP
    both_strands: bool = eqx.field(static=True)

    def __init__(
        self,
        letters: int = 4,
        kernel: int = 11,
        filters: int = 32,
        width: int = 64,
        depth: int = 2,
        *,
        both_strands: bool = False,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(letters=letters, kernel=kernel, filters=filters, width=width, depth=depth)
        if kernel % 2 == 0:
            raise ValueError(f"`kernel` must be odd, to have a middle; got {kernel}.")
        conv, mlp = jr.split(key)
        self.conv = SequenceConv(letters, filters, kernel, padding="valid", dtype=dtype, key=conv)
        self.mlp = eqx.nn.MLP(2 * filters, "scalar", width, depth, _leaky, dtype=dtype, key=mlp)
        self.both_strands = both_strands

    def __call__(self, x: Shaped[Array, "length letters"]) -> Float[Array, ""]:
        """The score of one sequence; `jax.vmap` over several."""
        kernel, letters, _ = self.conv.weight.shape
        if x.ndim != 2 or x.shape[1] != letters or len(x) == 0:
            raise ValueError(
                f"`x` must be one sequence, with {letters} numbers for each letter of it; got the "
                f"shape {x.shape}. For a batch use `jax.vmap`."
            )
        x = as_floating(x, self.conv.weight.dtype)
        beyond = jnp.full((kernel // 2, letters), 1 / letters, x.dtype)
        seen = lambda x: _leaky(self.conv(jnp.concatenate([beyond, x, beyond])))
        h = seen(x)
        if self.both_strands:
            h = jnp.concatenate([h, seen(x[::-1, ::-1])])
        return self.mlp(jnp.concatenate([jnp.max(h, axis=0), jnp.mean(h, axis=0)]))


class SequenceEnsemble(eqx.Module):
    r"""Regressors trained apart: their mean is a score, their spread says where not to trust it.

    $$ \bar s(x) = \frac{1}{M} \sum_m s_m(x), \qquad \bar s(x) - k\, \mathrm{sd}_m\, s_m(x) $$

    A design that makes one net's score large may do so by that net's faults; the mean of several
    less, and `lower` less again.

    Args:
        regressors: a stack of nets, each of its arrays with an axis of the members in front, as
            `equinox.filter_vmap` of a constructor gives it.
        mean: of the scores that the nets were trained on, in their unit.
        sd: of the same: the nets score in units of it.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> make = lambda key: SequenceRegressor(key=key)
        >>> stack = eqx.filter_vmap(make)(jax.random.split(jax.random.key(0), 5))
        >>> ensemble = SequenceEnsemble(stack, jnp.asarray(2.0), jnp.asarray(0.5))
        >>> x = jax.nn.one_hot(jnp.asarray([0, 1, 1, 2, 3]), 4)
        >>> ensemble.members(x).shape, bool(ensemble.lower(x, k=1.0) < ensemble(x))
        ((5,), True)

    Source: Lakshminarayanan et al., arXiv 1612.01474.
    """

    regressors: SequenceRegressor
    mean: Float[Array, ""]
    sd: Float[Array, ""]

    def members(self, x: Shaped[Array, "length letters"]) -> Float[Array, " members"]:
        """The score of each net."""
        scores = eqx.filter_vmap(lambda net: net(x))(self.regressors)
        return self.mean + self.sd * scores

    def __call__(self, x: Shaped[Array, "length letters"]) -> Float[Array, ""]:
        """The mean of the nets."""
        return jnp.mean(self.members(x))

    def lower(self, x: Shaped[Array, "length letters"], k: ScalarLike = 1.0) -> Float[Array, ""]:
        """The mean less k standard deviations of the nets."""
        each = self.members(x)
        spread = each - jnp.mean(each)
        # Of one net, or of nets that agree, the spread's slope is zero and not NaN.
        square = jnp.mean(spread * spread)
        sd = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
        return jnp.mean(each) - jnp.asarray(k, sd.dtype) * sd


def _leaky(x: Array) -> Array:
    return jax.nn.leaky_relu(x, 0.1)
