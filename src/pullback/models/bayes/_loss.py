"""The evidence lower bound of a network whose weights are random."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from pullback._checked_data import check_labels, check_rows
from pullback._inputs import positive
from pullback._key import checked_key

from ._sde_bnn import Outputs
from ._weight_process import KL


def categorical_log_likelihood(
    logits: Float[Array, " classes"], label: Int[Array, ""]
) -> Float[Array, ""]:
    """The log-probability of a label, in nats; NaN for one that is no class."""
    known = (label >= 0) & (label < len(logits))
    return jnp.where(known, jax.nn.log_softmax(logits)[label], jnp.nan)


def laplace_log_likelihood(
    outputs: Float[Array, " outputs"], target: Float[Array, " outputs"], *, scale: float = 0.1
) -> Float[Array, ""]:
    """The log-density of a target with Laplace noise of this scale, in nats."""
    width = jnp.asarray(scale, outputs.dtype)
    return jnp.sum(-jnp.abs(outputs - target) / width - jnp.log(2 * width))


class SDEBNNLoss(eqx.Module):
    r"""The negative evidence lower bound for each training example, for `pullback.train.fit`.

    $$ L = -\frac1n \sum_{i=1}^n E_q[\log p(y_i \mid x_i, w)]
           + \frac{\kappa}{N}\, KL(q \| p), \qquad
       \mathrm{ELBO} = E_q[\log p(D \mid w)] - KL(q \| p) $$

    `kappa` below 1 sharpens the posterior (a "cold" one) and makes of `-N L` no bound; the metric
    `elbo` is the true bound of the whole training set at any `kappa`. `kappa` and the numbers
    beside it are arrays: another value does not compile the training loop again.

    Args:
        n_train: N, the number of training examples.
        kappa: the weight of the KL; 1 for the true bound.
        log_likelihood: from the outputs for one example and its target to nats.
        paths: of the weights, drawn for each batch. They share one batch, so that more of them
            make the gradient less noisy.
        per_example: draw them for each example of the batch, too. The bound is the same and the
            gradient less noisy, at the cost of as many solves.
        kl: the form of the KL, see `pullback.sde.solve`: all have the same mean.

    Returns:
        Called as `loss(model, batch, *, key)` with a batch of inputs and targets: the loss, and the
        metrics `nll` (nats an example), `kl` (nats), `elbo` (nats, of N examples) and `result`.

    Raises:
        ValueError: `paths` is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.models.bayes import OUPrior, mlp_sde_bnn
        >>> net = mlp_sde_bnn(64, prior=OUPrior(sigma=0.3), key=jax.random.key(0))
        >>> batch = jnp.ones((5, 8, 8)), jnp.zeros(5, int)
        >>> loss, metrics = SDEBNNLoss(300)(net, batch, key=jax.random.key(1))
        >>> bool(jnp.allclose(loss, metrics["nll"])), float(metrics["kl"])
        (True, 0.0)

    Source: Xu et al., Infinitely Deep Bayesian Neural Networks with Stochastic Differential
    Equations (arXiv 2102.06559), equation 8 and section 4.
    """

    n_train: Float[Array, ""]
    kappa: Float[Array, ""]
    log_likelihood: Callable[..., Any]
    paths: int = eqx.field(static=True)
    per_example: bool = eqx.field(static=True)
    kl: KL = eqx.field(static=True)

    def __init__(
        self,
        n_train: int,
        *,
        kappa: Float[ArrayLike, ""] = 1.0,
        log_likelihood: Callable[..., Any] = categorical_log_likelihood,
        paths: int = 1,
        per_example: bool = False,
        kl: KL = "sticking_the_landing",
    ):
        positive(n_train=n_train, paths=paths)
        self.n_train = jnp.asarray(float(n_train))
        self.kappa = jnp.asarray(kappa)
        self.log_likelihood = log_likelihood
        self.paths = paths
        self.per_example = per_example
        self.kl = kl

    def check(self, model: Callable[..., Outputs], data: tuple[ArrayLike, ArrayLike]) -> None:
        """Raise ValueError for a row that is not finite, or for labels that are no classes."""
        x, targets = map(np.asarray, data)
        check_rows(x)
        if self.log_likelihood is not categorical_log_likelihood:
            check_rows(targets, name="the targets in `data`")
            return
        key = jax.random.key(0)
        found = eqx.filter_eval_shape(lambda m, x: m(x, throw=False, key=key), model, x[:1])
        check_labels(targets, found.values.shape[-1])

    def __call__(
        self, model: Callable[..., Outputs], batch: tuple[Array, Array], *, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        """The loss of a batch and its metrics."""
        key = checked_key(key)
        x, targets = batch
        found = model(
            x, paths=self.paths, kl=self.kl, per_example=self.per_example, throw=False, key=key
        )
        per_path = jax.vmap(jax.vmap(self.log_likelihood), in_axes=(0, None))
        nll = -jnp.mean(per_path(found.values, targets))
        kl = jnp.mean(found.kl)
        size, kappa = self.n_train.astype(nll.dtype), self.kappa.astype(nll.dtype)
        return nll + kappa / size * kl, {
            "nll": nll,
            "kl": kl,
            "elbo": -(size * nll + kl),
            "result": found.result,
        }
