"""What the energy of VERA is trained by, and the classifier that it may be."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


def vera_energy_objective(
    energy: PyTree,
    data: Float[Array, "b ..."],
    samples: Float[Array, "n ..."],
    labelled: Any = None,
    *,
    gradient_penalty: Float[Array, ""] | float | int = 0.1,
    label_weight: Float[Array, ""] | float | int = 1.0,
    prediction_entropy_weight: Float[Array, ""] | float | int = 0.0,
    energy_l2: Float[Array, ""] | float | int = 0.0,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    r"""The loss of an energy, given samples, through which no gradient flows.

    $$ \mathrm{E}_q f - \mathrm{E}_\mathrm{data} f +
       \tfrac\gamma2 \mathrm{E}_\mathrm{data} \|\nabla f\|^2 + \alpha\, \mathrm{CE} +
       \beta\, \mathrm{E}_\mathrm{data} H(p(y|x)) $$

    Args:
        energy: as for `VERAStep.init`.
        data: `[b, ...]`.
        samples: of a generator, `[n, ...]`.
        labelled: a pair of rows `[m, ...]` and classes `[m]`, or None.
        gradient_penalty: gamma.
        label_weight: alpha.
        prediction_entropy_weight: beta.
        energy_l2: of the mean square of the energies.

    Returns:
        The loss, and its parts by name.

    Raises:
        ValueError: there are labels, and the energy has no `logits`.

    Example:
        >>> import jax.numpy as jnp
        >>> f = lambda x: -jnp.sum(x**2) / 2
        >>> loss, parts = vera_energy_objective(f, jnp.ones((3, 2)), jnp.zeros((3, 2)))
        >>> print(f"{loss:.2f} {parts['data_energy']:.2f} {parts['sample_energy']:.2f}")
        1.10 -1.00 0.00

    Source: Grathwohl et al., No MCMC for me, arXiv 2010.04230, equation 7 and section 5.
    """
    f = log_density_of(energy)
    at_data, slopes = jax.vmap(jax.value_and_grad(f))(data)
    at_samples = jax.vmap(f)(jax.lax.stop_gradient(samples))
    penalty = jnp.sum(jnp.square(slopes)) / len(data)
    metrics = {
        "data_energy": jnp.mean(at_data),
        "sample_energy": jnp.mean(at_samples),
        "squared_slope": penalty,
    }
    size = jnp.mean(jnp.square(at_data)) + jnp.mean(jnp.square(at_samples))
    loss = metrics["sample_energy"] - metrics["data_energy"]
    loss = loss + gradient_penalty / 2 * penalty + energy_l2 * size
    if labelled is None:
        return loss, metrics
    if not hasattr(energy, "logits"):
        raise ValueError(
            f"`labelled` needs an `energy` with `logits`, such as JEM; got {type(energy).__name__}."
        )
    rows, classes = labelled
    log_probs = jax.nn.log_softmax(jax.vmap(energy.logits)(rows))
    metrics["cross_entropy"] = -jnp.mean(jnp.take_along_axis(log_probs, classes[:, None], 1))
    log_probs = jax.nn.log_softmax(jax.vmap(energy.logits)(data))
    metrics["prediction_entropy"] = -jnp.mean(jnp.sum(jnp.exp(log_probs) * log_probs, axis=1))
    loss = loss + label_weight * metrics["cross_entropy"]
    return loss + prediction_entropy_weight * metrics["prediction_entropy"], metrics


def log_density_of(energy: PyTree) -> Callable[[Array], Array]:
    """The log-density but for a constant, of one example."""
    return energy.log_density if hasattr(energy, "log_density") else energy
