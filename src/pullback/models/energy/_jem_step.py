"""One training step of a classifier that is also a density."""

from dataclasses import KW_ONLY
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback._key import checked_key
from pullback.models.energy._jem import JEM
from pullback.models.energy._replay import ReplayBuffer
from pullback.models.energy._sgld import SGLD
from pullback.train import apply_gradient


class JEMState(eqx.Module):
    """What a training step changes.

    Attributes:
        model: the classifier.
        opt_state: of the optimiser.
        buffer: the chains that are kept.
    """

    model: JEM
    opt_state: Any
    buffer: ReplayBuffer


class JEMTerms(NamedTuple):
    """The parts of the loss, means over the batch.

    Attributes:
        log_density: LSE(x) of the data.
        log_density_sampled: LSE(x') of the chains.
        square: of both, halved.
        cross_entropy: of the labelled examples.
        accuracy: on them.
    """

    log_density: Float[Array, ""]
    log_density_sampled: Float[Array, ""]
    square: Float[Array, ""]
    cross_entropy: Float[Array, ""]
    accuracy: Float[Array, ""]


def jem_terms(
    model: JEM,
    labelled: tuple[Float[Array, "n ..."], Int[Array, " n"]],
    unlabelled: Float[Array, "m ..."],
    sampled: Float[Array, "k ..."],
) -> JEMTerms:
    r"""What the loss of a JEM is made of.

    $$ \nabla \log p(x) = \nabla \mathrm{LSE}(x) - \mathrm{E}_{x' \sim p} \nabla \mathrm{LSE}(x'),
       \qquad \mathrm{LSE}(x) = \log \sum_y e^{f(x)_y} $$

    The gradient of `log_density - log_density_sampled` is an estimate of that of the
    log-likelihood, if the chains have come to p. No gradient flows into `sampled`.

    Args:
        model: the classifier.
        labelled: examples `[n, ...]` and their classes `[n]`.
        unlabelled: examples of the density, `[m, ...]`; they may be the same.
        sampled: ends of chains, `[k, ...]`.

    Source: Grathwohl et al., arXiv 1912.03263, equations 2, 7 and 9.
    """
    x, y = labelled
    of_data = jax.vmap(model.log_density)(unlabelled)
    of_chains = jax.vmap(model.log_density)(jax.lax.stop_gradient(sampled))
    logits = jax.vmap(model.logits)(x)
    nll = optax.softmax_cross_entropy_with_integer_labels(logits, y)
    return JEMTerms(
        jnp.mean(of_data),
        jnp.mean(of_chains),
        (jnp.mean(jnp.square(of_data)) + jnp.mean(jnp.square(of_chains))) / 2,
        jnp.mean(nll),
        jnp.mean(jnp.argmax(logits, axis=1) == y, dtype=logits.dtype),
    )


class JEMStep(eqx.Module):
    r"""A step for `pullback.train.iterate`: chains, a loss of two terms, an update.

    $$ L = w_x \big( \overline{\mathrm{LSE}(x')} - \overline{\mathrm{LSE}(x)} \big) +
           w_y\, \overline{-\log p(y | x)} +
           \tfrac{\lambda}{2} \big( \overline{\mathrm{LSE}(x)^2} +
           \overline{\mathrm{LSE}(x')^2} \big) $$

    A batch is `(x, y)`, or a dictionary with `"labelled"` (x, y) and `"unlabelled"` x: then the
    density is of the latter alone, into which the labelled examples belong too.

    Training can blow up. A step is called `diverged`, and `iterate` then rolls back to the last
    snapshot, when before or after the update the loss or the gap
    $\overline{\mathrm{LSE}(x)} - \overline{\mathrm{LSE}(x')}$ is beyond `limit`.
    What helps: more steps of the sampler, a smaller learning rate, smooth activations, `l2_energy`.

    Metrics: `loss`, `gap`, `log_density`, `cross_entropy`, `accuracy`, `sample_size` (the root mean
    square of the chains' ends), `diverged`.

    Args:
        optimiser: an Optax gradient transformation.
        sampler: of the chains.
        density_weight: $w_x$; 0 leaves cross-entropy alone, and no chain is run.
        label_weight: $w_y$.
        l2_energy: $\lambda$. Logits are shared, so it flattens the classifier too.
        input_noise: standard deviation of Gaussian noise that is added to examples of both terms.
        reinit: the share of chains that start afresh.
        limit: of the size of loss and gap, in nats.

    Raises:
        ValueError: a weight, `l2_energy` or `input_noise` is negative, or `limit` is not above 0.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, optax
        >>> from pullback.models.energy import JEM, BoxStart, ReplayBuffer
        >>> model = JEM(eqx.nn.MLP(2, 3, 8, 1, key=jax.random.key(0)))
        >>> step = JEMStep(optax.adam(1e-3))
        >>> state = step.init(model, ReplayBuffer.init(BoxStart((2,)), 64, key=jax.random.key(1)))
        >>> batch = (jnp.zeros((8, 2)), jnp.zeros(8, int))
        >>> state, metrics = eqx.filter_jit(step)(state, batch, key=jax.random.key(2))
        >>> sorted(metrics)
        ['accuracy', 'cross_entropy', 'diverged', 'gap', 'log_density', 'loss', 'sample_size']

    Source: Grathwohl et al., arXiv 1912.03263, algorithm 1.
    """

    optimiser: Any
    _: KW_ONLY
    sampler: SGLD = SGLD()
    density_weight: Float[Array, ""] | float = 1.0
    label_weight: Float[Array, ""] | float = 1.0
    l2_energy: Float[Array, ""] | float = 0.0
    input_noise: float = 0.03
    reinit: float = 0.05
    limit: float = 1e3

    def __check_init__(self):
        for name in ("density_weight", "label_weight", "l2_energy", "input_noise"):
            value = getattr(self, name)
            if isinstance(value, int | float) and not value >= 0:
                raise ValueError(f"`{name}` must be 0 or more, got {value}.")
        if not self.limit > 0:
            raise ValueError(f"`limit` must be above 0, got {self.limit}.")

    def init(self, model: JEM, buffer: ReplayBuffer) -> JEMState:
        """The state before the first step."""
        with jax.numpy_dtype_promotion("standard"):
            opt_state = self.optimiser.init(eqx.filter(model, eqx.is_inexact_array))
        return JEMState(model, opt_state, buffer)

    def __call__(
        self, state: JEMState, batch: Any, *, key: PRNGKeyArray
    ) -> tuple[JEMState, dict[str, Array]]:
        """One step: the new state, and metrics."""
        key = checked_key(key)
        (x, y), unlabelled = _parts(batch)
        noise_key, more_noise, chain_key = jr.split(key, 3)
        noisy = lambda x, key: x + self.input_noise * jr.normal(key, x.shape, x.dtype)
        same = unlabelled is x
        x = noisy(x, noise_key)
        unlabelled = x if same else noisy(unlabelled, more_noise)
        if isinstance(self.density_weight, int | float) and self.density_weight == 0:
            sampled, buffer = jax.lax.stop_gradient(unlabelled), state.buffer
        else:
            sampled, buffer = self.sample(state, len(unlabelled), key=chain_key)

        def loss(model: JEM) -> tuple[Array, JEMTerms]:
            terms = jem_terms(model, (x, y), unlabelled, sampled)
            value = self.label_weight * terms.cross_entropy - self.density_weight * _gap(terms)
            return value + self.l2_energy * terms.square, terms

        (value, terms), gradient = eqx.filter_value_and_grad(loss, has_aux=True)(state.model)
        model, opt_state = apply_gradient(
            self.optimiser, gradient, state.opt_state, state.model, loss=value
        )
        # The update that explodes is seen by the new model alone, and must not get into a snapshot.
        new_value, new_terms = loss(model)
        sizes = jnp.abs(jnp.stack([value, _gap(terms), new_value, _gap(new_terms)]))
        metrics = {
            "loss": value,
            "gap": _gap(terms),
            "log_density": terms.log_density,
            "cross_entropy": terms.cross_entropy,
            "accuracy": terms.accuracy,
            "sample_size": jnp.sqrt(jnp.mean(jnp.square(sampled))),
            "diverged": ~jnp.all(sizes <= self.limit),
        }
        return JEMState(model, opt_state, buffer), metrics

    def sample(
        self, state: JEMState, n: int, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, "n ..."], ReplayBuffer]:
        """Move n of the kept chains on, and keep their ends; conditional, if the buffer is."""
        key = checked_key(key)
        labels_key, draw_key, walk_key = jr.split(key, 3)
        classes = state.buffer.classes
        labels = None if classes is None else jr.randint(labels_key, (n,), 0, classes)
        x, rows = state.buffer.draw(n, reinit=self.reinit, labels=labels, key=draw_key)
        # Chains are data to the loss, whatever the sampler did to get them.
        frozen = jax.lax.stop_gradient(eqx.filter(state.model, eqx.is_inexact_array))
        model = eqx.combine(frozen, state.model)
        if labels is None:
            x = self.sampler(model.log_density, x, key=walk_key)
        else:
            x = self.sampler.of_labels(model.log_joint, x, labels, key=walk_key)
        return x, state.buffer.write(rows, x)


def _gap(terms: JEMTerms) -> Array:
    return terms.log_density - terms.log_density_sampled


def _parts(batch: Any) -> tuple[tuple[Array, Array], Array]:
    """The labelled examples, and those of the density."""
    if isinstance(batch, dict):
        return batch["labelled"], batch["unlabelled"]
    x, y = batch
    return (x, y), x
