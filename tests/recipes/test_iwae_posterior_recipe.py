"""The recipe `iwae-posterior`: its own arithmetic."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.models.vae import Bernoulli, mlp_vae
from pullback.recipes.iwae_posterior import Config, measure


def test_of_a_decoder_that_looks_away_everything_is_known(x32):
    # p(x | z) does not depend on z: the posterior is the prior, and so is the implied one of q = p.
    vae = mlp_vae(4, 2, 3, likelihood=Bernoulli(), key=jr.key(0))
    still = lambda mlp, bias: eqx.tree_at(
        lambda m: [layer.weight for layer in m.net.layers] + [m.net.layers[-1].bias],
        mlp,
        [jnp.zeros_like(layer.weight) for layer in mlp.net.layers] + [bias],
    )
    vae = eqx.tree_at(
        lambda v: (v.encoder, v.decoder),
        vae,
        (still(vae.encoder, jnp.zeros(4)), still(vae.decoder, jnp.zeros(4))),
    )
    found = measure.gaps(vae, jnp.ones((2, 4)), 3, 5, jr.key(1))
    for name in ("evidence", "elbo", "bound", "implied"):
        np.testing.assert_allclose(found[name], 4 * np.log(0.5), atol=1e-4)
    np.testing.assert_allclose(
        measure.PLANE.log_evidence(vae, jnp.ones((2, 4))), 4 * np.log(0.5), atol=1e-4
    )
    for name in ("variation", "implied_variation"):
        np.testing.assert_allclose(found[name], 0, atol=1e-4)
    np.testing.assert_allclose(found["effective"], 1, rtol=1e-4)
    normal = np.exp(-0.5 * np.linspace(-6, 6, measure.PLANE.side) ** 2) / np.sqrt(2 * np.pi)
    for plane in found["planes"]:
        np.testing.assert_allclose(plane, normal[:, None] * normal, atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"trained": (5, 1)}, "trained must be 2 or more numbers that rise, at least 1"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**wrong)
