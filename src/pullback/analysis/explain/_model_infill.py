"""Backgrounds by a generative model, or by a function."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key
from pullback.analysis.explain._infill import AbstractInfill, Image, Keep
from pullback.sampling import langevin


class ModelInfill(AbstractInfill):
    r"""What a model makes of the pixels that are kept.

    - A model with `reconstruct(x, *, key)`, as a VAE of `pullback.models.vae`: the image with holes
      is reconstructed, the holes are filled from that, and so on, `rounds` times. The background is
      the last reconstruction.
    - One with `log_prob(x)`, as a flow of `pullback.models.flows`: `rounds` steps of Langevin
      dynamics of size `step_size` move the pixels that are not kept.
    - A function `fill(x, keep, *, key)`: its background, raw and not pasted together with x.

    Holes are empty, at `start`, when a model is first asked. A flow knows a kept pixel, so there
    the background is x, which halves gradients: explain with `ScoreFunction` then, or with a VAE.

    Args:
        model: one of these, of images `[C, H, W]` scaled as those that are explained.
        start: the value of pixels that are not kept, at the start.
        rounds: of reconstruction, or steps of the dynamics.
        step_size: of the dynamics.

    Raises:
        TypeError: `model` is none of these.
        ValueError: `rounds` is below 1, or `step_size` is not above 0.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> mirror = ModelInfill(lambda x, keep, *, key: x[:, :, ::-1])
        >>> print(mirror(jnp.array([[[1.0, 2.0]]]), jnp.ones((1, 1, 2)), key=jax.random.key(0)))
        [[[2. 1.]]]

    Source: Chang et al., arXiv 1807.08024, section 3 (VAE); alternating reconstructions: Rezende,
    Mohamed and Wierstra, Stochastic Backpropagation, arXiv 1401.4082, appendix F.
    """

    model: Any
    start: float = eqx.field(default=0.0, static=True)
    rounds: int = eqx.field(default=10, static=True)
    step_size: float = eqx.field(default=1e-3, static=True)

    def __check_init__(self):
        positive(rounds=self.rounds)
        if not self.step_size > 0:
            raise ValueError(f"`step_size` must be above 0, got {self.step_size}.")
        known = [getattr(self.model, name, None) for name in ("reconstruct", "log_prob")]
        if isinstance(self.model, type) or not any(map(callable, (*known, self.model))):
            raise TypeError(
                "`model` must have `reconstruct(x, *, key)` or `log_prob(x)`, or be a function "
                f"`fill(x, keep, *, key)`; got {self.model!r}."
            )

    @property
    def stochastic(self) -> bool:
        return True

    def __call__(self, x: Image, keep: Keep, *, key: PRNGKeyArray) -> Image:
        key = checked_key(key)
        paste = lambda other: keep * x + (1 - keep) * other
        begin = paste(jnp.full_like(x, self.start))
        if callable(getattr(self.model, "reconstruct", None)):

            def again(guess: Image, key: PRNGKeyArray) -> tuple[Image, None]:
                return self.model.reconstruct(paste(guess), key=key).astype(x.dtype), None

            return jax.lax.scan(again, begin, jr.split(key, self.rounds))[0]
        if callable(getattr(self.model, "log_prob", None)):
            density = lambda guess: self.model.log_prob(paste(guess))
            found, _ = langevin(
                density, begin[None], steps=self.rounds, step_size=self.step_size, key=key
            )
            return paste(found[0])
        return self.model(x, keep, key=key)
