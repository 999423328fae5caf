"""The network: a stem, blocks whose weights are random processes, and a head."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback import ode, sde
from pullback._in_batches import over_batches
from pullback._inputs import positive
from pullback._key import checked_key
from pullback.nn import ConcatMLP

from ._block import SDEBNNBlock, sde_bnn_block
from ._conv_field import ConvField
from ._priors import AbstractWeightPrior
from ._weight_process import KL, PathDistribution


class Outputs(NamedTuple):
    """What a network says of a batch, once for each path of its weights.

    Attributes:
        values: of the head, `[paths, batch, ...]`.
        kl: of all weights from their prior, in nats, `[paths]`; zero where none was asked for.
        result: how the solves ended, a code of `pullback.ode.Result`.
    """

    values: Float[Array, "paths batch ..."]
    kl: Float[Array, " paths"]
    result: Int[Array, ""]


class SDEBNN(eqx.Module):
    r"""A Bayesian neural network of infinite depth.

        outputs = head(block_k(... block_1(stem(x))))

    Weights of the blocks are random, those of stem and head are not. One path of the weights
    serves the whole batch, unless `per_example` is set.

    Args:
        stem: from one input to the first features.
        blocks: one after the other; each has noise of its own.
        head: from the last features to the outputs, for a classifier the logits.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.models.bayes import OUPrior, mlp_sde_bnn
        >>> net = mlp_sde_bnn(64, prior=OUPrior(sigma=0.3), key=jax.random.key(0))
        >>> probs = net.predict(jnp.ones((5, 8, 8)), paths=8, key=jax.random.key(1))
        >>> probs.shape, bool(jnp.allclose(probs.sum(axis=1), 1))
        ((5, 10), True)

    Source: Xu et al., Infinitely Deep Bayesian Neural Networks with Stochastic Differential
    Equations (arXiv 2102.06559), sections 3 and 5.
    """

    stem: Callable[..., Any]
    blocks: tuple[SDEBNNBlock, ...]
    head: Callable[..., Any]

    def __call__(
        self,
        x: Float[Array, "batch ..."],
        *,
        paths: int = 1,
        distribution: PathDistribution = "posterior",
        kl: KL | None = "sticking_the_landing",
        per_example: bool = False,
        solver: diffrax.AbstractSolver | None = None,
        steps: int | None = None,
        rtol: float | None = None,
        atol: float | None = None,
        throw: bool = True,
        key: PRNGKeyArray,
    ) -> Outputs:
        """The outputs of a batch.

        Args:
            x: the batch.
            paths: how many paths of the weights.
            distribution, kl, per_example, solver, steps, rtol, atol, throw: as in `SDEBNNBlock`.
            key: for the weights.

        Raises:
            ValueError: an argument does not fit.
            SolveError: a solve failed, and `throw` is True.
        """
        key = checked_key(key)
        positive(paths=paths)
        features = jax.vmap(self.stem)(x)
        features = jnp.broadcast_to(features[None], (paths, *features.shape))
        total = jnp.zeros(paths, features.dtype)
        result = jnp.asarray(0, jnp.int32)
        for number, block in enumerate(self.blocks):
            out = block(
                features,
                distribution=distribution,
                kl=kl,
                per_example=per_example,
                solver=solver,
                steps=steps,
                rtol=rtol,
                atol=atol,
                throw=throw,
                key=jr.fold_in(key, number),
            )
            features = out.features
            total = total + out.kl
            result = jnp.maximum(result, jnp.max(out.solution.result).astype(jnp.int32))
        return Outputs(jax.vmap(jax.vmap(self.head))(features), total, result)

    def predict(
        self,
        x: Float[Array, "batch ..."],
        *,
        paths: int = 32,
        distribution: PathDistribution = "posterior",
        solver: diffrax.AbstractSolver | None = None,
        steps: int | None = None,
        rtol: float | None = None,
        atol: float | None = None,
        batch_size: int | None = None,
        throw: bool = True,
        key: PRNGKeyArray,
    ) -> Float[Array, "batch classes"]:
        r"""The probability of each class, averaged over paths of the weights.

        $$ p(y \mid x) \approx \frac1S \sum_s \mathrm{softmax}(\mathrm{logits}_s(x))_y $$

        How finely the weights' equation is solved may be chosen anew for a trained network.

        Args:
            x: the inputs.
            paths: S; every input sees the same ones.
            distribution: whose weights: "posterior" or "prior".
            solver: replaces the blocks' own; with tolerances, `diffrax.Heun()`.
            steps: replaces the blocks' own.
            rtol: relative tolerance, for steps that adapt. They adapt to a batch as a whole.
            atol: absolute tolerance, likewise.
            batch_size: the most inputs carried at once.
            throw: raise if a solve fails; if False the probabilities are NaN.
            key: for the weights.

        Raises:
            ValueError: an argument does not fit.
            SolveError: a solve failed, and `throw` is True.

        Source: arXiv 2102.06559, section 3.3. Its code averages the logarithms instead.
        """
        key = checked_key(key)

        def of_batch(x: Array) -> Array:
            found = self(
                x,
                paths=paths,
                distribution=distribution,
                kl=None,
                solver=solver,
                steps=steps,
                rtol=rtol,
                atol=atol,
                throw=throw,
                key=key,
            )
            return jnp.mean(jax.nn.softmax(found.values, axis=-1), axis=0)

        return over_batches(of_batch, x, batch_size)


def mlp_sde_bnn(
    inputs: int,
    outputs: int = 10,
    *,
    prior: AbstractWeightPrior,
    dim: int = 16,
    width: int = 24,
    bottleneck: Sequence[int] = (2,),
    steps: int = 20,
    solver: diffrax.AbstractSolver | None = None,
    adjoint: ode.Replay | sde.StochasticAdjoint | None = None,
    dtype: Any = None,
    key: PRNGKeyArray,
) -> SDEBNN:
    """An `SDEBNN` for small inputs: a linear stem, one block of a tanh field, a linear head.

    Args:
        inputs: numbers in one input, which is flattened.
        outputs: how many outputs; for a classifier, classes.
        prior: of the block's weights.
        dim: size of the features.
        width: size of the field's hidden layer.
        bottleneck: hidden sizes of the correction to the prior's drift.
        steps, solver, adjoint: as in `SDEBNNBlock`.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is below 1.
    """
    key = checked_key(key)
    stem_key, field_key, drift_key, head_key = jr.split(key, 4)
    block = sde_bnn_block(
        ConcatMLP(dim, width, 1, zero_last=False, dtype=dtype, key=field_key),
        prior,
        bottleneck=bottleneck,
        steps=steps,
        solver=solver,
        adjoint=adjoint,
        key=drift_key,
    )
    stem = eqx.nn.Linear(inputs, dim, dtype=dtype, key=stem_key)
    return SDEBNN(
        eqx.nn.Sequential([eqx.nn.Lambda(jnp.ravel), stem]),
        (block,),
        eqx.nn.Linear(dim, outputs, dtype=dtype, key=head_key),
    )


def conv_sde_bnn(
    classes: int = 10,
    *,
    prior: AbstractWeightPrior,
    colours: int | None = None,
    channels: int = 16,
    blocks: int = 1,
    bottleneck: Sequence[int] = (2, 64, 2),
    steps: int = 20,
    solver: diffrax.AbstractSolver | None = None,
    adjoint: ode.Replay | sde.StochasticAdjoint | None = None,
    dtype: Any = None,
    key: PRNGKeyArray,
) -> SDEBNN:
    """An `SDEBNN` for images: two strided convolutions, blocks of `ConvField`, a mean, a head.

    Args:
        classes: how many classes.
        prior: of the blocks' weights.
        colours: of an image `[colours, height, width]`; None: it is grey, `[height, width]`.
        channels: of the features.
        blocks: how many blocks.
        bottleneck: hidden sizes of the corrections to the prior's drift.
        steps, solver, adjoint: as in `SDEBNNBlock`.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: a size is below 1.

    Source: arXiv 2102.06559, section 5; its blocks and their drift, on a smaller stem.
    """
    key = checked_key(key)
    positive(colours=1 if colours is None else colours, channels=channels, blocks=blocks)
    first, second, head_key, block_key = jr.split(key, 4)

    def block(key: PRNGKeyArray) -> SDEBNNBlock:
        field_key, drift_key = jr.split(key)
        return sde_bnn_block(
            ConvField(channels, dtype=dtype, key=field_key),
            prior,
            bottleneck=bottleneck,
            steps=steps,
            solver=solver,
            adjoint=adjoint,
            key=drift_key,
        )

    def shrink(n_in: int, key: PRNGKeyArray) -> eqx.nn.Conv2d:
        return eqx.nn.Conv2d(n_in, channels, 4, stride=2, padding=1, dtype=dtype, key=key)

    return SDEBNN(
        eqx.nn.Sequential(
            [
                *([eqx.nn.Lambda(_one_channel)] if colours is None else []),
                shrink(1 if colours is None else colours, first),
                eqx.nn.Lambda(jax.nn.softplus),
                shrink(channels, second),
            ]
        ),
        tuple(block(k) for k in jr.split(block_key, blocks)),
        eqx.nn.Sequential(
            [
                eqx.nn.Lambda(_mean_pixel),
                eqx.nn.Linear(channels, classes, dtype=dtype, key=head_key),
            ]
        ),
    )


def _one_channel(image: Array) -> Array:
    return image[None]


def _mean_pixel(image: Array) -> Array:
    return jnp.mean(image, axis=(-2, -1))
