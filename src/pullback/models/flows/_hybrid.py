"""A flow that classifies too."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback._checked_data import check_labels
from pullback._key import checked_key

from ._interface import check_points
from ._residual_flow import ResidualFlow
from ._rows import event_of, points_in_rows


class HybridFlow(eqx.Module):
    r"""A joint density of inputs and classes: $p(x, c) = p(x)\, p(c \mid f(x))$.

    Args:
        flow: of x; its bijection is f.
        head: from $f(x)$, one example of the base's shape, to logits `[classes]`.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, pullback as pb
        >>> keys = jax.random.split(jax.random.key(0))
        >>> flow = pb.models.flows.residual_flow(2, blocks=2, width=8, key=keys[0])
        >>> model = HybridFlow(flow, eqx.nn.Linear(2, 3, key=keys[1]))
        >>> model.logits(jnp.zeros((5, 2))).shape
        (5, 3)

    Source: Nalisnick et al., Hybrid Models with Deep and Invertible Features, arXiv 1902.02767;
        Chen et al., arXiv 1906.02735, section 5.3.
    """

    flow: ResidualFlow
    head: Callable[[Any], Any]

    def log_prob(
        self, x: Float[Array, "batch ..."], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, " batch"]:
        """The log-density of inputs, in nats."""
        return self.flow.log_prob(x, key=key)

    def logits(
        self, x: Float[Array, "batch ..."], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, "batch classes"]:
        """Of the classes; they do not depend on `key`, which an estimated log-determinant needs."""
        rows, batch = points_in_rows(x, self.flow.shape)
        if len(batch) != 1:
            raise ValueError(f"`x` must be a batch, [n, *{self.flow.shape}], got {x.shape}.")
        return jax.vmap(self.head)(self.flow.inverse_and_log_det(rows, key=key)[0])


class HybridLoss(eqx.Module):
    r"""The loss of a `HybridFlow`, in bits.

    $$ L = \lambda \, \frac{-\ln p(x)}{D \ln 2} - \frac{\ln p(c \mid f(x))}{\ln 2} $$

    Args:
        weight: $\lambda$; 1 weighs a bit a dimension as a bit of the class.

    Raises:
        ValueError: `weight` is negative; when called, there is no point.
    """

    weight: float = 1.0

    def __check_init__(self) -> None:
        if not self.weight >= 0:
            raise ValueError(f"`weight` must be 0 or more, got {self.weight}.")

    def check(self, model: HybridFlow, data: Any) -> None:
        """Raise ValueError for points that are not of the flow, or labels that are no classes."""
        x, labels = data
        check_points(model.flow, x)
        z = jax.ShapeDtypeStruct(event_of(model.flow.base, None), jnp.result_type(float))
        check_labels(labels, eqx.filter_eval_shape(model.head, z).shape[-1])

    def __call__(
        self,
        model: HybridFlow,
        batch: tuple[Float[Array, "batch ..."], Int[Array, " batch"]],
        *,
        key: PRNGKeyArray,
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        """As `pb.train.fit` takes it; the metrics are both parts and the accuracy."""
        key = checked_key(key)
        x, labels = batch
        if not len(x):
            raise ValueError("`batch` must hold at least one point, got none.")
        z, log_det = model.flow.inverse_and_log_det(x, key=key)
        bits = -jnp.mean(model.flow.base.log_prob(z) + log_det) / (x[0].size * math.log(2))
        logits = jax.vmap(model.head)(z)
        losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
        cross_entropy = jnp.mean(losses) / math.log(2)
        accuracy = jnp.mean((jnp.argmax(logits, axis=1) == labels).astype(x.dtype))
        metrics = {"bits_per_dim": bits, "cross_entropy": cross_entropy, "accuracy": accuracy}
        return self.weight * bits + cross_entropy, metrics
