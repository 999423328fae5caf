"""Samples of a generator, moved towards an energy."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, ScalarLike

from pullback._key import checked_key
from pullback.models.energy._latent_generator import LatentGenerator, standard_normal
from pullback.models.energy._vera_loss import log_density_of
from pullback.sampling import ChainInfo, mala


def refine(
    energy: PyTree,
    generator: LatentGenerator,
    *,
    samples: int,
    steps: int,
    step_size: ScalarLike = 0.01,
    space: Literal["data", "latent"] = "data",
    target_accept: float | None = 0.57,
    key: PRNGKeyArray,
) -> tuple[Float[Array, "samples ..."], ChainInfo]:
    r"""Samples of a generator, after a walk that the energy's density stays as it is under.

    In the space of the data the walk goes to $\exp f(x)$. In that of the latents it goes to
    $\exp f(g(z) + \sigma \varepsilon)\, N(z; 0, I)\, N(\varepsilon; 0, I)$: the generator's
    distribution, tilted by the energy, which is another density, and mixes better where there are
    many modes.

    Args:
        energy: a callable `x -> []`, or a module with `log_density`.
        generator: whose samples the walk begins with.
        samples: how many.
        steps: of the walk; half of them look for the step size.
        step_size: where its search begins.
        space: "data" or "latent".
        target_accept: share of the steps that should be accepted; None: `step_size` is held.
        key: a typed PRNG key.

    Returns:
        The samples `[samples, ...]`, and the walk's `ChainInfo`.

    Raises:
        ValueError: `samples` is below 1, `space` is unknown, or as `mala` does.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> generator = LatentGenerator(lambda z: z, 1, sigma=0.1)  # too narrow
        >>> x, info = refine(lambda x: -jnp.sum(x**2) / 8, generator, samples=4000, steps=200,
        ...                  key=jax.random.key(0))
        >>> print(f"{jnp.std(x):.0f} {info.accepted:.1f}")
        2 0.6

    Source: Grathwohl et al., No MCMC for me, arXiv 2010.04230, section 6 and appendix.
    """
    key = checked_key(key)
    if samples < 1:
        raise ValueError(f"`samples` must be at least 1, got {samples}.")
    if space not in ("data", "latent"):
        raise ValueError(f'`space` must be "data" or "latent", got {space!r}.')
    f = log_density_of(energy)
    begin_key, walk_key = jr.split(key)
    walk: Any = {"steps": steps, "step_size": step_size, "target_accept": target_accept}
    keys = jr.split(begin_key, samples)
    if space == "data":
        x = jax.vmap(lambda key: generator.sample(key=key)[0])(keys)
        return mala(f, x, **walk, key=walk_key)

    shape = jax.eval_shape(generator.net, jnp.zeros(generator.latent, generator.log_sigma.dtype))

    def decode(row: Float[Array, " entries"]) -> Float[Array, "..."]:
        z, noise = row[: generator.latent], row[generator.latent :]
        sigma = generator.sigma.astype(row.dtype)
        return generator.net(z) + sigma * noise.reshape(shape.shape)

    def log_prob(row: Float[Array, " entries"]) -> Float[Array, ""]:
        return f(decode(row)) + standard_normal(row)

    rows = jr.normal(begin_key, (samples, generator.latent + shape.size), shape.dtype)
    rows, info = mala(log_prob, rows, **walk, key=walk_key)
    return jax.vmap(decode)(rows), info
