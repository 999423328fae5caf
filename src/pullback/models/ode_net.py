"""A classifier whose depth is the time of an ODE, and the residual network that it stands beside.

An image goes through a stem, then through an `ODEBlock`, then through a linear head. The block's
cost and accuracy are tolerances, which may be chosen when the network is called.
"""

from collections.abc import Callable
from typing import Any, Literal

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from pullback._checked_data import check_labels, check_rows, checked_by
from pullback.nn import ConcatConvNet, ConcatMLP
from pullback.ode import AbstractAdjoint, Solution, solve

from ._image_layers import as_product, conv_head, conv_stem, linear_stem, norm_relu


class ODEBlock(eqx.Module):
    r"""A layer that carries a batch along a learned vector field.

    $$ y(t_1) = y(t_0) + \int_{t_0}^{t_1} f(t, y(t), \theta) \, dt $$

    Args:
        field: `f(t, y, args)` for one example `y`; `args` is None. It is evaluated on the whole
            batch at once.
        t0: The time of the input.
        t1: The time of the output.
        solver, steps, adjoint, stepping: As in `pullback.ode.solve`. With
            `stepping="per_sample"` an example's output does not depend on what else is in the
            batch; with "joint", which trains faster, it does, within the tolerances.
        rtol: Relative tolerance of one step.
        atol: Absolute tolerance of one step.

    Example:
        >>> import jax.numpy as jnp
        >>> block = ODEBlock(lambda t, y, args: -y, rtol=1e-6, atol=1e-6)
        >>> y, solution = block(jnp.ones((2, 3)))
        >>> bool(jnp.allclose(y, jnp.exp(-1.0), atol=1e-5)), int(solution.result)
        (True, 0)

    Source: Chen et al., "Neural Ordinary Differential Equations", arXiv 1806.07366, section 3.
    """

    field: Callable[[Any, Any, Any], Any]
    t0: float = eqx.field(static=True, default=0.0)
    t1: float = eqx.field(static=True, default=1.0)
    solver: diffrax.AbstractSolver | None = eqx.field(static=True, default=None)
    rtol: float = eqx.field(static=True, default=1e-3)
    atol: float = eqx.field(static=True, default=1e-3)
    steps: int | None = eqx.field(static=True, default=None)
    adjoint: AbstractAdjoint | diffrax.AbstractAdjoint | None = eqx.field(static=True, default=None)
    stepping: Literal["joint", "per_sample"] = eqx.field(static=True, default="joint")

    def __call__(
        self,
        y0: Float[Array, "batch ..."],
        *,
        rtol: float | Float[Array, ""] | None = None,
        atol: float | Float[Array, ""] | None = None,
        throw: bool = True,
    ) -> tuple[Float[Array, "batch ..."], Solution]:
        """Carry a batch from `t0` to `t1`.

        Args:
            y0: The batch.
            rtol: Replaces the block's own; a traced value does not compile anew.
            atol: The same for the absolute tolerance.
            throw: Raise if the solve fails. If False, the output is NaN and `Solution.result` says
                why.

        Returns:
            The batch at `t1`, and the `Solution`, with its `stats` and `result`.

        Raises:
            SolveError: The solve failed, and `throw` is True.
        """
        per_sample = self.stepping == "per_sample"
        solution = solve(
            self.field if per_sample else self.batched_field,
            y0,
            [self.t0, self.t1],
            solver=self.solver,
            rtol=self.rtol if rtol is None else rtol,
            atol=self.atol if atol is None else atol,
            steps=self.steps,
            adjoint=self.adjoint,
            stepping=self.stepping,
            throw=throw,
        )
        return (solution.ys[:, -1] if per_sample else solution.ys[-1]), solution

    def batched_field(
        self, t: Any, y: Float[Array, "batch ..."], args: Any = None
    ) -> Float[Array, "batch ..."]:
        """The velocity of a batch: the right-hand side of the joint solve."""
        return jax.vmap(self.field, in_axes=(None, 0, None))(t, y, args)


class ODENet(eqx.Module):
    """A classifier of three parts: a stem, an `ODEBlock`, a head.

        logits = head(block(stem(x)))

    Args:
        stem: From one input to the state, called as `stem(x, key=key)`.
        block: The ODE block.
        head: From the state to the logits, called the same way.

    Example:
        >>> import jax.numpy as jnp, jax.random as jr
        >>> net = mlp_ode_net(64, key=jr.key(0))
        >>> logits, solution = net(jnp.ones((5, 8, 8)), rtol=1e-2, atol=1e-2)
        >>> logits.shape
        (5, 10)

    Source: Chen et al., arXiv 1806.07366, section 3 and table 1.
    """

    stem: Callable[..., Any]
    block: ODEBlock
    head: Callable[..., Any]

    def __call__(
        self,
        x: Float[Array, "batch ..."],
        *,
        rtol: float | Float[Array, ""] | None = None,
        atol: float | Float[Array, ""] | None = None,
        throw: bool = True,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "batch classes"], Solution]:
        """The logits of a batch, and the block's `Solution`; arguments as in `ODEBlock`.

        `key` is for layers that draw random numbers, such as `RandomCrop`.
        """
        y, solution = self.block(_each(self.stem, x, key), rtol=rtol, atol=atol, throw=throw)
        return _each(self.head, y, None), solution


class ResidualNet(eqx.Module):
    """The same classifier with residual blocks where the ODE block was.

        logits = head(y_L),   y_{l+1} = y_l + f_l(y_l),   y_0 = stem(x)

    Args:
        stem: As in `ODENet`.
        blocks: The layers `f_l`, stacked along a leading axis of every array (`eqx.filter_vmap`
            of their constructor); they are run by a scan.
        head: As in `ODENet`.

    Example:
        >>> import jax.numpy as jnp, jax.random as jr
        >>> mlp_residual_net(64, key=jr.key(0))(jnp.ones((5, 8, 8))).shape
        (5, 10)

    Source: He et al., "Deep Residual Learning", arXiv 1512.03385; the baseline of table 1 of
        arXiv 1806.07366.
    """

    stem: Callable[..., Any]
    blocks: PyTree
    head: Callable[..., Any]

    def __call__(
        self, x: Float[Array, "batch ..."], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, "batch classes"]:
        """The logits of a batch; `key` is for layers that draw random numbers."""
        arrays, static = eqx.partition(self.blocks, eqx.is_array)

        def step(y: Array, arrays: PyTree) -> tuple[Array, None]:
            return y + jax.vmap(eqx.combine(arrays, static))(y), None

        y, _ = jax.lax.scan(step, _each(self.stem, x, key), arrays)
        return _each(self.head, y, None)


def mlp_ode_net(
    inputs: int,
    classes: int = 10,
    *,
    dim: int = 64,
    width: int = 96,
    block: Callable[[Any], ODEBlock] = ODEBlock,
    key: PRNGKeyArray,
) -> ODENet:
    """An `ODENet` for small images: a linear stem, a tanh field that sees the time, a linear head.

    Args:
        inputs: Pixels of an image, which is flattened.
        classes: How many classes.
        dim: Size of the state.
        width: Size of the field's hidden layer.
        block: Makes the block from the field; `functools.partial(ODEBlock, rtol=1e-5)`, say.
        key: Random key for the weights.
    """
    stem_key, field_key, head_key = jr.split(key, 3)
    field = ConcatMLP(dim, width, 1, key=field_key)
    return ODENet(
        linear_stem(inputs, dim, stem_key),
        block(field),
        eqx.nn.Linear(dim, classes, key=head_key),
    )


def mlp_residual_net(
    inputs: int,
    classes: int = 10,
    *,
    dim: int = 64,
    width: int = 64,
    blocks: int = 6,
    activation: Callable[[Array], Array] = jnp.tanh,
    key: PRNGKeyArray,
) -> ResidualNet:
    """The `ResidualNet` beside `mlp_ode_net`: blocks of LayerNorm, linear, activation, linear.

    Args:
        inputs: Pixels of an image, which is flattened.
        classes: How many classes.
        dim: Size of the state.
        width: Size of the hidden layer of each block.
        blocks: How many blocks.
        activation: The nonlinearity of each block.
        key: Random key for the weights.
    """

    def layer(key: PRNGKeyArray) -> eqx.nn.Sequential:
        first, second = jr.split(key)
        return eqx.nn.Sequential(
            [
                eqx.nn.LayerNorm(dim),
                eqx.nn.Linear(dim, width, key=first),
                eqx.nn.Lambda(activation),
                eqx.nn.Linear(width, dim, key=second),
            ]
        )

    stem_key, block_key, head_key = jr.split(key, 3)
    return ResidualNet(
        linear_stem(inputs, dim, stem_key),
        eqx.filter_vmap(layer)(jr.split(block_key, blocks)),
        eqx.nn.Linear(dim, classes, key=head_key),
    )


def conv_ode_net(
    classes: int = 10,
    *,
    channels: int = 64,
    crop: int = 0,
    block: Callable[[Any], ODEBlock] = ODEBlock,
    key: PRNGKeyArray,
) -> ODENet:
    """The paper's `ODENet` for MNIST: three convolutions that shrink the image, a field of two.

    Args:
        classes: How many classes.
        channels: Channels of the state; a multiple of 32, or below 32.
        crop: The largest shift of a training image, in pixels; see `RandomCrop`.
        block: Makes the block from the field; `functools.partial(ODEBlock, rtol=1e-5)`, say.
        key: Random key for the weights.

    Source: arXiv 1806.07366, table 1, and the MNIST example of its code.
    """
    stem_key, field_key, head_key = jr.split(key, 3)
    return ODENet(
        conv_stem(channels, crop, stem_key),
        block(ConcatConvNet(channels, key=field_key)),
        conv_head(channels, classes, head_key),
    )


def conv_residual_net(
    classes: int = 10,
    *,
    channels: int = 64,
    crop: int = 0,
    blocks: int = 6,
    key: PRNGKeyArray,
) -> ResidualNet:
    """The `ResidualNet` beside `conv_ode_net`, with blocks of two convolutions.

    Args:
        classes: How many classes.
        channels: Channels of the state; a multiple of 32, or below 32.
        crop: The largest shift of a training image, in pixels; see `RandomCrop`.
        blocks: How many blocks.
        key: Random key for the weights.

    Source: arXiv 1806.07366, table 1, and the MNIST example of its code.
    """

    def layer(key: PRNGKeyArray) -> eqx.nn.Sequential:
        first, second = (
            as_product(
                eqx.nn.Conv2d(channels, channels, 3, padding=1, use_bias=False, key=conv_key)
            )
            for conv_key in jr.split(key)
        )
        return eqx.nn.Sequential([*norm_relu(channels), first, *norm_relu(channels), second])

    stem_key, block_key, head_key = jr.split(key, 3)
    return ResidualNet(
        conv_stem(channels, crop, stem_key),
        eqx.filter_vmap(layer)(jr.split(block_key, blocks)),
        conv_head(channels, classes, head_key),
    )


def _check_images(model: ODENet | ResidualNet, data: Any) -> None:
    """Raise ValueError for a row that is not finite, or for labels that are no classes."""
    x, y = map(np.asarray, data)
    check_rows(x)
    first = eqx.filter_eval_shape(lambda model, x: model(x), model, jnp.asarray(x[:1]))
    check_labels(y, (first[0] if isinstance(model, ODENet) else first).shape[-1])


@checked_by(_check_images)
def classification_loss(
    model: ODENet | ResidualNet,
    batch: tuple[Float[Array, "batch ..."], Int[Array, " batch"]],
    *,
    key: PRNGKeyArray,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    r"""The mean cross-entropy of a batch, for `pullback.train.fit`.

    $$ L = -\frac{1}{n} \sum_i \log \mathrm{softmax}(\mathrm{logits}(x_i))_{y_i} $$

    Args:
        model: The network.
        batch: Images and their classes.
        key: For layers that draw random numbers.

    Returns:
        The loss, which is NaN where a label is no class, and the metrics `error`, the share of
        wrong classes; for an `ODENet` also `nfe`, evaluations of the field (their mean, with steps
        per sample), and `result`, zero unless a solve failed, on which `fit` stops.

    Example:
        >>> import jax.numpy as jnp, jax.random as jr
        >>> net = mlp_ode_net(64, key=jr.key(0))
        >>> batch = jnp.ones((5, 8, 8)), jnp.zeros(5, int)
        >>> sorted(classification_loss(net, batch, key=jr.key(1))[1])
        ['error', 'nfe', 'result']
    """
    x, y = batch
    costs = {}
    if isinstance(model, ODENet):
        logits, solution = model(x, throw=False, key=key)
        nfe = jnp.mean(solution.stats.nfe.astype(logits.dtype))
        costs = {"nfe": nfe, "result": jnp.max(solution.result)}
    else:
        logits = model(x, key=key)
    known = (y >= 0) & (y < logits.shape[-1])
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
    loss = jnp.mean(jnp.where(known, losses, jnp.nan))
    wrong = jnp.argmax(logits, axis=-1) != y
    return loss, {"error": jnp.mean(wrong, dtype=logits.dtype), **costs}


def _each(layer: Callable[..., Any], x: Array, key: PRNGKeyArray | None) -> Array:
    if key is None:
        return jax.vmap(layer)(x)
    return jax.vmap(lambda x, key: layer(x, key=key))(x, jr.split(key, x.shape[0]))
