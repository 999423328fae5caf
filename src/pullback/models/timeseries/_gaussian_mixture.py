"""A mixture of full Gaussians of which any features are known, by one program for all sets."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Bool, Float, PRNGKeyArray

# Standard deviations, whose square is a number in float32, in thousands of features too.
_FAR = 1e16


class GaussianMixture(eqx.Module):
    r"""$\sum_k w_k\, N(\mu_k, L_k L_k^\top)$, of which some features may be given.

    Which features are known is an array of bools, not a shape: where they are not, the covariance
    of the known ones has ones on its diagonal and zeros beside it, so that its determinant and its
    inverse are those of the known block. One compiled program serves every set of them.

    Attributes:
        log_weights: normalised, `[component]`.
        means: `[component, feature]`.
        scale_trils: the Cholesky factors of the covariances, `[component, feature, feature]`.
    """

    log_weights: Float[Array, " components"]
    means: Float[Array, "components features"]
    scale_trils: Float[Array, "components features features"]

    def log_prob(
        self, x: Float[Array, " features"], known: Bool[Array, " features"]
    ) -> Float[Array, ""]:
        """The log-density of the known features alone; 0 where none is."""
        check_features(self.means.shape[1], x=x, keep=known)
        found = jax.nn.logsumexp(self.log_weights + self._log_probs(x, known))
        return jnp.where(jnp.any(known), found, 0)  # weights sum to one but for rounding

    def given(
        self, x: Float[Array, " features"], known: Bool[Array, " features"]
    ) -> tuple[
        Float[Array, " components"],
        Float[Array, "components features"],
        Float[Array, "components features features"],
    ]:
        """The mixture given the known features: log-weights, means and covariances.

        The known features have their own values as means, and no variance.
        """
        check_features(self.means.shape[1], x=x, keep=known)

        def one(mean: Array, tril: Array) -> tuple[Array, Array]:
            x_known, cross, root = _known(mean, tril, x, known)
            moved = mean + cross @ cho_solve((root, True), x_known - jnp.where(known, mean, 0))
            left = tril @ tril.T - cross @ cho_solve((root, True), cross.T)
            free = ~known[:, None] & ~known[None, :]
            return jnp.where(known, x_known, moved), jnp.where(free, (left + left.T) / 2, 0)

        log_weights = jax.nn.log_softmax(self.log_weights + self._log_probs(x, known))
        return log_weights, *jax.vmap(one)(self.means, self.scale_trils)

    def sample(
        self, x: Float[Array, " features"], known: Bool[Array, " features"], *, key: PRNGKeyArray
    ) -> Float[Array, " features"]:
        """A draw of the features that are not known; the known ones come back to the bit."""
        check_features(self.means.shape[1], x=x, keep=known)
        component_key, noise_key = jr.split(key)
        chosen = jr.categorical(component_key, self.log_weights + self._log_probs(x, known))
        mean, tril = self.means[chosen], self.scale_trils[chosen]
        # A draw of all features, moved by what its known ones miss: no factor of what is left.
        drawn = mean + tril @ jr.normal(noise_key, mean.shape, mean.dtype)
        x_known, cross, root = _known(mean, tril, x, known)
        drawn += cross @ cho_solve((root, True), x_known - jnp.where(known, drawn, 0))
        # Of known features that are whole numbers, the others are none.
        x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(drawn.dtype)
        return jnp.where(known, x, drawn.astype(x.dtype))

    def _log_probs(self, x: Array, known: Array) -> Float[Array, " components"]:
        def one(mean: Array, tril: Array) -> Array:
            x_known, _, root = _known(mean, tril, x, known)
            half = solve_triangular(root, x_known - jnp.where(known, mean, 0), lower=True)
            size = jnp.sum(known).astype(half.dtype) * math.log(2 * math.pi)
            # So far away, all components are as unlikely: their squares would be infinite.
            half = jnp.clip(half, -_FAR, _FAR)
            return -(half @ half + size) / 2 - jnp.sum(jnp.log(jnp.diagonal(root)))

        return jax.vmap(one)(self.means, self.scale_trils)


def check_features(features: int, **arrays: Array) -> None:
    """Refuse arrays that have another number of features, which would be broadcast."""
    for name, array in arrays.items():
        if jnp.shape(array) != (features,):
            raise ValueError(
                f"`{name}` must have shape [{features}], a value for each of the generator's "
                f"features; got {list(jnp.shape(array))}."
            )


def _known(mean: Array, tril: Array, x: Array, known: Array) -> tuple[Array, Array, Array]:
    """What is known, its covariance with all features, and the factor of its own."""
    covariance = tril @ tril.T
    cross = jnp.where(known[None, :], covariance, 0)
    own = jnp.where(known[:, None], cross, 0) + jnp.diag(jnp.where(known, 0, 1).astype(mean.dtype))
    return jnp.where(known, x, 0).astype(mean.dtype), cross, jnp.linalg.cholesky(own)
