"""A classifier read as a joint density of inputs and labels."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float, Int


class JEM(eqx.Module):
    r"""A classifier, whose logits are also taken as an unnormalised joint density.

    $$ \log p(x, y) = f(x)_y - \log Z, \qquad
       \log p(x) = \log \sum_y e^{f(x)_y} - \log Z, \qquad p(y | x) = \mathrm{softmax}(f(x))_y $$

    A softmax leaves one number of the logits unused, their common shift: it becomes the density.
    The classifier's probabilities are what they were. Z is not known, and cancels wherever
    densities are compared.

    Normalisation over a batch makes no density of one input, and smooth activations train more
    steadily: take a network with LayerNorm or none, and `jax.nn.silu` rather than `relu`.

    Args:
        classifier: from one input to its K logits, such as `equinox.nn.MLP`.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> model = JEM(eqx.nn.MLP(2, 3, 8, 1, key=jax.random.key(0)))
        >>> x = jnp.ones(2)
        >>> p_y = jnp.exp(model.log_joint(x, jnp.arange(3)) - model.log_density(x))
        >>> bool(jnp.allclose(p_y, jax.nn.softmax(model.logits(x)), atol=1e-6))
        True

    Source: Grathwohl et al., Your Classifier is Secretly an Energy Based Model, arXiv 1912.03263,
    section 3.
    """

    classifier: Callable[..., Any]

    def logits(self, x: Float[Array, "..."]) -> Float[Array, " classes"]:
        """f(x), of one input."""
        return self.classifier(x)

    def log_density(self, x: Float[Array, "..."]) -> Float[Array, ""]:
        r"""$\log p(x) + \log Z$, of one input; the energy is its negative."""
        return jax.nn.logsumexp(self.logits(x))

    def log_joint(
        self, x: Float[Array, "..."], y: Int[Array, "*labels"]
    ) -> Float[Array, "*labels"]:
        r"""$\log p(x, y) + \log Z$, of one input and one label, or several."""
        return self.logits(x)[y]
